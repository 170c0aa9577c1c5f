// SPDX-License-Identifier: BSD-3-Clause
// tripod-sim: runs of a simulated rack. Verbs: run, sweep, flood, churn.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/churn_run.h"
#include "sim/flood_run.h"
#include "sim/replay.h"
#include "sim/sizes.h"
#include "sim/sweep.h"

enum verb { RUN, SWEEP, FLOOD, CHURN };

struct command {
	enum verb verb;
	bool json, trace, hash, options;
	uint64_t seed, first, last;
	unsigned jobs, stop_after;
	uint32_t rate;
	const char *sizes, *pcap, *watch;
	struct overrides fixed;
	char fixed_text[SWEEP_FIXED_SIZE]; // what repeats it
};

static void usage(FILE *to)
{
	fputs("usage: tripod-sim run --seed S [options]\n"
	      "       tripod-sim sweep --seeds A..B [--jobs J] [options]\n"
	      "       tripod-sim flood [--rate R] [--nodes N] [--seed S] [--json]\n"
	      "       tripod-sim churn [--k K] [--switch MODEL] [--nodes N] [--seed S] [--json]\n"
	      "\n"
	      "A rack of up to 48 gateways in one process: the core and the network functions of\n"
	      "tripodd, on real packets, in virtual time, with a switch, links that lose, hosts\n"
	      "that talk TCP and UDP through it, and nodes that die. One seed, one history.\n"
	      "First things go wrong, within what the rack promises; then nothing does any more,\n"
	      "and everything must come to its end. Checkers watch all the time. Whatever the\n"
	      "options below do not fix is drawn from the seed.\n"
	      "\n"
	      "The rack:\n"
	      "  --nodes N           2 to 48\n"
	      "  --k K               copies of a connection beside its master's, 0 to 10, and no\n"
	      "                      more than there are other nodes\n"
	      "  --workers W         of each node, 1 to 4\n"
	      "  --durability D      async, sync, none\n"
	      "  --switch MODEL      modulo, two-stage, resilient: how the switch picks a port\n"
	      "  --hash FIELDS       outside-endpoint, symmetric, 5-tuple: what it hashes\n"
	      "  --predict HOW       none, computed, checked (computed, and the switch asked now\n"
	      "                      and then), probed, mistaken (computed wrongly, then probed):\n"
	      "                      how nodes know where the switch will send packets\n"
	      "What happens:\n"
	      "  --faults LIST       of kill, freeze, stall, partition, flap, loss, dup, reorder,\n"
	      "                      corrupt, restart, add, drain, reconfigure, flutter, slow,\n"
	      "                      flood; all; none\n"
	      "  --duration TIME     of the safety phase, in virtual time: 20s, 500ms; an hour\n"
	      "                      at most\n"
	      "  --beyond            more failures at one time than the contract has room for\n"
	      "  --sizes FILE        flow sizes: a value and its cumulative probability a line\n"
	      "  --pcap FILE         connections as in this capture\n"
	      "What is told:\n"
	      "  --json              one object instead of text\n"
	      "  --trace             everything as it happens (run)\n"
	      "  --watch TEXT        what each node has of the first connection whose key\n"
	      "                      contains it, such as 198.18.0.7:1234 (run)\n"
	      "  --show-options      what the seed has drawn (run)\n"
	      "  --trace-hash        a number that stands for all that happened (run)\n"
	      "  --jobs J            so many seeds at one time, 1 to 64 (sweep: 1)\n"
	      "  --stop-after N      end after N seeds with violations (sweep)\n"
	      "  --version, --help\n"
	      "\n"
	      "Exit status: 0 no violation, 1 violations, 2 usage or a file that cannot be read.\n"
	      "\n"
	      "flood: each kind of flood at R packets/s (1000000), a tenth and a hundredth of\n"
	      "that, on N nodes (8; 3 at least), beside connections that move, with a node killed: "
	      "what\n"
	      "control messages, pulls and memory come to.\n"
	      "\n"
	      "churn: connections that need PullReplica after the failure of one node, in racks\n"
	      "of 4 to 48 (--nodes: of that many), with predictive and random placement, where\n"
	      "both directions go to one node and where they are split. k is 2, the switch\n"
	      "hashes modulo.\n"
	      "\n"
	      "Examples:\n"
	      "  tripod-sim flood\n"
	      "  tripod-sim sweep --seeds 1..200 --jobs 2\n"
	      "  tripod-sim run --seed 17 --nodes 4 --faults kill,loss --trace | less\n",
		to);
}

