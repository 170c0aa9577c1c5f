// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"
#include "nf/testkit/testkit.h"

static uint64_t counter(struct testkit *t, const char *name)
{
	return testkit_counter(t, "firewall", name);
}

static uint32_t rule(struct testkit *t)
{
	return *(const uint32_t *)testkit_state(t, "firewall");
}

// Opens a connection and says which rule allowed it: -1: none, it was refused.
static int open_rule(struct testkit *t, const char *packet)
{
	const char *result = testkit_send(t, packet);
	int got = -1;
	if (testkit_connected(t)) {
		got = (int)rule(t);
		testkit_close(t, TRIPOD_TIMEOUT);
	} else {
		assert_string_equal(result, "refuse firewall");
	}
	return got;
}

static const char RULES[] = "- firewall:\n"
			    "    default: deny\n"
			    "    rules:\n"
			    "      - {action: deny, src: 198.51.100.66}\n" // 1
			    "      - {action: allow, from: outside, proto: tcp, dst: "
			    "203.0.113.0/24, dport: [80, 443]}\n" // 2
			    "      - {action: allow, from: outside, proto: [tcp, udp], dport: "
			    "8000-8003, comment: x}\n" // 3
			    "      - {action: allow, from: outside, proto: [icmp, icmp6]}\n" // 4
			    "      - {action: allow, from: outside, proto: udp, sport: 53}\n" // 5
			    "      - {action: allow, from: outside, proto: tcp, src: ['::/0'], "
			    "dport: 22}\n" // 6
			    "      - {action: allow, from: outside, proto: tcp, src: 0.0.0.0/0, "
			    "dport: 23}\n" // 7
			    "      - {action: deny, from: inside, proto: tcp, dport: 25}\n" // 8
			    "      - {action: allow, from: inside, src: [10.0.0.0/9, "
			    "'fd00:1::/61', 192.0.2.1]}\n"; // 9

static void firewall__rules(void **unused)
{
	static const struct {
		const char *packet;
		int rule;
	} CASES[] = {
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:80 syn", 2},
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:443 syn", 2},
		{"in tcp 198.51.100.66:1024 > 203.0.113.80:80 syn",
			-1}, // the first rule that matches
		{"in tcp 198.51.100.67:1024 > 203.0.113.80:80 syn", 2},
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:81 syn", -1},
		{"in tcp 198.51.100.7:80 > 203.0.113.80:1024 syn", -1},
		{"in tcp 198.51.100.7:1024 > 203.0.114.80:80 syn", -1},
		{"in udp 198.51.100.7:1024 > 203.0.113.80:80", -1},
		{"out tcp 198.51.100.7:1024 > 203.0.113.80:80 syn", -1},
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:7999 syn", -1},
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:8000 syn", 3},
		{"in udp 198.51.100.7:1024 > 203.0.113.80:8003", 3},
		{"in udp [2001:db8::7]:1024 > [fd00:1::5]:8001", 3},
		{"in udp 198.51.100.7:1024 > 203.0.113.80:8004", -1},
		{"in icmp 198.51.100.7:9 > 203.0.113.80", 4},
		{"in icmp [2001:db8::7]:9 > [fd00:1::5]", 4},
		{"in udp 198.51.100.7:53 > 203.0.113.80:1024", 5},
		{"in tcp [2001:db8::7]:1024 > [fd00:1::5]:22 syn", 6},
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:22 syn", -1}, // ::/0 is IPv6 alone
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:23 syn", 7},
		{"in tcp [2001:db8::7]:1024 > [fd00:1::5]:23 syn", -1}, // 0.0.0.0/0 is IPv4 alone
		{"out tcp 10.1.0.5:1024 > 198.51.100.7:25 syn", -1},
		{"out tcp 10.1.0.5:1024 > 198.51.100.7:26 syn", 9},
		{"out tcp 10.127.255.255:1024 > 198.51.100.7:26 syn", 9},
		{"out tcp 10.128.0.0:1024 > 198.51.100.7:26 syn", -1},
		{"out tcp 192.0.2.1:1024 > 198.51.100.7:26 syn", 9},
		{"out tcp 192.0.2.2:1024 > 198.51.100.7:26 syn", -1},
		{"out udp [fd00:1:0:7::1]:1024 > [2001:db8::1]:53", 9},
		{"out udp [fd00:1:0:8::1]:1024 > [2001:db8::1]:53", -1},
	};
	struct testkit *t = testkit_new(RULES, NULL);
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		int got = open_rule(t, CASES[i].packet);
		if (got != CASES[i].rule)
			fail_msg("\"%s\": rule %d, expected %d", CASES[i].packet, got,
				CASES[i].rule);
	}
	assert_int_equal(counter(t, "denied"), 2);
	assert_int_equal(counter(t, "default_denied"), 12);
	assert_int_equal(counter(t, "allowed"), 15);
	assert_int_equal(counter(t, "rejected"), 0);
	testkit_free(t);
}

