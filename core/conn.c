// SPDX-License-Identifier: BSD-3-Clause
// The life of a connection on this node: opened by a packet, taken over from another node, closed by
// its master, kept for a while as a tombstone, freed.
#include <errno.h>
#include <netinet/in.h>

#include "core/defect.h"
#include "core/shard.h"

#define TOMBSTONE_PATIENCE 8 // times tombstone_ms: so long it stays for members that have not heard
#define ENDED 4096 // connections that have ended and may make room, a power of two: the latest
// Of them, those that are passed over at a time, as they have ended a moment ago.
#define YOUNG_MAX 8
// TCP that has closed stays so long for what is repeated, even if the table is full.
#define CLOSED_STAYS_MS 1000

void conn_init(struct shard *s, struct arena *a)
{
	uint32_t places = 1;

	while (places < s->conf->embryonic)
		places *= 2;
	s->unanswered.mask = places - 1;
	s->unanswered.at = arena_take(a, (size_t)places * sizeof(*s->unanswered.at));
	s->ended.mask = ENDED - 1;
	s->ended.at = arena_take(a, ENDED * sizeof(*s->ended.at));
}

uint32_t conn_timeout_ms(const struct shard *s, const struct conn *c)
{
	bool answered = c->flags & CONN_ANSWERED;

	switch (c->dir[0].key.proto) {
	case IPPROTO_TCP:
		return tcp_timeout_ms(&s->conf->tcp, tcp_state(&c->dir[0].tcp, &c->dir[1].tcp));
	case IPPROTO_UDP:
		return answered ? s->conf->udp_ms : s->conf->udp_embryonic_ms;
	default:
		return s->conf->icmp_ms;
	}
}

static bool masters_shared(const struct shard *s, uint32_t i)
{
	return store_repl(&s->store, i)->part[PART_SHARED].writer == s->conf->id;
}

static void note(struct recent *q, uint32_t i)
{
	if (q->head - q->tail > q->mask)
		q->tail++;
	q->at[q->head++ & q->mask] = i;
}

// Nothing has been heard of it since this node was away: it may have gone on elsewhere.
static bool in_doubt(const struct shard *s, const struct conn *c)
{
	return conn_uncertain(s, c, 0) && conn_uncertain(s, c, 1);
}

// A backup keeps its copy for twice as long as the master would, from what it was last told: the
// master tells of activity every quarter of the time-out. So does a master that is in doubt whether it
// still is one: who handles the connection now tells it within that time. What TCP has closed goes on
// nowhere, and ends everywhere at about the same time, a quarter later on a backup, so that nobody has
// to be told.
static tick_t deadline(const struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	uint32_t ms = conn_timeout_ms(s, c);

	if (conn_tcp_at(c, TCP_CLOSED))
		ms += masters_shared(s, i) ? 0 : ms / 4;
	else if (!masters_shared(s, i) || in_doubt(s, c))
		ms *= 2;
	return conn_last_seen(c) + ticks_of_ms(ms);
}

void conn_rewheel(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	tick_t at = deadline(s, i);

	if (conn_tcp_at(c, TCP_CLOSED))
		note(&s->ended, i);
	if (c->flags & CONN_REPLICATED) {
		tick_t publish = s->now + ticks_of_ms(conn_timeout_ms(s, c) / 4);
		if ((int32_t)(publish - at) < 0)
			at = publish;
	}
	store_wheel_set(&s->store, i, at);
}

// ---- Index ----

static unsigned worker_of(const struct shard *s, const struct tripod_tuple *key)
{
	return s->conf->workers == 1 ? 0 : toeplitz_worker(toeplitz_tuple(key), s->conf->workers);
}

