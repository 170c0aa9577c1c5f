// SPDX-License-Identifier: BSD-3-Clause
// The step of a worker. A burst goes through in three passes over its packets (parse and prefetch
// the index bucket; prefetch the record; act), so that the cache misses of a burst overlap.
#include "core/shard.h"

#include <netinet/in.h>

#define TICK_PERIOD_NS (2 * MS)
#define DUE_MAX 64 // connections, and timers, that come up in one step
#define TX_RESERVE 96 // places in step->tx that new packets leave free for what they cause

void shard_done(struct shard *s, void *buf)
{
	s->step->done[s->step->n_done++] = buf;
}

void shard_drop(struct shard *s, const struct tripod_packet *p, int counter)
{
	s->counters[counter]++;
	shard_done(s, p->buf);
}

bool shard_spare(struct shard *s, struct frame *f)
{
	if (s->step->n_spare == 0)
		return false;
	*f = s->step->spare[--s->step->n_spare];
	f->len = 0;
	f->vlan = 0;
	f->flags = 0;
	f->class = FRAME_CONTROL;
	return true;
}

bool shard_spare_data(struct shard *s, struct frame *f)
{
	return s->step->n_spare > STEP_SPARE_CONTROL && shard_spare(s, f);
}

void shard_unspare(struct shard *s, const struct frame *f)
{
	s->step->spare[s->step->n_spare++] = *f;
}

struct frame shard_frame(const struct tripod_packet *p, enum frame_class class)
{
	return (struct frame){
		.buf = p->buf,
		.data = p->data,
		.len = p->len,
		.room = p->room,
		.vlan = p->vlan,
		.class = class,
		.flags = p->flags,
		.hash = p->hash,
	};
}

// What the parser does not fill in.
static inline void packet_begin(struct tripod_packet *p, const struct frame *f)
{
	p->data = f->data;
	p->buf = f->buf;
	p->len = f->len;
	p->room = f->room;
	p->vlan = f->vlan;
	p->flags = f->flags;
	p->hash = f->hash;
}

bool shard_post(struct shard *s, unsigned worker, const struct ring_message *m)
{
	return ring_push(s->out[worker], m);
}

void shard_post_all(struct shard *s, const struct ring_message *m)
{
	for (unsigned w = 0; w < s->conf->workers; w++) {
		if (w != s->worker)
			shard_post(s, w, m);
	}
}

// ---- Packets that wait ----

uint32_t shard_wait_new(struct shard *s, const struct tripod_packet *p)
{
	uint32_t w = s->waiting_free;
	if (w == 0)
		return 0;
	s->waiting_free = s->waiting[w].next;
	s->waiting_used++;
	s->waiting[w] = (struct waiting){.frame = shard_frame(p, FRAME_DATA)};
	return w;
}

void shard_wait_free(struct shard *s, uint32_t w)
{
	s->waiting[w] = (struct waiting){.next = s->waiting_free};
	s->waiting_free = w;
	s->waiting_used--;
}

void shard_again(struct shard *s, uint32_t w)
{
	s->waiting[w].next = 0;
	if (s->again_first == 0)
		s->again_first = w;
	else
		s->waiting[s->again_last].next = w;
	s->again_last = w;
}

// ---- One packet ----

static void hand_to(struct shard *s, const struct tripod_packet *p, unsigned worker, uint8_t how)
{
	struct ring_message m = {.type = RING_FRAME, .frame = shard_frame(p, FRAME_DATA)};
	m.frame.flags |= TRIPOD_PKT_HANDED | how;
	// The other worker has run meanwhile, and does not know how old the packet is.
	if (s->stale_rx)
		shard_drop(s, p, C_drop_stale);
	else if (!shard_post(s, worker, &m))
		shard_drop(s, p, C_drop_ring_full);
	else
		count(s, C_handoffs);
}

static bool is_echo_request(const struct tripod_packet *p)
{
	return p->data[p->l4] == (p->v6 ? 128 : 8);
}

