// SPDX-License-Identifier: BSD-3-Clause
// UDP and echo: numbered requests, each answered at once, to wherever it seems to come from.
//
// Payload, big endian:
//	0  id of the connection (8)
//	8  number of the request (4)
//	12 bytes that the answer shall have (2)
//	14 0: request, 1: answer (1), 0 (1)
//	16 answer: tag of the tuple that the request showed; request: 0 (8)
//	24 bytes of the stream, from offset number * 65536 on
#include "sim/hosts_internal.h"

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t tag_of(const struct tripod_tuple *t)
{
	uint64_t w[5], v = 1;
	memcpy(w, t, sizeof(w));
	for (int i = 0; i < 5; i++)
		v = (v ^ w[i] ^ (v >> 31)) * 0x9e3779b97f4a7c15ull;
	return v;
}

struct datagram {
	uint64_t id, tag;
	uint32_t number;
	uint16_t want;
	bool answer;
};

static void send(
	struct hosts *h, const struct tripod_tuple *tuple, const struct datagram *d, uint16_t len)
{
	enum tripod_direction side = (enum tripod_direction)tuple->direction;
	struct hosts_out o = {.tuple = tuple,
		.src_mac = HOSTS_MAC[side],
		.dst_mac = h->conf.gateway_mac[side],
		.seq = d->number,
		.echo_reply = d->answer,
		.payload_len = len};
	uint8_t *at = hosts_packet_begin(h->frame, &o);
	hosts_set64(at, d->id);
	hosts_set32(at + 8, d->number);
	hosts_set16(at + 12, d->want);
	hosts_set16(at + 14, d->answer ? 0x100 : 0);
	hosts_set64(at + 16, d->tag);
	hosts_bytes_fill(at + HOSTS_DATAGRAM, len - HOSTS_DATAGRAM, d->id, d->answer,
		(uint64_t)d->number << 16);
	hosts_send(h, side, hosts_packet_finish(h->frame));
}

// ---- The initiator ----

static void request(struct hosts *h, struct hosts_conn *c)
{
	const struct hosts_plan *p = &c->plan;
	uint32_t number = c->round++;
	uint64_t wait = (uint64_t)p->interval_us * 1000;
	if (c->round >= p->rounds) // until one of the last is answered
		wait = most(wait, h->conf.rto_min_ns * 4);
	c->next_ns = h->now_ns + wait;
	send(h, &c->e.opening,
		&(struct datagram){.id = c->id, .number = number, .want = (uint16_t)p->bytes[1]},
		(uint16_t)p->bytes[0]);
}

// The newest request was answered: whoever has no answer does not fall silent on purpose.
static void think(struct hosts *h, struct hosts_conn *c)
{
	const struct hosts_plan *p = &c->plan;
	uint64_t ms = p->think_ms;
	if (c->round == p->gap_round)
		ms += p->gap_ms;
	c->next_ns = h->now_ns + (uint64_t)p->interval_us * 1000 + ms * 1000000;
	c->quiet_until_ns = c->next_ns;
}

static void schedule(struct hosts *h, struct hosts_conn *c)
{
	uint64_t since = most(c->e.last_progress_ns, c->quiet_until_ns);
	hosts_due(h, c, least(c->next_ns, since + h->conf.give_up_ns));
}

void hosts_flow_open(struct hosts *h, struct hosts_conn *c, const struct tripod_tuple *opening)
{
	hosts_end_new(h, c, 0, opening)->state = END_DATAGRAM;
	request(h, c);
	schedule(h, c);
}

void hosts_flow_tick(struct hosts *h, struct hosts_conn *c)
{
	uint64_t since = most(c->e.last_progress_ns, c->quiet_until_ns);
	if (h->now_ns >= since + h->conf.give_up_ns) {
		if (c->phase == PHASE_OPENING)
			hosts_end_conn(h, c, HOSTS_REFUSED, "never answered");
		else
			hosts_end_conn(h, c, HOSTS_BROKEN, "no more answers");
		return;
	}
	if (h->now_ns >= c->next_ns)
		request(h, c);
	schedule(h, c);
}

void hosts_flow_finish(struct hosts *h, struct hosts_conn *c)
{
	if (c->round < c->plan.rounds)
		c->plan.rounds = c->round;
	c->next_ns = least(c->next_ns, h->now_ns + h->conf.rto_min_ns);
	c->quiet_until_ns = least(c->quiet_until_ns, h->now_ns);
	if (c->phase == PHASE_OPEN && c->answered_high >= c->plan.rounds)
		hosts_end_conn(h, c, HOSTS_DONE, "answered as planned");
	else
		schedule(h, c);
}

// false: it was answered before.
static bool count_answer(struct hosts_conn *c, uint32_t number)
{
	if (number >= c->answered_high) {
		uint32_t shift = number + 1 - c->answered_high;
		c->answered_bits = shift < 64 ? c->answered_bits << shift : 0;
		c->answered_high = number + 1;
	}
	uint32_t behind = c->answered_high - 1 - number;
	uint64_t bit = behind < 64 ? UINT64_C(1) << behind : 0;
	if (bit == 0 || (c->answered_bits & bit))
		return false;
	c->answered_bits |= bit;
	c->answered++;
	return true;
}

