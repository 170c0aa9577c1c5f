// SPDX-License-Identifier: BSD-3-Clause
#include <tripod/tuple.h>

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/rng.h"

static struct tripod_addr addr(const char *text)
{
	struct tripod_addr a;
	assert_int_equal(tripod_addr_parse(&a, text), 0);
	return a;
}

static void test_addr_text(void **state)
{
	static const char *const SAME[] = {"0.0.0.0", "198.51.100.7", "255.255.255.255",
		"::", "::1", "2001:db8::1", "fe80::200:f8ff:fe21:67cf",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
	char buf[TRIPOD_ADDR_STRLEN];
	for (size_t i = 0; i < sizeof(SAME) / sizeof(SAME[0]); i++) {
		struct tripod_addr a = addr(SAME[i]);
		assert_string_equal(tripod_addr_format(&a, buf, sizeof(buf)), SAME[i]);
	}
	struct tripod_addr a = addr("10.1.2.3");
	assert_true(tripod_addr_is_v4(&a));
	assert_int_equal(tripod_addr_get_v4(&a), htonl(0x0a010203));
	a = addr("2001:DB8:0:0:0:0:0:1");
	assert_string_equal(tripod_addr_format(&a, buf, sizeof(buf)), "2001:db8::1");
	assert_string_equal(tripod_addr_format(&a, buf, 5), "2001"); // cut, but terminated
}

static void test_addr_bad(void **state)
{
	static const char *const BAD[] = {"", " ", "10.1.2", "10.1.2.3.4", "10.1.2.256", "1.2.3.4 ",
		"10.0.0.1/8", ":", ":::", "2001:db8", "12345::", "g::", "fe80::1%eth0",
		"::ffff:10.0.0.1", "localhost"};
	struct tripod_addr a = addr("192.0.2.1"), before = a;
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		assert_int_equal(tripod_addr_parse(&a, BAD[i]), -EINVAL);
		assert_true(tripod_addr_equal(&a, &before));
	}
}

static void test_prefix_text(void **state)
{
	static const struct {
		const char *text, *formatted;
		int len;
	} GOOD[] = {
		{"10.0.0.0/8", "10.0.0.0/8", 104},
		{"0.0.0.0/0", "0.0.0.0/0", 96},
		{"10.1.2.3", "10.1.2.3/32", 128},
		{"203.0.113.1/24", "203.0.113.1/24", 120},
		{"::/0", "::/0", 0},
		{"2001:db8::/32", "2001:db8::/32", 32},
		{"fd00::1", "fd00::1/128", 128},
		{"10.0.0.0/08", "10.0.0.0/8", 104},
	};
	char buf[64];
	for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
		struct tripod_prefix p;
		assert_int_equal(tripod_prefix_parse(&p, GOOD[i].text), 0);
		assert_int_equal(p.len, GOOD[i].len);
		assert_string_equal(tripod_prefix_format(&p, buf, sizeof(buf)), GOOD[i].formatted);
	}
	static const char *const BAD[] = {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
		"10.0.0.0/8x", "10.0.0.0/ 8", "10.0.0.0/8/8", "::/129", "::/1000", "::/+1",
		"10.0.0.0/0008", "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111/8"};
	struct tripod_prefix p;
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		assert_int_equal(tripod_prefix_parse(&p, BAD[i]), -EINVAL);
}

static bool contains(const char *prefix, const char *text)
{
	struct tripod_prefix p;
	struct tripod_addr a = addr(text);
	assert_int_equal(tripod_prefix_parse(&p, prefix), 0);
	return tripod_prefix_contains(&p, &a);
}

