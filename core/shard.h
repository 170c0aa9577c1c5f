// SPDX-License-Identifier: BSD-3-Clause
// Inside a node: what one worker owns, and what its parts may ask of each other.
//
//   shard.c          the step: messages from other workers, the burst, due work
//   deliver.c        one packet: who handles it, and through its connection
//   conn.c           a connection's life: open, install, take over, close, expire
//   chain_set.c      the versions of the chain that this node holds
//   run.c            a packet through the chain; the calls of the NF API
//   forward.c        routes, next hops, hop limits, relay; everything that leaves goes through here
//   fragment.c       later fragments of datagrams
//   census.c         how many there are of what
//   local.c          what is meant for the gateway itself: ARP, ND, echo, BFD
//   hpsms/control.c  control messages in, heartbeats, who is alive
//   hpsms/session.c  their keys, tags and counters; which boot of a peer is believed
//   hpsms/repl.c     logs to the holders of a copy
//   hpsms/repl_rx.c  ... and at the other end
//   hpsms/ending.c   ends that holders are to be told when the next life has the record
//   hpsms/rival.c    two lives of one key: which goes on
//   hpsms/index_*.c  index sets: who has what
//   hpsms/pull*.c    PullReplica: packets that wait for their connection, questions that leave together
//   hpsms/serve.c    ... its other end
//   hpsms/request.c  what another node is asked to change in the shared part
//   hpsms/kind*.c    state of other keys than a connection's: who writes it, who has which share
//   hpsms/sync.c     packets that wait until the backups have acknowledged their state
//   hpsms/compare.c  copies that differ, and of which nobody tells
//   hpsms/trim.c     copies that nobody needs any more
//   hpsms/place.c    who holds the copies
//   hpsms/predict.c  where the switch will send packets next: computed, or asked of it
//   hpsms/fetch.c    chains that peers have and this node has not
//   hpsms/repair.c   copies for who comes, who goes, and what has lost one
//   hpsms/ready.c    from the start to the first packet, and from the last one to the end
//
// Thread: everything here runs on the shard's worker. Fields that others touch say so.
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>

#include "core/chain_set.h"
#include "core/fragment.h"
#include "core/holders.h"
#include "core/hpsms/channel.h"
#include "core/hpsms/compare.h"
#include "core/hpsms/ending.h"
#include "core/hpsms/fetch.h"
#include "core/hpsms/index.h"
#include "core/hpsms/kind.h"
#include "core/hpsms/member.h"
#include "core/hpsms/peer.h"
#include "core/hpsms/place.h"
#include "core/hpsms/predict.h"
#include "core/hpsms/pull.h"
#include "core/hpsms/request.h"
#include "core/hpsms/session.h"
#include "core/hpsms/sync.h"
#include "core/icmp.h"
#include "core/lives.h"
#include "core/node.h"
#include "core/parse.h"
#include "core/ring.h"
#include "core/ring_message.h"
#include "core/rng.h"
#include "core/store.h"
#include "core/timer.h"
#include "core/toeplitz.h"
#include "core/waiting.h"

#define MS 1000000ull // nanoseconds
#define RING_SLOTS 1024
#define STRAGGLER_MS 100 // after a hand-over, packets still in flight are relayed to the new master
#define FALSE_PRINTS 256
#define AGE_MAX (1u << 30) // ticks, 13 days: further back, ticks would soon look like the future

struct node;

struct shard {
	// Fixed.
	struct node *node;
	const struct node_conf *conf;
	uint8_t worker;
	struct ring *in[WORKERS_MAX]; // from each worker of this node
	struct ring *out[WORKERS_MAX]; // to each

	// This step.
	struct step *step;
	uint64_t now_ns;
	tick_t now;

	// The node's chains as this worker knows them (chain_set.c): they change between two steps.
	const struct chain *chain[CHAINS_MAX]; // by slot, as in struct conn; NULL: free
	uint8_t chain_current; // slot of what new connections get
	uint8_t chains_closing; // bit k: about to be given up, no record may begin to use it
	uint32_t chains_generation;
	uint32_t chain_used[CHAINS_MAX]; // records under each; worker: rw, control: ro
	uint64_t chain_nodes[CHAINS_MAX]; // members that hold it, too
	uint64_t chain_told, chain_told_ns; // what worker 0 was last told to fetch

	// The connections.
	struct store store;
	struct recent unanswered; // opened last; many have been answered or have gone since
	struct recent ended; // closed by TCP, or buried, last
	uint64_t last_life; // what the last incarnation that was drawn here began with
	tick_t valid_from; // what was last confirmed before is uncertain: this node was away
	tick_t forgotten_from; // ... may have ended, so long ago that nobody remembers its end
	tick_t awake_from; // ... by its own clock
	tick_t absent_from; // before it this node was away itself, so long that ends were forgotten
	uint64_t last_step_ns;
	uint64_t late_ns; // when a step last came later than the switch is patient
	bool stale_rx; // packets lie there that are older than the switch's patience
	bool old_rx; // ... and records that may be of what has been forgotten since
	uint32_t stale_left; // ... so many at most
	struct rng rng;
	struct timers timers;

	// Packets that wait: for an answer from the peers, or held by an NF.
	struct waiting *waiting;
	uint32_t waiting_free, waiting_used;
	uint32_t held[256]; // lists by conn & 255, newest first
	uint32_t again_first, again_last; // packets whose wait is over, to be run in this step
	struct tripod_packet emit; // between tripod_packet_new() and tripod_emit()
	bool emit_back;
	uint16_t next_stamp;

