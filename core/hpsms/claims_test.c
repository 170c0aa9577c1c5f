// SPDX-License-Identifier: BSD-3-Clause
// Whose word on a connection counts, and who looks after its copies: records that come at bad moments.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/hpsms/repl.h"
#include "core/testing/flows.h"
#include "core/testing/forge.h"
#include "core/testing/settled.h"

// A record comes back to the node that wrote it in a former life. Its copy is what all have until it
// changes something; then that stands above whatever its former life has said.
static void claims__of_a_former_life(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
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

// What a node wrote in its former life it learns piece by piece, and tells those who have less of it.
static void claims__of_a_former_life_is_told(void **state)
{
	for (unsigned part = 0; part < PARTS; part++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 4, .backups = 2});
		struct wire_record w = forge_record(r, 1, 0, 1);

		w.holders = 7;
		forge(r, 3, 1, &w); // which tells node 0 of it
		rack_run_ms(r, 50);
		assert_int_equal(forge_find(r, 0, 1, NULL)->part[part].version, 0);
		w.version[part].version = 2;
		forge(r, 2, 0, &w);
		rack_run_ms(r, 50);
		assert_int_equal(forge_find(r, 0, 1, NULL)->part[part].version, 2);
		assert_int_equal(forge_find(r, 1, 1, NULL)->part[part].version, 2);
		rack_free(r);
	}
}

// Who writes a part must know of all copies, or some would miss what it writes. Whoever has given one
// says so when a record comes that does not list it.
static void claims__unlisted_holder(void **state)
{
	for (unsigned how = 0; how < 3; how++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 4});
		struct shard *s = node_shard(rack_node(r, 1), 0);
		struct wire_record w = forge_record(r, 1, 0, 1);
		struct conn *c;

		w.version[1].writer = 1;
		forge(r, 0, 1, &w);
		struct conn_repl *l = forge_find(r, 1, 1, &c);
		conn_hold(s, l, 1ull << 3);
		if (how != 1) // else a backup, who knows of it from hearsay
			c->flags |= CONN_MASTER_1;
		if (how == 2) // one more would not be kept up to date
			w.holders = 0x3fff3;
		w.version[PART_SHARED].version++;
		forge(r, 0, 1, &w);
		rack_run_ms(r, 20);
		const struct conn_repl *told = forge_find(r, 0, 1, NULL);
		if (how == 0) {
			assert_non_null(told);
			assert_true(told->holders & 1u << 3);
		} else {
			assert_null(told);
		}
		rack_free(r);
	}
}

// A node gives a copy in place of the writer, which it does not hear. Whoever gets it hears the writer, and
// tells it; not if the giver is one who tells it itself.
static void claims__writer_is_told_of_a_copy(void **state)
{
	for (unsigned how = 0; how < 4; how++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 4});
		struct wire_record w = forge_record(r, 1, 2, 1);

		w.holders = how == 1 ? 3 : 7; // though the giver has forgotten it
		if (how == 2)
			w.version[1].writer = 1;
		if (how == 3)
			w.flags |= WIRE_RECORD_ANSWER;
		forge(r, 1, 0, &w);
		rack_run_ms(r, 20);
		const struct conn_repl *told = forge_find(r, 2, 1, NULL);
		if (how < 2) {
			assert_non_null(told);
			assert_true(told->holders & 1u << 0);
		} else {
			assert_null(told);
		}
		rack_free(r);
	}
}

// Another node takes a direction over with a copy that it was given elsewhere, just when this one writes
// its own: it is sent what it lacks, as nobody else knows that it lacks it.
static void claims__new_holder_is_behind(void **state)
{
	for (unsigned part = 1; part < PARTS; part++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 3});
		struct wire_record w = forge_record(r, 1, 0, 1);
		struct conn *c;

		w.version[part].writer = 1;
		w.version[part].version = 5;
		forge(r, 0, 1, &w);
		forge_find(r, 1, 1, &c);
		c->flags |= part == 1 ? CONN_MASTER_1 : CONN_MASTER_0;
		w.version[part].version = 4;
		w.version[part == 1 ? 0 : 1] = (struct conn_version){.epoch = 2, .writer = 2};
		w.holders = 7;
		forge(r, 2, 1, &w);
		rack_run_ms(r, 20);
		const struct conn_repl *told = forge_find(r, 2, 1, NULL);
		assert_non_null(told);
		const struct conn_version *is = &forge_find(r, 1, 1, NULL)->part[part];
		assert_true(is->epoch > 1 || is->version >= 5);
		assert_int_equal(told->part[part].epoch, is->epoch);
		assert_int_equal(told->part[part].version, is->version);
		rack_free(r);
	}
}

