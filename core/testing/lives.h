// SPDX-License-Identifier: BSD-3-Clause
// Whole lives of TCP connections through a rack, for tests: clients inside open, ask, are answered and
// close through a source NAT whose port is drawn by chance, so that a connection goes on only if its
// state does. Both ends repeat what is not answered, and check all that they get.
#pragma once

#include "core/testing/rack.h"

struct lives;
// A client for each of n tuples, to be started one by one. repeat_ms: what is not answered is repeated.
struct lives *lives_new(struct rack *r, unsigned n, unsigned repeat_ms);
void lives_free(struct lives *l);

// Connection i goes to this address and port outside; before lives_open().
void lives_to(struct lives *l, unsigned i, const char *address, uint16_t port);
// The first packet of connection i, as frames.h describes it.
struct frame_spec lives_first(const struct lives *l, unsigned i);
void lives_open(struct lives *l, unsigned i);
void lives_step(struct lives *l); // one step of the rack, and what the hosts do about what arrived

// How far a connection has come: each is a step of its life as both ends see it.
enum life {
	LIFE_NONE,
	LIFE_OPENING, // the client has sent its SYN
	LIFE_OPEN, // ... has got the SYN+ACK, and asked
	LIFE_ANSWERED, // ... has got the answer, and sent its FIN
	LIFE_CLOSED, // ... has got the server's FIN
	LIFE_BROKEN, // an end got what does not belong to its connection
};
enum life lives_at(const struct lives *l, unsigned i);
unsigned lives_count(const struct lives *l, enum life at);
