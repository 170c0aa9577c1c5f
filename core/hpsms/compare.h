// SPDX-License-Identifier: BSD-3-Clause
// Connections of which copies are asked for in this tick; compare.c says which.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define COMPARES_MAX 8
struct compare {
	bool walks; // this walk through the table looks for them
	uint64_t next_ns; // ... and one that begins after this
	unsigned n;
	uint32_t conn[COMPARES_MAX];
	uint64_t nodes[COMPARES_MAX]; // that are asked
};
