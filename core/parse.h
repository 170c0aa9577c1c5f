// SPDX-License-Identifier: BSD-3-Clause
// From the bytes of a frame to a struct tripod_packet, every malformed case told apart.
//
// Nothing here trusts a length field, and nothing here asserts: each way in which a frame can be
// wrong returns the counter to bump. Pure functions, any thread.
#pragma once

#include <tripod/packet.h>

#include "core/counters.h"

// What a frame is, when it is not to be dropped.
enum parse_kind {
	// TCP, UDP or ICMP echo: tuple and hash are set. Of UDP and echo it may be a first fragment.
	PARSE_FLOW = -1,
	// tuple is that of the packet that the error is about, reversed: the key under which the
	// connection's direction is found that the error travels in
	PARSE_ICMP_ERROR = -2,
	PARSE_ARP = -3, // l3 is set
	// neighbour solicitation or advertisement; l3, l4 set, checksum and hop limit verified
	PARSE_ND = -4,
	PARSE_BFD = -5, // UDP 3784, payload set
	PARSE_CONTROL = -6, // UDP to the control port: payload set
	// other IP that this parser leaves to the caller (IGMP, router ND): ignore
	PARSE_LOCAL = -7,
	// A fragment that is not the first: tuple has the kind TRIPOD_KIND_FRAGMENT, and is what all of its
	// datagram have in common; hash is that of tuple, not of the datagram's connection.
	PARSE_FRAGMENT = -8,
};

struct parse_limits {
	uint16_t mtu; // bytes of the largest IP packet accepted
};

// p->data, len, vlan, flags and room are set by the caller; direction and zone come from the VLAN.
// Fills l3, l4, payload, tuple, hash (unless TRIPOD_PKT_RSS) and so on. Returns a parse_kind (< 0),
// or the drop counter (enum counter, >= 0). A frame with a VLAN tag in its bytes (the driver takes
// one tag out of band) is a stacked one. IPv4 header checksums are verified unless the NIC has;
// TCP checksums of SYN, FIN and RST, and all ICMP checksums, likewise. IPv4 options and IPv6
// hop-by-hop, destination and routing headers are dropped; fragments of TCP too. ICMP and fragments
// are always hashed here, and TRIPOD_PKT_RSS cleared, since a NIC hashes other fields of them.
int parse_frame(struct tripod_packet *p, const struct parse_limits *limits,
	enum tripod_direction direction, uint16_t zone);

// Control, BFD and ARP frames of the fabric (control VLAN or untagged): the same, with kinds
// PARSE_ARP, PARSE_ND, PARSE_BFD and PARSE_CONTROL only; UDP checksums are verified.
int parse_fabric(struct tripod_packet *p, uint16_t control_port);

// What all fragments of a datagram have in common, from a tuple of its first and the bytes of any. p: a
// fragment.
struct tripod_tuple parse_fragment_key(const struct tripod_packet *p, const struct tripod_tuple *t);

// The Internet checksum (RFC 1071) of data, folded into `sum` (start with 0); finish with ~.
uint16_t checksum_partial(const void *data, size_t len, uint16_t sum);
// The TCP, UDP, ICMP or ICMPv6 checksum over pseudo header and payload, as it should stand in the
// packet (in network order), computed with the field itself taken as 0.
uint16_t checksum_l4(const struct tripod_packet *p);
// RFC 1624, equation 3: the new checksum after one 16-bit word changed. Network order in and out.
static inline uint16_t checksum_update(uint16_t checksum, uint16_t old, uint16_t new)
{
	uint32_t sum = (uint16_t)~checksum + (uint32_t)(uint16_t)~old + new;
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return (uint16_t)~sum;
}
