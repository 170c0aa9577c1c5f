// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 10000 // the switch has noticed by then that the port is down

struct line {
	char *at;
	size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void say(struct line *l, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(l->at + l->used, l->size - l->used, format, args);
	va_end(args);
	if (n > 0)
		l->used += (size_t)n < l->size - l->used ? (size_t)n : l->size - l->used - 1;
}

static json_int_t number(const json_t *answer, const char *name)
{
	return json_integer_value(json_object_get(answer, name));
}

static void copies(const json_t *answer, struct line *l)
{
	const json_t *nodes = json_object_get(answer, "owed_nodes");
	json_int_t entries = number(answer, "owed_entries");

	if (json_array_size(json_object_get(answer, "traffic_nodes")) == 0) {
		say(l, "no other node takes traffic");
		return;
	}
	say(l, "%" JSON_INTEGER_FORMAT " copies under way", number(answer, "owed"));
	for (size_t i = 0; i < json_array_size(nodes); i++)
		say(l, "%s %" JSON_INTEGER_FORMAT, i == 0 ? ", to nodes" : ",",
			json_integer_value(json_array_get(nodes, i)));
	if (entries > 0)
		say(l, "; %" JSON_INTEGER_FORMAT " entries that connections share", entries);
}

void progress_line(const json_t *answer, char *line, size_t size)
{
	const char *phase = json_string_value(json_object_get(answer, "phase"));
	json_int_t ms = number(answer, "phase_ms");
	struct line l = {line, size, 0};

	line[0] = '\0';
	if (phase == NULL)
		return;
	say(&l, "%s: ", phase);
	if (strcmp(phase, "joining") == 0)
		say(&l, "it drains when it has joined");
	else if (strcmp(phase, "moving") != 0)
		copies(answer, &l);
	else if (ms < PATIENCE_MS)
		say(&l, "until no packet comes any more");
	else // a new line now and then
		say(&l,
			"packets still come, more than %" JSON_INTEGER_FORMAT
			" s after the port went down: the switch has not moved them",
			ms / PATIENCE_MS * (PATIENCE_MS / 1000));
}
