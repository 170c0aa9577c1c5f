// SPDX-License-Identifier: BSD-3-Clause
// Takeover, close and rejoin of one connection on three nodes, for spin. README.md says what is
// modelled, what is left out, and how to read a counterexample.
//
// One process takes one step after another, each the whole reaction of a node (or of the world) to
// one event: that is what a node is, too (shard_step()). All that is not bounded by itself has a
// budget, so an execution is infinite only when the client's packets are served for ever, or when
// something goes round in a circle without that: a non-progress cycle.

#define N 3

#ifndef KILLS
#define KILLS 1		// nodes that die, and may come back
#endif
#ifndef FREEZES
#define FREEZES 0	// nodes that stand still for longer than dead_after_ms
#endif
#ifndef CUTS
#define CUTS 0		// nodes cut off from the fabric, not from the switch
#endif
#ifndef FLAPS
#define FLAPS 1		// moves of the flow between nodes that live
#endif
#ifndef LOSSES
#define LOSSES 1	// messages lost
#endif
#ifndef DUPS
#define DUPS 0		// messages delivered twice
#endif
#ifndef CLOSES
#define CLOSES 1	// connections that close, each followed by another with the same ports
#endif
#ifndef CHANGES
#define CHANGES 1	// packets that change durable state, besides opening and closing
#endif
#ifndef BAG
#define BAG 3		// messages under way, delivered in any order
#endif

#define NOBODY 255

// Of a node.
#define DEAD 0
#define UP 1
#define FROZEN 2
// Of its record.
#define VOID 0
#define LIVE 1
#define TOMB 2
// Of the client.
#define OPENS 0		// its next packet is a SYN
#define OPEN 1		// it has had an answer
#define ENDED 2
#define SENT 3		// a SYN, and no answer yet
// Its packets.
#define SYN 0
#define DATA 1
#define FIN 2
// Messages.
#define EMPTY 0
#define PUT 1
#define BURY 2
#define NONE 3

#define bit_of(x) (1 << (x))
#define others(x) (7 - bit_of(x))

typedef Node {
	byte up;
	bool cut;		// off the fabric
	bool boot;		// which boot, counted modulo 2
	bool ready;		// the switch may use it
	byte owes;		// mask: to whom its record is to be sent, still
	// The record.
	byte st;
	byte inc, ep, ver, wr;	// the claim
	bool val;		// what the last change wrote, as far as it matters: which boot of the writer
	byte wo;		// write-once: what the opening chose (a NAT's port)
	byte hold;		// mask: who has a copy, or is sent one
	bool fin, mas, han, unc; // closed by the client; master; just handed over; to be validated
	bool replied, est;		// an answer has passed; and a packet after that
	bool far;		// away for so long that the end of its life may be forgotten
	bool con;		// contested: records have come that did not fit
	byte pend;		// write-once of the SYN whose answer is on its way here; 0: none
	// Ghosts: the highest claim that it has confirmed in this boot, the highest life it has buried.
	byte ginc, gep, gtomb;
	bool must_free;		// dropped a packet because of its tombstone: time passes before the next
};

typedef Message {
	byte t, from, to;
	byte inc, ep, ver, wr, val, wo, hold;
	bool fin, replied, est, answers, final;
};

Node n[N];
Message b[BAG];
byte sw = 0;		// where the switch sends the flow

// The client, and the packet that is under way: pk, at node pn, waiting for an answer to a pull.
byte cst = OPENS, cwo = 0, life = 0, pk;
byte pn = NOBODY, paw;	// paw: mask of who has not answered
bool pf;		// one has it
bool stuck;		// the last packet was lost: the client repeats it when time has passed
byte rn = NOBODY;	// node that is to handle the packet now
bool rw, rf;		// ... once more, after a pull; which somebody has answered
bool pq;		// ghost: the packet was sent when all was quiet
byte last = NOBODY;	// ghost: who served the last packet
byte gone;		// ghost: the highest life that has come to its end, as somebody alive knows or knew

byte kills = KILLS, freezes = FREEZES, cuts = CUTS, flaps = FLAPS, losses = LOSSES, dups = DUPS;
byte changes = CHANGES;
byte used = 4;		// highest incarnation of all; they go up by 4
bool lapse;		// a tombstone has been forgotten while somebody was away
bool low;		// 4 was drawn: below all others

byte i, j, k, slot;	// scratch, 0 between steps
byte mask, was;
bool yes, again, found, served;

// a hears m.
#define hears(a, m) (a != m && n[m].up == UP && !n[a].cut && !n[m].cut)
#define has_live(x) (n[x].st == LIVE)
#define full (b[0].t != EMPTY && b[1].t != EMPTY && b[BAG - 1].t != EMPTY)
#define idle (rn == NOBODY && !served)
#define sure(x) (n[x].st == LIVE && n[x].replied && !n[x].unc)

// ---- Claims ----

inline confirm(x)
{
	if
	:: !n[x].replied // it binds nobody
	:: n[x].replied && n[x].inc > n[x].ginc -> n[x].ginc = n[x].inc; n[x].gep = n[x].ep
	:: n[x].replied && n[x].inc == n[x].ginc && n[x].ep > n[x].gep -> n[x].gep = n[x].ep
	:: else
	fi
}

inline forget(x)
{
	n[x].st = VOID; n[x].inc = 0; n[x].ep = 0; n[x].ver = 0; n[x].wr = 0; n[x].val = 0;
	n[x].wo = 0; n[x].hold = 0; n[x].fin = 0; n[x].mas = 0; n[x].han = 0; n[x].unc = 0;
	n[x].replied = 0; n[x].est = 0; n[x].far = 0; n[x].con = 0;
	n[x].owes = 0; n[x].must_free = 0
}

