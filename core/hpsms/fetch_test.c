// SPDX-License-Identifier: BSD-3-Clause
// Chains that travel: a node that lacks one fetches it from who has it, and serves its connections;
// whatever peers say of chains, nothing is taken but what hashes to the id that was asked for.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"
#include "core/testing/forge.h"
#include "core/testing/settled.h"

#define OLD "10.1.0.101" // the rack's first chain sends connections there
#define NEW "10.1.0.102"
#define BODY 42 // offset of the message in a frame

static struct chain chain_to(const char *server, const char *text)
{
	struct chain chain = {0};

	assert_int_equal(chain_add(&chain, &RACK_NF_REWRITE, (void *)(uintptr_t)server), 0);
	chain_seal(&chain, text);
	return chain;
}

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 4;
	return settled_rack(c);
}

static bool has(struct rack *r, unsigned node, const struct chain *chain)
{
	return node_chain_find(rack_node(r, node), chain->id) != NULL;
}

static unsigned holders(struct rack *r, unsigned nodes, const struct chain *chain)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nodes; i++)
		n += has(r, i, chain);
	return n;
}

// A text of so many bytes.
static char *long_text(size_t size)
{
	char *text = malloc(size + 1);

	for (size_t i = 0; i < size; i++)
		text[i] = (char)('a' + i * 7 % 26);
	text[size] = '\0';
	return text;
}

// ---- Taps ----

struct tap {
	uint64_t lose; // bit t: messages of type t
	unsigned lose_from; // of this node alone; 99: of all
	unsigned asks, chunks, nones;
	unsigned ask_to[RACK_NODES];
};

static bool tap(void *ctx, unsigned from, const struct frame *f)
{
	struct tap *t = ctx;
	uint8_t type = rack_message(f);

	t->asks += type == WIRE_CHAIN_ASK;
	t->chunks += type == WIRE_CHAIN;
	t->nones += type == WIRE_NONE;
	if (type == WIRE_CHAIN_ASK && f->data[5] <= RACK_NODES)
		t->ask_to[f->data[5] - 1]++;
	return type != 0 && (t->lose >> type & 1) && (t->lose_from == 99 || t->lose_from == from);
}

static void send_as(struct rack *r, unsigned from, unsigned to, enum wire_type type,
	uint8_t message[WIRE_MESSAGE_MAX], int body)
{
	struct wire_header h = {
		.type = (uint8_t)type,
		.from_node = (uint8_t)from,
		.to_node = (uint8_t)(type == WIRE_HELLO ? WIRE_ANY : to),
		.count = 1,
		.cluster = 7,
		.boot = rack_node(r, from)->conf.boot,
		.to_boot = type == WIRE_HELLO ? 0 : (uint32_t)rack_node(r, to)->conf.boot,
	};

	assert_true(body > 0);
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + body));
	forge_send(r, from, to, message, h.length);
}

static void send_chunk(struct rack *r, unsigned from, unsigned to, const struct wire_chain *c)
{
	uint8_t message[WIRE_MESSAGE_MAX];
	int n = wire_put_chain(message + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, c);
	send_as(r, from, to, WIRE_CHAIN, message, n);
}

static void send_ask(struct rack *r, unsigned from, unsigned to, uint64_t id, uint32_t offset)
{
	uint8_t message[WIRE_MESSAGE_MAX];
	struct wire_chain_ask a = {.id = id, .offset = offset};
	int n = wire_put_chain_ask(message + WIRE_HEADER_SIZE, 100, &a);
	send_as(r, from, to, WIRE_CHAIN_ASK, message, n);
}

static void send_hello(struct rack *r, unsigned from, unsigned to, const uint64_t *ids, unsigned n)
{
	uint8_t message[WIRE_MESSAGE_MAX];
	struct wire_hello h = {
		.workers = 1,
		.n_chains = (uint8_t)n,
		.chains_used = (uint8_t)((1u << n) - 1),
		.mac = {2, 0, 0, 0, 0, (uint8_t)(from + 1)},
		.live = UINT64_MAX,
	};
	memcpy(h.chain, ids, n * sizeof(*ids));
	int size = wire_put_hello(message + WIRE_HEADER_SIZE, 200, &h);
	send_as(r, from, to, WIRE_HELLO, message, size);
}

