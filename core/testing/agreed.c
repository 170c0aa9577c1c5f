// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/agreed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

// Different fingerprints of a node's set.
static unsigned distinct(const struct cuckoo *c, uint32_t *fp, unsigned max)
{
	unsigned n, out = 0;

	cuckoo_export(c, 0, c->n_buckets, fp, max, &n);
	assert_int_equal(n, c->used);
	qsort(fp, n, sizeof(*fp), by_value);
	for (unsigned i = 0; i < n; i++) {
		if (i == 0 || fp[i] != fp[out - 1])
			fp[out++] = fp[i];
	}
	return out;
}

unsigned agreed_wrong(struct rack *r, unsigned at, unsigned node)
{
	static uint32_t fp[65536];
	const struct index_map *map = &rack_node(r, at)->index->map;
	unsigned n = distinct(&rack_node(r, node)->index->own, fp, 65536), has = 0, bits = 0;

	for (unsigned i = 0; i < n; i++)
		has += index_map_find(map, fp[i]) >> node & 1;
	for (uint32_t b = 0; b < map->n_buckets; b++) {
		for (unsigned w = 0; w < INDEX_MAP_WAYS; w++)
			bits += map->bucket[b].fp[w] != 0 && map->bucket[b].nodes[w] >> node & 1;
	}
	return n - has + bits - has;
}

void agreed_sets(struct rack *r, unsigned nodes)
{
	for (unsigned at = 0; at < nodes; at++) {
		for (unsigned node = 0; node < nodes; node++) {
			if (at == node || !rack_node(r, at) || !rack_node(r, node))
				continue;
			assert_int_equal(agreed_wrong(r, at, node), 0);
		}
		if (rack_node(r, at))
			assert_true(index_complete(node_shard(rack_node(r, at), 0)));
	}
	rack_check(r);
}
