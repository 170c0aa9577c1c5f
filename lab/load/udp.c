// SPDX-License-Identifier: BSD-3-Clause
// Numbered datagrams in both directions over many flows: what was lost on the way, each way, and the
// longest time without one.
//
// Both ends send at the same fixed rate, whether anything arrives or not, so that an outage loses as
// many datagrams as the rate says. Each end counts what it received; at the end the sender asks for
// the other's count.
#include "load.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "loop.h"
#include "stream.h"

static const char usage[] =
	"usage: tripod-load udp --listen ADDRESS:PORT[-LAST]...\n"
	"       tripod-load udp --connect ADDRESS:PORT[-LAST]... [OPTION...]\n"
	"\n"
	"  --flows N          source ports, over which the datagrams are spread (50)\n"
	"  --rate N           datagrams a second, each way, over all flows (1000)\n"
	"  --duration-ms N    stop after so long; else when told to\n"
	"  --report-ms N      time between two lines on standard output (1000)\n"
	"\n"
	"Exits 1 if a datagram was lost.\n";

#define FLOWS_MAX 4096
#define GRAIN_NS (1 * NS_PER_MS)
#define SETTLE_NS (100 * NS_PER_MS) // what is under way may arrive before the counts are taken
#define ASK_NS (50 * NS_PER_MS)
#define GIVE_UP_NS (5 * NS_PER_S) // whoever answers may have to wait for a core
#define FORGET_NS (10 * NS_PER_S) // the listening side: a sender not heard for so long is gone

enum kind { DATA = 1, ASK, ANSWER };

// In the byte order of the machine: both ends are on one.
struct datagram {
	uint32_t magic, kind;
	uint64_t flow; // a number that the sender drew
	uint64_t sequence; // of this direction, from 0
	uint64_t sent, received; // by who sends this, so far
	uint32_t interval_us; // in which the other side is to send
	uint32_t gap_us; // longest time between two arrivals at who sends this
	uint8_t padding[48];
};
#define MAGIC 0x74726970
_Static_assert(sizeof(struct datagram) == 96, "96 bytes on the wire");

// One end of a flow.
struct flow {
	struct watch w; // of the sender; the listening side has one for all
	uint64_t id;
	int fd;
	union endpoint peer;
	uint64_t sent, received, doubled, moved;
	uint64_t highest, recent; // sequence numbers seen: bit i of recent is highest - i
	uint64_t heard_ns, next_ns, interval_ns, gap_ns;
	uint64_t peer_sent, peer_received, peer_gap_us; // as last told
	bool answered, stopped;
};

struct socket {
	struct watch w;
};

static struct {
	unsigned flows, rate, duration_ms, report_ms;
	struct targets connect, listen;
} conf = {50, 1000, 0, 1000, {0}, {0}};

static struct flow *flows;
static unsigned n_flows;
static uint64_t start_ns, next_report_ns, drain_ns, asked_ns;
static bool draining, finished;

static void send_one(struct flow *f, enum kind kind)
{
	struct datagram d = {
		.magic = MAGIC,
		.kind = kind,
		.flow = f->id,
		.sequence = f->sent,
		.sent = f->sent + (kind == DATA),
		.received = f->received,
		.interval_us = (uint32_t)(f->interval_ns / 1000),
		.gap_us = (uint32_t)(f->gap_ns / 1000),
	};
	// What the own stack refuses (a full queue, an ICMP error that is due) was never sent.
	ssize_t n =
		sendto(f->fd, &d, sizeof(d), MSG_DONTWAIT, &f->peer.any, endpoint_size(&f->peer));
	if (n == sizeof(d) && kind == DATA)
		f->sent++;
}

// False: this datagram came before.
static bool first_time(struct flow *f, uint64_t sequence)
{
	if (f->received == 0 || sequence > f->highest) {
		uint64_t step = f->received ? sequence - f->highest : 64;
		f->recent = step < 64 ? f->recent << step | 1 : 1;
		f->highest = sequence;
		return true;
	}
	uint64_t age = f->highest - sequence;
	if (age >= 64)
		return true;
	if (f->recent >> age & 1)
		return false;
	f->recent |= UINT64_C(1) << age;
	return true;
}

static void arrived(struct loop *l, struct flow *f, const struct datagram *d)
{
	if (d->sent > f->peer_sent)
		f->peer_sent = d->sent;
	if (d->received > f->peer_received)
		f->peer_received = d->received;
	f->peer_gap_us = d->gap_us;
	if (d->kind != DATA) {
		f->heard_ns = l->now_ns;
		return;
	}
	if (!first_time(f, d->sequence)) {
		f->doubled++;
		return;
	}
	if (f->received && l->now_ns - f->heard_ns > f->gap_ns)
		f->gap_ns = l->now_ns - f->heard_ns;
	f->heard_ns = l->now_ns;
	f->received++;
}

static bool same_endpoint(const union endpoint *a, const union endpoint *b)
{
	return a->any.sa_family == b->any.sa_family && memcmp(a, b, endpoint_size(a)) == 0;
}

