// SPDX-License-Identifier: BSD-3-Clause
#include <tripod/packet.h>

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/testing/frames.h"
#include "core/testing/tuples.h"

// The tuple that the bytes of the frame show, by parsing it afresh.
static void assert_in_step(struct tripod_packet *p)
{
	struct tripod_packet again;
	assert_true(frames_checksums_right(p->data, p->len));
	int kind = frames_parse(&again, p->data, p->len, p->room, tripod_packet_direction(p));
	assert_int_equal(kind, PARSE_FLOW);
	assert_true(tripod_tuple_equal(&again.tuple, &p->tuple));
	assert_int_equal(again.payload_len, p->payload_len);
	// And the other implementation of the whole sum agrees, where there is one.
	unsigned offset = p->tuple.proto == IPPROTO_TCP   ? 16
			  : p->tuple.proto == IPPROTO_UDP ? 6
							  : 2;
	uint16_t field;
	memcpy(&field, p->data + p->l4 + offset, sizeof(field));
	if (p->tuple.proto != IPPROTO_UDP || field != 0)
		assert_int_equal(checksum_l4(p), field);
}

static void test_setters_property(void **state)
{
	struct rng r = {.state = 0x73657473};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	for (int i = 0; i < 60000; i++) {
		struct tripod_tuple t = tuples_random(&r);
		uint8_t buf[512], before[512];
		struct tripod_packet p;
		struct frame_spec s = {.tuple = &t,
			.tcp_flags = TRIPOD_TCP_SYN,
			.seq = (uint32_t)rng_next(&r),
			.payload_len = rng_below(&r, 64),
			.no_udp_checksum = rng_below(&r, 8) == 0,
			.pad = true};
		size_t len = frames_build(buf, sizeof(buf), &s);
		assert_int_equal(
			frames_parse(&p, buf, len, sizeof(buf), (enum tripod_direction)t.direction),
			PARSE_FLOW);
		memcpy(before, buf, len);
		uint32_t hash = p.hash;

		bool echo = t.proto == IPPROTO_ICMP || t.proto == IPPROTO_ICMPV6;
		struct tripod_addr addr = tuples_addr(&r, p.v6);
		uint16_t port = (uint16_t)rng_next(&r);
		tripod_packet_set_src(&p, &addr, port);
		struct tripod_tuple expected = t;
		expected.src = addr;
		expected.sport = port;
		if (echo)
			expected.dport = port;
		assert_true(tripod_tuple_equal(&p.tuple, &expected));
		assert_in_step(&p);

		addr = tuples_addr(&r, p.v6);
		port = (uint16_t)rng_next(&r);
		tripod_packet_set_dst(&p, &addr, port);
		expected.dst = addr;
		expected.dport = port;
		if (echo)
			expected.sport = port;
		assert_true(tripod_tuple_equal(&p.tuple, &expected));
		assert_in_step(&p);
		assert_int_equal(p.hash, hash);

		// There and back changes nothing, not even the checksums.
		tripod_packet_set_src(&p, &t.src, t.sport);
		tripod_packet_set_dst(&p, &t.dst, t.dport);
		assert_memory_equal(buf, before, len);
	}
}

static size_t build_udp(uint8_t *buf, size_t room, const char *src, const char *dst, bool checksum)
{
	return frames_build(buf, room,
		&(struct frame_spec){.src = src,
			.dst = dst,
			.sport = 1000,
			.dport = 53,
			.proto = IPPROTO_UDP,
			.payload_len = 2,
			.no_udp_checksum = !checksum});
}

static void test_udp_without_checksum(void **state)
{
	uint8_t buf[128];
	struct tripod_packet p;
	struct tripod_addr addr;
	size_t len = build_udp(buf, sizeof(buf), "198.51.100.7", "203.0.113.1", false);
	assert_int_equal(frames_parse(&p, buf, len, sizeof(buf), TRIPOD_INCOMING), PARSE_FLOW);
	assert_int_equal(tripod_addr_parse(&addr, "10.1.2.3"), 0);
	tripod_packet_set_dst(&p, &addr, htons(5353));
	assert_int_equal(buf[p.l4 + 6], 0);
	assert_int_equal(buf[p.l4 + 7], 0);
	assert_in_step(&p);
}

