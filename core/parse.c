// SPDX-License-Identifier: BSD-3-Clause
#include "core/parse.h"

#include <netinet/in.h>

#include "core/checksum_inline.h"
#include "core/toeplitz.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ETHERNET_SIZE 14
#define BFD_PORT 3784

// A step of the parser succeeded and the next one decides; neither a parse_kind nor a counter.
#define GO_ON (-100)
#define FRAGMENT (-101) // GO_ON, but for a fragment, or for what has a fragment header

static inline uint16_t load16(const uint8_t *at)
{
	uint16_t v;
	memcpy(&v, at, sizeof(v));
	return ntohs(v);
}

static inline uint64_t load64(const uint8_t *at)
{
	return (uint64_t)ntohl(checksum_load32(at)) << 32 | ntohl(checksum_load32(at + 4));
}

// ---- Checksums ----

uint16_t checksum_partial(const void *data, size_t len, uint16_t sum)
{
	const uint8_t *at = data;
	uint64_t total = sum;
	for (; len >= 8; len -= 8, at += 8)
		total += (uint64_t)checksum_load32(at) + checksum_load32(at + 4);
	if (len & 4) {
		total += checksum_load32(at);
		at += 4;
	}
	if (len & 2) {
		uint16_t word;
		memcpy(&word, at, sizeof(word));
		total += word;
		at += 2;
	}
	if (len & 1) { // padded with a zero byte behind it
		uint8_t last[2] = {*at, 0};
		uint16_t word;
		memcpy(&word, last, sizeof(word));
		total += word;
	}
	return checksum_fold(total);
}

static inline uint16_t l4_length(const struct tripod_packet *p)
{
	return (uint16_t)(p->ip_len - (p->l4 - p->l3));
}

// Behind the UDP length there may be bytes of the IP packet that its checksum does not cover.
static uint16_t l4_covered(const struct tripod_packet *p)
{
	return tripod_packet_proto(p) == IPPROTO_UDP ? load16(p->data + p->l4 + 4) : l4_length(p);
}

// The sum over the pseudo header; ICMP over IPv4 has none.
static uint16_t pseudo_sum(const struct tripod_packet *p)
{
	const uint8_t *l3 = p->data + p->l3;
	uint16_t len = l4_covered(p);
	uint8_t tail[4] = {(uint8_t)(len >> 8), (uint8_t)len, 0, tripod_packet_proto(p)};

	if (!p->v6 && tripod_packet_proto(p) == IPPROTO_ICMP)
		return 0;
	uint16_t sum = checksum_partial(tail, sizeof(tail), 0);
	return p->v6 ? checksum_partial(l3 + 8, 32, sum) : checksum_partial(l3 + 12, 8, sum);
}

// The sum over pseudo header and transport bytes, the checksum field included: 0xffff when right.
static uint16_t l4_sum(const struct tripod_packet *p)
{
	return checksum_partial(p->data + p->l4, l4_covered(p), pseudo_sum(p));
}

uint16_t checksum_l4(const struct tripod_packet *p)
{
	const uint8_t *l4 = p->data + p->l4;
	uint8_t proto = tripod_packet_proto(p);
	unsigned offset = proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2;
	// Without the field: a sum of zeros alone is not the same as one of 0xffff.
	uint16_t sum = checksum_partial(l4, offset, pseudo_sum(p));
	uint16_t checksum =
		(uint16_t)~checksum_partial(l4 + offset + 2, l4_covered(p) - offset - 2, sum);

	return proto == IPPROTO_UDP && checksum == 0 ? 0xffff : checksum;
}

// ---- Addresses ----

// This network, loopback, multicast, reserved and limited broadcast (RFC 6890).
static inline bool martian_v4(const uint8_t *a)
{
	return (uint8_t)(a[0] - 1) >= 223 || a[0] == 127;
}

