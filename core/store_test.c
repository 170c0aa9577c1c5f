// SPDX-License-Identifier: BSD-3-Clause
#include "core/store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/rng.h"

#define SLOT 128 // ticks of one wheel slot
#define SPAN (4096 * SLOT) // ticks of one wheel turn

struct fixture {
	struct store s;
	uint8_t *mem;
};

static void fixture_init(struct fixture *f, uint32_t capacity, uint32_t aliases,
	uint32_t state_size, uint64_t seed, tick_t now)
{
	struct arena a = {0};
	store_init(&f->s, &a, capacity, aliases, state_size, seed, now);
	assert_null(f->s.conns);
	size_t size = a.used;
	f->mem = aligned_alloc(64, size);
	assert_non_null(f->mem);
	memset(f->mem, 0, size);
	a = (struct arena){.base = f->mem, .size = size};
	store_init(&f->s, &a, capacity, aliases, state_size, seed, now);
	assert_int_equal(a.used, size);
}

static void fixture_fini(struct fixture *f)
{
	free(f->mem);
}

static struct tripod_tuple tuple_of(uint32_t number)
{
	struct tripod_tuple t = {
		.src = tripod_addr_v4(number),
		.dst = tripod_addr_v4(0x010200c0),
		.sport = (uint16_t)(number >> 3),
		.dport = 80,
		.proto = 6,
		.direction = number & 1,
	};
	return t;
}

static struct store_hit find(const struct store *s, const struct tripod_tuple *key)
{
	uint64_t hash = store_hash(s, key);
	store_prefetch_bucket(s, hash);
	struct store_hit early = store_prefetch_record(s, hash), found = store_find(s, key, hash);
	// What was fetched ahead is believed only when it is the same.
	if (store_hit_right(s, &early, key)) {
		assert_int_equal(found.what, STORE_CONN);
		assert_int_equal(found.index, early.index);
		assert_int_equal(found.dir, early.dir);
	}
	return found;
}

static uint64_t overflow_sum(const struct store *s)
{
	uint64_t sum = 0;
	for (uint32_t b = 0; b < s->n_buckets; b++)
		sum += s->buckets[b].overflow;
	return sum;
}

static void assert_index_empty(const struct store *s)
{
	assert_int_equal(s->index_used, 0);
	assert_int_equal(overflow_sum(s), 0);
	for (uint32_t b = 0; b < s->n_buckets; b++)
		for (unsigned w = 0; w < BUCKET_WAYS; w++)
			assert_int_equal(store_entry(&s->buckets[b], w).index, STORE_NONE);
}

static void store_init__layout(void **state)
{
	static const uint32_t capacities[] = {1, 3, 100, 5000};
	for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
		struct fixture f;
		fixture_init(&f, capacities[i], 7, 49, 1, 0);
		const struct store *s = &f.s;
		assert_int_equal((uintptr_t)s->conns % 64, 0);
		assert_int_equal((uintptr_t)s->repls % 64, 0);
		assert_int_equal((uintptr_t)s->aliases % 64, 0);
		assert_int_equal((uintptr_t)s->buckets % 64, 0);
		assert_int_equal(s->conn_size, 256); // 144 + 49
		uint64_t entries = capacities[i] * 2 + 7;
		uint64_t ways = (uint64_t)s->n_buckets * BUCKET_WAYS;
		assert_true(entries * 16 <= ways * 13);
		assert_true(entries * 16 > (ways - BUCKET_WAYS) * 13 - 16);
		fixture_fini(&f);
	}
}