// No record here. TCP opens with a SYN, everything else with its first packet, unless the
// connection may be known elsewhere: then the packet waits for what the peers say.
static void miss(struct shard *s, struct tripod_packet *p, uint64_t hash)
{
	bool can_ask = !(p->flags & TRIPOD_PKT_WAITED) && shard_replicates(s) &&
		       (s->live & ~(1ull << s->conf->id)) != 0;
	// While nothing moves, all who have a connection have told, but for the young ones of which no
	// packet arrives here.
	bool moving = shard_unsettled(s);
	unsigned how = moving ? PULL_BLIND | PULL_ROUNDS : 0;
	bool opens;

	if (p->flags & TRIPOD_PKT_RELAYED) {
		shard_drop(s, p, C_drop_relay_loop);
		return;
	}
	switch (p->tuple.proto) {
	case IPPROTO_TCP:
		if (tcp_flags_bogus(p->tcp_flags)) {
			shard_drop(s, p, C_drop_tcp_flags);
			return;
		}
		opens = (p->tcp_flags & (TRIPOD_TCP_SYN | TRIPOD_TCP_ACK)) == TRIPOD_TCP_SYN;
		can_ask = can_ask && !opens;
		// A reset would end for good what is merely not known yet.
		how |= PULL_BLIND |
		       (s->conf->unknown_tcp_reset || index_behind(s) ? PULL_ROUNDS : 0);
		break;
	case IPPROTO_UDP:
		opens = true;
		break;
	default:
		opens = is_echo_request(p);
		how |= opens ? 0 : PULL_BLIND;
		break;
	}
	if (can_ask && pull_unknown(s, p, hash, how))
		return;
	if (opens && s->stale_rx)
		shard_drop(s, p, C_drop_stale);
	else if (opens && p->tuple.proto != IPPROTO_TCP && shard_deaf(s) && shard_replicates(s))
		shard_drop(s, p, C_drop_deaf);
	else if (opens)
		conn_open(s, p, 0, 0);
	else if (p->tuple.proto == IPPROTO_TCP && s->conf->unknown_tcp_reset)
		forward_reset(s, p);
	else
		shard_drop(s, p, C_drop_unknown);
}

// A packet of a connection that has ended here and that it does not open. Its key may have a newer life
// of which this node has not heard: the other direction's master has reopened it.
static void ask_or_drop(struct shard *s, struct tripod_packet *p)
{
	bool can_ask = !(p->flags & (TRIPOD_PKT_WAITED | TRIPOD_PKT_RELAYED)) &&
		       shard_replicates(s) && (s->live & ~(1ull << s->conf->id)) != 0;

	if (!can_ask || !pull_check(s, p, store_hash(&s->store, &p->tuple)))
		shard_drop(s, p, C_drop_tcp_closed);
}

// A packet of a connection that has ended here.
static void closed(struct shard *s, struct tripod_packet *p, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	uint64_t incarnation = c->incarnation, holders = store_repl(&s->store, i)->holders;
	bool opens = p->tuple.proto == IPPROTO_TCP
			     ? (p->tcp_flags & (TRIPOD_TCP_SYN | TRIPOD_TCP_ACK)) == TRIPOD_TCP_SYN
			     : p->tuple.proto == IPPROTO_UDP || is_echo_request(p);

	count(s, C_tombstone_hits);
	if (!opens)
		ask_or_drop(s, p);
	else if (p->flags & TRIPOD_PKT_RELAYED)
		shard_drop(s, p, C_drop_tcp_closed);
	else if (s->stale_rx)
		shard_drop(s, p, C_drop_stale);
	else if (!conn_free(s, i))
		shard_drop(s, p, C_drop_ring_full);
	else
		conn_open(s, p, incarnation, holders);
}

