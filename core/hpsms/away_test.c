// SPDX-License-Identifier: BSD-3-Clause
// Nodes that were away: what has ended meanwhile does not come back with them, what lives does not end.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"

#define SERVER "10.1.0.101"
#define FLOWS 24
#define FORGOTTEN_MS (12500 + 5000 + 500) // after TCP's end, on copies too; of the test rack

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 3;
	c.workers = c.workers ? c.workers : 1;
	c.seed = c.seed ? c.seed : 11;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

// Records of any state that a node has.
static unsigned records(struct rack *r, unsigned i)
{
	unsigned n = 0;

	for (unsigned w = 0; w < node_shard(rack_node(r, i), 0)->conf->workers; w++)
		n += node_shard(rack_node(r, i), w)->store.used;
	return n;
}

static unsigned alive(struct rack *r, unsigned i, const struct flow *f, unsigned n)
{
	unsigned count = 0;
	struct conn_view v;

	for (unsigned k = 0; k < n; k++)
		count += rack_conn(r, i, &f[k].key, &v) && v.state == CONN_LIVE;
	return count;
}

static unsigned node_of(struct rack *r, const struct flow *f)
{
	struct frame_spec s = {.src = f->client, .dst = FLOWS_VIP, .sport = f->port, .dport = 80};

	return rack_hash(r, &s, TRIPOD_INCOMING);
}

// A node stands still while others open connections, of which logs come to lie in its queue, end and
// forget them.
static void away__an_old_queue_revives_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.backups = 2});
	struct flow f[FLOWS];
	unsigned n = 0;

	rack_freeze(r, 2);
	for (unsigned k = 0; n < FLOWS; k++) {
		f[n] = flow_of(k, SERVER);
		if (node_of(r, &f[n]) == 2)
			continue;
		flow_from_client(r, &f[n], TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 1);
		n++;
	}
	rack_run_ms(r, 2);
	for (unsigned k = 0; k < n; k++)
		flow_from_server(r, &f[k], TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 2);
	for (unsigned k = 0; k < n; k++)
		flow_from_client(r, &f[k], TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 2);
	flows_close(r, f, n);
	assert_int_equal(alive(r, 0, f, n), n); // two copies each, and some lie in the queue
	assert_int_equal(alive(r, 2, f, n), 0);
	rack_run_ms(r, FORGOTTEN_MS);
	assert_int_equal(records(r, 0) + records(r, 1), 0);
	uint64_t heard = rack_counter(r, 2, C_control_rx_packets);
	rack_thaw(r, 2);
	rack_step(r);
	rack_step(r);
	assert_true(rack_counter(r, 2, C_control_rx_packets) > heard); // what lay there
	for (unsigned ms = 0; ms < 1000; ms += 20) {
		rack_run_ms(r, 20);
		assert_int_equal(records(r, 0) + records(r, 1) + records(r, 2), 0);
	}
	rack_check(r);
	rack_free(r);
}

// Node 2 has copies of all, and stands still for ms; then the others restart one after the other, so
// that it would look after them.
static void away_and_restarts(struct rack *r, unsigned ms)
{
	rack_freeze(r, 2);
	rack_run_ms(r, ms);
	rack_thaw(r, 2);
	rack_run_ms(r, 500);
	for (unsigned i = 0; i < 2; i++) {
		rack_kill(r, i);
		rack_run_ms(r, 300);
		rack_start(r, i);
		rack_run_ms(r, 700);
	}
}

// Connections that end while a holder of copies is away, so long that nobody remembers them.
static void away__a_forgotten_life_is_not_passed_on(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.backups = 2});
	struct flow f[FLOWS];

	assert_int_equal(flows_open(r, f, 0, FLOWS, SERVER), FLOWS);
	assert_int_equal(alive(r, 2, f, FLOWS), FLOWS);
	rack_freeze(r, 2);
	rack_run_ms(r, 300);
	flows_exchange(r, f, FLOWS); // those of node 2 move
	flows_close(r, f, FLOWS);
	away_and_restarts(r, FORGOTTEN_MS);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(alive(r, i, f, FLOWS), 0);
	assert_true(rack_counter(r, 2, C_copies_forsaken) > 0);
	rack_check(r);
	rack_free(r);
}

