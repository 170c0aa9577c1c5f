// SPDX-License-Identifier: BSD-3-Clause
// PullReplica: a packet arrives and the connection is not here, or may have gone on elsewhere while
// this node was away. The packet waits, the peers are asked, the others go on. Requests of one step
// share a message; answers are remembered for a moment, so that a flood of unknown tuples costs a
// bounded number of messages.
#include "core/shard.h"

#define REPEAT_NS (10 * MS) // an unanswered request is repeated
#define FAILED_NS (200 * MS) // what nobody knows is not asked for again so soon
#define WAITING_PER_PULL 16

static uint32_t *bucket(struct shard *s, uint64_t hash)
{
	return &s->pull_hash[hash & (PULL_HASH - 1)];
}

static uint32_t find(struct shard *s, const struct tripod_tuple *key, uint64_t hash)
{
	uint32_t i = *bucket(s, hash);
	while (i != 0 && !tripod_tuple_equal(&s->pulls[i].key, key))
		i = s->pulls[i].chain;
	return i;
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

// A token bucket counted in time: a pull costs 1/pull_per_s, at most 100 ms are saved up.
static bool spend(struct shard *s)
{
	if (s->pull_tokens_ns + 100 * MS < s->now_ns)
		s->pull_tokens_ns = s->now_ns - 100 * MS;
	if (s->pull_tokens_ns + s->conf->pull_cost_ns > s->now_ns)
		return false;
	s->pull_tokens_ns += s->conf->pull_cost_ns;
	return true;
}

static uint32_t begin(struct shard *s, const struct tripod_tuple *key, uint64_t hash)
{
	uint32_t i = spend(s) ? allocate(s) : 0;
	if (i == 0)
		return 0;
	s->pulls[i] = (struct pull){
		.key = *key,
		.hash = hash,
		.awaited = s->live & ~(1ull << s->conf->id),
		.started_ns = s->now_ns,
		.asked_ns = s->now_ns,
		.state = PULL_ASKING,
		.chain = *bucket(s, hash),
	};
	*bucket(s, hash) = i;
	s->pulls_asking++;
	ask(s, i);
	count(s, C_pulls_sent);
	if (s->next_tick_ns > s->now_ns + REPEAT_NS)
		s->next_tick_ns = s->now_ns + REPEAT_NS;
	return i;
}

void pull_wait(struct shard *s, struct tripod_packet *p, uint64_t hash)
{
	uint32_t i = find(s, &p->tuple, hash);

	if (i != 0 && s->pulls[i].state == PULL_FAILED) {
		if (s->now_ns - s->pulls[i].started_ns < FAILED_NS) {
			// Asked a moment ago: what the packet may do without an answer, it does now.
			uint32_t w = shard_wait_new(s, p);
			if (w == 0) {
				shard_drop(s, p, C_drop_wait_full);
				return;
			}
			s->waiting[w].frame.flags |= TRIPOD_PKT_WAITED;
			shard_again(s, w);
			return;
		}
		release(s, i);
		i = 0;
	}
	if (i == 0)
		i = begin(s, &p->tuple, hash);
	if (i == 0) {
		count(s, C_pulls_limited);
		shard_drop(s, p, C_drop_wait_full);
		return;
	}
	struct pull *pull = &s->pulls[i];
	uint32_t w = pull->n_waiting < WAITING_PER_PULL ? shard_wait_new(s, p) : 0;
	if (w == 0) {
		shard_drop(s, p, C_drop_wait_full);
		return;
	}
	pull->n_waiting++;
	if (pull->first == 0)
		pull->first = w;
	else
		s->waiting[pull->last].next = w;
	pull->last = w;
}

static void resolve(struct shard *s, uint32_t i, bool found)
{
	struct pull *p = &s->pulls[i];
	uint32_t w = p->first;

	while (w != 0) {
		uint32_t next = s->waiting[w].next;
		s->waiting[w].frame.flags |= TRIPOD_PKT_WAITED;
		shard_again(s, w);
		w = next;
	}
	p->first = p->last = 0;
	p->n_waiting = 0;
	s->pulls_asking--;
	if (found) {
		count(s, C_pulls_answered);
		// Connections are moving: what is unknown may be about to be known.
		s->unsettled_ns = s->now_ns + 10 * 1000 * MS;
		release(s, i);
		return;
	}
	count(s, C_pulls_failed);
	p->state = PULL_FAILED;
	p->started_ns = s->now_ns;
}

static void answered(struct shard *s, uint32_t i, unsigned from)
{
	struct pull *p = &s->pulls[i];

	p->awaited &= ~(1ull << from);
	// With a copy in hand, nobody waits for a member that misses heartbeats; without one, that member
	// may be the one who has it.
	if ((p->found ? p->awaited & shard_responsive(s) : p->awaited) == 0)
		resolve(s, i, p->found);
}

void pull_found(struct shard *s, const struct tripod_tuple *key, bool final, unsigned from)
{
	uint32_t i = find(s, key, store_hash(&s->store, key));

	if (i == 0 || s->pulls[i].state != PULL_ASKING)
		return;
	s->pulls[i].found = true;
	if (final)
		resolve(s, i, true);
	else
		answered(s, i, from);
}

void pull_none(struct shard *s, const struct tripod_tuple *key, unsigned from)
{
	uint32_t i = find(s, key, store_hash(&s->store, key));

	if (i != 0 && s->pulls[i].state == PULL_ASKING)
		answered(s, i, from);
}

void pull_peer_died(struct shard *s, unsigned node)
{
	for (uint32_t i = 1; i <= s->conf->pulls && s->pulls_asking > 0; i++) {
		if (s->pulls[i].state == PULL_ASKING)
			answered(s, i, node);
	}
}

// One message to everybody with the tuples that were missed in this step, or whose answer is late.
void pull_send(struct shard *s)
{
	struct wire_header h;
	struct frame f;
	uint16_t used = 0, n = 0;

	while (s->ask_first != 0) {
		struct pull *p = &s->pulls[s->ask_first];
		if (p->state == PULL_ASKING) {
			if (n == 0) {
				if (!control_begin(s, &f))
					return;
				used = WIRE_HEADER_SIZE;
			}
			int size = wire_put_tuple(
				control_body(&f) + used, WIRE_BODY_MAX - used, &p->key);
			if (size < 0)
				break; // the rest goes in the next step
			used += (uint16_t)size;
			n++;
		}
		p->ask = false;
		s->ask_first = p->next_ask;
	}
	if (n == 0)
		return;
	control_header(s, &h, WIRE_PULL, WIRE_ANY, WIRE_ANY);
	h.count = n;
	control_send(s, &f, &h, used);
}

uint64_t pull_tick(struct shard *s)
{
	uint64_t timeout = s->conf->pull_timeout_ms * MS;

	if (s->pulls_asking == 0)
		return UINT64_MAX;
	for (uint32_t i = 1; i <= s->conf->pulls; i++) {
		struct pull *p = &s->pulls[i];
		if (p->state != PULL_ASKING)
			continue;
		if (s->now_ns - p->started_ns >= timeout) {
			if (!p->found)
				count(s, C_drop_wait_timeout);
			resolve(s, i, p->found);
		} else if (s->now_ns - p->asked_ns >= REPEAT_NS) {
			p->asked_ns = s->now_ns;
			ask(s, i);
		}
	}
	return s->now_ns + REPEAT_NS;
}

// ---- The other end ----

static void none_send(struct shard *s)
{
	struct wire_header h;

	control_header(s, &h, (enum wire_type)s->none.type, s->none.node, s->none.worker);
	h.count = s->none.count;
	control_send(s, &s->none.frame, &h, s->none.used);
	s->none.frame.buf = NULL;
}

void pull_none_flush(struct shard *s)
{
	if (s->none.frame.buf != NULL)
		none_send(s);
}

void pull_say(struct shard *s, enum wire_type what, const struct tripod_tuple *key, unsigned node,
	unsigned worker)
{
	bool other = s->none.type != what || s->none.node != node || s->none.worker != worker;

	if (s->none.frame.buf != NULL && other)
		none_send(s);
	for (unsigned try = 0; try < 2; try++) {
		if (s->none.frame.buf == NULL) {
			if (!control_begin(s, &s->none.frame)) {
				s->none.frame.buf = NULL;
				return;
			}
			s->none.type = (uint8_t)what;
			s->none.node = (uint8_t)node;
			s->none.worker = (uint8_t)worker;
			s->none.used = WIRE_HEADER_SIZE;
			s->none.count = 0;
		}
		int size = wire_put_tuple(control_body(&s->none.frame) + s->none.used,
			WIRE_BODY_MAX - s->none.used, key);
		if (size > 0) {
			s->none.used += (uint16_t)size;
			s->none.count++;
			return;
		}
		none_send(s);
	}
}

void pull_serve(struct shard *s, const struct tripod_tuple *key, unsigned node, unsigned worker)
{
	struct store_hit hit = store_find(&s->store, key, store_hash(&s->store, key));

	if (hit.what == STORE_ALIAS) {
		struct ring_message m = {
			.type = RING_SERVE,
			.node = (uint8_t)node,
			.worker = (uint8_t)worker,
			.key = *key,
		};
		if (shard_post(s, s->store.aliases[hit.index].owner, &m))
			return;
		count(s, C_drop_ring_full); // the asker repeats
	} else if (hit.what == STORE_CONN && store_conn(&s->store, hit.index)->state == CONN_LIVE &&
		   store_conn(&s->store, hit.index)->dir[1].key.proto != 0) {
		count(s, C_pulls_served);
		repl_answer(s, hit.index, node, hit.dir);
	} else {
		pull_say(s, WIRE_NONE, key, node, worker);
	}
}
