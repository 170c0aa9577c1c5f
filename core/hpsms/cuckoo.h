// SPDX-License-Identifier: BSD-3-Clause
// A cuckoo filter: the set of a node's keys, as fingerprints that its peers can be told.
//
// Partial-key cuckoo hashing: both buckets of a fingerprint follow from the fingerprint alone, so that
// one can be moved without its key. It is a multiset: two keys of one fingerprint stand in it twice,
// and the fingerprint is gone when both are. Fingerprints have 32 bits, not the usual 8 or 16, because
// they travel: a fingerprint means the same on every node, whatever the size of its filter, and one
// that is taken out is never another's.
//
// Thread: one owner. No allocation after cuckoo_init().
#pragma once

#include <stdbool.h>

#include "core/arena.h"

#define CUCKOO_WAYS 4
#define CUCKOO_KICKS 128 // fingerprints that one insertion moves, at most

struct cuckoo_bucket {
	uint32_t fp[CUCKOO_WAYS]; // 0: empty
};

struct cuckoo {
	struct cuckoo_bucket *bucket;
	uint32_t n_buckets;
	uint32_t used; // fingerprints in it, each as often as it was put in
	uint32_t turn; // whose place is taken next
};

// keys: that it holds; 7/8 of its places then.
void cuckoo_init(struct cuckoo *c, struct arena *a, uint32_t keys);
// fp != 0. false: no room, and nothing has changed. moved (CUCKOO_KICKS places, may be NULL) gets the
// fingerprints that changed their bucket, *n_moved their number.
bool cuckoo_insert(struct cuckoo *c, uint32_t fp, uint32_t *moved, unsigned *n_moved);
bool cuckoo_remove(struct cuckoo *c, uint32_t fp); // one of it; false: there is none
unsigned cuckoo_count(const struct cuckoo *c, uint32_t fp); // how often it is in
// The fingerprints of the buckets from `first` on: stops before one that might not fit into max
// places, after `most` buckets, and at the end. Returns buckets passed, *n fingerprints.
uint32_t cuckoo_export(const struct cuckoo *c, uint32_t first, uint32_t most, uint32_t *out,
	unsigned max, unsigned *n);
