// SPDX-License-Identifier: BSD-3-Clause
// Tuples and records.
#include "core/hpsms/wire.h"

#include <errno.h>

#include "core/hpsms/wire_bytes.h"
#include "core/node.h"

// First byte of a tuple; bits 0..3 are the kind.
#define TUPLE_KIND 0x0f
#define TUPLE_DIRECTION 0x10
#define TUPLE_V6 0x20
#define TUPLE_ZONE 0x40

#define RECORD_FLAGS                                                                               \
	(WIRE_RECORD_ANSWER | WIRE_RECORD_FINAL | WIRE_RECORD_ANSWERED | WIRE_RECORD_PINNED)
#define RECORD_HEAD 4
#define VERSION_SIZE 7
#define DIR_SIZE (VERSION_SIZE + 6)
#define SHARED_FIXED 18 // chain, holders, nf_size

// ---- Tuples ----

// Ports and addresses; their place and size are the same wherever a tuple stands.
static size_t ends_size(bool v6)
{
	return 4 + 2 * (v6 ? 16 : 4);
}

static uint8_t *put_ends(uint8_t *b, const struct tripod_tuple *t, bool v6)
{
	size_t skip = v6 ? 0 : sizeof(TRIPOD_V4_PREFIX), n = 16 - skip;
	memcpy(b, &t->sport, 2); // network order in both places
	memcpy(b + 2, &t->dport, 2);
	memcpy(b + 4, t->src.b + skip, n);
	memcpy(b + 4 + n, t->dst.b + skip, n);
	return b + 4 + 2 * n;
}

static void get_ends(const uint8_t *b, struct tripod_tuple *t, bool v6)
{
	size_t skip = v6 ? 0 : sizeof(TRIPOD_V4_PREFIX), n = 16 - skip;
	memcpy(&t->sport, b, 2);
	memcpy(&t->dport, b + 2, 2);
	memcpy(t->src.b, TRIPOD_V4_PREFIX, skip);
	memcpy(t->src.b + skip, b + 4, n);
	memcpy(t->dst.b, TRIPOD_V4_PREFIX, skip);
	memcpy(t->dst.b + skip, b + 4 + n, n);
}

// Both addresses are of the family that v6 says: one tuple has one form on the wire.
static bool tuple_family(const struct tripod_tuple *t, bool v6)
{
	return tripod_addr_is_v4(&t->src) == !v6 && tripod_addr_is_v4(&t->dst) == !v6;
}

static bool tuple_valid(const struct tripod_tuple *t)
{
	return t->kind == TRIPOD_KIND_CONNECTION && t->direction <= TRIPOD_OUTGOING &&
	       tuple_family(t, !tripod_addr_is_v4(&t->src));
}

static size_t tuple_size(bool v6, bool zone)
{
	return 2 + (zone ? 2 : 0) + ends_size(v6);
}

int wire_put_tuple(uint8_t *buf, size_t size, const struct tripod_tuple *t)
{
	if (!tuple_valid(t))
		return -EINVAL;
	bool v6 = !tripod_addr_is_v4(&t->src), zone = t->zone != 0;
	size_t n = tuple_size(v6, zone);
	if (size < n)
		return -ENOSPC;
	*buf++ = (uint8_t)(t->kind | (t->direction ? TUPLE_DIRECTION : 0) | (v6 ? TUPLE_V6 : 0) |
			   (zone ? TUPLE_ZONE : 0));
	*buf++ = t->proto;
	if (zone)
		buf = wire_put16(buf, t->zone);
	put_ends(buf, t, v6);
	return (int)n;
}

int wire_get_tuple(const uint8_t *buf, size_t len, struct tripod_tuple *t)
{
	if (len < 2 || (buf[0] & ~(TUPLE_KIND | TUPLE_DIRECTION | TUPLE_V6 | TUPLE_ZONE)) != 0)
		return -EINVAL;
	bool v6 = buf[0] & TUPLE_V6, zone = buf[0] & TUPLE_ZONE;
	size_t n = tuple_size(v6, zone);
	if (len < n)
		return -EINVAL;
	*t = (struct tripod_tuple){
		.kind = buf[0] & TUPLE_KIND,
		.direction = !!(buf[0] & TUPLE_DIRECTION),
		.proto = buf[1],
	};
	if (zone && (t->zone = wire_get16(buf + 2)) == 0)
		return -EINVAL;
	get_ends(buf + n - ends_size(v6), t, v6);
	return tuple_family(t, v6) && tuple_valid(t) ? (int)n : -EINVAL;
}

// ---- Records ----

static bool reversed_valid(const struct tripod_tuple *key, const struct tripod_tuple *r)
{
	return r->proto == key->proto && r->kind == key->kind && r->zone == key->zone &&
	       r->direction == !key->direction && tuple_family(r, !tripod_addr_is_v4(&key->src));
}

