// SPDX-License-Identifier: BSD-3-Clause
// This node's index set. A connection is announced when it is no longer young: most end before that,
// and cost nothing. Nor do those without an end that are quiet by then: a question by UDP and its answer
// are remembered for minutes, and nothing more comes. Until then the backups have them, and whoever
// misses one asks in a round for all that there is. Changes go out as a stream of numbered messages; what
// was missed is sent again from a short history, and who missed more fetches the set as it is.
#include <netinet/in.h>

#include "core/shard.h"

#define ROUND_NS MS // between two answers
#define AT_ONCE_NS (5 * MS) // what is to be told at once waits so long for more of it
#define STEP_YOUNG 512 // young ones looked at in one step
#define STEP_MESSAGES 8 // of changes, sent in one step
#define REPAIR_MESSAGES 16 // sent again for one request
#define COPY_PIECES 8 // of the set, sent for one request
#define COPY_PLACES 8192 // of the filter looked at for one piece
#define COPY_NS (1000 * MS) // so long after a request, somebody may be copying the set
#define QUIET_MS 30000 // between two looks at a connection without packets
#define REVEAL_NS 5000ull // each quiet one costs so much of the time: 200000 a second
#define EAGER_NS 100000ull // each unanswered connection costs so much of the time: 10000 a second

void index_init(struct index *ix, struct arena *a, const struct node_conf *conf)
{
	uint64_t keys = conf->index_keys > 0 ? 2ull * conf->connections * conf->workers : 0;

	cuckoo_init(&ix->own, a, keys > UINT32_MAX ? UINT32_MAX : (uint32_t)keys);
	index_map_init(&ix->map, a, conf->index_keys);
	ix->batch = arena_take(a, sizeof(*ix->batch));
	ix->history = arena_take(a, INDEX_HISTORY * sizeof(*ix->history));
	ix->filling = ix->unsent = 1;
}

void index_shard_init(struct shard *s, struct arena *a)
{
	struct index_shard *x = &s->index;
	uint32_t places = 64;

	while (s->conf->index_keys > 0 && places <= s->conf->connections)
		places *= 2;
	x->young.mask = x->quiet.mask = places - 1;
	x->what = arena_take(a, (size_t)s->conf->connections + 1);
	x->young.slot = arena_take(a, (size_t)places * sizeof(*x->young.slot));
	x->quiet.slot = arena_take(a, (size_t)places * sizeof(*x->quiet.slot));
}

// ---- The stream of changes. Worker 0 ----

static struct index_delta *slot(struct index *ix, uint32_t number)
{
	return &ix->history[number % INDEX_HISTORY];
}

// What waits gets its numbers.
static void seal(struct index *ix)
{
	index_batch_close(ix->batch);
	while (index_batch_take(ix->batch, slot(ix, ix->filling)))
		ix->filling++;
	// Not all was sent while the history went once round: peers will see that and copy the set.
	if (ix->filling - ix->unsent >= INDEX_HISTORY)
		ix->unsent = ix->filling - INDEX_HISTORY + 1;
	ix->next_ns = 0;
}

// The batch is told in so long, or earlier.
static void hurry(struct shard *s, uint64_t ns)
{
	struct index *ix = s->node->index;
	uint64_t due = s->now_ns + ns;

	ix->due_ns = due < ix->due_ns ? due : ix->due_ns;
	ix->next_ns = due < ix->next_ns ? due : ix->next_ns;
}

static void append(struct shard *s, uint32_t fp, bool removes)
{
	struct index *ix = s->node->index;

	if (ix->batch->n == 0) {
		ix->due_ns = UINT64_MAX;
		hurry(s, s->conf->index_flush_ms * MS);
	}
	index_batch_add(ix->batch, fp, removes);
	if (ix->batch->n == INDEX_BATCH)
		seal(ix);
}

