// SPDX-License-Identifier: BSD-3-Clause
// Changes of this node's index set that wait to be told. A set does not care in which order they come: so they
// are told by ascending fingerprint, which takes fewer bytes the more there are, and of several changes of
// one fingerprint the last alone. Worker 0.
#pragma once

#include "core/hpsms/wire.h"

#define INDEX_BATCH 4096 // changes, at most

// A message of changes: what it is on the wire.
struct index_delta {
	uint16_t n, n_removes;
	uint32_t fp[WIRE_DELTA_MAX];
};

struct index_batch {
	uint32_t n; // changes; while they are being taken, in order
	uint32_t at; // those before it have been taken
	uint64_t change[INDEX_BATCH]; // fingerprint, and in the lowest bit whether it goes
	uint64_t other[INDEX_BATCH]; // to sort them
};

// There must be room, and what was closed must have been taken.
static inline void index_batch_add(struct index_batch *b, uint32_t fp, bool removes)
{
	b->change[b->n++] = (uint64_t)fp << 1 | removes;
}

void index_batch_close(struct index_batch *b);
// The next message of what was closed, as much as fits; false: there is no more, and the batch is empty.
bool index_batch_take(struct index_batch *b, struct index_delta *d);
