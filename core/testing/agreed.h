// SPDX-License-Identifier: BSD-3-Clause
// Do the nodes of a rack know each other's index sets?
#pragma once

#include "core/shard.h"
#include "core/testing/rack.h"

// How many entries of `at` about `node` are wrong: too few or too many.
unsigned agreed_wrong(struct rack *r, unsigned at, unsigned node);
// Every node has every other's set, and knows that it has; or the test fails.
void agreed_sets(struct rack *r, unsigned nodes);
