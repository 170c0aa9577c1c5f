// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/wire.h"

#include <errno.h>

#include "core/hpsms/auth.h"
#include "core/hpsms/wire_bytes.h"
#include "core/node.h"

#define MAGIC 0x5450 // "TP"
#define MAGIC_SHORT 0x4c // "L", as no other begins
#define SHORT_FIXED 8 // and five numbers
#define HELLO_FIXED 35 // and 8 bytes a chain
#define GREET_FIXED (3 * 8) // and a hello
#define HELLO_FLAGS                                                                                \
	(WIRE_HELLO_READY | WIRE_HELLO_LEAVING | WIRE_HELLO_DRAINING | WIRE_HELLO_ASKING)
#define GREET_FLAGS (HELLO_FLAGS | WIRE_HELLO_WANTED | WIRE_HELLO_SERVED)
#define AUTH_OFFSET 48 // key id and counter

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
	bool to_all = h->type == WIRE_HELLO || h->type == WIRE_PULL || h->type == WIRE_INDEX ||
		      h->type == WIRE_ASK || h->type == WIRE_PREDICATE;
	bool to_one = h->type == WIRE_LOG || h->type == WIRE_LACK || h->type == WIRE_REQUEST ||
		      h->type == WIRE_APPLIED || h->type == WIRE_CONFIRM || h->type == WIRE_KIND ||
		      h->type == WIRE_FORGET || h->type == WIRE_FORGOT ||
		      h->type == WIRE_FRAGMENT; // worker
	if (h->length < WIRE_HEADER_SIZE + WIRE_TAG_SIZE || h->length > WIRE_MESSAGE_MAX ||
		h->boot == 0)
		return false;
	if (h->counter == 0 || h->counter > AUTH_COUNTER_MAX)
		return false;
	if (!is_node(h->from_node, false) || !is_worker(h->from_worker, false))
		return false;
	if (!is_node(h->to_node, to_all) || !is_worker(h->to_worker, !to_one))
		return false;
	switch (h->type) {
	case WIRE_HELLO:
		return h->to_node == WIRE_ANY && h->to_worker == 0 && h->count == 1 && h->seq == 0;
	case WIRE_GREET:
	case WIRE_CHAIN_ASK:
	case WIRE_CHAIN:
	case WIRE_ASK:
		return h->to_worker == 0 && h->count == 1 && h->seq == 0;
	case WIRE_LOG: // a bare acknowledgement is never acknowledged itself
		return (h->count == 0) == (h->seq == 0);
	case WIRE_PULL:
	case WIRE_NONE:
	case WIRE_REFUSED:
	case WIRE_LACK:
	case WIRE_REQUEST:
	case WIRE_APPLIED:
	case WIRE_KIND:
	case WIRE_FORGET:
	case WIRE_FORGOT:
	case WIRE_FRAGMENT:
	case WIRE_CONFIRM:
		return h->count > 0 && h->seq == 0;
	case WIRE_PREDICATE:
		return h->to_node == WIRE_ANY && h->to_worker == WIRE_ANY && h->count == 1 &&
		       h->seq == 0;
	case WIRE_INDEX:
		return h->to_worker == 0 && h->count <= WIRE_DELTA_MAX && h->seq == 0;
	case WIRE_SNAPSHOT:
		return h->to_worker == 0 && h->count <= WIRE_SNAPSHOT_MAX && h->seq == 0;
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
	uint8_t *b = wire_put16(buf, MAGIC);
	*b++ = WIRE_VERSION;
	*b++ = h->type;
	b = wire_put16(b, h->length);
	b = wire_put16(b, h->count);
	*b++ = h->from_node;
	*b++ = h->from_worker;
	*b++ = h->to_node;
	*b++ = h->to_worker;
	b = wire_put32(b, h->to_boot);
	b = wire_put64(b, h->cluster);
	b = wire_put64(b, h->boot);
	b = wire_put32(b, h->seq);
	b = wire_put32(b, h->ack);
	b = wire_put64(b, h->ack_bits);
	wire_put64(b, (uint64_t)h->key << 56 | h->counter);
	return WIRE_HEADER_SIZE;
}
_Static_assert(AUTH_OFFSET + 8 == WIRE_HEADER_SIZE, "key id and counter end the header");
_Static_assert(WIRE_AT_COUNTER == AUTH_OFFSET + 1, "the counter follows the key id");

