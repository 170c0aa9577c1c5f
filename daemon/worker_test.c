// SPDX-License-Identifier: BSD-3-Clause
// Workers and their port, on net_ring: what is sent on a queue comes back on the same queue. The
// core is played by this file's shard_step(), which sends numbered frames and keeps score.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/eal.h"
#include "daemon/vlan.h"
#include "daemon/worker.h"

#define WORKERS 2
#define FRAMES 4000 // that each worker sends
#define WAIT_S 30 // before a condition counts as never met

struct shard {
	uint32_t sent, received, wrong;
	uint32_t next_control, next_data; // numbers of the frames expected
	uint32_t spare_min;
	bool quiet; // sends nothing
	_Atomic uint32_t total;
};

#define FRAME_LEN 64
static const uint16_t vlans[] = {10, 20, 30, 0};

// Frames are numbered within their class.
static void build(struct frame *f, uint32_t number, uint8_t class)
{
	memset(f->data, 0, FRAME_LEN);
	f->data[0] = 2;
	f->data[6] = 2;
	f->data[12] = 0x08;
	f->data[14] = class;
	memcpy(f->data + 16, &number, sizeof(number));
	f->len = FRAME_LEN;
	f->class = class;
	f->vlan = vlans[number % 4];
}

static void check(struct shard *s, const struct frame *f)
{
	uint8_t class = f->data[14];
	uint32_t number, *next = class == FRAME_CONTROL ? &s->next_control : &s->next_data;

	memcpy(&number, f->data + 16, sizeof(number));
	s->wrong += f->len != FRAME_LEN || f->vlan != vlans[number % 4] || f->flags != 0 ||
		    number != *next || f->room < FRAME_LEN;
	*next = number + 1;
	s->received++;
}

// Plays the core: receives, sends up to 16 a step (data before control), gives everything back.
void shard_step(struct shard *s, struct step *step)
{
	if (s->sent > 64 && step->n_spare < s->spare_min)
		s->spare_min = step->n_spare;
	for (unsigned i = 0; i < step->n_rx; i++) {
		check(s, &step->rx[i]);
		step->done[step->n_done++] = step->rx[i].buf;
	}
	for (unsigned i = 0; i < 16 && s->sent < FRAMES && !s->quiet && step->n_spare > 0; i++) {
		uint8_t class = i < 8 ? FRAME_DATA : FRAME_CONTROL;
		struct frame *f = &step->tx[step->n_tx++];

		*f = step->spare[--step->n_spare];
		build(f, s->sent / 16 * 8 + i % 8, class);
		s->sent++;
	}
	step->wake_ns = step->now_ns + 10000000;
	atomic_store(&s->total, s->received);
}

static struct port port;

static int start_eal(void **state)
{
	struct eal_conf ec = {
		.port = "net_ring0",
		.workers = WORKERS,
		.mtu = 1500,
		.hugepages = EAL_HUGEPAGES_NEVER,
	};
	struct port_conf pc = {.port = ec.port, .workers = WORKERS, .mtu = 1500, .held = 1024};
	char err[1024];

	ec.memory_mb = port_memory_mb(&pc);
	if (eal_start(&ec, err, sizeof(err)) == 0 && port_open(&port, &pc, err, sizeof(err)) == 0)
		return 0;
	print_error("%s\n", err);
	return -1;
}

static int stop_eal(void **state)
{
	port_close(&port);
	eal_stop();
	return 0;
}

static bool soon(bool (*condition)(void *), void *ctx)
{
	uint64_t end = worker_now_ns() + WAIT_S * 1000000000ull;

	while (!condition(ctx)) {
		if (worker_now_ns() > end)
			return false;
		sched_yield();
	}
	return true;
}

static struct shard shards[WORKERS];
static struct worker workers[WORKERS];

static bool all_received(void *ctx)
{
	for (unsigned i = 0; i < WORKERS; i++)
		if (atomic_load(&shards[i].total) < FRAMES)
			return false;
	return true;
}

