// SPDX-License-Identifier: BSD-3-Clause
// What the parts of the code for kinds share: kind.c keeps the tables and speaks, kind_claim.c asks,
// kind_entry.c writes and copies. Nobody else needs this header; core/shard.h has what the rest may call.
#pragma once

#include "core/shard.h"

#define KIND_REPEAT_NS (10 * MS) // of questions and copies
#define KIND_DOUBLINGS 4 // to 160 ms
#define KIND_REFRESH_NS (2000 * MS) // a claim says that it is still there
#define KIND_EXPIRE_NS (10000 * MS) // ... and is forgotten when it has not

struct kind_from {
	uint8_t node, worker;
	uint32_t boot;
};

// ---- kind.c ----
static inline void *kind_at(const struct kind_table *t, uint32_t k)
{
	return t->nodes + (size_t)k * t->size;
}
static inline struct kind_claim *kind_claim_at(const struct shard *s, uint32_t k)
{
	return kind_at(&s->kinds.claims, k);
}
static inline struct kind_entry *kind_entry_at(const struct shard *s, uint32_t k)
{
	return kind_at(&s->kinds.entries, k);
}
uint32_t kind_find(
	const struct kind_table *t, uint64_t hash, const struct kind_key *key); // 0: none
uint32_t kind_find_hash(const struct kind_table *t, uint64_t hash);
uint32_t kind_new(struct kind_table *t, uint64_t hash, const struct kind_key *key); // 0: full
void kind_delete(struct kind_table *t, uint32_t k);
// It is to be looked at at that time, or before.
void kind_busy(struct shard *s, struct kind_table *t, uint32_t k, uint64_t at_ns);
void kind_calm(struct kind_table *t, uint32_t k); // ... no more

uint64_t kind_hash(const struct shard *s, const struct kind_key *key);
// The NF that has this kind, in any chain of this node; NULL: none.
const struct tripod_kind *kind_of(const struct shard *s, uint32_t id);
// Who of `among` may write or keep entries of a kind, in the order of the key: the first n.
uint64_t kind_order(
	const struct shard *s, const struct kind_node *n, uint64_t among, unsigned count);
// To the worker of a node that has the entry (or any other). false: not now.
bool kind_send(struct shard *s, unsigned node, unsigned worker, const struct wire_kind *w);
unsigned kind_worker(const struct shard *s, unsigned node, uint64_t hash);

// ---- kind_claim.c ----
void kind_claim_look(struct shard *s, uint32_t k); // the next thing to do for it
void kind_claim_walk(struct shard *s, uint32_t k); // now and then
void kind_claim_answer(struct shard *s, const struct wire_kind *w);

// ---- kind_entry.c ----
void kind_entry_look(struct shard *s, uint32_t k);
void kind_entry_walk(struct shard *s, uint32_t k);
void kind_entry_ask(struct shard *s, const struct wire_kind *w, const struct kind_from *from);
void kind_entry_copy(struct shard *s, const struct wire_kind *w, const struct kind_from *from);
void kind_entry_have(struct shard *s, const struct wire_kind *w, unsigned node);
