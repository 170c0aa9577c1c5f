// SPDX-License-Identifier: BSD-3-Clause
// Datagrams in fragments over a rack: whatever node and worker each arrives at, and in whatever order,
// what comes out is put together again and compared byte for byte.
#include "core/testing/datagrams.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hpsms/repl.h"
#include "core/rng.h"

static void there_and_back(
	struct world *w, const struct way *way, enum order order, unsigned spread, unsigned nodes)
{
	static uint32_t id;
	uint64_t opened = rack_counter(w->r, -1, C_connections_opened);
	struct datagram d = datagram_of(&way->s, way->from, ++id * 0x10001, 6000);
	unsigned whole = w->whole;

	assert_int_equal(d.n, 5);
	for (unsigned round = 0; round < 2; round++) {
		datagram_send_all(w, &d, order, round, spread, nodes);
		assert_int_equal(w->whole, ++whole);
		datagram_assert_out(w, &d, way->src, way->dst);
		struct datagram a = datagram_answer_to(w, &d, (id + 1) * 0x10001, 2000 + id % 1000);
		datagram_send_all(w, &a, order, 1, spread, nodes);
		assert_int_equal(w->whole, ++whole);
		datagram_assert_out(w, &a, way->s.dst, way->s.src);
		id += 2;
		d.id = id * 0x10001;
	}
	assert_true(rack_counter(w->r, -1, C_connections_opened) <= opened + 1);
}

static void every_way(unsigned workers, unsigned nodes, unsigned spread)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = nodes, .workers = workers});

	for (unsigned k = 0; k < N_WAYS * ORDERS; k++)
		there_and_back(w, &WAYS[k % N_WAYS], (enum order)(k / N_WAYS), spread, nodes);
	assert_int_equal(rack_counter(w->r, -1, C_drop_fragment), 0);
	assert_int_equal(rack_counter(w->r, -1, C_drop_relay_loop), 0);
	assert_int_equal(rack_counter(w->r, -1, C_connections_opened), N_WAYS);
	if (nodes == 1)
		assert_int_equal(rack_counter(w->r, -1, C_relay_tx), 0);
	datagrams_end(w);
}

static void fragments__one_node(void **state)
{
	every_way(1, 1, 0);
}

static void fragments__two_workers(void **state)
{
	every_way(2, 1, 0);
}

static void fragments__at_one_of_three_nodes(void **state)
{
	every_way(1, 3, 0);
}

static void fragments__each_at_another_node(void **state)
{
	every_way(1, 3, 1);
	every_way(1, 4, 3);
}

static void fragments__each_at_another_node_with_workers(void **state)
{
	every_way(2, 3, 1);
	every_way(3, 4, 1);
}

// ---- Who is the master ----

static unsigned master_of(struct world *w, unsigned node, const struct frame_spec *s)
{
	struct conn_view v;
	uint8_t buf[200];
	struct tripod_packet p;
	struct frame_spec small = *s;

	small.payload_len = 0;
	frames_parse(&p, buf, frames_build(buf, sizeof(buf), &small), sizeof(buf), TRIPOD_INCOMING);
	assert_true(rack_conn(w->r, node, &p.tuple, &v));
	return v.master[0];
}

// What is not cut goes to one node, the fragments to others: they take nothing over while it lives.
static void fragments__do_not_move_a_connection(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 4});
	const struct way *way = &WAYS[0];
	unsigned home = rack_hash(w->r, &way->s, way->from), other = (home + 1) % 4;

	for (unsigned n = 0; n < 3; n++) {
		rack_send(w->r, way->from, &way->s);
		rack_run_ms(w->r, 5);
	}
	struct datagram a = datagram_answer_to(w, &(struct datagram){.from = way->from}, 1, 100);
	rack_inject(w->r, home, 20, a.bytes, a.len);
	rack_run_ms(w->r, 3000);
	uint64_t takeovers = rack_counter(w->r, -1, C_takeovers);
	for (uint32_t id = 1; id <= 20; id++) {
		struct datagram d = datagram_of(&way->s, way->from, id, 4000);
		datagram_send_all(w, &d, IN_ORDER, other, 0, 4);
		assert_int_equal(w->whole, id);
		datagram_assert_out(w, &d, way->src, way->dst);
	}
	assert_int_equal(master_of(w, home, &way->s), home);
	assert_int_equal(rack_counter(w->r, -1, C_takeovers), takeovers);
	assert_int_equal(rack_counter(w->r, -1, C_connections_opened), 1);
	// The master dies: then it goes on with a fragment.
	rack_kill(w->r, home);
	rack_run_ms(w->r, 400);
	struct datagram d = datagram_of(&way->s, way->from, 99, 4000);
	datagram_send_all(w, &d, IN_ORDER, other, 0, 4);
	assert_int_equal(w->whole, 21);
	datagram_assert_out(w, &d, way->src, way->dst);
	assert_int_equal(master_of(w, other, &way->s), other);
	datagrams_end(w);
}

