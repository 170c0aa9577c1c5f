// SPDX-License-Identifier: BSD-3-Clause
#include "core/store.h"

#include <assert.h>
#include <errno.h>
#include <xxhash.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

// Entries of the index are at most this share of its ways.
#define LOAD_NUMERATOR 13
#define LOAD_DENOMINATOR 16
// An entry stands in one of so many buckets: its home, its second, and those behind that. At the load
// above one in fifteen is not at home, and one in seventy beyond its second; the bound is for the day
// when the hash is not as random as it should be.
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
	return (uint32_t)((ways + BUCKET_WAYS - 1) / BUCKET_WAYS);
}

void store_init(struct store *s, struct arena *a, uint32_t capacity, uint32_t alias_capacity,
	uint32_t state_size, uint64_t hash_seed, tick_t now)
{
	assert(capacity <= STORE_CAPACITY_MAX && alias_capacity <= STORE_CAPACITY_MAX);
	uint32_t buckets = bucket_count(capacity, alias_capacity);
	*s = (struct store){
		.capacity = capacity,
		.alias_capacity = alias_capacity,
		.n_buckets = buckets,
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
	_Static_assert(BUCKET_WAYS <= 16, "signatures in two registers, and something behind them");
	const __m128i *at = (const __m128i *)b;
	const __m128i wanted = _mm_set1_epi16((short)signature);
	__m128i low = _mm_cmpeq_epi16(_mm_load_si128(at), wanted);
	__m128i high = _mm_cmpeq_epi16(_mm_load_si128(at + 1), wanted);
	unsigned match = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(low, high));
	return match & ((1u << BUCKET_WAYS) - 1);
#else
	unsigned match = 0;
	for (unsigned w = 0; w < BUCKET_WAYS; w++)
		match |= (unsigned)(b->signature[w] == signature) << w;
	return match;
#endif
}

// The bucket to look at behind `at`, which is the one of number `probe`.
static uint32_t next_bucket(const struct store *s, uint64_t hash, unsigned probe, uint32_t at)
{
	if (probe == 0)
		return store_second(s, hash);
	return at + 1 == s->n_buckets ? 0 : at + 1;
}

static const struct tripod_tuple *entry_key(const struct store *s, struct index_entry e)
{
	if (e.what & WHAT_ALIAS)
		return &s->aliases[e.index].key;
	return &store_conn(s, e.index)->dir[e.what & WHAT_DIR].key;
}

static struct store_hit entry_hit(struct index_entry e)
{
	return (struct store_hit){
		.what = e.what & WHAT_ALIAS ? STORE_ALIAS : STORE_CONN,
		.index = e.index,
		.dir = e.what & WHAT_DIR,
	};
}

static struct store_hit prefetch_from(
	const struct store *s, const struct index_bucket *b, uint64_t hash)
{
	unsigned match = bucket_match(b, signature_of(hash));
	for (; match != 0; match &= match - 1) {
		struct index_entry e = store_entry(b, (unsigned)__builtin_ctz(match));
		if (e.index == STORE_NONE)
			continue;
		if (e.what & WHAT_ALIAS) {
			__builtin_prefetch(&s->aliases[e.index]);
			return entry_hit(e);
		}
		const uint8_t *c = (const uint8_t *)store_conn(s, e.index);
		for (uint32_t at = 0; at < s->conn_size; at += 64)
			__builtin_prefetch(c + at);
		return entry_hit(e);
	}
	return (struct store_hit){.what = STORE_MISS};
}

struct store_hit store_prefetch_record(const struct store *s, uint64_t hash)
{
	const struct index_bucket *b = &s->buckets[store_home(s, hash)];
	struct store_hit hit = prefetch_from(s, b, hash);
	if (hit.what == STORE_MISS && b->overflow != 0)
		__builtin_prefetch(&s->buckets[store_second(s, hash)]);
	return hit;
}

