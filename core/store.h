// SPDX-License-Identifier: BSD-3-Clause
// The connections of one worker: records, the index that finds them, the wheel that ends them.
//
// One lookup per packet serves the whole chain (paper, IV-A, Fig. 7): both tuples of a connection
// (of the initiator's packets, and the reversed tuple of what leaves the last NF) lead to one record
// in which the states of all NFs lie together. A record is found through one 64-byte bucket, and is
// three cache lines for a packet to touch, plus one that only replication touches:
//
//   line 0, 1  one per direction: key, TCP tracking, last activity, next hop
//   line 2     identity, roles, the NFs' states (more lines when the chain needs them)
//   apart      struct conn_repl: holders, versions, wheel links
//
// Thread: the owning worker only. Nothing is allocated after store_init(); every limit is a counter.
#pragma once

#include <tripod/nf.h>

#include "core/arena.h"
#include "core/tcp.h"

#define STORE_NONE 0u // record 0 is never used

// Coarse time in records: units of 2^20 ns (1.05 ms), modulo 2^32.
typedef uint32_t tick_t;
#define TICK_SHIFT 20
static inline tick_t tick_of(uint64_t ns)
{
	return (tick_t)(ns >> TICK_SHIFT);
}
static inline tick_t ticks_of_ms(uint32_t ms)
{
	return (tick_t)(((uint64_t)ms * 1000000) >> TICK_SHIFT);
}

enum conn_state {
	CONN_FREE = 0,
	CONN_LIVE,
	CONN_TOMBSTONE, // closed: kept until its holders know and late packets have passed
};

enum conn_flag {
	CONN_MASTER_0 = 1 << 0, // this node handles packets of direction 0 (the initiator's)
	CONN_MASTER_1 = 1 << 1,
	CONN_ANSWERED = 1 << 2, // the responder has been heard: no longer embryonic
	CONN_PINNED = 1 << 3, // both directions on one master; the rest is relayed
	CONN_HELD = 1 << 4, // an NF holds packets of it
	CONN_REPLICATED = 1 << 5, // is on at least one other node, or on its way there
	CONN_TIMED = 1 << 6, // an NF timer is set
	CONN_SYNCING =
		1
		<< 7, // of sync: not all that matters is acknowledged, or packets wait (conn.waits)
};

// The line of one direction. d = 0: packets of the initiator; d = 1: of the responder.
struct conn_dir {
	struct tripod_tuple key; // of this direction's packets as they arrive
	struct tcp_dir tcp; // other protocols: zero
	tick_t seen; // last packet of this direction, here or (published) at its master
	uint16_t next_hop; // soft: neighbour slot of where its packets leave to, 0 unknown
	uint16_t next_hop_check; // soft: generation of that slot
};
_Static_assert(sizeof(struct conn_dir) == 64, "one direction, one cache line");

struct conn {
	struct conn_dir dir[2];
	uint64_t incarnation; // which life of this key; higher wins
	uint8_t state; // enum conn_state
	uint8_t flags; // enum conn_flag
	uint8_t chain; // which of the node's chains it runs under, as in its index entries
	uint8_t reason : 2; // enum tripod_reason, of a tombstone
	uint8_t durability : 2; // enum durability, fixed when its first packet has passed the chain
	uint8_t chosen : 1; // an NF has chosen it
	uint8_t waits : 2; // bit d: packets of direction d do, with CONN_SYNCING
	uint16_t
		stamp; // counts local changes; tells an acknowledgement of the newest from an older
	uint16_t published; // last activity that the holders were told, ticks >> 8
	uint8_t nf[]; // the NFs' states in chain order
};
#define CONN_HEADER (offsetof(struct conn, nf))
_Static_assert(CONN_HEADER == 144, "leaves 48 bytes for NFs in three lines");

// A connection's parts, each with one writer: the master of direction 0, of direction 1, and (the
// shared part: identity, both keys, NF states, holders) the master of direction 0 again.
enum conn_part {
	PART_DIR0 = 0,
	PART_DIR1 = 1,
	PART_SHARED = 2,
	PARTS = 3,
};

// Of two claims on a part, the higher (epoch, version, writer) wins; docs/PROTOCOL.md.
struct conn_version {
	uint32_t version;
	uint16_t epoch;
	uint8_t writer; // node id; for a direction, its master
	// Kept here, not sent. Of a direction, 1: another node took it from us (conn_dir.next_hop_check
	// says when). Of the shared part: low bits of conn.stamp at its last change.
	uint8_t handed;
};

// What is known of a holder.
enum holder_mark {
	HOLDER_ACKED, // has acknowledged everything so far
	HOLDER_KNOWN, // has acknowledged the whole record once: parts are enough
	HOLDER_QUEUED, // the record stands in its queue
	HOLDER_MARKS,
};
#define CONTESTED 2 // conn_repl.contested: in the walk after the next
#define HOLDERS_MAX 16 // of one connection: k + 1 is at most 11, and some come and go

