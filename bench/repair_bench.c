// SPDX-License-Identifier: BSD-3-Clause
// How soon what lost a copy when a node died has another, and what that costs the links.
#include "bench/repair_bench.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/cli.h"
#include "bench/net.h"
#include "core/hpsms/repl.h"

#define MEET_MS 3000
#define OPEN_GAP_NS 10000ull // every node opens a connection in so many
#define TURN_NS 200000ull // until the other end answers, and until that is answered
#define QUIET_MS 1500 // so long after the last packet, everything has been announced
#define GIVE_UP_MS 60000
#define LOOK_MS 10 // between two looks at the tables, and between two readings of the links
#define WIRE 24 // bytes of preamble, frame check sequence and gap
#define MESSAGE_AT 42 // in a frame without tag

static const unsigned LINK_GBIT[] = {10, 25, 40};
#define LINKS (sizeof(LINK_GBIT) / sizeof(LINK_GBIT[0]))

struct options {
	unsigned nodes, backups, inside_percent;
	uint32_t connections; // of each node
	uint32_t per_s; // repairs of a node; 0: as by default
	uint64_t seed;
	bool json;
	const char *output; // NULL: none
};

struct traffic_of { // what went over one link since it was last read
	uint64_t tx, rx;
};

struct bench {
	struct net net;
	struct options o;
	struct rng rng;
	struct flow *flow; // connections of node 0, then of node 1, ...
	uint32_t per_s; // what repair_per_s is
	bool measuring;
	struct traffic_of link[NET_NODES_MAX];
	uint64_t bytes, messages, logs; // sent by all
	uint64_t busiest; // bytes of one link, one way, in LOOK_MS
};

struct result {
	uint64_t lost, mastered; // connections that lost a copy, and those whose master died
	unsigned noticed_ms, protected_ms; // since the death
	uint64_t repairs, bytes, messages, logs;
	double busiest_bytes_per_s,
		mean_bytes_per_s; // of one link, one way; the latter of all nodes
};

// ---- The rack ----

static void sent(struct net *net, unsigned from, const struct frame *f)
{
	struct bench *b = net->ctx;
	uint64_t bytes = f->len + RIG_TAG + WIRE;
	const uint8_t *message = f->data + MESSAGE_AT;
	struct wire_header h;

	if (!b->measuring)
		return;
	b->bytes += bytes;
	b->messages++;
	b->logs += wire_is_short(message, f->len - MESSAGE_AT) ||
		   (wire_get_header(message, f->len - MESSAGE_AT, &h) > 0 && h.type == WIRE_LOG);
	b->link[from].tx += bytes;
	for (unsigned i = 0; i < net->nodes; i++)
		if (i != from && ((f->data[0] & 1) || f->data[5] == i + 1))
			b->link[i].rx += bytes;
}

static struct flow *flow_of(struct net *net, unsigned node, uint32_t seq)
{
	const struct bench *b = net->ctx;
	return &b->flow[(uint64_t)node * b->o.connections + (seq >> 8) % b->o.connections];
}

static void tune(struct net *net, struct node_conf *conf)
{
	struct bench *b = net->ctx;

	conf->dead_after_ms = 100; // as by default: nothing here stands still for longer
	if (b->o.per_s != 0)
		conf->repair_per_s = b->o.per_s;
	b->per_s = conf->repair_per_s;
}

static int open_bench(struct bench *b)
{
	uint64_t all = (uint64_t)b->o.nodes * b->o.connections;
	// Connections and copies, and what a dead node's copies add: twice that, since hashes are uneven.
	uint64_t held = (uint64_t)b->o.connections * (1 + b->o.backups);
	struct rig_conf conf = {
		.peers = b->o.nodes - 1,
		.backups = b->o.backups,
		.replicate = true,
		.large_pages = true,
		.seed = b->o.seed,
		.records = (uint32_t)(held + 2 * held / (b->o.nodes - 1) + 4096),
		.index_keys = (uint32_t)(2 * all + 4096),
	};
	uint64_t drawn[2] = {0};

	b->rng.state = b->o.seed;
	b->flow = calloc(all, sizeof(*b->flow));
	if (b->flow == NULL) {
		snprintf(b->net.rig->error, sizeof(b->net.rig->error), "no memory");
		return -ENOMEM;
	}
	for (uint64_t n = 0; n < all; n++) {
		struct flow *f = &b->flow[n];
		bool inside = rng_below(&b->rng, 100) < b->o.inside_percent;
		traffic_flow(f, drawn[inside]++, inside, &b->rng);
		f->seq[0] = f->seq[1] = (uint32_t)(n % b->o.connections) << 8;
	}
	return net_open(&b->net, &conf);
}

