// SPDX-License-Identifier: BSD-3-Clause
// What a drain waits for, in a line, out of the answer to "drain" or "status".
#pragma once

#include <jansson.h>
#include <stddef.h>

void progress_line(const json_t *answer, char *line, size_t size);
