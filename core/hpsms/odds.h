// SPDX-License-Identifier: BSD-3-Clause
// How likely it is that a connection's packets come to a node after failures, and so how many bytes that
// node would have to fetch on average if it had no copy: what core/hpsms/minchurn.h places copies by.
//
// A failure is a set of nodes, each of which dies by itself with its own probability. Sets of up to
// ODDS_FAILURES count. How the switch picks among those that live tells where packets go; nothing is
// enumerated: what is known of the switch says which sets lead to a node, and tables say how likely
// they are together.
//
// Pure functions; any thread.
#pragma once

#include <stdbool.h>

#include "core/hpsms/minchurn.h"

#define ODDS_FAILURES 4 // of more at a time, the last is not looked at
#define ODDS_BITS 31
#define ODDS_ONE (1u << ODDS_BITS) // certain

enum odds_model {
	ODDS_CHAIN, // packets move only when the node dies to which they go
	ODDS_MODULO, // the hash picks one of those that live, by its place among them
	ODDS_TWO_STAGE, // as ODDS_CHAIN, but then picked by the place among those that live
};

// Where the packets of one direction go.
struct odds_route {
	uint8_t model; // enum odds_model
	uint8_t now; // node, while all live
	uint8_t n; // of `then`
	// [m-1], after m failures. ODDS_CHAIN: the node to which they go when `now` and all before in this
	// list are dead. Else: the place among those that live, by ascending number, from 0.
	uint8_t then[ODDS_FAILURES];
};

struct odds {
	uint8_t n; // nodes
	uint8_t failures; // at a time
	uint8_t node[MINCHURN_NODES]; // ascending
	uint8_t place[MINCHURN_NODES]; // of a node in that
	uint32_t dies[MINCHURN_NODES]; // by place
	// [p][a]: exactly a of those at the places before p die; of those behind p.
	uint32_t before[MINCHURN_NODES][ODDS_FAILURES + 1];
	uint32_t behind[MINCHURN_NODES][ODDS_FAILURES + 1];
	uint32_t all[ODDS_FAILURES + 1]; // exactly a of all
};

// nodes: which there are. dies: how likely each one's death is, less than half of ODDS_ONE. failures: of so
// many at a time (k).
void odds_init(
	struct odds *o, uint64_t nodes, const uint32_t dies[MINCHURN_NODES], unsigned failures);

// Adds to an item where the packets of a direction go, of a connection of so many bytes. false: `now` is
// none of the nodes.
bool odds_add(const struct odds *o, const struct odds_route *r, uint32_t bytes,
	struct minchurn_item *item);
