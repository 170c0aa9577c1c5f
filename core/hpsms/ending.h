// SPDX-License-Identifier: BSD-3-Clause
// The end of a life whose record has been given to the next, for a holder that has not acknowledged it;
// ending.c says who is told when.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ENDINGS 128 // the latest

struct ending {
	uint64_t hash, incarnation;
	uint8_t node, worker; // that is told
	uint8_t reason;
	bool open; // has not been acknowledged, and the node not restarted
};

struct endings {
	struct ending at[ENDINGS];
	uint32_t next;
};
