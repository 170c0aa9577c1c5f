// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nf/testkit/testkit.h"

#define SYN "in tcp 198.51.100.7:4242 > 203.0.113.80:80 syn"
#define DATA "in tcp 198.51.100.7:4242 > 203.0.113.80:80 len=960"
#define ANSWER "out tcp 203.0.113.80:80 > 198.51.100.7:4242 len=960"
#define FORWARDED "tcp 198.51.100.7:4242 > 203.0.113.80:80"
#define ANSWERED "tcp 203.0.113.80:80 > 198.51.100.7:4242"
#define PACKET 1000 // bytes of DATA and of ANSWER; a SYN has 40

extern const struct tripod_nf *const tripod_nf_module;

struct quota_state {
	uint64_t used, here;
};

static const struct quota_state *state(struct testkit *t)
{
	return testkit_state(t, "quota");
}

static void quota__both_directions(void **unused)
{
	struct testkit *t = testkit_new("- quota: {bytes: 9000, step: 2000}", NULL);
	testkit_send(t, SYN);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_int_equal(state(t)->used, 2 * PACKET + 40);
	assert_int_equal(state(t)->here, 0);

	// The answers at another node: it asks the first to add them up.
	testkit_writable(t, false);
	for (unsigned i = 0; i < 3; i++)
		assert_string_equal(testkit_send(t, ANSWER), ANSWERED);
	assert_int_equal(state(t)->used, 2 * PACKET + 40);
	assert_int_equal(state(t)->here, PACKET); // two are on their way
	assert_string_equal(testkit_send(t, ANSWER), ANSWERED);
	assert_int_equal(testkit_counter(t, "quota", "later"), 1);
	assert_string_equal(testkit_deliver(t), "");
	assert_int_equal(state(t)->used, 4 * PACKET + 40);
	assert_string_equal(testkit_send(t, ANSWER), ANSWERED);
	assert_string_equal(testkit_deliver(t), "");
	assert_int_equal(state(t)->used, 7 * PACKET + 40);
	testkit_send(t, ANSWER);
	testkit_send(t, ANSWER);
	assert_true(testkit_connected(t));
	assert_string_equal(testkit_deliver(t), "");
	assert_false(testkit_connected(t));
	assert_int_equal(testkit_counter(t, "quota", "ended"), 1);
	testkit_free(t);
}

static void quota__takeover(void **unused)
{
	struct testkit *t = testkit_new("- quota: {bytes: 4000, step: 2000}", NULL);
	testkit_send(t, SYN);
	testkit_send(t, DATA);
	testkit_send(t, DATA);
	testkit_send(t, DATA);
	testkit_takeover(t); // less than a step is lost with the node
	assert_int_equal(state(t)->used, 2 * PACKET + 40);
	assert_int_equal(state(t)->here, 0);
	testkit_send(t, DATA);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_false(testkit_connected(t));
	testkit_free(t);
}

int main(void)
{
	testkit_register(tripod_nf_module);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quota__both_directions),
		cmocka_unit_test(quota__takeover),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
