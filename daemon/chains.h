// SPDX-License-Identifier: BSD-3-Clause
// The versions of the chain that this daemon has loaded: from its own file, and those that the node
// fetched from its peers. Loaded here, run by the node (core/chain_set.c), freed here when no worker
// can see them any more.
//
// Thread: the control thread.
#pragma once

#include <jansson.h>

#include "config/rack.h"

struct chain_version {
	struct chain chain; // first: the node knows a version by this
	uint64_t
		config_id[CHAIN_NFS_MAX]; // hash of each NF's section: equal where it says the same
	void *memory;
	size_t memory_size;
};

// What NFs have counted under versions that are gone, so that no sum ever goes back.
struct chains_counted {
	const struct tripod_nf *nf;
	uint64_t v[WORKERS_MAX][NF_COUNTERS_MAX];
};

struct chains {
	// Fixed.
	unsigned slot, slots, boot_half; // who the node is to its NFs
	uint32_t bytes_max; // of a description
	void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2)));

	struct node *node; // NULL until it runs
	uint64_t coming; // id of the version that is to be current soon, 0: none
	uint64_t coming_ns; // when it was announced
	uint64_t refused[CHAINS_MAX]; // ids of which the log has been told
	unsigned next_refused;
	unsigned n_counted;
	struct chains_counted *counted; // NF_REGISTRY_MAX of them
};

int chains_init(struct chains *c, const struct rack *rack,
	void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2)))); // 0 or -ENOMEM
// A version from a configuration (text: its canonical form); NULL: the reasons are in the document's
// report, or why says what is wrong.
struct chain_version *chains_load(const struct chains *c, const struct tripod_conf *conf,
	const char *text, char *why, size_t size);
// The same from what a peer says of its chain `id`: one that this node runs as well, or one of an older
// build that is read as this node's chain of the same configuration, which then is added to the node.
struct chain_version *chains_load_description(const struct chains *c, uint64_t id,
	const uint8_t *bytes, uint32_t n, char *why, size_t size);
void chains_free(struct chain_version *v); // NULL: nothing

// Makes v the version of new connections, when the live peers have it or a second has passed. Takes v,
// unless it fails: 0, or -errno with a message in why.
int chains_announce(struct chains *c, struct chain_version *v, char *why, size_t size);
// What is due: versions that have come from peers, a version that may become current, others that have
// gone. To be called some 50 times a second.
void chains_tick(struct chains *c, uint64_t now_ns);
const struct chain_version *chains_current(const struct chains *c);
uint64_t chains_counted(const struct chains *c, const struct tripod_nf *nf, int worker, unsigned i);
// After the workers' end: every version that the node holds.
void chains_end(struct chains *c);
