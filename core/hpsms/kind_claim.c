// SPDX-License-Identifier: BSD-3-Clause
// Kinds, at the workers that have connections of a key: which of these count, how many units they need,
// and who waits for one. kind.c says how it all goes together.
//
// A connection counts where its shared part is written, or, while that node is dead, where its copies are looked
// after: so it counts once in the rack, but for the time that
// a take-over needs to be known, and then twice rather than not at all: it takes its unit along, and who
// had it says so a little later than who has it now.
#include <errno.h>

#include "core/hpsms/kinds.h"
#include "core/hpsms/repl.h"

#define SPARE_NS (50 * MS) // so long, units that are not used are kept
#define REFUSED_NS (100 * MS) // so long, nobody is asked again after a refusal
#define PATIENCE_NS (500 * MS) // so long, a connection waits for an answer
#define ASK_COST_NS 20000ull // 50000 questions a second
#define ASK_BURST_NS (10 * MS)

// ---- Which connection counts ----

// The claim of record i in the kind of an NF; false: it has none.
static bool claim_of(struct shard *s, uint32_t i, unsigned nf, struct kind_key *key,
	struct tripod_kind_claim *claim)
{
	const struct chain_nf *n = &conn_chain(s, store_conn(&s->store, i))->nf[nf];

	*claim = (struct tripod_kind_claim){0};
	if (n->kind == 0 || !run_kind_claim(s, i, nf, claim) || claim->size > KIND_DATA_MAX)
		return false;
	*key = (struct kind_key){.tuple = claim->key, .kind = n->kind};
	key->tuple.kind = TRIPOD_KIND_SHARE;
	return true;
}

// 0: none, and no room for one, which is counted.
static uint32_t find_or_new(
	struct shard *s, const struct kind_key *key, const struct tripod_kind_claim *claim)
{
	uint64_t hash = kind_hash(s, key);
	uint32_t k = kind_find(&s->kinds.claims, hash, key);

	if (k == 0 && s->kinds.claims.capacity > 0)
		k = kind_new(&s->kinds.claims, hash, key);
	if (k == 0) {
		count(s, C_kind_full);
		return 0;
	}
	struct kind_claim *q = kind_claim_at(s, k);
	q->size = claim->size;
	memcpy(q->data, claim->data, sizeof(q->data));
	return k;
}

static uint8_t *counted(const struct shard *s, uint32_t i)
{
	struct conn *c = store_conn(&s->store, i);

	return &c->nf[conn_chain(s, c)->counted];
}

static void count_in(struct shard *s, uint32_t i, unsigned nf, uint32_t k)
{
	struct kind_claim *q = kind_claim_at(s, k);

	*counted(s, i) |= (uint8_t)(1u << nf);
	q->held++;
	if (q->held > q->units)
		kind_busy(s, &s->kinds.claims, k, s->now_ns);
}

static void count_out(struct shard *s, uint32_t i, unsigned nf, bool moved)
{
	struct tripod_kind_claim claim;
	struct kind_key key;

	*counted(s, i) &= (uint8_t) ~(1u << nf);
	if (!claim_of(s, i, nf, &key, &claim))
		return;
	uint32_t k = kind_find(&s->kinds.claims, kind_hash(s, &key), &key);
	struct kind_claim *q = kind_claim_at(s, k);
	if (k == 0 || q->held == 0)
		return;
	q->held--;
	if (moved && q->units > q->held) {
		q->units--;
		q->lent = true;
	} else if (!moved) {
		q->refused_until_ns = 0;
	}
	kind_busy(s, &s->kinds.claims, k, s->now_ns + SPARE_NS);
}

void kind_review_conn(struct shard *s, uint32_t i, bool goes)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct chain *chain = conn_chain(s, c);
	bool counts_here = !goes && c->state == CONN_LIVE && repl_responsible(s, i);

	for (unsigned nf = 0; nf < chain->n; nf++) {
		bool counts = *counted(s, i) & 1u << nf;
		struct tripod_kind_claim claim;
		struct kind_key key;
		if (chain->nf[nf].kind == 0 || counts == counts_here)
			continue;
		if (counts) {
			count_out(s, i, nf, !goes && c->state == CONN_LIVE);
			continue;
		}
		// A first packet that is still held has asked for itself.
		if (c->dir[1].key.proto == 0 || !claim_of(s, i, nf, &key, &claim))
			continue;
		uint32_t k = find_or_new(s, &key, &claim);
		if (k != 0)
			count_in(s, i, nf, k);
	}
}

