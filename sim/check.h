// SPDX-License-Identifier: BSD-3-Clause
// What must be true whatever happens. Apart from the code under test: it sees what nodes emit, what
// hosts experience, and the tables of nodes as they lie in memory; it asks no node for its opinion.
//
//   check_emit.c  every packet that a node emits towards hosts
//   check_conn.c  what hosts tell of connections: broken ones, and which of those the contract excuses
//   check_walk.c  all tables, now and then: versions never go back, nothing is reborn, copies are equal
//   check_predict.c  what nodes say of where packets would go
//   check_control.c  how much nodes tell each other, and how long a packet waits for an answer
//   check_request.c  what NFs have asked of other nodes
//   check_kind.c  what connections of one source share
//   check.c       what is known of each connection; violations; the end
//
// README.md says which checker promises what.
#pragma once

#include "core/store.h"
#include "sim/options.h"

struct world;
struct shard;
struct step;
struct hosts_event;
struct peek;

#define VIOLATIONS_MAX 8 // told of one run

struct violation {
	char checker[16];
	char what[240];
	char *trace; // malloc'd
	uint64_t at_ns;
};

// What is known of the lives of one key. Packets and records of the highest incarnation count.
struct check_conn {
	struct tripod_tuple key; // of the initiator's packets
	uint64_t hash;
	uint64_t incarnation; // highest seen in a packet or record
	uint64_t once; // hash of the reversed tuple and all write-once fields, with once_of
	uint64_t once_of; // incarnation
	uint64_t emitters; // nodes that have emitted packets of it
	struct {
		uint16_t epoch; // highest under which a packet was emitted
		uint8_t node; // ... first by this one
		uint8_t last; // node that emitted last; 255: none
		uint64_t first_ns, moved_ns; // of that epoch; when last changed
	} dir[2];
	uint64_t older_ns; // when packets of a life above once_of were first seen
	uint64_t opening; // write-once fields of its last life before an answer
	uint8_t opener; // node that emitted it
	uint64_t opening_ns; // ... last
	uint64_t twice_ns; // when another node opened it with other fields
	uint64_t answered_ns; // first packet back to the initiator
	uint64_t alone_ns; // a node failed that had the only copy
	bool log_lost; // ... and the log of it had been lost a moment ago
	uint64_t parted_ns; // a fragment came to a node that is cut off from who handles it
	uint32_t
		seen; // the last walk that found any record of `incarnation`, those overdue included
	uint32_t walk; // number of the last walk that found a record of `incarnation`; 0: none
	uint32_t quiet; // walks in a row that found its copies wrong, and unchanged
	uint64_t parts, parts_before; // sums over its records, this walk and the last
	uint32_t older_walk; // number of the last walk that found a record of an older life
	uint32_t counted_walk; // number of the last walk that counted it for its source
	uint8_t copies, wrong; // of this walk
	uint8_t silent; // copies of silent_walk that a master would have ended by now
	uint32_t silent_walk;
	bool mastered; // of this walk: by a node that has a record
	bool failed; // of this walk: all that have one have failed before
	uint8_t open_requests; // walks in a row that found a request without effect
	uint32_t open_walk; // the last of them
	uint64_t book_of; // life whose book was found wrong
	// As the tuple of answers: by this walk a connection had it that somebody handled.
	uint64_t owner; // ... hash of its key
	uint32_t owner_walk;
	uint8_t tcp; // of this walk: enum tcp_state
	uint64_t state; // of this walk: replicated fields of the NFs' states
	struct conn_version best[3]; // of this walk
};

struct check_failure {
	uint64_t at_ns, end_ns; // end_ns 0: not over, or the node has forgotten everything
	uint8_t node, kind;
};
#define CHECK_FAILURES 512

struct snap { // a record at the last walk
	uint64_t hash, incarnation;
	struct conn_version part[3];
	uint8_t state;
};

// A packet that has arrived where nothing is known of its connection.
struct check_pull {
	struct tripod_tuple key;
	uint64_t at_ns;
	uint8_t node;
};
#define CHECK_PULLS 4096
#define CHECK_PULL_TICK_NS 100000
#define CHECK_PULL_TICKS 1000

struct check_live { // a connection that hosts have established
	struct tripod_tuple key; // as the responder sees it
	uint64_t id;
};

struct kind_entry;

// Addresses whose connections are counted together (nf/limit): by this walk
struct check_source {
	struct tripod_addr src;
	uint8_t direction;
	bool used;
	uint32_t walk;
	uint32_t live, open; // connections whose writer is there; ... that TCP has not closed
	uint32_t held, occupied; // ... that workers count; units they have, or may have been given
	uint32_t writers, copies; // of its entry; copies: the writer's, and those equal to it
	const struct kind_entry *written;
	uint32_t over; // by so many more than there may be
	uint32_t settled; // walks in a row that found it wrong, and unchanged
	uint64_t before; // what the last one found
	uint64_t refused_ns; // since when one is refused although there is room; 0: none
};

struct check_kinds {
	struct check_source *source; // open addressing
	uint32_t room, n;
	uint64_t moved_ns; // when a port went up or down last
	uint64_t settled, roomy; // sources that were found right after quiet; refusals beside room
	uint32_t most_over;
};

struct check_reused { // a connection that hosts hold on to, and whose tuple another has got since
	uint64_t id, at_ns;
};
#define CHECK_REUSED 64