static void firewall__connection_goes_on(void **unused)
{
	struct testkit *t = testkit_new(RULES, NULL);
	assert_string_equal(testkit_send(t, "in tcp 198.51.100.7:1024 > 203.0.113.80:80 syn"),
		"tcp 198.51.100.7:1024 > 203.0.113.80:80");
	// No rule allows this one by itself.
	assert_string_equal(testkit_send(t, "out tcp 203.0.113.80:80 > 198.51.100.7:1024 syn ack"),
		"tcp 203.0.113.80:80 > 198.51.100.7:1024");
	testkit_takeover(t);
	assert_int_equal(rule(t), 2);
	assert_string_equal(testkit_send(t, "out tcp 203.0.113.80:80 > 198.51.100.7:1024 len=5"),
		"tcp 203.0.113.80:80 > 198.51.100.7:1024");
	assert_int_equal(counter(t, "allowed"), 0); // decided once, elsewhere
	testkit_free(t);
}

static void firewall__defaults(void **unused)
{
	struct testkit *t = testkit_new("- firewall: {}", NULL);
	assert_int_equal(open_rule(t, "in tcp 198.51.100.7:1 > 203.0.113.80:80 syn"), -1);
	assert_int_equal(counter(t, "default_denied"), 1);
	testkit_free(t);
	t = testkit_new("- firewall: {default: allow}", NULL);
	assert_int_equal(open_rule(t, "in tcp 198.51.100.7:1 > 203.0.113.80:80 syn"), 0);
	assert_int_equal(counter(t, "default_allowed"), 1);
	testkit_free(t);
	t = testkit_new("- firewall: {default: reject}", NULL);
	assert_int_equal(open_rule(t, "in tcp 198.51.100.7:1 > 203.0.113.80:80 syn"), -1);
	assert_non_null(testkit_output(t, 0));
	assert_int_equal(counter(t, "rejected"), 1);
	testkit_free(t);
}

static void firewall__reject(void **unused)
{
	static const struct {
		const char *packet, *answer;
	} CASES[] = {
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:80 syn seq=7",
			"emit tcp 203.0.113.80:80 > 198.51.100.7:1024 rst ack seq=0 ack=8 len=0"},
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:80 syn seq=4294967295 len=10",
			"emit tcp 203.0.113.80:80 > 198.51.100.7:1024 rst ack seq=0 ack=10 len=0"},
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:80 ack fin seq=7 ack=99 len=3",
			"emit tcp 203.0.113.80:80 > 198.51.100.7:1024 rst seq=99 ack=0 len=0"},
		{"out tcp [fd00::5]:1024 > [2001:db8::1]:80 syn seq=7",
			"emit tcp [2001:db8::1]:80 > [fd00::5]:1024 rst ack seq=0 ack=8 len=0"},
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:80 rst",
			NULL}, // never a reset for a reset
		{"in udp 198.51.100.7:1024 > 203.0.113.80:80 len=8", NULL},
		{"in icmp 198.51.100.7:1024 > 203.0.113.80", NULL},
	};
	struct testkit *t = testkit_new("- firewall: {rules: [{action: reject}]}", NULL);
	size_t n = sizeof(CASES) / sizeof(CASES[0]);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(testkit_send(t, CASES[i].packet), "refuse firewall");
		if (CASES[i].answer == NULL)
			assert_null(testkit_output(t, 0));
		else
			assert_string_equal(testkit_output(t, 0), CASES[i].answer);
		assert_null(testkit_output(t, 1));
	}
	assert_int_equal(counter(t, "rejected"), n);
	testkit_starve(t, true);
	assert_string_equal(testkit_send(t, CASES[0].packet), "refuse firewall");
	assert_null(testkit_output(t, 0));
	testkit_free(t);
}

// An NF in front has rewritten the source: the reset goes to the host that sent the packet all the
// same.
static void firewall__reject_behind_nat(void **unused)
{
	struct testkit *t =
		testkit_new("- firewall: {rules: [{action: reject, proto: tcp, dport: 25}]}\n"
			    "- snat: {pools: [{name: p, addresses: 192.0.2.1}], rules: [{src: "
			    "10.0.0.0/8, pool: p}]}\n",
			NULL);
	assert_string_equal(testkit_send(t, "out tcp 10.1.0.5:1024 > 198.51.100.7:25 syn seq=7"),
		"refuse firewall");
	assert_string_equal(testkit_output(t, 0),
		"emit tcp 198.51.100.7:25 > 10.1.0.5:1024 rst ack seq=0 ack=8 len=0");
	testkit_free(t);
}

