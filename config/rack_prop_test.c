// SPDX-License-Identifier: BSD-3-Clause
// Damaged files: whatever happens to a good one, it either loads or is refused with a line number,
// and a canonical text does not depend on how the file was laid out.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config/canonical.h"
#include "config/test_nfs.h"
#include "core/rng.h"

#define ROUNDS 3000
#define TEXT_MAX (2 * TEST_RACK_MAX)
#define LINES_MAX 256

static uint64_t seed(void)
{
	const char *s = getenv("TRIPOD_SEED");
	return s != NULL ? strtoull(s, NULL, 0) : 1;
}

static size_t split(const char *text, const char *line[LINES_MAX], size_t length[LINES_MAX])
{
	size_t n = 0;
	for (const char *s = text, *end; *s != '\0' && n < LINES_MAX; s = end) {
		end = strchr(s, '\n');
		end = end == NULL ? s + strlen(s) : end + 1;
		line[n] = s;
		length[n++] = (size_t)(end - s);
	}
	return n;
}

static void damage(struct rng *rng, char text[TEXT_MAX])
{
	static const char special[] = "{}[]:,-'\"#&*!|>%@`\t\n\r \\~0\xc3\xff";
	static char copy[TEXT_MAX];
	const char *line[LINES_MAX];
	size_t length[LINES_MAX], size = strlen(text);
	if (size == 0)
		return;
	size_t at = rng_below(rng, (uint32_t)size);
	strcpy(copy, text);
	size_t n = split(copy, line, length), l = rng_below(rng, (uint32_t)n),
	       m = rng_below(rng, (uint32_t)n);
	switch (rng_below(rng, 7)) {
	case 0:
		text[at] ^= (char)(1 << rng_below(rng, 8));
		return;
	case 1:
		text[at] = special[rng_below(rng, sizeof(special) - 1)];
		return;
	case 2: // a byte less
		memmove(text + at, text + at + 1, size - at);
		return;
	case 3: // cut off
		text[at] = '\0';
		return;
	case 4: // a line less
		strcpy(text + (line[l] - copy), line[l] + length[l]);
		return;
	case 5: // a line copied to another place
		if (size + length[l] >= TEXT_MAX)
			return;
		memcpy(text + (line[m] - copy), line[l], length[l]);
		strcpy(text + (line[m] - copy) + length[l], line[m]);
		return;
	default: // indented otherwise
		if (size + 2 >= TEXT_MAX)
			return;
		memcpy(text + (line[l] - copy), "  ", 2);
		strcpy(text + (line[l] - copy) + 2, line[l]);
	}
}

// Every line of the report is "t.yaml:<line>: <text>", with a line that the file has, in order.
static void check_report(const char *report, const char *text)
{
	unsigned lines = 1, last = 0;
	for (const char *s = text; *s != '\0'; s++)
		lines += *s == '\n';
	for (const char *s = report; *s != '\0'; s = strchr(s, '\n') + 1) {
		unsigned line = 0;
		int n = 0;
		if (strncmp(s, "t.yaml: ", 8) == 0 && strstr(s, " more errors; ") != NULL)
			continue;
		assert_int_equal(sscanf(s, "t.yaml:%u: %n", &line, &n), 1);
		assert_true(n > 0 && s[n] != '\n');
		assert_in_range(line, 1, lines);
		assert_true(line >= last);
		last = line;
	}
}

static void damaged(void **state)
{
	struct rng rng;
	unsigned loaded = 0;
	static char text[TEXT_MAX];
	print_message("seed %llu\n", (unsigned long long)seed());
	rng.state = seed();
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct rack r;
		strcpy(text, test_rack);
		for (unsigned n = 1 + rng_below(&rng, 3); n > 0; n--)
			damage(&rng, text);
		int result = rack_load_text("t.yaml", text, RACK_NODE_ANY, &r);
		const char *report = rack_report(&r);
		if ((result == 0) != (report[0] == '\0'))
			fail_msg("round %u: result %d, report %s", i, result, report);
		check_report(report, text);
		loaded += result == 0;
		rack_free(&r);
	}
	// Neither everything nor nothing: else the damage is of the wrong size.
	print_message("%u of %u loaded\n", loaded, ROUNDS);
	assert_in_range(loaded, 1, ROUNDS / 2);
}

// Prints a mapping with its keys shuffled, comments and odd spacing between.
static size_t shuffled(struct rng *rng, const struct tripod_conf *c, char *out, size_t size)
{
	static const char *const gaps[] = {" ", "\n  ", "  # a remark\n   ", " \n\n\n "};
	size_t n = 0;
	unsigned count = 0, order[32];
	while (conf_key(c, count) != NULL && count < 32)
		order[count] = count, count++;
	bool map = count > 0;
	if (tripod_conf_text(c) != NULL)
		return (size_t)snprintf(out, size, "'%s'", tripod_conf_text(c));
	if (!map)
		count = tripod_conf_count(c);
	for (unsigned i = 0; map && i < count; i++) {
		unsigned j = i + rng_below(rng, count - i), k = order[i];
		order[i] = order[j];
		order[j] = k;
	}
	n += (size_t)snprintf(out + n, size - n, map ? "{" : "[");
	for (unsigned i = 0; i < count; i++) {
		const char *gap = gaps[rng_below(rng, 4)];
		const char *key = map ? conf_key(c, order[i]) : NULL;
		n += (size_t)snprintf(out + n, size - n, "%s%s%s%s", i == 0 ? "" : ",", gap,
			map ? key : "", map ? ": " : "");
		n += shuffled(rng, map ? tripod_conf_get(c, key) : tripod_conf_at(c, i), out + n,
			size - n);
		assert_true(n < size);
	}
	return n + (size_t)snprintf(out + n, size - n, map ? "}" : "]");
}

static void canonical_of_layouts(void **state)
{
	struct rng rng;
	static char text[4 * TEXT_MAX];
	struct rack r;
	print_message("seed %llu\n", (unsigned long long)seed());
	rng.state = seed();
	struct conf_doc *raw = conf_load_text("t.yaml", test_rack);
	assert_int_equal(rack_load_text("t.yaml", test_rack, RACK_NODE_ANY, &r), 0);
	char *wanted = conf_canonical(conf_root(r.doc));
	rack_free(&r);
	for (unsigned i = 0; i < 200; i++) {
		size_t n = shuffled(&rng, conf_root(raw), text, sizeof(text));
		snprintf(text + n, sizeof(text) - n, "\n");
		int result = rack_load_text("t.yaml", text, RACK_NODE_ANY, &r);
		if (result != 0)
			fail_msg("round %u: %s\n%s", i, rack_report(&r), text);
		char *got = conf_canonical(conf_root(r.doc));
		assert_string_equal(got, wanted);
		free(got);
		rack_free(&r);
	}
	free(wanted);
	conf_free(raw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged),
		cmocka_unit_test(canonical_of_layouts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
