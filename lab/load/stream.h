// SPDX-License-Identifier: BSD-3-Clause
// A stream of bytes that a seed determines: both ends of a connection know every byte of it, so a
// byte that is wrong, lost, doubled or another connection's is seen where it arrives.
#pragma once

#include <stddef.h>
#include <stdint.h>

// The bytes [offset, offset + len) of the stream.
void stream_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t len);
// How many bytes at the start of data are those of the stream from offset on: len if all are.
size_t stream_match(uint64_t seed, uint64_t offset, const uint8_t *data, size_t len);
// The seed of what the server sends on a connection whose client sends the stream of seed.
uint64_t stream_answer(uint64_t seed);
// A well mixed function of x (splitmix64's).
uint64_t stream_mix(uint64_t x);
