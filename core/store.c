// SPDX-License-Identifier: BSD-3-Clause
#include "core/store.h"

#include <assert.h>
#include <errno.h>
#include <xxhash.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

// Entries of the index are at most this share of its ways.
#define LOAD_NUMERATOR 3
#define LOAD_DENOMINATOR 4
// An entry stands at most so many buckets behind its home. At the load above, chains of eight are
// already rare; the bound is for the day when the hash is not as random as it should be.
#define PROBE_MAX 32

#define WHAT_DIR 1
#define WHAT_ALIAS 2

// The wheel: slot n holds what is due at tick n << WHEEL_SLOT_SHIFT (n modulo WHEEL_SLOTS). 4096
// slots of 134 ms span nine minutes; later deadlines are put back by their owner when they come up.
#define WHEEL_SLOTS 4096u
#define WHEEL_SLOT_SHIFT 7
#define WHEEL_SPAN (WHEEL_SLOTS << WHEEL_SLOT_SHIFT)
// Slot numbers wrap where ticks do.
#define WHEEL_NUMBER_MASK (UINT32_MAX >> WHEEL_SLOT_SHIFT)

// conn_repl.prev: 0 in no list, a record, WHEEL_HEAD | slot at the head of a slot's list, or
// WHEEL_FREE in the list of free records.
#define WHEEL_HEAD 0x80000000u
#define WHEEL_FREE UINT32_MAX

static uint32_t bucket_count(uint32_t capacity, uint32_t alias_capacity)
{
	uint64_t entries = (uint64_t)capacity * 2 + alias_capacity;
	uint64_t ways = (entries * LOAD_DENOMINATOR + LOAD_NUMERATOR - 1) / LOAD_NUMERATOR;
	uint32_t n = 1;
	while ((uint64_t)n * BUCKET_WAYS < ways)
		n *= 2;
	return n;
}

void store_init(struct store *s, struct arena *a, uint32_t capacity, uint32_t alias_capacity,
	uint32_t state_size, uint64_t hash_seed, tick_t now)
{
	// Above this the sum of the index's entries no longer fits, nor WHEEL_HEAD beside an index.
	assert(capacity < 1u << 30 && alias_capacity < 1u << 30);
	uint32_t buckets = bucket_count(capacity, alias_capacity);
	*s = (struct store){
		.capacity = capacity,
		.alias_capacity = alias_capacity,
		.bucket_mask = buckets - 1,
		.conn_size = (uint32_t)(CONN_HEADER + state_size + 63) & ~63u,
		.hash_seed = hash_seed,
		.wheel_now = now,
	};
	s->conns = arena_take(a, ((size_t)capacity + 1) * s->conn_size);
	s->repls = arena_take(a, ((size_t)capacity + 1) * sizeof(*s->repls));
	s->aliases = arena_take(a, ((size_t)alias_capacity + 1) * sizeof(*s->aliases));
	s->buckets = arena_take(a, (size_t)buckets * sizeof(*s->buckets));
	s->wheel = arena_take(a, WHEEL_SLOTS * sizeof(*s->wheel));
	if (s->wheel == NULL)
		return; // measuring

	// Backwards, so that records are handed out in the order of their addresses at first.
	for (uint32_t i = capacity; i > 0; i--) {
		s->repls[i].next = s->free_conn;
		s->repls[i].prev = WHEEL_FREE;
		s->free_conn = i;
	}
	for (uint32_t i = alias_capacity; i > 0; i--) {
		s->aliases[i].next_free = s->free_alias;
		s->free_alias = i;
	}
}

// ---- Index ----

uint64_t store_hash(const struct store *s, const struct tripod_tuple *key)
{
	return XXH3_64bits_withSeed(key, sizeof(*key), s->hash_seed);
}

uint64_t store_hash_bytes(const struct store *s, const void *data, size_t size)
{
	return XXH3_64bits_withSeed(data, size, s->hash_seed);
}

static uint16_t signature_of(uint64_t hash)
{
	return (uint16_t)(hash >> 48); // the bucket takes the low bits
}

