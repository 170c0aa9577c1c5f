// SPDX-License-Identifier: BSD-3-Clause
// Checks the stream of each client, and answers every byte with one of a stream of its own.
#include "load.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop.h"
#include "stream.h"

static const char usage[] =
	"usage: tripod-load server --listen ADDRESS:PORT[-LAST]...\n"
	"\n"
	"Port 0 takes a free one. The first line on standard output names the ports; a line "
	"follows\n"
	"for every connection whose bytes were wrong, and at the end a line of totals.\n"
	"Exits 1 if any byte was wrong.\n";

#define OWED_MAX (1u << 20) // bytes not yet answered, above which a client must wait

struct peer {
	struct watch w;
	uint64_t seed;
	uint8_t hello[sizeof(struct hello)];
	size_t hello_len;
	uint64_t received, sent; // bytes of the streams
	uint32_t events; // waited for
	union endpoint remote;
	struct peer *next, **link;
};

struct listener {
	struct watch w;
};

static struct peer *peers;
static struct {
	uint64_t accepted, open, bytes, corrupt, bad_hello, reset, refused;
} count;

static void peer_end(struct peer *p, bool abort)
{
	loop_drop(&p->w, abort);
	count.open--;
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	free(p);
}

static void say_corrupt(struct peer *p, const char *what)
{
	char local[ENDPOINT_TEXT_MAX], remote[ENDPOINT_TEXT_MAX];
	union endpoint self = endpoint_local(p->w.fd);
	printf("{\"event\": \"%s\", \"local\": \"%s\", \"remote\": \"%s\", \"offset\": %" PRIu64
	       "}\n",
		what, endpoint_text(&self, local), endpoint_text(&p->remote, remote), p->received);
}

// Answers what is owed, as far as the socket takes it. False: the connection is gone.
static bool answer(struct loop *l, struct peer *p)
{
	uint8_t piece[16384];
	while (p->sent < p->received) {
		uint64_t owed = p->received - p->sent;
		size_t n = owed < sizeof(piece) ? (size_t)owed : sizeof(piece);
		stream_fill(stream_answer(p->seed), p->sent, piece, n);
		ssize_t sent = send(p->w.fd, piece, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN) {
			count.reset++;
			peer_end(p, false);
			return false;
		}
		if (sent < 0)
			break;
		p->sent += (uint64_t)sent;
	}
	uint32_t events = p->received - p->sent < OWED_MAX ? EPOLLIN : 0;
	if (p->sent < p->received)
		events |= EPOLLOUT;
	if (events != p->events) {
		loop_set(l, &p->w, events);
		p->events = events;
	}
	return true;
}

// Takes the hello from the front of data; returns how much of it that was, or -1.
static ssize_t take_hello(struct peer *p, const uint8_t *data, size_t len)
{
	struct hello hello;
	size_t n = sizeof(hello) - p->hello_len;
	n = n < len ? n : len;
	memcpy(p->hello + p->hello_len, data, n);
	p->hello_len += n;
	if (p->hello_len < sizeof(hello))
		return (ssize_t)n;
	memcpy(&hello, p->hello, sizeof(hello));
	if (memcmp(hello.magic, HELLO_MAGIC, sizeof(hello.magic)) != 0)
		return -1;
	p->seed = hello.seed;
	return (ssize_t)n;
}

static void peer_ready(struct loop *l, struct watch *w, uint32_t events)
{
	struct peer *p = (struct peer *)w;
	uint8_t piece[65536];
	// Errors and hang-ups are told by recv() too.
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
		ssize_t n = recv(p->w.fd, piece, sizeof(piece), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			count.reset += n < 0;
			peer_end(p, false);
			return;
		}
		ssize_t skip = 0;
		if (p->hello_len < sizeof(p->hello)) {
			skip = take_hello(p, piece, (size_t)n);
			if (skip < 0) {
				count.bad_hello++;
				say_corrupt(p, "bad hello");
				peer_end(p, true);
				return;
			}
		}
		size_t len = (size_t)(n - skip);
		size_t good = stream_match(p->seed, p->received, piece + skip, len);
		p->received += good;
		count.bytes += good;
		if (good < len) {
			count.corrupt++;
			say_corrupt(p, "corrupt");
			peer_end(p, true);
			return;
		}
	}
	answer(l, p);
}

static void accept_ready(struct loop *l, struct watch *w, uint32_t events)
{
	for (;;) {
		union endpoint remote;
		socklen_t size = sizeof(remote);
		int fd = accept4(w->fd, &remote.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			count.refused += errno == EMFILE || errno == ENFILE;
			return;
		}
		struct peer *p = calloc(1, sizeof(*p));
		if (!p) {
			close(fd);
			count.refused++;
			return;
		}
		int on = 1;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		p->w = (struct watch){peer_ready, fd};
		p->remote = remote;
		p->events = EPOLLIN;
		p->next = peers;
		p->link = &peers;
		if (peers)
			peers->link = &p->next;
		peers = p;
		count.accepted++;
		count.open++;
		if (!loop_add(l, &p->w, p->events))
			peer_end(p, true);
	}
}

static uint64_t tick(struct loop *l)
{
	return l->now_ns + NS_PER_S;
}

static void listen_at(struct loop *l, struct listener *to, const union endpoint *e)
{
	char text[ENDPOINT_TEXT_MAX];
	int on = 1;
	int fd = socket(e->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &e->any, endpoint_size(e)) < 0 || listen(fd, 4096) < 0)
		err(1, "%s", endpoint_text(e, text));
	to->w = (struct watch){accept_ready, fd};
	if (!loop_add(l, &to->w, EPOLLIN))
		err(1, "epoll");
}

int server_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"listen", required_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct targets at = {0};
	int c;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h')
			load_usage(usage, 0);
		if (c != 'l')
			load_usage(usage, 2);
		if (!targets_add(&at, optarg))
			errx(2, "--listen: '%s' is not ADDRESS:PORT[-LAST]", optarg);
	}
	if (!at.n || optind < argc)
		load_usage(usage, 2);
	struct loop l = {.tick = tick};
	loop_init(&l);
	struct listener *listeners = calloc(at.n, sizeof(*listeners));
	if (!listeners)
		err(1, "server");
	printf("{\"event\": \"listening\", \"at\": [");
	for (unsigned i = 0; i < at.n; i++) {
		char text[ENDPOINT_TEXT_MAX];
		listen_at(&l, &listeners[i], &at.at[i]);
		union endpoint self = endpoint_local(listeners[i].w.fd);
		printf("%s\"%s\"", i ? ", " : "", endpoint_text(&self, text));
	}
	printf("]}\n");
	bool never = false;
	loop_run(&l, &never);
	printf("{\"final\": true, \"accepted\": %" PRIu64 ", \"open\": %" PRIu64
	       ", \"bytes\": %" PRIu64 ", \"corrupt\": %" PRIu64 ", \"bad_hello\": %" PRIu64
	       ", \"reset\": %" PRIu64 ", \"refused\": %" PRIu64 "}\n",
		count.accepted, count.open, count.bytes, count.corrupt, count.bad_hello,
		count.reset, count.refused);
	while (peers)
		peer_end(peers, false);
	for (unsigned i = 0; i < at.n; i++)
		loop_drop(&listeners[i].w, false);
	loop_close(&l);
	free(listeners);
	free(at.at);
	return count.corrupt || count.bad_hello ? 1 : 0;
}