// The former master of a direction had not told yet that it was being closed, and tells who has taken over.
// From that one the other holders hear of it, who else keep the connection for much longer.
static void claims__what_the_former_master_had_not_told(void **state)
{
	for (unsigned masters = 0; masters < 4; masters++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 3, .backups = 2});
		struct wire_record w = forge_record(r, 1, 0, 2);
		struct conn *at_0, *at_2;

		w.holders = 7;
		for (unsigned d = 0; d < 2; d++)
			w.dir[d].tcp_flags = TCP_DIR_SYN | TCP_DIR_ACK;
		forge(r, 1, 0, &w);
		forge(r, 1, 2, &w);
		const struct conn_repl *l = forge_find(r, 0, 1, &at_0);
		at_0->flags |= masters;
		w.version[0].epoch = w.version[1].epoch = 1; // as node 1 was
		w.version[0].writer = w.version[1].writer = 1;
		w.dir[1].tcp_flags |= TCP_DIR_FIN | TCP_DIR_FIN_ACKED;
		forge(r, 1, 0, &w);
		rack_run_ms(r, 20);
		forge_find(r, 2, 1, &at_2);
		assert_true(at_0->dir[1].tcp.flags & TCP_DIR_FIN);
		assert_int_equal(at_2->dir[1].tcp.flags & TCP_DIR_DURABLE,
			masters & CONN_MASTER_1 ? w.dir[1].tcp_flags : w.dir[0].tcp_flags);
		assert_int_equal(l->part[1].version, masters & CONN_MASTER_1 ? 1 : 0);
		assert_int_equal(l->part[0].version, 0);
		forge(r, 1, 0, &w); // once is enough
		assert_int_equal(l->part[1].version, masters & CONN_MASTER_1 ? 1 : 0);
		rack_free(r);
	}
}

// It hears of who has taken over from another holder, and tells that one all the same.
static void claims__a_third_tells_who_has_taken_over(void **state)
{
	const uint8_t open = TCP_DIR_SYN | TCP_DIR_ACK, closed = TCP_DIR_FIN | TCP_DIR_FIN_ACKED;
	struct rack *r = settled_rack((struct rack_conf){.nodes = 3, .backups = 2});
	struct wire_record w = forge_record(r, 1, 0, 2);
	struct conn *at_0, *at_1;

	w.holders = 7;
	w.dir[0].tcp_flags = w.dir[1].tcp_flags = open;
	forge(r, 1, 0, &w);
	forge_find(r, 0, 1, &at_0);
	at_0->flags |= CONN_MASTER_0 | CONN_MASTER_1;
	at_0->dir[0].tcp.flags |= closed;
	at_0->dir[1].tcp.flags |= closed;
	for (unsigned p = 0; p < PARTS; p++)
		w.version[p] = (struct conn_version){.epoch = 3, .writer = 1};
	forge(r, 2, 1, &w);
	forge_find(r, 1, 1, &at_1);
	at_1->flags |= CONN_MASTER_0 | CONN_MASTER_1;
	forge(r, 2, 0, &w);
	assert_false(at_0->flags & (CONN_MASTER_0 | CONN_MASTER_1));
	rack_run_ms(r, 20);
	for (unsigned d = 0; d < 2; d++)
		assert_int_equal(at_1->dir[d].tcp.flags & TCP_DIR_DURABLE, open | closed);
	rack_free(r);
}

// ---- One tuple, two connections ----

// An answer comes to a node that does not know its connection, and opens one of its own. When a copy of
// the real one arrives, that is the connection.
static void answer_that_opened_something(bool buried)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	static struct rack_arrival a[8];
	const struct frame_spec answer = {.proto = IPPROTO_UDP,
		.src = "10.1.0.101",
		.dst = "198.18.0.1",
		.sport = 8080,
		.dport = 1000,
		.payload_len = 8};
	unsigned to = rack_hash(r, &answer, TRIPOD_OUTGOING);
	struct wire_record w = forge_record(r, 1, !to, 1);

	w.key.proto = w.reversed.proto = IPPROTO_UDP;
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 200);
	assert_int_equal(rack_counter(r, (int)to, C_connections_opened), 1);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 8), 1);
	assert_int_not_equal(a[0].tuple.sport, htons(80)); // from elsewhere
	w.flags = 0; // of one that nobody has answered, that is not so sure
	forge(r, !to, to, &w);
	assert_int_equal(forge_state(r, to, &w.key), CONN_FREE);
	w.flags = WIRE_RECORD_ANSWERED;
	// Others have asked for it, and have a copy: they hear of its end.
	struct shard *s = node_shard(rack_node(r, to), 0);
	struct store_hit hit =
		store_find(&s->store, &w.reversed, store_hash(&s->store, &w.reversed));
	store_conn(&s->store, hit.index)->flags |= CONN_REPLICATED;
	conn_hold(s, store_repl(&s->store, hit.index), 1ull << !to);
	uint64_t told = rack_counter(r, (int)to, C_log_records_tx);
	if (buried) // another has told of it already
		conn_bury(s, hit.index, TRIPOD_TERMINATED);
	forge(r, !to, to, &w);
	assert_int_equal(forge_state(r, to, &w.key), CONN_LIVE);
	assert_int_equal(rack_counter(r, (int)to, C_log_records_tx), told + !buried);
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 50);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 8), 1);
	assert_int_equal(rack_counter(r, (int)to, C_connections_opened), 1);
	assert_int_equal(rack_counter(r, (int)to, C_takeovers), 1);
	rack_check(r);
	rack_free(r);
}