// Before that, nodes send each other what they open, in case that it is theirs.
static bool joined(const struct net *net)
{
	for (unsigned i = 0; i < net->nodes; i++) {
		if (shard_phase(node_shard(net->m[i].n.node, 0)) != NODE_READY)
			return false;
	}
	return net_met(net);
}

// Connection number `at` of each node takes the next step: SYN, SYN+ACK, ACK.
static void send_all(struct bench *b, int64_t at, bool initiator, uint8_t flags)
{
	if (at < 0 || at >= b->o.connections)
		return;
	for (unsigned i = 0; i < b->o.nodes; i++) {
		struct flow *f = &b->flow[(uint64_t)i * b->o.connections + (uint64_t)at];
		net_send(&b->net, i, f, initiator ? f->initiator : !f->initiator, flags, 0);
	}
}

static void open_all(struct bench *b)
{
	struct net *net = &b->net;
	const int64_t turn = TURN_NS / OPEN_GAP_NS;

	for (int64_t k = 0; k < b->o.connections + 2 * turn && net->wrong == NULL; k++) {
		send_all(b, k, true, TRIPOD_TCP_SYN);
		send_all(b, k - turn, false, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK);
		send_all(b, k - 2 * turn, true, TRIPOD_TCP_ACK);
		net_run(net, OPEN_GAP_NS);
	}
	net_run(net, QUIET_MS * MS);
}

// ---- What the tables say ----

struct tables {
	uint64_t looked_after, whole; // connections; those of them with k copies elsewhere
	uint64_t used, mastered; // records, and those whose shared part is the node's own
};

// By the records as they lie in memory, since the gauges are refreshed by a slow walk.
static struct tables look(const struct bench *b, unsigned node)
{
	const struct shard *s = node_shard(b->net.m[node].n.node, 0);
	struct tables t = {0};

	for (uint32_t i = 1; i <= s->store.highest; i++) {
		const struct conn_repl *r = store_repl(&s->store, i);
		if (store_conn(&s->store, i)->state != CONN_LIVE)
			continue;
		t.used++;
		t.mastered += r->part[PART_SHARED].writer == s->conf->id;
		if (!repl_responsible(s, i))
			continue;
		uint64_t copies = holders_with(r, HOLDER_ACKED) & shard_takers(s);
		t.looked_after++;
		t.whole += (unsigned)__builtin_popcountll(copies) >= b->o.backups;
	}
	return t;
}

static bool all_whole(const struct bench *b)
{
	uint64_t whole = 0;

	for (unsigned i = 0; i < b->net.nodes; i++) {
		if (b->net.m[i].dead)
			continue;
		struct tables t = look(b, i);
		if (t.whole != t.looked_after)
			return false;
		whole += t.whole;
	}
	return whole == (uint64_t)b->o.nodes * b->o.connections;
}

static bool noticed(const struct bench *b)
{
	for (unsigned i = 0; i < b->net.nodes; i++) {
		const struct shard *s = node_shard(b->net.m[i].n.node, 0);
		if (!b->net.m[i].dead &&
			(unsigned)__builtin_popcountll(s->live) != b->net.nodes - 1)
			return false;
	}
	return true;
}

// ---- The measurement ----

static void read_links(struct bench *b)
{
	for (unsigned i = 0; i < b->net.nodes; i++) {
		uint64_t tx = b->link[i].tx, rx = b->link[i].rx, more = tx > rx ? tx : rx;
		b->busiest = more > b->busiest ? more : b->busiest;
		b->link[i] = (struct traffic_of){0};
	}
}

static void die(struct bench *b, struct result *out)
{
	struct net_node *m = &b->net.m[b->net.nodes - 1];
	struct tables t = look(b, b->net.nodes - 1);

	out->lost = t.used;
	out->mastered = t.mastered;
	m->dead = true;
	b->measuring = true;
}

