// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/rack.h"
#include "core/testing/rack_ecmp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/rng.h"
#include "core/shard.h"

#define STEP_NS 50000ull
#define ROOM 1920
#define INBOX 4096
#define FLIGHT 65536
#define DETECT_MS 100
#define CONTROL_NS (5 * 1000 * 1000ull)

static const uint8_t HOST_MAC[6] = {2, 0, 0, 0, 0xaa, 1};
static const uint8_t GATEWAY_MAC[2][6] = {{2, 0, 0x5e, 0, 1, 1}, {2, 0, 0x5e, 0, 1, 2}};

struct flight { // a frame on its way to a node
	unsigned to;
	uint64_t at_ns;
	uint16_t vlan, len;
	uint8_t *bytes;
	unsigned queue; // 1 + worker that receives it; 0: any
};

struct member_state {
	struct node *node;
	void *mem;
	bool frozen, port_forced, port_up;
	unsigned queue; // of frames from now on
	bool wanted; // it wants traffic, as far as the switch knows
	bool stalled[WORKERS_MAX];
	const struct chain *chain; // current when it starts
	uint32_t unable; // bit k: it cannot make known chain k of its description
	uint64_t control_ns; // when its control thread runs next
	uint64_t lost_ns; // when it stopped answering BFD; 0: answers
	unsigned boots;
	uint64_t half_used_ns[2]; // when a life ended that had handed out ports of it
	struct step *step[WORKERS_MAX];
};

struct rack {
	struct rack_conf conf, mistaken;
	struct rng rng;
	uint64_t now_ns;
	struct chain chain;
	const struct chain *known[RACK_CHAINS]; // that a node of this rack can load
	unsigned n_known;
	struct member_state m[RACK_NODES];
	struct flight *flight;
	unsigned n_flight;
	struct rack_arrival *inbox[2];
	unsigned n_inbox[2];
	uint64_t groups_without; // the switch's prediction groups: nodes whose failure lasts
	bool groups_unmarked; // ... write no places
	long buffers; // handed to nodes and not yet given back
	rack_tap_fn tap;
	void *tap_ctx;
};

// ---- Buffers ----

static uint8_t *buffer_new(struct rack *r)
{
	r->buffers++;
	return malloc(ROOM);
}

static void buffer_free(struct rack *r, void *b)
{
	if (b != NULL)
		r->buffers--;
	free(b);
}

// ---- The chain ----

struct rewrite {
	struct tripod_addr addr;
	uint16_t port;
	uint8_t what; // 1: destination, 2: source
	uint8_t pad[5];
};

static enum tripod_verdict rewrite_init(struct tripod_call *c, struct tripod_packet *p)
{
	struct rewrite *w = tripod_state_rw(c);

	if (tripod_packet_direction(p) == TRIPOD_INCOMING) {
		tripod_addr_parse(&w->addr, c->instance != NULL ? c->instance : "10.1.0.101");
		w->port = htons(8080);
		w->what = 1;
		return TRIPOD_FORWARD;
	}
	tripod_addr_parse(&w->addr, "192.0.2.1");
	w->what = 2;
	struct tripod_tuple out = p->tuple;
	out.src = w->addr;
	for (unsigned n = 0; n < 64; n++) {
		out.sport = htons((uint16_t)(1024 + tripod_random(c) % 60000));
		struct tripod_tuple back = tripod_tuple_reverse(&out);
		if (tripod_tuple_available(c, &back)) {
			w->port = out.sport;
			return TRIPOD_FORWARD;
		}
	}
	return TRIPOD_DROP;
}

static enum tripod_verdict rewrite_packet(struct tripod_call *c, struct tripod_packet *p)
{
	const struct rewrite *w = c->state;
	struct conn *conn = c->conn;

	if (w->what == 1 && c->from_initiator)
		tripod_packet_set_dst(p, &w->addr, w->port);
	else if (w->what == 1)
		tripod_packet_set_src(p, &conn->dir[0].key.dst, conn->dir[0].key.dport);
	else if (c->from_initiator)
		tripod_packet_set_src(p, &w->addr, w->port);
	else
		tripod_packet_set_dst(p, &conn->dir[0].key.src, conn->dir[0].key.sport);
	return TRIPOD_FORWARD;
}

