// SPDX-License-Identifier: BSD-3-Clause
// Index sets on a rack: who knows of whom, what it costs, and what a miss does with it.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/agreed.h"
#include "core/testing/flows.h"
#include "core/testing/settled.h"

#define SERVER "10.1.0.101"
#define BODY (14 + 20 + 8)

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 4;
	c.seed = c.seed ? c.seed : 71;
	return settled_rack(c);
}

static struct shard *shard_of(struct rack *r, unsigned node)
{
	return node_shard(rack_node(r, node), 0);
}

static struct index *index_of(struct rack *r, unsigned node)
{
	return rack_node(r, node)->index;
}

static uint32_t print_of(struct rack *r, const struct tripod_tuple *key)
{
	return index_print(store_hash(&shard_of(r, 0)->store, key), key->direction);
}

// ---- What is announced ----

static void index__short_lives_cost_nothing(void **state)
{
	enum { N = 100 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){0});

	rack_run_ms(r, 11000); // settled: nobody asks
	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	assert_int_equal(flows_exchange(r, f, N), N);
	flows_close(r, f, N);
	rack_run_ms(r, 20000);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_tcp), N);
	assert_int_equal(rack_counter(r, -1, C_index_adds), 0);
	assert_int_equal(rack_counter(r, -1, C_index_rx_changes), 0);
	rack_free(r);
}

// Master and backup announce both keys of what lives longer; when it has ended, nothing stays.
static void announce_and_forget(struct rack_conf conf)
{
	enum { N = 200 };
	struct flow f[N];
	struct rack *r = rack_of(conf);
	unsigned nodes = conf.nodes ? conf.nodes : 4;

	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	rack_run_ms(r, 1200);
	agreed_sets(r, nodes);
	for (unsigned i = 0; i < N; i++) {
		struct conn_view v;
		uint64_t holders = 0, told = 0;
		for (unsigned node = 0; node < nodes; node++) {
			if (rack_conn(r, node, &f[i].key, &v))
				holders |= 1ull << node;
		}
		assert_true(__builtin_popcountll(holders) >= 2);
		for (unsigned node = 0; node < nodes; node++) {
			for (unsigned d = 0; d < 2; d++) {
				told = index_candidates(shard_of(r, node), print_of(r, &v.key[d]));
				assert_true(
					(told & ~(1ull << node)) == (holders & ~(1ull << node)));
			}
		}
	}
	flows_close(r, f, N);
	rack_run_ms(r, 25000);
	agreed_sets(r, nodes);
	for (unsigned node = 0; node < nodes; node++) {
		assert_int_equal(index_of(r, node)->own.used, 0);
		assert_int_equal(index_of(r, node)->map.used, 0);
	}
	assert_int_equal(rack_counter(r, -1, C_index_adds), rack_counter(r, -1, C_index_removes));
	rack_free(r);
}

static void index__announce_and_forget(void **state)
{
	announce_and_forget((struct rack_conf){0});
}

static void index__announce_three_workers(void **state)
{
	announce_and_forget((struct rack_conf){.workers = 3, .seed = 72});
}

static void index__announce_with_loss(void **state)
{
	announce_and_forget((struct rack_conf){.loss_percent = 20, .seed = 73});
}

