// SPDX-License-Identifier: BSD-3-Clause
// The frames of the simulated hosts: written, read and checked, and the bytes that they carry.
//
// Written apart from core/parse.c on purpose: what the core gets wrong must not be wrong here in the
// same way. And apart from core/testing/frames.c, which is for tests, aborts on a short frame, and
// would take most of a simulation's time.
#pragma once

#include <tripod/tuple.h>

#define HOSTS_FRAME_SIZE 9234 // the largest frame: MTU 9216 and its Ethernet header

enum hosts_tcp_flag {
	HOSTS_FIN = 0x01,
	HOSTS_SYN = 0x02,
	HOSTS_RST = 0x04,
	HOSTS_PSH = 0x08,
	HOSTS_ACK = 0x10,
};

enum hosts_packet_kind {
	HOSTS_PACKET_BAD, // why says in what way
	HOSTS_PACKET_TCP,
	HOSTS_PACKET_UDP,
	HOSTS_PACKET_ECHO_REQUEST,
	HOSTS_PACKET_ECHO_REPLY,
	HOSTS_PACKET_ICMP_ERROR,
	HOSTS_PACKET_ARP_REQUEST,
	HOSTS_PACKET_SOLICITATION, // of a neighbour: tuple.src asks for target
	HOSTS_PACKET_OTHER, // of no interest to a host
};

struct hosts_packet {
	enum hosts_packet_kind kind;
	const char *why; // static text, for HOSTS_PACKET_BAD
	bool checksum; // HOSTS_PACKET_BAD: only a checksum is wrong, and tuple is set
	struct tripod_tuple tuple; // as the packet stands; ICMP echo: both ports are the identifier
	uint8_t src_mac[6];
	uint8_t flags; // enum hosts_tcp_flag
	uint16_t window;
	uint32_t seq, ack; // host byte order; echo: seq is its sequence number
	uint16_t mss; // 0: no such option
	int8_t wscale; // -1: no such option
	struct tripod_addr target; // ARP, solicitation
	const uint8_t *payload;
	uint16_t payload_len;
};

// Reads a frame that arrived on `side`: malformed ones and wrong checksums are HOSTS_PACKET_BAD.
void hosts_packet_read(
	struct hosts_packet *p, enum tripod_direction side, const uint8_t *frame, size_t len);

// What to write. tuple decides the family and the protocol.
struct hosts_out {
	const struct tripod_tuple *tuple;
	const uint8_t *src_mac, *dst_mac;
	uint32_t seq, ack;
	uint16_t window;
	uint8_t flags;
	uint16_t mss; // not 0: this option, and wscale unless it is -1
	int8_t wscale;
	bool echo_reply;
	uint16_t payload_len; // the caller fills it in before hosts_packet_finish()
};

// Writes the headers; returns where the payload goes. frame holds HOSTS_FRAME_SIZE bytes.
uint8_t *hosts_packet_begin(uint8_t *frame, const struct hosts_out *o);
// Lengths and checksums; returns the length of the frame.
uint16_t hosts_packet_finish(uint8_t *frame);

// Answers to HOSTS_PACKET_ARP_REQUEST and HOSTS_PACKET_SOLICITATION; the length of the frame.
uint16_t hosts_packet_answer(uint8_t *frame, const struct hosts_packet *asked, const uint8_t *mac);

// ---- Bytes ----
// A stream per (id, direction); its first eight bytes are the id itself, direction 1 inverted.

void hosts_bytes_fill(uint8_t *at, size_t len, uint64_t id, unsigned direction, uint64_t offset);
bool hosts_bytes_right(
	const uint8_t *at, size_t len, uint64_t id, unsigned direction, uint64_t offset);

static inline uint16_t hosts_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t hosts_get32(const uint8_t *at)
{
	return (uint32_t)hosts_get16(at) << 16 | hosts_get16(at + 2);
}

static inline uint64_t hosts_get64(const uint8_t *at)
{
	return (uint64_t)hosts_get32(at) << 32 | hosts_get32(at + 4);
}

static inline void hosts_set16(uint8_t *at, uint16_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static inline void hosts_set32(uint8_t *at, uint32_t v)
{
	hosts_set16(at, (uint16_t)(v >> 16));
	hosts_set16(at + 2, (uint16_t)v);
}

static inline void hosts_set64(uint8_t *at, uint64_t v)
{
	hosts_set32(at, (uint32_t)(v >> 32));
	hosts_set32(at + 4, (uint32_t)v);
}
