// SPDX-License-Identifier: BSD-3-Clause
#include "config/rack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "config/canonical.h"
#include "config/rack_check.h"
#include "config/schema.h"
#include "config/tree.h"

#define HASH_SEED_OF_SECRET 0x7365637265740001 // keeps it apart from other hashes of the text

static uint32_t number(const struct tripod_conf *c, const char *key)
{
	return (uint32_t)tripod_conf_uint(c, key);
}

static uint32_t seconds_ms(const struct tripod_conf *c, const char *key)
{
	return number(c, key) * 1000;
}

// Position of the text among the choices of an enum.
static unsigned choice(const struct tripod_conf *c, const char *key, const char *const *names)
{
	const char *text = tripod_conf_string(c, key);
	unsigned i = 0;
	while (names[i] != NULL && strcmp(names[i], text) != 0)
		i++;
	return i;
}

static bool is(const struct tripod_conf *c, const char *key, const char *text)
{
	return strcmp(tripod_conf_string(c, key), text) == 0;
}

// Keeps the longest prefix first, and the order of the file among equals.
static void add_route(
	struct side_conf *side, const struct tripod_prefix *to, const struct tripod_addr *via)
{
	unsigned at = side->n_routes++;
	for (; at > 0 && side->route[at - 1].to.len < to->len; at--)
		side->route[at] = side->route[at - 1];
	side->route[at] = (struct route){.to = *to, .via = *via};
}

static void fill_side(struct side_conf *side, const struct rack_side *s)
{
	static const struct tripod_addr none;
	const struct tripod_conf *routes = tripod_conf_get(s->conf, "routes");
	side->vlan = (uint16_t)number(s->conf, "vlan");
	side->relay_vlan = (uint16_t)number(s->conf, "relay_vlan");
	side->mtu = (uint16_t)number(s->conf, "mtu");
	tripod_conf_mac(tripod_conf_get(s->conf, "gateway_mac"), side->gateway_mac);
	for (unsigned i = 0; i < s->n; i++) {
		if (tripod_addr_is_v4(&s->gateway[i].addr))
			side->gateway_v4 = s->gateway[i].addr;
		else
			side->gateway_v6 = s->gateway[i].addr;
		add_route(side, &s->gateway[i].prefix, &none);
	}
	for (unsigned i = 0; i < tripod_conf_count(routes); i++) {
		const struct tripod_conf *route = tripod_conf_at(routes, i);
		struct tripod_prefix to;
		struct tripod_addr via;
		if (tripod_conf_prefix(tripod_conf_get(route, "to"), &to) == 0 &&
			tripod_conf_addr(tripod_conf_get(route, "via"), &via) == 0)
			add_route(side, &to, &via);
	}
}

static void fill_network(struct rack *r, const struct rack_check *c)
{
	const struct tripod_conf *bfd = tripod_conf_get(c->network, "bfd");
	struct node_conf *n = &r->conf;
	struct tripod_addr a;
	for (unsigned s = 0; s < 2; s++)
		fill_side(&n->side[s], &c->side[s]);
	n->fabric_vlan = (uint16_t)number(tripod_conf_get(c->network, "fabric"), "vlan");
	n->bfd_enabled = tripod_conf_bool(bfd, "enabled");
	n->bfd.tx_us = n->bfd.rx_us = number(bfd, "interval_ms") * 1000;
	n->bfd.multiplier = (uint8_t)number(bfd, "multiplier");
	tripod_conf_mac(tripod_conf_get(bfd, "peer_mac"), n->bfd.peer_mac);
	if (tripod_conf_addr(tripod_conf_get(bfd, "local_address"), &a) == 0)
		n->bfd.src_v4 = tripod_addr_get_v4(&a);
	if (tripod_conf_addr(tripod_conf_get(bfd, "peer_address"), &a) == 0)
		n->bfd.dst_v4 = tripod_addr_get_v4(&a);
	for (unsigned i = 0; i < r->n_nodes; i++) {
		struct neigh_self *self = &r->nodes[i].self;
		self->net[NEIGH_OUTSIDE].vlan = n->side[TRIPOD_INCOMING].vlan;
		self->net[NEIGH_INSIDE].vlan = n->side[TRIPOD_OUTGOING].vlan;
		self->net[NEIGH_FABRIC].vlan = n->fabric_vlan;
	}
}

static void fill_uplink(struct rack_uplink *u, const struct tripod_conf *c)
{
	u->port = (uint16_t)number(c, "port");
	u->side = is(c, "side", "outside") ? TRIPOD_INCOMING : TRIPOD_OUTGOING;
	u->has_mac = tripod_conf_mac(tripod_conf_get(c, "mac"), u->mac) == 0;
}

