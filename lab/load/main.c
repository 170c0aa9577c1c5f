// SPDX-License-Identifier: BSD-3-Clause
// tripod-load: traffic whose every byte is checked at both ends.
#include "load.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

static const char usage[] =
	"usage: tripod-load VERB [OPTION...]\n"
	"\n"
	"Traffic for a gateway, every byte of which is checked at both ends.\n"
	"\n"
	"  server   answer the checked streams of clients\n"
	"  client   hold many TCP connections open, exchange checked data, say what broke or "
	"stalled\n"
	"  http     short HTTP requests, whose answers are checked\n"
	"  udp      numbered datagrams both ways: what was lost, and for how long\n"
	"  body     write a body for http to check on standard output\n"
	"\n"
	"tripod-load VERB --help tells more. All write JSON lines with the time of the monotonic\n"
	"clock. SIGTERM, the line \"stop\" on standard input, or its end, finishes them.\n";

static const char body_usage[] = "usage: tripod-load body --size BYTES [--seed N]\n";

void load_usage(const char *text, int status)
{
	fputs(text, status ? stderr : stdout);
	exit(status);
}

uint64_t load_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || n < min || n > max)
		errx(2, "--%s: '%s' is not a whole number from %llu to %llu", option, text,
			(unsigned long long)min, (unsigned long long)max);
	return n;
}

static int body_main(int argc, char **argv)
{
	uint64_t seed = 1, size = 0;
	for (int i = 1; i < argc; i += 2) {
		if (strcmp(argv[i], "--help") == 0)
			load_usage(body_usage, 0);
		else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
			seed = load_number("seed", argv[i + 1], 0, UINT64_MAX);
		else if (i + 1 < argc && strcmp(argv[i], "--size") == 0)
			size = load_number("size", argv[i + 1], 1, UINT64_C(1) << 40);
		else
			load_usage(body_usage, 2);
	}
	if (!size)
		load_usage(body_usage, 2);
	uint8_t piece[65536];
	for (uint64_t at = 0; at < size; at += sizeof(piece)) {
		size_t n = size - at < sizeof(piece) ? (size_t)(size - at) : sizeof(piece);
		stream_fill(seed, at, piece, n);
		if (fwrite(piece, 1, n, stdout) != n)
			err(1, "body");
	}
	return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} verbs[] = {
		{"server", server_main},
		{"client", client_main},
		{"http", http_main},
		{"udp", udp_main},
		{"body", body_main},
	};
	if (argc < 2)
		load_usage(usage, 2);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		load_usage(usage, 0);
	if (strcmp(argv[1], "--version") == 0) {
		puts("tripod-load " TRIPOD_VERSION);
		return 0;
	}
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "tripod-load: no verb '%s'\n", argv[1]);
	load_usage(usage, 2);
}
