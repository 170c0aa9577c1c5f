// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/chain.h"
#include "nf/testkit/testkit.h"

#define SYN "in tcp 198.51.100.7:4242 > 203.0.113.80:80 syn"
#define DATA "in tcp 198.51.100.7:4242 > 203.0.113.80:80 len=10"
#define THROUGH "tcp 198.51.100.7:4242 > 203.0.113.80:80"
#define TWO "- limit: {rules: [{connections: 2}]}"

static void limit__refuses(void **unused)
{
	struct testkit *t = testkit_new(TWO, NULL);

	assert_string_equal(testkit_send(t, SYN), THROUGH);
	assert_string_equal(testkit_send(t, DATA), THROUGH);
	testkit_park(t);
	assert_string_equal(testkit_send(t, "in tcp 198.51.100.7:4243 > 203.0.113.80:80 syn"),
		"tcp 198.51.100.7:4243 > 203.0.113.80:80");
	testkit_park(t);
	assert_string_equal(
		testkit_send(t, "in tcp 198.51.100.7:4244 > 203.0.113.80:80 syn"), "refuse limit");
	assert_int_equal(testkit_counter(t, "limit", "refused"), 1);
	assert_false(testkit_connected(t));
	// From inside there is no rule, and another source has its own.
	assert_string_equal(testkit_send(t, "out tcp 198.51.100.7:1 > 203.0.113.80:80 syn"),
		"tcp 198.51.100.7:1 > 203.0.113.80:80");
	testkit_park(t);
	assert_string_equal(testkit_send(t, "in tcp 198.51.100.8:1 > 203.0.113.80:80 syn"),
		"tcp 198.51.100.8:1 > 203.0.113.80:80");
	testkit_free(t);
}

static void limit__counts_those_elsewhere(void **unused)
{
	struct testkit *t = testkit_new(TWO, NULL);

	testkit_others(t, 1);
	assert_string_equal(testkit_send(t, SYN), THROUGH);
	assert_string_equal(testkit_close(t, TRIPOD_TCP_CLOSED), "");
	testkit_others(t, 2);
	assert_string_equal(testkit_send(t, SYN), "refuse limit");
	testkit_others(t, 3); // more than there are: after a failure, for a while
	assert_string_equal(testkit_send(t, SYN), "refuse limit");
	testkit_free(t);
}

static void limit__waits(void **unused)
{
	struct testkit *t = testkit_new(TWO, NULL);

	testkit_slow(t, true);
	assert_string_equal(testkit_send(t, SYN), "hold limit");
	assert_int_equal(testkit_counter(t, "limit", "waited"), 1);
	assert_string_equal(testkit_deliver(t), "");
	assert_string_equal(testkit_output(t, 0), "release " THROUGH " syn seq=0 ack=0 len=0");
	assert_string_equal(testkit_send(t, DATA), THROUGH);
	testkit_takeover(t);
	assert_string_equal(testkit_send(t, DATA), THROUGH);
	testkit_park(t);
	testkit_others(t, 2);
	assert_string_equal(
		testkit_send(t, "in tcp 198.51.100.7:4243 > 203.0.113.80:80 syn"), "hold limit");
	assert_string_equal(testkit_deliver(t), "");
	assert_null(testkit_output(t, 0));
	assert_false(testkit_connected(t));
	assert_int_equal(testkit_counter(t, "limit", "refused"), 1);
	testkit_free(t);
}

static void limit__nobody_answers(void **unused)
{
	for (unsigned refuse = 0; refuse < 2; refuse++) {
		struct testkit *t = testkit_new(
			refuse ? "- limit: {rules: [{connections: 2}], unanswered: refuse}" : TWO,
			NULL);
		testkit_starve(t, true);
		assert_string_equal(testkit_send(t, SYN), refuse ? "refuse limit" : THROUGH);
		assert_int_equal(testkit_counter(t, "limit", "unanswered"), 1);
		if (!refuse)
			testkit_park(t);
		testkit_slow(t, true);
		assert_string_equal(testkit_send(t, "in tcp 198.51.100.7:9 > 203.0.113.80:80 syn"),
			"hold limit");
		assert_string_equal(testkit_deliver(t), "");
		assert_int_equal(testkit_connected(t), !refuse);
		assert_int_equal(testkit_counter(t, "limit", "unanswered"), 2);
		testkit_free(t);
	}
}

