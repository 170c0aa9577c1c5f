// SPDX-License-Identifier: BSD-3-Clause
// Kinds, at the nodes that write entries and keep copies. kind.c says how it all goes together.
//
// What is answered is kept: unless the kind is soft, an answer leaves when those that are to have a copy
// have acknowledged it. A copy is the whole entry, and merging it twice or out of order does no harm.
#include "core/hpsms/kinds.h"

#define PART_NS (1000 * MS) // a part without units stays so long, lest an old question make it anew

static bool writes(const struct shard *s, const struct kind_entry *e)
{
	return e->writer == s->conf->id;
}

static struct kind_part *part_of(struct kind_entry *e, unsigned node, unsigned worker)
{
	for (unsigned p = 0; p < e->n_parts; p++) {
		if (e->part[p].node == node && e->part[p].worker == worker)
			return &e->part[p];
	}
	return NULL;
}

// NULL: there is no room, which is counted.
static struct kind_part *part_new(
	struct shard *s, struct kind_entry *e, unsigned node, unsigned worker, uint32_t boot)
{
	if (e->n_parts == s->kinds.parts_max) {
		count(s, C_kind_full);
		return NULL;
	}
	struct kind_part *p = &e->part[e->n_parts++];
	*p = (struct kind_part){.node = (uint8_t)node,
		.worker = (uint8_t)worker,
		.boot = boot,
		.seen_ns = s->now_ns};
	return p;
}

static void changed(struct shard *s, struct kind_entry *e)
{
	e->version++;
	e->acked = 0;
	e->tries = 0;
	e->copy_ns = s->now_ns;
}

// Nodes that are to have a copy: the next in the order, and whoever comes first when those that join
// are there.
static uint64_t targets_of(const struct shard *s, const struct kind_entry *e)
{
	uint64_t coming = s->live & ~s->draining & ~s->ports;
	const struct tripod_kind *kind = kind_of(s, e->n.key.kind);

	if (kind == NULL || kind->soft)
		return 0;
	unsigned n = s->conf->backups + 1u;
	return (kind_order(s, &e->n, s->ports, n) | kind_order(s, &e->n, s->ports | coming, n)) &
	       ~shard_self(s);
}

static bool is_first(const struct shard *s, const struct kind_entry *e)
{
	return kind_order(s, &e->n, s->ports, 1) == shard_self(s);
}

// From now on this node writes it. Who has units is given the time to say so again.
static void take_over(struct shard *s, struct kind_entry *e)
{
	count(s, C_kind_takeovers);
	e->epoch++;
	e->writer = s->conf->id;
	e->targets = targets_of(s, e);
	for (unsigned p = 0; p < e->n_parts; p++)
		e->part[p].seen_ns = s->now_ns;
	changed(s, e);
}

// ---- Questions ----

static void update(struct shard *s, struct kind_entry *e, struct kind_part *part,
	const struct wire_kind *w, const struct tripod_kind *kind)
{
	struct tripod_kind_update u = {
		.data = w->bytes,
		.size = w->size,
		.held = w->held,
		.wanted = w->units > w->held ? w->units : w->held,
		.units = part->units,
	};
	uint8_t state[KIND_STATE_MAX];

	memcpy(state, e->state, sizeof(state));
	u.state = state;
	for (unsigned p = 0; p < e->n_parts; p++)
		u.others += &e->part[p] == part ? 0 : e->part[p].units;
	kind->update(&u);
	// What is in use cannot be taken away.
	uint32_t units = u.units > u.held ? u.units : u.held;
	memset(state + kind->state_size, 0, sizeof(state) - kind->state_size);
	if (units != part->units || memcmp(state, e->state, sizeof(state)) != 0)
		changed(s, e);
	else if (part->seq == 0)
		changed(s, e); // that there is one
	part->units = units;
	part->seq = w->seq;
	memcpy(e->state, state, sizeof(state));
	count(s, C_kind_applied);
}

