// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/twice.h"

bool twice_logs_lost;

struct flow twice_flow(struct rack *r, unsigned n)
{
	struct flow f = flow_of(n, "10.1.0.101");

	f.port = 1000;
	f.key = forge_key(n);
	twice_only(r, 0);
	rack_run_ms(r, 20);
	return f;
}

struct wire_record twice_closing(struct rack *r, unsigned n)
{
	struct wire_record w = forge_record(r, n, 1, 3);
	const uint8_t open = TCP_DIR_SYN | TCP_DIR_ACK;

	w.dir[0].tcp_flags = open | TCP_DIR_FIN | TCP_DIR_FIN_SEEN;
	w.dir[0].fin = TWICE_FIN;
	w.dir[1].tcp_flags = open;
	return w;
}

bool twice_lose_logs(void *ctx, unsigned from, const struct frame *f)
{
	return twice_logs_lost && rack_message(f) == WIRE_LOG;
}

void twice_only(struct rack *r, unsigned node)
{
	for (unsigned i = 0; i < 3; i++)
		rack_port(r, i, i == node);
}
