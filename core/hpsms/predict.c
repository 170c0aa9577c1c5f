// SPDX-License-Identifier: BSD-3-Clause
// What is known of where connections' packets will arrive, what is asked of the switch, and whether it
// turns out right.
//
// Answers stay in a small cache by what the switch hashes, not in the records: they are looked at a few
// times while a connection's copies are placed, by both of its directions, and can be asked for again.
#include "core/shard.h"

#include <netinet/in.h>

#define JOBS 512 // keys asked for at one time
#define CACHE 4096 // pairs of answers, a power of two
#define RETRY_NS (20 * MS) // longer than a busy peer takes to answer
#define TRIES 3
#define JOB_NS (200 * MS) // a key's questions are given up after that, whatever is missing
#define BURST_NS (20 * MS) // of questions, saved up
#define SETTLE_NS (500 * MS) // a change of ports that has lasted so long is predicted for
#define WALK_SCAN 256 // records looked at in one tick
#define WALK_PERIOD_NS (2 * MS)
#define CALM_NS (1000 * MS)
#define AGAIN_NS                                                                                   \
	(10 * 1000 * MS) // what nobody has answered is asked again; then after twice as long
#define AGAIN_MAX_NS (16 * AGAIN_NS)
#define WINDOW 128 // checks that are judged together
#define WRONG_MAX 12 // of them: more, and this way to predict is not used
#define SILENCE_MAX 64 // questions without any answer: nobody is there who would
#define MUTE_NS (10 * 1000 * MS) // then none for so long
#define SAMPLE 16 // one arrival in so many is asked of the switch, too

struct predict_job { // the questions about one key
	uint64_t nonce; // 0: free
	uint64_t hash; // of what the switch hashes
	struct tripod_tuple key;
	uint64_t incarnation;
	uint64_t begun_ns, asked_ns;
	struct nexthop got;
	uint32_t conn;
	uint32_t next; // in its hash list, or free list
	uint32_t newer, older;
	uint16_t sent; // questions that have left
	uint8_t tries;
	uint8_t failures; // to be ready for
	bool check; // the packets arrive here, by what the switch did: does it say so?
};

struct predict_entry { // the latest first
	uint64_t hash[2];
	struct nexthop got[2];
};

const char *predict_how_name(enum predict_how how)
{
	static const char *const names[] = {"none", "computed", "probed"};
	return names[how];
}

void predict_init(struct shard *s, struct arena *a)
{
	struct predict *p = &s->predict;
	bool probes = s->conf->predict_vlan != 0;

	for (unsigned i = 0; i < NODES_MAX; i++)
		p->all |= s->conf->member[i].present ? 1ull << i : 0;
	p->cache = arena_take(a, probes ? CACHE * sizeof(*p->cache) : 64);
	p->jobs = arena_take(a, probes ? (JOBS + 1) * sizeof(*p->jobs) : 64);
	if (p->jobs == NULL || !probes)
		return;
	for (uint32_t j = JOBS; j > 0; j--) {
		p->jobs[j].next = p->free;
		p->free = j;
	}
}

// ---- Who is right ----

enum predict_how predict_how(const struct shard *s)
{
	if (s->conf->next_hop != NULL && !s->predict.computed.lost)
		return PREDICT_COMPUTED;
	bool asks = s->conf->predict_vlan != 0 && !s->predict.probed.lost &&
		    s->now_ns >= s->predict.mute_until_ns;
	return asks ? PREDICT_PROBED : PREDICT_NONE;
}

static void unanswered(struct shard *s)
{
	struct predict *p = &s->predict;

	count(s, C_predict_unanswered);
	p->silent = true;
	// A place at a dead port answers as little as a switch without groups would.
	if (s->conf->switch_model != SWITCH_RESILIENT && (p->heard & ~s->ports) != 0)
		return;
	if (++p->silence < SILENCE_MAX)
		return;
	p->silence = 0;
	p->mute_until_ns = s->now_ns + MUTE_NS;
	p->walk_due = true; // should there be somebody then
}

