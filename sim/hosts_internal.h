// SPDX-License-Identifier: BSD-3-Clause
// What the parts of the simulated hosts share: connections, their ends, tables, timers.
//
//	hosts.c        the interface: opening, arrival, time, ending
//	hosts_plan.c   what a connection is to do, drawn from the seed; addresses
//	hosts_table.c  pools, hash tables, the heap of timers
//	hosts_tcp.c    one end of a TCP connection: what arrives
//	hosts_send.c   the same: what is sent, and when
//	hosts_flow.c   UDP and echo
#pragma once

#include "core/rng.h"
#include "sim/hosts.h"
#include "sim/hosts_packet.h"

#define HOSTS_WAYS 4 // by which requests may go that are not answered yet
#define HOSTS_NONE UINT32_MAX
#define HOSTS_NEVER UINT64_MAX
#define HOSTS_GAPS 8 // runs of bytes that an end holds out of order
#define HOSTS_ENDS 4 // of one connection: its initiator, and what its SYNs have opened
#define HOSTS_ID_SLOT_BITS 20 // an id is a running number and the slot
#define HOSTS_DATAGRAM 24 // bytes of the smallest payload of a datagram
#define HOSTS_CLOSED 64 // tuples to be used again

// ---- Plans ----

enum hosts_closer {
	CLOSER_INITIATOR, // the other side closes when it hears of it
	CLOSER_RESPONDER,
	CLOSER_EACH, // each direction as soon as its bytes are sent
	CLOSER_BOTH, // both sides in one moment, when all has arrived
	CLOSER_ABORT_INITIATOR, // by RST, after abort_at bytes
	CLOSER_ABORT_RESPONDER,
	CLOSER_REFUSE, // the server answers the SYN with RST
};

struct hosts_plan {
	uint32_t rounds;
	// Of one round, by direction: 0 what the initiator sends. A reply follows its request, unless
	// duplex: then both send all at once.
	uint64_t bytes[2];
	uint64_t abort_at;
	uint32_t think_ms; // silence before every round but the first
	uint32_t gap_ms, gap_round; // long silence before that one
	uint32_t interval_us; // datagrams: between two requests
	// TCP, by end: bytes that it is ready to receive; it stops reading at pause_at for pause_ms.
	uint32_t buffer[2];
	uint64_t pause_at[2];
	uint16_t pause_ms[2];
	uint16_t mss[2];
	int8_t wscale[2]; // offered; -1: not
	uint8_t closer; // enum hosts_closer
	bool duplex;
	bool delayed_ack[2];
};

// ---- Connections ----

enum hosts_phase {
	PHASE_FREE,
	PHASE_OPENING, // the initiator has not been answered
	PHASE_OPEN,
	PHASE_ENDED, // told; an end waits in TIME-WAIT
};

struct hosts_conn {
	uint64_t id;
	struct hosts_plan plan;
	struct hosts_event e; // as it is told at the end
	uint64_t total[2]; // bytes by direction: of the plan, less after hosts_finish()
	uint64_t due_ns; // at or before the time of the next work
	uint64_t quiet_until_ns; // silence until then is planned
	uint64_t next_ns; // no new round, or request, before
	uint64_t close_at_ns; // CLOSER_BOTH; 0: not yet
	uint32_t ends[HOSTS_ENDS]; // [0] the initiator's
	uint32_t responder; // index in ends of the one that was confirmed, 0: none yet
	uint32_t isn, isn_next; // of the SYN; chain in the table of those
	uint32_t heap_at; // place in the heap, HOSTS_NONE: not there
	uint32_t newer, older; // list of the ended; newer: also of the free
	uint32_t round; // TCP: that the initiator is in; datagrams: requests sent
	// Datagrams: 1 + the highest number answered, and which of the 64 below were, bit 0 the
	// highest; how many in all; requests sent when the first answer came, and whence that had come.
	uint32_t answered_high, answered, settled;
	uint64_t answered_bits, settled_tag;
	// Datagrams: the tuples under which the responder was asked before the first answer came, and how many.
	struct tripod_tuple asked[HOSTS_WAYS];
	uint32_t ways;
	uint8_t phase, kind;
	bool aborted, finishing;
};

enum hosts_end_state {
	END_FREE,
	END_DATAGRAM, // the initiator of UDP or echo
	END_SYN_SENT,
	END_SYN_RECEIVED,
	END_OPEN, // synchronized: whose FIN has come and gone is in the flags
	END_TIME_WAIT,
	END_CLOSED,
};

