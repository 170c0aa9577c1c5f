// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hpsms/channel.h"
#include "core/rng.h"

#define MS 1000000ull
#define QUEUE 64

struct memory {
	_Alignas(64) uint8_t b[64 * 1024];
};
static struct memory memories[2];

static struct channel new_channel(unsigned i)
{
	memset(&memories[i], 0, sizeof(memories[i]));
	struct arena a = {.base = memories[i].b, .size = sizeof(memories[i].b)};
	struct channel c;
	channel_init(&c, &a, QUEUE);
	return c;
}

struct heard {
	unsigned n;
	uint32_t conn[CHANNEL_WINDOW * CHANNEL_REFS];
};

static void note(void *ctx, uint32_t conn, uint32_t stamp)
{
	struct heard *h = ctx;
	assert_int_equal(stamp, conn * 10);
	h->conn[h->n++] = conn;
}

// Sends a message with one record whose number is its own.
static uint32_t send_one(struct channel *c, uint32_t conn, uint64_t now)
{
	struct channel_message *m = channel_message_new(c, now);
	assert_non_null(m);
	channel_message_add(m, conn, conn * 10);
	return m->seq;
}

static void init__measures(void **state)
{
	struct arena measure = {0}, build = {.base = memories[0].b, .size = sizeof(memories[0].b)};
	struct channel c;
	channel_init(&c, &measure, QUEUE);
	channel_init(&c, &build, QUEUE);
	assert_int_equal(measure.used, build.used);
}

static void queue__fifo_and_full(void **state)
{
	struct channel c = new_channel(0);
	assert_int_equal(channel_pop(&c), 0);
	for (unsigned round = 0; round < 5; round++) {
		for (uint32_t i = 1; i <= QUEUE; i++)
			assert_true(channel_queue(&c, i, round * 1000 + i));
		assert_false(channel_queue(&c, 99, 5));
		assert_int_equal(channel_queued(&c), QUEUE);
		assert_true(c.queued_since_ns == round * 1000 + 1);
		for (uint32_t i = 1; i <= QUEUE; i++)
			assert_int_equal(channel_pop(&c), i);
		assert_true(c.queued_since_ns == 0);
	}
	assert_true(channel_queue(&c, 1, 0));
	assert_true(c.queued_since_ns != 0); // 0 says "empty"
}

static void window__full_and_cancel(void **state)
{
	struct channel c = new_channel(0);
	assert_true(channel_next_ns(&c) == UINT64_MAX);
	for (uint32_t i = 1; i < CHANNEL_WINDOW; i++)
		assert_int_equal(send_one(&c, i, 0), i);
	struct channel_message *m = channel_message_new(&c, 0);
	assert_int_equal(m->seq, CHANNEL_WINDOW);
	assert_null(channel_message_new(&c, 0));
	channel_message_cancel(&c, m);
	assert_int_equal(send_one(&c, 64, 0), CHANNEL_WINDOW);
	assert_null(channel_message_new(&c, 0));
	struct heard h = {0};
	channel_acked(&c, 0, 1, MS, note, &h); // only number 2: the window still begins at 1
	assert_int_equal(h.n, 1);
	assert_int_equal(h.conn[0], 2);
	assert_null(channel_message_new(&c, 0));
	channel_acked(&c, 1, 0, MS, note, &h);
	assert_int_equal(h.n, 2);
	assert_int_equal(send_one(&c, 65, 0), 65);
	assert_int_equal(send_one(&c, 66, 0), 66);
	assert_null(channel_message_new(&c, 0));
}

