// SPDX-License-Identifier: BSD-3-Clause
// Limits the live connections of each source address (or source network), over all nodes of the rack.
#include <errno.h>

#include <tripod/nf.h>

enum { RULES_MAX = 256, UNITS_MAX = 1000000000 };
enum { CHUNK_MAX = 16, CHUNK_SHARE = 32 };

enum { SIDE_ANY = 2 };
static const char *const SIDES[] = {"outside", "inside", "any", NULL}; // by enum tripod_direction
enum { ALLOW, REFUSE };
static const char *const ANSWERS[] = {"allow", "refuse", NULL};

struct limit_state {
	uint32_t rule; // that counts it, counted from 1; 0: none
	uint32_t waits; // its first packet is held
};

struct limit_rule {
	struct tripod_prefix src;
	uint32_t connections;
	uint8_t side; // SIDE_ANY, or enum tripod_direction
	uint8_t per; // bits of the 16-byte form that make a source
};

struct limit {
	uint32_t n;
	uint8_t unanswered; // ALLOW or REFUSE
	struct limit_rule *rules;
};

enum { REFUSED, WAITED, UNANSWERED };
static const char *const COUNTERS[] = {
	[REFUSED] = "refused", // connections whose source had as many as it may
	[WAITED] = "waited", // connections that waited for an answer from the rack
	[UNANSWERED] = "unanswered", // ... that did not come, or could not be asked for
	NULL,
};

static const struct tripod_field FIELDS[] = {
	TRIPOD_FIELD(struct limit_state, rule, WRITE_ONCE, UINT),
	TRIPOD_FIELD(struct limit_state, waits, SOFT, UINT),
	{0},
};

static const struct tripod_option RULE_OPTIONS[] = {
	{.name = "from",
		.type = TRIPOD_OPT_ENUM,
		.choices = SIDES,
		.standard = "outside",
		.help = "side that opens the connection"},
	{.name = "src",
		.type = TRIPOD_OPT_PREFIX,
		.help = "sources that this rule is for; any when absent"},
	{.name = "per_v4",
		.type = TRIPOD_OPT_UINT,
		.min = 1,
		.max = 32,
		.standard = "32",
		.help = "IPv4 addresses that agree in so many bits are one source"},
	{.name = "per_v6",
		.type = TRIPOD_OPT_UINT,
		.min = 1,
		.max = 128,
		.standard = "64",
		.help = "IPv6 addresses that agree in so many bits are one source"},
	{.name = "connections",
		.type = TRIPOD_OPT_UINT,
		.required = true,
		.max = UNITS_MAX,
		.help = "of one source that may live at one time, on all nodes together"},
	{0},
};

static const struct tripod_option OPTIONS[] = {
	{.name = "rules",
		.type = TRIPOD_OPT_MAP,
		.list = true,
		.max = RULES_MAX,
		.children = RULE_OPTIONS,
		.help = "the first rule that matches decides; without one there is no limit"},
	{.name = "unanswered",
		.type = TRIPOD_OPT_ENUM,
		.choices = ANSWERS,
		.standard = "allow",
		.help = "what happens to a connection when the rack does not say in time whether "
			"its source may have one more"},
	{0},
};

// ---- Configuration ----

static struct limit_rule rule_of(const struct tripod_conf *conf, bool v6)
{
	uint64_t per = tripod_conf_uint(conf, v6 ? "per_v6" : "per_v4");

	return (struct limit_rule){
		.connections = (uint32_t)tripod_conf_uint(conf, "connections"),
		.side = (uint8_t)tripod_choice(tripod_conf_string(conf, "from"), SIDES),
		.per = (uint8_t)(v6 ? per : 96 + per),
	};
}