static const struct tripod_field rewrite_fields[] = {
	TRIPOD_FIELD(struct rewrite, addr, WRITE_ONCE, ADDR),
	TRIPOD_FIELD(struct rewrite, port, WRITE_ONCE, PORT),
	TRIPOD_FIELD(struct rewrite, what, WRITE_ONCE, UINT),
	{0},
};
static const char *const no_counters[] = {NULL};

const struct tripod_nf RACK_NF_REWRITE = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "rewrite",
	.summary = "test: rewrites like a load balancer and a source NAT",
	.state_size = sizeof(struct rewrite),
	.fields = rewrite_fields,
	.counters = no_counters,
	.on_init = rewrite_init,
	.on_packet = rewrite_packet,
};

// ---- Addresses ----

static struct tripod_addr addr(const char *format, unsigned n)
{
	char text[32];
	struct tripod_addr a;

	snprintf(text, sizeof(text), format, n);
	if (tripod_addr_parse(&a, text) != 0)
		abort();
	return a;
}

static void side(struct side_conf *c, uint16_t vlan, const uint8_t mac[6], const char *gateway)
{
	*c = (struct side_conf){
		.vlan = vlan,
		.relay_vlan = (uint16_t)(vlan + 1),
		.mtu = 1500,
		.gateway_v4 = addr(gateway, 0),
		.n_routes = 2,
	};
	memcpy(c->gateway_mac, mac, 6);
	tripod_prefix_parse(&c->route[0].to, "0.0.0.0/0");
	tripod_prefix_parse(&c->route[1].to, "::/0"); // on link
}

// ---- Nodes ----

// When the half of this start was last used, as a daemon's disk remembers it.
static uint64_t half_clear_ms(const struct rack *r, unsigned i)
{
	uint64_t life_ns = (r->conf.port_life_s ? r->conf.port_life_s : 7200) * 1000 * MS;
	uint64_t used_ns = r->m[i].half_used_ns[r->m[i].boots & 1];

	if (used_ns == 0 || r->now_ns - used_ns >= life_ns)
		return 0;
	return (life_ns - (r->now_ns - used_ns)) / MS + 1;
}

// Addresses, VLANs and BFD of node i.
static void networks(const struct rack *r, unsigned i, struct node_conf *c)
{
	side(&c->side[TRIPOD_INCOMING], 10, GATEWAY_MAC[0], "203.0.113.1");
	c->side[TRIPOD_INCOMING].route[0].via = addr("203.0.113.254", 0);
	side(&c->side[TRIPOD_OUTGOING], 20, GATEWAY_MAC[1], "10.1.0.1");
	c->side[TRIPOD_OUTGOING].mtu = r->conf.inside_mtu ? r->conf.inside_mtu : 1500;
	c->bfd_enabled = r->conf.bfd;
	c->bfd = (struct bfd_conf){.tx_us = 20000, .rx_us = 20000, .multiplier = 3};
	memcpy(c->bfd.mac, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)(i + 1)}, 6);
	c->bfd.src_v4 = htonl(0xa9fe0100);
	c->bfd.dst_v4 = htonl(0xa9fe0101);
	c->self = (struct neigh_self){.mac = {2, 0, 0, 0, 0, (uint8_t)(i + 1)}};
	c->self.net[NEIGH_OUTSIDE].vlan = 10;
	c->self.net[NEIGH_OUTSIDE].v4 = addr("203.0.113.%u", 11 + i);
	c->self.net[NEIGH_INSIDE].vlan = 20;
	c->self.net[NEIGH_INSIDE].v4 = addr("10.1.0.%u", 11 + i);
	c->self.net[NEIGH_OUTSIDE].v6 = addr("2001:db8:a::%x", 11 + i);
	c->self.net[NEIGH_INSIDE].v6 = addr("2001:db8:b::%x", 11 + i);
	c->self.net[NEIGH_FABRIC].vlan = 30;
	for (unsigned n = 0; n < r->conf.nodes; n++)
		c->member[n] = (struct member_conf){.present = true,
			.fabric = addr("10.255.0.%u", n + 1),
			.failure_ppm = r->conf.failure_ppm[n] != 0 ? r->conf.failure_ppm[n] : 100};
	c->self.net[NEIGH_FABRIC].v4 = c->member[i].fabric;
}

