// SPDX-License-Identifier: BSD-3-Clause
#include "config/schema.h"

#include <errno.h>
#include <stdio.h>

#include "config/tree.h"

#define SCHEMA_KEYS_MAX 128 // options of one table

static int schema_map(struct tripod_conf *c, const struct tripod_option *table);

// "write ..." for one value of the option.
static struct conf_words schema_wanted(const struct tripod_option *o)
{
	struct conf_words w = {0};
	uint64_t max = o->max == 0 ? UINT64_MAX : o->max;
	switch (o->type) {
	case TRIPOD_OPT_BOOL:
		conf_add(&w, "true or false");
		break;
	case TRIPOD_OPT_UINT:
		if (max == UINT64_MAX)
			conf_add(&w, "a number of at least %llu", (unsigned long long)o->min);
		else
			conf_add(&w, "a number from %llu to %llu", (unsigned long long)o->min,
				(unsigned long long)max);
		break;
	case TRIPOD_OPT_STRING:
		conf_add(&w, "a text");
		break;
	case TRIPOD_OPT_ENUM:
		for (unsigned i = 0; o->choices[i] != NULL; i++)
			conf_add(&w, "%s%s",
				i == 0                      ? ""
				: o->choices[i + 1] == NULL ? " or "
							    : ", ",
				o->choices[i]);
		break;
	case TRIPOD_OPT_ADDR:
		conf_add(&w, "an IPv4 or IPv6 address");
		break;
	case TRIPOD_OPT_PREFIX:
		conf_add(&w, "an address, or a prefix such as 10.0.0.0/8");
		break;
	case TRIPOD_OPT_PORTS:
		conf_add(&w, "a port from 1 to 65535, or a range such as 1024-65535");
		break;
	case TRIPOD_OPT_MAC:
		conf_add(&w, "a MAC address such as 02:00:00:00:00:01");
		break;
	case TRIPOD_OPT_MAP:
		conf_add(&w, "a mapping with the keys ");
		for (const struct tripod_option *k = o->children; k->name != NULL; k++)
			conf_add(&w, "%s%s", k == o->children ? "" : ", ", k->name);
		break;
	case TRIPOD_OPT_ANY:
		conf_add(&w, "a value");
		break;
	}
	return w;
}

static bool schema_scalar_fits(const struct tripod_conf *c, const struct tripod_option *o)
{
	struct tripod_prefix prefix;
	struct tripod_addr addr;
	uint8_t mac[6];
	uint16_t first, last;
	uint64_t u;
	bool b;
	switch (o->type) {
	case TRIPOD_OPT_BOOL:
		return conf_parse_bool(c->text, &b) == 0;
	case TRIPOD_OPT_UINT:
		return conf_parse_uint(c->text, &u) == 0 && u >= o->min &&
		       (o->max == 0 || u <= o->max);
	case TRIPOD_OPT_ENUM:
		for (unsigned i = 0; o->choices[i] != NULL; i++)
			if (strcmp(o->choices[i], c->text) == 0)
				return true;
		return false;
	case TRIPOD_OPT_ADDR:
		return tripod_conf_addr(c, &addr) == 0;
	case TRIPOD_OPT_PREFIX:
		return tripod_conf_prefix(c, &prefix) == 0;
	case TRIPOD_OPT_PORTS:
		return tripod_conf_ports(c, &first, &last) == 0;
	case TRIPOD_OPT_MAC:
		return tripod_conf_mac(c, mac) == 0;
	case TRIPOD_OPT_STRING:
	case TRIPOD_OPT_ANY:
		return true;
	case TRIPOD_OPT_MAP:
		break;
	}
	return false;
}

static int schema_scalar(struct tripod_conf *c, const struct tripod_option *o)
{
	struct tripod_addr addr;
	struct tripod_prefix prefix;
	char text[TRIPOD_ADDR_STRLEN + 4];
	if (schema_scalar_fits(c, o))
		return 0;
	c->bad = true;
	// The likeliest slip has an obvious cure.
	if (o->type == TRIPOD_OPT_PREFIX && conf_parse_interface(c->text, &addr, &prefix) == 0)
		return tripod_conf_error(c,
			"%s is %s, which has bits behind its length; write %s, or the address "
			"alone",
			o->name, conf_quote(c->text).s,
			tripod_prefix_format(&prefix, text, sizeof(text)));
	return tripod_conf_error(
		c, "%s is %s; write %s", o->name, conf_quote(c->text).s, schema_wanted(o).s);
}

// One value: the option itself, or an element of its list.
static int schema_value(struct tripod_conf *c, const struct tripod_option *o)
{
	if (c->bad)
		return -EINVAL;
	c->type = o->type;
	if (o->type == TRIPOD_OPT_ANY)
		return 0;
	if (o->type == TRIPOD_OPT_MAP && c->kind == CONF_SCALAR && c->empty)
		c->kind = CONF_MAP;
	if (o->type == TRIPOD_OPT_MAP && c->kind == CONF_MAP)
		return schema_map(c, o->children);
	if (o->type != TRIPOD_OPT_MAP && c->kind == CONF_SCALAR && !c->empty)
		return schema_scalar(c, o);
	c->bad = true;
	if (c->kind == CONF_SCALAR && c->empty)
		return tripod_conf_error(
			c, "%s has no value; write %s", o->name, schema_wanted(o).s);
	if (c->kind == CONF_SCALAR)
		return tripod_conf_error(c, "%s is %s; write %s", o->name, conf_quote(c->text).s,
			schema_wanted(o).s);
	return tripod_conf_error(c, "%s is a %s; write %s", o->name,
		c->kind == CONF_MAP ? "mapping" : "list", schema_wanted(o).s);
}

