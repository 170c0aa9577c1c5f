// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/lives.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/shard.h"

#define CLIENT "10.1.0.7"
#define CLIENT_PORT 5000 // of the first
#define ASK 10 // bytes
#define ANSWER 20
#define CLIENT_ISN 1000u
#define SERVER_ISN 100000u // and 1000 more for each further connection of one client
#define CONNECTIONS 8 // that a server may see of one client: SYNs of ports that came to nothing
#define INBOX 4096

// What a server sees under one port of the NAT.
struct served {
	uint16_t port; // network order; 0: none
	uint32_t got; // next byte expected
	bool acked; // its SYN+ACK
	uint32_t sent; // next byte to send
};

struct one {
	char server[20];
	uint16_t client_port, port;
	enum life at;
	uint64_t sent_ns; // what is not answered
	uint32_t peer; // the server's first number, once its SYN+ACK is here
	struct served served[CONNECTIONS];
	struct tripod_addr address; // server
};

struct lives {
	struct rack *r;
	unsigned n;
	uint64_t repeat_ns;
	struct rack_arrival *inbox;
	struct one one[];
};

struct lives *lives_new(struct rack *r, unsigned n, unsigned repeat_ms)
{
	struct lives *l = calloc(1, sizeof(*l) + n * sizeof(l->one[0]));

	l->r = r;
	l->n = n;
	l->repeat_ns = repeat_ms * MS;
	l->inbox = calloc(INBOX, sizeof(*l->inbox));
	for (unsigned i = 0; i < n; i++)
		l->one[i].client_port = (uint16_t)(CLIENT_PORT + i);
	return l;
}

void lives_free(struct lives *l)
{
	free(l->inbox);
	free(l);
}

void lives_to(struct lives *l, unsigned i, const char *address, uint16_t port)
{
	struct one *o = &l->one[i];

	snprintf(o->server, sizeof(o->server), "%s", address);
	tripod_addr_parse(&o->address, address);
	o->port = port;
}

// ---- The client ----

static void client_sends(
	struct lives *l, struct one *o, uint8_t flags, uint32_t seq, uint32_t ack, unsigned payload)
{
	rack_send(l->r, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = CLIENT,
			.dst = o->server,
			.sport = o->client_port,
			.dport = o->port,
			.tcp_flags = flags,
			.seq = seq,
			.ack = ack,
			.payload_len = payload});
}

struct frame_spec lives_first(const struct lives *l, unsigned i)
{
	const struct one *o = &l->one[i];

	return (struct frame_spec){.src = CLIENT,
		.dst = o->server,
		.sport = o->client_port,
		.dport = o->port,
		.tcp_flags = TRIPOD_TCP_SYN,
		.seq = CLIENT_ISN};
}

// Whatever the client has sent and got no answer to.
static void client_repeats(struct lives *l, struct one *o)
{
	o->sent_ns = rack_now_ns(l->r);
	switch (o->at) {
	case LIFE_OPENING:
		client_sends(l, o, TRIPOD_TCP_SYN, CLIENT_ISN, 0, 0);
		break;
	case LIFE_OPEN:
		client_sends(
			l, o, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, CLIENT_ISN + 1, o->peer + 1, ASK);
		break;
	case LIFE_ANSWERED:
		client_sends(l, o, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, CLIENT_ISN + 1 + ASK,
			o->peer + 1 + ANSWER, 0);
		break;
	default:
		break;
	}
}

void lives_open(struct lives *l, unsigned i)
{
	l->one[i].at = LIFE_OPENING;
	client_repeats(l, &l->one[i]);
}

