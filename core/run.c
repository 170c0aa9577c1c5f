// SPDX-License-Identifier: BSD-3-Clause
// Running a chain: a plain loop over its NFs, and the calls that an NF may make meanwhile
// (include/tripod/nf.h).
#include <errno.h>
#include <netinet/in.h>

#include "core/shard.h"

#define GRANT_LATE_MS 20 // a question for it has been repeated once by then

// One packet's way through the chain; call comes first, so that the NF's handle leads back here.
struct run {
	struct tripod_call call;
	const struct chain *chain; // the connection's
	uint64_t (*counters)[NF_COUNTERS_MAX]; // of its NFs
	uint32_t conn;
	uint8_t dir;
	bool init, changed, terminated;
	bool requested; // on_request() is running
};

static struct run run_begin(struct shard *s, uint32_t i, unsigned dir, bool init)
{
	struct conn *c = store_conn(&s->store, i);

	return (struct run){
		.call =
			{
				.now_ns = s->now_ns,
				.from_initiator = dir == 0,
				.shard = s,
				.conn = c,
				.opening = &c->dir[0].key,
			},
		.chain = conn_chain(s, c),
		.counters = s->nf_counters[c->chain],
		.conn = i,
		.dir = (uint8_t)dir,
		.init = init,
	};
}

static inline void run_enter(struct run *r, unsigned position)
{
	const struct chain_nf *n = &r->chain->nf[position];

	r->call.instance = n->instance;
	r->call.state_offset = n->state_offset;
	r->call.state = ((struct conn *)r->call.conn)->nf + n->state_offset;
	r->call.counters = r->counters[position];
	r->call.nf = (uint8_t)position;
}

static void hold(struct run *r, struct shard *s, struct tripod_packet *p, unsigned skip)
{
	uint32_t *list = &s->held[r->conn & 255];
	struct conn *c = r->call.conn;
	unsigned n = 0;

	for (uint32_t w = *list; w != 0; w = s->waiting[w].next)
		n += s->waiting[w].conn == r->conn;
	uint32_t w = n < TRIPOD_HOLD_MAX ? shard_wait_new(s, p) : 0;
	if (w == 0) {
		shard_drop(s, p, C_drop_hold_full);
		return;
	}
	s->waiting[w].conn = r->conn;
	s->waiting[w].incarnation = c->incarnation;
	s->waiting[w].nf = r->call.nf;
	s->waiting[w].skip = (uint8_t)skip;
	s->waiting[w].dir = r->dir;
	s->waiting[w].next = *list;
	*list = w;
	c->flags |= CONN_HELD;
}

// Only the shared part's writer changes it, and ends the connection.
static bool may_write(const struct run *r, const struct shard *s)
{
	return r->init || store_repl(&s->store, r->conn)->part[PART_SHARED].writer == s->conf->id;
}

// What the NFs did beside their verdicts takes effect when the packet has passed.
static void run_end(struct run *r, struct shard *s)
{
	struct conn *c = r->call.conn;

	if (r->changed && !r->init && c->state == CONN_LIVE)
		repl_changed(s, r->conn, 1u << PART_SHARED);
	if (!r->terminated || c->state != CONN_LIVE)
		return;
	if (may_write(r, s))
		conn_close(s, r->conn, TRIPOD_TERMINATED);
	else
		request_terminate(s, r->conn);
}

enum run_result run_chain(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir,
	unsigned skip, bool init)
{
	bool incoming = tripod_packet_direction(p) == TRIPOD_INCOMING;
	struct run r = run_begin(s, i, dir, init);
	const struct chain *chain = r.chain;

	for (unsigned k = skip; k < chain->n; k++) {
		unsigned position = incoming ? k : chain->n - 1 - k;
		const struct tripod_nf *nf = chain->nf[position].nf;
		enum tripod_verdict verdict = TRIPOD_FORWARD;

		if (!init && nf->on_packet == NULL)
			continue;
		run_enter(&r, position);
		if (init && nf->on_init != NULL) {
			verdict = nf->on_init(&r.call, p);
			if (verdict != TRIPOD_FORWARD && verdict != TRIPOD_CONSUME) {
				shard_drop(s, p, C_drop_refused);
				return RUN_REFUSED;
			}
		}
		if (verdict == TRIPOD_FORWARD && nf->on_packet != NULL)
			verdict = nf->on_packet(&r.call, p);
		if (__builtin_expect(verdict == TRIPOD_FORWARD, 1))
			continue;
		if (verdict == TRIPOD_HOLD)
			hold(&r, s, p, k + 1);
		else if (verdict == TRIPOD_CONSUME)
			shard_done(s, p->buf);
		else
			shard_drop(s, p, C_drop_nf);
		run_end(&r, s);
		return RUN_GONE;
	}
	if (__builtin_expect(r.changed | r.terminated, 0))
		run_end(&r, s);
	return RUN_OUT;
}

