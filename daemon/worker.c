// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/worker.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_pause.h>

#include "daemon/vlan.h"

#define TIMER_SLACK_NS 1000
#define IDLE_POLLS 8 // polls without work before the first sleep
#define NAP_FIRST_US 5
#define TX_TRIES_CONTROL 16
#define TX_TRIES_DATA 4

const char *const worker_counter_names[WORKER_COUNTER_COUNT] = {
#define X(name, help) #name,
	WORKER_COUNTERS(X)
#undef X
};

const char *const worker_counter_helps[WORKER_COUNTER_COUNT] = {
#define X(name, help) help,
	WORKER_COUNTERS(X)
#undef X
};

uint64_t worker_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

bool worker_frame(struct worker *w, struct rte_mbuf *m, struct frame *f)
{
	uint64_t flags;

	if (m->nb_segs > 1 && rte_pktmbuf_linearize(m) != 0) {
		w->counters[W_rx_chained_dropped]++;
		rte_pktmbuf_free(m);
		return false;
	}
	flags = m->ol_flags;
	f->vlan = vlan_take(m);
	f->buf = m;
	f->data = rte_pktmbuf_mtod(m, uint8_t *);
	f->len = m->data_len;
	f->room = m->buf_len - m->data_off;
	f->class = FRAME_DATA;
	f->flags = 0;
	f->hash = 0;
	if (w->port->rx_checksum) {
		if ((flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD)
			f->flags |= TRIPOD_PKT_IPV4_CSUM_GOOD;
		if ((flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
			f->flags |= TRIPOD_PKT_L4_CSUM_GOOD;
	}
	if (w->port->rss_hash && (flags & RTE_MBUF_F_RX_RSS_HASH)) {
		f->flags |= TRIPOD_PKT_RSS;
		f->hash = m->hash.rss;
	}
	return true;
}

struct rte_mbuf *worker_mbuf(struct worker *w, const struct frame *f)
{
	struct rte_mbuf *m = f->buf;
	uint8_t pcp = f->class == FRAME_CONTROL ? VLAN_PCP_CONTROL : 0;

	m->data_off = (uint16_t)(f->data - (uint8_t *)m->buf_addr);
	m->data_len = f->len;
	m->pkt_len = f->len;
	m->ol_flags = 0; // what the receiving side had to say is history
	if (vlan_put(m, f->vlan, pcp, w->port->vlan_insert))
		return m;
	w->counters[W_tx_tag_dropped]++;
	rte_pktmbuf_free(m);
	return NULL;
}

// Worker i has the receive queues i, i + workers, ...
static void receive(struct worker *w)
{
	struct rte_mbuf *m[STEP_BURST];
	struct port *p = w->port;
	struct step *s = &w->step;
	unsigned n = 0;

	s->n_rx = 0;
	for (unsigned q = w->index; q < p->n_rxq && n < STEP_BURST; q += p->workers) {
		// Begin where the last step left off, lest the first queue starve the others.
		uint16_t at = w->next_rxq;

		w->next_rxq = at + p->workers < p->n_rxq ? at + p->workers : w->index;
		n += rte_eth_rx_burst(p->id, at, m + n, (uint16_t)(STEP_BURST - n));
	}
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(m[i], void *));
	for (unsigned i = 0; i < n; i++)
		s->n_rx += worker_frame(w, m[i], &s->rx[s->n_rx]);
}

static void fill_spare(struct worker *w)
{
	struct rte_mbuf *m[STEP_SPARE];
	struct step *s = &w->step;
	unsigned n = STEP_SPARE - s->n_spare;

	// All or nothing per call; when the stock is low, take what there is.
	while (n > 0 && rte_pktmbuf_alloc_bulk(w->port->control_pool, m, n) != 0)
		n /= 2;
	if (s->n_spare + n < STEP_SPARE)
		w->counters[W_spare_short]++;
	for (unsigned i = 0; i < n; i++) {
		struct frame *f = &s->spare[s->n_spare++];

		memset(f, 0, sizeof(*f));
		f->buf = m[i];
		f->data = rte_pktmbuf_mtod(m[i], uint8_t *);
		f->room = m[i]->buf_len - m[i]->data_off;
	}
}

// Sends what the port takes within a few tries, and drops the rest.
static void transmit_class(struct worker *w, struct rte_mbuf **m, unsigned n, unsigned tries,
	enum worker_counter dropped)
{
	unsigned sent = 0;

	while (sent < n && tries-- > 0) {
		uint16_t taken = port_tx(w->port, w->index, m + sent, (uint16_t)(n - sent));

		sent += taken;
		if (taken == 0)
			rte_pause();
	}
	w->counters[dropped] += n - sent;
	while (sent < n)
		rte_pktmbuf_free(m[sent++]);
}

static void transmit(struct worker *w)
{
	struct step *s = &w->step;
	unsigned n[2] = {0, 0};

	for (unsigned i = 0; i < s->n_tx; i++) {
		unsigned class = s->tx[i].class == FRAME_CONTROL;
		struct rte_mbuf *m = worker_mbuf(w, &s->tx[i]);

		if (m != NULL)
			w->out[class][n[class]++] = m;
	}
	transmit_class(
		w, w->out[FRAME_CONTROL], n[FRAME_CONTROL], TX_TRIES_CONTROL, W_tx_control_dropped);
	transmit_class(w, w->out[FRAME_DATA], n[FRAME_DATA], TX_TRIES_DATA, W_tx_data_dropped);
	if (s->n_done > 0)
		rte_pktmbuf_free_bulk((struct rte_mbuf **)s->done, s->n_done);
	s->n_tx = s->n_done = 0;
}

uint64_t worker_nap_ns(struct worker *w, uint64_t now_ns, bool busy)
{
	uint64_t nap_ns;

	if (busy || !w->conf.idle_sleep) {
		w->idle = 0;
		w->nap_us = NAP_FIRST_US;
		return 0;
	}
	if (++w->idle < IDLE_POLLS || w->step.wake_ns <= now_ns)
		return 0;
	w->nap_us = RTE_MIN(w->nap_us, (uint64_t)w->conf.idle_max_us);
	nap_ns = w->nap_us * 1000;
	w->nap_us *= 2;
	return RTE_MIN(nap_ns, w->step.wake_ns - now_ns);
}

static void nap(struct worker *w, uint64_t ns)
{
	struct timespec t = {
		.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};

	w->counters[W_sleeps]++;
	clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

void worker_begin(struct worker *w)
{
	struct step *s = &w->step;

	receive(w);
	fill_spare(w);
	s->now_ns = worker_now_ns();
	s->more = false;
	s->wake_ns = UINT64_MAX;
}

bool worker_end(struct worker *w)
{
	struct step *s = &w->step;
	bool busy = s->n_rx > 0 || s->n_tx > 0 || s->n_done > 0 || s->more;

	w->counters[W_steps]++;
	transmit(w);
	return busy;
}

bool worker_step(struct worker *w)
{
	worker_begin(w);
	shard_step(w->shard, &w->step);
	return worker_end(w);
}

static void rest(struct worker *w, bool busy)
{
	uint64_t ns = worker_nap_ns(w, w->step.now_ns, busy);

	if (ns > 0)
		nap(w, ns);
	else if (!busy)
		rte_pause();
}

static int settle(struct worker *w)
{
	char name[16];

	snprintf(name, sizeof(name), "worker-%u", w->index);
	pthread_setname_np(pthread_self(), name);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
	if (w->conf.cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((unsigned)w->conf.cpu, &set);
		if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0)
			return -EINVAL;
	}
	// An lcore id brings a cache of buffers of one's own.
	return rte_thread_register() == 0 ? 0 : -rte_errno;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	int r = settle(w);

	atomic_store(&w->ready, r == 0 ? 1 : r);
	if (r != 0)
		return NULL;
	while (!atomic_load_explicit(&w->stop, memory_order_relaxed))
		rest(w, worker_step(w));
	worker_release(w);
	rte_thread_unregister();
	return NULL;
}

void worker_init(struct worker *w, unsigned index, struct port *port, struct shard *shard,
	const struct worker_conf *conf)
{
	memset(w, 0, sizeof(*w));
	w->index = index;
	w->port = port;
	w->shard = shard;
	w->conf = *conf;
	w->nap_us = NAP_FIRST_US;
	w->next_rxq = (uint16_t)index;
}

void worker_release(struct worker *w)
{
	for (unsigned i = 0; i < w->step.n_spare; i++)
		rte_pktmbuf_free(w->step.spare[i].buf);
	w->step.n_spare = 0;
}

int worker_start(struct worker *w, unsigned index, struct port *port, struct shard *shard,
	const struct worker_conf *conf)
{
	int r;

	worker_init(w, index, port, shard, conf);
	r = pthread_create(&w->thread, NULL, worker_main, w);
	if (r != 0)
		return -r;
	w->running = true;
	while ((r = atomic_load(&w->ready)) == 0)
		sched_yield();
	if (r > 0)
		return 0;
	worker_stop(w);
	return r;
}

void worker_stop(struct worker *w)
{
	if (!w->running)
		return;
	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
	w->running = false;
}
