// SPDX-License-Identifier: BSD-3-Clause
// Stateful firewall: ordered rules decide about the first packet of a connection; what belongs to a
// connection that was allowed passes, in both directions, on whichever node it arrives.
#include <errno.h>

#include <tripod/nf.h>

enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMP6 = 58 };
enum { RULES_MAX = 4096, LIST_MAX = 1024 };

enum fw_action { FW_ALLOW, FW_DENY, FW_REJECT };
static const char *const ACTIONS[] = {"allow", "deny", "reject", NULL};
static const char *const SIDES[] = {"outside", "inside", "any", NULL}; // by enum tripod_direction
static const char *const PROTOS[] = {"tcp", "udp", "icmp", "icmp6", "any", NULL};
enum {
	BIT_TCP = 1,
	BIT_UDP = 2,
	BIT_ICMP = 4,
	BIT_ICMP6 = 8,
	BITS_ANY = 15
}; // 1 << position in PROTOS

struct fw_state {
	uint32_t rule; // that allowed it, counted from 1; 0: the default policy
};

struct fw_prefix {
	uint64_t addr[2], mask[2]; // byte order of the packet
	uint64_t v6; // ::/0 means every IPv6 address, and no IPv4-mapped one
};

struct fw_ports {
	uint16_t first, span; // host order; span: last - first
};

// A slice of one of the arrays in struct firewall; of no entries: anything matches.
struct fw_slice {
	uint32_t at;
	uint32_t n;
};

struct fw_rule {
	uint8_t action; // enum fw_action
	uint8_t directions; // bit d: enum tripod_direction d
	uint8_t protos; // BIT_*
	uint8_t durability; // enum tripod_durability
	struct fw_slice src, dst; // prefixes
	struct fw_slice sport, dport; // ports
};

struct firewall {
	uint8_t policy; // enum fw_action
	uint32_t n;
	struct fw_rule *rules;
	struct fw_prefix *prefixes;
	struct fw_ports *ports;
	uint32_t n_prefixes, n_ports; // while loading
};

enum { ALLOWED, DENIED, REJECTED, DEFAULT_DENIED, DEFAULT_ALLOWED };
static const char *const COUNTERS[] = {
	[ALLOWED] = "allowed",
	[DENIED] = "denied",
	[REJECTED] = "rejected",
	[DEFAULT_DENIED] = "default_denied",
	[DEFAULT_ALLOWED] = "default_allowed",
	NULL,
};

static const struct tripod_field FIELDS[] = {
	TRIPOD_FIELD(struct fw_state, rule, WRITE_ONCE, UINT),
	{0},
};

static const struct tripod_option RULE_OPTIONS[] = {
	{.name = "action",
		.type = TRIPOD_OPT_ENUM,
		.required = true,
		.choices = ACTIONS,
		.help = "allow; deny: drop in silence; reject: drop, answer TCP with a reset"},
	{.name = "from",
		.type = TRIPOD_OPT_ENUM,
		.choices = SIDES,
		.standard = "any",
		.help = "side that opens the connection"},
	{.name = "proto",
		.type = TRIPOD_OPT_ENUM,
		.list = true,
		.choices = PROTOS,
		.help = "protocols; any when absent"},
	{.name = "src",
		.type = TRIPOD_OPT_PREFIX,
		.list = true,
		.min = 1,
		.max = LIST_MAX,
		.help = "source prefixes; any when absent"},
	{.name = "dst",
		.type = TRIPOD_OPT_PREFIX,
		.list = true,
		.min = 1,
		.max = LIST_MAX,
		.help = "destination prefixes; any when absent"},
	{.name = "sport",
		.type = TRIPOD_OPT_PORTS,
		.list = true,
		.min = 1,
		.max = LIST_MAX,
		.help = "source ports or ranges, of tcp and udp; any when absent"},
	{.name = "dport",
		.type = TRIPOD_OPT_PORTS,
		.list = true,
		.min = 1,
		.max = LIST_MAX,
		.help = "destination ports or ranges, of tcp and udp; any when absent"},
	TRIPOD_OPTION_DURABILITY("connections that this rule allows"),
	{.name = "comment", .type = TRIPOD_OPT_STRING, .help = "for whoever reads the file"},
	{0},
};

static const struct tripod_option OPTIONS[] = {
	{.name = "default",
		.type = TRIPOD_OPT_ENUM,
		.choices = ACTIONS,
		.standard = "deny",
		.help = "what happens to a connection that no rule matches"},
	{.name = "rules",
		.type = TRIPOD_OPT_MAP,
		.list = true,
		.max = RULES_MAX,
		.children = RULE_OPTIONS,
		.help = "the first rule that matches decides"},
	{0},
};

// ---- Configuration ----