// RFC 3927, 7: routers forward no link-local address.
static inline bool link_local_v4(const uint8_t *a)
{
	return a[0] == 169 && a[1] == 254;
}

// The unspecified and loopback addresses, multicast, and all else of ::/64, where the IPv4-mapped
// ones lie: on the wire they would pass for the IPv4 addresses that the core keeps in this form.
static inline bool martian_v6(const uint8_t *a)
{
	return load64(a) == 0 || a[0] == 0xff;
}

static inline bool link_local_v6(const uint8_t *a)
{
	return a[0] == 0xfe && (a[1] & 0xc0) == 0x80;
}

static inline bool not_forwarded(const struct tripod_addr *a, bool v6)
{
	if (v6)
		return martian_v6(a->b) || link_local_v6(a->b);
	return martian_v4(a->b + 12) || link_local_v4(a->b + 12);
}

// "Land": a packet that claims to come from the very socket that it goes to.
static inline bool is_land(const struct tripod_tuple *t)
{
	return t->sport == t->dport && tripod_addr_equal(&t->src, &t->dst);
}

// ---- IP ----

// IPv4 whose header is not the ordinary 20 bytes, or a fragment. Cold.
static int parse_ipv4_odd(const uint8_t *l3, unsigned header, uint16_t fragment)
{
	if (fragment & 0x8000) // the reserved flag
		return C_drop_ip_header;
	if (l3[9] == IPPROTO_IGMP && (fragment & 0x3fff) == 0)
		return PARSE_LOCAL; // always sent with the router alert option
	if (header > 20)
		return C_drop_ip_options;
	return (fragment & 0x3fff) != 0 ? FRAGMENT : GO_ON;
}

static inline uint16_t ipv4_header_sum(const uint8_t *l3, unsigned header)
{
	uint64_t sum = (uint64_t)checksum_load32(l3) + checksum_load32(l3 + 4) +
		       checksum_load32(l3 + 8) + checksum_load32(l3 + 12) +
		       checksum_load32(l3 + 16);
	if (unlikely(header > 20))
		sum += checksum_partial(l3 + 20, header - 20, 0);
	return checksum_fold(sum);
}

static inline int parse_ipv4(struct tripod_packet *p)
{
	const uint8_t *l3 = p->data + ETHERNET_SIZE;
	unsigned room = p->len - ETHERNET_SIZE;
	if (unlikely(room < 20))
		return C_drop_truncated;
	unsigned header = 20;
	if (unlikely(l3[0] != 0x45)) {
		if (l3[0] >> 4 != 4)
			return C_drop_ip_version;
		header = (l3[0] & 15u) * 4;
		if (header < 20)
			return C_drop_ip_header;
		if (header > room)
			return C_drop_truncated;
	}
	uint16_t total = load16(l3 + 2);
	if (unlikely(total < header))
		return C_drop_ip_header;
	if (unlikely(total > room))
		return C_drop_truncated;
	if (!(p->flags & TRIPOD_PKT_IPV4_CSUM_GOOD) &&
		unlikely(ipv4_header_sum(l3, header) != 0xffff))
		return C_drop_ip_checksum;

	p->l4 = (uint16_t)(ETHERNET_SIZE + header);
	p->ip_len = total;
	p->ttl = l3[8];
	p->v6 = 0;
	p->tuple.src = tripod_addr_v4(checksum_load32(l3 + 12));
	p->tuple.dst = tripod_addr_v4(checksum_load32(l3 + 16));
	p->tuple.proto = l3[9];
	uint16_t fragment = load16(l3 + 6);
	if (unlikely(header > 20 || (fragment & 0xbfff) != 0))
		return parse_ipv4_odd(l3, header, fragment);
	return GO_ON;
}

static bool is_mld(uint8_t type)
{
	return (type >= 130 && type <= 132) || type == 143;
}

