// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/flows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MAX 4096 // arrivals looked at

struct flow flow_of(unsigned n)
{
	struct flow f = {.port = (uint16_t)(10000 + n), .seq = 1000 + n, .ack = 900000 + n};
	snprintf(f.client, sizeof(f.client), "198.18.%u.%u", n >> 8 & 255, n & 255);
	f.key = (struct tripod_tuple){
		.sport = __builtin_bswap16(f.port), .dport = __builtin_bswap16(80), .proto = 6};
	tripod_addr_parse(&f.key.src, f.client);
	tripod_addr_parse(&f.key.dst, FLOW_VIP);
	return f;
}

void flow_client(struct rack *r, struct flow *f, uint8_t flags, unsigned payload)
{
	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = f->client,
			.dst = FLOW_VIP,
			.sport = f->port,
			.dport = 80,
			.tcp_flags = flags,
			.seq = f->seq,
			.ack = flags & TRIPOD_TCP_ACK ? f->ack : 0,
			.payload_len = payload});
	f->seq += payload + !!(flags & TRIPOD_TCP_SYN) + !!(flags & TRIPOD_TCP_FIN);
}

void flow_server(struct rack *r, struct flow *f, uint8_t flags, unsigned payload)
{
	rack_send(r, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = FLOW_SERVER,
			.dst = f->client,
			.sport = 8080,
			.dport = f->port,
			.tcp_flags = flags,
			.seq = f->ack,
			.ack = f->seq,
			.payload_len = payload});
	f->ack += payload + !!(flags & TRIPOD_TCP_SYN) + !!(flags & TRIPOD_TCP_FIN);
}

unsigned flows_arrived(struct rack *r, enum tripod_direction side, uint8_t flags, unsigned payload)
{
	static struct rack_arrival a[MAX];
	unsigned n = rack_arrivals(r, side, a, MAX), hits = 0;

	for (unsigned i = 0; i < n; i++)
		hits += a[i].tcp_flags == flags && a[i].payload_len == payload;
	return hits;
}

void flows_establish(struct rack *r, struct flow *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		f[i] = flow_of(i);
		flow_client(r, &f[i], TRIPOD_TCP_SYN, 0);
		if (i % 4 == 3)
			rack_run_ms(r, 1); // few wait at a time while next hops are resolved
	}
	rack_run_ms(r, 10);
	assert_int_equal(flows_arrived(r, TRIPOD_OUTGOING, TRIPOD_TCP_SYN, 0), n);
	for (unsigned i = 0; i < n; i++) {
		flow_server(r, &f[i], TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		if (i % 4 == 3)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 60);
	assert_int_equal(flows_arrived(r, TRIPOD_INCOMING, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0), n);
	for (unsigned i = 0; i < n; i++)
		flow_client(r, &f[i], TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 10);
	assert_int_equal(flows_arrived(r, TRIPOD_OUTGOING, TRIPOD_TCP_ACK, 0), n);
}

void flows_exchange(struct rack *r, struct flow *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		flow_client(r, &f[i], TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 100);
		flow_server(r, &f[i], TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 50);
		if (i % 8 == 7)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 60);
	assert_int_equal(
		flows_arrived(r, TRIPOD_OUTGOING, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 100), n);
	assert_int_equal(flows_arrived(r, TRIPOD_INCOMING, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 50), n);
}

unsigned flows_copies_below(struct rack *r, struct flow *f, unsigned n, unsigned want)
{
	unsigned below = 0;
	for (unsigned i = 0; i < n; i++)
		below += rack_copies(r, &f[i].key) < want;
	return below;
}
