// SPDX-License-Identifier: BSD-3-Clause
// What the parts of replication share: repl.c sends, repl_rx.c merges, repair.c makes up for copies
// that were lost. Nobody else needs this header; core/shard.h has what the rest may call.
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

// Members that may hold a copy of record i.
static inline uint64_t repl_others(const struct shard *s, uint32_t i)
{
	(void)i;
	return s->live & ~repl_self(s);
}

// ---- repl.c ----
// What a message from a worker of a node acknowledges.
void repl_acks(struct shard *s, unsigned node, unsigned worker, const struct wire_header *h);
// A member has no room for a copy of record i.
void repl_no_room(struct shard *s, uint32_t i, unsigned node);
// A worker of a node could not make use of all records of this message.
void repl_refused(struct shard *s, unsigned node, unsigned worker, uint32_t seq);
