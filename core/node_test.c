// SPDX-License-Identifier: BSD-3-Clause
// Looking at a node from outside while it runs.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/rack.h"

#define N 40

static void udp(struct rack *r, enum tripod_direction from, unsigned n)
{
	char client[20];
	snprintf(client, sizeof(client), "198.18.0.%u", n);
	rack_send(r, from,
		from == TRIPOD_INCOMING ? &(struct frame_spec){.proto = IPPROTO_UDP,
						  .src = client,
						  .dst = "198.51.100.1",
						  .sport = 1000,
						  .dport = 53}
					: &(struct frame_spec){.proto = IPPROTO_UDP,
						  .src = "10.1.0.101",
						  .dst = client,
						  .sport = 8080,
						  .dport = 1000});
}

// Two nodes, three workers each, N connections of which all but ten are answered.
static struct rack *busy(void)
{
	struct rack *r = rack_new(&(struct rack_conf){
		.nodes = 2, .workers = 3, .backups = 1, .seed = 9, .connections = 256});

	rack_run_ms(r, 300);
	for (unsigned i = 0; i < N; i++) {
		udp(r, TRIPOD_INCOMING, i);
		rack_run_ms(r, 2);
	}
	for (unsigned i = 10; i < N; i++) {
		udp(r, TRIPOD_OUTGOING, i);
		rack_run_ms(r, 2);
	}
	rack_run_ms(r, 200); // the census walks slowly
	return r;
}

static void node__status(void **state)
{
	struct rack *r = busy();
	struct node_status a, b;

	node_status(rack_node(r, 0), &a);
	node_status(rack_node(r, 1), &b);
	assert_int_equal(a.mastered + b.mastered, N);
	assert_int_equal(a.backup + b.backup, N - 10);
	assert_int_equal(a.embryonic + b.embryonic, 10);
	assert_int_equal(a.connections + b.connections, 2 * N - 10);
	assert_int_equal(a.unprotected + b.unprotected, 0);
	assert_int_equal(a.connections_max, 3 * 256);
	assert_true(a.live == 3);
	assert_int_equal(a.index_known, b.index_announced);
	assert_int_equal(b.index_known, a.index_announced);
	assert_int_equal(a.index_max, 65536);
	assert_true(a.memory_bytes > 3 * 256 * a.bytes_per_connection);
	// A worker has taken a packet since the first one last looked at the clock.
	struct shard *s = node_shard(rack_node(r, 0), 2);
	atomic_store(&s->workload_ns, node_shard(rack_node(r, 0), 0)->now_ns + MS);
	node_status(rack_node(r, 0), &a);
	assert_int_equal(a.workload_age_ns, 0);
	uint64_t mastered = b.mastered;
	rack_kill(r, 0);
	rack_run_ms(r, 500);
	node_status(rack_node(r, 1), &b);
	assert_true(b.live == 2);
	assert_int_equal(b.mastered, mastered); // no packets have moved any yet
	assert_true(b.unprotected > 0);
	rack_free(r);
}

static void node__members(void **state)
{
	struct rack *r = busy();
	struct member_status m[2];

	assert_int_equal(node_members(rack_node(r, 0), m, 2), 2);
	assert_true(m[0].self && m[0].live && m[1].live && !m[1].self);
	assert_int_equal(m[1].workers, 3);
	assert_true(m[1].boot == rack_node(r, 1)->conf.boot);
	assert_true(m[1].last_heard_ns < 40 * MS);
	assert_true(m[1].index_complete && !m[1].index_blind && m[1].index_age_ns < 60 * MS);
	rack_kill(r, 1);
	rack_run_ms(r, 500);
	node_members(rack_node(r, 0), m, 2);
	assert_false(m[1].live);
	assert_int_equal(m[1].deaths, 1);
	assert_in_range(m[1].last_heard_ns / MS, 480, 530);
	rack_free(r);
}

// A listing in pages comes through the whole table once, while the worker runs.
static void node__query(void **state)
{
	struct rack *r = busy();
	struct conn_view page[7];
	unsigned listed = 0, used = 0;

	for (unsigned w = 0; w < 3; w++) {
		struct conn_query q = {.max = 7, .view = page}, second = {.max = 7, .view = page};
		used += node_shard(rack_node(r, 0), w)->store.used;
		do {
			assert_true(node_query(rack_node(r, 0), w, &q));
			assert_false(node_query(rack_node(r, 0), w, &second));
			rack_run_ms(r, 1);
			assert_int_equal(q.done, 1);
			assert_in_range(q.n, 0, 7);
			for (unsigned i = 0; i < q.n; i++) {
				assert_int_equal(page[i].state, CONN_LIVE);
				assert_int_equal(page[i].key[0].proto, IPPROTO_UDP);
			}
			listed += q.n;
		} while (q.cursor != 0);
	}
	assert_true(used > 0);
	assert_int_equal(listed, used);
	rack_free(r);
}

static void node__counters_by_worker(void **state)
{
	struct rack *r = busy();
	uint64_t sum = 0, one[COUNTERS], all[COUNTERS];

	node_counters(rack_node(r, 0), -1, all);
	for (int w = 0; w < 3; w++) {
		node_counters(rack_node(r, 0), w, one);
		sum += one[C_workload_packets];
		assert_true(one[C_workload_packets] < all[C_workload_packets]);
	}
	assert_true(sum == all[C_workload_packets]);
	rack_free(r);
}

// Workers and nodes that drew the same numbers would choose the same ports and incarnations.
static void node__workers_draw_their_own(void **state)
{
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 2, .workers = 3, .backups = 1, .seed = 9});
	struct rng a = node_shard(rack_node(r, 0), 0)->rng, b = node_shard(rack_node(r, 0), 1)->rng;
	struct rng c = node_shard(rack_node(r, 1), 0)->rng;
	unsigned same = 0;

	for (unsigned i = 0; i < 100; i++) {
		uint64_t x = rng_next(&a), y = rng_next(&b), z = rng_next(&c);
		same += x == y || y == z || x == z;
	}
	assert_int_equal(same, 0);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(node__status),
		cmocka_unit_test(node__members),
		cmocka_unit_test(node__query),
		cmocka_unit_test(node__counters_by_worker),
		cmocka_unit_test(node__workers_draw_their_own),
	};
	return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
