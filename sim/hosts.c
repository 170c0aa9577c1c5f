// SPDX-License-Identifier: BSD-3-Clause
#include <stdlib.h>

#include "sim/hosts_internal.h"
#include "sim/replay.h"

const char *hosts_kind_name(enum hosts_kind kind)
{
	static const char *const NAMES[HOSTS_KINDS] = {
		"tcp-in", "tcp-out", "tcp-straight", "udp-in", "udp-out", "echo-out"};
	return kind < HOSTS_KINDS ? NAMES[kind] : "?";
}

const char *hosts_what_name(enum hosts_what what)
{
	static const char *const NAMES[] = {"established", "done", "broken", "refused", "corrupt"};
	return what <= HOSTS_CORRUPT ? NAMES[what] : "?";
}

// ---- What the parts need ----

void hosts_send(struct hosts *h, enum tripod_direction from, uint16_t len)
{
	h->totals.packets++;
	h->conf.send(h->conf.ctx, from, h->frame, len);
}

static void told(struct hosts *h, enum hosts_what what)
{
	h->totals.done += what == HOSTS_DONE;
	h->totals.broken += what == HOSTS_BROKEN;
	h->totals.refused += what == HOSTS_REFUSED;
	h->totals.corrupt += what == HOSTS_CORRUPT;
}

void hosts_tell(struct hosts *h, struct hosts_conn *c, enum hosts_what what, const char *why)
{
	told(h, what);
	c->e.what = what;
	c->e.why = why;
	if (h->conf.event)
		h->conf.event(h->conf.ctx, &c->e);
}

void hosts_tell_frame(struct hosts *h, const struct tripod_tuple *t, const char *why)
{
	struct hosts_event e = {.what = HOSTS_CORRUPT, .opening = *t, .why = why};
	told(h, HOSTS_CORRUPT);
	if (h->conf.event)
		h->conf.event(h->conf.ctx, &e);
}

void hosts_progress(struct hosts *h, struct hosts_conn *c)
{
	uint64_t since = c->e.last_progress_ns;
	bool established = c->e.established_ns != 0 && c->e.established_ns < h->now_ns;
	if (c->quiet_until_ns > since)
		since = c->quiet_until_ns;
	if (established && h->now_ns > since && h->now_ns - since > c->e.longest_stall_ns)
		c->e.longest_stall_ns = h->now_ns - since;
	c->e.last_progress_ns = h->now_ns;
}

static void remember(struct hosts *h, const struct hosts_conn *c)
{
	const struct hosts_end *e = hosts_conn_end(h, c, 0);
	if (h->closed_n == HOSTS_CLOSED) {
		memmove(&h->closed[0], &h->closed[1], (HOSTS_CLOSED - 1) * sizeof(h->closed[0]));
		h->closed_n--;
	}
	h->closed[h->closed_n++] = (struct hosts_closed){.tuple = c->e.opening,
		.isn = hosts_is_tcp(c->kind) ? e->iss + (uint32_t)e->max : 0,
		.kind = c->kind};
}

void hosts_end_conn(struct hosts *h, struct hosts_conn *c, enum hosts_what what, const char *why)
{
	bool kept = false;
	if (!hosts_is_tcp(c->kind))
		h->totals.datagrams_lost += c->round - c->answered;
	if (what == HOSTS_DONE && !c->aborted && h->conf.reuse_percent > 0)
		remember(h, c);
	h->totals.bytes += c->e.bytes;
	hosts_tell(h, c, what, why);
	for (unsigned i = 0; i < HOSTS_ENDS; i++) {
		struct hosts_end *e = hosts_conn_end(h, c, i);
		if (!e)
			continue;
		if (e->state == END_TIME_WAIT && what == HOSTS_DONE) {
			kept = true;
			continue;
		}
		if (e->state == END_OPEN)
			hosts_tcp_reset(h, e);
		hosts_end_free(h, e);
	}
	if (!kept) {
		hosts_conn_free(h, c);
		return;
	}
	hosts_conn_linger(h, c);
	hosts_tcp_schedule(h, c);
}

// ---- Opening ----

static void open_one(struct hosts *h)
{
	struct tripod_tuple opening;
	struct hosts_conn *c = h->open < h->conf.connections_max ? hosts_conn_new(h) : NULL;
	if (!c || h->end_free == HOSTS_NONE || !hosts_plan_draw(h, c, &opening)) {
		if (c)
			hosts_conn_free(h, c);
		h->totals.skipped++;
		return;
	}
	h->totals.opened[c->kind]++;
	c->e.id = c->id;
	c->e.kind = (enum hosts_kind)c->kind;
	c->e.opening = opening;
	c->e.opened_ns = c->e.last_progress_ns = h->now_ns;
	if (hosts_is_tcp(c->kind))
		hosts_tcp_open(h, c, &opening);
	else
		hosts_flow_open(h, c, &opening);
}

static void next_opening(struct hosts *h)
{
	if (h->conf.replay) {
		h->next_open_ns =
			h->replayed < replay_count(h->conf.replay)
				? h->started_ns + replay_get(h->conf.replay, h->replayed)->start_ns
				: HOSTS_NEVER;
		return;
	}
	uint64_t mean = 1000000000ull / h->conf.opens_per_s;
	h->next_open_ns += 1 + (mean * 2 * (rng_next(&h->rng) >> 40) >> 24);
}

static bool opens(const struct hosts *h)
{
	return !h->paused && !h->finishing;
}

// ---- The interface ----

