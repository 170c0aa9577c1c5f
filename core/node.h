// SPDX-License-Identifier: BSD-3-Clause
// A node as a value: W shards and the rings between them, in one block of memory.
//
// The daemon runs each shard on a worker of its own; a test or a simulator runs all shards of many
// nodes in one thread, in any order it likes. Both call shard_step() and nothing else.
#pragma once

#include <tripod/packet.h>

#include "core/bfd.h"
#include "core/chain.h"
#include "core/counters.h"
#include "core/frame.h"
#include "core/hpsms/auth.h"
#include "core/neigh.h"
#include "core/tcp.h"

#define NODES_MAX 64 // node ids are 0..63: sets of nodes are 64-bit masks
#define WORKERS_MAX 16
#define ROUTES_MAX 32 // a side
#define COPIES_MAX 10 // k is no higher
#define CONTROL_PORT 7117 // UDP, fabric VLAN only

// How the switch picks among the nodes: hash modulo the number of ports up; among all ports, and anew
// among the rest when that one is down; or so that each flow has its own order of ports.
// Where copies go: where packets will, as far as that is known; or anywhere, for comparison.
enum placement { PLACEMENT_PREDICTIVE, PLACEMENT_RANDOM };
enum switch_model { SWITCH_MODULO, SWITCH_TWO_STAGE, SWITCH_RESILIENT };
// What it hashes.
enum switch_hash { SWITCH_OUTSIDE_ENDPOINT, SWITCH_SYMMETRIC, SWITCH_5_TUPLE };

// A frame on VLAN predict_vlan + 2 * index + side (of what it is like: 0 outside, 1 inside) comes out,
// tag and all, at the node to which the switch's prediction group of that index sends its tuple. Modulo and
// two-stage: the group of `index` ports, any so many that are up; which place among them was picked,
// from 0, is then written where the frame has its DSCP. Resilient: the group without node number
// index. PREDICT_ARRIVAL: resilient: the group of all nodes, dead or alive; two-stage: as other packets.
#define PREDICT_ARRIVAL 64
#define PREDICT_UNMARKED 63 // DSCP of a question that no place has been written on
#define PREDICT_VLANS 256 // predict_vlan is a multiple of it, and all up to the next are its own

// When a packet that changed state leaves: at once and nothing is replicated; at once; when the backups
// have acknowledged the change. Of two, the higher is the stronger.
enum durability { DURABILITY_NONE, DURABILITY_ASYNC, DURABILITY_SYNC };

struct route {
	struct tripod_prefix to;
	struct tripod_addr via; // all zero: on link
};

// One side of the gateway, as every node of the rack is configured.
struct side_conf {
	uint16_t vlan, relay_vlan;
	uint16_t mtu; // bytes of IP packet
	uint8_t gateway_mac[6]; // shared by all nodes
	// virtual gateway, shared by all nodes; zero: none
	struct tripod_addr gateway_v4, gateway_v6;
	unsigned n_routes;
	struct route route[ROUTES_MAX]; // longest prefix first
};

struct member_conf {
	bool present;
	struct tripod_addr fabric; // IPv4, own address on the fabric VLAN
	uint32_t
		failure_ppm; // parts of a million of its time that it is dead, FAILURE_PPM_MAX at most
};
#define FAILURE_PPM_MAX 400000

// Where the switch sends a packet of this tuple, as it arrives (its direction says on which side),
// when the ports of exactly these nodes are up: a node, or NEXT_HOP_UNKNOWN. A pure function of its
// arguments, called by all workers.
typedef int (*next_hop_fn)(const void *ctx, const struct tripod_tuple *t, uint64_t ports);
#define NEXT_HOP_UNKNOWN (-1)

struct node_conf {
	// Identity.
	uint8_t id; // 0..63
	uint8_t workers; // 1..WORKERS_MAX
	uint64_t cluster; // hash of the rack's name: messages of another rack are dropped
	uint64_t boot; // fresh random number at each start, never 0
	struct auth_keys keys; // of the cluster; none: no authentication. Erased in the node's copy
	uint8_t boot_half; // 0 or 1, alternates from start to start
	// So long after the start no connection is left that a former life has opened with this half; 0:
	// none is even now. Before that, NAT ports are handed out only when every configured member has
	// sent what it knows of.
	uint64_t half_clear_ms;
	uint64_t seed; // of the shards' generators
	uint64_t hash_seed; // the same on all nodes
	struct neigh_self self; // own MAC and addresses
	struct member_conf member[NODES_MAX]; // this node included

