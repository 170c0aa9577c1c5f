// SPDX-License-Identifier: BSD-3-Clause
// A test kit for network functions: a chain, one connection, packets written as text, and a node
// that dies when the test says so. No node, no replication, no clock: what the framework promises
// an NF is all there is, and what an NF must not do is found out.
//
//	struct testkit *t = testkit_new("- lb: {services: [...]}", NULL);
//	assert_string_equal(testkit_send(t, "in tcp 198.51.100.7:4242 > 203.0.113.80:80 syn"),
//		"tcp 198.51.100.7:4242 > 10.1.0.21:8080");
//	testkit_takeover(t); // SIGKILL: the connection goes on elsewhere
//	assert_string_equal(testkit_send(t, "out tcp 10.1.0.21:8080 > 198.51.100.7:4242 syn ack"),
//		"tcp 203.0.113.80:80 > 198.51.100.7:4242");
//	testkit_free(t);
//
// After every callback the kit compares the NF's state with what it was, and after every packet the
// checksums with the bytes. An NF that changes a write-once field later than on_init, changes a
// replicated field without tripod_state_rw(), or writes outside its state, is answered by
// "violation: ...", whatever it decided.
//
// Misuse of the kit itself (unknown names, packets that cannot be read) prints why and aborts.
#pragma once

#include <tripod/nf.h>

struct testkit;

struct testkit_conf {
	uint64_t seed; // of tripod_random(); 0: 1
	unsigned slot, slots; // which of the rack's nodes this is; slots 0: 1
	unsigned boot_half;
	size_t memory; // bytes for the NFs' instances; 0: 16 MiB
};

// NFs that are not built in: an NF must be known before a chain names it.
void testkit_register(const struct tripod_nf *nf);

// yaml: the chain, as it stands below `chain:` in a rack's file. conf NULL: the standard values.
struct testkit *testkit_new(const char *yaml, const struct testkit_conf *conf);
void testkit_free(struct testkit *t);
// What a start with this chain would complain about, one error a line ("chain.yaml:3: ..."); "" if
// it is right. The caller frees it.
char *testkit_errors(const char *yaml, const struct testkit_conf *conf);

// ---- Packets ----

// Sends a packet through the chain and says what became of it. The first packet opens the
// connection; later ones must carry one of its two tuples.
//
// packet: "SIDE PROTO SRC:PORT > DST:PORT WORDS", SIDE being in (from outside) or out (from
// inside); PROTO tcp, udp or icmp (echo; SRC's port is the identifier, DST has none). IPv6:
// [2001:db8::1]:80. WORDS, in any order: syn ack fin rst psh (none: ack), reply (ICMP echo), seq=N,
// ack=N, len=N (payload bytes).
//
// Returned, until the next call:
//	"tcp 198.51.100.7:4242 > 10.1.0.21:8080"  forwarded, as it leaves
//	"refuse lb"       lb's on_init said DROP: there is no connection
//	"drop lb"         lb's on_packet did
//	"consume lb", "hold lb"
//	"not of this connection"
//	"violation: ..."
const char *testkit_send(struct testkit *t, const char *packet);
// The packet of the last testkit_send(), as it left or where it stopped. Headers may be inspected.
const struct tripod_packet *testkit_packet(const struct testkit *t);

// What NFs sent by tripod_emit(), and what they held and released, since the last testkit_send(),
// testkit_advance() or testkit_close() began: "emit tcp A > B rst ack seq=0 ack=8 len=0",
// "release tcp A > B ...". NULL past the end.
const char *testkit_output(const struct testkit *t, unsigned i);

// ---- The connection ----

// Is there one; its tuple of direction 0 (the initiator's packets) or 1 (the answers), as they
// arrive.
bool testkit_connected(const struct testkit *t);
const struct tripod_tuple *testkit_tuple(const struct testkit *t, unsigned direction);
bool testkit_pinned(const struct testkit *t);
enum tripod_durability testkit_durability(const struct testkit *t); // that NFs have chosen
// An NF's state, NULL without a connection; one of its counters.
const void *testkit_state(const struct testkit *t, const char *nf);
uint64_t testkit_counter(const struct testkit *t, const char *nf, const char *counter);

// The node is killed, and another one goes on: instances are loaded anew (in the next slot, with
// other random numbers), replicated fields come from the record, soft ones are zero, counters too;
// timers and held packets are gone.
void testkit_takeover(struct testkit *t);
// The connection ends: on_close() of every NF. "" or a violation.
const char *testkit_close(struct testkit *t, enum tripod_reason why);
// What an NF has asked for arrives where the state is written: its on_request(); or the answer to its
// tripod_kind_take() comes: its on_kind(). A takeover loses either. "" or a violation; "nothing" when none is under way.
const char *testkit_deliver(struct testkit *t);
// The connection stays open in the table but is out of the kit's sight: its tuples are taken, and
// the next packet opens another one.
void testkit_park(struct testkit *t);
// Time passes; a timer that runs out on the way calls on_timer(). "" or a violation.
const char *testkit_advance(struct testkit *t, uint64_t ms);

// ---- What may go wrong ----

// May this node write the shared state (tripod_state_rw() not NULL in on_packet)? Standard: yes. If not,
// a tripod_request() is under way until testkit_deliver().
void testkit_writable(struct testkit *t, bool writable);
// Units of the connection's key that workers elsewhere have; and is the answer to a tripod_kind_take() under
// way until testkit_deliver()? Standard: 0; it is known at once. The kit keeps one key: another one begins
// with nothing here.
void testkit_others(struct testkit *t, uint64_t units);
void testkit_slow(struct testkit *t, bool slow);
// true: tripod_packet_new() finds no free buffer, no request can get under way, and nobody answers of kinds.
void testkit_starve(struct testkit *t, bool starve);
// tripod_tuple_available() says no to these.
void testkit_take(struct testkit *t, const struct tripod_tuple *reversed);
// ... and asks this too, when set: another worker's tuples, say.
typedef bool (*testkit_available_fn)(void *ctx, const struct tripod_tuple *reversed);
void testkit_on_available(struct testkit *t, testkit_available_fn fn, void *ctx);
// What tripod_tuple_affinity() says, when set; else TRIPOD_TOGETHER.
typedef enum tripod_affinity (*testkit_affinity_fn)(void *ctx, const struct tripod_tuple *reversed);
void testkit_on_affinity(struct testkit *t, testkit_affinity_fn fn, void *ctx);
