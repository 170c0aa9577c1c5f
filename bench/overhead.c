// SPDX-License-Identifier: BSD-3-Clause
#include "bench/overhead.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MESSAGE_AT 42 // in a frame without tag
#define WARM_MS 350 // by then lives end as fast as they begin
#define CLOSED_MS 40
#define TOMBSTONE_MS 40
#define GRAIN_NS (1ull << 27) // time-outs come up so many at a time: a slot of the core's wheel
#define SAMPLE 4 // of so many lives, one's lag is measured

// The packets of a life, when each arrives at the node: a client 20 ms away, a server next door.
static const struct {
	uint32_t at_us;
	uint8_t flags;
	bool initiator;
	uint8_t payload;
} life[] = {
	{0, TRIPOD_TCP_SYN, true, 0},
	{200, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, false, 0},
	{20200, TRIPOD_TCP_ACK, true, 0},
	{20300, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, true, 6},
	{21300, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, false, 6},
	{22300, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, false, 0},
	{42300, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, true, 0},
	{42500, TRIPOD_TCP_ACK, false, 0},
};
#define PACKETS (sizeof(life) / sizeof(life[0]))
#define ANSWER 1 // this one makes a connection worth a copy

struct one_life {
	struct flow flow;
	uint64_t begin_ns;
};

struct sample {
	uint32_t life;
	uint64_t since_ns;
};

struct opener { // its connections
	struct one_life *life; // ring of n_lives, a power of two
	uint32_t begun, done[PACKETS]; // lives, and those that have come past each packet
	uint64_t next_ns;
	struct sample sample[1024];
	unsigned n_samples;
};

struct bench {
	struct net net;
	const struct overhead_options *o;
	uint32_t n_lives, gap_ns;
	struct opener *m; // of each node
	struct rng rng;
	uint64_t drawn[2];
	bool measuring;
	struct overhead_result *sum; // of all lives and nodes
	uint32_t *lag_us;
	uint32_t n_lags, max_lags;
};

// ---- What goes over the fabric ----

static void account_records(
	struct overhead_result *sum, const uint8_t *body, size_t len, unsigned n)
{
	struct wire_log log;
	size_t at = 0;

	log.chain = 0;
	for (unsigned k = 0; k < n; k++) {
		struct wire_record w;
		int size = wire_get_record(body + at, len - at, &w, &log);
		if (size < 0)
			return;
		unsigned op = w.op == WIRE_PUT      ? OVERHEAD_PUT
			      : w.op == WIRE_UPDATE ? OVERHEAD_UPDATE
						    : OVERHEAD_BURY;
		sum->records[op]++;
		sum->record_bytes[op] += size;
		at += (size_t)size;
	}
	sum->head_bytes -= (double)at;
}

static void account(struct net *net, unsigned from, const struct frame *f)
{
	const struct bench *b = net->ctx;
	struct overhead_result *sum = b->sum;
	const uint8_t *message = f->data + MESSAGE_AT;
	uint16_t size = (uint16_t)(f->len - MESSAGE_AT);
	struct wire_header h;
	int head = wire_is_short(message, size) ? wire_get_short(message, size, &h)
						: wire_get_header(message, size, &h);
	double bytes = f->len + RIG_TAG;

	if (!b->measuring || head < 0)
		return;
	if (h.type == WIRE_HELLO || h.type == WIRE_GREET) {
		sum->idle_bytes += bytes;
		return;
	}
	if (h.to_node == WIRE_ANY) {
		sum->announced_bytes += bytes;
		return;
	}
	sum->log_bytes += bytes;
	if (h.type != WIRE_LOG)
		return;
	if (h.seq == 0) {
		sum->ack_bytes += bytes;
		sum->acks++;
		return;
	}
	sum->messages++;
	sum->head_bytes += bytes;
	account_records(sum, message + head, size - (size_t)head - WIRE_TAG_SIZE, h.count);
}

// ---- Lives ----

static void begin_lives(struct bench *b, struct opener *m)
{
	while (m->next_ns <= b->net.now_ns) {
		bool inside = rng_below(&b->rng, 100) < b->o->inside_percent;
		struct one_life *l = &m->life[m->begun & (b->n_lives - 1)];
		traffic_flow(&l->flow, b->drawn[inside]++, inside, &b->rng);
		l->flow.seq[0] = l->flow.seq[1] = m->begun << 8;
		l->begin_ns = m->next_ns;
		m->begun++;
		// Between none and two gaps, evenly: not all nodes in step.
		m->next_ns += rng_below(&b->rng, 2 * b->gap_ns);
	}
}

