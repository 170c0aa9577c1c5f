// SPDX-License-Identifier: BSD-3-Clause
#include "switch/rules.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "switch/slots.h"

#define MULTICAST "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00"
#define TAGGED "vlan_tci=0x1000/0x1000"
// The first stage and the second hash differently, else all that a dead node had is picked for one.
#define BASIS_FIRST 1
#define BASIS_SECOND 2
#define DP_HASH_SYMMETRIC (1ull << 32) // the algorithm, above the basis

static void *must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

static char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *format, ...)
{
	char *s;
	va_list args;
	va_start(args, format);
	int n = vasprintf(&s, format, args);
	va_end(args);
	return must(n < 0 ? NULL : s);
}

void rule_add(struct rule_list *l, char *key, char *body)
{
	if (l->n == l->room) {
		l->room = 2 * l->room + 64;
		l->rule = must(reallocarray(l->rule, l->room, sizeof(l->rule[0])));
	}
	l->rule[l->n++] = (struct rule){.key = key, .body = body};
}

static void list_free(struct rule_list *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		free(l->rule[i].key);
		free(l->rule[i].body);
	}
	free(l->rule);
	*l = (struct rule_list){};
}

void rules_free(struct rules *r)
{
	list_free(&r->groups);
	list_free(&r->flows);
}

// ---- Groups ----

// A bucket's end: a node's port, watched or not, or the node's fail-over group.
enum end { END_LIVE, END_PORT, END_NEVER, END_FAILOVER };

struct group {
	FILE *f;
	char *body;
	size_t size;
};

static void bucket(struct group *g, unsigned id, const struct switch_node *to, enum end end)
{
	fprintf(g->f, ",bucket=bucket_id:%u,", id);
	if (end == END_FAILOVER)
		fprintf(g->f, "actions=group:%u", GROUP_FAILOVER + to->id);
	else if (end == END_PORT)
		fprintf(g->f, "actions=output:%u", to->port);
	else
		fprintf(g->f, "watch_port:%u,actions=output:%u",
			end == END_NEVER ? SWITCH_PORT_NEVER : to->port, to->port);
}

// A group that picks by a hash of what the rack says. As Open vSwitch prints it.
static void select_begin(struct group *g, const struct switch_rack *r, unsigned basis)
{
	static const char *const fields[] = {
		[SWITCH_OUTSIDE_ENDPOINT] = "reg4,xxreg0",
		[SWITCH_5_TUPLE] = "ip_src,ip_dst,ipv6_src,ipv6_dst,nw_proto,tcp_src,tcp_dst,"
				   "udp_src,udp_dst",
	};
	g->f = must(open_memstream(&g->body, &g->size));
	fputs("type=select", g->f);
	if (r->hash != SWITCH_SYMMETRIC)
		fprintf(g->f, ",selection_method=hash,selection_method_param=%u,fields(%s)", basis,
			fields[r->hash]);
	else if (basis != BASIS_FIRST) // with that, it is what Open vSwitch does unasked
		fprintf(g->f, ",selection_method=dp_hash,selection_method_param=%llu",
			DP_HASH_SYMMETRIC | basis);
}

static void group_end(struct rules *out, struct group *g, unsigned id)
{
	if (fclose(g->f) != 0)
		abort();
	rule_add(&out->groups, text("group_id=%u", id), g->body);
}

// Does the switch look hashes up in a table, which the buckets are the slots of?
static bool by_slots(const struct switch_rack *r)
{
	return r->hash == SWITCH_SYMMETRIC && r->model == SWITCH_RESILIENT && r->n_nodes > 1;
}

