// SPDX-License-Identifier: BSD-3-Clause
// A rack of nodes in one process: what the product promises, on the real core in virtual time.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"

#define SERVER "10.1.0.101"
#define MAX 4096

// How many packets with `flags` and `payload` have reached a side since the last look.
static unsigned arrived(struct rack *r, enum tripod_direction side, uint8_t flags, unsigned payload)
{
	static struct rack_arrival a[MAX];
	unsigned n = rack_arrivals(r, side, a, MAX), hits = 0;

	for (unsigned i = 0; i < n; i++)
		hits += a[i].tcp_flags == flags && a[i].payload_len == payload;
	return hits;
}

static void establish(struct rack *r, struct flow *f, unsigned n)
{
	assert_int_equal(flows_open(r, f, 0, n, SERVER), n);
}

// Every connection carries data both ways.
static void exchange(struct rack *r, struct flow *f, unsigned n)
{
	assert_int_equal(flows_exchange(r, f, n), n);
}

static struct rack *rack_of(struct rack_conf c)
{
	if (c.nodes == 0)
		c.nodes = 4;
	if (c.workers == 0)
		c.workers = 1;
	if (c.backups == 0)
		c.backups = 1;
	if (c.seed == 0)
		c.seed = 42;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300); // heartbeats heard, next hops resolved by what comes first
	return r;
}

static unsigned copies_below(struct rack *r, struct flow *f, unsigned n, unsigned want)
{
	unsigned below = 0;
	for (unsigned i = 0; i < n; i++)
		below += rack_copies(r, &f[i].key) < want;
	return below;
}

static void kill_and_go_on(struct rack_conf conf)
{
	enum { N = 200 };
	struct flow f[N];
	struct rack *r = rack_of(conf);

	establish(r, f, N);
	exchange(r, f, N);
	assert_int_equal(copies_below(r, f, N, 2), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_invariant), 0);
	for (unsigned victim = 0; victim < 2; victim++) {
		rack_kill(r, victim);
		rack_run_ms(r, 400);
		exchange(r, f, N);
		exchange(r, f, N);
		assert_int_equal(copies_below(r, f, N, 2), 0);
	}
	assert_true(rack_counter(r, -1, C_takeovers) > 0);
	assert_int_equal(rack_counter(r, -1, C_drop_invariant), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_unknown), 0);
	rack_free(r);
}

static void rack__kill_two_of_four(void **state)
{
	kill_and_go_on((struct rack_conf){0});
}

static void rack__kill_with_loss(void **state)
{
	kill_and_go_on((struct rack_conf){.loss_percent = 10, .seed = 43});
}

static void rack__kill_with_split_directions(void **state)
{
	kill_and_go_on((struct rack_conf){.split = true, .seed = 44});
}

static void rack__kill_with_three_workers(void **state)
{
	kill_and_go_on((struct rack_conf){.workers = 3, .seed = 45});
}

static void rack__kill_split_workers_loss(void **state)
{
	kill_and_go_on((struct rack_conf){
		.workers = 2, .split = true, .loss_percent = 5, .seed = 46, .backups = 2});
}

// The parts of all copies of a connection, to be compared; 0: they differ.
static uint64_t copies_agree(struct rack *r, const struct tripod_tuple *key)
{
	uint64_t first = 0;

	for (unsigned i = 0; i < 4; i++) {
		struct shard *s = node_shard(rack_node(r, i), 0);
		struct store_hit h = store_find(&s->store, key, store_hash(&s->store, key));
		if (h.what != STORE_CONN)
			continue;
		const struct conn *c = store_conn(&s->store, h.index);
		const struct conn_version *v = store_repl(&s->store, h.index)->part;
		uint64_t parts = c->incarnation ^ (c->dir[0].tcp.flags & TCP_DIR_DURABLE) ^
				 (c->dir[1].tcp.flags & TCP_DIR_DURABLE) << 8;
		for (unsigned p = 0; p < PARTS; p++)
			parts = parts * 1000003 + (v[p].version ^ v[p].epoch << 16 ^ v[p].writer);
		if (first != 0 && parts != first)
			return 0;
		first = parts;
	}
	return first;
}