	// HPSMS.
	struct auth_shard *auth;
	struct peer peer[NODES_MAX];
	uint64_t live; // this node included
	uint64_t
		ports; // of them, those to which the switch sends packets; this node unless it drains
	uint64_t draining; // of them, those that give away what they have
	uint64_t joining; // of them, those that have not been sent yet what they should hold
	uint32_t drain; // number of this node's drain, 0: none
	bool hears; // this node has run for long enough to have heard all that are there
	uint64_t heard_by; // worker 0: peers whose heartbeats say that they hear this node
	uint64_t untold[WORKERS_MAX]; // worker 0: members of whose change that worker is to be told
	uint32_t untold_doubt; // worker 0: bit w: ... that this node may have been away
	uint64_t untold_absent_ns; // worker 0: ... for how long
	uint64_t unsettled_ns; // until then, unknown UDP asks first
	uint64_t
		deaf_until_ns; // until then, that no member is heard says nothing: this node was away
	uint64_t busy[NODES_MAX]; // bit w: channel to worker w has something to do
	uint64_t busy_nodes;
	struct endings endings;
	struct pull *pulls;
	uint32_t pull_hash[PULL_HASH]; // first pull of each list, 0: none
	uint32_t pulls_asking, pull_scan; // asking, or waiting for a round
	uint32_t round_first; // pulls that wait for a round
	uint32_t ask_first, ask_last; // pulls for the next PULL message
	uint64_t pull_tokens_ns; // time from which unspent pull budget counts
	struct {
		uint32_t fp;
		tick_t until;
	} false_print[FALSE_PRINTS]; // fingerprints that have led to nobody lately
	struct index_shard index;
	struct predict predict;
	struct placing *placing;
	struct {
		struct frame frame; // buf != NULL: open
		uint16_t used, count;
		uint8_t node, worker, type;
		bool alone;
		uint32_t seq;
	} none, lack; // the WIRE_NONE or WIRE_REFUSED, and the WIRE_LACK, being filled
	uint32_t repair_at; // next record to look at; 0: idle
	uint64_t repair_nodes; // members that came back: they are sent what they should have
	uint64_t repair_reboot; // of them, those that have restarted and forgotten all
	uint64_t repair_next; // members whose queue was full: looked after in the next round
	uint64_t repair_tokens_ns; // time from which unspent repair budget counts
	struct sync sync;
	struct requests requests;
	struct kinds kinds;
	unsigned trims; // copies whose end may still be asked for in this tick
	struct compare compare;
	uint64_t refusing; // members that lately had no room for a copy
	uint64_t forgive_ns; // until then; then repair begins another round; 0: none
	bool repair_marks; // this round marks what a joining member or a drain is to wait for
	uint32_t repair_owed; // records of that kind found in this round
	uint64_t repair_owed_by; // nodes that have not acknowledged them
	uint64_t relay_tokens_ns;
	struct fragments fragments;

	struct neigh_table neigh;
	uint64_t next_tick_ns;
	bool overdue; // connections or timers wait for their end, more than one step takes
	struct conn_query *query; // under way

	uint64_t counters[COUNTERS]; // worker: rw, control: ro
	// By slot and position in its chain; zeroed when the slot is given a chain.
	uint64_t nf_counters[CHAINS_MAX][CHAIN_NFS_MAX][NF_COUNTERS_MAX]; // worker: rw, control: ro
	struct {
		uint64_t mastered, backup, unprotected, tombstones, connections, embryonic;
		uint64_t sync_waiting;
		uint64_t copies[COPIES_MAX + 1];
		uint8_t predict; // enum predict_how
	} gauge; // worker: rw, control: ro; refreshed by a slow walk
	struct {
		uint64_t mastered, backup, unprotected, tombstones;
		uint64_t copies[COPIES_MAX + 1];
		uint32_t at;
	} census; // the walk under way

	_Alignas(64) _Atomic uint32_t progress; // worker: wo, worker 0: ro
	_Atomic uint64_t
		workload_ns; // worker: wo, worker 0: ro; when the switch last sent a packet
	_Atomic uint64_t
		served[NODES_MAX]; // worker: wo, worker 0: ro; the boot that has all from here
	_Atomic uint32_t drained; // worker: wo, worker 0: ro; the drain for which all has copies
	// worker: wo, control: ro; of the last round of repair: connections and entries that are waited for, and nodes
	// that have not acknowledged one of the former.
	_Atomic uint32_t owed, owed_entries;
	_Atomic uint64_t owed_by;
	// Counter of what this worker sends to every node.
	_Atomic uint64_t sent_all; // worker: rw, worker 0: ro
	_Atomic uint32_t keys_taken; // generation; worker: wo, control: ro
	_Alignas(64) _Atomic(struct conn_query *) posted; // control: w, worker: takes
	_Atomic uint32_t chains_seen; // generation adopted; worker: wo, control: ro
};