// The reversed tuple is found here, and where its packets hash to, if that is another worker.
static int index_reversed(struct shard *s, uint32_t i, bool final)
{
	const struct conn *c = store_conn(&s->store, i);
	unsigned worker = worker_of(s, &c->dir[1].key);
	int error = store_index_conn(&s->store, i, 1);

	if (error != 0 || worker == s->worker)
		return error;
	struct ring_message m = {
		.type = RING_ALIAS_ADD,
		.final = final,
		.answered = c->flags & CONN_ANSWERED,
		.node = s->conf->id,
		.alias = {.key = c->dir[1].key, .incarnation = c->incarnation, .conn = i},
	};
	if (shard_post(s, worker, &m))
		return 0;
	store_unindex_conn(&s->store, i, 1);
	return -ENOBUFS;
}

int conn_index(struct shard *s, uint32_t i, bool final)
{
	int error = store_index_conn(&s->store, i, 0);
	if (error != 0)
		return error;
	error = index_reversed(s, i, final);
	if (error != 0)
		store_unindex_conn(&s->store, i, 0);
	return error;
}

bool conn_unindex(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);

	if (c->dir[1].key.proto != 0) {
		unsigned worker = worker_of(s, &c->dir[1].key);
		struct ring_message m = {
			.type = RING_ALIAS_DEL,
			.alias = {.key = c->dir[1].key, .conn = i},
		};
		if (worker != s->worker && !shard_post(s, worker, &m))
			return false;
		store_unindex_conn(&s->store, i, 1);
	}
	store_unindex_conn(&s->store, i, 0);
	return true;
}

bool conn_free(struct shard *s, uint32_t i)
{
	struct conn *c = store_conn(&s->store, i);

	if (!index_forget(s, i) || !conn_unindex(s, i))
		return false;
	store_wheel_remove(&s->store, i);
	if (!(c->flags & CONN_ANSWERED))
		s->store.embryonic--;
	run_forget(s, i);
	if (c->flags & CONN_SYNCING)
		sync_forget(s, i);
	conn_delete(s, i);
	return true;
}

// ---- Records ----

static enum counter close_counter(enum tripod_reason why)
{
	switch (why) {
	case TRIPOD_TCP_CLOSED:
		return C_connections_closed_tcp;
	case TRIPOD_TIMEOUT:
		return C_connections_closed_timeout;
	case TRIPOD_TERMINATED:
		break;
	}
	return C_connections_closed_terminated;
}

static void end(struct shard *s, uint32_t i, enum tripod_reason why)
{
	run_close(s, i, why);
	count(s, close_counter(why));
	conn_bury(s, i, why);
}

// It has ended, of which all that have a copy have been told, the dead included.
static bool has_ended(const struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	bool told = holders_all(r, HOLDER_ACKED);

	if (c->state == CONN_TOMBSTONE)
		return told || !r->tells;
	return c->state == CONN_LIVE && conn_tcp_at(c, TCP_CLOSED) &&
	       (told || !masters_shared(s, i));
}

// Short lives may fill a table with what has ended: what did so first makes room, once stragglers, or repetitions of
// the last packets, have had their time.
static bool exhume(struct shard *s)
{
	struct recent *q = &s->ended;

	for (unsigned young = 0; q->head != q->tail && young < YOUNG_MAX;) {
		uint32_t i = q->at[q->tail++ & q->mask];
		const struct conn *c = store_conn(&s->store, i);
		if (!has_ended(s, i))
			continue; // one stays for its time, or others have its place
		bool live = c->state == CONN_LIVE;
		tick_t last = live ? conn_last_seen(c) : c->dir[0].seen;
		if (s->now - last < ticks_of_ms(live ? CLOSED_STAYS_MS : STRAGGLER_MS)) {
			note(q, i);
			young++;
			continue;
		}
		if (live && masters_shared(s, i))
			end(s, i, TRIPOD_TCP_CLOSED);
		if (!conn_free(s, i))
			return false;
		count(s, C_ended_evicted);
		return true;
	}
	return false;
}

