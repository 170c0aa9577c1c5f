// SPDX-License-Identifier: BSD-3-Clause
// What goes wrong in a run: drawn one after the other, each with its end, within the contract unless
// asked to go beyond.
//
// The contract (README.md): at most k nodes fail within one repair time, and at least one node that
// was whole before stays. A node that stands still, is cut off, or loses most frames has failed, and
// is whole again one repair time after it is back. Nobody fails while nodes are cut off from each
// other, and nobody is cut off while not all are whole, because the switch would send flows to nodes
// that cannot ask for them. Flows that the switch moves between live nodes, and news of it that travels
// slowly, are no failures. Nor are floods.
#pragma once

#include "sim/options.h"

#define FAULTS_MAX 256 // of one run

struct world;

struct fault {
	enum fault_kind kind;
	uint8_t node, worker, stage; // stage: of a flutter: changes to come
	bool one_way, active;
	uint32_t pace_us; // FAULT_FLUTTER: between two changes, on average
	uint64_t began_ns, ends_ns; // ends_ns: of an active one, when it would end
	uint64_t side; // FAULT_PARTITION: the nodes that are cut off; FAULT_FLUTTER: ports
};

struct faults {
	struct fault list[FAULTS_MAX];
	unsigned n, skipped; // not drawn because the contract had no room
	uint64_t repair_ns;
	bool partitioned, reconfiguring, slow, flooded;
	uint64_t fluttering; // ports
	uint64_t draining; // after faults_heal(): nodes whose drain is to come to its end
	struct {
		bool bad;
		uint64_t failed_ns; // last
		uint64_t back_ns; // since when it is up again; 0: it has never failed
	} node[SIM_NODES_MAX];
};

void faults_init(struct world *w); // late nodes are not there yet
void faults_begin(struct world *w); // of the safety phase
void faults_event(struct world *w, uint32_t serial, unsigned node);
// Ends what is under way, but for drains, and starts who is not there.
void faults_heal(struct world *w);
void faults_undrain(struct world *w); // and these, too
// One fault now, whatever the contract says. ms: how long; 0: until faults_heal(). Returns its number,
// or 0: there is no room for more.
unsigned faults_make(struct world *w, enum fault_kind kind, unsigned node, unsigned ms);
bool faults_whole(struct world *w, unsigned i);