// ---- What the product promises ----

// One node is reconfigured: the others fetch its chain within a few heartbeats, become backups for its
// connections, and go on with them when it dies.
static void one_node_is_ahead(struct rack_conf conf)
{
	enum { N = 60 };
	static struct flow f[N];
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of(conf);
	struct conn_view v;
	unsigned new = 0;

	for (unsigned i = 0; i < 4; i++)
		rack_know(r, &next);
	rack_reconfigure(r, 0, &next);
	rack_run_ms(r, 200);
	assert_int_equal(holders(r, 4, &next), 4);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(rack_counter(r, (int)i, C_chains_fetched), 1);
	for (unsigned i = 0; i < N; i++) {
		f[i] = flow_of(i, OLD);
		flow_from_client(r, &f[i], TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 2);
		if (rack_conn(r, 0, &f[i].key, &v) && v.chain == next.id)
			f[i].server = NEW;
		new += f[i].server[9] == NEW[9];
		flow_from_server(r, &f[i], TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 2);
		flow_from_client(r, &f[i], TRIPOD_TCP_ACK, 0);
	}
	rack_run_ms(r, 100);
	assert_true(new > 5 && new < N);
	assert_int_equal(flows_exchange(r, f, N), N);
	rack_kill(r, 0);
	rack_run_ms(r, 400);
	assert_int_equal(flows_exchange(r, f, N), N);
	for (unsigned i = 0; i < N; i++)
		assert_true(rack_copies(r, &f[i].key) >= 2);
	// It comes back with its new configuration, and is given the old chain for the connections there.
	rack_start(r, 0);
	rack_run_ms(r, 500);
	assert_true(has(r, 0, rack_chain(r)));
	assert_int_equal(flows_exchange(r, f, N), N);
	assert_int_equal(flows_exchange(r, f, N), N);
	assert_int_equal(rack_counter(r, -1, C_drop_invariant), 0);
	rack_check(r);
	rack_free(r);
}

static void fetch__rolling_change(void **state)
{
	one_node_is_ahead((struct rack_conf){0});
}

static void fetch__rolling_change_workers_loss(void **state)
{
	one_node_is_ahead((struct rack_conf){.workers = 3, .loss_percent = 10, .seed = 12});
}

// Announced before it becomes current: everybody has it by then, and no connection is without a copy.
static void fetch__announced_first(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){0});
	struct chain_status all[CHAINS_MAX];

	rack_know(r, &next);
	assert_int_equal(node_chain_add(rack_node(r, 2), &next, true), 1);
	rack_run_ms(r, 100);
	assert_int_equal(holders(r, 4, &next), 4);
	assert_int_equal(node_chains(rack_node(r, 2), all), 2);
	assert_true(all[1].announced && !all[1].current && all[1].nodes == 15);
	assert_true(all[0].current);
	rack_run_ms(r, 60000); // for as long as it takes
	assert_int_equal(holders(r, 4, &next), 4);
	rack_free(r);
}

// A connection's packets arrive where its chain is not known: the record is refused, the chain fetched,
// and the packet served.
static void fetch__pull_of_an_unknown_chain(void **state)
{
	enum { N = 20 };
	static struct flow f[N];
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct tap t = {.lose = 1u << WIRE_CHAIN, .lose_from = 99};

	rack_know(r, &next);
	rack_port(r, 1, false);
	rack_tap(r, tap, &t);
	rack_reconfigure(r, 0, &next);
	assert_int_equal(flows_open(r, f, 0, N, NEW), N);
	assert_int_equal(holders(r, 2, &next), 1);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(rack_copies(r, &f[i].key), 1); // refused, or not sent at all
	rack_port(r, 1, true);
	rack_port(r, 0, false);
	while (rack_counter(r, 1, C_chains_failed) == 0)
		rack_run_ms(r, 1);
	t.lose = 0;
	rack_run_ms(r, 1000); // node 1 asks nobody for a second
	assert_int_equal(flows_exchange(r, f, N), N);
	assert_true(has(r, 1, &next));
	assert_int_equal(rack_counter(r, 1, C_chains_fetched), 1);
	rack_free(r);
}

