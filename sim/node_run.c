// SPDX-License-Identifier: BSD-3-Clause
// Nodes as values: started, killed, frozen, and stepped when something is there for them.
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "config/schema.h"
#include "sim/world.h"

#define CHAIN_MEMORY ((size_t)4 << 20)

struct buffer {
	struct buffer *next;
	uint8_t data[SIM_ROOM];
};

static uint8_t *buffer_new(struct world *w)
{
	struct buffer *b = w->free_buffers;

	if (b != NULL)
		w->free_buffers = b->next;
	else if ((b = malloc(sizeof(*b))) == NULL)
		abort();
	w->buffers++;
	return b->data;
}

static void buffer_free(struct world *w, void *data)
{
	if (data == NULL)
		return;
	struct buffer *b = (struct buffer *)((uint8_t *)data - offsetof(struct buffer, data));
	b->next = w->free_buffers;
	w->free_buffers = b;
	w->buffers--;
}

// ---- Life ----

// Zeroed, and taken from the system page by page as it is touched.
static void *map(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED) {
		fprintf(stderr, "tripod-sim: no memory for a node of %zu bytes\n", size);
		abort();
	}
	return at;
}

static void load_rack(struct world *w, unsigned i, unsigned version, struct rack *rack)
{
	if (w->rackfile[version] == NULL)
		w->rackfile[version] = rackfile_text(&w->o, version);
	if (rack_load_text("rack.yaml", w->rackfile[version], (int)i, rack) == 0)
		return;
	fprintf(stderr, "tripod-sim: %s", rack_report(rack));
	abort();
}

static void load_chain(struct world *w, unsigned i, unsigned version)
{
	struct sim_node *n = &w->node[i];
	struct sim_chain *c = calloc(1, sizeof(*c));
	struct rack rack;

	if (c == NULL)
		abort();
	load_rack(w, i, version, &rack);
	c->mem = map(CHAIN_MEMORY);
	struct arena arena = {.base = c->mem, .size = CHAIN_MEMORY};
	struct tripod_nf_env env = {
		.chain = &c->chain,
		.arena = &arena,
		.slot = rack.slot,
		.slots = rack.slots,
		.boot_half = n->rack.conf.boot_half,
		.check = conf_check,
	};
	if (chain_load(&c->chain, rack.chain, &env, rack.chain_text) != 0) {
		fprintf(stderr, "tripod-sim: %s", rack_report(&rack));
		abort();
	}
	rack_free(&rack);
	n->chain[version] = c;
}

static void free_chain(struct sim_node *n, unsigned version)
{
	if (n->chain[version] == NULL)
		return;
	munmap(n->chain[version]->mem, CHAIN_MEMORY);
	free(n->chain[version]);
	n->chain[version] = NULL;
}

void node_run_reconfigure(struct world *w, unsigned i, unsigned version)
{
	struct sim_node *n = &w->node[i];
	int rc = 0;

	if (n->node == NULL) {
		n->version = version;
		return;
	}
	if (n->chain[version] == NULL) {
		load_chain(w, i, version);
		rc = node_chain_add(n->node, &n->chain[version]->chain, true);
		trace_note(&w->trace, w->now_ns, i, "is given version %u of the chain", version);
	} else if (n->version != version) {
		n->version = version;
		rc = node_chain_current(n->node, n->chain[version]->chain.id);
		trace_note(&w->trace, w->now_ns, i, "uses version %u of the chain", version);
	}
	if (rc < 0)
		check_violation(
			w, "chain", NULL, 0, "node %u: version %u: %s", i, version, strerror(-rc));
}

// A chain that peers have and this node lacks: what the daemon makes of its description.
static void take_fetched(struct world *w, unsigned i)
{
	struct sim_node *n = &w->node[i];
	const uint8_t *bytes;
	uint32_t size;
	uint64_t id;

	if (!node_chain_text(n->node, &id, &bytes, &size) || rng_below(&w->run_rng, 8) > 0)
		return; // or the control thread is busy with something else
	bool taken = false;
	for (unsigned v = 0; v <= w->newest && !taken; v++) {
		bool had = n->chain[v] != NULL;
		if (!had)
			load_chain(w, i, v);
		if (n->chain[v]->chain.id == id) {
			int rc = node_chain_add(n->node, &n->chain[v]->chain, false);
			taken = rc >= 0 || rc == -EEXIST;
			trace_note(&w->trace, w->now_ns, i, "fetches version %u of the chain", v);
		}
		if (!had && !taken)
			free_chain(n, v);
	}
	node_chain_taken(n->node, taken);
}

