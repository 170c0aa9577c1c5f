// SPDX-License-Identifier: BSD-3-Clause
#include "sim/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/rack.h"

enum { SEEDS = 400 };

// Every draw is a rack that the configuration accepts, with every version of its chain.
static void options__files_are_good(void **state)
{
	const struct overrides none = OVERRIDES_NONE;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct options o;
		struct rack rack;
		options_draw(&o, seed, &none);
		char *text = rackfile_text(&o, (unsigned)(seed % 6));
		if (rack_load_text("rack.yaml", text, (int)o.nodes - 1, &rack) != 0)
			print_error("seed %u: %s\n", (unsigned)seed, rack_report(&rack));
		assert_string_equal(rack_report(&rack), "");
		assert_int_equal(rack.conf.id, o.nodes - 1);
		assert_int_equal(rack.n_nodes, o.nodes);
		assert_int_equal(rack.conf.backups, o.k);
		assert_int_equal(rack.conf.connections, o.connections);
		rack_free(&rack);
		free(text);
	}
}

static void options__within_bounds(void **state)
{
	const struct overrides none = OVERRIDES_NONE;
	unsigned nodes[SIM_NODES_MAX + 1] = {0}, models[ECMP_MODELS] = {0},
				       fields[ECMP_FIELDS] = {0};
	uint32_t faults = 0, requests = 0, limits = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct options o;
		options_draw(&o, seed, &none);
		assert_true(o.nodes >= 2 && o.nodes <= SIM_NODES_MAX);
		assert_true(o.k >= 1 && o.k <= 3 && o.k < o.nodes);
		assert_true(o.workers >= 1 && o.workers <= SIM_WORKERS_MAX);
		assert_true(o.late == 0 || o.late < o.nodes - 1);
		assert_true(o.dead_after_ms >= 2 * o.heartbeat_ms);
		nodes[o.nodes]++;
		models[o.ecmp.model]++;
		fields[o.ecmp.fields]++;
		faults |= o.faults;
		requests += o.request_every != 0;
		limits += o.limit != 0;
	}
	assert_int_equal(faults, (1u << FAULT_KINDS) - 1);
	assert_true(requests > SEEDS / 4 && requests < SEEDS / 2);
	assert_true(limits > SEEDS / 15 && limits < SEEDS / 7);
	assert_true(nodes[2] > 0 && nodes[3] > 0);
	unsigned large = 0;
	for (unsigned n = 33; n <= SIM_NODES_MAX; n++)
		large += nodes[n];
	assert_true(large > 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(models[i] > SEEDS / 6 && fields[i] > SEEDS / 6);
}

// What the command line fixes changes nothing else.
static void options__fixed(void **state)
{
	struct overrides fixed = OVERRIDES_NONE;
	const struct overrides none = OVERRIDES_NONE;
	struct options a, b;

	fixed.workers = 3;
	fixed.model = ECMP_TWO_STAGE;
	fixed.duration_ns = 1234567890;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		options_draw(&a, seed, &none);
		options_draw(&b, seed, &fixed);
		assert_int_equal(b.workers, 3);
		assert_int_equal(b.ecmp.model, ECMP_TWO_STAGE);
		assert_int_equal(b.duration_ns, 1234567890);
		b.workers = a.workers;
		b.ecmp.model = a.ecmp.model;
		b.duration_ns = a.duration_ns;
		assert_memory_equal(&a, &b, sizeof(a));
		options_draw(&b, seed, &none);
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options__files_are_good),
		cmocka_unit_test(options__within_bounds),
		cmocka_unit_test(options__fixed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
