// SPDX-License-Identifier: BSD-3-Clause
#include "bench/traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PAYLOAD_MAX 6
#define IP 14 // offsets in a frame without tag
#define TCP 34
#define TTL 64
#define CLIENTS 120000u // addresses of clients: 198.18.0.0 and the following (RFC 2544)
#define HOSTS 60000u // of hosts inside: 10.3.0.1 and the following
#define REMOTES 250u // that they talk to: 198.51.100.1 and the following

void traffic_flow(struct flow *f, uint64_t n, bool inside, struct rng *rng)
{
	*f = (struct flow){0};
	f->seq[0] = (uint32_t)rng_next(rng);
	f->seq[1] = (uint32_t)rng_next(rng);
	if (inside) {
		f->initiator = TRIPOD_OUTGOING;
		f->remote = 0xc6336401u + (uint32_t)(n % REMOTES);
		f->remote_port = 443;
		f->inner = 0x0a030001u + (uint32_t)(n % HOSTS);
		f->inner_port = (uint16_t)(1024 + n / HOSTS);
	} else {
		f->initiator = TRIPOD_INCOMING;
		f->remote = 0xc6120001u + (uint32_t)(n % CLIENTS);
		f->remote_port = (uint16_t)(1024 + n / CLIENTS);
		f->outer = RIG_VIP;
		f->outer_port = RIG_VIP_PORT;
	}
}

// The connections of both kinds are mixed in the order of numbers.
int traffic_init(
	struct traffic *t, struct rig *r, uint32_t n, unsigned inside_percent, uint64_t seed)
{
	*t = (struct traffic){.rig = r, .rng = {.state = seed}, .n = n};
	t->flow = calloc(n, sizeof(*t->flow));
	if (t->flow == NULL)
		return -ENOMEM;
	uint32_t kind[2] = {0}; // so many of each
	for (uint32_t i = 0; i < n; i++) {
		bool inside = i % 100 < inside_percent;
		traffic_flow(&t->flow[i], kind[inside]++, inside, &t->rng);
	}
	return 0;
}

void traffic_free(struct traffic *t)
{
	free(t->flow);
	t->flow = NULL;
}

void traffic_draw(struct traffic *t, struct batch *b, unsigned n, uint32_t open)
{
	b->n = n;
	for (unsigned i = 0; i < n; i++) {
		b->packet[i].flow = rng_below(&t->rng, open);
		b->packet[i].from = rng_next(&t->rng) & 1;
	}
}

void traffic_pick(
	const struct traffic *t, struct batch *b, uint32_t first, unsigned n, bool initiator)
{
	b->n = n;
	for (unsigned i = 0; i < n; i++) {
		unsigned from = t->flow[first + i].initiator;
		b->packet[i].flow = first + i;
		b->packet[i].from = (uint8_t)(initiator ? from : !from);
	}
}

// ---- Frames ----

static void put16(uint8_t *at, uint16_t v)
{
	v = htons(v);
	memcpy(at, &v, sizeof(v));
}

static void put32(uint8_t *at, uint32_t v)
{
	v = htonl(v);
	memcpy(at, &v, sizeof(v));
}

static uint16_t get16(const uint8_t *at)
{
	uint16_t v;
	memcpy(&v, at, sizeof(v));
	return ntohs(v);
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t v;
	memcpy(&v, at, sizeof(v));
	return ntohl(v);
}

