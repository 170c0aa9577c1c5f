// SPDX-License-Identifier: BSD-3-Clause
// ICMP and ICMPv6: errors that the gateway sends, errors that it translates, echo to the gateway.
// Pure functions on packets; any thread.
#pragma once

#include <tripod/packet.h>

#include "core/frame.h"

enum icmp_error {
	ICMP_TIME_EXCEEDED, // hop limit ran out
	ICMP_TOO_BIG, // packet larger than the next MTU: fragmentation needed, packet too big
	ICMP_ADMIN_PROHIBITED, // a firewall rule rejects
	ICMP_NO_ROUTE,
};

// Writes into the empty frame f an ICMP error about p, from the address `from`, back to p's source:
// Ethernet addresses of p swapped, VLAN of p, as much of p quoted as RFC 1812 (576 bytes in all) or
// RFC 4443 (1280 bytes) allows. mtu: bytes, for ICMP_TOO_BIG. Returns 0, or -EINVAL where no error
// may be sent (p is an ICMP error; its source is not a single host; RFC 1122, 3.2.2) or f is small.
int icmp_error_make(struct frame *f, const struct tripod_packet *p, enum icmp_error what,
	uint16_t mtu, const struct tripod_addr *from);

// Turns the ICMP echo request p (either family) into its reply, in place: all addresses swapped.
// false: p is no echo request, and is untouched.
bool icmp_echo_reply(struct tripod_packet *p);

// Carries an ICMP error through the gateway's rewriting. p is a PARSE_ICMP_ERROR. `quoted` is the
// tuple that the quoted packet must show (as the receiver of the error sent it: direction ignored);
// outer_src and outer_dst are the new addresses of the outer header. All checksums are made right
// (inner IPv4 header, inner transport when it is whole, ICMP, outer IPv4 header).
void icmp_error_translate(struct tripod_packet *p, const struct tripod_tuple *quoted,
	const struct tripod_addr *outer_src, const struct tripod_addr *outer_dst);
