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
#define TUPLE_HAS 0x80 // of a question alone

#define RECORD_DURABILITY (WIRE_RECORD_SYNC | WIRE_RECORD_NONE)
// First byte of a record: the op, two bits that it uses, and the flags (but in a PUT, OWN and URGENT
// stand in the place of the first two).
#define HEAD_OP 0x03
#define HEAD_USE_SHIFT 2 // PUT: durability; UPDATE: directions present; BURY: reason
#define HEAD_USE 0x03
#define HEAD_FLAGS_SHIFT 4
#define HEAD_FLAGS (ANSWER_FLAGS | STATE_FLAGS)
#define DURABILITY_SHIFT 5 // in the flags
#define HEAD_URGENT 0x20
#define HEAD_OWN 0x10 // direction 1 has an epoch and a writer of its own

// Second byte of a PUT.
#define PUT_CHAIN 0x01 // the chain follows: it is not that of the last PUT in the message
#define PUT_OWN_DIR1 0x02
#define PUT_OWN_SHARED 0x04
#define PUT_URGENT 0x08
#define PUT_SPORT 0x10 // fields of the reversed tuple that are not simply the key's, reversed
#define PUT_DPORT 0x20
#define PUT_SRC 0x40
#define PUT_DST 0x80

#define ALL_PARTS ((1u << PARTS) - 1)
#define DIRECTIONS 3u
#define ANSWER_FLAGS (WIRE_RECORD_ANSWER | WIRE_RECORD_FINAL)
#define STATE_FLAGS (WIRE_RECORD_ANSWERED | WIRE_RECORD_PINNED)
// More than any record but for its NF state.
#define RECORD_FIXED_MAX 192

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

int wire_put_question(uint8_t *buf, size_t size, const struct tripod_tuple *t, bool has)
{
	int n = wire_put_tuple(buf, size, t);

	if (n > 0 && has)
		buf[0] |= TUPLE_HAS;
	return n;
}

