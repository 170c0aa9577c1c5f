// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/bfd.h"

#define MS 1000000ull
#define ROOM 128
#define BFD_AT 42

static struct rng rng;
static const struct bfd_conf conf = {.tx_us = 20000,
	.rx_us = 20000,
	.multiplier = 3,
	.mac = {2, 0, 0, 0, 0, 1},
	.peer_mac = {0, 0x23, 0x20, 0, 0, 1},
	.src_v4 = 0x0001fea9,
	.dst_v4 = 0x0101fea9}; // 169.254.1.0, 169.254.1.1 as they lie in memory

static struct bfd new_session(uint64_t seed, bool peer)
{
	struct bfd b;
	struct bfd_conf c = conf;
	rng.state = seed;
	if (peer) {
		c.src_v4 = conf.dst_v4;
		c.dst_v4 = conf.src_v4;
	}
	bfd_init(&b, &c, &rng);
	return b;
}

static struct frame empty(uint8_t *data)
{
	memset(data, 0xee, ROOM);
	return (struct frame){.data = data, .room = ROOM, .vlan = 99};
}

static int give(struct bfd *b, uint8_t *data, uint16_t len, uint64_t now)
{
	struct tripod_packet p = {.data = data, .len = len, .l3 = 14, .l4 = 34, .payload = BFD_AT};
	return bfd_rx(b, &p, now);
}

// A packet from the peer, as bytes.
static uint16_t packet(
	uint8_t *data, enum bfd_state state, uint8_t flags, uint32_t mine, uint32_t yours)
{
	struct bfd b = new_session(1, true);
	struct frame f = empty(data);
	assert_true(bfd_tick(&b, &rng, 0, &f));
	data[BFD_AT] = 0x20;
	data[BFD_AT + 1] = (uint8_t)(state << 6 | flags);
	for (unsigned i = 0; i < 4; i++) {
		data[BFD_AT + 4 + i] = (uint8_t)(mine >> (24 - 8 * i));
		data[BFD_AT + 8 + i] = (uint8_t)(yours >> (24 - 8 * i));
	}
	return f.len;
}

static void frame__bytes(void **state)
{
	uint8_t data[ROOM];
	struct bfd b = new_session(7, false);
	struct frame f = empty(data);
	assert_true(bfd_tick(&b, &rng, 5, &f));
	assert_int_equal(f.len, 66);
	assert_int_equal(f.vlan, 0);
	assert_int_equal(f.class, FRAME_CONTROL);
	static const uint8_t head[14] = {0, 0x23, 0x20, 0, 0, 1, 2, 0, 0, 0, 0, 1, 8, 0};
	static const uint8_t ends[8] = {169, 254, 1, 0, 169, 254, 1, 1};
	assert_memory_equal(data, head, 14);
	assert_int_equal(data[22], 255);
	assert_memory_equal(data + 26, ends, 8);
	assert_true((data[34] << 8 | data[35]) >= 49152);
	assert_int_equal(data[36] << 8 | data[37], 3784);
	assert_int_equal(data[38] << 8 | data[39], 32);
	static const uint8_t bfd[4] = {0x20 | 7, 0, 3, 24}; // administratively down
	assert_memory_equal(data + BFD_AT, bfd, 4);
	static const uint8_t times[12] = {0, 0x0f, 0x42, 0x40, 0, 0, 0x4e, 0x20, 0, 0, 0, 0};
	assert_memory_equal(data + BFD_AT + 12, times, 12);
	uint32_t ip = 0, udp = 17 + 32; // both checksums, by the definition
	for (unsigned i = 14; i < 34; i += 2)
		ip += (uint32_t)(data[i] << 8 | data[i + 1]);
	for (unsigned i = 26; i < 66; i += 2)
		udp += (uint32_t)(data[i] << 8 | data[i + 1]);
	assert_int_equal((ip & 0xffff) + (ip >> 16), 0xffff);
	assert_int_equal((udp & 0xffff) + (udp >> 16), 0xffff);
}

