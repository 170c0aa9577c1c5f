// SPDX-License-Identifier: BSD-3-Clause
// The configuration of a simulated rack, as the file that tripodd would be given.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim/ledger.h"
#include "sim/options.h"

const uint8_t RACKFILE_GATEWAY_MAC[2][6] = {{2, 0, 0x5e, 0, 1, 1}, {2, 0, 0x5e, 0, 1, 2}};
const uint8_t RACKFILE_SWITCH_MAC[6] = {0, 0x23, 0x20, 0, 0, 1};

#define BACKENDS 6 // of the servers, those that a service has at most

struct text {
	char *at;
	size_t used, room;
};

static void say(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct text *t, const char *format, ...)
{
	va_list ap;

	if (t->room - t->used < 1024) {
		t->room = 2 * t->room + 16384;
		t->at = realloc(t->at, t->room);
		if (t->at == NULL)
			abort();
	}
	va_start(ap, format);
	t->used += (size_t)vsnprintf(t->at + t->used, t->room - t->used, format, ap);
	va_end(ap);
}

static void rack(struct text *t, const struct options *o)
{
	static const char *const durabilities[] = {[DURABILITY_NONE] = "none",
		[DURABILITY_ASYNC] = "async",
		[DURABILITY_SYNC] = "sync"};

	say(t, "rack:\n  name: sim\n  secret: s%llx\n", (unsigned long long)o->seed);
	say(t, "  backups: %u\n  durability: %s\n", o->k, durabilities[o->durability]);
	say(t, "  heartbeat_ms: %u\n  dead_after_ms: %u\n", o->heartbeat_ms, o->dead_after_ms);
	say(t, "  flush_us: %u\n  pull_timeout_ms: %u\n", o->flush_us, o->pull_timeout_ms);
	say(t, "  unknown_tcp: %s\n  nodes:\n", o->unknown_reset ? "reset" : "drop");
	for (unsigned i = 0; i < o->nodes; i++)
		say(t,
			"    - {id: %u, mac: \"02:00:00:00:00:%02x\", outside: [203.0.113.%u, "
			"\"2001:db8:1::%x\"], inside: [10.1.0.%u, \"fd00:1::%x\"], "
			"fabric: 10.255.0.%u}\n",
			i, i + 1, 11 + i, 0x11 + i, 11 + i, 0x11 + i, i + 1);
}

static void network(struct text *t, const struct options *o)
{
	say(t, "switch: {model: %s, hash: %s, failures: %u, prediction_vlan: %u}\nnetwork:\n",
		ecmp_model_names[o->ecmp.model], ecmp_fields_names[o->ecmp.fields],
		o->ecmp.failures,
		o->prediction >= PREDICTION_CHECKED ? RACKFILE_PREDICTION_VLAN : 0);
	say(t,
		"  outside: {vlan: 10, relay_vlan: 11, mtu: %u,\n"
		"    gateway: [203.0.113.1/24, \"2001:db8:1::1/64\"],\n"
		"    gateway_mac: \"02:00:5e:00:01:01\",\n"
		"    routes: [{to: 0.0.0.0/0, via: " HOSTS_OUTSIDE_ROUTER_V4 "},\n"
		"      {to: \"::/0\", via: \"" HOSTS_OUTSIDE_ROUTER_V6 "\"}]}\n",
		o->hosts.mtu);
	say(t,
		"  inside: {vlan: 20, relay_vlan: 21, mtu: %u,\n"
		"    gateway: [10.1.0.1/24, \"fd00:1::1/64\"],\n"
		"    gateway_mac: \"02:00:5e:00:01:02\",\n"
		"    routes: [{to: 10.0.0.0/8, via: " HOSTS_INSIDE_ROUTER_V4 "},\n"
		"      {to: \"fd00::/16\", via: \"" HOSTS_INSIDE_ROUTER_V6 "\"}]}\n",
		o->hosts.mtu);
	say(t, "  fabric: {vlan: 30}\n  bfd: {interval_ms: %u, multiplier: 3}\n", o->bfd_ms);
}

static void limits(struct text *t, const struct options *o)
{
	say(t, "node: {workers: %u}\n", o->workers);
	say(t, "limits: {connections: %u, embryonic: %u, waiting: %u, pulls: %u, requests: %u,\n",
		o->connections, o->embryonic, o->waiting, o->pulls, o->requests);
	say(t, "  pull_per_s: %u, relay_per_s: %u, repair_per_s: %u, timers: 64,\n", o->pull_per_s,
		o->relay_per_s, o->repair_per_s);
	say(t, "  predict_per_s: %u, kinds: %u,\n", o->predict_per_s, o->kinds);
	// All keys of the rack, or too few.
	say(t, "  peer_workers: %u, index_keys: %u}\n", o->workers,
		o->tiny ? 100 : o->connections * o->workers * 8);
	// Hosts wait up to 3.75 s before they repeat what was lost (rto()), such as the last acknowledgement of a FIN, or
	// that of a SYN; and once more that long, if it is lost again.
	say(t, "timeouts: {tcp_established_s: %u, tcp_embryonic_s: 8, tcp_closing_s: %u,\n",
		o->established_s, o->established_s);
	say(t, "  tcp_closed_s: 4, udp_s: %u, udp_embryonic_s: 3, icmp_s: %u, tombstone_s: %u}\n",
		o->udp_s, o->udp_s, o->tombstone_s);
}