static void limit__rules(void **unused)
{
	struct testkit *t =
		testkit_new("- limit:\n"
			    "    rules:\n"
			    "      - {from: inside, src: 10.1.0.0/16, connections: 0}\n"
			    "      - {from: any, src: 10.0.0.0/8, per_v4: 24, connections: 1}\n"
			    "      - {src: \"2001:db8::/32\", connections: 1}\n",
			NULL);

	assert_string_equal(
		testkit_send(t, "out tcp 10.1.2.3:1 > 203.0.113.80:80 syn"), "refuse limit");
	assert_string_equal(testkit_send(t, "in tcp 10.1.2.3:1 > 203.0.113.80:80 syn"),
		"tcp 10.1.2.3:1 > 203.0.113.80:80");
	testkit_park(t);
	assert_string_equal(
		testkit_send(t, "in tcp 10.1.2.77:1 > 203.0.113.80:80 syn"), "refuse limit");
	assert_string_equal(testkit_send(t, "in tcp 10.1.3.77:1 > 203.0.113.80:80 syn"),
		"tcp 10.1.3.77:1 > 203.0.113.80:80");
	testkit_park(t);
	assert_string_equal(testkit_send(t, "in tcp [2001:db8::1]:1 > [2001:db8:1::1]:80 syn"),
		"tcp [2001:db8::1]:1 > [2001:db8:1::1]:80");
	testkit_park(t);
	assert_string_equal(
		testkit_send(t, "in tcp [2001:db8::2]:1 > [2001:db8:1::1]:80 syn"), "refuse limit");
	assert_string_equal(testkit_send(t, "in tcp 192.0.2.1:1 > 203.0.113.80:80 syn"),
		"tcp 192.0.2.1:1 > 203.0.113.80:80"); // of no rule
	testkit_free(t);
}

static void limit__configuration(void **unused)
{
	static const char *const wrong[][2] = {
		{"- limit: {rules: [{src: 10.0.0.0/24, per_v4: 16, connections: 1}]}",
			"per_v4 is less than the length of src"},
		{"- limit: {rules: [{src: \"2001:db8::/80\", connections: 1}]}",
			"per_v6 is less than the length of src"},
		{"- limit: {rules: [{src: 10.0.0.0/24}]}", "connections"},
		{"- limit: {unanswered: perhaps}", "unanswered"},
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char *report = testkit_errors(wrong[i][0], NULL);
		assert_non_null(strstr(report, wrong[i][1]));
		free(report);
	}
}

// What whoever writes an entry gives, from what may come from anybody.
static void limit__update(void **unused)
{
	const struct tripod_kind *kind = nf_find("limit")->kind;
	uint32_t connections = 1000;
	struct tripod_kind_update u = {.data = &connections, .size = 4, .wanted = 1};

	kind->update(&u);
	assert_int_equal(u.units, 1 + 16);
	u.others = 900;
	u.wanted = 18;
	kind->update(&u);
	assert_int_equal(u.units, 18 + 82 / 32);
	u.wanted = 3; // gives back
	kind->update(&u);
	assert_int_equal(u.units, 3);
	u.others = 990;
	u.wanted = 30;
	kind->update(&u);
	assert_int_equal(u.units, 10);
	u.others = 2000;
	kind->update(&u);
	assert_int_equal(u.units, 0);
	u.units = 7;
	u.size = 3;
	kind->update(&u);
	assert_int_equal(u.units, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limit__refuses),
		cmocka_unit_test(limit__counts_those_elsewhere),
		cmocka_unit_test(limit__waits),
		cmocka_unit_test(limit__nobody_answers),
		cmocka_unit_test(limit__rules),
		cmocka_unit_test(limit__configuration),
		cmocka_unit_test(limit__update),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
