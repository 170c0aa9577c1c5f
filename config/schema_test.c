// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "config/schema.h"
#include "config/test_nfs.h"
#include "config/tree.h"

static const char *const colours[] = {"red", "green", "blue", NULL};

static const struct tripod_option inner[] = {
	{.name = "deep_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = 9, .standard = "5"},
	{},
};
static const struct tripod_option element[] = {
	{.name = "name", .type = TRIPOD_OPT_STRING, .required = true},
	{.name = "size", .type = TRIPOD_OPT_UINT, .min = 10, .standard = "10"},
	{},
};
static const struct tripod_option table[] = {
	{.name = "flag", .type = TRIPOD_OPT_BOOL, .standard = "true"},
	{.name = "count", .type = TRIPOD_OPT_UINT, .min = 2, .max = 8},
	{.name = "large", .type = TRIPOD_OPT_UINT, .min = 1},
	{.name = "text", .type = TRIPOD_OPT_STRING},
	{.name = "colour", .type = TRIPOD_OPT_ENUM, .choices = colours, .standard = "red"},
	{.name = "addr", .type = TRIPOD_OPT_ADDR},
	{.name = "prefix", .type = TRIPOD_OPT_PREFIX},
	{.name = "ports", .type = TRIPOD_OPT_PORTS},
	{.name = "mac", .type = TRIPOD_OPT_MAC},
	{.name = "numbers",
		.type = TRIPOD_OPT_UINT,
		.list = true,
		.min = 2,
		.max = 8,
		.standard = "3"},
	{.name = "addrs", .type = TRIPOD_OPT_ADDR, .list = true, .min = 1, .max = 2},
	{.name = "pair", .type = TRIPOD_OPT_STRING, .list = true, .min = 2, .max = 2},
	{.name = "map", .type = TRIPOD_OPT_MAP, .children = inner},
	{.name = "maps", .type = TRIPOD_OPT_MAP, .list = true, .max = 3, .children = element},
	{.name = "any", .type = TRIPOD_OPT_ANY},
	{},
};

static void good(void **state)
{
	assert_report("flag: no\ncount: 8\nlarge: 18446744073709551615\ntext: ''\ncolour: blue\n"
		      "addr: '::1'\nprefix: 10.0.0.0/8\nports: 1-65535\nmac: 00:00:00:00:00:00\n"
		      "numbers: [2, 8]\naddrs: [10.0.0.1]\npair: [a, b]\nmap: {deep_s: 9}\n"
		      "maps: [{name: x}]\nany: [{x: [1]}]\n",
		table, "");
	assert_report("{}\n", table, "");
	assert_report("map:\nmaps:\n", table, "");
}

static void standards(void **state)
{
	struct conf_doc *doc = conf_load_text("t.yaml", "\ncolour: blue\nmaps: {name: x}\nmap:\n");
	const struct tripod_conf *c = conf_root(doc);
	assert_int_equal(conf_check(c, table), 0);
	assert_true(tripod_conf_bool(c, "flag"));
	assert_int_equal(tripod_conf_line(tripod_conf_get(c, "flag")), 2);
	assert_true(tripod_conf_get(c, "flag")->standard);
	assert_true(tripod_conf_get(c, "numbers")->standard);
	assert_false(tripod_conf_get(c, "colour")->standard);
	assert_string_equal(tripod_conf_string(c, "colour"), "blue");
	assert_null(tripod_conf_get(c, "count"));
	assert_int_equal(tripod_conf_uint(tripod_conf_get(c, "map"), "deep_s"), 5);
	// A list of one, whether standard or written without brackets.
	assert_int_equal(tripod_conf_count(tripod_conf_get(c, "numbers")), 1);
	assert_string_equal(
		tripod_conf_text(tripod_conf_at(tripod_conf_get(c, "numbers"), 0)), "3");
	const struct tripod_conf *maps = tripod_conf_get(c, "maps");
	assert_int_equal(tripod_conf_count(maps), 1);
	assert_int_equal(tripod_conf_uint(tripod_conf_at(maps, 0), "size"), 10);
	assert_int_equal(conf_check(c, table), 0); // once more, on the completed tree
	assert_string_equal(conf_report(doc), "");
	conf_free(doc);
}

// An optional mapping is completed when it is absent; one that needs something written is not.
static void absent_mappings(void **state)
{
	static const struct tripod_option whole[] = {
		{.name = "easy", .type = TRIPOD_OPT_MAP, .children = inner},
		{.name = "hard", .type = TRIPOD_OPT_MAP, .children = element},
		{},
	};
	struct conf_doc *doc = conf_load_text("t.yaml", "{}\n");
	assert_int_equal(conf_check(conf_root(doc), whole), 0);
	assert_int_equal(tripod_conf_uint(tripod_conf_get(conf_root(doc), "easy"), "deep_s"), 5);
	assert_null(tripod_conf_get(conf_root(doc), "hard"));
	conf_free(doc);
	assert_report("hard:\n  size: 11\n", whole,
		"t.yaml:1: name is missing in hard; add \"name:\" with a text\n");
}

static void types(void **state)
{
	assert_report("flag: maybe\ncount: two\ntext: [a]\ncolour: rde\naddr: 10.0.0.256\n"
		      "prefix: 10.0.0.0/33\nports: 0\nmac: 02:00:00:00:00\n",
		table,
		"t.yaml:1: flag is \"maybe\"; write true or false\n"
		"t.yaml:2: count is \"two\"; write a number from 2 to 8\n"
		"t.yaml:3: text is a list; write a text\n"
		"t.yaml:4: colour is \"rde\"; write red, green or blue\n"
		"t.yaml:5: addr is \"10.0.0.256\"; write an IPv4 or IPv6 address\n"
		"t.yaml:6: prefix is \"10.0.0.0/33\"; write an address, or a prefix such as "
		"10.0.0.0/8\n"
		"t.yaml:7: ports is \"0\"; write a port from 1 to 65535, or a range such as "
		"1024-65535\n"
		"t.yaml:8: mac is \"02:00:00:00:00\"; write a MAC address such as "
		"02:00:00:00:00:01\n");
	assert_report("count: {a: 1}\nmap: 7\nmaps: [x]\ntext:\n", table,
		"t.yaml:1: count is a mapping; write a number from 2 to 8\n"
		"t.yaml:2: map is \"7\"; write a mapping with the keys deep_s\n"
		"t.yaml:3: maps is \"x\"; write a mapping with the keys name, size\n"
		"t.yaml:4: text has no value; write a text\n");
	assert_report("map: [1]\n", table,
		"t.yaml:1: map is a list; write a mapping with the keys deep_s\n");
	assert_report("[1, 2]\n", inner,
		"t.yaml:1: the file is a list; write a mapping with the keys deep_s\n");
	assert_report("just text\n", inner,
		"t.yaml:1: the file is \"just text\"; write a mapping with the keys deep_s\n");
	for (const char *const *p = (const char *const[]){"65536", "0-1", "2-1", "1-", "-1",
		     "1-2-3", " 1-2", "01", "http", NULL};
		*p != NULL; p++) {
		char text[64];
		snprintf(text, sizeof(text), "ports: '%s'\n", *p);
		struct conf_doc *doc = conf_load_text("t.yaml", text);
		assert_int_equal(conf_check(conf_root(doc), table), -22);
		conf_free(doc);
	}
}

static void ranges(void **state)
{
	assert_report(
		"count: 1\n", table, "t.yaml:1: count is \"1\"; write a number from 2 to 8\n");
	assert_report(
		"count: 9\n", table, "t.yaml:1: count is \"9\"; write a number from 2 to 8\n");
	assert_report(
		"count: -3\n", table, "t.yaml:1: count is \"-3\"; write a number from 2 to 8\n");
	assert_report(
		"count: 03\n", table, "t.yaml:1: count is \"03\"; write a number from 2 to 8\n");
	assert_report(
		"count: 0x3\n", table, "t.yaml:1: count is \"0x3\"; write a number from 2 to 8\n");
	assert_report("large: 18446744073709551616\n", table,
		"t.yaml:1: large is \"18446744073709551616\"; write a number of at least 1\n");
	assert_report(
		"large: 0\n", table, "t.yaml:1: large is \"0\"; write a number of at least 1\n");
	assert_report("map: {deep_s: 0}\n", table,
		"t.yaml:1: deep_s is \"0\"; write a number from 1 to 9\n");
	assert_report("prefix: 10.1.2.3/8\n", table,
		"t.yaml:1: prefix is \"10.1.2.3/8\", which has bits behind its length; write "
		"10.0.0.0/8, or the address alone\n");
	assert_report("prefix: '2001:db8::1/32'\n", table,
		"t.yaml:1: prefix is \"2001:db8::1/32\", which has bits behind its length; write "
		"2001:db8::/32, or the address alone\n");
}

static void lists(void **state)
{
	assert_report("numbers:\n- 2\n- 9\n- x\n", table,
		"t.yaml:3: numbers is \"9\"; write a number from 2 to 8\n"
		"t.yaml:4: numbers is \"x\"; write a number from 2 to 8\n");
	assert_report(
		"numbers: 1\n", table, "t.yaml:1: numbers is \"1\"; write a number from 2 to 8\n");
	assert_report("addrs: []\n", table, "t.yaml:1: addrs has 0 elements; write 1 to 2\n");
	assert_report("addrs:\n- 10.0.0.1\n- 10.0.0.2\n- x\n", table,
		"t.yaml:1: addrs has 3 elements; write 1 to 2\n"
		"t.yaml:4: addrs is \"x\"; write an IPv4 or IPv6 address\n");
	assert_report("pair: one\n", table, "t.yaml:1: pair has 1 elements; write 2\n");
	assert_report("addrs:\n", table, "t.yaml:1: addrs has 0 elements; write 1 to 2\n");
	assert_report("addrs: [[10.0.0.1]]\n", table,
		"t.yaml:1: addrs is a list; write an IPv4 or IPv6 address\n");
	assert_report("maps:\n- name: x\n-\n- {name: y, sise: 4}\n", table,
		"t.yaml:3: name is missing in maps; add \"name:\" with a text\n"
		"t.yaml:4: unknown key \"sise\" in maps; did you mean \"size\"?\n");
}

static void unknown_keys(void **state)
{
	static const struct tripod_option none[] = {{}};
	assert_report("color: red\n", table,
		"t.yaml:1: unknown key \"color\"; did you mean \"colour\"?\n");
	assert_report("map:\n  deep: 3\n", table,
		"t.yaml:2: unknown key \"deep\" in map; did you mean \"deep_s\"?\n");
	assert_report(
		"cuont: 3\n", table, "t.yaml:1: unknown key \"cuont\"; did you mean \"count\"?\n");
	// One slip, and one more for every four letters; beyond that it is a guess at random.
	assert_report("cloor: red\n", table,
		"t.yaml:1: unknown key \"cloor\"; did you mean \"colour\"?\n");
	assert_report("map: {dps: 3}\n", table,
		"t.yaml:1: unknown key \"dps\" in map; the keys here are deep_s\n");
	assert_report("map: {zzzzzz: 3}\n", table,
		"t.yaml:1: unknown key \"zzzzzz\" in map; the keys here are deep_s\n");
	assert_report("x: 3\n", none, "t.yaml:1: unknown key \"x\"; it takes none\n");
	assert_report("map:\n"
		      "  "
		      "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc3\xbc"
		      "\xc3\xbc\": 1\n",
		table,
		"t.yaml:2: unknown key "
		"\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\" in map; "
		"the keys "
		"here are deep_s\n");
}

static void missing(void **state)
{
	static const struct tripod_option whole[] = {
		{.name = "name", .type = TRIPOD_OPT_STRING, .required = true},
		{.name = "ends", .type = TRIPOD_OPT_ADDR, .required = true, .list = true},
		{},
	};
	assert_report("# nothing\n\n{}\n", whole,
		"t.yaml:3: name is missing; add \"name:\" with a text\n"
		"t.yaml:3: ends is missing; add \"ends:\" with a list, each an IPv4 or IPv6 "
		"address\n");
}

// Errors of reading and of the schema come in one report, and none is a consequence of another.
static void together(void **state)
{
	assert_report(
		"count: 99\nflag: &a true\ncount: 3\naddr: *a\nmap: &m {deep_s: 100}\ncolou: 1\n",
		table,
		"t.yaml:1: count is \"99\"; write a number from 2 to 8\n"
		"t.yaml:2: anchor &a; anchors are not supported, remove it\n"
		"t.yaml:3: key \"count\" is given twice, first on line 1; remove one of the two\n"
		"t.yaml:4: alias *a; aliases are not supported, write the value out\n"
		"t.yaml:5: anchor &m; anchors are not supported, remove it\n"
		"t.yaml:6: unknown key \"colou\"; did you mean \"colour\"?\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(standards),
		cmocka_unit_test(absent_mappings),
		cmocka_unit_test(types),
		cmocka_unit_test(ranges),
		cmocka_unit_test(lists),
		cmocka_unit_test(unknown_keys),
		cmocka_unit_test(missing),
		cmocka_unit_test(together),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
