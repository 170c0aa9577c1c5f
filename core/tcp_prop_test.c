// SPDX-License-Identifier: BSD-3-Clause
// Two modelled TCP endpoints talk through the tracker, over networks that lose, repeat and reorder
// packets before and behind it. Whatever they send must pass; when both are done the tracker must
// know; and what an attacker off the path sends must change nothing.
#include "core/tcp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"

#define QUEUE 16 // packets under way from an endpoint to the tracker
#define REORDER 3 // one of the first so many arrives next
#define STEPS_MAX 200000
#define FLAGS_TIME_MAX 40 // steps until a node has the other's durable flags

struct wire {
	uint32_t seq, ack;
	uint16_t win, len;
	uint8_t flags;
	int8_t shift; // window scale option, -1: none
};

struct endpoint {
	bool open, dead, reset; // SYN sent; aborted by itself; reset by the other
	bool heard, done_sending;
	uint32_t isn, una, nxt, max; // max: highest number ever sent
	uint32_t total; // bytes to send
	uint32_t edge; // right edge that the other has offered
	uint32_t rcv_nxt, rcv_edge;
	bool fin_sent, fin_acked, fin_received;
	uint32_t buffer, mss;
	int8_t shift; // offered, -1: none
	bool scaled;
	uint8_t peer_shift;
	bool ack_owed;
};

struct world {
	struct rng rng;
	struct endpoint e[2];
	struct wire queue[2][QUEUE];
	unsigned queued[2];
	// Node 0 sees both directions, or (split) each node one, or (roaming) whichever come to it.
	struct tcp_dir node[2][2]; // by node, direction
	unsigned where[2]; // node that sees this direction
	bool split, roaming, takeovers, attacked, abort, calm;
	unsigned loss_before, loss_behind, repeat; // of 256
	bool crossing;
	unsigned passed, forged;
};

static bool chance(struct world *w, unsigned of_256)
{
	return rng_below(&w->rng, 256) < of_256;
}

