// SPDX-License-Identifier: BSD-3-Clause
// Floods on a rack of eight nodes in virtual time: what they cost does not grow with their rate, and
// connections that have to be pulled meanwhile are, within milliseconds.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"
#include "core/shard.h"
#include "core/testing/flows.h"

#define SERVER "10.1.0.101"
#define NODES 8
#define OLD 400 // connections that are announced
#define MS_LONG 300 // of each flood
#define PROBE 77 // bytes of a packet whose way is timed
#define TRIES 1000000 // tuples among which some share a fingerprint
#define PAIRS_MAX 400

struct attack {
	struct rack *r;
	struct rng rng;
	struct flow old[OLD];
	bool moved[OLD];
	unsigned n_pairs;
	struct tripod_tuple pair[PAIRS_MAX]; // share their fingerprint with old[i]
	uint64_t sent_ns[OLD];
	uint64_t took_ns[OLD];
	unsigned n_took, n_probes;
};

static const uint8_t GATEWAY[6] = {2, 0, 0x5e, 0, 1, 1};

static struct shard *shard_of(struct rack *r, unsigned node)
{
	return node_shard(rack_node(r, node), 0);
}

struct tried {
	uint32_t fp;
	uint32_t n;
};

static int by_print(const void *a, const void *b)
{
	const struct tried *x = a, *y = b;
	return x->fp != y->fp ? (x->fp > y->fp) - (x->fp < y->fp) : (x->n > y->n) - (x->n < y->n);
}

// Client n of a million.
static struct tripod_tuple tuple_of(unsigned n)
{
	struct tripod_tuple t = {.src = tripod_addr_v4(__builtin_bswap32(0xc6120000 + n / 16)),
		.sport = __builtin_bswap16((uint16_t)(20000 + n % 16)),
		.dport = __builtin_bswap16(80),
		.proto = 6};

	tripod_addr_parse(&t.dst, FLOWS_VIP);
	return t;
}

static struct flow flow_of_tuple(const struct tripod_tuple *t, unsigned n)
{
	struct flow f = flow_of(n, SERVER);

	f.key = *t;
	f.port = __builtin_bswap16(t->sport);
	tripod_addr_format(&t->src, f.client, sizeof(f.client));
	return f;
}

// Connections, and tuples that nobody has with the same fingerprints: what an attacker who knows the
// hash would send.
static void find_pairs(struct attack *a)
{
	struct tried *all = malloc(TRIES * sizeof(*all));

	for (unsigned n = 0; n < TRIES; n++) {
		struct tripod_tuple t = tuple_of(n);
		uint64_t hash = store_hash(&shard_of(a->r, 0)->store, &t);
		all[n] = (struct tried){index_print(hash, t.direction), n};
	}
	qsort(all, TRIES, sizeof(*all), by_print);
	for (unsigned n = 1; n < TRIES && a->n_pairs < PAIRS_MAX; n++) {
		if (all[n].fp != all[n - 1].fp)
			continue;
		struct tripod_tuple t = tuple_of(all[n - 1].n);
		a->old[a->n_pairs] = flow_of_tuple(&t, a->n_pairs);
		a->pair[a->n_pairs++] = tuple_of(all[n].n);
		n++;
	}
	assert_true(a->n_pairs > 100);
	for (unsigned i = a->n_pairs; i < OLD; i++) {
		struct tripod_tuple t = tuple_of(TRIES + i);
		a->old[i] = flow_of_tuple(&t, i);
	}
	free(all);
}

