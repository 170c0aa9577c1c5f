// SPDX-License-Identifier: BSD-3-Clause
// Synchronous durability on the real core: what it promises, at every step of a connection's life.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"
#include "core/testing/lives.h"
#include "core/testing/settled.h"

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 4;
	c.backups = c.backups ? c.backups : 2;
	c.seed = c.seed ? c.seed : 11;
	return settled_rack(c);
}

static void run_ms(struct lives *l, struct rack *r, unsigned ms)
{
	for (uint64_t end = rack_now_ns(r) + ms * MS; rack_now_ns(r) < end;)
		lives_step(l);
}

// ---- Every pair of nodes, at every step ----

#define STEPS 96 // of the rack, longer than a life without failures
// Connections of which node 0 is master and nodes 1 and 2 are backups.
static void same_roles(struct rack *r, struct lives *l, unsigned n)
{
	const struct shard *s = node_shard(rack_node(r, 0), 0);

	for (unsigned i = 0, tries = 0; i < n; tries++) {
		char address[20];
		struct tripod_tuple key = {.proto = 6, .direction = TRIPOD_OUTGOING};
		snprintf(address, sizeof(address), "198.18.%u.%u", tries / 250, tries % 250 + 1);
		lives_to(l, i, address, 80);
		struct frame_spec first = lives_first(l, i);
		tripod_addr_parse(&key.src, first.src);
		tripod_addr_parse(&key.dst, first.dst);
		key.sport = htons(first.sport);
		key.dport = htons(first.dport);
		if (rack_hash(r, &first, TRIPOD_OUTGOING) == 0 &&
			place_rendezvous(s, &key, s->live & ~1ull, 2) == 6)
			i++;
	}
}

// Connections at every step of their life when nodes a and b die. Returns how many do not go on.
static unsigned broken_by(struct rack_conf conf, unsigned a, unsigned b, bool roles)
{
	conf.nodes = 6;
	struct rack *r = rack_of(conf);
	struct lives *l = lives_new(r, STEPS, 30);

	if (roles) {
		same_roles(r, l, STEPS);
	} else {
		for (unsigned i = 0; i < STEPS; i++)
			lives_to(l, i, "198.18.7.7", (uint16_t)(2000 + i));
	}
	for (unsigned i = 0; i < STEPS; i++) {
		lives_open(l, i);
		lives_step(l);
	}
	rack_kill(r, a);
	rack_kill(r, b);
	for (unsigned ms = 0; ms < 2000 && lives_count(l, LIFE_CLOSED) < STEPS; ms += 20)
		run_ms(l, r, 20);
	unsigned broken = STEPS - lives_count(l, LIFE_CLOSED);
	rack_check(r);
	lives_free(l);
	rack_free(r);
	return broken;
}

static void every_pair(struct rack_conf conf, bool roles)
{
	conf.sync = true;
	for (unsigned a = 0; a < 6; a++) {
		for (unsigned b = a + 1; b < 6; b++) {
			unsigned broken = broken_by(conf, a, b, roles);
			if (broken > 0)
				print_message("nodes %u and %u: %u broken\n", a, b, broken);
			assert_int_equal(broken, 0);
		}
	}
}

static void sync__every_pair_at_every_step(void **state)
{
	every_pair((struct rack_conf){.seed = 60}, true);
}

static void sync__every_pair_with_loss(void **state)
{
	for (unsigned seed = 61; seed < 64; seed++)
		every_pair((struct rack_conf){.seed = seed, .loss_percent = 10}, true);
}

static void sync__every_pair_of_any_roles(void **state)
{
	for (unsigned seed = 70; seed < 74; seed++)
		every_pair((struct rack_conf){.seed = seed}, false);
}

static void sync__every_pair_with_split_directions(void **state)
{
	for (unsigned seed = 80; seed < 84; seed++)
		every_pair((struct rack_conf){.seed = seed, .split = true}, false);
}

static void sync__every_pair_with_workers(void **state)
{
	every_pair((struct rack_conf){.seed = 90, .workers = 2}, false);
	every_pair((struct rack_conf){.seed = 91, .workers = 3, .split = true, .loss_percent = 5},
		false);
}