// A connection of which nothing comes but fragments leaves a master that drains. What the others relay to it as the
// home of a datagram does not keep it.
static void fragments__let_a_node_drain(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 4});
	const struct way *way = &WAYS[0];
	unsigned home = rack_hash(w->r, &way->s, way->from), other = (home + 1) % 4;
	struct node_status st;

	rack_send(w->r, way->from, &way->s);
	rack_run_ms(w->r, 5);
	struct datagram a = datagram_answer_to(w, &(struct datagram){.from = way->from}, 1, 100);
	rack_inject(w->r, home, 20, a.bytes, a.len);
	rack_run_ms(w->r, 500);
	node_set_draining(rack_node(w->r, home), true);
	uint64_t relayed = 0;
	uint32_t id = 1;
	for (; id <= 40; id++) {
		struct datagram d = datagram_of(&way->s, way->from, id, 4000);
		datagram_send_all(w, &d, IN_ORDER, other, 0, 4);
		datagram_send(
			w, &d, 1, (other + 1) % 4); // once more: its home is asked for the way
		assert_int_equal(w->whole, id);
		node_status(rack_node(w->r, home), &st);
		if (st.phase == NODE_DRAINED && relayed == 0)
			relayed = rack_counter(w->r, (int)home, C_relay_rx);
	}
	assert_string_equal(node_phase_name(st.phase), "drained");
	assert_true(relayed > 0 && rack_counter(w->r, (int)home, C_relay_rx) > relayed);
	assert_int_equal(master_of(w, other, &way->s), other);
	datagrams_end(w);
}

// The master has restarted, and has forgotten all: records name it still, and fragments are relayed to it.
static void fragments__reach_a_master_that_has_restarted(void **state)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct world *w = datagrams_begin((struct rack_conf){.nodes = 4, .seed = seed});
		const struct way *way = &WAYS[0];
		unsigned home = rack_hash(w->r, &way->s, way->from), other = (home + 1) % 4;

		rack_send(w->r, way->from, &way->s);
		rack_run_ms(w->r, 5);
		struct datagram a =
			datagram_answer_to(w, &(struct datagram){.from = way->from}, 1, 100);
		rack_inject(w->r, home, 20, a.bytes, a.len);
		rack_run_ms(w->r, 500);
		rack_kill(w->r, home);
		rack_start(w->r, home);
		rack_run_ms(w->r, 400);
		struct datagram d;
		for (uint32_t id = 1; id <= 3; id++) {
			d = datagram_of(&way->s, way->from, id, 4000);
			datagram_send_all(w, &d, IN_ORDER, other, 0, 4);
			rack_run_ms(w->r, 60);
		}
		assert_in_range(w->whole, 2, 3); // the first may wait for longer than the others
		datagram_assert_out(w, &d, way->src, way->dst);
		datagrams_end(w);
	}
}

// A connection that nobody has told of yet, as it is young and quiet, is found all the same.
static void fragments__ask_for_what_nobody_has_told(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 4});
	const struct way *way = &WAYS[2];

	rack_run_ms(w->r, 12000); // nothing moves
	rack_inject(w->r, 0, 20, datagram_of(&way->s, way->from, 1, 10).bytes,
		datagram_of(&way->s, way->from, 1, 10).len);
	rack_run_ms(w->r, 20);
	struct datagram d = datagram_of(&way->s, way->from, 2, 4000);
	datagram_send_all(w, &d, IN_ORDER, 2, 0, 4);
	rack_run_ms(w->r, 100);
	assert_int_equal(w->whole, 1);
	datagram_assert_out(w, &d, way->src, way->dst);
	assert_int_equal(rack_counter(w->r, -1, C_connections_opened), 1);
	datagrams_end(w);
}

