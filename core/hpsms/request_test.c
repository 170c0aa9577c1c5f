// SPDX-License-Identifier: BSD-3-Clause
// Requests on the real core, the two directions of each connection on two nodes.
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/forge.h"
#include "core/testing/sums.h"

// ---- One thing at a time ----

static void request__from_the_other_direction(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r), other = sums_other(r, n);

	sums_open(r, n + 1);
	sums_server(r, n, SUMS_VALUE);
	rack_run_ms(r, 5);
	sums_assert(r, n, SUMS_VALUE);
	assert_int_equal(sums.here, 0);
	assert_int_equal(rack_counter(r, (int)sums_writer(r, n), C_requests_applied), 1);
	assert_int_equal(rack_counter(r, (int)other, C_requests_tx), 1);
	assert_int_equal(
		sums_under_way(r), 1); // all copies have it, but who asked does not know yet
	sums_server(r, n, SUMS_VALUE + 1);
	rack_run_ms(r, 3);
	assert_int_equal(sums.seen[n].busy, 1);
	assert_int_equal(rack_counter(r, (int)other, C_request_busy), 1);
	rack_run_ms(r, 10);
	assert_int_equal(sums_under_way(r), 0);
	sums_server(r, n, SUMS_VALUE + 2);
	rack_run_ms(r, 5);
	sums_assert(r, n, 2 * SUMS_VALUE + 2);
	// Soft state of the node that asked is its own: no change that came has touched it.
	struct tripod_tuple key = sums_key(n);
	struct conn_view v;
	assert_true(rack_conn(r, other, &key, &v));
	assert_int_equal(((const struct sums_state *)v.nf_state)->soft, 4);
	rack_run_ms(r, 300);
	assert_int_equal(rack_counter(r, -1, C_requests_applied), 2);
	assert_int_equal(rack_counter(r, -1, C_requests_tx), 4);
	sums_done(r);
}

static void request__runs_at_once_where_it_may(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){.nodes = 2});

	sums_open(r, 1);
	sums_client(r, 0, SUMS_VALUE);
	sums_client(r, 0, SUMS_VALUE + 1);
	sums_client(r, 0, SUMS_ODD);
	rack_run_ms(r, 5);
	assert_int_equal(sums.here, 3);
	assert_int_equal(sums.seen[0].odd, 1);
	sums_assert(r, 0, 0);
	struct tripod_tuple key = sums_key(0);
	struct conn_view v;
	assert_true(rack_conn(r, (sums_writer(r, 0) + 1) % 2, &key, &v));
	assert_int_equal(
		((const struct sums_state *)v.nf_state)->own, 2 * SUMS_VALUE + 1 + SUMS_ODD);
	assert_int_equal(rack_counter(r, -1, C_requests_tx), 0);
	sums_done(r);
}

static void request__one_at_a_time(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r);

	sums_open(r, n + 1);
	sums_server(r, n, SUMS_SECOND);
	rack_run_ms(r, 30);
	sums_assert(r, n, 1);
	sums_server(r, n, SUMS_ODD);
	rack_run_ms(r, 30);
	assert_int_equal(sums.seen[n].odd, 1);
	sums_assert(r, n, 1 + SUMS_ODD);
	sums_done(r);
}

static void request__limit(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){.requests = 4});
	unsigned full = 0;

	sums_open(r, SUMS_CONNS);
	for (unsigned n = 0; n < SUMS_CONNS; n++)
		sums_server(r, n, SUMS_VALUE);
	rack_run_ms(r, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_true(node_shard(rack_node(r, i), 0)->requests.used <= 4);
	rack_run_ms(r, 60);
	for (unsigned n = 0; n < SUMS_CONNS; n++) {
		full += sums.seen[n].full;
		sums_assert(r, n, sums.seen[n].accepted);
	}
	assert_true(full > 10);
	assert_int_equal(rack_counter(r, -1, C_request_full), full);
	for (unsigned n = 0; n < SUMS_CONNS; n++) { // there is room again
		sums_server(r, n, SUMS_VALUE);
		rack_run_ms(r, 15);
		bool alone = sums_writer(r, n) == sums_other(r, n);
		assert_int_equal(sums.seen[n].accepted, alone               ? 0
							: sums.seen[n].full ? SUMS_VALUE
									    : 2 * SUMS_VALUE);
	}
	rack_run_ms(r, 60);
	sums_done(r);
}

