// SPDX-License-Identifier: BSD-3-Clause
// What a worker owes the others whatever packets come, and what its counters say.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/rack.h"

#define VIP "198.51.100.1"
#define SERVER "10.1.0.101"
#define MAX 4096

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 1;
	c.workers = c.workers ? c.workers : 1;
	c.backups = 1;
	c.seed = c.seed ? c.seed : 6;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

static unsigned arrived(struct rack *r, enum tripod_direction side)
{
	static struct rack_arrival a[MAX];
	return rack_arrivals(r, side, a, MAX);
}

static void udp(struct rack *r, unsigned n)
{
	char client[20];
	snprintf(client, sizeof(client), "198.18.%u.%u", n >> 8, n & 255);
	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.proto = IPPROTO_UDP,
			.src = client,
			.dst = VIP,
			.sport = 1000,
			.dport = 53,
			.payload_len = 10});
}

static void udp_back(struct rack *r, unsigned n)
{
	char client[20];
	snprintf(client, sizeof(client), "198.18.%u.%u", n >> 8, n & 255);
	rack_send(r, TRIPOD_OUTGOING,
		&(struct frame_spec){.proto = IPPROTO_UDP,
			.src = SERVER,
			.dst = client,
			.sport = 8080,
			.dport = 1000,
			.payload_len = 10});
}

static struct tripod_tuple key_of(unsigned n)
{
	char client[20];
	struct tripod_tuple key = {.sport = htons(1000), .dport = htons(53), .proto = IPPROTO_UDP};
	snprintf(client, sizeof(client), "198.18.%u.%u", n >> 8, n & 255);
	tripod_addr_parse(&key.src, client);
	tripod_addr_parse(&key.dst, VIP);
	return key;
}

static unsigned deaths(struct rack *r)
{
	struct member_status m[NODES_MAX];
	unsigned sum = 0;
	for (unsigned i = 0; i < RACK_NODES; i++) {
		unsigned n = rack_node(r, i) ? node_members(rack_node(r, i), m, NODES_MAX) : 0;
		while (n > 0)
			sum += m[--n].deaths;
	}
	return sum;
}

// Each packet whose hop limit runs out wants an ICMP error, and all that two workers receive is one
// worker's.
static void shard__floods_leave_heartbeats_their_buffers(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .workers = 2});

	rack_port(r, 1, false);
	for (unsigned ms = 0; ms < 150; ms++) {
		for (unsigned n = 0, i = 0; n < 1280; i++) {
			struct tripod_tuple t = {.sport = htons((uint16_t)(1000 + i)),
				.dport = htons(80),
				.proto = IPPROTO_TCP};
			tripod_addr_parse(&t.src, "198.18.0.1");
			tripod_addr_parse(&t.dst, VIP);
			if (toeplitz_worker(toeplitz_tuple(&t), 2) != 0)
				continue;
			rack_send(r, TRIPOD_INCOMING,
				&(struct frame_spec){
					.tuple = &t, .tcp_flags = TRIPOD_TCP_SYN, .ttl = 1});
			n++;
		}
		rack_run_ms(r, 1);
	}
	assert_true(rack_counter(r, 0, C_icmp_errors_tx) > 1000);
	assert_true(rack_counter(r, 0, C_drop_no_buffer) > 0);
	assert_int_equal(deaths(r), 0);
	rack_check(r);
	rack_free(r);
}

// Ticks wrap after 52 days; what "long ago" means must not.
static void shard__nothing_is_in_doubt_after_weeks(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});

	udp(r, 1);
	rack_run_ms(r, 20);
	udp_back(r, 1);
	rack_run_ms(r, 20);
	for (unsigned i = 0; i < 2; i++) {
		struct shard *s = node_shard(rack_node(r, i), 0);
		s->valid_from = s->now - 0x7fffff00u; // 26 days ago, but for a quarter of a second
	}
	uint64_t before = rack_counter(r, -1, C_pulls_sent);
	for (unsigned i = 0; i < 10; i++) {
		rack_run_ms(r, 100);
		udp(r, 1);
		udp_back(r, 1);
	}
	rack_run_ms(r, 100);
	assert_int_equal(rack_counter(r, -1, C_pulls_sent), before);
	rack_free(r);
}

