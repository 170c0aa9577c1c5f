// SPDX-License-Identifier: BSD-3-Clause
#include "core/icmp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/parse.h"
#include "core/testing/frames.h"
#include "core/testing/tuples.h"
#include "core/toeplitz.h"

#define L3 FRAMES_L3

static struct tripod_addr addr(const char *text)
{
	struct tripod_addr a;
	assert_int_equal(tripod_addr_parse(&a, text), 0);
	return a;
}

static struct tripod_tuple flip(struct tripod_tuple t)
{
	t.direction = !t.direction;
	return t;
}

// ---- Errors on their way through ----

// A packet leaves through a NAT, a router behind answers with an error; the parser must find the key
// of the answers, and the translated error must quote the packet as its sender knows it, byte by byte.
static void test_translate_property(void **state)
{
	static const uint8_t TYPES[2][4] = {{3, 11, 12, 3}, {1, 2, 3, 4}};
	struct rng r = {.state = 0x69636d70};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	for (int i = 0; i < 40000; i++) {
		struct tripod_tuple t = tuples_random(&r), nat = t;
		bool v6 = !tripod_addr_is_v4(&t.src);
		bool echo = t.proto == IPPROTO_ICMP || t.proto == IPPROTO_ICMPV6;
		uint8_t sent[256], out[256], error[512];
		struct tripod_packet p, e;
		size_t len = frames_build(sent, sizeof(sent),
			&(struct frame_spec){.tuple = &t,
				.tcp_flags = TRIPOD_TCP_SYN,
				.payload_len = rng_below(&r, 60),
				.no_udp_checksum = rng_below(&r, 8) == 0});
		memcpy(out, sent, len);
		assert_int_equal(frames_parse(&p, out, len, sizeof(out), t.direction), PARSE_FLOW);
		nat.src = tuples_addr(&r, v6);
		nat.sport = (uint16_t)rng_next(&r);
		if (!echo)
			nat.dport = (uint16_t)rng_next(&r);
		else
			nat.dport = nat.sport;
		nat.dst = tuples_addr(&r, v6);
		tripod_packet_set_src(&p, &nat.src, nat.sport);
		tripod_packet_set_dst(&p, &nat.dst, nat.dport);

		// From 8 bytes of transport up to all of it.
		size_t header = v6 ? 40 : 20;
		size_t quoted = header + 8 + rng_below(&r, (uint32_t)(len - L3 - header - 8) + 1);
		char router[TRIPOD_ADDR_STRLEN], to[TRIPOD_ADDR_STRLEN];
		struct tripod_addr router_addr = tuples_addr(&r, v6);
		tripod_addr_format(&router_addr, router, sizeof(router));
		tripod_addr_format(&nat.src, to, sizeof(to));
		size_t error_len = frames_icmp_error(error, sizeof(error),
			&(struct frame_spec){.src = router, .dst = to, .pad = rng_below(&r, 2)},
			TYPES[v6][rng_below(&r, 4)], 0, 1400, out + L3, quoted);
		assert_int_equal(frames_parse(&e, error, error_len, sizeof(error), !t.direction),
			PARSE_ICMP_ERROR);
		struct tripod_tuple key = tripod_tuple_reverse(&nat);
		assert_true(tripod_tuple_equal(&e.tuple, &key));
		assert_int_equal(e.payload_len, quoted);
		assert_int_equal(e.hash, toeplitz_tuple(&key));

		icmp_error_translate(&e, &t, &router_addr, &t.src);
		assert_true(frames_checksums_right(error, error_len));
		// Half a checksum, where the quote ends inside it, cannot be made right.
		bool half = t.proto == IPPROTO_TCP && quoted == header + 17;
		assert_memory_equal(error + e.payload, sent + L3, quoted - half);
		struct tripod_tuple as_parsed = e.tuple;
		assert_int_equal(frames_parse(&e, error, error_len, sizeof(error), !t.direction),
			PARSE_ICMP_ERROR);
		key = tripod_tuple_reverse(&t);
		assert_true(tripod_tuple_equal(&e.tuple, &key));
		assert_true(tripod_tuple_equal(&as_parsed, &key));
		const uint8_t *outer = error + L3 + (v6 ? 8 : 12);
		assert_memory_equal(outer, router_addr.b + (v6 ? 0 : 12), v6 ? 16 : 4);
	}
}

