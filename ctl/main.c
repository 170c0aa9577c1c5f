// SPDX-License-Identifier: BSD-3-Clause
// tripodctl: asks a running tripodd, and shows the answer.
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/progress.h"
#include "ctl/views.h"

#define LIMIT_STANDARD 100 // connections shown to people, unless --limit says otherwise
#define WAIT_S 600 // for a drain, unless --wait says otherwise
#define WAIT_POLL_MS 100
#define BATCH 1024 // rows whose columns are lined up together

enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct options {
	const char *command;
	const char *what; // keys: "reload", or NULL
	const char *socket;
	int node; // -1: not given
	const char *where, *nf;
	long limit; // -1: not given
	int worker; // -1: all
	bool all, json, check;
	double watch_s; // 0: once
	double wait_s; // 0: not at all
};

static const char usage[] =
	"usage: tripodctl [--socket PATH | --node ID] [--json] COMMAND [OPTION...]\n"
	"\n"
	"  status                 how this node is\n"
	"  nodes                  the rack as this node sees it\n"
	"  connections            the connections it knows\n"
	"      --where CONDITIONS     only those that fit: "
	"proto=tcp,state=established,role=master,\n"
	"                             src=10.0.0.0/8,dst=ADDR,sport=N,dport=N,direction=incoming\n"
	"      --limit N              at most N; 0: all (tables: 100)\n"
	"  counters               what it has counted; zeros only with --all\n"
	"      --nf NAME              of one network function\n"
	"      --worker N             of one worker\n"
	"      --all                  zeros as well (JSON always has them)\n"
	"      --watch [SECONDS]      again and again, with rates\n"
	"  chain                  its network functions, and the versions that have connections\n"
	"  reload                 read the configuration again: another chain gets the new\n"
	"                         connections, what else has changed is named\n"
	"      --check                only say what would be done\n"
	"  keys                   the cluster keys: their numbers and use\n"
	"  keys reload            read the key file again\n"
	"  version                of the daemon that runs\n"
	"  drain                  give all connections to other nodes, then take no more traffic\n"
	"      --wait [SECONDS]       until it is done: nothing arrives any more (600 s at most)\n"
	"  undrain                take traffic again\n"
	"  stop                   end it in order; it drains first\n"
	"\n"
	"  --socket PATH          its control socket\n"
	"  --node ID              the standard socket of node ID, " CLIENT_SOCKET_DIR
	"/tripodd-ID.sock\n"
	"                         (neither: the only node on this host)\n"
	"  --json                 for programs: exact numbers, stable keys\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage.\n";

static const struct command {
	const char *name;
	const struct view *view;
} commands[] = {
	{"status", &view_status},
	{"nodes", &view_nodes},
	{"connections", &view_connections},
	{"counters", &view_counters},
	{"chain", &view_chain},
	{"reload", &view_reload},
	{"keys", &view_keys},
	{"version", &view_version},
	{"drain", &view_drain},
	{"undrain", &view_drain},
	{"stop", &view_stop},
};

static _Noreturn void bad_usage(const char *what, const char *value)
{
	fprintf(stderr, "tripodctl: %s%s%s\nTry tripodctl --help.\n", what,
		value != NULL ? " " : "", value != NULL ? value : "");
	exit(EXIT_USAGE);
}

static int failed(const char *err)
{
	fprintf(stderr, "tripodctl: %s\n", err);
	return EXIT_FAILED;
}

static long number(const char *text, long max, const char *option)
{
	char *end;
	long v;

	if (text == NULL)
		bad_usage("no value for", option);
	errno = 0;
	v = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || v < 0 || v > max)
		bad_usage("bad value for", option);
	return v;
}

static double seconds(const char *text, const char *option)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || !(v >= 0.1 && v <= 86400))
		bad_usage(option, text);
	return v;
}

// "--watch 2" as well as "--watch=2", and "--watch".
static double optional_seconds(char **argv, double standard, const char *complaint)
{
	if (optarg == NULL && argv[optind] != NULL && argv[optind][0] >= '0' &&
		argv[optind][0] <= '9')
		optarg = argv[optind++];
	return optarg != NULL ? seconds(optarg, complaint) : standard;
}

