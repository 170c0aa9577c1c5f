// SPDX-License-Identifier: BSD-3-Clause
// State of other keys than a connection's (struct tripod_kind in the NF API): an entry a key in the rack.
//
// Who writes it? The first of the nodes that take traffic in the rendezvous order of the key: all who
// ask find the same without asking, and a node that comes or goes moves only its own share. The next k in
// that order have copies. Where members disagree for a moment, two may write: each takes over one
// epoch above what it knows, copies meet, the higher claim goes on, and no worker's units are lost, since
// of a part the newest question counts, whoever applied it.
//
// What keeps it right in the long run is not that nothing is lost. A claim says what it holds, not what
// has changed, and says it again every two seconds, to whoever writes by then; what is not said for ten is
// forgotten. So a node that dies gives back what it held, connections that have gone elsewhere
// count where they are, and an entry that was lost with all its copies is there again after one round.
#include <errno.h>

#include "core/hpsms/kinds.h"

#define SCAN 128 // claims and entries looked at in one tick

// ---- Tables ----

static void table_init(struct kind_table *t, struct arena *a, uint32_t n, size_t size)
{
	uint32_t lists = 1;

	while (lists < n)
		lists *= 2;
	t->size = (uint32_t)((size + 7) & ~(size_t)7);
	t->capacity = n;
	t->mask = lists - 1;
	t->due_ns = UINT64_MAX;
	t->nodes = arena_take(a, ((size_t)n + 1) * t->size);
	t->list = arena_take(a, (size_t)lists * sizeof(*t->list));
}

// As many parts as there can be workers that ask.
static unsigned parts_max(const struct node_conf *conf)
{
	unsigned n = conf->workers;

	for (unsigned i = 0; i < NODES_MAX; i++)
		n += conf->member[i].present && i != conf->id ? conf->peer_workers : 0;
	return n < KIND_PARTS_MAX ? n : KIND_PARTS_MAX;
}

void kind_init(struct shard *s, struct arena *a)
{
	struct kinds *q = &s->kinds;
	uint32_t n = s->conf->kinds;

	q->parts_max = parts_max(s->conf);
	table_init(&q->claims, a, n, sizeof(struct kind_claim));
	table_init(&q->entries, a, n,
		sizeof(struct kind_entry) + q->parts_max * sizeof(struct kind_part));
	q->waiters = arena_take(a, ((size_t)n + 1) * sizeof(*q->waiters));
	for (uint32_t k = n; q->waiters != NULL && k > 0; k--) {
		q->waiters[k].next = q->free_waiter;
		q->free_waiter = k;
	}
}

uint32_t kind_find(const struct kind_table *t, uint64_t hash, const struct kind_key *key)
{
	uint32_t k = t->capacity > 0 ? t->list[hash & t->mask] : 0;

	for (; k != 0; k = ((struct kind_node *)kind_at(t, k))->chain) {
		const struct kind_node *n = kind_at(t, k);
		if (n->hash == hash && memcmp(&n->key, key, sizeof(*key)) == 0)
			break;
	}
	return k;
}

uint32_t kind_find_hash(const struct kind_table *t, uint64_t hash)
{
	uint32_t k = t->capacity > 0 ? t->list[hash & t->mask] : 0;

	while (k != 0 && ((struct kind_node *)kind_at(t, k))->hash != hash)
		k = ((struct kind_node *)kind_at(t, k))->chain;
	return k;
}

uint32_t kind_new(struct kind_table *t, uint64_t hash, const struct kind_key *key)
{
	uint32_t k = t->free;

	if (k == 0 && t->highest == t->capacity)
		return 0;
	if (k == 0)
		k = ++t->highest; // what was never used costs no memory
	struct kind_node *n = kind_at(t, k);
	if (k == t->free)
		t->free = n->chain;
	uint32_t *list = &t->list[hash & t->mask];
	memset(n, 0, t->size);
	*n = (struct kind_node){.key = *key, .hash = hash, .chain = *list, .used = true};
	*list = k;
	t->in_use++;
	return k;
}

void kind_delete(struct kind_table *t, uint32_t k)
{
	struct kind_node *n = kind_at(t, k);
	uint32_t *link = &t->list[n->hash & t->mask];

	kind_calm(t, k);
	while (*link != k)
		link = &((struct kind_node *)kind_at(t, *link))->chain;
	*link = n->chain;
	*n = (struct kind_node){.chain = t->free};
	t->free = k;
	t->in_use--;
}

