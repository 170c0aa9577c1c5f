// SPDX-License-Identifier: BSD-3-Clause
// YAML files as trees of struct tripod_conf whose nodes know their line, and the list of errors
// that a file collects on its way (reading, schema, semantic checks, an NF's load()).
//
// The dialect is plain on purpose: one document of mappings, lists and scalars. Anchors, aliases
// and tags are refused (a small file must stay a small tree), and so are duplicate keys, tabs in
// indentation, and bytes that are not UTF-8. What a scalar means is for the schema to say, so that
// `mac: 02:00:00:00:00:01` or `name: no` need no quotes.
//
// Thread: one thread at a time per document. Memory: malloc; a process without memory for its
// configuration aborts.
#pragma once

#include <tripod/conf.h>

#define CONF_SIZE_MAX (4u << 20) // bytes of a file
#define CONF_DEPTH_MAX 32 // mappings and lists inside each other
#define CONF_NODES_MAX 200000 // mappings, lists and scalars of a file
#define CONF_KEYS_MAX 1024 // keys of one mapping
#define CONF_ERRORS_MAX 200 // errors kept; further ones are counted

struct conf_doc; // a file: owns its tree, its strings and its errors

// Never NULL. What was wrong stands in the document's errors; free it in any case.
struct conf_doc *conf_load(const char *path);
// The same from memory; name stands for the file in messages. For tests.
struct conf_doc *conf_load_text(const char *name, const char *text);
struct conf_doc *conf_load_bytes(const char *name, const void *bytes, size_t size);
void conf_free(struct conf_doc *doc); // NULL: nothing

// The topmost node; NULL when the file could not be read at all or is not YAML.
const struct tripod_conf *conf_root(const struct conf_doc *doc);

// Errors so far, those of tripod_conf_error() included.
unsigned conf_error_count(const struct conf_doc *doc);
// All of them sorted by line, each "file:line: what is wrong; what to write instead\n"; "" for
// none. Valid until the next error or conf_free().
const char *conf_report(struct conf_doc *doc);
// An error at no particular line: "file: ...".
int conf_error(struct conf_doc *doc, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Key number i of a mapping, in the order of the file; NULL past the end or when c is no mapping.
const char *conf_key(const struct tripod_conf *c, unsigned i);
