// SPDX-License-Identifier: BSD-3-Clause
// Which nodes hold the copies of a connection: those to which the switch would send its packets next,
// if that can be predicted (core/hpsms/predict.h). The rest, or all, by rendezvous hashing over the members:
// every node computes the same from the key alone, and a member that comes or goes moves only its own
// share. A packet that arrives where there is no copy costs one PullReplica.
#include "core/shard.h"

static uint64_t weight(uint64_t key_hash, unsigned node)
{
	struct rng r = {.state = key_hash ^ ((uint64_t)node + 1) * 0xd6e8feb86659fd93ull};
	return rng_next(&r);
}

uint64_t place_rendezvous(
	const struct shard *s, const struct tripod_tuple *key, uint64_t among, unsigned n)
{
	return place_by_hash(store_hash(&s->store, key), among, n);
}

uint64_t place_by_hash(uint64_t hash, uint64_t among, unsigned n)
{
	uint64_t chosen = 0;

	for (unsigned k = 0; k < n && among != 0; k++) {
		unsigned best = 0;
		uint64_t best_weight = 0;
		for (uint64_t left = among; left != 0; left &= left - 1) {
			unsigned node = (unsigned)__builtin_ctzll(left);
			uint64_t w = weight(hash, node);
			if (best_weight == 0 || w > best_weight) {
				best = node;
				best_weight = w;
			}
		}
		chosen |= 1ull << best;
		among &= ~(1ull << best);
	}
	return chosen;
}

uint64_t place_keep(const struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	uint64_t holders = store_repl(&s->store, i)->holders & ~shard_self(s), keep = 0;
	uint64_t among = holders & shard_takers(s) & s->chain_nodes[c->chain];
	unsigned n = s->conf->backups;

	for (unsigned d = 0; d < 2 && n > 0; d++)
		keep |= predict_arrivals(s, &c->dir[d].key, s->ports, n);
	keep &= among;
	unsigned copies = (unsigned)__builtin_popcountll(keep);
	if (copies < n)
		keep |= place_rendezvous(s, &c->dir[0].key, among & ~keep, n - copies);
	return keep;
}

uint64_t place_missing(const struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	uint64_t holders = store_repl(&s->store, i)->holders, missing = 0;
	// Who has not this connection's chain is no backup for it. Who misses heartbeats is none as long as
	// there are others.
	uint64_t takers = shard_takers(s) & s->chain_nodes[c->chain];
	uint64_t answer = takers & shard_responsive(s), among = answer & ~s->refusing;
	uint64_t coming = s->live & ~s->draining & ~s->ports;
	// The copy that leaves with this node makes one more necessary.
	unsigned n = s->conf->backups + (s->draining & shard_self(s) ? 1 : 0);

	for (unsigned d = 0; d < 2 && n > 0; d++) {
		if (c->dir[d].key.proto == 0)
			continue;
		missing |= predict_arrivals(s, &c->dir[d].key, s->ports, n);
		if (coming != 0) // ... and when the ports of those who join come up
			missing |= predict_arrivals(s, &c->dir[d].key, s->ports | coming, 0);
	}
	missing |= 1ull << conn_opener(c) & s->joining;
	missing &= among & ~holders;
	for (unsigned late = 0; late < 2; late++) {
		uint64_t counted = late ? takers : answer, free = counted & ~s->refusing;
		unsigned copies = (unsigned)__builtin_popcountll((holders | missing) & counted);
		if (copies < n)
			missing |= place_rendezvous(
				s, &c->dir[0].key, free & ~(holders | missing), n - copies);
	}
	return missing;
}