// ---- One thing at a time ----

// Logs of these nodes are lost: what they acknowledge does not arrive.
static bool lose_logs(void *ctx, unsigned from, const struct frame *f)
{
	const uint64_t *silent = ctx;

	return rack_message(f) == WIRE_LOG && (*silent >> from & 1);
}

static unsigned arrived(struct rack *r, enum tripod_direction side, struct rack_arrival *a)
{
	static struct rack_arrival none[64];

	return rack_arrivals(r, side, a != NULL ? a : none, 64);
}

// Three nodes and one flow that is open on one of them, its backups' logs lost from now on or found.
struct scene {
	struct rack *r;
	struct flow f;
	unsigned master;
	uint64_t silent;
};

static unsigned master_of(struct rack *r, const struct flow *f)
{
	return rack_hash(r,
		&(struct frame_spec){
			.src = f->client, .dst = FLOWS_VIP, .sport = f->port, .dport = 80},
		TRIPOD_INCOMING);
}

static void scene_open(struct scene *x, struct rack_conf c)
{
	memset(x, 0, sizeof(*x));
	c.sync = true;
	c.nodes = c.nodes ? c.nodes : 3;
	x->r = rack_of(c);
	assert_int_equal(flows_open(x->r, &x->f, 0, 1, "10.1.0.101"), 1);
	x->master = master_of(x->r, &x->f);
	rack_tap(x->r, lose_logs, &x->silent);
	rack_run_ms(x->r, 20);
	arrived(x->r, TRIPOD_INCOMING, NULL);
	arrived(x->r, TRIPOD_OUTGOING, NULL);
}

static void scene_silent(struct scene *x, bool silent)
{
	x->silent = silent ? ~(1ull << x->master) : 0;
}

static void scene_close(struct scene *x)
{
	rack_check(x->r);
	assert_int_equal(rack_buffers_lost(x->r), 0);
	rack_free(x->r);
}

static void sync__order_of_a_direction(void **state)
{
	struct rack_arrival a[64];
	struct scene x;

	scene_open(&x, (struct rack_conf){.nodes = 3});
	scene_silent(&x, true);
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 100); // changes nothing
	rack_run_ms(x.r, 1);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 1);
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	x.f.seq--; // the FIN's place is taken by data that is sent again
	for (unsigned n = 1; n <= 5; n++) {
		x.f.seq -= n;
		flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK, n);
		rack_run_ms(x.r, 1);
	}
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 0);
	// The other direction has changed nothing.
	flow_from_server(x.r, &x.f, TRIPOD_TCP_ACK, 40);
	rack_run_ms(x.r, 1);
	assert_int_equal(arrived(x.r, TRIPOD_INCOMING, NULL), 1);
	scene_silent(&x, false);
	rack_run_ms(x.r, 30);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, a), 6);
	assert_true(a[0].tcp_flags & TRIPOD_TCP_FIN);
	for (unsigned n = 1; n <= 5; n++)
		assert_int_equal(a[n].payload_len, n);
	assert_int_equal(rack_counter(x.r, -1, C_sync_timeouts), 0);
	scene_close(&x);
}

static void time_out(bool forward)
{
	struct rack_arrival a[64];
	struct scene x;

	scene_open(&x, (struct rack_conf){.sync_forward = forward, .sync_timeout_ms = 400});
	scene_silent(&x, true);
	uint64_t sent_ns = rack_now_ns(x.r);
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	rack_run_ms(x.r, 395);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 0);
	rack_run_ms(x.r, 30);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, a), forward ? 1 : 0);
	assert_int_equal(rack_counter(x.r, -1, C_sync_timeouts), 1);
	assert_int_equal(rack_counter(x.r, -1, C_drop_sync_timeout), forward ? 0 : 1);
	if (forward)
		assert_true(a[0].at_ns - sent_ns >= 400 * MS);
	// What comes next waits again: nothing is acknowledged yet.
	x.f.seq--;
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	rack_run_ms(x.r, 10);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 0);
	scene_silent(&x, false);
	rack_run_ms(x.r, 380); // the longest time until a log is sent again
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 1);
	scene_close(&x);
}

