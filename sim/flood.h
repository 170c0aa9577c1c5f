// SPDX-License-Identifier: BSD-3-Clause
// Floods: packets from outside that belong to nobody, beside what hosts send. Their senders hear no
// answer, and what they reach inside does not answer, so each costs the rack as much as it can.
#pragma once

#include <tripod/tuple.h>

#include "core/rng.h"

#define FLOOD_PAIRS 64

struct world;

enum flood_kind {
	FLOOD_UNKNOWN, // TCP of connections that nobody has
	FLOOD_COLLIDING, // ... half of them with the fingerprint of one that somebody has
	FLOOD_SYN, // new connections
	FLOOD_UDP, // the same, of UDP
	FLOOD_MIXED,
	FLOOD_KINDS,
};
extern const char *const flood_names[FLOOD_KINDS + 1]; // NULL-terminated

struct flood {
	enum flood_kind kind;
	uint32_t per_s; // packets
	uint64_t due; // ... so many millionths of one are yet to be sent
	struct rng rng;
	struct tripod_tuple pair[FLOOD_PAIRS]; // tuples that collide
	unsigned n_pairs;
	uint64_t sent, arrived; // arrived: of them, at hosts, which do not answer
};

#define FLOOD_STEP_US 50 // between two batches of packets

void flood_begin(struct world *w, enum flood_kind kind, uint32_t per_s);
void flood_step(struct world *w);
// Looks among so many tuples for some that share a fingerprint with a connection of the rack's.
void flood_find_pairs(struct world *w, unsigned tries);
// Is this packet of a flood, or an answer to one?
bool flood_owns(const struct tripod_tuple *t);