enum {
	OPT_SOCKET = 256,
	OPT_NODE,
	OPT_WHERE,
	OPT_LIMIT,
	OPT_NF,
	OPT_WORKER,
	OPT_ALL,
	OPT_WATCH,
	OPT_CHECK,
	OPT_WAIT,
	OPT_JSON,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"node", required_argument, NULL, OPT_NODE},
	{"where", required_argument, NULL, OPT_WHERE},
	{"limit", required_argument, NULL, OPT_LIMIT},
	{"nf", required_argument, NULL, OPT_NF},
	{"worker", required_argument, NULL, OPT_WORKER},
	{"all", no_argument, NULL, OPT_ALL},
	{"watch", optional_argument, NULL, OPT_WATCH},
	{"check", no_argument, NULL, OPT_CHECK},
	{"wait", optional_argument, NULL, OPT_WAIT},
	{"json", no_argument, NULL, OPT_JSON},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static void take_option(int opt, char **argv, struct options *o)
{
	switch (opt) {
	case OPT_SOCKET:
		o->socket = optarg;
		break;
	case OPT_NODE:
		o->node = (int)number(optarg, 63, "--node");
		break;
	case OPT_WHERE:
		o->where = optarg;
		break;
	case OPT_LIMIT:
		o->limit = number(optarg, 1000000000, "--limit");
		break;
	case OPT_NF:
		o->nf = optarg;
		break;
	case OPT_WORKER:
		o->worker = (int)number(optarg, 255, "--worker");
		break;
	case OPT_ALL:
		o->all = true;
		break;
	case OPT_WATCH:
		o->watch_s = optional_seconds(argv, 1, "--watch takes seconds, 0.1 or more, not");
		break;
	case OPT_WAIT:
		o->wait_s =
			optional_seconds(argv, WAIT_S, "--wait takes seconds, 0.1 or more, not");
		break;
	case OPT_CHECK:
		o->check = true;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_VERSION:
		puts("tripodctl " TRIPOD_VERSION);
		exit(EXIT_OK);
	case OPT_HELP:
		fputs(usage, stdout);
		exit(EXIT_OK);
	default:
		bad_usage("see above.", NULL);
	}
}

// What only some commands take.
static void check_options(const struct options *o)
{
	bool connections = strcmp(o->command, "connections") == 0;
	bool counters = strcmp(o->command, "counters") == 0;

	if (!connections && (o->where != NULL || o->limit >= 0))
		bad_usage("--where and --limit belong to connections, not", o->command);
	if (!counters && (o->nf != NULL || o->worker >= 0 || o->all || o->watch_s > 0))
		bad_usage("--nf, --worker, --all and --watch belong to counters, not", o->command);
	if (o->check && strcmp(o->command, "reload") != 0)
		bad_usage("--check belongs to reload, not", o->command);
	if (o->wait_s > 0 && strcmp(o->command, "drain") != 0)
		bad_usage("--wait belongs to drain, not", o->command);
	if (o->where != NULL && strpbrk(o->where, " \t\n") != NULL)
		bad_usage("--where takes KEY=VALUE,KEY=VALUE without spaces, not", o->where);
	if (o->nf != NULL && (o->nf[0] == '\0' || strpbrk(o->nf, " \t\n") != NULL))
		bad_usage("--nf takes the name of an NF, not", o->nf);
	if (o->socket != NULL && o->node >= 0)
		bad_usage("--socket and --node exclude each other.", NULL);
}

static const struct command *parse(int argc, char **argv, struct options *o)
{
	int opt;

	o->node = o->worker = -1;
	o->limit = -1;
	// A word that is no option is the command, wherever it stands ("-": in order).
	while ((opt = getopt_long(argc, argv, "-", long_options, NULL)) != -1) {
		if (opt != 1)
			take_option(opt, argv, o);
		else if (o->command == NULL)
			o->command = optarg;
		else if (strcmp(o->command, "keys") == 0 && o->what == NULL &&
			 strcmp(optarg, "reload") == 0)
			o->what = optarg;
		else
			bad_usage("unexpected argument", optarg);
	}
	if (o->command == NULL)
		bad_usage("no command.", NULL);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(o->command, commands[i].name) == 0) {
			check_options(o);
			return &commands[i];
		}
	}
	bad_usage("unknown command", o->command);
}

