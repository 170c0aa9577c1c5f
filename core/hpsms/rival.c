// SPDX-License-Identifier: BSD-3-Clause
// Two lives of one key: which of them goes on? The one that was opened later has the higher number, and is the next, as a
// rule. But two nodes may have opened one connection, and who opens the next may not have heard of the one before.
// docs/PROTOCOL.md has the order of these rules, docs/decisions.md says why.
#include <netinet/in.h>

#include "core/hpsms/repl.h"

// So long an initiator may take to acknowledge the answer to its SYN, before that counts for nothing.
#define OPENING_MS 1000
#define NEWS_MS 10 // so old may be what a node hears of another
// Bytes that an initiator sends before others have heard that it is established.
#define SENT_MAX (1u << 24)

// Does w come after the end of what is here? Who says so may know of one end only.
static bool follows_end(const struct conn *c, const struct wire_record *w)
{
	const uint8_t ends = TCP_DIR_FIN | TCP_DIR_FIN_ACKED | TCP_DIR_RST;

	return conn_tcp_at(c, TCP_CLOSING) && !((w->dir[0].tcp_flags | w->dir[1].tcp_flags) & ends);
}

static enum tcp_state tcp_state_of(const struct wire_record *w)
{
	const struct tcp_dir dir[2] = {
		{.flags = w->dir[0].tcp_flags}, {.flags = w->dir[1].tcp_flags}};

	return tcp_state(&dir[0], &dir[1]);
}

static bool is_opening(const struct conn *c)
{
	return c->dir[0].key.proto == IPPROTO_TCP && !conn_tcp_at(c, TCP_ESTABLISHED);
}

// Of TCP, the other life is not established yet, and its SYN is known as well as that of the life here, or what has
// followed it: is it the same? Else the initiator has opened two connections, one after the other.
enum syn { SYN_UNKNOWN, SYN_SAME, SYN_OTHER };

static enum syn syn_of(const struct conn *c, const struct wire_record *w)
{
	const struct tcp_dir *asks = &c->dir[0].tcp;
	uint32_t since = asks->end - w->dir[0].isn;

	if (w->op != WIRE_PUT || !(w->dir[0].tcp_flags & WIRE_DIR_ISN))
		return SYN_UNKNOWN;
	if (asks->isn)
		return since == 0 ? SYN_SAME : SYN_OTHER;
	if (!(asks->flags & TCP_DIR_LEARNED) || tcp_state_of(w) != TCP_SYN_RECEIVED)
		return SYN_UNKNOWN;
	return since < SENT_MAX ? SYN_SAME : (int32_t)since < 0 ? SYN_OTHER : SYN_UNKNOWN;
}

// Two nodes have opened it, and one of them at least has let an answer pass: under that one it goes on, whatever
// the numbers, and whoever has seen a packet last. Of TCP whose SYN is not known, as long as the initiator has had no time
// to acknowledge the answer, of which it takes the first that comes; later a SYN opens the next life.
static bool opened_twice(const struct shard *s, const struct conn *c, const struct wire_record *w)
{
	bool here = c->flags & CONN_ANSWERED, there = w->flags & WIRE_RECORD_ANSWERED;
	enum syn syn = syn_of(c, w);

	if (c->dir[0].key.proto != IPPROTO_TCP)
		return here != there;
	if (syn == SYN_OTHER)
		return false;
	return is_opening(c) && w->op == WIRE_PUT && tcp_state_of(w) < TCP_ESTABLISHED &&
	       (there ||
		       (here && (syn == SYN_SAME || repl_age_ms(s, c->dir[1].seen) < OPENING_MS)));
}

// Both answered: the one whose SYN came first, by more than news take, or each node would hold its own for that.
static bool has_first_answer(
	const struct shard *s, const struct conn *c, const struct wire_record *w)
{
	return (c->flags & CONN_ANSWERED) &&
	       (!(w->flags & WIRE_RECORD_ANSWERED) ||
		       repl_age_ms(s, c->dir[0].seen) > w->dir[0].age_ms + NEWS_MS);
}

// What has been opened here and has had no answer, and of which nobody has been told, gives way to what
// another node has opened and let an answer pass of, though that has the lower number. So does what an NF holds. Where a
// life before was known, it may be of that, from who has missed all but its beginning: such a node is told, and judges.
static bool gives_way(const struct shard *s, uint32_t i, const struct wire_record *w)
{
	const struct conn *c = store_conn(&s->store, i);

	if ((store_repl(&s->store, i)->holders & ~repl_self(s)) != 0)
		return false;
	if (c->state != CONN_LIVE || (c->flags & (CONN_ANSWERED | CONN_REPLICATED)) ||
		w->op != WIRE_PUT || !opened_twice(s, c, w))
		return false;
	return c->dir[0].key.proto != IPPROTO_TCP || w->dir[1].age_ms < OPENING_MS ||
	       syn_of(c, w) == SYN_SAME;
}

// Two nodes have opened it, and a packet of the initiator has come here: it says which of the two SYN+ACKs it has taken.
enum taken { TAKEN_UNKNOWN, TAKEN_HERE, TAKEN_THERE };

static enum taken taken(struct shard *s, const struct conn *c, const struct wire_record *w)
{
	const struct tcp_dir *answers = &c->dir[1].tcp;
	bool told = w->op == WIRE_PUT && (w->dir[1].tcp_flags & WIRE_DIR_ISN);
	uint32_t number;

