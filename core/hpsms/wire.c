// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/wire.h"

#include <errno.h>

#include "core/hpsms/auth.h"
#include "core/node.h"

#define MAGIC 0x5450 // "TP"
#define HELLO_SIZE 24
#define GREET_SIZE (HELLO_SIZE + 3 * 8)
#define HELLO_FLAGS (WIRE_HELLO_READY | WIRE_HELLO_LEAVING)
#define AUTH_OFFSET 48 // key id and counter

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

static uint8_t *put16(uint8_t *b, uint16_t v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
	return b + 2;
}

static uint8_t *put32(uint8_t *b, uint32_t v)
{
	return put16(put16(b, (uint16_t)(v >> 16)), (uint16_t)v);
}

static uint8_t *put64(uint8_t *b, uint64_t v)
{
	return put32(put32(b, (uint32_t)(v >> 32)), (uint32_t)v);
}

static uint16_t get16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static uint32_t get32(const uint8_t *b)
{
	return (uint32_t)get16(b) << 16 | get16(b + 2);
}

static uint64_t get64(const uint8_t *b)
{
	return (uint64_t)get32(b) << 32 | get32(b + 4);
}

// ---- Header ----

static bool is_node(uint8_t id, bool any)
{
	return id < NODES_MAX || (any && id == WIRE_ANY);
}

static bool is_worker(uint8_t id, bool any)
{
	return id < WORKERS_MAX || (any && id == WIRE_ANY);
}

static bool header_valid(const struct wire_header *h)
{
	bool to_all = h->type == WIRE_HELLO || h->type == WIRE_PULL;
	if (h->length < WIRE_HEADER_SIZE + WIRE_TAG_SIZE || h->length > WIRE_MESSAGE_MAX ||
		h->boot == 0)
		return false;
	if (h->counter == 0 || h->counter > AUTH_COUNTER_MAX)
		return false;
	if (!is_node(h->from_node, false) || !is_worker(h->from_worker, false))
		return false;
	if (!is_node(h->to_node, to_all) || !is_worker(h->to_worker, h->type != WIRE_LOG))
		return false;
	switch (h->type) {
	case WIRE_HELLO:
		return h->to_node == WIRE_ANY && h->to_worker == 0 && h->count == 1 && h->seq == 0;
	case WIRE_GREET:
		return h->to_worker == 0 && h->count == 1 && h->seq == 0;
	case WIRE_LOG: // a bare acknowledgement is never acknowledged itself
		return (h->count == 0) == (h->seq == 0);
	case WIRE_PULL:
	case WIRE_NONE:
		return h->count > 0 && h->seq == 0;
	default:
		return false;
	}
}

int wire_put_header(uint8_t *buf, size_t size, const struct wire_header *h)
{
	if (!header_valid(h))
		return -EINVAL;
	if (size < WIRE_HEADER_SIZE)
		return -ENOSPC;
	uint8_t *b = put16(buf, MAGIC);
	*b++ = WIRE_VERSION;
	*b++ = h->type;
	b = put16(b, h->length);
	b = put16(b, h->count);
	*b++ = h->from_node;
	*b++ = h->from_worker;
	*b++ = h->to_node;
	*b++ = h->to_worker;
	b = put32(b, h->to_boot);
	b = put64(b, h->cluster);
	b = put64(b, h->boot);
	b = put32(b, h->seq);
	b = put32(b, h->ack);
	b = put64(b, h->ack_bits);
	put64(b, (uint64_t)h->key << 56 | h->counter);
	return WIRE_HEADER_SIZE;
}
_Static_assert(AUTH_OFFSET + 8 == WIRE_HEADER_SIZE, "key id and counter end the header");
_Static_assert(WIRE_AT_COUNTER == AUTH_OFFSET + 1, "the counter follows the key id");

int wire_get_header(const uint8_t *buf, size_t len, struct wire_header *h)
{
	if (len < WIRE_HEADER_SIZE || get16(buf) != MAGIC || buf[2] != WIRE_VERSION)
		return -EINVAL;
	*h = (struct wire_header){
		.type = buf[3],
		.length = get16(buf + 4),
		.count = get16(buf + 6),
		.from_node = buf[8],
		.from_worker = buf[9],
		.to_node = buf[10],
		.to_worker = buf[11],
		.to_boot = get32(buf + 12),
		.cluster = get64(buf + 16),
		.boot = get64(buf + 24),
		.seq = get32(buf + 32),
		.ack = get32(buf + 36),
		.ack_bits = get64(buf + 40),
		.key = buf[AUTH_OFFSET],
		.counter = get64(buf + AUTH_OFFSET) & AUTH_COUNTER_MAX,
	};
	if (h->length != len || !header_valid(h))
		return -EINVAL;
	return WIRE_HEADER_SIZE;
}

