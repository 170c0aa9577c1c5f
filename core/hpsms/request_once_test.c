// SPDX-License-Identifier: BSD-3-Clause
// Requests are applied exactly once: with loss, while their writer is killed at any moment, while roles move.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/sums.h"

// ---- Exactly once ----

static void request__with_loss(void **state)
{
	for (unsigned seed = 20; seed < 23; seed++) {
		struct rack *r = sums_rack((struct rack_conf){
			.seed = seed, .loss_percent = 15, .workers = 1 + seed % 2});
		uint64_t total = 0;
		sums_open(r, SUMS_CONNS);
		for (unsigned round = 0; round < 40; round++) {
			for (unsigned n = 0; n < SUMS_CONNS; n++)
				sums_server(r, n, SUMS_VALUE + round);
			rack_run_ms(r, 7);
			rack_check(r);
		}
		rack_run_ms(r, 2000);
		for (unsigned n = 0; n < SUMS_CONNS; n++) {
			sums_assert(r, n, sums.seen[n].accepted);
			total += sums.seen[n].accepted;
		}
		assert_true(sums.runs - sums.here > 300);
		// Nobody has died: nothing was applied twice, not even where it did not last.
		assert_int_equal(rack_counter(r, -1, C_requests_applied), sums.runs - sums.here);
		assert_true(rack_counter(r, -1, C_requests_tx) > 2 * (sums.runs - sums.here));
		assert_true(total > 0);
		sums_done(r);
	}
}

// A shared part that changes all the time is never acknowledged as a whole. Requests go on.
static void request__of_a_restless_connection(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r);

	sums_open(r, n + 1);
	for (unsigned step = 0; step < 14000; step++) { // of 50 us
		if (step % 4 == 0)
			sums_client(r, n, SUMS_VALUE);
		if (step % 200 == 0)
			sums_server(r, n, SUMS_VALUE + 1);
		rack_step(r);
	}
	assert_int_equal(rack_counter(r, (int)sums_writer(r, n), C_requests_applied), 2);
	rack_run_ms(r, 700);
	sums_assert(r, n, sums.seen[n].accepted);
	sums_done(r);
}

// What a node that has died had accepted may be lost with it; all else is there once.
static unsigned check_sums(struct rack *r, uint64_t dead)
{
	unsigned exact = 0;

	for (unsigned n = 0; n < SUMS_CONNS; n++) {
		if (sums.seen[n].at & dead)
			continue;
		// What ran at once where the writer had died is asked for again if that is lost.
		uint32_t sum = UINT32_MAX, least = sums.seen[n].accepted;
		for (unsigned i = 0; i < 5 && sum == UINT32_MAX; i++)
			sum = rack_node(r, i) != NULL ? sums_at(r, i, n) : UINT32_MAX;
		assert_true(sum >= least && sum <= least + sums.seen[n].adopted);
		sums_assert(r, n, sum);
		exact += sums.seen[n].accepted > 0;
	}
	return exact;
}

// Requests from one direction while the node that writes is killed after so many steps.
static unsigned killed_after(struct rack_conf conf, unsigned steps, bool talk)
{
	conf.nodes = 5;
	struct rack *r = sums_rack(conf);
	unsigned victim = sums_writer(r, sums_split(r));

	sums_open(r, SUMS_CONNS);
	for (unsigned step = 0; step < 400; step++) {
		for (unsigned n = step % 8; n < SUMS_CONNS; n += 8)
			sums_server(r, n, SUMS_VALUE + step % 50);
		if (step == 60 + steps)
			rack_kill(r, victim);
		rack_step(r);
	}
	for (unsigned ms = 0; ms < 600; ms += 5) { // the switch and the others come to know
		for (unsigned n = 0; n < SUMS_CONNS; n++) {
			sums_server(r, n, SUMS_VALUE);
			if (talk)
				sums_client(r, n, 1);
		}
		rack_run_ms(r, 5);
	}
	rack_run_ms(r, 1500);
	unsigned exact = check_sums(r, 1ull << victim);
	assert_int_equal(rack_counter(r, -1, C_requests_ended), 0);
	assert_true(sums.runs > sums.here);
	sums_done(r);
	return exact;
}