static void start_workers(bool sleep)
{
	struct worker_conf conf = {.idle_sleep = sleep, .idle_max_us = 200, .cpu = -1};

	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(worker_start(&workers[i], i, &port, &shards[i], &conf), 0);
}

static void stop_workers(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		worker_stop(&workers[i]);
}

// Every frame comes back once, whole, with its VLAN, in order within its class, and no buffer is lost.
static void run__frames_pass_unharmed(void **state)
{
	unsigned data = rte_mempool_avail_count(port.data_pool);
	unsigned control = rte_mempool_avail_count(port.control_pool);

	for (int round = 0; round < 2; round++) {
		memset(shards, 0, sizeof(shards));
		for (unsigned i = 0; i < WORKERS; i++)
			shards[i].spare_min = STEP_SPARE;
		start_workers(round == 0);
		assert_true(soon(all_received, NULL));
		stop_workers();
		for (unsigned i = 0; i < WORKERS; i++) {
			assert_int_equal(shards[i].received, FRAMES);
			assert_int_equal(shards[i].wrong, 0);
			assert_int_equal(shards[i].spare_min, STEP_SPARE);
			assert_int_equal(workers[i].counters[W_tx_data_dropped], 0);
			assert_int_equal(workers[i].counters[W_tx_control_dropped], 0);
			assert_int_equal(workers[i].counters[W_spare_short], 0);
		}
	}
	assert_int_equal(rte_mempool_avail_count(port.data_pool), data);
	assert_int_equal(rte_mempool_avail_count(port.control_pool), control);
}

static bool all_slept(void *ctx)
{
	for (unsigned i = 0; i < WORKERS; i++)
		if (__atomic_load_n(&workers[i].counters[W_sleeps], __ATOMIC_RELAXED) < 10)
			return false;
	return true;
}

static void run__idle_workers_sleep(void **state)
{
	memset(shards, 0, sizeof(shards));
	shards[0].quiet = shards[1].quiet = true;
	start_workers(true);
	assert_true(soon(all_slept, NULL));
	stop_workers();
}

static void start__cpu_that_is_not_there(void **state)
{
	struct worker_conf conf = {.cpu = 1000};

	assert_int_equal(worker_start(&workers[0], 0, &port, &shards[0], &conf), -EINVAL);
	worker_stop(&workers[0]); // nothing
}

// ---- Without threads ----

static void nap__backs_off_and_never_oversleeps(void **state)
{
	static struct worker w;
	uint64_t last = 0, ns = 0;
	unsigned polls = 0;

	memset(&w, 0, sizeof(w));
	w.conf = (struct worker_conf){.idle_sleep = true, .idle_max_us = 200};
	w.step.wake_ns = UINT64_MAX;
	assert_int_equal(worker_nap_ns(&w, 1000, true), 0);
	while (ns == 0 && ++polls < 100)
		ns = worker_nap_ns(&w, 1000, false);
	assert_in_range(polls, 2, 64); // a few polls first
	for (int i = 0; i < 20; i++) {
		last = ns;
		ns = worker_nap_ns(&w, 1000, false);
		assert_true(ns >= last && ns <= 200000);
	}
	assert_int_equal(ns, 200000);
	w.step.wake_ns = 1700;
	assert_int_equal(worker_nap_ns(&w, 1000, false), 700);
	assert_int_equal(worker_nap_ns(&w, 1700, false), 0);
	assert_int_equal(worker_nap_ns(&w, 1800, false), 0); // overdue
	w.step.wake_ns = UINT64_MAX;
	assert_int_equal(worker_nap_ns(&w, 1000, true), 0);
	assert_int_equal(worker_nap_ns(&w, 1000, false), 0); // starts over after work
	w.conf.idle_sleep = false;
	for (int i = 0; i < 100; i++)
		assert_int_equal(worker_nap_ns(&w, 1000, false), 0);
}

static struct worker bare;
static struct port bare_port;

static void reset_bare(void)
{
	memset(&bare, 0, sizeof(bare));
	memset(&bare_port, 0, sizeof(bare_port));
	bare.port = &bare_port;
}

