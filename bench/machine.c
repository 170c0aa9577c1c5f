// SPDX-License-Identifier: BSD-3-Clause
#include "bench/machine.h"

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define LARGE_PAGE ((size_t)2 << 20)

// The share of a mapping that lies on transparent large pages. The kernel joins neighbours, so it is
// that of all of them.
static double large_share(const void *base)
{
	uintptr_t from, to;
	size_t kib;
	double share = 0;
	bool here = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			here = (uintptr_t)base >= from && (uintptr_t)base < to;
			if (here)
				share = 1024.0 / (double)(to - from);
		} else if (here && sscanf(line, "AnonHugePages: %zu kB", &kib) == 1) {
			share *= (double)kib;
			break;
		}
	}
	fclose(f);
	return share;
}

struct machine_memory machine_map(size_t size, bool large)
{
	struct machine_memory m = {.size = (size + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1)};
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;

	if (large) {
		m.base = mmap(NULL, m.size, PROT_READ | PROT_WRITE,
			flags | MAP_HUGETLB | MAP_POPULATE, -1, 0);
		m.pages = MACHINE_PAGES_HUGETLB;
		m.large_share = 1;
		if (m.base != MAP_FAILED)
			return m;
	}
	m.base = mmap(NULL, m.size, PROT_READ | PROT_WRITE, flags, -1, 0);
	m.pages = MACHINE_PAGES_SMALL;
	m.large_share = 0;
	if (m.base == MAP_FAILED) {
		m.base = NULL;
		return m;
	}
	madvise(m.base, m.size, large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	memset(m.base, 0, m.size);
	if (large) {
		m.large_share = large_share(m.base);
		if (m.large_share > 0.5)
			m.pages = MACHINE_PAGES_MADVISE;
	}
	return m;
}

void machine_unmap(struct machine_memory *m)
{
	if (m->base != NULL)
		munmap(m->base, m->size);
	m->base = NULL;
}

const char *machine_pages_name(enum machine_pages p)
{
	static const char *const names[] = {
		[MACHINE_PAGES_HUGETLB] = "hugetlb",
		[MACHINE_PAGES_MADVISE] = "madvise",
		[MACHINE_PAGES_SMALL] = "4k",
	};
	return names[p];
}

const char *machine_cpu(char *out, size_t size)
{
	char line[512];
	FILE *f = fopen("/proc/cpuinfo", "re");

	snprintf(out, size, "unknown");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		const char *value = strchr(line, ':');
		if (strncmp(line, "model name", 10) != 0 || value == NULL)
			continue;
		snprintf(out, size, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
		break;
	}
	if (f != NULL)
		fclose(f);
	return out;
}

bool machine_pin(unsigned cpu)
{
	cpu_set_t set;

	if (cpu >= CPU_SETSIZE)
		return false;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0;
}

long machine_preempted(void)
{
	struct rusage u;

	return getrusage(RUSAGE_THREAD, &u) == 0 ? u.ru_nivcsw : 0;
}
