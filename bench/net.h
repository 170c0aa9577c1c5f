// SPDX-License-Identifier: BSD-3-Clause
// A rack of many nodes in virtual time: the real core and the chain of the benches, one worker each. What a
// node sends to others arrives a little later; hosts and routers are where each node looks for them. Every
// packet that comes out is checked by the connection that it belongs to.
#pragma once

#include "bench/rig.h"
#include "bench/traffic.h"

#define NET_STEP_NS 10000ull // every node runs once in so many
#define NET_FABRIC_VLAN 30
#define NET_NODES_MAX 64
#define NET_INBOX 8192

struct net_queue {
	struct frame frame[NET_INBOX];
	uint64_t at_ns[NET_INBOX];
	uint32_t head, tail;
};

struct net_node {
	struct rig_node n;
	struct step step;
	struct net_queue host, fabric; // what arrives
	uint64_t in, out; // packets
	bool dead; // is not run any more, and nothing arrives
};

struct net;
// Sees each frame that a node sends to others, when it leaves.
typedef void (*net_sent_fn)(struct net *net, unsigned from, const struct frame *f);
// The connection of a packet with this TCP sequence number that came out of that node.
typedef struct flow *(*net_flow_fn)(struct net *net, unsigned node, uint32_t seq);
// May change what needs no other memory, before the node begins.
typedef void (*net_tune_fn)(struct net *net, struct node_conf *conf);

struct net {
	// The caller's, set before net_open(). tune may be NULL.
	struct rig *rig;
	net_sent_fn sent;
	net_flow_fn flow;
	net_tune_fn tune;
	void *ctx;
	// To read.
	unsigned nodes;
	uint64_t now_ns;
	struct net_node *m; // of `nodes`
	const char *wrong; // NULL: nothing is
	// Its own.
	uint8_t **free;
	unsigned n_free;
};

// 1 + conf->peers nodes. 0 or a negative errno, with rig->error; net_close() in any case.
int net_open(struct net *net, const struct rig_conf *conf);
void net_close(struct net *net);
// Has each node heard all others, and is nothing under repair?
bool net_met(const struct net *net);
// The next packet of one end of a connection, for that node.
void net_send(struct net *net, unsigned node, struct flow *f, unsigned from, uint8_t flags,
	unsigned payload);
void net_step(struct net *net, unsigned node); // the caller moves now_ns
void net_run(struct net *net, uint64_t ns); // all nodes, without more packets
// Until all have met and nothing moves any more, as in a rack that has been up for a while, in long steps. false: it does not
// come to that.
bool net_rest(struct net *net);
uint64_t net_counter(const struct net *net, enum counter c); // sum of all nodes that live
// Packets that were lost, or something that would make figures those of something else; NULL: none.
const char *net_losses(const struct net *net);
