// SPDX-License-Identifier: BSD-3-Clause
// All members' index sets, merged: from a fingerprint to the nodes that have a key of it, so that a
// miss costs one cache line however many nodes there are.
//
// Open addressing in buckets of one cache line; entries are never moved. Thread: one writer; readers
// on any thread at any time, which may see an entry half-made: what they get is a hint, as false as a
// fingerprint that two keys share, and as harmless.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "core/arena.h"

#define INDEX_MAP_WAYS 5

struct index_map_bucket {
	_Atomic uint64_t nodes[INDEX_MAP_WAYS]; // bit n: node n has it
	_Atomic uint32_t fp[INDEX_MAP_WAYS]; // 0: empty
	_Atomic uint32_t overflow; // entries that would belong here and stand in a later bucket
};
_Static_assert(sizeof(struct index_map_bucket) == 64, "one cache line");

struct index_map {
	struct index_map_bucket *bucket;
	uint32_t n_buckets;
	uint32_t keys; // that it is made for
	uint32_t used;
};

// keys: fingerprints that it is to hold; it takes some more. 0: none at all.
void index_map_init(struct index_map *m, struct arena *a, uint32_t keys);
uint64_t index_map_find(const struct index_map *m, uint32_t fp);
bool index_map_set(struct index_map *m, uint32_t fp, unsigned node); // false: no room
void index_map_clear(struct index_map *m, uint32_t fp, unsigned node);
// Takes the nodes out of n buckets from `first` on, up to the last.
void index_map_sweep(struct index_map *m, uint32_t first, uint32_t n, uint64_t nodes);

static inline void index_map_prefetch(const struct index_map *m, uint32_t fp)
{
	__builtin_prefetch(&m->bucket[(uint64_t)fp * m->n_buckets >> 32], 1);
}