// Bit w: way w has this signature. An empty way has signature 0, so the caller checks the index.
static unsigned bucket_match(const struct index_bucket *b, uint16_t signature)
{
#ifdef __SSE2__
	// The upper words of the entries, signatures lowest in them, four at a time.
	const __m128i *at = (const __m128i *)b;
	const __m128i wanted = _mm_set1_epi32(signature), low = _mm_set1_epi32(0xffff);
	unsigned match = 0;
	for (unsigned half = 0; half < 2; half++) {
		__m128 even = _mm_castsi128_ps(_mm_load_si128(at + 2 * half));
		__m128 odd = _mm_castsi128_ps(_mm_load_si128(at + 2 * half + 1));
		__m128i word = _mm_castps_si128(_mm_shuffle_ps(even, odd, _MM_SHUFFLE(3, 1, 3, 1)));
		__m128i equal = _mm_cmpeq_epi32(_mm_and_si128(word, low), wanted);
		match |= (unsigned)_mm_movemask_ps(_mm_castsi128_ps(equal)) << (4 * half);
	}
	return match & ((1u << BUCKET_WAYS) - 1);
#else
	unsigned match = 0;
	for (unsigned w = 0; w < BUCKET_WAYS; w++)
		match |= (unsigned)(b->way[w].signature == signature) << w;
	return match;
#endif
}

static const struct tripod_tuple *entry_key(const struct store *s, const struct index_entry *e)
{
	if (e->what & WHAT_ALIAS)
		return &s->aliases[e->index].key;
	return &store_conn(s, e->index)->dir[e->what & WHAT_DIR].key;
}

static struct store_hit entry_hit(const struct index_entry *e)
{
	return (struct store_hit){
		.what = e->what & WHAT_ALIAS ? STORE_ALIAS : STORE_CONN,
		.index = e->index,
		.dir = e->what & WHAT_DIR,
	};
}

struct store_hit store_prefetch_record(const struct store *s, uint64_t hash)
{
	uint32_t home = (uint32_t)hash & s->bucket_mask;
	const struct index_bucket *b = &s->buckets[home];
	unsigned match = bucket_match(b, signature_of(hash));
	for (; match != 0; match &= match - 1) {
		const struct index_entry *e = &b->way[__builtin_ctz(match)];
		if (e->index == STORE_NONE)
			continue;
		if (e->what & WHAT_ALIAS) {
			__builtin_prefetch(&s->aliases[e->index]);
			return entry_hit(e);
		}
		const uint8_t *c = (const uint8_t *)store_conn(s, e->index);
		for (uint32_t at = 0; at < s->conn_size; at += 64)
			__builtin_prefetch(c + at);
		return entry_hit(e);
	}
	if (b->overflow != 0)
		__builtin_prefetch(&s->buckets[(home + 1) & s->bucket_mask]);
	return (struct store_hit){.what = STORE_MISS};
}

struct store_hit store_find(const struct store *s, const struct tripod_tuple *key, uint64_t hash)
{
	uint16_t signature = signature_of(hash);
	uint32_t at = (uint32_t)hash & s->bucket_mask;
	for (unsigned probe = 0; probe < PROBE_MAX; probe++) {
		const struct index_bucket *b = &s->buckets[at];
		unsigned match = bucket_match(b, signature);
		for (; match != 0; match &= match - 1) {
			const struct index_entry *e = &b->way[__builtin_ctz(match)];
			if (e->index == STORE_NONE || !store_key_equal(entry_key(s, e), key))
				continue;
			return entry_hit(e);
		}
		if (b->overflow == 0)
			break;
		at = (at + 1) & s->bucket_mask;
	}
	return (struct store_hit){.what = STORE_MISS};
}

