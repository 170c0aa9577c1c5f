// SPDX-License-Identifier: BSD-3-Clause
// All tables of all nodes, as they lie in memory. Versions never go back on a node, nothing is alive
// again that had ended, and once nothing changes any more all copies are equal and enough.
#include <netinet/in.h>

#include "sim/check.h"
#include "sim/world.h"

#define WALK_SEEN_MS 1000 // packets have come in that time: no forgotten record
#define QUIET_WALKS 8 // as many in a row with the same wrong copies are a violation

static const char *text_of(const struct tripod_tuple *key)
{
	static char text[TRIPOD_TUPLE_STRLEN];

	return tripod_tuple_format(key, text, sizeof(text));
}

// Against what the same node had at the last walk.
static void check_snap(struct world *w, unsigned i, struct snap *before, const struct conn *c,
	const struct conn_repl *r, uint64_t hash)
{
	struct tripod_tuple keys[2] = {c->dir[0].key, c->dir[1].key};

	if (before->hash == hash && before->incarnation == c->incarnation) {
		if (before->state == CONN_TOMBSTONE && c->state == CONN_LIVE)
			check_violation(w, "reborn", keys, 2, "node %u: %s lives again", i,
				text_of(&keys[0]));
		for (unsigned p = 0; p < 3; p++) {
			if (check_newer(&before->part[p], &r->part[p]))
				check_violation(w, "superseded", keys, 2,
					"node %u: part %u of %s went back from (%u, %u, %u) to "
					"(%u, %u, %u)",
					i, p, text_of(&keys[0]), before->part[p].epoch,
					before->part[p].version, before->part[p].writer,
					r->part[p].epoch, r->part[p].version, r->part[p].writer);
		}
	}
	*before =
		(struct snap){hash, c->incarnation, {r->part[0], r->part[1], r->part[2]}, c->state};
}

// Its master would have ended it by now, if there is one: backups keep it for twice as long.
static bool overdue(const struct world *w, const struct shard *s, const struct conn *c)
{
	tick_t now = tick_of(w->now_ns);
	int32_t age = (int32_t)(now - c->dir[0].seen), other = (int32_t)(now - c->dir[1].seen);

	return (age < other ? age : other) > (int32_t)ticks_of_ms(conn_timeout_ms(s, c));
}

// Against what other nodes have, and what was there before.
static void check_known(struct world *w, unsigned i, struct shard *s, uint32_t record)
{
	const struct conn *c = store_conn(&s->store, record);
	const struct conn_repl *r = store_repl(&s->store, record);
	struct checker *k = &w->check;
	struct check_conn *known = check_conn_of(w, &c->dir[0].key);
	struct tripod_tuple keys[2] = {c->dir[0].key, c->dir[1].key};
	uint8_t state = (uint8_t)tcp_state(&c->dir[0].tcp, &c->dir[1].tcp);

	check_life(w, known, c->incarnation);
	if (c->incarnation < known->incarnation) {
		known->older_walk = k->walk;
		return;
	}
	if (known->seen != 0 && known->seen + 1 < k->walk)
		check_violation(w, "reborn", keys, 2,
			"node %u: %s is there again, after it was gone", i, text_of(&keys[0]));
	known->seen = k->walk;
	check_requests(w, i, s, record, known);
	if (overdue(w, s, c)) {
		// Not told of the last activity, which is told every quarter of the time-out: a copy still.
		known->silent = known->silent_walk == k->walk ? known->silent + 1 : 1;
		known->silent_walk = k->walk;
		return;
	}
	if (known->walk != k->walk) {
		known->walk = k->walk;
		known->parts_before = known->parts;
		known->parts = known->copies = known->wrong = 0;
		memcpy(known->best, r->part, sizeof(known->best));
		known->tcp = state;
		known->state = check_state(s, c);
		known->mastered = false;
		known->failed = true;
	}
	uint64_t once = check_once(s, c);
	if (known->once_of == c->incarnation && known->once != once)
		check_violation(w, "write-once", keys, 2,
			"node %u has other write-once fields than others for %s", i,
			text_of(&keys[0]));
	known->once_of = c->incarnation;
	known->once = once;
	known->copies++;
	known->mastered |= r->part[PART_SHARED].writer == i;
	known->failed &= w->faults.node[i].back_ns != 0;
	for (unsigned p = 0; p < 3; p++) {
		struct conn_version v = r->part[p];
		v.handed = 0;
		known->parts += check_hash(&v, sizeof(v), p + 8 * i);
		if (v.epoch != known->best[p].epoch || v.version != known->best[p].version ||
			v.writer != known->best[p].writer)
			known->wrong++;
	}
	for (unsigned d = 0; d < 2; d++) {
		uint8_t flags = c->dir[d].tcp.flags & TCP_DIR_DURABLE;
		known->parts += check_hash(&flags, 1, 512 + 2 * i + d);
	}
	known->wrong += state != known->tcp || check_state(s, c) != known->state;
}

