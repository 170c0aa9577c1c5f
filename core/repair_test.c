// SPDX-License-Identifier: BSD-3-Clause
// How soon what has lost a copy has another, and what that costs: 100 000 connections, in virtual time.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"
#include "core/testing/forge.h"

#define NODES 4 // at most
#define LOST 100000 // connections that lose a copy
#define LINK_BYTES_PER_S (10000000000ull / 8)

static void udp(struct rack *r, unsigned n, bool answer)
{
	char client[20];

	snprintf(client, sizeof(client), "198.%u.%u.%u", 18 + (n >> 16 & 1), n >> 8 & 255, n & 255);
	rack_send(r, answer ? TRIPOD_OUTGOING : TRIPOD_INCOMING,
		&(struct frame_spec){.proto = 17,
			.src = answer ? "10.1.0.101" : client,
			.dst = answer ? client : "198.51.100.1",
			.sport = (uint16_t)(answer ? 8080 : 1000 + (n >> 17)),
			.dport = (uint16_t)(answer ? 1000 + (n >> 17) : 80),
			.payload_len = 8});
}

// What the gauges would say if they were not refreshed by a slow walk.
struct tables {
	uint64_t live, unprotected; // records; of those who look after them, with no copy elsewhere
};

static struct tables look(struct rack *r)
{
	struct tables sum = {0};

	for (unsigned i = 0; i < NODES; i++) {
		if (rack_node(r, i) == NULL)
			continue;
		const struct shard *s = node_shard(rack_node(r, i), 0);
		for (uint32_t k = 1; k <= s->store.highest; k++) {
			const struct conn *c = store_conn(&s->store, k);
			const struct conn_repl *l = store_repl(&s->store, k);
			if (c->state != CONN_LIVE)
				continue;
			sum.live++;
			sum.unprotected += l->part[PART_SHARED].writer == i &&
					   (holders_with(l, HOLDER_ACKED) & shard_takers(s)) == 0;
		}
	}
	return sum;
}

// Connections of which the node that is to die has the copy or is master: half of all of them, where
// each is on two nodes of four.
static void open_all(struct rack *r)
{
	static struct rack_arrival a[4096];

	for (unsigned n = 0; n < 2 * LOST; n++) {
		udp(r, n, false);
		if (n % 64 != 63)
			continue;
		rack_step(r);
		rack_step(r);
		for (unsigned k = n - 63; k <= n; k++)
			udp(r, k, true);
		rack_step(r);
		rack_step(r);
		rack_arrivals(r, TRIPOD_INCOMING, a, 4096);
		rack_arrivals(r, TRIPOD_OUTGOING, a, 4096);
	}
	rack_run_ms(r, 100);
}

static void repair__a_hundred_thousand(void **state)
{
	struct rack *r = rack_new(&(struct rack_conf){.nodes = NODES,
		.workers = 1,
		.backups = 1,
		.seed = 5,
		.connections = 150000,
		.repair_per_s = 50000});
	uint64_t bytes[NODES];

	rack_run_ms(r, 12000); // settled: UDP opens at once
	open_all(r);
	assert_int_equal(look(r).live, 4 * LOST);
	assert_int_equal(look(r).unprotected, 0);
	uint64_t lost = node_shard(rack_node(r, 3), 0)->store.used;
	assert_true(lost >= LOST * 9 / 10);
	rack_kill(r, 3);
	for (unsigned i = 0; i < 3; i++)
		bytes[i] = rack_counter(r, (int)i, C_control_tx_bytes);
	// What the dead node mastered is looked after by who has the copy, packets or not.
	struct tables now;
	unsigned ms = 0;
	do {
		rack_run_ms(r, 100);
		ms += 100;
		now = look(r);
	} while (ms < 5000 && (now.live < 4 * LOST || now.unprotected > 0));
	printf("%lu connections lost a copy: all have two again after %u ms\n", (unsigned long)lost,
		ms);
	assert_int_equal(now.live, 4 * LOST);
	assert_int_equal(now.unprotected, 0);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t sent = rack_counter(r, (int)i, C_control_tx_bytes) - bytes[i];
		uint64_t allowed = LINK_BYTES_PER_S / 10 * ms / 1000;
		assert_true(sent < allowed);
	}
	rack_free(r);
}

