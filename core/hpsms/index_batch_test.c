// SPDX-License-Identifier: BSD-3-Clause
// Changes of an index set on their way into messages: all of them, each once, in order.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hpsms/index_batch.h"
#include "core/rng.h"

static struct index_batch batch;

// The last of several changes of one fingerprint counts, whichever it is.
static void batch__last_change_counts(void **state)
{
	struct index_delta d;

	index_batch_add(&batch, 7, false);
	index_batch_add(&batch, 0xfffffffe, false);
	index_batch_add(&batch, 5, true);
	index_batch_add(&batch, 7, true);
	index_batch_add(&batch, 5, true);
	index_batch_add(&batch, 5, false);
	index_batch_close(&batch);
	assert_true(index_batch_take(&batch, &d));
	assert_int_equal(d.n, 3);
	assert_int_equal(d.n_removes, 1);
	assert_memory_equal(d.fp, ((uint32_t[]){7, 5, 0xfffffffe}), 12);
	assert_false(index_batch_take(&batch, &d));
	// It is as good as new.
	assert_int_equal(batch.n, 0);
	index_batch_close(&batch);
	assert_false(index_batch_take(&batch, &d));
	index_batch_add(&batch, 9, false);
	index_batch_close(&batch);
	assert_true(index_batch_take(&batch, &d));
	assert_int_equal(d.n, 1);
	assert_int_equal(d.fp[0], 9);
	assert_int_equal(d.n_removes, 0);
	assert_false(index_batch_take(&batch, &d));
}

#define PLACES 65536
static uint8_t last[PLACES]; // what became of the fingerprint that stands for it; 0: nothing
enum { COMES = 1, GOES };

static uint32_t print_of(unsigned place, unsigned shift)
{
	return (place + 1) << shift;
}

// All changes, of which none is lost, repeated or too long for a message.
static void take_all(unsigned n, unsigned shift)
{
	uint8_t b[WIRE_BODY_MAX - WIRE_HEADER_SIZE];
	unsigned told = 0, messages = 0;
	struct index_delta d;

	index_batch_close(&batch);
	for (; index_batch_take(&batch, &d); messages++) {
		static struct wire_delta w, got;
		w = (struct wire_delta){.n = d.n, .n_removes = d.n_removes};
		memcpy(w.fp, d.fp, d.n * sizeof(w.fp[0]));
		int size = wire_put_delta(b, sizeof(b) - 128, &w); // answers of all may be in it
		assert_true(size > 0 && d.n > 0);
		assert_int_equal(wire_get_delta(b, (size_t)size, d.n, &got), size);
		for (unsigned i = 0; i < got.n; i++, told++) {
			uint8_t *at = &last[(got.fp[i] >> shift) - 1];
			assert_int_equal(*at, i < got.n_removes ? GOES : COMES);
			*at = 0;
		}
	}
	for (unsigned i = 0; i < PLACES; i++)
		assert_int_equal(last[i], 0);
	assert_true(told <= n && messages <= n / 300 + 1);
}

static void prop__what_goes_in_comes_out(void **state)
{
	static const unsigned sizes[] = {1, 2, 100, 513, INDEX_BATCH - 1, INDEX_BATCH};
	struct rng r = {.state = 11};

	printf("seed 11\n");
	for (unsigned k = 0; k < 60; k++) {
		unsigned n = sizes[k % 6], shift = k % 16, places = PLACES >> k / 16 * 3;
		for (unsigned i = 0; i < n; i++) {
			uint32_t place = rng_below(&r, places);
			bool removes = rng_below(&r, 4) < k % 5;
			index_batch_add(&batch, print_of(place, shift), removes);
			last[place] = removes ? GOES : COMES;
		}
		take_all(n, shift);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch__last_change_counts),
		cmocka_unit_test(prop__what_goes_in_comes_out),
	};
	return cmocka_run_group_tests_name("index_batch", tests, NULL, NULL);
}
