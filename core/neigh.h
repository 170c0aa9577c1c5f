// SPDX-License-Identifier: BSD-3-Clause
// Next hops: addresses resolved by ARP (RFC 826) and neighbour discovery (RFC 4861), per worker.
//
// Each worker has its own small table, so that nothing is shared; what one worker learns from a
// reply, it tells the others through their rings. The table asks with the node's own addresses, which
// alone bring the reply back to this node.
#pragma once

#include <tripod/tuple.h>

#include "core/arena.h"
#include "core/frame.h"

enum neigh_net { NEIGH_OUTSIDE = 0, NEIGH_INSIDE = 1, NEIGH_FABRIC = 2, NEIGH_NETS };

enum neigh_state { NEIGH_FREE = 0, NEIGH_INCOMPLETE, NEIGH_REACHABLE, NEIGH_STALE };

#define NEIGH_SLOTS 1024 // a worker; slot 0 is unused
#define NEIGH_WAITING 32 // frames that may wait for one answer

struct neigh {
	struct tripod_addr addr;
	uint8_t mac[6];
	uint8_t net; // enum neigh_net
	uint8_t state; // enum neigh_state
	uint16_t generation; // changes whenever the slot is reused or the MAC changes
	uint8_t tries; // requests sent without an answer
	uint8_t n_waiting;
	uint16_t next; // of the free slots
	uint64_t asked_ns, confirmed_ns;
	uint64_t used_ns; // set by neigh_get() and by whoever sends through a remembered slot
	struct frame waiting[NEIGH_WAITING]; // complete but for the destination MAC
};

// Who the node is on each net; fixed.
struct neigh_self {
	uint8_t mac[6]; // the node's own
	struct {
		uint16_t vlan;
		struct tripod_addr v4, v6; // own addresses; all zero: none of this family
	} net[NEIGH_NETS];
};

struct neigh_table {
	const struct neigh_self *self;
	struct neigh *slots;
	uint16_t hash[2 * NEIGH_SLOTS]; // open addressing, 0: empty
	// keys the hash: remote hosts choose addresses. May be set after neigh_init().
	uint64_t seed;
	uint64_t next_scan_ns;
	uint16_t scan; // slot at which the next scan goes on, 0: from the start
	uint16_t free, top; // first free slot; all slots from top on have never been used
	uint16_t hand; // slot last looked at for one to evict
	uint16_t used, incomplete;
};

void neigh_init(struct neigh_table *t, struct arena *a, const struct neigh_self *self);
static inline struct neigh *neigh_at(struct neigh_table *t, uint16_t slot)
{
	return &t->slots[slot];
}

// The slot of a next hop, made if there is none (then INCOMPLETE, and a request goes out through
// step->tx). 0: table full of live entries. At most half of the table may be INCOMPLETE: a scan of
// addresses that nobody has must not keep out those that somebody has.
uint16_t neigh_get(struct neigh_table *t, struct step *step, enum neigh_net net,
	const struct tripod_addr *addr);

// What a reply (or a request from that address) taught. Returns the slot when the address was being
// asked for or is known, with its waiting frames sent through step->tx; 0 otherwise: unsolicited
// claims make no entry.
uint16_t neigh_learn(struct neigh_table *t, struct step *step, enum neigh_net net,
	const struct tripod_addr *addr, const uint8_t mac[6]);

// Puts f into the slot's waiting list; false: full, the caller still owns f.
bool neigh_wait(struct neigh *n, const struct frame *f);

// Repeats requests (1 s, 3 tries), refreshes entries in use every 30 s (unconfirmed for 60 s, they are
// STALE, but serve on: a lost reply breaks no traffic), frees those unused for 10 min; frames whose hop
// never answered go to step->done and are counted in *timed_out. Returns when to call again.
uint64_t neigh_tick(struct neigh_table *t, struct step *step, uint64_t *timed_out);

// ---- ARP and ND messages ----

// For both kinds: `sender` is at `mac`. (In a neighbour advertisement that is the field "target".)
struct tripod_packet;
struct neigh_message {
	enum { NEIGH_REQUEST, NEIGH_REPLY } what;
	struct tripod_addr sender; // all zero: a probe
	struct tripod_addr target; // request: who is asked for; reply: who is told
	uint8_t mac[6]; // all zero: a solicitation that does not tell; teaches nothing
};
// From a PARSE_ARP or PARSE_ND packet; -EINVAL for what is neither request nor reply, or lies about
// its lengths. data/len: the frame; l3: offset of the ARP or IPv6 header.
int neigh_parse(const struct tripod_packet *p, struct neigh_message *m);
// Turns the request p (ARP or neighbour solicitation) into the answer "target is at mac", in place,
// as a frame to send. False when the buffer is too small for the option.
bool neigh_answer(struct tripod_packet *p, const struct neigh_message *m, const uint8_t mac[6]);
// Writes a request for target into the empty frame f; f->len is 0 when f is too small (86 bytes).
void neigh_request(struct frame *f, const struct neigh_self *self, enum neigh_net net,
	const struct tripod_addr *target);
