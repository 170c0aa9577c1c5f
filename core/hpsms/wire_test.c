// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hpsms/auth.h"
#include "core/hpsms/wire_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEED 7117

static struct wire_header some_header(void)
{
	return (struct wire_header){
		.type = WIRE_LOG,
		.length = WIRE_HEADER_SIZE + WIRE_TAG_SIZE,
		.from_node = 3,
		.from_worker = 1,
		.to_node = 5,
		.to_worker = 2,
		.count = 1,
		.cluster = 0x1122334455667788,
		.boot = 0x99aabbccddeeff00,
		.to_boot = 0x01020304,
		.seq = 0x0a0b0c0d,
		.ack = 0x10203040,
		.ack_bits = 0x8000000000000001,
		.key = 0xf0,
		.counter = 0xf1f2f3f4f5f6f7,
	};
}

static void header__bytes_as_documented(void **state)
{
	static const uint8_t want[WIRE_HEADER_SIZE] = {0x54, 0x50, 5, 2, 0, 72, 0, 1, 3, 1, 5, 2, 1,
		2, 3, 4, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc,
		0xdd, 0xee, 0xff, 0, 0x0a, 0x0b, 0x0c, 0x0d, 0x10, 0x20, 0x30, 0x40, 0x80, 0, 0, 0,
		0, 0, 0, 1, 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7};
	struct wire_header h = some_header();
	uint8_t buf[WIRE_HEADER_SIZE + WIRE_TAG_SIZE];
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(wire_put_header(buf, sizeof(buf), &h), WIRE_HEADER_SIZE);
	assert_memory_equal(buf, want, sizeof(want));
	assert_int_equal(wire_put_header(buf, WIRE_HEADER_SIZE - 1, &h), -ENOSPC);
	struct wire_header got;
	assert_int_equal(wire_get_header(buf, sizeof(buf), &got), WIRE_HEADER_SIZE);
	assert_int_equal(got.key, h.key);
	assert_true(got.counter == h.counter);
	assert_true(got.cluster == h.cluster && got.boot == h.boot && got.ack_bits == h.ack_bits);
	assert_int_equal(got.to_boot, h.to_boot);
	assert_int_equal(got.seq, h.seq);
	assert_int_equal(got.ack, h.ack);
}

static void header__wrong_fields(void **state)
{
	uint8_t good[WIRE_HEADER_SIZE + WIRE_TAG_SIZE] = {0}, b[sizeof(good) + 1];
	struct wire_header h = some_header(), got;
	assert_int_equal(wire_put_header(good, sizeof(good), &h), WIRE_HEADER_SIZE);
	static const struct {
		unsigned at;
		uint8_t value;
	} wrong[] = {{0, 0x55}, {1, 0}, {2, 4}, {2, 6}, {3, 0}, {3, 6}, {3, 7}, {3, 10}, {4, 1},
		{5, 71}, {5, 73}, {7, 0}, {8, 64}, {8, 0xff}, {9, 16}, {10, 64}, {10, 0xff},
		{11, 16}, {11, 0xff}};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memcpy(b, good, sizeof(good));
		b[wrong[i].at] = wrong[i].value;
		assert_int_equal(wire_get_header(b, sizeof(good), &got), -EINVAL);
	}
	memcpy(b, good, sizeof(good));
	assert_int_equal(wire_get_header(b, sizeof(b), &got), -EINVAL); // longer than it says
	memset(b + 24, 0, 8); // boot
	assert_int_equal(wire_get_header(b, sizeof(good), &got), -EINVAL);
	memcpy(b, good, sizeof(good));
	memset(b + WIRE_AT_COUNTER, 0, 7);
	assert_int_equal(wire_get_header(b, sizeof(good), &got), -EINVAL);
	memcpy(b, good, sizeof(good));
	b[5] = WIRE_HEADER_SIZE + WIRE_TAG_SIZE - 1; // no room for a tag
	assert_int_equal(wire_get_header(b, sizeof(good) - 1, &got), -EINVAL);
	memcpy(b, good, sizeof(good));
	memset(b + 32, 0, 4); // records, but no number
	assert_int_equal(wire_get_header(b, sizeof(good), &got), -EINVAL);
}

