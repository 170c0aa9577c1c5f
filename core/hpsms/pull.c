// SPDX-License-Identifier: BSD-3-Clause
// PullReplica (paper, Algorithm 1): a packet arrives and the connection is not here, or may have gone
// on elsewhere while this node was away. The index sets say which nodes may have it: these are asked,
// the packet waits, the others go on. If no set has it, the packet waits for a round, in which all
// members say what they have not told yet; a round serves all packets that came before it, so that a
// flood of unknown tuples costs no more messages than one. Questions of one step share messages, and
// what nobody had is remembered for a moment.
//
// Places to wait and the budget of questions are kept apart: what the index sets point at goes first,
// and what is asked on mere chance gets half of everything at most.
#include "core/hpsms/repl.h"

#define REPEAT_NS (10 * MS) // an unanswered request is repeated
#define FAILED_NS (200 * MS) // what nobody knows is not asked for again so soon
#define SURE_NS (1000 * MS) // what has been made sure of is taken for certain
#define WAITING_PER_PULL 16
#define FOUND_NS (3 * MS) // with a copy in hand, nobody waits longer for a better one
#define FALSE_MS 1000 // so long a fingerprint that led to nobody is mistrusted
#define SAVED_NS (100 * MS) // of unspent budget, at most
#define LOOK_NS (MS / 10) // between two looks at what waits for a round

static uint32_t *bucket(struct shard *s, uint64_t hash)
{
	return &s->pull_hash[hash & (PULL_HASH - 1)];
}

static uint32_t find(const struct shard *s, const struct tripod_tuple *key, uint64_t hash)
{
	uint32_t i = s->pull_hash[hash & (PULL_HASH - 1)];
	while (i != 0 && !tripod_tuple_equal(&s->pulls[i].key, key))
		i = s->pulls[i].chain;
	return i;
}

bool pull_waits(const struct shard *s, const struct tripod_tuple *key)
{
	uint32_t i = find(s, key, store_hash(&s->store, key));

	return i != 0 && s->pulls[i].state != PULL_FAILED;
}

static void release(struct shard *s, uint32_t i)
{
	struct pull *p = &s->pulls[i];
	uint32_t *link = bucket(s, p->hash);

	while (*link != i)
		link = &s->pulls[*link].chain;
	*link = p->chain;
	p->state = PULL_FREE;
}

void pull_init(struct shard *s, struct arena *a)
{
	s->pulls = arena_take(a, ((size_t)s->conf->pulls + 1) * sizeof(*s->pulls));
	s->waiting = arena_take(a, ((size_t)s->conf->waiting + 1) * sizeof(*s->waiting));
	if (s->waiting == NULL)
		return;
	for (uint32_t w = s->conf->waiting; w > 0; w--) {
		s->waiting[w].next = s->waiting_free;
		s->waiting_free = w;
	}
}

// A fingerprint that has led to nobody lately, perhaps because somebody has found tuples that share it
// with a connection's: what has it is asked for only as far as others leave room.
static bool is_false_print(const struct shard *s, uint32_t fp)
{
	uint32_t at = (fp >> 1) % FALSE_PRINTS;
	return s->false_print[at].fp == fp && (int32_t)(s->false_print[at].until - s->now) > 0;
}

static void note_false_print(struct shard *s, uint32_t fp)
{
	uint32_t at = (fp >> 1) % FALSE_PRINTS;

	s->false_print[at].fp = fp;
	s->false_print[at].until = s->now + ticks_of_ms(FALSE_MS);
}

// A free place, or the place of something that nobody knew; 0: all are being asked for.
static uint32_t allocate(struct shard *s)
{
	for (uint32_t n = 0; n < 32 && n < s->conf->pulls; n++) {
		if (++s->pull_scan > s->conf->pulls)
			s->pull_scan = 1;
		struct pull *p = &s->pulls[s->pull_scan];
		if (p->state == PULL_FAILED)
			release(s, s->pull_scan);
		if (p->state == PULL_FREE && !p->ask)
			return s->pull_scan;
	}
	return 0;
}

static void ask(struct shard *s, uint32_t i)
{
	if (s->pulls[i].ask)
		return;
	s->pulls[i].ask = true;
	s->pulls[i].next_ask = 0;
	if (s->ask_first == 0)
		s->ask_first = i;
	else
		s->pulls[s->ask_last].next_ask = i;
	s->ask_last = i;
}

