// SPDX-License-Identifier: BSD-3-Clause
// Connections of a capture, as something to do again: how many bytes went which way, in how many
// turns, and when they began. Addresses and payload are not kept.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct replay_conn {
	uint64_t start_ns; // from the first connection's start
	uint64_t bytes[2]; // of transport payload: by whoever opened, and by the other
	uint32_t turns; // times that the opener began to send: rounds of request and reply
	uint32_t packets[2]; // with payload
	uint8_t proto; // IPPROTO_TCP, IPPROTO_UDP; IPPROTO_ICMP: echo of either family
	bool v6;
};

struct replay;
// pcap, pcapng, either of them compressed with gzip. NULL: not readable, or nothing of use in it; err
// then holds a message that names the file.
struct replay *replay_load(const char *path, char *err, size_t err_size);
void replay_free(struct replay *r); // accepts NULL
unsigned replay_count(const struct replay *r);
const struct replay_conn *replay_get(const struct replay *r, unsigned i); // by start
