// SPDX-License-Identifier: BSD-3-Clause
// tripod-switch: makes the rules of a rack's switch, and gives them to it.
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "switch/diff.h"
#include "switch/frr.h"
#include "switch/ovs.h"
#include "switch/rack.h"

enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct options {
	const char *verb;
	const char *config;
	int ports, failures; // -1: not given
	int model, hash; // -1: not given
	const char *bridge; // NULL: what the configuration says
	uint64_t without, nodes; // nodes: 0: all of them
	bool count, flows_count, json, dry_run;
};

static const char usage[] =
	"usage: tripod-switch VERB {--config FILE | --ports N} [OPTION...]\n"
	"\n"
	"Makes the OpenFlow rules with which a switch spreads packets over the rack's nodes, "
	"notices\n"
	"the death of one, and tells where it would send a packet if nodes failed. They follow "
	"from\n"
	"the rack alone, never from traffic: a hundred groups at most for 48 nodes.\n"
	"\n"
	"  rules                  print them\n"
	"      --count                the number of groups\n"
	"      --flows-count          the number of flow entries\n"
	"  apply                  make an Open vSwitch have them: what differs is changed, at "
	"once,\n"
	"                         and no packet meets half of it; what else is there is removed\n"
	"      --dry-run              only print the bundle for ovs-ofctl\n"
	"  verify                 compare with what the switch has; exit status 1 and the\n"
	"                         differences when it has anything else\n"
	"  remove                 take them away\n"
	"  frr                    print the like of them for a router without OpenFlow: FRR, BGP\n"
	"                         ECMP with BFD, a VRF for each prediction group\n"
	"\n"
	"  -c, --config FILE      the rack: rack.yaml, with uplinks in its section \"switch:\"\n"
	"  -p, --ports N          or: N nodes at ports 1 to N, uplinks behind them\n"
	"  -m, --model MODEL      modulo: plain ECMP; two-stage: a second choice when the first "
	"is\n"
	"                         dead; resilient: a failure moves that node's flows alone (what\n"
	"                         Open vSwitch does)\n"
	"  -f, --failures K       predict up to K failures at one time; 0: none\n"
	"      --hash FIELDS      outside-endpoint, symmetric or 5-tuple\n"
	"      --nodes ID,...     only these of the configured nodes are there yet\n"
	"      --without ID,...   nodes whose failure lasts: modulo and two-stage predict without "
	"them\n"
	"  -b, --bridge NAME      of Open vSwitch (OVS_RUNDIR says where its socket is)\n"
	"      --json             for programs\n"
	"  -h, --help             this text\n"
	"      --version          version of this program\n"
	"\n"
	"examples:\n"
	"  tripod-switch rules --ports 48 --failures 10 --model two-stage --count\n"
	"  tripod-switch rules --config rack.yaml\n"
	"  tripod-switch apply --config rack.yaml && tripod-switch verify --config rack.yaml\n"
	"\n"
	"Exit status: 0, 1 (it failed, or verify found a difference), 2 (the command line is "
	"wrong).\n"
	"More in tripod-switch(8).\n";

enum {
	OPT_HASH = 256,
	OPT_NODES,
	OPT_WITHOUT,
	OPT_JSON,
	OPT_VERSION,
	OPT_COUNT,
	OPT_FLOWS,
	OPT_DRY
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"ports", required_argument, NULL, 'p'},
	{"model", required_argument, NULL, 'm'},
	{"failures", required_argument, NULL, 'f'},
	{"hash", required_argument, NULL, OPT_HASH},
	{"nodes", required_argument, NULL, OPT_NODES},
	{"without", required_argument, NULL, OPT_WITHOUT},
	{"bridge", required_argument, NULL, 'b'},
	{"count", no_argument, NULL, OPT_COUNT},
	{"flows-count", no_argument, NULL, OPT_FLOWS},
	{"dry-run", no_argument, NULL, OPT_DRY},
	{"json", no_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{},
};

