// SPDX-License-Identifier: BSD-3-Clause
#include "config/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#define FILE_MAX 4096 // bytes

struct problem {
	const char *path;
	unsigned line; // 0: the file as a whole
	char *err;
	size_t size;
};

static int fail(const struct problem *p, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(const struct problem *p, int error, const char *format, ...)
{
	int n = snprintf(p->err, p->size, "%s:", p->path);
	va_list ap;

	if (p->line > 0 && n >= 0 && (size_t)n < p->size)
		n += snprintf(p->err + n, p->size - (size_t)n, "%u:", p->line);
	if (n >= 0 && (size_t)n + 1 < p->size) {
		p->err[n++] = ' ';
		va_start(ap, format);
		vsnprintf(p->err + n, p->size - (size_t)n, format, ap);
		va_end(ap);
	}
	return error;
}

// ---- The file ----

static int check_file(int fd, const struct problem *p)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return fail(p, -errno, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(p, -EINVAL, "is no file; give a file with a line \"ID KEY\"");
	if ((st.st_mode & 077) != 0)
		return fail(p, -EACCES, "others may use it (mode %03o): chmod 600 %s",
			(unsigned)st.st_mode & 0777, p->path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return fail(
			p, -EACCES, "belongs to somebody else: chown %u %s", geteuid(), p->path);
	return 0;
}

// Bytes, or a negative errno.
static ssize_t read_all(int fd, char *text, const struct problem *p)
{
	size_t len = 0;

	while (len < FILE_MAX) {
		ssize_t n = read(fd, text + len, FILE_MAX - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(p, -errno, "%s", strerror(errno));
		if (n == 0)
			return (ssize_t)len;
		len += (size_t)n;
	}
	return fail(p, -EFBIG, "is longer than %d bytes; it holds %d keys at most", FILE_MAX - 1,
		AUTH_KEYS_MAX);
}

// ---- Lines ----

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static int add_key(const char *id, size_t id_len, const char *hex, size_t hex_len,
	struct auth_keys *keys, const struct problem *p)
{
	struct auth_key *key = &keys->key[keys->n];
	unsigned number = 0;
	size_t got = 0;

	for (size_t i = 0; i < id_len && number <= 255; i++)
		number = id[i] >= '0' && id[i] <= '9' ? number * 10 + (unsigned)(id[i] - '0') : 256;
	if (number < 1 || number > 255)
		return fail(
			p, -EINVAL, "does not begin with a number from 1 to 255; write \"ID KEY\"");
	if (keys->n == AUTH_KEYS_MAX)
		return fail(p, -EINVAL, "is a fifth key; remove those that are out of use");
	if (sodium_hex2bin(key->key, AUTH_KEY_SIZE, hex, hex_len, NULL, &got, NULL) != 0 ||
		hex_len != 2 * AUTH_KEY_SIZE || got != AUTH_KEY_SIZE)
		return fail(p, -EINVAL,
			"has no key of %d hexadecimal digits; make a line with tripodd "
			"--generate-key",
			2 * AUTH_KEY_SIZE);
	if (sodium_is_zero(key->key, AUTH_KEY_SIZE))
		return fail(p, -EINVAL, "is all zeros; make a line with tripodd --generate-key");
	key->id = (uint8_t)number;
	if (auth_keys_find(keys, key->id) >= 0)
		return fail(
			p, -EINVAL, "has the number %u for the second time; take another", number);
	keys->n++;
	return 0;
}

static int take_line(
	const char *at, const char *end, struct auth_keys *keys, const struct problem *p)
{
	const char *comment = memchr(at, '#', (size_t)(end - at)), *word[3];
	size_t len[3] = {0};
	unsigned n = 0;

	if (comment != NULL)
		end = comment;
	while (at < end && n < 3) {
		while (at < end && is_blank(*at))
			at++;
		word[n] = at;
		while (at < end && !is_blank(*at))
			at++;
		len[n] = (size_t)(at - word[n]);
		n += len[n] > 0;
	}
	if (n == 0)
		return 0;
	if (n != 2)
		return fail(
			p, -EINVAL, "is not \"ID KEY\"; make a line with tripodd --generate-key");
	return add_key(word[0], len[0], word[1], len[1], keys, p);
}

static int take_text(const char *text, size_t len, struct auth_keys *keys, struct problem *p)
{
	const char *at = text, *end = text + len;

	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		if (stop == NULL)
			stop = end;
		p->line++;
		int rc = take_line(at, stop, keys, p);
		if (rc != 0)
			return rc;
		at = stop + 1;
	}
	p->line = 0;
	if (keys->n == 0)
		return fail(p, -EINVAL,
			"has no key; make a line with tripodd --generate-key, the same on all "
			"nodes");
	return 0;
}

int keys_load(const char *path, struct auth_keys *out, char *err, size_t size)
{
	struct problem p = {.path = path, .err = err, .size = size};
	struct auth_keys keys = {0};
	char text[FILE_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return fail(&p, -errno,
			"%s; make it with (umask 077; tripodd --generate-key >%s), and take the "
			"same "
			"to all nodes",
			strerror(errno), path);
	int rc = check_file(fd, &p);
	if (rc == 0) {
		ssize_t len = read_all(fd, text, &p);
		rc = len < 0 ? (int)len : take_text(text, (size_t)len, &keys, &p);
	}
	close(fd);
	if (rc == 0)
		*out = keys;
	auth_wipe(&keys, sizeof(keys));
	auth_wipe(text, sizeof(text));
	return rc;
}

void keys_generate(uint8_t id, char line[KEYS_LINE_MAX])
{
	uint8_t key[AUTH_KEY_SIZE];
	int n;

	randombytes_buf(key, sizeof(key));
	n = snprintf(line, KEYS_LINE_MAX, "%u ", id != 0 ? id : 1 + randombytes_uniform(255));
	sodium_bin2hex(line + n, KEYS_LINE_MAX - (size_t)n, key, sizeof(key));
	strcat(line, "\n");
	auth_wipe(key, sizeof(key));
}