static void request__writer_killed_at_any_moment(void **state)
{
	unsigned exact = 0;

	for (unsigned steps = 0; steps < 240; steps += 12)
		exact += killed_after((struct rack_conf){.seed = 30 + steps % 5}, steps, steps & 4);
	assert_true(exact > 300);
}

static void request__writer_killed_with_loss(void **state)
{
	for (unsigned steps = 0; steps < 240; steps += 17)
		killed_after((struct rack_conf){.seed = 50 + steps % 7, .loss_percent = 15}, steps,
			steps & 1);
}

// The switch moves directions again and again: who asks changes, and who is asked.
static void moved(struct rack_conf conf)
{
	conf.nodes = 5;
	struct rack *r = sums_rack(conf);
	struct rng rng = {conf.seed};

	sums_open(r, SUMS_CONNS);
	for (unsigned round = 0; round < 60; round++) {
		unsigned node = rng_below(&rng, 5);
		rack_port(r, node, false);
		for (unsigned k = 0; k < 6; k++) {
			for (unsigned n = 0; n < SUMS_CONNS; n++) {
				if (rng_below(&rng, 3) == 0)
					sums_client(r, n, rng_below(&rng, 2) ? 1 : SUMS_VALUE);
				sums_server(r, n, SUMS_VALUE + 1);
			}
			rack_run_ms(r, 1 + rng_below(&rng, 30));
		}
		rack_port(r, node, true);
		rack_run_ms(r, rng_below(&rng, 20));
	}
	rack_run_ms(r, 2000);
	unsigned applied = (unsigned)rack_counter(r, -1, C_requests_applied);
	assert_true(applied > 500);
	unsigned wrong = 0;
	for (unsigned n = 0; n < SUMS_CONNS; n++) {
		uint32_t sum = sums_at(r, sums_writer(r, n), n);
		wrong += sum != sums.seen[n].accepted;
		if (sum != sums.seen[n].accepted)
			print_message("seed %u connection %u: %u, not %u\n", (unsigned)conf.seed, n,
				sum, sums.seen[n].accepted);
	}
	assert_int_equal(wrong, 0);
	sums_done(r);
}

static void request__roles_move(void **state)
{
	moved((struct rack_conf){.seed = 70});
	moved((struct rack_conf){.seed = 71, .workers = 2});
}

static bool lose_fabric(void *ctx, unsigned from, const struct frame *f)
{
	return f->vlan == 30;
}

// No node hears another. Who asks becomes the writer, and nobody has heard of what it has written when what was written
// elsewhere wins.
static void request__while_nobody_is_heard(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r), writer = sums_writer(r, n), other = sums_other(r, n);

	sums_open(r, n + 1);
	rack_tap(r, lose_fabric, NULL);
	sums_server(r, n, SUMS_VALUE);
	rack_run_ms(r, 5);
	rack_port(r, writer, false);
	for (unsigned k = 0; k < 5; k++)
		sums_client(r, n, SUMS_VALUE + 1);
	rack_run_ms(r, 700);
	assert_int_equal(sums_at(r, other, n), SUMS_VALUE);
	assert_int_equal(sums_at(r, sums_writer(r, n), n), 0);
	rack_tap(r, NULL, NULL);
	rack_run_ms(r, 2500);
	sums_assert(r, n, SUMS_VALUE);
	sums_done(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request__with_loss),
		cmocka_unit_test(request__of_a_restless_connection),
		cmocka_unit_test(request__writer_killed_at_any_moment),
		cmocka_unit_test(request__writer_killed_with_loss),
		cmocka_unit_test(request__roles_move),
		cmocka_unit_test(request__while_nobody_is_heard),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
