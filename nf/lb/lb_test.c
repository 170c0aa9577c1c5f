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

static const char CHAIN[] =
	"- lb:\n"
	"    table_size: 1009\n"
	"    services:\n"
	"      - vip: 203.0.113.80\n"
	"        proto: tcp\n"
	"        port: 80\n"
	"        backends:\n"
	"          - {address: 10.1.0.21, port: 8080}\n"
	"          - {address: 10.1.0.22, port: 8080}\n"
	"          - {address: 10.1.0.23, port: 8080, weight: 0}\n"
	"      - {vip: 203.0.113.80, proto: udp, port: 53, backends: {address: 10.1.0.53}}\n"
	"      - {vip: '2001:db8::80', proto: tcp, port: 80, name: web6,\n"
	"         backends: [{address: 'fd00::21', port: 8080}]}\n"
	"      - {vip: 203.0.113.81, proto: tcp, port: 80, backends: [{address: 10.1.0.31}]}\n";

struct lb_state {
	struct tripod_addr backend;
	uint16_t port, service;
};

static const char *send_from(struct testkit *t, unsigned client, unsigned port, const char *words)
{
	char packet[128];
	snprintf(packet, sizeof(packet), "in tcp 198.51.%u.%u:%u > 203.0.113.80:80 %s",
		client >> 8 & 255, client & 255, port, words);
	return testkit_send(t, packet);
}

// The last byte of the backend that a connection of this client gets.
static unsigned backend_of(struct testkit *t, unsigned client, unsigned port)
{
	const char *result = send_from(t, client, port, "syn");
	const char *at = strstr(result, "> 10.1.0.");
	if (at == NULL)
		fail_msg("%s", result);
	unsigned backend = (unsigned)strtoul(at + 9, NULL, 10);
	testkit_close(t, TRIPOD_TIMEOUT);
	return backend;
}

static void lb__both_directions(void **unused)
{
	static const struct {
		const char *packet, *forwarded, *answer, *answered;
	} CASES[] = {
		{"in udp 198.51.100.7:1024 > 203.0.113.80:53",
			"udp 198.51.100.7:1024 > 10.1.0.53:53",
			"out udp 10.1.0.53:53 > 198.51.100.7:1024",
			"udp 203.0.113.80:53 > 198.51.100.7:1024"},
		{"in tcp [2001:db8::7]:1024 > [2001:db8::80]:80 syn",
			"tcp [2001:db8::7]:1024 > [fd00::21]:8080",
			"out tcp [fd00::21]:8080 > [2001:db8::7]:1024 syn ack len=3",
			"tcp [2001:db8::80]:80 > [2001:db8::7]:1024"},
		{"in tcp 198.51.100.7:1024 > 203.0.113.81:80 syn",
			"tcp 198.51.100.7:1024 > 10.1.0.31:80",
			"out tcp 10.1.0.31:80 > 198.51.100.7:1024 syn ack",
			"tcp 203.0.113.81:80 > 198.51.100.7:1024"},
		// To no service: another port, another protocol, another address, from inside.
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:81 syn",
			"tcp 198.51.100.7:1024 > 203.0.113.80:81",
			"out tcp 203.0.113.80:81 > 198.51.100.7:1024",
			"tcp 203.0.113.80:81 > 198.51.100.7:1024"},
		{"in udp 198.51.100.7:1024 > 203.0.113.80:80",
			"udp 198.51.100.7:1024 > 203.0.113.80:80",
			"out udp 203.0.113.80:80 > 198.51.100.7:1024",
			"udp 203.0.113.80:80 > 198.51.100.7:1024"},
		{"in icmp 198.51.100.7:80 > 203.0.113.80", "icmp 198.51.100.7:80 > 203.0.113.80:80",
			"out icmp 203.0.113.80:80 > 198.51.100.7 reply",
			"icmp 203.0.113.80:80 > 198.51.100.7:80"},
		{"out tcp 10.1.0.21:1024 > 198.51.100.7:80 syn",
			"tcp 10.1.0.21:1024 > 198.51.100.7:80",
			"in tcp 198.51.100.7:80 > 10.1.0.21:1024 syn ack",
			"tcp 198.51.100.7:80 > 10.1.0.21:1024"},
	};
	struct testkit *t = testkit_new(CHAIN, NULL);
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		assert_string_equal(testkit_send(t, CASES[i].packet), CASES[i].forwarded);
		assert_string_equal(testkit_send(t, CASES[i].answer), CASES[i].answered);
		testkit_takeover(t);
		assert_string_equal(testkit_send(t, CASES[i].answer), CASES[i].answered);
		assert_string_equal(testkit_send(t, CASES[i].packet), CASES[i].forwarded);
		assert_string_equal(testkit_close(t, TRIPOD_TCP_CLOSED), "");
	}
	testkit_free(t);
}