static void store_conn_new__limit_and_reuse(void **state)
{
	struct fixture f;
	fixture_init(&f, 3, 2, 40, 1, 0);
	struct store *s = &f.s;
	uint32_t a = store_conn_new(s), b = store_conn_new(s), c = store_conn_new(s);
	assert_true(a != 0 && b != 0 && c != 0 && a != b && b != c && a != c);
	assert_int_equal(store_conn_new(s), STORE_NONE);
	assert_int_equal(s->used, 3);

	memset(store_conn(s, b), 0xa5, s->conn_size);
	uint16_t stamp = store_conn(s, b)->stamp = 5;
	store_repl(s, b)->holders_rw = 7;
	store_conn_free(s, b);
	assert_int_equal(store_conn(s, b)->state, CONN_FREE);
	assert_int_equal(s->used, 2);
	assert_int_equal(store_conn_new(s), b);
	// never a stamp of the last life again
	assert_true(store_conn(s, b)->stamp > stamp);
	store_conn(s, b)->stamp = 0;
	const uint8_t *bytes = (const uint8_t *)store_conn(s, b);
	for (uint32_t i = 0; i < s->conn_size; i++)
		assert_int_equal(bytes[i], 0);
	assert_int_equal(store_repl(s, b)->holders, 0);
	assert_int_equal(store_repl(s, b)->next, 0);
	assert_int_equal(store_repl(s, b)->prev, 0);

	uint32_t x = store_alias_new(s), y = store_alias_new(s);
	assert_true(x != 0 && y != 0 && x != y);
	assert_int_equal(store_alias_new(s), STORE_NONE);
	s->aliases[x].incarnation = 9;
	store_alias_free(s, x);
	assert_int_equal(s->aliases_used, 1);
	assert_int_equal(store_alias_new(s), x);
	assert_int_equal(s->aliases[x].incarnation, 0);
	fixture_fini(&f);
}

static void store_find__both_directions_and_alias(void **state)
{
	struct fixture f;
	fixture_init(&f, 10, 10, 40, 77, 0);
	struct store *s = &f.s;
	uint32_t i = store_conn_new(s);
	struct conn *c = store_conn(s, i);
	c->chain = 5;
	c->dir[0].key = tuple_of(100);
	c->dir[1].key = tuple_of(201);
	assert_int_equal(find(s, &c->dir[0].key).what, STORE_MISS);
	assert_int_equal(store_index_conn(s, i, 0), 0);
	assert_int_equal(store_index_conn(s, i, 1), 0);
	assert_int_equal(store_index_conn(s, i, 1), -EEXIST);
	for (unsigned d = 0; d < 2; d++) {
		struct store_hit h = find(s, &c->dir[d].key);
		assert_int_equal(h.what, STORE_CONN);
		assert_int_equal(h.index, i);
		assert_int_equal(h.dir, d);
	}
	unsigned chains = 0;
	for (uint32_t b = 0; b < s->n_buckets; b++)
		for (unsigned w = 0; w < BUCKET_WAYS; w++)
			chains += store_entry(&s->buckets[b], w).chain;
	assert_int_equal(chains, 10);

	uint32_t a = store_alias_new(s);
	s->aliases[a].key = tuple_of(100);
	assert_int_equal(store_index_alias(s, a), -EEXIST);
	s->aliases[a].key = tuple_of(300);
	assert_int_equal(store_index_alias(s, a), 0);
	struct store_hit h = find(s, &s->aliases[a].key);
	assert_int_equal(h.what, STORE_ALIAS);
	assert_int_equal(h.index, a);

	// Record 1 and alias 1 are different things, and so are a record's two entries.
	store_unindex_conn(s, i, 1);
	assert_int_equal(find(s, &c->dir[1].key).what, STORE_MISS);
	assert_int_equal(find(s, &c->dir[0].key).what, STORE_CONN);
	assert_int_equal(find(s, &s->aliases[a].key).what, STORE_ALIAS);
	store_unindex_conn(s, i, 1); // twice: nothing happens
	store_unindex_alias(s, a);
	store_unindex_conn(s, i, 0);
	assert_index_empty(s);
	fixture_fini(&f);
}

