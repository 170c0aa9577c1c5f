// SPDX-License-Identifier: BSD-3-Clause
// Min-churn placement: which nodes get the copies of a batch of connections, so that after failures no
// node has to pull much.
//
// For each connection it is known (core/hpsms/odds.h) how many bytes each node would have to fetch, on
// average over the failures, had it no copy. The load of a node is the sum of that over all connections
// of the rack that have none there. What is wanted is the least maximum of the loads, over the
// placements that give each connection its number of copies and leave those alone that it has already.
//
// Each node solves its own batches, one after the other, on top of what is placed already, by it and by
// the others. All that they tell each other is the load that each has made at each node: two bytes
// a node (minchurn_pack()), now and then. Who has not heard them, or heard old ones, places
// worse copies, never too few.
//
// The method is that of a dual decomposition: each node of the rack has a price, high where the load is;
// for given prices every connection chooses for itself what saves most. The average of these choices,
// as prices follow loads, nears the optimum of the problem with fractions of copies. Then fractions are
// rounded, as many up as there are copies, and single copies are exchanged while that lessens the
// loads, the highest above all; several times, and the best is kept.
//
// Pure functions over the caller's memory; any thread.
#pragma once

#include <stdint.h>

#define MINCHURN_NODES 64
#define MINCHURN_BATCH 64 // connections
#define MINCHURN_TARGETS 24 // nodes that a connection may be sent to: the likeliest count
#define MINCHURN_LOAD_MAX (1ull << 56) // of one node, in the unit of struct minchurn_item's bytes

struct minchurn_item {
	uint64_t fixed; // nodes that have a copy, the master among them: stays
	uint64_t allowed; // nodes that may get one
	uint8_t add; // so many; all that are allowed, when those are fewer
	uint8_t n; // targets
	uint8_t node[MINCHURN_TARGETS];
	// What that node would have to fetch without a copy, on average. The unit is the caller's; 2^44 at most.
	uint64_t bytes[MINCHURN_TARGETS];
	uint32_t any; // a number of the connection's own: decides where only chance does
	uint64_t chosen; // out: nodes of `allowed`, none of `fixed`
};

struct minchurn {
	// In: loads that are there already: by what was placed before, and by what others say.
	uint64_t load[MINCHURN_NODES];
	// Out: loads that this batch adds: what others are to be told.
	uint64_t mine[MINCHURN_NODES];
	unsigned n;
	struct minchurn_item item[MINCHURN_BATCH];

	// Scratch.
	uint32_t price[MINCHURN_NODES];
	uint16_t share[MINCHURN_BATCH][MINCHURN_TARGETS]; // of a copy, in 2^-15
	uint64_t must[MINCHURN_BATCH]; // chosen nodes that are not to be exchanged
	// Of the attempt with the lowest highest load: that, and what was chosen.
	uint64_t best_top, best[MINCHURN_BATCH];
};

// Adds what node would fetch; of more than MINCHURN_TARGETS nodes, the least is left out.
void minchurn_target(struct minchurn_item *item, unsigned node, uint64_t bytes);

// Chooses for all items.
void minchurn_solve(struct minchurn *m);

// The same in steps, one after the other, before each of which `load` may be given anew: nodes that have a
// batch open at the same time tell each other `mine`, and come closer to the optimum of all of them.
#define MINCHURN_ROUNDS 40 // of prices and choices; until then `mine` is of fractions of copies
#define MINCHURN_ATTEMPTS 36 // to make whole copies of them, of which the best is kept
#define MINCHURN_STEPS (MINCHURN_ROUNDS + 15 + (MINCHURN_ATTEMPTS - 1) * 8 + 1)
void minchurn_begin(struct minchurn *m);
void minchurn_step(struct minchurn *m, unsigned step);

// For comparison. By chance alone; the first of a list for each item, such as the nodes that its packets
// would be sent to after one, two, ... failures.
void minchurn_random(struct minchurn *m);
struct minchurn_list {
	uint8_t n, node[MINCHURN_NODES];
};
void minchurn_first(struct minchurn *m, const struct minchurn_list *list);

// ---- What nodes tell each other ----

// A load in 16 bits: 10 of mantissa, 6 of exponent. Rounded up, to 1/512 at worst; 0 is 0.
uint16_t minchurn_pack(uint64_t load);
uint64_t minchurn_unpack(uint16_t packed);

// The load to place on, of those that all n nodes have told. All read the same and act at the same time:
// were each to mend alone what is told, they would overdo it n times. So each takes its share of it,
// and adds what it has placed itself since.
static inline uint64_t minchurn_share(uint64_t told_by_all, unsigned n)
{
	return n > 0 ? told_by_all / n : 0;
}
