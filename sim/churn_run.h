// SPDX-License-Identifier: BSD-3-Clause
// How many connections need PullReplica when a node fails: where copies are in a rack that has run for a
// while, against where the switch would send the packets (the paper's Fig. 18).
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/ecmp.h"

#define CHURN_RUNS_MAX 16

struct churn_run {
	uint64_t seed;
	unsigned k, n_nodes, nodes[CHURN_RUNS_MAX];
	enum ecmp_model model;
	FILE *progress; // a line for each rack that is done; NULL: none
};

// {"k", "switch", "racks": [{"nodes", "directions", "placement", "connections", "copies",
// "moved", "pulled", "pulls_at_a_death"}...]}
json_t *churn_run(const struct churn_run *f);
void churn_run_print(const json_t *report, FILE *to);