void run_close(struct shard *s, uint32_t i, enum tripod_reason why)
{
	struct run r = run_begin(s, i, 0, false);

	for (unsigned k = 0; k < r.chain->n; k++) {
		run_enter(&r, k);
		if (r.chain->nf[k].nf->on_close != NULL)
			r.chain->nf[k].nf->on_close(&r.call, why);
	}
}

void run_timer(struct shard *s, uint32_t i, unsigned nf)
{
	struct run r = run_begin(s, i, 0, false);

	run_enter(&r, nf);
	if (r.chain->nf[nf].nf->on_timer != NULL)
		r.chain->nf[nf].nf->on_timer(&r.call);
	run_end(&r, s);
}

void run_request(struct shard *s, uint32_t i, unsigned nf, const void *data, size_t size)
{
	struct run r = run_begin(s, i, 0, false);

	run_enter(&r, nf);
	r.requested = true;
	r.changed = true; // that it has been applied, if nothing else
	r.chain->nf[nf].nf->on_request(&r.call, data, size);
	run_end(&r, s);
}

bool run_kind_claim(struct shard *s, uint32_t i, unsigned nf, struct tripod_kind_claim *out)
{
	struct run r = run_begin(s, i, 0, false);

	run_enter(&r, nf);
	return r.chain->nf[nf].nf->kind->claim(&r.call, out);
}

// A first packet that has waited for long, while flows move: another node may have opened the connection meanwhile, and
// been answered. Of TCP the initiator says which it takes; of others the next packet asks for it anew.
static bool waited_long(const struct shard *s, const struct conn *c)
{
	return c->dir[1].key.proto == 0 && c->dir[0].key.proto != IPPROTO_TCP && shard_moves(s) &&
	       (int32_t)(s->now - c->dir[0].seen) > (int32_t)ticks_of_ms(GRANT_LATE_MS);
}

void run_kind(struct shard *s, uint32_t i, unsigned nf, int result)
{
	struct run r = run_begin(s, i, 0, false);

	// Where nothing is granted, this may not be asked for ever.
	if (result == 0 && waited_long(s, r.call.conn)) {
		conn_abandon(s, i);
		return;
	}

	run_enter(&r, nf);
	r.chain->nf[nf].nf->on_kind(&r.call, result);
	// Of a connection whose first packet is still held nothing is left, no tombstone either: a flood of
	// what is refused would fill the table.
	if (r.terminated && ((struct conn *)r.call.conn)->dir[1].key.proto == 0 && conn_free(s, i))
		return;
	run_end(&r, s);
}

// Takes the packets of record i that this NF holds (nf < 0: any NF) off their list, oldest first. They
// go on, or are lost, later in this step or in the next: many at once are more than one step's output.
static void held_end(struct shard *s, uint32_t i, int nf, bool go_on)
{
	uint32_t *link = &s->held[i & 255], mine = 0;
	bool others = false;

	while (*link != 0) {
		uint32_t w = *link;
		if (s->waiting[w].conn != i || (nf >= 0 && s->waiting[w].nf != nf)) {
			others |= s->waiting[w].conn == i;
			link = &s->waiting[w].next;
			continue;
		}
		*link = s->waiting[w].next;
		s->waiting[w].next = mine;
		mine = w;
	}
	while (mine != 0) {
		uint32_t w = mine;
		mine = s->waiting[w].next;
		s->waiting[w].lost = !go_on;
		shard_again(s, w);
	}
	if (!others)
		store_conn(&s->store, i)->flags &= (uint8_t)~CONN_HELD;
}

void run_forget(struct shard *s, uint32_t i)
{
	struct conn *c = store_conn(&s->store, i);

	if (c->flags & CONN_HELD)
		held_end(s, i, -1, false);
	if (c->flags & CONN_TIMED) {
		for (unsigned nf = 0; nf < conn_chain(s, c)->n; nf++)
			timers_cancel(&s->timers, i, nf);
		c->flags &= (uint8_t)~CONN_TIMED;
	}
}

