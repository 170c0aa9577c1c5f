// SPDX-License-Identifier: BSD-3-Clause
// Replication. A record on the wire is the newest state of a connection, never history: what is
// queued is a connection, what is sent is what it has become by then, and merging it twice or out of
// order changes nothing. docs/PROTOCOL.md describes the records and the order of claims.
#include <netinet/in.h>

#include "core/shard.h"

#define BATCH 32 // records that fill a batch (B): it leaves at once
#define REF_FULL 0x80000000u // in a channel_ref: the whole record was sent
#define ACK_DELAY_NS (500 * 1000ull)
#define REPAIR_SCAN 256 // records looked at in one call

unsigned repl_worker(const struct shard *s, unsigned node, const struct tripod_tuple *key)
{
	unsigned workers = s->peer[node].workers;
	return workers <= 1 ? 0 : toeplitz_worker(toeplitz_tuple(key), workers);
}

static uint64_t self_bit(const struct shard *s)
{
	return 1ull << s->conf->id;
}

static void busy(struct shard *s, unsigned node, unsigned worker)
{
	s->busy[node] |= 1ull << worker;
	s->busy_nodes |= 1ull << node;
}

// ---- Sending ----

void repl_queue(struct shard *s, uint32_t i, unsigned node)
{
	struct conn_repl *r = store_repl(&s->store, i);
	uint64_t bit = 1ull << node;

	if ((r->queued & bit) || !s->peer[node].live)
		return;
	unsigned worker = repl_worker(s, node, &store_conn(&s->store, i)->dir[0].key);
	if (!channel_queue(&s->peer[node].channel[worker], i, s->now_ns)) {
		// The connection is unprotected until the repair comes by.
		count(s, C_log_queue_full);
		s->repair_next |= bit;
		if (s->repair_at == 0)
			s->repair_at = 1;
		return;
	}
	r->queued |= bit;
	busy(s, node, worker);
}

static void queue_all(struct shard *s, uint32_t i)
{
	uint64_t to = store_repl(&s->store, i)->holders & s->live & ~self_bit(s);

	for (; to != 0; to &= to - 1)
		repl_queue(s, i, (unsigned)__builtin_ctzll(to));
}

void repl_changed(struct shard *s, uint32_t i, unsigned parts)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);

	for (unsigned p = 0; p < PARTS; p++) {
		if ((parts & 1u << p) && r->part[p].writer == s->conf->id)
			r->part[p].version++;
	}
	c->stamp++;
	r->acked = self_bit(s);
	if (parts & 1u << PART_SHARED) {
		r->known = self_bit(s);
		r->part[PART_SHARED].handed = (uint8_t)c->stamp;
	}
	if (s->conf->durability == DURABILITY_NONE)
		return;
	if (c->flags & CONN_REPLICATED)
		queue_all(s, i);
}

void repl_protect(struct shard *s, uint32_t i)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	uint64_t others = s->live & ~self_bit(s);

	if (s->conf->durability == DURABILITY_NONE)
		return;
	unsigned copies = (unsigned)__builtin_popcountll(r->holders & others);
	if (copies < s->conf->backups && r->part[PART_SHARED].writer == s->conf->id) {
		uint64_t more = place_copies(
			s, &c->dir[0].key, others & ~r->holders, s->conf->backups - copies);
		if (more != 0) {
			r->holders |= more;
			c->flags |= CONN_REPLICATED;
			repl_changed(s, i, 1u << PART_SHARED);
			return;
		}
	}
	if (r->holders & others)
		c->flags |= CONN_REPLICATED;
	queue_all(s, i);
}

static uint32_t age_ms(const struct shard *s, tick_t seen)
{
	int32_t age = (int32_t)(s->now - seen);
	return age < 0 ? 0 : (uint32_t)(((uint64_t)age << TICK_SHIFT) / MS);
}

