// SPDX-License-Identifier: BSD-3-Clause
// Who is told of the end of a connection, and what is answered to those who ask for one.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/hpsms/repl.h"
#include "core/testing/flows.h"
#include "core/testing/forge.h"
#include "core/testing/settled.h"

static uint64_t deaf; // nodes that get no logs
static unsigned mute = NODES_MAX; // a node whose logs get lost

static bool lose_logs(void *ctx, unsigned from, const struct frame *f)
{
	return rack_message(f) == WIRE_LOG && (from == mute || (deaf >> (f->data[5] - 1u) & 1));
}

// Opens a flow of which node 0 is the master, and returns a node with a copy.
static unsigned open_at_0(struct rack *r, struct flow *f)
{
	for (unsigned n = 0; n < 64; n++) {
		assert_int_equal(flows_open(r, f, n, 1, "10.1.0.101"), 1);
		struct conn_view v;
		if (rack_conn(r, 0, &f->key, &v) && (v.flags & CONN_MASTER_0))
			return (unsigned)__builtin_ctzll(v.holders & ~1ull);
	}
	fail();
	return 0;
}

static struct rack *lossy_rack(struct rack_conf c)
{
	struct rack *r = settled_rack(c);

	deaf = 0;
	mute = NODES_MAX;
	rack_tap(r, lose_logs, NULL);
	return r;
}

// A member that lives, and does not hear of the end, keeps its copy. Whoever has ended the connection does
// not forget before that one has heard, or has had time enough.
static void ends__end_is_told(void **state)
{
	struct rack *r = lossy_rack((struct rack_conf){.nodes = 2});
	struct flow f[2];

	for (unsigned n = 0; n < 2; n++) {
		assert_int_equal(open_at_0(r, &f[n]), 1);
		deaf = 1u << 1;
		conn_close(node_shard(rack_node(r, 0), 0), forge_index(r, 0, &f[n].key),
			TRIPOD_TERMINATED);
		rack_run_ms(r, n == 0 ? 12000 : 38000);
		assert_int_equal(forge_state(r, 0, &f[n].key), CONN_TOMBSTONE);
		assert_int_equal(forge_state(r, 1, &f[n].key), CONN_LIVE);
		if (n == 1)
			rack_run_ms(r, 4000); // patience has an end
		deaf = 0;
		rack_run_ms(r, 1500);
		assert_int_equal(forge_state(r, 0, &f[n].key), CONN_FREE);
		assert_int_equal(rack_counter(r, 0, C_tombstones_untold), n);
		assert_int_equal(forge_state(r, 1, &f[n].key), n == 0 ? CONN_TOMBSTONE : CONN_LIVE);
	}
	rack_check(r);
	rack_free(r);
}

// What acknowledges the record as it was before it ended here does not acknowledge the end.
static void ends__late_acknowledgement_of_the_living(void **state)
{
	struct rack *r = lossy_rack((struct rack_conf){.backups = 2});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct flow f;

	open_at_0(r, &f);
	uint32_t i = forge_index(r, 0, &f.key);
	const struct conn_repl *l = store_repl(&s->store, i);
	assert_int_equal(holders_with(l, HOLDER_ACKED), 7);
	struct wire_record w = {.op = WIRE_BURY,
		.key = f.key,
		.hash = store_hash(&s->store, &f.key),
		.incarnation = store_conn(&s->store, i)->incarnation};
	uint64_t sent = rack_counter(r, 0, C_log_messages_tx);
	repl_changed(s, i, 1);
	while (rack_counter(r, 0, C_log_messages_tx) < sent + 2)
		rack_step(r);
	deaf = 1u << 2;
	forge(r, 1, 0, &w);
	assert_int_equal(store_conn(&s->store, i)->state, CONN_TOMBSTONE);
	rack_run_ms(r, 1); // now they acknowledge what was sent before
	assert_false(holder_is(l, HOLDER_ACKED, 2));
	// It was the writer, and sees to it that the others hear.
	assert_int_equal(forge_state(r, 2, &f.key), CONN_LIVE);
	deaf = 0;
	rack_run_ms(r, 2000);
	assert_int_equal(forge_state(r, 2, &f.key), CONN_TOMBSTONE);
	rack_free(r);
}

