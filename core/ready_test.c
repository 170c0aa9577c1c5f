// SPDX-License-Identifier: BSD-3-Clause
// Joining and draining: whoever comes or goes on purpose breaks nothing, and asks for nothing that it
// could have been sent before.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"

enum { N = 120 };

static struct rack *rack_of(struct rack_conf c)
{
	if (c.nodes == 0)
		c.nodes = 4;
	if (c.workers == 0)
		c.workers = 1;
	if (c.backups == 0)
		c.backups = 1;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

static void establish(struct rack *r, struct flow *f)
{
	assert_int_equal(flows_open(r, f, 0, N, "10.1.0.101"), N);
}

static void exchange(struct rack *r, struct flow *f)
{
	assert_int_equal(flows_exchange(r, f, N), N);
}

static unsigned copies_below(struct rack *r, struct flow *f, unsigned want)
{
	unsigned below = 0;

	for (unsigned i = 0; i < N; i++)
		below += rack_copies(r, &f[i].key) < want;
	return below;
}

static enum node_phase phase_of(struct rack *r, unsigned i)
{
	struct node_status st;

	node_status(rack_node(r, i), &st);
	return st.phase;
}

static void wait_phase(struct rack *r, unsigned i, enum node_phase phase, unsigned ms)
{
	for (unsigned n = 0; n < ms && phase_of(r, i) != phase; n++)
		rack_run_ms(r, 1);
	assert_string_equal(node_phase_name(phase_of(r, i)), node_phase_name(phase));
}

static void assert_unbroken(struct rack *r)
{
	assert_int_equal(rack_counter(r, -1, C_pulls_failed), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_wait_timeout), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_unknown), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_invariant), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_relay_loop), 0);
	rack_check(r);
}

static uint64_t mastered(struct rack *r, unsigned i, const struct flow *f)
{
	struct conn_view v;
	uint64_t n = 0;

	for (unsigned k = 0; k < N; k++)
		n += rack_conn(r, i, &f[k].key, &v) &&
		     (v.flags & (CONN_MASTER_0 | CONN_MASTER_1)) != 0;
	return n;
}

// A record of this connection on a node, NULL: none.
static const struct conn_repl *versions(struct rack *r, unsigned i, const struct flow *f)
{
	for (unsigned w = 0; rack_node(r, i) != NULL && w < rack_node(r, i)->conf.workers; w++) {
		struct shard *s = node_shard(rack_node(r, i), w);
		struct store_hit h = store_find(&s->store, &f->key, store_hash(&s->store, &f->key));
		if (h.what == STORE_CONN)
			return store_repl(&s->store, h.index);
	}
	return NULL;
}

// Every copy says the same of every part.
static void assert_copies_agree(struct rack *r, const struct flow *f)
{
	for (unsigned k = 0; k < N; k++) {
		const struct conn_repl *first = NULL;
		for (unsigned i = 0; i < 4; i++) {
			const struct conn_repl *v = versions(r, i, &f[k]);
			for (unsigned p = 0; first != NULL && v != NULL && p < PARTS; p++) {
				assert_int_equal(v->part[p].epoch, first->part[p].epoch);
				assert_int_equal(v->part[p].version, first->part[p].version);
				assert_int_equal(v->part[p].writer, first->part[p].writer);
			}
			first = first != NULL ? first : v;
		}
	}
}

// When nothing happens, nobody has anything to say.
static void assert_silent(struct rack *r)
{
	uint64_t before = rack_counter(r, -1, C_log_records_tx);

	rack_run_ms(r, 500);
	assert_int_equal(rack_counter(r, -1, C_log_records_tx), before);
}

// ---- Joining ----