static void make_request(const struct options *o, char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, "%s%s%s", o->what != NULL ? o->what : "",
		o->what != NULL ? "-" : "", o->command);

	if (strcmp(o->command, "connections") == 0) {
		long limit = o->limit >= 0 ? o->limit : o->json ? 0 : LIMIT_STANDARD;

		n += (size_t)snprintf(out + n, size - n, " limit=%ld", limit);
		if (o->where != NULL && n < size)
			n += (size_t)snprintf(out + n, size - n, " where=%s", o->where);
	}
	if (o->nf != NULL && n < size)
		n += (size_t)snprintf(out + n, size - n, " nf=%s", o->nf);
	if (o->worker >= 0 && n < size)
		n += (size_t)snprintf(out + n, size - n, " worker=%d", o->worker);
	if (o->check && n < size)
		n += (size_t)snprintf(out + n, size - n, " check=1");
	if (n >= size)
		bad_usage("the request is too long.", NULL);
}

// What an answer says of itself: an error, or nothing.
static int answer_code(const json_t *answer)
{
	const char *error = json_string_value(json_object_get(answer, "error"));

	if (error == NULL)
		return EXIT_OK;
	failed(error);
	return json_is_true(json_object_get(answer, "usage")) ? EXIT_USAGE : EXIT_FAILED;
}

// ---- Connections: an answer in pages ----

static void print_rows(struct table *t, json_t *rows, bool json, bool *any)
{
	const json_t *row;
	size_t i;

	if (!json) {
		table_rows(stdout, t, rows);
	} else {
		json_array_foreach(rows, i, row)
		{
			json_t *one = table_select(row, t->columns);

			fputs(*any ? ",\n" : "\n", stdout);
			json_dumpf(one, stdout, JSON_COMPACT);
			json_decref(one);
			*any = true;
		}
	}
	json_array_clear(rows);
}

static int show_connections(struct client *c, const struct options *o)
{
	struct table t = {.columns = view_connections.columns};
	json_t *rows = json_array();
	bool more = true, any = false;
	size_t total = 0;
	int code = EXIT_OK;
	char err[256];

	while (more && code == EXIT_OK) {
		json_t *answer = client_next(c, err, sizeof(err));
		json_t *page = json_object_get(answer, "connections");

		code = answer != NULL ? answer_code(answer) : failed(err);
		// Nothing is printed for a request that was refused.
		if (code == EXIT_OK && o->json && total == 0 && !t.headed)
			fputs("{\"connections\":[", stdout);
		t.headed |= o->json;
		more = json_is_true(json_object_get(answer, "more"));
		total += json_array_size(page);
		json_array_extend(rows, page);
		if (code == EXIT_OK && (!more || json_array_size(rows) >= BATCH))
			print_rows(&t, rows, o->json, &any);
		json_decref(answer);
	}
	if (o->json && code == EXIT_OK)
		fputs("\n]}\n", stdout);
	if (!o->json && code == EXIT_OK && o->limit < 0 && total == LIMIT_STANDARD)
		printf("(the first %d; --limit 0 shows all)\n", LIMIT_STANDARD);
	json_decref(rows);
	return code;
}

// ---- Counters, once or watched ----

static void drop_zeros(json_t *answer)
{
	json_t *rows = json_object_get(answer, "counters");

	for (size_t i = json_array_size(rows); i-- > 0;)
		if (json_integer_value(json_object_get(json_array_get(rows, i), "value")) == 0)
			json_array_remove(rows, i);
}

static void add_rates(json_t *answer, const json_t *before, double elapsed_s)
{
	const json_t *old_rows = json_object_get(before, "counters");
	json_t *row;
	size_t i;

	json_array_foreach(json_object_get(answer, "counters"), i, row)
	{
		const json_t *old = json_array_get(old_rows, i);
		json_int_t was = json_integer_value(json_object_get(old, "value"));
		json_int_t is = json_integer_value(json_object_get(row, "value"));

		json_object_set_new(row, "per_second",
			old == NULL ? json_null() : json_real((double)(is - was) / elapsed_s));
	}
}

