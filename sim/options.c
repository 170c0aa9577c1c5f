// SPDX-License-Identifier: BSD-3-Clause
#include "sim/options.h"

#include <string.h>

#include "core/rng.h"
#include "sim/world.h"

const char *const fault_names[FAULT_KINDS + 1] = {
	[FAULT_KILL] = "kill",
	[FAULT_FREEZE] = "freeze",
	[FAULT_STALL] = "stall",
	[FAULT_PARTITION] = "partition",
	[FAULT_FLAP] = "flap",
	[FAULT_LOSS] = "loss",
	[FAULT_DUP] = "dup",
	[FAULT_REORDER] = "reorder",
	[FAULT_CORRUPT] = "corrupt",
	[FAULT_RESTART] = "restart",
	[FAULT_ADD] = "add",
	[FAULT_DRAIN] = "drain",
	[FAULT_RECONFIGURE] = "reconfigure",
	[FAULT_FLUTTER] = "flutter",
	[FAULT_SLOW] = "slow",
	[FAULT_FLOOD] = "flood",
	NULL,
};

const char *const prediction_names[PREDICTIONS + 1] = {
	"none", "computed", "checked", "probed", "mistaken", NULL};

// One stream for each thing that is drawn; its name is its salt.
static struct rng stream(const struct options *o, const char *name)
{
	uint64_t h = 0xcbf29ce484222325ull ^ o->seed;

