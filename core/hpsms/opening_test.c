// SPDX-License-Identifier: BSD-3-Clause
// Connections that two nodes have opened, neither knowing of the other: which of the two lives goes on.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/testing/twice.h"

#define NEXT ((1u << 24) + 12345) // so far apart are the numbers of two SYN+ACKs

// Two nodes have opened one connection. The initiator takes the first answer that comes.
static void opening__opened_twice(void **state)
{
	enum { LATER, UNANSWERED, FIRST, NEAR, NOT_HERE, NEXT_LIFE, GIVEN_UP, HOWS };
	const uint8_t syn = TCP_DIR_SYN, answer = TCP_DIR_SYN | TCP_DIR_ACK;

	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = forge_record(r, 1, 1, 1);
		struct conn_view v;

		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 10);
		if (how != NOT_HERE)
			flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, how == GIVEN_UP ? 1100 : 5);
		if (how == NEXT_LIFE) {
			flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
			rack_run_ms(r, 5);
		}
		assert_true(rack_conn(r, 0, &f.key, &v));
		w.incarnation = v.incarnation + (1 << 20);
		w.dir[0].tcp_flags = syn;
		w.dir[1].tcp_flags = answer;
		if (how == UNANSWERED || how == NEXT_LIFE || how == GIVEN_UP) {
			w.flags = 0;
			w.dir[1].tcp_flags = 0;
			w.dir[1].age_ms = how == UNANSWERED ? 20 : 0;
		} else if (how == FIRST || how == NEAR) {
			w.dir[0].age_ms = how == FIRST ? 40 : 10; // 15 here
		} else if (how == NOT_HERE) {
			w.dir[0].age_ms = 40; // its SYN is older, too
		}
		forge(r, 1, 0, &w);
		bool stands = how == LATER || how == UNANSWERED;
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.incarnation > w.incarnation, stands);
		assert_int_equal(v.incarnation == w.incarnation, !stands);
		assert_int_equal(rack_counter(r, 0, C_epoch_conflicts), stands);
		rack_check(r);
		rack_free(r);
	}
}

// The responder remembers an older connection of these ports, and acknowledges that. The repeated SYN goes to another
// node, and is answered.
static void opening__challenged(void **state)
{
	for (unsigned answered = 0; answered < 2; answered++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = forge_record(r, 1, 1, 1);
		struct conn_view v;

		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 10);
		uint8_t syn = answered ? TRIPOD_TCP_SYN : 0;
		flow_from_server(r, &f, syn | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 10);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal((v.flags & CONN_ANSWERED) != 0, answered);
		assert_int_equal(rack_copies(r, &f.key), 1 + answered);
		w.incarnation = v.incarnation + (1 << 20);
		w.dir[0].tcp_flags = TCP_DIR_SYN;
		w.dir[1].tcp_flags = TCP_DIR_SYN | TCP_DIR_ACK;
		forge(r, 1, 0, &w);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.incarnation > w.incarnation, answered);
		assert_int_equal(v.incarnation == w.incarnation, !answered);
		rack_check(r);
		rack_free(r);
	}
}

// It has reset the SYN: that is an answer. So is what comes when the initiator has acknowledged one that passed elsewhere.
static void opening__other_answers(void **state)
{
	for (unsigned reset = 0; reset < 2; reset++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct conn_view v;

		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 10);
		if (!reset)
			flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 100);
		flow_from_server(r, &f, TRIPOD_TCP_ACK | (reset ? TRIPOD_TCP_RST : 0), 0);
		rack_run_ms(r, 10);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_true(v.flags & CONN_ANSWERED);
		assert_int_equal(v.tcp, reset ? TCP_CLOSED : TCP_ESTABLISHED);
		rack_free(r);
	}
}