// The same without heartbeats that tell: the record alone says what is missing.
static void fetch__record_tells(void **state)
{
	enum { N = 20 };
	static struct flow f[N];
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .workers = 2});

	rack_port(r, 1, false);
	rack_reconfigure(r, 0, &next);
	rack_unable(r, 1, &next, true);
	assert_int_equal(flows_open(r, f, 0, N, NEW), N);
	assert_true(rack_counter(r, 1, C_chains_refused) > 0);
	rack_unable(r, 1, &next, false);
	memset(rack_node(r, 1)->fetch.refused, 0, sizeof(rack_node(r, 1)->fetch.refused));
	struct tap t = {.lose = 1u << WIRE_HELLO, .lose_from = 99};
	rack_tap(r, tap, &t);
	rack_port(r, 1, true);
	rack_port(r, 0, false);
	for (unsigned i = 0; i < N; i++) {
		flow_from_client(r, &f[i], TRIPOD_TCP_ACK, 10);
		rack_run_ms(r, 1);
	}
	rack_run_ms(r, 30);
	assert_true(has(r, 1, &next));
	assert_true(rack_counter(r, 1, C_log_records_refused) > 0);
	unsigned served = 0;
	for (unsigned i = 0; i < N; i++)
		served += rack_copies(r, &f[i].key) == 2;
	assert_int_equal(served, N);
	rack_free(r);
}

// Large descriptions come through loss in pieces, and no faster than is allowed.
static void fetch__large(void **state)
{
	char *text = long_text(60000), *larger = long_text(70000);
	struct chain next = chain_to(NEW, text), beyond = chain_to(NEW, larger);
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .loss_percent = 20});

	rack_know(r, &next);
	rack_reconfigure(r, 0, &next);
	// Five losses in a row cost a second.
	for (unsigned ms = 0; ms < 10000 && holders(r, 3, &next) < 3; ms += 100)
		rack_run_ms(r, 100);
	assert_int_equal(holders(r, 3, &next), 3);
	rack_reconfigure(r, 1, &beyond);
	rack_run_ms(r, 500);
	assert_int_equal(holders(r, 3, &beyond), 1);
	assert_true(rack_counter(r, 0, C_chains_limited) > 0);
	assert_int_equal(rack_counter(r, 0, C_chains_fetched), 0); // its own
	rack_free(r);
	free(text);
	free(larger);
}

// A node that cannot run a chain is no backup for its connections, and stays one for the others.
static void fetch__node_without_the_nf(void **state)
{
	enum { N = 40 };
	static struct flow old[N], new[N];
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.seed = 13});
	struct conn_view v;
	unsigned at_3 = 0;

	assert_int_equal(flows_open(r, old, 0, N, OLD), N);
	rack_port(r, 3, false); // and so gets no packets of the new ones
	rack_know(r, &next);
	rack_unable(r, 3, &next, true);
	for (unsigned i = 0; i < 3; i++)
		rack_reconfigure(r, i, &next);
	rack_run_ms(r, 200);
	assert_int_equal(flows_open(r, new, N, N, NEW), N);
	rack_run_ms(r, 100);
	assert_false(has(r, 3, &next));
	assert_int_equal(rack_counter(r, 3, C_chains_refused), 1);
	for (unsigned i = 0; i < N; i++) {
		assert_true(rack_copies(r, &new[i].key) >= 2);
		assert_false(rack_conn(r, 3, &new[i].key, &v));
		at_3 += rack_conn(r, 3, &old[i].key, &v);
	}
	assert_true(at_3 > 0);
	assert_int_equal(rack_counter(r, -1, C_log_records_refused), 0);
	assert_int_equal(flows_exchange(r, old, N), N);
	assert_int_equal(flows_exchange(r, new, N), N);
	// It asks again now and then; able at last, it takes its part.
	rack_run_ms(r, 5000);
	assert_int_equal(rack_counter(r, 3, C_chains_refused), 1);
	rack_unable(r, 3, &next, false);
	rack_run_ms(r, 6000);
	assert_true(has(r, 3, &next));
	rack_kill(r, 0);
	rack_kill(r, 1);
	rack_run_ms(r, 500);
	at_3 = 0;
	for (unsigned i = 0; i < N; i++)
		at_3 += rack_conn(r, 3, &new[i].key, &v);
	assert_true(at_3 > 0);
	rack_free(r);
}

