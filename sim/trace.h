// SPDX-License-Identifier: BSD-3-Clause
// The last things that happened, for whoever has to understand a failure; and one number that stands
// for all that happened, to tell whether two runs were the same.
#pragma once

#include <stdio.h>

#include "sim/peek.h"

enum trace_what {
	TRACE_RX, // a packet reaches a node; relayed: from another node
	TRACE_TX, // a node emits one towards the hosts
	TRACE_RELAY, // ... towards another node
	TRACE_LOST, // the switch or a link has lost one
	TRACE_NOTE, // text
	TRACE_DROP, // a node drops a packet: text says why. Which one, the time tells
};

struct trace_entry {
	uint64_t at_ns;
	uint8_t what; // enum trace_what
	uint8_t node; // 255: none
	bool relayed;
	struct peek packet;
	char note[160];
};

#define TRACE_ENTRIES 32768

struct trace {
	struct trace_entry *entry; // TRACE_ENTRIES of them, a ring
	uint64_t n; // entries so far
	uint64_t hash;
	FILE *live; // everything as it happens; NULL: no
};

void trace_init(struct trace *t, FILE *live);
void trace_free(struct trace *t);
void trace_packet(struct trace *t, uint64_t now_ns, enum trace_what what, unsigned node,
	bool relayed, const struct peek *packet);
void trace_note(struct trace *t, uint64_t now_ns, unsigned node, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static inline void trace_mix(struct trace *t, uint64_t value)
{
	t->hash = (t->hash ^ value) * 0x9fb21c651e98df25ull;
	t->hash ^= t->hash >> 29;
}
void trace_drop(struct trace *t, uint64_t now_ns, unsigned node, const char *why);
// Notes, and packets of any of the tuples (in either direction): the newest `max` of them.
void trace_print(const struct trace *t, const struct tripod_tuple *tuples, unsigned n_tuples,
	unsigned max, FILE *to);