// Of a life that has ended, nothing is promised for longer than its tombstone stays.
inline forget_ghosts(x)
{
	n[x].ginc = 0; n[x].gep = 0; n[x].gtomb = 0
}

inline changed(x)
{
	n[x].ver++;
	n[x].val = n[x].boot;
	n[x].owes = n[x].owes | (n[x].hold & others(x))
}

// Rendezvous hashing prefers nodes in an order that all compute alike: which, is drawn once.
byte prefers[N];

#define holds(x, m) ((n[x].hold >> (m)) & 1)
#define counts(x, m) (holds(x, m) && (x == m || hears(x, m)))
#define copies(x) (counts(x, 0) + counts(x, 1) + counts(x, 2))
#define could(x, m) (hears(x, m) && n[m].ready && !holds(x, m))

// A copy for one who has none, as long as there are fewer than two.
inline protect(x)
{
	k = 0;
	do
	:: k < N && copies(x) < 2 && could(x, prefers[k]) ->
		n[x].hold = n[x].hold | bit_of(prefers[k]);
		n[x].owes = n[x].owes | bit_of(prefers[k])
	:: k < N && !(copies(x) < 2 && could(x, prefers[k])) -> k++
	:: else -> break
	od;
	k = 0
}

// A new life, above `above` and above every life that was opened before, since incarnations are a clock that
// all nodes share. It has its own node alone until it is answered.
inline open(x, above)
{
	mask = n[x].hold;
	i = above;
	forget(x);
	if
	:: n[x].inc = (used / 4 + 1) * 4
#ifdef NO_CLOCK
	:: i < 4 && !low -> n[x].inc = 4; low = 1
#endif
	fi;
	if
	:: n[x].inc > used -> used = n[x].inc
	:: else
	fi;
	i = 0;
	n[x].st = LIVE; n[x].ep = 1; n[x].wr = x; n[x].mas = 1;
	n[x].wo = n[x].inc;
	// Who has a copy of the life before must hear of this one.
#ifdef FORGET_HOLDERS
	n[x].hold = bit_of(x);
#else
	n[x].hold = mask | bit_of(x);
#endif
	mask = 0;
	n[x].val = n[x].boot;
	printf("%d opens life %d, mapping %d\n", x, n[x].inc, n[x].wo)
}

// An answer passes: from now on there are copies.
inline answered(x)
{
	if
	:: n[x].st == LIVE && n[x].wo == n[x].pend && n[x].mas && !n[x].unc ->
		if
		:: !n[x].replied ->
			n[x].replied = 1;
			changed(x);
			protect(x);
			confirm(x)
		:: else
		fi;
		printf("%d: an answer, life %d, mapping %d\n", x, n[x].inc, n[x].wo);
		// The client takes the first.
		if
		:: cst == SENT -> cst = OPEN; cwo = n[x].wo
		:: else
		fi
	:: else
	fi;
	n[x].pend = 0
}

inline bury(x)
{
	printf("%d buries life %d\n", x, n[x].inc);
	n[x].st = TOMB; n[x].mas = 0; n[x].han = 0; n[x].unc = 0;
	if
	:: n[x].inc > n[x].gtomb -> n[x].gtomb = n[x].inc
	:: else
	fi
}

inline take_over(x)
{
	n[x].ep++; n[x].ver = 0; n[x].wr = x; n[x].mas = 1; n[x].han = 0; n[x].unc = 0;
	n[x].hold = n[x].hold | bit_of(x);
	changed(x);
	protect(x);
	confirm(x);
	printf("%d takes over life %d, epoch %d\n", x, n[x].inc, n[x].ep)
}

// ---- Packets ----

// The packet leaves node x.
inline serve(x)
{
	// Nobody emits under a claim older than one that it has confirmed.
	assert(!n[x].replied || n[x].inc > n[x].ginc || (n[x].inc == n[x].ginc && n[x].ep >= n[x].gep));
	// Nothing that was buried here is alive, nor, where all can be heard, what has ended anywhere.
	assert(n[x].inc > n[x].gtomb);
	assert(n[x].inc > gone || n[x].cut || n[x].fin);
	// When all was quiet, the flow has the mapping that its client was given.
	assert(!pq || pk == SYN || n[x].wo == cwo);
	last = x;
	printf("%d emits, life %d, epoch %d, mapping %d\n", x, n[x].inc, n[x].ep, n[x].wo);
	if
	:: pk == SYN && !n[x].replied ->
		n[x].pend = n[x].wo;
		cst = (cst == OPENS -> SENT : cst)
	:: pk == SYN && n[x].replied && cst != OPEN -> cst = OPEN; cwo = n[x].wo
	:: pk == FIN && n[x].wo == cwo ->
		n[x].fin = 1; n[x].est = 1; cst = ENDED; changed(x)
	:: pk == DATA && n[x].wo == cwo && changes > 0 -> changes--; n[x].est = 1; changed(x)
	:: pk == DATA && n[x].wo == cwo -> n[x].est = 1
	:: else -> stuck = 1 // into the void: the server does not know it
	fi;
	served = (pk == SYN || n[x].wo == cwo)
}

inline pull(x)
{
	printf("%d asks\n", x);
	pn = x; pf = 0; paw = 0;
	k = 0;
	do
	:: k < N ->
		if
		:: hears(x, k) -> paw = paw | bit_of(k)
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	if
	:: paw == 0 -> pn = NOBODY; rn = x; rw = 1 // nobody to ask
	:: else
	fi
}

