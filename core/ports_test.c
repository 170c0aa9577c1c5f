// SPDX-License-Identifier: BSD-3-Clause
// NAT ports through restarts: what a node hands out in one life may outlive it at other nodes, and must
// not be handed out to another connection in the life after the next.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/rack.h"

#define FIRST_PORT 2000
#define HALF 6 // ports of a node in one life
#define REMOTE "198.18.7.7"

// ---- A source NAT of few ports ----

struct nat {
	uint16_t port;
	uint8_t pad[6];
};

static enum tripod_verdict nat_init(struct tripod_call *c, struct tripod_packet *p)
{
	const struct node_conf *conf = ((const struct shard *)c->shard)->conf;
	struct nat *n = tripod_state_rw(c);
	struct tripod_tuple out = p->tuple;

	if (tripod_packet_direction(p) == TRIPOD_INCOMING)
		return TRIPOD_DROP;
	tripod_addr_parse(&out.src, "192.0.2.1");
	unsigned first = FIRST_PORT + (conf->id * 2u + conf->boot_half) * HALF;
	unsigned at = (unsigned)(tripod_random(c) % HALF);
	for (unsigned k = 0; k < HALF; k++) {
		out.sport = htons((uint16_t)(first + (at + k) % HALF));
		struct tripod_tuple back = tripod_tuple_reverse(&out);
		if (tripod_tuple_available(c, &back)) {
			n->port = out.sport;
			return TRIPOD_FORWARD;
		}
	}
	return TRIPOD_DROP;
}

static enum tripod_verdict nat_packet(struct tripod_call *c, struct tripod_packet *p)
{
	const struct nat *n = c->state;
	struct tripod_addr a;

	tripod_addr_parse(&a, "192.0.2.1");
	if (c->from_initiator)
		tripod_packet_set_src(p, &a, n->port);
	else
		tripod_packet_set_dst(p, &c->opening->src, c->opening->sport);
	return TRIPOD_FORWARD;
}

static const struct tripod_field nat_fields[] = {
	TRIPOD_FIELD(struct nat, port, WRITE_ONCE, PORT),
	{0},
};
static const char *const no_counters[] = {NULL};
static const struct tripod_nf NAT = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "nat",
	.summary = "test: a source NAT of few ports",
	.state_size = sizeof(struct nat),
	.fields = nat_fields,
	.counters = no_counters,
	.on_init = nat_init,
	.on_packet = nat_packet,
};

// ---- The rack ----

static unsigned deaf; // a node whose logs get lost; NODES_MAX: none

static bool lose_logs(void *ctx, unsigned from, const struct frame *f)
{
	return from == deaf && rack_message(f) == WIRE_LOG;
}

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = 3;
	c.workers = c.workers != 0 ? c.workers : 1;
	c.backups = 1;
	c.nf = &NAT;
	c.divides = true;
	struct rack *r = rack_new(&c);
	deaf = NODES_MAX;
	rack_tap(r, lose_logs, NULL);
	rack_run_ms(r, 300);
	return r;
}

// Flow i from inside to one of six remote ends; what arrives there is answered.
static bool send_flow(struct rack *r, unsigned i)
{
	struct rack_arrival a[8];

	rack_arrivals(r, TRIPOD_INCOMING, a, 8);
	rack_send(r, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = "10.1.0.7",
			.dst = REMOTE,
			.sport = (uint16_t)(10000 + i),
			.dport = (uint16_t)(80 + i % 6), // the switch picks the node by it
			.proto = IPPROTO_UDP,
			.payload_len = 30});
	rack_run_ms(r, 8);
	unsigned n = rack_arrivals(r, TRIPOD_INCOMING, a, 8);
	for (unsigned k = 0; k < n; k++)
		rack_send(r, TRIPOD_INCOMING,
			&(struct frame_spec){.src = REMOTE,
				.dst = "192.0.2.1",
				.sport = ntohs(a[k].tuple.dport),
				.dport = ntohs(a[k].tuple.sport),
				.proto = IPPROTO_UDP,
				.payload_len = 30});
	rack_run_ms(r, 2);
	return n > 0;
}

// Every connection that a node handles or looks after, of all nodes.
static unsigned handled(struct rack *r, struct tripod_tuple key[][2], unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 3; i++) {
		for (unsigned w = 0; rack_node(r, i) && w < rack_node(r, i)->conf.workers; w++) {
			const struct store *st = &node_shard(rack_node(r, i), w)->store;
			for (uint32_t k = 1; k <= st->highest && n < max; k++) {
				const struct conn *c = store_conn(st, k);
				bool cares = store_repl(st, k)->part[PART_SHARED].writer == i ||
					     c->flags & (CONN_MASTER_0 | CONN_MASTER_1);
				if (c->state != CONN_LIVE || !cares)
					continue;
				key[n][0] = c->dir[0].key;
				key[n++][1] = c->dir[1].key;
			}
		}
	}
	return n;
}