// A LOG on its way: what both ends know is left out.
static void header__short(void **state)
{
	static const uint8_t want[] = {0x4c, 5, 3, 5, 0x12, 0x00, 0x04, 9, // to the key
		0x85, 2, 1, 0x8d, 0x98, 0xac, 0x50, 0xc0, 0xe0, 0x80, 0x81, 1, 1};
	struct wire_header h = some_header(), got;
	uint8_t b[64], rest = 16; // a tag behind it
	h.key = 9;
	h.counter = 261;
	h.ack_bits = 1;
	assert_int_equal(wire_put_short(b, sizeof(b), &h), sizeof(want));
	assert_memory_equal(b, want, sizeof(want));
	assert_int_equal(wire_put_short(b, sizeof(want) - 1, &h), -ENOSPC);
	assert_true(wire_is_short(b, sizeof(want)));
	assert_int_equal(wire_get_short(b, sizeof(want) + rest, &got), sizeof(want));
	assert_int_equal(got.length, WIRE_HEADER_SIZE + rest);
	assert_true(got.seq == h.seq && got.ack == h.ack && got.ack_bits == 1);
	assert_true(got.counter == 261 && got.key == 9 && got.count == 1);
	assert_true(got.from_node == 3 && got.to_node == 5);
	assert_true(got.from_worker == 1 && got.to_worker == 2);
	assert_true(got.boot == 0 && got.to_boot == 4 && got.cluster == 0);
	for (size_t len = 0; len < sizeof(want); len++)
		assert_int_equal(wire_get_short(b, len, &got), -EINVAL);
	static const struct {
		unsigned at;
		uint8_t value;
	} wrong[] = {{0, 0x54}, {1, 4}, {2, 64}, {3, 64}, {3, 0xff}, {9, 0}, {10, 0}, {20, 0x80}};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memcpy(b, want, sizeof(want));
		memset(b + sizeof(want), 0, rest);
		b[wrong[i].at] = wrong[i].value;
		assert_int_equal(wire_get_short(b, sizeof(want) + rest, &got), -EINVAL);
	}
	h.type = WIRE_NONE;
	h.seq = 0;
	assert_int_equal(wire_put_short(b, sizeof(b), &h), -EINVAL);
	h = some_header();
	h.counter = AUTH_COUNTER_MAX; // the longest
	h.seq = h.ack = UINT32_MAX;
	h.ack_bits = UINT64_MAX;
	h.count = UINT16_MAX;
	assert_int_equal(wire_put_short(b, sizeof(b), &h), WIRE_SHORT_MAX);
	assert_int_equal(wire_get_short(b, WIRE_MESSAGE_MAX, &got), -EINVAL); // longer than any
}

static void header__per_type(void **state)
{
	uint8_t b[WIRE_HEADER_SIZE];
	struct wire_header h = some_header();
	h.count = h.seq = 0; // bare acknowledgement
	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.seq = 1;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.seq = 0;
	h.type = WIRE_PULL;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL); // of nothing
	h.count = 1;
	h.to_node = h.to_worker = WIRE_ANY;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.type = WIRE_NONE;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.to_node = 0;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.type = WIRE_REQUEST;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL); // to which worker?
	h.to_worker = 1;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.type = WIRE_KIND;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.to_worker = WIRE_ANY;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.to_worker = 1;
	h.type = WIRE_APPLIED;
	h.count = 0;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL); // of nothing
	h.count = 1;
	h.type = WIRE_HELLO;
	h.to_node = WIRE_ANY;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL); // to whom?
	h.to_worker = 0;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.type = WIRE_GREET;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.to_node = 3;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.to_worker = 1;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.to_worker = 0;
	h.type = WIRE_HELLO;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.to_node = WIRE_ANY;
	h.count = 2;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.count = 1;
	h.counter = 0;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.counter = AUTH_COUNTER_MAX + 1;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
}

