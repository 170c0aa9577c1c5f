// SPDX-License-Identifier: BSD-3-Clause
#include "config/tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct conf_problem {
	unsigned line; // 0: none in particular
	unsigned seq;
	char *text;
};

struct conf_chunk {
	struct conf_chunk *next;
	max_align_t data[];
};

struct conf_doc {
	char *file;
	struct tripod_conf *root;
	struct conf_chunk *chunks;
	struct conf_problem problem[CONF_ERRORS_MAX];
	unsigned n_problems, n_more;
	char *report;
};

static void *conf_memory(size_t size)
{
	void *p = calloc(1, size);
	if (p == NULL) {
		fputs("configuration: out of memory\n", stderr);
		abort();
	}
	return p;
}

// One malloc per object, so that a sanitizer sees every overrun.
void *conf_alloc(struct conf_doc *doc, size_t size)
{
	struct conf_chunk *k = conf_memory(sizeof(*k) + size);
	k->next = doc->chunks;
	doc->chunks = k;
	return k->data;
}

char *conf_strdup(struct conf_doc *doc, const char *text)
{
	size_t size = strlen(text) + 1;
	return memcpy(conf_alloc(doc, size), text, size);
}

struct conf_doc *conf_doc_new(const char *file)
{
	struct conf_doc *doc = conf_memory(sizeof(*doc));
	doc->file = conf_strdup(doc, file);
	return doc;
}

void conf_doc_set_root(struct conf_doc *doc, struct tripod_conf *root)
{
	doc->root = root;
}

void conf_free(struct conf_doc *doc)
{
	if (doc == NULL)
		return;
	for (struct conf_chunk *k = doc->chunks, *next; k != NULL; k = next) {
		next = k->next;
		free(k);
	}
	for (unsigned i = 0; i < doc->n_problems; i++)
		free(doc->problem[i].text);
	free(doc->report);
	free(doc);
}

const struct tripod_conf *conf_root(const struct conf_doc *doc)
{
	return doc->root;
}

struct tripod_conf *conf_node(
	struct conf_doc *doc, enum conf_kind kind, unsigned line, const char *name)
{
	struct tripod_conf *c = conf_alloc(doc, sizeof(*c));
	c->doc = doc;
	c->kind = kind;
	c->line = line;
	c->name = name;
	c->type = TRIPOD_OPT_ANY;
	return c;
}

void conf_append(
	struct tripod_conf *c, const char *key, unsigned key_line, struct tripod_conf *value)
{
	if (c->n == c->room) {
		unsigned room = c->room == 0 ? 4 : 2 * c->room;
		struct conf_entry *grown = conf_alloc(c->doc, room * sizeof(*grown));
		if (c->n > 0)
			memcpy(grown, c->entry, c->n * sizeof(*grown));
		c->entry = grown;
		c->room = room;
	}
	c->entry[c->n++] = (struct conf_entry){.key = key, .line = key_line, .value = value};
}

const struct conf_entry *conf_entry_find(const struct tripod_conf *c, const char *key)
{
	if (c == NULL || c->kind != CONF_MAP)
		return NULL;
	for (unsigned i = 0; i < c->n; i++)
		if (strcmp(c->entry[i].key, key) == 0)
			return &c->entry[i];
	return NULL;
}

const struct tripod_conf *tripod_conf_get(const struct tripod_conf *c, const char *key)
{
	const struct conf_entry *e = conf_entry_find(c, key);
	return e == NULL ? NULL : e->value;
}

unsigned tripod_conf_count(const struct tripod_conf *c)
{
	if (c == NULL)
		return 0;
	return c->kind == CONF_LIST ? c->n : 1;
}

const struct tripod_conf *tripod_conf_at(const struct tripod_conf *c, unsigned i)
{
	if (i >= tripod_conf_count(c))
		return NULL;
	return c->kind == CONF_LIST ? c->entry[i].value : c;
}

const char *conf_key(const struct tripod_conf *c, unsigned i)
{
	return c != NULL && c->kind == CONF_MAP && i < c->n ? c->entry[i].key : NULL;
}

const char *tripod_conf_file(const struct tripod_conf *c)
{
	return c == NULL ? NULL : c->doc->file;
}

unsigned tripod_conf_line(const struct tripod_conf *c)
{
	return c == NULL ? 0 : c->line;
}

// ---- Errors ----

