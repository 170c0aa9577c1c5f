// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/test_nfs.h"

static unsigned line_of(const struct tripod_conf *c, const char *key)
{
	return tripod_conf_line(tripod_conf_get(c, key));
}

static void tree_and_lines(void **state)
{
	struct conf_doc *doc = conf_load_text("t.yaml", "# a comment\n"
							"\n"
							"name: lab # behind a value\r\n"
							"list:\n"
							"  - one\n"
							"  -\n"
							"    two: 2\n"
							"    three:\n"
							"  - [3,\n"
							"     4]\n"
							"flow:\n"
							"  {a: 1,\n"
							"   b: \"x\\ty\"}\n"
							"text: |\n"
							"  first\n"
							"  second\n"
							"nothing:\n"
							"# and so it ends\n"
							"last: 'it''s'\n");
	const struct tripod_conf *root = conf_root(doc), *list = tripod_conf_get(root, "list");
	assert_string_equal(conf_report(doc), "");
	assert_string_equal(tripod_conf_file(root), "t.yaml");
	assert_int_equal(tripod_conf_line(root), 3);
	assert_string_equal(tripod_conf_string(root, "name"), "lab");
	assert_int_equal(line_of(root, "name"), 3);
	assert_int_equal(tripod_conf_count(list), 3);
	assert_int_equal(tripod_conf_line(list), 4);
	assert_int_equal(tripod_conf_line(tripod_conf_at(list, 0)), 5);
	assert_int_equal(tripod_conf_line(tripod_conf_at(list, 1)), 7);
	assert_int_equal(line_of(tripod_conf_at(list, 1), "three"), 8);
	assert_int_equal(tripod_conf_line(tripod_conf_at(list, 2)), 9);
	assert_int_equal(tripod_conf_line(tripod_conf_at(tripod_conf_at(list, 2), 1)), 10);
	assert_null(tripod_conf_at(list, 3));
	assert_int_equal(line_of(root, "flow"), 12);
	assert_string_equal(tripod_conf_string(tripod_conf_get(root, "flow"), "b"), "x\ty");
	assert_int_equal(line_of(tripod_conf_get(root, "flow"), "b"), 13);
	assert_string_equal(tripod_conf_string(root, "text"), "first\nsecond\n");
	assert_int_equal(line_of(root, "nothing"), 17);
	assert_int_equal(line_of(root, "last"), 19);
	assert_string_equal(tripod_conf_string(root, "last"), "it's");
	assert_string_equal(conf_key(root, 1), "list");
	assert_null(conf_key(root, 6));
	assert_null(conf_key(list, 0));
	assert_null(tripod_conf_get(root, "absent"));
	assert_int_equal(tripod_conf_count(NULL), 0);
	assert_int_equal(tripod_conf_count(root), 1);
	assert_ptr_equal(tripod_conf_at(root, 0), root);
	conf_free(doc);
}

static void values(void **state)
{
	struct conf_doc *doc = conf_load_text("t.yaml",
		"yes: yes\noff: off\nn: 4294967296\naddr: 10.1.2.3\nprefix: 10.1.0.0/16\n"
		"prefix6: '2001:db8::/32'\nhost: 10.1.2.3\nport: 80\nports: 1024-65535\n"
		"mac: 02:00:5E:00:01:fF\nlist: []\nwrong: 10.1.2.3/16\n");
	const struct tripod_conf *c = conf_root(doc);
	struct tripod_prefix p;
	struct tripod_addr a;
	uint16_t first, last;
	uint8_t mac[6];
	char text[64];
	assert_true(tripod_conf_bool(c, "yes"));
	assert_false(tripod_conf_bool(c, "off"));
	assert_false(tripod_conf_bool(c, "absent"));
	assert_int_equal(tripod_conf_uint(c, "n"), 4294967296);
	assert_int_equal(tripod_conf_uint(c, "absent"), 0);
	assert_null(tripod_conf_string(c, "absent"));
	assert_null(tripod_conf_string(c, "list"));
	assert_int_equal(tripod_conf_addr(tripod_conf_get(c, "addr"), &a), 0);
	assert_string_equal(tripod_addr_format(&a, text, sizeof(text)), "10.1.2.3");
	assert_int_equal(tripod_conf_addr(tripod_conf_get(c, "prefix"), &a), -22);
	assert_int_equal(tripod_conf_prefix(tripod_conf_get(c, "prefix"), &p), 0);
	assert_int_equal(p.len, 112);
	assert_int_equal(tripod_conf_prefix(tripod_conf_get(c, "prefix6"), &p), 0);
	assert_int_equal(p.len, 32);
	assert_int_equal(tripod_conf_prefix(tripod_conf_get(c, "host"), &p), 0);
	assert_int_equal(p.len, 128);
	assert_int_equal(tripod_conf_prefix(tripod_conf_get(c, "wrong"), &p), -22);
	assert_int_equal(tripod_conf_ports(tripod_conf_get(c, "port"), &first, &last), 0);
	assert_int_equal(first, 80);
	assert_int_equal(last, 80);
	assert_int_equal(tripod_conf_ports(tripod_conf_get(c, "ports"), &first, &last), 0);
	assert_int_equal(first, 1024);
	assert_int_equal(last, 65535);
	assert_int_equal(tripod_conf_ports(tripod_conf_get(c, "absent"), &first, &last), -22);
	assert_int_equal(tripod_conf_mac(tripod_conf_get(c, "mac"), mac), 0);
	assert_memory_equal(mac, "\x02\x00\x5e\x00\x01\xff", 6);
	conf_free(doc);
}