static void assert_unique(struct rack *r, uint64_t seed)
{
	static struct tripod_tuple key[256][2];
	unsigned n = handled(r, key, 256);

	for (unsigned a = 0; a < n; a++) {
		for (unsigned b = a + 1; b < n; b++) {
			if (tripod_tuple_equal(&key[a][0], &key[b][0]) ||
				!tripod_tuple_equal(&key[a][1], &key[b][1]))
				continue;
			print_message("seed %lu: two connections share port %u\n",
				(unsigned long)seed, ntohs(key[a][1].dport));
			fail();
		}
	}
}

static struct node_status status_of(struct rack *r, unsigned i)
{
	struct node_status st;

	node_status(rack_node(r, i), &st);
	return st;
}

static void restart(struct rack *r, unsigned i)
{
	rack_kill(r, i);
	rack_run_ms(r, 300);
	rack_start(r, i);
}

// ---- Tests ----

// The life after the next would use the first half again: it waits for every member, for longer than a
// start waits for anything else, as long as others take the traffic.
static void ports__third_life_waits_for_everybody(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.seed = 1});

	for (unsigned i = 0; i < 40; i++)
		send_flow(r, i);
	assert_unique(r, 1);
	restart(r, 0); // the other half was never used
	assert_true(status_of(r, 0).ports_clear);
	rack_run_ms(r, 500);
	assert_int_equal(status_of(r, 0).phase, NODE_READY);
	deaf = 1;
	restart(r, 0);
	rack_run_ms(r, 12000);
	struct node_status st = status_of(r, 0);
	assert_int_equal(st.phase, NODE_JOINING);
	assert_true(st.join_ports);
	assert_int_equal(st.unreported, 1u << 1);
	for (unsigned i = 40; i < 80; i++)
		send_flow(r, i);
	assert_unique(r, 1);
	deaf = NODES_MAX;
	rack_run_ms(r, 1000);
	st = status_of(r, 0);
	assert_int_equal(st.phase, NODE_READY);
	assert_true(st.ports_clear);
	assert_false(st.join_ports);
	for (unsigned i = 80; i < 120; i++)
		send_flow(r, i);
	assert_unique(r, 1);
	assert_int_equal(rack_counter(r, 0, C_ports_unclear), 0);
	assert_int_equal(rack_counter(r, -1, C_join_timeouts), 0);
	rack_free(r);
}

// When nobody else is there, the node takes traffic, and hands out no ports until those of its former
// life have ended by themselves.
static void ports__clear_when_their_life_is_over(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.seed = 2, .port_life_s = 20});

	rack_kill(r, 1);
	rack_kill(r, 2);
	rack_run_ms(r, 300);
	assert_true(send_flow(r, 0));
	restart(r, 0);
	rack_run_ms(r, 500);
	restart(r, 0);
	rack_run_ms(r, 5100);
	struct node_status st = status_of(r, 0);
	assert_int_equal(st.phase, NODE_READY);
	assert_false(st.ports_clear);
	assert_int_equal(st.unreported, 6);
	assert_false(send_flow(r, 1));
	assert_true(rack_counter(r, 0, C_ports_unclear) > 0);
	rack_run_ms(r, 16000);
	assert_true(status_of(r, 0).ports_clear);
	assert_true(send_flow(r, 2));
	rack_free(r);
}

// Who was away is back: what it knows is asked for, although the node takes traffic already.
static void ports__clear_when_the_last_one_tells(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.seed = 5});

	for (unsigned i = 0; i < 12; i++)
		send_flow(r, i);
	restart(r, 0);
	rack_run_ms(r, 500);
	rack_freeze(r, 1);
	rack_freeze(r, 2);
	restart(r, 0);
	rack_run_ms(r, 5100);
	struct node_status st = status_of(r, 0);
	assert_int_equal(st.phase, NODE_READY);
	assert_false(st.ports_clear);
	rack_thaw(r, 1);
	rack_run_ms(r, 500);
	assert_int_equal(status_of(r, 0).unreported, 1u << 2);
	rack_thaw(r, 2);
	rack_run_ms(r, 500);
	assert_true(status_of(r, 0).ports_clear);
	for (unsigned i = 12; i < 40; i++)
		send_flow(r, i);
	assert_unique(r, 5);
	rack_free(r);
}

// A member that was never full, and yet has no place for what it is sent, does not know its ports.
static void ports__what_was_refused_is_not_known(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.seed = 3});

	for (unsigned i = 0; i < 20; i++)
		send_flow(r, i);
	restart(r, 0);
	rack_run_ms(r, 500);
	restart(r, 0);
	node_shard(rack_node(r, 0), 0)->counters[C_log_records_refused] = 1;
	rack_run_ms(r, 1000);
	assert_int_equal(status_of(r, 0).unreported, 0);
	assert_false(status_of(r, 0).ports_clear);
	rack_free(r);
}