static void print_answer(const struct options *o, const struct view *v, json_t *answer)
{
	if (o->json) {
		json_t *shown = view_json(v, answer);

		json_dumpf(shown, stdout, o->watch_s > 0 ? JSON_COMPACT : JSON_INDENT(2));
		fputc('\n', stdout);
		json_decref(shown);
		return;
	}
	if (v->rows != NULL && strcmp(v->rows, "counters") == 0 && !o->all)
		drop_zeros(answer);
	view_table(stdout, v, answer);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static json_t *ask_once(const char *path, const char *request, int *code)
{
	struct client c = {0};
	char err[512];
	json_t *answer = NULL;

	*code = EXIT_FAILED;
	if (client_ask(&c, path, request, err, sizeof(err)) == 0)
		answer = client_next(&c, err, sizeof(err));
	if (answer == NULL)
		failed(err);
	else
		*code = answer_code(answer);
	client_close(&c);
	return answer;
}

static int watch(const char *path, const char *request, const struct options *o)
{
	struct timespec pause = {.tv_sec = (time_t)o->watch_s};
	json_t *before = NULL;
	double last_s = now_s();
	int code;

	pause.tv_nsec = (long)((o->watch_s - (double)pause.tv_sec) * 1e9);
	for (;;) {
		json_t *answer = ask_once(path, request, &code);
		json_t *copy;
		double s = now_s();

		if (code != EXIT_OK) {
			json_decref(answer);
			break;
		}
		copy = json_deep_copy(answer);
		add_rates(answer, before, s - last_s);
		json_decref(before);
		before = copy;
		last_s = s;
		if (!o->json && isatty(STDOUT_FILENO))
			fputs("\033[H\033[2J", stdout);
		print_answer(o, &view_rates, answer);
		json_decref(answer);
		if (fflush(stdout) != 0)
			break;
		nanosleep(&pause, NULL);
	}
	json_decref(before);
	return code;
}

// Asks until the drain is done; shows the last answer.
static int wait_drained(const char *path, const struct options *o)
{
	const struct timespec pause = {.tv_nsec = WAIT_POLL_MS * 1000000L};
	double end_s = now_s() + o->wait_s;
	char last[300] = "", line[300];
	int code;

	for (;;) {
		// To drain once more changes nothing.
		json_t *answer = ask_once(path, "drain", &code);
		const char *phase = json_string_value(json_object_get(answer, "phase"));
		bool drained = phase != NULL && strcmp(phase, "drained") == 0;

		if (code != EXIT_OK || drained || now_s() >= end_s) {
			if (code == EXIT_OK)
				print_answer(o, &view_drain, answer);
			progress_line(answer, line, sizeof(line));
			json_decref(answer);
			if (code == EXIT_OK && !drained) {
				fprintf(stderr, "tripodctl: not drained yet; it goes on. %s\n",
					line);
				code = EXIT_FAILED;
			}
			return code;
		}
		progress_line(answer, line, sizeof(line));
		if (!o->json && strcmp(line, last) != 0)
			fprintf(stderr, "%s\n", line);
		snprintf(last, sizeof(last), "%s", line);
		json_decref(answer);
		nanosleep(&pause, NULL);
	}
}

int main(int argc, char **argv)
{
	struct options o = {0};
	const struct command *command = parse(argc, argv, &o);
	char path[256], request[1000], err[512];
	int code;

	if (client_path(
		    o.socket, o.node, CLIENT_SOCKET_DIR, path, sizeof(path), err, sizeof(err)) != 0)
		return failed(err);
	make_request(&o, request, sizeof(request));
	if (o.watch_s > 0)
		return watch(path, request, &o);
	if (o.wait_s > 0) {
		code = wait_drained(path, &o);
		return fflush(stdout) == 0 ? code : EXIT_FAILED;
	}
	if (command->view == &view_connections) {
		struct client c;

		if (client_ask(&c, path, request, err, sizeof(err)) != 0)
			return failed(err);
		code = show_connections(&c, &o);
		client_close(&c);
	} else {
		json_t *answer = ask_once(path, request, &code);

		if (code == EXIT_OK)
			print_answer(&o, command->view, answer);
		json_decref(answer);
	}
	return fflush(stdout) == 0 ? code : EXIT_FAILED;
}
