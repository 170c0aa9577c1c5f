// SPDX-License-Identifier: BSD-3-Clause
#include "config/rack_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/schema.h"
#include "config/tree.h"

bool rack_number(const struct tripod_conf *c, const char *key, uint64_t *value)
{
	const struct tripod_conf *v = tripod_conf_get(c, key);
	return v != NULL && !v->bad && v->kind == CONF_SCALAR &&
	       conf_parse_uint(v->text, value) == 0;
}

static const char *family_name(const struct tripod_addr *a)
{
	return tripod_addr_is_v4(a) ? "IPv4" : "IPv6";
}

// ---- Claims: what may be given away once ----

// Records that `owner` has the key; otherwise reports at v who has it already.
static bool claim(struct rack_claims *all, const struct tripod_conf *v, const uint8_t *key,
	size_t size, const char *format, ...) __attribute__((format(printf, 5, 6)));
static bool claim(struct rack_claims *all, const struct tripod_conf *v, const uint8_t *key,
	size_t size, const char *format, ...)
{
	struct rack_claim c = {.line = v->line};
	memcpy(c.key, key, size);
	va_list args;
	va_start(args, format);
	vsnprintf(c.owner, sizeof(c.owner), format, args);
	va_end(args);
	for (unsigned i = 0; i < all->n; i++) {
		if (memcmp(all->claim[i].key, c.key, sizeof(c.key)) != 0)
			continue;
		tripod_conf_error(v, "%s of %s belongs to %s already (line %u); write another one",
			conf_quote(v->text).s, c.owner, all->claim[i].owner, all->claim[i].line);
		return false;
	}
	if (all->n < RACK_CLAIMS_MAX)
		all->claim[all->n++] = c;
	return true;
}

static void claim_mac(
	struct rack_check *c, const struct tripod_conf *v, uint8_t mac[6], const char *owner)
{
	static const uint8_t zero[6];
	uint8_t m[6];
	if (tripod_conf_mac(v, m) < 0)
		return;
	if ((m[0] & 1) != 0 || memcmp(m, zero, sizeof(m)) == 0)
		tripod_conf_error(v,
			"%s of %s is %s; write a unicast MAC, such as "
			"02:00:00:00:00:01",
			conf_quote(v->text).s, owner,
			(m[0] & 1) != 0 ? "a group address" : "all zero");
	else if (claim(&c->macs, v, m, sizeof(m), "%s", owner))
		memcpy(mac, m, sizeof(m));
}

// ---- Network ----

static void check_vlans(struct rack_check *c)
{
	const struct tripod_conf *fabric = tripod_conf_get(c->network, "fabric");
	const struct {
		const struct tripod_conf *conf;
		const char *key, *of;
	} all[] = {
		{c->side[0].conf, "vlan", "outside"},
		{c->side[0].conf, "relay_vlan", "outside"},
		{c->side[1].conf, "vlan", "inside"},
		{c->side[1].conf, "relay_vlan", "inside"},
		{fabric, "vlan", "fabric"},
	};
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		uint64_t vlan, other;
		if (!rack_number(all[i].conf, all[i].key, &vlan))
			continue;
		for (unsigned j = 0; j < i; j++) {
			if (!rack_number(all[j].conf, all[j].key, &other) || vlan != other)
				continue;
			tripod_conf_error(tripod_conf_get(all[i].conf, all[i].key),
				"%s %u of %s is the %s of %s already (line %u); write another one",
				all[i].key, (unsigned)vlan, all[i].of, all[j].key, all[j].of,
				tripod_conf_line(tripod_conf_get(all[j].conf, all[j].key)));
			break;
		}
	}
}

// Nobody can be reached at such an address.
static bool unusable(const struct tripod_addr *a)
{
	static const uint8_t zero[16];
	if (tripod_addr_is_v4(a))
		return a->b[12] == 0 || a->b[12] == 127 || a->b[12] >= 224;
	return memcmp(a->b, zero, 15) == 0 || a->b[0] == 0xff;
}