static void wrong(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void wrong(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("tripod-switch: ", stderr);
	vfprintf(stderr, format, args);
	fputs("\nTry \"tripod-switch --help\".\n", stderr);
	va_end(args);
	exit(EXIT_USAGE);
}

static int failed(const char *text)
{
	fprintf(stderr, "tripod-switch: %s\n", text);
	return EXIT_FAILED;
}

static int parse_number(const char *what, const char *text, int least, int most)
{
	char *end;
	long n = strtol(text, &end, 10);
	if (end == text || *end != '\0' || n < least || n > most)
		wrong("%s is \"%s\"; write a number from %d to %d", what, text, least, most);
	return (int)n;
}

static int parse_choice(const char *what, const char *text, const char *const *names)
{
	for (int i = 0; names[i] != NULL; i++)
		if (strcmp(names[i], text) == 0)
			return i;
	wrong("%s is \"%s\"; write %s, %s or %s", what, text, names[0], names[1], names[2]);
}

static uint64_t parse_nodes(const char *what, const char *text)
{
	uint64_t set = 0;
	char *copy = strdup(text), *save = NULL;
	if (copy == NULL)
		abort();
	for (char *s = strtok_r(copy, ",", &save); s != NULL; s = strtok_r(NULL, ",", &save))
		set |= 1ull << parse_number(what, s, 0, NODES_MAX - 1);
	free(copy);
	return set;
}

static void parse_option(struct options *o, int c)
{
	switch (c) {
	case 'c':
		o->config = optarg;
		break;
	case 'p':
		o->ports = parse_number("--ports", optarg, 1, NODES_MAX);
		break;
	case 'm':
		o->model = parse_choice("--model", optarg, rack_switch_models);
		break;
	case 'f':
		o->failures = parse_number("--failures", optarg, 0, COPIES_MAX);
		break;
	case OPT_HASH:
		o->hash = parse_choice("--hash", optarg, rack_switch_hashes);
		break;
	case OPT_NODES:
		o->nodes = parse_nodes("--nodes", optarg);
		break;
	case OPT_WITHOUT:
		o->without = parse_nodes("--without", optarg);
		break;
	case 'b':
		o->bridge = optarg;
		break;
	case OPT_COUNT:
		o->count = true;
		break;
	case OPT_FLOWS:
		o->flows_count = true;
		break;
	case OPT_DRY:
		o->dry_run = true;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(EXIT_OK);
	case OPT_VERSION:
		puts("tripod-switch " TRIPOD_VERSION);
		exit(EXIT_OK);
	default:
		fputs("Try \"tripod-switch --help\".\n", stderr);
		exit(EXIT_USAGE);
	}
}

static void parse(int argc, char **argv, struct options *o)
{
	*o = (struct options){.ports = -1, .failures = -1, .model = -1, .hash = -1};
	int c;
	while ((c = getopt_long(argc, argv, "c:p:m:f:b:h", long_options, NULL)) != -1)
		parse_option(o, c);
	if (optind >= argc)
		wrong("what should be done? rules, apply, verify, remove or frr");
	o->verb = argv[optind++];
	if (optind < argc)
		wrong("\"%s\" is one word too many", argv[optind]);
	bool remove = strcmp(o->verb, "remove") == 0;
	if (o->config != NULL && o->ports > 0)
		wrong("--config and --ports both say what the rack is; give one of them");
	if (o->config == NULL && o->ports < 0 && (!remove || o->bridge == NULL))
		wrong("which rack? Give --config FILE, or --ports N%s",
			remove ? ", or --bridge NAME" : "");
	if ((o->count || o->flows_count) && strcmp(o->verb, "rules") != 0)
		wrong("--count and --flows-count belong to rules");
	if (o->dry_run && strcmp(o->verb, "apply") != 0)
		wrong("--dry-run belongs to apply");
}

// ---- The rack ----

struct subject {
	struct rack conf; // of --config
	struct switch_rack rack;
	const char *bridge;
};

// Leaves of the rack's nodes those that are there.
static int choose(struct switch_rack *r, uint64_t nodes)
{
	unsigned n = 0;
	for (unsigned i = 0; i < r->n_nodes; i++) {
		if ((nodes >> r->node[i].id & 1) != 0)
			r->node[n++] = r->node[i];
		nodes &= ~(1ull << r->node[i].id);
	}
	if (nodes != 0 || n == 0)
		return failed("--nodes names a node that the rack does not have");
	r->n_nodes = n;
	return EXIT_OK;
}

static int load(const struct options *o, struct subject *s)
{
	*s = (struct subject){.bridge = "tor"};
	if (o->config != NULL) {
		if (rack_load(o->config, RACK_NODE_SWITCH, &s->conf) < 0 ||
			switch_rack_load(&s->conf, &s->rack) < 0) {
			fputs(rack_report(&s->conf), stderr);
			return EXIT_FAILED;
		}
		s->bridge = s->conf.bridge;
	} else {
		switch_rack_ports(o->ports > 0 ? (unsigned)o->ports : 1, &s->rack);
	}
	if (o->nodes != 0 && choose(&s->rack, o->nodes) != EXIT_OK)
		return EXIT_FAILED;
	if (o->bridge != NULL)
		s->bridge = o->bridge;
	if (o->model >= 0)
		s->rack.model = (enum switch_model)o->model;
	if (o->hash >= 0)
		s->rack.hash = (enum switch_hash)o->hash;
	if (o->failures >= 0)
		s->rack.failures = (unsigned)o->failures;
	if (s->rack.failures >= s->rack.n_nodes)
		s->rack.failures = s->rack.n_nodes - 1;
	s->rack.without = o->without;
	return EXIT_OK;
}

// ---- Verbs ----

static void print_json(json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
}

static json_t *rule_texts(const struct rule_list *l, const char *between)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < l->n; i++)
		json_array_append_new(
			list, json_sprintf("%s%s%s", l->rule[i].key, between, l->rule[i].body));
	return list;
}

