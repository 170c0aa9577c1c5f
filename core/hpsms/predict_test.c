// SPDX-License-Identifier: BSD-3-Clause
// Prediction on a rack: where the switch's hash is not known it is asked, and copies are where packets go
// next all the same; what is wrong, late, forged or too much does no harm, and is counted.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"
#include "core/testing/rack_ecmp.h"

enum { N = 120 };

static struct rack *rack_of(struct rack_conf c)
{
	if (c.nodes == 0)
		c.nodes = 5;
	if (c.workers == 0)
		c.workers = 1;
	if (c.backups == 0)
		c.backups = 1;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 1500); // ports have settled
	return r;
}

enum { MANY = 2000 };
static struct flow many[MANY];

static void establish_many(struct rack *r)
{
	assert_int_equal(flows_open(r, many, 0, MANY, "10.1.0.101"), MANY);
	rack_run_ms(r, 50);
}

static void establish(struct rack *r, struct flow *f)
{
	assert_int_equal(flows_open(r, f, 0, N, "10.1.0.101"), N);
	rack_run_ms(r, 50);
}

static uint64_t counted(struct rack *r, enum counter c)
{
	return rack_counter(r, -1, c);
}

// Failure after failure of the node where packets of a key go, and of those where those of the other
// direction go: in the latter it may say nothing.
static unsigned wrong_of(const struct rack_conf *c, const struct shard *s, const struct conn *conn,
	unsigned d, unsigned failures)
{
	const struct tripod_tuple *key = &conn->dir[d].key, *other = &conn->dir[1 - d].key;
	uint64_t up = s->ports;
	unsigned wrong = 0;

	for (unsigned k = 0; k <= failures; k++) {
		int is = rack_ecmp_next(c, key, up), of = rack_ecmp_next(c, other, up);
		wrong += predict_next(s, key, up) != is;
		uint64_t less = up & ~(1ull << of);
		int said = predict_next(s, key, less);
		wrong += said != NEXT_HOP_UNKNOWN && said != rack_ecmp_next(c, key, less);
		up &= ~(1ull << is);
	}
	return wrong;
}

// Every connection's shared part's writer knows where both keys go after each failure.
static unsigned mispredicted(
	struct rack *r, const struct rack_conf *c, const struct flow *f, unsigned failures)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < c->nodes; i++) {
		for (unsigned w = 0; rack_node(r, i) != NULL && w < c->workers; w++) {
			const struct shard *s = node_shard(rack_node(r, i), w);
			for (unsigned n = 0; n < N; n++) {
				struct store_hit h = store_find(
					&s->store, &f[n].key, store_hash(&s->store, &f[n].key));
				if (h.what != STORE_CONN ||
					store_repl(&s->store, h.index)->part[PART_SHARED].writer !=
						i)
					continue;
				const struct conn *conn = store_conn(&s->store, h.index);
				for (unsigned d = 0; d < 2; d++)
					wrong += wrong_of(c, s, conn, d, failures);
			}
		}
	}
	return wrong;
}

// Who gets the packets of a dead node has a copy already.
static void needs_no_pull(struct rack_conf conf)
{
	struct flow f[N];

	for (unsigned victim = 0; victim < 3; victim++) {
		struct rack *r = rack_of(conf);
		establish(r, f);
		assert_int_equal(mispredicted(r, &conf, f, conf.backups), 0);
		assert_int_equal(counted(r, C_predict_unanswered), 0);
		rack_kill(r, victim);
		rack_port(r, victim, false); // long before anybody repairs anything
		uint64_t before = counted(r, C_pulls_sent);
		assert_int_equal(flows_exchange(r, f, N), N);
		assert_int_equal(counted(r, C_pulls_sent), before);
		assert_true(counted(r, C_takeovers) > 0);
		assert_true(counted(r, C_predicates_tx) > 0);
		assert_int_equal(counted(r, C_confirms_stale), 0);
		assert_int_equal(counted(r, C_predictions_wrong), 0);
		assert_int_equal(counted(r, C_drop_control_bad), 0);
		assert_int_equal(counted(r, C_drop_control_replayed), 0);
		rack_free(r);
	}
}