static void sync__time_out_drops(void **state)
{
	time_out(false);
}

static void sync__time_out_forwards(void **state)
{
	time_out(true);
}

// A backup that dies while packets wait is waited for until it counts as dead, and replaced.
static void sync__a_backup_dies(void **state)
{
	struct scene x;
	struct conn_view v;

	scene_open(&x, (struct rack_conf){.nodes = 4, .backups = 1});
	assert_true(rack_conn(x.r, x.master, &x.f.key, &v));
	unsigned backup = (unsigned)__builtin_ctzll(v.holders & ~(1ull << x.master));
	rack_kill(x.r, backup);
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	rack_run_ms(x.r, 40);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 0);
	rack_run_ms(x.r, 110);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 1);
	assert_int_equal(rack_counter(x.r, -1, C_sync_timeouts), 0);
	assert_true(rack_conn(x.r, x.master, &x.f.key, &v));
	assert_int_equal(__builtin_popcountll(v.acked & ~(1ull << backup)), 2);
	scene_close(&x);
}

// Nobody is left who could acknowledge: min(k, others) is 0.
static void sync__the_last_node(void **state)
{
	struct scene x;

	scene_open(&x, (struct rack_conf){.nodes = 3});
	for (unsigned i = 0; i < 3; i++) {
		if (i != x.master)
			rack_kill(x.r, i);
	}
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	rack_run_ms(x.r, 40);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 0);
	rack_run_ms(x.r, 110);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 1);
	scene_close(&x);
}

static void sync__no_room_to_wait(void **state)
{
	struct scene x;

	scene_open(&x, (struct rack_conf){.sync_packets = 8, .sync_timeout_ms = 40});
	scene_silent(&x, true);
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	for (unsigned n = 0; n < 20; n++) {
		x.f.seq--;
		flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	}
	rack_run_ms(x.r, 10);
	assert_int_equal(rack_counter(x.r, -1, C_sync_waits), 8 + 2); // two opened it
	assert_int_equal(rack_counter(x.r, -1, C_drop_sync_full), 13);
	scene_silent(&x, false);
	rack_run_ms(x.r, 20);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 8);
	scene_close(&x);
}

// Another node takes the direction over while its packets wait: they are lost, their sender repeats.
static void sync__moved_while_waiting(void **state)
{
	struct scene x;

	scene_open(&x, (struct rack_conf){.nodes = 3});
	x.silent = ~(1ull << x.master) & 7;
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	rack_run_ms(x.r, 5);
	rack_port(x.r, x.master, false);
	x.silent = 0;
	x.f.seq--;
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	x.silent =
		1ull << x.master; // it hears of the other's claim before anybody hears of its FIN
	rack_run_ms(x.r, 30);
	assert_int_equal(rack_counter(x.r, x.master, C_handovers), 1);
	assert_int_equal(rack_counter(x.r, x.master, C_drop_sync_lost), 1);
	x.silent = 0;
	rack_run_ms(x.r, 250);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 1);
	scene_close(&x);
}

// The ports are used again while the last packets of the former life wait.
static void sync__reused_while_waiting(void **state)
{
	struct scene x;
	struct rack_arrival a[64];

	scene_open(&x, (struct rack_conf){.nodes = 3});
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	rack_run_ms(x.r, 5);
	flow_from_server(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	rack_run_ms(x.r, 5);
	scene_silent(&x, true);
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK, 0);
	rack_run_ms(x.r, 5);
	arrived(x.r, TRIPOD_OUTGOING, NULL);
	x.f.seq += 100000;
	flow_from_client(x.r, &x.f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(x.r, 5);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, a), 1);
	assert_int_equal(a[0].tcp_flags, TRIPOD_TCP_SYN);
	assert_int_equal(rack_counter(x.r, x.master, C_drop_sync_lost), 1);
	scene_silent(&x, false);
	rack_run_ms(x.r, 50);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 0);
	scene_close(&x);
}