static void rx__refused(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
	} wrong[] = {
		{14, 0x55}, // IPv4 version
		{14, 0x44}, // header length
		{14, 0x4f}, {17, 53}, // total length: larger than the frame
		{17, 27}, {22, 254}, // TTL
		{23, 6}, {29, 2}, // source
		{33, 2}, // destination
		{37, 0xc9}, // port
		{39, 33}, // UDP length
		{39, 7}, {39, 31}, // too short for the packet
		{BFD_AT, 0x40}, // version
		{BFD_AT + 1, BFD_DOWN << 6 | 0x04}, // authenticated
		{BFD_AT + 1, BFD_DOWN << 6 | 0x01}, // multipoint
		{BFD_AT + 1, BFD_DOWN << 6 | 0x30}, // poll and final
		{BFD_AT + 1, BFD_INIT << 6}, // no session named
		{BFD_AT + 1, BFD_UP << 6}, {BFD_AT + 2, 0}, // multiplier
		{BFD_AT + 3, 23}, // length
		{BFD_AT + 3, 25}, {BFD_AT + 7, 0}, // my discriminator
		{BFD_AT + 11, 77}, // another session
	};
	struct bfd b = new_session(7, false);
	bfd_admin(&b, true, 0);
	const struct bfd before = b;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint8_t data[ROOM];
		uint16_t len = packet(data, BFD_DOWN, 0, 5, 0);
		data[wrong[i].at] = wrong[i].value;
		assert_int_equal(give(&b, data, len, 1), -EINVAL);
		assert_memory_equal(&before, &b, sizeof(b));
	}
	uint8_t data[ROOM];
	uint16_t len = packet(data, BFD_DOWN, 0, 5, 0);
	for (uint16_t cut = 14; cut < len; cut++)
		assert_int_equal(give(&b, data, cut, 1), -EINVAL);
	assert_int_equal(give(&b, data, len, 1), 0);
	assert_int_equal(b.state, BFD_INIT);
	len = packet(data, BFD_INIT, 0, 5, b.local_discriminator);
	assert_int_equal(give(&b, data, len, 1), 0);
	assert_int_equal(b.state, BFD_UP);
}

static void state__table(void **state)
{
	static const enum bfd_state want[4][4] = {
		// received: admin down, down, init, up
		[BFD_ADMIN_DOWN] = {0, 0, 0, 0},
		[BFD_DOWN] = {BFD_DOWN, BFD_INIT, BFD_UP, BFD_DOWN},
		[BFD_INIT] = {BFD_DOWN, BFD_INIT, BFD_UP, BFD_UP},
		[BFD_UP] = {BFD_DOWN, BFD_DOWN, BFD_UP, BFD_UP},
	};
	for (unsigned own = 0; own < 4; own++) {
		for (unsigned got = 0; got < 4; got++) {
			uint8_t data[ROOM];
			struct bfd b = new_session(7, false);
			b.state = (uint8_t)own;
			b.diag = 0;
			uint16_t len = packet(data, got, 0, 5, b.local_discriminator);
			assert_int_equal(give(&b, data, len, 9), 0);
			assert_int_equal(b.state, want[own][got]);
			assert_int_equal(b.changes, want[own][got] != own);
			bool fell = own >= BFD_INIT && want[own][got] == BFD_DOWN;
			assert_int_equal(b.diag, fell ? 3 : 0);
			assert_true(want[own][got] == own || b.next_tx_ns == 9); // tells at once
		}
	}
}

static struct bfd up_session(uint64_t now)
{
	uint8_t data[ROOM];
	struct bfd b = new_session(7, false);
	bfd_admin(&b, true, now);
	give(&b, data, packet(data, BFD_DOWN, 0, 5, 0), now);
	give(&b, data, packet(data, BFD_UP, 0, 5, b.local_discriminator), now);
	assert_int_equal(b.state, BFD_UP);
	return b;
}

