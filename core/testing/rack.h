// SPDX-License-Identifier: BSD-3-Clause
// A rack in one process, for tests: nodes as values, an ECMP switch, two hosts' worth of packets and
// virtual time. The real core and a real chain run; nothing else moves unless the test says so, and
// one seed gives one history.
//
// The switch spreads what hosts send over the nodes that are up, by the outside endpoint or by the
// whole tuple; its fabric VLAN delivers by destination MAC, may lose, and may delay. Hosts answer ARP
// and otherwise do only what the test sends for them; what reaches them is put into an inbox.
#pragma once

#include "core/hpsms/wire.h"
#include "core/node.h"
#include "core/testing/frames.h"

#define RACK_NODES 24
#define RACK_CHAINS 16

struct rack_conf {
	unsigned nodes, workers, backups;
	uint64_t seed;
	bool split; // the switch hashes both ends: the directions of a connection may part
	bool predicted; // the nodes know how the switch hashes
	bool modulo; // the switch hashes modulo the nodes that are up, in one stage
	bool random_placement;
	uint32_t failure_ppm[RACK_NODES]; // 0: 100
	uint32_t failure_prior_h;
	bool mistaken; // ... or take another hash for the switch's
	bool probed; // the switch has prediction groups
	uint32_t predict_per_s; // 0: 100000
	bool baseline; // durability none
	bool sync; // durability sync
	bool sync_forward; // what waits too long leaves
	uint32_t sync_timeout_ms; // 0: 1000
	uint32_t sync_packets; // 0: 512
	uint32_t requests; // 0: 512
	uint32_t kinds; // 0: 256
	bool refuse_short; // no new connections with fewer members than backups wanted
	unsigned loss_percent; // of fabric frames between nodes
	uint32_t connections; // per worker; 0: 4096
	const struct tripod_nf *nf; // NULL: RACK_NF_REWRITE
	const struct tripod_nf *nf2; // behind it for packets from outside; NULL: a chain of one
	uint32_t udp_ms; // 0: 300 s
	uint32_t embryonic; // 0: as many as connections
	uint32_t waiting, pulls; // 0: 512
	uint32_t fragments; // 0: 64
	uint32_t timers; // 0: 64
	uint32_t repair_per_s; // 0: 100000
	uint32_t nf_state_bytes; // 0: those of the chain
	unsigned peer_workers; // 0: as many as workers
	uint32_t pull_per_s; // 0: 50000
	bool no_index; // no index sets: pulls ask all
	uint32_t index_flush_ms; // 0: 5
	uint32_t index_keys; // 0: 65536
	uint16_t inside_mtu; // 0: 1500
	bool bfd; // nodes send BFD; the switch does not answer
	bool reset; // answer unknown TCP
	struct auth_keys keys; // of the cluster; none: one of the test's
	bool divides; // the chain hands out ports by node and half
	uint32_t port_life_s; // connections of a former life have ended by then; 0: two hours
	bool dirty; // what is sent may have wrong checksums, and so may what arrives
};

// Rewrites the destination like a load balancer (to port 8080 of its instance, the text of an address;
// NULL: 10.1.0.101) and, for connections from
// inside, the source like a source NAT (to 192.0.2.1, a port of its own). Write-once state.
extern const struct tripod_nf RACK_NF_REWRITE;

struct rack;
struct rack *rack_new(const struct rack_conf *conf);
void rack_free(struct rack *r);

struct node *rack_node(struct rack *r, unsigned i); // NULL while dead
uint64_t rack_now_ns(const struct rack *r);
void rack_run_ms(struct rack *r, unsigned ms);
void rack_step(struct rack *r); // the least time: 50 us, each worker once

// Kill: gone, with all state. Freeze: not stepped, frames to it queue up. The switch notices after
// 100 ms; rack_start() starts a killed node with a new boot.
void rack_kill(struct rack *r, unsigned i);
void rack_freeze(struct rack *r, unsigned i);
void rack_thaw(struct rack *r, unsigned i);
void rack_start(struct rack *r, unsigned i);
// A node gets another chain for its new connections, now and when it starts again. The chain stays the
// caller's and must outlive the rack; it is added to those that nodes of this rack can load.
void rack_reconfigure(struct rack *r, unsigned i, const struct chain *chain);
void rack_know(struct rack *r, const struct chain *chain); // the latter alone
// The node cannot load a known chain of which it has fetched the description: it lacks an NF.
void rack_unable(struct rack *r, unsigned i, const struct chain *chain, bool unable);
const struct chain *rack_chain(struct rack *r); // the first one of all nodes

// One worker of a node stands still, or goes on.
void rack_stall(struct rack *r, unsigned i, unsigned worker, bool stalled);
// Frames that are sent to a node from now on come to the queue of this worker; -1: of any.
void rack_receives(struct rack *r, unsigned i, int worker);
// The switch does (not) use the node, whatever its state.
void rack_port(struct rack *r, unsigned i, bool up);
// The switch's prediction groups do without these nodes: their failure lasts. unmarked: it writes no places.
void rack_groups(struct rack *r, uint64_t without, bool unmarked);

// Where the switch would send this packet now.
unsigned rack_hash(struct rack *r, const struct frame_spec *s, enum tripod_direction from);
// A host on that side sends a packet; it is delivered within the next step.
void rack_send(struct rack *r, enum tripod_direction from, const struct frame_spec *s);

// A frame as it is (no tag in the bytes), to one node on one VLAN. bytes are copied.
void rack_inject(struct rack *r, unsigned node, uint16_t vlan, const void *bytes, size_t len);
// Completes a message of `size` bytes (header h included, tag not) as the sender that h names would
// seal it: what a node that lies could send. The counter is the sender's next.
void rack_seal(struct rack *r, struct wire_header *h, uint8_t *message, size_t size);
// The type (WIRE_*) of the control message that a frame carries; 0: none.
uint8_t rack_message(const struct frame *f);
// Sees every frame that a node sends, on every VLAN. true: the frame is lost.
typedef bool (*rack_tap_fn)(void *ctx, unsigned from, const struct frame *f);
void rack_tap(struct rack *r, rack_tap_fn tap, void *ctx);

// Buffers that are neither with the caller nor in any list of a node: rack_free() aborts unless it is
// 0, and so does any step that gives back more than it may.
long rack_buffers_lost(struct rack *r);
// Aborts, saying what, unless the tables of every node agree with each other: index and records,
// wheel and records, counts of unanswered connections and of waiting packets.
void rack_check(struct rack *r);

// What reached the hosts since the last call with this filter: the newest packet that arrived on
// `side` (the hosts there), if any. NULL: none. Cleared by the call.
struct rack_arrival {
	struct tripod_tuple tuple; // as it arrived at the host; direction is meaningless
	uint8_t tcp_flags;
	uint16_t payload_len;
	uint32_t seq, ack; // TCP
	unsigned from_node;
	uint64_t at_ns;
};
unsigned rack_arrivals(
	struct rack *r, enum tripod_direction side, struct rack_arrival *out, unsigned max);

uint64_t rack_counter(struct rack *r, int node, enum counter c); // -1: sum of live nodes
// The connection with this key on a node; false: none. Walks the table.
bool rack_conn(struct rack *r, unsigned i, const struct tripod_tuple *key, struct conn_view *out);
unsigned rack_copies(struct rack *r, const struct tripod_tuple *key); // live records of it
