// SPDX-License-Identifier: BSD-3-Clause
// Two lives of one key, one soon after the other and on different nodes: which of them is the later.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/testing/flows.h"
#include "core/testing/forge.h"

static struct rack *rack_of(struct rack_conf c)
{
	c.workers = c.workers ? c.workers : 1;
	c.backups = c.backups ? c.backups : 1;
	c.seed = 7;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

// The nodes among which the switch may choose.
static void ports(struct rack *r, unsigned nodes, unsigned up)
{
	for (unsigned i = 0; i < nodes; i++)
		rack_port(r, i, up >> i & 1);
}

static uint64_t opened_at(struct rack *r, unsigned node, unsigned n)
{
	struct flow f = flow_of(n, "10.1.0.101");
	struct conn_view v;

	ports(r, 3, 1u << node);
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 1);
	assert_true(rack_conn(r, node, &f.key, &v));
	assert_int_equal(v.incarnation & INCARNATION_NODE, node);
	return v.incarnation;
}

// What is opened later has the higher number, on whichever node, though they tell each other of nothing
// but heartbeats: one that starts later, one that opens a hundred times as many, and one that is silent.
static void lives__later_is_higher(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .workers = 2});
	uint64_t last = 0;
	unsigned n = 0;

	rack_run_ms(r, 2000);
	rack_kill(r, 2);
	rack_run_ms(r, 500);
	rack_start(r, 2);
	rack_run_ms(r, 500);
	for (unsigned round = 0; round < 12; round++) {
		unsigned times = round % 3 == 0 ? 100 : 1;
		for (unsigned k = 0; k < times; k++) {
			uint64_t life = opened_at(r, round % 3, n++);
			assert_true(life > last);
			last = life;
		}
	}
	rack_free(r);
}

// A number that leaves no room above it moves nobody's clock.
static void lives__absurd_numbers_move_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	uint64_t before = conn_lives(s);

	conn_lives_heard(s, WIRE_LIVES_MAX + 1);
	conn_lives_heard(s, before - 1);
	assert_true(conn_lives(s) == before);
	conn_lives_heard(s, before + 1000);
	assert_true(conn_lives(s) == before + 1001);
	rack_run_ms(r, 300);
	for (unsigned i = 1; i < 3; i++)
		assert_true(conn_lives(node_shard(rack_node(r, i), 0)) > before + 1001);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lives__later_is_higher),
		cmocka_unit_test(lives__absurd_numbers_move_nothing),
	};
	return cmocka_run_group_tests_name("lives", tests, NULL, NULL);
}
