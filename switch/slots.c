// SPDX-License-Identifier: BSD-3-Clause
#include "switch/slots.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

#include "core/node.h"

unsigned slots_count(unsigned n)
{
	return n <= 8 ? 64 : SLOTS_MAX;
}

// The node with the most slots; of several, the first.
static unsigned richest(unsigned n, const unsigned *count)
{
	unsigned best = 0;
	for (unsigned i = 1; i < n; i++)
		if (count[i] > count[best])
			best = i;
	return best;
}

struct neighbours {
	unsigned slots;
	const uint8_t *owner;
	unsigned pair[NODES_MAX][NODES_MAX]; // how often the second follows the first
};

// How much less even the pairs are (by their squares) when node j takes this place.
static int crowd(const struct neighbours *b, unsigned slot, unsigned j)
{
	unsigned before = b->owner[(slot + b->slots - 1) % b->slots],
		 after = b->owner[(slot + 1) % b->slots], from = b->owner[slot];
	if (before == j || after == j)
		return INT_MAX - 1;
	return 2 * (int)(b->pair[before][j] + b->pair[j][after]) -
	       2 * (int)(b->pair[before][from] + b->pair[from][after]);
}

static void count_pairs(struct neighbours *b)
{
	memset(b->pair, 0, sizeof(b->pair));
	for (unsigned s = 0; s < b->slots; s++)
		b->pair[b->owner[s]][b->owner[(s + 1) % b->slots]]++;
}

// Where node j disturbs least among the slots of `from`.
static unsigned best_slot(const struct neighbours *b, unsigned from, unsigned j)
{
	unsigned best = 0;
	int least = INT_MAX;
	for (unsigned s = 0; s < b->slots; s++) {
		int c = b->owner[s] == from ? crowd(b, s, j) : INT_MAX;
		if (c < least) {
			least = c;
			best = s;
		}
	}
	return best;
}

void slots_fill(unsigned n, uint8_t out[SLOTS_MAX])
{
	struct neighbours b = {.slots = slots_count(n), .owner = out};
	unsigned count[NODES_MAX] = {b.slots};
	assert(n >= 1 && n <= NODES_MAX);
	memset(out, 0, SLOTS_MAX);
	for (unsigned j = 1; j < n; j++) {
		for (unsigned share = b.slots / (j + 1); count[j] < share; count[j]++) {
			unsigned from = richest(j, count);
			count_pairs(&b);
			out[best_slot(&b, from, j)] = (uint8_t)j;
			count[from]--;
		}
	}
}
