// SPDX-License-Identifier: BSD-3-Clause
// Incarnations: which of two lives of one key is the later, and who opened it.
#pragma once

#include "core/store.h"

// An incarnation's low bits name the node that opened that life of the connection: it is sent what it
// has opened when it starts anew, lest it hand out the same NAT ports once more. So two nodes never
// draw the same, either. The bits above are a clock that all nodes share (conn_lives()): what was opened
// later is higher, whoever opened it and whether or not he knew of the life before.
#define INCARNATION_NODE 0x3full
#define INCARNATION_MAX (1ull << 62) // of a peer's record: lives enough above it for ever
#define LIVES_SHIFT 12 // the clock's unit is 4.1 us: a worker opens fewer connections in that time
static inline unsigned conn_opener(const struct conn *c)
{
	return (unsigned)(c->incarnation & INCARNATION_NODE);
}
static inline uint64_t incarnation_life(uint64_t incarnation)
{
	return incarnation / (INCARNATION_NODE + 1);
}
static inline uint64_t incarnation_of(uint64_t life, unsigned opener)
{
	return life * (INCARNATION_NODE + 1) | opener;
}
static inline uint64_t incarnation_above(uint64_t above, unsigned opener)
{
	return incarnation_of(incarnation_life(above) + 1, opener);
}