// Search for the port that makes the sum zero: UDP must then show 0xffff, and find back.
static void test_udp_zero_becomes_ones(void **state)
{
	static const char *const ENDS[2][2] = {
		{"198.51.100.7", "203.0.113.1"}, {"2001:db8::7", "2001:db8::1"}};
	for (int v6 = 0; v6 < 2; v6++) {
		uint8_t buf[128];
		struct tripod_packet p;
		size_t len = build_udp(buf, sizeof(buf), ENDS[v6][0], ENDS[v6][1], true);
		assert_int_equal(
			frames_parse(&p, buf, len, sizeof(buf), TRIPOD_INCOMING), PARSE_FLOW);
		unsigned ones = 0;
		struct tripod_addr dst = p.tuple.dst;
		for (unsigned port = 1; port <= 0xffff; port++) {
			tripod_packet_set_dst(&p, &dst, htons((uint16_t)port));
			bool zero = buf[p.l4 + 6] == 0 && buf[p.l4 + 7] == 0;
			assert_false(zero);
			if (buf[p.l4 + 6] == 0xff && buf[p.l4 + 7] == 0xff) {
				assert_in_step(&p);
				ones++;
			}
		}
		assert_in_range(ones, 1, 2);
		assert_in_step(&p);
	}
}

// The NF is wrong then, and the packet must not be harmed.
static void test_other_family_is_refused(void **state)
{
	uint8_t buf[128], before[128];
	struct tripod_packet p;
	size_t len = build_udp(buf, sizeof(buf), "198.51.100.7", "203.0.113.1", true);
	assert_int_equal(frames_parse(&p, buf, len, sizeof(buf), TRIPOD_INCOMING), PARSE_FLOW);
	memcpy(before, buf, len);
	struct tripod_tuple tuple = p.tuple;
	struct tripod_addr v6;
	assert_int_equal(tripod_addr_parse(&v6, "2001:db8::1"), 0);
	tripod_packet_set_src(&p, &v6, 1);
	tripod_packet_set_dst(&p, &v6, 1);
	assert_memory_equal(buf, before, len);
	assert_true(tripod_tuple_equal(&p.tuple, &tuple));
}

// The tuple's own members may be handed in.
static void test_swap_ends(void **state)
{
	uint8_t buf[128];
	struct tripod_packet p;
	size_t len = build_udp(buf, sizeof(buf), "198.51.100.7", "203.0.113.1", true);
	assert_int_equal(frames_parse(&p, buf, len, sizeof(buf), TRIPOD_INCOMING), PARSE_FLOW);
	struct tripod_tuple old = p.tuple;
	tripod_packet_set_src(&p, &p.tuple.dst, p.tuple.dport);
	tripod_packet_set_dst(&p, &old.src, old.sport);
	assert_true(tripod_addr_equal(&p.tuple.src, &old.dst));
	assert_true(tripod_addr_equal(&p.tuple.dst, &old.src));
	assert_in_step(&p);
}

// The identifier is the last byte of an echo reply that is not zero, and becomes zero.
static void test_echo_of_zeros(void **state)
{
	struct tripod_tuple t = {.src = tripod_addr_v4(htonl(0xc6336407)),
		.dst = tripod_addr_v4(htonl(0xcb007101)),
		.sport = htons(7),
		.dport = htons(7),
		.proto = IPPROTO_ICMP};
	struct frame_spec s = {.tuple = &t, .echo_reply = true, .payload_len = 32};
	uint8_t buf[128];
	size_t len = frames_build(buf, sizeof(buf), &s);
	struct tripod_packet p;

	for (size_t i = FRAMES_L3 + 20 + 6; i < FRAMES_L3 + 20 + 8 + 32; i++)
		buf[i] = 0; // sequence number and payload
	memset(buf + FRAMES_L3 + 20 + 2, 0, 2);
	uint16_t sum = (uint16_t)~checksum_partial(buf + FRAMES_L3 + 20, 8 + 32, 0);
	memcpy(buf + FRAMES_L3 + 20 + 2, &sum, sizeof(sum));
	assert_int_equal(frames_parse(&p, buf, len, sizeof(buf), TRIPOD_INCOMING), PARSE_FLOW);
	tripod_packet_set_src(&p, &p.tuple.src, 0);
	assert_in_step(&p);
	assert_int_equal(buf[FRAMES_L3 + 20 + 2], 0xff);
	tripod_packet_set_src(&p, &p.tuple.src, htons(9));
	assert_in_step(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_setters_property),
		cmocka_unit_test(test_udp_without_checksum),
		cmocka_unit_test(test_udp_zero_becomes_ones),
		cmocka_unit_test(test_other_family_is_refused),
		cmocka_unit_test(test_swap_ends),
		cmocka_unit_test(test_echo_of_zeros),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
