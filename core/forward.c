// SPDX-License-Identifier: BSD-3-Clause
// Everything that leaves: routes and next hops, hop limits, relays, and the packets that the gateway
// makes itself.
#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/shard.h"

static void put16(uint8_t *at, uint16_t network_order)
{
	memcpy(at, &network_order, 2);
}

static uint16_t get16(const uint8_t *at)
{
	uint16_t v;
	memcpy(&v, at, 2);
	return v;
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t v;
	memcpy(&v, at, 4);
	return ntohl(v);
}

// ---- Routes ----

// The next hop towards dst on one side, or NULL.
static const struct tripod_addr *route(const struct side_conf *side, const struct tripod_addr *dst)
{
	static const struct tripod_addr on_link;

	for (unsigned i = 0; i < side->n_routes; i++) {
		const struct route *r = &side->route[i];
		if (tripod_prefix_contains(&r->to, dst))
			return tripod_addr_equal(&r->via, &on_link) ? dst : &r->via;
	}
	return NULL;
}

static void hop(struct tripod_packet *p)
{
	uint8_t *ip = p->data + p->l3;

	if (p->v6) {
		ip[7]--;
		return;
	}
	uint16_t old = get16(ip + 8);
	ip[8]--;
	put16(ip + 10, checksum_update(get16(ip + 10), old, get16(ip + 8)));
}

static void transmit(struct shard *s, const struct tripod_packet *p)
{
	s->step->tx[s->step->n_tx++] = shard_frame(p, FRAME_DATA);
	s->counters[C_workload_packets]++;
	s->counters[C_workload_bytes] += p->len;
}

// The packet waits for its next hop to answer.
static void wait_for_hop(struct shard *s, struct tripod_packet *p, struct neigh *n)
{
	struct frame f = shard_frame(p, FRAME_DATA);

	if (!neigh_wait(n, &f))
		shard_drop(s, p, C_drop_neighbour_full);
}

// false: there is no route or no entry, and p has been dropped.
static struct neigh *next_hop(
	struct shard *s, struct tripod_packet *p, enum neigh_net net, struct conn_dir *cache)
{
	const struct tripod_addr *via = route(&s->conf->side[net], &p->tuple.dst);
	if (via == NULL) {
		shard_drop(s, p, C_drop_no_route);
		return NULL;
	}
	uint16_t slot = neigh_get(&s->neigh, s->step, net, via);
	if (slot == 0) {
		shard_drop(s, p, C_drop_neighbour_full);
		return NULL;
	}
	struct neigh *n = neigh_at(&s->neigh, slot);
	if (cache != NULL && n->state >= NEIGH_REACHABLE) {
		cache->next_hop = slot;
		cache->next_hop_check = n->generation;
	}
	return n;
}

void forward_prepare(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);

	for (unsigned d = 0; d < 2; d++) {
		// Packets of a direction leave towards whoever sends the other one, on the other side.
		enum neigh_net net =
			c->dir[d].key.direction == TRIPOD_INCOMING ? NEIGH_INSIDE : NEIGH_OUTSIDE;
		const struct tripod_addr *via = route(&s->conf->side[net], &c->dir[!d].key.src);
		if (via != NULL)
			neigh_get(&s->neigh, s->step, net, via);
	}
}

void forward_now(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	enum neigh_net net =
		tripod_packet_direction(p) == TRIPOD_INCOMING ? NEIGH_INSIDE : NEIGH_OUTSIDE;
	const struct side_conf *side = &s->conf->side[net];
	struct conn_dir *cache = i == STORE_NONE ? NULL : &store_conn(&s->store, i)->dir[dir];
	struct neigh *n;

	if (__builtin_expect(p->ip_len > side->mtu, 0)) {
		forward_icmp_error(s, p, ICMP_TOO_BIG, side->mtu);
		shard_drop(s, p, C_drop_oversize);
		return;
	}
	if (__builtin_expect(s->step->n_tx == STEP_TX, 0)) {
		shard_drop(s, p, C_drop_tx_full);
		return;
	}
	n = cache != NULL && cache->next_hop != 0 ? neigh_at(&s->neigh, cache->next_hop) : NULL;
	if (__builtin_expect(n == NULL || n->generation != cache->next_hop_check ||
				     n->state < NEIGH_REACHABLE,
		    0)) {
		n = next_hop(s, p, net, cache);
		if (n == NULL)
			return;
	}
	hop(p);
	memcpy(p->data + 6, s->conf->self.mac, 6);
	p->vlan = side->vlan;
	if (__builtin_expect(n->state < NEIGH_REACHABLE, 0)) {
		wait_for_hop(s, p, n);
		return;
	}
	memcpy(p->data, n->mac, 6);
	// Stamped only when stale: a line that many packets share stays clean.
	if (__builtin_expect(s->now_ns - n->used_ns > 1000 * MS, 0))
		n->used_ns = s->now_ns;
	transmit(s, p);
}