uint32_t conn_new(struct shard *s, unsigned slot)
{
	uint32_t i = store_conn_new(&s->store);

	if (i == STORE_NONE && exhume(s))
		i = store_conn_new(&s->store);
	if (i == STORE_NONE)
		return STORE_NONE;
	store_conn(&s->store, i)->chain = (uint8_t)slot;
	s->chain_used[slot]++;
	return i;
}

void conn_delete(struct shard *s, uint32_t i)
{
	if (conn_chain(s, store_conn(&s->store, i))->kinds)
		kind_review_conn(s, i, true);
	s->chain_used[store_conn(&s->store, i)->chain]--;
	store_conn_free(&s->store, i);
}

// Opened by an answer whose connection was not known where it came.
static bool is_of_answer(const struct shard *s, const struct store_hit *hit)
{
	const struct conn *c = store_conn(&s->store, hit->index);

	return hit->dir == 0 && c->state == CONN_LIVE && c->dir[1].key.proto != 0 &&
	       !(c->flags & (CONN_ANSWERED | CONN_HELD));
}

void conn_make_way(struct shard *s, const struct tripod_tuple *reversed, bool answered)
{
	struct store_hit hit = store_find(&s->store, reversed, store_hash(&s->store, reversed));

	if (hit.what != STORE_CONN)
		return;
	const struct conn *c = store_conn(&s->store, hit.index);
	bool ended = c->state == CONN_TOMBSTONE || conn_tcp_at(c, TCP_CLOSED);
	bool masters = conn_masters(c, 0) || conn_masters(c, 1);
	bool vain = c->state == CONN_TOMBSTONE && !(c->flags & CONN_ANSWERED);
	if (ended && (!masters || (answered && vain))) {
		conn_free(s, hit.index);
	} else if (answered && is_of_answer(s, &hit)) {
		run_close(s, hit.index, TRIPOD_TERMINATED);
		conn_bury(s, hit.index, TRIPOD_TERMINATED);
		// Others may have asked for it meanwhile.
		holders_mark_only(store_repl(&s->store, hit.index), HOLDER_ACKED, shard_self(s));
		ending_now(s, hit.index);
		conn_free(s, hit.index); // or later, if there is no room in a ring
	}
}

// ---- Lives ----

// A clock that goes on by this node's own time, and is never behind what has been heard of another's. So
// nodes differ by less than a message takes, and who opens a key that has had a life elsewhere, of which
// there is no trace here, draws a higher number all the same.
uint64_t conn_lives(const struct shard *s)
{
	uint64_t ahead = atomic_load_explicit(&s->node->lives_ahead, memory_order_relaxed);
	uint64_t life = ((s->now_ns - s->node->started_ns) >> LIVES_SHIFT) + ahead;

	return life > s->last_life ? life : s->last_life + 1;
}

void conn_lives_heard(struct shard *s, uint64_t life)
{
	uint64_t age = (s->now_ns - s->node->started_ns) >> LIVES_SHIFT;
	_Atomic uint64_t *at = &s->node->lives_ahead;
	uint64_t ahead = atomic_load_explicit(at, memory_order_relaxed);

	// One that is near the end would leave no room for others above it.
	while (life <= WIRE_LIVES_MAX && life >= age + ahead &&
		!atomic_compare_exchange_weak_explicit(
			at, &ahead, life + 1 - age, memory_order_relaxed, memory_order_relaxed))
		;
}

// The incarnation of a new life, of a key whose lives up to `above` are known.
static uint64_t draw(struct shard *s, uint64_t above)
{
	uint64_t life = conn_lives(s);

	if (life <= incarnation_life(above))
		life = incarnation_life(above) + 1;
	s->last_life = life;
	return incarnation_of(life, s->conf->id);
}

// ---- Opening ----

enum counter conn_error_counter(int error)
{
	switch (error) {
	case -EEXIST:
		return C_drop_tuple_clash;
	case -ENOBUFS:
		return C_drop_ring_full;
	case -EPERM:
		return C_drop_unprotected;
	default:
		return C_drop_index_full;
	}
}

