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
#include "core/hpsms/kind.h"
#include "core/store.h"

#define WIRE_VERSION 5
#define WIRE_MESSAGE_MAX 1440 // bytes of a message: with IPv4 and UDP headers below an MTU of 1500
#define WIRE_TAG_SIZE 16 // bytes, behind the items
#define WIRE_BODY_MAX (WIRE_MESSAGE_MAX - WIRE_TAG_SIZE) // bytes of header and items
#define WIRE_ANY 0xff // to_node: every node; to_worker: whichever the item's key hashes to

enum wire_type {
	WIRE_HELLO = 1, // heartbeat: one struct wire_hello
	WIRE_LOG = 2, // records; sequenced when it has any, a bare acknowledgement when it has none
	WIRE_PULL = 3, // PullReplica: tuples wanted; not sequenced, repeated by who asks
	WIRE_NONE = 4, // answer to PULL: tuples that the sender has not
	WIRE_INDEX = 5, // what has changed in the sender's index set
	WIRE_SNAPSHOT = 6, // a piece of the set as it is
	WIRE_ASK = 7, // asks for what the sender of it lacks of the index sets
	WIRE_CHAIN_ASK = 8, // a chain is wanted, by its id: one struct wire_chain_ask
	WIRE_CHAIN = 9, // answer: a piece of its description, one struct wire_chain
	WIRE_REFUSED = 10, // to who sent records: keys of those that the sender could not keep
	WIRE_LACK = 11, // records that an UPDATE named and the sender has not: hashes of their keys
	WIRE_GREET = 12, // proof that a boot is alive now: one struct wire_greet
	WIRE_REQUEST = 13, // changes that the shared part's writer is asked for
	WIRE_APPLIED = 14, // answer: those that all copies have
	WIRE_PREDICATE = 15, // in the place of a connection's packet: where does it arrive?
	WIRE_CONFIRM = 16, // answer: it has arrived here
	WIRE_KIND = 17, // state of other keys than a connection's: questions, answers and copies
	WIRE_FORGET = 18, // to holders: copies that are not needed any more
	WIRE_FORGOT = 19, // answer: they are gone
	WIRE_FRAGMENT = 20, // datagrams in fragments: with which addresses the first has left
	WIRE_TYPE_MAX = WIRE_FRAGMENT,
};