// May this node handle the packet, although it is not (or not surely) the direction's master?
// Takes the packet when it answers false.
static bool claim(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	unsigned master = r->part[dir].writer;
	bool others = (s->live & ~(1ull << s->conf->id)) != 0;

	if (conn_uncertain(s, c, dir)) {
		if (shard_deaf(s) && shard_replicates(s)) {
			shard_drop(s, p, C_drop_deaf);
			return false;
		}
		if (others && !(p->flags & TRIPOD_PKT_WAITED) && shard_replicates(s) &&
			pull_check(s, p, store_hash(&s->store, &p->tuple)))
			return false;
		c->dir[dir].seen = s->now;
	}
	if (conn_masters(c, dir))
		return true;
	if (p->flags & TRIPOD_PKT_RELAYED) {
		shard_drop(s, p, C_drop_relay_loop);
		return false;
	}
	// A record may name this node from a former life. It has not handled this one then.
	bool master_lives = shard_responsive(s) & (1ull << master) & ~shard_self(s);
	bool straggler = r->part[dir].handed && c->dir[dir].next_hop == 0 &&
			 (uint16_t)((uint16_t)s->now - c->dir[dir].next_hop_check) <
				 ticks_of_ms(STRAGGLER_MS);
	bool master_stays = master_lives && !(s->draining & (1ull << master));
	if ((master_lives && straggler) || (master_stays && (c->flags & CONN_PINNED))) {
		forward_relay(s, p, master);
		return false;
	}
	conn_take_over(s, i, dir);
	// Both directions of a pinned connection go where the first of them goes.
	if ((c->flags & CONN_PINNED) && !conn_masters(c, !dir) && !master_stays)
		conn_take_over(s, i, !dir);
	return true;
}

// This node is not, or not surely, the direction's master, or packets of it wait. false: p is gone.
static bool exceptional(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	const struct conn *c = store_conn(&s->store, i);

	if ((!conn_masters(c, dir) || conn_uncertain(s, c, dir)) && !claim(s, p, i, dir))
		return false;
	// Before the packet changes anything: it would be dropped afterwards.
	if ((c->flags & CONN_SYNCING) && sync_full(s, i, dir)) {
		shard_drop(s, p, C_drop_sync_full);
		return false;
	}
	return true;
}

// Have flags of direction dir grown that tell the holders nothing yet? What a copy needs them for is the
// state of the connection, so they are sent when that changes: of a close, the first FIN and the last
// acknowledgement. Where another node handles the other direction, it waits for each.
static bool tells_nothing(const struct conn *c, unsigned dir, uint8_t flags, uint8_t wscale)
{
	const uint8_t both = CONN_MASTER_0 | CONN_MASTER_1;
	const struct tcp_dir *now = &c->dir[dir].tcp, *other = &c->dir[!dir].tcp;
	struct tcp_dir was = {.flags = flags};

	if ((c->flags & both) != both || now->wscale != wscale ||
		((now->flags ^ flags) & (TCP_DIR_SYN | TCP_DIR_WSCALE)))
		return false;
	return dir == 0 ? tcp_state(&was, other) == tcp_state(now, other)
			: tcp_state(other, &was) == tcp_state(other, now);
}

// false: the tracker refuses the packet, which is gone.
static bool track(
	struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir, unsigned *changed)
{
	struct conn *c = store_conn(&s->store, i);
	uint8_t flags = c->dir[dir].tcp.flags, wscale = c->dir[dir].tcp.wscale;

	switch (tcp_track(&c->dir[dir].tcp, &c->dir[!dir].tcp, dir == 0, p)) {
	case TCP_OK:
		return true;
	case TCP_OK_CHANGED:
		if (conn_durability(c) != DURABILITY_SYNC && tells_nothing(c, dir, flags, wscale))
			store_repl(&s->store, i)->untold |= (uint8_t)(1u << dir);
		else
			*changed |= 1u << dir;
		return true;
	case TCP_OUT_OF_WINDOW:
		shard_drop(
			s, p, tcp_flags_bogus(p->tcp_flags) ? C_drop_tcp_flags : C_drop_tcp_window);
		return false;
	case TCP_AFTER_CLOSE:
		ask_or_drop(s, p);
		return false;
	case TCP_REOPEN:
		conn_close(s, i, TRIPOD_TCP_CLOSED);
		closed(s, p, i);
		return false;
	}
	return true;
}