// What goes to a node that has the whole record (full == false: the directions handled here), or has
// not. nf holds the packed NF state while the record is encoded.
static void describe(struct shard *s, uint32_t i, bool full, uint8_t *nf, struct wire_record *w)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);

	*w = (struct wire_record){
		.op = c->state == CONN_TOMBSTONE ? WIRE_BURY : WIRE_PUT,
		.reason = c->reason,
		.key = c->dir[0].key,
		.incarnation = c->incarnation,
	};
	if (w->op == WIRE_BURY)
		return;
	w->flags = (c->flags & CONN_ANSWERED ? WIRE_RECORD_ANSWERED : 0) |
		   (c->flags & CONN_PINNED ? WIRE_RECORD_PINNED : 0);
	for (unsigned d = 0; d < 2; d++) {
		if (full || conn_masters(c, d))
			w->parts |= 1u << d;
		w->version[d] = r->part[d];
		w->dir[d].tcp_flags = c->dir[d].tcp.flags & TCP_DIR_DURABLE;
		w->dir[d].wscale = c->dir[d].tcp.wscale;
		w->dir[d].age_ms = age_ms(s, c->dir[d].seen);
	}
	if (!full)
		return;
	w->parts |= 1u << PART_SHARED;
	w->version[PART_SHARED] = r->part[PART_SHARED];
	w->reversed = c->dir[1].key;
	w->chain = s->chain->id;
	w->holders = r->holders;
	w->nf_size = s->chain->wire_size;
	w->nf = nf;
	chain_pack(s->chain, c->nf, nf);
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
	o->count = 0;
	o->urgent = false;
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
	c->ack_owed = false;
	control_send(s, &o->frame, &h, o->used);
	o->frame.buf = NULL;
	count(s, C_log_messages_tx);
}

// What an acknowledgement is compared with: how often the record has changed, and in which life.
static uint32_t stamp_of(const struct conn *c)
{
	return (uint32_t)c->incarnation << 16 | c->stamp;
}

