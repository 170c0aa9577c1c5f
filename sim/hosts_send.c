// SPDX-License-Identifier: BSD-3-Clause
#include "sim/hosts_internal.h"

#define SYN_ACKS 6 // that one end sends, before it forgets the SYN
#define CWND_START 10 // segments (RFC 6928)
#define BACKOFF_MAX 6

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static struct hosts_conn *conn_of(struct hosts *h, const struct hosts_end *e)
{
	return &h->conns[e->conn];
}

struct hosts_end *hosts_tcp_peer(struct hosts *h, const struct hosts_end *e)
{
	const struct hosts_conn *c = conn_of(h, e);
	if (e->role == 1)
		return hosts_conn_end(h, c, 0);
	return c->responder ? hosts_conn_end(h, c, c->responder) : NULL;
}

// ---- Timers ----

static uint64_t rto(const struct hosts *h, const struct hosts_end *e)
{
	uint64_t ns = e->rto_ns << e->backoff;
	return least(ns, most(h->conf.give_up_ns / 8, h->conf.rto_min_ns));
}

void hosts_tcp_arm(struct hosts *h, struct hosts_end *e)
{
	e->rexmit_ns = h->now_ns + rto(h, e);
}

// RFC 6298; the variance is never taken for less than the least time-out, which an acknowledgement
// may be late on purpose.
void hosts_tcp_timed(struct hosts *h, struct hosts_end *e)
{
	uint64_t r = h->now_ns - e->timed_ns;
	uint64_t off = r > e->srtt_ns ? r - e->srtt_ns : e->srtt_ns - r;
	e->timing = false;
	if (e->srtt_ns == 0) {
		e->srtt_ns = r;
		e->rttvar_ns = r / 2;
	} else {
		e->rttvar_ns += off / 4 - e->rttvar_ns / 4;
		e->srtt_ns += r / 8 - e->srtt_ns / 8;
	}
	e->rto_ns = e->srtt_ns + most(4 * e->rttvar_ns, h->conf.rto_min_ns);
}

uint64_t hosts_tcp_due_ns(const struct hosts_end *e)
{
	uint64_t due = least(least(e->rexmit_ns, e->ack_ns), least(e->keep_ns, e->wait_ns));
	return e->paused_ns ? least(due, e->paused_ns) : due;
}

// ---- Segments ----

// The window to offer, as it stands in the header. The right edge never moves back.
static uint16_t window(struct hosts *h, struct hosts_end *e, bool syn)
{
	const struct hosts_plan *p = &conn_of(h, e)->plan;
	uint64_t read = e->paused_ns ? p->pause_at[e->role] + 1 : e->rcv;
	e->offered = most(e->offered, read + p->buffer[e->role]);
	uint64_t w = e->offered > e->rcv ? e->offered - e->rcv : 0;
	return (uint16_t)least(syn ? w : w >> e->rcv_shift, UINT16_MAX);
}

static void account(struct hosts *h, struct hosts_end *e, uint64_t at, uint64_t end)
{
	if (end == at)
		return;
	if (at < e->max) {
		h->totals.retransmissions++;
		if (e->timing && at < e->timed)
			e->timing = false; // whose acknowledgement would it be? (Karn)
	} else if (!e->timing) {
		e->timing = true;
		e->timed = end;
		e->timed_ns = h->now_ns;
	}
	e->max = most(e->max, end);
	if (e->rexmit_ns == HOSTS_NEVER)
		hosts_tcp_arm(h, e);
}