void shard_forward_conn(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	struct conn *c = store_conn(&s->store, i);
	unsigned changed = 0;

	if (__builtin_expect(c->state != CONN_LIVE, 0)) {
		closed(s, p, i);
		return;
	}
	// One compare of flags for two rare things.
	unsigned masters = CONN_MASTER_0 << dir;
	if (__builtin_expect(
		    (c->flags & (masters | CONN_SYNCING)) != masters || conn_uncertain(s, c, dir),
		    0) &&
		!exceptional(s, p, i, dir))
		return;
	if (__builtin_expect(p->ttl <= 1, 0)) {
		forward_icmp_error(s, p, ICMP_TIME_EXCEEDED, 0);
		shard_drop(s, p, C_drop_ttl);
		return;
	}
	if (__builtin_expect(c->dir[1].key.proto == 0, 0)) {
		shard_drop(s, p, C_drop_hold_full); // its first packet is still held by an NF
		return;
	}
	if (p->tuple.proto == IPPROTO_TCP && !track(s, p, i, dir, &changed))
		return;
	c->dir[dir].seen = s->now;
	if (__builtin_expect(dir == 1 && !(c->flags & CONN_ANSWERED), 0)) {
		conn_answered(s, i);
		changed |= 1u << dir;
	}
	enum run_result result = run_chain(s, p, i, dir, 0, false);
	if (__builtin_expect(changed != 0, 0) && c->state == CONN_LIVE) {
		repl_changed(s, i, changed);
		conn_rewheel(s, i);
	}
	if (result == RUN_OUT)
		forward_out(s, p, i, dir);
}

// hit: from store_prefetch_record(), or of no record.
static void deliver(struct shard *s, struct tripod_packet *p, uint64_t hash, struct store_hit hit)
{
	if (__builtin_expect(!store_hit_right(&s->store, &hit, &p->tuple), 0))
		hit = store_find(&s->store, &p->tuple, hash);
	if (__builtin_expect(hit.what == STORE_CONN, 1)) {
		shard_forward_conn(s, p, hit.index, hit.dir);
	} else if (hit.what == STORE_ALIAS && !(p->flags & TRIPOD_PKT_ALIAS)) {
		hand_to(s, p, s->store.aliases[hit.index].owner, TRIPOD_PKT_ALIAS);
	} else {
		miss(s, p, hash);
	}
}

// An ICMP error belongs to the connection that it quotes: any node with a copy carries it through
// the rewriting, and nobody's role changes, since the switch hashed it on something else.
static void icmp_error(struct shard *s, struct tripod_packet *p)
{
	uint64_t hash = store_hash(&s->store, &p->tuple);
	struct store_hit hit = store_find(&s->store, &p->tuple, hash);
	bool others = (s->live & ~(1ull << s->conf->id)) != 0;

	if (hit.what == STORE_ALIAS && !(p->flags & TRIPOD_PKT_ALIAS)) {
		hand_to(s, p, s->store.aliases[hit.index].owner, TRIPOD_PKT_ALIAS);
		return;
	}
	if (hit.what == STORE_CONN && store_conn(&s->store, hit.index)->state == CONN_LIVE) {
		forward_icmp_through(s, p, hit.index, hit.dir);
		return;
	}
	bool asks = hit.what == STORE_MISS && others && shard_replicates(s) &&
		    !(p->flags & (TRIPOD_PKT_WAITED | TRIPOD_PKT_RELAYED));
	if (!asks || !pull_unknown(s, p, hash, PULL_BLIND | PULL_ROUNDS))
		shard_drop(s, p, C_drop_icmp_unknown);
}

// ---- A burst ----

static bool mac_equal(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, 6) == 0;
}

