// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/index_batch.h"

// Changes of one value of this byte stay in the order in which they were.
static void sort_by(const uint64_t *from, uint64_t *to, uint32_t n, unsigned shift)
{
	uint32_t at[256] = {0}, sum = 0;

	for (uint32_t i = 0; i < n; i++)
		at[from[i] >> shift & 255]++;
	for (unsigned v = 0; v < 256; v++) {
		uint32_t with = at[v];
		at[v] = sum;
		sum += with;
	}
	for (uint32_t i = 0; i < n; i++)
		to[at[from[i] >> shift & 255]++] = from[i];
}

void index_batch_close(struct index_batch *b)
{
	uint32_t kept = 0;

	// By fingerprint alone, so that the last change of one is the last.
	for (unsigned shift = 1; shift < 33; shift += 16) {
		sort_by(b->change, b->other, b->n, shift);
		sort_by(b->other, b->change, b->n, shift + 8);
	}
	for (uint32_t i = 0; i < b->n; i++) {
		if (i + 1 == b->n || b->change[i + 1] >> 1 != b->change[i] >> 1)
			b->change[kept++] = b->change[i];
	}
	b->n = kept;
	b->at = 0;
}

// So many of what is left, those that go first.
static void part(const struct index_batch *b, struct index_delta *d, uint32_t n)
{
	d->n = d->n_removes = 0;
	for (unsigned comes = 0; comes < 2; comes++) {
		for (uint32_t i = b->at; i < b->at + n; i++) {
			if ((b->change[i] & 1) != comes)
				d->fp[d->n++] = (uint32_t)(b->change[i] >> 1);
		}
		d->n_removes = comes ? d->n_removes : d->n;
	}
}

bool index_batch_take(struct index_batch *b, struct index_delta *d)
{
	uint32_t left = b->n - b->at, n = left < WIRE_DELTA_MAX ? left : WIRE_DELTA_MAX;

	if (left == 0) {
		b->n = b->at = 0;
		return false;
	}
	part(b, d, n);
	for (size_t size; n > 1; part(b, d, n)) {
		size = wire_delta_size(d->fp, d->n_removes, d->n);
		if (size <= WIRE_DELTA_ROOM)
			break;
		n = (uint32_t)(n * (size_t)WIRE_DELTA_ROOM / size) - 1;
	}
	b->at += n;
	return true;
}
