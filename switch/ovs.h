// SPDX-License-Identifier: BSD-3-Clause
// The back end for Open vSwitch: ovs-ofctl, run as a program. Which switch it speaks to can be said by
// OVS_RUNDIR, as to itself.
#pragma once

#include "switch/rules.h"

#define OVS_ERROR_MAX 1024

// NULL, or why Open vSwitch cannot do this, and what to use instead.
const char *ovs_refuses(const struct switch_rack *rack);
// What the bridge has. 0, or -1 with the reason in err. *out is to be freed either way.
int ovs_read(const char *bridge, struct rules *out, char err[OVS_ERROR_MAX]);
// Carries a bundle out: all of it, or nothing.
int ovs_bundle(const char *bridge, const char *bundle, char err[OVS_ERROR_MAX]);
// Deletes what rules_make() makes, and nothing else.
int ovs_remove(const char *bridge, char err[OVS_ERROR_MAX]);