// An opener is sent what it has opened, although it is no holder any more.
static void ports__openers_are_sent_what_they_opened(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.seed = 4});
	struct conn_view v;
	unsigned opened = 0;

	for (unsigned i = 0; i < 24; i++)
		send_flow(r, i);
	rack_kill(r, 0);
	rack_run_ms(r, 300);
	for (unsigned i = 0; i < 24; i++)
		send_flow(r, i);
	for (unsigned n = 1; n < 3; n++) {
		struct store *st = &node_shard(rack_node(r, n), 0)->store;
		for (uint32_t k = 1; k <= st->highest; k++)
			holders_remove(store_repl(st, k), 1);
	}
	rack_start(r, 0);
	rack_run_ms(r, 500);
	assert_int_equal(status_of(r, 0).phase, NODE_READY);
	static struct tripod_tuple key[256][2];
	unsigned n = handled(r, key, 256);
	for (unsigned k = 0; k < n; k++) {
		for (unsigned i = 1; i < 3; i++) {
			if (!rack_conn(r, i, &key[k][0], &v) ||
				(v.incarnation & INCARNATION_NODE) != 0)
				continue;
			opened++;
			assert_true(rack_conn(r, 0, &key[k][0], &v));
			break;
		}
	}
	assert_true(opened > 2);
	rack_free(r);
}

static void ports__two_openers_never_draw_the_same(void **state)
{
	uint64_t a = incarnation_above(12345, 7), b = incarnation_above(12345, 8);

	assert_true(a > 12345 && b > 12345 && a != b);
	assert_int_equal(a & INCARNATION_NODE, 7);
	assert_true(incarnation_above(a, 0) > a && incarnation_above(a, 0) > b);
}

// Two more lives for a node, while a member cannot send what it knows; and then some traffic.
static unsigned third_life(struct rack *r, unsigned i, unsigned *next)
{
	unsigned sent = 0;

	deaf = (i + 1) % 3;
	for (unsigned life = 0; life < 2; life++) {
		if (rack_node(r, i) != NULL)
			rack_kill(r, i);
		rack_run_ms(r, 150);
		rack_start(r, i);
		rack_run_ms(r, life == 0 ? 400 : 5200);
	}
	for (unsigned k = 0; k < 12; k++)
		sent += send_flow(r, (*next)++);
	deaf = NODES_MAX;
	return sent;
}

// Kills, starts, members that cannot send their copies: no two connections that are handled anywhere
// ever have the same outside tuple.
static void prop__no_port_twice(void **state)
{
	for (uint64_t seed = 1; seed <= 16; seed++) {
		struct rng rng = {.state = seed};
		struct rack *r = rack_of((struct rack_conf){
			.seed = seed, .udp_ms = 20000, .port_life_s = 45, .workers = 1 + seed % 2});
		unsigned next = 0, sent = 0;

		for (unsigned op = 0; op < 120; op++) {
			unsigned i = rng_below(&rng, 3);
			switch (rng_below(&rng, 10)) {
			case 0:
				if (rack_node(r, i) != NULL && rack_node(r, (i + 1) % 3) != NULL &&
					rack_node(r, (i + 2) % 3) != NULL)
					rack_kill(r, i);
				break;
			case 1:
			case 2:
				if (rack_node(r, i) == NULL)
					rack_start(r, i);
				break;
			case 3:
				deaf = deaf == NODES_MAX ? i : NODES_MAX;
				break;
			case 4:
				if (rng_below(&rng, 4) == 0)
					sent += third_life(r, i, &next);
				else
					rack_run_ms(r, rng_below(&rng, 3000));
				break;
			case 5:
			case 6:
				sent += send_flow(r, rng_below(&rng, next + 1));
				break;
			default:
				sent += send_flow(r, next++);
				break;
			}
			rack_run_ms(r, rng_below(&rng, 200));
			assert_unique(r, seed);
		}
		assert_true(sent > 20);
		rack_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports__third_life_waits_for_everybody),
		cmocka_unit_test(ports__clear_when_their_life_is_over),
		cmocka_unit_test(ports__clear_when_the_last_one_tells),
		cmocka_unit_test(ports__what_was_refused_is_not_known),
		cmocka_unit_test(ports__openers_are_sent_what_they_opened),
		cmocka_unit_test(ports__two_openers_never_draw_the_same),
		cmocka_unit_test(prop__no_port_twice),
	};
	return cmocka_run_group_tests_name("ports", tests, NULL, NULL);
}
