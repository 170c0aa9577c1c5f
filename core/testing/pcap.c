// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/pcap.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX (1u << 20) // longer than any capture: the file is broken

struct pcap_reader {
	FILE *file;
	bool swapped, nanoseconds;
	uint32_t linktype;
	uint8_t *data;
};

static uint32_t word(const struct pcap_reader *r, const uint8_t *at)
{
	uint32_t v;
	memcpy(&v, at, sizeof(v));
	return r->swapped ? __builtin_bswap32(v) : v;
}

struct pcap_reader *pcap_reader_open(const char *path)
{
	struct pcap_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	uint8_t header[24];
	r->file = fopen(path, "rb");
	if (!r->file) {
		pcap_reader_close(r);
		return NULL;
	}
	if (fread(header, sizeof(header), 1, r->file) != 1)
		goto bad;
	for (int i = 0; i < 2; i++) {
		r->swapped = i == 1;
		uint32_t magic = word(r, header);
		r->nanoseconds = magic == 0xa1b23c4d;
		if (magic == 0xa1b2c3d4 || magic == 0xa1b23c4d) {
			r->linktype = word(r, header + 20) & 0xffff; // the rest tells of an FCS
			r->data = malloc(RECORD_MAX);
			if (r->data)
				return r;
			break;
		}
	}
bad:
	pcap_reader_close(r);
	errno = EINVAL;
	return NULL;
}

uint32_t pcap_reader_linktype(const struct pcap_reader *r)
{
	return r->linktype;
}

bool pcap_reader_next(struct pcap_reader *r, struct pcap_record *out)
{
	uint8_t header[16];
	if (fread(header, sizeof(header), 1, r->file) != 1)
		return false;
	uint32_t len = word(r, header + 8);
	if (len > RECORD_MAX || (len > 0 && fread(r->data, len, 1, r->file) != 1))
		return false;
	uint64_t fraction = word(r, header + 4);
	*out = (struct pcap_record){
		.data = r->data,
		.len = len,
		.wire_len = word(r, header + 12),
		.time_ns = word(r, header) * UINT64_C(1000000000) +
			   fraction * (r->nanoseconds ? 1 : 1000),
	};
	return true;
}

void pcap_reader_close(struct pcap_reader *r)
{
	if (r->file)
		fclose(r->file);
	free(r->data);
	free(r);
}

static bool is_folder(const char *path)
{
	DIR *d = opendir(path);
	if (d)
		closedir(d);
	return d != NULL;
}

const char *pcap_traces(void)
{
	const char *env = getenv("TRIPOD_TRACES");
	const char *path = env ? env : TRIPOD_SOURCE_ROOT "/../shared/traces";
	return is_folder(path) ? path : NULL;
}

static int is_pcap(const struct dirent *e)
{
	size_t n = strlen(e->d_name);
	return n > 5 && strcmp(e->d_name + n - 5, ".pcap") == 0;
}

unsigned pcap_traces_each(const char *folder, void (*each)(const char *path, void *arg), void *arg)
{
	const char *traces = pcap_traces();
	char path[4096];
	struct dirent **names;
	if (!traces)
		return 0;
	snprintf(path, sizeof(path), "%s/%s", traces, folder);
	int n = scandir(path, &names, is_pcap, alphasort);
	if (n < 0)
		return 0;
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", traces, folder, names[i]->d_name);
		each(path, arg);
		free(names[i]);
	}
	free(names);
	return (unsigned)n;
}
