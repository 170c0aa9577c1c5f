// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/odds.h"

static uint64_t times(uint64_t a, uint64_t b)
{
	return a * b >> ODDS_BITS;
}

// One node more, which dies with probability p: how many die of all, up to `most`.
static void convolve(const uint32_t from[], uint32_t to[], uint32_t p, unsigned most)
{
	for (unsigned a = most + 1; a-- > 0;) {
		uint64_t v = times(from[a], ODDS_ONE - p) + (a > 0 ? times(from[a - 1], p) : 0);
		to[a] = (uint32_t)v;
	}
}

void odds_init(
	struct odds *o, uint64_t nodes, const uint32_t dies[MINCHURN_NODES], unsigned failures)
{
	*o = (struct odds){
		.failures = failures < ODDS_FAILURES ? (uint8_t)failures : ODDS_FAILURES};

	for (; nodes != 0; nodes &= nodes - 1) {
		unsigned node = (unsigned)__builtin_ctzll(nodes);
		o->place[node] = o->n;
		o->dies[o->n] = dies[node];
		o->node[o->n++] = (uint8_t)node;
	}
	if (o->n == 0)
		return;
	o->before[0][0] = o->behind[o->n - 1][0] = ODDS_ONE;
	for (unsigned p = 1; p < o->n; p++) {
		unsigned q = o->n - 1 - p;
		convolve(o->before[p - 1], o->before[p], o->dies[p - 1], o->failures);
		convolve(o->behind[q + 1], o->behind[q], o->dies[q + 1], o->failures);
	}
	convolve(o->behind[0], o->all, o->dies[0], o->failures);
}

// `of` without a node that is one of those counted in it and dies with probability p.
static void without(const uint32_t of[], uint32_t to[], uint32_t p, unsigned most)
{
	uint64_t less = 0;

	for (unsigned a = 0; a <= most; a++) {
		uint64_t part = a > 0 ? times(less, p) : 0;
		less = part < of[a] ? ((of[a] - part) << ODDS_BITS) / (ODDS_ONE - p) : 0;
		to[a] = (uint32_t)less;
	}
}

// After exactly m failures packets go to the place then[m-1] among those that live. That is the node
// at place j if a of those before it have died, and j - a is that place. dead: a place that is among
// those who died, or none (o->n).
static void add_places(const struct odds *o, const struct odds_route *r, unsigned dead,
	uint32_t bytes, struct minchurn_item *item)
{
	for (unsigned m = 1; m <= r->n; m++) {
		unsigned others = m - (dead < o->n);
		for (unsigned a = 0; a <= m && r->then[m - 1] + a < o->n; a++) {
			unsigned j = r->then[m - 1] + a;
			unsigned known = dead < j;
			if (j == dead || a < known || a - known > others || m - a > o->n - 1 - j)
				continue;
			const uint32_t *before = o->before[j], *behind = o->behind[j];
			uint32_t rest[ODDS_FAILURES + 1];
			if (dead < o->n) {
				without(known ? before : behind, rest, o->dies[dead], others);
				before = known ? rest : before;
				behind = known ? behind : rest;
			}
			uint64_t p = times(before[a - known], behind[others - (a - known)]);
			p = times(p, ODDS_ONE - o->dies[j]);
			if (dead < o->n)
				p = times(p, o->dies[dead]);
			// However unlikely: rather there than anywhere.
			minchurn_target(item, o->node[j], p * bytes + 1);
		}
	}
}

// The failures that lead to the m-th node are those in which all before it die and it does not, and of the
// others no more than make k with them.
static void add_chain(const struct odds *o, const struct odds_route *r, uint32_t bytes,
	struct minchurn_item *item)
{
	uint64_t all_dead = o->dies[o->place[r->now]];
	uint32_t rest[ODDS_FAILURES + 1], next[ODDS_FAILURES + 1];

	without(o->all, rest, o->dies[o->place[r->now]], o->failures);
	for (unsigned m = 1; m <= r->n; m++) {
		unsigned node = r->then[m - 1];
		if (node >= MINCHURN_NODES || o->node[o->place[node]] != node)
			break;
		uint32_t dies = o->dies[o->place[node]];
		uint64_t others = 0;
		without(rest, next, dies, o->failures);
		for (unsigned a = 0; a + m <= o->failures; a++)
			others += rest[a] = next[a];
		minchurn_target(
			item, node, times(times(all_dead, ODDS_ONE - dies), others) * bytes + 1);
		all_dead = times(all_dead, dies);
	}
}

bool odds_add(const struct odds *o, const struct odds_route *r, uint32_t bytes,
	struct minchurn_item *item)
{
	struct odds_route known = *r;

	if (r->now >= MINCHURN_NODES || o->n == 0 || o->node[o->place[r->now]] != r->now)
		return false;
	if (known.n > o->failures)
		known.n = o->failures;
	if (r->model == ODDS_CHAIN)
		add_chain(o, &known, bytes, item);
	else
		add_places(
			o, &known, r->model == ODDS_MODULO ? o->n : o->place[r->now], bytes, item);
	return true;
}