// Clients that use a port again at once, when each of two nodes has seen one FIN. The other
// direction's node must notice that this is another life, and all copies must follow.
static void rack__port_used_again_with_split_directions(void **state)
{
	enum { N = 100 };
	struct rack *r = rack_of((struct rack_conf){.split = true, .seed = 57});
	struct flow f[N];

	establish(r, f, N);
	for (unsigned life = 0; life < 3; life++) {
		for (unsigned n = 0; n < 3; n++)
			exchange(r, f, N);
		for (unsigned i = 0; i < N; i++)
			assert_true(copies_agree(r, &f[i].key) != 0);
		for (unsigned i = 0; i < N; i++) {
			flow_from_client(r, &f[i], TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
			flow_from_server(r, &f[i], TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
			flow_from_client(r, &f[i], TRIPOD_TCP_ACK, 0);
		}
		rack_run_ms(r, 3);
		arrived(r, TRIPOD_OUTGOING, 0, 0);
		for (unsigned i = 0; i < N; i++) {
			f[i].seq += 100000;
			f[i].ack = 7 * f[i].ack + 3;
			flow_from_client(r, &f[i], TRIPOD_TCP_SYN, 0);
		}
		rack_run_ms(r, 1);
		assert_int_equal(arrived(r, TRIPOD_OUTGOING, TRIPOD_TCP_SYN, 0), N);
		for (unsigned i = 0; i < N; i++)
			flow_from_server(r, &f[i], TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 60);
		arrived(r, TRIPOD_INCOMING, 0, 0);
	}
	exchange(r, f, N);
	rack_free(r);
}

// The nodes know the switch's hash: whoever gets the packets of a dead node has a copy already, and
// where directions part, both masters have one from the first answer on.
static void predicted(struct rack_conf conf)
{
	enum { N = 200 };
	struct flow f[N];

	conf.predicted = true;
	conf.backups = 1;
	for (unsigned victim = 0; victim < 3; victim++) {
		struct rack *r = rack_of(conf);
		establish(r, f, N);
		rack_run_ms(r, 20);
		assert_int_equal(copies_below(r, f, N, 2), 0);
		rack_kill(r, victim);
		rack_port(r, victim, false); // long before anybody repairs anything
		uint64_t before = rack_counter(r, -1, C_pulls_sent);
		exchange(r, f, N);
		assert_int_equal(rack_counter(r, -1, C_pulls_sent), before);
		assert_true(rack_counter(r, -1, C_takeovers) > 0);
		rack_free(r);
	}
}

static void rack__predicted_next_hops_need_no_pull(void **state)
{
	predicted((struct rack_conf){.seed = 52});
}

static void rack__predicted_split_directions_need_no_pull(void **state)
{
	predicted((struct rack_conf){.seed = 53, .split = true, .nodes = 6});
}

static void rack__baseline_breaks(void **state)
{
	enum { N = 100 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.baseline = true});

	establish(r, f, N);
	exchange(r, f, N);
	rack_kill(r, 0);
	rack_run_ms(r, 400);
	for (unsigned i = 0; i < N; i++)
		flow_from_client(r, &f[i], TRIPOD_TCP_ACK, 10);
	rack_run_ms(r, 100);
	assert_true(rack_counter(r, -1, C_drop_unknown) > 0);
	assert_int_equal(rack_counter(r, -1, C_log_records_tx), 0);
	rack_free(r);
}

// Close: FINs both ways, the record goes everywhere, and comes back nowhere.
static void rack__close_buries_all_copies(void **state)
{
	enum { N = 50 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.loss_percent = 10});

	establish(r, f, N);
	for (unsigned i = 0; i < N; i++)
		flow_from_client(r, &f[i], TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 10);
	for (unsigned i = 0; i < N; i++)
		flow_from_server(r, &f[i], TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 10);
	for (unsigned i = 0; i < N; i++)
		flow_from_client(r, &f[i], TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 14000);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(rack_copies(r, &f[i].key), 0);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_tcp), N);
	rack_run_ms(r, 8000);
	struct node_status st;
	for (unsigned i = 0; i < 4; i++) {
		node_status(rack_node(r, i), &st);
		assert_int_equal(node_shard(rack_node(r, i), 0)->store.used, 0);
	}
	rack_free(r);
}

