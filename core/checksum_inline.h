// SPDX-License-Identifier: BSD-3-Clause
// The arithmetic behind every Internet checksum of the core: folding, and changes carried over
// incrementally (RFC 1071, RFC 1624). Sums are of 16-bit words as they lie in memory, so nothing is
// swapped. Pure functions, any thread.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

static inline uint32_t checksum_load32(const uint8_t *at)
{
	uint32_t v;
	memcpy(&v, at, sizeof(v));
	return v;
}

// What replacing n bytes (a multiple of 4, from an even offset) adds to the sum. Not folded.
static inline uint64_t checksum_change(const uint8_t *old, const uint8_t *new, size_t n)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i += 4)
		sum += (uint64_t)(uint32_t)~checksum_load32(old + i) + checksum_load32(new + i);
	return sum;
}

static inline uint64_t checksum_change16(uint16_t old, uint16_t new)
{
	return (uint64_t)(uint16_t)~old + new;
}

// Brings the checksum at `at` in step with a change (RFC 1624, equation 3).
static inline void checksum_apply(uint8_t *at, uint64_t change)
{
	uint16_t checksum;
	memcpy(&checksum, at, sizeof(checksum));
	checksum = (uint16_t)~checksum_fold((uint64_t)(uint16_t)~checksum + change);
	memcpy(at, &checksum, sizeof(checksum));
}

// The same for UDP, where zero in the packet means that there is none, and a zero result is sent as
// its other form.
static inline void checksum_apply_udp(uint8_t *at, uint64_t change)
{
	static const uint8_t ZERO[2] = {0, 0}, NOT_ZERO[2] = {0xff, 0xff};
	if (memcmp(at, ZERO, 2) == 0)
		return;
	checksum_apply(at, change);
	if (memcmp(at, ZERO, 2) == 0)
		memcpy(at, NOT_ZERO, 2);
}
