// SPDX-License-Identifier: BSD-3-Clause
// The command line and the output of `tripod-bench overhead`.
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/cli.h"
#include "bench/overhead.h"

struct options {
	struct overhead_options overhead;
	bool json;
	const char *output; // NULL: none
};

static void usage(FILE *to)
{
	fprintf(to,
		"usage: tripod-bench overhead [options]\n"
		"\n"
		"Measures what replication costs on the fabric: bytes and records for a whole "
		"life\n"
		"of a connection to each of its backups, acknowledgements included, and the time\n"
		"from a change to its acknowledgement.\n"
		"\n"
		"It runs a rack of N nodes, the real core and the chain of firewall, lb and snat, "
		"in\n"
		"virtual time: the figures do not depend on the machine. Every node opens, uses "
		"and\n"
		"closes connections at the same rate (8 packets each, to a client 20 ms away) and\n"
		"keeps copies for the others. Bytes are those of frames with VLAN tag, without\n"
		"preamble and frame check sequence. Every packet that comes out is checked; if "
		"one\n"
		"is wrong or a drop counter rises, there is no figure but an error.\n"
		"\n"
		"Options:\n"
		"  --nodes LIST       runs with so many nodes (4,16,48)\n"
		"  --rate LIST        runs with so many lives a second and node (20000,100000)\n"
		"  --backups K        copies of each connection (1)\n"
		"  --inside PERCENT   share of connections that are opened from inside (30)\n"
		"  --window N         virtual time that is measured, in units of 134 ms, since\n"
		"                     that is how often connections end (1)\n"
		"  --flush-us T       how long a record waits for others (as by default)\n"
		"  --seed N           of the traffic (1)\n"
		"  --quick            little of everything: does it work?\n"
		"  --json             machine-readable result\n"
		"  --output FILE      that, into FILE, beside the readable one\n"
		"  --help\n"
		"\n"
		"Example: tripod-bench overhead --nodes 4,16,48 --rate 100000 --json\n"
		"What the figures mean: docs/performance.md\n");
}

static void take_option(void *to, const char *name, char *value)
{
	struct options *o = to;
	struct overhead_options *v = &o->overhead;

	if (strcmp(name, "nodes") == 0)
		v->n_nodes = cli_list(
			"--nodes", value, v->nodes, OVERHEAD_RUNS_MAX, 2, NET_NODES_MAX - 1);
	else if (strcmp(name, "rate") == 0)
		v->n_rates = cli_list("--rate", value, v->rate, OVERHEAD_RUNS_MAX, 1000, 500000);
	else if (strcmp(name, "backups") == 0)
		v->backups = (unsigned)cli_number("--backups", value, 1, 10);
	else if (strcmp(name, "inside") == 0)
		v->inside_percent = (unsigned)cli_number("--inside", value, 0, 100);
	else if (strcmp(name, "window") == 0)
		v->window = (uint32_t)cli_number("--window", value, 1, 100);
	else if (strcmp(name, "flush-us") == 0)
		v->flush_us = (uint32_t)cli_number("--flush-us", value, 1, 100000);
	else if (strcmp(name, "seed") == 0)
		v->seed = cli_number("--seed", value, 0, UINT64_MAX);
	else if (strcmp(name, "output") == 0)
		o->output = value;
	else if (strcmp(name, "json") == 0)
		o->json = true;
	else { // quick
		v->n_nodes = v->n_rates = 1;
		v->nodes[0] = 4;
		v->rate[0] = 2000;
		v->window = 1;
	}
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{"nodes", required_argument, NULL, 'o'},
		{"rate", required_argument, NULL, 'o'},
		{"backups", required_argument, NULL, 'o'},
		{"inside", required_argument, NULL, 'o'},
		{"window", required_argument, NULL, 'o'},
		{"flush-us", required_argument, NULL, 'o'},
		{"seed", required_argument, NULL, 'o'},
		{"quick", no_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'o'},
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};

	*o = (struct options){
		.overhead = {.n_nodes = 3,
			.nodes = {4, 16, 48},
			.n_rates = 2,
			.rate = {20000, 100000},
			.backups = 1,
			.inside_percent = 30,
			.window = 1,
			.seed = 1},
	};
	cli_options(argc, argv, table, take_option, o, usage);
	for (unsigned i = 0; i < o->overhead.n_nodes; i++)
		if (o->overhead.nodes[i] <= o->overhead.backups)
			cli_bad_usage("--nodes must be more than --backups", NULL);
}

