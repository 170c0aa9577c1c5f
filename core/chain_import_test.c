// SPDX-License-Identifier: BSD-3-Clause
// States of older layouts: read by the NF's import, wherever a record of an older build comes.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "core/rng.h"
#include "core/shard.h"
#include "core/testing/flows.h"

#define SERVER "10.1.0.101"

// ---- An NF in two builds: what it writes once has moved, and a count has become wider ----

struct mark_1 {
	uint16_t colour;
	uint16_t packets;
};
static const struct tripod_field MARK_1[] = {
	TRIPOD_FIELD(struct mark_1, colour, WRITE_ONCE, UINT),
	TRIPOD_FIELD(struct mark_1, packets, DURABLE, UINT),
	{0},
};

struct mark_2 {
	uint32_t packets;
	uint16_t colour, shade;
};
static const struct tripod_field MARK_2[] = {
	TRIPOD_FIELD(struct mark_2, packets, DURABLE, UINT),
	TRIPOD_FIELD(struct mark_2, colour, WRITE_ONCE, UINT),
	TRIPOD_FIELD(struct mark_2, shade, WRITE_ONCE, UINT),
	{0},
};

static enum tripod_verdict init_1(struct tripod_call *c, struct tripod_packet *p)
{
	struct mark_1 *m = tripod_state_rw(c);
	m->colour = p->tuple.sport;
	return TRIPOD_FORWARD;
}

static enum tripod_verdict packet_1(struct tripod_call *c, struct tripod_packet *p)
{
	const struct mark_1 *now = c->state;
	if (now->colour != c->opening->sport)
		return TRIPOD_DROP;
	struct mark_1 *m = tripod_state_rw(c);
	if (m != NULL)
		m->packets++;
	return TRIPOD_FORWARD;
}

static enum tripod_verdict init_2(struct tripod_call *c, struct tripod_packet *p)
{
	struct mark_2 *m = tripod_state_rw(c);
	m->colour = p->tuple.sport;
	m->shade = 7;
	return TRIPOD_FORWARD;
}

static enum tripod_verdict packet_2(struct tripod_call *c, struct tripod_packet *p)
{
	const struct mark_2 *now = c->state;
	if (now->colour != c->opening->sport || now->shade != 7)
		return TRIPOD_DROP;
	struct mark_2 *m = tripod_state_rw(c);
	if (m != NULL)
		m->packets++;
	return TRIPOD_FORWARD;
}

static int import(uint32_t layout, const void *old, uint16_t size, void *state)
{
	const struct mark_1 *from = old;
	struct mark_2 *to = state;
	if (layout != 1 || size != sizeof(*from) || from->packets == 0xdead)
		return -EINVAL;
	*to = (struct mark_2){.packets = from->packets, .colour = from->colour, .shade = 7};
	return 0;
}

static const struct tripod_nf BUILD_1 = {
	.name = "mark",
	.layout_version = 1,
	.state_size = sizeof(struct mark_1),
	.fields = MARK_1,
	.on_init = init_1,
	.on_packet = packet_1,
};
static const struct tripod_nf BUILD_2 = {
	.name = "mark",
	.layout_version = 2,
	.state_size = sizeof(struct mark_2),
	.fields = MARK_2,
	.on_init = init_2,
	.on_packet = packet_2,
	.import = import,
};

static struct chain chain_of(const struct tripod_nf *mark)
{
	struct chain chain = {0};
	assert_int_equal(chain_add(&chain, mark, NULL), 0);
	assert_int_equal(chain_add(&chain, &RACK_NF_REWRITE, NULL), 0);
	chain_seal(&chain, "one configuration");
	return chain;
}

// An arena and a description, both in memory of exactly their size.
struct work {
	struct arena arena;
	uint8_t *bytes;
	uint32_t size;
};

static struct work work_of(const struct chain *chain, size_t room)
{
	struct work w = {.arena = {.base = aligned_alloc(64, room), .size = room}};
	memset(w.arena.base, 0, room);
	w.size = chain->description_size;
	w.bytes = malloc(w.size);
	chain_describe(chain, 0, w.bytes, w.size);
	return w;
}

static void work_free(struct work *w)
{
	free(w->arena.base);
	free(w->bytes);
}

static int import_chain(struct work *w, struct chain *out, const struct chain *as)
{
	struct chain_description d;
	unsigned which;
	assert_int_equal(chain_description_read(w->bytes, w->size, &d), 0);
	w->arena.used = 0;
	memset(w->arena.base, 0, w->arena.size);
	return chain_import(out, &d, as, &w->arena, &which);
}

