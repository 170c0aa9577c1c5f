// SPDX-License-Identifier: BSD-3-Clause
// chain_load() over a tree made by hand; the configuration library has its own tests.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/chain.h"

// ---- A tree: a list of mappings with up to two keys ----

struct tripod_conf {
	unsigned line;
	const char *key[2];
	const struct tripod_conf *value[2];
	const struct tripod_conf *item;
	unsigned n_items;
	const char *text; // of its key `durability`
	bool bad; // the checker refuses it
	int load; // what load() returns
};

static char errors[1024];

const struct tripod_conf *tripod_conf_get(const struct tripod_conf *c, const char *key)
{
	for (unsigned i = 0; i < 2; i++)
		if (c->key[i] != NULL && strcmp(c->key[i], key) == 0)
			return c->value[i];
	return NULL;
}

unsigned tripod_conf_count(const struct tripod_conf *c)
{
	return c == NULL ? 0 : c->item != NULL ? c->n_items : 1;
}

const struct tripod_conf *tripod_conf_at(const struct tripod_conf *c, unsigned i)
{
	return c->item != NULL ? &c->item[i] : c;
}

const char *tripod_conf_string(const struct tripod_conf *c, const char *key)
{
	return strcmp(key, "durability") == 0 ? c->text : NULL;
}

unsigned tripod_conf_line(const struct tripod_conf *c)
{
	return c->line;
}

int tripod_conf_error(const struct tripod_conf *c, const char *format, ...)
{
	size_t n = strlen(errors);
	n += (size_t)snprintf(errors + n, sizeof(errors) - n, "%u: ", c->line);
	va_list args;
	va_start(args, format);
	vsnprintf(errors + n, sizeof(errors) - n, format, args);
	va_end(args);
	strcat(errors, "\n");
	return -EINVAL;
}

static int check(const struct tripod_conf *c, const struct tripod_option *options)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct tripod_option *o = options;
		while (c->key[i] != NULL && o->name != NULL && strcmp(o->name, c->key[i]) != 0)
			o++;
		if (c->key[i] != NULL && o->name == NULL)
			return tripod_conf_error(c, "unknown key %s", c->key[i]);
	}
	return c->bad ? tripod_conf_error(c, "bad") : 0;
}

// ---- NFs ----

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	*instance = tripod_env_alloc(env, 100);
	struct tripod_prefix p = {.len = 128};
	p.addr.b[15] = (uint8_t)conf->line;
	assert_int_equal(tripod_env_own_prefix(env, TRIPOD_INCOMING, &p), 0);
	if (conf->load == -EINVAL)
		tripod_conf_error(conf, "load");
	return conf->load;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	return TRIPOD_FORWARD;
}

static const struct tripod_option OPTIONS[] = {{.name = "depth", .type = TRIPOD_OPT_BOOL}, {0}};
static const struct tripod_field FIELDS[] = {
	{"mark", 0, 4, TRIPOD_WRITE_ONCE, TRIPOD_FIELD_UINT}, {0}};

static const struct tripod_nf first = {.abi = TRIPOD_NF_ABI,
	.name = "first",
	.summary = "a test's",
	.state_size = 12,
	.fields = FIELDS,
	.options = OPTIONS,
	.load = load,
	.on_init = on_init};
static const struct tripod_nf second = {.abi = TRIPOD_NF_ABI,
	.name = "second",
	.summary = "a test's",
	.state_size = 4,
	.fields = FIELDS,
	.load = load,
	.on_init = on_init};
static const struct tripod_nf huge = {.abi = TRIPOD_NF_ABI,
	.name = "huge",
	.summary = "a test's",
	.state_size = CHAIN_STATE_MAX,
	.load = load,
	.on_init = on_init};
TRIPOD_NF_BUILTIN(second)
TRIPOD_NF_BUILTIN(first)
TRIPOD_NF_BUILTIN(huge)

// ---- Tests ----

static _Alignas(64) uint8_t memory[4096];

static int load_chain(struct chain *chain, const struct tripod_conf *items, unsigned n)
{
	static const struct tripod_conf none;
	struct tripod_conf root = {.line = 1, .item = items != NULL ? items : &none, .n_items = n};
	memset(memory, 0, sizeof(memory));
	struct arena arena = {.base = memory, .size = sizeof(memory)};
	struct tripod_nf_env env = {
		.arena = &arena, .slot = 2, .slots = 4, .boot_half = 1, .check = check};
	errors[0] = '\0';
	return chain_load(chain, &root, &env, "text");
}

static void chain_load__right(void **unused)
{
	const struct tripod_conf options[] = {{.line = 10}, {.line = 11}};
	const struct tripod_conf items[] = {
		{.line = 2, .key = {"second"}, .value = {&options[0]}},
		{.line = 3, .key = {"first"}, .value = {&options[1]}},
	};
	struct chain chain;
	assert_int_equal(load_chain(&chain, items, 2), 0);
	assert_string_equal(errors, "");
	assert_int_equal(chain.n, 2);
	assert_ptr_equal(chain.nf[0].nf, &second);
	assert_ptr_equal(chain.nf[1].nf, &first);
	assert_int_equal(chain.nf[1].state_offset, 4);
	assert_int_equal(chain.state_size, chain.nf[1].state_offset + first.state_size);
	assert_int_equal(chain.wire_size, 8);
	assert_ptr_equal(chain.nf[0].instance, memory);
	assert_ptr_equal(chain.nf[1].instance, memory + 128);
	assert_int_equal(chain.n_own, 2);
	assert_true(chain.id != 0);

	assert_int_equal(load_chain(&chain, NULL, 0), 0);
	assert_int_equal(chain.n, 0);
	assert_true(chain.id != 0);
}