// ---- Hello ----

static bool hello_valid(const struct wire_hello *h, uint8_t flags)
{
	return h->workers >= 1 && h->workers <= WORKERS_MAX && (h->flags & ~flags) == 0 &&
	       (h->mac[0] & 1) == 0;
}

static uint8_t *put_hello(uint8_t *b, const struct wire_hello *h)
{
	*b++ = h->workers;
	*b++ = h->flags;
	memcpy(b, h->mac, sizeof(h->mac));
	return put64(put64(b + sizeof(h->mac), h->chain), h->live);
}

static void get_hello(const uint8_t *b, struct wire_hello *h)
{
	*h = (struct wire_hello){
		.workers = b[0],
		.flags = b[1],
		.chain = get64(b + 8),
		.live = get64(b + 16),
	};
	memcpy(h->mac, b + 2, sizeof(h->mac));
}

int wire_put_hello(uint8_t *buf, size_t size, const struct wire_hello *h)
{
	if (!hello_valid(h, HELLO_FLAGS))
		return -EINVAL;
	if (size < HELLO_SIZE)
		return -ENOSPC;
	put_hello(buf, h);
	return HELLO_SIZE;
}

int wire_get_hello(const uint8_t *buf, size_t len, struct wire_hello *h)
{
	if (len < HELLO_SIZE)
		return -EINVAL;
	get_hello(buf, h);
	return hello_valid(h, HELLO_FLAGS) ? HELLO_SIZE : -EINVAL;
}

static bool greet_valid(const struct wire_greet *g)
{
	return hello_valid(&g->hello, HELLO_FLAGS | WIRE_HELLO_WANTED) && g->challenge != 0 &&
	       g->floor < AUTH_COUNTER_MAX;
}

int wire_put_greet(uint8_t *buf, size_t size, const struct wire_greet *g)
{
	if (!greet_valid(g))
		return -EINVAL;
	if (size < GREET_SIZE)
		return -ENOSPC;
	put64(put64(put64(put_hello(buf, &g->hello), g->echo), g->challenge), g->floor);
	return GREET_SIZE;
}

int wire_get_greet(const uint8_t *buf, size_t len, struct wire_greet *g)
{
	if (len < GREET_SIZE)
		return -EINVAL;
	get_hello(buf, &g->hello);
	g->echo = get64(buf + HELLO_SIZE);
	g->challenge = get64(buf + HELLO_SIZE + 8);
	g->floor = get64(buf + HELLO_SIZE + 16);
	return greet_valid(g) ? GREET_SIZE : -EINVAL;
}

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
		buf = put16(buf, t->zone);
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
	if (zone && (t->zone = get16(buf + 2)) == 0)
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
	b = put32(put16(b, v->epoch), v->version);
	*b++ = v->writer;
	return b;
}

static const uint8_t *get_version(const uint8_t *b, struct conn_version *v)
{
	v->epoch = get16(b);
	v->version = get32(b + 2);
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
	b = put64(b, r->incarnation);
	for (unsigned d = 0; d < 2; d++) {
		if (!(r->parts & 1 << d))
			continue;
		b = put_version(b, &r->version[d]);
		*b++ = r->dir[d].tcp_flags;
		*b++ = r->dir[d].wscale;
		b = put32(b, r->dir[d].age_ms);
	}
	if (shared) {
		b = put_ends(put_version(b, &r->version[PART_SHARED]), &r->reversed, v6);
		b = put16(put64(put64(b, r->chain), r->holders), r->nf_size);
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
	r->chain = get64(b);
	r->holders = get64(b + 8);
	r->nf_size = get16(b + 16);
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
	r->incarnation = get64(buf + at);
	at += 8;
	for (unsigned d = 0; d < 2; d++) {
		if (!(r->parts & 1 << d))
			continue;
		if (len - at < DIR_SIZE)
			return -EINVAL;
		const uint8_t *b = get_version(buf + at, &r->version[d]);
		r->dir[d].tcp_flags = b[0];
		r->dir[d].wscale = b[1];
		r->dir[d].age_ms = get32(b + 2);
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