// Who is asked dies, or has not what it was said to have: the next is asked.
static void fetch__next_one_is_asked(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){0});
	struct tap t = {.lose = 1u << WIRE_CHAIN, .lose_from = 0};

	rack_know(r, &next);
	rack_unable(r, 2, &next, true);
	rack_tap(r, tap, &t);
	rack_reconfigure(r, 0, &next);
	rack_reconfigure(r, 1, &next);
	rack_run_ms(r, 200);
	assert_true(has(r, 3, &next));
	assert_true(t.ask_to[0] > 0 && t.ask_to[1] > 0);
	rack_free(r);

	// A heartbeat lies: nobody has it.
	r = rack_of((struct rack_conf){.nodes = 2});
	t = (struct tap){0};
	rack_tap(r, tap, &t);
	uint64_t ids[2] = {rack_chain(r)->id, 0x1234};
	send_hello(r, 1, 0, ids, 2);
	rack_run_ms(r, 100);
	assert_int_equal(t.asks, 1);
	assert_int_equal(t.chunks, 1);
	assert_int_equal(rack_counter(r, 0, C_chains_failed), 1);
	assert_int_equal(rack_node(r, 0)->fetch.state, FETCH_IDLE);
	// And is not asked again for a while.
	send_hello(r, 1, 0, ids, 2);
	rack_run_ms(r, 100);
	assert_int_equal(t.asks, 1);
	rack_run_ms(r, 1000);
	send_hello(r, 1, 0, ids, 2);
	rack_run_ms(r, 100);
	assert_int_equal(t.asks, 2);
	rack_free(r);
}

// A node starts with a new configuration, and gets what it needs of the old one with delay: it takes no
// traffic before it has the chain and the copies under it.
static void joins_late(unsigned workers, unsigned offset_ms)
{
	enum { N = 100 };
	static struct flow f[N];
	struct chain next = chain_to(NEW, "next");
	struct rack *r =
		rack_of((struct rack_conf){.nodes = 2, .workers = workers, .repair_per_s = 400});
	struct tap t = {.lose = 1u << WIRE_CHAIN, .lose_from = 0};
	struct node_status st;

	rack_kill(r, 1);
	rack_run_ms(r, 400);
	assert_int_equal(flows_open(r, f, 0, N, OLD), N);
	rack_tap(r, tap, &t);
	rack_know(r, &next);
	rack_reconfigure(r, 1, &next);
	rack_run_ms(r, offset_ms); // between the heartbeats of the two
	rack_start(r, 1);
	rack_run_ms(r, 900);
	node_status(rack_node(r, 1), &st);
	assert_int_equal(st.phase, NODE_JOINING);
	t.lose = 0;
	while (st.phase == NODE_JOINING) {
		rack_run_ms(r, 1);
		node_status(rack_node(r, 1), &st);
	}
	assert_int_equal(st.phase, NODE_READY);
	assert_int_equal(rack_counter(r, 1, C_join_timeouts), 0);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(rack_copies(r, &f[i].key), 2);
	rack_kill(r, 0);
	rack_run_ms(r, 200);
	assert_int_equal(flows_exchange(r, f, N), N);
	rack_free(r);
}

static void fetch__joining_node_waits_for_it(void **state)
{
	for (unsigned offset_ms = 0; offset_ms < 20; offset_ms += 4)
		joins_late(1, offset_ms);
}