// Between the fetch and the use of a record, packets before may have ended it, or more.
static void store_hit__gone_or_in_other_hands(void **state)
{
	struct fixture f;
	fixture_init(&f, 10, 10, 40, 77, 0);
	struct store *s = &f.s;
	struct tripod_tuple key = tuple_of(100), other = tuple_of(200);
	uint32_t i = store_conn_new(s);
	store_conn(s, i)->state = CONN_LIVE;
	store_conn(s, i)->dir[1].key = key;
	assert_int_equal(store_index_conn(s, i, 1), 0);
	struct store_hit hit = store_prefetch_record(s, store_hash(s, &key));
	assert_int_equal(hit.what, STORE_CONN);
	assert_int_equal(hit.index, i);
	assert_int_equal(hit.dir, 1);
	assert_true(store_hit_right(s, &hit, &key));
	assert_false(store_hit_right(s, &hit, &other));

	store_unindex_conn(s, i, 1);
	store_conn_free(s, i);
	assert_false(store_hit_right(s, &hit, &key)); // gone, its bytes are still there
	assert_int_equal(store_conn_new(s), i);
	store_conn(s, i)->state = CONN_LIVE;
	store_conn(s, i)->dir[0].key = key; // the same tuple, now the other direction
	store_conn(s, i)->dir[1].key = other;
	assert_false(store_hit_right(s, &hit, &key));

	struct store_hit miss = store_prefetch_record(s, store_hash(s, &other));
	assert_int_equal(miss.what, STORE_MISS);
	assert_false(store_hit_right(s, &miss, &other));
	uint32_t a = store_alias_new(s);
	s->aliases[a].key = other;
	assert_int_equal(store_index_alias(s, a), 0);
	struct store_hit alias = store_prefetch_record(s, store_hash(s, &other));
	assert_int_equal(alias.what, STORE_ALIAS);
	assert_int_equal(alias.index, a);
	assert_false(store_hit_right(s, &alias, &other));
	fixture_fini(&f);
}

// The hash is keyed: another seed puts the same keys elsewhere.
static void store_hash__seed(void **state)
{
	struct store a = {.hash_seed = 1}, b = {.hash_seed = 2};
	struct tripod_tuple t = tuple_of(1);
	assert_int_equal(store_hash(&a, &t), store_hash(&a, &t));
	assert_true(store_hash(&a, &t) != store_hash(&b, &t));
	struct tripod_tuple r = tripod_tuple_reverse(&t);
	assert_true(store_hash(&a, &t) != store_hash(&a, &r));
}