// Soft state is of the time that a node handles a connection: both directions go, and come back.
static void soft__begins_anew(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	struct tripod_tuple key = sums_key(0);
	unsigned node = sums_writer(r, 0);
	struct conn_view v;

	sums_open(r, 1);
	for (unsigned i = 0; i < 5; i++)
		sums_client(r, 0, 1);
	rack_run_ms(r, 5);
	rack_port(r, node, false);
	sums_client(r, 0, 1);
	sums_server(r, 0, 1);
	rack_run_ms(r, 150);
	rack_port(r, node, true);
	sums_client(r, 0, 1);
	sums_client(r, 0, 1);
	rack_run_ms(r, 5);
	assert_true(rack_conn(r, node, &key, &v));
	assert_int_equal(v.master[0], node);
	assert_int_equal(((const struct sums_state *)v.nf_state)->soft, 2);
	sums_done(r);
}

// ---- What peers may say ----

static void forge_request(struct rack *r, unsigned from, unsigned to, const struct wire_request *w)
{
	uint8_t message[WIRE_MESSAGE_MAX];
	struct wire_header h = forge_header(r, from, to, WIRE_REQUEST);
	int size = wire_put_request(message + WIRE_HEADER_SIZE, 64, w);

	assert_true(size > 0);
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	forge_send(r, from, to, message, h.length);
	rack_run_ms(r, 4);
}

static struct wire_request request_of(struct rack *r, unsigned n, uint32_t seq, uint32_t value)
{
	struct tripod_tuple key = sums_key(n);
	struct wire_request w = {
		.hash = store_hash(&node_shard(rack_node(r, 0), 0)->store, &key),
		.seq = seq,
		.size = sizeof(value),
	};
	struct conn_view v;

	assert_true(rack_conn(r, sums_writer(r, n), &key, &v));
	w.incarnation = v.incarnation;
	memcpy(w.data, &value, sizeof(value));
	return w;
}

static void request__marks(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){.nodes = 7});
	unsigned writer = sums_writer(r, 0), peer[6], n = 0;

	for (unsigned i = 0; i < 7; i++) {
		if (i != writer)
			peer[n++] = i;
	}
	sums_open(r, 1);
	struct wire_request w = request_of(r, 0, 5, 1);
	forge_request(r, peer[0], writer, &w);
	assert_int_equal(sums_at(r, writer, 0), 1);
	forge_request(r, peer[0], writer, &w); // repeated
	w.seq = 4; // late
	forge_request(r, peer[0], writer, &w);
	assert_int_equal(sums_at(r, writer, 0), 1);
	w.seq = 5; // of another's
	forge_request(r, peer[1], writer, &w);
	assert_int_equal(sums_at(r, writer, 0), 2);
	w.seq = UINT32_MAX; // long before
	forge_request(r, peer[1], writer, &w);
	assert_int_equal(sums_at(r, writer, 0), 2);
	w.seq = 6;
	forge_request(r, peer[0], writer, &w);
	forge_request(r, peer[2], writer, &w);
	forge_request(r, peer[3], writer, &w);
	assert_int_equal(sums_at(r, writer, 0), 5);
	for (unsigned k = 0; k < 4; k++)
		forge_request(r, peer[k], writer,
			&(struct wire_request){w.hash, w.incarnation, 5, 0, 4, {9}});
	assert_int_equal(sums_at(r, writer, 0), 5); // four are known, whoever came first
	forge_request(r, peer[4], writer, &w); // it was peer 1 that had asked least lately
	assert_int_equal(sums_at(r, writer, 0), 6);
	forge_request(r, peer[0], writer, &w);
	forge_request(r, peer[2], writer, &w);
	forge_request(r, peer[3], writer, &w);
	assert_int_equal(sums_at(r, writer, 0), 6);
	rack_run_ms(r, 50);
	sums_assert(r, 0, 6);
	sums_done(r);
}

