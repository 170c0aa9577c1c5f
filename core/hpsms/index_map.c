// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/index_map.h"

// An entry stands at most so many buckets behind its home. At seven tenths full, where a table is that
// holds what it is made for, nine of ten stand at home, and the farthest of a million 29 behind.
#define PROBE_MAX 64

#define LOAD(at) atomic_load_explicit(&(at), memory_order_relaxed)
#define STORE(at, v) atomic_store_explicit(&(at), (v), memory_order_relaxed)

void index_map_init(struct index_map *m, struct arena *a, uint32_t keys)
{
	uint64_t ways = (uint64_t)keys * 10 / 7;

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

// The place of fp in b; INDEX_MAP_WAYS: not here.
static unsigned way_of(const struct index_map_bucket *b, uint32_t fp)
{
	unsigned w = 0;

	while (w < INDEX_MAP_WAYS && LOAD(b->fp[w]) != fp)
		w++;
	return w;
}

uint64_t index_map_find(const struct index_map *m, uint32_t fp)
{
	uint32_t home = home_of(m, fp);

	for (unsigned probe = 0; probe < PROBE_MAX; probe++) {
		const struct index_map_bucket *b = bucket_at(m, home, probe);
		unsigned w = way_of(b, fp);
		if (w < INDEX_MAP_WAYS)
			return LOAD(b->nodes[w]);
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

bool index_map_set(struct index_map *m, uint32_t fp, unsigned node)
{
	uint32_t home = home_of(m, fp);
	struct index_map_bucket *room = NULL;
	unsigned room_way = 0, room_probe = 0;

	for (unsigned probe = 0; probe < PROBE_MAX && probe < m->n_buckets; probe++) {
		struct index_map_bucket *b = bucket_at(m, home, probe);
		unsigned w = way_of(b, fp);
		if (w < INDEX_MAP_WAYS) {
			STORE(b->nodes[w], LOAD(b->nodes[w]) | 1ull << node);
			return true;
		}
		if (room == NULL && (w = way_of(b, 0)) < INDEX_MAP_WAYS) {
			room = b;
			room_way = w;
			room_probe = probe;
		}
		if (room != NULL && LOAD(b->overflow) == 0)
			break;
	}
	// Above its size it would take longer and longer ways: that is what the limit is for.
	if (room == NULL || m->used >= m->keys + m->keys / 8)
		return false;
	STORE(room->nodes[room_way], 1ull << node);
	STORE(room->fp[room_way], fp);
	overflow_add(m, home, room_probe, 1);
	m->used++;
	return true;
}

static void take_out(struct index_map *m, struct index_map_bucket *b, unsigned w, uint64_t nodes)
{
	uint64_t left = LOAD(b->nodes[w]) & ~nodes;

	if (left == 0)
		STORE(b->fp[w], 0);
	STORE(b->nodes[w], left);
	m->used -= left == 0;
}

void index_map_clear(struct index_map *m, uint32_t fp, unsigned node)
{
	uint32_t home = home_of(m, fp);

	for (unsigned probe = 0; probe < PROBE_MAX && probe < m->n_buckets; probe++) {
		struct index_map_bucket *b = bucket_at(m, home, probe);
		unsigned w = way_of(b, fp);
		if (w < INDEX_MAP_WAYS) {
			take_out(m, b, w, 1ull << node);
			if (LOAD(b->fp[w]) == 0)
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
			take_out(m, b, w, nodes);
			if (LOAD(b->fp[w]) != 0)
				continue;
			uint32_t home = home_of(m, fp);
			uint32_t probe = at >= home ? at - home : at + m->n_buckets - home;
			overflow_add(m, home, probe, UINT32_MAX);
		}
	}
}
