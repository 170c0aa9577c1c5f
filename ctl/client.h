// SPDX-License-Identifier: BSD-3-Clause
// The control socket's other end. Thread: one thread.
#pragma once

#include <stdio.h>

#include <jansson.h>

#define CLIENT_SOCKET_DIR "/run/tripod"

// The socket to use: path if given, else node's standard one, else the only one there is. 0, or
// -EINVAL with a message in err.
int client_path(const char *path, int node, const char *dir, char *out, size_t size, char *err,
	size_t err_size);

struct client {
	FILE *f;
	char *line;
	size_t size;
};
// 0, or a negative errno with a message in err.
int client_ask(struct client *c, const char *path, const char *request, char *err, size_t err_size);
// The next object of the answer; NULL with a message in err.
json_t *client_next(struct client *c, char *err, size_t err_size);
void client_close(struct client *c);
