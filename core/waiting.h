// SPDX-License-Identifier: BSD-3-Clause
// Packets that wait in a worker, and the lists of records that it looks for room in.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/frame.h"

struct waiting {
	struct frame frame;
	uint32_t next; // 0: last
	uint32_t conn; // of a packet held by an NF
	uint64_t incarnation; // ... the life of the record that it belongs to
	uint8_t skip; // ... NFs that it has passed
	uint8_t nf; // ... position of the one that holds it
	uint8_t dir;
	bool lost; // to be dropped: its connection has ended, or may be known to who did not answer
	uint32_t round; // of a packet that waits for a round of index sets
	uint32_t fp; // ... the fingerprint of its tuple
};

// The latest records of some kind, in a ring: the oldest go first.
struct recent {
	uint32_t *at;
	uint32_t mask, head, tail;
};