// What comes up together is told together; but not what is to be told at once, nor when somebody asks.
static void index__waits_for_more(void **state)
{
	enum { N = 40 };
	for (unsigned workers = 1; workers < 3; workers++) {
		struct flow f[N];
		struct rack *r = rack_of((struct rack_conf){
			.nodes = 2, .workers = workers, .index_flush_ms = 400, .seed = 75});
		rack_run_ms(r, 11000);
		uint32_t before = index_of(r, 0)->filling;
		assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
		rack_run_ms(r, 1050);
		assert_int_equal(index_of(r, 0)->batch->n, 2 * N); // all are old enough
		assert_int_equal(index_of(r, 1)->map.used, 0);
		rack_run_ms(r, 400);
		agreed_sets(r, 2);
		assert_int_equal(index_of(r, 1)->map.used, 2 * N);
		assert_int_equal(index_of(r, 0)->filling, before + 1);
		struct shard *s = node_shard(rack_node(r, 0), workers - 1);
		struct store_hit hit;
		for (unsigned k = N;; k++) { // until it is the last worker's
			assert_int_equal(flows_open(r, f, k, 1, SERVER), 1);
			hit = store_find(&s->store, &f[0].key, store_hash(&s->store, &f[0].key));
			if (hit.what == STORE_CONN)
				break;
		}
		index_at_once(s, hit.index);
		rack_run_ms(r, 10);
		assert_true(index_map_find(&index_of(r, 1)->map, print_of(r, &f[0].key)) & 1);
		assert_int_equal(flows_open(r, f, 2 * N, 1, SERVER), 1);
		index_round(shard_of(r, 1));
		rack_run_ms(r, 10);
		assert_true(index_map_find(&index_of(r, 1)->map, print_of(r, &f[0].key)) & 1);
		rack_free(r);
	}
}

// More than there is room for waits for nothing.
static void index__too_many_to_wait(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .index_flush_ms = 400});
	struct rng rng = {.state = 6};

	rack_run_ms(r, 11000);
	for (unsigned n = 0; n < INDEX_BATCH + 600; n += 12) {
		struct ring_message m = {.type = RING_INDEX, .index = {.n = 12}};
		for (unsigned k = 0; k < 12; k++)
			m.index.fp[k] = (uint32_t)rng_next(&rng) | 1;
		index_ring(shard_of(r, 0), 1, &m);
	}
	rack_run_ms(r, 10);
	assert_int_equal(index_of(r, 1)->map.used, INDEX_BATCH);
	rack_run_ms(r, 400);
	assert_true(index_of(r, 1)->map.used >= INDEX_BATCH + 600);
	assert_int_equal(agreed_wrong(r, 1, 0), 0);
	rack_free(r);
}

// ---- Changes that are lost ----

struct eater {
	unsigned from; // the node whose messages are lost
	unsigned left; // INDEX messages with changes still to be lost
	unsigned eaten;
	unsigned seen[16]; // by type, all nodes
};

static bool eat(void *ctx, unsigned from, const struct frame *f)
{
	struct eater *e = ctx;
	bool changes = f->data[BODY + 7] != 0 || f->data[BODY + 6] != 0;

	if (f->vlan != 30)
		return false;
	e->seen[rack_message(f) & 15]++;
	if (from != e->from || rack_message(f) != WIRE_INDEX || !changes || e->left == 0)
		return false;
	e->left--;
	e->eaten++;
	return true;
}

// A few messages are sent again; nobody fetches a set for that.
static void index__gap(void **state)
{
	enum { N = 100 };
	struct flow f[N];
	struct eater e = {.from = 1, .left = 3};
	struct rack *r = rack_of((struct rack_conf){0});

	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	rack_tap(r, eat, &e);
	rack_run_ms(r, 1500);
	assert_int_equal(e.eaten, 3);
	agreed_sets(r, 4);
	assert_true(rack_counter(r, -1, C_index_gaps) >= 3);
	assert_int_equal(rack_counter(r, 1, C_index_gaps), 0);
	assert_int_equal(rack_counter(r, -1, C_index_snapshots), 0);
	assert_true(e.seen[WIRE_ASK] >= 3);
	rack_free(r);
}

// The last change before silence is missed as well: the sender says now and then how far it is.
static void index__gap_at_the_end(void **state)
{
	struct flow f[1];
	struct eater e = {.from = 0, .left = 1};
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});

	assert_int_equal(flows_open(r, f, 0, 1, SERVER), 1);
	rack_tap(r, eat, &e);
	rack_run_ms(r, 1200);
	assert_int_equal(e.eaten, 1);
	agreed_sets(r, 2);
	assert_true(index_of(r, 0)->own.used == 2 && index_of(r, 1)->map.used == 2);
	rack_free(r);
}

