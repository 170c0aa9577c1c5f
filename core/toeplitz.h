// SPDX-License-Identifier: BSD-3-Clause
// The symmetric Toeplitz hash: what an RSS NIC computes with the key 0x6d5a repeated (Woo and Park).
//
// The key has a period of 16 bits, so the hash of an input is the hash of the XOR of its 16-bit
// words. That makes it cheap, equal for both directions, and able to take only 2^16 values: good
// for choosing a worker, useless for a table, and no defence against anybody.
#pragma once

#include <tripod/tuple.h>

extern const uint8_t TOEPLITZ_KEY[40];

// The Toeplitz hash of any input and key, by the definition; key must be len + 4 bytes or longer.
uint32_t toeplitz_plain(const uint8_t *key, const uint8_t *input, size_t len);

// With TOEPLITZ_KEY, over src, dst, sport, dport as an RSS NIC feeds them (4 or 16 bytes an address).
uint32_t toeplitz_tuple(const struct tripod_tuple *t);

// Which of `workers` handles a hash: the same function as the RSS redirection table that the daemon
// programs (128 entries, round robin over workers).
static inline unsigned toeplitz_worker(uint32_t hash, unsigned workers)
{
	return workers == 1 ? 0 : (hash & 127) % workers;
}