static void hello__round_trip_and_ranges(void **state)
{
	struct wire_hello got, h = {
				       .workers = 16,
				       .flags = WIRE_HELLO_READY | WIRE_HELLO_DRAINING,
				       .n_chains = 2,
				       .chains_used = 3,
				       .mac = {2, 3, 4, 5, 6, 7},
				       .live = UINT64_MAX - 5,
				       .lives = 0x0001020304050607,
				       .port_changes = 200,
				       .chain = {42, 43},
				       .load = {[3] = 7, [63] = 0xfffe},
			       };
	uint8_t b[35 + 8 * CHAINS_MAX + 4];
	assert_int_equal(wire_put_hello(b, 55, &h), 55);
	assert_int_equal(wire_put_hello(b, 54, &h), -ENOSPC);
	assert_int_equal(wire_get_hello(b, 54, &got), -EINVAL);
	assert_int_equal(wire_get_hello(b, 55, &got), 55);
	assert_int_equal(got.workers, 16);
	assert_int_equal(got.flags, 9);
	assert_memory_equal(got.mac, h.mac, 6);
	assert_true(got.n_chains == 2 && got.chains_used == 3);
	assert_true(got.chain[0] == 42 && got.chain[1] == 43 && got.live == UINT64_MAX - 5);
	assert_true(got.lives == h.lives);
	assert_int_equal(got.port_changes, 200);
	assert_memory_equal(got.load, h.load, sizeof(h.load));
	static const struct {
		uint8_t at, value;
	} bad[] = {{0, 0}, {0, 17}, {1, 4}, {1, 16}, {1, 0x80}, {2, 0}, {2, 1}, {2, 9}, {2, 3},
		{3, 4}, {4, 3}, {42, 0}, {50, 0}, {52, 0}, {25, 9}, {26, 1}};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t was = b[bad[i].at];
		b[bad[i].at] = bad[i].value;
		assert_int_equal(wire_get_hello(b, 55, &got), -EINVAL);
		b[bad[i].at] = was;
	}
	h.n_chains = CHAINS_MAX;
	for (unsigned i = 0; i < CHAINS_MAX; i++)
		h.chain[i] = i + 1;
	assert_int_equal(wire_put_hello(b, sizeof(b), &h), 35 + 8 * CHAINS_MAX + 4);
	assert_int_equal(wire_get_hello(b, sizeof(b), &got), 35 + 8 * CHAINS_MAX + 4);
	assert_true(got.chain[CHAINS_MAX - 1] == CHAINS_MAX);
}

static void chain__round_trip_and_ranges(void **state)
{
	uint8_t bytes[WIRE_CHAIN_CHUNK + 1], b[1100];
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	struct wire_chain_ask ask = {.id = 0x0102030405060708, .offset = 0x090a0b0c}, asked;
	assert_int_equal(wire_put_chain_ask(b, 12, &ask), 12);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(b[i], i + 1);
	assert_int_equal(wire_put_chain_ask(b, 11, &ask), -ENOSPC);
	assert_int_equal(wire_get_chain_ask(b, 11, &asked), -EINVAL);
	assert_int_equal(wire_get_chain_ask(b, 12, &asked), 12);
	assert_true(asked.id == ask.id && asked.offset == ask.offset);
	ask.id = 0;
	assert_int_equal(wire_put_chain_ask(b, 12, &ask), -EINVAL);
	memset(b, 0, 8);
	assert_int_equal(wire_get_chain_ask(b, 12, &asked), -EINVAL);

	struct wire_chain c = {7, 5000, 4000, 1000, bytes}, got;
	assert_int_equal(wire_put_chain(b, 1018, &c), 1018);
	assert_int_equal(wire_put_chain(b, 1017, &c), -ENOSPC);
	assert_int_equal(wire_get_chain(b, 1017, &got), -EINVAL);
	assert_int_equal(wire_get_chain(b, sizeof(b), &got), 1018);
	assert_true(got.id == 7 && got.total == 5000 && got.offset == 4000 && got.size == 1000);
	assert_memory_equal(got.bytes, bytes, 1000);
	static const struct wire_chain bad[] = {
		{0, 5000, 4000, 1000, NULL}, // no chain
		{7, 5000, 4001, 1000, NULL}, // behind the end
		{7, 5000, 5000, 1, NULL},
		{7, 5000, UINT32_MAX, 2, NULL},
		{7, 5000, 0, 0, NULL}, // nothing of something
		{7, 0, 0, 1, NULL}, // something of nothing
		{7, 0, 1, 0, NULL},
		{7, 5000, 0, WIRE_CHAIN_CHUNK + 1, NULL},
		{7, CHAIN_BYTES_MAX + 1, 0, 1, NULL},
	};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		c = bad[i];
		c.bytes = bytes;
		assert_int_equal(wire_put_chain(b, sizeof(b), &c), -EINVAL);
		for (unsigned k = 0; k < 8; k++)
			b[k] = (uint8_t)(c.id >> (56 - 8 * k));
		for (unsigned k = 0; k < 4; k++) {
			b[8 + k] = (uint8_t)(c.total >> (24 - 8 * k));
			b[12 + k] = (uint8_t)(c.offset >> (24 - 8 * k));
		}
		b[16] = (uint8_t)(c.size >> 8);
		b[17] = (uint8_t)c.size;
		assert_int_equal(wire_get_chain(b, sizeof(b), &got), -EINVAL);
	}
	c = (struct wire_chain){.id = 7}; // the sender has it not
	assert_int_equal(wire_put_chain(b, sizeof(b), &c), 18);
	assert_int_equal(wire_get_chain(b, 18, &got), 18);
	assert_int_equal(got.total, 0);
}