static void acked__ranges(void **state)
{
	struct channel c = new_channel(0);
	struct heard h = {0};
	for (uint32_t i = 1; i <= 10; i++)
		send_one(&c, i, 0);
	channel_acked(&c, 11, 0, MS, note, &h); // never sent
	channel_acked(&c, 0xfffffff0, 0, MS, note, &h); // before the first
	channel_acked(&c, 0x7fffffff, ~0ull, MS, note, &h);
	assert_int_equal(h.n, 0);
	channel_acked(&c, 4, 1ull << 1, MS, note, &h); // 1..4 and 7
	assert_int_equal(h.n, 5);
	channel_acked(&c, 4, 1ull << 1, MS, note, &h); // settled once
	channel_acked(&c, 2, 0, MS, note, &h); // late
	assert_int_equal(h.n, 5);
	channel_acked(&c, 10, ~0ull, MS, note, &h);
	assert_int_equal(h.n, 10);
	assert_true(channel_next_ns(&c) == UINT64_MAX);
}

static void lost__overtaken_by_three(void **state)
{
	struct channel c = new_channel(0);
	struct heard acked = {0}, lost = {0};
	for (uint32_t i = 1; i <= 6; i++)
		send_one(&c, i, i);
	channel_acked(&c, 1, 1 << 0 | 1 << 1, 100, note, &acked); // 1, 3, 4: 2 is overtaken by two
	assert_int_equal(channel_lost(&c, 101, note, &lost), 0);
	assert_true(channel_next_ns(&c) > 101);
	channel_acked(&c, 1, 1 << 0 | 1 << 1 | 1 << 3, 200, note, &acked); // and 6
	assert_true(channel_next_ns(&c) <= 201);
	assert_int_equal(channel_lost(&c, 201, note, &lost), 1);
	assert_int_equal(lost.conn[0], 2);
	assert_int_equal(acked.n, 4);
	assert_int_equal(c.oldest_seq, 5);
	assert_true(c.rto_ns == 8 * MS); // no time-out, no doubling
}

static void lost__timeouts_double(void **state)
{
	struct channel c = new_channel(0);
	struct heard h = {0};
	uint64_t now = 0, want = 20 * MS;
	for (unsigned i = 0; i < 10; i++) {
		send_one(&c, 7, now);
		send_one(&c, 8, now);
		assert_true(channel_next_ns(&c) == now + want);
		assert_int_equal(channel_lost(&c, now + want - 1, note, &h), 0);
		now += want;
		assert_int_equal(channel_lost(&c, now, note, &h), 2);
		want = want < 500 * MS ? 2 * want : 1000 * MS;
	}
	assert_int_equal(h.n, 20);
	uint32_t seq = send_one(&c, 7, now);
	channel_acked(&c, seq, 0, now + 3 * MS, note, &h);
	assert_true(c.rtt_ns == 3 * MS && c.rto_ns == 12 * MS);
	for (unsigned i = 0; i < 100; i++) {
		seq = send_one(&c, 7, now);
		channel_acked(&c, seq, 0, now + MS / 10, note, &h);
	}
	assert_true(c.rto_ns == 8 * MS);
	for (unsigned i = 0; i < 100; i++) {
		seq = send_one(&c, 7, now);
		channel_acked(&c, seq, 0, now + 900 * MS, note, &h);
	}
	assert_true(c.rto_ns == 1000 * MS);
}

static void received__order(void **state)
{
	struct channel c = new_channel(0);
	assert_int_equal(channel_received(&c, 2, 5), CHANNEL_NEW);
	assert_true(c.ack_owed && c.ack_since_ns == 5);
	assert_int_equal(c.rx_ack, 0);
	assert_true(c.rx_bits == 1);
	assert_int_equal(channel_received(&c, 4, 6), CHANNEL_NEW);
	assert_true(c.ack_since_ns == 5);
	assert_int_equal(channel_received(&c, 2, 6), CHANNEL_DUPLICATE);
	assert_int_equal(channel_received(&c, 1, 6), CHANNEL_NEW);
	assert_int_equal(c.rx_ack, 2);
	assert_true(c.rx_bits == 1); // 4
	assert_int_equal(channel_received(&c, 3, 6), CHANNEL_NEW);
	assert_int_equal(c.rx_ack, 4);
	assert_true(c.rx_bits == 0);
	c.ack_owed = false;
	assert_int_equal(channel_received(&c, 3, 9), CHANNEL_DUPLICATE);
	assert_true(c.ack_owed && c.ack_since_ns == 9); // the acknowledgement may have been lost
	assert_int_equal(channel_received(&c, 0, 9), CHANNEL_FAR);
}