// The first answer was lost, and the second SYN went to another node. The initiator has sent its FIN with the
// acknowledgement of the first node's next answer, when that node hears of the second's.
static void opening__half_closed_when_opened_twice(void **state)
{
	enum { SYNC, ASYNC, LATER, BOTH_ENDS, RESET, ESTABLISHED, HOWS };
	const uint8_t syn = TCP_DIR_SYN, ack = TCP_DIR_ACK;

	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = settled_rack((struct rack_conf){.sync = how != ASYNC});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = forge_record(r, 1, 1, 1);
		struct conn_view v;

		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 10);
		flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 10);
		flow_from_client(r, &f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 100);
		rack_run_ms(r, 10);
		if (how == BOTH_ENDS)
			flow_from_server(r, &f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
		else if (how == RESET)
			flow_from_server(r, &f, TRIPOD_TCP_ACK | TRIPOD_TCP_RST, 0);
		rack_run_ms(r, 10);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.tcp, how == RESET ? TCP_CLOSED : TCP_CLOSING);
		w.incarnation = v.incarnation + (1 << 20);
		w.flags |= how == ASYNC ? 0 : WIRE_RECORD_SYNC;
		w.dir[0].tcp_flags = how == ESTABLISHED ? syn | ack : syn;
		w.dir[1].tcp_flags = syn | ack;
		w.dir[0].age_ms = how == LATER ? 5 : 40;
		forge(r, 1, 0, &w);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.incarnation > w.incarnation, how == SYNC);
		assert_int_equal(v.tcp, how == SYNC          ? TCP_CLOSING
					: how == ESTABLISHED ? TCP_ESTABLISHED
							     : TCP_SYN_RECEIVED);
		rack_check(r);
		rack_free(r);
	}
}

// And the second node hears of the first's.
static void opening__the_other_is_half_closed(void **state)
{
	enum { SYNC, ASYNC, EARLIER, BOTH_ENDS, HOWS };

	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = settled_rack((struct rack_conf){.sync = how != ASYNC});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = twice_closing(r, 1);
		struct conn_view v;

		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 10);
		flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 10);
		assert_true(rack_conn(r, 0, &f.key, &v));
		w.incarnation = v.incarnation + (1 << 20);
		w.flags |= how == ASYNC ? 0 : WIRE_RECORD_SYNC;
		w.dir[0].age_ms = how == EARLIER ? 40 : 5;
		if (how == BOTH_ENDS)
			w.dir[1].tcp_flags |= TCP_DIR_FIN;
		forge(r, 1, 0, &w);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.incarnation == w.incarnation, how == SYNC);
		assert_int_equal(v.tcp, how == SYNC ? TCP_CLOSING : TCP_SYN_RECEIVED);
		rack_check(r);
		rack_free(r);
	}
}

// Two of a request that TCP does not carry. No time limits that, and the last packet tells nothing.
static void opening__opened_twice_udp(void **state)
{
	for (unsigned answered = 0; answered < 2; answered++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct wire_record w = forge_record(r, 1, 1, 1);
		struct frame_spec ask = {.proto = IPPROTO_UDP,
			.src = "198.18.0.1",
			.dst = FLOWS_VIP,
			.sport = 1000,
			.dport = 80};
		struct frame_spec answer = {.proto = IPPROTO_UDP,
			.src = "10.1.0.101",
			.dst = "198.18.0.1",
			.sport = 8080,
			.dport = 1000};
		struct conn_view v;

		w.key.proto = w.reversed.proto = IPPROTO_UDP;
		twice_only(r, 0);
		rack_send(r, TRIPOD_INCOMING, &ask);
		rack_run_ms(r, 100);
		if (answered)
			rack_send(r, TRIPOD_OUTGOING, &answer);
		rack_run_ms(r, answered ? 500 : 5);
		assert_true(rack_conn(r, 0, &w.key, &v));
		w.incarnation = v.incarnation + (1 << 20);
		w.flags = answered ? 0 : WIRE_RECORD_ANSWERED;
		w.dir[0].age_ms = w.dir[1].age_ms = answered ? 0 : 500;
		forge(r, 1, 0, &w);
		assert_true(rack_conn(r, 0, &w.key, &v));
		assert_int_equal(v.incarnation > w.incarnation, answered);
		assert_int_equal(v.incarnation == w.incarnation, !answered);
		rack_check(r);
		rack_free(r);
	}
}

