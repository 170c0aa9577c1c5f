// SPDX-License-Identifier: BSD-3-Clause
// What the command lines of the benches have in common.
#pragma once

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>

_Noreturn void cli_bad_usage(const char *what, const char *value); // value may be NULL
uint64_t cli_number(const char *name, const char *text, uint64_t least, uint64_t most);
// Numbers separated by commas: how many, at most max. list is taken apart.
unsigned cli_list(
	const char *name, char *list, uint32_t *out, unsigned max, uint32_t least, uint32_t most);
// Reads options alone: of table those with 'o' go to take(), --quick first, 'h' is --help. What is wrong ends the
// program.
void cli_options(int argc, char **argv, const struct option *table,
	void (*take)(void *to, const char *name, char *value), void *to, void (*usage)(FILE *));

int overhead_main(int argc, char **argv); // `tripod-bench overhead`; argv[0] is the verb
