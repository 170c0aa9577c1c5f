// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/rack_ecmp.h"

#include "core/rng.h"

static uint64_t hash_of(
	const struct rack_conf *conf, const struct tripod_tuple *t, enum tripod_direction from)
{
	struct rng mix = {.state = conf->seed};
	bool outside_is_src = from == TRIPOD_INCOMING;
	const struct tripod_addr *a = outside_is_src ? &t->src : &t->dst;
	uint16_t port = outside_is_src ? t->sport : t->dport;
	uint32_t v4 = tripod_addr_get_v4(a);

	mix.state ^= (uint64_t)v4 << 16 ^ port;
	mix.state = rng_next(&mix);
	if (conf->split) {
		mix.state ^= tripod_addr_get_v4(outside_is_src ? &t->dst : &t->src);
		mix.state ^= (uint64_t)(outside_is_src ? t->dport : t->sport) << 32;
		mix.state ^= (uint64_t)from << 60;
	}
	return rng_next(&mix);
}

// The primary choice among all, the second among those that are up; or that alone.
unsigned rack_ecmp(const struct rack_conf *conf, const struct tripod_tuple *t,
	enum tripod_direction from, uint64_t ports)
{
	uint64_t hash = hash_of(conf, t, from);
	unsigned first = (unsigned)(hash % conf->nodes), up[RACK_NODES], n = 0;

	if (!conf->modulo && ports & 1ull << first)
		return first;
	for (unsigned i = 0; i < conf->nodes; i++) {
		if (ports & 1ull << i)
			up[n++] = i;
	}
	return n == 0 ? first : up[(hash >> 32) % n];
}

int rack_ecmp_group(const struct rack_conf *conf, const struct tripod_tuple *t,
	enum tripod_direction from, unsigned group, uint64_t ports, uint64_t without,
	unsigned *place)
{
	uint64_t hash = hash_of(conf, t, from);
	unsigned there[RACK_NODES], n = 0, most = conf->modulo ? conf->nodes : conf->nodes - 1;

	*place = PREDICT_UNMARKED;
	if (group == PREDICT_ARRIVAL && !conf->modulo)
		return (int)rack_ecmp(conf, t, from, ports);
	for (unsigned i = 0; i < conf->nodes; i++) {
		if (!(without & 1ull << i))
			there[n++] = i;
	}
	if (group == 0 || group > most || n == 0)
		return -1;
	*place = (unsigned)((hash >> 32) % group);
	return (int)there[*place % n];
}

int rack_ecmp_next(const void *conf, const struct tripod_tuple *t, uint64_t ports)
{
	return (int)rack_ecmp(conf, t, (enum tripod_direction)t->direction, ports);
}