static void fabric(struct shard *s, struct tripod_packet *p)
{
	int kind = parse_fabric(p, CONTROL_PORT);

	if (!(p->flags & TRIPOD_PKT_HANDED)) {
		count(s, C_control_rx_packets);
		s->counters[C_control_rx_bytes] += p->len;
	}
	if (kind >= 0)
		shard_drop(s, p, kind);
	else if (kind == PARSE_CONTROL && p->vlan != 0)
		control_rx(s, p);
	else if (kind == PARSE_BFD && p->vlan == 0)
		local_bfd(s, p);
	else if ((kind == PARSE_ARP || kind == PARSE_ND) && p->vlan != 0)
		local_resolve(s, p, NEIGH_FABRIC);
	else
		shard_done(s, p->buf);
}

// Sorts a frame by VLAN and kind. true: p is a packet of a flow, to be looked up here.
static bool classify(struct shard *s, const struct frame *f, struct tripod_packet *p)
{
	const struct node_conf *conf = s->conf;
	const struct side_conf *side;
	enum tripod_direction direction;

	packet_begin(p, f);
	if (p->vlan == conf->side[TRIPOD_INCOMING].vlan ||
		p->vlan == conf->side[TRIPOD_INCOMING].relay_vlan) {
		direction = TRIPOD_INCOMING;
	} else if (p->vlan == conf->side[TRIPOD_OUTGOING].vlan ||
		   p->vlan == conf->side[TRIPOD_OUTGOING].relay_vlan) {
		direction = TRIPOD_OUTGOING;
	} else if (p->vlan == 0 || p->vlan == conf->fabric_vlan) {
		fabric(s, p);
		return false;
	} else {
		shard_drop(s, p, C_drop_vlan_unknown);
		return false;
	}
	side = &conf->side[direction];
	if (p->vlan != side->vlan) {
		p->flags |= TRIPOD_PKT_RELAYED;
		if (!(p->flags & (TRIPOD_PKT_HANDED | TRIPOD_PKT_WAITED))) // looked at before
			count(s, C_relay_rx);
	}
	if (p->len < 14) {
		shard_drop(s, p, C_drop_truncated);
		return false;
	}
	bool ours = mac_equal(p->data, side->gateway_mac) || mac_equal(p->data, conf->self.mac);
	if (!ours && !(p->data[0] & 1)) {
		shard_drop(s, p, C_drop_not_for_us);
		return false;
	}
	struct parse_limits limits = {.mtu = side->mtu};
	int kind = parse_frame(p, &limits, direction, 0);
	if (kind == PARSE_ARP || kind == PARSE_ND) {
		count(s, C_control_rx_packets);
		s->counters[C_control_rx_bytes] += p->len;
		local_resolve(s, p, (enum neigh_net)direction);
		return false;
	}
	if (kind >= 0 || !ours) {
		shard_drop(s, p, kind >= 0 ? kind : C_drop_not_for_us);
		return false;
	}
	if (kind != PARSE_FLOW && kind != PARSE_ICMP_ERROR) {
		shard_done(s, p->buf);
		return false;
	}
	if (kind == PARSE_ICMP_ERROR)
		p->hash = toeplitz_tuple(&p->tuple);
	else if (p->tuple.proto != IPPROTO_TCP && p->tuple.proto != IPPROTO_UDP && local_echo(s, p))
		return false;
	unsigned worker = toeplitz_worker(p->hash, conf->workers);
	if (worker != s->worker && !(p->flags & TRIPOD_PKT_HANDED)) {
		hand_to(s, p, worker, 0);
		return false;
	}
	if (kind == PARSE_ICMP_ERROR) {
		icmp_error(s, p);
		return false;
	}
	return true;
}