static void detection__time(void **state)
{
	uint8_t data[ROOM];
	struct bfd b = up_session(0);
	uint16_t len = packet(data, BFD_UP, 0, 5, b.local_discriminator);
	data[BFD_AT + 2] = 5; // the peer's multiplier counts
	data[BFD_AT + 13] = 0; // transmit 30 ms, slower than the 20 asked for
	data[BFD_AT + 14] = 30000 >> 8;
	data[BFD_AT + 15] = 30000 & 255;
	assert_int_equal(give(&b, data, len, 100 * MS), 0);
	assert_true(b.detect_ns == 250 * MS);
	assert_true(bfd_next_ns(&b) <= 250 * MS);
	bfd_tick(&b, &rng, 250 * MS - 1, NULL); // a frame is not needed to notice
	assert_int_equal(b.state, BFD_UP);
	bfd_tick(&b, &rng, 250 * MS, NULL);
	assert_int_equal(b.state, BFD_DOWN);
	assert_int_equal(b.diag, 1);
	assert_int_equal(b.remote_discriminator, 0);
	struct frame f = empty(data);
	assert_true(bfd_tick(&b, &rng, 250 * MS, &f)); // and tells at once
	assert_int_equal(data[BFD_AT], 0x21);
	assert_int_equal(data[BFD_AT + 1] >> 6, BFD_DOWN);
	b = up_session(0); // faster than asked for: what this side takes counts
	len = packet(data, BFD_UP, 0, 5, b.local_discriminator);
	memset(data + BFD_AT + 12, 0, 4);
	give(&b, data, len, 100 * MS);
	assert_true(b.detect_ns == 160 * MS);
}

static void poll__final_at_once(void **state)
{
	uint8_t data[ROOM], out[ROOM];
	struct bfd b = up_session(0);
	struct frame f = empty(out);
	assert_true(bfd_tick(&b, &rng, 1 * MS, &f));
	assert_int_equal(out[BFD_AT + 1], BFD_UP << 6 | 0x20); // its own: the interval has changed
	assert_false(bfd_tick(&b, &rng, 2 * MS, &f));
	give(&b, data, packet(data, BFD_UP, 0x20, 5, b.local_discriminator), 2 * MS);
	assert_true(bfd_next_ns(&b) <= 2 * MS);
	f = empty(out);
	assert_true(bfd_tick(&b, &rng, 2 * MS, &f));
	assert_int_equal(out[BFD_AT + 1], BFD_UP << 6 | 0x10); // Final, never with Poll
	assert_false(bfd_tick(&b, &rng, 2 * MS, &f));
	f = empty(out);
	assert_true(bfd_tick(&b, &rng, 22 * MS, &f));
	assert_int_equal(out[BFD_AT + 1], BFD_UP << 6 | 0x20); // still polls
	give(&b, data, packet(data, BFD_UP, 0x10, 5, b.local_discriminator), 23 * MS);
	f = empty(out);
	assert_true(bfd_tick(&b, &rng, 42 * MS, &f));
	assert_int_equal(out[BFD_AT + 1], BFD_UP << 6);
}

static void tx__jitter(void **state)
{
	for (unsigned multiplier = 1; multiplier <= 3; multiplier += 2) {
		struct bfd b = up_session(0);
		b.conf.multiplier = (uint8_t)multiplier;
		b.detect_ns = 0;
		uint64_t now = 0, least = UINT64_MAX, most = 0;
		for (unsigned i = 0; i < 3000; i++) {
			uint8_t out[ROOM];
			struct frame f = empty(out);
			assert_true(bfd_tick(&b, &rng, now, &f));
			uint64_t gap = b.next_tx_ns - now;
			least = gap < least ? gap : least;
			most = gap > most ? gap : most;
			now = b.next_tx_ns;
			assert_false(bfd_tick(&b, &rng, now - 1, &f));
		}
		assert_true(least >= 15 * MS && least < 15200000);
		assert_true(multiplier == 1 ? most <= 18 * MS && most > 17800000
					    : most <= 20 * MS && most > 19800000);
	}
}

