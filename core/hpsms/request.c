// SPDX-License-Identifier: BSD-3-Clause
// Requests: what an NF wants to change in a connection's shared part where this node does not write it,
// and ends that this node may not bring about itself.
//
// The one who asks repeats its request until all copies have it. The shared part's writer runs the NF's
// on_request() and notes the request in a *mark*, a few bytes of the shared part behind the NF's state:
// so whoever takes the shared part over has the effect and the mark, or neither, and what is repeated
// to it is applied once, or not again. A mark is of the node and boot that asked. One request of a
// connection is under way at a time, and a node counts its requests upwards, so one mark a node will do,
// and an old message that comes late finds a newer mark.
//
// When is it over? Seeing the mark in the copy here is not enough: the writer may have died before
// another copy had it. So the writer says APPLIED when every live holder has acknowledged its newest
// state, and none was lost within a second (who asks and has become the writer waits for the same); or the copy here shows the mark while the same writer has lived on for much longer than a log
// takes that is lost and sent again (a shared part that never rests is never acknowledged as a whole).
//
// To end a connection takes no mark: it has ended, or it has not.
#include <errno.h>

#include "core/hpsms/repl.h"

#define REPEAT_NS (10 * MS)
#define REPEAT_DOUBLINGS 4 // to 160 ms
#define SETTLED_NS (500 * MS)
#define LOST_NS (1000 * MS)

void request_init(struct shard *s, struct arena *a)
{
	uint32_t n = s->conf->requests;
	struct requests *q = &s->requests;

	q->pool = arena_take(a, ((size_t)n + 1) * sizeof(*q->pool));
	q->due_ns = UINT64_MAX;
	if (q->pool == NULL)
		return;
	for (uint32_t i = n; i > 0; i--) {
		q->pool[i].chain = q->free;
		q->free = i;
	}
}

// ---- The pool ----

static uint32_t *bucket(struct shard *s, uint64_t hash)
{
	return &s->requests.hash[hash & (REQUEST_HASH - 1)];
}

static uint32_t find(struct shard *s, uint64_t hash, uint64_t incarnation)
{
	const struct request *pool = s->requests.pool;
	uint32_t at = *bucket(s, hash);

	while (at != 0 && (pool[at].hash != hash || pool[at].incarnation != incarnation))
		at = pool[at].chain;
	return at;
}

// 0: all are in use, which is counted.
static uint32_t take(struct shard *s, uint64_t hash, uint64_t incarnation)
{
	struct requests *q = &s->requests;
	uint32_t at = q->free, *list = bucket(s, hash);

	if (at == 0) {
		count(s, C_request_full);
		return 0;
	}
	q->free = q->pool[at].chain;
	q->seq += q->seq == UINT32_MAX ? 2 : 1; // never 0
	q->pool[at] = (struct request){
		.hash = hash,
		.incarnation = incarnation,
		.chain = *list,
		.older = q->newest,
		.seq = q->seq,
	};
	*list = at;
	if (q->newest != 0)
		q->pool[q->newest].newer = at;
	else
		q->oldest = at;
	q->newest = at;
	q->used++;
	return at;
}

static void give_back(struct shard *s, uint32_t at)
{
	struct requests *q = &s->requests;
	struct request *e = &q->pool[at];
	uint32_t *link = bucket(s, e->hash);

	while (*link != at)
		link = &q->pool[*link].chain;
	*link = e->chain;
	if (e->older != 0)
		q->pool[e->older].newer = e->newer;
	else
		q->oldest = e->newer;
	if (e->newer != 0)
		q->pool[e->newer].older = e->older;
	else
		q->newest = e->older;
	e->chain = q->free;
	q->free = at;
	q->used--;
}

// ---- Messages ----

void request_flush(struct shard *s)
{
	struct wire_header h;

	if (s->requests.out.frame.buf == NULL)
		return;
	control_header(s, &h, (enum wire_type)s->requests.out.type, s->requests.out.node,
		s->requests.out.worker);
	h.count = s->requests.out.count;
	control_send(s, &s->requests.out.frame, &h, s->requests.out.used);
	s->requests.out.frame.buf = NULL;
}