static void predict__probed_needs_no_pull(void **state)
{
	needs_no_pull((struct rack_conf){
		.seed = 1, .nodes = 5, .workers = 1, .backups = 1, .probed = true});
}

static void predict__probed_split_needs_no_pull(void **state)
{
	needs_no_pull((struct rack_conf){
		.seed = 2, .nodes = 6, .workers = 3, .backups = 2, .split = true, .probed = true});
}

// One question fewer where the switch cannot tell the directions apart; asked before the answer comes,
// so that copies are put right at once.
static void predict__asks_no_more_than_it_must(void **state)
{
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 3, .probed = true});

	establish(r, f);
	uint64_t checks = N / 16 + 10; // a sample, at each node
	assert_in_range(counted(r, C_predicates_tx), 2 * N, 2 * N + checks);
	assert_in_range(counted(r, C_predict_moved), 0, N / 20);
	uint64_t before = counted(r, C_predicates_tx);
	assert_int_equal(flows_exchange(r, f, N), N);
	rack_run_ms(r, 1000);
	assert_int_equal(counted(r, C_predicates_tx), before);
	rack_free(r);
}

// Questions and answers get lost: they are repeated.
static void predict__loss(void **state)
{
	struct rack_conf conf = {.seed = 4,
		.nodes = 5,
		.workers = 2,
		.backups = 1,
		.probed = true,
		.loss_percent = 15};
	struct flow f[N];
	struct rack *r = rack_of(conf);

	establish(r, f);
	rack_run_ms(r, 200);
	unsigned wrong = mispredicted(r, &conf, f, 1); // after five times without an answer
	assert_in_range(wrong, 0, N / 10);
	assert_int_equal(counted(r, C_predictions_wrong), 0);
	rack_free(r);
}

// A failure that lasts: what is known is of other ports, and is asked for anew.
static void predict__after_a_failure(void **state)
{
	struct rack_conf conf = {
		.seed = 5, .nodes = 6, .workers = 1, .backups = 1, .probed = true, .split = true};
	struct flow f[N];
	struct rack *r = rack_of(conf);

	establish(r, f);
	rack_kill(r, 5); // the last: no group of fewer ports has it
	rack_run_ms(r, 400);
	assert_int_equal(flows_exchange(r, f, N), N);
	uint64_t before = counted(r, C_predicates_tx);
	rack_run_ms(r, 1500);
	assert_true(counted(r, C_predicates_tx) > before);
	assert_int_equal(mispredicted(r, &conf, f, 1), 0);
	rack_kill(r, 1);
	rack_port(r, 1, false);
	before = counted(r, C_pulls_sent);
	assert_int_equal(flows_exchange(r, f, N), N);
	// What the first failure has left in doubt is asked for; by chance it would be a quarter.
	assert_in_range(counted(r, C_pulls_sent) - before, 0, N / 20);
	rack_free(r);
}

// While the groups still have a node that is dead, what they pick for it is not known. When they are
// given other ports all of it is, whoever of the rest fails next; nobody has to tell the nodes.
static void predict__a_failure_lasts(void **state)
{
	for (unsigned modulo = 0; modulo < 2; modulo++) {
		struct rack_conf conf = {.seed = 17 + modulo,
			.nodes = 6,
			.workers = 2,
			.backups = 2,
			.split = true,
			.modulo = modulo == 1,
			.probed = true};
		struct flow f[N];
		struct rack *r = rack_of(conf);

		rack_kill(r, 1);
		rack_run_ms(r, 2000);
		establish(r, f);
		rack_run_ms(r, 1000);
		assert_true(mispredicted(r, &conf, f, 1) > 20); // not known
		assert_int_equal(counted(r, C_predictions_wrong), 0);
		rack_groups(r, 1 << 1, false);
		rack_run_ms(r, 22000);
		assert_int_equal(mispredicted(r, &conf, f, 1), 0);
		uint64_t before = counted(r, C_predict_unanswered);
		rack_run_ms(r, 22000); // nothing is left to ask for
		assert_int_equal(counted(r, C_predict_unanswered), before);
		rack_kill(r, 4);
		rack_port(r, 4, false);
		before = counted(r, C_pulls_sent);
		assert_int_equal(flows_exchange(r, f, N), N);
		assert_int_equal(counted(r, C_pulls_sent), before);
		assert_int_equal(counted(r, C_predictions_wrong), 0);
		rack_free(r);
	}
}

