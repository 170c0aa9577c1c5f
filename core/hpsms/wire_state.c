// SPDX-License-Identifier: BSD-3-Clause
// NF state on the wire. Most of it is zero, or an address or port that the record's tuples have
// already: a load balancer's backend is the source of the answers. Nothing here knows an NF: bytes are
// bytes, and each run of them is written in the shortest of a few ways, chosen by fixed rules.
#include <errno.h>

#include "core/hpsms/wire.h"

// The first byte of each piece.
#define ZEROS 0x00 // so many and one more bytes of zero
#define BYTES 0x40 // so many and one more bytes follow
#define RUN_MAX 64
#define ADDR 0x80 // the address of this number in the tuples: 16 bytes
#define PORT 0x84 // the port of this number in the tuples: 2 bytes
#define V4_PREFIX 0x88 // what an IPv4 address begins with in 16 bytes: 12 bytes

struct known {
	const uint8_t *addr[4];
	uint16_t port[4];
};

static struct known known_of(const struct tripod_tuple *key, const struct tripod_tuple *reversed)
{
	return (struct known){
		.addr = {key->src.b, key->dst.b, reversed->src.b, reversed->dst.b},
		.port = {key->sport, key->dport, reversed->sport, reversed->dport},
	};
}

// The address or prefix that begins at b, with n bytes left: its piece, or 0.
static uint8_t match_addr(const struct known *k, const uint8_t *b, size_t n)
{
	for (unsigned i = 0; i < 4 && n >= 16; i++)
		if (memcmp(b, k->addr[i], 16) == 0)
			return (uint8_t)(ADDR + i);
	return n >= 12 && memcmp(b, TRIPOD_V4_PREFIX, 12) == 0 ? V4_PREFIX : 0;
}

static uint8_t match_port(const struct known *k, const uint8_t *b, size_t n)
{
	uint16_t port;

	if (n < 2)
		return 0;
	memcpy(&port, b, 2);
	for (unsigned i = 0; i < 4 && port != 0; i++)
		if (port == k->port[i])
			return (uint8_t)(PORT + i);
	return 0;
}

static size_t piece_size(uint8_t piece)
{
	return piece < PORT ? 16 : piece < V4_PREFIX ? 2 : 12;
}

// Zeros at b, as far as no address begins among them.
static size_t zeros(const struct known *k, const uint8_t *b, size_t n)
{
	size_t i = 0;

	while (i < n && i < RUN_MAX && b[i] == 0 && (i == 0 || match_addr(k, b + i, n - i) == 0))
		i++;
	return i;
}

// Bytes from b on that no other piece says, one at least.
static size_t plain(const struct known *k, const uint8_t *b, size_t n)
{
	size_t i = 1;

	for (; i < n && i < RUN_MAX; i++) {
		bool two_zeros = b[i] == 0 && (i + 1 == n || b[i + 1] == 0);
		if (two_zeros || match_addr(k, b + i, n - i) || match_port(k, b + i, n - i))
			break;
	}
	return i;
}

int wire_put_state(uint8_t *buf, size_t size, const uint8_t *state, size_t n,
	const struct tripod_tuple *key, const struct tripod_tuple *reversed)
{
	struct known k = known_of(key, reversed);
	size_t used = 0, run;

	for (size_t at = 0; at < n; at += run) {
		const uint8_t *b = state + at;
		uint8_t piece = match_addr(&k, b, n - at);
		size_t bytes = 0; // that follow
		if (piece == 0)
			piece = match_port(&k, b, n - at);
		if (piece != 0) {
			run = piece_size(piece);
		} else if ((run = zeros(&k, b, n - at)) > 0) {
			piece = (uint8_t)(ZEROS + run - 1);
		} else {
			run = bytes = plain(&k, b, n - at);
			piece = (uint8_t)(BYTES + run - 1);
		}
		if (size - used < 1 + bytes)
			return -ENOSPC;
		buf[used++] = piece;
		memcpy(buf + used, b, bytes);
		used += bytes;
	}
	return (int)used;
}

// What a piece stands for, and NULL for zeros and for what no encoder writes (*run: 0).
static const uint8_t *piece_bytes(
	const struct known *k, uint8_t piece, const uint8_t *follow, size_t *run)
{
	*run = (piece & (RUN_MAX - 1)) + 1u;
	if (piece < BYTES)
		return NULL;
	if (piece < ADDR)
		return follow;
	*run = piece_size(piece);
	if (piece < PORT)
		return k->addr[piece - ADDR];
	if (piece < V4_PREFIX)
		return (const uint8_t *)&k->port[piece - PORT];
	if (piece == V4_PREFIX)
		return TRIPOD_V4_PREFIX;
	*run = 0;
	return NULL;
}

int wire_get_state(const uint8_t *buf, size_t len, uint8_t *state, size_t n,
	const struct tripod_tuple *key, const struct tripod_tuple *reversed)
{
	struct known k = known_of(key, reversed);
	uint8_t again[WIRE_NF_MAX + WIRE_NF_MAX / RUN_MAX + 1];
	size_t used = 0;

	for (size_t at = 0, run; at < n; at += run) {
		if (used == len)
			return -EINVAL;
		uint8_t piece = buf[used++];
		const uint8_t *from = piece_bytes(&k, piece, buf + used, &run);
		size_t follow = from == buf + used ? run : 0;
		if (run == 0 || run > n - at || len - used < follow)
			return -EINVAL;
		if (from != NULL)
			memcpy(state + at, from, run);
		else
			memset(state + at, 0, run);
		used += follow;
	}
	// One form: what an encoder would have written.
	int size = wire_put_state(again, sizeof(again), state, n, key, reversed);
	return size == (int)used && memcmp(again, buf, used) == 0 ? size : -EINVAL;
}
