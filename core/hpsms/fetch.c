// SPDX-License-Identifier: BSD-3-Clause
// Fetching chains. A peer's heartbeat names a chain that is current there or has connections, or a
// record comes that belongs to one: if this node has not that chain, worker 0 asks who has it for its
// description, piece by piece, checks that the whole hashes to the id that was asked for, and hands it
// to the control thread, which knows how to make a chain of it (node_chain_text()). Nothing else that a
// peer says of a chain is believed. docs/PROTOCOL.md: CHAIN_ASK, CHAIN.
#include "core/hpsms/fetch.h"

#include "core/shard.h"

#define WINDOW 8 // pieces asked for at one time
#define REPEAT_NS (10 * MS) // what is not answered is asked for again
#define WANTS_PER_NODE 2 // who names more is not allowed to crowd out the others
#define TRIES 5 // then somebody else is asked
#define SERVE_COST_NS (1000 * MS / 8192) // a piece: so many a second at most are sent
#define SERVE_SAVED_NS (10 * MS)
#define REFUSED_NS (10 * 1000 * MS) // a chain that cannot be had is not asked for again so soon
#define NOBODY_NS (1000 * MS) // one that nobody gave
#define SPARE 16 // empty frames left for more important messages

void fetch_init(struct fetch *f, struct arena *a, uint32_t room)
{
	f->room = room == 0 ? FETCH_BYTES_STANDARD : room;
	f->bytes = arena_take(a, f->room);
}

static int state_of(const struct fetch *f)
{
	return atomic_load_explicit(&f->state, memory_order_acquire);
}

static bool held(const struct shard *s, uint64_t id)
{
	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		if (s->chain[k] != NULL && s->chain[k]->id == id)
			return true;
	}
	return false;
}

// ---- What is wanted ----

static bool refused(const struct fetch *f, uint64_t id, uint64_t now_ns)
{
	for (unsigned i = 0; i < FETCH_REFUSALS; i++) {
		if (f->refused[i].id == id && now_ns < f->refused[i].until_ns)
			return true;
	}
	return false;
}

static struct fetch_want *find(struct fetch *f, uint64_t id)
{
	for (unsigned i = 0; i < FETCH_WANTS; i++) {
		if (f->want[i].id == id)
			return &f->want[i];
	}
	return NULL;
}

static unsigned named_by(const struct fetch *f, unsigned node)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FETCH_WANTS; i++)
		n += f->want[i].id != 0 && (f->want[i].nodes >> node & 1);
	return n;
}

static void forget(struct fetch *f, uint64_t id)
{
	struct fetch_want *w = find(f, id);
	if (w != NULL)
		*w = (struct fetch_want){0};
}

// The chain cannot be had for a while.
static void refuse(struct shard *s, uint64_t id, uint64_t for_ns)
{
	struct fetch *f = &s->node->fetch;

	forget(f, id);
	f->refused[f->next_refused].id = id;
	f->refused[f->next_refused].until_ns = s->now_ns + for_ns;
	f->refused[f->next_refused].unable = for_ns == REFUSED_NS;
	f->next_refused = (f->next_refused + 1) % FETCH_REFUSALS;
}

static void give_up(struct shard *s, uint64_t for_ns)
{
	struct fetch *f = &s->node->fetch;

	refuse(s, f->id, for_ns);
	atomic_store_explicit(&f->state, FETCH_IDLE, memory_order_relaxed);
}

void fetch_want(struct shard *s, uint64_t id, unsigned node)
{
	struct fetch *f = &s->node->fetch;

	if (id == 0 || held(s, id))
		return;
	if (s->worker != 0) {
		// Worker 0 fetches. A flood of records tells it once in a while.
		struct ring_message m = {.type = RING_CHAIN, .node = (uint8_t)node, .chain = id};
		if (s->chain_told == id && s->now_ns - s->chain_told_ns < REPEAT_NS)
			return;
		s->chain_told = id;
		s->chain_told_ns = s->now_ns;
		if (!shard_post(s, 0, &m))
			count(s, C_chains_limited); // the next record tells
		return;
	}
	struct fetch_want *w = find(f, id);
	if (w == NULL && !refused(f, id, s->now_ns)) {
		w = named_by(f, node) < WANTS_PER_NODE ? find(f, 0) : NULL;
		if (w == NULL) {
			count(s, C_chains_limited);
			return;
		}
		w->id = id;
		s->next_tick_ns = s->now_ns;
	}
	if (w != NULL)
		w->nodes |= 1ull << node;
}

