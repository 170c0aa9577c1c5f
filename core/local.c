// SPDX-License-Identifier: BSD-3-Clause
// What is meant for the gateway itself: ARP and neighbour discovery, echo, BFD.
#include <netinet/in.h>

#include "core/shard.h"

static bool chain_owns(
	const struct chain *chain, enum tripod_direction side, const struct tripod_addr *a)
{
	for (unsigned i = 0; i < chain->n_own; i++) {
		if (chain->own[i].side == side && tripod_prefix_contains(&chain->own[i].prefix, a))
			return true;
	}
	return false;
}

bool local_owns(const struct shard *s, enum tripod_direction side, const struct tripod_addr *a)
{
	static const struct tripod_addr none;
	const struct side_conf *conf = &s->conf->side[side];

	if (tripod_addr_equal(a, &none))
		return false;
	if (tripod_addr_equal(a, &conf->gateway_v4) || tripod_addr_equal(a, &conf->gateway_v6))
		return true;
	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		if (s->chain[k] != NULL && chain_owns(s->chain[k], side, a))
			return true;
	}
	return false;
}

void local_learned(struct shard *s, enum neigh_net net, const struct tripod_addr *a,
	const uint8_t mac[6], bool tell)
{
	neigh_learn(&s->neigh, s->step, net, a, mac);
	if (tell && s->conf->workers > 1) {
		struct ring_message m = {.type = RING_NEIGH, .net = net, .addr = *a};
		memcpy(m.mac, mac, 6);
		shard_post_all(s, &m);
	}
}

void local_resolve(struct shard *s, struct tripod_packet *p, enum neigh_net net)
{
	const struct neigh_self *self = &s->conf->self;
	struct neigh_message m;
	static const struct tripod_addr none;

	if (neigh_parse(p, &m) != 0) {
		shard_drop(s, p, C_drop_l4_header);
		return;
	}
	if (!tripod_addr_equal(&m.sender, &none))
		local_learned(s, net, &m.sender, m.mac, true);
	if (m.what == NEIGH_REPLY) {
		shard_done(s, p->buf);
		return;
	}
	// The gateway's addresses are at the MAC that all nodes share, this node's at its own.
	const uint8_t *mac = NULL;
	if (tripod_addr_equal(&m.target, &self->net[net].v4) ||
		tripod_addr_equal(&m.target, &self->net[net].v6))
		mac = self->mac;
	else if (net != NEIGH_FABRIC && local_owns(s, (enum tripod_direction)net, &m.target))
		mac = s->conf->side[net].gateway_mac;
	if (mac == NULL || s->step->n_tx == STEP_TX || !neigh_answer(p, &m, mac)) {
		shard_done(s, p->buf);
		return;
	}
	struct frame f = shard_frame(p, FRAME_CONTROL);
	memcpy(f.data + 6, s->conf->self.mac, 6);
	forward_control(s, &f);
}

bool local_echo(struct shard *s, struct tripod_packet *p)
{
	const struct neigh_self *self = &s->conf->self;
	enum tripod_direction side = tripod_packet_direction(p);
	bool own = tripod_addr_equal(&p->tuple.dst, &self->net[side].v4) ||
		   tripod_addr_equal(&p->tuple.dst, &self->net[side].v6);

	if (!own && !local_owns(s, side, &p->tuple.dst))
		return false;
	if (p->fragment && p->data[p->l4] == (p->v6 ? 128 : 8)) {
		shard_drop(s, p, C_drop_fragment); // the gateway puts nothing together
		return true;
	}
	if (!icmp_echo_reply(p))
		return false;
	// The reply has changed places of MACs and direction already; forward_back() goes by the request's.
	memcpy(p->data + 6, p->data, 6);
	p->tuple.direction = side;
	forward_back(s, p);
	return true;
}

void local_bfd(struct shard *s, struct tripod_packet *p)
{
	struct node *n = s->node;

	// The session belongs to worker 0, wherever the switch's packets arrive.
	if (s->worker != 0) {
		struct ring_message m = {.type = RING_FRAME, .frame = shard_frame(p, FRAME_DATA)};
		m.frame.flags |= TRIPOD_PKT_HANDED;
		if (!shard_post(s, 0, &m))
			shard_drop(s, p, C_drop_ring_full);
		return;
	}
	count(s, C_bfd_rx);
	if (!n->conf.bfd_enabled || bfd_rx(&n->bfd, p, s->now_ns) != 0)
		count(s, C_bfd_bad);
	shard_done(s, p->buf);
	if (bfd_next_ns(&n->bfd) < s->next_tick_ns)
		s->next_tick_ns = bfd_next_ns(&n->bfd);
}

// Every worker must have run lately: one that stalls takes the node out of the switch's groups.
static bool workers_run(struct shard *s)
{
	struct node *n = s->node;
	bool all = true;

	for (unsigned w = 0; w < n->conf.workers; w++) {
		uint32_t progress =
			atomic_load_explicit(&n->shard[w]->progress, memory_order_relaxed);
		if (progress != n->progress_seen[w]) {
			n->progress_seen[w] = progress;
			n->progress_ns[w] = s->now_ns;
		}
		if (s->now_ns - n->progress_ns[w] > n->conf.dead_after_ms * MS)
			all = false;
	}
	return all;
}

uint64_t local_tick(struct shard *s)
{
	struct node *n = s->node;
	struct frame f;

	if (!n->conf.bfd_enabled)
		return UINT64_MAX;
	bool ready = workers_run(s) && n->takes_traffic;
	uint64_t changes = n->bfd.changes;
	bool was_up = n->bfd.state == BFD_UP;

	if (ready != n->bfd.admin_up)
		bfd_admin(&n->bfd, ready, s->now_ns);
	if (!shard_spare(s, &f)) {
		count(s, C_drop_no_buffer);
		return s->now_ns + MS;
	}
	if (bfd_tick(&n->bfd, &s->rng, s->now_ns, &f))
		forward_control(s, &f);
	else
		shard_unspare(s, &f);
	if (was_up && n->bfd.state != BFD_UP && n->bfd.changes != changes)
		count(s, C_bfd_down);
	return bfd_next_ns(&n->bfd);
}
