// SPDX-License-Identifier: BSD-3-Clause
// What the daemon tells of itself, as JSON: keys carry their unit, and are only ever added.
//
// Thread: the control thread, while the workers run.
#pragma once

#include <jansson.h>

#include "config/rack.h"
#include "daemon/reload.h"
#include "daemon/request.h"
#include "daemon/worker.h"

struct report {
	const struct rack *rack;
	const struct chains *chains;
	struct reload *reload;
	struct node *node;
	const struct port *port;
	const struct worker *workers;
	const char *port_name;
};

// The answer to any request but connections and stop.
json_t *report_answer(void *report, const struct request *r);
// Reads the key file again, and gives the workers what it says. 0, or a negative errno with what is
// wrong in err; then the keys in use stay.
int report_reload_keys(const struct report *r, char *err, size_t size);
json_t *report_connection(void *report, unsigned worker, const struct conn_view *v);