// Nodes that have a copy of record i, or of the life before it, and have not acknowledged what it is now. Who counts
// as dead may be back before it would have forgotten, and is told then.
static uint64_t unaware(const struct shard *s, uint32_t i)
{
	const struct conn_repl *r = store_repl(&s->store, i);

	return r->holders & ~holders_with(r, HOLDER_ACKED) & ~shard_self(s);
}

// The unanswered of longest standing makes room for a new one, so that a flood leaves each its time
// for an answer, and opens nothing for ever. false: none is found among the latest.
static bool evict(struct shard *s)
{
	struct recent *q = &s->unanswered;

	while (q->head != q->tail) {
		uint32_t i = q->at[q->tail++ & q->mask];
		const struct conn *c = store_conn(&s->store, i);
		if (c->state != CONN_LIVE || c->dir[1].key.proto == 0 ||
			(c->flags & (CONN_ANSWERED | CONN_REPLICATED | CONN_HELD)) ||
			unaware(s, i) != 0)
			continue;
		run_close(s, i, TRIPOD_TIMEOUT);
		count(s, C_connections_evicted);
		if (conn_free(s, i))
			return true;
		conn_bury(s, i, TRIPOD_TIMEOUT); // until there is room in a ring
		return false;
	}
	return false;
}

// A record for the first packet p, with no keys in the index yet; STORE_NONE: p was dropped.
static uint32_t open_record(
	struct shard *s, struct tripod_packet *p, uint64_t above, uint64_t holders, uint64_t told)
{
	uint64_t self = 1ull << s->conf->id;
	uint32_t i = conn_new(s, s->chain_current);

	if (i == STORE_NONE) {
		shard_drop(s, p, C_drop_table_full);
		return STORE_NONE;
	}
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	c->dir[0].key = p->tuple;
	c->dir[0].seen = c->dir[1].seen = s->now;
	c->incarnation = draw(s, above);
	c->state = CONN_LIVE;
	c->flags = CONN_MASTER_0 | CONN_MASTER_1;
	c->durability = (uint8_t)s->conf->durability;
	c->stamp = s->next_stamp += 257;
	conn_hold(s, r, self | holders);
	holders_mark(r, HOLDER_ACKED, self | told);
	for (unsigned part = 0; part < PARTS; part++)
		r->part[part] = (struct conn_version){.epoch = 1, .writer = s->conf->id};
	s->store.embryonic++;
	note(&s->unanswered, i);
	return i;
}

void conn_abandon(struct shard *s, uint32_t i)
{
	// Who has copies of the life before hears of its end with this one's.
	if (unaware(s, i) == 0 && conn_free(s, i))
		return;
	conn_bury(s, i, TRIPOD_TERMINATED);
	store_conn(&s->store, i)->flags |= CONN_REPLICATED;
	store_repl(&s->store, i)->tells = 1;
	repl_queue_all(s, i, store_repl(&s->store, i)->holders);
}

static void renumber(struct shard *s, uint32_t i, uint64_t incarnation)
{
	struct conn *c = store_conn(&s->store, i);
	uint64_t before = c->incarnation;

	c->incarnation = incarnation;
	run_raised(s, i, before);
	request_raised(s, i, before);
	kind_raised(s, i, before);
}

// Nothing has come of the life that has just been opened above another, and nobody has heard of it: what is told is
// the end of that one. An end of its own would end what a third node has opened meanwhile, for an earlier SYN.
static void open_failed(struct shard *s, uint32_t i, uint64_t above)
{
	if (above != 0 && !(store_conn(&s->store, i)->flags & (CONN_ANSWERED | CONN_REPLICATED)))
		renumber(s, i, incarnation_above(above, s->conf->id));
	conn_abandon(s, i);
}

// Gives a record back that never was in the index or the wheel.
static void open_undo(struct shard *s, uint32_t i)
{
	s->store.embryonic--;
	run_forget(s, i);
	conn_delete(s, i);
}

