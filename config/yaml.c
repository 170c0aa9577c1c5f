// SPDX-License-Identifier: BSD-3-Clause
#include "config/yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "config/tree.h"

struct reader {
	struct conf_doc *doc;
	yaml_parser_t parser;
	yaml_event_t event;
	const char *text;
	size_t size;
	unsigned lines; // of the file
	unsigned nodes;
};

// ---- Characters ----

// Length of the UTF-8 character at s, 0 when it is none.
static unsigned reader_utf8(const uint8_t *s, size_t left, uint32_t *code)
{
	unsigned n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	if (n == 0 || n > left || s[0] > 0xf4)
		return 0;
	uint32_t c = n == 1 ? s[0] : s[0] & (0xff >> (n + 1));
	for (unsigned i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*code = c;
	return n;
}

// Refuses what an editor hides or counts differently from the YAML reader (so that line numbers
// always agree): control characters, lone carriage returns, Unicode line separators.
static int reader_characters(struct reader *r)
{
	const uint8_t *s = (const uint8_t *)r->text;
	unsigned line = 1;
	for (size_t i = 0; i < r->size;) {
		uint32_t c = 0;
		unsigned n = reader_utf8(s + i, r->size - i, &c);
		if (n == 0)
			return conf_error_at(r->doc, line,
				"byte 0x%02x is not UTF-8; save the file with the encoding UTF-8",
				s[i]);
		if (c == '\r' && (i + 1 == r->size || s[i + 1] != '\n'))
			return conf_error_at(r->doc, line,
				"carriage return without a line feed; end lines with a line feed");
		if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7f && c < 0xa0) ||
			c == 0x2028 || c == 0x2029 || (c == 0xfeff && i > 0) || c == 0xfffe ||
			c == 0xffff)
			return conf_error_at(r->doc, line,
				"invisible character U+%04X; remove it, or write it as an escape "
				"in "
				"double quotes",
				(unsigned)c);
		if (c == '\n' && i + 1 < r->size)
			line++;
		i += n;
	}
	r->lines = line;
	return 0;
}

// ---- Errors of the YAML reader ----

static unsigned reader_line(const struct reader *r, const yaml_mark_t *m)
{
	unsigned line = (unsigned)m->line + 1;
	return line > r->lines ? r->lines : line; // at the end, behind the last line feed
}

static bool reader_tab_indent(const struct reader *r, unsigned line)
{
	const char *s = r->text, *end = r->text + r->size;
	for (unsigned i = 1; i < line && s != NULL; i++) {
		s = memchr(s, '\n', (size_t)(end - s));
		s = s == NULL ? NULL : s + 1;
	}
	for (; s != NULL && s < end && (*s == ' ' || *s == '\t'); s++)
		if (*s == '\t')
			return true;
	return false;
}

static int reader_syntax(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem != NULL ? p->problem : "cannot be read";
	const char *context = p->context != NULL ? p->context : "";
	if (p->error == YAML_MEMORY_ERROR)
		abort();
	unsigned line = reader_line(r, &p->problem_mark);
	unsigned began = reader_line(r, &p->context_mark);
	if (reader_tab_indent(r, line))
		return conf_error_at(r->doc, line, "tab in the indentation; indent with spaces");
	if (strcmp(context, "while scanning a simple key") == 0)
		return conf_error_at(r->doc, began,
			"neither a key nor a value; write \"key: value\", with a space behind the "
			"colon");
	if (strcmp(context, "while scanning a quoted scalar") == 0 &&
		strstr(problem, "unexpected") != NULL)
		return conf_error_at(
			r->doc, began, "the quote is never closed; add the second one");
	if (strcmp(problem, "mapping values are not allowed in this context") == 0)
		return conf_error_at(r->doc, line,
			"a key is not allowed here; indent it like the others, and quote values "
			"that "
			"hold \": \"");
	if (strcmp(problem, "did not find expected ',' or '}'") == 0)
		return conf_error_at(r->doc, line,
			"the { of line %u is not closed; write a comma between entries and } at "
			"the end",
			began);
	if (strcmp(problem, "did not find expected ',' or ']'") == 0)
		return conf_error_at(r->doc, line,
			"the [ of line %u is not closed; write a comma between elements and ] at "
			"the end",
			began);
	if (strcmp(problem, "did not find expected key") == 0 ||
		strcmp(problem, "did not find expected '-' indicator") == 0)
		return conf_error_at(r->doc, line,
			"does not fit into the %s that begins on line %u; indent its entries "
			"equally",
			strstr(context, "mapping") != NULL ? "mapping" : "list", began);
	return conf_error_at(r->doc, line,
		"not valid YAML (%s); correct it, or put the value into quotes", problem);
}

