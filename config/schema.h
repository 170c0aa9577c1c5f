// SPDX-License-Identifier: BSD-3-Clause
// Checks a tree against a table of options, and completes it.
//
// Every mistake is recorded at its line. Standard values are inserted as nodes (at the line of the
// mapping that lacks them), so that the getters of tripod/conf.h never need the table. A single
// value of a list option becomes a list of one; a value left empty becomes an empty mapping or list
// where the table wants one.
#pragma once

#include "config/yaml.h"

// c: the mapping whose keys the table describes; NULL only after a reading error. 0, or -EINVAL
// with at least one error recorded. Checking twice is harmless.
int conf_check(const struct tripod_conf *c, const struct tripod_option *table);
