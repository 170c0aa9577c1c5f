// SPDX-License-Identifier: BSD-3-Clause
// What one worker of this node has sent to, and received from, one worker of another node.
//
// Logs cross a lossy Ethernet, but a log here is not history: a record on the wire is the newest state
// of its connection, and merging it is idempotent and commutative. So the channel retransmits
// *connections*, never messages: when a message is lost, the connections in it that nobody has
// acknowledged since are queued again and go out with whatever they have become. Messages are
// acknowledged one by one (cumulative number and a bitmap), in any order, and acknowledgements ride
// on the logs of the other direction.
//
// A message that was lost is never sent again, so its number never arrives. But a sender has at most
// CHANNEL_WINDOW messages under way: whoever receives number s knows that all up to s - CHANNEL_WINDOW
// are settled, and moves its cumulative number there. Numbers count 1, 2, ... 2^32 - 1, 1, ...
//
// Thread: the owning worker. No allocation after channel_init().
#pragma once

#include <stdbool.h>

#include "core/arena.h"
#include "core/hpsms/lag.h"

#define CHANNEL_WINDOW 64 // messages under way
#define CHANNEL_REFS 40 // records a message, at most
#define CHANNEL_BATCH 32 // of them, those that fill a batch: it leaves at once

struct channel_ref {
	uint32_t conn; // record in the store
	uint32_t stamp; // conn_repl.stamp when it was sent
};

struct channel_message {
	uint32_t seq; // 0: free
	uint16_t n;
	uint16_t overtaken; // messages sent later and acknowledged
	uint64_t sent_ns;
	uint64_t changed_ns; // when the first of its records was queued
	struct channel_ref ref[CHANNEL_REFS];
};

struct channel {
	uint32_t peer_boot; // low 32 bits; all below is void when it changes

	// Sending.
	uint32_t *queue; // ring of records waiting to be sent
	uint32_t queue_mask, queue_head, queue_tail;
	uint64_t queued_since_ns; // when the oldest went in; 0: empty
	uint32_t next_seq; // from 1
	struct channel_message *window; // CHANNEL_WINDOW, slot seq % CHANNEL_WINDOW
	uint32_t oldest_seq; // every message before it is settled
	uint64_t rtt_ns; // smoothed, from sending to acknowledgement
	uint64_t rto_ns;
	struct lag *lag; // where acknowledgements are counted; may be NULL

	// Receiving.
	uint32_t rx_ack; // every message up to this one has arrived, or been given up by its sender
	uint64_t rx_bits; // bit i: rx_ack + 2 + i
	bool ack_owed; // since ack_since_ns
	uint64_t ack_since_ns;
	bool ack_now; // the peer waits for it
};

// queue_size: records that can wait, a power of two.
void channel_init(struct channel *c, struct arena *a, uint32_t queue_size);
// The peer has restarted (or was heard for the first time): forget all, keep the memory. No callback
// for what was queued or under way: the new peer has no record, and needs all again.
void channel_reset(struct channel *c, uint32_t peer_boot);

// ---- Sending ----
bool channel_queue(struct channel *c, uint32_t conn, uint64_t now_ns); // false: full
static inline uint32_t channel_queued(const struct channel *c)
{
	return c->queue_head - c->queue_tail;
}
uint32_t channel_pop(struct channel *c); // the oldest record waiting, 0: none (records are from 1)

// A message to fill: NULL while the window is full. Give records to channel_message_add() as they
// are encoded, then send it under m->seq. channel_message_cancel() takes an empty one back.
bool channel_full(struct channel *c);
struct channel_message *channel_message_new(struct channel *c, uint64_t now_ns);
void channel_message_add(struct channel_message *m, uint32_t conn, uint32_t stamp);
void channel_message_cancel(struct channel *c, struct channel_message *m);

// May call channel_queue(), and nothing else of the channel.
typedef void (*channel_ref_fn)(void *ctx, uint32_t conn, uint32_t stamp);
// The peer's acknowledgement: calls acked for each record of each message that it settles.
void channel_acked(struct channel *c, uint32_t ack, uint64_t bits, uint64_t now_ns,
	channel_ref_fn acked, void *ctx);
// Messages not acknowledged for the retransmission time-out, or overtaken by three acknowledged
// ones: calls lost for each record and settles them. Returns the number of messages lost.
unsigned channel_lost(struct channel *c, uint64_t now_ns, channel_ref_fn lost, void *ctx);
// The peer has been heard: the time-out is what the round trip says, however often it has been doubled.
void channel_hasten(struct channel *c);
// The peer could not make use of all records of message seq: calls lost for each, and settles it.
// Returns 1 if it was under way.
unsigned channel_refused(struct channel *c, uint32_t seq, channel_ref_fn lost, void *ctx);
// Earliest time at which channel_lost() may find one; UINT64_MAX when nothing is under way.
uint64_t channel_next_ns(const struct channel *c);

// ---- Receiving ----
enum channel_rx {
	CHANNEL_NEW,
	CHANNEL_DUPLICATE, // or given up by its sender, who sends its records again
	CHANNEL_FAR, // no number that the peer can have come to: drop, do not acknowledge
};
// What channel_received() would say.
enum channel_rx channel_check(const struct channel *c, uint32_t seq);
// A sequenced message has come and is to be acknowledged; also notes that this is owed.
enum channel_rx channel_received(struct channel *c, uint32_t seq, uint64_t now_ns);
