// SPDX-License-Identifier: BSD-3-Clause
#include "core/icmp.h"

#include <errno.h>
#include <netinet/in.h>

#include "core/checksum_inline.h"
#include "core/parse.h"

#define HEADER_SIZE 8 // of any ICMP message that is made here
#define HOP_LIMIT 64
#define IPV4_ERROR_MAX 576 // bytes of the IP packet (RFC 1812, 4.3.2.3)
#define IPV6_ERROR_MAX 1280 // (RFC 4443, 2.4 c)

static void store16(uint8_t *at, uint16_t v)
{
	at[0] = v >> 8;
	at[1] = v & 0xff;
}

static bool is_echo(bool v6, uint8_t type)
{
	return v6 ? type == 128 || type == 129 : type == 8 || type == 0;
}

// ---- Making errors ----

// One host, that an answer can reach.
static bool is_single_host(const uint8_t *addr, bool v6)
{
	static const uint8_t ZERO[16];
	if (v6)
		return addr[0] != 0xff && memcmp(addr, ZERO, 16) != 0 &&
		       (memcmp(addr, ZERO, 15) != 0 || addr[15] != 1);
	return addr[0] != 0 && addr[0] != 127 && addr[0] < 224;
}

static bool may_answer(const struct tripod_packet *p)
{
	const uint8_t *l3 = p->data + p->l3;
	uint8_t proto = tripod_packet_proto(p);
	const uint8_t *src = p->v6 ? l3 + 8 : l3 + 12;
	const uint8_t *dst = p->v6 ? l3 + 24 : l3 + 16;
	if (p->data[0] & 1) // sent to many on the link
		return false;
	if (p->fragment == TRIPOD_FRAGMENT_LATER) // one error a datagram (RFC 1812, 4.3.2.7)
		return false;
	if (!is_single_host(src, p->v6) || !is_single_host(dst, p->v6))
		return false;
	// Never about an error; of ICMP only echo is surely none.
	if (proto == (p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return is_echo(p->v6, p->data[p->l4]);
	return true;
}

static void write_type(uint8_t *icmp, enum icmp_error what, uint16_t mtu, bool v6)
{
	static const uint8_t TYPE[][2][2] = {
		[ICMP_TIME_EXCEEDED] = {{11, 0}, {3, 0}},
		[ICMP_TOO_BIG] = {{3, 4}, {2, 0}},
		[ICMP_ADMIN_PROHIBITED] = {{3, 13}, {1, 1}},
		[ICMP_NO_ROUTE] = {{3, 0}, {1, 0}},
	};
	memset(icmp, 0, HEADER_SIZE);
	memcpy(icmp, TYPE[what][v6], 2);
	if (what == ICMP_TOO_BIG)
		store16(icmp + 6,
			mtu); // the low half of 32 bits (IPv6), or of the unused word (IPv4)
}

static void write_ipv4(
	uint8_t *l3, const uint8_t *dst, uint16_t len, const struct tripod_addr *from)
{
	memset(l3, 0, 20);
	l3[0] = 0x45;
	l3[1] = 0xc0; // internetwork control (RFC 1812, 4.3.2.5)
	store16(l3 + 2, len);
	l3[6] = 0x40; // never fragmented, so it needs no identification (RFC 6864)
	l3[8] = HOP_LIMIT;
	l3[9] = IPPROTO_ICMP;
	memcpy(l3 + 12, from->b + 12, 4);
	memcpy(l3 + 16, dst, 4);
	uint16_t checksum = (uint16_t)~checksum_partial(l3, 20, 0);
	memcpy(l3 + 10, &checksum, sizeof(checksum));
}

static void write_ipv6(
	uint8_t *l3, const uint8_t *dst, uint16_t len, const struct tripod_addr *from)
{
	memset(l3, 0, 8);
	l3[0] = 0x60;
	store16(l3 + 4, len - 40);
	l3[6] = IPPROTO_ICMPV6;
	l3[7] = HOP_LIMIT;
	memcpy(l3 + 8, from->b, 16);
	memcpy(l3 + 24, dst, 16);
}

int icmp_error_make(struct frame *f, const struct tripod_packet *p, enum icmp_error what,
	uint16_t mtu, const struct tripod_addr *from)
{
	if (tripod_addr_is_v4(from) != !p->v6 || !may_answer(p))
		return -EINVAL;
	unsigned l4 = p->v6 ? 40 : 20;
	unsigned quoted = (p->v6 ? IPV6_ERROR_MAX : IPV4_ERROR_MAX) - l4 - HEADER_SIZE;
	if (quoted > p->ip_len)
		quoted = p->ip_len;
	unsigned len = l4 + HEADER_SIZE + quoted;
	if (f->room < p->l3 + len)
		return -EINVAL;

	const uint8_t *old = p->data + p->l3;
	uint8_t *l3 = f->data + p->l3;
	memcpy(f->data, p->data + 6, 6);
	memcpy(f->data + 6, p->data, 6);
	memcpy(f->data + 12, p->data + 12, 2);
	if (p->v6)
		write_ipv6(l3, old + 8, (uint16_t)len, from);
	else
		write_ipv4(l3, old + 12, (uint16_t)len, from);
	write_type(l3 + l4, what, mtu, p->v6);
	memcpy(l3 + l4 + HEADER_SIZE, old, quoted);

	f->len = (uint16_t)(p->l3 + len);
	f->vlan = p->vlan;
	f->class = FRAME_DATA;
	f->flags = 0;
	f->hash = 0;
	struct tripod_packet made = {.data = f->data, .len = f->len, .l3 = p->l3, .v6 = p->v6};
	made.l4 = (uint16_t)(p->l3 + l4);
	made.ip_len = (uint16_t)len;
	uint16_t checksum = checksum_l4(&made);
	memcpy(l3 + l4 + 2, &checksum, sizeof(checksum));
	return 0;
}

// ---- Echo ----

static void swap_bytes(uint8_t *a, uint8_t *b, size_t n)
{
	uint8_t keep[16];
	memcpy(keep, a, n);
	memcpy(a, b, n);
	memcpy(b, keep, n);
}

bool icmp_echo_reply(struct tripod_packet *p)
{
	uint8_t *l3 = p->data + p->l3;
	uint8_t *l4 = p->data + p->l4;
	uint8_t proto = tripod_packet_proto(p);
	if (proto != (p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) || l4[0] != (p->v6 ? 128 : 8))
		return false;
	uint16_t old, new;
	memcpy(&old, l4, sizeof(old));
	l4[0] = p->v6 ? 129 : 0;
	memcpy(&new, l4, sizeof(new));
	checksum_apply(l4 + 2, checksum_change16(old, new));

	// Swapped addresses leave every sum as it was; the hop limit starts anew.
	swap_bytes(p->data, p->data + 6, 6);
	if (p->v6) {
		swap_bytes(l3 + 8, l3 + 24, 16);
		l3[7] = HOP_LIMIT;
	} else {
		swap_bytes(l3 + 12, l3 + 16, 4);
		memcpy(&old, l3 + 8, sizeof(old));
		l3[8] = HOP_LIMIT;
		memcpy(&new, l3 + 8, sizeof(new));
		checksum_apply(l3 + 10, checksum_change16(old, new));
	}
	p->ttl = HOP_LIMIT;
	p->tuple = tripod_tuple_reverse(&p->tuple);
	return true;
}

// ---- Translating errors ----

// Puts the addresses of an IP header in place and returns what that adds to a sum over them.
static uint64_t write_addresses(
	uint8_t *l3, bool v6, const struct tripod_addr *src, const struct tripod_addr *dst)
{
	size_t n = v6 ? 16 : 4;
	uint8_t *at = v6 ? l3 + 8 : l3 + 12;
	uint64_t change = checksum_change(at, src->b + 16 - n, n);
	change += checksum_change(at + n, dst->b + 16 - n, n);
	memcpy(at, src->b + 16 - n, n);
	memcpy(at + n, dst->b + 16 - n, n);
	if (!v6)
		checksum_apply(l3 + 10, change);
	return change;
}

static uint64_t write_port(uint8_t *at, uint16_t port)
{
	uint16_t old;
	memcpy(&old, at, sizeof(old));
	memcpy(at, &port, sizeof(port));
	return checksum_change16(old, port);
}

// Ports and checksum of the quoted transport header, of which len bytes are there (8 or more). The
// checksum is carried over incrementally, so that it is right for the whole packet though only its
// beginning is quoted.
static void write_quoted_l4(uint8_t *l4, unsigned len, uint8_t proto, uint64_t change,
	const struct tripod_tuple *quoted)
{
	switch (proto) {
	case IPPROTO_TCP:
		change += write_port(l4, quoted->sport);
		change += write_port(l4 + 2, quoted->dport);
		if (len >= 18)
			checksum_apply(l4 + 16, change);
		break;
	case IPPROTO_UDP:
		change += write_port(l4, quoted->sport);
		change += write_port(l4 + 2, quoted->dport);
		checksum_apply_udp(l4 + 6, change);
		break;
	case IPPROTO_ICMP:
		checksum_apply(l4 + 2, write_port(l4 + 4, quoted->sport)); // no pseudo header
		break;
	case IPPROTO_ICMPV6:
		checksum_apply(l4 + 2, change + write_port(l4 + 4, quoted->sport));
		break;
	default: // the parser lets no other through
		break;
	}
}

void icmp_error_translate(struct tripod_packet *p, const struct tripod_tuple *quoted,
	const struct tripod_addr *outer_src, const struct tripod_addr *outer_dst)
{
	bool v4 = !p->v6;
	if (tripod_addr_is_v4(&quoted->src) != v4 || tripod_addr_is_v4(&quoted->dst) != v4 ||
		tripod_addr_is_v4(outer_src) != v4 || tripod_addr_is_v4(outer_dst) != v4)
		return;
	uint8_t *inner = p->data + p->payload;
	unsigned header = v4 ? (inner[0] & 15u) * 4 : 40;
	uint8_t proto = v4 ? inner[9] : inner[6];
	if (p->v6 && proto == IPPROTO_FRAGMENT) {
		proto = inner[40];
		header += 8;
	}
	unsigned len = (unsigned)(v4 ? inner[2] << 8 | inner[3] : (inner[4] << 8 | inner[5]) + 40);
	if (len > p->payload_len)
		len = p->payload_len; // quoted in part
	uint64_t change = write_addresses(inner, p->v6, &quoted->src, &quoted->dst);
	write_quoted_l4(inner + header, len - header, proto, change, quoted);

	write_addresses(p->data + p->l3, p->v6, outer_src, outer_dst);
	uint16_t checksum = checksum_l4(p);
	memcpy(p->data + p->l4 + 2, &checksum, sizeof(checksum));

	enum tripod_direction direction = tripod_packet_direction(p);
	struct tripod_tuple keep = *quoted;
	p->tuple.src = keep.dst;
	p->tuple.dst = keep.src;
	p->tuple.sport = keep.dport;
	p->tuple.dport = keep.sport;
	p->tuple.direction = direction & 1;
}