struct node {
	struct node_conf conf;
	uint64_t started_ns;
	size_t size;
	struct members members; // worker 0: rw, control: ro
	struct bfd bfd; // worker 0: rw, control: ro
	uint32_t progress_seen[WORKERS_MAX]; // worker 0
	uint64_t progress_ns[WORKERS_MAX]; // worker 0
	_Atomic uint32_t failure_ppm[NODES_MAX]; // worker 0: wo, others: ro; of each member's time
	_Atomic bool ready; // control: wo, worker 0: ro
	_Atomic bool leaving; // control: wo, worker 0: ro
	_Atomic uint32_t drain; // control: wo, workers: ro; number of the drain under way, 0: none
	uint32_t drains; // control
	_Atomic uint8_t phase; // worker 0: wo, others: ro; enum node_phase
	bool joined; // worker 0: what it waited for at its start has come
	bool takes_traffic; // worker 0: by its phase
	uint64_t unserved_until_ns; // worker 0: who says until then that all is sent means less
	uint64_t served_by; // worker 0: rw, control: ro; members that have sent everything
	// Members that have once done so in this life: what they knew of this node's NAT ports, it knows.
	uint64_t reported; // worker 0: rw, control: ro
	uint64_t refused_before; // worker 0: records that were refused before they had all begun to
	// No connection of a former life can have a port that this node would hand out.
	_Atomic bool ports_clear; // worker 0: wo, others: ro
	_Atomic uint64_t phase_ns; // worker 0: wo, control: ro; since when it is in its phase
	uint64_t moving_ns; // worker 0: since when it has no port
	uint32_t moving; // worker 0: ... for which drain
	struct auth_handover *keys;
	// No worker's messages to every node have a counter at or below this one from now on.
	_Atomic uint64_t floor; // worker 0: wo, workers: ro
	struct {
		void *at;
		size_t size;
	} secret[1 + WORKERS_MAX]; // where keys are
	// How far the clock of incarnations is ahead of this node's age: the maximum of what was heard.
	_Atomic uint64_t lives_ahead; // all workers: rw, a maximum
	// A peer has missed heartbeats: until then its flows may come here before it counts as dead.
	_Atomic uint64_t suspect_ns; // worker 0: wo, workers: ro
	// Members that have missed heartbeats and do not count as dead yet: nobody waits for them.
	_Atomic uint64_t suspects; // worker 0: wo, workers: ro
	// How often the switch's session with a node has changed, this one included, as far as is known.
	_Atomic uint32_t port_changes; // worker 0: wo, workers: ro
	struct index *index; // worker 0: rw, others as its fields say
	struct chain_set chains;
	struct fetch fetch; // worker 0: rw, but for what the control thread is handed
	struct placing_told told;
	struct shard *shard[WORKERS_MAX];
	struct ring *ring[WORKERS_MAX][WORKERS_MAX]; // [from][to]
};

static inline uint64_t shard_self(const struct shard *s)
{
	return 1ull << s->conf->id;
}

// Members that are alive, but for this node.
static inline uint64_t shard_others(const struct shard *s)
{
	return s->live & ~shard_self(s);
}

// Other members that may be given copies.
static inline uint64_t shard_takers(const struct shard *s)
{
	return s->live & ~s->draining & ~shard_self(s);
}

static inline enum node_phase shard_phase(const struct shard *s)
{
	return (enum node_phase)atomic_load_explicit(&s->node->phase, memory_order_relaxed);
}

static inline void count(struct shard *s, enum counter c)
{
	s->counters[c]++;
}

// Members whose answer is worth waiting for: alive, and heard lately.
static inline uint64_t shard_responsive(const struct shard *s)
{
	return s->live & ~atomic_load_explicit(&s->node->suspects, memory_order_relaxed);
}

// This node has just stood still and hears nobody yet: others may be there, and have what was here.
static inline bool shard_deaf(const struct shard *s)
{
	return s->now_ns < s->deaf_until_ns && s->live == 1ull << s->conf->id;
}

// May connections be known elsewhere?
static inline bool shard_replicates(const struct shard *s)
{
	bool promised = s->conf->durability != DURABILITY_NONE;

	for (unsigned k = 0; k < CHAINS_MAX; k++)
		promised |= s->chain[k] != NULL && s->chain[k]->durability > DURABILITY_NONE;
	return promised;
}

// The members or the switch's ports changed lately, or may be about to be found changed.
static inline bool shard_moves(const struct shard *s)
{
	// A member whose port goes up or down counts for as long as it says so.
	return s->now_ns < s->unsettled_ns || s->live != s->ports ||
	       s->now_ns < atomic_load_explicit(&s->node->suspect_ns, memory_order_relaxed);
}

// ... or the switch parts directions.
static inline bool shard_unsettled(const struct shard *s)
{
	return s->conf->directions_split || shard_moves(s);
}

// ---- shard.c ----
void shard_done(struct shard *s, void *buf); // the buffer goes back to the driver
void shard_drop(struct shard *s, const struct tripod_packet *p, int counter);
bool shard_spare(struct shard *s, struct frame *f); // an empty frame; false: none, not counted
// The same for what a packet of the workload causes, which leaves some for control messages.
bool shard_spare_data(struct shard *s, struct frame *f);
void shard_unspare(struct shard *s, const struct frame *f); // back, within the step that took it
struct frame shard_frame(const struct tripod_packet *p, enum frame_class class);
bool shard_post(struct shard *s, unsigned worker, const struct ring_message *m);
void shard_post_all(struct shard *s, const struct ring_message *m); // to the other workers
// A place for a packet that must wait; 0: none free. shard_wait_free() gives it back.
uint32_t shard_wait_new(struct shard *s, const struct tripod_packet *p);
void shard_wait_free(struct shard *s, uint32_t w);
// The wait is over: the packet goes through once more, later in this step.
void shard_again(struct shard *s, uint32_t w);
bool shard_has_room(const struct shard *s); // this step may send and give back some more

