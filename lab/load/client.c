// SPDX-License-Identifier: BSD-3-Clause
// Many long-lived connections, each of which sends a small message at a fixed interval, checks every
// byte that comes back, and remembers its longest stall and how it ended.
#include "load.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "loop.h"
#include "stream.h"
#include "tally.h"

static const char usage[] =
	"usage: tripod-load client --connect ADDRESS:PORT[-LAST]... [OPTION...]\n"
	"\n"
	"  --connections N    connections, spread evenly over the targets (100)\n"
	"  --rate N           connections opened a second (200)\n"
	"  --interval-ms N    time between two messages of a connection (100)\n"
	"  --bytes N          bytes of a message, 1 to 16384 (200)\n"
	"  --duration-ms N    stop after so long; else when told to\n"
	"  --dead-ms N        a connection without progress for so long is broken (5000)\n"
	"  --report-ms N      time between two lines on standard output (1000)\n"
	"  --output FILE      the result, with every connection (else without, on standard "
	"output)\n"
	"\n"
	"Lines on standard input: \"mark\" starts the window in which stalls are measured; "
	"\"stop\".\n"
	"A stall is the time for which bytes were owed to a connection and none came.\n"
	"Exits 1 if a connection broke.\n";

#define MESSAGE_MAX 16384
#define OWED_MAX (1u << 18) // bytes without an answer, above which a connection sends no more
#define GRAIN_NS (4 * NS_PER_MS) // work that is due within it is done at once
#define STALLED_NS (250 * NS_PER_MS) // without progress for so long: counted in the live line

enum state { IDLE, CONNECTING, OPEN, CONNECT_FAILED, CLOSED, BROKEN };
static const char *const state_names[] = {
	"idle", "connecting", "open", "connect failed", "closed", "broken"};

enum fault { NONE, RESET, ENDED, WRONG_BYTES, NO_PROGRESS, FAULTS };
static const char *const fault_names[FAULTS] = {
	"", "reset", "closed by peer", "wrong bytes", "no progress"};

struct conn {
	struct watch w;
	enum state state;
	enum fault fault;
	int error; // errno that ended it
	bool greeted;
	union endpoint local, remote;
	uint64_t seed;
	uint64_t sent, received; // bytes of the streams
	uint64_t started_ns, opened_ns, ended_ns;
	uint64_t waiting_ns; // since when bytes are owed without progress; 0: none are
	uint64_t stall_ns; // longest since the mark
};

static struct {
	unsigned connections, rate, interval_ms, bytes, duration_ms, dead_ms, report_ms;
	const char *output;
	struct targets targets;
} conf = {100, 200, 100, 200, 0, 5000, 1000, NULL, {0}};

static struct conn *conns;
static uint64_t start_ns, mark_ns, next_slot, next_report_ns;
static unsigned n_started, count[BROKEN + 1], faults[FAULTS];
static uint64_t bytes, bytes_reported, messages_held;
static bool draining, finished;

static void enter(struct conn *c, enum state state)
{
	count[c->state]--;
	c->state = state;
	count[state]++;
}

static void stall_seen(struct conn *c, uint64_t now_ns)
{
	if (!c->waiting_ns)
		return;
	uint64_t from_ns = c->waiting_ns > mark_ns ? c->waiting_ns : mark_ns;
	if (now_ns > from_ns && now_ns - from_ns > c->stall_ns)
		c->stall_ns = now_ns - from_ns;
}

static void broke(struct loop *l, struct conn *c, enum fault fault, int error)
{
	stall_seen(c, l->now_ns);
	c->fault = fault;
	c->error = error;
	c->ended_ns = l->now_ns;
	faults[fault]++;
	enter(c, BROKEN);
	loop_drop(&c->w, fault == WRONG_BYTES || fault == NO_PROGRESS);
}

static void connect_failed(struct loop *l, struct conn *c, int error)
{
	c->error = error;
	c->ended_ns = l->now_ns;
	enter(c, CONNECT_FAILED);
	loop_drop(&c->w, false);
}

