// SPDX-License-Identifier: BSD-3-Clause
// What the switch and the checkers see of a frame: addresses and ports, no checksum. Apart from the
// core's parser, so that a fault of that is not repeated here.
#pragma once

#include <tripod/tuple.h>

struct peek {
	struct tripod_tuple tuple;
	uint32_t seq; // TCP
	uint16_t payload_len;
	uint8_t tcp_flags;
	bool icmp_error;
	bool later; // fragment: no ports, and nothing but the tuple is set
	bool first; // fragment
};

// false: no IPv4 or IPv6 packet of TCP, UDP or ICMP. First fragments are like any packet. ICMP echo: both ports are the identifier; other
// ICMP: no ports.
bool peek(const uint8_t *frame, unsigned len, enum tripod_direction side, struct peek *out);
