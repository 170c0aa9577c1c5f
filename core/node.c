// SPDX-License-Identifier: BSD-3-Clause
// Building a node, and looking at it from outside.
#include "core/node.h"

#include "core/shard.h"

#define CHANNEL_QUEUE 8192 // records that may wait for one worker of one peer

static uint32_t pow2_at_least(uint32_t n)
{
	uint32_t p = 1;
	while (p < n)
		p <<= 1;
	return p;
}

static void peers_init(struct shard *s, struct arena *a, const struct node_conf *conf)
{
	uint32_t queue = pow2_at_least(
		conf->connections < CHANNEL_QUEUE ? conf->connections : CHANNEL_QUEUE);
	struct channel scratch = {0};

	session_init(s, a);
	for (unsigned n = 0; n < NODES_MAX; n++) {
		if (!conf->member[n].present || n == conf->id)
			continue;
		struct channel *channels =
			arena_take(a, conf->peer_workers * sizeof(struct channel));
		struct outgoing *out = arena_take(a, conf->peer_workers * sizeof(struct outgoing));
		for (unsigned w = 0; w < conf->peer_workers; w++)
			channel_init(channels == NULL ? &scratch : &channels[w], a, queue);
		session_peer_init(s, n, a);
		struct lag *lag = arena_take(a, sizeof(*lag));
		if (channels == NULL)
			continue;
		s->peer[n].configured = true;
		s->peer[n].channel = channels;
		s->peer[n].out = out;
		s->peer[n].lag = lag;
		for (unsigned w = 0; w < conf->peer_workers; w++)
			channels[w].lag = lag;
	}
}

static void shard_init(struct shard *s, struct arena *a, struct node *node,
	const struct node_conf *conf, unsigned worker, uint64_t now_ns)
{
	tick_t now = tick_of(now_ns);

	s->node = node;
	s->conf = conf;
	s->worker = (uint8_t)worker;
	s->now_ns = s->last_step_ns = now_ns;
	s->now = now;
	s->absent_from = s->valid_from = s->awake_from = s->forgotten_from = now - AGE_MAX;
	// Mixed: seeds one step of the generator apart would give one sequence, shifted.
	struct rng mix = {.state = conf->seed ^ (worker + 1) * 0xd6e8feb86659fd93ull};
	s->rng.state = rng_next(&mix);
	s->live = s->ports = 1ull << conf->id;
	s->unsettled_ns = now_ns + 10 * 1000 * MS;
	store_init(&s->store, a, conf->connections, conf->workers > 1 ? conf->connections : 0,
		conf->nf_state_bytes > conf->chain->state_size ? conf->nf_state_bytes
							       : conf->chain->state_size,
		conf->hash_seed, now);
	timers_init(&s->timers, a, conf->timers, now);
	neigh_init(&s->neigh, a, &conf->self);
	s->neigh.seed = rng_next(&s->rng);
	conn_init(s, a);
	pull_init(s, a);
	sync_init(s, a);
	request_init(s, a);
	kind_init(s, a);
	fragment_init(s, a);
	index_shard_init(s, a);
	predict_init(s, a);
	place_init(s, a);
	peers_init(s, a, conf);
}

// Both passes (arena.h): measures with a scratch shard when the arena does.
static void build(struct arena *a, const struct node_conf *conf, uint64_t now_ns, struct node **out,
	struct shard *scratch)
{
	struct node *n = arena_take(a, sizeof(*n));

	struct auth_handover *keys = arena_take(a, sizeof(*keys));

