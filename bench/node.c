// SPDX-License-Identifier: BSD-3-Clause
#include "bench/node.h"

#include <errno.h>
#include <rte_cycles.h>
#include <stdio.h>
#include <stdlib.h>

#define END_NS (20000 * MS) // ended connections are gone by then
#define LIVES_PER_BATCH 256

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static struct spread spread_of(double *value, unsigned n)
{
	qsort(value, n, sizeof(*value), compare);
	return (struct spread){value[n / 2], value[0], value[n - 1]};
}

// ---- Nothing may be lost ----

struct losses {
	uint64_t core[COUNTERS], worker[WORKER_COUNTER_COUNT];
};

static void losses_read(const struct rig *r, struct losses *l)
{
	node_counters(r->device.node, -1, l->core);
	memcpy(l->worker, r->worker.counters, sizeof(l->worker));
}

static bool is_loss(const char *name)
{
	return strncmp(name, "drop_", 5) == 0 || strstr(name, "dropped") != NULL ||
	       strcmp(name, "log_queue_full") == 0 || strcmp(name, "takeovers") == 0;
}

// 0, or -EIO: a counter of something lost has risen.
static int losses_check(struct rig *r, const struct losses *before)
{
	struct losses now;

	losses_read(r, &now);
	for (unsigned i = 0; i < COUNTERS + WORKER_COUNTER_COUNT; i++) {
		bool core = i < COUNTERS;
		unsigned at = core ? i : i - COUNTERS;
		const char *name = core ? counter_texts[at].name : worker_counter_names[at];
		uint64_t n = core ? now.core[at] - before->core[at]
				  : now.worker[at] - before->worker[at];
		if (n == 0 || !is_loss(name))
			continue;
		snprintf(r->error, sizeof(r->error), "counter %s has risen by %lu", name, n);
		return -EIO;
	}
	if (r->fabric_lost == 0)
		return 0;
	snprintf(r->error, sizeof(r->error), "%lu frames between the nodes were lost",
		r->fabric_lost);
	return -EIO;
}

// ---- Lives ----

// The packets of a connection's life, in order.
static const struct {
	uint8_t flags;
	bool initiator;
	uint8_t payload;
} life[] = {
	{TRIPOD_TCP_SYN, true, 0},
	{TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, false, 0},
	{TRIPOD_TCP_ACK, true, 0},
	{TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, true, 6},
	{TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, false, 0},
	{TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, true, 0},
	{TRIPOD_TCP_ACK, false, 0},
};
#define LIFE_OPEN 3 // so many packets open a connection
#define LIFE_PACKETS (sizeof(life) / sizeof(life[0]))

// Packets from..to of the lives of n connections; the peers run after each kind, the node is timed.
static int live(struct traffic *t, uint32_t first, uint32_t n, unsigned from, unsigned to,
	uint64_t *cycles, bool *clean)
{
	struct batch b;

	*cycles = 0;
	*clean = true;
	for (unsigned k = from; k < to; k++) {
		uint64_t c;
		bool one;
		traffic_pick(t, &b, first, n, life[k].initiator);
		int rc = traffic_send(t, &b, life[k].flags, life[k].payload, NULL, &c, &one);
		if (rc != 0)
			return rc;
		long preempted = machine_preempted();
		*cycles += c + rig_exchange(t->rig);
		*clean &= one && machine_preempted() == preempted;
	}
	// Logs that wait for company or acknowledgement are part of it.
	bool done;
	long preempted = machine_preempted();
	*cycles += rig_settle(t->rig, &done);
	*clean &= machine_preempted() == preempted;
	if (done)
		return 0;
	snprintf(t->rig->error, sizeof(t->rig->error), "the peers do not acknowledge");
	return -EIO;
}

// What undisturbed batches cost; where there was none, what the disturbed ones did.
struct share {
	uint64_t clean, n_clean, all, n_all;
};

static void share_add(struct share *s, uint64_t cycles, uint64_t n, bool clean)
{
	s->all += cycles;
	s->n_all += n;
	s->clean += clean ? cycles : 0;
	s->n_clean += clean ? n : 0;
}