static void check_gateway(struct rack_check *c, struct rack_side *s, const struct tripod_conf *v)
{
	struct tripod_addr addr;
	struct tripod_prefix prefix;
	char text[TRIPOD_ADDR_STRLEN];
	if (v->bad || tripod_conf_text(v) == NULL)
		return;
	if (strchr(v->text, '/') == NULL || conf_parse_interface(v->text, &addr, &prefix) < 0) {
		tripod_conf_error(v,
			"gateway is %s; write an address and the length of its on-link prefix, "
			"such as "
			"203.0.113.1/24",
			conf_quote(v->text).s);
		return;
	}
	for (unsigned i = 0; i < s->n; i++) {
		if (tripod_addr_is_v4(&s->gateway[i].addr) == tripod_addr_is_v4(&addr)) {
			tripod_conf_error(v, "%s has two %s gateways; write one a family", s->name,
				family_name(&addr));
			return;
		}
	}
	if (unusable(&addr) || (prefix.len < 127 && tripod_addr_equal(&addr, &prefix.addr))) {
		tripod_conf_error(v,
			"%s is no address of a host; write the gateway's own, such as "
			"203.0.113.1/24",
			tripod_addr_format(&addr, text, sizeof(text)));
		return;
	}
	if (!claim(&c->addrs, v, addr.b, sizeof(addr.b), "the gateway %s", s->name))
		return;
	s->gateway[s->n].conf = v;
	s->gateway[s->n].addr = addr;
	s->gateway[s->n++].prefix = prefix;
}

// The number of the gateway in whose on-link prefix a lies, or -1.
static int on_link(const struct rack_side *s, const struct tripod_addr *a)
{
	for (unsigned i = 0; i < s->n; i++)
		if (tripod_prefix_contains(&s->gateway[i].prefix, a))
			return (int)i;
	return -1;
}

static struct conf_words on_link_words(const struct rack_side *s)
{
	struct conf_words w = {0};
	char text[TRIPOD_ADDR_STRLEN + 4];
	for (unsigned i = 0; i < s->n; i++)
		conf_add(&w, "%s%s", i == 0 ? "" : " or ",
			tripod_prefix_format(&s->gateway[i].prefix, text, sizeof(text)));
	return w;
}

static void check_overlap(struct rack_check *c)
{
	char text[TRIPOD_ADDR_STRLEN + 4];
	const struct rack_side *out = &c->side[0], *in = &c->side[1];
	for (unsigned i = 0; i < in->n; i++)
		for (unsigned j = 0; j < out->n; j++)
			if (tripod_prefix_contains(
				    &out->gateway[j].prefix, &in->gateway[i].prefix.addr) ||
				tripod_prefix_contains(
					&in->gateway[i].prefix, &out->gateway[j].prefix.addr))
				tripod_conf_error(in->gateway[i].conf,
					"on-link prefix of inside overlaps %s of outside (line "
					"%u); write "
					"prefixes apart from each other",
					tripod_prefix_format(
						&out->gateway[j].prefix, text, sizeof(text)),
					out->gateway[j].conf->line);
}

static void check_route(const struct rack_side *s, const struct tripod_conf *routes, unsigned i)
{
	const struct tripod_conf *route = tripod_conf_at(routes, i);
	const struct tripod_conf *to = tripod_conf_get(route, "to"),
				 *via = tripod_conf_get(route, "via");
	struct tripod_prefix prefix, other;
	struct tripod_addr hop;
	if (tripod_conf_prefix(to, &prefix) < 0 || tripod_conf_addr(via, &hop) < 0)
		return;
	for (unsigned j = 0; j < i; j++) {
		const struct tripod_conf *before = tripod_conf_get(tripod_conf_at(routes, j), "to");
		if (tripod_conf_prefix(before, &other) == 0 && other.len == prefix.len &&
			tripod_addr_equal(&other.addr, &prefix.addr)) {
			tripod_conf_error(to,
				"%s has two routes to %s, the first on line %u; remove one",
				s->name, conf_quote(to->text).s, before->line);
			return;
		}
	}
	if (tripod_addr_is_v4(&prefix.addr) != tripod_addr_is_v4(&hop)) {
		tripod_conf_error(via,
			"via is %s, but the route is for %s; write a next hop of the "
			"same family",
			conf_quote(via->text).s, family_name(&prefix.addr));
		return;
	}
	if (s->n == 0) // the gateways are wrong: nothing to measure by
		return;
	int at = on_link(s, &hop);
	if (at < 0)
		tripod_conf_error(via, "via %s is not on link %s; write a next hop in %s",
			conf_quote(via->text).s, s->name, on_link_words(s).s);
	else if (tripod_addr_equal(&s->gateway[at].addr, &hop))
		tripod_conf_error(via, "via %s is this gateway itself; write the router's address",
			conf_quote(via->text).s);
}