// A node that was killed takes no traffic until it has its copies back; then it asks for none.
static void comes_back(struct rack_conf conf)
{
	struct flow f[N];
	struct rack *r = rack_of(conf);

	establish(r, f);
	exchange(r, f);
	for (unsigned victim = 0; victim < 2; victim++) {
		rack_kill(r, victim);
		rack_run_ms(r, 400);
		exchange(r, f);
		rack_start(r, victim);
		rack_run_ms(r, 150);
		assert_int_equal(phase_of(r, victim), NODE_JOINING);
		wait_phase(r, victim, NODE_READY, 500);
		uint64_t pulls = rack_counter(r, (int)victim, C_pulls_sent);
		exchange(r, f);
		assert_true(mastered(r, victim, f) > 0);
		// Others may: when heartbeats are lost, they doubt what they have.
		if (!conf.split)
			assert_int_equal(rack_counter(r, (int)victim, C_pulls_sent), pulls);
		assert_int_equal(copies_below(r, f, 2), 0);
	}
	assert_int_equal(rack_counter(r, -1, C_join_timeouts), 0);
	assert_unbroken(r);
	rack_free(r);
}

static void ready__back_with_what_it_had(void **state)
{
	comes_back((struct rack_conf){.seed = 1});
}

static void ready__back_with_what_the_switch_will_send(void **state)
{
	comes_back((struct rack_conf){.seed = 2, .predicted = true});
}

static void ready__back_under_loss(void **state)
{
	comes_back((struct rack_conf){.seed = 11, .predicted = true, .loss_percent = 15});
}

static void ready__back_with_workers(void **state)
{
	comes_back((struct rack_conf){.seed = 4, .predicted = true, .workers = 3});
}

static void ready__back_with_split_directions(void **state)
{
	comes_back((struct rack_conf){.seed = 5, .predicted = true, .split = true, .workers = 2});
}

// Its next hops, too, are known before its port is up: a burst finds them.
static void ready__next_hops_are_known(void **state)
{
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 26, .nodes = 2});

	establish(r, f);
	rack_kill(r, 0);
	rack_run_ms(r, 400);
	exchange(r, f);
	rack_start(r, 0);
	wait_phase(r, 0, NODE_READY, 500);
	for (unsigned i = 0; i < N; i++) {
		flow_from_client(r, &f[i], TRIPOD_TCP_ACK, 10);
		flow_from_server(r, &f[i], TRIPOD_TCP_ACK, 10);
	}
	rack_run_ms(r, 50);
	assert_true(mastered(r, 0, f) > 40);
	assert_int_equal(rack_counter(r, 0, C_drop_neighbour_full), 0);
	rack_free(r);
}

// A node that the rack has never seen gets what the switch will send to it before its port is up.
static void ready__a_new_node_is_sent_its_share(void **state)
{
	struct flow f[N];
	struct rack *r = rack_new(&(struct rack_conf){
		.nodes = 4, .workers = 1, .backups = 1, .seed = 6, .predicted = true});

	rack_kill(r, 3);
	rack_run_ms(r, 300);
	establish(r, f);
	exchange(r, f);
	rack_start(r, 3);
	wait_phase(r, 3, NODE_READY, 1000);
	uint64_t pulls = rack_counter(r, -1, C_pulls_sent);
	exchange(r, f);
	assert_true(mastered(r, 3, f) > N / 8);
	assert_int_equal(rack_counter(r, -1, C_pulls_sent), pulls);
	assert_unbroken(r);
	rack_free(r);
}

// Restarted before anybody has missed it: what its former life handled and nobody has taken over is
// given back to it too, and its former claims do not bind it.
static void ready__a_quick_restart(void **state)
{
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 7, .backups = 2});

	establish(r, f);
	exchange(r, f);
	uint64_t had = mastered(r, 2, f);
	assert_true(had > 0);
	rack_kill(r, 2);
	rack_port(r, 2, false);
	rack_run_ms(r, 20);
	rack_start(r, 2);
	wait_phase(r, 2, NODE_READY, 1000);
	assert_int_equal(mastered(r, 2, f), 0); // until its packets come
	struct conn_view v;
	unsigned held = 0;
	for (unsigned i = 0; i < N; i++)
		held += rack_conn(r, 2, &f[i].key, &v);
	assert_true(held >= had);
	rack_port(r, 2, true);
	exchange(r, f);
	assert_int_equal(mastered(r, 2, f), had);
	assert_int_equal(rack_counter(r, -1, C_pulls_sent), 0);
	assert_int_equal(rack_counter(r, -1, C_epoch_conflicts), 0);
	assert_unbroken(r);
	rack_free(r);
}