// What a fragment opens is found by what is not cut, which the switch sends elsewhere: after the few
// milliseconds that it takes to tell of it.
static void fragments__tell_of_what_they_open(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 4});
	const struct way *way = &WAYS[2];
	unsigned home = rack_hash(w->r, &way->s, way->from);

	rack_run_ms(w->r, 12000); // nothing moves
	struct datagram d = datagram_of(&way->s, way->from, 2, 4000);
	datagram_send_all(w, &d, IN_ORDER, (home + 1) % 4, 0, 4);
	assert_int_equal(w->whole, 1);
	struct frame_spec small = way->s;
	small.payload_len = 10;
	rack_send(w->r, way->from, &small);
	rack_run_ms(w->r, 20);
	assert_int_equal(w->frames[0], d.n + 1);
	assert_int_equal(rack_counter(w->r, -1, C_connections_opened), 1);
	assert_int_equal(rack_counter(w->r, (int)home, C_takeovers), 1);
	datagrams_end(w);
}

// Where the switch's hash is known, the first fragment opens where what is not cut will come. Nothing has to be
// told, and it says nothing about predictions.
static void fragments__open_where_the_rest_comes(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 4, .predicted = true});
	const struct way *way = &WAYS[2];
	unsigned home = rack_hash(w->r, &way->s, way->from);

	rack_run_ms(w->r, 12000); // nothing moves
	struct datagram d = datagram_of(&way->s, way->from, 2, 4000);
	datagram_send_all(w, &d, IN_ORDER, (home + 1) % 4, 0, 4);
	assert_int_equal(w->whole, 1);
	datagram_assert_out(w, &d, way->src, way->dst);
	assert_int_equal(rack_counter(w->r, (int)home, C_connections_opened), 1);
	assert_int_equal(rack_counter(w->r, -1, C_connections_opened), 1);
	// Known elsewhere, and relayed once more: the port has just moved here.
	rack_port(w->r, home, false);
	struct frame_spec small = way->s;
	small.payload_len = 10;
	rack_send(w->r, way->from, &small);
	rack_run_ms(w->r, 20);
	assert_int_equal(rack_counter(w->r, -1, C_takeovers), 1);
	unsigned now = rack_hash(w->r, &way->s, way->from);
	assert_int_not_equal(now, home);
	rack_port(w->r, home, true);
	rack_run_ms(w->r, 20);
	d.id = 3;
	for (unsigned other = 0; other < 4; other++, d.id++) {
		datagram_send_all(w, &d, IN_ORDER, other, 0, 4);
		assert_int_equal(w->whole, 2 + other);
	}
	assert_int_equal(rack_counter(w->r, -1, C_takeovers), 1);
	assert_int_equal(rack_counter(w->r, -1, C_drop_relay_loop), 0);
	rack_run_ms(w->r, 3000); // then it is judged, with the next that opens
	for (unsigned n = 0; n < 40; n++, small.dst = n & 1 ? "198.51.100.8" : "198.51.100.9") {
		small.sport++;
		small.dport++;
		rack_send(w->r, way->from, &small);
		rack_run_ms(w->r, 20);
	}
	assert_true(rack_counter(w->r, -1, C_predictions_right) > 0);
	assert_int_equal(rack_counter(w->r, -1, C_predictions_wrong), 1); // with the port down
	datagrams_end(w);
}

// Where some nodes have come not to believe what they compute: the fragments meet there all the same, at a node
// that has a copy, and are relayed once more to the master.
static void fragments__meet_where_not_all_believe(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 6, .predicted = true});
	const struct way *way = &WAYS[2];
	unsigned home = rack_hash(w->r, &way->s, way->from);

	rack_run_ms(w->r, 12000); // nothing moves
	struct datagram d = datagram_of(&way->s, way->from, 2, 4000);
	datagram_send_all(w, &d, IN_ORDER, home, 0, 6);
	rack_port(w->r, home, false);
	struct frame_spec small = way->s;
	small.payload_len = 10;
	rack_send(w->r, way->from, &small);
	rack_run_ms(w->r, 20);
	assert_int_equal(rack_counter(w->r, -1, C_takeovers), 1);
	rack_port(w->r, home, true);
	rack_run_ms(w->r, 20);
	for (unsigned doubts = 0; doubts < 6; doubts++) {
		node_shard(rack_node(w->r, doubts), 0)->predict.computed.lost = true;
		for (unsigned other = 0; other < 6; other++) {
			unsigned whole = w->whole;
			d.id++;
			datagram_send_all(w, &d, IN_ORDER, other, 0, 6);
			assert_int_equal(w->whole, whole + 1);
		}
		// Beside each that comes behind it, the one where they meet goes on doubting.
		node_shard(rack_node(w->r, doubts), 0)->predict.computed.lost = doubts == home;
	}
	assert_int_equal(rack_counter(w->r, -1, C_drop_relay_loop), 0);
	assert_int_equal(rack_counter(w->r, -1, C_takeovers), 1);
	assert_int_equal(rack_counter(w->r, -1, C_connections_opened), 1);
	datagrams_end(w);
}

