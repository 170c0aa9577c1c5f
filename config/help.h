// SPDX-License-Identifier: BSD-3-Clause
// A table of options as text: for --help-config and the manual.
#pragma once

#include <stdio.h>

#include <tripod/conf.h>

// Columns: key (indented by depth), what to write, standard value, help.
void conf_help(FILE *f, const struct tripod_option *table);
