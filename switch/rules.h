// SPDX-License-Identifier: BSD-3-Clause
// OpenFlow groups and flows of a rack's switch. Pure: a rack goes in, rules come out, and nothing
// depends on traffic.
//
//	table 0  admits: what an uplink sends gets the tag of its side, what nodes send must have one
//	      1  puts the outside endpoint of a packet into registers; register 5 says whether the packet is
//	         from outside (0) or from inside
//	      3  prediction: the VLAN says which group
//	      4  multicast: all nodes get it
//	      5  forwards by destination MAC within the VLAN
//	group 1  picks a node for what goes to the gateway
//	      2  two-stage: picks again when that node is dead
//	  100+id two-stage: the node, else group 2
//	  200+i  prediction, index i (core/node.h: predict_vlan); two-stage: where packets go now is told
//	         by group 1 itself
//
// Nothing is learned: all MACs of the rack are known, and a switch that learns has its flows revalidated
// whenever a MAC moves.
//
// Rules are written as Open vSwitch prints them, so that they can be compared with what it has.
#pragma once

#include <stddef.h>

#include "core/node.h"

#define SWITCH_UPLINKS_MAX 16
#define SWITCH_PORT_NEVER 0xfeff // no switch has it: what watches it is never live

enum switch_table {
	TABLE_ADMIT,
	TABLE_ENDPOINT,
	TABLE_PREDICT = 3,
	TABLE_MULTICAST,
	TABLE_FORWARD,
};
enum switch_group {
	GROUP_PRIMARY = 1,
	GROUP_SECONDARY = 2,
	GROUP_FAILOVER = 100,
	GROUP_PREDICT = 200,
};

struct switch_rack {
	enum switch_model model;
	enum switch_hash hash;
	unsigned failures; // that prediction is for; 0: none
	uint16_t predict_vlan; // 0: none
	uint64_t without; // nodes whose failure lasts: groups of so many ports do without them
	struct {
		uint16_t vlan;
		uint8_t gateway_mac[6];
	} side[2]; // by enum tripod_direction of what arrives there
	unsigned n_configured; // nodes, some of which may not be there
	unsigned n_nodes; // ascending by id
	struct switch_node {
		uint8_t id;
		uint16_t port;
		uint8_t mac[6];
	} node[NODES_MAX];
	unsigned n_uplinks;
	struct switch_uplink {
		uint16_t port;
		enum tripod_direction side;
		bool has_mac;
		uint8_t mac[6];
	} uplink[SWITCH_UPLINKS_MAX];
};

// A rule is what it is known by, and what it does: "group_id=1" and "type=select,...", or
// "table=0,priority=20,in_port=1" and actions.
struct rule {
	char *key, *body;
};
struct rule_list {
	unsigned n, room;
	struct rule *rule;
};
struct rules {
	struct rule_list groups; // each after those that it refers to
	struct rule_list flows;
};

// Takes what malloc() gave.
void rule_add(struct rule_list *l, char *key, char *body);
void rules_make(const struct switch_rack *rack, struct rules *out);
void rules_free(struct rules *r);

// What the switch predicts: indices, ascending. Returns how many.
unsigned rules_indices(const struct switch_rack *rack, unsigned index[NODES_MAX + 1]);
// The group that answers for an index.
unsigned rules_index_group(const struct switch_rack *rack, unsigned index);
