// SPDX-License-Identifier: BSD-3-Clause
// One packet that has been parsed: who handles it, what it does to its connection, where it goes. The
// last pass of a burst (core/shard.c), and of packets that waited.
#include "core/shard.h"

#include <netinet/in.h>

#define SYN_AGAIN_MS 200 // no sooner does an initiator repeat its SYN

void shard_hand_to(struct shard *s, const struct tripod_packet *p, unsigned worker, uint8_t how)
{
	struct ring_message m = {.type = RING_FRAME, .frame = shard_frame(p, FRAME_DATA)};
	m.frame.flags |= TRIPOD_PKT_HANDED | how;
	// The other worker has run meanwhile, and does not know how old the packet is.
	if (s->stale_rx)
		m.frame.flags |= TRIPOD_PKT_STALE;
	if (!shard_post(s, worker, &m))
		shard_drop(s, p, C_drop_ring_full);
	else
		count(s, C_handoffs);
}

static bool is_stale(const struct shard *s, const struct tripod_packet *p)
{
	return s->stale_rx || (p->flags & TRIPOD_PKT_STALE);
}

static bool is_syn(const struct tripod_packet *p)
{
	return p->tuple.proto == IPPROTO_TCP &&
	       (p->tcp_flags & (TRIPOD_TCP_SYN | TRIPOD_TCP_ACK)) == TRIPOD_TCP_SYN;
}

static bool is_echo_request(const struct tripod_packet *p)
{
	return p->data[p->l4] == (p->v6 ? 128 : 8);
}

// Others may be asked about the packet, and have not been yet.
static bool may_ask(const struct shard *s, const struct tripod_packet *p)
{
	return !(p->flags & TRIPOD_PKT_WAITED) && shard_replicates(s) && shard_others(s) != 0;
}

// They are, and the packet waits; false: it goes on as it is.
static bool asks(struct shard *s, struct tripod_packet *p)
{
	return may_ask(s, p) && pull_check(s, p, &p->tuple, shard_others(s), false);
}

// The same on mere chance: as far as real questions leave room. nodes: first.
static bool wonders(
	struct shard *s, struct tripod_packet *p, const struct tripod_tuple *key, uint64_t nodes)
{
	return !(p->flags & TRIPOD_PKT_RELAYED) && may_ask(s, p) &&
	       pull_check(s, p, key, nodes, true);
}

// A first fragment of UDP: where the switch sends what is not cut of its connection, if that can be computed, or
// this node.
static unsigned belongs_to(const struct shard *s, const struct tripod_packet *p)
{
	int to = p->fragment && p->tuple.proto == IPPROTO_UDP ? predict_computed(s, &p->tuple)
							      : NEXT_HOP_UNKNOWN;

	return to >= 0 && (s->ports & 1ull << to) ? (unsigned)to : s->conf->id;
}

// Another node has relayed the packet, and would have to do so again; unless it is a first fragment that
// has come to where it belongs.
static bool was_relayed(const struct shard *s, const struct tripod_packet *p)
{
	bool belongs = p->fragment && p->tuple.proto == IPPROTO_UDP &&
		       predict_computed(s, &p->tuple) == s->conf->id;

	return (p->flags & TRIPOD_PKT_RELAYED) && !belongs;
}