static _Noreturn void refuse(const char *what, const char *value)
{
	fprintf(stderr, "tripod-sim: %s%s%s\nTry tripod-sim --help\n", what,
		value != NULL ? " " : "", value != NULL ? value : "");
	exit(2);
}

static uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most)
{
	char *end, what[96];

	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || v < least || v > most) {
		snprintf(what, sizeof(what), "%s takes a number from %llu to %llu, not", name,
			(unsigned long long)least, (unsigned long long)most);
		refuse(what, text);
	}
	return v;
}

// others: what else it takes.
static int word(const char *name, const char *others, const char *text, size_t len,
	const char *const *words)
{
	char what[256], value[64];
	size_t used;

	for (int i = 0; words[i] != NULL; i++) {
		if (strlen(words[i]) == len && strncmp(words[i], text, len) == 0)
			return i;
	}
	used = (size_t)snprintf(what, sizeof(what), "%s takes%s", name, others);
	for (int i = 0; words[i] != NULL && used < sizeof(what); i++)
		used += (size_t)snprintf(
			what + used, sizeof(what) - used, "%s %s", i == 0 ? "" : ",", words[i]);
	if (used < sizeof(what))
		snprintf(what + used, sizeof(what) - used, "; not");
	snprintf(value, sizeof(value), "%.*s", (int)(len < 60 ? len : 60), text);
	refuse(what, value);
}

static int64_t faults(const char *text)
{
	int64_t mask = 0;

	if (strcmp(text, "all") == 0)
		return (1 << FAULT_KINDS) - 1;
	if (strcmp(text, "none") == 0)
		return 0;
	for (;;) {
		size_t len = strcspn(text, ",");
		mask |= 1ll << word("--faults", " all, none, or of", text, len, fault_names);
		if (text[len] == '\0')
			return mask;
		text += len + 1;
	}
}

static uint64_t duration(const char *text)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {{"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"", 1000000000}};
	char *end;

	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	for (unsigned i = 0; i < 4; i++) {
		if (end != text && errno == 0 && strcmp(end, units[i].unit) == 0 && v > 0 &&
			v <= 3600000000000ull / units[i].ns)
			return v * units[i].ns;
	}
	refuse("--duration takes a time of at most an hour, such as 20s or 500ms, not", text);
}

static void seeds(struct command *c, const char *text)
{
	const char *dots = strstr(text, "..");
	char first[32];

	if (dots == NULL || (size_t)(dots - text) >= sizeof(first))
		refuse("--seeds takes a range, such as 1..1000, not", text);
	snprintf(first, sizeof(first), "%.*s", (int)(dots - text), text);
	c->first = number("--seeds", first, 0, INT64_MAX);
	c->last = number("--seeds", dots + 2, c->first, INT64_MAX);
}

enum {
	NODES = 256,
	K,
	WORKERS,
	DURABILITY,
	SWITCH,
	HASH,
	PREDICT,
	FAULTS,
	DURATION,
	BEYOND,
	SIZES,
	PCAP,
	RATE,
	SEED,
	SEEDS,
	JOBS,
	STOP,
	JSON,
	TRACE,
	WATCH,
	OPTIONS,
	TRACE_HASH,
	VERSION,
	HELP
};
static const struct option longs[] = {
	{"nodes", required_argument, NULL, NODES},
	{"k", required_argument, NULL, K},
	{"workers", required_argument, NULL, WORKERS},
	{"durability", required_argument, NULL, DURABILITY},
	{"switch", required_argument, NULL, SWITCH},
	{"hash", required_argument, NULL, HASH},
	{"predict", required_argument, NULL, PREDICT},
	{"faults", required_argument, NULL, FAULTS},
	{"duration", required_argument, NULL, DURATION},
	{"beyond", no_argument, NULL, BEYOND},
	{"sizes", required_argument, NULL, SIZES},
	{"pcap", required_argument, NULL, PCAP},
	{"rate", required_argument, NULL, RATE},
	{"seed", required_argument, NULL, SEED},
	{"seeds", required_argument, NULL, SEEDS},
	{"jobs", required_argument, NULL, JOBS},
	{"stop-after", required_argument, NULL, STOP},
	{"json", no_argument, NULL, JSON},
	{"trace", no_argument, NULL, TRACE},
	{"watch", required_argument, NULL, WATCH},
	{"show-options", no_argument, NULL, OPTIONS},
	{"trace-hash", no_argument, NULL, TRACE_HASH},
	{"version", no_argument, NULL, VERSION},
	{"help", no_argument, NULL, HELP},
	{},
};

// What belongs to the command that repeats a seed, as a shell takes it.
static void fixed_add(struct command *c, const char *name, const char *value)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_./,:+-";
	size_t used = strlen(c->fixed_text), room = sizeof(c->fixed_text) - used;
	const char *quote = value == NULL || value[strspn(value, plain)] == '\0' ? "" : "'";

	if (value != NULL && strchr(value, '\'') != NULL)
		refuse("the command that repeats a seed cannot have a quote in it:", value);
	int n = snprintf(c->fixed_text + used, room, "%s--%s%s%s%s%s", used > 0 ? " " : "", name,
		value != NULL ? " " : "", quote, value != NULL ? value : "", quote);
	if ((size_t)n >= room)
		refuse("the command that repeats a seed would be too long, with", value);
}

