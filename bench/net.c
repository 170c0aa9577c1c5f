// SPDX-License-Identifier: BSD-3-Clause
#include "bench/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FABRIC_NS 20000ull // from node to node
#define HEAD 64 // bytes kept before a frame
#define ROOM 1984 // bytes from there on
#define REST_MS 20000

// ---- Frames ----

static uint8_t *buffer_new(struct net *net)
{
	return net->n_free > 0 ? net->free[--net->n_free] : malloc(HEAD + ROOM);
}

static void buffer_free(struct net *net, uint8_t *b)
{
	net->free[net->n_free++] = b; // as many places as there can be buffers
}

static void push(struct net *net, struct net_queue *q, uint8_t *buf, uint16_t len, uint16_t vlan,
	uint64_t at_ns)
{
	if (q->head - q->tail == NET_INBOX) {
		net->wrong = "a queue of frames is full: the nodes cannot keep up";
		buffer_free(net, buf);
		return;
	}
	q->at_ns[q->head % NET_INBOX] = at_ns;
	q->frame[q->head++ % NET_INBOX] = (struct frame){
		.buf = buf, .data = buf + HEAD, .len = len, .room = ROOM, .vlan = vlan};
}

static void push_copy(struct net *net, struct net_queue *q, const uint8_t *data, uint16_t len,
	uint16_t vlan, uint64_t at_ns)
{
	uint8_t *buf = buffer_new(net);

	memcpy(buf + HEAD, data, len);
	push(net, q, buf, len, vlan, at_ns);
}

static void pop(struct net *net, struct net_queue *q, struct step *s)
{
	while (s->n_rx < STEP_BURST && q->tail != q->head &&
		q->at_ns[q->tail % NET_INBOX] <= net->now_ns)
		s->rx[s->n_rx++] = q->frame[q->tail++ % NET_INBOX];
}

static void to_fabric(struct net *net, unsigned from, const struct frame *f)
{
	bool broadcast = f->data[0] & 1;

	net->sent(net, from, f);
	for (unsigned i = 0; i < net->nodes; i++) {
		if (i != from && !net->m[i].dead && (broadcast || f->data[5] == i + 1))
			push_copy(net, &net->m[i].fabric, f->data, f->len, NET_FABRIC_VLAN,
				net->now_ns + FABRIC_NS);
	}
}

// ---- Hosts ----

static void answer_arp(struct net *net, struct net_node *m, const struct frame *f)
{
	uint8_t reply[RIG_ARP_REPLY];

	if (rig_arp_reply(f->data, f->len, reply))
		push_copy(net, &m->host, reply, sizeof(reply), f->vlan, net->now_ns);
}

static void to_host(struct net *net, unsigned node, const struct frame *f)
{
	const uint8_t *tag = (const uint8_t[RIG_TAG]){0x81, 0, 0, (uint8_t)f->vlan};
	uint32_t seq;

	if (f->data[12] == 0x08 && f->data[13] == 0x06) {
		answer_arp(net, &net->m[node], f);
		return;
	}
	memcpy(&seq, f->data + 38, sizeof(seq));
	struct flow *flow = net->flow(net, node, ntohl(seq));
	uint8_t *at = f->data - RIG_TAG;
	memmove(at, f->data, 12);
	memcpy(at + 12, tag, RIG_TAG);
	// The router is at one MAC, and every node has its own.
	at[11] = RIG_NODE_MAC[5];
	unsigned from = f->vlan == RIG_VLAN[TRIPOD_INCOMING] ? TRIPOD_OUTGOING : TRIPOD_INCOMING;
	const char *wrong = traffic_check(flow, from, at, f->len + RIG_TAG);
	if (wrong != NULL)
		net->wrong = wrong;
	net->m[node].out++;
}

void net_send(struct net *net, unsigned node, struct flow *f, unsigned from, uint8_t flags,
	unsigned payload)
{
	uint8_t *buf = buffer_new(net), *at = buf + HEAD - RIG_TAG;

	traffic_build(at, f, from, flags, payload);
	memmove(at + RIG_TAG, at, 12);
	push(net, &net->m[node].host, buf, TRAFFIC_FRAME, RIG_VLAN[from], net->now_ns);
	net->m[node].in++;
}

// ---- Time ----