// A next header that is none of TCP, UDP and ICMPv6. Cold.
static int parse_ipv6_odd(const uint8_t *l3, unsigned payload)
{
	const uint8_t *extension = l3 + 40;
	switch (l3[6]) {
	case IPPROTO_HOPOPTS:
		// Multicast listener reports carry a router alert, and are no business of ours.
		if (payload >= 12 && extension[0] == IPPROTO_ICMPV6 && extension[1] == 0 &&
			is_mld(extension[8]))
			return PARSE_LOCAL;
		return C_drop_ip_options;
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case 139: // host identity protocol
	case 140: // shim6
		return C_drop_ip_options;
	case IPPROTO_FRAGMENT:
		return payload < 8 ? C_drop_truncated : FRAGMENT;
	default:
		return GO_ON;
	}
}

static inline int parse_ipv6(struct tripod_packet *p)
{
	const uint8_t *l3 = p->data + ETHERNET_SIZE;
	unsigned room = p->len - ETHERNET_SIZE;
	if (unlikely(room < 40))
		return C_drop_truncated;
	if (unlikely(l3[0] >> 4 != 6))
		return C_drop_ip_version;
	unsigned payload = load16(l3 + 4);
	if (unlikely(payload + 40 > room))
		return C_drop_truncated;

	p->l4 = ETHERNET_SIZE + 40;
	p->ip_len = (uint16_t)(payload + 40); // room is below 2^16, so this is
	p->ttl = l3[7];
	p->v6 = 1;
	memcpy(p->tuple.src.b, l3 + 8, 16);
	memcpy(p->tuple.dst.b, l3 + 24, 16);
	p->tuple.proto = l3[6];
	if (unlikely(l3[6] != IPPROTO_TCP && l3[6] != IPPROTO_UDP && l3[6] != IPPROTO_ICMPV6))
		return parse_ipv6_odd(l3, payload);
	return GO_ON;
}

static int parse_other_ethertype(const struct tripod_packet *p, uint16_t type)
{
	switch (type) {
	case 0x0806:
		return p->len < ETHERNET_SIZE + 28 ? C_drop_truncated : PARSE_ARP;
	case 0x8100:
	case 0x88a8:
	case 0x9100:
		return C_drop_vlan_stacked;
	default:
		return C_drop_ethertype;
	}
}

// Ethernet and IP: everything up to l4, and the addresses. GO_ON: an IP packet, all of which is there.
static inline int parse_l3(struct tripod_packet *p, enum tripod_direction direction, uint16_t zone)
{
	p->l3 = ETHERNET_SIZE;
	p->l4 = p->payload = p->payload_len = p->ip_len = 0;
	p->tcp_flags = p->ttl = p->v6 = p->fragment = 0;
	p->tuple = (struct tripod_tuple){
		.kind = TRIPOD_KIND_CONNECTION, .direction = direction & 1, .zone = zone};
	if (unlikely(p->len < ETHERNET_SIZE))
		return C_drop_truncated;
	uint16_t type = load16(p->data + 12);
	if (likely(type == 0x0800))
		return parse_ipv4(p);
	if (likely(type == 0x86dd))
		return parse_ipv6(p);
	return parse_other_ethertype(p, type);
}

// ---- Transport ----

static inline void set_hash(struct tripod_packet *p)
{
	if (!(p->flags & TRIPOD_PKT_RSS))
		p->hash = toeplitz_tuple(&p->tuple);
}

// A NIC hashes the addresses of ICMP alone, or those of the outer header: not what finds the
// connection's worker.
static void set_hash_own(struct tripod_packet *p)
{
	p->flags &= (uint8_t)~TRIPOD_PKT_RSS;
	p->hash = toeplitz_tuple(&p->tuple);
}