static int schema_list(struct tripod_conf *c, const struct tripod_option *o)
{
	int result = 0;
	for (unsigned i = 0; i < c->n; i++)
		if (schema_value(c->entry[i].value, o) < 0)
			result = -EINVAL;
	if (o->type == TRIPOD_OPT_UINT || o->max == 0 || (c->n >= o->min && c->n <= o->max))
		return result;
	c->bad = true;
	if (o->min == o->max)
		return tripod_conf_error(
			c, "%s has %u elements; write %u", o->name, c->n, (unsigned)o->max);
	return tripod_conf_error(c, "%s has %u elements; write %u to %u", o->name, c->n,
		(unsigned)o->min, (unsigned)o->max);
}

static int schema_option(struct conf_entry *e, const struct tripod_option *o)
{
	struct tripod_conf *c = e->value;
	if (c->bad)
		return -EINVAL;
	if (!o->list)
		return schema_value(c, o);
	if (c->kind != CONF_LIST) {
		struct tripod_conf *list = conf_node(c->doc, CONF_LIST, c->line, c->name);
		list->standard = c->standard;
		if (!(c->kind == CONF_SCALAR && c->empty))
			conf_append(list, NULL, 0, c);
		e->value = c = list;
	}
	return schema_list(c, o);
}

static bool schema_has_required(const struct tripod_option *table)
{
	for (const struct tripod_option *o = table; o->name != NULL; o++)
		if (o->required)
			return true;
	return false;
}

// The option is absent: complain, or insert its standard value.
static int schema_absent(struct tripod_conf *c, const struct tripod_option *o)
{
	struct tripod_conf *value = NULL;
	if (o->required)
		return tripod_conf_error(c, "%s is missing%s%s; add \"%s:\" with %s%s", o->name,
			c->name == NULL ? "" : " in ", c->name == NULL ? "" : c->name, o->name,
			o->list ? "a list, each " : "", schema_wanted(o).s);
	if (o->standard != NULL) {
		value = conf_node(c->doc, CONF_SCALAR, c->line, o->name);
		value->text = conf_strdup(c->doc, o->standard);
	} else if (o->type == TRIPOD_OPT_MAP && !o->list && !schema_has_required(o->children)) {
		value = conf_node(c->doc, CONF_MAP, c->line, o->name); // for the standards inside
	}
	if (value == NULL)
		return 0;
	value->standard = true;
	conf_append(c, conf_strdup(c->doc, o->name), c->line, value);
	return schema_option(&c->entry[c->n - 1], o);
}

static int schema_unknown(
	const struct tripod_conf *c, const struct conf_entry *e, const struct tripod_option *table)
{
	const char *known[SCHEMA_KEYS_MAX];
	unsigned n = 0;
	struct conf_words w = {0};
	for (const struct tripod_option *o = table; o->name != NULL && n < SCHEMA_KEYS_MAX; o++) {
		conf_add(&w, "%s%s", n == 0 ? "" : ", ", o->name);
		known[n++] = o->name;
	}
	const char *guess = conf_guess(e->key, known, n);
	const char *in = c->name == NULL ? "" : " in ", *where = c->name == NULL ? "" : c->name;
	if (guess != NULL)
		return conf_error_at(c->doc, e->line, "unknown key %s%s%s; did you mean \"%s\"?",
			conf_quote(e->key).s, in, where, guess);
	if (n == 0)
		return conf_error_at(c->doc, e->line, "unknown key %s%s%s; it takes none",
			conf_quote(e->key).s, in, where);
	return conf_error_at(c->doc, e->line, "unknown key %s%s%s; the keys here are %s",
		conf_quote(e->key).s, in, where, w.s);
}

static int schema_map(struct tripod_conf *c, const struct tripod_option *table)
{
	int result = 0;
	for (unsigned i = 0; i < c->n; i++) {
		const struct tripod_option *o = table;
		while (o->name != NULL && strcmp(o->name, c->entry[i].key) != 0)
			o++;
		if (o->name == NULL)
			result = schema_unknown(c, &c->entry[i], table);
		else if (schema_option(&c->entry[i], o) < 0)
			result = -EINVAL;
	}
	for (const struct tripod_option *o = table; o->name != NULL; o++)
		if (conf_entry_find(c, o->name) == NULL && schema_absent(c, o) < 0)
			result = -EINVAL;
	return result;
}

int conf_check(const struct tripod_conf *c, const struct tripod_option *table)
{
	const struct tripod_option whole = {
		.name = c != NULL && c->name != NULL ? c->name : "the file",
		.type = TRIPOD_OPT_MAP,
		.children = table};
	if (c == NULL)
		return -EINVAL;
	// Callers see a tree that is read-only but for this: the document owns it.
	return schema_value((struct tripod_conf *)c, &whole);
}
