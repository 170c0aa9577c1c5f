// SPDX-License-Identifier: BSD-3-Clause
// What a node remembers from start to start. What consecutive lives hand out (ports of NAT) comes from
// different halves, so each start must know whether it is an even or an odd one, whatever became of the
// last; and when its half was last in use, since what that life has opened may live on elsewhere.
//
// Thread: the control thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BOOT_TOUCH_S 60 // how often a running node says that its half is in use

struct boot {
	uint64_t count;
	uint64_t used_s[2]; // wall clock; when each half was last in use, 0: never
	unsigned half; // of this start
	uint64_t clear_ms; // after so long, nothing is left that a former life has opened with it
};

// Counts this start in dir/boot-<id>, on disk before it returns. dir is made when missing. chance:
// what to count from when nothing is known. now_s: wall clock; life_s: how long what a life has opened
// may outlive it. *problem is then set to what went wrong, or to "".
void boot_begin(struct boot *b, const char *dir, unsigned id, uint64_t chance, uint64_t now_s,
	uint64_t life_s, char *problem, size_t size);
// Notes that the half is still in use. 0, or a negative errno.
int boot_touch(struct boot *b, const char *dir, unsigned id, uint64_t now_s);
