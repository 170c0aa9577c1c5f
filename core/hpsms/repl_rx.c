// SPDX-License-Identifier: BSD-3-Clause
// Replication, the receiving end: records are merged, and what is older than what is here is answered.
// docs/PROTOCOL.md describes the order of claims.
#include <errno.h>
#include <netinet/in.h>

#include "core/defect.h"
#include "core/hpsms/repl.h"

static tick_t seen_of(const struct shard *s, uint32_t age)
{
	// An age beyond any time-out says no more than "long ago".
	return s->now - ticks_of_ms(age > 1u << 30 ? 1u << 30 : age);
}

// A claim of this node that it has not made in this life: what else its former life wrote under it,
// nobody knows. It stands as it is on all nodes, but what this life writes goes one epoch higher.
static bool of_former_life(const struct shard *s, const struct conn_version *v)
{
	return v->writer == s->conf->id;
}

// Where the FIN of a direction ends: so one that watches the other direction knows its acknowledgement.
static void learn_fin(struct tcp_dir *t, const struct wire_record *w, unsigned d)
{
	if (!(w->dir[d].tcp_flags & TCP_DIR_FIN_SEEN) || (t->flags & TCP_DIR_FIN_SEEN))
		return;
	t->flags |= TCP_DIR_FIN_SEEN;
	t->end = w->dir[d].fin;
}

// Where its SYN+ACK ends: so one that watches the other direction knows whether it is this life's that the initiator
// has taken.
static void learn_isn(struct tcp_dir *t, const struct wire_record *w, unsigned d)
{
	if (!(w->dir[d].tcp_flags & WIRE_DIR_ISN) || (t->flags & TCP_DIR_LEARNED))
		return;
	t->isn = 1;
	t->end = w->dir[d].isn;
}

// Others may have what was before. It is this node that has to tell of it.
static void tell_of_former(struct shard *s, uint32_t i, unsigned from)
{
	struct conn_repl *r = store_repl(&s->store, i);

	store_conn(&s->store, i)->stamp++;
	holders_mark_only(r, HOLDER_ACKED, repl_self(s) | 1ull << from);
	holders_mark_only(r, HOLDER_KNOWN, repl_self(s) | 1ull << from);
	repl_queue_all(s, i, r->holders);
}

static void merge_dir(
	struct shard *s, uint32_t i, unsigned d, const struct wire_record *w, unsigned from)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	tick_t seen = seen_of(s, w->dir[d].age_ms);

	// Flags only ever grow, so they are merged whoever claims the direction.
	c->dir[d].tcp.flags |= w->dir[d].tcp_flags & TCP_DIR_DURABLE;
	learn_isn(&c->dir[d].tcp, w, d);
	learn_fin(&c->dir[d].tcp, w, d);
	if (w->dir[d].tcp_flags & TCP_DIR_SYN)
		c->dir[d].tcp.wscale = w->dir[d].wscale & 15;
	if ((int32_t)(seen - c->dir[d].seen) > 0)
		c->dir[d].seen = seen;
	if (!repl_newer(&w->version[d], &r->part[d]))
		return;
	bool former = of_former_life(s, &w->version[d]);
	if (conn_masters(c, d) && former) {
		r->part[d].epoch = (uint16_t)(w->version[d].epoch + 1);
		repl_changed(s, i, 1u << d);
		return;
	}
	if (conn_masters(c, d)) {
		if (w->version[d].epoch == r->part[d].epoch)
			count(s, C_epoch_conflicts);
		count(s, C_handovers);
		if (c->flags & CONN_SYNCING)
			sync_handed(s, i, d);
		c->flags &= (uint8_t) ~(CONN_MASTER_0 << d);
		c->dir[d].next_hop = 0;
		c->dir[d].next_hop_check = (uint16_t)s->now;
		c->dir[d].tcp.flags &=
			(uint8_t)~TCP_DIR_LEARNED; // its packets are not seen here any more
		r->part[d] = w->version[d];
		r->part[d].handed = 1;
		return;
	}
	uint8_t handed = r->part[d].handed;
	bool same = r->part[d].writer == w->version[d].writer;
	r->part[d] = w->version[d];
	r->part[d].handed = same ? handed : 0;
	if (former)
		tell_of_former(s, i, from);
}