// Adds record i to the open message of a channel, which is sent when it is full. false: no message
// can be opened now.
static bool add_record(struct shard *s, uint32_t i, unsigned node, unsigned worker, uint8_t flags)
{
	struct peer *peer = &s->peer[node];
	struct outgoing *o = &peer->out[worker];
	const struct conn_repl *r = store_repl(&s->store, i);
	bool full = flags != 0 || !(r->known & 1ull << node);
	uint8_t nf[1024];
	struct wire_record w;

	describe(s, i, full, nf, &w);
	w.flags |= flags;
	if (w.op == WIRE_PUT && w.parts == 0)
		return true; // nothing here that the node does not know: it was handed over meanwhile
	if (store_conn(&s->store, i)->dir[1].key.proto == 0 && w.op == WIRE_PUT)
		return true; // its first packet is still held by an NF: nobody else can go on with it
	for (unsigned try = 0; try < 2; try++) {
		if (!open_message(s, peer, worker))
			return false;
		int size = wire_put_record(
			control_body(&o->frame) + o->used, WIRE_BODY_MAX - o->used, &w);
		if (size > 0) {
			o->used += (uint16_t)size;
			o->count++;
			channel_message_add(o->message, i | (full ? REF_FULL : 0),
				stamp_of(store_conn(&s->store, i)));
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

void repl_answer(struct shard *s, uint32_t i, unsigned node, unsigned dir)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	unsigned worker = repl_worker(s, node, &c->dir[0].key);
	uint64_t bit = 1ull << node;

	if (!s->peer[node].live)
		return;
	// Nobody can know better than the master itself; nor than a holder whose master is gone, or is
	// the one who asks.
	unsigned master = r->part[dir].writer;
	bool final =
		conn_masters(c, dir) || !(shard_responsive(s) & 1ull << master) || master == node;
	r->holders |= bit;
	r->known &= ~bit;
	r->acked &= ~bit;
	c->flags |= CONN_REPLICATED;
	if (add_record(s, i, node, worker, WIRE_RECORD_ANSWER | (final ? WIRE_RECORD_FINAL : 0)))
		s->peer[node].out[worker].urgent = true;
	else
		repl_queue(s, i, node);
	busy(s, node, worker);
}

struct settled {
	struct shard *s;
	unsigned node;
};

static void on_acked(void *ctx, uint32_t ref, uint32_t stamp)
{
	struct settled *x = ctx;
	uint32_t i = ref & ~REF_FULL;
	const struct conn *c = store_conn(&x->s->store, i);
	struct conn_repl *r = store_repl(&x->s->store, i);
	uint64_t bit = 1ull << x->node;

	if (c->state == CONN_FREE || !(r->holders & bit) || stamp >> 16 != stamp_of(c) >> 16)
		return;
	// A whole record, and the shared part has not changed since it was sent.
	if (ref & REF_FULL && (int8_t)((uint8_t)stamp - r->part[PART_SHARED].handed) >= 0)
		r->known |= bit;
	if (c->stamp == (uint16_t)stamp) {
		r->known |= bit;
		r->acked |= bit;
	}
}

static void on_lost(void *ctx, uint32_t ref, uint32_t stamp)
{
	struct settled *x = ctx;
	uint32_t i = ref & ~REF_FULL;
	const struct conn *c = store_conn(&x->s->store, i);
	const struct conn_repl *r = store_repl(&x->s->store, i);
	uint64_t bit = 1ull << x->node;

	if (c->state != CONN_FREE && (r->holders & bit) && !(r->acked & bit))
		repl_queue(x->s, i, x->node);
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
	c->ack_owed = false;
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
	bool due = channel_queued(c) >= BATCH || o->urgent ||
		   (c->queued_since_ns != 0 &&
			   s->now_ns - c->queued_since_ns >= s->conf->flush_us * 1000ull);
	while (due && channel_queued(c) > 0 && s->step->n_tx + 8 < STEP_TX) {
		if (!open_message(s, peer, worker))
			break;
		uint32_t i = channel_pop(c);
		struct conn_repl *r = store_repl(&s->store, i);
		r->queued &= ~(1ull << node);
		if (store_conn(&s->store, i)->state == CONN_FREE || !(r->holders & 1ull << node))
			continue;
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
	if (c->ack_owed && s->now_ns - c->ack_since_ns >= ACK_DELAY_NS)
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
			const struct channel *c = &s->peer[node].channel[__builtin_ctzll(ws)];
			uint64_t at = channel_next_ns(c);
			if (c->queued_since_ns != 0 &&
				c->queued_since_ns + s->conf->flush_us * 1000ull < at)
				at = c->queued_since_ns + s->conf->flush_us * 1000ull;
			if (c->ack_owed && c->ack_since_ns + ACK_DELAY_NS < at)
				at = c->ack_since_ns + ACK_DELAY_NS;
			if (at < next)
				next = at;
		}
	}
	return next;
}

// ---- Receiving ----

static bool newer(const struct conn_version *a, const struct conn_version *b)
{
	if (a->epoch != b->epoch)
		return (int16_t)(a->epoch - b->epoch) > 0;
	if (a->version != b->version)
		return (int32_t)(a->version - b->version) > 0;
	return a->writer > b->writer;
}

static tick_t seen_of(const struct shard *s, uint32_t age)
{
	// An age beyond any time-out says no more than "long ago".
	return s->now - ticks_of_ms(age > 1u << 30 ? 1u << 30 : age);
}

static void merge_dir(struct shard *s, uint32_t i, unsigned d, const struct wire_record *w)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	tick_t seen = seen_of(s, w->dir[d].age_ms);

	// Flags only ever grow, so they are merged whoever claims the direction.
	c->dir[d].tcp.flags |= w->dir[d].tcp_flags & TCP_DIR_DURABLE;
	if (w->dir[d].tcp_flags & TCP_DIR_SYN)
		c->dir[d].tcp.wscale = w->dir[d].wscale;
	if ((int32_t)(seen - c->dir[d].seen) > 0)
		c->dir[d].seen = seen;
	if (!newer(&w->version[d], &r->part[d]))
		return;
	if (conn_masters(c, d) && w->version[d].writer != s->conf->id) {
		if (w->version[d].epoch == r->part[d].epoch)
			count(s, C_epoch_conflicts);
		count(s, C_handovers);
		c->flags &= (uint8_t) ~(CONN_MASTER_0 << d);
		c->dir[d].next_hop = 0;
		c->dir[d].next_hop_check = (uint16_t)s->now;
		r->part[d] = w->version[d];
		r->part[d].handed = 1;
		return;
	}
	uint8_t handed = r->part[d].handed;
	bool same = r->part[d].writer == w->version[d].writer;
	r->part[d] = w->version[d];
	r->part[d].handed = same ? handed : 0;
	if (r->part[d].writer == s->conf->id)
		c->flags |= (uint8_t)(CONN_MASTER_0 << d);
}

