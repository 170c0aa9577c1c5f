// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/chain.h"

struct state {
	struct tripod_addr addr;
	uint32_t count;
	uint16_t port;
	uint8_t odd[3];
};

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	return 0;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	return TRIPOD_FORWARD;
}

static const char *const COUNTERS[] = {"one", "two", NULL};

static const struct tripod_nf GOOD = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "good",
	.summary = "for tests",
	.state_size = sizeof(struct state),
	.fields =
		(const struct tripod_field[]){
			TRIPOD_FIELD(struct state, addr, WRITE_ONCE, ADDR),
			TRIPOD_FIELD(struct state, count, DURABLE, UINT),
			TRIPOD_FIELD(struct state, port, SOFT, PORT),
			{0},
		},
	.counters = COUNTERS,
	.load = load,
	.on_init = on_init,
};

static void assert_refused(const struct tripod_nf *nf, const char *reason)
{
	const char *why = NULL;
	assert_int_equal(nf_check(nf, &why), -EINVAL);
	assert_non_null(why);
	if (strstr(why, reason) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", why, reason);
}

static void assert_accepted(const struct tripod_nf *nf)
{
	const char *why = NULL;
	if (nf_check(nf, &why) != 0)
		fail_msg("%s", why);
}

static void nf_check__struct(void **unused)
{
	assert_accepted(&GOOD);
	assert_refused(NULL, "no network function");

	struct tripod_nf nf = GOOD;
	nf.abi = TRIPOD_NF_ABI + 1;
	nf.name = (const char *)1; // of another ABI: nothing behind abi may be looked at
	assert_refused(&nf, "another ABI");

	static const char *const BAD_NAMES[] = {
		"", "Up", "9lives", "a-b", "a b", "_a", "abcdefghijklmnopqrstuvwxyz012345"};
	for (size_t i = 0; i < sizeof(BAD_NAMES) / sizeof(BAD_NAMES[0]); i++) {
		nf = GOOD;
		nf.name = BAD_NAMES[i];
		assert_refused(&nf, "the name");
	}
	nf = GOOD;
	nf.name = "abcdefghijklmnopqrstuvwxyz01234"; // 31
	assert_accepted(&nf);
	nf.name = NULL;
	assert_refused(&nf, "the name");
	nf = GOOD;
	nf.summary = NULL;
	assert_refused(&nf, "summary");
	nf = GOOD;
	nf.load = NULL;
	assert_refused(&nf, "load");
	nf = GOOD;
	nf.on_init = NULL;
	assert_refused(&nf, "on_init");
}

static void nf_check__fields(void **unused)
{
	static const struct {
		struct tripod_field field[3];
		const char *why;
	} CASES[] = {
		{{{"a", 0, 4, TRIPOD_SOFT, TRIPOD_FIELD_UINT},
			 {"b", 3, 2, TRIPOD_SOFT, TRIPOD_FIELD_UINT}},
			"overlap"},
		{{{"b", 3, 2, TRIPOD_SOFT, TRIPOD_FIELD_UINT},
			 {"a", 0, 4, TRIPOD_SOFT, TRIPOD_FIELD_UINT}},
			"overlap"},
		{{{"a", 0, 4, TRIPOD_SOFT, TRIPOD_FIELD_UINT},
			 {"b", 1, 2, TRIPOD_SOFT, TRIPOD_FIELD_UINT}},
			"overlap"},
		{{{"a", 0, 4, TRIPOD_SOFT, TRIPOD_FIELD_UINT},
			 {"a", 4, 4, TRIPOD_SOFT, TRIPOD_FIELD_UINT}},
			"same name"},
		{{{"a", 0, 0, TRIPOD_SOFT, TRIPOD_FIELD_UINT}}, "outside"},
		{{{"a", sizeof(struct state), 1, TRIPOD_SOFT, TRIPOD_FIELD_UINT}}, "outside"},
		{{{"a", sizeof(struct state) - 1, 2, TRIPOD_SOFT, TRIPOD_FIELD_UINT}}, "outside"},
		{{{"a", 65535, 2, TRIPOD_SOFT, TRIPOD_FIELD_UINT}}, "outside"},
		{{{"a", 0, 3, TRIPOD_SOFT, TRIPOD_FIELD_UINT}}, "format"},
		{{{"a", 0, 4, TRIPOD_SOFT, TRIPOD_FIELD_PORT}}, "format"},
		{{{"a", 0, 4, TRIPOD_SOFT, TRIPOD_FIELD_ADDR}}, "format"},
		{{{"a", 0, 4, TRIPOD_SOFT, (enum tripod_field_format)9}}, "format"},
		{{{"a", 0, 4, (enum tripod_field_class)9, TRIPOD_FIELD_UINT}}, "class"},
		{{{"A", 0, 4, TRIPOD_SOFT, TRIPOD_FIELD_UINT}}, "snake_case"},
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct tripod_nf nf = GOOD;
		nf.fields = CASES[i].field;
		assert_refused(&nf, CASES[i].why);
	}
	// One behind the other is no overlap; the last byte is inside.
	struct tripod_nf nf = GOOD;
	nf.fields = (const struct tripod_field[]){
		{"b", 4, 4, TRIPOD_SOFT, TRIPOD_FIELD_UINT},
		{"a", 0, 4, TRIPOD_SOFT, TRIPOD_FIELD_UINT},
		{"c", sizeof(struct state) - 1, 1, TRIPOD_SOFT, TRIPOD_FIELD_UINT},
		{0},
	};
	assert_accepted(&nf);
	nf.fields = NULL;
	assert_accepted(&nf);
	nf.state_size = CHAIN_STATE_MAX + 1;
	assert_refused(&nf, "state_size");
}

static void nf_check__counters(void **unused)
{
	struct tripod_nf nf = GOOD;
	nf.counters = NULL;
	assert_accepted(&nf);
	nf.counters = (const char *const[]){"a", "b", "a", NULL};
	assert_refused(&nf, "same name");
	nf.counters = (const char *const[]){"a", "b c", NULL};
	assert_refused(&nf, "snake_case");
	char names[NF_COUNTERS_MAX + 1][4];
	const char *list[NF_COUNTERS_MAX + 2] = {0};
	for (unsigned i = 0; i <= NF_COUNTERS_MAX; i++) {
		names[i][0] = 'c';
		names[i][1] = (char)('a' + i / 10);
		names[i][2] = (char)('0' + i % 10);
		names[i][3] = '\0';
		list[i] = names[i];
	}
	nf.counters = list;
	assert_refused(&nf, "too many");
	list[NF_COUNTERS_MAX] = NULL;
	assert_accepted(&nf);
}

static void nf_check__options(void **unused)
{
	static const char *const CHOICES[] = {"a", "b", NULL};
	static const char *const NO_CHOICES[] = {NULL};
	static const struct tripod_option TWICE[] = {{.name = "x", .type = TRIPOD_OPT_BOOL},
		{.name = "x", .type = TRIPOD_OPT_BOOL}, {0}};
	static const struct {
		struct tripod_option option;
		const char *why; // NULL: right
	} CASES[] = {
		{{.name = "x", .type = TRIPOD_OPT_BOOL, .standard = "true"}, NULL},
		{{.name = "x", .type = TRIPOD_OPT_BOOL, .standard = "yes"}, "standard"},
		{{.name = "x", .type = TRIPOD_OPT_UINT, .max = 9, .standard = "9"}, NULL},
		{{.name = "x", .type = TRIPOD_OPT_UINT, .max = 9, .standard = "10"}, "standard"},
		{{.name = "x", .type = TRIPOD_OPT_UINT, .min = 2, .max = 9, .standard = "1"},
			"standard"},
		{{.name = "x",
			 .type = TRIPOD_OPT_UINT,
			 .max = UINT64_MAX,
			 .standard = "18446744073709551616"},
			"standard"},
		{{.name = "x", .type = TRIPOD_OPT_UINT, .max = 9, .standard = ""}, "standard"},
		{{.name = "x", .type = TRIPOD_OPT_UINT}, "maximum"},
		{{.name = "x", .type = TRIPOD_OPT_UINT, .min = 3, .max = 2}, "minimum"},
		{{.name = "x", .type = TRIPOD_OPT_ENUM, .choices = CHOICES, .standard = "b"}, NULL},
		{{.name = "x", .type = TRIPOD_OPT_ENUM, .choices = CHOICES, .standard = "c"},
			"standard"},
		{{.name = "x", .type = TRIPOD_OPT_ENUM}, "choices"},
		{{.name = "x", .type = TRIPOD_OPT_ENUM, .choices = NO_CHOICES}, "choices"},
		{{.name = "x", .type = TRIPOD_OPT_BOOL, .standard = "true", .required = true},
			"required"},
		{{.name = "x-y", .type = TRIPOD_OPT_BOOL}, "snake_case"},
		{{.name = "x", .type = (enum tripod_option_type)99}, "type"},
		{{.name = "x", .type = TRIPOD_OPT_MAP}, "children"},
		{{.name = "x", .type = TRIPOD_OPT_MAP, .children = TWICE}, "same name"},
		{{.name = "x", .type = TRIPOD_OPT_ANY, .standard = "1"}, "standard"},
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct tripod_option options[2] = {CASES[i].option, {0}};
		struct tripod_nf nf = GOOD;
		nf.options = options;
		if (CASES[i].why != NULL)
			assert_refused(&nf, CASES[i].why);
		else
			assert_accepted(&nf);
	}
	// A table that is its own child never ends.
	struct tripod_option loop[2] = {{.name = "x", .type = TRIPOD_OPT_MAP}, {0}};
	loop[0].children = loop;
	struct tripod_nf nf = GOOD;
	nf.options = loop;
	assert_refused(&nf, "deep");
}

// The last test: it fills the registry.
static void tripod_nf_register__sorted(void **unused)
{
	static struct tripod_nf nfs[NF_REGISTRY_MAX];
	static char names[NF_REGISTRY_MAX][8];
	const struct tripod_nf *list[NF_REGISTRY_MAX];
	assert_null(nf_find("n00"));
	for (unsigned k = 0; k < NF_REGISTRY_MAX; k++) {
		unsigned i = k * 37 % NF_REGISTRY_MAX; // all of them, in disorder
		memcpy(names[i], "n00", 4);
		names[i][1] = (char)('0' + i / 10);
		names[i][2] = (char)('0' + i % 10);
		nfs[i] = GOOD;
		nfs[i].name = names[i];
		tripod_nf_register(&nfs[i]);
		tripod_nf_register(&nfs[i]);
		assert_ptr_equal(nf_find(names[i]), &nfs[i]);
		assert_int_equal(nf_list(list, NF_REGISTRY_MAX), k + 1);
	}
	assert_int_equal(nf_list(list, NF_REGISTRY_MAX), NF_REGISTRY_MAX);
	for (unsigned i = 0; i < NF_REGISTRY_MAX; i++)
		assert_ptr_equal(list[i], &nfs[i]);
	assert_int_equal(nf_list(list, 3), 3);
	assert_null(nf_find("n99"));

	assert_refused(&GOOD, "too many");
	assert_accepted(&nfs[5]); // is registered already
	struct tripod_nf copy = nfs[5];
	assert_refused(&copy, "taken");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nf_check__struct),
		cmocka_unit_test(nf_check__fields),
		cmocka_unit_test(nf_check__counters),
		cmocka_unit_test(nf_check__options),
		cmocka_unit_test(tripod_nf_register__sorted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
