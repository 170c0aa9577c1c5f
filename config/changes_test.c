// SPDX-License-Identifier: BSD-3-Clause
// Which keys differ between two files, and that a chain's canonical text is a file that says the same.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/canonical.h"
#include "config/changes.h"
#include "config/schema.h"
#include "config/test_nfs.h"
#include "config/tree.h"

static void add(void *ctx, const char *path)
{
	strcat(strcat(ctx, path), " ");
}

// The paths that differ, each followed by a space.
static const char *changes(const char *x, const char *y)
{
	static char found[1024];
	struct conf_doc *a = conf_load_text("a", x), *b = conf_load_text("b", y);
	assert_int_equal(conf_error_count(a) + conf_error_count(b), 0);
	found[0] = '\0';
	conf_changes(conf_root(a), conf_root(b), add, found);
	conf_free(a);
	conf_free(b);
	return found;
}

static void changes__paths(void **state)
{
	assert_string_equal(changes("{a: 1, b: {c: [1, 2]}}", "{b: {c: [1, 2]}, a: 1}"), "");
	assert_string_equal(changes("{a: 1, b: 2}", "{a: 1, b: 3}"), "b ");
	assert_string_equal(
		changes("{a: {b: {c: 1, d: 2}}}", "{a: {b: {c: 2, d: 3}}}"), "a.b.c a.b.d ");
	assert_string_equal(changes("{a: {l: [1, 2]}}", "{a: {l: [2, 1]}}"), "a.l ");
	assert_string_equal(changes("{a: 1, gone: {x: 1}}", "{new: 2, a: 1}"), "gone new ");
	assert_string_equal(changes("{a: {b: 1}}", "{a: [1]}"), "a ");
	assert_string_equal(changes("[1]", "[2]"), " ");
}

static void changes__long_paths_are_cut(void **state)
{
	char x[1200], y[1200], key[801];
	memset(key, 'k', sizeof(key) - 1);
	key[800] = '\0';
	snprintf(x, sizeof(x), "{%s: {b: 1}}", key);
	snprintf(y, sizeof(y), "{%s: {b: 2}}", key);
	assert_int_equal(strlen(changes(x, y)), 511 + 1);
}

static void changes__of_rack_files(void **state)
{
	static const char *const edits[][2] = {
		{"limits: {connections: 1000, embryonic: 64}", "limits.embryonic "},
		{"limits: {embryonic: 100, connections: 1000, pulls: 1024}", ""}, // the standard
		{"limits: {connections: 2000, embryonic: 99}",
			"limits.connections limits.embryonic "},
		{"plugins: [/x.so]", "plugins "},
		{"timeouts: {udp_s: 7}", "timeouts.udp_s "},
	};
	for (unsigned i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		char y[TEST_RACK_MAX], found[1024] = "";
		struct rack a, b;
		bool limits = strncmp(edits[i][0], "limits", 6) == 0;
		test_rack_with(30,
			limits ? edits[i][0] : "limits: {connections: 1000, embryonic: 100}", y);
		if (!limits)
			strcat(y, edits[i][0]);
		assert_int_equal(rack_load_text("a", test_rack, 1, &a), 0);
		rack_load_text("b", y, 1, &b);
		assert_string_equal(rack_report(&b), "");
		conf_changes(conf_root(a.doc), conf_root(b.doc), add, found);
		assert_string_equal(found, edits[i][1]);
		rack_free(&a);
		rack_free(&b);
	}
}

// What a peer gets of a chain is its canonical text: it must read it as what it was.
static void canonical__is_a_file_of_its_own(void **state)
{
	static const struct tripod_option options[] = {
		{.name = "s", .type = TRIPOD_OPT_STRING, .list = true, .max = 20},
		{.name = "p", .type = TRIPOD_OPT_PREFIX},
		{.name = "a", .type = TRIPOD_OPT_ADDR, .standard = "2001:db8::1"},
		{.name = "r", .type = TRIPOD_OPT_PORTS},
		{.name = "m", .type = TRIPOD_OPT_MAC},
		{.name = "b", .type = TRIPOD_OPT_BOOL},
		{.name = "u", .type = TRIPOD_OPT_UINT, .max = 1000},
		{0},
	};
	static const char escapes[] =
		"{s: [\"\\x85|\\x7f|\\L|\\P|\\_|\\e|\\uFEFF|\\uFFFE|\\uFFFF|\\u2027|\\uFDFF\", "
		"'# no comment', '- x', '&a *b !c', \"line\\nline\", ' x ']}";
	static const char kinds[] = "{s: ['', no, '12', \"a\\\"b\\\\c\", \"tab\\there\", "
				    "\"\\x01\\x7f\", 'ä€😀', '{x: [y]}'], "
				    "p: 10.0.0.0/8, r: 80, m: '02:AA:00:00:00:01', b: yes, u: 7}";
	static const char *const texts[] = {escapes, kinds, "{}"};

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct conf_doc *a = conf_load_text("a", texts[i]);
		conf_check(conf_root(a), options);
		assert_string_equal(conf_report(a), "");
		char *first = conf_canonical(conf_root(a));
		struct conf_doc *b = conf_load_text("b", first);
		conf_check(conf_root(b), options);
		assert_string_equal(conf_report(b), "");
		char *second = conf_canonical(conf_root(b));
		assert_string_equal(first, second);
		free(first);
		free(second);
		conf_free(a);
		conf_free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes__paths),
		cmocka_unit_test(changes__long_paths_are_cut),
		cmocka_unit_test(changes__of_rack_files),
		cmocka_unit_test(canonical__is_a_file_of_its_own),
	};
	return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