// Are there as many members to back it up as the connection is promised?
static bool admitted(const struct shard *s, const struct conn *c)
{
	uint64_t takers = shard_takers(s) & s->chain_nodes[c->chain];

	return !s->conf->refuse_short || conn_durability(c) == DURABILITY_NONE ||
	       (unsigned)__builtin_popcountll(takers) >= s->conf->backups;
}

int conn_complete(struct shard *s, uint32_t i, const struct tripod_packet *p)
{
	struct conn *c = store_conn(&s->store, i);
	int error;

	c->dir[1].key = tripod_tuple_reverse(&p->tuple);
	error = admitted(s, c) ? index_reversed(s, i, true) : -EPERM;
	if (error != 0) {
		c->dir[1].key.proto = 0;
		conn_abandon(s, i);
	} else {
		count(s, C_connections_opened);
		if (worker_of(s, &c->dir[1].key) != s->worker)
			count(s, C_opened_apart);
		index_young(s, i);
		// The switch may send what is not cut of it elsewhere.
		if (p->fragment)
			index_at_once(s, i);
		predict_opened(s, i);
	}
	return error;
}

bool conn_may_open(struct shard *s, struct tripod_packet *p)
{
	if (p->ttl <= 1) {
		forward_icmp_error(s, p, ICMP_TIME_EXCEEDED, 0);
		shard_drop(s, p, C_drop_ttl);
		return false;
	}
	if (p->flags & TRIPOD_PKT_ALIAS) {
		// The tuple's own worker opens connections. It is there that the next packet stays, now
		// that the record which brought this one here has gone.
		shard_drop(s, p, C_drop_unknown);
		return false;
	}
	if (s->store.embryonic >= s->conf->embryonic && !evict(s)) {
		shard_drop(s, p, C_drop_embryonic_full);
		return false;
	}
	return true;
}

void conn_open(struct shard *s, struct tripod_packet *p, uint64_t above_incarnation,
	uint64_t holders, uint64_t told)
{
	uint32_t i = open_record(s, p, above_incarnation, holders, told);
	if (i == STORE_NONE)
		return;
	struct conn *c = store_conn(&s->store, i);
	if (p->tuple.proto == IPPROTO_TCP)
		tcp_track(&c->dir[0].tcp, &c->dir[1].tcp, true, p);
	int error = store_index_conn(&s->store, i, 0);
	if (error != 0) {
		open_undo(s, i);
		shard_drop(s, p, conn_error_counter(error));
		return;
	}
	if (!p->fragment)
		predict_arrived(s, i, 0, s->conf->id);
	store_wheel_set(&s->store, i, s->now + ticks_of_ms(conn_timeout_ms(s, c)));
	switch (run_chain(s, p, i, 0, 0, true)) {
	case RUN_REFUSED:
		c->dir[1].key.proto = 0;
		open_failed(s, i, above_incarnation);
		return;
	case RUN_GONE:
		// Held: completed when the packet goes on. Otherwise an NF has dropped it or dealt with it
		// (a SYN proxy answers by itself), and there is nothing to remember.
		if (!(c->flags & CONN_HELD))
			open_failed(s, i, above_incarnation);
		return;
	case RUN_OUT:
		break;
	}
	error = conn_complete(s, i, p);
	if (error != 0) {
		shard_drop(s, p, conn_error_counter(error));
		return;
	}
	forward_out(s, p, i, 0);
}

// ---- Roles ----

void conn_hold(struct shard *s, struct conn_repl *r, uint64_t nodes)
{
	uint64_t left = holders_add(r, nodes);

	if (left == 0)
		return;
	// Who is dead makes room: it asks, or is sent the whole record, when it comes back.
	holders_remove(r, r->holders & ~s->live);
	if (holders_add(r, left) != 0)
		count(s, C_holders_full);
}

