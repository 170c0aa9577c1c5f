// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/client.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define TIMEOUT_S 15

static int is_socket_name(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return strncmp(e->d_name, "tripodd-", 8) == 0 && len > 5 &&
	       strcmp(e->d_name + len - 5, ".sock") == 0;
}

int client_path(const char *path, int node, const char *dir, char *out, size_t size, char *err,
	size_t err_size)
{
	struct dirent **found = NULL;
	size_t used;
	int n, r = 0;

	if (path != NULL || node >= 0) {
		if (path != NULL)
			snprintf(out, size, "%s", path);
		else
			snprintf(out, size, "%s/tripodd-%d.sock", dir, node);
		return 0;
	}
	n = scandir(dir, &found, is_socket_name, alphasort);
	if (n == 1) {
		snprintf(out, size, "%s/%s", dir, found[0]->d_name);
	} else if (n <= 0) {
		snprintf(err, err_size,
			"no tripodd runs here: there is no control socket in %s. Start one, or say "
			"where its socket is: --socket PATH",
			dir);
		r = -EINVAL;
	} else {
		used = (size_t)snprintf(
			err, err_size, "%d nodes run here: say which, with --node ID:", n);
		for (int i = 0; i < n && used < err_size; i++)
			used += (size_t)snprintf(err + used, err_size - used, " %.*s",
				(int)strlen(found[i]->d_name) - 13, found[i]->d_name + 8);
		r = -EINVAL;
	}
	for (int i = 0; i < n; i++)
		free(found[i]);
	free(found);
	return r;
}

static const char *advice(int error)
{
	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		return ": is tripodd running? Try: systemctl status tripodd, or --socket PATH";
	case EACCES:
	case EPERM:
		return ": try as root";
	default:
		return "";
	}
}

int client_ask(struct client *c, const char *path, const char *request, char *err, size_t err_size)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = TIMEOUT_S};
	int fd, r = 0;

	memset(c, 0, sizeof(*c));
	if (strlen(path) >= sizeof(addr.sun_path)) {
		snprintf(err, err_size, "socket path too long: %s", path);
		return -ENAMETOOLONG;
	}
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		r = -errno;
	if (r != 0) {
		snprintf(err, err_size, "cannot connect to %s: %s%s", path, strerror(-r),
			advice(-r));
		if (fd >= 0)
			close(fd);
		return r;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0 ||
		send(fd, "\n", 1, MSG_NOSIGNAL) < 0) {
		snprintf(err, err_size, "%s does not take requests: %s", path, strerror(errno));
		close(fd);
		return -EIO;
	}
	c->f = fdopen(fd, "r");
	return c->f != NULL ? 0 : -ENOMEM;
}

json_t *client_next(struct client *c, char *err, size_t err_size)
{
	json_error_t error;
	json_t *answer;

	errno = 0;
	if (getline(&c->line, &c->size, c->f) < 0) {
		snprintf(err, err_size,
			errno == EAGAIN
				? "tripodd does not answer: its control thread is busy or stuck"
				: "tripodd has hung up in the middle of its answer");
		return NULL;
	}
	answer = json_loads(c->line, 0, &error);
	if (!json_is_object(answer)) {
		snprintf(err, err_size, "not an answer of tripodd: %s", error.text);
		json_decref(answer);
		return NULL;
	}
	return answer;
}

void client_close(struct client *c)
{
	if (c->f != NULL)
		fclose(c->f);
	free(c->line);
	memset(c, 0, sizeof(*c));
}
