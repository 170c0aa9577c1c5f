// SPDX-License-Identifier: BSD-3-Clause
// Fragments of datagrams: what a worker knows of those that have begun, and the later fragments that wait
// for the first. core/fragment.c says how they find each other.
//
// Thread: the owning worker.
#pragma once

#include <tripod/packet.h>

#include "core/hpsms/wire.h"

#define FRAGMENT_WAITS 256 // places for later fragments

struct fragment_entry {
	struct wire_fragment way;
	uint64_t hash;
	uint64_t until_ns; // 0: free
	uint32_t chain; // next of its hash list
};

struct fragment_wait {
	struct tripod_packet p; // buf == NULL: free
	uint64_t until_ns;
	bool ready; // its first fragment is known by now
};

struct fragments {
	struct fragment_entry *entries; // 1 to conf->fragments
	uint32_t *list; // first of each hash list, 0: none
	uint32_t mask;
	uint32_t newest; // entry; the one behind it is the oldest
	struct fragment_wait *waits;
	uint64_t wait_hash[FRAGMENT_WAITS]; // of what waits there
	uint32_t first_wait,
		next_wait; // numbers of the oldest and of the next, modulo FRAGMENT_WAITS
	unsigned ready;
	uint64_t tell_tokens_ns; // time from which the unspent budget of messages counts
	uint64_t relay_tokens_ns; // ... of relays
	struct {
		struct frame frame; // buf != NULL: open
		uint16_t used, count;
		uint8_t node, worker;
	} out; // the FRAGMENT being filled
};

struct ring_message;
struct shard;

void fragment_init(struct shard *s, struct arena *a);
// p, of direction dir of record i, is about to leave: others of its datagram follow.
void fragment_first(struct shard *s, const struct tripod_packet *p, uint32_t i, unsigned dir);
void fragment_later(struct shard *s, struct tripod_packet *p); // takes p
void fragment_ring(struct shard *s, const struct ring_message *m);
void fragment_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len);
void fragment_step(struct shard *s); // what waited for what this step has brought; messages
uint64_t fragment_tick(struct shard *s);
void *fragment_buffer(const struct shard *s, uint32_t place); // of what waits there, or NULL