// ---- deliver.c ----
// A packet of this worker: through its connection, to who has it, or dropped and counted. Takes it.
// hit: from store_prefetch_record(), or of no record.
void shard_deliver(struct shard *s, struct tripod_packet *p, uint64_t hash, struct store_hit hit);
// An ICMP error that quotes p->tuple. Takes it.
void shard_icmp_error(struct shard *s, struct tripod_packet *p);
// To another worker of this node; how: TRIPOD_PKT_ALIAS or 0. Takes it.
void shard_hand_to(struct shard *s, const struct tripod_packet *p, unsigned worker, uint8_t how);
// Runs a packet of record i, direction dir, through tracking and chain, and out.
void shard_forward_conn(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir);

// ---- chain_set.c ----
// The chain under which a connection began.
static inline const struct chain *conn_chain(const struct shard *s, const struct conn *c)
{
	return s->chain[c->chain];
}
void chain_set_init(struct chain_set *set, const struct chain *first);
void chain_set_adopt(struct shard *s); // what the control thread has changed
static inline void chain_set_step(struct shard *s); // at the start of each step
int chain_set_find(const struct shard *s, uint64_t id); // slot that records may use, or -1
// Worker 0: which slots this node announces as in use (or soon to be), for its heartbeats.
uint8_t chain_set_in_use(const struct shard *s);

// ---- census.c ----
void census_step(struct shard *s); // some records

// ---- conn.c ----
// A zeroed record under the chain of a slot, and its end; STORE_NONE: the table is full.
uint32_t conn_new(struct shard *s, unsigned slot);
void conn_delete(struct shard *s, uint32_t i); // in the state that store_conn_free() wants
static inline bool conn_masters(const struct conn *c, unsigned dir)
{
	return c->flags & (CONN_MASTER_0 << dir);
}
static inline enum durability conn_durability(const struct conn *c)
{
	return (enum durability)c->durability;
}
static inline bool conn_uncertain(const struct shard *s, const struct conn *c, unsigned dir)
{
	return (int32_t)(c->dir[dir].seen - s->valid_from) < 0;
}
void conn_init(struct shard *s, struct arena *a);
// What the next incarnation here would begin with; and another node's, which this one does not stay behind.
uint64_t conn_lives(const struct shard *s);
void conn_lives_heard(struct shard *s, uint64_t life);
static inline tick_t conn_last_seen(const struct conn *c)
{
	tick_t a = c->dir[0].seen, b = c->dir[1].seen;
	return (int32_t)(a - b) > 0 ? a : b;
}
// c, of which nothing was heard since this node was away, may have ended elsewhere, and its end been
// forgotten: it is not passed on before somebody else has said that it lives.
static inline bool conn_forgettable(const struct shard *s, const struct conn *c)
{
	return (int32_t)(conn_last_seen(c) - s->forgotten_from) < 0;
}
// TCP has come so far at least, by its flags: TCP_CLOSING, a FIN or a reset was seen; TCP_CLOSED, nothing more
// comes but repetitions. Never true of other protocols.
static inline bool conn_tcp_at(const struct conn *c, enum tcp_state state)
{
	return c->dir[0].key.proto == IPPROTO_TCP &&
	       tcp_state(&c->dir[0].tcp, &c->dir[1].tcp) >= state;
}
uint32_t conn_timeout_ms(const struct shard *s, const struct conn *c);
// May a packet open a connection? Takes it when it answers false, and counts why.
bool conn_may_open(struct shard *s, struct tripod_packet *p);
// Opens a connection for its first packet: runs on_init and the chain, indexes both tuples, and
// sends the packet on. Drops and counts it when that cannot be.
// holders: nodes that have the life before, and are told of this one when it is answered, or of its end
// when nothing comes of it; told: those of them that know the end of the life before.
void conn_open(struct shard *s, struct tripod_packet *p, uint64_t above_incarnation,
	uint64_t holders, uint64_t told);
void conn_abandon(struct shard *s, uint32_t i); // nothing has come of a record that is not answered
// The first packet has passed the whole chain: now the reversed tuple is known. 0, or a negative
// errno after which the record is gone; conn_error_counter() says which drop that is.
int conn_complete(struct shard *s, uint32_t i, const struct tripod_packet *p);
enum counter conn_error_counter(int error);
// Takes record i out of everything. false: a ring is full; the record stays, try again later.
bool conn_free(struct shard *s, uint32_t i);
// Both keys of a filled record go into the index (or to the worker that theirs hash to).
int conn_index(struct shard *s, uint32_t i, bool final);
bool conn_unindex(struct shard *s, uint32_t i); // false: a ring is full, try again later
// What has ended here, and not yet everywhere, does not keep its tuple from who uses it now: the master
// gives an address and port to the next as soon as it has forgotten the last.
// Nor does what an answer has opened, before its connection was known here, from that connection.
void conn_make_way(struct shard *s, const struct tripod_tuple *reversed, bool answered);
void conn_take_over(struct shard *s, uint32_t i, unsigned dir);
// Record i's life goes on under a number above another life's, and with it what is under way of it.
void conn_raise(struct shard *s, uint32_t i, uint64_t above);
void conn_answered(struct shard *s, uint32_t i);
void conn_close(struct shard *s, uint32_t i, enum tripod_reason why); // by its master
void conn_bury(struct shard *s, uint32_t i, enum tripod_reason why); // becomes a tombstone here
void conn_rewheel(struct shard *s, uint32_t i);
void conn_expire(struct shard *s, uint32_t i); // the wheel came to it
void conn_view(const struct shard *s, uint32_t i, struct conn_view *v);
// These nodes have a copy of r's connection, or are to have one.
void conn_hold(struct shard *s, struct conn_repl *r, uint64_t nodes);

