// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/channel.h"

#define RTO_START_NS (20 * 1000000ull)
#define RTO_MIN_NS (8 * 1000000ull) // more than an acknowledgement waits for a message to ride on
#define RTO_MAX_NS (1000 * 1000000ull) // a starved peer answers late, but it does
#define OVERTAKEN_LOST 3
#define FAR (1u << 30) // days of messages
#define BITS 64 // of an acknowledgement

// Numbers leave out 0, which says "not sequenced" on the wire.
static uint32_t seq_add(uint32_t seq, uint32_t n)
{
	uint32_t r = seq + n;
	return r < seq ? r + 1 : r;
}

static uint32_t seq_sub(uint32_t seq, uint32_t n)
{
	uint32_t r = seq - n;
	return r == 0 || r > seq ? r - 1 : r;
}

// Steps from a on to b, modulo all numbers: above 2^31 when b is behind.
static uint32_t seq_ahead(uint32_t a, uint32_t b)
{
	return b < a ? b - a - 1 : b - a;
}

void channel_init(struct channel *c, struct arena *a, uint32_t queue_size)
{
	uint32_t *queue = arena_take(a, queue_size * sizeof(*queue));
	struct channel_message *window = arena_take(a, CHANNEL_WINDOW * sizeof(*window));
	if (queue == NULL)
		return;
	*c = (struct channel){.queue = queue, .queue_mask = queue_size - 1, .window = window};
	channel_reset(c, 0);
}

void channel_reset(struct channel *c, uint32_t peer_boot)
{
	*c = (struct channel){
		.peer_boot = peer_boot,
		.queue = c->queue,
		.queue_mask = c->queue_mask,
		.next_seq = 1,
		.window = c->window,
		.lag = c->lag,
		.oldest_seq = 1,
		.rto_ns = RTO_START_NS,
	};
	for (unsigned i = 0; i < CHANNEL_WINDOW; i++)
		c->window[i].seq = 0;
}

// ---- Sending ----

bool channel_queue(struct channel *c, uint32_t conn, uint64_t now_ns)
{
	if (channel_queued(c) > c->queue_mask)
		return false;
	if (channel_queued(c) == 0)
		c->queued_since_ns = now_ns ? now_ns : 1;
	c->queue[c->queue_head++ & c->queue_mask] = conn;
	return true;
}

uint32_t channel_pop(struct channel *c)
{
	if (channel_queued(c) == 0)
		return 0;
	uint32_t conn = c->queue[c->queue_tail++ & c->queue_mask];
	if (channel_queued(c) == 0)
		c->queued_since_ns = 0;
	return conn;
}

static struct channel_message *slot(const struct channel *c, uint32_t seq)
{
	return &c->window[seq % CHANNEL_WINDOW];
}

bool channel_full(struct channel *c)
{
	// The slot is looked at too: where the numbers start anew, two under way may share one.
	return seq_ahead(c->oldest_seq, c->next_seq) >= CHANNEL_WINDOW ||
	       slot(c, c->next_seq)->seq != 0;
}

struct channel_message *channel_message_new(struct channel *c, uint64_t now_ns)
{
	struct channel_message *m = slot(c, c->next_seq);

	if (channel_full(c))
		return NULL;
	m->seq = c->next_seq;
	m->n = 0;
	m->overtaken = 0;
	m->sent_ns = now_ns;
	m->changed_ns = c->queued_since_ns != 0 ? c->queued_since_ns : now_ns;
	c->next_seq = seq_add(c->next_seq, 1);
	return m;
}

void channel_message_add(struct channel_message *m, uint32_t conn, uint32_t stamp)
{
	if (m->n == CHANNEL_REFS)
		abort(); // the caller's bug, and it would write past the message
	m->ref[m->n++] = (struct channel_ref){conn, stamp};
}

void channel_message_cancel(struct channel *c, struct channel_message *m)
{
	c->next_seq = m->seq;
	m->seq = 0;
}

// Frees the message and tells fn of its records. fn may queue; the window stands still meanwhile.
static void settle(struct channel_message *m, channel_ref_fn fn, void *ctx)
{
	m->seq = 0;
	for (unsigned i = 0; i < m->n; i++)
		fn(ctx, m->ref[i].conn, m->ref[i].stamp);
}

static void forget_settled(struct channel *c)
{
	while (c->oldest_seq != c->next_seq && slot(c, c->oldest_seq)->seq != c->oldest_seq)
		c->oldest_seq = seq_add(c->oldest_seq, 1);
}

static bool is_acked(uint32_t seq, uint32_t ack, uint64_t bits)
{
	uint32_t ahead = seq_ahead(ack, seq);
	if (ahead == 0 || ahead >= 1u << 31)
		return true;
	return ahead >= 2 && ahead < BITS + 2 && (bits >> (ahead - 2) & 1);
}

static uint64_t rto_of(uint64_t rtt_ns)
{
	uint64_t rto_ns = 4 * rtt_ns;

	return rto_ns < RTO_MIN_NS ? RTO_MIN_NS : rto_ns > RTO_MAX_NS ? RTO_MAX_NS : rto_ns;
}

