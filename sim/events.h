// SPDX-License-Identifier: BSD-3-Clause
// What is to happen, in the order of time; what happens at one instant comes in an order drawn by the
// seed.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum event_type {
	EVENT_TO_NODE, // a frame arrives at node's queue `worker`
	EVENT_TO_HOSTS, // a frame arrives at the hosts of side `node`
	EVENT_RUN, // a worker is due
	EVENT_PORT, // BFD of a switch port is due
	EVENT_HOSTS,
	EVENT_FAULT, // number `serial` of the list of faults under way, or 0: the next begins
	EVENT_WALK, // checkers look at all tables
};

struct bytes;

struct event {
	uint64_t at_ns;
	uint32_t tie;
	uint32_t serial; // EVENT_RUN, _PORT, _HOSTS: void unless it is the newest
	struct bytes *frame;
	uint16_t vlan;
	uint8_t type; // enum event_type
	uint8_t node, worker;
};

struct events {
	struct event *heap;
	uint32_t n, room;
};

void events_push(struct events *e, const struct event *event);
bool events_pop(struct events *e, struct event *out); // false: there is none
void events_free(struct events *e);
