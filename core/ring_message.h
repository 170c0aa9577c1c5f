// SPDX-License-Identifier: BSD-3-Clause
// What the workers of one node tell each other. A message is copied into the ring (core/ring.h) and belongs to
// whoever takes it out, a frame in it included.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <tripod/tuple.h>

#include "core/frame.h"
#include "core/hpsms/wire.h"

enum ring_type {
	RING_FRAME, // a received frame whose connection the other worker has
	RING_ALIAS_ADD,
	RING_ALIAS_DEL,
	RING_NEIGH, // an address was resolved
	RING_PEER, // a member came, went or restarted
	RING_DOUBT, // this node may have been away: validate before use
	RING_CHAIN, // a chain is wanted that a peer has
	RING_SERVE, // a peer asks for a connection that the other worker has
	RING_INDEX, // changes of this node's index set, for worker 0
	RING_INDEX_FLUSH, // worker 0 wants to hear of all that there is
	RING_INDEX_FLUSHED, // ... it has
	RING_KIND, // an item of a KIND message, between workers of one node
	RING_FRAGMENT, // the first fragment of a datagram has been forwarded
};

struct ring_message {
	uint8_t type; // enum ring_type
	uint8_t node, worker, live, workers, final, net;
	bool answered; // RING_ALIAS_ADD: the connection has been
	uint8_t hello; // RING_PEER: WIRE_HELLO_READY, WIRE_HELLO_DRAINING
	uint8_t chains; // of a peer: bit k: it holds the chain of slot k, too
	bool has; // RING_SERVE: who asks has a copy
	uint8_t mac[6];
	union {
		struct frame frame;
		struct {
			struct tripod_tuple key;
			uint64_t incarnation;
			uint32_t conn;
		} alias;
		struct tripod_tuple key;
		struct tripod_addr addr;
		struct {
			uint64_t boot, floor;
		} peer;
		uint64_t chain; // id
		uint64_t absent_ns; // RING_DOUBT
		struct {
			uint32_t fp[12];
			uint16_t n, removes; // bit i: fp[i] goes
			bool urgent;
		} index;
		struct {
			uint8_t size, bytes[WIRE_KIND_SMALL];
		} kind;
		struct wire_fragment fragment;
	};
};
