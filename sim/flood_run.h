// SPDX-License-Identifier: BSD-3-Clause
// What a flood costs: each kind at three rates, beside connections whose flows move, with a node killed in
// the middle.
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

struct flood_run {
	uint64_t seed;
	unsigned nodes;
	uint32_t per_s; // packets; the other rates are a tenth and a hundredth
	FILE *progress; // a line for each that is done; NULL: none
};

// {"floods": [...], "violations": [...]}
json_t *flood_run(const struct flood_run *f);
void flood_run_print(const json_t *report, FILE *to);
