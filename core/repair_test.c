// SPDX-License-Identifier: BSD-3-Clause
// How soon what has lost a copy has another, and what that costs: 100 000 connections, in virtual time.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/rack.h"

#define NODES 4
#define LOST 100000 // connections that lose a copy
#define LINK_BYTES_PER_S (10000000000ull / 8)

static void udp(struct rack *r, unsigned n, bool answer)
{
	char client[20];

	snprintf(client, sizeof(client), "198.%u.%u.%u", 18 + (n >> 16 & 1), n >> 8 & 255, n & 255);
	rack_send(r, answer ? TRIPOD_OUTGOING : TRIPOD_INCOMING,
		&(struct frame_spec){.proto = 17,
			.src = answer ? "10.1.0.101" : client,
			.dst = answer ? client : "198.51.100.1",
			.sport = (uint16_t)(answer ? 8080 : 1000 + (n >> 17)),
			.dport = (uint16_t)(answer ? 1000 + (n >> 17) : 80),
			.payload_len = 8});
}

// What the gauges would say if they were not refreshed by a slow walk.
struct tables {
	uint64_t live, unprotected; // records; of those who look after them, with no copy elsewhere
};

static struct tables look(struct rack *r)
{
	struct tables sum = {0};

	for (unsigned i = 0; i < NODES; i++) {
		if (rack_node(r, i) == NULL)
			continue;
		const struct shard *s = node_shard(rack_node(r, i), 0);
		for (uint32_t k = 1; k <= s->store.highest; k++) {
			const struct conn *c = store_conn(&s->store, k);
			const struct conn_repl *l = store_repl(&s->store, k);
			if (c->state != CONN_LIVE)
				continue;
			sum.live++;
			sum.unprotected += l->part[PART_SHARED].writer == i &&
					   (holders_with(l, HOLDER_ACKED) & shard_takers(s)) == 0;
		}
	}
	return sum;
}

// Connections of which the node that is to die has the copy or is master: half of all of them, where
// each is on two nodes of four.
static void open_all(struct rack *r)
{
	static struct rack_arrival a[4096];

	for (unsigned n = 0; n < 2 * LOST; n++) {
		udp(r, n, false);
		if (n % 64 != 63)
			continue;
		rack_step(r);
		rack_step(r);
		for (unsigned k = n - 63; k <= n; k++)
			udp(r, k, true);
		rack_step(r);
		rack_step(r);
		rack_arrivals(r, TRIPOD_INCOMING, a, 4096);
		rack_arrivals(r, TRIPOD_OUTGOING, a, 4096);
	}
	rack_run_ms(r, 100);
}

static void repair__a_hundred_thousand(void **state)
{
	struct rack *r = rack_new(&(struct rack_conf){.nodes = NODES,
		.workers = 1,
		.backups = 1,
		.seed = 5,
		.connections = 150000,
		.repair_per_s = 50000});
	uint64_t bytes[NODES];

	rack_run_ms(r, 12000); // settled: UDP opens at once
	open_all(r);
	assert_int_equal(look(r).live, 4 * LOST);
	assert_int_equal(look(r).unprotected, 0);
	uint64_t lost = node_shard(rack_node(r, 3), 0)->store.used;
	assert_true(lost >= LOST * 9 / 10);
	rack_kill(r, 3);
	for (unsigned i = 0; i < 3; i++)
		bytes[i] = rack_counter(r, (int)i, C_control_tx_bytes);
	// What the dead node mastered is looked after by who has the copy, packets or not.
	struct tables now;
	unsigned ms = 0;
	do {
		rack_run_ms(r, 100);
		ms += 100;
		now = look(r);
	} while (ms < 5000 && (now.live < 4 * LOST || now.unprotected > 0));
	printf("%lu connections lost a copy: all have two again after %u ms\n", (unsigned long)lost,
		ms);
	assert_int_equal(now.live, 4 * LOST);
	assert_int_equal(now.unprotected, 0);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t sent = rack_counter(r, (int)i, C_control_tx_bytes) - bytes[i];
		uint64_t allowed = LINK_BYTES_PER_S / 10 * ms / 1000;
		assert_true(sent < allowed);
	}
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(repair__a_hundred_thousand),
	};
	return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
