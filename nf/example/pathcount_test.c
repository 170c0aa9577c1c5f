// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nf/testkit/testkit.h"

#define SYN "in tcp 198.51.100.7:4242 > 203.0.113.80:80 syn"
#define DATA "in tcp 198.51.100.7:4242 > 203.0.113.80:80 len=100"
#define ANSWER "out tcp 203.0.113.80:80 > 198.51.100.7:4242 len=100"
#define FORWARDED "tcp 198.51.100.7:4242 > 203.0.113.80:80"
#define ANSWERED "tcp 203.0.113.80:80 > 198.51.100.7:4242"

extern const struct tripod_nf *const tripod_nf_module;

struct pathcount_state {
	uint64_t label;
	uint32_t nodes, here;
};

static const struct pathcount_state *state(struct testkit *t)
{
	return testkit_state(t, "pathcount");
}

static void pathcount__takeover(void **unused)
{
	struct testkit *t = testkit_new("- pathcount: {}", NULL);
	assert_string_equal(testkit_send(t, SYN), FORWARDED);
	assert_string_equal(testkit_send(t, ANSWER), ANSWERED);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	uint64_t label = state(t)->label;
	assert_true(label != 0);
	assert_int_equal(state(t)->nodes, 1);
	assert_int_equal(state(t)->here, 4);
	assert_int_equal(testkit_counter(t, "pathcount", "opened"), 1);

	testkit_takeover(t);
	assert_int_equal(state(t)->here, 0);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_true(state(t)->label == label);
	assert_int_equal(state(t)->nodes, 2);
	assert_int_equal(state(t)->here, 2);
	assert_int_equal(testkit_counter(t, "pathcount", "arrived"), 1);
	assert_string_equal(testkit_close(t, TRIPOD_TCP_CLOSED), "");
	assert_int_equal(testkit_counter(t, "pathcount", "moved"), 1);
	testkit_free(t);
}

static void pathcount__answers_alone_do_not_write(void **unused)
{
	struct testkit *t = testkit_new("- pathcount: {}", NULL);
	testkit_send(t, SYN);
	testkit_takeover(t);
	testkit_writable(t, false);
	assert_string_equal(testkit_send(t, ANSWER), ANSWERED);
	assert_int_equal(state(t)->nodes, 1);
	testkit_writable(t, true);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_int_equal(state(t)->nodes, 2);
	testkit_free(t);
}

static void pathcount__max_nodes(void **unused)
{
	struct testkit *t = testkit_new("- pathcount: {max_nodes: 2}", NULL);
	testkit_send(t, SYN);
	testkit_takeover(t);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_true(testkit_connected(t));
	testkit_takeover(t);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_false(testkit_connected(t));
	assert_int_equal(testkit_counter(t, "pathcount", "ended"), 1);
	assert_int_equal(testkit_counter(t, "pathcount", "moved"), 1);
	testkit_free(t);
}

int main(void)
{
	testkit_register(tripod_nf_module);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pathcount__takeover),
		cmocka_unit_test(pathcount__answers_alone_do_not_write),
		cmocka_unit_test(pathcount__max_nodes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