static inline int parse_tcp(struct tripod_packet *p)
{
	const uint8_t *l4 = p->data + p->l4;
	unsigned len = l4_length(p);
	if (unlikely(len < 20))
		return C_drop_truncated;
	unsigned header = (l4[12] >> 4) * 4u;
	if (unlikely(header < 20 || header > len))
		return C_drop_l4_header;
	p->payload = (uint16_t)(p->l4 + header);
	p->payload_len = (uint16_t)(len - header);
	p->tcp_flags = l4[13] & 0x3f;
	memcpy(&p->tuple.sport, l4, 2);
	memcpy(&p->tuple.dport, l4 + 2, 2);
	if (unlikely(is_land(&p->tuple)))
		return C_drop_ip_address;
	// These change state; a wrong one would, too.
	if (unlikely(p->tcp_flags & (TRIPOD_TCP_SYN | TRIPOD_TCP_FIN | TRIPOD_TCP_RST)) &&
		!(p->flags & TRIPOD_PKT_L4_CSUM_GOOD) && l4_sum(p) != 0xffff)
		return C_drop_l4_checksum;
	set_hash(p);
	return PARSE_FLOW;
}

static inline int parse_udp(struct tripod_packet *p)
{
	const uint8_t *l4 = p->data + p->l4;
	unsigned len = l4_length(p);
	if (unlikely(len < 8))
		return C_drop_truncated;
	unsigned udp_len = load16(l4 + 4);
	if (unlikely(udp_len < 8 || udp_len > len))
		return C_drop_l4_header;
	p->payload = p->l4 + 8;
	p->payload_len = (uint16_t)(udp_len - 8);
	memcpy(&p->tuple.sport, l4, 2);
	memcpy(&p->tuple.dport, l4 + 2, 2);
	if (unlikely(is_land(&p->tuple)))
		return C_drop_ip_address;
	set_hash(p);
	return PARSE_FLOW;
}

static int parse_echo(struct tripod_packet *p)
{
	memcpy(&p->tuple.sport, p->data + p->l4 + 4, 2);
	p->tuple.dport = p->tuple.sport;
	if (is_land(&p->tuple))
		return C_drop_ip_address;
	set_hash_own(p);
	return PARSE_FLOW;
}

// ---- ICMP errors ----

// The IP header of the quoted packet: its addresses and protocol into q, the offset of its transport
// header into *l4, the bytes of it that are there into *l4_len.
static int parse_quoted_ipv4(
	const uint8_t *l3, unsigned room, struct tripod_tuple *q, unsigned *l4, unsigned *l4_len)
{
	if (room < 20)
		return C_drop_truncated;
	unsigned header = (l3[0] & 15u) * 4;
	unsigned total = load16(l3 + 2);
	if (l3[0] >> 4 != 4 || header < 20 || total < header)
		return C_drop_l4_header;
	if ((load16(l3 + 6) & 0x1fff) != 0)
		return C_drop_icmp_type; // a later fragment: no ports, and none of ours
	if (header > room)
		return C_drop_truncated;
	q->src = tripod_addr_v4(checksum_load32(l3 + 12));
	q->dst = tripod_addr_v4(checksum_load32(l3 + 16));
	q->proto = l3[9];
	*l4 = header;
	*l4_len = (total < room ? total : room) - header;
	return GO_ON;
}

static int parse_quoted_ipv6(
	const uint8_t *l3, unsigned room, struct tripod_tuple *q, unsigned *l4, unsigned *l4_len)
{
	if (room < 40)
		return C_drop_truncated;
	if (l3[0] >> 4 != 6)
		return C_drop_l4_header;
	unsigned total = load16(l3 + 4) + 40u;
	memcpy(q->src.b, l3 + 8, 16);
	memcpy(q->dst.b, l3 + 24, 16);
	q->proto = l3[6];
	*l4 = 40;
	if (l3[6] == IPPROTO_FRAGMENT) {
		if (room < 48 || total < 48)
			return C_drop_truncated;
		if (load16(l3 + 42) >> 3 != 0)
			return C_drop_icmp_type; // a later one, as above
		q->proto = l3[40];
		*l4 = 48;
	}
	*l4_len = (total < room ? total : room) - *l4;
	return GO_ON;
}

