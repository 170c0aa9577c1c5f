// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "core/rng.h"
#include "nf/testkit/testkit.h"

static const char CHAIN[] =
	"- snat:\n"
	"    pools:\n"
	"      - {name: main, addresses: [192.0.2.16/30, 192.0.2.99]}\n"
	"      - {name: six, addresses: ['2001:db8:6::/120'], ports: 2000-2999}\n"
	"      - {name: one, addresses: 192.0.2.200, ports: 5000-5063}\n"
	"    rules:\n"
	"      - {src: 10.9.0.0/16, pool: one}\n"
	"      - {src: [10.0.0.0/8, 172.16.0.0/12], pool: main}\n"
	"      - {src: 'fd00:6::/48', pool: six}\n";

struct snat_state {
	struct tripod_addr external;
	uint16_t external_port, zero;
};

static const struct snat_state *state(struct testkit *t)
{
	return testkit_state(t, "snat");
}

static uint64_t counter(struct testkit *t, const char *name)
{
	return testkit_counter(t, "snat", name);
}

// The answer to what testkit_send() returned.
static const char *answer(const char *forwarded, const char *words)
{
	static char packet[160];
	char proto[8], src[64], dst[64];
	assert_int_equal(sscanf(forwarded, "%7s %63s > %63s", proto, src, dst), 3);
	snprintf(packet, sizeof(packet), "in %s %s > %s %s", proto, dst, src, words);
	return packet;
}

static bool in_pool(const struct tripod_addr *a, const char *prefix)
{
	struct tripod_prefix p;
	assert_int_equal(tripod_prefix_parse(&p, prefix), 0);
	return tripod_prefix_contains(&p, a);
}

static void snat__both_directions(void **unused)
{
	static const struct {
		const char *packet, *words, *back, *pool;
	} CASES[] = {
		{"out tcp 10.1.0.5:1024 > 198.51.100.7:80 syn", "syn ack",
			"tcp 198.51.100.7:80 > 10.1.0.5:1024", "192.0.2.0/25"},
		{"out udp 172.31.255.1:53 > 198.51.100.7:53", "len=9",
			"udp 198.51.100.7:53 > 172.31.255.1:53", "192.0.2.0/25"},
		{"out icmp 10.1.0.5:77 > 198.51.100.7", "reply",
			"icmp 198.51.100.7:77 > 10.1.0.5:77", "192.0.2.0/25"},
		{"out tcp 10.9.0.5:1024 > 198.51.100.7:80 syn", "syn ack",
			"tcp 198.51.100.7:80 > 10.9.0.5:1024", "192.0.2.200"},
		{"out udp [fd00:6::5]:1024 > [2001:db8::7]:53", "",
			"udp [2001:db8::7]:53 > [fd00:6::5]:1024", "2001:db8:6::/120"},
	};
	struct testkit *t = testkit_new(CHAIN, &(struct testkit_conf){.slot = 1, .slots = 3});
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		char forwarded[128], back[160];
		snprintf(forwarded, sizeof(forwarded), "%s", testkit_send(t, CASES[i].packet));
		assert_true(in_pool(&state(t)->external, CASES[i].pool));
		assert_true(in_pool(&testkit_packet(t)->tuple.src, CASES[i].pool));
		snprintf(back, sizeof(back), "%s", answer(forwarded, CASES[i].words));
		assert_string_equal(testkit_send(t, back), CASES[i].back);
		for (unsigned k = 0; k < 3; k++) {
			testkit_takeover(t);
			assert_string_equal(testkit_send(t, back), CASES[i].back);
			assert_string_equal(testkit_send(t, CASES[i].packet), forwarded);
		}
		assert_string_equal(testkit_close(t, TRIPOD_TCP_CLOSED), "");
	}
	testkit_free(t);
}