static void greet__round_trip_and_ranges(void **state)
{
	struct wire_greet g = {.hello = {.workers = 2,
				       .flags = WIRE_HELLO_READY | WIRE_HELLO_WANTED,
				       .n_chains = 1,
				       .chains_used = 1,
				       .mac = {2, 3, 4, 5, 6, 7},
				       .live = 3,
				       .lives = 0x41,
				       .port_changes = 3,
				       .chain = {9}},
				  .echo = 0x1112131415161718,
				  .challenge = 0x2122232425262728,
				  .floor = 0x31323334353637},
			  got;
	static const uint8_t want[67] = {2, 5, 1, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0x11, 0x12,
		0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
		0, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37};
	uint8_t b[67];
	assert_int_equal(wire_put_greet(b, sizeof(b), &g), 67);
	assert_memory_equal(b, want, sizeof(want));
	assert_int_equal(wire_put_greet(b, 66, &g), -ENOSPC);
	assert_int_equal(wire_get_greet(b, 66, &got), -EINVAL);
	assert_int_equal(wire_get_greet(b, 67, &got), 67);
	assert_true(got.echo == g.echo && got.challenge == g.challenge && got.floor == g.floor);
	assert_int_equal(got.hello.flags, g.hello.flags);
	b[1] = 64;
	assert_int_equal(wire_get_greet(b, 67, &got), -EINVAL);
	b[1] = 5;
	memset(b + 59, 0xff, 8); // a floor above which nothing could come
	assert_int_equal(wire_get_greet(b, 67, &got), -EINVAL);
	memcpy(b, want, sizeof(want));
	memset(b + 51, 0, 8); // no challenge
	assert_int_equal(wire_get_greet(b, 67, &got), -EINVAL);
	uint8_t loads[69]; // are not told here
	memcpy(loads, want, 43);
	loads[25] = 1;
	memcpy(loads + 43, (const uint8_t[]){4, 1}, 2);
	memcpy(loads + 45, want + 43, 24);
	assert_int_equal(wire_get_greet(loads, sizeof(loads), &got), -EINVAL);
	g.challenge = 0;
	assert_int_equal(wire_put_greet(b, sizeof(b), &g), -EINVAL);
}

// An IPv4 address has one form on the wire: the short one.
static void tuple__canonical(void **state)
{
	struct rng r = {SEED};
	struct tripod_tuple t = wire_random_tuple(&r, true), got;
	t.zone = 1;
	uint8_t b[64];
	assert_int_equal(wire_put_tuple(b, sizeof(b), &t), 40);
	assert_int_equal(wire_get_tuple(b, 40, &got), 40);
	assert_true(tripod_tuple_equal(&t, &got));
	memcpy(b + 8, TRIPOD_V4_PREFIX, 12); // source IPv4-mapped
	assert_int_equal(wire_get_tuple(b, 40, &got), -EINVAL);
	memcpy(b + 24, TRIPOD_V4_PREFIX, 12); // both
	assert_int_equal(wire_get_tuple(b, 40, &got), -EINVAL);
	assert_int_equal(wire_put_tuple(b, sizeof(b), &t), 40);
	b[3] = 0; // zone given, but 0
	assert_int_equal(wire_get_tuple(b, 40, &got), -EINVAL);
	assert_int_equal(wire_put_tuple(b, sizeof(b), &t), 40);
	b[0] |= 0x80;
	assert_int_equal(wire_get_tuple(b, 40, &got), -EINVAL);
}

