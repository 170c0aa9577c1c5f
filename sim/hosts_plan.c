// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>

#include "sim/hosts_internal.h"
#include "sim/replay.h"
#include "sim/sizes.h"

#define ID_SIZE 8 // what a stream begins with
#define BYTES_MAX 1000000
#define TRIES 16
#define ROUNDS_MAX 12

const uint8_t HOSTS_MAC[2][6] = {{2, 0, 0, 0, 0xee, 1}, {2, 0, 0, 0, 0xee, 2}};

// ---- Addresses ----

static struct tripod_addr v4(uint32_t base, unsigned i)
{
	return tripod_addr_v4(htonl(base + i));
}

static struct tripod_addr v6(uint32_t high, uint32_t low, unsigned i)
{
	struct tripod_addr a = {0};
	hosts_set32(a.b, high);
	hosts_set32(a.b + 4, low);
	hosts_set32(a.b + 12, i);
	return a;
}

struct tripod_addr hosts_client_addr(unsigned i, bool is_v6)
{
	return is_v6 ? v6(0x20010db8, 0x000c0000, 0x100 + i) : v4(0xc6120100, i);
}

struct tripod_addr hosts_server_addr(unsigned i, bool is_v6)
{
	return is_v6 ? v6(0xfd000002, 0, 0x100 + i) : v4(0x0a020100, i);
}

struct tripod_addr hosts_vip_addr(unsigned i, bool is_v6)
{
	return is_v6 ? v6(0x20010db8, 0x00010000, 0x8000 + i) : v4(0xcb007180, i);
}

// How far a lies above base, within the same 64 bits (v6) or of all addresses (v4).
static uint32_t distance(const struct tripod_addr *a, const struct tripod_addr *base)
{
	if (memcmp(a->b, base->b, 12) != 0)
		return UINT32_MAX;
	return hosts_get32(a->b + 12) - hosts_get32(base->b + 12);
}

bool hosts_owns(const struct hosts *h, enum tripod_direction side, const struct tripod_addr *a)
{
	bool outside = side == TRIPOD_INCOMING, is_v6 = !tripod_addr_is_v4(a);
	struct tripod_addr first =
		outside ? hosts_client_addr(0, is_v6) : hosts_server_addr(0, is_v6);
	struct tripod_addr router = outside ? v4(0xcb0071fe, 0) : v4(0x0a0100fe, 0);
	if (is_v6)
		router = outside ? v6(0x20010db8, 0x00010000, 0xfe) : v6(0xfd000001, 0, 0xfe);
	return distance(a, &first) < (outside ? h->conf.clients : h->conf.servers) ||
	       tripod_addr_equal(a, &router);
}

const char *hosts_translation(
	const struct hosts *h, const struct hosts_conn *c, const struct tripod_tuple *seen)
{
	const struct tripod_tuple *t = &c->e.opening;
	enum tripod_direction side = hosts_side((enum hosts_kind)c->kind);
	bool to = tripod_addr_equal(&seen->dst, &t->dst) && seen->dport == t->dport;
	bool from = tripod_addr_equal(&seen->src, &t->src) && seen->sport == t->sport;
	if (seen->direction != t->direction || seen->proto != t->proto)
		return "arrived on its own side, or as another protocol";
	if (!hosts_owns(h, !side, &seen->dst))
		return "sent on to an address that no host has";
	if (side == TRIPOD_INCOMING && !from)
		return "the client's address or port was changed";
	if (c->kind == HOSTS_TCP_STRAIGHT && !to)
		return "the server's address or port was changed";
	if (side == TRIPOD_OUTGOING && !tripod_addr_equal(&seen->dst, &t->dst))
		return "the server's address was changed";
	if (side == TRIPOD_OUTGOING && c->kind != HOSTS_ECHO_OUT && !to)
		return "the server's port was changed";
	return NULL;
}

// ---- Drawing ----

static uint32_t below(struct hosts *h, uint64_t n)
{
	return n > 0 ? rng_below(&h->rng, n > UINT32_MAX ? UINT32_MAX : (uint32_t)n) : 0;
}

static bool chance(struct hosts *h, uint32_t percent)
{
	return below(h, 100) < percent;
}

static enum hosts_kind draw_kind(struct hosts *h, unsigned from, unsigned to)
{
	uint64_t sum = 0;
	for (unsigned k = from; k < to; k++)
		sum += h->conf.weight[k];
	uint32_t at = below(h, sum);
	unsigned k = from;
	while (k + 1 < to && at >= h->conf.weight[k])
		at -= h->conf.weight[k++];
	return (enum hosts_kind)k;
}

static uint16_t any_port(struct hosts *h)
{
	return htons((uint16_t)(1024 + below(h, 65536 - 1024)));
}

