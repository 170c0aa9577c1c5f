// SPDX-License-Identifier: BSD-3-Clause
#include "core/parse.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/testing/frames.h"
#include "core/testing/tuples.h"
#include "core/toeplitz.h"

#define L3 FRAMES_L3
#define V4 "198.51.100.7", "203.0.113.1"
#define V6 "2001:db8::7", "2001:db8::1"

// Parses a copy of exactly the frame's size, so that a sanitizer sees every byte read beyond it.
static int parse_exact(const uint8_t *frame, size_t len, struct tripod_packet *p)
{
	uint8_t *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, frame, len);
	int r = frames_parse(p, copy, len, len, TRIPOD_INCOMING);
	free(copy);
	p->data = NULL;
	return r;
}

static const char *result_name(int r)
{
	static const char *const KINDS[] = {
		"flow", "icmp_error", "arp", "nd", "bfd", "control", "local", "fragment"};
	if (r >= 0 && r < COUNTERS)
		return counter_texts[r].name;
	return r < 0 && r >= -8 ? KINDS[-r - 1] : "no result at all";
}

#define assert_result(expected, got) assert_string_equal(result_name(got), result_name(expected))

static struct frame_spec spec(const char *src, const char *dst, uint8_t proto)
{
	return (struct frame_spec){.src = src,
		.dst = dst,
		.sport = 4242,
		.dport = 80,
		.proto = proto,
		.payload_len = 10};
}

// ---- What is right ----

static void test_flow_property(void **state)
{
	struct rng r = {.state = 0x70617273};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	static const uint8_t OPTIONS[40] = {1, 1, 1, 1};
	for (int i = 0; i < 50000; i++) {
		struct tripod_tuple t = tuples_random(&r);
		uint8_t buf[1600];
		struct tripod_packet p;
		struct frame_spec s = {.tuple = &t,
			.tcp_flags = (uint8_t)rng_below(&r, 64),
			.ttl = (uint8_t)(1 + rng_below(&r, 255)),
			.payload_len = rng_below(&r, 200),
			.tcp_options = OPTIONS,
			.tcp_options_len = rng_below(&r, 11) * 4,
			.pad = rng_below(&r, 2),
			.echo_reply = rng_below(&r, 2)};
		size_t len = frames_build(buf, sizeof(buf), &s);
		assert_true(frames_checksums_right(buf, len));
		assert_result(PARSE_FLOW, frames_parse(&p, buf, len, sizeof(buf), t.direction));
		assert_true(tripod_tuple_equal(&p.tuple, &t));
		assert_int_equal(p.hash, toeplitz_tuple(&t));
		assert_int_equal(p.l3, L3);
		assert_int_equal(p.l4, L3 + (p.v6 ? 40 : 20));
		assert_int_equal(p.v6, !tripod_addr_is_v4(&t.src));
		assert_int_equal(p.ttl, s.ttl);
		assert_int_equal(p.tcp_flags, t.proto == IPPROTO_TCP ? s.tcp_flags : 0);
		assert_int_equal(p.payload_len, s.payload_len);
		assert_int_equal(p.payload + p.payload_len, p.l3 + p.ip_len);
		if (s.payload_len > 0)
			assert_int_equal(*tripod_packet_payload(&p), 1); // of the builder's pattern
		// The same, behind the NIC's own checks and hash.
		p.flags = TRIPOD_PKT_RSS | TRIPOD_PKT_IPV4_CSUM_GOOD | TRIPOD_PKT_L4_CSUM_GOOD;
		p.hash = 0x12345678;
		struct parse_limits limits = {.mtu = 1500};
		assert_result(PARSE_FLOW, parse_frame(&p, &limits, t.direction, 7));
		bool nic = t.proto == IPPROTO_TCP || t.proto == IPPROTO_UDP;
		assert_int_equal(p.hash, nic ? 0x12345678 : toeplitz_tuple(&t));
		assert_int_equal(!(p.flags & TRIPOD_PKT_RSS), !nic);
		assert_int_equal(p.tuple.zone, 7);
	}
}

// One bit of an IPv4 header turned over never goes unseen, nor in a SYN or a ping.
static void test_bit_flips_property(void **state)
{
	struct rng r = {.state = 0x666c6970};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	for (int i = 0; i < 20000; i++) {
		struct tripod_tuple t = tuples_random(&r);
		uint8_t buf[256];
		struct tripod_packet p;
		if (t.proto == IPPROTO_UDP)
			t.proto = IPPROTO_TCP;
		size_t len = frames_build(buf, sizeof(buf),
			&(struct frame_spec){.tuple = &t,
				.tcp_flags = TRIPOD_TCP_SYN,
				.payload_len = rng_below(&r, 32)});
		bool v6 = !tripod_addr_is_v4(&t.src);
		// In IPv6 only what the pseudo header covers: not class, label and hop limit.
		unsigned from = L3 + (v6 ? 8 : 0);
		unsigned byte = from + rng_below(&r, (uint32_t)len - from);
		buf[byte] ^= (uint8_t)(1 << rng_below(&r, 8));
		int result = parse_exact(buf, len, &p);
		// The flag byte itself may turn the SYN into a segment whose sum is not looked at.
		bool unchecked = t.proto == IPPROTO_TCP &&
				 byte == (unsigned)(L3 + (v6 ? 40 : 20)) + 13 &&
				 (buf[byte] & TRIPOD_TCP_SYN) == 0;
		if (!unchecked)
			assert_in_range(result, C_drop_truncated, C_drop_icmp_type);
	}
}