	// Network.
	struct side_conf side[2]; // by enum tripod_direction of what arrives there
	uint16_t fabric_vlan;
	// The switch hashes on more than the outside endpoint, so that the two directions of a
	// connection may arrive at different nodes: unknown UDP asks the peers before it opens one.
	bool directions_split;
	enum switch_model switch_model;
	enum switch_hash switch_hash;
	uint8_t predict_failures; // K: failures at one time that the switch's groups predict
	uint16_t predict_vlan; // first of the VLANs of prediction; 0: the switch has none
	next_hop_fn next_hop; // NULL: the switch's hash is not known
	const void *next_hop_ctx;
	struct bfd_conf bfd;
	bool bfd_enabled;

	// HPSMS.
	enum durability durability; // of connections for which no NF chooses
	bool sync_forward; // a packet that has waited for sync_timeout_ms leaves; else it is dropped
	bool refuse_short; // no new connections while fewer than k members could back them up
	uint32_t sync_timeout_ms;
	uint8_t backups; // k: copies of a connection beside its master's
	enum placement placement;
	uint32_t
		failure_prior_h; // what is configured of that counts as much as so long a look at the
	// node; 0: for ever, whatever is seen
	uint8_t peer_workers; // workers of a peer that this node can talk to, 1..WORKERS_MAX
	uint32_t heartbeat_ms, dead_after_ms;
	uint32_t flush_us; // T: a log waits at most so long for others to share its message
	uint32_t batch_records; // B: so many leave at once; 0: CHANNEL_BATCH, the most
	uint32_t pull_timeout_ms;
	uint32_t announce_after_ms; // age at which a connection is announced in the index set
	uint32_t index_flush_ms; // changes of the index set wait at most so long for others
	uint32_t repair_per_s; // connections given a new copy per second and worker, at most
	uint32_t repair_cost_ns; // 10^9 / repair_per_s; node_init() computes it
	uint32_t
		join_timeout_ms; // a start takes traffic after so long, served by all members or not
	uint32_t drain_quiet_ms; // drained: so long without a packet of the workload

	uint32_t
		index_keys; // that the table of all members' index sets holds, per node; 0: no index sets

	// Limits, per worker.
	uint32_t connections; // records
	uint32_t embryonic; // of them, unanswered
	uint32_t waiting; // packets held for an answer from the peers, or by NFs
	uint32_t sync_packets; // packets that wait for their state to be acknowledged
	uint32_t requests; // of NFs that wait until another node has applied them
	uint32_t
		kinds; // keys of NFs' kinds of state, written or backed up here; and with connections here
	uint32_t pulls; // tuples asked of the peers at one time
	uint32_t pull_per_s; // ... and per second, at most
	uint32_t pull_cost_ns; // 10^9 / pull_per_s; node_init() computes it
	uint32_t predict_per_s; // questions to the switch, at most
	uint32_t predict_cost_ns; // 10^9 / predict_per_s; node_init() computes it
	uint32_t relay_per_s;
	uint32_t relay_cost_ns; // 10^9 / relay_per_s; node_init() computes it
	uint32_t
		fragments; // datagrams whose first fragment is remembered; 0: later ones are dropped
	uint32_t timers; // of NFs
	// Bytes that a record has for the states of NFs, at least: no version of the chain may need
	// more. 0: what the first one needs, rounded up to a cache line.
	uint32_t nf_state_bytes;
	uint32_t chain_bytes; // room for the description of a chain that is fetched; 0: 64 KiB

	// Time-outs.
	struct tcp_timeouts tcp;
	uint32_t udp_ms, udp_embryonic_ms, icmp_ms, tombstone_ms;
	bool unknown_tcp_reset; // answer unknown TCP with RST instead of silence

