// SPDX-License-Identifier: BSD-3-Clause
// What the prediction groups of the simulated switch answer, and what core/hpsms/nexthop.c makes of it,
// is what that switch does: every time, for every model, number of ports and set of failures that the
// groups are made for.
#include "core/hpsms/nexthop.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/rng.h"
#include "sim/ecmp.h"

static struct tripod_tuple tuple(struct rng *r)
{
	return (struct tripod_tuple){
		.src = tripod_addr_v4((uint32_t)rng_next(r)),
		.dst = tripod_addr_v4((uint32_t)rng_next(r)),
		.sport = (uint16_t)rng_next(r),
		.dport = (uint16_t)rng_next(r),
		.proto = IPPROTO_TCP,
		.direction = rng_next(r) & 1,
	};
}

// Some of the ports of a set, at most n of them and never all.
static uint64_t some(struct rng *r, uint64_t of, unsigned n)
{
	uint64_t chosen = 0;

	for (unsigned i = 0; i < n && __builtin_popcountll(of & ~chosen) > 1; i++) {
		unsigned port;
		do
			port = rng_below(r, 64);
		while (!(of & ~chosen & 1ull << port));
		chosen |= 1ull << port;
	}
	return chosen;
}

struct asking {
	struct ecmp e;
	uint64_t hash;
	struct nexthop_ports p;
	struct nexthop h;
	uint64_t answer; // nodes that do
	bool unmarked; // the switch writes no places
	unsigned asked;
};

// Asks until nothing is missing.
static void ask(struct asking *a)
{
	uint16_t bits;

	while ((bits = nexthop_missing(&a->h, &a->p)) != 0) {
		unsigned bit = bits & -(unsigned)bits;
		unsigned group = nexthop_group(&a->h, &a->p, bit);
		unsigned place;
		int node = ecmp_group(&a->e, a->hash, group, a->p.up, &place);
		if (node >= 0 && (a->answer >> node & 1))
			nexthop_answered(&a->h, &a->p, bit, (unsigned)node,
				a->unmarked ? PREDICT_UNMARKED : place);
		else
			nexthop_silent(&a->h, &a->p, bit);
		assert_in_range(++a->asked, 1, COPIES_MAX + 4);
	}
}

static struct asking begin(struct rng *r, unsigned model, unsigned ports, unsigned failures)
{
	struct asking a = {
		.e = {.model = (enum ecmp_model)model,
			.fields = ECMP_5_TUPLE,
			.seed = rng_next(r),
			.ports = (1ull << ports) - 1,
			.failures = failures},
	};
	struct tripod_tuple t = tuple(r);
	a.hash = ecmp_hash(&a.e, &t);
	a.p = (struct nexthop_ports){
		.model = (enum switch_model)model,
		.all = a.e.ports,
		.heard = a.e.ports,
		.up = a.e.ports,
		.failures = failures,
		.most = failures,
		.epoch = 1,
	};
	a.answer = a.e.ports;
	nexthop_init(&a.h, &a.p);
	return a;
}

// Other ports are up, or about to be, than were before.
static void change(struct asking *a, uint64_t up, uint64_t coming)
{
	a->p.up = up;
	a->p.coming = coming;
	a->answer = up | coming;
	a->p.epoch++;
	nexthop_renew(&a->h, &a->p);
	a->asked = 0;
}

static int predicted(const struct asking *a, uint64_t up)
{
	return nexthop_next(&a->h, a->p.model, a->p.all, up);
}

// One answer for each number of failures tells where packets go after any of them.
static void nexthop__any_failures(void **state)
{
	struct rng r = {.state = 10};

	for (unsigned model = ECMP_MODULO; model <= ECMP_TWO_STAGE; model++) {
		for (unsigned n = 0; n < 4000; n++) {
			unsigned ports = 2 + n % 47, k = COPIES_MAX;
			struct asking a = begin(&r, model, ports, k < ports ? k : ports - 1);
			a.unmarked = n & 1; // all are there: it is the first so many
			ask(&a);
			assert_in_range(a.asked, 1, a.e.failures + 1);
			assert_int_equal(a.h.silent, 0);
			for (unsigned f = 0; f <= a.e.failures; f++) {
				uint64_t up = a.e.ports & ~some(&r, a.e.ports, f);
				assert_int_equal(predicted(&a, up), ecmp_pick(&a.e, a.hash, up));
			}
		}
	}
}

// Every order in which ports fail, of a small rack.
static void nexthop__every_set(void **state)
{
	struct rng r = {.state = 11};

	for (unsigned model = ECMP_MODULO; model <= ECMP_TWO_STAGE; model++) {
		for (unsigned n = 0; n < 300; n++) {
			struct asking a = begin(&r, model, 6, 5);
			ask(&a);
			for (uint64_t up = 1; up <= a.e.ports; up++)
				assert_int_equal(predicted(&a, up), ecmp_pick(&a.e, a.hash, up));
		}
	}
}

