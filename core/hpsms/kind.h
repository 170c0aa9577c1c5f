// SPDX-License-Identifier: BSD-3-Clause
// State of other keys than a connection's (struct tripod_kind): what a worker has of it.
//
// An *entry* is the state of a key. One node writes it, the first in the rendezvous order of the members
// for this key, and the next have copies. A *claim* is what a worker with connections of the key has of
// it: how many of them, and how many units it has been given. In the entry each worker's units are a
// *part*. kind.c says how they get along.
//
// Thread: the owning worker.
#pragma once

#include <tripod/nf.h>

#include "core/arena.h"
#include "core/frame.h"

#define KIND_PARTS_MAX 64 // workers of the rack that have units of one key
#define KIND_STATE_MAX TRIPOD_KIND_STATE_MAX
#define KIND_DATA_MAX TRIPOD_KIND_DATA_MAX

struct kind_key {
	struct tripod_tuple tuple; // what the kind does not look at is zero
	uint32_t kind; // id, from chain_nf
};
_Static_assert(sizeof(struct kind_key) == 44, "keys are compared with memcmp: no padding");

// What claims and entries have in common: a place in a hash list, and in the list of those with which
// there is something to do.
struct kind_node {
	struct kind_key key;
	uint32_t chain; // next in the hash list, or of the free ones
	uint64_t hash;
	uint64_t next_ns; // of a busy one: when it is looked at
	uint32_t older, newer; // among the busy ones
	bool used, busy;
};

struct kind_table {
	uint8_t *nodes; // 1 to capacity, `size` bytes each
	uint32_t *list; // first of each hash list, 0: none
	uint32_t size, capacity, mask;
	uint32_t free, in_use, highest; // highest: that was ever in use
	uint32_t oldest, newest; // busy ones
	uint64_t due_ns; // no busy one is to be looked at before
	uint32_t at; // where the slow walk stands
};

struct kind_claim {
	struct kind_node n;
	uint64_t asked_ns, answered_ns,
		spare_ns; // spare_ns: since when it has units to spare, 0: not
	uint64_t refused_until_ns;
	uint32_t held; // connections here that count
	uint32_t units; // that they may be
	uint32_t waiting; // connections that wait for more
	uint32_t first, last; // of those, in the pool
	uint32_t seq; // of the question under way, or the last one
	uint32_t wanted; // ... what it asked for
	uint64_t waits_since_ns; // the first of those that wait
	uint8_t master; // ... whom
	uint8_t tries;
	bool asking, again; // again: ask once more, whatever there is
	bool lent; // its part in the entry has units of connections that have moved elsewhere
	bool known; // state has come
	uint8_t size; // of data
	uint8_t data[KIND_DATA_MAX];
	uint8_t state[KIND_STATE_MAX];
};

struct kind_part {
	uint32_t boot; // low bits, of the node that asks
	uint32_t seq; // of its question that was applied last
	uint32_t units;
	uint8_t node, worker;
	bool owed; // it waits for an answer
	uint64_t seen_ns; // kept here, not sent
};

struct kind_entry {
	struct kind_node n;
	uint64_t targets; // nodes that are to have a copy
	uint64_t acked; // of them, those that have acknowledged this version
	uint64_t copy_ns; // when it is sent again to the others
	uint64_t touched_ns; // when somebody last asked, or a copy came
	uint64_t told_ns; // when the copies were last sent for no other reason than to keep them
	uint32_t version;
	uint16_t epoch;
	uint8_t writer, tries, n_parts;
	uint8_t state[KIND_STATE_MAX];
	struct kind_part part[]; // sorted by nothing
};

struct kind_waiter {
	uint64_t incarnation;
	uint32_t conn, next;
	uint8_t nf;
};

struct kinds {
	struct kind_table claims, entries;
	struct kind_waiter *waiters;
	uint32_t free_waiter;
	unsigned parts_max;
	uint32_t seq;
	uint64_t tokens_ns; // time from which its unspent budget of questions counts
	uint64_t quiet_until_ns; // until then, nothing is applied: this node was away
	bool walking; // the members have changed, and not all has been looked at since
	struct {
		struct frame frame; // buf != NULL: open
		uint16_t used, count;
		uint8_t node, worker;
	} out; // the KIND being filled
};
