// SPDX-License-Identifier: BSD-3-Clause
// Synchronous durability: a packet leaves when the state that it depends on is on enough other nodes.
//
// What waits is the packet as it came out of the chain. It waits for the stamp that its record had
// then: every holder from which an answer may be expected has acknowledged that stamp or a later one,
// and there are k of them (or as many as there are members). All holders, not any k: else one that is
// behind could take the connection over with what it was before. Packets of one direction leave in the
// order in which they came.
//
// A change of one direction makes its packets wait, one of the shared part those of both.
//
// A connection has CONN_SYNCING while something is not acknowledged or a packet waits, and a queue only
// while packets wait. Whether the state is acknowledged is looked at when a packet comes, when an
// acknowledgement does, and when the members change.
#include "core/hpsms/repl.h"

#define PER_CONNECTION 256 // packets: no connection takes all the places

enum parked_way { WAY_OUT, WAY_BACK };

// A packet that waits. In two lists: its direction's, and that of all, oldest first.
struct parked {
	struct tripod_packet p;
	uint64_t since_ns;
	uint32_t next; // of its direction; or of the free ones
	uint32_t older, newer;
	uint32_t queue;
	uint16_t stamp; // of its record when it came out of the chain
	uint8_t dir, way;
	bool cached; // its next hop may be that of its direction
	bool lost; // its connection has moved or ended: to be dropped
};

struct sync_queue {
	uint64_t heard; // nodes that have acknowledged stamp[node]
	uint32_t conn; // STORE_NONE: free, or its record is
	uint32_t chain; // next of the hash list; or of the free ones
	uint32_t first[2], last[2]; // by direction
	uint32_t n;
	uint32_t next_ready;
	bool ready; // in the list of those to be looked at in this step
	uint16_t stamp[NODES_MAX];
};

void sync_init(struct shard *s, struct arena *a)
{
	uint32_t n = s->conf->sync_packets;
	struct sync *y = &s->sync;

	y->parked = arena_take(a, ((size_t)n + 1) * sizeof(*y->parked));
	y->queues = arena_take(a, ((size_t)n + 1) * sizeof(*y->queues));
	if (y->queues == NULL)
		return;
	for (uint32_t i = n; i > 0; i--) {
		y->parked[i].next = y->free_parked;
		y->free_parked = i;
		y->queues[i].chain = y->free_queue;
		y->free_queue = i;
	}
}

// ---- Queues ----

static uint32_t *bucket(struct shard *s, uint32_t i)
{
	return &s->sync.hash[i & (SYNC_HASH - 1)];
}

static uint32_t find(struct shard *s, uint32_t i)
{
	uint32_t q = *bucket(s, i);

	while (q != 0 && s->sync.queues[q].conn != i)
		q = s->sync.queues[q].chain;
	return q;
}

static uint32_t queue_new(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	uint32_t at = s->sync.free_queue;
	struct sync_queue *q = &s->sync.queues[at];

	if (at == 0)
		return 0;
	s->sync.free_queue = q->chain;
	q->conn = i;
	q->chain = *bucket(s, i);
	*bucket(s, i) = at;
	q->first[0] = q->first[1] = 0;
	q->n = 0;
	q->heard = holders_with(store_repl(&s->store, i), HOLDER_ACKED) & ~repl_self(s);
	for (uint64_t left = q->heard; left != 0; left &= left - 1)
		q->stamp[__builtin_ctzll(left)] = c->stamp;
	return at;
}

// The record has no queue any more.
static void unlink_queue(struct shard *s, uint32_t at)
{
	struct sync_queue *q = &s->sync.queues[at];
	uint32_t *link = bucket(s, q->conn);

	while (*link != at)
		link = &s->sync.queues[*link].chain;
	*link = q->chain;
	q->conn = STORE_NONE;
}

static void ready(struct shard *s, uint32_t at)
{
	struct sync_queue *q = &s->sync.queues[at];

	if (q->ready)
		return;
	q->ready = true;
	q->next_ready = s->sync.ready;
	s->sync.ready = at;
}

// Takes the first packet of a direction out of all lists; its place is free.
static struct parked unpark(struct shard *s, struct sync_queue *q, unsigned dir)
{
	struct sync *y = &s->sync;
	uint32_t at = q->first[dir];
	struct parked w = y->parked[at];

	q->first[dir] = w.next;
	q->n--;
	if (w.older != 0)
		y->parked[w.older].newer = w.newer;
	else
		y->oldest = w.newer;
	if (w.newer != 0)
		y->parked[w.newer].older = w.older;
	else
		y->newest = w.older;
	y->parked[at].p.buf = NULL;
	y->parked[at].next = y->free_parked;
	y->free_parked = at;
	y->used--;
	return w;
}

