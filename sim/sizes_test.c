// SPDX-License-Identifier: BSD-3-Clause
#include "sim/sizes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/testing/pcap.h"

static char err[512];

// What sizes_load() makes of a file with this text; the file is called `path` meanwhile.
static struct sizes *load(const char *text, char path[64])
{
	strcpy(path, "/tmp/sizes_test.XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	struct sizes *s = sizes_load(path, err, sizeof(err));
	unlink(path);
	return s;
}

static void load__interpolates(void **state)
{
	char path[64];
	struct sizes *s = load("# a comment\n0 0\n\n100 0.5\n1000 1\n", path);
	assert_non_null(s);
	struct rng r = {1};
	unsigned low = 0, n = 100000;
	uint64_t sum = 0;
	for (unsigned i = 0; i < n; i++) {
		uint64_t v = sizes_draw(s, &r);
		assert_in_range(v, 1, 1000);
		low += v <= 100;
		sum += v;
	}
	assert_in_range(low, n / 2 - 1000, n / 2 + 1000);
	assert_in_range(sum / n, 290, 310); // (50 + 550) / 2
	sizes_free(s);
}

static void load__steps(void **state)
{
	char path[64];
	struct sizes *s =
		load("# columns: value p; between points: step\n7 20\n70 30\n700 100\n", path);
	assert_non_null(s);
	struct rng r = {1};
	unsigned count[3] = {0}, n = 100000;
	for (unsigned i = 0; i < n; i++) {
		uint64_t v = sizes_draw(s, &r);
		assert_true(v == 7 || v == 70 || v == 700);
		count[v == 7 ? 0 : v == 70 ? 1 : 2]++;
	}
	assert_in_range(count[0], n / 5 - 1000, n / 5 + 1000);
	assert_in_range(count[1], n / 10 - 1000, n / 10 + 1000);
	sizes_free(s);
}

static void load__names_file_and_line(void **state)
{
	static const struct {
		const char *text, *where, *what;
	} CASES[] = {
		{"1 0\nfoo 1\n", ":2: ", "not a value and a probability"},
		{"1 0\n2\n", ":2: ", "not a value and a probability"},
		{"1 0\n2 0.5 3\n", ":2: ", "not a value and a probability"},
		{"1 0\n\n2 0.5\n1 1\n", ":4: ", "the value is below that of the line before"},
		{"1 0.5\n2 0.4\n", ":2: ", "the probability is below that of the line before"},
		{"-1 0.5\n", ":1: ", "the value is not between"},
		{"nan 0.5\n", ":1: ", "the value is not between"},
		{"1 101\n", ":1: ", "the probability is not between"},
		{"1 0.5\n2 0.7\n", ":2: ", "the last probability is not 1"},
		{"# nothing\n", ":1: ", "no points"},
	};
	for (unsigned i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		char path[64];
		assert_null(load(CASES[i].text, path));
		assert_int_equal(strncmp(err, path, strlen(path)), 0);
		assert_int_equal(strncmp(err + strlen(path), CASES[i].where, 4), 0);
		assert_non_null(strstr(err, CASES[i].what));
	}
	assert_null(sizes_load("/nonexistent/sizes", err, sizeof(err)));
	assert_string_equal(err, "/nonexistent/sizes: No such file or directory");
}

static void draw__built_in_mix(void **state)
{
	struct rng r = {1};
	unsigned small = 0, n = 100000;
	for (unsigned i = 0; i < n; i++) {
		uint64_t v = sizes_draw(NULL, &r);
		assert_in_range(v, 1, 1000000);
		small += v <= 900;
	}
	assert_in_range(small, n / 2 - 1000, n / 2 + 1000);
}

static void load__published_distributions(void **state)
{
	static const struct {
		const char *name;
		double mean; // as the file's own comment states
	} FILES[] = {
		{"alibaba-storage-2019", 40869.8},
		{"google-rpc-2008", 2891.62},
		{"homa-w1-facebook-memcached", 187.511},
		{"homa-w3-google-all", 2927.35},
		{"websearch-dctcp-hpcc", 1.71125e6},
	};
	const char *traces = pcap_traces();
	if (!traces)
		skip();
	for (unsigned i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++) {
		char path[4096];
		snprintf(path, sizeof(path), "%s/cdf/%s.cdf", traces, FILES[i].name);
		struct sizes *s = sizes_load(path, err, sizeof(err));
		if (!s)
			fail_msg("%s", err);
		struct rng r = {1};
		double sum = 0;
		for (unsigned k = 0; k < 1000000; k++)
			sum += (double)sizes_draw(s, &r);
		double ratio = sum / 1e6 / FILES[i].mean;
		if (ratio < 0.95 || ratio > 1.05)
			fail_msg("%s: mean %f, not %f", FILES[i].name, sum / 1e6, FILES[i].mean);
		sizes_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(load__interpolates),
		cmocka_unit_test(load__steps),
		cmocka_unit_test(load__names_file_and_line),
		cmocka_unit_test(draw__built_in_mix),
		cmocka_unit_test(load__published_distributions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
