// SPDX-License-Identifier: BSD-3-Clause
// One BFD session with the switch (RFC 5880 asynchronous mode, RFC 5881 encapsulation).
//
// It is how the switch knows that this node forwards: the session is kept up only while every worker
// makes progress and the node is ready, and is taken down at once for a drain. Sans-I/O: time comes
// in, frames go out.
#pragma once

#include <tripod/packet.h>

#include "core/frame.h"
#include "core/rng.h"

enum bfd_state { BFD_ADMIN_DOWN = 0, BFD_DOWN = 1, BFD_INIT = 2, BFD_UP = 3 };

struct bfd_conf {
	uint32_t tx_us; // desired minimum transmit interval
	uint32_t rx_us; // required minimum receive interval
	uint8_t multiplier;
	uint8_t mac[6]; // source MAC, the node's own
	uint8_t peer_mac[6]; // 00:23:20:00:00:01 for Open vSwitch
	uint32_t src_v4, dst_v4; // network order; 169.254.1.0 and 169.254.1.1 for Open vSwitch
};

struct bfd {
	struct bfd_conf conf;
	uint8_t state, remote_state; // enum bfd_state
	uint8_t diag;
	uint8_t remote_multiplier;
	bool admin_up; // the node wants the session up
	bool remote_demand; // the peer asks for silence while the session is up
	bool poll; // an answer (Final) is owed to the peer's Poll
	bool polling; // this side polls: its transmit interval has changed
	uint32_t local_discriminator, remote_discriminator;
	uint32_t remote_tx_us, remote_rx_us;
	uint32_t tx_us; // transmit interval that this side announces: 1 s or more unless up
	uint64_t sent_ns; // last periodic packet
	// detect_ns: when the session falls without a packet; 0: none
	uint64_t next_tx_ns, detect_ns;
	uint64_t changes; // state changes so far
};

void bfd_init(struct bfd *b, const struct bfd_conf *conf, struct rng *rng);
void bfd_admin(struct bfd *b, bool up, uint64_t now_ns);
// A PARSE_BFD packet: 0, or -EINVAL when it is malformed or of another session (RFC 5880, 6.8.6).
int bfd_rx(struct bfd *b, const struct tripod_packet *p, uint64_t now_ns);
// Detects a lost peer; writes a packet into f (an empty frame) and returns true when one is due.
bool bfd_tick(struct bfd *b, struct rng *rng, uint64_t now_ns, struct frame *f);
static inline uint64_t bfd_next_ns(const struct bfd *b)
{
	return b->detect_ns != 0 && b->detect_ns < b->next_tx_ns ? b->detect_ns : b->next_tx_ns;
}
const char *bfd_state_name(enum bfd_state s); // "up", "down"...