// Only then are the bytes of NF state what this node's chain makes of them, and as many.
static bool same_chain(const struct shard *s, const struct wire_record *w)
{
	return w->chain == s->chain->id && w->nf_size == s->chain->wire_size;
}

// false: what is fixed for ever differs, of one life: one of the two is wrong.
static bool merge_shared(struct shard *s, uint32_t i, const struct wire_record *w)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	uint8_t nf[1024];

	r->holders |= w->holders | self_bit(s);
	if (!newer(&w->version[PART_SHARED], &r->part[PART_SHARED]))
		return true;
	if (!same_chain(s, w)) {
		count(s, C_log_records_refused);
		return true;
	}
	memset(nf, 0, s->chain->state_size);
	chain_unpack(s->chain, w->nf, nf);
	if (chain_write_once_differs(s->chain, nf, c->nf))
		return false;
	chain_unpack(s->chain, w->nf, c->nf);
	r->part[PART_SHARED] = w->version[PART_SHARED];
	r->part[PART_SHARED].handed = (uint8_t)c->stamp;
	return true;
}

// A record that is not known here becomes a copy. Returns the record, or STORE_NONE when it could
// not be kept; then the sender is told.
static uint32_t install(struct shard *s, const struct wire_record *w, unsigned from, bool final)
{
	uint32_t i = STORE_NONE;

	if (same_chain(s, w))
		i = store_conn_new(&s->store);
	if (i == STORE_NONE) {
		count(s, C_log_records_refused);
		return STORE_NONE;
	}
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	c->dir[0].key = w->key;
	c->dir[1].key = w->reversed;
	c->incarnation = w->incarnation;
	c->state = CONN_LIVE;
	c->stamp = s->next_stamp += 257;
	c->flags = CONN_REPLICATED;
	if (w->flags & WIRE_RECORD_ANSWERED)
		c->flags |= CONN_ANSWERED;
	else
		s->store.embryonic++;
	if (w->flags & WIRE_RECORD_PINNED)
		c->flags |= CONN_PINNED;
	for (unsigned p = 0; p < PARTS; p++) {
		r->part[p] = w->version[p];
		r->part[p].handed = 0;
	}
	for (unsigned d = 0; d < 2; d++) {
		c->dir[d].tcp.flags = w->dir[d].tcp_flags & TCP_DIR_DURABLE;
		c->dir[d].tcp.wscale = w->dir[d].wscale;
		c->dir[d].seen = seen_of(s, w->dir[d].age_ms);
		if (r->part[d].writer == s->conf->id)
			c->flags |= (uint8_t)(CONN_MASTER_0 << d);
	}
	r->holders = w->holders | self_bit(s) | 1ull << from;
	r->acked = r->known = self_bit(s) | 1ull << from;
	chain_unpack(s->chain, w->nf, c->nf);
	if (conn_index(s, i, final) != 0) {
		count(s, C_log_records_refused);
		if (!(c->flags & CONN_ANSWERED))
			s->store.embryonic--;
		c->state = CONN_FREE;
		store_conn_free(&s->store, i);
		return STORE_NONE;
	}
	conn_rewheel(s, i);
	return i;
}

// Is this node the one whose word counts: does it handle the connection, and did so more lately than
// whoever sent w?
static bool handles_better(const struct shard *s, const struct conn *c, const struct wire_record *w)
{
	return c->state == CONN_LIVE && conn_masters(c, 0) && !conn_uncertain(s, c, 0) &&
	       age_ms(s, c->dir[0].seen) < w->dir[0].age_ms;
}

static void ask_whole(struct shard *s, const struct tripod_tuple *key, unsigned node)
{
	struct wire_header h;
	struct frame f;

	if (!control_begin(s, &f))
		return;
	control_header(s, &h, WIRE_PULL, node, WIRE_ANY);
	h.count = 1;
	int size = wire_put_tuple(
		control_body(&f) + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, key);
	control_send(s, &f, &h, (uint16_t)(WIRE_HEADER_SIZE + size));
}