// Sends the next message, as far as the socket takes it: the bytes are a stream, the rest follows.
static void send_message(struct loop *l, struct conn *c)
{
	uint8_t piece[sizeof(struct hello) + MESSAGE_MAX];
	size_t len = 0;
	if (c->sent - c->received > OWED_MAX) {
		messages_held++;
		return;
	}
	if (!c->greeted) {
		struct hello hello = {.magic = HELLO_MAGIC, .seed = c->seed};
		memcpy(piece, &hello, sizeof(hello));
		len = sizeof(hello);
	}
	stream_fill(c->seed, c->sent, piece + len, conf.bytes);
	ssize_t n = send(c->w.fd, piece, len + conf.bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0) {
		if (errno == EAGAIN)
			messages_held++;
		else
			broke(l, c, RESET, errno);
		return;
	}
	// The buffer of a fresh socket has room for more than a hello.
	if ((size_t)n < len) {
		broke(l, c, RESET, ENOBUFS);
		return;
	}
	c->greeted = true;
	c->sent += (uint64_t)n - len;
	if (!c->waiting_ns)
		c->waiting_ns = l->now_ns;
}

static void receive(struct loop *l, struct conn *c)
{
	uint8_t piece[65536];
	ssize_t n = recv(c->w.fd, piece, sizeof(piece), MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN)
			broke(l, c, RESET, errno);
		return;
	}
	if (n == 0) {
		broke(l, c, ENDED, 0);
		return;
	}
	size_t good = stream_match(stream_answer(c->seed), c->received, piece, (size_t)n);
	if (good < (size_t)n || c->received + good > c->sent) {
		broke(l, c, WRONG_BYTES, 0);
		return;
	}
	stall_seen(c, l->now_ns);
	c->received += good;
	bytes += good;
	c->waiting_ns = c->received < c->sent ? l->now_ns : 0;
}

static void conn_ready(struct loop *l, struct watch *w, uint32_t events)
{
	struct conn *c = (struct conn *)w;
	if (c->state != CONNECTING) {
		receive(l, c);
		return;
	}
	int error = 0;
	socklen_t size = sizeof(error);
	getsockopt(c->w.fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error) {
		connect_failed(l, c, error);
		return;
	}
	c->local = endpoint_local(c->w.fd);
	c->opened_ns = l->now_ns;
	enter(c, OPEN);
	loop_set(l, &c->w, EPOLLIN);
}

