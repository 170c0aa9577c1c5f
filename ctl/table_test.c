// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/table.h"
#include "ctl/views.h"

typedef void format_fn(double v, char *out, size_t size);

struct format_case {
	double v;
	const char *expected;
};

static void assert_formats(format_fn *format, const struct format_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char out[64];

		format(cases[i].v, out, sizeof(out));
		assert_string_equal(out, cases[i].expected);
	}
}

static void count__is_readable(void **state)
{
	static const struct format_case cases[] = {
		{0, "0"},
		{9999, "9999"},
		{10000, "10.0 k"},
		{12345, "12.3 k"},
		{123456, "123 k"},
		{999499, "999 k"},
		{999500, "1.00 M"},
		{1200000, "1.20 M"},
		{99.96e6, "100 M"},
		{34e9, "34.0 G"},
		{1.8446744073709552e19, "18.4 E"},
	};

	assert_formats(table_count, cases, sizeof(cases) / sizeof(cases[0]));
}

static void bytes__are_readable(void **state)
{
	static const struct format_case cases[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.00 KiB"},
		{1536, "1.50 KiB"},
		{34.0 * 1024 * 1024 * 1024, "34.0 GiB"},
		{192, "192 B"},
	};

	assert_formats(table_bytes, cases, sizeof(cases) / sizeof(cases[0]));
}

static void durations__are_readable(void **state)
{
	static const struct format_case cases[] = {
		{0, "0 us"},
		{999, "999 us"},
		{1500, "1.5 ms"},
		{20000, "20 ms"},
		{4.2e6, "4.2 s"},
		{61e6, "1 min 1 s"},
		{7440e6, "2 h 4 min"},
		{3.0 * 86400e6 + 4.0 * 3600e6, "3 d 4 h"},
	};

	assert_formats(table_duration_us, cases, sizeof(cases) / sizeof(cases[0]));
}

static const struct table_column columns[] = {
	{"name", "NAME", TABLE_TEXT, NULL, 0},
	{"src", "FROM", TABLE_ENDPOINT, "sport", 0},
	{"reply.dst", "REPLY", TABLE_ENDPOINT, "reply.dport", 0},
	{"n", "COUNT", TABLE_COUNT, NULL, 0},
	{"set", "SET", TABLE_LIST, NULL, 0},
	{"hidden", NULL, TABLE_TEXT, NULL, 0},
	{"ok", "OK", TABLE_BOOL, NULL, 0},
	{0},
};

static json_t *rows(const char *text)
{
	json_error_t error;
	json_t *r = json_loads(text, 0, &error);

	if (r == NULL)
		fail_msg("%s", error.text);
	return r;
}

static const char two_rows[] =
	"[{\"name\":\"a\",\"src\":\"10.0.0.1\",\"sport\":80,\"reply\":{\"dst\":\"::1\",\"dport\":5}"
	","
	"\"n\":1234567,\"set\":[1,2,33],\"hidden\":7,\"ok\":true,\"undescribed\":1},"
	"{\"name\":\"longer\",\"src\":\"192.168.100.100\",\"sport\":65535,"
	"\"reply\":{\"dst\":\"2001:db8::1\",\"dport\":443},\"n\":5,\"set\":[],\"ok\":false}]";

// What print writes, as a string of the caller's.
static char *captured(struct table *t, const char *text)
{
	char *out;
	size_t size;
	FILE *f = open_memstream(&out, &size);
	json_t *r = rows(text);

	table_rows(f, t, r);
	json_decref(r);
	fclose(f);
	return out;
}

// A fraction: what is counted in percent.
static void rows__fraction(void **state)
{
	struct table t = {.columns = columns};
	char *out = captured(&t, "[{\"name\":99.985,\"n\":1},{\"name\":100.0}]");

	assert_non_null(strstr(out, "\n99.98 "));
	assert_non_null(strstr(out, "\n100.00"));
	free(out);
}

static void rows__line_up(void **state)
{
	struct table t = {.columns = columns};
	char *out = captured(&t, two_rows);

	assert_string_equal(out,
		"NAME    FROM                   REPLY               COUNT  SET     OK\n"
		"a       10.0.0.1:80            [::1]:5            1.23 M  1,2,33  yes\n"
		"longer  192.168.100.100:65535  [2001:db8::1]:443       5  -       no\n");
	free(out);
}

static void rows__go_on_without_titles(void **state)
{
	struct table t = {.columns = columns};
	char *first = captured(&t, two_rows), *second;

	second = captured(&t, "[{\"name\":\"x\",\"src\":\"1.2.3.4\",\"sport\":1,"
			      "\"reply\":{\"dst\":\"1.1.1.1\",\"dport\":2},\"n\":3,\"set\":[4],"
			      "\"ok\":true}]");
	assert_string_equal(
		second, "x       1.2.3.4:1              1.1.1.1:2               3  4       yes\n");
	free(first);
	free(second);
}

