// SPDX-License-Identifier: BSD-3-Clause
// First packets that wait for a grant.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/testing/forge.h"
#include "core/testing/shares.h"

// A connection that the switch sends to node 0, of a source whose entry node 1 writes, of two.
struct asks_node_1 {
	unsigned source, n;
};

static struct asks_node_1 asks_node_1(struct rack *r)
{
	struct asks_node_1 a = {.source = 1};
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct kind_node as = {.key = shares_key(r, a.source)};

	while (as.hash = kind_hash(s, &as.key), kind_order(s, &as, s->ports, 1) != 2)
		as.key = shares_key(r, ++a.source);
	struct frame_spec f = shares_packet(a.source, a.n, false, 1);
	while (rack_hash(r, &f, TRIPOD_INCOMING) != 0)
		f = shares_packet(a.source, ++a.n, false, 1);
	return a;
}

// Nobody is there to answer: after half a second the NF is told so.
static void kind__nobody_answers(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 2, .backups = 1});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct asks_node_1 a = asks_node_1(r);

	rack_kill(r, 1);
	s->live |= 2; // it is not found out
	s->ports |= 2;
	rack_node(r, 0)->members.dead_after_ns = UINT64_MAX / 2;
	shares_open = true;
	shares_client(r, a.source, a.n, 1);
	rack_run_ms(r, 500); // the first of it, for what the other one may know of the tuple
	assert_int_equal(shares_told[2], 0);
	assert_int_equal(shares_arrived(r, a.source).n, 0);
	rack_run_ms(r, 100);
	assert_int_equal(shares_told[2], 1);
	assert_int_equal(rack_counter(r, 0, C_kind_timeouts), 1);
	assert_int_equal(shares_arrived(r, a.source).n, 1);
	shares_done(r);
}

static bool lose_copies(void *ctx, unsigned from, const struct frame *f)
{
	return f->len > 98 && rack_message(f) == WIRE_KIND &&
	       f->data[42 + WIRE_HEADER_SIZE] == WIRE_KIND_COPY;
}

// While a first packet waits here, another node has opened the connection, and been answered: it goes on there.
static void kind__what_waits_gives_way(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 3});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct wire_record w = forge_record(r, 1, 1, 1);
	struct conn *c;

	w.key.proto = w.reversed.proto = IPPROTO_UDP;
	rack_port(r, 1, false);
	rack_port(r, 2, false);
	rack_run_ms(r, 50);
	kind_doubt(s); // nobody is given anything for a while
	struct frame_spec f = {.tuple = &w.key, .payload_len = 1};
	rack_send(r, TRIPOD_INCOMING, &f);
	uint32_t i;
	do {
		rack_step(r);
		i = store_find(&s->store, &w.key, store_hash(&s->store, &w.key)).index;
	} while (i == 0 ||
		 store_find(&s->store, &w.key, store_hash(&s->store, &w.key)).what != STORE_CONN);
	c = store_conn(&s->store, i);
	assert_true(c->flags & CONN_HELD);
	w.incarnation = c->incarnation - 64 * 100;
	forge(r, 1, 0, &w);
	rack_run_ms(r, 5);
	struct store_hit hit = store_find(&s->store, &w.key, store_hash(&s->store, &w.key));
	assert_int_equal(hit.what, STORE_CONN);
	c = store_conn(&s->store, hit.index);
	assert_true(c->incarnation == w.incarnation);
	assert_false(c->flags & CONN_HELD);
	rack_run_ms(r, 300);
	assert_int_equal(rack_counter(r, 0, C_kind_timeouts), 0);
	rack_check(r);
	rack_free(r);
}

// No answer that one failure could take back; but not for ever.
static void kind__answers_wait_for_copies(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 5});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct kind_node as = {.key = shares_key(r, 1)};
	struct frame_spec f = shares_packet(1, 0, false, 1);

	rack_run_ms(r, 11000); // nothing moves any more
	// From a node that is to have no copy: what goes to it is an answer and nothing else.
	as.hash = kind_hash(s, &as.key);
	uint64_t have = kind_order(s, &as, s->ports, 3);
	for (unsigned n = 1; have >> rack_hash(r, &f, TRIPOD_INCOMING) & 1; n++)
		f = shares_packet(1, n, false, 1);
	rack_tap(r, lose_copies, NULL);
	rack_send(r, TRIPOD_INCOMING, &f);
	while (rack_counter(r, -1, C_kind_applied) == 0)
		rack_step(r);
	rack_run_ms(r, 50);
	assert_int_equal(shares_arrived(r, 1).n, 0);
	rack_run_ms(r, 200);
	assert_int_equal(shares_arrived(r, 1).n, 1);
	assert_true(rack_counter(r, -1, C_kind_unprotected) > 0);
	rack_tap(r, NULL, NULL);
	rack_run_ms(r, 400);
	shares_assert_entry(r, 1, 3, 1);
	shares_done(r);
}

static bool lose_kinds(void *ctx, unsigned from, const struct frame *f)
{
	return rack_message(f) == WIRE_KIND;
}

// A grant that comes late: while flows move, what waited for it may have been opened elsewhere, and answered. So it is
// asked for again, by the next packet.
static void kind__late_grant(void **state)
{
	for (unsigned moves = 0; moves < 2; moves++) {
		struct rack *r = shares_rack((struct rack_conf){.nodes = 2, .backups = 1});
		struct shard *s = node_shard(rack_node(r, 0), 0);
		struct asks_node_1 a = asks_node_1(r);

		rack_run_ms(r, 11000);
		if (moves)
			s->unsettled_ns = UINT64_MAX;
		rack_tap(r, lose_kinds, NULL);
		shares_client(r, a.source, a.n, 1);
		rack_run_ms(r, 25);
		rack_tap(r, NULL, NULL);
		uint64_t lost = rack_counter(r, 0, C_drop_nf);
		uint64_t asked = rack_counter(r, 0, C_unknown_rounds);
		rack_run_ms(r, 200);
		assert_int_equal(shares_arrived(r, a.source).n, !moves);
		assert_int_equal(rack_counter(r, 0, C_drop_nf), lost + moves);
		shares_client(r, a.source, a.n, 1);
		rack_run_ms(r, 5);
		assert_int_equal(shares_arrived(r, a.source).n, 1);
		assert_int_equal(rack_counter(r, 0, C_unknown_rounds), asked + moves);
		assert_int_equal(rack_counter(r, -1, C_kind_timeouts), 0);
		shares_done(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kind__nobody_answers),
		cmocka_unit_test(kind__what_waits_gives_way),
		cmocka_unit_test(kind__answers_wait_for_copies),
		cmocka_unit_test(kind__late_grant),
	};

	return cmocka_run_group_tests_name("kind_wait", tests, NULL, NULL);
}
