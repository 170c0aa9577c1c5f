// SPDX-License-Identifier: BSD-3-Clause
// Items of KIND: what the state of other keys than a connection's is asked for, and how it is copied.
#include <errno.h>

#include "core/hpsms/wire.h"
#include "core/hpsms/wire_bytes.h"
#include "core/node.h"

// Of a key, only what is not zero is sent.
#define HAS_SRC 1
#define HAS_DST 2
#define HAS_SPORT 4
#define HAS_DPORT 8
#define HAS_PROTO 16
#define HAS_OUTGOING 32
#define HAS_ZONE 64

static bool addr_is_zero(const struct tripod_addr *a)
{
	static const struct tripod_addr zero;
	return tripod_addr_equal(a, &zero);
}

static uint8_t *put_key(uint8_t *b, const struct kind_key *key)
{
	const struct tripod_tuple *t = &key->tuple;

	b = wire_put32(b, key->kind);
	uint8_t *has = b++;
	*has = (addr_is_zero(&t->src) ? 0 : HAS_SRC) | (addr_is_zero(&t->dst) ? 0 : HAS_DST) |
	       (t->sport ? HAS_SPORT : 0) | (t->dport ? HAS_DPORT : 0) |
	       (t->proto ? HAS_PROTO : 0) | (t->direction ? HAS_OUTGOING : 0) |
	       (t->zone ? HAS_ZONE : 0);
	if (*has & HAS_SRC)
		b = (uint8_t *)memcpy(b, t->src.b, 16) + 16;
	if (*has & HAS_DST)
		b = (uint8_t *)memcpy(b, t->dst.b, 16) + 16;
	if (*has & HAS_SPORT)
		b = (uint8_t *)memcpy(b, &t->sport, 2) + 2;
	if (*has & HAS_DPORT)
		b = (uint8_t *)memcpy(b, &t->dport, 2) + 2;
	if (*has & HAS_PROTO)
		*b++ = t->proto;
	return *has & HAS_ZONE ? wire_put16(b, t->zone) : b;
}

static const uint8_t *get_bytes(const uint8_t *b, const uint8_t *end, bool has, void *to, size_t n)
{
	if (b == NULL || !has)
		return b;
	if ((size_t)(end - b) < n)
		return NULL;
	memcpy(to, b, n);
	return b + n;
}

static const uint8_t *get_key(const uint8_t *b, const uint8_t *end, struct kind_key *key)
{
	struct tripod_tuple *t = &key->tuple;
	uint8_t zone[2] = {0}, proto = 0;

	if (b == NULL || end - b < 5)
		return NULL;
	key->kind = wire_get32(b);
	uint8_t has = b[4];
	b = get_bytes(b + 5, end, has & HAS_SRC, t->src.b, 16);
	b = get_bytes(b, end, has & HAS_DST, t->dst.b, 16);
	b = get_bytes(b, end, has & HAS_SPORT, &t->sport, 2);
	b = get_bytes(b, end, has & HAS_DPORT, &t->dport, 2);
	b = get_bytes(b, end, has & HAS_PROTO, &proto, 1);
	b = get_bytes(b, end, has & HAS_ZONE, zone, 2);
	t->kind = TRIPOD_KIND_SHARE;
	t->proto = proto;
	t->direction = !!(has & HAS_OUTGOING);
	t->zone = wire_get16(zone);
	// One key has one form: what is said to be there is not zero.
	bool honest = !(has & 128) && !addr_is_zero(&t->src) == !!(has & HAS_SRC) &&
		      !addr_is_zero(&t->dst) == !!(has & HAS_DST) &&
		      !t->sport == !(has & HAS_SPORT) && !t->dport == !(has & HAS_DPORT) &&
		      !t->proto == !(has & HAS_PROTO) && !t->zone == !(has & HAS_ZONE);
	return honest && key->kind != 0 ? b : NULL;
}

static bool part_valid(const struct kind_part *p)
{
	return p->node < NODES_MAX && p->worker < WORKERS_MAX && p->seq != 0;
}

static bool kind_valid(const struct wire_kind *w)
{
	if (w->size > (w->op == WIRE_KIND_ASK ? KIND_DATA_MAX : KIND_STATE_MAX))
		return false;
	switch (w->op) {
	case WIRE_KIND_ASK:
		return w->seq != 0 && w->key.kind != 0;
	case WIRE_KIND_ANSWER:
		return w->seq != 0;
	case WIRE_KIND_COPY:
		for (unsigned k = 0; k < w->n_parts && w->n_parts <= KIND_PARTS_MAX; k++) {
			if (!part_valid(&w->part[k]))
				return false;
		}
		return w->writer < NODES_MAX && w->n_parts <= KIND_PARTS_MAX && w->key.kind != 0;
	case WIRE_KIND_HAVE:
		return true;
	default:
		return false;
	}
}

static uint8_t *put_some(uint8_t *b, const uint8_t *bytes, uint8_t n)
{
	*b++ = n;
	memcpy(b, bytes, n);
	return b + n;
}

static uint8_t *put_parts(uint8_t *b, const struct wire_kind *w)
{
	*b++ = w->n_parts;
	for (unsigned k = 0; k < w->n_parts; k++) {
		const struct kind_part *p = &w->part[k];
		*b++ = p->node;
		*b++ = p->worker;
		b = wire_put32(wire_put32(b, p->boot), p->seq);
		b = wire_put_number(b, p->units);
	}
	return b;
}

