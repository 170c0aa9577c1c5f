// SPDX-License-Identifier: BSD-3-Clause
// Integers as they stand in messages: big-endian. For the files that encode and decode them alone;
// any thread. The caller has checked the room.
#pragma once

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
