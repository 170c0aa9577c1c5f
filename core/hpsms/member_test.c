// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hpsms/member.h"
#include "core/node.h"
#include "core/rng.h"

#define MS 1000000ull
#define HEARTBEAT (20 * MS)
#define DEAD (100 * MS)
#define START (1000 * MS)

static struct members new_members(void)
{
	struct members m;
	members_init(&m, 2, 0x1e, HEARTBEAT, DEAD, START); // 1..4, self 2
	return m;
}

static bool hello(struct members *m, uint8_t from, uint64_t boot, uint8_t flags, uint64_t now)
{
	struct wire_hello h = {
		.workers = 1, .flags = flags, .n_chains = 1, .live = 0x1e, .chain = {9}};
	return members_hello(m, from, boot, &h, now);
}

static uint64_t tick(struct members *m, uint64_t now)
{
	bool away;
	uint64_t died = members_tick(m, now, &away);
	assert_false(away);
	return died;
}

static void members__self_alone_at_first(void **state)
{
	struct members m = new_members();
	assert_int_equal(m.live, 4);
	assert_true(m.m[2].live && m.m[1].configured && !m.m[5].configured);
	assert_int_equal(tick(&m, START + 99 * MS), 0);
	assert_int_equal(tick(&m, START + 198 * MS), 0);
	assert_int_equal(m.live, 4); // oneself is never missed
}

static void members__life_and_death(void **state)
{
	struct members m = new_members();
	assert_true(hello(&m, 1, 77, WIRE_HELLO_READY, START));
	assert_false(hello(&m, 1, 77, WIRE_HELLO_READY, START + 20 * MS));
	assert_int_equal(m.live, 6);
	assert_true(m.m[1].ready && m.m[1].chain[0] == 9 && m.m[1].sees == 0x1e);
	assert_int_equal(tick(&m, START + 60 * MS), 0);
	assert_int_equal(tick(&m, START + 119 * MS), 0);
	assert_int_equal(tick(&m, START + 120 * MS), 2);
	assert_int_equal(m.live, 4);
	assert_int_equal(m.m[1].deaths, 1);
	assert_true(m.changed_ns == START + 120 * MS);
	assert_int_equal(tick(&m, START + 121 * MS), 0); // told once
	assert_true(hello(&m, 1, 77, 0, START + 130 * MS)); // the same boot: was only unreachable
	assert_int_equal(m.live, 6);
	assert_false(m.m[1].ready);
}

static void members__strangers(void **state)
{
	struct members m = new_members();
	assert_false(hello(&m, 5, 1, 0, START));
	assert_false(hello(&m, 64, 1, 0, START));
	assert_false(hello(&m, 255, 1, 0, START));
	assert_false(hello(&m, 2, 1, WIRE_HELLO_LEAVING, START)); // this node's own id
	assert_int_equal(m.live, 4);
	assert_true(m.m[2].live);
	assert_int_equal(tick(&m, START + MS), 0);
}

static void members__new_boot(void **state)
{
	struct members m = new_members();
	assert_true(hello(&m, 3, 10, 0, START));
	assert_true(hello(&m, 3, 11, 0, START + 5 * MS));
	assert_int_equal(m.m[3].deaths, 1);
	assert_true(m.changed_ns == START + 5 * MS);
	assert_false(hello(&m, 3, 11, 0, START + 6 * MS));
	// A late heartbeat of the boot before is no third life, nor does it keep the member alive.
	assert_false(hello(&m, 3, 10, 0, START + 80 * MS));
	assert_true(m.m[3].boot == 11);
	assert_int_equal(tick(&m, START + 50 * MS), 0);
	assert_int_equal(tick(&m, START + 106 * MS), 8);
}

static void members__leaving(void **state)
{
	struct members m = new_members();
	assert_true(hello(&m, 4, 10, WIRE_HELLO_READY, START));
	assert_false(hello(&m, 4, 10, WIRE_HELLO_LEAVING, START + MS));
	assert_int_equal(m.live, 4); // at once
	assert_false(hello(&m, 4, 10, WIRE_HELLO_LEAVING, START + MS));
	assert_false(hello(&m, 4, 10, WIRE_HELLO_READY, START + MS)); // overtaken on its way
	assert_int_equal(m.live, 4);
	assert_int_equal(tick(&m, START + 2 * MS), 16);
	assert_int_equal(tick(&m, START + 3 * MS), 0);
	assert_int_equal(m.m[4].deaths, 1);
	assert_true(hello(&m, 4, 12, 0, START + 9 * MS));
	assert_int_equal(m.live, 20);
}

static void members__own_absence(void **state)
{
	struct members m = new_members();
	bool away;
	hello(&m, 1, 10, 0, START);
	hello(&m, 3, 10, 0, START);
	assert_int_equal(tick(&m, START + 10 * MS), 0);
	hello(&m, 3, 10, WIRE_HELLO_LEAVING, START + 10 * MS);
	uint64_t back = START + 5000 * MS;
	assert_int_equal(members_tick(&m, back, &away), 0);
	assert_true(away);
	assert_int_equal(m.live, 6);
	assert_int_equal(tick(&m, back + 99 * MS), 8); // the one that had left is still told
	assert_int_equal(tick(&m, back + 100 * MS), 2); // a whole chance, not more
}