	if (n != NULL) {
		n->conf = *conf;
		n->keys = keys;
		n->secret[0].at = keys;
		n->secret[0].size = sizeof(*keys);
		n->conf.relay_cost_ns = conf->relay_per_s > 0 ? 1000000000u / conf->relay_per_s : 0;
		n->conf.pull_cost_ns = 1000000000u / (conf->pull_per_s > 0 ? conf->pull_per_s : 1);
		n->conf.predict_cost_ns =
			1000000000u / (conf->predict_per_s > 0 ? conf->predict_per_s : 1);
		n->conf.repair_cost_ns =
			1000000000u / (conf->repair_per_s > 0 ? conf->repair_per_s : 1);
		if (n->conf.batch_records == 0 || n->conf.batch_records > CHANNEL_BATCH)
			n->conf.batch_records = CHANNEL_BATCH;
		n->started_ns = now_ns;
		conf = &n->conf;
	}
	struct fetch fetch = {0};
	fetch_init(n != NULL ? &n->fetch : &fetch, a, conf->chain_bytes);
	struct index measured, *ix = arena_take(a, sizeof(*ix));
	if (n != NULL)
		n->index = ix;
	index_init(ix == NULL ? &measured : ix, a, conf);
	for (unsigned from = 0; from < conf->workers; from++) {
		for (unsigned to = 0; to < conf->workers; to++) {
			struct ring measure = {0};
			struct ring *r = arena_take(a, sizeof(*r));
			ring_init(r == NULL ? &measure : r, a, RING_SLOTS,
				sizeof(struct ring_message));
			if (n != NULL)
				n->ring[from][to] = r;
		}
	}
	for (unsigned w = 0; w < conf->workers; w++) {
		struct shard *s = arena_take(a, sizeof(*s));
		if (scratch != NULL) {
			memset(scratch, 0, sizeof(*scratch));
			s = scratch;
		} else {
			n->shard[w] = s;
			for (unsigned o = 0; o < conf->workers; o++) {
				s->in[o] = n->ring[o][w];
				s->out[o] = n->ring[w][o];
			}
		}
		shard_init(s, a, n, conf, w, now_ns);
	}
	*out = n;
}

static void put_keys(struct node *n, const struct auth_keys *keys)
{
	uint32_t next = atomic_load_explicit(&n->keys->generation, memory_order_relaxed) + 1;
	struct auth_keys *slot = &n->keys->slot[next & 1];

	*slot = *keys;
	if (slot->n == 0)
		auth_keys_open(slot, n->conf.cluster);
	atomic_store_explicit(&n->keys->generation, next, memory_order_release);
}

static void keys_init(struct node *n)
{
	put_keys(n, &n->conf.keys);
	auth_wipe(&n->conf.keys, sizeof(n->conf.keys));
	for (unsigned w = 0; w < n->conf.workers; w++)
		session_keys(n->shard[w]);
}

size_t node_size(const struct node_conf *conf)
{
	struct arena a = {0};
	struct shard scratch;
	struct node *none;

	build(&a, conf, 0, &none, &scratch);
	return a.used;
}

struct node *node_init(void *mem, size_t size, const struct node_conf *conf, uint64_t now_ns)
{
	struct arena a = {.base = mem, .size = size};
	struct node *n;
	uint64_t configured = 0;

	build(&a, conf, now_ns, &n, NULL);
	n->size = a.used;
	keys_init(n);
	for (unsigned i = 0; i < NODES_MAX; i++) {
		if (conf->member[i].present)
			configured |= 1ull << i;
	}
	for (unsigned i = 0; i < NODES_MAX; i++)
		n->failure_ppm[i] = conf->member[i].failure_ppm;
	members_init(&n->members, conf->id, configured, conf->heartbeat_ms * MS,
		conf->dead_after_ms * MS, now_ns);
	bfd_init(&n->bfd, &conf->bfd, &n->shard[0]->rng);
	chain_set_init(&n->chains, conf->chain);
	n->ports_clear = conf->half_clear_ms == 0;
	for (unsigned w = 0; w < conf->workers; w++) {
		n->progress_ns[w] = now_ns;
		chain_set_adopt(n->shard[w]);
	}
	return n;
}

struct shard *node_shard(struct node *n, unsigned worker)
{
	return n->shard[worker];
}

void node_set_ready(struct node *n, bool ready)
{
	atomic_store(&n->ready, ready);
}

void node_set_draining(struct node *n, bool draining)
{
	if (draining == (atomic_load(&n->drain) != 0))
		return;
	if (draining && ++n->drains == 0)
		n->drains = 1;
	atomic_store(&n->drain, draining ? n->drains : 0);
}

bool node_keys_taken(struct node *n)
{
	uint32_t last = atomic_load_explicit(&n->keys->generation, memory_order_relaxed);

	for (unsigned w = 0; w < n->conf.workers; w++) {
		if (atomic_load_explicit(&n->shard[w]->keys_taken, memory_order_acquire) != last)
			return false;
	}
	auth_wipe(&n->keys->slot[(last + 1) & 1], sizeof(n->keys->slot[0]));
	return true;
}