static void burst(struct shard *s, const struct frame *frames, unsigned n)
{
	struct tripod_packet packets[STEP_BURST];
	struct store_hit hit[STEP_BURST];
	uint64_t hash[STEP_BURST];
	unsigned n_flows = 0;

	for (unsigned i = 0; i < n; i++)
		__builtin_prefetch(frames[i].data);
	for (unsigned i = 0; i < n; i++) {
		struct tripod_packet *p = &packets[n_flows];
		if (!classify(s, &frames[i], p))
			continue;
		hash[n_flows] = store_hash(&s->store, &p->tuple);
		store_prefetch_bucket(&s->store, hash[n_flows]);
		n_flows++;
	}
	if (n_flows > 0)
		atomic_store_explicit(&s->workload_ns, s->now_ns, memory_order_relaxed);
	store_prefetch_records(&s->store, hash, hit, n_flows);
	for (unsigned i = 0; i < n_flows; i++)
		deliver(s, &packets[i], hash[i], hit[i]);
}

// ---- The step ----

static void alias_add(struct shard *s, unsigned from, const struct ring_message *m)
{
	uint32_t a = store_alias_new(&s->store);
	if (a == STORE_NONE) {
		count(s, C_drop_table_full);
		return;
	}
	struct alias *alias = &s->store.aliases[a];
	alias->key = m->alias.key;
	alias->incarnation = m->alias.incarnation;
	alias->conn = m->alias.conn;
	alias->owner = (uint16_t)from;
	// An alias of the same key is of a connection that has gone: the newer one takes its place.
	struct store_hit hit =
		store_find(&s->store, &alias->key, store_hash(&s->store, &alias->key));
	if (hit.what == STORE_ALIAS) {
		store_unindex_alias(&s->store, hit.index);
		store_alias_free(&s->store, hit.index);
	}
	conn_make_way(s, &alias->key);
	if (store_index_alias(&s->store, a) != 0) {
		count(s, C_drop_index_full);
		store_alias_free(&s->store, a);
		return;
	}
	if (m->node != 0xff)
		pull_found(s, &m->alias.key, m->final, m->node);
}

static void alias_del(struct shard *s, unsigned from, const struct ring_message *m)
{
	struct store_hit hit =
		store_find(&s->store, &m->alias.key, store_hash(&s->store, &m->alias.key));
	if (hit.what != STORE_ALIAS)
		return;
	const struct alias *alias = &s->store.aliases[hit.index];
	// The owner may have raised the record's incarnation since it told of the alias.
	if (alias->owner != from || alias->conn != m->alias.conn)
		return;
	store_unindex_alias(&s->store, hit.index);
	store_alias_free(&s->store, hit.index);
}

static void ring_message(struct shard *s, unsigned from, const struct ring_message *m)
{
	switch ((enum ring_type)m->type) {
	case RING_FRAME:
		break;
	case RING_ALIAS_ADD:
		alias_add(s, from, m);
		break;
	case RING_ALIAS_DEL:
		alias_del(s, from, m);
		break;
	case RING_NEIGH:
		local_learned(s, (enum neigh_net)m->net, &m->addr, m->mac, false);
		break;
	case RING_PEER:
		control_peer(s, m);
		break;
	case RING_DOUBT:
		control_doubt(s);
		break;
	case RING_CHAIN:
		fetch_want(s, m->chain, m->node);
		break;
	case RING_SERVE:
		pull_serve(s, &m->key, m->node, m->worker);
		break;
	case RING_INDEX:
	case RING_INDEX_FLUSH:
	case RING_INDEX_FLUSHED:
		index_ring(s, from, m);
		break;
	}
}

bool shard_has_room(const struct shard *s)
{
	return s->step->n_tx + TX_RESERVE < STEP_TX && s->step->n_done + TX_RESERVE < STEP_DONE;
}

// How soon the switch may give this node up.
static uint64_t patience_ns(const struct node_conf *conf)
{
	uint64_t bfd_ns = conf->bfd.tx_us * 1000ull * conf->bfd.multiplier;
	uint64_t dead_ns = conf->dead_after_ms * MS;

	return conf->bfd_enabled && bfd_ns < dead_ns ? bfd_ns : dead_ns;
}