void run_raised(struct shard *s, uint32_t i, uint64_t before)
{
	const struct conn *c = store_conn(&s->store, i);

	for (uint32_t w = c->flags & CONN_HELD ? s->held[i & 255] : 0; w != 0;
		w = s->waiting[w].next) {
		if (s->waiting[w].conn == i && s->waiting[w].incarnation == before)
			s->waiting[w].incarnation = c->incarnation;
	}
	for (unsigned nf = 0; (c->flags & CONN_TIMED) && nf < conn_chain(s, c)->n; nf++)
		timers_raised(&s->timers, i, nf, c->incarnation);
}

// ---- The calls of the NF API ----

void *tripod_state_rw(struct tripod_call *call)
{
	struct run *r = (struct run *)call;
	struct shard *s = call->shard;

	if (!may_write(r, s)) {
		count(s, C_nf_write_refused);
		return NULL;
	}
	r->changed = true;
	return tripod_state_soft(call);
}

void *tripod_state_soft(struct tripod_call *call)
{
	return ((struct conn *)call->conn)->nf + call->state_offset;
}

int tripod_request(struct tripod_call *call, const void *data, size_t size)
{
	struct run *r = (struct run *)call;
	struct shard *s = call->shard;
	const struct tripod_nf *nf = r->chain->nf[call->nf].nf;

	if (nf->on_request == NULL || size > TRIPOD_REQUEST_MAX || r->requested)
		return -EINVAL;
	// Also where this node has come to write: what was asked first is applied first.
	if (request_under_way(s, r->conn)) {
		count(s, C_request_busy);
		return -EBUSY;
	}
	if (!may_write(r, s))
		return request_new(s, r->conn, call->nf, data, size);
	uint8_t from_initiator = call->from_initiator;
	r->requested = true;
	call->from_initiator = 1; // as where there is no packet
	nf->on_request(call, data, size);
	call->from_initiator = from_initiator;
	r->requested = false;
	return 0;
}

int tripod_kind_take(struct tripod_call *call)
{
	const struct run *r = (const struct run *)call;

	return r->chain->nf[call->nf].kind == 0 ? -EINVAL
						: kind_take(call->shard, r->conn, call->nf);
}

bool tripod_kind_look(const struct tripod_call *call, struct tripod_share *out)
{
	const struct run *r = (const struct run *)call;

	return r->chain->nf[call->nf].kind != 0 && kind_look(call->shard, r->conn, call->nf, out);
}

uint64_t tripod_random(struct tripod_call *call)
{
	return rng_next(&((struct shard *)call->shard)->rng);
}

uint64_t tripod_hash(const struct tripod_call *call, const void *data, size_t size)
{
	return store_hash_bytes(&((const struct shard *)call->shard)->store, data, size);
}

bool tripod_tuple_available(const struct tripod_call *call, const struct tripod_tuple *reversed)
{
	struct shard *s = call->shard;

	if (!atomic_load_explicit(&s->node->ports_clear, memory_order_relaxed)) {
		count(s, C_ports_unclear);
		return false;
	}
	if (s->conf->workers > 1 &&
		toeplitz_worker(toeplitz_tuple(reversed), s->conf->workers) != s->worker)
		return false;
	return store_find(&s->store, reversed, store_hash(&s->store, reversed)).what ==
		       STORE_MISS &&
	       !index_maybe_used(s, reversed);
}

enum tripod_affinity tripod_tuple_affinity(
	const struct tripod_call *call, const struct tripod_tuple *reversed)
{
	return predict_affinity(call->shard, call->opening, reversed);
}

void tripod_terminate(struct tripod_call *call)
{
	((struct run *)call)->terminated = true;
}

void tripod_durability(struct tripod_call *call, enum tripod_durability level)
{
	struct conn *c = call->conn;

	_Static_assert((int)TRIPOD_NONE == DURABILITY_NONE &&
			       (int)TRIPOD_ASYNC == DURABILITY_ASYNC &&
			       (int)TRIPOD_SYNC == DURABILITY_SYNC,
		"one order for both");
	if (!((struct run *)call)->init || level > TRIPOD_SYNC)
		return;
	if (!c->chosen || level > (enum tripod_durability)c->durability)
		c->durability = (uint8_t)level & 3;
	c->chosen = 1;
}