// A direction that was never answered does not make the other one look old.
static void shard__one_way_traffic_stays_for_weeks(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct tripod_tuple key = key_of(1);
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct conn_view before, v;

	udp(r, 1);
	rack_run_ms(r, 5);
	assert_true(rack_conn(r, 0, &key, &before));
	struct store_hit hit = store_find(&s->store, &key, store_hash(&s->store, &key));
	struct conn *c = store_conn(&s->store, hit.index);
	c->dir[1].seen = s->now - 0x7fffffffu + 95000; // 26 days ago in 100 s
	for (unsigned i = 0; i < 150; i++) {
		udp(r, 1);
		rack_run_ms(r, 1000);
	}
	assert_true(rack_conn(r, 0, &key, &v));
	assert_true(v.incarnation == before.incarnation);
	rack_free(r);
}

// Whatever ends at one time is gone soon: else a flood of short connections fills the table.
static void shard__expiry_keeps_up(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	for (unsigned i = 0; i < 3000; i++) {
		udp(r, i);
		if (i % 16 == 15)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 10);
	struct store *st = &node_shard(rack_node(r, 0), 0)->store;
	assert_int_equal(st->used, 3000);
	assert_int_equal(st->embryonic, 3000);
	rack_run_ms(r, 30400); // the time-out, and the wheel's coarseness twice
	assert_int_equal(rack_counter(r, 0, C_connections_closed_timeout), 3000);
	rack_run_ms(r, 5600);
	assert_int_equal(st->used, 0);
	assert_int_equal(st->embryonic, 0);
	rack_check(r);
	rack_free(r);
}

// Ends wait for one another rather than be lost on a full queue: a backup that is not told keeps its
// copy for far longer.
static void shard__ends_wait_for_their_queue(void **state)
{
	enum { N = 12000 };
	struct rack *r =
		rack_of((struct rack_conf){.nodes = 2, .connections = 2 * N, .udp_ms = 10000});

	rack_port(r, 1, false);
	for (unsigned i = 0; i < N; i += 24) {
		for (unsigned k = i; k < i + 24; k++)
			udp(r, k);
		rack_run_ms(r, 1);
		for (unsigned k = i; k < i + 24; k++)
			udp_back(r, k);
		rack_run_ms(r, 1);
	}
	rack_run_ms(r, 100);
	struct shard *s = node_shard(rack_node(r, 0), 0);
	assert_int_equal(s->store.used, N);
	assert_int_equal(node_shard(rack_node(r, 1), 0)->store.used, N);
	// A whole window of messages at once, and now and then a heartbeat before it: more than there
	// are empty frames for. They wait, and that is no loss.
	for (unsigned ms = 0; ms < 100; ms++) {
		for (uint32_t i = 1; i <= 3000; i++)
			repl_changed(s, i, 1u << PART_SHARED);
		rack_run_ms(r, 1);
	}
	assert_int_equal(rack_counter(r, 0, C_drop_no_buffer), 0);
	// They end at once, while their backup says nothing and is not yet given up.
	for (uint32_t i = 1; i <= N; i++) {
		struct conn *c = store_conn(&s->store, i);
		c->dir[0].seen = c->dir[1].seen = s->now - ticks_of_ms(20000);
		store_wheel_set(&s->store, i, s->now);
	}
	while (rack_counter(r, 0, C_connections_closed_timeout) == 0)
		rack_run_ms(r, 1);
	rack_freeze(r, 1);
	rack_run_ms(r, 60);
	rack_thaw(r, 1);
	rack_run_ms(r, 1000);
	assert_int_equal(deaths(r), 0);
	assert_true(rack_counter(r, 0, C_log_messages_lost) > 0);
	assert_int_equal(rack_counter(r, 0, C_log_queue_full), 0);
	assert_int_equal(rack_counter(r, 0, C_connections_closed_timeout), N);
	rack_free(r);
}

