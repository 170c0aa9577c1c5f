// SPDX-License-Identifier: BSD-3-Clause
#include "core/counters.h"

const struct counter_text counter_texts[COUNTERS] = {
#define X(name, help) [C_##name] = {#name, help},
	TRIPOD_COUNTERS(X)
#undef X
};