// No two connections that nodes handle have one tuple of answers: whose would they be?
static void check_owner(struct world *w, unsigned i, const struct conn *c, uint64_t hash)
{
	tick_t now = tick_of(w->now_ns);
	enum tcp_state tcp = tcp_state(&c->dir[0].tcp, &c->dir[1].tcp);

	if (!conn_masters(c, 0) || w->node[i].state != NODE_UP || w->faults.node[i].bad ||
		now - c->dir[0].seen > ticks_of_ms(WALK_SEEN_MS) ||
		(c->dir[0].key.proto == IPPROTO_TCP && tcp >= TCP_CLOSING))
		return;
	struct check_conn *k = check_conn_of(w, &c->dir[1].key);
	struct tripod_tuple keys[2] = {c->dir[0].key, c->dir[1].key};
	if (k->owner_walk == w->check.walk && k->owner != hash)
		check_violation(w, "nat", keys, 2,
			"node %u handles %s, and another connection has its answers' tuple", i,
			text_of(&keys[0]));
	k->owner_walk = w->check.walk;
	k->owner = hash;
}

static void walk_shard(struct world *w, unsigned i, unsigned worker)
{
	struct shard *s = node_shard(w->node[i].node, worker);
	struct snap *snap = w->check.snap[i] + (size_t)worker * (w->o.connections + 1);

	for (uint32_t r = 1; r <= s->store.capacity; r++) {
		const struct conn *c = store_conn(&s->store, r);
		if (c->state == CONN_FREE) {
			snap[r].hash = 0;
			continue;
		}
		const struct conn_repl *repl = store_repl(&s->store, r);
		uint64_t hash = check_hash(&c->dir[0].key, sizeof(c->dir[0].key), 0);
		check_snap(w, i, &snap[r], c, repl, hash);
		if (c->state == CONN_LIVE && w->o.limit != 0)
			check_kind_record(w, i, c, repl);
		if (c->state == CONN_LIVE && (c->flags & CONN_ANSWERED)) {
			check_known(w, i, s, r);
			check_owner(w, i, c, hash);
		}
	}
}

static bool describe(
	const struct world *w, unsigned i, const struct tripod_tuple *key, char *out, size_t size)
{
	unsigned k = toeplitz_worker(toeplitz_tuple(key), w->o.workers);

	if (w->node[i].node == NULL)
		return false;
	const struct store *s = &node_shard(w->node[i].node, k)->store;
	struct store_hit hit = store_find(s, key, store_hash(s, key));
	if (hit.what != STORE_CONN)
		return false;
	const struct conn *c = store_conn(s, hit.index);
	const struct conn_repl *r = store_repl(s, hit.index);
	const struct conn_version *v = r->part;
	snprintf(out, size,
		"%s life %llx flags %x (%u,%u,%u) (%u,%u,%u) (%u,%u,%u) tcp %x %x holders "
		"%llx acked %llx",
		c->state == CONN_LIVE ? "live" : "dead",
		(unsigned long long)c->incarnation & 0xfffff, c->flags, v[0].epoch, v[0].version,
		v[0].writer, v[1].epoch, v[1].version, v[1].writer, v[2].epoch, v[2].version,
		v[2].writer, c->dir[0].tcp.flags, c->dir[1].tcp.flags,
		(unsigned long long)r->holders, (unsigned long long)holders_with(r, HOLDER_ACKED));
	return true;
}

// Who has what, into the trace.
static void note_copies(struct world *w, const struct tripod_tuple *key)
{
	char text[160];

	for (unsigned i = 0; i < w->o.nodes; i++) {
		if (describe(w, i, key, text, sizeof(text)))
			trace_note(&w->trace, w->now_ns, i, "%s", text);
	}
}

void check_watch(struct world *w, unsigned i)
{
	struct checker *c = &w->check;
	char text[160] = "nothing";

	if (c->watched.proto == 0)
		return;
	describe(w, i, &c->watched, text, sizeof(text));
	if (strcmp(text, c->watched_at[i]) == 0)
		return;
	memcpy(c->watched_at[i], text, sizeof(text));
	trace_note(&w->trace, w->now_ns, i, "%s", text);
}

// Nothing is opened any more, and everybody is well.
static void check_quiet(struct world *w)
{
	struct checker *k = &w->check;
	if (w->o.tiny && check_limits_hit(w))
		return; // degraded, and said so
	if (w->o.durability == DURABILITY_NONE)
		return; // there are no copies: what several nodes have, each has opened
	unsigned wanted = w->o.k + 1 < w->o.nodes ? w->o.k + 1 : w->o.nodes;

	for (uint32_t at = 0; at < k->conn_room; at++) {
		struct check_conn *c = &k->conn[at];
		if (c->key.proto == 0 || c->walk != k->walk)
			continue;
		// On nodes that were away when it ended, and heard of it too late: gone in a while.
		if (!c->mastered && c->failed) {
			k->zombies++;
			continue;
		}
		unsigned copies = c->copies + (c->silent_walk == k->walk ? c->silent : 0u);
		bool few = copies < wanted;
		bool older = c->older_walk == k->walk;
		bool wrong = (c->wrong != 0 || few || older) && c->parts == c->parts_before;
		c->quiet = wrong ? c->quiet + 1 : 0;
		if (c->quiet != QUIET_WALKS)
			continue;
		note_copies(w, &c->key);
		if (c->wrong != 0 || older)
			check_violation(
				w, "replicas", &c->key, 1, "copies of %s differ", text_of(&c->key));
		else
			check_violation(w, "copies", &c->key, 1, "%s has %u copies of %u",
				text_of(&c->key), copies, wanted);
	}
}

void check_walk(struct world *w)
{
	w->check.walk++;
	check_control(w);
	for (unsigned i = 0; i < w->o.nodes; i++) {
		for (unsigned k = 0; w->node[i].node != NULL && k < w->o.workers; k++)
			walk_shard(w, i, k);
	}
	check_kinds(w);
	if (w->check.quiet)
		check_quiet(w);
}