int wire_put_kind(uint8_t *buf, size_t size, const struct wire_kind *w)
{
	uint8_t bytes[WIRE_KIND_MAX], *b = bytes;

	if (!kind_valid(w))
		return -EINVAL;
	*b++ = w->op;
	switch (w->op) {
	case WIRE_KIND_ASK:
		b = wire_put32(put_key(b, &w->key), w->seq);
		b = wire_put_number(wire_put_number(b, w->held), w->units);
		b = put_some(b, w->bytes, w->size);
		break;
	case WIRE_KIND_ANSWER:
		b = wire_put_number(wire_put32(wire_put64(b, w->hash), w->seq), w->units);
		b = put_some(b, w->bytes, w->size);
		break;
	case WIRE_KIND_COPY:
		b = wire_put32(wire_put16(put_key(b, &w->key), w->epoch), w->version);
		*b++ = w->writer;
		b = put_parts(put_some(b, w->bytes, w->size), w);
		break;
	default:
		b = wire_put32(wire_put16(wire_put64(b, w->hash), w->epoch), w->version);
		break;
	}
	if ((size_t)(b - bytes) > size)
		return -ENOSPC;
	memcpy(buf, bytes, (size_t)(b - bytes));
	return (int)(b - bytes);
}
_Static_assert(1 + 4 + 1 + 32 + 4 + 1 + 2 + 2 + 4 + 1 + 1 + KIND_STATE_MAX + 1 +
			       KIND_PARTS_MAX * (10 + 5) <=
		       WIRE_KIND_MAX,
	"the largest item fits");
_Static_assert(WIRE_HEADER_SIZE + WIRE_KIND_MAX <= WIRE_BODY_MAX, "... into a message");

static const uint8_t *get_some(
	const uint8_t *b, const uint8_t *end, uint8_t *bytes, uint8_t *n, uint8_t max)
{
	if (b == NULL || b == end || *b > max)
		return NULL;
	*n = *b++;
	return get_bytes(b, end, true, bytes, *n);
}

static const uint8_t *get_number32(const uint8_t *b, const uint8_t *end, uint32_t *v)
{
	uint64_t number = 0;

	b = b == NULL ? NULL : wire_get_number(b, end, UINT32_MAX, &number);
	*v = (uint32_t)number;
	return b;
}

static const uint8_t *get_hash(const uint8_t *b, const uint8_t *end, uint64_t *hash)
{
	if (end - b < 8)
		return NULL;
	*hash = wire_get64(b);
	return b + 8;
}

static const uint8_t *get_seq(const uint8_t *b, const uint8_t *end, uint32_t *seq)
{
	if (b == NULL || end - b < 4)
		return NULL;
	*seq = wire_get32(b);
	return b + 4;
}

static const uint8_t *get_claim(const uint8_t *b, const uint8_t *end, struct wire_kind *w)
{
	if (b == NULL || end - b < 6)
		return NULL;
	w->epoch = wire_get16(b);
	w->version = wire_get32(b + 2);
	return b + 6;
}

static const uint8_t *get_parts(const uint8_t *b, const uint8_t *end, struct wire_kind *w)
{
	if (b == NULL || b == end || *b > KIND_PARTS_MAX)
		return NULL;
	w->n_parts = *b++;
	for (unsigned k = 0; k < w->n_parts && b != NULL; k++) {
		struct kind_part *p = &w->part[k];
		if (end - b < 10)
			return NULL;
		*p = (struct kind_part){
			.node = b[0],
			.worker = b[1],
			.boot = wire_get32(b + 2),
			.seq = wire_get32(b + 6),
		};
		b = get_number32(b + 10, end, &p->units);
	}
	return b;
}

int wire_get_kind(const uint8_t *buf, size_t len, struct wire_kind *w)
{
	const uint8_t *b = buf + 1, *end = buf + len;

	memset(w, 0, offsetof(struct wire_kind, part));
	if (len < 1)
		return -EINVAL;
	w->op = buf[0];
	switch (w->op) {
	case WIRE_KIND_ASK:
		b = get_seq(get_key(b, end, &w->key), end, &w->seq);
		b = get_number32(get_number32(b, end, &w->held), end, &w->units);
		b = get_some(b, end, w->bytes, &w->size, KIND_DATA_MAX);
		break;
	case WIRE_KIND_ANSWER:
		b = get_seq(get_hash(b, end, &w->hash), end, &w->seq);
		b = get_number32(b, end, &w->units);
		b = get_some(b, end, w->bytes, &w->size, KIND_STATE_MAX);
		break;
	case WIRE_KIND_COPY:
		b = get_claim(get_key(b, end, &w->key), end, w);
		b = get_bytes(b, end, true, &w->writer, 1);
		b = get_some(b, end, w->bytes, &w->size, KIND_STATE_MAX);
		b = get_parts(b, end, w);
		break;
	case WIRE_KIND_HAVE:
		b = get_claim(get_hash(b, end, &w->hash), end, w);
		break;
	default:
		return -EINVAL;
	}
	return b != NULL && kind_valid(w) ? (int)(b - buf) : -EINVAL;
}