static void request__misdirected(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r), writer = sums_writer(r, n), other = sums_other(r, n);

	sums_open(r, n + 1);
	struct wire_request w = request_of(r, n, 5, 1), wrong = w;
	wrong.incarnation++;
	forge_request(r, other, writer, &wrong);
	wrong = w;
	wrong.hash++;
	forge_request(r, other, writer, &wrong);
	assert_int_equal(rack_counter(r, (int)writer, C_request_misdirected), 2);
	// To one who has a copy and does not write: the sender is sent the record.
	uint64_t sent = rack_counter(r, (int)other, C_log_records_tx);
	forge_request(r, writer, other, &w);
	assert_int_equal(rack_counter(r, (int)other, C_request_misdirected), 1);
	assert_int_equal(rack_counter(r, (int)other, C_log_records_tx), sent + 1);
	assert_int_equal(sums.runs, 0);
	wrong = w;
	wrong.nf = 1; // there is one
	forge_request(r, other, writer, &wrong);
	assert_int_equal(rack_counter(r, (int)writer, C_request_misdirected), 3);
	assert_int_equal(sums.runs, 0);
	forge_request(r, other, writer, &w);
	assert_int_equal(sums.runs, 1);
	rack_run_ms(r, 20);
	sums_assert(r, n, 1);
	sums_done(r);
}

// A node that starts anew counts from 1 again. What it asks for now is not what it asked for before.
static void request__of_the_next_life(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r), other = sums_other(r, n);

	sums_open(r, n + 1);
	for (unsigned i = 0; i < 3; i++) {
		sums_server(r, n, SUMS_VALUE);
		rack_run_ms(r, 20);
	}
	sums_assert(r, n, 3 * SUMS_VALUE);
	rack_kill(r, other);
	rack_run_ms(r, 300);
	rack_start(r, other);
	for (unsigned ms = 0; ms < 6000 && sums_other(r, n) != other; ms += 100)
		rack_run_ms(r, 100);
	assert_int_equal(sums_other(r, n), other);
	sums_server(r, n, SUMS_VALUE);
	rack_run_ms(r, 100);
	assert_int_equal(node_shard(rack_node(r, other), 0)->requests.seq, 1);
	sums_assert(r, n, 4 * SUMS_VALUE);
	sums_done(r);
}

// ---- Ends ----

static void terminates(struct rack_conf conf)
{
	struct rack *r = sums_rack(conf);

	sums_open(r, SUMS_CONNS);
	for (unsigned n = 0; n < SUMS_CONNS; n++)
		sums_server(r, n, SUMS_END);
	rack_run_ms(r, conf.loss_percent > 0 ? 1500 : 5);
	for (unsigned n = 0; n < SUMS_CONNS; n++) {
		struct tripod_tuple key = sums_key(n);
		assert_int_equal(rack_copies(r, &key), 0);
	}
	assert_int_equal(sums.closed, SUMS_CONNS);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_terminated), SUMS_CONNS);
	rack_run_ms(r, 200);
	sums_done(r);
}

static void request__terminate(void **state)
{
	terminates((struct rack_conf){0});
	terminates((struct rack_conf){.workers = 2, .seed = 4});
	terminates((struct rack_conf){.loss_percent = 20, .seed = 5});
}

static struct frame_spec tcp_packet(bool back, uint8_t flags, uint32_t seq, unsigned payload)
{
	return (struct frame_spec){.src = back ? SUMS_SERVER : "198.18.0.1",
		.dst = back ? "198.18.0.1" : SUMS_SERVER,
		.sport = back ? 80 : 2000,
		.dport = back ? 2000 : 80,
		.tcp_flags = flags,
		.seq = seq,
		.ack = flags & TRIPOD_TCP_ACK ? (back ? 101 : 501) : 0,
		.payload_len = payload};
}

