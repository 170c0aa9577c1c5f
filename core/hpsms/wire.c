// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/wire.h"

#include <errno.h>

#include "core/hpsms/wire_bytes.h"
#include "core/node.h"

#define MAGIC 0x5450 // "TP"
#define HELLO_SIZE 12 // and 8 bytes a chain
#define AUTH_OFFSET 48
#define AUTH_SIZE 8

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
	if (h->length < WIRE_HEADER_SIZE || h->length > WIRE_MESSAGE_MAX || h->boot == 0)
		return false;
	if (!is_node(h->from_node, false) || !is_worker(h->from_worker, false))
		return false;
	if (!is_node(h->to_node, to_all) || !is_worker(h->to_worker, h->type != WIRE_LOG))
		return false;
	switch (h->type) {
	case WIRE_HELLO:
		return h->count == 1 && h->seq == 0;
	case WIRE_LOG: // a bare acknowledgement is never acknowledged itself
		return (h->count == 0) == (h->seq == 0);
	case WIRE_PULL:
	case WIRE_NONE:
		return h->count > 0 && h->seq == 0;
	case WIRE_CHAIN_ASK:
	case WIRE_CHAIN:
		return h->count == 1 && h->seq == 0;
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
	memset(b, 0, AUTH_SIZE);
	return WIRE_HEADER_SIZE;
}
_Static_assert(AUTH_OFFSET + AUTH_SIZE == WIRE_HEADER_SIZE, "reserved bytes end the header");

int wire_get_header(const uint8_t *buf, size_t len, struct wire_header *h)
{
	if (len < WIRE_HEADER_SIZE || wire_get16(buf) != MAGIC || buf[2] != WIRE_VERSION)
		return -EINVAL;
	// A later version says here how the message is authenticated. This one knows of nothing, and
	// must not take for plain what was meant to be checked.
	if (wire_get64(buf + AUTH_OFFSET) != 0)
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
	};
	if (h->length != len || !header_valid(h))
		return -EINVAL;
	return WIRE_HEADER_SIZE;
}

// ---- Hello ----

static bool hello_valid(const struct wire_hello *h)
{
	if (h->workers < 1 || h->workers > WORKERS_MAX ||
		(h->flags & ~(WIRE_HELLO_READY | WIRE_HELLO_LEAVING)) != 0)
		return false;
	if (h->n_chains < 1 || h->n_chains > CHAINS_MAX || h->chains_used >> h->n_chains != 0)
		return false;
	for (unsigned i = 0; i < h->n_chains; i++)
		if (h->chain[i] == 0)
			return false;
	return true;
}

int wire_put_hello(uint8_t *buf, size_t size, const struct wire_hello *h)
{
	if (!hello_valid(h))
		return -EINVAL;
	size_t n = HELLO_SIZE + 8 * (size_t)h->n_chains;
	if (size < n)
		return -ENOSPC;
	*buf++ = h->workers;
	*buf++ = h->flags;
	*buf++ = h->n_chains;
	*buf++ = h->chains_used;
	buf = wire_put64(buf, h->live);
	for (unsigned i = 0; i < h->n_chains; i++)
		buf = wire_put64(buf, h->chain[i]);
	return (int)n;
}

int wire_get_hello(const uint8_t *buf, size_t len, struct wire_hello *h)
{
	if (len < HELLO_SIZE || buf[2] > CHAINS_MAX)
		return -EINVAL;
	size_t n = HELLO_SIZE + 8 * (size_t)buf[2];
	if (len < n)
		return -EINVAL;
	*h = (struct wire_hello){
		.workers = buf[0],
		.flags = buf[1],
		.n_chains = buf[2],
		.chains_used = buf[3],
		.live = wire_get64(buf + 4),
	};
	for (unsigned i = 0; i < h->n_chains; i++)
		h->chain[i] = wire_get64(buf + HELLO_SIZE + 8 * i);
	return hello_valid(h) ? (int)n : -EINVAL;
}
