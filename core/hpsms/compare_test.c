// SPDX-License-Identifier: BSD-3-Clause
// Copies of which the writer does not know, or that are there no more, found by what nodes tell of their keys; and copies
// that differ, which are looked at when records have told that did not fit together.
#include <netinet/in.h>
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

// A node has told of a key with this fingerprint, and has it not: it is asked, twice a second, and is given
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
	assert_in_range(asked, 7, 11);
	assert_null(forge_find(r, 3, 1, NULL));
	assert_int_equal(forge_find(r, 0, 1, NULL)->holders & 8, 0);
	rack_free(r);
}

static uint32_t index_of(struct rack *r, unsigned node, const struct wire_record *w)
{
	struct store *st = &node_shard(rack_node(r, node), 0)->store;

	return store_find_hash(st, store_hash(st, &w->key));
}

// Node 0 writes it all, nodes 0 and 1 have it, and each takes the other for a holder that has everything.
static struct wire_record two_copies(struct rack *r)
{
	struct wire_record w = forge_record(r, 1, 0, 1);
	struct conn *c;

	w.version[0].version = w.version[1].version = 4;
	w.dir[0].tcp_flags = w.dir[1].tcp_flags = TCP_DIR_SYN | TCP_DIR_ACK;
	w.flags |= WIRE_RECORD_ANSWER;
	for (unsigned to = 0; to < 2; to++) {
		forge(r, 3, to, &w);
		struct conn_repl *l = forge_find(r, to, 1, &c);
		holders_remove(l, 8);
		holders_mark(l, HOLDER_ACKED, 3);
		holders_mark(l, HOLDER_KNOWN, 3);
		l->former = 0; // it is of this life
		c->flags |= to == 0 ? CONN_MASTER_0 | CONN_MASTER_1 : 0;
	}
	w.flags &= (uint8_t)~WIRE_RECORD_ANSWER;
	return w;
}

// A holder has lost its copy and told nobody but by its index set: it is given one again. Of UDP, which need not be
// told, it is not asked for.
static void compare__lost_copy(void **state)
{
	for (unsigned udp = 0; udp < 2; udp++) {
		struct rack *r = rack_of((struct rack_conf){0});
		struct wire_record w = two_copies(r);
		struct shard *s = node_shard(rack_node(r, 1), 0);

		rack_run_ms(r, ANNOUNCED_MS);
		assert_int_equal(rack_counter(r, -1, C_copies_compared), 0);
		if (udp)
			store_conn(&node_shard(rack_node(r, 0), 0)->store, index_of(r, 0, &w))
				->dir[0]
				.key.proto = IPPROTO_UDP;
		s->now_ns = rack_now_ns(r);
		assert_true(conn_free(s, index_of(r, 1, &w)));
		rack_run_ms(r, 1200);
		assert_int_equal(forge_find(r, 1, 1, NULL) != NULL, !udp);
		assert_int_equal(rack_counter(r, 0, C_copies_compared) > 0, !udp);
		if (udp)
			store_conn(&node_shard(rack_node(r, 0), 0)->store, index_of(r, 0, &w))
				->dir[0]
				.key.proto = IPPROTO_TCP;
		rack_free(r);
	}
}

// Makes the copies of nodes 0 (the writer) and 1 differ, how: which the latter has acknowledged.
static void differ(struct rack *r, unsigned how)
{
	struct conn *c, *mine;
	struct conn_repl *l = forge_find(r, 1, 1, &c), *writers = forge_find(r, 0, 1, &mine);

	switch (how) {
	case 0: // of a part that a third node writes
		l->part[1].writer = writers->part[1].writer = 2;
		l->part[1].version--;
		mine->flags &= (uint8_t)~CONN_MASTER_1;
		break;
	case 1:
		c->dir[0].tcp.flags &= (uint8_t)~TCP_DIR_ACK;
		break;
	case 2:
		l->part[1] = (struct conn_version){.epoch = 2, .writer = 1};
		break;
	case 3:
		c->dir[1].tcp.flags |= TCP_DIR_FIN;
		break;
	case 4: // that has not been told yet, and can wait: no difference
		mine->dir[0].tcp.flags |= TCP_DIR_FIN;
		writers->untold |= 1;
		break;
	}
}

