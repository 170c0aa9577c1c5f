// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/canonical.h"
#include "config/schema.h"
#include "config/test_nfs.h"

static void assert_canonical(
	const char *text, const struct tripod_option *table, const char *wanted)
{
	struct conf_doc *doc = conf_load_text("t.yaml", text);
	if (table != NULL)
		conf_check(conf_root(doc), table);
	assert_string_equal(conf_report(doc), "");
	char *got = conf_canonical(conf_root(doc));
	assert_string_equal(got, wanted);
	free(got);
	conf_free(doc);
}

static void text(void **state)
{
	assert_canonical("b: [2, x, {}, []]\na: \"q\\\"\\\\\\n\"\nc:\n", NULL,
		"{\"a\":\"q\\\"\\\\\\u000a\",\"b\":[\"2\",\"x\",{},[]],\"c\":null}");
	char *nothing = conf_canonical(NULL);
	assert_string_equal(nothing, "");
	free(nothing);
}

static const char firewall[] =
	"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\","
	"\"dport\":[\"80-80\",\"1024-2048\"],\"from\":\"any\",\"proto\":\"any\",\"src\":[\"2001:"
	"db8::/32\","
	"\"10.0.0.1/32\"]},{\"action\":\"deny\",\"from\":\"any\",\"proto\":\"udp\"}]}";

static void invariant(void **state)
{
	assert_canonical(
		"rules:\n"
		"  - {action: allow, src: ['2001:db8::/32', 10.0.0.1], dport: [80, 1024-2048]}\n"
		"  - {action: deny, proto: udp}\n",
		test_firewall_options, firewall);
	// Reordered, commented, spaced, spelled otherwise, standards written out.
	assert_canonical("# policy\n"
			 "rules: [{dport: ['80-80', \"1024-2048\"], # ports\n"
			 "   src: ['2001:0DB8:0::/32', 10.0.0.1/32],\n"
			 "   from: any, action: allow}, {proto: udp,\n"
			 "   from: any, action: deny}]\n\n"
			 "default: deny\n",
		test_firewall_options, firewall);
	assert_canonical(
		"rules: []\n", test_firewall_options, "{\"default\":\"deny\",\"rules\":[]}");
}

static void order_of_rules_counts(void **state)
{
	assert_canonical("rules: [{action: deny}, {action: allow}]\n", test_firewall_options,
		"{\"default\":\"deny\",\"rules\":["
		"{\"action\":\"deny\",\"from\":\"any\",\"proto\":\"any\"},"
		"{\"action\":\"allow\",\"from\":\"any\",\"proto\":\"any\"}]}");
}

static void one_spelling(void **state)
{
	static const struct tripod_option table[] = {
		{.name = "addr", .type = TRIPOD_OPT_ADDR},
		{.name = "flag", .type = TRIPOD_OPT_BOOL},
		{.name = "mac", .type = TRIPOD_OPT_MAC},
		{.name = "n", .type = TRIPOD_OPT_UINT},
		{.name = "words", .type = TRIPOD_OPT_STRING, .list = true},
		{},
	};
	assert_canonical(
		"mac: 02:00:5E:00:01:0A\nflag: on\nn: 7\naddr: '2001:DB8:0:0::1'\nwords: on\n",
		table,
		"{\"addr\":\"2001:db8::1\",\"flag\":true,\"mac\":\"02:00:5e:00:01:0a\",\"n\":7,"
		"\"words\":[\"on\"]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text),
		cmocka_unit_test(invariant),
		cmocka_unit_test(order_of_rules_counts),
		cmocka_unit_test(one_spelling),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