// Each flow has its order of ports: where it goes after the next failure, whatever failed before.
static void nexthop__resilient_one_failure(void **state)
{
	struct rng r = {.state = 12};

	for (unsigned n = 0; n < 4000; n++) {
		struct asking a = begin(&r, ECMP_RESILIENT, 2 + n % 47, 1);
		unsigned dead = n & 1 ? rng_below(&r, 4) : 0;
		change(&a, a.p.up & ~some(&r, a.p.up, dead), 0);
		ask(&a);
		int now = ecmp_pick(&a.e, a.hash, a.p.up);
		assert_int_equal(predicted(&a, a.p.up), now);
		for (uint64_t left = a.p.up; left != 0; left &= left - 1) {
			uint64_t up = a.p.up & ~(left & -left);
			if (up != 0)
				assert_int_equal(predicted(&a, up), ecmp_pick(&a.e, a.hash, up));
		}
		// What it does not know it does not say, and what it says is right, after any more.
		for (unsigned f = 2; f < 6; f++) {
			uint64_t up = a.p.up & ~some(&r, a.p.up, f);
			int said = predicted(&a, up);
			assert_true(
				said == NEXT_HOP_UNKNOWN || said == ecmp_pick(&a.e, a.hash, up));
		}
	}
}

static void is_right(const struct asking *a, uint64_t up, unsigned *said, unsigned *all)
{
	int node = predicted(a, up);

	*all += 1;
	*said += node != NEXT_HOP_UNKNOWN;
	if (node != NEXT_HOP_UNKNOWN)
		assert_int_equal(node, ecmp_pick(&a->e, a->hash, up));
}

// With ports down, some questions go to nobody. What is said is right all the same.
static void nexthop__dead_ports(void **state)
{
	struct rng r = {.state = 13};
	unsigned said = 0, all = 0;

	for (unsigned model = ECMP_MODULO; model <= ECMP_TWO_STAGE; model++) {
		for (unsigned n = 0; n < 4000; n++) {
			struct asking a = begin(&r, model, 4 + n % 12, 3);
			a.p.failures = 1;
			change(&a, a.p.up & ~some(&r, a.e.ports, 1 + n % 2), 0);
			ask(&a);
			for (unsigned f = 0; f < 2; f++)
				is_right(&a, a.p.up & ~some(&r, a.p.up, f), &said, &all);
		}
	}
	assert_in_range(said, all * 7 / 10, all * 19 / 20);
}

// When failures last, the switch is given groups without the dead, and each question has an answer. By
// place, of modulo all is known then. Of two-stage not whether the node where packets arrive is the choice of the first
// stage, if the second would make the same; then that is said which holds in either case.
static void nexthop__lasting(void **state)
{
	struct rng r = {.state = 19};

	for (unsigned model = ECMP_MODULO; model <= ECMP_TWO_STAGE; model++) {
		unsigned said = 0, all = 0;
		for (unsigned n = 0; n < 6000; n++) {
			struct asking a = begin(&r, model, 4 + n % 12, 3);
			uint64_t dead = some(&r, a.e.ports, 1 + n % 3);
			if (n & 1)
				ask(&a); // something is known from before
			a.e.without = dead;
			a.p.failures = 2;
			change(&a, a.e.ports & ~dead, 0);
			ask(&a);
			assert_int_equal(a.h.silent, 0);
			uint64_t up = a.p.up;
			for (unsigned f = 0; f < 3; f++) {
				int next = predicted(&a, up);
				assert_int_equal(next, ecmp_pick(&a.e, a.hash, up));
				if (f < 2)
					is_right(&a, up & ~some(&r, up & ~(1ull << next), 1), &said,
						&all);
				if (__builtin_popcountll(up &= ~(1ull << next)) == 0)
					break;
			}
		}
		assert_true(said == all || (model == ECMP_TWO_STAGE && said > all * 3 / 4));
	}
}

// The mark is what makes it so: the same groups without it say something else.
static void nexthop__unmarked_places_are_of_all(void **state)
{
	struct rng r = {.state = 20};
	unsigned right = 0;

	for (unsigned n = 0; n < 1000; n++) {
		struct asking a = begin(&r, ECMP_MODULO, 6, 3);
		a.e.without = 1;
		a.unmarked = true;
		change(&a, a.e.ports & ~1ull, 0);
		ask(&a);
		right += predicted(&a, a.p.up) == ecmp_pick(&a.e, a.hash, a.p.up);
	}
	assert_in_range(right, 0, 300);
}