// ---- Cut frames ----

static void assert_every_cut(const uint8_t *frame, size_t len)
{
	struct tripod_packet p;
	for (size_t cut = 0; cut < len; cut++)
		assert_result(C_drop_truncated, parse_exact(frame, cut, &p));
	assert_in_range(parse_exact(frame, len, &p), PARSE_LOCAL, PARSE_FLOW);
}

static void test_truncation(void **state)
{
	static const uint8_t PROTO[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP};
	uint8_t buf[256];
	for (size_t i = 0; i < sizeof(PROTO); i++) {
		struct frame_spec s = spec(V4, PROTO[i]);
		assert_every_cut(buf, frames_build(buf, sizeof(buf), &s));
		s = spec(V6, PROTO[i]);
		assert_every_cut(buf, frames_build(buf, sizeof(buf), &s));
	}
	assert_every_cut(buf, frames_nd(buf, sizeof(buf), 135, FRAMES_SRC_MAC, "fe80::1",
				      "ff02::1:ff00:1", "2001:db8::1"));
	frames_arp(buf, sizeof(buf), 1, FRAMES_SRC_MAC, "203.0.113.2", NULL, "203.0.113.1");
	assert_every_cut(buf, 42);
}

// An IP packet that is whole, but ends inside its transport header.
static void test_truncated_transport(void **state)
{
	static const struct {
		uint8_t proto;
		unsigned header;
	} CASES[] = {{IPPROTO_TCP, 20}, {IPPROTO_UDP, 8}, {IPPROTO_ICMP, 8}};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		for (int v6 = 0; v6 < 2; v6++) {
			struct frame_spec s = spec(V4, CASES[i].proto);
			if (v6)
				s = spec(V6, CASES[i].proto);
			s.payload_len = 0;
			uint8_t buf[128];
			struct tripod_packet p;
			size_t len = frames_build(buf, sizeof(buf), &s);
			for (unsigned n = 0; n < CASES[i].header; n++) {
				buf[L3 + (v6 ? 5 : 3)] = (uint8_t)(n + (v6 ? 0 : 20));
				frames_fix(buf, len);
				assert_result(C_drop_truncated, parse_exact(buf, len, &p));
			}
		}
	}
}

static void test_padding_is_tolerated(void **state)
{
	uint8_t buf[256];
	struct tripod_packet p;
	struct frame_spec s = spec(V4, IPPROTO_UDP);
	size_t len = frames_build(buf, sizeof(buf), &s);
	memset(buf + len, 0xee, sizeof(buf) - len);
	assert_result(PARSE_FLOW, parse_exact(buf, sizeof(buf), &p));
	assert_int_equal(p.payload_len, 10);
	assert_int_equal(p.ip_len, 38);
}

// ---- What is wrong, one thing at a time ----

struct patch {
	const char *what;
	uint8_t proto;
	bool v6;
	unsigned offset; // from the IP header; NO_PATCH: none
	uint8_t value[4];
	unsigned n;
	bool leave; // the checksums as they were
	int expected;
};