static void test_prefix_contains(void **state)
{
	assert_true(contains("10.0.0.0/8", "10.255.0.1"));
	assert_false(contains("10.0.0.0/8", "11.0.0.0"));
	assert_true(contains("10.1.2.3", "10.1.2.3"));
	assert_false(contains("10.1.2.3", "10.1.2.2"));
	assert_true(contains("203.0.113.1/24", "203.0.113.200"));
	assert_true(contains("192.168.4.0/23", "192.168.5.1"));
	assert_false(contains("192.168.4.0/23", "192.168.6.1"));
	assert_true(contains("0.0.0.0/0", "255.1.2.3"));
	assert_false(contains("0.0.0.0/0", "2001:db8::1"));
	assert_true(contains("::/0", "2001:db8::1"));
	assert_false(contains("::/0", "10.0.0.1"));
	assert_true(contains("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(contains("2001:db8::/33", "2001:db8:8000::1"));
	assert_false(contains("2001:db8::/127", "2001:db8::2"));
	struct tripod_prefix broken = {.len = 129};
	assert_false(tripod_prefix_contains(&broken, &broken.addr));
}

// Against a comparison bit by bit.
static void test_prefix_property(void **state)
{
	struct rng r = {.state = 0x70726566};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	unsigned inside = 0;
	for (int i = 0; i < 200000; i++) {
		struct tripod_prefix p;
		struct tripod_addr a;
		bool v4 = rng_below(&r, 2);
		for (int b = 0; b < 16; b++)
			p.addr.b[b] = (uint8_t)rng_next(&r);
		if (v4)
			p.addr = tripod_addr_v4((uint32_t)rng_next(&r));
		p.len = (uint8_t)(v4 ? 96 + rng_below(&r, 33) : rng_below(&r, 129));
		a = p.addr;
		unsigned flip = v4 ? 96 + rng_below(&r, 32) : rng_below(&r, 128);
		if (rng_below(&r, 4) != 0)
			a.b[flip / 8] ^= (uint8_t)(0x80 >> flip % 8);
		bool expected = true;
		for (unsigned bit = 0; bit < p.len; bit++)
			expected &= !((p.addr.b[bit / 8] ^ a.b[bit / 8]) & (0x80 >> bit % 8));
		assert_int_equal(tripod_prefix_contains(&p, &a), expected);
		inside += expected;
	}
	assert_in_range(inside, 50000, 150000);
}

static void test_tuple_text(void **state)
{
	char buf[TRIPOD_TUPLE_STRLEN];
	struct tripod_tuple t = {.src = addr("198.51.100.7"),
		.dst = addr("203.0.113.1"),
		.sport = htons(4242),
		.dport = htons(80),
		.proto = IPPROTO_TCP};
	assert_string_equal(tripod_tuple_format(&t, buf, sizeof(buf)),
		"tcp 198.51.100.7:4242 > 203.0.113.1:80");
	assert_string_equal(tripod_tuple_format(&t, buf, 10), "tcp 198.5");
	t.src = addr("2001:db8::7");
	t.dst = addr("2001:db8::1");
	t.proto = IPPROTO_UDP;
	assert_string_equal(tripod_tuple_format(&t, buf, sizeof(buf)),
		"udp [2001:db8::7]:4242 > [2001:db8::1]:80");
	assert_string_equal(tripod_proto_name(IPPROTO_ICMP), "icmp");
	assert_string_equal(tripod_proto_name(IPPROTO_ICMPV6), "icmp6");
	assert_string_equal(tripod_proto_name(47), "?");
	// The longest there is fits.
	t.src = t.dst = addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	t.proto = IPPROTO_ICMPV6;
	t.sport = t.dport = 0xffff;
	assert_in_range(strlen(tripod_tuple_format(&t, buf, sizeof(buf))), 90, sizeof(buf) - 2);
}

static void test_tuple_reverse(void **state)
{
	struct tripod_tuple t = {.src = addr("198.51.100.7"),
		.dst = addr("203.0.113.1"),
		.sport = 1,
		.dport = 2,
		.proto = IPPROTO_TCP,
		.zone = 9,
		.direction = TRIPOD_INCOMING};
	struct tripod_tuple r = tripod_tuple_reverse(&t);
	assert_true(tripod_addr_equal(&r.src, &t.dst) && tripod_addr_equal(&r.dst, &t.src));
	assert_int_equal(r.sport, 2);
	assert_int_equal(r.dport, 1);
	assert_int_equal(r.direction, TRIPOD_OUTGOING);
	assert_int_equal(r.zone, 9);
	r = tripod_tuple_reverse(&r);
	assert_true(tripod_tuple_equal(&r, &t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addr_text),
		cmocka_unit_test(test_addr_bad),
		cmocka_unit_test(test_prefix_text),
		cmocka_unit_test(test_prefix_contains),
		cmocka_unit_test(test_prefix_property),
		cmocka_unit_test(test_tuple_text),
		cmocka_unit_test(test_tuple_reverse),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