static void snat__untouched_and_refused(void **unused)
{
	struct testkit *t = testkit_new(CHAIN, NULL);
	// Nobody's source; an IPv6 source without a pool.
	assert_string_equal(testkit_send(t, "out tcp 192.168.0.1:1024 > 198.51.100.7:80 syn"),
		"tcp 192.168.0.1:1024 > 198.51.100.7:80");
	assert_string_equal(testkit_send(t, "in tcp 198.51.100.7:80 > 192.168.0.1:1024 syn ack"),
		"tcp 198.51.100.7:80 > 192.168.0.1:1024");
	testkit_close(t, TRIPOD_TIMEOUT);
	testkit_send(t, "out tcp [fd00:7::1]:1024 > [2001:db8::7]:80 syn");
	testkit_close(t, TRIPOD_TIMEOUT);
	assert_int_equal(counter(t, "unmatched"), 2);
	assert_int_equal(counter(t, "allocated"), 0);
	// Opened from outside: not this NF's business, unless it goes to a pool.
	assert_string_equal(testkit_send(t, "in tcp 198.51.100.7:1024 > 10.1.0.5:80 syn"),
		"tcp 198.51.100.7:1024 > 10.1.0.5:80");
	assert_string_equal(testkit_send(t, "out tcp 10.1.0.5:80 > 198.51.100.7:1024 syn ack"),
		"tcp 10.1.0.5:80 > 198.51.100.7:1024");
	testkit_close(t, TRIPOD_TIMEOUT);
	assert_string_equal(
		testkit_send(t, "in tcp 198.51.100.7:1024 > 192.0.2.19:80 syn"), "refuse snat");
	assert_string_equal(
		testkit_send(t, "in udp 198.51.100.7:1024 > 192.0.2.99:80"), "refuse snat");
	assert_string_equal(
		testkit_send(t, "in icmp 198.51.100.7:1024 > 192.0.2.200"), "refuse snat");
	assert_int_equal(counter(t, "unsolicited"), 3);
	testkit_send(t, "in tcp 198.51.100.7:1024 > 192.0.2.20:80 syn"); // beside the /30
	assert_true(testkit_connected(t));
	testkit_close(t, TRIPOD_TIMEOUT);
	assert_string_equal(
		testkit_send(t, "out tcp 10.1.0.5:1024 > 192.0.2.16:80 syn"), "refuse snat");
	assert_int_equal(counter(t, "hairpin"), 1);
	testkit_free(t);
}

// The ports of all slots and both halves are apart, inside the range, and the same whatever the range:
// two nodes that are configured differently for a while do not give out one port.
static void snat__ports_of_nodes(void **unused)
{
	static const char *const PORTS[] = {"1024-65535", "5001-6007"};
	static const unsigned SLOTS[] = {1, 3, 4, 64};
	static uint16_t owner[65536];
	for (size_t k = 0; k < 8; k++) {
		unsigned slots = SLOTS[k / 2];
		char chain[200];
		if (k % 2 == 0)
			memset(owner, 0, sizeof(owner));
		snprintf(chain, sizeof(chain),
			"- snat: {pools: [{name: p, addresses: 192.0.2.0/24, ports: %s}],"
			" rules: [{src: 10.0.0.0/8, pool: p}]}",
			PORTS[k % 2]);
		for (unsigned slot = 0; slot < slots; slot++)
			for (unsigned half = 0; half < 2; half++) {
				struct testkit *t =
					testkit_new(chain, &(struct testkit_conf){.slot = slot,
								   .slots = slots,
								   .boot_half = half,
								   .seed = slot + 1});
				uint16_t me = (uint16_t)(2 * slot + half + 1);
				for (unsigned i = 0; i < 200; i++) {
					testkit_send(t, "out udp 10.1.0.5:9 > 198.51.100.7:53");
					if (!testkit_connected(t))
						break; // all of its own are in use
					unsigned port = ntohs(state(t)->external_port);
					assert_in_range(port, k % 2 == 0 ? 1024 : 5001,
						k % 2 == 0 ? 65535 : 6007);
					assert_true(owner[port] == 0 || owner[port] == me);
					owner[port] = me;
					testkit_park(t);
				}
				assert_true(counter(t, "allocated") >= 1007 / (2 * slots) ||
					    counter(t, "allocated") == 200);
				testkit_free(t);
			}
	}
}