// The same, but they go on, without a packet.
static void away__what_lives_is_kept(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.backups = 2});
	struct flow f[FLOWS];

	assert_int_equal(flows_open(r, f, 0, FLOWS, SERVER), FLOWS);
	away_and_restarts(r, FORGOTTEN_MS);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(alive(r, i, f, FLOWS), FLOWS);
	assert_int_equal(rack_counter(r, -1, C_copies_forsaken), 0);
	assert_int_equal(flows_exchange(r, f, FLOWS), FLOWS);
	rack_check(r);
	rack_free(r);
}

// Another node was away, which had none of them. Then who has the other copy of each starts anew: it
// denies what it cannot know, and so do those that never had one.
static void away__the_last_copy_is_kept(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 4, .backups = 1});
	struct flow f[FLOWS];
	unsigned n = 0;

	for (unsigned k = 0; n < FLOWS; k++) {
		assert_int_equal(flows_open(r, &f[n], k, 1, SERVER), 1);
		n += alive(r, 2, &f[n], 1) == 0;
	}
	rack_freeze(r, 2);
	rack_run_ms(r, FORGOTTEN_MS);
	rack_thaw(r, 2);
	rack_run_ms(r, 500);
	rack_kill(r, 0);
	rack_run_ms(r, 10);
	rack_start(r, 0);
	rack_run_ms(r, 1000);
	assert_int_equal(rack_counter(r, -1, C_copies_forsaken), 0);
	for (unsigned k = 0; k < n; k++)
		assert_true(rack_copies(r, &f[k].key) >= 2);
	assert_int_equal(flows_exchange(r, f, n), n);
	rack_check(r);
	rack_free(r);
}

// A node comes back and finds that nobody lives who had the other copies. Who is to be given one now has
// none, of course: the last copy does not go for that.
static void away__who_is_given_a_copy_denies_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .backups = 1});
	struct flow f[FLOWS];

	rack_kill(r, 2);
	rack_run_ms(r, 500);
	assert_int_equal(flows_open(r, f, 0, FLOWS, SERVER), FLOWS);
	assert_int_equal(alive(r, 1, f, FLOWS), FLOWS);
	rack_freeze(r, 1);
	rack_run_ms(r, FORGOTTEN_MS);
	rack_freeze(r, 0);
	rack_start(r, 2);
	rack_run_ms(r, 1000);
	rack_thaw(r, 1);
	rack_run_ms(r, 1500);
	assert_int_equal(rack_counter(r, 1, C_copies_forsaken), 0);
	assert_int_equal(alive(r, 1, f, FLOWS), FLOWS);
	assert_int_equal(alive(r, 2, f, FLOWS), FLOWS);
	rack_free(r);
}

// One that never had a copy was away, and who had the other copies starts anew while it comes back: the latter is heard,
// and the former given a copy. Neither can know anything.
static void away__who_starts_anew_and_who_is_given_a_copy(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .backups = 2});
	struct flow f[FLOWS];

	rack_freeze(r, 0);
	rack_run_ms(r, 500);
	assert_int_equal(flows_open(r, f, 0, FLOWS, SERVER), FLOWS);
	assert_int_equal(alive(r, 1, f, FLOWS), FLOWS);
	assert_int_equal(alive(r, 2, f, FLOWS), FLOWS);
	rack_run_ms(r, FORGOTTEN_MS);
	rack_kill(r, 2);
	rack_start(r, 2);
	rack_thaw(r, 0);
	rack_run_ms(r, 1500);
	assert_int_equal(rack_counter(r, -1, C_copies_forsaken), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(alive(r, i, f, FLOWS), FLOWS);
	rack_free(r);
}

static bool lose_logs(void *ctx, unsigned from, const struct frame *f)
{
	return rack_message(f) == WIRE_LOG;
}