// A rule for both families is two.
static int load_rule(struct limit *l, const struct tripod_conf *conf)
{
	const struct tripod_conf *src = tripod_conf_get(conf, "src");
	struct limit_rule *r = &l->rules[l->n];

	if (src == NULL) {
		r[0] = rule_of(conf, false);
		r[1] = rule_of(conf, true);
		tripod_prefix_parse(&r[0].src, "0.0.0.0/0");
		tripod_prefix_parse(&r[1].src, "::/0");
		l->n += 2;
		return 0;
	}
	struct tripod_prefix p;
	if (tripod_conf_prefix(src, &p) != 0)
		return tripod_conf_error(src, "src cannot be read");
	r[0] = rule_of(conf, !tripod_addr_is_v4(&p.addr) || p.len < 96);
	r[0].src = p;
	l->n++;
	if (r[0].per < p.len)
		return tripod_conf_error(conf,
			"a source would be larger than src: per_%s is less "
			"than the length of src",
			p.len >= 96 && tripod_addr_is_v4(&p.addr) ? "v4" : "v6");
	return 0;
}

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	const struct tripod_conf *rules = tripod_conf_get(conf, "rules");
	unsigned n = tripod_conf_count(rules);
	struct limit *l = tripod_env_alloc(env, sizeof(*l));

	if (l == NULL)
		return -ENOMEM;
	l->rules = tripod_env_alloc(env, 2 * n * sizeof(*l->rules));
	if (l->rules == NULL)
		return -ENOMEM;
	l->unanswered = (uint8_t)tripod_choice(tripod_conf_string(conf, "unanswered"), ANSWERS);
	int err = 0;
	for (unsigned i = 0; i < n; i++) {
		if (load_rule(l, tripod_conf_at(rules, i)) != 0)
			err = -EINVAL;
	}
	*instance = l;
	return err;
}

// ---- What connections of a source share ----

static bool claim(const struct tripod_call *c, struct tripod_kind_claim *out)
{
	const struct limit *l = c->instance;
	const struct limit_state *s = c->state;

	if (s->rule == 0 || s->rule > l->n) // it may come from another node
		return false;
	const struct limit_rule *r = &l->rules[s->rule - 1];
	out->key.src = c->opening->src;
	out->key.zone = c->opening->zone;
	out->key.direction = c->opening->direction;
	for (unsigned bit = r->per; bit < 128; bit++)
		out->key.src.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	memcpy(out->data, &r->connections, sizeof(r->connections));
	out->size = sizeof(r->connections);
	return true;
}

// While there are many left, a worker is given some more than it asks for, lest it ask for each.
static void update(struct tripod_kind_update *u)
{
	uint32_t connections;

	if (u->size != sizeof(connections))
		return;
	memcpy(&connections, u->data, sizeof(connections));
	uint64_t left = u->others < connections ? connections - u->others : 0;
	uint64_t more = (left - (u->wanted < left ? u->wanted : left)) / CHUNK_SHARE;
	if (more > CHUNK_MAX)
		more = CHUNK_MAX;
	if (u->wanted <= u->units) // it gives some back
		more = 0;
	u->units = u->wanted < left ? u->wanted + (uint32_t)more : (uint32_t)left;
}

static const struct tripod_kind KIND = {
	.layout_version = 1,
	.claim = claim,
	.update = update,
};

// ---- Packets ----

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	const struct limit *l = c->instance;
	struct limit_state *s = tripod_state_rw(c);
	uint32_t i = 0;

	while (i < l->n &&
		!((l->rules[i].side == SIDE_ANY || l->rules[i].side == c->opening->direction) &&
			tripod_prefix_contains(&l->rules[i].src, &c->opening->src)))
		i++;
	if (i == l->n)
		return TRIPOD_FORWARD;
	s->rule = i + 1;
	int result = tripod_kind_take(c);
	if (result == 0)
		return TRIPOD_FORWARD;
	if (result == -EAGAIN) {
		s->waits = 1;
		tripod_count(c, WAITED);
		return TRIPOD_FORWARD;
	}
	tripod_count(c, result == -EDQUOT ? REFUSED : UNANSWERED);
	return result == -EDQUOT || l->unanswered == REFUSE ? TRIPOD_DROP : TRIPOD_FORWARD;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	const struct limit_state *s = c->state;

	return __builtin_expect(s->waits != 0, 0) ? TRIPOD_HOLD : TRIPOD_FORWARD;
}

static void on_kind(struct tripod_call *c, int result)
{
	const struct limit *l = c->instance;
	struct limit_state *s = tripod_state_soft(c);

	s->waits = 0;
	if (result != 0)
		tripod_count(c, result == -EDQUOT ? REFUSED : UNANSWERED);
	if (result == 0 || (result != -EDQUOT && l->unanswered == ALLOW))
		tripod_release(c);
	else
		tripod_terminate(c);
}

static const struct tripod_nf limit = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "limit",
	.summary = "limits the connections of each source, over all nodes",
	.state_size = sizeof(struct limit_state),
	.fields = FIELDS,
	.options = OPTIONS,
	.counters = COUNTERS,
	.load = load,
	.on_init = on_init,
	.on_packet = on_packet,
	.kind = &KIND,
	.on_kind = on_kind,
};
TRIPOD_NF_BUILTIN(limit)
