// SPDX-License-Identifier: BSD-3-Clause
// Load balancer for TCP and UDP: spreads connections to a VIP over backends by Maglev hashing, and
// remembers for each connection which backend it has, so that a change of backends breaks none.
#include <errno.h>

#include <tripod/nf.h>

#include "maglev.h"

enum { PROTO_TCP = 6, PROTO_UDP = 17 };
enum { SERVICES_MAX = 256, BACKENDS_MAX = 1024, TABLE_SIZE_MAX = 1000003 };

static const char *const PROTOS[] = {"tcp", "udp", NULL};

struct lb_state {
	struct tripod_addr backend;
	uint16_t port; // of the backend, network byte order
	uint16_t service; // position in struct lb, counted from 1; 0: to no service, not touched
};

// What a packet is looked up by: padding is named, so that keys compare with memcmp.
struct lb_key {
	struct tripod_addr vip;
	uint16_t port; // network byte order
	uint8_t proto;
	uint8_t zero;
};
_Static_assert(sizeof(struct lb_key) == 20, "no padding: compared with memcmp");

struct lb_service {
	struct lb_key key;
	enum tripod_durability durability;
	uint16_t *table;
	struct maglev_backend *backends;
	const struct tripod_conf *conf; // while loading
};

struct lb {
	uint32_t n, table_size;
	struct lb_service *services; // sorted by key
};

enum { CONNECTIONS, PASSED, HAIRPIN, BAD_STATE };
static const char *const COUNTERS[] = {
	[CONNECTIONS] = "connections",
	[PASSED] = "passed",
	[HAIRPIN] = "hairpin",
	[BAD_STATE] = "bad_state",
	NULL,
};

static const struct tripod_field FIELDS[] = {
	TRIPOD_FIELD(struct lb_state, backend, WRITE_ONCE, ADDR),
	TRIPOD_FIELD(struct lb_state, port, WRITE_ONCE, PORT),
	TRIPOD_FIELD(struct lb_state, service, WRITE_ONCE, UINT),
	{0},
};

static const struct tripod_option BACKEND_OPTIONS[] = {
	{.name = "address",
		.type = TRIPOD_OPT_ADDR,
		.required = true,
		.help = "address of the server"},
	{.name = "port",
		.type = TRIPOD_OPT_UINT,
		.min = 1,
		.max = 65535,
		.help = "port of the server; that of the service when absent"},
	{.name = "weight",
		.type = TRIPOD_OPT_UINT,
		.min = 0,
		.max = MAGLEV_WEIGHT_MAX,
		.standard = "1",
		.help = "share of new connections relative to the others; 0: draining, no new "
			"ones"},
	{0},
};

static const struct tripod_option SERVICE_OPTIONS[] = {
	{.name = "name", .type = TRIPOD_OPT_STRING, .help = "for whoever reads the file"},
	{.name = "vip",
		.type = TRIPOD_OPT_ADDR,
		.required = true,
		.help = "address that clients connect to; the gateway answers for it outside"},
	{.name = "proto",
		.type = TRIPOD_OPT_ENUM,
		.required = true,
		.choices = PROTOS,
		.help = "protocol"},
	{.name = "port",
		.type = TRIPOD_OPT_UINT,
		.required = true,
		.min = 1,
		.max = 65535,
		.help = "port that clients connect to"},
	{.name = "backends",
		.type = TRIPOD_OPT_MAP,
		.list = true,
		.required = true,
		.max = BACKENDS_MAX,
		.children = BACKEND_OPTIONS,
		.help = "servers, in any order, all of the VIP's IP version"},
	TRIPOD_OPTION_DURABILITY("connections to this service"),
	{0},
};

static const struct tripod_option OPTIONS[] = {
	{.name = "table_size",
		.type = TRIPOD_OPT_UINT,
		.min = 3,
		.max = TABLE_SIZE_MAX,
		.standard = "65537",
		.help = "slots of a service's table, a prime; 100 times the backends or more"},
	{.name = "services",
		.type = TRIPOD_OPT_MAP,
		.list = true,
		.max = SERVICES_MAX,
		.children = SERVICE_OPTIONS,
		.help = "what is balanced"},
	{0},
};