static void check_side(struct rack_check *c, struct rack_side *s)
{
	const struct tripod_conf *gateways = tripod_conf_get(s->conf, "gateway");
	const struct tripod_conf *routes = tripod_conf_get(s->conf, "routes");
	char owner[32];
	uint8_t mac[6];
	for (unsigned i = 0; i < tripod_conf_count(gateways) && s->n < 2; i++)
		check_gateway(c, s, tripod_conf_at(gateways, i));
	for (unsigned i = 0; i < tripod_conf_count(routes) && i < ROUTES_MAX; i++)
		check_route(s, routes, i);
	snprintf(owner, sizeof(owner), "the gateway %s", s->name);
	claim_mac(c, tripod_conf_get(s->conf, "gateway_mac"), mac, owner);
}

static void check_bfd(struct rack_check *c)
{
	static const char *const keys[] = {"local_address", "peer_address"};
	const struct tripod_conf *bfd = tripod_conf_get(c->network, "bfd");
	uint8_t mac[6];
	for (unsigned i = 0; i < 2; i++) {
		const struct tripod_conf *v = tripod_conf_get(bfd, keys[i]);
		struct tripod_addr a;
		if (tripod_conf_addr(v, &a) == 0 && !tripod_addr_is_v4(&a))
			tripod_conf_error(v, "%s is %s; BFD needs an IPv4 address", keys[i],
				conf_quote(v->text).s);
	}
	claim_mac(c, tripod_conf_get(bfd, "peer_mac"), mac, "the switch (BFD)");
}

// ---- The switch ----

static void check_prediction(struct rack_check *c)
{
	const struct tripod_conf *conf = tripod_conf_get(c->switch_, "prediction_vlan");
	const struct {
		const struct tripod_conf *conf;
		const char *key;
	} all[] = {
		{c->side[0].conf, "vlan"},
		{c->side[0].conf, "relay_vlan"},
		{c->side[1].conf, "vlan"},
		{c->side[1].conf, "relay_vlan"},
		{tripod_conf_get(c->network, "fabric"), "vlan"},
	};
	uint64_t base, vlan;
	if (!rack_number(c->switch_, "prediction_vlan", &base) || base == 0)
		return;
	if (base % PREDICT_VLANS != 0) {
		tripod_conf_error(conf,
			"prediction_vlan is %u; write a multiple of %u, or 0 for no prediction",
			(unsigned)base, PREDICT_VLANS);
		return;
	}
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (rack_number(all[i].conf, all[i].key, &vlan) &&
			vlan / PREDICT_VLANS == base / PREDICT_VLANS)
			tripod_conf_error(tripod_conf_get(all[i].conf, all[i].key),
				"%s %u is one of the VLANs of prediction, %u to %u; write another "
				"one, or another switch: prediction_vlan",
				all[i].key, (unsigned)vlan, (unsigned)base,
				(unsigned)base + PREDICT_VLANS - 1);
}

// Reports what leads two ways.
static bool claim_port(
	struct rack_check *c, const struct tripod_conf *v, uint64_t port, const char *owner)
{
	const uint8_t key[2] = {(uint8_t)(port >> 8), (uint8_t)port};
	return claim(&c->ports, v, key, sizeof(key), "%s", owner);
}

static void check_node_port(
	struct rack_check *c, const struct tripod_conf *node, struct rack_node *n)
{
	const char *key = "switch_port";
	char owner[32];
	uint64_t port = n->id;
	if (tripod_conf_get(node, key) == NULL)
		key = "id";
	else if (!rack_number(node, key, &port))
		return;
	snprintf(owner, sizeof(owner), "node %u at the switch", n->id);
	if (claim_port(c, tripod_conf_get(node, key), port, owner))
		n->switch_port = (uint16_t)port;
}

static void check_uplinks(struct rack_check *c)
{
	const struct tripod_conf *uplinks = tripod_conf_get(c->switch_, "uplinks");
	char owner[32];
	uint8_t mac[6];
	uint64_t port;
	for (unsigned i = 0; i < tripod_conf_count(uplinks) && i < RACK_UPLINKS_MAX; i++) {
		const struct tripod_conf *u = tripod_conf_at(uplinks, i);
		snprintf(owner, sizeof(owner), "uplink %u", i + 1);
		if (rack_number(u, "port", &port))
			claim_port(c, tripod_conf_get(u, "port"), port, owner);
		claim_mac(c, tripod_conf_get(u, "mac"), mac, owner);
	}
}

// ---- Nodes ----

