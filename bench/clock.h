// SPDX-License-Identifier: BSD-3-Clause
// Time and cycles for measurements of short pieces of code. Any thread.
#pragma once

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

// Of a counter of constant rate; nanoseconds where there is none.
static inline uint64_t clock_cycles(void)
{
#if defined(__x86_64__)
	return __rdtsc();
#else
	return clock_ns();
#endif
}

// Takes 50 ms.
static inline double clock_cycles_per_ns(void)
{
	uint64_t t0 = clock_ns(), c0 = clock_cycles();

	while (clock_ns() - t0 < 50000000)
		;
	return (double)(clock_cycles() - c0) / (double)(clock_ns() - t0);
}
