// SPDX-License-Identifier: BSD-3-Clause
#include "bench/overhead.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP_NS 10000ull // every node runs once in so many
#define FABRIC_NS 20000ull // from node to node
#define FABRIC_VLAN 30
#define MESSAGE_AT 42 // in a frame without tag
#define HEAD 64 // bytes kept before a frame
#define ROOM 1984 // bytes from there on
#define INBOX 8192
#define MEET_MS 3000
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

struct queue {
	struct frame frame[INBOX];
	uint64_t at_ns[INBOX];
	uint32_t head, tail;
};

struct one_life {
	struct flow flow;
	uint64_t begin_ns;
};

struct sample {
	uint32_t life;
	uint64_t since_ns;
};

struct member_node {
	struct rig_node n;
	struct step step;
	struct queue host, fabric; // what arrives
	struct one_life *life; // ring of n_lives, a power of two
	uint32_t begun, done[PACKETS]; // lives, and those that have come past each packet
	uint64_t next_ns;
	uint64_t in, out; // packets
	struct sample sample[1024];
	unsigned n_samples;
};

struct net {
	struct rig *rig;
	const struct overhead_options *o;
	unsigned nodes;
	uint32_t n_lives, gap_ns;
	struct member_node *m;
	struct rng rng;
	uint64_t now_ns, drawn[2];
	uint8_t **free;
	unsigned n_free;
	bool measuring;
	struct overhead_result *sum; // of all lives and nodes
	uint32_t *lag_us;
	uint32_t n_lags, max_lags;
	const char *wrong;
};

// ---- Frames ----

static uint8_t *buffer_new(struct net *net)
{
	return net->n_free > 0 ? net->free[--net->n_free] : malloc(HEAD + ROOM);
}

static void buffer_free(struct net *net, uint8_t *b)
{
	net->free[net->n_free++] = b; // as many places as there can be buffers
}

static void push(
	struct net *net, struct queue *q, uint8_t *buf, uint16_t len, uint16_t vlan, uint64_t at_ns)
{
	if (q->head - q->tail == INBOX) {
		net->wrong = "a queue of frames is full: the nodes cannot keep up";
		buffer_free(net, buf);
		return;
	}
	q->at_ns[q->head % INBOX] = at_ns;
	q->frame[q->head++ % INBOX] = (struct frame){
		.buf = buf, .data = buf + HEAD, .len = len, .room = ROOM, .vlan = vlan};
}

static void push_copy(struct net *net, struct queue *q, const uint8_t *data, uint16_t len,
	uint16_t vlan, uint64_t at_ns)
{
	uint8_t *buf = buffer_new(net);

	memcpy(buf + HEAD, data, len);
	push(net, q, buf, len, vlan, at_ns);
}

static void pop(struct net *net, struct queue *q, struct step *s)
{
	while (s->n_rx < STEP_BURST && q->tail != q->head &&
		q->at_ns[q->tail % INBOX] <= net->now_ns)
		s->rx[s->n_rx++] = q->frame[q->tail++ % INBOX];
}

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

