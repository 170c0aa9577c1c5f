// SPDX-License-Identifier: BSD-3-Clause
#include "config/canonical.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/tree.h"

// Bytes of a character that the reader of files wants as an escape (config/yaml.c), and its number; 0:
// it may stand as it is. The text is UTF-8.
static unsigned canonical_hidden(const char *text, unsigned *code)
{
	const unsigned char *s = (const unsigned char *)text;
	if (s[0] < 0x20 || s[0] == 0x7f) {
		*code = s[0];
		return 1;
	}
	if (s[0] == 0xc2 && s[1] < 0xa0) {
		*code = s[1];
		return 2;
	}
	if ((s[0] != 0xe2 && s[0] != 0xef) || s[1] == '\0')
		return 0;
	*code = (s[0] & 0xfu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
	bool hidden = *code == 0x2028 || *code == 0x2029 || *code == 0xfeff || *code >= 0xfffe;
	return hidden ? 3 : 0;
}

static void canonical_string(FILE *f, const char *s)
{
	unsigned n, code;
	fputc('"', f);
	for (; *s != '\0'; s += n > 0 ? n : 1) {
		n = canonical_hidden(s, &code);
		if (n > 0)
			fprintf(f, "\\u%04x", code);
		else if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void canonical_scalar(FILE *f, const struct tripod_conf *c)
{
	char text[TRIPOD_ADDR_STRLEN + 4];
	struct tripod_addr addr;
	struct tripod_prefix prefix;
	uint16_t first, last;
	uint8_t mac[6];
	bool b;
	if (c->type == TRIPOD_OPT_BOOL && conf_parse_bool(c->text, &b) == 0)
		fputs(b ? "true" : "false", f);
	else if (c->type == TRIPOD_OPT_UINT)
		fputs(c->text, f);
	else if (c->type == TRIPOD_OPT_ADDR && tripod_conf_addr(c, &addr) == 0)
		fprintf(f, "\"%s\"", tripod_addr_format(&addr, text, sizeof(text)));
	else if (c->type == TRIPOD_OPT_PREFIX && tripod_conf_prefix(c, &prefix) == 0)
		fprintf(f, "\"%s\"", tripod_prefix_format(&prefix, text, sizeof(text)));
	else if (c->type == TRIPOD_OPT_PORTS && tripod_conf_ports(c, &first, &last) == 0)
		fprintf(f, "\"%u-%u\"", first, last);
	else if (c->type == TRIPOD_OPT_MAC && tripod_conf_mac(c, mac) == 0)
		fprintf(f, "\"%02x:%02x:%02x:%02x:%02x:%02x\"", mac[0], mac[1], mac[2], mac[3],
			mac[4], mac[5]);
	else if (c->empty)
		fputs("null", f);
	else
		canonical_string(f, c->text);
}

static int canonical_compare(const void *a, const void *b)
{
	const struct conf_entry *p = a, *q = b;
	return strcmp(p->key, q->key);
}

// The depth is that of the tree, which the reader has bounded.
static void canonical_node(FILE *f, const struct tripod_conf *c)
{
	if (c->kind == CONF_SCALAR) {
		canonical_scalar(f, c);
		return;
	}
	struct conf_entry *sorted = NULL;
	if (c->n > 0) {
		sorted = malloc(c->n * sizeof(*sorted));
		if (sorted == NULL)
			abort();
		memcpy(sorted, c->entry, c->n * sizeof(*sorted));
		if (c->kind == CONF_MAP)
			qsort(sorted, c->n, sizeof(*sorted), canonical_compare);
	}
	fputc(c->kind == CONF_MAP ? '{' : '[', f);
	for (unsigned i = 0; i < c->n; i++) {
		if (i > 0)
			fputc(',', f);
		if (c->kind == CONF_MAP) {
			canonical_string(f, sorted[i].key);
			fputc(':', f);
		}
		canonical_node(f, sorted[i].value);
	}
	fputc(c->kind == CONF_MAP ? '}' : ']', f);
	free(sorted);
}

char *conf_canonical(const struct tripod_conf *c)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	if (f == NULL)
		abort();
	if (c != NULL)
		canonical_node(f, c);
	if (fclose(f) != 0)
		abort();
	return text;
}
