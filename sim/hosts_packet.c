// SPDX-License-Identifier: BSD-3-Clause
#include "sim/hosts_packet.h"

#include <endian.h>
#include <netinet/in.h>
#include <string.h>

#define ETHERNET 14
#define L3 ETHERNET
#define TYPE_IPV4 0x0800
#define TYPE_ARP 0x0806
#define TYPE_IPV6 0x86dd
#define HOP_LIMIT 64
#define ARP_SIZE 28
#define FRAME_MIN 60 // what Ethernet asks for, without the frame check sequence

// ---- Checksums (RFC 1071), eight bytes at a time in the machine's order ----

static uint64_t add(uint64_t sum, uint64_t v)
{
	sum += v;
	return sum + (sum < v);
}

static uint64_t sum_bytes(uint64_t sum, const uint8_t *at, size_t len)
{
	uint64_t v;
	for (; len >= 8; at += 8, len -= 8) {
		memcpy(&v, at, 8);
		sum = add(sum, v);
	}
	v = 0;
	memcpy(&v, at, len); // the tail, padded with zeros
	return add(sum, v);
}

// To 16 bits, in the order of the bytes in memory.
static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void put_checksum(uint8_t *at, uint64_t sum)
{
	uint16_t v = (uint16_t)~fold(sum);
	memcpy(at, &v, 2);
}

static uint64_t pseudo(const uint8_t *l3, bool v6, size_t len, uint8_t proto)
{
	uint8_t tail[4] = {(uint8_t)(len >> 8), (uint8_t)len, 0, proto};
	uint64_t sum = v6 ? sum_bytes(0, l3 + 8, 32) : sum_bytes(0, l3 + 12, 8);
	return sum_bytes(sum, tail, 4);
}

static uint64_t l4_sum(const uint8_t *l3, const uint8_t *l4, bool v6, size_t len, uint8_t proto)
{
	uint64_t sum = !v6 && proto == IPPROTO_ICMP ? 0 : pseudo(l3, v6, len, proto);
	return sum_bytes(sum, l4, len);
}

// ---- Reading ----

static void bad(struct hosts_packet *p, const char *why)
{
	p->kind = HOSTS_PACKET_BAD;
	p->why = why;
}

static void read_options(struct hosts_packet *p, const uint8_t *at, size_t len)
{
	while (len > 0 && at[0] != 0) {
		size_t n = at[0] == 1 ? 1 : len > 1 ? at[1] : 0;
		if (n == 0 || n > len || (n < 2 && at[0] != 1)) {
			bad(p, "TCP options malformed");
			return;
		}
		if (at[0] == 2 && n == 4)
			p->mss = hosts_get16(at + 2);
		if (at[0] == 3 && n == 3)
			p->wscale = (int8_t)(at[2] < 14 ? at[2] : 14);
		at += n;
		len -= n;
	}
}

static void read_tcp(struct hosts_packet *p, const uint8_t *l4, size_t len)
{
	size_t header = len < 20 ? 0 : (size_t)(l4[12] >> 4) * 4;
	if (header < 20 || header > len) {
		bad(p, "TCP header malformed");
		return;
	}
	p->kind = HOSTS_PACKET_TCP;
	p->tuple.sport = htons(hosts_get16(l4));
	p->tuple.dport = htons(hosts_get16(l4 + 2));
	p->seq = hosts_get32(l4 + 4);
	p->ack = hosts_get32(l4 + 8);
	p->flags = l4[13] & 0x3f;
	p->window = hosts_get16(l4 + 14);
	p->payload = l4 + header;
	p->payload_len = (uint16_t)(len - header);
	read_options(p, l4 + 20, header - 20);
}

static void read_udp(struct hosts_packet *p, const uint8_t *l4, size_t len)
{
	if (len < 8 || hosts_get16(l4 + 4) != len) {
		bad(p, "UDP length wrong");
		return;
	}
	p->kind = HOSTS_PACKET_UDP;
	p->tuple.sport = htons(hosts_get16(l4));
	p->tuple.dport = htons(hosts_get16(l4 + 2));
	p->payload = l4 + 8;
	p->payload_len = (uint16_t)(len - 8);
}