// Copies differ, though the writer has all acknowledged. As long as nothing contests the record nobody asks; then
// each holder is asked, and once more when something was amiss.
static void compare__contested(void **state)
{
	for (unsigned how = 0; how < 5; how++) {
		struct rack *r = rack_of((struct rack_conf){0});
		struct conn *c, *mine;

		two_copies(r);
		struct conn_repl *l = forge_find(r, 1, 1, &c),
				 *writers = forge_find(r, 0, 1, &mine);
		differ(r, how);
		rack_run_ms(r, ANNOUNCED_MS);
		assert_int_equal(rack_counter(r, -1, C_copies_compared), 0);
		assert_true(memcmp(l->part, writers->part, 2 * sizeof(l->part[0])) != 0 ||
			    c->dir[0].tcp.flags != mine->dir[0].tcp.flags ||
			    c->dir[1].tcp.flags != mine->dir[1].tcp.flags);
		writers->contested = CONTESTED;
		rack_run_ms(r, 2500);
		for (unsigned p = 0; p < PARTS; p++) {
			assert_int_equal(l->part[p].epoch, writers->part[p].epoch);
			assert_int_equal(l->part[p].version, writers->part[p].version);
			assert_int_equal(l->part[p].writer, writers->part[p].writer);
		}
		for (unsigned d = 0; d < 2 && how < 4; d++)
			assert_int_equal(
				(c->dir[d].tcp.flags ^ mine->dir[d].tcp.flags) & TCP_DIR_DURABLE,
				0);
		assert_true(c->dir[0].tcp.flags & TCP_DIR_ACK);
		assert_int_equal(!!(mine->dir[1].tcp.flags & TCP_DIR_FIN), how == 3);
		unsigned walks = how == 4 ? 1 : how == 0 ? 3 : 2; // the third node is asked, too
		assert_int_equal(rack_counter(r, -1, C_copies_compared), walks);
		assert_int_equal(writers->contested, 0);
		rack_free(r);
	}
}

// A record that did not fit contests the one that is here: of a claim that has lost, or of another life, whichever
// goes on. Not one that is merely older.
static void compare__what_contests(void **state)
{
	for (unsigned how = 0; how < 5; how++) {
		struct rack *r = rack_of((struct rack_conf){0});
		struct wire_record w = two_copies(r);
		struct conn *c;
		struct conn_repl *l = forge_find(r, 0, 1, &c);

		assert_int_equal(l->contested, 0);
		if (how == 1)
			differ(r, 0);
		w.version[1] = l->part[1];
		w.version[1].version -= how == 1;
		l->part[1].epoch += how == 2; // taken over here, and told nobody yet
		w.incarnation += how > 2 ? 1 << 6 : 0;
		w.dir[0].age_ms = how == 4 ? 5000 : 0;
		forge(r, 1, 0, &w);
		assert_int_equal(c->incarnation > w.incarnation, how == 4);
		assert_int_equal(forge_find(r, 0, 1, NULL)->contested, how < 2 ? 0 : CONTESTED);
		rack_free(r);
	}
}

// Each holder is asked for what it is to have, in one message.
static void compare__several(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct conn_repl *l[3];
	uint64_t served;

	for (unsigned n = 0; n < 3; n++) {
		struct wire_record w = forge_record(r, n + 1, 0, 1);
		w.holders = n == 0 ? 1 | 2 : 1 | 4;
		w.flags |= WIRE_RECORD_ANSWER;
		for (unsigned to = 0; to < 3;
			to++) // also to who is no holder of it, and has not told yet
			forge(r, 3, to, &w);
		l[n] = forge_find(r, 0, n + 1, NULL);
		holders_remove(l[n], 8);
		l[n]->former = 0;
		l[n]->contested = 1;
	}
	served = rack_counter(r, 2, C_pulls_served);
	rack_run_ms(r, 600);
	assert_int_equal(rack_counter(r, 0, C_copies_compared), 3);
	assert_int_equal(rack_counter(r, 2, C_pulls_served) - served, 2);
	assert_int_equal(rack_counter(r, 1, C_pulls_served), 1);
	assert_int_equal(rack_counter(r, 3, C_pulls_served), 0);
	rack_free(r);
}

// No frame is left for the question: it is asked in the next walk.
static void compare__no_frames(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct wire_record w = two_copies(r);
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct conn_repl *l = forge_find(r, 0, 1, NULL);
	struct step none = {.n_spare = 0}, *step = s->step;

	l->contested = 1;
	s->step = &none;
	s->census.at = 0;
	s->compare.next_ns = 0;
	compare_begin(s);
	compare_look(s, index_of(r, 0, &w));
	assert_int_equal(s->compare.n, 1);
	compare_end(s);
	assert_int_equal(l->contested, 1);
	s->step = step;
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compare__two_lives),
		cmocka_unit_test(compare__unknown_copy),
		cmocka_unit_test(compare__misled),
		cmocka_unit_test(compare__lost_copy),
		cmocka_unit_test(compare__contested),
		cmocka_unit_test(compare__what_contests),
		cmocka_unit_test(compare__several),
		cmocka_unit_test(compare__no_frames),
	};
	return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