// What the sender has given up never comes; the window moves on without it.
static void received__skips_what_was_given_up(void **state)
{
	struct channel c = new_channel(0);
	assert_int_equal(channel_received(&c, 3, 0), CHANNEL_NEW);
	assert_int_equal(channel_received(&c, 64, 0), CHANNEL_NEW);
	assert_int_equal(c.rx_ack, 0); // 1 may be under way still
	assert_int_equal(channel_received(&c, 65, 0), CHANNEL_NEW);
	assert_int_equal(c.rx_ack, 1);
	assert_int_equal(channel_received(&c, 66, 0), CHANNEL_NEW);
	assert_int_equal(c.rx_ack, 3); // 3 has arrived
	assert_int_equal(channel_received(&c, 2, 0), CHANNEL_DUPLICATE);
	assert_int_equal(channel_received(&c, 100000, 0), CHANNEL_NEW);
	assert_int_equal(c.rx_ack, 100000 - 64);
	assert_true(c.rx_bits == 1ull << 62);
	struct channel same = c;
	assert_int_equal(channel_received(&c, 100000 - 64 + (1u << 30), 0), CHANNEL_FAR);
	assert_int_equal(channel_received(&c, 100000 + (1u << 30) + 7, 0), CHANNEL_FAR);
	assert_memory_equal(&same, &c, sizeof(c));
}

static void reset__forgets_all(void **state)
{
	struct channel c = new_channel(0), fresh = new_channel(1);
	struct heard h = {0};
	for (uint32_t i = 1; i <= 64; i++)
		send_one(&c, i, 5);
	channel_queue(&c, 3, 4);
	channel_received(&c, 9, 4);
	channel_reset(&c, 1234);
	assert_int_equal(c.peer_boot, 1234);
	assert_int_equal(channel_queued(&c), 0);
	assert_int_equal(c.queue_mask, QUEUE - 1);
	assert_true(channel_next_ns(&c) == UINT64_MAX);
	channel_acked(&c, 60, 0, 9, note, &h); // of the life before
	assert_int_equal(h.n, 0);
	assert_int_equal(channel_received(&c, 1, 9), CHANNEL_NEW);
	assert_int_equal(send_one(&c, 1, 0), fresh.next_seq);
	for (uint32_t i = 2; i <= 64; i++)
		assert_int_equal(send_one(&c, i, 0), i);
}

// ---- Two channels over a bad network ----

#define CONNS 40
#define PIPE 256

struct packet {
	uint64_t at; // arrival; 0: free
	uint32_t seq, ack;
	uint64_t bits;
	unsigned n;
	struct channel_ref ref[CHANNEL_REFS];
};

struct side {
	struct channel c;
	uint32_t stamp[CONNS + 1], copy[CONNS + 1]; // own records; copies of the peer's
	bool queued[CONNS + 1], protected[CONNS + 1];
	bool seen[1 << 16]; // numbers that came as new
	unsigned sent, settled, lost, messages, duplicates;
	struct packet to[PIPE]; // on the way to this side
	struct side *peer;
	uint64_t now;
};
static struct side sides[2];

static void queue_conn(struct side *s, uint32_t conn)
{
	if (!s->queued[conn])
		assert_true(channel_queue(&s->c, conn, s->now));
	s->queued[conn] = true;
}

static void on_acked(void *ctx, uint32_t conn, uint32_t stamp)
{
	struct side *s = ctx;
	s->settled++;
	assert_true(s->peer->copy[conn] >= stamp); // never told of what has not arrived
	if (stamp == s->stamp[conn])
		s->protected[conn] = true;
}

static void on_lost(void *ctx, uint32_t conn, uint32_t stamp)
{
	struct side *s = ctx;
	s->settled++;
	if (!s->protected[conn])
		queue_conn(s, conn);
}

