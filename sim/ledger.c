// SPDX-License-Identifier: BSD-3-Clause
#include "sim/ledger.h"

#include <errno.h>
#include <string.h>

static const struct tripod_field FIELDS[] = {
	TRIPOD_FIELD(struct ledger_state, line_0, DURABLE, UINT),
	TRIPOD_FIELD(struct ledger_state, line_1, DURABLE, UINT),
	TRIPOD_FIELD(struct ledger_state, line_2, DURABLE, UINT),
	TRIPOD_FIELD(struct ledger_state, line_3, DURABLE, UINT),
	TRIPOD_FIELD(struct ledger_state, line_4, DURABLE, UINT),
	TRIPOD_FIELD(struct ledger_state, line_5, DURABLE, UINT),
	TRIPOD_FIELD(struct ledger_state, twice, DURABLE, UINT),
	TRIPOD_FIELD(struct ledger_state, lost, DURABLE, UINT),
	TRIPOD_FIELD(struct ledger_state, asker, SOFT, UINT),
	TRIPOD_FIELD(struct ledger_state, asked, SOFT, UINT),
	TRIPOD_FIELD(struct ledger_state, elsewhere, SOFT, UINT),
	TRIPOD_FIELD(struct ledger_state, left, SOFT, UINT),
	{0},
};

static const struct tripod_option OPTIONS[] = {
	{.name = "every",
		.type = TRIPOD_OPT_UINT,
		.min = 1,
		.max = 1000,
		.required = true,
		.help = "packets between two requests of a node"},
	{0},
};

struct entry { // what a request carries
	uint32_t asker, n;
	uint32_t elsewhere; // the asker's last one that was not applied by itself
};

static unsigned find(const struct ledger_state *s, uint32_t asker)
{
	unsigned at = 0;

	while (at < LEDGER_LINES && s->line[at] >> 32 != asker)
		at++;
	return at;
}

uint32_t ledger_last(const struct ledger_state *s, uint32_t asker)
{
	unsigned at = find(s, asker);

	return at < LEDGER_LINES ? (uint32_t)s->line[at] : 0;
}

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	uint32_t *every = tripod_env_alloc(env, sizeof(*every));

	if (every == NULL)
		return -ENOMEM;
	*every = (uint32_t)tripod_conf_uint(conf, "every");
	*instance = every;
	return 0;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	return TRIPOD_FORWARD;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	struct ledger_state *soft = tripod_state_soft(c);

	if (soft->left > 0) {
		soft->left--;
		return TRIPOD_FORWARD;
	}
	if (soft->asker == 0)
		soft->asker = (uint32_t)tripod_random(c) | 1;
	struct entry e = {soft->asker, soft->asked + 1, soft->elsewhere};
	if (tripod_request(c, &e, sizeof(e)) != 0)
		return TRIPOD_FORWARD; // with the next packet
	soft->left = *(const uint32_t *)c->instance - 1;
	soft->asked++;
	// What this node writes itself goes the way of other writes: with the node, or with its claim.
	if (ledger_last(c->state, soft->asker) < soft->asked)
		soft->elsewhere = soft->asked;
	return TRIPOD_FORWARD;
}

static void on_request(struct tripod_call *c, const void *data, size_t size)
{
	struct ledger_state *s = tripod_state_rw(c);
	struct entry e;

	if (size != sizeof(e))
		return;
	memcpy(&e, data, sizeof(e));
	unsigned at = find(s, e.asker);
	bool known = at < LEDGER_LINES;
	if (known && (uint32_t)s->line[at] >= e.n) {
		s->twice++;
		return;
	}
	// Of an asker without a line nothing has been applied, unless it has been crossed out.
	if (known ? (uint32_t)s->line[at] < e.elsewhere
		  : e.elsewhere != 0 && s->line[LEDGER_LINES - 1] == 0)
		s->lost++;
	if (!known)
		at = LEDGER_LINES - 1;
	memmove(&s->line[1], &s->line[0], at * sizeof(s->line[0]));
	s->line[0] = (uint64_t)e.asker << 32 | e.n;
}

const struct tripod_nf ledger = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "ledger",
	.summary = "of the simulator: requests of which each must be applied once",
	.state_size = sizeof(struct ledger_state),
	.fields = FIELDS,
	.options = OPTIONS,
	.load = load,
	.on_init = on_init,
	.on_packet = on_packet,
	.on_request = on_request,
};
TRIPOD_NF_BUILTIN(ledger)