static void open_all(struct attack *a, struct flow *f, unsigned n)
{
	static struct rack_arrival arrivals[4096];

	for (unsigned i = 0; i < n; i++) {
		flow_from_client(a->r, &f[i], TRIPOD_TCP_SYN, 0);
		if (i % 4 == 3)
			rack_run_ms(a->r, 1);
	}
	rack_run_ms(a->r, 10);
	for (unsigned i = 0; i < n; i++) {
		flow_from_server(a->r, &f[i], TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		if (i % 4 == 3)
			rack_run_ms(a->r, 1);
	}
	rack_run_ms(a->r, 10);
	for (unsigned i = 0; i < n; i++)
		flow_from_client(a->r, &f[i], TRIPOD_TCP_ACK, 0);
	rack_run_ms(a->r, 10);
	rack_arrivals(a->r, TRIPOD_OUTGOING, arrivals, 4096);
	rack_arrivals(a->r, TRIPOD_INCOMING, arrivals, 4096);
}

static struct attack *attack_new(struct rack_conf conf, uint64_t seed)
{
	struct attack *a = calloc(1, sizeof(*a));

	conf.nodes = NODES;
	conf.workers = conf.workers ? conf.workers : 1;
	conf.backups = 1;
	conf.seed = seed;
	conf.waiting = 1024;
	conf.pulls = 1024;
	conf.embryonic = conf.embryonic ? conf.embryonic : 1024;
	a->r = rack_new(&conf);
	a->rng.state = seed;
	rack_run_ms(a->r, 300);
	find_pairs(a);
	open_all(a, a->old, OLD);
	rack_run_ms(a->r, 1200);
	return a;
}

static void attack_free(struct attack *a)
{
	rack_check(a->r);
	assert_int_equal(rack_buffers_lost(a->r), 0);
	rack_free(a->r);
	free(a);
}

// A packet of flow i at a node that has no copy: the switch has moved it.
static void probe(struct attack *a, unsigned i)
{
	struct flow *f = &a->old[i];
	struct conn_view v;
	unsigned node = rng_below(&a->rng, NODES);
	uint8_t b[256];

	while (rack_node(a->r, node) == NULL || rack_conn(a->r, node, &f->key, &v))
		node = (node + 1) % NODES;
	size_t len = frames_build(b, sizeof(b),
		&(struct frame_spec){.src = f->client,
			.dst = FLOWS_VIP,
			.sport = f->port,
			.dport = 80,
			.tcp_flags = TRIPOD_TCP_ACK,
			.seq = f->seq,
			.ack = f->ack,
			.payload_len = PROBE,
			.dst_mac = GATEWAY});
	rack_inject(a->r, node, 10, b, len);
	a->moved[i] = true;
	a->sent_ns[i] = rack_now_ns(a->r);
	a->n_probes++;
}

static void collect(struct attack *a)
{
	static struct rack_arrival arrivals[4096];
	unsigned n = rack_arrivals(a->r, TRIPOD_OUTGOING, arrivals, 4096);

	for (unsigned k = 0; k < n; k++) {
		if (arrivals[k].payload_len != PROBE)
			continue;
		for (unsigned i = 0; i < OLD; i++) {
			if (tripod_addr_equal(&arrivals[k].tuple.src, &a->old[i].key.src) &&
				arrivals[k].tuple.sport == a->old[i].key.sport)
				a->took_ns[a->n_took++] = arrivals[k].at_ns - a->sent_ns[i];
		}
	}
	rack_arrivals(a->r, TRIPOD_INCOMING, arrivals, 4096);
}

static void send_tuple(struct attack *a, const struct tripod_tuple *t, uint8_t proto, uint8_t flags)
{
	char src[TRIPOD_ADDR_STRLEN];

	tripod_addr_format(&t->src, src, sizeof(src));
	rack_send(a->r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = src,
			.dst = FLOWS_VIP,
			.sport = __builtin_bswap16(t->sport),
			.dport = 80,
			.proto = proto,
			.tcp_flags = flags,
			.payload_len = 10});
}

struct flood {
	unsigned per_ms; // packets, of all nodes
	unsigned collide_percent; // of them, with a fingerprint of a connection
	uint8_t proto, flags; // 0: TCP, ACK
	bool kill; // a node, in the middle
};

struct cost {
	uint64_t control, asks, answers, pulls, index_bytes;
};

static struct cost costs(struct attack *a)
{
	return (struct cost){
		.control = rack_counter(a->r, -1, C_control_tx_packets),
		.asks = rack_counter(a->r, -1, C_index_asks),
		.answers = rack_counter(a->r, -1, C_index_answers),
		.pulls = rack_counter(a->r, -1, C_pulls_sent),
		.index_bytes = rack_counter(a->r, -1, C_index_tx_bytes),
	};
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static uint64_t p99(struct attack *a)
{
	assert_true(a->n_took > 0);
	qsort(a->took_ns, a->n_took, sizeof(a->took_ns[0]), by_time);
	unsigned at = (a->n_probes * 99 + 99) / 100;
	return a->n_took < at ? UINT64_MAX : a->took_ns[at - 1];
}

// Runs a flood, with a connection that has to be pulled every millisecond.
static struct cost run(struct attack *a, const struct flood *f)
{
	struct cost before = costs(a), after;
	unsigned next = 0;

