// SPDX-License-Identifier: BSD-3-Clause
// Two lives of one key, one soon after the other and on different nodes: which of them is the later.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/testing/flows.h"
#include "core/testing/forge.h"

static struct rack *rack_of(struct rack_conf c)
{
	c.workers = c.workers ? c.workers : 1;
	c.backups = c.backups ? c.backups : 1;
	c.seed = 7;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

// The nodes among which the switch may choose.
static void ports(struct rack *r, unsigned nodes, unsigned up)
{
	for (unsigned i = 0; i < nodes; i++)
		rack_port(r, i, up >> i & 1);
}

static uint64_t opened_at(struct rack *r, unsigned node, unsigned n)
{
	struct flow f = flow_of(n, "10.1.0.101");
	struct conn_view v;

	ports(r, 3, 1u << node);
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 1);
	assert_true(rack_conn(r, node, &f.key, &v));
	assert_int_equal(v.incarnation & INCARNATION_NODE, node);
	return v.incarnation;
}

// What is opened later has the higher number, on whichever node, though they tell each other of nothing
// but heartbeats: one that starts later, one that opens a hundred times as many, and one that is silent.
static void lives__later_is_higher(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .workers = 2});
	uint64_t last = 0;
	unsigned n = 0;

	rack_run_ms(r, 2000);
	rack_kill(r, 2);
	rack_run_ms(r, 500);
	rack_start(r, 2);
	rack_run_ms(r, 500);
	for (unsigned round = 0; round < 12; round++) {
		unsigned times = round % 3 == 0 ? 100 : 1;
		for (unsigned k = 0; k < times; k++) {
			uint64_t life = opened_at(r, round % 3, n++);
			assert_true(life > last);
			last = life;
		}
	}
	rack_free(r);
}

// A number that leaves no room above it moves nobody's clock.
static void lives__absurd_numbers_move_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	uint64_t before = conn_lives(s);

	conn_lives_heard(s, WIRE_LIVES_MAX + 1);
	conn_lives_heard(s, before - 1);
	assert_true(conn_lives(s) == before);
	conn_lives_heard(s, before + 1000);
	assert_true(conn_lives(s) == before + 1001);
	rack_run_ms(r, 300);
	for (unsigned i = 1; i < 3; i++)
		assert_true(conn_lives(node_shard(rack_node(r, i), 0)) > before + 1001);
	rack_free(r);
}

static bool logs_lost;

static bool lose_logs(void *ctx, unsigned from, const struct frame *f)
{
	return logs_lost && rack_message(f) == WIRE_LOG;
}

// A connection has been taken over and closed elsewhere, of which its former master has not heard, when its
// ports are opened anew there.
static void lives__a_syn_at_the_former_master_asks(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .backups = 2});
	struct conn_view old, v;
	struct flow f;

	ports(r, 3, 1u << 0);
	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	rack_tap(r, lose_logs, NULL);
	logs_lost = true;
	ports(r, 3, 1u << 1);
	flows_close(r, &f, 1);
	assert_true(rack_conn(r, 1, &f.key, &old));
	assert_int_equal(old.tcp, TCP_CLOSED);
	assert_true(rack_conn(r, 0, &f.key, &v));
	assert_int_equal(v.tcp, TCP_ESTABLISHED);
	assert_int_equal(v.master[0], 0);
	ports(r, 3, 1u << 0);
	logs_lost = false;
	f.seq += 1u << 24; // a number that the life before has not come to
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 2);
	assert_true(rack_conn(r, 0, &f.key, &v));
	assert_true(v.incarnation > old.incarnation);
	assert_int_equal(v.tcp, TCP_SYN_SENT);
	rack_check(r);
	rack_free(r);
}

// A SYN that somebody sends into a connection takes no budget from real questions: if there is none to
// spare it passes, for the receiver to challenge.
static void lives__a_syn_passes_when_budget_is_short(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .pull_per_s = 15});
	struct rack_arrival a[64];
	struct flow f;
	bool passed = false;

	ports(r, 3, 1u << 0);
	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	rack_run_ms(r, 300);
	rack_arrivals(r, TRIPOD_OUTGOING, a, 64);
	f.seq += 1u << 24;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 5);
	unsigned n = rack_arrivals(r, TRIPOD_OUTGOING, a, 64);
	for (unsigned k = 0; k < n; k++)
		passed |= a[k].tcp_flags == TRIPOD_TCP_SYN;
	assert_true(passed);
	assert_int_equal(rack_counter(r, 0, C_pulls_limited), 1);
	assert_int_equal(rack_counter(r, 0, C_pulls_sent), 0);
	assert_int_equal(rack_counter(r, 0, C_drop_wait_full), 0);
	rack_check(r);
	rack_free(r);
}