// Another life of the same key. Returns the record that w installed, if it did.
static uint32_t other_incarnation(struct shard *s, uint32_t i, const struct wire_record *w,
	unsigned from, unsigned from_worker, bool final)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	bool full = w->op == WIRE_PUT && (w->parts & 1u << PART_SHARED);

	if (w->incarnation < c->incarnation) {
		// The sender does not know the newer life: it is told.
		count(s, C_log_records_stale);
		r->holders |= 1ull << from;
		r->known &= ~(1ull << from);
		r->acked &= ~(1ull << from);
		c->flags |= CONN_REPLICATED;
		repl_queue(s, i, from);
		return STORE_NONE;
	}
	if (w->op == WIRE_BURY) {
		// What was buried elsewhere was younger than what is here.
		if (c->state == CONN_LIVE)
			conn_bury(s, i, (enum tripod_reason)w->reason);
		c->incarnation = w->incarnation;
		count(s, C_tombstones);
		return STORE_NONE;
	}
	if (handles_better(s, c, w)) {
		// Packets arrive here, so this life goes on, above both.
		count(s, C_epoch_conflicts);
		c->incarnation = w->incarnation + 1;
		r->holders |= 1ull << from;
		c->flags |= CONN_REPLICATED;
		repl_changed(s, i, 1u << PART_SHARED);
		return STORE_NONE;
	}
	if (!full) {
		ask_whole(s, &w->key, from);
		return STORE_NONE;
	}
	if (!same_chain(s, w) || !conn_free(s, i)) {
		count(s, C_log_records_refused);
		pull_say_none(s, &w->key, from, from_worker);
		return STORE_NONE;
	}
	return install(s, w, from, final);
}

// The same life, both alive.
static void merge(struct shard *s, uint32_t i, const struct wire_record *w, unsigned from)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	bool stale = false, had_more = c->flags & CONN_ANSWERED;

	for (unsigned d = 0; d < 2; d++) {
		if (!(w->parts & 1u << d))
			continue;
		stale |= (int16_t)(r->part[d].epoch - w->version[d].epoch) > 0;
		merge_dir(s, i, d, w);
	}
	if ((w->parts & 1u << PART_SHARED) && !merge_shared(s, i, w)) {
		count(s, C_drop_invariant);
		conn_close(s, i, TRIPOD_TERMINATED);
		return;
	}
	if (w->flags & WIRE_RECORD_PINNED)
		c->flags |= CONN_PINNED;
	if ((w->flags & WIRE_RECORD_ANSWERED) && !had_more)
		conn_answered(s, i);
	r->holders |= 1ull << from;
	c->flags |= CONN_REPLICATED;
	if (stale) {
		// An old master that does not know of the take-over yet.
		count(s, C_log_records_stale);
		r->acked &= ~(1ull << from);
		r->known &= ~(1ull << from);
		repl_queue(s, i, from);
	}
	bool reset = (c->dir[0].tcp.flags | c->dir[1].tcp.flags) & TCP_DIR_RST;
	if (reset && r->part[PART_SHARED].writer == s->conf->id && c->state == CONN_LIVE &&
		c->dir[0].key.proto != IPPROTO_TCP)
		conn_close(s, i, TRIPOD_TERMINATED);
	else
		conn_rewheel(s, i);
}

static void record_rx(
	struct shard *s, const struct wire_record *w, unsigned from, unsigned from_worker)
{
	bool final = w->flags & WIRE_RECORD_FINAL;
	struct store_hit hit = store_find(&s->store, &w->key, store_hash(&s->store, &w->key));
	uint32_t i = hit.index;

	count(s, C_log_records_rx);
	if (hit.what != STORE_CONN || hit.dir != 0) {
		if (w->op == WIRE_BURY)
			return;
		if (!(w->parts & 1u << PART_SHARED)) {
			ask_whole(s, &w->key, from);
			return;
		}
		if (install(s, w, from, final) == STORE_NONE) {
			pull_say_none(s, &w->key, from, from_worker);
			return;
		}
	} else {
		struct conn *c = store_conn(&s->store, i);
		if (w->incarnation != c->incarnation) {
			other_incarnation(s, i, w, from, from_worker, final);
		} else if (c->state == CONN_TOMBSTONE) {
			if (w->op == WIRE_PUT) {
				// Nothing is reborn: the sender has not heard of the end.
				count(s, C_log_records_stale);
				store_repl(&s->store, i)->holders |= 1ull << from;
				repl_queue(s, i, from);
			}
		} else if (w->op == WIRE_BURY) {
			count(s, C_tombstones);
			conn_bury(s, i, (enum tripod_reason)w->reason);
		} else {
			merge(s, i, w, from);
		}
	}
	if (w->flags & WIRE_RECORD_ANSWER) {
		pull_found(s, &w->key, final, from);
		if (w->parts & 1u << PART_SHARED)
			pull_found(s, &w->reversed, final, from);
	}
}