int wire_get_question(const uint8_t *buf, size_t len, struct tripod_tuple *t, bool *has)
{
	uint8_t tuple[WIRE_TUPLE_MAX];
	size_t n = len < sizeof(tuple) ? len : sizeof(tuple);

	if (n == 0)
		return -EINVAL;
	memcpy(tuple, buf, n);
	*has = tuple[0] & TUPLE_HAS;
	tuple[0] &= (uint8_t)~TUPLE_HAS;
	return wire_get_tuple(tuple, n, t);
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

static bool parts_valid(const struct wire_record *r)
{
	for (unsigned p = 0; p < PARTS; p++)
		if ((r->parts & 1 << p) && r->version[p].writer >= NODES_MAX)
			return false;
	for (unsigned d = 0; d < 2; d++) {
		uint8_t flags = r->dir[d].tcp_flags;
		bool has_wscale = flags & TCP_DIR_WSCALE, has_fin = flags & TCP_DIR_FIN_SEEN;
		bool has_isn = flags & WIRE_DIR_ISN;
		if ((r->parts & 1 << d) && ((has_isn && !(flags & TCP_DIR_SYN)) ||
						   (has_fin && !(flags & TCP_DIR_FIN)) ||
						   (!has_isn && r->dir[d].isn != 0) ||
						   (!has_fin && r->dir[d].fin != 0) ||
						   r->dir[d].wscale > (has_wscale ? 14 : 0)))
			return false;
	}
	return true;
}

static bool record_valid(const struct wire_record *r)
{
	switch (r->op) {
	case WIRE_PUT:
		return (r->flags & ~(ANSWER_FLAGS | STATE_FLAGS | WIRE_RECORD_URGENT |
					   RECORD_DURABILITY)) == 0 &&
		       (r->flags & ANSWER_FLAGS) != WIRE_RECORD_FINAL &&
		       (r->flags & RECORD_DURABILITY) != RECORD_DURABILITY &&
		       r->parts == ALL_PARTS && r->reason == 0 && parts_valid(r) &&
		       tuple_valid(&r->key) && reversed_valid(&r->key, &r->reversed) &&
		       r->chain != 0 && r->holders != 0 && r->nf_size <= WIRE_NF_MAX;
	case WIRE_UPDATE:
		return (r->flags & ~(STATE_FLAGS | WIRE_RECORD_URGENT)) == 0 && r->parts != 0 &&
		       (r->parts & ~DIRECTIONS) == 0 && r->reason == 0 && parts_valid(r);
	case WIRE_BURY:
		return (r->flags & ~WIRE_RECORD_URGENT) == 0 && r->parts == 0 &&
		       r->reason <= TRIPOD_TERMINATED;
	default:
		return false;
	}
}

// Has part p an epoch or writer other than the first part in the record?
static bool owns(const struct wire_record *r, unsigned p)
{
	return r->version[p].epoch != r->version[0].epoch ||
	       r->version[p].writer != r->version[0].writer;
}

static uint8_t *put_version(uint8_t *b, const struct conn_version *v, bool own)
{
	if (own) {
		*b++ = v->writer;
		b = wire_put_number(b, v->epoch);
	}
	return wire_put_number(b, v->version);
}

// All get_ functions: behind what they read, or NULL; NULL in, NULL out.
static const uint8_t *get_version(const uint8_t *b, const uint8_t *end, struct conn_version *v,
	bool own, const struct conn_version *first)
{
	uint64_t epoch, version;

	*v = (struct conn_version){.writer = first->writer, .epoch = first->epoch};
	if (own) {
		if (b == NULL || b == end)
			return NULL;
		v->writer = *b;
		b = wire_get_number(b + 1, end, UINT16_MAX, &epoch);
		v->epoch = (uint16_t)epoch;
	}
	b = wire_get_number(b, end, UINT32_MAX, &version);
	v->version = (uint32_t)version;
	return b;
}

static uint8_t *put_dir(uint8_t *b, const struct wire_record *r, unsigned d, bool own)
{
	b = put_version(b, &r->version[d], own);
	*b++ = r->dir[d].tcp_flags;
	if (r->dir[d].tcp_flags & TCP_DIR_WSCALE)
		*b++ = r->dir[d].wscale;
	if (r->dir[d].tcp_flags & TCP_DIR_FIN_SEEN)
		b = wire_put32(b, r->dir[d].fin);
	if (r->dir[d].tcp_flags & WIRE_DIR_ISN)
		b = wire_put32(b, r->dir[d].isn);
	return wire_put_number(b, r->dir[d].age_ms);
}

static const uint8_t *get_dir(
	const uint8_t *b, const uint8_t *end, struct wire_record *r, unsigned d, bool own)
{
	uint64_t age_ms;

	b = get_version(b, end, &r->version[d], own, &r->version[0]);
	if (b == NULL || b == end)
		return NULL;
	r->dir[d].tcp_flags = *b++;
	if (r->dir[d].tcp_flags & TCP_DIR_WSCALE) {
		if (b == end)
			return NULL;
		r->dir[d].wscale = *b++;
	}
	if (r->dir[d].tcp_flags & TCP_DIR_FIN_SEEN) {
		if (end - b < 4)
			return NULL;
		r->dir[d].fin = wire_get32(b);
		b += 4;
	}
	if (r->dir[d].tcp_flags & WIRE_DIR_ISN) {
		if (end - b < 4)
			return NULL;
		r->dir[d].isn = wire_get32(b);
		b += 4;
	}
	b = wire_get_number(b, end, UINT32_MAX, &age_ms);
	r->dir[d].age_ms = (uint32_t)age_ms;
	return b;
}

static uint8_t *put_addr(uint8_t *b, const struct tripod_addr *a)
{
	size_t skip = tripod_addr_is_v4(a) ? sizeof(TRIPOD_V4_PREFIX) : 0;

	memcpy(b, a->b + skip, 16 - skip);
	return b + 16 - skip;
}

static const uint8_t *get_bytes(const uint8_t *b, const uint8_t *end, void *to, size_t n)
{
	if (b == NULL || (size_t)(end - b) < n)
		return NULL;
	memcpy(to, b, n);
	return b + n;
}

static uint8_t differences(const struct tripod_tuple *a, const struct tripod_tuple *b)
{
	return (uint8_t)((a->sport != b->sport ? PUT_SPORT : 0) |
			 (a->dport != b->dport ? PUT_DPORT : 0) |
			 (tripod_addr_equal(&a->src, &b->src) ? 0 : PUT_SRC) |
			 (tripod_addr_equal(&a->dst, &b->dst) ? 0 : PUT_DST));
}

static uint8_t *put_reversed(uint8_t *b, const struct tripod_tuple *t, uint8_t form)
{
	if (form & PUT_SPORT) {
		memcpy(b, &t->sport, 2);
		b += 2;
	}
	if (form & PUT_DPORT) {
		memcpy(b, &t->dport, 2);
		b += 2;
	}
	if (form & PUT_SRC)
		b = put_addr(b, &t->src);
	if (form & PUT_DST)
		b = put_addr(b, &t->dst);
	return b;
}

static const uint8_t *get_reversed(
	const uint8_t *b, const uint8_t *end, struct wire_record *r, uint8_t form)
{
	struct tripod_tuple plain = tripod_tuple_reverse(&r->key), *t = &r->reversed;
	size_t skip = tripod_addr_is_v4(&r->key.src) ? sizeof(TRIPOD_V4_PREFIX) : 0;

	plain.direction = !r->key.direction;
	*t = plain;
	if (form & PUT_SPORT)
		b = get_bytes(b, end, &t->sport, 2);
	if (form & PUT_DPORT)
		b = get_bytes(b, end, &t->dport, 2);
	if (form & PUT_SRC)
		b = get_bytes(b, end, t->src.b + skip, 16 - skip);
	if (form & PUT_DST)
		b = get_bytes(b, end, t->dst.b + skip, 16 - skip);
	uint8_t named = form & (PUT_SPORT | PUT_DPORT | PUT_SRC | PUT_DST);
	return b != NULL && differences(t, &plain) == named ? b : NULL;
}

// A mask of the bytes that are not zero, and those.
static uint8_t *put_nodes(uint8_t *b, uint64_t nodes)
{
	uint8_t *mask = b++;

	*mask = 0;
	for (unsigned i = 0; i < 8; i++) {
		uint8_t byte = (uint8_t)(nodes >> 8 * i);
		if (byte == 0)
			continue;
		*mask |= (uint8_t)(1 << i);
		*b++ = byte;
	}
	return b;
}

static const uint8_t *get_nodes(const uint8_t *b, const uint8_t *end, uint64_t *nodes)
{
	*nodes = 0;
	if (b == NULL || b == end)
		return NULL;
	for (unsigned mask = *b++; mask != 0; mask &= mask - 1) {
		if (b == end || *b == 0)
			return NULL;
		*nodes |= (uint64_t)*b++ << 8 * __builtin_ctz(mask);
	}
	return b;
}

// Fits: the caller has RECORD_FIXED_MAX bytes.
static uint8_t *put_whole(uint8_t *b, const struct wire_record *r, uint64_t chain)
{
	struct tripod_tuple plain = tripod_tuple_reverse(&r->key);
	uint8_t form = differences(&r->reversed, &plain);

	form |= (r->flags & WIRE_RECORD_URGENT ? PUT_URGENT : 0) |
		(r->chain != chain ? PUT_CHAIN : 0) | (owns(r, 1) ? PUT_OWN_DIR1 : 0) |
		(owns(r, PART_SHARED) ? PUT_OWN_SHARED : 0);
	*b++ = form;
	b += wire_put_tuple(b, RECORD_FIXED_MAX, &r->key);
	b = wire_put_number(b, r->incarnation);
	b = put_dir(b, r, 0, true);
	b = put_dir(b, r, 1, form & PUT_OWN_DIR1);
	b = put_version(b, &r->version[PART_SHARED], form & PUT_OWN_SHARED);
	b = put_reversed(b, &r->reversed, form);
	if (form & PUT_CHAIN)
		b = wire_put64(b, r->chain);
	return wire_put_number(put_nodes(b, r->holders), r->nf_size);
}

static uint8_t *put_parts(uint8_t *b, const struct wire_record *r, bool own)
{
	b = wire_put_number(wire_put64(b, r->hash), r->incarnation);
	if (r->parts & 1)
		b = put_dir(b, r, 0, true);
	if (r->parts & 2)
		b = put_dir(b, r, 1, own);
	return b;
}

int wire_put_record(uint8_t *buf, size_t size, const struct wire_record *r, uint64_t *chain)
{
	uint8_t fixed[RECORD_FIXED_MAX], *b = fixed;
	bool put = r->op == WIRE_PUT;
	int state = 0;

	if (!record_valid(r) || (put && r->nf_size != 0 && r->nf == NULL))
		return -EINVAL;
	bool both = r->parts == DIRECTIONS, own = r->parts != DIRECTIONS || owns(r, 1);
	bool urgent = !put && (r->flags & WIRE_RECORD_URGENT);
	uint8_t use = put                    ? r->flags >> DURABILITY_SHIFT & HEAD_USE
		      : r->op == WIRE_UPDATE ? r->parts
					     : r->reason;
	*b++ = (uint8_t)(r->op | use << HEAD_USE_SHIFT |
			 (r->flags & HEAD_FLAGS) << HEAD_FLAGS_SHIFT |
			 (both && own ? HEAD_OWN : 0) | (urgent ? HEAD_URGENT : 0));
	b = put ? put_whole(b, r, *chain) : put_parts(b, r, own);
	size_t n = (size_t)(b - fixed);
	if (size < n)
		return -ENOSPC;
	if (put)
		state = wire_put_state(buf + n, size - n, r->nf, r->nf_size, &r->key, &r->reversed);
	if (state < 0)
		return state;
	memcpy(buf, fixed, n);
	if (put)
		*chain = r->chain;
	return (int)n + state;
}

static const uint8_t *get_whole(
	const uint8_t *b, const uint8_t *end, struct wire_record *r, const struct wire_log *log)
{
	uint64_t nf_size;

	if (b == end)
		return NULL;
	uint8_t form = *b++;
	int n = wire_get_tuple(b, (size_t)(end - b), &r->key);
	if (n < 0)
		return NULL;
	r->flags |= form & PUT_URGENT ? WIRE_RECORD_URGENT : 0;
	r->parts = ALL_PARTS;
	b = wire_get_number(b + n, end, UINT64_MAX, &r->incarnation);
	b = get_dir(b, end, r, 0, true);
	b = get_dir(b, end, r, 1, form & PUT_OWN_DIR1);
	b = get_version(b, end, &r->version[PART_SHARED], form & PUT_OWN_SHARED, &r->version[0]);
	b = get_reversed(b, end, r, form);
	r->chain = log->chain;
	if (form & PUT_CHAIN) {
		uint8_t chain[8];
		b = get_bytes(b, end, chain, sizeof(chain));
		if (b == NULL || wire_get64(chain) == log->chain)
			return NULL;
		r->chain = wire_get64(chain);
	}
	b = wire_get_number(get_nodes(b, end, &r->holders), end, WIRE_NF_MAX, &nf_size);
	r->nf_size = (uint16_t)nf_size;
	bool one_form = owns(r, 1) == !!(form & PUT_OWN_DIR1) &&
			owns(r, PART_SHARED) == !!(form & PUT_OWN_SHARED);
	return one_form ? b : NULL;
}

static const uint8_t *get_parts(
	const uint8_t *b, const uint8_t *end, struct wire_record *r, bool own)
{
	uint8_t hash[8];

	b = get_bytes(b, end, hash, sizeof(hash));
	if (b == NULL)
		return NULL;
	r->hash = wire_get64(hash);
	b = wire_get_number(b, end, UINT64_MAX, &r->incarnation);
	if (r->parts & 1)
		b = get_dir(b, end, r, 0, true);
	if (r->parts & 2)
		b = get_dir(b, end, r, 1, own || r->parts != DIRECTIONS);
	return own == (r->parts == DIRECTIONS && owns(r, 1)) ? b : NULL;
}

int wire_get_record(const uint8_t *buf, size_t len, struct wire_record *r, struct wire_log *log)
{
	const uint8_t *b = buf, *end = buf + len;

	if (len == 0)
		return -EINVAL;
	uint8_t head = *b++, use = head >> HEAD_USE_SHIFT & HEAD_USE;
	*r = (struct wire_record){.op = head & HEAD_OP, .flags = head >> HEAD_FLAGS_SHIFT};
	if (r->op == WIRE_PUT) {
		r->flags |= (uint8_t)(use << DURABILITY_SHIFT);
		b = get_whole(b, end, r, log);
	} else {
		r->flags &= STATE_FLAGS;
		r->flags |= head & HEAD_URGENT ? WIRE_RECORD_URGENT : 0;
		if (r->op == WIRE_UPDATE)
			r->parts = use;
		else
			r->reason = use;
		b = get_parts(b, end, r, head & HEAD_OWN);
	}
	if (b == NULL || !record_valid(r))
		return -EINVAL;
	if (r->op != WIRE_PUT)
		return (int)(b - buf);
	int n = wire_get_state(b, (size_t)(end - b), log->nf, r->nf_size, &r->key, &r->reversed);
	if (n < 0)
		return -EINVAL;
	r->nf = r->nf_size != 0 ? log->nf : NULL;
	log->chain = r->chain;
	return (int)(b - buf) + n;
}

int wire_put_hash(uint8_t *buf, size_t size, uint64_t hash)
{
	if (size < WIRE_HASH_SIZE)
		return -ENOSPC;
	wire_put64(buf, hash);
	return WIRE_HASH_SIZE;
}

int wire_get_hash(const uint8_t *buf, size_t len, uint64_t *hash)
{
	if (len < WIRE_HASH_SIZE)
		return -EINVAL;
	*hash = wire_get64(buf);
	return WIRE_HASH_SIZE;
}