// ---- run.c ----
enum run_result { RUN_OUT, RUN_GONE /* dropped, consumed or held */, RUN_REFUSED };
// The chain on one packet, from the NF that comes `skip` places after the first in the packet's
// order; init: the connection is new. Takes the packet unless RUN_OUT.
enum run_result run_chain(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir,
	unsigned skip, bool init);
void run_close(struct shard *s, uint32_t i, enum tripod_reason why);
void run_timer(struct shard *s, uint32_t i, unsigned nf);
// By the shared part's writer, of an NF that takes requests.
void run_request(struct shard *s, uint32_t i, unsigned nf, const void *data, size_t size);
// What an NF says of its kind, and what it is told of it.
bool run_kind_claim(struct shard *s, uint32_t i, unsigned nf, struct tripod_kind_claim *out);
void run_kind(struct shard *s, uint32_t i, unsigned nf, int result);
void run_forget(struct shard *s, uint32_t i); // held packets and timers of a record that goes
void run_raised(struct shard *s, uint32_t i, uint64_t before); // its incarnation was this one
void run_emit_end(struct shard *s); // takes back a packet that an NF has made and not sent

// ---- forward.c ----
// Sends p, of direction dir of record i, out on the other side: now, or when its state is acknowledged.
static inline void forward_out(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir);
// Sends p out on the other side now; dir of record i caches the next hop, i == STORE_NONE: no cache.
void forward_now(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir);
// Sends p back out on the side that it came from, to the station that sent it.
void forward_back(struct shard *s, struct tripod_packet *p);
// Asks for the next hops of record i, should they be unknown: its packets may come here any time.
void forward_prepare(struct shard *s, uint32_t i);
void forward_relay(struct shard *s, struct tripod_packet *p, unsigned node);
void forward_control(struct shard *s, struct frame *f); // counted
// An ICMP error about p from the gateway to the sender of p (enum icmp_error); p stays the caller's.
void forward_icmp_error(
	struct shard *s, const struct tripod_packet *p, enum icmp_error what, uint16_t mtu);
// Carries an ICMP error about a packet of record i through the rewriting; takes p.
void forward_icmp_through(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir);
// An NF's packet: addresses and ports swapped, with no flags; lengths and checksums made right.
void packet_swap(struct tripod_packet *p);
void packet_finish(struct tripod_packet *p);
void forward_reset(struct shard *s, struct tripod_packet *p); // RST for an unknown TCP packet

// The headers of p, up to n bytes of the transport's, in q->data: of a packet that is no fragment,
// whatever p is. q is a copy of p but for its buffer.
void packet_head(struct tripod_packet *q, const struct tripod_packet *p, unsigned n);

// ---- local.c ----
void local_resolve(struct shard *s, struct tripod_packet *p, enum neigh_net net);
bool local_owns(const struct shard *s, enum tripod_direction side, const struct tripod_addr *a);
bool local_echo(struct shard *s, struct tripod_packet *p); // true: answered, or dropped
void local_bfd(struct shard *s, struct tripod_packet *p);
uint64_t local_tick(struct shard *s); // worker 0: BFD; returns when next
void local_learned(struct shard *s, enum neigh_net net, const struct tripod_addr *a,
	const uint8_t mac[6], bool tell);

// ---- hpsms/control.c ----
void control_init(struct shard *s, struct arena *a);
void control_rx(struct shard *s, struct tripod_packet *p); // takes p
// To the worker of this node that should have got p; false: that is this one.
bool control_pass_on(struct shard *s, struct tripod_packet *p, unsigned worker);
void control_peer(struct shard *s, const struct ring_message *m); // a change of membership
uint64_t control_tick(struct shard *s); // worker 0: heartbeats
// An empty message, Ethernet to UDP headers left room for.
bool control_begin(struct shard *s, struct frame *f);
// Of the message: WIRE_BODY_MAX bytes for header and items.
uint8_t *control_body(const struct frame *f);
// To a worker of a node; WIRE_ANY: to every node, to whichever worker.
void control_header(const struct shard *s, struct wire_header *h, enum wire_type type,
	unsigned node, unsigned worker);
// Completes all headers of a message of `size` bytes, its own header (h) included and the tag not,
// seals and sends it.
void control_send(struct shard *s, struct frame *f, struct wire_header *h, uint16_t size);
// Sends a message of `len` bytes that is sealed already, to a node at mac.
void control_transmit(
	struct shard *s, struct frame *f, unsigned node, const uint8_t mac[6], uint16_t len);