void kind_busy(struct shard *s, struct kind_table *t, uint32_t k, uint64_t at_ns)
{
	struct kind_node *n = kind_at(t, k);

	if (n->busy && n->next_ns <= at_ns)
		return;
	n->next_ns = at_ns;
	if (t->due_ns > at_ns)
		t->due_ns = at_ns;
	if (n->busy)
		return;
	n->busy = true;
	n->older = t->newest;
	n->newer = 0;
	if (t->newest != 0)
		((struct kind_node *)kind_at(t, t->newest))->newer = k;
	else
		t->oldest = k;
	t->newest = k;
}

void kind_calm(struct kind_table *t, uint32_t k)
{
	struct kind_node *n = kind_at(t, k);

	if (!n->busy)
		return;
	n->busy = false;
	if (n->older != 0)
		((struct kind_node *)kind_at(t, n->older))->newer = n->newer;
	else
		t->oldest = n->newer;
	if (n->newer != 0)
		((struct kind_node *)kind_at(t, n->newer))->older = n->older;
	else
		t->newest = n->older;
}

// ---- Who ----

uint64_t kind_hash(const struct shard *s, const struct kind_key *key)
{
	uint8_t bytes[48] = {0};

	memcpy(bytes, key, sizeof(*key));
	return store_hash_bytes(&s->store, bytes, sizeof(bytes));
}

const struct tripod_kind *kind_of(const struct shard *s, uint32_t id)
{
	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		const struct chain *chain = s->chain[k];
		for (unsigned i = 0; chain != NULL && chain->kinds && i < chain->n; i++) {
			if (chain->nf[i].kind == id)
				return chain->nf[i].nf->kind;
		}
	}
	return NULL;
}

// Members that hold a chain with the kind.
static uint64_t nodes_of(const struct shard *s, uint32_t id)
{
	uint64_t nodes = 0;

	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		const struct chain *chain = s->chain[k];
		for (unsigned i = 0; chain != NULL && chain->kinds && i < chain->n; i++) {
			if (chain->nf[i].kind == id)
				nodes |= s->chain_nodes[k] | shard_self(s);
		}
	}
	return nodes;
}

uint64_t kind_order(
	const struct shard *s, const struct kind_node *n, uint64_t among, unsigned count)
{
	return place_by_hash(n->hash, among & nodes_of(s, n->key.kind), count);
}

unsigned kind_worker(const struct shard *s, unsigned node, uint64_t hash)
{
	unsigned workers = node == s->conf->id ? s->conf->workers : s->peer[node].workers;

	return workers <= 1 ? 0 : (unsigned)((hash >> 32) * workers >> 32);
}

// ---- Messages ----

static void item_rx(struct shard *s, const struct wire_kind *w, const struct kind_from *from)
{
	switch ((enum wire_kind_op)w->op) {
	case WIRE_KIND_ASK:
		kind_entry_ask(s, w, from);
		break;
	case WIRE_KIND_ANSWER:
		kind_claim_answer(s, w);
		break;
	case WIRE_KIND_COPY:
		kind_entry_copy(s, w, from);
		break;
	case WIRE_KIND_HAVE:
		kind_entry_have(s, w, from->node);
		break;
	}
}

void kind_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	struct kind_from from = {h->from_node, h->from_worker, (uint32_t)h->boot};
	struct wire_kind w;
	uint16_t at = 0;

	for (unsigned n = 0; n < h->count; n++) {
		int size = wire_get_kind(body + at, len - at, &w);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		at += (uint16_t)size;
		item_rx(s, &w, &from);
	}
}

void kind_ring(struct shard *s, unsigned worker, const struct ring_message *m)
{
	struct kind_from from = {s->conf->id, (uint8_t)worker, (uint32_t)s->conf->boot};
	struct wire_kind w;

	if (wire_get_kind(m->kind.bytes, m->kind.size, &w) > 0)
		item_rx(s, &w, &from);
}

static void flush(struct shard *s)
{
	struct kinds *q = &s->kinds;
	struct wire_header h;

	if (q->out.frame.buf == NULL)
		return;
	control_header(s, &h, WIRE_KIND, q->out.node, q->out.worker);
	h.count = q->out.count;
	control_send(s, &q->out.frame, &h, q->out.used);
	q->out.frame.buf = NULL;
}

// To another worker of this node.
static bool send_ring(struct shard *s, unsigned worker, const struct wire_kind *w)
{
	struct ring_message m = {.type = RING_KIND};
	int size = wire_put_kind(m.kind.bytes, sizeof(m.kind.bytes), w);

	m.kind.size = (uint8_t)size;
	return size > 0 && shard_post(s, worker, &m);
}