// A group over all nodes; `never`: the id of the one that it does without, or -1.
static void group_of_all(const struct switch_rack *r, const uint8_t *slots, struct rules *out,
	unsigned group, unsigned basis, enum end end, int never)
{
	struct group g;
	unsigned n = by_slots(r) ? slots_count(r->n_nodes) : r->n_nodes;
	select_begin(&g, r, basis);
	for (unsigned i = 0; i < n; i++) {
		unsigned rank = by_slots(r) ? slots[i] : i;
		// The hash method picks by id: a node's is its own, whoever else is there.
		unsigned id = by_slots(r) ? i : r->node[rank].id + 1u;
		bucket(&g, id, &r->node[rank], r->node[rank].id == never ? END_NEVER : end);
	}
	group_end(out, &g, group);
}

static void failover_group(const struct switch_rack *r, struct rules *out, unsigned i)
{
	const struct switch_node *n = &r->node[i];
	rule_add(&out->groups, text("group_id=%u", GROUP_FAILOVER + n->id),
		text("type=ff,bucket=bucket_id:1,watch_port:%u,actions=output:%u,"
		     "bucket=bucket_id:2,watch_group:%u,actions=group:%u",
			n->port, n->port, GROUP_SECONDARY, GROUP_SECONDARY));
}

static unsigned survivors(const struct switch_rack *r, struct switch_node out[NODES_MAX])
{
	unsigned n = 0;
	for (unsigned i = 0; i < r->n_nodes; i++)
		if ((r->without >> r->node[i].id & 1) == 0)
			out[n++] = r->node[i];
	return n;
}

// So many ports, of nodes that are there: which ones does not matter. What counts is the place that is picked,
// and that is written on the frame.
static void group_of_ports(const struct switch_rack *r, struct rules *out, unsigned ports)
{
	struct switch_node left[NODES_MAX];
	unsigned n = survivors(r, left);
	struct group g;
	select_begin(&g, r, r->model == SWITCH_TWO_STAGE ? BASIS_SECOND : BASIS_FIRST);
	for (unsigned i = 0; i < ports; i++)
		fprintf(g.f, ",bucket=bucket_id:%u,actions=set_field:%u->ip_dscp,output:%u", i, i,
			left[i % n].port);
	group_end(out, &g, GROUP_PREDICT + ports);
}

unsigned rules_indices(const struct switch_rack *r, unsigned index[NODES_MAX + 1])
{
	struct switch_node left[NODES_MAX];
	unsigned n = 0, live = survivors(r, left);
	if (r->failures == 0 || r->predict_vlan == 0 || live == 0)
		return 0;
	if (r->model == SWITCH_RESILIENT) {
		for (unsigned i = 0; i < r->n_nodes; i++)
			index[n++] = r->node[i].id;
		index[n++] = PREDICT_ARRIVAL;
		return n;
	}
	// Down to what is left when K more fail. The second of two stages picks among all of the configured
	// at no time.
	unsigned most = r->n_nodes;
	if (r->model == SWITCH_TWO_STAGE && most == r->n_configured)
		most--;
	for (unsigned m = live > r->failures ? live - r->failures : 1; m <= most; m++)
		index[n++] = m;
	if (r->model == SWITCH_TWO_STAGE)
		index[n++] = PREDICT_ARRIVAL;
	return n;
}

unsigned rules_index_group(const struct switch_rack *r, unsigned index)
{
	bool now = r->model == SWITCH_TWO_STAGE && index == PREDICT_ARRIVAL;
	return now ? GROUP_PRIMARY : GROUP_PREDICT + index;
}

static void make_groups(const struct switch_rack *r, struct rules *out)
{
	unsigned index[NODES_MAX + 1], n = rules_indices(r, index);
	bool two = r->model == SWITCH_TWO_STAGE && r->n_nodes > 1;
	uint8_t slots[SLOTS_MAX];
	if (by_slots(r))
		slots_fill(r->n_nodes, slots);
	if (two) {
		group_of_all(r, slots, out, GROUP_SECONDARY, BASIS_SECOND, END_LIVE, -1);
		for (unsigned i = 0; i < r->n_nodes; i++)
			failover_group(r, out, i);
	}
	group_of_all(r, slots, out, GROUP_PRIMARY, BASIS_FIRST, two ? END_FAILOVER : END_LIVE, -1);
	for (unsigned i = 0; i < n; i++) {
		unsigned group = rules_index_group(r, index[i]);
		if (group == GROUP_PRIMARY)
			continue;
		if (r->model != SWITCH_RESILIENT)
			group_of_ports(r, out, index[i]);
		else if (index[i] == PREDICT_ARRIVAL)
			group_of_all(r, slots, out, group, BASIS_FIRST, END_PORT, -1);
		else
			group_of_all(r, slots, out, group, BASIS_FIRST, END_LIVE, (int)index[i]);
	}
}

