// SPDX-License-Identifier: BSD-3-Clause
// What the parts of replication share: repl.c sends, repl_rx.c merges, ending.c tells of ends, repair.c makes
// up for copies that were lost. Nobody else needs this header; core/shard.h has what the rest may call.
#pragma once

#include "core/shard.h"

static inline uint64_t repl_self(const struct shard *s)
{
	return 1ull << s->conf->id;
}

// The channel to a worker of a node has something to do.
static inline void repl_busy(struct shard *s, unsigned node, unsigned worker)
{
	s->busy[node] |= 1ull << worker;
	s->busy_nodes |= 1ull << node;
}

static inline uint32_t repl_age_ms(const struct shard *s, tick_t seen)
{
	int32_t age = (int32_t)(s->now - seen);
	return age < 0 ? 0 : (uint32_t)(((uint64_t)age << TICK_SHIFT) / MS);
}

// Does claim a on a part win over b?
static inline bool repl_newer(const struct conn_version *a, const struct conn_version *b)
{
	if (a->epoch != b->epoch)
		return (int16_t)(a->epoch - b->epoch) > 0;
	if (a->version != b->version)
		return (int32_t)(a->version - b->version) > 0;
	return a->writer > b->writer;
}

// Members that may be given a copy of record i: who has not its chain is no backup for it.
static inline uint64_t repl_takers(const struct shard *s, uint32_t i)
{
	return shard_takers(s) & s->chain_nodes[store_conn(&s->store, i)->chain];
}

// Nodes that write a part of it.
static inline uint64_t repl_writers(const struct conn_repl *r)
{
	return 1ull << r->part[0].writer | 1ull << r->part[1].writer |
	       1ull << r->part[PART_SHARED].writer;
}

// Of these nodes, those that are heard and have not started anew since anything was heard of the connection.
static inline uint64_t repl_remember(const struct shard *s, const struct conn *c, uint64_t nodes)
{
	uint64_t age_ns = (uint64_t)(s->now - conn_last_seen(c)) << TICK_SHIFT, remember = 0;

	for (nodes &= s->live; nodes != 0; nodes &= nodes - 1) {
		uint64_t at_ns = s->peer[__builtin_ctzll(nodes)].restarted_ns;
		if (at_ns == 0 || s->now_ns - at_ns > age_ns)
			remember |= nodes & -nodes;
	}
	return remember;
}

// What a node has acknowledged of this record counts no more.
static inline void repl_forget(struct conn_repl *r, unsigned node)
{
	holders_unmark(r, HOLDER_ACKED, 1ull << node);
	holders_unmark(r, HOLDER_KNOWN, 1ull << node);
}

// ---- repl.c ----
// What a message from a worker of a node acknowledges.
void repl_acks(struct shard *s, unsigned node, unsigned worker, const struct wire_header *h);
// A member could not keep a copy of record i. alone: it could of others.
void repl_no_room(struct shard *s, uint32_t i, unsigned node, bool alone);
// A worker of a node could not make use of all records of this message.
void repl_refused(struct shard *s, unsigned node, unsigned worker, uint32_t seq);
// Sends record i to the holders that lack it; more_copies: and to others, until there are enough.
void repl_give(struct shard *s, uint32_t i, bool more_copies);
// A node has a copy of record i, or is about to. repl_introduce(): the writers are to hear of it whether or
// not it stands among the holders here.
void repl_hold(struct shard *s, uint32_t i, unsigned node);
void repl_introduce(struct shard *s, uint32_t i, unsigned node);
// Of record i a node lacks something that is here: it is sent the whole. What is under way to it is not that.
void repl_owe(struct shard *s, uint32_t i, unsigned node);

// ---- ending.c ----
// In a channel's queue, and in what was sent on it: not a record, but an end (struct ending).
#define REF_ENDING 0x40000000u
void ending_queue(struct shard *s, uint32_t ref);
// What a channel to a node has of it in its queue; NULL: it need not be sent any more.
const struct ending *ending_due(struct shard *s, uint32_t ref, unsigned node);
void ending_acked(struct shard *s, uint32_t ref, uint32_t stamp, unsigned node);
void ending_lost(struct shard *s, uint32_t ref, uint32_t stamp, unsigned node);
void ending_forget(struct shard *s, unsigned node); // it has restarted

// ---- compare.c ----
// Does the copy of a holder that has been asked for it differ from record i? lacks: it is not only that the sender
// knows more.
bool compare_differs(const struct shard *s, uint32_t i, const struct wire_record *w, bool *lacks);

// ---- rival.c ----
enum rival {
	RIVAL_STALE, // it is of the past: who tells of it does not know the newer life
	RIVAL_LOSES, // the life that is here goes on, above both
	RIVAL_WINS, // it takes the place of what is here
};
// w tells of another life of record c's key.
enum rival rival_of(struct shard *s, uint32_t i, const struct wire_record *w);

static inline enum durability repl_durability_of(const struct wire_record *w)
{
	return w->flags & WIRE_RECORD_SYNC   ? DURABILITY_SYNC
	       : w->flags & WIRE_RECORD_NONE ? DURABILITY_NONE
					     : DURABILITY_ASYNC;
}

// ---- repair.c ----
// Does this node look after the copies of record i?
bool repl_responsible(const struct shard *s, uint32_t i);