struct conn_repl {
	union {
		// bit n: node n has a copy or is being sent one, this node included
		const uint64_t holders;
		uint64_t holders_rw; // for core/holders.h alone: the marks follow it
	};
	struct conn_version part[PARTS];
	uint32_t next, prev; // wheel
	uint16_t mark[HOLDER_MARKS]; // bit n: the holder of rank n (core/holders.h) has the mark
	uint8_t changed : 2; // bit d: direction d has changed since all holders had everything
	// A full list of holders has come without this node, or it was asked to forget its copy and could not: it asks the
	// writer until it is listed, or forgets (compare.c).
	uint8_t unlisted : 1;
	uint8_t untold : 2; // bit d: it has since, in a way that could wait for the next change
	// This node is the shared part's writer by a claim of a former life of its own: what it changes
	// goes one epoch higher.
	uint8_t former : 1;
	uint8_t tells : 1; // of a tombstone: it is this node that sees to it that the holders know
	// Those of its holders that live were made so when none was heard that had a copy (and had not started anew),
	// and have acknowledged none yet: that they have it not says nothing.
	uint8_t alone : 1;
	// Records of it have come that did not fit to what is here: walks until all copies are compared (compare.c).
	uint8_t contested : 2;
	// A node has refused it for its own sake since repair came by: so may any other, and none is tried
	// before it comes by again.
	uint8_t refused : 1;
};
_Static_assert(sizeof(struct conn_repl) == 48, "of the 256 bytes of a connection");

// An index entry that leads to another worker of this node, which has the record: the two tuples of
// a rewritten connection may hash to different workers.
struct alias {
	struct tripod_tuple key;
	uint64_t incarnation;
	uint32_t conn; // record in the owner's store
	uint16_t owner; // worker
	uint16_t used;
	uint32_t next_free;
	uint32_t reserved;
};
_Static_assert(sizeof(struct alias) == 64, "one cache line");

struct index_bucket;

struct store {
	// Fixed after store_init().
	uint8_t *conns; // capacity + 1 records of conn_size bytes
	struct conn_repl *repls;
	struct alias *aliases;
	struct index_bucket *buckets;
	uint32_t *wheel; // first record of each slot
	uint32_t capacity, alias_capacity, n_buckets;
	uint32_t conn_size; // bytes, a multiple of 64
	uint64_t hash_seed; // secret, shared by the rack

	// Running.
	uint32_t free_conn, used; // free list through conn_repl.next; records in use
	uint32_t highest; // record that was ever in use: a walk need not go further
	uint32_t free_alias, aliases_used;
	uint32_t index_used;
	uint32_t embryonic; // records without CONN_ANSWERED; kept by whoever sets the flag
	tick_t wheel_now; // the wheel has been turned up to here
};

// state_size: bytes of NF state a record. Measures when the arena does.
void store_init(struct store *s, struct arena *a, uint32_t capacity, uint32_t alias_capacity,
	uint32_t state_size, uint64_t hash_seed, tick_t now);

static inline struct conn *store_conn(const struct store *s, uint32_t i)
{
	return (struct conn *)(s->conns + (size_t)i * s->conn_size);
}
static inline struct conn_repl *store_repl(const struct store *s, uint32_t i)
{
	return &s->repls[i];
}

// ---- Index ----

// The table's hash: keyed, 64 bits. Not the Toeplitz hash, which anybody can steer.
uint64_t store_hash(const struct store *s, const struct tripod_tuple *key);
// The same hash of any bytes, for NFs.
uint64_t store_hash_bytes(const struct store *s, const void *data, size_t size);
static inline void store_prefetch_bucket(const struct store *s, uint64_t hash);

enum store_found {
	STORE_MISS = 0,
	STORE_CONN, // index: record; dir: which of its keys matched
	STORE_ALIAS, // index: alias
};
struct store_hit {
	enum store_found what;
	uint32_t index;
	uint8_t dir;
};
struct store_hit store_find(const struct store *s, const struct tripod_tuple *key, uint64_t hash);
// The record whose key of direction 0 has this hash. Two keys of one hash: either.
uint32_t store_find_hash(const struct store *s, uint64_t hash); // or STORE_NONE

