// SPDX-License-Identifier: BSD-3-Clause
// For tests: items of messages, drawn at random.
#pragma once

#include "core/hpsms/wire.h"
#include "core/rng.h"

extern uint8_t wire_random_nf[WIRE_NF_MAX]; // NF state of the record that was drawn last

struct tripod_tuple wire_random_tuple(struct rng *r, bool v6);
// parts 7: a whole record; 1 to 3: an update; 0: a tombstone.
struct wire_record wire_random_record(struct rng *r, bool v6, uint8_t parts, uint16_t nf_size);
// An item of KIND; parts: of a copy, at most.
struct wire_kind wire_random_kind(struct rng *r, enum wire_kind_op op, unsigned parts);
