// SPDX-License-Identifier: BSD-3-Clause
// Who is believed, and what is let in: forgeries, recordings of this life and of former ones, several
// cluster keys, and other ones.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/forge.h"

#define VIP "198.51.100.1"
#define SERVER "10.1.0.101"
#define BODY 42 // offset of the message in a frame
#define TAPE 60000

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 3;
	c.workers = c.workers ? c.workers : 1;
	c.backups = c.backups ? c.backups : 1;
	c.seed = c.seed ? c.seed : 11;
	return rack_new(&c);
}

// Each of the live nodes believes and hears the present boot of each other, on every worker.
static bool united(struct rack *r, unsigned nodes)
{
	for (unsigned i = 0; i < nodes; i++) {
		struct node *n = rack_node(r, i);
		for (unsigned w = 0; n != NULL && w < n->conf.workers; w++) {
			const struct shard *s = node_shard(n, w);
			for (unsigned o = 0; o < nodes; o++) {
				const struct peer *p = &s->peer[o];
				if (o == i || rack_node(r, o) == NULL)
					continue;
				if (!p->live || p->boot != rack_node(r, o)->conf.boot)
					return false;
			}
		}
	}
	return true;
}

static unsigned unite_ms(struct rack *r, unsigned nodes)
{
	unsigned ms = 0;

	for (; !united(r, nodes) && ms < 1000; ms++)
		rack_run_ms(r, 1);
	return ms;
}

static uint64_t dropped(struct rack *r, int node)
{
	return rack_counter(r, node, C_drop_control_bad) +
	       rack_counter(r, node, C_drop_control_forged) +
	       rack_counter(r, node, C_drop_control_key) +
	       rack_counter(r, node, C_drop_control_replayed) +
	       rack_counter(r, node, C_drop_control_stale);
}

// Messages taken, or sent but for greetings, by all nodes.
static uint64_t messages(struct rack *r, bool sent)
{
	struct key_status k[AUTH_KEYS_MAX];
	uint64_t sum = 0;

	for (unsigned i = 0; i < RACK_NODES; i++) {
		for (unsigned n = rack_node(r, i) ? node_keys(rack_node(r, i), k) : 0; n > 0; n--)
			sum += sent ? k[n - 1].tx : k[n - 1].rx;
	}
	return sum - (sent ? rack_counter(r, -1, C_greetings) : 0);
}

// ---- Connections ----

static void open_one(struct rack *r, unsigned n)
{
	char client[20];
	snprintf(client, sizeof(client), "198.18.%u.%u", n / 250, 1 + n % 250);
	struct frame_spec to = {.src = client, .dst = VIP, .sport = 1000, .dport = 80};
	struct frame_spec back = {.src = SERVER, .dst = client, .sport = 8080, .dport = 1000};
	to.tcp_flags = TRIPOD_TCP_SYN;
	to.seq = 100;
	rack_send(r, TRIPOD_INCOMING, &to);
	rack_run_ms(r, 1);
	back.tcp_flags = TRIPOD_TCP_SYN | TRIPOD_TCP_ACK;
	back.seq = 500;
	back.ack = 101;
	rack_send(r, TRIPOD_OUTGOING, &back);
	rack_run_ms(r, 1);
	to.tcp_flags = TRIPOD_TCP_ACK;
	to.seq = 101;
	to.ack = 501;
	rack_send(r, TRIPOD_INCOMING, &to);
	rack_run_ms(r, 1);
}

// A packet of a connection that nobody knows: its node asks the others.
static void ask_about(struct rack *r, unsigned n)
{
	char client[20];
	snprintf(client, sizeof(client), "198.19.0.%u", 1 + n);
	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = client,
			.dst = VIP,
			.sport = 1000,
			.dport = 80,
			.tcp_flags = TRIPOD_TCP_ACK});
	rack_run_ms(r, 1);
}

static struct tripod_tuple key_of(unsigned n)
{
	char client[20];
	struct tripod_tuple key = {.sport = htons(1000), .dport = htons(80), .proto = IPPROTO_TCP};
	snprintf(client, sizeof(client), "198.18.%u.%u", n / 250, 1 + n % 250);
	tripod_addr_parse(&key.src, client);
	tripod_addr_parse(&key.dst, VIP);
	return key;
}

// ---- A tape of everything that went over the fabric ----

