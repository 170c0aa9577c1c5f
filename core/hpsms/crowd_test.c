// SPDX-License-Identifier: BSD-3-Clause
// A connection that has been on more nodes than can be listed as its holders.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/hpsms/repl.h"
#include "core/testing/flows.h"
#include "core/testing/forge.h"

#define NODES 22
#define N 12
#define SERVER "10.1.0.101"

static struct flow flows[N];

static uint32_t at(struct rack *r, unsigned node, const struct tripod_tuple *key)
{
	const struct store *st = &node_shard(rack_node(r, node), 0)->store;

	return store_find_hash(st, store_hash(st, key));
}

static const struct conn_repl *repl_of(
	struct rack *r, unsigned node, const struct tripod_tuple *key)
{
	uint32_t i = at(r, node, key);

	return i == STORE_NONE ? NULL : store_repl(&node_shard(rack_node(r, node), 0)->store, i);
}

// Every copy is one that the writer knows, and is what all others are.
static void assert_equal(struct rack *r, const struct tripod_tuple *key)
{
	const struct conn_repl *some = NULL, *l;

	for (unsigned i = 0; i < NODES && some == NULL; i++)
		some = repl_of(r, i, key);
	assert_non_null(some);
	const struct conn_repl *master = repl_of(r, some->part[PART_SHARED].writer, key);
	assert_non_null(master);
	assert_true(__builtin_popcountll(master->holders) <= HOLDERS_MAX);
	for (unsigned i = 0; i < NODES; i++) {
		if ((l = repl_of(r, i, key)) == NULL)
			continue;
		assert_true(master->holders >> i & 1);
		for (unsigned p = 0; p < PARTS; p++) {
			assert_int_equal(l->part[p].epoch, master->part[p].epoch);
			assert_int_equal(l->part[p].version, master->part[p].version);
			assert_int_equal(l->part[p].writer, master->part[p].writer);
		}
	}
}

// Ports go down and up so that packets of each connection come to more than 16 nodes, their directions
// together or apart.
static void moved(struct rack *r, unsigned seed)
{
	struct rng rng = {.state = seed};

	for (unsigned n = 0; n < 40; n++) {
		uint64_t up = rng_next(&rng);
		for (unsigned i = 0; i < NODES; i++)
			rack_port(r, i, up >> i & 1);
		for (unsigned k = 0; k < N; k++)
			flow_from_client(r, &flows[k], TRIPOD_TCP_ACK, 10);
		rack_run_ms(r, 3);
		for (unsigned k = 0; k < N; k++)
			flow_from_server(r, &flows[k], TRIPOD_TCP_ACK, 10);
		rack_run_ms(r, 3);
	}
}

static void crowd__more_than_can_be_listed(void **state)
{
	for (unsigned how = 0; how < 4; how++) {
		struct rack *r = rack_new(&(struct rack_conf){.nodes = NODES,
			.workers = 1,
			.backups = 2,
			.seed = how > 1 ? 31 : 3,
			.modulo = true,
			.split = how & 1});
		rack_run_ms(r, 300);
		for (unsigned k = 0; k < N; k++)
			flows[k] = flow_of(k, SERVER);
		assert_int_equal(flows_open(r, flows, 0, N, SERVER), N);
		moved(r, how > 1 ? 1 : 5);
		for (unsigned i = 0; i < NODES; i++)
			rack_port(r, i, true);
		rack_run_ms(r, 4000); // and what has crossed a FORGET is found
		assert_true(rack_counter(r, -1, C_holders_full) > 0);
		for (unsigned k = 0; k < N; k++)
			assert_equal(r, &flows[k].key);
		// It is the newest state that goes on, wherever the packets come now.
		assert_int_equal(flows_exchange(r, flows, N), N);
		rack_run_ms(r, 4000);
		for (unsigned k = 0; k < N; k++)
			assert_equal(r, &flows[k].key);
		rack_check(r);
		rack_free(r);
	}
}

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = NODES;
	c.workers = c.backups = 1;
	c.seed = 3;
	struct rack *r = rack_new(&c);

	rack_run_ms(r, 300);
	return r;
}

// Node 0 writes it, and 16 nodes are listed. Nodes 18 to 20 have copies of an older time.
static void listed(struct rack *r)
{
	struct wire_record w = forge_record(r, 1, 0, 1);

	w.holders = 0xffff;
	w.dir[0].tcp_flags = w.dir[1].tcp_flags = TCP_DIR_SYN | TCP_DIR_ACK;
	w.flags |= WIRE_RECORD_ANSWER; // so they tell nobody of it
	for (unsigned i = 18; i <= 20; i++)
		forge(r, 1, i, &w);
	for (unsigned p = 0; p < PARTS; p++)
		w.version[p].epoch = 3;
	forge(r, 1, 0, &w);
	struct shard *s = node_shard(rack_node(r, 0), 0);
	repl_changed(
		s, store_find_hash(&s->store, store_hash(&s->store, &w.key)), 1u << PART_SHARED);
	rack_run_ms(r, 50);
	for (unsigned i = 0; i < 16; i++)
		assert_non_null(forge_find(r, i, 1, NULL));
}