static void fill_switch(struct rack *r, const struct tripod_conf *c)
{
	const struct tripod_conf *uplinks = tripod_conf_get(c, "uplinks");
	struct node_conf *n = &r->conf;
	n->switch_model = choice(c, "model", rack_switch_models);
	n->switch_hash = choice(c, "hash", rack_switch_hashes);
	n->directions_split = n->switch_hash != SWITCH_OUTSIDE_ENDPOINT;
	n->predict_vlan = (uint16_t)number(c, "prediction_vlan");
	n->predict_failures = (uint8_t)number(c, "failures");
	if (n->predict_failures >= r->n_nodes)
		n->predict_failures = (uint8_t)(r->n_nodes - 1);
	r->bridge = tripod_conf_string(c, "bridge");
	r->n_uplinks = tripod_conf_count(uplinks);
	for (unsigned i = 0; i < r->n_uplinks; i++)
		fill_uplink(&r->uplink[i], tripod_conf_at(uplinks, i));
}

static void fill_rack(struct rack *r, const struct tripod_conf *c)
{
	static const char *const durabilities[] = {[DURABILITY_NONE] = "none",
		[DURABILITY_ASYNC] = "async",
		[DURABILITY_SYNC] = "sync",
		NULL};
	struct node_conf *n = &r->conf;
	const char *secret = tripod_conf_string(c, "secret");
	r->name = tripod_conf_string(c, "name");
	r->key_file = is(c, "authentication", "key") ? tripod_conf_string(c, "key_file") : NULL;
	if (secret == NULL)
		secret = r->name;
	n->cluster = XXH64(r->name, strlen(r->name), 0);
	n->hash_seed = XXH64(secret, strlen(secret), HASH_SEED_OF_SECRET);
	n->durability = choice(c, "durability", durabilities);
	n->backups = (uint8_t)number(c, "backups");
	n->placement = is(c, "placement", "random") ? PLACEMENT_RANDOM : PLACEMENT_PREDICTIVE;
	n->failure_prior_h = number(c, "failure_prior_h");
	for (unsigned i = 0; i < r->n_nodes; i++)
		n->member[r->nodes[i].id].failure_ppm = r->nodes[i].failure_ppm != 0
								? r->nodes[i].failure_ppm
								: number(c, "failure_ppm");
	n->heartbeat_ms = number(c, "heartbeat_ms");
	n->dead_after_ms = number(c, "dead_after_ms");
	n->sync_timeout_ms = number(c, "sync_timeout_ms");
	n->sync_forward = is(c, "sync_timeout", "forward");
	n->refuse_short = is(c, "backups_short", "refuse");
	n->flush_us = number(c, "flush_us");
	n->batch_records = number(c, "batch_records");
	n->pull_timeout_ms = number(c, "pull_timeout_ms");
	n->join_timeout_ms = number(c, "join_timeout_ms");
	n->drain_quiet_ms = number(c, "drain_quiet_ms");
	r->drain_on_stop_ms = number(c, "drain_on_stop_ms");
	n->announce_after_ms = number(c, "announce_after_ms");
	n->index_flush_ms = number(c, "index_flush_ms");
	n->unknown_tcp_reset = is(c, "unknown_tcp", "reset");
}

static void fill_limits(struct node_conf *n, const struct tripod_conf *root)
{
	const struct tripod_conf *limits = tripod_conf_get(root, "limits");
	const struct tripod_conf *t = tripod_conf_get(root, "timeouts");
	n->connections = number(limits, "connections");
	n->embryonic = number(limits, "embryonic");
	n->waiting = number(limits, "waiting");
	n->sync_packets = number(limits, "sync_packets");
	n->requests = number(limits, "requests");
	n->kinds = number(limits, "kinds");
	n->fragments = number(limits, "fragments");
	n->pulls = number(limits, "pulls");
	n->pull_per_s = number(limits, "pull_per_s");
	n->predict_per_s = number(limits, "predict_per_s");
	n->index_keys = number(limits, "index_keys");
	n->timers = number(limits, "timers");
	n->chain_bytes = number(limits, "chain_bytes");
	n->nf_state_bytes = number(limits, "nf_state_bytes");
	n->peer_workers = (uint8_t)number(limits, "peer_workers");
	n->relay_per_s = number(limits, "relay_per_s");
	n->repair_per_s = number(limits, "repair_per_s");
	n->tcp.established_ms = seconds_ms(t, "tcp_established_s");
	n->tcp.embryonic_ms = seconds_ms(t, "tcp_embryonic_s");
	n->tcp.closing_ms = seconds_ms(t, "tcp_closing_s");
	n->tcp.closed_ms = seconds_ms(t, "tcp_closed_s");
	n->udp_ms = seconds_ms(t, "udp_s");
	n->udp_embryonic_ms = seconds_ms(t, "udp_embryonic_s");
	n->icmp_ms = seconds_ms(t, "icmp_s");
	n->tombstone_ms = seconds_ms(t, "tombstone_s");
}