static json_t *json_of(const struct overhead_result *r)
{
	json_t *run = json_pack("{s:i, s:i, s:I}", "nodes", (int)r->nodes, "rate", (int)r->rate,
		"lives", (json_int_t)r->lives);
	static const char *const ops[] = {"put", "update", "bury"};
	json_t *records = json_object(), *bytes = json_object();

	for (unsigned op = 0; op < OVERHEAD_OPS; op++) {
		json_object_set_new(records, ops[op], json_real(r->records[op]));
		json_object_set_new(bytes, ops[op], json_real(r->record_bytes[op]));
	}
	json_object_set_new(bytes, "heads", json_real(r->head_bytes));
	json_object_set_new(bytes, "acks", json_real(r->ack_bytes));
	json_object_set_new(run, "bytes_per_life_and_backup", json_real(r->log_bytes));
	json_object_set_new(run, "bytes", bytes);
	json_object_set_new(run, "records", records);
	json_object_set_new(run, "messages", json_real(r->messages));
	json_object_set_new(run, "acks", json_real(r->acks));
	json_object_set_new(run, "index_bytes_per_life_and_member", json_real(r->announced_bytes));
	json_object_set_new(run, "idle_bytes_per_node_and_s", json_real(r->idle_bytes));
	json_object_set_new(run, "lag_us",
		json_pack("{s:f, s:f, s:f}", "p50", r->lag_p50_us, "p99", r->lag_p99_us, "max",
			r->lag_max_us));
	json_object_set_new(run, "log_messages_lost", json_integer((json_int_t)r->lost));
	return run;
}

static void tell(const struct overhead_result *r)
{
	double bytes = 0;

	for (unsigned op = 0; op < OVERHEAD_OPS; op++)
		bytes += r->record_bytes[op];
	printf("%5u %7u %8.1f %8.1f %8.1f %8.1f %7.2f %7.2f %7.2f %8.2f %8.2f %8.1f %6.0f %6.0f\n",
		r->nodes, r->rate, r->log_bytes, bytes, r->head_bytes, r->ack_bytes, r->records[0],
		r->records[1], r->records[2], r->messages, r->acks, r->announced_bytes,
		r->lag_p50_us, r->lag_p99_us);
	fflush(stdout);
}

int overhead_main(int argc, char **argv)
{
	static struct rig rig;
	struct options o;
	json_t *runs = json_array();
	int rc = 0;

	parse_options(argc, argv, &o);
	if (!o.json)
		printf("for a life of a connection, to each of %u backups (lag: us)\n"
		       "nodes  rate/s    bytes  records    heads     acks    PUTs UPDATEs   BURYs "
		       "messages     acks    index    p50    p99\n",
			o.overhead.backups);
	for (unsigned k = 0; k < o.overhead.n_rates && rc == 0; k++) {
		for (unsigned i = 0; i < o.overhead.n_nodes && rc == 0; i++) {
			struct overhead_result result;
			rc = overhead_run(&rig, &o.overhead, o.overhead.nodes[i],
				o.overhead.rate[k], &result);
			if (rc != 0)
				break;
			json_array_append_new(runs, json_of(&result));
			if (!o.json)
				tell(&result);
		}
	}
	json_t *all = json_pack("{s:s, s:i, s:o}", "version", TRIPOD_VERSION, "backups",
		(int)o.overhead.backups, "runs", runs);
	const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(6);
	if (rc != 0) {
		fprintf(stderr, "tripod-bench: %s\n", rig.error);
	} else if (o.output != NULL && json_dump_file(all, o.output, flags) != 0) {
		fprintf(stderr, "tripod-bench: %s cannot be written\n", o.output);
		rc = -1;
	}
	if (rc == 0 && o.json) {
		json_dumpf(all, stdout, flags);
		putchar('\n');
	}
	json_decref(all);
	return rc == 0 ? 0 : 1;
}