// A peer that misses heartbeats when a connection is answered, and comes back before it counts as dead:
// nothing has changed then, so that nobody would look for what lacks a copy.
static void answered_while_a_peer_is_late(unsigned nodes)
{
	struct rack *r = rack_new(&(struct rack_conf){.nodes = nodes,
		.workers = 1,
		.backups = nodes - 1,
		.predicted = nodes > 2,
		.seed = 6});
	struct flow f;
	unsigned n = 0;

	rack_run_ms(r, 300);
	do {
		f = flow_of(n++, "10.1.0.101");
	} while (rack_hash(r,
			 &(struct frame_spec){.src = f.client,
				 .dst = FLOWS_VIP,
				 .sport = f.port,
				 .dport = 80,
				 .tcp_flags = TRIPOD_TCP_SYN},
			 TRIPOD_INCOMING) != 0);
	rack_freeze(r, 1);
	rack_run_ms(r, 75);
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 4);
	flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 4);
	assert_int_equal(look(r).live, nodes - 1);
	rack_thaw(r, 1);
	rack_run_ms(r, 500);
	assert_int_equal(rack_counter(r, 0, C_repairs), 0);
	assert_int_equal(look(r).live, nodes);
	assert_int_equal(look(r).unprotected, 0);
	rack_free(r);
}

static void repair__answered_while_the_peer_is_late(void **state)
{
	answered_while_a_peer_is_late(2);
}

// ... where the other copies are placed with a batch.
static void repair__answered_while_one_of_two_is_late(void **state)
{
	answered_while_a_peer_is_late(3);
}

// The lowest holder has restarted, has been served and counts with the others when the writer is found
// dead; but it has not joined yet. It makes up for that when it has.
static void repair__lowest_holder_has_just_joined(void **state)
{
	enum { N = 60 };
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 5, .workers = 1, .backups = 2, .seed = 8});
	struct flow f[N];

	rack_run_ms(r, 300);
	assert_int_equal(flows_open(r, f, 0, N, "10.1.0.101"), N);
	rack_kill(r, 0);
	rack_kill(r, 4);
	rack_start(r, 0);
	rack_run_ms(r, 3000);
	for (unsigned k = 0; k < N; k++)
		assert_int_equal(rack_copies(r, &f[k].key), 3);
	assert_int_equal(flows_exchange(r, f, N), N);
	rack_free(r);
}

// Of what was heard while others were away nobody knows whether it has ended; then the last of those that had it
// dies. Who is given a copy, and has never had one, denies it: that says nothing.
static void repair__of_the_last_copy(void **state)
{
	enum { N = 20 };
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 4, .workers = 1, .backups = 1, .seed = 8});
	struct flow f[N];

	rack_run_ms(r, 300);
	rack_freeze(r, 2);
	rack_freeze(r, 3);
	rack_run_ms(r, 3000); // more than half of what a tombstone stays
	rack_port(r, 1, false);
	assert_int_equal(flows_open(r, f, 0, N, "10.1.0.101"), N);
	rack_thaw(r, 2);
	rack_thaw(r, 3);
	rack_run_ms(r, 100);
	rack_kill(r, 0);
	rack_run_ms(r, 3000);
	assert_int_equal(rack_counter(r, 1, C_copies_forsaken), 0);
	for (unsigned k = 0; k < N; k++)
		assert_true(rack_copies(r, &f[k].key) >= 2);
	rack_port(r, 1, true);
	assert_int_equal(flows_exchange(r, f, N), N);
	rack_check(r);
	rack_free(r);
}

static bool lose_fabric(void *ctx, unsigned from, const struct frame *f)
{
	return f->vlan == 30 && *(const bool *)ctx;
}

