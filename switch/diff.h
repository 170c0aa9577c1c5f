// SPDX-License-Identifier: BSD-3-Clause
// What a switch has against what it should have. Pure: the text of ovs-ofctl's dumps goes in, the text
// of a bundle that makes up the difference comes out.
#pragma once

#include <stdio.h>

#include "switch/rules.h"

#define RULES_COOKIE "0x747269706f64" // of all our flows

// Reads what dump-groups, or dump-flows --no-stats, has printed.
void diff_read_groups(const char *dump, struct rule_list *out);
void diff_read_flows(const char *dump, struct rule_list *out);

enum diff_kind { DIFF_MISSING, DIFF_OTHER, DIFF_FOREIGN };
struct diff {
	unsigned n;
	struct diff_entry {
		enum diff_kind kind;
		bool group; // else a flow
		const struct rule *has, *wants; // of the lists that were compared; NULL: none
	} * entry;
};
void diff_make(const struct rules *has, const struct rules *wants, struct diff *out);
void diff_free(struct diff *d);
unsigned diff_count(const struct diff *d, enum diff_kind kind);

// For people: a line with what the switch has (-) and one with what it should have (+), each.
void diff_print(const struct diff *d, FILE *f);
// For ovs-ofctl bundle, which does all of it at once or nothing. In an order that would be right one
// by one, too: a group is there before what refers to it, and goes after that.
void diff_bundle(const struct diff *d, FILE *f);