static bool usable(const struct hosts_conf *f)
{
	uint32_t weight = 0, in = f->weight[HOSTS_TCP_IN] + f->weight[HOSTS_UDP_IN];
	for (unsigned k = 0; k < HOSTS_KINDS; k++)
		weight += f->weight[k];
	return f->send && f->gateway_mac && f->mtu >= 1280 && f->mtu + 18 <= HOSTS_FRAME_SIZE &&
	       f->clients > 0 && f->clients <= HOSTS_ADDRESSES_MAX && f->servers > 0 &&
	       f->servers <= HOSTS_ADDRESSES_MAX && f->vips <= HOSTS_VIPS_MAX &&
	       (in == 0 || f->vips > 0) && weight > 0 && weight >= in && f->connections_max > 0 &&
	       f->connections_max <= 400000 && f->rto_min_ns > 0 &&
	       f->give_up_ns >= f->rto_min_ns && f->opens_per_s <= 100000000;
}

struct hosts *hosts_new(const struct hosts_conf *conf, uint64_t now_ns)
{
	if (!usable(conf))
		return NULL;
	struct hosts *h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->conf = *conf;
	h->rng.state = conf->seed;
	h->now_ns = h->started_ns = h->next_open_ns = now_ns;
	if (hosts_table_new(h) < 0) {
		hosts_free(h);
		return NULL;
	}
	if (!conf->replay && conf->opens_per_s == 0)
		h->next_open_ns = HOSTS_NEVER;
	else
		next_opening(h);
	return h;
}

void hosts_free(struct hosts *h)
{
	if (h)
		hosts_table_free(h);
	free(h);
}

static void answer(struct hosts *h, enum tripod_direction side, const struct hosts_packet *p)
{
	if (!hosts_owns(h, side, &p->target))
		return;
	h->totals.arp_answers++;
	hosts_send(h, side, hosts_packet_answer(h->frame, p, HOSTS_MAC[side]));
}

static void arrived(struct hosts *h, enum tripod_direction side, const uint8_t *bytes,
	const struct hosts_packet *p)
{
	if (memcmp(bytes, HOSTS_MAC[side], 6) != 0 && h->conf.dirty) {
		h->totals.bad_checksums++; // what checks Ethernet's own is not simulated
	} else if (memcmp(bytes, HOSTS_MAC[side], 6) != 0) {
		hosts_tell_frame(h, &p->tuple, "to another MAC");
	} else if (!hosts_owns(h, side, &p->tuple.dst)) {
		hosts_tell_frame(h, &p->tuple, "to an address that no host has");
	} else if (p->kind == HOSTS_PACKET_ICMP_ERROR) {
		h->totals.icmp_errors++;
	} else if (p->kind == HOSTS_PACKET_TCP) {
		hosts_tcp_rx(h, p);
	} else {
		hosts_flow_rx(h, side, p);
	}
}

void hosts_rx(struct hosts *h, enum tripod_direction side, const uint8_t *bytes, uint16_t len,
	uint64_t now_ns)
{
	struct hosts_packet p;
	h->now_ns = now_ns;
	h->totals.packets++;
	hosts_packet_read(&p, side, bytes, len);
	switch (p.kind) {
	case HOSTS_PACKET_BAD:
		if (h->conf.dirty)
			h->totals.bad_checksums++;
		else
			hosts_tell_frame(h, &p.tuple, p.why);
		break;
	case HOSTS_PACKET_ARP_REQUEST:
	case HOSTS_PACKET_SOLICITATION:
		answer(h, side, &p);
		break;
	case HOSTS_PACKET_OTHER:
		break;
	default:
		arrived(h, side, bytes, &p);
		break;
	}
}

uint64_t hosts_due_ns(const struct hosts *h)
{
	uint64_t due = h->heap_len > 0 ? h->conns[h->heap[0]].due_ns : HOSTS_NEVER;
	return opens(h) && h->next_open_ns < due ? h->next_open_ns : due;
}

uint64_t hosts_tick(struct hosts *h, uint64_t now_ns)
{
	h->now_ns = now_ns;
	// What was left out in a pause is not made up for.
	if (h->resumed && !h->conf.replay && h->next_open_ns < now_ns)
		h->next_open_ns = now_ns;
	h->resumed = false;
	while (opens(h) && h->next_open_ns <= now_ns) {
		h->replayed++;
		open_one(h);
		next_opening(h);
	}
	struct hosts_conn *c;
	while ((c = hosts_due_first(h)) && c->due_ns <= now_ns) {
		hosts_due_never(h, c);
		if (hosts_is_tcp(c->kind))
			hosts_tcp_tick(h, c);
		else
			hosts_flow_tick(h, c);
	}
	return hosts_due_ns(h);
}

void hosts_pause(struct hosts *h, bool paused)
{
	h->resumed |= h->paused && !paused;
	h->paused = paused;
}

void hosts_finish(struct hosts *h, uint64_t now_ns)
{
	h->now_ns = now_ns;
	h->finishing = true;
	for (uint32_t i = 0; i < h->conns_max; i++) {
		struct hosts_conn *c = &h->conns[i];
		if (c->phase != PHASE_OPENING && c->phase != PHASE_OPEN)
			continue;
		if (hosts_is_tcp(c->kind))
			hosts_tcp_finish(h, c);
		else
			hosts_flow_finish(h, c);
	}
}

void hosts_totals(const struct hosts *h, struct hosts_totals *out)
{
	*out = h->totals;
	out->open = h->open;
}
