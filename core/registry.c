// SPDX-License-Identifier: BSD-3-Clause
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/chain.h"

#define NAME_MAX_LENGTH 31
#define OPTIONS_DEPTH_MAX 8

// The one global of the core: written by constructors and the loader of plug-ins, before workers
// run.
static struct {
	unsigned n;
	const struct tripod_nf *nf[NF_REGISTRY_MAX]; // sorted by name
} registry;

// Lower-case letters, digits and underscores, a letter first: the same word serves as key of the
// configuration, as name of a metric and on the command line.
static bool is_name(const char *s)
{
	if (s == NULL || s[0] < 'a' || s[0] > 'z')
		return false;
	size_t n = 0;
	for (; s[n] != '\0'; n++)
		if (!((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= '0' && s[n] <= '9') ||
			    s[n] == '_') ||
			n >= NAME_MAX_LENGTH)
			return false;
	return true;
}

static int refuse(const char **why, const char *reason)
{
	*why = reason;
	return -EINVAL;
}

static bool field_format_fits(const struct tripod_field *f)
{
	switch (f->format) {
	case TRIPOD_FIELD_UINT:
		return f->size == 1 || f->size == 2 || f->size == 4 || f->size == 8;
	case TRIPOD_FIELD_PORT:
		return f->size == 2;
	case TRIPOD_FIELD_ADDR:
		return f->size == sizeof(struct tripod_addr);
	}
	return false;
}

static int check_fields(const struct tripod_nf *nf, const char **why)
{
	if (nf->state_size > CHAIN_STATE_MAX)
		return refuse(why, "state_size is too large");
	if (nf->fields == NULL)
		return 0;
	for (const struct tripod_field *f = nf->fields; f->name != NULL; f++) {
		if (!is_name(f->name))
			return refuse(why, "the name of a field is not snake_case");
		if (f->size == 0 || (uint32_t)f->offset + f->size > nf->state_size)
			return refuse(why, "a field lies outside state_size");
		if ((unsigned)f->class > TRIPOD_SOFT)
			return refuse(why, "a field has an unknown class");
		if (!field_format_fits(f))
			return refuse(why, "a field's size does not suit its format");
		for (const struct tripod_field *g = nf->fields; g != f; g++) {
			if (strcmp(f->name, g->name) == 0)
				return refuse(why, "two fields have the same name");
			if (f->offset < g->offset + g->size && g->offset < f->offset + f->size)
				return refuse(why, "two fields overlap");
		}
	}
	return 0;
}

static int check_counters(const struct tripod_nf *nf, const char **why)
{
	if (nf->counters == NULL)
		return 0;
	for (unsigned i = 0; nf->counters[i] != NULL; i++) {
		if (i == NF_COUNTERS_MAX)
			return refuse(why, "too many counters");
		if (!is_name(nf->counters[i]))
			return refuse(why, "the name of a counter is not snake_case");
		for (unsigned j = 0; j < i; j++)
			if (strcmp(nf->counters[i], nf->counters[j]) == 0)
				return refuse(why, "two counters have the same name");
	}
	return 0;
}

static bool is_uint_within(const char *text, uint64_t min, uint64_t max)
{
	uint64_t v = 0;
	if (text[0] == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
			return false;
	}
	return v >= min && v <= max;
}

static bool standard_fits(const struct tripod_option *o)
{
	if (o->standard == NULL || o->list)
		return true;
	switch (o->type) {
	case TRIPOD_OPT_BOOL:
		return strcmp(o->standard, "true") == 0 || strcmp(o->standard, "false") == 0;
	case TRIPOD_OPT_UINT:
		return is_uint_within(o->standard, o->min, o->max);
	case TRIPOD_OPT_ENUM:
		for (const char *const *c = o->choices; *c != NULL; c++)
			if (strcmp(o->standard, *c) == 0)
				return true;
		return false;
	case TRIPOD_OPT_MAP:
	case TRIPOD_OPT_ANY:
		return false;
	default:
		return true; // the configuration's checker parses it
	}
}

