// SPDX-License-Identifier: BSD-3-Clause
// A parsed packet, as network functions see it.
//
// Thread: the worker that received the packet. Ownership: the framework's; an NF keeps no pointer to
// a packet after it has returned. Header bytes may be read through the pointers below; addresses and
// ports are changed only through the setters, which keep every checksum right incrementally
// (RFC 1624) and the tuple in step with the bytes.
#pragma once

#include <tripod/tuple.h>

enum tripod_tcp_flag {
	TRIPOD_TCP_FIN = 0x01,
	TRIPOD_TCP_SYN = 0x02,
	TRIPOD_TCP_RST = 0x04,
	TRIPOD_TCP_PSH = 0x08,
	TRIPOD_TCP_ACK = 0x10,
	TRIPOD_TCP_URG = 0x20,
};

enum tripod_packet_flag {
	TRIPOD_PKT_IPV4_CSUM_GOOD = 1 << 0, // the NIC has verified the IPv4 header checksum
	TRIPOD_PKT_L4_CSUM_GOOD = 1 << 1, // the NIC has verified the TCP or UDP checksum
	TRIPOD_PKT_RELAYED = 1 << 2, // came from another node, on a relay VLAN: never relayed again
	TRIPOD_PKT_HANDED = 1 << 3, // came from another worker, by its hash: not handed so again
	TRIPOD_PKT_WAITED = 1 << 4, // was held for an answer from the peers: never held again
	TRIPOD_PKT_RSS = 1 << 5, // hash came from the NIC
	// came from another worker, by an alias: the record is here or nowhere
	TRIPOD_PKT_ALIAS = 1 << 6,
	// lay in a queue for longer than the switch is patient: opens nothing; a message: for so long that
	// what it is of may have ended and been forgotten
	TRIPOD_PKT_STALE = 1 << 7,
};

// A datagram that a host or router has cut. Only the first fragment passes the chain; the others follow
// its addresses.
enum tripod_fragment {
	TRIPOD_WHOLE = 0,
	// The whole transport header, and of the payload (and in payload_len) what is in this packet.
	TRIPOD_FRAGMENT_FIRST,
	TRIPOD_FRAGMENT_LATER, // no NF sees it: there is no transport header, and tuple is its datagram's
};

struct tripod_packet {
	uint8_t *data; // first byte of the Ethernet header; a VLAN tag is taken out of band
	void *buf; // the driver's handle
	uint16_t len; // bytes from data on, without the frame check sequence
	uint16_t room; // bytes that the buffer can hold from data on
	uint16_t vlan; // VLAN id of the frame, 0 when untagged
	uint16_t l3; // offset of the IP header from data
	uint16_t l4; // offset of the transport header from data
	uint16_t payload; // offset of the transport payload from data
	// bytes of transport payload by the IP header's length, without padding
	uint16_t payload_len;
	uint8_t tcp_flags; // enum tripod_tcp_flag, 0 unless TCP
	uint8_t ttl; // TTL or hop limit
	uint8_t flags; // enum tripod_packet_flag
	uint8_t v6; // 1: IPv6, 0: IPv4
	uint16_t ip_len; // bytes of the IP packet, header included
	uint32_t hash; // symmetric Toeplitz hash of tuple as it arrived (0x6d5a key; paper, III-A2)
	uint8_t fragment; // enum tripod_fragment
	uint8_t reserved[3];
	struct tripod_tuple tuple; // as the packet stands now: setters change it
};

static inline enum tripod_direction tripod_packet_direction(const struct tripod_packet *p)
{
	return (enum tripod_direction)p->tuple.direction;
}

// The protocol behind the IP header, and behind an IPv6 fragment header, by the bytes.
static inline uint8_t tripod_packet_proto(const struct tripod_packet *p)
{
	const uint8_t *l3 = p->data + p->l3;

	if (!p->v6)
		return l3[9];
	return l3[6] == 44 ? l3[40] : l3[6];
}

static inline const uint8_t *tripod_packet_payload(const struct tripod_packet *p)
{
	return p->data + p->payload;
}

// Rewrite the source (or destination) address and port; for ICMP echo, port is the identifier.
// port is in network byte order. The address must be of the packet's family; a
// packet of the other one, or with neither ports nor identifier, is left as it is.
void tripod_packet_set_src(struct tripod_packet *p, const struct tripod_addr *addr, uint16_t port);
void tripod_packet_set_dst(struct tripod_packet *p, const struct tripod_addr *addr, uint16_t port);
