// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/nexthop.h"

#include <string.h>

static unsigned count_of(uint64_t set)
{
	return (unsigned)__builtin_popcountll(set);
}

static unsigned nth(uint64_t set, unsigned n)
{
	while (n-- > 0)
		set &= set - 1;
	return (unsigned)__builtin_ctzll(set);
}

static bool in(uint64_t set, uint8_t node)
{
	return node < NODES_MAX && (set & 1ull << node);
}

void nexthop_init(struct nexthop *h, uint32_t epoch)
{
	memset(h, NEXTHOP_NONE, sizeof(*h));
	h->silent = 0;
	h->epoch = epoch;
}

void nexthop_renew(struct nexthop *h, enum switch_model model, uint32_t epoch)
{
	if (h->epoch == epoch)
		return;
	if (model == SWITCH_RESILIENT)
		h->from = h->to = NEXTHOP_NONE;
	if (h->base == NEXTHOP_DOWN)
		h->base = NEXTHOP_NONE;
	h->silent = 0;
	h->epoch = epoch;
}

// ---- What is known ----

static int survivor(const struct nexthop *h, unsigned failed, uint64_t up)
{
	if (failed > COPIES_MAX || h->rank[failed] >= count_of(up))
		return NEXT_HOP_UNKNOWN;
	return (int)nth(up, h->rank[failed]);
}

static int next_resilient(const struct nexthop *h, uint64_t up)
{
	const uint8_t known[] = {h->base, h->from, h->to};

	for (unsigned i = 0; i < sizeof(known); i++) {
		if (in(up, known[i]))
			return known[i];
	}
	return NEXT_HOP_UNKNOWN;
}

int nexthop_next(const struct nexthop *h, enum switch_model model, uint64_t all, uint64_t up)
{
	up &= all;
	unsigned failed = count_of(all & ~up);
	if (model == SWITCH_RESILIENT)
		return next_resilient(h, up);
	if (failed == 0)
		return in(up, h->base) ? h->base : NEXT_HOP_UNKNOWN;
	if (model == SWITCH_TWO_STAGE && (h->base == NEXTHOP_NONE || in(up, h->base)))
		return h->base == NEXTHOP_NONE ? NEXT_HOP_UNKNOWN : h->base;
	return survivor(h, failed, up);
}

// ---- What is asked ----

// Ranks for `first` to `last` failures that are not known.
static uint16_t ranks(
	const struct nexthop *h, const struct nexthop_ports *p, unsigned first, unsigned last)
{
	unsigned ports = count_of(p->all), most = p->most < COPIES_MAX ? p->most : COPIES_MAX;
	uint16_t bits = 0;

	for (unsigned k = first > 1 ? first : 1; k <= last && k <= most && k < ports; k++)
		bits |= h->rank[k] == NEXTHOP_NONE ? (uint16_t)(1u << k) : 0;
	return bits;
}

static uint16_t missing_resilient(const struct nexthop *h, const struct nexthop_ports *p)
{
	uint16_t bits = p->coming != 0 && h->base == NEXTHOP_NONE ? NEXTHOP_ASK_BASE : 0;
	// Who is down may not be the switch's any more, or not yet: then there is no such group. Where all
	// that were heard are up, packets arrive where the arrival group says; and if the one that it picks
	// is up, whoever is down.
	bool down = (p->heard & ~p->up) != 0;
	uint16_t first = down ? NEXTHOP_ASK_NOW : NEXTHOP_ASK_BASE;
	uint16_t then = down ? NEXTHOP_ASK_BASE : NEXTHOP_ASK_NOW;

	if (h->from == NEXTHOP_NONE && !(h->silent & first))
		bits |= first;
	else if (h->from == NEXTHOP_NONE && (p->all & ~p->up) != 0)
		bits |= then;
	else if (h->from != NEXTHOP_NONE && h->to == NEXTHOP_NONE &&
		 (p->failures > 0 || !in(p->up, h->from)))
		bits |= NEXTHOP_ASK_NEXT;
	return bits & (uint16_t)~h->silent;
}

uint16_t nexthop_missing(const struct nexthop *h, const struct nexthop_ports *p)
{
	unsigned now = count_of(p->all & ~p->up), soon = count_of(p->all & ~(p->up | p->coming));
	bool staged = p->model == SWITCH_TWO_STAGE;

	if (p->model == SWITCH_RESILIENT)
		return missing_resilient(h, p);
	// The survivors matter where they are drawn from: behind a first stage, once that has failed.
	uint16_t bits =
		ranks(h, p, staged && in(p->up, h->base) ? now + 1 : now, now + p->failures);
	if (p->coming != 0 && !(staged && in(p->up | p->coming, h->base)))
		bits |= ranks(h, p, soon, soon);
	if (h->base == NEXTHOP_NONE && (staged || now == 0 || (p->coming != 0 && soon == 0)))
		bits |= NEXTHOP_ASK_BASE;
	return bits & (uint16_t)~h->silent;
}

unsigned nexthop_group(const struct nexthop *h, const struct nexthop_ports *p, unsigned bit)
{
	if (bit == NEXTHOP_ASK_BASE)
		return PREDICT_ARRIVAL;
	if (p->model != SWITCH_RESILIENT)
		return (unsigned)__builtin_ctz(bit);
	if (bit == NEXTHOP_ASK_NEXT)
		return h->from;
	// That one is down already: to leave it out changes nothing.
	uint64_t heard = p->heard & ~p->up;
	return (unsigned)__builtin_ctzll(heard != 0 ? heard : p->all & ~p->up);
}

void nexthop_answered(struct nexthop *h, const struct nexthop_ports *p, unsigned bit, unsigned node)
{
	uint64_t before = (1ull << node) - 1;

	if (bit == NEXTHOP_ASK_BASE) {
		h->base = (uint8_t)node;
		if (p->model == SWITCH_RESILIENT && in(p->up, h->base))
			h->from = h->base;
	} else if (p->model != SWITCH_RESILIENT) {
		// The group of N - k ports has the first so many.
		unsigned k = (unsigned)__builtin_ctz(bit), rank = count_of(p->all & before);
		h->rank[k] = rank + k < count_of(p->all) ? (uint8_t)rank : NEXTHOP_NONE;
	} else if (bit == NEXTHOP_ASK_NEXT) {
		h->to = (uint8_t)node;
	} else {
		h->from = (uint8_t)node;
	}
}

void nexthop_silent(struct nexthop *h, const struct nexthop_ports *p, unsigned bit)
{
	h->silent |= (uint16_t)bit;
	if (bit == NEXTHOP_ASK_BASE && (p->all & ~p->up) != 0)
		h->base = NEXTHOP_DOWN;
}
