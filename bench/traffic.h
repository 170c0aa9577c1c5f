// SPDX-License-Identifier: BSD-3-Clause
// Connections as their two ends see them: TCP to a VIP from outside, TCP from inside through source
// NAT. Builds their frames, and checks each one that comes out: rewriting, checksums, MAC addresses,
// order.
#pragma once

#include "bench/rig.h"

// IPv4 addresses and ports in host byte order; 0: not known yet, the first packet tells.
struct flow {
	uint32_t remote; // the end outside
	uint32_t outer; // the end inside, as the outside knows it
	uint32_t inner; // the end inside
	uint16_t remote_port, outer_port, inner_port;
	uint16_t initiator; // enum tripod_direction of its packets
	uint32_t seq[2]; // next sequence number of each end, by the direction of its packets
};

#define TRAFFIC_FRAME 60 // bytes, without tag and frame check sequence
// The n-th connection of its kind, not open yet.
void traffic_flow(struct flow *f, uint64_t n, bool inside, struct rng *rng);
// The next packet of one end, with its tag, into TRAFFIC_FRAME + RIG_TAG bytes.
void traffic_build(uint8_t *at, struct flow *f, unsigned from, uint8_t flags, unsigned payload);
// What is wrong with the frame that came out for a packet of f from that end; NULL: nothing.
const char *traffic_check(struct flow *f, unsigned from, const uint8_t *at, unsigned len);

struct traffic {
	struct rig *rig;
	struct rng rng;
	struct flow *flow; // n of them
	uint32_t n;
	uint64_t in, out; // packets so far
	uint64_t preempted; // batches during which another process had the CPU
};

// n connections of which `inside_percent` are opened from inside, none of them open yet.
int traffic_init(
	struct traffic *t, struct rig *r, uint32_t n, unsigned inside_percent, uint64_t seed);
void traffic_free(struct traffic *t);

struct batch {
	unsigned n; // at most RIG_BATCH
	struct {
		uint32_t flow;
		uint8_t from; // enum tripod_direction
	} packet[RIG_BATCH];
};

// Builds the batch's packets (tcp flags; `payload` bytes, 0 to 6: a frame has 60 bytes), sends them
// through the node and checks what comes out. *cycles: of the node alone. *clean: nobody else had the
// CPU meanwhile. With a stage packets are only counted. 0, or -EIO with rig->error.
int traffic_send(struct traffic *t, const struct batch *b, uint8_t flags, unsigned payload,
	rig_stage_fn stage, uint64_t *cycles, bool *clean);
// A batch of n packets of random connections among the first `open`, of both directions.
void traffic_draw(struct traffic *t, struct batch *b, unsigned n, uint32_t open);
// The packets of connections first, first + 1, ... of the end that opened them, or of the other.
void traffic_pick(
	const struct traffic *t, struct batch *b, uint32_t first, unsigned n, bool initiator);
