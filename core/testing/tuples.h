// SPDX-License-Identifier: BSD-3-Clause
// Random tuples for property tests.
#pragma once

#include <netinet/in.h>

#include <tripod/tuple.h>

#include "core/rng.h"

// An address that can be forwarded: 1.0.0.0 to 126.255.255.255, or in 2000::/3.
static inline struct tripod_addr tuples_addr(struct rng *r, bool v6)
{
	struct tripod_addr a;
	if (!v6) {
		a = tripod_addr_v4((uint32_t)rng_next(r));
		a.b[12] = (uint8_t)(1 + rng_below(r, 126));
		return a;
	}
	for (int i = 0; i < 16; i++)
		a.b[i] = (uint8_t)rng_next(r);
	a.b[0] = (uint8_t)(0x20 | (a.b[0] & 0x1f));
	return a;
}

// TCP, UDP or ICMP echo, of either family and direction; the ends differ.
static inline struct tripod_tuple tuples_random(struct rng *r)
{
	bool v6 = rng_below(r, 2);
	static const uint8_t PROTO[2][3] = {{IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP},
		{IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6}};
	struct tripod_tuple t = {
		.src = tuples_addr(r, v6),
		.dst = tuples_addr(r, v6),
		.sport = (uint16_t)rng_next(r),
		.dport = (uint16_t)rng_next(r),
		.proto = PROTO[v6][rng_below(r, 3)],
		.direction = rng_below(r, 2) & 1,
	};
	if (t.proto == IPPROTO_ICMP || t.proto == IPPROTO_ICMPV6)
		t.dport = t.sport;
	t.src.b[15] &= 0xfe;
	t.dst.b[15] |= 1;
	return t;
}
