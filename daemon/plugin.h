// SPDX-License-Identifier: BSD-3-Clause
// Network functions from shared objects.
//
// A plug-in calls back into the program (tripod_state_rw() and so on), which must export these:
// link it with export_dynamic, and with all of the core, not only what it uses itself.
//
// Thread: control thread, before chains are loaded. A plug-in is never unloaded.
#pragma once

#include <stddef.h>

// Loads the shared object at path and registers the NF that it exports as tripod_nf_module. 0, or a
// negative errno with a line in why that says what is wrong and what to do. Loading the same file
// again changes nothing.
int plugin_load(const char *path, char *why, size_t size);