struct weather {
	uint32_t loss, dup, delay_us; // per cent, per cent, at most
};

static void transmit(struct side *s, const struct packet *p, struct rng *r, struct weather w)
{
	for (unsigned copies = rng_below(r, 100) < w.dup ? 2 : 1; copies > 0; copies--) {
		if (rng_below(r, 100) < w.loss)
			continue;
		for (unsigned i = 0; i < PIPE; i++) {
			if (s->peer->to[i].at != 0)
				continue;
			s->peer->to[i] = *p;
			s->peer->to[i].at = s->now + 1 + rng_below(r, w.delay_us + 1) * 1000ull;
			break;
		}
	}
}

static void send_some(struct side *s, struct rng *r, struct weather w)
{
	while (channel_queued(&s->c) > 0) {
		uint32_t way = s->c.next_seq - s->c.oldest_seq; // near enough: never too small
		struct channel_message *m = channel_message_new(&s->c, s->now);
		if (m == NULL) {
			assert_true(way >= CHANNEL_WINDOW);
			return;
		}
		assert_true(way <= CHANNEL_WINDOW);
		struct packet p = {.seq = m->seq};
		unsigned n = 1 + rng_below(r, CHANNEL_REFS);
		uint32_t conn;
		for (; n > 0 && (conn = channel_pop(&s->c)) != 0; n--) {
			s->queued[conn] = false;
			channel_message_add(m, conn, s->stamp[conn]);
			p.ref[p.n++] = (struct channel_ref){conn, s->stamp[conn]};
			s->sent++;
		}
		p.ack = s->c.rx_ack;
		p.bits = s->c.rx_bits;
		s->c.ack_owed = false;
		s->messages++;
		transmit(s, &p, r, w);
	}
	if (s->c.ack_owed && s->now - s->c.ack_since_ns > 2 * MS) {
		struct packet p = {.ack = s->c.rx_ack, .bits = s->c.rx_bits};
		s->c.ack_owed = false;
		transmit(s, &p, r, w);
	}
}

static void receive(struct side *s, struct packet *p)
{
	if (p->seq != 0) {
		enum channel_rx rx = channel_received(&s->c, p->seq, s->now);
		assert_int_not_equal(rx, CHANNEL_FAR);
		if (rx == CHANNEL_NEW) {
			assert_false(s->seen[p->seq & 0xffff]);
			s->seen[p->seq & 0xffff] = true;
			s->seen[(p->seq + 0x8000) & 0xffff] = false;
			for (unsigned i = 0; i < p->n; i++)
				if (s->copy[p->ref[i].conn] < p->ref[i].stamp)
					s->copy[p->ref[i].conn] = p->ref[i].stamp;
		}
		s->duplicates += rx == CHANNEL_DUPLICATE;
	}
	channel_acked(&s->c, p->ack, p->bits, s->now, on_acked, s);
}

static void step(struct side *s, struct rng *r, struct weather w)
{
	for (unsigned i = 0; i < PIPE; i++) {
		if (s->to[i].at == 0 || s->to[i].at > s->now)
			continue;
		receive(s, &s->to[i]);
		s->to[i].at = 0;
	}
	uint64_t next = channel_next_ns(&s->c);
	unsigned lost = channel_lost(&s->c, s->now, on_lost, s);
	assert_true((lost > 0) == (next <= s->now)); // neither early nor late
	s->lost += lost;
	send_some(s, r, w);
}

static unsigned under_way(const struct channel *c)
{
	unsigned n = 0;
	for (unsigned i = 0; i < CHANNEL_WINDOW; i++)
		n += c->window[i].seq != 0 ? c->window[i].n : 0;
	return n;
}

