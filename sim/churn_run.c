// SPDX-License-Identifier: BSD-3-Clause
#include "sim/churn_run.h"

#include "sim/world.h"

#define OPEN_NS (2 * SEC) // connections come
#define QUIET_NS (SEC / 2) // ... and no more, until all copies are there
#define DEATH_NS (50 * MS) // packets of a dead node's connections arrive elsewhere
#define LARGE 16 // nodes: more hear each other less often

static struct world *rack_new(
	const struct churn_run *f, unsigned nodes, bool split, enum placement placement)
{
	struct overrides fixed = OVERRIDES_NONE;
	struct options o;

	fixed.nodes = (int)nodes;
	fixed.k = (int)f->k;
	fixed.workers = 1;
	fixed.durability = DURABILITY_ASYNC;
	fixed.model = (int)f->model;
	fixed.fields = split ? ECMP_5_TUPLE : ECMP_OUTSIDE_ENDPOINT;
	fixed.prediction = PREDICTION_COMPUTED;
	fixed.faults = 0;
	options_draw(&o, f->seed, &fixed);
	options_plain(&o);
	o.placement = placement;
	o.heartbeat_ms = nodes > LARGE ? 100 : 20;
	o.dead_after_ms = 5 * o.heartbeat_ms;
	o.flush_us = 500;
	o.connections = 8192;
	o.hosts.clients = 2000;
	o.hosts.servers = 64;
	o.hosts.opens_per_s = 1200;
	o.hosts.connections_max = 1500;
	o.hosts.request_reply_percent = 100;
	o.hosts.idle_percent = 100; // they stay open
	o.hosts.idle_max_ms = 5000;
	o.hosts.abort_percent = o.hosts.refuse_percent = o.hosts.reuse_percent = 0;
	return world_new(&o, NULL);
}

static bool has_copy(const struct world *w, unsigned i, const struct conn *c)
{
	if (w->node[i].node == NULL)
		return false;
	for (unsigned k = 0; k < w->o.workers; k++) {
		const struct store *s = &node_shard(w->node[i].node, k)->store;
		struct store_hit hit = store_find(s, &c->dir[0].key, store_hash(s, &c->dir[0].key));
		if (hit.what == STORE_CONN && store_conn(s, hit.index)->state == CONN_LIVE &&
			store_conn(s, hit.index)->incarnation == c->incarnation)
			return true;
	}
	return false;
}

struct churn_sum {
	uint64_t connections, copies;
	uint64_t moved, pulled; // over all failures of one node
};

static void look_at(const struct world *w, const struct conn *c, struct churn_sum *sum)
{
	uint64_t holders = 0;

	for (unsigned i = 0; i < w->o.nodes; i++)
		holders |= has_copy(w, i, c) ? 1ull << i : 0;
	sum->connections++;
	sum->copies += (unsigned)__builtin_popcountll(holders);
	for (unsigned dead = 0; dead < w->o.nodes; dead++) {
		uint64_t up = w->up & ~(1ull << dead);
		bool moved = false, pulled = false;
		for (unsigned d = 0; d < 2; d++) {
			int now = ecmp_next(&w->o.ecmp, &c->dir[d].key, w->up);
			int then = ecmp_next(&w->o.ecmp, &c->dir[d].key, up);
			moved |= then != now;
			pulled |= then != now && !(holders >> then & 1);
		}
		sum->moved += moved;
		sum->pulled += pulled;
	}
}

// Every answered connection, once: at the node that writes its shared part.
static void look_at_all(const struct world *w, struct churn_sum *sum)
{
	for (unsigned i = 0; i < w->o.nodes; i++) {
		for (unsigned k = 0; k < w->o.workers; k++) {
			const struct store *s = &node_shard(w->node[i].node, k)->store;
			for (uint32_t n = 1; n <= s->highest; n++) {
				const struct conn *c = store_conn(s, n);
				if (c->state == CONN_LIVE && (c->flags & CONN_ANSWERED) &&
					c->dir[1].key.proto != 0 &&
					store_repl(s, n)->part[PART_SHARED].writer == i)
					look_at(w, c, sum);
			}
		}
	}
}

static uint64_t pulls_of(const struct world *w)
{
	uint64_t counters[COUNTERS];

	world_counters(w, counters);
	return counters[C_pulls_sent];
}

static void one(const struct churn_run *f, json_t *racks, unsigned nodes, bool split,
	enum placement placement)
{
	struct world *w = rack_new(f, nodes, split, placement);
	struct churn_sum sum = {0};

	world_until(w, w->now_ns + SEC);
	world_hosts_start(w);
	world_until(w, w->now_ns + OPEN_NS);
	hosts_pause(w->hosts, true);
	world_until(w, w->now_ns + QUIET_NS);
	look_at_all(w, &sum);
	uint64_t before = pulls_of(w);
	faults_make(w, FAULT_KILL, nodes / 2, 0);
	world_until(w, w->now_ns + 4 * w->o.bfd_ms * MS + DEATH_NS);
	double of = (double)sum.connections * nodes;
	json_array_append_new(
		racks, json_pack("{s:i, s:s, s:s, s:I, s:f, s:f, s:f, s:I}", "nodes", (int)nodes,
			       "directions", split ? "split" : "together", "placement",
			       placement == PLACEMENT_RANDOM ? "random" : "predictive",
			       "connections", (json_int_t)sum.connections, "copies",
			       (double)sum.copies / (double)sum.connections, "moved",
			       (double)sum.moved / of, "pulled", (double)sum.pulled / of,
			       "pulls_at_a_death", (json_int_t)(pulls_of(w) - before)));
	if (f->progress != NULL)
		fprintf(f->progress, "%u nodes, %s, %s: done\n", nodes,
			split ? "split" : "together",
			placement == PLACEMENT_RANDOM ? "random" : "predictive");
	world_free(w);
}

json_t *churn_run(const struct churn_run *f)
{
	json_t *racks = json_array();

	for (unsigned split = 0; split < 2; split++) {
		for (unsigned i = 0; i < f->n_nodes; i++) {
			one(f, racks, f->nodes[i], split != 0, PLACEMENT_PREDICTIVE);
			one(f, racks, f->nodes[i], split != 0, PLACEMENT_RANDOM);
		}
	}
	return json_pack("{s:i, s:s, s:o}", "k", (int)f->k, "switch", ecmp_model_names[f->model],
		"racks", racks);
}

void churn_run_print(const json_t *report, FILE *to)
{
	size_t i;
	json_t *v;

	fprintf(to, "%5s %-10s %-10s %11s %7s %8s %8s %16s\n", "nodes", "directions", "placement",
		"connections", "copies", "moved", "pulled", "pulls at a death");
	json_array_foreach(json_object_get(report, "racks"), i, v)
	{
		fprintf(to, "%5lld %-10s %-10s %11lld %7.2f %7.3f%% %7.3f%% %16lld\n",
			json_integer_value(json_object_get(v, "nodes")),
			json_string_value(json_object_get(v, "directions")),
			json_string_value(json_object_get(v, "placement")),
			json_integer_value(json_object_get(v, "connections")),
			json_real_value(json_object_get(v, "copies")),
			100 * json_real_value(json_object_get(v, "moved")),
			100 * json_real_value(json_object_get(v, "pulled")),
			json_integer_value(json_object_get(v, "pulls_at_a_death")));
	}
}
