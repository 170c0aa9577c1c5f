// SPDX-License-Identifier: BSD-3-Clause
#include "sim/flood.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "sim/hosts_packet.h"
#include "sim/world.h"

#define MILLION 1000000u
#define SENDERS 0xc6130000u // 198.19.0.0/16, where no host is
#define MASK 0xffff0000u
#define PRINTS (1u << 22) // bits of a filter over the fingerprints that there are

const char *const flood_names[FLOOD_KINDS + 1] = {
	"unknown", "colliding", "syn", "udp", "mixed", NULL};

static bool is_sender(const struct tripod_addr *a)
{
	uint32_t v4;

	memcpy(&v4, a->b + 12, sizeof(v4));
	return tripod_addr_is_v4(a) && (ntohl(v4) & MASK) == SENDERS;
}

bool flood_owns(const struct tripod_tuple *t)
{
	return is_sender(&t->src) || is_sender(&t->dst);
}

// Number n of 2^32.
static struct tripod_tuple tuple_of(const struct world *w, uint32_t n, uint8_t proto)
{
	struct tripod_tuple t = {
		.src = tripod_addr_v4(htonl(SENDERS | n >> 16)),
		.dst = hosts_vip_addr(n % w->o.hosts.vips, false),
		.sport = htons((uint16_t)n),
		.dport = htons(HOSTS_VIP_PORT),
		.direction = TRIPOD_INCOMING,
		.proto = proto,
	};
	return t;
}

// ---- Collisions ----

struct prints {
	uint32_t *fp, n, room;
	uint64_t filter[PRINTS / 64];
};

static void note_print(struct prints *p, uint32_t fp)
{
	if (p->n == p->room) {
		p->room = 2 * p->room + 1024;
		p->fp = realloc(p->fp, p->room * sizeof(*p->fp));
		if (p->fp == NULL)
			abort();
	}
	p->fp[p->n++] = fp;
	p->filter[fp % PRINTS / 64] |= 1ull << fp % 64;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void note_shard(struct prints *p, const struct store *s)
{
	for (uint32_t i = 1; i <= s->capacity; i++) {
		const struct conn *c = store_conn(s, i);
		for (unsigned d = 0; d < 2; d++) {
			const struct tripod_tuple *t = &c->dir[d].key;
			if (c->state == CONN_LIVE && t->direction == TRIPOD_INCOMING &&
				t->proto != 0 && !flood_owns(t))
				note_print(p, index_print(store_hash(s, t), t->direction));
		}
	}
}

void flood_find_pairs(struct world *w, unsigned tries)
{
	struct prints *p = calloc(1, sizeof(*p));
	const struct store *any = NULL;

	if (p == NULL)
		abort();
	for (unsigned i = 0; i < w->o.nodes; i++) {
		for (unsigned k = 0; w->node[i].node != NULL && k < w->o.workers; k++) {
			any = &node_shard(w->node[i].node, k)->store;
			note_shard(p, any);
		}
	}
	if (p->n > 0)
		qsort(p->fp, p->n, sizeof(*p->fp), by_value);
	w->flood.n_pairs = 0;
	for (unsigned n = 0; p->n > 0 && n < tries && w->flood.n_pairs < FLOOD_PAIRS; n++) {
		struct tripod_tuple t = tuple_of(w, n, IPPROTO_TCP);
		uint32_t fp = index_print(store_hash(any, &t), t.direction);
		if ((p->filter[fp % PRINTS / 64] >> fp % 64 & 1) &&
			bsearch(&fp, p->fp, p->n, sizeof(fp), by_value) != NULL)
			w->flood.pair[w->flood.n_pairs++] = t;
	}
	free(p->fp);
	free(p);
}

// ---- Packets ----

void flood_begin(struct world *w, enum flood_kind kind, uint32_t per_s)
{
	w->flood.kind = kind;
	w->flood.per_s = per_s;
	w->flood.due = 0;
}

static void send_one(struct world *w)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0xf1, 0};
	struct flood *f = &w->flood;
	enum flood_kind kind = f->kind;
	uint8_t frame[256];

	if (kind == FLOOD_MIXED)
		kind = (enum flood_kind)rng_below(&f->rng, FLOOD_MIXED);
	struct tripod_tuple t = tuple_of(
		w, (uint32_t)rng_next(&f->rng), kind == FLOOD_UDP ? IPPROTO_UDP : IPPROTO_TCP);
	if (kind == FLOOD_COLLIDING && f->n_pairs > 0 && rng_below(&f->rng, 2) == 0)
		t = f->pair[rng_below(&f->rng, f->n_pairs)];
	struct hosts_out o = {
		.tuple = &t,
		.src_mac = mac,
		.dst_mac = RACKFILE_GATEWAY_MAC[TRIPOD_INCOMING],
		.seq = (uint32_t)rng_next(&f->rng),
		.ack = (uint32_t)rng_next(&f->rng),
		.flags = kind == FLOOD_SYN ? HOSTS_SYN : HOSTS_ACK,
		.window = 1000,
		.payload_len = 12,
	};
	memset(hosts_packet_begin(frame, &o), 0, o.payload_len);
	net_from_hosts(w, TRIPOD_INCOMING, frame, hosts_packet_finish(frame));
	f->sent++;
}

void flood_step(struct world *w)
{
	for (w->flood.due += (uint64_t)w->flood.per_s * FLOOD_STEP_US; w->flood.due >= MILLION;
		w->flood.due -= MILLION)
		send_one(w);
}