// ---- Flows ----

struct mac_text {
	char s[18];
};

static struct mac_text mac_text(const uint8_t m[6])
{
	struct mac_text t;
	snprintf(t.s, sizeof(t.s), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
		m[5]);
	return t;
}

static void flow(
	struct rules *out, enum switch_table table, unsigned priority, char *match, char *actions)
{
	rule_add(&out->flows,
		text("table=%u,priority=%u%s%s", table, priority, match[0] == '\0' ? "" : ",",
			match),
		actions);
	free(match);
}

static void admit(const struct switch_rack *r, struct rules *out)
{
	// Before a group is asked, the fields that it hashes must be where it looks.
	static_assert(TABLE_ENDPOINT == 1);
	bool endpoint = r->hash == SWITCH_OUTSIDE_ENDPOINT;
	static const char *const prepare[] = {[TRIPOD_INCOMING] = "resubmit(,1),",
		[TRIPOD_OUTGOING] = "set_field:0x1->reg5,resubmit(,1),"};
	// An uplink has no say in tags: what is tagged there gets the side's on top, and is no IP.
	for (unsigned i = 0; i < r->n_uplinks; i++) {
		const struct switch_uplink *u = &r->uplink[i];
		unsigned vid = r->side[u->side].vlan | 0x1000;
		flow(out, TABLE_ADMIT, 20,
			text("in_port=%u,dl_dst=%s", u->port,
				mac_text(r->side[u->side].gateway_mac).s),
			text("push_vlan:0x8100,set_field:%u->vlan_vid,%sgroup:%u", vid,
				endpoint ? prepare[u->side] : "", GROUP_PRIMARY));
		flow(out, TABLE_ADMIT, 15, text("in_port=%u", u->port),
			text("push_vlan:0x8100,set_field:%u->vlan_vid,resubmit(,%u),goto_table:%u",
				vid, TABLE_MULTICAST, TABLE_FORWARD));
	}
	// The last bit of the VLAN is the side. Whoever asks may be the answer, but no switch sends a packet
	// back where it came from: so it forgets that.
	if (rules_indices(r, (unsigned[NODES_MAX + 1]){}) > 0)
		flow(out, TABLE_ADMIT, 10,
			text("vlan_tci=0x%04x/0x1f00", 0x1000u | r->predict_vlan),
			text("set_field:0->in_port,%sgoto_table:%u",
				endpoint ? "move:NXM_OF_VLAN_TCI[0]->NXM_NX_REG5[0],resubmit(,1),"
					 : "",
				TABLE_PREDICT));
	flow(out, TABLE_ADMIT, 5, text(TAGGED),
		text("resubmit(,%u),goto_table:%u", TABLE_MULTICAST, TABLE_FORWARD));
}

// Open vSwitch looks whether UDP is BFD's, and keeps in its cache the one bit by which a port is not that: so the cached
// flows of one endpoint would overlap. Of those it has been seen to leave one as it was when a port had gone down, and to
// send its packets to nobody for minutes (3.1, userspace datapath). So it is made to look at the whole port.
#define LOOK_AT_UDP_DST ",move:NXM_OF_UDP_DST[]->NXM_NX_REG6[0..15]"