// A question says besides whether the asker has a copy.
static void tuple__question(void **state)
{
	struct rng r = {SEED};
	uint8_t b[64], plain[64];
	struct tripod_tuple got;
	bool has;

	for (unsigned i = 0; i < 2000; i++) {
		struct tripod_tuple t = wire_random_tuple(&r, i & 1);
		int n = wire_put_question(b, sizeof(b), &t, i & 2);
		assert_int_equal(wire_put_tuple(plain, sizeof(plain), &t), n);
		assert_int_equal(b[0], plain[0] | (i & 2 ? 0x80 : 0));
		assert_memory_equal(b + 1, plain + 1, (size_t)n - 1);
		for (int len = 0; len < n; len++)
			assert_int_equal(wire_get_question(b, (size_t)len, &got, &has), -EINVAL);
		assert_int_equal(wire_get_question(b, (size_t)n, &got, &has), n);
		assert_int_equal(has, !!(i & 2));
		assert_true(tripod_tuple_equal(&t, &got));
		assert_int_equal(wire_put_question(b, (size_t)n - 1, &t, true), -ENOSPC);
	}
}

static void prop__tuples(void **state)
{
	struct rng r = {SEED};
	printf("seed %u\n", SEED);
	for (unsigned i = 0; i < 20000; i++) {
		struct tripod_tuple t = wire_random_tuple(&r, i & 1), got;
		uint8_t b[64];
		int n = wire_put_tuple(b, sizeof(b), &t);
		assert_int_equal(n, 14 + (i & 1) * 24 + (t.zone ? 2 : 0));
		assert_int_equal(wire_put_tuple(b, (size_t)n - 1, &t), -ENOSPC);
		for (int len = 0; len < n; len++)
			assert_int_equal(wire_get_tuple(b, (size_t)len, &got), -EINVAL);
		assert_int_equal(wire_get_tuple(b, sizeof(b), &got), n);
		assert_true(tripod_tuple_equal(&t, &got));
	}
}

static struct wire_request some_request(struct rng *r)
{
	struct wire_request q = {
		.hash = rng_next(r),
		.incarnation = rng_next(r) >> rng_below(r, 64),
		.seq = (uint32_t)rng_next(r) | 1,
		.nf = (uint8_t)rng_below(r, CHAIN_NFS_MAX + 1),
	};
	if (q.nf == CHAIN_NFS_MAX)
		q.nf = WIRE_REQUEST_TERMINATE;
	else
		q.size = (uint8_t)rng_below(r, TRIPOD_REQUEST_MAX + 1);
	for (unsigned i = 0; i < q.size; i++)
		q.data[i] = (uint8_t)rng_next(r);
	return q;
}

static void request__bytes_as_documented(void **state)
{
	static const uint8_t want[] = {
		1, 2, 3, 4, 5, 6, 7, 8, 0xac, 2, 9, 10, 11, 12, 3, 2, 0xaa, 0xbb};
	struct wire_request q = {0x0102030405060708, 300, 0x090a0b0c, 3, 2, {0xaa, 0xbb}}, got;
	struct wire_applied a = {q.hash, q.incarnation, q.seq}, heard;
	uint8_t b[WIRE_REQUEST_ITEM_MAX];

	assert_int_equal(wire_put_request(b, sizeof(b), &q), sizeof(want));
	assert_memory_equal(b, want, sizeof(want));
	assert_int_equal(wire_put_applied(b, sizeof(b), &a), 14);
	assert_memory_equal(b, want, 14);
	assert_int_equal(wire_put_applied(b, 13, &a), -ENOSPC);
	for (size_t len = 0; len < 14; len++)
		assert_int_equal(wire_get_applied(want, len, &heard), -EINVAL);
	assert_int_equal(wire_get_applied(want, sizeof(want), &heard), 14);
	assert_true(heard.hash == a.hash && heard.incarnation == 300 && heard.seq == a.seq);
	memset(b + 10, 0, 4);
	assert_int_equal(wire_get_applied(b, 14, &heard), -EINVAL);
	a.seq = 0;
	assert_int_equal(wire_put_applied(b, sizeof(b), &a), -EINVAL);

	memcpy(b, want, sizeof(want));
	b[14] = CHAIN_NFS_MAX;
	assert_int_equal(wire_get_request(b, sizeof(want), &got), -EINVAL);
	b[14] = WIRE_REQUEST_TERMINATE; // has no data
	assert_int_equal(wire_get_request(b, sizeof(want), &got), -EINVAL);
	b[15] = 0;
	assert_int_equal(wire_get_request(b, sizeof(want), &got), 16);
	memcpy(b, want, sizeof(want));
	b[15] = TRIPOD_REQUEST_MAX + 1;
	assert_int_equal(wire_get_request(b, sizeof(b), &got), -EINVAL);
	memcpy(b, want, sizeof(want));
	memset(b + 10, 0, 4); // seq
	assert_int_equal(wire_get_request(b, sizeof(want), &got), -EINVAL);
	q.size = TRIPOD_REQUEST_MAX + 1;
	assert_int_equal(wire_put_request(b, sizeof(b), &q), -EINVAL);
}