// Each of few ports is found, none is given out twice, and then it is refused.
static void snat__exhaustion(void **unused)
{
	// 64 ports, two slots, two halves: 16 ports each, every fourth from 5003 on.
	struct testkit *t = testkit_new(
		CHAIN, &(struct testkit_conf){.slot = 1, .slots = 2, .boot_half = 1, .seed = 5});
	uint32_t seen = 0;
	for (unsigned i = 0; i < 16; i++) {
		char packet[128];
		snprintf(packet, sizeof(packet), "out tcp 10.9.0.5:%u > 198.51.100.7:80 syn",
			1024 + i);
		assert_non_null(strstr(testkit_send(t, packet), "tcp 192.0.2.200:"));
		unsigned port = ntohs(state(t)->external_port);
		assert_in_range(port, 5003, 5063);
		assert_int_equal(port % 4, 3);
		assert_int_equal(seen >> (port - 5003) / 4 & 1, 0);
		seen |= 1u << (port - 5003) / 4;
		testkit_park(t);
	}
	assert_int_equal(seen, 0xffff);
	uint64_t tries = counter(t, "tries");
	assert_true(tries >= 16);
	assert_string_equal(
		testkit_send(t, "out tcp 10.9.0.5:9 > 198.51.100.7:80 syn"), "refuse snat");
	assert_int_equal(counter(t, "exhausted"), 1);
	assert_int_equal(counter(t, "tries"), tries + 32);
	assert_int_equal(counter(t, "allocated"), 16);
	// Another remote end, another protocol: the same ports again.
	testkit_send(t, "out tcp 10.9.0.5:9 > 198.51.100.7:81 syn");
	testkit_park(t);
	testkit_send(t, "out udp 10.9.0.5:9 > 198.51.100.7:80");
	testkit_park(t);
	// Echo identifiers are ports: two hosts that use the same one are told apart.
	for (unsigned i = 0; i < 16; i++) {
		char packet[128];
		snprintf(packet, sizeof(packet), "out icmp 10.9.0.%u:9 > 198.51.100.7", i);
		testkit_send(t, packet);
		unsigned id = ntohs(state(t)->external_port);
		assert_in_range(id, 5003, 5063);
		assert_int_equal(id % 4, 3);
		assert_int_equal(seen >> (id - 5003) / 4 & 1, 1);
		seen &= ~(1u << (id - 5003) / 4);
		testkit_park(t);
	}
	assert_string_equal(testkit_send(t, "out icmp 10.9.0.99:9 > 198.51.100.7"), "refuse snat");
	assert_int_equal(counter(t, "allocated"), 34);
	testkit_free(t);
}

// A host keeps its external address; when no port of it can be had, it gets another one's.
static void snat__paired_addresses(void **unused)
{
	struct testkit *t = testkit_new(CHAIN, NULL);
	unsigned used[256] = {0};
	for (unsigned host = 0; host < 500; host++) {
		char packet[128];
		unsigned first = 0;
		for (unsigned i = 0; i < 3; i++) {
			snprintf(packet, sizeof(packet), "out udp 10.1.%u.%u:%u > 198.51.100.%u:53",
				host >> 8, host & 255, 1000 + i, i + 1);
			testkit_send(t, packet);
			unsigned external = state(t)->external.b[15];
			if (i == 0)
				first = external;
			assert_int_equal(external, first);
			testkit_park(t);
		}
		used[first]++;
	}
	unsigned all = used[16] + used[17] + used[18] + used[19] + used[99];
	assert_int_equal(all, 500);
	for (unsigned i = 16; i < 20; i++)
		assert_in_range(used[i], 60, 140); // 100, four standard deviations
	assert_in_range(used[99], 60, 140);
	testkit_free(t);
}

static bool all_but_16(void *ctx, const struct tripod_tuple *reversed)
{
	return reversed->dst.b[15] != 16;
}

static void snat__next_address_when_full(void **unused)
{
	struct testkit *t = testkit_new(CHAIN, NULL);
	testkit_on_available(t, all_but_16, NULL);
	unsigned spilt = 0;
	for (unsigned host = 0; host < 200; host++) {
		char packet[128];
		snprintf(packet, sizeof(packet), "out udp 10.1.0.%u:9 > 198.51.100.7:53", host);
		uint64_t tries = counter(t, "tries");
		testkit_send(t, packet);
		assert_true(state(t)->external.b[15] != 16);
		if (counter(t, "tries") > tries + 1) {
			assert_int_equal(state(t)->external.b[15], 17);
			assert_int_equal(counter(t, "tries"), tries + 17);
			spilt++;
		}
		testkit_park(t);
	}
	assert_in_range(spilt, 20, 60);
	assert_int_equal(counter(t, "exhausted"), 0);
	testkit_free(t);
}

static bool one_worker_in_four(void *ctx, const struct tripod_tuple *reversed)
{
	return ntohs(reversed->dport) / 8 % 4 == 3;
}

