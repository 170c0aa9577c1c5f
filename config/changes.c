// SPDX-License-Identifier: BSD-3-Clause
#include "config/changes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/canonical.h"
#include "config/tree.h"

#define PATH_MAX_BYTES 512

struct changes {
	void (*fn)(void *ctx, const char *path);
	void *ctx;
	char path[PATH_MAX_BYTES];
};

static bool same(const struct tripod_conf *a, const struct tripod_conf *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	char *x = conf_canonical(a), *y = conf_canonical(b);
	bool equal = strcmp(x, y) == 0;
	free(x);
	free(y);
	return equal;
}

static void walk(struct changes *c, const struct tripod_conf *a, const struct tripod_conf *b);

// One key of two mappings, either of which may lack it.
static void walk_key(struct changes *c, const char *key, const struct tripod_conf *a,
	const struct tripod_conf *b)
{
	size_t n = strlen(c->path);
	snprintf(c->path + n, sizeof(c->path) - n, "%s%s", n > 0 ? "." : "", key);
	walk(c, a, b);
	c->path[n] = '\0';
}

static void walk(struct changes *c, const struct tripod_conf *a, const struct tripod_conf *b)
{
	if (a == NULL || b == NULL || a->kind != CONF_MAP || b->kind != CONF_MAP) {
		if (!same(a, b))
			c->fn(c->ctx, c->path);
		return;
	}
	for (unsigned i = 0; i < a->n; i++) {
		const struct conf_entry *other = conf_entry_find(b, a->entry[i].key);
		walk_key(
			c, a->entry[i].key, a->entry[i].value, other != NULL ? other->value : NULL);
	}
	for (unsigned i = 0; i < b->n; i++) {
		if (conf_entry_find(a, b->entry[i].key) == NULL)
			walk_key(c, b->entry[i].key, NULL, b->entry[i].value);
	}
}

void conf_changes(const struct tripod_conf *a, const struct tripod_conf *b,
	void (*fn)(void *ctx, const char *path), void *ctx)
{
	struct changes c = {.fn = fn, .ctx = ctx};
	walk(&c, a, b);
}
