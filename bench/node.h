// SPDX-License-Identifier: BSD-3-Clause
// `tripod-bench node`: one worker, from the receive ring to the transmit ring.
#pragma once

#include "bench/stages.h"
#include "bench/traffic.h"

#define NODE_REPETITIONS_MAX 101
#define NODE_RUNS_MAX 8

struct node_options {
	unsigned n_runs;
	uint32_t connections[NODE_RUNS_MAX];
	unsigned repetitions;
	uint64_t packets; // of each repetition and stage
	uint32_t lives; // connections opened and closed in each repetition
	unsigned inside_percent; // of connections opened from inside
	unsigned peers;
	bool replicate, large_pages;
	uint64_t seed;
};

struct spread {
	double median, least, most;
};

struct node_result {
	uint32_t connections;
	struct spread prefix[STAGES]; // TSC cycles per packet up to and with each stage
	double tsc_ghz;
	uint64_t packets_in, packets_out, preempted_batches;
	double mpps;

	uint32_t record_bytes, replication_bytes;
	double index_bytes; // per connection
	enum machine_pages pages;
	double large_share;

	struct spread life; // cycles of a whole connection: seven packets, replication, its end
	struct spread open; // cycles of opening one: three packets, and replication
	double open_control_tx, open_control_rx; // control bytes per connection opened
	double life_control_tx, life_control_rx; // and per whole life
	uint64_t copies; // of the connections, on other nodes, acknowledged
	uint64_t log_messages_lost;
};

// 0 or a negative errno, with r->error.
int node_run(
	struct rig *r, const struct node_options *o, uint32_t connections, struct node_result *out);