// The slot under which the record is kept, or -1: of a chain that is not held here, nobody knows what
// its bytes of NF state mean. *chain: by which they are read.
static int record_slot(
	const struct shard *s, const struct wire_record *w, const struct chain **chain)
{
	int slot = chain_set_find(s, w->chain);

	if (slot < 0 || w->nf_size != s->chain[slot]->wire_size)
		return -1;
	*chain = s->chain[slot];
	return (*chain)->as == NULL ? slot : chain_set_find(s, (*chain)->as->id);
}

// The chain by which a record of a connection under `chain` is read; NULL: it is of another.
static const struct chain *record_chain(
	const struct shard *s, const struct wire_record *w, const struct chain *chain)
{
	if (w->chain != chain->id) {
		int slot = chain_set_find(s, w->chain);
		if (slot < 0 || s->chain[slot]->as != chain)
			return NULL;
		chain = s->chain[slot];
	}
	return w->nf_size == chain->wire_size ? chain : NULL;
}

// Has this node a place on the writer's list? One that is full, and without it, says no, whoever has sent it. The writer's
// own word that it has is the last one.
static void note_place(
	const struct shard *s, struct conn_repl *r, const struct wire_record *w, unsigned from)
{
	bool listed = w->holders & repl_self(s);

	if (!listed && __builtin_popcountll(w->holders) >= HOLDERS_MAX)
		r->unlisted = 1;
	else if (listed && w->version[PART_SHARED].writer == from)
		r->unlisted = 0;
}

enum shared {
	SHARED_MERGED, // or older than what is here
	SHARED_DIFFERS, // in what is fixed for ever, of one life: one of the two is wrong
	SHARED_UNREAD, // newer, and of a chain that this node cannot read
};

static enum shared merge_shared(
	struct shard *s, uint32_t i, const struct wire_record *w, unsigned from)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	struct conn_version *mine = &r->part[PART_SHARED];
	const struct chain *chain = conn_chain(s, c), *read = record_chain(s, w, chain);
	uint8_t nf[CHAIN_STATE_MAX];

	// The writer's list, when it is full: who is not on it is to forget its copy.
	if (__builtin_popcountll(w->holders) >= HOLDERS_MAX &&
		w->version[PART_SHARED].writer == from &&
		!repl_newer(mine, &w->version[PART_SHARED])) {
		uint64_t masters = 1ull << r->part[0].writer | 1ull << r->part[1].writer;
		holders_remove(r, ~(w->holders | masters | repl_self(s)));
	}
	conn_hold(s, r, w->holders);
	note_place(s, r, w, from);
	if (!repl_newer(&w->version[PART_SHARED], mine))
		return SHARED_MERGED;
	if (read == NULL || !chain_read(read, w->nf, nf))
		return SHARED_UNREAD;
	if (chain_write_once_differs(chain, nf, c->nf))
		return SHARED_DIFFERS;
	bool former = of_former_life(s, &w->version[PART_SHARED]);
	if (former && mine->writer == s->conf->id && !r->former) {
		// What this life has written stands, above what the former one had.
		mine->epoch = (uint16_t)(w->version[PART_SHARED].epoch + 1);
		mine->version = 0;
		repl_changed(s, i, 1u << PART_SHARED);
		return SHARED_MERGED;
	}
	// What is soft here goes with the direction that is handled here, whoever writes the rest.
	chain_update(chain, nf, c->nf);
	*mine = w->version[PART_SHARED];
	if (former)
		tell_of_former(s, i, from);
	mine->handed = (uint8_t)c->stamp;
	r->former = former;
	kind_review(s, i);
	return SHARED_MERGED;
}

