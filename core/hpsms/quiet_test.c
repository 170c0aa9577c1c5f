// SPDX-License-Identifier: BSD-3-Clause
// Connections of which the index sets do not tell by themselves: of UDP that is quiet, unanswered, or of a worker
// that stands still.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/agreed.h"
#include "core/testing/flows.h"
#include "core/testing/settled.h"

#define SERVER "10.1.0.101"

static void udp(struct rack *r, enum tripod_direction from, unsigned n, unsigned payload)
{
	char client[20];

	snprintf(client, sizeof(client), "198.18.7.%u", n);
	rack_send(r, from,
		from == TRIPOD_INCOMING ? &(struct frame_spec){.proto = 17,
						  .src = client,
						  .dst = FLOWS_VIP,
						  .sport = 1000,
						  .dport = 53,
						  .payload_len = payload}
					: &(struct frame_spec){.proto = 17,
						  .src = SERVER,
						  .dst = client,
						  .sport = 8080,
						  .dport = 1000,
						  .payload_len = payload});
}

// A question and an answer by UDP are remembered for minutes, and nobody is told. But when the rack is
// unsettled and somebody asks, all of them are found.
static void quiet_are_revealed(unsigned workers)
{
	enum { N = 60 };
	struct rack *r =
		settled_rack((struct rack_conf){.nodes = 4, .workers = workers, .seed = 78});
	static struct rack_arrival a[4096];
	struct flow f = flow_of(9999, SERVER);

	rack_run_ms(r, 11000);
	for (unsigned i = 0; i < N; i++) {
		udp(r, TRIPOD_INCOMING, i, 20);
		rack_run_ms(r, 2);
		udp(r, TRIPOD_OUTGOING, i, 20);
		rack_run_ms(r, 2);
	}
	rack_run_ms(r, 3000);
	assert_int_equal(rack_counter(r, -1, C_index_adds), 0);
	for (unsigned k = 0; k < 20; k++) {
		udp(r, TRIPOD_INCOMING, 0, 20); // this one goes on, and is announced before long
		rack_run_ms(r, 2000);
	}
	assert_int_equal(rack_counter(r, -1, C_index_adds), 2); // its backup hears of activity late
	for (unsigned i = 0; i < 4; i++)
		assert_true(index_complete(node_shard(rack_node(r, i), 0)));
	rack_kill(r, 3);
	rack_run_ms(r, 400);
	rack_arrivals(r, TRIPOD_OUTGOING, a, 4096);
	uint64_t opened = rack_counter(r, -1, C_connections_opened);
	for (unsigned i = 0; i < N; i++) {
		udp(r, TRIPOD_INCOMING, i, 33);
		rack_run_ms(r, 2);
	}
	rack_run_ms(r, 50);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 4096), N);
	assert_int_equal(rack_counter(r, -1, C_connections_opened), opened);
	assert_true(rack_counter(r, -1, C_pulls_answered) > 0);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
	rack_run_ms(r, 500);
	agreed_sets(r, 4);
	assert_true(rack_counter(r, -1, C_index_adds) > N);
	rack_free(r);
}

static void quiet__are_revealed(void **state)
{
	quiet_are_revealed(1);
}

static void quiet__of_three_workers_are_revealed(void **state)
{
	quiet_are_revealed(3);
}

// The answer to a first packet arrives elsewhere: whoever has the connection is found by a round.
static void quiet__unanswered_connections_are_found(void **state)
{
	enum { N = 40 };
	struct rack *r = settled_rack((struct rack_conf){.nodes = 4, .workers = 2, .seed = 79});
	static struct rack_arrival a[4096];
	unsigned right = 0;

	for (unsigned i = 0; i < N; i++) {
		udp(r, TRIPOD_INCOMING, i, 20);
		rack_run_ms(r, 2);
	}
	rack_run_ms(r, 1500);
	uint64_t opened = rack_counter(r, -1, C_connections_opened);
	rack_port(r, 1, false);
	for (unsigned i = 0; i < N; i++) {
		udp(r, TRIPOD_OUTGOING, i, 44);
		rack_run_ms(r, 2);
	}
	rack_run_ms(r, 50);
	unsigned n = rack_arrivals(r, TRIPOD_INCOMING, a, 4096);
	for (unsigned i = 0; i < n; i++)
		right += a[i].payload_len == 44 && a[i].tuple.sport == __builtin_bswap16(53);
	assert_int_equal(right, N); // as from the VIP
	assert_int_equal(rack_counter(r, -1, C_connections_opened), opened);
	assert_true(rack_counter(r, -1, C_pulls_answered) > 0);
	rack_check(r);
	rack_free(r);
}

// A worker of a member stands still: no round is answered any more, but what its other worker has is
// found.
static void quiet__a_stalled_worker_hides_its_own_alone(void **state)
{
	enum { N = 40 };
	struct flow f[N], unknown = flow_of(9999, SERVER);
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2, .workers = 2, .seed = 80});
	unsigned opened = 0;

	rack_port(r, 0, false);
	flows_open(r, f, 0, N, SERVER); // next hops are known now
	rack_stall(r, 1, 1, true);
	rack_port(r, 1, false);
	rack_port(r, 0, true);
	flow_from_client(r, &unknown, TRIPOD_TCP_ACK, 10);
	rack_run_ms(r, 10); // a round is under way
	rack_port(r, 1, true);
	rack_port(r, 0, false);
	for (unsigned i = 0; i < N; i++) {
		f[i] = flow_of(1000 + i, SERVER);
		if (toeplitz_worker(toeplitz_tuple(&f[i].key), 2) == 0)
			f[opened++] = f[i];
	}
	assert_true(opened > 5);
	for (unsigned i = 0; i < opened; i++)
		flow_from_client(r, &f[i], TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 2);
	rack_port(r, 1, false);
	rack_port(r, 0, true);
	uint64_t served = rack_counter(r, 1, C_pulls_served);
	for (unsigned i = 0; i < opened; i++)
		flow_from_client(r, &f[i], TRIPOD_TCP_ACK, 10);
	rack_run_ms(r, 30);
	assert_int_equal(rack_counter(r, 1, C_pulls_served) - served, opened);
	rack_stall(r, 1, 1, false);
	rack_run_ms(r, 200);
	rack_check(r);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quiet__are_revealed),
		cmocka_unit_test(quiet__of_three_workers_are_revealed),
		cmocka_unit_test(quiet__unanswered_connections_are_found),
		cmocka_unit_test(quiet__a_stalled_worker_hides_its_own_alone),
	};
	return cmocka_run_group_tests_name("quiet", tests, NULL, NULL);
}