// ---- Configuration ----

static inline uint16_t network16(uint16_t host)
{
	uint8_t b[2] = {(uint8_t)(host >> 8), (uint8_t)host};
	uint16_t network;
	memcpy(&network, b, 2);
	return network;
}

static int load_backend(struct lb_service *s, const struct tripod_conf *list, unsigned i)
{
	const struct tripod_conf *conf = tripod_conf_at(list, i);
	struct maglev_backend *b = &s->backends[i];
	if (tripod_conf_addr(tripod_conf_get(conf, "address"), &b->addr) != 0)
		return tripod_conf_error(conf, "the address of this backend cannot be read");
	b->port = tripod_conf_get(conf, "port") == NULL
			  ? s->key.port
			  : network16((uint16_t)tripod_conf_uint(conf, "port"));
	b->weight = (uint16_t)tripod_conf_uint(conf, "weight");
	if (tripod_addr_is_v4(&b->addr) != tripod_addr_is_v4(&s->key.vip)) {
		bool v4 = tripod_addr_is_v4(&s->key.vip);
		return tripod_conf_error(conf,
			"the VIP is an IPv%c address and this backend is not: give IPv%c clients a "
			"service and VIP of their own",
			v4 ? '4' : '6', v4 ? '6' : '4');
	}
	for (unsigned j = 0; j < i; j++)
		if (s->backends[j].port == b->port &&
			tripod_addr_equal(&s->backends[j].addr, &b->addr))
			return tripod_conf_error(conf,
				"this backend is listed already, on line %u: use `weight` for a "
				"larger share",
				tripod_conf_line(tripod_conf_at(list, j)));
	return 0;
}

static int load_backends(struct tripod_nf_env *env, struct lb *lb, struct lb_service *s)
{
	const struct tripod_conf *list = tripod_conf_get(s->conf, "backends");
	unsigned n = tripod_conf_count(list);
	if (n == 0)
		return tripod_conf_error(s->conf, "a VIP without backends: list one at least");
	if (n > lb->table_size)
		return tripod_conf_error(s->conf,
			"%u backends and a table of %u slots: raise table_size to a prime of 100 "
			"times the backends or more",
			n, lb->table_size);
	s->backends = tripod_env_alloc(env, n * sizeof(*s->backends));
	s->table = tripod_env_alloc(env, lb->table_size * sizeof(*s->table));
	if (s->backends == NULL || s->table == NULL)
		return -ENOMEM;
	int err = 0;
	unsigned weights = 0;
	for (unsigned i = 0; i < n; i++) {
		if (load_backend(s, list, i) != 0)
			err = -EINVAL;
		weights += s->backends[i].weight;
	}
	if (err != 0)
		return err;
	if (weights == 0)
		return tripod_conf_error(s->conf,
			"every backend of this service has weight 0: nobody takes new connections; "
			"give one a weight, or remove the service");
	maglev_build(s->table, lb->table_size, s->backends, n);
	return 0;
}

