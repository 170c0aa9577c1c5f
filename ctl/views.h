// SPDX-License-Identifier: BSD-3-Clause
// The tables of tripodctl's commands.
#pragma once

#include "ctl/table.h"

struct view {
	const struct table_column *record; // members of the answer itself, or NULL
	const char *rows; // member of the answer that is the list, or NULL
	const struct table_column *columns; // of its rows
	const struct view *more; // a second list, below; or NULL
};

extern const struct view view_status, view_nodes, view_connections, view_counters, view_rates,
	view_chain, view_reload, view_keys, view_version, view_drain, view_stop;

// The answer as its view describes it, a new object.
json_t *view_json(const struct view *v, const json_t *answer);
void view_table(FILE *f, const struct view *v, const json_t *answer);
