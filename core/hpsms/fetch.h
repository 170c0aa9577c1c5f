// SPDX-License-Identifier: BSD-3-Clause
// Fetching a chain from a peer, by its id: what worker 0 knows of it, and what the control thread is
// handed. One chain at a time; what else is wanted waits, and what does not fit is wanted again soon.
#pragma once

#include <stdatomic.h>

#include "core/chain.h"

#define FETCH_WANTS 16
#define FETCH_REFUSALS 16
#define FETCH_BYTES_STANDARD (64u << 10)

enum fetch_state {
	FETCH_IDLE, // worker 0's
	FETCH_ASKING, // worker 0's
	FETCH_HERE, // the control thread's: id, bytes, size
	FETCH_TAKEN, // worker 0's again: it was added
	FETCH_REFUSED, // ... it was not
};

struct fetch {
	_Atomic int state; // enum fetch_state: whose turn it is
	uint64_t id;
	uint8_t *bytes; // of its description, room for `room` of them
	uint32_t room, size, got; // got: from the start, without a gap
	uint32_t asked; // where what was asked for last begins
	uint8_t node; // that is asked
	uint8_t tries; // without an answer
	uint64_t asked_ns, begun_ns;
	struct fetch_want {
		uint64_t id; // 0: free
		uint64_t nodes; // that should have it
	} want[FETCH_WANTS];
	unsigned next; // want to look at next
	struct {
		uint64_t id, until_ns; // not to be asked for until then
		bool unable; // this node cannot take it: not that nobody gave it
	} refused[FETCH_REFUSALS];
	unsigned next_refused;
	uint64_t serve_tokens_ns; // time from which unspent answers count
};

struct shard;
struct wire_chain;
struct wire_chain_ask;
struct wire_hello;

void fetch_init(struct fetch *f, struct arena *a, uint32_t room);
// A peer has a chain that this node may lack.
void fetch_want(struct shard *s, uint64_t id, unsigned node);
void fetch_hello(struct shard *s, unsigned node, const struct wire_hello *h);
// Worker 0: a member has connections under a chain that this node lacks and may still get.
bool fetch_pending(const struct shard *s);
uint64_t fetch_tick(struct shard *s); // worker 0; returns when next
void fetch_rx(struct shard *s, unsigned from, const struct wire_chain *c);
void fetch_serve(struct shard *s, unsigned node, const struct wire_chain_ask *a);