int wire_get_header(const uint8_t *buf, size_t len, struct wire_header *h)
{
	if (len < WIRE_HEADER_SIZE || wire_get16(buf) != MAGIC || buf[2] != WIRE_VERSION)
		return -EINVAL;
	*h = (struct wire_header){
		.type = buf[3],
		.length = wire_get16(buf + 4),
		.count = wire_get16(buf + 6),
		.from_node = buf[8],
		.from_worker = buf[9],
		.to_node = buf[10],
		.to_worker = buf[11],
		.to_boot = wire_get32(buf + 12),
		.cluster = wire_get64(buf + 16),
		.boot = wire_get64(buf + 24),
		.seq = wire_get32(buf + 32),
		.ack = wire_get32(buf + 36),
		.ack_bits = wire_get64(buf + 40),
		.key = buf[AUTH_OFFSET],
		.counter = wire_get64(buf + AUTH_OFFSET) & AUTH_COUNTER_MAX,
	};
	if (h->length != len || !header_valid(h))
		return -EINVAL;
	return WIRE_HEADER_SIZE;
}

// ---- Short header ----

bool wire_is_short(const uint8_t *buf, size_t len)
{
	return len >= 1 && buf[0] == MAGIC_SHORT;
}

int wire_put_short(uint8_t *buf, size_t size, const struct wire_header *h)
{
	uint8_t short_[WIRE_SHORT_MAX], *b = short_;

	if (!header_valid(h) || h->type != WIRE_LOG)
		return -EINVAL;
	*b++ = MAGIC_SHORT;
	*b++ = WIRE_VERSION;
	*b++ = h->from_node;
	*b++ = h->to_node;
	*b++ = (uint8_t)(h->from_worker << 4 | h->to_worker);
	*b++ = (uint8_t)h->boot;
	*b++ = (uint8_t)h->to_boot;
	*b++ = h->key;
	b = wire_put_number(wire_put_number(b, h->counter), h->count);
	b = wire_put_number(wire_put_number(b, h->seq), h->ack);
	b = wire_put_number(b, h->ack_bits);
	size_t n = (size_t)(b - short_);
	if (size < n)
		return -ENOSPC;
	memcpy(buf, short_, n);
	return (int)n;
}
_Static_assert(
	SHORT_FIXED + 8 + 3 + 5 + 5 + WIRE_NUMBER_MAX == WIRE_SHORT_MAX, "a short header fits");

int wire_get_short(const uint8_t *buf, size_t len, struct wire_header *h)
{
	const uint8_t *end = buf + len;
	uint64_t count, seq, ack;

	if (len < SHORT_FIXED || !wire_is_short(buf, len) || buf[1] != WIRE_VERSION)
		return -EINVAL;
	*h = (struct wire_header){
		.type = WIRE_LOG,
		.from_node = buf[2],
		.to_node = buf[3],
		.from_worker = buf[4] >> 4,
		.to_worker = buf[4] & 15,
		.boot = buf[5],
		.to_boot = buf[6],
		.key = buf[7],
	};
	const uint8_t *b = wire_get_number(buf + SHORT_FIXED, end, AUTH_COUNTER_MAX, &h->counter);
	b = wire_get_number(b, end, UINT16_MAX, &count);
	b = wire_get_number(b, end, UINT32_MAX, &seq);
	b = wire_get_number(b, end, UINT32_MAX, &ack);
	b = wire_get_number(b, end, UINT64_MAX, &h->ack_bits);
	h->count = (uint16_t)count;
	h->seq = (uint32_t)seq;
	h->ack = (uint32_t)ack;
	size_t whole = b == NULL ? 0 : WIRE_HEADER_SIZE + (size_t)(end - b);
	if (whole > WIRE_MESSAGE_MAX)
		return -EINVAL;
	h->length = (uint16_t)whole;
	// The rest of the boot is for who knows it; 0 would be none.
	struct wire_header known = *h;
	known.boot |= 1ull << 63;
	return b != NULL && header_valid(&known) ? (int)(b - buf) : -EINVAL;
}

// ---- Hello ----

static bool hello_valid(const struct wire_hello *h, uint8_t flags)
{
	if (h->workers < 1 || h->workers > WORKERS_MAX || (h->flags & ~flags) != 0 ||
		(h->mac[0] & 1) != 0)
		return false;
	if (h->n_chains < 1 || h->n_chains > CHAINS_MAX || h->chains_used >> h->n_chains != 0)
		return false;
	if (h->lives > WIRE_LIVES_MAX)
		return false;
	for (unsigned i = 0; i < h->n_chains; i++)
		if (h->chain[i] == 0)
			return false;
	return true;
}

