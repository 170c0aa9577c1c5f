// SPDX-License-Identifier: BSD-3-Clause
#include "tally.h"

#include <stdlib.h>

_Bool tally_add(struct tally *t, uint64_t value_ns)
{
	if (t->n == t->capacity) {
		size_t capacity = t->capacity ? 2 * t->capacity : 1024;
		uint64_t *value_new = realloc(t->value_ns, capacity * sizeof(*value_new));
		if (!value_new)
			return 0;
		t->value_ns = value_new;
		t->capacity = capacity;
	}
	t->value_ns[t->n++] = value_ns;
	return 1;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

uint64_t tally_percentile_ns(struct tally *t, unsigned percent)
{
	if (!t->n)
		return 0;
	qsort(t->value_ns, t->n, sizeof(*t->value_ns), compare);
	size_t rank = (t->n * percent + 99) / 100;
	return t->value_ns[rank ? rank - 1 : 0];
}

void tally_free(struct tally *t)
{
	free(t->value_ns);
	*t = (struct tally){0};
}