// Ports or identifier of the quoted packet, of which 8 bytes must be there.
static int parse_quoted_l4(const uint8_t *l4, bool v6, struct tripod_tuple *q)
{
	if (q->proto == IPPROTO_TCP || q->proto == IPPROTO_UDP) {
		memcpy(&q->sport, l4, 2);
		memcpy(&q->dport, l4 + 2, 2);
		return GO_ON;
	}
	bool echo = v6 ? q->proto == IPPROTO_ICMPV6 && (l4[0] == 128 || l4[0] == 129)
		       : q->proto == IPPROTO_ICMP && (l4[0] == 8 || l4[0] == 0);
	if (!echo)
		return C_drop_icmp_type;
	memcpy(&q->sport, l4 + 4, 2);
	q->dport = q->sport;
	return GO_ON;
}

static int parse_icmp_error(struct tripod_packet *p)
{
	const uint8_t *l3 = p->data + p->l4 + 8;
	unsigned room = l4_length(p) - 8u;
	struct tripod_tuple q = p->tuple; // kind, direction and zone
	unsigned l4, l4_len;
	int r = p->v6 ? parse_quoted_ipv6(l3, room, &q, &l4, &l4_len)
		      : parse_quoted_ipv4(l3, room, &q, &l4, &l4_len);
	if (r != GO_ON)
		return r;
	// An error goes to the sender of what it quotes, or it is forged (RFC 5927, 8).
	if (!tripod_addr_equal(&q.src, &p->tuple.dst))
		return C_drop_icmp_type;
	if (not_forwarded(&q.dst, p->v6))
		return C_drop_ip_address;
	if (l4_len < 8)
		return C_drop_truncated;
	r = parse_quoted_l4(l3 + l4, p->v6, &q);
	if (r != GO_ON)
		return r;
	p->payload = p->l4 + 8;
	p->payload_len = (uint16_t)room;
	// The quoted packet left in the other direction; what answers it comes with the error.
	enum tripod_direction direction = tripod_packet_direction(p);
	p->tuple = tripod_tuple_reverse(&q);
	p->tuple.direction = direction & 1;
	set_hash_own(p);
	return PARSE_ICMP_ERROR;
}

// Length and checksum of any ICMP message; sets payload. ICMP checksums are verified whatever the NIC
// says, since what it verifies is TCP and UDP.
static int parse_icmp_header(struct tripod_packet *p)
{
	unsigned len = l4_length(p);
	if (len < 8)
		return C_drop_truncated;
	if (l4_sum(p) != 0xffff)
		return C_drop_l4_checksum;
	p->payload = p->l4 + 8;
	p->payload_len = (uint16_t)(len - 8);
	return GO_ON;
}

static int parse_icmp(struct tripod_packet *p)
{
	int r = parse_icmp_header(p);
	if (r != GO_ON)
		return r;
	switch (p->data[p->l4]) {
	case 8: // echo request
	case 0: // echo reply
		return parse_echo(p);
	case 3: // destination unreachable
	case 11: // time exceeded
	case 12: // parameter problem
		return parse_icmp_error(p);
	default:
		return C_drop_icmp_type;
	}
}

// RFC 4861, 7.1. Addresses may be link-local and multicast; the source of a probe is unspecified.
static int parse_nd(const struct tripod_packet *p)
{
	static const struct tripod_addr UNSPECIFIED;
	const uint8_t *l4 = p->data + p->l4;
	const struct tripod_addr *src = &p->tuple.src, *dst = &p->tuple.dst;
	if (l4_length(p) < 24)
		return C_drop_truncated;
	if (p->ttl != 255 || l4[1] != 0)
		return C_drop_l4_header;
	bool probe = l4[0] == 135 && tripod_addr_equal(src, &UNSPECIFIED) && dst->b[0] == 0xff;
	if ((martian_v6(src->b) && !probe) || load64(dst->b) == 0)
		return C_drop_ip_address;
	if (martian_v6(l4 + 8)) // the target
		return C_drop_ip_address;
	return PARSE_ND;
}

