// SPDX-License-Identifier: BSD-3-Clause
// The switch of a test rack: two-stage ECMP over the outside endpoint, or over the whole tuple, and its
// prediction groups.
#pragma once

#include "core/testing/rack.h"

#define RACK_PREDICTION_VLAN 256

// Where a packet goes that arrives from this side, while the ports of `ports` are up.
unsigned rack_ecmp(const struct rack_conf *conf, const struct tripod_tuple *t,
	enum tripod_direction from, uint64_t ports);
// ... on the VLAN of a prediction group, which does without the nodes of `without`, and the place that is
// written on it; -1: there is no such group.
int rack_ecmp_group(const struct rack_conf *conf, const struct tripod_tuple *t,
	enum tripod_direction from, unsigned group, uint64_t ports, uint64_t without,
	unsigned *place);
int rack_ecmp_next(const void *conf, const struct tripod_tuple *t, uint64_t ports); // a next_hop_fn