static void forget__bytes_as_documented(void **state)
{
	static const uint8_t want[] = {1, 2, 3, 4, 5, 6, 7, 8, 0xac, 2, 9, 10, 0, 1, 0, 2, 1, 0};
	struct wire_forget f = {0x0102030405060708, 300, 0x090a, {1, 2, 256}}, got;
	uint8_t b[32];

	assert_int_equal(wire_put_forget(b, sizeof(b), &f), sizeof(want));
	assert_memory_equal(b, want, sizeof(want));
	assert_int_equal(wire_put_forget(b, sizeof(want) - 1, &f), -ENOSPC);
	for (size_t len = 0; len < sizeof(want); len++)
		assert_int_equal(wire_get_forget(want, len, &got), -EINVAL);
	assert_int_equal(wire_get_forget(want, sizeof(want), &got), sizeof(want));
	assert_memory_equal(&got, &f, sizeof(f));
}

static void fragment__bytes_as_documented(void **state)
{
	static const uint8_t want[] = {
		0x10, 17, 0, 0, 0x12, 0x34, 10, 1, 0, 9, 198, 51, 100, 7, 1, 203, 0, 113, 99};
	struct wire_fragment f = {0}, got;
	uint8_t b[WIRE_FRAGMENT_MAX];

	f.key = (struct tripod_tuple){.proto = 17,
		.kind = TRIPOD_KIND_FRAGMENT,
		.direction = TRIPOD_OUTGOING,
		.dport = htons(0x1234)};
	tripod_addr_parse(&f.key.src, "10.1.0.9");
	tripod_addr_parse(&f.key.dst, "198.51.100.7");
	tripod_addr_parse(&f.src, "203.0.113.99");
	f.dst = f.key.dst;
	assert_int_equal(wire_put_fragment(b, sizeof(b), &f), sizeof(want));
	assert_memory_equal(b, want, sizeof(want));
	for (size_t len = 0; len < sizeof(want); len++) {
		assert_int_equal(wire_put_fragment(b, len, &f), -ENOSPC);
		assert_int_equal(wire_get_fragment(want, len, &got), -EINVAL);
	}
	assert_int_equal(wire_get_fragment(want, sizeof(want), &got), sizeof(want));
	assert_memory_equal(&got, &f, sizeof(f));
	memcpy(b, want, sizeof(want));
	b[14] = 2; // says that the destination is another one
	assert_int_equal(wire_get_fragment(b, sizeof(want), &got), sizeof(want));
	memcpy(b + 15, want + 10, 4); // and it is the same
	assert_int_equal(wire_get_fragment(b, sizeof(want), &got), -EINVAL);
	b[14] = 5;
	assert_int_equal(wire_get_fragment(b, sizeof(want), &got), -EINVAL);
	tripod_addr_parse(&f.src, "2001:db8::1");
	assert_int_equal(wire_put_fragment(b, sizeof(b), &f), -EINVAL);
}

static struct wire_fragment some_fragment(struct rng *r)
{
	bool v6 = rng_below(r, 2);
	struct wire_fragment f = {.key = wire_random_tuple(r, v6)};

	f.key.kind = TRIPOD_KIND_FRAGMENT;
	f.src = rng_below(r, 2) ? f.key.src : wire_random_tuple(r, v6).src;
	f.dst = rng_below(r, 2) ? f.key.dst : wire_random_tuple(r, v6).dst;
	return f;
}

static void prop__fragments(void **state)
{
	struct rng r = {SEED};
	for (unsigned i = 0; i < 20000; i++) {
		struct wire_fragment f = some_fragment(&r), got;
		uint8_t b[WIRE_FRAGMENT_MAX];
		int n = wire_put_fragment(b, sizeof(b), &f);
		assert_in_range(n, 15, WIRE_FRAGMENT_MAX);
		for (int len = 0; len < n; len++)
			assert_int_equal(wire_get_fragment(b, (size_t)len, &got), -EINVAL);
		assert_int_equal(wire_get_fragment(b, sizeof(b), &got), n);
		assert_memory_equal(&got, &f, sizeof(f));
	}
}

