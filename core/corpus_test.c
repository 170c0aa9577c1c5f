// SPDX-License-Identifier: BSD-3-Clause
// Every input that a fuzzer has found worth keeping, once more: core/corpus/, written by devtools/fuzz --keep.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINE_MAX 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

// To the end of a buffer that ends with it: what is read beyond is seen.
static void try(const char *line, size_t digits)
{
	uint8_t *data = malloc(digits / 2);

	assert_non_null(data);
	for (size_t i = 0; i < digits / 2; i++)
		data[i] = (uint8_t)(digit(line[2 * i]) << 4 | digit(line[2 * i + 1]));
	LLVMFuzzerTestOneInput(data, digits / 2);
	free(data);
}

static void corpus__again(void **state)
{
	FILE *file = fopen(CORPUS, "r");
	static char line[LINE_MAX];
	unsigned n = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		size_t digits = strspn(line, "0123456789abcdef");
		assert_true(digits > 0 && digits % 2 == 0 && line[digits] == '\n');
		try(line, digits);
		n++;
	}
	fclose(file);
	assert_true(n >= 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(corpus__again)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
