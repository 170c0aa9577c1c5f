// SPDX-License-Identifier: BSD-3-Clause
// All memory of a node, handed out once, at its creation, from one block that the caller gives.
//
// A first pass with base == NULL measures: arena_take() then returns NULL and only counts, so that
// one init function both sizes and builds.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct arena {
	uint8_t *base; // NULL while measuring; else zeroed by the caller, 64-byte aligned
	size_t used, size;
};

// Zeroed memory aligned to 64 bytes. Aborts when a built arena is too small: the measuring pass and
// the building pass disagree, which only a bug can cause.
static inline void *arena_take(struct arena *a, size_t size)
{
	size_t at = a->used;
	a->used += (size + 63) & ~(size_t)63;
	if (a->base == NULL)
		return NULL;
	if (a->used > a->size)
		abort();
	return a->base + at;
}
