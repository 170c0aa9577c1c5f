// SPDX-License-Identifier: BSD-3-Clause
// Cables and the switch: where frames go, how long that takes, and which are lost on the way.
#include <arpa/inet.h>
#include <stdlib.h>

#include "sim/hosts_packet.h"
#include "sim/pieces.h"
#include "sim/world.h"

#define MILLION 1000000u
#define HOST_RATE_MBPS 100000u
#define LASTS_NS (2 * SEC) // a failure: then whoever looks after the switch gives it other groups

// ---- Frames under way ----

struct bytes *net_bytes(struct world *w, const uint8_t *data, uint16_t len)
{
	struct bytes *b = w->free_bytes;

	if (len > SIM_ROOM)
		abort(); // neither hosts nor nodes have buffers for that
	if (b != NULL)
		w->free_bytes = b->next;
	else if ((b = malloc(sizeof(*b))) == NULL)
		abort();
	b->refs = 1;
	b->len = len;
	memcpy(b->data, data, len);
	w->frames++;
	return b;
}

void net_bytes_release(struct world *w, struct bytes *b)
{
	if (--b->refs > 0)
		return;
	b->next = w->free_bytes;
	w->free_bytes = b;
	w->frames--;
}

// ---- Cables ----

static bool hit(struct world *w, uint32_t in_a_million)
{
	return in_a_million > 0 && !w->healed && rng_below(&w->net_rng, MILLION) < in_a_million;
}

// When a frame that enters a cable at at_ns leaves it; 0: the queue before it is full.
static uint64_t pass(
	struct world *w, struct link *l, uint64_t at_ns, uint16_t len, uint32_t mbps, bool control)
{
	uint64_t begin = l->free_at_ns > at_ns ? l->free_at_ns : at_ns;
	uint64_t takes = (uint64_t)(len + 24) * 8000 / mbps;

	if (control) { // before data, and never in the way of much
		begin = at_ns;
	} else {
		if (begin - at_ns > (uint64_t)w->o.queue_us * 1000)
			return 0;
		l->free_at_ns = begin + takes;
	}
	return begin + takes + w->o.latency_ns + rng_below(&w->net_rng, w->o.jitter_ns + 1);
}

static void lost(struct world *w, unsigned i, const struct peek *p)
{
	w->totals.frames_lost++;
	if (p != NULL)
		trace_packet(&w->trace, w->now_ns, TRACE_LOST, i, false, p);
}

static void launch(struct world *w, const struct event *e, struct bytes *b)
{
	struct event one = *e;

	one.frame = b;
	one.tie = (uint32_t)rng_next(&w->tie_rng);
	b->refs++;
	events_push(&w->events, &one);
}

// A frame that reaches its last cable: once, twice or never (false). p: what it is, of workload.
static bool deliver(struct world *w, struct event e, struct bytes *b, uint32_t loss, unsigned port,
	const struct peek *p)
{
	if (hit(w, loss) || hit(w, w->port[port].loss)) {
		lost(w, port, p);
		return false;
	}
	if (hit(w, w->o.reorder))
		e.at_ns += rng_below(&w->net_rng, w->o.reorder_us * 1000 + 1);
	launch(w, &e, b);
	if (hit(w, w->o.dup)) {
		e.at_ns += rng_below(&w->net_rng, 200000);
		launch(w, &e, b);
	}
	return true;
}

// ---- Towards nodes ----

static uint32_t hash_bytes(uint32_t h, const uint8_t *at, unsigned n)
{
	while (n-- > 0)
		h = (h ^ *at++) * 16777619u;
	return h;
}

// The queue of a node that a frame goes to.
static unsigned queue_of(struct world *w, const struct bytes *b, const struct peek *p)
{
	if (w->o.workers == 1)
		return 0;
	if (w->o.rss == RSS_ANY)
		return rng_below(&w->net_rng, w->o.workers);
	if (w->o.rss == RSS_TOEPLITZ && p != NULL)
		return toeplitz_worker(toeplitz_tuple(&p->tuple), w->o.workers);
	uint32_t h = (uint32_t)w->o.seed;
	// Addresses and ports of IPv4, or the beginning of addresses of IPv6.
	if (b->len >= 38)
		h = hash_bytes(h, b->data + 26, 12);
	return (h >> 8) % w->o.workers;
}

// false: it is lost on the way.
static bool to_node(struct world *w, unsigned i, struct bytes *b, uint16_t vlan, uint64_t at_ns,
	const struct peek *p)
{
	bool workload = p != NULL;

	if (!node_run_alive(w, i))
		return true;
	struct event e = {.type = EVENT_TO_NODE, .node = (uint8_t)i, .vlan = vlan};
	e.at_ns = pass(w, &w->port[i].to_node, at_ns, b->len, w->o.rate_mbps, !workload);
	if (e.at_ns == 0) {
		lost(w, i, p);
		return false;
	}
	e.worker = (uint8_t)queue_of(w, b, p);
	return deliver(w, e, b, workload ? w->o.workload_loss : w->o.fabric_loss, i, p);
}

