// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/wire_random.h"

uint8_t wire_random_nf[WIRE_NF_MAX];

static struct tripod_addr random_addr(struct rng *r, bool v6)
{
	struct tripod_addr a = tripod_addr_v4((uint32_t)rng_next(r));
	for (unsigned i = 0; v6 && i < 16; i++)
		a.b[i] = (uint8_t)rng_next(r);
	if (v6)
		a.b[0] = 0x20;
	return a;
}

struct tripod_tuple wire_random_tuple(struct rng *r, bool v6)
{
	return (struct tripod_tuple){
		.src = random_addr(r, v6),
		.dst = random_addr(r, v6),
		.sport = (uint16_t)rng_next(r),
		.dport = (uint16_t)rng_next(r),
		.proto = rng_below(r, 2) ? 6 : 17,
		.direction = rng_below(r, 2),
		.zone = rng_below(r, 2) ? (uint16_t)rng_next(r) : 0,
	};
}

// Bytes as NFs have them: addresses and ports of the tuples and others, numbers, and much of nothing.
static void random_state(struct rng *r, const struct wire_record *w)
{
	unsigned at = 0;

	while (at < w->nf_size) {
		uint8_t piece[16] = {0};
		unsigned n = 1 + rng_below(r, 16);
		const struct tripod_tuple *t = rng_below(r, 2) ? &w->key : &w->reversed;
		struct tripod_addr other = random_addr(r, rng_below(r, 2));
		switch (rng_below(r, 6)) {
		case 0:
			memcpy(piece, rng_below(r, 2) ? &t->src : &t->dst, n = 16);
			break;
		case 1:
			memcpy(piece, rng_below(r, 2) ? &t->sport : &t->dport, n = 2);
			break;
		case 2:
			memcpy(piece, &other, n = 16);
			break;
		case 3:
			piece[0] = (uint8_t)rng_next(r);
			n = 4;
			break;
		case 4:
			for (unsigned i = 0; i < n; i++)
				piece[i] = (uint8_t)rng_next(r);
			break;
		default:
			break;
		}
		for (unsigned i = 0; i < n && at < w->nf_size; i++)
			wire_random_nf[at++] = piece[i];
	}
}

static uint64_t random_number(struct rng *r, uint64_t mask) // small ones are as frequent as large
{
	return rng_next(r) >> rng_below(r, 64) & mask;
}

struct wire_record wire_random_record(struct rng *r, bool v6, uint8_t parts, uint16_t nf_size)
{
	struct wire_record w = {.op = parts == 0 ? WIRE_BURY : WIRE_UPDATE, .parts = parts};
	w.incarnation = random_number(r, UINT64_MAX);
	if (parts == 7) {
		w.op = WIRE_PUT;
		w.flags = rng_below(r, 3) == 0 ? WIRE_RECORD_ANSWER : 0;
		w.flags |= w.flags != 0 && rng_below(r, 2) ? WIRE_RECORD_FINAL : 0;
		w.flags |= (uint8_t)(rng_below(r, 3) << 5); // durability
		w.key = wire_random_tuple(r, v6);
	} else {
		w.hash = rng_next(r);
	}
	if (parts == 0)
		w.reason = (uint8_t)rng_below(r, 3);
	else
		w.flags |= (uint8_t)(rng_below(r, 4) << 2);
	w.flags |= rng_below(r, 4) == 0 ? WIRE_RECORD_URGENT : 0;
	for (unsigned p = 0; p < PARTS; p++) {
		if (!(parts & 1 << p))
			continue;
		bool own = p == 0 || !(parts & 1) || rng_below(r, 2);
		w.version[p].version = (uint32_t)random_number(r, UINT32_MAX);
		w.version[p].epoch = own ? (uint16_t)random_number(r, 0xffff) : w.version[0].epoch;
		w.version[p].writer = own ? (uint8_t)rng_below(r, 64) : w.version[0].writer;
		if (p == PART_SHARED)
			continue;
		w.dir[p].tcp_flags = rng_next(r) & TCP_DIR_DURABLE;
		if (w.dir[p].tcp_flags & TCP_DIR_WSCALE)
			w.dir[p].wscale = (uint8_t)rng_below(r, 15);
		if ((w.dir[p].tcp_flags & TCP_DIR_FIN) && rng_below(r, 2)) {
			w.dir[p].tcp_flags |= TCP_DIR_FIN_SEEN;
			w.dir[p].fin = (uint32_t)rng_next(r);
		}
		if ((w.dir[p].tcp_flags & TCP_DIR_SYN) && rng_below(r, 2)) {
			w.dir[p].tcp_flags |= WIRE_DIR_ISN;
			w.dir[p].isn = (uint32_t)rng_next(r);
		}
		w.dir[p].age_ms = (uint32_t)random_number(r, UINT32_MAX);
	}
	if (parts != 7)
		return w;
	struct tripod_tuple other = wire_random_tuple(r, v6);
	w.reversed = tripod_tuple_reverse(&w.key);
	if (rng_below(r, 2))
		w.reversed.src = other.src;
	if (rng_below(r, 2))
		w.reversed.dst = other.dst;
	if (rng_below(r, 2))
		w.reversed.sport = other.sport;
	if (rng_below(r, 2))
		w.reversed.dport = other.dport;
	w.chain = 1 + rng_below(r, 2);
	w.holders = UINT64_MAX;
	for (unsigned k = 0; k < 3; k++)
		w.holders &= rng_next(r); // one in eight
	w.holders |= 1ull << rng_below(r, 64);
	w.nf_size = nf_size;
	random_state(r, &w);
	w.nf = nf_size ? wire_random_nf : NULL;
	return w;
}

