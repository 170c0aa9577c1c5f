// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/keys.h"

#define K1 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define K2 "FFEEDDCCBBAA99887766554433221100ffeeddccbbaa99887766554433221100"

static char path[64];

static int load_bytes(const char *bytes, size_t len, struct auth_keys *k, char *err, size_t size)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fwrite(bytes, 1, len, f);
	assert_int_equal(fclose(f), 0);
	return keys_load(path, k, err, size);
}

static int load(const char *text, struct auth_keys *k, char *err, size_t size)
{
	return load_bytes(text, strlen(text), k, err, size);
}

static void keys__good_file(void **state)
{
	struct auth_keys k;
	char err[256];

	assert_int_equal(
		load("# the cluster's\n\n  7\t" K1 "  # in use\r\n255 " K2, &k, err, sizeof(err)),
		0);
	assert_int_equal(k.n, 2);
	assert_int_equal(k.key[0].id, 7);
	assert_int_equal(k.key[1].id, 255);
	assert_int_equal(k.key[0].key[1], 0x11);
	assert_int_equal(k.key[1].key[0], 0xff);
	assert_int_equal(k.key[1].key[31], 0x00);
}

static void keys__four_at_most(void **state)
{
	struct auth_keys k;
	char err[256];

	assert_int_equal(load("1 " K1 "\n2 " K1 "\n3 " K1 "\n4 " K2 "\n", &k, err, sizeof(err)), 0);
	assert_int_equal(k.n, 4);
	assert_int_equal(
		load("1 " K1 "\n2 " K1 "\n3 " K1 "\n4 " K2 "\n5 " K2 "\n", &k, err, sizeof(err)),
		-EINVAL);
	assert_non_null(strstr(err, ":5: is a fifth key; remove"));
}

// File and line, what is wrong, what to do; and never a digit of a key.
static void keys__bad_lines(void **state)
{
	static const struct {
		const char *text, *what;
	} bad[] = {
		{"", ": has no key; make a line with tripodd --generate-key"},
		{"# nothing\n", ": has no key; make"},
		{"\n" K1 "\n", ":2: is not \"ID KEY\"; make"},
		{"1 " K1 " more\n", ":1: is not \"ID KEY\"; make"},
		{"0 " K1 "\n", ":1: does not begin with a number from 1 to 255; write"},
		{"256 " K1 "\n", ":1: does not begin with a number"},
		{"99999999999999999999 " K1 "\n", ":1: does not begin with a number"},
		{"-1 " K1 "\n", ":1: does not begin with a number"},
		{"x " K1 "\n", ":1: does not begin with a number"},
		{"1 00112233\n", ":1: has no key of 64 hexadecimal digits; make"},
		{"1 " K1 "0\n", ":1: has no key of 64 hexadecimal digits; make"},
		{"1 " K1 "00\n", ":1: has no key of 64 hexadecimal digits; make"},
		{"1 g0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
			":1: has no key of 64 hexadecimal digits; make"},
		{"1 0000000000000000000000000000000000000000000000000000000000000000\n",
			":1: is all zeros; make"},
		{"1 " K1 "\n2 " K2 "\n1 " K2 "\n",
			":3: has the number 1 for the second time; take"},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct auth_keys k = {.n = 3, .key[0].id = 77};
		char err[256] = "";
		if (load(bad[i].text, &k, err, sizeof(err)) != -EINVAL)
			fail_msg("accepted: %s", bad[i].text);
		assert_int_equal(strncmp(err, path, strlen(path)), 0);
		if (strncmp(err + strlen(path), bad[i].what, strlen(bad[i].what)) != 0)
			fail_msg("said: %s", err);
		assert_null(strstr(err, "0011"));
		assert_int_equal(k.n, 3); // what was there stays
		assert_int_equal(k.key[0].id, 77);
	}
}

static void keys__bytes_of_any_value(void **state)
{
	static char big[5000];
	struct auth_keys k;
	char err[256];

	assert_int_equal(load_bytes("1 " K1 "\0\n", 68, &k, err, sizeof(err)), -EINVAL);
	assert_int_equal(load_bytes("\0\n", 2, &k, err, sizeof(err)), -EINVAL);
	memset(big, '#', sizeof(big));
	assert_int_equal(load_bytes(big, sizeof(big), &k, err, sizeof(err)), -EFBIG);
	// A message that does not fit is cut, not written past its end.
	for (size_t size = 1; size < 60; size++) {
		memset(err, 'x', sizeof(err));
		assert_int_equal(load("1 00\n", &k, err, size), -EINVAL);
		assert_true(memchr(err, '\0', size) != NULL && err[size] == 'x');
	}
}

static void keys__files_that_others_can_read(void **state)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0610, 0644, 0666};
	struct auth_keys k;
	char err[256];

	assert_int_equal(load("1 " K1 "\n", &k, err, sizeof(err)), 0);
	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(chmod(path, modes[i]), 0);
		assert_int_equal(keys_load(path, &k, err, sizeof(err)), -EACCES);
		assert_non_null(strstr(err, "chmod 600 "));
	}
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(keys_load(path, &k, err, sizeof(err)), 0);
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(keys_load(path, &k, err, sizeof(err)), 0);
	assert_int_equal(chmod(path, 0600), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 12345, 0), 0);
		assert_int_equal(keys_load(path, &k, err, sizeof(err)), -EACCES);
		assert_non_null(strstr(err, "chown 0 "));
		assert_int_equal(chown(path, 0, 0), 0);
	}
	assert_int_equal(keys_load("/tmp", &k, err, sizeof(err)), -EINVAL);
	assert_int_equal(keys_load("/dev/null", &k, err, sizeof(err)), -EINVAL);
	assert_int_equal(keys_load("/no/such/file", &k, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "tripodd --generate-key >/no/such/file"));
}

static void keys__generated_lines_load(void **state)
{
	char text[2 * KEYS_LINE_MAX], line[KEYS_LINE_MAX], err[256];
	struct auth_keys k;

	keys_generate(200, text);
	keys_generate(1, line);
	strcat(text, line);
	assert_int_equal(load(text, &k, err, sizeof(err)), 0);
	assert_int_equal(k.n, 2);
	assert_int_equal(k.key[0].id, 200);
	assert_memory_not_equal(k.key[0].key, k.key[1].key, AUTH_KEY_SIZE);
	for (unsigned i = 0; i < 2000; i++) { // ids from chance are good ones
		keys_generate(0, line);
		assert_int_equal(i % 100 == 0 ? load(line, &k, err, sizeof(err)) : 0, 0);
		assert_in_range(atoi(line), 1, 255);
	}
}

static int make_path(void **state)
{
	int fd;

	strcpy(path, "/tmp/tripod-keys-XXXXXX");
	fd = mkstemp(path); // mode 0600
	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys__good_file),
		cmocka_unit_test(keys__four_at_most),
		cmocka_unit_test(keys__bad_lines),
		cmocka_unit_test(keys__bytes_of_any_value),
		cmocka_unit_test(keys__files_that_others_can_read),
		cmocka_unit_test(keys__generated_lines_load),
	};
	return cmocka_run_group_tests_name("keys", tests, make_path, remove_path);
}
