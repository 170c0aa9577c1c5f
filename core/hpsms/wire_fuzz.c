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

// What goes on from item to item of a message, decoding and encoding.
struct context {
	struct wire_log log;
	uint64_t chain;
};

// What is no record, and no question about one.
static int other_item(uint8_t type, uint16_t count, const uint8_t *data, size_t len)
{
	uint8_t again[WIRE_MESSAGE_MAX];
	union {
		struct wire_delta delta;
		struct wire_snapshot snapshot;
		struct wire_ask ask;
		struct wire_chain_ask chain_ask;
		struct wire_chain chain;
		struct wire_fragment fragment;
		struct wire_predicate predicate;
		struct wire_confirm confirm;
		struct tripod_tuple tuple;
	} u;
	int n, put;

	switch (type) {
	case WIRE_FRAGMENT:
		n = wire_get_fragment(data, len, &u.fragment);
		put = n < 0 ? n : wire_put_fragment(again, sizeof(again), &u.fragment);
		break;
	case WIRE_INDEX:
		n = wire_get_delta(data, len, count, &u.delta);
		put = n < 0 ? n : wire_put_delta(again, sizeof(again), &u.delta);
		break;
	case WIRE_SNAPSHOT:
		n = wire_get_snapshot(data, len, count, &u.snapshot);
		put = n < 0 ? n : wire_put_snapshot(again, sizeof(again), &u.snapshot);
		break;
	case WIRE_ASK:
		n = wire_get_ask(data, len, &u.ask);
		put = n < 0 ? n : wire_put_ask(again, sizeof(again), &u.ask);
		break;
	case WIRE_CHAIN_ASK:
		n = wire_get_chain_ask(data, len, &u.chain_ask);
		put = n < 0 ? n : wire_put_chain_ask(again, sizeof(again), &u.chain_ask);
		break;
	case WIRE_CHAIN:
		n = wire_get_chain(data, len, &u.chain);
		put = n < 0 ? n : wire_put_chain(again, sizeof(again), &u.chain);
		break;
	case WIRE_PREDICATE:
		n = wire_get_predicate(data, len, &u.predicate);
		put = n < 0 ? n : wire_put_predicate(again, sizeof(again), &u.predicate);
		break;
	case WIRE_CONFIRM:
		n = wire_get_confirm(data, len, &u.confirm);
		put = n < 0 ? n : wire_put_confirm(again, sizeof(again), &u.confirm);
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

// One item of the type, or the whole body when that is the unit: its bytes, or negative.
static int item(struct context *c, uint8_t type, uint16_t count, const uint8_t *data, size_t len)
{
	uint8_t again[WIRE_MESSAGE_MAX];
	union {
		struct wire_hello hello;
		struct wire_greet greet;
		struct wire_record record;
		struct tripod_tuple tuple;
		struct wire_request request;
		struct wire_applied applied;
		struct wire_kind kind;
		struct wire_forget forget;
		uint64_t hash;
	} u;
	int n, put;
	bool has;

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
		n = wire_get_record(data, len, &u.record, &c->log);
		put = n < 0 ? n : wire_put_record(again, sizeof(again), &u.record, &c->chain);
		break;
	case WIRE_LACK:
		n = wire_get_hash(data, len, &u.hash);
		put = n < 0 ? n : wire_put_hash(again, sizeof(again), u.hash);
		break;
	case WIRE_REQUEST:
		n = wire_get_request(data, len, &u.request);
		put = n < 0 ? n : wire_put_request(again, sizeof(again), &u.request);
		break;
	case WIRE_APPLIED:
		n = wire_get_applied(data, len, &u.applied);
		put = n < 0 ? n : wire_put_applied(again, sizeof(again), &u.applied);
		break;
	case WIRE_FORGET:
	case WIRE_FORGOT:
		n = wire_get_forget(data, len, &u.forget);
		put = n < 0 ? n : wire_put_forget(again, sizeof(again), &u.forget);
		break;
	case WIRE_KIND:
		n = wire_get_kind(data, len, &u.kind);
		put = n < 0 ? n : wire_put_kind(again, sizeof(again), &u.kind);
		break;
	case WIRE_PULL:
		n = wire_get_question(data, len, &u.tuple, &has);
		put = n < 0 ? n : wire_put_question(again, sizeof(again), &u.tuple, has);
		break;
	default:
		return other_item(type, count, data, len);
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
	struct context c = {0};
	struct wire_header h;
	int n = wire_get_short(data, size, &h);
	if (n > 0) {
		h.boot |= 1ull << 63; // as who knows it completes it
		same(data, n, again, wire_put_short(again, sizeof(again), &h));
		return 0;
	}
	n = wire_get_header(data, size, &h);
	if (n < 0) {
		// Without a good header the items would hardly ever be reached.
		for (uint8_t type = WIRE_HELLO; type <= WIRE_TYPE_MAX; type++) {
			c = (struct context){0};
			item(&c, type, size > 0 ? data[0] : 0, data, size);
		}
		return 0;
	}
	same(data, n, again, wire_put_header(again, sizeof(again), &h));
	size_t at = (size_t)n;
	bool whole = h.type == WIRE_INDEX || h.type == WIRE_SNAPSHOT;
	for (unsigned i = 0; i < (whole ? 1u : h.count); i++) {
		n = item(&c, h.type, h.count, data + at, size - at);
		if (n < 0)
			break;
		at += (size_t)n;
	}
	return 0;
}