void fetch_hello(struct shard *s, unsigned node, const struct wire_hello *h)
{
	for (unsigned i = 0; i < h->n_chains; i++) {
		if (h->chains_used & 1u << i)
			fetch_want(s, h->chain[i], node);
	}
}

static bool unable(const struct fetch *f, uint64_t id)
{
	for (unsigned i = 0; i < FETCH_REFUSALS; i++) {
		if (f->refused[i].id == id && f->refused[i].unable)
			return true;
	}
	return false;
}

bool fetch_pending(const struct shard *s)
{
	const struct members *members = &s->node->members;

	for (uint64_t left = s->live & ~shard_self(s); left != 0; left &= left - 1) {
		const struct member *m = &members->m[__builtin_ctzll(left)];
		for (unsigned i = 0; i < m->n_chains; i++) {
			if ((m->chains_used & 1u << i) && !held(s, m->chain[i]) &&
				!unable(&s->node->fetch, m->chain[i]))
				return true;
		}
	}
	return false;
}

// ---- Asking ----

static void ask(struct shard *s)
{
	struct fetch *f = &s->node->fetch;
	struct wire_chain_ask item = {.id = f->id, .offset = f->got};
	struct wire_header h;
	struct frame frame;

	f->asked = f->got;
	f->asked_ns = s->now_ns;
	if (s->next_tick_ns > s->now_ns + REPEAT_NS)
		s->next_tick_ns = s->now_ns + REPEAT_NS;
	if (!control_begin(s, &frame))
		return; // repeated as if it were lost
	control_header(s, &h, WIRE_CHAIN_ASK, f->node, 0);
	h.count = 1;
	int size = wire_put_chain_ask(
		control_body(&frame) + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, &item);
	control_send(s, &frame, &h, (uint16_t)(WIRE_HEADER_SIZE + size));
}

// Asks the next node that should have the chain, from its beginning; none is left: gives up.
static void ask_somebody(struct shard *s)
{
	struct fetch *f = &s->node->fetch;
	struct fetch_want *w = find(f, f->id);
	uint64_t nodes = w == NULL ? 0 : w->nodes & s->live;

	if (nodes == 0) {
		count(s, C_chains_failed);
		give_up(s, NOBODY_NS);
		return;
	}
	f->node = (uint8_t)__builtin_ctzll(nodes);
	f->size = f->got = 0;
	f->tries = 0;
	atomic_store_explicit(&f->state, FETCH_ASKING, memory_order_relaxed);
	ask(s);
}

// The node that is asked is of no help.
static void ask_another(struct shard *s)
{
	struct fetch *f = &s->node->fetch;
	struct fetch_want *w = find(f, f->id);

	if (w != NULL)
		w->nodes &= ~(1ull << f->node);
	ask_somebody(s);
}

// The next chain that is wanted; not at once, when the last one took no time: a peer may name any
// number.
static void begin(struct shard *s)
{
	struct fetch *f = &s->node->fetch;

	if (s->now_ns - f->begun_ns < REPEAT_NS)
		return;
	for (unsigned n = 0; n < FETCH_WANTS; n++) {
		struct fetch_want *w = &f->want[f->next];
		f->next = (f->next + 1) % FETCH_WANTS;
		if (w->id != 0 && held(s, w->id)) {
			*w = (struct fetch_want){0};
		} else if (w->id != 0) {
			f->id = w->id;
			f->begun_ns = s->now_ns;
			ask_somebody(s);
			return;
		}
	}
}

uint64_t fetch_tick(struct shard *s)
{
	struct fetch *f = &s->node->fetch;

	switch (state_of(f)) {
	case FETCH_HERE:
		return s->now_ns + REPEAT_NS;
	case FETCH_TAKEN:
		count(s, C_chains_fetched);
		forget(f, f->id);
		atomic_store_explicit(&f->state, FETCH_IDLE, memory_order_relaxed);
		begin(s);
		break;
	case FETCH_REFUSED:
		count(s, C_chains_refused);
		give_up(s, REFUSED_NS);
		begin(s);
		break;
	case FETCH_IDLE:
		begin(s);
		break;
	case FETCH_ASKING:
		if (!(s->live & 1ull << f->node)) {
			ask_another(s);
		} else if (s->now_ns - f->asked_ns >= REPEAT_NS) {
			if (++f->tries >= TRIES)
				ask_another(s);
			else
				ask(s);
		}
		break;
	}
	for (unsigned i = 0; state_of(f) == FETCH_IDLE && i < FETCH_WANTS; i++) {
		if (f->want[i].id != 0)
			return f->begun_ns + REPEAT_NS;
	}
	return state_of(f) == FETCH_IDLE ? UINT64_MAX : s->now_ns + REPEAT_NS;
}

