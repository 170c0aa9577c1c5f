// SPDX-License-Identifier: BSD-3-Clause
#include "stream.h"

#include <string.h>

uint64_t stream_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

uint64_t stream_answer(uint64_t seed)
{
	return stream_mix(~seed);
}

// Eight bytes at a time: byte i of word w is bits 8i.. of mix(mix(seed) + w).
void stream_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t len)
{
	uint64_t base = stream_mix(seed);
	size_t done = 0;
	while (done < len) {
		uint64_t word = stream_mix(base + (offset + done) / 8);
		size_t skip = (offset + done) % 8;
		size_t n = 8 - skip < len - done ? 8 - skip : len - done;
		word >>= 8 * skip;
		memcpy(out + done, &word, n);
		done += n;
	}
}

size_t stream_match(uint64_t seed, uint64_t offset, const uint8_t *data, size_t len)
{
	uint8_t expected[1024];
	size_t done = 0;
	while (done < len) {
		size_t n = len - done < sizeof(expected) ? len - done : sizeof(expected);
		stream_fill(seed, offset + done, expected, n);
		if (memcmp(expected, data + done, n) != 0) {
			size_t i = 0;
			while (data[done + i] == expected[i])
				i++;
			return done + i;
		}
		done += n;
	}
	return done;
}