// A node that hears nobody takes all for dead. It looks after the copies, but writes nothing: no packet has
// come to it, and what the others go on with must not lose against its claim.
static void repair__who_hears_nobody_claims_nothing(void **state)
{
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 2, .workers = 1, .backups = 1, .seed = 3});
	struct conn_view v[2];
	struct flow f;
	bool cut = false;

	rack_run_ms(r, 300);
	rack_tap(r, lose_fabric, &cut);
	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	assert_true(rack_conn(r, 0, &f.key, &v[0]) && rack_conn(r, 1, &f.key, &v[1]));
	unsigned m = v[0].shared;
	struct shard *s = node_shard(rack_node(r, m), 0);
	cut = true;
	rack_run_ms(r, 500);
	assert_int_equal(node_shard(rack_node(r, !m), 0)->live, 1u << !m);
	for (unsigned n = 0; n < 3; n++)
		repl_changed(s, store_find_hash(&s->store, store_hash(&s->store, &f.key)),
			1u << PART_SHARED);
	cut = false;
	rack_run_ms(r, 500);
	struct conn_version have[2];
	for (unsigned k = 0; k < 2; k++) {
		s = node_shard(rack_node(r, k), 0);
		uint32_t i = store_find_hash(&s->store, store_hash(&s->store, &f.key));
		have[k] = store_repl(&s->store, i)->part[PART_SHARED];
		assert_int_equal(have[k].writer, m);
		assert_int_equal(have[k].epoch, 1);
	}
	assert_true(have[0].version >= 4);
	assert_int_equal(have[0].version, have[1].version);
	rack_free(r);
}

// The writer died when it had told one holder of another that it had not reached.
static void repair__holder_that_was_not_reached(void **state)
{
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 3, .workers = 1, .backups = 1, .seed = 4});

	rack_run_ms(r, 300);
	struct wire_record w = forge_record(r, 1, 0, 1);
	w.holders = 7;
	forge(r, 0, 1, &w);
	rack_kill(r, 0);
	rack_run_ms(r, 500);
	assert_non_null(forge_find(r, 2, 1, NULL));
	rack_free(r);
}

// Copies of what nobody has answered are of the past as soon as the answered life has gone on; who has
// one and was away is told of the newer life like of any other.
static void repair__unanswered_life_is_told(void **state)
{
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 3, .workers = 1, .backups = 1, .seed = 9});
	rack_run_ms(r, 300);
	struct wire_record w = forge_record(r, 1, 1, 1);

	w.flags = 0;
	forge(r, 1, 0, &w);
	assert_non_null(forge_find(r, 0, 1, NULL));
	assert_null(forge_find(r, 1, 1, NULL));
	rack_kill(r, 1);
	rack_run_ms(r, 20);
	rack_start(r, 1);
	rack_run_ms(r, 500);
	assert_non_null(forge_find(r, 1, 1, NULL));
	assert_null(forge_find(r, 2, 1, NULL)); // nor is it given more copies
	rack_free(r);
}

// Loses what a node sends to the others.
static bool lose_of(void *ctx, unsigned from, const struct frame *f)
{
	return f->vlan == 30 && *(const unsigned *)ctx == from;
}

// Nobody hears the writer, and one of the others gives a copy in its place. When the writer is heard
// again, it has to know of that copy: or what it changes from then on would not come there.
static void repair__writer_hears_of_copies_given_in_its_place(void **state)
{
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 4, .workers = 1, .backups = 1, .seed = 11});
	unsigned unheard = NODES;

	rack_run_ms(r, 300);
	rack_tap(r, lose_of, &unheard);
	struct wire_record w = forge_record(r, 1, 0, 1);
	w.holders = 3;
	forge(r, 0, 1, &w);
	forge(r, 1, 0, &w);
	unheard = 0;
	rack_run_ms(r, 500);
	unsigned given = forge_find(r, 2, 1, NULL) != NULL ? 3 : 2; // not by node 1 itself
	forge(r, 1, given, &w);
	assert_non_null(forge_find(r, given, 1, NULL));
	assert_int_equal(forge_find(r, 0, 1, NULL)->holders >> given & 1, 0);
	unheard = NODES;
	rack_run_ms(r, 500);
	struct shard *s = node_shard(rack_node(r, 0), 0);
	repl_changed(
		s, store_find_hash(&s->store, store_hash(&s->store, &w.key)), 1u << PART_SHARED);
	rack_run_ms(r, 100);
	assert_int_equal(forge_find(r, given, 1, NULL)->part[PART_SHARED].epoch, 2);
	rack_free(r);
}

