// SPDX-License-Identifier: BSD-3-Clause
// Example of a network function whose state both directions change, explained in docs/nf-guide.md: how
// many bytes has a connection carried, both ways together? It can end those that have had their share.
#include <errno.h>
#include <string.h>

#include <tripod/nf.h>

struct quota_state {
	uint64_t used; // bytes, both directions
	uint64_t here; // bytes that this node has not told of yet
};

static const struct tripod_field FIELDS[] = {
	// The sum is durable, and changes once for every `step` bytes; the bytes in between are soft.
	TRIPOD_FIELD(struct quota_state, used, DURABLE, UINT),
	TRIPOD_FIELD(struct quota_state, here, SOFT, UINT),
	{0},
};

static const struct tripod_option OPTIONS[] = {
	{.name = "bytes",
		.type = TRIPOD_OPT_UINT,
		.required = true,
		.min = 1,
		.max = 1ull << 50,
		.help = "a connection ends when it has carried so many bytes of IP, both ways "
			"together"},
	{.name = "step",
		.type = TRIPOD_OPT_UINT,
		.min = 1500,
		.max = 1ull << 30,
		.standard = "65536",
		.help = "they are added up so many at a time: the error, for each node"},
	{0},
};

enum { ENDED, LATER };
static const char *const COUNTERS[] = {
	[ENDED] = "ended", // connections that have had their share
	[LATER] = "later", // times that bytes could not be added up at once
	NULL,
};

struct quota {
	uint64_t bytes, step;
};

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	struct quota *n = tripod_env_alloc(env, sizeof(*n));
	if (n == NULL)
		return -ENOMEM;
	n->bytes = tripod_conf_uint(conf, "bytes");
	n->step = tripod_conf_uint(conf, "step");
	*instance = n;
	return 0;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	return TRIPOD_FORWARD;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	const struct quota *n = c->instance;
	struct quota_state *soft = tripod_state_soft(c);
	soft->here += (uint64_t)(p->len - p->l3);
	if (soft->here < n->step)
		return TRIPOD_FORWARD;
	uint64_t bytes = soft->here;
	if (tripod_request(c, &bytes, sizeof(bytes)) == 0)
		soft->here = 0;
	else // one is under way: they go with the next
		tripod_count(c, LATER);
	return TRIPOD_FORWARD;
}

static void on_request(struct tripod_call *c, const void *data, size_t size)
{
	const struct quota *n = c->instance;
	uint64_t bytes;
	if (size != sizeof(bytes)) // it may come from another node: not to be trusted
		return;
	memcpy(&bytes, data, sizeof(bytes));
	struct quota_state *w = tripod_state_rw(c); // never NULL here
	bool had_its_share = w->used >= n->bytes;
	w->used += bytes < n->bytes ? bytes : n->bytes;
	if (w->used >= n->bytes && !had_its_share) {
		tripod_count(c, ENDED);
		tripod_terminate(c);
	}
}

static const struct tripod_nf quota = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "quota",
	.summary = "example: ends connections that have carried their share of bytes",
	.state_size = sizeof(struct quota_state),
	.fields = FIELDS,
	.options = OPTIONS,
	.counters = COUNTERS,
	.load = load,
	.on_init = on_init,
	.on_packet = on_packet,
	.on_request = on_request,
};
TRIPOD_NF_PLUGIN(quota);