struct quote_case {
	const char *what;
	bool v6;
	int offset; // from the quoted IP header; -1: none
	uint8_t value;
	size_t quoted; // bytes; 0: all
	int expected;
};

static const struct quote_case QUOTES[] = {
	{"whole", false, -1, 0, 0, PARSE_ICMP_ERROR},
	{"8 bytes of TCP", false, -1, 0, 28, PARSE_ICMP_ERROR},
	{"7 bytes of TCP", false, -1, 0, 27, C_drop_truncated},
	{"half an IP header", false, -1, 0, 19, C_drop_truncated},
	{"version", false, 0, 0x65, 0, C_drop_l4_header},
	{"header length", false, 0, 0x44, 0, C_drop_l4_header},
	{"header beyond the quote", false, 0, 0x4f, 30, C_drop_truncated},
	{"total below the header", false, 3, 19, 0, C_drop_l4_header},
	{"total leaves no ports", false, 3, 27, 0, C_drop_truncated},
	{"later fragment", false, 7, 1, 0, C_drop_icmp_type},
	{"first fragment", false, 6, 0x20, 0, PARSE_ICMP_ERROR},
	{"other protocol", false, 9, 47, 0, C_drop_icmp_type},
	{"ICMPv6 in IPv4", false, 9, 58, 0, C_drop_icmp_type},
	{"an ICMP error", false, 9, 1, 0, C_drop_icmp_type}, // type is the port's high byte, 0x10
	{"not sent by the receiver", false, 15, 99, 0, C_drop_icmp_type},
	{"to a loopback address", false, 16, 127, 0, C_drop_ip_address},
	{"a decremented TTL", false, 8, 1, 0, PARSE_ICMP_ERROR},
	{"whole", true, -1, 0, 0, PARSE_ICMP_ERROR},
	{"8 bytes of TCP", true, -1, 0, 48, PARSE_ICMP_ERROR},
	{"7 bytes of TCP", true, -1, 0, 47, C_drop_truncated},
	{"half an IP header", true, -1, 0, 39, C_drop_truncated},
	{"version", true, 0, 0x45, 0, C_drop_l4_header},
	{"payload leaves no ports", true, 5, 7, 0, C_drop_truncated},
	{"fragment header that is none", true, 6, 44, 0, C_drop_icmp_type},
	{"ICMP in IPv6", true, 6, 1, 0, C_drop_icmp_type},
	{"not sent by the receiver", true, 23, 99, 0, C_drop_icmp_type},
	{"to a multicast address", true, 24, 0xff, 0, C_drop_ip_address},
};

static void test_quotes(void **state)
{
	static const char *const ENDS[2][3] = {{"203.0.113.9", "198.51.100.7", "192.0.2.1"},
		{"2001:db8::9", "2001:db8:1::7", "2001:db8:2::1"}};
	for (size_t i = 0; i < sizeof(QUOTES) / sizeof(QUOTES[0]); i++) {
		const struct quote_case *c = &QUOTES[i];
		uint8_t sent[128], error[256];
		struct tripod_packet p;
		size_t len = frames_build(sent, sizeof(sent),
			&(struct frame_spec){.src = ENDS[c->v6][0],
				.dst = ENDS[c->v6][1],
				.sport = 4242,
				.dport = 80,
				.payload_len = 20});
		if (c->offset >= 0)
			sent[L3 + c->offset] = c->value;
		size_t quoted = c->quoted ? c->quoted : len - L3;
		size_t error_len = frames_icmp_error(error, sizeof(error),
			&(struct frame_spec){.src = ENDS[c->v6][2], .dst = ENDS[c->v6][0]},
			c->v6 ? 1 : 3, 1, 0, sent + L3, quoted);
		int r = frames_parse(&p, error, error_len, sizeof(error), TRIPOD_INCOMING);
		if (r != c->expected)
			fail_msg("%s (IPv%c): %d instead of %d", c->what, c->v6 ? '6' : '4', r,
				c->expected);
		if (r == PARSE_ICMP_ERROR) {
			struct tripod_addr a = addr(ENDS[c->v6][1]), b = addr(ENDS[c->v6][0]);
			assert_true(tripod_addr_equal(&p.tuple.src, &a));
			assert_true(tripod_addr_equal(&p.tuple.dst, &b));
			assert_int_equal(p.tuple.sport, htons(80));
			assert_int_equal(p.tuple.dport, htons(4242));
			assert_int_equal(p.tuple.direction, TRIPOD_INCOMING);
			assert_int_equal(p.tuple.proto, IPPROTO_TCP);
		}
	}
}

