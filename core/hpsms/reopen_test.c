// SPDX-License-Identifier: BSD-3-Clause
// Ports that are opened anew as soon as they are closed, on nodes of which one knows the end of the life
// before and another the beginning of the next.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/testing/flows.h"
#include "core/testing/forge.h"

#define FIN 5000000u // where the former life ends
#define NEXT (1u << 24) // so far above the former life's are the numbers of the next

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 3;
	c.workers = 1;
	c.backups = c.backups ? c.backups : 1;
	c.seed = c.seed ? c.seed : 7;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

// Connection n of forge.h as a flow, whose packets come to node 0.
static struct flow flow_at_0(struct rack *r, unsigned n)
{
	struct flow f = flow_of(n, "10.1.0.101");

	f.port = 1000;
	f.key = forge_key(n);
	for (unsigned i = 1; i < 3; i++)
		rack_port(r, i, false);
	rack_run_ms(r, 20);
	return f;
}

// A record of connection n whose initiator has sent its last byte.
static struct wire_record closing(struct rack *r, unsigned n)
{
	struct wire_record w = forge_record(r, n, 1, 3);
	const uint8_t open = TCP_DIR_SYN | TCP_DIR_ACK;

	w.dir[0].tcp_flags = open | TCP_DIR_FIN | TCP_DIR_FIN_SEEN;
	w.dir[0].fin = FIN;
	w.dir[1].tcp_flags = open;
	return w;
}

// A node has a copy of the life before, and packets of the next one come to it before a copy of that. They do
// not move the old one, which would seem to go on.
static void reopen__what_comes_behind_a_fin(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct flow f = flow_at_0(r, 1);
	struct wire_record w = closing(r, 1);
	struct rack_arrival a[8];

	forge(r, 1, 0, &w);
	const struct conn_repl *l = forge_find(r, 0, 1, NULL);
	static const uint32_t behind[] = {FIN + NEXT, FIN};
	for (unsigned n = 0; n < 2; n++) {
		f.seq = behind[n];
		flow_from_client(r, &f, TRIPOD_TCP_ACK, 1);
		rack_run_ms(r, 300); // what was asked in vain is asked again
		assert_int_equal(rack_counter(r, 0, C_drop_tcp_closed), n + 1);
		assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 0);
		assert_int_equal(l->part[0].writer, 1);
	}
	f.seq = FIN - 200000; // its own, of a wide window, once more
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 1000);
	rack_run_ms(r, 20);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 1);
	assert_int_equal(l->part[0].writer, 0);
	rack_check(r);
	rack_free(r);
}

// A node has opened what it did not know, and hears of a life with a higher number that has come to its end.
static void reopen__over_an_end_that_was_not_known(void **state)
{
	for (unsigned how = 0; how < 5; how++) {
		struct rack *r = rack_of((struct rack_conf){0});
		struct flow f = flow_at_0(r, 1);
		struct wire_record w = closing(r, 1);
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

// Each direction has its master, and each has seen one FIN alone when the next SYN comes.
static void reopen__where_directions_part(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .split = true});
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reopen__what_comes_behind_a_fin),
		cmocka_unit_test(reopen__over_an_end_that_was_not_known),
		cmocka_unit_test(reopen__where_directions_part),
	};
	return cmocka_run_group_tests_name("reopen", tests, NULL, NULL);
}