static void prop__requests(void **state)
{
	struct rng r = {SEED};
	printf("seed %u\n", SEED);
	for (unsigned i = 0; i < 20000; i++) {
		struct wire_request q = some_request(&r), got;
		uint8_t b[WIRE_REQUEST_ITEM_MAX];
		int n = wire_put_request(b, sizeof(b), &q);
		assert_in_range(n, 15, WIRE_REQUEST_ITEM_MAX);
		assert_int_equal(wire_put_request(b, (size_t)n - 1, &q), -ENOSPC);
		for (int len = 0; len < n; len++)
			assert_int_equal(wire_get_request(b, (size_t)len, &got), -EINVAL);
		assert_int_equal(wire_get_request(b, sizeof(b), &got), n);
		assert_true(got.hash == q.hash && got.incarnation == q.incarnation);
		assert_true(got.seq == q.seq && got.nf == q.nf && got.size == q.size);
		assert_memory_equal(got.data, q.data, sizeof(q.data));
	}
}

static struct wire_hello a_hello(struct rng *r)
{
	struct wire_hello hello = {.workers = 1,
		.flags = 1,
		.n_chains = (uint8_t)(1 + rng_below(r, CHAINS_MAX)),
		.chains_used = 1,
		.live = rng_next(r),
		.lives = rng_next(r) >> 9};

	for (unsigned k = 0; k < hello.n_chains; k++)
		hello.chain[k] = rng_next(r) | 1;
	for (unsigned k = rng_below(r, 9); k > 0; k--)
		hello.load[rng_below(r, 64)] = (uint16_t)rng_next(r);
	return hello;
}

static int put_record(uint8_t *b, size_t room, uint64_t *chain, struct rng *r)
{
	unsigned parts = rng_below(r, 8);
	struct wire_record w = wire_random_record(
		r, rng_below(r, 2), (uint8_t)(parts < 4 ? parts : 7), (uint16_t)rng_below(r, 64));

	return wire_put_record(b, room, &w, chain);
}

// An item of this type; count: fingerprints, where they are one item.
static int put_item(
	uint8_t *b, size_t room, uint8_t type, uint16_t count, uint64_t *chain, struct rng *r)
{
	static const uint8_t piece[100] = {1, 2, 3};
	struct wire_hello hello = a_hello(r);
	struct wire_greet greet = {a_hello(r), rng_next(r), rng_next(r) | 1, rng_next(r) >> 9};
	memset(greet.hello.load, 0, sizeof(greet.hello.load));
	struct wire_delta delta = {.seq = 5, .n = count, .fp = {1, 2, 3, 4, 5}};
	struct wire_snapshot snapshot = {
		.total = 9, .places = 5, .n = count, .fp = {1, 2, 3, 4, 5}};
	struct wire_ask ask = {.what = WIRE_ASK_DELTAS, .from = (uint32_t)rng_next(r)};
	struct wire_chain_ask chain_ask = {rng_next(r) | 1, (uint32_t)rng_next(r)};
	struct wire_chain chunk = {rng_next(r) | 1, 500, rng_below(r, 400), 100, piece};
	struct wire_request request = some_request(r);
	struct wire_applied applied = {request.hash, request.incarnation, request.seq};
	struct wire_kind kind = wire_random_kind(r, (enum wire_kind_op)(1 + rng_below(r, 4)), 8);
	struct wire_fragment fragment = some_fragment(r);
	struct wire_forget forget = {.hash = rng_next(r),
		.incarnation = rng_next(r) >> rng_below(r, 64),
		.stamp = (uint16_t)rng_next(r),
		.epoch = {1, (uint16_t)rng_next(r), 3}};
	struct tripod_tuple t = wire_random_tuple(r, rng_below(r, 2));

	switch (type) {
	case WIRE_HELLO:
		return wire_put_hello(b, room, &hello);
	case WIRE_GREET:
		return wire_put_greet(b, room, &greet);
	case WIRE_LOG:
		return put_record(b, room, chain, r);
	case WIRE_INDEX:
		return wire_put_delta(b, room, &delta);
	case WIRE_SNAPSHOT:
		return wire_put_snapshot(b, room, &snapshot);
	case WIRE_ASK:
		return wire_put_ask(b, room, &ask);
	case WIRE_CHAIN_ASK:
		return wire_put_chain_ask(b, room, &chain_ask);
	case WIRE_CHAIN:
		return wire_put_chain(b, room, &chunk);
	case WIRE_REQUEST:
		return wire_put_request(b, room, &request);
	case WIRE_APPLIED:
		return wire_put_applied(b, room, &applied);
	case WIRE_KIND:
		return wire_put_kind(b, room, &kind);
	case WIRE_FORGET:
	case WIRE_FORGOT:
		return wire_put_forget(b, room, &forget);
	case WIRE_FRAGMENT:
		return wire_put_fragment(b, room, &fragment);
	default:
		return wire_put_tuple(b, room, &t);
	}
}

