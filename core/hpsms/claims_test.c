// SPDX-License-Identifier: BSD-3-Clause
// Whose word on a connection counts, and who looks after its copies: records that come at bad moments.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/testing/forge.h"

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 3;
	c.workers = 1;
	c.backups = c.backups ? c.backups : 1;
	c.seed = c.seed ? c.seed : 7;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

// A record comes back to the node that wrote it in a former life. Its copy is what all have until it
// changes something; then that stands above whatever its former life has said.
static void claims__of_a_former_life(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct wire_record w = forge_record(r, 1, 0, 3);
	struct conn *c;

	for (unsigned p = 0; p < PARTS; p++)
		w.version[p].version = 5;
	forge(r, 1, 0, &w);
	const struct conn_repl *l = forge_find(r, 0, 1, &c);
	const struct conn_version *shared = &l->part[PART_SHARED], *dir = l->part;
	assert_int_equal(shared->epoch, 3);
	assert_int_equal(shared->version, 5);
	// Something newer of that life is taken: nothing has been written here.
	w.version[PART_SHARED].version = 6;
	forge(r, 1, 0, &w);
	assert_int_equal(shared->epoch, 3);
	assert_int_equal(shared->version, 6);
	// The first change, of the shared part and of the direction that is handled here.
	c->flags |= CONN_MASTER_1;
	uint32_t i = store_find_hash(&s->store, store_hash(&s->store, &w.key));
	repl_changed(s, i, 7);
	assert_int_equal(shared->epoch, 4);
	assert_int_equal(shared->version, 1);
	assert_int_equal(dir[0].version, 5); // not this life's to write
	assert_int_equal(dir[1].version, 6);
	repl_changed(s, i, 1u << PART_SHARED);
	assert_int_equal(shared->epoch, 4);
	assert_int_equal(shared->version, 2);
	uint8_t mine = c->nf[0], foreign[WIRE_NF_MAX] = {1};
	w.nf = foreign;
	w.version[PART_SHARED] = (struct conn_version){.epoch = 9, .version = 1};
	forge(r, 1, 0, &w);
	assert_int_equal(shared->epoch, 10);
	assert_int_equal(c->nf[0], mine);
	rack_run_ms(r, 20);
	assert_int_equal(forge_find(r, 1, 1, NULL)->part[PART_SHARED].epoch, 10);
	assert_int_equal(forge_find(r, 1, 1, NULL)->part[PART_SHARED].version, shared->version);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claims__of_a_former_life),
	};
	return cmocka_run_group_tests_name("claims", tests, NULL, NULL);
}