// An NF ends a TCP connection from the other direction: at once, as everywhere, and not as if reset.
static void request__terminate_tcp(void **state)
{
	struct rack *r = NULL;
	struct frame_spec syn = tcp_packet(false, TRIPOD_TCP_SYN, 100, 0);
	struct frame_spec answer = tcp_packet(true, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 500, 0);
	struct frame_spec ack = tcp_packet(false, TRIPOD_TCP_ACK, 101, 0);
	struct frame_spec end = tcp_packet(true, TRIPOD_TCP_ACK, 501, SUMS_END);

	for (unsigned seed = 3; r == NULL; seed++) { // one that splits it
		r = sums_rack((struct rack_conf){.seed = seed});
		if (rack_hash(r, &syn, TRIPOD_INCOMING) != rack_hash(r, &answer, TRIPOD_OUTGOING))
			break;
		rack_free(r);
		r = NULL;
	}
	rack_send(r, TRIPOD_INCOMING, &syn);
	rack_run_ms(r, 60);
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 60);
	rack_send(r, TRIPOD_INCOMING, &ack);
	rack_run_ms(r, 20);
	struct tripod_tuple key = {.sport = htons(2000), .dport = htons(80), .proto = IPPROTO_TCP};
	tripod_addr_parse(&key.src, "198.18.0.1");
	tripod_addr_parse(&key.dst, SUMS_SERVER);
	assert_true(rack_copies(r, &key) >= 2);
	rack_send(r, TRIPOD_OUTGOING, &end);
	rack_run_ms(r, 5);
	assert_int_equal(rack_copies(r, &key), 0);
	assert_int_equal(sums.closed, 1);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_terminated), 1);
	assert_int_equal(rack_counter(r, -1, C_requests_tx), 1);
	rack_run_ms(r, 200);
	sums_done(r);
}

// The first request on the wire is lost.
static bool lose_first(void *ctx, unsigned from, const struct frame *f)
{
	unsigned *left = ctx;

	if (*left == 0 || rack_message(f) != WIRE_REQUEST)
		return false;
	--*left;
	return true;
}

// The life goes on under a higher number, above one that another node has opened: what has been asked for in it,
// and has come nowhere yet, is not forgotten.
static void request__goes_with_a_raised_life(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r), other = sums_other(r, n), lose = 1;
	struct tripod_tuple key = sums_key(n);
	struct shard *s = node_shard(rack_node(r, other), 0);

	sums_open(r, n + 1);
	rack_tap(r, lose_first, &lose);
	sums_server(r, n, SUMS_VALUE);
	rack_step(r);
	rack_step(r);
	assert_int_equal(lose, 0);
	for (unsigned i = 0; i < RACK_NODES; i++)
		rack_port(r, i, i == other);
	sums_client(r, n, 1);
	rack_step(r);
	struct store_hit hit = store_find(&s->store, &key, store_hash(&s->store, &key));
	assert_int_equal(hit.what, STORE_CONN);
	assert_int_equal(store_repl(&s->store, hit.index)->part[PART_SHARED].writer, other);
	assert_true(request_under_way(s, hit.index));
	conn_raise(s, hit.index, store_conn(&s->store, hit.index)->incarnation + 12345);
	repl_changed(s, hit.index, 1u << PART_SHARED);
	assert_true(request_under_way(s, hit.index));
	rack_run_ms(r, 300);
	sums_assert(r, n, SUMS_VALUE);
	sums_done(r);
}