// [from, to), in offsets of the stream that arrives.
struct hosts_gap {
	uint64_t from, to;
};

// One end of a connection. Offsets count from the initial sequence number: the SYN is 0, byte i is
// i + 1, the FIN comes behind the last byte. Sequence numbers wrap, offsets do not.
struct hosts_end {
	struct tripod_tuple tuple; // of what it sends
	uint32_t conn, hash_next; // hash_next: also of the free list
	uint8_t state; // enum hosts_end_state
	uint8_t role; // 0: initiator, 1: responder; the direction of what it sends
	bool fin_sent, fin_heard, passive; // passive: heard the other's FIN before it sent its own
	bool timing; // a segment is being timed
	bool scaled; // both have offered window scaling
	uint8_t dupacks, backoff, n_gaps;
	uint8_t unacked; // segments that were not acknowledged yet
	uint8_t snd_shift, rcv_shift;
	uint16_t mss; // bytes of the largest segment it sends

	uint32_t iss, irs;
	uint64_t una, nxt, max; // acknowledged up to; next to send; highest ever sent
	uint64_t edge; // right edge of the window that it may send into
	uint64_t edge_seq, edge_ack; // segment that told so (RFC 9293, SND.WL1, SND.WL2)
	uint64_t recover; // fast retransmission: until this is acknowledged
	uint32_t cwnd, ssthresh; // bytes
	uint64_t timed, timed_ns; // offset whose acknowledgement ends the measurement
	uint64_t srtt_ns, rttvar_ns, rto_ns;

	uint64_t rcv; // next expected
	uint64_t offered; // right edge that it has offered
	uint64_t fin_at; // offset of the other's FIN, 0: not seen
	struct hosts_gap gaps[HOSTS_GAPS];
	uint64_t paused_ns; // reads no more until then; 0: reads

	uint64_t rexmit_ns, ack_ns, keep_ns, wait_ns; // timers, HOSTS_NEVER: off
	uint64_t heard_ns; // last segment that arrived
	uint64_t challenged_ns; // last answer to a segment out of the window
};

// A tuple whose connection has closed, to be used again.
struct hosts_closed {
	struct tripod_tuple tuple;
	uint32_t isn; // where its numbers ended: a new one begins above
	uint8_t kind;
};

struct hosts {
	struct hosts_conf conf;
	struct rng rng;
	uint64_t now_ns, next_open_ns, serial;
	bool paused, resumed, finishing;
	uint32_t open, lingering;
	struct hosts_totals totals;

	struct hosts_conn *conns;
	uint32_t conns_max, conn_free, ended_oldest, ended_newest;
	struct hosts_end *ends;
	uint32_t ends_max, end_free;
	uint32_t *by_tuple, *by_isn; // heads of chains
	uint32_t hash_mask;
	uint32_t *heap, heap_len;

	struct hosts_closed closed[HOSTS_CLOSED]; // a stack: the newest is used first
	uint32_t closed_n;
	uint32_t replayed; // planned connections of the replay that were opened
	uint64_t started_ns;
	uint8_t frame[HOSTS_FRAME_SIZE];
};

// ---- hosts_table.c ----

int hosts_table_new(struct hosts *h);
void hosts_table_free(struct hosts *h);
struct hosts_conn *hosts_conn_new(struct hosts *h); // NULL: none is free
void hosts_conn_free(struct hosts *h, struct hosts_conn *c); // and its ends
struct hosts_conn *hosts_conn_by_id(struct hosts *h, uint64_t id); // NULL: ended, or never was
struct hosts_conn *hosts_conn_by_isn(struct hosts *h, uint32_t isn);
void hosts_conn_set_isn(struct hosts *h, struct hosts_conn *c, uint32_t isn);
void hosts_conn_linger(struct hosts *h, struct hosts_conn *c); // into the list of the ended
uint32_t hosts_conn_slot(const struct hosts *h, const struct hosts_conn *c);
// A new end of c that sends `tuple`, in place `at` of its ends. NULL: none is free.
struct hosts_end *hosts_end_new(
	struct hosts *h, struct hosts_conn *c, unsigned at, const struct tripod_tuple *tuple);
void hosts_end_free(struct hosts *h, struct hosts_end *e);
struct hosts_end *hosts_end_find(struct hosts *h, const struct tripod_tuple *sends);
struct hosts_end *hosts_conn_end(struct hosts *h, const struct hosts_conn *c, unsigned at);
void hosts_due(struct hosts *h, struct hosts_conn *c, uint64_t at_ns); // no later than this
struct hosts_conn *hosts_due_first(struct hosts *h); // NULL: none
void hosts_due_never(struct hosts *h, struct hosts_conn *c);