// A port used again at once opens a new life above the old one.
static void rack__reuse_of_a_closed_tuple(void **state)
{
	struct flow f = flow_of(1, SERVER);
	struct rack *r = rack_of((struct rack_conf){0});
	struct conn_view v;

	establish(r, &f, 1);
	f = flow_of(0, SERVER);
	unsigned node = rack_hash(r,
		&(struct frame_spec){
			.src = f.client, .dst = FLOWS_VIP, .sport = f.port, .dport = 80},
		TRIPOD_INCOMING);
	assert_true(rack_conn(r, node, &f.key, &v));
	uint64_t first = v.incarnation;
	f.seq = 1001, f.ack = 900001;
	flow_from_client(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 5);
	flow_from_server(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 5);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 50);
	struct flow again[1];
	arrived(r, TRIPOD_OUTGOING, 0, 0);
	arrived(r, TRIPOD_INCOMING, 0, 0);
	establish(r, again, 1);
	exchange(r, again, 1);
	assert_true(rack_conn(r, node, &f.key, &v));
	assert_true(v.incarnation > first);
	assert_int_equal(rack_copies(r, &f.key), 2);
	rack_free(r);
}

// A node that stood still for 5 s comes back: what it remembers has gone on elsewhere.
static void rack__freeze_and_thaw(void **state)
{
	enum { N = 200 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 47});

	establish(r, f, N);
	exchange(r, f, N);
	rack_freeze(r, 1);
	rack_run_ms(r, 500);
	exchange(r, f, N);
	rack_run_ms(r, 4500);
	rack_thaw(r, 1);
	rack_run_ms(r, 10); // it throws away what has waited for it all the time
	exchange(r, f, N); // the switch sends to it again at once
	rack_run_ms(r, 300);
	exchange(r, f, N);
	assert_true(rack_counter(r, 1, C_handovers) > 0);
	assert_int_equal(rack_counter(r, -1, C_drop_invariant), 0);
	rack_free(r);
}

// A machine without time for its workers: each stands still for longer than the switch is patient, again and
// again. The first time, what lay there is old, whichever worker it is handed to; a SYN opens nothing. After
// that the node is known to be slow: what was opened goes on, and more is opened.
static void rack__always_late(void **state)
{
	enum { N = 24 };
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .workers = 3, .seed = 31});
	struct flow f[N];

	establish(r, f, N);
	assert_true(rack_counter(r, 0, C_handoffs) > 0);
	for (unsigned turn = 0; turn < 5; turn++) {
		rack_freeze(r, 0);
		for (unsigned n = 0; n < N; n++)
			flow_from_client(r, &f[n], TRIPOD_TCP_ACK, 10);
		for (unsigned n = 0; n < 8; n++) {
			struct flow fresh = flow_of(1000 + 8 * turn + n, SERVER);
			flow_from_client(r, &fresh, TRIPOD_TCP_SYN, 0);
		}
		uint64_t opened = rack_counter(r, 0, C_connections_opened);
		rack_run_ms(r, 150);
		rack_thaw(r, 0);
		rack_run_ms(r, 60);
		unsigned went_on = arrived(r, TRIPOD_OUTGOING, TRIPOD_TCP_ACK, 10);
		opened = rack_counter(r, 0, C_connections_opened) - opened;
		if (turn == 0)
			assert_int_equal(opened, 0);
		if (turn > 0)
			assert_true(went_on == N && opened > 0);
		rack_run_ms(r, 200);
	}
	rack_free(r);
}

