// SPDX-License-Identifier: BSD-3-Clause
// Directories that the daemon makes for itself. Thread: the control thread.
#pragma once

// Makes the directory with its parents, as mkdir -p does. 0 or a negative errno.
int path_make_dir(const char *dir);
// Makes the directory that is to hold the file.
int path_make_parent(const char *file);