static void fix(struct command *c, int option, const char *v)
{
	static const char *const durabilities[] = {"none", "async", "sync", NULL};
	struct overrides *f = &c->fixed;

	switch (option) {
	case NODES:
		f->nodes = (int)number("--nodes", v, 2, SIM_NODES_MAX);
		break;
	case K:
		f->k = (int)number("--k", v, 0, 10);
		break;
	case WORKERS:
		f->workers = (int)number("--workers", v, 1, SIM_WORKERS_MAX);
		break;
	case DURABILITY:
		f->durability = word("--durability", "", v, strlen(v), durabilities);
		break;
	case SWITCH:
		f->model = word("--switch", "", v, strlen(v), ecmp_model_names);
		break;
	case HASH:
		f->fields = word("--hash", "", v, strlen(v), ecmp_fields_names);
		break;
	case PREDICT:
		f->prediction = word("--predict", "", v, strlen(v), prediction_names);
		break;
	case FAULTS:
		f->faults = faults(v);
		break;
	case DURATION:
		f->duration_ns = duration(v);
		break;
	case BEYOND:
		f->beyond = true;
		break;
	case SIZES:
		c->sizes = v;
		break;
	default:
		c->pcap = v;
		break;
	}
}

static void tell(struct command *c, int option, const char *v)
{
	switch (option) {
	case RATE:
		c->rate = (uint32_t)number("--rate", v, 1000, 10000000);
		break;
	case SEED:
		c->seed = number("--seed", v, 0, INT64_MAX);
		break;
	case SEEDS:
		seeds(c, v);
		break;
	case JOBS:
		c->jobs = (unsigned)number("--jobs", v, 1, 64);
		break;
	case STOP:
		c->stop_after = (unsigned)number("--stop-after", v, 1, 1000000);
		break;
	case JSON:
		c->json = true;
		break;
	case TRACE:
		c->trace = true;
		break;
	case WATCH:
		c->watch = v;
		break;
	case OPTIONS:
		c->options = true;
		break;
	case TRACE_HASH:
		c->hash = true;
		break;
	case VERSION:
		printf("tripod-sim %s\n", TRIPOD_VERSION);
		exit(0);
	case HELP:
		usage(stdout);
		exit(0);
	default:
		fprintf(stderr, "Try tripod-sim --help\n");
		exit(2);
	}
}

// Which verbs have a use for it: bit n is enum verb n.
static unsigned verbs_with(int option)
{
	static const unsigned run = 1 << RUN, sweep = 1 << SWEEP, flood = 1 << FLOOD,
			      churn = 1 << CHURN;

	switch (option) {
	case NODES:
	case JSON:
		return run | sweep | flood | churn;
	case K:
	case SWITCH:
		return run | sweep | churn;
	case RATE:
		return flood;
	case SEED:
		return run | flood | churn;
	case SEEDS:
	case JOBS:
	case STOP:
		return sweep;
	case TRACE:
	case WATCH:
	case OPTIONS:
	case TRACE_HASH:
		return run;
	default:
		return run | sweep;
	}
}

static void read_command(struct command *c, int argc, char **argv)
{
	static const char *const verbs[] = {"run", "sweep", "flood", "churn", NULL};
	uint64_t given = 0; // bit n: option NODES + n
	char what[64];
	int option, at;

	while ((option = getopt_long(argc, argv, "", longs, &at)) != -1) {
		if (option >= NODES && option <= PCAP) {
			fix(c, option, optarg);
			fixed_add(c, longs[at].name, optarg);
		} else {
			tell(c, option, optarg);
		}
		given |= 1ull << (option - NODES);
	}
	if (argc == optind)
		refuse("say run, sweep, flood or churn", NULL);
	if (argc - optind > 1)
		refuse("one verb at a time; what is", argv[optind + 1]);
	while (verbs[c->verb] != NULL && strcmp(argv[optind], verbs[c->verb]) != 0)
		c->verb++;
	if (verbs[c->verb] == NULL)
		refuse("no such verb:", argv[optind]);
	for (unsigned i = 0; longs[i].name != NULL; i++) {
		snprintf(what, sizeof(what), "%s takes no --%s", verbs[c->verb], longs[i].name);
		if ((given >> (longs[i].val - NODES) & 1) &&
			!(verbs_with(longs[i].val) >> c->verb & 1))
			refuse(what, NULL);
	}
	if (c->verb == RUN && !(given >> (SEED - NODES) & 1))
		refuse("run needs --seed S", NULL);
	if (c->verb == FLOOD && c->fixed.nodes == 2)
		refuse("flood takes 3 nodes or more: of two, each has a copy of everything", NULL);
	if (c->verb == SWEEP && !(given >> (SEEDS - NODES) & 1))
		refuse("sweep needs --seeds A..B", NULL);
}