// More keys than there are places: each place is taken, and what is gone leaves no trace.
static void store_index__full(void **state)
{
	enum { KEYS = 100, BUCKETS = 3, PLACES = BUCKETS * BUCKET_WAYS };
	struct fixture f;
	fixture_init(&f, KEYS, 0, 0, 3, 0);
	struct store *s = &f.s;
	s->n_buckets = BUCKETS;
	uint32_t n = 0;
	int r = 0;
	while (r == 0) {
		uint32_t i = store_conn_new(s);
		assert_int_not_equal(i, STORE_NONE);
		store_conn(s, i)->dir[0].key = tuple_of(i);
		r = store_index_conn(s, i, 0);
		n += r == 0;
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(n, PLACES);
	assert_int_equal(s->index_used, n);
	assert_true(overflow_sum(s) > 0);
	for (uint32_t i = 1; i <= n; i++)
		assert_int_equal(find(s, &store_conn(s, i)->dir[0].key).index, i);
	// From the front, so that lookups have to pass holes.
	for (uint32_t i = 1; i <= n; i++) {
		store_unindex_conn(s, i, 0);
		assert_int_equal(find(s, &store_conn(s, i)->dir[0].key).what, STORE_MISS);
		if (i < n)
			assert_int_equal(find(s, &store_conn(s, n)->dir[0].key).index, n);
	}
	assert_index_empty(s);
	fixture_fini(&f);
}

// A table of the size that it has takes all its records, and most of their keys stand at home.
static void store_index__room_for_all(void **state)
{
	enum { KEYS = 100000 };
	struct fixture f;
	fixture_init(&f, KEYS, 0, 0, 5, 0);
	struct store *s = &f.s;
	unsigned away = 0, early = 0;
	for (uint32_t i = 1; i <= KEYS; i++) {
		assert_int_equal(store_conn_new(s), i);
		for (unsigned d = 0; d < 2; d++) {
			store_conn(s, i)->dir[d].key = tuple_of(2 * i + d);
			assert_int_equal(store_index_conn(s, i, d), 0);
		}
	}
	for (uint32_t i = 1; i <= KEYS; i++) {
		for (unsigned d = 0; d < 2; d++) {
			const struct tripod_tuple *key = &store_conn(s, i)->dir[d].key;
			uint64_t hash = store_hash(s, key);
			struct store_hit home = store_prefetch_record(s, hash);
			assert_int_equal(find(s, key).index, i);
			if (home.what == STORE_CONN && home.index == i && home.dir == d)
				continue;
			away++;
			home = store_prefetch_second(s, hash);
			early += home.what == STORE_CONN && home.index == i && home.dir == d;
		}
	}
	printf("not at home: %u of %u, of which %u in their second bucket\n", away, 2 * KEYS,
		early);
	assert_in_range(away, 1, 2 * KEYS / 10);
	assert_true(early > away / 2);
	fixture_fini(&f);
}

static void store_wheel__order_and_bounds(void **state)
{
	struct fixture f;
	tick_t now = UINT32_MAX - 3 * SLOT - 17; // ticks wrap during the test
	fixture_init(&f, 8, 0, 0, 1, now);
	struct store *s = &f.s;
	uint32_t a = store_conn_new(s), b = store_conn_new(s), c = store_conn_new(s);
	assert_int_equal(store_wheel_due(s, now), STORE_NONE);
	store_wheel_set(s, a, now + 1);
	store_wheel_set(s, b, now + 10 * SLOT);
	store_wheel_set(s, c, now + 10 * SLOT);
	store_wheel_set(s, c, now + 20 * SLOT); // moves
	assert_int_equal(store_wheel_due(s, now), STORE_NONE);
	assert_int_equal(store_wheel_due(s, now + SLOT), a);
	assert_int_equal(store_repl(s, a)->prev, 0);
	assert_int_equal(store_wheel_due(s, now + SLOT), STORE_NONE);
	assert_int_equal(store_wheel_due(s, now), STORE_NONE); // a clock that steps back
	assert_int_equal(store_wheel_due(s, now + 10 * SLOT - 1), STORE_NONE);
	assert_int_equal(store_wheel_due(s, now + 11 * SLOT), b);
	store_wheel_remove(s, c);
	store_wheel_remove(s, c); // in none: nothing happens
	now += 30 * SLOT;
	assert_int_equal(store_wheel_due(s, now), STORE_NONE);

	// What is past already comes up one slot later, not at once: a loop over due records ends.
	store_wheel_set(s, a, now - 5);
	assert_int_equal(store_wheel_due(s, now), STORE_NONE);
	assert_int_equal(store_wheel_due(s, now + SLOT), a);

	// Further away than the wheel spans: early, but not before the far end.
	now += SLOT;
	store_wheel_set(s, a, now + 5 * SPAN);
	assert_int_equal(store_wheel_due(s, now + SPAN - 3 * SLOT), STORE_NONE);
	assert_int_equal(store_wheel_due(s, now + SPAN), a);
	fixture_fini(&f);
}

static void store_wheel__long_sleep(void **state)
{
	enum { N = 3000 };
	static const uint32_t sleeps[] = {SPAN, SPAN + 1, 3 * SPAN + 77, 0x7fffff00u, 0x90000000u};
	for (size_t k = 0; k < sizeof(sleeps) / sizeof(sleeps[0]); k++) {
		struct fixture f;
		tick_t now = 12345;
		fixture_init(&f, N, 0, 0, 1, now);
		struct store *s = &f.s;
		for (unsigned n = 0; n < N; n++)
			store_wheel_set(s, store_conn_new(s), now + n * 171);
		for (unsigned n = 0; n < 40; n++) // the sleep comes in the middle of a slot
			assert_int_not_equal(store_wheel_due(s, now + 171 * 60), STORE_NONE);
		now += sleeps[k];
		for (unsigned n = 40; n < N; n++)
			assert_int_not_equal(store_wheel_due(s, now), STORE_NONE);
		assert_int_equal(store_wheel_due(s, now), STORE_NONE);
		for (uint32_t i = 1; i <= N; i++)
			store_conn_free(s, i); // asserts that it is out of the wheel
		fixture_fini(&f);
	}
}

// ---- The store against a model that is an array ----

#define MODEL_MAX 256
#define UNIVERSE 700 // tuples

struct model {
	struct rng rng;
	struct fixture f;
	uint32_t capacity;
	struct {
		bool used, indexed[2], timed;
		uint32_t key[2];
		tick_t at, set, from; // from: how far the wheel had been turned when it was set
	} conn[MODEL_MAX + 1];
	struct {
		bool used, indexed;
		uint32_t key;
	} alias[MODEL_MAX + 1];
	tick_t now;
	unsigned full, collisions;
};

// Who has this key indexed, by the model.
static struct store_hit model_find(const struct model *m, uint32_t key)
{
	for (uint32_t i = 1; i <= m->capacity; i++) {
		for (unsigned d = 0; d < 2; d++)
			if (m->conn[i].used && m->conn[i].indexed[d] && m->conn[i].key[d] == key)
				return (struct store_hit){STORE_CONN, i, (uint8_t)d};
		if (m->alias[i].used && m->alias[i].indexed && m->alias[i].key == key)
			return (struct store_hit){STORE_ALIAS, i, 0};
	}
	return (struct store_hit){STORE_MISS, 0, 0};
}

static void model_check(const struct model *m, uint32_t key)
{
	struct tripod_tuple t = tuple_of(key);
	struct store_hit want = model_find(m, key), got = find(&m->f.s, &t);
	assert_int_equal(got.what, want.what);
	assert_int_equal(got.index, want.index);
	assert_int_equal(got.dir, want.dir);
}

static void model_conn_new(struct model *m)
{
	struct store *s = &m->f.s;
	uint32_t i = store_conn_new(s);
	if (i == STORE_NONE) {
		assert_int_equal(s->used, m->capacity);
		m->full++;
		return;
	}
	assert_true(i <= m->capacity && !m->conn[i].used);
	memset(&m->conn[i], 0, sizeof(m->conn[i]));
	m->conn[i].used = true;
	store_conn(s, i)->state = CONN_LIVE;
	for (unsigned d = 0; d < 2; d++) {
		uint32_t key = m->conn[i].key[d] = rng_below(&m->rng, UNIVERSE);
		store_conn(s, i)->dir[d].key = tuple_of(key);
		bool taken = model_find(m, key).what != STORE_MISS;
		int r = store_index_conn(s, i, d);
		if (r == -ENOSPC) {
			assert_int_equal(taken, false);
			m->full++;
		} else {
			assert_int_equal(r, taken ? -EEXIST : 0);
		}
		m->conn[i].indexed[d] = r == 0;
	}
}

static void model_conn_free(struct model *m, uint32_t i)
{
	struct store *s = &m->f.s;
	for (unsigned d = 0; d < 2; d++)
		if (m->conn[i].indexed[d])
			store_unindex_conn(s, i, d);
	store_wheel_remove(s, i);
	store_conn_free(s, i);
	m->conn[i].used = false;
	for (unsigned d = 0; d < 2; d++)
		model_check(m, m->conn[i].key[d]);
}

static void model_alias(struct model *m)
{
	struct store *s = &m->f.s;
	uint32_t i = 1 + rng_below(&m->rng, m->capacity);
	if (m->alias[i].used) {
		if (m->alias[i].indexed)
			store_unindex_alias(s, i);
		store_alias_free(s, i);
		m->alias[i].used = false;
		return;
	}
	i = store_alias_new(s);
	if (i == STORE_NONE) {
		assert_int_equal(s->aliases_used, m->capacity);
		return;
	}
	assert_false(m->alias[i].used);
	m->alias[i].used = true;
	m->alias[i].key = rng_below(&m->rng, UNIVERSE);
	s->aliases[i].key = tuple_of(m->alias[i].key);
	m->alias[i].indexed = false;
	bool taken = model_find(m, m->alias[i].key).what != STORE_MISS;
	int r = store_index_alias(s, i);
	assert_true(r == 0 || r == (taken ? -EEXIST : -ENOSPC));
	assert_false(r == 0 && taken);
	m->alias[i].indexed = r == 0;
}

static void model_wheel_turn(struct model *m)
{
	struct store *s = &m->f.s;
	static const uint32_t steps[] = {
		0, 1, SLOT - 1, SLOT, 3 * SLOT, 500 * SLOT, SPAN, 5 * SPAN};
	uint32_t step = steps[rng_below(&m->rng, 8)];
	m->now += step ? rng_below(&m->rng, step + 1) : 0;
	uint32_t i;
	unsigned n = 0;
	while ((i = store_wheel_due(s, m->now)) != STORE_NONE) {
		assert_true(m->conn[i].used && m->conn[i].timed);
		m->conn[i].timed = false;
		assert_int_equal(store_repl(s, i)->prev, 0);
		assert_int_equal(store_repl(s, i)->next, 0);
		// Never early, unless it was further away than the wheel spans.
		tick_t from = m->conn[i].from;
		uint32_t ahead = m->conn[i].at - from, passed = m->now - from;
		if ((int32_t)ahead > 0)
			assert_true(passed >= ahead || passed >= SPAN - 2 * SLOT);
		assert_true(++n <= m->capacity);
		if (rng_below(&m->rng, 16) == 0)
			return; // the rest at another time
	}
	for (i = 1; i <= m->capacity; i++) // nothing is forgotten
		if (m->conn[i].used && m->conn[i].timed) {
			int32_t late = (int32_t)(m->now - m->conn[i].at);
			assert_true(late < SLOT || m->now - m->conn[i].set < SLOT);
		}
}

static void model_wheel_set(struct model *m, uint32_t i)
{
	static const uint32_t ahead[] = {1, SLOT, 10 * SLOT, SPAN, 14 * SPAN};
	m->conn[i].timed = true;
	m->conn[i].set = m->now;
	m->conn[i].from = m->f.s.wheel_now;
	m->conn[i].at = m->now + rng_below(&m->rng, ahead[rng_below(&m->rng, 5)] + 1);
	if (rng_below(&m->rng, 20) == 0)
		m->conn[i].at = m->now - rng_below(&m->rng, 1000);
	store_wheel_set(&m->f.s, i, m->conn[i].at);
}

static void model_step(struct model *m)
{
	uint32_t i = 1 + rng_below(&m->rng, m->capacity);
	bool used = m->conn[i].used;
	switch (rng_below(&m->rng, 10)) {
	case 0:
	case 1:
	case 2:
		model_conn_new(m);
		break;
	case 3:
	case 4:
		if (used)
			model_conn_free(m, i);
		break;
	case 5:
		model_alias(m);
		break;
	case 6:
		if (used)
			model_wheel_set(m, i);
		break;
	case 7:
		if (used) {
			store_wheel_remove(&m->f.s, i);
			m->conn[i].timed = false;
		}
		break;
	case 8:
		model_wheel_turn(m);
		break;
	case 9:
		model_check(m, rng_below(&m->rng, UNIVERSE));
		break;
	}
}

static void model_run(uint64_t seed)
{
	struct model *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->rng.state = seed;
	static const uint32_t capacities[] = {1, 2, 9, 40, MODEL_MAX};
	m->capacity = capacities[rng_below(&m->rng, 5)];
	m->now = (tick_t)rng_next(&m->rng);
	fixture_init(&m->f, m->capacity, m->capacity, rng_below(&m->rng, 200), rng_next(&m->rng),
		m->now);
	if (rng_below(&m->rng, 2)) // crowd the index: long chains, and no room
		m->f.s.n_buckets = (m->f.s.n_buckets + 1) / 2;
	for (unsigned n = 0; n < 4000; n++)
		model_step(m);
	for (uint32_t key = 0; key < UNIVERSE; key++)
		model_check(m, key);
	for (uint32_t i = 1; i <= m->capacity; i++) {
		if (m->conn[i].used)
			model_conn_free(m, i);
		if (m->alias[i].used && m->alias[i].indexed)
			store_unindex_alias(&m->f.s, i);
		if (m->alias[i].used)
			store_alias_free(&m->f.s, i);
		m->alias[i].used = false;
	}
	assert_index_empty(&m->f.s);
	assert_int_equal(m->f.s.used, 0);
	assert_int_equal(m->f.s.aliases_used, 0);
	for (unsigned w = 0; w < 4096; w++)
		assert_int_equal(m->f.s.wheel[w], STORE_NONE);
	fixture_fini(&m->f);
	free(m);
}

static void store_property__model(void **state)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		model_run(seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_init__layout),
		cmocka_unit_test(store_conn_new__limit_and_reuse),
		cmocka_unit_test(store_find__both_directions_and_alias),
		cmocka_unit_test(store_hit__gone_or_in_other_hands),
		cmocka_unit_test(store_hash__seed),
		cmocka_unit_test(store_index__full),
		cmocka_unit_test(store_index__room_for_all),
		cmocka_unit_test(store_wheel__order_and_bounds),
		cmocka_unit_test(store_wheel__long_sleep),
		cmocka_unit_test(store_property__model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