static void add(struct shard *s, uint32_t fp)
{
	struct index *ix = s->node->index;
	bool had = cuckoo_count(&ix->own, fp) > 0;
	uint32_t moved[CUCKOO_KICKS];
	unsigned n_moved = 0;

	if (!cuckoo_insert(&ix->own, fp, moved, &n_moved)) {
		ix->missing++;
		count(s, C_index_full);
		return;
	}
	count(s, C_index_adds);
	if (!had)
		append(s, fp, false);
	// Who is copying the set may have passed the place to which one has moved.
	for (unsigned i = 0; i < n_moved && s->now_ns - ix->copied_ns < COPY_NS; i++)
		append(s, moved[i], false);
}

static void take_out(struct shard *s, uint32_t fp)
{
	struct index *ix = s->node->index;

	if (!cuckoo_remove(&ix->own, fp)) {
		ix->missing -= ix->missing > 0; // it had found the set full
		return;
	}
	count(s, C_index_removes);
	if (cuckoo_count(&ix->own, fp) == 0)
		append(s, fp, true);
}

static bool send_changes(struct shard *s, unsigned node, uint32_t number, bool answers, bool bare)
{
	struct index *ix = s->node->index;
	struct wire_delta *d = &ix->rx;
	struct wire_header h;
	struct frame f;

	if (s->step->n_spare < STEP_SPARE_CONTROL / 2 || !control_begin(s, &f))
		return false;
	*d = (struct wire_delta){
		.seq = number,
		.flags = ix->missing > 0 || ix->revealing != 0 ? WIRE_INDEX_PARTIAL : 0,
	};
	if (!bare) {
		const struct index_delta *from = slot(ix, number);
		d->n = from->n;
		d->n_removes = from->n_removes;
		memcpy(d->fp, from->fp, d->n * sizeof(d->fp[0]));
	}
	for (uint64_t left = answers ? ix->askers : 0; left != 0; left &= left - 1) {
		unsigned asker = (unsigned)__builtin_ctzll(left);
		d->answer[d->n_answers].node = (uint8_t)asker;
		d->answer[d->n_answers++].round = ix->asker_round[asker];
	}
	control_header(s, &h, WIRE_INDEX, node, 0);
	h.count = d->n;
	int size = wire_put_delta(
		control_body(&f) + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, d);
	control_send(s, &f, &h, (uint16_t)(WIRE_HEADER_SIZE + size));
	s->counters[C_index_tx_bytes] += f.len;
	if (node == WIRE_ANY)
		ix->told_ns = s->now_ns;
	return true;
}

// ---- Answers to rounds. Worker 0 ----

static void tell_flush(struct shard *s)
{
	struct index *ix = s->node->index;
	struct ring_message m = {.type = RING_INDEX_FLUSH};

	for (uint32_t left = ix->flush_untold; left != 0; left &= left - 1) {
		unsigned w = (unsigned)__builtin_ctz(left);
		if (shard_post(s, w, &m))
			ix->flush_untold &= ~(1u << w);
	}
}

// The young ones are announced at once, the quiet ones, which may be many, as the others leave room:
// until then the node says that its set lacks keys.
static void flush_shard(struct shard *s)
{
	struct index_shard *x = &s->index;

	x->young.to = x->young.head;
	x->quiet.to = x->quiet.head;
	x->flushing = true;
	x->revealing = x->quiet.head != x->quiet.tail;
	if (s->worker == 0)
		s->node->index->revealing =
			(s->node->index->revealing & ~1u) | (uint32_t)x->revealing;
}

static void flush_begin(struct shard *s)
{
	struct index *ix = s->node->index;

	ix->askers = ix->askers_next;
	memcpy(ix->asker_round, ix->asker_next, sizeof(ix->asker_round));
	ix->askers_next = 0;
	ix->flushing = true;
	ix->flush_ns = s->now_ns;
	ix->flush_left = ix->flush_untold = ((1u << s->conf->workers) - 1) & ~1u;
	flush_shard(s);
}

// A worker stands still, so that nobody gets an answer. What the others have is told all the same.
static void flush_again(struct shard *s)
{
	struct index *ix = s->node->index;
	uint32_t all = ((1u << s->conf->workers) - 1) & ~1u;

	ix->flush_ns = s->now_ns;
	ix->flush_untold |= all & ~ix->flush_left;
	flush_shard(s);
}