// A third holder that is behind could take over with what the connection was before: it is waited for,
// although k others have acknowledged.
static void sync__every_holder_is_waited_for(void **state)
{
	struct scene x;
	struct conn_view v;
	uint64_t others = 0;

	for (unsigned seed = 20; __builtin_popcountll(others) != 2; seed++) {
		if (seed > 20)
			scene_close(&x);
		scene_open(&x, (struct rack_conf){.nodes = 5, .backups = 1, .seed = seed});
		rack_port(x.r, x.master, false);
		flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 10);
		rack_run_ms(x.r, 50);
		assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 1);
		x.master = master_of(x.r, &x.f);
		assert_true(rack_conn(x.r, x.master, &x.f.key, &v));
		others = v.holders & ~(1ull << x.master);
	}
	x.silent = others & -others;
	flow_from_client(x.r, &x.f, TRIPOD_TCP_ACK | TRIPOD_TCP_FIN, 0);
	rack_run_ms(x.r, 50);
	assert_true(rack_conn(x.r, x.master, &x.f.key, &v));
	assert_true(v.acked & others);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 0);
	x.silent = 0;
	rack_run_ms(x.r, 150);
	assert_int_equal(arrived(x.r, TRIPOD_OUTGOING, NULL), 1);
	scene_close(&x);
}

// ---- A member without room ----

#define ROOM_FOR 64 // records a node

static bool lose_refusals(void *ctx, unsigned from, const struct frame *f)
{
	return ctx != NULL && rack_message(f) == WIRE_REFUSED;
}

static unsigned node_of(struct rack *r, unsigned n)
{
	struct flow f = flow_of(n, "10.1.0.101");

	return master_of(r, &f);
}

// A rack in which node 1 has no room, and the answer of a connection of node 0 on its way.
static struct rack *without_room(struct rack_conf c, bool lose, struct flow *f)
{
	static bool yes = true;
	unsigned n = 0, opened = 0;

	c.sync = true;
	c.connections = ROOM_FOR;
	struct rack *r = rack_of(c);
	rack_tap(r, lose_refusals, lose ? &yes : NULL);
	for (; opened < ROOM_FOR; n++) {
		struct flow other = flow_of(n, "10.1.0.101");
		if (node_of(r, n) != 1)
			continue;
		flow_from_client(r, &other, TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 1);
		opened++;
	}
	assert_int_equal(node_shard(rack_node(r, 1), 0)->store.used, ROOM_FOR);
	while (node_of(r, n) != 0)
		n++;
	*f = flow_of(n, "10.1.0.101");
	flow_from_client(r, f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 5);
	arrived(r, TRIPOD_INCOMING, NULL);
	flow_from_server(r, f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 100);
	assert_true(rack_counter(r, 1, C_log_records_refused) > 0);
	return r;
}

// What is not kept is not acknowledged, whether or not its sender hears that it was refused.
static void sync__refused_is_not_acknowledged(void **state)
{
	struct flow f;

	for (unsigned lose = 0; lose < 2; lose++) {
		struct rack *r = without_room(
			(struct rack_conf){.nodes = 2, .backups = 1, .sync_timeout_ms = 300}, lose,
			&f);
		assert_int_equal(arrived(r, TRIPOD_INCOMING, NULL), 0);
		rack_run_ms(r, 300);
		assert_int_equal(rack_counter(r, 0, C_drop_sync_timeout), 1);
		rack_check(r);
		rack_free(r);
	}
}

static void sync__refused_by_one_of_two(void **state)
{
	struct flow f;
	struct rack *r = without_room((struct rack_conf){.nodes = 3, .backups = 2}, false, &f);

	// The other one has acknowledged; two were promised.
	assert_int_equal(rack_copies(r, &f.key), 2);
	assert_int_equal(arrived(r, TRIPOD_INCOMING, NULL), 0);
	rack_free(r);
}

