// SPDX-License-Identifier: BSD-3-Clause
// The boot counter: what consecutive starts of a node hand out (ports of NAT) comes from different
// halves, so each start must know whether it is an even or an odd one, whatever became of the last.
//
// Thread: the control thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Counts this start in dir/boot-<id>, on disk before it returns. dir is made when missing. chance:
// what to count from when nothing is known. Returns the half, 0 or 1; *problem is then set to what
// went wrong, or to "".
unsigned boot_half(const char *dir, unsigned id, uint64_t chance, char *problem, size_t size);
