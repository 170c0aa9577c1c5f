// SPDX-License-Identifier: BSD-3-Clause
// TCP connections from outside to a VIP, driven packet by packet over a rack: for tests that ask where
// each of them goes.
#pragma once

#include "core/testing/rack.h"

#define FLOWS_VIP "198.51.100.1"

struct flow {
	char client[20];
	const char *server; // where its packets must arrive
	uint16_t port;
	uint32_t seq, ack; // next of client, next of server
	struct tripod_tuple key;
};

struct flow flow_of(unsigned n, const char *server);
unsigned flow_arrives(struct rack *r, unsigned n); // the node to which flow n's client would send
void flow_from_client(struct rack *r, struct flow *f, uint8_t flags, unsigned payload);
void flow_from_server(struct rack *r, struct flow *f, uint8_t flags, unsigned payload);

// Opens flows first to first + n - 1, and returns how many were answered from their own server: n, or
// something is broken.
unsigned flows_open(struct rack *r, struct flow *f, unsigned first, unsigned n, const char *server);
// Each carries data both ways; returns how many did, to the right server.
unsigned flows_exchange(struct rack *r, struct flow *f, unsigned n);
void flows_close(struct rack *r, struct flow *f, unsigned n); // FINs both ways
