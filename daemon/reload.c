// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/reload.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config/changes.h"

static json_t *error(const char *text)
{
	size_t len = strlen(text);

	while (len > 0 && text[len - 1] == '\n') // the end of a report
		len--;
	return json_pack("{s:s%}", "error", text, len);
}

static json_t *outcome(bool changed, uint64_t id, const char *state)
{
	return json_pack("{s:b, s:o, s:s}", "changed", changed, "chain_id",
		json_sprintf("%016" PRIx64, id), "state", state);
}

static void collect(void *paths, const char *path)
{
	if (strcmp(path, "chain") != 0)
		json_array_append_new(paths, json_string(path));
}

// What has changed beside the chain, as an error; NULL: nothing.
static json_t *needs_restart(const struct rack *now, const struct rack *next)
{
	json_t *paths = json_array(), *answer = NULL, *path;
	char text[1024] = "";
	size_t i, n = 0;

	conf_changes(conf_root(now->doc), conf_root(next->doc), collect, paths);
	json_array_foreach(paths, i, path)
	{
		if (n < sizeof(text))
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 ? ", " : "",
				json_string_value(path));
	}
	if (json_array_size(paths) > 0)
		answer = json_pack("{s:o, s:O}", "error",
			json_sprintf(
				"nothing was changed: only the chain can be reloaded, and these "
				"need a restart: %s",
				text),
			"restart", paths);
	json_decref(paths);
	return answer;
}

// Takes v.
static json_t *apply(struct reload *r, struct chain_version *v, bool check)
{
	uint64_t id = v->chain.id;
	uint64_t target = r->chains->coming;
	char why[512];

	if (target == 0)
		target = chains_current(r->chains)->chain.id;
	if (id == target || check) {
		chains_free(v);
		return outcome(id != target, id, id == target ? "unchanged" : "good");
	}
	if (chains_announce(r->chains, v, why, sizeof(why)) != 0) {
		chains_free(v);
		return error(why);
	}
	return outcome(true, id, "announced");
}

json_t *reload_chain(struct reload *r, bool check)
{
	struct chain_version *v = NULL;
	struct rack next;
	json_t *answer = NULL;
	char why[512] = "";

	if (rack_load(r->path, r->node, &next) == 0) {
		answer = needs_restart(r->rack, &next);
		if (answer == NULL)
			v = chains_load(r->chains, next.chain, next.chain_text, why, sizeof(why));
	}
	if (v != NULL)
		answer = apply(r, v, check);
	else if (answer == NULL)
		answer = error(why[0] != '\0' ? why : rack_report(&next));
	rack_free(&next);
	return answer;
}

void reload_logged(struct reload *r)
{
	json_t *answer = reload_chain(r, false);
	const char *error = json_string_value(json_object_get(answer, "error"));

	if (error != NULL)
		r->chains->say("reload: %s", error);
	else
		r->chains->say("reload: chain %s %s",
			json_string_value(json_object_get(answer, "chain_id")),
			json_string_value(json_object_get(answer, "state")));
	json_decref(answer);
}