// A port that is down for a moment, at the switch alone: what is asked meanwhile is wrong for good, unless the node
// whose port it was tells the others.
static void predict__a_port_that_nobody_missed(void **state)
{
	struct rack_conf conf = {
		.seed = 26, .nodes = 5, .workers = 2, .backups = 1, .split = true, .probed = true};
	struct flow f[N];
	struct rack *r = rack_of(conf);

	rack_port(r, 1, false);
	establish(r, f);
	rack_port(r, 1, true);
	rack_run_ms(r, 2000);
	assert_true(mispredicted(r, &conf, f, 1) > N / 10);
	rack_node(r, 1)->bfd.changes += 2;
	rack_run_ms(r, 2000);
	assert_int_equal(mispredicted(r, &conf, f, 1), 0);
	rack_free(r);
}

// Who comes back has copies of what it will get before its port is up. Behind two stages nobody is sure
// which connections those are, but that they are some.
static void predict__a_joiner_needs_no_pull(void **state)
{
	for (unsigned modulo = 0; modulo < 2; modulo++) {
		struct rack_conf conf = {.seed = 23 + modulo,
			.nodes = 8,
			.workers = 1,
			.backups = 1,
			.modulo = modulo == 1,
			.probed = true};
		struct flow f[N];
		struct rack *r = rack_of(conf);

		rack_kill(r, 1);
		rack_run_ms(r, 1000);
		rack_groups(r, 1 << 1, false);
		rack_run_ms(r, 1000);
		establish(r, f);
		rack_run_ms(r, 1000);
		rack_start(r, 1);
		rack_run_ms(r, 3000);
		assert_true(node_shard(rack_node(r, 0), 0)->ports >> 1 & 1);
		unsigned copies = 0;
		for (unsigned n = 0; n < N; n++)
			copies += rack_copies(r, &f[n].key);
		assert_in_range(copies, 2 * N, modulo ? 4 * N : 3 * N);
		uint64_t pulls = counted(r, C_pulls_sent), takeovers = counted(r, C_takeovers);
		assert_int_equal(flows_exchange(r, f, N), N);
		assert_true(counted(r, C_takeovers) > takeovers + N / 16);
		assert_int_equal(counted(r, C_pulls_sent), pulls);
		rack_free(r);
	}
}

// A switch that writes no places: its groups are of the nodes as they are configured.
static void predict__unmarked(void **state)
{
	struct rack_conf conf = {
		.seed = 19, .nodes = 5, .workers = 1, .backups = 1, .split = true, .probed = true};
	struct flow f[N];
	struct rack *r = rack_of(conf);

	rack_groups(r, 0, true);
	establish(r, f);
	assert_int_equal(mispredicted(r, &conf, f, 1), 0);
	rack_free(r);
}

// Who takes another hash for the switch's finds out, asks the switch, and is right from then on.
static void predict__falls_back(void **state)
{
	struct rack_conf conf = {.seed = 6,
		.nodes = 5,
		.workers = 1,
		.backups = 1,
		.mistaken = true,
		.probed = true};
	struct rack *r = rack_of(conf);
	struct node_status st;

	establish_many(r);
	rack_run_ms(r, 1000);
	node_status(rack_node(r, 0), &st);
	assert_int_equal(st.predict, PREDICT_PROBED);
	assert_true(st.predict_wrong > 12);
	assert_int_equal(counted(r, C_predict_fallbacks), 5);
	assert_int_equal(mispredicted(r, &conf, many, 1), 0);
	assert_true(counted(r, C_predict_moved) > 0);
	rack_kill(r, 2);
	rack_port(r, 2, false);
	uint64_t before = counted(r, C_pulls_sent);
	assert_int_equal(flows_exchange(r, many, MANY), MANY);
	assert_int_equal(counted(r, C_pulls_sent), before);
	rack_free(r);
}