struct tape {
	unsigned n;
	struct {
		uint8_t *bytes;
		size_t len;
		uint8_t from;
	} frame[TAPE];
	unsigned type[WIRE_GREET + 1]; // how many of each
};

static bool record(void *ctx, unsigned from, const struct frame *f)
{
	struct tape *t = ctx;

	if (f->vlan != 30 || f->len < BODY + WIRE_HEADER_SIZE || t->n == TAPE)
		return false;
	t->frame[t->n].bytes = malloc(f->len);
	t->frame[t->n].len = f->len;
	t->frame[t->n].from = (uint8_t)from;
	memcpy(t->frame[t->n++].bytes, f->data, f->len);
	if (rack_message(f) <= WIRE_GREET)
		t->type[rack_message(f)]++;
	return false;
}

static struct tape *tape_new(struct rack *r)
{
	struct tape *t = calloc(1, sizeof(*t));
	rack_tap(r, record, t);
	return t;
}

static void tape_free(struct tape *t)
{
	while (t->n > 0)
		free(t->frame[--t->n].bytes);
	free(t);
}

// Every recorded frame, to every node, whoever it was for.
static void play(struct rack *r, const struct tape *t, unsigned nodes)
{
	for (unsigned i = 0; i < t->n; i++) {
		for (unsigned to = 0; to < nodes; to++)
			rack_inject(r, to, 30, t->frame[i].bytes, t->frame[i].len);
		if (i % 16 == 15)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 5);
}

// ---- Forging ----

// A frame from one node to another; a broadcast when `to` is WIRE_ANY, given to node 0.
static void put(struct rack *r, unsigned from, unsigned to, const void *message, size_t len)
{
	forge_send(r, from, to, message, len);
	rack_run_ms(r, 1);
}

// Asks `to` for a connection that nobody has, which is answered and changes nothing.
static uint16_t pull(struct rack *r, unsigned from, unsigned to, uint8_t *message)
{
	struct tripod_tuple key = key_of(9999);
	struct wire_header h = {
		.type = WIRE_PULL,
		.from_node = (uint8_t)from,
		.to_node = (uint8_t)to,
		.to_worker = WIRE_ANY,
		.count = 1,
		.cluster = 7,
		.boot = rack_node(r, from)->conf.boot,
		.to_boot = (uint32_t)rack_node(r, to)->conf.boot,
	};
	int size = wire_put_tuple(message + WIRE_HEADER_SIZE, 64, &key);
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	return h.length;
}

static void open__only_what_is_sealed(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	uint8_t message[WIRE_MESSAGE_MAX];

	unite_ms(r, 3);
	uint16_t len = pull(r, 1, 0, message);
	uint64_t was = dropped(r, 0);
	message[len - 1] ^= 1;
	put(r, 1, 0, message, len);
	assert_int_equal(rack_counter(r, 0, C_drop_control_forged), 1);
	message[len - 1] ^= 1;
	message[20] ^= 1; // another rack's: told apart before its tag is looked at
	put(r, 1, 0, message, len);
	assert_int_equal(rack_counter(r, 0, C_drop_control_bad), 1);
	message[20] ^= 1;
	message[48] ^= 4; // a key that nobody has
	put(r, 1, 0, message, len);
	assert_int_equal(rack_counter(r, 0, C_drop_control_key), 1);
	message[48] ^= 4;
	message[12] ^= 1; // to a former boot
	put(r, 1, 0, message, len);
	message[12] ^= 1;
	message[31] ^= 1; // of a boot that nobody has heard of
	put(r, 1, 0, message, len);
	message[31] ^= 1;
	assert_int_equal(rack_counter(r, 0, C_drop_control_stale), 2);
	put(r, 1, 0, message, len);
	assert_int_equal(dropped(r, 0), was + 5);
	put(r, 1, 0, message, len);
	assert_int_equal(rack_counter(r, 0, C_drop_control_replayed), 1);
	rack_free(r);
}

