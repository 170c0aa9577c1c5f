// SPDX-License-Identifier: BSD-3-Clause
// Who is alive: heartbeats of a configured set of members.
//
// Correctness never depends on this: only the speed of repair does, and whom a pull asks. Worker 0
// keeps it, and tells the others what changed.
#pragma once

#include "core/hpsms/wire.h"

#define MEMBERS_MAX 64

struct member {
	bool configured, live;
	bool ready, draining, asking; // says so
	uint8_t workers;
	bool left; // this boot has said that it shuts down
	uint64_t boot;
	uint8_t n_chains, chains_used; // as in struct wire_hello
	uint64_t chain[CHAINS_MAX]; // ids of the chains that it holds; the first is current there
	uint64_t boot_before; // never believed again: a late message, or a process that was frozen
	uint64_t sees; // members that it hears
	uint8_t port_changes; // as in struct wire_hello
	uint64_t heard_ns;
	uint64_t deaths;
	// Since it was first heard: how long that is, and for how long of it there was no life, unless it had said
	// that it leaves.
	uint64_t watched_ns, dead_ns;
};

struct members {
	uint8_t self;
	uint64_t live; // bit n: n is heard; self always
	uint64_t configured;
	uint64_t died; // since members_tick() last told
	uint64_t heartbeat_ns, dead_after_ns;
	uint64_t next_hello_ns;
	uint64_t changed_ns; // when live or a boot last changed
	uint32_t port_changes; // times that a member has told of some
	uint64_t last_tick_ns;
	struct member m[MEMBERS_MAX];
};

void members_init(struct members *m, uint8_t self, uint64_t configured, uint64_t heartbeat_ns,
	uint64_t dead_after_ns, uint64_t now_ns);
// A heartbeat. Returns true when the member came to life or has a new boot. A hello from an id that
// is not configured, or from this node's own id with another boot, changes nothing (false).
bool members_hello(struct members *m, uint8_t from, uint64_t boot, const struct wire_hello *h,
	uint64_t now_ns);
// The set of members that have died since the last call. When the clock itself has jumped (this
// process was stopped: the gap since the last tick is dead_after or more), *was_away is set, nobody
// is declared dead, and all get a fresh chance.
uint64_t members_tick(struct members *m, uint64_t now_ns, bool *was_away);
// Parts of a million of a member's time that it is dead: what has been seen of it here, and `prior_ppm` as if that
// had been seen for prior_h hours (0: prior_ppm alone). FAILURE_PPM_MAX at most.
uint32_t members_failure_ppm(
	const struct members *m, unsigned id, uint32_t prior_ppm, uint32_t prior_h);
// true when a heartbeat is due now; moves the due time on.
bool members_hello_due(struct members *m, uint64_t now_ns);