void conn_take_over(struct shard *s, uint32_t i, unsigned dir)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	unsigned changed = 1u << dir;

	count(s, C_takeovers);
	// What this node had learned when it handled the connection before is of that time.
	if (!(c->flags & (CONN_MASTER_0 | CONN_MASTER_1)))
		chain_forget_soft(conn_chain(s, c), c->nf);
	// Who has written it until now may have given copies of which this node has not heard: it is told the
	// whole, the list of holders included, and answers with what is missing there.
	holders_unmark(
		r, HOLDER_KNOWN, 1ull << r->part[dir].writer | 1ull << r->part[PART_SHARED].writer);
	r->part[dir] = (struct conn_version){
		.epoch = (uint16_t)(r->part[dir].epoch + !DEFECT(epoch)),
		.writer = s->conf->id,
	};
	c->flags |= CONN_MASTER_0 << dir;
	c->dir[dir].seen = s->now;
	c->dir[dir].next_hop = 0;
	// Another node has handled this direction until now: its windows are to be learned again.
	c->dir[dir].tcp.flags &= (uint8_t)~TCP_DIR_LEARNED;
	c->dir[!dir].tcp.flags &= (uint8_t)~TCP_DIR_LEARNED;
	if (dir == 0) {
		r->part[PART_SHARED] = (struct conn_version){
			.epoch = (uint16_t)(r->part[PART_SHARED].epoch + 1),
			.writer = s->conf->id,
		};
		r->former = 0;
		changed |= 1u << PART_SHARED;
		kind_review(s, i);
	}
	trim_list(s, i, 0);
	c->flags |= CONN_REPLICATED;
	// What moved once may be followed by more: UDP of unknown tuples asks before it opens.
	s->unsettled_ns = s->now_ns + 10 * 1000 * MS;
	repl_changed(s, i, changed);
	repl_protect(s, i);
	predict_wanted(s, i);
	conn_rewheel(s, i);
}

void conn_raise(struct shard *s, uint32_t i, uint64_t above)
{
	struct conn *c = store_conn(&s->store, i);

	renumber(s, i, incarnation_above(above, conn_opener(c)));
	store_repl(&s->store, i)->contested = CONTESTED;
}

void conn_answered(struct shard *s, uint32_t i)
{
	struct conn *c = store_conn(&s->store, i);

	if (c->flags & CONN_ANSWERED)
		return;
	c->flags |= CONN_ANSWERED;
	s->store.embryonic--;
	index_young(s, i);
	repl_protect(s, i);
	predict_wanted(s, i);
}

// ---- Ending ----

void conn_bury(struct shard *s, uint32_t i, enum tripod_reason why)
{
	struct conn *c = store_conn(&s->store, i);

	c->state = CONN_TOMBSTONE;
	c->reason = why;
	c->dir[0].seen = s->now;
	note(&s->ended, i);
	run_forget(s, i);
	kind_review(s, i);
	store_wheel_set(&s->store, i,
		s->now + (DEFECT(tombstone) ? 0 : ticks_of_ms(s->conf->tombstone_ms)));
}

void conn_close(struct shard *s, uint32_t i, enum tripod_reason why)
{
	end(s, i, why);
	store_repl(&s->store, i)->tells = 1;
	// Unanswered, it may have been opened over a life that others have copies of.
	if (store_repl(&s->store, i)->holders & ~(1ull << s->conf->id))
		store_conn(&s->store, i)->flags |= CONN_REPLICATED;
	repl_changed(s, i, 1u << PART_SHARED);
}

// The master tells the holders of activity they have not heard of, every quarter of the time-out. Not
// of what was before it was away: they may know better, or have forgotten what has ended since.
static void publish(struct shard *s, uint32_t i)
{
	struct conn *c = store_conn(&s->store, i);

	if ((int32_t)(conn_last_seen(c) - s->awake_from) < 0)
		return;
	uint16_t seen = (uint16_t)(conn_last_seen(c) >> 8);
	uint32_t quarter = ticks_of_ms(conn_timeout_ms(s, c) / 4) >> 8;

	if ((c->flags & CONN_REPLICATED) && (uint16_t)(seen - c->published) >= quarter / 2 &&
		seen != c->published)
		repl_changed(s, i, 1u << PART_DIR0 | 1u << PART_DIR1 | REPL_QUIET);
}