// They are dropped at the end of this step or of the next: many at once are more than one gives back.
static void lose(struct shard *s, uint32_t at, unsigned dir)
{
	for (uint32_t w = s->sync.queues[at].first[dir]; w != 0; w = s->sync.parked[w].next)
		s->sync.parked[w].lost = true;
	ready(s, at);
}

// ---- Is it acknowledged? ----

// Do these nodes, which have acknowledged, suffice for record i?
static bool enough(const struct shard *s, uint32_t i, uint64_t acked)
{
	uint64_t holders = store_repl(&s->store, i)->holders & s->live & ~repl_self(s);
	unsigned takers = (unsigned)__builtin_popcountll(repl_takers(s, i));
	unsigned need = s->conf->backups < takers ? s->conf->backups : takers;

	if (holders & shard_responsive(s) & ~acked)
		return false;
	return (unsigned)__builtin_popcountll(holders & acked) >= need;
}

static bool may_leave(const struct shard *s, const struct sync_queue *q, uint16_t stamp)
{
	uint64_t acked = 0;

	for (uint64_t left = q->heard; left != 0; left &= left - 1) {
		unsigned node = (unsigned)__builtin_ctzll(left);
		if ((int16_t)(q->stamp[node] - stamp) >= 0)
			acked |= 1ull << node;
	}
	return enough(s, q->conn, acked);
}

static bool waits(const struct shard *s, uint32_t i, unsigned dir)
{
	return store_conn(&s->store, i)->waits >> dir & 1;
}

static void settled(struct shard *s, uint32_t i)
{
	struct conn *c = store_conn(&s->store, i);

	c->flags &= (uint8_t)~CONN_SYNCING;
	c->waits = 0;
}

// All that matters of record i is acknowledged: nothing has to wait from now on.
static bool settle(struct shard *s, uint32_t i)
{
	if (!enough(s, i, holders_with(store_repl(&s->store, i), HOLDER_ACKED)))
		return false;
	settled(s, i);
	return true;
}

// Fewer copies, present or on their way, than are waited for.
static void protect_if_short(struct shard *s, uint32_t i)
{
	uint64_t others = repl_takers(s, i) & shard_responsive(s);
	const struct conn_repl *r = store_repl(&s->store, i);

	if ((unsigned)__builtin_popcountll(r->holders & others) < s->conf->backups && !r->refused)
		repl_protect(s, i);
}

// ---- Waiting ----

bool sync_full(struct shard *s, uint32_t i, unsigned dir)
{
	uint32_t at = find(s, i);

	return waits(s, i, dir) && at != 0 &&
	       (s->sync.free_parked == 0 || s->sync.queues[at].n >= PER_CONNECTION);
}

static void park(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir,
	enum parked_way way, bool cached)
{
	struct sync *y = &s->sync;
	uint32_t at = find(s, i), w = y->free_parked;

	if (at == 0 && w != 0)
		at = queue_new(s, i);
	struct sync_queue *q = &y->queues[at];
	if (at == 0 || w == 0 || q->n >= PER_CONNECTION) {
		shard_drop(s, p, C_drop_sync_full);
		return;
	}
	y->free_parked = y->parked[w].next;
	y->parked[w] = (struct parked){
		.p = *p,
		.since_ns = s->now_ns,
		.older = y->newest,
		.queue = at,
		.stamp = store_conn(&s->store, i)->stamp,
		.dir = (uint8_t)dir,
		.way = (uint8_t)way,
		.cached = cached,
	};
	if (y->newest != 0)
		y->parked[y->newest].newer = w;
	else
		y->oldest = w;
	y->newest = w;
	if (q->first[dir] == 0)
		q->first[dir] = w;
	else
		y->parked[q->last[dir]].next = w;
	q->last[dir] = w;
	q->n++;
	y->used++;
	if (q->n == 1)
		ready(s, at);
	count(s, C_sync_waits);
	uint64_t due = s->now_ns + s->conf->sync_timeout_ms * MS;
	if (s->next_tick_ns > due)
		s->next_tick_ns = due;
}

bool sync_wait_out(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir, bool cached)
{
	if (!waits(s, i, dir) || (find(s, i) == 0 && settle(s, i)))
		return false;
	park(s, p, i, dir, WAY_OUT, cached);
	return true;
}

bool sync_wait_back(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	if (!waits(s, i, dir) || (find(s, i) == 0 && settle(s, i)))
		return false;
	park(s, p, i, dir, WAY_BACK, false);
	return true;
}

