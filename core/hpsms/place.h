// SPDX-License-Identifier: BSD-3-Clause
// Where copies go: what a worker knows of the rack for that, and the batch of connections that is open.
//
// Thread: the shard's worker. Fields that others touch say so.
#pragma once

#include <stdatomic.h>

#include "core/hpsms/minchurn.h"
#include "core/hpsms/odds.h"

struct placing {
	struct odds odds; // of the ports and failures below
	uint64_t ports;
	unsigned failures;

	// Loads that this worker's connections make at each node (minchurn.h); they fade, as connections
	// end. Worker: rw, worker 0: ro.
	_Atomic uint64_t placed[MINCHURN_NODES];
	uint64_t at_tell[MINCHURN_NODES]; // what they were when the nodes last told each other
	uint32_t tells; // number of that

	// Records that have their first copy and wait for the others.
	unsigned n;
	uint64_t since_ns; // of the first
	bool closing; // what is queued now has waited since then
	uint32_t conn[MINCHURN_BATCH];
	struct minchurn batch;
};

// What a node knows of all loads.
struct placing_told {
	uint16_t by[MINCHURN_NODES]
		   [MINCHURN_NODES]; // worker 0: as others have told (minchurn_pack())
	_Atomic uint64_t
		load[MINCHURN_NODES]; // worker 0: wo, workers: ro; sums, this node included
	_Atomic uint32_t tells; // worker 0: wo, workers: ro; counts them
};
