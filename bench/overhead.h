// SPDX-License-Identifier: BSD-3-Clause
// `tripod-bench overhead`: what a connection's life costs on the fabric, in a rack of many nodes in
// virtual time. Every node opens, uses and closes connections at one rate, and keeps the copies of
// others: so acknowledgements ride on records as they would.
#pragma once

#include "bench/net.h"

#define OVERHEAD_RUNS_MAX 16

struct overhead_options {
	unsigned n_nodes;
	uint32_t nodes[OVERHEAD_RUNS_MAX];
	unsigned n_rates;
	uint32_t rate[OVERHEAD_RUNS_MAX]; // lives per second and node
	unsigned backups;
	unsigned inside_percent;
	uint32_t
		window; // virtual time that is measured, in turns of the wheel of time-outs (134 ms)
	uint32_t flush_us; // 0: as by default
	uint64_t seed;
};

enum overhead_op { OVERHEAD_PUT, OVERHEAD_UPDATE, OVERHEAD_BURY, OVERHEAD_OPS };

// Per life and backup, unless it says otherwise. Bytes are those of frames with their VLAN tag, without
// preamble and frame check sequence.
struct overhead_result {
	uint32_t nodes, rate;
	uint64_t lives;
	double log_bytes; // in both directions, acknowledgements included
	double ack_bytes; // of them, messages that are nothing else
	double head_bytes; // of them, headers and tags of messages with records
	double record_bytes[OVERHEAD_OPS], records[OVERHEAD_OPS];
	double messages, acks;
	double announced_bytes; // broadcast, per life: what each member gets of the index sets
	double idle_bytes; // per node and second, whatever the rate: heartbeats
	double lag_p50_us, lag_p99_us, lag_max_us; // from the answer to the last acknowledgement
	uint64_t lost; // messages that were sent again
};

// 0 or a negative errno, with r->error.
int overhead_run(struct rig *r, const struct overhead_options *o, unsigned nodes, uint32_t rate,
	struct overhead_result *out);