static const struct patch PATCHES[] = {
	{"version 6 in IPv4", IPPROTO_TCP, false, 0, {0x65}, 1, false, C_drop_ip_version},
	{"version 0", IPPROTO_TCP, false, 0, {0x05}, 1, false, C_drop_ip_version},
	{"header of 16 bytes", IPPROTO_TCP, false, 0, {0x44}, 1, false, C_drop_ip_header},
	{"header of 0 bytes", IPPROTO_TCP, false, 0, {0x40}, 1, false, C_drop_ip_header},
	{"header beyond the frame", IPPROTO_UDP, false, 0, {0x4f}, 1, true, C_drop_truncated},
	{"total below the header", IPPROTO_TCP, false, 2, {0, 19}, 2, false, C_drop_ip_header},
	{"total beyond the frame", IPPROTO_TCP, false, 2, {0, 51}, 2, false, C_drop_truncated},
	{"total far beyond", IPPROTO_TCP, false, 2, {0xff, 0xff}, 2, false, C_drop_truncated},
	{"reserved flag", IPPROTO_TCP, false, 6, {0x80}, 1, false, C_drop_ip_header},
	{"fragment of no whole units", IPPROTO_UDP, false, 6, {0x20, 0}, 2, false, C_drop_fragment},
	{"later fragment of TCP", IPPROTO_TCP, false, 6, {0, 1}, 2, false, C_drop_fragment_tcp},
	{"later fragment", IPPROTO_UDP, false, 6, {0, 1}, 2, false, PARSE_FRAGMENT},
	{"later fragment of ICMP", IPPROTO_ICMP, false, 6, {0, 1}, 2, false, PARSE_FRAGMENT},
	{"don't fragment", IPPROTO_TCP, false, 6, {0x40, 0}, 2, false, PARSE_FLOW},
	{"may be fragmented", IPPROTO_TCP, false, 6, {0, 0}, 2, false, PARSE_FLOW},
	{"IPv4 checksum", IPPROTO_TCP, false, 10, {0xaa, 0xaa}, 2, true, C_drop_ip_checksum},
	{"TTL changed behind it", IPPROTO_TCP, false, 8, {63}, 1, true, C_drop_ip_checksum},
	{"TTL 0", IPPROTO_TCP, false, 8, {0}, 1, false, PARSE_FLOW},
	{"SCTP", IPPROTO_TCP, false, 9, {132}, 1, false, C_drop_protocol},
	{"ICMPv6 over IPv4", IPPROTO_TCP, false, 9, {58}, 1, false, C_drop_protocol},
	{"IGMP", IPPROTO_TCP, false, 9, {2}, 1, false, PARSE_LOCAL},
	{"options", IPPROTO_TCP, false, 0, {0x46}, 1, false, C_drop_ip_options},
	{"data offset 4", IPPROTO_TCP, false, 32, {0x40}, 1, false, C_drop_l4_header},
	{"data offset 0", IPPROTO_TCP, false, 32, {0x00}, 1, false, C_drop_l4_header},
	{"data offset behind the end", IPPROTO_TCP, false, 32, {0xf0}, 1, false, C_drop_l4_header},
	{"TCP checksum of data", IPPROTO_TCP, false, 36, {0, 1}, 2, true, PARSE_FLOW},
	{"TCP checksum of SYN", IPPROTO_TCP, false, 33, {0x02}, 1, true, C_drop_l4_checksum},
	{"TCP checksum of FIN", IPPROTO_TCP, false, 33, {0x11}, 1, true, C_drop_l4_checksum},
	{"TCP checksum of RST", IPPROTO_TCP, false, 33, {0x04}, 1, true, C_drop_l4_checksum},
	{"UDP length 7", IPPROTO_UDP, false, 24, {0, 7}, 2, false, C_drop_l4_header},
	{"UDP length 0", IPPROTO_UDP, false, 24, {0, 0}, 2, false, C_drop_l4_header},
	{"UDP beyond the packet", IPPROTO_UDP, false, 24, {0, 19}, 2, false, C_drop_l4_header},
	{"UDP with a tail", IPPROTO_UDP, false, 24, {0, 12}, 2, false, PARSE_FLOW},
	{"ICMP checksum", IPPROTO_ICMP, false, 22, {1, 2}, 2, true, C_drop_l4_checksum},
	{"ICMP redirect", IPPROTO_ICMP, false, 20, {5}, 1, false, C_drop_icmp_type},
	{"ICMP source quench", IPPROTO_ICMP, false, 20, {4}, 1, false, C_drop_icmp_type},
	{"ICMP timestamp", IPPROTO_ICMP, false, 20, {13}, 1, false, C_drop_icmp_type},
	{"ICMP echo reply", IPPROTO_ICMP, false, 20, {0}, 1, false, PARSE_FLOW},
	{"ICMP error quoting little", IPPROTO_ICMP, false, 20, {3}, 1, false, C_drop_truncated},

	{"version 4 in IPv6", IPPROTO_TCP, true, 0, {0x45}, 1, false, C_drop_ip_version},
	{"payload beyond the frame", IPPROTO_TCP, true, 4, {0, 31}, 2, false, C_drop_truncated},
	{"payload far beyond", IPPROTO_TCP, true, 4, {0xff, 0xff}, 2, false, C_drop_truncated},
	{"hop-by-hop", IPPROTO_TCP, true, 6, {0}, 1, false, C_drop_ip_options},
	{"routing", IPPROTO_TCP, true, 6, {43}, 1, false, C_drop_ip_options},
	{"destination options", IPPROTO_TCP, true, 6, {60}, 1, false, C_drop_ip_options},
	{"mobility", IPPROTO_TCP, true, 6, {135}, 1, false, C_drop_ip_options},
	{"ESP", IPPROTO_TCP, true, 6, {50}, 1, false, C_drop_protocol},
	{"no next header", IPPROTO_TCP, true, 6, {59}, 1, false, C_drop_protocol},
	{"ICMP over IPv6", IPPROTO_TCP, true, 6, {1}, 1, false, C_drop_protocol},
	{"IGMP over IPv6", IPPROTO_TCP, true, 6, {2}, 1, false, C_drop_protocol},
	{"TCP over IPv6: offset", IPPROTO_TCP, true, 52, {0x40}, 1, false, C_drop_l4_header},
	{"SYN over IPv6: checksum", IPPROTO_TCP, true, 53, {0x02}, 1, true, C_drop_l4_checksum},
	{"UDP over IPv6: length", IPPROTO_UDP, true, 44, {0, 99}, 2, false, C_drop_l4_header},
	{"ICMPv6 checksum", IPPROTO_ICMP, true, 42, {1, 2}, 2, true, C_drop_l4_checksum},
	{"echo reply", IPPROTO_ICMP, true, 40, {129}, 1, false, PARSE_FLOW},
	{"router solicitation", IPPROTO_ICMP, true, 40, {133}, 1, false, PARSE_LOCAL},
	{"router advertisement", IPPROTO_ICMP, true, 40, {134}, 1, false, PARSE_LOCAL},
	{"redirect", IPPROTO_ICMP, true, 40, {137}, 1, false, PARSE_LOCAL},
	{"multicast listener", IPPROTO_ICMP, true, 40, {143}, 1, false, PARSE_LOCAL},
	{"node information", IPPROTO_ICMP, true, 40, {139}, 1, false, C_drop_icmp_type},
	{"unassigned error", IPPROTO_ICMP, true, 40, {5}, 1, false, C_drop_icmp_type},
	{"short solicitation", IPPROTO_ICMP, true, 40, {135}, 1, false, C_drop_truncated},
};