static void rules_json(const struct switch_rack *r, const struct rules *rules)
{
	unsigned index[NODES_MAX + 1], n = rules_indices(r, index);
	json_t *predictions = json_array();
	for (unsigned i = 0; i < n; i++) {
		unsigned vlan = r->predict_vlan + 2 * index[i];
		json_array_append_new(predictions,
			json_pack("{s:i, s:s, s:i, s:i, s:i}", "index", index[i], "kind",
				r->model != SWITCH_RESILIENT
					? (index[i] == PREDICT_ARRIVAL ? "now" : "ports")
					: (index[i] == PREDICT_ARRIVAL ? "arrival"
								       : "without-node"),
				"group", rules_index_group(r, index[i]), "outside_vlan", vlan,
				"inside_vlan", vlan + 1));
	}
	print_json(json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:o, s:o, s:o}", "model",
		rack_switch_models[r->model], "hash", rack_switch_hashes[r->hash], "nodes",
		r->n_nodes, "failures", r->failures, "groups", rules->groups.n, "flows",
		rules->flows.n, "prediction", predictions, "group_rules",
		rule_texts(&rules->groups, ","), "flow_rules",
		rule_texts(&rules->flows, ",actions=")));
}

static int do_rules(const struct options *o, const struct subject *s, const struct rules *rules)
{
	if (o->json) {
		rules_json(&s->rack, rules);
		return EXIT_OK;
	}
	if (o->count)
		printf("%u\n", rules->groups.n);
	if (o->flows_count)
		printf("%u\n", rules->flows.n);
	if (o->count || o->flows_count)
		return EXIT_OK;
	for (unsigned i = 0; i < rules->groups.n; i++)
		printf("%s,%s\n", rules->groups.rule[i].key, rules->groups.rule[i].body);
	for (unsigned i = 0; i < rules->flows.n; i++)
		printf("%s,actions=%s\n", rules->flows.rule[i].key, rules->flows.rule[i].body);
	return EXIT_OK;
}