// A killed node starts again with nothing, and is sent its connections back.
static void rack__restart(void **state)
{
	enum { N = 200 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 48});

	establish(r, f, N);
	exchange(r, f, N);
	for (unsigned victim = 0; victim < 4; victim++) {
		rack_kill(r, victim);
		rack_run_ms(r, 300);
		exchange(r, f, N);
		rack_start(r, victim);
		rack_run_ms(r, 500);
		exchange(r, f, N);
		exchange(r, f, N);
		assert_int_equal(copies_below(r, f, N, 2), 0);
	}
	assert_true(rack_counter(r, -1, C_pulls_answered) > 0);
	rack_free(r);
}

// The switch moves flows away and back while both nodes live: roles follow the packets.
static void rack__port_flap(void **state)
{
	enum { N = 100 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 49});

	establish(r, f, N);
	for (unsigned round = 0; round < 3; round++) {
		rack_port(r, 2, false);
		exchange(r, f, N);
		rack_port(r, 2, true);
		rack_run_ms(r, 200);
		exchange(r, f, N);
	}
	assert_true(rack_counter(r, -1, C_takeovers) >= rack_counter(r, -1, C_handovers));
	assert_true(rack_counter(r, -1, C_handovers) > 0);
	assert_int_equal(copies_below(r, f, N, 2), 0);
	rack_free(r);
}

// Right after a hand-over, packets still in flight to the old master are relayed to the new one.
static void rack__stragglers_are_relayed(void **state)
{
	enum { N = 50 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 50});

	establish(r, f, N);
	rack_port(r, 3, false);
	exchange(r, f, N);
	rack_port(r, 3, true);
	rack_run_ms(r, 1);
	for (unsigned i = 0; i < N; i++)
		flow_from_client(r, &f[i], TRIPOD_TCP_ACK, 20);
	rack_run_ms(r, 20);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING, TRIPOD_TCP_ACK, 20), N);
	assert_true(rack_counter(r, -1, C_relay_tx) > 0);
	assert_int_equal(rack_counter(r, -1, C_relay_tx), rack_counter(r, -1, C_relay_rx));
	assert_int_equal(rack_counter(r, -1, C_drop_relay_loop), 0);
	rack_free(r);
}

// UDP has no SYN to tell a new flow from one that another node has: while the rack is unsettled, an
// unknown tuple is asked for first, so that a source NAT keeps its mapping through a kill.
static void rack__udp_keeps_its_mapping(void **state)
{
	enum { N = 60 };
	struct rack *r = rack_of((struct rack_conf){.seed = 51});
	static struct rack_arrival a[MAX];
	uint16_t port[N] = {0};

	rack_run_ms(r, 12000); // settled: UDP opens at once
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++) {
			rack_send(r, TRIPOD_OUTGOING,
				&(struct frame_spec){.src = "10.1.0.7",
					.dst = "198.18.7.7",
					.sport = (uint16_t)(5000 + i),
					.dport = (uint16_t)(6000 + i),
					.proto = 17,
					.payload_len = 30});
			if (i % 4 == 3)
				rack_run_ms(r, 1);
		}
		rack_run_ms(r, 20);
		unsigned n = rack_arrivals(r, TRIPOD_INCOMING, a, MAX);
		assert_int_equal(n, N);
		for (unsigned k = 0; k < n; k++) {
			unsigned i = __builtin_bswap16(a[k].tuple.dport) - 6000u;
			if (round == 0)
				port[i] = a[k].tuple.sport;
			assert_int_equal(a[k].tuple.sport, port[i]);
			rack_send(r, TRIPOD_INCOMING,
				&(struct frame_spec){.src = "198.18.7.7",
					.dst = "192.0.2.1",
					.sport = (uint16_t)(6000 + i),
					.dport = __builtin_bswap16(port[i]),
					.proto = 17,
					.payload_len = 30});
		}
		rack_run_ms(r, 20);
		assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, MAX), N);
		if (round == 1) {
			rack_kill(r, 1);
			rack_port(r, 1, false); // the switch is faster than the heartbeats
			rack_run_ms(r, 75);
		}
	}
	assert_true(rack_counter(r, -1, C_pulls_answered) + rack_counter(r, -1, C_takeovers) > 0);
	rack_free(r);
}

