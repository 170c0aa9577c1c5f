// SPDX-License-Identifier: BSD-3-Clause
// Messages between nodes, field by field: docs/PROTOCOL.md is their description.
//
// Pure functions over byte ranges; any thread. Encoders never write past size; decoders trust no
// byte, and return -EINVAL for whatever an encoder here could not have produced.
//
// All integers on the wire are big-endian. A message is one UDP datagram on the fabric VLAN: a
// header, then `count` items of the message's type, then a tag (core/hpsms/auth.h), which nothing here
// looks at.
#pragma once

#include <tripod/tuple.h>

#include "core/chain.h"
#include "core/store.h"

#define WIRE_VERSION 2
#define WIRE_MESSAGE_MAX 1440 // bytes of a message: with IPv4 and UDP headers below an MTU of 1500
#define WIRE_TAG_SIZE 16 // bytes, behind the items
#define WIRE_BODY_MAX (WIRE_MESSAGE_MAX - WIRE_TAG_SIZE) // bytes of header and items
#define WIRE_ANY 0xff // to_node: every node; to_worker: whichever the item's key hashes to

enum wire_type {
	WIRE_HELLO = 1, // heartbeat: one struct wire_hello
	WIRE_LOG = 2, // records; sequenced when it has any, a bare acknowledgement when it has none
	WIRE_PULL = 3, // PullReplica: tuples wanted; not sequenced, repeated by who asks
	WIRE_NONE = 4, // answer to PULL: tuples that the sender has not
	WIRE_GREET = 5, // proof that a boot is alive now: one struct wire_greet
	WIRE_CHAIN_ASK = 8, // a chain is wanted, by its id: one struct wire_chain_ask
	WIRE_CHAIN = 9, // answer: a piece of its description, one struct wire_chain
	WIRE_REFUSED = 10, // to who sent records: keys of those that the sender could not keep
};

struct wire_header {
	uint8_t type; // enum wire_type
	uint16_t
		length; // bytes of the message, this header and the tag included: the whole datagram
	uint8_t from_node, from_worker;
	uint8_t to_node, to_worker;
	uint16_t count;
	uint64_t cluster;
	uint64_t boot; // of the sender, never 0
	uint32_t to_boot; // low 32 bits of the receiver's boot as the sender knows it, 0 unknown
	uint32_t seq; // of a sequenced message on its channel, from 1; 0: not sequenced
	uint32_t ack; // every message up to this one has arrived
	uint64_t ack_bits; // bit i: message ack + 2 + i has arrived too
	uint8_t key; // id of the cluster key behind the tag
	uint64_t counter; // of the stream that the message belongs to, from 1; 56 bits
};
#define WIRE_HEADER_SIZE 56 // bytes
// What the tag's nonce is made of.
#define WIRE_AT_FROM_WORKER 9
#define WIRE_AT_TO_NODE 10
#define WIRE_AT_TO_WORKER 11
#define WIRE_AT_COUNTER 49 // 7 bytes

// Written last, when length and count are known. Bytes, -ENOSPC or -EINVAL. A LOG names the node and
// the worker that it goes to, a NONE and a REFUSED the node; a HELLO goes to worker 0 of every node, a
// GREET to worker 0 of one.
int wire_put_header(uint8_t *buf, size_t size, const struct wire_header *h);
int wire_get_header(const uint8_t *buf, size_t len, struct wire_header *h); // bytes or -EINVAL

struct wire_hello {
	uint8_t workers;
	uint8_t flags; // WIRE_HELLO_*
	uint8_t n_chains; // 1 to CHAINS_MAX
	// bit i: the sender has connections under chain[i], or new ones get it, now or soon
	uint8_t chains_used;
	uint8_t mac[6]; // of the sender, on the fabric VLAN
	uint64_t live; // members that the sender hears
	uint64_t chain[CHAINS_MAX]; // ids of those that the sender holds; first, what new ones get
};
#define WIRE_HELLO_READY 1 // takes traffic: its port is up
#define WIRE_HELLO_LEAVING 2 // shuts down on purpose: dead at once, no need to wait
#define WIRE_HELLO_WANTED 4 // in a GREET only: the sender does not believe the receiver's boot yet
#define WIRE_HELLO_DRAINING 8 // gives its connections away: no new copies for it
#define WIRE_HELLO_SERVED 16 // in a GREET only: the sender has sent what the receiver should hold
int wire_put_hello(uint8_t *buf, size_t size, const struct wire_hello *h);
int wire_get_hello(const uint8_t *buf, size_t len, struct wire_hello *h);

