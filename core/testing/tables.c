// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/tables.h"

#include <stdio.h>

#include "core/hpsms/kinds.h"

#define WHEEL_SLOTS 4096 // as core/store.c has it

// What was found wrong first.
struct finding {
	char *why;
	size_t size;
	bool wrong;
};

static void fail(struct finding *at, const char *what, uint64_t is, uint64_t should)
{
	if (!at->wrong)
		snprintf(at->why, at->size, "%s: %llu, should be %llu", what,
			(unsigned long long)is, (unsigned long long)should);
	at->wrong = true;
}

static void equal(struct finding *at, const char *what, uint64_t is, uint64_t should)
{
	if (is != should)
		fail(at, what, is, should);
}

static const struct tripod_tuple *key_of(const struct store *s, struct index_entry e)
{
	if (e.what & 2)
		return &s->aliases[e.index].key;
	return &store_conn(s, e.index)->dir[e.what & 1].key;
}

// Every entry is found under its own key; there are no more entries than keys.
static void check_index(struct finding *at, const struct store *s, uint32_t keys)
{
	uint32_t entries = 0;

	for (uint32_t b = 0; b < s->n_buckets; b++) {
		for (unsigned w = 0; w < BUCKET_WAYS; w++) {
			struct index_entry e = store_entry(&s->buckets[b], w);
			if (e.index == STORE_NONE)
				continue;
			const struct tripod_tuple *key = key_of(s, e);
			struct store_hit hit = store_find(s, key, store_hash(s, key));
			entries++;
			if (!(e.what & 2) && store_conn(s, e.index)->state == CONN_FREE)
				fail(at, "index entry of a free record", e.index, 0);
			equal(at, "record found under its key", hit.index, e.index);
		}
	}
	equal(at, "index entries", entries, keys);
	equal(at, "index_used", s->index_used, keys);
}

static void check_wheel(struct finding *at, const struct store *s, uint32_t records)
{
	uint32_t n = 0;

	for (uint32_t slot = 0; slot < WHEEL_SLOTS; slot++) {
		for (uint32_t i = s->wheel[slot]; i != STORE_NONE; i = store_repl(s, i)->next) {
			if (store_conn(s, i)->state == CONN_FREE || ++n > records)
				fail(at, "record in the wheel", i, 0);
		}
	}
	equal(at, "records in the wheel", n, records);
}

static void check_waiting(struct finding *at, const struct shard *s)
{
	uint32_t waiting = 0, free = 0, pulls = 0;

	for (unsigned h = 0; h < 256; h++) {
		for (uint32_t w = s->held[h]; w != 0; w = s->waiting[w].next) {
			const struct conn *c = store_conn(&s->store, s->waiting[w].conn);
			waiting++;
			if (!(c->flags & CONN_HELD) || c->state != CONN_LIVE)
				fail(at, "packet held for a record", s->waiting[w].conn, 0);
		}
	}
	for (uint32_t i = 1; i <= s->conf->pulls; i++) {
		unsigned n = 0;
		for (uint32_t w = s->pulls[i].first; w != 0; w = s->waiting[w].next)
			n++;
		equal(at, "packets that wait for a pull", n, s->pulls[i].n_waiting);
		waiting += n;
		pulls += s->pulls[i].state == PULL_ASKING || s->pulls[i].state == PULL_ROUND;
	}
	uint32_t rounds = 0;
	for (uint32_t w = s->index.first; w != 0; w = s->waiting[w].next)
		rounds++;
	equal(at, "packets that wait for a round", s->index.n, rounds);
	waiting += rounds;
	for (uint32_t w = s->again_first; w != 0; w = s->waiting[w].next)
		waiting++;
	for (uint32_t w = s->waiting_free; w != 0; w = s->waiting[w].next)
		free++;
	equal(at, "packets that wait", s->waiting_used, waiting);
	equal(at, "free places to wait", free, s->conf->waiting - waiting);
	equal(at, "pulls under way", s->pulls_asking, pulls);
}

static void check_requests(struct finding *at, const struct shard *s)
{
	const struct requests *q = &s->requests;
	uint32_t listed = 0, hashed = 0, free = 0;

	for (uint32_t i = q->oldest; i != 0; i = q->pool[i].newer) {
		listed++;
		if (!q->pool[i].asks && !q->pool[i].terminate)
			fail(at, "request for nothing", i, 0);
		if (q->pool[i].next_ns < q->due_ns)
			fail(at, "request that nobody will look at in time", i, 0);
	}
	for (unsigned h = 0; h < REQUEST_HASH; h++) {
		for (uint32_t i = q->hash[h]; i != 0; i = q->pool[i].chain)
			hashed++;
	}
	for (uint32_t i = q->free; i != 0; i = q->pool[i].chain)
		free++;
	equal(at, "requests in the list", q->used, listed);
	equal(at, "requests in the hash table", q->used, hashed);
	equal(at, "free places for requests", free, s->conf->requests - q->used);
}