static int check_options(const struct tripod_option *options, unsigned depth, const char **why)
{
	if (depth == OPTIONS_DEPTH_MAX)
		return refuse(why, "options are nested too deeply");
	for (const struct tripod_option *o = options; o->name != NULL; o++) {
		if (!is_name(o->name))
			return refuse(why, "the name of an option is not snake_case");
		if ((unsigned)o->type > TRIPOD_OPT_ANY)
			return refuse(why, "an option has an unknown type");
		if (o->required && o->standard != NULL)
			return refuse(why, "an option is required and has a standard value");
		if (o->type == TRIPOD_OPT_UINT && o->max == 0)
			return refuse(why, "a number option has no maximum");
		if (o->min > o->max && o->max > 0)
			return refuse(why, "an option's minimum is above its maximum");
		if (o->type == TRIPOD_OPT_ENUM && (o->choices == NULL || o->choices[0] == NULL))
			return refuse(why, "an enum option has no choices");
		if (!standard_fits(o))
			return refuse(why, "an option's standard value is not one it accepts");
		for (const struct tripod_option *q = options; q != o; q++)
			if (strcmp(o->name, q->name) == 0)
				return refuse(why, "two options have the same name");
		if (o->type != TRIPOD_OPT_MAP)
			continue;
		if (o->children == NULL)
			return refuse(why, "a mapping option has no children");
		int err = check_options(o->children, depth + 1, why);
		if (err != 0)
			return err;
	}
	return 0;
}

int nf_check(const struct tripod_nf *nf, const char **why)
{
	*why = NULL;
	if (nf == NULL)
		return refuse(why, "no network function");
	// First: the rest of the struct means something only under the same ABI.
	if (nf->abi != TRIPOD_NF_ABI)
		return refuse(
			why, "built for another ABI: compile it again with this <tripod/nf.h>");
	if (!is_name(nf->name))
		return refuse(why, "the name is not snake_case, or longer than 31 characters");
	if (nf->summary == NULL || nf->summary[0] == '\0')
		return refuse(why, "no summary");
	if (nf->load == NULL || nf->on_init == NULL)
		return refuse(why, "load or on_init is missing");
	if (nf->kind != NULL &&
		(nf->kind->claim == NULL || nf->kind->update == NULL || nf->on_kind == NULL))
		return refuse(why, "a kind without claim, update or on_kind");
	if (nf->kind != NULL && nf->kind->state_size > TRIPOD_KIND_STATE_MAX)
		return refuse(why, "the state of a kind is too large");
	const struct tripod_nf *other = nf_find(nf->name);
	if (other != NULL && other != nf)
		return refuse(why, "the name is taken by another network function");
	if (other == NULL && registry.n == NF_REGISTRY_MAX)
		return refuse(why, "too many network functions are registered");
	int err = check_fields(nf, why);
	if (err == 0)
		err = check_counters(nf, why);
	if (err == 0 && nf->options != NULL)
		err = check_options(nf->options, 0, why);
	return err;
}

void tripod_nf_register(const struct tripod_nf *nf)
{
	const char *why;
	if (nf_check(nf, &why) != 0) {
		// Plug-ins are checked by their loader, with a message; a built-in is ours to
		// repair.
		assert(!"a built-in network function fails nf_check()");
		return;
	}
	unsigned at = registry.n;
	for (unsigned i = 0; i < registry.n; i++) {
		int order = strcmp(nf->name, registry.nf[i]->name);
		if (order == 0)
			return; // the very same: registering twice changes nothing
		if (order < 0) {
			at = i;
			break;
		}
	}
	memmove(&registry.nf[at + 1], &registry.nf[at], (registry.n - at) * sizeof(registry.nf[0]));
	registry.nf[at] = nf;
	registry.n++;
}

const struct tripod_nf *nf_find(const char *name)
{
	for (unsigned i = 0; i < registry.n; i++)
		if (strcmp(registry.nf[i]->name, name) == 0)
			return registry.nf[i];
	return NULL;
}

unsigned nf_list(const struct tripod_nf **nfs, unsigned max)
{
	unsigned n = registry.n < max ? registry.n : max;
	memcpy(nfs, registry.nf, n * sizeof(nfs[0]));
	return n;
}