// The same at a master that is in doubt: the node that has opened the other life hears nobody, and so this one has
// learned that it may have been away. What has been silent for its time-out may have ended.
static void opening__opened_twice_in_doubt(void **state)
{
	for (unsigned silent = 0; silent < 2; silent++) {
		struct rack *r = settled_rack((struct rack_conf){.udp_ms = silent ? 600 : 3000});
		struct wire_record w = forge_record(r, 1, 1, 1);
		struct frame_spec s = {.proto = IPPROTO_UDP,
			.src = "198.18.0.1",
			.dst = FLOWS_VIP,
			.sport = 1000,
			.dport = 80};
		struct conn_view v;

		w.key.proto = w.reversed.proto = IPPROTO_UDP;
		twice_only(r, 0);
		rack_send(r, TRIPOD_INCOMING, &s);
		rack_run_ms(r, 5);
		rack_send(r, TRIPOD_OUTGOING,
			&(struct frame_spec){.proto = IPPROTO_UDP,
				.src = "10.1.0.101",
				.dst = "198.18.0.1",
				.sport = 8080,
				.dport = 1000});
		rack_run_ms(r, 100);
		rack_freeze(r, 0);
		rack_run_ms(r, 500);
		rack_thaw(r, 0);
		rack_run_ms(r, 50);
		assert_true(rack_conn(r, 0, &w.key, &v));
		w.incarnation = v.incarnation + (1 << 20);
		w.flags = 0;
		w.dir[0].age_ms = w.dir[1].age_ms = 0;
		forge(r, 1, 0, &w);
		assert_true(rack_conn(r, 0, &w.key, &v));
		assert_int_equal(v.incarnation > w.incarnation, !silent);
		assert_int_equal(v.incarnation == w.incarnation, silent);
		rack_check(r);
		rack_free(r);
	}
}

// The other's answer has passed before this node has opened it, so it has the lower number.
static void opening__gives_way(void **state)
{
	// The last three of an answer that is long ago.
	enum { ANSWERED, UDP, HERE, UNANSWERED, ESTABLISHED, FOLLOWS, LONG_AGO, SAME, OTHER, HOWS };
	const uint8_t syn = TCP_DIR_SYN, ack = TCP_DIR_ACK;

	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = forge_record(r, 1, 1, 1);
		struct conn_view v, first;

		if (how == FOLLOWS) { // a life of which the other has missed all but its beginning
			struct wire_record end = twice_closing(r, 1);
			end.dir[0].tcp_flags |= TCP_DIR_FIN_ACKED;
			end.dir[1].tcp_flags = end.dir[0].tcp_flags;
			forge(r, 1, 0, &end);
			f.seq = TWICE_FIN + NEXT;
		}

		if (how == UDP) {
			w.key.proto = w.reversed.proto = IPPROTO_UDP;
			rack_send(r, TRIPOD_INCOMING,
				&(struct frame_spec){.proto = IPPROTO_UDP,
					.src = "198.18.0.1",
					.dst = FLOWS_VIP,
					.sport = 1000,
					.dport = 80});
			rack_run_ms(r, 100);
		} else {
			w.dir[0].tcp_flags = how == ESTABLISHED ? syn | ack : syn;
			w.dir[1].tcp_flags = syn | ack;
			flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
			rack_run_ms(r, 1);
		}
		if (how == HERE) {
			flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
			rack_run_ms(r, 1);
		}
		assert_true(rack_conn(r, 0, &w.key, &first));
		if (how != FOLLOWS)
			w.incarnation = first.incarnation - 64 * 100;
		assert_true(w.incarnation < first.incarnation);
		w.dir[0].age_ms = w.dir[1].age_ms = how >= LONG_AGO ? 1100 : 500;
		if (how > LONG_AGO) {
			w.dir[0].tcp_flags |= WIRE_DIR_ISN;
			w.dir[0].isn = f.seq + (how == OTHER);
		}
		if (how == UNANSWERED) {
			w.flags = 0;
			w.dir[1].tcp_flags = 0;
		}
		forge(r, 1, 0, &w);
		assert_true(rack_conn(r, 0, &w.key, &v));
		bool gives = how == ANSWERED || how == UDP || how == SAME;
		assert_true(v.incarnation == (gives ? w.incarnation : first.incarnation));
		rack_check(r);
		rack_free(r);
	}
}