// Apart from the core's, so that what it rewrites is checked by another implementation. n is even.
static uint32_t sum16(const uint8_t *at, unsigned n, uint32_t sum)
{
	for (unsigned i = 0; i < n; i += 2)
		sum += get16(at + i);
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

// Of the TCP segment and its pseudo header, all fields included. The payload's length is even.
static uint16_t tcp_sum(const uint8_t *ip)
{
	uint16_t len = (uint16_t)(get16(ip + 2) - 20);
	return fold(sum16(ip + 20, len, sum16(ip + 12, 8, (uint32_t)IPPROTO_TCP + len)));
}

void traffic_build(uint8_t *at, struct flow *f, unsigned from, uint8_t flags, unsigned payload)
{
	const uint8_t head[] = {0x81, 0, 0, (uint8_t)RIG_VLAN[from], 0x08, 0};
	bool outside = from == TRIPOD_INCOMING;

	memset(at, 0, TRAFFIC_FRAME + RIG_TAG);
	memcpy(at, RIG_GATEWAY_MAC[from], 6);
	memcpy(at + 6, RIG_ROUTER_MAC, 6);
	memcpy(at + 12, head, sizeof(head));
	uint8_t *ip = at + RIG_TAG + IP, *tcp = at + RIG_TAG + TCP;
	ip[0] = 0x45;
	put16(ip + 2, (uint16_t)(40 + payload));
	ip[6] = 0x40;
	ip[8] = TTL;
	ip[9] = IPPROTO_TCP;
	put32(ip + 12, outside ? f->remote : f->inner);
	put32(ip + 16, outside ? f->outer : f->remote);
	put16(ip + 10, (uint16_t)~fold(sum16(ip, 20, 0)));
	put16(tcp, outside ? f->remote_port : f->inner_port);
	put16(tcp + 2, outside ? f->outer_port : f->remote_port);
	put32(tcp + 4, f->seq[from]);
	put32(tcp + 8, flags & TRIPOD_TCP_ACK ? f->seq[!from] : 0);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	put16(tcp + 14, 64240);
	put16(tcp + 16, (uint16_t)~tcp_sum(ip));
	f->seq[from] += payload + !!(flags & (TRIPOD_TCP_SYN | TRIPOD_TCP_FIN));
}

// ---- Checks ----

static bool is_backend(uint32_t addr, uint16_t port)
{
	return addr - RIG_BACKEND < RIG_BACKENDS && port == RIG_BACKEND_PORT;
}

static bool is_external(uint32_t addr, uint16_t port)
{
	return (addr & RIG_POOL_MASK) == RIG_POOL && port >= 1024;
}

// The first packet of a connection tells what its other end is known as.
static bool learn(struct flow *f, unsigned from, const uint8_t *ip)
{
	if (from == TRIPOD_INCOMING && f->inner == 0) {
		f->inner = get32(ip + 16);
		f->inner_port = get16(ip + 22);
		return is_backend(f->inner, f->inner_port);
	}
	if (from == TRIPOD_OUTGOING && f->outer == 0) {
		f->outer = get32(ip + 12);
		f->outer_port = get16(ip + 20);
		return is_external(f->outer, f->outer_port);
	}
	return true;
}

const char *traffic_check(struct flow *f, unsigned from, const uint8_t *at, unsigned len)
{
	const uint8_t *ip = at + RIG_TAG + IP;
	bool outside = from == TRIPOD_INCOMING;

	if (len != TRAFFIC_FRAME + RIG_TAG)
		return "its length has changed";
	if ((get16(at + 14) & 0xfff) != RIG_VLAN[!from])
		return "it came out on the wrong VLAN";
	if (memcmp(at, RIG_ROUTER_MAC, 6) != 0 || memcmp(at + 6, RIG_NODE_MAC, 6) != 0)
		return "its MAC addresses are wrong";
	if (ip[8] != TTL - 1)
		return "its TTL is wrong";
	if (!learn(f, from, ip))
		return "it was translated to an address or port that nobody has configured";
	if (get32(ip + 12) != (outside ? f->remote : f->outer) ||
		get16(ip + 20) != (outside ? f->remote_port : f->outer_port))
		return "its source is wrong";
	if (get32(ip + 16) != (outside ? f->inner : f->remote) ||
		get16(ip + 22) != (outside ? f->inner_port : f->remote_port))
		return "its destination is wrong";
	if (fold(sum16(ip, 20, 0)) != 0xffff)
		return "its IP checksum is wrong";
	return tcp_sum(ip) == 0xffff ? NULL : "its TCP checksum is wrong";
}

static int enqueue(struct traffic *t, const struct batch *b, uint8_t flags, unsigned payload)
{
	struct rte_mbuf *m[RIG_BATCH];

	for (unsigned i = 0; i < b->n; i++) {
		m[i] = rig_frame(t->rig, TRAFFIC_FRAME + RIG_TAG);
		if (m[i] == NULL) {
			rte_pktmbuf_free_bulk(m, i);
			snprintf(t->rig->error, sizeof(t->rig->error), "no buffers");
			return -ENOMEM;
		}
		traffic_build(rte_pktmbuf_mtod(m[i], uint8_t *), &t->flow[b->packet[i].flow],
			b->packet[i].from, flags, payload);
	}
	rig_receive(t->rig, m, b->n);
	t->in += b->n;
	return 0;
}

static int compare(struct traffic *t, const struct batch *b, struct rte_mbuf **m, unsigned n,
	rig_stage_fn stage)
{
	struct rig *r = t->rig;

	if (n != b->n) {
		snprintf(r->error, sizeof(r->error), "%u packets went in, %u came out", b->n, n);
		return -EIO;
	}
	for (unsigned i = 0; i < n && stage == NULL; i++) {
		const char *wrong = traffic_check(&t->flow[b->packet[i].flow], b->packet[i].from,
			rte_pktmbuf_mtod(m[i], uint8_t *), m[i]->data_len);
		if (wrong == NULL)
			continue;
		snprintf(r->error, sizeof(r->error),
			"a packet of connection %u from %s is not what it should be: %s",
			b->packet[i].flow, b->packet[i].from ? "inside" : "outside", wrong);
		return -EIO;
	}
	return 0;
}

int traffic_send(struct traffic *t, const struct batch *b, uint8_t flags, unsigned payload,
	rig_stage_fn stage, uint64_t *cycles, bool *clean)
{
	struct rte_mbuf *m[RIG_BATCH];
	struct rig *r = t->rig;
	unsigned n = 0;

	if (stage != NULL) // which would take a heartbeat for a packet
		rig_exchange(r);
	int rc = enqueue(t, b, flags, payload);
	if (rc != 0)
		return rc;
	long preempted = machine_preempted();
	*cycles = 0;
	do { // again, when packets waited for an answer to ARP
		*cycles += rig_run(r, stage);
		n += rig_take(r, m + n, RIG_BATCH - n);
	} while (!rte_ring_empty(r->rx));
	*clean = machine_preempted() == preempted;
	t->preempted += !*clean;
	t->out += n;
	rc = compare(t, b, m, n, stage);
	rte_pktmbuf_free_bulk(m, n);
	return rc;
}
