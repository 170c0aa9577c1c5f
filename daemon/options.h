// SPDX-License-Identifier: BSD-3-Clause
// The command line of tripodd.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/node.h"

#define PLUGINS_MAX 32

struct options {
	const char *config;
	int node; // id, or RACK_NODE_*
	const char *port, *socket, *state_dir, *key_file;
	unsigned workers; // 0: as configured
	bool has_mac;
	uint8_t mac[6];
	unsigned n_cpus;
	int cpu[WORKERS_MAX];
	unsigned n_plugins;
	const char *plugin[PLUGINS_MAX];
	bool check, verbose;
};

// Reads the command line into o, which is all zero. What needs nothing more (--help, --version, --generate-key) is done
// here and ends the process with status 0, and a line that cannot be understood with 2.
void options_parse(int argc, char **argv, struct options *o);
