// SPDX-License-Identifier: BSD-3-Clause
// The rack on which most tests of replication begin: its nodes have heard each other.
#pragma once

#include "core/testing/rack.h"

// Three nodes of one worker, with one backup, and the seed 7, unless c says otherwise.
struct rack *settled_rack(struct rack_conf c);
