// SPDX-License-Identifier: BSD-3-Clause
// Reading the configuration again while the node runs: another chain becomes the one of new connections;
// whatever else has changed needs a restart, and is named.
//
// Thread: the control thread.
#pragma once

#include <jansson.h>

#include "daemon/chains.h"

struct reload {
	const char *path; // of the file
	int node; // id, or RACK_NODE_SELF
	const struct rack *rack; // what the node was started with
	struct chains *chains;
};

// check: only says what would be done. An object with "error", or with "changed", "chain_id" and "state":
// "unchanged", "good" (checked) or "announced".
json_t *reload_chain(struct reload *r, bool check);
void reload_logged(struct reload *r); // what comes of it goes to the log