static struct node_conf node_conf(struct rack *r, unsigned i)
{
	struct node_conf c = {
		.id = (uint8_t)i,
		.workers = (uint8_t)r->conf.workers,
		.cluster = 7,
		.keys = r->conf.keys,
		.boot = rng_next(&r->rng) | 1,
		.boot_half = r->m[i].boots & 1,
		.half_clear_ms = half_clear_ms(r, i),
		.seed = rng_next(&r->rng),
		.hash_seed = r->conf.seed,
		.fabric_vlan = 30,
		.directions_split = r->conf.split,
		.placement = r->conf.random_placement ? PLACEMENT_RANDOM : PLACEMENT_PREDICTIVE,
		.next_hop = r->conf.predicted || r->conf.mistaken ? rack_ecmp_next : NULL,
		.next_hop_ctx = r->conf.mistaken ? &r->mistaken : &r->conf,
		.failure_prior_h = r->conf.failure_prior_h,
		.switch_model = r->conf.modulo ? SWITCH_MODULO : SWITCH_TWO_STAGE,
		.switch_hash = r->conf.split ? SWITCH_5_TUPLE : SWITCH_OUTSIDE_ENDPOINT,
		.predict_failures = (uint8_t)(r->conf.nodes - 1),
		.predict_vlan = r->conf.probed ? RACK_PREDICTION_VLAN : 0,
		.predict_per_s = r->conf.predict_per_s ? r->conf.predict_per_s : 100000,
		.durability = r->conf.baseline ? DURABILITY_NONE
			      : r->conf.sync   ? DURABILITY_SYNC
					       : DURABILITY_ASYNC,
		.sync_forward = r->conf.sync_forward,
		.sync_timeout_ms = r->conf.sync_timeout_ms ? r->conf.sync_timeout_ms : 1000,
		.sync_packets = r->conf.sync_packets ? r->conf.sync_packets : 512,
		.requests = r->conf.requests ? r->conf.requests : 512,
		.kinds = r->conf.kinds ? r->conf.kinds : 256,
		.refuse_short = r->conf.refuse_short,
		.backups = (uint8_t)r->conf.backups,
		.peer_workers =
			(uint8_t)(r->conf.peer_workers ? r->conf.peer_workers : r->conf.workers),
		.heartbeat_ms = 20,
		.dead_after_ms = 100,
		.flush_us = 500,
		.pull_timeout_ms = 50,
		.announce_after_ms = 1000,
		.index_flush_ms = r->conf.index_flush_ms ? r->conf.index_flush_ms : 5,
		.index_keys = r->conf.no_index     ? 0
			      : r->conf.index_keys ? r->conf.index_keys
						   : 65536,
		.repair_per_s = r->conf.repair_per_s ? r->conf.repair_per_s : 100000,
		.join_timeout_ms = 5000,
		.drain_quiet_ms = 50,
		.connections = r->conf.connections ? r->conf.connections : 4096,
		.waiting = r->conf.waiting ? r->conf.waiting : 512,
		.pulls = r->conf.pulls ? r->conf.pulls : 512,
		.pull_per_s = r->conf.pull_per_s ? r->conf.pull_per_s : 50000,
		.relay_per_s = 100000,
		.fragments = r->conf.fragments ? r->conf.fragments : 64,
		.timers = r->conf.timers ? r->conf.timers : 64,
		.nf_state_bytes = r->conf.nf_state_bytes,
		.unknown_tcp_reset = r->conf.reset,
		.tcp = {10000, 7440000, 240000, 10000},
		.udp_ms = r->conf.udp_ms ? r->conf.udp_ms : 300000,
		.udp_embryonic_ms = 30000,
		.icmp_ms = 30000,
		.tombstone_ms = 5000,
		.chain = r->m[i].chain,
	};
	c.embryonic = r->conf.embryonic ? r->conf.embryonic : c.connections;
	networks(r, i, &c);
	return c;
}