// To p's destination on the side that it came from, through that side's routes: another node has
// relayed the packet that p answers, so that its sender's MAC is not in the frame.
static void back_by_route(struct shard *s, struct tripod_packet *p)
{
	enum neigh_net net = (enum neigh_net)p->tuple.direction;
	struct neigh *n = next_hop(s, p, net, NULL);

	if (n == NULL)
		return;
	memcpy(p->data + 6, s->conf->self.mac, 6);
	p->vlan = s->conf->side[net].vlan;
	if (n->state < NEIGH_REACHABLE) {
		wait_for_hop(s, p, n);
		return;
	}
	memcpy(p->data, n->mac, 6);
	s->step->tx[s->step->n_tx++] = shard_frame(p, FRAME_DATA);
}

static bool was_relayed(const struct shard *s, const struct tripod_packet *p)
{
	return p->vlan == s->conf->side[p->tuple.direction].relay_vlan;
}

void forward_back(struct shard *s, struct tripod_packet *p)
{
	uint8_t mac[6];

	if (s->step->n_tx == STEP_TX) {
		shard_drop(s, p, C_drop_tx_full);
		return;
	}
	if (was_relayed(s, p)) {
		back_by_route(s, p);
		return;
	}
	memcpy(mac, p->data + 6, 6);
	memcpy(p->data + 6, s->conf->self.mac, 6);
	memcpy(p->data, mac, 6);
	p->vlan = s->conf->side[p->tuple.direction].vlan;
	s->step->tx[s->step->n_tx++] = shard_frame(p, FRAME_DATA);
}

void forward_relay(struct shard *s, struct tripod_packet *p, unsigned node)
{
	const struct peer *peer = &s->peer[node];
	// A flood of fragments is not to take what is meant for connections that move.
	uint64_t *from_ns = p->fragment ? &s->fragments.relay_tokens_ns : &s->relay_tokens_ns;
	// A token bucket counted in time: a packet costs 1/relay_per_s, at most 100 ms are saved up.
	uint64_t cost = s->conf->relay_per_s == 0 ? UINT64_MAX : s->conf->relay_cost_ns;

	if (*from_ns + 100 * MS < s->now_ns)
		*from_ns = s->now_ns - 100 * MS;
	if (!peer->live || cost == UINT64_MAX || *from_ns + cost > s->now_ns) {
		shard_drop(s, p, C_drop_relay_limit);
		return;
	}
	if (s->step->n_tx == STEP_TX) {
		shard_drop(s, p, C_drop_tx_full);
		return;
	}
	*from_ns += cost;
	memcpy(p->data, peer->mac, 6);
	memcpy(p->data + 6, s->conf->self.mac, 6);
	p->vlan = s->conf->side[p->tuple.direction].relay_vlan;
	count(s, C_relay_tx);
	s->step->tx[s->step->n_tx++] = shard_frame(p, FRAME_DATA);
}

void forward_control(struct shard *s, struct frame *f)
{
	if (s->step->n_tx == STEP_TX) {
		count(s, C_drop_tx_full);
		shard_unspare(s, f);
		return;
	}
	f->class = FRAME_CONTROL;
	count(s, C_control_tx_packets);
	s->counters[C_control_tx_bytes] += f->len;
	s->step->tx[s->step->n_tx++] = *f;
}

// ---- Packets of the gateway's own ----

void forward_icmp_error(
	struct shard *s, const struct tripod_packet *p, enum icmp_error what, uint16_t mtu)
{
	const struct side_conf *side = &s->conf->side[p->tuple.direction];
	const struct tripod_addr *from = p->v6 ? &side->gateway_v6 : &side->gateway_v4;
	struct frame f;

	if (s->step->n_tx == STEP_TX || !shard_spare_data(s, &f)) {
		count(s, C_drop_no_buffer);
		return;
	}
	if (icmp_error_make(&f, p, what, mtu, from) != 0) {
		shard_unspare(s, &f);
		return;
	}
	count(s, C_icmp_errors_tx);
	if (was_relayed(s, p)) {
		struct tripod_packet q = {
			.data = f.data, .buf = f.buf, .len = f.len, .room = f.room};
		q.tuple.dst = p->tuple.src;
		q.tuple.direction = p->tuple.direction;
		back_by_route(s, &q);
		return;
	}
	memcpy(f.data + 6, s->conf->self.mac, 6);
	f.vlan = side->vlan;
	f.class = FRAME_DATA;
	s->step->tx[s->step->n_tx++] = f;
}