// A packet says which answer its client has taken, as long as it is known here which one that should be.
#ifdef NO_TAKEN
#define of_other_answer(x) false
#else
#define of_other_answer(x) (!n[x].est && n[x].wo != cwo)
#endif
#ifdef NO_ASK_WHEN_CLOSED
#define of_another(x) (pk != SYN && (!n[x].replied || of_other_answer(x)))
#define asks_at_tomb false
#else
#define of_another(x) (pk != SYN && (!n[x].replied || of_other_answer(x) || n[x].fin))
#define asks_at_tomb (pk != SYN && !again)
#endif

// A SYN opens the next life, most likely, of which this node has not heard, or of the end of this one.
#ifdef NO_ASK_OF_SYN
#define asks_of_syn(x) false
#else
#define asks_of_syn(x) (pk == SYN && n[x].replied && !n[x].fin)
#endif

// A straggler: one hop to the master, or nowhere. Soon it will not be taken for one.
inline relay(x)
{
	i = n[x].wr;
	n[x].han = 0;
	printf("%d relays to %d\n", x, i);
	if
	:: has_live(i) && n[i].mas && !n[i].unc && n[i].replied -> serve(i)
	:: else
	fi;
	i = 0
}

// Its life is over, and the SYN opens the next.
inline end_at_once(x)
{
	gone = (n[x].inc > gone -> n[x].inc : gone);
	bury(x);
	open(x, n[x].inc);
	serve(x)
}

// The packet is in the hands of node rn: core/shard.c, deliver(), miss(), closed(), claim().
inline handle()
{
	j = rn; again = rw; found = rf;
	rn = NOBODY; rw = 0; rf = 0;
	if
	:: has_live(j) && n[j].far && again && !found -> // it has ended while this node was away
		printf("%d forsakes its copy\n", j);
		forget(j)
	:: else
	fi;
	if
	:: n[j].st == VOID && pk == SYN -> open(j, 0); serve(j)
	:: n[j].st == VOID && pk != SYN && !again -> pull(j)
	:: n[j].st == VOID && pk != SYN && again -> stuck = 1; printf("%d drops: nobody knows it\n", j)
	:: n[j].st == TOMB && pk == SYN -> open(j, n[j].inc); serve(j)
	:: n[j].st == TOMB && asks_at_tomb -> pull(j) // of a later life, of which others know
	:: n[j].st == TOMB && pk != SYN && !asks_at_tomb ->
		n[j].must_free = 1; printf("%d drops: tombstone\n", j)
	:: has_live(j) && n[j].unc && !again -> pull(j)
	:: has_live(j) && (!n[j].unc || again) ->
		n[j].unc = 0; n[j].far = 0;
		if
		:: (of_another(j) || asks_of_syn(j)) && !again -> pull(j)
		:: of_another(j) && again -> stuck = 1; printf("%d drops: of another life\n", j)
		:: n[j].fin && pk == SYN -> end_at_once(j)
		:: !of_another(j) && !(n[j].fin && pk == SYN) && (!asks_of_syn(j) || again) ->
			if
			:: n[j].mas -> serve(j)
			:: !n[j].mas && n[j].han && hears(j, n[j].wr) -> relay(j)
			:: else -> take_over(j); serve(j)
			fi
		fi
	fi;
	j = 0;
	again = 0; found = 0
}

inline resolve()
{
	rn = pn; rw = 1; rf = pf; pn = NOBODY; paw = 0; pf = 0
}

// m is not waited for any more.
inline heard(m)
{
	paw = paw & (7 - bit_of(m));
	if
	:: paw == 0 -> resolve()
	:: else
	fi
}

// ---- Messages ----

inline clear(s)
{
	b[s].t = EMPTY; b[s].from = 0; b[s].to = 0; b[s].inc = 0; b[s].ep = 0; b[s].ver = 0;
	b[s].wr = 0; b[s].val = 0; b[s].wo = 0; b[s].hold = 0; b[s].fin = 0; b[s].answers = 0;
	b[s].replied = 0; b[s].est = 0;
	b[s].final = 0
}

// The record of x as it is now, into slot s.
inline describe(s, x, m)
{
	b[s].from = x; b[s].to = m; b[s].inc = n[x].inc;
	if
	:: n[x].st == TOMB -> b[s].t = BURY
	:: else ->
		b[s].t = PUT; b[s].ep = n[x].ep; b[s].ver = n[x].ver; b[s].wr = n[x].wr;
		b[s].val = n[x].val; b[s].wo = n[x].wo; b[s].hold = n[x].hold; b[s].fin = n[x].fin;
		b[s].replied = n[x].replied; b[s].est = n[x].est
	fi
}

inline free_slot()
{
	slot = 0;
	do
	:: slot < BAG && b[slot].t != EMPTY -> slot++
	:: else -> break
	od
}

inline install(x, s)
{
	mask = b[s].hold | bit_of(x) | bit_of(b[s].from);
#ifndef FORGET_HOLDERS
	// Whoever else had a copy of the life before must hear of this one: its master is told.
	yes = (n[x].hold & (7 - mask)) != 0;
	mask = mask | n[x].hold;
#endif
	forget(x);
	n[x].owes = (yes -> bit_of(b[s].from) : 0);
	yes = 0;
	// Its giver may not have heard of what the writer has said since.
	if
	:: b[s].from != b[s].wr && x != b[s].wr -> n[x].owes = n[x].owes | bit_of(b[s].wr)
	:: else
	fi;
	n[x].st = LIVE; n[x].inc = b[s].inc; n[x].ep = b[s].ep; n[x].ver = b[s].ver;
	n[x].wr = b[s].wr; n[x].val = b[s].val; n[x].wo = b[s].wo; n[x].fin = b[s].fin;
	n[x].replied = b[s].replied; n[x].est = b[s].est;
	n[x].hold = mask;
	mask = 0;
	printf("%d has a copy of life %d, epoch %d\n", x, n[x].inc, n[x].ep);
	// Nothing is reborn.
	assert(n[x].inc > n[x].gtomb);
	confirm(x)
}

