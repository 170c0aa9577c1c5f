// SPDX-License-Identifier: BSD-3-Clause
// Which node has which slot, for switches that look up a hash in a table of 2^k slots and go on to the
// next live one when a slot's node is dead (dp_hash of Open vSwitch).
//
// Pure. Nodes are ranks here, 0..n-1.
#pragma once

#include <stdint.h>

#define SLOTS_MAX 256 // Open vSwitch takes no more

// Slots of a table for n nodes: enough for even shares, and for what a dead node leaves.
unsigned slots_count(unsigned n);
// Shares differ by one at most; what follows the slots of one node belongs to all others alike. One
// node more, at the end, takes its share and moves nothing else.
void slots_fill(unsigned n, uint8_t out[SLOTS_MAX]);