// A server that is far away answers late, and while nothing moves that says nothing.
static void lives__a_late_answer_in_quiet_times(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});
	struct flow f = flow_of(0, "10.1.0.101");
	struct conn_view v;

	rack_run_ms(r, 11000);
	for (unsigned n = 0; n < 2; n++) {
		unsigned asked = (unsigned)rack_counter(r, -1, C_pulls_sent);
		f = flow_of(n, "10.1.0.101");
		unsigned node = rack_hash(r,
			&(struct frame_spec){
				.src = f.client, .dst = FLOWS_VIP, .sport = f.port, .dport = 80},
			TRIPOD_INCOMING);
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 400);
		flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 20);
		assert_true(rack_conn(r, node, &f.key, &v));
		assert_int_equal(v.tcp, TCP_SYN_RECEIVED);
		assert_int_equal(rack_counter(r, -1, C_pulls_sent), asked + n);
		rack_kill(r, (node + 1) % 3); // the second time something has moved
		rack_run_ms(r, 500);
		rack_start(r, (node + 1) % 3);
		rack_run_ms(r, 1000);
	}
	rack_free(r);
}

// Sends in both directions what opens a connection, or ends it, without delay.
static void quickly(struct rack *r, struct flow *f, bool end)
{
	const uint8_t ack = TRIPOD_TCP_ACK, fin = TRIPOD_TCP_FIN | ack, syn = TRIPOD_TCP_SYN;

	flow_from_client(r, f, end ? fin : syn, 0);
	rack_run_ms(r, 2);
	flow_from_server(r, f, end ? fin : syn | ack, 0);
	rack_run_ms(r, 2);
	flow_from_client(r, f, ack, 0);
	rack_run_ms(r, 2);
}

// And once more, a moment later: what was asked before the life that has just ended is of no use any more.
static void lives__each_life_is_asked_for(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .backups = 2});
	struct flow f = flow_of(0, "10.1.0.101");
	struct conn_view v;
	uint64_t last = 0, begun_ns = rack_now_ns(r);

	rack_tap(r, lose_logs, NULL);
	for (unsigned round = 0; round < 4; round++) {
		ports(r, 3, 1u << 0);
		quickly(r, &f, false);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_true(v.incarnation > last);
		assert_int_equal(v.tcp, TCP_ESTABLISHED);
		last = v.incarnation;
		logs_lost = true;
		ports(r, 3, 1u << 1);
		quickly(r, &f, true);
		logs_lost = false;
		assert_true(rack_conn(r, 1, &f.key, &v));
		assert_int_equal(v.tcp, TCP_CLOSED);
		f.seq += 1u << 24;
	}
	assert_true(rack_now_ns(r) - begun_ns < 100 * MS); // so soon nothing is asked for twice
	rack_check(r);
	rack_free(r);
}

// The same at a node that has a copy from before the connection was established.
static void lives__a_syn_at_an_early_copy_asks(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .backups = 2});
	struct flow f = flow_of(0, "10.1.0.101");
	struct conn_view old, v;

	ports(r, 3, 1u << 0);
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 20);
	flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 20);
	rack_tap(r, lose_logs, NULL);
	logs_lost = true;
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 1);
	flows_close(r, &f, 1);
	assert_true(rack_conn(r, 0, &f.key, &old));
	assert_int_equal(old.tcp, TCP_CLOSED);
	assert_true(rack_conn(r, 1, &f.key, &v));
	assert_int_equal(v.tcp, TCP_SYN_RECEIVED);
	ports(r, 3, 1u << 1);
	logs_lost = false;
	f.seq += 1u << 24;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 2);
	assert_true(rack_conn(r, 1, &f.key, &v));
	assert_true(v.incarnation > old.incarnation);
	assert_int_equal(v.tcp, TCP_SYN_SENT);
	rack_check(r);
	rack_free(r);
}

static bool lose_logs_of_1(void *ctx, unsigned from, const struct frame *f)
{
	return from == 1 && lose_logs(ctx, from, f);
}