#define older(x, s) (b[s].ep < n[x].ep || (b[s].ep == n[x].ep && (b[s].ver < n[x].ver || \
	(b[s].ver == n[x].ver && b[s].wr < n[x].wr))))
#ifdef NO_EPOCH_CHECK
#define newer(x, s) (true)
#else
#define newer(x, s) (b[s].ep > n[x].ep || (b[s].ep == n[x].ep && (b[s].ver > n[x].ver || \
	(b[s].ver == n[x].ver && b[s].wr > n[x].wr))))
#endif

// core/hpsms/repl_rx.c: merge().
inline merge(x, s)
{
	mask = n[x].hold | bit_of(b[s].from);
	n[x].fin = n[x].fin | b[s].fin; n[x].replied = n[x].replied | b[s].replied; n[x].est = n[x].est | b[s].est;
	// The sender has not heard of a takeover; or the master hears from one who lacks its newest.
	yes = n[x].ep > b[s].ep;
#ifndef KEEP_OLDER
	yes = yes || ((n[x].mas || n[x].wr == x) && older(x, s));
#endif
	if
	:: b[s].ep == n[x].ep && b[s].ver == n[x].ver && b[s].wr == n[x].wr ->
		assert(b[s].val == n[x].val) // one claim, one content
	:: newer(x, s) && n[x].mas && b[s].wr == x ->
		n[x].ep = b[s].ep + 1; changed(x) // of this node's former life
	:: newer(x, s) && !(n[x].mas && b[s].wr == x) ->
		if
		:: n[x].mas -> n[x].mas = 0; n[x].han = 1
		:: !n[x].mas && b[s].wr != n[x].wr -> n[x].han = 0
		:: else
		fi;
		n[x].ep = b[s].ep; n[x].ver = b[s].ver; n[x].wr = b[s].wr; n[x].val = b[s].val;
		// What it wrote in a former life, and has not told all who have a copy: repair.
		if
		:: b[s].wr == x -> n[x].owes = n[x].owes | (n[x].hold & others(x) & (7 - bit_of(b[s].from)))
		:: else
		fi
	:: else
	fi;
#ifndef NO_INCARNATION
	assert(b[s].wo == n[x].wo); // what is fixed for ever differs in one life
#endif
	n[x].hold = mask | b[s].hold;
#ifndef KEEP_HOLDERS
	// The sender may not know of all who have a copy: it took over before it was told.
	yes = yes || (n[x].hold & (7 - b[s].hold) & (7 - bit_of(b[s].from))) != 0;
#endif
	if
	:: n[x].mas -> n[x].owes = n[x].owes | (n[x].hold & (7 - mask) & others(x))
	:: else
	fi;
	if
	:: yes -> n[x].owes = n[x].owes | bit_of(b[s].from)
	:: else
	fi;
	yes = 0;
	mask = 0;
	confirm(x)
}

// In the place of another life.
inline install_over(x, s)
{
	install(x, s);
	n[x].con = 1
}

// It is a lower one, and others have copies of the higher: this one goes on above that.
inline supersede(x, above)
{
	if
	:: was != 0 ->
		n[x].inc = above + 1;
		used = (n[x].inc > used -> n[x].inc : used);
		n[x].hold = n[x].hold | was | bit_of(n[x].wr);
		n[x].owes = n[x].owes | (n[x].hold & others(x));
		confirm(x)
	:: else
	fi
}

// What was contested is compared when no more comes: the writer asks all who have a copy.
inline compare(x)
{
	n[x].con = 0;
	k = 0;
	do
	:: k < N ->
		if
		:: k != x && holds(x, k) && n[k].st != VOID -> n[k].owes = n[k].owes | bit_of(x)
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

// Two nodes have opened one connection, and neither has had time for more. (What is chosen then is a clock, too.)
#define opened_twice(x, s) (b[s].t == PUT && !n[x].est && !b[s].est && (n[x].replied || b[s].replied))
#define first_answer(x, s) (n[x].replied && (!b[s].replied || n[x].wo < b[s].wo))
// Is x's own life the one that goes on, although the message is of a higher one? Packets tell, and of two openings
// the answer.
#ifdef NO_ANSWER_STANDS
#define handles_better(x, s) (n[x].st == LIVE && n[x].mas && !n[x].unc && last == x)
#define gives_way(x, s) (false)
#else
#define handles_better(x, s) (n[x].st == LIVE && n[x].mas && !n[x].unc && \
	(opened_twice(x, s) -> first_answer(x, s) : last == x))
// What has been opened here without an answer, and told nobody, gives way to an answered one that is lower. If a
// life before was known here, that may be this one.
#define gives_way(x, s) (n[x].st == LIVE && n[x].mas && !n[x].replied && n[x].hold == bit_of(x) && opened_twice(x, s))
#endif

// Two nodes have opened it, and a packet waits here that says which answer its client has taken.
#ifdef NO_TAKEN
#define taken_here(x, s) false
#define taken_there(x, s) false
#else
#define waits(x) (pn == x && pk != SYN)
#define knows_taken(x) (n[x].st == LIVE && !n[x].est && n[x].wo == cwo)
#define says_taken(s) (b[s].t == PUT && !b[s].est && b[s].wo == cwo)
// Where both are, it is one opening, and has gone on above others elsewhere.
#define taken_here(x, s) (waits(x) && knows_taken(x) && !says_taken(s))
#define taken_there(x, s) (waits(x) && !knows_taken(x) && says_taken(s))
#endif

