// SPDX-License-Identifier: BSD-3-Clause
#include "sim/events.h"

#include <stdlib.h>

static bool before(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->tie < b->tie;
}

void events_push(struct events *e, const struct event *event)
{
	if (e->n == e->room) {
		e->room = e->room == 0 ? 4096 : 2 * e->room;
		e->heap = realloc(e->heap, e->room * sizeof(*e->heap));
		if (e->heap == NULL)
			abort();
	}
	uint32_t at = e->n++;
	while (at > 0) {
		uint32_t parent = (at - 1) / 4;
		if (!before(event, &e->heap[parent]))
			break;
		e->heap[at] = e->heap[parent];
		at = parent;
	}
	e->heap[at] = *event;
}

bool events_pop(struct events *e, struct event *out)
{
	if (e->n == 0)
		return false;
	*out = e->heap[0];
	struct event last = e->heap[--e->n];
	uint32_t at = 0;
	for (;;) {
		uint32_t best = 4 * at + 1;
		if (best >= e->n)
			break;
		for (uint32_t child = best + 1; child < 4 * at + 5 && child < e->n; child++) {
			if (before(&e->heap[child], &e->heap[best]))
				best = child;
		}
		if (!before(&e->heap[best], &last))
			break;
		e->heap[at] = e->heap[best];
		at = best;
	}
	e->heap[at] = last;
	return true;
}

void events_free(struct events *e)
{
	free(e->heap);
	*e = (struct events){};
}
