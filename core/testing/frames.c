// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/frames.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

const uint8_t FRAMES_SRC_MAC[6] = {0x02, 0x00, 0x00, 0x00, 0xaa, 0x01};
const uint8_t FRAMES_DST_MAC[6] = {0x02, 0x00, 0x5e, 0x00, 0x01, 0x01};

// A frame while it is being written.
struct writer {
	uint8_t *buf;
	size_t len, room;
	size_t l3, l4;
	struct tripod_addr src, dst;
	uint8_t proto;
	bool v6;
};

static void check(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "frames: %s\n", what);
		abort();
	}
}

static uint8_t *put(struct writer *w, size_t n)
{
	check(n <= w->room - w->len, "the buffer is too small");
	uint8_t *at = w->buf + w->len;
	memset(at, 0, n);
	w->len += n;
	return at;
}

static void put8(struct writer *w, uint8_t v)
{
	*put(w, 1) = v;
}

static void put16(struct writer *w, uint16_t v)
{
	put8(w, v >> 8);
	put8(w, v & 0xff);
}

static void put32(struct writer *w, uint32_t v)
{
	put16(w, v >> 16);
	put16(w, v & 0xffff);
}

static void put_bytes(struct writer *w, const void *bytes, size_t n)
{
	if (n > 0)
		memcpy(put(w, n), bytes, n);
}

