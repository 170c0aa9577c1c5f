// SPDX-License-Identifier: BSD-3-Clause
// An NF for tests whose connections share something, and what there is of it in a rack: SHARES_MAX
// connections of a source may live, and all of them get one label.
#pragma once

#include "core/hpsms/kinds.h"
#include "core/testing/rack.h"

#define SHARES_SERVER "10.1.0.101"
#define SHARES_END 8 // payload of the packet that ends a connection
#define SHARES_CONNS 256 // that a test may open
#define SHARES_MAX 5 // units of a source

extern const struct tripod_nf shares_nf, shares_soft; // soft: its kind is
extern unsigned shares_told[4]; // results: 0, -EDQUOT, -ETIMEDOUT; taken at once
extern bool shares_open; // what cannot be asked for opens all the same

// Which connections of a source have got a packet through since the last call; answered, too.
struct shares_through {
	bool of[SHARES_CONNS];
	unsigned n;
	uint64_t nodes;
};

struct rack *shares_rack(struct rack_conf c); // what is 0 in it is as it should be
void shares_done(struct rack *r); // checks and frees it
struct frame_spec shares_packet(unsigned source, unsigned n, bool back, unsigned payload);
void shares_client(struct rack *r, unsigned source, unsigned n, unsigned payload);
struct shares_through shares_arrived(struct rack *r, unsigned source);
struct shares_through shares_opened(struct rack *r, unsigned source, unsigned first, unsigned n);
struct kind_key shares_key(struct rack *r, unsigned source);
// The entry of a source at a node; NULL: none.
const struct kind_entry *shares_entry(struct rack *r, unsigned node, unsigned source);
unsigned shares_held(struct rack *r, unsigned source); // connections of it that count, on all nodes
int shares_writer(struct rack *r, unsigned source); // -1: nobody
unsigned shares_units(const struct kind_entry *e);
// Entries are on so many nodes, equal, and say what is held.
void shares_assert_entry(struct rack *r, unsigned source, unsigned copies, unsigned want);
