// SPDX-License-Identifier: BSD-3-Clause
// The cryptography of control messages: session keys, tags, and windows against replay.
//
// Pure functions over what the caller owns; any thread. core/hpsms/session.c says which key and which
// window belong to a message; docs/PROTOCOL.md describes both.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AUTH_KEY_SIZE 32 // bytes
#define AUTH_KEYS_MAX 4 // cluster keys at one time
#define AUTH_ID_OPEN 0 // id of the key that everybody can know
#define AUTH_COUNTER_MAX ((1ull << 56) - 1)

// The cluster's keys: key[0] seals what is sent, each opens what is received. Ids are unique, and 1 at
// least but for the open one.
struct auth_keys {
	unsigned n;
	struct auth_key {
		uint8_t id;
		uint8_t key[AUTH_KEY_SIZE];
	} key[AUTH_KEYS_MAX];
};
// Without authentication: one key, made of the hash of the rack's name. It keeps racks apart, and
// nobody out.
void auth_keys_open(struct auth_keys *keys, uint64_t cluster);
int auth_keys_find(const struct auth_keys *keys, uint8_t id); // place, or -1

// Erases, also what a compiler thinks that nobody reads again.
void auth_wipe(void *at, size_t size);

// From whom to whom a session key seals. to_boot 0 and to WIRE_ANY: what goes to every node.
struct auth_ends {
	uint64_t cluster;
	uint8_t from, to;
	uint64_t from_boot, to_boot;
};
void auth_derive(
	uint8_t out[AUTH_KEY_SIZE], const uint8_t key[AUTH_KEY_SIZE], const struct auth_ends *ends);

// The tag of a whole message, len bytes and the tag behind them. Its header must name a counter that
// this session key has never seen with the same workers, or the key is as good as published.
void auth_seal(const uint8_t session[AUTH_KEY_SIZE], uint8_t *message, size_t len);
// len: bytes in front of the tag. Takes the same time wherever the tags differ.
bool auth_opens(const uint8_t session[AUTH_KEY_SIZE], const uint8_t *message, size_t len);

// Which counters of a stream have been seen: each is taken once, in any order within the window.
#define AUTH_WINDOW 960 // counters below the highest that may still come
struct auth_window {
	uint64_t top; // highest taken
	uint64_t bits[AUTH_WINDOW / 64 +
		      1]; // of counter c: bit c % 64 of word c / 64, round and round
};
void auth_window_reset(struct auth_window *w, uint64_t floor); // all up to floor count as seen
bool auth_window_take(struct auth_window *w, uint64_t counter); // false: seen, or too far behind