// A record of the flow as another node has opened it, whose SYN ends before syn and whose SYN+ACK before isn.
static struct wire_record opening(
	struct rack *r, unsigned n, unsigned writer, uint32_t syn, uint32_t isn)
{
	struct wire_record w = forge_record(r, n, writer, 1);

	w.dir[0].tcp_flags = TCP_DIR_SYN | WIRE_DIR_ISN;
	w.dir[0].isn = syn;
	w.dir[1].tcp_flags = TCP_DIR_SYN | TCP_DIR_ACK | WIRE_DIR_ISN;
	w.dir[1].isn = isn;
	w.holders = 1ull << writer;
	return w;
}

static unsigned without_copy(struct rack *r, const struct flow *f, unsigned not )
{
	struct conn_view v;
	unsigned i = 1;

	while (i == not || rack_conn(r, i, &f->key, &v))
		i++;
	return i;
}

// Two nodes have opened it, and each has let an answer pass. The one that the initiator's packets come to sees by their
// acknowledgement which of the two it has taken, whatever the numbers of the lives.
static void opening__the_initiator_says_which(void **state)
{
	enum { OTHER, OTHER_COPIED, OTHER_UNANSWERED, OTHER_HIGHER, OWN, OWN_LOWER, NEITHER, HOWS };

	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 4});
		struct flow f = twice_flow(r, 1);
		struct conn_view own, v;
		struct conn *c;

		rack_port(r, 3, false);
		rack_tap(r, twice_lose_logs, NULL);
		f.server = "10.1.0.101";
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 20);
		if (how != OTHER_UNANSWERED)
			flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_step(r);
		rack_run_ms(r, how == OTHER_COPIED ? 5 : 0);
		assert_true(rack_conn(r, 0, &f.key, &own));
		unsigned at = without_copy(r, &f, 0), writer = without_copy(r, &f, at);
		struct wire_record w = opening(r, 1, writer, f.seq, f.ack + NEXT);
		bool higher = how == OTHER_HIGHER || how == OWN_LOWER;
		w.incarnation = own.incarnation + (higher ? 6400 : -6400);
		twice_logs_lost = true;
		forge(r, writer, at, &w);
		assert_non_null(forge_find(r, at, 1, &c));
		assert_true(c->incarnation == w.incarnation);
		assert_true(c->dir[1].tcp.isn && c->dir[1].tcp.end == w.dir[1].isn);
		twice_logs_lost = false;
		bool other = how <= OTHER_HIGHER;
		f.ack += other ? NEXT : how == NEITHER ? 2 * NEXT : 0;
		uint64_t asked = rack_counter(r, 0, C_pulls_sent);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
		rack_run_ms(r, 5);
		assert_int_equal(rack_counter(r, 0, C_pulls_sent) - asked, other || how == NEITHER);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.epoch[0], other ? 2 : 1);
		assert_int_equal(v.tcp, how == NEITHER ? TCP_SYN_RECEIVED : TCP_ESTABLISHED);
		assert_int_equal(v.master[0], 0);
		rack_run_ms(
			r, 50); // all that have one of the two are told, under a number above both
		if (how == OTHER_COPIED)
			assert_int_equal(rack_counter(r, -1, C_epoch_conflicts), 0);
		assert_true(rack_conn(r, 0, &f.key, &own));
		for (unsigned i = 1; how != NEITHER && i < 4; i++)
			assert_true(
				!rack_conn(r, i, &f.key, &v) || v.incarnation == own.incarnation);
		rack_check(r);
		rack_free(r);
	}
}