static void firewall(struct text *t, unsigned version)
{
	say(t,
		"  - firewall:\n      default: deny\n      rules:\n"
		"        - {action: deny, from: outside, src: 192.0.2.%u}\n",
		version);
	say(t, ""
	       "        - {action: allow, from: outside, proto: tcp, dst: [203.0.113.128/26,\n"
	       "            \"2001:db8:1::8000/114\"], dport: 80}\n"
	       "        - {action: allow, from: outside, proto: udp, dst: [203.0.113.128/26,\n"
	       "            \"2001:db8:1::8000/114\"], dport: 80}\n");
	say(t,
		"        - {action: allow, from: outside, proto: tcp, dst: [" HOSTS_SERVERS_V4
		", \"" HOSTS_SERVERS_V6 "\"], dport: %u}\n",
		HOSTS_STRAIGHT_PORT);
	say(t, "        - {action: allow, from: inside, proto: any}\n");
}

static void service(struct text *t, unsigned vip, bool v6, const char *proto, unsigned servers,
	unsigned version)
{
	struct tripod_addr a = hosts_vip_addr(vip, v6);
	char text[TRIPOD_ADDR_STRLEN];

	say(t, "        - {vip: \"%s\", port: %u, proto: %s, backends: [",
		tripod_addr_format(&a, text, sizeof(text)), HOSTS_VIP_PORT, proto);
	for (unsigned b = 0; b < BACKENDS && b < servers; b++) {
		a = hosts_server_addr((vip + b) % servers, v6);
		say(t, "%s{address: \"%s\", port: %u, weight: %u}", b == 0 ? "" : ", ",
			tripod_addr_format(&a, text, sizeof(text)), HOSTS_BACKEND_PORT(vip),
			1 + (vip + b + version) % 7);
	}
	say(t, "]}\n");
}

static void lb(struct text *t, const struct options *o, unsigned version)
{
	say(t, "  - lb:\n      table_size: 1009\n      services:\n");
	for (unsigned vip = 0; vip < o->hosts.vips; vip++) {
		for (unsigned v6 = 0; v6 < 2; v6++) {
			service(t, vip, v6, "tcp", o->hosts.servers, version);
			service(t, vip, v6, "udp", o->hosts.servers, version);
		}
	}
}

static void snat(struct text *t, const struct options *o)
{
	say(t,
		"  - snat:\n      tries: 64\n      pools:\n"
		"        - {name: four, addresses: 203.0.113.192/30, ports: 1024-%u}\n"
		"        - {name: six, addresses: \"2001:db8:1::c000/126\", ports: 1024-%u}\n"
		"      rules:\n"
		"        - {src: " HOSTS_SERVERS_V4 ", pool: four}\n"
		"        - {src: \"" HOSTS_SERVERS_V6 "\", pool: six}\n",
		1023 + o->nat_ports, 1023 + o->nat_ports);
}

// The last on the way in, the first on the way out: it sees the sources themselves.
static void limit(struct text *t, const struct options *o)
{
	static const char *const sources[] = {
		HOSTS_CLIENTS_V4, HOSTS_CLIENTS_V6, HOSTS_SERVERS_V4, HOSTS_SERVERS_V6};

	say(t, "  - limit:\n      unanswered: %s\n      rules:\n",
		o->limit_refuses ? "refuse" : "allow");
	for (unsigned i = 0; i < 4; i++)
		say(t,
			"        - {from: any, src: \"%s\", per_v4: %u, per_v6: %u, "
			"connections: %u}\n",
			sources[i], o->limit_per, 96 + o->limit_per, o->limit);
}

char *rackfile_text(const struct options *o, unsigned version)
{
	struct text t = {};

	rack(&t, o);
	network(&t, o);
	limits(&t, o);
	say(&t, "chain:\n");
	if (o->chain != 2)
		firewall(&t, version);
	if (o->chain == 1) {
		snat(&t, o);
		lb(&t, o, version);
	} else {
		lb(&t, o, version);
		snat(&t, o);
	}
	if (o->limit != 0)
		limit(&t, o);
	if (o->request_every != 0)
		say(&t, "  - %s: {every: %u}\n", ledger.name, o->request_every);
	return t.at;
}
