// SPDX-License-Identifier: BSD-3-Clause
// Ports that are opened anew as soon as they are closed, on nodes of which one knows the end of the life
// before and another the beginning of the next.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/testing/twice.h"

#define NEXT (1u << 24) // so far above the former life's are the numbers of the next

// The next life has begun on a node that had no copy, and its packets come to the one that still handles the
// life before. They are behind its FIN.
static void reopen__behind_a_fin_at_the_master(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct conn_view v, next;
	unsigned other = 1;
	struct flow f;

	twice_only(r, 0);
	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	flow_from_client(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 20);
	other += rack_conn(r, other, &f.key, &v);
	rack_tap(r, twice_lose_logs, NULL);
	twice_logs_lost = true;
	twice_only(r, other);
	f.seq += NEXT;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_step(r);
	flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
	rack_step(r);
	assert_true(rack_conn(r, other, &f.key, &next));
	assert_int_equal(next.tcp, TCP_SYN_RECEIVED);
	twice_logs_lost = false;
	twice_only(r, 0);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
	rack_run_ms(r, 2);
	assert_true(rack_conn(r, 0, &f.key, &v));
	assert_true(v.incarnation == next.incarnation);
	assert_int_equal(v.tcp, TCP_ESTABLISHED);
	rack_check(r);
	rack_free(r);
}

// If nobody has another life, it was no FIN: somebody has forged it.
static void reopen__behind_a_fin_that_was_none(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct rack_arrival a[8];
	struct conn_view v;
	struct flow f;

	twice_only(r, 0);
	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	flow_from_client(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 20);
	rack_arrivals(r, TRIPOD_OUTGOING, a, 8);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
	rack_run_ms(r, 20);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 1);
	assert_true(rack_conn(r, 0, &f.key, &v));
	assert_int_equal(rack_counter(r, 0, C_pulls_sent), 1);
	rack_check(r);
	rack_free(r);
}

// The same at a node that has a copy of the life before. Where that ends, it need not have been told.
static void reopen__behind_a_fin_at_a_copy(void **state)
{
	for (unsigned placed = 0; placed < 2; placed++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = twice_closing(r, 1);
		struct conn_view v, next;

		if (!placed) {
			w.dir[0].tcp_flags &= (uint8_t)~TCP_DIR_FIN_SEEN;
			w.dir[0].fin = 0;
		}
		forge(r, 1, 0, &w);
		twice_only(r, 2);
		f.seq = TWICE_FIN + NEXT;
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 1);
		assert_true(rack_conn(r, 2, &f.key, &next));
		twice_only(r, 0);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
		rack_run_ms(r, 5);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_true(v.incarnation == next.incarnation);
		assert_int_equal(v.master[0], 0);
		rack_check(r);
		rack_free(r);
	}
}

// All know of one node that has the life before. Another has begun the next, and nobody knows.
static void reopen__who_has_the_end_is_not_all(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct flow f = twice_flow(r, 1);
	struct wire_record w = twice_closing(r, 1);
	struct conn_view v, next;

	forge(r, 0, 1, &w);
	assert_non_null(forge_find(r, 1, 1, NULL));
	rack_run_ms(r, 3000); // announced
	twice_only(r, 2);
	f.seq = TWICE_FIN + NEXT;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 1);
	assert_true(rack_conn(r, 2, &f.key, &next));
	twice_only(r, 0);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
	rack_run_ms(r, 5);
	assert_true(rack_conn(r, 0, &f.key, &v));
	assert_true(v.incarnation == next.incarnation);
	assert_int_equal(v.master[0], 0);
	rack_check(r);
	rack_free(r);
}

// The same ports three times within the time for which a node remembers whom it has asked.
static void reopen__again_and_again(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.backups = 2});
	struct conn_view old, v;
	struct flow f;

	twice_only(r, 0);
	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	rack_tap(r, twice_lose_logs, NULL);
	for (unsigned n = 0; n < 3; n++) {
		twice_logs_lost = true;
		twice_only(r, 1);
		flows_close(r, &f, 1);
		assert_true(rack_conn(r, 1, &f.key, &old));
		assert_int_equal(old.tcp, TCP_CLOSED);
		twice_logs_lost = false;
		twice_only(r, 0);
		f.seq += NEXT;
		f.ack += NEXT;
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 2);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_true(v.incarnation > old.incarnation);
		flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 2);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 20);
		assert_true(rack_conn(r, 1, &f.key, &v));
		assert_int_equal(v.tcp, TCP_ESTABLISHED);
	}
	rack_check(r);
	rack_free(r);
}

