// SPDX-License-Identifier: BSD-3-Clause
// The one text of a subtree: equal for two files exactly when they configure the same.
#pragma once

#include <tripod/conf.h>

// Compact JSON, keys sorted, lists in their order. After conf_check() standard values are part of
// it, and addresses, prefixes, MACs, ports, numbers and booleans have one spelling. It is a file that
// conf_load_text() reads as the same. The caller
// frees it with free().
char *conf_canonical(const struct tripod_conf *c);
