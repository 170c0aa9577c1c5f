// SPDX-License-Identifier: BSD-3-Clause
// What must always be true of a worker's tables, however hostile the traffic was: index, records,
// wheel, and the counts of unanswered connections and of waiting packets agree with each other.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct shard;

// false, with the first thing that is wrong in why.
bool tables_check(const struct shard *s, char *why, size_t size);