void rack_start(struct rack *r, unsigned i)
{
	struct member_state *m = &r->m[i];
	struct node_conf conf = node_conf(r, i);
	size_t size = node_size(&conf);

	m->mem = aligned_alloc(64, size);
	memset(m->mem, 0, size);
	m->node = node_init(m->mem, size, &conf, r->now_ns);
	m->frozen = false;
	m->lost_ns = 0;
	m->wanted = false;
	m->control_ns = r->now_ns;
	m->boots++;
	node_set_ready(m->node, true);
	for (unsigned w = 0; w < r->conf.workers; w++)
		m->step[w] = calloc(1, sizeof(struct step));
}

// Calls fn for every buffer that a worker's tables hold: packets that wait, and handed over.
static void each_held(struct shard *s, void (*fn)(struct rack *r, void *buf), struct rack *r)
{
	for (uint32_t k = 1; k <= s->conf->waiting; k++)
		fn(r, s->waiting[k].frame.buf);
	for (uint32_t k = 1; k <= s->conf->sync_packets; k++)
		fn(r, sync_buffer(s, k));
	for (uint32_t k = 0; k < FRAGMENT_WAITS; k++)
		fn(r, fragment_buffer(s, k));
	for (unsigned o = 0; o < s->conf->workers; o++) {
		const struct ring *ring = s->in[o];
		for (uint32_t at = ring->tail; at != ring->head; at++) {
			struct ring_message m;
			memcpy(&m, ring->slots + (size_t)(at & ring->mask) * ring->slot_size,
				sizeof(m));
			if (m.type == RING_FRAME)
				fn(r, m.frame.buf);
		}
	}
	for (unsigned k = 1; k < NEIGH_SLOTS; k++) {
		for (unsigned f = 0; f < s->neigh.slots[k].n_waiting; f++)
			fn(r, s->neigh.slots[k].waiting[f].buf);
	}
}

static void uncount(struct rack *r, void *buf)
{
	r->buffers -= buf != NULL;
}

long rack_buffers_lost(struct rack *r)
{
	long lost, all = r->buffers;

	for (unsigned i = 0; i < r->conf.nodes; i++) {
		for (unsigned w = 0; r->m[i].node != NULL && w < r->conf.workers; w++) {
			r->buffers -= r->m[i].step[w]->n_spare;
			each_held(node_shard(r->m[i].node, w), uncount, r);
		}
	}
	lost = r->buffers;
	r->buffers = all;
	return lost;
}

static void take_apart(struct rack *r, unsigned i)
{
	struct member_state *m = &r->m[i];

	for (unsigned w = 0; w < r->conf.workers; w++) {
		while (m->step[w]->n_spare > 0)
			buffer_free(r, m->step[w]->spare[--m->step[w]->n_spare].buf);
		free(m->step[w]);
		each_held(node_shard(m->node, w), buffer_free, r);
	}
	free(m->mem);
	m->node = NULL;
}

struct rack *rack_new(const struct rack_conf *conf)
{
	struct rack *r = calloc(1, sizeof(*r));
	const struct tripod_nf *nf = conf->nf ? conf->nf : &RACK_NF_REWRITE;

	r->conf = r->mistaken = *conf;
	r->mistaken.seed++;
	if (r->conf.keys.n == 0)
		r->conf.keys =
			(struct auth_keys){.n = 1, .key[0] = {1, "the key of a rack for tests"}};
	r->rng.state = conf->seed;
	r->now_ns = 1000 * MS;
	if (chain_add(&r->chain, nf, NULL) != 0 ||
		(conf->nf2 != NULL && chain_add(&r->chain, conf->nf2, NULL) != 0))
		abort();
	chain_seal(&r->chain, "test");
	r->chain.divides = conf->divides;
	r->known[r->n_known++] = &r->chain;
	r->flight = calloc(FLIGHT, sizeof(*r->flight));
	for (unsigned s = 0; s < 2; s++)
		r->inbox[s] = calloc(INBOX, sizeof(**r->inbox));
	for (unsigned i = 0; i < conf->nodes; i++) {
		r->m[i].chain = &r->chain;
		rack_start(r, i);
	}
	return r;
}

