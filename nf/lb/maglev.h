// SPDX-License-Identifier: BSD-3-Clause
// Maglev hashing (Eisenbud et al., NSDI'16, section 3.4): a lookup table in which every backend has
// its share, and which changes little when a backend comes or goes.
//
// Pure functions: equal backends give equal tables on every node.
#pragma once

#include <tripod/tuple.h>

#define MAGLEV_WEIGHT_MAX 100

struct maglev_backend {
	struct tripod_addr addr;
	uint16_t port; // network byte order
	uint16_t weight; // share of the table, 0..MAGLEV_WEIGHT_MAX; 0: none
	// Set by maglev_build().
	uint32_t next, skip; // the permutation of table slots in which it claims them
	uint32_t credit;
};

// true when the table can have this size: the permutations reach every slot only of a prime.
bool maglev_size_valid(uint32_t size);

// Fills table[size] with positions in b. size is a prime, n < 65535, one weight at least is above
// 0. Sorts b by address and port first, so that the order of the configuration has no effect.
void maglev_build(uint16_t *table, uint32_t size, struct maglev_backend *b, unsigned n);

// Slot of a hash: its high bits scaled to the table, without a division.
static inline uint32_t maglev_slot(uint64_t hash, uint32_t size)
{
	return (uint32_t)(((hash >> 32) * size) >> 32);
}