uint32_t store_find_hash(const struct store *s, uint64_t hash)
{
	uint16_t signature = signature_of(hash);
	uint32_t at = (uint32_t)hash & s->bucket_mask;
	for (unsigned probe = 0; probe < PROBE_MAX; probe++) {
		const struct index_bucket *b = &s->buckets[at];
		unsigned match = bucket_match(b, signature);
		for (; match != 0; match &= match - 1) {
			const struct index_entry *e = &b->way[__builtin_ctz(match)];
			if (e->index != STORE_NONE && (e->what & (WHAT_ALIAS | WHAT_DIR)) == 0 &&
				store_hash(s, entry_key(s, e)) == hash)
				return e->index;
		}
		if (b->overflow == 0)
			break;
		at = (at + 1) & s->bucket_mask;
	}
	return STORE_NONE;
}

// Counts an entry in (or, by -1, out of) the overflow of the n buckets from home on.
static void overflow_add(struct store *s, uint32_t home, unsigned n, int32_t by)
{
	for (unsigned i = 0; i < n; i++)
		s->buckets[(home + i) & s->bucket_mask].overflow += (uint32_t)by;
}

static int index_add(struct store *s, const struct tripod_tuple *key, struct index_entry entry)
{
	uint64_t hash = store_hash(s, key);
	if (store_find(s, key, hash).what != STORE_MISS)
		return -EEXIST;

	entry.signature = signature_of(hash);
	uint32_t home = (uint32_t)hash & s->bucket_mask;
	for (unsigned probe = 0; probe < PROBE_MAX && probe <= s->bucket_mask; probe++) {
		struct index_bucket *b = &s->buckets[(home + probe) & s->bucket_mask];
		for (unsigned w = 0; w < BUCKET_WAYS; w++) {
			if (b->way[w].index != STORE_NONE)
				continue;
			b->way[w] = entry;
			overflow_add(s, home, probe, 1);
			s->index_used++;
			return 0;
		}
	}
	return -ENOSPC;
}

// Takes the entry that leads to (index, what) out; nothing happens when there is none.
static void index_remove(
	struct store *s, const struct tripod_tuple *key, uint32_t index, uint8_t what)
{
	uint32_t home = (uint32_t)store_hash(s, key) & s->bucket_mask;
	for (unsigned probe = 0; probe < PROBE_MAX && probe <= s->bucket_mask; probe++) {
		struct index_bucket *b = &s->buckets[(home + probe) & s->bucket_mask];
		for (unsigned w = 0; w < BUCKET_WAYS; w++) {
			struct index_entry *e = &b->way[w];
			if (e->index != index || e->what != what)
				continue;
			*e = (struct index_entry){.index = STORE_NONE};
			overflow_add(s, home, probe, -1);
			s->index_used--;
			return;
		}
		if (b->overflow == 0)
			return;
	}
}

int store_index_conn(struct store *s, uint32_t i, unsigned dir)
{
	const struct conn *c = store_conn(s, i);
	return index_add(s, &c->dir[dir].key,
		(struct index_entry){.index = i, .chain = c->chain, .what = dir & WHAT_DIR});
}

int store_index_alias(struct store *s, uint32_t i)
{
	return index_add(
		s, &s->aliases[i].key, (struct index_entry){.index = i, .what = WHAT_ALIAS});
}

void store_unindex_conn(struct store *s, uint32_t i, unsigned dir)
{
	index_remove(s, &store_conn(s, i)->dir[dir].key, i, dir & WHAT_DIR);
}

void store_unindex_alias(struct store *s, uint32_t i)
{
	index_remove(s, &s->aliases[i].key, i, WHAT_ALIAS);
}

// ---- Records ----

uint32_t store_conn_new(struct store *s)
{
	uint32_t i = s->free_conn;
	if (i == STORE_NONE)
		return STORE_NONE;
	struct conn_repl *r = store_repl(s, i);
	s->free_conn = r->next;
	s->used++;
	s->highest = i > s->highest ? i : s->highest;
	struct conn *c = store_conn(s, i);
	uint16_t stamp = c->stamp;
	memset(c, 0, s->conn_size);
	memset(r, 0, sizeof(*r));
	// The stamp counts on from the record's last life: an acknowledgement that was under way when
	// that ended must not be taken for one of this life.
	c->stamp = (uint16_t)(stamp + 1);
	return i;
}

