// SPDX-License-Identifier: BSD-3-Clause
#include "switch/rack.h"

#include <assert.h>
#include <string.h>

#include "config/tree.h"

static_assert(SWITCH_UPLINKS_MAX == RACK_UPLINKS_MAX);
static_assert(SWITCH_PORT_NEVER > RACK_SWITCH_PORT_MAX);

static int check(struct rack *from)
{
	static const char *const name[] = {"outside", "inside"};
	const struct tripod_conf *root = conf_root(from->doc);
	bool side[2] = {false, false};
	int result = 0;
	for (unsigned i = 0; i < from->n_nodes; i++) {
		const struct tripod_conf *nodes =
			tripod_conf_get(tripod_conf_get(root, "rack"), "nodes");
		if (from->nodes[i].switch_port == 0)
			result = tripod_conf_error(nodes,
				"node %u has no port at the switch; add \"switch_port:\" to it",
				from->nodes[i].id);
	}
	for (unsigned i = 0; i < from->n_uplinks; i++)
		side[from->uplink[i].side] = true;
	for (unsigned s = 0; s < 2; s++)
		if (!side[s])
			result = tripod_conf_error(tripod_conf_get(root, "switch"),
				"no port of the switch leads %s; add \"uplinks:\" with "
				"\"- {port: N, side: %s}\" to \"switch:\"",
				name[s], name[s]);
	return result;
}

int switch_rack_load(struct rack *from, struct switch_rack *out)
{
	if (check(from) < 0)
		return -1;
	*out = (struct switch_rack){
		.model = from->conf.switch_model,
		.hash = from->conf.switch_hash,
		.failures = from->conf.predict_failures,
		.predict_vlan = from->conf.predict_vlan,
		.n_configured = from->n_nodes,
		.n_nodes = from->n_nodes,
		.n_uplinks = from->n_uplinks,
	};
	for (unsigned s = 0; s < 2; s++) {
		out->side[s].vlan = from->conf.side[s].vlan;
		memcpy(out->side[s].gateway_mac, from->conf.side[s].gateway_mac, 6);
	}
	for (unsigned i = 0; i < from->n_nodes; i++) {
		out->node[i].id = from->nodes[i].id;
		out->node[i].port = from->nodes[i].switch_port;
		memcpy(out->node[i].mac, from->nodes[i].self.mac, 6);
	}
	for (unsigned i = 0; i < from->n_uplinks; i++) {
		const struct rack_uplink *u = &from->uplink[i];
		out->uplink[i] = (struct switch_uplink){
			.port = u->port, .side = u->side, .has_mac = u->has_mac};
		memcpy(out->uplink[i].mac, u->mac, 6);
	}
	return 0;
}

void switch_rack_ports(unsigned n, struct switch_rack *out)
{
	*out = (struct switch_rack){
		.model = SWITCH_RESILIENT,
		.hash = SWITCH_OUTSIDE_ENDPOINT,
		.failures = n > 1 ? 1 : 0,
		.predict_vlan = 1024,
		.side = {{.vlan = 10, .gateway_mac = {2, 0, 0x5e, 0, 1, 1}},
			{.vlan = 20, .gateway_mac = {2, 0, 0x5e, 0, 1, 2}}},
		.n_configured = n,
		.n_nodes = n,
		.n_uplinks = 2,
		.uplink = {{.port = (uint16_t)(n + 1), .side = TRIPOD_INCOMING},
			{.port = (uint16_t)(n + 2), .side = TRIPOD_OUTGOING}},
	};
	for (unsigned i = 0; i < n; i++)
		out->node[i] = (struct switch_node){.id = (uint8_t)i,
			.port = (uint16_t)(i + 1),
			.mac = {2, 0, 0, 0, 0, (uint8_t)(i + 1)}};
}
