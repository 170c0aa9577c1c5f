// SPDX-License-Identifier: BSD-3-Clause
// The control socket: a UNIX stream socket, requests of one line (daemon/request.h), answers of one
// or more lines, each a JSON object. Only the last line of an answer lacks "more": true.
//
// Several clients at once; each has one request under way, one page of an answer in memory, and is
// cut off when it reads nothing for long. A listing is fetched from the workers page by page, so
// that neither a long table nor a slow reader holds anybody up.
//
// Thread: the control thread.
#pragma once

#include <jansson.h>

#include "daemon/request.h"

#define CONTROL_CLIENTS_MAX 16
#define CONTROL_PAGE 64 // connections of a line

struct control;

// What the server knows nothing of; ctx is handed through.
struct control_ops {
	void *ctx;
	unsigned workers;
	// The answer to any request but connections and stop: an object, which the server frees.
	json_t *(*answer)(void *ctx, const struct request *r);
	// node_query()
	bool (*query)(void *ctx, unsigned worker, struct conn_query *q);
	json_t *(*connection)(void *ctx, unsigned worker, const struct conn_view *v);
};

// Listens on path (mode 0600; a stale socket is replaced, that of a living daemon is not). NULL with
// a message in err.
struct control *control_open(
	const char *path, const struct control_ops *ops, char *err, size_t size);
// Serves clients until fd (a signalfd, say; -1: none) is readable or timeout_ms have passed.
// Returns true when fd is readable.
bool control_serve(struct control *c, int fd, int timeout_ms);
bool control_stop_requested(const struct control *c);
// Removes the socket. No worker may be filling a page any more. NULL: nothing.
void control_close(struct control *c);
