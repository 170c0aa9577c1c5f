// SPDX-License-Identifier: BSD-3-Clause
// Source NAT for connections opened from inside: many hosts behind a few external addresses.
//
// The connection table is the allocation state: a port is free when no connection has the tuple
// that the answers would carry. So there is nothing to lock, to leak or to rebuild after a failure.
// What keeps nodes apart is arithmetic: of every address's ports each configured node has some of its own,
// of which it uses one half from one boot to the next. Whose a port is depends on its number alone, not
// on the range that is configured, so that nodes with two versions of it are apart as well.
#include <errno.h>

#include <tripod/nf.h>

enum { PROTO_ICMP = 1, PROTO_ICMP6 = 58 };
enum { POOLS_MAX = 64, RANGES_MAX = 256, RULES_MAX = 1024, PREFIXES_MAX = 1024, TRIES_MAX = 1024 };
enum { HOST_BITS_MAX = 16 }; // of one prefix of a pool

struct snat_state {
	struct tripod_addr external; // what the source becomes
	uint16_t external_port; // network byte order; 0: this connection is not translated
	uint16_t zero; // named padding
};

// Addresses that follow each other; they may be drawn from alike.
struct snat_range {
	struct tripod_prefix prefix; // no bits set beyond its length
	uint32_t count;
};

struct snat_pool {
	const char *name;
	const struct tripod_conf *conf; // while loading
	uint16_t first, last; // ports, host order
	// This node's part of them, in this boot: every stride-th port from own on.
	uint16_t own, stride, own_count;
	uint32_t ranges_at, n_ranges;
	uint32_t addresses; // of all its ranges
	bool v6;
};

struct snat_rule {
	struct tripod_prefix src;
	uint16_t pool;
	uint8_t durability; // enum tripod_durability
};

struct snat {
	uint32_t n_pools, n_ranges, n_rules, tries, affinity_tries;
	struct snat_pool *pools;
	struct snat_range *ranges;
	struct snat_rule *rules;
};

enum { ALLOCATED, EXHAUSTED, TRIES, UNMATCHED, UNSOLICITED, HAIRPIN, REWRITTEN, APART };
static const char *const COUNTERS[] = {
	[ALLOCATED] = "allocated",
	[EXHAUSTED] = "exhausted",
	[TRIES] = "tries",
	[UNMATCHED] = "unmatched",
	[UNSOLICITED] = "unsolicited",
	[HAIRPIN] = "hairpin",
	[REWRITTEN] = "rewritten",
	[APART] = "apart",
	NULL,
};

static const struct tripod_field FIELDS[] = {
	TRIPOD_FIELD(struct snat_state, external, WRITE_ONCE, ADDR),
	TRIPOD_FIELD(struct snat_state, external_port, WRITE_ONCE, PORT),
	{0},
};

static const struct tripod_option POOL_OPTIONS[] = {
	{.name = "name", .type = TRIPOD_OPT_STRING, .required = true, .help = "what rules call it"},
	{.name = "addresses",
		.type = TRIPOD_OPT_PREFIX,
		.list = true,
		.required = true,
		.min = 1,
		.max = RANGES_MAX,
		.help = "external addresses or prefixes, every address of them; the gateway "
			"answers "
			"for them outside"},
	{.name = "ports",
		.type = TRIPOD_OPT_PORTS,
		.standard = "1024-65535",
		.help = "ports (and echo identifiers) used of each address, divided among the "
			"nodes"},
	{0},
};

static const struct tripod_option RULE_OPTIONS[] = {
	{.name = "src",
		.type = TRIPOD_OPT_PREFIX,
		.list = true,
		.required = true,
		.min = 1,
		.max = PREFIXES_MAX,
		.help = "inside hosts"},
	{.name = "pool", .type = TRIPOD_OPT_STRING, .required = true, .help = "name of the pool"},
	TRIPOD_OPTION_DURABILITY("connections of these hosts"),
	{0},
};

