// SPDX-License-Identifier: BSD-3-Clause
#include "config/test_nfs.h"

// cmocka wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "config/schema.h"

static const char *const policies[] = {"allow", "deny", NULL};
static const char *const actions[] = {"allow", "deny", "reject", NULL};
static const char *const froms[] = {"outside", "inside", "any", NULL};
static const char *const protos[] = {"tcp", "udp", "icmp", "any", NULL};

static const struct tripod_option rule_options[] = {
	{.name = "action", .type = TRIPOD_OPT_ENUM, .required = true, .choices = actions},
	{.name = "from", .type = TRIPOD_OPT_ENUM, .choices = froms, .standard = "any"},
	{.name = "proto", .type = TRIPOD_OPT_ENUM, .choices = protos, .standard = "any"},
	{.name = "src", .type = TRIPOD_OPT_PREFIX, .list = true, .max = 16},
	{.name = "dst", .type = TRIPOD_OPT_PREFIX, .list = true, .max = 16},
	{.name = "dport", .type = TRIPOD_OPT_PORTS, .list = true, .max = 16},
	TRIPOD_OPTION_DURABILITY("a test's rule"),
	{.name = "comment", .type = TRIPOD_OPT_STRING},
	{},
};

const struct tripod_option test_firewall_options[] = {
	{.name = "default", .type = TRIPOD_OPT_ENUM, .choices = policies, .standard = "deny"},
	{.name = "rules",
		.type = TRIPOD_OPT_MAP,
		.list = true,
		.max = 1000,
		.children = rule_options},
	{},
};

static const struct tripod_option backend_options[] = {
	{.name = "address", .type = TRIPOD_OPT_ADDR, .required = true},
	{.name = "port", .type = TRIPOD_OPT_UINT, .min = 1, .max = 65535, .required = true},
	{.name = "weight", .type = TRIPOD_OPT_UINT, .max = 256, .standard = "1"},
	{},
};

static const struct tripod_option service_options[] = {
	{.name = "name", .type = TRIPOD_OPT_STRING, .required = true},
	{.name = "vip", .type = TRIPOD_OPT_ADDR, .required = true},
	{.name = "port", .type = TRIPOD_OPT_UINT, .min = 1, .max = 65535, .required = true},
	{.name = "proto", .type = TRIPOD_OPT_ENUM, .choices = protos, .standard = "tcp"},
	{.name = "backends",
		.type = TRIPOD_OPT_MAP,
		.list = true,
		.required = true,
		.min = 1,
		.max = 64,
		.children = backend_options},
	TRIPOD_OPTION_DURABILITY("a test's service"),
	{},
};

static const struct tripod_option lb_options[] = {
	{.name = "services",
		.type = TRIPOD_OPT_MAP,
		.list = true,
		.required = true,
		.min = 1,
		.max = 64,
		.children = service_options},
	{},
};

static const struct tripod_option pool_options[] = {
	{.name = "name", .type = TRIPOD_OPT_STRING, .required = true},
	{.name = "addresses",
		.type = TRIPOD_OPT_PREFIX,
		.list = true,
		.required = true,
		.min = 1,
		.max = 16},
	{.name = "ports", .type = TRIPOD_OPT_PORTS, .standard = "1024-65535"},
	{},
};

static const struct tripod_option snat_rule_options[] = {
	{.name = "src", .type = TRIPOD_OPT_PREFIX, .list = true, .max = 16},
	{.name = "pool", .type = TRIPOD_OPT_STRING, .required = true},
	TRIPOD_OPTION_DURABILITY("a test's hosts"),
	{},
};

static const struct tripod_option snat_options[] = {
	{.name = "pools", .type = TRIPOD_OPT_MAP, .list = true, .children = pool_options},
	{.name = "rules", .type = TRIPOD_OPT_MAP, .list = true, .children = snat_rule_options},
	{},
};