// A tuple of this kind, of which no end is open. false: none was found.
static bool draw_tuple(struct hosts *h, enum hosts_kind kind, bool is_v6, struct tripod_tuple *t)
{
	enum tripod_direction side = hosts_side(kind);
	bool outside = side == TRIPOD_INCOMING;
	*t = (struct tripod_tuple){.direction = side, .proto = IPPROTO_TCP};
	if (kind == HOSTS_UDP_IN || kind == HOSTS_UDP_OUT)
		t->proto = IPPROTO_UDP;
	else if (kind == HOSTS_ECHO_OUT)
		t->proto = is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	t->dport = htons(HOSTS_REMOTE_PORT);
	if (kind == HOSTS_TCP_IN || kind == HOSTS_UDP_IN) {
		t->dst = hosts_vip_addr(below(h, h->conf.vips), is_v6);
		t->dport = htons(HOSTS_VIP_PORT);
	} else if (outside) {
		t->dst = hosts_server_addr(below(h, h->conf.servers), is_v6);
		t->dport = htons(HOSTS_STRAIGHT_PORT);
	} else {
		t->dst = hosts_client_addr(below(h, h->conf.clients), is_v6);
	}
	for (int i = 0; i < TRIES; i++) {
		t->src = outside ? hosts_client_addr(below(h, h->conf.clients), is_v6)
				 : hosts_server_addr(below(h, h->conf.servers), is_v6);
		t->sport = any_port(h);
		if (kind == HOSTS_ECHO_OUT)
			t->dport = t->sport;
		if (!hosts_end_find(h, t))
			return true;
	}
	return false;
}

// A tuple that has just been closed. false: none.
static bool reuse_tuple(struct hosts *h, struct hosts_closed *out)
{
	if (h->closed_n == 0 || !chance(h, h->conf.reuse_percent))
		return false;
	*out = h->closed[--h->closed_n];
	struct hosts_end *e = hosts_end_find(h, &out->tuple);
	if (e && (e->state != END_TIME_WAIT || h->conns[e->conn].phase != PHASE_ENDED))
		return false;
	if (e)
		hosts_end_free(h, e);
	h->totals.reused++;
	return true;
}

// above: 0, or the numbers that the tuple's former connection has used.
static void draw_isn(struct hosts *h, struct hosts_conn *c, uint32_t above)
{
	uint32_t isn;
	do {
		if (above)
			isn = above + 1 + below(h, 1u << 24);
		else if (chance(h, 25)) // so that it wraps soon
			isn = 0u - 1 - below(h, c->total[0] + 3000);
		else
			isn = (uint32_t)rng_next(&h->rng);
	} while (hosts_conn_by_isn(h, isn));
	hosts_conn_set_isn(h, c, isn);
}

static uint16_t largest(const struct hosts *h, bool is_v6)
{
	return (uint16_t)(h->conf.mtu - (is_v6 ? 60 : 40));
}

static void draw_ends(struct hosts *h, struct hosts_conn *c, bool is_v6)
{
	struct hosts_plan *p = &c->plan;
	for (unsigned d = 0; d < 2; d++) {
		static const uint16_t SMALL[4] = {536, 1220, 1024, 700};
		p->mss[d] = largest(h, is_v6);
		uint16_t small = SMALL[below(h, 4)];
		if (chance(h, 10) && small < p->mss[d])
			p->mss[d] = small;
		p->wscale[d] = chance(h, 20) ? -1 : (int8_t)below(h, 9);
		p->buffer[d] = p->wscale[d] < 0 ? 8192 + below(h, 57000) : 16384 + below(h, 240000);
		p->delayed_ack[d] = chance(h, 50);
		if (chance(h, 3)) { // a reader that stops for a while, behind a small buffer
			p->buffer[d] = 2048 + below(h, 8192);
			p->pause_at[d] = below(h, c->total[!d]);
			p->pause_ms[d] = (uint16_t)(1 + below(h, 200));
		}
	}
}

