// SPDX-License-Identifier: BSD-3-Clause
// Inside of the tree, for this folder alone.
#pragma once

#include <stdarg.h>

#include "config/yaml.h"

enum conf_kind { CONF_SCALAR, CONF_MAP, CONF_LIST };

struct conf_entry {
	const char *key; // of a mapping; NULL in a list
	unsigned line; // of the key
	struct tripod_conf *value;
};

struct tripod_conf {
	struct conf_doc *doc;
	const char *name; // key under which it stands, or its list does; NULL: topmost
	const char *text; // of a scalar
	struct conf_entry *entry;
	unsigned n, room;
	unsigned line;
	enum conf_kind kind;
	enum tripod_option_type type; // what conf_check() found it to be; TRIPOD_OPT_ANY before
	bool empty; // a scalar that was left out: `key:`
	bool standard; // inserted by conf_check()
	bool bad; // an error has been reported for it: others would only follow from that one
};

struct conf_doc *conf_doc_new(const char *file);
void conf_doc_set_root(struct conf_doc *doc, struct tripod_conf *root);
// Memory that lives as long as the document, zeroed.
void *conf_alloc(struct conf_doc *doc, size_t size);
char *conf_strdup(struct conf_doc *doc, const char *text);

struct tripod_conf *conf_node(
	struct conf_doc *doc, enum conf_kind kind, unsigned line, const char *name);
void conf_append(
	struct tripod_conf *c, const char *key, unsigned key_line, struct tripod_conf *value);
const struct conf_entry *conf_entry_find(const struct tripod_conf *c, const char *key);

int conf_error_at(struct conf_doc *doc, unsigned line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

// "text" as a message may show it: cut off when long, never in the middle of a character.
#define CONF_QUOTE_MAX 64
struct conf_quote {
	char s[CONF_QUOTE_MAX + 8];
};
struct conf_quote conf_quote(const char *text);

// A text that grows up to a limit; what does not fit is left out.
struct conf_words {
	char s[1024];
	size_t n;
};
void conf_add(struct conf_words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The word of `words` that `word` was probably meant to be, or NULL.
const char *conf_guess(const char *word, const char *const *words, unsigned n);

// Scalars. 0 or -EINVAL.
int conf_parse_bool(const char *text, bool *b);
int conf_parse_uint(const char *text, uint64_t *u); // decimal, no sign, no leading zero
int conf_parse_ports(const char *text, uint16_t *first, uint16_t *last);
int conf_parse_mac(const char *text, uint8_t mac[6]);
// "203.0.113.1/24": the address as written, and its prefix. -ERANGE: a good address, but a length
// that its family does not have.
int conf_parse_interface(const char *text, struct tripod_addr *a, struct tripod_prefix *p);
