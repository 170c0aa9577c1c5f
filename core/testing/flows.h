// SPDX-License-Identifier: BSD-3-Clause
// TCP connections through a test rack whose chain is RACK_NF_REWRITE, driven packet by packet: from
// clients outside through the load balancer to the server. For cmocka tests: what does not arrive
// fails the test.
#pragma once

#include "core/testing/rack.h"

#define FLOW_VIP "198.51.100.1"
#define FLOW_SERVER "10.1.0.101"

// A connection, as both of its ends see it.
struct flow {
	char client[20];
	uint16_t port;
	uint32_t seq, ack; // next of client, next of server
	struct tripod_tuple key;
};

struct flow flow_of(unsigned n);
void flow_client(struct rack *r, struct flow *f, uint8_t flags, unsigned payload);
void flow_server(struct rack *r, struct flow *f, uint8_t flags, unsigned payload);
// How many packets with `flags` and `payload` have reached a side since the last look.
unsigned flows_arrived(struct rack *r, enum tripod_direction side, uint8_t flags, unsigned payload);
void flows_establish(struct rack *r, struct flow *f, unsigned n); // f[i] becomes flow_of(i)
void flows_exchange(struct rack *r, struct flow *f, unsigned n); // each carries data both ways
// Connections of which fewer than `want` copies are live.
unsigned flows_copies_below(struct rack *r, struct flow *f, unsigned n, unsigned want);
