// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/flows.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARRIVALS_MAX 4096
#define ACK TRIPOD_TCP_ACK
#define DATA (TRIPOD_TCP_ACK | TRIPOD_TCP_PSH)

struct flow flow_of(unsigned n, const char *server)
{
	struct flow f = {
		.server = server,
		.port = (uint16_t)(10000 + n),
		.seq = 1000 + n,
		.ack = 900000 + n,
	};

	snprintf(f.client, sizeof(f.client), "198.18.%u.%u", n >> 8 & 255, n & 255);
	f.key = (struct tripod_tuple){
		.sport = htons(f.port), .dport = htons(80), .proto = IPPROTO_TCP};
	if (tripod_addr_parse(&f.key.src, f.client) != 0 ||
		tripod_addr_parse(&f.key.dst, FLOWS_VIP) != 0)
		abort();
	return f;
}

void flow_from_client(struct rack *r, struct flow *f, uint8_t flags, unsigned payload)
{
	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = f->client,
			.dst = FLOWS_VIP,
			.sport = f->port,
			.dport = 80,
			.tcp_flags = flags,
			.seq = f->seq,
			.ack = flags & ACK ? f->ack : 0,
			.payload_len = payload});
	f->seq += payload + !!(flags & TRIPOD_TCP_SYN) + !!(flags & TRIPOD_TCP_FIN);
}

void flow_from_server(struct rack *r, struct flow *f, uint8_t flags, unsigned payload)
{
	rack_send(r, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = f->server,
			.dst = f->client,
			.sport = 8080,
			.dport = f->port,
			.tcp_flags = flags,
			.seq = f->ack,
			.ack = f->seq,
			.payload_len = payload});
	f->ack += payload + !!(flags & TRIPOD_TCP_SYN) + !!(flags & TRIPOD_TCP_FIN);
}

static bool at_server(const struct rack_arrival *a, const struct flow *f)
{
	struct tripod_addr server;

	return tripod_addr_parse(&server, f->server) == 0 &&
	       tripod_addr_equal(&a->tuple.dst, &server) && a->tuple.sport == htons(f->port);
}

// The client sees the VIP alone, whatever stands behind it.
static bool at_client(const struct rack_arrival *a, const struct flow *f)
{
	return tripod_addr_equal(&a->tuple.src, &f->key.dst) && a->tuple.dport == htons(f->port);
}

// How many of the flows got a packet with these flags and this payload on a side.
static unsigned arrived(struct rack *r, enum tripod_direction side, const struct flow *f,
	unsigned n, uint8_t flags, unsigned payload)
{
	static struct rack_arrival a[ARRIVALS_MAX];
	unsigned count = rack_arrivals(r, side, a, ARRIVALS_MAX), hits = 0;

	for (unsigned i = 0; i < n; i++) {
		bool hit = false;
		for (unsigned k = 0; k < count; k++) {
			if (a[k].tcp_flags == flags && a[k].payload_len == payload)
				hit |= side == TRIPOD_OUTGOING ? at_server(&a[k], &f[i])
							       : at_client(&a[k], &f[i]);
		}
		hits += hit;
	}
	return hits;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned flows_open(struct rack *r, struct flow *f, unsigned first, unsigned n, const char *server)
{
	unsigned there, back;

	for (unsigned i = 0; i < n; i++) {
		f[i] = flow_of(first + i, server);
		flow_from_client(r, &f[i], TRIPOD_TCP_SYN, 0);
		if (i % 4 == 3)
			rack_run_ms(r, 1); // few wait at a time while next hops are resolved
	}
	rack_run_ms(r, 10);
	there = arrived(r, TRIPOD_OUTGOING, f, n, TRIPOD_TCP_SYN, 0);
	for (unsigned i = 0; i < n; i++) {
		flow_from_server(r, &f[i], TRIPOD_TCP_SYN | ACK, 0);
		if (i % 4 == 3)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 60);
	back = arrived(r, TRIPOD_INCOMING, f, n, TRIPOD_TCP_SYN | ACK, 0);
	for (unsigned i = 0; i < n; i++)
		flow_from_client(r, &f[i], ACK, 0);
	rack_run_ms(r, 10);
	return least(least(there, back), arrived(r, TRIPOD_OUTGOING, f, n, ACK, 0));
}

unsigned flows_exchange(struct rack *r, struct flow *f, unsigned n)
{
	unsigned there;

	for (unsigned i = 0; i < n; i++) {
		flow_from_client(r, &f[i], DATA, 100);
		flow_from_server(r, &f[i], DATA, 50);
		if (i % 8 == 7)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 60);
	there = arrived(r, TRIPOD_OUTGOING, f, n, DATA, 100);
	return least(there, arrived(r, TRIPOD_INCOMING, f, n, DATA, 50));
}

void flows_close(struct rack *r, struct flow *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		flow_from_client(r, &f[i], TRIPOD_TCP_FIN | ACK, 0);
	rack_run_ms(r, 10);
	for (unsigned i = 0; i < n; i++)
		flow_from_server(r, &f[i], TRIPOD_TCP_FIN | ACK, 0);
	rack_run_ms(r, 10);
	for (unsigned i = 0; i < n; i++)
		flow_from_client(r, &f[i], ACK, 0);
	rack_run_ms(r, 10);
}

unsigned flow_arrives(struct rack *r, unsigned n)
{
	struct flow f = flow_of(n, NULL);

	return rack_hash(r,
		&(struct frame_spec){.src = f.client,
			.dst = FLOWS_VIP,
			.sport = f.port,
			.dport = 80,
			.tcp_flags = TRIPOD_TCP_SYN},
		TRIPOD_INCOMING);
}