// The writer does not hear a holder and takes it for dead, and the switch moves the direction there, where
// what was asked for has not come.
static void request__of_a_writer_that_hears_badly(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r), other = sums_other(r, n), writer = sums_writer(r, n), third = 0;
	struct shard *s = node_shard(rack_node(r, writer), 0);

	sums_open(r, n + 1);
	while (third == writer || third == other || sums_at(r, third, n) == UINT32_MAX)
		third++;
	struct ring_message dead = {.type = RING_PEER,
		.node = (uint8_t)third,
		.workers = 1,
		.hello = WIRE_HELLO_READY,
		.chains = 1};
	control_peer(s, &dead);
	sums_server(r, n, SUMS_VALUE);
	rack_run_ms(r, 40);
	assert_int_equal(sums_at(r, other, n), SUMS_VALUE);
	assert_int_equal(sums_at(r, third, n), 0);
	assert_int_equal(sums_under_way(r), 1);
	for (unsigned i = 0; i < RACK_NODES; i++)
		rack_port(r, i, i == third);
	sums_client(r, n, 1);
	rack_run_ms(r, 400);
	assert_int_equal(sums_at(r, third, n), SUMS_VALUE);
	assert_int_equal(sums_at(r, other, n), SUMS_VALUE);
	rack_run_ms(r, 600);
	sums_done(r);
}

// What was accepted before is applied before the end.
static void request__asks_and_terminates(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){.loss_percent = 20, .seed = 9});
	unsigned n = sums_split(r), lose = 1;
	struct tripod_tuple key = sums_key(n);

	sums_open(r, n + 1);
	rack_tap(r, lose_first, &lose);
	sums_server(r, n, SUMS_ASK_AND_END);
	rack_run_ms(r, 1500);
	assert_int_equal(rack_copies(r, &key), 0);
	assert_int_equal(sums.closed, 1);
	assert_int_equal(sums.closed_sum, 1000);
	assert_int_equal(lose, 0);
	rack_run_ms(r, 200);
	sums_done(r);
}

// The writer dies with the request: the next one ends the connection.
static void request__terminate_survives_the_writer(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r);
	struct tripod_tuple key = sums_key(n);

	sums_open(r, n + 1);
	rack_kill(r, sums_writer(r, n));
	sums_server(r, n, SUMS_END);
	rack_run_ms(r, 50);
	assert_true(rack_copies(r, &key) >= 1);
	rack_run_ms(r, 600);
	assert_int_equal(rack_copies(r, &key), 0);
	assert_int_equal(sums.closed, 1);
	sums_done(r);
}

// A connection that ends, or that is forgotten here, takes its request along.
static void request__ends_with_its_connection(void **state)
{
	struct rack *r = sums_rack((struct rack_conf){0});
	unsigned n = sums_split(r), writer = sums_writer(r, n), other = sums_other(r, n);

	sums_open(r, n + 1);
	rack_freeze(r, writer);
	sums_server(r, n, SUMS_VALUE);
	rack_run_ms(r, 5);
	assert_int_equal(sums_under_way(r), 1);
	rack_run_ms(r, 71); // asked at 0, 10, 30 and 70 ms
	assert_int_equal(rack_counter(r, (int)other, C_requests_tx), 4);
	// The one who asked is told that the connection has ended.
	struct shard *s = node_shard(rack_node(r, other), 0);
	struct tripod_tuple key = sums_key(n);
	struct store_hit hit = store_find(&s->store, &key, store_hash(&s->store, &key));
	conn_bury(s, hit.index, TRIPOD_TERMINATED);
	rack_run_ms(r, 90);
	assert_int_equal(s->requests.used, 0);
	assert_int_equal(rack_counter(r, (int)other, C_requests_ended), 1);
	assert_int_equal(rack_counter(r, (int)other, C_requests_tx), 4);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request__from_the_other_direction),
		cmocka_unit_test(request__runs_at_once_where_it_may),
		cmocka_unit_test(request__one_at_a_time),
		cmocka_unit_test(request__limit),
		cmocka_unit_test(soft__begins_anew),
		cmocka_unit_test(request__marks),
		cmocka_unit_test(request__misdirected),
		cmocka_unit_test(request__of_the_next_life),
		cmocka_unit_test(request__terminate),
		cmocka_unit_test(request__terminate_tcp),
		cmocka_unit_test(request__asks_and_terminates),
		cmocka_unit_test(request__goes_with_a_raised_life),
		cmocka_unit_test(request__of_a_writer_that_hears_badly),
		cmocka_unit_test(request__terminate_survives_the_writer),
		cmocka_unit_test(request__ends_with_its_connection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