void node_run_retire(struct world *w, unsigned i)
{
	struct sim_node *n = &w->node[i];
	unsigned slot;
	const struct chain *gone = n->state == NODE_UP ? node_chain_retire(n->node, &slot) : NULL;

	for (unsigned v = 0; gone != NULL && v < SIM_VERSIONS; v++) {
		if (n->chain[v] != NULL && gone == &n->chain[v]->chain) {
			trace_note(&w->trace, w->now_ns, i, "gives up version %u of the chain", v);
			free_chain(n, v);
		}
	}
}

static void plan(struct world *w, unsigned i, unsigned worker, uint64_t at_ns)
{
	struct sim_worker *k = &w->node[i].worker[worker];

	if (k->stalled || w->node[i].state != NODE_UP)
		return;
	if (at_ns < k->busy_until_ns)
		at_ns = k->busy_until_ns;
	if (at_ns >= k->run_at_ns)
		return;
	k->run_at_ns = at_ns;
	world_event(w, EVENT_RUN, at_ns, i, worker, ++k->serial);
}

static uint64_t within_us(struct world *w, uint32_t us)
{
	return rng_below(&w->run_rng, us * 1000 + 1);
}

// When the half of this start was last used, as a daemon's disk remembers it.
static uint64_t half_clear_ms(const struct world *w, const struct sim_node *n)
{
	uint32_t longest_s = w->o.udp_s > w->o.established_s ? w->o.udp_s : w->o.established_s;
	uint64_t life_ns = 2 * longest_s * SEC, used_ns = n->half_used_ns[n->boots & 1];

	if (used_ns == 0 || w->now_ns - used_ns >= life_ns)
		return 0;
	return (life_ns - (w->now_ns - used_ns)) / MS + 1;
}

void node_run_start(struct world *w, unsigned i)
{
	struct sim_node *n = &w->node[i];

	if (!n->loaded)
		load_rack(w, i, 0, &n->rack);
	n->loaded = true;
	struct node_conf *conf = &n->rack.conf;
	conf->boot_half = n->boots & 1;
	conf->half_clear_ms = half_clear_ms(w, n);
	load_chain(w, i, n->version); // others come from the peers when they are needed
	conf->chain = &n->chain[n->version]->chain;
	conf->boot = rng_next(&w->node_rng) | 1;
	conf->seed = rng_next(&w->node_rng);
	conf->placement = w->o.placement;
	conf->next_hop = NULL;
	if (w->o.prediction != PREDICTION_NONE && w->o.prediction != PREDICTION_PROBED)
		conf->next_hop = ecmp_next;
	conf->next_hop_ctx = w->o.prediction == PREDICTION_MISTAKEN ? &w->mistaken : &w->o.ecmp;
	n->size = node_size(conf);
	n->mem = map(n->size);
	n->node = node_init(n->mem, n->size, conf, w->now_ns);
	node_set_ready(n->node, true);
	n->state = NODE_UP;
	n->boots++;
	n->worker = calloc(w->o.workers, sizeof(*n->worker));
	if (n->worker == NULL)
		abort();
	for (unsigned k = 0; k < w->o.workers; k++) {
		n->worker[k].run_at_ns = UINT64_MAX;
		n->worker[k].serial = n->boots << 24; // events of the life before are void
		plan(w, i, k, w->now_ns + within_us(w, w->o.late_us));
	}
	trace_note(&w->trace, w->now_ns, i, "starts (boot %u)", n->boots);
	check_node_started(w, i);
}