// Everything that the other workers sent before now. The driver has received its burst before it
// called, so an alias posted before a packet left is here before the answer to that packet is
// looked up.
static void drain_rings(struct shard *s)
{
	struct frame frames[STEP_BURST];
	unsigned n = 0;

	for (unsigned w = 0; w < s->conf->workers; w++) {
		struct ring_message *m;
		if (w == s->worker)
			continue;
		while ((m = ring_peek(s->in[w])) != NULL) {
			if (m->type == RING_FRAME) {
				if (n == STEP_BURST || !shard_has_room(s)) {
					s->step->more = true;
					break;
				}
				frames[n++] = m->frame;
			} else {
				ring_message(s, w, m);
			}
			ring_pop(s->in[w]);
		}
	}
	burst(s, frames, n);
}

// An NF lets a packet go on that it had held.
static void go_on(struct shard *s, const struct waiting *w)
{
	struct tripod_packet p = {0};
	struct conn *c = store_conn(&s->store, w->conn);
	struct parse_limits limits = {.mtu = UINT16_MAX};
	packet_begin(&p, &w->frame);
	enum tripod_direction direction =
		p.vlan == s->conf->side[TRIPOD_INCOMING].vlan ||
				p.vlan == s->conf->side[TRIPOD_INCOMING].relay_vlan
			? TRIPOD_INCOMING
			: TRIPOD_OUTGOING;

	// The record may have ended, and even be another's, since the NF let the packet go.
	if (c->state != CONN_LIVE || c->incarnation != w->incarnation) {
		shard_drop(s, &p, C_drop_unknown);
		return;
	}
	bool incomplete = c->dir[1].key.proto == 0;
	enum run_result result = RUN_GONE;
	if (parse_frame(&p, &limits, direction, 0) == PARSE_FLOW)
		result = run_chain(s, &p, w->conn, w->dir, w->skip, incomplete);
	else
		shard_drop(s, &p, C_drop_invariant); // an NF has spoilt it
	if (result != RUN_OUT) {
		if (incomplete && !(c->flags & CONN_HELD))
			conn_free(s, w->conn);
		return;
	}
	int error = incomplete ? conn_complete(s, w->conn, &p) : 0;
	if (error != 0) {
		shard_drop(s, &p, conn_error_counter(error));
		return;
	}
	forward_out(s, &p, w->conn, w->dir);
}

static void run_again(struct shard *s)
{
	while (s->again_first != 0) {
		uint32_t i = s->again_first;
		struct waiting w = s->waiting[i];
		struct tripod_packet p;

		if (!shard_has_room(s)) {
			s->step->more = true;
			return;
		}
		s->again_first = w.next;
		shard_wait_free(s, i);
		if (w.lost) {
			count(s, C_drop_nf);
			shard_done(s, w.frame.buf);
		} else if (w.conn != STORE_NONE)
			go_on(s, &w);
		else if (classify(s, &w.frame, &p))
			deliver(s, &p, store_hash(&s->store, &p.tuple), (struct store_hit){0});
	}
}

