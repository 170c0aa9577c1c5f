// SPDX-License-Identifier: BSD-3-Clause
// How many bytes connections carry: a distribution, from a file or built in.
//
// A file has one point per line, "value cumulative_probability", both ascending, the last probability
// 1 (or 100, for percent). A comment (#) with the word "step" says that values are drawn as they
// stand; else they are interpolated between the points. Only integers are used when drawing, so one
// seed gives the same sizes everywhere.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/rng.h"

struct sizes;

// NULL: the file is not readable or not right; err then holds a message that names file and line.
struct sizes *sizes_load(const char *path, char *err, size_t err_size);
void sizes_free(struct sizes *s); // accepts NULL

// A number of bytes, at least 1. NULL draws from the built-in mix: many small exchanges, few large.
uint64_t sizes_draw(const struct sizes *s, struct rng *r);