static void import__translates(void **state)
{
	struct chain old = chain_of(&BUILD_1), new = chain_of(&BUILD_2), got;
	struct work w = work_of(&old, 16384);
	uint8_t from[CHAIN_STATE_MAX] = {0}, wire[CHAIN_STATE_MAX], to[CHAIN_STATE_MAX];

	assert_true(old.id != new.id);
	assert_int_equal(import_chain(&w, &got, &new), 0);
	// It is the chain that it was, for whoever asks this node for it.
	assert_true(got.id == old.id);
	assert_int_equal(got.wire_size, old.wire_size);
	assert_int_equal(got.description_size, old.description_size);
	assert_ptr_equal(got.as, &new);
	struct mark_1 *m = (struct mark_1 *)(from + old.nf[0].state_offset);
	*m = (struct mark_1){.colour = 300, .packets = 65535};
	for (unsigned i = 0; i < RACK_NF_REWRITE.state_size; i++)
		from[old.nf[1].state_offset + i] = (uint8_t)(i + 1);
	chain_pack(&old, from, wire);
	memset(to, 0xee, sizeof(to));
	assert_true(chain_read(&got, wire, to));
	const struct mark_2 *n = (const struct mark_2 *)(to + new.nf[0].state_offset);
	assert_true(n->packets == 65535 && n->colour == 300 && n->shade == 7);
	// The other NF's replicated bytes, and none of its soft ones.
	uint8_t back[CHAIN_STATE_MAX];
	chain_unpack(&old, wire, back);
	assert_memory_equal(to + new.nf[1].state_offset, back + old.nf[1].state_offset,
		RACK_NF_REWRITE.state_size);
	assert_int_equal(to[new.state_size], 0xee);
	m->packets = 0xdead;
	chain_pack(&old, from, wire);
	assert_false(chain_read(&got, wire, to));
	work_free(&w);
}

static void on_request(struct tripod_call *c, const void *data, size_t size)
{
}

// The marks of requests come along, wherever each build has them.
static void import__marks(void **state)
{
	struct tripod_nf first = BUILD_1, second = BUILD_2;
	first.on_request = second.on_request = on_request;
	struct chain old = chain_of(&first), new = chain_of(&second), plain = chain_of(&BUILD_2),
		     got;
	struct work w = work_of(&old, 16384);
	uint8_t from[CHAIN_STATE_MAX] = {0}, wire[CHAIN_STATE_MAX], to[CHAIN_STATE_MAX];

	assert_int_equal(import_chain(&w, &got, &new), 0);
	assert_true(got.id == old.id);
	assert_int_equal(got.wire_size, old.wire_size);
	assert_int_not_equal(old.marks, new.marks);
	for (unsigned i = 0; i < CHAIN_MARKS_SIZE; i++)
		from[old.marks + i] = (uint8_t)(i + 1);
	chain_pack(&old, from, wire);
	memset(to, 0xee, sizeof(to));
	assert_true(chain_read(&got, wire, to));
	assert_memory_equal(to + new.marks, from + old.marks, CHAIN_MARKS_SIZE);
	// A build that takes none any more has no place for them.
	assert_int_equal(import_chain(&w, &got, &plain), 0);
	assert_true(got.id == old.id);
	memset(to, 0xee, sizeof(to));
	assert_true(chain_read(&got, wire, to));
	assert_int_equal(to[plain.state_size], 0xee);
	work_free(&w);
	// What an older one did not have begins with none.
	w = work_of(&plain, 16384);
	struct tripod_nf third = BUILD_2;
	third.on_request = on_request;
	struct chain later = chain_of(&third);
	assert_int_equal(import_chain(&w, &got, &later), 0);
	chain_pack(&plain, from, wire);
	memset(to, 0xee, sizeof(to));
	assert_true(chain_read(&got, wire, to));
	for (unsigned i = 0; i < CHAIN_MARKS_SIZE; i++)
		assert_int_equal(to[later.marks + i], 0);
	work_free(&w);
}