static void judge(struct shard *s, struct predict_trust *t, const struct predict_checks *c)
{
	enum predict_how was = predict_how(s);

	s->counters[C_predictions_right] += c->right;
	s->counters[C_predictions_wrong] += c->wrong;
	t->counted.right += c->right;
	t->counted.wrong += c->wrong;
	uint32_t all = t->counted.right + t->counted.wrong;
	uint32_t most = all > WINDOW ? all / WINDOW * WRONG_MAX : WRONG_MAX;
	if (t->counted.wrong <= most && all < WINDOW)
		return;
	t->lost = t->counted.wrong > most;
	t->counted = (struct predict_checks){0};
	if (predict_how(s) == was)
		return;
	count(s, C_predict_fallbacks);
	if (predict_how(s) == PREDICT_PROBED)
		s->predict.walk_due = true;
	else
		repl_repair_start(s, false);
}

// Takes those that are old enough, and forgets all of a time at which ports may have changed.
static void ripen(struct shard *s, struct predict_trust *t)
{
	uint64_t ripe_ns = 2ull * s->conf->dead_after_ms * MS;

	if (t->epoch != s->predict.epoch) {
		t->epoch = s->predict.epoch;
		t->late = t->later = (struct predict_checks){0};
		t->since_ns = s->now_ns;
	}
	if (s->now_ns - t->since_ns < ripe_ns)
		return;
	struct predict_checks ripe = t->late;
	t->late = t->later;
	t->later = (struct predict_checks){0};
	t->since_ns = s->now_ns;
	judge(s, t, &ripe);
}

static void checked(struct shard *s, struct predict_trust *t, bool right)
{
	ripen(s, t);
	t->later.right += right;
	t->later.wrong += !right;
}

static uint64_t coming(const struct shard *s)
{
	return s->live & ~s->draining & ~s->ports;
}

// Groups without live ports at some places answer nothing there until the switch is given others. Where each
// flow has its own order there are no such groups.
static void ask_again(struct shard *s)
{
	struct predict *p = &s->predict;

	if (!p->silent || s->conf->switch_model == SWITCH_RESILIENT ||
		s->now_ns - p->again_ns < p->patience_ns)
		return;
	p->silent = false;
	p->again_ns = s->now_ns;
	if (p->patience_ns < AGAIN_MAX_NS)
		p->patience_ns *= 2;
	p->epoch++;
	p->walk_due = true;
}

// Notices that ports have come or gone, and that the switch must have noticed as well: what it has
// answered meanwhile may be of either time.
static void look_at_ports(struct shard *s)
{
	struct predict *p = &s->predict;

	uint32_t changes = atomic_load_explicit(&s->node->port_changes, memory_order_relaxed);
	p->heard |= s->live;
	if (s->ports == p->ports && coming(s) == p->coming && changes == p->port_changes) {
		bool settles = p->unsettled && s->now_ns - p->changed_ns >= SETTLE_NS;
		p->epoch += settles;
		p->unsettled &= !settles;
		ask_again(s);
		return;
	}
	p->silent = false;
	p->again_ns = s->now_ns;
	p->patience_ns = AGAIN_NS;
	p->unsettled = true;
	p->ports = s->ports;
	p->coming = coming(s);
	p->port_changes = changes;
	p->changed_ns = s->now_ns;
	p->epoch++;
	p->walk_due = true;
}

// The members agree with the switch, as far as can be seen.
static bool calm(const struct shard *s)
{
	return s->live == s->ports && s->now_ns - s->predict.changed_ns > CALM_NS &&
	       s->live == shard_responsive(s);
}

int predict_computed(const struct shard *s, const struct tripod_tuple *t)
{
	if (s->conf->next_hop == NULL)
		return NEXT_HOP_UNKNOWN;
	return s->conf->next_hop(s->conf->next_hop_ctx, t, s->ports);
}

static bool computes_self(const struct shard *s, const struct tripod_tuple *key, uint64_t ports)
{
	return s->conf->next_hop(s->conf->next_hop_ctx, key, ports) == s->conf->id;
}

// While ports change the switch may know of it already, and nothing can be said; unless the packet comes
// from a node that is silent: then it does know of that, and perhaps of others that are.
static void check_computed(struct shard *s, const struct tripod_tuple *key, unsigned before)
{
	uint64_t gone = before == s->conf->id ? 0 : 1ull << before;
	bool died = (gone & ~shard_responsive(s)) != 0;
	bool right = computes_self(s, key, s->ports);

	if (died && !right)
		right = computes_self(s, key, s->ports & ~gone) ||
			computes_self(s, key, s->ports & shard_responsive(s) & ~gone);
	if (died || calm(s))
		checked(s, &s->predict.computed, right);
}