void rack_free(struct rack *r)
{
	for (unsigned i = 0; i < r->conf.nodes; i++) {
		if (r->m[i].node != NULL)
			take_apart(r, i);
	}
	if (r->buffers != 0) {
		fprintf(stderr, "rack: %ld buffers lost\n", r->buffers);
		abort();
	}
	while (r->n_flight > 0)
		free(r->flight[--r->n_flight].bytes);
	free(r->flight);
	free(r->inbox[0]);
	free(r->inbox[1]);
	free(r);
}

struct node *rack_node(struct rack *r, unsigned i)
{
	return r->m[i].node;
}

uint64_t rack_now_ns(const struct rack *r)
{
	return r->now_ns;
}

void rack_kill(struct rack *r, unsigned i)
{
	take_apart(r, i);
	r->m[i].lost_ns = r->now_ns;
	r->m[i].half_used_ns[(r->m[i].boots + 1) & 1] = r->now_ns;
	for (unsigned k = 0; k < r->n_flight;) {
		if (r->flight[k].to == i) {
			free(r->flight[k].bytes);
			r->flight[k] = r->flight[--r->n_flight];
		} else {
			k++;
		}
	}
}

void rack_freeze(struct rack *r, unsigned i)
{
	r->m[i].frozen = true;
	r->m[i].lost_ns = r->now_ns;
}

void rack_thaw(struct rack *r, unsigned i)
{
	r->m[i].frozen = false;
	r->m[i].lost_ns = 0;
}

const struct chain *rack_chain(struct rack *r)
{
	return &r->chain;
}

void rack_know(struct rack *r, const struct chain *chain)
{
	for (unsigned k = 0; k < r->n_known; k++) {
		if (r->known[k] == chain)
			return;
	}
	if (r->n_known == RACK_CHAINS)
		abort();
	r->known[r->n_known++] = chain;
}

void rack_unable(struct rack *r, unsigned i, const struct chain *chain, bool unable)
{
	for (unsigned k = 0; k < r->n_known; k++) {
		if (r->known[k] == chain)
			r->m[i].unable =
				unable ? r->m[i].unable | 1u << k : r->m[i].unable & ~(1u << k);
	}
}

void rack_reconfigure(struct rack *r, unsigned i, const struct chain *chain)
{
	struct node *n = r->m[i].node;
	int slot;

	rack_know(r, chain);
	r->m[i].chain = chain;
	if (n == NULL)
		return;
	slot = node_chain_add(n, chain, false);
	if ((slot < 0 && slot != -EEXIST) || node_chain_current(n, chain->id) != 0)
		abort();
}

void rack_receives(struct rack *r, unsigned i, int worker)
{
	r->m[i].queue = (unsigned)(worker + 1);
}

void rack_stall(struct rack *r, unsigned i, unsigned worker, bool stalled)
{
	r->m[i].stalled[worker] = stalled;
}

void rack_groups(struct rack *r, uint64_t without, bool unmarked)
{
	r->groups_without = without;
	r->groups_unmarked = unmarked;
}

void rack_port(struct rack *r, unsigned i, bool up)
{
	r->m[i].port_forced = true;
	r->m[i].port_up = up;
}

// ---- Ports and wires ----

static bool port_is_up(const struct rack *r, unsigned i)
{
	const struct member_state *m = &r->m[i];

	if (m->port_forced)
		return m->port_up;
	// Like BFD: a node says at once whether it wants traffic, and its death is found out.
	return m->wanted && (m->lost_ns == 0 || r->now_ns - m->lost_ns < DETECT_MS * MS);
}

static uint64_t ports_up(const struct rack *r)
{
	uint64_t up = 0;

	for (unsigned i = 0; i < r->conf.nodes; i++)
		up |= (uint64_t)port_is_up(r, i) << i;
	return up;
}