static int load_prefixes(struct firewall *fw, const struct tripod_conf *list, struct fw_slice *out)
{
	*out = (struct fw_slice){.at = fw->n_prefixes, .n = tripod_conf_count(list)};
	for (unsigned i = 0; i < out->n; i++) {
		struct tripod_prefix p;
		if (tripod_conf_prefix(tripod_conf_at(list, i), &p) != 0)
			return -EINVAL;
		uint8_t mask[16] = {0};
		for (unsigned bit = 0; bit < p.len; bit++)
			mask[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
		struct fw_prefix *f = &fw->prefixes[fw->n_prefixes++];
		memcpy(f->mask, mask, 16);
		memcpy(f->addr, p.addr.b, 16);
		f->addr[0] &= f->mask[0];
		f->addr[1] &= f->mask[1];
		f->v6 = !(p.len >= 96 && tripod_addr_is_v4(&p.addr));
	}
	return 0;
}

static int load_ports(struct firewall *fw, const struct tripod_conf *list, struct fw_slice *out)
{
	*out = (struct fw_slice){.at = fw->n_ports, .n = tripod_conf_count(list)};
	for (unsigned i = 0; i < out->n; i++) {
		uint16_t first, last;
		if (tripod_conf_ports(tripod_conf_at(list, i), &first, &last) != 0)
			return -EINVAL;
		fw->ports[fw->n_ports++] =
			(struct fw_ports){.first = first, .span = (uint16_t)(last - first)};
	}
	return 0;
}

// All prefixes of one rule of one family other than its ICMP's can never match together.
static bool slices_disagree(const struct firewall *fw, const struct fw_rule *r)
{
	for (uint64_t v6 = 0; v6 <= 1; v6++) {
		bool src = r->src.n == 0, dst = r->dst.n == 0;
		for (uint32_t i = 0; i < r->src.n; i++)
			src |= fw->prefixes[r->src.at + i].v6 == v6;
		for (uint32_t i = 0; i < r->dst.n; i++)
			dst |= fw->prefixes[r->dst.at + i].v6 == v6;
		uint8_t other = v6 ? BIT_ICMP : BIT_ICMP6;
		if (src && dst && (r->protos & ~other) != 0)
			return false;
	}
	return true;
}

static int load_rule(struct tripod_nf_env *env, struct firewall *fw, const struct tripod_conf *conf)
{
	struct fw_rule *r = &fw->rules[fw->n++];
	r->durability = (uint8_t)tripod_env_durability(env, conf);
	r->action = (uint8_t)tripod_choice(tripod_conf_string(conf, "action"), ACTIONS);
	unsigned side = tripod_choice(tripod_conf_string(conf, "from"), SIDES);
	r->directions = side < 2 ? (uint8_t)(1 << side) : 3;
	const struct tripod_conf *protos = tripod_conf_get(conf, "proto");
	for (unsigned i = 0; i < tripod_conf_count(protos); i++) {
		unsigned proto = tripod_choice(tripod_conf_text(tripod_conf_at(protos, i)), PROTOS);
		r->protos |= proto < 4 ? (uint8_t)(1 << proto) : BITS_ANY;
	}
	if (r->protos == 0)
		r->protos = BITS_ANY;
	if (load_prefixes(fw, tripod_conf_get(conf, "src"), &r->src) != 0 ||
		load_prefixes(fw, tripod_conf_get(conf, "dst"), &r->dst) != 0 ||
		load_ports(fw, tripod_conf_get(conf, "sport"), &r->sport) != 0 ||
		load_ports(fw, tripod_conf_get(conf, "dport"), &r->dport) != 0)
		return tripod_conf_error(conf, "a prefix or port of this rule cannot be read");
	if ((r->sport.n > 0 || r->dport.n > 0) && (r->protos & ~(BIT_TCP | BIT_UDP)) != 0)
		return tripod_conf_error(conf, "a rule with ports needs `proto: tcp`, `proto: udp` "
					       "or `proto: [tcp, udp]`");
	if (slices_disagree(fw, r))
		return tripod_conf_error(conf,
			"no packet can match this rule: src, dst and proto are of different IP "
			"versions");
	return 0;
}

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	const struct tripod_conf *rules = tripod_conf_get(conf, "rules");
	unsigned n = tripod_conf_count(rules), prefixes = 0, ports = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct tripod_conf *r = tripod_conf_at(rules, i);
		prefixes += tripod_conf_count(tripod_conf_get(r, "src"));
		prefixes += tripod_conf_count(tripod_conf_get(r, "dst"));
		ports += tripod_conf_count(tripod_conf_get(r, "sport"));
		ports += tripod_conf_count(tripod_conf_get(r, "dport"));
	}
	struct firewall *fw = tripod_env_alloc(env, sizeof(*fw));
	if (fw == NULL)
		return -ENOMEM;
	fw->rules = tripod_env_alloc(env, n * sizeof(*fw->rules));
	fw->prefixes = tripod_env_alloc(env, prefixes * sizeof(*fw->prefixes));
	fw->ports = tripod_env_alloc(env, ports * sizeof(*fw->ports));
	if (fw->rules == NULL || fw->prefixes == NULL || fw->ports == NULL)
		return -ENOMEM;
	fw->policy = (uint8_t)tripod_choice(tripod_conf_string(conf, "default"), ACTIONS);
	int err = 0;
	for (unsigned i = 0; i < n; i++)
		if (load_rule(env, fw, tripod_conf_at(rules, i)) != 0)
			err = -EINVAL;
	*instance = fw;
	return err;
}