// ---- What is known ----

static struct nexthop_ports ports_of(const struct shard *s, unsigned failures)
{
	return (struct nexthop_ports){
		.model = s->conf->switch_model,
		.all = s->predict.all,
		.heard = s->predict.heard,
		.up = s->ports & s->predict.all,
		.coming = failures > 0 ? s->predict.coming : 0,
		.failures = failures,
		.most = s->conf->predict_failures,
		.epoch = s->predict.epoch,
	};
}

// ... for the copies that this node places.
static struct nexthop_ports ports_for_copies(const struct shard *s)
{
	return ports_of(s, s->conf->backups + (s->draining & shard_self(s) ? 1 : 0));
}

// Keys that the switch cannot tell apart have one hash.
static uint64_t hashed(const struct shard *s, const struct tripod_tuple *key)
{
	struct tripod_tuple t = *key;
	bool swap = key->direction == TRIPOD_OUTGOING;

	if (t.proto != IPPROTO_TCP && t.proto != IPPROTO_UDP)
		t.sport = t.dport = 0;
	if (s->conf->switch_hash == SWITCH_5_TUPLE)
		return store_hash(&s->store, &t);
	if (s->conf->switch_hash == SWITCH_SYMMETRIC) {
		int order = memcmp(&t.src, &t.dst, sizeof(t.src));
		swap = order > 0 || (order == 0 && t.sport > t.dport);
	}
	if (swap)
		t = tripod_tuple_reverse(&t);
	t.direction = 0;
	if (s->conf->switch_hash == SWITCH_OUTSIDE_ENDPOINT) {
		t.dst = (struct tripod_addr){0};
		t.dport = 0;
	}
	return store_hash(&s->store, &t);
}

static void known(const struct shard *s, uint64_t hash, struct nexthop *out)
{
	const struct predict_entry *e = &s->predict.cache[hash & (CACHE - 1)];
	struct nexthop_ports ports = ports_for_copies(s);

	unsigned way = e->hash[0] == hash ? 0 : 1;
	if (e->hash[way] != hash || e->got[way].epoch == 0) {
		nexthop_init(out, &ports);
		return;
	}
	*out = e->got[way];
	nexthop_renew(out, &ports);
}

static void learn(struct predict *p, uint64_t hash, const struct nexthop *got)
{
	struct predict_entry *e = &p->cache[hash & (CACHE - 1)];

	if (e->hash[0] != hash) {
		e->hash[1] = e->hash[0];
		e->got[1] = e->got[0];
	}
	e->hash[0] = hash;
	e->got[0] = *got;
}

static int next_of(
	const struct shard *s, const struct nexthop *h, const struct tripod_tuple *key, uint64_t up)
{
	int node = h == NULL ? s->conf->next_hop(s->conf->next_hop_ctx, key, up)
			     : nexthop_next(h, s->conf->switch_model, s->predict.all, up);

	// The function is the configuration's: it may say anything.
	return node >= 0 && node < NODES_MAX && (up & 1ull << node) ? node : NEXT_HOP_UNKNOWN;
}

int predict_next(const struct shard *s, const struct tripod_tuple *key, uint64_t up)
{
	enum predict_how how = predict_how(s);
	struct nexthop h;

	if (how == PREDICT_NONE)
		return NEXT_HOP_UNKNOWN;
	if (how == PREDICT_PROBED)
		known(s, hashed(s, key), &h);
	return next_of(s, how == PREDICT_PROBED ? &h : NULL, key, up);
}

uint64_t predict_arrivals(
	const struct shard *s, const struct tripod_tuple *key, uint64_t ports, unsigned n)
{
	enum predict_how how = predict_how(s);
	struct nexthop h;
	uint64_t nodes = 0;

	if (how == PREDICT_PROBED)
		known(s, hashed(s, key), &h);
	for (unsigned k = 0; how != PREDICT_NONE && k <= n && ports != 0; k++) {
		int node = next_of(s, how == PREDICT_PROBED ? &h : NULL, key, ports);
		if (node < 0 && how == PREDICT_PROBED && h.base == NEXTHOP_DOWN &&
			s->conf->switch_model == SWITCH_TWO_STAGE)
			nodes |= ports & s->predict.coming; // perhaps there
		if (node < 0)
			break;
		nodes |= 1ull << node;
		ports &= ~(1ull << node);
	}
	return nodes;
}