// No two connections share an external end towards one remote, whatever the order of the draws.
static void snat__unique(void **unused)
{
	uint64_t seed = 31;
	print_message("seed %llu\n", (unsigned long long)seed);
	struct rng rng = {seed};
	struct testkit *t = testkit_new("- snat: {pools: [{name: p, addresses: 192.0.2.1, ports: "
					"1024-5119}], rules: [{src: 10.0.0.0/8, pool: p}]}",
		&(struct testkit_conf){.seed = seed});
	testkit_on_available(t, one_worker_in_four, NULL);
	static uint8_t used[4][65536];
	memset(used, 0, sizeof(used));
	unsigned opened = 0, refused = 0;
	for (unsigned i = 0; i < 2400; i++) {
		unsigned remote = rng_below(&rng, 4);
		char packet[128];
		snprintf(packet, sizeof(packet), "out tcp 10.0.%u.%u:%u > 198.51.100.%u:80 syn",
			i >> 8, i & 255, 1 + rng_below(&rng, 65535), remote);
		if (strcmp(testkit_send(t, packet), "refuse snat") == 0) {
			refused++;
			continue;
		}
		opened++;
		unsigned port = ntohs(state(t)->external_port);
		assert_in_range(port, 1024, 5119);
		assert_int_equal(port % 2, 0); // of this half
		assert_int_equal(port / 8 % 4, 3);
		assert_int_equal(used[remote][port], 0);
		used[remote][port] = 1;
		testkit_park(t);
	}
	// 2048 ports, a quarter of them usable: 512 a remote, 2048 in all.
	print_message("%u opened, %u refused, %.2f tries each\n", opened, refused,
		(double)counter(t, "tries") / (opened + refused));
	assert_int_equal(counter(t, "allocated"), opened);
	assert_int_equal(counter(t, "exhausted"), refused);
	assert_true(opened >= 1800);
	testkit_free(t);
}

static void snat__tries(void **unused)
{
	struct testkit *t =
		testkit_new("- snat: {tries: 3, pools: [{name: p, addresses: 192.0.2.0/30}],"
			    " rules: [{src: 10.0.0.0/8, pool: p}]}",
			NULL);
	testkit_on_available(t, all_but_16, NULL);
	testkit_send(t, "out tcp 10.1.0.5:9 > 198.51.100.7:81 syn");
	assert_int_equal(counter(t, "tries"), 1);
	testkit_free(t);
}

#define SNAT "- snat:\n    pools:\n"
#define POOL(name, addresses) "      - {name: " name ", addresses: " addresses "}\n"

static enum tripod_affinity by_port(void *ctx, const struct tripod_tuple *reversed)
{
	unsigned n = ntohs(reversed->dport) / 8 % 16;
	unsigned *best = ctx;

	if (n == 5 && *best == TRIPOD_TOGETHER)
		return TRIPOD_TOGETHER;
	return n < 4 && *best >= TRIPOD_TOGETHER_NOW ? TRIPOD_TOGETHER_NOW : TRIPOD_APART;
}

// A port whose answers come back is looked for, the best there is, for a bounded number of tries.
static void snat__affinity(void **unused)
{
	const char *chain = "- snat: {affinity_tries: 20, pools: [{name: p, addresses: 192.0.2.1}],"
			    " rules: [{src: 10.0.0.0/8, pool: p}]}";
	for (unsigned best = TRIPOD_APART; best <= TRIPOD_TOGETHER; best++) {
		struct testkit *t = testkit_new(chain, &(struct testkit_conf){.seed = best});
		unsigned got[3] = {0};
		uint64_t tries = 0;
		testkit_on_affinity(t, by_port, &best);
		for (unsigned i = 0; i < 400; i++) {
			char packet[128];
			snprintf(packet, sizeof(packet),
				"out tcp 10.1.0.%u:%u > 198.51.100.7:80 syn", i & 255, 9 + i);
			testkit_send(t, packet);
			struct tripod_tuple reversed = {.dport = state(t)->external_port};
			got[by_port(&best, &reversed)]++;
			assert_in_range(counter(t, "tries") - tries, 1, 24); // some are taken
			tries = counter(t, "tries");
			testkit_park(t);
		}
		assert_int_equal(counter(t, "apart"), got[TRIPOD_APART]);
		if (best == TRIPOD_APART) // found none better than the first
			assert_in_range(tries, 400 * 21, 400 * 21 + 40);
		if (best == TRIPOD_TOGETHER_NOW) // one in four: all but one in 400
			assert_true(got[TRIPOD_TOGETHER_NOW] > 380 && tries >= 400 * 21);
		if (best == TRIPOD_TOGETHER) { // one in sixteen
			assert_true(got[TRIPOD_TOGETHER] > 200 && tries < 400 * 18);
			assert_true(got[TRIPOD_APART] < 20);
		}
		testkit_free(t);
	}
}

