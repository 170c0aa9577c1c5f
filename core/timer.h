// SPDX-License-Identifier: BSD-3-Clause
// Timers of network functions: one per connection and NF, fixed in number.
//
// Thread: the owning worker. Resolution is one tick (1.05 ms); a jump of the clock loses none.
#pragma once

#include "core/arena.h"
#include "core/store.h"

#define TIMER_SLOTS 1024 // of the wheel, one tick each; a power of two
#define TIMER_HASH 1024
#define TIMER_TICKS_MAX (1u << 30) // ahead: 13 days

struct timer {
	uint64_t incarnation;
	uint32_t conn;
	tick_t at;
	uint32_t next, prev; // wheel slot, or free list
	uint32_t chain; // hash list
	uint8_t nf;
};

struct timers {
	struct timer *t; // 1..capacity
	uint32_t *slot, *hash;
	uint32_t capacity, free, used;
	tick_t now;
};

void timers_init(struct timers *ts, struct arena *a, uint32_t capacity, tick_t now);
// Sets or moves; false: all in use.
bool timers_set(struct timers *ts, uint32_t conn, uint64_t incarnation, unsigned nf, tick_t at);
void timers_raised(
	struct timers *ts, uint32_t conn, unsigned nf, uint64_t incarnation); // it is this one now
void timers_cancel(struct timers *ts, uint32_t conn, unsigned nf);
// A due timer, taken out: true and *out filled. Call until false.
bool timers_due(struct timers *ts, tick_t now, struct timer *out);