// No record here. TCP opens with a SYN, everything else with its first packet, unless the
// connection may be known elsewhere: then the packet waits for what the peers say.
static void miss(struct shard *s, struct tripod_packet *p, uint64_t hash)
{
	bool can_ask = may_ask(s, p);
	// While nothing moves, all who have a connection have told, but for the young ones of which no
	// packet arrives here.
	bool moving = shard_unsettled(s);
	unsigned how = moving ? PULL_BLIND | PULL_ROUNDS : 0;
	bool opens;

	unsigned to = belongs_to(s, p);
	if (to != s->conf->id && !(p->flags & (TRIPOD_PKT_RELAYED | TRIPOD_PKT_WAITED))) {
		forward_relay(s, p, to);
		return;
	}
	if (was_relayed(s, p)) {
		// Who has relayed it has a record that names this node, which has restarted. Of stragglers there are few;
		// fragments would be lost as long as they come.
		if (!can_ask || !p->fragment || !pull_unknown(s, p, hash, PULL_BLIND | PULL_ROUNDS))
			shard_drop(s, p, C_drop_relay_loop);
		return;
	}
	switch (p->tuple.proto) {
	case IPPROTO_TCP:
		if (tcp_flags_bogus(p->tcp_flags)) {
			shard_drop(s, p, C_drop_tcp_flags);
			return;
		}
		opens = is_syn(p);
		can_ask = can_ask && !opens;
		// A reset would end for good what is merely not known yet.
		how |= PULL_BLIND |
		       (s->conf->unknown_tcp_reset || index_behind(s) ? PULL_ROUNDS : 0);
		break;
	case IPPROTO_UDP:
		opens = true;
		// The switch may see no ports in a fragment, and have sent what is not cut elsewhere.
		how |= p->fragment ? PULL_BLIND | PULL_ROUNDS : 0;
		break;
	default:
		opens = is_echo_request(p);
		how |= opens ? 0 : PULL_BLIND;
		break;
	}
	if (can_ask && pull_unknown(s, p, hash, how))
		return;
	if (opens && is_stale(s, p))
		shard_drop(s, p, C_drop_stale);
	else if (opens && p->tuple.proto != IPPROTO_TCP && shard_deaf(s) && shard_replicates(s))
		shard_drop(s, p, C_drop_deaf);
	else if (opens && conn_may_open(s, p))
		conn_open(s, p, 0, 0, 0);
	else if (opens)
		return; // it is dropped
	else if (p->tuple.proto == IPPROTO_TCP && s->conf->unknown_tcp_reset)
		forward_reset(s, p);
	else
		shard_drop(s, p, C_drop_unknown);
}

// A packet of a connection that has ended here and that it does not open. Its key may have a newer life
// of which this node has not heard: the other direction's master has reopened it.
static void ask_or_drop(struct shard *s, struct tripod_packet *p)
{
	if ((p->flags & TRIPOD_PKT_RELAYED) || !asks(s, p))
		shard_drop(s, p, C_drop_tcp_closed);
}

// A packet that would open the next life of what has ended here must not: it has been handled elsewhere, or
// sent again. It is taken then.
static bool opens_in_vain(struct shard *s, struct tripod_packet *p)
{
	if (p->flags & TRIPOD_PKT_RELAYED)
		shard_drop(s, p, C_drop_tcp_closed);
	else if (is_stale(s, p))
		shard_drop(s, p, C_drop_stale);
	else
		return false;
	return true;
}

// It was opened by an answer, and has made way (conn_make_way()) for the connection of that, of which no copy may be
// here. This may be the next answer.
static bool made_way(const struct conn *c)
{
	return c->dir[0].key.proto == IPPROTO_UDP && !(c->flags & CONN_ANSWERED) &&
	       c->reason == TRIPOD_TERMINATED;
}

// A packet of a connection that has ended here.
static void closed(struct shard *s, struct tripod_packet *p, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	uint64_t incarnation = c->incarnation, holders = r->holders;
	uint64_t told = holders_with(r, HOLDER_ACKED); // of its end
	bool opens = p->tuple.proto == IPPROTO_TCP
			     ? is_syn(p)
			     : p->tuple.proto == IPPROTO_UDP || is_echo_request(p);

	count(s, C_tombstone_hits);
	if (!opens) {
		ask_or_drop(s, p);
		return;
	}
	if (made_way(c) && asks(s, p))
		return;
	if (opens_in_vain(s, p) || !conn_may_open(s, p))
		return;
	ending_now(s, i);
	if (!conn_free(s, i))
		shard_drop(s, p, C_drop_ring_full);
	else
		conn_open(s, p, incarnation, holders, told);
}