// The same at the former master, which knows of a SYN alone, or of its answer, too. The same SYN once more is none of
// a next life.
static void lives__a_syn_at_an_early_master_asks(void **state)
{
	enum { ANSWERED, UNANSWERED, SAME, HOWS };

	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 3, .backups = 2});
		struct flow f = flow_of(0, "10.1.0.101");
		struct conn_view old, v;

		rack_tap(r, lose_logs_of_1, NULL);
		ports(r, 3, 1u << 0);
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 20);
		logs_lost = how == UNANSWERED;
		ports(r, 3, how == UNANSWERED ? 1u << 1 : 1u << 0);
		uint32_t seq = f.seq;
		flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 20);
		logs_lost = true;
		ports(r, 3, 1u << 1);
		if (how != SAME) {
			flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
			rack_run_ms(r, 1);
			flows_close(r, &f, 1);
			assert_true(rack_conn(r, 1, &f.key, &old));
			assert_int_equal(old.tcp, TCP_CLOSED);
		}
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.tcp, how == UNANSWERED ? TCP_SYN_SENT : TCP_SYN_RECEIVED);
		assert_int_equal(v.master[0], 0);
		old = how == SAME ? v : old;
		ports(r, 3, 1u << 0);
		logs_lost = false;
		f.seq = how == SAME ? seq - 1 : f.seq + (1u << 24);
		uint64_t asked = rack_counter(r, 0, C_pulls_sent);
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 2);
		assert_int_equal(rack_counter(r, 0, C_pulls_sent) - asked, how != SAME);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.incarnation > old.incarnation, how != SAME);
		assert_int_equal(v.tcp, how == SAME ? TCP_SYN_RECEIVED : TCP_SYN_SENT);
		rack_check(r);
		rack_free(r);
	}
}

// The first SYN is not answered in time, the second goes to another node, and what follows to the first again.
static void lives__answered_elsewhere(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});
	struct conn_view first, v;
	struct flow f;

	for (unsigned n = 0;; n++) {
		assert_true(n < 16);
		f = flow_of(n, "10.1.0.101");
		ports(r, 3, 1u << 0);
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 20);
		assert_true(rack_conn(r, 0, &f.key, &first));
		ports(r, 3, 1u << 1);
		f.seq--;
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 20);
		flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 20);
		if (rack_conn(r, 2, &f.key, &v))
			break; // the copy went there, and node 0 knows nothing of this life
	}
	assert_true(v.incarnation > first.incarnation);
	ports(r, 3, 1u << 0);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
	rack_run_ms(r, 2);
	uint64_t answered = v.incarnation;
	assert_true(rack_conn(r, 0, &f.key, &v));
	assert_true(v.incarnation == answered);
	assert_int_equal(v.master[0], 0);
	assert_int_equal(v.tcp, TCP_ESTABLISHED);
	rack_check(r);
	rack_free(r);
}

static struct shard *owner_of(
	struct rack *r, unsigned node, const struct tripod_tuple *key, uint32_t *i)
{
	for (unsigned w = 0; w < 2; w++) {
		struct shard *s = node_shard(rack_node(r, node), w);
		struct store_hit hit = store_find(&s->store, key, store_hash(&s->store, key));
		*i = hit.index;
		if (hit.what == STORE_CONN)
			return s;
	}
	return NULL;
}

// One worker stands still for longer than tombstones last, and copies for the other lie before it. That one has
// heard of the end since, and forgotten it.
static void lives__copies_that_lay_before_another_worker(void **state)
{
	enum { N = 24 };
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .workers = 2});
	static struct flow f[N];
	struct conn_view v;
	uint32_t i;

	ports(r, 2, 1u << 0);
	assert_int_equal(flows_open(r, f, 0, N, "10.1.0.101"), N);
	rack_run_ms(r, 100);
	rack_stall(r, 1, 1, true);
	rack_receives(r, 1, 1);
	for (unsigned n = 0; n < N; n++) {
		struct shard *s = owner_of(r, 0, &f[n].key, &i);
		repl_changed(s, i, 1u << PART_SHARED); // a copy more of each, which lies there
	}
	rack_run_ms(r, 3);
	rack_receives(r, 1, -1);
	for (unsigned n = 0; n < N; n++) {
		struct shard *s = owner_of(r, 0, &f[n].key, &i);
		conn_close(s, i, TRIPOD_TERMINATED);
	}
	rack_run_ms(r, 6000);
	uint64_t before = rack_counter(r, 1, C_log_records_rx);
	rack_stall(r, 1, 1, false);
	rack_run_ms(r, 500);
	assert_true(rack_counter(r, 1, C_log_records_rx) > before);
	for (unsigned n = 0; n < N; n++)
		assert_false(rack_conn(r, 1, &f[n].key, &v) && v.state == CONN_LIVE);
	rack_check(r);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lives__later_is_higher),
		cmocka_unit_test(lives__absurd_numbers_move_nothing),
		cmocka_unit_test(lives__a_syn_at_the_former_master_asks),
		cmocka_unit_test(lives__a_syn_passes_when_budget_is_short),
		cmocka_unit_test(lives__a_late_answer_in_quiet_times),
		cmocka_unit_test(lives__each_life_is_asked_for),
		cmocka_unit_test(lives__a_syn_at_an_early_copy_asks),
		cmocka_unit_test(lives__a_syn_at_an_early_master_asks),
		cmocka_unit_test(lives__answered_elsewhere),
		cmocka_unit_test(lives__copies_that_lay_before_another_worker),
	};
	return cmocka_run_group_tests_name("lives", tests, NULL, NULL);
}
