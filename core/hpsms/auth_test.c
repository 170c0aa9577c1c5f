// SPDX-License-Identifier: BSD-3-Clause
// The expected bytes come from another implementation of RFC 8439 and RFC 7693, which was checked
// against their test vectors; docs/PROTOCOL.md shows them as the example.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/hpsms/auth.h"
#include "core/hpsms/wire.h"
#include "core/rng.h"

#define SEED 8439

static const uint8_t cluster_key[AUTH_KEY_SIZE] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
	15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
static const struct auth_ends ends = {.cluster = 0x1122334455667788,
	.from = 3,
	.to = 5,
	.from_boot = 0x99aabbccddeeff00,
	.to_boot = 0x0102030405060708};

static void assert_hex(const uint8_t *got, size_t size, const char *hex)
{
	char text[2 * AUTH_KEY_SIZE + 1] = "";

	for (size_t i = 0; i < size; i++)
		sprintf(text + 2 * i, "%02x", got[i]);
	assert_string_equal(text, hex);
}

static void derive__as_documented(void **state)
{
	struct auth_ends all = ends;
	uint8_t key[AUTH_KEY_SIZE];
	struct auth_keys open;

	auth_derive(key, cluster_key, &ends);
	assert_hex(key, sizeof(key),
		"58eaeac8c9b60355f728ee1fce24e1b1eebe06e0da6d32117aa27238f882de8a");
	all.to = WIRE_ANY;
	all.to_boot = 0;
	auth_derive(key, cluster_key, &all);
	assert_hex(key, sizeof(key),
		"8d80992c5edb76e24aa682ac4dc0f7b3e9d2d8e14b41f443536ab43b94755568");
	auth_keys_open(&open, ends.cluster);
	assert_int_equal(open.n, 1);
	assert_int_equal(open.key[0].id, AUTH_ID_OPEN);
	assert_hex(open.key[0].key, AUTH_KEY_SIZE,
		"f877b7affc456892bec98009578ff6047d82ff0ced72c6ab7dc754d70b86d09b");
}

// Whatever differs between two sessions gives another key.
static void derive__every_input_counts(void **state)
{
	uint8_t first[AUTH_KEY_SIZE], other[AUTH_KEY_SIZE], key[AUTH_KEY_SIZE];
	memcpy(key, cluster_key, sizeof(key));
	auth_derive(first, key, &ends);
	for (unsigned i = 0; i < 6; i++) {
		struct auth_ends e = ends;
		memcpy(key, cluster_key, sizeof(key));
		e.cluster += i == 0;
		e.from += i == 1;
		e.to += i == 2;
		e.from_boot ^= i == 3 ? 1ull << 63 : 0;
		e.to_boot ^= i == 4 ? 1ull << 63 : 0;
		key[31] ^= i == 5;
		auth_derive(other, key, &e);
		assert_memory_not_equal(first, other, sizeof(first));
	}
}

static size_t example(uint8_t *message)
{
	struct wire_header h = {
		.type = WIRE_LOG,
		.length = WIRE_HEADER_SIZE + WIRE_TAG_SIZE,
		.from_node = 3,
		.from_worker = 1,
		.to_node = 5,
		.to_worker = 2,
		.to_boot = (uint32_t)ends.to_boot,
		.cluster = ends.cluster,
		.boot = ends.from_boot,
		.ack = 0x10203040,
		.ack_bits = 0x8000000000000001,
		.key = 9,
		.counter = 0xf1f2f3f4f5f6f7,
	};
	assert_int_equal(wire_put_header(message, WIRE_HEADER_SIZE, &h), WIRE_HEADER_SIZE);
	return WIRE_HEADER_SIZE;
}

static void tag__as_documented(void **state)
{
	uint8_t message[WIRE_HEADER_SIZE + WIRE_TAG_SIZE], key[AUTH_KEY_SIZE];
	size_t size = example(message);

	auth_derive(key, cluster_key, &ends);
	auth_seal(key, message, size);
	assert_hex(message + size, WIRE_TAG_SIZE, "1f0a98e1ab9ad4459529aa86704c585b");
	assert_true(auth_opens(key, message, size));
	key[0] ^= 1;
	assert_false(auth_opens(key, message, size));
}