static void send_packet(struct bench *b, unsigned node, uint32_t number, unsigned k)
{
	struct opener *m = &b->m[node];
	struct flow *flow = &m->life[number & (b->n_lives - 1)].flow;
	unsigned from = life[k].initiator ? flow->initiator : !flow->initiator;

	net_send(&b->net, node, flow, from, life[k].flags, life[k].payload);
	if (k == ANSWER && b->measuring && number % SAMPLE == 0 && m->n_samples < 1024)
		m->sample[m->n_samples++] = (struct sample){number, b->net.now_ns};
}

static void send_packets(struct bench *b, unsigned node)
{
	struct opener *m = &b->m[node];

	for (unsigned k = 0; k < PACKETS; k++) {
		uint32_t limit = k == 0 ? m->begun : m->done[k - 1];
		while (m->done[k] != limit &&
			m->life[m->done[k] & (b->n_lives - 1)].begin_ns + life[k].at_us * 1000ull <=
				b->net.now_ns)
			send_packet(b, node, m->done[k]++, k);
	}
}

// The upper bits of a packet's sequence number tell the life that it belongs to.
static struct flow *flow_of(struct net *net, unsigned node, uint32_t seq)
{
	const struct bench *b = net->ctx;
	return &b->m[node].life[seq >> 8 & (b->n_lives - 1)].flow;
}

// ---- Lag ----

static bool protected(const struct bench *b, unsigned node, const struct flow *f)
{
	const struct shard *s = node_shard(b->net.m[node].n.node, 0);
	bool outside = f->initiator == TRIPOD_INCOMING;
	struct tripod_tuple key = {.proto = IPPROTO_TCP, .direction = (uint8_t)f->initiator};

	key.src = tripod_addr_v4(htonl(outside ? f->remote : f->inner));
	key.dst = tripod_addr_v4(htonl(outside ? f->outer : f->remote));
	key.sport = htons(outside ? f->remote_port : f->inner_port);
	key.dport = htons(outside ? f->outer_port : f->remote_port);
	struct store_hit hit = store_find(&s->store, &key, store_hash(&s->store, &key));
	if (hit.what != STORE_CONN || !(store_conn(&s->store, hit.index)->flags & CONN_ANSWERED))
		return false;
	uint64_t acked = holders_with(store_repl(&s->store, hit.index), HOLDER_ACKED);
	return (unsigned)__builtin_popcountll(acked) > b->o->backups;
}

static void look_at_samples(struct bench *b, unsigned node)
{
	struct opener *m = &b->m[node];

	for (unsigned k = 0; k < m->n_samples;) {
		const struct sample *s = &m->sample[k];
		if (!protected(b, node, &m->life[s->life & (b->n_lives - 1)].flow)) {
			k++;
			continue;
		}
		if (b->n_lags < b->max_lags)
			b->lag_us[b->n_lags++] = (uint32_t)((b->net.now_ns - s->since_ns) / 1000);
		m->sample[k] = m->sample[--m->n_samples];
	}
}

// ---- The rack ----

static void run(struct bench *b, uint64_t ns, bool traffic)
{
	struct net *net = &b->net;

	for (uint64_t end = net->now_ns + ns; net->now_ns < end && net->wrong == NULL;
		net->now_ns += NET_STEP_NS) {
		for (unsigned i = 0; i < net->nodes; i++) {
			if (traffic) {
				begin_lives(b, &b->m[i]);
				send_packets(b, i);
			}
			net_step(net, i);
			look_at_samples(b, i);
		}
	}
}

static void tune(struct net *net, struct node_conf *conf)
{
	const struct bench *b = net->ctx;

	conf->dead_after_ms = 100; // as by default: nothing here stands still for longer
	conf->tcp.closed_ms = CLOSED_MS;
	conf->tombstone_ms = TOMBSTONE_MS;
	conf->flush_us = b->o->flush_us != 0 ? b->o->flush_us : conf->flush_us;
}

