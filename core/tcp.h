// SPDX-License-Identifier: BSD-3-Clause
// TCP connection tracking: states, windows of both directions, time-outs (RFC 9293, 5382, 7857).
//
// What is known of a direction is a few monotone flags (durable, replicated: they tell the state) and
// its windows (soft: learned from packets). The state of the connection is derived from the flags of
// both directions, so that two nodes, each master of one direction, never have to agree on it.
#pragma once

#include <tripod/nf.h>

enum tcp_dir_flag { // of the packets that this direction's sender has sent
	TCP_DIR_SYN = 1 << 0, // SYN (initiator), SYN+ACK (responder)
	TCP_DIR_ACK = 1 << 1, // has acknowledged the other direction's SYN
	TCP_DIR_FIN = 1 << 2,
	TCP_DIR_FIN_ACKED = 1 << 3, // has acknowledged the other direction's FIN
	TCP_DIR_RST = 1 << 4, // a reset inside the window
	TCP_DIR_WSCALE = 1 << 5, // offered window scaling in its SYN; shift in wscale
	// soft: the windows below are known. Whoever hands this direction's packets to another node
	// clears it: here they are no longer seen
	TCP_DIR_LEARNED = 1 << 6,
	// soft, but told while it matters: end is the number behind its FIN, whether windows are known or not
	TCP_DIR_FIN_SEEN = 1 << 7,
};
#define TCP_DIR_DURABLE 0x3f

struct tcp_dir {
	uint32_t end; // soft: highest sequence number + length that it has sent
	// soft: right edge of the highest window that the other side has offered it
	uint32_t max_end;
	uint32_t max_win; // soft: largest window that it has offered, scaled, bytes; at least 1
	uint8_t flags; // enum tcp_dir_flag
	uint8_t wscale : 4; // durable: shift of the windows that it offers, 0..14
	// soft, but told while it matters: end is the number behind its SYN or SYN+ACK, whether windows are known or not, and
	// nothing behind these has been seen here of either direction
	uint8_t isn : 1;
	// soft: low bits of what the other side has acknowledged (RFC 5961, 3.2)
	uint16_t acked_low;
};

enum tcp_state {
	TCP_SYN_SENT, // only the initiator has been heard
	TCP_SYN_RECEIVED, // answered, not yet confirmed
	TCP_ESTABLISHED,
	TCP_CLOSING, // one FIN seen or more
	TCP_CLOSED, // both FINs acknowledged, or reset
};

enum tcp_state tcp_state(const struct tcp_dir *initiator, const struct tcp_dir *responder);
const char *tcp_state_name(enum tcp_state s); // "syn-sent", "established"...

// Time after the last packet of either direction at which the connection ends, in milliseconds
// (RFC 5382 REQ-5: 2 h 4 min established, 4 min transitory; embryonic from configuration).
struct tcp_timeouts {
	uint32_t embryonic_ms, established_ms, closing_ms, closed_ms;
};
uint32_t tcp_timeout_ms(const struct tcp_timeouts *t, enum tcp_state s);

enum tcp_verdict {
	TCP_OK,
	TCP_OK_CHANGED, // a durable flag of the sender's direction changed: replicate it
	TCP_OUT_OF_WINDOW, // drop_tcp_window
	TCP_AFTER_CLOSE, // drop_tcp_closed, unless another node knows a newer life
	TCP_REOPEN, // a SYN on a closed connection: end the record and open a new connection
	// The other direction is not seen here, and this is further from what was than any window: another life's, or this one
	// has gone on elsewhere meanwhile. Nothing was accounted; tcp_forget() makes it do so
	TCP_FAR,
};

// Accounts the TCP packet p, sent by direction `from`, answered by direction `to`. Checks it against
// the windows when both sides' are learned, liberally otherwise (after a takeover, with a lone
// direction on this node). A RST closes only when it is inside the window (RFC 5961, 3.2); an
// unscaled-window or simultaneous-open exchange is legal.
enum tcp_verdict tcp_track(struct tcp_dir *from, struct tcp_dir *to, bool from_initiator,
	const struct tripod_packet *p);

// What is known of the windows of direction d is of the past.
static inline void tcp_forget(struct tcp_dir *d)
{
	d->flags &= (uint8_t)~TCP_DIR_LEARNED;
}

// true: p, sent by direction `from`, may be of the next connection of the same ports: this one has come to its end
// in that direction, or p is a SYN, and the end may be known elsewhere.
bool tcp_of_next(
	const struct tcp_dir *from, const struct tcp_dir *to, const struct tripod_packet *p);

// Which life of its ports a packet may be of, before it is accounted.
enum tcp_life {
	TCP_LIFE_THIS,
	// A SYN of which this life has no use, or with another number than the one that has opened it: another node may
	// know that this life has ended. If none does, it passes, for the receiver to challenge (RFC 5961, 4)
	TCP_LIFE_DOUBT,
	TCP_LIFE_NEXT, // it comes behind the FIN of its direction
	TCP_LIFE_OTHER, // it acknowledges another SYN+ACK than this life's: two nodes have opened the connection
};

// That of p, sent by direction `from`, as far as this node has seen the connection.
enum tcp_life tcp_life(const struct tcp_dir *from, const struct tcp_dir *to, bool from_initiator,
	const struct tripod_packet *p);

// What p, of TCP, acknowledges. false: nothing, or it is a SYN or a reset.
bool tcp_acknowledges(const struct tripod_packet *p, uint32_t *number);

// Is this a number that acknowledges the SYN+ACK that ends before isn, perhaps with what was sent first?
bool tcp_is_after_isn(uint32_t number, uint32_t isn);

// true: no TCP stack sends these flags together (SYN+FIN, SYN+RST, none, FIN without ACK).
bool tcp_flags_bogus(uint8_t tcp_flags);
