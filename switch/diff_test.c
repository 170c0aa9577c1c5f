// SPDX-License-Identifier: BSD-3-Clause
#include "switch/diff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "switch/rack.h"

static void reads_groups(void **state)
{
	struct rule_list l = {};
	diff_read_groups("OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):\n"
			 " group_id=7,type=select,bucket=bucket_id:1,actions=output:1\n"
			 " group_id=101,type=ff,bucket=bucket_id:2,watch_group:2,actions=group:2\n",
		&l);
	assert_int_equal(l.n, 2);
	assert_string_equal(l.rule[0].key, "group_id=7");
	assert_string_equal(l.rule[0].body, "type=select,bucket=bucket_id:1,actions=output:1");
	assert_string_equal(l.rule[1].key, "group_id=101");
	rules_free(&(struct rules){.groups = l});
}

static void reads_flows(void **state)
{
	static const struct rule wants[] = {
		{"table=0,priority=20,in_port=101,dl_dst=02:00:5e:00:01:01", "group:1"},
		{"table=3,priority=0", "resubmit(,4),goto_table:5"},
		{"table=0,priority=32768", "NORMAL"},
		{"table=2,priority=5,idle_timeout=7,ip", "drop"},
	};
	struct rule_list l = {};
	diff_read_flows("OFPST_FLOW reply (OF1.5) (xid=0x2):\n"
			" cookie=0x747269706f64, priority=20,in_port=101,dl_dst=02:00:5e:00:01:01 "
			"actions=group:1\n"
			" cookie=0x0, table=3, priority=0 actions=resubmit(,4),goto_table:5\n"
			" actions=NORMAL\n"
			" table=2, idle_timeout=7, priority=5,ip actions=drop",
		&l);
	assert_int_equal(l.n, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_string_equal(l.rule[i].key, wants[i].key);
		assert_string_equal(l.rule[i].body, wants[i].body);
	}
	rules_free(&(struct rules){.flows = l});
}

// ---- A switch that does what a bundle says, line by line ----

static struct rule *held(struct rule_list *l, const char *key)
{
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->rule[i].key, key) == 0)
			return &l->rule[i];
	return NULL;
}

static void set(struct rule_list *l, char *key, char *body)
{
	struct rule *r = held(l, key);
	if (r == NULL) {
		rule_add(l, key, body);
		return;
	}
	free(r->key);
	free(r->body);
	*r = (struct rule){key, body};
}

static void forget(struct rule_list *l, const char *key)
{
	struct rule *r = held(l, key);
	assert_non_null(r);
	free(r->key);
	free(r->body);
	*r = l->rule[--l->n];
}

// At no moment does anything refer to a group that is not there.
static void nothing_dangles(struct rules *r)
{
	for (unsigned i = 0; i < r->groups.n + r->flows.n; i++) {
		const char *s = i < r->groups.n ? r->groups.rule[i].body
						: r->flows.rule[i - r->groups.n].body;
		while ((s = strstr(s, "group:")) != NULL) {
			char key[32];
			s += strlen("group:");
			snprintf(key, sizeof(key), "group_id=%d", atoi(s));
			assert_non_null(held(&r->groups, key));
		}
	}
}

static void carry_out(struct rules *r, char *line)
{
	static const char flow_add[] = "flow add cookie=" RULES_COOKIE ",";
	char *middle;
	if (strncmp(line, "group add ", 10) == 0 || strncmp(line, "group modify ", 13) == 0) {
		char *key = line + (line[6] == 'a' ? 10 : 13);
		middle = strchr(key, ',');
		*middle = '\0';
		assert_true((held(&r->groups, key) == NULL) == (line[6] == 'a'));
		set(&r->groups, strdup(key), strdup(middle + 1));
	} else if (strncmp(line, "group delete ", 13) == 0) {
		forget(&r->groups, line + 13);
	} else if (strncmp(line, "flow delete_strict ", 19) == 0) {
		forget(&r->flows, line + 19);
	} else {
		assert_memory_equal(line, flow_add, sizeof(flow_add) - 1);
		char *key = line + sizeof(flow_add) - 1;
		middle = strstr(key, ",actions=");
		*middle = '\0';
		set(&r->flows, strdup(key), strdup(middle + strlen(",actions=")));
	}
	nothing_dangles(r);
}

