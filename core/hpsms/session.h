// SPDX-License-Identifier: BSD-3-Clause
// What one worker keeps to seal what it sends to one peer, and to check what comes from it.
//
// A stream is what one worker sends to one address: a worker of a node, whichever worker of a node,
// or every node. Each has a counter at its sender, and a window at the one worker that receives it.
#pragma once

#include "core/hpsms/auth.h"

struct auth_session { // derived when first needed
	bool derived;
	uint8_t key[AUTH_KEY_SIZE];
};

struct auth_stream { // with one worker of a peer
	uint64_t sent; // to it
	struct auth_window one, any,
		all; // from it: to this worker, to any of this node, to all nodes
};

struct auth_peer {
	struct auth_session tx; // to this boot of the peer
	struct auth_session
		rx_one[AUTH_KEYS_MAX]; // from it to this node, by place of the cluster key
	struct auth_session rx_all[AUTH_KEYS_MAX]; // from it to every node
	uint64_t sent_any; // to whichever of its workers
	uint64_t floor; // where the windows of what goes to every node have begun
	// Worker 0. A boot is believed when it has echoed this number, which it is told alone: it is
	// alive now. One more with each boot that is believed.
	uint64_t challenge;
	uint64_t greet_tokens_ns; // time from which the unspent budget of greetings counts
	struct auth_stream *stream; // one for each of the peer's workers
};

struct auth_use { // of one cluster key
	uint8_t id;
	uint64_t tx, rx; // messages
};

struct auth_shard {
	struct auth_keys keys;
	uint32_t generation; // of keys
	struct auth_session tx_all; // to every node
	struct auth_use use[AUTH_KEYS_MAX]; // worker: rw, control: ro
};

// Keys on their way from the control thread to the workers. It writes the slot that no worker reads:
// the next one is handed over only when all have taken the last.
struct auth_handover {
	struct auth_keys slot[2]; // control: rw, workers: ro
	_Atomic uint32_t
		generation; // control: wo, workers: ro; its keys are in slot[generation & 1]
};