// The listening side's end of the flow that d belongs to; NULL: no room for another.
static struct flow *find_flow(struct loop *l, const struct datagram *d)
{
	struct flow *unused = NULL;
	for (unsigned i = 0; i < n_flows; i++) {
		if (flows[i].id == d->flow)
			return &flows[i];
		if (l->now_ns - flows[i].heard_ns > FORGET_NS)
			unused = &flows[i];
	}
	if (!unused && n_flows < FLOWS_MAX)
		unused = &flows[n_flows++];
	if (unused)
		*unused = (struct flow){.id = d->flow, .next_ns = l->now_ns};
	return unused;
}

static bool receive(int fd, struct datagram *d, union endpoint *from)
{
	socklen_t size = sizeof(*from);
	memset(from, 0, sizeof(*from));
	for (;;) {
		ssize_t n =
			recvfrom(fd, d, sizeof(*d), MSG_DONTWAIT | MSG_TRUNC, &from->any, &size);
		if (n == sizeof(*d) && d->magic == MAGIC)
			return true;
		// An ICMP error is told once, and of no interest: the datagram counts as lost.
		if (n < 0 && errno == EAGAIN)
			return false;
	}
}

static void listener_ready(struct loop *l, struct watch *w, uint32_t events)
{
	struct datagram d;
	union endpoint from;
	while (receive(w->fd, &d, &from)) {
		struct flow *f = find_flow(l, &d);
		if (!f)
			continue;
		if (f->received && !same_endpoint(&f->peer, &from))
			f->moved++;
		f->peer = from;
		f->fd = w->fd;
		f->interval_ns = (d.interval_us ? d.interval_us : 1) * UINT64_C(1000);
		arrived(l, f, &d);
		if (d.kind == ASK) {
			f->stopped = true;
			send_one(f, ANSWER);
		}
	}
}

static void sender_ready(struct loop *l, struct watch *w, uint32_t events)
{
	struct flow *f = (struct flow *)w;
	struct datagram d;
	union endpoint from;
	while (receive(w->fd, &d, &from)) {
		if (d.flow != f->id)
			continue;
		arrived(l, f, &d);
		f->answered = f->answered || d.kind == ANSWER;
	}
}

static void send_due(struct loop *l)
{
	for (unsigned i = 0; i < n_flows; i++) {
		struct flow *f = &flows[i];
		bool silent = conf.listen.n && l->now_ns - f->heard_ns > FORGET_NS;
		if (f->stopped || silent)
			continue;
		for (; f->next_ns <= l->now_ns; f->next_ns += f->interval_ns)
			send_one(f, DATA);
	}
}

static void report(struct loop *l)
{
	uint64_t sent = 0, received = 0, peer_sent = 0, peer_received = 0;
	for (unsigned i = 0; i < n_flows; i++) {
		sent += flows[i].sent;
		received += flows[i].received;
		peer_sent += flows[i].peer_sent;
		peer_received += flows[i].peer_received;
	}
	printf("{\"t\": %.3f, \"sent\": %" PRIu64 ", \"received\": %" PRIu64
	       ", \"peer_sent\": %" PRIu64 ", \"peer_received\": %" PRIu64 "}\n",
		(double)l->now_ns / NS_PER_S, sent, received, peer_sent, peer_received);
}

// After the last datagram: asks every flow's other end what it got.
static void ask(struct loop *l)
{
	bool missing = false;
	uint64_t waited_ns = l->now_ns - drain_ns;
	bool now = waited_ns >= SETTLE_NS && l->now_ns - asked_ns >= ASK_NS;
	for (unsigned i = 0; i < n_flows; i++) {
		missing = missing || !flows[i].answered;
		if (now && !flows[i].answered)
			send_one(&flows[i], ASK);
	}
	if (now)
		asked_ns = l->now_ns;
	finished = !missing || waited_ns > GIVE_UP_NS;
}

static uint64_t tick(struct loop *l)
{
	if (draining)
		ask(l);
	else
		send_due(l);
	if (conf.connect.n && l->now_ns >= next_report_ns) {
		report(l);
		next_report_ns = l->now_ns + conf.report_ms * NS_PER_MS;
	}
	if (conf.duration_ms && !draining && l->now_ns - start_ns >= conf.duration_ms * NS_PER_MS)
		l->stop = true;
	return n_flows ? l->now_ns + GRAIN_NS : l->now_ns + NS_PER_S;
}

static int bound_socket(const union endpoint *e)
{
	char text[ENDPOINT_TEXT_MAX];
	int size = 1 << 22;
	int fd = socket(e->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, &e->any, endpoint_size(e)) < 0)
		err(1, "%s", endpoint_text(e, text));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return fd;
}