void control_hello(const struct shard *s, struct wire_hello *hello); // of this node, as it is now
// was_away: this node, or all others. false: one that was not heard is back.
void control_doubt(struct shard *s, uint64_t absent_ns, bool was_away);
void control_chains(struct shard *s); // worker 0: this node's chains have changed

// ---- hpsms/session.c ----
void session_init(struct shard *s, struct arena *a);
void session_peer_init(struct shard *s, unsigned node, struct arena *a);
void session_keys(struct shard *s); // takes new cluster keys, if there are
// The peer has another boot: nothing that was sealed for or by the former one counts any more.
void session_reset(struct shard *s, unsigned node, uint64_t floor);
// Completes header and tag of a message of `size` bytes, the tag not included.
void session_seal(struct shard *s, struct wire_header *h, uint8_t *message, uint16_t size);
// A message of the boot that is believed: has it been sealed, and is it new? Counts when not.
bool session_open(struct shard *s, const struct wire_header *h, const uint8_t *message);
// The same of what this node has sent to every node: nothing says whether it is new.
bool session_own(struct shard *s, const struct wire_header *h, const uint8_t *message);
// A HELLO or GREET of another boot: is its tag right? Counts when not.
bool session_proven(struct shard *s, const struct wire_header *h, const uint8_t *message);
// Proves to a boot of a peer that this one is alive, and asks it for the same if need be. echo: its
// challenge, 0: not known yet.
void session_greet(
	struct shard *s, unsigned node, uint64_t boot, uint64_t echo, const uint8_t mac[6]);

// ---- hpsms/repl.c ----
// Beside parts: of holders and activity alone, for which no packet waits.
#define REPL_QUIET (1u << PARTS)
// ... of what nobody who takes over needs: this may wait for other records.
#define REPL_LATE (2u << PARTS)
void repl_changed(struct shard *s, uint32_t i, unsigned parts); // bit mask of enum conn_part
void repl_queue(struct shard *s, uint32_t i, unsigned node);
void repl_ended(struct shard *s, uint32_t i); // by its time-out after TCP's end
// A full copy to a node that asked for the packets of direction dir.
void repl_answer(struct shard *s, uint32_t i, unsigned node, unsigned dir);
// Where record i is a tombstone, and the node that asks may still have the living: it is told of the end,
// which answers it. false: it is not so.
bool repl_answer_end(struct shard *s, uint32_t i, unsigned node);
// The shared part of record i, whose packets come here, has lost its writer, and has to be written.
void repl_adopt(struct shard *s, uint32_t i);
void repl_queue_all(struct shard *s, uint32_t i, uint64_t nodes); // to those of them that live
void repl_protect(struct shard *s, uint32_t i); // enough live holders, or as many as there are
void repl_peer_lost(
	struct shard *s, unsigned node, bool rebooted); // what waits for it is sent to nobody
void repl_flush(struct shard *s);
uint64_t repl_next_ns(struct shard *s);
void repl_lack_flush(struct shard *s); // tells who named records that are not here
void repl_lack_rx(struct shard *s, unsigned node, const struct wire_header *h, const uint8_t *body,
	uint16_t len);
bool repl_congested(const struct shard *s); // a queue is more than half full: no news that can wait
unsigned repl_worker(const struct shard *s, unsigned node, const struct tripod_tuple *key);

// ---- hpsms/ending.c ----
// The next life takes the place of tombstone i: whoever has not acknowledged the end is told now, and until it has,
// or has restarted; who is not heard, when it is heard again.
void ending_now(struct shard *s, uint32_t i);
void ending_peer_back(struct shard *s, unsigned node);

// ---- hpsms/repl_rx.c ----
void repl_rx(struct shard *s, struct peer *peer, const struct wire_header *h, const uint8_t *body,
	uint16_t len);

// ---- hpsms/repair.c ----
bool repl_repair(struct shard *s); // true: more to do
// A round of repair begins. marks: it waits for a joining member, or a drain.
void repl_repair_start(struct shard *s, bool marks);

// ---- hpsms/request.c ----
void request_init(struct shard *s, struct arena *a);
// Where another node writes the shared part of record i: has it run on_request() of an NF. The
// connection has none under way. 0 or -ENOSPC.
int request_new(struct shard *s, uint32_t i, unsigned nf, const void *data, size_t size);
bool request_under_way(struct shard *s, uint32_t i); // of record i's connection
void request_raised(struct shard *s, uint32_t i, uint64_t before); // its incarnation was this one
void request_terminate(struct shard *s, uint32_t i); // ... has it end the connection
uint64_t request_tick(struct shard *s); // repeats them; returns when next
void request_flush(struct shard *s); // sends what is open
void request_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len);
void request_applied_rx(
	struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len);

// ---- hpsms/kind.c, kind_claim.c, kind_entry.c ----
void kind_init(struct shard *s, struct arena *a);
void kind_step(struct shard *s); // what is due: questions, copies, answers
uint64_t kind_next_ns(const struct shard *s);
uint64_t kind_tick(struct shard *s); // looks through what there is; returns when next
void kind_members(struct shard *s); // members, their ports or their chains have changed
void kind_forgot(struct shard *s, unsigned node); // ... this one has restarted
void kind_doubt(struct shard *s); // this node was away
// Entries of which some of these nodes lack a copy that they are to have from this worker, and may yet acknowledge.
uint32_t kind_owes(const struct shard *s, uint64_t nodes);
void kind_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len);
void kind_ring(struct shard *s, unsigned worker, const struct ring_message *m);
// tripod_kind_take() and tripod_kind_look() for an NF of record i's chain.
int kind_take(struct shard *s, uint32_t i, unsigned nf);
void kind_raised(
	struct shard *s, uint32_t i, uint64_t before); // record i's incarnation was this one
