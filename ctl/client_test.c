// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/client.h"

struct fixture {
	char dir[32], path[64], err[512], out[128];
	int listener;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	strcpy(f->dir, "/tmp/tripod-ask-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	strcpy(addr.sun_path, f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	*state = f;
	if (bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		return -1;
	return listen(f->listener, 4);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	close(f->listener);
	snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	free(f);
	return system(command);
}

static void touch(struct fixture *f, const char *name)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
}

static int resolve(struct fixture *f, const char *path, int node, const char *dir)
{
	return client_path(path, node, dir, f->out, sizeof(f->out), f->err, sizeof(f->err));
}

static void path__given_or_by_node(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(resolve(f, "/a/b", -1, "/d"), 0);
	assert_string_equal(f->out, "/a/b");
	assert_int_equal(resolve(f, NULL, 7, "/d"), 0);
	assert_string_equal(f->out, "/d/tripodd-7.sock");
}

static void path__the_only_node_or_a_question(void **state)
{
	struct fixture *f = *state;
	char expected[128];

	assert_int_equal(resolve(f, NULL, -1, f->dir), -EINVAL);
	assert_non_null(strstr(f->err, "--socket"));
	assert_int_equal(resolve(f, NULL, -1, "/nonexistent"), -EINVAL);
	touch(f, "tripodd-12.sock");
	touch(f, "other.sock");
	assert_int_equal(resolve(f, NULL, -1, f->dir), 0);
	snprintf(expected, sizeof(expected), "%s/tripodd-12.sock", f->dir);
	assert_string_equal(f->out, expected);
	touch(f, "tripodd-3.sock");
	assert_int_equal(resolve(f, NULL, -1, f->dir), -EINVAL);
	assert_non_null(strstr(f->err, "--node ID: 12 3"));
}

static void ask__nobody_there(void **state)
{
	struct fixture *f = *state;
	struct client c;
	char path[200];

	snprintf(path, sizeof(path), "%s/none", f->dir);
	assert_int_equal(client_ask(&c, path, "status", f->err, sizeof(f->err)), -ENOENT);
	assert_non_null(strstr(f->err, "is tripodd running?"));
	client_close(&c);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(client_ask(&c, path, "status", f->err, sizeof(f->err)), -ENAMETOOLONG);
	client_close(&c);
}

// Plays a daemon that answers with text and hangs up.
static void answer(struct fixture *f, const char *text)
{
	char request[64];
	int fd = accept(f->listener, NULL, NULL);

	assert_true(fd >= 0);
	assert_int_equal(recv(fd, request, 7, MSG_WAITALL), 7);
	assert_memory_equal(request, "status\n", 7);
	assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
	close(fd);
}

static void next__objects_then_the_end(void **state)
{
	struct fixture *f = *state;
	struct client c;
	json_t *o;

	assert_int_equal(client_ask(&c, f->path, "status", f->err, sizeof(f->err)), 0);
	answer(f, "{\"a\":1}\n{\"a\":2}\n");
	for (int i = 1; i <= 2; i++) {
		o = client_next(&c, f->err, sizeof(f->err));
		assert_int_equal(json_integer_value(json_object_get(o, "a")), i);
		json_decref(o);
	}
	assert_null(client_next(&c, f->err, sizeof(f->err)));
	assert_non_null(strstr(f->err, "hung up"));
	client_close(&c);
}

static void next__answers_that_are_none(void **state)
{
	static const char *const answers[] = {"", "x\n", "[1]\n", "{\"a\":\n", "\n", "5\n"};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct client c;

		assert_int_equal(client_ask(&c, f->path, "status", f->err, sizeof(f->err)), 0);
		answer(f, answers[i]);
		f->err[0] = '\0';
		assert_null(client_next(&c, f->err, sizeof(f->err)));
		assert_true(f->err[0] != '\0');
		client_close(&c);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(path__given_or_by_node),
		TEST(path__the_only_node_or_a_question),
		TEST(ask__nobody_there),
		TEST(next__objects_then_the_end),
		TEST(next__answers_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
