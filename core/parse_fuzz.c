// SPDX-License-Identifier: BSD-3-Clause
#include "core/parse_fuzz.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/icmp.h"
#include "core/parse.h"
#include "core/toeplitz.h"

#define FRAME_MAX 9216

// Like assert(), but never compiled away.
#define promise(x)                                                                                 \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #x);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static const struct tripod_addr NEW_ADDR[2][2] = {
	{{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3}},
		{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 255, 0, 255, 1}}},
	{{{0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}},
		{{0xfd, 0, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 1}}},
};

static struct tripod_packet copy_of(const uint8_t *data, size_t size, uint8_t flags, uint16_t vlan)
{
	struct tripod_packet p = {.len = (uint16_t)size,
		.room = (uint16_t)size,
		.flags = flags,
		.vlan = vlan,
		.hash = 1};
	p.data = malloc(size ? size : 1);
	promise(p.data);
	if (size > 0)
		memcpy(p.data, data, size);
	return p;
}

static void check_bounds(const struct tripod_packet *p)
{
	promise(p->l3 == 14 && p->l4 >= p->l3 + 20);
	promise(p->payload >= p->l4 + 8);
	promise(p->l3 + p->ip_len <= p->len);
	promise(p->payload + p->payload_len <= p->l3 + p->ip_len);
	promise(tripod_addr_is_v4(&p->tuple.src) == !p->v6);
	promise(tripod_addr_is_v4(&p->tuple.dst) == !p->v6);
}

static bool checksum_is_right(const struct tripod_packet *p)
{
	uint8_t proto = tripod_packet_proto(p);
	unsigned offset = proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2;
	uint16_t field;
	if (p->fragment != TRIPOD_WHOLE)
		return true; // not all that it covers is here
	memcpy(&field, p->data + p->l4 + offset, sizeof(field));
	if (proto == IPPROTO_UDP && field == 0)
		return true;
	uint16_t right = checksum_l4(p);
	// Zero has two forms, and whoever sent the frame may have chosen the other one.
	return field == right || (uint16_t)(field + 1) + (uint16_t)(right + 1) == 1;
}

static bool header_is_right(const struct tripod_packet *p)
{
	return p->v6 || checksum_partial(p->data + p->l3, 20, 0) == 0xffff;
}

// Rewritten, a packet parses as what it was rewritten to, and sums that were right are right.
static void check_flow(struct tripod_packet *p, const struct parse_limits *limits)
{
	bool l4_right = checksum_is_right(p), l3_right = header_is_right(p);
	bool rss = p->flags & TRIPOD_PKT_RSS;
	promise(rss || p->hash == toeplitz_tuple(&p->tuple));
	struct tripod_tuple before = p->tuple;
	tripod_packet_set_src(p, &NEW_ADDR[p->v6][0], htons(40000));
	tripod_packet_set_dst(p, &NEW_ADDR[p->v6][1], 0xffff);
	promise(checksum_is_right(p) == l4_right && header_is_right(p) == l3_right);
	struct tripod_packet again = *p;
	tripod_packet_set_dst(p, &before.dst, before.dport);
	tripod_packet_set_src(p, &before.src, before.sport);
	promise(tripod_tuple_equal(&before, &p->tuple));
	promise(checksum_is_right(p) == l4_right && header_is_right(p) == l3_right);
	again.tuple.proto = 0;
	promise(parse_frame(&again, limits, tripod_packet_direction(p), 3) == PARSE_FLOW);
	promise(tripod_tuple_equal(&again.tuple, &before));
	promise(!tripod_addr_equal(&before.src, &before.dst) || before.sport != before.dport);

	uint8_t room[1400];
	struct frame f = {.data = room, .room = sizeof(room)};
	if (icmp_error_make(&f, p, ICMP_TOO_BIG, 1400, &NEW_ADDR[p->v6][0]) == 0) {
		struct tripod_packet e = {.data = f.data, .len = f.len, .room = f.room};
		promise(parse_frame(&e, limits, !tripod_packet_direction(p), 3) ==
			PARSE_ICMP_ERROR);
		before = tripod_tuple_reverse(&before);
		promise(tripod_tuple_equal(&e.tuple, &before));
	}
	if (icmp_echo_reply(p))
		promise(checksum_is_right(p) && header_is_right(p) == l3_right);
}

