// SPDX-License-Identifier: BSD-3-Clause
#include "loop.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void signalled(struct loop *l, struct watch *w, uint32_t events)
{
	struct signalfd_siginfo info;
	if (read(w->fd, &info, sizeof(info)) == sizeof(info))
		l->stop = true;
}

static void typed(struct loop *l, struct watch *w, uint32_t events)
{
	ssize_t n = read(w->fd, l->line + l->line_len, sizeof(l->line) - 1 - l->line_len);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		// Whoever started this is gone: nothing may outlive it.
		epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
		l->stop = l->stop || !l->told;
		return;
	}
	l->line_len += (size_t)n;
	char *end;
	while ((end = memchr(l->line, '\n', l->line_len)) != NULL) {
		*end = '\0';
		if (strcmp(l->line, "stop") == 0)
			l->stop = l->told = true;
		else if (l->command)
			l->command(l, l->line);
		l->line_len -= (size_t)(end + 1 - l->line);
		memmove(l->line, end + 1, l->line_len);
	}
	if (l->line_len == sizeof(l->line) - 1)
		l->line_len = 0; // no command is that long
}

void loop_init(struct loop *l)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	// The lines are read while the program runs.
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0)
		err(1, "epoll");
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	l->signals = (struct watch){signalled, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)};
	if (l->signals.fd < 0 || !loop_add(l, &l->signals, EPOLLIN))
		err(1, "signalfd");
	// A file or /dev/null cannot be waited for, and needs not be.
	l->input = (struct watch){typed, STDIN_FILENO};
	loop_add(l, &l->input, EPOLLIN);
	l->now_ns = clock_ns();
}

bool loop_add(struct loop *l, struct watch *w, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = w};
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, w->fd, &event) == 0;
}

void loop_set(struct loop *l, struct watch *w, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = w};
	epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &event);
}

void loop_drop(struct watch *w, bool abort)
{
	if (w->fd < 0)
		return;
	if (abort) {
		struct linger now = {.l_onoff = 1, .l_linger = 0};
		setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	close(w->fd);
	w->fd = -1;
}

void loop_run(struct loop *l, const bool *done)
{
	struct epoll_event events[256];
	uint64_t due_ns = l->now_ns;
	while (!l->stop && !*done) {
		int timeout_ms = 0;
		if (due_ns > l->now_ns)
			timeout_ms = (int)((due_ns - l->now_ns + NS_PER_MS - 1) / NS_PER_MS);
		int n = epoll_wait(l->epoll_fd, events, 256, timeout_ms > 1000 ? 1000 : timeout_ms);
		l->now_ns = clock_ns();
		for (int i = 0; i < n; i++) {
			struct watch *w = events[i].data.ptr;
			// Closed by an earlier one of this batch.
			if (w->fd >= 0)
				w->ready(l, w, events[i].events);
		}
		due_ns = l->tick(l);
	}
}

void loop_close(struct loop *l)
{
	loop_drop(&l->signals, false);
	close(l->epoll_fd);
}

socklen_t endpoint_size(const union endpoint *e)
{
	return e->any.sa_family == AF_INET ? sizeof(e->v4) : sizeof(e->v6);
}

const char *endpoint_text(const union endpoint *e, char *out)
{
	char address[INET6_ADDRSTRLEN] = "?";
	if (e->any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &e->v4.sin_addr, address, sizeof(address));
		snprintf(out, ENDPOINT_TEXT_MAX, "%s:%u", address, ntohs(e->v4.sin_port));
	} else if (IN6_IS_ADDR_V4MAPPED(&e->v6.sin6_addr)) {
		// An IPv4 client of a socket that serves both.
		inet_ntop(AF_INET, &e->v6.sin6_addr.s6_addr[12], address, sizeof(address));
		snprintf(out, ENDPOINT_TEXT_MAX, "%s:%u", address, ntohs(e->v6.sin6_port));
	} else {
		inet_ntop(AF_INET6, &e->v6.sin6_addr, address, sizeof(address));
		snprintf(out, ENDPOINT_TEXT_MAX, "[%s]:%u", address, ntohs(e->v6.sin6_port));
	}
	return out;
}

union endpoint endpoint_local(int fd)
{
	union endpoint e = {.any.sa_family = AF_INET};
	socklen_t size = sizeof(e);
	getsockname(fd, &e.any, &size);
	return e;
}

// The address, without brackets, into e; the text after its colon.
static const char *parse_address(const char *text, union endpoint *e)
{
	char address[INET6_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');
	if (!colon)
		return NULL;
	bool v6 = text[0] == '[' && colon > text && colon[-1] == ']';
	size_t len = (size_t)(colon - text) - (v6 ? 2 : 0);
	if (len >= sizeof(address))
		return NULL;
	memcpy(address, text + v6, len);
	address[len] = '\0';
	memset(e, 0, sizeof(*e));
	e->any.sa_family = v6 ? AF_INET6 : AF_INET;
	void *to = v6 ? (void *)&e->v6.sin6_addr : (void *)&e->v4.sin_addr;
	return inet_pton(e->any.sa_family, address, to) == 1 ? colon + 1 : NULL;
}

bool targets_add(struct targets *t, const char *text)
{
	union endpoint e;
	unsigned first, last;
	int end = 0;
	const char *ports = parse_address(text, &e);
	if (!ports)
		return false;
	if (sscanf(ports, "%5u-%5u%n", &first, &last, &end) == 2 && !ports[end])
		;
	else if (sscanf(ports, "%5u%n", &first, &end) == 1 && !ports[end])
		last = first;
	else
		return false;
	if (first > last || last > UINT16_MAX)
		return false;
	union endpoint *at = realloc(t->at, (t->n + last - first + 1) * sizeof(*at));
	if (!at)
		return false;
	t->at = at;
	for (unsigned port = first; port <= last; port++) {
		// sin_port and sin6_port are in the same place, but say what is meant.
		if (e.any.sa_family == AF_INET)
			e.v4.sin_port = htons((uint16_t)port);
		else
			e.v6.sin6_port = htons((uint16_t)port);
		t->at[t->n++] = e;
	}
	return true;
}
