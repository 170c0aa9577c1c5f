// SPDX-License-Identifier: BSD-3-Clause
// What the figures of a bench depend on beside the program: the CPU and the pages of its memory.
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum machine_pages {
	MACHINE_PAGES_HUGETLB, // reserved large pages
	MACHINE_PAGES_MADVISE, // transparent large pages, asked for and given
	MACHINE_PAGES_SMALL,
};

struct machine_memory {
	void *base; // zeroed, 64-byte aligned; NULL: none
	size_t size;
	enum machine_pages pages;
	double large_share; // of the bytes, 0 to 1, on large pages
};

// Maps size bytes, all of them present, on large pages when that is wanted and can be.
struct machine_memory machine_map(size_t size, bool large);
void machine_unmap(struct machine_memory *m);
const char *machine_pages_name(enum machine_pages p); // "hugetlb", "madvise", "4k"

// "AMD EPYC 9354"; "unknown".
const char *machine_cpu(char *out, size_t size);
// false: this process may not run there.
bool machine_pin(unsigned cpu);
// Times that the kernel took the CPU away from this thread.
long machine_preempted(void);