// ---- Getting ----

static void complete(struct shard *s)
{
	struct fetch *f = &s->node->fetch;

	if (chain_description_id(f->bytes, f->size) != f->id) {
		count(s, C_drop_control_bad);
		ask_another(s);
		return;
	}
	atomic_store_explicit(&f->state, FETCH_HERE, memory_order_release);
}

// Only the next piece that is missing, of the chain that was asked for, from who was asked: what comes
// twice or out of order is asked for again.
void fetch_rx(struct shard *s, unsigned from, const struct wire_chain *c)
{
	struct fetch *f = &s->node->fetch;

	if (state_of(f) != FETCH_ASKING || c->id != f->id || from != f->node)
		return;
	if (c->total == 0) {
		ask_another(s);
		return;
	}
	if (c->total > f->room) {
		count(s, C_chains_limited);
		give_up(s, REFUSED_NS);
		return;
	}
	if (f->got > 0 && c->total != f->size) {
		count(s, C_drop_control_bad);
		ask_another(s);
		return;
	}
	if (c->offset != f->got)
		return;
	f->size = c->total;
	memcpy(f->bytes + f->got, c->bytes, c->size);
	f->got += c->size;
	f->tries = 0;
	if (f->got == f->size)
		complete(s);
	else if (f->got - f->asked >= WINDOW * WIRE_CHAIN_CHUNK)
		ask(s);
}

// ---- Giving ----

static bool spend(struct shard *s)
{
	struct fetch *f = &s->node->fetch;

	if (f->serve_tokens_ns + SERVE_SAVED_NS < s->now_ns)
		f->serve_tokens_ns = s->now_ns - SERVE_SAVED_NS;
	if (f->serve_tokens_ns + SERVE_COST_NS > s->now_ns || s->step->n_spare <= SPARE)
		return false;
	f->serve_tokens_ns += SERVE_COST_NS;
	return true;
}

static void give(struct shard *s, unsigned node, const struct wire_chain *c)
{
	struct wire_header h;
	struct frame frame;

	if (!control_begin(s, &frame))
		return;
	control_header(s, &h, WIRE_CHAIN, node, 0);
	h.count = 1;
	int size = wire_put_chain(
		control_body(&frame) + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, c);
	control_send(s, &frame, &h, (uint16_t)(WIRE_HEADER_SIZE + size));
}

void fetch_serve(struct shard *s, unsigned node, const struct wire_chain_ask *a)
{
	const struct chain *chain = NULL;
	uint8_t bytes[WIRE_CHAIN_CHUNK];
	struct wire_chain c = {.id = a->id, .bytes = bytes, .offset = a->offset};

	for (unsigned k = 0; k < CHAINS_MAX && chain == NULL; k++) {
		if (s->chain[k] != NULL && s->chain[k]->id == a->id)
			chain = s->chain[k];
	}
	c.total = chain == NULL || chain->description_size > CHAIN_BYTES_MAX
			  ? 0
			  : chain->description_size;
	if (c.total == 0)
		c.offset = 0;
	else if (a->offset >= c.total) {
		count(s, C_drop_control_bad);
		return;
	}
	for (unsigned n = 0; n < WINDOW; n++) {
		if (!spend(s)) {
			count(s, C_chains_limited);
			return;
		}
		if (c.total > 0)
			c.size = (uint16_t)chain_describe(chain, c.offset, bytes, sizeof(bytes));
		give(s, node, &c);
		c.offset += c.size;
		if (c.offset >= c.total)
			return;
	}
}

// ---- Control thread ----

bool node_chain_text(const struct node *n, uint64_t *id, const uint8_t **bytes, uint32_t *size)
{
	const struct fetch *f = &n->fetch;

	if (state_of(f) != FETCH_HERE)
		return false;
	*id = f->id;
	*bytes = f->bytes;
	*size = f->size;
	return true;
}

void node_chain_taken(struct node *n, bool taken)
{
	if (state_of(&n->fetch) == FETCH_HERE)
		atomic_store_explicit(
			&n->fetch.state, taken ? FETCH_TAKEN : FETCH_REFUSED, memory_order_release);
}
