// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/control.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "daemon/path.h"

#define STALLED_MS 30000 // a client that takes nothing of its answer for so long is cut off
#define IDLE_MS 60000 // and one that asks nothing
#define PAGE_POLL_MS 1 // while a worker fills a page
#define SWEEP_MS 1000

// A listing on its way to a client.
struct listing {
	bool active;
	bool posted; // the worker has a query of ours
	unsigned worker;
	uint32_t cursor;
	uint64_t sent;
	struct request request;
};

struct client {
	int fd; // -1: free
	size_t in_len;
	char in[REQUEST_LINE_MAX];
	char *out; // a line under way, or NULL
	size_t out_len, out_at;
	uint64_t moved_ms; // when it last sent or took something
	bool closing; // after out
	struct listing listing;
};

// One per worker: it may be filling it after the client has gone.
struct page {
	struct conn_query q;
	struct conn_view view[CONTROL_PAGE];
	struct client *client; // NULL: gone
	bool busy;
};

struct control {
	struct control_ops ops;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd;
	bool stop;
	struct client client[CONTROL_CLIENTS_MAX];
	struct page page[WORKERS_MAX];
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

// ---- Clients ----

static void drop_client(struct control *c, struct client *k)
{
	for (unsigned w = 0; w < c->ops.workers; w++)
		if (c->page[w].client == k)
			c->page[w].client = NULL;
	close(k->fd);
	free(k->out);
	memset(k, 0, sizeof(*k));
	k->fd = -1;
}

// Gives the client a line; takes the object. The line before it has gone.
static void reply(struct control *c, struct client *k, json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	size_t len;

	json_decref(object);
	len = text != NULL ? strlen(text) : 0;
	free(k->out);
	k->out = text != NULL ? realloc(text, len + 1) : NULL;
	if (k->out == NULL) {
		free(text);
		drop_client(c, k);
		return;
	}
	k->out[len] = '\n'; // in place of the terminator: out is counted
	k->out_len = len + 1;
	k->out_at = 0;
}

static void reply_error(struct control *c, struct client *k, const char *text)
{
	reply(c, k, json_pack("{s:s}", "error", text));
}

static void handle(struct control *c, struct client *k, const char *line)
{
	struct request r;
	char err[256];

	if (request_parse(line, &r, err, sizeof(err)) != 0) {
		// Apart from other errors: who asked made the mistake.
		reply(c, k, json_pack("{s:s, s:b}", "error", err, "usage", 1));
	} else if (r.verb == REQUEST_STOP) {
		c->stop = true;
		reply(c, k, json_pack("{s:b}", "stopping", 1));
	} else if (r.worker >= (int)c->ops.workers) {
		snprintf(err, sizeof(err), "no worker %d: this node has %u, from 0 on", r.worker,
			c->ops.workers);
		reply_error(c, k, err);
	} else if (r.verb == REQUEST_CONNECTIONS) {
		k->listing = (struct listing){.active = true, .request = r};
	} else {
		reply(c, k, c->ops.answer(c->ops.ctx, &r));
	}
}

// Takes a line out of the buffer and answers it; one request at a time.
static void take_line(struct control *c, struct client *k)
{
	char line[REQUEST_LINE_MAX];
	char *end;
	size_t len;

	if (k->out != NULL || k->listing.active || k->closing)
		return;
	end = memchr(k->in, '\n', k->in_len);
	if (end == NULL) {
		if (k->in_len == sizeof(k->in)) {
			k->closing = true;
			reply_error(c, k, "request too long");
		}
		return;
	}
	len = (size_t)(end - k->in);
	memcpy(line, k->in, len);
	line[len] = '\0';
	k->in_len -= len + 1;
	memmove(k->in, end + 1, k->in_len);
	// A NUL within would hide the rest.
	if (strlen(line) != len)
		reply_error(c, k, "request with a zero byte");
	else
		handle(c, k, line);
}

static void receive(struct control *c, struct client *k)
{
	ssize_t n = recv(k->fd, k->in + k->in_len, sizeof(k->in) - k->in_len, MSG_DONTWAIT);

	if (n > 0) {
		k->in_len += (size_t)n;
		k->moved_ms = now_ms();
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	// The end of its requests: it may still want what it has asked for.
	if (n == 0 &&
		(k->out != NULL || k->listing.active || memchr(k->in, '\n', k->in_len) != NULL))
		k->closing = true;
	else
		drop_client(c, k);
}

static void send_out(struct control *c, struct client *k)
{
	ssize_t n = send(
		k->fd, k->out + k->out_at, k->out_len - k->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			drop_client(c, k);
		return;
	}
	k->moved_ms = now_ms();
	k->out_at += (size_t)n;
	if (k->out_at < k->out_len)
		return;
	free(k->out);
	k->out = NULL;
}

// ---- Listings ----

static void post(struct control *c, struct client *k)
{
	struct listing *l = &k->listing;
	struct page *p = &c->page[l->worker];

	// Another client's page, or one whose client has gone.
	if (p->busy)
		return;
	p->q.cursor = l->cursor;
	p->q.max = CONTROL_PAGE;
	p->q.n = 0;
	p->q.view = p->view;
	atomic_store(&p->q.done, 0);
	if (!c->ops.query(c->ops.ctx, l->worker, &p->q))
		return;
	p->busy = true;
	p->client = k;
	l->posted = true;
}

static void page_done(struct control *c, unsigned worker)
{
	struct page *p = &c->page[worker];
	struct client *k = p->client;
	struct listing *l;
	json_t *rows;
	bool more;

	p->busy = false;
	p->client = NULL;
	if (k == NULL)
		return;
	l = &k->listing;
	l->posted = false;
	rows = json_array();
	for (uint32_t i = 0; i < p->q.n && i < CONTROL_PAGE; i++) {
		if (!request_matches(&l->request.where, &p->view[i]))
			continue;
		if (l->request.limit != 0 && l->sent == l->request.limit)
			break;
		l->sent++;
		json_array_append_new(rows, c->ops.connection(c->ops.ctx, worker, &p->view[i]));
	}
	l->cursor = p->q.cursor;
	if (l->cursor == 0)
		l->worker++;
	more = l->worker < c->ops.workers && (l->request.limit == 0 || l->sent < l->request.limit);
	l->active = more;
	// A page without a match is worth no line, unless it is the last.
	if (more && json_array_size(rows) == 0) {
		json_decref(rows);
		k->moved_ms = now_ms();
		return;
	}
	reply(c, k, json_pack("{s:o, s:b}", "connections", rows, "more", more));
}

// true: a worker or a client must be looked at again soon.
static bool move_listings(struct control *c)
{
	bool soon = false;

	for (unsigned w = 0; w < c->ops.workers; w++)
		if (c->page[w].busy && atomic_load(&c->page[w].q.done))
			page_done(c, w);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct client *k = &c->client[i];

		if (k->fd < 0 || !k->listing.active || k->out != NULL)
			continue;
		if (!k->listing.posted)
			post(c, k);
		soon = true;
	}
	return soon;
}

// ---- Server ----

static void accept_client(struct control *c)
{
	int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		if (c->client[i].fd < 0) {
			c->client[i].fd = fd;
			c->client[i].moved_ms = now_ms();
			return;
		}
	}
	close(fd);
}