// A worker that could not be told of a death, because its ring was full, is told later.
static void shard__a_full_ring_delays_news_of_members(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .workers = 2});
	struct shard *first = node_shard(rack_node(r, 0), 0);
	struct shard *second = node_shard(rack_node(r, 0), 1);
	struct step *step = calloc(1, sizeof(*step));
	struct ring_message m = {.type = RING_NEIGH};
	uint8_t *room = malloc(STEP_SPARE * 1920);

	assert_true(second->live == 3);
	rack_kill(r, 1);
	rack_run_ms(r, 60);
	while (ring_push(first->out[1], &m)) {
	}
	for (unsigned i = 0; i < STEP_SPARE; i++)
		step->spare[i] = (struct frame){
			.buf = room + i * 1920, .data = room + i * 1920, .room = 1920};
	for (unsigned ms = 10; ms <= 80; ms += 10) {
		step->now_ns = rack_now_ns(r) + ms * MS;
		step->n_spare = STEP_SPARE;
		shard_step(first, step);
	}
	assert_true(first->live == 1);
	assert_true(second->live == 3);
	rack_run_ms(r, 100 + 80);
	assert_true(second->live == 1);
	assert_int_equal(second->peer[1].live, false);
	free(step);
	free(room);
	rack_free(r);
}

// The incarnation of a record may rise while it lives; its alias goes with it all the same.
static void shard__aliases_go_with_their_records(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.workers = 2, .udp_ms = 1000});
	unsigned aliases = 0;

	for (unsigned i = 0; i < 20; i++) {
		udp(r, i);
		rack_run_ms(r, 1);
		udp_back(r, i);
		rack_run_ms(r, 1);
	}
	rack_run_ms(r, 10);
	for (unsigned w = 0; w < 2; w++) {
		struct store *st = &node_shard(rack_node(r, 0), w)->store;
		aliases += st->aliases_used;
		for (uint32_t i = 1; i <= st->capacity; i++) {
			if (store_conn(st, i)->state == CONN_LIVE)
				store_conn(st, i)->incarnation++;
		}
	}
	assert_true(aliases > 0);
	rack_run_ms(r, 8000);
	for (unsigned w = 0; w < 2; w++) {
		struct store *st = &node_shard(rack_node(r, 0), w)->store;
		assert_int_equal(st->used, 0);
		assert_int_equal(st->aliases_used, 0);
		assert_int_equal(st->index_used, 0);
	}
	rack_check(r);
	rack_free(r);
}

// A packet that an alias has led to a worker which has no record any more opens none there: its own
// worker would never find it.
static void shard__stale_alias_opens_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.workers = 2});
	struct shard *s[2] = {node_shard(rack_node(r, 0), 0), node_shard(rack_node(r, 0), 1)};

	for (unsigned i = 0; i < 20; i++) {
		struct tripod_tuple key = key_of(i);
		unsigned own = toeplitz_worker(toeplitz_tuple(&key), 2);
		uint32_t a = store_alias_new(&s[own]->store);
		s[own]->store.aliases[a].key = key;
		s[own]->store.aliases[a].owner = (uint16_t)!own;
		assert_int_equal(store_index_alias(&s[own]->store, a), 0);
		udp(r, i);
		rack_run_ms(r, 1);
	}
	rack_run_ms(r, 5);
	assert_int_equal(rack_counter(r, 0, C_drop_unknown), 20);
	assert_int_equal(s[0]->store.used + s[1]->store.used, 0);
	rack_free(r);
}

static void shard__handed_frames_are_counted_once(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .workers = 3});
	uint64_t tx = rack_counter(r, 0, C_control_tx_packets);
	uint64_t rx = rack_counter(r, 1, C_control_rx_packets);

	rack_run_ms(r, 1000);
	tx = rack_counter(r, 0, C_control_tx_packets) - tx;
	rx = rack_counter(r, 1, C_control_rx_packets) - rx;
	assert_in_range(rx, tx - 1, tx + 1); // one may be on its way
	rack_free(r);
}

// An ICMP error is a packet like another: its hop limit ends.
static void shard__icmp_error_with_no_hops_left(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	uint8_t quoted[256], buf[512];

	udp(r, 1);
	rack_run_ms(r, 5);
	udp_back(r, 1);
	rack_run_ms(r, 5);
	assert_int_equal(arrived(r, TRIPOD_INCOMING), 1);
	frames_build(quoted, sizeof(quoted),
		&(struct frame_spec){.proto = IPPROTO_UDP,
			.src = VIP,
			.dst = "198.18.0.1",
			.sport = 53,
			.dport = 1000,
			.payload_len = 10});
	for (uint8_t ttl = 1; ttl <= 2; ttl++) {
		struct frame_spec s = {.src = "198.18.0.1", .dst = VIP, .ttl = ttl};
		static const uint8_t gateway[6] = {2, 0, 0x5e, 0, 1, 1};
		s.dst_mac = gateway;
		size_t len =
			frames_icmp_error(buf, sizeof(buf), &s, 3, 3, 0, quoted + FRAMES_L3, 28);
		rack_inject(r, 0, 10, buf, len);
		rack_run_ms(r, 5);
		assert_int_equal(rack_counter(r, 0, C_drop_ttl), 1);
	}
	rack_free(r);
}