void kind_entry_ask(struct shard *s, const struct wire_kind *w, const struct kind_from *from)
{
	struct kind_table *t = &s->kinds.entries;
	const struct tripod_kind *kind = kind_of(s, w->key.kind);
	uint64_t hash = kind_hash(s, &w->key);
	struct kind_node as = {.key = w->key, .hash = hash};

	if (kind == NULL || s->now_ns < s->kinds.quiet_until_ns ||
		kind_order(s, &as, s->ports, 1) != shard_self(s)) {
		count(s, C_kind_misdirected); // it comes again, to who it is by then
		return;
	}
	uint32_t k = kind_find(t, hash, &w->key);
	bool fresh = k == 0;
	if (fresh && (t->capacity == 0 || (k = kind_new(t, hash, &w->key)) == 0)) {
		count(s, C_kind_full);
		return;
	}
	struct kind_entry *e = kind_entry_at(s, k);
	if (fresh) {
		e->epoch = 1;
		e->writer = s->conf->id;
		e->targets = targets_of(s, e);
	} else if (!writes(s, e)) {
		take_over(s, e);
	}
	e->touched_ns = s->now_ns;
	struct kind_part *part = part_of(e, from->node, from->worker);
	if (part == NULL)
		part = part_new(s, e, from->node, from->worker, from->boot);
	kind_busy(s, t, k, s->now_ns);
	if (part == NULL)
		return;
	// Its former life has nothing any more: what that had is where its connections are.
	bool newer = part->boot != from->boot || (int32_t)(w->seq - part->seq) > 0;
	if (!newer && w->seq != part->seq)
		return;
	part->seen_ns = s->now_ns;
	part->owed = true;
	if (newer) {
		part->boot = from->boot;
		update(s, e, part, w, kind);
	}
}

// ---- Copies ----

static void send_copy(struct shard *s, const struct kind_entry *e, unsigned node)
{
	struct wire_kind w;

	memset(&w, 0, offsetof(struct wire_kind, part));
	w.op = WIRE_KIND_COPY;
	w.key = e->n.key;
	w.epoch = e->epoch;
	w.version = e->version;
	w.writer = e->writer;
	w.size = KIND_STATE_MAX;
	while (w.size > 0 && e->state[w.size - 1] == 0)
		w.size--;
	memcpy(w.bytes, e->state, w.size);
	for (unsigned p = 0; p < e->n_parts; p++) {
		if (e->part[p].seq != 0)
			w.part[w.n_parts++] = e->part[p];
	}
	count(s, C_kind_copies_tx);
	kind_send(s, node, kind_worker(s, node, e->n.hash), &w);
}

static void answer(struct shard *s, const struct kind_entry *e, struct kind_part *p)
{
	struct wire_kind w;

	memset(&w, 0, offsetof(struct wire_kind, part));
	w.op = WIRE_KIND_ANSWER;
	w.hash = e->n.hash;
	w.seq = p->seq;
	w.units = p->units;
	w.size = KIND_STATE_MAX;
	memcpy(w.bytes, e->state, w.size);
	p->owed = false; // what is lost is asked for again
	kind_send(s, p->node, p->worker, &w);
}

void kind_entry_look(struct shard *s, uint32_t k)
{
	struct kind_entry *e = kind_entry_at(s, k);
	uint64_t lack = e->targets & s->live & ~e->acked;

	if (!writes(s, e))
		return;
	if (lack != 0 && s->now_ns >= e->copy_ns) {
		for (uint64_t left = lack; left != 0; left &= left - 1)
			send_copy(s, e, (unsigned)__builtin_ctzll(left));
		e->copy_ns = s->now_ns + (KIND_REPEAT_NS << e->tries);
		e->tries += e->tries < KIND_DOUBLINGS;
	}
	if (lack != 0)
		kind_busy(s, &s->kinds.entries, k, e->copy_ns);
	// Who does not acknowledge for long has no room, perhaps: what is asked for goes on without it.
	bool waits = (lack & shard_responsive(s) & s->ports) != 0;
	if (waits && e->tries < KIND_DOUBLINGS)
		return;
	if (waits)
		count(s, C_kind_unprotected);
	for (unsigned p = 0; p < e->n_parts; p++) {
		if (e->part[p].owed)
			answer(s, e, &e->part[p]);
	}
}

static bool state_is_zero(const struct kind_entry *e)
{
	static const uint8_t zero[KIND_STATE_MAX];
	return memcmp(e->state, zero, sizeof(zero)) == 0;
}