enum tripod_affinity predict_affinity(
	const struct shard *s, const struct tripod_tuple *key, const struct tripod_tuple *reversed)
{
	uint64_t ports = s->ports | shard_self(s), rest = ports & ~shard_self(s);

	if (hashed(s, key) == hashed(s, reversed) || predict_how(s) != PREDICT_COMPUTED)
		return TRIPOD_TOGETHER;
	if (next_of(s, NULL, reversed, ports) != s->conf->id)
		return TRIPOD_APART;
	if (rest == 0 || next_of(s, NULL, key, rest) == next_of(s, NULL, reversed, rest))
		return TRIPOD_TOGETHER;
	return TRIPOD_TOGETHER_NOW;
}

// ---- Questions ----

static bool spend(struct shard *s)
{
	uint64_t *tokens_ns = &s->predict.tokens_ns;

	if (s->now_ns - *tokens_ns > BURST_NS)
		*tokens_ns = s->now_ns - BURST_NS;
	if (s->now_ns - *tokens_ns < s->conf->predict_cost_ns)
		return false;
	*tokens_ns += s->conf->predict_cost_ns;
	return true;
}

// What can wait leaves half of everything to what cannot.
static bool plenty(const struct shard *s)
{
	return s->predict.used < JOBS / 2 && s->now_ns - s->predict.tokens_ns > BURST_NS / 2;
}

static void unlink_order(struct predict *p, struct predict_job *j)
{
	*(j->older != 0 ? &p->jobs[j->older].newer : &p->oldest) = j->newer;
	*(j->newer != 0 ? &p->jobs[j->newer].older : &p->newest) = j->older;
}

static void link_newest(struct predict *p, struct predict_job *j)
{
	uint32_t at = (uint32_t)(j - p->jobs);

	j->older = p->newest;
	j->newer = 0;
	*(p->newest != 0 ? &p->jobs[p->newest].newer : &p->oldest) = at;
	p->newest = at;
}

// Asks what is missing and has been asked neither now nor before. false: not all has left.
static bool send_questions(struct shard *s, struct predict_job *j, uint16_t bits)
{
	struct nexthop_ports ports = ports_of(s, j->failures);
	struct wire_predicate q = {
		.nonce = j->nonce,
		.hash = store_hash(&s->store, &j->key),
		.epoch = s->predict.epoch,
	};

	for (; bits != 0; bits &= bits - 1) {
		unsigned bit = bits & -(unsigned)bits;
		q.group = (uint8_t)nexthop_group(&j->got, &ports, bit);
		if (!spend(s) || !predicate_send(s, &j->key, &q))
			return false;
		j->sent |= (uint16_t)bit;
	}
	return true;
}

static struct predict_job *job_of(struct predict *p, uint32_t i, uint64_t hash)
{
	for (uint32_t j = p->hash[i % PREDICT_HASH]; j != 0; j = p->jobs[j].next) {
		if (p->jobs[j].conn == i && p->jobs[j].hash == hash && !p->jobs[j].check)
			return &p->jobs[j];
	}
	return NULL;
}

static void job_free(struct predict *p, struct predict_job *j)
{
	uint32_t at = (uint32_t)(j - p->jobs), *link = &p->hash[j->conn % PREDICT_HASH];

	while (*link != at)
		link = &p->jobs[*link].next;
	*link = j->next;
	unlink_order(p, j);
	*j = (struct predict_job){.next = p->free};
	p->free = at;
	p->used--;
}

// Copies that are missing at the predicted nodes.
static void place(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);

	if (c->state != CONN_LIVE || !(c->flags & CONN_ANSWERED) ||
		conn_durability(c) == DURABILITY_NONE ||
		store_repl(&s->store, i)->part[PART_SHARED].writer != s->conf->id ||
		place_missing(s, i) == 0)
		return;
	count(s, C_predict_moved);
	repl_protect(s, i);
}