static const struct tripod_option OPTIONS[] = {
	{.name = "tries",
		.type = TRIPOD_OPT_UINT,
		.min = 1,
		.max = TRIES_MAX,
		.standard = "32",
		.help = "ports tried for one connection before it is refused"},
	{.name = "affinity_tries",
		.type = TRIPOD_OPT_UINT,
		.max = TRIES_MAX,
		.standard = "64",
		.help = "further ports tried for answers that arrive at this node, now and where "
			"the connection would go on"},
	{.name = "pools",
		.type = TRIPOD_OPT_MAP,
		.list = true,
		.max = POOLS_MAX,
		.children = POOL_OPTIONS,
		.help = "external addresses"},
	{.name = "rules",
		.type = TRIPOD_OPT_MAP,
		.list = true,
		.max = RULES_MAX,
		.children = RULE_OPTIONS,
		.help = "who is translated to what; the first that matches decides, others pass"},
	{0},
};

static inline uint16_t network16(uint16_t host)
{
	uint8_t b[2] = {(uint8_t)(host >> 8), (uint8_t)host};
	uint16_t network;
	memcpy(&network, b, 2);
	return network;
}

// ---- Configuration ----

static bool prefix_is_v6(const struct tripod_prefix *p)
{
	return !(p->len >= 96 && tripod_addr_is_v4(&p->addr));
}

// Every slot has two ports in a row, one for each half, and then it is the next slot's turn.
static int divide_ports(const struct tripod_nf_env *env, struct snat_pool *pool)
{
	unsigned slots = tripod_env_slots(env);
	unsigned ports = (unsigned)pool->last - pool->first + 1;
	unsigned stride = 2 * slots;
	unsigned mine = 2 * tripod_env_slot(env) + tripod_env_boot_half(env);
	unsigned own = pool->first + (mine + stride - pool->first % stride) % stride;
	if (ports < stride)
		return tripod_conf_error(pool->conf,
			"%u ports for %u nodes: each node needs two at least (one for each of two "
			"boots); widen `ports`",
			ports, slots);
	pool->own = (uint16_t)own;
	pool->stride = (uint16_t)stride;
	pool->own_count = (uint16_t)((pool->last - own) / stride + 1);
	return 0;
}

static int check_overlap(
	const struct snat *snat, const struct snat_range *r, const struct snat_pool *pool)
{
	for (unsigned i = 0; i <= snat->n_pools; i++) {
		const struct snat_pool *q = &snat->pools[i];
		if (pool->first > q->last || q->first > pool->last)
			continue;
		for (uint32_t j = q->ranges_at; j < q->ranges_at + q->n_ranges; j++) {
			const struct snat_range *s = &snat->ranges[j];
			if (!tripod_prefix_contains(&r->prefix, &s->prefix.addr) &&
				!tripod_prefix_contains(&s->prefix, &r->prefix.addr))
				continue;
			if (q == pool)
				return tripod_conf_error(pool->conf,
					"pool %s lists some of its addresses twice", pool->name);
			return tripod_conf_error(pool->conf,
				"pool %s overlaps pool %s on line %u: give each address (or each "
				"part of its ports) to one pool",
				pool->name, q->name, tripod_conf_line(q->conf));
		}
	}
	return 0;
}

static int load_range(struct tripod_nf_env *env, struct snat *snat, struct snat_pool *pool,
	const struct tripod_conf *conf)
{
	struct tripod_prefix p;
	if (tripod_conf_prefix(conf, &p) != 0)
		return tripod_conf_error(conf, "this prefix cannot be read");
	if (128 - p.len > HOST_BITS_MAX)
		return tripod_conf_error(conf,
			"too many addresses: a prefix of a pool is /%u or longer",
			(prefix_is_v6(&p) ? 128 : 32) - HOST_BITS_MAX);
	if (pool->n_ranges == 0)
		pool->v6 = prefix_is_v6(&p);
	else if (pool->v6 != prefix_is_v6(&p))
		return tripod_conf_error(conf,
			"pool %s mixes IPv4 and IPv6: make two pools, and a rule for each",
			pool->name);
	struct snat_range r = {.prefix = p, .count = 1u << (128 - p.len)};
	uint16_t low = (uint16_t)(p.addr.b[14] << 8 | p.addr.b[15]);
	low &= (uint16_t) ~(r.count - 1); // a prefix may be written with host bits
	r.prefix.addr.b[14] = (uint8_t)(low >> 8);
	r.prefix.addr.b[15] = (uint8_t)low;
	if (check_overlap(snat, &r, pool) != 0)
		return -EINVAL;
	if (tripod_env_own_prefix(env, TRIPOD_INCOMING, &r.prefix) != 0)
		return tripod_conf_error(conf, "too many addresses for one gateway");
	snat->ranges[pool->ranges_at + pool->n_ranges++] = r;
	pool->addresses += r.count;
	return 0;
}

