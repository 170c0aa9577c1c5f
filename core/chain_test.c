// SPDX-License-Identifier: BSD-3-Clause
// Layout, id and packing of chains that are put together without a configuration.
#include "core/chain.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/rng.h"

#define FIELDS_MAX 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); // chain_fuzz.c

// An NF with a random layout. Fields stand in random order and leave gaps.
struct random_nf {
	struct tripod_nf nf;
	char name[8], field_name[FIELDS_MAX][8];
	struct tripod_field field[FIELDS_MAX + 1];
};

static void make_nf(struct random_nf *r, struct rng *rng, unsigned number)
{
	memset(r, 0, sizeof(*r));
	unsigned n = rng_below(rng, FIELDS_MAX + 1);
	uint16_t offset = 0;
	for (unsigned i = 0; i < n; i++) {
		offset += (uint16_t)(rng_below(rng, 3) == 0 ? rng_below(rng, 4) : 0);
		uint16_t size = (uint16_t)(1u << rng_below(rng, 4));
		snprintf(r->field_name[i], sizeof(r->field_name[i]), "f%u", i);
		r->field[i] = (struct tripod_field){r->field_name[i], offset, size,
			(enum tripod_field_class)rng_below(rng, 3), TRIPOD_FIELD_UINT};
		offset += size;
	}
	for (unsigned i = n; i > 1; i--) {
		unsigned j = rng_below(rng, i);
		struct tripod_field swap = r->field[i - 1];
		r->field[i - 1] = r->field[j];
		r->field[j] = swap;
	}
	snprintf(r->name, sizeof(r->name), "nf%u", number);
	r->nf.name = r->name;
	r->nf.layout_version = 1;
	r->nf.fields = r->field;
	r->nf.state_size = (uint16_t)(offset + rng_below(rng, 5));
}

// Which class a byte of the state has, by the tables alone.
static enum tripod_field_class class_of(const struct chain *chain, unsigned at)
{
	for (unsigned i = 0; i < chain->n; i++)
		for (const struct tripod_field *f = chain->nf[i].nf->fields; f->name != NULL; f++) {
			unsigned base = chain->nf[i].state_offset + f->offset;
			if (at >= base && at < base + f->size)
				return f->class;
		}
	return TRIPOD_SOFT;
}

static void check_pack(const struct chain *chain, struct rng *rng)
{
	uint8_t state[CHAIN_STATE_MAX], back[CHAIN_STATE_MAX], wire[CHAIN_STATE_MAX];
	for (unsigned i = 0; i < sizeof(state); i++)
		state[i] = (uint8_t)(1 + rng_below(rng, 255));
	memset(wire, 0xee, sizeof(wire));
	chain_pack(chain, state, wire);
	// The definition: field after field.
	unsigned at = 0;
	for (unsigned i = 0; i < chain->n; i++)
		for (const struct tripod_field *f = chain->nf[i].nf->fields; f->name != NULL; f++) {
			if (f->class == TRIPOD_SOFT)
				continue;
			assert_memory_equal(
				wire + at, state + chain->nf[i].state_offset + f->offset, f->size);
			at += f->size;
		}
	assert_int_equal(at, chain->wire_size);
	for (unsigned i = at; i < sizeof(wire); i++)
		assert_int_equal(wire[i], 0xee);
	memset(back, 0xdd, sizeof(back));
	chain_unpack(chain, wire, back);
	for (unsigned i = 0; i < chain->state_size; i++)
		assert_int_equal(back[i], class_of(chain, i) == TRIPOD_SOFT ? 0 : state[i]);
	for (unsigned i = chain->state_size; i < sizeof(back); i++)
		assert_int_equal(back[i], 0xdd);
	memset(back, 0xdd, sizeof(back));
	chain_update(chain, state, back);
	for (unsigned i = 0; i < sizeof(back); i++)
		assert_int_equal(back[i],
			i >= chain->state_size || class_of(chain, i) == TRIPOD_SOFT ? 0xdd
										    : state[i]);
	chain_forget_soft(chain, back);
	for (unsigned i = 0; i < sizeof(back); i++)
		assert_int_equal(back[i], i >= chain->state_size              ? 0xdd
					  : class_of(chain, i) == TRIPOD_SOFT ? 0
									      : state[i]);
	// Exactly the write-once bytes make a difference.
	assert_false(chain_write_once_differs(chain, state, back));
	for (unsigned i = 0; i < chain->state_size; i++) {
		memcpy(back, state, sizeof(back));
		back[i] ^= 0x10;
		assert_int_equal(chain_write_once_differs(chain, state, back),
			class_of(chain, i) == TRIPOD_WRITE_ONCE);
	}
}

