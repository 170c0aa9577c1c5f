// SPDX-License-Identifier: BSD-3-Clause
// The step of a worker. A burst goes through in three passes over its packets (parse and prefetch
// the index bucket; prefetch the record; act), so that the cache misses of a burst overlap.
#include "core/shard.h"

#include <netinet/in.h>

#define TICK_PERIOD_NS (2 * MS)
#define DUE_MAX 64 // connections, and timers, that come up in one step
#define TX_RESERVE 96 // places in step->tx that new packets leave free for what they cause
#define STALE_MAX 8192 // frames that may lie in a worker's queue while it stands still

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

// From which side p comes. false: from none, and it is taken.
static bool find_side(struct shard *s, struct tripod_packet *p, enum tripod_direction *direction)
{
	const struct node_conf *conf = s->conf;

	if (p->vlan == conf->side[TRIPOD_INCOMING].vlan ||
		p->vlan == conf->side[TRIPOD_INCOMING].relay_vlan) {
		*direction = TRIPOD_INCOMING;
		return true;
	}
	if (p->vlan == conf->side[TRIPOD_OUTGOING].vlan ||
		p->vlan == conf->side[TRIPOD_OUTGOING].relay_vlan) {
		*direction = TRIPOD_OUTGOING;
		return true;
	}
	if (p->vlan == 0 || p->vlan == conf->fabric_vlan)
		fabric(s, p);
	else if (conf->predict_vlan != 0 && p->vlan >= conf->predict_vlan &&
		 p->vlan < conf->predict_vlan + PREDICT_VLANS)
		predicate_rx(s, p);
	else
		shard_drop(s, p, C_drop_vlan_unknown);
	return false;
}

// Sorts a frame by VLAN and kind. true: p is a packet of a flow, or a later fragment, to be looked up here.
static bool classify(struct shard *s, const struct frame *f, struct tripod_packet *p)
{
	const struct node_conf *conf = s->conf;
	enum tripod_direction direction;

	packet_begin(p, f);
	if (!find_side(s, p, &direction))
		return false;
	const struct side_conf *side = &conf->side[direction];
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
	if (kind != PARSE_FLOW && kind != PARSE_ICMP_ERROR && kind != PARSE_FRAGMENT) {
		shard_done(s, p->buf);
		return false;
	}
	if (kind == PARSE_ICMP_ERROR)
		p->hash = toeplitz_tuple(&p->tuple);
	else if (kind == PARSE_FLOW && p->tuple.proto != IPPROTO_TCP &&
		 p->tuple.proto != IPPROTO_UDP && local_echo(s, p))
		return false;
	unsigned worker = toeplitz_worker(p->hash, conf->workers);
	if (worker != s->worker && !(p->flags & TRIPOD_PKT_HANDED)) {
		shard_hand_to(s, p, worker, 0);
		return false;
	}
	if (kind == PARSE_ICMP_ERROR) {
		shard_icmp_error(s, p);
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
	bool switched = false; // a packet comes from the switch, and not from another node

	for (unsigned i = 0; i < n; i++)
		__builtin_prefetch(frames[i].data);
	for (unsigned i = 0; i < n; i++) {
		struct tripod_packet *p = &packets[n_flows];
		if (!classify(s, &frames[i], p))
			continue;
		hash[n_flows] = store_hash(&s->store, &p->tuple);
		store_prefetch_bucket(&s->store, hash[n_flows]);
		switched |= !(p->flags & TRIPOD_PKT_RELAYED);
		n_flows++;
	}
	if (switched)
		atomic_store_explicit(&s->workload_ns, s->now_ns, memory_order_relaxed);
	store_prefetch_records(&s->store, hash, hit, n_flows);
	for (unsigned i = 0; i < n_flows; i++)
		shard_deliver(s, &packets[i], hash[i], hit[i]);
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
	conn_make_way(s, &alias->key, m->answered);
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
		control_doubt(s, m->absent_ns, true);
		break;
	case RING_CHAIN:
		fetch_want(s, m->chain, m->node);
		break;
	case RING_SERVE:
		pull_serve(s, &m->key, m->has, m->node, m->worker);
		break;
	case RING_KIND:
		kind_ring(s, from, m);
		break;
	case RING_FRAGMENT:
		fragment_ring(s, m);
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
#define SLOW_NS (1000 * MS) // who has been late so lately is slow

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
			conn_abandon(s, w->conn);
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
			count(s, w.conn != STORE_NONE ? C_drop_nf : C_drop_wait_timeout);
			shard_done(s, w.frame.buf);
		} else if (w.conn != STORE_NONE)
			go_on(s, &w);
		else if (classify(s, &w.frame, &p))
			shard_deliver(
				s, &p, store_hash(&s->store, &p.tuple), (struct store_hit){0});
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
	if (s->now - s->forgotten_from > AGE_MAX)
		s->forgotten_from = s->now - AGE_MAX;
	if (s->now - s->absent_from > AGE_MAX)
		s->absent_from = s->now - AGE_MAX;
	if (s->now - s->awake_from > AGE_MAX)
		s->awake_from = s->now - AGE_MAX;
	expire(s);
	ready_worker_tick(s);
	if (s->timers.used > 0 || s->repair_at != 0)
		next = s->now_ns + TICK_PERIOD_NS;
	if (s->forgive_ns != 0 && s->now_ns >= s->forgive_ns) {
		s->repair_nodes |= s->refusing; // may be listed without having been sent a copy
		s->forgive_ns = s->refusing = 0;
		repl_repair_start(s, false);
	}
	if (s->repair_at != 0 && shard_has_room(s))
		repl_repair(s);
	next = min64(next, pull_tick(s));
	next = min64(next, sync_tick(s));
	next = min64(next, request_tick(s));
	next = min64(next, kind_tick(s));
	next = min64(next, fragment_tick(s));
	next = min64(next, predict_tick(s));
	next = min64(next, neigh_tick(&s->neigh, s->step, &s->counters[C_drop_neighbour_timeout]));
	if (s->worker == 0) {
		next = min64(next, control_tick(s));
		next = min64(next, local_tick(s));
	}
	census_step(s);
	s->next_tick_ns = next;
}