// ---- Taking ----

static bool spend(struct shard *s)
{
	struct kinds *q = &s->kinds;

	if (q->tokens_ns > s->now_ns) {
		count(s, C_kind_limited);
		return false;
	}
	if (q->tokens_ns + ASK_BURST_NS < s->now_ns)
		q->tokens_ns = s->now_ns - ASK_BURST_NS;
	q->tokens_ns += ASK_COST_NS;
	return true;
}

static bool wait(struct shard *s, uint32_t k, uint32_t i, unsigned nf)
{
	struct kind_claim *q = kind_claim_at(s, k);
	uint32_t w = s->kinds.free_waiter;

	if (w == 0) {
		count(s, C_kind_full);
		return false;
	}
	struct kind_waiter *x = &s->kinds.waiters[w];
	s->kinds.free_waiter = x->next;
	*x = (struct kind_waiter){
		.incarnation = store_conn(&s->store, i)->incarnation, .conn = i, .nf = (uint8_t)nf};
	if (q->first == 0) {
		q->first = w;
		q->waits_since_ns = s->now_ns;
	} else {
		s->kinds.waiters[q->last].next = w;
	}
	q->last = w;
	q->waiting++;
	return true;
}

void kind_raised(struct shard *s, uint32_t i, uint64_t before)
{
	const struct conn *c = store_conn(&s->store, i);

	if (!conn_chain(s, c)->kinds)
		return;
	for (uint32_t w = 1; w <= s->conf->kinds; w++) {
		struct kind_waiter *x = &s->kinds.waiters[w];
		if (x->conn == i && x->incarnation == before)
			x->incarnation = c->incarnation;
	}
}

// Units that connections may use. What a question gives back may be another's before the answer is here.
static uint32_t usable(const struct kind_claim *q)
{
	return q->asking && q->wanted < q->units ? q->wanted : q->units;
}

int kind_take(struct shard *s, uint32_t i, unsigned nf)
{
	struct tripod_kind_claim claim;
	struct kind_key key;

	if (!claim_of(s, i, nf, &key, &claim))
		return -EINVAL;
	if (*counted(s, i) & 1u << nf)
		return 0;
	uint32_t k = find_or_new(s, &key, &claim);
	struct kind_claim *q = kind_claim_at(s, k);
	if (k == 0)
		return -ENOSPC;
	if (q->held + q->waiting < usable(q)) {
		count_in(s, i, nf, k);
		return 0;
	}
	if (s->now_ns < q->refused_until_ns)
		return -EDQUOT;
	bool waits = spend(s) && wait(s, k, i, nf);
	kind_busy(s, &s->kinds.claims, k, s->now_ns); // gives it back when it is of no use
	return waits ? -EAGAIN : -ENOSPC;
}

bool kind_look(struct shard *s, uint32_t i, unsigned nf, struct tripod_share *out)
{
	struct tripod_kind_claim claim;
	struct kind_key key;
	uint32_t k = claim_of(s, i, nf, &key, &claim)
			     ? kind_find(&s->kinds.claims, kind_hash(s, &key), &key)
			     : 0;
	const struct kind_claim *q = kind_claim_at(s, k);

	*out = (struct tripod_share){0};
	if (k == 0)
		return false;
	*out = (struct tripod_share){
		.held = q->held,
		.units = q->units,
		.known = q->known,
		.age_ns = s->now_ns - q->answered_ns,
	};
	memcpy(out->state, q->state, sizeof(out->state));
	return q->known;
}

// ---- Asking ----

// The first connection that waits hears what has become of it.
static void tell(struct shard *s, uint32_t k, int result)
{
	struct kind_claim *q = kind_claim_at(s, k);
	uint32_t w = q->first;
	struct kind_waiter x = s->kinds.waiters[w];
	const struct conn *c = store_conn(&s->store, x.conn);

	q->first = x.next;
	q->waiting--;
	s->kinds.waiters[w].next = s->kinds.free_waiter;
	s->kinds.free_waiter = w;
	if (c->state != CONN_LIVE || c->incarnation != x.incarnation)
		return;
	if (result == 0 && !(*counted(s, x.conn) & 1u << x.nf))
		count_in(s, x.conn, x.nf, k);
	run_kind(s, x.conn, x.nf, result);
}

