// SPDX-License-Identifier: BSD-3-Clause
// How a switch spreads flows over the ports that are up: which fields it hashes, and how it picks.
//
// Pure functions of their arguments, so the same value serves the simulated switch and, as
// next_hop_fn, the nodes that predict it. Ports are node ids; sets of them are masks.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <tripod/tuple.h>

enum ecmp_model {
	ECMP_MODULO, // hash modulo the number of ports up: a change moves nearly every flow
	ECMP_TWO_STAGE, // among all ports; flows of one that is down are hashed anew among the rest
	ECMP_RESILIENT, // each flow has its order of ports: a change moves only the flows of that port
	ECMP_MODELS,
};

enum ecmp_fields {
	ECMP_OUTSIDE_ENDPOINT, // both directions of a connection arrive at one node, through NAT too
	ECMP_SYMMETRIC, // ... unless an NF rewrites
	ECMP_5_TUPLE, // each direction goes where it goes
	ECMP_FIELDS,
};

extern const char *const ecmp_model_names[ECMP_MODELS + 1]; // NULL-terminated
extern const char *const ecmp_fields_names[ECMP_FIELDS + 1];

struct ecmp {
	enum ecmp_model model;
	enum ecmp_fields fields;
	uint64_t seed; // of the switch's hash
	uint64_t ports; // configured
	unsigned failures; // that there are prediction groups for (modulo, two-stage)
	uint64_t without; // ports that those groups do without, since their failure lasts
};

// Of a packet with this tuple that arrives from the side which its direction names. Of ICMP a switch
// sees addresses only.
uint64_t ecmp_hash(const struct ecmp *e, const struct tripod_tuple *t);
// The port for a hash while those of `up` are up; -1: none is.
int ecmp_pick(const struct ecmp *e, uint64_t hash, uint64_t up);
// The port that a prediction group picks for a hash (core/node.h numbers them), and the place that it writes on the
// frame; -1: there is no such group. Groups of so many ports pick dead ones, too.
int ecmp_group(const struct ecmp *e, uint64_t hash, unsigned group, uint64_t up, unsigned *place);
// Writes a place on an IP packet, as the switch does.
void ecmp_mark(uint8_t *ip, unsigned place);
// Both: a next_hop_fn (core/node.h); ctx is a struct ecmp.
int ecmp_next(const void *ctx, const struct tripod_tuple *t, uint64_t up);
