// SPDX-License-Identifier: BSD-3-Clause
// All copies of a connection come to be equal, whoever has given them and whoever has taken over meanwhile.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/testing/forge.h"

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

static uint32_t index_of(struct rack *r, unsigned node)
{
	struct store *st = &node_shard(rack_node(r, node), 0)->store;
	struct tripod_tuple key = forge_key(1);

	return store_find_hash(st, store_hash(st, &key));
}

// A node has been given a copy, and who takes a direction over has not heard of that. Whoever wrote it, or
// the shared part, has: it is told of the take-over with the list of holders, and says what is missing there.
static void copies__who_takes_over_hears_of_all(void **state)
{
	for (unsigned giver = 0; giver < 3; giver += 2) {
		struct rack *r = rack_of((struct rack_conf){0});
		struct wire_record w = forge_record(r, 1, 0, 1);
		struct conn *c;

		w.holders = 7;
		w.flags |= WIRE_RECORD_ANSWER;
		w.version[1].writer = 2;
		for (unsigned to = 0; to < 3; to++) {
			forge(r, 3, to, &w); // of what 3 has nobody knows, but who has given it
			holders_remove(forge_find(r, to, 1, &c), 8);
			c->flags |= to == 0 ? CONN_MASTER_0 : to == 2 ? CONN_MASTER_1 : 0;
		}
		forge_find(r, 0, 1, NULL)->former = 0; // it is this life of it
		forge(r, giver, 3, &w);
		conn_hold(node_shard(rack_node(r, giver), 0), forge_find(r, giver, 1, NULL), 8);
		struct conn_repl *l = forge_find(r, 1, 1, NULL);
		holders_mark(l, HOLDER_KNOWN, l->holders);
		rack_run_ms(r, 20);
		assert_int_equal(l->holders, 7);
		conn_take_over(node_shard(rack_node(r, 1), 0), index_of(r, 1), 1);
		rack_run_ms(r, 20);
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(forge_find(r, i, 1, NULL)->part[1].writer, 1);
			assert_int_equal(forge_find(r, i, 1, NULL)->part[1].epoch, 2);
		}
		assert_int_equal(l->holders, 0xf);
		rack_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies__who_takes_over_hears_of_all),
	};
	return cmocka_run_group_tests_name("copies", tests, NULL, NULL);
}
