// SPDX-License-Identifier: BSD-3-Clause
// Durations collected, and their percentiles.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct tally {
	uint64_t *value_ns;
	size_t n, capacity;
};

// False: out of memory; the value is not kept.
_Bool tally_add(struct tally *t, uint64_t value_ns);
// The smallest value that is not exceeded by percent of the values (nearest rank); 0 if there are
// none. Sorts the values.
uint64_t tally_percentile_ns(struct tally *t, unsigned percent);
void tally_free(struct tally *t);