static bool has_room(const struct control *c)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (c->client[i].fd < 0)
			return true;
	return false;
}

// After what poll() said: everything that can be done without waiting.
static void serve_client(struct control *c, struct client *k, short events)
{
	// Gone altogether: nobody is left to hear the rest. What it sent before it left still counts.
	if ((events & (POLLHUP | POLLERR)) && (k->out != NULL || k->listing.active)) {
		drop_client(c, k);
		return;
	}
	if (k->out == NULL && !k->closing && (events & (POLLIN | POLLHUP | POLLERR)))
		receive(c, k);
	if (k->fd >= 0 && k->out == NULL)
		take_line(c, k);
	if (k->fd >= 0 && k->out != NULL)
		send_out(c, k);
	if (k->fd < 0)
		return;
	if (k->closing && k->out == NULL && !k->listing.active) {
		// What it asked before it closed its side is answered first.
		if (memchr(k->in, '\n', k->in_len) != NULL) {
			k->closing = false;
			take_line(c, k);
			k->closing = k->fd >= 0;
			return;
		}
		drop_client(c, k);
		return;
	}
	if (now_ms() - k->moved_ms > (k->out != NULL ? STALLED_MS : IDLE_MS))
		drop_client(c, k);
}

static short wanted(const struct client *k)
{
	if (k->out != NULL)
		return POLLOUT;
	return k->listing.active || k->closing ? 0 : POLLIN;
}