// The way by which the first answer has come is the connection's; of another the gateway may think no more.
static void settle(struct hosts_conn *c, uint64_t tag)
{
	c->settled = c->round;
	c->settled_tag = tag;
	for (uint32_t n = 0; n < c->ways; n++) {
		if (tag_of(&c->asked[n]) == tag)
			c->e.peer = c->asked[n];
	}
}

static void answered(struct hosts *h, struct hosts_conn *c, const struct datagram *d, uint16_t len)
{
	if (d->number >= c->round) {
		hosts_end_conn(h, c, HOSTS_CORRUPT, "an answer to what was not asked");
		return;
	}
	if (c->phase == PHASE_OPENING) {
		c->phase = PHASE_OPEN;
		c->e.established_ns = h->now_ns;
		settle(c, d->tag);
		h->totals.established++;
		hosts_tell(h, c, HOSTS_ESTABLISHED, "answered");
	}
	if (!count_answer(c, d->number))
		return;
	c->e.bytes += len;
	hosts_progress(h, c);
	if (c->answered_high >= c->plan.rounds) {
		hosts_end_conn(h, c, HOSTS_DONE, "answered as planned");
		return;
	}
	if (c->answered_high == c->round)
		think(h, c);
	schedule(h, c);
}

// ---- The responder ----

static void requested(struct hosts *h, struct hosts_conn *c, const struct hosts_packet *p,
	const struct datagram *d)
{
	const char *why = hosts_translation(h, c, &p->tuple);
	if (why) {
		hosts_end_conn(h, c, HOSTS_CORRUPT, why);
		return;
	}
	uint64_t tag = tag_of(&p->tuple);
	// What was sent before the first answer may have found another way: nothing was promised.
	bool settled = c->phase == PHASE_OPEN && d->number >= c->settled;
	if (settled && tag != c->settled_tag) {
		hosts_end_conn(
			h, c, HOSTS_BROKEN, "mapping changed: a request came from elsewhere");
		return;
	}
	if (c->phase == PHASE_OPENING || tag == c->settled_tag)
		c->e.peer = p->tuple;
	if (c->phase == PHASE_OPENING && c->ways < HOSTS_WAYS &&
		(c->ways == 0 || tag_of(&c->asked[c->ways - 1]) != tag))
		c->asked[c->ways++] = p->tuple;
	c->e.bytes += p->payload_len;
	struct tripod_tuple back = tripod_tuple_reverse(&p->tuple);
	send(h, &back,
		&(struct datagram){.id = d->id, .number = d->number, .tag = tag, .answer = true},
		d->want);
}

// ---- Arrival ----

static bool read_datagram(const struct hosts_packet *p, struct datagram *d)
{
	const uint8_t *at = p->payload;
	if (p->payload_len < HOSTS_DATAGRAM || at[14] > 1 || at[15] != 0)
		return false;
	*d = (struct datagram){.id = hosts_get64(at),
		.number = hosts_get32(at + 8),
		.want = hosts_get16(at + 12),
		.answer = at[14],
		.tag = hosts_get64(at + 16)};
	return hosts_bytes_right(at + HOSTS_DATAGRAM, p->payload_len - HOSTS_DATAGRAM, d->id,
		d->answer, (uint64_t)d->number << 16);
}

// What is wrong with the datagram's shape, by the plan of its connection.
static const char *misshapen(
	const struct hosts_conn *c, const struct hosts_packet *p, const struct datagram *d)
{
	bool echo = p->kind != HOSTS_PACKET_UDP;
	if (p->payload_len != c->plan.bytes[d->answer])
		return "a datagram of another length";
	if (!d->answer && (d->want != c->plan.bytes[1] || d->tag != 0))
		return "wrong bytes";
	if (echo && (d->answer != (p->kind == HOSTS_PACKET_ECHO_REPLY) ||
			    p->seq != (d->number & 0xffff)))
		return "echo of another kind or number";
	return NULL;
}

void hosts_flow_rx(struct hosts *h, enum tripod_direction side, const struct hosts_packet *p)
{
	struct datagram d;
	if (!read_datagram(p, &d)) {
		hosts_tell_frame(h, &p->tuple, "wrong bytes in a datagram");
		return;
	}
	struct hosts_conn *c = hosts_conn_by_id(h, d.id);
	if (!c) {
		h->totals.late++;
		return;
	}
	const char *why = hosts_is_tcp(c->kind) ? "a datagram of TCP" : misshapen(c, p, &d);
	if (why) {
		hosts_end_conn(h, c, HOSTS_CORRUPT, why);
		return;
	}
	if (!d.answer) {
		requested(h, c, p, &d);
		return;
	}
	struct tripod_tuple sends = tripod_tuple_reverse(&p->tuple);
	if (tripod_tuple_equal(&sends, &c->e.opening))
		answered(h, c, &d, p->payload_len);
	else if (c->phase == PHASE_OPENING)
		h->totals
			.late++; // never answered, it was promised nothing: to its socket, a stranger
	else
		hosts_end_conn(
			h, c, HOSTS_BROKEN, "mapping changed: an answer came from elsewhere");
}
