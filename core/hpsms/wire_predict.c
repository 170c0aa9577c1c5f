// SPDX-License-Identifier: BSD-3-Clause
// Items of PREDICATE and CONFIRM: where a tuple's packets arrive, asked of the switch and answered by
// the node that got the question.
#include <errno.h>

#include "core/hpsms/nexthop.h"
#include "core/hpsms/wire.h"
#include "core/hpsms/wire_bytes.h"

static bool predicate_valid(const struct wire_predicate *p)
{
	return p->nonce != 0 && p->group < NEXTHOP_GROUPS;
}

int wire_put_predicate(uint8_t *buf, size_t size, const struct wire_predicate *p)
{
	if (!predicate_valid(p))
		return -EINVAL;
	if (size < WIRE_PREDICATE_SIZE)
		return -ENOSPC;
	uint8_t *b = wire_put64(wire_put64(buf, p->nonce), p->hash);
	*wire_put32(b, p->epoch) = p->group;
	return WIRE_PREDICATE_SIZE;
}

int wire_get_predicate(const uint8_t *buf, size_t len, struct wire_predicate *p)
{
	if (len < WIRE_PREDICATE_SIZE)
		return -EINVAL;
	*p = (struct wire_predicate){
		.nonce = wire_get64(buf),
		.hash = wire_get64(buf + 8),
		.epoch = wire_get32(buf + 16),
		.group = buf[20],
	};
	return predicate_valid(p) ? WIRE_PREDICATE_SIZE : -EINVAL;
}

static bool confirm_valid(const struct wire_confirm *c)
{
	return c->nonce != 0 && c->group < NEXTHOP_GROUPS && c->place <= PREDICT_UNMARKED;
}

int wire_put_confirm(uint8_t *buf, size_t size, const struct wire_confirm *c)
{
	if (!confirm_valid(c))
		return -EINVAL;
	if (size < WIRE_CONFIRM_SIZE)
		return -ENOSPC;
	uint8_t *b = wire_put32(wire_put64(buf, c->nonce), c->epoch);
	b[0] = c->group;
	b[1] = c->place;
	return WIRE_CONFIRM_SIZE;
}

int wire_get_confirm(const uint8_t *buf, size_t len, struct wire_confirm *c)
{
	if (len < WIRE_CONFIRM_SIZE)
		return -EINVAL;
	*c = (struct wire_confirm){
		.nonce = wire_get64(buf),
		.epoch = wire_get32(buf + 8),
		.group = buf[12],
		.place = buf[13],
	};
	return confirm_valid(c) ? WIRE_CONFIRM_SIZE : -EINVAL;
}
