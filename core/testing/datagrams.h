// SPDX-License-Identifier: BSD-3-Clause
// A rack of gateways, datagrams that are sent to it in fragments, and what comes out, put together again. The chain is
// a load balancer with a server for each port, and a source NAT, over IPv4 and IPv6.
//
// For tests with cmocka: what is wrong with a packet that leaves fails the test.
#pragma once

#include "core/testing/rack.h"

#define JOINS 8
#define FRAGMENT_BYTES 1208

extern bool datagrams_refused; // the chain refuses whatever opens

struct world {
	struct rack *r;
	struct frames_join join[JOINS];
	uint32_t id[JOINS];
	unsigned n_join;
	unsigned frames[2]; // that have left on each side, ND and ARP aside
	unsigned errors; // of them, ICMP errors
	unsigned whole; // datagrams put together
	uint8_t out[sizeof(((struct frames_join *)0)->bytes)]; // the last packet that was whole
	size_t out_len;
	unsigned told; // FRAGMENT messages
	bool lose_tells;
};

struct world *datagrams_begin(struct rack_conf c); // nodes, and what else matters, are the test's
void datagrams_end(struct world *w); // nothing may be lost or amiss inside

struct datagram {
	struct frame_spec s;
	enum tripod_direction from;
	uint32_t id;
	uint8_t bytes[8192]; // the frame, whole
	size_t len, header; // header: bytes in front of what is cut
	unsigned n; // fragments
};

struct datagram datagram_of(
	const struct frame_spec *s, enum tripod_direction from, uint32_t id, size_t payload);
// The answer to what has left last, which was like d.
struct datagram datagram_answer_to(
	const struct world *w, const struct datagram *d, uint32_t id, size_t payload);
// Fragment k, to a node.
void datagram_send(struct world *w, const struct datagram *d, unsigned k, unsigned node);
enum order { IN_ORDER, REVERSED, LAST_FIRST, ORDERS };
// All of them, the first to `node`, each next one `spread` nodes further; and 20 ms.
void datagram_send_all(struct world *w, const struct datagram *d, enum order order, unsigned node,
	unsigned spread, unsigned nodes);
// It has come out whole, from src to dst, with the same payload.
void datagram_assert_out(
	const struct world *w, const struct datagram *d, const char *src, const char *dst);

struct way {
	struct frame_spec s;
	enum tripod_direction from;
	const char *src, *dst; // as it leaves
};
#define N_WAYS 7
extern const struct way WAYS[N_WAYS];
