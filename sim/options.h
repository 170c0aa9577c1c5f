// SPDX-License-Identifier: BSD-3-Clause
// Everything that makes one run what it is: drawn from its seed, but for what the command line fixes.
//
// Each value has a stream of its own, so that fixing one leaves the others as the seed has them.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/node.h"
#include "sim/ecmp.h"
#include "sim/flood.h"
#include "sim/hosts.h"

#define SIM_NODES_MAX 48
#define SIM_WORKERS_MAX 4

enum fault_kind {
	FAULT_KILL, // gone with all its memory; started again later, or not before the end
	FAULT_FREEZE, // stands still, and goes on with what it remembers
	FAULT_STALL, // one worker of it does
	FAULT_PARTITION, // nodes do not hear each other, both ways or one way
	FAULT_FLAP, // the switch moves flows between live nodes
	FAULT_LOSS, // frames are lost, now and then many in a row
	FAULT_DUP,
	FAULT_REORDER,
	FAULT_CORRUPT, // bytes change between nodes
	FAULT_RESTART, // planned: the node says that it leaves
	FAULT_ADD, // a configured node starts late
	FAULT_DRAIN, // a node gives all away, and takes it back or restarts
	FAULT_RECONFIGURE, // the nodes are given another chain, one after the other
	FAULT_FLUTTER, // ports go down and up again sooner than the nodes can tell each other
	FAULT_SLOW, // what nodes tell each other takes longer
	FAULT_FLOOD, // packets that belong to nobody (flood.h)
	FAULT_KINDS,
};
extern const char *const fault_names[FAULT_KINDS + 1]; // NULL-terminated

enum rss_mode {
	RSS_TOEPLITZ, // as a NIC that the core is made for
	RSS_OTHER, // another hash: one 5-tuple, one queue
	RSS_ANY, // every frame where it likes
	RSS_MODES,
};

// How nodes predict where packets arrive.
enum prediction {
	PREDICTION_NONE,
	PREDICTION_COMPUTED, // they know the switch's hash
	PREDICTION_CHECKED, // ... and the switch has prediction groups
	PREDICTION_PROBED, // the switch has prediction groups
	PREDICTION_MISTAKEN, // ... and they take another hash for the switch's
	PREDICTIONS,
};
extern const char *const prediction_names[PREDICTIONS + 1]; // NULL-terminated

struct options {
	uint64_t seed;
	unsigned nodes, k, workers;
	enum durability durability;
	struct ecmp ecmp;
	enum prediction prediction;
	enum placement placement;
	uint32_t faults; // bit n: enum fault_kind
	uint64_t duration_ns; // of the safety phase
	uint32_t fault_every_ms; // on average
	bool beyond; // more failures at one time than k
	bool tiny; // tables, queues and windows are so small that they fill
	unsigned late; // nodes that start during the run (FAULT_ADD)

	// The network. Probabilities are in a million.
	uint32_t latency_ns, jitter_ns, rate_mbps, queue_us;
	uint32_t workload_loss, fabric_loss, dup, reorder, reorder_us, corrupt;
	uint32_t slow_us; // at most, of FAULT_SLOW; 0: never
	uint32_t
		cut_bytes; // datagrams are cut into fragments of so many (pieces.h); 0: they are not
	bool cut_blind; // the switch sees no ports in first fragments either
	uint32_t flood_per_s; // packets, of FAULT_FLOOD; 0: never
	unsigned flood_kind; // enum flood_kind; FLOOD_KINDS: each has its own

	// The nodes.
	enum rss_mode rss;
	uint32_t poll_us, late_us, packet_ns; // how long frames lie, wakes are late, a packet takes
	uint32_t heartbeat_ms, dead_after_ms, flush_us, pull_timeout_ms, bfd_ms;
	uint32_t connections, embryonic, waiting, pulls, requests, pull_per_s, relay_per_s,
		repair_per_s;
	uint32_t predict_per_s;
	unsigned nat_ports; // of each address; few, so that nodes that take each other's are found
	uint32_t established_s, tombstone_s, udp_s;
	unsigned nic_queue; // frames
	bool unknown_reset;
	unsigned chain; // which of the chains of rackfile.c
	unsigned
		request_every; // packets, of the NF that asks for changes (ledger.h); 0: it is not there
	unsigned limit; // connections that a source may have (nf/limit); 0: the NF is not there
	unsigned
		limit_per; // bits of an IPv4 address that make a source, and as many of the last 32
	bool limit_refuses; // who cannot be told whether there is room for it
	uint32_t kinds; // keys of a worker

	struct hosts_conf hosts; // gateway_mac, send, event and ctx are the world's
};

// What the command line fixes; the rest is drawn.
struct overrides {
	int nodes, k, workers; // -1: drawn
	int durability, model, fields, prediction; // -1: drawn
	int64_t faults; // -1: drawn
	uint64_t duration_ns; // 0: drawn
	bool beyond;
	const struct sizes *sizes;
	const struct replay *replay;
};
#define OVERRIDES_NONE                                                                             \
	{                                                                                          \
		-1, -1, -1, -1, -1, -1, -1, -1, 0, false, NULL, NULL                               \
	}

void options_draw(struct options *o, uint64_t seed, const struct overrides *fixed);
// In place of what was drawn: links, workers and limits as one would build them, and no requests; for scenarios that
// measure one thing.
void options_plain(struct options *o);
void options_print(const struct options *o, FILE *to); // one line
static inline bool options_fault(const struct options *o, enum fault_kind kind)
{
	return o->faults >> kind & 1;
}

// ---- rackfile.c ----
// The rack's configuration file (malloc'd), with the chain in its first, second... version.
char *rackfile_text(const struct options *o, unsigned version);
extern const uint8_t RACKFILE_GATEWAY_MAC[2][6], RACKFILE_SWITCH_MAC[6];
#define RACKFILE_FABRIC_VLAN 30
#define RACKFILE_PREDICTION_VLAN 1024
static inline uint16_t rackfile_vlan(enum tripod_direction side)
{
	return side == TRIPOD_INCOMING ? 10 : 20;
}