static void test_patches(void **state)
{
	for (size_t i = 0; i < sizeof(PATCHES) / sizeof(PATCHES[0]); i++) {
		const struct patch *c = &PATCHES[i];
		uint8_t buf[128];
		struct tripod_packet p;
		struct frame_spec s = spec(V4, c->proto);
		if (c->v6)
			s = spec(V6, c->proto);
		size_t len = frames_build(buf, sizeof(buf), &s);
		assert_result(PARSE_FLOW, parse_exact(buf, len, &p));
		memcpy(buf + L3 + c->offset, c->value, c->n);
		if (!c->leave)
			frames_fix(buf, len);
		int r = parse_exact(buf, len, &p);
		if (r != c->expected)
			fail_msg("%s (%s): %s instead of %s", c->what, c->v6 ? "IPv6" : "IPv4",
				result_name(r), result_name(c->expected));
	}
}

// ---- Fragments ----

struct cut {
	const char *what;
	uint8_t proto;
	unsigned offset, size; // of the 88 bytes behind the IP header
	int at; // byte behind the IP header (of IPv6: behind the fragment header) that is changed; -1: none
	uint8_t value;
	int v4, v6; // what is expected
};

static const struct cut CUTS[] = {
	{"first", IPPROTO_UDP, 0, 48, -1, 0, PARSE_FLOW, PARSE_FLOW},
	{"first, headers alone", IPPROTO_UDP, 0, 8, -1, 0, PARSE_FLOW, PARSE_FLOW},
	{"first of echo", IPPROTO_ICMP, 0, 48, -1, 0, PARSE_FLOW, PARSE_FLOW},
	{"middle", IPPROTO_UDP, 40, 16, -1, 0, PARSE_FRAGMENT, PARSE_FRAGMENT},
	{"last", IPPROTO_UDP, 80, 8, -1, 0, PARSE_FRAGMENT, PARSE_FRAGMENT},
	{"last, half a unit", IPPROTO_UDP, 80, 4, -1, 0, C_drop_fragment, C_drop_fragment},
	{"middle of echo", IPPROTO_ICMP, 40, 16, -1, 0, PARSE_FRAGMENT, PARSE_FRAGMENT},
	{"half a unit, and more", IPPROTO_UDP, 0, 44, -1, 0, C_drop_fragment, C_drop_fragment},
	{"no byte", IPPROTO_UDP, 40, 0, -1, 0, C_drop_fragment, C_drop_fragment},
	{"UDP that ends with it", IPPROTO_UDP, 0, 48, 5, 48, C_drop_l4_header, C_drop_l4_header},
	{"UDP that goes on", IPPROTO_UDP, 0, 48, 5, 49, PARSE_FLOW, PARSE_FLOW},
	{"an error", IPPROTO_ICMP, 0, 48, 0, 3, C_drop_icmp_type, C_drop_icmp_type},
	{"first of TCP", IPPROTO_TCP, 0, 48, -1, 0, C_drop_fragment_tcp, C_drop_fragment_tcp},
	{"last of TCP", IPPROTO_TCP, 48, 40, -1, 0, C_drop_fragment_tcp, C_drop_fragment_tcp},
	{"another protocol", 132, 0, 48, -1, 0, C_drop_protocol, C_drop_protocol},
};

static size_t cut_frame(
	uint8_t *buf, size_t room, bool v6, uint8_t proto, unsigned offset, unsigned size)
{
	uint8_t whole[256];
	struct frame_spec s = spec(V4, proto);
	if (v6)
		s = spec(V6, proto);
	s.payload_len = proto == IPPROTO_TCP ? 68 : proto == 132 ? 88 : 80;
	size_t len = frames_build(whole, sizeof(whole), &s);
	return frames_fragment(buf, room, whole, len, 0x0a0b0c0d, offset, size);
}

static void test_fragments(void **state)
{
	for (size_t i = 0; i < 2 * sizeof(CUTS) / sizeof(CUTS[0]); i++) {
		const struct cut *c = &CUTS[i / 2];
		bool v6 = i & 1;
		uint8_t buf[256];
		struct tripod_packet p;
		size_t len = cut_frame(buf, sizeof(buf), v6, c->proto, c->offset, c->size);
		if (c->at >= 0)
			buf[L3 + (v6 ? 48 : 20) + c->at] = c->value;
		int r = parse_exact(buf, len, &p), expected = v6 ? c->v6 : c->v4;
		if (r != expected)
			fail_msg("%s (%s): %s instead of %s", c->what, v6 ? "IPv6" : "IPv4",
				result_name(r), result_name(expected));
		assert_int_equal(p.l4, L3 + (v6 ? 48 : 20));
		if (r == PARSE_FLOW) {
			assert_int_equal(p.fragment, TRIPOD_FRAGMENT_FIRST);
			assert_int_equal(p.payload_len, c->size - 8);
			assert_int_equal(p.tuple.kind, TRIPOD_KIND_CONNECTION);
			assert_int_not_equal(p.tuple.sport, 0);
		} else if (r == PARSE_FRAGMENT) {
			assert_int_equal(p.fragment, TRIPOD_FRAGMENT_LATER);
			assert_int_equal(p.tuple.kind, TRIPOD_KIND_FRAGMENT);
			assert_int_equal(ntohs(p.tuple.dport), 0x0c0d);
			assert_int_equal(ntohs(p.tuple.sport), v6 ? 0x0a0b : 0);
		}
		if (r < 0)
			assert_int_equal(p.hash, toeplitz_tuple(&p.tuple));
	}
}