// ... and with nobody to ask, copies go where the key hashes to.
static void predict__nobody_to_ask(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.seed = 7, .mistaken = true});
	struct node_status st;

	establish_many(r);
	node_status(rack_node(r, 0), &st);
	assert_int_equal(st.predict, PREDICT_NONE);
	assert_int_equal(counted(r, C_predicates_tx), 0);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(rack_copies(r, &many[i].key) >= 2);
	assert_int_equal(flows_exchange(r, many, MANY), MANY);
	rack_free(r);
}

// A switch that hashes modulo moves nearly all at a death, and before the nodes know of it. What arrives then
// says nothing about predictions.
static void death_is_no_mistake(bool probed)
{
	struct rack *r = rack_of((struct rack_conf){
		.seed = 20 + probed, .modulo = true, .predicted = !probed, .probed = probed});
	struct node_status st;

	assert_int_equal(flows_open(r, many, 0, MANY / 2, "10.1.0.101"), MANY / 2);
	rack_kill(r, 1);
	rack_port(r, 1, false); // long before anybody knows
	assert_int_equal(flows_open(r, many, MANY / 2, MANY / 2, "10.1.0.101"), MANY / 2);
	assert_int_equal(flows_exchange(r, many, MANY), MANY);
	rack_run_ms(r, 1000);
	assert_int_equal(counted(r, C_predictions_wrong), 0);
	assert_int_equal(counted(r, C_predict_fallbacks), 0);
	assert_true(counted(r, C_predictions_right) > 10);
	node_status(rack_node(r, 0), &st);
	assert_int_equal(st.predict, probed ? PREDICT_PROBED : PREDICT_COMPUTED);
	rack_free(r);
}

static void predict__a_death_is_no_mistake(void **state)
{
	death_is_no_mistake(false);
	death_is_no_mistake(true);
}

// A switch that hashes otherwise in its groups: the answers are found wrong by what arrives.
static bool astray(void *ctx, unsigned from, const struct frame *f)
{
	struct rack *r = ctx;

	if (f->vlan < RACK_PREDICTION_VLAN)
		return false;
	rack_inject(r, (from + 1) % 5, f->vlan, f->data, f->len);
	return true;
}

static void predict__answers_found_wrong(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.seed = 8, .probed = true});
	struct node_status st;

	rack_tap(r, astray, r);
	establish_many(r);
	node_status(rack_node(r, 0), &st);
	assert_int_equal(st.predict, PREDICT_NONE);
	assert_int_equal(counted(r, C_predictions_right), 0);
	assert_true(counted(r, C_predict_fallbacks) > 0);
	rack_tap(r, NULL, NULL);
	assert_int_equal(flows_exchange(r, many, MANY), MANY);
	rack_free(r);
}

// A switch without such groups: after some questions there are few more, and copies are made all the same.
static bool lose_questions(void *ctx, unsigned from, const struct frame *f)
{
	return f->vlan >= RACK_PREDICTION_VLAN;
}

static void predict__no_groups(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.seed = 15, .probed = true});

	rack_tap(r, lose_questions, NULL);
	establish_many(r);
	rack_run_ms(r, 300);
	uint64_t asked = counted(r, C_predicates_tx);
	assert_in_range(counted(r, C_predict_unanswered), 5 * 64, 5 * 600);
	rack_run_ms(r, 5000);
	assert_int_equal(counted(r, C_predicates_tx), asked);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(rack_copies(r, &many[i].key) >= 2);
	rack_tap(r, NULL, NULL); // and then it is given some
	rack_run_ms(r, 8000);
	assert_true(counted(r, C_predict_moved) > 500);
	assert_int_equal(flows_exchange(r, many, MANY), MANY);
	rack_free(r);
}