bool control_serve(struct control *c, int fd, int timeout_ms)
{
	struct pollfd p[CONTROL_CLIENTS_MAX + 2];
	uint64_t end = now_ms() + (uint64_t)timeout_ms, now;

	do {
		int wait_ms = move_listings(c) ? PAGE_POLL_MS : SWEEP_MS;

		now = now_ms();
		if (now + (uint64_t)wait_ms > end)
			wait_ms = now < end ? (int)(end - now) : 0;
		for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
			const struct client *k = &c->client[i];

			// A request that waits in the buffer needs no event.
			if (k->fd >= 0 && k->out == NULL && !k->listing.active &&
				(k->closing || memchr(k->in, '\n', k->in_len) != NULL))
				wait_ms = 0;
			p[i] = (struct pollfd){.fd = k->fd, .events = wanted(k)};
		}
		p[CONTROL_CLIENTS_MAX] =
			(struct pollfd){.fd = has_room(c) ? c->fd : -1, .events = POLLIN};
		p[CONTROL_CLIENTS_MAX + 1] = (struct pollfd){.fd = fd, .events = POLLIN};
		if (poll(p, CONTROL_CLIENTS_MAX + 2, wait_ms) < 0)
			continue;
		for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
			if (c->client[i].fd >= 0)
				serve_client(c, &c->client[i], p[i].revents);
		if (p[CONTROL_CLIENTS_MAX].revents != 0)
			accept_client(c);
		if (p[CONTROL_CLIENTS_MAX + 1].revents != 0)
			return true;
	} while (now_ms() < end && !c->stop);
	return false;
}

bool control_stop_requested(const struct control *c)
{
	return c->stop;
}

// Is there a living daemon behind the socket? If not, makes way.
static int clear_stale(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		r = -EADDRINUSE;
	else if (errno == ECONNREFUSED && unlink(addr->sun_path) != 0)
		r = -errno;
	close(fd);
	return r;
}

static int listen_on(const char *path, int *fd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	r = path_make_parent(path);
	if (r == 0)
		r = clear_stale(&addr);
	if (r != 0)
		return r;
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return -errno;
	mask = umask(0177); // 0600 from its first moment
	r = bind(*fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 ? 0 : -errno;
	umask(mask);
	if (r == 0 && listen(*fd, CONTROL_CLIENTS_MAX) != 0)
		r = -errno;
	if (r != 0)
		close(*fd);
	return r;
}

struct control *control_open(
	const char *path, const struct control_ops *ops, char *err, size_t size)
{
	struct control *c = calloc(1, sizeof(*c));
	int r = c == NULL ? -ENOMEM : listen_on(path, &c->fd);

	if (r != 0) {
		snprintf(err, size, "cannot listen on the control socket %s: %s%s", path,
			strerror(-r),
			r == -EADDRINUSE ? " by another tripodd, which answers on it"
			: r == -EACCES   ? ". Set node: control_socket, or give --socket"
					 : "");
		free(c);
		return NULL;
	}
	c->ops = *ops;
	strcpy(c->path, path);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		c->client[i].fd = -1;
	return c;
}

void control_close(struct control *c)
{
	if (c == NULL)
		return;
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (c->client[i].fd >= 0)
			drop_client(c, &c->client[i]);
	close(c->fd);
	unlink(c->path);
	free(c);
}
