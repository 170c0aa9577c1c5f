// SPDX-License-Identifier: BSD-3-Clause
// For tests of the hosts: both sides joined by a wire instead of a rack. It may lose, repeat and
// delay frames, and translates as a load balancer and a source NAT without state would.
#pragma once

#include "core/rng.h"
#include "sim/hosts.h"

#define WIRE_EVENTS 65536

struct wire_conf {
	struct hosts_conf hosts; // what is zero gets a value: see wire_new()
	uint64_t seed;
	uint32_t loss_per_mille, dup_per_mille;
	uint64_t delay_ns, jitter_ns;
	// Sees each frame behind the translation, and may change it; side: of the receivers. false: lost.
	bool (*hook)(void *ctx, enum tripod_direction side, uint8_t *frame, uint16_t *len);
	void *ctx;
};

struct wire_event {
	enum hosts_what what;
	enum hosts_kind kind;
	bool planned, reused, established;
	uint64_t id, bytes, stall_ns;
	const char *why;
	struct tripod_tuple opening, peer;
};

struct wire {
	struct wire_conf conf;
	struct hosts *hosts;
	struct rng rng;
	uint64_t now_ns, digest; // digest: of every frame and when it was sent
	struct flight **flight;
	unsigned n_flight;
	uint64_t order;
	unsigned n_events; // of the last WIRE_EVENTS
	struct wire_event *events;
	uint64_t what[HOSTS_CORRUPT + 1];
};

struct wire *wire_new(const struct wire_conf *conf);
void wire_free(struct wire *w);
void wire_run(struct wire *w, uint64_t until_ns);
// Opens no more, and runs until nothing is open or so much time has passed.
void wire_finish(struct wire *w, uint64_t most_ns);
// The last event that tells of a fault; NULL: none.
const struct wire_event *wire_fault(const struct wire *w, enum hosts_what what);
void wire_print(const struct wire *w); // totals and faults, to stderr