static void fetch__joining_node_waits_for_it_workers(void **state)
{
	joins_late(2, 10);
}

// ---- What no honest node says ----

// Answers that nobody asked for, of others, that do not fit together, or that are of something else.
static void fetch__hostile_pieces(void **state)
{
	char *text = long_text(5000);
	struct chain next = chain_to(NEW, text);
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});
	struct fetch *f = &rack_node(r, 0)->fetch;
	struct tap t = {.lose = 1u << WIRE_CHAIN, .lose_from = 99};
	uint8_t whole[8192], junk[WIRE_CHAIN_CHUNK] = {0};
	uint32_t size = chain_describe(&next, 0, whole, sizeof(whole));
	struct wire_chain c = {.id = next.id, .total = size, .size = 1024, .bytes = whole};

	send_chunk(r, 1, 0, &c); // not wanted at all
	rack_run_ms(r, 1);
	assert_int_equal(f->state, FETCH_IDLE);
	rack_know(r, &next);
	rack_tap(r, tap, &t);
	rack_reconfigure(r, 1, &next);
	while (f->state != FETCH_ASKING)
		rack_run_ms(r, 1);
	send_chunk(r, 2, 0, &c); // of another node than was asked
	c.id++;
	send_chunk(r, 1, 0, &c); // of another chain
	c.id--;
	c.offset = 1024;
	send_chunk(r, 1, 0, &c); // with a gap
	rack_run_ms(r, 1);
	assert_int_equal(f->got, 0);
	c.offset = 0;
	send_chunk(r, 1, 0, &c);
	rack_run_ms(r, 1);
	assert_int_equal(f->got, 1024);
	c.offset = 512; // overlaps
	send_chunk(r, 1, 0, &c);
	c.offset = 0;
	c.bytes = junk;
	send_chunk(r, 1, 0, &c); // twice, and different
	rack_run_ms(r, 1);
	assert_int_equal(f->got, 1024);
	assert_memory_equal(f->bytes, whole, 1024);
	c = (struct wire_chain){next.id, size + 1, 1024, 1024, whole + 1024}; // another whole
	send_chunk(r, 1, 0, &c);
	rack_run_ms(r, 1);
	assert_int_equal(rack_counter(r, 0, C_drop_control_bad), 1);
	assert_int_not_equal(f->state, FETCH_HERE);
	// All of it, of the right size, with one byte wrong.
	rack_run_ms(r, 1500);
	while (f->state != FETCH_ASKING || f->node != 1)
		rack_run_ms(r, 1);
	whole[3000] ^= 1;
	for (uint32_t at = 0; at < size; at += c.size) {
		uint16_t n = (uint16_t)(size - at < 1024 ? size - at : 1024);
		c = (struct wire_chain){next.id, size, at, n, whole + at};
		send_chunk(r, 1, 0, &c);
		rack_run_ms(r, 1);
	}
	assert_int_equal(rack_counter(r, 0, C_drop_control_bad), 2);
	assert_false(has(r, 0, &next));
	assert_int_equal(rack_counter(r, 0, C_chains_refused), 0); // nobody was troubled with it
	t.lose = 0;
	rack_run_ms(r, 1500);
	assert_true(has(r, 0, &next));
	rack_check(r);
	rack_free(r);
	free(text);
}

