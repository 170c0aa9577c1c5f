// SPDX-License-Identifier: BSD-3-Clause
// Routers in front of the hosts whose links take no large packets: what hosts send over UDP and as echo is cut on
// its way to the rack, and put together behind it. So the hosts see whole datagrams or none.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tripod/tuple.h>

struct pieces; // datagrams that are being put together
struct pieces *pieces_new(void);
void pieces_free(struct pieces *s); // accepts NULL

// Into how many fragments of `most` bytes behind the IP header (a multiple of 8) the frame is cut; 1: it is not.
unsigned pieces_of(const uint8_t *frame, uint16_t len, unsigned most);
// Fragment number k of them; its length. out holds HOSTS_FRAME_SIZE bytes.
uint16_t pieces_cut(
	uint8_t *out, const uint8_t *frame, uint16_t len, unsigned most, uint32_t id, unsigned k);
// A frame for hosts: what they get of it, *len bytes; NULL: nothing yet.
const uint8_t *pieces_join(struct pieces *s, const uint8_t *frame, uint16_t *len);