static void put_payload(struct writer *w, const void *payload, size_t n)
{
	if (payload) {
		put_bytes(w, payload, n);
		return;
	}
	uint8_t *at = put(w, n);
	for (size_t i = 0; i < n; i++)
		at[i] = (uint8_t)(i * 7 + 1);
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void set16(uint8_t *at, uint16_t v)
{
	at[0] = v >> 8;
	at[1] = v & 0xff;
}

// RFC 1071, byte by byte, without any cleverness.
static uint32_t sum_add(uint32_t sum, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

// The sum over pseudo header (none for ICMP over IPv4) and `len` bytes at l4.
static uint16_t l4_sum(const uint8_t *l3, const uint8_t *l4, size_t len, uint8_t proto, bool v6)
{
	uint32_t sum = 0;
	if (v6 || proto != IPPROTO_ICMP) {
		sum = v6 ? sum_add(0, l3 + 8, 32) : sum_add(0, l3 + 12, 8);
		uint8_t tail[4] = {(uint8_t)(len >> 8), (uint8_t)len, 0, proto};
		sum = sum_add(sum, tail, sizeof(tail));
	}
	return (uint16_t)sum_add(sum, l4, len);
}

static void begin_ethernet(
	struct writer *w, const uint8_t *dst, const uint8_t *src, uint16_t vlan_tag, uint16_t type)
{
	put_bytes(w, dst ? dst : FRAMES_DST_MAC, 6);
	put_bytes(w, src ? src : FRAMES_SRC_MAC, 6);
	if (vlan_tag != 0) {
		put16(w, 0x8100);
		put16(w, vlan_tag);
	}
	put16(w, type);
}

static void begin_ip(struct writer *w, uint8_t tos, uint8_t ttl)
{
	w->l3 = w->len;
	if (w->v6) {
		put32(w, 6u << 28 | (uint32_t)tos << 20);
		put16(w, 0);
		put8(w, w->proto);
		put8(w, ttl ? ttl : 64);
		put_bytes(w, w->src.b, 16);
		put_bytes(w, w->dst.b, 16);
	} else {
		put8(w, 0x45);
		put8(w, tos);
		put16(w, 0);
		put16(w, 0x1234); // identification
		put16(w, 0x4000); // don't fragment
		put8(w, ttl ? ttl : 64);
		put8(w, w->proto);
		put16(w, 0);
		put_bytes(w, w->src.b + 12, 4);
		put_bytes(w, w->dst.b + 12, 4);
	}
	w->l4 = w->len;
}

// Lengths and checksums. csum: offset of the transport checksum from l4, -1: none.
static size_t finish(struct writer *w, int csum, bool pad)
{
	uint8_t *l3 = w->buf + w->l3;
	if (w->v6) {
		set16(l3 + 4, (uint16_t)(w->len - w->l4));
	} else {
		set16(l3 + 2, (uint16_t)(w->len - w->l3));
		set16(l3 + 10, (uint16_t)~sum_add(0, l3, 20));
	}
	if (csum >= 0) {
		uint8_t *l4 = w->buf + w->l4;
		uint16_t value = (uint16_t)~l4_sum(l3, l4, w->len - w->l4, w->proto, w->v6);
		if (w->proto == IPPROTO_UDP && value == 0)
			value = 0xffff;
		set16(l4 + csum, value);
	}
	if (pad && w->len < 60)
		put(w, 60 - w->len);
	return w->len;
}

static struct writer writer_init(uint8_t *buf, size_t room, const struct frame_spec *s)
{
	struct writer w = {.buf = buf, .room = room, .proto = s->proto};
	if (s->tuple) {
		w.src = s->tuple->src;
		w.dst = s->tuple->dst;
		w.proto = s->tuple->proto;
	} else {
		check(s->src && s->dst, "src and dst must be given");
		check(tripod_addr_parse(&w.src, s->src) == 0, "bad src");
		check(tripod_addr_parse(&w.dst, s->dst) == 0, "bad dst");
	}
	w.v6 = !tripod_addr_is_v4(&w.src);
	check(w.v6 == !tripod_addr_is_v4(&w.dst), "src and dst are of two families");
	if (w.proto == 0)
		w.proto = IPPROTO_TCP;
	if (w.v6 && w.proto == IPPROTO_ICMP)
		w.proto = IPPROTO_ICMPV6;
	begin_ethernet(&w, s->dst_mac, s->src_mac, s->vlan_tag, w.v6 ? 0x86dd : 0x0800);
	return w;
}

static int put_tcp(struct writer *w, const struct frame_spec *s, uint16_t sport, uint16_t dport)
{
	check(s->tcp_options_len % 4 == 0 && s->tcp_options_len <= 40, "bad tcp_options_len");
	put16(w, sport);
	put16(w, dport);
	put32(w, s->seq);
	put32(w, s->ack);
	put8(w, (uint8_t)((5 + s->tcp_options_len / 4) << 4));
	put8(w, s->tcp_flags);
	put16(w, s->window || s->zero_window ? s->window : 64240);
	put32(w, 0); // checksum, urgent pointer
	put_bytes(w, s->tcp_options, s->tcp_options_len);
	put_payload(w, s->payload, s->payload_len);
	return 16;
}

static int put_udp(struct writer *w, const struct frame_spec *s, uint16_t sport, uint16_t dport)
{
	put16(w, sport);
	put16(w, dport);
	put16(w, (uint16_t)(8 + s->payload_len));
	put16(w, 0);
	put_payload(w, s->payload, s->payload_len);
	return s->no_udp_checksum ? -1 : 6;
}

static int put_echo(struct writer *w, const struct frame_spec *s, uint16_t identifier)
{
	put8(w, w->v6 ? (s->echo_reply ? 129 : 128) : (s->echo_reply ? 0 : 8));
	put8(w, 0);
	put16(w, 0);
	put16(w, identifier);
	put16(w, (uint16_t)s->seq);
	put_payload(w, s->payload, s->payload_len);
	return 2;
}

size_t frames_build(uint8_t *buf, size_t room, const struct frame_spec *s)
{
	struct writer w = writer_init(buf, room, s);
	begin_ip(&w, s->tos, s->ttl);
	uint16_t sport = s->tuple ? ntohs(s->tuple->sport) : s->sport;
	uint16_t dport = s->tuple ? ntohs(s->tuple->dport) : s->dport;
	int csum = -1;
	if (w.proto == IPPROTO_TCP)
		csum = put_tcp(&w, s, sport, dport);
	else if (w.proto == IPPROTO_UDP)
		csum = put_udp(&w, s, sport, dport);
	else if (w.proto == (w.v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		csum = put_echo(&w, s, sport);
	else
		put_payload(&w, s->payload, s->payload_len);
	return finish(&w, csum, s->pad);
}

size_t frames_icmp_error(uint8_t *buf, size_t room, const struct frame_spec *s, uint8_t type,
	uint8_t code, uint32_t rest, const uint8_t *quoted, size_t quoted_len)
{
	struct frame_spec outer = *s;
	outer.proto = IPPROTO_ICMP;
	outer.tuple = NULL;
	struct writer w = writer_init(buf, room, &outer);
	begin_ip(&w, outer.tos, outer.ttl);
	put8(&w, type);
	put8(&w, code);
	put16(&w, 0);
	put32(&w, rest);
	put_bytes(&w, quoted, quoted_len);
	return finish(&w, 2, outer.pad);
}

size_t frames_arp(uint8_t *buf, size_t room, uint16_t op, const uint8_t sender_mac[6],
	const char *sender, const uint8_t target_mac[6], const char *target)
{
	static const uint8_t BROADCAST[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct writer w = {.buf = buf, .room = room};
	check(tripod_addr_parse(&w.src, sender) == 0 && tripod_addr_is_v4(&w.src), "bad sender");
	check(tripod_addr_parse(&w.dst, target) == 0 && tripod_addr_is_v4(&w.dst), "bad target");
	check(op == 1 || target_mac, "a reply needs target_mac");
	begin_ethernet(&w, op == 1 ? BROADCAST : target_mac, sender_mac, 0, 0x0806);
	put16(&w, 1); // Ethernet
	put16(&w, 0x0800);
	put8(&w, 6);
	put8(&w, 4);
	put16(&w, op);
	put_bytes(&w, sender_mac, 6);
	put_bytes(&w, w.src.b + 12, 4);
	uint8_t *mac = put(&w, 6);
	if (target_mac)
		memcpy(mac, target_mac, 6);
	put_bytes(&w, w.dst.b + 12, 4);
	put(&w, 60 - w.len);
	return w.len;
}

size_t frames_nd(uint8_t *buf, size_t room, uint8_t type, const uint8_t mac[6], const char *src,
	const char *dst, const char *target)
{
	struct writer w = {.buf = buf, .room = room, .proto = IPPROTO_ICMPV6, .v6 = true};
	struct tripod_addr t;
	check(type == 135 || type == 136, "type must be 135 or 136");
	check(tripod_addr_parse(&w.src, src) == 0 && !tripod_addr_is_v4(&w.src), "bad src");
	check(tripod_addr_parse(&w.dst, dst) == 0 && !tripod_addr_is_v4(&w.dst), "bad dst");
	check(tripod_addr_parse(&t, target) == 0 && !tripod_addr_is_v4(&t), "bad target");

	uint8_t dst_mac[6] = {0x33, 0x33, w.dst.b[12], w.dst.b[13], w.dst.b[14], w.dst.b[15]};
	begin_ethernet(&w, w.dst.b[0] == 0xff ? dst_mac : NULL, mac, 0, 0x86dd);
	begin_ip(&w, 0, 255);
	put8(&w, type);
	put8(&w, 0);
	put16(&w, 0);
	// An answer to a unicast address is a solicited one, and overrides.
	put32(&w, type == 136 ? (w.dst.b[0] == 0xff ? 0x20000000 : 0x60000000) : 0);
	put_bytes(&w, t.b, 16);
	static const struct tripod_addr UNSPECIFIED;
	if (!tripod_addr_equal(&w.src, &UNSPECIFIED)) {
		put8(&w, type == 135 ? 1 : 2); // source, target link-layer address
		put8(&w, 1);
		put_bytes(&w, mac, 6);
	}
	return finish(&w, 2, false);
}

// ---- Fragments ----

size_t frames_fragment(uint8_t *buf, size_t room, const uint8_t *whole, size_t len, uint32_t id,
	size_t offset, size_t size)
{
	struct writer w = {.buf = buf, .room = room, .v6 = get16(whole + 12) == 0x86dd};
	const uint8_t *l3 = whole + FRAMES_L3;
	size_t header = w.v6 ? 40 : 20;
	bool more = FRAMES_L3 + header + offset + size < len;

	check(offset % 8 == 0 && FRAMES_L3 + header + offset + size <= len, "no such fragment");
	put_bytes(&w, whole, FRAMES_L3 + header);
	w.l3 = FRAMES_L3;
	w.l4 = w.len;
	if (w.v6) {
		put8(&w, l3[6]);
		put8(&w, 0);
		put16(&w, (uint16_t)(offset | more));
		put32(&w, id);
		buf[FRAMES_L3 + 6] = IPPROTO_FRAGMENT;
	} else {
		set16(buf + FRAMES_L3 + 4, (uint16_t)id);
		set16(buf + FRAMES_L3 + 6, (uint16_t)(offset / 8 | (more ? 0x2000 : 0)));
		set16(buf + FRAMES_L3 + 10, 0);
	}
	put_bytes(&w, l3 + header + offset, size);
	return finish(&w, -1, false);
}

bool frames_join(struct frames_join *j, const uint8_t *fragment, size_t len)
{
	const uint8_t *l3 = fragment + FRAMES_L3;
	bool v6 = get16(fragment + 12) == 0x86dd;
	size_t header = v6 ? 40 : 20, at = FRAMES_L3 + header + (v6 ? 8 : 0);
	size_t field = v6 ? get16(l3 + 42) : get16(l3 + 6);
	size_t first = v6 ? field / 8 : field & 0x1fff, units = (len - at + 7) / 8;
	bool more = v6 ? field & 1 : field & 0x2000;

	check(len > at && (!v6 || l3[6] == IPPROTO_FRAGMENT), "not a fragment");
	check(v6 || sum_add(0, l3, 20) == 0xffff, "a fragment's header has a wrong checksum");
	if (j->whole)
		memset(j, 0, sizeof(*j));
	for (size_t k = first; k < first + units; k++) {
		j->units += !j->have[k];
		j->have[k] = 1;
	}
	memcpy(j->bytes + FRAMES_L3 + header + first * 8, fragment + at, len - at);
	if (first == 0)
		memcpy(j->bytes, fragment, FRAMES_L3 + header);
	if (!more) {
		check(j->all == 0 || j->all == first + units, "a datagram with two ends");
		j->all = first + units;
		j->len = FRAMES_L3 + header + first * 8 + len - at;
	}
	if (j->all == 0 || j->units != j->all)
		return false;
	j->whole = true;
	uint8_t *out = j->bytes + FRAMES_L3;
	if (v6) {
		out[6] = out[6] == IPPROTO_FRAGMENT ? l3[40] : out[6];
		set16(out + 4, (uint16_t)(j->len - FRAMES_L3 - 40));
	} else {
		set16(out + 2, (uint16_t)(j->len - FRAMES_L3));
		set16(out + 6, 0);
		set16(out + 10, 0);
		set16(out + 10, (uint16_t)~sum_add(0, out, 20));
	}
	return true;
}

void frames_packet(struct tripod_packet *p, uint8_t *buf, size_t len, size_t room, uint16_t vlan)
{
	check(len <= room && room <= UINT16_MAX, "len and room do not fit a packet");
	*p = (struct tripod_packet){
		.data = buf, .len = (uint16_t)len, .room = (uint16_t)room, .vlan = vlan};
}

int frames_parse(struct tripod_packet *p, uint8_t *buf, size_t len, size_t room,
	enum tripod_direction direction)
{
	frames_packet(p, buf, len, room, direction == TRIPOD_INCOMING ? 10 : 20);
	return parse_frame(p, &(struct parse_limits){.mtu = 1500}, direction, 0);
}

// Where the transport checksum of `proto` stands, -1: none that is known here.
static int checksum_offset(uint8_t proto, bool v6)
{
	if (proto == IPPROTO_TCP)
		return 16;
	if (proto == IPPROTO_UDP)
		return 6;
	return proto == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) ? 2 : -1;
}

void frames_fix(uint8_t *frame, size_t len)
{
	if (len < FRAMES_L3 + 20)
		return;
	uint8_t *l3 = frame + FRAMES_L3;
	bool v6 = get16(frame + 12) == 0x86dd;
	size_t room = len - FRAMES_L3;
	size_t header = v6 ? 40 : (size_t)(l3[0] & 15) * 4;
	if ((!v6 && get16(frame + 12) != 0x0800) || header < 20 || header > room)
		return;
	if (!v6) {
		set16(l3 + 10, 0);
		set16(l3 + 10, (uint16_t)~sum_add(0, l3, header));
	}
	size_t total = v6 ? get16(l3 + 4) + header : get16(l3 + 2);
	uint8_t proto = v6 ? l3[6] : l3[9];
	int offset = checksum_offset(proto, v6);
	if (total > room || total < header || offset < 0 || total - header < (size_t)offset + 2)
		return;
	uint8_t *l4 = l3 + header;
	if (proto == IPPROTO_UDP && get16(l4 + 6) == 0)
		return;
	set16(l4 + offset, 0);
	uint16_t value = (uint16_t)~l4_sum(l3, l4, total - header, proto, v6);
	set16(l4 + offset, proto == IPPROTO_UDP && value == 0 ? 0xffff : value);
}

bool frames_checksums_right(const uint8_t *frame, size_t len)
{
	const uint8_t *l3 = frame + FRAMES_L3;
	bool v6 = get16(frame + 12) == 0x86dd;
	size_t header = v6 ? 40 : (size_t)(l3[0] & 15) * 4;
	size_t total = v6 ? get16(l3 + 4) + header : get16(l3 + 2);
	check(len >= FRAMES_L3 + total && total >= header,
		"the frame is shorter than its IP packet");
	if (!v6 && sum_add(0, l3, header) != 0xffff)
		return false;
	uint8_t proto = v6 ? l3[6] : l3[9];
	const uint8_t *l4 = l3 + header;
	if (proto == IPPROTO_UDP && get16(l4 + 6) == 0)
		return true;
	if (checksum_offset(proto, v6) < 0)
		return true;
	return l4_sum(l3, l4, total - header, proto, v6) == 0xffff;
}