void net_step(struct net *net, unsigned node)
{
	struct net_node *m = &net->m[node];
	struct step *s = &m->step;

	if (m->dead)
		return;
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
			if (s->tx[k].vlan == NET_FABRIC_VLAN)
				to_fabric(net, node, &s->tx[k]);
			else if (s->tx[k].vlan != 0)
				to_host(net, node, &s->tx[k]);
			buffer_free(net, s->tx[k].buf);
		}
		for (unsigned k = 0; k < s->n_done; k++)
			buffer_free(net, s->done[k]);
	} while (s->n_rx == STEP_BURST || s->more);
}

static void run(struct net *net, uint64_t ns, uint64_t step_ns)
{
	for (uint64_t end = net->now_ns + ns; net->now_ns < end && net->wrong == NULL;
		net->now_ns += step_ns) {
		for (unsigned i = 0; i < net->nodes; i++)
			net_step(net, i);
	}
}

void net_run(struct net *net, uint64_t ns)
{
	run(net, ns, NET_STEP_NS);
}

static bool settled(const struct net *net)
{
	for (unsigned i = 0; i < net->nodes; i++) {
		if (shard_unsettled(node_shard(net->m[i].n.node, 0)))
			return false;
	}
	return true;
}

bool net_rest(struct net *net)
{
	bool met = false;

	for (unsigned ms = 0; ms < REST_MS && !met && net->wrong == NULL; ms += 10) {
		run(net, 10 * MS, MS);
		met = net_met(net) && settled(net);
	}
	return met;
}

// ---- The rack ----

bool net_met(const struct net *net)
{
	for (unsigned i = 0; i < net->nodes; i++) {
		const struct shard *s = node_shard(net->m[i].n.node, 0);
		if ((unsigned)__builtin_popcountll(s->live) != net->nodes || s->repair_at != 0)
			return false;
	}
	return true;
}

int net_open(struct net *net, const struct rig_conf *conf)
{
	static char text[RIG_TEXT];
	int rc = 0;

	net->nodes = conf->peers + 1;
	net->now_ns = 1000 * MS;
	rig_configuration(text, conf);
	net->m = calloc(net->nodes, sizeof(*net->m));
	net->free = calloc((size_t)net->nodes * 4 * NET_INBOX, sizeof(*net->free));
	if (net->m == NULL || net->free == NULL) {
		snprintf(net->rig->error, sizeof(net->rig->error), "no memory for %u nodes",
			net->nodes);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < net->nodes && rc == 0; i++) {
		struct rig_node *n = &net->m[i].n;
		rc = rig_node_open(net->rig, n, text, (int)i + 1, conf);
		if (rc != 0)
			break;
		if (net->tune != NULL)
			net->tune(net, &n->rack.conf);
		n->node = node_init(n->memory.base, n->memory.size, &n->rack.conf, net->now_ns);
		node_set_ready(n->node, true);
	}
	return rc;
}

static void empty(struct net_queue *q)
{
	while (q->tail != q->head)
		free(q->frame[q->tail++ % NET_INBOX].buf);
}

void net_close(struct net *net)
{
	for (unsigned i = 0; net->m != NULL && i < net->nodes; i++) {
		struct net_node *m = &net->m[i];
		empty(&m->host);
		empty(&m->fabric);
		while (m->step.n_spare > 0)
			free(m->step.spare[--m->step.n_spare].buf);
		if (m->n.memory.base != NULL)
			rig_node_close(&m->n);
	}
	while (net->n_free > 0)
		free(net->free[--net->n_free]);
	free(net->free);
	free(net->m);
	net->free = NULL;
	net->m = NULL;
}

// ---- What has happened ----

uint64_t net_counter(const struct net *net, enum counter c)
{
	uint64_t sum = 0, all[COUNTERS];

	for (unsigned i = 0; i < net->nodes; i++) {
		if (net->m[i].dead)
			continue;
		node_counters(net->m[i].n.node, -1, all);
		sum += all[c];
	}
	return sum;
}

const char *net_losses(const struct net *net)
{
	static const enum counter bad[] = {C_log_queue_full, C_log_records_refused,
		C_drop_table_full, C_drop_index_full, C_drop_embryonic_full, C_drop_refused,
		C_drop_unknown, C_drop_tcp_window, C_drop_tcp_closed, C_drop_tuple_clash,
		C_drop_tx_full, C_drop_no_buffer, C_drop_control_bad, C_takeovers};
	uint64_t in = 0, out = 0;

	for (unsigned k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		if (net_counter(net, bad[k]) != 0)
			return counter_texts[bad[k]].name;
	for (unsigned i = 0; i < net->nodes; i++) {
		in += net->m[i].in;
		out += net->m[i].out;
	}
	return in == out ? NULL : "packets that came out are not as many as went in";
}