bool kind_send(struct shard *s, unsigned node, unsigned worker, const struct wire_kind *w)
{
	struct kinds *q = &s->kinds;
	struct kind_from self = {s->conf->id, s->worker, (uint32_t)s->conf->boot};
	uint8_t item[WIRE_KIND_MAX];

	if (node == s->conf->id && worker != s->worker)
		return send_ring(s, worker, w);
	if (node == s->conf->id) {
		item_rx(s, w, &self);
		return true;
	}
	int size = wire_put_kind(item, sizeof(item), w);
	if (size < 0 || !s->peer[node].live)
		return false;
	if (q->out.frame.buf != NULL && (q->out.node != node || q->out.worker != worker ||
						q->out.used + size > WIRE_BODY_MAX))
		flush(s);
	if (q->out.frame.buf == NULL) {
		if (s->step->n_spare <= STEP_SPARE_CONTROL || !shard_has_room(s))
			return false;
		if (!control_begin(s, &q->out.frame)) {
			q->out.frame.buf = NULL;
			return false;
		}
		q->out.node = (uint8_t)node;
		q->out.worker = (uint8_t)worker;
		q->out.used = WIRE_HEADER_SIZE;
		q->out.count = 0;
	}
	memcpy(control_body(&q->out.frame) + q->out.used, item, (size_t)size);
	q->out.used += (uint16_t)size;
	q->out.count++;
	return true;
}

// ---- Time ----

// Looks at the busy ones that are due, each once: what is due again at once is so in the next step.
static void run(struct shard *s, struct kind_table *t, void (*look)(struct shard *s, uint32_t k))
{
	uint32_t left = t->in_use;

	if (s->now_ns < t->due_ns)
		return;
	t->due_ns = UINT64_MAX;
	for (uint32_t k = t->oldest, newer; k != 0 && left > 0; k = newer, left--) {
		const struct kind_node *n = kind_at(t, k);
		newer = n->newer;
		if (n->next_ns > s->now_ns) {
			t->due_ns = n->next_ns < t->due_ns ? n->next_ns : t->due_ns;
			continue;
		}
		kind_calm(t, k); // unless it says that there is more
		look(s, k);
	}
}

void kind_step(struct shard *s)
{
	// A question to this worker itself is answered in the same step.
	for (unsigned pass = 0; pass < 2; pass++) {
		run(s, &s->kinds.claims, kind_claim_look);
		run(s, &s->kinds.entries, kind_entry_look);
	}
	flush(s);
}

uint64_t kind_next_ns(const struct shard *s)
{
	uint64_t a = s->kinds.claims.due_ns, b = s->kinds.entries.due_ns;

	return a < b ? a : b;
}

// Some of a table. true: that was the end of it.
static bool walk(struct shard *s, struct kind_table *t, void (*look)(struct shard *s, uint32_t k))
{
	for (unsigned n = 0; n < SCAN; n++) {
		if (t->at >= t->highest || t->in_use == 0) {
			t->at = 0;
			return true;
		}
		t->at++;
		if (((const struct kind_node *)kind_at(t, t->at))->used)
			look(s, t->at);
	}
	return false;
}

uint64_t kind_tick(struct shard *s)
{
	struct kinds *q = &s->kinds;

	if (q->claims.in_use == 0 && q->entries.in_use == 0) {
		q->walking = false;
		return UINT64_MAX;
	}
	walk(s, &q->claims, kind_claim_walk);
	if (walk(s, &q->entries, kind_entry_walk))
		q->walking = false;
	return q->walking ? s->now_ns + 1 * MS : UINT64_MAX;
}

void kind_forgot(struct shard *s, unsigned node)
{
	const struct kind_table *t = &s->kinds.entries;

	for (uint32_t k = 1; k <= t->highest; k++)
		((struct kind_entry *)kind_at(t, k))->acked &= ~(1ull << node);
}

void kind_members(struct shard *s)
{
	s->kinds.claims.at = s->kinds.entries.at = 0;
	s->kinds.walking = true;
}

void kind_doubt(struct shard *s)
{
	s->kinds.quiet_until_ns = s->now_ns + 100 * MS;
	kind_members(s);
}

uint32_t kind_owes(const struct shard *s, uint64_t nodes)
{
	const struct kind_table *t = &s->kinds.entries;
	uint32_t n = 0;

	if (t->in_use == 0)
		return 0;
	if (s->kinds.walking)
		return t->in_use;
	for (uint32_t k = 1; k <= t->highest; k++) {
		const struct kind_entry *e = kind_at(t, k);
		// As for answers: who does not acknowledge for long is not waited for.
		if (e->n.used && e->writer == s->conf->id && e->tries < KIND_DOUBLINGS &&
			(e->targets & nodes & s->live & ~e->acked) != 0)
			n++;
	}
	return n;
}