// What is not named stays NULL; the caller frees both.
static void load_files(struct command *c, struct sizes **sizes, struct replay **replay)
{
	char error[512];

	if (c->sizes != NULL && (*sizes = sizes_load(c->sizes, error, sizeof(error))) == NULL)
		refuse(error, NULL);
	if (c->pcap != NULL && (*replay = replay_load(c->pcap, error, sizeof(error))) == NULL)
		refuse(error, NULL);
	c->fixed.sizes = *sizes;
	c->fixed.replay = *replay;
}

static int run(const struct command *c)
{
	uint64_t hash;
	struct options o;

	options_draw(&o, c->seed, &c->fixed);
	if (c->options || !c->json)
		options_print(&o, c->json ? stderr : stdout);
	struct sweep_watch watch = {c->trace ? stdout : NULL, c->watch};
	json_t *report = sweep_one(c->seed, &c->fixed, c->fixed_text, &watch, &hash);
	report_finish(report);
	if (c->json) {
		report_strip(report);
		json_dumpf(report, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		report_print(report, stdout);
	}
	if (c->hash)
		printf("trace %016llx\n", (unsigned long long)hash);
	bool bad = json_array_size(json_object_get(report, "violations")) > 0;
	json_decref(report);
	return bad;
}

static int sweep(const struct command *c)
{
	struct sweep s = {
		.first = c->first,
		.last = c->last,
		.jobs = c->jobs,
		.fixed = &c->fixed,
		.fixed_text = c->fixed_text,
		.progress = isatty(STDERR_FILENO),
		.stop_after = c->stop_after,
	};
	json_t *sum = sweep_run(&s);

	if (c->json) {
		report_strip(sum);
		json_dumpf(sum, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		report_print(sum, stdout);
	}
	bool bad = json_array_size(json_object_get(sum, "violations")) > 0;
	json_decref(sum);
	return bad;
}

static int flood(const struct command *c)
{
	struct flood_run f = {
		.seed = c->seed,
		.nodes = c->fixed.nodes < 0 ? 8 : (unsigned)c->fixed.nodes,
		.per_s = c->rate != 0 ? c->rate : 1000000,
		.progress = isatty(STDERR_FILENO) ? stderr : NULL,
	};
	json_t *report = flood_run(&f);

	if (c->json) {
		report_strip(report);
		json_dumpf(report, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		flood_run_print(report, stdout);
	}
	bool bad = json_array_size(json_object_get(report, "violations")) > 0;
	json_decref(report);
	return bad;
}

static int churn(const struct command *c)
{
	struct churn_run f = {
		.seed = c->seed,
		.k = c->fixed.k < 0 ? 2 : (unsigned)c->fixed.k,
		.n_nodes = 6,
		.nodes = {4, 8, 16, 24, 32, 48},
		.model = c->fixed.model < 0 ? ECMP_MODULO : (enum ecmp_model)c->fixed.model,
		.progress = isatty(STDERR_FILENO) ? stderr : NULL,
	};
	if (c->fixed.nodes > 0) {
		f.n_nodes = 1;
		f.nodes[0] = (unsigned)c->fixed.nodes;
	}
	json_t *report = churn_run(&f);

	if (c->json) {
		json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
		printf("\n");
	} else {
		churn_run_print(report, stdout);
	}
	json_decref(report);
	return 0;
}

int main(int argc, char **argv)
{
	struct command c = {.jobs = 1, .fixed = OVERRIDES_NONE};
	struct sizes *sizes = NULL;
	struct replay *replay = NULL;

	read_command(&c, argc, argv);
	load_files(&c, &sizes, &replay);
	static int (*const verbs[])(const struct command *) = {
		[RUN] = run, [SWEEP] = sweep, [FLOOD] = flood, [CHURN] = churn};
	int code = verbs[c.verb](&c);
	sizes_free(sizes);
	replay_free(replay);
	return code;
}