static void import__refuses(void **state)
{
	struct chain old = chain_of(&BUILD_1), new = chain_of(&BUILD_2), got;
	struct work w = work_of(&new, 16384);

	assert_int_equal(import_chain(&w, &got, &old), -ENOTSUP); // older builds read no newer ones
	work_free(&w);
	w = work_of(&old, 16384);
	struct tripod_nf changed = BUILD_2;
	changed.import = NULL;
	struct chain none = chain_of(&changed);
	assert_int_equal(import_chain(&w, &got, &none), -ENOTSUP);
	changed = BUILD_2;
	changed.layout_version = 1; // a layout that was changed and kept its number
	none = chain_of(&changed);
	assert_int_equal(import_chain(&w, &got, &none), -ENOTSUP);
	changed = BUILD_2;
	changed.name = "other";
	none = chain_of(&changed);
	assert_int_equal(import_chain(&w, &got, &none), -EINVAL);
	struct chain shorter = {0};
	assert_int_equal(chain_add(&shorter, &BUILD_2, NULL), 0);
	chain_seal(&shorter, "x");
	assert_int_equal(import_chain(&w, &got, &shorter), -EINVAL);
	for (size_t room = 0; room < 1024; room += 64) { // too little memory, whatever it comes to
		w.arena.size = room;
		import_chain(&w, &got, &new);
		assert_true(w.arena.used <= room);
	}
	work_free(&w);
}

// Fields that overlap could be more bytes together than a record has.
static void import__overlapping_fields(void **state)
{
	static const struct tripod_field fields[] = {
		{"a", 0, 4, TRIPOD_DURABLE, TRIPOD_FIELD_UINT},
		{"b", 2, 2, TRIPOD_DURABLE, TRIPOD_FIELD_UINT},
		{0},
	};
	struct tripod_nf nf = BUILD_1;
	nf.fields = fields;
	struct chain old = chain_of(&nf), new = chain_of(&BUILD_2), got;
	struct work w = work_of(&old, 16384);
	assert_int_equal(import_chain(&w, &got, &new), -EINVAL);
	work_free(&w);
}

// Descriptions come from peers: every byte of one may be wrong.
static void import__property(void **state)
{
	struct chain old = chain_of(&BUILD_1), new = chain_of(&BUILD_2), got;
	struct rng rng = {20260103};
	unsigned taken = 0;

	for (unsigned round = 0; round < 20000; round++) {
		struct work w = work_of(&old, 4096);
		struct chain_description d;
		unsigned which;
		for (unsigned k = 1 + rng_below(&rng, 4); k > 0; k--)
			w.bytes[rng_below(&rng, w.size)] =
				(uint8_t)(rng_below(&rng, 2) ? rng_below(&rng, 8) : rng_next(&rng));
		if (chain_description_read(w.bytes, w.size, &d) == 0 &&
			chain_import(&got, &d, &new, &w.arena, &which) == 0) {
			uint8_t *wire = calloc(1, got.wire_size + 1), to[CHAIN_STATE_MAX];
			assert_in_range(got.wire_size, 0, CHAIN_STATE_MAX);
			assert_in_range(got.state_size, 0, CHAIN_STATE_MAX);
			chain_read(&got, wire, to);
			free(wire);
			taken++;
		}
		work_free(&w);
	}
	print_message("%u of 20000 taken\n", taken);
	assert_true(taken > 0);
}

// ---- In a rack ----

// Nodes are upgraded one by one, the old builds' connections go on at the new ones, and none is lost.
static void import__rolling_upgrade(void **state)
{
	enum { N = 60 };
	static struct flow f[N], late[N];
	struct rack *r = rack_new(&(struct rack_conf){.nodes = 4,
		.workers = 2,
		.backups = 1,
		.seed = 5,
		.nf = &BUILD_1,
		.nf2 = &RACK_NF_REWRITE});
	struct chain new = {0}, read;
	assert_int_equal(chain_add(&new, &BUILD_2, NULL), 0);
	assert_int_equal(chain_add(&new, &RACK_NF_REWRITE, NULL), 0);
	chain_seal(&new, rack_chain(r)->text);
	struct work w = work_of(rack_chain(r), 16384);
	assert_int_equal(import_chain(&w, &read, &new), 0);
	rack_know(r, &new);
	rack_know(r, &read);
	rack_run_ms(r, 400);
	for (unsigned i = 0; i < 4; i++) { // old builds cannot read the new one's, nor translate
		rack_unable(r, i, &new, true);
		rack_unable(r, i, &read, true);
	}
	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	for (unsigned victim = 0; victim < 4; victim++) {
		rack_kill(r, victim);
		rack_run_ms(r, 400);
		rack_reconfigure(r, victim, &new);
		rack_unable(r, victim, &new, false);
		rack_unable(r, victim, &read, false);
		rack_unable(r, victim, rack_chain(r), true);
		rack_start(r, victim);
		rack_run_ms(r, 1000);
		if (victim < 3) {
			assert_ptr_equal(node_chain_find(rack_node(r, victim), read.id), &read);
			assert_int_equal(
				node_chain_current(rack_node(r, victim), read.id), -ENOENT);
		}
		assert_int_equal(flows_exchange(r, f, N), N);
		assert_int_equal(flows_exchange(r, f, N), N);
	}
	assert_int_equal(rack_counter(r, -1, C_drop_invariant), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_nf), 0);
	assert_int_equal(flows_open(r, late, N, N, SERVER), N);
	assert_int_equal(flows_exchange(r, late, N), N);
	struct conn_view v;
	for (unsigned i = 0; i < N; i++)
		for (unsigned k = 0; k < 4; k++)
			if (rack_conn(r, k, &f[i].key, &v))
				assert_true(v.chain == new.id);
	// The old one is gone everywhere once nobody has connections under it.
	rack_run_ms(r, 40000);
	for (unsigned k = 0; k < 4; k++) {
		assert_null(node_chain_find(rack_node(r, k), read.id));
		assert_ptr_equal(node_chain_find(rack_node(r, k), new.id), &new);
	}
	rack_check(r);
	rack_free(r);
	work_free(&w);
}

