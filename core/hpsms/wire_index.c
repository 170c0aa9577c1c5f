// SPDX-License-Identifier: BSD-3-Clause
// The messages of the index sets.
#include <errno.h>

#include "core/hpsms/wire.h"
#include "core/hpsms/wire_bytes.h"
#include "core/node.h"

#define DELTA_FIXED 6
#define LIST_FIXED 5 // before the coded fingerprints
#define SNAPSHOT_FIXED 14
#define ASK_SIZE 6
#define QUOTIENT_MAX 24 // so that a difference is 56 bits at most, which one load of 64 holds

_Static_assert(DELTA_FIXED + 2 * NODES_MAX + WIRE_DELTA_ROOM <= WIRE_BODY_MAX - WIRE_HEADER_SIZE,
	"answers of all nodes fit beside the changes");
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

// ---- Changes: ascending fingerprints, of which the differences are told (a Rice code) ----

// Lower bits of a difference that are told as they are: as many as make the code shortest where fingerprints
// are random, and more where one gap is very long.
static unsigned lower_bits(const uint32_t *fp, unsigned n)
{
	uint32_t longest = 0;

	if (n < 2)
		return 0;
	for (unsigned i = 1; i < n; i++) {
		uint32_t gap = fp[i] - fp[i - 1] - 1;
		longest = gap > longest ? gap : longest;
	}
	unsigned bits = 31 - (unsigned)__builtin_clz((fp[n - 1] - fp[0]) / (n - 1));
	while (longest >> bits > QUOTIENT_MAX)
		bits++;
	return bits;
}

static size_t list_size(const uint32_t *fp, unsigned n)
{
	unsigned lower = lower_bits(fp, n);
	size_t bits = 0;

	for (unsigned i = 1; i < n; i++)
		bits += 1 + lower + ((fp[i] - fp[i - 1] - 1) >> lower);
	return n == 0 ? 0 : LIST_FIXED + (bits + 7) / 8;
}

size_t wire_delta_size(const uint32_t *fp, unsigned n_removes, unsigned n)
{
	size_t size = list_size(fp, n_removes) + list_size(fp + n_removes, n - n_removes);
	return n == 0 ? 0 : 2 + size;
}

static bool ascends(const uint32_t *fp, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		if (fp[i] <= fp[i - 1])
			return false;
	}
	return n == 0 || fp[0] != 0;
}

// The least significant bits first.
static uint8_t *put_list(uint8_t *b, const uint32_t *fp, unsigned n)
{
	unsigned lower = lower_bits(fp, n), n_bits = 0;
	uint64_t bits = 0;

	if (n == 0)
		return b;
	*b++ = (uint8_t)lower;
	b = wire_put32(b, fp[0]);
	for (unsigned i = 1; i < n; i++) {
		uint32_t gap = fp[i] - fp[i - 1] - 1, quotient = gap >> lower;
		uint64_t low = gap & ((1ull << lower) - 1);
		bits |= (low << 1 | 1) << quotient << n_bits;
		for (n_bits += 1 + quotient + lower; n_bits >= 8; n_bits -= 8) {
			*b++ = (uint8_t)bits;
			bits >>= 8;
		}
	}
	if (n_bits > 0)
		*b++ = (uint8_t)bits;
	return b;
}