// A token bucket counted in time: a pull costs 1/pull_per_s, at most 100 ms are saved up. A chance
// leaves half of that to others.
bool pull_spend(struct shard *s, uint64_t *tokens_ns, bool chance)
{
	if (*tokens_ns + SAVED_NS < s->now_ns)
		*tokens_ns = s->now_ns - SAVED_NS;
	if (*tokens_ns + s->conf->pull_cost_ns + (chance ? SAVED_NS / 2 : 0) > s->now_ns)
		return false;
	*tokens_ns += s->conf->pull_cost_ns;
	return true;
}

static void ask_nodes(struct shard *s, uint32_t i, uint64_t nodes)
{
	struct pull *p = &s->pulls[i];

	p->state = PULL_ASKING;
	p->tried |= nodes;
	p->awaited = nodes;
	p->asked_ns = s->now_ns;
	ask(s, i);
	if (s->next_tick_ns > s->now_ns + REPEAT_NS)
		s->next_tick_ns = s->now_ns + REPEAT_NS;
}

// chance: nothing points at the nodes.
static uint32_t begin(
	struct shard *s, const struct tripod_tuple *key, uint64_t hash, uint64_t nodes, bool chance)
{
	uint32_t i = 0;

	if ((!chance || s->pulls_asking < (s->conf->pulls + 1) / 2) &&
		pull_spend(s, &s->pull_tokens_ns, chance))
		i = allocate(s);
	if (i == 0)
		return 0;
	s->pulls[i] = (struct pull){
		.key = *key,
		.hash = hash,
		.fp = index_print(hash, key->direction),
		.started_ns = s->now_ns,
		.chain = *bucket(s, hash),
	};
	*bucket(s, hash) = i;
	s->pulls_asking++;
	ask_nodes(s, i, nodes);
	count(s, C_pulls_sent);
	return i;
}

// Of the places to wait, those that a packet may take.
enum places {
	PLACES_HALF = 2, // what nothing points at
	PLACES_MOST = 3, // what a fingerprint points at that has misled lately
	PLACES_ALL = 4,
};

static uint32_t wait_in(struct shard *s, const struct tripod_packet *p, enum places quarters)
{
	uint64_t most = ((uint64_t)s->conf->waiting * quarters + 3) / 4;
	return s->waiting_used < most ? shard_wait_new(s, p) : 0;
}

static void join(struct shard *s, uint32_t i, struct tripod_packet *p, enum places places)
{
	struct pull *pull = &s->pulls[i];
	uint32_t w = pull->n_waiting < WAITING_PER_PULL ? wait_in(s, p, places) : 0;

	if (w == 0) {
		shard_drop(s, p, C_drop_wait_full);
		return;
	}
	if (!pull->named && p->tuple.proto == IPPROTO_TCP &&
		tripod_tuple_equal(&p->tuple, &pull->key))
		pull->named = tcp_acknowledges(p, &pull->number);
	pull->n_waiting++;
	if (pull->first == 0)
		pull->first = w;
	else
		s->waiting[pull->last].next = w;
	pull->last = w;
}

static void wait_for_round(struct shard *s, struct tripod_packet *p, uint32_t fp)
{
	struct index_shard *x = &s->index;
	uint32_t w = wait_in(s, p, PLACES_HALF);

	if (w == 0) {
		shard_drop(s, p, C_drop_wait_full);
		return;
	}
	count(s, C_unknown_rounds);
	s->waiting[w].fp = fp;
	s->waiting[w].round = index_round(s);
	if (x->n++ == 0)
		x->first = w;
	else
		s->waiting[x->last].next = w;
	x->last = w;
}

