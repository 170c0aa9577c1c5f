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

static unsigned top_of(const struct nexthop_ports *p)
{
	return count_of(p->all & (p->up | p->coming));
}

void nexthop_init(struct nexthop *h, const struct nexthop_ports *p)
{
	memset(h, NEXTHOP_NONE, sizeof(*h));
	h->silent = 0;
	h->epoch = p->epoch;
	h->up = p->up;
	h->top = (uint8_t)top_of(p);
}

void nexthop_renew(struct nexthop *h, const struct nexthop_ports *p)
{
	struct nexthop was = *h;

	if (h->epoch == p->epoch)
		return;
	nexthop_init(h, p);
	if (p->model == SWITCH_RESILIENT) {
		h->base = was.base == NEXTHOP_DOWN ? NEXTHOP_NONE : was.base;
		return;
	}
	// Of two-stage, where packets go now tells of the first stage, but may have been told a moment
	// before this node knew what the switch knew. Places are the same at any time.
	for (unsigned f = 0; f <= COPIES_MAX; f++) {
		unsigned at = f + was.top - h->top;
		h->place[f] = at <= COPIES_MAX ? was.place[at] : NEXTHOP_NONE;
	}
}

// ---- What is known ----

static int by_place(const struct nexthop *h, uint64_t up)
{
	unsigned ports = count_of(up), f = h->top - ports; // more than there are: none

	if (f > COPIES_MAX || h->place[f] >= ports)
		return NEXT_HOP_UNKNOWN;
	return (int)nth(up, h->place[f]);
}

// Where it is not known whether packets arrive at `from` by the first stage or by the second, that is said
// which is so in either case.
static int next_two_stage(const struct nexthop *h, uint64_t up)
{
	int second = by_place(h, up);

	if (h->base == NEXTHOP_NONE)
		return NEXT_HOP_UNKNOWN;
	if (h->base != NEXTHOP_DOWN)
		return in(up, h->base) ? h->base : second;
	if (up == h->up && in(up, h->from))
		return h->from;
	if ((up & ~h->up) != 0) // perhaps the first stage's
		return NEXT_HOP_UNKNOWN;
	return !in(up, h->from) || second == h->from ? second : NEXT_HOP_UNKNOWN;
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
	if (model == SWITCH_RESILIENT)
		return next_resilient(h, up);
	return model == SWITCH_TWO_STAGE ? next_two_stage(h, up) : by_place(h, up);
}

// ---- What is asked ----

// Places that are not known among so many ports, and among as many less as `failures`.
static uint16_t places(
	const struct nexthop *h, const struct nexthop_ports *p, unsigned ports, unsigned failures)
{
	unsigned most = p->most < COPIES_MAX ? p->most : COPIES_MAX;
	uint16_t bits = 0;

	for (unsigned k = 0; k <= failures && k <= most && k < ports; k++) {
		unsigned f = h->top - (ports - k);
		if (f <= COPIES_MAX && h->place[f] == NEXTHOP_NONE)
			bits |= (uint16_t)(1u << f);
	}
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

// The second stage matters where it is drawn from: when the port of the first is down, or may be.
static uint16_t missing_two_stage(const struct nexthop *h, const struct nexthop_ports *p)
{
	unsigned now = count_of(p->up & p->all), failures = p->failures;
	bool whole = (p->all & ~p->up) == 0, first = in(p->up, h->base);
	uint16_t bits = h->from == NEXTHOP_NONE ? NEXTHOP_ASK_BASE : 0;

	if (!whole && !first)
		bits |= places(h, p, now, failures);
	else if (failures > 0 && now > 1)
		bits |= places(h, p, now - 1, failures - 1);
	return bits;
}

uint16_t nexthop_missing(const struct nexthop *h, const struct nexthop_ports *p)
{
	uint16_t bits;

	if (p->model == SWITCH_RESILIENT)
		return missing_resilient(h, p);
	if (p->model == SWITCH_TWO_STAGE)
		bits = missing_two_stage(h, p);
	else
		bits = places(h, p, count_of(p->up & p->all), p->failures) |
		       (p->coming != 0 ? places(h, p, h->top, 0) : 0);
	return bits & (uint16_t)~h->silent;
}

unsigned nexthop_group(const struct nexthop *h, const struct nexthop_ports *p, unsigned bit)
{
	if (bit == NEXTHOP_ASK_BASE)
		return PREDICT_ARRIVAL;
	if (p->model != SWITCH_RESILIENT)
		return h->top - (unsigned)__builtin_ctz(bit);
	if (bit == NEXTHOP_ASK_NEXT)
		return h->from;
	// That one is down already: to leave it out changes nothing.
	uint64_t heard = p->heard & ~p->up;
	return (unsigned)__builtin_ctzll(heard != 0 ? heard : p->all & ~p->up);
}

// Two-stage: packets arrive at `from`. If the second stage picks another among those that are up, that is
// the first stage's choice.
static void find_base(struct nexthop *h, const struct nexthop_ports *p)
{
	if (h->from == NEXTHOP_NONE)
		return;
	int second = by_place(h, p->up & p->all);
	bool whole = (p->all & ~p->up) == 0;
	bool first = whole || (second != NEXT_HOP_UNKNOWN && second != h->from);
	h->base = first ? h->from : NEXTHOP_DOWN;
}

static void answered_resilient(
	struct nexthop *h, const struct nexthop_ports *p, unsigned bit, uint8_t node)
{
	if (bit == NEXTHOP_ASK_BASE)
		h->base = node;
	if (bit == NEXTHOP_ASK_NEXT)
		h->to = node;
	else if (bit == NEXTHOP_ASK_NOW || in(p->up, node))
		h->from = node;
}

void nexthop_answered(struct nexthop *h, const struct nexthop_ports *p, unsigned bit, unsigned node,
	unsigned place)
{
	uint64_t before = (1ull << node) - 1;

	if (p->model == SWITCH_RESILIENT) {
		answered_resilient(h, p, bit, (uint8_t)node);
		return;
	}
	if (bit == NEXTHOP_ASK_BASE) {
		h->from = (uint8_t)node;
	} else {
		// A switch that writes no places has groups of the first so many that are configured.
		unsigned f = (unsigned)__builtin_ctz(bit);
		if (place == PREDICT_UNMARKED)
			place = count_of(p->all & before);
		bool is = f < h->top && place < h->top - f;
		h->place[f] = is ? (uint8_t)place : NEXTHOP_NONE;
		h->silent |= is ? 0 : (uint16_t)bit;
	}
	if (p->model == SWITCH_TWO_STAGE)
		find_base(h, p);
}

void nexthop_silent(struct nexthop *h, const struct nexthop_ports *p, unsigned bit)
{
	h->silent |= (uint16_t)bit;
	if (p->model == SWITCH_RESILIENT && bit == NEXTHOP_ASK_BASE && (p->all & ~p->up) != 0)
		h->base = NEXTHOP_DOWN;
}