// Everything that there was when the rounds were asked for is in the stream.
static bool flush_over(const struct shard *s)
{
	const struct index *ix = s->node->index;
	return ix->flushing && ix->flush_left == 0 && !s->index.flushing;
}

static void answered(struct shard *s)
{
	s->node->index->flushing = false;
	s->node->index->answered_ns = s->now_ns;
	count(s, C_index_answers);
}

// Sends what is due; returns when there is more.
static uint64_t stream(struct shard *s)
{
	struct index *ix = s->node->index;
	uint64_t heartbeat = s->conf->heartbeat_ms * MS;

	if (!ix->flushing && ix->askers_next != 0 && s->now_ns - ix->answered_ns >= ROUND_NS)
		flush_begin(s);
	else if (ix->flushing && ix->askers_next != 0 && s->now_ns - ix->flush_ns >= 2 * ROUND_NS)
		flush_again(s);
	if (ix->flush_untold != 0)
		tell_flush(s);
	bool answers = flush_over(s);
	if (ix->batch->n > 0 && (answers || s->now_ns >= ix->due_ns))
		seal(ix);
	for (unsigned n = 0; ix->unsent != ix->filling && n < STEP_MESSAGES; n++) {
		bool last = answers && ix->unsent + 1 == ix->filling;
		if (!send_changes(s, WIRE_ANY, ix->unsent, last, false))
			return s->now_ns;
		ix->unsent++;
		if (last)
			answered(s);
	}
	if (ix->unsent != ix->filling)
		return s->now_ns;
	if (flush_over(s)) {
		if (!send_changes(s, WIRE_ANY, ix->filling - 1, true, true))
			return s->now_ns;
		answered(s);
	}
	if (s->now_ns - ix->told_ns >= heartbeat && (s->live & (s->live - 1)) != 0)
		send_changes(s, WIRE_ANY, ix->filling - 1, false, true);
	uint64_t next = s->now_ns + heartbeat;
	if (ix->batch->n > 0 && ix->due_ns < next)
		next = ix->due_ns;
	if (ix->flushing)
		next = s->now_ns + ROUND_NS / 16;
	else if (ix->askers_next != 0 && ix->answered_ns + ROUND_NS < next)
		next = ix->answered_ns + ROUND_NS;
	return next;
}

static bool send_piece(struct shard *s, unsigned node, uint32_t *first)
{
	struct index *ix = s->node->index;
	struct wire_snapshot w = {
		.seq = ix->filling - 1,
		.total = ix->own.n_buckets,
		.first = *first,
	};
	struct wire_header h;
	struct frame f;
	unsigned n;

	if (s->step->n_spare <= STEP_SPARE_CONTROL || !control_begin(s, &f))
		return false;
	w.places =
		(uint16_t)cuckoo_export(&ix->own, *first, COPY_PLACES, w.fp, WIRE_SNAPSHOT_MAX, &n);
	w.n = (uint16_t)n;
	control_header(s, &h, WIRE_SNAPSHOT, node, 0);
	h.count = w.n;
	int size = wire_put_snapshot(
		control_body(&f) + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, &w);
	control_send(s, &f, &h, (uint16_t)(WIRE_HEADER_SIZE + size));
	s->counters[C_index_tx_bytes] += f.len;
	*first += w.places;
	return true;
}

void index_ask_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	struct index *ix = s->node->index;
	struct wire_ask a;

	if (wire_get_ask(body, len, &a) != len) {
		count(s, C_drop_control_bad);
		return;
	}
	s->counters[C_index_rx_bytes] += h->length;
	ix->next_ns = 0;
	switch ((enum wire_ask_what)a.what) {
	case WIRE_ASK_ROUND:
		ix->askers_next |= 1ull << h->from_node;
		ix->asker_next[h->from_node] = a.round;
		break;
	case WIRE_ASK_DELTAS: // what is not kept any more, the asker will do without
		for (unsigned n = 0; n < REPAIR_MESSAGES; n++, a.from++) {
			uint32_t ago = ix->unsent - a.from;
			if (ago == 0 || ago >= INDEX_HISTORY - 1)
				break;
			if (!send_changes(s, h->from_node, a.from, false, false))
				break;
		}
		break;
	case WIRE_ASK_SNAPSHOT:
		ix->copied_ns = s->now_ns;
		for (unsigned n = 0; n < COPY_PIECES && a.from < ix->own.n_buckets; n++) {
			if (!send_piece(s, h->from_node, &a.from))
				break;
		}
		break;
	}
}