static void lb__counters(void **unused)
{
	struct testkit *t = testkit_new(CHAIN, NULL);
	backend_of(t, 1, 1);
	backend_of(t, 2, 1);
	testkit_send(t, "in tcp 198.51.100.7:1024 > 203.0.113.80:81 syn");
	testkit_close(t, TRIPOD_TIMEOUT);
	assert_string_equal(
		testkit_send(t, "out tcp 10.1.0.5:1024 > 203.0.113.80:80 syn"), "refuse lb");
	assert_int_equal(testkit_counter(t, "lb", "connections"), 2);
	assert_int_equal(testkit_counter(t, "lb", "passed"), 1);
	assert_int_equal(testkit_counter(t, "lb", "hairpin"), 1);
	testkit_free(t);
}

static void lb__balance_and_stickiness(void **unused)
{
	struct testkit *t = testkit_new(CHAIN, NULL);
	// The same backends in another order, on another node, with another seed.
	char *yaml = strdup(CHAIN);
	strstr(yaml, "10.1.0.21, port")[8] = '2';
	strstr(strstr(yaml, "10.1.0.22") + 9, "10.1.0.22")[8] = '1';
	struct testkit *u = testkit_new(
		yaml, &(struct testkit_conf){.seed = 99, .slot = 3, .slots = 4, .boot_half = 1});
	unsigned share[256] = {0}, by_port = 0;
	for (unsigned client = 0; client < 4000; client++) {
		unsigned b = backend_of(t, client, 1024);
		share[b]++;
		assert_int_equal(backend_of(t, client, 1024), b);
		assert_int_equal(backend_of(u, client, 1024), b);
		by_port += backend_of(t, client, 1025) != b;
	}
	assert_int_equal(share[23], 0); // draining
	assert_int_equal(share[21] + share[22], 4000);
	assert_true(share[21] > 1850 && share[21] < 2150);
	assert_true(by_port > 1850 && by_port < 2150);
	testkit_free(t);
	testkit_free(u);
	free(yaml);
}

static void lb__weights(void **unused)
{
	struct testkit *t = testkit_new(
		"- lb: {services: [{vip: 203.0.113.80, proto: tcp, port: 80, backends: [\n"
		"    {address: 10.1.0.21, weight: 100}, {address: 10.1.0.22, weight: 25}]}]}\n",
		NULL);
	unsigned share[256] = {0};
	for (unsigned client = 0; client < 10000; client++)
		share[backend_of(t, client, 1024)]++;
	assert_true(share[21] > 7840 && share[21] < 8160); // 8000, four standard deviations
	testkit_free(t);
}