	for (unsigned ms = 0; ms < MS_LONG; ms++) {
		for (unsigned k = 0; k < f->per_ms; k++) {
			struct tripod_tuple t = tuple_of(2 * TRIES + rng_below(&a->rng, 8000000));
			if (rng_below(&a->rng, 100) < f->collide_percent)
				t = a->pair[rng_below(&a->rng, a->n_pairs)];
			send_tuple(a, &t, f->proto ? f->proto : 6,
				f->flags ? f->flags : TRIPOD_TCP_ACK);
		}
		if (f->kill && ms == MS_LONG / 3) { // its share of costs is no longer counted
			rack_kill(a->r, NODES - 1);
			before.control = before.asks = before.answers = 0;
		}
		if (next < OLD)
			probe(a, next++);
		rack_run_ms(a->r, 1);
		collect(a);
	}
	after = costs(a);
	rack_run_ms(a->r, 100);
	collect(a);
	return (struct cost){
		.control = after.control - before.control,
		.asks = after.asks - before.asks,
		.answers = after.answers - before.answers,
		.pulls = after.pulls - before.pulls,
		.index_bytes = after.index_bytes - before.index_bytes,
	};
}

// Messages that a rack may send in the time of a flood, whatever comes: a question and an answer a
// node and millisecond, heartbeats, and what each connection costs that moves (its question, answers,
// logs and their acknowledgements).
// A tuple that shares a fingerprint is asked for five times a second by each worker.
#define PAIRS_BOUND (PAIRS_MAX * 4 * 3)
#define BOUND (MS_LONG * NODES * 2 + MS_LONG * NODES / 10 + MS_LONG * 14)

static void unknown_flood(struct flood f, struct rack_conf conf)
{
	static const unsigned per_ms[] = {10, 100, 1000};

	for (unsigned i = 0; i < 3; i++) {
		struct attack *a = attack_new(conf, 81 + i);
		f.per_ms = per_ms[i];
		struct cost c = run(a, &f);
		uint64_t slow = p99(a);
		printf("%7u packets/s: %llu control messages/s, %llu pulls for %u, p99 %llu us\n",
			per_ms[i] * 1000, (unsigned long long)c.control * 1000 / MS_LONG,
			(unsigned long long)c.pulls, a->n_probes, (unsigned long long)slow / 1000);
		assert_true(c.asks <= (MS_LONG + 1) * NODES);
		assert_true(c.answers <= (MS_LONG + 1) * NODES);
		if (!f.kill)
			assert_true(c.control <= BOUND + (f.collide_percent > 0 ? PAIRS_BOUND : 0));
		assert_true(slow < 5 * MS);
		assert_int_equal(rack_counter(a->r, -1, C_drop_no_buffer), 0);
		attack_free(a);
	}
}

static void flood__of_unknown_tuples(void **state)
{
	unknown_flood((struct flood){0}, (struct rack_conf){0});
}

static void flood__of_unknown_tuples_with_loss(void **state)
{
	struct attack *a = attack_new((struct rack_conf){.loss_percent = 1}, 85);
	struct cost c = run(a, &(struct flood){.per_ms = 100});

	assert_true(c.control <= BOUND + BOUND / 4);
	assert_true(p99(a) < 25 * MS); // a question that is lost is repeated
	attack_free(a);
}

static void flood__of_colliding_tuples(void **state)
{
	unknown_flood((struct flood){.collide_percent = 50}, (struct rack_conf){0});
}

static void flood__while_a_node_dies(void **state)
{
	unknown_flood((struct flood){.collide_percent = 20, .kill = true}, (struct rack_conf){0});
}

static void flood__at_two_workers(void **state)
{
	unknown_flood((struct flood){.collide_percent = 20}, (struct rack_conf){.workers = 2});
}

// New tuples, SYN or UDP: no messages at all but for what valid connections cost, and the newest find
// room although the share of the unanswered is full.
static void new_tuples(uint8_t proto)
{
	struct attack *a = attack_new((struct rack_conf){.connections = 8192, .udp_ms = 5000}, 91);
	struct flow f[8];

	rack_run_ms(a->r, 10000); // settled: UDP of an unknown tuple opens at once
	uint64_t before = rack_counter(a->r, -1, C_control_tx_packets);
	for (unsigned ms = 0; ms < MS_LONG; ms++) {
		for (unsigned k = 0; k < 200; k++) {
			struct tripod_tuple t = tuple_of(2 * TRIES + rng_below(&a->rng, 8000000));
			send_tuple(a, &t, proto, TRIPOD_TCP_SYN);
		}
		rack_run_ms(a->r, 1);
		collect(a);
	}
	// Heartbeats, and where the index stands.
	assert_true(rack_counter(a->r, -1, C_control_tx_packets) - before <
		    MS_LONG * NODES / 10 + NODES * 10);
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(shard_of(a->r, i)->store.embryonic, 1024);
	assert_true(rack_counter(a->r, -1, C_connections_evicted) > 10000);
	assert_true(rack_counter(a->r, -1, C_drop_embryonic_full) <
		    rack_counter(a->r, -1, C_connections_evicted) / 50);
	for (unsigned i = 0; i < 8; i++) {
		struct tripod_tuple t = tuple_of(12 * TRIES + i);
		f[i] = flow_of_tuple(&t, i);
	}
	open_all(a, f, 8);
	assert_int_equal(flows_exchange(a->r, f, 8), 8);
	for (unsigned i = 0; i < OLD; i++)
		assert_true(rack_copies(a->r, &a->old[i].key) >= 2);
	attack_free(a);
}

static void flood__of_syns(void **state)
{
	new_tuples(6);
}

static void flood__of_new_udp(void **state)
{
	new_tuples(17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flood__of_unknown_tuples),
		cmocka_unit_test(flood__of_unknown_tuples_with_loss),
		cmocka_unit_test(flood__of_colliding_tuples),
		cmocka_unit_test(flood__while_a_node_dies),
		cmocka_unit_test(flood__at_two_workers),
		cmocka_unit_test(flood__of_syns),
		cmocka_unit_test(flood__of_new_udp),
	};
	return cmocka_run_group_tests_name("index_flood", tests, NULL, NULL);
}