// The master stands still, its connection goes on elsewhere, and it hears nothing of that. It does not end
// for its own silence what it is in doubt about, and it tells nobody how it was.
static void ends__silence_of_who_was_away(void **state)
{
	struct rack *r = lossy_rack((struct rack_conf){.nodes = 2, .udp_ms = 2000});
	const struct frame_spec ask = {.proto = IPPROTO_UDP,
		.src = "198.18.0.1",
		.dst = FLOWS_VIP,
		.sport = 1000,
		.dport = 80,
		.payload_len = 8};
	const struct frame_spec answer = {.proto = IPPROTO_UDP,
		.src = "10.1.0.101",
		.dst = "198.18.0.1",
		.sport = 8080,
		.dport = 1000,
		.payload_len = 8};
	unsigned m = rack_hash(r, &ask, TRIPOD_INCOMING);

	rack_send(r, TRIPOD_INCOMING, &ask);
	rack_run_ms(r, 30);
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 30);
	struct tripod_tuple key = forge_key(1);
	key.proto = IPPROTO_UDP;
	assert_int_equal(rack_copies(r, &key), 2);
	rack_run_ms(r, 300);
	rack_send(r, TRIPOD_INCOMING, &ask); // of this it would tell in a while
	rack_run_ms(r, 2);
	rack_freeze(r, m);
	deaf = 1ull << m;
	for (unsigned n = 0; n < 12; n++) {
		rack_run_ms(r, 200);
		rack_send(r, TRIPOD_INCOMING, &ask);
	}
	rack_port(r, m, false); // its flows stay where they are
	uint64_t heard = rack_counter(r, !m, C_log_records_rx);
	rack_thaw(r, m);
	rack_run_ms(r, 60);
	assert_int_equal(rack_counter(r, !m, C_log_records_rx), heard);
	assert_int_equal(forge_state(r, !m, &key), CONN_LIVE);
	deaf = 0;
	for (unsigned n = 0; n < 12; n++) {
		rack_run_ms(r, 200);
		rack_send(r, TRIPOD_INCOMING, &ask);
	}
	rack_run_ms(r, 60);
	assert_int_equal(forge_state(r, !m, &key), CONN_LIVE);
	assert_int_equal(forge_state(r, m, &key), CONN_LIVE);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_timeout), 0);
	rack_free(r);
}

// A node stands still for longer than tombstones last. The copies that were on their way to it are of what
// may have been forgotten since: they are not taken, and sent again as what they have become.
static void ends__copies_that_lay_there(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	struct flow f[2];
	unsigned first = 0;

	while (flow_arrives(r, first) != 0 || flow_arrives(r, first + 1) != 0)
		first++;
	rack_freeze(r, 1);
	assert_int_equal(flows_open(r, f, first, 2, "10.1.0.101"), 2); // and the PUTs lie there
	rack_run_ms(r, 500);
	conn_close(node_shard(rack_node(r, 0), 0), forge_index(r, 0, &f[0].key), TRIPOD_TERMINATED);
	rack_run_ms(r, 6000);
	assert_int_equal(forge_state(r, 0, &f[0].key), CONN_FREE);
	rack_thaw(r, 1);
	rack_run_ms(r, 500);
	assert_int_equal(forge_state(r, 1, &f[0].key), CONN_FREE);
	assert_int_equal(forge_state(r, 1, &f[1].key), CONN_LIVE);
	rack_free(r);
}

// ---- Answers ----

static uint8_t heads[64]; // of the first records of the LOGs that node 0 sends to node 2
static unsigned n_heads;

static bool note_heads(void *ctx, unsigned from, const struct frame *f)
{
	const uint8_t *message = f->data + 14 + 20 + 8;
	uint16_t len = (uint16_t)(f->len - (14 + 20 + 8));
	struct wire_header h;

	if (f->vlan != 30 || from != 0 || !wire_is_short(message, len))
		return false;
	int at = wire_get_short(message, len, &h);
	if (at > 0 && h.to_node == 2 && h.count > 0 && n_heads < 64)
		heads[n_heads++] = message[at];
	return false;
}

static uint8_t answer_of_0(struct rack *r, const struct tripod_tuple *key)
{
	struct wire_header h = forge_header(r, 2, 0, WIRE_PULL);
	uint8_t message[WIRE_MESSAGE_MAX];
	int size = wire_put_tuple(message + WIRE_HEADER_SIZE, WIRE_TUPLE_MAX, key);

	n_heads = 0;
	h.to_worker = WIRE_ANY;
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	forge_send(r, 2, 0, message, h.length);
	rack_run_ms(r, 1);
	assert_int_equal(n_heads, 1);
	return heads[0];
}

// A master that was away does not say that nobody can know better, before it has made sure.
static void ends__answer_of_who_was_away(void **state)
{
	enum { ANSWER = 0x10, FINAL = 0x20 };
	struct rack *r = settled_rack((struct rack_conf){0});
	struct flow f;

	rack_tap(r, note_heads, NULL);
	open_at_0(r, &f);
	assert_int_equal(answer_of_0(r, &f.key) & (ANSWER | FINAL), ANSWER | FINAL);
	rack_freeze(r, 0);
	rack_run_ms(r, 300);
	rack_thaw(r, 0);
	rack_run_ms(r, 1);
	assert_int_equal(answer_of_0(r, &f.key) & (ANSWER | FINAL), ANSWER);
	rack_run_ms(r, 300);
	assert_int_equal(flows_exchange(r, &f, 1), 1); // asks, and knows
	assert_int_equal(answer_of_0(r, &f.key) & (ANSWER | FINAL), ANSWER | FINAL);
	// Nor of what is about to end: its ports may have been opened anew.
	flow_from_client(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 20);
	assert_int_equal(answer_of_0(r, &f.key) & (ANSWER | FINAL), ANSWER);
	rack_free(r);
}