static void read_icmp(struct hosts_packet *p, const uint8_t *l4, size_t len, bool v6)
{
	if (len < 8) {
		bad(p, "ICMP header short");
		return;
	}
	uint8_t type = l4[0];
	p->payload = l4 + 8;
	p->payload_len = (uint16_t)(len - 8);
	if (type == (v6 ? 128 : 8) || type == (v6 ? 129 : 0)) {
		p->kind = type == 8 || type == 128 ? HOSTS_PACKET_ECHO_REQUEST
						   : HOSTS_PACKET_ECHO_REPLY;
		p->tuple.sport = p->tuple.dport = htons(hosts_get16(l4 + 4));
		p->seq = hosts_get16(l4 + 6);
	} else if (v6 && type == 135 && len >= 24) {
		p->kind = HOSTS_PACKET_SOLICITATION;
		memcpy(p->target.b, l4 + 8, 16);
	} else if (v6 ? type < 128 : type == 3 || type == 11 || type == 12) {
		p->kind = HOSTS_PACKET_ICMP_ERROR;
	} else {
		p->kind = HOSTS_PACKET_OTHER;
	}
}

static void read_l4(struct hosts_packet *p, const uint8_t *l3, const uint8_t *l4, size_t len)
{
	bool v6 = l3[0] >> 4 == 6;
	uint8_t proto = p->tuple.proto;
	if (proto == IPPROTO_TCP)
		read_tcp(p, l4, len);
	else if (proto == IPPROTO_UDP)
		read_udp(p, l4, len);
	else if (proto == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		read_icmp(p, l4, len, v6);
	else
		return;
	if (p->kind == HOSTS_PACKET_BAD)
		return;
	bool none = proto == IPPROTO_UDP && !v6 && hosts_get16(l4 + 6) == 0;
	if (!none && fold(l4_sum(l3, l4, v6, len, proto)) != 0xffff) {
		bad(p, "transport checksum wrong");
		p->checksum = true;
	}
}

static void read_ipv4(struct hosts_packet *p, const uint8_t *l3, size_t len)
{
	size_t total = len < 20 ? 0 : hosts_get16(l3 + 2);
	if (total < 20 || total > len || l3[0] != 0x45) {
		bad(p, "IPv4 header malformed");
		return;
	}
	p->tuple.src = tripod_addr_v4(htonl(hosts_get32(l3 + 12)));
	p->tuple.dst = tripod_addr_v4(htonl(hosts_get32(l3 + 16)));
	p->tuple.proto = l3[9];
	if (fold(sum_bytes(0, l3, 20)) != 0xffff) {
		bad(p, "IPv4 header checksum wrong");
		p->checksum = true;
	} else if (hosts_get16(l3 + 6) & 0x3fff) {
		bad(p, "a fragment, and none was sent");
	} else if (l3[8] == 0) {
		bad(p, "TTL is 0");
	} else {
		read_l4(p, l3, l3 + 20, total - 20);
	}
}

static void read_ipv6(struct hosts_packet *p, const uint8_t *l3, size_t len)
{
	size_t payload = len < 40 ? 0 : hosts_get16(l3 + 4);
	if (len < 40 || payload > len - 40 || l3[0] >> 4 != 6) {
		bad(p, "IPv6 header malformed");
		return;
	}
	memcpy(p->tuple.src.b, l3 + 8, 16);
	memcpy(p->tuple.dst.b, l3 + 24, 16);
	p->tuple.proto = l3[6];
	if (l3[7] == 0)
		bad(p, "hop limit is 0");
	else
		read_l4(p, l3, l3 + 40, payload);
}

static void read_arp(struct hosts_packet *p, const uint8_t *at, size_t len)
{
	static const uint8_t HEAD[6] = {0, 1, 8, 0, 6, 4};
	p->kind = HOSTS_PACKET_OTHER;
	if (len < ARP_SIZE || memcmp(at, HEAD, sizeof(HEAD)) != 0) {
		bad(p, "ARP malformed");
		return;
	}
	if (hosts_get16(at + 6) != 1)
		return;
	p->kind = HOSTS_PACKET_ARP_REQUEST;
	p->tuple.src = tripod_addr_v4(htonl(hosts_get32(at + 14)));
	p->target = tripod_addr_v4(htonl(hosts_get32(at + 24)));
}

void hosts_packet_read(
	struct hosts_packet *p, enum tripod_direction side, const uint8_t *frame, size_t len)
{
	*p = (struct hosts_packet){.kind = HOSTS_PACKET_OTHER, .wscale = -1};
	if (len < ETHERNET || len > HOSTS_FRAME_SIZE) {
		bad(p, "length of the frame");
		return;
	}
	memcpy(p->src_mac, frame + 6, 6);
	p->tuple.direction = !side; // it came from the other side
	uint16_t type = hosts_get16(frame + 12);
	if (type == TYPE_IPV4)
		read_ipv4(p, frame + L3, len - L3);
	else if (type == TYPE_IPV6)
		read_ipv6(p, frame + L3, len - L3);
	else if (type == TYPE_ARP)
		read_arp(p, frame + L3, len - L3);
}

// ---- Writing ----

static uint8_t *begin_l3(uint8_t *frame, const struct hosts_out *o, bool v6)
{
	memcpy(frame, o->dst_mac, 6);
	memcpy(frame + 6, o->src_mac, 6);
	hosts_set16(frame + 12, v6 ? TYPE_IPV6 : TYPE_IPV4);
	uint8_t *l3 = frame + L3;
	if (v6) {
		memset(l3, 0, 8);
		l3[0] = 0x60;
		l3[6] = o->tuple->proto;
		l3[7] = HOP_LIMIT;
		memcpy(l3 + 8, o->tuple->src.b, 16);
		memcpy(l3 + 24, o->tuple->dst.b, 16);
		return l3 + 40;
	}
	memset(l3, 0, 12);
	l3[0] = 0x45;
	l3[6] = 0x40; // don't fragment
	l3[8] = HOP_LIMIT;
	l3[9] = o->tuple->proto;
	memcpy(l3 + 12, o->tuple->src.b + 12, 4);
	memcpy(l3 + 16, o->tuple->dst.b + 12, 4);
	return l3 + 20;
}

static size_t put_options(uint8_t *at, const struct hosts_out *o)
{
	if (o->mss == 0)
		return 0;
	at[0] = 2;
	at[1] = 4;
	hosts_set16(at + 2, o->mss);
	if (o->wscale < 0)
		return 4;
	at[4] = 1;
	at[5] = 3;
	at[6] = 3;
	at[7] = (uint8_t)o->wscale;
	return 8;
}

static uint8_t *begin_tcp(uint8_t *l4, const struct hosts_out *o)
{
	memcpy(l4, &o->tuple->sport, 2);
	memcpy(l4 + 2, &o->tuple->dport, 2);
	hosts_set32(l4 + 4, o->seq);
	hosts_set32(l4 + 8, o->ack);
	size_t header = 20 + put_options(l4 + 20, o);
	l4[12] = (uint8_t)(header / 4 << 4);
	l4[13] = o->flags;
	hosts_set16(l4 + 14, o->window);
	hosts_set32(l4 + 16, 0);
	return l4 + header;
}

static uint8_t *begin_udp(uint8_t *l4, const struct hosts_out *o)
{
	memcpy(l4, &o->tuple->sport, 2);
	memcpy(l4 + 2, &o->tuple->dport, 2);
	hosts_set16(l4 + 4, (uint16_t)(8 + o->payload_len));
	hosts_set16(l4 + 6, 0);
	return l4 + 8;
}

static uint8_t *begin_echo(uint8_t *l4, const struct hosts_out *o, bool v6)
{
	l4[0] = v6 ? (o->echo_reply ? 129 : 128) : (o->echo_reply ? 0 : 8);
	l4[1] = 0;
	hosts_set16(l4 + 2, 0);
	memcpy(l4 + 4, &o->tuple->sport, 2);
	hosts_set16(l4 + 6, (uint16_t)o->seq);
	return l4 + 8;
}

uint8_t *hosts_packet_begin(uint8_t *frame, const struct hosts_out *o)
{
	bool v6 = !tripod_addr_is_v4(&o->tuple->src);
	uint8_t *l4 = begin_l3(frame, o, v6), *payload;
	if (o->tuple->proto == IPPROTO_TCP)
		payload = begin_tcp(l4, o);
	else if (o->tuple->proto == IPPROTO_UDP)
		payload = begin_udp(l4, o);
	else
		payload = begin_echo(l4, o, v6);
	size_t len = (size_t)(payload - l4) + o->payload_len;
	uint8_t *l3 = frame + L3;
	if (v6)
		hosts_set16(l3 + 4, (uint16_t)len);
	else
		hosts_set16(l3 + 2, (uint16_t)(20 + len));
	return payload;
}

uint16_t hosts_packet_finish(uint8_t *frame)
{
	uint8_t *l3 = frame + L3;
	bool v6 = l3[0] >> 4 == 6;
	size_t header = v6 ? 40 : 20;
	size_t len = v6 ? hosts_get16(l3 + 4) : hosts_get16(l3 + 2) - header;
	uint8_t proto = v6 ? l3[6] : l3[9], *l4 = l3 + header;
	size_t at = proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2;
	if (!v6)
		put_checksum(l3 + 10, sum_bytes(0, l3, 20));
	put_checksum(l4 + at, l4_sum(l3, l4, v6, len, proto));
	if (proto == IPPROTO_UDP && hosts_get16(l4 + at) == 0)
		hosts_set16(l4 + at, 0xffff);
	return (uint16_t)(L3 + header + len);
}

static uint16_t answer_arp(uint8_t *frame, const struct hosts_packet *asked, const uint8_t *mac)
{
	static const uint8_t HEAD[8] = {0, 1, 8, 0, 6, 4, 0, 2};
	memset(frame, 0, FRAME_MIN);
	memcpy(frame, asked->src_mac, 6);
	memcpy(frame + 6, mac, 6);
	hosts_set16(frame + 12, TYPE_ARP);
	uint8_t *at = frame + L3;
	memcpy(at, HEAD, sizeof(HEAD));
	memcpy(at + 8, mac, 6);
	memcpy(at + 14, asked->target.b + 12, 4);
	memcpy(at + 18, asked->src_mac, 6);
	memcpy(at + 24, asked->tuple.src.b + 12, 4);
	return FRAME_MIN;
}

static uint16_t answer_solicitation(
	uint8_t *frame, const struct hosts_packet *asked, const uint8_t *mac)
{
	struct tripod_tuple t = {
		.src = asked->target, .dst = asked->tuple.src, .proto = IPPROTO_ICMPV6};
	uint8_t *l4 = begin_l3(frame,
		&(struct hosts_out){.tuple = &t, .src_mac = mac, .dst_mac = asked->src_mac}, true);
	frame[L3 + 7] = 255; // RFC 4861, 7.1.2
	memset(l4, 0, 32);
	l4[0] = 136;
	l4[4] = 0x60; // solicited, override
	memcpy(l4 + 8, asked->target.b, 16);
	l4[24] = 2; // target link-layer address
	l4[25] = 1;
	memcpy(l4 + 26, mac, 6);
	hosts_set16(frame + L3 + 4, 32);
	return hosts_packet_finish(frame);
}

uint16_t hosts_packet_answer(uint8_t *frame, const struct hosts_packet *asked, const uint8_t *mac)
{
	return asked->kind == HOSTS_PACKET_ARP_REQUEST ? answer_arp(frame, asked, mac)
						       : answer_solicitation(frame, asked, mac);
}

// ---- Bytes ----

// Word n of a stream.
static inline uint64_t word(uint64_t id, unsigned direction, uint64_t n)
{
	if (n == 0)
		return direction ? ~id : id;
	uint64_t z = (id * 2 + direction) * 0x9e3779b97f4a7c15ull + n * 0xd1342543de82ef95ull;
	z = (z ^ (z >> 32)) * 0xbf58476d1ce4e5b9ull;
	return z ^ (z >> 29);
}

void hosts_bytes_fill(uint8_t *at, size_t len, uint64_t id, unsigned direction, uint64_t offset)
{
	uint64_t n = offset / 8, v;
	size_t skip = offset % 8;
	for (size_t take; len > 0; at += take, len -= take, skip = 0) {
		v = htobe64(word(id, direction, n++));
		take = len < 8 - skip ? len : 8 - skip;
		if (take == 8)
			memcpy(at, &v, 8);
		else
			memcpy(at, (const uint8_t *)&v + skip, take);
	}
}

bool hosts_bytes_right(
	const uint8_t *at, size_t len, uint64_t id, unsigned direction, uint64_t offset)
{
	uint64_t n = offset / 8, v, wrong = 0;
	size_t skip = offset % 8;
	for (size_t take; len > 0; at += take, len -= take, skip = 0) {
		v = htobe64(word(id, direction, n++));
		take = len < 8 - skip ? len : 8 - skip;
		if (take == 8) {
			uint64_t have;
			memcpy(&have, at, 8);
			wrong |= v ^ have;
		} else {
			wrong |= (uint64_t)(memcmp(at, (const uint8_t *)&v + skip, take) != 0);
		}
	}
	return wrong == 0;
}