// May this node handle the packet, although it is not (or not surely) the direction's master?
// Takes the packet when it answers false.
static bool claim(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	struct conn *c = store_conn(&s->store, i);
	struct conn_repl *r = store_repl(&s->store, i);
	unsigned master = r->part[dir].writer;
	bool others = (s->live & ~(1ull << s->conf->id)) != 0;

	if (s->stale_rx && !conn_masters(c, dir)) {
		shard_drop(s, p, C_drop_stale); // it has been sent again, to who may handle it
		return false;
	}
	// Of what lay before a worker that stood still: so did, perhaps, what others have told this one.
	bool lay = p->flags & TRIPOD_PKT_STALE;
	if (lay && !others && shard_replicates(s)) {
		shard_drop(s, p, C_drop_stale);
		return false;
	}
	if (conn_uncertain(s, c, dir) || lay) {
		if (shard_deaf(s) && shard_replicates(s)) {
			shard_drop(s, p, C_drop_deaf);
			return false;
		}
		if (asks(s, p))
			return false;
		c->dir[dir].seen = s->now;
	}
	if (conn_masters(c, dir))
		return true;
	// A record that names this node from a former life: nobody has claimed it since, and what others relay comes
	// here. It is taken over, or nobody would.
	if (master != s->conf->id && was_relayed(s, p)) {
		shard_drop(s, p, C_drop_relay_loop);
		return false;
	}
	// A record may name this node from a former life. It has not handled this one then. A SYN is no
	// straggler of what has been established.
	bool master_lives = shard_responsive(s) & (1ull << master) & ~shard_self(s);
	bool straggler = !is_syn(p) && r->part[dir].handed && c->dir[dir].next_hop == 0 &&
			 (uint16_t)((uint16_t)s->now - c->dir[dir].next_hop_check) <
				 ticks_of_ms(STRAGGLER_MS);
	bool master_stays = master_lives && !(s->draining & (1ull << master));
	// Nor does the switch send a connection elsewhere by sending a fragment there, unless nothing goes to the
	// master any more: then nothing but fragments may come.
	bool portless = s->peer[master].hello == WIRE_HELLO_DRAINING;
	bool passes = straggler || (p->fragment == TRIPOD_FRAGMENT_FIRST && !portless);
	bool pinned = master_stays && (c->flags & CONN_PINNED);
	// Of a life that began a moment ago there may be no copy here yet, but one of the life before; nor is its packet
	// a straggler of that one.
	if (!pinned && p->tuple.proto == IPPROTO_TCP &&
		tcp_of_next(&c->dir[dir].tcp, &c->dir[!dir].tcp, p) && asks(s, p))
		return false;
	if ((master_lives && passes) || pinned) {
		forward_relay(s, p, master);
		return false;
	}
	if (!(c->flags & CONN_PINNED) && !p->fragment)
		predict_arrived(s, i, dir, master);
	conn_take_over(s, i, dir);
	// Both directions of a pinned connection go where the first of them goes.
	if ((c->flags & CONN_PINNED) && !conn_masters(c, !dir) && !master_stays)
		conn_take_over(s, i, !dir);
	return true;
}

// Whom to ask about the initiator's acknowledgement of what has not passed here; 0: there is nothing to ask. If nobody has
// a copy from here, it is another node that has opened the connection for a repeated SYN, and has been answered: all are
// asked. Who has one may have let the answer pass: those are asked, while something moves, and the others if that was not
// the answer.
static uint64_t answer_known_to(const struct shard *s, uint32_t i, const struct tripod_packet *p)
{
	const struct conn *c = store_conn(&s->store, i);
	uint64_t holders = store_repl(&s->store, i)->holders & shard_others(s);

	if (p->tuple.proto != IPPROTO_TCP || (c->flags & (CONN_ANSWERED | CONN_HELD)) ||
		(p->tcp_flags & (TRIPOD_TCP_SYN | TRIPOD_TCP_ACK)) != TRIPOD_TCP_ACK)
		return 0;
	if (!(c->flags & CONN_REPLICATED) || holders == 0)
		return shard_others(s);
	return shard_moves(s) ? holders : 0;
}

// The first answer is so late that the SYN may have been sent again meanwhile, to a node that has been answered:
// something moves. (Else there are only servers that are far away.)
static bool answered_late(const struct shard *s, const struct conn *c, unsigned dir)
{
	return dir == 1 && c->dir[0].key.proto == IPPROTO_TCP && !(c->flags & CONN_ANSWERED) &&
	       shard_unsettled(s) &&
	       (int32_t)(s->now - c->dir[0].seen) > (int32_t)ticks_of_ms(SYN_AGAIN_MS);
}

// This node is not, or not surely, the direction's master, or packets of it wait, or it has not been answered.
// false: p is gone.
static bool exceptional(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	const struct conn *c = store_conn(&s->store, i);

	bool unsure = conn_uncertain(s, c, dir) || (p->flags & TRIPOD_PKT_STALE);
	if ((!conn_masters(c, dir) || unsure) && !claim(s, p, i, dir))
		return false;
	uint64_t nodes = dir == 0 ? answer_known_to(s, i, p) : 0;
	if (nodes != 0 && wonders(s, p, &c->dir[0].key, nodes))
		return false;
	if (answered_late(s, c, dir) && wonders(s, p, &c->dir[0].key, shard_others(s)))
		return false;
	// Before the packet changes anything: it would be dropped afterwards.
	if ((c->flags & CONN_SYNCING) && sync_full(s, i, dir)) {
		shard_drop(s, p, C_drop_sync_full);
		return false;
	}
	return true;
}

