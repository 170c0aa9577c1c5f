// SPDX-License-Identifier: BSD-3-Clause
// What the switch's prediction groups have told of one tuple, and what follows: the node to which the
// switch sends its packets while the ports of any set of nodes are up (paper, V-C: b(c, e)).
//
// Where the hash is taken modulo the number of ports, one answer for each number of ports tells all: the
// place in a group of M ports is the place among any M ports that are up. The switch writes that place on
// the frame, so that it does not matter which ports its groups consist of just now. Where each flow has
// its own order of ports (resilient), an answer holds for one set of failures: those that there were when it
// was asked for, and one more.
//
// Pure functions; any thread.
#pragma once

#include "core/node.h"

#define NEXTHOP_NONE 0xff // not known
#define NEXTHOP_DOWN 0xfe // of base: a port that is down; two-stage: or `from`

struct nexthop {
	// Node while all ports are up; two-stage: by its first stage.
	uint8_t base;
	// Modulo and two-stage: [f]: place among top - f ports that are up, by ascending id.
	uint8_t place[COPIES_MAX + 1];
	uint8_t top; // ports that are up, or about to be, when it was asked for
	// Resilient and two-stage: where packets arrive while the ports of `epoch` are up. Resilient: and
	// where if that port fails.
	uint8_t from, to;
	uint16_t silent; // questions of this epoch that nobody has answered
	uint32_t epoch; // of the ports, when it was asked for
	uint64_t up; // ... those
};

// What can be asked of the groups, as bits. Modulo and two-stage: bit f, the group of top - f ports.
#define NEXTHOP_ASK_BASE                                                                           \
	(1u << 15) // resilient: all ports, whatever is up; two-stage: as packets go now
#define NEXTHOP_ASK_NEXT (1u << 14) // resilient: the exclusion group of `from`
#define NEXTHOP_ASK_NOW (1u << 13) // resilient: the exclusion group of a port that is down

struct nexthop_ports {
	enum switch_model model;
	uint64_t all; // configured
	uint64_t heard; // of them, heard once: the switch knows them, as far as can be known
	uint64_t up, coming; // now; and those that are about to come up
	unsigned failures; // to be ready for
	unsigned most; // failures that there are groups for
	uint32_t epoch;
};

void nexthop_init(struct nexthop *h, const struct nexthop_ports *p);
// Keeps what holds in another epoch, too.
void nexthop_renew(struct nexthop *h, const struct nexthop_ports *p);
// The node, while the ports of exactly `up` are up, or NEXT_HOP_UNKNOWN.
int nexthop_next(const struct nexthop *h, enum switch_model model, uint64_t all, uint64_t up);
// What is left to ask (bits) to know where packets arrive now, when those come up that are coming, and
// after each of p->failures failures of the node where they would have arrived.
uint16_t nexthop_missing(const struct nexthop *h, const struct nexthop_ports *p);
// The group that answers a question: its number, which its VLAN is made of.
unsigned nexthop_group(const struct nexthop *h, const struct nexthop_ports *p, unsigned bit);
#define NEXTHOP_GROUPS (PREDICT_ARRIVAL + 1) // numbers
// The node where a question has arrived, and the place that the switch has written on it.
void nexthop_answered(struct nexthop *h, const struct nexthop_ports *p, unsigned bit, unsigned node,
	unsigned place);
// A question stays without an answer: the port behind it is down, if any is.
void nexthop_silent(struct nexthop *h, const struct nexthop_ports *p, unsigned bit);
