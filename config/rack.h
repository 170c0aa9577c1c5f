// SPDX-License-Identifier: BSD-3-Clause
// The configuration file of a rack: one file for all of its nodes (config/rack.example.yaml shows
// every option).
//
// rack_load() reads it, checks it against the tables (those of the NFs named in the chain included)
// and against itself, and fills in what one node needs to run:
//
//	struct rack rack;
//	if (rack_load(path, id, &rack) < 0)
//		fputs(rack_report(&rack), stderr), exit
//	if (rack.key_file != NULL && keys_load(rack.key_file, &rack.conf.keys, ...) < 0) exit
//	rack.conf.boot = ..., .boot_half = ..., .seed = ...; // chance and boot counter: yours
//	if (chain_load(chain, rack.chain, &env, rack.chain_text) < 0)
//		the NFs' errors are in rack_report() as well
//	rack.conf.chain = chain;
//	...
//	rack_free(&rack);
//
// Thread: control thread. Strings live until rack_free().
#pragma once

#include "config/yaml.h"
#include "core/node.h"

#define RACK_EAL_MAX 32
#define RACK_UPLINKS_MAX 16
#define RACK_SWITCH_PORT_MAX 0xfefe // of OpenFlow, 16 bits

// Special ids for rack_load().
enum {
	RACK_NODE_SELF = -1, // the file's own node.id; an error when it has none
	RACK_NODE_ANY = -2, // no matter which: the node with the lowest id (to check a file)
	RACK_NODE_SWITCH =
		-3, // the same for the switch, to which the chain means nothing: not looked at
};

enum rack_hugepages {
	RACK_HUGEPAGES_AUTO, // when the host has free ones
	RACK_HUGEPAGES_NEVER, // --no-huge
	RACK_HUGEPAGES_REQUIRE, // refuse to start without
};

struct rack {
	struct conf_doc *doc;
	const char *name;
	const char *key_file; // with the cluster's keys (config/keys.h); NULL: no authentication

	// Nodes, ascending by id.
	unsigned n_nodes;
	struct rack_node {
		uint8_t id;
		unsigned line;
		struct neigh_self self;
		uint32_t failure_ppm; // 0: the rack's
		uint16_t switch_port; // OpenFlow number of the port behind which it is; 0: none
	} nodes[NODES_MAX];

	// The switch, where it is more than what the nodes need to know of it (conf.switch_...).
	const char *bridge; // of Open vSwitch
	unsigned n_uplinks;
	struct rack_uplink {
		uint16_t port; // OpenFlow number
		enum tripod_direction side; // of what arrives there
		bool has_mac; // of what is behind it, which is that alone; else anything may be
		uint8_t mac[6];
	} uplink[RACK_UPLINKS_MAX];

	// The node asked for. Left to the caller: chain, keys, boot, boot_half, seed (zero here).
	struct node_conf conf;
	unsigned slot,
		slots; // its rank among the configured ids, and their number (struct tripod_nf_env)

	// The host.
	const char *port; // PCI address or vdev arguments; NULL: the command line must name it
	unsigned n_eal;
	const char *eal[RACK_EAL_MAX + 1]; // further arguments for the EAL, NULL-terminated
	enum rack_hugepages hugepages;
	bool idle_sleep; // an idle worker sleeps (false: spins)
	uint32_t idle_max_us; // longest sleep
	const char *state_dir; // boot counter
	const char *control_socket;
	uint32_t drain_on_stop_ms; // 0: a node that is told to stop does not drain first

	// The chain: a list of mappings with one key, an NF's name; each NF's section has passed
	// that NF's table, standard values inserted. chain_text is its canonical form.
	const struct tripod_conf *chain;
	char *chain_text;
};

// node: an id, or one of the above. 0, or -EINVAL with the reasons in rack_report(). Either way
// *out is filled enough for rack_report() and rack_free().
int rack_load(const char *path, int node, struct rack *out);
// The same from memory, for tests and tools; name stands for the file in messages.
int rack_load_text(const char *name, const char *text, int node, struct rack *out);
// Every error so far, one a line, sorted by line; "" for none.
const char *rack_report(struct rack *r);
void rack_free(struct rack *r);

// Names of enum switch_model and enum switch_hash, NULL-terminated.
extern const char *const rack_switch_models[];
extern const char *const rack_switch_hashes[];

// The schema of the whole file, for conf_help().
extern const struct tripod_option rack_options[];