static void firewall__errors(void **unused)
{
	static const struct {
		const char *yaml, *text;
	} CASES[] = {
		{"- firewall: {default: perhaps}", "chain.yaml:1"},
		{"- firewall:\n    rules:\n      - {proto: tcp}\n", "action"},
		{"- firewall:\n    rules:\n      - {action: allow, dport: 80}\n",
			"chain.yaml:3: a rule with ports needs"},
		{"- firewall:\n    rules:\n      - {action: allow, proto: [tcp, icmp], sport: "
		 "80}\n",
			"a rule with ports needs"},
		{"- firewall:\n    rules:\n      - {action: allow, src: 10.0.0.0/33}\n",
			"chain.yaml:3"},
		{"- firewall:\n    rules:\n      - {action: allow, src: 10.0.0.0/8, dst: "
		 "['::/0']}\n",
			"chain.yaml:3: no packet can match this rule"},
		{"- firewall:\n    rules:\n      - {action: allow, src: 10.0.0.0/8, proto: "
		 "icmp6}\n",
			"no packet can match this rule"},
		{"- firewall:\n    rules:\n      - {action: allow, src: ['::/0'], proto: icmp}\n",
			"no packet can match this rule"},
		{"- firewall:\n    rules:\n      - {action: allow, dport: 90-80, proto: tcp}\n",
			"chain.yaml:3"},
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		char *report = testkit_errors(CASES[i].yaml, NULL);
		if (strstr(report, CASES[i].text) == NULL)
			fail_msg("\"%s\" does not say \"%s\"", report, CASES[i].text);
		free(report);
	}
	// Each mistake has its line.
	char *report = testkit_errors("- firewall:\n    rules:\n"
				      "      - {action: allow, dport: 80}\n"
				      "      - {action: allow, src: 10.0.0.0/8, proto: icmp6}\n",
		NULL);
	assert_non_null(strstr(report, "chain.yaml:3: "));
	assert_non_null(strstr(report, "chain.yaml:4: "));
	free(report);
	struct testkit_conf small = {.memory = 256};
	report = testkit_errors(RULES, &small);
	assert_non_null(strstr(report, "firewall needs more memory"));
	free(report);
}

// Against the plainest possible reading of random rules.
static void firewall__property(void **unused)
{
	uint64_t seed = 42;
	print_message("seed %llu\n", (unsigned long long)seed);
	struct rng rng = {seed};
	for (unsigned round = 0; round < 30; round++) {
		struct {
			bool allow, has_src, has_dport;
			uint8_t proto; // 0 tcp, 1 udp
			uint32_t net, len, first, last;
		} r[20];
		char yaml[4096];
		size_t n = (size_t)snprintf(yaml, sizeof(yaml), "- firewall:\n    rules:\n");
		for (unsigned i = 0; i < 20; i++) {
			r[i].allow = rng_below(&rng, 2);
			r[i].has_src = rng_below(&rng, 4) > 0;
			r[i].has_dport = rng_below(&rng, 4) > 0;
			r[i].proto = (uint8_t)rng_below(&rng, 2);
			r[i].net = rng_below(&rng, 256);
			r[i].len = 24 + rng_below(&rng, 9);
			r[i].first = 1 + rng_below(&rng, 30);
			r[i].last = r[i].first + rng_below(&rng, 8);
			n += (size_t)snprintf(yaml + n, sizeof(yaml) - n,
				"      - {action: %s, proto: %s", r[i].allow ? "allow" : "deny",
				r[i].proto ? "udp" : "tcp");
			if (r[i].has_src)
				n += (size_t)snprintf(yaml + n, sizeof(yaml) - n,
					", src: 10.0.0.%u/%u",
					r[i].net & ~((1u << (32 - r[i].len)) - 1), r[i].len);
			if (r[i].has_dport)
				n += (size_t)snprintf(yaml + n, sizeof(yaml) - n, ", dport: %u-%u",
					r[i].first, r[i].last);
			n += (size_t)snprintf(yaml + n, sizeof(yaml) - n, "}\n");
		}
		struct testkit *t = testkit_new(yaml, NULL);
		for (unsigned k = 0; k < 100; k++) {
			uint32_t host = rng_below(&rng, 256), port = 1 + rng_below(&rng, 40);
			uint8_t proto = (uint8_t)rng_below(&rng, 2);
			int expected = -1;
			for (int i = 0; i < 20; i++) {
				uint32_t shift = 32 - r[i].len;
				if (proto != r[i].proto ||
					(r[i].has_src && host >> shift != r[i].net >> shift) ||
					(r[i].has_dport && (port < r[i].first || port > r[i].last)))
					continue;
				expected = r[i].allow ? i + 1 : -1;
				break;
			}
			char packet[128];
			snprintf(packet, sizeof(packet), "in %s 10.0.0.%u:99 > 203.0.113.1:%u%s",
				proto ? "udp" : "tcp", host, port, proto ? "" : " syn");
			assert_int_equal(open_rule(t, packet), expected);
		}
		testkit_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(firewall__rules),
		cmocka_unit_test(firewall__connection_goes_on),
		cmocka_unit_test(firewall__defaults),
		cmocka_unit_test(firewall__reject),
		cmocka_unit_test(firewall__reject_behind_nat),
		cmocka_unit_test(firewall__errors),
		cmocka_unit_test(firewall__property),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
