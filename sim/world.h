// SPDX-License-Identifier: BSD-3-Clause
// The map of the simulator: one world is a rack of nodes as values, a switch, links, hosts, and
// virtual time. One seed, one history.
//
//   options.c, rackfile.c  what the seed draws; the configuration file made of it
//   events.c               what happens next
//   node_run.c             nodes: start, kill, freeze, and a worker's step
//   net.c, ecmp.c          links, and the switch with its ports
//   faults.c               what goes wrong, when, and within which contract
//   flood.c                packets that belong to nobody
//   hosts*.c               who talks through the rack
//   check_*.c              what must be true whatever happens (apart from the code under test)
//   world.c                the phases of a run
//   trace.c, report.c      what is told of it
//   sweep.c, main.c        many runs; the command line
//
// One thread; nothing is shared between worlds.
#pragma once

#include "config/rack.h"
#include "core/shard.h"
#include "sim/check.h"
#include "sim/events.h"
#include "sim/faults.h"
#include "sim/flood.h"
#include "sim/options.h"
#include "sim/peek.h"
#include "sim/trace.h"

#define SIM_ROOM 1920 // bytes of a node's buffer
#define SIM_NIC_QUEUE 1024 // frames, at most
#define SEC 1000000000ull

struct bytes { // a frame under way, shared by all its copies
	uint32_t refs;
	uint16_t len;
	struct bytes *next; // when free
	uint8_t data[SIM_ROOM];
};

struct arrival {
	struct bytes *frame;
	uint16_t vlan;
};

enum node_state { NODE_OFF, NODE_UP, NODE_FROZEN };

struct sim_worker {
	struct step step;
	struct arrival queue[SIM_NIC_QUEUE];
	uint32_t head, tail;
	uint64_t run_at_ns; // the next step; UINT64_MAX: none is planned
	uint64_t busy_until_ns;
	uint32_t serial; // of the planned step's event
	bool stalled;
	uint64_t counted[COUNTERS]; // by the end of the last step
	uint64_t kinds_refused; // the same, for check_kind.c
};

#define SIM_VERSIONS 6 // of the chain, in one run

struct sim_chain {
	struct chain chain;
	void *mem;
};

struct sim_node {
	enum node_state state;
	struct rack rack;
	bool loaded; // rack is
	struct sim_chain *chain[SIM_VERSIONS]; // NULL: not held
	unsigned version; // current
	void *mem;
	size_t size;
	struct node *node; // NULL: off
	unsigned boots;
	uint64_t half_used_ns[2]; // when a life ended that had handed out NAT ports of that half
	struct sim_worker *worker; // workers of them
	uint64_t control; // messages to other nodes, in all its lives
	uint64_t control_before; // ... by the last walk
	uint64_t lost_ns[SIM_NODES_MAX]; // when a message of it to that node was lost last
	uint64_t work_before; // ... and what it had repaired and answered by then
};

struct link { // one way of a node's cable
	uint64_t free_at_ns; // what was sent has left by then
};

struct port { // of the switch
	struct bfd bfd;
	struct link to_node, from_node;
	uint64_t due_ns;
	uint64_t down_ns; // when it went down last
	uint32_t serial;
	bool flapped, fluttered; // held down by FAULT_FLAP, by FAULT_FLUTTER
	uint32_t loss; // in a million, of everything: a burst
};

struct world_totals {
	uint64_t frames_to_nodes, frames_to_hosts, frames_lost, nic_drops, steps;
	uint64_t workload_bytes, control_bytes; // towards hosts; between nodes
	uint64_t reconfigured; // connections that were open when a node's chain changed
	uint64_t counters[COUNTERS]; // of nodes that have gone
};

struct world {
	struct options o;
	uint64_t now_ns;
	struct ecmp mistaken; // what nodes take for the switch's hash (PREDICTION_MISTAKEN)
	struct events events;
	struct rng net_rng, fault_rng, run_rng, tie_rng, node_rng, move_rng, end_rng;
	char *rackfile[SIM_VERSIONS];
	unsigned newest; // version that every node holds, or is about to be given

	struct sim_node node[SIM_NODES_MAX];
	struct port port[SIM_NODES_MAX];
	struct link host_link[2];
	uint64_t up; // ports to which the switch sends flows
	uint64_t cut[SIM_NODES_MAX]; // [from]: nodes that do not get its frames
	uint32_t slow_us; // so much longer takes what nodes tell each other
	bool healed; // links are perfect from now on

	struct pieces *pieces; // NULL: nothing is cut
	uint32_t pieces_id;
	struct hosts *hosts;
	uint64_t hosts_due_ns;
	uint32_t hosts_serial;

	struct faults faults;
	struct flood flood;
	struct checker check;
	struct trace trace;
	struct world_totals totals;

	struct bytes *free_bytes; // frames under way
	struct buffer *free_buffers; // of nodes
	long buffers; // handed to nodes and not yet given back
	long frames; // under way
};

// ---- world.c ----
struct world *world_new(const struct options *o, FILE *trace);
void world_run(struct world *w); // all phases; violations are in w->check
void world_finish(struct world *w); // the liveness phase
void world_free(struct world *w);
// A part of it, for scripts and tests: events up to that time.
void world_until(struct world *w, uint64_t end_ns);
void world_event(struct world *w, enum event_type type, uint64_t at_ns, unsigned node,
	unsigned worker, uint32_t serial);
void world_hosts_start(struct world *w);
void world_counters(const struct world *w, uint64_t out[COUNTERS]); // of all nodes there were

// ---- node_run.c ----
void node_run_start(struct world *w, unsigned i);
void node_run_kill(struct world *w, unsigned i);
void node_run_freeze(struct world *w, unsigned i, bool frozen);
void node_run_stall(struct world *w, unsigned i, unsigned worker, bool stalled);
void node_run_arrive(struct world *w, unsigned i, unsigned worker, struct bytes *b, uint16_t vlan);
void node_run_step(struct world *w, unsigned i, unsigned worker);
long node_run_buffers_lost(struct world *w);
void node_run_reconfigure(
	struct world *w, unsigned i, unsigned version); // gives it a chain, or makes it current
void node_run_retire(struct world *w, unsigned i); // chains that the node has given up
void node_run_free(struct world *w, unsigned i); // with its configuration
static inline bool node_run_alive(const struct world *w, unsigned i)
{
	return w->node[i].state != NODE_OFF;
}

// ---- net.c ----
struct bytes *net_bytes(struct world *w, const uint8_t *data, uint16_t len);
void net_bytes_release(struct world *w, struct bytes *b);
void net_init(struct world *w);
void net_from_hosts(
	struct world *w, enum tripod_direction side, const uint8_t *bytes, uint16_t len);
void net_from_node(struct world *w, unsigned i, const struct frame *f);
void net_port_rx(struct world *w, unsigned i, const uint8_t *bytes, uint16_t len); // BFD
void net_port_due(struct world *w, unsigned i);
void net_port_changed(struct world *w, unsigned i);