// Another life, and its number is the higher one.
inline higher(x, s)
{
	if
	:: taken_here(x, s) || (!taken_there(x, s) && handles_better(x, s)) ->
		printf("%d goes on above life %d\n", x, b[s].inc);
		n[x].inc = b[s].inc + 1;
		used = (n[x].inc > used -> n[x].inc : used);
		n[x].hold = n[x].hold | bit_of(b[s].from);
		n[x].con = 1;
		changed(x);
		confirm(x)
	:: !taken_here(x, s) && !taken_there(x, s) && !handles_better(x, s) && b[s].t == BURY ->
		n[x].inc = b[s].inc;
		bury(x)
	:: else -> install_over(x, s)
	fi
}

#ifdef NO_INCARNATION
#define same_life(x, s) (true)
#else
#define same_life(x, s) (b[s].inc == n[x].inc)
#endif

// core/hpsms/repl_rx.c: record_rx().
inline receive(s)
{
	j = b[s].to;
	printf("%d <- %d: %d (1 PUT 2 BURY 3 NONE), life %d, epoch %d, version %d\n", j, b[s].from,
		b[s].t, b[s].inc, b[s].ep, b[s].ver);
	if
	:: b[s].t == NONE
	:: b[s].t != NONE && n[j].st == VOID ->
		if
		:: b[s].t == PUT -> install(j, s)
#ifndef IGNORE_UNKNOWN_BURY
		:: b[s].t == BURY -> // what it buries may still be on its way
			n[j].inc = b[s].inc; n[j].hold = bit_of(j) | bit_of(b[s].from); bury(j)
#endif
		:: else
		fi
	:: b[s].t != NONE && n[j].st != VOID && same_life(j, s) ->
		if
		:: n[j].st == TOMB && b[s].t == PUT ->
			n[j].hold = n[j].hold | bit_of(b[s].from);
			n[j].owes = n[j].owes | bit_of(b[s].from)
		:: n[j].st == LIVE && b[s].t == PUT -> merge(j, s)
		:: n[j].st == LIVE && b[s].t == BURY -> bury(j)
		:: else
		fi
	:: b[s].t != NONE && n[j].st != VOID && !same_life(j, s) && b[s].inc < n[j].inc &&
		(taken_there(j, s) || gives_way(j, s)) ->
		n[j].ginc = 0; n[j].gep = 0; // of the life here no packet has passed but its answer
		i = n[j].inc;
		was = n[j].hold & others(j);
		install_over(j, s);
		supersede(j, i);
		i = 0; was = 0
	:: b[s].t != NONE && n[j].st != VOID && !same_life(j, s) && b[s].inc < n[j].inc &&
		!taken_there(j, s) && !gives_way(j, s) ->
		n[j].con = n[j].st == LIVE;
		n[j].hold = n[j].hold | bit_of(b[s].from);
		n[j].owes = n[j].owes | bit_of(b[s].from)
	:: else -> higher(j, s)
	fi;
	if
	:: pn == j && (paw & bit_of(b[s].from)) && (b[s].answers || b[s].t == NONE) ->
		pf = pf | b[s].answers;
		if
		:: b[s].final -> resolve()
		:: else -> heard(b[s].from)
		fi
	:: else
	fi;
	j = 0
}

// Who comes back, or is heard again, is owed what it should have; who left is owed nothing.
inline owe_again(x)
{
	k = 0;
	do
	:: k < N ->
		if
		:: k != x && n[k].st == LIVE && (n[k].hold & bit_of(x)) ->
			n[k].owes = n[k].owes | bit_of(x)
		:: else
		fi;
		if
		:: n[k].st == LIVE && k != x && (n[x].hold & bit_of(k)) && n[x].st == LIVE ->
			n[x].owes = n[x].owes | bit_of(k)
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

inline lost_to(x)
{
	k = 0;
	do
	:: k < N -> n[k].owes = n[k].owes & (7 - bit_of(x)); k++
	:: else -> break
	od;
	k = 0
}

// Messages of x's former boot are never believed, those to it meant another life.
inline empty_bag(x)
{
	k = 0;
	do
	:: k < BAG ->
		if
		:: b[k].t != EMPTY && (b[k].from == x || b[k].to == x) -> clear(k)
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

#define bag_empty (b[0].t == EMPTY && b[1].t == EMPTY && b[BAG - 1].t == EMPTY && \
	(BAG < 4 || b[2].t == EMPTY))
// Nothing that x owes can be sent now.
#define told(x) (n[x].up != UP || n[x].far || !(((n[x].owes & 1) && hears(x, 0)) || ((n[x].owes & 2) && hears(x, 1)) || \
	((n[x].owes & 4) && hears(x, 2))))
// As far as time alone brings things: who is away comes back, what is owed is sent and arrives.
#define here(x) (n[x].up == UP && !n[x].cut)
#define settled (bag_empty && told(0) && told(1) && told(2) && here(0) && here(1) && here(2))
#define well(x) (n[x].up == UP && !n[x].cut && n[x].ready && n[x].owes == 0)
#define pending (n[0].pend != 0 || n[1].pend != 0 || n[2].pend != 0)
#ifdef NO_COMPARE
#define compares(x) false
#else
#define compares(x) (n[x].up == UP && n[x].con && n[x].st == LIVE && n[x].wr == x && !n[x].unc)
#endif
#define quiet (!compares(0) && !compares(1) && !compares(2) && !pending && well(0) && well(1) && well(2) && bag_empty && idle && pn == NOBODY && \
	!lacks(0) && !lacks(1) && !lacks(2))