static double share_each(const struct share *s)
{
	if (s->n_clean > 0)
		return (double)s->clean / (double)s->n_clean;
	return s->n_all > 0 ? (double)s->all / (double)s->n_all : 0;
}

static int open_all(
	struct traffic *t, const struct node_options *o, uint32_t n, struct node_result *out)
{
	struct rig *r = t->rig;
	struct share share = {0};
	uint64_t tx = r->log_bytes_tx, rx = r->log_bytes_rx, c;
	double cycles[NODE_REPETITIONS_MAX];
	uint32_t part = n / o->repetitions + 1;
	unsigned k = 0;
	bool clean;

	// The first alone: next hops are resolved, and packets wait for that.
	int rc = live(t, 0, 1, 0, LIFE_OPEN, &c, &clean);
	for (uint32_t at = 1; at < n && rc == 0;) {
		uint32_t some = n - at < LIVES_PER_BATCH ? n - at : LIVES_PER_BATCH;
		rc = live(t, at, some, 0, LIFE_OPEN, &c, &clean);
		at += some;
		share_add(&share, c, some, clean);
		if ((share.n_all >= part || at == n) && k < o->repetitions) {
			cycles[k++] = share_each(&share);
			share = (struct share){0};
		}
	}
	if (rc != 0)
		return rc;
	out->open = spread_of(cycles, k);
	out->open_control_tx = (double)(r->log_bytes_tx - tx) / n;
	out->open_control_rx = (double)(r->log_bytes_rx - rx) / n;
	return 0;
}

// Steps until the connections that have ended are out of the table; the steps that had anything to
// do are counted.
static int bury(struct rig *r, uint32_t left, uint64_t *cycles)
{
	struct shard *s = rig_shard(r);
	uint64_t end = worker_now_ns() + END_NS;

	*cycles = 0;
	while (s->store.used > left) {
		uint32_t used = s->store.used;
		uint64_t closed = s->counters[C_connections_closed_tcp];
		uint64_t begin = rte_rdtsc();
		worker_step(&r->worker);
		uint64_t c = rte_rdtsc() - begin;
		if (s->store.used != used || s->counters[C_connections_closed_tcp] != closed)
			*cycles += c;
		rig_take(r, NULL, 0);
		*cycles += rig_exchange(r);
		if (worker_now_ns() > end) {
			snprintf(r->error, sizeof(r->error), "%u ended connections do not go",
				s->store.used - left);
			return -EIO;
		}
	}
	return 0;
}

static int measure_lives(
	struct traffic *t, const struct node_options *o, uint32_t open, struct node_result *out)
{
	struct rig *r = t->rig;
	double cycles[NODE_REPETITIONS_MAX];
	uint64_t tx = r->log_bytes_tx, rx = r->log_bytes_rx, end;
	uint32_t first = open;

	for (unsigned k = 0; k < o->repetitions; k++) {
		struct share share = {0};
		for (uint32_t n = 0; n < o->lives; n += LIVES_PER_BATCH, first += LIVES_PER_BATCH) {
			uint64_t c;
			bool clean;
			int rc = live(t, first, LIVES_PER_BATCH, 0, LIFE_PACKETS, &c, &clean);
			if (rc != 0)
				return rc;
			share_add(&share, c, LIVES_PER_BATCH, clean);
		}
		cycles[k] = share_each(&share);
	}
	int rc = bury(r, open, &end);
	uint32_t lives = first - open;
	out->life = spread_of(cycles, o->repetitions);
	out->life.median += (double)end / lives;
	out->life.least += (double)end / lives;
	out->life.most += (double)end / lives;
	out->life_control_tx = (double)(r->log_bytes_tx - tx) / lives;
	out->life_control_rx = (double)(r->log_bytes_rx - rx) / lives;
	return rc;
}

// ---- Established traffic ----

static int measure_stage(struct traffic *t, const struct node_options *o, uint32_t open,
	enum stage stage, double *cycles)
{
	struct share share = {0};
	struct batch b;

