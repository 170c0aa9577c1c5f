// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void says(const char *text, const char *want)
{
	json_t *answer = json_loads(text, 0, NULL);
	char line[200], little[20];

	assert_non_null(answer);
	progress_line(answer, line, sizeof(line));
	assert_string_equal(line, want);
	progress_line(answer, little, sizeof(little));
	assert_memory_equal(little, want, strnlen(want, sizeof(little) - 1));
	assert_int_equal(little[strnlen(want, sizeof(little) - 1)], '\0');
	json_decref(answer);
}

static void progress__copies(void **state)
{
	says("{\"phase\": \"draining\", \"owed\": 31, \"owed_nodes\": [2, 13], \"owed_entries\": "
	     "0, "
	     "\"traffic_nodes\": [1, 2, 13]}",
		"draining: 31 copies under way, to nodes 2, 13");
	says("{\"phase\": \"draining\", \"owed\": 0, \"owed_nodes\": [], \"owed_entries\": 7, "
	     "\"traffic_nodes\": [1]}",
		"draining: 0 copies under way; 7 entries that connections share");
}

static void progress__nobody_is_there(void **state)
{
	says("{\"phase\": \"draining\", \"owed\": 31, \"owed_nodes\": [], \"traffic_nodes\": []}",
		"draining: no other node takes traffic");
	says("{\"phase\": \"joining\", \"traffic_nodes\": [1]}",
		"joining: it drains when it has joined");
	says("{}", "");
}

static void progress__the_switch(void **state)
{
	says("{\"phase\": \"moving\", \"phase_ms\": 9999, \"traffic_nodes\": [1]}",
		"moving: until no packet comes any more");
	says("{\"phase\": \"moving\", \"phase_ms\": 47000, \"traffic_nodes\": [1]}",
		"moving: packets still come, more than 40 s after the port went down: the switch "
		"has "
		"not moved them");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(progress__copies),
		cmocka_unit_test(progress__nobody_is_there),
		cmocka_unit_test(progress__the_switch),
	};
	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