static void refused(void **state)
{
	assert_report("a: 1\nb:\n  c: 2\na: 3\n", NULL,
		"t.yaml:4: key \"a\" is given twice, first on line 1; remove one of the two\n");
	assert_report("a: &x 1\nb: *x\nc: !!str 3\n", NULL,
		"t.yaml:1: anchor &x; anchors are not supported, remove it\n"
		"t.yaml:2: alias *x; aliases are not supported, write the value out\n"
		"t.yaml:3: tag \"tag:yaml.org,2002:str\"; tags are not supported, write the plain "
		"value\n");
	assert_report("a: 1\n---\nb: 2\n", NULL,
		"t.yaml:2: a second document begins here; write one document per file\n");
	assert_report("# only this\n", NULL,
		"t.yaml:1: nothing is configured here; write at least one \"key: value\"\n");
	assert_report("", NULL,
		"t.yaml:1: nothing is configured here; write at least one \"key: value\"\n");
	assert_report("a: 1\n[b, c]: 2\n", NULL,
		"t.yaml:2: a key must be plain text; write \"key: value\"\n");
	assert_report("a: \"x\\0y\"\n", NULL, "t.yaml:1: a NUL character in the text; remove it\n");
}

static void syntax(void **state)
{
	assert_report("a: 1\nb:\n\tc: 2\n", NULL,
		"t.yaml:3: tab in the indentation; indent with spaces\n");
	assert_report("a: 1\nb 2\nc: 3\n", NULL,
		"t.yaml:2: neither a key nor a value; write \"key: value\", with a space behind "
		"the "
		"colon\n");
	assert_report("a: 1\nb: \"2\nc: 3\n", NULL,
		"t.yaml:2: the quote is never closed; add the second one\n");
	assert_report("a: 1\nb: c: d\n", NULL,
		"t.yaml:2: a key is not allowed here; indent it like the others, and quote values "
		"that "
		"hold \": \"\n");
	assert_report("a: {b: 1, c: 2\nd: 3\n", NULL,
		"t.yaml:2: the { of line 1 is not closed; write a comma between entries and } at "
		"the "
		"end\n");
	assert_report("a: [1, 2\n", NULL,
		"t.yaml:1: the [ of line 1 is not closed; write a comma between elements and ] at "
		"the "
		"end\n");
	assert_report("a:\n    b: 1\n  c: 2\n", NULL,
		"t.yaml:3: does not fit into the mapping that begins on line 1; indent its entries "
		"equally\n");
	assert_report("a: @x\n", NULL,
		"t.yaml:1: not valid YAML (found character that cannot start any token); correct "
		"it, or "
		"put the value into quotes\n");
}