// What the chain rewrites may come back to another worker: that is counted where the connection is opened.
static void rack__opened_apart(void **state)
{
	enum { N = 200 };

	for (unsigned workers = 1; workers <= 3; workers += 2) {
		struct rack *r = rack_of((struct rack_conf){.workers = workers});
		struct flow f[N];
		unsigned apart = 0;

		assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
		for (unsigned i = 0; i < 4; i++) {
			for (unsigned w = 0; w < workers; w++) {
				const struct store *st = &node_shard(rack_node(r, i), w)->store;
				for (uint32_t n = 1; n <= st->highest; n++) {
					const struct conn *c = store_conn(st, n);
					unsigned back =
						workers == 1
							? 0
							: toeplitz_worker(
								  toeplitz_tuple(&c->dir[1].key),
								  workers);
					apart += c->state == CONN_LIVE && back != w &&
						 conn_opener(c) == i;
				}
			}
		}
		assert_int_equal(rack_counter(r, -1, C_connections_opened), N);
		assert_int_equal(rack_counter(r, -1, C_opened_apart), apart);
		assert_true(workers == 1 || (apart > N / 2 && apart < N));
		rack_free(r);
	}
}

// Unknown TCP costs a bounded number of control messages.
static void rack__unknown_flood_is_bounded(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	uint64_t before = rack_counter(r, -1, C_control_tx_packets);

	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 100; i++) {
			struct flow f = flow_of(round * 100 + i, SERVER);
			flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
		}
		rack_run_ms(r, 1);
	}
	rack_run_ms(r, 200);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING, TRIPOD_TCP_ACK, 10), 0);
	uint64_t dropped =
		rack_counter(r, -1, C_drop_unknown) + rack_counter(r, -1, C_drop_wait_full);
	assert_int_equal(dropped, 10000);
	// Several tuples share a request, and each request has three answers.
	assert_true(rack_counter(r, -1, C_control_tx_packets) - before < 10000);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rack__kill_two_of_four),
		cmocka_unit_test(rack__kill_with_loss),
		cmocka_unit_test(rack__kill_with_split_directions),
		cmocka_unit_test(rack__kill_with_three_workers),
		cmocka_unit_test(rack__kill_split_workers_loss),
		cmocka_unit_test(rack__port_used_again_with_split_directions),
		cmocka_unit_test(rack__predicted_next_hops_need_no_pull),
		cmocka_unit_test(rack__predicted_split_directions_need_no_pull),
		cmocka_unit_test(rack__baseline_breaks),
		cmocka_unit_test(rack__close_buries_all_copies),
		cmocka_unit_test(rack__reuse_of_a_closed_tuple),
		cmocka_unit_test(rack__freeze_and_thaw),
		cmocka_unit_test(rack__always_late),
		cmocka_unit_test(rack__restart),
		cmocka_unit_test(rack__port_flap),
		cmocka_unit_test(rack__stragglers_are_relayed),
		cmocka_unit_test(rack__udp_keeps_its_mapping),
		cmocka_unit_test(rack__opened_apart),
		cmocka_unit_test(rack__unknown_flood_is_bounded),
	};
	return cmocka_run_group_tests_name("rack", tests, NULL, NULL);
}