// Hundreds of messages are missed: the set is fetched whole, while it changes.
static void index__long_gap(void **state)
{
	enum { N = 600 };
	static struct flow f[N];
	struct eater e = {.from = 0, .left = 0};
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});

	rack_tap(r, eat, &e);
	assert_int_equal(flows_open(r, f, 0, N / 2, SERVER), N / 2);
	rack_run_ms(r, 1200);
	agreed_sets(r, 3);
	// Much younger than the history is long, were they announced in one message each.
	e.left = UINT32_MAX;
	flows_close(r, f, N / 4);
	unsigned before = index_of(r, 0)->filling;
	for (unsigned i = N / 2; i < N; i++) {
		assert_int_equal(flows_open(r, f + i, i, 1, SERVER), 1);
		rack_run_ms(r, 20);
	}
	assert_true(index_of(r, 0)->filling - before > INDEX_HISTORY);
	e.left = 0;
	rack_run_ms(r, 1500);
	agreed_sets(r, 3);
	assert_true(rack_counter(r, 1, C_index_snapshots) >= 1);
	assert_true(rack_counter(r, 2, C_index_snapshots) >= 1);
	assert_int_equal(rack_counter(r, 0, C_index_snapshots), 0);
	rack_free(r);
}

// A node that starts again fetches the sets of all, and nobody believes what its former life has told.
static void index__restart(void **state)
{
	enum { N = 400 };
	static struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.nodes = 4, .loss_percent = 5, .seed = 74});

	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	rack_run_ms(r, 2500);
	agreed_sets(r, 4);
	for (unsigned victim = 0; victim < 4; victim++) {
		uint32_t used = index_of(r, victim)->own.used;
		assert_true(used > 100);
		rack_kill(r, victim);
		rack_run_ms(r, 150);
		rack_start(r, victim);
		rack_run_ms(r, 400);
		agreed_sets(r, 4);
		rack_run_ms(r, 2000);
		assert_int_equal(flows_exchange(r, f, N), N);
		rack_run_ms(r, 1500);
		agreed_sets(r, 4);
	}
	rack_free(r);
}

// What a member had that stays dead is taken out of the table in the end.
static void index__dead_member_is_swept(void **state)
{
	enum { N = 100 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});

	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	rack_run_ms(r, 1500);
	rack_kill(r, 2);
	rack_run_ms(r, 12000);
	for (unsigned at = 0; at < 2; at++) {
		const struct index_map *map = &index_of(r, at)->map;
		for (uint32_t b = 0; b < map->n_buckets; b++) {
			for (unsigned w = 0; w < INDEX_MAP_WAYS; w++)
				assert_true(map->bucket[b].fp[w] == 0 ||
					    !(map->bucket[b].nodes[w] & 4));
		}
	}
	rack_start(r, 2);
	rack_run_ms(r, 2500);
	agreed_sets(r, 3);
	rack_free(r);
}

// ---- Misses ----

// An old connection is asked for where it is, and nowhere else, in one round trip.
static void index__old_connections_are_asked_for_by_name(void **state)
{
	enum { N = 100 };
	struct flow f[N];
	struct eater e = {.from = 99};
	struct rack *r = rack_of((struct rack_conf){.nodes = 6});

	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	rack_run_ms(r, 12000); // settled
	uint64_t asks = rack_counter(r, -1, C_index_asks);
	rack_tap(r, eat, &e);
	rack_port(r, 2, false); // the switch moves flows, and nobody says so
	assert_int_equal(flows_exchange(r, f, N), N);
	uint64_t pulled = rack_counter(r, -1, C_pulls_answered);
	assert_true(pulled > 5);
	assert_int_equal(rack_counter(r, -1, C_pulls_targeted), pulled);
	assert_int_equal(rack_counter(r, -1, C_pulls_broadcast), 0);
	assert_int_equal(rack_counter(r, -1, C_pulls_failed), 0);
	assert_int_equal(rack_counter(r, -1, C_index_asks), asks);
	assert_int_equal(e.seen[WIRE_NONE], 0);
	assert_true(e.seen[WIRE_PULL] <= 2 * pulled); // to master and backup
	rack_free(r);
}