// Who joins: its share is known before its port is up. Of two-stage: not more than perhaps, where the first
// stage's choice is not known.
static void nexthop__coming(void **state)
{
	struct rng r = {.state = 14};
	unsigned said = 0, hidden = 0, perhaps = 0;

	for (unsigned n = 0; n < 6000; n++) {
		struct asking a = begin(&r, n % ECMP_MODELS, 3 + n % 11, 2);
		uint64_t coming = some(&r, a.e.ports, 1), all = a.e.ports;
		bool dead = n % 4 >= 2 && a.e.model != ECMP_RESILIENT; // another is, too
		a.e.failures = 4; // those, too
		a.e.without = n & 1 ? coming : 0;
		if (n % 8 >= 4)
			ask(&a); // something is known from before
		if (dead)
			a.e.without |= a.e.ports & ~(all &= ~some(&r, all & ~coming, 1));
		change(&a, all & ~coming, coming);
		ask(&a); // it answers already
		assert_int_equal(a.h.silent, 0);
		int now = predicted(&a, all), is = ecmp_pick(&a.e, a.hash, all);
		bool its = coming >> is & 1;
		said += now == is && its;
		perhaps += a.h.base == NEXTHOP_DOWN;
		hidden += now != is && its;
		if (now == is)
			continue;
		// ... of these. All that come to it are among them.
		assert_int_equal(now, NEXT_HOP_UNKNOWN);
		assert_int_equal(a.e.model, ECMP_TWO_STAGE);
		assert_int_equal(a.h.base, NEXTHOP_DOWN);
	}
	assert_true(said > 300 && hidden > 150);
	assert_in_range(perhaps, hidden, hidden * 7 / 2);
}

// Nodes that are configured and not, or no more, among the switch's: it has no groups for them.
static void nexthop__fewer_than_configured(void **state)
{
	struct rng r = {.state = 17};

	for (unsigned n = 0; n < 4000; n++) {
		struct asking a = begin(&r, ECMP_RESILIENT, 8, 1);
		uint64_t never = some(&r, a.e.ports, 1 + n % 3), up = a.e.ports & ~never;
		uint64_t down = n & 1 ? some(&r, up, 1) : 0;
		a.e.ports = up;
		a.p.heard = n & 2 ? a.p.all : up; // removed again, or not added yet
		change(&a, up & ~down, 0);
		ask(&a);
		int said = predicted(&a, a.p.up), is = ecmp_pick(&a.e, a.hash, a.p.up);
		// Only where the port is down that it would be on, and no group is known to leave it out.
		bool hard = (n & 2) && ecmp_pick(&a.e, a.hash, up) != is;
		assert_true(said == is || (hard && said == NEXT_HOP_UNKNOWN));
		if (said == is && (a.p.up & ~(1ull << is)) != 0)
			assert_int_equal(predicted(&a, a.p.up & ~(1ull << is)),
				ecmp_pick(&a.e, a.hash, a.p.up & ~(1ull << is)));
	}
}

// A place that a group does not have is not one.
static void nexthop__not_of_the_group(void **state)
{
	struct rng r = {.state = 18};
	struct asking a = begin(&r, ECMP_MODULO, 6, 3);

	nexthop_answered(&a.h, &a.p, 1u << 2, 0, 4);
	assert_int_equal(a.h.place[2], NEXTHOP_NONE);
	nexthop_answered(&a.h, &a.p, 1u << 2, 4, PREDICT_UNMARKED);
	assert_int_equal(a.h.place[2], NEXTHOP_NONE);
	nexthop_answered(&a.h, &a.p, 1u << 2, 5, 3);
	assert_int_equal(a.h.place[2], 3);
	nexthop_answered(&a.h, &a.p, 1u << 2, 2, PREDICT_UNMARKED);
	assert_int_equal(a.h.place[2], 2);
}

// An answer of former ports says nothing where ports matter, and stays where they do not: places are by
// the number of ports, however many more or fewer there are now.
static void nexthop__renewed(void **state)
{
	struct rng r = {.state = 15};

	for (unsigned model = 0; model < ECMP_MODELS; model++) {
		struct asking a = begin(&r, model, 8, 4);
		ask(&a);
		a.h.silent = 2;
		struct nexthop was = a.h, same = a.h;
		nexthop_renew(&same, &a.p);
		assert_memory_equal(&same, &a.h, sizeof(same));
		change(&a, 0xfc, 0);
		assert_int_equal(a.h.epoch, 2);
		assert_int_equal(a.h.silent, 0);
		assert_true(a.h.from == NEXTHOP_NONE && a.h.to == NEXTHOP_NONE);
		if (model == ECMP_RESILIENT) {
			assert_int_equal(a.h.base, was.base);
			a.h.base = NEXTHOP_DOWN;
			change(&a, 0xfe, 0);
			assert_int_equal(a.h.base, NEXTHOP_NONE);
			continue;
		}
		assert_int_equal(a.h.top, 6);
		assert_int_equal(a.h.place[0], was.place[2]);
		assert_int_equal(a.h.place[2], was.place[4]);
		assert_int_equal(a.h.place[COPIES_MAX - 1], NEXTHOP_NONE);
		change(&a, 0xf8, 7);
		assert_int_equal(a.h.place[0], NEXTHOP_NONE);
		assert_int_equal(a.h.place[3], was.place[3]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nexthop__any_failures),
		cmocka_unit_test(nexthop__every_set),
		cmocka_unit_test(nexthop__resilient_one_failure),
		cmocka_unit_test(nexthop__dead_ports),
		cmocka_unit_test(nexthop__lasting),
		cmocka_unit_test(nexthop__unmarked_places_are_of_all),
		cmocka_unit_test(nexthop__coming),
		cmocka_unit_test(nexthop__fewer_than_configured),
		cmocka_unit_test(nexthop__not_of_the_group),
		cmocka_unit_test(nexthop__renewed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