static int open_bench(struct bench *b, unsigned nodes, uint32_t rate)
{
	struct rig_conf conf = {
		.peers = nodes - 1,
		.backups = b->o->backups,
		.replicate = true,
		.seed = b->o->seed,
		.records = 1024 + rate / 1000 * (WARM_MS + 150) * (1 + b->o->backups),
	};
	bool short_of = false;

	b->n_lives = 1024;
	while (b->n_lives < rate / 10)
		b->n_lives *= 2;
	b->m = calloc(nodes, sizeof(*b->m));
	b->max_lags = 1u << 22;
	b->lag_us = calloc(b->max_lags, sizeof(*b->lag_us));
	for (unsigned i = 0; b->m != NULL && i < nodes; i++) {
		b->m[i].life = calloc(b->n_lives, sizeof(*b->m[i].life));
		short_of |= b->m[i].life == NULL;
	}
	if (b->m == NULL || b->lag_us == NULL || short_of) {
		snprintf(b->net.rig->error, sizeof(b->net.rig->error), "no memory for %u nodes",
			nodes);
		return -ENOMEM;
	}
	return net_open(&b->net, &conf);
}

static void close_bench(struct bench *b, unsigned nodes)
{
	net_close(&b->net);
	for (unsigned i = 0; b->m != NULL && i < nodes; i++)
		free(b->m[i].life);
	free(b->m);
	free(b->lag_us);
}

// ---- The result ----

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static uint64_t lives(const struct bench *b)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < b->net.nodes; i++)
		sum += b->m[i].begun;
	return sum;
}

static void finish(struct bench *b, uint64_t begun, uint64_t lost, struct overhead_result *out)
{
	out->lives = lives(b) - begun;
	double copies = (double)out->lives * b->o->backups,
	       seconds = (double)(b->o->window * GRAIN_NS) / 1e9;
	out->log_bytes /= copies;
	out->ack_bytes /= copies;
	out->head_bytes /= copies;
	out->messages /= copies;
	out->acks /= copies;
	for (unsigned op = 0; op < OVERHEAD_OPS; op++) {
		out->record_bytes[op] /= copies;
		out->records[op] /= copies;
	}
	out->announced_bytes /= (double)out->lives;
	out->idle_bytes /= b->net.nodes * seconds;
	out->lost = net_counter(&b->net, C_log_messages_lost) - lost;
	qsort(b->lag_us, b->n_lags, sizeof(*b->lag_us), compare);
	if (b->n_lags == 0)
		return;
	uint64_t half = b->n_lags / 2, most = (uint64_t)b->n_lags * 99 / 100;
	out->lag_p50_us = b->lag_us[half];
	out->lag_p99_us = b->lag_us[most];
	out->lag_max_us = b->lag_us[b->n_lags - 1];
}

static void measure(struct bench *b, struct overhead_result *out)
{
	struct net *net = &b->net;

	if (!net_rest(net) && net->wrong == NULL)
		net->wrong = "the nodes do not come to rest";
	for (unsigned i = 0; i < net->nodes; i++)
		b->m[i].next_ns = net->now_ns;
	run(b, WARM_MS * MS, true);
	// As many turns of the wheel as are measured, whole ones: it begins amid one.
	run(b, GRAIN_NS + GRAIN_NS / 2 - net->now_ns % GRAIN_NS, true);
	uint64_t begun = lives(b), lost = net_counter(net, C_log_messages_lost);
	b->measuring = true;
	run(b, b->o->window * GRAIN_NS, true);
	b->measuring = false;
	run(b, 5 * MS, false); // what is under way
	finish(b, begun, lost, out);
}

int overhead_run(struct rig *r, const struct overhead_options *o, unsigned nodes, uint32_t rate,
	struct overhead_result *out)
{
	struct bench b = {
		.net = {.rig = r, .sent = account, .flow = flow_of, .tune = tune, .ctx = &b},
		.o = o,
		.gap_ns = 1000000000u / rate,
		.rng = {.state = o->seed},
		.sum = out,
	};

	*out = (struct overhead_result){.nodes = nodes, .rate = rate};
	int rc = open_bench(&b, nodes, rate);
	if (rc == 0) {
		measure(&b, out);
		const char *wrong = b.net.wrong != NULL ? b.net.wrong : net_losses(&b.net);
		if (wrong != NULL) {
			snprintf(r->error, sizeof(r->error), "%u nodes, %u lives a second: %s",
				nodes, rate, wrong);
			rc = -EIO;
		}
	}
	close_bench(&b, nodes);
	return rc;
}
