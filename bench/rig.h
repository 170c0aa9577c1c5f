// SPDX-License-Identifier: BSD-3-Clause
// A node under test and what it needs around it: a port made of two rings in memory, the worker loop
// of the daemon, peers that keep the copies, and routers that answer ARP. All in one thread; only the
// node under test is ever timed.
//
//	   traffic -> rx ring -> worker_step(): the node under test -> tx ring -> traffic, checked
//	                ^                                                |
//	                +--- frames of the fabric VLAN --- peers <-------+
#pragma once

#include "bench/machine.h"
#include "config/rack.h"
#include "core/shard.h"
#include "daemon/port.h"
#include "daemon/worker.h"

#define RIG_PEERS_MAX 3
#define RIG_BATCH 256 // packets that stand in the receive ring at once, at most
#define RIG_TAG 4 // bytes of the VLAN tag, which stands in the frames as on a wire
#define RIG_BACKENDS 4

// Addresses of the rack; host byte order.
#define RIG_VIP 0xcb007150u // 203.0.113.80
#define RIG_VIP_PORT 80
#define RIG_BACKEND 0x0a020065u // 10.2.0.101 and the following
#define RIG_BACKEND_PORT 8080
#define RIG_POOL 0xcb007140u // 203.0.113.64/28
#define RIG_POOL_MASK 0xfffffff0u
extern const uint16_t RIG_VLAN[2]; // by enum tripod_direction
extern const uint8_t RIG_GATEWAY_MAC[2][6], RIG_ROUTER_MAC[6], RIG_NODE_MAC[6];

// What the routers of both sides say to an untagged frame that asks for an address: "I have it", whichever it is.
// false: the frame asks for none.
#define RIG_ARP_REPLY 60
bool rig_arp_reply(const uint8_t *request, uint16_t len, uint8_t reply[RIG_ARP_REPLY]);

struct rig_conf {
	uint32_t records; // of each node
	uint32_t index_keys; // of all others; 0: as by default
	unsigned peers; // 0..RIG_PEERS_MAX
	unsigned backups; // k
	bool replicate;
	bool large_pages;
	uint64_t seed;
};

// A node as a value, and what it was built from.
struct rig_node {
	struct rack rack;
	struct chain chain;
	struct machine_memory memory, chain_memory;
	struct node *node;
};

#define RIG_BUFFERS 4096 // of a peer
struct rig_peer {
	struct rig_node n;
	struct step step;
	struct frame queue[RIG_BUFFERS]; // received, ring
	unsigned head, tail;
	uint8_t *buffers;
	uint8_t *free[RIG_BUFFERS];
	unsigned n_free;
};

struct rig {
	struct port port;
	struct rte_ring *rx, *tx;
	struct rig_node device;
	struct worker worker;
	unsigned n_peers;
	struct rig_peer *peer; // n_peers of them
	uint64_t log_bytes_tx, log_bytes_rx; // of the node under test; heartbeats left out
	uint64_t fabric_lost; // frames between nodes that found no buffer
	char error[512]; // after any call that failed
};

// The configuration of a rack of 1 + peers nodes, of ids from 1 on, and the chain and the memory of one
// of them: n->rack.conf is complete and may still be changed before node_init().
#define RIG_TEXT 16384 // bytes
void rig_configuration(char text[RIG_TEXT], const struct rig_conf *conf);
int rig_node_open(struct rig *r, struct rig_node *n, const char *text, int id,
	const struct rig_conf *conf); // 0 or a negative errno, with r->error
void rig_node_close(struct rig_node *n);

// The port, once a process. 0 or a negative errno, with r->error.
int rig_start(struct rig *r);
void rig_stop(struct rig *r);
// The nodes, up to the point where each peer has heard the other.
int rig_open(struct rig *r, const struct rig_conf *conf);
void rig_close(struct rig *r);

static inline struct shard *rig_shard(const struct rig *r)
{
	return node_shard(r->device.node, 0);
}

// An empty frame for the receive ring, RIG_TAG bytes longer than an untagged one; and into the ring.
struct rte_mbuf *rig_frame(struct rig *r, uint16_t len);
void rig_receive(struct rig *r, struct rte_mbuf **m, unsigned n);

// What takes the place of shard_step(); NULL: shard_step() by worker_step().
typedef void (*rig_stage_fn)(struct shard *s, struct step *step);
// Runs the worker until the receive ring is empty; returns TSC cycles. For each burst it also
// allocates and frees as many buffers, which is a driver's share.
uint64_t rig_run(struct rig *r, rig_stage_fn stage);
// Takes what was sent: packets of the VLANs outside and inside into m, in order; the rest goes where
// it is meant to go. Returns the number of packets, at most max.
unsigned rig_take(struct rig *r, struct rte_mbuf **m, unsigned max);
// Lets the peers run, and the node under test take what they have sent; returns its cycles.
uint64_t rig_exchange(struct rig *r);
// Until all logs have been acknowledged; returns cycles. false in *done: they were not, in time.
uint64_t rig_settle(struct rig *r, bool *done);