// Calls fn for every buffer that a worker's tables hold: packets that wait, and handed over.
static void each_held(struct shard *s, void (*fn)(struct world *w, void *buf), struct world *w)
{
	for (uint32_t k = 1; k <= s->conf->waiting; k++)
		fn(w, s->waiting[k].frame.buf);
	for (uint32_t k = 1; k <= s->conf->sync_packets; k++)
		fn(w, sync_buffer(s, k));
	for (uint32_t k = 0; k < FRAGMENT_WAITS; k++)
		fn(w, fragment_buffer(s, k));
	for (unsigned o = 0; o < s->conf->workers; o++) {
		const struct ring *ring = s->in[o];
		for (uint32_t at = ring->tail; at != ring->head; at++) {
			struct ring_message m;
			memcpy(&m, ring->slots + (size_t)(at & ring->mask) * ring->slot_size,
				sizeof(m));
			if (m.type == RING_FRAME)
				fn(w, m.frame.buf);
		}
	}
	for (unsigned k = 1; k < s->neigh.top && k < NEIGH_SLOTS; k++) {
		for (unsigned f = 0; f < s->neigh.slots[k].n_waiting; f++)
			fn(w, s->neigh.slots[k].waiting[f].buf);
	}
}

static void uncount(struct world *w, void *buf)
{
	w->buffers -= buf != NULL;
}

// Buffers that are neither in a stock nor in any list of a node.
long node_run_buffers_lost(struct world *w)
{
	long all = w->buffers;

	for (unsigned i = 0; i < w->o.nodes; i++) {
		for (unsigned k = 0; w->node[i].node != NULL && k < w->o.workers; k++) {
			w->buffers -= w->node[i].worker[k].step.n_spare;
			each_held(node_shard(w->node[i].node, k), uncount, w);
		}
	}
	long lost = w->buffers;
	w->buffers = all;
	return lost;
}

static void take_apart(struct world *w, unsigned i)
{
	struct sim_node *n = &w->node[i];

	for (unsigned k = 0; k < w->o.workers; k++) {
		struct sim_worker *worker = &n->worker[k];
		while (worker->step.n_spare > 0)
			buffer_free(w, worker->step.spare[--worker->step.n_spare].buf);
		for (; worker->tail != worker->head; worker->tail++)
			net_bytes_release(w, worker->queue[worker->tail % SIM_NIC_QUEUE].frame);
		each_held(node_shard(n->node, k), buffer_free, w);
	}
	free(n->worker);
	munmap(n->mem, n->size);
	for (unsigned v = 0; v < SIM_VERSIONS; v++)
		free_chain(n, v);
	n->node = NULL;
	n->worker = NULL;
	n->mem = NULL;
	n->state = NODE_OFF;
}

void node_run_kill(struct world *w, unsigned i)
{
	uint64_t counters[COUNTERS];

	trace_note(&w->trace, w->now_ns, i, "is gone");
	check_node_gone(w, i);
	node_counters(w->node[i].node, -1, counters);
	w->node[i].half_used_ns[(w->node[i].boots + 1) & 1] = w->now_ns;
	for (unsigned c = 0; c < COUNTERS; c++)
		w->totals.counters[c] += counters[c];
	take_apart(w, i);
}

void node_run_free(struct world *w, unsigned i)
{
	if (w->node[i].node != NULL)
		take_apart(w, i);
	if (w->node[i].loaded)
		rack_free(&w->node[i].rack);
	while (w->free_buffers != NULL) {
		struct buffer *b = w->free_buffers;
		w->free_buffers = b->next;
		free(b);
	}
}

static void resume(struct world *w, unsigned i, unsigned worker)
{
	w->node[i].worker[worker].run_at_ns = UINT64_MAX;
	plan(w, i, worker, w->now_ns + within_us(w, w->o.late_us));
}

void node_run_freeze(struct world *w, unsigned i, bool frozen)
{
	w->node[i].state = frozen ? NODE_FROZEN : NODE_UP;
	trace_note(&w->trace, w->now_ns, i, frozen ? "freezes" : "goes on");
	for (unsigned k = 0; !frozen && k < w->o.workers; k++)
		resume(w, i, k);
}

void node_run_stall(struct world *w, unsigned i, unsigned worker, bool stalled)
{
	w->node[i].worker[worker].stalled = stalled;
	trace_note(&w->trace, w->now_ns, i, "worker %u %s", worker,
		stalled ? "stands still" : "goes on");
	if (!stalled)
		resume(w, i, worker);
}

