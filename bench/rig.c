// SPDX-License-Identifier: BSD-3-Clause
#include "bench/rig.h"

#include <errno.h>
#include <rte_cycles.h>
#include <rte_eth_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/schema.h"
#include "daemon/eal.h"

#define RING 4096
#define ROOM 2048
#define CHAIN_MEMORY ((size_t)16 << 20)
#define SETTLE_NS (5000 * MS)
#define MEET_NS (600000 * MS)
#define SIM_ID 1 // of the node under test; the peers follow

const uint16_t RIG_VLAN[2] = {10, 20};
const uint8_t RIG_GATEWAY_MAC[2][6] = {{2, 0, 0x5e, 0, 1, 1}, {2, 0, 0x5e, 0, 1, 2}};
const uint8_t RIG_ROUTER_MAC[6] = {2, 0, 0, 0, 0xaa, 1};
const uint8_t RIG_NODE_MAC[6] = {2, 0, 0, 0, 0, SIM_ID};
static const uint16_t FABRIC_VLAN = 30;

static int fail(struct rig *r, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct rig *r, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(r->error, sizeof(r->error), format, ap);
	va_end(ap);
	return -code;
}

// ---- The port ----

int rig_start(struct rig *r)
{
	struct port_conf pc = {.port = "net_ring_bench", .workers = 1, .mtu = 1500, .held = 4096};
	struct eal_conf ec = {
		.port = "net_ring0", // the EAL wants one; ours is made of our own rings below
		.workers = 1,
		.mtu = 1500,
		.hugepages = EAL_HUGEPAGES_AUTO,
		.memory_mb = port_memory_mb(&pc) + 16,
	};
	int rc = eal_start(&ec, r->error, sizeof(r->error));

	if (rc != 0)
		return rc;
	r->rx = rte_ring_create("bench_rx", RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	r->tx = rte_ring_create("bench_tx", RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (r->rx == NULL || r->tx == NULL ||
		rte_eth_from_rings("bench", &r->rx, 1, &r->tx, 1, 0) < 0)
		return fail(r, ENOMEM, "no port can be made of rings in memory");
	return port_open(&r->port, &pc, r->error, sizeof(r->error));
}

void rig_stop(struct rig *r)
{
	port_close(&r->port);
	eal_stop();
}

// ---- The nodes ----

static void print(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(char *text, const char *format, ...)
{
	size_t used = strlen(text);
	va_list ap;

	va_start(ap, format);
	vsnprintf(text + used, RIG_TEXT - used, format, ap);
	va_end(ap);
}

// The rack's configuration file. Time-outs of ended connections are the shortest that there are, so
// that a life can be measured to its end; a node that stands still for want of a CPU is not dead.
void rig_configuration(char text[RIG_TEXT], const struct rig_conf *conf)
{
	text[0] = '\0';
	print(text,
		"rack:\n"
		"  name: bench\n"
		"  backups: %u\n"
		"  durability: %s\n"
		"  heartbeat_ms: 20\n"
		"  dead_after_ms: 10000\n"
		"  nodes:\n",
		conf->backups, conf->replicate ? "async" : "none");
	for (unsigned id = SIM_ID; id <= SIM_ID + conf->peers; id++)
		print(text,
			"    - {id: %u, mac: \"02:00:00:00:00:%02x\", outside: 203.0.113.%u, "
			"inside: 10.1.0.%u, fabric: 10.255.0.%u}\n",
			id, id, 10 + id, 10 + id, id);
	print(text, "switch: {prediction_vlan: 0}\nnetwork:\n"
		    "  outside: {vlan: 10, relay_vlan: 11, gateway: 203.0.113.1/24,\n"
		    "    gateway_mac: \"02:00:5e:00:01:01\",\n"
		    "    routes: [{to: 0.0.0.0/0, via: 203.0.113.254}]}\n"
		    "  inside: {vlan: 20, relay_vlan: 21, gateway: 10.1.0.1/24,\n"
		    "    gateway_mac: \"02:00:5e:00:01:02\",\n"
		    "    routes: [{to: 10.0.0.0/8, via: 10.1.0.254}]}\n"
		    "  fabric: {vlan: 30}\n"
		    "  bfd: {enabled: false}\n"
		    "timeouts: {tcp_closed_s: 1, tombstone_s: 1}\n");
	print(text, "limits: {connections: %u, embryonic: %u, peer_workers: 1", conf->records,
		conf->records < 65536 ? conf->records : 65536);
	if (conf->index_keys != 0)
		print(text, ", index_keys: %u", conf->index_keys);
	print(text, "}\n");
	print(text, "chain:\n"
		    "  - firewall:\n"
		    "      default: deny\n"
		    "      rules:\n"
		    "        - {action: deny, from: outside, src: 192.0.2.0/24}\n"
		    "        - {action: allow, from: outside, proto: tcp,\n"
		    "           dst: 203.0.113.80, dport: [80, 443]}\n"
		    "        - {action: reject, from: inside, proto: tcp, dport: 25}\n"
		    "        - {action: allow, from: inside, dport: 443, proto: tcp}\n"
		    "  - lb:\n"
		    "      services:\n"
		    "        - vip: 203.0.113.80\n"
		    "          port: 80\n"
		    "          proto: tcp\n"
		    "          backends:\n");
	for (unsigned i = 0; i < RIG_BACKENDS; i++)
		print(text, "            - {address: 10.2.0.%u, port: %u}\n", 101 + i,
			RIG_BACKEND_PORT);
	print(text, "  - snat:\n"
		    "      pools: [{name: pool, addresses: 203.0.113.64/28}]\n"
		    "      rules: [{src: 10.0.0.0/8, pool: pool}]\n");
}

int rig_node_open(
	struct rig *r, struct rig_node *n, const char *text, int id, const struct rig_conf *conf)
{
	n->chain_memory = machine_map(CHAIN_MEMORY, conf->large_pages);
	struct arena arena = {.base = n->chain_memory.base, .size = n->chain_memory.size};
	if (arena.base == NULL)
		return fail(r, ENOMEM, "no memory for a chain");
	if (rack_load_text("bench.yaml", text, id, &n->rack) != 0)
		return fail(r, EINVAL, "%s", rack_report(&n->rack));
	struct tripod_nf_env env = {
		.chain = &n->chain,
		.arena = &arena,
		.slot = n->rack.slot,
		.slots = n->rack.slots,
		.check = conf_check,
	};
	memset(&n->chain, 0, sizeof(n->chain));
	if (chain_load(&n->chain, n->rack.chain, &env, n->rack.chain_text) != 0)
		return fail(r, EINVAL, "%s", rack_report(&n->rack));
	struct rng rng = {.state = conf->seed + (unsigned)id};
	n->rack.conf.chain = &n->chain;
	n->rack.conf.boot = rng_next(&rng);
	n->rack.conf.seed = rng_next(&rng);
	n->memory = machine_map(node_size(&n->rack.conf), conf->large_pages);
	if (n->memory.base == NULL)
		return fail(r, ENOMEM, "no memory for %u connections", conf->records);
	return 0;
}

static void node_start(struct rig_node *n)
{
	n->node = node_init(n->memory.base, n->memory.size, &n->rack.conf, worker_now_ns());
	node_set_ready(n->node, true);
}

void rig_node_close(struct rig_node *n)
{
	machine_unmap(&n->memory);
	machine_unmap(&n->chain_memory);
	rack_free(&n->rack);
	n->node = NULL;
}

static int peer_open(struct rig *r, struct rig_peer *p)
{
	p->buffers = malloc((size_t)RIG_BUFFERS * ROOM);
	if (p->buffers == NULL)
		return fail(r, ENOMEM, "no memory for a peer's buffers");
	for (p->n_free = 0; p->n_free < RIG_BUFFERS; p->n_free++)
		p->free[p->n_free] = p->buffers + (size_t)p->n_free * ROOM;
	node_start(&p->n);
	return 0;
}

// Does this node hear all others, know that they hear it, and have nothing to repair?
static bool at_rest(const struct rig *r, const struct rig_node *n)
{
	const struct shard *s = node_shard(n->node, 0);

	return (unsigned)__builtin_popcountll(s->live) == r->n_peers + 1 &&
	       (s->live & ~(1ull << s->conf->id)) == (s->heard_by & s->live) && s->repair_at == 0;
}

static int meet(struct rig *r)
{
	// Who has just met looks through its whole table for what the other should have.
	uint64_t end = worker_now_ns() + MEET_NS;
	bool rest;

	do {
		rig_exchange(r);
		rest = at_rest(r, &r->device);
		for (unsigned i = 0; i < r->n_peers; i++)
			rest &= at_rest(r, &r->peer[i].n);
		if (!rest && worker_now_ns() > end)
			return fail(r, ETIMEDOUT, "the nodes do not hear each other");
	} while (!rest);
	return 0;
}

int rig_open(struct rig *r, const struct rig_conf *conf)
{
	struct worker_conf wc = {.idle_sleep = false, .cpu = -1};
	char text[RIG_TEXT];
	int rc;

	rig_configuration(text, conf);
	r->log_bytes_tx = r->log_bytes_rx = r->fabric_lost = 0;
	r->n_peers = conf->peers;
	r->peer = calloc(conf->peers + 1, sizeof(*r->peer));
	if (r->peer == NULL)
		return fail(r, ENOMEM, "no memory for the peers");
	rc = rig_node_open(r, &r->device, text, SIM_ID, conf);
	for (unsigned i = 0; i < conf->peers && rc == 0; i++)
		rc = rig_node_open(r, &r->peer[i].n, text, (int)(SIM_ID + 1 + i), conf);
	if (rc != 0)
		return rc;
	// Only now, when all memory is there: a node whose clock jumps has been away.
	node_start(&r->device);
	worker_init(&r->worker, 0, &r->port, rig_shard(r), &wc);
	for (unsigned i = 0; i < conf->peers && rc == 0; i++)
		rc = peer_open(r, &r->peer[i]);
	return rc == 0 ? meet(r) : rc;
}

void rig_close(struct rig *r)
{
	struct rte_mbuf *m;

	while (rte_ring_dequeue(r->rx, (void **)&m) == 0)
		rte_pktmbuf_free(m);
	while (rte_ring_dequeue(r->tx, (void **)&m) == 0)
		rte_pktmbuf_free(m);
	worker_release(&r->worker);
	rig_node_close(&r->device);
	for (unsigned i = 0; i < r->n_peers; i++) {
		rig_node_close(&r->peer[i].n);
		free(r->peer[i].buffers);
	}
	free(r->peer);
	r->peer = NULL;
	r->n_peers = 0;
}

// ---- Frames ----

struct rte_mbuf *rig_frame(struct rig *r, uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(r->port.data_pool);

	if (m != NULL)
		m->data_len = (uint16_t)(m->pkt_len = len);
	return m;
}

void rig_receive(struct rig *r, struct rte_mbuf **m, unsigned n)
{
	unsigned put = rte_ring_enqueue_burst(r->rx, (void **)m, n, NULL);

	if (put < n)
		rte_pktmbuf_free_bulk(m + put, n - put);
}

// An untagged frame, with its tag in the bytes, into the receive ring.
static void receive_copy(struct rig *r, uint16_t vlan, const uint8_t *data, uint16_t len)
{
	struct rte_mbuf *m = rig_frame(r, (uint16_t)(len + RIG_TAG));
	const uint8_t tag[RIG_TAG] = {0x81, 0, (uint8_t)(vlan >> 8), (uint8_t)vlan};

	if (m == NULL) {
		r->fabric_lost++;
		return;
	}
	uint8_t *at = rte_pktmbuf_mtod(m, uint8_t *);
	memcpy(at, data, 12);
	memcpy(at + 12, tag, RIG_TAG);
	memcpy(at + 12 + RIG_TAG, data + 12, len - 12u);
	rig_receive(r, &m, 1);
}

static void to_peer(struct rig *r, struct rig_peer *p, const uint8_t *data, uint16_t len)
{
	if (p->n_free == 0 || len > ROOM) {
		r->fabric_lost++;
		return;
	}
	uint8_t *buf = p->free[--p->n_free];
	memcpy(buf, data, len);
	p->queue[p->head++ % RIG_BUFFERS] = (struct frame){
		.buf = buf, .data = buf, .len = len, .room = ROOM, .vlan = FABRIC_VLAN};
}

// An untagged frame of the fabric VLAN, to those whom its MAC address names.
static void switch_frame(struct rig *r, unsigned from, const uint8_t *data, uint16_t len)
{
	bool broadcast = data[0] & 1;

	if (from == SIM_ID && !broadcast)
		r->log_bytes_tx += len;
	if (from != SIM_ID && (broadcast || data[5] == SIM_ID)) {
		if (!broadcast)
			r->log_bytes_rx += len;
		receive_copy(r, FABRIC_VLAN, data, len);
	}
	for (unsigned i = 0; i < r->n_peers; i++) {
		unsigned id = SIM_ID + 1 + i;
		if (id != from && (broadcast || data[5] == id))
			to_peer(r, &r->peer[i], data, len);
	}
}

bool rig_arp_reply(const uint8_t *request, uint16_t len, uint8_t reply[RIG_ARP_REPLY])
{
	if (len < 42 || request[12] != 0x08 || request[13] != 0x06 || request[21] != 1)
		return false;
	memset(reply, 0, RIG_ARP_REPLY);
	memcpy(reply, request + 6, 6);
	memcpy(reply + 6, RIG_ROUTER_MAC, 6);
	memcpy(reply + 12, request + 12, 8);
	reply[21] = 2;
	memcpy(reply + 22, RIG_ROUTER_MAC, 6);
	memcpy(reply + 28, request + 38, 4);
	memcpy(reply + 32, request + 22, 10);
	return true;
}

static void answer_arp(struct rig *r, uint16_t vlan, const uint8_t *request, uint16_t len)
{
	uint8_t reply[RIG_ARP_REPLY];

	if (rig_arp_reply(request, len, reply))
		receive_copy(r, vlan, reply, sizeof(reply));
}

unsigned rig_take(struct rig *r, struct rte_mbuf **out, unsigned max)
{
	struct rte_mbuf *m;
	unsigned n = 0;

	while (rte_ring_dequeue(r->tx, (void **)&m) == 0) {
		uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
		uint16_t vlan = (uint16_t)((data[14] << 8 | data[15]) & 0xfff);
		bool arp = data[16] == 0x08 && data[17] == 0x06;
		if (vlan != FABRIC_VLAN && !arp && n < max) {
			out[n++] = m;
			continue;
		}
		uint16_t len = (uint16_t)(m->data_len - RIG_TAG);
		memmove(data + RIG_TAG, data, 12);
		if (vlan == FABRIC_VLAN)
			switch_frame(r, SIM_ID, data + RIG_TAG, len);
		else
			answer_arp(r, vlan, data + RIG_TAG, len);
		rte_pktmbuf_free(m);
	}
	return n;
}

// ---- Running ----

uint64_t rig_run(struct rig *r, rig_stage_fn stage)
{
	struct rte_mempool *pool = r->port.data_pool;
	struct worker *w = &r->worker;
	struct rte_mbuf *m[STEP_BURST];
	uint64_t begin = rte_rdtsc();

	while (!rte_ring_empty(r->rx)) {
		if (rte_pktmbuf_alloc_bulk(pool, m, STEP_BURST) == 0)
			rte_pktmbuf_free_bulk(m, STEP_BURST);
		if (stage == NULL) {
			worker_step(w);
			continue;
		}
		worker_begin(w);
		stage(w->shard, &w->step);
		worker_end(w);
	}
	return rte_rdtsc() - begin;
}

static void peer_step(struct rig *r, unsigned i)
{
	struct rig_peer *p = &r->peer[i];
	struct step *s = &p->step;

	while (s->n_spare < STEP_SPARE && p->n_free > 0) {
		uint8_t *buf = p->free[--p->n_free];
		s->spare[s->n_spare++] = (struct frame){.buf = buf, .data = buf, .room = ROOM};
	}
	for (s->n_rx = 0; s->n_rx < STEP_BURST && p->tail != p->head; s->n_rx++)
		s->rx[s->n_rx] = p->queue[p->tail++ % RIG_BUFFERS];
	s->now_ns = worker_now_ns();
	s->wake_ns = UINT64_MAX;
	shard_step(node_shard(p->n.node, 0), s);
	for (unsigned k = 0; k < s->n_tx; k++) {
		if (s->tx[k].vlan == FABRIC_VLAN)
			switch_frame(r, SIM_ID + 1 + i, s->tx[k].data, s->tx[k].len);
		p->free[p->n_free++] = s->tx[k].buf;
	}
	for (unsigned k = 0; k < s->n_done; k++)
		p->free[p->n_free++] = s->done[k];
}

uint64_t rig_exchange(struct rig *r)
{
	uint64_t cycles;

	for (unsigned i = 0; i < r->n_peers; i++) {
		do
			peer_step(r, i);
		while (r->peer[i].head != r->peer[i].tail);
	}
	// A turn of the loop without frames, for what is due by time; idle ones cost nobody anything.
	uint64_t begin = rte_rdtsc();
	bool busy = worker_step(&r->worker);
	cycles = busy ? rte_rdtsc() - begin : 0;
	if (!rte_ring_empty(r->rx))
		cycles += rig_run(r, NULL);
	rig_take(r, NULL, 0);
	return cycles;
}

uint64_t rig_settle(struct rig *r, bool *done)
{
	uint64_t end = worker_now_ns() + SETTLE_NS, cycles = 0;

	while (rig_shard(r)->busy_nodes != 0 && worker_now_ns() < end)
		cycles += rig_exchange(r);
	*done = rig_shard(r)->busy_nodes == 0;
	return cycles;
}
