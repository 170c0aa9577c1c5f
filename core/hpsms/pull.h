// SPDX-License-Identifier: BSD-3-Clause
// A question for a connection that is not here, or to be made sure of; pull.c says how that goes.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <tripod/tuple.h>

#define PULL_HASH 4096

enum pull_state {
	PULL_FREE = 0,
	PULL_ASKING, // nodes have been asked for it
	PULL_ROUND, // they have it not: what says a round of index sets?
	PULL_FAILED, // nobody has it
};

struct pull {
	struct tripod_tuple key;
	uint64_t hash;
	uint64_t tried; // nodes asked so far
	uint64_t denied; // of them, those that have said that they have it not
	uint64_t awaited; // of them, those that have not answered
	uint64_t
		before; // of them, those whose first answer is to what they were asked before it made sure
	uint64_t started_ns, asked_ns;
	uint32_t first, last; // waiting packets
	uint32_t chain; // next in its hash list
	uint8_t state; // enum pull_state
	uint8_t n_waiting;
	bool found; // somebody sent it, but may not have the newest
	uint64_t found_ns; // ... when
	bool ask; // stands in the list of what the next PULL messages ask for
	bool checks; // the connection is known, and to be made sure of: everybody is asked
	bool sure; // ... and that has been done: PULL_FAILED, which ends it, means no more then
	uint64_t life; // PULL_FAILED: what was here then
	bool widened; // what was found was not it: all others have been asked, too
	bool rounds; // when all asked have it not, a round may tell of others
	// What a packet that waits acknowledges: a connection may have been opened twice, and this is how the initiator
	// says which of the two it has taken.
	bool named;
	uint32_t number;
	uint32_t next_ask; // in that list
	uint32_t round, next_round; // PULL_ROUND: which; and the next in their list
	uint32_t fp;
};

enum pull_how {
	PULL_BLIND = 1, // members whose set is not here may have it
	PULL_ROUNDS = 2, // members may have it and not have told yet
};