	const struct chain *chain; // current at first
};

struct node;
struct shard;

// Bytes of memory that a node of this configuration needs.
size_t node_size(const struct node_conf *conf);
// Builds the node in mem (zeroed, 64-byte aligned, node_size() bytes). conf is copied; the chain
// must outlive the node, or be given back by node_chain_retire().
struct node *node_init(void *mem, size_t size, const struct node_conf *conf, uint64_t now_ns);
struct shard *node_shard(struct node *n, unsigned worker);

// Runs a worker once: messages from the other workers, received frames, due timers, queued logs.
// Thread: the worker's. step is the caller's, reused from call to call.
void shard_step(struct shard *s, struct step *step);

// Calls fn for each stretch of the node's memory that holds keys: to lock it, or keep it out of dumps.
void node_secrets(const struct node *n, void (*fn)(void *at, size_t size));

// ---- Control thread, while the workers run ----

// Other cluster keys (none: no authentication). false: a worker has not taken the last ones yet.
bool node_set_keys(struct node *n, const struct auth_keys *keys);
// true: every worker has taken the last keys; the former ones are erased by then.
bool node_keys_taken(struct node *n);
struct key_status {
	uint8_t id;
	bool sends; // what is sent is sealed with it
	uint64_t tx, rx; // messages since it was first given
};
unsigned node_keys(const struct node *n, struct key_status out[AUTH_KEYS_MAX]);

// Should the node want traffic (BFD up)? Starts false. True: it joins first.
void node_set_ready(struct node *n, bool ready);
// The node gives all that it has to others, and then takes no more traffic; false: takes it again.
void node_set_draining(struct node *n, bool draining);
// The node is about to stop: its heartbeats say so, and nobody waits for it. Stays.
void node_set_leaving(struct node *n);

// A copy of counters, summed over workers (worker < 0) or of one.
void node_counters(const struct node *n, int worker, uint64_t out[COUNTERS]);
// Of NF number nf of the chain in a slot; out has NF_COUNTERS_MAX places. They begin at 0 when the slot
// is given a chain.
void node_nf_counters(const struct node *n, int worker, unsigned slot, unsigned nf, uint64_t *out);

// ---- Versions of the chain: control thread, while the workers run ----
//
// A connection keeps the chain under which it began. A node holds up to CHAINS_MAX, each in a slot; one
// is current, and new connections get it. The chains themselves belong to the caller.

// Gives the node a chain. announce: it is about to become current here, and the peers should fetch it
// before. Its slot, or -EEXIST (held already), -ENOSPC (each slot has connections), -EFBIG (its NFs'
// states do not fit into a record: nf_state_bytes), -ENOENT (it is read as another chain, which is not held).
int node_chain_add(struct node *n, const struct chain *chain, bool announce);
int node_chain_current(struct node *n, uint64_t id); // 0, or -ENOENT: it is not held
const struct chain *node_chain_find(const struct node *n, uint64_t id); // NULL: not held
// To be called now and then: gives up a chain that neither this node nor a live member has had any use
// for lately. When no worker can see it any more it is returned, once, for the caller to free; its
// counters can be read until the next node_chain_add(). NULL: none this time.
const struct chain *node_chain_retire(struct node *n, unsigned *slot);

// A chain that peers have and this node lacks has been fetched: its id and the bytes of its description
// (chain_description_read()), which are what the id is the hash of. false: none. They stay until
// node_chain_taken() says whether a chain was made of them and added.
bool node_chain_text(const struct node *n, uint64_t *id, const uint8_t **bytes, uint32_t *size);
void node_chain_taken(struct node *n, bool taken);

struct chain_status {
	const struct chain *chain;
	unsigned slot;
	bool current;
	bool announced; // is to be current soon
	bool wanted; // a live member has it as current, or has connections under it
	uint64_t connections; // records here, copies and tombstones included
	uint64_t nodes; // live members that hold it, this node included
};
unsigned node_chains(const struct node *n, struct chain_status out[CHAINS_MAX]);