// Answers a listing of connections a little at a time.
static void serve_query(struct shard *s)
{
	struct conn_query *q = s->query;
	if (q == NULL) {
		q = atomic_exchange_explicit(&s->posted, NULL, memory_order_acquire);
		if (q == NULL)
			return;
		q->n = 0;
		s->query = q;
	}
	for (unsigned i = 0; i < 256; i++) {
		if (q->cursor >= s->store.highest)
			q->cursor = UINT32_MAX;
		if (q->n == q->max || q->cursor == UINT32_MAX) {
			if (q->cursor == UINT32_MAX)
				q->cursor = 0;
			s->query = NULL;
			atomic_store_explicit(&q->done, 1, memory_order_release);
			return;
		}
		q->cursor++;
		if (store_conn(&s->store, q->cursor)->state != CONN_FREE)
			conn_view(s, q->cursor, &q->view[q->n++]);
	}
	s->step->more = true;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

// Connections and timers whose time has come, some at a time lest packets wait; the rest is overdue,
// and goes on in the next step.
static void expire(struct shard *s)
{
	bool congested = repl_congested(s); // each end is news for the holders
	unsigned conns = 0, timers = 0;
	struct timer t;
	uint32_t i;

	while (!congested && conns < DUE_MAX &&
		(i = store_wheel_due(&s->store, s->now)) != STORE_NONE) {
		conn_expire(s, i);
		conns++;
	}
	for (; timers < DUE_MAX && timers_due(&s->timers, s->now, &t); timers++) {
		const struct conn *c = store_conn(&s->store, t.conn);
		if (c->state == CONN_LIVE && c->incarnation == t.incarnation)
			run_timer(s, t.conn, t.nf);
	}
	s->step->more |= conns == DUE_MAX || timers == DUE_MAX;
	s->overdue = congested || conns == DUE_MAX || timers == DUE_MAX;
}

static void tick(struct shard *s)
{
	uint64_t next = s->now_ns + 20 * MS;

	if (s->now - s->valid_from > AGE_MAX)
		s->valid_from = s->now - AGE_MAX;
	expire(s);
	ready_worker_tick(s);
	if (s->timers.used > 0 || s->repair_at != 0)
		next = s->now_ns + TICK_PERIOD_NS;
	if (s->forgive_ns != 0 && s->now_ns >= s->forgive_ns) {
		s->forgive_ns = s->refusing = 0;
		repl_repair_start(s, false);
	}
	if (s->repair_at != 0 && shard_has_room(s))
		repl_repair(s);
	next = min64(next, pull_tick(s));
	next = min64(next, sync_tick(s));
	next = min64(next, request_tick(s));
	next = min64(next, neigh_tick(&s->neigh, s->step, &s->counters[C_drop_neighbour_timeout]));
	if (s->worker == 0) {
		next = min64(next, control_tick(s));
		next = min64(next, local_tick(s));
	}
	census_step(s);
	s->next_tick_ns = next;
}

void shard_step(struct shard *s, struct step *step)
{
	s->step = step;
	s->now_ns = step->now_ns;
	s->now = tick_of(step->now_ns);
	step->n_tx = 0;
	step->n_done = 0;
	step->more = false;
	chain_set_step(s);
	// This process stood still for as long as it takes the others to give it up: what it
	// remembers may have gone on elsewhere.
	if (s->now_ns - s->last_step_ns > s->conf->dead_after_ms * MS)
		control_doubt(s);
	session_keys(s);
	// So long that the switch may have sent its flows elsewhere: what lay here meanwhile has been sent
	// again since. An old SYN would open another life of a connection that goes on elsewhere.
	s->stale_rx |= s->now_ns - s->last_step_ns > patience_ns(s->conf);
	s->last_step_ns = s->now_ns;
	atomic_store_explicit(&s->progress,
		atomic_load_explicit(&s->progress, memory_order_relaxed) + 1, memory_order_relaxed);

	drain_rings(s);
	s->counters[C_rx_packets] += step->n_rx;
	for (unsigned i = 0; i < step->n_rx; i++)
		s->counters[C_rx_bytes] += step->rx[i].len;
	burst(s, step->rx, step->n_rx);
	// What is not full was the last that lay there.
	s->stale_rx = s->stale_rx && (step->n_rx == STEP_BURST || step->more);
	if (s->now_ns >= s->next_tick_ns)
		tick(s);
	else if (s->overdue && shard_has_room(s))
		expire(s);
	serve_query(s);
	index_step(s);
	run_again(s);
	if (s->ask_first != 0)
		pull_send(s);
	pull_none_flush(s);
	if (s->sync.ready != 0)
		sync_run(s);
	repl_lack_flush(s);
	request_flush(s);
	if (s->busy_nodes != 0)
		repl_flush(s);
	run_emit_end(s);
	step->wake_ns = min64(min64(s->next_tick_ns, repl_next_ns(s)), index_next_ns(s));
	s->counters[C_tx_packets] += step->n_tx;
	for (unsigned i = 0; i < step->n_tx; i++)
		s->counters[C_tx_bytes] += step->tx[i].len;
}