// ---- What is lost ----

static unsigned home_of(struct world *w, const struct datagram *d, unsigned node)
{
	const struct shard *s = node_shard(rack_node(w->r, node), 0);
	uint8_t buf[1600];
	struct tripod_packet p;
	size_t len = frames_fragment(
		buf, sizeof(buf), d->bytes, d->len, d->id, FRAGMENT_BYTES, FRAGMENT_BYTES);

	assert_int_equal(frames_parse(&p, buf, len, sizeof(buf), d->from), PARSE_FRAGMENT);
	return (unsigned)__builtin_ctzll(
		place_by_hash(store_hash(&s->store, &p.tuple), s->live, 1));
}

static void fragments__later_ones_without_the_first_are_dropped(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 3});

	for (uint32_t id = 0; id < 10; id++) {
		struct datagram d = datagram_of(&WAYS[0].s, WAYS[0].from, id, 3000);
		datagram_send(w, &d, 1, id % 3);
		datagram_send(w, &d, 2, (id + 1) % 3);
	}
	rack_run_ms(w->r, 90);
	assert_int_equal(rack_counter(w->r, -1, C_drop_fragment), 0);
	rack_run_ms(w->r, 20);
	assert_int_equal(rack_counter(w->r, -1, C_drop_fragment), 20);
	assert_int_equal(w->frames[0] + w->frames[1], 0);
	datagrams_end(w);
}

// What an NF datagrams_refused takes its later fragments with it.
static void fragments__follow_a_refusal(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 3});
	struct datagram d = datagram_of(&WAYS[0].s, WAYS[0].from, 5, 5000);

	datagrams_refused = true;
	datagram_send_all(w, &d, IN_ORDER, 0, 1, 3);
	rack_run_ms(w->r, 200);
	assert_int_equal(w->frames[0] + w->frames[1], 0);
	assert_int_equal(rack_counter(w->r, -1, C_drop_refused), 1);
	assert_int_equal(rack_counter(w->r, -1, C_drop_fragment), d.n - 1);
	assert_int_equal(w->told, 0);
	datagrams_end(w);
}

static void fragments__home_dies(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 4});
	struct datagram d = datagram_of(&WAYS[0].s, WAYS[0].from, 5, 5000);
	unsigned home = home_of(w, &d, 0), a = (home + 1) % 4, b = (home + 2) % 4;

	datagram_send(w, &d, 0, a);
	rack_run_ms(w->r, 20);
	assert_int_equal(w->told, 1);
	rack_kill(w->r, home);
	for (unsigned k = 1; k < d.n; k++)
		datagram_send(w, &d, k, b);
	rack_run_ms(w->r, 400);
	assert_int_equal(w->whole, 0);
	// The next in order is home.
	datagram_send(w, &d, 0, a);
	for (unsigned k = 1; k < d.n; k++)
		datagram_send(w, &d, k, b);
	rack_run_ms(w->r, 20);
	assert_int_equal(w->whole, 1);
	datagram_assert_out(w, &d, WAYS[0].src, WAYS[0].dst);
	datagrams_end(w);
}

static void fragments__message_lost(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 4});
	struct datagram d = datagram_of(&WAYS[0].s, WAYS[0].from, 5, 5000);
	unsigned home = home_of(w, &d, 0), a = (home + 1) % 4, b = (home + 2) % 4;

	// The connection is there, so that the first fragment does not wait.
	struct datagram before = datagram_of(&WAYS[0].s, WAYS[0].from, 4, 3000);
	datagram_send_all(w, &before, IN_ORDER, a, 0, 4);
	assert_int_equal(w->whole, 1);
	w->told = w->whole = w->frames[1] = 0;
	w->lose_tells = true;
	datagram_send(w, &d, 0, a);
	for (unsigned k = 1; k < d.n; k++)
		datagram_send(w, &d, k, k == 2 ? a : b);
	rack_run_ms(w->r, 200);
	assert_int_equal(w->told, 1);
	assert_int_equal(w->whole, 0);
	assert_int_equal(rack_counter(w->r, (int)home, C_drop_fragment), d.n - 2);
	assert_int_equal(w->frames[1], 2); // the first, and the one that met it
	w->lose_tells = false;
	d.id = 6;
	datagram_send_all(w, &d, REVERSED, 0, 1, 4);
	assert_int_equal(w->whole, 1);
	datagrams_end(w);
}