bool kind_look(struct shard *s, uint32_t i, unsigned nf, struct tripod_share *out);
// Does record i, of a chain with kinds, count here? goes: it is about to be deleted.
void kind_review_conn(struct shard *s, uint32_t i, bool goes);
static inline void kind_review(struct shard *s, uint32_t i); // it may have begun to, or ended

// ---- hpsms/sync.c ----
void sync_init(struct shard *s, struct arena *a);
// No packet of direction dir of record i, which has CONN_SYNCING, could wait, and it would have to.
bool sync_full(struct shard *s, uint32_t i, unsigned dir);
// p of record i, which has CONN_SYNCING, waits to be sent out (or back to its sender), and is taken;
// false: it may go at once. cached: with the next hop of dir.
bool sync_wait_out(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir, bool cached);
bool sync_wait_back(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir);
void sync_acked(struct shard *s, uint32_t i, unsigned node, uint16_t stamp);
void sync_review(struct shard *s, uint32_t i); // its holders have changed
void sync_members(struct shard *s, uint64_t forgot); // members came, went, or have restarted
void sync_handed(struct shard *s, uint32_t i, unsigned dir); // another node has taken it over
void sync_forget(struct shard *s, uint32_t i); // what waits is lost
void sync_run(struct shard *s); // at the end of a step: what may leave leaves
uint64_t sync_tick(struct shard *s);
void *sync_buffer(const struct shard *s, uint32_t place); // of the packet that waits there, or NULL

// ---- hpsms/trim.c ----
void trim_begin(struct shard *s); // of a walk
void trim_look(
	struct shard *s, uint32_t i); // has record i, mastered here, more copies than it needs?
void trim_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len);
// These have copies of record i and no place among its holders: they are to forget them.
void trim_dismiss(struct shard *s, uint32_t i, uint64_t nodes);
// These, and those that write a part of record i, get a place among its holders, if need be others'.
void trim_list(struct shard *s, uint32_t i, uint64_t nodes);
// These are to have copies of record i, and get a place among its holders; where the list is full, that of who need not
// have one.
void trim_admit(struct shard *s, uint32_t i, uint64_t nodes);

// ---- hpsms/compare.c ----
void compare_begin(struct shard *s); // of a tick, or of a walk
void compare_look(struct shard *s, uint32_t i); // may copies of record i differ from it?
void compare_end(struct shard *s); // of a tick: asks for them

// ---- hpsms/place.c ----
// Holders of record i, this node not counted, that should keep their copies: those to which its packets would go, and
// as many others as make k. more: those that are about to have one, too.
uint64_t place_keep(const struct shard *s, uint32_t i, uint64_t more);
// The members that should have a copy of record i and have none: those to which the switch would send
// its packets, now and after failures, and others until k have one (k + 1 while this node drains).
uint64_t place_missing(const struct shard *s, uint32_t i);
// Those of them that are to get one at once. The others are decided for a batch of connections.
uint64_t place_now(struct shard *s, uint32_t i);
void place_init(struct shard *s, struct arena *a);
void place_step(struct shard *s); // closes the batch when it is full or has waited long enough
uint64_t place_next_ns(const struct shard *s);
void place_heard(struct shard *s, unsigned node, const struct wire_hello *h); // worker 0
void place_tell(struct shard *s, struct wire_hello *h); // worker 0
// Up to n nodes of `among`, the same at every node for a key.
uint64_t place_rendezvous(
	const struct shard *s, const struct tripod_tuple *key, uint64_t among, unsigned n);

uint64_t place_by_hash(uint64_t hash, uint64_t among, unsigned n); // the same, of any key

// ---- hpsms/index_own.c ----
static inline bool index_on(const struct shard *s)
{
	return s->conf->index_keys > 0 && s->conf->durability != DURABILITY_NONE;
}
void index_init(struct index *ix, struct arena *a, const struct node_conf *conf);
void index_shard_init(struct shard *s, struct arena *a);
// Record i may have to be announced: when it is no longer young, or when somebody asks.
void index_young(struct shard *s, uint32_t i);
void index_at_once(struct shard *s, uint32_t i); // ... now, if the budget allows
// Record i goes. false: the ring to worker 0 is full; try again later.
bool index_forget(struct shard *s, uint32_t i);
void index_ring(struct shard *s, unsigned from, const struct ring_message *m);
void index_step(struct shard *s); // announces, sends, looks after packets that wait
uint64_t index_next_ns(const struct shard *s);
// Worker 0: somebody asks for what this node has.
void index_ask_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len);