// ---- Affinity ----

// Of a tuple that could answer: does it come here, and does it go on where the connection would?
static void predict__affinity(void **state)
{
	struct rack_conf conf = {.seed = 13,
		.nodes = 5,
		.workers = 1,
		.backups = 1,
		.split = true,
		.predicted = true};
	struct rack *r = rack_of(conf);
	struct rng rng = {.state = 13};
	unsigned got[3] = {0};

	for (unsigned n = 0; n < 2000; n++) {
		struct tripod_tuple key = {
			.src = tripod_addr_v4((uint32_t)rng_next(&rng)),
			.dst = tripod_addr_v4((uint32_t)rng_next(&rng)),
			.sport = (uint16_t)rng_next(&rng),
			.dport = 80,
			.proto = 6,
			.direction = TRIPOD_OUTGOING,
		};
		struct tripod_tuple back = tripod_tuple_reverse(&key);
		back.dport = (uint16_t)rng_next(&rng);
		unsigned here = (unsigned)rack_ecmp_next(&conf, &key, 0x1f);
		uint64_t rest = 0x1full & ~(1ull << here);
		bool now = rack_ecmp_next(&conf, &back, 0x1f) == (int)here;
		bool then = rack_ecmp_next(&conf, &key, rest) == rack_ecmp_next(&conf, &back, rest);
		enum tripod_affinity is =
			predict_affinity(node_shard(rack_node(r, here), 0), &key, &back);
		assert_int_equal(is, !now   ? TRIPOD_APART
				     : then ? TRIPOD_TOGETHER
					    : TRIPOD_TOGETHER_NOW);
		got[is]++;
	}
	assert_true(got[TRIPOD_APART] > 1400 && got[TRIPOD_TOGETHER_NOW] > 200);
	assert_true(got[TRIPOD_TOGETHER] > 50);
	rack_free(r);
}

// Where nobody can say, or all is one to the switch, there is nothing to look for.
static void predict__affinity_unknown(void **state)
{
	struct tripod_tuple key = {.src = tripod_addr_v4(1),
		.dst = tripod_addr_v4(2),
		.sport = 3,
		.dport = 4,
		.proto = 6,
		.direction = TRIPOD_OUTGOING};
	struct tripod_tuple back = tripod_tuple_reverse(&key);

	back.dst = tripod_addr_v4(7);
	for (unsigned k = 0; k < 3; k++) {
		struct rack *r = rack_of((struct rack_conf){
			.seed = 14, .split = k < 2, .probed = k == 1, .predicted = k == 2});
		for (unsigned n = 0; n < 50; n++) {
			back.dport = (uint16_t)n;
			assert_int_equal(
				predict_affinity(node_shard(rack_node(r, n % 5), 0), &key, &back),
				TRIPOD_TOGETHER);
		}
		rack_free(r);
	}
}

// ---- What is not to be believed ----

struct tap {
	struct rack *r;
	struct frame kept[256];
	uint8_t bytes[256][512];
	uint8_t to[256];
	unsigned n;
	bool confirms; // keeps answers, else questions
	bool lose;
};

static bool keep(void *ctx, unsigned from, const struct frame *f)
{
	struct tap *t = ctx;
	bool question = f->vlan >= RACK_PREDICTION_VLAN;
	bool answer = rack_message(f) == WIRE_CONFIRM;

	if (!(t->confirms ? answer : question))
		return false;
	if (t->n < 256 && f->len <= 512) {
		t->kept[t->n] = *f;
		memcpy(t->bytes[t->n], f->data, f->len);
		t->to[t->n++] = f->data[5] - 1;
	}
	return t->lose;
}

static struct rack *tapped(struct tap *t, uint64_t seed)
{
	static struct flow f[N];

	t->r = rack_of((struct rack_conf){.seed = seed, .probed = true});
	rack_tap(t->r, keep, t);
	establish(t->r, f);
	assert_true(t->n > 100);
	rack_tap(t->r, NULL, NULL);
	return t->r;
}

