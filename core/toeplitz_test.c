// SPDX-License-Identifier: BSD-3-Clause
#include "core/toeplitz.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/testing/tuples.h"

// What an RSS NIC feeds to its hash. Returns the bytes written.
static size_t rss_input(const struct tripod_tuple *t, bool ports, uint8_t out[36])
{
	size_t n = tripod_addr_is_v4(&t->src) ? 4 : 16;
	memcpy(out, t->src.b + 16 - n, n);
	memcpy(out + n, t->dst.b + 16 - n, n);
	if (!ports)
		return 2 * n;
	memcpy(out + 2 * n, &t->sport, 2);
	memcpy(out + 2 * n + 2, &t->dport, 2);
	return 2 * n + 4;
}

// The suite that Microsoft publishes for verifying RSS, with its key.
static void test_published_vectors(void **state)
{
	static const uint8_t KEY[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
		0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4,
		0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
		0x01, 0xfa};
	static const struct {
		const char *dst, *src;
		uint16_t dport, sport;
		uint32_t addresses, with_ports;
	} VECTORS[] = {
		{"161.142.100.80", "66.9.149.187", 1766, 2794, 0x323e8fc2, 0x51ccc178},
		{"65.69.140.83", "199.92.111.2", 4739, 14230, 0xd718262a, 0xc626b0ea},
		{"12.22.207.184", "24.19.198.95", 38024, 12898, 0xd2d0a5de, 0x5c2b394a},
		{"209.142.163.6", "38.27.205.30", 2217, 48228, 0x82989176, 0xafc7327f},
		{"202.188.127.2", "153.39.163.191", 1303, 44251, 0x5d1809c5, 0x10e828a2},
		{"3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x2cc18cd5, 0x40207d3d},
		{"ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0x0f0c461c, 0xdde51bbf},
		{"fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024, 44251,
			0x4b61e985, 0x02d1feef},
	};
	for (size_t i = 0; i < sizeof(VECTORS) / sizeof(VECTORS[0]); i++) {
		struct tripod_tuple t = {
			.sport = htons(VECTORS[i].sport), .dport = htons(VECTORS[i].dport)};
		uint8_t input[36];
		assert_int_equal(tripod_addr_parse(&t.src, VECTORS[i].src), 0);
		assert_int_equal(tripod_addr_parse(&t.dst, VECTORS[i].dst), 0);
		size_t n = rss_input(&t, false, input);
		assert_int_equal(toeplitz_plain(KEY, input, n), VECTORS[i].addresses);
		n = rss_input(&t, true, input);
		assert_int_equal(toeplitz_plain(KEY, input, n), VECTORS[i].with_ports);
	}
}

static void test_key(void **state)
{
	for (size_t i = 0; i < sizeof(TOEPLITZ_KEY); i++)
		assert_int_equal(TOEPLITZ_KEY[i], i % 2 == 0 ? 0x6d : 0x5a);
}

static void test_tuple_is_plain_and_symmetric(void **state)
{
	struct rng r = {.state = 0x746f6570};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	unsigned bits = 0;
	for (int i = 0; i < 50000; i++) {
		struct tripod_tuple t = tuples_random(&r);
		struct tripod_tuple reversed = tripod_tuple_reverse(&t);
		uint8_t input[36];
		size_t n = rss_input(&t, true, input);
		uint32_t hash = toeplitz_tuple(&t);
		assert_int_equal(hash, toeplitz_plain(TOEPLITZ_KEY, input, n));
		assert_int_equal(hash, toeplitz_tuple(&reversed));
		bits |= hash;
	}
	assert_int_equal(bits, 0xffffffff);
}

static void test_worker(void **state)
{
	struct rng r = {.state = 0x776f726b};
	unsigned n[4] = {0};
	for (int i = 0; i < 40000; i++) {
		struct tripod_tuple t = tuples_random(&r);
		uint32_t hash = toeplitz_tuple(&t);
		assert_int_equal(toeplitz_worker(hash, 1), 0);
		n[toeplitz_worker(hash, 4)]++;
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(n[i], 9000, 11000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_vectors),
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_tuple_is_plain_and_symmetric),
		cmocka_unit_test(test_worker),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
