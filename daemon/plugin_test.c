// SPDX-License-Identifier: BSD-3-Clause
// Arguments: the directory of the plug-ins that must fail, the plug-in that must load.
#include "daemon/plugin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/chain.h"
#include "nf/testkit/testkit.h"

static const char *bad_dir, *good;

static void assert_fails(const char *path, const char *text)
{
	char why[1024] = "";
	const struct tripod_nf *nfs[NF_REGISTRY_MAX];
	unsigned n = nf_list(nfs, NF_REGISTRY_MAX);
	if (plugin_load(path, why, sizeof(why)) >= 0)
		fail_msg("%s was loaded", path);
	if (strstr(why, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", why, text);
	assert_non_null(strstr(why, path));
	assert_int_equal(nf_list(nfs, NF_REGISTRY_MAX), n);
}

static void plugin_load__bad(void **unused)
{
	static const char *const TEXTS[] = {
		"TRIPOD_NF_PLUGIN(your_nf)",
		"compile it again",
		"undefined symbol: plugin_test_undefined",
		"network function lb: the name is taken",
		"network function bad: no summary",
	};
	for (unsigned i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
		char path[4096];
		snprintf(path, sizeof(path), "%s/bad%u.so", bad_dir, i);
		assert_fails(path, TEXTS[i]);
	}
	assert_fails("no/such.so", "No such file or directory");
	assert_fails("libc.so.6", "No such file or directory"); // no search
	assert_fails("/", "not a file");

	char text[] = "/tmp/plugin_test_XXXXXX";
	int fd = mkstemp(text);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "no ELF", 6), 6);
	assert_fails(text, "cannot be loaded");
	assert_int_equal(fchmod(fd, 0666), 0);
	assert_fails(text, "chmod o-w");
	close(fd);
	unlink(text);
}

static void plugin_load__runs(void **unused)
{
	char why[1024] = "";
	if (plugin_load(good, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	const struct tripod_nf *nf = nf_find("pathcount");
	assert_non_null(nf);
	assert_int_equal(plugin_load(good, why, sizeof(why)), 0);
	assert_ptr_equal(nf_find("pathcount"), nf);

	struct testkit *t = testkit_new("- pathcount: {max_nodes: 3}", NULL);
	testkit_send(t, "in tcp 198.51.100.7:4242 > 203.0.113.80:80 syn");
	testkit_takeover(t);
	assert_string_equal(testkit_send(t, "in tcp 198.51.100.7:4242 > 203.0.113.80:80"),
		"tcp 198.51.100.7:4242 > 203.0.113.80:80");
	assert_int_equal(testkit_counter(t, "pathcount", "arrived"), 1);
	testkit_free(t);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s DIRECTORY PLUGIN\n", argv[0]);
		return 2;
	}
	bad_dir = argv[1];
	good = argv[2];
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plugin_load__bad),
		cmocka_unit_test(plugin_load__runs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