// Until everything has its copies again.
static void wait(struct bench *b, struct result *out)
{
	uint64_t repairs = net_counter(&b->net, C_repairs);
	unsigned ms = 0;

	while (out->protected_ms == 0 && ms < GIVE_UP_MS && b->net.wrong == NULL) {
		net_run(&b->net, LOOK_MS * MS);
		ms += LOOK_MS;
		read_links(b);
		if (out->noticed_ms == 0 && noticed(b))
			out->noticed_ms = ms;
		if (out->noticed_ms != 0 && all_whole(b))
			out->protected_ms = ms;
	}
	b->measuring = false;
	out->repairs = net_counter(&b->net, C_repairs) - repairs;
	out->bytes = b->bytes;
	out->messages = b->messages;
	out->logs = b->logs;
	out->busiest_bytes_per_s = (double)b->busiest * 1000 / LOOK_MS;
	out->mean_bytes_per_s = (double)b->bytes * 1000 / ms / (b->net.nodes - 1);
}

// 0 or a negative errno, with the rig's error.
static int run(struct bench *b, struct result *out)
{
	struct net *net = &b->net;
	const char *wrong;

	*out = (struct result){0};
	int rc = open_bench(b);
	if (rc != 0)
		return rc;
	for (unsigned ms = 0; ms < MEET_MS && !joined(net); ms += 10)
		net_run(net, 10 * MS);
	open_all(b);
	wrong = net->wrong != NULL ? net->wrong : net_losses(net);
	if (wrong == NULL && !all_whole(b))
		wrong = "not all connections have their copies before the node dies";
	if (wrong == NULL) {
		die(b, out);
		wait(b, out);
		wrong = net->wrong != NULL ? net->wrong
			: out->protected_ms == 0
				? "there are connections without copies after a minute"
				: NULL;
	}
	if (wrong != NULL) {
		snprintf(net->rig->error, sizeof(net->rig->error), "%s", wrong);
		return -EIO;
	}
	return 0;
}

// ---- Command line and output ----

static void usage(FILE *to)
{
	fprintf(to,
		"usage: tripod-bench repair [options]\n"
		"\n"
		"Measures how soon what lost a copy has another. A rack of N nodes, the real core\n"
		"and the chain of firewall, lb and snat, in virtual time: the figures do not "
		"depend\n"
		"on the machine. Every node opens as many connections over TCP, each of which has "
		"K\n"
		"copies; then one node dies, and nothing else happens: no packet of a connection\n"
		"comes. What it was master of is looked after by who has a copy.\n"
		"\n"
		"Told is the time from the death until every connection has K acknowledged copies "
		"on\n"
		"other nodes that live, in steps of %u ms, and what all nodes sent to each other\n"
		"meanwhile, heartbeats and index sets included: messages, bytes on the wire\n"
		"(preamble, frame check sequence and gap included), and the largest share of one\n"
		"link, one way, in %u ms.\n"
		"\n"
		"Options:\n"
		"  --nodes N           nodes, 3 to %u (8)\n"
		"  --connections N     that each node opens (100000)\n"
		"  --backups K         copies of each (1)\n"
		"  --repair-per-s N    limits: repair_per_s of each node (as by default, 20000)\n"
		"  --inside PERCENT    share of connections that are opened from inside (30)\n"
		"  --seed N            of the traffic (1)\n"
		"  --quick             little of everything: does it work?\n"
		"  --json              machine-readable result\n"
		"  --output FILE       that, into FILE, beside the readable one\n"
		"  --help\n"
		"\n"
		"Example: tripod-bench repair --nodes 8 --json\n"
		"What the figures mean: docs/performance.md\n",
		LOOK_MS, LOOK_MS, NET_NODES_MAX - 1);
}

static void take_option(void *to, const char *name, char *value)
{
	struct options *o = to;

	if (strcmp(name, "nodes") == 0)
		o->nodes = (unsigned)cli_number("--nodes", value, 3, NET_NODES_MAX - 1);
	else if (strcmp(name, "connections") == 0)
		o->connections = (uint32_t)cli_number("--connections", value, 1, 1000000);
	else if (strcmp(name, "backups") == 0)
		o->backups = (unsigned)cli_number("--backups", value, 1, 10);
	else if (strcmp(name, "repair-per-s") == 0)
		o->per_s = (uint32_t)cli_number("--repair-per-s", value, 1, 10000000);
	else if (strcmp(name, "inside") == 0)
		o->inside_percent = (unsigned)cli_number("--inside", value, 0, 100);
	else if (strcmp(name, "seed") == 0)
		o->seed = cli_number("--seed", value, 0, UINT64_MAX);
	else if (strcmp(name, "output") == 0)
		o->output = value;
	else if (strcmp(name, "json") == 0)
		o->json = true;
	else { // quick
		o->nodes = 4;
		o->connections = 500;
	}
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{"nodes", required_argument, NULL, 'o'},
		{"connections", required_argument, NULL, 'o'},
		{"backups", required_argument, NULL, 'o'},
		{"repair-per-s", required_argument, NULL, 'o'},
		{"inside", required_argument, NULL, 'o'},
		{"seed", required_argument, NULL, 'o'},
		{"quick", no_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'o'},
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};

	*o = (struct options){
		.nodes = 8, .connections = 100000, .backups = 1, .inside_percent = 30, .seed = 1};
	cli_options(argc, argv, table, take_option, o, usage);
	if (o->nodes <= o->backups + 1)
		cli_bad_usage("--nodes must be more than --backups, and one that dies", NULL);
}

