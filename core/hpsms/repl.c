// SPDX-License-Identifier: BSD-3-Clause
// Replication. A record on the wire is the newest state of a connection, never history: what is
// queued is a connection, what is sent is what it has become by then, and merging it twice or out of
// order changes nothing. docs/PROTOCOL.md describes the records and the order of claims.
#include "core/hpsms/repl.h"

#include "core/defect.h"

#define REF_FULL 0x80000000u // in a channel_ref: the whole record was sent
#define ACK_DELAY_NS (4 * MS)
#define LATE 5 // times T, for what a copy can do without
#define REFUSED_NS (1000 * MS) // who had no room for a copy is not asked again so soon

unsigned repl_worker(const struct shard *s, unsigned node, const struct tripod_tuple *key)
{
	unsigned workers = s->peer[node].workers;
	return workers <= 1 ? 0 : toeplitz_worker(toeplitz_tuple(key), workers);
}

// ---- Sending ----

// patience: how many times T the record may wait for others, when none that is queued has less time.
static void queue(struct shard *s, uint32_t i, unsigned node, unsigned patience)
{
	struct conn_repl *r = store_repl(&s->store, i);
	uint64_t bit = 1ull << node;

	if (!s->peer[node].live)
		return;
	const struct conn *c = store_conn(&s->store, i);
	unsigned worker = repl_worker(s, node, &c->dir[0].key);
	struct outgoing *o = &s->peer[node].out[worker];
	if (c->flags & CONN_SYNCING)
		o->urgent = true;
	// Of a batch that was placed together, T counts from the first.
	uint64_t since_ns = s->placing->closing ? s->placing->since_ns : s->now_ns;
	uint64_t due_ns = since_ns + patience * s->conf->flush_us * 1000ull;
	if (channel_queued(&s->peer[node].channel[worker]) == 0 || due_ns < o->due_ns)
		o->due_ns = due_ns;
	if (holder_is(r, HOLDER_QUEUED, node))
		return;
	if (!channel_queue(&s->peer[node].channel[worker], i, since_ns)) {
		// The connection is unprotected until the repair comes by.
		count(s, C_log_queue_full);
		s->repair_next |= bit;
		if (s->repair_at == 0)
			s->repair_at = 1;
		return;
	}
	holders_mark(r, HOLDER_QUEUED, bit);
	repl_busy(s, node, worker);
}

void repl_queue(struct shard *s, uint32_t i, unsigned node)
{
	queue(s, i, node, 1);
}

static void queue_all(struct shard *s, uint32_t i, uint64_t nodes, unsigned patience)
{
	const struct conn_repl *r = store_repl(&s->store, i);

	nodes &= s->live & ~holders_with(r, HOLDER_ACKED) & ~repl_self(s);
	for (; nodes != 0; nodes &= nodes - 1)
		queue(s, i, (unsigned)__builtin_ctzll(nodes), patience);
}

void repl_queue_all(struct shard *s, uint32_t i, uint64_t nodes)
{
	queue_all(s, i, nodes, 1);
}

// Does a change made here become one of part p? That a record names this node does not make it the
// master of a direction: it may be of a former life.
static bool writes(const struct shard *s, const struct conn *c, struct conn_repl *r, unsigned p)
{
	if (p != PART_SHARED)
		return conn_masters(c, p);
	if (r->part[p].writer != s->conf->id)
		return false;
	if (r->former) {
		r->part[p].epoch++;
		r->part[p].version = 0;
	}
	r->former = 0;
	return true;
}

void repl_changed(struct shard *s, uint32_t i, unsigned parts)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);

	for (unsigned p = 0; p < PARTS; p++) {
		if ((parts & 1u << p) && writes(s, c, r, p))
			r->part[p].version++;
	}
	c->stamp++;
	c->published = (uint16_t)(conn_last_seen(c) >> 8); // ages go with it
	r->changed |= (parts & 3) | r->untold;
	r->untold = 0;
	holders_mark_only(r, HOLDER_ACKED, repl_self(s));
	if (parts & 1u << PART_SHARED) {
		holders_mark_only(r, HOLDER_KNOWN, repl_self(s));
		r->part[PART_SHARED].handed = (uint8_t)c->stamp;
	}
	if (conn_durability(c) == DURABILITY_SYNC && (c->flags & CONN_ANSWERED) &&
		!(parts & REPL_QUIET)) {
		c->flags |= CONN_SYNCING;
		c->waits |= parts & 1u << PART_SHARED ? 3 : parts & 3;
	}
	if (c->flags & CONN_REPLICATED)
		queue_all(s, i, r->holders, parts & REPL_LATE ? LATE : 1);
}

