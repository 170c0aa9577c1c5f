// SPDX-License-Identifier: BSD-3-Clause
// What the checkers make of what hosts tell.
#include "sim/check.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/world.h"

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->now_ns = 100 * SEC;
	w->o.durability = DURABILITY_SYNC;
	trace_init(&w->trace, NULL);
	check_init(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_free(*state);
	return 0;
}

static struct tripod_tuple tuple(uint16_t port)
{
	struct tripod_tuple t = {.proto = IPPROTO_UDP, .direction = TRIPOD_OUTGOING};

	t.src = tripod_addr_v4(htonl(0xcb0071c0));
	t.dst = tripod_addr_v4(htonl(0xc6120101));
	t.sport = htons(port);
	t.dport = htons(443);
	return t;
}

static struct hosts_event connection(uint64_t id, uint16_t port)
{
	return (struct hosts_event){.id = id,
		.kind = HOSTS_UDP_OUT,
		.opening = tuple((uint16_t)id),
		.peer = tuple(port)};
}

static void tell(struct world *w, struct hosts_event *e, enum hosts_what what)
{
	w->now_ns += MS;
	e->what = what;
	check_hosts(w, e);
}

static void progress(struct world *w, struct hosts_event *e)
{
	w->now_ns += MS;
	e->last_progress_ns = w->now_ns;
}

static void nat__two_that_go_on_under_one_tuple(void **state)
{
	struct world *w = *state;
	struct hosts_event a = connection(1, 1024), b = connection(2, 1024),
			   c = connection(3, 1026);

	tell(w, &a, HOSTS_ESTABLISHED);
	tell(w, &b, HOSTS_ESTABLISHED);
	tell(w, &c, HOSTS_ESTABLISHED);
	progress(w, &b);
	progress(w, &a);
	progress(w, &c);
	tell(w, &c, HOSTS_DONE);
	assert_int_equal(w->check.n_violations, 0);
	tell(w, &a, HOSTS_DONE);
	assert_int_equal(w->check.n_violations, 1);
	assert_string_equal(w->check.violation[0].checker, "nat");
	tell(w, &b, HOSTS_DONE);
	assert_int_equal(w->check.n_violations, 1);
}

// One end has aborted the first, and the other has not heard of it.
static void nat__what_is_over_is_not_live(void **state)
{
	struct world *w = *state;
	struct hosts_event a = connection(1, 1024), b = connection(2, 1024),
			   c = connection(3, 1024);

	tell(w, &a, HOSTS_ESTABLISHED);
	progress(w, &a);
	tell(w, &b, HOSTS_ESTABLISHED);
	progress(w, &b);
	tell(w, &a, HOSTS_DONE);
	tell(w, &b, HOSTS_DONE);
	tell(w, &c, HOSTS_ESTABLISHED); // nobody has it any more
	progress(w, &c);
	tell(w, &c, HOSTS_DONE);
	assert_int_equal(w->check.n_violations, 0);
	assert_int_equal(w->check.n_reused, 0);
	assert_int_equal(w->check.live_n, 0);
}

// What cannot be remembered is not let pass.
static void nat__more_than_can_be_watched(void **state)
{
	struct world *w = *state;
	struct hosts_event e[CHECK_REUSED + 2];

	for (unsigned i = 0; i < CHECK_REUSED + 2; i++) {
		assert_int_equal(w->check.n_violations, 0);
		e[i] = connection(i + 1, 1024);
		tell(w, &e[i], HOSTS_ESTABLISHED);
	}
	assert_int_equal(w->check.n_violations, 1);
}

static void break_it(struct world *w, uint64_t twice_ns, uint64_t progress_ns, unsigned violations)
{
	struct hosts_event e = connection(1, 1024);

	check_conn_of(w, &e.opening)->twice_ns = twice_ns;
	tell(w, &e, HOSTS_ESTABLISHED);
	e.last_progress_ns = progress_ns;
	tell(w, &e, HOSTS_BROKEN);
	assert_int_equal(w->check.n_violations, violations);
}

// What two nodes have opened may break for it as long as it has not gone on, however late that is noticed.
static void broken__opened_twice(void **state)
{
	struct world *w = *state;
	uint64_t twice_ns = w->now_ns;

	w->now_ns += 20 * SEC;
	break_it(w, twice_ns, twice_ns + 1999 * MS, 0);
	break_it(w, twice_ns, twice_ns + 2000 * MS, 1);
	break_it(w, 0, twice_ns, 2);
}

