// SPDX-License-Identifier: BSD-3-Clause
#include "core/toeplitz.h"

#define K16 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a
const uint8_t TOEPLITZ_KEY[40] = {K16, K16, K16, K16, K16};

// HASH[b] is the hash, in 16 bits, of byte b in the first place of a word: each bit set adds (XOR)
// the 16 bits of the key that start at its position, which is the word 0x6d5a rotated. The second
// place is 8 bits further on, so the same table serves, rotated by 8.
#define ROTATE(n) ((uint16_t)(0x6d5a << (n) | 0x6d5a >> (16 - (n))))
#define BIT(b, n) (((b) & (0x80 >> (n))) ? ROTATE(n) : 0)
#define H1(b)                                                                                      \
	((uint16_t)(BIT(b, 0) ^ BIT(b, 1) ^ BIT(b, 2) ^ BIT(b, 3) ^ BIT(b, 4) ^ BIT(b, 5) ^        \
		    BIT(b, 6) ^ BIT(b, 7)))
#define H4(b) H1(b), H1((b) + 1), H1((b) + 2), H1((b) + 3)
#define H16(b) H4(b), H4((b) + 4), H4((b) + 8), H4((b) + 12)
#define H64(b) H16(b), H16((b) + 16), H16((b) + 32), H16((b) + 48)
static const uint16_t HASH[256] = {H64(0), H64(64), H64(128), H64(192)};

uint32_t toeplitz_plain(const uint8_t *key, const uint8_t *input, size_t len)
{
	uint32_t hash = 0;
	uint32_t window =
		(uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
	for (size_t i = 0; i < len; i++) {
		for (int bit = 7; bit >= 0; bit--) {
			if (input[i] >> bit & 1)
				hash ^= window;
			window = window << 1 | (key[i + 4] >> bit & 1);
		}
	}
	return hash;
}

// The prefixes of two IPv4-mapped addresses are equal, so in the XOR they vanish: no need to ask for
// the family. Both addresses of a tuple are of one family.
uint32_t toeplitz_tuple(const struct tripod_tuple *t)
{
	uint64_t src[2], dst[2];
	memcpy(src, t->src.b, sizeof(src));
	memcpy(dst, t->dst.b, sizeof(dst));
	uint64_t x = src[0] ^ src[1] ^ dst[0] ^ dst[1];
	x ^= x >> 32;
	x ^= x >> 16;
	uint16_t word = (uint16_t)(x ^ t->sport ^ t->dport); // as the bytes lie in memory
	uint8_t byte[2];
	memcpy(byte, &word, sizeof(byte));
	uint32_t hash = HASH[byte[0]] ^ (uint16_t)(HASH[byte[1]] << 8 | HASH[byte[1]] >> 8);
	return hash << 16 | hash;
}
