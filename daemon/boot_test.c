// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/boot.h"

struct fixture {
	char dir[32], sub[64], file[96], problem[256];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/tripod-boot-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->sub, sizeof(f->sub), "%s/a/b", f->dir);
	snprintf(f->file, sizeof(f->file), "%s/boot-3", f->sub);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	free(f);
	return system(command);
}

#define NOW 1700000000ull
#define LIFE 1000

static struct boot begin(struct fixture *f, uint64_t chance, uint64_t now_s)
{
	struct boot b;

	boot_begin(&b, f->sub, 3, chance, now_s, LIFE, f->problem, sizeof(f->problem));
	return b;
}

static unsigned half(struct fixture *f, uint64_t chance)
{
	return begin(f, chance, NOW).half;
}

static void write_file(struct fixture *f, const char *text)
{
	FILE *file = fopen(f->file, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void half__alternates_from_start_to_start(void **state)
{
	struct fixture *f = *state;
	unsigned last = half(f, 0);

	assert_string_equal(f->problem, "");
	for (int i = 0; i < 10; i++) {
		unsigned next = half(f, (uint64_t)i * 12345);

		assert_int_equal(next, !last);
		assert_string_equal(f->problem, "");
		last = next;
	}
}

static void half__nodes_count_apart(void **state)
{
	struct fixture *f = *state;
	unsigned a = half(f, 0), b;

	half(f, 0);
	struct boot other;
	boot_begin(&other, f->sub, 4, 0, NOW, LIFE, f->problem, sizeof(f->problem));
	b = other.half;
	assert_int_equal(a, b);
}

static void half__goes_on_from_what_the_file_says(void **state)
{
	struct fixture *f = *state;

	half(f, 0);
	write_file(f, "41\n");
	assert_int_equal(half(f, 0), 0);
	assert_int_equal(half(f, 0), 1);
	assert_string_equal(f->problem, "");
}

static void half__garbage_is_reported_once_and_replaced_by_chance(void **state)
{
	static const char *const garbage[] = {"", "x\n", "12", "12 \n", "-1\n",
		"99999999999999999999999\n", "1\n2\n", "1 2\n", "1 2 3", "1 2 3 4\n", "1 -2 3\n",
		"01 2 3\n"};
	struct fixture *f = *state;

	half(f, 0);
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		for (uint64_t chance = 0; chance < 8; chance++) {
			unsigned first;

			write_file(f, garbage[i]);
			first = half(f, chance);
			assert_int_equal(first, chance >> 1 & 1);
			assert_non_null(strstr(f->problem, "boot-3"));
			assert_int_equal(half(f, 0), !first);
			assert_string_equal(f->problem, "");
		}
	}
}

static void half__directory_that_cannot_be(void **state)
{
	struct fixture *f = *state;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/a", f->dir);
	file = fopen(path, "w"); // a file where a directory should be
	assert_non_null(file);
	fclose(file);
	assert_int_equal(half(f, 2), 1);
	assert_non_null(strstr(f->problem, "cannot"));
	assert_int_equal(half(f, 0), 0);
}

// A half is clear when nothing is left that a life has opened with it.
static void clear__by_time(void **state)
{
	struct fixture *f = *state;
	uint64_t slack = BOOT_TOUCH_S + LIFE;

	struct boot b = begin(f, 0, NOW);
	assert_int_equal(b.clear_ms, 0); // never used
	assert_int_equal(boot_touch(&b, f->sub, 3, NOW + 500), 0);
	assert_int_equal(begin(f, 0, NOW + 600).clear_ms, 0); // the other one: neither
	b = begin(f, 0, NOW + 700);
	assert_int_equal(b.clear_ms, (500 + slack - 700) * 1000);
	assert_int_equal(begin(f, 0, NOW + 701).clear_ms, (600 + slack - 701) * 1000);
	assert_int_equal(begin(f, 0, NOW + 700 + slack).clear_ms, 0);
	assert_int_equal(begin(f, 0, NOW + 5).clear_ms, slack * 1000); // the clock went back
	assert_string_equal(f->problem, "");
}

static void clear__not_when_nothing_is_known(void **state)
{
	struct fixture *f = *state;

	half(f, 0);
	write_file(f, "nonsense\n");
	assert_int_equal(begin(f, 0, NOW + 90000).clear_ms, (BOOT_TOUCH_S + LIFE) * 1000);
	write_file(f, "7\n"); // as former versions wrote it
	assert_int_equal(begin(f, 0, NOW + 90000).clear_ms, (BOOT_TOUCH_S + LIFE) * 1000);
	assert_string_equal(f->problem, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			half__alternates_from_start_to_start, setup, teardown),
		cmocka_unit_test_setup_teardown(clear__by_time, setup, teardown),
		cmocka_unit_test_setup_teardown(clear__not_when_nothing_is_known, setup, teardown),
		cmocka_unit_test_setup_teardown(half__nodes_count_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(
			half__goes_on_from_what_the_file_says, setup, teardown),
		cmocka_unit_test_setup_teardown(
			half__garbage_is_reported_once_and_replaced_by_chance, setup, teardown),
		cmocka_unit_test_setup_teardown(half__directory_that_cannot_be, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
