// SPDX-License-Identifier: BSD-3-Clause
// Short requests, each over a connection of its own, at a fixed rate; every byte of every answer is
// checked. The body must be what `tripod-load body` writes for the same seed and size.
#include "load.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop.h"
#include "stream.h"
#include "tally.h"

static const char usage[] =
	"usage: tripod-load http --connect ADDRESS:PORT... --size BYTES [OPTION...]\n"
	"\n"
	"  --path PATH        what to ask for (/)\n"
	"  --size BYTES       of the body that must come back\n"
	"  --seed N           of that body (1)\n"
	"  --rate N           requests a second (50)\n"
	"  --timeout-ms N     a request that takes longer has failed (5000)\n"
	"  --duration-ms N    stop after so long; else when told to\n"
	"  --report-ms N      time between two lines on standard output (1000)\n"
	"\n"
	"Exits 1 if a request failed.\n";

#define HEAD_MAX 4096
#define REQUESTS_MAX 1024 // under way at one time
#define GRAIN_NS (4 * NS_PER_MS)

enum fault { CONNECT, TIMEOUT, RESET, STATUS, BODY, BUSY, FAULTS };
static const char *const fault_names[FAULTS] = {
	"connect", "timeout", "reset", "status", "body", "busy"};

struct request {
	struct watch w; // w.fd < 0: free
	bool connected, in_body;
	size_t head_len;
	uint64_t body_len, started_ns;
	char head[HEAD_MAX];
};

static struct {
	unsigned rate, timeout_ms, duration_ms, report_ms;
	uint64_t size, seed;
	const char *path;
	struct targets targets;
} conf = {50, 5000, 0, 1000, 0, 1, "/", {0}};

static struct request *requests;
static struct tally latency;
static uint64_t start_ns, next_report_ns, n_started, n_ok, n_failed, bytes, bytes_reported;
static uint64_t faults[FAULTS];
static unsigned n_running;
static bool draining, finished;

static void fail(struct loop *l, struct request *r, enum fault fault)
{
	faults[fault]++;
	n_failed++;
	if (r) {
		printf("{\"event\": \"failed\", \"t\": %.3f, \"fault\": \"%s\"}\n",
			(double)l->now_ns / NS_PER_S, fault_names[fault]);
		loop_drop(&r->w, true);
		n_running--;
	}
}

static void succeed(struct loop *l, struct request *r)
{
	n_ok++;
	if (!tally_add(&latency, l->now_ns - r->started_ns))
		err(1, "latency");
	loop_drop(&r->w, false);
	n_running--;
}

static void body(struct loop *l, struct request *r, const uint8_t *data, size_t len)
{
	size_t good = stream_match(conf.seed, r->body_len, data, len);
	r->body_len += good;
	bytes += good;
	if (good < len || r->body_len > conf.size)
		fail(l, r, BODY);
}

// The end of the head, if it is there.
static void head(struct loop *l, struct request *r, const uint8_t *data, size_t len)
{
	size_t room = HEAD_MAX - 1 - r->head_len;
	size_t n = len < room ? len : room;
	size_t before = r->head_len;
	memcpy(r->head + r->head_len, data, n);
	r->head_len += n;
	r->head[r->head_len] = '\0';
	const char *end = memmem(r->head, r->head_len, "\r\n\r\n", 4);
	if (!end) {
		if (r->head_len == HEAD_MAX - 1)
			fail(l, r, STATUS);
		return;
	}
	if (strncmp(r->head, "HTTP/1.1 200 ", 13) != 0) {
		fail(l, r, STATUS);
		return;
	}
	r->in_body = true;
	size_t used = (size_t)(end + 4 - r->head) - before;
	body(l, r, data + used, len - used);
}

