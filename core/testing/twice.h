// SPDX-License-Identifier: BSD-3-Clause
// Ports that are opened twice, on nodes of which one does not know of the other: for tests of which life goes on.
#pragma once

#include "core/testing/flows.h"
#include "core/testing/forge.h"
#include "core/testing/settled.h"

#define TWICE_FIN 5000000u // where a former life ends

extern bool twice_logs_lost; // twice_lose_logs() loses them

// Connection n of forge.h as a flow, whose packets come to node 0.
struct flow twice_flow(struct rack *r, unsigned n);
// A record of connection n whose initiator has sent its last byte.
struct wire_record twice_closing(struct rack *r, unsigned n);
// Of nodes 0 to 2 the switch chooses this one.
void twice_only(struct rack *r, unsigned node);
bool twice_lose_logs(void *ctx, unsigned from, const struct frame *f); // a rack_tap_fn