static void sync__refused_and_given_to_another(void **state)
{
	struct flow f;
	struct rack *r =
		without_room((struct rack_conf){.nodes = 4, .backups = 1, .seed = 30}, false, &f);

	assert_int_equal(arrived(r, TRIPOD_INCOMING, NULL), 1);
	assert_int_equal(rack_copies(r, &f.key), 2);
	rack_free(r);
}

static void sync__without_backups(void **state)
{
	struct rack_conf c = {.nodes = 3, .workers = 1, .seed = 12, .sync = true};
	struct rack *r = rack_new(&c);
	struct flow f[20];

	rack_run_ms(r, 300);
	assert_int_equal(flows_open(r, f, 0, 20, "10.1.0.101"), 20);
	assert_int_equal(flows_exchange(r, f, 20), 20);
	assert_int_equal(rack_counter(r, -1, C_sync_waits), 0);
	assert_int_equal(rack_counter(r, -1, C_log_records_tx), 0);
	rack_free(r);
}

// ---- By service ----

// Promises what the port that clients connect to stands for: 80 sync, 81 async, 82 none.
static enum tripod_verdict promise_init(struct tripod_call *c, struct tripod_packet *p)
{
	uint16_t port = ntohs(p->tuple.dport);

	tripod_durability(c, port == 80   ? TRIPOD_SYNC
			     : port == 81 ? TRIPOD_ASYNC
			     : port == 82 ? TRIPOD_NONE
					  : TRIPOD_UNSAID);
	return TRIPOD_FORWARD;
}
static const char *const no_counters[] = {NULL};
static const struct tripod_nf PROMISE = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "promise",
	.summary = "test: what each port is promised",
	.counters = no_counters,
	.on_init = promise_init,
};

#define MIXED 60 // connections, a third each

static void mixed_packet(struct rack *r, unsigned n, uint8_t flags, uint32_t seq, uint32_t ack)
{
	char client[20];

	snprintf(client, sizeof(client), "198.18.0.%u", n + 1);
	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = client,
			.dst = "10.1.0.101",
			.sport = (uint16_t)(3000 + n),
			.dport = (uint16_t)(80 + n % 3),
			.tcp_flags = flags,
			.seq = seq,
			.ack = ack});
}

static void mixed_answer(struct rack *r, unsigned n, uint8_t flags, uint32_t seq, uint32_t ack)
{
	char client[20];

	snprintf(client, sizeof(client), "198.18.0.%u", n + 1);
	rack_send(r, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = "10.1.0.101",
			.dst = client,
			.sport = (uint16_t)(80 + n % 3),
			.dport = (uint16_t)(3000 + n),
			.tcp_flags = flags,
			.seq = seq,
			.ack = ack});
}

static void mixed_open(struct rack *r)
{
	for (unsigned n = 0; n < MIXED; n++) {
		mixed_packet(r, n, TRIPOD_TCP_SYN, 100, 0);
		if (n % 4 == 3)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 10);
	for (unsigned n = 0; n < MIXED; n++) {
		mixed_answer(r, n, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 500, 101);
		if (n % 4 == 3)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 20);
	assert_int_equal(arrived(r, TRIPOD_INCOMING, NULL), MIXED);
	for (unsigned n = 0; n < MIXED; n++)
		mixed_packet(r, n, TRIPOD_TCP_ACK, 101, 501);
	rack_run_ms(r, 20);
	arrived(r, TRIPOD_OUTGOING, NULL);
}

