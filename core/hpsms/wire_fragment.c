// SPDX-License-Identifier: BSD-3-Clause
// Items of FRAGMENT: a datagram of which the first fragment has been forwarded, and with which addresses.
#include <errno.h>

#include "core/hpsms/wire.h"

#define NEW_SRC 1
#define NEW_DST 2

static bool same_family(const struct tripod_addr *a, const struct tripod_addr *b)
{
	return tripod_addr_is_v4(a) == tripod_addr_is_v4(b);
}

int wire_put_fragment(uint8_t *buf, size_t size, const struct wire_fragment *f)
{
	struct tripod_tuple t = f->key;
	bool src = !tripod_addr_equal(&t.src, &f->src), dst = !tripod_addr_equal(&t.dst, &f->dst);

	if (t.kind != TRIPOD_KIND_FRAGMENT || !same_family(&t.src, &f->src) ||
		!same_family(&t.src, &f->dst))
		return -EINVAL;
	t.kind = TRIPOD_KIND_CONNECTION;
	int n = wire_put_tuple(buf, size, &t);
	if (n < 0)
		return n;
	size_t skip = tripod_addr_is_v4(&t.src) ? 12 : 0, bytes = 16 - skip;
	if (size - (size_t)n < 1 + bytes * (src + dst))
		return -ENOSPC;
	uint8_t *b = buf + n;
	*b++ = (uint8_t)((src ? NEW_SRC : 0) | (dst ? NEW_DST : 0));
	if (src)
		b = (uint8_t *)memcpy(b, f->src.b + skip, bytes) + bytes;
	if (dst)
		b = (uint8_t *)memcpy(b, f->dst.b + skip, bytes) + bytes;
	return (int)(b - buf);
}
_Static_assert(WIRE_TUPLE_MAX + 1 + 2 * 16 <= WIRE_FRAGMENT_MAX, "the largest item fits");

int wire_get_fragment(const uint8_t *buf, size_t len, struct wire_fragment *f)
{
	int n = wire_get_tuple(buf, len, &f->key);

	if (n < 0 || len == (size_t)n)
		return -EINVAL;
	f->src = f->key.src;
	f->dst = f->key.dst;
	f->key.kind = TRIPOD_KIND_FRAGMENT;
	size_t skip = tripod_addr_is_v4(&f->src) ? 12 : 0, bytes = 16 - skip;
	const uint8_t *b = buf + n;
	bool src = *b & NEW_SRC, dst = *b & NEW_DST;
	if ((*b++ & ~(NEW_SRC | NEW_DST)) != 0 || len - (size_t)n - 1 < bytes * (src + dst))
		return -EINVAL;
	if (src)
		memcpy(f->src.b + skip, b, bytes);
	if (dst)
		memcpy(f->dst.b + skip, b + (src ? bytes : 0), bytes);
	// What is said to be new is, and of the same family.
	if (tripod_addr_equal(&f->src, &f->key.src) != !src ||
		tripod_addr_equal(&f->dst, &f->key.dst) != !dst ||
		!same_family(&f->key.src, &f->src) || !same_family(&f->key.src, &f->dst))
		return -EINVAL;
	return n + 1 + (int)(bytes * (src + dst));
}