static void sample_rtt(struct channel *c, uint64_t rtt_ns)
{
	c->rtt_ns = c->rtt_ns == 0 ? rtt_ns : c->rtt_ns - c->rtt_ns / 8 + rtt_ns / 8;
	c->rto_ns = rto_of(c->rtt_ns);
}

void channel_hasten(struct channel *c)
{
	c->rto_ns = c->rtt_ns == 0 ? RTO_START_NS : rto_of(c->rtt_ns);
}

void channel_acked(struct channel *c, uint32_t ack, uint64_t bits, uint64_t now_ns,
	channel_ref_fn acked, void *ctx)
{
	// What was never sent cannot have arrived. (ack is 0 until the first message has.)
	uint32_t sent = seq_ahead(ack, c->next_seq);
	if (sent == 0 || sent >= 1u << 31)
		return;
	uint16_t newer = 0; // acknowledged now
	for (uint32_t seq = c->next_seq; seq != c->oldest_seq;) {
		seq = seq_sub(seq, 1);
		struct channel_message *m = slot(c, seq);
		if (m->seq != seq)
			continue;
		if (!is_acked(seq, ack, bits)) {
			m->overtaken = (uint16_t)(m->overtaken + newer);
			continue;
		}
		newer++;
		// Numbers are never used again, so that every acknowledgement tells a true round trip.
		sample_rtt(c, now_ns - m->sent_ns);
		if (c->lag != NULL)
			lag_add(c->lag, now_ns - m->changed_ns);
		settle(m, acked, ctx);
	}
	forget_settled(c);
}

unsigned channel_lost(struct channel *c, uint64_t now_ns, channel_ref_fn lost, void *ctx)
{
	unsigned n = 0;
	bool late = false;
	for (uint32_t seq = c->oldest_seq; seq != c->next_seq; seq = seq_add(seq, 1)) {
		struct channel_message *m = slot(c, seq);
		if (m->seq != seq)
			continue;
		bool timed_out = now_ns - m->sent_ns >= c->rto_ns;
		// Newer messages are neither older nor overtaken by more.
		if (!timed_out && m->overtaken < OVERTAKEN_LOST)
			break;
		late |= timed_out;
		n++;
		settle(m, lost, ctx);
	}
	if (late)
		c->rto_ns = 2 * c->rto_ns < RTO_MAX_NS ? 2 * c->rto_ns : RTO_MAX_NS;
	forget_settled(c);
	return n;
}

unsigned channel_refused(struct channel *c, uint32_t seq, channel_ref_fn lost, void *ctx)
{
	struct channel_message *m = slot(c, seq);

	if (seq == 0 || m->seq != seq)
		return 0;
	settle(m, lost, ctx);
	forget_settled(c);
	return 1;
}

uint64_t channel_next_ns(const struct channel *c)
{
	if (c->oldest_seq == c->next_seq)
		return UINT64_MAX;
	const struct channel_message *m = slot(c, c->oldest_seq);
	return m->overtaken >= OVERTAKEN_LOST ? m->sent_ns : m->sent_ns + c->rto_ns;
}

// ---- Receiving ----

// Everything up to rx_ack is settled: goes on over what follows and has arrived.
static void advance(struct channel *c, uint32_t n)
{
	bool arrived = false;
	do {
		for (; n > 0; n--) {
			c->rx_ack = seq_add(c->rx_ack, 1);
			arrived = c->rx_bits & 1;
			c->rx_bits >>= 1;
		}
		n = arrived;
		arrived = false;
	} while (n > 0);
}

enum channel_rx channel_check(const struct channel *c, uint32_t seq)
{
	uint32_t ahead = seq_ahead(c->rx_ack, seq);
	if (seq == 0 || (ahead >= FAR && ahead < 1u << 31))
		return CHANNEL_FAR;
	if (ahead == 0 || ahead >= 1u << 31)
		return CHANNEL_DUPLICATE;
	if (ahead >= 2 && ahead < BITS + 2 && (c->rx_bits >> (ahead - 2) & 1))
		return CHANNEL_DUPLICATE;
	return CHANNEL_NEW;
}

enum channel_rx channel_received(struct channel *c, uint32_t seq, uint64_t now_ns)
{
	uint32_t ahead = seq_ahead(c->rx_ack, seq);
	if (seq == 0 || (ahead >= FAR && ahead < 1u << 31))
		return CHANNEL_FAR;
	if (!c->ack_owed) {
		c->ack_owed = true;
		c->ack_since_ns = now_ns;
	}
	if (ahead == 0 || ahead >= 1u << 31)
		return CHANNEL_DUPLICATE;
	if (ahead > CHANNEL_WINDOW) {
		uint32_t skip = ahead - CHANNEL_WINDOW;
		if (skip > BITS + 1) { // further than any bit: nothing that is known remains
			c->rx_ack = seq_add(c->rx_ack, skip);
			c->rx_bits = 0;
		} else {
			advance(c, skip);
		}
		ahead = seq_ahead(c->rx_ack, seq);
	}
	if (ahead == 1) {
		advance(c, 1);
		return CHANNEL_NEW;
	}
	uint64_t bit = 1ull << (ahead - 2);
	if (c->rx_bits & bit)
		return CHANNEL_DUPLICATE;
	c->rx_bits |= bit;
	return CHANNEL_NEW;
}