void hosts_tcp_segment(
	struct hosts *h, struct hosts_end *e, uint8_t flags, uint64_t at, uint32_t len)
{
	const struct hosts_conn *c = conn_of(h, e);
	enum tripod_direction side = (enum tripod_direction)e->tuple.direction;
	bool syn = flags & HOSTS_SYN;
	struct hosts_out o = {
		.tuple = &e->tuple,
		.src_mac = HOSTS_MAC[side],
		.dst_mac = h->conf.gateway_mac[side],
		.seq = e->iss + (uint32_t)at,
		.ack = flags & HOSTS_ACK ? e->irs + (uint32_t)e->rcv : 0,
		.flags = flags,
		.window = window(h, e, syn),
		.mss = syn ? c->plan.mss[e->role] : 0,
		// A SYN+ACK has the option only when the SYN had it.
		.wscale = e->role == 0 || e->scaled ? c->plan.wscale[e->role] : -1,
		.payload_len = (uint16_t)len,
	};
	uint8_t *payload = hosts_packet_begin(h->frame, &o);
	if (len > 0)
		hosts_bytes_fill(payload, len, c->id, e->role, at - 1);
	hosts_send(h, side, hosts_packet_finish(h->frame));
	account(h, e, at, at + len + syn + ((flags & HOSTS_FIN) != 0));
	if (flags & HOSTS_ACK) {
		e->ack_ns = HOSTS_NEVER;
		e->unacked = 0;
	}
}

// Where a segment without data stands: behind everything, since before retransmitted bytes it would
// look old, but not behind the window, where a probe has been.
static uint64_t behind(const struct hosts_end *e)
{
	uint64_t at = most(e->nxt, e->max);
	return at > e->edge && !e->fin_sent ? most(e->edge, e->una) : at;
}

void hosts_tcp_ack(struct hosts *h, struct hosts_end *e)
{
	hosts_tcp_segment(h, e, HOSTS_ACK, behind(e), 0);
}

void hosts_tcp_reset(struct hosts *h, struct hosts_end *e)
{
	h->totals.resets_sent++;
	hosts_tcp_segment(h, e, HOSTS_RST | HOSTS_ACK, behind(e), 0);
	e->state = END_CLOSED;
	e->rexmit_ns = e->ack_ns = e->keep_ns = e->wait_ns = HOSTS_NEVER;
	e->paused_ns = 0;
}

void hosts_tcp_refuse(struct hosts *h, const struct hosts_packet *p)
{
	struct tripod_tuple back = tripod_tuple_reverse(&p->tuple);
	enum tripod_direction side = (enum tripod_direction)back.direction;
	uint32_t len =
		p->payload_len + ((p->flags & HOSTS_SYN) != 0) + ((p->flags & HOSTS_FIN) != 0);
	struct hosts_out o = {.tuple = &back,
		.src_mac = HOSTS_MAC[side],
		.dst_mac = h->conf.gateway_mac[side],
		.flags = HOSTS_RST};
	if (p->flags & HOSTS_ACK) {
		o.seq = p->ack;
	} else {
		o.flags |= HOSTS_ACK;
		o.ack = p->seq + len;
	}
	h->totals.resets_sent++;
	hosts_packet_begin(h->frame, &o);
	hosts_send(h, side, hosts_packet_finish(h->frame));
}

void hosts_tcp_start(struct hosts *h, struct hosts_end *e)
{
	const struct hosts_plan *p = &conn_of(h, e)->plan;
	e->mss = p->mss[e->role];
	e->cwnd = CWND_START * e->mss;
	e->ssthresh = UINT32_MAX;
	e->rto_ns = h->conf.rto_min_ns * 3; // as long as nothing was measured
	e->rexmit_ns = e->ack_ns = e->keep_ns = e->wait_ns = HOSTS_NEVER;
	e->heard_ns = h->now_ns;
	e->offered = p->buffer[e->role] < UINT16_MAX ? p->buffer[e->role] : UINT16_MAX;
}

// ---- What the application lets it send ----

static uint64_t arrived(const struct hosts_conn *c, const struct hosts_end *e)
{
	return least(e->rcv - 1, c->total[!e->role]);
}

// Bytes that the initiator may send by now: one request more than replies have arrived.
static uint64_t request_limit(struct hosts *h, struct hosts_conn *c, const struct hosts_end *e)
{
	const struct hosts_plan *p = &c->plan;
	uint64_t in = arrived(c, e), round = 0;
	if (p->bytes[1] > 0)
		round = in >= c->total[1] ? p->rounds : in / p->bytes[1];
	else if (p->bytes[0] > 0)
		round = (e->una - 1) / p->bytes[0];
	round = p->rounds > 0 ? least(round, p->rounds - 1) : 0;
	if (round > c->round) {
		uint64_t ms = p->think_ms;
		if (c->round < p->gap_round && round >= p->gap_round)
			ms += p->gap_ms;
		c->round = (uint32_t)round;
		c->next_ns = h->now_ns + ms * 1000000;
		c->quiet_until_ns = most(c->quiet_until_ns, c->next_ns);
	}
	return p->bytes[0] * (h->now_ns < c->next_ns ? round : round + 1);
}

