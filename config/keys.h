// SPDX-License-Identifier: BSD-3-Clause
// The file with the cluster's keys: one a line, "ID KEY", where ID is a number from 1 to 255 and KEY has
// 64 hexadecimal digits. What is sent is sealed with the first; each opens what is received. Empty
// lines and what follows a # do not count.
//
// Thread: control thread. No key goes into a message, and copies made on the way are erased.
#pragma once

#include "core/hpsms/auth.h"

// 0, or a negative errno with what is wrong, where, and what to do in err; *out is untouched then.
// Nobody but the owner, who is root or who runs this, may have any right to the file.
int keys_load(const char *path, struct auth_keys *out, char *err, size_t size);

#define KEYS_LINE_MAX 80 // bytes of a line, its end included
// A line with a new key; id 0: one from chance.
void keys_generate(uint8_t id, char line[KEYS_LINE_MAX]);
