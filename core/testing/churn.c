// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/churn.h"

#include <string.h>

static uint64_t all_of(const struct churn *x)
{
	return (1ull << x->n) - 1;
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
	unsigned best = 0;

	for (; up != 0; up &= up - 1) {
		unsigned node = (unsigned)__builtin_ctzll(up);
		struct rng r = {.state = hash ^ node * 0xd6e8feb86659fd93ull};
		uint64_t weight = rng_next(&r) | 1;
		if (weight > best_weight) {
			best = node;
			best_weight = weight;
		}
	}
	return best;
}

unsigned churn_next(const struct churn *x, const struct churn_connection *c, uint64_t dead)
{
	uint64_t up = all_of(x) & ~dead;

	if (x->model == ODDS_CHAIN)
		return heaviest(c->hash[0], up);
	unsigned stage = 0;
	if (x->model == ODDS_TWO_STAGE) {
		unsigned first = (unsigned)(c->hash[0] % x->n);
		if (up >> first & 1)
			return first;
		stage = 1;
	}
	return nth(up, (unsigned)(c->hash[stage] % count_of(up)));
}

double churn_chance(const struct churn *x, uint64_t dead)
{
	double p = 1;

	for (unsigned j = 0; j < x->n; j++) {
		double dies = (double)x->dies[j] / ODDS_ONE;
		p *= dead >> j & 1 ? dies : 1 - dies;
	}
	return p;
}

void churn_enumerate(
	const struct churn *x, const struct churn_connection *c, double bytes[MINCHURN_NODES])
{
	for (unsigned j = 0; j < MINCHURN_NODES; j++)
		bytes[j] = 0;
	for (uint64_t dead = 1; dead < all_of(x); dead++) {
		if (count_of(dead) <= x->k)
			bytes[churn_next(x, c, dead)] += churn_chance(x, dead) * c->bytes;
	}
}

static void route_of(const struct churn *x, const struct churn_connection *c, struct odds_route *r)
{
	uint64_t dead = 1ull << c->master, gone = 0;

	*r = (struct odds_route){.model = (uint8_t)x->model, .now = c->master};
	for (unsigned m = 1; m <= x->k && m < x->n && m <= ODDS_FAILURES; m++) {
		if (x->model == ODDS_CHAIN) {
			r->then[r->n++] = (uint8_t)churn_next(x, c, dead);
			dead |= 1ull << r->then[m - 1];
			continue;
		}
		// The last nodes are those that are dead: a place is a number then.
		gone |= 1ull << (x->n - m);
		r->then[r->n++] = (uint8_t)(c->hash[x->model == ODDS_TWO_STAGE] %
					    count_of(all_of(x) & ~gone));
	}
}

void churn_item(const struct churn *x, const struct churn_connection *c, struct minchurn_item *item,
	struct minchurn_list *naive)
{
	struct odds_route r;
	unsigned has = count_of(c->placed);

	*item = (struct minchurn_item){
		.fixed = c->placed,
		.allowed = all_of(x),
		.add = has < x->k + 1 ? (uint8_t)(x->k + 1 - has) : 0,
		.any = (uint32_t)c->hash[1],
	};
	route_of(x, c, &r);
	odds_add(&x->odds, &r, c->bytes, item);
	naive->n = 0;
	for (uint64_t dead = 1ull << c->master; naive->n < x->k && dead != all_of(x);) {
		unsigned next = churn_next(x, c, dead);
		naive->node[naive->n++] = (uint8_t)next;
		dead |= 1ull << next;
	}
}

void churn_draw(struct churn *x, uint64_t seed, unsigned n, unsigned k, enum odds_model model,
	unsigned per_node)
{
	struct rng r = {.state = seed};
	unsigned left[MINCHURN_NODES], likely = 1 + rng_below(&r, 50); // in thousandths
	bool alike = rng_below(&r, 2) == 0;

	memset(x, 0, sizeof(*x));
	x->n = n;
	x->k = k;
	x->model = model;
	for (unsigned j = 0; j < n; j++) {
		left[j] = per_node;
		x->dies[j] = ODDS_ONE / 1000 * (alike ? likely : 1 + rng_below(&r, 2 * likely));
	}
	odds_init(&x->odds, all_of(x), x->dies, k);
	while (x->connections < n * per_node) {
		struct churn_connection *c = &x->c[x->connections];
		c->hash[0] = rng_next(&r);
		c->hash[1] = rng_next(&r);
		c->master = (uint8_t)churn_next(x, c, 0);
		if (left[c->master] == 0)
			continue;
		left[c->master]--;
		// Most states are small, some are not.
		c->bytes = 60 + rng_below(&r, 140);
		if (rng_below(&r, 20) == 0)
			c->bytes += rng_below(&r, 1000);
		c->placed = 1ull << c->master;
		if (rng_below(&r, 4) == 0) // one that was placed already
			c->placed |= 1ull << rng_below(&r, n);
		x->connections++;
	}
}