static json_t *diff_json(const struct diff *d)
{
	static const char *const name[] = {
		[DIFF_MISSING] = "missing", [DIFF_OTHER] = "different", [DIFF_FOREIGN] = "foreign"};
	json_t *list[3] = {json_array(), json_array(), json_array()};
	for (unsigned i = 0; i < d->n; i++) {
		const struct diff_entry *e = &d->entry[i];
		const struct rule *r = e->wants != NULL ? e->wants : e->has;
		json_array_append_new(list[e->kind], json_string(r->key));
	}
	return json_pack("{s:b, s:o, s:o, s:o}", "equal", d->n == 0, name[0], list[0], name[1],
		list[1], name[2], list[2]);
}

static int do_apply(const struct options *o, const struct subject *s, const struct diff *d)
{
	char err[OVS_ERROR_MAX], *bundle;
	size_t size;
	FILE *f = open_memstream(&bundle, &size);
	if (f == NULL)
		abort();
	diff_bundle(d, f);
	if (fclose(f) != 0)
		abort();
	int result = EXIT_OK;
	if (o->dry_run)
		fputs(bundle, stdout);
	else if (ovs_bundle(s->bridge, bundle, err) < 0)
		result = failed(err);
	else if (o->json)
		print_json(diff_json(d));
	else if (d->n == 0)
		printf("%s: nothing to change\n", s->bridge);
	else
		printf("%s: %u added, %u changed, %u removed\n", s->bridge,
			diff_count(d, DIFF_MISSING), diff_count(d, DIFF_OTHER),
			diff_count(d, DIFF_FOREIGN));
	free(bundle);
	return result;
}

static int do_verify(const struct options *o, const struct subject *s, const struct diff *d)
{
	if (o->json)
		print_json(diff_json(d));
	else if (d->n == 0)
		printf("%s: as it should be\n", s->bridge);
	else
		diff_print(d, stdout);
	return d->n == 0 ? EXIT_OK : EXIT_FAILED;
}

static int do_compare(const struct options *o, const struct subject *s, const struct rules *rules)
{
	const char *reason = ovs_refuses(&s->rack);
	char err[OVS_ERROR_MAX];
	struct rules has;
	struct diff d;
	if (reason != NULL)
		return failed(reason);
	if (ovs_read(s->bridge, &has, err) < 0) {
		rules_free(&has);
		return failed(err);
	}
	diff_make(&has, rules, &d);
	int result = o->verb[0] == 'a' ? do_apply(o, s, &d) : do_verify(o, s, &d);
	diff_free(&d);
	rules_free(&has);
	return result;
}

static int run(const struct options *o, const struct subject *s)
{
	char err[OVS_ERROR_MAX];
	struct rules rules;
	int result;
	if (strcmp(o->verb, "remove") == 0)
		return ovs_remove(s->bridge, err) < 0 ? failed(err) : EXIT_OK;
	if (strcmp(o->verb, "frr") == 0) {
		if (o->config == NULL)
			wrong("frr needs addresses: give --config FILE");
		if (o->without != 0 || o->nodes != 0)
			wrong("frr has all nodes: such a router writes no places on questions, so "
			      "that a place is that of a configured node");
		frr_print(&s->conf, &s->rack, stdout);
		return EXIT_OK;
	}
	rules_make(&s->rack, &rules);
	if (strcmp(o->verb, "rules") == 0)
		result = do_rules(o, s, &rules);
	else if (strcmp(o->verb, "apply") == 0 || strcmp(o->verb, "verify") == 0)
		result = do_compare(o, s, &rules);
	else
		wrong("unknown verb \"%s\"; there are rules, apply, verify, remove and frr",
			o->verb);
	rules_free(&rules);
	return result;
}

int main(int argc, char **argv)
{
	struct options o;
	struct subject s;
	parse(argc, argv, &o);
	int result = load(&o, &s);
	if (result == EXIT_OK)
		result = run(&o, &s);
	rack_free(&s.conf);
	return fflush(stdout) == 0 ? result : EXIT_FAILED;
}