static int parse_icmp6(struct tripod_packet *p)
{
	int r = parse_icmp_header(p);
	if (r != GO_ON)
		return r;
	uint8_t type = p->data[p->l4];
	if (type == 135 || type == 136)
		return parse_nd(p);
	if (type == 133 || type == 134 || type == 137 || is_mld(type))
		return PARSE_LOCAL; // router discovery, redirect, multicast listeners
	if (not_forwarded(&p->tuple.src, true) || not_forwarded(&p->tuple.dst, true))
		return C_drop_ip_address;
	switch (type) {
	case 128: // echo request
	case 129: // echo reply
		return parse_echo(p);
	case 1: // destination unreachable
	case 2: // packet too big
	case 3: // time exceeded
	case 4: // parameter problem
		return parse_icmp_error(p);
	default:
		return C_drop_icmp_type;
	}
}

// What is neither TCP nor UDP, or has an address that is not forwarded. Cold.
static int parse_other(struct tripod_packet *p, bool forwarded)
{
	if (p->v6 && p->tuple.proto == IPPROTO_ICMPV6)
		return parse_icmp6(p);
	if (!p->v6 && p->tuple.proto == IPPROTO_IGMP)
		return PARSE_LOCAL;
	if (!forwarded)
		return C_drop_ip_address;
	if (!p->v6 && p->tuple.proto == IPPROTO_ICMP)
		return parse_icmp(p);
	return C_drop_protocol;
}

// ---- Fragments ----

struct tripod_tuple parse_fragment_key(const struct tripod_packet *p, const struct tripod_tuple *t)
{
	const uint8_t *l3 = p->data + p->l3;
	struct tripod_tuple key = *t;

	key.kind = TRIPOD_KIND_FRAGMENT;
	key.sport = 0;
	if (p->v6)
		memcpy(&key.sport, l3 + 44, 2);
	memcpy(&key.dport, l3 + (p->v6 ? 46 : 4), 2);
	return key;
}

// All 8 bytes of the transport header are in the first fragment, since all but the last have whole units of 8:
// no later one can say what they are (RFC 1858).
static int parse_first(struct tripod_packet *p)
{
	const uint8_t *l4 = p->data + p->l4;
	unsigned len = l4_length(p);
	p->payload = p->l4 + 8;
	p->payload_len = (uint16_t)(len - 8);
	if (p->tuple.proto != IPPROTO_UDP)
		return l4[0] == (p->v6 ? 128 : 8) || l4[0] == (p->v6 ? 129 : 0) ? parse_echo(p)
										: C_drop_icmp_type;
	if (load16(l4 + 4) <= len) // it would end before the next fragment begins
		return C_drop_l4_header;
	memcpy(&p->tuple.sport, l4, 2);
	memcpy(&p->tuple.dport, l4 + 2, 2);
	if (is_land(&p->tuple))
		return C_drop_ip_address;
	set_hash_own(p);
	return PARSE_FLOW;
}

// Not cut, but with a fragment header (RFC 6946). Neighbour discovery has none (RFC 6980).
static int parse_atomic(struct tripod_packet *p)
{
	switch (p->tuple.proto) {
	case IPPROTO_TCP:
		return parse_tcp(p);
	case IPPROTO_UDP:
		return parse_udp(p);
	case IPPROTO_ICMPV6: {
		int r = parse_icmp6(p);
		return r == PARSE_FLOW || r == PARSE_ICMP_ERROR || r >= 0 ? r : C_drop_fragment;
	}
	default:
		return C_drop_protocol;
	}
}