static void rows__empty_table_has_titles(void **state)
{
	struct table t = {.columns = columns};
	char *out = captured(&t, "[]");

	assert_string_equal(out, "NAME  FROM  REPLY  COUNT  SET  OK\n");
	free(out);
}

static void rows__missing_members_are_dashes(void **state)
{
	struct table t = {.columns = columns};
	char *out = captured(&t, "[{}, {\"n\": null, \"name\": \"\\u001b[31m\\n\"}]");

	assert_non_null(strstr(out, "-"));
	assert_null(strchr(out, 0x1b)); // nothing that a terminal would obey
	free(out);
}

static void select__has_what_the_columns_describe(void **state)
{
	json_t *all = rows(two_rows), *one = table_select(json_array_get(all, 0), columns);

	assert_int_equal(json_object_size(one), 8);
	assert_int_equal(json_integer_value(json_object_get(one, "n")), 1234567);
	assert_int_equal(json_integer_value(json_object_get(one, "sport")), 80);
	assert_int_equal(json_integer_value(json_object_get(one, "hidden")), 7);
	assert_true(json_is_object(json_object_get(one, "reply")));
	assert_null(json_object_get(one, "undescribed"));
	json_decref(one);
	json_decref(all);
}

static void views__one_description_for_table_and_json(void **state)
{
	json_t *answer = rows("{\"chain_id\":\"00ff\",\"state_bytes\":48,\"replicated_bytes\":40,"
			      "\"nfs\":[{\"position\":0,\"nf\":\"firewall\",\"config_id\":\"12\","
			      "\"layout_version\":1,\"state_bytes\":8,\"summary\":\"s\"}],"
			      "\"versions\":[{\"chain_id\":\"00ff\",\"state\":\"current\","
			      "\"connections\":12,\"nodes\":[1,3],\"nfs\":[\"firewall\"]}]}");
	json_t *shown = view_json(&view_chain, answer);
	char *out;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	assert_true(json_equal(shown, answer));
	view_table(f, &view_chain, answer);
	fclose(f);
	assert_string_equal(out, "Chain id              00ff\n"
				 "State per connection  48 B\n"
				 "  of it replicated    40 B\n"
				 "\n"
				 "#  NF          CONFIGURATION  LAYOUT  STATE  SUMMARY\n"
				 "0  firewall    12             1         8 B  s\n"
				 "\n"
				 "VERSION  STATE    CONNECTIONS  NODES  NFS\n"
				 "00ff     current           12  1,3    firewall\n");
	free(out);
	json_decref(shown);
	json_decref(answer);
}

// Every view of every shape of answer: nothing is assumed of what a daemon sends.
static void views__survive_strange_answers(void **state)
{
	static const struct view *const views[] = {&view_status, &view_nodes, &view_connections,
		&view_counters, &view_rates, &view_chain, &view_reload, &view_version, &view_stop};
	static const char *const answers[] = {"{}", "{\"nodes\":5}", "{\"nodes\":[1,null,[],{}]}",
		"{\"connections\":[{\"src\":1,\"reply\":3,\"masters\":{\"a\":1}}]}",
		"{\"counters\":[{\"value\":\"x\",\"per_second\":-3.5}]}",
		"{\"nfs\":{},\"versions\":[3,{\"nodes\":7}]}",
		"{\"id\":[],\"bfd\":{},\"uptime_ms\":-1,\"memory_bytes\":1e300}"};

	for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
		for (size_t j = 0; j < sizeof(answers) / sizeof(answers[0]); j++) {
			json_t *answer = rows(answers[j]), *shown = view_json(views[i], answer);
			char *out;
			size_t size;
			FILE *f = open_memstream(&out, &size);

			view_table(f, views[i], answer);
			fclose(f);
			assert_true(size > 0);
			assert_true(json_is_object(shown));
			free(out);
			json_decref(shown);
			json_decref(answer);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(count__is_readable),
		cmocka_unit_test(bytes__are_readable),
		cmocka_unit_test(durations__are_readable),
		cmocka_unit_test(rows__line_up),
		cmocka_unit_test(rows__fraction),
		cmocka_unit_test(rows__go_on_without_titles),
		cmocka_unit_test(rows__empty_table_has_titles),
		cmocka_unit_test(rows__missing_members_are_dashes),
		cmocka_unit_test(select__has_what_the_columns_describe),
		cmocka_unit_test(views__one_description_for_table_and_json),
		cmocka_unit_test(views__survive_strange_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
