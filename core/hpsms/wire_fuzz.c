// SPDX-License-Identifier: BSD-3-Clause
// Fuzz target of the decoders: whatever they accept must encode to the same bytes again. They know
// nothing of tags, so that a fuzzer meets no check that it cannot pass.
#include <stdlib.h>

#include "core/hpsms/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const uint8_t *data, int got, const uint8_t *again, int put)
{
	if (got != put || memcmp(data, again, (size_t)got) != 0)
		abort();
}

// One item of the type: its bytes, or negative.
static int item(uint8_t type, const uint8_t *data, size_t len)
{
	uint8_t again[WIRE_MESSAGE_MAX];
	union {
		struct wire_hello hello;
		struct wire_greet greet;
		struct wire_record record;
		struct tripod_tuple tuple;
		struct wire_chain_ask ask;
		struct wire_chain chain;
	} u;
	int n, put;
	switch (type) {
	case WIRE_HELLO:
		n = wire_get_hello(data, len, &u.hello);
		put = n < 0 ? n : wire_put_hello(again, sizeof(again), &u.hello);
		break;
	case WIRE_GREET:
		n = wire_get_greet(data, len, &u.greet);
		put = n < 0 ? n : wire_put_greet(again, sizeof(again), &u.greet);
		break;
	case WIRE_LOG:
		n = wire_get_record(data, len, &u.record);
		put = n < 0 ? n : wire_put_record(again, sizeof(again), &u.record);
		break;
	case WIRE_CHAIN_ASK:
		n = wire_get_chain_ask(data, len, &u.ask);
		put = n < 0 ? n : wire_put_chain_ask(again, sizeof(again), &u.ask);
		break;
	case WIRE_CHAIN:
		n = wire_get_chain(data, len, &u.chain);
		put = n < 0 ? n : wire_put_chain(again, sizeof(again), &u.chain);
		break;
	default:
		n = wire_get_tuple(data, len, &u.tuple);
		put = n < 0 ? n : wire_put_tuple(again, sizeof(again), &u.tuple);
		break;
	}
	if (n > (int)len)
		abort();
	if (n >= 0)
		same(data, n, again, put);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[WIRE_HEADER_SIZE];
	struct wire_header h;
	int n = wire_get_header(data, size, &h);
	if (n < 0) {
		// Without a good header the items would hardly ever be reached.
		for (uint8_t type = WIRE_HELLO; type <= WIRE_CHAIN; type++)
			item(type, data, size);
		item(WIRE_REFUSED, data, size);
		return 0;
	}
	same(data, n, again, wire_put_header(again, sizeof(again), &h));
	size_t at = (size_t)n;
	for (unsigned i = 0; i < h.count; i++) {
		n = item(h.type, data + at, size - at);
		if (n < 0)
			break;
		at += (size_t)n;
	}
	return 0;
}
