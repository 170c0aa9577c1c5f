// SPDX-License-Identifier: BSD-3-Clause
#include "core/ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/rng.h"

// A slot that shows when it was copied while somebody wrote it.
struct item {
	uint64_t number;
	uint64_t echo[6]; // derived from number
};

static struct item item_of(uint64_t number)
{
	struct item it = {.number = number};
	for (unsigned i = 0; i < 6; i++)
		it.echo[i] = number * (2 * i + 3);
	return it;
}

static bool item_good(const struct item *it, uint64_t number)
{
	struct item want = item_of(number);
	return memcmp(it, &want, sizeof(want)) == 0;
}

static struct ring *ring_new(uint32_t slots, void **mem)
{
	struct arena a = {0};
	struct ring *r = aligned_alloc(64, sizeof(*r));
	assert_non_null(r);
	memset(r, 0, sizeof(*r));
	ring_init(r, &a, slots, sizeof(struct item)); // measures
	assert_null(r->slots);
	a = (struct arena){.base = aligned_alloc(64, a.used), .size = a.used};
	assert_non_null(a.base);
	memset(a.base, 0, a.size);
	ring_init(r, &a, slots, sizeof(struct item));
	*mem = a.base;
	return r;
}

static void ring__fills_and_empties(void **state)
{
	void *mem;
	struct ring *r = ring_new(4, &mem);
	atomic_store(&r->head, UINT32_MAX - 1); // positions wrap during the test
	atomic_store(&r->tail, UINT32_MAX - 1);
	r->tail_seen = r->head_seen = UINT32_MAX - 1;
	for (unsigned round = 0; round < 3; round++) {
		assert_null(ring_peek(r));
		for (unsigned i = 0; i < 4; i++) {
			struct item it = item_of(i);
			assert_true(ring_push(r, &it));
		}
		struct item more = item_of(99);
		assert_false(ring_push(r, &more));
		for (unsigned i = 0; i < 4; i++) {
			assert_true(item_good(ring_peek(r), i));
			assert_true(item_good(ring_peek(r), i)); // peeking takes nothing
			ring_pop(r);
		}
	}
	assert_null(ring_peek(r));
	free(mem);
	free(r);
}

struct producer {
	struct ring *r;
	uint64_t count, full;
};

static void *produce(void *arg)
{
	struct producer *p = arg;
	for (uint64_t n = 0; n < p->count; n++) {
		struct item it = item_of(n);
		while (!ring_push(p->r, &it)) {
			p->full++;
			sched_yield();
		}
	}
	return NULL;
}

// Everything arrives once, whole and in order, whichever side is slower.
static void ring__two_threads(void **state)
{
	static const uint32_t slots[] = {1, 2, 8, 1024};
	for (unsigned k = 0; k < 4; k++) {
		void *mem;
		struct producer p = {
			.r = ring_new(slots[k], &mem), .count = k < 2 ? 20000 : 300000};
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, produce, &p), 0);
		uint64_t next = 0, bad = 0;
		while (next < p.count) {
			const struct item *it = ring_peek(p.r);
			if (it == NULL) {
				sched_yield();
				continue;
			}
			bad += !item_good(it, next);
			next++;
			ring_pop(p.r);
		}
		pthread_join(thread, NULL);
		assert_int_equal(bad, 0);
		assert_null(ring_peek(p.r));
		free(mem);
		free(p.r);
	}
}

static void rng__uniform_and_repeatable(void **state)
{
	struct rng a = {.state = 42}, b = {.state = 42};
	unsigned seen[7] = {0};
	for (unsigned i = 0; i < 70000; i++) {
		uint32_t x = rng_below(&a, 7);
		assert_true(x < 7);
		assert_int_equal(x, rng_below(&b, 7));
		seen[x]++;
	}
	for (unsigned i = 0; i < 7; i++)
		assert_true(seen[i] > 9500 && seen[i] < 10500); // 5 standard deviations
	assert_int_equal(rng_below(&a, 1), 0);
}

static void arena__measures_and_aligns(void **state)
{
	struct arena a = {0};
	assert_null(arena_take(&a, 1));
	assert_null(arena_take(&a, 65));
	assert_null(arena_take(&a, 64));
	assert_int_equal(a.used, 64 + 128 + 64);
	size_t size = a.used;
	a = (struct arena){.base = aligned_alloc(64, size), .size = size};
	uint8_t *x = arena_take(&a, 1), *y = arena_take(&a, 65), *z = arena_take(&a, 64);
	assert_ptr_equal(x, a.base);
	assert_ptr_equal(y, a.base + 64);
	assert_ptr_equal(z, a.base + 192);
	free(a.base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring__fills_and_empties),
		cmocka_unit_test(ring__two_threads),
		cmocka_unit_test(rng__uniform_and_repeatable),
		cmocka_unit_test(arena__measures_and_aligns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