// Makes `has` what `wants` is, by a bundle.
static void apply(struct rules *has, const struct rules *wants)
{
	struct diff d;
	char *bundle, *save = NULL;
	size_t size;
	FILE *f = open_memstream(&bundle, &size);
	diff_make(has, wants, &d);
	diff_bundle(&d, f);
	fclose(f);
	diff_free(&d); // before the lists change
	for (char *line = strtok_r(bundle, "\n", &save); line != NULL;
		line = strtok_r(NULL, "\n", &save))
		carry_out(has, line);
	free(bundle);
}

static void draw(struct rng *rng, struct switch_rack *rack)
{
	switch_rack_ports(1 + rng_below(rng, 12), rack);
	rack->model = (enum switch_model)rng_below(rng, 3);
	rack->hash = (enum switch_hash)rng_below(rng, 3);
	rack->failures = rng_below(rng, rack->n_nodes);
	rack->without = rng_below(rng, 4);
	if (rng_below(rng, 4) == 0)
		rack->predict_vlan = 2048;
}

// From any rack's rules to any other's, and then nothing is left to do.
static void from_any_to_any(void **state)
{
	struct rng rng = {.state = 7};
	struct rules has = {}, wants;
	struct switch_rack rack;
	struct diff d;
	for (unsigned i = 0; i < 400; i++) {
		draw(&rng, &rack);
		rules_make(&rack, &wants);
		if (rng_below(&rng, 3) == 0)
			rule_add(&has.flows, strdup("table=9,priority=7,ip"), strdup("NORMAL"));
		apply(&has, &wants);
		diff_make(&has, &wants, &d);
		assert_int_equal(d.n, 0);
		diff_free(&d);
		assert_int_equal(has.groups.n, wants.groups.n);
		assert_int_equal(has.flows.n, wants.flows.n);
		rules_free(&wants);
	}
	rules_free(&has);
}

// Groups go before those that they refer to, and a number is not another's beginning.
static void deletes_in_order(void **state)
{
	struct rule have[] = {{"group_id=20", "a"}, {"group_id=2", "actions=group:20"},
		{"group_id=1", "actions=group:2"}};
	const struct rules has = {.groups = {.n = 3, .rule = have}}, wants = {};
	struct diff d;
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	diff_make(&has, &wants, &d);
	diff_bundle(&d, f);
	fclose(f);
	assert_string_equal(text,
		"group delete group_id=1\ngroup delete group_id=2\ngroup delete group_id=20\n");
	free(text);
	diff_free(&d);
}

static void tells_apart(void **state)
{
	struct rule have[] = {{"group_id=1", "a"}, {"group_id=2", "b"}};
	struct rule want[] = {{"group_id=2", "c"}, {"group_id=3", "d"}};
	struct rule flow[] = {{"table=0,priority=1", "drop"}};
	const struct rules has = {.groups = {.n = 2, .rule = have}},
			   wants = {.groups = {.n = 2, .rule = want},
				   .flows = {.n = 1, .rule = flow}};
	struct diff d;
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	diff_make(&has, &wants, &d);
	assert_int_equal(diff_count(&d, DIFF_MISSING), 2);
	assert_int_equal(diff_count(&d, DIFF_OTHER), 1);
	assert_int_equal(diff_count(&d, DIFF_FOREIGN), 1);
	diff_print(&d, f);
	fclose(f);
	assert_string_equal(text, "-group_id=2,b\n+group_id=2,c\n+group_id=3,d\n-group_id=1,a\n"
				  "+table=0,priority=1 actions=drop\n");
	free(text);
	diff_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_groups),
		cmocka_unit_test(reads_flows),
		cmocka_unit_test(from_any_to_any),
		cmocka_unit_test(deletes_in_order),
		cmocka_unit_test(tells_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
