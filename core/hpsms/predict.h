// SPDX-License-Identifier: BSD-3-Clause
// Prediction: where the switch will send a connection's packets, now and after failures.
//
// Computed, where it is known how the switch hashes (node_conf.next_hop). Else asked of the switch: a
// frame with the connection's own tuple goes out on the VLAN of a prediction group (Predicate), and
// the node where it arrives answers over the fabric (Confirm). Predictions say where copies are put,
// and nothing else waits for them: a wrong or a late one costs a PullReplica.
//
//   predict.c     what is known, what is asked, and whether it is right
//   predicate.c   the two messages
//   nexthop.c     what follows from the answers
//
// Thread: the shard's worker.
#pragma once

#include <tripod/nf.h>

#include "core/frame.h"
#include "core/hpsms/nexthop.h"
#include "core/hpsms/wire.h"

#define PREDICT_HASH 256

struct shard;
struct arena;
struct tripod_packet;

enum predict_how {
	PREDICT_NONE, // copies go where the key hashes to
	PREDICT_COMPUTED,
	PREDICT_PROBED,
};
const char *predict_how_name(enum predict_how how);

// The latest checks of one way to predict. They count when it has turned out that no port changed then: the
// switch notices a death before the nodes do.
struct predict_checks {
	uint32_t right, wrong;
};
struct predict_trust {
	struct predict_checks counted, late, later; // later: of those that do not count yet
	uint64_t since_ns; // of `later`
	uint32_t epoch;
	bool lost;
};

struct predict_job;
struct predict_entry;

struct predict {
	uint64_t all; // ports of the switch: every configured node
	uint64_t heard; // of them, heard once
	uint64_t ports, coming; // as of this epoch
	uint32_t
		port_changes; // as of this epoch: of some nobody knows but the node whose port it is
	uint32_t epoch;
	uint64_t changed_ns; // when they last changed
	bool unsettled; // ... which the switch may see a little later
	struct predict_trust computed, probed;
	uint32_t samples;
	uint32_t silence; // questions in a row that nobody has answered
	bool silent; // ... some of this epoch
	uint64_t again_ns, patience_ns; // when and for how long those have not been asked again
	uint64_t mute_until_ns; // the switch seems to have no such groups

	struct predict_job *jobs;
	uint32_t hash[PREDICT_HASH]; // first job of each list, by record; 0: none
	uint32_t free, used, oldest, newest; // in the order in which they asked last
	struct predict_entry *cache;
	uint64_t tokens_ns; // time from which the unspent budget of questions counts
	uint32_t walk_at; // next record whose prediction is made anew; 0: no walk
	bool walk_due;

	// At the other end.
	uint64_t serve_tokens_ns[NODES_MAX];
	struct {
		struct frame frame; // buf != NULL: open
		uint16_t used, count;
		uint8_t node, worker;
	} confirm;
};

void predict_init(struct shard *s, struct arena *a);
enum predict_how predict_how(const struct shard *s);
// Where packets of this tuple arrive now, as computed, else NEXT_HOP_UNKNOWN. Be that believed here or not: all
// nodes say the same, so that what each sends there meets.
int predict_computed(const struct shard *s, const struct tripod_tuple *t);
// Where packets of this tuple arrive while the ports of exactly `up` are up: a node, or
// NEXT_HOP_UNKNOWN.
int predict_next(const struct shard *s, const struct tripod_tuple *key, uint64_t up);
// The nodes where they arrive while the ports of `ports` are up, and after each of n failures of the node
// where they would have arrived.
uint64_t predict_arrivals(
	const struct shard *s, const struct tripod_tuple *key, uint64_t ports, unsigned n);

// A connection is opened here by a packet of `key`: will answers that carry `reversed` come here, too?
enum tripod_affinity predict_affinity(
	const struct shard *s, const struct tripod_tuple *key, const struct tripod_tuple *reversed);

// The switch has sent a packet here that opens record i's connection, or moves direction dir of it from
// the node `before` (this node: it is new). Was that to be expected?
void predict_arrived(struct shard *s, uint32_t i, unsigned dir, unsigned before);
// The keys of record i are known, it is not answered yet: asks if there is plenty of budget.
void predict_opened(struct shard *s, uint32_t i);
// Copies of record i are being placed: asks for what is not known of its keys.
void predict_wanted(struct shard *s, uint32_t i);
uint64_t predict_tick(struct shard *s); // repeats questions; returns when next

// ---- predicate.c ----
// Sends a question: false: not now.
bool predicate_send(
	struct shard *s, const struct tripod_tuple *key, const struct wire_predicate *q);
void predicate_rx(struct shard *s, struct tripod_packet *p); // on a VLAN of these; takes p
void predicate_flush(struct shard *s); // sends the answers that are collected
void predicate_confirm_rx(
	struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len);
// In predict.c: a node says that a question has arrived there.
void predict_confirmed(struct shard *s, unsigned node, const struct wire_confirm *c);
