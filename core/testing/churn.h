// SPDX-License-Identifier: BSD-3-Clause
// Racks, connections and failures for the placement of copies: drawn from a seed, with every failure
// enumerated, so that what core/hpsms/odds.h computes and core/hpsms/minchurn.h decides has something
// to be compared with.
#pragma once

#include "core/hpsms/minchurn.h"
#include "core/hpsms/odds.h"
#include "core/rng.h"

#define CHURN_CONNECTIONS 1024

struct churn_connection {
	uint64_t hash[2]; // of the switch: first and second stage
	uint32_t bytes;
	uint8_t master;
	uint64_t placed; // nodes that have a copy already, the master among them
};

struct churn {
	unsigned n, k; // nodes 0 to n - 1; failures, and copies beside the master's
	enum odds_model model;
	uint32_t dies[MINCHURN_NODES];
	unsigned connections;
	struct churn_connection c[CHURN_CONNECTIONS];
	struct odds odds;
};

// A rack of n nodes with so many connections at each.
void churn_draw(struct churn *x, uint64_t seed, unsigned n, unsigned k, enum odds_model model,
	unsigned per_node);
// b(c, e): where the packets of a connection go when the nodes of `dead` are.
unsigned churn_next(const struct churn *x, const struct churn_connection *c, uint64_t dead);
// P(e).
double churn_chance(const struct churn *x, uint64_t dead);
// Bytes that each node would have to fetch of a connection on average, by looking at every failure of
// up to k nodes.
void churn_enumerate(
	const struct churn *x, const struct churn_connection *c, double bytes[MINCHURN_NODES]);
// The same by the tables; and the nodes where packets go when the master dies, then that one, ...
void churn_item(const struct churn *x, const struct churn_connection *c, struct minchurn_item *item,
	struct minchurn_list *naive);