// A sealed message that another station sends is not its sender's any more.
static void open__only_from_where_its_sender_is(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	uint8_t frame[256], message[WIRE_MESSAGE_MAX];
	const uint8_t here[6] = {2, 0, 0, 0, 0, 1}, elsewhere[6] = {2, 0, 0, 0, 0, 77};

	unite_ms(r, 3);
	for (unsigned i = 0; i < 2; i++) {
		uint16_t len = pull(r, 1, 0, message);
		size_t n = frames_build(frame, sizeof(frame),
			&(struct frame_spec){.src = i == 0 ? "10.255.0.2" : "10.255.0.3",
				.dst = "10.255.0.1",
				.proto = IPPROTO_UDP,
				.sport = CONTROL_PORT,
				.dport = CONTROL_PORT,
				.payload = message,
				.payload_len = len,
				.src_mac = elsewhere,
				.dst_mac = here});
		rack_inject(r, 0, 30, frame, n);
		rack_run_ms(r, 1);
		assert_int_equal(rack_counter(r, 0, C_drop_control_bad), i + 1);
	}
	rack_free(r);
}

// The same frame on the VLANs of the workload, and untagged, is no control message at all.
static void open__only_on_the_fabric(void **state)
{
	static const uint16_t vlan[] = {0, 10, 11, 20, 21, 99};
	struct rack *r = rack_of((struct rack_conf){0});
	struct tape *t = tape_new(r);
	uint64_t before[COUNTERS], after[COUNTERS];

	unite_ms(r, 3);
	rack_run_ms(r, 50);
	rack_tap(r, NULL, NULL);
	for (unsigned i = 0; i < sizeof(vlan) / sizeof(vlan[0]); i++) {
		node_counters(rack_node(r, 0), -1, before);
		for (unsigned k = 0; k < t->n; k++)
			rack_inject(r, 0, vlan[i], t->frame[k].bytes, t->frame[k].len);
		rack_run_ms(r, 10);
		node_counters(rack_node(r, 0), -1, after);
		for (enum counter c = C_drop_control_bad; c <= C_drop_control_stale; c++)
			assert_int_equal(after[c], before[c]);
	}
	tape_free(t);
	rack_free(r);
}

// Whichever worker a frame reaches first, one of them watches its stream.
static void open__once_among_workers(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.workers = 3});
	uint8_t message[WIRE_MESSAGE_MAX];

	unite_ms(r, 3);
	for (unsigned i = 1; i <= 10; i++) {
		uint16_t len = pull(r, 1, 0, message);
		for (unsigned again = 0; again < 20; again++)
			put(r, 1, 0, message, len);
		assert_int_equal(rack_counter(r, 0, C_drop_control_replayed), i * 19);
	}
	rack_free(r);
}

// Where the answers to a node go is sealed as well: nobody draws them away with a header of his own.
static void open__address_is_sealed(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct wire_hello hello = {
		.workers = 1, .n_chains = 1, .mac = {2, 0, 0, 0, 0, 77}, .live = 7, .chain = {1}};
	struct wire_header h = {
		.type = WIRE_HELLO, .from_node = 1, .to_node = WIRE_ANY, .count = 1, .cluster = 7};
	uint8_t message[256];

	unite_ms(r, 3);
	h.boot = rack_node(r, 1)->conf.boot;
	int size = wire_put_hello(message + WIRE_HEADER_SIZE, 100, &hello);
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	put(r, 1, 0, message, h.length);
	assert_int_equal(rack_counter(r, 0, C_drop_control_bad), 1);
	assert_int_equal(node_shard(rack_node(r, 0), 0)->peer[1].mac[5], 2);
	rack_free(r);
}

// A node that starts is believed within moments, not heartbeats, and then no more is said about it.
static void greet__takes_two_round_trips(void **state)
{
	for (unsigned workers = 1; workers <= 3; workers++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 8, .workers = workers});
		assert_in_range(unite_ms(r, 8), 1, 3);
		rack_run_ms(r, 5);
		assert_in_range(rack_counter(r, -1, C_greetings), 8 * 7 / 2 * 3, 8 * 7 / 2 * 6);
		rack_run_ms(r, 300); // greetings with SERVED, until all have joined
		uint64_t greetings = rack_counter(r, -1, C_greetings);
		rack_run_ms(r, 300);
		assert_int_equal(rack_counter(r, -1, C_greetings), greetings);
		for (unsigned i = 0; i < 8; i++) {
			rack_kill(r, i);
			rack_run_ms(r, i * 37);
			rack_start(r, i);
			assert_in_range(unite_ms(r, 8), 1, 3);
		}
		assert_int_equal(rack_counter(r, -1, C_drop_control_forged), 0);
		assert_int_equal(rack_counter(r, -1, C_drop_control_replayed), 0);
		rack_free(r);
	}
}

