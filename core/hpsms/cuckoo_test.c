// SPDX-License-Identifier: BSD-3-Clause
// The filter and the table of the index sets against plain counts, on random histories.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hpsms/cuckoo.h"
#include "core/hpsms/index_map.h"
#include "core/rng.h"

static uint64_t seed_of_run(uint64_t standard)
{
	const char *text = getenv("TRIPOD_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : standard;

	printf("seed %llu\n", (unsigned long long)seed);
	return seed;
}

static void *built(size_t size)
{
	void *mem = aligned_alloc(64, size + 64);
	memset(mem, 0, size + 64);
	return mem;
}

static struct cuckoo *cuckoo_of(uint32_t keys)
{
	struct cuckoo *c = malloc(sizeof(*c));
	struct arena a = {0};

	cuckoo_init(c, &a, keys);
	size_t size = a.used;
	a = (struct arena){.base = built(size), .size = size};
	cuckoo_init(c, &a, keys);
	return c;
}

static void cuckoo_free(struct cuckoo *c)
{
	free(c->bucket);
	free(c);
}

// How often each fingerprint is in, by the export, which must find each once per time.
static unsigned export_count(const struct cuckoo *c, uint32_t fp, uint32_t *all)
{
	uint32_t piece[32], at = 0;
	unsigned hits = 0, n;

	*all = 0;
	while (at < c->n_buckets) {
		uint32_t passed = cuckoo_export(c, at, 5, piece, 32, &n);
		assert_in_range(passed, 1, 5);
		assert_true(n <= 32);
		for (unsigned i = 0; i < n; i++)
			hits += piece[i] == fp;
		*all += n;
		at += passed;
	}
	return hits;
}

static void cuckoo__is_a_multiset(void **state)
{
	enum { WORLD = 3000, KEYS = 1000 };
	static unsigned model[WORLD];
	static uint32_t fp_of[WORLD];
	struct rng r = {.state = seed_of_run(11)};

	for (unsigned k = 0; k < WORLD; k++)
		fp_of[k] = (uint32_t)rng_next(&r) / WORLD * WORLD + k + 1;
	for (unsigned round = 0; round < 20; round++) {
		struct cuckoo *c = cuckoo_of(KEYS);
		unsigned in = 0, refused = 0;
		memset(model, 0, sizeof(model));
		for (unsigned step = 0; step < 20000; step++) {
			uint32_t k = rng_below(&r, WORLD), fp = fp_of[k];
			bool grow = in < KEYS * 3 / 4 && (in == 0 || rng_below(&r, 100) < 60);
			assert_int_equal(cuckoo_count(c, fp), model[k]);
			if (grow && model[k] < 2) {
				// Two of each in few places: a crowd that finds none is rare, not impossible.
				bool taken = cuckoo_insert(c, fp, NULL, NULL);
				refused += !taken;
				model[k] += taken;
				in += taken;
			} else {
				assert_int_equal(cuckoo_remove(c, fp), model[k] > 0);
				in -= model[k] > 0;
				model[k] -= model[k] > 0;
			}
			assert_int_equal(c->used, in);
		}
		for (uint32_t k = 0; k < WORLD; k += 37) {
			uint32_t fp = fp_of[k], all;
			assert_int_equal(export_count(c, fp, &all), model[k]);
			assert_int_equal(all, in);
		}
		assert_true(refused < 3);
		cuckoo_free(c);
	}
}

// It takes what it is made for, and when it refuses one, all others are as they were.
static void cuckoo__full(void **state)
{
	struct rng r = {.state = seed_of_run(12)};

	for (unsigned keys = 1; keys < 3000; keys = keys * 2 + 1) {
		struct cuckoo *c = cuckoo_of(keys);
		uint32_t *fp = calloc(2 * keys + 64, sizeof(*fp)), n = 0, all;
		for (;;) {
			uint32_t f = (uint32_t)rng_next(&r) | 1;
			if (!cuckoo_insert(c, f, NULL, NULL))
				break;
			fp[n++] = f;
			assert_true(n < 2 * keys + 64);
		}
		assert_true(n >= keys);
		assert_int_equal(c->used, n);
		export_count(c, 0, &all);
		assert_int_equal(all, n);
		for (uint32_t i = 0; i < n; i++)
			assert_true(cuckoo_remove(c, fp[i]));
		assert_int_equal(c->used, 0);
		export_count(c, 0, &all);
		assert_int_equal(all, 0);
		free(fp);
		cuckoo_free(c);
	}
}

// What has moved to another place is told: whoever reads the places one after the other, and takes
// what is told, misses nothing.
static void cuckoo__moved_are_told(void **state)
{
	struct rng r = {.state = seed_of_run(13)};
	struct cuckoo *c = cuckoo_of(4000);
	uint32_t moved[CUCKOO_KICKS];
	unsigned n, total = 0;

	for (unsigned i = 0; i < 3800; i++)
		assert_true(cuckoo_insert(c, (uint32_t)rng_next(&r) | 1, NULL, NULL));
	size_t size = (size_t)c->n_buckets * sizeof(*c->bucket);
	struct cuckoo_bucket *before = malloc(size);
	for (unsigned i = 0; i < 400; i++) {
		memcpy(before, c->bucket, size);
		uint32_t fp = (uint32_t)rng_next(&r) | 1;
		if (!cuckoo_insert(c, fp, moved, &n)) {
			assert_memory_equal(before, c->bucket, size);
			continue;
		}
		total += n;
		for (uint32_t b = 0; b < c->n_buckets; b++) {
			for (unsigned w = 0; w < CUCKOO_WAYS; w++) {
				uint32_t is = c->bucket[b].fp[w];
				bool told = is == before[b].fp[w] || is == fp;
				for (unsigned k = 0; k < n && !told; k++)
					told = moved[k] == is;
				assert_true(told);
			}
		}
	}
	assert_true(total > 100);
	free(before);
	cuckoo_free(c);
}

static struct index_map *map_of(uint32_t keys)
{
	struct index_map *m = malloc(sizeof(*m));
	struct arena a = {0};

	index_map_init(m, &a, keys);
	size_t size = a.used;
	a = (struct arena){.base = built(size), .size = size};
	index_map_init(m, &a, keys);
	return m;
}

static void map_free(struct index_map *m)
{
	free(m->bucket);
	free(m);
}

static void map__against_a_model(void **state)
{
	enum { WORLD = 2000 };
	static uint64_t model[WORLD];
	static uint32_t fp_of[WORLD];
	struct rng r = {.state = seed_of_run(14)};

	for (unsigned k = 0; k < WORLD; k++)
		fp_of[k] = (uint32_t)rng_next(&r) / WORLD * WORLD + k + 1;

	for (unsigned round = 0; round < 20; round++) {
		struct index_map *m = map_of(round == 0 ? 3 : WORLD / 2);
		unsigned refused = 0;
		memset(model, 0, sizeof(model));
		for (unsigned step = 0; step < 30000; step++) {
			uint32_t k = rng_below(&r, WORLD), fp = fp_of[k];
			unsigned node = rng_below(&r, 64);
			assert_true(index_map_find(m, fp) == model[k]);
			if (rng_below(&r, 100) < 45) {
				bool set = index_map_set(m, fp, node);
				assert_true(set || model[k] == 0);
				refused += !set;
				model[k] |= set ? 1ull << node : 0;
			} else if (model[k] != 0) {
				node = (unsigned)__builtin_ctzll(model[k]);
				index_map_clear(m, fp, node);
				model[k] &= ~(1ull << node);
			} else {
				index_map_clear(m, fp, node);
			}
			if (step % 10000 == 9999) { // some nodes die
				uint64_t dead = rng_next(&r) & rng_next(&r);
				for (uint32_t at = 0; at < m->n_buckets; at += 7)
					index_map_sweep(m, at, 7, dead);
				for (unsigned i = 0; i < WORLD; i++)
					model[i] &= ~dead;
			}
		}
		unsigned used = 0;
		for (unsigned i = 0; i < WORLD; i++)
			used += model[i] != 0;
		assert_int_equal(m->used, used);
		assert_true(round > 0 || refused > 0);
		for (uint32_t at = 0; at < m->n_buckets; at += 64)
			index_map_sweep(m, at, 64, UINT64_MAX);
		assert_int_equal(m->used, 0);
		for (uint32_t b = 0; b < m->n_buckets; b++)
			assert_int_equal(m->bucket[b].overflow, 0);
		map_free(m);
	}
}

// It takes what it is made for, and not much more.
static void map__full(void **state)
{
	static const uint32_t sizes[] = {0, 1, 7, 100, 5000, 100000};
	struct rng r = {.state = seed_of_run(15)};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct index_map *m = map_of(sizes[i]);
		uint32_t n = 0;
		while (index_map_set(m, (uint32_t)rng_next(&r) | 1, 5))
			n++;
		assert_in_range(n, sizes[i], sizes[i] + sizes[i] / 4 + 1);
		map_free(m);
	}
}

static void map__nothing_is_found_that_is_not_there(void **state)
{
	struct rng r = {.state = seed_of_run(16)};
	struct index_map *m = map_of(100000);
	unsigned hits = 0;

	// Nothing is found that is not there: fingerprints are compared whole.
	for (unsigned i = 0; i < 100000; i++)
		index_map_set(m, (uint32_t)rng_next(&r) | 1, i % 64);
	for (unsigned i = 0; i < 200000; i++)
		hits += index_map_find(m, (uint32_t)rng_next(&r) & ~1u) != 0;
	assert_int_equal(hits, 0);
	map_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cuckoo__is_a_multiset),
		cmocka_unit_test(cuckoo__full),
		cmocka_unit_test(cuckoo__moved_are_told),
		cmocka_unit_test(map__against_a_model),
		cmocka_unit_test(map__full),
		cmocka_unit_test(map__nothing_is_found_that_is_not_there),
	};
	return cmocka_run_group_tests_name("cuckoo", tests, NULL, NULL);
}
