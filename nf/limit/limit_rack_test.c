// SPDX-License-Identifier: BSD-3-Clause
// The limit on a rack: the real NF on the real core of several nodes, which die.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/canonical.h"
#include "config/schema.h"
#include "core/testing/rack.h"

#define SERVER "10.1.0.101"
#define LIMIT 100

static struct chain chain;
static void *memory;

static void load(unsigned connections)
{
	struct arena arena = {.size = 1 << 20, .base = memory = aligned_alloc(64, 1 << 20)};
	struct tripod_nf_env env = {.arena = &arena, .slots = 1, .check = conf_check};
	char yaml[128];

	memset(memory, 0, 1 << 20);
	memset(&chain, 0, sizeof(chain));
	snprintf(yaml, sizeof(yaml), "- limit: {rules: [{connections: %u}]}", connections);
	struct conf_doc *doc = conf_load_text("chain.yaml", yaml);
	char *canonical = conf_canonical(conf_root(doc));
	assert_int_equal(chain_load(&chain, conf_root(doc), &env, canonical), 0);
	free(canonical);
	conf_free(doc);
}

static struct frame_spec syn(unsigned source, unsigned n)
{
	static char client[32];

	snprintf(client, sizeof(client), "198.18.0.%u", source);
	return (struct frame_spec){.src = client,
		.dst = SERVER,
		.sport = (uint16_t)(1024 + n),
		.dport = 80,
		.tcp_flags = TRIPOD_TCP_SYN,
		.seq = 1000};
}

// Connections of the source that get through of n new ones; each is answered.
static unsigned opened(struct rack *r, unsigned source, unsigned first, unsigned n)
{
	static struct rack_arrival a[4096];
	unsigned through = 0;

	rack_arrivals(r, TRIPOD_OUTGOING, a, 4096);
	for (unsigned k = 0; k < n; k++) {
		struct frame_spec f = syn(source, first + k);
		rack_send(r, TRIPOD_INCOMING, &f);
		if (k % 8 == 7)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 100);
	unsigned arrived = rack_arrivals(r, TRIPOD_OUTGOING, a, 4096);
	for (unsigned k = 0; k < arrived; k++) {
		struct tripod_tuple back = tripod_tuple_reverse(&a[k].tuple);
		back.direction = TRIPOD_OUTGOING;
		struct frame_spec f = {.tuple = &back,
			.tcp_flags = TRIPOD_TCP_SYN | TRIPOD_TCP_ACK,
			.seq = 5000,
			.ack = 1001};
		through += a[k].tcp_flags == TRIPOD_TCP_SYN;
		rack_send(r, TRIPOD_OUTGOING, &f);
	}
	rack_run_ms(r, 50);
	for (unsigned k = 0; k < arrived; k++) { // ... and open for two hours
		struct frame_spec f = {.tuple = &a[k].tuple,
			.tcp_flags = TRIPOD_TCP_ACK,
			.seq = 1001,
			.ack = 5001};
		rack_send(r, TRIPOD_INCOMING, &f);
	}
	rack_run_ms(r, 50);
	return through;
}

static struct rack *rack_of(unsigned nodes, unsigned workers, uint64_t seed)
{
	struct rack *r = rack_new(&(struct rack_conf){.nodes = nodes,
		.workers = workers,
		.backups = 2,
		.seed = seed,
		.nf_state_bytes = 64});

	for (unsigned i = 0; i < nodes; i++)
		rack_reconfigure(r, i, &chain);
	rack_run_ms(r, 300);
	return r;
}

static void done(struct rack *r)
{
	rack_check(r);
	assert_int_equal(rack_buffers_lost(r), 0);
	rack_free(r);
	free(memory);
}

static void limit__holds_across_nodes(void **unused)
{
	for (unsigned workers = 1; workers <= 2; workers++) {
		load(LIMIT);
		struct rack *r = rack_of(5, workers, workers);
		assert_int_equal(opened(r, 1, 0, 60), 60);
		assert_int_equal(opened(r, 1, 60, 200), LIMIT - 60);
		assert_int_equal(opened(r, 2, 0, 10), 10);
		// Every one of a source's connections counts, and questions are fewer than connections.
		uint64_t asked = rack_counter(r, -1, C_kind_asks_tx);
		assert_int_equal(opened(r, 3, 0, 50), 50);
		assert_true(rack_counter(r, -1, C_kind_asks_tx) - asked < 50);
		done(r);
	}
}

static void limit__survives_each_node(void **unused)
{
	for (unsigned dies = 0; dies < 5; dies++) {
		load(LIMIT);
		struct rack *r = rack_of(5, 1, 10 + dies);
		assert_int_equal(opened(r, 1, 0, 150), LIMIT);
		assert_int_equal(opened(r, 2, 0, 40), 40);
		rack_kill(r, dies);
		rack_run_ms(r, 300);
		assert_int_equal(opened(r, 1, 200, 50), 0);
		rack_run_ms(r, 12000); // what the dead one held counts where it is now
		assert_int_equal(opened(r, 1, 300, 50), 0);
		assert_int_equal(opened(r, 2, 100, 100), LIMIT - 40);
		done(r);
	}
}

// All of a rack is restarted one by one: nobody who knows from the beginning is left.
static void limit__survives_a_rolling_restart(void **unused)
{
	load(LIMIT);
	struct rack *r = rack_of(4, 1, 77);
	assert_int_equal(opened(r, 1, 0, 150), LIMIT);
	for (unsigned i = 0; i < 4; i++) {
		rack_kill(r, i);
		rack_run_ms(r, 1000);
		rack_start(r, i);
		rack_run_ms(r, 3000);
		assert_int_equal(opened(r, 1, 1000 + 100 * i, 50), 0);
	}
	done(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limit__holds_across_nodes),
		cmocka_unit_test(limit__survives_each_node),
		cmocka_unit_test(limit__survives_a_rolling_restart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