// Have flags of direction dir grown that tell the holders nothing yet? What a copy needs them for is the
// state of the connection, so they are sent when that changes: of a close, the first FIN and the last
// acknowledgement. Where another node handles the other direction, it waits for each.
static bool tells_nothing(const struct conn *c, unsigned dir, uint8_t flags, uint8_t wscale)
{
	const uint8_t both = CONN_MASTER_0 | CONN_MASTER_1;
	const struct tcp_dir *now = &c->dir[dir].tcp, *other = &c->dir[!dir].tcp;
	struct tcp_dir was = {.flags = flags};

	if ((c->flags & both) != both || now->wscale != wscale ||
		((now->flags ^ flags) & (TCP_DIR_SYN | TCP_DIR_WSCALE)))
		return false;
	return dir == 0 ? tcp_state(&was, other) == tcp_state(now, other)
			: tcp_state(other, &was) == tcp_state(other, now);
}

// The connection may have been taken over, have ended and been opened anew elsewhere, of which this node has not
// heard: then the packet is not to pass as one of the life before. true: p waits for what others know.
static bool asks_for_other(
	struct shard *s, struct tripod_packet *p, const struct conn *c, unsigned dir)
{
	if (p->flags & TRIPOD_PKT_RELAYED)
		return false;
	switch (tcp_life(&c->dir[dir].tcp, &c->dir[!dir].tcp, dir == 0, p)) {
	case TCP_LIFE_THIS:
		return false;
	case TCP_LIFE_DOUBT:
	case TCP_LIFE_OTHER:
		return wonders(s, p, &p->tuple, shard_others(s));
	case TCP_LIFE_NEXT:
		return asks(s, p);
	}
	return false;
}

// It comes to its end, and this node sees both directions: whoever takes over learns as much from the packet for
// which it does, and without one the copy is only kept for longer.
static bool ends_here(const struct conn *c)
{
	return conn_tcp_at(c, TCP_CLOSING) && conn_masters(c, 0) && conn_masters(c, 1);
}

// A reset that has waited here, of a direction whose windows are not known, and of a life that has begun a
// moment ago: it may be of the life before, whose initiator resets what still comes.
static bool resets_in_doubt(
	const struct shard *s, const struct conn *c, unsigned dir, const struct tripod_packet *p)
{
	uint64_t began = incarnation_life(c->incarnation) + (STRAGGLER_MS * MS >> LIVES_SHIFT);

	return (p->tcp_flags & TRIPOD_TCP_RST) && (p->flags & TRIPOD_PKT_WAITED) &&
	       !(c->dir[dir].tcp.flags & TCP_DIR_LEARNED) && conn_lives(s) < began;
}

// false: the tracker refuses the packet, which is gone.
static bool track(
	struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir, unsigned *changed)
{
	struct conn *c = store_conn(&s->store, i);
	uint8_t flags = c->dir[dir].tcp.flags, wscale = c->dir[dir].tcp.wscale;

	bool special = (flags & TCP_DIR_FIN_SEEN) || c->dir[!dir].tcp.isn ||
		       (p->tcp_flags & TRIPOD_TCP_SYN);
	if (__builtin_expect(special, 0) && asks_for_other(s, p, c, dir))
		return false;
	if (resets_in_doubt(s, c, dir, p))
		return true; // as it is, for the receiver to challenge (RFC 5961, 3.2)
	switch (tcp_track(&c->dir[dir].tcp, &c->dir[!dir].tcp, dir == 0, p)) {
	case TCP_OK:
		return true;
	case TCP_OK_CHANGED:
		if (conn_durability(c) != DURABILITY_SYNC && tells_nothing(c, dir, flags, wscale))
			store_repl(&s->store, i)->untold |= (uint8_t)(1u << dir);
		else
			*changed |= 1u << dir | (ends_here(c) ? REPL_LATE : 0);
		return true;
	case TCP_OUT_OF_WINDOW:
		shard_drop(
			s, p, tcp_flags_bogus(p->tcp_flags) ? C_drop_tcp_flags : C_drop_tcp_window);
		return false;
	case TCP_AFTER_CLOSE:
		ask_or_drop(s, p);
		return false;
	case TCP_FAR:
		if (wonders(s, p, &p->tuple, shard_others(s)))
			return false;
		tcp_forget(&c->dir[dir].tcp);
		return track(s, p, i, dir, changed);
	case TCP_REOPEN:
		// Nor does it end this life then: of this one's last packets some may be on their way still.
		if (opens_in_vain(s, p))
			return false;
		conn_close(s, i, TRIPOD_TCP_CLOSED);
		closed(s, p, i);
		return false;
	}
	return true;
}