// Is a copy of x's record missing, and x the one to make it? What is under way arrives before who sent it
// counts as dead.
#define sent(s, m) (b[s].t != EMPTY && b[s].from == m)
#define silent(x, m) (m != x && !hears(x, m) && !sent(0, m) && !sent(1, m) && !sent(BAG - 1, m))
#define gives(x) (n[x].mas || silent(x, n[x].wr) || n[x].wr == x)
#define lacks(x) (n[x].up == UP && n[x].st == LIVE && n[x].replied && !n[x].far && gives(x) && copies(x) < 2 && \
	(could(x, 0) || could(x, 1) || could(x, 2)))

// What must hold when nothing is under way.
#define agree(x, y) (!(sure(x) && sure(y)) || (n[x].inc == n[y].inc && n[x].ep == n[y].ep && \
	n[x].ver == n[y].ver && n[x].wr == n[y].wr && n[x].val == n[y].val && \
	n[x].wo == n[y].wo && n[x].fin == n[y].fin && !(n[x].mas && n[y].mas)))
#define ended(x) (sure(x) && n[x].inc <= gone)
#define over(x, y) (!(sure(x) && n[y].st == TOMB) || n[x].inc > n[y].inc)
#define serves(x) (n[x].st == LIVE && n[x].wo == cwo)

inline check_quiet()
{
	assert(agree(0, 1) && agree(0, 2) && agree(1, 2));
	assert(over(0, 1) && over(0, 2) && over(1, 0) && over(1, 2) && over(2, 0) && over(2, 1));
	assert(!ended(0) && !ended(1) && !ended(2)); // nothing is reborn
	assert(cst != OPEN || serves(0) || serves(1) || serves(2))
}

// ---- Steps ----

inline client_sends()
{
	if
	:: cst == OPENS || cst == SENT -> pk = SYN
	:: cst == OPEN -> pk = DATA
	:: cst == OPEN && life < CLOSES -> pk = FIN
	fi;
	pq = quiet;
	stuck = 0;
	printf("client: %d (0 SYN 1 DATA 2 FIN) to %d, quiet %d\n", pk, sw, (pq -> 1 : 0));
	if
	:: pq -> check_quiet()
	:: else
	fi;
	rn = sw
}

inline client_lives_again()
{
	life++;
	cst = OPENS;
	cwo = 0
}

inline send(x, m)
{
	n[x].owes = n[x].owes & (7 - bit_of(m));
	if
	:: n[x].st != VOID -> free_slot(); describe(slot, x, m); slot = 0
	:: else
	fi
}

// m answers the pull of pn: core/hpsms/pull.c, pull_serve(); repl.c, repl_answer().
inline answer(m)
{
	free_slot();
	if
	:: has_live(m) ->
		n[m].hold = n[m].hold | bit_of(pn);
		describe(slot, m, pn);
		b[slot].answers = 1;
		b[slot].final = n[m].mas || n[m].wr == pn || (n[m].wr != m && !hears(m, n[m].wr))
	:: else -> b[slot].t = NONE; b[slot].from = m; b[slot].to = pn
	fi;
	slot = 0
}

#define in_bag(s, m) ((b[s].t == NONE || b[s].answers) && b[s].from == m && b[s].to == pn)
#define answers(m) (in_bag(0, m) || in_bag(1, m) || in_bag(BAG - 1, m))
#define sends(m) (n[m].up == UP && !n[m].far)
// What may have ended is not given to who has it not.
#define gives_answer(m) (awaited(m) && hears(pn, m) && !answers(m) && !(n[m].far && !has_live(pn)))
#define awaited(m) (pn != NOBODY && (paw & bit_of(m)))

// A message is gone. What was in it is owed again; a pull is repeated.
inline lose(s)
{
	if
	:: b[s].t != NONE && n[b[s].from].up != DEAD && n[b[s].from].st != VOID &&
		hears(b[s].from, b[s].to) ->
		n[b[s].from].owes = n[b[s].from].owes | bit_of(b[s].to)
	:: else
	fi;
	printf("%d -> %d is lost\n", b[s].from, b[s].to);
	clear(s)
}

// What no node has but x, which fails, is the loss that the contract allows. The client tries anew.
#define serves_without(x, y) (x != y && serves(y))
#define alone(x) (!serves_without(x, 0) && !serves_without(x, 1) && !serves_without(x, 2))
// So is what two nodes have opened, when one fails before a packet has told which answer the client has taken.
#define rival(x) (n[x].st == LIVE && n[x].wo != cwo && !n[x].est)
#define rivals (rival(0) || rival(1) || rival(2))
inline give_up(excused)
{
	if
	:: cst == OPEN && (excused) -> printf("the connection may be lost\n"); cst = ENDED
	:: else
	fi
}

