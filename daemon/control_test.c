// SPDX-License-Identifier: BSD-3-Clause
// The server against clients of all manners, over real sockets, in one thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/rng.h"
#include "core/store.h"
#include "daemon/control.h"

#define WORKERS 2
#define ROUNDS_MAX 20000 // of the server, before a condition counts as never met

struct fixture {
	char dir[32], path[64];
	struct control *control;
	uint32_t connections[WORKERS]; // that the workers pretend to have
	struct conn_query *pending[WORKERS]; // posted, not yet filled
	unsigned posted;
	bool stuck; // workers fill nothing
	unsigned fill_max; // connections of a page, at most
};

static json_t *answer(void *ctx, const struct request *r)
{
	return json_pack("{s:i}", "verb", (int)r->verb);
}

static bool query(void *ctx, unsigned worker, struct conn_query *q)
{
	struct fixture *f = ctx;

	if (f->pending[worker] != NULL)
		return false;
	f->posted++;
	f->pending[worker] = q;
	return true;
}

static json_t *connection(void *ctx, unsigned worker, const struct conn_view *v)
{
	return json_pack("{s:i, s:i}", "worker", (int)worker, "i", (int)v->incarnation);
}

// What a worker does in its steps. Even connections are of TCP, odd ones of UDP.
static void work(struct fixture *f)
{
	for (unsigned w = 0; w < WORKERS && !f->stuck; w++) {
		struct conn_query *q = f->pending[w];
		uint32_t i;

		if (q == NULL)
			continue;
		q->n = 0;
		for (i = q->cursor; i < f->connections[w] && q->n < q->max && q->n < f->fill_max;
			i++) {
			struct conn_view *v = &q->view[q->n++];

			memset(v, 0, sizeof(*v));
			v->state = CONN_LIVE;
			v->key[0].proto = i % 2 == 0 ? 6 : 17;
			v->incarnation = i;
		}
		q->cursor = i < f->connections[w] ? i : 0;
		f->pending[w] = NULL;
		atomic_store(&q->done, 1);
	}
}

static void turn(struct fixture *f)
{
	work(f);
	assert_false(control_serve(f->control, -1, 0));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct control_ops ops = {f, WORKERS, answer, query, connection};
	char err[256];

	strcpy(f->dir, "/tmp/tripod-ctl-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/run/s.sock", f->dir);
	f->fill_max = 1000;
	f->control = control_open(f->path, &ops, err, sizeof(err));
	*state = f;
	return f->control != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	control_close(f->control);
	if (access(f->path, F_OK) == 0)
		return -1;
	snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	free(f);
	return system(command);
}

static int dial(struct fixture *f)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void put(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

// The next line, byte by byte, while the server runs; NULL: the server has hung up.
static char *line(struct fixture *f, int fd, char *out, size_t size)
{
	size_t len = 0;

	for (int i = 0; i < ROUNDS_MAX && len + 1 < size;) {
		ssize_t n = recv(fd, out + len, 1, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			return NULL;
		if (n < 0) {
			turn(f);
			i++;
			continue;
		}
		if (out[len] == '\n') {
			out[len] = '\0';
			return out;
		}
		len++;
	}
	fail_msg("no line");
	return NULL;
}

static json_t *object(struct fixture *f, int fd)
{
	static char text[1 << 20];
	json_t *o;

	if (line(f, fd, text, sizeof(text)) == NULL)
		return NULL;
	o = json_loads(text, 0, NULL);
	assert_true(json_is_object(o));
	return o;
}

// Asks and expects an answer with the member.
static void assert_answer(struct fixture *f, int fd, const char *request, const char *member)
{
	json_t *o;

	put(fd, request);
	o = object(f, fd);
	assert_non_null(json_object_get(o, member));
	json_decref(o);
}

static void open__socket_is_private(void **state)
{
	struct fixture *f = *state;
	struct stat s;

	assert_int_equal(stat(f->path, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0600);
}

static void open__living_daemon_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct control_ops ops = {f, WORKERS, answer, query, connection};
	char err[256];
	int fd;

	assert_null(control_open(f->path, &ops, err, sizeof(err)));
	assert_non_null(strstr(err, "another tripodd"));
	fd = dial(f);
	assert_answer(f, fd, "status\n", "verb");
	close(fd);
}

static void open__stale_socket_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct control_ops ops = {f, WORKERS, answer, query, connection};
	struct control *c;
	char err[256];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/stale", f->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); // as SIGKILL leaves it
	c = control_open(addr.sun_path, &ops, err, sizeof(err));
	assert_non_null(c);
	control_close(c);
}

static void open__bad_path_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct control_ops ops = {f, WORKERS, answer, query, connection};
	char path[200], err[256];

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_null(control_open(path, &ops, err, sizeof(err)));
	assert_non_null(strstr(err, "too long"));
	snprintf(path, sizeof(path), "%s/s", f->path); // below a socket
	assert_null(control_open(path, &ops, err, sizeof(err)));
}

