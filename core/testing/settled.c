// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/settled.h"

struct rack *settled_rack(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 3;
	c.workers = c.workers ? c.workers : 1;
	c.backups = c.backups ? c.backups : 1;
	c.seed = c.seed ? c.seed : 7;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}