// ---- A worker's connections ----

static bool push_out(struct shard *s)
{
	struct index_shard *x = &s->index;
	struct ring_message m = {.type = RING_INDEX};

	if (x->out_n == 0)
		return true;
	memcpy(m.index.fp, x->out, sizeof(m.index.fp));
	m.index.n = (uint16_t)x->out_n;
	m.index.removes = (uint16_t)x->out_removes;
	m.index.urgent = x->out_urgent;
	if (!shard_post(s, 0, &m))
		return false;
	x->out_n = x->out_removes = 0;
	x->out_urgent = false;
	return true;
}

// Both keys of record i go in or out; false: not now.
static bool change(struct shard *s, uint32_t i, bool removes)
{
	struct index_shard *x = &s->index;
	const struct conn *c = store_conn(&s->store, i);
	const struct index *ix = s->node->index;

	if (s->worker == 0 ? ix->filling - ix->unsent >= INDEX_HISTORY / 2
			   : x->out_n + 2 > 12 && !push_out(s))
		return false;
	for (unsigned d = 0; d < 2; d++) {
		const struct tripod_tuple *key = &c->dir[d].key;
		uint32_t fp = index_print(store_hash(&s->store, key), key->direction);
		if (s->worker == 0) {
			if (removes)
				take_out(s, fp);
			else
				add(s, fp);
			continue;
		}
		x->out_removes |= (uint32_t)removes << x->out_n;
		x->out[x->out_n++] = fp;
	}
	return true;
}

// Of a service that replicates nothing, nobody is told. What is not answered yet, others are told of
// when they ask, since the answer may arrive there; unasked, only of what is opened from inside (its
// answer, or an ICMP error, may arrive anywhere), or of all when the switch parts the directions.
static bool worth(const struct shard *s, const struct conn *c, bool asked)
{
	if (conn_durability(c) == DURABILITY_NONE)
		return false;
	return (c->flags & CONN_ANSWERED) || asked || s->conf->directions_split ||
	       c->dir[0].key.direction == TRIPOD_OUTGOING;
}

static void pop(struct index_ring *r)
{
	r->tail++;
	if ((int32_t)(r->tail - r->to) > 0)
		r->to = r->tail; // numbers wrap
}

static bool queue(struct shard *s, struct index_ring *r, uint32_t i)
{
	if (r->head - r->tail > r->mask)
		return false;
	r->slot[r->head++ & r->mask] = (struct index_waits){i, s->now};
	s->index.what[i] |= INDEX_WAITS;
	return true;
}

static bool is_gone(const struct conn *c)
{
	return c->state != CONN_LIVE || c->dir[1].key.proto == 0;
}

// A budget counted in time.
static bool spend(const struct shard *s, uint64_t *from_ns, uint64_t cost_ns)
{
	if (*from_ns + 20 * MS < s->now_ns)
		*from_ns = s->now_ns - 20 * MS;
	if (*from_ns + cost_ns > s->now_ns)
		return false;
	*from_ns += cost_ns;
	return true;
}

// Without a FIN, only silence says that nothing more will come.
static bool is_quiet(const struct shard *s, const struct conn *c, uint32_t ms)
{
	uint32_t ticks = ticks_of_ms(ms);

	// Nothing comes, unless the last acknowledgement was lost: then a FIN comes again, anywhere.
	if (conn_tcp_at(c, TCP_CLOSED))
		return true;
	return c->dir[0].key.proto != IPPROTO_TCP && s->now - c->dir[0].seen >= ticks &&
	       s->now - c->dir[1].seen >= ticks;
}

