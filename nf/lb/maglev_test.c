// SPDX-License-Identifier: BSD-3-Clause
#include "nf/lb/maglev.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"

#define SIZE 65537u
#define N_MAX 1000

static uint16_t table[SIZE], other[SIZE];

// n backends in random order, from number `first` on; weight for all.
static void make(
	struct maglev_backend *b, unsigned first, unsigned n, uint16_t weight, struct rng *rng)
{
	memset(b, 0, n * sizeof(*b));
	for (unsigned i = 0; i < n; i++) {
		unsigned number = first + i;
		uint8_t v4[4] = {
			10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
		uint32_t addr;
		memcpy(&addr, v4, 4);
		b[i].addr = tripod_addr_v4(addr);
		b[i].port = 0x5000;
		b[i].weight = weight;
	}
	for (unsigned i = n; i > 1; i--) {
		unsigned j = rng_below(rng, i);
		struct maglev_backend swap = b[i - 1];
		b[i - 1] = b[j];
		b[j] = swap;
	}
}

static void count(const uint16_t *t, uint32_t size, unsigned n, uint32_t *slots)
{
	memset(slots, 0, n * sizeof(*slots));
	for (uint32_t i = 0; i < size; i++) {
		assert_true(t[i] < n); // every slot is filled
		slots[t[i]]++;
	}
}

static bool same(const struct maglev_backend *a, const struct maglev_backend *b)
{
	return tripod_addr_equal(&a->addr, &b->addr) && a->port == b->port;
}

static void maglev_size_valid__primes(void **unused)
{
	static const uint32_t PRIMES[] = {3, 5, 7, 13, 251, 1009, 65537, 655373, 1000003};
	static const uint32_t OTHERS[] = {0, 1, 2, 4, 9, 25, 49, 65535, 65536, 655371, 1000001};
	for (size_t i = 0; i < sizeof(PRIMES) / sizeof(PRIMES[0]); i++)
		assert_true(maglev_size_valid(PRIMES[i]));
	for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++)
		assert_false(maglev_size_valid(OTHERS[i]));
}

// Equal weights: shares differ by one slot at most (each backend claims one a round).
static void maglev_build__balance(void **unused)
{
	static const unsigned COUNTS[] = {1, 2, 3, 10, 100, 655, N_MAX};
	struct rng rng = {1};
	for (size_t k = 0; k < sizeof(COUNTS) / sizeof(COUNTS[0]); k++)
		for (uint16_t weight = 1; weight <= 100; weight += 33) {
			unsigned n = COUNTS[k];
			struct maglev_backend b[N_MAX];
			uint32_t slots[N_MAX];
			make(b, 0, n, weight, &rng);
			maglev_build(table, SIZE, b, n);
			count(table, SIZE, n, slots);
			for (unsigned i = 0; i < n; i++) {
				assert_true(slots[i] >= SIZE / n);
				assert_true(slots[i] <= SIZE / n + 1);
			}
		}
}

static void maglev_build__weights(void **unused)
{
	uint64_t seed = 7;
	print_message("seed %llu\n", (unsigned long long)seed);
	struct rng rng = {seed};
	for (unsigned round = 0; round < 40; round++) {
		unsigned n = 1 + rng_below(&rng, 50), sum = 0;
		struct maglev_backend b[50];
		uint32_t slots[50];
		make(b, round * 50, n, 0, &rng);
		for (unsigned i = 0; i < n; i++)
			b[i].weight =
				rng_below(&rng, 5) == 0 ? 0 : (uint16_t)(1 + rng_below(&rng, 100));
		b[0].weight = 100;
		for (unsigned i = 0; i < n; i++)
			sum += b[i].weight;
		maglev_build(table, SIZE, b, n);
		count(table, SIZE, n, slots);
		for (unsigned i = 0; i < n; i++) {
			if (b[i].weight == 0) {
				assert_int_equal(slots[i], 0);
				continue;
			}
			double share = (double)SIZE * b[i].weight / sum;
			assert_true(slots[i] >= share * 0.95 - 2);
			assert_true(slots[i] <= share * 1.05 + 2);
		}
	}
}

static void maglev_build__order_has_no_effect(void **unused)
{
	struct rng rng = {3};
	struct maglev_backend a[20], b[20];
	make(a, 0, 20, 0, &rng);
	for (unsigned i = 0; i < 20; i++)
		a[i].weight = (uint16_t)(1 + rng_below(&rng, 100));
	for (unsigned i = 0; i < 20; i++)
		b[19 - i] = a[i];
	maglev_build(table, SIZE, a, 20);
	maglev_build(other, SIZE, b, 20);
	assert_memory_equal(table, other, sizeof(table));
	assert_memory_equal(a, b, sizeof(a));
}