void forward_icmp_through(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	const struct conn *c = store_conn(&s->store, i);
	// Packets of direction dir leave with the tuple that the other direction answers. The error
	// quotes a packet of the other direction, as its receiver got it; its sender knows it by the
	// tuple that it sent: the other direction's key.
	const struct tripod_tuple quoted = c->dir[!dir].key;
	const uint8_t *ip = p->data + p->l3;
	struct tripod_addr source;
	static const struct tripod_addr none;

	if (p->ttl <= 1) { // no error about an error
		shard_drop(s, p, C_drop_ttl);
		return;
	}
	// The error's source is a router or the quoted packet's destination: the latter is known to the
	// receiver by the address that it sent to.
	if (p->v6)
		memcpy(source.b, ip + 8, 16);
	else
		memcpy(source.b, TRIPOD_V4_PREFIX, 12), memcpy(source.b + 12, ip + 12, 4);
	if (tripod_addr_equal(&source, &c->dir[dir].key.src) || tripod_addr_equal(&source, &none))
		source = quoted.dst;
	struct tripod_addr destination = quoted.src;
	icmp_error_translate(p, &quoted, &source, &destination);
	p->tuple.dst = destination;
	forward_now(s, p, STORE_NONE, 0);
}

void packet_swap(struct tripod_packet *p)
{
	uint8_t *ip = p->data + p->l3, *l4 = p->data + p->l4;
	unsigned size = p->v6 ? 16 : 4, at = p->v6 ? 8 : 12;
	uint8_t swap[16];
	struct tripod_tuple t = p->tuple;

	memcpy(swap, ip + at, size);
	memmove(ip + at, ip + at + size, size);
	memcpy(ip + at + size, swap, size);
	memcpy(swap, l4, 2);
	memmove(l4, l4 + 2, 2);
	memcpy(l4 + 2, swap, 2);
	p->tuple.src = t.dst;
	p->tuple.dst = t.src;
	p->tuple.sport = t.dport;
	p->tuple.dport = t.sport;
}

void packet_head(struct tripod_packet *q, const struct tripod_packet *p, unsigned n)
{
	q->l4 = (uint16_t)(p->l3 + (p->v6 ? 40 : 20));
	q->payload = (uint16_t)(q->l4 + n);
	q->fragment = TRIPOD_WHOLE;
	memcpy(q->data, p->data, q->l4);
	memcpy(q->data + q->l4, p->data + p->l4, n);
	if (p->v6)
		q->data[q->l3 + 6] = tripod_packet_proto(p);
}

void packet_finish(struct tripod_packet *p)
{
	uint8_t *ip = p->data + p->l3, *l4 = p->data + p->l4;
	uint16_t l4_len = (uint16_t)(p->payload - p->l4 + p->payload_len);

	p->len = (uint16_t)(p->l4 + l4_len);
	p->ip_len = (uint16_t)(p->len - p->l3);
	if (p->v6) {
		put16(ip + 4, htons((uint16_t)(p->ip_len - 40)));
		ip[7] = p->ttl;
	} else {
		put16(ip + 2, htons(p->ip_len));
		put16(ip + 6, htons(0x4000)); // an answer is never fragmented
		ip[8] = p->ttl;
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~checksum_partial(ip, 20, 0));
	}
	if (p->tuple.proto == IPPROTO_TCP) {
		put16(l4 + 16, checksum_l4(p));
	} else if (p->tuple.proto == IPPROTO_UDP) {
		put16(l4 + 4, htons(l4_len));
		put16(l4 + 6, checksum_l4(p));
	}
}

// RFC 9293, 3.10.7.1: the reset that a closed port sends.
void forward_reset(struct shard *s, struct tripod_packet *p)
{
	struct tripod_packet q = *p;
	const uint8_t *tcp = p->data + p->l4;
	struct frame f;

	if ((p->tcp_flags & TRIPOD_TCP_RST) || !shard_spare_data(s, &f)) {
		shard_drop(s, p, C_drop_unknown);
		return;
	}
	uint32_t seq = get32(tcp + 4), ack = get32(tcp + 8);
	uint32_t end = seq + p->payload_len + !!(p->tcp_flags & TRIPOD_TCP_SYN) +
		       !!(p->tcp_flags & TRIPOD_TCP_FIN);
	q.buf = f.buf;
	q.data = f.data;
	q.room = f.room;
	q.payload_len = 0;
	q.ttl = 64;
	packet_head(&q, p, 20);
	packet_swap(&q);
	uint8_t *t = q.data + q.l4;
	bool acked = p->tcp_flags & TRIPOD_TCP_ACK;
	uint32_t out_seq = htonl(acked ? ack : 0), out_ack = htonl(acked ? 0 : end);
	memcpy(t + 4, &out_seq, 4);
	memcpy(t + 8, &out_ack, 4);
	t[12] = 5 << 4;
	t[13] = acked ? TRIPOD_TCP_RST : TRIPOD_TCP_RST | TRIPOD_TCP_ACK;
	memset(t + 14, 0, 6);
	packet_finish(&q);
	forward_back(s, &q);
	shard_drop(s, p, C_drop_unknown);
}