void tripod_pin(struct tripod_call *call)
{
	struct run *r = (struct run *)call;
	struct conn *c = call->conn;

	if (!(c->flags & CONN_PINNED)) {
		c->flags |= CONN_PINNED;
		r->changed = true;
	}
}

int tripod_timer_set(struct tripod_call *call, uint64_t delay_ns)
{
	struct run *r = (struct run *)call;
	struct shard *s = call->shard;
	struct conn *c = call->conn;
	// Ticks wrap: what is further away than half of them would be past.
	uint64_t ticks = delay_ns >> TICK_SHIFT;

	if (!timers_set(&s->timers, r->conn, c->incarnation, call->nf,
		    s->now + (ticks < TIMER_TICKS_MAX ? (tick_t)ticks : TIMER_TICKS_MAX) + 1)) {
		count(s, C_timer_full);
		return -ENOSPC;
	}
	c->flags |= CONN_TIMED;
	if (s->next_tick_ns > s->now_ns + (1ull << TICK_SHIFT))
		s->next_tick_ns = s->now_ns + (1ull << TICK_SHIFT);
	return 0;
}

void tripod_timer_cancel(struct tripod_call *call)
{
	timers_cancel(&((struct shard *)call->shard)->timers, ((struct run *)call)->conn, call->nf);
}

void tripod_release(struct tripod_call *call)
{
	if (((struct conn *)call->conn)->flags & CONN_HELD)
		held_end(call->shard, ((struct run *)call)->conn, call->nf, true);
}

struct tripod_packet *tripod_packet_new(
	struct tripod_call *call, const struct tripod_packet *p, bool to_sender, uint16_t size)
{
	struct shard *s = call->shard;
	uint16_t l4_size = p->tuple.proto == IPPROTO_TCP ? 20 : 8;
	uint16_t head = (uint16_t)(p->l3 + (p->v6 ? 40 : 20) + l4_size);
	struct frame f;

	run_emit_end(s);
	if (p->tuple.proto != IPPROTO_TCP && p->tuple.proto != IPPROTO_UDP)
		return NULL;
	if (!shard_spare_data(s, &f)) {
		count(s, C_drop_no_buffer);
		return NULL;
	}
	if (head + size > f.room) {
		shard_unspare(s, &f);
		count(s, C_drop_no_buffer);
		return NULL;
	}
	struct tripod_packet *q = &s->emit;
	*q = *p;
	q->data = f.data;
	q->buf = f.buf;
	q->room = f.room;
	q->len = (uint16_t)(head + size);
	q->payload_len = size;
	q->ttl = 64;
	q->flags = 0;
	packet_head(q, p, l4_size);
	memset(q->data + q->payload, 0, size);
	if (p->tuple.proto == IPPROTO_TCP)
		q->data[q->l4 + 12] = 5 << 4; // no options
	if (to_sender) {
		// The sender knows its connection by the tuple that it used, whatever NFs made of it since.
		const struct run *r = (const struct run *)call;
		const struct tripod_tuple *key = &((struct conn *)call->conn)->dir[r->dir].key;
		tripod_packet_set_src(q, &key->src, key->sport);
		tripod_packet_set_dst(q, &key->dst, key->dport);
		packet_swap(q);
	}
	s->emit_back = to_sender;
	return q;
}

void tripod_emit(struct tripod_call *call, struct tripod_packet *p)
{
	struct shard *s = call->shard;
	struct run *r = (struct run *)call;
	struct conn *c = call->conn;
	struct tripod_packet q = *p;

	if (p != &s->emit || p->buf == NULL)
		return; // sent already
	s->emit.buf = NULL;
	packet_finish(&q);
	if (r->changed && !r->init && conn_durability(c) == DURABILITY_SYNC &&
		c->state == CONN_LIVE) {
		r->changed = false;
		repl_changed(s, r->conn, 1u << PART_SHARED);
	}
	bool syncing = c->flags & CONN_SYNCING;
	if (s->emit_back) {
		if (!syncing || !sync_wait_back(s, &q, r->conn, !r->dir))
			forward_back(s, &q);
	} else if (!syncing || !sync_wait_out(s, &q, r->conn, r->dir, false)) {
		forward_now(s, &q, STORE_NONE, 0);
	}
}

void run_emit_end(struct shard *s)
{
	struct frame f = {.buf = s->emit.buf, .data = s->emit.data, .room = s->emit.room};

	if (f.buf == NULL)
		return;
	shard_unspare(s, &f);
	s->emit.buf = NULL;
}