static int listen_all(struct loop *l)
{
	struct socket *sockets = calloc(conf.listen.n, sizeof(*sockets));
	if (!sockets)
		err(1, "sockets");
	printf("{\"event\": \"listening\", \"at\": [");
	for (unsigned i = 0; i < conf.listen.n; i++) {
		char text[ENDPOINT_TEXT_MAX];
		sockets[i].w = (struct watch){listener_ready, bound_socket(&conf.listen.at[i])};
		if (!loop_add(l, &sockets[i].w, EPOLLIN))
			err(1, "epoll");
		union endpoint self = endpoint_local(sockets[i].w.fd);
		printf("%s\"%s\"", i ? ", " : "", endpoint_text(&self, text));
	}
	printf("]}\n");
	loop_run(l, &finished);
	uint64_t moved = 0, received = 0;
	for (unsigned i = 0; i < n_flows; i++) {
		moved += flows[i].moved;
		received += flows[i].received;
	}
	printf("{\"final\": true, \"flows\": %u, \"received\": %" PRIu64 ", \"moved\": %" PRIu64
	       "}\n",
		n_flows, received, moved);
	for (unsigned i = 0; i < conf.listen.n; i++)
		loop_drop(&sockets[i].w, false);
	free(sockets);
	return 0;
}

static void print_result(struct loop *l, uint64_t *lost)
{
	uint64_t sent = 0, received = 0, peer_sent = 0, peer_received = 0, doubled = 0;
	uint64_t gap_us = 0, peer_gap_us = 0;
	unsigned unanswered = 0;
	for (unsigned i = 0; i < n_flows; i++) {
		const struct flow *f = &flows[i];
		sent += f->sent;
		received += f->received;
		peer_sent += f->peer_sent;
		peer_received += f->peer_received;
		doubled += f->doubled;
		unanswered += !f->answered;
		gap_us = f->gap_ns / 1000 > gap_us ? f->gap_ns / 1000 : gap_us;
		peer_gap_us = f->peer_gap_us > peer_gap_us ? f->peer_gap_us : peer_gap_us;
	}
	*lost = sent - peer_received + (peer_sent > received ? peer_sent - received : 0);
	printf("{\"final\": true, \"t\": %.3f, \"flows\": %u, \"unanswered\": %u, \"sent\": "
	       "%" PRIu64 ", \"peer_received\": %" PRIu64 ", \"peer_sent\": %" PRIu64
	       ", \"received\": %" PRIu64 ", \"doubled\": %" PRIu64 ", \"lost\": %" PRIu64
	       ", \"longest_gap_ms\": %.3f, \"peer_longest_gap_ms\": %.3f}\n",
		(double)l->now_ns / NS_PER_S, n_flows, unanswered, sent, peer_received, peer_sent,
		received, doubled, *lost, (double)gap_us / 1e3, (double)peer_gap_us / 1e3);
}

static int connect_all(struct loop *l)
{
	uint64_t seed, lost;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		err(1, "seed");
	n_flows = conf.flows;
	uint64_t interval_ns = conf.flows * NS_PER_S / conf.rate;
	for (unsigned i = 0; i < n_flows; i++) {
		struct flow *f = &flows[i];
		f->id = stream_mix(seed + i);
		f->peer = conf.connect.at[i % conf.connect.n];
		union endpoint any = {.any.sa_family = f->peer.any.sa_family};
		f->fd = bound_socket(&any);
		f->w = (struct watch){sender_ready, f->fd};
		f->interval_ns = interval_ns;
		f->next_ns = l->now_ns + interval_ns * i / n_flows;
		if (!loop_add(l, &f->w, EPOLLIN))
			err(1, "epoll");
	}
	loop_run(l, &finished);
	draining = true;
	l->stop = false;
	drain_ns = l->now_ns;
	loop_run(l, &finished);
	print_result(l, &lost);
	for (unsigned i = 0; i < n_flows; i++)
		loop_drop(&flows[i].w, false);
	return lost ? 1 : 0;
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"listen", required_argument, NULL, 'l'},
		{"connect", required_argument, NULL, 'c'},
		{"flows", required_argument, NULL, 'f'},
		{"rate", required_argument, NULL, 'r'},
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
		else if ((c == 'c' && !targets_add(&conf.connect, optarg)) ||
			 (c == 'l' && !targets_add(&conf.listen, optarg)))
			errx(2, "--%s: '%s' is not ADDRESS:PORT[-LAST]", name, optarg);
		else if (c == 'f')
			conf.flows = (unsigned)load_number(name, optarg, 1, FLOWS_MAX);
		else if (c == 'r')
			conf.rate = (unsigned)load_number(name, optarg, 1, 1000000);
		else if (c == 'd')
			conf.duration_ms = (unsigned)load_number(name, optarg, 1, 86400000);
		else if (c == 'p')
			conf.report_ms = (unsigned)load_number(name, optarg, 10, 3600000);
		else if (c == '?')
			load_usage(usage, 2);
	}
	if (!conf.connect.n == !conf.listen.n || optind < argc)
		load_usage(usage, 2);
}

int udp_main(int argc, char **argv)
{
	parse_options(argc, argv);
	flows = calloc(FLOWS_MAX, sizeof(*flows));
	if (!flows)
		err(1, "flows");
	struct loop l = {.tick = tick};
	loop_init(&l);
	start_ns = next_report_ns = l.now_ns;
	int status = conf.listen.n ? listen_all(&l) : connect_all(&l);
	loop_close(&l);
	free(flows);
	free(conf.connect.at);
	free(conf.listen.at);
	return status;
}