static void fly(struct rack *r, unsigned to, uint16_t vlan, const uint8_t *bytes, uint16_t len,
	uint64_t delay_ns)
{
	if (r->m[to].node == NULL)
		return;
	if (r->n_flight == FLIGHT)
		abort();
	struct flight *f = &r->flight[r->n_flight++];
	*f = (struct flight){to, r->now_ns + delay_ns, vlan, len, malloc(len), r->m[to].queue};
	memcpy(f->bytes, bytes, len);
}

unsigned rack_hash(struct rack *r, const struct frame_spec *s, enum tripod_direction from)
{
	uint8_t buf[ROOM];
	struct tripod_packet p;
	size_t len = frames_build(buf, sizeof(buf), s);

	frames_parse(&p, buf, len, sizeof(buf), from);
	return rack_ecmp(&r->conf, &p.tuple, from, ports_up(r));
}

void rack_send(struct rack *r, enum tripod_direction from, const struct frame_spec *spec)
{
	struct frame_spec s = *spec;
	uint8_t buf[ROOM];
	struct tripod_packet p;

	s.src_mac = HOST_MAC;
	s.dst_mac = GATEWAY_MAC[from];
	size_t len = frames_build(buf, sizeof(buf), &s);
	if (frames_parse(&p, buf, len, sizeof(buf), from) >= 0)
		abort();
	fly(r, rack_ecmp(&r->conf, &p.tuple, from, ports_up(r)), from == TRIPOD_INCOMING ? 10 : 20,
		buf, (uint16_t)len, 0);
}

void rack_inject(struct rack *r, unsigned node, uint16_t vlan, const void *bytes, size_t len)
{
	if (len > ROOM)
		abort();
	fly(r, node, vlan, bytes, (uint16_t)len, 0);
}

void rack_seal(struct rack *r, struct wire_header *h, uint8_t *message, size_t size)
{
	unsigned worker = h->from_worker < r->conf.workers ? h->from_worker : 0;

	session_seal(node_shard(r->m[h->from_node].node, worker), h, message, (uint16_t)size);
}

uint8_t rack_message(const struct frame *f)
{
	enum { AT = 42 }; // behind the headers of Ethernet, IPv4 and UDP

	if (f->vlan != 30 || f->len < AT + 4)
		return 0;
	return wire_is_short(f->data + AT, f->len - AT) ? WIRE_LOG : f->data[AT + 3];
}

void rack_tap(struct rack *r, rack_tap_fn tap, void *ctx)
{
	r->tap = tap;
	r->tap_ctx = ctx;
}

// A frame from a node on a host VLAN: hosts answer ARP, and keep the rest.
static void to_host(struct rack *r, unsigned node, enum tripod_direction s, const struct frame *f)
{
	struct tripod_packet p;
	struct neigh_message m;
	uint8_t buf[ROOM];

	frames_packet(&p, f->data, f->len, f->len, f->vlan);
	struct parse_limits limits = {.mtu = 1500};
	int kind = parse_frame(&p, &limits, s, 0);
	if (kind == PARSE_ARP && neigh_parse(&p, &m) == 0 && m.what == NEIGH_REQUEST) {
		char sender[64], target[64];
		tripod_addr_format(&m.sender, sender, sizeof(sender));
		tripod_addr_format(&m.target, target, sizeof(target));
		size_t len = frames_arp(buf, sizeof(buf), 2, HOST_MAC, target, m.mac, sender);
		fly(r, node, f->vlan, buf, (uint16_t)len, STEP_NS);
		return;
	}
	if (kind == PARSE_ND && neigh_parse(&p, &m) == 0 && m.what == NEIGH_REQUEST) {
		memcpy(buf, f->data, f->len);
		frames_packet(&p, buf, f->len, sizeof(buf), f->vlan);
		if (parse_frame(&p, &limits, s, 0) != PARSE_ND || !neigh_answer(&p, &m, HOST_MAC))
			abort();
		fly(r, node, f->vlan, buf, p.len, STEP_NS);
		return;
	}
	if (kind == PARSE_ARP || kind == PARSE_ND || r->n_inbox[s] == INBOX)
		return;
	if (!r->conf.dirty && kind == PARSE_FLOW && p.fragment == TRIPOD_WHOLE &&
		!frames_checksums_right(f->data, f->len))
		abort();
	struct rack_arrival *a = &r->inbox[s][r->n_inbox[s]++];
	*a = (struct rack_arrival){
		.tuple = p.tuple,
		.tcp_flags = p.tcp_flags,
		.payload_len = p.payload_len,
		.from_node = node,
		.at_ns = r->now_ns,
	};
	if (kind == PARSE_FLOW && p.tuple.proto == IPPROTO_TCP) {
		memcpy(&a->seq, p.data + p.l4 + 4, 4);
		memcpy(&a->ack, p.data + p.l4 + 8, 4);
		a->seq = ntohl(a->seq);
		a->ack = ntohl(a->ack);
	}
}