static void chain_load__all_mistakes(void **unused)
{
	const struct tripod_conf good = {.line = 10}, bad = {.line = 11, .bad = true},
				 fails = {.line = 12, .load = -EINVAL},
				 starves = {.line = 13, .load = -ENOMEM},
				 strange = {.line = 14, .load = -EIO},
				 surplus = {.line = 15, .key = {"depth"}, .value = {&good}};
	const struct {
		struct tripod_conf items[3];
		unsigned n;
		const char *text;
	} cases[] = {
		{{{.line = 2, .key = {"third"}, .value = {&good}}}, 1, "2: unknown key third"},
		{{{.line = 2}}, 1, "2: an element of the chain names"},
		{{{.line = 2, .key = {"first", "second"}, .value = {&good, &good}}}, 1,
			"2: first and second stand in one element"},
		{{{.line = 2, .key = {"first"}, .value = {&bad}}}, 1, "11: bad"},
		{{{.line = 2, .key = {"second"}, .value = {&surplus}}}, 1, "15: unknown key depth"},
		{{{.line = 2, .key = {"first"}, .value = {&starves}}}, 1,
			"13: first needs more memory"},
		{{{.line = 2, .key = {"first"}, .value = {&strange}}}, 1, "14: first did not load"},
		{{{.line = 2, .key = {"first"}, .value = {&good}},
			 {.line = 3, .key = {"first"}, .value = {&good}}},
			2, "10: first is in the chain already, on line 10"},
		{{{.line = 2, .key = {"huge"}, .value = {&good}},
			 {.line = 3, .key = {"first"}, .value = {&good}}},
			2, "10: first does not fit"},
		// One mistake does not hide the next.
		{{{.line = 2, .key = {"first"}, .value = {&fails}},
			 {.line = 3, .key = {"third"}, .value = {&good}},
			 {.line = 4, .key = {"second"}, .value = {&bad}}},
			3, "12: load\n3: unknown key third\n11: bad\n"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct chain chain;
		assert_int_equal(load_chain(&chain, cases[i].items, cases[i].n), -EINVAL);
		if (strstr(errors, cases[i].text) != errors)
			fail_msg("case %zu: \"%s\" is not \"%s\"", i, errors, cases[i].text);
	}
	struct tripod_conf items[CHAIN_NFS_MAX + 1] = {0};
	struct chain chain;
	assert_int_equal(load_chain(&chain, items, CHAIN_NFS_MAX + 1), -EINVAL);
	assert_non_null(strstr(errors, "1: 9 network functions"));
}

static void tripod_env__calls(void **unused)
{
	struct chain chain = {0};
	struct arena arena = {.base = memory, .size = 250};
	struct tripod_nf_env env = {
		.chain = &chain, .arena = &arena, .slot = 2, .slots = 4, .boot_half = 1};
	assert_int_equal(tripod_env_slot(&env), 2);
	assert_int_equal(tripod_env_slots(&env), 4);
	assert_int_equal(tripod_env_boot_half(&env), 1);

	memset(memory, 0, sizeof(memory));
	assert_ptr_equal(tripod_env_alloc(&env, 65), memory);
	assert_null(tripod_env_alloc(&env, SIZE_MAX));
	assert_null(tripod_env_alloc(&env, SIZE_MAX - 62));
	assert_null(tripod_env_alloc(&env, 123));
	assert_null(tripod_env_alloc(&env, 122)); // would fit, but not up to the next 64
	assert_ptr_equal(tripod_env_alloc(&env, 64), memory + 128);
	assert_null(tripod_env_alloc(&env, 1));

	struct tripod_prefix p = {.len = 128};
	for (unsigned i = 0; i < CHAIN_OWN_MAX; i++) {
		p.addr.b[0] = (uint8_t)i;
		assert_int_equal(tripod_env_own_prefix(&env, TRIPOD_OUTGOING, &p), 0);
		assert_int_equal(tripod_env_own_prefix(&env, TRIPOD_OUTGOING, &p), 0); // known
		assert_int_equal(chain.n_own, i + 1);
	}
	assert_int_equal(tripod_env_own_prefix(&env, TRIPOD_INCOMING, &p), -ENOSPC);
	p.len = 129;
	assert_int_equal(tripod_env_own_prefix(&env, TRIPOD_OUTGOING, &p), -EINVAL);
}

static void tripod_env__durability(void **state)
{
	static const struct {
		const char *text;
		enum tripod_durability level;
		unsigned strongest;
	} says[] = {{NULL, TRIPOD_UNSAID, 0}, {"none", TRIPOD_NONE, 0}, {"sync", TRIPOD_SYNC, 2},
		{"async", TRIPOD_ASYNC, 2}};
	struct chain chain = {0};
	struct tripod_nf_env env = {.chain = &chain};

	for (unsigned i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		struct tripod_conf conf = {.text = says[i].text};
		assert_int_equal(tripod_env_durability(&env, &conf), says[i].level);
		assert_int_equal(chain.durability, says[i].strongest);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chain_load__right),
		cmocka_unit_test(chain_load__all_mistakes),
		cmocka_unit_test(tripod_env__calls),
		cmocka_unit_test(tripod_env__durability),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