// Of a key, any part may be missing.
static struct kind_key random_key(struct rng *r)
{
	struct kind_key key = {.tuple = wire_random_tuple(r, rng_below(r, 2))};

	key.kind = (uint32_t)rng_next(r) | 1;
	key.tuple.kind = TRIPOD_KIND_SHARE;
	if (rng_below(r, 2))
		memset(&key.tuple.src, 0, sizeof(key.tuple.src));
	if (rng_below(r, 2))
		memset(&key.tuple.dst, 0, sizeof(key.tuple.dst));
	if (rng_below(r, 2))
		key.tuple.sport = 0;
	if (rng_below(r, 2))
		key.tuple.dport = 0;
	if (rng_below(r, 2))
		key.tuple.proto = 0;
	return key;
}

struct wire_kind wire_random_kind(struct rng *r, enum wire_kind_op op, unsigned parts)
{
	struct wire_kind w;

	memset(&w, 0, sizeof(w));
	w.op = (uint8_t)op;
	if (op == WIRE_KIND_ASK || op == WIRE_KIND_COPY)
		w.key = random_key(r);
	else
		w.hash = rng_next(r);
	if (op == WIRE_KIND_ASK || op == WIRE_KIND_ANSWER) {
		w.seq = (uint32_t)rng_next(r) | 1;
		w.units = (uint32_t)random_number(r, UINT32_MAX);
	} else {
		w.epoch = (uint16_t)rng_next(r);
		w.version = (uint32_t)rng_next(r);
	}
	if (op == WIRE_KIND_ASK)
		w.held = (uint32_t)random_number(r, UINT32_MAX);
	if (op == WIRE_KIND_HAVE)
		return w;
	w.size = (uint8_t)rng_below(r, KIND_STATE_MAX + 1);
	for (unsigned i = 0; i < w.size; i++)
		w.bytes[i] = (uint8_t)rng_next(r);
	if (op != WIRE_KIND_COPY)
		return w;
	w.writer = (uint8_t)rng_below(r, 64);
	w.n_parts = (uint8_t)rng_below(r, parts + 1);
	for (unsigned p = 0; p < w.n_parts; p++)
		w.part[p] = (struct kind_part){
			.node = (uint8_t)rng_below(r, 64),
			.worker = (uint8_t)rng_below(r, 16),
			.boot = (uint32_t)rng_next(r),
			.seq = (uint32_t)rng_next(r) | 1,
			.units = (uint32_t)random_number(r, UINT32_MAX),
		};
	return w;
}