// ---- Identifications and limits ----

// The same identification, on another connection between the same hosts: the newer first one counts.
static void fragments__identification_used_again(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 3, .workers = 2});
	struct frame_spec other = WAYS[0].s;

	other.dport = 54;
	for (unsigned n = 0; n < 6; n++) {
		bool odd = n & 1;
		struct datagram d =
			datagram_of(odd ? &other : &WAYS[0].s, TRIPOD_INCOMING, 7, 5000 + n);
		datagram_send_all(w, &d, IN_ORDER, n, n / 2, 3);
		// Its later fragments may have been put on the way of the one before, where they were
		// ahead of the news: not so in order, with a first that was handled.
		for (unsigned k = 1; k < d.n; k++)
			datagram_send(w, &d, k, (n + k) % 3);
		rack_run_ms(w->r, 20);
		assert_true(w->whole >= n + 1);
		w->whole = n + 1;
		datagram_assert_out(w, &d, "198.51.100.7", odd ? "10.1.0.102" : "10.1.0.101");
		w->n_join = 0;
	}
	datagrams_end(w);
}

// No more ways are told than the budget allows. Those go on where the first fragment was.
static void fragments__told_at_a_rate(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 2, .fragments = 4000});
	// Half of them to the other node, within 5 ms; of messages 1000 are saved up, and 250 come by.
	enum { N = 3000 };
	struct datagram first = datagram_of(&WAYS[0].s, TRIPOD_INCOMING, N, 3000);

	datagram_send_all(w, &first, IN_ORDER, 0, 0, 2);
	assert_int_equal(w->whole, 1);
	uint64_t later = rack_counter(w->r, -1, C_fragments_later);
	for (uint32_t n = 0; n < N; n++) {
		struct datagram d = datagram_of(&WAYS[0].s, TRIPOD_INCOMING, n, 1300);
		datagram_send(w, &d, 0, 0);
	}
	rack_run_ms(w->r, 20);
	assert_int_equal(rack_counter(w->r, -1, C_fragments_first), N + 1);
	assert_in_range(rack_counter(w->r, -1, C_fragments_untold), 1, N / 8);
	for (uint32_t n = 0; n < N; n++) {
		struct datagram d = datagram_of(&WAYS[0].s, TRIPOD_INCOMING, n, 1300);
		datagram_send(w, &d, 1, 0);
	}
	rack_run_ms(w->r, 200);
	assert_int_equal(rack_counter(w->r, -1, C_fragments_later), later + N);
	datagrams_end(w);
}

// The first fragment comes again and again: that takes no room from others.
static void fragments__first_repeated(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 1, .fragments = 8});
	struct datagram a = datagram_of(&WAYS[0].s, TRIPOD_INCOMING, 1, 3000);
	struct datagram b = datagram_of(&WAYS[0].s, TRIPOD_INCOMING, 2, 3000);

	datagram_send(w, &b, 0, 0);
	for (unsigned n = 0; n < 20; n++)
		datagram_send(w, &a, 0, 0);
	rack_run_ms(w->r, 20);
	for (unsigned k = 1; k < b.n; k++)
		datagram_send(w, &b, k, 0);
	rack_run_ms(w->r, 20);
	assert_int_equal(w->whole, 1);
	datagrams_end(w);
}

// As many datagrams as a worker remembers, and one: the oldest is forgotten.
static void fragments__oldest_way_goes(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 1, .fragments = 8});
	struct datagram d[9];

	for (uint32_t n = 0; n < 9; n++) {
		d[n] = datagram_of(&WAYS[0].s, WAYS[0].from, n, 2000);
		datagram_send(w, &d[n], 0, 0);
		rack_run_ms(w->r, 2);
	}
	for (uint32_t n = 0; n < 9; n++)
		datagram_send(w, &d[n], 1, 0);
	rack_run_ms(w->r, 150);
	assert_int_equal(rack_counter(w->r, -1, C_fragments_later), 8);
	assert_int_equal(rack_counter(w->r, -1, C_drop_fragment), 1);
	datagrams_end(w);
}