static int load_pool(struct tripod_nf_env *env, struct snat *snat, const struct tripod_conf *conf)
{
	struct snat_pool *pool = &snat->pools[snat->n_pools];
	const char *name = tripod_conf_string(conf, "name");
	*pool = (struct snat_pool){.name = name, .conf = conf, .ranges_at = snat->n_ranges};
	int err = 0;
	for (unsigned i = 0; i < snat->n_pools; i++)
		if (strcmp(snat->pools[i].name, name) == 0)
			err = tripod_conf_error(conf, "pool %s is defined already, on line %u",
				name, tripod_conf_line(snat->pools[i].conf));
	if (tripod_conf_ports(tripod_conf_get(conf, "ports"), &pool->first, &pool->last) != 0)
		err = tripod_conf_error(conf, "the ports of pool %s cannot be read", name);
	else if (pool->first == 0)
		err = tripod_conf_error(
			conf, "pool %s: port 0 cannot be used; start at 1 or 1024", name);
	else if (divide_ports(env, pool) != 0)
		err = -EINVAL;
	const struct tripod_conf *addresses = tripod_conf_get(conf, "addresses");
	for (unsigned i = 0; i < tripod_conf_count(addresses); i++)
		if (load_range(env, snat, pool, tripod_conf_at(addresses, i)) != 0)
			err = -EINVAL;
	snat->n_ranges += pool->n_ranges;
	snat->n_pools++;
	return err;
}

static int load_rule(struct tripod_nf_env *env, struct snat *snat, const struct tripod_conf *conf)
{
	const char *name = tripod_conf_string(conf, "pool");
	uint32_t pool = 0;
	while (pool < snat->n_pools && strcmp(snat->pools[pool].name, name) != 0)
		pool++;
	if (pool == snat->n_pools)
		return tripod_conf_error(conf, "there is no pool %s: add it to `pools`", name);
	int err = 0;
	uint8_t durability = (uint8_t)tripod_env_durability(env, conf);
	const struct tripod_conf *src = tripod_conf_get(conf, "src");
	for (unsigned i = 0; i < tripod_conf_count(src); i++) {
		const struct tripod_conf *at = tripod_conf_at(src, i);
		struct snat_rule *r = &snat->rules[snat->n_rules++];
		if (tripod_conf_prefix(at, &r->src) != 0) {
			err = tripod_conf_error(at, "this prefix cannot be read");
			continue;
		}
		r->pool = (uint16_t)pool;
		r->durability = durability;
		bool v6 = prefix_is_v6(&r->src);
		if (snat->pools[pool].n_ranges > 0 && v6 != snat->pools[pool].v6)
			err = tripod_conf_error(at,
				"pool %s has IPv%c addresses, this prefix is IPv%c: NAT keeps the "
				"IP "
				"version",
				name, v6 ? '4' : '6', v6 ? '6' : '4');
	}
	return err;
}