bool pull_unknown(struct shard *s, struct tripod_packet *p, uint64_t hash, unsigned how)
{
	uint32_t fp = index_print(hash, p->tuple.direction);
	uint64_t nodes = index_candidates(s, fp);
	uint64_t blind = how & PULL_BLIND ? index_blind(s) : 0;
	enum places places = !index_on(s)            ? PLACES_ALL
			     : nodes == 0            ? PLACES_HALF
			     : is_false_print(s, fp) ? PLACES_MOST
						     : PLACES_ALL;
	uint32_t i = find(s, &p->tuple, hash);

	if (!index_on(s))
		how &= ~(unsigned)PULL_ROUNDS;
	if (i != 0 && s->pulls[i].state == PULL_FAILED) {
		// Asked a moment ago: what the packet may do without an answer, it does now. Unless
		// somebody has it meanwhile.
		if (!s->pulls[i].sure && s->now_ns - s->pulls[i].started_ns < FAILED_NS &&
			!(nodes & ~s->pulls[i].tried))
			return false;
		release(s, i);
		i = 0;
	}
	if (i != 0) {
		join(s, i, p, places);
		return true;
	}
	if ((nodes | blind) == 0) {
		if (!(how & PULL_ROUNDS))
			return false;
		wait_for_round(s, p, fp);
		return true;
	}
	i = begin(s, &p->tuple, hash, nodes | blind, places != PLACES_ALL);
	if (i == 0) {
		count(s, C_pulls_limited);
		if (how == 0)
			return false; // it may go on, and nothing moves
		shard_drop(s, p, C_drop_wait_full);
		return true;
	}
	s->pulls[i].rounds = how & PULL_ROUNDS;
	join(s, i, p, places);
	return true;
}

// Another round of repair looks at record i.
static void look_later(struct shard *s, uint32_t i)
{
	s->repair_next |= store_repl(&s->store, i)->holders & s->live;
	if (s->repair_at == 0)
		s->repair_at = 1;
}

// Which life is here, and how far it has come. What was answered of another, or before it began to end, says
// nothing of what has followed it.
static uint64_t life_here(const struct shard *s, const struct tripod_tuple *key, uint64_t hash)
{
	struct store_hit hit = store_find(&s->store, key, hash);

	if (hit.what != STORE_CONN)
		return 0;
	const struct conn *c = store_conn(&s->store, hit.index);
	return c->incarnation << 3 | tcp_state(&c->dir[0].tcp, &c->dir[1].tcp);
}

static void unlink_round(struct shard *s, uint32_t i)
{
	uint32_t *link = &s->round_first;

	while (*link != i)
		link = &s->pulls[*link].next_round;
	*link = s->pulls[i].next_round;
}

// A question that is under way makes sure of a connection that has come to be known. It may have been put for one that was
// unknown, to those alone that have told of it, and what they answer be of before: all these nodes are asked.
static void make_sure(struct shard *s, uint32_t i, uint64_t nodes)
{
	struct pull *p = &s->pulls[i];
	uint64_t others = nodes & ~p->tried;

	if (p->checks && others == 0)
		return;
	if (!p->checks && p->started_ns != s->now_ns)
		p->before = p->awaited;
	if (p->state == PULL_ROUND)
		unlink_round(s, i);
	ask_nodes(s, i, p->checks ? p->awaited | others : nodes);
	p->checks = true;
}

bool pull_check(struct shard *s, struct tripod_packet *p, const struct tripod_tuple *key,
	uint64_t nodes, bool chance)
{
	uint64_t hash = store_hash(&s->store, key);
	uint32_t i = find(s, key, hash);

	if (i != 0 && s->pulls[i].state == PULL_FAILED) {
		if (s->now_ns - s->pulls[i].started_ns < FAILED_NS &&
			s->pulls[i].life == life_here(s, key, hash))
			return false;
		release(s, i);
		i = 0;
	}
	nodes &= shard_others(s);
	if (i == 0)
		i = begin(s, key, hash, nodes, chance);
	if (i == 0) {
		count(s, C_pulls_limited);
		if (chance)
			return false;
		shard_drop(s, p, C_drop_wait_full);
		return true;
	}
	make_sure(s, i, nodes);
	join(s, i, p, PLACES_ALL);
	return true;
}

bool pull_validate(struct shard *s, uint32_t i)
{
	const struct tripod_tuple *key = &store_conn(&s->store, i)->dir[0].key;
	uint64_t hash = store_hash(&s->store, key);
	uint64_t nodes = store_repl(&s->store, i)->holders & shard_others(s);
	uint32_t at = find(s, key, hash);

	if (nodes == 0)
		return false;
	if (at != 0 && s->pulls[at].sure && s->now_ns - s->pulls[at].started_ns < SURE_NS)
		return false;
	if (at != 0 && s->pulls[at].state == PULL_FAILED &&
		s->now_ns - s->pulls[at].started_ns >= FAILED_NS) {
		release(s, at);
		at = 0;
	}
	if (at == 0)
		at = begin(s, key, hash, nodes, true);
	if (at == 0 || s->pulls[at].state == PULL_FAILED)
		look_later(s, i); // no budget, or asked in vain a moment ago
	else
		make_sure(s, at, nodes);
	return true;
}