static double share(double bytes_per_s, unsigned gbit)
{
	return bytes_per_s * 8 / (gbit * 1e9);
}

static json_t *json_of(const struct bench *b, const struct result *r)
{
	json_t *links = json_array();

	for (unsigned k = 0; k < LINKS; k++)
		json_array_append_new(
			links, json_pack("{s:i, s:f, s:f}", "gbit_per_s", (int)LINK_GBIT[k],
				       "largest", share(r->busiest_bytes_per_s, LINK_GBIT[k]),
				       "mean", share(r->mean_bytes_per_s, LINK_GBIT[k])));
	return json_pack("{s:s, s:i, s:I, s:i, s:i, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:f, "
			 "s:o}",
		"version", TRIPOD_VERSION, "nodes", (int)b->o.nodes, "connections_of_a_node",
		(json_int_t)b->o.connections, "backups", (int)b->o.backups, "repair_per_s",
		(int)b->per_s, "lost_a_copy", (json_int_t)r->lost, "lost_their_master",
		(json_int_t)r->mastered, "noticed_s", r->noticed_ms / 1e3, "protected_s",
		r->protected_ms / 1e3, "repairs", (json_int_t)r->repairs, "bytes",
		(json_int_t)r->bytes, "messages", (json_int_t)r->messages, "log_messages",
		(json_int_t)r->logs, "busiest_link_bytes_per_s", r->busiest_bytes_per_s,
		"share_of_a_link", links);
}

static void tell(const struct bench *b, const struct result *r)
{
	printf("%u nodes, %u connections each, %u copies; at most %u repairs a second and node\n",
		b->o.nodes, b->o.connections, b->o.backups, b->per_s);
	printf("  %-22s %10lu, of %lu it was the master\n", "lost a copy", r->lost, r->mastered);
	printf("  %-22s %10.2f s\n", "death noticed by all", r->noticed_ms / 1e3);
	printf("  %-22s %10.2f s\n", "all protected again", r->protected_ms / 1e3);
	printf("  %-22s %10lu, in %lu messages with heartbeats and all, %lu of them logs\n",
		"repairs", r->repairs, r->messages, r->logs);
	printf("  %-22s %10.1f bytes for each that lost a copy\n", "on the wire",
		(double)r->bytes / (double)r->lost);
	for (unsigned k = 0; k < LINKS; k++)
		printf("  of a link of %2u Gbit/s  %10.2f %% at most, %.2f %% on average\n",
			LINK_GBIT[k], 100 * share(r->busiest_bytes_per_s, LINK_GBIT[k]),
			100 * share(r->mean_bytes_per_s, LINK_GBIT[k]));
}

int repair_bench(int argc, char **argv)
{
	static struct rig rig;
	static struct bench b = {.net = {
					 .rig = &rig,
					 .sent = sent,
					 .flow = flow_of,
					 .tune = tune,
					 .ctx = &b,
				 }};
	struct result r;

	parse_options(argc, argv, &b.o);
	int rc = run(&b, &r);
	net_close(&b.net);
	free(b.flow);
	if (rc != 0) {
		fprintf(stderr, "tripod-bench: %s\n", rig.error);
		return 1;
	}
	json_t *all = json_of(&b, &r);
	const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(6);
	if (b.o.output != NULL && json_dump_file(all, b.o.output, flags) != 0) {
		fprintf(stderr, "tripod-bench: %s cannot be written\n", b.o.output);
		rc = 1;
	}
	if (b.o.json) {
		json_dumpf(all, stdout, flags);
		putchar('\n');
	} else {
		tell(&b, &r);
	}
	json_decref(all);
	return rc;
}