// A SYN is asked about while the connection goes on, and another soon after, when that has come to its end.
static void reopen__what_was_asked_before_the_end(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.backups = 2});
	struct conn_view old, v;
	struct flow f;

	twice_only(r, 0);
	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	uint32_t seq = f.seq;
	f.seq += NEXT;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 2);
	assert_int_equal(rack_counter(r, 0, C_pulls_answered), 1);
	f.seq = seq;
	flow_from_client(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 2);
	rack_tap(r, twice_lose_logs, NULL);
	twice_logs_lost = true;
	twice_only(r, 1);
	flow_from_server(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_step(r);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
	rack_step(r);
	assert_true(rack_conn(r, 0, &f.key, &old));
	assert_int_equal(old.tcp, TCP_CLOSING);
	twice_logs_lost = false;
	twice_only(r, 0);
	f.seq += 2 * NEXT;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 2);
	assert_true(rack_conn(r, 0, &f.key, &v));
	assert_true(v.incarnation > old.incarnation);
	assert_int_equal(v.tcp, TCP_SYN_SENT);
	rack_check(r);
	rack_free(r);
}

// A node has opened what it did not know, and hears of a life with a higher number that has come to its end.
static void reopen__over_an_end_that_was_not_known(void **state)
{
	for (unsigned how = 0; how < 5; how++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = twice_closing(r, 1);
		struct conn_view v;

		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_step(r);
		assert_true(rack_conn(r, 0, &f.key, &v));
		w.incarnation = v.incarnation + (1 << 20);
		if (how == 1) // it goes on elsewhere, as far as is known
			w.dir[0] = w.dir[1];
		if (how == 2) // it began so long ago that it would have been told of an older one
			rack_run_ms(r, 150);
		if (how == 3) { // it has come to more than a beginning itself
			flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
			rack_step(r);
			flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
			rack_step(r);
		}
		if (how == 4) { // the other end
			w.dir[0] = w.dir[1];
			w.dir[1].tcp_flags |= TCP_DIR_FIN;
		}
		forge(r, 1, 0, &w);
		bool stands = how == 0 || how == 4;
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.incarnation > w.incarnation, stands);
		assert_int_equal(v.tcp, stands     ? TCP_SYN_SENT
					: how == 1 ? TCP_ESTABLISHED
						   : TCP_CLOSING);
		assert_int_equal(rack_counter(r, 0, C_epoch_conflicts), stands);
		rack_run_ms(r, 20);
		const struct conn_repl *told = forge_find(r, 1, 1, NULL);
		assert_int_equal(told != NULL, stands); // who said so hears of it
		rack_check(r);
		rack_free(r);
	}
}

// A packet that comes where the connection has just been taken from is relayed as a straggler, unless it is behind the
// FIN: then it is of the next life, which another node may have opened.
static void reopen__no_straggler(void **state)
{
	for (unsigned how = 0; how < 3; how++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct conn_view v;

		f.server = "10.1.0.101";
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 5);
		flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 5);
		flow_from_client(r, &f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
		rack_run_ms(r, 5);
		flow_from_server(r, &f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
		rack_run_ms(r, 5);
		twice_only(r, 1);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 5);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.master[0], 1);
		if (how == 2) { // it has been, and its node has told nobody
			rack_tap(r, twice_lose_logs, NULL);
			twice_logs_lost = true;
			twice_only(r, 2);
			f.seq += NEXT;
			f.ack += NEXT;
			flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
			rack_step(r);
			flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
			rack_step(r);
			twice_logs_lost = false;
		}
		twice_only(r, 0);
		f.seq += how == 1 ? NEXT : 0;
		uint64_t relayed = rack_counter(r, 0, C_relay_tx);
		uint64_t asked = rack_counter(r, 0, C_pulls_sent);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 5);
		assert_int_equal(rack_counter(r, 0, C_pulls_sent) - asked, how != 0);
		assert_int_equal(rack_counter(r, 0, C_relay_tx) - relayed, how != 2);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.tcp, how == 2 ? TCP_ESTABLISHED : TCP_CLOSED);
		rack_check(r);
		rack_free(r);
	}
}