static struct rte_mbuf *new_mbuf(uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(port.data_pool);

	assert_non_null(m);
	memset(rte_pktmbuf_append(m, len), 0, len);
	return m;
}

static void frame__flags_only_from_drivers_that_looked(void **state)
{
	struct rte_mbuf *m = new_mbuf(60);
	struct frame f;

	reset_bare();
	m->ol_flags =
		RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_RSS_HASH;
	m->hash.rss = 0x12345678;
	assert_true(worker_frame(&bare, m, &f));
	assert_int_equal(f.flags, 0);
	bare_port.rx_checksum = bare_port.rss_hash = true;
	assert_true(worker_frame(&bare, m, &f));
	assert_int_equal(
		f.flags, TRIPOD_PKT_IPV4_CSUM_GOOD | TRIPOD_PKT_L4_CSUM_GOOD | TRIPOD_PKT_RSS);
	assert_int_equal(f.hash, 0x12345678);
	m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_NONE | RTE_MBUF_F_RX_L4_CKSUM_BAD;
	assert_true(worker_frame(&bare, m, &f));
	assert_int_equal(f.flags, 0);
	assert_int_equal(f.room, m->buf_len - m->data_off);
	rte_pktmbuf_free(m);
}

static void frame__chains_become_one_piece_or_are_counted(void **state)
{
	struct rte_mbuf *head = new_mbuf(1000), *tail = new_mbuf(500);
	unsigned before = rte_mempool_avail_count(port.data_pool);
	struct frame f;

	reset_bare();
	assert_int_equal(rte_pktmbuf_chain(head, tail), 0);
	assert_true(worker_frame(&bare, head, &f));
	assert_int_equal(f.len, 1500);
	assert_int_equal(head->nb_segs, 1);
	rte_pktmbuf_free(head);
	head = new_mbuf(1500);
	assert_int_equal(rte_pktmbuf_chain(head, new_mbuf(1000)), 0);
	assert_false(worker_frame(&bare, head, &f));
	assert_int_equal(bare.counters[W_rx_chained_dropped], 1);
	assert_int_equal(rte_mempool_avail_count(port.data_pool), before + 2);
}

static void mbuf__is_what_the_frame_says(void **state)
{
	struct rte_mbuf *m = new_mbuf(100), *out;
	struct frame f = {.buf = m, .vlan = 30, .len = 77, .class = FRAME_CONTROL};

	reset_bare();
	m->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
	f.data = rte_pktmbuf_mtod(m, uint8_t *) + 10;
	out = worker_mbuf(&bare, &f);
	assert_ptr_equal(out, m);
	assert_int_equal(m->pkt_len, 77 + VLAN_TAG_SIZE);
	assert_int_equal(m->data_len, 77 + VLAN_TAG_SIZE);
	assert_int_equal(m->ol_flags, 0);
	assert_int_equal(rte_pktmbuf_mtod(m, uint8_t *)[14], VLAN_PCP_CONTROL << 5);
	f.class = FRAME_DATA;
	bare_port.vlan_insert = true;
	assert_non_null(worker_mbuf(&bare, &f));
	assert_int_equal(m->ol_flags, RTE_MBUF_F_TX_VLAN);
	assert_int_equal(m->vlan_tci, 30);
	f.data = m->buf_addr; // no room for a tag
	assert_null(worker_mbuf(&bare, &f));
	assert_int_equal(bare.counters[W_tx_tag_dropped], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run__frames_pass_unharmed),
		cmocka_unit_test(run__idle_workers_sleep),
		cmocka_unit_test(start__cpu_that_is_not_there),
		cmocka_unit_test(nap__backs_off_and_never_oversleeps),
		cmocka_unit_test(frame__flags_only_from_drivers_that_looked),
		cmocka_unit_test(frame__chains_become_one_piece_or_are_counted),
		cmocka_unit_test(mbuf__is_what_the_frame_says),
	};

	return cmocka_run_group_tests(tests, start_eal, stop_eal);
}
