// SPDX-License-Identifier: BSD-3-Clause
// The messages of the index sets.
#include <errno.h>

#include "core/hpsms/wire.h"
#include "core/hpsms/wire_bytes.h"
#include "core/node.h"

#define DELTA_FIXED 6
#define SNAPSHOT_FIXED 14
#define ASK_SIZE 6

_Static_assert(DELTA_FIXED + 2 * NODES_MAX + WIRE_DELTA_MAX / 8 + 4 * WIRE_DELTA_MAX <=
		       WIRE_BODY_MAX - WIRE_HEADER_SIZE,
	"the largest INDEX fits into a message");
_Static_assert(SNAPSHOT_FIXED + 4 * WIRE_SNAPSHOT_MAX <= WIRE_BODY_MAX - WIRE_HEADER_SIZE,
	"the largest SNAPSHOT fits into a message");

static uint8_t *put_prints(uint8_t *b, const uint32_t *fp, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		b = wire_put32(b, fp[i]);
	return b;
}

// false: one of them is none.
static bool get_prints(const uint8_t *b, uint32_t *fp, unsigned n)
{
	uint32_t none = 0;

	for (unsigned i = 0; i < n; i++) {
		fp[i] = wire_get32(b + 4 * (size_t)i);
		none |= fp[i] == 0;
	}
	return !none;
}

static bool has_zero(const uint32_t *fp, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (fp[i] == 0)
			return true;
	}
	return false;
}

static bool answers_valid(const struct wire_delta *d)
{
	for (unsigned i = 0; i < d->n_answers; i++) {
		if (d->answer[i].node >= NODES_MAX ||
			(i > 0 && d->answer[i].node <= d->answer[i - 1].node))
			return false;
	}
	return true;
}

// Bits behind the last change say nothing, so they are zero.
static bool removes_valid(const struct wire_delta *d)
{
	return d->n % 8 == 0 || d->removes[d->n / 8] >> d->n % 8 == 0;
}

int wire_put_delta(uint8_t *buf, size_t size, const struct wire_delta *d)
{
	if ((d->flags & ~WIRE_INDEX_PARTIAL) != 0 || d->n_answers > NODES_MAX ||
		d->n > WIRE_DELTA_MAX || !answers_valid(d) || !removes_valid(d) ||
		has_zero(d->fp, d->n))
		return -EINVAL;
	size_t bits = (d->n + 7u) / 8, n = DELTA_FIXED + 2u * d->n_answers + bits + 4u * d->n;
	if (size < n)
		return -ENOSPC;
	uint8_t *b = wire_put32(buf, d->seq);
	*b++ = d->flags;
	*b++ = d->n_answers;
	for (unsigned i = 0; i < d->n_answers; i++) {
		*b++ = d->answer[i].node;
		*b++ = d->answer[i].round;
	}
	memcpy(b, d->removes, bits);
	put_prints(b + bits, d->fp, d->n);
	return (int)n;
}

int wire_get_delta(const uint8_t *buf, size_t len, uint16_t count, struct wire_delta *d)
{
	if (len < DELTA_FIXED || count > WIRE_DELTA_MAX || buf[5] > NODES_MAX)
		return -EINVAL;
	d->seq = wire_get32(buf);
	d->flags = buf[4];
	d->n_answers = buf[5];
	d->n = count;
	size_t bits = (count + 7u) / 8, n = DELTA_FIXED + 2u * d->n_answers + bits + 4u * count;
	if (len < n || (d->flags & ~WIRE_INDEX_PARTIAL) != 0)
		return -EINVAL;
	const uint8_t *b = buf + DELTA_FIXED;
	for (unsigned i = 0; i < d->n_answers; i++) {
		d->answer[i].node = *b++;
		d->answer[i].round = *b++;
	}
	memcpy(d->removes, b, bits);
	if (!get_prints(b + bits, d->fp, count) || !answers_valid(d) || !removes_valid(d))
		return -EINVAL;
	return (int)n;
}

static bool snapshot_valid(const struct wire_snapshot *s)
{
	return s->n <= WIRE_SNAPSHOT_MAX && s->places > 0 && s->first < s->total &&
	       s->places <= s->total - s->first;
}

int wire_put_snapshot(uint8_t *buf, size_t size, const struct wire_snapshot *s)
{
	if (!snapshot_valid(s) || has_zero(s->fp, s->n))
		return -EINVAL;
	size_t n = SNAPSHOT_FIXED + 4u * s->n;
	if (size < n)
		return -ENOSPC;
	uint8_t *b = wire_put32(wire_put32(wire_put32(buf, s->seq), s->total), s->first);
	put_prints(wire_put16(b, s->places), s->fp, s->n);
	return (int)n;
}

int wire_get_snapshot(const uint8_t *buf, size_t len, uint16_t count, struct wire_snapshot *s)
{
	size_t n = SNAPSHOT_FIXED + 4u * count;
	if (count > WIRE_SNAPSHOT_MAX || len < n)
		return -EINVAL;
	s->seq = wire_get32(buf);
	s->total = wire_get32(buf + 4);
	s->first = wire_get32(buf + 8);
	s->places = wire_get16(buf + 12);
	s->n = count;
	if (!snapshot_valid(s) || !get_prints(buf + SNAPSHOT_FIXED, s->fp, count))
		return -EINVAL;
	return (int)n;
}

static bool ask_valid(const struct wire_ask *a)
{
	if (a->what == WIRE_ASK_ROUND)
		return a->from == 0;
	return (a->what == WIRE_ASK_DELTAS || a->what == WIRE_ASK_SNAPSHOT) && a->round == 0;
}

int wire_put_ask(uint8_t *buf, size_t size, const struct wire_ask *a)
{
	if (!ask_valid(a))
		return -EINVAL;
	if (size < ASK_SIZE)
		return -ENOSPC;
	*buf++ = a->what;
	*buf++ = a->round;
	wire_put32(buf, a->from);
	return ASK_SIZE;
}

int wire_get_ask(const uint8_t *buf, size_t len, struct wire_ask *a)
{
	if (len < ASK_SIZE)
		return -EINVAL;
	*a = (struct wire_ask){.what = buf[0], .round = buf[1], .from = wire_get32(buf + 2)};
	return ask_valid(a) ? ASK_SIZE : -EINVAL;
}