// How long has it been since the last step, and what follows from that?
static void look_at_clock(struct shard *s)
{
	// This process stood still for as long as it takes the others to give it up: what it
	// remembers may have gone on elsewhere.
	if (s->now_ns - s->last_step_ns > s->conf->dead_after_ms * MS) {
		control_doubt(s, s->now_ns - s->last_step_ns, true);
		s->awake_from = s->now;
	}
	session_keys(s);
	// So long that the switch may have sent its flows elsewhere: what lay here meanwhile has been sent
	// again since. An old SYN would open another life of a connection that goes on elsewhere.
	// But a worker that is late again and again has not stood still, it has no time: whatever comes to it
	// has lain there, and is sent to nobody else.
	uint64_t gap_ns = s->now_ns - s->last_step_ns;
	if (gap_ns > patience_ns(s->conf)) {
		if (s->now_ns - s->late_ns > gap_ns + SLOW_NS) {
			s->stale_rx = true;
			s->stale_left = STALE_MAX;
		}
		s->late_ns = s->now_ns;
	}
	// And so long that tombstones may be gone of what has ended meanwhile: half, for the others first have
	// to see that this node is back.
	s->old_rx |= s->now_ns - s->last_step_ns > s->conf->tombstone_ms * MS / 2;
	s->last_step_ns = s->now_ns;
	atomic_store_explicit(&s->progress,
		atomic_load_explicit(&s->progress, memory_order_relaxed) + 1, memory_order_relaxed);
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
	look_at_clock(s);

	drain_rings(s);
	s->counters[C_rx_packets] += step->n_rx;
	for (unsigned i = 0; i < step->n_rx; i++)
		s->counters[C_rx_bytes] += step->rx[i].len;
	burst(s, step->rx, step->n_rx);
	// What is not full was the last that lay there. Under load bursts are always full.
	s->stale_left -= step->n_rx < s->stale_left ? step->n_rx : s->stale_left;
	bool more = s->stale_left > 0 && (step->n_rx == STEP_BURST || step->more);
	s->stale_rx = s->stale_rx && more;
	s->old_rx = s->old_rx && more;
	if (s->now_ns >= s->next_tick_ns)
		tick(s);
	else if (s->overdue && shard_has_room(s))
		expire(s);
	serve_query(s);
	index_step(s);
	kind_step(s);
	run_again(s);
	fragment_step(s);
	if (s->ask_first != 0)
		pull_send(s);
	pull_none_flush(s);
	predicate_flush(s);
	if (s->sync.ready != 0)
		sync_run(s);
	repl_lack_flush(s);
	request_flush(s);
	place_step(s);
	if (s->busy_nodes != 0)
		repl_flush(s);
	run_emit_end(s);
	step->wake_ns = min64(min64(s->next_tick_ns, repl_next_ns(s)), index_next_ns(s));
	step->wake_ns = min64(step->wake_ns, place_next_ns(s));
	step->wake_ns = min64(step->wake_ns, kind_next_ns(s));
	s->counters[C_tx_packets] += step->n_tx;
	for (unsigned i = 0; i < step->n_tx; i++)
		s->counters[C_tx_bytes] += step->tx[i].len;
}
