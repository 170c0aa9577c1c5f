// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/help.h"
#include "config/rack.h"

// Not inlined: gcc takes the stream, closed by then, for a user of `text`.
__attribute__((noinline)) static char *help(const struct tripod_option *table)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	assert_non_null(f);
	conf_help(f, table);
	fclose(f);
	return text;
}

static void table_text(void **state)
{
	static const char *const choices[] = {"on", "off", NULL};
	static const struct tripod_option inner[] = {
		{.name = "length_s",
			.type = TRIPOD_OPT_UINT,
			.min = 1,
			.max = 60,
			.standard = "30",
			.help = "seconds"},
		{.name = "more", .type = TRIPOD_OPT_UINT, .min = 2, .help = "no bound"},
		{},
	};
	static const struct tripod_option table[] = {
		{.name = "mode",
			.type = TRIPOD_OPT_ENUM,
			.choices = choices,
			.standard = "off",
			.help = "what it does"},
		{.name = "timer",
			.type = TRIPOD_OPT_MAP,
			.list = true,
			.min = 1,
			.max = 4,
			.required = true,
			.children = inner,
			.help = "timers"},
		{.name = "name", .type = TRIPOD_OPT_STRING, .list = true, .standard = ""},
		{},
	};
	char *text = help(table);
	assert_string_equal(text, "KEY         VALUE                    STANDARD  MEANING\n"
				  "mode        on | off                 off       what it does\n"
				  "timer       list of 1 to 4: mapping  required  timers\n"
				  "  length_s  1 to 60                  30        seconds\n"
				  "  more      2 or more                -         no bound\n"
				  "name        list: text               \"\"\n");
	free(text);
}

// Every option of the rack file is there, with a help of its own.
static void check_rows(const char *text, const struct tripod_option *table, unsigned *rows)
{
	for (const struct tripod_option *o = table; o->name != NULL; o++) {
		assert_non_null(o->help);
		assert_non_null(strstr(text, o->help));
		++*rows;
		if (o->type == TRIPOD_OPT_MAP)
			check_rows(text, o->children, rows);
	}
}

static void rack_text(void **state)
{
	char *text = help(rack_options);
	unsigned rows = 0, lines = 0;
	check_rows(text, rack_options, &rows);
	for (const char *s = text; *s != '\0'; s++)
		lines += *s == '\n';
	assert_int_equal(lines, rows + 1);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_text),
		cmocka_unit_test(rack_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
