// SPDX-License-Identifier: BSD-3-Clause
// The like of the rules for a router without OpenFlow: the configuration of FRR, and the addresses of
// the interfaces that it needs. Pure but for the file that it is printed to.
#pragma once

#include <stdio.h>

#include "switch/rack.h"

void frr_print(const struct rack *conf, const struct switch_rack *rack, FILE *f);