// Of a connection whose writer is gone nobody knows whom it had reached: the lowest holder tells the others.
#define stays(x, m, k) (m != x && n[m].up == UP && holds(k, m))
#define lowest(x, k) (stays(x, k, k) && !(k > 0 && stays(x, 0, k)) && !(k > 1 && stays(x, 1, k)))
inline orphaned(x)
{
	k = 0;
	do
	:: k < N ->
		if
		:: n[k].st == LIVE && n[k].replied && n[k].wr == x && lowest(x, k) ->
			n[k].owes = n[k].owes | (n[k].hold & others(k))
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

inline kill(x)
{
	kills--;
	printf("%d dies\n", x);
	n[x].up = DEAD; n[x].ready = 0; n[x].boot = 1 - n[x].boot; n[x].pend = 0;
	forget(x);
	forget_ghosts(x);
	// An end that it alone knew of is lost, which the contract allows: the others end by time-out.
	gone = (n[0].gtomb > n[1].gtomb -> n[0].gtomb : n[1].gtomb);
	gone = (n[2].gtomb > gone -> n[2].gtomb : gone);
	empty_bag(x);
	orphaned(x);
	lost_to(x);
	if
	:: pn == x -> pn = NOBODY; paw = 0; pf = 0
	:: pn != x && awaited(x) -> heard(x)
	:: else
	fi;
	give_up(alone(x) || rivals)
}

inline cut_off(x)
{
	cuts--;
	printf("%d is cut off\n", x);
	give_up(alone(x) || rivals);
	n[x].cut = 1;
	empty_bag(x);
	lost_to(x);
	n[x].owes = 0;
	if
	:: pn == x -> resolve()
	:: pn != x && awaited(x) -> heard(x)
	:: else
	fi
}

// Whoever was not heard any more validates before it uses: all three.
inline heal(x)
{
	n[x].cut = 0;
	printf("%d is back\n", x);
	give_up(alone(x) || rivals); // opened meanwhile
	k = 0;
	do
	:: k < N ->
		if
		:: n[k].st == LIVE -> n[k].unc = 1; n[k].far = lapse && n[k].replied
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	lapse = 0;
	owe_again(x)
}

#define knows(x, m) (x != m && hears(x, m) && n[m].st == LIVE && n[m].inc == n[x].inc)
// Who was away for long asks the holders, before it sends or gives what it has: core/hpsms/pull.c, pull_validate().
inline validate(x)
{
	if
	:: knows(x, 0) || knows(x, 1) || knows(x, 2) || n[x].hold == bit_of(x) -> n[x].far = 0
	:: else -> printf("%d forsakes its copy\n", x); forget(x)
	fi
}

// The time of its tombstone is over. Whoever is away then does not hear of the end any more.
inline free_tomb(x)
{
	printf("%d forgets life %d\n", x, n[x].inc);
	forget(x);
	forget_ghosts(x);
#ifndef NO_ABSENCE
	lapse = lapse || !(here(0) && here(1) && here(2))
#endif
}

// Nobody answers what was opened.
inline expire(x)
{
	printf("%d: no answer to life %d\n", x, n[x].inc);
	if
	:: n[x].mas && (n[x].hold & others(x)) != 0 -> bury(x); n[x].owes = n[x].hold & others(x)
	:: else -> forget(x)
	fi
}
// Its copies wait for that for longer.
#define opens(x, y) (n[y].st == LIVE && n[y].mas && n[y].inc == n[x].inc)
#define unanswered(x) (n[x].up == UP && n[x].st == LIVE && !n[x].replied && n[x].pend == 0 && !n[x].unc && \
	pn != x && !(cst == SENT && last == x) && (n[x].mas || \
	(!opens(x, 0) && !opens(x, 1) && !opens(x, 2) && bag_empty && told(0) && told(1) && told(2))))
#define first_pend(x) (n[x].up == UP && n[x].pend != 0 && later(x, 0) && later(x, 1) && later(x, 2))
#define later(x, y) (n[y].pend == 0 || n[x].pend <= n[y].pend)

#define of_life(s, i0) ((b[s].t == PUT || b[s].t == BURY) && b[s].inc <= i0)
#define bag_has(i0) (of_life(0, i0) || of_life(1, i0) || of_life(BAG - 1, i0))
// A tombstone outlives the messages of its life, and those that are owed.
#define may_free(x) (n[x].st == TOMB && told(0) && told(1) && told(2) && !bag_has(n[x].inc))
#define usable(x) (n[x].up == UP && n[x].ready)
#define joined(x) (n[x].up == UP && !n[x].ready && !(n[0].owes & bit_of(x)) && \
	!(n[1].owes & bit_of(x)) && !(n[2].owes & bit_of(x)) && !to_x(0, x) && !to_x(1, x) && \
	!to_x(BAG - 1, x))
#define to_x(s, x) (b[s].t != EMPTY && b[s].to == x)