// An address of a node on a net; false when it is not good for it.
static bool check_own(struct rack_check *c, const struct tripod_conf *v, const struct rack_side *s,
	unsigned id, struct tripod_addr *addr)
{
	const char *net = s == NULL ? "fabric" : s->name;
	if (tripod_conf_addr(v, addr) < 0)
		return false;
	if (unusable(addr))
		return tripod_conf_error(v,
			       "%s of node %u %s is no address of a host; write another "
			       "one",
			       conf_quote(v->text).s, id, net) == 0;
	if (s == NULL && !tripod_addr_is_v4(addr))
		return tripod_conf_error(v, "fabric of node %u is %s; write an IPv4 address", id,
			       conf_quote(v->text).s) == 0;
	int at = s == NULL || s->n == 0 ? 0 : on_link(s, addr);
	if (at < 0)
		return tripod_conf_error(v,
			       "%s of node %u is not on link %s; write an address in %s",
			       conf_quote(v->text).s, id, net, on_link_words(s).s) == 0;
	return claim(&c->addrs, v, addr->b, sizeof(addr->b), "node %u %s", id, net);
}

static void check_node_side(struct rack_check *c, const struct tripod_conf *node, unsigned id,
	const struct rack_side *s, struct tripod_addr *v4, struct tripod_addr *v6)
{
	const struct tripod_conf *list = tripod_conf_get(node, s->name);
	bool have[2] = {
		false, false}; // IPv4, IPv6; wrong ones count, so as not to report them twice
	if (list == NULL || list->bad)
		return;
	for (unsigned i = 0; i < tripod_conf_count(list); i++) {
		const struct tripod_conf *v = tripod_conf_at(list, i);
		struct tripod_addr addr;
		if (tripod_conf_addr(v, &addr) < 0)
			return;
		bool is_v6 = !tripod_addr_is_v4(&addr);
		if (have[is_v6]) {
			tripod_conf_error(v, "node %u has two %s addresses %s; write one a family",
				id, family_name(&addr), s->name);
			continue;
		}
		have[is_v6] = true;
		if (check_own(c, v, s, id, &addr))
			*(is_v6 ? v6 : v4) = addr;
	}
	for (unsigned i = 0; i < s->n; i++)
		if (!have[!tripod_addr_is_v4(&s->gateway[i].addr)])
			tripod_conf_error(list,
				"node %u has no %s address %s, where the gateway has one (line "
				"%u); add one "
				"to \"%s:\"",
				id, family_name(&s->gateway[i].addr), s->name,
				s->gateway[i].conf->line, s->name);
}

static void check_node(struct rack_check *c, struct rack *r, const struct tripod_conf *node)
{
	uint64_t id;
	char owner[32];
	if (!rack_number(node, "id", &id) || id >= NODES_MAX)
		return;
	const struct tripod_conf *id_conf = tripod_conf_get(node, "id");
	for (unsigned i = 0; i < r->n_nodes; i++) {
		if (r->nodes[i].id == id) {
			tripod_conf_error(id_conf,
				"id %u is given to two nodes, first on line %u; write another one",
				(unsigned)id, r->nodes[i].line);
			return;
		}
	}
	struct rack_node *n = &r->nodes[r->n_nodes++];
	*n = (struct rack_node){.id = (uint8_t)id, .line = id_conf->line};
	snprintf(owner, sizeof(owner), "node %u", n->id);
	claim_mac(c, tripod_conf_get(node, "mac"), n->self.mac, owner);
	check_node_port(c, node, n);
	uint64_t ppm;
	if (rack_number(node, "failure_ppm", &ppm))
		n->failure_ppm = (uint32_t)ppm;
	for (unsigned s = 0; s < 2; s++)
		check_node_side(
			c, node, n->id, &c->side[s], &n->self.net[s].v4, &n->self.net[s].v6);
	struct tripod_addr fabric;
	if (check_own(c, tripod_conf_get(node, "fabric"), NULL, n->id, &fabric))
		n->self.net[NEIGH_FABRIC].v4 = fabric;
}

static int node_compare(const void *a, const void *b)
{
	return ((const struct rack_node *)a)->id - ((const struct rack_node *)b)->id;
}

static void check_numbers(struct rack_check *c)
{
	const struct tripod_conf *limits = tripod_conf_get(c->root, "limits");
	uint64_t a, b;
	unsigned n = tripod_conf_count(c->nodes);
	if (rack_number(c->rack, "backups", &a) && n > 0 && a >= n)
		tripod_conf_error(tripod_conf_get(c->rack, "backups"),
			"backups is %u, but the rack has %u node%s; write at most %u", (unsigned)a,
			n, n == 1 ? "" : "s", n - 1);
	if (rack_number(c->rack, "heartbeat_ms", &a) && rack_number(c->rack, "dead_after_ms", &b) &&
		b < 2 * a)
		tripod_conf_error(tripod_conf_get(c->rack, "dead_after_ms"),
			"dead_after_ms is %u, less than two heartbeats; write at least %u",
			(unsigned)b, (unsigned)(2 * a));
	if (rack_number(limits, "connections", &a) && rack_number(limits, "embryonic", &b) && b > a)
		tripod_conf_error(tripod_conf_get(limits, "embryonic"),
			"embryonic is %u, more than connections; write at most %u", (unsigned)b,
			(unsigned)a);
}

