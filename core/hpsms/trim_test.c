// SPDX-License-Identifier: BSD-3-Clause
// Copies that are given up, on the real core.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"

#define N 40
#define SERVER "10.1.0.101"

static struct flow flows[N];

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 6;
	c.workers = c.workers ? c.workers : 1;
	c.backups = 2;
	c.seed = c.seed ? c.seed : 3;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 11000); // nothing is unsettled
	for (unsigned k = 0; k < N; k++)
		flows[k] = flow_of(k, SERVER);
	assert_int_equal(flows_open(r, flows, 0, N, SERVER), N);
	return r;
}

static void acks(struct rack *r)
{
	for (unsigned k = 0; k < N; k++) {
		flow_from_client(r, &flows[k], TRIPOD_TCP_ACK, 0);
		flow_from_server(r, &flows[k], TRIPOD_TCP_ACK, 0);
	}
	rack_run_ms(r, 100);
}

// Each port goes down in turn, with packets meanwhile: everybody takes something over.
static void moved(struct rack *r)
{
	for (unsigned i = 0; i < 6; i++) {
		rack_port(r, i, false);
		acks(r);
		rack_port(r, i, true);
		acks(r);
	}
}

static void kill(struct rack *r, unsigned node)
{
	rack_kill(r, node);
	rack_port(r, node, false);
}

static unsigned copies(struct rack *r, unsigned *most)
{
	unsigned sum = 0;

	*most = 0;
	for (unsigned k = 0; k < N; k++) {
		unsigned n = rack_copies(r, &flows[k].key);
		sum += n;
		*most = n > *most ? n : *most;
	}
	return sum;
}

static void done(struct rack *r)
{
	assert_int_equal(rack_counter(r, -1, C_drop_control_bad), 0);
	rack_check(r);
	assert_int_equal(rack_buffers_lost(r), 0);
	rack_free(r);
}

static void trim__as_many_as_are_needed(void **state)
{
	for (unsigned how = 0; how < 4; how++) {
		unsigned most;
		struct rack *r = rack_of((struct rack_conf){.predicted = how & 1,
			.workers = 1 + (how >> 1),
			.loss_percent = how >> 1 ? 10 : 0});
		moved(r);
		unsigned before = copies(r, &most);
		if (!(how & 1))
			assert_true(before > 3 * N + N / 2);
		rack_run_ms(r, 15000);
		unsigned after = copies(r, &most);
		assert_true(after <= before);
		if (!(how & 1)) { // else the next hops of both directions are as many as they are
			assert_int_equal(most, 3);
			assert_int_equal(after, 3 * N);
		}
		assert_true(rack_counter(r, -1, C_copies_forgotten) >= before - after);
		// What is left is enough for two that die, and is what was said last.
		assert_int_equal(flows_exchange(r, flows, N), N);
		rack_run_ms(r, 50);
		kill(r, 0);
		kill(r, 3);
		rack_run_ms(r, 400);
		acks(r); // next hops are resolved
		assert_int_equal(flows_exchange(r, flows, N), N);
		done(r);
	}
}

// Where the switch would send the packets after a failure the copy stays, however many there are.
static void trim__next_hops_keep_theirs(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.predicted = true});

	moved(r);
	rack_run_ms(r, 15000);
	kill(r, 2);
	rack_run_ms(r, 300);
	uint64_t pulls = rack_counter(r, -1, C_pulls_sent);
	acks(r);
	assert_int_equal(flows_exchange(r, flows, N), N);
	assert_int_equal(rack_counter(r, -1, C_pulls_sent), pulls);
	done(r);
}

static void trim__not_while_anything_moves(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	for (unsigned k = 0; k < 3; k++) {
		moved(r);
		rack_run_ms(r, 5000);
		assert_int_equal(rack_counter(r, -1, C_copies_forgotten), 0);
	}
	done(r);
}

// ---- Messages that come at the wrong time ----

struct found {
	struct shard *s;
	uint32_t i;
	struct conn *c;
	struct conn_repl *r;
};

static struct found at(struct rack *r, unsigned node, const struct tripod_tuple *key)
{
	struct shard *s = node_shard(rack_node(r, node), 0);
	struct store_hit hit = store_find(&s->store, key, store_hash(&s->store, key));

	return (struct found){s, hit.what == STORE_CONN ? hit.index : STORE_NONE,
		store_conn(&s->store, hit.index), store_repl(&s->store, hit.index)};
}

static unsigned master_of(struct rack *r, const struct tripod_tuple *key)
{
	unsigned i = 0;
	struct conn_view v;

	while (!rack_conn(r, i, key, &v) || v.master[0] != i)
		i++;
	return i;
}

static void deliver(
	struct found *to, enum wire_type type, unsigned from, const struct wire_forget *w)
{
	uint8_t body[40];
	struct wire_header h = {.type = (uint8_t)type, .count = 1, .from_node = (uint8_t)from};
	int size = wire_put_forget(body, sizeof(body), w);