void repl_no_room(struct shard *s, uint32_t i, unsigned node, bool alone)
{
	struct conn_repl *r = store_repl(&s->store, i);
	uint64_t before = s->refusing;
	bool again = !r->refused;

	holders_remove(r, 1ull << node);
	s->refusing |= 1ull << node;
	r->refused = alone;
	if (s->forgive_ns == 0)
		s->forgive_ns = s->now_ns + REFUSED_NS;
	// What is refused for its own sake may be by every other node, too, and would go round among them: it
	// gets one more chance now, and the next in the round that comes then.
	if (!alone || again)
		repl_protect(s, i);
	if (alone)
		s->refusing = before;
	if (store_conn(&s->store, i)->flags & CONN_SYNCING)
		sync_review(s, i);
}

// Whoever has acknowledged that TCP has closed ends its copy by the same clock. The others are told.
void repl_ended(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);

	if (!conn_masters(c, 0) || !conn_masters(c, 1))
		repl_changed(s, i, 1u << PART_SHARED);
	else if (c->flags & CONN_REPLICATED)
		repl_queue_all(s, i, store_repl(&s->store, i)->holders);
}

void repl_adopt(struct shard *s, uint32_t i)
{
	struct conn_repl *r = store_repl(&s->store, i);
	struct conn_version *v = &r->part[PART_SHARED];

	r->former = 0;
	*v = (struct conn_version){.epoch = (uint16_t)(v->epoch + 1), .writer = s->conf->id};
	kind_review(s, i);
	store_conn(&s->store, i)->flags |= CONN_REPLICATED;
	repl_changed(s, i, 1u << PART_SHARED);
	conn_rewheel(s, i);
}

void repl_protect(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	bool shared = store_repl(&s->store, i)->part[PART_SHARED].writer == s->conf->id;

	// Of sync, the other direction's master does not wait for the shared part's to find another
	// backup. Both choose the same, if they see the same members.
	repl_give(s, i, shared || (c->flags & CONN_SYNCING));
}

void repl_give(struct shard *s, uint32_t i, bool more_copies)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);

	if (conn_durability(c) != DURABILITY_NONE && more_copies) {
		// Batches are for who writes the shared part, and goes on to.
		bool mine = r->part[PART_SHARED].writer == s->conf->id;
		uint64_t more = mine ? place_now(s, i) : place_missing(s, i);
		if (more != 0) {
			uint64_t others = r->holders & shard_responsive(s) & ~repl_self(s);
			r->alone |= repl_remember(s, c, others) == 0;
			trim_admit(s, i, more);
			c->flags |= CONN_REPLICATED;
			repl_changed(s, i, 1u << PART_SHARED | REPL_QUIET);
			return;
		}
	}
	if (r->holders & s->live & ~repl_self(s))
		c->flags |= CONN_REPLICATED;
	repl_queue_all(s, i, r->holders);
}