static void serve__requests_in_one_write_are_answered_in_order(void **state)
{
	static const int verbs[] = {REQUEST_STATUS, REQUEST_CHAIN, REQUEST_NODES};
	struct fixture *f = *state;
	int fd = dial(f);

	put(fd, "status\nchain\nnodes\n");
	for (int i = 0; i < 3; i++) {
		json_t *o = object(f, fd);

		assert_int_equal(json_integer_value(json_object_get(o, "verb")), verbs[i]);
		json_decref(o);
	}
	close(fd);
}

static void serve__half_closed_client_gets_its_answers(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	char text[64];

	put(fd, "status\nchain\n");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_non_null(line(f, fd, text, sizeof(text)));
	assert_non_null(line(f, fd, text, sizeof(text)));
	assert_null(line(f, fd, text, sizeof(text)));
	close(fd);
}

static void serve__client_that_leaves_at_once_is_still_obeyed(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	put(fd, "stop\n");
	close(fd);
	for (int i = 0; i < 10; i++)
		turn(f);
	assert_true(control_stop_requested(f->control));
}

static void serve__stop_is_answered(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	assert_false(control_stop_requested(f->control));
	assert_answer(f, fd, "stop\n", "stopping");
	assert_true(control_stop_requested(f->control));
	close(fd);
}

static void serve__other_descriptor_ends_the_wait(void **state)
{
	struct fixture *f = *state;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_false(control_serve(f->control, p[0], 0));
	assert_int_equal(write(p[1], "x", 1), 1);
	assert_true(control_serve(f->control, p[0], 600000));
	close(p[0]);
	close(p[1]);
}

// Asks for connections and counts them; *pages: lines of the answer.
static unsigned count(struct fixture *f, const char *request, unsigned *pages)
{
	int fd = dial(f);
	unsigned n = 0;
	bool more = true;

	put(fd, request);
	for (*pages = 0; more; ++*pages) {
		json_t *o = object(f, fd);
		const json_t *rows = json_object_get(o, "connections");

		assert_true(json_is_array(rows));
		assert_true(json_array_size(rows) <= CONTROL_PAGE);
		n += (unsigned)json_array_size(rows);
		more = json_is_true(json_object_get(o, "more"));
		json_decref(o);
	}
	close(fd);
	return n;
}

static void connections__all_of_all_workers_in_pages(void **state)
{
	struct fixture *f = *state;
	unsigned pages;

	f->connections[0] = 1000;
	f->connections[1] = 500;
	assert_int_equal(count(f, "connections\n", &pages), 1500);
	assert_true(pages >= 1500 / CONTROL_PAGE);
	f->fill_max = 7; // a worker may give less than there is room for
	assert_int_equal(count(f, "connections\n", &pages), 1500);
	f->connections[0] = f->connections[1] = 0;
	assert_int_equal(count(f, "connections\n", &pages), 0);
	assert_int_equal(pages, 1);
}

static void connections__limit_and_conditions(void **state)
{
	struct fixture *f = *state;
	unsigned pages;

	f->connections[0] = f->connections[1] = 300;
	assert_int_equal(count(f, "connections limit=1\n", &pages), 1);
	assert_int_equal(count(f, "connections limit=64\n", &pages), 64);
	assert_int_equal(count(f, "connections limit=301\n", &pages), 301);
	assert_int_equal(count(f, "connections limit=601\n", &pages), 600);
	assert_int_equal(count(f, "connections where=proto=tcp\n", &pages), 300);
	assert_int_equal(count(f, "connections where=proto=icmp\n", &pages), 0);
	assert_int_equal(pages, 1);
	assert_int_equal(count(f, "connections where=proto=udp limit=5\n", &pages), 5);
}

static void connections__slow_reader_holds_nobody_up(void **state)
{
	struct fixture *f = *state;
	int slow = dial(f);
	unsigned pages, posted;

	f->connections[0] = f->connections[1] = 60000;
	put(slow, "connections\n");
	// Its socket fills up, and then no more is asked of the workers for it.
	do {
		posted = f->posted;
		for (int i = 0; i < 50; i++)
			turn(f);
	} while (f->posted != posted);
	assert_true(f->posted < 60000 / CONTROL_PAGE);
	f->connections[0] = f->connections[1] = 100;
	assert_int_equal(count(f, "connections\n", &pages), 200);
	close(slow);
}