// The next life has begun on another node, and its packet comes to who handles the initiator's of the one before, and has
// not heard of its end: it is further from the last than any window. If there is no other life, it passes.
static void reopen__far_from_the_last(void **state)
{
	const uint8_t open = TCP_DIR_SYN | TCP_DIR_ACK;

	for (unsigned next = 0; next < 2; next++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = forge_record(r, 1, 1, 1);
		struct conn_view old, v;
		struct conn *c;

		f.server = "10.1.0.101";
		w.dir[0].tcp_flags = w.dir[1].tcp_flags = open;
		forge(r, 1, 0, &w);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
		rack_run_ms(r, 5);
		assert_true(rack_conn(r, 0, &f.key, &old));
		assert_int_equal(old.master[0], 0);
		f.seq += 16 * NEXT;
		if (next) {
			rack_tap(r, twice_lose_logs, NULL);
			twice_logs_lost = true;
			twice_only(r, 2);
			flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
			rack_step(r);
			flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
			rack_step(r);
			twice_logs_lost = false;
			twice_only(r, 0);
		}
		uint64_t asked = rack_counter(r, 0, C_pulls_sent);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
		rack_run_ms(r, 20);
		assert_int_equal(rack_counter(r, 0, C_pulls_sent) - asked, 1);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_int_equal(v.incarnation > old.incarnation, next);
		assert_non_null(forge_find(r, 0, 1, &c));
		assert_int_equal(c->dir[0].tcp.end, f.seq); // it has passed
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
		rack_run_ms(r, 5);
		assert_int_equal(rack_counter(r, 0, C_pulls_sent) - asked, 1);
		rack_check(r);
		rack_free(r);
	}
}

// A SYN from inside. Returns the port of the NAT under which it has come to the server.
static uint16_t syn_from_inside(struct rack *r)
{
	struct rack_arrival a[8];

	rack_arrivals(r, TRIPOD_INCOMING, a, 8);
	rack_send(r, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = "10.1.0.5",
			.dst = "198.18.0.9",
			.sport = 40000,
			.dport = 443,
			.tcp_flags = TRIPOD_TCP_SYN,
			.seq = TWICE_FIN});
	rack_run_ms(r, 1);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 8), 1);
	return ntohs(a[0].tuple.sport);
}

// Its answer. Returns how many have come to the client.
static unsigned answer_to(struct rack *r, uint16_t port)
{
	struct rack_arrival a[8];

	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = "198.18.0.9",
			.dst = "192.0.2.1",
			.sport = 443,
			.dport = port,
			.tcp_flags = TRIPOD_TCP_SYN | TRIPOD_TCP_ACK,
			.seq = NEXT + port,
			.ack = TWICE_FIN + 1});
	rack_run_ms(r, 2);
	return rack_arrivals(r, TRIPOD_OUTGOING, a, 8);
}

// The first node's answer comes when the initiator has long been answered by way of a second. It would be one of
// an older life, and end nowhere.
static void reopen__late_answer(void **state)
{
	enum { ELSEWHERE, SOON, NOBODY, HOWS };
	struct tripod_tuple key = {
		.sport = htons(40000), .dport = htons(443), .proto = IPPROTO_TCP, .direction = 1};

	tripod_addr_parse(&key.src, "10.1.0.5");
	tripod_addr_parse(&key.dst, "198.18.0.9");
	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct conn_view first, v;

		twice_only(r, 0);
		uint16_t port = syn_from_inside(r);
		assert_true(rack_conn(r, 0, &key, &first));
		rack_run_ms(r, how == SOON ? 10 : 300);
		if (how == ELSEWHERE) {
			rack_tap(r, twice_lose_logs, NULL);
			twice_logs_lost = true;
			twice_only(r, 2);
			uint16_t other = syn_from_inside(r);
			assert_int_not_equal(other, port);
			assert_int_equal(answer_to(r, other), 1);
			twice_logs_lost = false;
			twice_only(r, 0);
		}
		uint64_t asked = rack_counter(r, 0, C_pulls_sent);
		assert_int_equal(answer_to(r, port), how != ELSEWHERE);
		assert_int_equal(rack_counter(r, 0, C_pulls_sent) - asked, how != SOON);
		assert_true(rack_conn(r, 0, &key, &v));
		assert_int_equal(v.incarnation > first.incarnation, how == ELSEWHERE);
		assert_int_equal(v.tcp, TCP_SYN_RECEIVED);
		rack_check(r);
		rack_free(r);
	}
}

