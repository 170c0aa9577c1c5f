// SPDX-License-Identifier: BSD-3-Clause
// A node that writes entries of kinds drains: others have them then, and nothing is waited for that may
// never come.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/testing/shares.h"

static enum node_phase phase_of(struct rack *r, unsigned i)
{
	struct node_status st;

	node_status(rack_node(r, i), &st);
	return st.phase;
}

// Has given its entries away.
static void assert_given(struct rack *r, unsigned i)
{
	assert_in_range(phase_of(r, i), NODE_MOVING, NODE_DRAINED);
}

static void drain__entries_are_written_elsewhere(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 4, .seed = 7});

	assert_int_equal(shares_opened(r, 1, 0, 12).n, SHARES_MAX);
	unsigned writer = (unsigned)shares_writer(r, 1);
	node_set_draining(rack_node(r, writer), true);
	rack_run_ms(r, 2000);
	rack_kill(r, writer);
	assert_int_equal(shares_opened(r, 1, 60, 12).n, 0);
	assert_true(shares_writer(r, 1) >= 0 && (unsigned)shares_writer(r, 1) != writer);
	shares_done(r);
}

// Entries that a node's drain waits for, a millisecond later.
static uint64_t owed_by(struct rack *r, unsigned i)
{
	struct node_status st;

	rack_run_ms(r, 1);
	node_status(rack_node(r, i), &st);
	assert_in_range(st.owed_entries, 0, 1);
	return st.owed_entries;
}

// Before the port goes down as many others have an entry as are to have one when the node has gone.
static void drain__others_have_the_entries_first(void **state)
{
	unsigned told = 0;

	for (unsigned seed = 1; seed <= 20; seed++) {
		struct rack *r = shares_rack((struct rack_conf){
			.nodes = 6, .backups = 1, .seed = seed, .loss_percent = 40});
		unsigned copies = 0;

		shares_opened(r, 1, 0, 2);
		rack_run_ms(r, 500);
		unsigned writer = (unsigned)shares_writer(r, 1);
		node_set_draining(rack_node(r, writer), true);
		for (unsigned ms = 0; ms < 10000 && phase_of(r, writer) < NODE_MOVING; ms++)
			told += owed_by(r, writer);
		assert_given(r, writer);
		assert_int_equal(owed_by(r, writer), 0);
		for (unsigned i = 0; i < 6; i++)
			copies += i != writer && shares_entry(r, i, 1) != NULL;
		assert_in_range(copies, 2, 5);
		shares_done(r);
	}
	assert_true(told > 0);
}

enum { SOURCES = 24 };

// A node that is to have a copy has no room for it, and says nothing.
static void drain__no_room_for_a_copy(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 4, .kinds = 8});
	unsigned full = 0;

	shares_open = true;
	for (unsigned n = 1; n <= SOURCES; n++)
		shares_opened(r, n, 0, 1);
	rack_run_ms(r, 3000);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t before = rack_counter(r, -1, C_kind_full);
		node_set_draining(rack_node(r, i), true);
		rack_run_ms(r, 1000);
		full += rack_counter(r, -1, C_kind_full) > before;
		assert_given(r, i);
		node_set_draining(rack_node(r, i), false);
		rack_run_ms(r, 300);
	}
	assert_true(full > 0);
	shares_done(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drain__entries_are_written_elsewhere),
		cmocka_unit_test(drain__others_have_the_entries_first),
		cmocka_unit_test(drain__no_room_for_a_copy),
	};
	return cmocka_run_group_tests_name("kind_drain", tests, NULL, NULL);
}