static unsigned deaf; // a node whose logs get lost

static bool lose_logs(void *ctx, unsigned from, const struct frame *f)
{
	return from == deaf && rack_message(f) == WIRE_LOG;
}

// One member cannot send its share: the node waits for it as long as it may, and says for whom.
static void ready__join_timeout(void **state)
{
	struct flow f[N];
	struct node_status st;
	struct rack *r = rack_of((struct rack_conf){.seed = 8});

	establish(r, f);
	exchange(r, f);
	rack_kill(r, 1);
	rack_run_ms(r, 400);
	exchange(r, f);
	deaf = 2;
	rack_tap(r, lose_logs, NULL);
	rack_start(r, 1);
	rack_run_ms(r, 4900);
	node_status(rack_node(r, 1), &st);
	assert_int_equal(st.phase, NODE_JOINING);
	assert_false(st.ready);
	assert_int_equal(st.join_unserved, 1u << 2);
	assert_false(st.join_hearing);
	node_status(rack_node(r, 2), &st);
	assert_true(st.owed > 0);
	rack_run_ms(r, 200);
	assert_int_equal(phase_of(r, 1), NODE_READY);
	assert_int_equal(rack_counter(r, 1, C_join_timeouts), 1);
	rack_free(r);
}

static struct {
	uint8_t bytes[200];
	size_t len;
} recorded;

// Keeps what node 2 has said to node 1 alone of having served it.
static bool record_served(void *ctx, unsigned from, const struct frame *f)
{
	if (from == 2 && f->len <= sizeof(recorded.bytes) && rack_message(f) == WIRE_GREET &&
		f->data[5] == 2) {
		memcpy(recorded.bytes, f->data, f->len);
		recorded.len = f->len;
	}
	return ctx != NULL && lose_logs(ctx, from, f);
}

// That a member has served a node's former life says nothing of this one.
static void ready__served_in_a_former_life(void **state)
{
	struct flow f[N];
	struct node_status st;
	struct rack *r = rack_of((struct rack_conf){.seed = 9});

	establish(r, f);
	for (unsigned life = 0; life < 2; life++) {
		rack_kill(r, 1);
		rack_run_ms(r, 400);
		exchange(r, f);
		deaf = 2;
		rack_tap(r, record_served, life == 0 ? NULL : r);
		rack_start(r, 1);
		if (life == 0) {
			wait_phase(r, 1, NODE_READY, 1000);
			assert_true(recorded.len > 0);
			exchange(r, f);
		}
	}
	for (unsigned n = 0; n < 20; n++) {
		rack_run_ms(r, 50);
		rack_inject(r, 1, 30, recorded.bytes, recorded.len);
	}
	node_status(rack_node(r, 1), &st);
	assert_int_equal(st.phase, NODE_JOINING);
	assert_int_equal(st.join_unserved, 1u << 2);
	rack_free(r);
}

// While one master gives a connection a new holder, the other changes its direction: the new holder
// hears of that, although the other did not know of it when it sent the change.
static void ready__changes_reach_new_holders(void **state)
{
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 10, .split = true});

	establish(r, f);
	exchange(r, f);
	rack_kill(r, 1);
	rack_port(r, 1, false);
	rack_run_ms(r, 70);
	for (unsigned i = 0; i < N; i++) { // copies are repaired in this time
		flow_from_server(r, &f[i], TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
		if (i % 3 == 2)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 500);
	assert_true(rack_counter(r, -1, C_repairs) > 0);
	assert_copies_agree(r, f);
	rack_free(r);
}