static void from_hosts(
	struct world *w, enum tripod_direction side, const uint8_t *bytes, uint16_t len)
{
	struct bytes *b = net_bytes(w, bytes, len);
	uint64_t at_ns = pass(w, &w->host_link[side], w->now_ns, len, HOST_RATE_MBPS, false);
	uint16_t vlan = rackfile_vlan(side);
	struct peek p;

	if (at_ns == 0) {
		lost(w, 255, NULL);
	} else if (memcmp(bytes, RACKFILE_GATEWAY_MAC[side], 6) == 0) {
		int port = -1;
		if (peek(bytes, len, side, &p)) {
			struct tripod_tuple seen = p.tuple;
			if (p.first && w->o.cut_blind)
				seen.sport = seen.dport = 0;
			port = ecmp_next(&w->o.ecmp, &seen, w->up);
		}
		if (port >= 0)
			to_node(w, (unsigned)port, b, vlan, at_ns, &p);
		else
			lost(w, 255, &p);
	} else if (bytes[5] >= 1 && bytes[5] <= w->o.nodes) {
		to_node(w, bytes[5] - 1u, b, vlan, at_ns, NULL);
	}
	net_bytes_release(w, b);
}

void net_from_hosts(struct world *w, enum tripod_direction side, const uint8_t *bytes, uint16_t len)
{
	unsigned n = w->o.cut_bytes == 0 ? 1 : pieces_of(bytes, len, w->o.cut_bytes);
	uint8_t piece[HOSTS_FRAME_SIZE];

	if (n == 1) {
		from_hosts(w, side, bytes, len);
		return;
	}
	w->pieces_id++;
	for (unsigned k = 0; k < n; k++)
		from_hosts(w, side, piece,
			pieces_cut(piece, bytes, len, w->o.cut_bytes, w->pieces_id, k));
}

// ---- From nodes ----

static bool corrupt(struct world *w, struct bytes *b)
{
	if (!hit(w, w->o.corrupt))
		return false;
	b->data[14 + rng_below(&w->net_rng, b->len - 14u)] ^=
		(uint8_t)(1u << rng_below(&w->net_rng, 8));
	return true;
}

// A frame to other nodes: of the fabric, relayed, or an ARP request that all get to see.
static void between_nodes(struct world *w, unsigned i, struct bytes *b, uint16_t vlan,
	uint64_t at_ns, const struct peek *p)
{
	bool broadcast = b->data[0] & 1, spoilt = false;

	if (vlan == RACKFILE_FABRIC_VLAN) {
		spoilt = corrupt(w, b);
		at_ns += w->slow_us * 1000ull;
	}
	for (unsigned to = 0; to < w->o.nodes; to++) {
		if (to == i || (!broadcast && b->data[5] != to + 1))
			continue;
		if (w->cut[i] & 1ull << to) {
			w->totals.frames_lost++;
			continue;
		}
		bool arrives = to_node(w, to, b, vlan, at_ns, p) && !spoilt;
		if (!arrives && vlan == RACKFILE_FABRIC_VLAN)
			w->node[i].lost_ns[to] = w->now_ns;
	}
}

// Ports that have been down for so long that the prediction groups do without them.
static uint64_t lasting(const struct world *w)
{
	uint64_t ports = w->o.ecmp.ports & ~w->up;

	for (unsigned i = 0; i < w->o.nodes; i++) {
		if (w->now_ns - w->port[i].down_ns < LASTS_NS)
			ports &= ~(1ull << i);
	}
	return ports;
}

// A question to one of the switch's prediction groups.
static void predicate(struct world *w, unsigned i, struct bytes *b, uint16_t vlan, uint64_t at_ns)
{
	unsigned group = (vlan - RACKFILE_PREDICTION_VLAN) / 2u;
	enum tripod_direction side = vlan & 1 ? TRIPOD_OUTGOING : TRIPOD_INCOMING;
	struct peek p;

	w->totals.control_bytes += b->len;
	corrupt(w, b);
	if (!peek(b->data, b->len, side, &p))
		return;
	struct ecmp e = w->o.ecmp;
	unsigned place;
	e.without = lasting(w);
	int to = ecmp_group(&e, ecmp_hash(&e, &p.tuple), group, w->up, &place);
	if (place != PREDICT_UNMARKED)
		ecmp_mark(b->data + 14, place);
	if (to < 0 || (w->cut[i] & 1ull << to))
		w->totals.frames_lost++;
	else
		to_node(w, (unsigned)to, b, vlan, at_ns, NULL);
}

static void to_hosts(struct world *w, unsigned i, struct bytes *b, enum tripod_direction side,
	uint64_t at_ns, const struct peek *p)
{
	struct event e = {.type = EVENT_TO_HOSTS, .node = side, .at_ns = at_ns + w->o.latency_ns};

	deliver(w, e, b, p != NULL ? w->o.workload_loss : 0, i, p);
}