static void job_done(struct shard *s, struct predict_job *j)
{
	struct predict *p = &s->predict;
	uint32_t i = j->conn;
	uint64_t incarnation = j->incarnation;
	int node = nexthop_next(&j->got, s->conf->switch_model, p->all, s->ports);
	bool check = j->check;

	// A check knows less, and must not displace what is there.
	if (!check)
		learn(p, j->hash, &j->got);
	job_free(p, j);
	if (check && node >= 0 && calm(s))
		checked(s, &p->probed, node == s->conf->id);
	if (!check && store_conn(&s->store, i)->incarnation == incarnation)
		place(s, i);
}

// Goes on with what the last answer, or silence, leaves to ask.
static void job_on(struct shard *s, struct predict_job *j)
{
	struct nexthop_ports ports = ports_of(s, j->failures);
	uint16_t bits = nexthop_missing(&j->got, &ports);

	if (bits == 0) {
		job_done(s, j);
		return;
	}
	send_questions(s, j, bits & (uint16_t)~j->sent);
}

static void job_new(struct shard *s, uint32_t i, const struct tripod_tuple *key, uint64_t hash,
	const struct nexthop *got, bool check)
{
	struct predict *p = &s->predict;
	uint32_t at = p->free;

	if (at == 0) {
		count(s, C_predict_limited);
		p->walk_due |= !check;
		return;
	}
	struct predict_job *j = &p->jobs[at];
	p->free = j->next;
	p->used++;
	*j = (struct predict_job){
		.nonce = (rng_next(&s->rng) & ~(uint64_t)1023) | at,
		.hash = hash,
		.key = *key,
		.conn = i,
		.incarnation = store_conn(&s->store, i)->incarnation,
		.begun_ns = s->now_ns,
		.asked_ns = s->now_ns,
		.got = *got,
		.failures = check ? 0 : s->conf->backups + (s->draining & shard_self(s) ? 1 : 0),
		.check = check,
		.next = p->hash[i % PREDICT_HASH],
	};
	p->hash[i % PREDICT_HASH] = at;
	link_newest(p, j);
	if (s->next_tick_ns > s->now_ns + RETRY_NS)
		s->next_tick_ns = s->now_ns + RETRY_NS;
	job_on(s, j);
}

// What it is asked for once more, or given up.
static void job_again(struct shard *s, struct predict_job *j)
{
	struct predict *p = &s->predict;
	struct nexthop_ports ports = ports_of(s, j->failures);

	unlink_order(p, j);
	link_newest(p, j);
	j->asked_ns = s->now_ns;
	if (j->got.epoch != p->epoch) {
		nexthop_renew(&j->got, &ports);
		j->sent = j->tries = 0;
	}
	uint16_t bits = nexthop_missing(&j->got, &ports);
	bool late = s->now_ns - j->begun_ns > JOB_NS;
	if (late && j->tries < TRIES)
		count(s, C_predict_limited);
	if (late && j->tries < TRIES)
		p->walk_due |= !j->check;
	if (late) {
		job_done(s, j);
		return;
	}
	if (j->tries >= TRIES) {
		for (uint16_t left = bits & j->sent; left != 0; left &= left - 1) {
			unanswered(s);
			nexthop_silent(&j->got, &ports, left & -(unsigned)left);
		}
		j->tries = 0;
		job_on(s, j);
		return;
	}
	j->tries += send_questions(s, j, bits);
}

void predict_confirmed(struct shard *s, unsigned node, const struct wire_confirm *c)
{
	struct predict *p = &s->predict;
	uint32_t at = (uint32_t)(c->nonce & 1023);
	struct predict_job *j = at <= JOBS && s->conf->predict_vlan != 0 ? &p->jobs[at] : NULL;

	look_at_ports(s);
	if (j == NULL || j->nonce != c->nonce || c->epoch != p->epoch || j->got.epoch != p->epoch) {
		count(s, C_confirms_stale);
		return;
	}
	struct nexthop_ports ports = ports_of(s, j->failures);
	uint16_t bits = nexthop_missing(&j->got, &ports) & j->sent;
	for (; bits != 0; bits &= bits - 1) {
		unsigned bit = bits & -(unsigned)bits;
		if (nexthop_group(&j->got, &ports, bit) != c->group)
			continue;
		nexthop_answered(&j->got, &ports, bit, node, c->place);
		p->silence = 0;
		job_on(s, j);
		return;
	}
	count(s, C_confirms_stale); // answered before
}

