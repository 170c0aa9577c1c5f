// SPDX-License-Identifier: BSD-3-Clause
// Workers: one thread per shard of the node, from the port's queues through the core and back.
//
// Thread: worker_start() and worker_stop() on the control thread; worker_counters() on any thread.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "core/node.h"
#include "daemon/port.h"

// What happens to frames outside the core. X(name, help)
#define WORKER_COUNTERS(X)                                                                         \
	X(rx_chained_dropped, "received frames in several buffers that did not fit into one")      \
	X(tx_data_dropped, "data frames that the port did not take")                               \
	X(tx_control_dropped, "control frames that the port did not take")                         \
	X(tx_tag_dropped, "frames without room for their VLAN tag")                                \
	X(spare_short, "steps that began with fewer empty frames than they should have")           \
	X(steps, "steps of the core")                                                              \
	X(sleeps, "times that the worker slept for lack of work")

enum worker_counter {
#define X(name, help) W_##name,
	WORKER_COUNTERS(X)
#undef X
		WORKER_COUNTER_COUNT,
};

extern const char *const worker_counter_names[WORKER_COUNTER_COUNT];
extern const char *const worker_counter_helps[WORKER_COUNTER_COUNT];

struct worker_conf {
	bool idle_sleep; // false: spin
	uint32_t idle_max_us; // longest sleep
	int cpu; // to be pinned to; -1: wherever the scheduler likes
};

struct worker {
	_Alignas(64) unsigned index;
	struct port *port; // fixed
	struct shard *shard; // fixed
	struct worker_conf conf; // fixed
	pthread_t thread;
	bool running; // control: rw
	_Atomic bool stop; // control: wo, worker: ro
	_Atomic int ready; // worker: wo, control: ro. 1: runs; negative: errno of its start
	_Alignas(64) uint64_t counters[WORKER_COUNTER_COUNT]; // worker: rw, control: ro
	uint64_t idle; // polls without work so far
	uint64_t nap_us; // length of the next sleep
	uint16_t next_rxq;
	struct step step;
	struct rte_mbuf *out[2][STEP_TX]; // by enum frame_class
};

// The clock of everything: CLOCK_MONOTONIC, by the vDSO.
uint64_t worker_now_ns(void);

// Starts the thread and waits until it runs. 0 or a negative errno.
int worker_start(struct worker *w, unsigned index, struct port *port, struct shard *shard,
	const struct worker_conf *conf);
void worker_stop(struct worker *w); // waits for its end; of a worker that never started: nothing

// ---- Without a thread, for whoever runs the loop himself (tripod-bench) ----

void worker_init(struct worker *w, unsigned index, struct port *port, struct shard *shard,
	const struct worker_conf *conf);
void worker_release(struct worker *w); // gives its stock of empty frames back
// One turn of the loop, but for the sleep: receives a burst, steps the shard, sends. Returns whether
// there was anything to do.
bool worker_step(struct worker *w);
// Its two halves, around shard_step().
void worker_begin(struct worker *w);
bool worker_end(struct worker *w);

// ---- Parts ----

// A frame of the core from a received mbuf; false: dropped and counted, the mbuf is free.
bool worker_frame(struct worker *w, struct rte_mbuf *m, struct frame *f);
// The mbuf of a frame that the core sends; NULL: dropped and counted.
struct rte_mbuf *worker_mbuf(struct worker *w, const struct frame *f);
// How long to sleep, at most until wake_ns: 0: not at all.
uint64_t worker_nap_ns(struct worker *w, uint64_t now_ns, bool busy);