// All fragments of a datagram have one key, whatever is in them; of no other datagram.
static void test_fragment_key(void **state)
{
	for (int v6 = 0; v6 < 2; v6++) {
		uint8_t buf[256];
		struct tripod_packet p;
		size_t len = cut_frame(buf, sizeof(buf), v6, IPPROTO_UDP, 0, 40);
		assert_result(PARSE_FLOW, parse_exact(buf, len, &p));
		p.data = buf;
		struct tripod_tuple key = parse_fragment_key(&p, &p.tuple);
		for (unsigned offset = 40; offset < 88; offset += 16) {
			len = cut_frame(buf, sizeof(buf), v6, IPPROTO_UDP, offset, 16);
			assert_result(PARSE_FRAGMENT, parse_exact(buf, len, &p));
			assert_true(tripod_tuple_equal(&p.tuple, &key));
			buf[L3 + (v6 ? 47 : 5)]++; // identification
			frames_fix(buf, len);
			assert_result(PARSE_FRAGMENT, parse_exact(buf, len, &p));
			assert_false(tripod_tuple_equal(&p.tuple, &key));
		}
		len = cut_frame(buf, sizeof(buf), v6, IPPROTO_ICMP, 40, 16);
		assert_result(PARSE_FRAGMENT, parse_exact(buf, len, &p));
		assert_false(tripod_tuple_equal(&p.tuple, &key));
	}
}

static void test_fragment_limits(void **state)
{
	uint8_t buf[1700];
	struct tripod_packet p;
	for (int v6 = 0; v6 < 2; v6++) {
		unsigned at = L3 + (v6 ? 42 : 6);
		// Behind the last byte that a datagram can have.
		size_t len = cut_frame(buf, sizeof(buf), v6, IPPROTO_UDP, 80, 8);
		for (int more = 0; more < 2; more++) {
			unsigned field =
				v6 ? (unsigned)(0xfff8 - 8 * more) : 0x1ffdu - (unsigned)more;
			buf[at] = (uint8_t)(field >> 8);
			buf[at + 1] = (uint8_t)field;
			frames_fix(buf, len);
			assert_result(
				more ? PARSE_FRAGMENT : C_drop_fragment, parse_exact(buf, len, &p));
		}
		len = cut_frame(buf, sizeof(buf), v6, IPPROTO_UDP, 40, 8);
		buf[L3 + (v6 ? 8 : 12)] = v6 ? 0xff : 127; // source
		frames_fix(buf, len);
		assert_result(C_drop_ip_address, parse_exact(buf, len, &p));
	}
}

// IPv6 with a fragment header, and not cut: as without it (RFC 6946).
static void test_atomic_fragments(void **state)
{
	static const struct {
		uint8_t proto, checksum, flags, spoil; // spoil: of the first byte
		int expected;
	} CASES[] = {{IPPROTO_TCP, 16, TRIPOD_TCP_SYN, 0, PARSE_FLOW},
		{IPPROTO_TCP, 16, TRIPOD_TCP_SYN, 1, C_drop_l4_checksum},
		{IPPROTO_UDP, 6, 0, 0, PARSE_FLOW}, {IPPROTO_ICMP, 2, 0, 0, PARSE_FLOW},
		{IPPROTO_ICMP, 2, 0, 1, C_drop_l4_checksum}, {132, 0, 0, 0, C_drop_protocol}};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		uint8_t whole[256], buf[256];
		struct tripod_packet p, q;
		struct frame_spec s = spec(V6, CASES[i].proto);
		s.tcp_flags = CASES[i].flags;
		s.payload_len = 30;
		size_t len = frames_build(whole, sizeof(whole), &s);
		int r = parse_exact(whole, len, &q);
		len = frames_fragment(buf, sizeof(buf), whole, len, 7, 0, len - L3 - 40);
		buf[L3 + 48] ^= CASES[i].spoil;
		assert_result(CASES[i].expected, parse_exact(buf, len, &p));
		if (p.fragment != TRIPOD_WHOLE)
			fail_msg("not whole");
		if (CASES[i].expected == PARSE_FLOW) {
			assert_result(PARSE_FLOW, r);
			assert_true(tripod_tuple_equal(&p.tuple, &q.tuple));
			assert_int_equal(p.payload_len, 30);
			uint16_t field;
			memcpy(&field, buf + p.l4 + CASES[i].checksum, 2);
			p.data = buf;
			assert_int_equal(checksum_l4(&p), field);
		}
		for (size_t cut = L3 + 40; cut < L3 + 48; cut++) { // inside the fragment header
			buf[L3 + 5] = (uint8_t)(cut - L3 - 40);
			assert_result(C_drop_truncated, parse_exact(buf, cut, &p));
		}
	}
	// Neighbour discovery has no such header (RFC 6980).
	uint8_t whole[256], buf[256];
	struct tripod_packet p;
	size_t len = frames_nd(whole, sizeof(whole), 135, FRAMES_SRC_MAC, "2001:db8::2",
		"2001:db8::1", "2001:db8::1");
	assert_result(PARSE_ND, parse_exact(whole, len, &p));
	len = frames_fragment(buf, sizeof(buf), whole, len, 7, 0, len - L3 - 40);
	assert_result(C_drop_fragment, parse_exact(buf, len, &p));
}

static void test_nic_has_verified(void **state)
{
	uint8_t buf[128];
	struct tripod_packet p;
	struct parse_limits limits = {.mtu = 1500};
	struct frame_spec s = spec(V4, IPPROTO_TCP);
	s.tcp_flags = TRIPOD_TCP_SYN;
	size_t len = frames_build(buf, sizeof(buf), &s);
	buf[L3 + 10] ^= 0x55;
	buf[L3 + 36] ^= 0x55;
	frames_packet(&p, buf, len, sizeof(buf), 10);
	assert_result(C_drop_ip_checksum, parse_frame(&p, &limits, TRIPOD_INCOMING, 0));
	p.flags = TRIPOD_PKT_IPV4_CSUM_GOOD;
	assert_result(C_drop_l4_checksum, parse_frame(&p, &limits, TRIPOD_INCOMING, 0));
	p.flags |= TRIPOD_PKT_L4_CSUM_GOOD;
	assert_result(PARSE_FLOW, parse_frame(&p, &limits, TRIPOD_INCOMING, 0));
}