static void open_conn(struct loop *l, struct conn *c)
{
	int on = 1;
	c->started_ns = l->now_ns;
	enter(c, CONNECTING);
	c->w = (struct watch){conn_ready,
		socket(c->remote.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
	if (c->w.fd < 0) {
		connect_failed(l, c, errno);
		return;
	}
	setsockopt(c->w.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->w.fd, &c->remote.any, endpoint_size(&c->remote)) < 0 &&
		errno != EINPROGRESS) {
		connect_failed(l, c, errno);
		return;
	}
	c->local = endpoint_local(c->w.fd);
	if (!loop_add(l, &c->w, EPOLLIN | EPOLLOUT))
		connect_failed(l, c, errno);
}

// What a connection does once in each interval.
static void turn(struct loop *l, struct conn *c)
{
	uint64_t dead_ns = conf.dead_ms * NS_PER_MS;
	if (c->state == CONNECTING && l->now_ns - c->started_ns > dead_ns)
		connect_failed(l, c, ETIMEDOUT);
	if (c->state != OPEN)
		return;
	if (c->waiting_ns && l->now_ns - c->waiting_ns > dead_ns)
		broke(l, c, NO_PROGRESS, 0);
	else if (!draining)
		send_message(l, c);
}

static unsigned count_stalled(uint64_t now_ns)
{
	unsigned n = 0;
	for (unsigned i = 0; i < n_started; i++) {
		const struct conn *c = &conns[i];
		n += c->state == OPEN && c->waiting_ns && now_ns - c->waiting_ns > STALLED_NS;
	}
	return n;
}

static void report(struct loop *l)
{
	double seconds = conf.report_ms / 1e3;
	printf("{\"t\": %.3f, \"open\": %u, \"connecting\": %u, \"connect_failed\": %u, "
	       "\"broken\": %u, \"stalled\": %u, \"bytes\": %" PRIu64 ", \"bytes_per_s\": %.0f}\n",
		(double)l->now_ns / NS_PER_S, count[OPEN], count[CONNECTING], count[CONNECT_FAILED],
		count[BROKEN], count_stalled(l->now_ns), bytes,
		(double)(bytes - bytes_reported) / seconds);
	bytes_reported = bytes;
}

static bool all_answered(void)
{
	for (unsigned i = 0; i < n_started; i++) {
		if (conns[i].state == OPEN && conns[i].received < conns[i].sent)
			return false;
	}
	return true;
}

static uint64_t tick(struct loop *l)
{
	uint64_t elapsed_ns = l->now_ns - start_ns;
	while (!draining && n_started < conf.connections &&
		elapsed_ns / 1000 * conf.rate >= (uint64_t)n_started * 1000000)
		open_conn(l, &conns[n_started++]);
	// Slot s is the turn of connection s % N; the slots of one interval are spread over it.
	uint64_t interval_ns = conf.interval_ms * NS_PER_MS;
	uint64_t due = elapsed_ns * conf.connections / interval_ns;
	if (due - next_slot > conf.connections)
		next_slot = due - conf.connections; // behind: nobody sends twice to catch up
	for (; next_slot < due; next_slot++)
		turn(l, &conns[next_slot % conf.connections]);
	if (l->now_ns >= next_report_ns) {
		report(l);
		next_report_ns += conf.report_ms * NS_PER_MS;
		if (next_report_ns < l->now_ns)
			next_report_ns = l->now_ns;
	}
	if (conf.duration_ms && !draining && elapsed_ns >= conf.duration_ms * NS_PER_MS)
		l->stop = true;
	if (draining && all_answered())
		finished = true;
	return l->now_ns + GRAIN_NS;
}

static void command(struct loop *l, const char *line)
{
	if (strcmp(line, "mark") != 0)
		return;
	mark_ns = l->now_ns;
	for (unsigned i = 0; i < conf.connections; i++)
		conns[i].stall_ns = 0;
	printf("{\"event\": \"mark\", \"t\": %.3f}\n", (double)l->now_ns / NS_PER_S);
}

static void print_conn(FILE *to, const struct conn *c)
{
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];
	fprintf(to,
		"{\"local\": \"%s\", \"remote\": \"%s\", \"state\": \"%s\", \"fault\": \"%s\", "
		"\"error\": \"%s\", \"opened_t\": %.6f, \"ended_t\": %.6f, \"bytes\": %" PRIu64
		", \"owed\": %" PRIu64 ", \"stall_ms\": %.3f}",
		endpoint_text(&c->local, local), endpoint_text(&c->remote, remote),
		state_names[c->state], fault_names[c->fault], c->error ? strerror(c->error) : "",
		(double)c->opened_ns / NS_PER_S, (double)c->ended_ns / NS_PER_S, c->received,
		c->sent - c->received, (double)c->stall_ns / NS_PER_MS);
}