// Prefetches the record lines of the first candidate for hash in its bucket (one compare of
// signatures, no record touched), and returns it. d is unknown: all lines a packet touches.
struct store_hit store_prefetch_record(const struct store *s, uint64_t hash);
// The same for its second bucket, when that has found none, a moment later.
struct store_hit store_prefetch_second(const struct store *s, uint64_t hash);
// Both for n hashes.
static inline void store_prefetch_records(
	const struct store *s, const uint64_t *hash, struct store_hit *hit, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		hit[i] = store_prefetch_record(s, hash[i]);
	for (unsigned i = 0; i < n; i++) {
		if (__builtin_expect(hit[i].what == STORE_MISS, 0))
			hit[i] = store_prefetch_second(s, hash[i]);
	}
}
// Is the candidate what store_find() would find? It may have gone meanwhile, its record in other
// hands; false of a miss and of an alias, too.
static inline bool store_hit_right(
	const struct store *s, const struct store_hit *hit, const struct tripod_tuple *key);

// Adds key dir of record i (or alias i). 0, -ENOSPC when the bucket chain is full, -EEXIST.
int store_index_conn(struct store *s, uint32_t i, unsigned dir);
int store_index_alias(struct store *s, uint32_t i);
void store_unindex_conn(struct store *s, uint32_t i, unsigned dir);
void store_unindex_alias(struct store *s, uint32_t i);

// ---- Records ----

// A zeroed record, in no list, or STORE_NONE when all are in use.
uint32_t store_conn_new(struct store *s);
void store_conn_free(struct store *s, uint32_t i); // must be out of index and wheel
uint32_t store_alias_new(struct store *s);
void store_alias_free(struct store *s, uint32_t i);

// ---- Wheel ----

// Puts record i (in no slot, or already in one: then it moves) where it comes up at `at` or up to
// one slot later; further away than the wheel spans, it comes up early and is put back by its owner.
void store_wheel_set(struct store *s, uint32_t i, tick_t at);
void store_wheel_remove(struct store *s, uint32_t i);
// The next record that is due at `now`, taken out of the wheel; STORE_NONE when none is. Bounded
// work per call: at most one wheel turn of empty slots in total.
uint32_t store_wheel_due(struct store *s, tick_t now);

// ---- Here to be inline ----

static inline bool store_key_equal(const struct tripod_tuple *a, const struct tripod_tuple *b)
{
	uint64_t x[5], y[5];
	_Static_assert(sizeof(x) == sizeof(*a), "a tuple is five words");
	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4])) == 0;
}

static inline bool store_hit_right(
	const struct store *s, const struct store_hit *hit, const struct tripod_tuple *key)
{
	if (hit->what != STORE_CONN)
		return false;
	const struct conn *c = store_conn(s, hit->index);
	// A record that is in use is in the index under the keys that it has.
	return c->state != CONN_FREE && store_key_equal(&c->dir[hit->dir].key, key);
}

#define BUCKET_WAYS 10
// An entry leads to a record or alias, and carries the chain version that the connection began under
// (paper, IV-A: an index entry holds the address and the chain_id). In the bucket it is a signature and
// a word: index, direction, alias, chain.
struct index_entry {
	uint32_t index; // STORE_NONE: empty
	uint8_t chain;
	uint8_t what; // bit 0: direction; bit 1: alias
};
#define STORE_CAPACITY_MAX                                                                         \
	((1u << 27) - 1) // records, and aliases: an entry has 27 bits for the index
#define ENTRY_WHAT_SHIFT 27
#define ENTRY_CHAIN_SHIFT 29
struct index_bucket {
	uint16_t signature[BUCKET_WAYS]; // high hash bits
	uint32_t ref[BUCKET_WAYS];
	uint32_t overflow; // entries that would belong here and stand in a later bucket
};
_Static_assert(sizeof(struct index_bucket) == 64, "one cache line");

static inline struct index_entry store_entry(const struct index_bucket *b, unsigned way)
{
	uint32_t ref = b->ref[way];
	return (struct index_entry){
		.index = ref & STORE_CAPACITY_MAX,
		.chain = (uint8_t)(ref >> ENTRY_CHAIN_SHIFT),
		.what = ref >> ENTRY_WHAT_SHIFT & 3,
	};
}

// The bucket in which an entry stands if there is room, and the one that comes next; behind that, the
// neighbours. The number of buckets is no power of two, so bits of the hash are scaled to it: the low
// half, and the middle mixed. The signature comes from the upper end.
static inline uint32_t store_home(const struct store *s, uint64_t hash)
{
	return (uint32_t)((uint64_t)(uint32_t)hash * s->n_buckets >> 32);
}
static inline uint32_t store_second(const struct store *s, uint64_t hash)
{
	uint32_t mixed = (uint32_t)(hash >> 16) * 0x9e3779b1u;
	return (uint32_t)((uint64_t)mixed * s->n_buckets >> 32);
}

static inline void store_prefetch_bucket(const struct store *s, uint64_t hash)
{
	__builtin_prefetch(&s->buckets[store_home(s, hash)]);
}