// Even when a third of what is said is lost: the next heartbeat brings it up again.
static void greet__survives_loss(void **state)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct rack *r = rack_of((struct rack_conf){
			.nodes = 6, .workers = 2, .loss_percent = 33, .seed = seed});
		assert_in_range(unite_ms(r, 6), 1, 400);
		rack_free(r);
	}
}

// Workers speak to all at different rates. A peer that restarts hears each of them at once, too.
static void greet__no_worker_lags_behind(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.workers = 3, .no_index = true});

	unite_ms(r, 3);
	rack_run_ms(r, 1000);
	rack_kill(r, 2);
	rack_run_ms(r, 200);
	rack_start(r, 2);
	unite_ms(r, 3);
	for (unsigned n = 0; n < 40; n++)
		ask_about(r, n);
	rack_run_ms(r, 20);
	assert_int_equal(rack_counter(r, -1, C_pulls_failed), 40);
	assert_int_equal(rack_counter(r, -1, C_drop_control_replayed), 0);
	rack_free(r);
}

// All that was ever said, played to nodes that have died, restarted, or been up all the time: it brings
// nobody back, and nothing of it is taken.
static void replay__of_former_lives(void **state)
{
	static const enum wire_type types[2][5] = {
		{WIRE_HELLO, WIRE_GREET, WIRE_LOG, WIRE_INDEX, WIRE_ASK},
		{WIRE_HELLO, WIRE_GREET, WIRE_LOG, WIRE_PULL, WIRE_NONE},
	};

	for (unsigned workers = 1; workers <= 3; workers += 2) {
		bool no_index = workers == 3; // what is unknown is then asked for by name
		struct rack *r =
			rack_of((struct rack_conf){.workers = workers, .no_index = no_index});
		unite_ms(r, 3);
		struct tape *t = tape_new(r);
		for (unsigned life = 0; life < 3; life++) {
			for (unsigned n = 0; n < 20; n++)
				open_one(r, life * 20 + n);
			for (unsigned n = 0; n < 20; n++)
				ask_about(r, life * 20 + n);
			rack_kill(r, 1);
			rack_run_ms(r, 150);
			rack_start(r, 1);
			rack_run_ms(r, 50);
		}
		for (unsigned k = 0; k < 5; k++)
			assert_true(t->type[types[no_index][k]] > 10);
		rack_tap(r, NULL, NULL);
		rack_kill(r, 2);
		rack_run_ms(r, 200);
		rack_start(r, 2);
		rack_kill(r, 1);
		rack_run_ms(r, 200);
		assert_true(united(r, 3));
		uint64_t taken = messages(r, false), sent = messages(r, true);
		uint64_t boot = node_shard(rack_node(r, 0), 0)->peer[1].boot;
		play(r, t, 3);
		assert_int_equal(node_shard(rack_node(r, 0), 0)->live, 5); // node 1 stays dead
		assert_int_equal(node_shard(rack_node(r, 2), 0)->live, 5);
		assert_true(node_shard(rack_node(r, 0), 0)->peer[1].boot == boot);
		assert_true(node_shard(rack_node(r, 2), 0)->peer[1].boot == 0);
		assert_true(united(r, 3));
		// Two nodes are left, so each message has one receiver; some may be on their way.
		taken = messages(r, false) - taken;
		sent = messages(r, true) - sent;
		assert_in_range(taken + 4, sent, sent + 8);
		assert_true(rack_counter(r, -1, C_drop_control_replayed) > 0);
		assert_true(rack_counter(r, -1, C_drop_control_stale) > 0);
		rack_start(r, 1);
		assert_in_range(unite_ms(r, 3), 1, 3);
		rack_check(r);
		tape_free(t);
		rack_free(r);
	}
}