// Where the switch parts directions, the answer may have passed at a node that has a copy from here and has not told yet.
// That is asked first, and all others if it knows of none, or of another one.
static void opening__who_has_a_copy_is_asked_first(void **state)
{
	enum { NO_ANSWER, ANOTHER, OWN, SETTLED, HOWS };

	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 4});
		struct flow f = twice_flow(r, 1);
		struct shard *s = node_shard(rack_node(r, 0), 0);
		struct conn_view own, v;
		struct conn *c;

		rack_run_ms(r, how == SETTLED ? 11000 : 20);
		f.server = "10.1.0.101";
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 20);
		assert_true(rack_conn(r, 0, &f.key, &own));
		rack_tap(r, twice_lose_logs, NULL);
		twice_logs_lost = true;
		struct wire_record w = opening(r, 1, 2, f.seq, f.ack + NEXT);
		w.incarnation = own.incarnation - 6400;
		forge(r, 2, 3, &w); // the other opening
		w = opening(r, 1, 0, f.seq, how == OWN ? f.ack : f.ack + 2 * NEXT);
		w.incarnation = own.incarnation;
		if (how == NO_ANSWER) {
			w.flags = 0;
			w.dir[1].tcp_flags = 0;
			w.dir[1].isn = 0;
		}
		w.flags |= WIRE_RECORD_ANSWER;
		forge(r, 0, 1, &w);
		struct conn_repl *l = forge_find(r, 0, 1, &c);
		conn_hold(s, l, 2);
		c->flags |= CONN_REPLICATED;
		twice_logs_lost = false;
		uint64_t asked = rack_counter(r, 0, C_pulls_targeted);
		uint64_t all = rack_counter(r, 0, C_pulls_broadcast);
		f.ack += how == OWN ? 0 : NEXT;
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
		rack_run_ms(r, 5);
		asked = rack_counter(r, 0, C_pulls_targeted) - asked;
		all = rack_counter(r, 0, C_pulls_broadcast) - all;
		bool other = how == NO_ANSWER || how == ANOTHER;
		assert_int_equal(asked + all, how == SETTLED ? 0 : other ? 2 : 1);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.tcp, how == SETTLED ? TCP_SYN_RECEIVED : TCP_ESTABLISHED);
		assert_non_null(forge_find(r, 0, 1, &c));
		assert_int_equal(c->incarnation == own.incarnation, !other);
		assert_int_equal(v.master[0], 0);
		rack_check(r);
		rack_free(r);
	}
}

