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

static enum conn_state state_of(struct rack *r, unsigned node, const struct tripod_tuple *key)
{
	struct store *st = &node_shard(rack_node(r, node), 0)->store;
	uint32_t i = store_find_hash(st, store_hash(st, key));

	return i == STORE_NONE ? CONN_FREE : store_conn(st, i)->state;
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

// While the writers of a connection are not heard, another is given a copy. One of them hears of it later, from who has
// given it, and is the only one to be told: it tells the other writer, or what that writes would not come there.
static void copies__writers_tell_each_other(void **state)
{
	for (unsigned told = 0; told < 3; told += 2) {
		struct rack *r = rack_of((struct rack_conf){0});
		struct wire_record w = forge_record(r, 1, 0, 1);
		unsigned other = 2 - told, part = other == 2;
		struct conn *c;

		w.holders = 7;
		w.flags |= WIRE_RECORD_ANSWER;
		w.version[1].writer = 2;
		for (unsigned to = 0; to < 4; to++)
			forge(r, to == 1 ? 0 : 1, to, &w);
		for (unsigned n = 0; n < 3; n += 2) {
			struct conn_repl *l = forge_find(r, n, 1, &c);
			c->flags |= n == 0 ? CONN_MASTER_0 : CONN_MASTER_1;
			l->former = 0;
			holders_mark(l, HOLDER_KNOWN, l->holders); // updates are enough for them
		}
		w.holders = 0xf;
		w.flags &= (uint8_t)~WIRE_RECORD_ANSWER;
		forge(r, 1, told, &w);
		rack_run_ms(r, 20);
		repl_changed(node_shard(rack_node(r, other), 0), index_of(r, other), 1u << part);
		rack_run_ms(r, 20);
		uint32_t version = forge_find(r, other, 1, NULL)->part[part].version;
		assert_int_not_equal(version, w.version[part].version);
		assert_int_equal(forge_find(r, 3, 1, NULL)->part[part].version, version);
		rack_free(r);
	}
}

// Where nobody has room, what one writer lists and the other strikes off would be sent, and refused, without end. Who has
// refused lately is sent what is here when that is forgiven.
static void copies__who_has_refused_is_not_asked_at_once(void **state)
{
	for (unsigned alone = 0; alone < 2; alone++) {
		struct rack *r = rack_of((struct rack_conf){0});
		struct wire_record w = forge_record(r, 1, 0, 1);
		struct shard *s = node_shard(rack_node(r, 2), 0);
		struct conn *c;

		w.holders = 7;
		w.flags |= WIRE_RECORD_ANSWER;
		w.version[1].writer = 2;
		for (unsigned to = 0; to < 3; to++)
			forge(r, to == 1 ? 0 : 1, to, &w);
		struct conn_repl *l = forge_find(r, 2, 1, &c);
		c->flags |= CONN_MASTER_1;
		l->former = 0;
		l->refused = (uint8_t)(alone & 1);
		s->refusing = alone ? 0 : 1 << 3;
		s->forgive_ns = s->now_ns + 100 * MS;
		w.holders = 0xf;
		w.flags &= (uint8_t)~WIRE_RECORD_ANSWER;
		forge(r, 0, 2, &w);
		rack_run_ms(r, 50);
		assert_int_equal(l->holders, 0xf);
		assert_int_equal(state_of(r, 3, &w.key), CONN_FREE);
		rack_run_ms(r, 100);
		assert_int_equal(state_of(r, 3, &w.key), CONN_LIVE);
		rack_free(r);
	}
}

static bool lose(void *ctx, unsigned from, const struct frame *f)
{
	return f->vlan == 30 && f->class == FRAME_CONTROL && from == *(unsigned *)ctx;
}

// Node 1 says twice in one message that it has taken direction 0 over from node 0, and then that all that it was sent
// before has arrived.
static void takes_over(struct rack *r, const struct wire_record *w, unsigned times)
{
	struct wire_header h = forge_header(r, 1, 0, WIRE_LOG);
	uint8_t message[WIRE_MESSAGE_MAX];
	uint64_t chain = 0;
	uint16_t at = WIRE_HEADER_SIZE;
	const struct channel *c = &node_shard(rack_node(r, 0), 0)->peer[1].channel[0];

	for (unsigned n = 0; n < times; n++)
		at += (uint16_t)wire_put_record(message + at, WIRE_BODY_MAX - at, w, &chain);
	h.count = (uint16_t)times;
	h.seq = c->rx_ack + 1;
	rack_seal(r, &h, message, at);
	forge_send(r, 1, 0, message, h.length);
	h = forge_header(r, 1, 0, WIRE_LOG);
	h.count = 0;
	h.ack = c->next_seq - 1;
	rack_seal(r, &h, message, WIRE_HEADER_SIZE);
	forge_send(r, 1, 0, message, h.length);
}

// The former master of a direction owes the new one what it had not told. It does however often that says
// what it has, and whatever it acknowledges of what it was sent before.
static void copies__what_is_owed_is_sent(void **state)
{
	for (unsigned how = 0; how < 3; how++) {
		struct rack *r = rack_of((struct rack_conf){0});
		struct shard *s = node_shard(rack_node(r, 0), 0);
		struct wire_record w = forge_record(r, 1, 0, 1);
		unsigned from = 0, d = how == 2; // 2: of the direction alone
		struct conn *c, *at_1;

		w.holders = 7;
		w.flags |= WIRE_RECORD_ANSWER;
		w.dir[0].tcp_flags = w.dir[1].tcp_flags = TCP_DIR_SYN | TCP_DIR_ACK;
		forge(r, 2, 0, &w);
		forge(r, 2, 1, &w);
		struct conn_repl *l = forge_find(r, 0, 1, &c);
		forge_find(r, 1, 1, &at_1);
		c->flags |= CONN_MASTER_0 | CONN_MASTER_1;
		l->former = 0;
		rack_tap(r, lose, &from);
		if (how != 1) // else nothing is on its way
			repl_changed(s, index_of(r, 0), 1u << PART_SHARED);
		for (unsigned n = 0; n < 20; n++)
			rack_step(r);
		rack_tap(r, NULL, NULL);
		c->dir[d].tcp.flags |=
			TCP_DIR_FIN; // such as waits for the next change, or has not left yet
		l->untold |= 1;
		if (how == 2)
			repl_changed(s, index_of(r, 0), 1u << d);
		for (unsigned p = d; p < (how == 2 ? 2 : PARTS); p++)
			w.version[p] = (struct conn_version){.epoch = 2, .writer = 1};
		w.flags &= (uint8_t)~WIRE_RECORD_ANSWER;
		takes_over(r, &w, how == 1 ? 2 : 1);
		rack_run_ms(r, 15);
		assert_int_equal(l->part[d].writer, 1);
		assert_true(at_1->dir[d].tcp.flags & TCP_DIR_FIN);
		rack_free(r);
	}
}

static bool lose_questions(void *ctx, unsigned from, const struct frame *f)
{
	return from == 2 && rack_message(f) == WIRE_PULL;
}

// Packets wait for a copy, which comes and is gone again before they go on. It is somewhere: they open no other
// connection, which would break that one, and the next packet asks anew.
static void copies__gone_again(void **state)
{
	for (unsigned goes = 0; goes < 2; goes++) {
		struct rack *r = rack_of((struct rack_conf){.no_index = true});
		struct wire_record w = forge_record(r, 1, 0, 1);
		struct frame_spec packet = {.src = "198.18.0.1",
			.dst = "198.51.100.1",
			.proto = IPPROTO_UDP,
			.sport = 1000,
			.dport = 80,
			.payload_len = 8};
		struct shard *s = node_shard(rack_node(r, 2), 0);

		w.key.proto = w.reversed.proto = IPPROTO_UDP;
		w.flags |= WIRE_RECORD_ANSWER;
		forge(r, 3, 1, &w);
		for (unsigned i = 0; i < 4; i++)
			rack_port(r, i, i == 2);
		rack_run_ms(r, 10);
		rack_tap(r, lose_questions, NULL);
		rack_send(r, TRIPOD_INCOMING, &packet);
		rack_step(r);
		rack_step(r);
		assert_int_equal(s->pulls_asking, 1);
		forge(r, 3, 2, &w);
		assert_int_equal(s->pulls_asking, 1); // a better one may come
		uint32_t i = store_find_hash(&s->store, store_hash(&s->store, &w.key));
		assert_int_not_equal(i, STORE_NONE);
		s->now_ns = rack_now_ns(r);
		if (goes)
			assert_true(conn_free(s, i));
		rack_run_ms(r, 10);
		assert_int_equal(s->pulls_asking, 0);
		assert_int_equal(rack_counter(r, -1, C_connections_opened), 0);
		assert_int_equal(rack_counter(r, 2, C_takeovers), !goes);
		rack_tap(r, NULL, NULL);
		rack_send(r, TRIPOD_INCOMING, &packet);
		rack_run_ms(r, 20);
		assert_int_equal(rack_counter(r, -1, C_connections_opened), 0);
		assert_int_equal(rack_counter(r, 2, C_takeovers), 1);
		rack_check(r);
		rack_free(r);
	}
}

// An answer has opened something elsewhere, of which this node got a copy, and which has made way for the connection that
// it is the answer of. The next answer comes here, where nothing is known of that: it is asked for, or the answer would
// open something again. What has ended by itself is not asked for.
static void copies__of_what_has_made_way(void **state)
{
	const struct frame_spec answer = {.src = "10.1.0.101",
		.dst = "198.18.0.1",
		.proto = IPPROTO_UDP,
		.sport = 8080,
		.dport = 1000,
		.payload_len = 8};

	for (unsigned made_way = 0; made_way < 2; made_way++) {
		struct rack *r = rack_of((struct rack_conf){0});
		struct wire_record real = forge_record(r, 1, 0, 1), other;
		struct rack_arrival a[4];

		real.key.proto = real.reversed.proto = IPPROTO_UDP;
		real.flags |= WIRE_RECORD_ANSWER;
		other = real;
		other.key = real.reversed;
		other.reversed = real.key;
		other.reversed.dport = 4321;
		other.flags = 0;
		other.version[0].writer = other.version[1].writer = 2;
		other.version[PART_SHARED].writer = 2;
		forge(r, 2, 3, &other);
		assert_int_equal(state_of(r, 3, &other.key), CONN_LIVE);
		forge(r, 2, 3,
			&(struct wire_record){.op = WIRE_BURY,
				.key = other.key,
				.incarnation = other.incarnation,
				.reason = made_way ? TRIPOD_TERMINATED : TRIPOD_TIMEOUT});
		assert_int_equal(state_of(r, 3, &other.key), CONN_TOMBSTONE);
		forge(r, 0, 1, &real);
		for (unsigned i = 0; i < 4; i++)
			rack_port(r, i, i == 3);
		rack_arrivals(r, TRIPOD_INCOMING, a, 4);
		rack_send(r, TRIPOD_OUTGOING, &answer);
		rack_run_ms(r, 20);
		assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 4), 1);
		assert_int_equal(rack_counter(r, 3, C_connections_opened), !made_way);
		assert_int_equal(rack_counter(r, 3, C_takeovers), made_way);
		rack_check(r);
		rack_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies__who_takes_over_hears_of_all),
		cmocka_unit_test(copies__writers_tell_each_other),
		cmocka_unit_test(copies__who_has_refused_is_not_asked_at_once),
		cmocka_unit_test(copies__what_is_owed_is_sent),
		cmocka_unit_test(copies__gone_again),
		cmocka_unit_test(copies__of_what_has_made_way),
	};
	return cmocka_run_group_tests_name("copies", tests, NULL, NULL);
}