bool node_set_keys(struct node *n, const struct auth_keys *keys)
{
	if (!node_keys_taken(n))
		return false;
	put_keys(n, keys);
	return true;
}

void node_secrets(const struct node *n, void (*fn)(void *at, size_t size))
{
	for (unsigned i = 0; i <= n->conf.workers; i++)
		fn(n->secret[i].at, n->secret[i].size);
}

void node_set_leaving(struct node *n)
{
	atomic_store(&n->leaving, true);
}

// ---- Looking at a running node: 64-bit loads of what one worker writes ----

static uint64_t peek(const uint64_t *at)
{
	return *(const volatile uint64_t *)at;
}

void node_counters(const struct node *n, int worker, uint64_t out[COUNTERS])
{
	memset(out, 0, COUNTERS * sizeof(*out));
	for (unsigned w = 0; w < n->conf.workers; w++) {
		for (unsigned c = 0; (worker < 0 || (unsigned)worker == w) && c < COUNTERS; c++)
			out[c] += peek(&n->shard[w]->counters[c]);
	}
}

void node_nf_counters(const struct node *n, int worker, unsigned slot, unsigned nf, uint64_t *out)
{
	memset(out, 0, NF_COUNTERS_MAX * sizeof(*out));
	for (unsigned w = 0; w < n->conf.workers; w++) {
		if (worker >= 0 && (unsigned)worker != w)
			continue;
		for (unsigned c = 0; c < NF_COUNTERS_MAX; c++)
			out[c] += peek(&n->shard[w]->nf_counters[slot][nf][c]);
	}
}

void node_status(const struct node *n, struct node_status *out)
{
	const struct shard *first = n->shard[0];

	*out = (struct node_status){
		.live = peek(&first->live),
		.phase = (enum node_phase)atomic_load_explicit(&n->phase, memory_order_relaxed),
		.ports = peek(&first->ports),
		.draining = peek(&first->draining),
		.join_hearing = ready_hearing(n, peek(&first->now_ns)),
		.join_unserved = ready_unserved(n),
		.join_ports = ready_ports_awaited(n),
		.unreported = ready_unreported(n),
		.ports_clear = atomic_load_explicit(&n->ports_clear, memory_order_relaxed),
		.join_unknown = index_unknown(n),
		.bfd = n->bfd.state,
		.bfd_remote = n->bfd.remote_state,
		.memory_bytes = n->size,
		.connections_max = (uint64_t)n->conf.connections * n->conf.workers,
		.index_announced = n->index->own.used,
		.index_known = n->index->map.used,
		.index_max = n->conf.index_keys,
		.uptime_ns = peek(&first->now_ns) - n->started_ns,
	};
	out->ready = out->phase == NODE_READY || out->phase == NODE_DRAINING;
	uint64_t workload_ns = 0;
	for (unsigned w = 0; w < n->conf.workers; w++) {
		const struct shard *s = n->shard[w];
		uint64_t at = atomic_load_explicit(&s->workload_ns, memory_order_relaxed);
		workload_ns = at > workload_ns ? at : workload_ns;
		out->owed += atomic_load_explicit(&s->owed, memory_order_relaxed);
		out->owed_entries += atomic_load_explicit(&s->owed_entries, memory_order_relaxed);
		out->owed_by |= atomic_load_explicit(&s->owed_by, memory_order_relaxed);
		out->connections += peek(&s->gauge.connections);
		out->embryonic += peek(&s->gauge.embryonic);
		out->tombstones += peek(&s->gauge.tombstones);
		out->mastered += peek(&s->gauge.mastered);
		out->backup += peek(&s->gauge.backup);
		out->unprotected += peek(&s->gauge.unprotected);
		out->sync_waiting += peek(&s->gauge.sync_waiting);
		out->predict_right += peek(&s->counters[C_predictions_right]);
		out->predict_wrong += peek(&s->counters[C_predictions_wrong]);
		uint8_t how = s->gauge.predict;
		out->predict = w == 0 || how == PREDICT_NONE || (how > out->predict && out->predict)
				       ? how
				       : out->predict;
		for (unsigned k = 0; k <= COPIES_MAX; k++)
			out->copies[k] += peek(&s->gauge.copies[k]);
	}
	// Without connections, what the next one would be given.
	unsigned others = (unsigned)__builtin_popcountll(out->live) - 1;
	out->survives = others < n->conf.backups ? others : n->conf.backups;
	for (unsigned k = COPIES_MAX + 1; k > 0; k--) {
		if (out->copies[k - 1] > 0)
			out->survives = k - 1;
	}
	if (workload_ns < n->started_ns)
		workload_ns = n->started_ns;
	uint64_t now_ns = peek(&first->now_ns); // the first worker may be behind the others
	out->workload_age_ns = now_ns > workload_ns ? now_ns - workload_ns : 0;
	uint64_t phase_ns = atomic_load_explicit(&n->phase_ns, memory_order_relaxed);
	out->phase_age_ns = now_ns - (phase_ns != 0 ? phase_ns : n->started_ns);
	const struct store *st = &first->store;
	uint64_t index = (uint64_t)st->n_buckets * sizeof(struct index_bucket);
	out->bytes_per_connection = st->conn_size + sizeof(struct conn_repl) +
				    index / (st->capacity > 0 ? st->capacity : 1);
}

