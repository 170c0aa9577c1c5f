// SPDX-License-Identifier: BSD-3-Clause
// Items of CHAIN_ASK and CHAIN: a chain's description, by its id, in pieces.
#include <errno.h>

#include "core/hpsms/wire.h"
#include "core/hpsms/wire_bytes.h"

#define ASK_SIZE 12
#define CHUNK_FIXED 18

int wire_put_chain_ask(uint8_t *buf, size_t size, const struct wire_chain_ask *a)
{
	if (a->id == 0)
		return -EINVAL;
	if (size < ASK_SIZE)
		return -ENOSPC;
	wire_put32(wire_put64(buf, a->id), a->offset);
	return ASK_SIZE;
}

int wire_get_chain_ask(const uint8_t *buf, size_t len, struct wire_chain_ask *a)
{
	if (len < ASK_SIZE)
		return -EINVAL;
	*a = (struct wire_chain_ask){.id = wire_get64(buf), .offset = wire_get32(buf + 8)};
	return a->id == 0 ? -EINVAL : ASK_SIZE;
}

// Nothing at all, or a piece that lies within the whole.
static bool chunk_valid(const struct wire_chain *c)
{
	if (c->id == 0 || c->size > WIRE_CHAIN_CHUNK || c->total > CHAIN_BYTES_MAX)
		return false;
	if (c->total == 0)
		return c->offset == 0 && c->size == 0;
	return c->size > 0 && c->offset < c->total && c->size <= c->total - c->offset;
}

int wire_put_chain(uint8_t *buf, size_t size, const struct wire_chain *c)
{
	if (!chunk_valid(c))
		return -EINVAL;
	if (size < CHUNK_FIXED + (size_t)c->size)
		return -ENOSPC;
	buf = wire_put32(wire_put64(buf, c->id), c->total);
	buf = wire_put16(wire_put32(buf, c->offset), c->size);
	if (c->size > 0)
		memcpy(buf, c->bytes, c->size);
	return CHUNK_FIXED + c->size;
}

int wire_get_chain(const uint8_t *buf, size_t len, struct wire_chain *c)
{
	if (len < CHUNK_FIXED)
		return -EINVAL;
	*c = (struct wire_chain){
		.id = wire_get64(buf),
		.total = wire_get32(buf + 8),
		.offset = wire_get32(buf + 12),
		.size = wire_get16(buf + 16),
		.bytes = buf + CHUNK_FIXED,
	};
	if (!chunk_valid(c) || len - CHUNK_FIXED < c->size)
		return -EINVAL;
	return CHUNK_FIXED + c->size;
}