// ---- hpsms/index_peers.c ----
void index_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len);
void index_copy_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len);
void index_peer(struct shard *s, unsigned node, bool live, bool rebooted); // worker 0
uint64_t index_peers(struct shard *s); // worker 0: gaps, copies, rounds; returns when next
// The number of the next round that begins after now; it is asked for.
uint32_t index_round(struct shard *s);
bool index_round_over(const struct shard *s, uint32_t round);
// ... and it, or one since, was answered for all members: none was left out since its set was not here.
bool index_round_whole(const struct shard *s, uint32_t round);
// That round was the last in which a member did not answer, and should have.
bool index_round_lost(const struct shard *s, uint32_t round);
// Live members that may have a key of this fingerprint.
uint64_t index_candidates(const struct shard *s, uint32_t fp);
// Live members whose set is not here, so that they may have anything.
uint64_t index_blind(const struct shard *s);
// Are changes of a live member known to be on their way?
bool index_behind(const struct shard *s);
// Live members whose set has not been fetched, as seen by worker 0.
uint64_t index_unknown(const struct node *n);
// Live members whose set is not all here, for whatever reason, as seen by worker 0.
uint64_t index_lacking(const struct node *n);
// All live members' sets are here.
bool index_complete(const struct shard *s);
// May the tuple be in use on another node? Cheap: one cache line.
bool index_maybe_used(const struct shard *s, const struct tripod_tuple *key);
// ---- hpsms/ready.c ----
void ready_tick(struct shard *s); // worker 0: the node's phase
uint8_t ready_hello(const struct shard *s); // worker 0: what heartbeats say of it
// Worker 0: all workers have sent this member, in its present life, what it should hold.
bool ready_has_served(const struct shard *s, unsigned node);
void ready_served_by(struct shard *s, unsigned node); // worker 0: a member says so of itself
void ready_chains(struct shard *s); // worker 0: the chains that this node holds have changed
void ready_lost(struct shard *s, unsigned node); // worker 0: it has died or restarted
void ready_worker_tick(struct shard *s); // each worker: has a drain begun or ended, or the start?
// Members of whose copies this node, while it joins, has not got all.
uint64_t ready_unserved(const struct node *n);
uint64_t ready_unreported(const struct node *n);
bool ready_ports_awaited(const struct node *n); // the chain divides ports, and they are not clear
bool ready_hearing(
	const struct node *n, uint64_t now_ns); // the others have had no time to be heard

// ---- hpsms/pull.c ----
void pull_init(struct shard *s, struct arena *a); // and the packets that wait
// Algorithm 1 of the paper for a packet whose tuple is unknown here: it waits for the nodes that may
// have the connection, or for a round of index sets. true: taken. false: nobody has it, go on.
bool pull_unknown(struct shard *s, struct tripod_packet *p, uint64_t hash, unsigned how);
// The connection is known here, but may have gone on elsewhere: the packet waits for what all members
// say, those among nodes first. true: taken. chance: nothing says so, and without budget to spare it goes on as it is.
bool pull_check(struct shard *s, struct tripod_packet *p, const struct tripod_tuple *key,
	uint64_t nodes, bool chance);
// Packets and pulls that wait for a round: what is known by now?
void pull_look_again(struct shard *s);
// The connection of key has come (final: nobody can have a newer one).
void pull_found(struct shard *s, const struct tripod_tuple *key, bool final, unsigned from);
// A packet of key, of TCP, waits for an answer and acknowledges this number.
bool pull_named(struct shard *s, const struct tripod_tuple *key, uint32_t *number);
// true: what follows from it is decided when all have answered.
bool pull_none(struct shard *s, const struct tripod_tuple *key, unsigned from);
// Packets wait for what others know of the connection of this key.
bool pull_waits(const struct shard *s, const struct tripod_tuple *key);
// Record i is uncertain: its other holders are asked whether it lives. false: there are none. If none
// has it, it may go; else what is to be sent of it is queued.
bool pull_validate(struct shard *s, uint32_t i);
void pull_peer_died(struct shard *s, unsigned node);
uint64_t pull_tick(struct shard *s);
// Takes a question from a budget; chance: nothing points at an answer. false: it is spent.
bool pull_spend(struct shard *s, uint64_t *tokens_ns, bool chance);

// ---- hpsms/pull_send.c ----
void pull_send(struct shard *s); // what is to be asked, batched

// ---- hpsms/serve.c ----
// has: who asks has a copy, and makes sure of it.
void pull_serve(
	struct shard *s, const struct tripod_tuple *key, bool has, unsigned node, unsigned worker);
// Tells a worker of a node that this node has no copy of key (WIRE_NONE), or cannot keep the one that
// it was sent (WIRE_REFUSED; seq: in which message; alone: others could be kept): collected, sent by
// pull_none_flush().
void pull_say(struct shard *s, enum wire_type what, const struct tripod_tuple *key, unsigned node,
	unsigned worker, uint32_t seq, bool alone);
void pull_none_flush(struct shard *s);

// ---- Here to be inline ----

static inline void chain_set_step(struct shard *s)
{
	uint32_t newest = atomic_load_explicit(&s->node->chains.generation, memory_order_acquire);
	if (__builtin_expect(newest != s->chains_generation, 0))
		chain_set_adopt(s);
}

static inline void kind_review(struct shard *s, uint32_t i)
{
	if (__builtin_expect(conn_chain(s, store_conn(&s->store, i))->kinds, 0))
		kind_review_conn(s, i, false);
}

static inline void forward_out(struct shard *s, struct tripod_packet *p, uint32_t i, unsigned dir)
{
	if (__builtin_expect(p->fragment, 0))
		fragment_first(s, p, i, dir);
	if (__builtin_expect(store_conn(&s->store, i)->flags & CONN_SYNCING, 0) &&
		sync_wait_out(s, p, i, dir, true))
		return;
	forward_now(s, p, i, dir);
}
