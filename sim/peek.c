// SPDX-License-Identifier: BSD-3-Clause
#include "sim/peek.h"

#include <netinet/in.h>

#define ETHERNET 14

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static bool icmp(const uint8_t *l4, bool v6, struct peek *out)
{
	uint8_t request = v6 ? 128 : 8, reply = v6 ? 129 : 0;

	if (l4[0] == request || l4[0] == reply) {
		memcpy(&out->tuple.sport, l4 + 4, 2);
		out->tuple.dport = out->tuple.sport;
		out->seq = get16(l4 + 6);
	} else {
		out->icmp_error = v6 ? l4[0] < 128 : l4[0] == 3 || l4[0] == 11 || l4[0] == 12;
	}
	return true;
}

bool peek(const uint8_t *frame, unsigned len, enum tripod_direction side, struct peek *out)
{
	const uint8_t *l3 = frame + ETHERNET, *l4;
	struct tripod_tuple *t = &out->tuple;
	unsigned total;

	memset(out, 0, sizeof(*out));
	t->direction = side;
	if (len < ETHERNET + 20)
		return false;
	bool v6 = get16(frame + 12) == 0x86dd;
	if (v6 && len >= ETHERNET + 48) {
		t->proto = l3[6];
		memcpy(t->src.b, l3 + 8, 16);
		memcpy(t->dst.b, l3 + 24, 16);
		l4 = l3 + 40;
		total = get16(l3 + 4);
		if (t->proto == IPPROTO_FRAGMENT && total > 8) {
			t->proto = l3[40];
			l4 += 8;
			total -= 8;
			out->later = get16(l3 + 42) >> 3 != 0;
			out->first = get16(l3 + 42) == 1;
		}
	} else if (get16(frame + 12) == 0x0800 && l3[0] == 0x45) {
		uint32_t a;
		t->proto = l3[9];
		memcpy(&a, l3 + 12, 4);
		t->src = tripod_addr_v4(a);
		memcpy(&a, l3 + 16, 4);
		t->dst = tripod_addr_v4(a);
		l4 = l3 + 20;
		total = get16(l3 + 2) - 20u;
		out->later = (get16(l3 + 6) & 0x1fff) != 0;
		out->first = get16(l3 + 6) == 0x2000;
	} else {
		return false;
	}
	if (!out->later && frame + len < l4 + 8)
		return false;
	if (out->later)
		return t->proto == IPPROTO_UDP || t->proto == IPPROTO_ICMP ||
		       t->proto == IPPROTO_ICMPV6;
	if (t->proto == IPPROTO_ICMP || t->proto == IPPROTO_ICMPV6)
		return icmp(l4, v6, out);
	if (t->proto != IPPROTO_TCP && t->proto != IPPROTO_UDP)
		return false;
	memcpy(&t->sport, l4, 2);
	memcpy(&t->dport, l4 + 2, 2);
	unsigned header = 8;
	if (t->proto == IPPROTO_TCP) {
		if (frame + len < l4 + 20)
			return false;
		header = (l4[12] >> 4) * 4u;
		out->seq = get32(l4 + 4);
		out->tcp_flags = l4[13];
	}
	out->payload_len = (uint16_t)(total > header ? total - header : 0);
	return true;
}