static void characters(void **state)
{
	assert_report("a: 1\nb: \xc3\x28\n", NULL,
		"t.yaml:2: byte 0xc3 is not UTF-8; save the file with the encoding UTF-8\n");
	assert_report("a: \xed\xa0\x80\n", NULL, // a surrogate
		"t.yaml:1: byte 0xed is not UTF-8; save the file with the encoding UTF-8\n");
	assert_report("a: \xc0\xaf\n", NULL, // overlong
		"t.yaml:1: byte 0xc0 is not UTF-8; save the file with the encoding UTF-8\n");
	assert_report("a: \xf4\x90\x80\x80\n", NULL, // above U+10FFFF
		"t.yaml:1: byte 0xf4 is not UTF-8; save the file with the encoding UTF-8\n");
	assert_report("a: \xe2\x82", NULL, // cut off
		"t.yaml:1: byte 0xe2 is not UTF-8; save the file with the encoding UTF-8\n");
	assert_report("\xff\xfe"
		      "a",
		NULL, "t.yaml:1: byte 0xff is not UTF-8; save the file with the encoding UTF-8\n");
	assert_report("a: 1\nb: x\x01y\n", NULL,
		"t.yaml:2: invisible character U+0001; remove it, or write it as an escape in "
		"double "
		"quotes\n");
	assert_report("a: x\xe2\x80\xa8y\n", NULL,
		"t.yaml:1: invisible character U+2028; remove it, or write it as an escape in "
		"double "
		"quotes\n");
	assert_report("a: 1\rb: 2\n", NULL,
		"t.yaml:1: carriage return without a line feed; end lines with a line feed\n");
	assert_report("\xef\xbb\xbf"
		      "a: gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\x8d\n",
		NULL, "");
}

static void bounds(void **state)
{
	static char text[CONF_SIZE_MAX + 2];
	const unsigned deepest = CONF_DEPTH_MAX + 1;
	memset(text, '[', deepest);
	memset(text + deepest, ']', deepest);
	assert_report(text, NULL, "");
	memset(text, '[', 2 * deepest);
	assert_report(text, NULL, "t.yaml:1: nested deeper than 32; write it flatter\n");

	memset(text, 0, sizeof(text));
	for (unsigned i = 0; i < CONF_NODES_MAX; i++)
		memcpy(text + 4 * i, "- 1\n", 4);
	assert_report(
		text, NULL, "t.yaml:200000: more than 200000 values in one file; shorten it\n");

	memset(text, ' ', sizeof(text) - 1);
	assert_report(text, NULL, "t.yaml: larger than 4194304 bytes; shorten it\n");

	memset(text, 0, sizeof(text));
	for (unsigned i = 0, n = 0; i <= CONF_KEYS_MAX; i++)
		n += (unsigned)sprintf(text + n, "k%u: 1\n", i);
	assert_report(text, NULL,
		"t.yaml:1025: more than 1024 keys in one mapping; split it, or write a list\n");
}

static void errors_sorted_and_bounded(void **state)
{
	struct conf_doc *doc = conf_load_text("t.yaml", "a: 1\nb: 2\n");
	const struct tripod_conf *root = conf_root(doc);
	assert_int_equal(tripod_conf_error(tripod_conf_get(root, "b"), "late\n%d", 1), -22);
	assert_int_equal(tripod_conf_error(tripod_conf_get(root, "a"), "early"), -22);
	assert_int_equal(conf_error(doc, "anywhere"), -22);
	assert_int_equal(tripod_conf_error(NULL, "nowhere"), -22);
	assert_string_equal(
		conf_report(doc), "t.yaml: anywhere\nt.yaml:1: early\nt.yaml:2: late?1\n");
	for (unsigned i = 0; i < CONF_ERRORS_MAX; i++)
		tripod_conf_error(root, "again");
	assert_int_equal(conf_error_count(doc), CONF_ERRORS_MAX + 3);
	const char *report = conf_report(doc);
	assert_string_equal(
		report + strlen(report) - strlen("t.yaml: 3 more errors; correct these first\n"),
		"t.yaml: 3 more errors; correct these first\n");
	conf_free(doc);
}

static void files(void **state)
{
	char path[] = "/tmp/tripod-config-XXXXXX", wanted[128];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "a: 1\na: 2\n", 10), 10);
	close(fd);
	struct conf_doc *doc = conf_load(path);
	snprintf(wanted, sizeof(wanted),
		"%s:2: key \"a\" is given twice, first on line 1; remove one of the two\n", path);
	assert_string_equal(conf_report(doc), wanted);
	conf_free(doc);
	unlink(path);

	doc = conf_load(path);
	snprintf(wanted, sizeof(wanted), "%s: cannot be opened: No such file or directory\n", path);
	assert_string_equal(conf_report(doc), wanted);
	assert_null(conf_root(doc));
	conf_free(doc);

	doc = conf_load("/");
	assert_string_equal(conf_report(doc), "/: cannot be read: Is a directory\n");
	conf_free(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tree_and_lines),
		cmocka_unit_test(values),
		cmocka_unit_test(refused),
		cmocka_unit_test(syntax),
		cmocka_unit_test(characters),
		cmocka_unit_test(bounds),
		cmocka_unit_test(errors_sorted_and_bounded),
		cmocka_unit_test(files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
