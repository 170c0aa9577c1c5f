// SPDX-License-Identifier: BSD-3-Clause
// The rules as a whole: how many, and that they hang together. What they do to packets is asked of
// switch/rules_test.py.
#include "switch/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "switch/rack.h"

static const struct rule *find(const struct rule_list *l, const char *key)
{
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->rule[i].key, key) == 0)
			return &l->rule[i];
	return NULL;
}

static unsigned occurrences(const char *text, const char *word)
{
	unsigned n = 0;
	for (const char *s = text; (s = strstr(s, word)) != NULL; s += strlen(word))
		n++;
	return n;
}

static void unique(const struct rule_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		assert_ptr_equal(find(l, l->rule[i].key), &l->rule[i]);
}

// Every group that is spoken of exists, and stands before: so rules can be added one by one.
static void refers_back(const struct rules *r)
{
	for (unsigned i = 0; i < r->groups.n + r->flows.n; i++) {
		bool group = i < r->groups.n;
		const char *s =
			group ? r->groups.rule[i].body : r->flows.rule[i - r->groups.n].body;
		const struct rule_list before = {
			.n = group ? i : r->groups.n, .rule = r->groups.rule};
		while ((s = strstr(s, "group:")) != NULL) {
			char key[32];
			s += strlen("group:");
			snprintf(key, sizeof(key), "group_id=%d", atoi(s));
			assert_non_null(find(&before, key));
		}
	}
}

static void few(const struct switch_rack *rack, const struct rules *r)
{
	unsigned n = rack->n_nodes, k = rack->failures;
	unsigned most = rack->model == SWITCH_MODULO      ? 2 + k
			: rack->model == SWITCH_TWO_STAGE ? n + 2 + k
							  : n + 2;
	assert_true(r->groups.n <= most);
	assert_true(r->flows.n <= 3 * n + 20);
	if (n <= 48 && rack->model == SWITCH_RESILIENT)
		assert_true(r->groups.n < 100);
	if (n <= 48)
		assert_true(r->groups.n <= 60);
}

static void whole(const struct switch_rack *rack)
{
	struct rules a, b;
	rules_make(rack, &a);
	rules_make(rack, &b);
	unique(&a.groups);
	unique(&a.flows);
	refers_back(&a);
	few(rack, &a);
	// The same rack has the same rules, whatever happened between; and no match of theirs knows an
	// address, a port or a connection.
	assert_int_equal(a.groups.n, b.groups.n);
	assert_int_equal(a.flows.n, b.flows.n);
	for (unsigned i = 0; i < a.groups.n; i++)
		assert_string_equal(a.groups.rule[i].body, b.groups.rule[i].body);
	for (unsigned i = 0; i < a.flows.n; i++) {
		assert_string_equal(a.flows.rule[i].key, b.flows.rule[i].key);
		assert_string_equal(a.flows.rule[i].body, b.flows.rule[i].body);
		assert_null(strstr(a.flows.rule[i].key, "nw_"));
		assert_null(strstr(a.flows.rule[i].key, "ipv6_"));
		assert_null(strstr(a.flows.rule[i].key, "tp_"));
		assert_null(strstr(a.flows.rule[i].body, "learn"));
		assert_null(strstr(a.flows.rule[i].body, "CONTROLLER"));
	}
	rules_free(&a);
	rules_free(&b);
}

static void every_rack(void **state)
{
	struct switch_rack rack;
	for (unsigned n = 1; n <= NODES_MAX; n++)
		for (unsigned model = 0; model < 3; model++)
			for (unsigned hash = 0; hash < 3; hash++)
				for (unsigned k = 0; k <= COPIES_MAX && k<n; k += n> 12 ? 5 : 1) {
					switch_rack_ports(n, &rack);
					rack.model = (enum switch_model)model;
					rack.hash = (enum switch_hash)hash;
					rack.failures = k;
					whole(&rack);
				}
}

static void as_the_paper_counts(void **state)
{
	struct switch_rack rack;
	struct rules r;
	switch_rack_ports(48, &rack);
	rack.model = SWITCH_TWO_STAGE;
	rack.failures = 10;
	rules_make(&rack, &r);
	assert_int_equal(r.groups.n, 60);
	rules_free(&r);
}

static char *group_body(const struct rules *r, unsigned id)
{
	char key[32];
	snprintf(key, sizeof(key), "group_id=%u", id);
	const struct rule *rule = find(&r->groups, key);
	assert_non_null(rule);
	return rule->body;
}