// A young one is not announced: one round tells of it, and of all that came with it.
static void young_are_found(struct rack_conf conf)
{
	enum { N = 100 };
	struct flow f[N];
	struct rack *r = rack_of(conf);

	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	assert_int_equal(rack_counter(r, -1, C_index_asks), 0);
	rack_port(r, 2, false);
	assert_int_equal(flows_exchange(r, f, N), N);
	assert_true(rack_counter(r, -1, C_pulls_answered) > 5);
	assert_true(rack_counter(r, -1, C_index_asks) > 0);
	assert_int_equal(rack_counter(r, -1, C_pulls_broadcast), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_unknown), 0);
	rack_free(r);
}

static void index__young_connections_are_found(void **state)
{
	young_are_found((struct rack_conf){.nodes = 6});
}

static void index__young_connections_of_other_workers_are_found(void **state)
{
	young_are_found((struct rack_conf){.nodes = 4, .workers = 3, .seed = 75});
}

// Nothing moves, all sets are here: what is in none of them is unknown, and nobody is asked.
static void index__settled_unknown_costs_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 4});

	rack_run_ms(r, 11000);
	uint64_t asks = rack_counter(r, -1, C_index_asks);
	for (unsigned i = 0; i < 200; i++) {
		struct flow f = flow_of(i, SERVER);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
		if (i % 10 == 0)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 10);
	assert_int_equal(rack_counter(r, -1, C_drop_unknown), 200);
	assert_int_equal(rack_counter(r, -1, C_index_asks), asks);
	assert_int_equal(rack_counter(r, -1, C_pulls_sent), 0);
	rack_free(r);
}

// A reset cannot be taken back: before one is sent, all are asked, moving or not.
static void index__no_reset_without_a_round(void **state)
{
	struct flow f[20];
	struct rack *r = rack_of((struct rack_conf){.nodes = 4, .reset = true});

	rack_run_ms(r, 11000);
	assert_int_equal(flows_open(r, f, 0, 20, SERVER), 20);
	uint64_t asks = rack_counter(r, -1, C_index_asks);
	rack_port(r, 2, false);
	assert_int_equal(
		flows_exchange(r, f, 20), 20); // young, and nobody knew that anything moves
	assert_true(rack_counter(r, -1, C_index_asks) > asks);
	rack_free(r);
}

// A round has left a member out, whose set was not all here, and now it is: who waits for that round has asked
// nobody, and waits for the next.
static void index__left_out_of_a_round(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .seed = 81});
	struct flow f[2];
	struct conn_view v;

	rack_port(r, 0, false);
	assert_int_equal(flows_open(r, f, 0, 1, SERVER), 1); // next hops are known now
	rack_port(r, 1, false);
	rack_port(r, 0, true);
	struct flow asks = flow_of(7, SERVER);
	rack_freeze(r, 1);
	struct index *ix = index_of(r, 0);
	struct shard *s = node_shard(rack_node(r, 0), 0);
	uint32_t whole = ix->round_whole;
	ix->m[1].partial = true;
	flow_from_client(r, &asks, TRIPOD_TCP_ACK, 10); // asked of who is blind
	uint32_t round = index_round(s);
	while (!index_round_over(s, round))
		rack_step(r);
	assert_true(ix->round_whole == whole && !index_round_whole(s, round));
	rack_thaw(r, 1);
	rack_run_ms(r, 50);
	// The same for a packet: the round that it waits for ends without anybody.
	rack_port(r, 1, true);
	rack_port(r, 0, false);
	f[1] = flow_of(8, SERVER);
	flow_from_client(r, &f[1], TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 2);
	rack_port(r, 1, false);
	rack_port(r, 0, true);
	ix->round_ns = s->now_ns; // none begins at once
	flow_from_client(r, &f[1], TRIPOD_TCP_ACK, 10);
	while (s->index.n == 0)
		rack_step(r);
	ix->round_begun++;
	ix->round_done++;
	rack_run_ms(r, 20);
	assert_true(rack_conn(r, 0, &f[1].key, &v));
	rack_check(r);
	rack_free(r);
}