// Room for an item of a message to a worker of a node; NULL: none now.
static uint8_t *item(struct shard *s, enum wire_type type, unsigned node, unsigned worker)
{
	struct requests *q = &s->requests;
	bool other = q->out.type != type || q->out.node != node || q->out.worker != worker;

	if (other || q->out.used + WIRE_REQUEST_ITEM_MAX > WIRE_BODY_MAX)
		request_flush(s);
	if (q->out.frame.buf == NULL) {
		if (s->step->n_spare <= STEP_SPARE_CONTROL || !shard_has_room(s))
			return NULL;
		if (!control_begin(s, &q->out.frame)) {
			q->out.frame.buf = NULL;
			return NULL;
		}
		q->out.type = type;
		q->out.node = (uint8_t)node;
		q->out.worker = (uint8_t)worker;
		q->out.used = WIRE_HEADER_SIZE;
		q->out.count = 0;
	}
	q->out.count++;
	return control_body(&q->out.frame) + q->out.used;
}

// false: later.
static bool ask(struct shard *s, const struct request *e, uint32_t i)
{
	unsigned node = store_repl(&s->store, i)->part[PART_SHARED].writer;
	unsigned worker = repl_worker(s, node, &store_conn(&s->store, i)->dir[0].key);
	struct wire_request w = {
		.hash = e->hash,
		.incarnation = e->incarnation,
		.seq = e->seq,
		.nf = WIRE_REQUEST_TERMINATE,
	};

	if (e->asks) {
		w.nf = e->nf;
		w.size = e->size;
		memcpy(w.data, e->data, e->size);
	}
	uint8_t *at = item(s, WIRE_REQUEST, node, worker);
	if (at == NULL)
		return false;
	s->requests.out.used += (uint16_t)wire_put_request(at, WIRE_REQUEST_ITEM_MAX, &w);
	count(s, C_requests_tx);
	return true;
}

static void say_applied(
	struct shard *s, const struct wire_request *w, unsigned node, unsigned worker)
{
	struct wire_applied a = {w->hash, w->incarnation, w->seq};
	uint8_t *at = item(s, WIRE_APPLIED, node, worker);

	if (at != NULL) // else when it asks again
		s->requests.out.used += (uint16_t)wire_put_applied(at, WIRE_REQUEST_ITEM_MAX, &a);
}

// ---- Marks ----

static uint32_t who_of(unsigned node, uint64_t boot)
{
	return (uint32_t)boot << 8 | node;
}

// Has the shared part, as it is here, this request of that boot, or a later one?
static bool marked(const struct shard *s, const struct conn *c, uint32_t who, uint32_t seq)
{
	struct chain_mark m[CHAIN_MARKS];

	memcpy(m, c->nf + conn_chain(s, c)->marks, sizeof(m));
	for (unsigned k = 0; k < CHAIN_MARKS && m[k].seq != 0; k++) {
		if (m[k].who == who)
			return (int32_t)(m[k].seq - seq) >= 0;
	}
	return false;
}

// The latest come first. With more nodes than there are marks, who has asked least lately is forgotten.
static void mark(const struct shard *s, struct conn *c, uint32_t who, uint32_t seq)
{
	uint8_t *at = c->nf + conn_chain(s, c)->marks;
	struct chain_mark m[CHAIN_MARKS];
	unsigned k = 0;

	memcpy(m, at, sizeof(m));
	while (k < CHAIN_MARKS - 1 && m[k].seq != 0 && (uint8_t)m[k].who != (uint8_t)who)
		k++;
	memmove(&m[1], &m[0], k * sizeof(m[0]));
	m[0] = (struct chain_mark){.seq = seq, .who = who};
	memcpy(at, m, sizeof(m));
}

static bool has_nf(const struct chain *chain, unsigned nf)
{
	return nf < chain->n && chain->nf[nf].nf->on_request != NULL;
}

// By the shared part's writer.
static void apply(struct shard *s, uint32_t i, const struct wire_request *w, uint32_t who)
{
	mark(s, store_conn(&s->store, i), who, w->seq);
	count(s, C_requests_applied);
	run_request(s, i, w->nf, w->data, w->size);
}

// Every copy that counts is as new as the one here.
static bool everywhere(const struct shard *s, uint32_t i)
{
	const struct conn_repl *r = store_repl(&s->store, i);

	return (r->holders & s->live & ~repl_self(s) & ~holders_with(r, HOLDER_ACKED)) == 0;
}

