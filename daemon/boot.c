// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/path.h"

// 0 with the count; -ENOENT: first start; another error: unknown.
static int read_count(const char *path, uint64_t *count)
{
	unsigned long long value;
	char text[32], *end;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	text[n] = '\0';
	if (n == 0 || text[0] < '0' || text[0] > '9')
		return -EBADMSG;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno != 0 || strcmp(end, "\n") != 0)
		return -EBADMSG;
	*count = value;
	return 0;
}

// Replaces the file as a whole: a crash leaves the old count or the new one.
static int write_count(const char *dir, const char *path, uint64_t count)
{
	char temporary[PATH_MAX], text[32];
	int len = snprintf(text, sizeof(text), "%" PRIu64 "\n", count);
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

unsigned boot_half(const char *dir, unsigned id, uint64_t chance, char *problem, size_t size)
{
	char path[PATH_MAX];
	uint64_t count = chance >> 1;
	int r;

	problem[0] = '\0';
	r = path_make_dir(dir);
	if (r != 0) {
		snprintf(problem, size, "cannot make the directory %s: %s", dir, strerror(-r));
		return count & 1;
	}
	if ((size_t)snprintf(path, sizeof(path), "%s/boot-%u", dir, id) >= sizeof(path)) {
		snprintf(problem, size, "state_dir is too long");
		return count & 1;
	}
	r = read_count(path, &count);
	if (r == 0 || r == -ENOENT)
		count++;
	if (r != 0 && r != -ENOENT)
		snprintf(problem, size, "cannot read the boot counter %s: %s", path, strerror(-r));
	r = write_count(dir, path, count);
	if (r != 0)
		snprintf(problem, size, "cannot write the boot counter %s: %s", path, strerror(-r));
	return count & 1;
}