// The outside endpoint: source of what comes from outside, destination of what comes from inside.
// Packets without ports (ICMP, later fragments, other protocols) hash on the address alone.
static void endpoints(struct rules *out, enum tripod_direction side)
{
	static const char *const protocols[] = {"TCP", "UDP"};
	static const char *const names[2][2] = {{"tcp", "udp"}, {"tcp6", "udp6"}};
	const char *end = side == TRIPOD_INCOMING ? "SRC" : "DST";
	const char *from = side == TRIPOD_INCOMING ? "0" : "0x1"; // as Open vSwitch prints it
	for (unsigned v6 = 0; v6 < 2; v6++) {
		char *address = v6 ? text("move:NXM_NX_IPV6_%s[]->NXM_NX_XXREG0[]", end)
				   : text("move:NXM_OF_IP_%s[]->NXM_NX_XXREG0[0..31]", end);
		for (unsigned p = 0; p < 2; p++)
			flow(out, TABLE_ENDPOINT, 20, text("%s,reg5=%s", names[v6][p], from),
				text("%s,move:NXM_OF_%s_%s[]->NXM_NX_REG4[0..15]%s", address,
					protocols[p], end,
					p == 1 && side == TRIPOD_INCOMING ? LOOK_AT_UDP_DST : ""));
		flow(out, TABLE_ENDPOINT, 10, text("%s,reg5=%s", v6 ? "ipv6" : "ip", from),
			address);
	}
}

static void predict(const struct switch_rack *r, struct rules *out)
{
	unsigned index[NODES_MAX + 1], n = rules_indices(r, index);
	for (unsigned i = 0; i < n; i++)
		flow(out, TABLE_PREDICT, 10,
			text("vlan_tci=0x%04x/0x1ffe", 0x1000 | (r->predict_vlan + 2 * index[i])),
			text("group:%u", rules_index_group(r, index[i])));
}

// To all uplinks of a side, unless they are known by their MACs: then what is for all of them alone.
static void side_flow(const struct switch_rack *r, struct rules *out, unsigned side)
{
	char *ports = text("pop_vlan");
	bool known = true, any = false;
	for (unsigned i = 0; i < r->n_uplinks; i++) {
		if (r->uplink[i].side != side)
			continue;
		char *more = text("%s,output:%u", ports, r->uplink[i].port);
		free(ports);
		ports = more;
		known = known && r->uplink[i].has_mac;
		any = true;
	}
	if (any)
		flow(out, TABLE_FORWARD, 10,
			text("dl_vlan=%u%s", r->side[side].vlan, known ? "," MULTICAST : ""),
			ports);
	else
		free(ports);
}

static void forward(const struct switch_rack *r, struct rules *out)
{
	char *all = text("output:%u", r->node[0].port);
	for (unsigned i = 1; i < r->n_nodes; i++) {
		char *more = text("%s,output:%u", all, r->node[i].port);
		free(all);
		all = more;
	}
	flow(out, TABLE_MULTICAST, 10, text(MULTICAST), all);
	for (unsigned i = 0; i < r->n_nodes; i++)
		flow(out, TABLE_FORWARD, 20, text("dl_dst=%s", mac_text(r->node[i].mac).s),
			text("output:%u", r->node[i].port));
	for (unsigned i = 0; i < r->n_uplinks; i++) {
		const struct switch_uplink *u = &r->uplink[i];
		if (u->has_mac)
			flow(out, TABLE_FORWARD, 20,
				text("dl_vlan=%u,dl_dst=%s", r->side[u->side].vlan,
					mac_text(u->mac).s),
				text("pop_vlan,output:%u", u->port));
	}
	for (unsigned s = 0; s < 2; s++)
		side_flow(r, out, s);
}

void rules_make(const struct switch_rack *r, struct rules *out)
{
	assert(r->n_nodes >= 1 && r->n_nodes <= NODES_MAX && r->n_uplinks <= SWITCH_UPLINKS_MAX);
	*out = (struct rules){};
	make_groups(r, out);
	admit(r, out);
	if (r->hash == SWITCH_OUTSIDE_ENDPOINT) {
		endpoints(out, TRIPOD_INCOMING);
		endpoints(out, TRIPOD_OUTGOING);
	}
	predict(r, out);
	forward(r, out);
}
