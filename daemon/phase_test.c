// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/phase.h"

static void phase__way_through_a_life(void **state)
{
	struct phase_watch w = {0};
	struct node_status s = {.phase = NODE_JOINING, .uptime_ns = 5000000};
	char line[256];

	assert_true(phase_news(&w, &s, line, sizeof(line)));
	assert_string_equal(line, "joins: the others send it what it should hold");
	assert_false(phase_news(&w, &s, line, sizeof(line)));
	s.phase = NODE_READY;
	s.uptime_ns = 217000000;
	assert_true(phase_news(&w, &s, line, sizeof(line)));
	assert_string_equal(line, "takes traffic, after 212 ms of joining");
	s.phase = NODE_DRAINING;
	s.mastered = 12;
	assert_true(phase_news(&w, &s, line, sizeof(line)));
	assert_string_equal(line, "drains: its 12 connections get copies elsewhere");
	s.phase = NODE_READY;
	assert_true(phase_news(&w, &s, line, sizeof(line)));
	assert_string_equal(line, "takes traffic again");
	for (s.phase = NODE_MOVING; s.phase <= NODE_LEAVING; s.phase++)
		assert_true(phase_news(&w, &s, line, sizeof(line)));
	assert_string_equal(line, "leaves");
}

static void phase__join_timeout_names_who_is_late(void **state)
{
	struct phase_watch w = {.phase = NODE_JOINING};
	struct node_status s = {.phase = NODE_READY, .join_unserved = 1ull << 2 | 1ull << 63};
	char line[256];

	assert_true(phase_news(&w, &s, line, sizeof(line)));
	assert_string_equal(line, "warning: takes traffic after join_timeout_ms; not all copies "
				  "have come from nodes 2, 63");
	s.join_unserved = 0;
	s.join_unknown = 1 << 5;
	w.phase = NODE_JOINING;
	assert_true(phase_news(&w, &s, line, sizeof(line)));
	assert_string_equal(line, "warning: takes traffic after join_timeout_ms; the index sets of "
				  "nodes 5 have not come");
}

static void phase__says_once_that_it_waits_for_ports(void **state)
{
	struct phase_watch w = {.phase = NODE_JOINING};
	struct node_status s = {.phase = NODE_JOINING, .join_ports = true, .unreported = 2};
	char line[256];

	s.join_unserved = 4;
	assert_false(phase_news(&w, &s, line, sizeof(line)));
	s.join_unserved = 0;
	assert_true(phase_news(&w, &s, line, sizeof(line)));
	assert_string_equal(line, "waits: NAT ports that it has handed out before may be in use at "
				  "nodes 1, which have not said");
	assert_false(phase_news(&w, &s, line, sizeof(line)));
}

static void phase__may_stop(void **state)
{
	struct node_status s = {.phase = NODE_DRAINING, .ports = 2};

	assert_false(phase_may_stop(&s));
	s.phase = NODE_MOVING;
	assert_false(phase_may_stop(&s));
	s.phase = NODE_DRAINED;
	assert_true(phase_may_stop(&s));
	s = (struct node_status){.phase = NODE_DRAINING}; // nobody takes them
	assert_true(phase_may_stop(&s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(phase__way_through_a_life),
		cmocka_unit_test(phase__join_timeout_names_who_is_late),
		cmocka_unit_test(phase__says_once_that_it_waits_for_ports),
		cmocka_unit_test(phase__may_stop),
	};
	return cmocka_run_group_tests_name("phase", tests, NULL, NULL);
}
