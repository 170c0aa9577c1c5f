// SPDX-License-Identifier: BSD-3-Clause
// Integers as they stand in messages: big-endian. For the files that encode and decode them alone;
// any thread. The caller has checked the room.
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline uint8_t *wire_put16(uint8_t *b, uint16_t v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
	return b + 2;
}

static inline uint8_t *wire_put32(uint8_t *b, uint32_t v)
{
	return wire_put16(wire_put16(b, (uint16_t)(v >> 16)), (uint16_t)v);
}

static inline uint8_t *wire_put64(uint8_t *b, uint64_t v)
{
	return wire_put32(wire_put32(b, (uint32_t)(v >> 32)), (uint32_t)v);
}

static inline uint16_t wire_get16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static inline uint32_t wire_get32(const uint8_t *b)
{
	return (uint32_t)wire_get16(b) << 16 | wire_get16(b + 2);
}

static inline uint64_t wire_get64(const uint8_t *b)
{
	return (uint64_t)wire_get32(b) << 32 | wire_get32(b + 4);
}

// Numbers that are mostly small: LEB128, seven bits a byte, the lowest first, and no more bytes than it
// takes: each value has one form.
#define WIRE_NUMBER_MAX 10 // bytes

static inline uint8_t *wire_put_number(uint8_t *b, uint64_t v)
{
	for (; v > 0x7f; v >>= 7)
		*b++ = (uint8_t)(v | 0x80);
	*b++ = (uint8_t)v;
	return b;
}

// Behind the number, or NULL: no number of at most `max` ends before `end`.
static inline const uint8_t *wire_get_number(
	const uint8_t *b, const uint8_t *end, uint64_t max, uint64_t *v)
{
	*v = 0;
	for (unsigned shift = 0; b != NULL && b < end && shift < 64; shift += 7) {
		uint8_t byte = *b++;
		uint64_t bits = (uint64_t)(byte & 0x7f) << shift;
		if (bits >> shift != (byte & 0x7f))
			return NULL; // more than 64 bits
		*v |= bits;
		if (byte & 0x80)
			continue;
		return (byte == 0 && shift > 0) || *v > max ? NULL : b;
	}
	return NULL;
}
