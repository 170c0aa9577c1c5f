// SPDX-License-Identifier: BSD-3-Clause
// For the tests of this folder: three network functions that have options and nothing else, so that
// the checks of a chain's sections need no real ones; and short ways to ask what a text led to.
#pragma once

#include "config/rack.h"

extern const struct tripod_option test_firewall_options[];

// Loads text as "t.yaml" for RACK_NODE_ANY and demands exactly this report ("" to load).
#define assert_rack_report(text, report) test_rack_report(text, RACK_NODE_ANY, report, __LINE__)
void test_rack_report(const char *text, int node, const char *report, int line);
// The same of a text checked against a table (NULL: read only).
#define assert_report(text, table, report) test_report(text, table, report, __LINE__)
void test_report(const char *text, const struct tripod_option *table, const char *report, int line);

// A rack of two nodes that loads, one line of it replaced: `line` as an editor counts, NULL
// deletes.
#define TEST_RACK_MAX 8192
const char *test_rack_with(unsigned line, const char *replacement, char out[TEST_RACK_MAX]);
extern const char test_rack[];
