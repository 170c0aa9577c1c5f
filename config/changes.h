// SPDX-License-Identifier: BSD-3-Clause
// What differs between two configurations.
#pragma once

#include <tripod/conf.h>

// Calls fn with the path of each difference ("limits.connections", "rack.nodes"), outermost first where
// one of the two has nothing there, in the order of `a`. Lists differ as wholes. Both trees have passed
// conf_check(), so that what was left out stands there as its standard value.
void conf_changes(const struct tripod_conf *a, const struct tripod_conf *b,
	void (*fn)(void *ctx, const char *path), void *ctx);