// A worker whose peer acknowledges nothing has nothing to do until it does, or a time-out passes: it
// does not spin, which would take the processor from the one that should answer.
static void ready__a_full_window_is_waited_for(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.seed = 27, .nodes = 2});
	static struct flow f[1000];
	unsigned full = 0;

	deaf = 1;
	rack_tap(r, lose_logs, NULL);
	for (unsigned i = 0; i < 50; i++) {
		flows_open(r, &f[i * 20], i * 20, 20, "10.1.0.101");
		struct shard *s = node_shard(rack_node(r, 0), 0);
		struct channel *c = &s->peer[1].channel[0];
		for (unsigned k = 0; k < 20; k++) { // each end is a change, and one more message
			flow_from_server(r, &f[i * 20 + k], TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
			rack_run_ms(r, 1);
			if (!channel_full(c) || channel_queued(c) == 0)
				continue;
			full++;
			assert_true(repl_next_ns(s) > s->now_ns);
		}
	}
	assert_true(full > 0);
	rack_free(r);
}

// ---- Draining ----

// The fewest copies that a connection has on other nodes; own: of those that this node looks after.
static unsigned others(struct rack *r, unsigned who, const struct flow *f, bool own)
{
	struct conn_view v;
	unsigned fewest = UINT32_MAX;

	for (unsigned i = 0; i < N; i++) {
		bool has = rack_conn(r, who, &f[i].key, &v);
		unsigned n = rack_copies(r, &f[i].key) - has;
		if (!own || (has && v.shared == who))
			fewest = n < fewest ? n : fewest;
	}
	return fewest;
}

static void drains(struct rack_conf conf, unsigned who)
{
	struct flow f[N];
	struct rack *r = rack_of(conf);

	establish(r, f);
	exchange(r, f);
	assert_true(mastered(r, who, f) > 0);
	node_set_draining(rack_node(r, who), true);
	wait_phase(r, who, NODE_MOVING, 1000);
	assert_true(others(r, who, f, true) >= 2); // without the one that is about to go
	exchange(r, f);
	assert_int_equal(mastered(r, who, f), 0);
	wait_phase(r, who, NODE_DRAINED, 200);
	rack_run_ms(r, 100);
	assert_true(others(r, who, f, false) >= 2);
	uint64_t pulls = rack_counter(r, -1, C_pulls_sent);
	node_set_leaving(rack_node(r, who));
	rack_run_ms(r, 30);
	rack_kill(r, who);
	exchange(r, f);
	exchange(r, f);
	assert_true(conf.split || rack_counter(r, -1, C_pulls_sent) <= pulls);
	assert_int_equal(copies_below(r, f, 2), 0);
	assert_unbroken(r);
	rack_free(r);
}

static void ready__drain(void **state)
{
	drains((struct rack_conf){.seed = 11}, 1);
	drains((struct rack_conf){.seed = 12, .predicted = true}, 2);
	drains((struct rack_conf){.seed = 13, .loss_percent = 15, .workers = 2}, 0);
	drains((struct rack_conf){.seed = 14, .predicted = true, .split = true, .workers = 3}, 3);
}

// Connections that are silent while their node drains and leaves are copied as well: whoever gets
// their next packet has them, or asks who has.
static void ready__idle_connections_of_a_drained_node(void **state)
{
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 15});

	establish(r, f);
	node_set_draining(rack_node(r, 1), true);
	wait_phase(r, 1, NODE_DRAINED, 1000);
	uint64_t idle = mastered(r, 1, f);
	assert_true(idle > 0);
	node_set_leaving(rack_node(r, 1));
	rack_run_ms(r, 30);
	rack_kill(r, 1);
	rack_run_ms(r, 300);
	assert_int_equal(copies_below(r, f, 2), 0);
	// One of the holders looks after them, though nobody has taken them over, and the next one after it.
	rack_kill(r, 2);
	rack_run_ms(r, 500);
	assert_int_equal(copies_below(r, f, 2), 0);
	exchange(r, f);
	assert_unbroken(r);
	rack_free(r);
}