static void test_ethertypes(void **state)
{
	static const struct {
		uint16_t type;
		int expected;
	} CASES[] = {{0x8100, C_drop_vlan_stacked}, {0x88a8, C_drop_vlan_stacked},
		{0x9100, C_drop_vlan_stacked}, {0x8847, C_drop_ethertype},
		{0x88cc, C_drop_ethertype}, {0x0026, C_drop_ethertype},
		{0x86dd, C_drop_ip_version}};
	uint8_t buf[128];
	struct tripod_packet p;
	struct frame_spec s = spec(V4, IPPROTO_TCP);
	size_t len = frames_build(buf, sizeof(buf), &s);
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		buf[12] = CASES[i].type >> 8;
		buf[13] = CASES[i].type & 0xff;
		assert_result(CASES[i].expected, parse_exact(buf, len, &p));
	}
	s.vlan_tag = 10;
	len = frames_build(buf, sizeof(buf), &s);
	assert_result(C_drop_vlan_stacked, parse_exact(buf, len, &p));
	len = frames_arp(buf, sizeof(buf), 1, FRAMES_SRC_MAC, "203.0.113.2", NULL, "203.0.113.1");
	assert_result(PARSE_ARP, parse_exact(buf, len, &p));
	assert_int_equal(p.l3, L3);
}

static void test_mtu(void **state)
{
	for (int v6 = 0; v6 < 2; v6++) {
		uint8_t buf[1600];
		struct tripod_packet p;
		struct frame_spec s = spec(V4, IPPROTO_UDP);
		if (v6)
			s = spec(V6, IPPROTO_UDP);
		s.payload_len = 1500 - 8 - (v6 ? 40 : 20);
		size_t len = frames_build(buf, sizeof(buf), &s);
		assert_result(PARSE_FLOW, parse_exact(buf, len, &p));
		s.payload_len++;
		len = frames_build(buf, sizeof(buf), &s);
		assert_result(C_drop_oversize, parse_exact(buf, len, &p));
	}
}

// ---- Addresses ----

static int parse_between(const char *src, const char *dst, uint16_t sport, uint16_t dport)
{
	uint8_t buf[128];
	struct tripod_packet p;
	struct frame_spec s = spec(src, dst, IPPROTO_TCP);
	s.sport = sport;
	s.dport = dport;
	size_t len = frames_build(buf, sizeof(buf), &s);
	int tcp = parse_exact(buf, len, &p);
	s.proto = IPPROTO_UDP;
	len = frames_build(buf, sizeof(buf), &s);
	assert_result(tcp, parse_exact(buf, len, &p));
	s.proto = IPPROTO_ICMP;
	len = frames_build(buf, sizeof(buf), &s);
	if (sport != dport)
		assert_result(tcp, parse_exact(buf, len, &p));
	return tcp;
}

