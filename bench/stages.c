// SPDX-License-Identifier: BSD-3-Clause
#include "bench/stages.h"

const char *const stage_names[STAGES] = {"port", "parse_hash", "lookup", "track_chain", "forward"};
const char *const stage_helps[STAGES] = {
	"driver, buffers, VLAN tags, MAC addresses",
	"headers checked, tuple and its hash",
	"index and record: the cache misses",
	"TCP windows; firewall, lb, snat: rewriting",
	"next hop, hop limit, counters, timers, replication",
};

// What is sent: to the other side, MAC addresses swapped.
static void send_back(struct step *step, const struct frame *f)
{
	struct frame *out = &step->tx[step->n_tx++];
	uint8_t mac[6];

	*out = *f;
	memcpy(mac, f->data, 6);
	memmove(f->data, f->data + 6, 6);
	memcpy(f->data + 6, mac, 6);
	out->vlan = RIG_VLAN[f->vlan == RIG_VLAN[0]];
	out->class = FRAME_DATA;
}

static void port(struct shard *s, struct step *step)
{
	for (unsigned i = 0; i < step->n_rx; i++)
		__builtin_prefetch(step->rx[i].data);
	for (unsigned i = 0; i < step->n_rx; i++)
		send_back(step, &step->rx[i]);
}

// Returns how many there are.
static unsigned parse_burst(
	struct shard *s, struct step *step, struct tripod_packet *packets, uint64_t *hash)
{
	struct parse_limits limits = {.mtu = s->conf->side[0].mtu};
	unsigned n = step->n_rx;

	s->step = step;
	s->now_ns = step->now_ns;
	s->now = tick_of(step->now_ns);
	for (unsigned i = 0; i < n; i++)
		__builtin_prefetch(step->rx[i].data);
	for (unsigned i = 0; i < n; i++) {
		const struct frame *f = &step->rx[i];
		struct tripod_packet *p = &packets[i];
		p->data = f->data;
		p->buf = f->buf;
		p->len = f->len;
		p->room = f->room;
		p->vlan = f->vlan;
		p->flags = f->flags;
		parse_frame(
			p, &limits, f->vlan == RIG_VLAN[0] ? TRIPOD_INCOMING : TRIPOD_OUTGOING, 0);
		hash[i] = store_hash(&s->store, &p->tuple);
	}
	return n;
}

static void parse(struct shard *s, struct step *step)
{
	struct tripod_packet packets[STEP_BURST];
	uint64_t hash[STEP_BURST];

	unsigned n = parse_burst(s, step, packets, hash);
	for (unsigned i = 0; i < n; i++) {
		__asm__ volatile("" : : "r"(hash[i])); // it is wanted
		send_back(step, &step->rx[i]);
	}
}

static void find_burst(struct shard *s, unsigned n, const struct tripod_packet *packets,
	const uint64_t *hash, struct store_hit *hit)
{
	for (unsigned i = 0; i < n; i++)
		store_prefetch_bucket(&s->store, hash[i]);
	store_prefetch_records(&s->store, hash, hit, n);
	for (unsigned i = 0; i < n; i++)
		if (!store_hit_right(&s->store, &hit[i], &packets[i].tuple))
			hit[i] = store_find(&s->store, &packets[i].tuple, hash[i]);
}

static void lookup(struct shard *s, struct step *step)
{
	struct tripod_packet packets[STEP_BURST];
	struct store_hit hit[STEP_BURST];
	uint64_t hash[STEP_BURST];

	unsigned n = parse_burst(s, step, packets, hash);
	find_burst(s, n, packets, hash, hit);
	for (unsigned i = 0; i < n; i++) {
		// The lines are wanted, and not only the one with the key.
		const struct conn *c = store_conn(&s->store, hit[i].index);
		__asm__ volatile(""
				 :
				 : "r"(c->dir[!hit[i].dir].seen), "r"(c->state),
				 "r"(c->nf[conn_chain(s, c)->state_size - 1]));
		send_back(step, &step->rx[i]);
	}
}

static void chain(struct shard *s, struct step *step)
{
	struct tripod_packet packets[STEP_BURST];
	struct store_hit hit[STEP_BURST];
	uint64_t hash[STEP_BURST];

	unsigned n = parse_burst(s, step, packets, hash);
	find_burst(s, n, packets, hash, hit);
	for (unsigned i = 0; i < n; i++) {
		struct conn *c = store_conn(&s->store, hit[i].index);
		unsigned d = hit[i].dir;
		if (hit[i].what != STORE_CONN)
			continue; // the packet will be missed, and the run fails
		tcp_track(&c->dir[d].tcp, &c->dir[!d].tcp, d == 0, &packets[i]);
		run_chain(s, &packets[i], hit[i].index, d, 0, false);
		send_back(step, &step->rx[i]);
	}
}

rig_stage_fn stage_fn(enum stage s)
{
	static const rig_stage_fn fn[STAGES] = {port, parse, lookup, chain, NULL};
	return fn[s];
}