// Of two, the higher claim: above 0, that of w.
static int compare(const struct wire_kind *w, const struct kind_entry *e)
{
	int16_t epoch = (int16_t)(w->epoch - e->epoch);
	int32_t version = (int32_t)(w->version - e->version);

	if (epoch != 0)
		return epoch;
	return version != 0 ? version : w->writer - e->writer;
}

// Of each part the newest question counts, whichever copy has the higher claim: an answer that was given stays
// given. But who has only copies (follows) has what the writer has, and no more. true: something here has changed.
static bool merge_parts(
	struct shard *s, struct kind_entry *e, const struct wire_kind *w, bool follows)
{
	bool more = false;

	for (unsigned p = 0; follows && p < e->n_parts;) {
		bool found = false;
		for (unsigned o = 0; o < w->n_parts; o++)
			found |= w->part[o].node == e->part[p].node &&
				 w->part[o].worker == e->part[p].worker;
		if (found)
			p++;
		else
			e->part[p] = e->part[--e->n_parts];
	}
	for (unsigned o = 0; o < w->n_parts; o++) {
		const struct kind_part *theirs = &w->part[o];
		struct kind_part *p = part_of(e, theirs->node, theirs->worker);
		bool fresh = p == NULL;
		if (fresh &&
			(p = part_new(s, e, theirs->node, theirs->worker, theirs->boot)) == NULL)
			continue;
		if (!fresh && p->boot == theirs->boot && (int32_t)(theirs->seq - p->seq) <= 0)
			continue;
		if (!fresh && p->boot != theirs->boot && !follows)
			continue;
		more = true;
		p->boot = theirs->boot;
		p->seq = theirs->seq;
		p->units = theirs->units;
	}
	return more;
}

// Has e what w lacks, or knows less of?
static bool has_more(const struct kind_entry *e, const struct wire_kind *w)
{
	for (unsigned p = 0; p < e->n_parts; p++) {
		unsigned o = 0;
		while (o < w->n_parts && (w->part[o].node != e->part[p].node ||
						 w->part[o].worker != e->part[p].worker))
			o++;
		if (e->part[p].seq != 0 && (o == w->n_parts || w->part[o].boot != e->part[p].boot ||
						   w->part[o].seq != e->part[p].seq))
			return true;
	}
	return false;
}

static void say_have(
	struct shard *s, const struct wire_kind *w, uint64_t hash, const struct kind_from *from)
{
	struct wire_kind have;

	memset(&have, 0, offsetof(struct wire_kind, part));
	have.op = WIRE_KIND_HAVE;
	have.hash = hash;
	have.epoch = w->epoch;
	have.version = w->version;
	kind_send(s, from->node, from->worker, &have);
}

static void adopt(struct kind_entry *e, const struct wire_kind *w)
{
	e->epoch = w->epoch;
	e->version = w->version;
	e->writer = w->writer;
	memset(e->state, 0, sizeof(e->state));
	memcpy(e->state, w->bytes, w->size);
	e->acked = 0;
}

// The copy is of the newer claim, or of the first that is heard of.
static void follow(struct shard *s, struct kind_entry *e, const struct wire_kind *w, bool wrote)
{
	merge_parts(s, e, w, !wrote);
	adopt(e, w);
	if (writes(s, e))
		take_over(s, e); // of a former life of this node, which knows no more of it
	else if (wrote && has_more(e, w))
		send_copy(s, e, e->writer); // which wrote without knowing of this
}

// The copy is of an older claim, or of this node's own with what another has written meanwhile.
static void teach(struct shard *s, struct kind_entry *e, const struct wire_kind *w, unsigned node)
{
	if (merge_parts(s, e, w, false))
		changed(s, e);
	if (w->epoch == e->epoch && w->writer == e->writer)
		return;
	e->targets |= 1ull << node;
	e->acked &= ~(1ull << node);
}