static void claims__answer_that_opened_something(void **state)
{
	answer_that_opened_something(false);
	answer_that_opened_something(true);
}

// A tuple is in use at the only backup. That connection cannot be kept there, but others are, at once; and
// it is tried again once a second, until there is a place.
static void claims__refused_alone(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	struct flow f[8];
	unsigned n = 0;

	for (unsigned k = 0; k < 8; k++) {
		while (flow_arrives(r, n) != 0)
			n++;
		f[k] = flow_of(n++, "10.1.0.101");
	}
	struct wire_record w = forge_record(r, 1, 0, 1);
	w.key = f[0].key; // the answers of the first flow, as if they had opened something themselves
	tripod_addr_parse(&w.key.dst, "10.1.0.101");
	w.key.dport = htons(8080);
	w.key = tripod_tuple_reverse(&w.key);
	w.key.direction = TRIPOD_OUTGOING;
	w.reversed = forge_key(9);
	forge(r, 0, 1, &w);
	assert_int_equal(forge_state(r, 1, &w.key), CONN_LIVE);
	for (unsigned k = 0; k < 8; k++) {
		unsigned flow = ntohs(f[k].key.sport) - 10000;
		assert_int_equal(flows_open(r, &f[k], flow, 1, "10.1.0.101"), 1);
		assert_int_equal(rack_copies(r, &f[k].key), k == 0 ? 1 : 2);
	}
	uint64_t refused = rack_counter(r, 1, C_log_records_refused);
	rack_run_ms(r, 3000);
	assert_in_range(rack_counter(r, 1, C_log_records_refused) - refused, 2, 3);
	conn_free(node_shard(rack_node(r, 1), 0), forge_index(r, 1, &w.key));
	rack_run_ms(r, 1200);
	assert_int_equal(rack_copies(r, &f[0].key), 2);
	rack_free(r);
}

// What one node after the other refuses for its own sake does not go round among them: it is offered to one
// other at once, and to more in the round of repair that comes then.
static void claims__refused_everywhere(void **state)
{
	for (unsigned sync = 0; sync < 2; sync++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 4, .sync = sync});
		unsigned n = 0;

		while (flow_arrives(r, n) != 0)
			n++;
		struct flow f = flow_of(n, "10.1.0.101");
		assert_int_equal(flows_open(r, &f, n, 1, "10.1.0.101"), 1);
		struct shard *s = node_shard(rack_node(r, 0), 0);
		uint32_t i = forge_index(r, 0, &f.key);
		const struct conn_repl *c = store_repl(&s->store, i);
		uint64_t first = c->holders & ~1ull;
		assert_int_equal(__builtin_popcountll(first), 1);
		if (sync) // packets wait for the copies
			repl_changed(s, i, 1);
		repl_no_room(s, i, (unsigned)__builtin_ctzll(first), true);
		uint64_t second = c->holders & ~1ull;
		assert_int_equal(__builtin_popcountll(second), 1);
		assert_true(second != first);
		repl_no_room(s, i, (unsigned)__builtin_ctzll(second), true);
		assert_true(c->holders == 1);
		assert_true(s->refusing == 0); // others are kept there
		rack_run_ms(r, 500);
		assert_true(c->holders == 1);
		rack_run_ms(r, 1000);
		assert_int_equal(rack_copies(r, &f.key), 2);
		rack_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claims__of_a_former_life),
		cmocka_unit_test(claims__of_a_former_life_is_told),
		cmocka_unit_test(claims__unlisted_holder),
		cmocka_unit_test(claims__writer_is_told_of_a_copy),
		cmocka_unit_test(claims__new_holder_is_behind),
		cmocka_unit_test(claims__what_the_former_master_had_not_told),
		cmocka_unit_test(claims__a_third_tells_who_has_taken_over),
		cmocka_unit_test(claims__answer_that_opened_something),
		cmocka_unit_test(claims__refused_alone),
		cmocka_unit_test(claims__refused_everywhere),
	};
	return cmocka_run_group_tests_name("claims", tests, NULL, NULL);
}
