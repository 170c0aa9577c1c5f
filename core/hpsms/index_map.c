// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/index_map.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

// An entry stands at most so many buckets behind its home. At six tenths full, where a table is that
// holds what it is made for, 19 of 20 stand at home, and the farthest of a million 17 behind.
#define PROBE_MAX 64

#define LOAD(at) atomic_load_explicit(&(at), memory_order_relaxed)
#define STORE(at, v) atomic_store_explicit(&(at), (v), memory_order_relaxed)

void index_map_init(struct index_map *m, struct arena *a, uint32_t keys)
{
	uint64_t ways = (uint64_t)keys * 10 / 6;

	*m = (struct index_map){
		.keys = keys,
		.n_buckets = (uint32_t)(ways / INDEX_MAP_WAYS) + 1,
	};
	m->bucket = arena_take(a, (size_t)m->n_buckets * sizeof(*m->bucket));
}

static uint32_t home_of(const struct index_map *m, uint32_t fp)
{
	return (uint32_t)((uint64_t)fp * m->n_buckets >> 32);
}

static struct index_map_bucket *bucket_at(const struct index_map *m, uint32_t home, unsigned probe)
{
	uint32_t at = home + probe;
	return &m->bucket[at < m->n_buckets ? at : at % m->n_buckets];
}

// Bit w: fp stands in way w of b. No branches: where it stands is as random as it is.
static inline unsigned match(const struct index_map_bucket *b, uint32_t fp)
{
	unsigned m = (unsigned)(LOAD(b->fp[4]) == fp) << 4;
#ifdef __SSE2__
	// Four at a time; each of them is still read as one.
	__m128i four = _mm_loadu_si128((const __m128i *)(const void *)b->fp);
	__m128i equal = _mm_cmpeq_epi32(four, _mm_set1_epi32((int)fp));
	m |= (unsigned)_mm_movemask_ps(_mm_castsi128_ps(equal));
#else
	for (unsigned w = 0; w < 4; w++)
		m |= (unsigned)(LOAD(b->fp[w]) == fp) << w;
#endif
	return m;
}
_Static_assert(INDEX_MAP_WAYS == 5, "four and one");

uint64_t index_map_find(const struct index_map *m, uint32_t fp)
{
	uint32_t home = home_of(m, fp);

	for (unsigned probe = 0; probe < PROBE_MAX; probe++) {
		const struct index_map_bucket *b = bucket_at(m, home, probe);
		unsigned at = match(b, fp);
		if (at != 0)
			return LOAD(b->nodes[__builtin_ctz(at)]);
		if (LOAD(b->overflow) == 0)
			break;
	}
	return 0;
}

static void overflow_add(struct index_map *m, uint32_t home, unsigned n, uint32_t by)
{
	for (unsigned probe = 0; probe < n; probe++) {
		struct index_map_bucket *b = bucket_at(m, home, probe);
		STORE(b->overflow, LOAD(b->overflow) + by);
	}
}

// Above its size a table would take longer and longer ways: that is what the limit is for.
static inline bool has_room(const struct index_map *m)
{
	return m->used < m->keys + m->keys / 8;
}

// fp is not, or not at home: all the way.
static bool set_elsewhere(struct index_map *m, uint32_t fp, unsigned node)
{
	uint32_t home = home_of(m, fp);
	struct index_map_bucket *room = NULL;
	unsigned room_way = 0, room_probe = 0;

	for (unsigned probe = 0; probe < PROBE_MAX && probe < m->n_buckets; probe++) {
		struct index_map_bucket *b = bucket_at(m, home, probe);
		unsigned at = match(b, fp);
		if (at != 0) {
			unsigned w = (unsigned)__builtin_ctz(at);
			STORE(b->nodes[w], LOAD(b->nodes[w]) | 1ull << node);
			return true;
		}
		if (room == NULL && (at = match(b, 0)) != 0) {
			room = b;
			room_way = (unsigned)__builtin_ctz(at);
			room_probe = probe;
		}
		if (room != NULL && LOAD(b->overflow) == 0)
			break;
	}
	if (room == NULL || !has_room(m))
		return false;
	STORE(room->nodes[room_way], 1ull << node);
	STORE(room->fp[room_way], fp);
	overflow_add(m, home, room_probe, 1);
	m->used++;
	return true;
}

bool index_map_set(struct index_map *m, uint32_t fp, unsigned node)
{
	struct index_map_bucket *b = &m->bucket[home_of(m, fp)];
	unsigned at = match(b, fp), empty = match(b, 0);
	unsigned way = at != 0 ? at : LOAD(b->overflow) == 0 && has_room(m) ? empty : 0;

	// Whether a fingerprint is there already is anybody's guess, so that is no branch: an empty way
	// has no nodes.
	if (__builtin_expect(way == 0, 0))
		return set_elsewhere(m, fp, node);
	unsigned w = (unsigned)__builtin_ctz(way);
	STORE(b->nodes[w], LOAD(b->nodes[w]) | 1ull << node);
	STORE(b->fp[w], fp);
	m->used += at == 0;
	return true;
}

// true: the entry has gone.
static bool take_out(struct index_map *m, struct index_map_bucket *b, unsigned w, uint64_t nodes)
{
	uint64_t left = LOAD(b->nodes[w]) & ~nodes;
	uint32_t fp = LOAD(b->fp[w]);

	STORE(b->fp[w], left != 0 ? fp : 0);
	STORE(b->nodes[w], left);
	m->used -= left == 0;
	return left == 0;
}

void index_map_clear(struct index_map *m, uint32_t fp, unsigned node)
{
	uint32_t home = home_of(m, fp);

	for (unsigned probe = 0; probe < PROBE_MAX && probe < m->n_buckets; probe++) {
		struct index_map_bucket *b = bucket_at(m, home, probe);
		unsigned at = match(b, fp);
		if (at != 0) {
			bool gone = take_out(m, b, (unsigned)__builtin_ctz(at), 1ull << node);
			if (probe > 0 && gone)
				overflow_add(m, home, probe, UINT32_MAX);
			return;
		}
		if (LOAD(b->overflow) == 0)
			return;
	}
}

void index_map_sweep(struct index_map *m, uint32_t first, uint32_t n, uint64_t nodes)
{
	for (uint32_t at = first; at < m->n_buckets && n > 0; at++, n--) {
		struct index_map_bucket *b = &m->bucket[at];
		for (unsigned w = 0; w < INDEX_MAP_WAYS; w++) {
			uint32_t fp = LOAD(b->fp[w]);
			if (fp == 0 || !(LOAD(b->nodes[w]) & nodes))
				continue;
			if (!take_out(m, b, w, nodes))
				continue;
			uint32_t home = home_of(m, fp);
			uint32_t probe = at >= home ? at - home : at + m->n_buckets - home;
			overflow_add(m, home, probe, UINT32_MAX);
		}
	}
}