static void leave(struct shard *s, struct parked *w, uint32_t i)
{
	if (w->way == WAY_BACK)
		forward_back(s, &w->p);
	else
		forward_now(s, &w->p, w->cached ? i : STORE_NONE, w->dir);
}

// ---- What may end the wait ----

void sync_acked(struct shard *s, uint32_t i, unsigned node, uint16_t stamp)
{
	uint32_t at = find(s, i);
	struct sync_queue *q = &s->sync.queues[at];
	uint64_t bit = 1ull << node;

	if (at == 0) {
		settle(s, i);
		return;
	}
	if (!(q->heard & bit) || (int16_t)(stamp - q->stamp[node]) > 0)
		q->stamp[node] = stamp;
	q->heard |= bit;
	ready(s, at);
}

void sync_review(struct shard *s, uint32_t i)
{
	uint32_t at = find(s, i);

	if (at != 0)
		ready(s, at);
	else
		protect_if_short(s, i);
}

void sync_members(struct shard *s, uint64_t forgot)
{
	for (uint32_t w = s->sync.oldest; w != 0; w = s->sync.parked[w].newer) {
		uint32_t at = s->sync.parked[w].queue;
		s->sync.queues[at].heard &= ~forgot;
		ready(s, at);
	}
}

// The next node handles that direction by what it knew when it took over. What waits here came of a
// state that it may not have: it is lost as if on the wire, and sent again by its sender.
void sync_handed(struct shard *s, uint32_t i, unsigned dir)
{
	uint32_t at = find(s, i);

	if (at == 0)
		return;
	lose(s, at, dir);
}

void sync_forget(struct shard *s, uint32_t i)
{
	uint32_t at = find(s, i);

	settled(s, i);
	if (at == 0)
		return;
	lose(s, at, 0);
	lose(s, at, 1);
	unlink_queue(s, at);
}

void *sync_buffer(const struct shard *s, uint32_t place)
{
	return s->sync.parked[place].p.buf;
}

// ---- At the end of a step ----

// Lets go of what need not wait any more. false: the step has no room for more.
static bool release(struct shard *s, struct sync_queue *q)
{
	for (unsigned dir = 0; dir < 2; dir++) {
		while (q->first[dir] != 0) {
			const struct parked *first = &s->sync.parked[q->first[dir]];
			if (!first->lost && !may_leave(s, q, first->stamp))
				break;
			if (!shard_has_room(s))
				return false;
			struct parked w = unpark(s, q, dir);
			if (w.lost)
				shard_drop(s, &w.p, C_drop_sync_lost);
			else
				leave(s, &w, q->conn);
		}
	}
	return true;
}

void sync_run(struct shard *s)
{
	struct sync *y = &s->sync;

	while (y->ready != 0) {
		uint32_t at = y->ready;
		struct sync_queue *q = &y->queues[at];
		if (!release(s, q)) {
			s->step->more = true;
			return;
		}
		y->ready = q->next_ready;
		q->ready = false;
		if (q->n > 0) {
			protect_if_short(s, q->conn);
			continue;
		}
		if (q->conn != STORE_NONE) {
			settle(s, q->conn);
			unlink_queue(s, at);
		}
		q->chain = y->free_queue;
		y->free_queue = at;
	}
}

// Packets that have waited for as long as they may. They are the first of their directions: a
// direction's packets leave in the order in which all came.
uint64_t sync_tick(struct shard *s)
{
	struct sync *y = &s->sync;
	uint64_t timeout = s->conf->sync_timeout_ms * MS;

	// A holder that misses heartbeats is waited for no longer if there are others.
	uint64_t responsive = shard_responsive(s);
	if (responsive != y->responsive)
		sync_members(s, 0);
	y->responsive = responsive;
	while (y->oldest != 0 && shard_has_room(s)) {
		uint32_t at = y->parked[y->oldest].queue;
		struct sync_queue *q = &y->queues[at];
		if (s->now_ns - y->parked[y->oldest].since_ns < timeout)
			return y->parked[y->oldest].since_ns + timeout;
		struct parked w = unpark(s, q, y->parked[y->oldest].dir);
		count(s, C_sync_timeouts);
		if (w.lost)
			shard_drop(s, &w.p, C_drop_sync_lost);
		else if (s->conf->sync_forward)
			leave(s, &w, q->conn);
		else
			shard_drop(s, &w.p, C_drop_sync_timeout);
		ready(s, at);
	}
	return y->oldest != 0 ? s->now_ns : UINT64_MAX;
}
