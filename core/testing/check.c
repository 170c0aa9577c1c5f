// SPDX-License-Identifier: BSD-3-Clause
#include <stdio.h>
#include <stdlib.h>

#include "core/shard.h"
#include "core/testing/rack.h"
#include "core/testing/tables.h"

void rack_check(struct rack *r)
{
	char why[160];

	for (unsigned i = 0; i < RACK_NODES; i++) {
		struct node *n = rack_node(r, i);
		for (unsigned w = 0; n != NULL && w < n->conf.workers; w++) {
			if (tables_check(node_shard(n, w), why, sizeof(why)))
				continue;
			fprintf(stderr, "node %u worker %u: %s\n", i, w, why);
			abort();
		}
	}
}