// ---- hosts_plan.c ----

// Draws what a new connection is to do, its tuple and its ISN, or takes them from the replay. false:
// no tuple was free.
bool hosts_plan_draw(struct hosts *h, struct hosts_conn *c, struct tripod_tuple *opening);
// Is it an address that hosts of this side have?
bool hosts_owns(const struct hosts *h, enum tripod_direction side, const struct tripod_addr *a);

// ---- hosts.c ----

static inline enum tripod_direction hosts_side(enum hosts_kind kind)
{
	bool outside = kind == HOSTS_TCP_IN || kind == HOSTS_TCP_STRAIGHT || kind == HOSTS_UDP_IN;
	return outside ? TRIPOD_INCOMING : TRIPOD_OUTGOING;
}

static inline bool hosts_is_tcp(enum hosts_kind kind)
{
	return kind == HOSTS_TCP_IN || kind == HOSTS_TCP_OUT || kind == HOSTS_TCP_STRAIGHT;
}

// Sends h->frame, as hosts_packet_finish() left it, from the side of `from`.
void hosts_send(struct hosts *h, enum tripod_direction from, uint16_t len);
void hosts_tell(struct hosts *h, struct hosts_conn *c, enum hosts_what what, const char *why);
// A frame that belongs to no connection, or to none that can be told, and is wrong.
void hosts_tell_frame(struct hosts *h, const struct tripod_tuple *t, const char *why);
// Tells and ends the connection. TIME-WAIT goes on; ends that are synchronized send a reset first,
// unless all went as planned.
void hosts_end_conn(struct hosts *h, struct hosts_conn *c, enum hosts_what what, const char *why);
void hosts_progress(struct hosts *h, struct hosts_conn *c);
// What the responder sees of the opening: checks what the gateway made of it. NULL: right.
const char *hosts_translation(
	const struct hosts *h, const struct hosts_conn *c, const struct tripod_tuple *seen);

// ---- hosts_tcp.c ----

void hosts_tcp_open(struct hosts *h, struct hosts_conn *c, const struct tripod_tuple *opening);
void hosts_tcp_rx(struct hosts *h, const struct hosts_packet *p);
void hosts_tcp_tick(struct hosts *h, struct hosts_conn *c);
void hosts_tcp_finish(struct hosts *h, struct hosts_conn *c);
void hosts_tcp_schedule(struct hosts *h, struct hosts_conn *c); // its timers into the heap
// Ends the connection when both ends are through; true: it did.
bool hosts_tcp_check_end(struct hosts *h, struct hosts_conn *c);

// ---- hosts_send.c ----

struct hosts_end *hosts_tcp_peer(struct hosts *h, const struct hosts_end *e); // NULL: none yet
void hosts_tcp_start(struct hosts *h, struct hosts_end *e); // an end's fields, before its SYN
// All that it may send now. true: that ended the connection.
bool hosts_tcp_output(struct hosts *h, struct hosts_end *e);
void hosts_tcp_ack(struct hosts *h, struct hosts_end *e); // at once
// That segment: sequence space from offset `at`.
void hosts_tcp_segment(
	struct hosts *h, struct hosts_end *e, uint8_t flags, uint64_t at, uint32_t len);
void hosts_tcp_reset(struct hosts *h, struct hosts_end *e); // RST, then END_CLOSED
void hosts_tcp_refuse(struct hosts *h, const struct hosts_packet *p); // RST to a stranger
// What is due of it. true: that ended the connection.
bool hosts_tcp_timers(struct hosts *h, struct hosts_end *e);
void hosts_tcp_waited(struct hosts *h, struct hosts_end *e); // TIME-WAIT is over
void hosts_tcp_arm(struct hosts *h, struct hosts_end *e); // retransmission, from now
void hosts_tcp_timed(struct hosts *h, struct hosts_end *e); // a round trip was measured
uint64_t hosts_tcp_due_ns(const struct hosts_end *e);

// ---- hosts_flow.c ----

void hosts_flow_open(struct hosts *h, struct hosts_conn *c, const struct tripod_tuple *opening);
void hosts_flow_rx(struct hosts *h, enum tripod_direction side, const struct hosts_packet *p);
void hosts_flow_tick(struct hosts *h, struct hosts_conn *c);
void hosts_flow_finish(struct hosts *h, struct hosts_conn *c);