static unsigned sum(const struct tripod_conf *list, const char *key)
{
	unsigned n = 0;
	for (unsigned i = 0; i < tripod_conf_count(list); i++)
		n += tripod_conf_count(tripod_conf_get(tripod_conf_at(list, i), key));
	return n;
}

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	const struct tripod_conf *pools = tripod_conf_get(conf, "pools");
	const struct tripod_conf *rules = tripod_conf_get(conf, "rules");
	struct snat *snat = tripod_env_alloc(env, sizeof(*snat));
	if (snat == NULL)
		return -ENOMEM;
	snat->tries = (uint32_t)tripod_conf_uint(conf, "tries");
	snat->affinity_tries = (uint32_t)tripod_conf_uint(conf, "affinity_tries");
	snat->pools = tripod_env_alloc(env, tripod_conf_count(pools) * sizeof(*snat->pools));
	snat->ranges = tripod_env_alloc(env, sum(pools, "addresses") * sizeof(*snat->ranges));
	snat->rules = tripod_env_alloc(env, sum(rules, "src") * sizeof(*snat->rules));
	if (snat->pools == NULL || snat->ranges == NULL || snat->rules == NULL)
		return -ENOMEM;
	int err = 0;
	for (unsigned i = 0; i < tripod_conf_count(pools); i++)
		if (load_pool(env, snat, tripod_conf_at(pools, i)) != 0)
			err = -EINVAL;
	for (unsigned i = 0; i < tripod_conf_count(rules); i++)
		if (load_rule(env, snat, tripod_conf_at(rules, i)) != 0)
			err = -EINVAL;
	for (uint32_t i = 0; i < snat->n_pools; i++) {
		// The tree may be freed before the chain.
		snat->pools[i].name = NULL;
		snat->pools[i].conf = NULL;
	}
	*instance = snat;
	return err;
}

// ---- Packets ----

// Scales 32 random bits to [0, bound) without a division.
static inline uint32_t scale(uint32_t random, uint32_t bound)
{
	return (uint32_t)(((uint64_t)random * bound) >> 32);
}

static struct tripod_addr pool_address(
	const struct snat *snat, const struct snat_pool *pool, uint32_t i)
{
	const struct snat_range *r = &snat->ranges[pool->ranges_at];
	while (i >= r->count) {
		i -= r->count;
		r++;
	}
	struct tripod_addr a = r->prefix.addr;
	uint16_t low = (uint16_t)((a.b[14] << 8 | a.b[15]) | i);
	a.b[14] = (uint8_t)(low >> 8);
	a.b[15] = (uint8_t)low;
	return a;
}

static bool is_external(const struct snat *snat, const struct tripod_addr *a)
{
	for (uint32_t i = 0; i < snat->n_ranges; i++)
		if (tripod_prefix_contains(&snat->ranges[i].prefix, a))
			return true;
	return false;
}

static const struct snat_rule *find_rule(const struct snat *snat, const struct tripod_packet *p)
{
	for (uint32_t i = 0; i < snat->n_rules; i++) {
		const struct snat_rule *r = &snat->rules[i];
		if (tripod_prefix_contains(&r->src, &p->tuple.src))
			return r;
	}
	return NULL;
}

struct search {
	uint32_t left; // tries
	bool found;
	enum tripod_affinity affinity; // of the best so far
	struct tripod_tuple best; // reversed
};

// A port that is free. true: there is none better.
static bool consider(struct tripod_call *c, const struct snat *snat, struct search *search,
	const struct tripod_tuple *reversed, uint32_t ports)
{
	enum tripod_affinity affinity = tripod_tuple_affinity(c, reversed);

	if (!search->found) {
		// From here on, tries are for a better one, as long as there are others.
		search->left =
			(snat->affinity_tries < ports ? snat->affinity_tries : ports - 1) + 1;
	} else if (affinity <= search->affinity) {
		return false;
	}
	search->found = true;
	search->affinity = affinity;
	search->best = *reversed;
	return affinity == TRIPOD_TOGETHER;
}