	unsigned spare = to->s->step->n_spare;
	to->s->step->n_spare = 0; // what it would say outside of a step would be lost
	trim_rx(to->s, &h, body, (uint16_t)size);
	to->s->step->n_spare = spare;
}

static struct wire_forget forget_of(const struct found *m)
{
	struct wire_forget w = {.hash = store_hash(&m->s->store, &m->c->dir[0].key),
		.incarnation = m->c->incarnation,
		.stamp = m->c->stamp};

	for (unsigned p = 0; p < PARTS; p++)
		w.epoch[p] = m->r->part[p].epoch;
	return w;
}

// A question for this key is (no longer) under way.
static void asks(struct shard *s, const struct tripod_tuple *key, bool begins)
{
	uint64_t hash = store_hash(&s->store, key);
	uint32_t *list = &s->pull_hash[hash & (PULL_HASH - 1)];

	if (begins)
		s->pulls[1] = (struct pull){
			.key = *key, .hash = hash, .state = PULL_ASKING, .chain = *list};
	*list = begins ? 1 : s->pulls[1].chain;
}

static void trim__who_may_not_forget(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	const struct tripod_tuple *key = &flows[0].key;
	unsigned master = master_of(r, key);
	struct found m = at(r, master, key);
	uint64_t others = m.r->holders & ~(1ull << master);
	unsigned holder = (unsigned)__builtin_ctzll(others);
	unsigned stranger = (unsigned)__builtin_ctzll(~(others | 1ull << master));
	struct found h = at(r, holder, key);
	struct wire_forget w = forget_of(&m), wrong;

	assert_true(h.i != STORE_NONE);
	deliver(&m, WIRE_FORGET, holder, &w); // the master itself
	deliver(&h, WIRE_FORGET, stranger, &w); // who does not write it
	wrong = w;
	wrong.incarnation++;
	deliver(&h, WIRE_FORGET, master, &wrong);
	for (unsigned p = 0; p < PARTS; p++) {
		wrong = w;
		wrong.epoch[p]--; // it has been taken over since
		deliver(&h, WIRE_FORGET, master, &wrong);
	}
	conn_take_over(h.s, h.i, 1); // one direction is handled here
	wrong = w;
	wrong.epoch[1]++;
	deliver(&h, WIRE_FORGET, master, &wrong);
	assert_int_equal(at(r, holder, key).i, h.i);
	assert_int_equal(at(r, master, key).i, m.i);
	assert_int_equal(rack_counter(r, -1, C_copies_forgotten), 0);
	unsigned last = 63 - (unsigned)__builtin_clzll(others);
	h = at(r, last, key);
	for (unsigned d = 0; d < 2; d++) { // packets wait for it, and are about to take it over
		struct tripod_tuple waits = h.c->dir[d].key;
		asks(h.s, &waits, true);
		deliver(&h, WIRE_FORGET, master, &w);
		assert_int_equal(at(r, last, key).i, h.i);
		asks(h.s, &waits, false);
	}
	deliver(&h, WIRE_FORGET, master, &w);
	assert_int_equal(at(r, last, key).i, STORE_NONE);
	rack_free(r);
}

static void trim__who_is_still_a_holder(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	const struct tripod_tuple *key = &flows[0].key;
	unsigned master = master_of(r, key);
	rack_run_ms(r, 50);
	struct found m = at(r, master, key);
	uint64_t others = m.r->holders & ~(1ull << master);
	unsigned holder = (unsigned)__builtin_ctzll(others);
	struct wire_forget w = forget_of(&m), wrong = w;

	assert_true(holder_is(m.r, HOLDER_ACKED, holder));
	wrong.stamp--; // something has changed since it was asked
	deliver(&m, WIRE_FORGOT, holder, &wrong);
	wrong = w;
	wrong.incarnation--;
	deliver(&m, WIRE_FORGOT, holder, &wrong);
	holders_unmark(
		m.r, HOLDER_ACKED, 1ull << holder); // it lacks something, and is being sent it
	deliver(&m, WIRE_FORGOT, holder, &w);
	assert_int_equal(m.r->holders & ~(1ull << master), others);
	holders_mark(m.r, HOLDER_ACKED, 1ull << holder);
	deliver(&m, WIRE_FORGOT, holder, &w);
	// Another one was made at once: there are k again.
	assert_int_equal(__builtin_popcountll(m.r->holders & ~(1ull << master)), 2);
	assert_false(holder_is(m.r, HOLDER_ACKED, holder));
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trim__as_many_as_are_needed),
		cmocka_unit_test(trim__next_hops_keep_theirs),
		cmocka_unit_test(trim__not_while_anything_moves),
		cmocka_unit_test(trim__who_may_not_forget),
		cmocka_unit_test(trim__who_is_still_a_holder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