// Each direction has its master, and each has seen one FIN alone when the next SYN comes.
static void reopen__where_directions_part(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2, .split = true});
	struct conn_view old, v;
	struct flow f;
	unsigned n = 0, to, back;

	do {
		f = flow_of(n++, "10.1.0.101");
		to = rack_hash(r,
			&(struct frame_spec){
				.src = f.client, .dst = FLOWS_VIP, .sport = f.port, .dport = 80},
			TRIPOD_INCOMING);
		back = rack_hash(r,
			&(struct frame_spec){
				.src = f.server, .dst = f.client, .sport = 8080, .dport = f.port},
			TRIPOD_OUTGOING);
	} while (to == back);
	assert_int_equal(flows_open(r, &f, n - 1, 1, "10.1.0.101"), 1);
	rack_run_ms(r, 20);
	flow_from_client(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 20);
	flow_from_server(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_step(r);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
	rack_step(r);
	assert_true(rack_conn(r, to, &f.key, &old));
	assert_int_equal(old.master[0], to);
	assert_int_equal(old.master[1], back);
	f.seq += NEXT;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 20);
	assert_true(rack_conn(r, to, &f.key, &v));
	assert_true(v.incarnation > old.incarnation);
	assert_int_equal(v.tcp, TCP_SYN_SENT);
	flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 20);
	assert_true(rack_conn(r, back, &f.key, &v));
	assert_true(v.incarnation > old.incarnation);
	assert_int_equal(v.tcp, TCP_SYN_RECEIVED);
	rack_check(r);
	rack_free(r);
}

// A SYN lay before a worker that stood still: it opens nothing. Nor does it end what has closed, whose last
// acknowledgement may be lost, so that a FIN comes again.
static void reopen__an_old_syn_ends_nothing(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.bfd = true});
	const uint8_t fin = TRIPOD_TCP_FIN | TRIPOD_TCP_ACK;
	struct rack_arrival a[8];
	struct conn_view v;
	struct flow f;

	twice_only(r, 0);
	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	flows_close(r, &f, 1);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 5);
	assert_true(rack_conn(r, 0, &f.key, &v));
	assert_int_equal(v.tcp, TCP_CLOSED);
	rack_stall(r, 0, 0, true);
	f.seq += NEXT;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	f.seq -= NEXT + 1;
	rack_run_ms(r, 80); // more than the switch waits, less than members do
	rack_stall(r, 0, 0, false);
	rack_run_ms(r, 5);
	assert_int_equal(rack_counter(r, 0, C_drop_stale), 1);
	assert_true(rack_conn(r, 0, &f.key, &v));
	assert_int_equal(v.state, CONN_LIVE);
	rack_arrivals(r, TRIPOD_INCOMING, a, 8);
	f.ack--;
	flow_from_server(r, &f, fin, 0);
	rack_run_ms(r, 5);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 8), 1);
	assert_int_equal(a[0].tcp_flags, fin);
	rack_check(r);
	rack_free(r);
}