// A copy that was given by a node which writes no part, in place of a writer that it did not hear. If this
// node hears that one, it tells it of the copy: nobody else would, and it would miss what is written.
static void tell_writers(struct shard *s, uint32_t i, unsigned from)
{
	struct conn_repl *r = store_repl(&s->store, i);
	uint64_t writers = repl_writers(r);

	if (writers & 1ull << from)
		return;
	conn_hold(s, r, writers & s->live);
	repl_queue_all(s, i, writers);
}

// Of a writer that is gone, or of a former life of this node: perhaps it is this node that has to look after
// the copies now.
static void look_after(struct shard *s, const struct conn_repl *r)
{
	unsigned writer = r->part[PART_SHARED].writer;

	if (writer != s->conf->id && (s->live & 1ull << writer))
		return;
	s->repair_next |= repl_self(s);
	if (s->repair_at == 0)
		s->repair_at = 1;
}

// A record that is not known here becomes a copy. Returns the record, or STORE_NONE when it could
// not be kept; then the sender is told. *alone: another connection has its tuple.
static uint32_t install(
	struct shard *s, const struct wire_record *w, unsigned from, bool final, bool *alone)
{
	const struct chain *chain;
	int slot = record_slot(s, w, &chain);
	uint8_t nf[CHAIN_STATE_MAX];
	uint32_t i = slot < 0 || !chain_read(chain, w->nf, nf) ? STORE_NONE
							       : conn_new(s, (unsigned)slot);

	if (i == STORE_NONE) {
		count(s, C_log_records_refused);
		fetch_want(s, w->chain, from);
		return STORE_NONE;
	}
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	c->dir[0].key = w->key;
	c->dir[1].key = w->reversed;
	c->incarnation = w->incarnation;
	c->state = CONN_LIVE;
	c->durability = (uint8_t)repl_durability_of(w);
	c->stamp = s->next_stamp += 257;
	c->flags = CONN_REPLICATED;
	if (w->flags & WIRE_RECORD_ANSWERED)
		c->flags |= CONN_ANSWERED;
	else
		s->store.embryonic++;
	if (w->flags & WIRE_RECORD_PINNED)
		c->flags |= CONN_PINNED;
	for (unsigned p = 0; p < PARTS; p++) {
		r->part[p] = w->version[p];
		r->part[p].handed = 0;
	}
	for (unsigned d = 0; d < 2; d++) {
		c->dir[d].tcp.flags = w->dir[d].tcp_flags & TCP_DIR_DURABLE;
		learn_isn(&c->dir[d].tcp, w, d);
		learn_fin(&c->dir[d].tcp, w, d);
		c->dir[d].tcp.wscale = w->dir[d].wscale & 15;
		c->dir[d].seen = seen_of(s, w->dir[d].age_ms);
	}
	r->former = of_former_life(s, &w->version[PART_SHARED]);
	conn_hold(s, r, repl_self(s) | 1ull << from);
	holders_mark(r, HOLDER_ACKED, r->holders);
	holders_mark(r, HOLDER_KNOWN, r->holders);
	conn_hold(s, r, w->holders);
	note_place(s, r, w, from);
	memcpy(c->nf, nf, conn_chain(s, c)->state_size);
	conn_make_way(s, &w->reversed, w->flags & WIRE_RECORD_ANSWERED);
	int error = conn_index(s, i, final);
	if (error != 0) {
		*alone = error == -EEXIST;
		count(s, C_log_records_refused);
		if (!(c->flags & CONN_ANSWERED))
			s->store.embryonic--;
		conn_delete(s, i);
		return STORE_NONE;
	}
	conn_rewheel(s, i);
	kind_review(s, i);
	if (c->flags & CONN_ANSWERED)
		forward_prepare(s, i);
	index_young(s, i);
	// Who answers a pull tells them itself.
	if (!(w->flags & WIRE_RECORD_ANSWER))
		tell_writers(s, i, from);
	look_after(s, r);
	return i;
}

void repl_lack_flush(struct shard *s)
{
	struct wire_header h;

	if (s->lack.frame.buf == NULL)
		return;
	control_header(s, &h, WIRE_LACK, s->lack.node, s->lack.worker);
	h.count = s->lack.count;
	control_send(s, &s->lack.frame, &h, s->lack.used);
	s->lack.frame.buf = NULL;
}