// What goes to a node that has the whole record (full == false: the directions handled here), or has
// not. nf holds the packed NF state while the record is encoded.
static void describe(
	struct shard *s, uint32_t i, bool full, bool asked, uint8_t *nf, struct wire_record *w)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);

	*w = (struct wire_record){
		.op = full ? WIRE_PUT : WIRE_UPDATE,
		.key = c->dir[0].key,
		.incarnation = c->incarnation,
		.flags = c->flags & CONN_SYNCING ? WIRE_RECORD_URGENT : 0,
	};
	if (c->state == CONN_TOMBSTONE) {
		w->op = WIRE_BURY;
		w->reason = c->reason;
	}
	if (w->op != WIRE_PUT)
		w->hash = store_hash(&s->store, &c->dir[0].key);
	if (w->op == WIRE_BURY)
		return;
	w->flags |= (c->flags & CONN_ANSWERED ? WIRE_RECORD_ANSWERED : 0) |
		    (c->flags & CONN_PINNED ? WIRE_RECORD_PINNED : 0);
	unsigned mine = (conn_masters(c, 0) ? 1u : 0) | (conn_masters(c, 1) ? 2u : 0);
	w->parts = full ? 3 : mine & r->changed ? mine & r->changed : mine;
	for (unsigned d = 0; d < 2; d++) {
		w->version[d] = r->part[d];
		w->dir[d].tcp_flags = c->dir[d].tcp.flags & TCP_DIR_DURABLE;
		if (w->dir[d].tcp_flags & TCP_DIR_WSCALE)
			w->dir[d].wscale = c->dir[d].tcp.wscale;
		// For who watches the other direction, as long as it waits for the acknowledgement.
		if ((c->dir[d].tcp.flags & TCP_DIR_FIN_SEEN) &&
			!(c->dir[!d].tcp.flags & TCP_DIR_FIN_ACKED)) {
			w->dir[d].tcp_flags |= TCP_DIR_FIN_SEEN;
			w->dir[d].fin = c->dir[d].tcp.end;
		}
		// For who sees which SYN+ACK the initiator takes: while something moves, another node may have opened it, too.
		if (c->dir[d].tcp.isn && !(c->dir[0].tcp.flags & TCP_DIR_ACK) &&
			(asked || shard_unsettled(s))) {
			w->dir[d].tcp_flags |= WIRE_DIR_ISN;
			w->dir[d].isn = c->dir[d].tcp.end;
		}
		w->dir[d].age_ms = repl_age_ms(s, c->dir[d].seen);
	}
	if (!full)
		return;
	if (conn_durability(c) != DURABILITY_ASYNC)
		w->flags |=
			conn_durability(c) == DURABILITY_SYNC ? WIRE_RECORD_SYNC : WIRE_RECORD_NONE;
	w->parts |= 1u << PART_SHARED;
	w->version[PART_SHARED] = r->part[PART_SHARED];
	w->reversed = c->dir[1].key;
	w->chain = conn_chain(s, c)->id;
	w->holders = r->holders;
	w->nf_size = conn_chain(s, c)->wire_size;
	w->nf = nf;
	chain_pack(conn_chain(s, c), c->nf, nf);
}

static bool open_message(struct shard *s, struct peer *peer, unsigned worker)
{
	struct outgoing *o = &peer->out[worker];

	if (o->frame.buf != NULL)
		return true;
	if (s->step->n_spare == 0)
		return false; // nothing is lost: the records wait for the next step
	o->message = channel_message_new(&peer->channel[worker], s->now_ns);
	if (o->message == NULL)
		return false;
	if (!control_begin(s, &o->frame)) {
		channel_message_cancel(&peer->channel[worker], o->message);
		o->frame.buf = NULL;
		return false;
	}
	o->used = WIRE_HEADER_SIZE;
	o->chain = 0;
	o->count = 0;
	return true;
}

static void send_message(struct shard *s, unsigned node, unsigned worker)
{
	struct peer *peer = &s->peer[node];
	struct channel *c = &peer->channel[worker];
	struct outgoing *o = &peer->out[worker];
	struct wire_header h;

	control_header(s, &h, WIRE_LOG, node, worker);
	h.count = o->count;
	h.seq = o->message->seq;
	h.ack = c->rx_ack;
	h.ack_bits = c->rx_bits;
	c->ack_owed = c->ack_now = false;
	control_send(s, &o->frame, &h, o->used);
	o->frame.buf = NULL;
	count(s, C_log_messages_tx);
}

// What an acknowledgement is compared with: how often the record has changed, and in which life.
static uint32_t stamp_of(const struct conn *c)
{
	return (uint32_t)c->incarnation << 16 | c->stamp;
}

// Adds w to the open message of a channel, which is sent when it is full. false: no message can be opened now.
static bool add(struct shard *s, const struct wire_record *w, unsigned node, unsigned worker,
	uint32_t ref, uint32_t stamp)
{
	struct peer *peer = &s->peer[node];
	struct outgoing *o = &peer->out[worker];

	for (unsigned try = 0; try < 2; try++) {
		if (!open_message(s, peer, worker))
			return false;
		int size = wire_put_record(
			control_body(&o->frame) + o->used, WIRE_BODY_MAX - o->used, w, &o->chain);
		if (size > 0) {
			o->used += (uint16_t)size;
			o->count++;
			channel_message_add(o->message, ref, stamp);
			count(s, C_log_records_tx);
			if (o->count == CHANNEL_REFS)
				send_message(s, node, worker);
			return true;
		}
		if (o->count == 0)
			return false; // never: a record fits into an empty message
		send_message(s, node, worker);
	}
	return false;
}