// Of what is cut, the first fragment has the ports, and IPv6 a header in front of them.
static void test_quoted_fragment(void **state)
{
	uint8_t sent[256], cut[256], error[512];
	struct tripod_packet p, q;
	struct frame_spec s = {.src = "2001:db8::9",
		.dst = "2001:db8:1::7",
		.sport = 4242,
		.dport = 80,
		.proto = IPPROTO_UDP,
		.payload_len = 100};
	struct tripod_addr from = addr("2001:db8:2::1"), to = addr("2001:db8:3::3");
	size_t len = frames_build(sent, sizeof(sent), &s);
	for (unsigned offset = 0; offset < 80; offset += 40) {
		size_t n = frames_fragment(cut, sizeof(cut), sent, len, 9, offset, 40);
		size_t error_len = frames_icmp_error(error, sizeof(error),
			&(struct frame_spec){.src = "2001:db8:2::1", .dst = s.src}, 2, 0, 1280,
			cut + L3, n - L3);
		int r = frames_parse(&p, error, error_len, sizeof(error), TRIPOD_INCOMING);
		assert_int_equal(r, offset == 0 ? PARSE_ICMP_ERROR : C_drop_icmp_type);
		if (offset > 0)
			continue;
		assert_int_equal(p.tuple.proto, IPPROTO_UDP);
		assert_int_equal(p.tuple.dport, htons(4242));
		struct tripod_tuple quoted = tripod_tuple_reverse(&p.tuple);
		quoted.src = to;
		quoted.sport = htons(777);
		icmp_error_translate(&p, &quoted, &from, &to);
		assert_true(frames_checksums_right(error, error_len));
		assert_int_equal(frames_parse(&q, error, error_len, sizeof(error), TRIPOD_INCOMING),
			PARSE_ICMP_ERROR);
		assert_int_equal(q.tuple.dport, htons(777));
		assert_true(tripod_addr_equal(&q.tuple.dst, &to));
		assert_int_equal(error[p.payload + 6], IPPROTO_FRAGMENT);
		assert_memory_equal(error + p.payload + 40, cut + L3 + 40, 8);
	}
	for (size_t quoted = 40; quoted < 56; quoted++) { // not all of the two headers
		size_t n = frames_fragment(cut, sizeof(cut), sent, len, 9, 0, 40);
		assert_true(quoted < n - L3);
		size_t error_len = frames_icmp_error(error, sizeof(error),
			&(struct frame_spec){.src = "2001:db8:2::1", .dst = s.src}, 2, 0, 1280,
			cut + L3, quoted);
		assert_int_equal(frames_parse(&p, error, error_len, sizeof(error), TRIPOD_INCOMING),
			C_drop_truncated);
	}
}

// ---- Errors made here ----

static void assert_made(const struct frame *f, const struct tripod_packet *about,
	const struct tripod_addr *from, uint8_t type, uint8_t code, uint32_t rest)
{
	struct tripod_packet e;
	assert_true(frames_checksums_right(f->data, f->len));
	assert_memory_equal(f->data, about->data + 6, 6);
	assert_memory_equal(f->data + 6, about->data, 6);
	assert_int_equal(f->vlan, about->vlan);
	assert_int_equal(f->class, FRAME_DATA);
	// It parses as the error that the sender of the packet would get, from the other side.
	enum tripod_direction back = !tripod_packet_direction(about);
	assert_int_equal(frames_parse(&e, f->data, f->len, f->room, back), PARSE_ICMP_ERROR);
	struct tripod_tuple key = tripod_tuple_reverse(&about->tuple);
	assert_true(tripod_tuple_equal(&e.tuple, &key));
	const uint8_t *l4 = f->data + e.l4;
	assert_int_equal(l4[0], type);
	assert_int_equal(l4[1], code);
	uint32_t got;
	memcpy(&got, l4 + 4, sizeof(got));
	assert_int_equal(ntohl(got), rest);
	size_t n = about->v6 ? 16 : 4;
	assert_memory_equal(f->data + L3 + (about->v6 ? 8 : 12), from->b + 16 - n, n);
	unsigned most = about->v6 ? 1280 : 576;
	unsigned header = (about->v6 ? 40 : 20) + 8;
	unsigned quoted = about->ip_len + header > most ? most - header : about->ip_len;
	assert_int_equal(e.payload_len, quoted);
	assert_int_equal(f->len, L3 + header + quoted);
	assert_memory_equal(f->data + e.payload, about->data + L3, quoted);
}