static uint64_t hash_of(const struct shard *s, const struct wire_record *w)
{
	return w->op == WIRE_PUT ? store_hash(&s->store, &w->key) : w->hash;
}

// Tells who sent an UPDATE that there is nothing here to apply it to.
static void say_lack(struct shard *s, uint64_t hash, unsigned node, unsigned worker)
{
	bool other = s->lack.node != node || s->lack.worker != worker;

	if (other || s->lack.used + WIRE_HASH_SIZE > WIRE_BODY_MAX)
		repl_lack_flush(s);
	if (s->lack.frame.buf == NULL) {
		if (!control_begin(s, &s->lack.frame)) {
			s->lack.frame.buf = NULL;
			return;
		}
		s->lack.node = (uint8_t)node;
		s->lack.worker = (uint8_t)worker;
		s->lack.used = WIRE_HEADER_SIZE;
		s->lack.count = 0;
	}
	s->lack.used += (uint16_t)wire_put_hash(
		control_body(&s->lack.frame) + s->lack.used, WIRE_BODY_MAX - s->lack.used, hash);
	s->lack.count++;
}

void repl_lack_rx(struct shard *s, unsigned node, const struct wire_header *h, const uint8_t *body,
	uint16_t len)
{
	uint16_t at = 0;

	for (unsigned n = 0; n < h->count; n++) {
		uint64_t hash;
		int size = wire_get_hash(body + at, len - at, &hash);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		at += (uint16_t)size;
		uint32_t i = store_find_hash(&s->store, hash);
		if (i == STORE_NONE || !(store_repl(&s->store, i)->holders & 1ull << node))
			continue;
		struct conn_repl *r = store_repl(&s->store, i);
		bool updated = holder_is(r, HOLDER_KNOWN, node);
		repl_forget(r, node);
		// Of a copy that was not taken, the acknowledgement may still come: with a new stamp,
		// it is of the past.
		if (updated)
			repl_queue(s, i, node);
		else
			repl_changed(s, i, 1u << PART_SHARED | REPL_QUIET);
	}
}

// Who a record came from, and in which message.
struct source {
	unsigned node, worker;
	uint32_t seq;
};

// Somebody says that it has ended. What this node has said of it before and others acknowledge yet is not
// that: of the end they know from who says so, or are told when they come back. But if this node is the
// writer, who says so is a holder that has seen it end by its own clock, and has told nobody.
static void buried(struct shard *s, uint32_t i, const struct source *from, enum tripod_reason why)
{
	struct conn *c = store_conn(&s->store, i);

	if (c->flags & CONN_SYNCING)
		sync_forget(s, i);
	c->stamp++;
	holders_mark_only(
		store_repl(&s->store, i), HOLDER_ACKED, repl_self(s) | 1ull << from->node);
	conn_bury(s, i, why);
	if (store_repl(&s->store, i)->part[PART_SHARED].writer != s->conf->id)
		return;
	store_repl(&s->store, i)->tells = 1;
	repl_queue_all(s, i, store_repl(&s->store, i)->holders);
}

static bool refuse(
	struct shard *s, const struct wire_record *w, const struct source *from, bool alone)
{
	pull_say(s, WIRE_REFUSED, &w->key, from->node, from->worker, from->seq, alone);
	return false;
}

// Record i has taken the place of another life, of which these nodes have copies: they, and whoever writes this one, are
// told.
static void supersede(struct shard *s, uint32_t i, uint64_t other, uint64_t holders)
{
	struct conn_repl *r = store_repl(&s->store, i);
	bool higher = holders != 0 && other > store_conn(&s->store, i)->incarnation;

	r->contested = CONTESTED;
	if (higher)
		conn_raise(s, i, other);
	if (!higher && (holders & ~r->holders) == 0)
		return;
	conn_hold(s, r, holders | 1ull << r->part[PART_SHARED].writer);
	repl_changed(s, i, 1u << PART_SHARED);
}

