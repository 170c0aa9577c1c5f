// SPDX-License-Identifier: BSD-3-Clause
// What one worker knows of the other nodes, and the messages that it is filling for them.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/frame.h"
#include "core/hpsms/channel.h"
#include "core/hpsms/session.h"

// A member as this worker sees it, and what has been said to each of its workers.
struct peer {
	bool configured, live;
	uint8_t hello; // WIRE_HELLO_READY, WIRE_HELLO_DRAINING
	uint8_t workers; // 0: never heard
	uint8_t mac[6];
	uint64_t boot;
	struct channel *channel; // peer_workers of them
	struct outgoing *out; // one a channel: the message being filled
	struct lag *lag; // of all channels
	uint64_t lost_ns; // since when it is not live
	uint64_t restarted_ns; // when it was heard to have started anew; 0: never
	uint64_t serve_tokens_ns; // time from which its unspent budget of questions counts
	struct auth_peer *auth;
};

struct outgoing {
	struct frame frame; // buf != NULL: open
	struct channel_message *message;
	uint16_t used; // bytes of the message so far
	uint64_t chain; // of the last record in it that has one
	uint16_t count;
	bool urgent; // leaves at the end of this step
	uint64_t due_ns; // when what is queued leaves at the latest
};