// The offset behind the last byte that it may send by now.
static uint64_t limit(struct hosts *h, struct hosts_conn *c, const struct hosts_end *e)
{
	const struct hosts_plan *p = &c->plan;
	uint64_t bytes = c->total[e->role];
	if (p->duplex || c->finishing)
		return bytes + 1;
	if (e->role == 0)
		bytes = least(bytes, request_limit(h, c, e));
	else if (arrived(c, e) < c->total[0])
		bytes = least(bytes, arrived(c, e) / p->bytes[0] * p->bytes[1]);
	return bytes + 1;
}

static bool complete(const struct hosts_conn *c, const struct hosts_end *e)
{
	return e->rcv > c->total[!e->role] && e->una > c->total[e->role];
}

// May it send its FIN, behind its last byte?
static bool may_close(struct hosts *h, struct hosts_conn *c, const struct hosts_end *e)
{
	const struct hosts_end *peer = hosts_tcp_peer(h, e);
	switch ((enum hosts_closer)c->plan.closer) {
	case CLOSER_EACH:
		return true;
	case CLOSER_BOTH:
		if (c->close_at_ns == 0 && peer && complete(c, e) && complete(c, peer))
			c->close_at_ns = h->now_ns + 1 + rng_below(&h->rng, 1000000);
		return c->close_at_ns != 0 && h->now_ns >= c->close_at_ns;
	case CLOSER_RESPONDER:
		return e->role == 1 ? e->rcv > c->total[0] : e->fin_heard;
	case CLOSER_ABORT_INITIATOR:
	case CLOSER_ABORT_RESPONDER:
		return false;
	case CLOSER_INITIATOR:
	case CLOSER_REFUSE:
		break;
	}
	return e->role == 0 ? e->rcv > c->total[1] : e->fin_heard;
}

static bool aborts(const struct hosts_conn *c, const struct hosts_end *e)
{
	unsigned closer = e->role == 0 ? CLOSER_ABORT_INITIATOR : CLOSER_ABORT_RESPONDER;
	return c->plan.closer == closer && !c->aborted && e->nxt > c->plan.abort_at;
}

// ---- Sending ----

static void send_fin(struct hosts_end *e)
{
	if (!e->fin_sent)
		e->passive = e->fin_heard;
	e->fin_sent = true;
}

static void send_data(struct hosts *h, struct hosts_conn *c, struct hosts_end *e, uint64_t to)
{
	uint64_t last = c->total[e->role] + 1;
	while (e->nxt < to && e->nxt < last) {
		uint64_t room = least(e->edge, e->una + e->cwnd);
		if (room <= e->nxt)
			break;
		uint64_t n = least(least(to, room) - e->nxt, e->mss);
		if (n < e->mss && n < to - e->nxt && e->una < e->nxt)
			break; // a small piece, only because the window is nearly full: wait
		uint8_t flags = HOSTS_ACK | (e->nxt + n == to ? HOSTS_PSH : 0);
		bool fin = e->nxt + n == last && (e->fin_sent || may_close(h, c, e));
		if (fin) {
			send_fin(e);
			flags |= HOSTS_FIN;
		}
		hosts_tcp_segment(h, e, flags, e->nxt, (uint32_t)n);
		e->nxt += n + fin;
	}
	if (e->nxt == last && (e->fin_sent || may_close(h, c, e))) {
		send_fin(e);
		hosts_tcp_segment(h, e, HOSTS_ACK | HOSTS_FIN, last, 0);
		e->nxt++;
	}
}