// All but the tuples.
static bool record_valid(const struct wire_record *r)
{
	if ((r->flags & ~RECORD_FLAGS) != 0 || r->parts >= 1 << PARTS)
		return false;
	if ((r->flags & WIRE_RECORD_FINAL) && !(r->flags & WIRE_RECORD_ANSWER))
		return false;
	if (r->op == WIRE_BURY)
		return r->parts == 0 && r->reason <= TRIPOD_TERMINATED;
	if (r->op != WIRE_PUT || r->parts == 0 || r->reason != 0)
		return false;
	for (unsigned p = 0; p < PARTS; p++)
		if ((r->parts & 1 << p) && r->version[p].writer >= NODES_MAX)
			return false;
	for (unsigned d = 0; d < 2; d++)
		if ((r->parts & 1 << d) &&
			((r->dir[d].tcp_flags & ~TCP_DIR_DURABLE) != 0 || r->dir[d].wscale > 14))
			return false;
	return !(r->parts & 1 << PART_SHARED) || (r->holders != 0 && r->nf_size <= WIRE_NF_MAX);
}

static uint8_t *put_version(uint8_t *b, const struct conn_version *v)
{
	b = wire_put32(wire_put16(b, v->epoch), v->version);
	*b++ = v->writer;
	return b;
}

static const uint8_t *get_version(const uint8_t *b, struct conn_version *v)
{
	v->epoch = wire_get16(b);
	v->version = wire_get32(b + 2);
	v->writer = b[6];
	return b + VERSION_SIZE;
}

int wire_put_record(uint8_t *buf, size_t size, const struct wire_record *r)
{
	bool shared = r->parts & 1 << PART_SHARED;
	if (!record_valid(r) || !tuple_valid(&r->key))
		return -EINVAL;
	if (shared && (!reversed_valid(&r->key, &r->reversed) || (r->nf_size && r->nf == NULL)))
		return -EINVAL;
	bool v6 = !tripod_addr_is_v4(&r->key.src);
	size_t n = RECORD_HEAD + tuple_size(v6, r->key.zone != 0) + 8;
	n += DIR_SIZE * (size_t)__builtin_popcount(r->parts & 3);
	if (shared)
		n += VERSION_SIZE + ends_size(v6) + SHARED_FIXED + r->nf_size;
	if (size < n)
		return -ENOSPC;

	uint8_t *b = buf;
	*b++ = r->op;
	*b++ = r->flags;
	*b++ = r->parts;
	*b++ = r->reason;
	b += wire_put_tuple(b, size - RECORD_HEAD, &r->key);
	b = wire_put64(b, r->incarnation);
	for (unsigned d = 0; d < 2; d++) {
		if (!(r->parts & 1 << d))
			continue;
		b = put_version(b, &r->version[d]);
		*b++ = r->dir[d].tcp_flags;
		*b++ = r->dir[d].wscale;
		b = wire_put32(b, r->dir[d].age_ms);
	}
	if (shared) {
		b = put_ends(put_version(b, &r->version[PART_SHARED]), &r->reversed, v6);
		b = wire_put16(wire_put64(wire_put64(b, r->chain), r->holders), r->nf_size);
		if (r->nf_size)
			memcpy(b, r->nf, r->nf_size);
	}
	return (int)n;
}

// The shared part at b, with len bytes left: bytes or -EINVAL.
static int get_shared(const uint8_t *b, size_t len, struct wire_record *r)
{
	bool v6 = !tripod_addr_is_v4(&r->key.src);
	size_t n = VERSION_SIZE + ends_size(v6) + SHARED_FIXED;
	if (len < n)
		return -EINVAL;
	b = get_version(b, &r->version[PART_SHARED]);
	r->reversed = r->key;
	r->reversed.direction = !r->key.direction;
	get_ends(b, &r->reversed, v6);
	b += ends_size(v6);
	r->chain = wire_get64(b);
	r->holders = wire_get64(b + 8);
	r->nf_size = wire_get16(b + 16);
	if (len - n < r->nf_size || !reversed_valid(&r->key, &r->reversed))
		return -EINVAL;
	r->nf = r->nf_size ? b + SHARED_FIXED : NULL;
	return (int)n + r->nf_size;
}

int wire_get_record(const uint8_t *buf, size_t len, struct wire_record *r)
{
	if (len < RECORD_HEAD)
		return -EINVAL;
	*r = (struct wire_record){.op = buf[0], .flags = buf[1], .parts = buf[2], .reason = buf[3]};
	size_t at = RECORD_HEAD;
	int n = wire_get_tuple(buf + at, len - at, &r->key);
	if (n < 0 || len - at - (size_t)n < 8)
		return -EINVAL;
	at += (size_t)n;
	r->incarnation = wire_get64(buf + at);
	at += 8;
	for (unsigned d = 0; d < 2; d++) {
		if (!(r->parts & 1 << d))
			continue;
		if (len - at < DIR_SIZE)
			return -EINVAL;
		const uint8_t *b = get_version(buf + at, &r->version[d]);
		r->dir[d].tcp_flags = b[0];
		r->dir[d].wscale = b[1];
		r->dir[d].age_ms = wire_get32(b + 2);
		at += DIR_SIZE;
	}
	if (r->parts & 1 << PART_SHARED) {
		n = get_shared(buf + at, len - at, r);
		if (n < 0)
			return -EINVAL;
		at += (size_t)n;
	}
	return record_valid(r) ? (int)at : -EINVAL;
}
