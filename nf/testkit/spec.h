// SPDX-License-Identifier: BSD-3-Clause
// Packets as text, for the test kit alone.
#pragma once

#include <tripod/packet.h>

#define SPEC_FRAME_MAX 2048

// Builds the frame that `text` describes (see testkit_send()) in buf[SPEC_FRAME_MAX], and parses
// it.
void spec_packet(struct tripod_packet *p, uint8_t *buf, const char *text);
// "tcp A > B syn seq=1 ack=0 len=0"
void spec_format(const struct tripod_packet *p, char *buf, size_t size);
// Prints the message and aborts.
void spec_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