// A size that nobody has room for, and pieces of wrong sizes.
static void fetch__hostile_sizes(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct fetch *f = &rack_node(r, 0)->fetch;
	struct tap t = {.lose = 1u << WIRE_CHAIN, .lose_from = 99};
	uint8_t bytes[WIRE_CHAIN_CHUNK + 1] = {0}, message[WIRE_MESSAGE_MAX];
	struct wire_chain c = {next.id, CHAIN_BYTES_MAX, 0, 1024, bytes};

	rack_tap(r, tap, &t);
	rack_reconfigure(r, 1, &next);
	while (f->state != FETCH_ASKING)
		rack_run_ms(r, 1);
	send_chunk(r, 1, 0, &c);
	rack_run_ms(r, 1);
	assert_int_equal(f->state, FETCH_IDLE);
	assert_int_equal(f->got, 0);
	assert_int_equal(rack_counter(r, 0, C_chains_limited), 1);
	rack_run_ms(r, 5000);
	assert_int_equal(f->state, FETCH_IDLE); // for a while
	// What no encoder writes is counted, and nothing else.
	c = (struct wire_chain){next.id, 1024, 0, 1024, bytes};
	int n = wire_put_chain(message + WIRE_HEADER_SIZE, 1200, &c);
	message[WIRE_HEADER_SIZE + 15] = 1; // offset
	send_as(r, 1, 0, WIRE_CHAIN, message, n);
	send_as(r, 1, 0, WIRE_CHAIN, message, n - 1);
	send_as(r, 1, 0, WIRE_CHAIN, message, 17);
	send_as(r, 1, 0, WIRE_CHAIN_ASK, message, 13);
	send_as(r, 1, 0, WIRE_CHAIN_ASK, message, 11);
	rack_run_ms(r, 1);
	assert_int_equal(rack_counter(r, 0, C_drop_control_bad), 5);
	rack_free(r);
}

// Heartbeats that name no end of chains: what is wanted is bounded, and what exists is still found.
static void fetch__hostile_lists(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});
	struct tap t = {0};
	uint64_t ids[CHAINS_MAX], n = 1;

	rack_know(r, &next);
	rack_tap(r, tap, &t);
	for (unsigned ms = 0; ms < 2000; ms++) {
		for (unsigned i = 0; i < CHAINS_MAX; i++)
			ids[i] = n++ * 0x9e3779b97f4a7c15ull | 1;
		send_hello(r, 2, 0, ids, CHAINS_MAX);
		if (ms == 500)
			rack_reconfigure(r, 1, &next);
		rack_run_ms(r, 1);
	}
	assert_true(has(r, 0, &next));
	assert_true(rack_counter(r, 0, C_chains_limited) > 0);
	assert_true(t.asks <= 205); // one in 10 ms
	rack_check(r);
	rack_free(r);
}

// Who asks without end is answered at a bounded rate, and the heartbeats go on.
static void fetch__flood_of_asks(void **state)
{
	char *text = long_text(60000);
	struct chain next = chain_to(NEW, text);
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct tap t = {0};

	rack_tap(r, tap, &t);
	rack_reconfigure(r, 1, &next);
	rack_run_ms(r, 500);
	t = (struct tap){0};
	for (unsigned ms = 0; ms < 500; ms++) {
		for (unsigned i = 0; i < 20; i++)
			send_ask(r, 0, 1, next.id, 0);
		rack_run_ms(r, 1);
	}
	assert_in_range(t.chunks, 3000, 8192 / 2 + 200);
	assert_true(rack_counter(r, 1, C_chains_limited) > 0);
	struct member_status m[2];
	node_members(rack_node(r, 0), m, 2);
	assert_true(m[1].live && m[1].deaths == 0);
	send_ask(r, 0, 1, next.id, next.description_size);
	rack_run_ms(r, 1);
	assert_int_equal(rack_counter(r, 1, C_drop_control_bad), 1);
	rack_free(r);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fetch__rolling_change),
		cmocka_unit_test(fetch__rolling_change_workers_loss),
		cmocka_unit_test(fetch__announced_first),
		cmocka_unit_test(fetch__pull_of_an_unknown_chain),
		cmocka_unit_test(fetch__record_tells),
		cmocka_unit_test(fetch__large),
		cmocka_unit_test(fetch__node_without_the_nf),
		cmocka_unit_test(fetch__next_one_is_asked),
		cmocka_unit_test(fetch__joining_node_waits_for_it),
		cmocka_unit_test(fetch__joining_node_waits_for_it_workers),
		cmocka_unit_test(fetch__hostile_pieces),
		cmocka_unit_test(fetch__hostile_sizes),
		cmocka_unit_test(fetch__hostile_lists),
		cmocka_unit_test(fetch__flood_of_asks),
	};
	return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
