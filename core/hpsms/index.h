// SPDX-License-Identifier: BSD-3-Clause
// Index sets (paper, IV-B): each node tells the others the fingerprints of the keys that it has, so
// that a packet of an unknown connection is asked for where it may be, or nowhere.
//
//   index_own.c    this node's set: what workers announce, the stream of changes, snapshots, answers
//   index_batch.c  changes on their way into the stream
//   index_peers.c  the others' sets: changes and gaps, the merged table, rounds of questions
//   cuckoo.c       the filter that is this node's set
//   index_map.c    the merged table
//
// A node has one set and one stream of numbered changes, whatever its workers: two keys of one
// fingerprint may be two workers', and the last of them alone takes the fingerprint out. So worker 0
// keeps it; the others tell it through their rings.
#pragma once

#include <tripod/tuple.h>

#include "core/hpsms/cuckoo.h"
#include "core/hpsms/index_batch.h"
#include "core/hpsms/index_map.h"
#include "core/hpsms/wire.h"

#define INDEX_HISTORY 128 // messages of changes that a node keeps for those who missed them

enum index_state {
	INDEX_FOLLOWING, // its changes are applied as they come
	INDEX_SWEPT, // what was known of it is being taken out of the table
	INDEX_COPYING, // its set as it is, is being fetched
};

// A member's set, as far as it is known here. Worker 0.
struct index_member {
	uint8_t state; // enum index_state
	bool heard; // since its start
	bool partial; // it says that its set lacks keys
	bool overflowed; // the table had no room for all of it
	bool in_table; // has, or had, fingerprints there
	bool answering; // its answer to the round under way is `answer`, when all before is here
	bool fresh; // has just started: its changes are numbered from 1
	bool missing; // changes are
	uint32_t applied; // all changes up to this one are in the table
	uint32_t newest; // that is known of
	uint32_t answer;
	uint32_t copy_at, copy_total; // places of its set that have come, of how many
	uint8_t copy_left; // pieces still to come of those asked for
	uint64_t current_ns; // when it was last known that nothing is missing
	uint64_t missed_ns; // when it was last asked for what is
	uint64_t copy_ns; // when it was last asked for its set
	uint64_t died_ns; // 0: lives
	uint64_t overflowed_ns;
};

struct index {
	// This node's set. Worker 0.
	struct cuckoo own;
	uint64_t missing; // keys that found it full
	struct index_batch *batch; // changes that have no number yet
	struct index_delta *history; // INDEX_HISTORY, slot of number % INDEX_HISTORY
	uint32_t filling; // number of the next
	uint32_t unsent; // number of the first that has not been sent
	uint64_t due_ns; // when the batch is told
	uint64_t told_ns; // when the last message of changes, or that there are none, was sent
	uint64_t copied_ns; // when a snapshot was last asked for

	// Rounds that others ask for. Worker 0.
	uint64_t askers; // being answered
	uint64_t askers_next; // asked since that began
	uint8_t asker_round[64], asker_next[64]; // which rounds
	uint64_t answered_ns;
	uint64_t flush_ns; // when workers were last told to announce all
	uint32_t flush_left; // workers that have yet to announce all that they have
	uint32_t flush_untold; // ... to be told so
	uint32_t revealing; // bit w: worker w has quiet ones that are not announced yet
	bool flushing;

	// The others' sets. Worker 0 writes.
	struct index_map map; // read by all workers
	struct index_member m[64];
	uint64_t sweeping; // members being taken out of the table
	uint64_t sweep_next; // ... in the next turn
	uint32_t sweep_at;

	// Rounds of this node's. Worker 0.
	uint64_t awaited; // members that have not answered
	uint64_t round_ns; // when it began
	uint64_t asked_ns; // when that was last sent
	bool round_open;
	bool round_blind; // a member was left out of it whose set was not here

	uint64_t next_ns; // when worker 0 has something to do next
	struct wire_delta rx; // the message being applied, or sent

	_Alignas(64) _Atomic uint64_t known; // members whose bits in the table count; worker 0: wo
	_Atomic uint64_t
		blind; // members whose set is not here: to be asked themselves; worker 0: wo
	_Atomic uint64_t behind; // members some of whose changes are on their way; worker 0: wo
	_Atomic uint32_t serial; // messages that have brought something; worker 0: wo
	_Atomic uint32_t round_begun; // rounds so far; worker 0: wo
	_Atomic uint32_t round_done; // the last of them that is over; worker 0: wo
	_Atomic uint32_t round_whole; // ... for which no member was left out; worker 0: wo
	_Atomic uint32_t round_lost; // ... that a responsive member has not answered; worker 0: wo
	_Alignas(64) _Atomic uint32_t round_wanted; // workers: rw (a maximum)
};

// Connections that are not announced, oldest first.
struct index_ring {
	struct index_waits {
		uint32_t conn;
		uint32_t since; // tick
	} * slot;
	uint32_t mask, head, tail;
	uint32_t to; // what stands before this place is announced whatever its age
};

// A worker's part.
#define INDEX_WAITS 1 // of `what`: stands in one of the rings
#define INDEX_ANNOUNCED 2
struct index_shard {
	uint8_t *what; // of each record
	struct index_ring young, quiet; // not old enough; old, but no packet comes
	bool flushing; // worker 0 waits for the young ones to be announced
	bool revealing; // the quiet ones are being announced
	uint64_t eager_ns; // time from which unspent budget for unanswered connections counts
	uint64_t reveal_ns; // ... for quiet ones
	uint32_t out_n, out_removes; // for worker 0, not yet in the ring
	bool out_urgent; // ... to be told at once
	uint32_t out[12];
	uint32_t announced; // records; a gauge
	// Packets that wait for a round, oldest first.
	uint32_t first, last, n;
	uint32_t serial; // of the table when they were last looked up
	uint64_t looked_ns;
};

// The fingerprint of a key: the sets of the two directions are apart in its lowest bit.
static inline uint32_t index_print(uint64_t hash, unsigned direction)
{
	uint32_t fp = (uint32_t)(hash >> 32) & ~1u;
	return (fp == 0 ? 2 : fp) | (direction & 1);
}

static inline uint64_t index_load(const _Atomic uint64_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}