static void fill_host(struct rack *r, const struct tripod_conf *c)
{
	static const char *const hugepages[] = {[RACK_HUGEPAGES_AUTO] = "auto",
		[RACK_HUGEPAGES_NEVER] = "never",
		[RACK_HUGEPAGES_REQUIRE] = "require",
		NULL};
	const struct tripod_conf *eal = tripod_conf_get(c, "eal");
	char socket_path[64];
	r->port = tripod_conf_string(c, "port");
	r->conf.workers = (uint8_t)number(c, "workers");
	if (r->conf.peer_workers < r->conf.workers)
		r->conf.peer_workers = r->conf.workers;
	r->n_eal = tripod_conf_count(eal);
	for (unsigned i = 0; i < r->n_eal; i++)
		r->eal[i] = tripod_conf_text(tripod_conf_at(eal, i));
	r->hugepages = choice(c, "hugepages", hugepages);
	r->idle_sleep = is(c, "idle", "sleep");
	r->idle_max_us = number(c, "idle_max_us");
	r->state_dir = tripod_conf_string(c, "state_dir");
	r->control_socket = tripod_conf_string(c, "control_socket");
	if (r->control_socket == NULL) {
		snprintf(socket_path, sizeof(socket_path), "/run/tripod/tripodd-%u.sock",
			r->conf.id);
		r->control_socket = conf_strdup(r->doc, socket_path);
	}
}

// Finds the node that was asked for; its rank, or -1 with an error.
static int find_node(struct rack *r, const struct rack_check *c, int id)
{
	const struct tripod_conf *host = tripod_conf_get(c->root, "node");
	const struct tripod_conf *at = c->nodes;
	struct conf_words ids = {0};
	uint64_t own;
	if ((id == RACK_NODE_ANY || id == RACK_NODE_SWITCH) && r->n_nodes > 0)
		return 0;
	if (id == RACK_NODE_SELF) {
		if (!rack_number(host, "id", &own)) {
			tripod_conf_error(host, "the file does not say which node this host is; "
						"name it on the command "
						"line, or add \"id:\" to \"node:\"");
			return -1;
		}
		id = (int)own;
		at = tripod_conf_get(host, "id");
	}
	for (unsigned i = 0; i < r->n_nodes; i++) {
		if (r->nodes[i].id == id)
			return (int)i;
		conf_add(&ids, "%s%u", i == 0 ? "" : ", ", r->nodes[i].id);
	}
	if (r->n_nodes > 0)
		tripod_conf_error(at, "no node has the id %d; the ids are %s", id, ids.s);
	return -1;
}

static void fill_identity(struct rack *r, unsigned rank)
{
	struct node_conf *n = &r->conf;
	n->id = r->nodes[rank].id;
	n->self = r->nodes[rank].self;
	memcpy(n->bfd.mac, n->self.mac, sizeof(n->bfd.mac));
	for (unsigned i = 0; i < r->n_nodes; i++) {
		struct member_conf *m = &n->member[r->nodes[i].id];
		m->present = true;
		m->fabric = r->nodes[i].self.net[NEIGH_FABRIC].v4;
	}
	r->slot = rank;
	r->slots = r->n_nodes;
}

static int rack_finish(struct rack *r, int node)
{
	struct rack_check c = {};
	const struct tripod_conf *root = conf_root(r->doc);
	if (root == NULL)
		return -EINVAL;
	conf_check(root, rack_options);
	rack_check_all(&c, r);
	if (node != RACK_NODE_SWITCH)
		rack_check_chain(tripod_conf_get(root, "chain"));
	int rank = find_node(r, &c, node);
	if (rank < 0 || conf_error_count(r->doc) > 0)
		return -EINVAL;
	fill_network(r, &c); // first: the nodes' VLANs are part of their identity
	fill_identity(r, (unsigned)rank);
	fill_switch(r, tripod_conf_get(root, "switch"));
	fill_rack(r, c.rack);
	fill_limits(&r->conf, root);
	fill_host(r, tripod_conf_get(root, "node"));
	r->chain = tripod_conf_get(root, "chain");
	r->chain_text = conf_canonical(r->chain);
	return 0;
}

int rack_load(const char *path, int node, struct rack *out)
{
	*out = (struct rack){.doc = conf_load(path)};
	return rack_finish(out, node);
}

int rack_load_text(const char *name, const char *text, int node, struct rack *out)
{
	*out = (struct rack){.doc = conf_load_text(name, text)};
	return rack_finish(out, node);
}

const char *rack_report(struct rack *r)
{
	return conf_report(r->doc);
}

void rack_free(struct rack *r)
{
	free(r->chain_text);
	conf_free(r->doc);
	*r = (struct rack){};
}
