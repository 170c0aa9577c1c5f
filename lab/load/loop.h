// SPDX-License-Identifier: BSD-3-Clause
// One epoll thread: sockets, a tick, signals, and commands as lines on standard input.
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

struct loop;

// First member of everything that waits for a socket.
struct watch {
	void (*ready)(struct loop *l, struct watch *w, uint32_t events);
	int fd;
};

struct loop {
	int epoll_fd;
	uint64_t now_ns; // monotonic; read once after each wait
	bool told; // by the line "stop": the end of the input then tells nothing new
	bool stop; // SIGTERM, SIGINT, the line "stop", or the end of standard input
	// Called after each wait; returns when to be called again at the latest.
	uint64_t (*tick)(struct loop *l);
	// Lines on standard input other than "stop"; may be NULL.
	void (*command)(struct loop *l, const char *line);
	struct watch signals, input;
	char line[128];
	size_t line_len;
};

// Exits with a message if the system refuses (no epoll, no signalfd).
void loop_init(struct loop *l);
// Until l->stop, or once tick has set *done.
void loop_run(struct loop *l, const bool *done);
void loop_close(struct loop *l);
bool loop_add(struct loop *l, struct watch *w, uint32_t events);
void loop_set(struct loop *l, struct watch *w, uint32_t events);
// Closes the descriptor too. abort: a TCP connection ends with RST instead of FIN.
void loop_drop(struct watch *w, bool abort);

uint64_t clock_ns(void);

// An address and a port, IPv4 or IPv6.
union endpoint {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};
#define ENDPOINT_TEXT_MAX 56 // "[IPv6]:65535" and its NUL

socklen_t endpoint_size(const union endpoint *e);
// As "192.0.2.1:80" or "[2001:db8::1]:80".
const char *endpoint_text(const union endpoint *e, char *out);
union endpoint endpoint_local(int fd);

struct targets {
	union endpoint *at;
	unsigned n;
};
// Adds "ADDRESS:PORT" or "ADDRESS:FIRST-LAST" (IPv6 in brackets). False: not of that form.
bool targets_add(struct targets *t, const char *text);