// Heartbeats of a former boot, over and over: they are answered, but not each.
static void replay__draws_few_answers(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	unite_ms(r, 3);
	rack_kill(r, 1);
	rack_run_ms(r, 200);
	rack_start(r, 1);
	struct tape *t = tape_new(r);
	unite_ms(r, 3);
	for (unsigned i = 0; i < 2; i++) { // boot_before alone would be remembered
		rack_kill(r, 1);
		rack_run_ms(r, 200);
		rack_start(r, 1);
		unite_ms(r, 3);
	}
	rack_tap(r, NULL, NULL);
	uint64_t before = rack_counter(r, 0, C_greetings);
	for (unsigned ms = 0; ms < 100; ms++) {
		for (unsigned i = 0; i < t->n; i++) {
			if (t->frame[i].from == 1 && t->frame[i].bytes[BODY + 3] == WIRE_HELLO)
				rack_inject(r, 0, 30, t->frame[i].bytes, t->frame[i].len);
		}
		rack_run_ms(r, 1);
	}
	uint64_t answers = rack_counter(r, 0, C_greetings) - before;
	assert_in_range(answers, 40, 60);
	assert_true(united(r, 3));
	tape_free(t);
	rack_free(r);
}

// ---- Cluster keys ----

#define KEY_A                                                                                      \
	{                                                                                          \
		1, "the first key of this test rack"                                               \
	}
#define KEY_B                                                                                      \
	{                                                                                          \
		2, "another key that comes after it!"                                              \
	}
static const struct auth_key a = KEY_A;
static const struct auth_keys only_a = {1, {KEY_A}}, a_then_b = {2, {KEY_A, KEY_B}},
			      b_then_a = {2, {KEY_B, KEY_A}}, only_b = {1, {KEY_B}};

static bool holds(struct rack *r, unsigned node, const void *bytes, size_t size)
{
	const struct node *n = rack_node(r, node);
	return memmem(n, n->size, bytes, size) != NULL;
}

// Node by node, while connections open and are replicated: nothing is refused or lost. At its end
// nothing of the former key is left in memory.
static void keys__rotation_under_traffic(void **state)
{
	static const struct auth_keys *const step[] = {&a_then_b, &b_then_a, &only_b};
	struct rack *r = rack_of((struct rack_conf){.workers = 2, .keys = only_a});
	struct key_status k[AUTH_KEYS_MAX];
	uint8_t derived[AUTH_KEY_SIZE];
	unsigned n = 0;

	unite_ms(r, 3);
	for (; n < 30; n++)
		open_one(r, n);
	struct auth_ends ends = {7, 1, 0, rack_node(r, 1)->conf.boot, rack_node(r, 0)->conf.boot};
	auth_derive(derived, a.key, &ends);
	assert_true(holds(r, 0, a.key, sizeof(a.key)) && holds(r, 0, derived, sizeof(derived)));
	uint64_t stale = rack_counter(r, -1, C_drop_control_stale);
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned node = 0; node < 3; node++) {
			assert_true(node_set_keys(rack_node(r, node), step[i]));
			for (unsigned end = n + 30; n < end; n++)
				open_one(r, n);
			assert_true(node_keys_taken(rack_node(r, node)));
		}
	}
	rack_run_ms(r, 50);
	for (unsigned i = 0; i < n; i++) {
		struct tripod_tuple key = key_of(i);
		assert_int_equal(rack_copies(r, &key), 2);
	}
	assert_int_equal(dropped(r, -1), stale);
	assert_int_equal(rack_counter(r, -1, C_log_messages_lost), 0);
	assert_int_equal(node_keys(rack_node(r, 0), k), 1);
	assert_int_equal(k[0].id, 2);
	assert_true(k[0].sends && k[0].tx > 100 && k[0].rx > 100);
	for (unsigned node = 0; node < 3; node++) {
		assert_false(holds(r, node, a.key, sizeof(a.key)));
		assert_false(holds(r, node, derived, sizeof(derived)));
	}
	rack_free(r);
}

// What was sealed with a key that is gone does not count, even if nobody has seen it yet.
static void keys__removed_key_opens_nothing(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.keys = only_a});
	uint8_t message[WIRE_MESSAGE_MAX];

	unite_ms(r, 3);
	uint16_t len = pull(r, 1, 0, message);
	for (unsigned i = 0; i < 3; i++)
		assert_true(node_set_keys(rack_node(r, i), &a_then_b));
	rack_run_ms(r, 30);
	for (unsigned i = 0; i < 3; i++)
		assert_true(node_set_keys(rack_node(r, i), &only_b));
	rack_run_ms(r, 30);
	uint64_t before = rack_counter(r, 0, C_drop_control_key);
	put(r, 1, 0, message, len);
	assert_int_equal(rack_counter(r, 0, C_drop_control_key), before + 1);
	rack_free(r);
}