// Two keys of one fingerprint, at two workers: the set has it until both have gone.
static void index__two_keys_of_one_fingerprint(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .workers = 2});
	struct ring_message add = {.type = RING_INDEX, .index = {.fp = {77, 99}, .n = 2}};
	struct ring_message del = {
		.type = RING_INDEX, .index = {.fp = {77, 99}, .n = 2, .removes = 3}};
	struct shard *other = node_shard(rack_node(r, 0), 1);

	shard_post(other, 0, &add);
	rack_run_ms(r, 20);
	shard_post(other, 0, &add);
	rack_run_ms(r, 20);
	assert_int_equal(index_map_find(&index_of(r, 1)->map, 77), 1);
	assert_int_equal(rack_counter(r, 1, C_index_rx_changes), 2);
	shard_post(other, 0, &del);
	rack_run_ms(r, 20);
	assert_int_equal(index_map_find(&index_of(r, 1)->map, 77), 1);
	shard_post(other, 0, &del);
	rack_run_ms(r, 20);
	assert_int_equal(index_map_find(&index_of(r, 1)->map, 77), 0);
	assert_int_equal(rack_counter(r, 1, C_index_rx_changes), 4);
	rack_free(r);
}

// ---- What seldom happens, by hand ----

// A piece of a set that a later change has overtaken is not taken: what that took out would come back.
static void index__overtaken_piece(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct index_member *m = &index_of(r, 0)->m[1], was = *m;
	struct wire_snapshot w = {
		.seq = 49, .total = 100, .first = 5, .places = 5, .n = 1, .fp = {1001}};
	struct wire_header h = {.from_node = 1, .count = 1};
	uint8_t b[64];

	m->state = INDEX_COPYING;
	m->copy_at = 5;
	m->copy_total = 100;
	m->applied = m->newest = 50;
	for (; w.seq <= 50; w.seq++) {
		int size = wire_put_snapshot(b, sizeof(b), &w);
		index_copy_rx(shard_of(r, 0), &h, b, (uint16_t)size);
		assert_int_equal(m->copy_at, w.seq < 50 ? 5 : 10);
		assert_int_equal(index_map_find(&index_of(r, 0)->map, 1001) != 0, w.seq == 50);
	}
	*m = was;
	rack_free(r);
}

// A member's answer counts when all changes before it are here.
static void index__answer_before_its_changes(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct shard *s = shard_of(r, 0);
	struct index *ix = index_of(r, 0);
	struct wire_delta d = {.seq = ix->m[1].applied + 1,
		.n_answers = 1,
		.answer = {{0, (uint8_t)ix->round_begun}}};
	struct wire_header h = {.from_node = 1};
	uint8_t b[64];

	ix->round_open = true;
	ix->awaited = 2;
	ix->m[1].missed_ns = s->now_ns; // has just been asked
	index_rx(s, &h, b, (uint16_t)wire_put_delta(b, sizeof(b), &d));
	assert_true(ix->awaited == 2);
	d = (struct wire_delta){.seq = ix->m[1].applied + 1, .n = 1, .fp = {1001}};
	h.count = 1;
	index_rx(s, &h, b, (uint16_t)wire_put_delta(b, sizeof(b), &d));
	assert_true(ix->awaited == 0);
	rack_free(r);
}