unsigned node_members(const struct node *n, struct member_status *out, unsigned max)
{
	const struct chain *current = n->chains.chain[n->chains.current];
	uint64_t now = peek(&n->shard[0]->now_ns);
	unsigned count = 0;

	for (unsigned id = 0; id < NODES_MAX && count < max; id++) {
		if (!n->conf.member[id].present)
			continue;
		const struct member *m = &n->members.m[id];
		struct member_status *o = &out[count++];
		bool self = id == n->conf.id;
		*o = (struct member_status){
			.id = (uint8_t)id,
			.self = self,
			.live = self || m->live,
			.workers = self ? n->conf.workers : m->workers,
			.boot = self ? n->conf.boot : m->boot,
			.chain = self ? current->id : m->chain[0],
			.last_heard_ns = self || m->heard_ns == 0 || now < m->heard_ns
						 ? 0
						 : now - m->heard_ns,
			.deaths = m->deaths,
			.failure_ppm =
				atomic_load_explicit(&n->failure_ppm[id], memory_order_relaxed),
			.index_complete = self || !(index_lacking(n) & 1ull << id),
			.index_blind = !self && (index_load(&n->index->blind) & 1ull << id),
		};
		uint64_t current_ns = peek(&n->index->m[id].current_ns);
		if (!self && now > current_ns && current_ns > 0)
			o->index_age_ns = now - current_ns;
		struct lag lag = {0};
		for (unsigned w = 0; !self && w < n->conf.workers; w++) {
			const struct lag *l = n->shard[w]->peer[id].lag;
			for (unsigned k = 0; k < LAG_CLASSES; k++)
				lag.of[k] += *(const volatile uint32_t *)&l->of[k];
			for (unsigned pw = 0; pw < n->conf.peer_workers; pw++) {
				const struct channel *c = &n->shard[w]->peer[id].channel[pw];
				o->queued += channel_queued(c);
				if (c->rtt_ns > o->log_lag_ns)
					o->log_lag_ns = c->rtt_ns;
			}
		}
		o->lag_p50_ns = lag_percentile_ns(&lag, 50);
		o->lag_p99_ns = lag_percentile_ns(&lag, 99);
	}
	return count;
}

unsigned node_keys(const struct node *n, struct key_status out[AUTH_KEYS_MAX])
{
	uint32_t generation = atomic_load_explicit(&n->keys->generation, memory_order_relaxed);
	const struct auth_keys *keys = &n->keys->slot[generation & 1];

	for (unsigned i = 0; i < keys->n; i++) {
		out[i] = (struct key_status){.id = keys->key[i].id, .sends = i == 0};
		for (unsigned w = 0; w < n->conf.workers; w++) {
			for (unsigned k = 0; k < AUTH_KEYS_MAX; k++) {
				const struct auth_use *use = &n->shard[w]->auth->use[k];
				bool same = use->id == out[i].id;
				out[i].tx += same ? peek(&use->tx) : 0;
				out[i].rx += same ? peek(&use->rx) : 0;
			}
		}
	}
	return keys->n;
}

bool node_query(struct node *n, unsigned worker, struct conn_query *q)
{
	struct conn_query *none = NULL;

	atomic_store(&q->done, 0);
	return atomic_compare_exchange_strong(&n->shard[worker]->posted, &none, q);
}