static void sync__each_service_its_promise(void **state)
{
	static struct rack_arrival a[64];
	struct rack *r = rack_of((struct rack_conf){.nf = &PROMISE, .nodes = 4, .seed = 13});
	unsigned copies[3] = {0}, alive[3] = {0};

	mixed_open(r);
	// The SYN+ACK and the ACK of each connection of sync have waited, and no others.
	assert_int_equal(rack_counter(r, -1, C_sync_waits), 2 * MIXED / 3);
	for (unsigned i = 0; i < 4; i++) {
		const struct shard *s = node_shard(rack_node(r, i), 0);
		for (uint32_t k = 1; k <= s->store.capacity; k++) {
			const struct conn *c = store_conn(&s->store, k);
			if (c->state != CONN_LIVE)
				continue;
			unsigned port = ntohs(c->dir[0].key.dport) - 80u;
			copies[port]++;
			assert_int_equal(conn_durability(c), 2 - port);
		}
	}
	assert_int_equal(copies[0], MIXED);
	assert_int_equal(copies[1], MIXED);
	assert_int_equal(copies[2], MIXED / 3);
	rack_kill(r, 0);
	rack_kill(r, 1);
	rack_run_ms(r, 300);
	for (unsigned n = 0; n < MIXED; n++)
		mixed_packet(r, n, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 101, 501);
	rack_run_ms(r, 100);
	for (unsigned k = rack_arrivals(r, TRIPOD_OUTGOING, a, 64); k > 0; k--)
		alive[ntohs(a[k - 1].tuple.dport) - 80]++;
	assert_int_equal(alive[0], MIXED / 3);
	assert_int_equal(alive[1], MIXED / 3);
	assert_in_range(alive[2], 1, MIXED / 3 - 1);
	rack_check(r);
	rack_free(r);
}

// What is promised nothing is not replicated at all, in a rack that replicates.
static void sync__none_in_a_rack_of_async(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nf = &PROMISE, .nodes = 4, .seed = 14});

	for (unsigned n = 2; n < MIXED; n += 3)
		mixed_packet(r, n, TRIPOD_TCP_SYN, 100, 0);
	rack_run_ms(r, 10);
	for (unsigned n = 2; n < MIXED; n += 3)
		mixed_answer(r, n, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 500, 101);
	rack_run_ms(r, 3000);
	assert_true(rack_counter(r, -1, C_connections_opened) >= MIXED / 6);
	assert_int_equal(rack_counter(r, -1, C_log_records_tx), 0);
	rack_free(r);
}

static void sync__refused_when_short(void **state)
{
	struct rack *r = rack_of(
		(struct rack_conf){.nf = &PROMISE, .nodes = 3, .seed = 15, .refuse_short = true});

	mixed_open(r);
	assert_int_equal(rack_counter(r, -1, C_drop_unprotected), 0);
	rack_kill(r, 2);
	rack_run_ms(r, 300);
	arrived(r, TRIPOD_OUTGOING, NULL);
	for (unsigned n = MIXED; n < 2 * MIXED; n++) {
		mixed_packet(r, n, TRIPOD_TCP_SYN, 100, 0);
		rack_run_ms(r, 1);
	}
	// Two thirds would be promised something that one other node cannot keep.
	assert_int_equal(rack_counter(r, -1, C_drop_unprotected), 2 * MIXED / 3);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING, NULL), MIXED / 3);
	rack_check(r);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sync__every_pair_at_every_step),
		cmocka_unit_test(sync__every_pair_with_loss),
		cmocka_unit_test(sync__every_pair_of_any_roles),
		cmocka_unit_test(sync__every_pair_with_split_directions),
		cmocka_unit_test(sync__every_pair_with_workers),
		cmocka_unit_test(sync__order_of_a_direction),
		cmocka_unit_test(sync__time_out_drops),
		cmocka_unit_test(sync__time_out_forwards),
		cmocka_unit_test(sync__a_backup_dies),
		cmocka_unit_test(sync__the_last_node),
		cmocka_unit_test(sync__no_room_to_wait),
		cmocka_unit_test(sync__moved_while_waiting),
		cmocka_unit_test(sync__reused_while_waiting),
		cmocka_unit_test(sync__every_holder_is_waited_for),
		cmocka_unit_test(sync__refused_is_not_acknowledged),
		cmocka_unit_test(sync__refused_by_one_of_two),
		cmocka_unit_test(sync__refused_and_given_to_another),
		cmocka_unit_test(sync__without_backups),
		cmocka_unit_test(sync__each_service_its_promise),
		cmocka_unit_test(sync__none_in_a_rack_of_async),
		cmocka_unit_test(sync__refused_when_short),
	};
	return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
