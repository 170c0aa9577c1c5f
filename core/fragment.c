// SPDX-License-Identifier: BSD-3-Clause
// Later fragments of datagrams. They have no ports: the switch sends them anywhere, and nothing in them
// says to which connection they belong.
//
// The first fragment goes the ordinary way, through its connection and the chain. What became of its
// addresses is the *way* of its datagram, and all that the others need: they get the same addresses and
// leave, whatever node they are at. The way is kept where the first fragment was handled, and is told to the
// *home* of the datagram, the first of the members in the rendezvous order of what its fragments have in
// common. So a later fragment that arrives elsewhere is relayed there, where it waits if it comes first.
// In a node it is one worker, chosen by the same key, that keeps ways and fragments.
//
// Nothing is repeated: a datagram whose way is lost, or whose home dies, is lost, as any may be. Nor is
// anything put together, so overlaps are left to the receiver.
#include "core/checksum_inline.h"
#include "core/hpsms/repl.h"

#define LIFE_NS (2000 * MS) // of a way
// A first fragment may itself wait for its connection, for pull_timeout_ms.
#define PATIENCE_NS (100 * MS)
#define TELL_COST_NS 20000ull // 50000 ways told a second
#define TELL_BURST_NS (20 * MS)

void fragment_init(struct shard *s, struct arena *a)
{
	struct fragments *f = &s->fragments;
	uint32_t n = s->conf->fragments, lists = 1;

	while (lists < n)
		lists *= 2;
	f->mask = lists - 1;
	f->entries = arena_take(a, ((size_t)n + 1) * sizeof(*f->entries));
	f->list = arena_take(a, lists * sizeof(*f->list));
	f->waits = arena_take(a, FRAGMENT_WAITS * sizeof(*f->waits));
}

void *fragment_buffer(const struct shard *s, uint32_t place)
{
	return s->fragments.waits[place].p.buf;
}

static unsigned worker_of(const struct shard *s, const struct tripod_tuple *key)
{
	return toeplitz_worker(toeplitz_tuple(key), s->conf->workers);
}

static unsigned home_of(const struct shard *s, uint64_t hash)
{
	return (unsigned)__builtin_ctzll(place_by_hash(hash, s->live, 1));
}

// ---- Ways ----

static struct fragment_entry *find(
	const struct shard *s, const struct tripod_tuple *key, uint64_t hash)
{
	const struct fragments *f = &s->fragments;

	for (uint32_t k = f->list[hash & f->mask]; k != 0; k = f->entries[k].chain) {
		struct fragment_entry *e = &f->entries[k];
		if (e->hash == hash && tripod_tuple_equal(&e->way.key, key))
			return e;
	}
	return NULL;
}

// The oldest entry becomes that of a hash.
static struct fragment_entry *entry_new(struct shard *s, uint64_t hash)
{
	struct fragments *f = &s->fragments;
	uint32_t k = f->newest % s->conf->fragments + 1, *link;
	struct fragment_entry *e = &f->entries[k];

	if (e->until_ns != 0) {
		for (link = &f->list[e->hash & f->mask]; *link != k;)
			link = &f->entries[*link].chain;
		*link = e->chain;
	}
	link = &f->list[hash & f->mask];
	e->chain = *link;
	*link = k;
	e->hash = hash;
	f->newest = k;
	return e;
}

static void learn(struct shard *s, const struct wire_fragment *way, uint64_t hash)
{
	struct fragments *f = &s->fragments;
	struct fragment_entry *e = find(s, &way->key, hash);

	if (s->conf->fragments == 0)
		return;
	// A datagram with the identification of an earlier one takes its place.
	if (e == NULL)
		e = entry_new(s, hash);
	e->way = *way;
	e->until_ns = s->now_ns + LIFE_NS;
	for (unsigned k = 0; f->first_wait != f->next_wait && k < FRAGMENT_WAITS; k++) {
		struct fragment_wait *w = &f->waits[k];
		if (f->wait_hash[k] != hash || w->p.buf == NULL || w->ready)
			continue;
		w->ready = true;
		f->ready++;
	}
}

// ---- Telling the home ----

static void flush(struct shard *s)
{
	struct fragments *f = &s->fragments;
	struct wire_header h;

	if (f->out.frame.buf == NULL)
		return;
	control_header(s, &h, WIRE_FRAGMENT, f->out.node, f->out.worker);
	h.count = f->out.count;
	control_send(s, &f->out.frame, &h, f->out.used);
	f->out.frame.buf = NULL;
}

// false: no budget, or no frame.
static bool tell(struct shard *s, const struct wire_fragment *way, unsigned node)
{
	struct fragments *f = &s->fragments;
	unsigned worker = repl_worker(s, node, &way->key);
	uint8_t item[WIRE_FRAGMENT_MAX];
	int size = wire_put_fragment(item, sizeof(item), way);

	if (f->tell_tokens_ns + TELL_BURST_NS < s->now_ns)
		f->tell_tokens_ns = s->now_ns - TELL_BURST_NS;
	if (size < 0 || f->tell_tokens_ns + TELL_COST_NS > s->now_ns)
		return false;
	if (f->out.frame.buf != NULL && (f->out.node != node || f->out.worker != worker ||
						f->out.used + size > WIRE_BODY_MAX))
		flush(s);
	if (f->out.frame.buf == NULL) {
		if (s->step->n_spare <= STEP_SPARE_CONTROL || !shard_has_room(s))
			return false;
		if (!control_begin(s, &f->out.frame)) {
			f->out.frame.buf = NULL;
			return false;
		}
		f->out.node = (uint8_t)node;
		f->out.worker = (uint8_t)worker;
		f->out.used = WIRE_HEADER_SIZE;
		f->out.count = 0;
	}
	f->tell_tokens_ns += TELL_COST_NS;
	memcpy(control_body(&f->out.frame) + f->out.used, item, (size_t)size);
	f->out.used += (uint16_t)size;
	f->out.count++;
	return true;
}

