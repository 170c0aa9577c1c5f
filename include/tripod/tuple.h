// SPDX-License-Identifier: BSD-3-Clause
// Addresses and tuples: what a connection is known by.
//
// Everything here is a value without padding, compared with memcmp and safe to copy from any
// thread. Addresses are 16 bytes; an IPv4 address is kept as its IPv4-mapped IPv6 form
// (RFC 4291 section 2.5.5.2), so that one table and one API serve both families.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct tripod_addr {
	uint8_t b[16]; // network byte order
};

// The side of the gateway on which a packet arrived, told by its VLAN tag (paper, III-A2).
enum tripod_direction {
	TRIPOD_INCOMING = 0, // from the Internet (outside) to the data centre (inside)
	TRIPOD_OUTGOING = 1, // from the data centre to the Internet
};

// What a key names.
enum tripod_kind_of_key {
	TRIPOD_KIND_CONNECTION = 0,
	TRIPOD_KIND_SHARE =
		1, // what several connections share (struct tripod_kind): a part of a tuple
	// one datagram in fragments: the ports are the halves of its identification
	TRIPOD_KIND_FRAGMENT = 2,
};

// The key of one direction of a connection: the 5-tuple of its packets as they arrive, with the
// direction they come from. For ICMP echo both ports hold the identifier.
struct tripod_tuple {
	struct tripod_addr src;
	struct tripod_addr dst;
	uint16_t sport; // network byte order
	uint16_t dport; // network byte order
	uint8_t proto; // IPPROTO_*
	uint8_t kind : 4; // enum tripod_kind_of_key
	uint8_t direction : 4; // enum tripod_direction
	uint16_t zone; // tenant or VRF, host byte order; 0 unless configured
};
_Static_assert(sizeof(struct tripod_tuple) == 40, "tuples are compared with memcmp: no padding");

static const uint8_t TRIPOD_V4_PREFIX[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static inline bool tripod_addr_is_v4(const struct tripod_addr *a)
{
	return memcmp(a->b, TRIPOD_V4_PREFIX, sizeof(TRIPOD_V4_PREFIX)) == 0;
}

// v4 is in network byte order.
static inline struct tripod_addr tripod_addr_v4(uint32_t v4)
{
	struct tripod_addr a;
	memcpy(a.b, TRIPOD_V4_PREFIX, sizeof(TRIPOD_V4_PREFIX));
	memcpy(a.b + 12, &v4, sizeof(v4));
	return a;
}

// Returns the IPv4 address in network byte order; meaningless unless tripod_addr_is_v4().
static inline uint32_t tripod_addr_get_v4(const struct tripod_addr *a)
{
	uint32_t v4;
	memcpy(&v4, a->b + 12, sizeof(v4));
	return v4;
}

static inline bool tripod_addr_equal(const struct tripod_addr *a, const struct tripod_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static inline bool tripod_tuple_equal(const struct tripod_tuple *a, const struct tripod_tuple *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

// The tuple of the packets that answer t: ends swapped, other direction (paper, IV-A).
static inline struct tripod_tuple tripod_tuple_reverse(const struct tripod_tuple *t)
{
	struct tripod_tuple r = *t;
	r.src = t->dst;
	r.dst = t->src;
	r.sport = t->dport;
	r.dport = t->sport;
	r.direction = !t->direction;
	return r;
}

// An address prefix. len counts bits of the 16-byte form: an IPv4 /24 has len 120.
struct tripod_prefix {
	struct tripod_addr addr;
	uint8_t len;
};

// A prefix contains addresses of its own family only: "::/0" does not contain 10.0.0.1.
bool tripod_prefix_contains(const struct tripod_prefix *p, const struct tripod_addr *a);

// Text forms. parse returns 0 or -EINVAL; format writes at most size bytes, always terminated, and
// returns buf. TRIPOD_ADDR_STRLEN holds any address, TRIPOD_TUPLE_STRLEN any tuple.
#define TRIPOD_ADDR_STRLEN 46
#define TRIPOD_TUPLE_STRLEN 128
int tripod_addr_parse(struct tripod_addr *a, const char *text);
// "10.0.0.0/8", "::/0", "10.1.2.3"
int tripod_prefix_parse(struct tripod_prefix *p, const char *text);
const char *tripod_addr_format(const struct tripod_addr *a, char *buf, size_t size);
const char *tripod_prefix_format(const struct tripod_prefix *p, char *buf, size_t size);
// "tcp 198.51.100.7:4242 > 203.0.113.1:80"
const char *tripod_tuple_format(const struct tripod_tuple *t, char *buf, size_t size);
const char *tripod_proto_name(uint8_t proto); // "tcp", "udp", "icmp", "icmp6", or "?"