// ---- Events to nodes ----

static int reader_next(struct reader *r)
{
	yaml_event_delete(&r->event);
	return yaml_parser_parse(&r->parser, &r->event) ? 0 : reader_syntax(r);
}

static struct tripod_conf *reader_node(
	struct reader *r, const char *name, unsigned key_line, unsigned depth);

static void reader_refuse(
	struct reader *r, struct tripod_conf *c, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor != NULL) {
		conf_error_at(r->doc, c->line, "anchor &%s; anchors are not supported, remove it",
			(const char *)anchor);
		c->bad = true;
	}
	if (tag != NULL) {
		conf_error_at(r->doc, c->line,
			"tag %s; tags are not supported, write the plain value",
			conf_quote((const char *)tag).s);
		c->bad = true;
	}
}

// A scalar that begins on `line`; the event's bytes become a string.
static const char *reader_string(struct reader *r, unsigned line)
{
	const char *value = (const char *)r->event.data.scalar.value;
	if (strlen(value) != r->event.data.scalar.length) {
		conf_error_at(r->doc, line, "a NUL character in the text; remove it");
		return NULL;
	}
	return conf_strdup(r->doc, value);
}

static struct tripod_conf *reader_scalar(struct reader *r, const char *name, unsigned key_line)
{
	bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	bool empty = plain && r->event.data.scalar.length == 0;
	// The reader places what was left out at the next thing that it sees.
	unsigned line = empty && key_line != 0 ? key_line : reader_line(r, &r->event.start_mark);
	struct tripod_conf *c = conf_node(r->doc, CONF_SCALAR, line, name);
	c->text = reader_string(r, line);
	if (c->text == NULL) {
		c->text = "";
		c->bad = true;
	}
	c->empty = empty || (plain && (strcmp(c->text, "~") == 0 || strcmp(c->text, "null") == 0));
	reader_refuse(r, c, r->event.data.scalar.anchor, r->event.data.scalar.tag);
	return c;
}

static struct tripod_conf *reader_list(
	struct reader *r, const char *name, unsigned key_line, unsigned depth)
{
	bool block = r->event.data.sequence_start.style == YAML_BLOCK_SEQUENCE_STYLE;
	unsigned line = block && key_line != 0 ? key_line : reader_line(r, &r->event.start_mark);
	struct tripod_conf *c = conf_node(r->doc, CONF_LIST, line, name);
	reader_refuse(r, c, r->event.data.sequence_start.anchor, r->event.data.sequence_start.tag);
	for (;;) {
		if (reader_next(r) < 0)
			return NULL;
		if (r->event.type == YAML_SEQUENCE_END_EVENT)
			return c;
		struct tripod_conf *value = reader_node(r, name, 0, depth + 1);
		if (value == NULL)
			return NULL;
		conf_append(c, NULL, 0, value);
	}
}

// The key that the event holds. NULL: no key (reported, *fatal says whether reading can go on).
static const char *reader_key(struct reader *r, unsigned depth, unsigned *line, bool *fatal)
{
	*line = reader_line(r, &r->event.start_mark);
	*fatal = false;
	if (r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.length > 0) {
		if (r->event.data.scalar.anchor != NULL || r->event.data.scalar.tag != NULL) {
			conf_error_at(r->doc, *line, "anchor or tag at a key; remove it");
			return NULL;
		}
		return reader_string(r, *line);
	}
	conf_error_at(r->doc, *line, "a key must be plain text; write \"key: value\"");
	*fatal = reader_node(r, NULL, 0, depth + 1) == NULL;
	return NULL;
}

static struct tripod_conf *reader_map(
	struct reader *r, const char *name, unsigned key_line, unsigned depth)
{
	bool block = r->event.data.mapping_start.style == YAML_BLOCK_MAPPING_STYLE;
	unsigned line = block && key_line != 0 ? key_line : reader_line(r, &r->event.start_mark);
	struct tripod_conf *c = conf_node(r->doc, CONF_MAP, line, name);
	reader_refuse(r, c, r->event.data.mapping_start.anchor, r->event.data.mapping_start.tag);
	for (;;) {
		bool fatal;
		if (reader_next(r) < 0)
			return NULL;
		if (r->event.type == YAML_MAPPING_END_EVENT)
			return c;
		const char *key = reader_key(r, depth, &line, &fatal);
		if (fatal || reader_next(r) < 0)
			return NULL;
		struct tripod_conf *value = reader_node(r, key, line, depth + 1);
		if (value == NULL)
			return NULL;
		const struct conf_entry *first = key == NULL ? NULL : conf_entry_find(c, key);
		if (first != NULL) {
			conf_error_at(r->doc, line,
				"key %s is given twice, first on line %u; remove one of the two",
				conf_quote(key).s, first->line);
		} else if (key != NULL && c->n == CONF_KEYS_MAX) {
			conf_error_at(r->doc, line,
				"more than %d keys in one mapping; split it, or write a list",
				CONF_KEYS_MAX);
			return NULL;
		} else if (key != NULL) {
			conf_append(c, key, line, value);
		}
	}
}

