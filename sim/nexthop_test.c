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
	unsigned asked;
};

// Asks until nothing is missing.
static void ask(struct asking *a)
{
	uint16_t bits;

	while ((bits = nexthop_missing(&a->h, &a->p)) != 0) {
		unsigned bit = bits & -(unsigned)bits;
		unsigned group = nexthop_group(&a->h, &a->p, bit);
		int node = ecmp_group(&a->e, a->hash, group, a->p.up);
		if (node >= 0 && (a->answer >> node & 1))
			nexthop_answered(&a->h, &a->p, bit, (unsigned)node);
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
	};
	a.answer = a.e.ports;
	nexthop_init(&a.h, 1);
	return a;
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
		a.answer = a.p.up &= ~some(&r, a.p.up, dead);
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

// With ports down, some questions go to nobody. What is said is right all the same.
static void nexthop__dead_ports(void **state)
{
	struct rng r = {.state = 13};
	unsigned said = 0, all = 0;

	for (unsigned model = ECMP_MODULO; model <= ECMP_TWO_STAGE; model++) {
		for (unsigned n = 0; n < 4000; n++) {
			struct asking a = begin(&r, model, 4 + n % 12, 3);
			uint64_t down = some(&r, a.e.ports, 1 + n % 2);
			a.answer = a.p.up &= ~down;
			a.p.failures = 1;
			ask(&a);
			for (unsigned f = 0; f < 2; f++) {
				uint64_t up = a.p.up & ~some(&r, a.p.up, f);
				int node = predicted(&a, up);
				all++;
				said += node != NEXT_HOP_UNKNOWN;
				if (node != NEXT_HOP_UNKNOWN)
					assert_int_equal(node, ecmp_pick(&a.e, a.hash, up));
			}
		}
	}
	assert_true(said > all * 3 / 4);
}

// Who joins: its share is known before its port is up.
static void nexthop__coming(void **state)
{
	struct rng r = {.state = 14};
	unsigned said = 0;

	for (unsigned n = 0; n < 6000; n++) {
		struct asking a = begin(&r, n % ECMP_MODELS, 3 + n % 11, 2);
		a.p.coming = some(&r, a.e.ports, 1);
		a.p.up &= ~a.p.coming;
		ask(&a); // it answers already
		assert_int_equal(a.h.silent, 0);
		uint64_t up = a.p.up | a.p.coming;
		assert_int_equal(predicted(&a, up), ecmp_pick(&a.e, a.hash, up));
		said += (a.p.coming >> predicted(&a, up)) & 1;
	}
	assert_true(said > 300);
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
		a.answer = a.p.up = up & ~down;
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

// Who is not in a group cannot have got its question.
static void nexthop__not_of_the_group(void **state)
{
	struct rng r = {.state = 18};
	struct asking a = begin(&r, ECMP_MODULO, 6, 3);

	nexthop_answered(&a.h, &a.p, 1u << 2, 4);
	assert_int_equal(a.h.rank[2], NEXTHOP_NONE);
	nexthop_answered(&a.h, &a.p, 1u << 2, 3);
	assert_int_equal(a.h.rank[2], 3);
}

// An answer of former ports says nothing where ports matter, and stays where they do not.
static void nexthop__renewed(void **state)
{
	struct rng r = {.state = 15};

	for (unsigned model = 0; model < ECMP_MODELS; model++) {
		struct asking a = begin(&r, model, 8, 2);
		a.p.up = 0xfc;
		ask(&a);
		uint16_t asked = a.h.silent;
		a.h.base = NEXTHOP_DOWN;
		a.h.silent = 2;
		struct nexthop same = a.h;
		nexthop_renew(&same, a.p.model, 1);
		assert_memory_equal(&same, &a.h, sizeof(same));
		nexthop_renew(&a.h, a.p.model, 2);
		assert_int_equal(a.h.epoch, 2);
		assert_int_equal(a.h.silent, 0);
		assert_int_equal(a.h.base, NEXTHOP_NONE);
		if (model == ECMP_RESILIENT)
			assert_true(a.h.from == NEXTHOP_NONE && a.h.to == NEXTHOP_NONE);
		else if (!(asked & 1u << 3))
			assert_int_equal(a.h.rank[3], same.rank[3]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nexthop__any_failures),
		cmocka_unit_test(nexthop__every_set),
		cmocka_unit_test(nexthop__resilient_one_failure),
		cmocka_unit_test(nexthop__dead_ports),
		cmocka_unit_test(nexthop__coming),
		cmocka_unit_test(nexthop__fewer_than_configured),
		cmocka_unit_test(nexthop__not_of_the_group),
		cmocka_unit_test(nexthop__renewed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
