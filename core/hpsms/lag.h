// SPDX-License-Identifier: BSD-3-Clause
// How long changes take until a peer has acknowledged them: counts by size, four classes to a power of
// two, from 1 us to 17 s. Old counts fade, so that a percentile tells of the last thousands.
//
// Thread: the worker adds; any thread may read, and may then miss what is being added.
#pragma once

#include <stdint.h>

#define LAG_CLASSES 96
#define LAG_SHIFT 10 // what is shorter than 2^10 ns is of the first class
#define LAG_FADE 16384 // counts after which all are halved

struct lag {
	uint32_t n;
	uint32_t of[LAG_CLASSES];
};

static inline unsigned lag_class(uint64_t ns)
{
	if (ns < 1ull << LAG_SHIFT)
		return 0;
	unsigned msb = 63 - (unsigned)__builtin_clzll(ns);
	unsigned at = (msb - LAG_SHIFT) * 4 + (unsigned)(ns >> (msb - 2) & 3);
	return at < LAG_CLASSES ? at : LAG_CLASSES - 1;
}

// The end of a class: all in it are shorter.
static inline uint64_t lag_end_ns(unsigned class)
{
	return (5ull + (class & 3)) << (LAG_SHIFT - 2 + class / 4);
}

static inline void lag_add(struct lag *l, uint64_t ns)
{
	l->of[lag_class(ns)]++;
	if (++l->n < LAG_FADE)
		return;
	l->n = 0;
	for (unsigned i = 0; i < LAG_CLASSES; i++) {
		l->of[i] /= 2;
		l->n += l->of[i];
	}
}

// The time that `percent` of them do not exceed, 0 when there are none.
static inline uint64_t lag_percentile_ns(const struct lag *l, unsigned percent)
{
	uint64_t n = 0, seen = 0;

	for (unsigned i = 0; i < LAG_CLASSES; i++)
		n += l->of[i];
	for (unsigned i = 0; i < LAG_CLASSES; i++) {
		seen += l->of[i];
		if (n > 0 && seen * 100 >= n * percent)
			return lag_end_ns(i);
	}
	return 0;
}
