// SPDX-License-Identifier: BSD-3-Clause
// What min-churn placement costs, and what it saves: batches of connections on racks whose switch hashes
// modulo, every node placing its own and telling the others now and then.
#include "bench/place_bench.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/cli.h"
#include "bench/machine.h"
#include "core/hpsms/minchurn.h"
#include "core/hpsms/odds.h"
#include "core/rng.h"

#define RUNS_MAX 16
#define TIMED_MAX 100000

enum how { PREDICTIVE, NAIVE, RANDOM, WAYS };
static const char *const how_names[WAYS] = {"predictive", "naive", "random"};

struct options {
	unsigned n_nodes, copies, batches, ppm;
	uint32_t nodes[RUNS_MAX];
	uint64_t seed;
	int cpu;
	bool json;
	const char *output;
};

struct rack {
	const struct options *o;
	unsigned n;
	struct odds odds;
	uint32_t dies[MINCHURN_NODES];
	struct minchurn batch;
	struct minchurn_list naive[MINCHURN_BATCH];
	uint64_t hash[MINCHURN_BATCH];
	// Loads made by each node at each node, what was last told of them, and what that was of.
	uint64_t placed[MINCHURN_NODES][MINCHURN_NODES], told[MINCHURN_NODES];
	uint64_t at_tell[MINCHURN_NODES][MINCHURN_NODES];
	double us[TIMED_MAX]; // of each batch
	unsigned timed;
};

struct result {
	unsigned nodes;
	double us_p50, us_p99, us_max;
	// Of the fullest node, and of all: bytes that are to be fetched on average, per connection of
	// the rack. Connections that have to be fetched after one failure, of those that exist.
	double fullest[WAYS], all[WAYS], pulled[WAYS];
};

static unsigned next_hop(const struct rack *r, uint64_t hash, uint64_t up)
{
	unsigned skip = (unsigned)(hash % (unsigned)__builtin_popcountll(up));

	(void)r;
	while (skip-- > 0)
		up &= up - 1;
	return (unsigned)__builtin_ctzll(up);
}