// The initiator's SYN tells another opening of the same connection from the next life, whatever has been seen when.
static void opening__the_syn_tells(void **state)
{
	enum { ESTABLISHED, HALF_CLOSED, ANSWERED, LONG_ANSWERED, ENDED, STATES };
	const uint8_t ack = TRIPOD_TCP_ACK, fin = TRIPOD_TCP_FIN, syn = TRIPOD_TCP_SYN;

	for (unsigned n = 0; n < 2 * STATES; n++) {
		bool same = n % 2;
		unsigned at = n / 2;
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct conn_view v;

		f.server = "10.1.0.101";
		flow_from_client(r, &f, syn, 0);
		rack_run_ms(r, 20);
		struct wire_record w = opening(r, 1, 1, f.seq, f.ack + NEXT);
		flow_from_server(r, &f, syn | ack, 0);
		rack_run_ms(r, at == LONG_ANSWERED ? 1100 : 5);
		if (at == ESTABLISHED || at == HALF_CLOSED || at == ENDED) {
			flow_from_client(r, &f, ack | (at == ESTABLISHED ? 0 : fin), 100);
			rack_run_ms(r, 5);
		}
		if (at == ENDED) {
			flow_from_server(r, &f, ack | fin, 0);
			rack_run_ms(r, 5);
		}
		// Of the same, it has been seen later; of another, earlier, but for a SYN that is later, too.
		w.dir[0].isn += same ? 0 : NEXT;
		w.dir[0].age_ms = w.dir[1].age_ms = same || at == ANSWERED ? 0 : 2000;
		if (at == LONG_ANSWERED) {
			w.flags = 0;
			w.dir[1] = (typeof(w.dir[1])){0};
		}
		assert_true(rack_conn(r, 0, &f.key, &v));
		w.incarnation = v.incarnation + 6400;
		forge(r, 1, 0, &w);
		assert_true(rack_conn(r, 0, &f.key, &v));
		bool stands = same && at != ENDED;
		stands |= !same && at == LONG_ANSWERED; // which has not been answered
		assert_int_equal(v.incarnation > w.incarnation, stands);
		assert_int_equal(v.incarnation == w.incarnation, !stands);
		rack_check(r);
		rack_free(r);
	}
}

// The node that the acknowledgement comes to has neither: it is told of both, in any order, and by one that is sure.
static void opening__neither_is_here(void **state)
{
	for (unsigned how = 0; how < 6; how++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 4});
		struct flow f = twice_flow(r, 1);
		struct conn_view v;

		rack_port(r, 3, false);
		rack_tap(r, twice_lose_logs, NULL);
		twice_logs_lost = true;
		for (unsigned i = 1; i < 3; i++) {
			struct wire_record w = opening(r, 1, i, f.seq + 1, f.ack + i * NEXT);
			w.incarnation = 640000 + (how == 5 ? 3 - i : i) * 6400;
			forge(r, 3, i, &w);
		}
		twice_logs_lost = false;
		unsigned taken = how % 2 + 1;
		f.ack += taken * NEXT;
		f.seq++;
		if (how >= 4) // both have told of theirs
			rack_run_ms(r, 1500);
		if (how == 2 || how == 3) { // the other answers later
			rack_stall(r, taken, 0, true);
			rack_step(r);
		}
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
		rack_step(r);
		rack_step(r);
		rack_stall(r, taken, 0, false);
		rack_run_ms(r, 5);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.tcp, TCP_ESTABLISHED);
		assert_int_equal(v.incarnation & INCARNATION_NODE, 0);
		assert_true(v.master[1] == taken);
		rack_run_ms(r, 3000); // or the index sets show it
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.tcp, TCP_ESTABLISHED);
		struct conn *c;
		assert_true(
			forge_find(r, 3 - taken, 1, &c) == NULL || c->incarnation == v.incarnation);
		rack_check(r);
		rack_free(r);
	}
}

// A copy knows it, too: who takes over with one asks before it does.
static void opening__the_copy_knows_which(void **state)
{
	for (unsigned fits = 0; fits < 2; fits++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = opening(r, 1, 1, f.seq, f.ack);
		struct conn_view v;

		forge(r, 1, 0, &w);
		f.ack += fits ? 0 : NEXT;
		rack_freeze(r, 1);
		rack_freeze(r, 2);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 2);
		assert_int_equal(rack_counter(r, 0, C_pulls_sent), !fits);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.master[0], fits ? 0 : 1);
		rack_free(r);
	}
}