static void tx__slow_until_up_and_peer_limit(void **state)
{
	uint8_t data[ROOM], out[ROOM];
	struct bfd b = new_session(7, false);
	bfd_admin(&b, true, 0);
	struct frame f = empty(out);
	assert_true(bfd_tick(&b, &rng, 0, &f));
	assert_true(b.next_tx_ns >= 750 * MS);
	b = up_session(0);
	uint16_t len = packet(data, BFD_UP, 0, 5, b.local_discriminator);
	data[BFD_AT + 17] = 0x07; // takes one packet in 0.5 s
	give(&b, data, len, 0);
	assert_true(bfd_tick(&b, &rng, 0, &f));
	assert_true(b.next_tx_ns > 300 * MS);
	uint16_t same = packet(data, BFD_UP, 0, 5, b.local_discriminator);
	give(&b, data, same, 1 * MS); // 20 ms again
	assert_true(b.next_tx_ns <= 20 * MS);
	memset(data + BFD_AT + 16, 0, 4); // wants none
	give(&b, data, len, 2 * MS);
	assert_true(b.next_tx_ns == UINT64_MAX);
	assert_true(bfd_next_ns(&b) == b.detect_ns);
	give(&b, data, packet(data, BFD_UP, 0, 5, b.local_discriminator), 3 * MS);
	assert_true(b.next_tx_ns <= 20 * MS);
	b.polling = false;
	give(&b, data, packet(data, BFD_UP, 2, 5, b.local_discriminator), 4 * MS); // demand
	assert_true(b.next_tx_ns == UINT64_MAX);
	bfd_tick(&b, &rng, b.detect_ns, NULL);
	assert_true(b.next_tx_ns != UINT64_MAX); // the peer is gone, and its wishes with it
}

static void admin__down_and_up(void **state)
{
	uint8_t data[ROOM], out[ROOM];
	struct bfd b = up_session(0);
	struct frame f = empty(out);
	bfd_tick(&b, &rng, 0, &f);
	bfd_admin(&b, false, 5 * MS);
	f = empty(out);
	assert_true(bfd_tick(&b, &rng, 5 * MS, &f));
	assert_int_equal(out[BFD_AT], 0x27);
	assert_int_equal(out[BFD_AT + 1] >> 6, BFD_ADMIN_DOWN);
	give(&b, data, packet(data, BFD_DOWN, 0x20, 5, b.local_discriminator), 6 * MS);
	assert_int_equal(b.state, BFD_ADMIN_DOWN);
	assert_false(b.poll);
	uint64_t changes = b.changes;
	bfd_admin(&b, false, 7 * MS);
	assert_true(b.changes == changes);
	bfd_admin(&b, true, 7 * MS);
	assert_int_equal(b.state, BFD_DOWN);
	assert_string_equal(bfd_state_name(b.state), "down");
	assert_string_equal(bfd_state_name(BFD_UP), "up");
}

// ---- Two sessions and a network that loses ----

struct world {
	struct bfd side[2];
	struct rng rng;
	uint64_t now;
	unsigned loss_pct[2]; // of what side i sends
	unsigned sent[2];
};

// Moves time on by whole events until `until`.
static void world_run(struct world *w, uint64_t until)
{
	while (w->now < until) {
		uint64_t a = bfd_next_ns(&w->side[0]), b = bfd_next_ns(&w->side[1]);
		uint64_t next = a < b ? a : b;
		w->now = next > until ? until : next > w->now ? next : w->now;
		for (unsigned i = 0; i < 2; i++) {
			uint8_t data[ROOM];
			struct frame f = empty(data);
			if (!bfd_tick(&w->side[i], &w->rng, w->now, &f))
				continue;
			w->sent[i]++;
			if (rng_below(&w->rng, 100) >= w->loss_pct[i])
				assert_int_equal(give(&w->side[!i], data, f.len, w->now), 0);
		}
	}
}

static struct world new_world(uint64_t seed)
{
	struct world w = {.rng = {seed}};
	w.side[0] = new_session(seed, false);
	w.side[1] = new_session(seed + 1, true);
	bfd_admin(&w.side[0], true, 0);
	bfd_admin(&w.side[1], true, 0);
	return w;
}

