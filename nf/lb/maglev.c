// SPDX-License-Identifier: BSD-3-Clause
#include "maglev.h"

#define EMPTY UINT16_MAX
// Weights alter how often a backend has its turn: in each round it is credited its weight, and a
// turn costs this. Not the highest weight of these backends: so a change of one weight leaves the
// turns of the others as they were.
#define TURN MAGLEV_WEIGHT_MAX

bool maglev_size_valid(uint32_t size)
{
	if (size < 3 || size % 2 == 0)
		return false;
	for (uint32_t d = 3; (uint64_t)d * d <= size; d += 2)
		if (size % d == 0)
			return false;
	return true;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

// Nobody outside chooses backends, so this hash needs no key; it must never change, though, else
// nodes of two versions disagree. Bytes are put together by hand: the same on every machine.
static uint64_t hash_backend(const struct maglev_backend *b, uint64_t seed)
{
	uint8_t bytes[24] = {0};
	memcpy(bytes, b->addr.b, 16);
	memcpy(bytes + 16, &b->port, 2);
	uint64_t h = seed;
	for (unsigned i = 0; i < sizeof(bytes); i += 8) {
		uint64_t word = 0;
		for (unsigned j = 0; j < 8; j++)
			word = word << 8 | bytes[i + j];
		h = mix(h + word + 0x9e3779b97f4a7c15ull);
	}
	return h;
}

static int compare(const struct maglev_backend *a, const struct maglev_backend *b)
{
	int order = memcmp(&a->addr, &b->addr, sizeof(a->addr));
	return order != 0 ? order : memcmp(&a->port, &b->port, sizeof(a->port));
}

static void sort(struct maglev_backend *b, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		struct maglev_backend x = b[i];
		unsigned j = i;
		for (; j > 0 && compare(&x, &b[j - 1]) < 0; j--)
			b[j] = b[j - 1];
		b[j] = x;
	}
}

// The backend claims its next free slot.
static void claim(uint16_t *table, uint32_t size, struct maglev_backend *b, uint16_t index)
{
	uint32_t slot = b->next;
	for (;;) {
		uint32_t at = slot;
		slot = slot + b->skip < size ? slot + b->skip : slot + b->skip - size;
		if (table[at] == EMPTY) {
			table[at] = index;
			b->next = slot;
			return;
		}
	}
}

// Rounds after which somebody has a turn again, 1 or more.
static uint32_t rounds_to_turn(const struct maglev_backend *b, unsigned n)
{
	uint32_t rounds = TURN;
	for (unsigned i = 0; i < n; i++) {
		if (b[i].weight == 0)
			continue;
		uint32_t wait = (TURN - b[i].credit + b[i].weight - 1) / b[i].weight;
		rounds = wait < rounds ? wait : rounds;
	}
	return rounds;
}

void maglev_build(uint16_t *table, uint32_t size, struct maglev_backend *b, unsigned n)
{
	sort(b, n);
	for (unsigned i = 0; i < n; i++) {
		b[i].next = (uint32_t)(hash_backend(&b[i], 1) % size);
		b[i].skip = (uint32_t)(hash_backend(&b[i], 2) % (size - 1)) + 1;
		b[i].credit = 0;
	}
	memset(table, 0xff, size * sizeof(table[0]));
	uint32_t filled = 0;
	while (filled < size) {
		uint32_t rounds = rounds_to_turn(b, n);
		for (unsigned i = 0; i < n && filled < size; i++) {
			b[i].credit += b[i].weight * rounds;
			if (b[i].credit < TURN)
				continue;
			b[i].credit -= TURN;
			claim(table, size, &b[i], (uint16_t)i);
			filled++;
		}
	}
}