// A question to the switch. It goes to the port of its choice, up or not.
static void to_group(struct rack *r, unsigned node, const struct frame *f)
{
	unsigned at = f->vlan - RACK_PREDICTION_VLAN;
	struct tripod_packet p;

	frames_packet(&p, f->data, f->len, f->len, f->vlan);
	struct parse_limits limits = {.mtu = 1500};
	enum tripod_direction from = at & 1 ? TRIPOD_OUTGOING : TRIPOD_INCOMING;
	if (parse_frame(&p, &limits, from, 0) != PARSE_FLOW)
		abort();
	unsigned place;
	int to = rack_ecmp_group(
		&r->conf, &p.tuple, from, at / 2, ports_up(r), r->groups_without, &place);
	if (to < 0 || rng_below(&r->rng, 100) < r->conf.loss_percent)
		return;
	if (!r->groups_unmarked && place != PREDICT_UNMARKED) {
		f->data[p.l3 + 1] = (uint8_t)(place << 2);
		frames_fix(f->data, f->len);
	}
	fly(r, (unsigned)to, f->vlan, f->data, f->len, STEP_NS + rng_below(&r->rng, 100000));
}

static void from_node(struct rack *r, unsigned node, const struct frame *f)
{
	if (r->tap != NULL && r->tap(r->tap_ctx, node, f))
		return;
	if (f->vlan == 10 || f->vlan == 20) {
		to_host(r, node, f->vlan == 10 ? TRIPOD_INCOMING : TRIPOD_OUTGOING, f);
		return;
	}
	if (f->vlan == 0)
		return;
	if (f->vlan >= RACK_PREDICTION_VLAN) {
		to_group(r, node, f);
		return;
	}
	for (unsigned to = 0; to < r->conf.nodes; to++) {
		bool broadcast = f->data[0] & 1;
		if (to == node || (!broadcast && f->data[5] != to + 1))
			continue;
		if (f->vlan == 30 && rng_below(&r->rng, 100) < r->conf.loss_percent)
			continue;
		fly(r, to, f->vlan, f->data, f->len, STEP_NS + rng_below(&r->rng, 100000));
	}
}

// ---- Time ----

static void fill(struct rack *r, unsigned i, unsigned w, struct step *step)
{
	step->now_ns = r->now_ns;
	step->n_rx = 0;
	while (step->n_spare < STEP_SPARE) {
		uint8_t *b = buffer_new(r);
		step->spare[step->n_spare++] = (struct frame){.buf = b, .data = b, .room = ROOM};
	}
	unsigned kept = 0, k = 0;
	for (; k < r->n_flight && step->n_rx < STEP_BURST; k++) {
		struct flight f = r->flight[k];
		// Any worker may receive any frame; the seed draws which.
		if (f.to != i || f.at_ns > r->now_ns ||
			(f.queue != 0 ? f.queue != w + 1
				      : rng_below(&r->rng, r->conf.workers - w) > 0)) {
			r->flight[kept++] = f;
			continue;
		}
		uint8_t *b = buffer_new(r);
		memcpy(b, f.bytes, f.len);
		free(f.bytes);
		step->rx[step->n_rx++] = (struct frame){
			.buf = b, .data = b, .len = f.len, .room = ROOM, .vlan = f.vlan};
	}
	if (kept == k)
		return;
	memmove(&r->flight[kept], &r->flight[k], (r->n_flight - k) * sizeof(*r->flight));
	r->n_flight -= k - kept;
}

