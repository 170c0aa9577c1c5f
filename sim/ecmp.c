// SPDX-License-Identifier: BSD-3-Clause
#include "sim/ecmp.h"

#include <netinet/in.h>

#include "core/node.h"
#include "core/rng.h"

const char *const ecmp_model_names[ECMP_MODELS + 1] = {"modulo", "two-stage", "resilient", NULL};
const char *const ecmp_fields_names[ECMP_FIELDS + 1] = {
	"outside-endpoint", "symmetric", "5-tuple", NULL};

static uint64_t mix(uint64_t a, uint64_t b)
{
	struct rng r = {.state = a ^ b * 0xd6e8feb86659fd93ull};
	return rng_next(&r);
}

// Another hash for the second stage, or all flows of a dead port would meet on one survivor.
static uint64_t second(uint64_t hash)
{
	return mix(hash, 0x5ec0);
}

static uint64_t endpoint(const struct ecmp *e, const struct tripod_addr *a, uint16_t port)
{
	uint64_t half[2];

	memcpy(half, a->b, sizeof(half));
	return mix(mix(mix(e->seed, half[0]), half[1]), port);
}

uint64_t ecmp_hash(const struct ecmp *e, const struct tripod_tuple *t)
{
	bool ports = t->proto == IPPROTO_TCP || t->proto == IPPROTO_UDP;
	uint64_t src = endpoint(e, &t->src, ports ? t->sport : 0);
	uint64_t dst = endpoint(e, &t->dst, ports ? t->dport : 0);

	switch (e->fields) {
	case ECMP_OUTSIDE_ENDPOINT:
		return t->direction == TRIPOD_INCOMING ? src : dst;
	case ECMP_SYMMETRIC:
		return mix(src < dst ? src : dst, src < dst ? dst : src);
	default:
		return mix(mix(src, dst), t->proto);
	}
}

static unsigned nth(uint64_t set, unsigned n)
{
	while (n-- > 0)
		set &= set - 1;
	return (unsigned)__builtin_ctzll(set);
}

static unsigned count_of(uint64_t set)
{
	return (unsigned)__builtin_popcountll(set);
}

static unsigned heaviest(uint64_t hash, uint64_t up)
{
	uint64_t best_weight = 0;
	unsigned best = (unsigned)__builtin_ctzll(up);

	for (; up != 0; up &= up - 1) {
		unsigned port = (unsigned)__builtin_ctzll(up);
		uint64_t weight = mix(hash, port + 1);
		if (weight > best_weight) {
			best = port;
			best_weight = weight;
		}
	}
	return best;
}

int ecmp_pick(const struct ecmp *e, uint64_t hash, uint64_t up)
{
	up &= e->ports;
	if (up == 0)
		return -1;
	if (e->model == ECMP_RESILIENT)
		return (int)heaviest(hash, up);
	if (e->model == ECMP_TWO_STAGE) {
		unsigned first = nth(e->ports, (unsigned)(hash % count_of(e->ports)));
		if (up & 1ull << first)
			return (int)first;
		hash = second(hash);
	}
	return (int)nth(up, (unsigned)(hash % count_of(up)));
}

// The first so many of the configured ports, in the order of their numbers.
static int fewer(const struct ecmp *e, uint64_t hash, unsigned failures)
{
	unsigned n = count_of(e->ports);

	if (failures == 0 || failures > e->failures || failures >= n)
		return -1;
	if (e->model == ECMP_TWO_STAGE)
		hash = second(hash);
	return (int)nth(e->ports, (unsigned)(hash % (n - failures)));
}

int ecmp_group(const struct ecmp *e, uint64_t hash, unsigned group, uint64_t up)
{
	if (group == PREDICT_ARRIVAL)
		return ecmp_pick(e, hash, e->ports);
	if (e->model != ECMP_RESILIENT)
		return fewer(e, hash, group);
	if (group >= NODES_MAX || !(e->ports >> group & 1))
		return -1;
	return ecmp_pick(e, hash, up & ~(1ull << group));
}

int ecmp_next(const void *ctx, const struct tripod_tuple *t, uint64_t up)
{
	const struct ecmp *e = ctx;

	return ecmp_pick(e, ecmp_hash(e, t), up);
}