// The initiator resets what still comes of the life before, and a node asks whose the reset is. What it gets is
// the next life, which has begun meanwhile, and goes on. One that is older is reset: there nothing else is meant.
static void reopen__a_reset_of_the_life_before(void **state)
{
	for (unsigned young = 0; young < 2; young++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct flow f = twice_flow(r, 1);
		struct wire_record w = twice_closing(r, 1);
		struct conn_view v, next;

		f.server = "10.1.0.101";
		forge(r, 0, 1, &w);
		// It has none, and node 1 takes it for one that is about to.
		holders_unmark(forge_find(r, 1, 1, NULL), HOLDER_ACKED, 1);
		rack_run_ms(r, 3000); // announced
		rack_tap(r, twice_lose_logs, NULL);
		twice_logs_lost = true;
		twice_only(r, 2);
		f.seq = TWICE_FIN + NEXT;
		flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
		rack_step(r);
		flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, young ? 2 : 2 * STRAGGLER_MS);
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 0);
		rack_step(r);
		assert_true(rack_conn(r, 2, &f.key, &next));
		assert_int_equal(next.tcp, TCP_ESTABLISHED);
		assert_false(rack_conn(r, 0, &f.key, &v));
		twice_logs_lost = false;
		twice_only(r, 0);
		f.seq = TWICE_FIN;
		flow_from_client(r, &f, TRIPOD_TCP_RST, 0);
		rack_run_ms(r, 5);
		assert_true(rack_conn(r, 0, &f.key, &v));
		assert_true(v.incarnation == next.incarnation);
		assert_int_equal(v.tcp, young ? TCP_ESTABLISHED : TCP_CLOSED);
		rack_check(r);
		rack_free(r);
	}
}

static void begin_question(struct rack *r, struct shard *s, const struct tripod_tuple *key)
{
	uint64_t hash = store_hash(&s->store, key);
	uint32_t *list = &s->pull_hash[hash & (PULL_HASH - 1)];

	s->pulls[1] = (struct pull){.key = *key,
		.hash = hash,
		.state = PULL_ASKING,
		.started_ns = rack_now_ns(r) - MS,
		.asked_ns = rack_now_ns(r),
		.tried = 1,
		.awaited = 1,
		.chain = *list};
	*list = 1;
	s->pulls_asking++;
}

// A SYN comes to a node that has just been given a copy, and asks for it still: who has told of it alone. Its answer is
// one of before. Who knows that both sides have ended is another.
static void reopen__joins_a_question(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct flow f = twice_flow(r, 1);
	struct wire_record w = twice_closing(r, 1), before;
	struct shard *s = node_shard(rack_node(r, 2), 0);
	struct conn_view v;

	w.flags |= WIRE_RECORD_ANSWER; // else its writer would be told, and tell
	before = w;
	before.flags |= WIRE_RECORD_FINAL;
	forge(r, 0, 2, &w);
	w.dir[1].tcp_flags |= TCP_DIR_FIN;
	forge(r, 0, 1, &w);
	begin_question(r, s, &w.key);
	twice_only(r, 2);
	for (unsigned i = 0; i < 2; i++)
		rack_stall(r, i, 0, true);
	f.seq = TWICE_FIN + NEXT;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	for (unsigned n = 0; n < 3; n++)
		rack_step(r);
	assert_int_equal(s->pulls[1].tried, 3);
	forge(r, 0, 2, &before);
	assert_int_equal(s->pulls[1].state, PULL_ASKING);
	for (unsigned i = 0; i < 2; i++)
		rack_stall(r, i, 0, false);
	rack_run_ms(r, 30);
	assert_true(rack_conn(r, 2, &f.key, &v));
	assert_true(v.incarnation > w.incarnation);
	assert_int_equal(v.tcp, TCP_SYN_SENT);
	rack_check(r);
	rack_free(r);
}

// Connections of node 0 end there, their ports are opened anew, and nobody answers. What is told of it is lost.
static void reopened(struct rack *r, struct flow *f, unsigned n)
{
	rack_tap(r, twice_lose_logs, NULL);
	twice_only(r, 0);
	assert_int_equal(flows_open(r, f, 0, n, "10.1.0.101"), n);
	rack_run_ms(r, 20);
	twice_logs_lost = true;
	for (unsigned i = 0; i < n; i++)
		flow_from_client(r, &f[i], TRIPOD_TCP_RST | TRIPOD_TCP_ACK, 0);
	rack_step(r);
	for (unsigned i = 0; i < n; i++) {
		f[i].seq += NEXT;
		flow_from_client(r, &f[i], TRIPOD_TCP_SYN, 0);
	}
	rack_run_ms(r, 1);
}