static void send_request(struct loop *l, struct request *r)
{
	char text[1024];
	int error = 0;
	socklen_t size = sizeof(error);
	getsockopt(r->w.fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error) {
		fail(l, r, CONNECT);
		return;
	}
	r->connected = true;
	loop_set(l, &r->w, EPOLLIN);
	int len = snprintf(text, sizeof(text),
		"GET %s HTTP/1.1\r\nHost: tripod\r\nConnection: close\r\n\r\n", conf.path);
	if (send(r->w.fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len)
		fail(l, r, RESET);
}

static void request_ready(struct loop *l, struct watch *w, uint32_t events)
{
	struct request *r = (struct request *)w;
	uint8_t piece[65536];
	if (!r->connected) {
		send_request(l, r);
		return;
	}
	ssize_t n = recv(r->w.fd, piece, sizeof(piece), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		fail(l, r, RESET);
	else if (n == 0 && r->in_body && r->body_len == conf.size)
		succeed(l, r);
	else if (n == 0)
		fail(l, r, BODY);
	else if (r->in_body)
		body(l, r, piece, (size_t)n);
	else
		head(l, r, piece, (size_t)n);
}

static void start_request(struct loop *l)
{
	struct request *r = requests;
	const union endpoint *to = &conf.targets.at[n_started % conf.targets.n];
	n_started++;
	while (r < requests + REQUESTS_MAX && r->w.fd >= 0)
		r++;
	if (r == requests + REQUESTS_MAX) {
		fail(l, NULL, BUSY);
		return;
	}
	r->connected = r->in_body = false;
	r->head_len = 0;
	r->body_len = 0;
	r->started_ns = l->now_ns;
	r->w = (struct watch){request_ready,
		socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
	n_running++;
	if (r->w.fd < 0 ||
		(connect(r->w.fd, &to->any, endpoint_size(to)) < 0 && errno != EINPROGRESS) ||
		!loop_add(l, &r->w, EPOLLOUT))
		fail(l, r, CONNECT);
}

static uint64_t tick(struct loop *l)
{
	uint64_t elapsed_ns = l->now_ns - start_ns;
	while (!draining && elapsed_ns / 1000 * conf.rate >= n_started * 1000000)
		start_request(l);
	for (struct request *r = requests; n_running && r < requests + REQUESTS_MAX; r++) {
		if (r->w.fd >= 0 && l->now_ns - r->started_ns > conf.timeout_ms * NS_PER_MS)
			fail(l, r, TIMEOUT);
	}
	if (l->now_ns >= next_report_ns) {
		printf("{\"t\": %.3f, \"started\": %" PRIu64 ", \"ok\": %" PRIu64
		       ", \"errors\": %" PRIu64 ", \"bytes\": %" PRIu64
		       ", \"bytes_per_s\": %.0f}\n",
			(double)l->now_ns / NS_PER_S, n_started, n_ok, n_failed, bytes,
			(double)(bytes - bytes_reported) * 1e3 / conf.report_ms);
		bytes_reported = bytes;
		next_report_ns = l->now_ns + conf.report_ms * NS_PER_MS;
	}
	if (conf.duration_ms && !draining && elapsed_ns >= conf.duration_ms * NS_PER_MS)
		l->stop = true;
	finished = draining && !n_running;
	return l->now_ns + GRAIN_NS;
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"connect", required_argument, NULL, 'c'},
		{"path", required_argument, NULL, 'a'},
		{"size", required_argument, NULL, 'z'},
		{"seed", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 'r'},
		{"timeout-ms", required_argument, NULL, 't'},
		{"duration-ms", required_argument, NULL, 'd'},
		{"report-ms", required_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, at = 0;
	while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
		const char *name = options[at].name;
		if (c == 'h')
			load_usage(usage, 0);
		else if (c == 'c' && !targets_add(&conf.targets, optarg))
			errx(2, "--connect: '%s' is not ADDRESS:PORT", optarg);
		else if (c == 'a')
			conf.path = optarg;
		else if (c == 'z')
			conf.size = load_number(name, optarg, 1, UINT64_C(1) << 40);
		else if (c == 's')
			conf.seed = load_number(name, optarg, 0, UINT64_MAX);
		else if (c == 'r')
			conf.rate = (unsigned)load_number(name, optarg, 1, 100000);
		else if (c == 't')
			conf.timeout_ms = (unsigned)load_number(name, optarg, 1, 3600000);
		else if (c == 'd')
			conf.duration_ms = (unsigned)load_number(name, optarg, 1, 86400000);
		else if (c == 'p')
			conf.report_ms = (unsigned)load_number(name, optarg, 10, 3600000);
		else if (c == '?')
			load_usage(usage, 2);
	}
	if (!conf.targets.n || !conf.size || optind < argc || strlen(conf.path) > 512)
		load_usage(usage, 2);
}

static void print_result(struct loop *l)
{
	printf("{\"final\": true, \"t\": %.3f, \"started\": %" PRIu64 ", \"ok\": %" PRIu64
	       ", \"errors\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"faults\": {",
		(double)l->now_ns / NS_PER_S, n_started, n_ok, n_failed, bytes);
	for (unsigned i = 0; i < FAULTS; i++)
		printf("%s\"%s\": %" PRIu64, i ? ", " : "", fault_names[i], faults[i]);
	printf("}, \"latency_ms\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}}\n",
		(double)tally_percentile_ns(&latency, 50) / NS_PER_MS,
		(double)tally_percentile_ns(&latency, 99) / NS_PER_MS,
		(double)tally_percentile_ns(&latency, 100) / NS_PER_MS);
}

int http_main(int argc, char **argv)
{
	parse_options(argc, argv);
	requests = calloc(REQUESTS_MAX, sizeof(*requests));
	if (!requests)
		err(1, "requests");
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		requests[i].w.fd = -1;
	struct loop l = {.tick = tick};
	loop_init(&l);
	start_ns = next_report_ns = l.now_ns;
	loop_run(&l, &finished);
	// Those under way end by themselves, or by their time-out.
	draining = true;
	l.stop = false;
	loop_run(&l, &finished);
	print_result(&l);
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		loop_drop(&requests[i].w, false);
	loop_close(&l);
	tally_free(&latency);
	free(requests);
	free(conf.targets.at);
	return n_failed ? 1 : 0;
}