	// Its last packet has passed already, as one of the life that is here.
	if (told && w->incarnation > c->incarnation && conn_masters(c, 0) && !answers->isn &&
		(c->dir[0].tcp.flags & TCP_DIR_LEARNED) &&
		answers->acked_low == (uint16_t)w->dir[1].isn)
		return TAKEN_THERE;
	// One opening, and who goes on with it has heard of others: above those, each would go on above the other else.
	if (told && answers->isn && w->dir[1].isn == answers->end)
		return TAKEN_UNKNOWN;
	if (s->pulls_asking == 0 || !pull_named(s, &c->dir[0].key, &number))
		return TAKEN_UNKNOWN;
	if (answers->isn && c->state == CONN_LIVE && tcp_is_after_isn(number, answers->end))
		return TAKEN_HERE;
	return told && tcp_is_after_isn(number, w->dir[1].isn) ? TAKEN_THERE : TAKEN_UNKNOWN;
}

// One side has ended, and the other goes on. Of sync, nothing passes before all holders know it: the initiator has
// not seen the other end, and has opened nothing since its last packet.
static bool half_closed(enum durability level, unsigned initiator, unsigned responder)
{
	return level == DURABILITY_SYNC && !((initiator | responder) & TCP_DIR_RST) &&
	       ((initiator ^ responder) & TCP_DIR_FIN);
}

// Has the connection here been opened a moment ago, and w tells of one that has come to its end? Who opened
// it had not heard of that one, or it would have the higher number.
static bool opened_after(const struct shard *s, const struct conn *c, const struct wire_record *w)
{
	const uint8_t ends = TCP_DIR_FIN | TCP_DIR_RST;

	return is_opening(c) && repl_age_ms(s, c->dir[0].seen) < STRAGGLER_MS &&
	       ((w->dir[0].tcp_flags | w->dir[1].tcp_flags) & ends) &&
	       !half_closed(repl_durability_of(w), w->dir[0].tcp_flags, w->dir[1].tcp_flags);
}

// The initiator has acknowledged what was let through here, and had not been refused or answered by an end: the other
// opening is of the same SYN.
static bool has_taken(const struct conn *c, const struct wire_record *w)
{
	const uint8_t ends = TCP_DIR_FIN | TCP_DIR_RST;

	return syn_of(c, w) == SYN_SAME && tcp_state_of(w) == TCP_SYN_RECEIVED &&
	       !c->dir[1].tcp.isn && conn_tcp_at(c, TCP_ESTABLISHED) &&
	       !(c->dir[0].tcp.flags & TCP_DIR_RST) && !(c->dir[1].tcp.flags & ends);
}

// In doubt, too: without TCP it is silence that ends a connection, and there has not been enough of that. Where it has
// gone on elsewhere, it has so with the answer that has passed here.
static bool cannot_have_ended(const struct shard *s, const struct conn *c)
{
	return c->dir[0].key.proto != IPPROTO_TCP &&
	       repl_age_ms(s, conn_last_seen(c)) < conn_timeout_ms(s, c);
}

// Is this node the one whose word counts: does it handle the connection, and did so more lately than
// whoever sent w? Packets of a life that is over here may be the next life's, which has a higher number.
static bool handles_better(const struct shard *s, const struct conn *c, const struct wire_record *w)
{
	uint32_t age_ms = repl_age_ms(s, c->dir[0].seen);

	if (c->state != CONN_LIVE || !conn_masters(c, 0))
		return false;
	if (conn_uncertain(s, c, 0))
		return cannot_have_ended(s, c) && opened_twice(s, c, w) &&
		       has_first_answer(s, c, w);
	if (has_taken(c, w))
		return true;
	if (follows_end(c, w))
		return w->op == WIRE_PUT && tcp_state_of(w) < TCP_ESTABLISHED &&
		       half_closed(conn_durability(c), c->dir[0].tcp.flags, c->dir[1].tcp.flags) &&
		       age_ms <= w->dir[0].age_ms;
	if (opened_twice(s, c, w))
		return has_first_answer(s, c, w);
	if (syn_of(c, w) == SYN_OTHER && tcp_state_of(w) == TCP_SYN_RECEIVED)
		return false; // the next, which has been answered already
	return age_ms < w->dir[0].age_ms || opened_after(s, c, w);
}

// Packets of it arrive here, and not for its end only. A tombstone has no ages to compare with.
static bool handles_still(const struct shard *s, const struct conn *c)
{
	return c->state == CONN_LIVE && conn_masters(c, 0) && !conn_uncertain(s, c, 0) &&
	       repl_age_ms(s, c->dir[0].seen) < STRAGGLER_MS && !conn_tcp_at(c, TCP_CLOSING);
}

enum rival rival_of(struct shard *s, uint32_t i, const struct wire_record *w)
{
	const struct conn *c = store_conn(&s->store, i);
	enum taken which = taken(s, c, w);

	if (w->incarnation < c->incarnation && which != TAKEN_THERE && !gives_way(s, i, w))
		return RIVAL_STALE;
	if (which != TAKEN_UNKNOWN)
		return which == TAKEN_HERE ? RIVAL_LOSES : RIVAL_WINS;
	if (w->op == WIRE_BURY) // of a life of which this one began without knowing
		return handles_still(s, c) ? RIVAL_LOSES : RIVAL_WINS;
	return handles_better(s, c, w) ? RIVAL_LOSES : RIVAL_WINS;
}
