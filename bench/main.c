// SPDX-License-Identifier: BSD-3-Clause
// tripod-bench: measures. Verbs: node, overhead (overhead_main.c), index (index_bench.c), place (place_bench.c),
// repair (repair_bench.c).
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <rte_cycles.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/cli.h"
#include "bench/index_bench.h"
#include "bench/node.h"
#include "bench/place_bench.h"
#include "bench/repair_bench.h"

struct options {
	struct node_options node;
	bool json;
	const char *output; // NULL: none
	int cpu; // -1: any
};

static void usage(FILE *to)
{
	fprintf(to,
		"usage: tripod-bench node [options]\n"
		"       tripod-bench overhead [options]   what replication costs: --help tells "
		"more\n"
		"       tripod-bench index [options]    (its own --help)\n"
		"       tripod-bench place [options]    where copies go: --help tells more\n"
		"       tripod-bench repair [options]   how soon lost copies are made up for\n"
		"\n"
		"Measures one worker of tripodd on one core: how many packets of established\n"
		"connections it forwards, what a packet costs and where, what a new connection\n"
		"costs, in cycles, memory and replication traffic.\n"
		"\n"
		"It runs the daemon's own worker loop over a port made of two rings in memory, "
		"with\n"
		"a chain of firewall, lb and snat, and with peers in the same process that keep a\n"
		"copy of each connection. Connections are opened by their packets (SYN, SYN+ACK,\n"
		"ACK); then packets of 60 bytes in both directions, of connections drawn "
		"uniformly\n"
		"at random, are sent in batches of %u. Only the node under test is timed; packets\n"
		"are made, and each packet that comes out is checked (addresses, ports, "
		"checksums,\n"
		"MAC addresses, order), outside of the timed part. If one is missing or wrong, or\n"
		"a drop counter rises, there is no figure but an error.\n"
		"\n"
		"Stages are measured apart from the total, by runs of the same traffic that stop\n"
		"early and send the packet as it is; what a stage costs is the difference to the\n"
		"run before it. Cycles are those of the TSC, which are not those of the core's\n"
		"clock. Batches during which another process had the CPU are repeated.\n"
		"\n"
		"Options:\n"
		"  --connections LIST  runs with so many connections (1000,1000000)\n"
		"  --repetitions N     repetitions, of which median, least and most are told (9)\n"
		"  --packets N         packets of each repetition and stage (500000)\n"
		"  --lives N           connections opened and closed in each repetition (8192);\n"
		"                      0: none, which saves the seconds until they are forgotten\n"
		"  --inside PERCENT    share of connections that are opened from inside (30)\n"
		"  --peers N           other nodes, 0 to %u (1)\n"
		"  --no-replication    durability none, for comparison\n"
		"  --small-pages       4 KiB pages, even if there are larger ones\n"
		"  --cpu N             run on this CPU only\n"
		"  --seed N            of the traffic (1)\n"
		"  --quick             little of everything: does it work?\n"
		"  --json              machine-readable result\n"
		"  --output FILE       that, into FILE, beside the readable one\n"
		"  --version, --help\n"
		"\n"
		"Example: tripod-bench node --connections 100000 --peers 3 --json\n"
		"What the figures mean: docs/performance.md\n",
		RIG_BATCH, RIG_PEERS_MAX);
}