// Another life of the same key. true: what w says is kept here.
static bool other_incarnation(struct shard *s, uint32_t i, const struct wire_record *w,
	const struct source *from, bool final)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	const uint64_t other = c->incarnation;

	switch (rival_of(s, i, w)) {
	case RIVAL_STALE:
		// The sender does not know the newer life: it is told.
		count(s, C_log_records_stale);
		repl_hold(s, i, from->node);
		repl_forget(r, from->node);
		repl_queue(s, i, from->node);
		return w->op == WIRE_BURY;
	case RIVAL_LOSES:
		// This life goes on, above both.
		count(s, C_epoch_conflicts);
		conn_raise(s, i, w->incarnation);
		repl_hold(s, i, from->node);
		repl_changed(s, i, 1u << PART_SHARED);
		return false;
	case RIVAL_WINS:
		break;
	}
	if (w->op == WIRE_BURY) {
		// What was buried elsewhere was younger than what is here.
		if (c->state == CONN_LIVE)
			buried(s, i, from, (enum tripod_reason)w->reason);
		c->incarnation = w->incarnation;
		count(s, C_tombstones);
		return true;
	}
	if (w->op != WIRE_PUT || s->old_rx) {
		say_lack(s, hash_of(s, w), from->node, from->worker);
		return false;
	}
	uint64_t before = r->holders & ~repl_self(s);
	const struct chain *chain;
	if (record_slot(s, w, &chain) < 0 || !conn_free(s, i)) {
		count(s, C_log_records_refused);
		fetch_want(s, w->chain, from->node);
		return refuse(s, w, from, false);
	}
	bool alone = false;
	i = install(s, w, from->node, final, &alone);
	if (i == STORE_NONE)
		return refuse(s, w, from, alone);
	supersede(s, i, other, before);
	return true;
}

// The connection has gone on under a chain that this node cannot read: the copy here is of the past, and
// must not be what somebody takes over. Who still handles a direction keeps it for that.
static bool unread(
	struct shard *s, uint32_t i, const struct wire_record *w, const struct source *from)
{
	const struct conn *c = store_conn(&s->store, i);

	count(s, C_log_records_refused);
	fetch_want(s, w->chain, from->node);
	if (w->chain != conn_chain(s, c)->id && !(c->flags & (CONN_MASTER_0 | CONN_MASTER_1)))
		conn_free(s, i); // or, while a ring is full, with the next record
	return refuse(s, w, from, false);
}

// Members with a copy that the sender, who writes a part, does not count among the holders: they would
// miss what it writes. Whoever writes a part, or has until now, names all to whom it gives copies; who
// has never, those that it has heard say so. Of lists that are full, that of the shared part's writer counts.
static uint64_t unlisted(
	const struct shard *s, uint32_t i, const struct wire_record *w, unsigned from, bool wrote)
{
	const struct conn_repl *r = store_repl(&s->store, i);
	uint64_t known = wrote ? r->holders : holders_with(r, HOLDER_KNOWN);
	bool sender_writes = repl_writers(r) >> from & 1;

	if (!(w->parts & 1u << PART_SHARED) || !sender_writes)
		return 0;
	if (__builtin_popcountll(w->holders) >= HOLDERS_MAX)
		return r->part[PART_SHARED].writer == s->conf->id ? w->holders ^ r->holders : 0;
	return known & s->live & ~w->holders & ~repl_self(s) & ~(1ull << from);
}

// Is the copy that the sender has of a part that this node writes older than it should be? What has been
// acknowledged was there. A holder of which this node did not know has been sent nothing.
static bool behind(
	const struct conn_repl *r, unsigned part, const struct wire_record *w, unsigned from)
{
	bool sent = r->holders >> from & 1;

	return (!sent || holder_is(r, HOLDER_ACKED, from)) &&
	       repl_newer(&r->part[part], &w->version[part]);
}