static void snat__affinity_off(void **unused)
{
	struct testkit *t =
		testkit_new("- snat: {affinity_tries: 0, pools: [{name: p, addresses: 192.0.2.1}],"
			    " rules: [{src: 10.0.0.0/8, pool: p}]}",
			NULL);
	unsigned best = TRIPOD_APART;
	testkit_on_affinity(t, by_port, &best);
	testkit_send(t, "out tcp 10.1.0.5:9 > 198.51.100.7:81 syn");
	assert_int_equal(counter(t, "tries"), 1);
	assert_int_equal(counter(t, "apart"), 1);
	testkit_free(t);
}

static void snat__errors(void **unused)
{
	static const struct {
		const char *yaml, *text;
	} CASES[] = {
		{SNAT POOL("a", "192.0.2.0/28") POOL("b", "192.0.3.0/28")
				POOL("c", "[192.0.4.0/28, 192.0.2.8]"),
			"chain.yaml:5: pool c overlaps pool a on line 3"},
		{SNAT POOL("a", "192.0.2.8") POOL("b", "192.0.2.0/28"),
			"chain.yaml:4: pool b overlaps pool a on line 3"},
		{SNAT POOL("a", "[192.0.2.0/28, 192.0.2.15]"),
			"chain.yaml:3: pool a lists some of its addresses twice"},
		{SNAT POOL("a", "192.0.2.0/28") POOL("a", "192.0.3.0/28"),
			"chain.yaml:4: pool a is defined already, on line 3"},
		{SNAT POOL("a", "192.0.0.0/15"), "/16 or longer"},
		{SNAT POOL("a", "'2001:db8::/64'"), "/112 or longer"},
		{SNAT POOL("a", "[192.0.2.1, '2001:db8::1']"), "pool a mixes IPv4 and IPv6"},
		{SNAT POOL("a", "192.0.2.1, ports: 0-100"), "port"},
		{SNAT POOL("a", "192.0.2.1, ports: 5000-5006"),
			"chain.yaml:3: 7 ports for 4 nodes: each node needs two at least"},
		{"- snat:\n    rules:\n      - {src: 10.0.0.0/8, pool: x}\n",
			"chain.yaml:3: there is no pool x"},
		{SNAT POOL("a", "192.0.2.1") "    rules:\n      - {src: 'fd00::/8', pool: a}\n",
			"chain.yaml:5: pool a has IPv4 addresses, this prefix is IPv6"},
		{SNAT POOL("a", "'2001:db8::1'") "    rules:\n      - {src: 10.0.0.0/8, pool: a}\n",
			"chain.yaml:5: pool a has IPv6 addresses, this prefix is IPv4"},
		{"- snat: {tries: 0}", "chain.yaml:1"},
	};
	struct testkit_conf four = {.slots = 4};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		char *report = testkit_errors(CASES[i].yaml, &four);
		if (strstr(report, CASES[i].text) == NULL)
			fail_msg("\"%s\" does not say \"%s\"", report, CASES[i].text);
		free(report);
	}
	static const char *const RIGHT[] = {
		SNAT POOL(
			"a", "192.0.2.1, ports: 5000-5007"), // one port for each half of each node
		SNAT POOL("a", "192.0.2.1, ports: 1024-2047")
			POOL("b", "192.0.2.1, ports: 2048-4095"),
		"- snat: {}",
	};
	for (size_t i = 0; i < sizeof(RIGHT) / sizeof(RIGHT[0]); i++) {
		char *report = testkit_errors(RIGHT[i], &four);
		assert_string_equal(report, "");
		free(report);
	}
	struct testkit_conf small = {.memory = 128};
	char *report = testkit_errors(CHAIN, &small);
	assert_non_null(strstr(report, "snat needs more memory"));
	free(report);
}