static void fragments__ways_are_forgotten(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 1});
	struct datagram d = datagram_of(&WAYS[0].s, WAYS[0].from, 9, 3600);

	datagram_send(w, &d, 0, 0);
	rack_run_ms(w->r, 1900);
	datagram_send(w, &d, 1, 0);
	rack_run_ms(w->r, 200);
	datagram_send(w, &d, 2, 0);
	rack_run_ms(w->r, 200);
	assert_int_equal(rack_counter(w->r, -1, C_fragments_later), 1);
	assert_int_equal(rack_counter(w->r, -1, C_drop_fragment), 1);
	datagrams_end(w);
}

// A flood of fragments that nothing precedes: who comes out of order still finds room.
static void fragments__flood(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 2});
	struct rng rng = {.state = 3};
	uint32_t sent = 0;

	for (unsigned ms = 0; ms < 200; ms++) {
		for (unsigned n = 0; n < 20; n++, sent++) {
			struct datagram f = datagram_of(
				&WAYS[2].s, WAYS[2].from, (uint32_t)rng_below(&rng, 30000), 3000);
			datagram_send(w, &f, 1, n & 1);
		}
		if (ms % 10 == 5) {
			struct datagram d = datagram_of(&WAYS[0].s, WAYS[0].from, 40000 + ms, 6000);
			for (unsigned k = d.n; k-- > 0;)
				datagram_send(w, &d, k, k & 1);
		}
		rack_run_ms(w->r, 1);
	}
	rack_run_ms(w->r, 150);
	assert_int_equal(w->whole, 20);
	assert_true(rack_counter(w->r, -1, C_drop_wait_full) > 1000);
	assert_int_equal(
		rack_counter(w->r, -1, C_drop_wait_full) + rack_counter(w->r, -1, C_drop_fragment),
		sent);
	datagrams_end(w);
}

// ---- Odds and ends ----

// Too large for the other side: one error, about the first.
static void fragments__too_large(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 1, .inside_mtu = 1100});
	struct datagram d = datagram_of(&WAYS[0].s, WAYS[0].from, 9, 3400);

	datagram_send_all(w, &d, IN_ORDER, 0, 0, 1);
	assert_int_equal(rack_counter(w->r, -1, C_drop_oversize), 2);
	assert_int_equal(w->frames[1], 1); // the last, which is small
	assert_int_equal(rack_counter(w->r, -1, C_icmp_errors_tx), 1);
	assert_int_equal(w->errors, 1);
	datagrams_end(w);
}

static void fragments__to_the_gateway_are_not_answered(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 1});
	struct frame_spec s = {
		.src = "198.51.100.7", .dst = "203.0.113.1", .sport = 9, .proto = IPPROTO_ICMP};
	struct datagram d = datagram_of(&s, TRIPOD_INCOMING, 9, 3000);

	datagram_send_all(w, &d, IN_ORDER, 0, 0, 1);
	assert_int_equal(rack_counter(w->r, -1, C_drop_fragment), 1);
	rack_run_ms(w->r, 200);
	assert_int_equal(rack_counter(w->r, -1, C_drop_fragment), d.n);
	assert_int_equal(rack_counter(w->r, -1, C_connections_opened), 0);
	assert_int_equal(w->frames[0] + w->frames[1], 0);
	datagrams_end(w);
}

// What an NF answers to a first fragment is no fragment.
static void fragments__are_answered_whole(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 1});

	for (unsigned k = 0; k < 2; k++) {
		struct frame_spec s = WAYS[k].s;
		struct parse_limits limits = {.mtu = 1500};
		struct tripod_packet p;
		s.dport = 55;
		struct datagram d = datagram_of(&s, TRIPOD_INCOMING, 9 + k, 3000);
		datagram_send_all(w, &d, IN_ORDER, 0, 0, 1);
		assert_int_equal(w->frames[0], k + 1);
		frames_packet(&p, w->out, w->out_len, w->out_len, 10);
		assert_int_equal(parse_frame(&p, &limits, TRIPOD_OUTGOING, 0), PARSE_FLOW);
		assert_int_equal(p.fragment, TRIPOD_WHOLE);
		assert_int_equal(p.payload_len, 10);
		assert_int_equal(p.l4, FRAMES_L3 + (p.v6 ? 40 : 20));
		assert_int_equal(p.tuple.sport, htons(55));
		assert_true(frames_checksums_right(w->out, w->out_len));
	}
	datagrams_end(w);
}

