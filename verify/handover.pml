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
#define OPEN 1
#define ENDED 2
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
	// Ghosts: the highest claim that it has confirmed in this boot, the highest life it has buried.
	byte ginc, gep, gtomb;
	bool must_free;		// dropped a packet because of its tombstone: time passes before the next
};

typedef Message {
	byte t, from, to;
	byte inc, ep, ver, wr, val, wo, hold;
	bool fin, answers, final;
};

Node n[N];
Message b[BAG];
byte sw = 0;		// where the switch sends the flow

// The client, and the packet that is under way: pk, at node pn, waiting for an answer to a pull.
byte cst = OPENS, cwo = 0, life = 0, pk;
byte pn = NOBODY, paw;	// paw: mask of who has not answered
bool pf;		// one answer has come
byte rn = NOBODY;	// node that is to handle the packet now
bool rw;		// ... once more, after a pull
bool pq;		// ghost: the packet was sent when all was quiet
byte last = NOBODY;	// ghost: who served the last packet

byte kills = KILLS, freezes = FREEZES, cuts = CUTS, flaps = FLAPS, losses = LOSSES, dups = DUPS;
byte changes = CHANGES;
byte used = 4;		// highest incarnation of all; they go up by 4
bool low;		// 4 was drawn: below all others

byte i, j, k, slot;	// scratch, 0 between steps
byte mask;
bool yes, again, served;

// a hears m.
#define hears(a, m) (a != m && n[m].up == UP && !n[a].cut && !n[m].cut)
#define has_live(x) (n[x].st == LIVE)
#define full (b[0].t != EMPTY && b[1].t != EMPTY && b[BAG - 1].t != EMPTY)
#define idle (rn == NOBODY && !served)
#define sure(x) (n[x].st == LIVE && !n[x].unc)

// ---- Claims ----

inline confirm(x)
{
	if
	:: n[x].inc > n[x].ginc -> n[x].ginc = n[x].inc; n[x].gep = n[x].ep
	:: n[x].inc == n[x].ginc && n[x].ep > n[x].gep -> n[x].gep = n[x].ep
	:: else
	fi
}

