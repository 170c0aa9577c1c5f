// SPDX-License-Identifier: BSD-3-Clause
#include "sim/hosts_packet.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"
#include "core/testing/frames.h"
#include "core/testing/tuples.h"

static const uint8_t A[6] = {2, 0, 0, 0, 0, 1}, B[6] = {2, 0, 0, 0, 0, 2};

static bool is_icmp(const struct tripod_tuple *t)
{
	return t->proto == IPPROTO_ICMP || t->proto == IPPROTO_ICMPV6;
}

// What is written is what the core's parser and the test frames' checksums take it for.
static void write__agrees_with_other_readers(void **state)
{
	struct rng r = {7};
	uint8_t frame[HOSTS_FRAME_SIZE];
	for (int i = 0; i < 3000; i++) {
		struct tripod_tuple t = tuples_random(&r);
		uint16_t n = (uint16_t)rng_below(&r, 1400);
		struct hosts_out o = {.tuple = &t,
			.src_mac = A,
			.dst_mac = B,
			.seq = (uint32_t)rng_next(&r),
			.ack = (uint32_t)rng_next(&r),
			.window = 777,
			.flags = HOSTS_ACK | HOSTS_PSH,
			.payload_len = n};
		hosts_bytes_fill(hosts_packet_begin(frame, &o), n, 1, 0, 5);
		uint16_t len = hosts_packet_finish(frame);
		assert_true(frames_checksums_right(frame, len));

		struct tripod_packet p;
		assert_int_equal(frames_parse(&p, frame, len, sizeof(frame),
					 (enum tripod_direction)t.direction),
			PARSE_FLOW);
		assert_true(tripod_tuple_equal(&p.tuple, &t));
		assert_int_equal(p.payload_len, n);

		struct hosts_packet q;
		hosts_packet_read(&q, (enum tripod_direction) !t.direction, frame, len);
		assert_int_equal(q.kind, t.proto == IPPROTO_TCP   ? HOSTS_PACKET_TCP
					 : t.proto == IPPROTO_UDP ? HOSTS_PACKET_UDP
								  : HOSTS_PACKET_ECHO_REQUEST);
		assert_true(tripod_tuple_equal(&q.tuple, &t));
		assert_int_equal(q.payload_len, n);
		assert_true(hosts_bytes_right(q.payload, n, 1, 0, 5));
		if (t.proto == IPPROTO_TCP) {
			assert_int_equal(q.seq, o.seq);
			assert_int_equal(q.ack, o.ack);
			assert_int_equal(q.window, 777);
		} else if (is_icmp(&t)) {
			assert_int_equal(q.seq, o.seq & 0xffff);
		}
	}
}

static void read__takes_what_others_write(void **state)
{
	static const uint8_t OPTIONS[12] = {2, 4, 0x05, 0xb4, 1, 3, 3, 7, 1, 1, 4, 2};
	uint8_t frame[2048];
	struct hosts_packet p;
	size_t len = frames_build(frame, sizeof(frame),
		&(struct frame_spec){.src = "198.18.1.1",
			.dst = "203.0.113.128",
			.sport = 4242,
			.dport = 80,
			.tcp_flags = TRIPOD_TCP_SYN,
			.seq = 99,
			.window = 1000,
			.tcp_options = OPTIONS,
			.tcp_options_len = sizeof(OPTIONS),
			.pad = true});
	hosts_packet_read(&p, TRIPOD_OUTGOING, frame, len);
	assert_int_equal(p.kind, HOSTS_PACKET_TCP);
	assert_int_equal(p.mss, 1460);
	assert_int_equal(p.wscale, 7);
	assert_int_equal(p.flags, HOSTS_SYN);
	assert_int_equal(p.seq, 99);
	assert_int_equal(p.payload_len, 0); // the padding is none
	assert_int_equal(p.tuple.direction, TRIPOD_INCOMING);
	assert_int_equal(ntohs(p.tuple.sport), 4242);
}

// Each single bit that is spoilt in IP packet and payload is noticed, or does not matter.
static void read__notices_each_spoilt_bit(void **state)
{
	uint8_t frame[256], spoilt[256];
	struct hosts_packet good, p;
	static const uint8_t PROTO[3] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP};
	for (int i = 0; i < 6; i++) {
		bool v6 = i % 2;
		size_t len = frames_build(frame, sizeof(frame),
			&(struct frame_spec){.src = v6 ? "2001:db8:c::1" : "198.18.1.1",
				.dst = v6 ? "fd00:2::1" : "10.2.1.1",
				.sport = 1,
				.dport = 2,
				.proto = PROTO[i / 2],
				.tcp_flags = TRIPOD_TCP_ACK,
				.payload_len = 60});
		hosts_packet_read(&good, TRIPOD_OUTGOING, frame, len);
		assert_int_not_equal(good.kind, HOSTS_PACKET_BAD);
		for (size_t bit = FRAMES_L3 * 8; bit < len * 8; bit++) {
			memcpy(spoilt, frame, len);
			spoilt[bit / 8] ^= (uint8_t)(1 << bit % 8);
			hosts_packet_read(&p, TRIPOD_OUTGOING, spoilt, len);
			size_t at = bit / 8 - FRAMES_L3;
			// Not covered by any checksum: IPv6's first four bytes and its hop limit.
			bool free_bit = v6 && (at < 4 || at == 7);
			// Another protocol is none that a host would look at.
			bool other = p.kind == HOSTS_PACKET_OTHER && at == (v6 ? 6 : 9);
			if (!free_bit && !other)
				assert_int_equal(p.kind, HOSTS_PACKET_BAD);
		}
	}
}