static int load_service(struct tripod_nf_env *env, struct lb *lb, const struct tripod_conf *conf)
{
	struct lb_service s = {.conf = conf, .durability = tripod_env_durability(env, conf)};
	if (tripod_conf_addr(tripod_conf_get(conf, "vip"), &s.key.vip) != 0)
		return tripod_conf_error(conf, "the VIP of this service cannot be read");
	s.key.port = network16((uint16_t)tripod_conf_uint(conf, "port"));
	const char *proto = tripod_conf_string(conf, "proto");
	s.key.proto = strcmp(proto, "tcp") == 0 ? PROTO_TCP : PROTO_UDP;
	unsigned at = 0;
	while (at < lb->n && memcmp(&lb->services[at].key, &s.key, sizeof(s.key)) < 0)
		at++;
	if (at < lb->n && memcmp(&lb->services[at].key, &s.key, sizeof(s.key)) == 0) {
		char vip[TRIPOD_ADDR_STRLEN];
		return tripod_conf_error(conf,
			"%s %s port %u is a service already, on line %u: put the backends of both "
			"into one",
			proto, tripod_addr_format(&s.key.vip, vip, sizeof(vip)),
			(unsigned)tripod_conf_uint(conf, "port"),
			tripod_conf_line(lb->services[at].conf));
	}
	struct tripod_prefix own = {.addr = s.key.vip, .len = 128};
	if (tripod_env_own_prefix(env, TRIPOD_INCOMING, &own) != 0)
		return tripod_conf_error(conf, "too many addresses for one gateway");
	int err = load_backends(env, lb, &s);
	for (unsigned i = lb->n; i > at; i--)
		lb->services[i] = lb->services[i - 1];
	lb->services[at] = s;
	lb->n++;
	return err;
}

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	const struct tripod_conf *services = tripod_conf_get(conf, "services");
	unsigned n = tripod_conf_count(services);
	struct lb *lb = tripod_env_alloc(env, sizeof(*lb));
	if (lb == NULL)
		return -ENOMEM;
	lb->services = tripod_env_alloc(env, n * sizeof(*lb->services));
	if (lb->services == NULL)
		return -ENOMEM;
	lb->table_size = (uint32_t)tripod_conf_uint(conf, "table_size");
	if (!maglev_size_valid(lb->table_size))
		return tripod_conf_error(tripod_conf_get(conf, "table_size"),
			"%u is not a prime: take 65537, or for many backends 655373",
			lb->table_size);
	int result = 0;
	for (unsigned i = 0; i < n; i++) {
		int err = load_service(env, lb, tripod_conf_at(services, i));
		if (err == -ENOMEM)
			return err;
		if (err != 0)
			result = err;
	}
	for (unsigned i = 0; i < lb->n; i++)
		lb->services[i].conf = NULL; // the tree may be freed before the chain
	*instance = lb;
	return result;
}

// ---- Packets ----

static const struct lb_service *find(const struct lb *lb, const struct tripod_tuple *t)
{
	struct lb_key key = {.vip = t->dst, .port = t->dport, .proto = t->proto};
	uint32_t low = 0, high = lb->n;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		int order = memcmp(&key, &lb->services[middle].key, sizeof(key));
		if (order == 0)
			return &lb->services[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	const struct lb *lb = c->instance;
	const struct lb_service *service = find(lb, &p->tuple);
	if (service == NULL) {
		tripod_count(c, PASSED);
		return TRIPOD_FORWARD;
	}
	if (p->tuple.direction != TRIPOD_INCOMING) {
		// The backend would answer a client beside it directly, and bypass the gateway.
		tripod_count(c, HAIRPIN);
		return TRIPOD_DROP;
	}
	uint8_t client[32] = {0};
	memcpy(client, &p->tuple.src, 16);
	memcpy(client + 16, &p->tuple.sport, 2);
	uint32_t slot = maglev_slot(tripod_hash(c, client, sizeof(client)), lb->table_size);
	const struct maglev_backend *b = &service->backends[service->table[slot]];
	struct lb_state *s = tripod_state_rw(c);
	s->backend = b->addr;
	s->port = b->port;
	s->service = (uint16_t)(service - lb->services + 1);
	tripod_durability(c, service->durability);
	tripod_count(c, CONNECTIONS);
	return TRIPOD_FORWARD;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	const struct lb_state *s = c->state;
	if (s->service == 0)
		return TRIPOD_FORWARD;
	if (c->from_initiator) {
		tripod_packet_set_dst(p, &s->backend, s->port);
		return TRIPOD_FORWARD;
	}
	const struct lb *lb = c->instance;
	if (s->service > lb->n) { // state comes from other nodes too: never trusted
		tripod_count(c, BAD_STATE);
		return TRIPOD_DROP;
	}
	const struct lb_key *key = &lb->services[s->service - 1].key;
	tripod_packet_set_src(p, &key->vip, key->port);
	return TRIPOD_FORWARD;
}

static const struct tripod_nf lb = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "lb",
	.summary = "load balancer: connections to a VIP spread over backends by Maglev hashing",
	.state_size = sizeof(struct lb_state),
	.fields = FIELDS,
	.options = OPTIONS,
	.counters = COUNTERS,
	.load = load,
	.on_init = on_init,
	.on_packet = on_packet,
};
TRIPOD_NF_BUILTIN(lb)