// The same of record i.
static bool add_record(struct shard *s, uint32_t i, unsigned node, unsigned worker, uint8_t flags)
{
	const struct conn_repl *r = store_repl(&s->store, i);
	bool full = flags != 0 || !holder_is(r, HOLDER_KNOWN, node);
	uint8_t nf[1024];
	struct wire_record w;

	describe(s, i, full, flags != 0, nf, &w);
	w.flags |= flags;
	if (w.op == WIRE_UPDATE && w.parts == 0)
		return true; // nothing here that the node does not know: it was handed over meanwhile
	if (store_conn(&s->store, i)->dir[1].key.proto == 0 && w.op != WIRE_BURY)
		return true; // its first packet is still held by an NF: nobody else can go on with it
	return add(
		s, &w, node, worker, i | (full ? REF_FULL : 0), stamp_of(store_conn(&s->store, i)));
}

static bool add_ending(struct shard *s, uint32_t ref, const struct ending *e)
{
	struct wire_record w = {
		.op = WIRE_BURY,
		.hash = e->hash,
		.incarnation = e->incarnation,
		.reason = e->reason,
	};

	return add(s, &w, e->node, e->worker, ref, (uint32_t)e->incarnation);
}

void repl_peer_lost(struct shard *s, unsigned node, bool rebooted)
{
	for (unsigned w = 0; w < s->conf->peer_workers; w++) {
		uint32_t i;
		while ((i = channel_pop(&s->peer[node].channel[w])) != 0) {
			if (!(i & REF_ENDING))
				holders_unmark(
					store_repl(&s->store, i), HOLDER_QUEUED, 1ull << node);
		}
	}
	if (rebooted)
		ending_forget(s, node);
}

// Whoever writes a part must know of a copy, or that would miss what is written from now on.
void repl_introduce(struct shard *s, uint32_t i, unsigned node)
{
	struct conn_repl *r = store_repl(&s->store, i);

	conn_hold(s, r, 1ull << node);
	trim_list(s, i, 0);
	uint64_t writers = repl_writers(r) & s->live & ~repl_self(s) & ~(1ull << node);
	if (writers == 0)
		return;
	if (repl_writers(r) & repl_self(s)) {
		repl_changed(s, i, 1u << PART_SHARED);
		return;
	}
	holders_unmark(r, HOLDER_ACKED, writers);
	holders_unmark(r, HOLDER_KNOWN, writers);
	repl_queue_all(s, i, writers);
}

void repl_hold(struct shard *s, uint32_t i, unsigned node)
{
	store_conn(&s->store, i)->flags |= CONN_REPLICATED;
	if (!(store_repl(&s->store, i)->holders & 1ull << node))
		repl_introduce(s, i, node);
}

void repl_owe(struct shard *s, uint32_t i, unsigned node)
{
	struct conn_repl *r = store_repl(&s->store, i);

	r->part[PART_SHARED].handed = (uint8_t)store_conn(&s->store, i)->stamp;
	repl_forget(r, node);
	repl_queue(s, i, node);
}

struct settled {
	struct shard *s;
	unsigned node;
};

static void on_lost(void *ctx, uint32_t ref, uint32_t stamp);

// A node asks, so it is there. What it has not acknowledged while it was not must not keep its answer
// waiting behind a full window.
static void make_room(struct shard *s, unsigned node, unsigned worker)
{
	struct channel *c = &s->peer[node].channel[worker];
	struct settled lost = {s, node};

	if (!channel_full(c))
		return;
	channel_hasten(c);
	s->counters[C_log_messages_lost] += channel_lost(c, s->now_ns, on_lost, &lost);
}

void repl_answer(struct shard *s, uint32_t i, unsigned node, unsigned dir)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	unsigned worker = repl_worker(s, node, &c->dir[0].key);

	if (!s->peer[node].live)
		return;
	// Nobody can know better than the master itself; nor than a holder whose master is gone. That it
	// is the one who asks says nothing: it asks because another may have taken over meanwhile. Nor does
	// the word of a node that was away and has heard nothing of it since, nor of a connection that is about
	// to end: its ports may have been opened anew elsewhere.
	unsigned master = r->part[dir].writer;
	bool final = (conn_masters(c, dir) || !(shard_responsive(s) & 1ull << master)) &&
		     !conn_uncertain(s, c, dir) && !conn_tcp_at(c, TCP_CLOSING);
	repl_hold(s, i, node);
	repl_forget(r, node);
	make_room(s, node, worker);
	if (add_record(s, i, node, worker, WIRE_RECORD_ANSWER | (final ? WIRE_RECORD_FINAL : 0)))
		s->peer[node].out[worker].urgent = true;
	else
		repl_queue(s, i, node);
	repl_busy(s, node, worker);
}