void store_conn_free(struct store *s, uint32_t i)
{
	struct conn_repl *r = store_repl(s, i);
	assert(i != STORE_NONE && i <= s->capacity && r->prev == 0);
	store_conn(s, i)->state = CONN_FREE;
	r->next = s->free_conn;
	r->prev = WHEEL_FREE;
	s->free_conn = i;
	s->used--;
}

uint32_t store_alias_new(struct store *s)
{
	uint32_t i = s->free_alias;
	if (i == STORE_NONE)
		return STORE_NONE;
	s->free_alias = s->aliases[i].next_free;
	s->aliases_used++;
	s->aliases[i] = (struct alias){.used = 1};
	return i;
}

void store_alias_free(struct store *s, uint32_t i)
{
	struct alias *a = &s->aliases[i];
	assert(i != STORE_NONE && i <= s->alias_capacity && a->used);
	a->used = 0;
	a->next_free = s->free_alias;
	s->free_alias = i;
	s->aliases_used--;
}

// ---- Wheel ----

void store_wheel_remove(struct store *s, uint32_t i)
{
	struct conn_repl *r = store_repl(s, i);
	assert(r->prev != WHEEL_FREE);
	if (r->prev == 0)
		return;
	if (r->prev & WHEEL_HEAD)
		s->wheel[r->prev & ~WHEEL_HEAD] = r->next;
	else
		store_repl(s, r->prev)->next = r->next;
	if (r->next != STORE_NONE)
		store_repl(s, r->next)->prev = r->prev;
	r->next = r->prev = 0;
}

void store_wheel_set(struct store *s, uint32_t i, tick_t at)
{
	store_wheel_remove(s, i);
	uint32_t cursor = s->wheel_now >> WHEEL_SLOT_SHIFT;
	// Never the cursor's own slot, which may be under way, and which the far end of the wheel
	// would share: what is past comes up with the next slot, so that no caller loops for ever.
	uint32_t ahead = 1;
	if ((int32_t)(at - s->wheel_now) > 0) {
		uint32_t number = (at + (1u << WHEEL_SLOT_SHIFT) - 1) >> WHEEL_SLOT_SHIFT;
		ahead = (number - cursor) & WHEEL_NUMBER_MASK;
		if (ahead > WHEEL_SLOTS - 1)
			ahead = WHEEL_SLOTS - 1;
	}
	uint32_t slot = (cursor + ahead) & (WHEEL_SLOTS - 1);

	struct conn_repl *r = store_repl(s, i);
	r->prev = WHEEL_HEAD | slot;
	r->next = s->wheel[slot];
	if (r->next != STORE_NONE)
		store_repl(s, r->next)->prev = i;
	s->wheel[slot] = i;
}

uint32_t store_wheel_due(struct store *s, tick_t now)
{
	// A clock that steps back a little stands still here; a larger step "back" is a sleep of weeks.
	if (s->wheel_now - now < WHEEL_SPAN && now != s->wheel_now)
		return STORE_NONE;
	uint32_t cursor = s->wheel_now >> WHEEL_SLOT_SHIFT;
	uint32_t left = ((now >> WHEEL_SLOT_SHIFT) - cursor) & WHEEL_NUMBER_MASK;
	if (left > WHEEL_SLOTS) {
		// After a long sleep one turn meets every slot; the others would be second visits.
		cursor += left - WHEEL_SLOTS;
		left = WHEEL_SLOTS;
	}
	for (;;) {
		uint32_t i = s->wheel[cursor & (WHEEL_SLOTS - 1)];
		if (i != STORE_NONE) {
			s->wheel_now = left > 0 ? cursor << WHEEL_SLOT_SHIFT : now;
			store_wheel_remove(s, i);
			return i;
		}
		if (left == 0)
			break;
		cursor++;
		left--;
	}
	s->wheel_now = now;
	return STORE_NONE;
}