// It makes sure before it uses what it remembers, and the other one has the tombstone of it: that is an
// answer, and the packet stays here.
static void ends__what_has_ended_elsewhere(void **state)
{
	struct rack *r = lossy_rack((struct rack_conf){.nodes = 2});
	static struct rack_arrival a[8];
	struct flow f;

	open_at_0(r, &f);
	deaf = 1;
	rack_port(r, 0, false);
	assert_int_equal(flows_exchange(r, &f, 1), 1); // node 1 has taken it over
	conn_close(node_shard(rack_node(r, 1), 0), forge_index(r, 1, &f.key), TRIPOD_TERMINATED);
	rack_run_ms(r, 100);
	rack_port(r, 0, true);
	rack_port(r, 1, false);
	assert_int_equal(forge_state(r, 0, &f.key), CONN_LIVE);
	control_doubt(node_shard(rack_node(r, 0), 0), 0, true);
	rack_run_ms(r, 5);
	deaf = 0;
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
	rack_run_ms(r, 3);
	assert_int_equal(forge_state(r, 0, &f.key), CONN_TOMBSTONE);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 0);
	assert_int_equal(rack_counter(r, 0, C_pulls_answered), 1);
	rack_free(r);
}

// It makes sure, and is told of a newer life that it cannot take, being of a chain that is not here. What waits
// does not go on as of the older one: it is asked for again.
static void ends__answer_that_could_not_be_taken(void **state)
{
	struct rack *r = lossy_rack((struct rack_conf){.nodes = 2});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	static struct rack_arrival a[8];
	uint8_t nf[CHAIN_STATE_MAX];
	struct flow f;

	open_at_0(r, &f);
	const struct conn *c = store_conn(&s->store, forge_index(r, 0, &f.key));
	struct wire_record w = forge_record(r, 1, 1, 1);
	chain_pack(conn_chain(s, c), c->nf, nf);
	w.nf = nf;
	w.key = f.key;
	w.reversed = c->dir[1].key;
	w.incarnation = c->incarnation + 1;
	w.flags |= WIRE_RECORD_ANSWER | WIRE_RECORD_FINAL;
	rack_run_ms(r, 5);
	deaf = 1u << 0;
	control_doubt(s, 0, false);
	rack_arrivals(r, TRIPOD_OUTGOING, a, 8);
	rack_port(r, 1, false);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
	rack_run_ms(r, 2);
	w.chain++;
	forge(r, 1, 0, &w);
	assert_int_equal(c->incarnation, w.incarnation - 1);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 0);
	assert_int_equal(rack_counter(r, 0, C_pulls_answered), 0);
	w.chain--;
	forge(r, 1, 0, &w);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 1);
	assert_int_equal(rack_counter(r, 0, C_pulls_answered), 1);
	assert_true(c->incarnation >= w.incarnation);
	rack_free(r);
}

// A node whose messages were lost for a while asks, and is answered at once, though the window to it is full
// of what it never got.
static void ends__answer_through_a_full_window(void **state)
{
	enum { ANSWER = 0x10 };
	struct rack *r = lossy_rack((struct rack_conf){.backups = 2});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct channel *c = &s->peer[2].channel[0];
	struct flow f;

	open_at_0(r, &f);
	deaf = 1u << 2;
	for (unsigned ms = 0; ms < 3000 || !channel_full(c); ms++) {
		assert_true(ms < 10000);
		repl_changed(s, forge_index(r, 0, &f.key), 1);
		rack_run_ms(r, 1);
	}
	deaf = 0;
	rack_tap(r, note_heads, NULL);
	struct wire_header h = forge_header(r, 2, 0, WIRE_PULL);
	uint8_t message[WIRE_MESSAGE_MAX];
	int size = wire_put_tuple(message + WIRE_HEADER_SIZE, WIRE_TUPLE_MAX, &f.key);
	h.to_worker = WIRE_ANY;
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	n_heads = 0;
	forge_send(r, 2, 0, message, h.length);
	rack_run_ms(r, 1);
	bool answered = false;
	for (unsigned n = 0; n < n_heads; n++)
		answered |= (heads[n] & 3) == 1 && (heads[n] & ANSWER);
	assert_true(answered);
	rack_free(r);
}

