// SPDX-License-Identifier: BSD-3-Clause
// The versions of the chain that a node holds at one time.
//
// A connection keeps the chain under which it began, so a change of the configuration is another
// chain beside the old one, which stays as long as anybody has connections under it. The control
// thread fills, chooses and empties slots; every change is a new generation. A worker compares one
// number at the start of a step and takes the table over when it has changed, so that nothing moves
// while packets are in its hands, and nobody waits for anybody.
//
// A slot is emptied in two generations. Closing: no record may begin to use it; when all workers know
// that, and none has a record, nothing can bring one back. Then the slot is emptied, and when all
// workers know that, the chain is the caller's again.
//
// Thread: node_chain_*() the control thread; chain_set_*() the shard's worker.
#include <errno.h>

#include "core/shard.h"

_Static_assert(CHAINS_MAX <= 8, "an index entry has three bits for the slot");

#define LINGER_NS (30 * 1000 * MS) // an unused chain stays for so long: it may be wanted again

_Static_assert(CHAINS_MAX <= 1u << (32 - ENTRY_CHAIN_SHIFT), "an index entry has room for a slot");

static uint32_t peek32(const uint32_t *at)
{
	return *(const volatile uint32_t *)at;
}

static const struct chain *slot_chain(const struct chain_set *set, unsigned k)
{
	return atomic_load_explicit(&set->chain[k], memory_order_relaxed);
}

// What was written before is what a worker finds that sees the new number.
static void publish(struct chain_set *set)
{
	atomic_store_explicit(&set->generation, set->generation + 1, memory_order_release);
}

// ---- Worker ----

void chain_set_init(struct chain_set *set, const struct chain *first)
{
	atomic_store(&set->chain[0], first);
	publish(set);
}

void chain_set_adopt(struct shard *s)
{
	const struct chain_set *set = &s->node->chains;
	uint32_t generation = atomic_load_explicit(&set->generation, memory_order_acquire);
	// A chain is in its slot before it becomes current: read in the other order.
	uint8_t current = atomic_load_explicit(&set->current, memory_order_acquire);

	s->chains_closing = atomic_load_explicit(&set->closing, memory_order_acquire);
	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		const struct chain *chain =
			atomic_load_explicit(&set->chain[k], memory_order_acquire);
		if (chain == s->chain[k])
			continue;
		if (chain != NULL)
			memset(s->nf_counters[k], 0, sizeof(s->nf_counters[k]));
		s->chain[k] = chain;
		s->chain_nodes[k] = 0; // worker 0 tells
	}
	s->chain_current = current;
	s->chains_generation = generation;
	atomic_store_explicit(&s->chains_seen, generation, memory_order_release);
	if (s->worker == 0)
		control_chains(s);
}

int chain_set_find(const struct shard *s, uint64_t id)
{
	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		if (s->chain[k] != NULL && s->chain[k]->id == id)
			return s->chains_closing & 1u << k ? -1 : (int)k;
	}
	return -1;
}

static uint64_t used(const struct node *n, unsigned k)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < n->conf.workers; w++)
		sum += peek32(&n->shard[w]->chain_used[k]);
	return sum;
}

uint8_t chain_set_in_use(const struct shard *s)
{
	const struct chain_set *set = &s->node->chains;
	uint8_t slots = atomic_load_explicit(&set->announced, memory_order_relaxed);

	slots |= (uint8_t)(1u << s->chain_current);
	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		if (used(s->node, k) != 0)
			slots |= (uint8_t)(1u << k);
	}
	return slots;
}

// ---- Control thread ----

static int find(const struct chain_set *set, uint64_t id)
{
	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		if (slot_chain(set, k) != NULL && slot_chain(set, k)->id == id)
			return (int)k;
	}
	return -1;
}

// The slot stays, whatever was meant to become of it.
static void keep(struct chain_set *set, unsigned k)
{
	set->idle_ns[k] = 0;
	if (set->phase != CHAIN_SET_CLOSING || set->leaving != k)
		return;
	set->phase = CHAIN_SET_STAYS;
	set->closing = 0;
	publish(set);
}

const struct chain *node_chain_find(const struct node *n, uint64_t id)
{
	int k = find(&n->chains, id);
	return k < 0 ? NULL : slot_chain(&n->chains, (unsigned)k);
}