static int32_t diff(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

// ---- Endpoints ----

static void transmit(struct world *w, unsigned i, struct wire p)
{
	for (unsigned n = 0; n < 2; n++) {
		if (w->queued[i] < QUEUE && !chance(w, w->calm ? 0 : w->loss_before))
			w->queue[i][w->queued[i]++] = p;
		if (!chance(w, w->calm ? 0 : w->repeat))
			break;
	}
}

static void emit(struct world *w, unsigned i, uint8_t flags, uint32_t seq, uint16_t len)
{
	struct endpoint *e = &w->e[i];
	struct wire p = {.seq = seq, .len = len, .flags = flags, .shift = -1};
	bool syn = flags & TRIPOD_TCP_SYN;
	if (flags & TRIPOD_TCP_ACK) {
		p.ack = e->rcv_nxt;
		if (chance(w, 128) && diff(e->rcv_nxt + e->buffer, e->rcv_edge) > 0)
			e->rcv_edge = e->rcv_nxt + e->buffer; // the application has read
	}
	uint32_t win = flags & TRIPOD_TCP_ACK ? e->rcv_edge - e->rcv_nxt : e->buffer;
	win >>= !syn && e->scaled ? e->shift : 0;
	p.win = win > 65535 ? 65535 : (uint16_t)win;
	if (syn && e->shift >= 0 && (!(flags & TRIPOD_TCP_ACK) || e->peer_shift != 0xff))
		p.shift = e->shift;
	uint32_t end = seq + len + syn + ((flags & TRIPOD_TCP_FIN) != 0);
	if (diff(end, e->max) > 0)
		e->max = end;
	e->ack_owed = false;
	transmit(w, i, p);
}

static uint32_t data_end(const struct endpoint *e)
{
	return e->isn + 1 + e->total;
}

// Sends from seq what the window and the data allow.
static void send_data(struct world *w, unsigned i, uint32_t seq)
{
	struct endpoint *e = &w->e[i];
	int32_t room = diff(e->edge, seq), left = diff(data_end(e), seq);
	int32_t len = room < left ? room : left;
	if (len > (int32_t)e->mss)
		len = (int32_t)e->mss;
	if (len > 0 && chance(w, 64))
		len = 1 + (int32_t)rng_below(&w->rng, (uint32_t)len);
	if (len <= 0 && left > 0) {
		if (room <= 0 && chance(w, 64)) // probe of a closed window
			emit(w, i, TRIPOD_TCP_ACK, chance(w, 128) ? e->edge : e->una - 1,
				diff(e->edge, e->una) == 0 && chance(w, 128));
		return;
	}
	len = len < 0 ? 0 : len;
	bool fin = seq + (uint32_t)len == data_end(e) && e->done_sending;
	if (!fin && len == 0)
		return;
	emit(w, i, TRIPOD_TCP_ACK | (fin ? TRIPOD_TCP_FIN : 0), seq, (uint16_t)len);
	e->fin_sent |= fin;
	if (diff(seq + (uint32_t)len + fin, e->nxt) > 0)
		e->nxt = seq + (uint32_t)len + fin;
}

static void act(struct world *w, unsigned i)
{
	struct endpoint *e = &w->e[i];
	if (e->dead || e->reset || !e->open)
		return;
	bool synced = diff(e->una, e->isn) > 0;
	if (!synced || !e->heard) { // SYN or SYN+ACK, again
		if (chance(w, 40))
			emit(w, i, TRIPOD_TCP_SYN | (e->heard ? TRIPOD_TCP_ACK : 0), e->isn, 0);
		return;
	}
	if (w->abort && e->total > 3000 && diff(e->nxt, e->isn) > 3000 && chance(w, 4)) {
		e->dead = true;
		emit(w, i, TRIPOD_TCP_RST | (chance(w, 128) ? TRIPOD_TCP_ACK : 0), e->nxt, 0);
		return;
	}
	switch (rng_below(&w->rng, 8)) {
	case 0: // time-out: from the first that is not acknowledged
		if (e->una != e->nxt)
			send_data(w, i, e->una);
		break;
	case 1: // keep-alive, or a window update
		if (chance(w, 32))
			emit(w, i, TRIPOD_TCP_ACK, e->una == e->nxt ? e->nxt - 1 : e->nxt, 0);
		else if (chance(w, 64))
			emit(w, i, TRIPOD_TCP_ACK, e->nxt, 0);
		break;
	case 2:
		if (e->ack_owed)
			emit(w, i, TRIPOD_TCP_ACK, e->nxt, 0);
		break;
	default:
		if (!e->fin_sent)
			send_data(w, i, e->nxt);
		break;
	}
	// Whoever is done closes; at times only after the other has.
	if (!e->done_sending && (w->e[!i].fin_sent || chance(w, 20)))
		e->done_sending = true;
}

static void receive_syn(struct world *w, unsigned i, const struct wire *p)
{
	struct endpoint *e = &w->e[i];
	if (e->heard) {
		e->ack_owed = true; // a repetition: challenged
		return;
	}
	e->heard = true;
	e->rcv_nxt = p->seq + 1;
	e->rcv_edge = e->rcv_nxt + (e->buffer > 65535 ? 65535 : e->buffer);
	e->peer_shift = p->shift < 0 ? 0xff : (uint8_t)p->shift;
	e->scaled = e->shift >= 0 && p->shift >= 0;
	e->edge = e->isn + 1 + p->win;
	if (!e->open) {
		e->open = true;
		emit(w, i, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, e->isn, 0);
	} else if (!(p->flags & TRIPOD_TCP_ACK)) {
		emit(w, i, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, e->isn, 0); // SYNs have crossed
	}
}

static void receive(struct world *w, unsigned i, const struct wire *p)
{
	struct endpoint *e = &w->e[i];
	bool syn = p->flags & TRIPOD_TCP_SYN, ack = p->flags & TRIPOD_TCP_ACK;
	if (p->flags & TRIPOD_TCP_RST) {
		if (e->heard && !e->dead && p->seq == e->rcv_nxt)
			e->reset = true; // RFC 5961: exactly the next
		else if (e->heard && !e->dead && !e->reset)
			emit(w, i, TRIPOD_TCP_ACK, e->nxt, 0);
		return;
	}
	if (e->dead || e->reset) { // nobody there any more
		if (ack)
			transmit(w, i,
				(struct wire){.seq = p->ack, .flags = TRIPOD_TCP_RST, .shift = -1});
		return;
	}
	if (syn)
		receive_syn(w, i, p);
	if (!e->heard || !ack || diff(p->ack, e->max) > 0)
		return;
	if (diff(p->ack, e->una) >= 0 && diff(p->ack, e->isn) > 0) {
		e->una = p->ack;
		if (diff(e->una, e->nxt) > 0)
			e->nxt = e->una;
		if (e->fin_sent && e->una == data_end(e) + 1)
			e->fin_acked = true;
		uint32_t edge =
			p->ack + ((uint32_t)p->win << (!syn && e->scaled ? e->peer_shift : 0));
		if (diff(edge, e->edge) > 0)
			e->edge = edge;
	}
	if (syn) {
		e->ack_owed = true;
		return;
	}
	bool fin = p->flags & TRIPOD_TCP_FIN;
	if (p->len == 0 && !fin) {
		e->ack_owed |= p->seq != e->rcv_nxt;
		return;
	}
	e->ack_owed = true;
	uint32_t end = p->seq + p->len;
	if (diff(p->seq, e->rcv_nxt) > 0 || e->fin_received)
		return; // a gap before it
	if (diff(end, e->rcv_edge) > 0)
		return; // a probe
	if (diff(end, e->rcv_nxt) > 0)
		e->rcv_nxt = end;
	if (fin && end == e->rcv_nxt) {
		e->rcv_nxt++;
		e->fin_received = true;
		if (diff(e->rcv_nxt, e->rcv_edge) > 0)
			e->rcv_edge = e->rcv_nxt;
	}
}

// ---- The tracker between them ----

static enum tcp_verdict track(struct tcp_dir dir[2], unsigned from, const struct wire *p)
{
	enum { L4 = 34 };
	uint8_t frame[L4 + 24] = {0}, *h = frame + L4;
	for (unsigned i = 0; i < 4; i++) {
		h[4 + i] = (uint8_t)(p->seq >> (24 - 8 * i));
		h[8 + i] = (uint8_t)(p->ack >> (24 - 8 * i));
	}
	h[14] = (uint8_t)(p->win >> 8);
	h[15] = (uint8_t)p->win;
	if (p->shift >= 0)
		memcpy(h + 20, (uint8_t[]){1, 3, 3, (uint8_t)p->shift}, 4);
	struct tripod_packet packet = {
		.data = frame,
		.len = sizeof(frame),
		.l3 = 14,
		.l4 = L4,
		.payload = L4 + 24,
		.payload_len = p->len,
		.tcp_flags = p->flags,
	};
	return tcp_track(&dir[from], &dir[!from], from == 0, &packet);
}

static enum tcp_state node_state(const struct world *w, unsigned node)
{
	return tcp_state(&w->node[node][0], &w->node[node][1]);
}

static void deliver(struct world *w, unsigned i)
{
	if (w->queued[i] == 0)
		return;
	unsigned first = w->queued[i] < REORDER ? w->queued[i] : REORDER;
	unsigned at = w->calm ? 0 : rng_below(&w->rng, first);
	struct wire p = w->queue[i][at];
	w->queued[i]--;
	memmove(&w->queue[i][at], &w->queue[i][at + 1], (w->queued[i] - at) * sizeof(p));

	struct tcp_dir *dir = w->node[w->where[i]];
	uint8_t was = dir[i].flags & TCP_DIR_DURABLE, was_scale = dir[i].wscale;
	bool reset = (dir[0].flags | dir[1].flags) & TCP_DIR_RST;
	enum tcp_verdict v = track(dir, i, &p);
	if (v == TCP_FAR &&
		(w->roaming || w->split || reset)) { // it has gone on elsewhere, or much was lost
		tcp_forget(&dir[i]);
		v = track(dir, i, &p);
	}
	if (v == TCP_REOPEN && (p.flags & TRIPOD_TCP_SYN))
		return; // a SYN that was on its way all that time
	if (v == TCP_AFTER_CLOSE && (reset || (p.flags & TRIPOD_TCP_SYN)))
		return; // data for an endpoint that is dead, or a SYN+ACK that was on its way all that time
	if (v != TCP_OK && v != TCP_OK_CHANGED)
		print_error("endpoint %u: flags %02x seq %u ack %u len %u: verdict %d, %u passed\n",
			i, p.flags, p.seq, p.ack, p.len, v, w->passed);
	assert_true(v == TCP_OK || v == TCP_OK_CHANGED);
	bool changed = was != (dir[i].flags & TCP_DIR_DURABLE) || was_scale != dir[i].wscale;
	assert_int_equal(v == TCP_OK_CHANGED, changed);
	assert_int_equal(was & ~dir[i].flags, 0); // monotone
	w->passed++;
	if (chance(w, w->calm ? 0 : w->loss_behind))
		return;
	receive(w, !i, &p);
	if (w->e[!i].reset && !w->split && !w->roaming)
		assert_int_equal(node_state(w, 0), TCP_CLOSED);
}

static void forget(struct tcp_dir *d)
{
	*d = (struct tcp_dir){.flags = d->flags & TCP_DIR_DURABLE, .wscale = d->wscale};
}

// Off the path: knows addresses and ports, not the numbers.
static void attack(struct world *w)
{
	static const uint8_t kinds[] = {TRIPOD_TCP_RST, TRIPOD_TCP_RST | TRIPOD_TCP_ACK,
		TRIPOD_TCP_ACK, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, TRIPOD_TCP_SYN,
		TRIPOD_TCP_SYN | TRIPOD_TCP_ACK};
	struct tcp_dir *dir = w->node[0];
	enum tcp_state s = node_state(w, 0);
	if (!(dir[0].flags & dir[1].flags & TCP_DIR_LEARNED) || s < TCP_ESTABLISHED ||
		s == TCP_CLOSED)
		return;
	uint8_t was[2] = {dir[0].flags, dir[1].flags};
	for (unsigned n = 0; n < 20; n++) {
		struct wire p = {
			.seq = (uint32_t)rng_next(&w->rng),
			.ack = (uint32_t)rng_next(&w->rng),
			.win = (uint16_t)rng_next(&w->rng),
			.len = (uint16_t)rng_below(&w->rng, 1460),
			.flags = kinds[rng_below(&w->rng, 6)],
			.shift = -1,
		};
		enum tcp_verdict v = track(dir, rng_below(&w->rng, 2), &p);
		assert_true(v == TCP_OK || v == TCP_OUT_OF_WINDOW || v == TCP_AFTER_CLOSE);
		assert_int_equal(dir[0].flags, was[0]);
		assert_int_equal(dir[1].flags, was[1]);
		w->forged++;
	}
}

// What happens to the nodes meanwhile.
static void disturb(struct world *w)
{
	unsigned i = rng_below(&w->rng, 2), here = w->where[i];
	if (w->takeovers && rng_below(&w->rng, 100) == 0) {
		forget(&w->node[0][0]);
		forget(&w->node[0][1]);
	}
	if (w->attacked && rng_below(&w->rng, 20) == 0)
		attack(w);
	// The switch sends a direction to the other node. That has the durable flags; the windows
	// that the old one knew grow stale there, so it forgets them.
	bool tell = w->split || w->roaming, move = w->roaming && rng_below(&w->rng, 200) == 0;
	if (move || (tell && rng_below(&w->rng, FLAGS_TIME_MAX) == 0)) {
		struct tcp_dir *to = &w->node[!here][i], *of = &w->node[here][i];
		*to = (struct tcp_dir){.flags = of->flags & TCP_DIR_DURABLE, .wscale = of->wscale};
	}
	if (move) {
		forget(&w->node[here][i]);
		w->where[i] = !here;
	}
}

static void endpoint_init(struct world *w, unsigned i)
{
	static const uint32_t buffers[] = {500, 3000, 20000, 65535, 300000};
	static const int8_t shifts[] = {-1, 0, 3, 7, 14};
	struct endpoint *e = &w->e[i];
	e->isn = chance(w, 128) ? (uint32_t)rng_next(&w->rng) : 0u - rng_below(&w->rng, 20000);
	e->una = e->isn;
	e->nxt = e->max = e->isn + 1;
	e->total = rng_below(&w->rng, 4) == 0 ? 0 : rng_below(&w->rng, 60000);
	e->buffer = buffers[rng_below(&w->rng, 5)];
	e->shift = shifts[rng_below(&w->rng, 5)];
	if (e->shift == 14)
		e->buffer = 5u << 20; // less than a few times 2^14 is no window at all
	e->mss = 100 + rng_below(&w->rng, 1360);
	e->open = i == 0 || w->crossing;
}

static bool finished(const struct endpoint *e)
{
	return e->dead || e->reset || (e->fin_acked && e->fin_received);
}

// Packets that passed the tracker, and packets forged.
struct total {
	uint64_t passed, forged, resets;
};

enum { SPLIT = 1, TAKEOVERS = 2, ATTACKED = 4, ABORTS = 8, ROAMING = 16 };

static void world_run(struct total *total, uint64_t seed, unsigned what)
{
	struct world *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->rng.state = seed;
	w->split = what & SPLIT;
	w->where[1] = w->split;
	w->takeovers = what & TAKEOVERS;
	w->attacked = what & ATTACKED;
	w->abort = what & ABORTS;
	w->roaming = what & ROAMING;
	w->crossing = rng_below(&w->rng, 8) == 0;
	w->loss_before = rng_below(&w->rng, 40);
	w->loss_behind = rng_below(&w->rng, 40);
	w->repeat = rng_below(&w->rng, 40);
	endpoint_init(w, 0);
	endpoint_init(w, 1);
	emit(w, 0, TRIPOD_TCP_SYN, w->e[0].isn, 0);
	unsigned steps = 0;
	while (!finished(&w->e[0]) || !finished(&w->e[1])) {
		if (++steps > STEPS_MAX)
			break;
		w->calm = steps > STEPS_MAX / 2;
		unsigned i = rng_below(&w->rng, 2);
		if (chance(w, 110))
			act(w, i);
		else
			deliver(w, i);
		disturb(w);
	}
	if (!w->abort) {
		assert_true(finished(&w->e[0]) && finished(&w->e[1]));
		assert_int_equal(w->e[0].rcv_nxt, data_end(&w->e[1]) + 1);
		assert_int_equal(w->e[1].rcv_nxt, data_end(&w->e[0]) + 1);
	}
	if (!w->split && !w->roaming && !w->abort)
		assert_int_equal(node_state(w, 0), TCP_CLOSED);
	if ((w->split || w->roaming) &&
		!w->abort) // each knows its own FIN; ACKs may have come before the other's
		for (unsigned i = 0; i < 2; i++)
			assert_true(w->node[w->where[i]][i].flags & TCP_DIR_FIN);
	total->passed += w->passed;
	total->forged += w->forged;
	total->resets += w->e[0].reset + w->e[1].reset;
	free(w);
}

static void tcp_prop__endpoints(void **state)
{
	struct total total = {0};
	for (uint64_t seed = 1; seed <= 400; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		world_run(&total, seed, 0);
	}
	assert_true(total.passed > 100 * 400); // it was no idle exercise
}

static void tcp_prop__takeovers(void **state)
{
	struct total total = {0};
	for (uint64_t seed = 1001; seed <= 1400; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		world_run(&total, seed, TAKEOVERS);
	}
	assert_true(total.passed > 100 * 400); // it was no idle exercise
}

static void tcp_prop__split_directions(void **state)
{
	struct total total = {0};
	for (uint64_t seed = 2001; seed <= 2400; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		world_run(&total, seed, SPLIT);
	}
	assert_true(total.passed > 100 * 400); // it was no idle exercise
}

static void tcp_prop__roaming_directions(void **state)
{
	struct total total = {0};
	for (uint64_t seed = 5001; seed <= 5600; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		world_run(&total, seed, ROAMING);
	}
	assert_true(total.passed > 100 * 600); // it was no idle exercise
}

static void tcp_prop__attacked(void **state)
{
	struct total total = {0};
	for (uint64_t seed = 3001; seed <= 3200; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		world_run(&total, seed, ATTACKED);
	}
	assert_true(total.forged > 100 * 200); // it was no idle exercise
}

static void tcp_prop__aborts(void **state)
{
	struct total total = {0};
	for (uint64_t seed = 4001; seed <= 4200; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		world_run(&total, seed, ABORTS | (seed & 1 ? TAKEOVERS : 0));
	}
	assert_true(total.resets > 50); // it was no idle exercise
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_prop__endpoints),
		cmocka_unit_test(tcp_prop__takeovers),
		cmocka_unit_test(tcp_prop__split_directions),
		cmocka_unit_test(tcp_prop__roaming_directions),
		cmocka_unit_test(tcp_prop__attacked),
		cmocka_unit_test(tcp_prop__aborts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
