// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/plugin.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/chain.h"

#define MODULE "tripod_nf_module"

static int check_file(const char *path, char *full, char *why, size_t size)
{
	struct stat st;
	// dlopen() searches the system's directories for a name without a slash; a path is a path
	// here.
	if (realpath(path, full) == NULL || stat(full, &st) != 0) {
		int err = errno;
		snprintf(why, size, "plug-in %s: %s: give the path of the .so file", path,
			strerror(err));
		return -err;
	}
	if (!S_ISREG(st.st_mode)) {
		snprintf(
			why, size, "plug-in %s is not a file: give the path of the .so file", path);
		return -EINVAL;
	}
	// Its code runs with the rights of the daemon.
	if ((st.st_mode & S_IWOTH) != 0) {
		snprintf(why, size, "plug-in %s can be written by everybody: chmod o-w %s", path,
			full);
		return -EPERM;
	}
	return 0;
}

int plugin_load(const char *path, char *why, size_t size)
{
	char full[PATH_MAX];
	int err = check_file(path, full, why, size);
	if (err != 0)
		return err;
	// Not closed again, even after an error: a constructor may have left pointers to it.
	void *so = dlopen(full, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (so == NULL) {
		const char *text = dlerror();
		const char *hint = strstr(text, "undefined symbol") != NULL
					   ? "a plug-in may use what <tripod/nf.h> declares, and "
					     "the libraries that "
					     "it is linked with"
					   : "build it for this machine with `cc -shared -fPIC`";
		snprintf(why, size, "plug-in %s cannot be loaded: %s: %s", path, text, hint);
		return -ENOEXEC;
	}
	const struct tripod_nf *const *module = dlsym(so, MODULE);
	if (module == NULL) {
		snprintf(why, size,
			"plug-in %s exports no " MODULE ": end it with TRIPOD_NF_PLUGIN(your_nf);",
			path);
		return -ENOENT;
	}
	const char *reason;
	if (nf_check(*module, &reason) != 0) {
		if (*module != NULL && (*module)->abi != TRIPOD_NF_ABI)
			snprintf(why, size,
				"plug-in %s is built for NF ABI %u, this program has %u: compile "
				"it "
				"again with the <tripod/nf.h> of version " TRIPOD_VERSION,
				path, (*module)->abi, TRIPOD_NF_ABI);
		else
			snprintf(why, size, "plug-in %s: network function %s: %s", path,
				*module != NULL && (*module)->name != NULL ? (*module)->name : "?",
				reason);
		return -EINVAL;
	}
	tripod_nf_register(*module);
	return 0;
}