// A node takes direction 1 over, with this epoch; of the shared part it knows what all know.
static void takes_over(struct rack *r, unsigned node, uint16_t epoch)
{
	struct shard *s = node_shard(rack_node(r, node), 0);
	struct conn_repl *l = forge_find(r, node, 1, NULL);

	l->part[1].epoch = epoch - 1;
	l->part[PART_SHARED] = forge_find(r, 0, 1, NULL)->part[PART_SHARED];
	s->now_ns = rack_now_ns(r);
	conn_take_over(s, (uint32_t)(l - s->store.repls), 1);
}

// Whoever speaks up and has no place is to forget its copy; one that has taken a part over has a place.
static void crowd__who_speaks_up(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	listed(r);
	assert_int_equal(forge_find(r, 0, 1, NULL)->holders, 0xffff);
	takes_over(r, 19, 2); // what another has had since
	takes_over(r, 20, 4);
	rack_run_ms(r, 100);
	assert_null(forge_find(r, 19, 1, NULL));
	const struct conn_repl *l = forge_find(r, 0, 1, NULL);
	assert_int_equal(l->part[1].writer, 20);
	assert_int_equal(l->holders >> 20 & 1, 1);
	assert_int_equal(l->holders >> 15 & 1, 1); // which had no place on node 20's list
	assert_int_equal(__builtin_popcountll(l->holders), HOLDERS_MAX);
	assert_int_equal(forge_find(r, 20, 1, NULL)->holders, l->holders);
	unsigned gone = (unsigned)__builtin_ctzll(0xffff & ~l->holders);
	assert_null(forge_find(r, gone, 1, NULL));
	// Who has lost to a claim of the same epoch takes the connection for its own, and would not forget it.
	takes_over(r, 18, 4);
	rack_run_ms(r, 100);
	assert_int_equal(l->holders >> 18 & 1, 1);
	assert_int_equal(forge_find(r, 18, 1, NULL)->part[1].writer, 20);
	rack_free(r);
}

// Whoever is silent is found by what it has told of its keys, and is not asked for what it has.
static void crowd__who_is_silent(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	listed(r);
	uint64_t sent = rack_counter(r, 18, C_log_records_tx);
	rack_run_ms(r, 2500);
	assert_null(forge_find(r, 18, 1, NULL));
	assert_int_equal(rack_counter(r, 18, C_log_records_tx), sent);
	rack_free(r);
}

static unsigned found(struct rack *r, unsigned first)
{
	unsigned n = 0;

	for (unsigned i = first; i < NODES; i++)
		n += forge_find(r, i, 1, NULL) != NULL;
	return n;
}

static struct wire_forget forget_of(struct rack *r)
{
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct conn *c;
	const struct conn_repl *l = forge_find(r, 0, 1, &c);
	struct wire_forget w = {.hash = store_hash(&s->store, &c->dir[0].key),
		.incarnation = c->incarnation,
		.stamp = c->stamp};

	for (unsigned p = 0; p < PARTS; p++)
		w.epoch[p] = l->part[p].epoch;
	return w;
}

// No index set shows it, and the writer has not heard of it: whoever has a copy and no place asks, until it has one or
// has forgotten.
static void crowd__who_has_no_place_asks(void **state)
{
	for (unsigned full = 0; full < 2; full++) {
		struct rack *r = rack_of((struct rack_conf){.no_index = true});

		listed(r);
		struct conn_repl *l = forge_find(r, 0, 1, NULL);
		if (!full) // since others were told of a list that was full
			holders_remove(l, 1u << 15);
		assert_int_equal(found(r, 16), 3);
		rack_run_ms(r, 1500);
		assert_int_equal(found(r, 16), full ? 0 : 1);
		assert_int_equal(__builtin_popcountll(l->holders), HOLDERS_MAX);
		uint64_t asked = rack_counter(r, -1, C_copies_compared);
		assert_true(asked >= 3);
		rack_run_ms(r, 3000);
		assert_int_equal(rack_counter(r, -1, C_copies_compared), asked);
		rack_free(r);
	}
}