// Has what has come of the responder answered the SYN? One that remembers an older connection of these ports acknowledges
// that, and is reset for it (RFC 5961, 4). Where another node opens this one meanwhile, and is answered, that counts.
static bool is_answer(const struct conn *c)
{
	return c->dir[0].key.proto != IPPROTO_TCP || conn_tcp_at(c, TCP_SYN_RECEIVED);
}

void shard_forward_conn(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	struct conn *c = store_conn(&s->store, i);
	unsigned changed = 0;

	if (__builtin_expect(c->state != CONN_LIVE, 0)) {
		closed(s, p, i);
		return;
	}
	// One compare of flags for three rare things.
	unsigned usual = CONN_MASTER_0 << dir | CONN_ANSWERED;
	if (__builtin_expect((c->flags & (usual | CONN_SYNCING)) != usual ||
				     conn_uncertain(s, c, dir) || (p->flags & TRIPOD_PKT_STALE),
		    0) &&
		!exceptional(s, p, i, dir))
		return;
	if (__builtin_expect(p->ttl <= 1, 0)) {
		forward_icmp_error(s, p, ICMP_TIME_EXCEEDED, 0);
		shard_drop(s, p, C_drop_ttl);
		return;
	}
	if (__builtin_expect(c->dir[1].key.proto == 0, 0)) {
		shard_drop(s, p, C_drop_hold_full); // its first packet is still held by an NF
		return;
	}
	if (p->tuple.proto == IPPROTO_TCP && !track(s, p, i, dir, &changed))
		return;
	c->dir[dir].seen = s->now;
	if (__builtin_expect(dir == 1 && !(c->flags & CONN_ANSWERED), 0) && is_answer(c)) {
		conn_answered(s, i);
		changed |= 1u << dir;
	}
	enum run_result result = run_chain(s, p, i, dir, 0, false);
	if (__builtin_expect(changed != 0, 0) && c->state == CONN_LIVE) {
		repl_changed(s, i, changed);
		conn_rewheel(s, i);
	}
	if (result == RUN_OUT)
		forward_out(s, p, i, dir);
}

void shard_deliver(struct shard *s, struct tripod_packet *p, uint64_t hash, struct store_hit hit)
{
	if (__builtin_expect(!store_hit_right(&s->store, &hit, &p->tuple), 0))
		hit = store_find(&s->store, &p->tuple, hash);
	if (__builtin_expect(hit.what == STORE_CONN, 1)) {
		shard_forward_conn(s, p, hit.index, hit.dir);
	} else if (hit.what == STORE_ALIAS && !(p->flags & TRIPOD_PKT_ALIAS)) {
		shard_hand_to(s, p, s->store.aliases[hit.index].owner, TRIPOD_PKT_ALIAS);
	} else if (p->fragment == TRIPOD_FRAGMENT_LATER) {
		fragment_later(s, p);
	} else {
		miss(s, p, hash);
	}
}

// An ICMP error belongs to the connection that it quotes: any node with a copy carries it through
// the rewriting, and nobody's role changes, since the switch hashed it on something else.
void shard_icmp_error(struct shard *s, struct tripod_packet *p)
{
	uint64_t hash = store_hash(&s->store, &p->tuple);
	struct store_hit hit = store_find(&s->store, &p->tuple, hash);

	if (hit.what == STORE_ALIAS && !(p->flags & TRIPOD_PKT_ALIAS)) {
		shard_hand_to(s, p, s->store.aliases[hit.index].owner, TRIPOD_PKT_ALIAS);
		return;
	}
	if (hit.what == STORE_CONN && store_conn(&s->store, hit.index)->state == CONN_LIVE) {
		forward_icmp_through(s, p, hit.index, hit.dir);
		return;
	}
	bool ask = hit.what == STORE_MISS && !(p->flags & TRIPOD_PKT_RELAYED) && may_ask(s, p);
	if (!ask || !pull_unknown(s, p, hash, PULL_BLIND | PULL_ROUNDS))
		shard_drop(s, p, C_drop_icmp_unknown);
}