static void account(struct net *net, const struct frame *f)
{
	struct overhead_result *sum = net->sum;
	const uint8_t *message = f->data + MESSAGE_AT;
	uint16_t size = (uint16_t)(f->len - MESSAGE_AT);
	struct wire_header h;
	int head = wire_is_short(message, size) ? wire_get_short(message, size, &h)
						: wire_get_header(message, size, &h);
	double bytes = f->len + RIG_TAG;

	if (!net->measuring || head < 0)
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

static void to_fabric(struct net *net, unsigned from, const struct frame *f)
{
	bool broadcast = f->data[0] & 1;

	account(net, f);
	for (unsigned i = 0; i < net->nodes; i++) {
		if (i != from && (broadcast || f->data[5] == i + 1))
			push_copy(net, &net->m[i].fabric, f->data, f->len, FABRIC_VLAN,
				net->now_ns + FABRIC_NS);
	}
}

// ---- Hosts ----

static void answer_arp(struct net *net, struct member_node *m, const struct frame *f)
{
	uint8_t reply[60] = {0};
	const uint8_t *request = f->data;

	if (f->len < 42 || request[21] != 1)
		return;
	memcpy(reply, request + 6, 6);
	memcpy(reply + 6, RIG_ROUTER_MAC, 6);
	memcpy(reply + 12, request + 12, 8);
	reply[21] = 2;
	memcpy(reply + 22, RIG_ROUTER_MAC, 6);
	memcpy(reply + 28, request + 38, 4);
	memcpy(reply + 32, request + 22, 10);
	push_copy(net, &m->host, reply, sizeof(reply), f->vlan, net->now_ns);
}

// A packet that came out. The upper bits of its sequence number tell the life that it belongs to.
static void to_host(struct net *net, struct member_node *m, const struct frame *f)
{
	const uint8_t *tag = (const uint8_t[RIG_TAG]){0x81, 0, 0, (uint8_t)f->vlan};
	uint32_t seq;

	if (f->data[12] == 0x08 && f->data[13] == 0x06) {
		answer_arp(net, m, f);
		return;
	}
	memcpy(&seq, f->data + 38, sizeof(seq));
	struct flow *flow = &m->life[ntohl(seq) >> 8 & (net->n_lives - 1)].flow;
	uint8_t *at = f->data - RIG_TAG;
	memmove(at, f->data, 12);
	memcpy(at + 12, tag, RIG_TAG);
	// The router is at one MAC, and every node has its own.
	at[11] = RIG_NODE_MAC[5];
	unsigned from = f->vlan == RIG_VLAN[TRIPOD_INCOMING] ? TRIPOD_OUTGOING : TRIPOD_INCOMING;
	const char *wrong = traffic_check(flow, from, at, f->len + RIG_TAG);
	if (wrong != NULL)
		net->wrong = wrong;
	m->out++;
}

static void begin_lives(struct net *net, struct member_node *m)
{
	while (m->next_ns <= net->now_ns) {
		bool inside = rng_below(&net->rng, 100) < net->o->inside_percent;
		struct one_life *l = &m->life[m->begun & (net->n_lives - 1)];
		traffic_flow(&l->flow, net->drawn[inside]++, inside, &net->rng);
		l->flow.seq[0] = l->flow.seq[1] = m->begun << 8;
		l->begin_ns = m->next_ns;
		m->begun++;
		// Between none and two gaps, evenly: not all nodes in step.
		m->next_ns += rng_below(&net->rng, 2 * net->gap_ns);
	}
}

static void send_packet(struct net *net, struct member_node *m, uint32_t number, unsigned k)
{
	struct flow *flow = &m->life[number & (net->n_lives - 1)].flow;
	unsigned from = life[k].initiator ? flow->initiator : !flow->initiator;
	uint8_t *buf = buffer_new(net), *at = buf + HEAD - RIG_TAG;

	traffic_build(at, flow, from, life[k].flags, life[k].payload);
	memmove(at + RIG_TAG, at, 12);
	push(net, &m->host, buf, TRAFFIC_FRAME, RIG_VLAN[from], net->now_ns);
	m->in++;
	if (k == ANSWER && net->measuring && number % SAMPLE == 0 && m->n_samples < 1024)
		m->sample[m->n_samples++] = (struct sample){number, net->now_ns};
}

static void send_packets(struct net *net, struct member_node *m)
{
	for (unsigned k = 0; k < PACKETS; k++) {
		uint32_t limit = k == 0 ? m->begun : m->done[k - 1];
		while (m->done[k] != limit && m->life[m->done[k] & (net->n_lives - 1)].begin_ns +
							      life[k].at_us * 1000ull <=
						      net->now_ns)
			send_packet(net, m, m->done[k]++, k);
	}
}

// ---- Lag ----

static bool protected(const struct net *net, const struct member_node *m, const struct flow *f)
{
	const struct shard *s = node_shard(m->n.node, 0);
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
	return (unsigned)__builtin_popcountll(acked) > net->o->backups;
}

static void look_at_samples(struct net *net, struct member_node *m)
{
	for (unsigned k = 0; k < m->n_samples;) {
		const struct sample *s = &m->sample[k];
		if (!protected(net, m, &m->life[s->life & (net->n_lives - 1)].flow)) {
			k++;
			continue;
		}
		if (net->n_lags < net->max_lags)
			net->lag_us[net->n_lags++] = (uint32_t)((net->now_ns - s->since_ns) / 1000);
		m->sample[k] = m->sample[--m->n_samples];
	}
}

// ---- Time ----

static void step(struct net *net, unsigned i)
{
	struct member_node *m = &net->m[i];
	struct step *s = &m->step;

	do {
		while (s->n_spare < STEP_SPARE) {
			uint8_t *b = buffer_new(net);
			s->spare[s->n_spare++] =
				(struct frame){.buf = b, .data = b + HEAD, .room = ROOM};
		}
		s->n_rx = 0;
		pop(net, &m->fabric, s);
		pop(net, &m->host, s);
		s->now_ns = net->now_ns;
		s->wake_ns = UINT64_MAX;
		shard_step(node_shard(m->n.node, 0), s);
		for (unsigned k = 0; k < s->n_tx; k++) {
			if (s->tx[k].vlan == FABRIC_VLAN)
				to_fabric(net, i, &s->tx[k]);
			else if (s->tx[k].vlan != 0)
				to_host(net, m, &s->tx[k]);
			buffer_free(net, s->tx[k].buf);
		}
		for (unsigned k = 0; k < s->n_done; k++)
			buffer_free(net, s->done[k]);
	} while (s->n_rx == STEP_BURST || s->more);
}

static void run(struct net *net, uint64_t ns, bool traffic)
{
	for (uint64_t end = net->now_ns + ns; net->now_ns < end && net->wrong == NULL;
		net->now_ns += STEP_NS) {
		for (unsigned i = 0; i < net->nodes; i++) {
			struct member_node *m = &net->m[i];
			if (traffic) {
				begin_lives(net, m);
				send_packets(net, m);
			}
			step(net, i);
			look_at_samples(net, m);
		}
	}
}

// ---- The rack ----

static bool met(const struct net *net)
{
	for (unsigned i = 0; i < net->nodes; i++) {
		const struct shard *s = node_shard(net->m[i].n.node, 0);
		if ((unsigned)__builtin_popcountll(s->live) != net->nodes || s->repair_at != 0)
			return false;
	}
	return true;
}

static int open_net(struct net *net, uint32_t rate)
{
	struct rig_conf conf = {
		.peers = net->nodes - 1,
		.backups = net->o->backups,
		.replicate = true,
		.seed = net->o->seed,
	};
	static char text[RIG_TEXT];
	uint32_t held = rate / 1000 * (WARM_MS + 150) * (1 + net->o->backups);
	int rc = 0;

	conf.records = 1024 + held;
	net->n_lives = 1024;
	while (net->n_lives < rate / 10)
		net->n_lives *= 2;
	rig_configuration(text, &conf);
	net->m = calloc(net->nodes, sizeof(*net->m));
	net->free = calloc((size_t)net->nodes * 4 * INBOX, sizeof(*net->free));
	net->max_lags = 1u << 22;
	net->lag_us = calloc(net->max_lags, sizeof(*net->lag_us));
	if (net->m == NULL || net->free == NULL || net->lag_us == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < net->nodes && rc == 0; i++) {
		struct member_node *m = &net->m[i];
		struct node_conf *nc = &m->n.rack.conf;
		rc = rig_node_open(net->rig, &m->n, text, (int)i + 1, &conf);
		if (rc != 0)
			break;
		nc->tcp.closed_ms = CLOSED_MS;
		nc->tombstone_ms = TOMBSTONE_MS;
		nc->flush_us = net->o->flush_us != 0 ? net->o->flush_us : nc->flush_us;
		m->life = calloc(net->n_lives, sizeof(*m->life));
		m->n.node = node_init(m->n.memory.base, m->n.memory.size, nc, net->now_ns);
		node_set_ready(m->n.node, true);
	}
	return rc;
}

static void empty(struct queue *q)
{
	while (q->tail != q->head)
		free(q->frame[q->tail++ % INBOX].buf);
}

static void close_net(struct net *net)
{
	for (unsigned i = 0; net->m != NULL && i < net->nodes; i++) {
		struct member_node *m = &net->m[i];
		empty(&m->host);
		empty(&m->fabric);
		while (m->step.n_spare > 0)
			free(m->step.spare[--m->step.n_spare].buf);
		free(m->life);
		if (m->n.memory.base != NULL)
			rig_node_close(&m->n);
	}
	while (net->n_free > 0)
		free(net->free[--net->n_free]);
	free(net->free);
	free(net->lag_us);
	free(net->m);
}

// ---- The result ----

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static uint64_t total(const struct net *net, enum counter c)
{
	uint64_t sum = 0, all[COUNTERS];

	for (unsigned i = 0; i < net->nodes; i++) {
		node_counters(net->m[i].n.node, -1, all);
		sum += all[c];
	}
	return sum;
}

// Nothing may be lost, or the figures are of something else.
static const char *check_losses(const struct net *net)
{
	static const enum counter bad[] = {C_log_queue_full, C_log_records_refused,
		C_drop_table_full, C_drop_index_full, C_drop_embryonic_full, C_drop_refused,
		C_drop_unknown, C_drop_tcp_window, C_drop_tcp_closed, C_drop_tuple_clash,
		C_drop_tx_full, C_drop_no_buffer, C_drop_control_bad, C_takeovers};
	uint64_t in = 0, out = 0;

	for (unsigned k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		if (total(net, bad[k]) != 0)
			return counter_names[bad[k]];
	for (unsigned i = 0; i < net->nodes; i++) {
		in += net->m[i].in;
		out += net->m[i].out;
	}
	return in == out ? NULL : "packets that came out are not as many as went in";
}

static void finish(struct net *net, uint64_t begun, uint64_t lost, struct overhead_result *out)
{
	for (unsigned i = 0; i < net->nodes; i++)
		out->lives += net->m[i].begun;
	out->lives -= begun;
	double copies = (double)out->lives * net->o->backups,
	       seconds = (double)(net->o->window * GRAIN_NS) / 1e9;
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
	out->idle_bytes /= net->nodes * seconds;
	out->lost = total(net, C_log_messages_lost) - lost;
	qsort(net->lag_us, net->n_lags, sizeof(*net->lag_us), compare);
	if (net->n_lags == 0)
		return;
	out->lag_p50_us = net->lag_us[net->n_lags / 2];
	out->lag_p99_us = net->lag_us[(uint64_t)net->n_lags * 99 / 100];
	out->lag_max_us = net->lag_us[net->n_lags - 1];
}

int overhead_run(struct rig *r, const struct overhead_options *o, unsigned nodes, uint32_t rate,
	struct overhead_result *out)
{
	struct net net = {
		.rig = r,
		.o = o,
		.nodes = nodes,
		.gap_ns = 1000000000u / rate,
		.rng = {.state = o->seed},
		.now_ns = 1000 * MS,
		.sum = out,
	};
	uint64_t begun = 0, lost;
	const char *wrong;

	*out = (struct overhead_result){.nodes = nodes, .rate = rate};
	int rc = open_net(&net, rate);
	if (rc == -ENOMEM)
		snprintf(r->error, sizeof(r->error), "no memory for %u nodes", nodes);
	if (rc == 0) {
		for (unsigned ms = 0; ms < MEET_MS && !met(&net); ms += 10)
			run(&net, 10 * MS, false);
		for (unsigned i = 0; i < nodes; i++)
			net.m[i].next_ns = net.now_ns;
		run(&net, WARM_MS * MS, true);
		// As many turns of the wheel as are measured, whole ones: it begins amid one.
		run(&net, GRAIN_NS + GRAIN_NS / 2 - net.now_ns % GRAIN_NS, true);
		for (unsigned i = 0; i < nodes; i++)
			begun += net.m[i].begun;
		lost = total(&net, C_log_messages_lost);
		net.measuring = true;
		run(&net, o->window * GRAIN_NS, true);
		net.measuring = false;
		run(&net, 5 * MS, false); // what is under way
		finish(&net, begun, lost, out);
		wrong = net.wrong != NULL ? net.wrong : check_losses(&net);
		if (wrong != NULL) {
			snprintf(r->error, sizeof(r->error), "%u nodes, %u lives a second: %s",
				nodes, rate, wrong);
			rc = -EIO;
		}
	}
	close_net(&net);
	return rc;
}
