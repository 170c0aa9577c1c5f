// SPDX-License-Identifier: BSD-3-Clause
// Configuration as a tree that remembers where each value was written.
//
// A module declares the options that it takes in a table of struct tripod_option. The loader checks
// a tree against the table (unknown keys, types, ranges, what is required) before any module sees
// it, so a module only checks what a table cannot say ("pools overlap"), and reports that with
// tripod_conf_error(), which names file and line.
//
// Thread: control thread, before workers start. Ownership: the tree's owner frees it; strings
// returned live as long as the tree.
#pragma once

#include <string.h>

#include <tripod/tuple.h>

struct tripod_conf; // a node of the tree: a mapping, a list or a scalar

enum tripod_option_type {
	TRIPOD_OPT_BOOL,
	TRIPOD_OPT_UINT, // min..max
	TRIPOD_OPT_STRING,
	TRIPOD_OPT_ENUM, // one of choices
	TRIPOD_OPT_ADDR, // IPv4 or IPv6 address
	TRIPOD_OPT_PREFIX, // address or prefix
	TRIPOD_OPT_PORTS, // "80" or "1024-65535"
	TRIPOD_OPT_MAC,
	TRIPOD_OPT_MAP, // a mapping with the keys of children
	TRIPOD_OPT_ANY, // a subtree checked by somebody else
};

struct tripod_option {
	const char *name; // NULL ends a table
	enum tripod_option_type type;
	bool required;
	bool list; // a sequence of values of this type; a single value counts as a list of one
	// of a TRIPOD_OPT_UINT, both included; of the length, for a list of another type, when max
	// > 0
	uint64_t min, max;
	const char *standard; // value when absent, as text; NULL: none
	const char *const *choices; // of a TRIPOD_OPT_ENUM, NULL-terminated
	const struct tripod_option *children; // of a TRIPOD_OPT_MAP
	const char *help; // one line, with the unit, for --help and the manual
};

// Children of a mapping or list, and where a node stands.
const struct tripod_conf *tripod_conf_get(const struct tripod_conf *c, const char *key); // or NULL
// elements of a list; 1 for a scalar or mapping, 0 for NULL
unsigned tripod_conf_count(const struct tripod_conf *c);
const struct tripod_conf *tripod_conf_at(const struct tripod_conf *c, unsigned i);
const char *tripod_conf_file(const struct tripod_conf *c);
unsigned tripod_conf_line(const struct tripod_conf *c);

// Values of the child `key` of the mapping c. The table has been checked, so that these cannot fail
// for what is required or has a standard value; otherwise absent reads as `otherwise` (0, NULL).
bool tripod_conf_bool(const struct tripod_conf *c, const char *key);
uint64_t tripod_conf_uint(const struct tripod_conf *c, const char *key);
const char *tripod_conf_string(const struct tripod_conf *c, const char *key);
// Which of an option's choices the text is: its index; of one that is not among them, how many there are.
static inline unsigned tripod_choice(const char *text, const char *const *choices)
{
	unsigned i = 0;

	while (choices[i] != NULL && strcmp(text, choices[i]) != 0)
		i++;
	return i;
}
// The value of a scalar node itself.
const char *tripod_conf_text(const struct tripod_conf *c);
int tripod_conf_addr(const struct tripod_conf *c, struct tripod_addr *a); // c is the scalar
int tripod_conf_prefix(const struct tripod_conf *c, struct tripod_prefix *p);
int tripod_conf_ports(const struct tripod_conf *c, uint16_t *first, uint16_t *last); // host order
int tripod_conf_mac(const struct tripod_conf *c, uint8_t mac[6]);

// Records an error at c ("rack.yaml:14: pool 203.0.113.0/28 overlaps ..."); returns -EINVAL. Say
// what is wrong and what to write instead. All errors of a file are reported together.
int tripod_conf_error(const struct tripod_conf *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
