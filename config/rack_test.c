// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/test_nfs.h"
#include "config/tree.h"

#define assert_addr(a, wanted)                                                                     \
	do {                                                                                       \
		char addr_text[TRIPOD_ADDR_STRLEN];                                                \
		assert_string_equal(tripod_addr_format(a, addr_text, sizeof(addr_text)), wanted);  \
	} while (0)
#define assert_prefix(p, wanted)                                                                   \
	do {                                                                                       \
		char prefix_text[TRIPOD_ADDR_STRLEN + 4];                                          \
		assert_string_equal(                                                               \
			tripod_prefix_format(p, prefix_text, sizeof(prefix_text)), wanted);        \
	} while (0)

// One line of the good rack replaced (NULL: deleted) leads to this report.
static void bad(unsigned line, const char *replacement, const char *report)
{
	char text[TEST_RACK_MAX];
	assert_rack_report(test_rack_with(line, replacement, text), report);
}

static void identity(void **state)
{
	struct rack r;
	static const struct tripod_addr none;
	assert_int_equal(rack_load_text("t.yaml", test_rack, 2, &r), 0);
	assert_string_equal(rack_report(&r), "");
	assert_string_equal(r.name, "lab");
	assert_int_equal(r.conf.id, 2);
	assert_int_equal(r.slot, 1);
	assert_int_equal(r.slots, 2);
	assert_int_equal(r.n_nodes, 2);
	assert_int_equal(r.nodes[0].line, 5);
	assert_memory_equal(r.conf.self.mac, "\x02\x00\x00\x00\x00\x02", 6);
	assert_addr(&r.conf.self.net[NEIGH_OUTSIDE].v4, "203.0.113.12");
	assert_addr(&r.conf.self.net[NEIGH_OUTSIDE].v6, "2001:db8:1::12");
	assert_addr(&r.conf.self.net[NEIGH_INSIDE].v4, "10.1.0.12");
	assert_true(tripod_addr_equal(&r.conf.self.net[NEIGH_INSIDE].v6, &none));
	assert_addr(&r.conf.self.net[NEIGH_FABRIC].v4, "10.255.0.2");
	assert_int_equal(r.conf.self.net[NEIGH_OUTSIDE].vlan, 10);
	assert_int_equal(r.conf.self.net[NEIGH_INSIDE].vlan, 20);
	assert_int_equal(r.conf.self.net[NEIGH_FABRIC].vlan, 30);
	assert_false(r.conf.member[0].present);
	assert_true(r.conf.member[1].present);
	assert_true(r.conf.member[2].present);
	assert_addr(&r.conf.member[1].fabric, "10.255.0.1");
	assert_int_equal(r.conf.boot, 0);
	assert_int_equal(r.conf.seed, 0);
	assert_null(r.conf.chain);
	assert_string_equal(r.control_socket, "/run/tripod/tripodd-2.sock");
	rack_free(&r);
}

