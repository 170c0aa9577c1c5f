// SPDX-License-Identifier: BSD-3-Clause
// Who has copies of a connection, and what each of them knows.
//
// The set of holders is a mask of nodes. What is known of each is kept by its rank among them, since
// there are few: three marks take six bytes and not twenty-four. Whoever joins or leaves moves the
// marks of those behind it, so the mask is changed here and nowhere else.
//
// Thread: the worker that owns the record. Pure functions.
#pragma once

#include "core/store.h"

static inline unsigned holders_rank(const struct conn_repl *r, unsigned node)
{
	return (unsigned)__builtin_popcountll(r->holders & ((1ull << node) - 1));
}

static inline bool holder_is(const struct conn_repl *r, enum holder_mark m, unsigned node)
{
	return (r->holders >> node & 1) && (r->mark[m] >> holders_rank(r, node) & 1);
}

// Nodes among the holders that have the mark: bits.
static inline uint64_t holders_with(const struct conn_repl *r, enum holder_mark m)
{
	uint64_t nodes = 0, left = r->holders;

	for (unsigned mark = r->mark[m]; mark != 0; mark >>= 1, left &= left - 1) {
		if (mark & 1)
			nodes |= left & -left;
	}
	return nodes;
}

// The marks of those of `nodes` that are holders; others have none.
static inline unsigned holders_ranks(const struct conn_repl *r, uint64_t nodes)
{
	unsigned ranks = 0;

	for (nodes &= r->holders; nodes != 0; nodes &= nodes - 1)
		ranks |= 1u << holders_rank(r, (unsigned)__builtin_ctzll(nodes));
	return ranks;
}

static inline void holders_mark(struct conn_repl *r, enum holder_mark m, uint64_t nodes)
{
	r->mark[m] |= (uint16_t)holders_ranks(r, nodes);
}

static inline void holders_unmark(struct conn_repl *r, enum holder_mark m, uint64_t nodes)
{
	r->mark[m] &= (uint16_t)~holders_ranks(r, nodes);
}

// These alone have the mark.
static inline void holders_mark_only(struct conn_repl *r, enum holder_mark m, uint64_t nodes)
{
	r->mark[m] = (uint16_t)holders_ranks(r, nodes);
}

static inline bool holders_all(const struct conn_repl *r, enum holder_mark m)
{
	return r->mark[m] == (1u << __builtin_popcountll(r->holders)) - 1;
}

// Adds nodes without marks; those that have marks keep them. Returns those for which there is no
// place: their copies are not kept up to date, and the caller counts it.
static inline uint64_t holders_add(struct conn_repl *r, uint64_t nodes)
{
	for (nodes &= ~r->holders; nodes != 0; nodes &= nodes - 1) {
		if (__builtin_popcountll(r->holders) == HOLDERS_MAX)
			return nodes;
		unsigned node = (unsigned)__builtin_ctzll(nodes);
		unsigned below = (1u << holders_rank(r, node)) - 1;
		for (unsigned m = 0; m < HOLDER_MARKS; m++) {
			unsigned mark = r->mark[m];
			r->mark[m] = (uint16_t)((mark & below) | (mark & ~below) << 1);
		}
		r->holders_rw |= 1ull << node;
	}
	return 0;
}

static inline void holders_remove(struct conn_repl *r, uint64_t nodes)
{
	for (nodes &= r->holders; nodes != 0; nodes &= nodes - 1) {
		unsigned node = (unsigned)__builtin_ctzll(nodes);
		unsigned below = (1u << holders_rank(r, node)) - 1;
		for (unsigned m = 0; m < HOLDER_MARKS; m++) {
			unsigned mark = r->mark[m];
			r->mark[m] = (uint16_t)((mark & below) | (mark >> 1 & ~below));
		}
		r->holders_rw &= ~(1ull << node);
	}
}