// The old build goes on with its connections, and what it changes comes to the new one's copies.
static void import__changes_are_translated(void **state)
{
	enum { N = 20 };
	static struct flow f[N];
	struct rack *r = rack_new(&(struct rack_conf){.nodes = 2,
		.workers = 1,
		.backups = 1,
		.seed = 6,
		.nf = &BUILD_1,
		.nf2 = &RACK_NF_REWRITE});
	struct chain new = chain_of(&BUILD_2), read;
	chain_seal(&new, rack_chain(r)->text);
	struct work w = work_of(rack_chain(r), 16384);
	assert_int_equal(import_chain(&w, &read, &new), 0);
	rack_know(r, &read);
	rack_port(r, 1, false);
	rack_kill(r, 1);
	rack_run_ms(r, 400);
	rack_reconfigure(r, 1, &new);
	rack_unable(r, 0, &new, true);
	rack_unable(r, 1, rack_chain(r), true);
	rack_start(r, 1);
	rack_run_ms(r, 1000);
	assert_int_equal(flows_open(r, f, 0, N, SERVER), N);
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(flows_exchange(r, f, N), N);
	rack_run_ms(r, 50);
	for (unsigned i = 0; i < N; i++) {
		struct conn_view at[2];
		struct mark_1 old;
		struct mark_2 copy;
		assert_true(rack_conn(r, 0, &f[i].key, &at[0]));
		assert_true(rack_conn(r, 1, &f[i].key, &at[1]));
		assert_true(at[0].chain == read.id && at[1].chain == new.id);
		memcpy(&old, at[0].nf_state, sizeof(old));
		memcpy(&copy, at[1].nf_state, sizeof(copy));
		assert_true(old.packets >= 8);
		assert_int_equal(copy.packets, old.packets);
	}
	assert_int_equal(rack_counter(r, 1, C_log_records_refused), 0);
	rack_free(r);
	work_free(&w);
}

// What a chain is read as must be held, and stays as long as that chain.
static void import__needs_its_target(void **state)
{
	struct rack *r = rack_new(&(struct rack_conf){.nodes = 1, .workers = 1, .seed = 3});
	struct node *n = rack_node(r, 0);
	struct chain old = chain_of(&BUILD_1), new = chain_of(&BUILD_2), read;
	struct work w = work_of(&old, 16384);

	assert_int_equal(import_chain(&w, &read, &new), 0);
	assert_int_equal(node_chain_add(n, &read, false), -ENOENT);
	assert_int_equal(node_chain_add(n, &new, false), 1);
	assert_int_equal(node_chain_add(n, &read, true), 2); // announced: stays
	rack_run_ms(r, 70000);
	assert_ptr_equal(node_chain_find(n, new.id), &new);
	assert_int_equal(
		node_chain_current(n, rack_chain(r)->id), 0); // nothing is announced any more
	rack_run_ms(r, 31000);
	assert_null(node_chain_find(n, read.id));
	assert_ptr_equal(node_chain_find(n, new.id), &new);
	rack_run_ms(r, 31000);
	assert_null(node_chain_find(n, new.id));
	rack_free(r);
	work_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(import__translates),
		cmocka_unit_test(import__marks),
		cmocka_unit_test(import__refuses),
		cmocka_unit_test(import__overlapping_fields),
		cmocka_unit_test(import__property),
		cmocka_unit_test(import__changes_are_translated),
		cmocka_unit_test(import__rolling_upgrade),
		cmocka_unit_test(import__needs_its_target),
	};
	return cmocka_run_group_tests_name("chain_import", tests, NULL, NULL);
}
