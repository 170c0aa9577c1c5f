// SPDX-License-Identifier: BSD-3-Clause
// Which nodes hold the copies of a connection. Rendezvous hashing over the live members: every node
// computes the same answer from the key alone, and a member that comes or goes moves only its own
// share. It does not know where the switch would send the connection next: a packet that arrives
// where there is no copy costs one PullReplica.
#include "core/shard.h"

static uint64_t weight(uint64_t key_hash, unsigned node)
{
	struct rng r = {.state = key_hash ^ ((uint64_t)node + 1) * 0xd6e8feb86659fd93ull};
	return rng_next(&r);
}

uint64_t place_copies(
	const struct shard *s, const struct tripod_tuple *key, uint64_t among, unsigned n)
{
	uint64_t hash = store_hash(&s->store, key), chosen = 0;

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