// A later fragment whose hops run out is dropped without a word (RFC 1812, 4.3.2.7).
static void fragments__hop_limit(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 1});

	for (unsigned k = 0; k < 2; k++) {
		struct datagram d = datagram_of(&WAYS[k].s, TRIPOD_INCOMING, 9, 3000);
		datagram_send(w, &d, 0, 0);
		rack_run_ms(w->r, 10);
		struct frame_spec s = WAYS[k].s;
		s.ttl = 1;
		d = datagram_of(&s, TRIPOD_INCOMING, 9, 3000);
		datagram_send(w, &d, 1, 0);
		rack_run_ms(w->r, 10);
		assert_int_equal(w->frames[1], k + 1);
		assert_int_equal(rack_counter(w->r, -1, C_drop_ttl), k + 1);
	}
	assert_int_equal(rack_counter(w->r, -1, C_icmp_errors_tx), 0);
	datagrams_end(w);
}

// Where members disagree on the home: what has been relayed waits, and goes nowhere else.
static void fragments__relayed_once(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 3});
	struct datagram d = datagram_of(&WAYS[0].s, TRIPOD_INCOMING, 9, 3000);
	unsigned other = (home_of(w, &d, 0) + 1) % 3;
	uint8_t buf[1600];
	size_t len = frames_fragment(
		buf, sizeof(buf), d.bytes, d.len, d.id, FRAGMENT_BYTES, FRAGMENT_BYTES);

	rack_inject(w->r, other, 11, buf, len);
	rack_run_ms(w->r, 120);
	assert_int_equal(rack_counter(w->r, -1, C_relay_tx), 0);
	assert_int_equal(rack_counter(w->r, (int)other, C_drop_fragment), 1);
	datagrams_end(w);
}

static void fragments__of_tcp_are_dropped(void **state)
{
	struct world *w = datagrams_begin((struct rack_conf){.nodes = 1});
	struct frame_spec s = {.src = "198.51.100.7",
		.dst = "203.0.113.1",
		.sport = 9,
		.dport = 80,
		.tcp_flags = TRIPOD_TCP_ACK};
	struct datagram d = datagram_of(&s, TRIPOD_INCOMING, 9, 3000);

	datagram_send_all(w, &d, IN_ORDER, 0, 0, 1);
	assert_int_equal(rack_counter(w->r, -1, C_drop_fragment_tcp), d.n);
	datagrams_end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fragments__one_node),
		cmocka_unit_test(fragments__two_workers),
		cmocka_unit_test(fragments__at_one_of_three_nodes),
		cmocka_unit_test(fragments__each_at_another_node),
		cmocka_unit_test(fragments__each_at_another_node_with_workers),
		cmocka_unit_test(fragments__do_not_move_a_connection),
		cmocka_unit_test(fragments__let_a_node_drain),
		cmocka_unit_test(fragments__ask_for_what_nobody_has_told),
		cmocka_unit_test(fragments__reach_a_master_that_has_restarted),
		cmocka_unit_test(fragments__tell_of_what_they_open),
		cmocka_unit_test(fragments__open_where_the_rest_comes),
		cmocka_unit_test(fragments__meet_where_not_all_believe),
		cmocka_unit_test(fragments__later_ones_without_the_first_are_dropped),
		cmocka_unit_test(fragments__follow_a_refusal),
		cmocka_unit_test(fragments__home_dies),
		cmocka_unit_test(fragments__message_lost),
		cmocka_unit_test(fragments__identification_used_again),
		cmocka_unit_test(fragments__oldest_way_goes),
		cmocka_unit_test(fragments__ways_are_forgotten),
		cmocka_unit_test(fragments__flood),
		cmocka_unit_test(fragments__too_large),
		cmocka_unit_test(fragments__to_the_gateway_are_not_answered),
		cmocka_unit_test(fragments__told_at_a_rate),
		cmocka_unit_test(fragments__first_repeated),
		cmocka_unit_test(fragments__are_answered_whole),
		cmocka_unit_test(fragments__hop_limit),
		cmocka_unit_test(fragments__relayed_once),
		cmocka_unit_test(fragments__of_tcp_are_dropped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
