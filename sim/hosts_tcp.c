// SPDX-License-Identifier: BSD-3-Clause
#include "sim/hosts_internal.h"

#define MSS_DEFAULT 536 // RFC 9293, 3.7.1
#define TIME_WAIT_RTO 32 // TIME-WAIT, in least time-outs
#define ABORT_WAIT_RTO 256 // so long the other end of an aborted connection has to hear of it
#define DUPACKS 3

static struct hosts_conn *conn_of(struct hosts *h, const struct hosts_end *e)
{
	return &h->conns[e->conn];
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

// The offset of a sequence number: of those that it may be, the one next to `near`.
static int64_t offset_of(uint64_t near, uint32_t base, uint32_t seq)
{
	return (int64_t)near + (int32_t)(seq - (base + (uint32_t)near));
}

// ---- Opening ----

void hosts_tcp_open(struct hosts *h, struct hosts_conn *c, const struct tripod_tuple *opening)
{
	struct hosts_end *e = hosts_end_new(h, c, 0, opening);
	hosts_tcp_start(h, e);
	e->state = END_SYN_SENT;
	e->iss = c->isn;
	hosts_tcp_segment(h, e, HOSTS_SYN, 0, 0);
	e->nxt = 1;
	hosts_tcp_schedule(h, c);
}

// What a SYN, or SYN+ACK, tells of the other end.
static void learn_options(
	const struct hosts_conn *c, struct hosts_end *e, const struct hosts_packet *p)
{
	uint16_t mss = p->mss ? p->mss : MSS_DEFAULT;
	if (mss < e->mss)
		e->mss = mss;
	e->scaled = p->wscale >= 0 && c->plan.wscale[e->role] >= 0;
	e->snd_shift = e->scaled ? (uint8_t)p->wscale : 0;
	e->rcv_shift = e->scaled ? (uint8_t)c->plan.wscale[e->role] : 0;
	e->irs = p->seq;
	e->rcv = 1;
	e->edge = e->una + p->window; // never scaled in a SYN
	e->edge_seq = 0;
	e->edge_ack = e->una;
}

static void opened(struct hosts *h, struct hosts_end *e)
{
	e->state =
		END_OPEN; // and a longer time-out stays, if the SYN was sent twice (RFC 6298, 5.7)
	e->rexmit_ns = HOSTS_NEVER;
	if (h->conf.keepalive_ms)
		e->keep_ns = h->now_ns + (uint64_t)h->conf.keepalive_ms * 1000000;
}

// A segment without SYN for nobody, or a SYN: does a server listen?
static void stranger(struct hosts *h, const struct hosts_packet *p)
{
	if (p->flags & HOSTS_RST)
		return;
	if ((p->flags & (HOSTS_SYN | HOSTS_ACK)) != HOSTS_SYN) {
		hosts_tcp_refuse(h, p);
		return;
	}
	struct hosts_conn *c = hosts_conn_by_isn(h, p->seq);
	if (!c || !hosts_is_tcp(c->kind) || c->e.opening.direction != p->tuple.direction) {
		hosts_tcp_refuse(h, p);
		return;
	}
	if (c->phase != PHASE_OPENING)
		return; // a late copy, by another way
	const char *why = hosts_translation(h, c, &p->tuple);
	if (why) {
		hosts_end_conn(h, c, HOSTS_CORRUPT, why);
		return;
	}
	c->e.peer = p->tuple;
	if (c->plan.closer == CLOSER_REFUSE) {
		hosts_tcp_refuse(h, p);
		return;
	}
	unsigned at = 1;
	while (at < HOSTS_ENDS && c->ends[at] != HOSTS_NONE)
		at++;
	struct tripod_tuple back = tripod_tuple_reverse(&p->tuple);
	struct hosts_end *e = at < HOSTS_ENDS ? hosts_end_new(h, c, at, &back) : NULL;
	if (!e)
		return; // a full backlog: the SYN is lost
	hosts_tcp_start(h, e);
	e->state = END_SYN_RECEIVED;
	e->iss = (uint32_t)rng_next(&h->rng);
	learn_options(c, e, p);
	hosts_tcp_segment(h, e, HOSTS_SYN | HOSTS_ACK, 0, 0);
	e->nxt = 1;
	hosts_tcp_schedule(h, c);
}

// SYNs may have come to the responder by several ways. That by which the answer has come is the
// connection's.
static void settle(struct hosts *h, struct hosts_conn *c, uint32_t iss)
{
	for (unsigned i = 1; i < HOSTS_ENDS; i++) {
		const struct hosts_end *e = hosts_conn_end(h, c, i);
		if (e && e->iss == iss)
			c->e.peer = tripod_tuple_reverse(&e->tuple);
	}
}

static void answered(struct hosts *h, struct hosts_end *e, const struct hosts_packet *p)
{
	struct hosts_conn *c = conn_of(h, e);
	if ((p->flags & HOSTS_ACK) && p->ack != e->iss + 1) {
		if (!(p->flags & HOSTS_RST))
			hosts_tcp_refuse(h, p);
		return;
	}
	if (p->flags & HOSTS_RST) {
		if (!(p->flags & HOSTS_ACK))
			return;
		h->totals.resets_received++;
		c->e.planned = c->plan.closer == CLOSER_REFUSE;
		e->state = END_CLOSED;
		hosts_end_conn(h, c, HOSTS_REFUSED, "refused by a reset");
		return;
	}
	if ((p->flags & (HOSTS_SYN | HOSTS_ACK)) != (HOSTS_SYN | HOSTS_ACK))
		return;
	if (c->plan.closer == CLOSER_REFUSE) {
		hosts_end_conn(h, c, HOSTS_CORRUPT, "answered, though the server refused");
		return;
	}
	e->una = 1;
	e->timing = false;
	learn_options(c, e, p);
	opened(h, e);
	settle(h, c, p->seq);
	c->phase = PHASE_OPEN;
	c->e.established_ns = h->now_ns;
	h->totals.established++;
	hosts_progress(h, c);
	hosts_tell(h, c, HOSTS_ESTABLISHED, "answered");
	e->ack_ns = h->now_ns; // unless the first data carry it
	if (hosts_tcp_output(h, e))
		return;
	if (e->ack_ns != HOSTS_NEVER)
		hosts_tcp_ack(h, e);
}

// ---- Closing ----

bool hosts_tcp_check_end(struct hosts *h, struct hosts_conn *c)
{
	struct hosts_end *i = hosts_conn_end(h, c, 0);
	struct hosts_end *r = c->responder ? hosts_conn_end(h, c, c->responder) : NULL;
	if (!i || i->state < END_TIME_WAIT)
		return false;
	if (c->aborted) {
		if (!r || r->state < END_TIME_WAIT)
			return false;
		hosts_end_conn(h, c, HOSTS_DONE, "aborted as planned");
		return true;
	}
	if (!r || r->state < END_TIME_WAIT)
		return false;
	if (c->e.bytes != c->total[0] + c->total[1])
		hosts_end_conn(h, c, HOSTS_CORRUPT, "closed with bytes missing");
	else
		hosts_end_conn(h, c, HOSTS_DONE, "closed as planned");
	return true;
}

static bool fin_acked(const struct hosts_conn *c, const struct hosts_end *e)
{
	return e->fin_sent && e->una == c->total[e->role] + 2;
}

// Both FINs have come and gone: whoever closed first waits. true: the connection ended.
static bool closed(struct hosts *h, struct hosts_end *e)
{
	struct hosts_conn *c = conn_of(h, e);
	if (e->state != END_OPEN || !e->fin_heard || !fin_acked(c, e))
		return false;
	e->rexmit_ns = e->keep_ns = HOSTS_NEVER;
	e->paused_ns = 0;
	if (e->ack_ns != HOSTS_NEVER)
		hosts_tcp_ack(h, e);
	e->state = e->passive ? END_CLOSED : END_TIME_WAIT;
	if (!e->passive)
		e->wait_ns = h->now_ns + TIME_WAIT_RTO * h->conf.rto_min_ns;
	return hosts_tcp_check_end(h, c);
}

// A reset inside the window, exactly where it must be.
static bool heard_reset(struct hosts *h, struct hosts_end *e)
{
	struct hosts_conn *c = conn_of(h, e);
	h->totals.resets_received++;
	if (e->state == END_SYN_RECEIVED) {
		hosts_end_free(h, e);
		if (!c->aborted)
			return false;
		hosts_end_conn(h, c, HOSTS_DONE, "aborted as planned");
		return true;
	}
	const struct hosts_end *peer = hosts_tcp_peer(h, e);
	bool through = e->fin_heard && e->fin_sent && (!peer || peer->state >= END_TIME_WAIT);
	e->state = END_CLOSED;
	e->rexmit_ns = e->ack_ns = e->keep_ns = HOSTS_NEVER;
	if (c->aborted || through)
		return hosts_tcp_check_end(h, c);
	hosts_end_conn(h, c, HOSTS_BROKEN,
		e->role == 0 ? "reset, at the initiator" : "reset, at the responder");
	return true;
}

// ---- Acknowledgements ----

static void grow(struct hosts_end *e, uint64_t acked)
{
	if (e->cwnd < e->ssthresh)
		e->cwnd += (uint32_t)least(acked, e->mss);
	else
		e->cwnd += (uint32_t)e->mss * e->mss / e->cwnd + 1;
	e->cwnd = (uint32_t)least(e->cwnd, 1u << 20);
}

// The first hole, at once.
static void resend(struct hosts *h, struct hosts_end *e)
{
	uint64_t last = conn_of(h, e)->total[e->role] + 1;
	uint64_t n = least(least(e->nxt, last) - least(e->una, last), e->mss);
	bool fin = e->fin_sent && e->una + n == last;
	hosts_tcp_segment(h, e, HOSTS_ACK | (fin ? HOSTS_FIN : 0), e->una, (uint32_t)n);
}

static void acked(struct hosts *h, struct hosts_end *e, uint64_t a)
{
	uint64_t bytes = a - e->una;
	// What was sent twice tells nothing of the round trip, so the longer time-out stays (Karn).
	if (e->timing && a >= e->timed) {
		hosts_tcp_timed(h, e);
		e->backoff = 0;
	}
	e->una = a;
	e->nxt = most(e->nxt, a);
	e->dupacks = 0;
	e->rexmit_ns = HOSTS_NEVER;
	if (e->una < e->nxt)
		hosts_tcp_arm(h, e);
	if (e->recover > a) {
		resend(h, e); // the next hole (RFC 6582)
	} else if (e->recover > 0) {
		e->recover = 0;
		e->cwnd = e->ssthresh;
	} else {
		grow(e, bytes);
	}
	hosts_progress(h, conn_of(h, e));
}

static void repeated(struct hosts *h, struct hosts_end *e)
{
	if (e->una >= e->nxt || e->recover > 0 || ++e->dupacks < DUPACKS)
		return;
	e->dupacks = 0;
	e->recover = e->nxt;
	e->ssthresh = (uint32_t)most((e->nxt - e->una) / 2, 2 * e->mss);
	e->cwnd = e->ssthresh;
	h->totals.fast_retransmissions++;
	resend(h, e);
}

static void acknowledgement(
	struct hosts *h, struct hosts_end *e, const struct hosts_packet *p, uint64_t s, uint64_t a)
{
	uint64_t edge = a + ((uint64_t)p->window << e->snd_shift);
	bool bare = p->payload_len == 0 && !(p->flags & HOSTS_FIN);
	if (a > e->una)
		acked(h, e, a);
	else if (a == e->una && bare && edge == e->edge)
		repeated(h, e);
	if (a == e->una && (s > e->edge_seq || (s == e->edge_seq && a >= e->edge_ack))) {
		// Opened: what a probe waited for goes at once.
		if (edge > e->edge && e->una == e->nxt && e->edge <= e->nxt) {
			e->rexmit_ns = HOSTS_NEVER;
			e->backoff = 0;
		}
		e->edge = edge;
		e->edge_seq = s;
		e->edge_ack = a;
	}
}

// ---- Data ----

static void gap_remove(struct hosts_end *e, unsigned i)
{
	e->n_gaps--;
	memmove(&e->gaps[i], &e->gaps[i + 1], (e->n_gaps - i) * sizeof(e->gaps[0]));
}

// Remembers [from, to), which came early, among the others, in order and apart.
static bool gap_add(struct hosts_end *e, uint64_t from, uint64_t to)
{
	unsigned i = 0;
	while (i < e->n_gaps && e->gaps[i].to < from)
		i++;
	while (i < e->n_gaps && e->gaps[i].from <= to) {
		from = least(from, e->gaps[i].from);
		to = most(to, e->gaps[i].to);
		gap_remove(e, i);
	}
	if (e->n_gaps == HOSTS_GAPS)
		return false;
	memmove(&e->gaps[i + 1], &e->gaps[i], (e->n_gaps - i) * sizeof(e->gaps[0]));
	e->gaps[i] = (struct hosts_gap){from, to};
	e->n_gaps++;
	return true;
}

static void take(struct hosts *h, struct hosts_end *e, uint64_t from, uint64_t to)
{
	if (from > e->rcv) {
		h->totals.ooo_dropped += !gap_add(e, from, to);
		return;
	}
	e->rcv = most(e->rcv, to);
	while (e->n_gaps > 0 && e->gaps[0].from <= e->rcv) {
		e->rcv = most(e->rcv, e->gaps[0].to);
		gap_remove(e, 0);
	}
}

// What is wrong with these bytes, all of them, also those that came before. NULL: nothing.
static const char *wrong(
	struct hosts *h, const struct hosts_end *e, const struct hosts_packet *p, int64_t s)
{
	const struct hosts_conn *c = conn_of(h, e);
	const struct hosts_end *peer = hosts_tcp_peer(h, e);
	unsigned from = !e->role;
	uint64_t end = (uint64_t)s + p->payload_len;
	if (s < 1)
		return "bytes before the first";
	if (end > c->total[from] + 1 || (peer && end > peer->max))
		return "bytes that were not sent";
	if (!hosts_bytes_right(p->payload, p->payload_len, c->id, from, (uint64_t)s - 1))
		return "wrong bytes";
	if ((p->flags & HOSTS_FIN) && end != c->total[from] + 1)
		return "closed before the last byte";
	return NULL;
}

static void pause_reading(struct hosts *h, struct hosts_end *e)
{
	struct hosts_conn *c = conn_of(h, e);
	uint16_t ms = c->plan.pause_ms[e->role];
	if (ms == 0 || e->paused_ns || c->finishing || e->rcv <= c->plan.pause_at[e->role])
		return;
	e->paused_ns = h->now_ns + (uint64_t)ms * 1000000;
	// The sender's probes find out late: they back off meanwhile.
	c->quiet_until_ns = most(c->quiet_until_ns, e->paused_ns + (uint64_t)ms * 1000000);
}

static void acknowledge(struct hosts *h, struct hosts_end *e, bool now)
{
	const struct hosts_conn *c = conn_of(h, e);
	if (now || !c->plan.delayed_ack[e->role] || ++e->unacked >= 2)
		e->ack_ns = h->now_ns; // unless what is sent next carries it
	else if (e->ack_ns == HOSTS_NEVER)
		e->ack_ns = h->now_ns + h->conf.rto_min_ns / 2;
}

static void data(struct hosts *h, struct hosts_end *e, const struct hosts_packet *p, uint64_t s)
{
	struct hosts_conn *c = conn_of(h, e);
	uint64_t before = e->rcv, end = s + p->payload_len;
	bool holes = e->n_gaps > 0;
	if (p->flags & HOSTS_FIN)
		e->fin_at = end;
	uint64_t from = most(s, e->rcv), to = least(end, e->offered);
	if (from < to)
		take(h, e, from, to);
	c->e.bytes += e->rcv - before;
	if (e->fin_at && e->rcv == e->fin_at) {
		e->rcv++;
		e->fin_heard = true;
	}
	if (e->rcv > before)
		hosts_progress(h, c);
	pause_reading(h, e);
	acknowledge(h, e, holes || s != before || e->rcv == before || e->fin_heard);
}

// ---- Segments ----

// RFC 9293, 3.10.7.4, first check.
static bool acceptable(const struct hosts_end *e, int64_t s, uint32_t len)
{
	int64_t low = (int64_t)e->rcv, high = (int64_t)most(e->offered, e->rcv);
	if (len == 0)
		return s == low || (s > low && s < high);
	if (high == low)
		return false;
	return s < high && s + (int64_t)len > low;
}

// The answer to a segment that does not fit. Those without data are not answered each, lest two ends
// that disagree talk for ever (RFC 5961, 7).
static void challenge(struct hosts *h, struct hosts_end *e, bool has_data)
{
	if (!has_data && e->challenged_ns != 0 &&
		h->now_ns < e->challenged_ns + h->conf.rto_min_ns / 2)
		return;
	if (!has_data)
		e->challenged_ns = h->now_ns;
	hosts_tcp_ack(h, e);
}

// An acknowledgement has come for the first time to the server's end. false: it was of another.
static bool confirmed(struct hosts *h, struct hosts_end *e, int64_t a)
{
	struct hosts_conn *c = conn_of(h, e);
	if (a != 1)
		return false;
	for (unsigned i = 1; i < HOSTS_ENDS; i++) {
		if (hosts_conn_end(h, c, i) == e)
			c->responder = i;
	}
	opened(h, e);
	e->una = 1;
	hosts_progress(h, c);
	return true;
}

// true: the segment is done with.
static bool checks(struct hosts *h, struct hosts_end *e, const struct hosts_packet *p, int64_t s)
{
	uint32_t len = p->payload_len + ((p->flags & HOSTS_FIN) != 0);
	if (e->state == END_SYN_RECEIVED && s == 0 &&
		(p->flags & (HOSTS_SYN | HOSTS_ACK | HOSTS_RST)) == HOSTS_SYN) {
		hosts_tcp_segment(h, e, HOSTS_SYN | HOSTS_ACK, 0, 0);
		return true;
	}
	if (!acceptable(e, s, len)) {
		if (!(p->flags & HOSTS_RST))
			challenge(h, e, len > 0);
		return true;
	}
	if (p->flags & HOSTS_RST) {
		if (s == (int64_t)e->rcv)
			heard_reset(h, e);
		else
			challenge(h, e, false);
		return true;
	}
	if (p->flags & HOSTS_SYN)
		challenge(h, e, false);
	return (p->flags & (HOSTS_SYN | HOSTS_ACK)) != HOSTS_ACK;
}

static void synchronized(struct hosts *h, struct hosts_end *e, const struct hosts_packet *p)
{
	struct hosts_conn *c = conn_of(h, e);
	int64_t s = offset_of(e->rcv, e->irs, p->seq);
	if (checks(h, e, p, s))
		return;
	int64_t a = offset_of(e->una, e->iss, p->ack);
	if (e->state == END_SYN_RECEIVED && !confirmed(h, e, a)) {
		hosts_tcp_refuse(h, p);
		return;
	}
	if (a > (int64_t)most(e->max, e->nxt)) {
		challenge(h, e, false);
		return;
	}
	e->heard_ns = h->now_ns;
	if (a >= (int64_t)e->una)
		acknowledgement(h, e, p, (uint64_t)s, (uint64_t)a);
	if (p->payload_len > 0 || (p->flags & HOSTS_FIN)) {
		const char *why = wrong(h, e, p, s);
		if (why) {
			hosts_end_conn(h, c, HOSTS_CORRUPT, why);
			return;
		}
		data(h, e, p, (uint64_t)s);
	}
	if (hosts_tcp_output(h, e))
		return;
	if (e->ack_ns <= h->now_ns)
		hosts_tcp_ack(h, e);
	closed(h, e);
}

static void time_wait(struct hosts *h, struct hosts_end *e, const struct hosts_packet *p)
{
	int64_t s = offset_of(e->rcv, e->irs, p->seq);
	uint32_t len = p->payload_len + ((p->flags & HOSTS_FIN) != 0);
	if (p->flags & HOSTS_RST)
		return; // RFC 1337
	if (p->flags & HOSTS_FIN)
		e->wait_ns = h->now_ns + TIME_WAIT_RTO * h->conf.rto_min_ns;
	if (len > 0 || !acceptable(e, s, len))
		challenge(h, e, len > 0);
}

void hosts_tcp_rx(struct hosts *h, const struct hosts_packet *p)
{
	struct tripod_tuple sends = tripod_tuple_reverse(&p->tuple);
	struct hosts_end *e = hosts_end_find(h, &sends);
	// A new connection takes the place of one that only waits (RFC 9293, 3.10.7.4).
	if (e && e->state == END_TIME_WAIT && (p->flags & (HOSTS_SYN | HOSTS_ACK)) == HOSTS_SYN &&
		offset_of(e->rcv, e->irs, p->seq) >= (int64_t)e->rcv) {
		hosts_tcp_waited(h, e);
		e = NULL;
	}
	if (!e || e->state == END_CLOSED || e->state == END_DATAGRAM) {
		stranger(h, p);
		return;
	}
	uint64_t id = conn_of(h, e)->id;
	if (e->state == END_SYN_SENT)
		answered(h, e, p);
	else if (e->state == END_TIME_WAIT)
		time_wait(h, e, p);
	else
		synchronized(h, e, p);
	struct hosts_conn *c = hosts_conn_by_id(h, id);
	if (c)
		hosts_tcp_schedule(h, c);
}

// ---- Time ----

// When it is given up, unless something comes of it before.
static uint64_t deadline_ns(const struct hosts *h, const struct hosts_conn *c)
{
	uint64_t wait = h->conf.give_up_ns;
	if (c->aborted)
		wait = least(wait, ABORT_WAIT_RTO * h->conf.rto_min_ns);
	return most(c->e.last_progress_ns, c->quiet_until_ns) + wait;
}

void hosts_tcp_schedule(struct hosts *h, struct hosts_conn *c)
{
	uint64_t due = HOSTS_NEVER;
	for (unsigned i = 0; i < HOSTS_ENDS; i++) {
		if (c->ends[i] != HOSTS_NONE)
			due = least(due, hosts_tcp_due_ns(&h->ends[c->ends[i]]));
	}
	if (c->phase != PHASE_ENDED) {
		due = least(due, deadline_ns(h, c));
		if (c->next_ns > h->now_ns)
			due = least(due, c->next_ns);
		if (c->close_at_ns > h->now_ns)
			due = least(due, c->close_at_ns);
	}
	hosts_due(h, c, due);
}

static bool give_up(struct hosts *h, struct hosts_conn *c)
{
	if (h->now_ns < deadline_ns(h, c))
		return false;
	if (c->phase == PHASE_OPENING)
		hosts_end_conn(h, c, HOSTS_REFUSED, "never answered");
	else if (c->aborted)
		hosts_end_conn(h, c, HOSTS_DONE, "aborted as planned, the other end never heard");
	else
		hosts_end_conn(h, c, HOSTS_BROKEN, "no progress");
	return true;
}

void hosts_tcp_tick(struct hosts *h, struct hosts_conn *c)
{
	for (unsigned i = 0; i < HOSTS_ENDS; i++) {
		struct hosts_end *e = hosts_conn_end(h, c, i);
		if (e && hosts_tcp_timers(h, e))
			return;
	}
	if (c->phase == PHASE_ENDED) {
		for (unsigned i = 0; i < HOSTS_ENDS; i++) {
			if (c->ends[i] != HOSTS_NONE) {
				hosts_tcp_schedule(h, c);
				return;
			}
		}
		hosts_conn_free(h, c);
		return;
	}
	if (!give_up(h, c))
		hosts_tcp_schedule(h, c);
}

void hosts_tcp_finish(struct hosts *h, struct hosts_conn *c)
{
	c->finishing = true;
	for (unsigned d = 0; d < 2; d++) {
		const struct hosts_end *e = d == 0         ? hosts_conn_end(h, c, 0)
					    : c->responder ? hosts_conn_end(h, c, c->responder)
							   : NULL;
		uint64_t sent = e && e->max > 1 ? e->max - 1 : 0;
		c->total[d] = least(c->total[d], most(sent, 8));
	}
	if (c->plan.closer == CLOSER_ABORT_INITIATOR || c->plan.closer == CLOSER_ABORT_RESPONDER)
		c->plan.closer = c->aborted ? c->plan.closer : CLOSER_INITIATOR;
	c->next_ns = 0;
	c->quiet_until_ns = least(c->quiet_until_ns, h->now_ns);
	for (unsigned i = 0; i < HOSTS_ENDS; i++) {
		struct hosts_end *e = hosts_conn_end(h, c, i);
		if (e && e->paused_ns)
			e->paused_ns = h->now_ns;
		if (e && hosts_tcp_output(h, e))
			return;
	}
	hosts_tcp_schedule(h, c);
}
