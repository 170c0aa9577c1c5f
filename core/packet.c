// SPDX-License-Identifier: BSD-3-Clause
#include <tripod/packet.h>

#include <netinet/in.h>

#include "core/checksum_inline.h"
#include "core/parse.h"

// ICMP types that carry an identifier.
static bool is_echo(uint8_t proto, uint8_t type)
{
	return proto == IPPROTO_ICMPV6 ? type == 128 || type == 129 : type == 8 || type == 0;
}

static uint64_t write_port(uint8_t *at, uint16_t port)
{
	uint16_t old;
	memcpy(&old, at, sizeof(old));
	memcpy(at, &port, sizeof(port));
	return checksum_change16(old, port);
}

// An echo reply over IPv4 may be of zeros alone, and has no pseudo header. Its checksum is the one that
// is not zero, which no incremental change can know (RFC 1624, section 3).
static void mend_all_zero(struct tripod_packet *p)
{
	static const uint8_t ZERO[8] = {0};
	uint8_t *l4 = p->data + p->l4;

	if (memcmp(l4, ZERO, sizeof(ZERO)) == 0 &&
		checksum_partial(l4, sizeof(ZERO) + p->payload_len, 0) == 0)
		memset(l4 + 2, 0xff, 2);
}

// Writes one end; `second` is 0 for the source, 1 for the destination. Returns false, with nothing
// changed, when the packet has no such end.
static bool write_end(
	struct tripod_packet *p, const struct tripod_addr *addr, uint16_t port, unsigned second)
{
	// An NF that breaks the contract must not write 16 bytes over 4, nor take the node down.
	if (tripod_addr_is_v4(addr) != !p->v6)
		return false;
	uint8_t *l3 = p->data + p->l3;
	uint8_t *l4 = p->data + p->l4;
	// The bytes tell the protocol: the tuple of an ICMP error is that of another packet.
	uint8_t proto = tripod_packet_proto(p);
	bool icmp = proto == (p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	if (icmp ? !is_echo(proto, l4[0]) : proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return false;

	uint64_t change;
	if (p->v6) {
		uint8_t *at = l3 + 8 + 16 * second;
		change = checksum_change(at, addr->b, 16);
		memcpy(at, addr->b, 16);
	} else {
		uint8_t *at = l3 + 12 + 4 * second;
		change = checksum_change(at, addr->b + 12, 4);
		memcpy(at, addr->b + 12, 4);
		checksum_apply(l3 + 10, change);
		if (icmp)
			change = 0; // ICMP over IPv4 has no pseudo header
	}

	if (proto == IPPROTO_TCP) {
		change += write_port(l4 + 2 * second, port);
		checksum_apply(l4 + 16, change);
	} else if (proto == IPPROTO_UDP) {
		change += write_port(l4 + 2 * second, port);
		checksum_apply_udp(l4 + 6, change);
	} else {
		change += write_port(l4 + 4, port);
		checksum_apply(l4 + 2, change);
		mend_all_zero(p);
		p->tuple.sport = port;
		p->tuple.dport = port;
	}
	return true;
}

void tripod_packet_set_src(struct tripod_packet *p, const struct tripod_addr *addr, uint16_t port)
{
	struct tripod_addr copy = *addr; // it may point into p->tuple
	if (!write_end(p, &copy, port, 0))
		return;
	p->tuple.src = copy;
	p->tuple.sport = port;
}

void tripod_packet_set_dst(struct tripod_packet *p, const struct tripod_addr *addr, uint16_t port)
{
	struct tripod_addr copy = *addr;
	if (!write_end(p, &copy, port, 1))
		return;
	p->tuple.dst = copy;
	p->tuple.dport = port;
}