static void read__survives_rubbish(void **state)
{
	struct rng r = {3};
	uint8_t frame[200];
	struct hosts_packet p;
	for (int i = 0; i < 200000; i++) {
		size_t len = frames_build(frame, sizeof(frame),
			&(struct frame_spec){.src = "1.2.3.4",
				.dst = "5.6.7.8",
				.sport = 9,
				.dport = 10,
				.proto = rng_below(&r, 2) ? IPPROTO_TCP : IPPROTO_UDP,
				.tcp_flags = TRIPOD_TCP_SYN,
				.payload_len = rng_below(&r, 100)});
		for (unsigned k = rng_below(&r, 4); k > 0; k--)
			frame[12 + rng_below(&r, 50)] = (uint8_t)rng_next(&r);
		len = rng_below(&r, (uint32_t)len + 1);
		uint8_t *exact = malloc(len + 1); // so that a sanitizer sees one byte too many
		memcpy(exact, frame, len);
		hosts_packet_read(&p, TRIPOD_OUTGOING, exact, len);
		if (p.kind == HOSTS_PACKET_TCP || p.kind == HOSTS_PACKET_UDP)
			assert_true(p.payload + p.payload_len <= exact + len);
		free(exact);
	}
}

static void answer__arp(void **state)
{
	uint8_t frame[128], reply[128], want[128];
	struct hosts_packet p;
	size_t len = frames_arp(frame, sizeof(frame), 1, A, "203.0.113.11", NULL, "203.0.113.254");
	hosts_packet_read(&p, TRIPOD_INCOMING, frame, len);
	assert_int_equal(p.kind, HOSTS_PACKET_ARP_REQUEST);
	uint16_t n = hosts_packet_answer(reply, &p, B);
	size_t m = frames_arp(want, sizeof(want), 2, B, "203.0.113.254", A, "203.0.113.11");
	assert_int_equal(n, m);
	assert_memory_equal(reply, want, n);
	hosts_packet_read(&p, TRIPOD_INCOMING, reply, n);
	assert_int_equal(p.kind, HOSTS_PACKET_OTHER); // answers are not answered
}

static void answer__solicitation(void **state)
{
	uint8_t frame[128], reply[128];
	struct hosts_packet p;
	struct tripod_packet q;
	struct tripod_addr target;
	tripod_addr_parse(&target, "2001:db8:1::fe");
	size_t len = frames_nd(frame, sizeof(frame), 135, A, "2001:db8:1::11", "ff02::1:ff00:fe",
		"2001:db8:1::fe");
	hosts_packet_read(&p, TRIPOD_INCOMING, frame, len);
	assert_int_equal(p.kind, HOSTS_PACKET_SOLICITATION);
	assert_true(tripod_addr_equal(&p.target, &target));
	uint16_t n = hosts_packet_answer(reply, &p, B);
	assert_int_equal(frames_parse(&q, reply, n, sizeof(reply), TRIPOD_INCOMING), PARSE_ND);
	assert_memory_equal(reply, A, 6);
	assert_memory_equal(reply + n - 6, B, 6);
	assert_true(frames_checksums_right(reply, n));
}

// Any part of a stream, wherever it begins; one wrong byte, offset, direction or id is noticed.
static void bytes__belong_to_one_place(void **state)
{
	struct rng r = {5};
	uint8_t at[600];
	for (int i = 0; i < 20000; i++) {
		uint64_t id = 1 + rng_below(&r, 1000),
			 offset = rng_below(&r, 3) ? rng_below(&r, 40) : rng_next(&r) >> 30;
		size_t len = 1 + rng_below(&r, sizeof(at) - 1);
		unsigned d = rng_below(&r, 2);
		hosts_bytes_fill(at, len, id, d, offset);
		assert_true(hosts_bytes_right(at, len, id, d, offset));
		if (len < 8)
			continue;
		assert_false(hosts_bytes_right(at, len, id + 1, d, offset));
		assert_false(hosts_bytes_right(at, len, id, !d, offset));
		assert_false(hosts_bytes_right(at, len, id, d, offset + 1));
		size_t where = rng_below(&r, (uint32_t)len);
		at[where] ^= (uint8_t)(1 << rng_below(&r, 8));
		assert_false(hosts_bytes_right(at, len, id, d, offset));
	}
	hosts_bytes_fill(at, 8, 0x1122334455667788, 0, 0);
	assert_true(hosts_get64(at) == 0x1122334455667788); // the id comes first
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write__agrees_with_other_readers),
		cmocka_unit_test(read__takes_what_others_write),
		cmocka_unit_test(read__notices_each_spoilt_bit),
		cmocka_unit_test(read__survives_rubbish),
		cmocka_unit_test(answer__arp),
		cmocka_unit_test(answer__solicitation),
		cmocka_unit_test(bytes__belong_to_one_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