static uint16_t make_message(uint8_t *b, struct rng *r)
{
	struct wire_header h = some_header();
	static const uint8_t types[] = {WIRE_HELLO, WIRE_LOG, WIRE_PULL, WIRE_NONE, WIRE_GREET,
		WIRE_REFUSED, WIRE_INDEX, WIRE_SNAPSHOT, WIRE_ASK, WIRE_CHAIN_ASK, WIRE_CHAIN,
		WIRE_REQUEST, WIRE_APPLIED, WIRE_KIND, WIRE_FORGET, WIRE_FORGOT, WIRE_FRAGMENT};
	h.type = types[rng_below(r, sizeof(types))];
	h.seq = h.type == WIRE_LOG ? 1 + rng_below(r, 1000) : 0;
	bool whole = h.type == WIRE_INDEX || h.type == WIRE_SNAPSHOT; // count is of fingerprints
	bool one = h.type == WIRE_HELLO || h.type == WIRE_GREET || h.type == WIRE_ASK ||
		   h.type == WIRE_CHAIN_ASK || h.type == WIRE_CHAIN;
	h.count = (uint16_t)(one ? 1 : 1 + rng_below(r, 5));
	if (one || whole)
		h.to_worker = 0;
	if (h.type == WIRE_HELLO)
		h.to_node = WIRE_ANY;
	uint16_t len = WIRE_HEADER_SIZE;
	uint64_t chain = 0;
	for (unsigned i = 0; i < (whole ? 1u : h.count); i++) {
		int n = put_item(b + len, WIRE_BODY_MAX - len, h.type, h.count, &chain, r);
		assert_true(n > 0);
		len = (uint16_t)(len + n);
	}
	memset(b + len, 0, WIRE_TAG_SIZE);
	h.length = len + WIRE_TAG_SIZE;
	assert_int_equal(wire_put_header(b, WIRE_MESSAGE_MAX, &h), WIRE_HEADER_SIZE);
	return h.length;
}

// The fuzz target, which aborts when decoded bytes do not encode to themselves.
static void prop__fuzz_target(void **state)
{
	struct rng r = {SEED};
	printf("seed %u\n", SEED);
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t whole[WIRE_MESSAGE_MAX];
		size_t len = make_message(whole, &r);
		for (unsigned k = rng_below(&r, 6); k > 0; k--)
			whole[rng_below(&r, (uint32_t)len)] = (uint8_t)rng_next(&r);
		size_t from = rng_below(&r, 3) == 0 ? WIRE_HEADER_SIZE : 0;
		if (rng_below(&r, 4) == 0)
			len = from + rng_below(&r, (uint32_t)(len - from) + 1);
		uint8_t *b = malloc(len - from + 1);
		memcpy(b + 1, whole + from, len - from);
		LLVMFuzzerTestOneInput(b + 1, len - from);
		free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header__bytes_as_documented),
		cmocka_unit_test(header__wrong_fields),
		cmocka_unit_test(header__short),
		cmocka_unit_test(header__per_type),
		cmocka_unit_test(hello__round_trip_and_ranges),
		cmocka_unit_test(chain__round_trip_and_ranges),
		cmocka_unit_test(greet__round_trip_and_ranges),
		cmocka_unit_test(tuple__canonical),
		cmocka_unit_test(tuple__question),
		cmocka_unit_test(prop__tuples),
		cmocka_unit_test(request__bytes_as_documented),
		cmocka_unit_test(forget__bytes_as_documented),
		cmocka_unit_test(prop__requests),
		cmocka_unit_test(fragment__bytes_as_documented),
		cmocka_unit_test(prop__fragments),
		cmocka_unit_test(prop__fuzz_target),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