// Others had copies of c, and each of them is dead or has started anew since it was heard of last: of its
// end they could know no more than of its life, and who never had a copy denies it either way. This node
// was there all the time, so they would have told it of an end before.
static bool is_last(const struct shard *s, const struct conn *c, uint64_t had, uint64_t denied)
{
	if (had == 0 || (int32_t)(conn_last_seen(c) - s->absent_from) < 0)
		return false;
	return (denied & repl_remember(s, c, had)) == 0;
}

// What was uncertain has been asked for. Who denies it had a copy, perhaps, and needs another. If all do,
// and did not forget in the time that a tombstone stays, it has ended: within the contract, one of those
// that had a copy would have it still. What nobody else ever had is kept, and what is the last copy.
static void checked(struct shard *s, struct pull *p, bool found)
{
	struct store_hit hit = store_find(&s->store, &p->key, p->hash);
	struct conn *c = store_conn(&s->store, hit.index);

	if (hit.what != STORE_CONN || c->state != CONN_LIVE)
		return;
	struct conn_repl *r = store_repl(&s->store, hit.index);
	bool denied = p->tried != 0 && (p->tried & ~p->denied) == 0;
	if (!found && !denied) {
		look_later(s, hit.index);
		return;
	}
	bool shared = holders_with(r, HOLDER_KNOWN) & ~shard_self(s);
	for (unsigned part = 0; part < PARTS; part++)
		shared |= r->part[part].writer != s->conf->id;
	uint64_t had = r->holders & ~shard_self(s);
	if (!found && shared && conn_forgettable(s, c) && !r->alone &&
		!is_last(s, c, had, p->denied)) {
		count(s, C_copies_forsaken);
		if (!conn_free(s, hit.index))
			look_later(s, hit.index);
		return;
	}
	p->sure = true;
	holders_unmark(r, HOLDER_ACKED, p->denied & r->holders);
	holders_unmark(r, HOLDER_KNOWN, p->denied & r->holders);
	if (c->flags & CONN_REPLICATED)
		repl_queue_all(s, hit.index, r->holders);
	conn_rewheel(s, hit.index);
}

// The packets that wait for it go on (or are lost), and it asks no more.
static void let_go(struct shard *s, uint32_t i, bool lost)
{
	struct pull *p = &s->pulls[i];
	uint32_t w = p->first;

	if (p->state == PULL_ROUND)
		unlink_round(s, i);
	while (w != 0) {
		uint32_t next = s->waiting[w].next;
		s->waiting[w].frame.flags |= TRIPOD_PKT_WAITED;
		s->waiting[w].lost = lost;
		shard_again(s, w);
		w = next;
	}
	p->first = p->last = 0;
	p->n_waiting = 0;
	s->pulls_asking--;
}

// Who should have told has not: what waits is lost, for it must not open another life of a connection that
// goes on elsewhere.
static void give_up(struct shard *s, uint32_t i)
{
	count(s, C_pulls_failed);
	let_go(s, i, true);
	release(s, i);
}

// What waits acknowledges another SYN+ACK than that of the connection that has come.
static bool is_other_opening(const struct pull *p, const struct conn *c)
{
	const struct tcp_dir *answers = &c->dir[1].tcp;

	if (!p->named)
		return false;
	// Nobody who has it knows of an answer, and the initiator acknowledges one.
	if (!conn_tcp_at(c, TCP_SYN_RECEIVED))
		return true;
	return answers->isn && !tcp_is_after_isn(p->number, answers->end);
}

// An answer tells of a connection that has come to its end: its ports may have been opened anew, by a node
// of which nobody has told. Or two nodes have opened it, and this is the one that the initiator has not taken. Those
// that have not been asked are, and those that have not answered. false: there are none.
static bool ask_for_other(struct shard *s, uint32_t i)
{
	struct pull *p = &s->pulls[i];
	struct store_hit hit = store_find(&s->store, &p->key, p->hash);
	const struct conn *c = store_conn(&s->store, hit.index);
	uint64_t others = (shard_others(s) & ~p->tried) | (p->awaited & s->live);

	bool all_asked = p->checks && (shard_others(s) & ~p->tried) == 0;
	if (all_asked || p->widened || hit.what != STORE_CONN || others == 0 ||
		(!conn_tcp_at(c, TCP_CLOSING) && !is_other_opening(p, c)))
		return false;
	if (p->state == PULL_ROUND)
		unlink_round(s, i);
	p->widened = true;
	p->found_ns = s->now_ns;
	ask_nodes(s, i, others);
	return true;
}

