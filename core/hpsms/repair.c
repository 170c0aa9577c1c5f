// SPDX-License-Identifier: BSD-3-Clause
// Repair: after a change of membership, who came back is sent what it should have, and connections
// that lost a copy are given another, at a bounded rate. It goes through the table in rounds. A round
// that a joining member or a drain of this node waits for marks what that still lacks, and more
// rounds follow until nothing marked is left.
#include "core/hpsms/repl.h"

#define REPAIR_SCAN 1024 // records looked at in one call

void repl_repair_start(struct shard *s, bool marks)
{
	s->repair_at = 1;
	s->repair_owed = 0;
	s->repair_owed_by = 0;
	s->repair_marks |= marks;
	s->repair_tokens_ns = s->now_ns;
}

// Members that know what they hold: not those that have started anew. Who takes traffic, or has, is
// none of these, though this node may have heard of it just now, having started itself.
static uint64_t sane(const struct shard *s)
{
	return s->live & (~(s->joining | s->repair_reboot) | s->ports | s->draining);
}

// Who looks after the copies of record i: the shared part's writer, or while that is dead the lowest
// holder alive. Its bit; 0: nobody that is known here.
static uint64_t keeper(const struct shard *s, uint32_t i)
{
	const struct conn_repl *r = store_repl(&s->store, i);
	unsigned writer = r->part[PART_SHARED].writer;
	uint64_t holders = r->holders & sane(s);

	if (writer == s->conf->id || (sane(s) & 1ull << writer))
		return 1ull << writer;
	return holders & -holders;
}

bool repl_responsible(const struct shard *s, uint32_t i)
{
	// A node that has just started takes nobody's place: others may be there.
	return keeper(s, i) == repl_self(s) &&
	       (store_repl(&s->store, i)->part[PART_SHARED].writer == s->conf->id ||
		       !ready_hearing(s->node, s->now_ns));
}

// Unanswered, it is given no copies. Nor when TCP has closed it and no packet has come since: it is about to end, and who
// had a copy has forgotten it already, perhaps.
static bool is_copied(const struct shard *s, const struct conn *c)
{
	bool ends = conn_tcp_at(c, TCP_CLOSED) && repl_age_ms(s, conn_last_seen(c)) > STRAGGLER_MS;

	return (c->flags & CONN_ANSWERED) && !ends;
}

// Does somebody wait for record i to be sent: a joining member that should have it, or this node,
// which drains? The nodes that have not acknowledged it; 0: nobody waits.
static uint64_t owed(const struct shard *s, uint32_t i, bool gives)
{
	const struct conn_repl *r = store_repl(&s->store, i);
	uint64_t known = holders_with(r, HOLDER_KNOWN), lack = r->holders & s->live & ~known;
	uint64_t joining = lack & s->joining;

	// What will not come is not waited for.
	if (s->drain == 0 || !is_copied(s, store_conn(&s->store, i)))
		return joining;
	if (gives)
		return joining | (lack & shard_takers(s)) | place_missing(s, i);
	if ((known & shard_takers(s)) != 0)
		return joining;
	uint64_t to = keeper(s, i);
	return joining | (to != 0 ? to : repl_self(s));
}

// The node's own mark HOLDER_QUEUED, which no queue needs, says what is waited for.
static void note_owed(struct shard *s, uint32_t i, bool gives)
{
	struct conn_repl *r = store_repl(&s->store, i);

	if (!s->repair_marks && !holder_is(r, HOLDER_QUEUED, s->conf->id))
		return;
	uint64_t nodes = owed(s, i, gives);
	if (nodes != 0) {
		holders_mark(r, HOLDER_QUEUED, repl_self(s));
		s->repair_owed++;
		s->repair_owed_by |= nodes;
	} else {
		holders_unmark(r, HOLDER_QUEUED, repl_self(s));
	}
}

// false: no budget now.
static bool spend(struct shard *s)
{
	if (s->repair_tokens_ns > s->now_ns)
		return false;
	if (s->repair_tokens_ns + 20 * MS < s->now_ns)
		s->repair_tokens_ns = s->now_ns - 20 * MS;
	s->repair_tokens_ns += s->conf->repair_cost_ns;
	return true;
}

// Of a connection that has ended: who was away meanwhile is told, or would take it for alive.
static bool look_at_tombstone(struct shard *s, uint32_t i)
{
	const struct conn_repl *r = store_repl(&s->store, i);
	unsigned writer = r->part[PART_SHARED].writer;
	uint64_t to = r->holders & s->repair_nodes & s->live & ~repl_self(s) &
		      ~holders_with(r, HOLDER_ACKED) & ~holders_with(r, HOLDER_QUEUED);

	if (to == 0 || (writer != s->conf->id && (sane(s) & 1ull << writer)))
		return true;
	if (!spend(s))
		return false;
	repl_queue_all(s, i, to);
	return true;
}