// A drain that is taken back, at each of its stages.
static void ready__undrain(void **state)
{
	static const enum node_phase stages[] = {NODE_DRAINING, NODE_MOVING, NODE_DRAINED};

	for (unsigned k = 0; k < 3; k++) {
		struct flow f[N];
		struct rack *r = rack_of((struct rack_conf){.seed = 16 + k, .predicted = k == 1});

		establish(r, f);
		exchange(r, f);
		uint64_t had = mastered(r, 2, f);
		node_set_draining(rack_node(r, 2), true);
		wait_phase(r, 2, stages[k], 1000);
		if (k == 2)
			exchange(r, f);
		node_set_draining(rack_node(r, 2), false);
		wait_phase(r, 2, NODE_READY, 100);
		rack_run_ms(r, 50);
		exchange(r, f);
		assert_int_equal(mastered(r, 2, f), had);
		assert_int_equal(node_shard(rack_node(r, 0), 0)->draining, 0);
		assert_int_equal(node_shard(rack_node(r, 0), 0)->ports, 0xf);
		assert_unbroken(r);
		rack_free(r);
	}
}

// Nobody is there to take the connections: they are kept.
static void ready__the_last_node_stays(void **state)
{
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 19, .nodes = 2});

	establish(r, f);
	rack_kill(r, 1);
	rack_run_ms(r, 400);
	exchange(r, f);
	node_set_draining(rack_node(r, 0), true);
	rack_run_ms(r, 2000);
	assert_int_equal(phase_of(r, 0), NODE_DRAINING);
	exchange(r, f);
	rack_start(r, 1);
	wait_phase(r, 0, NODE_MOVING, 2000);
	exchange(r, f);
	assert_int_equal(mastered(r, 1, f), N);
	assert_unbroken(r);
	rack_free(r);
}

// What a drain waits for, and whom.
static void ready__a_drain_says_what_it_waits_for(void **state)
{
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 28, .nodes = 3});
	struct node_status st;

	establish(r, f);
	node_status(rack_node(r, 0), &st);
	assert_true(st.owed == 0 && st.owed_by == 0);
	rack_freeze(r, 1);
	rack_freeze(r, 2);
	node_set_draining(rack_node(r, 0), true);
	rack_run_ms(r, 40);
	node_status(rack_node(r, 0), &st);
	assert_int_equal(st.phase, NODE_DRAINING);
	assert_in_range(st.owed, 1, N);
	assert_true(st.owed_by != 0 && (st.owed_by & ~6ull) == 0);
	assert_in_range(st.phase_age_ns, 15 * MS, 40 * MS);
	rack_thaw(r, 1);
	rack_thaw(r, 2);
	wait_phase(r, 0, NODE_DRAINED, 1000);
	node_status(rack_node(r, 0), &st);
	assert_true(st.owed == 0 && st.owed_by == 0);
	assert_true(st.phase_age_ns <= 2 * MS);
	rack_free(r);
}

// Nothing is replicated: nothing can be given away, and nobody waits for it.
static void ready__baseline_drains_at_once(void **state)
{
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 18, .baseline = true});

	establish(r, f);
	node_set_draining(rack_node(r, 1), true);
	wait_phase(r, 1, NODE_DRAINED, 200);
	rack_kill(r, 1);
	rack_start(r, 1);
	wait_phase(r, 1, NODE_READY, 300);
	rack_free(r);
}

