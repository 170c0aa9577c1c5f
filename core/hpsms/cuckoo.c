// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/cuckoo.h"

// x * n / 2^32: uniform in [0, n) for a uniform x, for any n.
static uint32_t scale(uint32_t x, uint32_t n)
{
	return (uint32_t)((uint64_t)x * n >> 32);
}

static uint32_t first_bucket(const struct cuckoo *c, uint32_t fp)
{
	return scale(fp, c->n_buckets);
}

// The other bucket of a fingerprint that stands in b; of that one, b again. An odd number less b, and
// an even number of buckets: it is always another.
static uint32_t other_bucket(const struct cuckoo *c, uint32_t fp, uint32_t b)
{
	uint32_t h = fp * 0x9e3779b1u;

	h = scale((h ^ h >> 15) * 0x85ebca6bu, c->n_buckets) | 1;
	return h >= b ? h - b : h - b + c->n_buckets;
}

void cuckoo_init(struct cuckoo *c, struct arena *a, uint32_t keys)
{
	uint32_t buckets = keys / CUCKOO_WAYS + keys / (CUCKOO_WAYS * 7) + 4;

	buckets += buckets & 1;
	*c = (struct cuckoo){.n_buckets = buckets};
	c->bucket = arena_take(a, (size_t)buckets * sizeof(*c->bucket));
}

static bool put(struct cuckoo_bucket *b, uint32_t fp)
{
	for (unsigned w = 0; w < CUCKOO_WAYS; w++) {
		if (b->fp[w] == 0) {
			b->fp[w] = fp;
			return true;
		}
	}
	return false;
}

bool cuckoo_insert(struct cuckoo *c, uint32_t fp, uint32_t *moved, unsigned *n_moved)
{
	uint32_t *place[CUCKOO_KICKS], hand = fp;
	uint32_t at = first_bucket(c, fp);
	unsigned n = 0;

	if (n_moved != NULL)
		*n_moved = 0;
	if (put(&c->bucket[at], fp)) {
		c->used++;
		return true;
	}
	for (;;) {
		at = other_bucket(c, hand, at);
		if (put(&c->bucket[at], hand))
			break;
		if (n == CUCKOO_KICKS) {
			// Back as it was: better the new one stays out than one that peers rely on.
			while (n > 0) {
				uint32_t back = *place[--n];
				*place[n] = hand;
				hand = back;
			}
			return false;
		}
		place[n] = &c->bucket[at].fp[c->turn++ % CUCKOO_WAYS];
		uint32_t out = *place[n];
		*place[n] = hand;
		hand = out;
		if (moved != NULL)
			moved[n] = out;
		n++;
	}
	if (n_moved != NULL)
		*n_moved = n;
	c->used++;
	return true;
}

bool cuckoo_remove(struct cuckoo *c, uint32_t fp)
{
	uint32_t at = first_bucket(c, fp);

	for (unsigned try = 0; try < 2; try++) {
		for (unsigned w = 0; w < CUCKOO_WAYS; w++) {
			if (c->bucket[at].fp[w] == fp) {
				c->bucket[at].fp[w] = 0;
				c->used--;
				return true;
			}
		}
		at = other_bucket(c, fp, at);
	}
	return false;
}

static unsigned count_in(const struct cuckoo_bucket *b, uint32_t fp)
{
	unsigned n = 0;

	for (unsigned w = 0; w < CUCKOO_WAYS; w++)
		n += b->fp[w] == fp;
	return n;
}

unsigned cuckoo_count(const struct cuckoo *c, uint32_t fp)
{
	uint32_t a = first_bucket(c, fp), b = other_bucket(c, fp, a);

	return count_in(&c->bucket[a], fp) + (a != b ? count_in(&c->bucket[b], fp) : 0);
}

uint32_t cuckoo_export(const struct cuckoo *c, uint32_t first, uint32_t most, uint32_t *out,
	unsigned max, unsigned *n)
{
	uint32_t b = first;

	*n = 0;
	while (b < c->n_buckets && b - first < most && *n + CUCKOO_WAYS <= max) {
		for (unsigned w = 0; w < CUCKOO_WAYS; w++) {
			if (c->bucket[b].fp[w] != 0)
				out[(*n)++] = c->bucket[b].fp[w];
		}
		b++;
	}
	return b - first;
}