// This node has a copy, and who is to look after the copies may not know of it, or of the connection: it
// was not heard when another gave this one, or has started anew and been sent nothing.
static bool hand_to_keeper(struct shard *s, uint32_t i)
{
	struct conn_repl *r = store_repl(&s->store, i);
	uint64_t to = keeper(s, i);

	to &= ~(repl_self(s) | holders_with(r, HOLDER_KNOWN) | holders_with(r, HOLDER_QUEUED));
	if (to == 0)
		return true;
	if (!spend(s))
		return false;
	conn_hold(s, r, to);
	repl_queue(s, i, (unsigned)__builtin_ctzll(to));
	return true;
}

// Of a connection whose writer is gone nobody knows which of the holders it lists it had reached: whom
// this node has not heard of its copy is sent one. That makes no claim, since no packet has come: the
// writer may be there, and this node be the one that hears nobody.
static uint64_t orphaned(const struct shard *s, const struct conn_repl *r)
{
	return r->part[PART_SHARED].writer == s->conf->id ? 0 : r->holders;
}

static bool look_at(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);

	if (c->state == CONN_TOMBSTONE && conn_durability(c) != DURABILITY_NONE)
		return look_at_tombstone(s, i);
	// Those who have a copy, or one of an older life, are told in any case.
	bool copied = is_copied(s, c);
	if (c->state != CONN_LIVE || conn_durability(c) == DURABILITY_NONE ||
		!(c->flags & (CONN_ANSWERED | CONN_REPLICATED)))
		return true;
	uint64_t unsent = r->refused ? r->holders : 0;
	r->refused = 0;
	// Who writes a part sends it, each its own; the shared part's writer gives new copies, too.
	bool gives = repl_responsible(s, i);
	kind_review(s, i); // it counts where it is looked after
	if (!gives && !hand_to_keeper(s, i))
		return false;
	if (!gives && !(c->flags & (CONN_MASTER_0 | CONN_MASTER_1)))
		return true;
	uint64_t to = s->repair_nodes | unsent;
	if (s->repair_marks)
		to |= s->joining | (s->drain != 0 ? shard_takers(s) : 0);
	if (gives)
		to |= orphaned(s, r);
	uint64_t has = holders_with(r, HOLDER_ACKED) | holders_with(r, HOLDER_QUEUED);
	if ((r->holders & to & s->live & s->chain_nodes[c->chain] & ~has) != 0 ||
		(copied && gives && place_missing(s, i) != 0)) {
		if (!spend(s))
			return false;
		count(s, C_repairs);
		repl_give(s, i, copied && gives);
	}
	note_owed(s, i, gives);
	return true;
}

// What waits for the end of a round: a joining member has all that it should have from this worker,
// a drain finds everything copied.
static void round_end(struct shard *s)
{
	uint64_t to = s->drain != 0 ? UINT64_MAX : s->joining;
	uint32_t entries = to != 0 ? kind_owes(s, to) : 0;
	bool more = s->repair_next != 0 || s->repair_owed != 0 || entries != 0;

	atomic_store_explicit(&s->owed, s->repair_owed, memory_order_relaxed);
	atomic_store_explicit(&s->owed_entries, entries, memory_order_relaxed);
	atomic_store_explicit(&s->owed_by, s->repair_owed_by, memory_order_relaxed);
	// Whoever has just started may not know yet who else is to be sent what it has.
	if (!more && !ready_hearing(s->node, s->now_ns)) {
		for (uint64_t left = s->joining; left != 0; left &= left - 1) {
			unsigned node = (unsigned)__builtin_ctzll(left);
			atomic_store_explicit(
				&s->served[node], s->peer[node].boot, memory_order_release);
		}
		s->joining = 0;
		atomic_store_explicit(&s->drained, s->drain, memory_order_release);
	}
	s->repair_nodes = s->repair_next;
	s->repair_next = 0;
	s->repair_reboot = 0;
	s->repair_marks = false;
	s->repair_owed = 0;
	s->repair_owed_by = 0;
	s->repair_at = more;
}

// Looks at some records. Bounded in time and rate; packets go first.
bool repl_repair(struct shard *s)
{
	for (unsigned n = 0; n < REPAIR_SCAN; n++) {
		if (s->repair_at > s->store.highest || s->store.used == 0) {
			round_end(s);
			return s->repair_at != 0;
		}
		uint32_t i = s->repair_at;
		struct conn_repl *r = store_repl(&s->store, i);
		if (store_conn(&s->store, i)->state != CONN_FREE) {
			holders_unmark(r, HOLDER_ACKED, s->repair_reboot);
			holders_unmark(r, HOLDER_KNOWN, s->repair_reboot);
		}
		if (!look_at(s, i))
			return true; // the rest when there is budget again
		s->repair_at++;
	}
	return true;
}