// The writer has restarted. Who was to send it what it wrote before has died as well, and nobody has
// noticed yet: the others do so then, or it would never look after those connections.
static void repair__restarted_writer_has_its_records(void **state)
{
	enum { N = 40 };
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 4, .workers = 1, .backups = 3, .seed = 12});
	struct flow f[N];
	struct conn_view v;
	unsigned mastered = 0;

	rack_run_ms(r, 300);
	assert_int_equal(flows_open(r, f, 0, N, "10.1.0.101"), N);
	for (unsigned k = 0; k < N; k++)
		mastered += rack_conn(r, 1, &f[k].key, &v) && v.shared == 1;
	assert_true(mastered >= 4);
	rack_kill(r, 1);
	rack_run_ms(r, 500);
	rack_kill(r, 0);
	rack_start(r, 1);
	rack_run_ms(r, 2000);
	for (unsigned k = 0; k < N; k++)
		assert_int_equal(rack_copies(r, &f[k].key), 3);
	rack_free(r);
}

// What a node wrote in its former life, another has sent it: it is the writer again, and gives copies.
static void repair__former_writer_gives_copies(void **state)
{
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 3, .workers = 1, .backups = 2, .seed = 13});

	rack_run_ms(r, 300);
	struct wire_record w = forge_record(r, 1, 0, 1);
	w.holders = 3;
	forge(r, 1, 0, &w);
	rack_run_ms(r, 100);
	assert_non_null(forge_find(r, 2, 1, NULL));
	rack_free(r);
}

// A writer that has told of its copy is sent none, whichever node was the writer before.
static void repair__writer_that_has_told_is_left_alone(void **state)
{
	struct rack *r =
		rack_new(&(struct rack_conf){.nodes = 4, .workers = 1, .backups = 1, .seed = 14});

	rack_run_ms(r, 300);
	struct wire_record w = forge_record(r, 1, 0, 1);
	w.holders = 3;
	forge(r, 0, 1, &w);
	w.holders = 7;
	for (unsigned p = 0; p < PARTS; p++)
		w.version[p] = (struct conn_version){.epoch = 2, .writer = 2};
	forge(r, 2, 1, &w);
	rack_run_ms(r, 100);
	uint64_t sent = rack_counter(r, 1, C_log_records_tx);
	repl_repair_start(node_shard(rack_node(r, 1), 0), false);
	rack_run_ms(r, 100);
	assert_int_equal(rack_counter(r, 1, C_log_records_tx), sent);
	assert_null(forge_find(r, 2, 1, NULL)); // it would have been kept
	rack_free(r);
}

// What TCP has closed is about to end, and gets no copies in the place of those that are lost.
static void repair__not_of_what_is_closed(void **state)
{
	enum { N = 20 };
	struct rack *r = rack_new(
		&(struct rack_conf){.nodes = NODES, .workers = 1, .backups = 1, .seed = 6});
	static struct flow f[2 * N];
	unsigned copies[2] = {0};

	rack_run_ms(r, 300);
	assert_int_equal(flows_open(r, f, 0, 2 * N, "10.1.0.101"), 2 * N);
	flows_close(r, f, N);
	rack_run_ms(r, 300);
	for (unsigned i = 0; i < 2 * N; i++)
		assert_int_equal(rack_copies(r, &f[i].key), 2);
	uint64_t before = rack_counter(r, -1, C_repairs);
	rack_kill(r, 3);
	rack_run_ms(r, 400);
	for (unsigned i = 0; i < 2 * N; i++)
		copies[i / N] += rack_copies(r, &f[i].key);
	assert_in_range(copies[0], N, 2 * N - 1);
	assert_int_equal(copies[1], 2 * N);
	assert_true(rack_counter(r, -1, C_repairs) > before);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(repair__not_of_what_is_closed),
		cmocka_unit_test(repair__a_hundred_thousand),
		cmocka_unit_test(repair__answered_while_the_peer_is_late),
		cmocka_unit_test(repair__answered_while_one_of_two_is_late),
		cmocka_unit_test(repair__lowest_holder_has_just_joined),
		cmocka_unit_test(repair__of_the_last_copy),
		cmocka_unit_test(repair__unanswered_life_is_told),
		cmocka_unit_test(repair__holder_that_was_not_reached),
		cmocka_unit_test(repair__who_hears_nobody_claims_nothing),
		cmocka_unit_test(repair__writer_hears_of_copies_given_in_its_place),
		cmocka_unit_test(repair__restarted_writer_has_its_records),
		cmocka_unit_test(repair__former_writer_gives_copies),
		cmocka_unit_test(repair__writer_that_has_told_is_left_alone),
	};
	return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