static void test_make_property(void **state)
{
	static const struct {
		enum icmp_error what;
		uint8_t type[2], code[2];
	} KINDS[] = {{ICMP_TIME_EXCEEDED, {11, 3}, {0, 0}}, {ICMP_TOO_BIG, {3, 2}, {4, 0}},
		{ICMP_ADMIN_PROHIBITED, {3, 1}, {13, 1}}, {ICMP_NO_ROUTE, {3, 1}, {0, 0}}};
	struct rng r = {.state = 0x6d616b65};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	for (int i = 0; i < 10000; i++) {
		struct tripod_tuple t = tuples_random(&r);
		bool v6 = !tripod_addr_is_v4(&t.src);
		uint8_t buf[1600], room[1600];
		struct tripod_packet p;
		struct frame f = {.data = room, .room = sizeof(room), .class = FRAME_CONTROL};
		size_t len = frames_build(buf, sizeof(buf),
			&(struct frame_spec){.tuple = &t,
				.payload_len = rng_below(&r, 1400),
				.ttl = 1,
				.pad = true});
		assert_int_equal(frames_parse(&p, buf, len, sizeof(buf), t.direction), PARSE_FLOW);
		struct tripod_addr from = tuples_addr(&r, v6);
		unsigned k = rng_below(&r, 4);
		assert_int_equal(icmp_error_make(&f, &p, KINDS[k].what, 1400, &from), 0);
		assert_made(&f, &p, &from, KINDS[k].type[v6], KINDS[k].code[v6],
			KINDS[k].what == ICMP_TOO_BIG ? 1400 : 0);
		// One byte less room than it takes.
		f.room = f.len - 1;
		assert_int_equal(icmp_error_make(&f, &p, KINDS[k].what, 1400, &from), -EINVAL);
	}
}

static void test_make_refuses(void **state)
{
	uint8_t buf[256], error[512], room[512];
	struct tripod_packet p;
	struct frame f = {.data = room, .room = sizeof(room)};
	struct tripod_addr from = addr("203.0.113.1"), from6 = addr("2001:db8::1");
	struct frame_spec s = {.src = "10.1.2.3", .dst = "198.51.100.7", .sport = 1, .dport = 2};
	size_t len = frames_build(buf, sizeof(buf), &s);
	assert_int_equal(frames_parse(&p, buf, len, sizeof(buf), TRIPOD_OUTGOING), PARSE_FLOW);
	assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from), 0);
	assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from6), -EINVAL);

	buf[0] |= 1; // to a group on the link
	assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from), -EINVAL);
	buf[0] &= 0xfe;
	static const uint8_t NO_HOST[] = {0, 127, 224, 255};
	for (size_t i = 0; i < sizeof(NO_HOST); i++) {
		buf[L3 + 12] = NO_HOST[i];
		assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from), -EINVAL);
	}
	buf[L3 + 12] = 10;
	buf[L3 + 16] = 224;
	assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from), -EINVAL);
	buf[L3 + 16] = 198;

	// Never about an error.
	len = frames_icmp_error(error, sizeof(error),
		&(struct frame_spec){.src = "192.0.2.1", .dst = "10.1.2.3"}, 11, 0, 0, buf + L3,
		28);
	assert_int_equal(
		frames_parse(&p, error, len, sizeof(error), TRIPOD_INCOMING), PARSE_ICMP_ERROR);
	assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from), -EINVAL);

	s = (struct frame_spec){.src = "fd00::7", .dst = "2001:db8::7", .sport = 1, .dport = 2};
	len = frames_build(buf, sizeof(buf), &s);
	assert_int_equal(frames_parse(&p, buf, len, sizeof(buf), TRIPOD_OUTGOING), PARSE_FLOW);
	assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from6), 0);
	buf[L3 + 8] = 0xff;
	assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from6), -EINVAL);
	memset(buf + L3 + 8, 0, 16);
	assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from6), -EINVAL);
	buf[L3 + 23] = 1;
	assert_int_equal(icmp_error_make(&f, &p, ICMP_NO_ROUTE, 0, &from6), -EINVAL);
}

