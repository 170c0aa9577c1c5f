// SPDX-License-Identifier: BSD-3-Clause
// A network function for the simulator alone: it asks for a change of the connection's state every few
// packets, on whichever node they are, and keeps book in that state of what has been applied. So whatever
// is applied twice, or not at all, stands there for check_request.c to see.
#pragma once

#include <tripod/nf.h>

#define LEDGER_LINES 6

struct ledger_state {
	union {
		// Durable: who has asked, the latest first, and the number of its last request. An asker
		// is one node for as long as it remembers its soft bytes, under a random name.
		uint64_t line[LEDGER_LINES];
		struct {
			uint64_t line_0, line_1, line_2, line_3, line_4, line_5;
		};
	};
	uint32_t twice,
		lost; // durable: requests that were applied although they had been, or never
	// Soft: this node's name; its last request; its last one that another node had to apply; packets
	// until the next.
	uint32_t asker, asked, elsewhere, left;
};

extern const struct tripod_nf ledger;

// The number of an asker's last request that has been applied; 0: it has no line.
uint32_t ledger_last(const struct ledger_state *s, uint32_t asker);