int node_chain_add(struct node *n, const struct chain *chain, bool announce)
{
	struct chain_set *set = &n->chains;
	int k = find(set, chain->id);
	bool known = k >= 0;

	if (CONN_HEADER + chain->state_size > n->shard[0]->store.conn_size)
		return -EFBIG;
	if (!known && chain->as != NULL) {
		int as = find(set, chain->as->id);
		if (as < 0 || slot_chain(set, (unsigned)as) != chain->as)
			return -ENOENT;
		keep(set, (unsigned)as);
	}
	for (unsigned free = 0; free < CHAINS_MAX && k < 0; free++) {
		bool emptied = set->phase == CHAIN_SET_EMPTIED && set->leaving == free;
		if (slot_chain(set, free) == NULL && !emptied)
			k = (int)free;
	}
	if (k < 0)
		return -ENOSPC;
	if (known)
		keep(set, (unsigned)k);
	else
		atomic_store_explicit(&set->chain[k], chain, memory_order_release);
	set->idle_ns[k] = 0;
	if (announce)
		set->announced = (uint8_t)(1u << k);
	publish(set);
	return known ? -EEXIST : k;
}

int node_chain_current(struct node *n, uint64_t id)
{
	struct chain_set *set = &n->chains;
	int k = find(set, id);

	if (k < 0 || slot_chain(set, (unsigned)k)->as != NULL)
		return -ENOENT;
	keep(set, (unsigned)k);
	set->announced = 0;
	atomic_store_explicit(&set->current, (uint8_t)k, memory_order_release);
	publish(set);
	return 0;
}

static bool all_adopted(const struct node *n)
{
	for (unsigned w = 0; w < n->conf.workers; w++) {
		if (atomic_load_explicit(&n->shard[w]->chains_seen, memory_order_acquire) !=
			n->chains.generation)
			return false;
	}
	return true;
}

// Are records of another chain kept as this one's?
static bool is_target(const struct chain_set *set, unsigned target)
{
	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		if (slot_chain(set, k) != NULL && slot_chain(set, k)->as == slot_chain(set, target))
			return true;
	}
	return false;
}

// A slot of which nobody has had any use for a while, or -1. When hardly any is left for the next
// version, there is no waiting.
static int unused(struct node *n, uint64_t now_ns)
{
	struct chain_set *set = &n->chains;
	uint8_t wanted = atomic_load_explicit(&set->wanted, memory_order_relaxed);
	unsigned full = 0;
	int oldest = -1;

	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		if (slot_chain(set, k) == NULL)
			continue;
		full++;
		if (k == set->current || is_target(set, k) ||
			((wanted | set->announced) & 1u << k) || used(n, k) != 0) {
			set->idle_ns[k] = 0;
			continue;
		}
		if (set->idle_ns[k] == 0)
			set->idle_ns[k] = now_ns;
		if (oldest < 0 || set->idle_ns[k] < set->idle_ns[oldest])
			oldest = (int)k;
	}
	if (oldest >= 0 && full < CHAINS_MAX - 1 && now_ns - set->idle_ns[oldest] < LINGER_NS)
		return -1;
	return oldest;
}

const struct chain *node_chain_retire(struct node *n, unsigned *slot)
{
	struct chain_set *set = &n->chains;
	int k;

	if (!all_adopted(n))
		return NULL;
	switch (set->phase) {
	case CHAIN_SET_STAYS:
		k = unused(n, *(const volatile uint64_t *)&n->shard[0]->now_ns);
		if (k < 0)
			return NULL;
		set->phase = CHAIN_SET_CLOSING;
		set->leaving = (uint8_t)k;
		set->closing = (uint8_t)(1u << k);
		publish(set);
		return NULL;
	case CHAIN_SET_CLOSING:
		if (used(n, set->leaving) != 0) { // one came before its worker knew
			keep(set, set->leaving);
			return NULL;
		}
		set->left = slot_chain(set, set->leaving);
		atomic_store_explicit(&set->chain[set->leaving], NULL, memory_order_release);
		set->closing = 0;
		set->phase = CHAIN_SET_EMPTIED;
		publish(set);
		return NULL;
	case CHAIN_SET_EMPTIED:
		set->phase = CHAIN_SET_STAYS;
		*slot = set->leaving;
		return set->left;
	}
	return NULL;
}

unsigned node_chains(const struct node *n, struct chain_status out[CHAINS_MAX])
{
	const struct chain_set *set = &n->chains;
	const struct shard *first = n->shard[0];
	unsigned count = 0;

	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		const struct chain *chain = slot_chain(set, k);
		if (chain == NULL)
			continue;
		uint64_t nodes = *(const volatile uint64_t *)&first->chain_nodes[k];
		out[count++] = (struct chain_status){
			.chain = chain,
			.slot = k,
			.current = set->current == k,
			.announced = set->announced & 1u << k,
			.wanted = set->wanted & 1u << k,
			.connections = used(n, k),
			.nodes = (nodes & *(const volatile uint64_t *)&first->live) |
				 1ull << n->conf.id,
		};
	}
	return count;
}