	// Disturbed batches are repeated, but not for ever.
	while (share.n_clean < o->packets && share.n_all < 4 * o->packets) {
		uint64_t c;
		bool clean;
		traffic_draw(t, &b, RIG_BATCH, open);
		int rc = traffic_send(
			t, &b, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 6, stage_fn(stage), &c, &clean);
		if (rc != 0)
			return rc;
		if (stage == STAGE_ALL)
			rig_exchange(t->rig);
		share_add(&share, c, b.n, clean);
	}
	*cycles = share_each(&share);
	return 0;
}

static int measure_packets(
	struct traffic *t, const struct node_options *o, uint32_t open, struct node_result *out)
{
	double cycles[STAGES][NODE_REPETITIONS_MAX];

	// In turns, so that what disturbs the machine disturbs all alike.
	for (unsigned k = 0; k < o->repetitions; k++) {
		for (unsigned stage = 0; stage < STAGES; stage++) {
			int rc = measure_stage(t, o, open, stage, &cycles[stage][k]);
			if (rc != 0)
				return rc;
		}
	}
	for (unsigned stage = 0; stage < STAGES; stage++)
		out->prefix[stage] = spread_of(cycles[stage], o->repetitions);
	return 0;
}

// ---- A run ----

// Connections with an acknowledged copy elsewhere.
static uint64_t copies(const struct rig *r)
{
	const struct shard *s = rig_shard(r);
	uint64_t n = 0;

	for (uint32_t i = 1; i <= s->store.capacity; i++)
		n += store_conn(&s->store, i)->state == CONN_LIVE &&
		     (holders_with(store_repl(&s->store, i), HOLDER_ACKED) &
			     ~(1ull << s->conf->id)) != 0;
	return n;
}

static int measure(
	struct traffic *t, const struct node_options *o, uint32_t n, struct node_result *out)
{
	struct rig *r = t->rig;
	const struct store *st = &rig_shard(r)->store;
	struct losses before;

	losses_read(r, &before);
	int rc = open_all(t, o, n, out);
	if (rc == 0)
		rc = losses_check(r, &before);
	if (rc != 0)
		return rc;
	out->copies = copies(r);
	if (st->used != n || (o->replicate && o->peers > 0 && out->copies != n)) {
		snprintf(r->error, sizeof(r->error), "%u connections opened, %u here, %lu copies",
			n, st->used, out->copies);
		return -EIO;
	}
	rc = measure_packets(t, o, n, out);
	if (rc == 0 && o->lives > 0)
		rc = measure_lives(t, o, n, out);
	if (rc == 0)
		rc = losses_check(r, &before);
	return rc;
}

int node_run(
	struct rig *r, const struct node_options *o, uint32_t connections, struct node_result *out)
{
	uint32_t lives = (o->lives + LIVES_PER_BATCH - 1) / LIVES_PER_BATCH * LIVES_PER_BATCH;
	uint32_t all = connections + lives * o->repetitions;
	struct rig_conf conf = {
		.records = all < 64 ? 64 : all, // the least that the configuration takes
		.peers = o->peers,
		.backups = o->peers > 0,
		.replicate = o->replicate,
		.large_pages = o->large_pages,
		.seed = o->seed,
	};
	struct traffic t;
	int rc;

	*out = (struct node_result){
		.connections = connections, .tsc_ghz = (double)rte_get_tsc_hz() / 1e9};
	if (traffic_init(&t, r, all, o->inside_percent, o->seed) != 0) {
		snprintf(r->error, sizeof(r->error), "no memory for %u connections", all);
		return -ENOMEM;
	}
	rc = rig_open(r, &conf);
	if (rc == 0)
		rc = measure(&t, o, connections, out);
	if (rc == 0) {
		const struct store *st = &rig_shard(r)->store;
		out->mpps = out->tsc_ghz * 1000 / out->prefix[STAGE_ALL].median;
		out->record_bytes = st->conn_size;
		out->replication_bytes = sizeof(struct conn_repl);
		out->index_bytes =
			(double)st->n_buckets * sizeof(struct index_bucket) / st->capacity;
		out->pages = r->device.memory.pages;
		out->large_share = r->device.memory.large_share;
		out->packets_in = t.in;
		out->packets_out = t.out;
		out->preempted_batches = t.preempted;
		out->log_messages_lost = rig_shard(r)->counters[C_log_messages_lost];
	}
	rig_close(r);
	traffic_free(&t);
	return rc;
}