// Announces record i, unless it need not be. false: not now.
static bool announce(struct shard *s, uint32_t i)
{
	struct index_shard *x = &s->index;

	if (!change(s, i, false))
		return false;
	x->what[i] = INDEX_ANNOUNCED;
	x->announced++;
	return true;
}

static bool stands(struct shard *s, uint32_t i, bool asked)
{
	const struct conn *c = store_conn(&s->store, i);
	bool may = (s->index.what[i] & INDEX_WAITS) && !is_gone(c) && worth(s, c, asked);

	// Unanswered ones are many in a flood. Beyond their budget they are told of when answered.
	return may && ((c->flags & CONN_ANSWERED) || spend(s, &s->index.eager_ns, EAGER_NS));
}

static void forget(struct shard *s, struct index_ring *r)
{
	s->index.what[r->slot[r->tail & r->mask].conn] &= (uint8_t)~INDEX_WAITS;
	pop(r);
}

// The oldest young one is young no longer. false: not now.
static bool grow_up(struct shard *s)
{
	struct index_ring *r = &s->index.young;
	uint32_t i = r->slot[r->tail & r->mask].conn;
	bool asked = (int32_t)(r->tail - r->to) < 0;

	if (!stands(s, i, asked)) {
		forget(s, r);
		return true;
	}
	bool quiet =
		!asked && is_quiet(s, store_conn(&s->store, i), s->conf->announce_after_ms / 2);
	if (!(quiet && queue(s, &s->index.quiet, i)) && !announce(s, i))
		return false;
	pop(r);
	return true;
}

// The one that has been quiet longest is looked at. false: not now.
static bool wake_up(struct shard *s)
{
	struct index_ring *r = &s->index.quiet;
	uint32_t i = r->slot[r->tail & r->mask].conn;
	bool asked = (int32_t)(r->tail - r->to) < 0;

	if (asked && !spend(s, &s->index.reveal_ns, REVEAL_NS))
		return false;
	if (!stands(s, i, asked)) {
		forget(s, r);
		return true;
	}
	if (!asked && is_quiet(s, store_conn(&s->store, i), QUIET_MS)) {
		pop(r);
		return queue(s, r, i);
	}
	if (!announce(s, i))
		return false;
	pop(r);
	return true;
}

void index_young(struct shard *s, uint32_t i)
{
	struct index_ring *r = &s->index.young;

	if (!index_on(s) || s->index.what[i] != 0 || !worth(s, store_conn(&s->store, i), true))
		return;
	// The ring has a place for each record, and some are taken by records that have gone since.
	if (!queue(s, r, i) && (!grow_up(s) || !queue(s, r, i)))
		count(s, C_index_full);
}

void index_at_once(struct shard *s, uint32_t i)
{
	// Where it is queued, nothing is left to be done for it.
	if (!index_on(s) || !stands(s, i, true) || !announce(s, i))
		return;
	if (s->worker == 0)
		hurry(s, AT_ONCE_NS);
	else
		s->index.out_urgent = true;
}

bool index_forget(struct shard *s, uint32_t i)
{
	struct index_shard *x = &s->index;

	if (x->what[i] & INDEX_ANNOUNCED) {
		if (!change(s, i, true))
			return false;
		x->announced--;
	}
	x->what[i] = 0;
	return true;
}

void index_ring(struct shard *s, unsigned from, const struct ring_message *m)
{
	struct index *ix = s->node->index;

	switch ((enum ring_type)m->type) {
	case RING_INDEX:
		for (unsigned k = 0; k < m->index.n; k++) {
			if (m->index.removes & 1u << k)
				take_out(s, m->index.fp[k]);
			else
				add(s, m->index.fp[k]);
		}
		if (m->index.urgent)
			hurry(s, AT_ONCE_NS);
		break;
	case RING_INDEX_FLUSH:
		flush_shard(s);
		break;
	case RING_INDEX_FLUSHED:
		if (m->final)
			ix->flush_left &= ~(1u << from);
		ix->revealing &= ~(1u << from);
		ix->revealing |= (uint32_t)m->live << from;
		ix->next_ns = 0;
		break;
	default:
		break;
	}
}