// A question for the connection of a node is (no longer) under way.
static void waits(struct rack *r, unsigned node, bool begins)
{
	struct shard *s = node_shard(rack_node(r, node), 0);
	struct tripod_tuple key = forge_key(1);
	uint64_t hash = store_hash(&s->store, &key);
	uint32_t *list = &s->pull_hash[hash & (PULL_HASH - 1)];

	if (begins)
		s->pulls[1] = (struct pull){
			.key = key, .hash = hash, .state = PULL_ASKING, .chain = *list};
	*list = begins ? 1 : s->pulls[1].chain;
}

// It is asked to forget while packets wait, or are about to go on. They do, and take nothing over.
static void crowd__forgets_when_nothing_waits(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.no_index = true});
	uint8_t body[40];

	listed(r);
	struct wire_forget w = forget_of(r);
	struct wire_header h = {.type = WIRE_FORGET, .count = 1};
	uint16_t len = (uint16_t)wire_put_forget(body, sizeof(body), &w);
	for (unsigned node = 18; node < 20; node++) {
		struct shard *s = node_shard(rack_node(r, node), 0);
		struct conn_repl *l = forge_find(r, node, 1, NULL);
		l->unlisted = 0; // it had a place before
		s->again_first = node == 19;
		waits(r, node, node == 18);
		trim_rx(s, &h, body, len);
		assert_ptr_equal(forge_find(r, node, 1, NULL), l);
		waits(r, node, false);
		s->again_first = 0;
	}
	rack_run_ms(r, 1500);
	assert_int_equal(found(r, 18), 0);
	rack_free(r);
}

// The master of the other direction has a place on the list of who takes over, too.
static void crowd__other_direction(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);

	w.holders = 0xffff;
	w.version[1].writer = 15;
	forge(r, 1, 20, &w);
	struct conn_repl *l = forge_find(r, 20, 1, NULL);
	assert_int_equal(l->holders >> 15 & 1, 0);
	struct shard *s = node_shard(rack_node(r, 20), 0);
	s->now_ns = rack_now_ns(r);
	unsigned spare = s->step->n_spare;
	s->step->n_spare = 0; // what it would say outside of a step would be lost
	conn_take_over(s, store_find_hash(&s->store, store_hash(&s->store, &w.key)), 0);
	s->step->n_spare = spare;
	assert_int_equal(l->holders >> 15 & 1, 1);
	assert_int_equal(l->holders >> 20 & 1, 1);
	rack_free(r);
}

// Whoever writes nothing tells of a copy that it has given those who write, and nobody else.
static void crowd__writers_alone_are_told(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);

	w.holders = 0x1f;
	forge(r, 0, 1, &w);
	rack_run_ms(r, 50);
	struct shard *s = node_shard(rack_node(r, 1), 0);
	uint64_t sent = rack_counter(r, 1, C_log_records_tx);
	s->now_ns = rack_now_ns(r);
	repl_hold(s, store_find_hash(&s->store, store_hash(&s->store, &w.key)), 9);
	rack_run_ms(r, 50);
	assert_int_equal(rack_counter(r, 1, C_log_records_tx), sent + 1);
	assert_int_equal(forge_find(r, 0, 1, NULL)->holders >> 9 & 1, 1);
	rack_free(r);
}

// All that are listed are to be left by their connections: whoever goes on gets a copy, and another's place.
static void crowd__drained_when_the_list_is_full(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct node_status st;

	listed(r);
	rack_run_ms(r, 1500); // who has no place forgets
	for (unsigned i = 0; i < 16; i++)
		node_set_draining(rack_node(r, i), true);
	rack_run_ms(r, 1500);
	node_status(rack_node(r, 0), &st);
	assert_int_equal(st.owed, 0);
	assert_true(st.phase == NODE_MOVING || st.phase == NODE_DRAINED);
	const struct conn_repl *l = forge_find(r, 0, 1, NULL);
	assert_int_equal(__builtin_popcountll(l->holders), HOLDERS_MAX);
	assert_true(l->holders >> 16 != 0 && found(r, 16) > 0);
	uint32_t version = l->part[PART_SHARED].version;
	rack_run_ms(r, 1500);
	assert_int_equal(l->part[PART_SHARED].version, version); // and that is all
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crowd__more_than_can_be_listed),
		cmocka_unit_test(crowd__who_speaks_up),
		cmocka_unit_test(crowd__who_is_silent),
		cmocka_unit_test(crowd__who_has_no_place_asks),
		cmocka_unit_test(crowd__forgets_when_nothing_waits),
		cmocka_unit_test(crowd__other_direction),
		cmocka_unit_test(crowd__writers_alone_are_told),
		cmocka_unit_test(crowd__drained_when_the_list_is_full),
	};
	return cmocka_run_group_tests_name("crowd", tests, NULL, NULL);
}