static int conf_error_add(struct conf_doc *doc, unsigned line, const char *format, va_list args)
{
	if (doc->n_problems == CONF_ERRORS_MAX) {
		doc->n_more++;
		return -EINVAL;
	}
	struct conf_problem *p = &doc->problem[doc->n_problems];
	if (vasprintf(&p->text, format, args) < 0)
		abort();
	// One line per error, whatever the file has in its strings.
	for (char *s = p->text; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
	p->line = line;
	p->seq = doc->n_problems++;
	return -EINVAL;
}

int conf_error_at(struct conf_doc *doc, unsigned line, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	conf_error_add(doc, line, format, args);
	va_end(args);
	return -EINVAL;
}

int conf_error(struct conf_doc *doc, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	conf_error_add(doc, 0, format, args);
	va_end(args);
	return -EINVAL;
}

int tripod_conf_error(const struct tripod_conf *c, const char *format, ...)
{
	if (c == NULL) // nothing to name: still an error to the caller
		return -EINVAL;
	va_list args;
	va_start(args, format);
	conf_error_add(c->doc, c->line, format, args);
	va_end(args);
	return -EINVAL;
}

unsigned conf_error_count(const struct conf_doc *doc)
{
	return doc->n_problems + doc->n_more;
}

static int conf_problem_compare(const void *a, const void *b)
{
	const struct conf_problem *p = a, *q = b;
	if (p->line != q->line)
		return p->line < q->line ? -1 : 1;
	return p->seq < q->seq ? -1 : p->seq > q->seq;
}

const char *conf_report(struct conf_doc *doc)
{
	size_t size = 0;
	free(doc->report);
	doc->report = NULL;
	FILE *f = open_memstream(&doc->report, &size);
	if (f == NULL)
		abort();
	qsort(doc->problem, doc->n_problems, sizeof(doc->problem[0]), conf_problem_compare);
	for (unsigned i = 0; i < doc->n_problems; i++) {
		const struct conf_problem *p = &doc->problem[i];
		if (p->line == 0)
			fprintf(f, "%s: %s\n", doc->file, p->text);
		else
			fprintf(f, "%s:%u: %s\n", doc->file, p->line, p->text);
	}
	if (doc->n_more > 0)
		fprintf(f, "%s: %u more errors; correct these first\n", doc->file, doc->n_more);
	if (fclose(f) != 0)
		abort();
	return doc->report;
}

// ---- Words for messages ----

struct conf_quote conf_quote(const char *text)
{
	struct conf_quote q;
	size_t n = strlen(text);
	bool cut = n > CONF_QUOTE_MAX;
	if (cut) {
		n = CONF_QUOTE_MAX;
		while (n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80)
			n--;
	}
	snprintf(q.s, sizeof(q.s), "\"%.*s%s\"", (int)n, text, cut ? "..." : "");
	return q;
}

void conf_add(struct conf_words *w, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(w->s + w->n, sizeof(w->s) - w->n, format, args);
	va_end(args);
	if (n > 0)
		w->n += (size_t)n < sizeof(w->s) - w->n ? (size_t)n : sizeof(w->s) - w->n - 1;
}

// Insertions, deletions, replacements and swaps of neighbours that lead from a to b.
#define GUESS_LENGTH_MAX 40
static unsigned conf_distance(const char *a, const char *b)
{
	unsigned n = strlen(a), m = strlen(b);
	unsigned d[GUESS_LENGTH_MAX + 1][GUESS_LENGTH_MAX + 1];
	if (n > GUESS_LENGTH_MAX || m > GUESS_LENGTH_MAX)
		return GUESS_LENGTH_MAX;
	for (unsigned i = 0; i <= n; i++)
		d[i][0] = i;
	for (unsigned j = 0; j <= m; j++)
		d[0][j] = j;
	for (unsigned i = 1; i <= n; i++) {
		for (unsigned j = 1; j <= m; j++) {
			unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[n][m];
}

const char *conf_guess(const char *word, const char *const *words, unsigned n)
{
	const char *guess = NULL;
	unsigned best = strlen(word) / 4 + 2; // one slip, and one more for every four letters
	for (unsigned i = 0; i < n; i++) {
		unsigned d = conf_distance(word, words[i]);
		if (d < best && d < strlen(words[i])) {
			best = d;
			guess = words[i];
		}
	}
	// heartbeat -> heartbeat_ms: a unit left out costs many letters and is still plain.
	for (unsigned i = 0; i < n && guess == NULL; i++)
		if (strlen(word) >= 3 && strncmp(words[i], word, strlen(word)) == 0)
			guess = words[i];
	return guess;
}