// With another key, whatever its id, a node is nobody's member.
static void keys__strangers_stay_out(void **state)
{
	struct auth_keys others[] = {only_b, only_a, {0}};

	others[1].key[0].key[31] = 1; // the same id
	for (unsigned i = 0; i < 3; i++) {
		struct rack *r = rack_of((struct rack_conf){.keys = only_a});
		unite_ms(r, 3);
		assert_true(node_set_keys(rack_node(r, 2), &others[i]));
		rack_run_ms(r, 300);
		assert_int_equal(node_shard(rack_node(r, 0), 0)->live, 3);
		assert_int_equal(node_shard(rack_node(r, 2), 0)->live, 4);
		enum counter why = i == 1 ? C_drop_control_forged : C_drop_control_key;
		assert_true(rack_counter(r, 0, why) > 5 && rack_counter(r, 2, why) > 5);
		assert_true(node_set_keys(rack_node(r, 2), &only_a));
		rack_run_ms(r, 50);
		assert_true(united(r, 3)); // the same boots: they have only not heard each other
		rack_free(r);
	}
}

// A worker that has not taken the last keys may be reading them.
static void keys__one_change_at_a_time(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.workers = 2, .keys = only_a});
	struct node *n = rack_node(r, 0);

	unite_ms(r, 3);
	rack_stall(r, 0, 1, true);
	assert_true(node_set_keys(n, &a_then_b));
	rack_run_ms(r, 5);
	assert_false(node_keys_taken(n));
	assert_false(node_set_keys(n, &b_then_a));
	rack_stall(r, 0, 1, false);
	rack_run_ms(r, 5);
	assert_true(node_set_keys(n, &b_then_a));
	rack_run_ms(r, 5);
	assert_true(node_keys_taken(n));
	rack_free(r);
}

// Without authentication racks are still told apart, and everything else is as with it.
static void keys__none(void **state)
{
	static const struct auth_keys none;
	struct rack *r = rack_of((struct rack_conf){0});
	struct key_status k[AUTH_KEYS_MAX];

	unite_ms(r, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(node_set_keys(rack_node(r, i), &none));
	rack_run_ms(r, 50);
	rack_kill(r, 1);
	rack_run_ms(r, 200);
	assert_true(united(r, 3));
	assert_int_equal(node_keys(rack_node(r, 0), k), 1);
	assert_int_equal(k[0].id, AUTH_ID_OPEN);
	assert_true(k[0].rx > 0);
	rack_free(r);
}

static unsigned n_secrets;
static void secret(void *at, size_t size)
{
	n_secrets += memmem(at, size, a.key, sizeof(a.key)) != NULL;
}

// The stretches that are named hold every copy of a key.
static void keys__all_in_the_named_places(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.workers = 3, .keys = only_a});
	const struct node *n = rack_node(r, 0);
	unsigned copies = 0;

	unite_ms(r, 3);
	const char *at = (const char *)n, *end = at + n->size;
	for (; (at = memmem(at, (size_t)(end - at), a.key, sizeof(a.key))) != NULL; at++)
		copies++;
	n_secrets = 0;
	node_secrets(n, secret);
	assert_int_equal(copies, 4); // what is handed over, and each worker's own
	assert_int_equal(n_secrets, 4);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open__only_what_is_sealed),
		cmocka_unit_test(open__only_from_where_its_sender_is),
		cmocka_unit_test(open__only_on_the_fabric),
		cmocka_unit_test(open__once_among_workers),
		cmocka_unit_test(open__address_is_sealed),
		cmocka_unit_test(greet__takes_two_round_trips),
		cmocka_unit_test(greet__survives_loss),
		cmocka_unit_test(greet__no_worker_lags_behind),
		cmocka_unit_test(replay__of_former_lives),
		cmocka_unit_test(replay__draws_few_answers),
		cmocka_unit_test(keys__rotation_under_traffic),
		cmocka_unit_test(keys__removed_key_opens_nothing),
		cmocka_unit_test(keys__strangers_stay_out),
		cmocka_unit_test(keys__one_change_at_a_time),
		cmocka_unit_test(keys__none),
		cmocka_unit_test(keys__all_in_the_named_places),
	};
	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
