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

// The group of so many ports: the first that are there, as often as it takes.
static int group_of(const struct ecmp *e, uint64_t hash, unsigned ports, unsigned *place)
{
	uint64_t there = e->ports & ~e->without;
	unsigned n = count_of(e->ports), left = count_of(there);
	unsigned most = e->model == ECMP_TWO_STAGE ? n - 1 : n;

	if (ports == 0 || left == 0 || ports > most || ports + e->failures < left)
		return -1;
	if (e->model == ECMP_TWO_STAGE)
		hash = second(hash);
	*place = (unsigned)(hash % ports);
	return (int)nth(there, *place % left);
}

int ecmp_group(const struct ecmp *e, uint64_t hash, unsigned group, uint64_t up, unsigned *place)
{
	*place = PREDICT_UNMARKED;
	if (group == PREDICT_ARRIVAL && e->model != ECMP_MODULO)
		return ecmp_pick(e, hash, e->model == ECMP_TWO_STAGE ? up : e->ports);
	if (e->model != ECMP_RESILIENT)
		return group_of(e, hash, group, place);
	if (group >= NODES_MAX || !(e->ports >> group & 1))
		return -1;
	return ecmp_pick(e, hash, up & ~(1ull << group));
}

void ecmp_mark(uint8_t *ip, unsigned place)
{
	unsigned class = place << 2, sum = 0;

	if (ip[0] >> 4 == 6) {
		ip[0] = (uint8_t)(0x60 | class >> 4);
		ip[1] = (uint8_t)((class << 4 & 0xf0) | (ip[1] & 0xf));
		return;
	}
	ip[1] = (uint8_t) class;
	ip[10] = ip[11] = 0;
	for (unsigned i = 0; i < 4u * (ip[0] & 0xf); i += 2)
		sum += (unsigned)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
}

int ecmp_next(const void *ctx, const struct tripod_tuple *t, uint64_t up)
{
	const struct ecmp *e = ctx;

	return ecmp_pick(e, ecmp_hash(e, t), up);
}
