// SPDX-License-Identifier: BSD-3-Clause
#include "switch/frr.h"

#define AS_ROUTER 64512 // of those for private use; to be changed with the network's own
#define AS_NODES 64513

static const struct tripod_addr none;

static const char *address(const struct tripod_addr *a, char text[TRIPOD_ADDR_STRLEN])
{
	return tripod_addr_format(a, text, TRIPOD_ADDR_STRLEN);
}

static const struct tripod_addr *own(const struct rack_node *n, unsigned side, bool v6)
{
	return v6 ? &n->self.net[side].v6 : &n->self.net[side].v4;
}

static void heading(const struct rack *conf, const struct switch_rack *r, FILE *f)
{
	fprintf(f, "! The rack \"%s\": %u nodes, up to %u failures predicted.\n!\n", conf->name,
		r->n_nodes, r->failures);
	fputs("! Beside each tripodd a BGP speaker announces the gateway's prefixes, with the "
	      "node's own\n"
	      "! address as their next hop, while \"tripodctl status\" says ready. The interfaces "
	      "are\n"
	      "! VLANs on the router's port \"rack\". A prediction group needs two of them, and\n"
	      "! neighbours by hand, for nodes answer no ARP there; tripod-switch(8) has the "
	      "commands.\n"
	      "! The kernel must hash ports, too: sysctl net.ipv4.fib_multipath_hash_policy=1\n"
	      "! and net.ipv6.fib_multipath_hash_policy=1. It picks as model modulo does.\n",
		f);
	// Else the order is that in which they came up.
	fputs("! Next hops in the order of their addresses, in every table:\n"
	      "no zebra nexthop kernel enable\n!\n",
		f);
	if (r->hash != SWITCH_5_TUPLE)
		fputs("! NOTE: such a router hashes the 5-tuple: write hash: 5-tuple in "
		      "rack.yaml.\n",
			f);
	if (r->model != SWITCH_MODULO)
		fputs("! NOTE: such a router picks by model modulo: write that in rack.yaml.\n", f);
}

static void sessions(const struct rack *conf, const struct switch_rack *r, bool v6, FILE *f)
{
	char text[TRIPOD_ADDR_STRLEN];
	for (unsigned i = 0; i < r->n_nodes; i++)
		for (unsigned side = 0; side < 2; side++) {
			const struct tripod_addr *a = own(&conf->nodes[i], side, v6);
			if (!tripod_addr_equal(a, &none))
				fprintf(f, " neighbor %s peer-group TRIPOD%s\n", address(a, text),
					v6 ? "6" : "");
		}
}

static void family(const struct switch_rack *r, bool v6, FILE *f)
{
	fprintf(f,
		" address-family ipv%u unicast\n  maximum-paths %u\n"
		"  neighbor TRIPOD%s activate\n  neighbor TRIPOD%s route-map TRIPOD in\n"
		" exit-address-family\n",
		v6 ? 6 : 4, r->n_nodes, v6 ? "6" : "", v6 ? "6" : "");
}

static void bgp(const struct rack *conf, const struct switch_rack *r, FILE *f)
{
	bool v6 = !tripod_addr_equal(&conf->conf.side[0].gateway_v6, &none) ||
		  !tripod_addr_equal(&conf->conf.side[1].gateway_v6, &none);
	fprintf(f,
		"!\nbfd\n profile tripod\n  detect-multiplier %u\n  receive-interval %u\n"
		"  transmit-interval %u\n exit\nexit\n!\nroute-map TRIPOD permit 10\nexit\n!\n"
		"router bgp %u\n no bgp default ipv4-unicast\n",
		conf->conf.bfd.multiplier, conf->conf.bfd.rx_us / 1000, conf->conf.bfd.tx_us / 1000,
		AS_ROUTER);
	for (unsigned six = 0; six < 1u + v6; six++) {
		const char *group = six != 0 ? "TRIPOD6" : "TRIPOD";
		fprintf(f, " neighbor %s peer-group\n neighbor %s remote-as %u\n", group, group,
			AS_NODES);
		fprintf(f, " neighbor %s bfd\n neighbor %s bfd profile tripod\n", group, group);
		sessions(conf, r, six != 0, f);
	}
	family(r, false, f);
	if (v6)
		family(r, true, f);
	fputs("exit\n", f);
}

// The group of so many ports, for packets of one side: a default route over as many nodes, which nothing
// takes out.
static void vrf(const struct rack *conf, const struct switch_rack *r, unsigned ports, unsigned side,
	FILE *f)
{
	char text[TRIPOD_ADDR_STRLEN];
	fprintf(f, "!\nvrf tripod%u%s\n", ports, side == 0 ? "out" : "in"); // 15 bytes at most
	for (unsigned i = 0; i < ports; i++) {
		for (unsigned six = 0; six < 2; six++) {
			const struct tripod_addr *a = own(&conf->nodes[i], side, six != 0);
			if (!tripod_addr_equal(a, &none))
				fprintf(f, " %s route %s %s rack.%u onlink\n", six ? "ipv6" : "ip",
					six ? "::/0" : "0.0.0.0/0", address(a, text),
					r->predict_vlan + 2 * ports + side);
		}
	}
	fputs("exit-vrf\n", f);
}

void frr_print(const struct rack *conf, const struct switch_rack *given, FILE *f)
{
	struct switch_rack r = *given;
	unsigned index[NODES_MAX + 1], n;
	heading(conf, &r, f);
	bgp(conf, &r, f);
	r.model = SWITCH_MODULO; // what the router is, whatever the file says
	n = rules_indices(&r, index);
	for (unsigned i = 0; i < n; i++)
		for (unsigned side = 0; side < 2; side++)
			vrf(conf, &r, index[i], side, f);
}