static void client_gets(struct lives *l, struct one *o, const struct rack_arrival *a)
{
	if (a->tcp_flags & TRIPOD_TCP_SYN) {
		if (o->at == LIFE_OPENING) {
			o->peer = a->seq;
			o->at = LIFE_OPEN;
			client_sends(l, o, TRIPOD_TCP_ACK, CLIENT_ISN + 1, o->peer + 1, 0);
			client_repeats(l, o);
		}
		return;
	}
	if (o->at < LIFE_OPEN || o->at == LIFE_BROKEN)
		return;
	if (a->seq - o->peer > 1000) { // of another connection of the same server
		o->at = LIFE_BROKEN;
		return;
	}
	if (a->tcp_flags & TRIPOD_TCP_FIN) {
		if (o->at == LIFE_ANSWERED)
			o->at = LIFE_CLOSED;
		client_sends(l, o, TRIPOD_TCP_ACK, CLIENT_ISN + 2 + ASK, o->peer + 2 + ANSWER, 0);
	} else if (a->payload_len == ANSWER) {
		if (o->at == LIFE_OPEN) {
			o->at = LIFE_ANSWERED;
			client_sends(l, o, TRIPOD_TCP_ACK, CLIENT_ISN + 1 + ASK,
				o->peer + 1 + ANSWER, 0);
			client_repeats(l, o);
		}
	}
}

// ---- The server ----

static void server_sends(struct lives *l, struct one *o, const struct served *v, uint8_t flags,
	uint32_t seq, unsigned payload)
{
	rack_send(l->r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = o->server,
			.dst = "192.0.2.1",
			.sport = o->port,
			.dport = ntohs(v->port),
			.tcp_flags = flags,
			.seq = seq,
			.ack = v->got,
			.payload_len = payload});
}

static void server_gets(struct lives *l, struct one *o, const struct rack_arrival *a)
{
	unsigned k = 0;

	while (k < CONNECTIONS && o->served[k].port != 0 && o->served[k].port != a->tuple.sport)
		k++;
	if (k == CONNECTIONS) {
		o->at = LIFE_BROKEN;
		return;
	}
	struct served *v = &o->served[k];
	uint32_t isn = SERVER_ISN + 1000 * k;
	if (a->tcp_flags & TRIPOD_TCP_SYN) {
		v->port = a->tuple.sport;
		v->got = CLIENT_ISN + 1;
		server_sends(l, o, v, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, isn, 0);
		return;
	}
	// A packet of a connection that this server has not got, or that answers another.
	if (v->port == 0 || a->ack - isn > 1000) {
		o->at = LIFE_BROKEN;
		return;
	}
	if (a->payload_len == ASK) {
		v->got = CLIENT_ISN + 1 + ASK;
		server_sends(l, o, v, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, isn + 1, ANSWER);
	} else if (a->tcp_flags & TRIPOD_TCP_FIN) {
		v->got = CLIENT_ISN + 2 + ASK;
		server_sends(l, o, v, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, isn + 1 + ANSWER, 0);
	}
}

// ---- Both ----

void lives_step(struct lives *l)
{
	rack_step(l->r);
	for (unsigned side = 0; side < 2; side++) {
		unsigned n = rack_arrivals(l->r, (enum tripod_direction)side, l->inbox, INBOX);
		for (unsigned k = 0; k < n; k++) {
			const struct rack_arrival *a = &l->inbox[k];
			bool at_server = side == TRIPOD_INCOMING;
			for (unsigned i = 0; i < l->n; i++) {
				struct one *o = &l->one[i];
				if (o->at == LIFE_NONE ||
					!tripod_addr_equal(&o->address,
						at_server ? &a->tuple.dst : &a->tuple.src) ||
					o->port !=
						ntohs(at_server ? a->tuple.dport : a->tuple.sport))
					continue;
				if (at_server)
					server_gets(l, o, a);
				else
					client_gets(l, o, a);
				break;
			}
		}
	}
	for (unsigned i = 0; i < l->n; i++) {
		struct one *o = &l->one[i];
		if (o->at != LIFE_NONE && rack_now_ns(l->r) - o->sent_ns >= l->repeat_ns)
			client_repeats(l, o);
	}
}

enum life lives_at(const struct lives *l, unsigned i)
{
	return l->one[i].at;
}

unsigned lives_count(const struct lives *l, enum life at)
{
	unsigned n = 0;

	for (unsigned i = 0; i < l->n; i++)
		n += l->one[i].at == at;
	return n;
}
