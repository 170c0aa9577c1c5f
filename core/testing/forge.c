// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/forge.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define VIP "198.51.100.1"
#define SERVER "10.1.0.101"

struct tripod_tuple forge_key(unsigned n)
{
	char client[20];
	struct tripod_tuple key = {.sport = htons(1000), .dport = htons(80), .proto = IPPROTO_TCP};
	snprintf(client, sizeof(client), "198.18.0.%u", n);
	tripod_addr_parse(&key.src, client);
	tripod_addr_parse(&key.dst, VIP);
	return key;
}

void forge_send(struct rack *r, unsigned from, unsigned to, const void *message, size_t len)
{
	uint8_t frame[1600], to_mac[6] = {2, 0, 0, 0, 0, (uint8_t)(to + 1)};
	uint8_t from_mac[6] = {2, 0, 0, 0, 0, (uint8_t)(from + 1)};
	char src[20], dst[20];

	snprintf(src, sizeof(src), "10.255.0.%u", from + 1);
	snprintf(dst, sizeof(dst), "10.255.0.%u", to + 1);
	size_t n = frames_build(frame, sizeof(frame),
		&(struct frame_spec){.src = src,
			.dst = dst,
			.proto = IPPROTO_UDP,
			.sport = CONTROL_PORT,
			.dport = CONTROL_PORT,
			.payload = message,
			.payload_len = len,
			.src_mac = from_mac,
			.dst_mac = to_mac});
	rack_inject(r, to, 30, frame, n);
}

struct wire_header forge_header(struct rack *r, unsigned from, unsigned to, enum wire_type type)
{
	return (struct wire_header){
		.type = (uint8_t)type,
		.from_node = (uint8_t)from,
		.to_node = (uint8_t)to,
		.count = 1,
		.cluster = 7,
		.boot = rack_node(r, from)->conf.boot,
		.to_boot = (uint32_t)rack_node(r, to)->conf.boot,
	};
}

int forge_put(uint8_t *message, const struct wire_record *w)
{
	uint64_t chain = 0;
	int size = wire_put_record(
		message + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, w, &chain);

	if (size <= 0)
		abort(); // of a test's own record
	return size;
}

void forge_from(
	struct rack *r, unsigned from, unsigned worker, unsigned to, const struct wire_record *w)
{
	struct wire_header h = forge_header(r, from, to, WIRE_LOG);
	uint8_t message[WIRE_MESSAGE_MAX];
	struct wire_record named = *w;

	if (w->op != WIRE_PUT)
		named.hash = store_hash(&node_shard(rack_node(r, to), 0)->store, &w->key);
	int size = forge_put(message, &named);
	h.from_worker = (uint8_t)worker;
	h.seq = node_shard(rack_node(r, to), 0)->peer[from].channel[worker].rx_ack + 1;
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	forge_send(r, from, to, message, h.length);
	rack_run_ms(r, 1);
}

void forge(struct rack *r, unsigned from, unsigned to, const struct wire_record *w)
{
	forge_from(r, from, 0, to, w);
}

static const uint8_t nf[WIRE_NF_MAX] = {1};

struct wire_record forge_record(struct rack *r, unsigned n, unsigned writer, uint16_t epoch)
{
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct wire_record w = {
		.op = WIRE_PUT,
		.flags = WIRE_RECORD_ANSWERED,
		.parts = 7,
		.key = forge_key(n),
		.incarnation = 1000,
		.chain = s->chain[0]->id,
		.holders = 3,
		.nf_size = s->chain[0]->wire_size,
		.nf = nf,
	};
	for (unsigned p = 0; p < PARTS; p++)
		w.version[p] = (struct conn_version){.epoch = epoch, .writer = (uint8_t)writer};
	w.reversed = tripod_tuple_reverse(&w.key);
	tripod_addr_parse(&w.reversed.src, SERVER);
	w.reversed.sport = htons(8080);
	return w;
}

struct conn_repl *forge_find(struct rack *r, unsigned node, unsigned n, struct conn **c)
{
	struct store *st = &node_shard(rack_node(r, node), 0)->store;
	struct tripod_tuple key = forge_key(n);
	struct store_hit hit = store_find(st, &key, store_hash(st, &key));

	if (hit.what != STORE_CONN)
		return NULL;
	if (c != NULL)
		*c = store_conn(st, hit.index);
	return store_repl(st, hit.index);
}

uint32_t forge_index(struct rack *r, unsigned node, const struct tripod_tuple *key)
{
	struct store *st = &node_shard(rack_node(r, node), 0)->store;

	return store_find_hash(st, store_hash(st, key));
}

enum conn_state forge_state(struct rack *r, unsigned node, const struct tripod_tuple *key)
{
	uint32_t i = forge_index(r, node, key);

	return i == STORE_NONE ? CONN_FREE
			       : store_conn(&node_shard(rack_node(r, node), 0)->store, i)->state;
}