static void connections__client_that_leaves_while_a_worker_fills(void **state)
{
	struct fixture *f = *state;
	unsigned pages;
	int fd = dial(f);
	char byte;

	f->connections[0] = 100;
	f->stuck = true;
	put(fd, "connections\n");
	for (int i = 0; i < ROUNDS_MAX && f->pending[0] == NULL; i++)
		turn(f);
	assert_non_null(f->pending[0]);
	close(fd);
	for (int i = 0; i < 10; i++)
		turn(f);
	// Whoever comes next, and takes its place, gets nothing that it has not asked for.
	fd = dial(f);
	for (int i = 0; i < 10; i++)
		turn(f);
	f->stuck = false;
	for (int i = 0; i < 10; i++)
		turn(f);
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	assert_answer(f, fd, "status\n", "verb");
	close(fd);
	assert_int_equal(count(f, "connections\n", &pages), 100);
}

static void serve__worker_that_is_not_there(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	assert_answer(f, fd, "counters worker=1\n", "verb");
	assert_answer(f, fd, "counters worker=2\n", "error");
	close(fd);
}

static void serve__mistakes_are_the_askers(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	assert_answer(f, fd, "nonsense\n", "usage");
	assert_answer(f, fd, "\n", "usage");
	assert_answer(f, fd, "connections where=x=y\n", "usage");
	assert_answer(f, fd, "status\n", "verb");
	close(fd);
}

static void serve__endless_line_is_cut_off(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	char text[3000];
	json_t *o;

	memset(text, 'a', sizeof(text));
	assert_int_equal(send(fd, text, sizeof(text), MSG_NOSIGNAL), sizeof(text));
	o = object(f, fd);
	assert_non_null(json_object_get(o, "error"));
	json_decref(o);
	assert_null(line(f, fd, text, sizeof(text)));
	close(fd);
}

static void serve__more_clients_than_places(void **state)
{
	struct fixture *f = *state;
	int fd[CONTROL_CLIENTS_MAX + 4];

	for (size_t i = 0; i < CONTROL_CLIENTS_MAX + 4; i++) {
		fd[i] = dial(f);
		put(fd[i], "status\n");
		for (int j = 0; j < 4; j++)
			turn(f);
	}
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX + 4; i++) {
		json_t *o = object(f, fd[i]); // the last four wait for a place

		assert_non_null(o);
		json_decref(o);
		close(fd[i]);
	}
}

// Many clients, any bytes, cut anywhere, gone at any time; afterwards the server answers as ever.
static void serve__survives_garbage(void **state)
{
	static const char *const pieces[] = {"status\n", "connections\n", "connections limit=3\n",
		"connections where=proto=tcp\n", "counters nf=", "\n", "\n\n", "stop", "chain\n",
		"=", "where=", "\r\n"};
	struct fixture *f = *state;
	struct rng rng = {.state = 0xc0117201};
	int fd[8];

	print_message("seed %#lx\n", rng.state);
	f->connections[0] = 200;
	for (int i = 0; i < 8; i++)
		fd[i] = dial(f);
	for (int i = 0; i < 20000; i++) {
		int *k = &fd[rng_below(&rng, 8)];
		char byte = (char)rng_below(&rng, 256), sink[4096];
		const char *piece = pieces[rng_below(&rng, sizeof(pieces) / sizeof(pieces[0]))];
		uint32_t what = rng_below(&rng, 16);

		if (strcmp(piece, "stop") == 0 && what < 9)
			piece = "stop x\n"; // refused, or it would stop
		if (what < 7)
			send(*k, piece, strlen(piece), MSG_NOSIGNAL);
		else if (what < 9)
			send(*k, &byte, 1, MSG_NOSIGNAL);
		else if (what < 13)
			recv(*k, sink, sizeof(sink), 0);
		else if (what == 13) {
			close(*k);
			*k = dial(f);
		} else if (what == 14)
			shutdown(*k, SHUT_WR);
		turn(f);
		if (what == 14) {
			close(*k);
			*k = dial(f);
		}
		turn(f);
	}
	for (int i = 0; i < 8; i++)
		close(fd[i]);
	fd[0] = dial(f);
	assert_answer(f, fd[0], "status\n", "verb");
	close(fd[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(open__socket_is_private),
		TEST(open__living_daemon_is_left_alone),
		TEST(open__stale_socket_is_replaced),
		TEST(open__bad_path_is_an_error),
		TEST(serve__requests_in_one_write_are_answered_in_order),
		TEST(serve__half_closed_client_gets_its_answers),
		TEST(serve__client_that_leaves_at_once_is_still_obeyed),
		TEST(serve__stop_is_answered),
		TEST(serve__other_descriptor_ends_the_wait),
		TEST(connections__all_of_all_workers_in_pages),
		TEST(connections__limit_and_conditions),
		TEST(connections__slow_reader_holds_nobody_up),
		TEST(connections__client_that_leaves_while_a_worker_fills),
		TEST(serve__worker_that_is_not_there),
		TEST(serve__mistakes_are_the_askers),
		TEST(serve__endless_line_is_cut_off),
		TEST(serve__more_clients_than_places),
		TEST(serve__survives_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