struct store_hit store_prefetch_second(const struct store *s, uint64_t hash)
{
	if (s->buckets[store_home(s, hash)].overflow == 0)
		return (struct store_hit){.what = STORE_MISS};
	return prefetch_from(s, &s->buckets[store_second(s, hash)], hash);
}

struct store_hit store_find(const struct store *s, const struct tripod_tuple *key, uint64_t hash)
{
	uint16_t signature = signature_of(hash);
	uint32_t at = store_home(s, hash);
	for (unsigned probe = 0; probe < PROBE_MAX; probe++) {
		const struct index_bucket *b = &s->buckets[at];
		unsigned match = bucket_match(b, signature);
		for (; match != 0; match &= match - 1) {
			struct index_entry e = store_entry(b, (unsigned)__builtin_ctz(match));
			if (e.index == STORE_NONE || !store_key_equal(entry_key(s, e), key))
				continue;
			return entry_hit(e);
		}
		if (b->overflow == 0)
			break;
		at = next_bucket(s, hash, probe, at);
	}
	return (struct store_hit){.what = STORE_MISS};
}

uint32_t store_find_hash(const struct store *s, uint64_t hash)
{
	uint16_t signature = signature_of(hash);
	uint32_t at = store_home(s, hash);
	for (unsigned probe = 0; probe < PROBE_MAX; probe++) {
		const struct index_bucket *b = &s->buckets[at];
		unsigned match = bucket_match(b, signature);
		for (; match != 0; match &= match - 1) {
			struct index_entry e = store_entry(b, (unsigned)__builtin_ctz(match));
			if (e.index != STORE_NONE && e.what == 0 &&
				store_hash(s, entry_key(s, e)) == hash)
				return e.index;
		}
		if (b->overflow == 0)
			break;
		at = next_bucket(s, hash, probe, at);
	}
	return STORE_NONE;
}

// Counts an entry in (or, by -1, out of) the overflow of its first n buckets.
static void overflow_add(struct store *s, uint64_t hash, unsigned n, int32_t by)
{
	uint32_t at = store_home(s, hash);
	for (unsigned probe = 0; probe < n; probe++) {
		s->buckets[at].overflow += (uint32_t)by;
		at = next_bucket(s, hash, probe, at);
	}
}

static int index_add(struct store *s, const struct tripod_tuple *key, struct index_entry entry)
{
	uint64_t hash = store_hash(s, key);
	if (store_find(s, key, hash).what != STORE_MISS)
		return -EEXIST;

	uint32_t at = store_home(s, hash);
	for (unsigned probe = 0; probe < PROBE_MAX; probe++) {
		struct index_bucket *b = &s->buckets[at];
		for (unsigned w = 0; w < BUCKET_WAYS; w++) {
			if (store_entry(b, w).index != STORE_NONE)
				continue;
			b->signature[w] = signature_of(hash);
			b->ref[w] = entry.index | (uint32_t)entry.what << ENTRY_WHAT_SHIFT |
				    (uint32_t)entry.chain << ENTRY_CHAIN_SHIFT;
			overflow_add(s, hash, probe, 1);
			s->index_used++;
			return 0;
		}
		at = next_bucket(s, hash, probe, at);
	}
	return -ENOSPC;
}

// Takes the entry that leads to (index, what) out; nothing happens when there is none.
static void index_remove(
	struct store *s, const struct tripod_tuple *key, uint32_t index, uint8_t what)
{
	uint64_t hash = store_hash(s, key);
	uint32_t at = store_home(s, hash);
	for (unsigned probe = 0; probe < PROBE_MAX; probe++) {
		struct index_bucket *b = &s->buckets[at];
		for (unsigned w = 0; w < BUCKET_WAYS; w++) {
			struct index_entry e = store_entry(b, w);
			if (e.index != index || e.what != what)
				continue;
			b->signature[w] = 0;
			b->ref[w] = STORE_NONE;
			overflow_add(s, hash, probe, -1);
			s->index_used--;
			return;
		}
		if (b->overflow == 0)
			return;
		at = next_bucket(s, hash, probe, at);
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