// Of a datagram whose first fragment was handled at this node.
static void begun(struct shard *s, const struct wire_fragment *way)
{
	uint64_t hash = store_hash(&s->store, &way->key);
	unsigned home = home_of(s, hash);

	learn(s, way, hash);
	if (home != s->conf->id && !tell(s, way, home))
		count(s, C_fragments_untold);
}

void fragment_ring(struct shard *s, const struct ring_message *m)
{
	begun(s, &m->fragment);
}

void fragment_first(struct shard *s, const struct tripod_packet *p, uint32_t i, unsigned dir)
{
	struct ring_message m = {
		.type = RING_FRAGMENT,
		.fragment =
			{
				.key = parse_fragment_key(
					p, &store_conn(&s->store, i)->dir[dir].key),
				.src = p->tuple.src,
				.dst = p->tuple.dst,
			},
	};
	unsigned worker = worker_of(s, &m.fragment.key);

	count(s, C_fragments_first);
	if (worker == s->worker)
		begun(s, &m.fragment);
	else if (!shard_post(s, worker, &m))
		count(s, C_fragments_untold);
}

void fragment_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	uint16_t at = 0;

	for (unsigned n = 0; n < h->count; n++) {
		struct wire_fragment way;
		int size = wire_get_fragment(body + at, len - at, &way);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		at += (uint16_t)size;
		learn(s, &way, store_hash(&s->store, &way.key));
	}
}

// ---- Later fragments ----

static void readdress(
	struct tripod_packet *p, const struct tripod_addr *src, const struct tripod_addr *dst)
{
	uint8_t *l3 = p->data + p->l3;
	size_t skip = p->v6 ? 0 : 12, n = 16 - skip;
	uint8_t *at = l3 + (p->v6 ? 8 : 12);
	uint64_t change = checksum_change(at, src->b + skip, n);

	change += checksum_change(at + n, dst->b + skip, n);
	memcpy(at, src->b + skip, n);
	memcpy(at + n, dst->b + skip, n);
	if (!p->v6)
		checksum_apply(l3 + 10, change);
	p->tuple.src = *src;
	p->tuple.dst = *dst;
}

static void carry_on(struct shard *s, struct tripod_packet *p, const struct fragment_entry *e)
{
	if (p->ttl <= 1) {
		shard_drop(s, p, C_drop_ttl);
		return;
	}
	readdress(p, &e->way.src, &e->way.dst);
	count(s, C_fragments_later);
	forward_now(s, p, STORE_NONE, 0);
}

// The oldest one makes room: of a flood of fragments that nothing precedes, each waits for a while.
static void wait_for_first(struct shard *s, const struct tripod_packet *p, uint64_t hash)
{
	struct fragments *f = &s->fragments;
	struct fragment_wait *w = &f->waits[f->next_wait % FRAGMENT_WAITS];

	if (w->p.buf != NULL) {
		shard_drop(s, &w->p, C_drop_wait_full);
		f->ready -= w->ready;
	}
	if (f->next_wait - f->first_wait == FRAGMENT_WAITS)
		f->first_wait++;
	*w = (struct fragment_wait){.p = *p, .until_ns = s->now_ns + PATIENCE_NS};
	f->wait_hash[f->next_wait++ % FRAGMENT_WAITS] = hash;
	if (s->next_tick_ns > w->until_ns)
		s->next_tick_ns = w->until_ns;
}

void fragment_later(struct shard *s, struct tripod_packet *p)
{
	uint64_t hash = store_hash(&s->store, &p->tuple);
	const struct fragment_entry *e = find(s, &p->tuple, hash);
	unsigned home = home_of(s, hash);

	if (e != NULL && e->until_ns > s->now_ns)
		carry_on(s, p, e);
	else if (home != s->conf->id && !(p->flags & TRIPOD_PKT_RELAYED))
		forward_relay(s, p, home);
	else
		wait_for_first(s, p, hash);
}

// Those whose way has come leave, in the order in which they came.
static void release(struct shard *s)
{
	struct fragments *f = &s->fragments;

	for (uint32_t n = f->first_wait; n != f->next_wait && f->ready > 0; n++) {
		struct fragment_wait *w = &f->waits[n % FRAGMENT_WAITS];
		if (!w->ready)
			continue;
		if (!shard_has_room(s)) {
			s->step->more = true;
			return;
		}
		const struct fragment_entry *e =
			find(s, &w->p.tuple, f->wait_hash[n % FRAGMENT_WAITS]);
		if (e != NULL)
			carry_on(s, &w->p, e);
		else
			shard_drop(s, &w->p, C_drop_fragment); // newer ones have taken its place
		*w = (struct fragment_wait){0};
		f->ready--;
	}
}

void fragment_step(struct shard *s)
{
	if (s->fragments.ready > 0)
		release(s);
	flush(s);
}

uint64_t fragment_tick(struct shard *s)
{
	struct fragments *f = &s->fragments;

	for (; f->first_wait != f->next_wait; f->first_wait++) {
		struct fragment_wait *w = &f->waits[f->first_wait % FRAGMENT_WAITS];
		if (w->p.buf == NULL)
			continue;
		if (w->until_ns > s->now_ns)
			return w->until_ns;
		if (w->ready || !shard_has_room(s))
			return s->now_ns + MS;
		shard_drop(s, &w->p, C_drop_fragment);
		*w = (struct fragment_wait){0};
	}
	return UINT64_MAX;
}