// A member lives and has told that it has a connection, but does not answer in time: packets of it are lost,
// and open nothing of their own.
static void ends__no_answer_is_none(void **state)
{
	struct rack *r = lossy_rack((struct rack_conf){.nodes = 3});
	const struct frame_spec ask = {.proto = IPPROTO_UDP,
		.src = "198.18.0.1",
		.dst = FLOWS_VIP,
		.sport = 1000,
		.dport = 80,
		.payload_len = 8};
	const struct frame_spec answer = {.proto = IPPROTO_UDP,
		.src = "10.1.0.101",
		.dst = "198.18.0.1",
		.sport = 8080,
		.dport = 1000,
		.payload_len = 8};
	struct tripod_tuple key = forge_key(1);
	unsigned other = 0;

	key.proto = IPPROTO_UDP;
	rack_send(r, TRIPOD_INCOMING, &ask);
	rack_run_ms(r, 100);
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 3000); // announced
	assert_int_equal(rack_copies(r, &key), 2);
	while (forge_state(r, other, &key) == CONN_LIVE)
		other++;
	deaf = 1ull << other;
	for (unsigned k = 0; k < 3; k++)
		rack_port(r, k, k == other);
	for (unsigned n = 0; n < 3; n++) {
		rack_send(r, TRIPOD_INCOMING, &ask);
		rack_run_ms(r, 80);
		assert_int_equal(rack_counter(r, (int)other, C_drop_wait_timeout), n + 1);
	}
	assert_int_equal(rack_counter(r, -1, C_connections_opened), 1);
	deaf = 0;
	rack_send(r, TRIPOD_INCOMING, &ask);
	rack_run_ms(r, 40);
	assert_int_equal(rack_counter(r, (int)other, C_takeovers), 1);
	rack_free(r);
}

// The ports of a connection that has closed are opened anew, and the flow moves to a node that has a copy of
// the life before and none of this one yet.
static void ends__packets_of_the_next_life(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	struct conn_view old, new, v;
	struct flow f;

	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	flows_close(r, &f, 1);
	assert_int_equal(rack_copies(r, &f.key), 2);
	struct frame_spec s = {.src = f.client, .dst = FLOWS_VIP, .sport = f.port, .dport = 80};
	unsigned before = rack_hash(r, &s, TRIPOD_INCOMING), after = !before;
	assert_true(rack_conn(r, after, &f.key, &old));
	assert_int_equal(old.tcp, TCP_CLOSED);
	f.seq += 1u << 24;
	f.ack += 1u << 24;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_step(r);
	flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
	rack_step(r);
	assert_true(rack_conn(r, before, &f.key, &new));
	assert_true(new.incarnation > old.incarnation);
	assert_int_equal(new.tcp, TCP_SYN_RECEIVED);
	assert_true(rack_conn(r, after, &f.key, &v));
	assert_int_equal(v.incarnation, old.incarnation);
	rack_port(r, before, false);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
	rack_run_ms(r, 20);
	assert_true(rack_conn(r, after, &f.key, &v));
	assert_int_equal(v.incarnation, new.incarnation);
	assert_int_equal(v.tcp, TCP_ESTABLISHED);
	assert_int_equal(v.master[0], after);
	assert_int_equal(rack_counter(r, -1, C_epoch_conflicts), 0);
	rack_check(r);
	rack_free(r);
}

// A SYN at a node that has a copy of a connection that lives: its end may have passed elsewhere a moment ago.
static void ends__a_syn_asks_for_the_end(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	struct conn_view v;
	struct flow f;

	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	struct frame_spec s = {.src = f.client, .dst = FLOWS_VIP, .sport = f.port, .dport = 80};
	unsigned before = rack_hash(r, &s, TRIPOD_INCOMING), after = !before;
	rack_port(r, before, false);
	f.seq += 1u << 24;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 20);
	assert_int_equal(rack_counter(r, after, C_pulls_sent), 1);
	assert_true(rack_conn(r, after, &f.key, &v));
	assert_int_equal(v.master[0], after);
	assert_int_equal(v.tcp, TCP_ESTABLISHED);
	rack_check(r);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends__end_is_told),
		cmocka_unit_test(ends__late_acknowledgement_of_the_living),
		cmocka_unit_test(ends__silence_of_who_was_away),
		cmocka_unit_test(ends__copies_that_lay_there),
		cmocka_unit_test(ends__answer_of_who_was_away),
		cmocka_unit_test(ends__what_has_ended_elsewhere),
		cmocka_unit_test(ends__answer_that_could_not_be_taken),
		cmocka_unit_test(ends__answer_through_a_full_window),
		cmocka_unit_test(ends__no_answer_is_none),
		cmocka_unit_test(ends__packets_of_the_next_life),
		cmocka_unit_test(ends__a_syn_asks_for_the_end),
	};
	return cmocka_run_group_tests_name("ends", tests, NULL, NULL);
}