void net_from_node(struct world *w, unsigned i, const struct frame *f)
{
	bool outside = f->vlan == 10 || f->vlan == 11, inside = f->vlan == 20 || f->vlan == 21;
	enum tripod_direction side = outside ? TRIPOD_INCOMING : TRIPOD_OUTGOING;
	struct bytes *b = net_bytes(w, f->data, f->len);
	struct peek packet, *p = NULL;

	if ((outside || inside) && peek(f->data, f->len, side, &packet))
		p = &packet;
	uint64_t at_ns = pass(w, &w->port[i].from_node, w->now_ns, f->len, w->o.rate_mbps,
		f->class == FRAME_CONTROL);
	trace_mix(
		&w->trace, (uint64_t)f->len << 32 ^ (uint64_t)f->vlan << 16 ^ f->data[f->len - 1]);
	if (at_ns == 0 || hit(w, w->port[i].loss)) {
		lost(w, i, p);
		if (f->vlan == RACKFILE_FABRIC_VLAN && f->data[5] >= 1 && f->data[5] <= w->o.nodes)
			w->node[i].lost_ns[f->data[5] - 1] = w->now_ns;
	} else if (f->vlan == 0) {
		net_port_rx(w, i, f->data, f->len);
	} else if (f->vlan >= RACKFILE_PREDICTION_VLAN) {
		predicate(w, i, b, f->vlan, at_ns);
	} else if (f->vlan == 10 || f->vlan == 20) {
		if (p != NULL)
			trace_packet(&w->trace, w->now_ns, TRACE_TX, i, false, p);
		w->totals.workload_bytes += p != NULL ? f->len : 0;
		if (f->data[0] & 1 || memcmp(f->data, HOSTS_MAC[side], 6) == 0)
			to_hosts(w, i, b, side, at_ns, p);
		if (memcmp(f->data, HOSTS_MAC[side], 6) != 0)
			between_nodes(w, i, b, f->vlan, at_ns, p);
	} else {
		if (p != NULL)
			trace_packet(&w->trace, w->now_ns, TRACE_RELAY, i, true, p);
		else
			w->totals.control_bytes += f->len;
		w->node[i].control += f->vlan == RACKFILE_FABRIC_VLAN;
		between_nodes(w, i, b, f->vlan, at_ns, p);
	}
	net_bytes_release(w, b);
}

// ---- Ports ----

void net_init(struct world *w)
{
	uint32_t us = w->o.bfd_ms * 1000;

	for (unsigned i = 0; i < w->o.nodes; i++) {
		struct bfd_conf conf = {
			.tx_us = us, .rx_us = us, .multiplier = 3, .mac = {0, 0x23, 0x20, 0, 0, 1}};
		memcpy(conf.peer_mac, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)(i + 1)}, 6);
		conf.src_v4 = htonl(0xa9fe0101);
		conf.dst_v4 = htonl(0xa9fe0100);
		bfd_init(&w->port[i].bfd, &conf, &w->net_rng);
		bfd_admin(&w->port[i].bfd, true, w->now_ns);
		net_port_due(w, i);
	}
}

void net_port_changed(struct world *w, unsigned i)
{
	struct port *port = &w->port[i];
	bool up = port->bfd.state == BFD_UP && !port->flapped && !port->fluttered;

	if (up == (w->up >> i & 1))
		return;
	w->up ^= 1ull << i;
	check_kind_ports(w);
	port->down_ns = w->now_ns;
	if (!(w->faults.fluttering >> i & 1)) // else it would be told of nothing else
		trace_note(&w->trace, w->now_ns, i, "port %s", up ? "up" : "down");
}

static void plan_port(struct world *w, unsigned i)
{
	struct port *port = &w->port[i];
	uint64_t at_ns = bfd_next_ns(&port->bfd);

	net_port_changed(w, i);
	if (at_ns == UINT64_MAX)
		return;
	port->due_ns = at_ns;
	world_event(w, EVENT_PORT, at_ns > w->now_ns ? at_ns : w->now_ns, i, 0, ++port->serial);
}

void net_port_rx(struct world *w, unsigned i, const uint8_t *bytes, uint16_t len)
{
	struct tripod_packet p = {.data = (uint8_t *)bytes, .len = len, .room = len, .l3 = 14};

	bfd_rx(&w->port[i].bfd, &p, w->now_ns);
	plan_port(w, i);
}

void net_port_due(struct world *w, unsigned i)
{
	uint8_t data[128];
	struct frame f = {.data = data, .room = sizeof(data)};

	if (bfd_tick(&w->port[i].bfd, &w->net_rng, w->now_ns, &f)) {
		struct bytes *b = net_bytes(w, data, f.len);
		to_node(w, i, b, 0, w->now_ns, NULL);
		net_bytes_release(w, b);
	}
	plan_port(w, i);
}
