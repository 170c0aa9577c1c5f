// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/path.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

int path_make_dir(const char *dir)
{
	char path[PATH_MAX];
	size_t len = strlen(dir);

	if (len == 0 || len >= sizeof(path))
		return len == 0 ? -ENOENT : -ENAMETOOLONG;
	memcpy(path, dir, len + 1);
	for (char *p = path + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			return -errno;
		if (c == '\0')
			return 0;
		*p = c;
	}
}

int path_make_parent(const char *file)
{
	char path[PATH_MAX];
	const char *slash = strrchr(file, '/');

	if (slash == NULL || slash == file)
		return 0;
	if ((size_t)(slash - file) >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(path, file, (size_t)(slash - file));
	path[slash - file] = '\0';
	return path_make_dir(path);
}