// Fragments go where they always have, even if that node is cut off from the one to which it has relayed them.
static void broken__fragment_at_a_node_that_is_cut_off(void **state)
{
	enum { EXCUSED, OPENED, ANSWER, WHOLE, SAME_SIDE, NOT_YET, OVER, ANSWER_BESIDE, HOWS };
	struct world *w = *state;

	w->o.nodes = 4;
	for (unsigned how = 0; how < HOWS; how++) {
		struct hosts_event e = connection(how + 1, (uint16_t)(1024 + how));
		bool answer = how == ANSWER || how == ANSWER_BESIDE;
		struct peek p = {.tuple = answer ? e.peer : e.opening, .first = how != WHOLE};
		struct check_conn *k = check_conn_of(w, &e.opening);
		bool cut = how != NOT_YET && how != OVER;

		w->now_ns += 60 * SEC;
		w->check.n_failures = 1;
		w->check.failure[0] =
			(struct check_failure){.at_ns = w->now_ns - SEC, .kind = FAULT_PARTITION};
		if (how == OVER)
			w->check.failure[0].end_ns = w->now_ns - SEC / 2;
		w->faults.partitioned = cut;
		memset(w->cut, 0, sizeof(w->cut));
		w->cut[1] = cut ? 1 << 2 | 1 << 3 : 0; // as its messages go, and not back
		bool same_side = how == SAME_SIDE || how == ANSWER_BESIDE;
		k->dir[answer].last = same_side ? 0 : how == OPENED ? 255 : 2;
		if (answer) { // the other direction is at the other side
			k->dir[0].last = how == ANSWER_BESIDE ? 2 : 0;
			check_conn_of(w, &e.peer)->owner = k->hash;
		}
		k->opening = how == OPENED;
		k->opener = 3;
		check_arrival(w, how == SAME_SIDE ? 2 : 1, &p);
		tell(w, &e, HOSTS_ESTABLISHED);
		e.last_progress_ns = w->now_ns;
		tell(w, &e, HOSTS_BROKEN);
		assert_int_equal(w->check.n_violations, how > ANSWER ? how - ANSWER : 0);
		assert_int_equal(w->check.excused, how < ANSWER ? how + 1 : 3);
	}
}

// What was lost to a holder since the answer excuses for as long as that takes to be noticed, and no loss beside it.
static void broken__log_lost(void **state)
{
	enum { LOST, BEFORE_ANSWER, OTHER_NODE, NOTICED, NONE, HOWS };
	struct world *w = *state;
	struct shard *s = calloc(1, sizeof(*s));
	struct conn_repl repls[2] = {};
	struct channel channels[2] = {{.rto_ns = 8 * MS}, {.rto_ns = 40 * MS}};

	assert_non_null(s);
	w->o.nodes = 4;
	w->o.workers = 2;
	w->o.flush_us = 1000;
	w->o.durability = DURABILITY_ASYNC;
	s->store.repls = repls;
	holders_add(&repls[1], 1 << 1 | 1 << 2);
	for (unsigned to = 0; to < 4; to++)
		s->peer[to].channel = channels;
	for (unsigned how = 0; how < HOWS; how++) {
		struct hosts_event e = connection(how + 1, (uint16_t)(1024 + how));
		struct check_conn *k = check_conn_of(w, &e.opening);
		uint64_t took_ns = 40 * MS + check_window_ns(w) + (how == NOTICED), *lost_ns;

		w->now_ns += 60 * SEC;
		k->answered_ns = w->now_ns - took_ns + (how == BEFORE_ANSWER);
		k->alone_ns = w->now_ns;
		lost_ns = &w->node[1].lost_ns[how == OTHER_NODE ? 3 : 2];
		memset(w->node[1].lost_ns, 0, sizeof(w->node[1].lost_ns));
		*lost_ns = how == NONE ? 0 : w->now_ns - took_ns;
		k->log_lost = check_log_lost(w, 1, s, 1, k->answered_ns);
		tell(w, &e, HOSTS_ESTABLISHED);
		tell(w, &e, HOSTS_BROKEN);
		assert_int_equal(w->check.excused_by[EXCUSE_LOG_LOST], 1);
		assert_int_equal(w->check.n_violations, how);
	}
	free(s);
}

// Messages between nodes that links lose are known, by who sent them and who does not get them; packets are no messages.
static void broken__losses_are_noted(void **state)
{
	enum { WHOLE, FABRIC, AT_SENDER, AT_RECEIVER, SPOILT, WORKLOAD, HOWS };
	struct world *w = *state;
	uint8_t data[64] = {2, 0, 0, 0, 0, 3};

	w->o.nodes = 3;
	w->o.workers = 1;
	w->o.rate_mbps = 1000;
	w->o.queue_us = 1000;
	w->node[2].state = NODE_UP;
	for (unsigned how = 0; how < HOWS; how++) {
		w->now_ns += SEC;
		w->o.fabric_loss = how == FABRIC ? 1000000 : 0;
		w->port[1].loss = how == AT_SENDER || how == WORKLOAD ? 1000000 : 0;
		w->port[2].loss = how == AT_RECEIVER ? 1000000 : 0;
		w->o.corrupt = how == SPOILT ? 1000000 : 0;
		net_from_node(w, 1,
			&(struct frame){.data = data,
				.len = sizeof(data),
				.class = FRAME_CONTROL,
				.vlan = how == WORKLOAD ? 11 : 30});
		bool noted = how != WHOLE && how != WORKLOAD;
		assert_int_equal(w->node[1].lost_ns[2] == w->now_ns, noted);
		assert_int_equal(w->node[1].lost_ns[0], 0);
		assert_int_equal(w->node[2].lost_ns[1], 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			nat__two_that_go_on_under_one_tuple, setup, teardown),
		cmocka_unit_test_setup_teardown(nat__what_is_over_is_not_live, setup, teardown),
		cmocka_unit_test_setup_teardown(nat__more_than_can_be_watched, setup, teardown),
		cmocka_unit_test_setup_teardown(broken__opened_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(
			broken__fragment_at_a_node_that_is_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(broken__log_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(broken__losses_are_noted, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