// What the former master of a direction had not told when it heard of the new one, it tells that one alone;
// who tells the others.
static void tell_grown(struct shard *s, uint32_t i, unsigned grown)
{
	const struct conn *c = store_conn(&s->store, i);
	unsigned mine = (conn_masters(c, 0) ? 1u : 0) | (conn_masters(c, 1) ? 2u : 0);

	if (grown & mine)
		repl_changed(s, i, (grown & mine) | REPL_QUIET);
}

// Who takes over what is being closed has not heard of all that has passed here. It may be another than who has told of
// that, which is owed it anyhow.
static void tell_masters(struct shard *s, uint32_t i, uint8_t mastered, unsigned from)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);

	for (unsigned d = 0; d < 2; d++) {
		if ((mastered & ~c->flags & CONN_MASTER_0 << d) && r->part[d].writer != from)
			repl_owe(s, i, r->part[d].writer);
	}
}

// Claims of one epoch (tied), or of an older one: the sender's has lost, and it may not know.
static bool has_lost(
	const struct conn_repl *r, const struct wire_record *w, unsigned from, bool *tied)
{
	bool lost = false;

	*tied = false;
	for (unsigned p = 0; p < PARTS; p++) {
		bool its = (w->parts & 1u << p) && w->version[p].writer == from &&
			   r->part[p].writer != from;
		lost |= its;
		*tied |= its && w->version[p].epoch == r->part[p].epoch;
	}
	return lost;
}

// The sender has a copy. Who takes for its own what it has lost by a hair would not forget it.
static void list_sender(struct shard *s, uint32_t i, unsigned from, uint64_t held, bool tied)
{
	store_conn(&s->store, i)->flags |= CONN_REPLICATED;
	if (!(held & 1ull << from))
		repl_introduce(s, i, from);
	trim_list(s, i, tied ? 1ull << from : 0);
}

// Copies of which this node has not known until now: who has got one was sent what is written here as its giver knew it.
// If that writes nothing itself, the other writers do not know either, and nobody else tells them.
static void welcome(struct shard *s, uint32_t i, uint64_t nodes, unsigned from)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	uint64_t writers = repl_writers(r);

	if (nodes == 0 || !((c->flags & (CONN_MASTER_0 | CONN_MASTER_1)) ||
				  r->part[PART_SHARED].writer == s->conf->id))
		return;
	// Who has just refused a copy has none, or would say so; two writers' lists would ask it in turns. It is sent what is
	// here in the next round.
	repl_queue_all(s, i, r->refused ? 0 : nodes & ~s->refusing);
	if (writers >> from & 1)
		return;
	for (writers &= s->live & ~repl_self(s); writers != 0; writers &= writers - 1)
		repl_owe(s, i, (unsigned)__builtin_ctzll(writers));
}

// The same life, both alive. true: what the sender masters is kept here as it said, or newer.
static bool merge(
	struct shard *s, uint32_t i, const struct wire_record *w, const struct source *source)
{
	unsigned from = source->node;
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	bool stale, odd = compare_differs(s, i, w, &stale), had_more = c->flags & CONN_ANSWERED;
	const uint64_t held = r->holders, before = held | 1ull << from;
	const uint8_t both = CONN_MASTER_0 | CONN_MASTER_1, mastered = c->flags & both;
	const bool wrote_shared = r->part[PART_SHARED].writer == s->conf->id;
	const bool wrote = mastered || wrote_shared;
	uint8_t more = 0; // TCP flags that the sender has not
	unsigned grown = 0; // directions with flags that this node had not