bool repl_answer_end(struct shard *s, uint32_t i, unsigned node)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	unsigned worker = repl_worker(s, node, &c->dir[0].key);

	if (c->state != CONN_TOMBSTONE || !(r->holders & 1ull << node) ||
		holder_is(r, HOLDER_ACKED, node))
		return false;
	make_room(s, node, worker);
	repl_queue(s, i, node);
	s->peer[node].out[worker].urgent = true;
	return true;
}

static void on_acked(void *ctx, uint32_t ref, uint32_t stamp)
{
	struct settled *x = ctx;

	if (ref & REF_ENDING) {
		ending_acked(x->s, ref, stamp, x->node);
		return;
	}
	uint32_t i = ref & ~REF_FULL;
	const struct conn *c = store_conn(&x->s->store, i);
	struct conn_repl *r = store_repl(&x->s->store, i);
	uint64_t bit = 1ull << x->node;

	if (c->state == CONN_FREE || !(r->holders & bit) || stamp >> 16 != stamp_of(c) >> 16)
		return;
	bool newest = c->stamp == (uint16_t)stamp;
	// What has not changed since and is to be sent again all the same is owed: this was sent before.
	bool owed = newest && holder_is(r, HOLDER_QUEUED, x->node);
	// A whole record, and the shared part has not changed since it was sent.
	if ((ref & REF_FULL) && !owed &&
		(newest || (int8_t)((uint8_t)stamp - r->part[PART_SHARED].handed) >= 0))
		holders_mark(r, HOLDER_KNOWN, bit);
	// What says that an update has arrived does not say that there was a record to apply it to:
	// if there was none, that has been said, or will be.
	if (newest && !owed && holder_is(r, HOLDER_KNOWN, x->node)) {
		holders_mark(r, HOLDER_ACKED, bit);
		r->alone = 0;
		if (holders_all(r, HOLDER_ACKED))
			r->changed = 0;
	}
	if (c->flags & CONN_SYNCING)
		sync_acked(x->s, i, x->node, (uint16_t)stamp);
}

void repl_acks(struct shard *s, unsigned node, unsigned worker, const struct wire_header *h)
{
	struct settled acked = {s, node};

	channel_acked(
		&s->peer[node].channel[worker], h->ack, h->ack_bits, s->now_ns, on_acked, &acked);
}

static void on_lost(void *ctx, uint32_t ref, uint32_t stamp)
{
	struct settled *x = ctx;

	if (ref & REF_ENDING) {
		if (!DEFECT(retransmission))
			ending_lost(x->s, ref, stamp, x->node);
		return;
	}
	uint32_t i = ref & ~REF_FULL;
	const struct conn *c = store_conn(&x->s->store, i);
	const struct conn_repl *r = store_repl(&x->s->store, i);

	if (!DEFECT(retransmission) && c->state != CONN_FREE && (r->holders & 1ull << x->node) &&
		!holder_is(r, HOLDER_ACKED, x->node))
		repl_queue(x->s, i, x->node);
}

void repl_refused(struct shard *s, unsigned node, unsigned worker, uint32_t seq)
{
	struct settled lost = {s, node};

	s->counters[C_log_messages_lost] +=
		channel_refused(&s->peer[node].channel[worker], seq, on_lost, &lost);
}

static void send_ack(struct shard *s, unsigned node, unsigned worker)
{
	struct channel *c = &s->peer[node].channel[worker];
	struct wire_header h;
	struct frame f;

	if (!control_begin(s, &f))
		return;
	control_header(s, &h, WIRE_LOG, node, worker);
	h.ack = c->rx_ack;
	h.ack_bits = c->rx_bits;
	c->ack_owed = c->ack_now = false;
	control_send(s, &f, &h, WIRE_HEADER_SIZE);
}

