// SPDX-License-Identifier: BSD-3-Clause
// Where the cycles of a packet go: steps that do the first part of what shard_step() does, by the
// same functions, and then send the packet. What a stage costs is the difference between two of them.
#pragma once

#include "bench/rig.h"

enum stage {
	STAGE_PORT, // receive, swap MAC addresses and VLAN, send
	STAGE_PARSE, // and parse and hash
	STAGE_LOOKUP, // and find the connection, all of its lines prefetched
	STAGE_CHAIN, // and track TCP and run the chain
	STAGE_ALL, // shard_step(): and next hop, hop limit, counters, timers, replication
	STAGES,
};

extern const char *const stage_names[STAGES];
extern const char *const stage_helps[STAGES];
rig_stage_fn stage_fn(enum stage s); // NULL of STAGE_ALL