static void resolve(struct shard *s, uint32_t i, bool found)
{
	struct pull *p = &s->pulls[i];

	if (found && ask_for_other(s, i))
		return;
	if (p->checks)
		checked(s, p, found);
	// It has come, and has been given up again before the packets could go on: they must not open another.
	bool gone =
		found && !p->checks && store_find(&s->store, &p->key, p->hash).what == STORE_MISS;
	let_go(s, i, gone);
	if (found) {
		count(s, C_pulls_answered);
		// Connections are moving: what is unknown may be about to be known.
		s->unsettled_ns = s->now_ns + 10 * 1000 * MS;
	} else {
		count(s, C_pulls_failed);
	}
	if (found && !p->sure) {
		release(s, i);
		return;
	}
	p->state = PULL_FAILED;
	p->started_ns = s->now_ns;
	p->life = life_here(s, &p->key, p->hash);
}

// Those that may have it have it not.
static void exhausted(struct shard *s, uint32_t i)
{
	struct pull *p = &s->pulls[i];

	if (index_candidates(s, p->fp) & p->tried)
		note_false_print(s, p->fp);
	if (!p->rounds) {
		resolve(s, i, false);
		return;
	}
	p->rounds = false; // one is enough
	p->state = PULL_ROUND;
	p->round = index_round(s);
	p->next_round = s->round_first;
	s->round_first = i;
}

static void answered(struct shard *s, uint32_t i, unsigned from)
{
	struct pull *p = &s->pulls[i];

	p->awaited &= ~(1ull << from);
	// With a copy in hand, nobody waits for a member that misses heartbeats; without one, that member
	// may be the one who has it.
	if ((p->found ? p->awaited & shard_responsive(s) : p->awaited) != 0)
		return;
	if (p->found)
		resolve(s, i, true);
	else
		exhausted(s, i);
}

// The first answer of a node is one to what it was asked before, if it was.
static bool is_of_before(struct pull *p, unsigned from)
{
	bool before = p->before >> from & 1;

	p->before &= ~(1ull << from);
	return before;
}

void pull_found(struct shard *s, const struct tripod_tuple *key, bool final, unsigned from)
{
	uint32_t i = find(s, key, store_hash(&s->store, key));

	if (i == 0 || s->pulls[i].state == PULL_FAILED)
		return;
	if (!s->pulls[i].found) {
		s->pulls[i].found_ns = s->now_ns;
		if (s->next_tick_ns > s->now_ns + FOUND_NS)
			s->next_tick_ns = s->now_ns + FOUND_NS;
	}
	s->pulls[i].found = true;
	if (is_of_before(&s->pulls[i], from))
		return;
	s->pulls[i].awaited &= ~(1ull << from);
	if (final || s->pulls[i].state == PULL_ROUND)
		resolve(s, i, true);
	else
		answered(s, i, from);
}

bool pull_named(struct shard *s, const struct tripod_tuple *key, uint32_t *number)
{
	uint64_t hash = store_hash(&s->store, key);
	uint32_t i = s->pulls_asking == 0 ? 0 : find(s, key, hash);

	if (i == 0 || s->pulls[i].state == PULL_FAILED || !s->pulls[i].named)
		return false;
	*number = s->pulls[i].number;
	return true;
}

bool pull_none(struct shard *s, const struct tripod_tuple *key, unsigned from)
{
	uint32_t i = find(s, key, store_hash(&s->store, key));

	if (i == 0 || s->pulls[i].state != PULL_ASKING || !(s->pulls[i].awaited & 1ull << from))
		return false;
	bool checks = s->pulls[i].checks;
	if (is_of_before(&s->pulls[i], from))
		return checks;
	s->pulls[i].denied |= 1ull << from;
	answered(s, i, from);
	return checks;
}

void pull_peer_died(struct shard *s, unsigned node)
{
	for (uint32_t i = 1; i <= s->conf->pulls && s->pulls_asking > 0; i++) {
		if (s->pulls[i].state == PULL_ASKING && (s->pulls[i].awaited & 1ull << node))
			answered(s, i, node);
	}
}

