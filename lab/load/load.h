// SPDX-License-Identifier: BSD-3-Clause
// The verbs of tripod-load, and what they share.
#pragma once

#include <stdint.h>

// Each takes the arguments that follow its name (argv[0] is the name), and returns the exit status.
int server_main(int argc, char **argv);
int client_main(int argc, char **argv);
int http_main(int argc, char **argv);
int udp_main(int argc, char **argv);

// A whole number from min to max; exits with a message that names the option otherwise.
uint64_t load_number(const char *option, const char *text, uint64_t min, uint64_t max);
// Exits: the usage of a verb, on standard output if asked for, else on standard error.
_Noreturn void load_usage(const char *usage, int status);

// What the client says first on a connection: what the bytes after it will be.
struct hello {
	uint8_t magic[8];
	uint64_t seed; // in the byte order of the machine: both ends are on one
};
#define HELLO_MAGIC "tripod-1"
_Static_assert(sizeof(struct hello) == 16, "hello");