// ---- Steps ----

void node_run_arrive(struct world *w, unsigned i, unsigned worker, struct bytes *b, uint16_t vlan)
{
	struct sim_node *n = &w->node[i];

	if (n->state == NODE_OFF) {
		net_bytes_release(w, b);
		return;
	}
	struct sim_worker *k = &n->worker[worker];
	if (k->head - k->tail >= w->o.nic_queue) {
		w->totals.nic_drops++;
		net_bytes_release(w, b);
		return;
	}
	k->queue[k->head++ % SIM_NIC_QUEUE] = (struct arrival){b, vlan};
	w->totals.frames_to_nodes++;
	if (k->run_at_ns > w->now_ns + w->o.poll_us * 1000)
		plan(w, i, worker, w->now_ns + within_us(w, w->o.poll_us));
}

static void fill(struct world *w, struct sim_worker *k)
{
	struct step *step = &k->step;

	step->now_ns = w->now_ns;
	step->n_rx = 0;
	while (step->n_spare < STEP_SPARE) {
		uint8_t *b = buffer_new(w);
		step->spare[step->n_spare++] =
			(struct frame){.buf = b, .data = b, .room = SIM_ROOM};
	}
	while (k->tail != k->head && step->n_rx < STEP_BURST) {
		struct arrival *a = &k->queue[k->tail++ % SIM_NIC_QUEUE];
		uint8_t *b = buffer_new(w);
		memcpy(b, a->frame->data, a->frame->len);
		step->rx[step->n_rx++] = (struct frame){.buf = b,
			.data = b,
			.len = a->frame->len,
			.room = SIM_ROOM,
			.vlan = a->vlan};
		net_bytes_release(w, a->frame);
	}
}

// What the step has dropped, for the trace.
static void note_drops(struct world *w, unsigned i, const struct shard *s, uint64_t *before)
{
	for (unsigned c = C_drop_truncated; c <= C_drop_control_bad; c++) {
		if (s->counters[c] != before[c])
			trace_drop(&w->trace, w->now_ns, i, counter_texts[c].name);
	}
	memcpy(before, s->counters, sizeof(s->counters));
}

void node_run_step(struct world *w, unsigned i, unsigned worker)
{
	struct sim_node *n = &w->node[i];
	struct sim_worker *k = &n->worker[worker];
	struct step *step = &k->step;

	k->run_at_ns = UINT64_MAX;
	if (n->state != NODE_UP || k->stalled)
		return;
	fill(w, k);
	trace_mix(&w->trace, w->now_ns ^ (uint64_t)i << 56 ^ (uint64_t)step->n_rx << 48);
	if (worker == 0)
		take_fetched(w, i);
	shard_step(node_shard(n->node, worker), step);
	w->totals.steps++;
	if (!w->faults.flooded) // else it would be told of nothing else
		note_drops(w, i, node_shard(n->node, worker), k->counted);
	if (step->n_tx > STEP_TX || step->n_done > STEP_DONE || step->n_spare > STEP_SPARE)
		check_violation(w, "step", NULL, 0, "node %u: tx %u done %u spare %u", i,
			step->n_tx, step->n_done, step->n_spare);
	k->busy_until_ns = w->now_ns + 200 + (uint64_t)step->n_rx * w->o.packet_ns;
	check_step(w, i, worker, step);
	for (unsigned f = 0; f < step->n_tx; f++) {
		net_from_node(w, i, &step->tx[f]);
		buffer_free(w, step->tx[f].buf);
	}
	for (unsigned f = 0; f < step->n_done; f++)
		buffer_free(w, step->done[f]);
	if (step->more || k->head != k->tail)
		plan(w, i, worker, k->busy_until_ns);
	else if (step->wake_ns != UINT64_MAX)
		plan(w, i, worker, step->wake_ns + within_us(w, w->o.late_us));
	for (unsigned o = 0; o < w->o.workers; o++) {
		const struct ring *ring = n->node->ring[worker][o];
		if (o != worker && ring->head != ring->tail)
			plan(w, i, o, w->now_ns + within_us(w, w->o.poll_us));
	}
}