init {
	if
	:: prefers[0] = 0; prefers[1] = 1; prefers[2] = 2
	:: prefers[0] = 1; prefers[1] = 0; prefers[2] = 2
	:: prefers[0] = 1; prefers[1] = 2; prefers[2] = 0
	fi;
	d_step {
		n[0].up = UP; n[0].ready = 1; n[1].up = UP; n[1].ready = 1; n[2].up = UP; n[2].ready = 1
	}
	do
	// The packet that is under way comes first: a node does not interrupt itself.
	:: atomic { rn != NOBODY && !served -> handle() }
	:: served ->
progress_served:
		served = 0

	// The client has one packet under way at most.
	:: atomic { idle && pn == NOBODY && usable(sw) && cst != ENDED && !n[sw].must_free &&
			(!stuck || settled) && (cst != SENT || sw != last || n[last].pend == 0) ->
		client_sends() }
	// The server answers in the order in which it has been asked.
	:: d_step { idle && first_pend(0) -> answered(0) }
	:: d_step { idle && first_pend(1) -> answered(1) }
	:: d_step { idle && first_pend(2) -> answered(2) }
	:: d_step { idle && unanswered(0) -> expire(0) }
	:: d_step { idle && unanswered(1) -> expire(1) }
	:: d_step { idle && unanswered(2) -> expire(2) }
	// Ports are used again when what was said of the life before has arrived (flush_us, and the way).
	:: d_step { idle && cst == ENDED && life < CLOSES && !pending && bag_empty && told(0) && told(1) && told(2) ->
		client_lives_again() }
	:: idle && cst == ENDED && life == CLOSES -> break

	// Records are sent, in any order, as they are at that moment.
	:: d_step { idle && sends(0) && (n[0].owes & 2) && hears(0, 1) && !full -> send(0, 1) }
	:: d_step { idle && sends(0) && (n[0].owes & 4) && hears(0, 2) && !full -> send(0, 2) }
	:: d_step { idle && sends(1) && (n[1].owes & 1) && hears(1, 0) && !full -> send(1, 0) }
	:: d_step { idle && sends(1) && (n[1].owes & 4) && hears(1, 2) && !full -> send(1, 2) }
	:: d_step { idle && sends(2) && (n[2].owes & 1) && hears(2, 0) && !full -> send(2, 0) }
	:: d_step { idle && sends(2) && (n[2].owes & 2) && hears(2, 1) && !full -> send(2, 1) }

	// Pulls are answered; who is not heard any more is not waited for.
	:: d_step { idle && gives_answer(0) && !full -> answer(0) }
	:: d_step { idle && gives_answer(1) && !full -> answer(1) }
	:: d_step { idle && gives_answer(2) && !full -> answer(2) }

	// Any message arrives, twice, or never.
	:: d_step { idle && b[0].t != EMPTY && n[b[0].to].up == UP -> receive(0); clear(0) }
	:: d_step { idle && b[1].t != EMPTY && n[b[1].to].up == UP -> receive(1); clear(1) }
#if BAG > 2
	:: d_step { idle && b[2].t != EMPTY && n[b[2].to].up == UP -> receive(2); clear(2) }
#endif
	:: d_step { idle && dups > 0 && b[0].t != EMPTY && n[b[0].to].up == UP ->
		dups--; receive(0) }
	:: d_step { idle && losses > 0 && b[0].t != EMPTY -> losses--; lose(0) }
	:: d_step { idle && losses > 0 && b[1].t != EMPTY -> losses--; lose(1) }

	// Time: the closed connection ends, its tombstone is forgotten, a straggler is none any more.
	:: d_step { idle && n[0].up == UP && sure(0) && n[0].mas && n[0].fin ->
		gone = (n[0].inc > gone -> n[0].inc : gone); bury(0); n[0].owes = n[0].hold & others(0) }
	:: d_step { idle && n[1].up == UP && sure(1) && n[1].mas && n[1].fin ->
		gone = (n[1].inc > gone -> n[1].inc : gone); bury(1); n[1].owes = n[1].hold & others(1) }
	:: d_step { idle && n[2].up == UP && sure(2) && n[2].mas && n[2].fin ->
		gone = (n[2].inc > gone -> n[2].inc : gone); bury(2); n[2].owes = n[2].hold & others(2) }
	:: d_step { idle && n[0].up == UP && may_free(0) -> free_tomb(0) }
	:: d_step { idle && n[1].up == UP && may_free(1) -> free_tomb(1) }
	:: d_step { idle && n[2].up == UP && may_free(2) -> free_tomb(2) }

	:: d_step { idle && n[0].far && here(0) && pn != 0 -> validate(0) }
	:: d_step { idle && n[1].far && here(1) && pn != 1 -> validate(1) }
	:: d_step { idle && n[2].far && here(2) && pn != 2 -> validate(2) }

	// What was contested.
	:: d_step { idle && compares(0) && bag_empty && told(0) && told(1) && told(2) -> compare(0) }
	:: d_step { idle && compares(1) && bag_empty && told(0) && told(1) && told(2) -> compare(1) }
	:: d_step { idle && compares(2) && bag_empty && told(0) && told(1) && told(2) -> compare(2) }

	// Repair.
	:: d_step { idle && lacks(0) -> protect(0) }
	:: d_step { idle && lacks(1) -> protect(1) }
	:: d_step { idle && lacks(2) -> protect(2) }

	// The switch: moves what a node that is not there any more had, and sometimes more.
	:: d_step { idle && !usable(sw) && usable(0) -> sw = 0; printf("flow to 0\n") }
	:: d_step { idle && !usable(sw) && usable(1) -> sw = 1; printf("flow to 1\n") }
	:: d_step { idle && !usable(sw) && usable(2) -> sw = 2; printf("flow to 2\n") }
	:: d_step { idle && flaps > 0 && usable(0) && sw != 0 -> flaps--; sw = 0; printf("flow to 0\n") }
	:: d_step { idle && flaps > 0 && usable(1) && sw != 1 -> flaps--; sw = 1; printf("flow to 1\n") }
	:: d_step { idle && flaps > 0 && usable(2) && sw != 2 -> flaps--; sw = 2; printf("flow to 2\n") }

	// Faults. One node at a time is away, or just back.
	:: d_step { idle && kills > 0 && well(0) && well(1) && well(2) -> kill(0) }
	:: d_step { idle && kills > 0 && well(0) && well(1) && well(2) -> kill(1) }
	:: d_step { idle && n[0].up == DEAD -> n[0].up = UP; owe_again(0) }
	:: d_step { idle && n[1].up == DEAD -> n[1].up = UP; owe_again(1) }
#ifdef NO_READY
	:: d_step { idle && n[0].up == UP && !n[0].ready -> n[0].ready = 1 }
	:: d_step { idle && n[1].up == UP && !n[1].ready -> n[1].ready = 1 }
#else
	:: d_step { idle && joined(0) -> n[0].ready = 1 }
	:: d_step { idle && joined(1) -> n[1].ready = 1 }
#endif
	:: d_step { idle && freezes > 0 && well(0) && well(1) && well(2) && pn != 0 ->
		freezes--; printf("0 freezes\n"); n[0].up = FROZEN; n[0].pend = 0; lost_to(0);
		if
		:: awaited(0) -> heard(0)
		:: else
		fi }
	:: d_step { idle && n[0].up == FROZEN -> n[0].up = UP; printf("0 goes on\n");
#ifndef NO_VALIDATION
		n[0].unc = (n[0].st == LIVE);
		n[0].far = lapse && n[0].unc && n[0].replied;
#endif
		lapse = 0;
		owe_again(0) }
	:: d_step { idle && cuts > 0 && well(0) && well(1) && well(2) -> cut_off(0) }
	:: d_step { idle && n[0].cut -> heal(0) }
	od
}