inline forget(x)
{
	n[x].st = VOID; n[x].inc = 0; n[x].ep = 0; n[x].ver = 0; n[x].wr = 0; n[x].val = 0;
	n[x].wo = 0; n[x].hold = 0; n[x].fin = 0; n[x].mas = 0; n[x].han = 0; n[x].unc = 0;
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

// A new life, above `above` and above all that this node has heard of. Records travel all the time, so
// that is above every life of this key, unless the node was cut off.
inline open(x, above)
{
	mask = n[x].hold;
	i = above;
	forget(x);
	if
	:: n[x].inc = (used / 4 + 1) * 4
#ifdef NO_CLOCK
	:: i < 4 && !low -> n[x].inc = 4; low = 1
#else
	:: n[x].cut && i < 4 && !low -> n[x].inc = 4; low = 1
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
	changed(x);
	protect(x);
	confirm(x);
	printf("%d opens life %d, mapping %d, copies %d\n", x, n[x].inc, n[x].wo, n[x].hold)
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
	assert(n[x].inc > n[x].ginc || (n[x].inc == n[x].ginc && n[x].ep >= n[x].gep));
	// Nothing that was buried here is alive.
	assert(n[x].inc > n[x].gtomb);
	// When all was quiet, the flow has the mapping that its client was given.
	assert(!pq || pk == SYN || n[x].wo == cwo);
	last = x;
	printf("%d emits, life %d, epoch %d, mapping %d\n", x, n[x].inc, n[x].ep, n[x].wo);
	if
	:: pk == SYN -> cst = OPEN; cwo = n[x].wo
	:: pk == FIN && n[x].wo == cwo -> n[x].fin = 1; cst = ENDED; changed(x)
	:: pk == DATA && changes > 0 -> changes--; changed(x)
	:: pk == DATA
	:: else
	fi;
	served = (pk == SYN || n[x].wo == cwo) // else into the void: the server does not know it
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

// The packet is in the hands of node rn: core/shard.c, deliver(), miss(), closed(), claim().
inline handle()
{
	j = rn; again = rw;
	rn = NOBODY; rw = 0;
	if
	:: n[j].st == VOID ->
		if
		:: pk == SYN -> open(j, 0); serve(j)
		:: pk != SYN && !again -> pull(j)
		:: else -> printf("%d drops: nobody knows it\n", j)
		fi
	:: n[j].st == TOMB ->
		if
		:: pk == SYN -> open(j, n[j].inc); serve(j)
#ifndef NO_ASK_WHEN_CLOSED
		:: pk != SYN && !again -> pull(j) // of a later life, of which others know
#endif
		:: else -> n[j].must_free = 1; printf("%d drops: tombstone\n", j)
		fi
	:: has_live(j) && n[j].unc && !again -> pull(j)
#ifndef NO_ASK_WHEN_CLOSED
	:: has_live(j) && !n[j].unc && !again && n[j].fin && pk != SYN -> pull(j)
	:: has_live(j) && again && n[j].fin && pk != SYN -> printf("%d drops: closed\n", j)
	:: has_live(j) && (!n[j].unc || again) && !(n[j].fin && pk != SYN) ->
#else
	:: has_live(j) && (!n[j].unc || again) ->
#endif
		n[j].unc = 0;
		if
		:: n[j].fin && pk == SYN -> // the closed connection ends at once
			bury(j); open(j, n[j].inc); serve(j)
		:: !(n[j].fin && pk == SYN) && n[j].mas -> serve(j)
		:: !(n[j].fin && pk == SYN) && !n[j].mas && n[j].han && hears(j, n[j].wr) ->
			// A straggler: one hop to the master, or nowhere. Soon it will not be taken for one.
			i = n[j].wr;
			n[j].han = 0;
			printf("%d relays to %d\n", j, i);
			if
			:: has_live(i) && n[i].mas && !n[i].unc -> serve(i)
			:: else
			fi;
			i = 0
		:: else -> take_over(j); serve(j)
		fi
	fi;
	j = 0;
	again = 0
}

inline resolve()
{
	rn = pn; rw = 1; pn = NOBODY; paw = 0; pf = 0
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
		b[s].val = n[x].val; b[s].wo = n[x].wo; b[s].hold = n[x].hold; b[s].fin = n[x].fin
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
	n[x].st = LIVE; n[x].inc = b[s].inc; n[x].ep = b[s].ep; n[x].ver = b[s].ver;
	n[x].wr = b[s].wr; n[x].val = b[s].val; n[x].wo = b[s].wo; n[x].fin = b[s].fin;
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
	n[x].fin = n[x].fin | b[s].fin;
	// The sender has not heard of a takeover; or the master hears from one who lacks its newest.
	yes = n[x].ep > b[s].ep;
#ifndef KEEP_OLDER
	yes = yes || (n[x].mas && older(x, s));
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
		n[x].ep = b[s].ep; n[x].ver = b[s].ver; n[x].wr = b[s].wr; n[x].val = b[s].val
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

// Is x's own life the one that goes on, although the message is of a higher one? Packets tell.
#define handles_better(x) (n[x].st == LIVE && n[x].mas && !n[x].unc && last == x)

// Another life, and its number is the higher one.
inline higher(x, s)
{
	if
	:: handles_better(x) ->
		printf("%d goes on above life %d\n", x, b[s].inc);
		n[x].inc = b[s].inc + 1;
		used = (n[x].inc > used -> n[x].inc : used);
		n[x].hold = n[x].hold | bit_of(b[s].from);
		changed(x);
		confirm(x)
	:: !handles_better(x) && b[s].t == BURY ->
		n[x].inc = b[s].inc;
		bury(x)
	:: else -> install(x, s)
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
	:: b[s].t != NONE && n[j].st != VOID && !same_life(j, s) && b[s].inc < n[j].inc ->
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
#define told(x) (n[x].up != UP || !(((n[x].owes & 1) && hears(x, 0)) || ((n[x].owes & 2) && hears(x, 1)) || \
	((n[x].owes & 4) && hears(x, 2))))
#define well(x) (n[x].up == UP && !n[x].cut && n[x].ready && n[x].owes == 0)
#define quiet (well(0) && well(1) && well(2) && bag_empty && idle && pn == NOBODY && \
	!lacks(0) && !lacks(1) && !lacks(2))

// Is a copy of x's record missing, and x the one to make it?
#define gives(x) (n[x].mas || ((!hears(x, n[x].wr)) && n[x].wr != x) || n[x].wr == x)
#define lacks(x) (n[x].up == UP && n[x].st == LIVE && gives(x) && copies(x) < 2 && \
	(could(x, 0) || could(x, 1) || could(x, 2)))

// What must hold when nothing is under way.
#define agree(x, y) (!(sure(x) && sure(y)) || (n[x].inc == n[y].inc && n[x].ep == n[y].ep && \
	n[x].ver == n[y].ver && n[x].wr == n[y].wr && n[x].val == n[y].val && \
	n[x].wo == n[y].wo && n[x].fin == n[y].fin && !(n[x].mas && n[y].mas)))
