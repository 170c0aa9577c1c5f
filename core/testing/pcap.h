// SPDX-License-Identifier: BSD-3-Clause
// Reads classic pcap files (libpcap 2.4, both byte orders, micro- or nanoseconds), for tests.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pcap_reader;

struct pcap_record {
	const uint8_t *data; // valid until the next call
	uint32_t len; // bytes captured
	uint32_t wire_len; // bytes that the frame had
	uint64_t time_ns; // since 1970
};

// NULL with errno set: cannot be opened, or is no such file (EINVAL).
struct pcap_reader *pcap_reader_open(const char *path);
uint32_t pcap_reader_linktype(const struct pcap_reader *r); // 1: Ethernet
// false at the end, or where the file is cut or says nonsense.
bool pcap_reader_next(struct pcap_reader *r, struct pcap_record *out);
void pcap_reader_close(struct pcap_reader *r);

// The folder of the traces: $TRIPOD_TRACES, else ../shared/traces from the root of the sources; NULL
// when it is not there: say "skipped: no traces" and go on.
const char *pcap_traces(void);
// Calls each(path, arg) for every *.pcap directly in `folder` of the traces, sorted by name. Returns
// how many there were.
unsigned pcap_traces_each(const char *folder, void (*each)(const char *path, void *arg), void *arg);