// Packets of which no set told.
static void look_at_packets(struct shard *s)
{
	struct index_shard *x = &s->index;
	uint32_t w = x->first;

	x->first = x->last = x->n = 0;
	while (w != 0) {
		struct waiting *waiting = &s->waiting[w];
		uint32_t next = waiting->next;
		bool told = index_candidates(s, waiting->fp) != 0;
		bool over = index_round_over(s, waiting->round);
		// A member whose set has been lost meanwhile has not answered, either: it is asked itself, or, if its set is
		// here by now, in another round.
		told |= over && (index_blind(s) != 0 || !index_round_whole(s, waiting->round));
		waiting->next = 0;
		if (told || over) {
			waiting->lost = !told && index_round_lost(s, waiting->round);
			if (!told)
				waiting->frame.flags |= TRIPOD_PKT_WAITED;
			shard_again(s, w);
		} else {
			if (x->n++ == 0)
				x->first = w;
			else
				s->waiting[x->last].next = w;
			x->last = w;
		}
		w = next;
	}
}

void pull_look_again(struct shard *s)
{
	struct index_shard *x = &s->index;
	uint32_t serial = atomic_load_explicit(&s->node->index->serial, memory_order_relaxed);
	uint32_t next;

	for (uint32_t i = s->round_first; i != 0; i = next) {
		struct pull *p = &s->pulls[i];
		uint64_t nodes = (index_candidates(s, p->fp) | index_blind(s)) & ~p->tried;
		next = p->next_round;
		if (!index_round_over(s, p->round))
			continue;
		if (nodes == 0 && !p->checks && index_round_lost(s, p->round)) {
			give_up(s, i);
		} else if (nodes == 0 && index_blind(s) == 0 && !index_round_whole(s, p->round)) {
			p->round = index_round(s);
		} else if (nodes == 0) {
			resolve(s, i, false);
		} else {
			unlink_round(s, i);
			ask_nodes(s, i, nodes);
		}
	}
	// The oldest waits for the round that is over first.
	if (x->n == 0 || ((x->serial == serial || s->now_ns - x->looked_ns < LOOK_NS) &&
				 !index_round_over(s, s->waiting[x->first].round)))
		return;
	x->serial = serial;
	x->looked_ns = s->now_ns;
	look_at_packets(s);
}

// ---- Time ----

// Nobody has answered in time. Of a member that lives and has told that it has the connection this proves
// nothing: its packets do not open another or draw a reset, and the next one asks again.
static void timed_out(struct shard *s, uint32_t i)
{
	struct pull *p = &s->pulls[i];
	// Of one that misses heartbeats, too, and is in no set of keys like this, its backups have told.
	bool known = (index_candidates(s, p->fp) | shard_responsive(s)) & p->awaited;

	if (p->found || p->checks || !known) {
		if (!p->found)
			count(s, C_drop_wait_timeout);
		resolve(s, i, p->found);
		return;
	}
	give_up(s, i);
}

// When a pull is to be looked at again, having been looked at now.
static uint64_t look_at_pull(struct shard *s, uint32_t i)
{
	struct pull *p = &s->pulls[i];
	// A copy that may not be the newest is as good as what a node has that takes over from one of
	// its own: a member that does not answer is not waited for long. But not to make sure.
	bool enough = p->found && !p->checks;

	if (enough && s->now_ns - p->found_ns >= FOUND_NS) {
		resolve(s, i, true);
		return p->state == PULL_ASKING ? p->found_ns + FOUND_NS : UINT64_MAX;
	}
	if (s->now_ns - p->started_ns >= s->conf->pull_timeout_ms * MS) {
		timed_out(s, i);
		return UINT64_MAX;
	}
	if (s->now_ns - p->asked_ns >= REPEAT_NS) {
		p->asked_ns = s->now_ns;
		ask(s, i);
	}
	uint64_t next = p->asked_ns + REPEAT_NS;
	return enough && p->found_ns + FOUND_NS < next ? p->found_ns + FOUND_NS : next;
}

uint64_t pull_tick(struct shard *s)
{
	uint64_t next = UINT64_MAX;

	for (uint32_t i = 1; i <= s->conf->pulls && s->pulls_asking > 0; i++) {
		if (s->pulls[i].state != PULL_ASKING)
			continue;
		uint64_t at = look_at_pull(s, i);
		next = at < next ? at : next;
	}
	return next;
}