// The same when it was given one before this node was away, and has not got it yet.
static void away__who_has_not_got_its_copy_denies_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .backups = 1});
	struct flow f[FLOWS];

	rack_kill(r, 2);
	rack_run_ms(r, 500);
	assert_int_equal(flows_open(r, f, 0, FLOWS, SERVER), FLOWS);
	rack_kill(r, 0);
	rack_tap(r, lose_logs, NULL);
	rack_start(r, 2);
	rack_run_ms(r, 1000);
	rack_freeze(r, 1);
	rack_run_ms(r, FORGOTTEN_MS);
	rack_thaw(r, 1);
	rack_run_ms(r, 20);
	rack_tap(r, NULL, NULL);
	rack_run_ms(r, 1500);
	assert_int_equal(rack_counter(r, 1, C_copies_forsaken), 0);
	assert_int_equal(alive(r, 1, f, FLOWS), FLOWS);
	assert_int_equal(alive(r, 2, f, FLOWS), FLOWS);
	rack_free(r);
}

// Who asks and has none must not be given what may have ended. A late packet of such a connection comes
// to a node that has forgotten it, and to the one that was away.
static void away__late_packets_revive_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.backups = 2, .split = true});
	struct flow f[FLOWS];

	assert_int_equal(flows_open(r, f, 0, FLOWS, SERVER), FLOWS);
	rack_freeze(r, 2);
	rack_run_ms(r, 300);
	flows_exchange(r, f, FLOWS);
	flows_close(r, f, FLOWS);
	rack_run_ms(r, FORGOTTEN_MS);
	assert_int_equal(records(r, 0) + records(r, 1), 0);
	rack_thaw(r, 2);
	rack_run_ms(r, 20);
	uint64_t taken = rack_counter(r, -1, C_takeovers);
	for (unsigned k = 0; k < FLOWS; k++) {
		flow_from_client(r, &f[k], TRIPOD_TCP_ACK, 0);
		flow_from_server(r, &f[k], TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 5);
	}
	rack_run_ms(r, 500);
	assert_int_equal(alive(r, 0, f, FLOWS) + alive(r, 1, f, FLOWS), 0);
	assert_int_equal(rack_counter(r, -1, C_takeovers), taken);
	assert_true(rack_counter(r, 2, C_copies_forsaken) > 0);
	rack_check(r);
	rack_free(r);
}

// Of what never had a copy, nobody else can tell: it goes on after an absence.
static void away__the_only_record_is_kept(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .backups = 0});
	struct flow f[FLOWS];

	assert_int_equal(flows_open(r, f, 0, FLOWS, SERVER), FLOWS);
	rack_freeze(r, 0);
	rack_freeze(r, 1);
	rack_run_ms(r, 4000);
	rack_thaw(r, 0);
	rack_thaw(r, 1);
	rack_run_ms(r, 300);
	assert_int_equal(flows_exchange(r, f, FLOWS), FLOWS);
	assert_int_equal(rack_counter(r, -1, C_copies_forsaken), 0);
	rack_check(r);
	rack_free(r);
}

static void udp(struct rack *r, bool answer)
{
	rack_send(r, answer ? TRIPOD_OUTGOING : TRIPOD_INCOMING,
		&(struct frame_spec){.proto = IPPROTO_UDP,
			.src = answer ? SERVER : "198.18.0.9",
			.dst = answer ? "198.18.0.9" : FLOWS_VIP,
			.sport = answer ? 8080 : 700,
			.dport = answer ? 700 : 80,
			.payload_len = 8});
	rack_run_ms(r, 10);
}