// A holder has been lost a moment ago. It may be alive, and only not be heard here: then packets go there, and it
// may take over with what it had before.
static bool lost_lately(const struct shard *s, uint32_t i)
{
	uint64_t left = store_repl(&s->store, i)->holders & ~s->live;

	for (; left != 0; left &= left - 1) {
		if (s->now_ns - s->peer[__builtin_ctzll(left)].lost_ns < LOST_NS)
			return true;
	}
	return false;
}

// ---- Asking ----

// Nothing can take it back any more.
static bool settled(struct shard *s, struct request *e, uint32_t i)
{
	const struct conn_version *v = &store_repl(&s->store, i)->part[PART_SHARED];

	if (!marked(s, store_conn(&s->store, i), who_of(s->conf->id, s->conf->boot), e->seq)) {
		e->seen_ns = 0;
		return false;
	}
	if (v->writer == s->conf->id && lost_lately(s, i))
		return false; // it may be this node that is not heard, and what others write may win
	if (v->writer == s->conf->id && everywhere(s, i))
		return true;
	if (e->seen_ns == 0 || e->seen_writer != v->writer || e->seen_epoch != v->epoch) {
		e->seen_ns = s->now_ns;
		e->seen_writer = v->writer;
		e->seen_epoch = v->epoch;
	}
	return (s->live >> v->writer & 1) && s->now_ns - e->seen_ns >= SETTLED_NS;
}

static bool writes(const struct shard *s, uint32_t i)
{
	return store_repl(&s->store, i)->part[PART_SHARED].writer == s->conf->id;
}

// This node has become the shared part's writer since it asked.
static void apply_own(struct shard *s, const struct request *e, uint32_t i)
{
	uint32_t who = who_of(s->conf->id, s->conf->boot);
	struct wire_request w = {.seq = e->seq, .nf = e->nf, .size = e->size};

	memcpy(w.data, e->data, e->size);
	if (!marked(s, store_conn(&s->store, i), who, e->seq))
		apply(s, i, &w, who);
}

static bool ended(const struct shard *s, const struct request *e, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);

	if (i == STORE_NONE || c->state != CONN_LIVE || c->incarnation != e->incarnation)
		return true;
	return e->asks && !has_nf(conn_chain(s, c), e->nf); // another one of that hash
}

static void over(struct shard *s, uint32_t at, bool lost)
{
	if (lost)
		count(s, C_requests_ended);
	give_back(s, at);
}

// The next thing to do for a request. The record of its connection is looked for each time: it may be
// another than before.
static void look_at(struct shard *s, uint32_t at)
{
	struct request *e = &s->requests.pool[at];
	uint32_t i = store_find_hash(&s->store, e->hash);

	if (ended(s, e, i)) {
		over(s, at, e->asks);
		return;
	}
	unsigned writer = store_repl(&s->store, i)->part[PART_SHARED].writer;
	if (!(s->live & 1ull << writer))
		repl_adopt(s, i); // packets come here, and nobody else is to be asked
	if (e->asks && writes(s, i))
		apply_own(s, e, i);
	if (e->asks && settled(s, e, i)) {
		e->asks = false;
		e->tries = 0;
	}
	bool gone = ended(s, e, i); // the NF has ended it
	if (!gone && !e->asks && e->terminate && writes(s, i)) {
		conn_close(s, i, TRIPOD_TERMINATED);
		gone = true;
	}
	if (gone || (!e->asks && !e->terminate)) {
		over(s, at, false);
		return;
	}
	e->next_ns = s->now_ns + (REPEAT_NS << e->tries);
	if (writes(s, i)) {
		e->tries = 0; // nobody to be asked
	} else if (!ask(s, e, i)) {
		e->next_ns = s->now_ns + 1 * MS;
	} else if (e->tries < REPEAT_DOUBLINGS) {
		e->tries++;
	}
}

static void due(struct shard *s, uint64_t at_ns)
{
	if (s->requests.due_ns > at_ns)
		s->requests.due_ns = at_ns;
	if (s->next_tick_ns > at_ns)
		s->next_tick_ns = at_ns;
}

// The first time: what is said now leaves at the end of this step.
static void begin(struct shard *s, uint32_t at)
{
	look_at(s, at);
	due(s, s->requests.pool[at].next_ns);
}

static uint64_t hash_of(const struct shard *s, const struct conn *c)
{
	return store_hash(&s->store, &c->dir[0].key);
}

bool request_under_way(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);

	return s->requests.used > 0 && find(s, hash_of(s, c), c->incarnation) != 0;
}