	for (unsigned d = 0; d < 2; d++) {
		if (!(w->parts & 1u << d))
			continue;
		more |= c->dir[d].tcp.flags & TCP_DIR_DURABLE & (uint8_t)~w->dir[d].tcp_flags;
		if (w->dir[d].tcp_flags & TCP_DIR_DURABLE & (uint8_t)~c->dir[d].tcp.flags)
			grown |= 1u << d;
		stale |= (int16_t)(r->part[d].epoch - w->version[d].epoch) > 0;
		stale |= conn_masters(c, d) && behind(r, d, w, from);
		merge_dir(s, i, d, w, from);
	}
	stale |= (w->parts & 1u << PART_SHARED) && behind(r, PART_SHARED, w, from) &&
		 r->part[PART_SHARED].writer == s->conf->id;
	enum shared shared =
		w->parts & 1u << PART_SHARED ? merge_shared(s, i, w, from) : SHARED_MERGED;
	if (shared == SHARED_UNREAD)
		return unread(s, i, w, source);
	if (shared == SHARED_DIFFERS) {
		count(s, C_drop_invariant);
		if (c->flags & CONN_SYNCING)
			sync_forget(s, i);
		conn_close(s, i, TRIPOD_TERMINATED);
		return false;
	}
	// Nor does who names a former writer of the shared part: it has come to hold a copy since.
	stale |= (w->parts & 1u << PART_SHARED) && w->version[PART_SHARED].writer != s->conf->id &&
		 (int16_t)(r->part[PART_SHARED].epoch - w->version[PART_SHARED].epoch) > 0;
	// The writer itself has told of its copy, as it is here now. Not of one that lacks what passed here.
	if ((w->parts & 1u << PART_SHARED) && r->part[PART_SHARED].writer == from && more == 0 &&
		!repl_newer(&r->part[PART_SHARED], &w->version[PART_SHARED]))
		holders_mark(r, HOLDER_KNOWN, 1ull << from);
	bool tied, lost = has_lost(r, w, from, &tied);
	if (w->flags & WIRE_RECORD_PINNED)
		c->flags |= CONN_PINNED;
	if ((w->flags & WIRE_RECORD_ANSWERED) && !had_more)
		conn_answered(s, i);
	list_sender(s, i, from, held, tied);
	if (wrote_shared)
		trim_dismiss(s, i, before & ~r->holders);
	tell_grown(s, i, grown);
	welcome(s, i, r->holders & ~before, from);
	if (stale || lost) // an old master that does not know of the take-over yet
		count(s, C_log_records_stale);
	bool handed = mastered & ~c->flags & both, untold = handed && (more | r->untold) != 0;
	if (untold)
		tell_masters(s, i, mastered, from);
	bool amiss = stale || lost || untold || unlisted(s, i, w, from, wrote) != 0;
	if (amiss)
		repl_owe(s, i, from);
	if (amiss || odd)
		r->contested = CONTESTED;
	conn_rewheel(s, i);
	return !lost;
}

// A record of a connection that has one here.
static bool record_known(struct shard *s, uint32_t i, const struct wire_record *w,
	const struct source *from, bool final)
{
	const struct conn *c = store_conn(&s->store, i);

	if (w->incarnation != c->incarnation)
		return other_incarnation(s, i, w, from, final);
	if (c->state == CONN_TOMBSTONE) {
		count(s, C_tombstone_hits);
		if (w->op == WIRE_BURY)
			return true;
		// Nothing is reborn: the sender has not heard of the end.
		count(s, C_log_records_stale);
		conn_hold(s, store_repl(&s->store, i), 1ull << from->node);
		repl_queue(s, i, from->node);
		return false;
	}
	if (w->op == WIRE_BURY) {
		count(s, C_tombstones);
		buried(s, i, from, (enum tripod_reason)w->reason);
		return true;
	}
	return merge(s, i, w, from);
}

// The record that w is about; STORE_NONE: it is not here.
static uint32_t find(const struct shard *s, const struct wire_record *w)
{
	if (w->op != WIRE_PUT)
		return store_find_hash(&s->store, w->hash);
	struct store_hit hit = store_find(&s->store, &w->key, store_hash(&s->store, &w->key));
	return hit.what == STORE_CONN && hit.dir == 0 ? hit.index : STORE_NONE;
}

// Packets of record i may wait for what others know of it.
static void end_answers(struct shard *s, uint32_t i, const struct source *from)
{
	const struct conn *c = store_conn(&s->store, i);

	for (unsigned d = 0; d < 2; d++) {
		if (c->state == CONN_TOMBSTONE)
			pull_found(s, &c->dir[d].key, true, from->node);
		else
			pull_none(s, &c->dir[d].key, from->node);
	}
}