// Where the opening that is here, and that the initiator has taken, goes on above another, that is told, and nothing else:
// who only has a copy does not go on above that.
static void opening__goes_on_elsewhere(void **state)
{
	for (unsigned other = 0; other < 2; other++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = opening(r, 1, 1, f.seq, f.ack);
		struct conn *c;

		forge(r, 1, 0, &w);
		rack_freeze(r, 1);
		rack_freeze(r, 2);
		control_doubt(node_shard(rack_node(r, 0), 0), 0, true);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 2);
		assert_int_equal(rack_counter(r, 0, C_pulls_sent), 1);
		w.incarnation += 6400;
		w.dir[1].isn += other ? NEXT : 0;
		forge(r, 1, 0, &w);
		assert_non_null(forge_find(r, 0, 1, &c));
		assert_int_equal(c->incarnation > w.incarnation, other);
		assert_int_equal(rack_counter(r, 0, C_epoch_conflicts), other);
		rack_free(r);
	}
}

// Nobody else opens it as long as nothing moves, and it costs no byte then. Nor when it has been taken.
static void opening__told_while_something_moves(void **state)
{
	enum { QUIET, MOVING, ESTABLISHED, HOWS };

	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
		struct flow f = flow_of(1, "10.1.0.101");
		struct conn *c;
		uint32_t i;

		rack_run_ms(r, 12000);
		if (how != QUIET) {
			rack_port(r, 1, false);
			rack_kill(r, 1);
			rack_run_ms(r, 200);
			rack_start(r, 1);
			rack_run_ms(r, 500);
		}
		rack_port(r, 1, false);
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_step(r);
		flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_step(r);
		if (how == ESTABLISHED)
			flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 5);
		struct store *st = &node_shard(rack_node(r, 1), 0)->store;
		i = store_find(st, &f.key, store_hash(st, &f.key)).index;
		c = store_conn(st, i);
		assert_int_equal(c->state, CONN_LIVE);
		assert_int_equal(c->dir[1].tcp.isn, how == MOVING);
		assert_true(how != MOVING || c->dir[1].tcp.end == f.ack);
		rack_free(r);
	}
}

// What ended a moment ago has been opened anew on another node, and the first packet of the next life has passed here as
// one of the life before: the news of both come later. It was no more than a packet of that one.
static void opening__a_packet_has_passed(void **state)
{
	for (unsigned next = 0; next < 2; next++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record old = forge_record(r, 1, 1, 1),
				   w = opening(r, 1, 2, f.seq, f.ack);
		struct conn_view v;

		old.dir[0].tcp_flags = old.dir[1].tcp_flags = TCP_DIR_SYN | TCP_DIR_ACK;
		forge(r, 1, 0, &old);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
		rack_run_ms(r, 1);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.master[0], 0);
		w.incarnation = v.incarnation + 6400;
		w.dir[1].isn += next ? 0 : 1;
		w.dir[0].age_ms = w.dir[1].age_ms = 50;
		forge(r, 2, 0, &w);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.incarnation > w.incarnation, !next);
		assert_int_equal(v.incarnation == w.incarnation, next);
		rack_check(r);
		rack_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening__opened_twice),
		cmocka_unit_test(opening__challenged),
		cmocka_unit_test(opening__other_answers),
		cmocka_unit_test(opening__half_closed_when_opened_twice),
		cmocka_unit_test(opening__the_other_is_half_closed),
		cmocka_unit_test(opening__opened_twice_udp),
		cmocka_unit_test(opening__opened_twice_in_doubt),
		cmocka_unit_test(opening__gives_way),
		cmocka_unit_test(opening__the_initiator_says_which),
		cmocka_unit_test(opening__who_has_a_copy_is_asked_first),
		cmocka_unit_test(opening__the_syn_tells),
		cmocka_unit_test(opening__neither_is_here),
		cmocka_unit_test(opening__told_while_something_moves),
		cmocka_unit_test(opening__a_packet_has_passed),
		cmocka_unit_test(opening__the_copy_knows_which),
		cmocka_unit_test(opening__goes_on_elsewhere),
	};
	return cmocka_run_group_tests_name("opening", tests, NULL, NULL);
}