static void take_option(struct options *o, const char *name, char *value)
{
	struct node_options *n = &o->node;

	if (strcmp(name, "connections") == 0)
		n->n_runs = cli_list(
			"--connections", value, n->connections, NODE_RUNS_MAX, 2, 50000000);
	else if (strcmp(name, "repetitions") == 0)
		n->repetitions =
			(unsigned)cli_number("--repetitions", value, 1, NODE_REPETITIONS_MAX);
	else if (strcmp(name, "packets") == 0)
		n->packets = cli_number("--packets", value, 1, 1000000000);
	else if (strcmp(name, "lives") == 0)
		n->lives = (uint32_t)cli_number("--lives", value, 0, 1000000);
	else if (strcmp(name, "inside") == 0)
		n->inside_percent = (unsigned)cli_number("--inside", value, 0, 100);
	else if (strcmp(name, "peers") == 0)
		n->peers = (unsigned)cli_number("--peers", value, 0, RIG_PEERS_MAX);
	else if (strcmp(name, "no-replication") == 0)
		n->replicate = false;
	else if (strcmp(name, "small-pages") == 0)
		n->large_pages = false;
	else if (strcmp(name, "cpu") == 0)
		o->cpu = (int)cli_number("--cpu", value, 0, 1023);
	else if (strcmp(name, "seed") == 0)
		n->seed = cli_number("--seed", value, 0, UINT64_MAX);
	else if (strcmp(name, "output") == 0)
		o->output = value;
	else if (strcmp(name, "json") == 0)
		o->json = true;
	else { // quick
		n->repetitions = 1;
		n->packets = 4096;
		n->lives = 256;
	}
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{"connections", required_argument, NULL, 'o'},
		{"repetitions", required_argument, NULL, 'o'},
		{"packets", required_argument, NULL, 'o'},
		{"lives", required_argument, NULL, 'o'},
		{"inside", required_argument, NULL, 'o'},
		{"peers", required_argument, NULL, 'o'},
		{"no-replication", no_argument, NULL, 'o'},
		{"small-pages", no_argument, NULL, 'o'},
		{"cpu", required_argument, NULL, 'o'},
		{"seed", required_argument, NULL, 'o'},
		{"quick", no_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'o'},
		{"output", required_argument, NULL, 'o'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, at = 0;

	*o = (struct options){
		.node = {.n_runs = 2,
			.connections = {1000, 1000000},
			.repetitions = 9,
			.packets = 500000,
			.lives = 8192,
			.inside_percent = 30,
			.peers = 1,
			.replicate = true,
			.large_pages = true,
			.seed = 1},
		.cpu = -1,
	};
	// First --quick, as in cli_options().
	for (int quick = 1; quick >= 0; quick--) {
		optind = 1;
		while ((c = getopt_long(argc, argv, "", table, &at)) != -1) {
			switch (c) {
			case 'o':
				if ((strcmp(table[at].name, "quick") == 0) == quick)
					take_option(o, table[at].name, optarg);
				break;
			case 'v':
				printf("tripod-bench %s\n", TRIPOD_VERSION);
				exit(0);
			case 'h':
				usage(stdout);
				exit(0);
			default:
				exit(2);
			}
		}
	}
	if (optind == argc)
		cli_bad_usage("which bench? There are: node, overhead, index, place, repair", NULL);
	if (strcmp(argv[optind], "node") != 0)
		cli_bad_usage("there is no bench", argv[optind]);
	if (optind + 1 < argc)
		cli_bad_usage("unexpected argument", argv[optind + 1]);
}

// ---- What is told ----

static struct spread stage_cost(const struct node_result *r, unsigned stage)
{
	struct spread s = r->prefix[stage];

	if (stage > 0)
		s.median -= r->prefix[stage - 1].median;
	return s;
}

static double bytes_per_connection(const struct node_result *r)
{
	return r->record_bytes + r->replication_bytes + r->index_bytes;
}

static json_t *json_spread(const struct spread *s)
{
	return json_pack("{s:f, s:f, s:f}", "median", s->median, "min", s->least, "max", s->most);
}

static json_t *json_run(const struct node_result *r)
{
	const struct spread *all = &r->prefix[STAGE_ALL];
	json_t *stages = json_object();
	json_t *run = json_pack("{s:I, s:f, s:f, s:f, s:f, s:o}", "connections",
		(json_int_t)r->connections, "mpps", r->mpps, "cycles_per_packet", all->median,
		"cycles_per_packet_min", all->least, "cycles_per_packet_max", all->most, "stages",
		stages);

	for (unsigned i = 0; i < STAGES; i++)
		json_object_set_new(stages, stage_names[i], json_real(stage_cost(r, i).median));
	json_object_set_new(run, "bytes_per_connection", json_real(bytes_per_connection(r)));
	json_object_set_new(run, "bytes",
		json_pack("{s:i, s:i, s:f}", "record", (int)r->record_bytes, "replication",
			(int)r->replication_bytes, "index", r->index_bytes));
	json_object_set_new(run, "new_connections_per_s",
		json_real(r->life.median > 0 ? r->tsc_ghz * 1e9 / r->life.median : 0));
	json_object_set_new(run, "cycles_per_connection", json_spread(&r->life));
	json_object_set_new(run, "cycles_per_open", json_spread(&r->open));
	json_object_set_new(run, "control_bytes_per_connection", json_real(r->life_control_tx));
	json_object_set_new(run, "control_bytes",
		json_pack("{s:f, s:f, s:f, s:f}", "open_tx", r->open_control_tx, "open_rx",
			r->open_control_rx, "life_tx", r->life_control_tx, "life_rx",
			r->life_control_rx));
	json_object_set_new(run, "packets_in", json_integer((json_int_t)r->packets_in));
	json_object_set_new(run, "packets_out", json_integer((json_int_t)r->packets_out));
	json_object_set_new(run, "copies", json_integer((json_int_t)r->copies));
	json_object_set_new(
		run, "log_messages_lost", json_integer((json_int_t)r->log_messages_lost));
	json_object_set_new(
		run, "preempted_batches", json_integer((json_int_t)r->preempted_batches));
	json_object_set_new(run, "pages", json_string(machine_pages_name(r->pages)));
	json_object_set_new(run, "large_page_share", json_real(r->large_share));
	return run;
}

static json_t *json_all(const struct node_options *o, const struct node_result *r, const char *cpu)
{
	const struct node_result *largest = &r[0];
	json_t *runs = json_array();

	for (unsigned i = 0; i < o->n_runs; i++) {
		json_array_append_new(runs, json_run(&r[i]));
		if (r[i].connections > largest->connections)
			largest = &r[i];
	}
	return json_pack("{s:s, s:s, s:f, s:i, s:i, s:b, s:i, s:o, s:f, s:f, s:f}", "version",
		TRIPOD_VERSION, "cpu", cpu, "tsc_ghz", r[0].tsc_ghz, "frame_bytes", 60, "peers",
		(int)o->peers, "replication", (int)(o->replicate && o->peers > 0), "repetitions",
		(int)o->repetitions, "runs", runs, "mpps", largest->mpps, "cycles_per_packet",
		largest->prefix[STAGE_ALL].median, "bytes_per_connection",
		bytes_per_connection(largest));
}

// 0 or a negative errno, said.
static int tell_json(const struct options *o, const struct node_result *r, const char *cpu)
{
	json_t *all = json_all(&o->node, r, cpu);
	const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(6);
	int rc = 0;

	if (o->output != NULL && json_dump_file(all, o->output, flags) != 0) {
		fprintf(stderr, "tripod-bench: %s cannot be written\n", o->output);
		rc = -EIO;
	}
	if (o->json) {
		json_dumpf(all, stdout, flags);
		putchar('\n');
	}
	json_decref(all);
	return rc;
}

static void tell_run(const struct node_result *r)
{
	const struct spread *all = &r->prefix[STAGE_ALL];

	printf("\n%u connections (pages: %s, %.0f%% of the memory on large ones)\n", r->connections,
		machine_pages_name(r->pages), 100 * r->large_share);
	printf("  %-22s %8.2f Mpps\n", "packets", r->mpps);
	printf("  %-22s %8.1f cycles (%.1f to %.1f), of which\n", "a packet", all->median,
		all->least, all->most);
	for (unsigned i = 0; i < STAGES; i++)
		printf("    %-20s %8.1f   %s\n", stage_names[i], stage_cost(r, i).median,
			stage_helps[i]);
	printf("  %-22s %8.0f bytes: record %u, replication %u, index %.1f\n", "a connection",
		bytes_per_connection(r), r->record_bytes, r->replication_bytes, r->index_bytes);
	printf("  %-22s %8.0f a second: %.0f cycles for a whole life (%.0f to %.0f), %.0f to "
	       "open\n",
		"new connections", r->life.median > 0 ? r->tsc_ghz * 1e9 / r->life.median : 0,
		r->life.median, r->life.least, r->life.most, r->open.median);
	printf("  %-22s %8.0f bytes sent, %.0f received for a whole life; %.0f and %.0f to open\n",
		"replication", r->life_control_tx, r->life_control_rx, r->open_control_tx,
		r->open_control_rx);
	printf("  %-22s %8" PRIu64 " in, %" PRIu64 " out and right; %" PRIu64 " batches repeated\n",
		"all packets", r->packets_in, r->packets_out, r->preempted_batches);
}

int main(int argc, char **argv)
{
	static struct rig rig;
	static struct node_result result[NODE_RUNS_MAX];
	struct options o;
	char cpu[128];
	int rc;

	if (argc > 1 && strcmp(argv[1], "index") == 0)
		return index_bench(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "repair") == 0)
		return repair_bench(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "overhead") == 0)
		return overhead_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "place") == 0)
		return place_bench(argc - 1, argv + 1);
	parse_options(argc, argv, &o);
	machine_cpu(cpu, sizeof(cpu));
	rc = rig_start(&rig);
	if (rc == 0 && o.cpu >= 0 && !machine_pin((unsigned)o.cpu))
		cli_bad_usage("this process may not run on the CPU of --cpu", NULL);
	if (rc == 0 && !o.json)
		printf("%s, TSC %.2f GHz; %u peers, replication %s; frames of 60 bytes, medians of "
		       "%u\n",
			cpu, (double)rte_get_tsc_hz() / 1e9, o.node.peers,
			o.node.replicate && o.node.peers > 0 ? "on" : "off", o.node.repetitions);
	for (unsigned i = 0; i < o.node.n_runs && rc == 0; i++) {
		rc = node_run(&rig, &o.node, o.node.connections[i], &result[i]);
		if (rc == 0 && !o.json) {
			tell_run(&result[i]);
			fflush(stdout);
		}
	}
	if (rc != 0)
		fprintf(stderr, "tripod-bench: %s\n", rig.error);
	else
		rc = tell_json(&o, result, cpu);
	rig_stop(&rig);
	return rc == 0 ? 0 : 1;
}