static void chain_pack__property(void **unused)
{
	uint64_t seed = 20260101;
	print_message("seed %llu\n", (unsigned long long)seed);
	struct rng rng = {seed};
	unsigned checked = 0;
	for (unsigned round = 0; round < 500; round++) {
		struct random_nf nfs[CHAIN_NFS_MAX];
		struct chain chain = {0};
		unsigned n = rng_below(&rng, CHAIN_NFS_MAX + 1);
		int err = 0;
		for (unsigned i = 0; i < n && err == 0; i++) {
			make_nf(&nfs[i], &rng, i);
			err = chain_add(&chain, &nfs[i].nf, &nfs[i]);
		}
		if (err != 0) // too many runs
			continue;
		checked++;
		assert_int_equal(chain.n, n);
		unsigned end = 0;
		for (unsigned i = 0; i < n; i++) {
			unsigned align = 8;
			while (nfs[i].nf.state_size % align != 0)
				align /= 2;
			assert_int_equal(
				chain.nf[i].state_offset, (end + align - 1) / align * align);
			assert_ptr_equal(chain.nf[i].instance, &nfs[i]);
			end = chain.nf[i].state_offset + nfs[i].nf.state_size;
		}
		check_pack(&chain, &rng);
	}
	assert_true(checked > 400);
}

struct pair {
	uint32_t a, b;
	uint64_t c;
};
static const struct tripod_field PAIR_FIELDS[] = {
	TRIPOD_FIELD(struct pair, a, WRITE_ONCE, UINT),
	TRIPOD_FIELD(struct pair, b, WRITE_ONCE, UINT),
	TRIPOD_FIELD(struct pair, c, DURABLE, UINT),
	{0},
};

static void chain_add__joins_neighbours(void **unused)
{
	struct tripod_nf one = {.name = "one",
		.layout_version = 1,
		.state_size = sizeof(struct pair),
		.fields = PAIR_FIELDS,
		.counters = (const char *const[]){"x", "y", NULL}};
	struct tripod_nf two = one;
	two.name = "two";
	struct chain chain = {0};
	assert_int_equal(chain_add(&chain, &one, NULL), 0);
	assert_int_equal(chain_add(&chain, &two, NULL), 0);
	assert_int_equal(chain.n_runs, 1);
	assert_int_equal(chain.run[0].size, 2 * sizeof(struct pair));
	assert_int_equal(chain.n_once, 2);
	assert_int_equal(chain.once[1].offset, sizeof(struct pair));
	assert_int_equal(chain.once[1].size, 8);
	assert_int_equal(chain.wire_size, 32);
	assert_int_equal(chain.nf[1].n_counters, 2);
}

static void chain_add__limits(void **unused)
{
	struct chain chain = {0};
	struct tripod_nf empty = {.name = "empty"};
	for (unsigned i = 0; i < CHAIN_NFS_MAX; i++)
		assert_int_equal(chain_add(&chain, &empty, NULL), 0);
	assert_int_equal(chain_add(&chain, &empty, NULL), -E2BIG);

	chain = (struct chain){0};
	struct tripod_nf large = {.name = "large", .state_size = CHAIN_STATE_MAX};
	struct tripod_nf small = {.name = "small", .state_size = 1};
	assert_int_equal(chain_add(&chain, &large, NULL), 0);
	assert_int_equal(chain.state_size, CHAIN_STATE_MAX);
	assert_int_equal(chain_add(&chain, &small, NULL), -ENOSPC);

	// Every second byte: a run each.
	struct tripod_field fields[CHAIN_RUNS_MAX + 2] = {0};
	for (unsigned i = 0; i <= CHAIN_RUNS_MAX; i++)
		fields[i] = (struct tripod_field){
			"x", (uint16_t)(2 * i), 1, TRIPOD_DURABLE, TRIPOD_FIELD_UINT};
	struct tripod_nf many = {.name = "many", .state_size = 512, .fields = fields};
	chain = (struct chain){0};
	assert_int_equal(chain_add(&chain, &many, NULL), -ENOSPC);
	fields[CHAIN_RUNS_MAX].name = NULL;
	chain = (struct chain){0};
	assert_int_equal(chain_add(&chain, &many, NULL), 0);
	assert_int_equal(chain.n_runs, CHAIN_RUNS_MAX);
}