// Why a broken connection is no violation; README.md, "What is excused".
enum check_excuse {
	EXCUSE_BEYOND, // more failures than k were asked for
	EXCUSE_NO_COPIES, // nothing is replicated
	EXCUSE_LIMIT, // of those drawn so small that they are hit
	EXCUSE_TWICE, // two nodes opened it before it was answered
	EXCUSE_FRESH, // answered within T of the failure of its only holder
	EXCUSE_LOG_LOST, // ... or its log was lost before that
	EXCUSE_CUT_OFF, // moved, opened or relayed while nodes were cut off
	EXCUSES, // nothing excuses it
};
extern const char *const check_excuse_names[EXCUSES]; // as numbers of the report

struct checker {
	struct violation violation[VIOLATIONS_MAX];
	unsigned n_violations; // may exceed VIOLATIONS_MAX

	struct check_conn *conn; // open addressing
	uint32_t conn_room, conn_n;
	struct snap *snap[SIM_NODES_MAX]; // workers x (capacity + 1)
	uint32_t walk; // number of the present one, from 1
	bool quiet; // nothing is opened, and all faults are over
	struct check_failure failure[CHECK_FAILURES];
	unsigned n_failures;
	struct check_live *live; // open addressing by key
	uint32_t live_room, live_n;
	struct check_reused reused[CHECK_REUSED];
	unsigned n_reused;

	struct check_kinds kinds;

	const char *watch; // part of the text of a key; NULL: none
	struct tripod_tuple watched; // that key, once packets of it have been seen
	char watched_at[SIM_NODES_MAX][160]; // what each node had of it

	struct check_pull pull[CHECK_PULLS]; // by node and key
	uint32_t pulled[CHECK_PULL_TICKS + 1]; // by how long the packet waited
	uint64_t control_ns,
		packets; // when control traffic was last looked at; packets of hosts by then
	uint64_t connections, broken, corrupt, stale_emissions, zombies;
	uint64_t excused; // of broken, all together
	uint64_t excused_by[EXCUSES];
	uint64_t emitted, untied; // packets towards hosts; those of which no record is there
	uint64_t predicted, unpredicted, mispredicted; // places of connections after failures
	uint64_t longest_stall_ns; // of a connection that ended well
};

void check_init(struct world *w);
void check_free(struct world *w);
// tuples: for the trace.
void check_violation(struct world *w, const char *checker, const struct tripod_tuple *tuples,
	unsigned n_tuples, const char *format, ...) __attribute__((format(printf, 5, 6)));
struct check_conn *check_conn_of(struct world *w, const struct tripod_tuple *key); // made if new
struct check_conn *check_conn_by_hash(struct world *w, uint64_t hash); // NULL: none
// A record or packet of this life: is it a newer one?
void check_life(struct world *w, struct check_conn *k, uint64_t incarnation);
// From a change to its copy: the batch waits, the worker sleeps, the frame flies, the other reads it.
uint64_t check_window_ns(const struct world *w);
bool check_limits_hit(struct world *w); // has any node counted that a limit was too small?
uint64_t check_hash(const void *data, size_t size, uint64_t seed);
bool check_newer(const struct conn_version *a, const struct conn_version *b);

void check_node_started(struct world *w, unsigned i);
void check_node_gone(struct world *w, unsigned i);
void check_failure(struct world *w, unsigned i, enum fault_kind kind); // before it happens
// Is it for a message that was lost that nobody has a copy of this record of node i, which fails?
bool check_log_lost(const struct world *w, unsigned i, const struct shard *s, uint32_t record,
	uint64_t answered_ns);
void check_partition_over(struct world *w);
// A packet that hosts have sent, at a node: could that relay it?
void check_arrival(struct world *w, unsigned i, const struct peek *p);
void check_awake(struct world *w, unsigned i); // it has failed, and goes on with what it remembers
void check_step(struct world *w, unsigned i, unsigned worker, const struct step *step);
void check_watch(
	struct world *w, unsigned i); // tells when a node's record of the watched key changes
void check_hosts(struct world *w, const struct hosts_event *e);
void check_walk(struct world *w);
// Are these nodes, which were told to drain, drained?
bool check_drained(struct world *w, uint64_t nodes, bool report);
void check_predictions(struct world *w); // all is up, and quiet
void check_control(struct world *w);
// Messages of a node in so long a time, while hosts sent and got so many packets.
uint64_t check_control_bound(const struct world *w, uint64_t ns, uint64_t valid_packets);
void check_pull_begins(struct world *w, unsigned i, const struct peek *p);
void check_pull_ends(
	struct world *w, unsigned i, const struct conn *c, unsigned d, uint64_t answered_ns);
uint64_t check_pulls_within(const struct world *w, uint64_t ns); // UINT64_MAX: all
// A record, of what is known of its connection: is the book of its requests right?
void check_requests(
	struct world *w, unsigned i, struct shard *s, uint32_t record, struct check_conn *known);
void check_kind_ports(struct world *w); // the switch sends flows elsewhere from now on
// A live record, for its source; after those of a walk, all sources; a step, for who was refused.
void check_kind_record(
	struct world *w, unsigned i, const struct conn *c, const struct conn_repl *r);
void check_kinds(struct world *w);
void check_kind_step(struct world *w, unsigned i, unsigned worker);
void check_tables(struct world *w); // each table agrees with itself
bool check_empty(struct world *w, bool report); // the end: nothing is left
uint64_t check_once(const struct shard *s, const struct conn *c);
uint64_t check_state(const struct shard *s, const struct conn *c); // all replicated fields of NFs
