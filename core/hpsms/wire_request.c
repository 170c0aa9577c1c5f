// SPDX-License-Identifier: BSD-3-Clause
// Items of REQUEST and APPLIED: changes of a connection's shared part that another node asks for; and of FORGET and
// FORGOT: copies that are given up.
#include <errno.h>

#include "core/hpsms/wire.h"
#include "core/hpsms/wire_bytes.h"

#define REQUEST_FIXED_MAX (8 + WIRE_NUMBER_MAX + 6)
#define APPLIED_MAX (8 + WIRE_NUMBER_MAX + 4)

static bool request_valid(const struct wire_request *r)
{
	if (r->seq == 0 || r->size > TRIPOD_REQUEST_MAX)
		return false;
	return r->nf < CHAIN_NFS_MAX || (r->nf == WIRE_REQUEST_TERMINATE && r->size == 0);
}

// Hash, incarnation and number, with which both begin.
static uint8_t *put_which(uint8_t *b, uint64_t hash, uint64_t incarnation, uint32_t seq)
{
	return wire_put32(wire_put_number(wire_put64(b, hash), incarnation), seq);
}

static const uint8_t *get_which(
	const uint8_t *b, const uint8_t *end, uint64_t *hash, uint64_t *incarnation, uint32_t *seq)
{
	if (end - b < 8)
		return NULL;
	*hash = wire_get64(b);
	b = wire_get_number(b + 8, end, UINT64_MAX, incarnation);
	if (b == NULL || end - b < 4)
		return NULL;
	*seq = wire_get32(b);
	return b + 4;
}

int wire_put_request(uint8_t *buf, size_t size, const struct wire_request *r)
{
	uint8_t fixed[REQUEST_FIXED_MAX], *b = fixed;

	if (!request_valid(r))
		return -EINVAL;
	b = put_which(b, r->hash, r->incarnation, r->seq);
	*b++ = r->nf;
	*b++ = r->size;
	size_t n = (size_t)(b - fixed);
	if (size < n + r->size)
		return -ENOSPC;
	memcpy(buf, fixed, n);
	memcpy(buf + n, r->data, r->size);
	return (int)(n + r->size);
}

int wire_get_request(const uint8_t *buf, size_t len, struct wire_request *r)
{
	const uint8_t *end = buf + len;

	*r = (struct wire_request){0};
	const uint8_t *b = get_which(buf, end, &r->hash, &r->incarnation, &r->seq);
	if (b == NULL || end - b < 2)
		return -EINVAL;
	r->nf = *b++;
	r->size = *b++;
	if (!request_valid(r) || end - b < r->size)
		return -EINVAL;
	memcpy(r->data, b, r->size);
	return (int)(b - buf) + r->size;
}

int wire_put_applied(uint8_t *buf, size_t size, const struct wire_applied *a)
{
	uint8_t bytes[APPLIED_MAX];

	if (a->seq == 0)
		return -EINVAL;
	size_t n = (size_t)(put_which(bytes, a->hash, a->incarnation, a->seq) - bytes);
	if (size < n)
		return -ENOSPC;
	memcpy(buf, bytes, n);
	return (int)n;
}

int wire_get_applied(const uint8_t *buf, size_t len, struct wire_applied *a)
{
	const uint8_t *b = get_which(buf, buf + len, &a->hash, &a->incarnation, &a->seq);

	return b == NULL || a->seq == 0 ? -EINVAL : (int)(b - buf);
}

int wire_put_forget(uint8_t *buf, size_t size, const struct wire_forget *f)
{
	uint8_t bytes[8 + WIRE_NUMBER_MAX + 8];
	uint8_t *b = wire_put_number(wire_put64(bytes, f->hash), f->incarnation);

	b = wire_put16(b, f->stamp);
	for (unsigned p = 0; p < PARTS; p++)
		b = wire_put16(b, f->epoch[p]);
	if (size < (size_t)(b - bytes))
		return -ENOSPC;
	memcpy(buf, bytes, (size_t)(b - bytes));
	return (int)(b - bytes);
}

int wire_get_forget(const uint8_t *buf, size_t len, struct wire_forget *f)
{
	const uint8_t *b = buf + 8, *end = buf + len;

	if (len < 8)
		return -EINVAL;
	f->hash = wire_get64(buf);
	b = wire_get_number(b, end, UINT64_MAX, &f->incarnation);
	if (b == NULL || end - b < 8)
		return -EINVAL;
	f->stamp = wire_get16(b);
	for (unsigned p = 0; p < PARTS; p++)
		f->epoch[p] = wire_get16(b + 2 + 2 * p);
	return (int)(b + 8 - buf);
}
