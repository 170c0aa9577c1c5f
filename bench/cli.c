// SPDX-License-Identifier: BSD-3-Clause
#include "bench/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void cli_bad_usage(const char *what, const char *value)
{
	fprintf(stderr, "tripod-bench: %s%s%s\nTry tripod-bench --help\n", what,
		value != NULL ? " " : "", value != NULL ? value : "");
	exit(2);
}

uint64_t cli_number(const char *name, const char *text, uint64_t least, uint64_t most)
{
	char *end;

	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	if (errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0' && v >= least &&
		v <= most)
		return v;
	fprintf(stderr, "tripod-bench: %s takes a number from %lu to %lu, not %s\n", name, least,
		most, text);
	exit(2);
}

unsigned cli_list(
	const char *name, char *list, uint32_t *out, unsigned max, uint32_t least, uint32_t most)
{
	char *save, *at = strtok_r(list, ",", &save);
	unsigned n = 0;

	for (; at != NULL; at = strtok_r(NULL, ",", &save)) {
		if (n == max)
			cli_bad_usage("too many values in", name);
		out[n++] = (uint32_t)cli_number(name, at, least, most);
	}
	if (n == 0)
		cli_bad_usage("no value in", name);
	return n;
}

void cli_options(int argc, char **argv, const struct option *table,
	void (*take)(void *to, const char *name, char *value), void *to, void (*usage)(FILE *))
{
	// First --quick, in place of what is standard: what is said beside it counts, wherever it stands.
	for (int quick = 1; quick >= 0; quick--) {
		int c, at = 0;
		optind = 1;
		while ((c = getopt_long(argc, argv, "", table, &at)) != -1) {
			if (c == 'h')
				usage(stdout);
			if (c != 'o')
				exit(c == 'h' ? 0 : 2);
			if ((strcmp(table[at].name, "quick") == 0) == quick)
				take(to, table[at].name, optarg);
		}
	}
	if (optind == argc)
		return;
	fprintf(stderr, "tripod-bench: unexpected argument %s\nTry tripod-bench %s --help\n",
		argv[optind], argv[0]);
	exit(2);
}