// The whole gateway: firewall, lb and snat with one public address for both.
static void snat__whole_chain(void **unused)
{
	static const char GATEWAY[] =
		"- firewall: {rules: [{action: allow, from: outside, proto: tcp, dport: 80},\n"
		"                     {action: allow, from: inside}]}\n"
		"- lb: {services: [{vip: 203.0.113.80, proto: tcp, port: 80,\n"
		"                   backends: [{address: 10.1.0.21, port: 8080}]}]}\n"
		"- snat: {pools: [{name: p, addresses: 203.0.113.80}],\n"
		"         rules: [{src: 10.0.0.0/8, pool: p}]}\n";
	struct testkit *t = testkit_new(GATEWAY, &(struct testkit_conf){.slots = 4});
	assert_string_equal(testkit_send(t, "in tcp 198.51.100.7:1024 > 203.0.113.80:80 syn"),
		"tcp 198.51.100.7:1024 > 10.1.0.21:8080");
	testkit_takeover(t);
	assert_string_equal(testkit_send(t, "out tcp 10.1.0.21:8080 > 198.51.100.7:1024 syn ack"),
		"tcp 203.0.113.80:80 > 198.51.100.7:1024");
	testkit_park(t);
	char forwarded[128], back[160];
	snprintf(forwarded, sizeof(forwarded), "%s",
		testkit_send(t, "out tcp 10.1.0.21:8080 > 198.51.100.7:1024 syn"));
	assert_non_null(strstr(forwarded, "tcp 203.0.113.80:"));
	snprintf(back, sizeof(back), "%s", answer(forwarded, "syn ack"));
	testkit_takeover(t);
	assert_string_equal(testkit_send(t, back), "tcp 198.51.100.7:1024 > 10.1.0.21:8080");
	assert_string_equal(testkit_close(t, TRIPOD_TCP_CLOSED), "");
	assert_string_equal(testkit_send(t, "in tcp 198.51.100.7:1024 > 203.0.113.80:81 syn"),
		"refuse firewall");
	testkit_free(t);
}

// Each NF says what its own part of the connection is promised; the strongest holds.
static void snat__durability_of_a_chain(void **unused)
{
	static const struct {
		const char *packet;
		enum tripod_durability level;
	} CASES[] = {
		{"in tcp 198.51.100.7:1024 > 203.0.113.80:80 syn", TRIPOD_SYNC}, // lb
		{"in tcp 198.51.100.7:1024 > 203.0.113.90:81 syn", TRIPOD_ASYNC}, // firewall
		{"in tcp 198.51.100.7:1024 > 203.0.113.90:82 syn", TRIPOD_UNSAID},
		{"in udp 198.51.100.7:1024 > 203.0.113.9:53", TRIPOD_UNSAID}, // default policy
		{"out tcp 10.1.0.21:1024 > 198.51.100.7:80 syn", TRIPOD_NONE}, // snat
		{"out tcp 10.2.0.21:1024 > 198.51.100.7:80 syn", TRIPOD_SYNC},
	};
	struct testkit *t = testkit_new(
		"- firewall: {default: allow, rules: [\n"
		"    {action: allow, from: outside, proto: tcp, dport: 80-81, durability: async},\n"
		"    {action: allow, from: outside, proto: tcp}]}\n"
		"- lb: {services: [{vip: 203.0.113.80, proto: tcp, port: 80, durability: sync,\n"
		"                   backends: [{address: 10.1.0.21, port: 8080}]}]}\n"
		"- snat: {pools: [{name: p, addresses: 203.0.113.80}],\n"
		"         rules: [{src: 10.1.0.0/16, pool: p, durability: none},\n"
		"                 {src: 10.0.0.0/8, pool: p, durability: sync}]}\n",
		NULL);

	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		testkit_send(t, CASES[i].packet);
		assert_true(testkit_connected(t));
		assert_int_equal(testkit_durability(t), CASES[i].level);
		testkit_close(t, TRIPOD_TIMEOUT);
	}
	testkit_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(snat__both_directions),
		cmocka_unit_test(snat__untouched_and_refused),
		cmocka_unit_test(snat__ports_of_nodes),
		cmocka_unit_test(snat__exhaustion),
		cmocka_unit_test(snat__paired_addresses),
		cmocka_unit_test(snat__next_address_when_full),
		cmocka_unit_test(snat__unique),
		cmocka_unit_test(snat__tries),
		cmocka_unit_test(snat__affinity),
		cmocka_unit_test(snat__affinity_off),
		cmocka_unit_test(snat__errors),
		cmocka_unit_test(snat__whole_chain),
		cmocka_unit_test(snat__durability_of_a_chain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
