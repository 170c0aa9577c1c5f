// SPDX-License-Identifier: BSD-3-Clause
// Example of a network function, explained in docs/nf-guide.md: on how many nodes has a connection
// been? It counts one for every node that handles the connection's first packet after a failure, a
// drain or a change of the switch, and can end connections that move too often.
#include <errno.h>

#include <tripod/nf.h>

// What one connection has. Bytes are copied between nodes: no pointers.
struct pathcount_state {
	uint64_t label; // random, the same on all nodes
	uint32_t nodes; // that have handled it
	uint32_t here; // packets on this node
};

static const struct tripod_field FIELDS[] = {
	// Fixed in on_init, before any packet leaves: every node shows the same label for ever.
	TRIPOD_FIELD(struct pathcount_state, label, WRITE_ONCE, UINT),
	// Changes seldom, and must survive the node: each change is replicated.
	TRIPOD_FIELD(struct pathcount_state, nodes, DURABLE, UINT),
	// Changes with every packet: replicating it would cost a message a packet, and what it says
	// ends with the node anyway.
	TRIPOD_FIELD(struct pathcount_state, here, SOFT, UINT),
	{0},
};

static const struct tripod_option OPTIONS[] = {
	{.name = "max_nodes",
		.type = TRIPOD_OPT_UINT,
		.max = 1000,
		.standard = "0",
		.help = "a connection ends when it has been on more nodes than this; 0: never"},
	{0},
};

enum { OPENED, ARRIVED, ENDED, MOVED };
static const char *const COUNTERS[] = {
	[OPENED] = "opened", // connections
	[ARRIVED] = "arrived", // connections that came from another node
	[ENDED] = "ended", // by max_nodes
	[MOVED] = "moved", // connections that had been on several nodes when they closed
	NULL,
};

// Of one chain; read-only once loaded, shared by all workers.
struct pathcount {
	uint32_t max_nodes; // 0: no limit
};

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	struct pathcount *n = tripod_env_alloc(env, sizeof(*n));
	if (n == NULL)
		return -ENOMEM;
	n->max_nodes = (uint32_t)tripod_conf_uint(conf, "max_nodes");
	*instance = n;
	return 0;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	struct pathcount_state *s = tripod_state_rw(c); // never NULL here
	s->label = tripod_random(c);
	s->nodes = 1;
	s->here = 1;
	tripod_count(c, OPENED);
	return TRIPOD_FORWARD;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	const struct pathcount *n = c->instance;
	const struct pathcount_state *s = c->state;
	if (s->here == 0) { // soft bytes are zero after a takeover: the first packet on this node
		struct pathcount_state *w = tripod_state_rw(c);
		if (w == NULL) // this node may not write: it only has the answers of the connection
			return TRIPOD_FORWARD;
		w->nodes++;
		tripod_count(c, ARRIVED);
		if (n->max_nodes != 0 && w->nodes > n->max_nodes) {
			tripod_count(c, ENDED);
			tripod_terminate(c);
		}
	}
	struct pathcount_state *soft = tripod_state_soft(c); // nothing is replicated
	soft->here++;
	return TRIPOD_FORWARD;
}

static void on_close(struct tripod_call *c, enum tripod_reason why)
{
	const struct pathcount_state *s = c->state;
	if (s->nodes > 1)
		tripod_count(c, MOVED);
}

static const struct tripod_nf pathcount = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "pathcount",
	.summary = "example: counts the nodes that a connection has been on",
	.state_size = sizeof(struct pathcount_state),
	.fields = FIELDS,
	.options = OPTIONS,
	.counters = COUNTERS,
	.load = load,
	.on_init = on_init,
	.on_packet = on_packet,
	.on_close = on_close,
};
TRIPOD_NF_PLUGIN(pathcount);