// A question counts once at each node, on the VLAN and with the tuple that it was made for.
static void predict__recorded_questions(void **state)
{
	static struct tap t;
	t = (struct tap){0};
	struct rack *r = tapped(&t, 9);
	uint64_t before = counted(r, C_confirms_rx);

	for (unsigned i = 0; i < t.n; i++) { // once more to all: where it has been, and elsewhere
		for (unsigned n = 0; n < 5; n++)
			rack_inject(r, n, t.kept[i].vlan, t.bytes[i], t.kept[i].len);
	}
	rack_run_ms(r, 50);
	uint64_t first = counted(r, C_predicates_rx);
	assert_true(counted(r, C_drop_control_replayed) > 0);
	assert_true(counted(r, C_confirms_rx) > before);
	assert_true(counted(r, C_confirms_stale) >= counted(r, C_confirms_rx) - before);
	for (unsigned i = 0; i < t.n; i++) {
		for (unsigned n = 0; n < 5; n++)
			rack_inject(r, n, t.kept[i].vlan, t.bytes[i], t.kept[i].len);
	}
	rack_run_ms(r, 50);
	assert_int_equal(counted(r, C_predicates_rx), first);
	rack_free(r);
}

// A router in the switch's place puts its own MAC on what it passes on, and takes one from its hop limit.
static void predict__through_a_router(void **state)
{
	static struct tap t;
	t = (struct tap){.lose = true};
	struct rack *r = tapped(&t, 25);
	uint64_t bad = counted(r, C_drop_control_bad);

	assert_int_equal(counted(r, C_predicates_rx), 0);
	for (unsigned i = 0; i < t.n; i++) {
		unsigned to = (t.bytes[i][11] - 1u + 1) % 5; // not the asker
		assert_int_equal(t.bytes[i][22], 2);
		t.bytes[i][22]--;
		memcpy(t.bytes[i], (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)(to + 1)}, 6);
		memcpy(t.bytes[i] + 6, (uint8_t[]){2, 0, 0, 0, 0x0a, 2}, 6);
		frames_fix(t.bytes[i], t.kept[i].len);
		rack_inject(r, to, t.kept[i].vlan, t.bytes[i], t.kept[i].len);
	}
	rack_run_ms(r, 50);
	assert_int_equal(counted(r, C_drop_control_bad), bad);
	assert_int_equal(counted(r, C_predicates_rx), t.n);
	rack_free(r);
}

static void predict__changed_questions(void **state)
{
	static struct tap t;
	t = (struct tap){.lose = true};
	struct rack *r = tapped(&t, 10);
	uint64_t bad = counted(r, C_drop_control_bad);

	assert_int_equal(counted(r, C_predicates_rx), 0);
	for (unsigned i = 0; i < t.n; i++) {
		unsigned from = (unsigned)t.bytes[i][11] - 1, to = (from + 1) % 5;
		if (i % 4 == 0) // another group
			rack_inject(r, to, t.kept[i].vlan ^ 2, t.bytes[i], t.kept[i].len);
		t.bytes[i][i % 4 == 1 ? 26 : i % 4 == 2 ? 35 : 54 + i % 90] ^= 1;
		if (i % 4 != 0)
			rack_inject(r, to, t.kept[i].vlan, t.bytes[i], t.kept[i].len);
	}
	rack_run_ms(r, 50);
	assert_int_equal(counted(r, C_confirms_rx), 0);
	assert_true(counted(r, C_drop_control_bad) > bad);
	assert_true(counted(r, C_drop_control_forged) > 0);
	rack_free(r);
}

// Answers that come twice, or to what was asked of other ports, are not used.
static void predict__late_answers(void **state)
{
	static struct tap t;
	t = (struct tap){.confirms = true, .lose = true};
	struct rack *r = tapped(&t, 11);

	assert_int_equal(counted(r, C_confirms_rx), 0);
	assert_true(counted(r, C_predict_unanswered) > 0);
	for (unsigned i = 0; i < t.n; i++)
		rack_inject(r, t.to[i], 30, t.bytes[i], t.kept[i].len);
	rack_run_ms(r, 20);
	assert_true(counted(r, C_confirms_rx) > 0);
	assert_int_equal(counted(r, C_confirms_stale), counted(r, C_confirms_rx));
	rack_free(r);
}