// Any bit of message or tag that changes, and any byte that is cut off or added.
static void tag__covers_everything(void **state)
{
	uint8_t message[WIRE_MESSAGE_MAX], key[AUTH_KEY_SIZE];
	struct rng r = {SEED};
	size_t size = example(message) + 77;

	for (size_t i = WIRE_HEADER_SIZE; i < size; i++)
		message[i] = (uint8_t)rng_next(&r);
	auth_derive(key, cluster_key, &ends);
	auth_seal(key, message, size);
	for (size_t bit = 0; bit < 8 * (size + WIRE_TAG_SIZE); bit++) {
		message[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(auth_opens(key, message, size));
		message[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(auth_opens(key, message, size));
	uint8_t tag[WIRE_TAG_SIZE];
	memcpy(tag, message + size, sizeof(tag));
	memmove(message + size - 1, tag, sizeof(tag));
	assert_false(auth_opens(key, message, size - 1));
	memset(message + size - 1, 0, 2);
	memcpy(message + size + 1, tag, sizeof(tag));
	assert_false(auth_opens(key, message, size + 1));
}

static void keys__found_by_id(void **state)
{
	struct auth_keys keys = {.n = 2, .key = {{.id = 7}, {.id = 3}, {.id = 5}}};

	assert_int_equal(auth_keys_find(&keys, 7), 0);
	assert_int_equal(auth_keys_find(&keys, 3), 1);
	assert_int_equal(auth_keys_find(&keys, 5), -1);
	assert_int_equal(auth_keys_find(&keys, 0), -1);
}

static void window__edges(void **state)
{
	static const uint64_t floors[] = {0, 1, 62, 63, 64, 65, 1000, 1023, 1024, 1ull << 40};
	struct auth_window w;

	for (unsigned i = 0; i < sizeof(floors) / sizeof(floors[0]); i++) {
		uint64_t f = floors[i];
		auth_window_reset(&w, f);
		assert_false(auth_window_take(&w, f)); // not even 0
		for (uint64_t back = 0; back <= f && back < 3000; back++)
			assert_false(auth_window_take(&w, f - back));
		assert_true(auth_window_take(&w, f + 2));
		assert_true(auth_window_take(&w, f + 1));
		assert_false(auth_window_take(&w, f + 1));
		assert_true(auth_window_take(&w, f + 2 + AUTH_WINDOW));
		assert_false(auth_window_take(&w, f + 2)); // seen, and too far behind
		assert_true(auth_window_take(&w, f + 3));
		assert_true(auth_window_take(&w, f + 4 + AUTH_WINDOW));
		assert_false(auth_window_take(&w, f + 4)); // never seen, but too far behind now
		assert_true(auth_window_take(&w, f + 5));
		assert_true(auth_window_take(&w, AUTH_COUNTER_MAX));
		assert_false(auth_window_take(&w, f + 6));
		assert_true(auth_window_take(&w, AUTH_COUNTER_MAX - 1));
		assert_false(auth_window_take(&w, AUTH_COUNTER_MAX));
	}
}

// Against a model that remembers every counter.
static void window__model(void **state)
{
	enum { N = 1 << 20 };
	static uint8_t seen[N];
	struct rng r = {SEED};
	struct auth_window w;
	uint64_t top = 0;
	unsigned taken = 0, refused = 0;

	printf("seed %u\n", SEED);
	auth_window_reset(&w, 0);
	seen[0] = 1;
	for (unsigned i = 0; i < 600000; i++) {
		uint64_t c = rng_below(&r, 40) == 0 ? top + rng_below(&r, 3000)
			     : rng_below(&r, 2)     ? top + rng_below(&r, 4)
						    : top - rng_below(&r, 1100);
		if (c >= N) // before the first, or behind the last
			continue;
		bool fresh = !seen[c] && (c > top || top - c < AUTH_WINDOW);
		assert_int_equal(auth_window_take(&w, c), fresh);
		taken += fresh;
		refused += !fresh;
		seen[c] |= fresh;
		top = c > top ? c : top;
	}
	assert_true(taken > 10000 && refused > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(derive__as_documented),
		cmocka_unit_test(derive__every_input_counts),
		cmocka_unit_test(tag__as_documented),
		cmocka_unit_test(tag__covers_everything),
		cmocka_unit_test(keys__found_by_id),
		cmocka_unit_test(window__edges),
		cmocka_unit_test(window__model),
	};
	return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