static void on_request(struct tripod_call *c, const void *data, size_t size)
{
}

// A chain with NFs that take requests has room for marks, once, and it is replicated.
static void chain_add__marks(void **unused)
{
	struct tripod_nf one = {.name = "one", .state_size = 6};
	struct tripod_nf two = {.name = "two", .state_size = 3, .on_request = on_request};
	struct tripod_nf three = {.name = "three", .state_size = 8, .on_request = on_request};
	struct chain chain = {0};
	uint8_t state[CHAIN_STATE_MAX], wire[CHAIN_STATE_MAX], back[CHAIN_STATE_MAX];

	assert_int_equal(chain_add(&chain, &one, NULL), 0);
	assert_false(chain.requests);
	assert_int_equal(chain_add(&chain, &two, NULL), 0);
	assert_true(chain.requests);
	assert_int_equal(chain.marks, 12);
	assert_int_equal(chain_add(&chain, &three, NULL), 0);
	assert_int_equal(chain.marks, 12);
	assert_int_equal(chain.nf[2].state_offset, 12 + CHAIN_MARKS_SIZE + 4);
	assert_int_equal(chain.wire_size, CHAIN_MARKS_SIZE);
	for (unsigned i = 0; i < sizeof(state); i++)
		state[i] = (uint8_t)(i + 1);
	chain_pack(&chain, state, wire);
	memset(back, 0xee, sizeof(back));
	chain_unpack(&chain, wire, back);
	for (unsigned i = 0; i < chain.state_size; i++)
		assert_int_equal(back[i], i >= 12 && i < 12 + CHAIN_MARKS_SIZE ? state[i] : 0);
	assert_false(chain_write_once_differs(&chain, state, back));

	struct tripod_nf large = two;
	large.state_size = CHAIN_STATE_MAX - CHAIN_MARKS_SIZE + 1;
	chain = (struct chain){0};
	assert_int_equal(chain_add(&chain, &large, NULL), -ENOSPC);
	large.state_size--;
	chain = (struct chain){0};
	assert_int_equal(chain_add(&chain, &large, NULL), 0);
	assert_int_equal(chain.state_size, CHAIN_STATE_MAX);
}

static uint64_t id_of(const struct tripod_nf *const *nfs, unsigned n, const char *text)
{
	struct chain chain = {0};
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(chain_add(&chain, nfs[i], NULL), 0);
	chain_seal(&chain, text);
	return chain.id;
}