static void prop__two_sessions(void **state)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		printf("seed %lu\n", seed);
		struct world w = new_world(seed);
		world_run(&w, 3000 * MS);
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(w.side[i].state, BFD_UP);
			assert_int_equal(w.side[i].remote_state, BFD_UP);
			assert_false(w.side[i].polling);
			assert_true(w.side[i].detect_ns <= w.now + 60 * MS);
		}
		uint64_t changes = w.side[0].changes;
		unsigned sent = w.sent[0];
		world_run(&w, 13000 * MS); // ten seconds at 15 to 20 ms
		assert_true(w.side[0].changes == changes);
		assert_true(w.sent[0] - sent >= 500 && w.sent[0] - sent <= 670);

		unsigned cut = (unsigned)seed & 1; // one way only: both notice
		w.loss_pct[cut] = 100;
		world_run(&w, 13061 * MS);
		assert_int_equal(w.side[!cut].state, BFD_DOWN);
		assert_int_equal(w.side[cut].state, BFD_DOWN);
		assert_int_equal(w.side[!cut].diag, 1);
		assert_int_equal(w.side[cut].diag, 3);
		w.loss_pct[cut] = 0;
		world_run(&w, 16000 * MS);
		assert_int_equal(w.side[0].state, BFD_UP);
		assert_int_equal(w.side[1].state, BFD_UP);

		w.loss_pct[0] = w.loss_pct[1] = 40; // flaps; no state that it cannot leave
		world_run(&w, 30000 * MS);
		w.loss_pct[0] = w.loss_pct[1] = 0;
		world_run(&w, 34000 * MS);
		assert_int_equal(w.side[0].state, BFD_UP);
		assert_int_equal(w.side[1].state, BFD_UP);
		assert_false(w.side[0].polling || w.side[1].polling);

		bfd_admin(&w.side[0], false, w.now); // a drain is noticed at once, not after 60 ms
		world_run(&w, w.now + 1);
		assert_int_equal(w.side[1].state, BFD_DOWN);
		assert_int_equal(w.side[1].diag, 3);
		world_run(&w, w.now + 5000 * MS);
		assert_int_equal(w.side[1].state, BFD_DOWN);
		bfd_admin(&w.side[0], true, w.now);
		world_run(&w, w.now + 3000 * MS);
		assert_int_equal(w.side[1].state, BFD_UP);
	}
}

// One side restarts: another discriminator, from the beginning.
static void prop__restart(void **state)
{
	for (uint64_t seed = 100; seed <= 130; seed++) {
		printf("seed %lu\n", seed);
		struct world w = new_world(seed);
		world_run(&w, 3000 * MS);
		w.side[1] = new_session(seed + 1000, true);
		w.side[1].next_tx_ns = w.now;
		bfd_admin(&w.side[1], true, w.now);
		// What the other side still sends is for the session before, and is refused.
		uint8_t data[ROOM];
		struct frame f = empty(data);
		w.side[0].next_tx_ns = w.now;
		assert_true(bfd_tick(&w.side[0], &w.rng, w.now, &f));
		assert_int_equal(give(&w.side[1], data, f.len, w.now), -EINVAL);
		f = empty(data);
		assert_true(bfd_tick(&w.side[1], &w.rng, w.now, &f));
		assert_int_equal(give(&w.side[0], data, f.len, w.now), 0);
		assert_int_equal(w.side[0].state, BFD_DOWN);
		world_run(&w, w.now + 3000 * MS);
		assert_int_equal(w.side[0].state, BFD_UP);
		assert_int_equal(w.side[1].state, BFD_UP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame__bytes),
		cmocka_unit_test(rx__refused),
		cmocka_unit_test(state__table),
		cmocka_unit_test(detection__time),
		cmocka_unit_test(poll__final_at_once),
		cmocka_unit_test(tx__jitter),
		cmocka_unit_test(tx__slow_until_up_and_peer_limit),
		cmocka_unit_test(admin__down_and_up),
		cmocka_unit_test(prop__two_sessions),
		cmocka_unit_test(prop__restart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
