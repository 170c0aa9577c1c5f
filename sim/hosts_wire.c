// SPDX-License-Identifier: BSD-3-Clause
#include "sim/hosts_wire.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/testing/frames.h"
#include "sim/hosts_packet.h"

#define FLIGHT_MAX 262144
#define EXTERNAL 0xc0000200 // 192.0.2.0: one address for each host inside

static const uint8_t GATEWAY_MAC[2][6] = {{2, 0, 0x5e, 0, 1, 1}, {2, 0, 0x5e, 0, 1, 2}};

struct flight {
	uint64_t at_ns, order;
	enum tripod_direction side; // of the receivers
	uint16_t len;
	uint8_t bytes[];
};

// ---- Frames on their way: a heap ----

static bool sooner(const struct flight *a, const struct flight *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void push(struct wire *w, struct flight *f)
{
	if (w->n_flight == FLIGHT_MAX) {
		fprintf(stderr, "wire: too many frames under way\n");
		abort();
	}
	unsigned i = w->n_flight++;
	for (; i > 0 && sooner(f, w->flight[(i - 1) / 2]); i = (i - 1) / 2)
		w->flight[i] = w->flight[(i - 1) / 2];
	w->flight[i] = f;
}

static struct flight *pop(struct wire *w)
{
	struct flight *first = w->flight[0], *f = w->flight[--w->n_flight];
	unsigned i = 0;
	for (unsigned child; (child = 2 * i + 1) < w->n_flight; i = child) {
		if (child + 1 < w->n_flight && sooner(w->flight[child + 1], w->flight[child]))
			child++;
		if (!sooner(w->flight[child], f))
			break;
		w->flight[i] = w->flight[child];
	}
	w->flight[i] = f;
	return first;
}

// ---- Translation, without state ----

// The address and port that a client's packet to a VIP goes to, by the client.
static void to_backend(const struct wire *w, struct tripod_tuple *t)
{
	for (unsigned v = 0; v < w->conf.hosts.vips; v++) {
		struct tripod_addr vip = hosts_vip_addr(v, !tripod_addr_is_v4(&t->dst));
		if (!tripod_addr_equal(&t->dst, &vip) || t->dport != htons(HOSTS_VIP_PORT))
			continue;
		unsigned i = (t->src.b[15] * 7u + t->sport * 13u) % w->conf.hosts.servers;
		t->dst = hosts_server_addr(i, !tripod_addr_is_v4(&t->dst));
		t->dport = htons((uint16_t)HOSTS_BACKEND_PORT(v));
		return;
	}
}

static void translate(const struct wire *w, struct tripod_tuple *t, enum tripod_direction from)
{
	struct tripod_addr first = hosts_server_addr(0, false);
	uint32_t base = ntohl(tripod_addr_get_v4(&first));
	bool echo = t->proto == IPPROTO_ICMP || t->proto == IPPROTO_ICMPV6;
	bool v4 = tripod_addr_is_v4(&t->src);
	unsigned vip = ntohs(t->sport) - HOSTS_BACKEND_PORT(0);
	if (from == TRIPOD_INCOMING) {
		to_backend(w, t);
		uint32_t to = ntohl(tripod_addr_get_v4(&t->dst));
		if (v4 && to >> 8 == EXTERNAL >> 8)
			t->dst = tripod_addr_v4(htonl(base + to - EXTERNAL));
	} else if (echo || t->dport == htons(HOSTS_REMOTE_PORT)) {
		uint32_t host = ntohl(tripod_addr_get_v4(&t->src)) - base;
		if (v4)
			t->src = tripod_addr_v4(htonl(EXTERNAL + host));
	} else if (vip < w->conf.hosts.vips) {
		t->src = hosts_vip_addr(vip, !v4);
		t->sport = htons(HOSTS_VIP_PORT);
	}
}

static void rewrite(uint8_t *frame, uint16_t len, const struct tripod_tuple *t)
{
	uint8_t *l3 = frame + FRAMES_L3, *l4 = l3 + 40;
	if (tripod_addr_is_v4(&t->src)) {
		memcpy(l3 + 12, t->src.b + 12, 4);
		memcpy(l3 + 16, t->dst.b + 12, 4);
		l4 = l3 + 20;
	} else {
		memcpy(l3 + 8, t->src.b, 16);
		memcpy(l3 + 24, t->dst.b, 16);
	}
	if (t->proto == IPPROTO_TCP || t->proto == IPPROTO_UDP) {
		memcpy(l4, &t->sport, 2);
		memcpy(l4 + 2, &t->dport, 2);
	}
	frames_fix(frame, len);
}

static void depart(struct wire *w, enum tripod_direction side, const uint8_t *bytes, uint16_t len)
{
	struct flight *f = malloc(sizeof(*f) + len);
	*f = (struct flight){.at_ns = w->now_ns + w->conf.delay_ns,
		.order = w->order++,
		.side = side,
		.len = len};
	if (w->conf.jitter_ns)
		f->at_ns += rng_next(&w->rng) % w->conf.jitter_ns;
	memcpy(f->bytes, bytes, len);
	push(w, f);
}

static void sent(void *ctx, enum tripod_direction from, const uint8_t *bytes, uint16_t len)
{
	struct wire *w = ctx;
	struct hosts_packet p;
	uint8_t frame[HOSTS_FRAME_SIZE];
	enum tripod_direction side = (enum tripod_direction) !from;
	for (unsigned i = 0; i < len; i++)
		w->digest = (w->digest ^ bytes[i]) * 0x100000001b3ull;
	w->digest = (w->digest ^ w->now_ns) * 0x100000001b3ull;
	hosts_packet_read(&p, side, bytes, len);
	if (p.kind == HOSTS_PACKET_BAD || !frames_checksums_right(bytes, len)) {
		fprintf(stderr, "wire: a host sent a bad frame: %s\n", p.why ? p.why : "checksum");
		abort();
	}
	memcpy(frame, bytes, len);
	memcpy(frame, HOSTS_MAC[side], 6);
	translate(w, &p.tuple, from);
	rewrite(frame, len, &p.tuple);
	if (w->conf.hook && !w->conf.hook(w->conf.ctx, side, frame, &len))
		return;
	if (rng_below(&w->rng, 1000) >= w->conf.loss_per_mille)
		depart(w, side, frame, len);
	if (rng_below(&w->rng, 1000) < w->conf.dup_per_mille)
		depart(w, side, frame, len);
}

// ---- Events ----

static void event(void *ctx, const struct hosts_event *e)
{
	struct wire *w = ctx;
	w->what[e->what]++;
	if (e->what == HOSTS_ESTABLISHED || w->n_events == WIRE_EVENTS)
		return;
	w->events[w->n_events++] = (struct wire_event){.what = e->what,
		.kind = e->kind,
		.planned = e->planned,
		.reused = e->reused,
		.established = e->established_ns != 0,
		.id = e->id,
		.bytes = e->bytes,
		.stall_ns = e->longest_stall_ns,
		.why = e->why,
		.opening = e->opening,
		.peer = e->peer};
}

const struct wire_event *wire_fault(const struct wire *w, enum hosts_what what)
{
	for (unsigned i = w->n_events; i > 0; i--) {
		if (w->events[i - 1].what == what && !w->events[i - 1].planned)
			return &w->events[i - 1];
	}
	return NULL;
}

void wire_print(const struct wire *w)
{
	struct hosts_totals t;
	char text[TRIPOD_TUPLE_STRLEN];
	unsigned shown = 0;
	hosts_totals(w->hosts, &t);
	fprintf(stderr,
		"established %lu done %lu broken %lu refused %lu corrupt %lu open %lu bytes %lu "
		"packets %lu rexmit %lu fast %lu skipped %lu reused %lu rst %lu/%lu lost %lu late "
		"%lu "
		"probes %lu keepalives %lu ooo %lu\n",
		t.established, t.done, t.broken, t.refused, t.corrupt, t.open, t.bytes, t.packets,
		t.retransmissions, t.fast_retransmissions, t.skipped, t.reused, t.resets_sent,
		t.resets_received, t.datagrams_lost, t.late, t.probes, t.keepalives, t.ooo_dropped);
	for (unsigned i = 0; i < w->n_events && shown < 20; i++) {
		const struct wire_event *e = &w->events[i];
		if (e->what == HOSTS_DONE || (e->what == HOSTS_REFUSED && e->planned))
			continue;
		shown++;
		fprintf(stderr, "%s %s %lx %s: %s, %lu bytes%s\n", hosts_what_name(e->what),
			hosts_kind_name(e->kind), e->id,
			tripod_tuple_format(&e->opening, text, sizeof(text)), e->why, e->bytes,
			e->reused ? ", reused" : "");
	}
}

// ---- Running ----

struct wire *wire_new(const struct wire_conf *conf)
{
	struct wire *w = calloc(1, sizeof(*w));
	struct hosts_conf *f = &w->conf.hosts;
	w->conf = *conf;
	w->rng.state = conf->seed ^ 0x77697265;
	w->flight = malloc(FLIGHT_MAX * sizeof(*w->flight));
	w->events = malloc(WIRE_EVENTS * sizeof(*w->events));
	w->now_ns = 1000000000;
	f->seed = conf->seed;
	f->gateway_mac = GATEWAY_MAC;
	f->send = sent;
	f->event = event;
	f->ctx = w;
	f->mtu = f->mtu ? f->mtu : 1500;
	f->clients = f->clients ? f->clients : 50;
	f->servers = f->servers ? f->servers : 20;
	f->vips = f->vips ? f->vips : 3;
	f->connections_max = f->connections_max ? f->connections_max : 1000;
	f->rto_min_ns = f->rto_min_ns ? f->rto_min_ns : 20000000;
	f->give_up_ns = f->give_up_ns ? f->give_up_ns : 20000000000;
	unsigned sum = 0;
	for (unsigned k = 0; k < HOSTS_KINDS; k++)
		sum += f->weight[k];
	for (unsigned k = 0; sum == 0 && k < HOSTS_KINDS; k++)
		f->weight[k] = 1;
	if (w->conf.delay_ns == 0)
		w->conf.delay_ns = 50000;
	w->hosts = hosts_new(f, w->now_ns);
	if (!w->hosts) {
		fprintf(stderr, "wire: hosts_new() refused\n");
		abort();
	}
	return w;
}

void wire_free(struct wire *w)
{
	while (w->n_flight > 0)
		free(pop(w));
	hosts_free(w->hosts);
	free(w->flight);
	free(w->events);
	free(w);
}

static bool turn(struct wire *w, uint64_t until_ns)
{
	uint64_t due = hosts_due_ns(w->hosts);
	bool arrives = w->n_flight > 0 && w->flight[0]->at_ns <= due;
	uint64_t at = arrives ? w->flight[0]->at_ns : due;
	if (at > until_ns)
		return false;
	w->now_ns = at > w->now_ns ? at : w->now_ns;
	if (!arrives) {
		hosts_tick(w->hosts, w->now_ns);
		return true;
	}
	struct flight *f = pop(w);
	hosts_rx(w->hosts, f->side, f->bytes, f->len, w->now_ns);
	free(f);
	return true;
}

void wire_run(struct wire *w, uint64_t until_ns)
{
	while (turn(w, until_ns))
		;
	w->now_ns = until_ns > w->now_ns ? until_ns : w->now_ns;
}

void wire_finish(struct wire *w, uint64_t most_ns)
{
	struct hosts_totals t;
	uint64_t until = w->now_ns + most_ns;
	hosts_finish(w->hosts, w->now_ns);
	do
		hosts_totals(w->hosts, &t);
	while (t.open > 0 && turn(w, until));
}
