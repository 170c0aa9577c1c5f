// SPDX-License-Identifier: BSD-3-Clause
// The fuzz target of the parser, also driven by a seeded generator in the unit tests. Test-only code.
#pragma once

#include <stddef.h>
#include <stdint.h>

// The bytes are a frame. Parses it in every way there is, on copies of exactly its size, rewrites and
// translates what parsed, and aborts where a promise is broken. Returns 0.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// What the frame is on the outside VLAN, its IPv4 header's checksum taken for good: a parse_kind or a
// counter.
int parse_fuzz_result(const uint8_t *data, size_t size);
