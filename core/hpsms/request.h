// SPDX-License-Identifier: BSD-3-Clause
// Requests that wait until they are known to be applied; request.c says how that goes.
#pragma once

#include "core/frame.h"
#include "core/hpsms/wire.h"

#define REQUEST_HASH 256

// A connection's request: for one of its NFs, to end, or first the one and then the other.
struct request {
	uint64_t hash; // of the connection's key
	uint64_t incarnation;
	uint64_t next_ns; // when it is looked at again
	uint64_t
		seen_ns; // since when the copy here has it, under seen_writer and seen_epoch; 0: not yet
	uint32_t chain; // next in its hash list; or of the free ones
	uint32_t older, newer; // in the list of all
	uint32_t seq;
	uint16_t seen_epoch;
	uint8_t seen_writer;
	bool asks; // for an NF
	bool terminate;
	uint8_t nf, size, tries;
	uint8_t data[TRIPOD_REQUEST_MAX];
};

struct requests {
	struct request *pool;
	uint32_t hash[REQUEST_HASH]; // first of each list, 0: none
	uint32_t free, oldest, newest, used;
	uint32_t seq; // of the last one
	uint64_t due_ns; // when the first of them is to be looked at
	struct {
		struct frame frame; // buf != NULL: open
		uint16_t used, count;
		uint8_t type, node, worker;
	} out; // the REQUEST or APPLIED being filled
};