// UDP has no opening packet: when a drain or a join moves its flows, they are asked for.
static void ready__udp_keeps_its_mapping(void **state)
{
	static struct rack_arrival a[2 * N];
	struct rack *r = rack_of((struct rack_conf){.seed = 25});
	uint16_t port[N] = {0};

	rack_run_ms(r, 12000); // settled
	for (unsigned round = 0; round < 5; round++) {
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
		unsigned n = rack_arrivals(r, TRIPOD_INCOMING, a, 2 * N);
		assert_int_equal(n, N);
		for (unsigned k = 0; k < n; k++) {
			unsigned i = __builtin_bswap16(a[k].tuple.dport) - 6000u;
			port[i] = round == 0 ? a[k].tuple.sport : port[i];
			assert_int_equal(a[k].tuple.sport, port[i]);
		}
		if (round == 0) {
			node_set_draining(rack_node(r, 1), true);
			wait_phase(r, 1, NODE_MOVING, 1000);
		} else if (round == 1) {
			wait_phase(r, 1, NODE_DRAINED, 1000);
			rack_run_ms(r, 12000);
			node_set_draining(rack_node(r, 1), false);
			wait_phase(r, 1, NODE_READY, 100);
		} else if (round == 2) {
			rack_run_ms(r, 12000);
			node_set_draining(rack_node(r, 2), true);
			wait_phase(r, 2, NODE_MOVING, 1000);
			rack_run_ms(r, 12000); // long after the ports have changed
		} else if (round == 3) {
			node_set_leaving(rack_node(r, 2));
			rack_run_ms(r, 30);
			rack_kill(r, 2);
			rack_start(r, 2);
			wait_phase(r, 2, NODE_READY, 1000);
		}
	}
	assert_true(rack_counter(r, -1, C_pulls_answered) > 0);
	rack_free(r);
}

// Two at once, of four: neither gives anything to the other.
static void ready__two_drain(void **state)
{
	struct flow f[N];
	struct rack *r = rack_of((struct rack_conf){.seed = 20, .predicted = true});

	establish(r, f);
	node_set_draining(rack_node(r, 1), true);
	node_set_draining(rack_node(r, 2), true);
	wait_phase(r, 1, NODE_DRAINED, 1000);
	wait_phase(r, 2, NODE_DRAINED, 1000);
	for (unsigned i = 1; i < 3; i++) {
		node_set_leaving(rack_node(r, i));
		rack_run_ms(r, 30);
		rack_kill(r, i);
	}
	exchange(r, f);
	assert_int_equal(mastered(r, 0, f) + mastered(r, 3, f), N);
	assert_unbroken(r);
	rack_free(r);
}

// What nobody has answered is promised no copy, though another node has asked for it: no drain waits for
// one, however long it goes on. Nor where that node has lost it, or had no room (lacking).
static void nobody_answers(bool lacking)
{
	struct frame_spec spec = {.src = "10.1.0.7",
		.dst = "198.18.7.7",
		.sport = 5000,
		.dport = 6000,
		.proto = 17,
		.payload_len = 30};
	struct rack *r = rack_of((struct rack_conf){.seed = 27});
	struct tripod_tuple key = {.proto = 17,
		.direction = TRIPOD_OUTGOING,
		.sport = __builtin_bswap16(5000),
		.dport = __builtin_bswap16(6000)};
	struct conn_view v;

	assert_int_equal(tripod_addr_parse(&key.src, "10.1.0.7"), 0);
	assert_int_equal(tripod_addr_parse(&key.dst, "198.18.7.7"), 0);
	unsigned first = rack_hash(r, &spec, TRIPOD_OUTGOING);
	rack_send(r, TRIPOD_OUTGOING, &spec);
	rack_run_ms(r, 50);
	rack_port(r, first, false);
	rack_run_ms(r, 50);
	unsigned then = rack_hash(r, &spec, TRIPOD_OUTGOING);
	assert_int_not_equal(then, first);
	rack_send(r, TRIPOD_OUTGOING, &spec);
	rack_run_ms(r, 50);
	assert_true(rack_conn(r, then, &key, &v));
	assert_int_equal(v.flags & (CONN_MASTER_0 | CONN_REPLICATED | CONN_ANSWERED),
		CONN_MASTER_0 | CONN_REPLICATED);
	for (unsigned w = 0; w < rack_node(r, then)->conf.workers && lacking; w++) {
		struct shard *s = node_shard(rack_node(r, then), w);
		uint32_t i = store_find_hash(&s->store, store_hash(&s->store, &key));
		if (i != STORE_NONE)
			holders_unmark(store_repl(&s->store, i), HOLDER_KNOWN, 1ull << first);
	}
	node_set_draining(rack_node(r, then), true);
	for (unsigned n = 0; n < 10 && phase_of(r, then) != NODE_MOVING; n++) {
		rack_send(r, TRIPOD_OUTGOING, &spec);
		rack_run_ms(r, 20);
	}
	wait_phase(r, then, NODE_MOVING, 1);
	rack_free(r);
}

