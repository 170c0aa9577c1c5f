// SPDX-License-Identifier: BSD-3-Clause
// One run, or many in processes of their own.
#pragma once

#include "sim/options.h"
#include "sim/report.h"

#define SWEEP_FIXED_SIZE 1024 // of the options that repeat a seed, as text

struct sweep {
	uint64_t first, last;
	unsigned jobs;
	const struct overrides *fixed;
	const char *fixed_text; // as it stood on the command line
	bool progress; // on stderr
	unsigned stop_after; // seeds with violations; 0: never
};

struct sweep_watch {
	FILE *trace; // everything as it happens; NULL: no
	const char *key; // part of a key's text: its records are told of; NULL: none
};

// The report of one seed; watch may be NULL. hash: of the trace, if it is wanted.
json_t *sweep_one(uint64_t seed, const struct overrides *fixed, const char *fixed_text,
	const struct sweep_watch *watch, uint64_t *hash);
// The sum; a run that crashed or hung is a violation of its own.
json_t *sweep_run(const struct sweep *s);
