// SPDX-License-Identifier: BSD-3-Clause
#include "core/tcp.h"

// Windows that nobody has told us of are taken for the largest that the scaling allows, and a
// window is never taken for smaller than this when looking back: packets are delayed and repeated.
#define WINDOW_UNSCALED 65535u
#define WSCALE_MAX 14 // RFC 7323, 2.3
#define WSCALE_GUESS_MAX 12 // keeps sums of windows far below 2^31
// With one direction known, a jump of this many bytes means that we knew it wrongly.
#define JUMP_MAX (1u << 26)
// What a responder may send before a node hears that its SYN+ACK was acknowledged.
#define ISN_REACH (1u << 18)

#define TCP_HEADER_SIZE 20
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_WSCALE 3

struct segment {
	uint32_t seq, end, ack; // end: behind the last byte, SYN and FIN included
	uint32_t win; // as in the header
	uint16_t payload_len;
	uint8_t flags; // enum tripod_tcp_flag
	const uint8_t *options;
	unsigned options_len;
};

// ---- Sequence numbers ----

static bool after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

static bool before(uint32_t a, uint32_t b)
{
	return after(b, a);
}

static uint32_t newest(uint32_t a, uint32_t b)
{
	return after(b, a) ? b : a;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

// low <= x <= high, on the circle.
static bool inside(uint32_t x, uint32_t low, uint32_t high)
{
	return x - low <= high - low;
}

static bool jumped(uint32_t a, uint32_t b)
{
	return !inside(a, b - JUMP_MAX, b + JUMP_MAX);
}

// ---- States ----

enum tcp_state tcp_state(const struct tcp_dir *initiator, const struct tcp_dir *responder)
{
	unsigned i = initiator->flags, r = responder->flags;
	unsigned any = i | r, both = i & r;
	if ((any & TCP_DIR_RST) ||
		(both & (TCP_DIR_FIN | TCP_DIR_FIN_ACKED)) == (TCP_DIR_FIN | TCP_DIR_FIN_ACKED))
		return TCP_CLOSED;
	if (any & TCP_DIR_FIN)
		return TCP_CLOSING;
	// Acknowledgements tell more than SYNs: after a takeover a SYN may never have been replicated.
	if (both & TCP_DIR_ACK)
		return TCP_ESTABLISHED;
	if ((r & (TCP_DIR_SYN | TCP_DIR_ACK)) || (i & TCP_DIR_ACK))
		return TCP_SYN_RECEIVED;
	return TCP_SYN_SENT;
}

const char *tcp_state_name(enum tcp_state s)
{
	static const char *const names[] = {
		[TCP_SYN_SENT] = "syn-sent",
		[TCP_SYN_RECEIVED] = "syn-received",
		[TCP_ESTABLISHED] = "established",
		[TCP_CLOSING] = "closing",
		[TCP_CLOSED] = "closed",
	};
	return (unsigned)s < sizeof(names) / sizeof(names[0]) ? names[s] : "?";
}

uint32_t tcp_timeout_ms(const struct tcp_timeouts *t, enum tcp_state s)
{
	static const uint8_t field[] = {
		[TCP_SYN_SENT] = offsetof(struct tcp_timeouts, embryonic_ms),
		[TCP_SYN_RECEIVED] = offsetof(struct tcp_timeouts, embryonic_ms),
		[TCP_ESTABLISHED] = offsetof(struct tcp_timeouts, established_ms),
		[TCP_CLOSING] = offsetof(struct tcp_timeouts, closing_ms),
		[TCP_CLOSED] = offsetof(struct tcp_timeouts, closed_ms),
	};
	uint32_t ms;
	memcpy(&ms, (const uint8_t *)t + field[s], sizeof(ms));
	return ms;
}

bool tcp_flags_bogus(uint8_t tcp_flags)
{
	const uint8_t fin = TRIPOD_TCP_FIN, syn = TRIPOD_TCP_SYN, rst = TRIPOD_TCP_RST,
		      ack = TRIPOD_TCP_ACK;
	return !(tcp_flags & (syn | rst | ack)) || // none, PSH or URG alone
	       ((tcp_flags & syn) && (tcp_flags & (fin | rst))) ||
	       ((tcp_flags & fin) && ((tcp_flags & rst) || !(tcp_flags & ack)));
}

// ---- Segments ----

static uint32_t get32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

// false: the offsets do not hold a TCP header.
static inline bool segment_read(const struct tripod_packet *p, struct segment *g)
{
	if (p->payload < p->l4 + TCP_HEADER_SIZE || p->payload > p->len)
		return false;
	const uint8_t *h = p->data + p->l4;
	g->flags = p->tcp_flags;
	g->payload_len = p->payload_len;
	g->seq = get32(h + 4);
	g->ack = get32(h + 8);
	g->win = (uint32_t)h[14] << 8 | h[15];
	g->end = g->seq + g->payload_len + ((g->flags & TRIPOD_TCP_SYN) != 0) +
		 ((g->flags & TRIPOD_TCP_FIN) != 0);
	g->options = h + TCP_HEADER_SIZE;
	g->options_len = p->payload - p->l4 - TCP_HEADER_SIZE;
	return true;
}

// The shift of the window scale option, -1 without one.
static int segment_wscale(const struct segment *g)
{
	unsigned at = 0;
	while (at < g->options_len && g->options[at] != OPTION_END) {
		if (g->options[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (at + 1 >= g->options_len)
			break;
		unsigned len = g->options[at + 1];
		if (len < 2 || len > g->options_len - at)
			break;
		if (g->options[at] == OPTION_WSCALE && len == 3) {
			unsigned shift = g->options[at + 2];
			return shift < WSCALE_MAX ? (int)shift : WSCALE_MAX;
		}
		at += len;
	}
	return -1;
}

// ---- Windows ----

// How far the windows that `from` offers are shifted, once the SYNs are over.
static unsigned window_shift(const struct tcp_dir *from, const struct tcp_dir *to)
{
	unsigned both = from->flags & to->flags;
	if (both & TCP_DIR_WSCALE)
		return from->wscale < WSCALE_MAX ? from->wscale : WSCALE_MAX;
	return both & TCP_DIR_SYN ? 0 : WSCALE_MAX; // a SYN that we do not know may have offered it
}

static uint32_t window_guess(unsigned shift)
{
	return WINDOW_UNSCALED << (shift < WSCALE_GUESS_MAX ? shift : WSCALE_GUESS_MAX);
}

// How far behind the newest packet of a sender an older one of it can be, when its peer has offered
// windows of at most max_win. One more for a keep-alive, whose byte is acknowledged already.
static uint32_t reach(uint32_t max_win)
{
	return larger(max_win, WINDOW_UNSCALED) + 1;
}

static inline bool segment_in_window(
	const struct tcp_dir *from, const struct tcp_dir *to, const struct segment *g)
{
	// One byte beyond the right edge: a probe of a closed window, or a FIN. An ACK may go beyond
	// what we have seen of the other side (just after a takeover), but never beyond the window
	// that its sender has itself offered.
	return inside(g->end, from->end - reach(to->max_win), from->max_end + 1) &&
	       inside(g->ack, to->end - reach(from->max_win), newest(to->end, to->max_end + 1));
}

// The first packet that is seen of this direction is not its SYN: what it may have sent and offered
// before, and what it has been offered, is bounded by guesses, all on the liberal side.
static void learn_first(struct tcp_dir *from, struct tcp_dir *to, const struct segment *g)
{
	unsigned shift = window_shift(from, to), to_shift = window_shift(to, from);
	uint32_t win = g->win << shift, guess = window_guess(shift);
	// Where its FIN ends may be known from the node that saw it. Nothing comes behind that.
	if (!(from->flags & TCP_DIR_FIN_SEEN) || !inside(g->end, from->end - JUMP_MAX, from->end)) {
		from->end = g->end;
		from->flags &= (uint8_t)~TCP_DIR_FIN_SEEN;
	}
	from->max_win = larger(win, guess);
	from->flags |= TCP_DIR_LEARNED;
	// The other side's packets may have told its right edge, or not, or long ago.
	uint32_t least = window_guess(to_shift), most = 7 * least; // and below 2^31
	if (!inside(from->max_end, g->end + least, g->end + most))
		from->max_end = g->end + least;
	to->max_end = g->ack + win + guess;
	to->acked_low = (uint16_t)g->ack;
	if (!(to->flags & TCP_DIR_LEARNED))
		return;
	if (jumped(g->ack, to->end)) {
		to->end = g->ack;
		to->flags &= (uint8_t)~TCP_DIR_FIN_SEEN;
	} else if (!(to->flags & TCP_DIR_FIN_SEEN)) {
		to->end = newest(to->end, g->ack);
	}
}

// The windows of both sides are known.
static inline void learn_both(struct tcp_dir *from, struct tcp_dir *to, const struct segment *g)
{
	uint32_t win = g->win << window_shift(from, to);
	uint32_t edge = g->ack + win;

	from->max_win = larger(from->max_win, win);
	if (!(from->flags & TCP_DIR_FIN_SEEN))
		from->end = newest(from->end, g->end);
	// Is this one of its newest acknowledgements? One of the two tells, whatever was lost between.
	if (after(edge, to->max_end) || (int16_t)((uint16_t)g->ack - to->acked_low) > 0)
		to->acked_low = (uint16_t)g->ack;
	to->max_end = newest(to->max_end, edge);
	if (!(to->flags & TCP_DIR_FIN_SEEN))
		to->end = newest(to->end, g->ack);
}

static void learn(struct tcp_dir *from, struct tcp_dir *to, const struct segment *g)
{
	if (!(from->flags & TCP_DIR_LEARNED)) {
		learn_first(from, to, g);
		return;
	}
	if (to->flags & TCP_DIR_LEARNED) {
		learn_both(from, to, g);
		return;
	}
	unsigned shift = window_shift(from, to);
	uint32_t win = g->win << shift;
	from->max_win = larger(from->max_win, win);
	if (jumped(g->end, from->end)) {
		from->end = g->end; // nothing was checked: a forged number must not stay
		from->flags &= (uint8_t)~TCP_DIR_FIN_SEEN;
	} else if (!(from->flags & TCP_DIR_FIN_SEEN)) {
		from->end = newest(from->end, g->end);
	}
	to->max_end = g->ack + win + window_guess(shift);
	to->acked_low = (uint16_t)g->ack;
}

// ---- What to do with a packet, by state and kind ----

// Does ack acknowledge the SYN of `to`, alone or with the data sent along (RFC 7413)?
static bool acks_syn(const struct tcp_dir *to, uint32_t ack)
{
	return ack == to->end || (to->end - ack <= UINT16_MAX && (uint16_t)ack == to->acked_low);
}

// Is it the SYN that has been seen already, or one with data that was sent along?
static bool is_number_of(const struct tcp_dir *from, const struct segment *g)
{
	return from->end - (g->seq + 1) <= UINT16_MAX;
}

static void sync_learn(struct tcp_dir *from, struct tcp_dir *to, const struct segment *g)
{
	bool to_learned = to->flags & TCP_DIR_LEARNED;
	from->end = g->end;
	from->isn = 1;
	from->max_win = larger(g->win, 1);
	from->max_end = g->seq + 1 + (to_learned ? to->max_win : 0);
	from->acked_low = (uint16_t)(g->seq + 1);
	from->flags &= (uint8_t)~TCP_DIR_FIN_SEEN;
	from->flags |= TCP_DIR_LEARNED;
}

// SYN or SYN+ACK before the connection is established; crossing SYNs included.
static enum tcp_verdict sync(
	struct tcp_dir *from, struct tcp_dir *to, enum tcp_state state, const struct segment *g)
{
	bool acks = g->flags & TRIPOD_TCP_ACK;
	if (acks && (to->flags & TCP_DIR_LEARNED) && !acks_syn(to, g->ack))
		return TCP_OUT_OF_WINDOW;

	bool learned = from->flags & TCP_DIR_LEARNED;
	bool same = learned && is_number_of(from, g);
	if (!learned || (!same && state == TCP_SYN_SENT)) {
		sync_learn(from, to, g); // a SYN with another number replaces an unanswered one
	} else if (same) {
		from->end = newest(from->end, g->end);
		from->max_win = larger(from->max_win, g->win);
	} else {
		// Answered already (or a SYN cookie that has changed): which of the two numbers the
		// other side will take, only later packets tell.
		from->flags &= (uint8_t)~TCP_DIR_LEARNED;
		from->isn = 0;
	}

	if (acks) {
		to->max_end = g->ack + g->win; // never scaled in a SYN
		to->acked_low = (uint16_t)g->ack;
	} else if (to->flags & TCP_DIR_LEARNED) {
		to->max_end = newest(to->max_end, to->end + g->win);
	}

	int shift = segment_wscale(g);
	from->flags |= TCP_DIR_SYN | (acks ? TCP_DIR_ACK : 0);
	if (shift >= 0) {
		// Only ever grows: when SYNs differ, the larger window is the liberal one.
		from->flags |= TCP_DIR_WSCALE;
		from->wscale = larger(from->wscale, (uint32_t)shift) & 15;
	}
	return TCP_OK;
}

static enum tcp_verdict reset_now(struct tcp_dir *from)
{
	from->flags |= TCP_DIR_RST;
	return TCP_OK;
}

// RFC 5961, 3.2: a reset counts when its number is exactly the next that the receiver expects; one
// that is merely in the window passes, for the receiver to challenge. What the receiver expects is
// what the sender has sent, or what the receiver has acknowledged when something was lost between.
static enum tcp_verdict reset(struct tcp_dir *from, struct tcp_dir *to, bool from_initiator,
	enum tcp_state state, const struct segment *g)
{
	bool acks = g->flags & TRIPOD_TCP_ACK;
	bool to_learned = to->flags & TCP_DIR_LEARNED;
	if (!from_initiator && state == TCP_SYN_SENT) // "connection refused"
		return acks && (!to_learned || acks_syn(to, g->ack)) ? reset_now(from)
								     : TCP_OUT_OF_WINDOW;
	// Refused after all: a SYN+ACK was lost, and the repeated SYN met a closed port.
	if (!from_initiator && acks && to_learned && !(to->flags & TCP_DIR_ACK) &&
		acks_syn(to, g->ack))
		return reset_now(from);
	if (!(from->flags & TCP_DIR_LEARNED))
		return reset_now(from);
	if (!to_learned) {
		// An unanswered initiator may also reset what it does not know: let it pass. Nor does it
		// mean this connection when it resets the one before, of nearly the same numbers.
		uint32_t off = from->flags & TCP_DIR_ACK ? UINT16_MAX : 0;
		if (inside(g->seq, from->end - off, from->end + off))
			return reset_now(from);
		// What resets the acknowledgement of another SYN+ACK has the number that the initiator waits for.
		return from->isn && !from_initiator ? TCP_OUT_OF_WINDOW : TCP_OK;
	}

	uint32_t low = from->end - reach(to->max_win);
	if (!inside(g->seq, low, from->max_end + 1))
		return TCP_OUT_OF_WINDOW;
	// The low bits suffice for exactness: of the window, one number in 65536 has them.
	bool exact = g->seq == from->end || (uint16_t)g->seq == from->acked_low;
	return exact ? reset_now(from) : TCP_OK;
}

// From what was seen of a direction that is alone here, and, roughly, from what it has acknowledged: how its windows are
// scaled may not have been known then.
static bool is_far(const struct tcp_dir *from, const struct tcp_dir *to, const struct segment *g)
{
	const uint32_t most = (WINDOW_UNSCALED << WSCALE_MAX) + window_guess(WSCALE_MAX);
	uint32_t offers = window_guess(window_shift(from, to));
	bool acked = (from->flags & TCP_DIR_ACK) && to->max_end != 0;

	if ((to->flags & TCP_DIR_LEARNED) || !(from->flags & TCP_DIR_LEARNED))
		return false;
	return !inside(g->seq, from->end - reach(to->max_win), from->end + WINDOW_UNSCALED) ||
	       (acked && !inside(g->ack, to->max_end - most - offers, to->max_end + offers));
}

static enum tcp_verdict segment(struct tcp_dir *from, struct tcp_dir *to, bool from_initiator,
	enum tcp_state state, const struct segment *g)
{
	bool to_learned = to->flags & TCP_DIR_LEARNED;
	// A responder that acknowledges without a SYN remembers an older connection, of which the
	// initiator will tell it with a reset. Nothing to learn from that. (Where the SYN has not been seen, its SYN+ACK may
	// have passed there, too.)
	bool other = to_learned || (to->isn && !tcp_is_after_isn(g->ack, to->end));
	if (!from_initiator && state == TCP_SYN_SENT && other)
		return TCP_OK;
	if ((from->flags & to->flags & TCP_DIR_LEARNED) && !segment_in_window(from, to, g))
		return TCP_OUT_OF_WINDOW;
	if (is_far(from, to, g))
		return TCP_FAR;

	learn(from, to, g);
	from->isn = to->isn = 0;
	from->flags |= TCP_DIR_ACK;
	// Nothing follows a FIN: one that ends before other data is no FIN.
	if ((g->flags & TRIPOD_TCP_FIN) && !before(g->end, from->end))
		from->flags |= TCP_DIR_FIN | TCP_DIR_FIN_SEEN;
	if (to->flags & TCP_DIR_FIN) {
		bool placed = to->flags & TCP_DIR_FIN_SEEN;
		if (!placed || !before(g->ack, to->end))
			from->flags |= TCP_DIR_FIN_ACKED;
	}
	return TCP_OK;
}

// Where the FIN is known: has its sender come to this number with it, or lately before?
static bool up_to_fin(const struct tcp_dir *from, const struct tcp_dir *to, const struct segment *g)
{
	return inside(g->end, from->end - reach(to->max_win), from->end);
}

// After the end: whoever has missed the last acknowledgement repeats its FIN or its last data, and
// is acknowledged again. New data has no one to go to. Nor is an acknowledgement of this connection whose
// number its FIN did not come to: the ports have been opened anew on another node.
static enum tcp_verdict late(
	const struct tcp_dir *from, const struct tcp_dir *to, const struct segment *g)
{
	bool learned = from->flags & TCP_DIR_LEARNED, placed = from->flags & TCP_DIR_FIN_SEEN;
	bool its = up_to_fin(from, to, g);
	if (g->payload_len == 0)
		return placed && !its ? TCP_AFTER_CLOSE : TCP_OK;
	if (learned && its)
		return TCP_OK;
	// Its FIN was seen by another node: what is new here need not be new.
	if (!((from->flags | to->flags) & TCP_DIR_RST) && !(learned && placed))
		return TCP_OK;
	return TCP_AFTER_CLOSE;
}

// A SYN while the end is under way. When this node sees one direction only, both may have sent their FIN
// without anybody having seen them acknowledged: then a SYN with a number that the old connection has
// not come to opens a new one, as in TIME-WAIT (RFC 9293, 3.6.1). Else the receiver knows better.
static bool reopens(const struct tcp_dir *from, const struct tcp_dir *to, const struct segment *g)
{
	unsigned both = from->flags & to->flags;

	if (!(both & TCP_DIR_FIN) || (both & TCP_DIR_LEARNED))
		return false;
	return !(from->flags & TCP_DIR_LEARNED) || after(g->seq, from->end);
}

enum kind { KIND_SEGMENT, KIND_SYN, KIND_SYN_ACK, KIND_RST, KINDS };
enum action {
	DO_PASS, // forward, learn nothing: the receiver knows better
	DO_SYNC,
	DO_RESET,
	DO_SEGMENT,
	DO_LATE,
	DO_REOPEN,
	DO_SYN, // at the end
	DO_SYN_ACK, // at the end: whoever has sent a FIN sends no other of the same connection
};

static const uint8_t actions[][KINDS] = {
	[TCP_SYN_SENT] = {DO_SEGMENT, DO_SYNC, DO_SYNC, DO_RESET},
	[TCP_SYN_RECEIVED] = {DO_SEGMENT, DO_SYNC, DO_SYNC, DO_RESET},
	[TCP_ESTABLISHED] = {DO_SEGMENT, DO_PASS, DO_PASS, DO_RESET},
	[TCP_CLOSING] = {DO_SEGMENT, DO_SYN, DO_SYN_ACK, DO_RESET},
	[TCP_CLOSED] = {DO_LATE, DO_REOPEN, DO_SYN_ACK, DO_PASS},
};

static enum kind kind_of(uint8_t flags)
{
	if (flags & TRIPOD_TCP_RST)
		return KIND_RST;
	if (flags & TRIPOD_TCP_SYN)
		return flags & TRIPOD_TCP_ACK ? KIND_SYN_ACK : KIND_SYN;
	return KIND_SEGMENT;
}

// Neither beginning nor end: nearly every packet, of a connection with both sides' SYNs acknowledged
// and both windows known.
static inline bool flows(const struct tcp_dir *from, const struct tcp_dir *to, uint8_t tcp_flags)
{
	const unsigned both = TCP_DIR_ACK | TCP_DIR_LEARNED;
	const unsigned none = TCP_DIR_FIN | TCP_DIR_RST;
	const unsigned special = TRIPOD_TCP_SYN | TRIPOD_TCP_FIN | TRIPOD_TCP_RST | TRIPOD_TCP_ACK;

	return (tcp_flags & special) == TRIPOD_TCP_ACK &&
	       (from->flags & to->flags & both) == both && !((from->flags | to->flags) & none);
}

enum tcp_verdict tcp_track(struct tcp_dir *from, struct tcp_dir *to, bool from_initiator,
	const struct tripod_packet *p)
{
	struct segment g;
	if (!segment_read(p, &g))
		return TCP_OUT_OF_WINDOW;
	if (__builtin_expect(flows(from, to, g.flags), 1)) {
		// What segment() comes to, without asking for the state.
		if (!segment_in_window(from, to, &g))
			return TCP_OUT_OF_WINDOW;
		learn_both(from, to, &g);
		return TCP_OK;
	}
	if (tcp_flags_bogus(g.flags))
		return TCP_OUT_OF_WINDOW;

	enum tcp_state state = from_initiator ? tcp_state(from, to) : tcp_state(to, from);
	uint8_t flags = from->flags, wscale = from->wscale;
	enum tcp_verdict v = TCP_OK;
	switch ((enum action)actions[state][kind_of(g.flags)]) {
	case DO_PASS:
		break;
	case DO_SYNC:
		v = sync(from, to, state, &g);
		break;
	case DO_RESET:
		v = reset(from, to, from_initiator, state, &g);
		break;
	case DO_SEGMENT:
		v = segment(from, to, from_initiator, state, &g);
		break;
	case DO_LATE:
		return late(from, to, &g);
	case DO_REOPEN:
		return TCP_REOPEN;
	case DO_SYN:
		return from_initiator && reopens(from, to, &g) ? TCP_REOPEN : TCP_OK;
	case DO_SYN_ACK:
		return (from->flags & TCP_DIR_FIN) ? TCP_AFTER_CLOSE : TCP_OK;
	}
	bool changed = ((flags ^ from->flags) & TCP_DIR_DURABLE) || wscale != from->wscale;
	return v == TCP_OK && changed ? TCP_OK_CHANGED : v;
}

static bool doubtful(const struct tcp_dir *from, const struct tcp_dir *to, bool from_initiator,
	const struct segment *syn)
{
	switch (from_initiator ? tcp_state(from, to) : tcp_state(to, from)) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECEIVED:
		return from_initiator && (from->flags & TCP_DIR_LEARNED) &&
		       !is_number_of(from, syn);
	case TCP_ESTABLISHED:
		return true;
	case TCP_CLOSING:
		return !from_initiator || !reopens(from, to, syn);
	case TCP_CLOSED:
		break;
	}
	return false;
}

bool tcp_is_after_isn(uint32_t number, uint32_t isn)
{
	return inside(number, isn - UINT16_MAX, isn + ISN_REACH); // data may have come with the SYN
}

static bool is_other(const struct tcp_dir *to, const struct segment *g)
{
	return to->isn && (to->flags & TCP_DIR_ACK) && kind_of(g->flags) == KIND_SEGMENT &&
	       !tcp_is_after_isn(g->ack, to->end);
}

bool tcp_acknowledges(const struct tripod_packet *p, uint32_t *number)
{
	struct segment g;

	if (!segment_read(p, &g) || tcp_flags_bogus(g.flags) || kind_of(g.flags) != KIND_SEGMENT)
		return false;
	*number = g.ack;
	return true;
}

enum tcp_life tcp_life(const struct tcp_dir *from, const struct tcp_dir *to, bool from_initiator,
	const struct tripod_packet *p)
{
	struct segment g;

	if (!segment_read(p, &g) || tcp_flags_bogus(g.flags))
		return TCP_LIFE_THIS;
	if (kind_of(g.flags) == KIND_SYN)
		return doubtful(from, to, from_initiator, &g) ? TCP_LIFE_DOUBT : TCP_LIFE_THIS;
	if (is_other(to, &g))
		return TCP_LIFE_OTHER;
	bool behind = (from->flags & TCP_DIR_FIN_SEEN) && !(g.flags & TRIPOD_TCP_SYN) &&
		      after(g.end, from->end);
	return behind ? TCP_LIFE_NEXT : TCP_LIFE_THIS;
}

bool tcp_of_next(
	const struct tcp_dir *from, const struct tcp_dir *to, const struct tripod_packet *p)
{
	struct segment g;

	if (p->tcp_flags & TRIPOD_TCP_SYN) // an end of the old one may not be known here yet
		return !(p->tcp_flags & TRIPOD_TCP_ACK);
	if (!segment_read(p, &g))
		return false;
	if (is_other(to, &g))
		return true;
	if (from->flags & TCP_DIR_FIN_SEEN)
		return !up_to_fin(from, to, &g);
	return (from->flags & TCP_DIR_FIN) || tcp_state(from, to) == TCP_CLOSED;
}