static size_t hello_size(unsigned n_chains, uint64_t loads)
{
	return HELLO_FIXED + 8 * (size_t)n_chains + 2 * (size_t)__builtin_popcountll(loads);
}

// Nodes of whose load it tells.
static uint64_t hello_loads(const struct wire_hello *h)
{
	uint64_t loads = 0;

	for (unsigned i = 0; i < 64; i++)
		loads |= h->load[i] != 0 ? 1ull << i : 0;
	return loads;
}

static uint8_t *put_hello(uint8_t *b, const struct wire_hello *h)
{
	*b++ = h->workers;
	*b++ = h->flags;
	*b++ = h->n_chains;
	*b++ = h->chains_used;
	memcpy(b, h->mac, sizeof(h->mac));
	b = wire_put64(b + sizeof(h->mac), h->live);
	b = wire_put64(b, hello_loads(h));
	b = wire_put64(b, h->lives);
	*b++ = h->port_changes;
	for (unsigned i = 0; i < h->n_chains; i++)
		b = wire_put64(b, h->chain[i]);
	for (unsigned i = 0; i < 64; i++)
		b = h->load[i] != 0 ? wire_put16(b, h->load[i]) : b;
	return b;
}

// Bytes, or -EINVAL when they do not hold one.
static int get_hello(const uint8_t *b, size_t len, struct wire_hello *h)
{
	if (len < HELLO_FIXED || b[2] > CHAINS_MAX)
		return -EINVAL;
	uint64_t loads = wire_get64(b + 18);
	if (len < hello_size(b[2], loads))
		return -EINVAL;
	*h = (struct wire_hello){
		.workers = b[0],
		.flags = b[1],
		.n_chains = b[2],
		.chains_used = b[3],
		.live = wire_get64(b + 10),
		.lives = wire_get64(b + 26),
		.port_changes = b[34],
	};
	memcpy(h->mac, b + 4, sizeof(h->mac));
	for (unsigned i = 0; i < h->n_chains; i++)
		h->chain[i] = wire_get64(b + HELLO_FIXED + 8 * i);
	const uint8_t *at = b + HELLO_FIXED + 8 * h->n_chains;
	for (uint64_t left = loads; left != 0; left &= left - 1, at += 2) {
		h->load[__builtin_ctzll(left)] = wire_get16(at);
		if (wire_get16(at) == 0)
			return -EINVAL; // it would not have been sent
	}
	return (int)hello_size(h->n_chains, loads);
}

int wire_put_hello(uint8_t *buf, size_t size, const struct wire_hello *h)
{
	if (!hello_valid(h, HELLO_FLAGS))
		return -EINVAL;
	size_t n = hello_size(h->n_chains, hello_loads(h));
	if (size < n)
		return -ENOSPC;
	put_hello(buf, h);
	return (int)n;
}

int wire_get_hello(const uint8_t *buf, size_t len, struct wire_hello *h)
{
	int n = get_hello(buf, len, h);
	return n >= 0 && hello_valid(h, HELLO_FLAGS) ? n : -EINVAL;
}

static bool greet_valid(const struct wire_greet *g)
{
	return hello_valid(&g->hello, GREET_FLAGS) && hello_loads(&g->hello) == 0 &&
	       g->challenge != 0 && g->floor < AUTH_COUNTER_MAX;
}

int wire_put_greet(uint8_t *buf, size_t size, const struct wire_greet *g)
{
	if (!greet_valid(g))
		return -EINVAL;
	size_t n = hello_size(g->hello.n_chains, hello_loads(&g->hello)) + GREET_FIXED;
	if (size < n)
		return -ENOSPC;
	wire_put64(
		wire_put64(wire_put64(put_hello(buf, &g->hello), g->echo), g->challenge), g->floor);
	return (int)n;
}

int wire_get_greet(const uint8_t *buf, size_t len, struct wire_greet *g)
{
	int n = get_hello(buf, len, &g->hello);
	if (n < 0 || len - (size_t)n < GREET_FIXED)
		return -EINVAL;
	g->echo = wire_get64(buf + n);
	g->challenge = wire_get64(buf + n + 8);
	g->floor = wire_get64(buf + n + 16);
	return greet_valid(g) ? n + GREET_FIXED : -EINVAL;
}