// A master stands still, its connection goes on elsewhere. When it is back its clock says that the
// connection has timed out: that is no reason to end it for the others.
static void away__an_old_clock_ends_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.backups = 2, .udp_ms = 3000});
	struct frame_spec s = {.proto = IPPROTO_UDP,
		.src = "198.18.0.9",
		.dst = FLOWS_VIP,
		.sport = 700,
		.dport = 80};
	unsigned master = rack_hash(r, &s, TRIPOD_INCOMING), other = master ? 0 : 1;
	struct tripod_tuple key = {.sport = htons(700), .dport = htons(80), .proto = IPPROTO_UDP};
	struct conn_view before, v;

	tripod_addr_parse(&key.src, "198.18.0.9");
	tripod_addr_parse(&key.dst, FLOWS_VIP);
	udp(r, false);
	udp(r, true);
	udp(r, false);
	assert_true(rack_conn(r, other, &key, &before));
	rack_freeze(r, master);
	rack_run_ms(r, 300);
	for (unsigned n = 0; n < 8; n++) {
		udp(r, false);
		udp(r, true);
		rack_run_ms(r, 480);
	}
	rack_port(r, master, false); // no packet tells it who has taken over
	rack_thaw(r, master);
	rack_run_ms(r, 1000);
	assert_true(rack_conn(r, other, &key, &v));
	assert_int_equal(v.state, CONN_LIVE);
	assert_int_equal(v.incarnation, before.incarnation);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_timeout), 0);
	rack_check(r);
	rack_free(r);
}

// What the members' answers to questions and rounds get lost in.
static unsigned silent; // NODES_MAX: none

static bool lose_answers(void *ctx, unsigned from, const struct frame *f)
{
	uint8_t type = rack_message(f);

	return from == silent && (type == WIRE_LOG || type == WIRE_INDEX || type == WIRE_NONE);
}

static unsigned port_at_client(struct rack *r)
{
	struct rack_arrival a[16];
	unsigned n = rack_arrivals(r, TRIPOD_INCOMING, a, 16);

	return n == 0 ? 0 : ntohs(a[n - 1].tuple.sport);
}

// An answer of UDP arrives at a node that does not know its connection, and whoever knows it does not tell
// in time, though it is well: the packet is lost, and opens nothing of its own.
static void away__silence_is_no_answer(void **state)
{
	for (unsigned blind = 0; blind < 2; blind++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 2, .backups = 0});
		struct frame_spec s = {.proto = IPPROTO_UDP,
			.src = "198.18.0.9",
			.dst = FLOWS_VIP,
			.sport = 700,
			.dport = 80};
		unsigned master = rack_hash(r, &s, TRIPOD_INCOMING), other = !master;
		struct index *ix = rack_node(r, other)->index;

		silent = NODES_MAX;
		rack_tap(r, lose_answers, NULL);
		udp(r, false);
		udp(r, true);
		assert_int_equal(port_at_client(r), 80);
		silent = master;
		rack_port(r, master, false);
		uint64_t opened = rack_counter(r, other, C_connections_opened);
		for (unsigned n = 0; n < 8; n++) {
			udp(r, true);
			if (blind) { // what is known of its set says no more what it has
				ix->m[master].partial = true;
				atomic_fetch_or(&ix->blind, 1ull << master);
			}
			rack_run_ms(r, 110);
			ix->m[master].partial = false;
			atomic_store(&ix->blind, 0);
			rack_run_ms(r, 110);
		}
		assert_int_equal(port_at_client(r), 0);
		assert_int_equal(rack_counter(r, other, C_connections_opened), opened);
		assert_true(rack_counter(r, other, C_drop_wait_timeout) > 0);
		assert_int_equal(rack_counter(r, other, C_pulls_sent) > 0, blind);
		silent = NODES_MAX;
		udp(r, true);
		rack_run_ms(r, 300);
		udp(r, true);
		assert_int_equal(port_at_client(r), 80);
		assert_int_equal(rack_counter(r, other, C_connections_opened), opened);
		rack_check(r);
		rack_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(away__an_old_queue_revives_nothing),
		cmocka_unit_test(away__a_forgotten_life_is_not_passed_on),
		cmocka_unit_test(away__what_lives_is_kept),
		cmocka_unit_test(away__the_last_copy_is_kept),
		cmocka_unit_test(away__who_is_given_a_copy_denies_nothing),
		cmocka_unit_test(away__who_starts_anew_and_who_is_given_a_copy),
		cmocka_unit_test(away__who_has_not_got_its_copy_denies_nothing),
		cmocka_unit_test(away__late_packets_revive_nothing),
		cmocka_unit_test(away__the_only_record_is_kept),
		cmocka_unit_test(away__an_old_clock_ends_nothing),
		cmocka_unit_test(away__silence_is_no_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