// What the control thread does beside: now and then, between the steps of the workers.
static void control_node(struct rack *r, unsigned i)
{
	unsigned slot;

	struct node *n = r->m[i].node;
	const uint8_t *bytes;
	uint32_t size;
	uint64_t id;

	node_chain_retire(n, &slot); // the chains are the rack's
	if (!node_chain_text(n, &id, &bytes, &size))
		return;
	bool taken = false;
	for (unsigned k = 0; k < r->n_known; k++) {
		if (r->known[k]->id != id || (r->m[i].unable & 1u << k))
			continue;
		if (chain_description_id(bytes, size) != id ||
			size != r->known[k]->description_size)
			abort();
		int added = node_chain_add(n, r->known[k], false);
		taken = added >= 0 || added == -EEXIST;
	}
	node_chain_taken(n, taken);
}

static void step_node(struct rack *r, unsigned i)
{
	struct member_state *m = &r->m[i];

	if (r->now_ns >= m->control_ns) {
		m->control_ns = r->now_ns + CONTROL_NS;
		control_node(r, i);
	}

	for (unsigned w = 0; w < r->conf.workers; w++) {
		struct step *step = m->step[w];
		if (m->stalled[w])
			continue;
		fill(r, i, w, step);
		shard_step(node_shard(m->node, w), step);
		if (step->n_tx > STEP_TX || step->n_done > STEP_DONE ||
			step->n_spare > STEP_SPARE) {
			fprintf(stderr, "rack: step overflows: tx %u done %u spare %u\n",
				step->n_tx, step->n_done, step->n_spare);
			abort();
		}
		for (unsigned k = 0; k < step->n_tx; k++) {
			from_node(r, i, &step->tx[k]);
			buffer_free(r, step->tx[k].buf);
		}
		for (unsigned k = 0; k < step->n_done; k++)
			buffer_free(r, step->done[k]);
	}
	m->wanted = m->node->takes_traffic;
}

void rack_step(struct rack *r)
{
	unsigned first = rng_below(&r->rng, r->conf.nodes);

	for (unsigned k = 0; k < r->conf.nodes; k++) {
		unsigned i = (first + k) % r->conf.nodes;
		if (r->m[i].node != NULL && !r->m[i].frozen)
			step_node(r, i);
	}
	r->now_ns += STEP_NS;
}

void rack_run_ms(struct rack *r, unsigned ms)
{
	for (uint64_t end = r->now_ns + ms * MS; r->now_ns < end;)
		rack_step(r);
}

// ---- Looking ----

unsigned rack_arrivals(
	struct rack *r, enum tripod_direction s, struct rack_arrival *out, unsigned max)
{
	unsigned n = r->n_inbox[s] < max ? r->n_inbox[s] : max;

	memcpy(out, r->inbox[s], n * sizeof(*out));
	r->n_inbox[s] = 0;
	return n;
}

uint64_t rack_counter(struct rack *r, int node, enum counter c)
{
	uint64_t sum = 0, all[COUNTERS];

	for (unsigned i = 0; i < r->conf.nodes; i++) {
		if (r->m[i].node == NULL || (node >= 0 && (unsigned)node != i))
			continue;
		node_counters(r->m[i].node, -1, all);
		sum += all[c];
	}
	return sum;
}

bool rack_conn(struct rack *r, unsigned i, const struct tripod_tuple *key, struct conn_view *out)
{
	for (unsigned w = 0; r->m[i].node != NULL && w < r->conf.workers; w++) {
		struct shard *s = node_shard(r->m[i].node, w);
		struct store_hit h = store_find(&s->store, key, store_hash(&s->store, key));
		if (h.what == STORE_CONN) {
			conn_view(s, h.index, out);
			return true;
		}
	}
	return false;
}

unsigned rack_copies(struct rack *r, const struct tripod_tuple *key)
{
	struct conn_view v;
	unsigned n = 0;

	for (unsigned i = 0; i < r->conf.nodes; i++)
		n += rack_conn(r, i, key, &v) && v.state == CONN_LIVE;
	return n;
}