// An answer counts by its number, of these ports, and once.
static void predict__one_answer(void **state)
{
	static struct tap t;
	struct flow f = flow_of(0, "10.1.0.101");
	struct rack *r = rack_of((struct rack_conf){.seed = 16, .probed = true});
	struct wire_confirm c;

	t = (struct tap){.r = r, .confirms = true, .lose = true};
	rack_tap(r, keep, &t);
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	for (unsigned n = 0; n < 200 && t.n == 0; n++)
		rack_step(r);
	assert_true(t.n > 0);
	assert_int_equal(
		wire_get_confirm(t.bytes[0] + 42 + WIRE_HEADER_SIZE, WIRE_CONFIRM_SIZE, &c),
		WIRE_CONFIRM_SIZE);
	struct shard *s = node_shard(rack_node(r, t.to[0]), 0);
	unsigned from = (unsigned)t.bytes[0][11] - 1;
	struct wire_confirm wrong[] = {c, c, c};
	wrong[0].nonce ^= 1ull << 40;
	wrong[1].epoch--;
	wrong[2].group = 9;
	for (unsigned n = 0; n < 3; n++) {
		uint64_t stale = s->counters[C_confirms_stale];
		predict_confirmed(s, from, &wrong[n]);
		assert_int_equal(s->counters[C_confirms_stale], stale + 1);
	}
	uint64_t stale = s->counters[C_confirms_stale];
	predict_confirmed(s, from, &c);
	assert_int_equal(s->counters[C_confirms_stale], stale);
	predict_confirmed(s, from, &c);
	assert_int_equal(s->counters[C_confirms_stale], stale + 1);
	rack_tap(r, NULL, NULL);
	rack_free(r);
}

static void predict__bounded(void **state)
{
	struct rack *r =
		rack_of((struct rack_conf){.seed = 12, .probed = true, .predict_per_s = 500});
	uint64_t began_ns = rack_now_ns(r), before = counted(r, C_predicates_tx);

	establish_many(r);
	uint64_t ms = (rack_now_ns(r) - began_ns) / MS;
	// What was saved up, and five nodes at their rate.
	assert_in_range(counted(r, C_predicates_tx) - before, 1, 5 * (10 + 1) + 5 * ms / 2 + 5);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(rack_copies(r, &many[i].key) >= 2); // nobody has waited for an answer
	// What was left out is made good, a little at a time.
	rack_run_ms(r, 4000);
	assert_true(counted(r, C_predict_moved) > 100);
	assert_int_equal(flows_exchange(r, many, MANY), MANY);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(predict__probed_needs_no_pull),
		cmocka_unit_test(predict__probed_split_needs_no_pull),
		cmocka_unit_test(predict__asks_no_more_than_it_must),
		cmocka_unit_test(predict__loss),
		cmocka_unit_test(predict__after_a_failure),
		cmocka_unit_test(predict__a_failure_lasts),
		cmocka_unit_test(predict__a_port_that_nobody_missed),
		cmocka_unit_test(predict__a_joiner_needs_no_pull),
		cmocka_unit_test(predict__unmarked),
		cmocka_unit_test(predict__falls_back),
		cmocka_unit_test(predict__nobody_to_ask),
		cmocka_unit_test(predict__a_death_is_no_mistake),
		cmocka_unit_test(predict__answers_found_wrong),
		cmocka_unit_test(predict__no_groups),
		cmocka_unit_test(predict__affinity),
		cmocka_unit_test(predict__affinity_unknown),
		cmocka_unit_test(predict__recorded_questions),
		cmocka_unit_test(predict__changed_questions),
		cmocka_unit_test(predict__through_a_router),
		cmocka_unit_test(predict__late_answers),
		cmocka_unit_test(predict__one_answer),
		cmocka_unit_test(predict__bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