// ---- The step ----

static bool due(const struct shard *s, const struct index_ring *r, uint32_t ms)
{
	if (r->head == r->tail)
		return false;
	return (int32_t)(r->tail - r->to) < 0 ||
	       s->now - r->slot[r->tail & r->mask].since >= ticks_of_ms(ms);
}

// Worker 0 is told that all young ones are in the stream, or that all quiet ones are, too.
static bool tell_flushed(struct shard *s, bool young)
{
	struct ring_message m = {
		.type = RING_INDEX_FLUSHED, .final = young, .live = s->index.revealing};

	if (s->worker == 0) {
		s->node->index->revealing &= ~1u;
		s->node->index->revealing |= (uint32_t)s->index.revealing;
		s->node->index->next_ns = 0;
		return true;
	}
	return push_out(s) && shard_post(s, 0, &m);
}

static void flush_end(struct shard *s)
{
	struct index_shard *x = &s->index;

	if (x->flushing && (int32_t)(x->young.tail - x->young.to) >= 0 && tell_flushed(s, true))
		x->flushing = false;
	if (x->revealing && (int32_t)(x->quiet.tail - x->quiet.to) >= 0) {
		x->revealing = false;
		if (!tell_flushed(s, false))
			x->revealing = true; // again in the next step
	}
}

static void announce_due(struct shard *s)
{
	struct index_shard *x = &s->index;
	unsigned n = 0;

	while (due(s, &x->young, s->conf->announce_after_ms) && n < STEP_YOUNG && grow_up(s))
		n++;
	while (due(s, &x->quiet, QUIET_MS) && n < STEP_YOUNG && wake_up(s))
		n++;
	s->step->more |= n == STEP_YOUNG;
}

void index_step(struct shard *s)
{
	struct index *ix = s->node->index;
	struct index_shard *x = &s->index;

	announce_due(s);
	if (x->flushing || x->revealing)
		flush_end(s);
	if (x->out_n > 0)
		push_out(s);
	if (s->worker == 0 && index_on(s)) {
		uint32_t wanted = atomic_load_explicit(&ix->round_wanted, memory_order_relaxed);
		uint32_t begun = atomic_load_explicit(&ix->round_begun, memory_order_relaxed);
		if (s->now_ns >= ix->next_ns || (int32_t)(wanted - begun) > 0) {
			ix->next_ns = UINT64_MAX; // what comes up meanwhile sets it
			uint64_t a = stream(s), b = index_peers(s);
			a = a < b ? a : b;
			ix->next_ns = a < ix->next_ns ? a : ix->next_ns;
		}
	}
	if (x->n > 0 || s->round_first != 0)
		pull_look_again(s);
}

// When the oldest of a ring is due.
static uint64_t ring_next_ns(const struct shard *s, const struct index_ring *r, uint32_t ms)
{
	if (r->head == r->tail)
		return UINT64_MAX;
	tick_t at = r->slot[r->tail & r->mask].since + ticks_of_ms(ms) + 1;
	int32_t left = (int32_t)(at - s->now);
	return s->now_ns + (left > 0 ? (uint64_t)left << TICK_SHIFT : MS / 8);
}

uint64_t index_next_ns(const struct shard *s)
{
	const struct index_shard *x = &s->index;
	uint64_t next = s->worker == 0 && index_on(s) ? s->node->index->next_ns : UINT64_MAX;
	uint64_t young = ring_next_ns(s, &x->young, s->conf->announce_after_ms);
	uint64_t quiet = ring_next_ns(s, &x->quiet, QUIET_MS);
	bool busy = x->n > 0 || s->round_first != 0 || x->flushing || x->revealing || x->out_n > 0;

	if (busy && s->now_ns + MS / 4 < next)
		next = s->now_ns + MS / 4;
	next = young < next ? young : next;
	return quiet < next ? quiet : next;
}