#define over(x, y) (!(sure(x) && n[y].st == TOMB) || n[x].inc > n[y].inc)
#define serves(x) (n[x].st == LIVE && n[x].wo == cwo)

inline check_quiet()
{
	assert(agree(0, 1) && agree(0, 2) && agree(1, 2));
	assert(over(0, 1) && over(0, 2) && over(1, 0) && over(1, 2) && over(2, 0) && over(2, 1));
	assert(cst != OPEN || serves(0) || serves(1) || serves(2))
}

// ---- Steps ----

inline client_sends()
{
	if
	:: cst == OPENS -> pk = SYN
	:: cst == OPEN -> pk = DATA
	:: cst == OPEN && life < CLOSES -> pk = FIN
	fi;
	pq = quiet;
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

inline kill(x)
{
	kills--;
	printf("%d dies\n", x);
	n[x].up = DEAD; n[x].ready = 0; n[x].boot = 1 - n[x].boot;
	forget(x);
	forget_ghosts(x);
	empty_bag(x);
	lost_to(x);
	if
	:: pn == x -> pn = NOBODY; paw = 0; pf = 0
	:: pn != x && awaited(x) -> heard(x)
	:: else
	fi;
	// Without a copy anywhere it is the loss that the contract allows. The client tries anew.
	if
	:: cst == OPEN && !serves(0) && !serves(1) && !serves(2) -> cst = ENDED
	:: else
	fi
}

inline cut_off(x)
{
	cuts--;
	printf("%d is cut off\n", x);
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
	k = 0;
	do
	:: k < N ->
		if
		:: n[k].st == LIVE -> n[k].unc = 1
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	owe_again(x)
}

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
	:: atomic { idle && pn == NOBODY && usable(sw) && cst != ENDED && !n[sw].must_free ->
		client_sends() }
	// Ports are used again when what was said of the life before has arrived (flush_us, and the way).
	:: d_step { idle && cst == ENDED && life < CLOSES && bag_empty && told(0) && told(1) && told(2) ->
		client_lives_again() }
	:: idle && cst == ENDED && life == CLOSES -> break

	// Records are sent, in any order, as they are at that moment.
	:: d_step { idle && n[0].up == UP && (n[0].owes & 2) && hears(0, 1) && !full -> send(0, 1) }
	:: d_step { idle && n[0].up == UP && (n[0].owes & 4) && hears(0, 2) && !full -> send(0, 2) }
	:: d_step { idle && n[1].up == UP && (n[1].owes & 1) && hears(1, 0) && !full -> send(1, 0) }
	:: d_step { idle && n[1].up == UP && (n[1].owes & 4) && hears(1, 2) && !full -> send(1, 2) }
	:: d_step { idle && n[2].up == UP && (n[2].owes & 1) && hears(2, 0) && !full -> send(2, 0) }
	:: d_step { idle && n[2].up == UP && (n[2].owes & 2) && hears(2, 1) && !full -> send(2, 1) }

	// Pulls are answered; who is not heard any more is not waited for.
	:: d_step { idle && awaited(0) && hears(pn, 0) && !answers(0) && !full -> answer(0) }
	:: d_step { idle && awaited(1) && hears(pn, 1) && !answers(1) && !full -> answer(1) }
	:: d_step { idle && awaited(2) && hears(pn, 2) && !answers(2) && !full -> answer(2) }

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
		bury(0); n[0].owes = n[0].hold & others(0) }
	:: d_step { idle && n[1].up == UP && sure(1) && n[1].mas && n[1].fin ->
		bury(1); n[1].owes = n[1].hold & others(1) }
	:: d_step { idle && n[2].up == UP && sure(2) && n[2].mas && n[2].fin ->
		bury(2); n[2].owes = n[2].hold & others(2) }
	:: d_step { idle && n[0].up == UP && may_free(0) -> forget(0); forget_ghosts(0) }
	:: d_step { idle && n[1].up == UP && may_free(1) -> forget(1); forget_ghosts(1) }
	:: d_step { idle && n[2].up == UP && may_free(2) -> forget(2); forget_ghosts(2) }

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
		freezes--; n[0].up = FROZEN; lost_to(0);
		if
		:: awaited(0) -> heard(0)
		:: else
		fi }
	:: d_step { idle && n[0].up == FROZEN -> n[0].up = UP;
#ifndef NO_VALIDATION
		n[0].unc = (n[0].st == LIVE);
#endif
		owe_again(0) }
	:: d_step { idle && cuts > 0 && well(0) && well(1) && well(2) -> cut_off(0) }
	:: d_step { idle && n[0].cut -> heal(0) }
	od
}
