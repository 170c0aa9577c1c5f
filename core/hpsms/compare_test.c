// SPDX-License-Identifier: BSD-3-Clause
// Copies of which the writer does not know: found by what nodes tell of their keys.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/testing/forge.h"

#define ANNOUNCED_MS 2500 // young no longer, and a walk that compares has begun

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = 4;
	c.workers = 1;
	c.backups = 1;
	c.seed = 7;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

// Two nodes have opened it, and each life has gone to a node where the other has not. Neither is in use:
// the higher one is there in the end, on all of them.
static void compare__two_lives(void **state)
{
	for (unsigned indexed = 0; indexed < 2; indexed++) {
		struct rack *r = rack_of((struct rack_conf){.no_index = !indexed});
		struct wire_record w = forge_record(r, 1, 0, 1);

		w.holders = 3;
		forge(r, 0, 1, &w);
		forge(r, 1, 0, &w);
		w.incarnation = 2000;
		w.holders = 12;
		for (unsigned p = 0; p < PARTS; p++)
			w.version[p].writer = 2;
		forge(r, 2, 3, &w);
		forge(r, 3, 2, &w);
		rack_run_ms(r, ANNOUNCED_MS);
		for (unsigned i = 0; i < 4; i++) {
			struct conn *c;
			assert_non_null(forge_find(r, i, 1, &c));
			assert_int_equal(c->incarnation, indexed || i > 1 ? 2000 : 1000);
		}
		rack_check(r);
		rack_free(r);
	}
}

// A node has a copy, and who gave it has told nobody. The writer comes to know of it, and keeps it up to
// date; it asks no more then.
static void compare__unknown_copy(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);

	w.holders = 3;
	forge(r, 0, 1, &w);
	forge(r, 1, 0, &w);
	w.flags |= WIRE_RECORD_ANSWER;
	forge(r, 1, 3, &w);
	rack_run_ms(r, 100);
	struct conn_repl *l = forge_find(r, 0, 1, NULL);
	assert_int_equal(l->holders, 3);
	struct shard *s = node_shard(rack_node(r, 0), 0);
	repl_changed(
		s, store_find_hash(&s->store, store_hash(&s->store, &w.key)), 1u << PART_SHARED);
	rack_run_ms(r, ANNOUNCED_MS);
	assert_int_equal(l->holders & 8, 8);
	assert_int_equal(forge_find(r, 3, 1, NULL)->part[PART_SHARED].epoch, 2);
	uint64_t before = rack_counter(r, -1, C_copies_compared);
	assert_true(before > 0);
	rack_run_ms(r, 3000);
	assert_int_equal(rack_counter(r, -1, C_copies_compared), before);
	rack_free(r);
}

// A node has told of a key with this fingerprint, and has it not: it is asked, once a second, and is given
// nothing.
static void compare__misled(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);

	w.holders = 3;
	forge(r, 1, 3, &w);
	rack_run_ms(r, ANNOUNCED_MS);
	struct shard *s = node_shard(rack_node(r, 3), 0);
	uint32_t i = store_find_hash(&s->store, store_hash(&s->store, &w.key));
	s->index.what[i] = 0; // it forgets that it has told
	s->now_ns = rack_now_ns(r);
	assert_true(conn_free(s, i));
	for (unsigned n = 0; n < 4; n++) {
		if (n != 3 && forge_find(r, n, 1, NULL) != NULL)
			holders_remove(forge_find(r, n, 1, NULL), 8);
	}
	forge(r, 1, 0, &w);
	uint64_t before = rack_counter(r, -1, C_copies_compared);
	rack_run_ms(r, 5000);
	uint64_t asked = rack_counter(r, -1, C_copies_compared) - before;
	assert_in_range(asked, 3, 6);
	assert_null(forge_find(r, 3, 1, NULL));
	assert_int_equal(forge_find(r, 0, 1, NULL)->holders & 8, 0);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compare__two_lives),
		cmocka_unit_test(compare__unknown_copy),
		cmocka_unit_test(compare__misled),
	};
	return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