static void test_martians(void **state)
{
	static const char *const BAD_V4[] = {"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254",
		"224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "169.254.1.1"};
	static const char *const GOOD_V4[] = {"1.0.0.0", "126.255.255.255", "128.0.0.1",
		"223.255.255.254", "10.0.0.1", "169.253.1.1", "169.255.1.1", "192.168.1.255"};
	static const char *const BAD_V6[] = {
		"::", "::1", "::10.1.2.3", "ff02::1", "ff0e::1", "fe80::1", "febf::1"};
	static const char *const GOOD_V6[] = {
		"2001:db8::9", "fd00::1", "64:ff9b::1", "fec0::1", "fe00::1", "0:0:0:1::1"};
	for (size_t i = 0; i < sizeof(BAD_V4) / sizeof(BAD_V4[0]); i++) {
		assert_result(C_drop_ip_address, parse_between(BAD_V4[i], "203.0.113.1", 1, 2));
		assert_result(C_drop_ip_address, parse_between("203.0.113.1", BAD_V4[i], 1, 2));
	}
	for (size_t i = 0; i < sizeof(GOOD_V4) / sizeof(GOOD_V4[0]); i++) {
		assert_result(PARSE_FLOW, parse_between(GOOD_V4[i], "203.0.113.1", 1, 2));
		assert_result(PARSE_FLOW, parse_between("203.0.113.1", GOOD_V4[i], 1, 2));
	}
	for (size_t i = 0; i < sizeof(BAD_V6) / sizeof(BAD_V6[0]); i++) {
		assert_result(C_drop_ip_address, parse_between(BAD_V6[i], "2001:db8::1", 1, 2));
		assert_result(C_drop_ip_address, parse_between("2001:db8::1", BAD_V6[i], 1, 2));
	}
	for (size_t i = 0; i < sizeof(GOOD_V6) / sizeof(GOOD_V6[0]); i++) {
		assert_result(PARSE_FLOW, parse_between(GOOD_V6[i], "2001:db8::1", 1, 2));
		assert_result(PARSE_FLOW, parse_between("2001:db8::1", GOOD_V6[i], 1, 2));
	}
}

// An IPv6 packet must never bear the tuple of an IPv4 connection.
static void test_mapped_addresses(void **state)
{
	static const unsigned OFFSET[] = {8, 24};
	for (size_t i = 0; i < 2; i++) {
		uint8_t buf[128];
		struct tripod_packet p;
		struct frame_spec s = spec(V6, IPPROTO_UDP);
		size_t len = frames_build(buf, sizeof(buf), &s);
		memcpy(buf + L3 + OFFSET[i], TRIPOD_V4_PREFIX, 12);
		frames_fix(buf, len);
		assert_result(C_drop_ip_address, parse_exact(buf, len, &p));
	}
}

static void test_land(void **state)
{
	assert_result(C_drop_ip_address, parse_between("203.0.113.1", "203.0.113.1", 80, 80));
	assert_result(C_drop_ip_address, parse_between("2001:db8::1", "2001:db8::1", 80, 80));
	uint8_t buf[128];
	struct tripod_packet p;
	struct frame_spec s = spec("203.0.113.1", "203.0.113.1", IPPROTO_TCP);
	size_t len = frames_build(buf, sizeof(buf), &s); // ports differ
	assert_result(PARSE_FLOW, parse_exact(buf, len, &p));
	s.proto = IPPROTO_ICMP;
	len = frames_build(buf, sizeof(buf), &s);
	assert_result(C_drop_ip_address, parse_exact(buf, len, &p));
}

// ---- Neighbours and multicast listeners ----

static int parse_nd(uint8_t type, const char *src, const char *dst, const char *target, int hops)
{
	uint8_t buf[128];
	struct tripod_packet p;
	size_t len = frames_nd(buf, sizeof(buf), type, FRAMES_SRC_MAC, src, dst, target);
	buf[L3 + 7] = (uint8_t)hops;
	int r = parse_exact(buf, len, &p);
	if (r == PARSE_ND)
		assert_int_equal(p.l4, L3 + 40);
	frames_packet(&p, buf, len, sizeof(buf), 30);
	assert_result(r, parse_fabric(&p, 7117));
	return r;
}

static void test_nd(void **state)
{
	const char *all = "ff02::1", *solicited = "ff02::1:ff00:1", *own = "2001:db8::1";
	assert_result(PARSE_ND, parse_nd(135, "fe80::1", solicited, own, 255));
	assert_result(PARSE_ND, parse_nd(135, "2001:db8::7", own, own, 255));
	assert_result(PARSE_ND, parse_nd(135, "::", solicited, own, 255)); // a probe
	assert_result(PARSE_ND, parse_nd(136, "fe80::1", all, "fe80::1", 255));
	assert_result(PARSE_ND, parse_nd(136, own, "fe80::1", own, 255));
	assert_result(C_drop_l4_header, parse_nd(135, "fe80::1", solicited, own, 254));
	assert_result(C_drop_ip_address, parse_nd(135, "::", own, own, 255));
	assert_result(C_drop_ip_address, parse_nd(136, "::", all, own, 255));
	assert_result(C_drop_ip_address, parse_nd(135, "::1", solicited, own, 255));
	assert_result(C_drop_ip_address, parse_nd(135, "ff02::2", solicited, own, 255));
	assert_result(C_drop_ip_address, parse_nd(135, "fe80::1", "::1", own, 255));
	assert_result(C_drop_ip_address, parse_nd(135, "fe80::1", solicited, "ff02::1", 255));

	uint8_t buf[128];
	struct tripod_packet p;
	size_t len = frames_nd(buf, sizeof(buf), 135, FRAMES_SRC_MAC, "fe80::1", solicited, own);
	buf[L3 + 41] = 1; // code
	frames_fix(buf, len);
	assert_result(C_drop_l4_header, parse_exact(buf, len, &p));
	buf[L3 + 42] ^= 1;
	assert_result(C_drop_l4_checksum, parse_exact(buf, len, &p));
}

// What Linux sends unasked on every link, with its router alerts.
static void test_multicast_listeners(void **state)
{
	static const uint8_t REPORT[] = {58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 0};
	uint8_t buf[128];
	struct tripod_packet p;
	struct frame_spec s = {.src = "fe80::1",
		.dst = "ff02::16",
		.proto = 255,
		.ttl = 1,
		.payload = REPORT,
		.payload_len = sizeof(REPORT)};
	size_t len = frames_build(buf, sizeof(buf), &s);
	buf[L3 + 6] = 0; // hop-by-hop
	assert_result(PARSE_LOCAL, parse_exact(buf, len, &p));
	buf[L3 + 40 + 8] = 128;
	assert_result(C_drop_ip_options, parse_exact(buf, len, &p));
	for (unsigned n = 0; n < 12; n++) { // cut short
		buf[L3 + 5] = (uint8_t)n;
		assert_result(C_drop_ip_options, parse_exact(buf, L3 + 40 + n, &p));
	}

	static const uint8_t IGMP[] = {0x94, 4, 0, 0, 0x22, 0, 0xf9, 0x02, 0, 0, 0, 0};
	s = (struct frame_spec){.src = "10.0.0.1",
		.dst = "224.0.0.22",
		.proto = IPPROTO_IGMP,
		.payload = IGMP,
		.payload_len = sizeof(IGMP)};
	len = frames_build(buf, sizeof(buf), &s);
	assert_result(PARSE_LOCAL, parse_exact(buf, len, &p));
	buf[L3] = 0x46;
	frames_fix(buf, len);
	assert_result(PARSE_LOCAL, parse_exact(buf, len, &p));
	buf[L3 + 20] ^= 1; // inside the options: the header's checksum covers it
	assert_result(C_drop_ip_checksum, parse_exact(buf, len, &p));
}

// ---- The fabric ----

static int parse_fabric_udp(const char *src, const char *dst, uint16_t dport, int csum)
{
	uint8_t buf[128];
	struct tripod_packet p;
	struct frame_spec s = spec(src, dst, IPPROTO_UDP);
	s.dport = dport;
	s.no_udp_checksum = csum == 0;
	size_t len = frames_build(buf, sizeof(buf), &s);
	if (csum < 0)
		buf[len - 1] ^= 1;
	frames_packet(&p, buf, len, sizeof(buf), 0);
	int r = parse_fabric(&p, 7117);
	if (r < 0) {
		assert_int_equal(p.payload_len, 10);
		assert_ptr_equal(tripod_packet_payload(&p), buf + len - 10);
	}
	return r;
}

static void test_fabric(void **state)
{
	const char *a = "10.255.0.1", *b = "10.255.0.2", *a6 = "fd00::1", *b6 = "fd00::2";
	assert_result(PARSE_CONTROL, parse_fabric_udp(a, b, 7117, 1));
	assert_result(PARSE_CONTROL, parse_fabric_udp(a6, b6, 7117, 1));
	assert_result(PARSE_CONTROL, parse_fabric_udp(a, b, 7117, 0));
	assert_result(C_drop_l4_checksum, parse_fabric_udp(a6, b6, 7117, 0));
	assert_result(C_drop_l4_checksum, parse_fabric_udp(a, b, 7117, -1));
	assert_result(C_drop_l4_checksum, parse_fabric_udp(a6, b6, 7117, -1));
	assert_result(PARSE_BFD, parse_fabric_udp("169.254.1.1", "169.254.1.0", 3784, 1));
	assert_result(PARSE_BFD, parse_fabric_udp(a, b, 3784, 0));
	assert_result(C_drop_protocol, parse_fabric_udp(a, b, 7118, 1));
	assert_result(C_drop_ip_address, parse_fabric_udp("127.0.0.1", b, 7117, 1));
	assert_result(C_drop_ip_address, parse_fabric_udp("ff02::1", b6, 7117, 1));

	uint8_t buf[128];
	struct tripod_packet p;
	struct frame_spec s = spec(a, b, IPPROTO_TCP);
	frames_packet(&p, buf, frames_build(buf, sizeof(buf), &s), sizeof(buf), 30);
	assert_result(C_drop_protocol, parse_fabric(&p, 7117));
	s.proto = IPPROTO_IGMP;
	frames_packet(&p, buf, frames_build(buf, sizeof(buf), &s), sizeof(buf), 30);
	assert_result(C_drop_protocol, parse_fabric(&p, 7117));
	s = spec(a6, b6, IPPROTO_ICMP);
	frames_packet(&p, buf, frames_build(buf, sizeof(buf), &s), sizeof(buf), 30);
	assert_result(C_drop_icmp_type, parse_fabric(&p, 7117));
	size_t len = frames_arp(buf, sizeof(buf), 2, FRAMES_SRC_MAC, a, FRAMES_DST_MAC, b);
	frames_packet(&p, buf, len, sizeof(buf), 30);
	assert_result(PARSE_ARP, parse_fabric(&p, 7117));
}

// ---- The checksums themselves ----

static void test_checksum_property(void **state)
{
	struct rng r = {.state = 0x63686563};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	for (int i = 0; i < 20000; i++) {
		uint8_t data[80];
		size_t len = rng_below(&r, sizeof(data) + 1);
		uint32_t sum = 0;
		bool ones = rng_below(&r, 4) == 0; // carries everywhere
		for (size_t b = 0; b < len; b++) {
			data[b] = ones ? 0xff : (uint8_t)rng_next(&r);
			sum += b % 2 == 0 ? (uint32_t)data[b] << 8 : data[b];
		}
		uint16_t start = ones ? 0xffff : (uint16_t)rng_next(&r);
		sum += start;
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
		assert_int_equal(ntohs(checksum_partial(data, len, htons(start))), sum);
		size_t cut = rng_below(&r, (uint32_t)len + 1) & ~(size_t)1;
		assert_int_equal(ntohs(checksum_partial(data + cut, len - cut,
					 checksum_partial(data, cut, htons(start)))),
			sum);
	}
	for (int i = 0; i < 20000; i++) {
		uint16_t words[4], old, new;
		for (int w = 0; w < 4; w++)
			words[w] = (uint16_t)(rng_next(&r) & rng_next(&r));
		words[3] |= 1;
		old = (uint16_t)~checksum_partial(words, sizeof(words), 0);
		new = (uint16_t)rng_next(&r);
		uint16_t updated = checksum_update(old, words[0], new);
		words[0] = new;
		assert_int_equal(updated, (uint16_t)~checksum_partial(words, sizeof(words), 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flow_property),
		cmocka_unit_test(test_bit_flips_property),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_truncated_transport),
		cmocka_unit_test(test_padding_is_tolerated),
		cmocka_unit_test(test_patches),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_fragment_key),
		cmocka_unit_test(test_fragment_limits),
		cmocka_unit_test(test_atomic_fragments),
		cmocka_unit_test(test_nic_has_verified),
		cmocka_unit_test(test_ethertypes),
		cmocka_unit_test(test_mtu),
		cmocka_unit_test(test_martians),
		cmocka_unit_test(test_mapped_addresses),
		cmocka_unit_test(test_land),
		cmocka_unit_test(test_nd),
		cmocka_unit_test(test_multicast_listeners),
		cmocka_unit_test(test_fabric),
		cmocka_unit_test(test_checksum_property),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