void request_raised(struct shard *s, uint32_t i, uint64_t before)
{
	const struct conn *c = store_conn(&s->store, i);
	uint32_t at = s->requests.used > 0 ? find(s, hash_of(s, c), before) : 0;

	if (at != 0)
		s->requests.pool[at].incarnation = c->incarnation;
}

int request_new(struct shard *s, uint32_t i, unsigned nf, const void *data, size_t size)
{
	const struct conn *c = store_conn(&s->store, i);
	uint32_t at = take(s, hash_of(s, c), c->incarnation);

	if (at == 0)
		return -ENOSPC;
	struct request *e = &s->requests.pool[at];
	e->asks = true;
	e->nf = (uint8_t)nf;
	e->size = (uint8_t)size;
	memcpy(e->data, data, size);
	begin(s, at);
	return 0;
}

void request_terminate(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	uint64_t hash = hash_of(s, c);
	uint32_t at = find(s, hash, c->incarnation);
	bool first = at == 0;

	if (first)
		at = take(s, hash, c->incarnation);
	if (at == 0)
		return;
	s->requests.pool[at].terminate = true;
	if (first)
		begin(s, at);
}

uint64_t request_tick(struct shard *s)
{
	struct requests *q = &s->requests;
	uint64_t next_ns = UINT64_MAX;

	if (s->now_ns < q->due_ns)
		return q->due_ns;
	for (uint32_t at = q->oldest, newer; at != 0; at = newer) {
		struct request *e = &q->pool[at];
		uint32_t used = q->used;
		newer = e->newer;
		if (e->next_ns <= s->now_ns)
			look_at(s, at);
		if (q->used == used && e->next_ns < next_ns)
			next_ns = e->next_ns;
	}
	q->due_ns = next_ns;
	return next_ns;
}

// ---- Receiving ----

// A request that is for another node, or comes too early: it will be repeated.
static void misdirected(struct shard *s, uint32_t i, unsigned from)
{
	count(s, C_request_misdirected);
	if (i == STORE_NONE || !(store_repl(&s->store, i)->holders & 1ull << from))
		return;
	// The sender may not have heard who writes the shared part now.
	repl_forget(store_repl(&s->store, i), from);
	repl_queue(s, i, from);
}

static void asked(struct shard *s, const struct wire_request *w, const struct wire_header *h)
{
	uint32_t i = store_find_hash(&s->store, w->hash);
	struct conn *c = store_conn(&s->store, i);
	unsigned from = h->from_node;

	if (i == STORE_NONE || c->incarnation != w->incarnation) {
		misdirected(s, STORE_NONE, from);
		return;
	}
	if (c->state != CONN_LIVE) {
		// The sender has not heard of the end.
		count(s, C_tombstone_hits);
		conn_hold(s, store_repl(&s->store, i), 1ull << from);
		repl_queue(s, i, from);
		return;
	}
	if (!writes(s, i)) {
		misdirected(s, i, from);
		return;
	}
	if (w->nf != WIRE_REQUEST_TERMINATE && !has_nf(conn_chain(s, c), w->nf)) {
		misdirected(s, STORE_NONE, from); // of another build, perhaps
		return;
	}
	repl_hold(s, i, from);
	uint32_t who = who_of(from, h->boot);
	if (w->nf == WIRE_REQUEST_TERMINATE)
		conn_close(s, i, TRIPOD_TERMINATED);
	else if (!marked(s, c, who, w->seq))
		apply(s, i, w, who);
	else if (everywhere(s, i) && !lost_lately(s, i))
		say_applied(s, w, from, h->from_worker);
}

void request_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	uint16_t at = 0;

	for (unsigned n = 0; n < h->count; n++) {
		struct wire_request w;
		int size = wire_get_request(body + at, len - at, &w);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		at += (uint16_t)size;
		asked(s, &w, h);
	}
}

void request_applied_rx(
	struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	uint16_t at = 0;

	for (unsigned n = 0; n < h->count; n++) {
		struct wire_applied a;
		int size = wire_get_applied(body + at, len - at, &a);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		at += (uint16_t)size;
		uint32_t k = find(s, a.hash, a.incarnation);
		struct request *e = &s->requests.pool[k];
		if (k == 0 || !e->asks || e->seq != a.seq)
			continue;
		e->asks = false;
		e->tries = 0;
		begin(s, k);
	}
}