struct wire_greet {
	struct wire_hello hello;
	uint64_t echo; // challenge last heard from the receiver; 0: none yet
	uint64_t challenge; // to be echoed by the receiver before the sender believes it, never 0
	uint64_t
		floor; // counters up to this one are used up in what the sender sends to every node
};
int wire_put_greet(uint8_t *buf, size_t size, const struct wire_greet *g);
int wire_get_greet(const uint8_t *buf, size_t len, struct wire_greet *g);

enum wire_op {
	WIRE_PUT = 1, // create or update
	WIRE_BURY = 2, // tombstone: the connection of this incarnation has ended
};
// A PUT has one part at least and no reason; a BURY has no part. FINAL stands only with ANSWER.
#define WIRE_RECORD_ANSWER 1 // sent because the receiver asked (PULL)
#define WIRE_RECORD_FINAL 2 // ... and the sender is sure that nobody has a newer one
#define WIRE_RECORD_ANSWERED 4 // CONN_ANSWERED
#define WIRE_RECORD_PINNED 8 // CONN_PINNED

#define WIRE_NF_MAX 1024 // so that the largest record fits into a message
struct wire_record {
	uint8_t op; // enum wire_op
	uint8_t flags; // WIRE_RECORD_*
	uint8_t parts; // bit p: part p is present (enum conn_part)
	uint8_t reason; // WIRE_BURY: enum tripod_reason
	struct tripod_tuple key; // of direction 0
	uint64_t incarnation;
	struct conn_version version[PARTS]; // of the parts present; handed is not sent
	struct {
		uint8_t tcp_flags, wscale; // durable bits of struct tcp_dir
		uint32_t age_ms; // time since the last packet of this direction: ages, never clocks
	} dir[2]; // PART_DIR0, PART_DIR1
	// PART_SHARED
	// Key of direction 1; family, protocol, kind and zone are key's, direction the other.
	struct tripod_tuple reversed;
	uint64_t chain;
	uint64_t holders;
	uint16_t nf_size; // bytes of packed NF state, WIRE_NF_MAX at most
	const uint8_t *nf; // decoded: points into buf
};
// v4 tuples take 12 bytes less per address than v6 ones. Bytes, -ENOSPC or -EINVAL.
int wire_put_record(uint8_t *buf, size_t size, const struct wire_record *r);
int wire_get_record(const uint8_t *buf, size_t len, struct wire_record *r);

// Items of WIRE_PULL, WIRE_NONE and WIRE_REFUSED.
int wire_put_tuple(uint8_t *buf, size_t size, const struct tripod_tuple *t);
int wire_get_tuple(const uint8_t *buf, size_t len, struct tripod_tuple *t);

#define WIRE_CHAIN_CHUNK 1024 // bytes
struct wire_chain_ask {
	uint64_t id;
	uint32_t offset; // from here on
};
struct wire_chain {
	uint64_t id;
	uint32_t total; // bytes of the description; 0: the sender has not that chain
	uint32_t offset;
	uint16_t size;
	const uint8_t *bytes; // decoded: points into buf
};
int wire_put_chain_ask(uint8_t *buf, size_t size, const struct wire_chain_ask *a);
int wire_get_chain_ask(const uint8_t *buf, size_t len, struct wire_chain_ask *a);
int wire_put_chain(uint8_t *buf, size_t size, const struct wire_chain *c);
int wire_get_chain(const uint8_t *buf, size_t len, struct wire_chain *c);