static void draw_close(struct hosts *h, struct hosts_conn *c)
{
	struct hosts_plan *p = &c->plan;
	if (chance(h, h->conf.refuse_percent)) {
		p->closer = CLOSER_REFUSE;
	} else if (chance(h, h->conf.abort_percent)) {
		bool initiator = chance(h, 50);
		p->closer = initiator ? CLOSER_ABORT_INITIATOR : CLOSER_ABORT_RESPONDER;
		p->abort_at = below(h, c->total[!initiator] + 1);
	} else {
		p->closer = (uint8_t)(CLOSER_INITIATOR + below(h, CLOSER_BOTH + 1));
	}
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void draw_silence(struct hosts *h, struct hosts_plan *p)
{
	p->think_ms = below(h, h->conf.think_max_ms + 1ull);
	if (!chance(h, h->conf.idle_percent) || h->conf.idle_max_ms == 0)
		return;
	if (p->rounds < 2)
		p->rounds = 2;
	p->gap_ms = 1 + below(h, h->conf.idle_max_ms);
	p->gap_round = 1 + below(h, p->rounds - 1);
}

static void draw_tcp(struct hosts *h, struct hosts_conn *c)
{
	struct hosts_plan *p = &c->plan;
	uint64_t limit = h->conf.bytes_max ? h->conf.bytes_max : BYTES_MAX;
	uint64_t size = at_most(sizes_draw(h->conf.sizes, &h->rng), limit);
	p->rounds = 1;
	if (chance(h, 1)) {
		p->rounds = 0; // opens, and closes
	} else if (chance(h, h->conf.request_reply_percent)) {
		p->rounds = 2 + below(h, ROUNDS_MAX - 1);
		p->bytes[0] = ID_SIZE + below(h, 600);
		p->bytes[1] = size / p->rounds + 1;
	} else if (chance(h, 30)) {
		p->bytes[0] = size; // an upload
	} else if (chance(h, 60)) {
		p->bytes[0] = ID_SIZE + below(h, 400); // a download
		p->bytes[1] = size;
	} else {
		p->bytes[0] = size;
		p->bytes[1] = at_most(sizes_draw(h->conf.sizes, &h->rng), limit);
		p->duplex = chance(h, 50);
	}
	if (p->rounds > 0)
		draw_silence(h, p);
	for (unsigned d = 0; d < 2; d++)
		c->total[d] = p->rounds * p->bytes[d];
}

// Datagrams carry a head, and fit without fragments.
static uint64_t datagram(const struct hosts *h, uint64_t bytes)
{
	uint64_t most = h->conf.mtu - 48u;
	return bytes < HOSTS_DATAGRAM ? HOSTS_DATAGRAM : at_most(bytes, most);
}

static void draw_flow(struct hosts *h, struct hosts_conn *c)
{
	struct hosts_plan *p = &c->plan;
	p->rounds = chance(h, 50) ? 1 + below(h, 3) : 1 + below(h, 40);
	p->bytes[0] = datagram(h, below(h, 1500));
	p->bytes[1] = datagram(h, chance(h, 50) ? 1500 : below(h, 600));
	p->interval_us = 200 + below(h, 20000);
	draw_silence(h, p);
	if (chance(h, 50))
		p->think_ms = 0;
}

static uint64_t per_round(uint64_t bytes, uint32_t rounds)
{
	return rounds > 0 ? (bytes + rounds - 1) / rounds : 0;
}

static void take_replayed(struct hosts *h, struct hosts_conn *c, const struct replay_conn *r)
{
	struct hosts_plan *p = &c->plan;
	uint64_t limit = h->conf.bytes_max ? h->conf.bytes_max : BYTES_MAX;
	p->rounds = r->turns > 0 ? r->turns : 1;
	if (r->proto != IPPROTO_TCP) {
		p->rounds = r->packets[0] > 0 ? r->packets[0] : 1;
		for (unsigned d = 0; d < 2; d++)
			p->bytes[d] = datagram(h, per_round(r->bytes[d], r->packets[d]));
		p->interval_us = 2000;
		return;
	}
	for (unsigned d = 0; d < 2; d++) {
		c->total[d] = at_most(r->bytes[d], limit);
		p->bytes[d] = per_round(c->total[d], p->rounds);
	}
	p->duplex = c->total[0] == 0; // the other end speaks unasked
}

static enum hosts_kind replayed_kind(struct hosts *h, uint8_t proto)
{
	if (proto == IPPROTO_ICMP)
		return HOSTS_ECHO_OUT;
	if (proto == IPPROTO_UDP)
		return draw_kind(h, HOSTS_UDP_IN, HOSTS_UDP_OUT + 1);
	return draw_kind(h, HOSTS_TCP_IN, HOSTS_TCP_STRAIGHT + 1);
}

bool hosts_plan_draw(struct hosts *h, struct hosts_conn *c, struct tripod_tuple *opening)
{
	const struct replay_conn *r =
		h->conf.replay ? replay_get(h->conf.replay, h->replayed - 1) : NULL;
	struct hosts_closed closed = {0};
	bool is_v6 = r ? r->v6 : chance(h, h->conf.v6_percent);
	bool reused = !r && reuse_tuple(h, &closed);
	enum hosts_kind kind = reused ? (enum hosts_kind)closed.kind
			       : r    ? replayed_kind(h, r->proto)
				      : draw_kind(h, 0, HOSTS_KINDS);
	c->kind = (uint8_t)kind;
	if (reused)
		*opening = closed.tuple;
	else if (!draw_tuple(h, kind, is_v6, opening))
		return false;
	c->e.reused = reused;
	if (r)
		take_replayed(h, c, r);
	else if (hosts_is_tcp(kind))
		draw_tcp(h, c);
	else
		draw_flow(h, c);
	if (hosts_is_tcp(kind)) {
		draw_close(h, c);
		draw_ends(h, c, !tripod_addr_is_v4(&opening->src));
		draw_isn(h, c, closed.isn);
	}
	return true;
}
