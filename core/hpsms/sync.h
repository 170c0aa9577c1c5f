// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <stdint.h>

#define SYNC_HASH 1024

struct parked;
struct sync_queue;
// Packets that wait until their state is acknowledged (hpsms/sync.c).
struct sync {
	struct parked *parked;
	struct sync_queue *queues;
	uint32_t hash[SYNC_HASH]; // first queue of each list, 0: none
	uint32_t free_parked, free_queue;
	uint32_t oldest, newest, used;
	uint32_t ready; // queues to be looked at in this step
	uint64_t responsive; // members that answered when it was last looked at
};
