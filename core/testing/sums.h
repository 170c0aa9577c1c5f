// SPDX-License-Identifier: BSD-3-Clause
// A rack whose switch parts the directions of connections, with an NF that counts, at the one who writes,
// what both directions ask for: for tests of requests.
#pragma once

#include "core/testing/rack.h"

#define SUMS_SERVER "10.1.0.101"
#define SUMS_CONNS 64
#define SUMS_SECOND 7 // payload of the packet that asks twice
#define SUMS_END 8 // ... that ends the connection
#define SUMS_ASK_AND_END 9
#define SUMS_ODD 11 // ... that asks for what cannot be
#define SUMS_VALUE 100 // ... of this and more: its length is added to the sum

struct sums_state {
	uint32_t sum; // of requests from another node
	uint32_t own; // of those that ran at once: changes of the writer's, like any other
	uint32_t soft;
};

// What NFs saw on all nodes since sums_rack().
struct sums {
	struct { // by connection (the initiator's port)
		uint32_t accepted; // sum of what was accepted and did not run at once
		uint64_t at; // nodes that accepted some
		// of what ran at once where the writer had died: asked for again if that is lost
		uint32_t adopted;
		unsigned busy, full, odd;
	} seen[SUMS_CONNS];
	unsigned runs, here; // on_request() calls; those within the call that asked
	unsigned closed;
	uint32_t closed_sum;
};
extern struct sums sums;

struct rack *sums_rack(struct rack_conf c);
void sums_open(struct rack *r, unsigned n); // connections 0 to n - 1
void sums_done(struct rack *r); // nothing is under way, nothing lost; frees it

// A packet of connection n, UDP, from either side.
void sums_client(struct rack *r, unsigned n, unsigned payload);
void sums_server(struct rack *r, unsigned n, unsigned payload);
// The nodes that they go to, and the first connection for which these are two.
unsigned sums_writer(struct rack *r, unsigned n);
unsigned sums_other(struct rack *r, unsigned n);
unsigned sums_split(struct rack *r);
struct tripod_tuple sums_key(unsigned n);

uint32_t sums_at(struct rack *r, unsigned node, unsigned n); // UINT32_MAX: no copy
// All live copies of connection n have this sum, and there are at least two.
void sums_assert(struct rack *r, unsigned n, uint32_t want);
unsigned sums_under_way(struct rack *r); // requests, on all workers