	for (; *name != '\0'; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
	struct rng r = {.state = h};
	r.state = rng_next(&r);
	return r;
}

static uint32_t draw(const struct options *o, const char *name, uint32_t least, uint32_t most)
{
	struct rng r = stream(o, name);

	return least + rng_below(&r, most - least + 1);
}

// Of values that span magnitudes: each doubling is as likely.
static uint32_t draw_log(const struct options *o, const char *name, uint32_t least, uint32_t most)
{
	struct rng r = stream(o, name);
	unsigned doublings = 0;

	while ((uint64_t)least << (doublings + 1) <= most)
		doublings++;
	uint64_t low = (uint64_t)least << rng_below(&r, doublings + 1);
	uint64_t high = 2 * low - 1 < most ? 2 * low - 1 : most;
	return (uint32_t)(low + rng_below(&r, (uint32_t)(high - low + 1)));
}

static bool chance(const struct options *o, const char *name, uint32_t percent)
{
	return draw(o, name, 0, 99) < percent;
}

static int fixed_or(int fixed, uint32_t drawn)
{
	return fixed >= 0 ? fixed : (int)drawn;
}

// How many nodes: small racks mostly, since most mistakes show there, and the largest now and then.
static uint32_t draw_nodes(const struct options *o)
{
	uint32_t kind = draw(o, "nodes kind", 0, 99);

	if (kind < 70)
		return draw(o, "nodes", 2, 6);
	return kind < 94 ? draw(o, "nodes", 7, 16) : draw(o, "nodes", 17, SIM_NODES_MAX);
}

static uint32_t draw_prediction(const struct options *o)
{
	uint32_t of = draw(o, "predicted", 0, 99);

	if (of < 50)
		return of < 40 ? PREDICTION_COMPUTED : PREDICTION_CHECKED;
	return of < 60 ? PREDICTION_NONE : of < 93 ? PREDICTION_PROBED : PREDICTION_MISTAKEN;
}

static void draw_rack(struct options *o, const struct overrides *fixed)
{
	o->nodes = (unsigned)fixed_or(fixed->nodes, draw_nodes(o));
	o->k = (unsigned)fixed_or(fixed->k, draw(o, "k", 1, 3));
	if (o->k >= o->nodes)
		o->k = o->nodes - 1;
	o->workers = (unsigned)fixed_or(
		fixed->workers, draw(o, "workers", 1, o->nodes <= 16 ? SIM_WORKERS_MAX : 2));
	o->durability = (enum durability)fixed_or(
		fixed->durability, chance(o, "sync", 30) ? DURABILITY_SYNC : DURABILITY_ASYNC);
	o->ecmp = (struct ecmp){
		.model = (enum ecmp_model)fixed_or(
			fixed->model, draw(o, "model", 0, ECMP_MODELS - 1)),
		.fields = (enum ecmp_fields)fixed_or(
			fixed->fields, draw(o, "fields", 0, ECMP_FIELDS - 1)),
		.seed = o->seed * 0x9e3779b97f4a7c15ull,
		.ports = (1ull << o->nodes) - 1,
	};
	o->prediction = (enum prediction)fixed_or(fixed->prediction, draw_prediction(o));
	o->ecmp.failures = o->nodes - 1 < COPIES_MAX ? o->nodes - 1 : COPIES_MAX;
	o->chain = draw(o, "chain", 0, 2);
	o->request_every = chance(o, "requests", 40) ? draw_log(o, "request every", 2, 32) : 0;
	o->unknown_reset = chance(o, "reset", 15);
	o->limit_per = 20 + 4 * draw(o, "limit per", 0, 3);
	if (chance(o, "limit", 10)) // of large sources more, but so few that most have to wait
		o->limit = o->limit_per < 28 ? draw_log(o, "limit of many", 32, 512)
					     : draw_log(o, "limit of connections", 2, 64);
	o->limit_refuses = chance(o, "limit refuses", 70);
}

static void draw_faults(struct options *o, const struct overrides *fixed)
{
	o->faults = 0;
	for (unsigned f = 0; f < FAULT_KINDS; f++)
		o->faults |= (uint32_t)chance(o, fault_names[f], 60) << f;
	if (fixed->faults >= 0)
		o->faults = (uint32_t)fixed->faults;
	o->duration_ns = fixed->duration_ns != 0
				 ? fixed->duration_ns
				 : draw(o, "duration", 2, o->nodes <= 16 ? 8 : 4) * 1000000000ull;
	o->fault_every_ms = draw_log(o, "fault every", 200, 1600);
	o->beyond = fixed->beyond;
	o->late = options_fault(o, FAULT_ADD) && o->nodes > 2
			  ? draw(o, "late", 1, 1 + (o->nodes > 5))
			  : 0;
}

static void draw_network(struct options *o)
{
	bool loss = options_fault(o, FAULT_LOSS), reorder = options_fault(o, FAULT_REORDER);
	bool large = o->nodes > 16;

	o->latency_ns = draw_log(o, "latency", 2000, 60000);
	o->jitter_ns = draw_log(o, "jitter", 500, 30000);
	o->rate_mbps = draw_log(o, "rate", 400, 40000);
	o->queue_us = draw_log(o, "queue", 1000, 20000);
	o->workload_loss = loss && chance(o, "some workload loss", 60)
				   ? draw_log(o, "workload loss", 100, 20000)
				   : 0;
	o->fabric_loss = loss && chance(o, "some fabric loss", 70)
				 ? draw_log(o, "fabric loss", 100, large ? 5000 : 40000)
				 : 0;
	o->dup = options_fault(o, FAULT_DUP) ? draw_log(o, "dup", 100, 20000) : 0;
	o->reorder = reorder ? draw_log(o, "reorder", 1000, 100000) : 0;
	o->reorder_us = reorder ? draw_log(o, "reorder by", 10, 3000) : 0;
	o->corrupt = options_fault(o, FAULT_CORRUPT) ? draw_log(o, "corrupt", 100, 10000) : 0;
	o->cut_bytes = chance(o, "cut", 12) ? 8 * draw(o, "cut bytes", 60, 130) : 0;
	// Where nodes cannot compute its hash, the first exchange would depend on luck.
	o->cut_blind =
		o->cut_bytes != 0 && chance(o, "cut blind", 50) &&
		(o->prediction == PREDICTION_COMPUTED || o->prediction == PREDICTION_CHECKED);
	o->slow_us = options_fault(o, FAULT_SLOW) ? draw_log(o, "slow", 250, 4000) : 0;
	o->flood_per_s = options_fault(o, FAULT_FLOOD)
				 ? draw_log(o, "flood", 2000, large ? 20000 : 100000)
				 : 0;
	o->flood_kind = FLOOD_KINDS;
}

static void draw_nodes_conf(struct options *o)
{
	bool large = o->nodes > 16;

	o->rss = (enum rss_mode)draw(o, "rss", 0, RSS_MODES - 1);
	o->poll_us = draw_log(o, "poll", 1, 200);
	o->late_us = draw_log(o, "late us", 1, 1000);
	o->packet_ns = draw(o, "packet", 100, 800);
	o->heartbeat_ms = large ? draw(o, "heartbeat", 60, 100) : draw(o, "heartbeat", 10, 30);
	o->dead_after_ms = o->heartbeat_ms * draw(o, "dead after", 5, 8);
	o->bfd_ms = large ? draw(o, "bfd", 40, 80) : draw(o, "bfd", 10, 50);
	o->flush_us = draw_log(o, "flush", 50, 1000);
	o->pull_timeout_ms = draw(o, "pull timeout", 40, 150);
	o->pull_per_s = o->relay_per_s = 100000;
	o->repair_per_s = draw_log(o, "repair", 2000, 50000);
	o->predict_per_s = draw_log(o, "predict per s", 500, 50000);
	o->tombstone_s = draw(o, "tombstone", 1, 2);
	o->nic_queue = draw_log(o, "nic queue", 256, 1024);
	if (o->nat_ports == 0)
		o->nat_ports = draw_log(o, "nat ports", 32, 512);
	o->nat_ports *= 2 * o->nodes;
	o->tiny = chance(o, "tiny", 12);
	// What has ended stays for some seconds, on each node that had a copy: for eight seconds of openings there is room.
	unsigned copies = 2 * o->k + 1 < o->nodes ? 2 * o->k + 1 : o->nodes;
	uint32_t ended = 6 * o->hosts.opens_per_s * copies / o->nodes;
	o->connections = 4 * o->hosts.connections_max + 2 * o->hosts.opens_per_s + ended + 512;
	o->embryonic = o->connections;
	if (o->flood_per_s > 0) { // so large that what is answered at all is so before it makes way
		o->embryonic = 3 * o->hosts.opens_per_s + o->flood_per_s / 20;
		o->connections += o->embryonic;
		o->pull_per_s = draw_log(o, "pull per s", 5000, 20000);
	}
	o->waiting = o->pulls = o->requests = 1024;
	o->kinds = 4096;
	if (o->tiny) {
		o->kinds = draw_log(o, "kinds", 4, 128);
		o->connections = draw_log(o, "connections", 64, 1024);
		o->embryonic = draw_log(o, "embryonic", 16, o->connections);
		o->waiting = draw_log(o, "waiting", 8, 128);
		o->pulls = draw_log(o, "pulls", 4, 64);
		o->requests = draw_log(o, "requests at once", 4, 64);
		o->pull_per_s = draw_log(o, "pull per s", 500, 20000);
		o->relay_per_s = draw_log(o, "relay per s", 500, 20000);
		o->repair_per_s = draw_log(o, "repair", 200, 2000);
		o->nic_queue = draw_log(o, "nic queue", 64, 256);
	}
}

static void draw_hosts(struct options *o, const struct overrides *fixed)
{
	static const char *const names[HOSTS_KINDS] = {
		"tcp in", "tcp out", "tcp straight", "udp in", "udp out", "echo"};
	struct hosts_conf *h = &o->hosts;

	*h = (struct hosts_conf){
		.seed = o->seed ^ 0xa0761d6478bd642full,
		.mtu = 1500,
		.clients = draw_log(o, "clients", 2, 2000),
		.servers = draw_log(o, "servers", 1, 64),
		.vips = draw(o, "vips", 1, 3),
		.v6_percent = draw(o, "v6", 0, 40),
		.opens_per_s = draw_log(o, "opens", 40, 600),
		.connections_max = draw_log(o, "open", 100, 1000),
		.sizes = fixed->sizes,
		.replay = fixed->replay,
		.bytes_max = draw_log(o, "bytes", 2000, 100000),
		.request_reply_percent = draw(o, "request reply", 0, 60),
		.idle_percent = draw(o, "idle", 0, 40),
		.abort_percent = draw(o, "abort", 0, 10),
		.refuse_percent = draw(o, "refuse", 0, 5),
		.idle_max_ms = draw_log(o, "idle max", 100, 3000),
		.reuse_percent = chance(o, "reuse", 50) ? draw(o, "reuse percent", 0, 40) : 0,
		.rto_min_ns = draw(o, "rto", 50, 200) * 1000000ull,
		.give_up_ns = 30000000000ull,
	};
	for (unsigned kind = 0; kind < HOSTS_KINDS; kind++)
		h->weight[kind] = draw(o, names[kind], 0, 100);
	// Many connections from inside to few hosts, behind few ports: as close as NAT gets to running out.
	if (chance(o, "crowd", 33)) {
		h->clients = draw(o, "crowd of clients", 1, 3);
		h->weight[HOSTS_TCP_OUT] = h->weight[HOSTS_UDP_OUT] = 200;
		o->nat_ports = draw_log(o, "crowd of ports", 16, 64);
	}
	h->weight[HOSTS_ECHO_OUT] /= 4;
	h->weight[HOSTS_TCP_IN]++;
	// Silence never lasts as long as the NFs' patience; probes come within it.
	o->established_s = draw(o, "established", 8, 12);
	o->udp_s = draw(o, "udp", 6, 9);
	h->keepalive_ms = 2000;
}

void options_draw(struct options *o, uint64_t seed, const struct overrides *fixed)
{
	*o = (struct options){.seed = seed};
	draw_rack(o, fixed);
	draw_faults(o, fixed);
	draw_network(o);
	draw_hosts(o, fixed);
	draw_nodes_conf(o);
}

void options_plain(struct options *o)
{
	o->tiny = o->unknown_reset = false;
	o->request_every = o->limit = 0;
	o->latency_ns = 10000;
	o->jitter_ns = 2000;
	o->rate_mbps = 40000;
	o->queue_us = 2000;
	o->rss = RSS_TOEPLITZ;
	o->poll_us = 5;
	o->late_us = 20;
	o->packet_ns = 200;
	o->bfd_ms = 20;
	o->pull_per_s = o->repair_per_s = 20000;
	o->waiting = o->pulls = 1024;
	o->embryonic = 4096;
	o->nic_queue = SIM_NIC_QUEUE;
}

void options_print(const struct options *o, FILE *to)
{
	static const char *const durabilities[] = {"none", "async", "sync"};
	char limit[80] = "";

	if (o->limit != 0)
		snprintf(limit, sizeof(limit), " with a limit of %u per /%u%s", o->limit,
			o->limit_per, o->limit_refuses ? ", strict" : "");
	fprintf(to,
		"seed %llu: %u nodes of %u workers, k %u, %s, switch %s over %s, predicted: %s, "
		"chain %u%s%s, faults",
		(unsigned long long)o->seed, o->nodes, o->workers, o->k,
		durabilities[o->durability], ecmp_model_names[o->ecmp.model],
		ecmp_fields_names[o->ecmp.fields], prediction_names[o->prediction], o->chain,
		o->request_every != 0 ? " with requests" : "", limit);
	for (unsigned f = 0; f < FAULT_KINDS; f++) {
		if (options_fault(o, f))
			fprintf(to, " %s", fault_names[f]);
	}
	fprintf(to,
		"%s%s, loss %u/%u ppm, latency %u us, flush %u us, heartbeat %u ms, "
		"bfd %u ms, opens %u/s, open %u\n",
		o->tiny ? ", tiny limits" : "",
		o->cut_blind        ? ", fragments without ports"
		: o->cut_bytes != 0 ? ", fragments"
				    : "",
		o->workload_loss, o->fabric_loss, o->latency_ns / 1000, o->flush_us,
		o->heartbeat_ms, o->bfd_ms, o->hosts.opens_per_s, o->hosts.connections_max);
}