static void check_texts(struct rack_check *c)
{
	const struct tripod_conf *host = tripod_conf_get(c->root, "node");
	const struct {
		const struct tripod_conf *map;
		const char *key;
		size_t max; // bytes
	} all[] = {
		{c->rack, "name", 63}, {c->rack, "secret", 1024}, {c->rack, "key_file", 255},
		{c->switch_, "bridge", 63}, {host, "port", 255}, {host, "state_dir", 255},
		{host, "control_socket", 107}, // sockaddr_un
	};
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const struct tripod_conf *v = tripod_conf_get(all[i].map, all[i].key);
		const char *text = tripod_conf_text(v);
		if (text == NULL || v->bad)
			continue;
		if (text[0] == '\0')
			tripod_conf_error(v, "%s is empty; write a text", all[i].key);
		else if (strlen(text) > all[i].max)
			tripod_conf_error(v, "%s is longer than %zu bytes; shorten it", all[i].key,
				all[i].max);
	}
}

void rack_check_all(struct rack_check *c, struct rack *r)
{
	c->doc = r->doc;
	c->root = conf_root(r->doc);
	c->rack = tripod_conf_get(c->root, "rack");
	c->network = tripod_conf_get(c->root, "network");
	c->nodes = tripod_conf_get(c->rack, "nodes");
	c->switch_ = tripod_conf_get(c->root, "switch");
	c->side[TRIPOD_INCOMING].name = "outside";
	c->side[TRIPOD_OUTGOING].name = "inside";
	for (unsigned s = 0; s < 2; s++) {
		c->side[s].conf = tripod_conf_get(c->network, c->side[s].name);
		check_side(c, &c->side[s]);
	}
	check_overlap(c);
	check_vlans(c);
	check_bfd(c);
	for (unsigned i = 0; i < tripod_conf_count(c->nodes) && r->n_nodes < NODES_MAX; i++)
		check_node(c, r, tripod_conf_at(c->nodes, i));
	qsort(r->nodes, r->n_nodes, sizeof(r->nodes[0]), node_compare);
	check_prediction(c);
	check_uplinks(c);
	check_numbers(c);
	check_texts(c);
}

// ---- Chain ----

static void chain_unknown(const struct conf_doc *doc, const struct conf_entry *e)
{
	const struct tripod_nf *known[NF_REGISTRY_MAX];
	const char *name[NF_REGISTRY_MAX];
	struct conf_words w = {0};
	unsigned n = nf_list(known, NF_REGISTRY_MAX);
	for (unsigned i = 0; i < n; i++) {
		name[i] = known[i]->name;
		conf_add(&w, "%s%s", i == 0 ? "" : ", ", name[i]);
	}
	const char *guess = conf_guess(e->key, name, n);
	if (guess != NULL)
		conf_error_at(e->value->doc, e->line,
			"unknown network function %s; did you mean \"%s\"?", conf_quote(e->key).s,
			guess);
	else
		conf_error_at(e->value->doc, e->line, "unknown network function %s; there are %s",
			conf_quote(e->key).s, n == 0 ? "none" : w.s);
}

void rack_check_chain(const struct tripod_conf *chain)
{
	static const struct tripod_option none[] = {{}};
	for (unsigned i = 0; i < tripod_conf_count(chain); i++) {
		const struct tripod_conf *c = tripod_conf_at(chain, i);
		if (c->bad)
			continue;
		if (c->kind != CONF_MAP || c->n != 1) {
			tripod_conf_error(c,
				"an element of the chain is %s; write \"- name: {...}\" for "
				"each network function",
				c->kind == CONF_SCALAR ? conf_quote(c->text).s
				: c->kind == CONF_LIST ? "a list"
				: c->n == 0            ? "empty"
						       : "a mapping with several keys");
			continue;
		}
		const struct tripod_nf *nf = nf_find(c->entry[0].key);
		if (nf == NULL)
			chain_unknown(c->doc, &c->entry[0]);
		else
			conf_check(c->entry[0].value, nf->options != NULL ? nf->options : none);
	}
}