// The share of the unanswered is full: the oldest make room, and what they were is forgotten.
static void shard__embryonic_limit(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.embryonic = 10});
	struct shard *s = node_shard(rack_node(r, 0), 0);

	for (unsigned i = 0; i < 50; i++)
		udp(r, i);
	rack_run_ms(r, 5);
	assert_int_equal(rack_counter(r, 0, C_drop_embryonic_full), 0);
	assert_int_equal(rack_counter(r, 0, C_connections_evicted), 40);
	assert_int_equal(s->store.embryonic, 10);
	assert_int_equal(s->store.used, 10);
	rack_check(r);
	for (unsigned i = 40; i < 50; i++)
		udp_back(r, i); // the latest ten are there to be answered
	rack_run_ms(r, 5);
	assert_int_equal(s->store.embryonic, 0);
	assert_int_equal(s->store.used, 10);
	for (unsigned i = 60; i < 75; i++) {
		udp(r, i); // never takes one that has been answered
		rack_run_ms(r, 5);
	}
	assert_int_equal(s->store.used, 20);
	assert_int_equal(rack_counter(r, 0, C_connections_evicted), 45);
	rack_check(r);
	rack_free(r);
}

static void shard__too_big_for_the_other_side(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.inside_mtu = 1280});

	for (unsigned payload = 1252; payload <= 1253; payload++)
		rack_send(r, TRIPOD_INCOMING,
			&(struct frame_spec){.proto = IPPROTO_UDP,
				.src = "198.18.0.1",
				.dst = VIP,
				.sport = 1000,
				.dport = 53,
				.payload_len = payload});
	rack_run_ms(r, 5);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 1);
	assert_int_equal(rack_counter(r, 0, C_drop_oversize), 1);
	assert_int_equal(rack_counter(r, 0, C_icmp_errors_tx), 1);
	rack_free(r);
}

// A worker that stood still while the others went on does not trust what it remembers.
static void shard__a_stalled_worker_is_in_doubt(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.workers = 2});
	struct shard *s = node_shard(rack_node(r, 0), 1);

	rack_stall(r, 0, 1, true);
	rack_run_ms(r, 90);
	rack_stall(r, 0, 1, false);
	rack_run_ms(r, 10);
	assert_true(s->now - s->valid_from > AGE_MAX / 2); // not for so short a time
	rack_stall(r, 0, 1, true);
	rack_run_ms(r, 150);
	rack_stall(r, 0, 1, false);
	rack_run_ms(r, 10);
	assert_in_range(s->now - s->valid_from, 1, 20);
	rack_free(r);
}

static bool lose_logs_of_1(void *ctx, unsigned from, const struct frame *f)
{
	return *(bool *)ctx && from == 1 && rack_message(f) == WIRE_LOG;
}

// A worker stood still, and what others have told this node lay before it, too. What it hands on then is served as
// of what they know, and not by the worker that was master meanwhile without them.
static void shard__what_a_stalled_worker_hands_on(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .workers = 2});
	struct store *st = &node_shard(rack_node(r, 0), 0)->store;
	struct rack_arrival a[8];
	bool lost = true;
	unsigned n = 0;

	for (;; n++) { // of worker 0 of node 0
		udp(r, n);
		rack_run_ms(r, 5);
		udp_back(r, n);
		rack_run_ms(r, 5);
		struct tripod_tuple key = key_of(n);
		uint32_t i = store_find_hash(st, store_hash(st, &key));
		if (i != STORE_NONE && (store_conn(st, i)->flags & CONN_MASTER_0))
			break;
		assert_true(n < 64);
	}
	rack_stall(r, 0, 1, true);
	rack_tap(r, lose_logs_of_1, &lost);
	rack_port(r, 0, false);
	udp(r, n);
	rack_run_ms(r, 300);
	arrived(r, TRIPOD_INCOMING);
	assert_in_range(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 1, 8);
	rack_port(r, 0, true);
	rack_port(r, 1, false);
	rack_stall(r, 0, 0, true);
	udp(r, n);
	rack_run_ms(r, 1);
	lost = false;
	rack_stall(r, 0, 1, false);
	rack_step(r);
	rack_stall(r, 0, 0, false);
	rack_run_ms(r, 10);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 1);
	assert_int_equal(a[0].from_node, 1);
	rack_check(r);
	rack_free(r);
}