static const struct tripod_nf nfs[] = {
	{.abi = TRIPOD_NF_ABI, .name = "firewall", .options = test_firewall_options},
	{.abi = TRIPOD_NF_ABI, .name = "lb", .options = lb_options},
	{.abi = TRIPOD_NF_ABI, .name = "mirror"}, // takes no options
	{.abi = TRIPOD_NF_ABI, .name = "snat", .options = snat_options},
};
#define NFS (sizeof(nfs) / sizeof(nfs[0]))

const struct tripod_nf *nf_find(const char *name)
{
	for (unsigned i = 0; i < NFS; i++)
		if (strcmp(nfs[i].name, name) == 0)
			return &nfs[i];
	return NULL;
}

unsigned nf_list(const struct tripod_nf **out, unsigned max)
{
	unsigned n = 0;
	for (; n < NFS && n < max; n++)
		out[n] = &nfs[n];
	return n;
}

static void test_compare(
	const char *text, const char *got, const char *wanted, int result, int line)
{
	if (strcmp(got, wanted) != 0) {
		print_error("line %d: of\n%s\nreport:\n%sexpected:\n%s", line, text, got, wanted);
		fail();
	}
	// An error that nobody reads about is none, and the other way round.
	assert_int_equal(result == 0, wanted[0] == '\0');
}

void test_rack_report(const char *text, int node, const char *report, int line)
{
	struct rack r;
	int result = rack_load_text("t.yaml", text, node, &r);
	test_compare(text, rack_report(&r), report, result, line);
	rack_free(&r);
}

void test_report(const char *text, const struct tripod_option *table, const char *report, int line)
{
	struct conf_doc *doc = conf_load_text("t.yaml", text);
	const struct tripod_conf *root = conf_root(doc);
	int result = table != NULL ? conf_check(root, table) : conf_error_count(doc) > 0 ? -1 : 0;
	test_compare(text, conf_report(doc), report, result, line);
	conf_free(doc);
}

// Line numbers that the tests name are those of this text.
const char test_rack[] = "rack:\n" // 1
			 "  name: lab\n"
			 "  backups: 1\n"
			 "  nodes:\n"
			 "    - id: 1\n" // 5
			 "      mac: 02:00:00:00:00:01\n"
			 "      outside: [203.0.113.11, '2001:db8:1::11']\n"
			 "      inside: 10.1.0.11\n"
			 "      fabric: 10.255.0.1\n"
			 "    - id: 2\n" // 10
			 "      mac: 02:00:00:00:00:02\n"
			 "      outside: [203.0.113.12, '2001:db8:1::12']\n"
			 "      inside: 10.1.0.12\n"
			 "      fabric: 10.255.0.2\n"
			 "network:\n" // 15
			 "  outside:\n"
			 "    vlan: 10\n"
			 "    relay_vlan: 11\n"
			 "    gateway: [203.0.113.1/24, '2001:db8:1::1/64']\n"
			 "    gateway_mac: 02:00:5e:00:01:01\n" // 20
			 "    routes:\n"
			 "      - {to: 0.0.0.0/0, via: 203.0.113.254}\n"
			 "      - {to: 198.51.100.0/25, via: 203.0.113.253}\n"
			 "  inside:\n"
			 "    vlan: 20\n" // 25
			 "    relay_vlan: 21\n"
			 "    gateway: 10.1.0.1/24\n"
			 "    gateway_mac: 02:00:5e:00:01:02\n"
			 "  fabric: {vlan: 30}\n"
			 "limits: {connections: 1000, embryonic: 100}\n" // 30
			 "chain:\n"
			 "  - firewall: {default: allow}\n";

const char *test_rack_with(unsigned line, const char *replacement, char out[TEST_RACK_MAX])
{
	size_t n = 0;
	unsigned at = 1;
	for (const char *s = test_rack, *end; *s != '\0'; s = end + 1, at++) {
		end = strchr(s, '\n');
		if (at != line)
			n += (size_t)snprintf(
				out + n, TEST_RACK_MAX - n, "%.*s\n", (int)(end - s), s);
		else if (replacement != NULL)
			n += (size_t)snprintf(out + n, TEST_RACK_MAX - n, "%s\n", replacement);
		assert_true(n < TEST_RACK_MAX);
	}
	return out;
}
