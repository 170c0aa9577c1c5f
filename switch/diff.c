// SPDX-License-Identifier: BSD-3-Clause
#include <stdio.h>

#include "switch/diff.h"

#include <stdlib.h>
#include <string.h>

static char *copy(const char *s, size_t n)
{
	char *c = strndup(s, n);
	if (c == NULL)
		abort();
	return c;
}

// Each line, without the blanks at its ends.
static const char *next_line(const char **at, size_t *size)
{
	const char *s = *at;
	if (*s == '\0')
		return NULL;
	size_t n = strcspn(s, "\n");
	*at = s + n + (s[n] == '\n');
	for (; n > 0 && *s == ' '; s++)
		n--;
	for (; n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\r');)
		n--;
	*size = n;
	return s;
}

void diff_read_groups(const char *dump, struct rule_list *out)
{
	const char *s;
	size_t n;
	while ((s = next_line(&dump, &n)) != NULL) {
		const char *comma = memchr(s, ',', n);
		if (n < 9 || strncmp(s, "group_id=", 9) != 0 || comma == NULL)
			continue; // the heading
		rule_add(out, copy(s, (size_t)(comma - s)),
			copy(comma + 1, n - (size_t)(comma + 1 - s)));
	}
}

// A term of a flow's head goes into the key, unless it is said apart. How long an idle flow lives and
// the like stay: ours have none, so that such a flow is told from them.
static void head_term(const char *s, size_t n, unsigned *table, unsigned *priority, FILE *key)
{
	unsigned value;
	char t[32] = "";
	memcpy(t, s, n < sizeof(t) ? n : sizeof(t) - 1);
	if (n == 0 || strncmp(t, "cookie=", 7) == 0)
		return;
	if (sscanf(t, "table=%u", &value) == 1)
		*table = value;
	else if (sscanf(t, "priority=%u", &value) == 1)
		*priority = value;
	else
		fprintf(key, ",%.*s", (int)n, s);
}

// "cookie=0x1, table=2, priority=3,ip actions=..." becomes "table=2,priority=3,ip" and actions.
static void read_flow(const char *s, size_t n, struct rule_list *out)
{
	unsigned table = 0, priority = 32768; // what is left out when printed
	const char *actions = memmem(s, n, "actions=", 8);
	char *rest = NULL, *key;
	size_t size;
	if (actions == NULL)
		return;
	FILE *f = open_memstream(&rest, &size);
	if (f == NULL)
		abort();
	while (s < actions) {
		size_t term = strcspn(s, ", ");
		if (term > (size_t)(actions - s))
			term = (size_t)(actions - s);
		head_term(s, term, &table, &priority, f);
		s += term + 1;
	}
	if (fclose(f) != 0 || asprintf(&key, "table=%u,priority=%u%s", table, priority, rest) < 0)
		abort();
	free(rest);
	s = actions + 8;
	rule_add(out, key, copy(s, strcspn(s, "\r\n")));
}

void diff_read_flows(const char *dump, struct rule_list *out)
{
	const char *s;
	size_t n;
	while ((s = next_line(&dump, &n)) != NULL)
		read_flow(s, n, out);
}

static const struct rule *find(const struct rule_list *l, const char *key)
{
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->rule[i].key, key) == 0)
			return &l->rule[i];
	return NULL;
}

static void compare(
	const struct rule_list *has, const struct rule_list *wants, bool group, struct diff *out)
{
	for (unsigned i = 0; i < wants->n; i++) {
		const struct rule *w = &wants->rule[i], *h = find(has, w->key);
		if (h == NULL)
			out->entry[out->n++] = (struct diff_entry){DIFF_MISSING, group, h, w};
		else if (strcmp(h->body, w->body) != 0)
			out->entry[out->n++] = (struct diff_entry){DIFF_OTHER, group, h, w};
	}
	for (unsigned i = 0; i < has->n; i++)
		if (find(wants, has->rule[i].key) == NULL)
			out->entry[out->n++] =
				(struct diff_entry){DIFF_FOREIGN, group, &has->rule[i], NULL};
}

void diff_make(const struct rules *has, const struct rules *wants, struct diff *out)
{
	unsigned most = has->groups.n + has->flows.n + wants->groups.n + wants->flows.n;
	out->n = 0;
	out->entry = calloc(most + 1, sizeof(out->entry[0]));
	if (out->entry == NULL)
		abort();
	compare(&has->groups, &wants->groups, true, out);
	compare(&has->flows, &wants->flows, false, out);
}

void diff_free(struct diff *d)
{
	free(d->entry);
	*d = (struct diff){};
}

unsigned diff_count(const struct diff *d, enum diff_kind kind)
{
	unsigned n = 0;
	for (unsigned i = 0; i < d->n; i++)
		n += d->entry[i].kind == kind;
	return n;
}

void diff_print(const struct diff *d, FILE *f)
{
	for (unsigned i = 0; i < d->n; i++) {
		const struct diff_entry *e = &d->entry[i];
		const char *between = e->group ? "," : " actions=";
		if (e->has != NULL)
			fprintf(f, "-%s%s%s\n", e->has->key, between, e->has->body);
		if (e->wants != NULL)
			fprintf(f, "+%s%s%s\n", e->wants->key, between, e->wants->body);
	}
}

// Does a group that is to go, and is still there, refer to this one?
static bool referred(const struct diff *d, const bool *gone, const char *key)
{
	char word[32];
	size_t n = (size_t)snprintf(word, sizeof(word), "group:%s", key + strlen("group_id="));
	for (unsigned i = 0; i < d->n; i++) {
		const struct diff_entry *e = &d->entry[i];
		if (!e->group || e->kind != DIFF_FOREIGN || gone[i])
			continue;
		for (const char *s = e->has->body; (s = strstr(s, word)) != NULL; s += n)
			if (s[n] < '0' || s[n] > '9')
				return true;
	}
	return false;
}

static void delete_groups(const struct diff *d, FILE *f)
{
	bool *gone = calloc(d->n + 1, sizeof(gone[0])), more = true;
	if (gone == NULL)
		abort();
	while (more) {
		more = false;
		for (unsigned i = 0; i < d->n; i++) {
			const struct diff_entry *e = &d->entry[i];
			if (!e->group || e->kind != DIFF_FOREIGN || gone[i] ||
				referred(d, gone, e->has->key))
				continue;
			fprintf(f, "group delete %s\n", e->has->key);
			gone[i] = more = true;
		}
	}
	free(gone);
}

void diff_bundle(const struct diff *d, FILE *f)
{
	// Groups that are missing, then those that change, which may refer to them.
	for (enum diff_kind kind = DIFF_MISSING; kind <= DIFF_OTHER; kind++)
		for (unsigned i = 0; i < d->n; i++) {
			const struct diff_entry *e = &d->entry[i];
			if (e->group && e->kind == kind)
				fprintf(f, "group %s %s,%s\n",
					kind == DIFF_MISSING ? "add" : "modify", e->wants->key,
					e->wants->body);
		}
	for (unsigned i = 0; i < d->n; i++) {
		const struct diff_entry *e = &d->entry[i];
		if (!e->group && e->wants != NULL)
			fprintf(f, "flow add cookie=" RULES_COOKIE ",%s,actions=%s\n",
				e->wants->key, e->wants->body);
	}
	for (unsigned i = 0; i < d->n; i++) {
		const struct diff_entry *e = &d->entry[i];
		if (!e->group && e->kind == DIFF_FOREIGN)
			fprintf(f, "flow delete_strict %s\n", e->has->key);
	}
	delete_groups(d, f);
}