// Slots that lead to another backend than before, among those whose backend is still there.
static double moved(const struct maglev_backend *a, const struct maglev_backend *b, unsigned n_b)
{
	unsigned stayed = 0, changed = 0;
	for (uint32_t i = 0; i < SIZE; i++) {
		bool gone = true;
		for (unsigned j = 0; j < n_b && gone; j++)
			gone = !same(&a[table[i]], &b[j]);
		if (gone)
			continue;
		if (same(&a[table[i]], &b[other[i]]))
			stayed++;
		else
			changed++;
	}
	return (double)changed / (changed + stayed);
}

// The paper's figure 12: of 1000 backends and 65537 slots, few slots move beyond those of the
// failed ones. Here: remove f of n, count the moves of slots whose backend lives.
static void maglev_build__disruption(void **unused)
{
	static const struct {
		unsigned n, failed;
		double most;
	} CASES[] = {
		{10, 1, 0.01}, {100, 1, 0.01}, {100, 5, 0.02}, {1000, 1, 0.01}, {1000, 10, 0.04}};
	for (size_t k = 0; k < sizeof(CASES) / sizeof(CASES[0]); k++) {
		static struct maglev_backend a[N_MAX], b[N_MAX];
		struct rng rng = {11};
		unsigned n = CASES[k].n, left = n - CASES[k].failed;
		make(a, 0, n, 1, &rng);
		memcpy(b, a, left * sizeof(b[0])); // a is in random order: the last ones fail
		maglev_build(table, SIZE, a, n);
		maglev_build(other, SIZE, b, left);
		double share = moved(a, b, left);
		print_message("%u of %u failed: %.2f%% of the other slots moved\n", CASES[k].failed,
			n, 100 * share);
		assert_true(share <= CASES[k].most);
	}
}

// A weight that changes moves about its own share, and not the rest.
static void maglev_build__weight_change(void **unused)
{
	struct maglev_backend a[20], b[20];
	struct rng rng = {13};
	make(a, 0, 20, 50, &rng);
	memcpy(b, a, sizeof(b));
	b[4].weight = 0; // drained
	maglev_build(table, SIZE, a, 20);
	maglev_build(other, SIZE, b, 20);
	unsigned changed = 0;
	for (uint32_t i = 0; i < SIZE; i++)
		changed += !same(&a[table[i]], &b[other[i]]);
	double share = (double)changed / SIZE;
	print_message("drained 1 of 20: %.2f%% moved\n", 100 * share);
	assert_true(share >= 0.05 && share <= 0.08);
}

static void maglev_build__small_tables(void **unused)
{
	static const uint32_t SIZES[] = {3, 5, 7, 13, 31};
	struct rng rng = {17};
	for (size_t k = 0; k < sizeof(SIZES) / sizeof(SIZES[0]); k++)
		for (unsigned n = 1; n <= SIZES[k]; n++) {
			struct maglev_backend b[31];
			uint32_t slots[31];
			make(b, 0, n, 1, &rng);
			maglev_build(table, SIZES[k], b, n);
			count(table, SIZES[k], n, slots);
			for (unsigned i = 0; i < n; i++)
				assert_true(slots[i] >= 1);
		}
}

// Nodes of two versions of the program must agree.
static void maglev_build__fixed_for_ever(void **unused)
{
	static const uint16_t EXPECTED[13] = {0, 2, 0, 0, 2, 2, 1, 0, 1, 1, 2, 1, 0};
	struct rng rng = {1};
	struct maglev_backend b[3];
	make(b, 1, 3, 1, &rng);
	maglev_build(table, 13, b, 3);
	for (unsigned i = 0; i < 13; i++)
		assert_int_equal(table[i], EXPECTED[i]);
}

static void maglev_slot__range(void **unused)
{
	assert_int_equal(maglev_slot(0, SIZE), 0);
	assert_int_equal(maglev_slot(UINT64_MAX, SIZE), SIZE - 1);
	assert_int_equal(maglev_slot(UINT64_MAX, 3), 2);
	assert_int_equal(maglev_slot((uint64_t)1 << 63, 2 * 1009), 1009);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maglev_size_valid__primes),
		cmocka_unit_test(maglev_build__balance),
		cmocka_unit_test(maglev_build__weights),
		cmocka_unit_test(maglev_build__order_has_no_effect),
		cmocka_unit_test(maglev_build__disruption),
		cmocka_unit_test(maglev_build__weight_change),
		cmocka_unit_test(maglev_build__small_tables),
		cmocka_unit_test(maglev_build__fixed_for_ever),
		cmocka_unit_test(maglev_slot__range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