// Copies of the former lives.
static unsigned left(struct rack *r, const struct flow *f, unsigned n)
{
	unsigned lives = 0;
	struct conn_view v;

	for (unsigned i = 0; i < n; i++) {
		assert_true(rack_conn(r, 0, &f[i].key, &v));
		assert_int_equal(v.state, CONN_LIVE);
		assert_false(v.flags & CONN_ANSWERED);
		lives += rack_copies(r, &f[i].key) - 1;
	}
	return lives;
}

// The end is told again, though its record is the next life's.
static void reopen__the_end_is_told_until_it_is_known(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	static struct flow f[ENDINGS];

	reopened(r, f, ENDINGS);
	assert_int_equal(left(r, f, ENDINGS), ENDINGS);
	rack_run_ms(r, 40);
	twice_logs_lost = false;
	rack_run_ms(r, 100);
	assert_int_equal(left(r, f, ENDINGS), 0);
	assert_int_equal(rack_counter(r, 0, C_tombstones_untold), 0);
	for (unsigned i = 0; i < ENDINGS; i++)
		assert_false(node_shard(rack_node(r, 0), 0)->endings.at[i].open);
	uint64_t sent = rack_counter(r, 0, C_log_records_tx);
	rack_run_ms(r, 300);
	assert_int_equal(rack_counter(r, 0, C_log_records_tx), sent); // and no more then
	rack_check(r);
	rack_free(r);
}

// Who is not heard meanwhile is told when it is; who has restarted has no copy any more.
static void reopen__the_end_waits_for_who_is_not_heard(void **state)
{
	enum { FEW = 8 };

	for (unsigned restarts = 0; restarts < 2; restarts++) {
		struct rack *r = settled_rack((struct rack_conf){0});
		struct shard *s = node_shard(rack_node(r, 0), 0);
		static struct flow f[FEW];

		reopened(r, f, FEW);
		for (unsigned i = 1; i < 3; i++)
			restarts ? rack_kill(r, i) : rack_freeze(r, i);
		rack_run_ms(r, 400);
		assert_int_equal(s->live, 1);
		twice_logs_lost = false;
		for (unsigned i = 1; i < 3; i++)
			restarts ? rack_start(r, i) : rack_thaw(r, i);
		rack_run_ms(r, 200);
		assert_int_equal(s->live, 7);
		assert_int_equal(left(r, f, FEW), 0);
		for (unsigned i = 0; i < ENDINGS; i++)
			assert_false(s->endings.at[i].open);
		rack_check(r);
		rack_free(r);
	}
}

// There are places for the latest of them.
static void reopen__more_ends_than_places(void **state)
{
	enum { MORE = 8 };
	struct rack *r = settled_rack((struct rack_conf){0});
	static struct flow f[ENDINGS + MORE];

	reopened(r, f, ENDINGS + MORE);
	assert_int_equal(rack_counter(r, 0, C_tombstones_untold), MORE);
	twice_logs_lost = false;
	rack_run_ms(r, 100);
	assert_int_equal(left(r, f, ENDINGS + MORE), MORE);
	rack_check(r);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reopen__behind_a_fin_at_the_master),
		cmocka_unit_test(reopen__behind_a_fin_that_was_none),
		cmocka_unit_test(reopen__behind_a_fin_at_a_copy),
		cmocka_unit_test(reopen__who_has_the_end_is_not_all),
		cmocka_unit_test(reopen__again_and_again),
		cmocka_unit_test(reopen__what_was_asked_before_the_end),
		cmocka_unit_test(reopen__over_an_end_that_was_not_known),
		cmocka_unit_test(reopen__no_straggler),
		cmocka_unit_test(reopen__far_from_the_last),
		cmocka_unit_test(reopen__late_answer),
		cmocka_unit_test(reopen__where_directions_part),
		cmocka_unit_test(reopen__an_old_syn_ends_nothing),
		cmocka_unit_test(reopen__a_reset_of_the_life_before),
		cmocka_unit_test(reopen__joins_a_question),
		cmocka_unit_test(reopen__the_end_is_told_until_it_is_known),
		cmocka_unit_test(reopen__the_end_waits_for_who_is_not_heard),
		cmocka_unit_test(reopen__more_ends_than_places),
	};
	return cmocka_run_group_tests_name("reopen", tests, NULL, NULL);
}