// A member that lives and has not heard of the end may yet send what it has: a worker of it stands
// still, or its frames are lost. For some time it is waited for; one that takes longer is dead, or as
// good as that.
static bool tombstone_stays(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	int32_t age = (int32_t)(s->now - c->dir[0].seen);
	int32_t stays = (int32_t)ticks_of_ms(s->conf->tombstone_ms);

	if (DEFECT(tombstone))
		return false;
	if (age < stays)
		return true;
	if (!r->tells || (r->holders & s->live & ~holders_with(r, HOLDER_ACKED)) == 0)
		return false;
	if (age < TOMBSTONE_PATIENCE * stays)
		return true;
	count(s, C_tombstones_untold);
	return false;
}

void conn_expire(struct shard *s, uint32_t i)
{
	struct conn *c = store_conn(&s->store, i);

	// Ticks wrap: what has been silent for longer than any time-out stays that old.
	for (unsigned d = 0; d < 2; d++) {
		if (s->now - c->dir[d].seen > AGE_MAX && (int32_t)(s->now - c->dir[d].seen) > 0)
			c->dir[d].seen = s->now - AGE_MAX;
	}
	if (c->state == CONN_TOMBSTONE) {
		if (tombstone_stays(s, i) || !conn_free(s, i))
			store_wheel_set(&s->store, i, s->now + ticks_of_ms(100));
		return;
	}
	if ((int32_t)(s->now - deadline(s, i)) < 0) {
		if (c->flags & (CONN_MASTER_0 | CONN_MASTER_1))
			publish(s, i);
		conn_rewheel(s, i);
		return;
	}
	if (masters_shared(s, i) && conn_tcp_at(c, TCP_CLOSED)) {
		end(s, i, TRIPOD_TCP_CLOSED);
		store_repl(&s->store, i)->tells = 1;
		repl_ended(s, i);
	} else if (masters_shared(s, i)) {
		conn_close(s, i, TRIPOD_TIMEOUT);
	} else if (conn_tcp_at(c, TCP_CLOSED)) {
		// The master does the same about now. What comes late finds a tombstone here, too.
		count(s, C_tombstones);
		conn_bury(s, i, TRIPOD_TCP_CLOSED);
	} else if (!conn_free(s, i)) {
		store_wheel_set(&s->store, i, s->now + ticks_of_ms(100));
	}
}

// ---- Showing ----

void conn_view(const struct shard *s, uint32_t i, struct conn_view *v)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	int32_t left = (int32_t)(deadline(s, i) - s->now);

	*v = (struct conn_view){
		.key = {c->dir[0].key, c->dir[1].key},
		.incarnation = c->incarnation,
		.holders = r->holders,
		.acked = holders_with(r, HOLDER_ACKED),
		.state = c->state,
		.durability = c->durability,
		.flags = c->flags,
		.tcp = (uint8_t)tcp_state(&c->dir[0].tcp, &c->dir[1].tcp),
		.master = {r->part[0].writer, r->part[1].writer},
		.shared = r->part[PART_SHARED].writer,
		.epoch = {r->part[0].epoch, r->part[1].epoch},
		.idle_ms = (uint32_t)(((uint64_t)(s->now - conn_last_seen(c)) << TICK_SHIFT) / MS),
		.expires_ms = left < 0 ? 0 : (uint32_t)(((uint64_t)left << TICK_SHIFT) / MS),
		.chain = conn_chain(s, c)->id,
		.nf_size = conn_chain(s, c)->state_size,
	};
	memcpy(v->nf_state, c->nf,
		v->nf_size < sizeof(v->nf_state) ? v->nf_size : sizeof(v->nf_state));
}