// ---- Packets ----

static inline uint16_t host16(uint16_t network)
{
	uint8_t b[2];
	memcpy(b, &network, 2);
	return (uint16_t)(b[0] << 8 | b[1]);
}

static bool match_addr(
	const struct firewall *fw, struct fw_slice s, const struct tripod_addr *a, uint64_t v6)
{
	uint64_t x[2];
	memcpy(x, a->b, sizeof(x));
	const struct fw_prefix *f = fw->prefixes + s.at;
	for (uint32_t i = 0; i < s.n; i++)
		if ((((x[0] ^ f[i].addr[0]) & f[i].mask[0]) |
			    ((x[1] ^ f[i].addr[1]) & f[i].mask[1]) | (v6 ^ f[i].v6)) == 0)
			return true;
	return s.n == 0;
}

static bool match_port(const struct firewall *fw, struct fw_slice s, uint16_t port)
{
	const struct fw_ports *f = fw->ports + s.at;
	for (uint32_t i = 0; i < s.n; i++)
		if ((uint16_t)(port - f[i].first) <= f[i].span)
			return true;
	return s.n == 0;
}

static uint8_t proto_bit(uint8_t proto)
{
	switch (proto) {
	case PROTO_TCP:
		return BIT_TCP;
	case PROTO_UDP:
		return BIT_UDP;
	case PROTO_ICMP:
		return BIT_ICMP;
	case PROTO_ICMP6:
		return BIT_ICMP6;
	}
	return 0;
}

static inline uint32_t get32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline void put32(uint8_t *b, uint32_t v)
{
	b[0] = (uint8_t)(v >> 24);
	b[1] = (uint8_t)(v >> 16);
	b[2] = (uint8_t)(v >> 8);
	b[3] = (uint8_t)v;
}

// The reset that a host with no socket there would send (RFC 9293, 3.10.7.1).
static void send_reset(struct tripod_call *c, const struct tripod_packet *p)
{
	if (p->tuple.proto != PROTO_TCP || (p->tcp_flags & TRIPOD_TCP_RST) != 0)
		return;
	struct tripod_packet *r = tripod_packet_new(c, p, true, 0);
	if (r == NULL)
		return;
	const uint8_t *in = p->data + p->l4;
	uint8_t *out = r->data + r->l4;
	if ((p->tcp_flags & TRIPOD_TCP_ACK) != 0) {
		put32(out + 4, get32(in + 8));
		put32(out + 8, 0);
		out[13] = TRIPOD_TCP_RST;
	} else {
		uint32_t len = p->payload_len + (uint32_t)((p->tcp_flags & TRIPOD_TCP_SYN) != 0) +
			       (uint32_t)((p->tcp_flags & TRIPOD_TCP_FIN) != 0);
		put32(out + 4, 0);
		put32(out + 8, get32(in + 4) + len);
		out[13] = TRIPOD_TCP_RST | TRIPOD_TCP_ACK;
	}
	put32(out + 14, 0); // window, and the checksum, which tripod_emit() sets
	out[18] = out[19] = 0; // urgent pointer
	tripod_emit(c, r);
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	const struct firewall *fw = c->instance;
	const struct tripod_tuple *t = &p->tuple;
	uint8_t direction = (uint8_t)(1 << t->direction), proto = proto_bit(t->proto);
	uint16_t sport = host16(t->sport), dport = host16(t->dport);
	uint32_t i = 0;
	for (; i < fw->n; i++) {
		const struct fw_rule *r = &fw->rules[i];
		if ((r->directions & direction) != 0 && (r->protos & proto) != 0 &&
			match_port(fw, r->dport, dport) && match_port(fw, r->sport, sport) &&
			match_addr(fw, r->dst, &t->dst, p->v6) &&
			match_addr(fw, r->src, &t->src, p->v6))
			break;
	}
	bool matched = i < fw->n;
	enum fw_action action = matched ? fw->rules[i].action : fw->policy;
	switch (action) {
	case FW_ALLOW: {
		struct fw_state *s = tripod_state_rw(c);
		s->rule = matched ? i + 1 : 0;
		if (matched)
			tripod_durability(c, (enum tripod_durability)fw->rules[i].durability);
		tripod_count(c, matched ? ALLOWED : DEFAULT_ALLOWED);
		return TRIPOD_FORWARD;
	}
	case FW_REJECT:
		send_reset(c, p);
		tripod_count(c, REJECTED);
		return TRIPOD_DROP;
	case FW_DENY:
		break;
	}
	tripod_count(c, matched ? DENIED : DEFAULT_DENIED);
	return TRIPOD_DROP;
}

static const struct tripod_nf firewall = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "firewall",
	.summary = "stateful firewall: ordered rules decide which connections may open",
	.state_size = sizeof(struct fw_state),
	.fields = FIELDS,
	.options = OPTIONS,
	.counters = COUNTERS,
	.load = load,
	.on_init = on_init,
};
TRIPOD_NF_BUILTIN(firewall)