// Could a node have made this record? Protocol 0 marks a reversed tuple that is not known yet, and an
// incarnation near the end would leave no room for another life above it.
static bool possible(const struct wire_record *w)
{
	switch (w->key.proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return w->incarnation <= INCARNATION_MAX;
	default:
		return false;
	}
}

void repl_rx(struct shard *s, struct peer *peer, const struct wire_header *h, const uint8_t *body,
	uint16_t len)
{
	struct channel *c = &peer->channel[h->from_worker];
	struct settled acked = {s, h->from_node};
	uint16_t at = 0;

	channel_acked(c, h->ack, h->ack_bits, s->now_ns, on_acked, &acked);
	if (h->seq == 0)
		return;
	busy(s, h->from_node, h->from_worker);
	if (channel_received(c, h->seq, s->now_ns) != CHANNEL_NEW)
		return;
	for (unsigned n = 0; n < h->count; n++) {
		struct wire_record w;
		int size = wire_get_record(body + at, len - at, &w);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		at += (uint16_t)size;
		unsigned worker = s->conf->workers == 1 ? 0
							: toeplitz_worker(toeplitz_tuple(&w.key),
								  s->conf->workers);
		if (worker != s->worker || !possible(&w)) {
			count(s, C_drop_control_bad);
			continue;
		}
		record_rx(s, &w, h->from_node, h->from_worker);
	}
}

// ---- Repair ----

// The one who gives record i a new copy: its master, or while that is dead the lowest holder alive.
static bool responsible(struct shard *s, uint32_t i)
{
	struct conn_repl *r = store_repl(&s->store, i);
	unsigned writer = r->part[PART_SHARED].writer;
	uint64_t holders = r->holders & s->live;

	if (writer == s->conf->id)
		return true;
	if ((s->live & 1ull << writer) || (unsigned)__builtin_ctzll(holders) != s->conf->id)
		return false;
	r->part[PART_SHARED] = (struct conn_version){
		.epoch = (uint16_t)(r->part[PART_SHARED].epoch + 1),
		.writer = s->conf->id,
		.handed = (uint8_t)store_conn(&s->store, i)->stamp,
	};
	return true;
}

// Looks at some records after a change of membership: who came back is sent what it should have, and
// what lost a copy gets another. Bounded in time and rate; packets go first.
bool repl_repair(struct shard *s)
{
	uint64_t cost = s->conf->repair_cost_ns;

	for (unsigned n = 0; n < REPAIR_SCAN; n++) {
		if (s->repair_at > s->store.capacity) {
			s->repair_nodes = s->repair_next;
			s->repair_reboot = 0;
			s->repair_at = s->repair_next != 0;
			s->repair_next = 0;
			return s->repair_at != 0;
		}
		uint32_t i = s->repair_at;
		const struct conn *c = store_conn(&s->store, i);
		struct conn_repl *r = store_repl(&s->store, i);
		s->repair_at++;
		if (c->state != CONN_LIVE || !(c->flags & CONN_ANSWERED))
			continue;
		r->acked &= ~s->repair_reboot;
		r->known &= ~s->repair_reboot;
		if (!responsible(s, i))
			continue;
		uint64_t again = r->holders & s->repair_nodes & s->live & ~r->acked;
		unsigned copies =
			(unsigned)__builtin_popcountll(r->holders & s->live & ~self_bit(s));
		unsigned others = (unsigned)__builtin_popcountll(s->live & ~self_bit(s));
		unsigned wanted = s->conf->backups < others ? s->conf->backups : others;
		if (again == 0 && copies >= wanted)
			continue;
		if (s->repair_tokens_ns > s->now_ns) {
			s->repair_at = i; // the rest when there is budget again
			return true;
		}
		if (s->repair_tokens_ns + 20 * MS < s->now_ns)
			s->repair_tokens_ns = s->now_ns - 20 * MS;
		s->repair_tokens_ns += cost;
		count(s, C_repairs);
		repl_protect(s, i);
	}
	return true;
}
