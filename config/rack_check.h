// SPDX-License-Identifier: BSD-3-Clause
// What a table of options cannot say about a rack: that its parts fit together. For this folder
// alone.
//
// The checks run even when the schema has found mistakes, so that all are reported at once; they
// pass over what is absent or wrong already.
#pragma once

#include "config/rack.h"

struct rack_side {
	const struct tripod_conf *conf;
	const char *name;
	unsigned n; // gateways that could be read
	struct {
		const struct tripod_conf *conf;
		struct tripod_addr addr;
		struct tripod_prefix prefix;
	} gateway[2];
};

#define RACK_CLAIMS_MAX (8 + RACK_UPLINKS_MAX + 6 * NODES_MAX)
struct rack_claim {
	uint8_t key[16]; // address, or MAC or port in its first bytes
	unsigned line;
	char owner[48];
};
struct rack_claims {
	unsigned n;
	struct rack_claim claim[RACK_CLAIMS_MAX];
};

struct rack_check {
	struct conf_doc *doc;
	const struct tripod_conf *root, *rack, *network, *nodes, *switch_;
	struct rack_side side[2]; // by enum tripod_direction of what arrives there
	struct rack_claims addrs, macs, ports;
};

// Fills c and r->nodes (sorted by id), reporting to r->doc what does not fit.
void rack_check_all(struct rack_check *c, struct rack *r);
// The chain: NFs known, their sections as their tables want.
void rack_check_chain(const struct tripod_conf *chain);

// A number that the schema has found right; false when it is absent or wrong.
bool rack_number(const struct tripod_conf *c, const char *key, uint64_t *value);