static void print_result(FILE *to, struct loop *l, bool all)
{
	struct tally stalls = {0};
	unsigned opened = 0;
	uint64_t owed = 0;
	for (unsigned i = 0; i < n_started; i++) {
		if (!conns[i].opened_ns)
			continue;
		opened++;
		owed += conns[i].state == OPEN ? conns[i].sent - conns[i].received : 0;
		if (!tally_add(&stalls, conns[i].stall_ns))
			err(1, "result");
	}
	fprintf(to,
		"{\"final\": true, \"t\": %.3f, \"wanted\": %u, \"opened\": %u, \"open\": %u, "
		"\"connect_failed\": %u, \"broken\": %u, \"reset\": %u, \"closed_by_peer\": %u, "
		"\"wrong_bytes\": %u, \"no_progress\": %u, \"bytes\": %" PRIu64
		", \"owed\": %" PRIu64 ", \"messages_held\": %" PRIu64
		", \"stall_ms\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}",
		(double)l->now_ns / NS_PER_S, conf.connections, opened, count[OPEN],
		count[CONNECT_FAILED] + count[CONNECTING], count[BROKEN], faults[RESET],
		faults[ENDED], faults[WRONG_BYTES], faults[NO_PROGRESS], bytes, owed, messages_held,
		(double)tally_percentile_ns(&stalls, 50) / NS_PER_MS,
		(double)tally_percentile_ns(&stalls, 99) / NS_PER_MS,
		(double)tally_percentile_ns(&stalls, 100) / NS_PER_MS);
	tally_free(&stalls);
	if (all) {
		fprintf(to, ", \"connections\": [");
		for (unsigned i = 0; i < n_started; i++) {
			fputs(i ? ",\n" : "\n", to);
			print_conn(to, &conns[i]);
		}
		fputs("]", to);
	}
	fputs("}\n", to);
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"connect", required_argument, NULL, 'c'},
		{"connections", required_argument, NULL, 'n'},
		{"rate", required_argument, NULL, 'r'},
		{"interval-ms", required_argument, NULL, 'i'},
		{"bytes", required_argument, NULL, 'b'},
		{"duration-ms", required_argument, NULL, 'd'},
		{"dead-ms", required_argument, NULL, 'x'},
		{"report-ms", required_argument, NULL, 'p'},
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, at = 0;
	while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
		const char *name = options[at].name;
		if (c == 'h')
			load_usage(usage, 0);
		else if (c == 'c' && !targets_add(&conf.targets, optarg))
			errx(2, "--connect: '%s' is not ADDRESS:PORT[-LAST]", optarg);
		else if (c == 'n')
			conf.connections = (unsigned)load_number(name, optarg, 1, 1000000);
		else if (c == 'r')
			conf.rate = (unsigned)load_number(name, optarg, 1, 1000000);
		else if (c == 'i')
			conf.interval_ms = (unsigned)load_number(name, optarg, 1, 3600000);
		else if (c == 'b')
			conf.bytes = (unsigned)load_number(name, optarg, 1, MESSAGE_MAX);
		else if (c == 'd')
			conf.duration_ms = (unsigned)load_number(name, optarg, 1, 86400000);
		else if (c == 'x')
			conf.dead_ms = (unsigned)load_number(name, optarg, 1, 3600000);
		else if (c == 'p')
			conf.report_ms = (unsigned)load_number(name, optarg, 10, 3600000);
		else if (c == 'o')
			conf.output = optarg;
		else if (c == '?')
			load_usage(usage, 2);
	}
	if (!conf.targets.n || optind < argc)
		load_usage(usage, 2);
}

// Lets what is under way arrive, so that the end itself looks like no fault.
static void drain(struct loop *l)
{
	draining = true;
	l->stop = false;
	loop_run(l, &finished);
	for (unsigned i = 0; i < n_started; i++) {
		if (conns[i].state == OPEN)
			stall_seen(&conns[i], l->now_ns);
	}
}

int client_main(int argc, char **argv)
{
	uint64_t seed;
	parse_options(argc, argv);
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		err(1, "seed");
	conns = calloc(conf.connections, sizeof(*conns));
	if (!conns)
		err(1, "connections");
	for (unsigned i = 0; i < conf.connections; i++) {
		conns[i].w.fd = -1;
		conns[i].seed = stream_mix(seed + i);
		conns[i].remote = conf.targets.at[i % conf.targets.n];
	}
	count[IDLE] = conf.connections;
	struct loop l = {.tick = tick, .command = command};
	loop_init(&l);
	start_ns = mark_ns = next_report_ns = l.now_ns;
	loop_run(&l, &finished);
	drain(&l);
	FILE *to = conf.output ? fopen(conf.output, "w") : NULL;
	if (conf.output && !to)
		err(1, "%s", conf.output);
	if (to) {
		print_result(to, &l, true);
		if (fclose(to) != 0)
			err(1, "%s", conf.output);
	}
	print_result(stdout, &l, false);
	for (unsigned i = 0; i < n_started; i++)
		loop_drop(&conns[i].w, false);
	loop_close(&l);
	free(conns);
	free(conf.targets.at);
	return count[BROKEN] ? 1 : 0;
}