// 57 bits from this one on, or more; behind the end there are zeros.
static inline uint64_t bits_at(const uint8_t *b, size_t len, size_t at)
{
	uint8_t tail[8] = {0};

	if (at / 8 + 8 > len) {
		memcpy(tail, b + at / 8, len - at / 8);
		b = tail;
	} else {
		b += at / 8;
	}
	uint64_t v = (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 |
		     (uint64_t)b[3] << 24 | (uint64_t)b[4] << 32 | (uint64_t)b[5] << 40 |
		     (uint64_t)b[6] << 48 | (uint64_t)b[7] << 56;
	return v >> at % 8;
}

// n fingerprints, not none; bytes, or -EINVAL.
static int get_list(const uint8_t *b, size_t len, uint32_t *fp, unsigned n)
{
	if (len < LIST_FIXED || b[0] > 31)
		return -EINVAL;
	unsigned lower = b[0];
	uint64_t sum = fp[0] = wire_get32(b + 1), mask = (1ull << lower) - 1;
	size_t at = 0, end;
	b += LIST_FIXED;
	len -= LIST_FIXED;
	end = 8 * len;
	for (unsigned i = 1, first; i < n;) {
		if (at >= end)
			return -EINVAL;
		// As many as one load holds as a whole: each waits for the one before, and for no memory.
		uint64_t bits = bits_at(b, len, at);
		unsigned left = 57;
		for (first = i; i < n; i++) {
			unsigned quotient = (unsigned)__builtin_ctzll(bits | 1ull << 63);
			unsigned size = 1 + quotient + lower;
			if (quotient > QUOTIENT_MAX || size > left)
				break;
			sum += ((uint64_t)quotient << lower) + (bits >> quotient >> 1 & mask) + 1;
			fp[i] = (uint32_t)sum;
			bits >>= size;
			left -= size;
			at += size;
		}
		if (i == first)
			return -EINVAL;
	}
	// Bits behind the last say nothing, so they are zero.
	if (at > end || (at % 8 != 0 && b[at / 8] >> at % 8 != 0) || fp[0] == 0 ||
		sum > UINT32_MAX || lower != lower_bits(fp, n))
		return -EINVAL;
	return (int)(LIST_FIXED + (at + 7) / 8);
}

// d->n changes, not none; bytes, or -EINVAL.
static int get_changes(const uint8_t *b, size_t len, struct wire_delta *d)
{
	int goes = 0, comes = 0;

	d->n_removes = len < 2 ? UINT16_MAX : wire_get16(b);
	if (d->n_removes > d->n)
		return -EINVAL;
	b += 2;
	len -= 2;
	if (d->n_removes > 0)
		goes = get_list(b, len, d->fp, d->n_removes);
	if (goes < 0)
		return goes;
	if (d->n > d->n_removes)
		comes = get_list(
			b + goes, len - (size_t)goes, d->fp + d->n_removes, d->n - d->n_removes);
	return comes < 0 ? comes : 2 + goes + comes;
}

int wire_put_delta(uint8_t *buf, size_t size, const struct wire_delta *d)
{
	if ((d->flags & ~WIRE_INDEX_PARTIAL) != 0 || d->n_answers > NODES_MAX ||
		d->n > WIRE_DELTA_MAX || d->n_removes > d->n || !answers_valid(d) ||
		!ascends(d->fp, d->n_removes) ||
		!ascends(d->fp + d->n_removes, d->n - d->n_removes))
		return -EINVAL;
	size_t n = DELTA_FIXED + 2u * d->n_answers + wire_delta_size(d->fp, d->n_removes, d->n);
	if (size < n)
		return -ENOSPC;
	uint8_t *b = wire_put32(buf, d->seq);
	*b++ = d->flags;
	*b++ = d->n_answers;
	for (unsigned i = 0; i < d->n_answers; i++) {
		*b++ = d->answer[i].node;
		*b++ = d->answer[i].round;
	}
	if (d->n > 0) {
		b = put_list(wire_put16(b, d->n_removes), d->fp, d->n_removes);
		put_list(b, d->fp + d->n_removes, d->n - d->n_removes);
	}
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
	size_t n = DELTA_FIXED + 2u * d->n_answers;
	if (len < n || (d->flags & ~WIRE_INDEX_PARTIAL) != 0)
		return -EINVAL;
	for (unsigned i = 0; i < d->n_answers; i++) {
		d->answer[i].node = buf[DELTA_FIXED + 2 * i];
		d->answer[i].round = buf[DELTA_FIXED + 2 * i + 1];
	}
	if (!answers_valid(d))
		return -EINVAL;
	d->n_removes = 0;
	int changes = count > 0 ? get_changes(buf + n, len - n, d) : 0;
	return changes < 0 ? changes : (int)n + changes;
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