// An hour's worth of what is configured, and what is seen: of a member that was heard once, as long as this
// process ran and the member had not said that it leaves.
static void members__failure_ppm(void **state)
{
	struct members m = new_members();
	uint64_t now = START, hour = 3600 * 1000 * MS;

	tick(&m, now);
	for (; now < START + hour; now += 50 * MS) { // half of an hour dead
		if (now < START + hour / 2)
			hello(&m, 1, 77, 0, now);
		hello(&m, 3, 78, 0, now);
		tick(&m, now);
	}
	assert_int_equal(members_failure_ppm(&m, 1, 100, 0), 100);
	assert_in_range(members_failure_ppm(&m, 1, 100, 1), 249900, 250100);
	assert_in_range(members_failure_ppm(&m, 1, 100, 9), 50050, 50150);
	assert_in_range(members_failure_ppm(&m, 3, 100, 1), 50, 50); // an hour without
	assert_int_equal(members_failure_ppm(&m, 4, 100, 1), 100); // never heard
	uint32_t before = members_failure_ppm(&m, 1, 100, 1);
	bool away;
	members_tick(&m, now += hour, &away); // who saw nothing knows nothing
	assert_true(away);
	assert_int_equal(members_failure_ppm(&m, 1, 100, 1), before);
	hello(&m, 3, 78, WIRE_HELLO_LEAVING, now);
	for (uint64_t end = now + hour; now < end; now += 50 * MS)
		tick(&m, now);
	assert_int_equal(members_failure_ppm(&m, 3, 100, 1), 50);
	for (uint64_t end = now + 20 * hour; now < end; now += 90 * MS)
		tick(&m, now);
	assert_int_equal(members_failure_ppm(&m, 1, 100, 1), FAILURE_PPM_MAX);
}

static void members__hello_due(void **state)
{
	struct members m = new_members();
	assert_true(members_hello_due(&m, START));
	assert_false(members_hello_due(&m, START + 19 * MS));
	assert_true(members_hello_due(&m, START + 25 * MS)); // late, but the beat goes on
	assert_true(members_hello_due(&m, START + 40 * MS));
	assert_true(members_hello_due(&m, START + 900 * MS));
	assert_false(members_hello_due(&m, START + 901 * MS)); // what was missed is not made up for
	assert_true(members_hello_due(&m, START + 920 * MS));
}

// Against a model: a member is live from a hello until it leaves or none came for DEAD.
static void prop__model(void **state)
{
	uint64_t seed = 99;
	printf("seed %lu\n", seed);
	struct rng r = {seed};
	struct members m = new_members();
	uint64_t now = START, heard[5] = {0}, boot[5] = {0}, alive = 4, ticked = START,
		 told = alive;
	for (unsigned i = 0; i < 200000; i++) {
		now += rng_below(&r, 15 * MS);
		uint8_t from = (uint8_t)(1 + rng_below(&r, 4));
		if (from != 2 && rng_below(&r, 3) == 0) {
			bool fresh = boot[from] == 0 || rng_below(&r, 20) == 0,
			     leaves = fresh ? false : rng_below(&r, 60) == 0;
			boot[from] = fresh ? rng_next(&r) | 1 : boot[from];
			bool told_new =
				hello(&m, from, boot[from], leaves ? WIRE_HELLO_LEAVING : 0, now);
			assert_int_equal(told_new, !leaves && (fresh || !(alive >> from & 1)));
			heard[from] = now;
			alive = leaves ? alive & ~(1ull << from) : alive | 1ull << from;
			told |= leaves ? 0 : 1ull << from;
			boot[from] = leaves ? 0 : boot[from];
		}
		if (rng_below(&r, 2) && now - ticked < DEAD) {
			for (unsigned j = 1; j < 5; j++)
				if (j != 2 && now - heard[j] >= DEAD)
					alive &= ~(1ull << j);
			uint64_t died = tick(&m, now);
			assert_true(died == (told & ~alive));
			told = alive;
			ticked = now;
		} else if (now - ticked >= DEAD) {
			bool away;
			assert_true(members_tick(&m, now, &away) == 0 && away);
			for (unsigned j = 1; j < 5; j++)
				heard[j] = now;
			ticked = now;
		}
		assert_true(m.live == alive);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members__self_alone_at_first),
		cmocka_unit_test(members__life_and_death),
		cmocka_unit_test(members__strangers),
		cmocka_unit_test(members__new_boot),
		cmocka_unit_test(members__leaving),
		cmocka_unit_test(members__own_absence),
		cmocka_unit_test(members__failure_ppm),
		cmocka_unit_test(members__hello_due),
		cmocka_unit_test(prop__model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
