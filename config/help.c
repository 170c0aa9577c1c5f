// SPDX-License-Identifier: BSD-3-Clause
#include "config/help.h"

#include "config/tree.h"

#define HELP_INDENT 2
#define HELP_NAME_MAX 40
#define HELP_VALUE_MAX 40 // a longer text pushes its row's later columns to the right
#define HELP_STANDARD_MAX 32

struct help_widths {
	int name, value, standard;
};

static struct conf_words help_value(const struct tripod_option *o)
{
	static const char *const names[] = {
		[TRIPOD_OPT_BOOL] = "true or false",
		[TRIPOD_OPT_STRING] = "text",
		[TRIPOD_OPT_ADDR] = "address",
		[TRIPOD_OPT_PREFIX] = "prefix",
		[TRIPOD_OPT_PORTS] = "port or ports",
		[TRIPOD_OPT_MAC] = "MAC address",
		[TRIPOD_OPT_MAP] = "mapping",
		[TRIPOD_OPT_ANY] = "any",
	};
	struct conf_words w = {0};
	if (o->list && o->type != TRIPOD_OPT_UINT && o->max > 0)
		conf_add(&w, "list of %llu to %llu: ", (unsigned long long)o->min,
			(unsigned long long)o->max);
	else if (o->list)
		conf_add(&w, "list: ");
	if (o->type == TRIPOD_OPT_UINT && o->max > 0)
		conf_add(
			&w, "%llu to %llu", (unsigned long long)o->min, (unsigned long long)o->max);
	else if (o->type == TRIPOD_OPT_UINT)
		conf_add(&w, "%llu or more", (unsigned long long)o->min);
	else if (o->type == TRIPOD_OPT_ENUM)
		for (unsigned i = 0; o->choices[i] != NULL; i++)
			conf_add(&w, "%s%s", i == 0 ? "" : " | ", o->choices[i]);
	else
		conf_add(&w, "%s", names[o->type]);
	return w;
}

static const char *help_standard(const struct tripod_option *o)
{
	if (o->required)
		return "required";
	if (o->standard == NULL)
		return "-";
	return o->standard[0] == '\0' ? "\"\"" : o->standard;
}

static void help_widen(int *width, size_t n, int max)
{
	if ((int)n > *width && (int)n <= max)
		*width = (int)n;
}

static void help_measure(const struct tripod_option *table, unsigned depth, struct help_widths *w)
{
	for (const struct tripod_option *o = table; o->name != NULL; o++) {
		help_widen(&w->name, depth * HELP_INDENT + strlen(o->name), HELP_NAME_MAX);
		help_widen(&w->value, strlen(help_value(o).s), HELP_VALUE_MAX);
		help_widen(&w->standard, strlen(help_standard(o)), HELP_STANDARD_MAX);
		if (o->type == TRIPOD_OPT_MAP)
			help_measure(o->children, depth + 1, w);
	}
}

static void help_rows(
	FILE *f, const struct tripod_option *table, unsigned depth, const struct help_widths *w)
{
	for (const struct tripod_option *o = table; o->name != NULL; o++) {
		int indent = (int)(depth * HELP_INDENT);
		fprintf(f, "%*s%-*s  %-*s  ", indent, "", w->name - indent, o->name, w->value,
			help_value(o).s);
		if (o->help != NULL)
			fprintf(f, "%-*s  %s\n", w->standard, help_standard(o), o->help);
		else
			fprintf(f, "%s\n", help_standard(o));
		if (o->type == TRIPOD_OPT_MAP)
			help_rows(f, o->children, depth + 1, w);
	}
}

void conf_help(FILE *f, const struct tripod_option *table)
{
	struct help_widths w = {strlen("KEY"), strlen("VALUE"), strlen("STANDARD")};
	help_measure(table, 0, &w);
	fprintf(f, "%-*s  %-*s  %-*s  %s\n", w.name, "KEY", w.value, "VALUE", w.standard,
		"STANDARD", "MEANING");
	help_rows(f, table, 0, &w);
}