void kind_claim_answer(struct shard *s, const struct wire_kind *w)
{
	uint32_t k = kind_find_hash(&s->kinds.claims, w->hash);
	struct kind_claim *q = kind_claim_at(s, k);

	if (k == 0 || !q->asking || w->seq != q->seq)
		return;
	q->asking = q->lent = false;
	q->tries = 0;
	q->known = true;
	q->units = w->units;
	q->answered_ns = s->now_ns;
	memset(q->state, 0, sizeof(q->state));
	memcpy(q->state, w->bytes, w->size);
	while (q->waiting > 0 && q->held < q->units)
		tell(s, k, 0);
	// Who came later than the question asks again. The others have been refused.
	if (w->units < q->wanted) {
		q->refused_until_ns = s->now_ns + REFUSED_NS;
		for (uint32_t n = q->waiting; n > 0; n--) {
			count(s, C_kind_refused);
			tell(s, k, -EDQUOT);
		}
	}
	kind_busy(s, &s->kinds.claims, k, s->now_ns + (q->waiting > 0 ? 0 : SPARE_NS));
}

// false: nobody can be asked now.
static bool ask(struct shard *s, struct kind_claim *q)
{
	uint64_t first = kind_order(s, &q->n, s->ports, 1);
	struct wire_kind w;

	memset(&w, 0, offsetof(struct wire_kind, part));
	if (first == 0)
		return false;
	q->master = (uint8_t)__builtin_ctzll(first);
	w.op = WIRE_KIND_ASK;
	w.key = q->n.key;
	w.seq = q->seq;
	w.held = q->held;
	w.units = q->wanted;
	w.size = q->size;
	memcpy(w.bytes, q->data, q->size);
	count(s, C_kind_asks_tx);
	return kind_send(s, q->master, kind_worker(s, q->master, q->n.hash), &w);
}

static bool has_to_ask(const struct shard *s, struct kind_claim *q)
{
	uint32_t need = q->held + q->waiting;

	if (need > q->units || q->again)
		return need > 0 || q->units > 0 || q->lent;
	if (need == q->units && !q->lent) {
		q->spare_ns = 0;
		return false;
	}
	if (q->spare_ns == 0)
		q->spare_ns = s->now_ns;
	return s->now_ns - q->spare_ns >= SPARE_NS;
}

void kind_claim_look(struct shard *s, uint32_t k)
{
	struct kind_table *t = &s->kinds.claims;
	struct kind_claim *q = kind_claim_at(s, k);

	while (q->waiting > 0 && s->now_ns - q->waits_since_ns >= PATIENCE_NS) {
		count(s, C_kind_timeouts);
		tell(s, k, -ETIMEDOUT);
	}
	if (!q->asking && has_to_ask(s, q)) {
		s->kinds.seq += s->kinds.seq == UINT32_MAX ? 2 : 1; // never 0
		q->seq = s->kinds.seq;
		q->wanted = q->held + q->waiting;
		q->asking = true;
		q->again = false;
		q->tries = 0;
		q->spare_ns = 0;
		q->asked_ns = s->now_ns;
	}
	// Nobody needs the answer: what it would give goes back by itself.
	q->asking = q->asking && (q->held > 0 || q->waiting > 0 || q->units > 0 || q->lent);
	if (q->asking) {
		bool sent = ask(s, q);
		kind_busy(s, t, k, s->now_ns + (sent ? KIND_REPEAT_NS << q->tries : 1 * MS));
		q->tries += sent && q->tries < KIND_DOUBLINGS;
		if (q->waiting > 0)
			kind_busy(s, t, k, q->waits_since_ns + PATIENCE_NS);
	} else if (q->spare_ns != 0) {
		kind_busy(s, t, k, q->spare_ns + SPARE_NS);
	} else if (q->held == 0 && q->units == 0 && q->waiting == 0 && !q->lent &&
		   s->now_ns >= q->refused_until_ns) {
		kind_delete(t, k);
	} else if (q->held == 0 && q->units == 0) {
		kind_busy(s, t, k, q->refused_until_ns);
	}
}

void kind_claim_walk(struct shard *s, uint32_t k)
{
	struct kind_claim *q = kind_claim_at(s, k);
	uint64_t first = kind_order(s, &q->n, s->ports, 1);

	if (q->asking && (first & 1ull << q->master)) // it is being asked
		return;
	q->again |= s->now_ns - q->asked_ns >= KIND_REFRESH_NS;
	q->again |= first != 0 && !(first & 1ull << q->master);
	if (q->asking) {
		q->tries = 0; // of another one
		kind_busy(s, &s->kinds.claims, k, s->now_ns);
	} else if (q->again || !q->n.busy) {
		kind_busy(s, &s->kinds.claims, k, s->now_ns);
	}
}