// A connection keeps its backend when the configuration that it began under is long gone elsewhere:
// nothing but the state decides.
static void lb__state_decides(void **unused)
{
	struct testkit *t = testkit_new(CHAIN, NULL);
	char first[128];
	snprintf(first, sizeof(first), "%s", send_from(t, 5, 1024, "syn"));
	const struct lb_state *s = testkit_state(t, "lb");
	assert_int_equal(s->service != 0, 1);
	for (unsigned i = 0; i < 10; i++) {
		testkit_takeover(t);
		assert_string_equal(send_from(t, 5, 1024, "len=10"), first);
	}
	assert_int_equal(testkit_counter(t, "lb", "connections"), 0);
	// A record that another node has spoilt ends in a drop, not in foreign memory.
	((struct lb_state *)(uintptr_t)testkit_state(t, "lb"))->service = 5;
	char answer[128];
	snprintf(answer, sizeof(answer), "out tcp %s > 198.51.0.5:1024", strstr(first, "> ") + 2);
	assert_string_equal(testkit_send(t, answer), "drop lb");
	assert_int_equal(testkit_counter(t, "lb", "bad_state"), 1);
	testkit_free(t);
}

#define SERVICE(vip, port, backends)                                                               \
	"      - {vip: " vip ", proto: tcp, port: " port ", backends: " backends "}\n"
#define LB "- lb:\n    services:\n"

static void lb__errors(void **unused)
{
	static const struct {
		const char *yaml, *text;
	} CASES[] = {
		{LB SERVICE("203.0.113.80", "80", "[]"), "chain.yaml:3: a VIP without backends"},
		{LB "      - {vip: 203.0.113.80, proto: tcp, port: 80}\n", "backends"},
		{LB "      - {vip: 203.0.113.80, proto: tcp, backends: [{address: 10.0.0.1}]}\n",
			"port"},
		{LB "      - {vip: 203.0.113.80, port: 80, backends: [{address: 10.0.0.1}]}\n",
			"proto"},
		{LB SERVICE("203.0.113.80", "80", "[{address: 10.0.0.1}]")
				SERVICE("203.0.113.81", "80", "[{address: 10.0.0.1}]")
					SERVICE("203.0.113.80", "80", "[{address: 10.0.0.2}]"),
			"chain.yaml:5: tcp 203.0.113.80 port 80 is a service already, on line 3"},
		{LB SERVICE("203.0.113.80", "80", "[{address: 10.0.0.1, weight: 0}]"),
			"chain.yaml:3: every backend of this service has weight 0"},
		{LB SERVICE("203.0.113.80", "80", "[{address: 10.0.0.1, weight: 101}]"),
			"chain.yaml:3"},
		{LB SERVICE("203.0.113.80", "80", "[{address: 'fd00::1'}]"),
			"the VIP is an IPv4 address and this backend is not"},
		{LB SERVICE("'2001:db8::80'", "80", "[{address: 10.0.0.1}]"),
			"the VIP is an IPv6 address and this backend is not"},
		{LB SERVICE("203.0.113.80", "80",
			 "\n          [{address: 10.0.0.1},\n           {address: 10.0.0.1, port: "
			 "80}]"),
			"chain.yaml:5: this backend is listed already, on line 4"},
		{"- lb: {table_size: 65536}\n", "65536 is not a prime"},
		{"- lb:\n    table_size: 3\n    services:\n" SERVICE("203.0.113.80", "80",
			 "[{address: 10.0.0.1}, {address: 10.0.0.2}, {address: 10.0.0.3}, "
			 "{address: "
			 "10.0.0.4}]"),
			"chain.yaml:4: 4 backends and a table of 3 slots"},
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		char *report = testkit_errors(CASES[i].yaml, NULL);
		if (strstr(report, CASES[i].text) == NULL)
			fail_msg("\"%s\" does not say \"%s\"", report, CASES[i].text);
		free(report);
	}
	struct testkit_conf small = {.memory = 1000};
	char *report = testkit_errors(CHAIN, &small);
	assert_non_null(strstr(report, "lb needs more memory"));
	free(report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lb__both_directions),
		cmocka_unit_test(lb__counters),
		cmocka_unit_test(lb__balance_and_stickiness),
		cmocka_unit_test(lb__weights),
		cmocka_unit_test(lb__state_decides),
		cmocka_unit_test(lb__errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