// Draws ports of this node's own until one is free towards this remote end. An inside host keeps
// to one external address (RFC 4787, REQ-2: "paired"), on all nodes the same, until half of the
// tries have failed there; then the pool's next addresses have their turn. When one is found it goes on for a
// while, as long as there may be one whose answers fit the connection better.
static bool allocate(struct tripod_call *c, const struct snat *snat, const struct snat_pool *pool,
	const struct tripod_packet *p, struct snat_state *s)
{
	bool echo = p->tuple.proto == PROTO_ICMP || p->tuple.proto == PROTO_ICMP6;
	uint32_t address =
		scale((uint32_t)(tripod_hash(c, &p->tuple.src, 16) >> 32), pool->addresses);
	struct tripod_tuple out = p->tuple;
	out.src = pool_address(snat, pool, address);
	uint32_t size = pool->own_count;
	uint32_t left = pool->addresses == 1 ? snat->tries : (snat->tries + 1) / 2;
	uint64_t random = tripod_random(c);
	uint32_t port = scale((uint32_t)(random >> 32), size);
	// A large step, so that busy stretches are left behind, and an odd one, so that it passes
	// through all workers; of one, where the tries suffice to see them all.
	uint32_t step = size <= left ? 1 : 1 + (scale((uint32_t)random, size - 1) & ~1u);
	struct search search = {.left = snat->tries};
	for (; search.left > 0; search.left--) {
		if (left == 0 && !search.found) {
			address = address + 1 < pool->addresses ? address + 1 : 0;
			out.src = pool_address(snat, pool, address);
			left = 4;
		}
		left -= left > 0;
		tripod_count(c, TRIES);
		out.sport = network16((uint16_t)(pool->own + port * pool->stride));
		if (echo)
			out.dport = out.sport; // both hold the identifier
		struct tripod_tuple reversed = tripod_tuple_reverse(&out);
		if (tripod_tuple_available(c, &reversed) &&
			consider(c, snat, &search, &reversed, size))
			break;
		port = port + step < size ? port + step : port + step - size;
	}
	if (!search.found)
		return false;
	s->external = search.best.dst;
	s->external_port = search.best.dport;
	if (search.affinity == TRIPOD_APART)
		tripod_count(c, APART);
	return true;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	const struct snat *snat = c->instance;
	// Only a connection's answers come to a pool's address, and they open none.
	if (is_external(snat, &p->tuple.dst)) {
		tripod_count(c, p->tuple.direction == TRIPOD_INCOMING ? UNSOLICITED : HAIRPIN);
		return TRIPOD_DROP;
	}
	if (p->tuple.direction == TRIPOD_INCOMING)
		return TRIPOD_FORWARD;
	const struct snat_rule *rule = find_rule(snat, p);
	if (rule == NULL) {
		tripod_count(c, UNMATCHED);
		return TRIPOD_FORWARD;
	}
	// Answers are given back the source of the opening packet, which an NF behind this one in the
	// configuration must not have changed.
	if (!tripod_addr_equal(&p->tuple.src, &c->opening->src) ||
		p->tuple.sport != c->opening->sport) {
		tripod_count(c, REWRITTEN);
		return TRIPOD_DROP;
	}
	struct snat_state *s = tripod_state_rw(c);
	if (!allocate(c, snat, &snat->pools[rule->pool], p, s)) {
		tripod_count(c, EXHAUSTED);
		return TRIPOD_DROP;
	}
	tripod_durability(c, (enum tripod_durability)rule->durability);
	tripod_count(c, ALLOCATED);
	return TRIPOD_FORWARD;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	const struct snat_state *s = c->state;
	if (s->external_port == 0)
		return TRIPOD_FORWARD;
	if (c->from_initiator)
		tripod_packet_set_src(p, &s->external, s->external_port);
	else
		tripod_packet_set_dst(p, &c->opening->src, c->opening->sport);
	return TRIPOD_FORWARD;
}

static const struct tripod_nf snat = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "snat",
	.summary = "source NAT: connections from inside leave from a pool of external addresses",
	.state_size = sizeof(struct snat_state),
	.fields = FIELDS,
	.options = OPTIONS,
	.counters = COUNTERS,
	.load = load,
	.on_init = on_init,
	.on_packet = on_packet,
};
TRIPOD_NF_BUILTIN(snat)