static void chain_seal__id(void **unused)
{
	struct tripod_nf a = {.name = "a",
		.layout_version = 1,
		.state_size = sizeof(struct pair),
		.fields = PAIR_FIELDS};
	struct tripod_nf b = a;
	b.name = "b";
	const struct tripod_nf *ab[] = {&a, &b}, *ba[] = {&b, &a};
	uint64_t id = id_of(ab, 2, "text");
	assert_true(id != 0);
	assert_true(id == id_of(ab, 2, "text"));
	assert_true(id != id_of(ab, 2, "texts"));
	assert_true(id != id_of(ab, 1, "text"));
	assert_true(id != id_of(ba, 2, "text"));

	const struct tripod_nf *changed[] = {&a, &b};
	struct tripod_nf c = b;
	changed[1] = &c;
	assert_true(id == id_of(changed, 2, "text"));
	c.layout_version = 2;
	assert_true(id != id_of(changed, 2, "text"));
	c = b;
	c.state_size += 8;
	assert_true(id != id_of(changed, 2, "text"));
	c = b;
	c.on_request = on_request;
	assert_true(id != id_of(changed, 2, "text"));
	c = b;
	struct tripod_field fields[4];
	memcpy(fields, PAIR_FIELDS, sizeof(fields));
	c.fields = fields;
	assert_true(id == id_of(changed, 2, "text"));
	fields[1].class = TRIPOD_DURABLE;
	assert_true(id != id_of(changed, 2, "text"));
	memcpy(fields, PAIR_FIELDS, sizeof(fields));
	fields[0].offset = 4;
	assert_true(id != id_of(changed, 2, "text"));
	memcpy(fields, PAIR_FIELDS, sizeof(fields));
	fields[2].size = 4;
	assert_true(id != id_of(changed, 2, "text"));
	memcpy(fields, PAIR_FIELDS, sizeof(fields));
	fields[2].name = "d";
	assert_true(id != id_of(changed, 2, "text"));

	// Fixed for ever: nodes of two versions of the program must agree.
	assert_true(id == 0x4b7de54121a15806);
}

// A description gives the id, in whatever pieces it is read, and says what it was made of.
static void chain_describe__property(void **unused)
{
	struct rng rng = {20260102};
	for (unsigned round = 0; round < 200; round++) {
		struct random_nf nfs[CHAIN_NFS_MAX];
		struct chain chain = {0};
		uint8_t all[8192], pieces[sizeof(all)];
		struct chain_description d;
		unsigned n = rng_below(&rng, CHAIN_NFS_MAX + 1);
		for (unsigned i = 0; i < n; i++) {
			make_nf(&nfs[i], &rng, i);
			if (rng_below(&rng, 4) == 0)
				nfs[i].nf.on_request = on_request;
			if (chain_add(&chain, &nfs[i].nf, NULL) != 0)
				break;
		}
		chain_seal(&chain, "[{\"some\":{}}]");
		uint32_t size = chain_describe(&chain, 0, all, sizeof(all));
		assert_int_equal(size, chain.description_size);
		assert_true(chain_description_id(all, size) == chain.id);
		memset(pieces, 0xee, sizeof(pieces));
		for (uint32_t at = 0, got; at < size; at += got) {
			got = chain_describe(&chain, at, pieces + at, 1 + rng_below(&rng, 100));
			assert_true(got > 0);
		}
		assert_memory_equal(all, pieces, size);
		assert_int_equal(pieces[size], 0xee);
		assert_int_equal(chain_describe(&chain, size, pieces, 100), 0);

		assert_int_equal(chain_description_read(all, size, &d), 0);
		assert_int_equal(d.text_len, strlen(chain.text));
		assert_memory_equal(d.text, chain.text, d.text_len);
		assert_int_equal(d.n, chain.n);
		for (unsigned i = 0; i < d.n; i++) {
			assert_memory_equal(d.nf[i].name, chain.nf[i].nf->name, d.nf[i].name_len);
			assert_int_equal(d.nf[i].layout_version, 1);
			assert_int_equal(d.nf[i].state_size, chain.nf[i].nf->state_size);
		}
		for (uint32_t cut = 0; cut < size; cut++)
			assert_int_equal(chain_description_read(all, cut, &d), -EINVAL);
		all[size] = 0;
		assert_int_equal(chain_description_read(all, size + 1, &d), -EINVAL);
		for (unsigned k = 0; k < 200; k++) { // no byte of it is trusted
			uint32_t at = rng_below(&rng, size);
			uint8_t was = all[at];
			all[at] = (uint8_t)rng_next(&rng);
			LLVMFuzzerTestOneInput(all, size);
			assert_int_equal(
				chain_description_id(all, size) == chain.id, all[at] == was);
			all[at] = was;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chain_pack__property),
		cmocka_unit_test(chain_describe__property),
		cmocka_unit_test(chain_add__joins_neighbours),
		cmocka_unit_test(chain_add__marks),
		cmocka_unit_test(chain_add__limits),
		cmocka_unit_test(chain_seal__id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