// Two records of two workers had one reversed tuple: the newer alias leads.
static void shard__newer_alias_leads(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.workers = 3});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct ring_message m = {.type = RING_ALIAS_ADD,
		.node = 0xff,
		.alias = {.key = key_of(1), .incarnation = 5, .conn = 9}};

	assert_true(ring_push(s->in[1], &m));
	rack_run_ms(r, 1);
	assert_true(ring_push(s->in[2], &m));
	rack_run_ms(r, 1);
	struct tripod_tuple key = key_of(1);
	struct store_hit hit = store_find(&s->store, &key, store_hash(&s->store, &key));
	assert_int_equal(hit.what, STORE_ALIAS);
	assert_int_equal(s->store.aliases[hit.index].owner, 2);
	assert_int_equal(s->store.aliases_used, 1);
	m.type = RING_ALIAS_DEL; // of the older one: nothing to take away
	assert_true(ring_push(s->in[1], &m));
	rack_run_ms(r, 1);
	assert_int_equal(s->store.aliases_used, 1);
	assert_true(ring_push(s->in[2], &m));
	rack_run_ms(r, 1);
	assert_int_equal(s->store.aliases_used, 0);
	rack_check(r);
	rack_free(r);
}

// Who is unknown while members come and go may be known elsewhere; else it costs nobody a question.
static void shard__asks_while_unsettled(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});

	rack_run_ms(r, 11000);
	uint64_t before = rack_counter(r, -1, C_unknown_rounds);
	udp(r, 1);
	rack_run_ms(r, 10);
	assert_int_equal(rack_counter(r, -1, C_unknown_rounds), before);
	rack_kill(r, 2);
	rack_run_ms(r, 5000);
	before = rack_counter(r, -1, C_unknown_rounds);
	udp(r, 2);
	rack_run_ms(r, 10);
	assert_int_equal(rack_counter(r, -1, C_unknown_rounds), before + 1);
	rack_free(r);
}

static void shard__pulls_are_limited_by_rate(void **state)
{
	struct rack *r = rack_of((struct rack_conf){
		.nodes = 2, .pulls = 4096, .pull_per_s = 1000, .no_index = true});

	rack_port(r, 1, false);
	for (unsigned i = 0; i < 2000; i++) {
		char client[20];
		snprintf(client, sizeof(client), "198.18.%u.%u", i >> 8, i & 255);
		rack_send(r, TRIPOD_INCOMING,
			&(struct frame_spec){.src = client,
				.dst = VIP,
				.sport = 5,
				.dport = 80,
				.tcp_flags = TRIPOD_TCP_ACK});
	}
	rack_run_ms(r, 20);
	assert_in_range(rack_counter(r, 0, C_pulls_sent), 90, 130); // 100 saved up, 20 earned
	assert_true(rack_counter(r, 0, C_pulls_limited) > 1800);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shard__floods_leave_heartbeats_their_buffers),
		cmocka_unit_test(shard__nothing_is_in_doubt_after_weeks),
		cmocka_unit_test(shard__one_way_traffic_stays_for_weeks),
		cmocka_unit_test(shard__expiry_keeps_up),
		cmocka_unit_test(shard__ends_wait_for_their_queue),
		cmocka_unit_test(shard__a_full_ring_delays_news_of_members),
		cmocka_unit_test(shard__aliases_go_with_their_records),
		cmocka_unit_test(shard__stale_alias_opens_nothing),
		cmocka_unit_test(shard__handed_frames_are_counted_once),
		cmocka_unit_test(shard__icmp_error_with_no_hops_left),
		cmocka_unit_test(shard__embryonic_limit),
		cmocka_unit_test(shard__too_big_for_the_other_side),
		cmocka_unit_test(shard__a_stalled_worker_is_in_doubt),
		cmocka_unit_test(shard__what_a_stalled_worker_hands_on),
		cmocka_unit_test(shard__newer_alias_leads),
		cmocka_unit_test(shard__asks_while_unsettled),
		cmocka_unit_test(shard__pulls_are_limited_by_rate),
	};
	return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
