// SPDX-License-Identifier: BSD-3-Clause
// Frames for tests: valid Ethernet frames of every kind, with correct checksums, from a short spec.
//
// The checksums are computed here by the plain sum of RFC 1071, apart from core/parse.c, so that a
// test that compares the two compares two implementations. Test-only code: misuse aborts.
//
//	uint8_t buf[2048];
//	struct tripod_packet p;
//	size_t len = frames_build(buf, sizeof(buf), &(struct frame_spec){
//		.src = "198.51.100.7", .dst = "203.0.113.1", .sport = 4242, .dport = 80,
//		.tcp_flags = TRIPOD_TCP_SYN});
//	assert_int_equal(frames_parse(&p, buf, len, sizeof(buf), TRIPOD_INCOMING), PARSE_FLOW);
#pragma once

#include <tripod/packet.h>

#include "core/parse.h"

// What is left zero takes the default that is named.
struct frame_spec {
	const char *src, *dst; // text, of one family; which family decides IPv4 or IPv6
	const struct tripod_tuple *tuple; // in place of src, dst, sport, dport and proto
	uint16_t sport, dport; // host byte order; ICMP echo: sport is the identifier
	// IPPROTO_*; 0: TCP. Anything but TCP, UDP, ICMP: the payload follows the IP header
	uint8_t proto;
	uint8_t tcp_flags; // enum tripod_tcp_flag
	uint32_t seq, ack; // host byte order; ICMP echo: seq is its sequence number
	uint16_t window; // 0: 64240, unless zero_window
	const void *tcp_options;
	size_t tcp_options_len; // multiple of 4, up to 40
	const void *payload; // NULL: payload_len bytes of a fixed pattern
	size_t payload_len;
	uint8_t ttl; // 0: 64
	uint8_t tos; // TOS or traffic class
	const uint8_t *src_mac, *dst_mac; // NULL: FRAMES_SRC_MAC, FRAMES_DST_MAC
	uint16_t vlan_tag; // not 0: a tag with this id in the bytes (a stacked VLAN to the parser)
	bool zero_window;
	bool echo_reply; // ICMP: a reply instead of a request
	bool no_udp_checksum;
	bool pad; // to the 60 bytes that Ethernet asks for
};

extern const uint8_t FRAMES_SRC_MAC[6], FRAMES_DST_MAC[6];
#define FRAMES_L3 14 // offset of the IP header in the frames made here (without vlan_tag)

// Writes the frame into buf, returns its length. IPPROTO_ICMP becomes ICMPv6 between IPv6 addresses.
size_t frames_build(uint8_t *buf, size_t room, const struct frame_spec *s);

// An ICMP error: from s->src to s->dst (only addresses, MACs, ttl and pad of s are used), quoting
// `quoted_len` bytes of an IP packet (an earlier frame + FRAMES_L3). rest is bytes 4..7 of the ICMP
// header, host byte order: the MTU, say.
size_t frames_icmp_error(uint8_t *buf, size_t room, const struct frame_spec *s, uint8_t type,
	uint8_t code, uint32_t rest, const uint8_t *quoted, size_t quoted_len);

// ARP request (op 1, to broadcast) or reply (op 2, to target_mac). Padded to 60 bytes.
size_t frames_arp(uint8_t *buf, size_t room, uint16_t op, const uint8_t sender_mac[6],
	const char *sender, const uint8_t target_mac[6], const char *target);

// Neighbour solicitation (type 135) or advertisement (136) with its link-layer address option; src
// "::" (a probe) has none. Ethernet goes to dst's multicast MAC, else to FRAMES_DST_MAC.
size_t frames_nd(uint8_t *buf, size_t room, uint8_t type, const uint8_t mac[6], const char *src,
	const char *dst, const char *target);

// A packet over the frame, not parsed: data, len, room and vlan set, the rest zero.
void frames_packet(struct tripod_packet *p, uint8_t *buf, size_t len, size_t room, uint16_t vlan);
// The same, then parse_frame() with an MTU of 1500, VLAN 10 (outside) or 20 (inside), zone 0.
int frames_parse(struct tripod_packet *p, uint8_t *buf, size_t len, size_t room,
	enum tripod_direction direction);

// A fragment of an untagged IP frame: `size` bytes of what is behind its IP header, from `offset` on, of
// which there must be as many.
size_t frames_fragment(uint8_t *buf, size_t room, const uint8_t *whole, size_t len, uint32_t id,
	size_t offset, size_t size);

// A datagram that is put together again. Zeroed, or of the datagram before, and then begun anew.
struct frames_join {
	uint8_t bytes[FRAMES_L3 + 40 + 65535]; // the frame, without a fragment header
	uint8_t have[8192]; // units of 8 bytes
	size_t units, all; // that there are; that there will be, 0: not known yet
	size_t len; // bytes of the frame, 0: not known yet
	bool whole;
};
// true: with this fragment it is whole. What does not fit together aborts.
bool frames_join(struct frames_join *j, const uint8_t *fragment, size_t len);

// Makes the checksums right again after a test has changed bytes, as far as the lengths in the bytes
// allow. A zero UDP checksum stays; what is no untagged IP frame is left alone.
void frames_fix(uint8_t *frame, size_t len);

// Are the IPv4 header's checksum and that of TCP, UDP, ICMP or ICMPv6 right? A zero UDP checksum is.
// Recomputed from the bytes; len must hold the IP packet.
bool frames_checksums_right(const uint8_t *frame, size_t len);