// ---- Echo ----

static void test_echo_reply(void **state)
{
	static const char *const ENDS[2][2] = {
		{"198.51.100.7", "203.0.113.1"}, {"2001:db8::7", "2001:db8::1"}};
	for (int v6 = 0; v6 < 2; v6++) {
		uint8_t buf[256], before[256];
		struct tripod_packet p, again;
		struct frame_spec s = {.src = ENDS[v6][0],
			.dst = ENDS[v6][1],
			.sport = 0x4711,
			.seq = 3,
			.proto = IPPROTO_ICMP,
			.payload_len = 57,
			.ttl = 3};
		size_t len = frames_build(buf, sizeof(buf), &s);
		memcpy(before, buf, len);
		assert_int_equal(
			frames_parse(&p, buf, len, sizeof(buf), TRIPOD_INCOMING), PARSE_FLOW);
		struct tripod_tuple request = p.tuple;
		assert_true(icmp_echo_reply(&p));
		assert_true(frames_checksums_right(buf, len));
		assert_memory_equal(buf, before + 6, 6);
		assert_memory_equal(buf + 6, before, 6);
		assert_int_equal(buf[p.l4], v6 ? 129 : 0);
		assert_memory_equal(buf + p.l4 + 4, before + p.l4 + 4, 4 + 57);
		struct tripod_tuple reply = tripod_tuple_reverse(&request);
		assert_int_equal(
			frames_parse(&again, buf, len, sizeof(buf), TRIPOD_OUTGOING), PARSE_FLOW);
		assert_true(tripod_tuple_equal(&again.tuple, &reply));
		assert_true(tripod_tuple_equal(&p.tuple, &reply));
		assert_int_equal(again.ttl, 64);
		assert_int_equal(p.ttl, 64);

		// A reply is no request; nor is UDP.
		memcpy(before, buf, len);
		assert_false(icmp_echo_reply(&p));
		assert_memory_equal(buf, before, len);
		s.proto = IPPROTO_UDP;
		s.sport = v6 ? 0x8000 : 0x0800; // looks like the type of a request
		len = frames_build(buf, sizeof(buf), &s);
		assert_int_equal(
			frames_parse(&p, buf, len, sizeof(buf), TRIPOD_INCOMING), PARSE_FLOW);
		memcpy(before, buf, len);
		assert_false(icmp_echo_reply(&p));
		assert_memory_equal(buf, before, len);
	}
}

// The setters leave alone what is no connection's packet.
static void test_setters_refuse_errors(void **state)
{
	uint8_t sent[128], error[256], before[256];
	struct tripod_packet p;
	size_t len = frames_build(sent, sizeof(sent),
		&(struct frame_spec){.src = "203.0.113.9", .dst = "198.51.100.7"});
	len = frames_icmp_error(error, sizeof(error),
		&(struct frame_spec){.src = "192.0.2.1", .dst = "203.0.113.9"}, 3, 1, 0, sent + L3,
		len - L3);
	assert_int_equal(
		frames_parse(&p, error, len, sizeof(error), TRIPOD_INCOMING), PARSE_ICMP_ERROR);
	memcpy(before, error, len);
	struct tripod_addr a = addr("10.1.2.3");
	struct tripod_tuple tuple = p.tuple;
	tripod_packet_set_dst(&p, &a, htons(7));
	assert_memory_equal(error, before, len);
	assert_true(tripod_tuple_equal(&p.tuple, &tuple));
	// Nor does a translation into the other family.
	struct tripod_addr a6 = addr("2001:db8::1");
	struct tripod_tuple quoted = flip(tuple);
	icmp_error_translate(&p, &quoted, &a6, &a);
	assert_memory_equal(error, before, len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_translate_property),
		cmocka_unit_test(test_quotes),
		cmocka_unit_test(test_quoted_fragment),
		cmocka_unit_test(test_make_property),
		cmocka_unit_test(test_make_refuses),
		cmocka_unit_test(test_echo_reply),
		cmocka_unit_test(test_setters_refuse_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