// Where a node stands between its start and its end.
enum node_phase {
	NODE_STARTING, // not asked to take traffic
	NODE_JOINING, // wants traffic, and waits for the members to send it its copies
	NODE_READY, // takes traffic
	NODE_DRAINING, // still takes it, and gives everything a copy elsewhere
	NODE_MOVING, // has no port any more: the switch moves the flows
	NODE_DRAINED, // nothing arrives any more
	NODE_LEAVING,
};
const char *node_phase_name(enum node_phase phase);

struct node_status {
	uint64_t live; // members heard, this node included
	bool ready; // takes traffic
	enum node_phase phase;
	uint64_t join_unserved; // while joining: members that have not sent everything yet
	uint64_t join_unknown; // ... members whose index set is not here
	bool join_hearing; // ... the members have not had time to be heard
	bool join_ports; // ... NAT ports may be in use elsewhere
	uint64_t
		unreported; // configured members that have not sent what they know since this start
	bool ports_clear; // NAT ports are handed out
	uint64_t ports; // nodes that take traffic and will go on, as they say
	uint64_t draining; // members that give their connections away, this node included
	uint64_t phase_age_ns; // since it came to that phase
	// What a joining member, or this node's drain, waits for: connections, entries of kinds; and nodes that have not
	// acknowledged one of the former.
	uint64_t owed, owed_entries, owed_by;
	uint64_t workload_age_ns; // since the last packet that the switch sent
	uint8_t bfd, bfd_remote; // enum bfd_state
	uint64_t connections, connections_max, embryonic, tombstones;
	uint64_t mastered; // with a direction handled here
	uint64_t backup; // kept for another node
	// Mastered here, answered and of async or sync, ...
	uint64_t unprotected; // with fewer than k acknowledged copies on live nodes
	uint64_t copies[COPIES_MAX + 1]; // with so many; the last: with as many or more
	unsigned survives; // more nodes that may die at once without taking one of them along
	uint64_t sync_waiting; // packets that wait until their state is acknowledged
	uint8_t predict; // enum predict_how; of several workers, the one that knows least
	uint64_t predict_right, predict_wrong; // checks of predictions against arrivals
	uint64_t memory_bytes, bytes_per_connection;
	// Keys in this node's index set; in the table of all others', and how many that is made for.
	uint64_t index_announced, index_known, index_max;
	uint64_t uptime_ns;
};
void node_status(const struct node *n, struct node_status *out);

struct member_status {
	uint8_t id;
	bool self, live;
	uint8_t workers;
	uint64_t boot, last_heard_ns; // age
	uint64_t chain; // current there
	uint64_t deaths; // times declared dead
	uint32_t failure_ppm; // of its time that it is dead, as far as is known
	uint64_t log_lag_ns; // smoothed time from sending a log to its acknowledgement
	// From the first change in a log to its acknowledgement, of the last thousands of logs.
	uint64_t lag_p50_ns, lag_p99_ns;
	uint64_t queued; // records waiting for it
	// Its index set here: is all of it, and nothing known to be missing? When was that last sure?
	bool index_complete;
	bool index_blind; // its set is being fetched, lacks keys, or does not fit: it is asked itself
	uint64_t index_age_ns;
};
unsigned node_members(const struct node *n, struct member_status *out, unsigned max);

// A page of connections. Posted to one worker, which fills it a little in each step (so that a
// listing never delays packets), and says when it is done.
struct conn_view {
	struct tripod_tuple key[2];
	uint64_t incarnation, holders, acked;
	uint64_t chain; // id
	uint8_t state, flags, tcp; // enum conn_state, conn_flag, tcp_state
	uint8_t master[2], shared; // who writes each part
	uint16_t epoch[2];
	uint8_t durability; // enum durability
	uint32_t idle_ms;
	uint32_t expires_ms;
	uint8_t nf_state[256]; // first bytes
	uint16_t nf_size;
};
struct conn_query {
	uint32_t cursor; // in: 0 to start; out: where to go on, 0 at the end
	uint32_t max; // views that fit
	uint32_t n; // out
	struct conn_view *view;
	_Atomic int done; // worker: wo, control: ro
};
// false: a query is under way on this worker already.
bool node_query(struct node *n, unsigned worker, struct conn_query *q);
