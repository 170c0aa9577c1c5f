// SPDX-License-Identifier: BSD-3-Clause
#include "core/parse.h"

uint16_t checksum_partial(const void *data, size_t len, uint16_t sum)
{
	const uint8_t *b = data;
	uint64_t s = sum;
	uint16_t word;
	for (; len >= 2; len -= 2, b += 2) {
		memcpy(&word, b, sizeof(word));
		s += word;
	}
	if (len == 1) {
		uint8_t last[2] = {*b, 0};
		memcpy(&word, last, sizeof(word));
		s += word;
	}
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}