// Takes the node that the present event begins. name: its key, or its list's. key_line: line of the
// key, 0 for an element. NULL: reading cannot go on (reported).
static struct tripod_conf *reader_node(
	struct reader *r, const char *name, unsigned key_line, unsigned depth)
{
	unsigned line = reader_line(r, &r->event.start_mark);
	if (++r->nodes > CONF_NODES_MAX) {
		conf_error_at(r->doc, line, "more than %d values in one file; shorten it",
			CONF_NODES_MAX);
		return NULL;
	}
	if (depth > CONF_DEPTH_MAX) {
		conf_error_at(
			r->doc, line, "nested deeper than %d; write it flatter", CONF_DEPTH_MAX);
		return NULL;
	}
	switch (r->event.type) {
	case YAML_SCALAR_EVENT:
		return reader_scalar(r, name, key_line);
	case YAML_SEQUENCE_START_EVENT:
		return reader_list(r, name, key_line, depth);
	case YAML_MAPPING_START_EVENT:
		return reader_map(r, name, key_line, depth);
	case YAML_ALIAS_EVENT:
		break;
	default: // the parser gives nothing else where a node stands
		abort();
	}
	conf_error_at(r->doc, line, "alias *%s; aliases are not supported, write the value out",
		(const char *)r->event.data.alias.anchor);
	struct tripod_conf *c = conf_node(r->doc, CONF_SCALAR, line, name);
	c->text = "";
	c->bad = true;
	return c;
}

static void reader_document(struct reader *r)
{
	// The start of the stream, then of the document.
	if (reader_next(r) < 0 || reader_next(r) < 0) // NOLINT(misc-redundant-expression)
		return;
	if (r->event.type == YAML_STREAM_END_EVENT) {
		conf_error_at(
			r->doc, 1, "nothing is configured here; write at least one \"key: value\"");
		return;
	}
	if (reader_next(r) < 0)
		return;
	struct tripod_conf *root = reader_node(r, NULL, 0, 0);
	if (root == NULL || reader_next(r) < 0 || reader_next(r) < 0)
		return;
	if (r->event.type != YAML_STREAM_END_EVENT)
		conf_error_at(r->doc, reader_line(r, &r->event.start_mark),
			"a second document begins here; write one document per file");
	conf_doc_set_root(r->doc, root);
}

static void reader_run(struct conf_doc *doc, const char *text, size_t size)
{
	struct reader r = {.doc = doc, .text = text, .size = size};
	if (size > CONF_SIZE_MAX) {
		conf_error(doc, "larger than %u bytes; shorten it", CONF_SIZE_MAX);
		return;
	}
	if (reader_characters(&r) < 0)
		return;
	if (!yaml_parser_initialize(&r.parser))
		abort();
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	// A byte order mark is legal, and stands in nobody's way once it is gone.
	size_t bom = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text + bom, size - bom);
	reader_document(&r);
	yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
}

struct conf_doc *conf_load_bytes(const char *name, const void *bytes, size_t size)
{
	struct conf_doc *doc = conf_doc_new(name);
	reader_run(doc, bytes, size);
	return doc;
}

struct conf_doc *conf_load_text(const char *name, const char *text)
{
	return conf_load_bytes(name, text, strlen(text));
}

struct conf_doc *conf_load(const char *path)
{
	struct conf_doc *doc = conf_doc_new(path);
	FILE *f = fopen(path, "rbe");
	if (f == NULL) {
		conf_error(doc, "cannot be opened: %s", strerror(errno));
		return doc;
	}
	char *bytes = malloc(CONF_SIZE_MAX + 1);
	if (bytes == NULL)
		abort();
	size_t size = fread(bytes, 1, CONF_SIZE_MAX + 1, f);
	if (ferror(f))
		conf_error(doc, "cannot be read: %s", strerror(errno));
	else
		reader_run(doc, bytes, size);
	free(bytes);
	fclose(f);
	return doc;
}
