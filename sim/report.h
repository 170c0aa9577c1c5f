// SPDX-License-Identifier: BSD-3-Clause
// What a run, or many, have come to, as one JSON object: numbers add up (of some
// the largest is told), violations line up.
#pragma once

#include <jansson.h>
#include <stdio.h>

struct world;

// fixed: the options of the command line, for the command that repeats a violation ("" for none).
json_t *report_of(const struct world *w, const char *fixed);
void report_add(json_t *sum, const json_t *one); // numbers, the largest of some, and violations
json_t *report_empty(void);
void report_finish(json_t *sum); // what is no sum: ratios
// For people. Traces of violations stand in the objects, and are printed with them.
void report_print(const json_t *sum, FILE *to);
// Without what is for people only.
void report_strip(json_t *sum);