// Is what w says known here now, or something newer? If not (a ring was full, or its chain is not here), packets
// that wait for it would go on as of an older life: it is asked for again.
static bool answers(const struct shard *s, const struct wire_record *w)
{
	uint32_t i = find(s, w);

	return i != STORE_NONE && store_conn(&s->store, i)->incarnation >= w->incarnation;
}

// false: it is not kept here as the sender believes. Then its message is not acknowledged: an
// acknowledgement says that there is a copy.
static bool record_rx(struct shard *s, const struct wire_record *w, const struct source *from)
{
	bool final = w->flags & WIRE_RECORD_FINAL, kept = true, alone = false;
	uint32_t i = find(s, w);

	if (DEFECT(tombstone) && i != STORE_NONE &&
		store_conn(&s->store, i)->state == CONN_TOMBSTONE && conn_free(s, i))
		i = STORE_NONE;
	count(s, C_log_records_rx);
	if (i != STORE_NONE) {
		kept = record_known(s, i, w, from, final);
		if (w->op == WIRE_BURY && s->pulls_asking > 0)
			end_answers(s, i, from);
	} else if (w->op == WIRE_BURY) {
		return true;
	} else if (w->op == WIRE_UPDATE || s->old_rx) {
		// ... or this is a copy that has lain here for so long that what it is of may have ended
		// and been forgotten: it is sent as what it has become.
		say_lack(s, hash_of(s, w), from->node, from->worker);
		return false;
	} else if (install(s, w, from->node, final, &alone) == STORE_NONE) {
		return refuse(s, w, from, alone);
	}
	if ((w->flags & WIRE_RECORD_ANSWER) && answers(s, w)) {
		pull_found(s, &w->key, final, from->node);
		pull_found(s, &w->reversed, final, from->node);
	}
	return kept;
}

// Could a node have sent this record here? Protocol 0 marks a reversed tuple that is not known yet, and
// an incarnation near the end would leave no room for another life above it.
static bool possible(const struct shard *s, const struct wire_record *w)
{
	if (w->op != WIRE_PUT)
		return w->incarnation <= INCARNATION_MAX;
	if (s->conf->workers > 1 &&
		toeplitz_worker(toeplitz_tuple(&w->key), s->conf->workers) != s->worker)
		return false;
	switch (w->key.proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return w->incarnation <= INCARNATION_MAX;
	default:
		return false;
	}
}

void repl_rx(struct shard *s, struct peer *peer, const struct wire_header *h, const uint8_t *body,
	uint16_t len)
{
	struct channel *c = &peer->channel[h->from_worker];
	struct wire_log log;
	uint16_t at = 0;

	const struct source from = {h->from_node, h->from_worker, h->seq};
	bool kept = true;

	repl_acks(s, h->from_node, h->from_worker, h);
	if (h->seq == 0)
		return;
	repl_busy(s, h->from_node, h->from_worker);
	if (channel_check(c, h->seq) != CHANNEL_NEW) {
		channel_received(c, h->seq, s->now_ns);
		return;
	}
	log.chain = 0;
	for (unsigned n = 0; n < h->count; n++) {
		struct wire_record w;
		int size = wire_get_record(body + at, len - at, &w, &log);
		if (size < 0) {
			count(s, C_drop_control_bad);
			break;
		}
		at += (uint16_t)size;
		if (!possible(s, &w)) {
			count(s, C_drop_control_bad);
			continue;
		}
		conn_lives_heard(s, incarnation_life(w.incarnation));
		c->ack_now |= (w.flags & WIRE_RECORD_URGENT) != 0;
		// Who waits for an acknowledgement must not get one for what is not kept. Nobody else
		// is served by a message that comes again whole for one stale record of many.
		kept &= record_rx(s, &w, &from) || !(w.flags & WIRE_RECORD_URGENT);
	}
	if (kept)
		channel_received(c, h->seq, s->now_ns);
}
