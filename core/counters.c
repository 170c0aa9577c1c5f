// SPDX-License-Identifier: BSD-3-Clause
#include "core/counters.h"

const char *const counter_names[COUNTERS] = {
#define X(name, help) #name,
	TRIPOD_COUNTERS(X)
#undef X
};

const char *const counter_helps[COUNTERS] = {
#define X(name, help) help,
	TRIPOD_COUNTERS(X)
#undef X
};