void kind_entry_copy(struct shard *s, const struct wire_kind *w, const struct kind_from *from)
{
	struct kind_table *t = &s->kinds.entries;
	uint64_t hash = kind_hash(s, &w->key);
	uint32_t k = kind_find(t, hash, &w->key);
	bool fresh = k == 0;

	if (kind_worker(s, s->conf->id, hash) != s->worker) {
		count(s, C_drop_control_bad);
		return;
	}
	if (fresh && (t->capacity == 0 || (k = kind_new(t, hash, &w->key)) == 0)) {
		count(s, C_kind_full);
		return;
	}
	struct kind_entry *e = kind_entry_at(s, k);
	int order = fresh ? 1 : compare(w, e);
	bool wrote = !fresh && writes(s, e);
	// Its writer knows best, even if it has begun anew.
	bool anew = w->epoch != e->epoch && e->writer == from->node && w->writer == from->node;
	e->touched_ns = s->now_ns;
	if (order > 0 || (anew && !wrote)) {
		follow(s, e, w, wrote);
	} else if (wrote) {
		teach(s, e, w, from->node);
	} else if (order < 0) {
		send_copy(s, e, from->node); // and no HAVE: what it writes is nobody's any more
		return;
	}
	if (writes(s, e))
		kind_busy(s, t, k, s->now_ns);
	say_have(s, w, hash, from);
	if (!writes(s, e) && e->n_parts == 0 && state_is_zero(e))
		kind_delete(t, k);
}

void kind_entry_have(struct shard *s, const struct wire_kind *w, unsigned node)
{
	uint32_t k = kind_find_hash(&s->kinds.entries, w->hash);
	struct kind_entry *e = kind_entry_at(s, k);

	if (k == 0 || !writes(s, e) || e->epoch != w->epoch || e->version != w->version)
		return;
	e->acked |= 1ull << node;
	kind_busy(s, &s->kinds.entries, k, s->now_ns);
}

// ---- Now and then ----

// Who has not been heard for long has gone, or has nothing.
static void expire_parts(struct shard *s, struct kind_entry *e)
{
	bool gone = false;

	for (unsigned p = 0; p < e->n_parts;) {
		uint64_t silent_ns = s->now_ns - e->part[p].seen_ns;
		if (silent_ns < (e->part[p].units > 0 ? KIND_EXPIRE_NS : PART_NS)) {
			p++;
			continue;
		}
		e->part[p] = e->part[--e->n_parts];
		gone = true;
	}
	if (gone)
		changed(s, e);
}

static bool is_idle(const struct shard *s, const struct kind_entry *e)
{
	const struct tripod_kind *kind = kind_of(s, e->n.key.kind);
	uint64_t idle_ns = s->now_ns - e->touched_ns;

	if (!writes(s, e))
		return idle_ns >= 3 * KIND_EXPIRE_NS;
	if (kind == NULL)
		return idle_ns >= KIND_EXPIRE_NS;
	if (e->n_parts > 0)
		return false;
	return state_is_zero(e) || idle_ns >= kind->idle_ms * MS;
}

void kind_entry_walk(struct shard *s, uint32_t k)
{
	struct kind_table *t = &s->kinds.entries;
	struct kind_entry *e = kind_entry_at(s, k);
	bool first = is_first(s, e);

	// Nobody has asked yet since its writer died: the copies are made up for all the same.
	if (!writes(s, e) && first && !(s->live & 1ull << e->writer) &&
		s->now_ns >= s->kinds.quiet_until_ns)
		take_over(s, e);
	if (writes(s, e)) {
		uint64_t before = e->targets;
		expire_parts(s, e);
		e->targets = targets_of(s, e);
		if ((e->targets & ~before) != 0) { // at once, whoever has been sent it in vain
			e->tries = 0;
			e->copy_ns = s->now_ns;
		}
		if (s->now_ns - e->told_ns >= KIND_EXPIRE_NS) {
			e->told_ns = s->now_ns;
			e->acked = 0;
		}
	}
	bool copied = (e->targets & s->live & ~e->acked) == 0;
	bool others = writes(s, e) && !first && e->targets != 0 && copied &&
		      !(kind_order(s, &e->n, s->ports, s->conf->backups + 1u) & shard_self(s)) &&
		      s->now_ns - e->touched_ns >= PART_NS;
	if ((is_idle(s, e) && (copied || !writes(s, e))) || others)
		kind_delete(t, k);
	else if (writes(s, e) && !copied)
		kind_busy(s, t, k, s->now_ns);
}