static void run(uint64_t seed, struct weather w, uint32_t first_seq)
{
	struct rng r = {seed};
	memset(sides, 0, sizeof(sides));
	for (unsigned i = 0; i < 2; i++) {
		sides[i].c = new_channel(i);
		sides[i].peer = &sides[!i];
		sides[i].now = 1;
		sides[i].c.next_seq = sides[i].c.oldest_seq = first_seq;
		sides[i].c.rx_ack = first_seq == 1 ? 0 : first_seq - 1;
	}
	unsigned steps = 0;
	bool quiet = false;
	for (; !quiet && steps < 40000; steps++) {
		struct side *s = &sides[steps & 1];
		if (steps == 6000) // the weather clears; everything must settle
			w = (struct weather){0, 0, 100};
		if (steps < 6000 && rng_below(&r, 3) == 0) {
			uint32_t conn = 1 + rng_below(&r, CONNS);
			s->stamp[conn]++;
			s->protected[conn] = false;
			queue_conn(s, conn);
		}
		s->now = sides[!(steps & 1)].now + rng_below(&r, 200000);
		step(s, &r, w);
		assert_int_equal(s->sent, s->settled + under_way(&s->c));
		quiet = steps > 6000 && !channel_queued(&sides[0].c) &&
			!channel_queued(&sides[1].c) && !under_way(&sides[0].c) &&
			!under_way(&sides[1].c);
	}
	assert_true(quiet);
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned conn = 1; conn <= CONNS; conn++) {
			assert_int_equal(sides[i].stamp[conn], sides[!i].copy[conn]);
			assert_true(sides[i].stamp[conn] == 0 || sides[i].protected[conn]);
		}
		assert_true(sides[i].messages > 50);
		assert_true(w.loss < 5 || sides[i].lost > 0);
	}
}

static void prop__bad_network(void **state)
{
	const struct weather w[] = {{0, 0, 0}, {5, 0, 100}, {0, 30, 3000}, {20, 10, 1000},
		{60, 20, 50}, {90, 0, 5000}, {1, 1, 100000}};
	for (uint64_t seed = 1; seed <= 21; seed++) {
		printf("seed %lu\n", seed);
		run(seed, w[seed % 7], 1);
		run(seed, w[seed % 7], 0xffffffff - (uint32_t)seed * 3); // over the end of numbers
	}
	assert_true(sides[0].duplicates + sides[1].duplicates > 0 || w[0].dup == 0);
}

// One way is cut for a long time while the sender keeps trying: the channel works afterwards.
static void prop__one_way_partition(void **state)
{
	struct rng r = {5};
	printf("seed 5\n");
	memset(sides, 0, sizeof(sides));
	for (unsigned i = 0; i < 2; i++) {
		sides[i].c = new_channel(i);
		sides[i].peer = &sides[!i];
	}
	struct weather cut = {100, 0, 0}, fine = {0, 0, 100};
	for (unsigned i = 0; i < 60000; i++) {
		struct side *s = &sides[i & 1];
		s->now = sides[!(i & 1)].now + 500000;
		if ((i & 1) == 0 && i < 59000) {
			uint32_t conn = 1 + rng_below(&r, CONNS);
			s->stamp[conn]++;
			s->protected[conn] = false;
			queue_conn(s, conn);
		}
		step(s, &r, i < 50000 && s == &sides[0] ? cut : fine);
	}
	assert_true(sides[0].messages > 1000); // far more than a window was given up
	for (unsigned conn = 1; conn <= CONNS; conn++) {
		assert_int_equal(sides[0].stamp[conn], sides[1].copy[conn]);
		assert_true(sides[0].protected[conn]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init__measures),
		cmocka_unit_test(queue__fifo_and_full),
		cmocka_unit_test(window__full_and_cancel),
		cmocka_unit_test(acked__ranges),
		cmocka_unit_test(lost__overtaken_by_three),
		cmocka_unit_test(lost__timeouts_double),
		cmocka_unit_test(received__order),
		cmocka_unit_test(received__skips_what_was_given_up),
		cmocka_unit_test(reset__forgets_all),
		cmocka_unit_test(prop__bad_network),
		cmocka_unit_test(prop__one_way_partition),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