static int parse_fragment(struct tripod_packet *p)
{
	const uint8_t *l3 = p->data + p->l3;
	unsigned offset = (load16(l3 + 6) & 0x1fffu) * 8;
	bool more = l3[6] & 0x20;

	if (p->v6) {
		p->l4 += 8;
		p->tuple.proto = l3[40];
		offset = load16(l3 + 42) & 0xfff8;
		more = l3[43] & 1;
	}
	if (not_forwarded(&p->tuple.src, p->v6) || not_forwarded(&p->tuple.dst, p->v6))
		return C_drop_ip_address;
	if (offset == 0 && !more)
		return parse_atomic(p);
	unsigned len = l4_length(p);
	if (len == 0 || (more && len % 8 != 0) || (p->v6 ? 0u : 20u) + offset + len > UINT16_MAX)
		return C_drop_fragment;
	if (p->tuple.proto == IPPROTO_TCP)
		return C_drop_fragment_tcp;
	if (p->tuple.proto != IPPROTO_UDP &&
		p->tuple.proto != (p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return C_drop_protocol;
	p->fragment = offset == 0 ? TRIPOD_FRAGMENT_FIRST : TRIPOD_FRAGMENT_LATER;
	if (offset == 0)
		return parse_first(p);
	p->tuple = parse_fragment_key(p, &p->tuple);
	set_hash_own(p);
	return PARSE_FRAGMENT;
}

int parse_frame(struct tripod_packet *p, const struct parse_limits *limits,
	enum tripod_direction direction, uint16_t zone)
{
	int r = parse_l3(p, direction, zone);
	if (unlikely(r != GO_ON && r != FRAGMENT))
		return r;
	if (unlikely(p->ip_len > limits->mtu))
		return C_drop_oversize;
	if (unlikely(r == FRAGMENT))
		return parse_fragment(p);
	bool forwarded =
		!not_forwarded(&p->tuple.src, p->v6) && !not_forwarded(&p->tuple.dst, p->v6);
	if (likely(forwarded)) {
		if (likely(p->tuple.proto == IPPROTO_TCP))
			return parse_tcp(p);
		if (likely(p->tuple.proto == IPPROTO_UDP))
			return parse_udp(p);
	}
	return parse_other(p, forwarded);
}

// ---- The fabric ----

static int parse_fabric_udp(struct tripod_packet *p, uint16_t control_port)
{
	const uint8_t *src = p->tuple.src.b;
	if (p->v6 ? martian_v6(src) : martian_v4(src + 12))
		return C_drop_ip_address;
	int r = parse_udp(p);
	if (r != PARSE_FLOW)
		return r;
	const uint8_t *l4 = p->data + p->l4;
	bool none = !p->v6 && load16(l4 + 6) == 0; // IPv6 does not do without (RFC 8200, 8.1)
	if (!none && !(p->flags & TRIPOD_PKT_L4_CSUM_GOOD) &&
		(load16(l4 + 6) == 0 || l4_sum(p) != 0xffff))
		return C_drop_l4_checksum;
	uint16_t dport = ntohs(p->tuple.dport);
	if (dport == BFD_PORT)
		return PARSE_BFD;
	return dport == control_port ? PARSE_CONTROL : C_drop_protocol;
}

int parse_fabric(struct tripod_packet *p, uint16_t control_port)
{
	int r = parse_l3(p, TRIPOD_INCOMING, 0);
	if (r == PARSE_LOCAL)
		return C_drop_protocol;
	if (r == FRAGMENT)
		return C_drop_fragment;
	if (r != GO_ON)
		return r;
	if (p->tuple.proto == IPPROTO_UDP)
		return parse_fabric_udp(p, control_port);
	if (!p->v6 || p->tuple.proto != IPPROTO_ICMPV6)
		return C_drop_protocol;
	r = parse_icmp_header(p);
	if (r != GO_ON)
		return r;
	uint8_t type = p->data[p->l4];
	return type == 135 || type == 136 ? parse_nd(p) : C_drop_icmp_type;
}