static void network(void **state)
{
	struct rack r;
	static const struct tripod_addr none;
	assert_int_equal(rack_load_text("t.yaml", test_rack, 1, &r), 0);
	const struct side_conf *out = &r.conf.side[TRIPOD_INCOMING],
			       *in = &r.conf.side[TRIPOD_OUTGOING];
	assert_int_equal(out->vlan, 10);
	assert_int_equal(out->relay_vlan, 11);
	assert_int_equal(out->mtu, 1500);
	assert_memory_equal(out->gateway_mac, "\x02\x00\x5e\x00\x01\x01", 6);
	assert_addr(&out->gateway_v4, "203.0.113.1");
	assert_addr(&out->gateway_v6, "2001:db8:1::1");
	static const char *const to[] = {
		"198.51.100.0/25", "203.0.113.0/24", "0.0.0.0/0", "2001:db8:1::/64"};
	assert_int_equal(out->n_routes, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_prefix(&out->route[i].to, to[i]);
	assert_addr(&out->route[0].via, "203.0.113.253");
	assert_true(tripod_addr_equal(&out->route[1].via, &none));
	assert_addr(&out->route[2].via, "203.0.113.254");
	assert_true(tripod_addr_equal(&out->route[3].via, &none));
	assert_int_equal(in->vlan, 20);
	assert_int_equal(in->relay_vlan, 21);
	assert_addr(&in->gateway_v4, "10.1.0.1");
	assert_true(tripod_addr_equal(&in->gateway_v6, &none));
	assert_int_equal(in->n_routes, 1);
	assert_int_equal(r.conf.fabric_vlan, 30);
	assert_true(r.conf.bfd_enabled);
	assert_int_equal(r.conf.bfd.tx_us, 20000);
	assert_int_equal(r.conf.bfd.rx_us, 20000);
	assert_int_equal(r.conf.bfd.multiplier, 3);
	assert_memory_equal(r.conf.bfd.mac, "\x02\x00\x00\x00\x00\x01", 6);
	assert_memory_equal(r.conf.bfd.peer_mac, "\x00\x23\x20\x00\x00\x01", 6);
	assert_memory_equal(&r.conf.bfd.src_v4, "\xa9\xfe\x01\x00", 4);
	assert_memory_equal(&r.conf.bfd.dst_v4, "\xa9\xfe\x01\x01", 4);
	rack_free(&r);
}

static void standards(void **state)
{
	struct rack r;
	assert_int_equal(rack_load_text("t.yaml", test_rack, 1, &r), 0);
	const struct node_conf *n = &r.conf;
	assert_int_equal(n->durability, DURABILITY_ASYNC);
	assert_int_equal(n->backups, 1);
	assert_int_equal(n->placement, PLACEMENT_PREDICTIVE);
	assert_int_equal(n->member[1].failure_ppm, 100);
	assert_int_equal(n->failure_prior_h, 0);
	assert_int_equal(n->heartbeat_ms, 20);
	assert_int_equal(n->dead_after_ms, 100);
	assert_int_equal(n->flush_us, 1000);
	assert_int_equal(n->batch_records, 32);
	assert_int_equal(n->sync_timeout_ms, 1000);
	assert_false(n->sync_forward || n->refuse_short);
	assert_int_equal(n->pull_timeout_ms, 100);
	assert_int_equal(n->join_timeout_ms, 30000);
	assert_int_equal(n->drain_quiet_ms, 500);
	assert_int_equal(r.drain_on_stop_ms, 10000);
	assert_int_equal(n->announce_after_ms, 1000);
	assert_int_equal(n->index_flush_ms, 50);
	assert_int_equal(n->index_keys, 1048576);
	assert_false(n->unknown_tcp_reset);
	assert_int_equal(n->connections, 1000);
	assert_int_equal(n->embryonic, 100);
	assert_int_equal(n->waiting, 1024);
	assert_int_equal(n->sync_packets, 2048);
	assert_int_equal(n->requests, 1024);
	assert_int_equal(n->kinds, 4096);
	assert_int_equal(n->fragments, 1024);
	assert_int_equal(n->pulls, 1024);
	assert_int_equal(n->relay_per_s, 100000);
	assert_int_equal(n->repair_per_s, 20000);
	assert_int_equal(n->tcp.established_ms, 7440000);
	assert_int_equal(n->tcp.embryonic_ms, 10000);
	assert_int_equal(n->tcp.closing_ms, 240000);
	assert_int_equal(n->tcp.closed_ms, 10000);
	assert_int_equal(n->udp_ms, 300000);
	assert_int_equal(n->udp_embryonic_ms, 30000);
	assert_int_equal(n->icmp_ms, 30000);
	assert_int_equal(n->tombstone_ms, 5000);
	assert_int_equal(n->workers, 1);
	assert_null(r.port);
	assert_int_equal(r.n_eal, 0);
	assert_int_equal(r.hugepages, RACK_HUGEPAGES_AUTO);
	assert_true(r.idle_sleep);
	assert_int_equal(r.idle_max_us, 1000);
	assert_string_equal(r.state_dir, "/var/lib/tripod");
	assert_string_equal(r.key_file, "/etc/tripod/keys");
	assert_int_equal(n->keys.n, 0); // the caller's
	assert_string_equal(r.chain_text, "[{\"firewall\":{\"default\":\"allow\"}}]");
	rack_free(&r);
}

static void without_authentication(void **state)
{
	struct rack r;
	char text[TEST_RACK_MAX];
	test_rack_with(3, "  key_file: /k\n  authentication: none", text);
	assert_int_equal(rack_load_text("t.yaml", text, 1, &r), 0);
	assert_null(r.key_file);
	rack_free(&r);
	test_rack_with(3, "  authentication: maybe", text);
	assert_true(rack_load_text("t.yaml", text, 1, &r) < 0);
	rack_free(&r);
	test_rack_with(3, "  key_file: ''", text);
	assert_true(rack_load_text("t.yaml", text, 1, &r) < 0);
	assert_non_null(strstr(rack_report(&r), "key_file is empty"));
	rack_free(&r);
}

static void written(void **state)
{
	struct rack r;
	char text[TEST_RACK_MAX];
	test_rack_with(3,
		"  backups: 0\n  durability: none\n  unknown_tcp: reset\n  secret: s\n  flush_us: "
		"0\n  key_file: /k\n  placement: random\n  failure_ppm: 400000\n  failure_prior_h: "
		"720",
		text);
	strcat(text,
		"node: {id: 2, port: '0000:3b:00.0', workers: 4, eal: [a, b], hugepages: require,\n"
		"  idle: spin, idle_max_us: 50, state_dir: /s, control_socket: /c}\n"
		"timeouts: {udp_s: 604800}\n");
	assert_int_equal(rack_load_text("t.yaml", text, RACK_NODE_SELF, &r), 0);
	assert_int_equal(r.conf.id, 2);
	assert_int_equal(r.conf.backups, 0);
	assert_int_equal(r.conf.placement, PLACEMENT_RANDOM);
	assert_int_equal(r.conf.member[1].failure_ppm, 400000);
	assert_int_equal(r.conf.failure_prior_h, 720);
	assert_int_equal(r.conf.durability, DURABILITY_NONE);
	assert_int_equal(r.conf.flush_us, 0);
	assert_true(r.conf.unknown_tcp_reset);
	assert_int_equal(r.conf.workers, 4);
	assert_string_equal(r.port, "0000:3b:00.0");
	assert_int_equal(r.n_eal, 2);
	assert_string_equal(r.eal[1], "b");
	assert_null(r.eal[2]);
	assert_int_equal(r.hugepages, RACK_HUGEPAGES_REQUIRE);
	assert_false(r.idle_sleep);
	assert_int_equal(r.idle_max_us, 50);
	assert_string_equal(r.state_dir, "/s");
	assert_string_equal(r.key_file, "/k");
	assert_string_equal(r.control_socket, "/c");
	assert_int_equal(r.conf.udp_ms, 604800000);
	rack_free(&r);
}

// The rack's hashes: the same on all nodes, another for another name or secret.
static void hashes(void **state)
{
	struct rack a, b, c, d;
	char text[TEST_RACK_MAX];
	assert_int_equal(rack_load_text("t.yaml", test_rack, 1, &a), 0);
	assert_int_equal(rack_load_text("u.yaml", test_rack, 2, &b), 0);
	test_rack_with(2, "  name: lab2\n  secret: x", text);
	assert_int_equal(rack_load_text("t.yaml", text, 1, &c), 0);
	test_rack_with(2, "  name: lab\n  secret: x", text);
	assert_int_equal(rack_load_text("t.yaml", text, 1, &d), 0);
	assert_true(a.conf.cluster == b.conf.cluster && a.conf.hash_seed == b.conf.hash_seed);
	assert_true(a.conf.cluster != c.conf.cluster && a.conf.cluster == d.conf.cluster);
	assert_true(a.conf.hash_seed != d.conf.hash_seed && c.conf.hash_seed == d.conf.hash_seed);
	assert_true(a.conf.cluster != a.conf.hash_seed);
	rack_free(&a);
	rack_free(&b);
	rack_free(&c);
	rack_free(&d);
}

static void bad_nodes(void **state)
{
	bad(10, "    - id: 1",
		"t.yaml:10: id 1 is given to two nodes, first on line 5; write another one\n");
	bad(10, "    - id: 64", "t.yaml:10: id is \"64\"; write a number from 0 to 63\n");
	bad(11, "      mac: 02:00:00:00:00:01",
		"t.yaml:11: \"02:00:00:00:00:01\" of node 2 belongs to node 1 already (line 6); "
		"write "
		"another one\n");
	bad(11, "      mac: 02:00:5e:00:01:02",
		"t.yaml:11: \"02:00:5e:00:01:02\" of node 2 belongs to the gateway inside already "
		"(line "
		"28); write another one\n");
	bad(11, "      mac: 03:00:00:00:00:02",
		"t.yaml:11: \"03:00:00:00:00:02\" of node 2 is a group address; write a unicast "
		"MAC, "
		"such as 02:00:00:00:00:01\n");
	bad(11, NULL,
		"t.yaml:10: mac is missing in nodes; add \"mac:\" with a MAC address such as "
		"02:00:00:00:00:01\n");
	bad(13, "      inside: 10.1.0.11",
		"t.yaml:13: \"10.1.0.11\" of node 2 inside belongs to node 1 inside already (line "
		"8); "
		"write another one\n");
	bad(14, "      fabric: 10.1.0.11",
		"t.yaml:14: \"10.1.0.11\" of node 2 fabric belongs to node 1 inside already (line "
		"8); "
		"write another one\n");
	bad(13, "      inside: 10.1.0.1",
		"t.yaml:13: \"10.1.0.1\" of node 2 inside belongs to the gateway inside already "
		"(line "
		"27); write another one\n");
	bad(13, "      inside: 10.2.0.12",
		"t.yaml:13: \"10.2.0.12\" of node 2 is not on link inside; write an address in "
		"10.1.0.0/24\n");
	bad(12, "      outside: [198.51.100.7, '2001:db8:1::12']",
		"t.yaml:12: \"198.51.100.7\" of node 2 is not on link outside; write an address in "
		"203.0.113.0/24 or 2001:db8:1::/64\n");
	bad(12, "      outside: 203.0.113.12",
		"t.yaml:12: node 2 has no IPv6 address outside, where the gateway has one (line "
		"19); add "
		"one to \"outside:\"\n");
	bad(12, "      outside: [203.0.113.12, 203.0.113.22]",
		"t.yaml:12: node 2 has two IPv4 addresses outside; write one a family\n"
		"t.yaml:12: node 2 has no IPv6 address outside, where the gateway has one (line "
		"19); add "
		"one to \"outside:\"\n");
	bad(14, "      fabric: fd00::1",
		"t.yaml:14: fabric of node 2 is \"fd00::1\"; write an IPv4 "
		"address\n");
	bad(14, "      fabric: 224.0.0.1",
		"t.yaml:14: \"224.0.0.1\" of node 2 fabric is no address of a host; write another "
		"one\n");
}

static void bad_network(void **state)
{
	bad(25, "    vlan: 10",
		"t.yaml:25: vlan 10 of inside is the vlan of outside already (line 17); write "
		"another "
		"one\n");
	bad(29, "  fabric: {vlan: 21}",
		"t.yaml:29: vlan 21 of fabric is the relay_vlan of inside already (line 26); write "
		"another one\n");
	bad(17, "    vlan: 4095", "t.yaml:17: vlan is \"4095\"; write a number from 1 to 4094\n");
	bad(27, "    gateway: 10.1.0.1",
		"t.yaml:27: gateway is \"10.1.0.1\"; write an address and the length of its "
		"on-link "
		"prefix, such as 203.0.113.1/24\n");
	bad(27, "    gateway: 10.1.0.1/33",
		"t.yaml:27: gateway is \"10.1.0.1/33\"; write an address and the length of its "
		"on-link "
		"prefix, such as 203.0.113.1/24\n");
	bad(27, "    gateway: 10.1.0.0/24",
		"t.yaml:27: 10.1.0.0 is no address of a host; write the gateway's own, such as "
		"203.0.113.1/24\n");
	bad(27, "    gateway: [10.1.0.1/24, 10.3.0.1/24]",
		"t.yaml:27: inside has two IPv4 gateways; write one a family\n");
	bad(19, "    gateway: [203.0.113.1/24, '2001:db8:1::1/64', 10.1.0.3/24]",
		"t.yaml:19: gateway has 3 elements; write 1 to 2\n");
	bad(27, "    gateway: 10.0.0.1/4\n    mtu: 1279",
		"t.yaml:28: mtu is \"1279\"; write a number from 1280 to 9000\n");
	bad(28, "    gateway_mac: 02:00:5e:00:01:01",
		"t.yaml:28: \"02:00:5e:00:01:01\" of the gateway inside belongs to the gateway "
		"outside "
		"already (line 20); write another one\n");
	bad(28, "    gateway_mac: 00:00:00:00:00:00",
		"t.yaml:28: \"00:00:00:00:00:00\" of the gateway inside is all zero; write a "
		"unicast "
		"MAC, such as 02:00:00:00:00:01\n");
	bad(29, "  fabric: {vlan: 30}\n  bfd: {peer_address: '::5', peer_mac: 02:00:00:00:00:01}",
		"t.yaml:6: \"02:00:00:00:00:01\" of node 1 belongs to the switch (BFD) already "
		"(line 30); "
		"write another one\n"
		"t.yaml:30: peer_address is \"::5\"; BFD needs an IPv4 address\n");
}

static void overlapping_sides(void **state)
{
	char text[TEST_RACK_MAX];
	test_rack_with(27, "    gateway: 203.0.113.129/25", text);
	struct rack r;
	assert_int_equal(rack_load_text("t.yaml", text, 1, &r), -22);
	assert_string_equal(rack_report(&r),
		"t.yaml:8: \"10.1.0.11\" of node 1 is not on link inside; write an address in "
		"203.0.113.128/25\n"
		"t.yaml:13: \"10.1.0.12\" of node 2 is not on link inside; write an address in "
		"203.0.113.128/25\n"
		"t.yaml:27: on-link prefix of inside overlaps 203.0.113.0/24 of outside (line 19); "
		"write "
		"prefixes apart from each other\n");
	rack_free(&r);
}

static void bad_routes(void **state)
{
	bad(23, "      - {to: 0.0.0.0/0, via: 203.0.113.253}",
		"t.yaml:23: outside has two routes to \"0.0.0.0/0\", the first on line 22; remove "
		"one\n");
	bad(23, "      - {to: 198.51.100.0/25, via: 10.1.0.9}",
		"t.yaml:23: via \"10.1.0.9\" is not on link outside; write a next hop in "
		"203.0.113.0/24 "
		"or 2001:db8:1::/64\n");
	bad(23, "      - {to: 198.51.100.0/25, via: 203.0.113.1}",
		"t.yaml:23: via \"203.0.113.1\" is this gateway itself; write the router's "
		"address\n");
	bad(23, "      - {to: 198.51.100.0/25, via: '2001:db8:1::9'}",
		"t.yaml:23: via is \"2001:db8:1::9\", but the route is for IPv4; write a next hop "
		"of the "
		"same family\n");
	bad(23, "      - {to: 198.51.100.1/25, via: 203.0.113.253}",
		"t.yaml:23: to is \"198.51.100.1/25\", which has bits behind its length; write "
		"198.51.100.0/25, or the address alone\n");
}

static void bad_numbers(void **state)
{
	bad(3, "  backups: 2",
		"t.yaml:3: backups is 2, but the rack has 2 nodes; write at most 1\n");
	bad(3, "  heartbeat_ms: 60",
		"t.yaml:1: dead_after_ms is 100, less than two heartbeats; write at least 120\n");
	bad(3, "  heartbeat_ms: 50\n  dead_after_ms: 99",
		"t.yaml:4: dead_after_ms is 99, less than two heartbeats; write at least 100\n");
	bad(3, "  heartbeat_ms: 50", "");
	bad(30, "limits: {connections: 100, embryonic: 101}",
		"t.yaml:30: embryonic is 101, more than connections; write at most 100\n");
	bad(30, "timeouts: {udp_s: 0}",
		"t.yaml:30: udp_s is \"0\"; write a number from 1 to 604800\n");
	bad(2, "  name: ''", "t.yaml:2: name is empty; write a text\n");
	bad(30,
		"node: {control_socket: "
		"/sssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss"
		"sssss"
		"sssssssssssssssssssss}",
		"t.yaml:30: control_socket is longer than 107 bytes; shorten it\n");
}

static void bad_node_id(void **state)
{
	test_rack_report(
		test_rack, 7, "t.yaml:4: no node has the id 7; the ids are 1, 2\n", __LINE__);
	test_rack_report(
		test_rack, 0, "t.yaml:4: no node has the id 0; the ids are 1, 2\n", __LINE__);
	test_rack_report(test_rack, RACK_NODE_SELF,
		"t.yaml:1: the file does not say which node this host is; name it on the command "
		"line, or "
		"add \"id:\" to \"node:\"\n",
		__LINE__);
	char text[TEST_RACK_MAX];
	test_rack_report(test_rack_with(30, "node:\n  id: 9", text), RACK_NODE_SELF,
		"t.yaml:31: no node has the id 9; the ids are 1, 2\n", __LINE__);
	// The command line wins over the file.
	test_rack_report(text, 2, "", __LINE__);
}

static void bad_chain(void **state)
{
	char text[TEST_RACK_MAX];
	char *end = strstr(test_rack_with(0, NULL, text), "chain:");
	*end = '\0';
	assert_rack_report(
		text, "t.yaml:1: chain is missing; add \"chain:\" with a list, each a value\n");
	bad(32, "  - firewal: {}",
		"t.yaml:32: unknown network function \"firewal\"; did you mean \"firewall\"?\n");
	bad(32, "  - nat64: {}",
		"t.yaml:32: unknown network function \"nat64\"; there are firewall, lb, mirror, "
		"snat\n");
	bad(32, "  - firewall",
		"t.yaml:32: an element of the chain is \"firewall\"; write \"- name: {...}\" for "
		"each "
		"network function\n");
	bad(32, "  - {firewall: {}, lb: {}}",
		"t.yaml:32: an element of the chain is a mapping with several keys; write \"- "
		"name: "
		"{...}\" for each network function\n");
	bad(32, "  - mirror: {}\n  - mirror:\n  - mirror: {to: x}",
		"t.yaml:34: unknown key \"to\" in mirror; it takes none\n");
	bad(32,
		"  - firewall:\n      default: alow\n      rules:\n        - action: allow\n"
		"          dport: [80, 90000]\n  - lb: {}",
		"t.yaml:33: default is \"alow\"; write allow or deny\n"
		"t.yaml:36: dport is \"90000\"; write a port from 1 to 65535, or a range such as "
		"1024-65535\n"
		"t.yaml:37: services is missing in lb; add \"services:\" with a list, each a "
		"mapping with "
		"the keys name, vip, port, proto, backends, durability\n");
	bad(32, "  - firewall:\n  - mirror:", "");
	bad(32, "  []", "");
}

static void sync(void **state)
{
	struct rack r;
	char text[TEST_RACK_MAX];
	test_rack_with(3,
		"  backups: 1\n  durability: sync\n  sync_timeout_ms: 70\n  sync_timeout: forward\n"
		"  backups_short: refuse\n  batch_records: 1",
		text);
	assert_int_equal(rack_load_text("t.yaml", text, 1, &r), 0);
	assert_int_equal(r.conf.durability, DURABILITY_SYNC);
	assert_int_equal(r.conf.sync_timeout_ms, 70);
	assert_true(r.conf.sync_forward && r.conf.refuse_short);
	assert_int_equal(r.conf.batch_records, 1);
	rack_free(&r);
	bad(3, "  batch_records: 33",
		"t.yaml:3: batch_records is \"33\"; write a number from 1 to 32\n");
}

// Mistakes of every kind come in one report.
static void together(void **state)
{
	assert_rack_report(
		"rack:\n"
		"  name: lab\n"
		"  backups: 64\n"
		"  heartbeat: 20\n"
		"  nodes:\n"
		"    - {id: 1, mac: 02:00:00:00:00:01, outside: 203.0.113.11, inside: 10.1.0.11, "
		"fabric: 10.255.0.1}\n"
		"    - {id: 1, mac: x, outside: 203.0.113.11, inside: 10.1.0.12, "
		"fabric: 10.255.0.2}\n"
		"    - {id: 3, mac: 02:00:00:00:00:03, outside: 203.0.113.11, inside: 10.2.0.13, "
		"fabric: 10.255.0.3}\n"
		"network:\n"
		"  outside: {vlan: 10, relay_vlan: 10, gateway: 203.0.113.1/24, "
		"gateway_mac: 02:00:5e:00:01:01}\n"
		"  inside: {vlan: 20, gateway: 10.1.0.1/24, gateway_mac: 02:00:5e:00:01:02}\n"
		"chain:\n"
		"  - snatt: {}\n",
		"t.yaml:3: backups is \"64\"; write a number from 0 to 10\n"
		"t.yaml:4: unknown key \"heartbeat\" in rack; did you mean \"heartbeat_ms\"?\n"
		"t.yaml:7: mac is \"x\"; write a MAC address such as 02:00:00:00:00:01\n"
		"t.yaml:7: id 1 is given to two nodes, first on line 6; write another one\n"
		"t.yaml:8: \"203.0.113.11\" of node 3 outside belongs to node 1 outside already "
		"(line 6); "
		"write another one\n"
		"t.yaml:8: \"10.2.0.13\" of node 3 is not on link inside; write an address in "
		"10.1.0.0/24\n"
		"t.yaml:9: fabric is missing in network; add \"fabric:\" with a mapping with the "
		"keys "
		"vlan\n"
		"t.yaml:10: relay_vlan 10 of outside is the vlan of outside already (line 10); "
		"write "
		"another one\n"
		"t.yaml:11: relay_vlan is missing in inside; add \"relay_vlan:\" with a number "
		"from 1 to "
		"4094\n"
		"t.yaml:13: unknown network function \"snatt\"; did you mean \"snat\"?\n");
}

static void switch_section(void **state)
{
	struct rack r;
	char text[TEST_RACK_MAX];
	assert_int_equal(rack_load_text("t.yaml", test_rack, 1, &r), 0);
	assert_int_equal(r.conf.switch_model, SWITCH_RESILIENT);
	assert_int_equal(r.conf.switch_hash, SWITCH_OUTSIDE_ENDPOINT);
	assert_false(r.conf.directions_split);
	assert_int_equal(r.conf.predict_failures, 1);
	assert_int_equal(r.conf.predict_vlan, 1024);
	assert_string_equal(r.bridge, "tor");
	assert_int_equal(r.n_uplinks, 0);
	assert_int_equal(r.nodes[0].switch_port, 1);
	assert_int_equal(r.nodes[1].switch_port, 2);
	rack_free(&r);
	test_rack_with(10, "    - id: 0\n      switch_port: 7\n      failure_ppm: 5000", text);
	strcat(text,
		"switch: {model: two-stage, hash: 5-tuple, failures: 10, prediction_vlan: 3840,\n"
		"  bridge: br0, uplinks: [{port: 300, side: inside, mac: 02:00:00:00:0d:01},\n"
		"    {port: 65278, side: outside}]}\n");
	assert_int_equal(rack_load_text("t.yaml", text, 1, &r), 0);
	assert_int_equal(r.conf.switch_model, SWITCH_TWO_STAGE);
	assert_int_equal(r.conf.switch_hash, SWITCH_5_TUPLE);
	assert_true(r.conf.directions_split);
	assert_int_equal(r.conf.predict_failures, 1); // more than one cannot fail and one be left
	assert_int_equal(r.conf.predict_vlan, 3840);
	assert_string_equal(r.bridge, "br0");
	assert_int_equal(r.nodes[0].id, 0);
	assert_int_equal(r.nodes[0].switch_port, 7);
	assert_int_equal(r.conf.member[0].failure_ppm, 5000);
	assert_int_equal(r.conf.member[r.nodes[1].id].failure_ppm, 100);
	assert_int_equal(r.n_uplinks, 2);
	assert_int_equal(r.uplink[0].port, 300);
	assert_int_equal(r.uplink[0].side, TRIPOD_OUTGOING);
	assert_true(r.uplink[0].has_mac);
	assert_memory_equal(r.uplink[0].mac, "\x02\x00\x00\x00\x0d\x01", 6);
	assert_int_equal(r.uplink[1].port, 65278);
	assert_int_equal(r.uplink[1].side, TRIPOD_INCOMING);
	assert_false(r.uplink[1].has_mac);
	rack_free(&r);
	// The switch does not ask what the chain is made of.
	test_rack_with(32, "  - of_a_plugin: {x: 1}", text);
	assert_int_equal(rack_load_text("t.yaml", text, RACK_NODE_SWITCH, &r), 0);
	assert_int_equal(r.conf.id, 1);
	rack_free(&r);
	assert_int_equal(rack_load_text("t.yaml", text, RACK_NODE_ANY, &r), -22);
	rack_free(&r);
	// Without a port of its own, node 0 has none.
	assert_int_equal(
		rack_load_text("t.yaml", test_rack_with(10, "    - id: 0", text), 1, &r), 0);
	assert_int_equal(r.nodes[0].switch_port, 0);
	rack_free(&r);
}

static void bad_switch(void **state)
{
	bad(30, "switch: {prediction_vlan: 1000}",
		"t.yaml:30: prediction_vlan is 1000; write a multiple of 256, or 0 for no "
		"prediction\n");
	bad(30, "switch: {prediction_vlan: 4096}",
		"t.yaml:30: prediction_vlan is \"4096\"; write a number from 0 to 3840\n");
	bad(25, "    vlan: 1279",
		"t.yaml:25: vlan 1279 is one of the VLANs of prediction, 1024 to 1279; write "
		"another one, or another switch: prediction_vlan\n");
	bad(25, "    vlan: 1280", "");
	bad(30, "switch: {prediction_vlan: 0}", "");
	bad(30, "switch: {model: ecmp}",
		"t.yaml:30: model is \"ecmp\"; write modulo, two-stage or resilient\n");
	bad(30, "switch: {uplinks: [{port: 9, side: outside}, {port: 2, side: inside}]}",
		"t.yaml:30: \"2\" of uplink 2 belongs to node 2 at the switch already (line 10); "
		"write another one\n");
	bad(30, "switch: {uplinks: [{port: 9, side: outside, mac: 02:00:00:00:00:02}]}",
		"t.yaml:30: \"02:00:00:00:00:02\" of uplink 1 belongs to node 2 already (line 11); "
		"write another one\n");
	bad(10, "    - id: 2\n      switch_port: 1",
		"t.yaml:11: \"1\" of node 2 at the switch belongs to node 1 at the switch already "
		"(line 5); write another one\n");
	bad(30, "switch: {bridge: ''}", "t.yaml:30: bridge is empty; write a text\n");
}

static void unreadable(void **state)
{
	struct rack r;
	assert_int_equal(rack_load("/nonexistent/rack.yaml", 1, &r), -22);
	assert_string_equal(rack_report(&r),
		"/nonexistent/rack.yaml: cannot be opened: No such file or directory\n");
	rack_free(&r);
	assert_rack_report("x\n",
		"t.yaml:1: the file is \"x\"; write a mapping with the keys rack, "
		"network, switch, node, limits, timeouts, plugins, chain\n");
	// An NF's own complaint joins the report.
	assert_int_equal(rack_load_text("t.yaml", test_rack, 1, &r), 0);
	tripod_conf_error(tripod_conf_at(r.chain, 0), "no good");
	assert_string_equal(rack_report(&r), "t.yaml:32: no good\n");
	rack_free(&r);
}

static void walk(const struct tripod_conf *c, const struct tripod_option *table)
{
	for (const struct tripod_option *o = table; o->name != NULL; o++) {
		const struct tripod_conf *v = tripod_conf_get(c, o->name);
		if (v == NULL || v->standard) {
			fail_msg("the example leaves %s out", o->name);
			return;
		}
		if (o->type == TRIPOD_OPT_MAP)
			walk(tripod_conf_at(v, 0), o->children);
	}
}

// The example loads as it is, and shows every option there is.
static void example(void **state)
{
	const char *dir = getenv("TRIPOD_CONFIG_DIR");
	char path[512];
	struct rack r;
	snprintf(path, sizeof(path), "%s/rack.example.yaml", dir != NULL ? dir : "config");
	int result = rack_load(path, RACK_NODE_SELF, &r);
	assert_string_equal(rack_report(&r), "");
	assert_int_equal(result, 0);
	assert_int_equal(r.n_nodes, 4);
	assert_int_equal(tripod_conf_count(r.chain), 3);
	walk(conf_root(r.doc), rack_options);
	rack_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity),
		cmocka_unit_test(network),
		cmocka_unit_test(standards),
		cmocka_unit_test(written),
		cmocka_unit_test(without_authentication),
		cmocka_unit_test(hashes),
		cmocka_unit_test(bad_nodes),
		cmocka_unit_test(bad_network),
		cmocka_unit_test(overlapping_sides),
		cmocka_unit_test(bad_routes),
		cmocka_unit_test(bad_numbers),
		cmocka_unit_test(bad_node_id),
		cmocka_unit_test(bad_chain),
		cmocka_unit_test(sync),
		cmocka_unit_test(switch_section),
		cmocka_unit_test(bad_switch),
		cmocka_unit_test(together),
		cmocka_unit_test(unreadable),
		cmocka_unit_test(example),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