static void check_error(struct tripod_packet *p, const struct parse_limits *limits)
{
	struct tripod_tuple quoted = p->tuple;
	bool l3_right = header_is_right(p);
	promise(checksum_is_right(p));
	quoted.src = NEW_ADDR[p->v6][0];
	quoted.dst = NEW_ADDR[p->v6][0];
	quoted.sport = quoted.dport = htons(40000);
	icmp_error_translate(p, &quoted, &NEW_ADDR[p->v6][0], &NEW_ADDR[p->v6][0]);
	promise(checksum_is_right(p) && header_is_right(p) == l3_right);
	struct tripod_packet again = *p;
	promise(parse_frame(&again, limits, tripod_packet_direction(p), 3) == PARSE_ICMP_ERROR);
	promise(tripod_tuple_equal(&again.tuple, &p->tuple));
	promise(tripod_addr_equal(&again.tuple.dst, &quoted.src));
	promise(again.tuple.sport == quoted.dport);
}

static void parse_data(const uint8_t *data, size_t size, uint8_t flags, uint16_t vlan)
{
	static const struct parse_limits LIMITS = {.mtu = 9000};
	enum tripod_direction direction = vlan % 2 ? TRIPOD_OUTGOING : TRIPOD_INCOMING;
	struct tripod_packet p = copy_of(data, size, flags, vlan);
	int r = parse_frame(&p, &LIMITS, direction, 3);
	promise(r >= PARSE_FRAGMENT && r < COUNTERS);
	promise(r < 0 || (r >= C_drop_truncated && r <= C_drop_icmp_type));
	promise(r != PARSE_BFD && r != PARSE_CONTROL);
	promise(p.tuple.direction == direction && p.tuple.zone == 3);
	if (r >= 0 || r == PARSE_ND || r == PARSE_ARP)
		promise(memcmp(p.data, data, size) == 0);
	if (r == PARSE_FLOW) {
		check_bounds(&p);
		check_flow(&p, &LIMITS);
	} else if (r == PARSE_ICMP_ERROR) {
		check_bounds(&p);
		check_error(&p, &LIMITS);
	} else if (r == PARSE_FRAGMENT) {
		promise(p.l4 >= p.l3 + 20 && p.l4 < p.l3 + p.ip_len && p.l3 + p.ip_len <= p.len);
		promise(p.fragment == TRIPOD_FRAGMENT_LATER &&
			p.tuple.kind == TRIPOD_KIND_FRAGMENT);
		promise(p.hash == toeplitz_tuple(&p.tuple));
	}
	free(p.data);
}

static void parse_control(const uint8_t *data, size_t size, uint8_t flags, uint16_t vlan)
{
	struct tripod_packet p = copy_of(data, size, flags, vlan);
	int r = parse_fabric(&p, 7117);
	promise(r >= PARSE_CONTROL && r < COUNTERS && p.fragment == TRIPOD_WHOLE);
	promise(r < 0 || (r >= C_drop_truncated && r <= C_drop_icmp_type));
	promise(r != PARSE_FLOW && r != PARSE_ICMP_ERROR);
	if (r == PARSE_BFD || r == PARSE_CONTROL) {
		check_bounds(&p);
		promise((flags & TRIPOD_PKT_L4_CSUM_GOOD) || checksum_is_right(&p));
	}
	free(p.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t NIC = TRIPOD_PKT_IPV4_CSUM_GOOD | TRIPOD_PKT_L4_CSUM_GOOD;
	static const uint16_t VLANS[] = {0, 10, 21};
	if (size > FRAME_MAX)
		return 0;
	for (size_t i = 0; i < sizeof(VLANS) / sizeof(VLANS[0]); i++) {
		parse_data(data, size, 0, VLANS[i]);
		parse_data(data, size, NIC | TRIPOD_PKT_RSS, VLANS[i]);
	}
	parse_data(data, size, TRIPOD_PKT_IPV4_CSUM_GOOD, 10);
	parse_control(data, size, 0, 30);
	parse_control(data, size, NIC, 0);
	return 0;
}

int parse_fuzz_result(const uint8_t *data, size_t size)
{
	static const struct parse_limits LIMITS = {.mtu = 1500};
	if (size > FRAME_MAX)
		return C_drop_oversize;
	struct tripod_packet p = copy_of(data, size, TRIPOD_PKT_IPV4_CSUM_GOOD, 10);
	int r = parse_frame(&p, &LIMITS, TRIPOD_INCOMING, 0);
	free(p.data);
	return r;
}