bool hosts_tcp_output(struct hosts *h, struct hosts_end *e)
{
	struct hosts_conn *c = conn_of(h, e);
	if (e->state != END_OPEN)
		return false;
	uint64_t to = limit(h, c, e);
	send_data(h, c, e, to);
	if (aborts(c, e)) {
		struct hosts_end *peer = hosts_tcp_peer(h, e);
		c->aborted = true;
		hosts_tcp_reset(h, e);
		if (peer)
			peer->keep_ns = h->now_ns + peer->rto_ns * 4;
		return hosts_tcp_check_end(h, c);
	}
	// The window is closed and nothing is under way: only a probe will tell when it opens.
	if (e->una == e->nxt && e->nxt < to && e->edge <= e->nxt && e->rexmit_ns == HOSTS_NEVER)
		hosts_tcp_arm(h, e);
	return false;
}

// ---- What is due ----

static void again(struct hosts *h, struct hosts_end *e)
{
	if (e->backoff < BACKOFF_MAX)
		e->backoff++;
	hosts_tcp_arm(h, e);
}

// Nothing was acknowledged for the time-out.
static bool rexmit(struct hosts *h, struct hosts_end *e)
{
	e->rexmit_ns = HOSTS_NEVER;
	if (e->state == END_SYN_SENT) {
		hosts_tcp_segment(h, e, HOSTS_SYN, 0, 0);
	} else if (e->state == END_SYN_RECEIVED) {
		if (e->backoff >= SYN_ACKS) {
			hosts_end_free(h, e);
			return false;
		}
		hosts_tcp_segment(h, e, HOSTS_SYN | HOSTS_ACK, 0, 0);
	} else if (e->una < e->nxt) {
		uint64_t flight = e->nxt - e->una;
		e->ssthresh = (uint32_t)most(flight / 2, 2 * e->mss);
		e->cwnd = e->mss;
		e->recover = 0;
		e->dupacks = 0;
		e->nxt = e->una;
		if (e->edge > e->una || e->una > conn_of(h, e)->total[e->role]) {
			if (hosts_tcp_output(h, e))
				return true;
		} else {
			hosts_tcp_segment(h, e, HOSTS_ACK, e->una, 1);
			e->nxt = e->una + 1;
		}
	} else if (e->nxt < limit(h, conn_of(h, e), e) && e->edge <= e->nxt) {
		h->totals.probes++;
		hosts_tcp_segment(h, e, HOSTS_ACK, e->nxt, 1);
		e->timing = false; // its answer tells when the reader goes on, not how far it is
	} else {
		return false;
	}
	again(h, e);
	return false;
}

static void keepalive(struct hosts *h, struct hosts_end *e)
{
	const struct hosts_conn *c = conn_of(h, e);
	// Whose peer has aborted learns it so.
	uint64_t every = c->aborted ? e->rto_ns * 4 : (uint64_t)h->conf.keepalive_ms * 1000000;
	if (e->state != END_OPEN || every == 0) {
		e->keep_ns = HOSTS_NEVER;
		return;
	}
	if (h->now_ns < e->heard_ns + every) {
		e->keep_ns = e->heard_ns + every;
		return;
	}
	e->keep_ns = h->now_ns + every;
	if (e->una == e->nxt) { // else what is under way is asked for anyway
		h->totals.keepalives++;
		hosts_tcp_segment(h, e, HOSTS_ACK, e->nxt - 1, 0);
	}
}

void hosts_tcp_waited(struct hosts *h, struct hosts_end *e)
{
	if (conn_of(h, e)->phase == PHASE_ENDED)
		hosts_end_free(h, e);
	else
		e->state = END_CLOSED; // the other end is not through yet
	e->wait_ns = HOSTS_NEVER;
}

bool hosts_tcp_timers(struct hosts *h, struct hosts_end *e)
{
	struct hosts_conn *c = conn_of(h, e);
	if (e->wait_ns <= h->now_ns) {
		hosts_tcp_waited(h, e);
		return false;
	}
	if (e->paused_ns && e->paused_ns <= h->now_ns) {
		c->plan.pause_ms[e->role] = 0;
		e->paused_ns = 0;
		hosts_tcp_ack(h, e);
	}
	if (e->rexmit_ns <= h->now_ns && rexmit(h, e))
		return true;
	if (e->state == END_FREE)
		return false;
	if (e->ack_ns <= h->now_ns)
		hosts_tcp_ack(h, e);
	if (e->keep_ns <= h->now_ns)
		keepalive(h, e);
	return hosts_tcp_output(h, e);
}
