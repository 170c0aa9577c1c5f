// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/path.h"

// "COUNT USED USED\n"; an older file has the count alone. 0; -ENOENT: first start; another error:
// unknown.
static int read_file(const char *path, uint64_t now_s, struct boot *b)
{
	unsigned long long count, used[2];
	char text[96], check[96];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	text[n] = '\0';
	if (sscanf(text, "%20llu %20llu %20llu", &count, &used[0], &used[1]) == 3) {
		snprintf(check, sizeof(check), "%llu %llu %llu\n", count, used[0], used[1]);
	} else if (sscanf(text, "%20llu", &count) == 1) {
		snprintf(check, sizeof(check), "%llu\n", count);
		used[0] = used[1] = now_s;
	} else {
		return -EBADMSG;
	}
	if (strcmp(check, text) != 0) // something else about it, or a number beyond 64 bits
		return -EBADMSG;
	b->count = count;
	b->used_s[0] = used[0];
	b->used_s[1] = used[1];
	return 0;
}

// Replaces the file as a whole: a crash leaves the old one or the new one.
static int write_file(const char *dir, const char *path, const struct boot *b)
{
	char temporary[PATH_MAX], text[96];
	int len = snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", b->count,
		b->used_s[0], b->used_s[1]);
	int fd, r = 0;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new", path) >= sizeof(temporary))
		return -ENAMETOOLONG;
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	if (write(fd, text, (size_t)len) != len)
		r = -EIO;
	if (r == 0 && fsync(fd) != 0)
		r = -errno;
	close(fd);
	if (r == 0 && rename(temporary, path) != 0)
		r = -errno;
	if (r != 0) {
		unlink(temporary);
		return r;
	}
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) != 0)
		r = -errno;
	close(fd);
	return r;
}

static int file_of(const char *dir, unsigned id, char *path, size_t size)
{
	return (size_t)snprintf(path, size, "%s/boot-%u", dir, id) < size ? 0 : -ENAMETOOLONG;
}

// Takes the half of this start. known: something is known of former ones.
static void take(struct boot *b, bool known, uint64_t now_s, uint64_t life_s)
{
	b->half = b->count & 1;
	// A life that was cut short has not said so for a while; a clock that goes back tells nothing.
	uint64_t used_s = b->used_s[b->half], until_s = used_s + BOOT_TOUCH_S + life_s;
	if (!known || used_s > now_s)
		until_s = now_s + BOOT_TOUCH_S + life_s;
	else if (used_s == 0 || until_s < now_s)
		until_s = now_s;
	b->clear_ms = (until_s - now_s) * 1000;
	b->used_s[b->half] = now_s;
}

void boot_begin(struct boot *b, const char *dir, unsigned id, uint64_t chance, uint64_t now_s,
	uint64_t life_s, char *problem, size_t size)
{
	char path[PATH_MAX];
	int r;

	problem[0] = '\0';
	*b = (struct boot){.count = chance >> 1, .used_s = {now_s, now_s}};
	r = path_make_dir(dir);
	if (r != 0) {
		snprintf(problem, size, "cannot make the directory %s: %s", dir, strerror(-r));
		take(b, false, now_s, life_s);
		return;
	}
	if (file_of(dir, id, path, sizeof(path)) != 0) {
		snprintf(problem, size, "state_dir is too long");
		take(b, false, now_s, life_s);
		return;
	}
	r = read_file(path, now_s, b);
	if (r == -ENOENT)
		b->used_s[0] = b->used_s[1] = 0;
	else if (r != 0)
		snprintf(problem, size, "cannot read the boot counter %s: %s", path, strerror(-r));
	b->count += r == 0 || r == -ENOENT;
	take(b, r == 0 || r == -ENOENT, now_s, life_s);
	r = write_file(dir, path, b);
	if (r != 0)
		snprintf(problem, size, "cannot write the boot counter %s: %s", path, strerror(-r));
}

int boot_touch(struct boot *b, const char *dir, unsigned id, uint64_t now_s)
{
	char path[PATH_MAX];
	int r = file_of(dir, id, path, sizeof(path));

	if (now_s > b->used_s[b->half])
		b->used_s[b->half] = now_s;
	return r != 0 ? r : write_file(dir, path, b);
}