static void ready__what_nobody_answers_is_not_waited_for(void **state)
{
	nobody_answers(false);
	nobody_answers(true);
}

// Every node in turn, without a pause in the traffic.
static void rolling(struct rack_conf conf)
{
	struct flow f[N];
	struct rack *r = rack_of(conf);

	establish(r, f);
	for (unsigned i = 0; i < 4; i++) {
		node_set_draining(rack_node(r, i), true);
		for (unsigned n = 0; n < 50 && phase_of(r, i) != NODE_DRAINED; n++) {
			rack_run_ms(r, 60);
			exchange(r, f);
			rack_run_ms(r, 60);
		}
		assert_int_equal(phase_of(r, i), NODE_DRAINED);
		node_set_leaving(rack_node(r, i));
		rack_run_ms(r, 30);
		assert_int_equal(rack_counter(r, (int)i, C_pulls_failed), 0);
		rack_kill(r, i);
		exchange(r, f);
		rack_start(r, i);
		for (unsigned n = 0; n < 50 && phase_of(r, i) != NODE_READY; n++)
			exchange(r, f);
		assert_int_equal(phase_of(r, i), NODE_READY);
		assert_int_equal(rack_counter(r, (int)i, C_join_timeouts), 0);
	}
	exchange(r, f);
	assert_int_equal(copies_below(r, f, 2), 0);
	rack_run_ms(r, 300);
	assert_copies_agree(r, f);
	assert_unbroken(r);
	rack_run_ms(r, 1500); // what was contested is compared
	assert_silent(r);
	rack_free(r);
}

static void ready__rolling_restart(void **state)
{
	rolling((struct rack_conf){.seed = 21});
	rolling((struct rack_conf){.seed = 22, .predicted = true, .backups = 2});
	rolling((struct rack_conf){.seed = 23, .loss_percent = 10, .workers = 2});
	rolling((struct rack_conf){.seed = 24, .split = true, .workers = 3});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ready__back_with_what_it_had),
		cmocka_unit_test(ready__back_with_what_the_switch_will_send),
		cmocka_unit_test(ready__back_under_loss),
		cmocka_unit_test(ready__back_with_workers),
		cmocka_unit_test(ready__back_with_split_directions),
		cmocka_unit_test(ready__a_new_node_is_sent_its_share),
		cmocka_unit_test(ready__a_quick_restart),
		cmocka_unit_test(ready__next_hops_are_known),
		cmocka_unit_test(ready__join_timeout),
		cmocka_unit_test(ready__served_in_a_former_life),
		cmocka_unit_test(ready__a_full_window_is_waited_for),
		cmocka_unit_test(ready__changes_reach_new_holders),
		cmocka_unit_test(ready__drain),
		cmocka_unit_test(ready__baseline_drains_at_once),
		cmocka_unit_test(ready__udp_keeps_its_mapping),
		cmocka_unit_test(ready__idle_connections_of_a_drained_node),
		cmocka_unit_test(ready__undrain),
		cmocka_unit_test(ready__the_last_node_stays),
		cmocka_unit_test(ready__a_drain_says_what_it_waits_for),
		cmocka_unit_test(ready__two_drain),
		cmocka_unit_test(ready__what_nobody_answers_is_not_waited_for),
		cmocka_unit_test(ready__rolling_restart),
	};
	return cmocka_run_group_tests_name("ready", tests, NULL, NULL);
}