// While somebody copies the set, what moves in it is told once more.
static void index__moved_while_copied(void **state)
{
	for (unsigned copied = 0; copied < 2; copied++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 2});
		struct index *ix = index_of(r, 0);
		struct rng rng = {.state = 5};
		unsigned changes;
		ix->own.n_buckets = 64;
		ix->copied_ns = copied ? shard_of(r, 0)->now_ns : 0;
		rack_run_ms(r, 1200 * !copied);
		for (uint32_t i = 0; i < 230; i++) {
			struct ring_message m = {.type = RING_INDEX,
				.index = {.fp = {(uint32_t)rng_next(&rng) | 1}, .n = 1}};
			index_ring(shard_of(r, 0), 1, &m);
		}
		changes = ix->batch->n;
		assert_int_equal(rack_counter(r, 0, C_index_adds), 230);
		assert_int_equal(changes > 230, copied);
		rack_free(r);
	}
}

// ---- Limits ----

// A table that is too small: who is not in it is asked itself, so that all are found all the same.
static void index__table_too_small(void **state)
{
	enum { N = 200 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.nodes = 4, .index_keys = 50});

	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	rack_run_ms(r, 2000);
	assert_true(rack_counter(r, -1, C_index_full) > 0);
	assert_false(index_complete(shard_of(r, 0)));
	rack_port(r, 2, false);
	assert_int_equal(flows_exchange(r, f, N), N);
	assert_int_equal(rack_counter(r, -1, C_drop_unknown), 0);
	// When there is room again, the sets are fetched.
	flows_close(r, f, N - 4);
	rack_run_ms(r, 45000);
	agreed_sets(r, 4);
	assert_true(index_of(r, 0)->map.used > 0);
	rack_free(r);
}

// A set that is too small: its node says so, and is asked itself.
static void index__set_too_small(void **state)
{
	enum { N = 200 };
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.nodes = 4});

	for (unsigned i = 0; i < 4; i++)
		index_of(r, i)->own.n_buckets = 8;
	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	rack_run_ms(r, 2000);
	assert_true(rack_counter(r, -1, C_index_full) > 0);
	assert_true(index_of(r, 0)->missing > 0);
	assert_int_equal(__builtin_popcountll(index_blind(shard_of(r, 0))), 3);
	rack_check(r);
	rack_port(r, 2, false);
	assert_int_equal(flows_exchange(r, f, N), N);
	assert_int_equal(rack_counter(r, -1, C_drop_unknown), 0);
	flows_close(r, f, N);
	rack_run_ms(r, 25000);
	assert_int_equal(index_of(r, 0)->missing, 0);
	agreed_sets(r, 4);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index__short_lives_cost_nothing),
		cmocka_unit_test(index__announce_and_forget),
		cmocka_unit_test(index__announce_three_workers),
		cmocka_unit_test(index__announce_with_loss),
		cmocka_unit_test(index__waits_for_more),
		cmocka_unit_test(index__too_many_to_wait),
		cmocka_unit_test(index__gap),
		cmocka_unit_test(index__gap_at_the_end),
		cmocka_unit_test(index__long_gap),
		cmocka_unit_test(index__restart),
		cmocka_unit_test(index__dead_member_is_swept),
		cmocka_unit_test(index__old_connections_are_asked_for_by_name),
		cmocka_unit_test(index__young_connections_are_found),
		cmocka_unit_test(index__young_connections_of_other_workers_are_found),
		cmocka_unit_test(index__settled_unknown_costs_nothing),
		cmocka_unit_test(index__no_reset_without_a_round),
		cmocka_unit_test(index__left_out_of_a_round),
		cmocka_unit_test(index__two_keys_of_one_fingerprint),
		cmocka_unit_test(index__overtaken_piece),
		cmocka_unit_test(index__answer_before_its_changes),
		cmocka_unit_test(index__moved_while_copied),
		cmocka_unit_test(index__table_too_small),
		cmocka_unit_test(index__set_too_small),
	};
	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