// Sends what is due on one channel. false: nothing is left to do on it.
static bool flush_channel(struct shard *s, unsigned node, unsigned worker)
{
	struct peer *peer = &s->peer[node];
	struct channel *c = &peer->channel[worker];
	struct outgoing *o = &peer->out[worker];
	struct settled lost = {s, node};

	s->counters[C_log_messages_lost] += channel_lost(c, s->now_ns, on_lost, &lost);
	bool ack_due = c->ack_owed && (c->ack_now || s->now_ns - c->ack_since_ns >= ACK_DELAY_NS);
	// An acknowledgement that has to go takes along what waits: one message and not two.
	bool due = channel_queued(c) >= s->conf->batch_records || o->urgent || ack_due ||
		   s->now_ns >= o->due_ns;
	while (due && channel_queued(c) > 0 && s->step->n_tx + 8 < STEP_TX) {
		if (!open_message(s, peer, worker))
			break;
		uint32_t i = channel_pop(c);
		if (i & REF_ENDING) {
			const struct ending *e = ending_due(s, i, node);
			if (e != NULL && !add_ending(s, i, e)) {
				ending_queue(s, i);
				break;
			}
			continue;
		}
		struct conn_repl *r = store_repl(&s->store, i);
		holders_unmark(r, HOLDER_QUEUED, 1ull << node);
		const struct conn *conn = store_conn(&s->store, i);
		if (conn->state == CONN_FREE || !(r->holders & 1ull << node))
			continue;
		// Queued by the life before: this one is not answered yet.
		if (conn->state == CONN_LIVE && !(conn->flags & CONN_REPLICATED))
			continue;
		if (conn->state == CONN_LIVE && conn_forgettable(s, conn) && pull_validate(s, i))
			continue; // queued again when it is known to live
		if (!add_record(s, i, node, worker, 0)) {
			repl_queue(s, i, node);
			break;
		}
	}
	if (o->frame.buf != NULL && o->count > 0)
		send_message(s, node, worker);
	if (o->frame.buf != NULL) {
		channel_message_cancel(c, o->message);
		shard_unspare(s, &o->frame);
		o->frame.buf = NULL;
	}
	if (channel_queued(c) == 0)
		o->urgent = false;
	if (ack_due && c->ack_owed) // not on a message
		send_ack(s, node, worker);
	return channel_queued(c) > 0 || c->ack_owed || channel_next_ns(c) != UINT64_MAX;
}

void repl_flush(struct shard *s)
{
	for (uint64_t nodes = s->busy_nodes; nodes != 0; nodes &= nodes - 1) {
		unsigned node = (unsigned)__builtin_ctzll(nodes);
		for (uint64_t ws = s->busy[node]; ws != 0; ws &= ws - 1) {
			unsigned worker = (unsigned)__builtin_ctzll(ws);
			if (!s->peer[node].live || !flush_channel(s, node, worker))
				s->busy[node] &= ~(1ull << worker);
		}
		if (s->busy[node] == 0)
			s->busy_nodes &= ~(1ull << node);
	}
}

bool repl_congested(const struct shard *s)
{
	for (uint64_t nodes = s->busy_nodes; nodes != 0; nodes &= nodes - 1) {
		unsigned node = (unsigned)__builtin_ctzll(nodes);
		for (uint64_t ws = s->busy[node]; ws != 0; ws &= ws - 1) {
			const struct channel *c = &s->peer[node].channel[__builtin_ctzll(ws)];
			if (channel_queued(c) > c->queue_mask / 2)
				return true;
		}
	}
	return false;
}

uint64_t repl_next_ns(struct shard *s)
{
	uint64_t next = UINT64_MAX;

	for (uint64_t nodes = s->busy_nodes; nodes != 0; nodes &= nodes - 1) {
		unsigned node = (unsigned)__builtin_ctzll(nodes);
		for (uint64_t ws = s->busy[node]; ws != 0; ws &= ws - 1) {
			unsigned worker = (unsigned)__builtin_ctzll(ws);
			struct channel *c = &s->peer[node].channel[worker];
			uint64_t at = channel_next_ns(c);
			const struct outgoing *o = &s->peer[node].out[worker];
			uint64_t due_ns = o->urgent ? s->now_ns : o->due_ns;
			// A full window opens with an acknowledgement, or with the time-out above.
			if (channel_queued(c) > 0 && !channel_full(c) && due_ns < at)
				at = due_ns;
			if (c->ack_owed && c->ack_since_ns + ACK_DELAY_NS < at)
				at = c->ack_since_ns + ACK_DELAY_NS;
			if (c->ack_owed && c->ack_now)
				at = s->now_ns;
			if (at < next)
				next = at;
		}
	}
	return next;
}