struct wire_header {
	uint8_t type; // enum wire_type
	uint16_t length; // bytes of the message, header and tag included: the whole datagram
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
// GREET to worker 0 of one, a SNAPSHOT too, an INDEX and an ASK to worker 0 of one or of all.
int wire_put_header(uint8_t *buf, size_t size, const struct wire_header *h);
int wire_get_header(const uint8_t *buf, size_t len, struct wire_header *h); // bytes or -EINVAL

// A LOG on its way, without what both ends know: the receiver puts the header above before it looks at
// the tag. cluster and length are not in it, and of boot and to_boot the lowest byte.
#define WIRE_SHORT_MAX 39 // bytes
bool wire_is_short(const uint8_t *buf, size_t len);
int wire_put_short(uint8_t *buf, size_t size, const struct wire_header *h);
int wire_get_short(const uint8_t *buf, size_t len, struct wire_header *h); // bytes or -EINVAL

struct wire_hello {
	uint8_t workers;
	uint8_t flags; // WIRE_HELLO_*
	uint8_t n_chains; // 1 to CHAINS_MAX
	// bit i: the sender has connections under chain[i], or new ones get it, now or soon
	uint8_t chains_used;
	uint8_t mac[6]; // of the sender, on the fabric VLAN
	uint64_t live; // members that the sender hears
	uint64_t
		lives; // what the sender's next incarnation would begin with, WIRE_LIVES_MAX at most
	uint8_t port_changes; // times that its session with the switch has changed, modulo 256
	uint64_t chain[CHAINS_MAX]; // ids of those that the sender holds; first, what new ones get
	// What its connections would make each node fetch after failures (minchurn_pack()); 0s are not sent.
	uint16_t load[64];
};
#define WIRE_LIVES_MAX (1ull << 55) // far above what any rack comes to, and far below the end
#define WIRE_HELLO_READY 1 // takes traffic: its port is up
#define WIRE_HELLO_LEAVING 2 // shuts down on purpose: dead at once, no need to wait
#define WIRE_HELLO_WANTED 4 // in a GREET only: the sender does not believe the receiver's boot yet
#define WIRE_HELLO_DRAINING 8 // gives its connections away: no new copies for it
#define WIRE_HELLO_ASKING 32 // wants to be told when the receiver has sent all that it should hold
#define WIRE_HELLO_SERVED 16 // in a GREET only: the sender has sent what the receiver should hold
int wire_put_hello(uint8_t *buf, size_t size, const struct wire_hello *h);
int wire_get_hello(const uint8_t *buf, size_t len, struct wire_hello *h);

struct wire_greet {
	struct wire_hello hello;
	uint64_t echo; // challenge last heard from the receiver; 0: none yet
	uint64_t challenge; // to be echoed by the receiver before the sender believes it, never 0
	uint64_t floor; // counters up to this one are used up in what goes to every node
};
int wire_put_greet(uint8_t *buf, size_t size, const struct wire_greet *g);
int wire_get_greet(const uint8_t *buf, size_t len, struct wire_greet *g);

enum wire_op {
	WIRE_PUT = 1, // the whole connection: all parts, under its key
	WIRE_UPDATE = 2, // directions of a connection that the receiver has, by hash
	WIRE_BURY = 3, // tombstone, by hash: the connection of this incarnation has ended
};
// FINAL stands only with ANSWER, and both in a PUT only; a BURY may be URGENT, no more.
#define WIRE_RECORD_ANSWER 1 // sent because the receiver asked (PULL)
#define WIRE_RECORD_FINAL 2 // ... and the sender is sure that nobody has a newer one
#define WIRE_RECORD_ANSWERED 4 // CONN_ANSWERED
#define WIRE_RECORD_PINNED 8 // CONN_PINNED
#define WIRE_RECORD_URGENT 16 // the sender waits for the acknowledgement: at once
// The connection's durability, in a PUT only; neither: DURABILITY_ASYNC, never both.
#define WIRE_RECORD_SYNC 32
#define WIRE_RECORD_NONE 64

// In the place of a flag that does not travel: isn is told. With TCP_DIR_SYN only.
#define WIRE_DIR_ISN TCP_DIR_LEARNED

#define WIRE_NF_MAX 1024 // so that the largest record fits into a message
struct wire_record {
	uint8_t op; // enum wire_op
	uint8_t flags; // WIRE_RECORD_*
	uint8_t parts; // bit p: part p is present (enum conn_part); PUT: all, UPDATE: directions
	uint8_t reason; // WIRE_BURY: enum tripod_reason
	struct tripod_tuple key; // WIRE_PUT: of direction 0
	uint64_t hash; // others: store_hash() of that
	uint64_t incarnation;
	struct conn_version version[PARTS]; // of the parts present; handed is not sent
	struct {
		// Durable bits of struct tcp_dir, and TCP_DIR_FIN_SEEN if fin is told, WIRE_DIR_ISN if isn is;
		// wscale with its flag.
		uint8_t tcp_flags, wscale;
		uint32_t fin; // number behind its FIN
		uint32_t isn; // ... behind its SYN, or SYN+ACK
		uint32_t age_ms; // time since the last packet of this direction: ages, never clocks
	} dir[2]; // PART_DIR0, PART_DIR1
	// PART_SHARED
	// Key of direction 1; family, protocol, kind and zone are key's, direction the other.
	struct tripod_tuple reversed;
	uint64_t chain; // not 0
	uint64_t holders;
	uint16_t nf_size; // bytes of packed NF state, WIRE_NF_MAX at most
	const uint8_t *nf; // decoded: in the struct wire_log
};

// What decoding goes on with from record to record of one message; zeroed before the first.
struct wire_log {
	uint64_t chain; // of the last record that has one: the next need not repeat it
	uint8_t nf[WIRE_NF_MAX]; // the last record's NF state
};
// Bytes, -ENOSPC or -EINVAL. chain: as in struct wire_log; changes with a record that has one.
int wire_put_record(uint8_t *buf, size_t size, const struct wire_record *r, uint64_t *chain);
int wire_get_record(const uint8_t *buf, size_t len, struct wire_record *r, struct wire_log *log);

// Items of WIRE_LACK: hashes of keys.
#define WIRE_HASH_SIZE 8
int wire_put_hash(uint8_t *buf, size_t size, uint64_t hash);
int wire_get_hash(const uint8_t *buf, size_t len, uint64_t *hash);

// ---- wire_state.c ----
// n bytes of NF state, much of which is zero or stands in the tuples already.
int wire_put_state(uint8_t *buf, size_t size, const uint8_t *state, size_t n,
	const struct tripod_tuple *key, const struct tripod_tuple *reversed);
int wire_get_state(const uint8_t *buf, size_t len, uint8_t *state, size_t n,
	const struct tripod_tuple *key, const struct tripod_tuple *reversed);

// Items of WIRE_NONE and WIRE_REFUSED.
#define WIRE_TUPLE_MAX 40 // bytes of the largest
int wire_put_tuple(uint8_t *buf, size_t size, const struct tripod_tuple *t);
int wire_get_tuple(const uint8_t *buf, size_t len, struct tripod_tuple *t);
// Of WIRE_PULL: has: who asks has a copy, and makes sure of it.
int wire_put_question(uint8_t *buf, size_t size, const struct tripod_tuple *t, bool has);
int wire_get_question(const uint8_t *buf, size_t len, struct tripod_tuple *t, bool *has);

// ---- wire_request.c ----
#define WIRE_REQUEST_TERMINATE 0xff // nf: the connection is to end; no data
struct wire_request {
	uint64_t hash; // store_hash() of the key of direction 0
	uint64_t incarnation;
	uint32_t seq; // of the sender's, not 0
	uint8_t nf; // position in the chain
	uint8_t size;
	uint8_t data[TRIPOD_REQUEST_MAX];
};
struct wire_applied {
	uint64_t hash, incarnation;
	uint32_t seq; // of the request
};
#define WIRE_REQUEST_ITEM_MAX 40 // bytes of the largest of either
int wire_put_request(uint8_t *buf, size_t size, const struct wire_request *r);
int wire_get_request(const uint8_t *buf, size_t len, struct wire_request *r);
int wire_put_applied(uint8_t *buf, size_t size, const struct wire_applied *a);
int wire_get_applied(const uint8_t *buf, size_t len, struct wire_applied *a);

// Items of FORGET and FORGOT.
struct wire_forget {
	uint64_t hash; // store_hash() of the key of direction 0
	uint64_t incarnation;
	uint16_t stamp; // of the record of who asks; comes back as it is
	uint16_t epoch[PARTS]; // of what there is a copy of
};
int wire_put_forget(uint8_t *buf, size_t size, const struct wire_forget *f);
int wire_get_forget(const uint8_t *buf, size_t len, struct wire_forget *f);

// ---- wire_fragment.c ----
struct wire_fragment {
	struct tripod_tuple key; // of the kind TRIPOD_KIND_FRAGMENT, as its fragments arrive
	struct tripod_addr src, dst; // as they leave; of the same family
};
#define WIRE_FRAGMENT_MAX 80 // bytes of the largest
int wire_put_fragment(uint8_t *buf, size_t size, const struct wire_fragment *f);
int wire_get_fragment(const uint8_t *buf, size_t len, struct wire_fragment *f);

// ---- wire_kind.c ----
enum wire_kind_op {
	WIRE_KIND_ASK = 1, // key, seq, held, units wanted, data: to who writes the entry
	WIRE_KIND_ANSWER = 2, // hash, seq, units, state: back
	WIRE_KIND_COPY = 3, // key, epoch, version, writer, state, parts: the whole entry
	WIRE_KIND_HAVE = 4, // hash, epoch, version: such a copy has arrived
};
#define WIRE_KIND_MAX 1100 // bytes of the largest item
#define WIRE_KIND_SMALL 96 // ... of all but COPY
struct wire_kind {
	uint8_t op; // enum wire_kind_op
	struct kind_key key;
	uint64_t hash; // kind_hash() of the key
	uint32_t seq; // of the question, not 0
	uint32_t held, units;
	uint32_t version;
	uint16_t epoch;
	uint8_t writer;
	uint8_t size; // of data or state
	uint8_t bytes[KIND_STATE_MAX];
	uint8_t n_parts;
	struct kind_part part[KIND_PARTS_MAX]; // decoded: only the first n_parts
};
_Static_assert(KIND_STATE_MAX == KIND_DATA_MAX, "one place for both");
int wire_put_kind(uint8_t *buf, size_t size, const struct wire_kind *w);
int wire_get_kind(const uint8_t *buf, size_t len, struct wire_kind *w);

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

// ---- Index sets. Encoders and decoders work on the whole body; `count` of the header is n. ----

#define WIRE_DELTA_MAX 512 // changes in one INDEX
struct wire_delta {
	uint32_t seq; // number of the newest change that it brings the receiver to
	uint8_t flags; // WIRE_INDEX_*
	uint8_t n_answers;
	struct {
		uint8_t node; // whose ASK is answered: all that was there when it came is in seq
		uint8_t round; // which
	} answer[64]; // by ascending node
	uint16_t n;
	uint16_t n_removes; // of n
	// Fingerprints: those that go, ascending, then those that come, ascending; none is 0.
	uint32_t fp[WIRE_DELTA_MAX];
};
#define WIRE_INDEX_PARTIAL 1 // the sender has keys that are not in its set
// Bytes that so many changes take, in the order of wire_delta.fp; there is so much room beside the most answers.
#define WIRE_DELTA_ROOM (WIRE_BODY_MAX - WIRE_HEADER_SIZE - 6 - 2 * 64)
size_t wire_delta_size(const uint32_t *fp, unsigned n_removes, unsigned n);
int wire_put_delta(uint8_t *buf, size_t size, const struct wire_delta *d);
int wire_get_delta(const uint8_t *buf, size_t len, uint16_t count, struct wire_delta *d);

#define WIRE_SNAPSHOT_MAX 324 // fingerprints in one SNAPSHOT
struct wire_snapshot {
	uint32_t seq; // of the newest change in it
	uint32_t total; // places (buckets) of the whole set
	uint32_t first; // of these
	uint16_t places; // that this piece covers, not 0
	uint16_t n;
	uint32_t fp[WIRE_SNAPSHOT_MAX];
};
int wire_put_snapshot(uint8_t *buf, size_t size, const struct wire_snapshot *s);
int wire_get_snapshot(const uint8_t *buf, size_t len, uint16_t count, struct wire_snapshot *s);

struct wire_ask {
	uint8_t what; // enum wire_ask_what
	uint8_t round; // WIRE_ASK_ROUND
	uint32_t from; // number of the first change, or of the first place, that is wanted
};
enum wire_ask_what {
	WIRE_ASK_ROUND = 1, // tell all that is there now, and say when that is done
	WIRE_ASK_DELTAS = 2, // changes were lost
	WIRE_ASK_SNAPSHOT = 3, // nothing is known, or too much was lost
};
int wire_put_ask(uint8_t *buf, size_t size, const struct wire_ask *a);
int wire_get_ask(const uint8_t *buf, size_t len, struct wire_ask *a);

struct wire_predicate {
	uint64_t nonce; // of the sender's question, not 0
	uint64_t hash; // store_hash() of the tuple that carries it
	uint32_t epoch; // of the sender's view of the ports
	uint8_t group; // on whose VLAN it was sent
};
#define WIRE_PREDICATE_SIZE 21 // bytes
int wire_put_predicate(uint8_t *buf, size_t size, const struct wire_predicate *p);
int wire_get_predicate(const uint8_t *buf, size_t len, struct wire_predicate *p);

struct wire_confirm { // as the question had it
	uint64_t nonce;
	uint32_t epoch;
	uint8_t group;
	uint8_t place; // that the switch has written on it, 0..63 (core/node.h)
};
#define WIRE_CONFIRM_SIZE 14 // bytes
int wire_put_confirm(uint8_t *buf, size_t size, const struct wire_confirm *c);
int wire_get_confirm(const uint8_t *buf, size_t len, struct wire_confirm *c);