// The group without a node is the primary group, but for that node's buckets: they watch what never
// lives. So what both pick is the same until the node dies.
static void exclusion(void **state)
{
	struct switch_rack rack;
	struct rules r;
	for (unsigned hash = 0; hash < 3; hash++) {
		switch_rack_ports(7, &rack);
		rack.hash = (enum switch_hash)hash;
		rules_make(&rack, &r);
		for (unsigned i = 0; i < 7; i++) {
			char own[32], never[32], *s = strdup(group_body(&r, 1)), *at;
			char *wants = group_body(&r, GROUP_PREDICT + i);
			snprintf(own, sizeof(own), "watch_port:%u,", i + 1);
			snprintf(never, sizeof(never), "watch_port:%u,", SWITCH_PORT_NEVER);
			assert_int_equal(occurrences(wants, own), 0);
			assert_int_equal(occurrences(wants, never), occurrences(s, own));
			assert_int_equal(strlen(wants), strlen(s) + 4 * occurrences(wants, never));
			// Bucket by bucket.
			for (at = s; *at != '\0';) {
				if (strncmp(at, own, strlen(own)) == 0) {
					assert_memory_equal(wants, never, strlen(never));
					at += strlen(own);
					wants += strlen(never);
				} else {
					assert_int_equal(*at++, *wants++);
				}
			}
			free(s);
		}
		rules_free(&r);
	}
}

// Else what a dead node had might be picked for one survivor.
static void the_stages_hash_differently(void **state)
{
	struct switch_rack rack;
	struct rules r;
	for (unsigned hash = 0; hash < 3; hash++) {
		switch_rack_ports(5, &rack);
		rack.model = SWITCH_TWO_STAGE;
		rack.hash = (enum switch_hash)hash;
		rules_make(&rack, &r);
		char *first = group_body(&r, GROUP_PRIMARY),
		     *second = group_body(&r, GROUP_SECONDARY);
		*strstr(first, ",bucket=") = *strstr(second, ",bucket=") = '\0';
		assert_string_not_equal(first, second);
		assert_non_null(strstr(second, "selection_method_param="));
		rules_free(&r);
	}
}

static void has_places(const struct rules *r, unsigned ports, const char *const *outputs)
{
	const char *s = group_body(r, GROUP_PREDICT + ports);
	assert_int_equal(occurrences(s, "bucket="), ports);
	assert_null(strstr(s, "watch"));
	for (unsigned i = 0; i < ports; i++) {
		char words[96];
		snprintf(words, sizeof(words),
			"bucket_id:%u,actions=set_field:%u->ip_dscp,output:%s", i, i, outputs[i]);
		assert_non_null(strstr(s, words));
	}
}

// The group of M ports has as many places, each of which is written on the frame, whatever is alive.
static void so_many_ports(void **state)
{
	static const char *const all[] = {"1", "2", "3", "4", "5", "6"};
	static const char *const left[] = {"1", "3", "4", "5", "6", "1"};
	struct switch_rack rack;
	struct rules r;
	for (unsigned model = SWITCH_MODULO; model <= SWITCH_TWO_STAGE; model++) {
		unsigned most = model == SWITCH_MODULO ? 6 : 5;
		switch_rack_ports(6, &rack);
		rack.model = (enum switch_model)model;
		rack.failures = 3;
		rules_make(&rack, &r);
		for (unsigned m = 3; m <= most; m++)
			has_places(&r, m, all);
		assert_null(find(&r.groups, "group_id=202"));
		assert_null(find(&r.groups, "group_id=207"));
		assert_true((find(&r.groups, "group_id=206") != NULL) == (most == 6));
		rules_free(&r);
		// Node 1 stays away: one failure more is predicted, and no place is at its port.
		rack.without = 1 << 1;
		rules_make(&rack, &r);
		for (unsigned m = 2; m <= most; m++)
			has_places(&r, m, left);
		assert_null(find(&r.groups, "group_id=201"));
		rules_free(&r);
	}
}

// A second stage may pick among all nodes that there are while others are to come.
static void not_all_there_yet(void **state)
{
	struct switch_rack rack;
	struct rules r;
	switch_rack_ports(4, &rack);
	rack.model = SWITCH_TWO_STAGE;
	rules_make(&rack, &r);
	assert_null(find(&r.groups, "group_id=204"));
	rules_free(&r);
	rack.n_configured = 6;
	rules_make(&rack, &r);
	assert_non_null(find(&r.groups, "group_id=204"));
	rules_free(&r);
}

static void no_prediction(void **state)
{
	struct switch_rack rack;
	struct rules r;
	for (unsigned how = 0; how < 2; how++) {
		switch_rack_ports(4, &rack);
		if (how == 0)
			rack.failures = 0;
		else
			rack.predict_vlan = 0;
		rules_make(&rack, &r);
		assert_int_equal(r.groups.n, 1);
		for (unsigned i = 0; i < r.flows.n; i++)
			assert_null(strstr(r.flows.rule[i].key, "table=3"));
		rules_free(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_rack),
		cmocka_unit_test(as_the_paper_counts),
		cmocka_unit_test(exclusion),
		cmocka_unit_test(the_stages_hash_differently),
		cmocka_unit_test(so_many_ports),
		cmocka_unit_test(not_all_there_yet),
		cmocka_unit_test(no_prediction),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