static void check_table(struct finding *at, const struct kind_table *t)
{
	uint32_t used = 0, busy = 0, listed = 0, hashed = 0, free = 0;

	for (uint32_t k = 1; k <= t->highest; k++) {
		const struct kind_node *n = kind_at(t, k);
		used += n->used;
		busy += n->busy;
		if (n->busy && n->next_ns < t->due_ns)
			fail(at, "claim or entry that nobody will look at in time", k, 0);
	}
	for (uint32_t k = t->oldest; k != 0; k = ((struct kind_node *)kind_at(t, k))->newer)
		listed++;
	for (uint32_t h = 0; t->capacity > 0 && h <= t->mask; h++) {
		for (uint32_t k = t->list[h]; k != 0;
			k = ((struct kind_node *)kind_at(t, k))->chain)
			hashed++;
	}
	for (uint32_t k = t->free; k != 0; k = ((struct kind_node *)kind_at(t, k))->chain)
		free++;
	equal(at, "claims or entries in use", t->in_use, used);
	equal(at, "busy ones in the list", listed, busy);
	equal(at, "... in the hash table", hashed, used);
	equal(at, "free ones", free, t->highest - used);
}

// The connections that count are those that the claims hold.
static void check_kinds(struct finding *at, const struct shard *s)
{
	uint32_t held = 0, waiting = 0, counted = 0, free = 0;

	check_table(at, &s->kinds.claims);
	check_table(at, &s->kinds.entries);
	for (uint32_t k = 1; k <= s->kinds.claims.highest; k++) {
		const struct kind_claim *q = kind_claim_at(s, k);
		uint32_t listed = 0;
		for (uint32_t w = q->first; q->n.used && w != 0; w = s->kinds.waiters[w].next)
			listed++;
		equal(at, "connections that wait for a unit", q->n.used ? q->waiting : 0, listed);
		held += q->n.used ? q->held : 0;
		waiting += listed;
	}
	for (uint32_t w = s->kinds.free_waiter; w != 0; w = s->kinds.waiters[w].next)
		free++;
	equal(at, "free places to wait for a unit", free, s->conf->kinds - waiting);
	for (uint32_t i = 1; i <= s->store.highest; i++) {
		const struct conn *c = store_conn(&s->store, i);
		if (c->state != CONN_FREE && conn_chain(s, c)->kinds)
			counted += (unsigned)__builtin_popcount(c->nf[conn_chain(s, c)->counted]);
	}
	equal(at, "connections that count in a kind", held, counted);
}

// What is announced are keys of records here.
static void check_announced(struct finding *at, const struct shard *s)
{
	const struct index *ix = s->node->index;
	uint32_t announced = 0;

	for (uint32_t i = 1; i <= s->store.capacity; i++) {
		if (s->index.what[i] != 0 && store_conn(&s->store, i)->state == CONN_FREE)
			fail(at, "free record in the index set", i, 0);
		announced += s->index.what[i] == 2;
	}
	equal(at, "records announced", s->index.announced, announced);
	if (s->conf->workers == 1)
		equal(at, "keys in the index set", ix->own.used + ix->missing, 2 * announced);
}

bool tables_check(const struct shard *s, char *why, size_t size)
{
	struct finding finding = {.why = why, .size = size}, *at = &finding;
	const struct store *st = &s->store;
	uint32_t used = 0, keys = 0, embryonic = 0, aliases = 0, under[256] = {0};

	for (uint32_t i = 1; i <= st->capacity; i++) {
		const struct conn *c = store_conn(st, i);
		if (c->state == CONN_FREE)
			continue;
		used++;
		under[c->chain]++;
		if (c->chain >= CHAINS_MAX || conn_chain(s, c) == NULL)
			fail(at, "record's chain", c->chain, 0);
		keys += 1 + (c->dir[1].key.proto != 0);
		embryonic += !(c->flags & CONN_ANSWERED);
	}
	for (uint32_t a = 1; a <= st->alias_capacity; a++)
		aliases += st->aliases[a].used;
	equal(at, "records in use", st->used, used);
	equal(at, "unanswered connections", st->embryonic, embryonic);
	for (unsigned k = 0; k < CHAINS_MAX; k++)
		equal(at, "records under a chain", s->chain_used[k], under[k]);
	equal(at, "aliases in use", st->aliases_used, aliases);
	check_index(at, st, keys + aliases);
	check_wheel(at, st, used);
	check_waiting(at, s);
	check_requests(at, s);
	check_kinds(at, s);
	check_announced(at, s);
	return !finding.wrong;
}