// ---- When ----

// true: all is known.
static bool ask(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	struct nexthop_ports ports = ports_for_copies(s);
	uint64_t hash[2] = {hashed(s, &c->dir[0].key)};
	bool all = true;

	hash[1] = c->dir[1].key.proto == 0 ? hash[0] : hashed(s, &c->dir[1].key);
	// Of the second, if it is known by now and the switch sees a difference.
	for (unsigned d = 0; d < (hash[0] == hash[1] ? 1 : 2); d++) {
		struct nexthop h;
		known(s, hash[d], &h);
		if (nexthop_missing(&h, &ports) == 0)
			continue;
		all = false;
		if (job_of(&s->predict, i, hash[d]) == NULL)
			job_new(s, i, &c->dir[d].key, hash[d], &h, false);
	}
	return all;
}

static bool of_interest(const struct shard *s, uint32_t i)
{
	return predict_how(s) == PREDICT_PROBED && s->conf->backups > 0 &&
	       conn_durability(store_conn(&s->store, i)) != DURABILITY_NONE &&
	       store_repl(&s->store, i)->part[PART_SHARED].writer == s->conf->id;
}

void predict_opened(struct shard *s, uint32_t i)
{
	look_at_ports(s);
	if (of_interest(s, i) && plenty(s))
		ask(s, i);
}

void predict_wanted(struct shard *s, uint32_t i)
{
	look_at_ports(s);
	if (of_interest(s, i))
		ask(s, i);
}

void predict_arrived(struct shard *s, uint32_t i, unsigned dir, unsigned before)
{
	const struct tripod_tuple *key = &store_conn(&s->store, i)->dir[dir].key;
	struct nexthop nothing;

	look_at_ports(s);
	if (s->conf->next_hop != NULL)
		check_computed(s, key, before);
	if (s->conf->predict_vlan == 0 || s->now_ns < s->predict.mute_until_ns || !calm(s))
		return;
	// Each one, when it is to be found out whether answers are right again.
	if ((s->predict.samples++ % SAMPLE != 0 && !s->predict.probed.lost) || !plenty(s))
		return;
	struct nexthop_ports ports = ports_of(s, 0);
	nexthop_init(&nothing, &ports);
	job_new(s, i, key, hashed(s, key), &nothing, true);
}

// Predicts anew, a little at a time. false: nothing to do.
static bool walk(struct shard *s)
{
	struct predict *p = &s->predict;

	if (predict_how(s) != PREDICT_PROBED)
		return false;
	if (p->walk_at == 0) {
		if (!p->walk_due || s->now_ns - p->changed_ns < SETTLE_NS)
			return p->walk_due;
		p->walk_due = false;
		p->walk_at = 1;
	}
	for (unsigned n = 0; n < WALK_SCAN; n++, p->walk_at++) {
		if (p->walk_at > s->store.highest) {
			p->walk_at = 0;
			return p->walk_due;
		}
		const struct conn *c = store_conn(&s->store, p->walk_at);
		if (c->state != CONN_LIVE || !(c->flags & CONN_ANSWERED) ||
			!of_interest(s, p->walk_at))
			continue;
		if (!plenty(s))
			break;
		if (ask(s, p->walk_at))
			place(s, p->walk_at);
	}
	return true;
}

uint64_t predict_tick(struct shard *s)
{
	struct predict *p = &s->predict;

	look_at_ports(s);
	ripen(s, &p->computed);
	ripen(s, &p->probed);
	if (s->conf->predict_vlan == 0)
		return UINT64_MAX;
	while (p->oldest != 0 && s->now_ns - p->jobs[p->oldest].asked_ns >= RETRY_NS)
		job_again(s, &p->jobs[p->oldest]);
	uint64_t next_ns = walk(s) ? s->now_ns + WALK_PERIOD_NS : UINT64_MAX;
	if (p->oldest != 0 && p->jobs[p->oldest].asked_ns + RETRY_NS < next_ns)
		next_ns = p->jobs[p->oldest].asked_ns + RETRY_NS;
	return next_ns;
}