static void connection(struct rack *r, struct rng *rng, unsigned node, unsigned c)
{
	struct minchurn_item *item = &r->batch.item[c];
	uint64_t all = (1ull << r->n) - 1, up = all & ~(1ull << node);
	struct odds_route route = {.model = ODDS_MODULO, .now = (uint8_t)node};

	do
		r->hash[c] = rng_next(rng);
	while (r->hash[c] % r->n != node);
	for (unsigned m = 1; m <= r->o->copies && m < r->n && m <= ODDS_FAILURES; m++)
		route.then[route.n++] = (uint8_t)(r->hash[c] % (r->n - m));
	*item = (struct minchurn_item){
		.fixed = 1ull << node,
		.allowed = all,
		.add = (uint8_t)r->o->copies,
		.any = (uint32_t)rng_next(rng),
	};
	// States of 60 to 200 bytes, and one in twenty with more of it.
	uint32_t bytes = 60 + rng_below(rng, 140);
	bytes += rng_below(rng, 20) == 0 ? rng_below(rng, 1000) : 0;
	odds_add(&r->odds, &route, bytes, item);
	r->naive[c].n = 0;
	for (unsigned k = 0; k < r->o->copies && up != 0; k++) {
		unsigned to = next_hop(r, r->hash[c], up);
		r->naive[c].node[r->naive[c].n++] = (uint8_t)to;
		up &= ~(1ull << to);
	}
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void place(struct rack *r, enum how how)
{
	double begin = seconds();

	if (how == NAIVE)
		minchurn_first(&r->batch, r->naive);
	else if (how == RANDOM)
		minchurn_random(&r->batch);
	else
		minchurn_solve(&r->batch);
	if (how == PREDICTIVE && r->timed < TIMED_MAX)
		r->us[r->timed++] = (seconds() - begin) * 1e6;
}

// Connections of the batch that meet no copy, over all failures of one node.
static uint64_t pulls(const struct rack *r)
{
	uint64_t n = 0, all = (1ull << r->n) - 1;

	for (unsigned c = 0; c < r->batch.n; c++) {
		uint64_t holders = r->batch.item[c].fixed | r->batch.item[c].chosen;
		for (unsigned dead = 0; dead < r->n; dead++)
			n += !(holders >> next_hop(r, r->hash[c], all & ~(1ull << dead)) & 1);
	}
	return n;
}

static void tell(struct rack *r)
{
	memset(r->told, 0, sizeof(r->told));
	memcpy(r->at_tell, r->placed, sizeof(r->placed));
	for (unsigned i = 0; i < r->n; i++)
		for (unsigned j = 0; j < r->n; j++)
			r->told[j] += minchurn_unpack(minchurn_pack(r->placed[i][j]));
}

// All nodes place batch after batch, and tell each other after every fourth.
static void place_all(struct rack *r, enum how how, struct result *out)
{
	struct rng rng = {.state = r->o->seed};
	uint64_t pulled = 0;
	double top = 0, all = 0, n = (double)r->n * r->o->batches * MINCHURN_BATCH;

	memset(r->placed, 0, sizeof(r->placed));
	memset(r->at_tell, 0, sizeof(r->at_tell));
	memset(r->told, 0, sizeof(r->told));
	for (unsigned b = 0; b < r->o->batches; b++) {
		for (unsigned i = 0; i < r->n; i++) {
			for (unsigned c = 0; c < MINCHURN_BATCH; c++)
				connection(r, &rng, i, c);
			r->batch.n = MINCHURN_BATCH;
			for (unsigned j = 0; j < r->n; j++)
				r->batch.load[j] = minchurn_share(r->told[j], r->n) +
						   r->placed[i][j] - r->at_tell[i][j];
			place(r, how);
			for (unsigned j = 0; j < r->n; j++)
				r->placed[i][j] += r->batch.mine[j];
			pulled += pulls(r);
		}
		if (b % 4 == 3)
			tell(r);
	}
	for (unsigned j = 0; j < r->n; j++) {
		double sum = 0;
		for (unsigned i = 0; i < r->n; i++)
			sum += (double)r->placed[i][j] / ODDS_ONE;
		top = sum > top ? sum : top;
		all += sum;
	}
	out->fullest[how] = top / n;
	out->all[how] = all / n;
	out->pulled[how] = (double)pulled / n / r->n;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void run(const struct options *o, unsigned n, struct result *out)
{
	static struct rack r;

	r.o = o;
	r.n = n;
	r.timed = 0;
	*out = (struct result){.nodes = n};
	for (unsigned j = 0; j < n; j++)
		r.dies[j] = (uint32_t)((uint64_t)ODDS_ONE * o->ppm / 1000000);
	memset(r.batch.load, 0, sizeof(r.batch.load));
	odds_init(&r.odds, (1ull << n) - 1, r.dies, o->copies);
	for (enum how how = 0; how < WAYS; how++)
		place_all(&r, how, out);
	qsort(r.us, r.timed, sizeof(r.us[0]), compare);
	out->us_p50 = r.us[r.timed / 2];
	out->us_p99 = r.us[r.timed * 99ull / 100];
	out->us_max = r.us[r.timed - 1];
}

// ---- Command line and output ----

static void usage(FILE *to)
{
	fprintf(to,
		"usage: tripod-bench place [options]\n"
		"\n"
		"Measures the placement of copies: racks of N nodes behind a switch that hashes\n"
		"modulo, every node placing batches of %u connections and telling the others the\n"
		"loads that it makes, after every fourth. CPU time for a batch; bytes that are to\n"
		"be fetched after failures, on average over these, of the fullest node and of "
		"all,\n"
		"for each connection; and the share of connections that meet no copy after the\n"
		"failure of one node. Three ways: predictive (what the product does), naive "
		"(where\n"
		"packets go when the master dies, then the next, ...), random.\n"
		"\n"
		"Options:\n"
		"  --nodes LIST    runs with so many nodes (4,8,16,32,48)\n"
		"  --copies K      of each connection beside its master's, 1 to 10 (2)\n"
		"  --batches N     of each node (8)\n"
		"  --ppm N         parts of a million of its time that a node is dead (100)\n"
		"  --cpu N         run on this CPU only\n"
		"  --seed N        of the connections (1)\n"
		"  --quick         little of everything: does it work?\n"
		"  --json          machine-readable result\n"
		"  --output FILE   that, into FILE, beside the readable one\n"
		"  --help\n"
		"\n"
		"Example: tripod-bench place --nodes 48 --json\n",
		MINCHURN_BATCH);
}

static void take_option(void *to, const char *name, char *value)
{
	struct options *o = to;

	if (strcmp(name, "nodes") == 0)
		o->n_nodes = cli_list("--nodes", value, o->nodes, RUNS_MAX, 2, 63);
	else if (strcmp(name, "copies") == 0)
		o->copies = (unsigned)cli_number("--copies", value, 1, 10);
	else if (strcmp(name, "batches") == 0)
		o->batches = (unsigned)cli_number("--batches", value, 1, 1000);
	else if (strcmp(name, "ppm") == 0)
		o->ppm = (unsigned)cli_number("--ppm", value, 1, 400000);
	else if (strcmp(name, "cpu") == 0)
		o->cpu = (int)cli_number("--cpu", value, 0, 1023);
	else if (strcmp(name, "seed") == 0)
		o->seed = cli_number("--seed", value, 0, UINT64_MAX);
	else if (strcmp(name, "output") == 0)
		o->output = value;
	else if (strcmp(name, "json") == 0)
		o->json = true;
	else { // quick
		o->n_nodes = 2;
		o->nodes[0] = 4;
		o->nodes[1] = 12;
		o->batches = 4;
	}
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{"nodes", required_argument, NULL, 'o'},
		{"copies", required_argument, NULL, 'o'},
		{"batches", required_argument, NULL, 'o'},
		{"ppm", required_argument, NULL, 'o'},
		{"cpu", required_argument, NULL, 'o'},
		{"seed", required_argument, NULL, 'o'},
		{"output", required_argument, NULL, 'o'},
		{"quick", no_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};

	*o = (struct options){.n_nodes = 5,
		.nodes = {4, 8, 16, 32, 48},
		.copies = 2,
		.batches = 8,
		.ppm = 100,
		.seed = 1,
		.cpu = -1};
	cli_options(argc, argv, table, take_option, o, usage);
	for (unsigned i = 0; i < o->n_nodes; i++)
		if (o->nodes[i] <= o->copies)
			cli_bad_usage("--nodes must be more than --copies", NULL);
}

static json_t *json_of(const struct result *r)
{
	json_t *run = json_pack("{s:i, s:{s:f, s:f, s:f}}", "nodes", (int)r->nodes, "us_per_batch",
		"p50", r->us_p50, "p99", r->us_p99, "max", r->us_max);

	for (enum how how = 0; how < WAYS; how++)
		json_object_set_new(run, how_names[how],
			json_pack("{s:f, s:f, s:f}", "bytes_of_fullest_node", r->fullest[how],
				"bytes", r->all[how], "pulled_after_one_failure", r->pulled[how]));
	return run;
}

static void tell_result(const struct result *r)
{
	for (enum how how = 0; how < WAYS; how++) {
		if (how == 0)
			printf("%5u %8.1f %8.1f %8.1f", r->nodes, r->us_p50, r->us_p99, r->us_max);
		else
			printf("%32s", "");
		printf("  %-10s %12.6f %12.6f %9.3f%%\n", how_names[how], r->fullest[how],
			r->all[how], 100 * r->pulled[how]);
	}
	fflush(stdout);
}

int place_bench(int argc, char **argv)
{
	json_t *runs = json_array();
	struct options o;
	char cpu[128];
	int rc = 0;

	parse_options(argc, argv, &o);
	if (o.cpu >= 0 && !machine_pin((unsigned)o.cpu))
		cli_bad_usage("this process may not run on the CPU of --cpu", NULL);
	machine_cpu(cpu, sizeof(cpu));
	if (!o.json)
		printf("%s; batches of %u connections, %u copies; CPU time of a batch in us;\n"
		       "bytes that are to be fetched after failures, for each connection\n"
		       "nodes      p50      p99      max  placement   fullest node          all    "
		       "pulled\n",
			cpu, MINCHURN_BATCH, o.copies);
	for (unsigned i = 0; i < o.n_nodes; i++) {
		struct result r;
		run(&o, o.nodes[i], &r);
		json_array_append_new(runs, json_of(&r));
		if (!o.json)
			tell_result(&r);
	}
	json_t *all = json_pack("{s:s, s:s, s:i, s:i, s:o}", "version", TRIPOD_VERSION, "cpu", cpu,
		"copies", (int)o.copies, "batch", MINCHURN_BATCH, "runs", runs);
	const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(6);
	if (o.output != NULL && json_dump_file(all, o.output, flags) != 0) {
		fprintf(stderr, "tripod-bench: %s cannot be written\n", o.output);
		rc = 1;
	}
	if (o.json) {
		json_dumpf(all, stdout, flags);
		putchar('\n');
	}
	json_decref(all);
	return rc;
}
