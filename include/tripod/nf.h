// SPDX-License-Identifier: BSD-3-Clause
// The network function (NF) API: all that an NF may include.
//
// An NF is three callbacks, a few bytes of state per connection and a table of options (paper,
// III-A2 and Fig. 4). The framework finds or creates the connection, runs the chain, tracks TCP,
// replicates the state and hands it to whichever node the switch sends the packets to next. An NF
// sees none of that: it reads its state, writes it through the calls below, and returns a verdict.
//
// Order: a packet from outside passes the chain in the order of the configuration, a packet from
// inside in the reverse order. A connection has an initiator: whoever sent its first packet.
//
// Thread: on_* run on the worker that owns the connection; no two at once for one connection. load
// runs on the control thread, possibly while workers run other instances of the NF, and so does import,
// which runs on workers as well. No callback may block, allocate, log,
// divide by a variable in on_packet, or read a clock: time is tripod_now_ns(), chance is
// tripod_random().
#pragma once

#include <tripod/conf.h>
#include <tripod/packet.h>
#include <tripod/tuple.h>

// Bumped whenever a struct or call of this header changes. A plug-in of another ABI is refused.
#define TRIPOD_NF_ABI 3

enum tripod_verdict {
	TRIPOD_FORWARD, // on to the next NF, and out after the last
	TRIPOD_DROP, // discard; count it in a counter of your own that says why
	TRIPOD_CONSUME, // the NF has dealt with it: the packet ends here, and is not a drop
	TRIPOD_HOLD, // keep until tripod_release(); at most TRIPOD_HOLD_MAX a connection
};
#define TRIPOD_HOLD_MAX 8

enum tripod_reason {
	TRIPOD_TCP_CLOSED, // both FINs acknowledged, or a valid RST
	TRIPOD_TIMEOUT, // no packet for the time-out of its protocol and state
	TRIPOD_TERMINATED, // an NF or the operator ended it
};

// What a connection's packets wait for when they have changed state (docs/operator-guide.md, "What it
// promises"). Of two, the later is the stronger.
enum tripod_durability {
	TRIPOD_NONE, // nothing: the connection is not replicated, and ends with its node
	TRIPOD_ASYNC, // nothing: a change is replicated soon after the packet has left
	TRIPOD_SYNC, // they leave when the backups have acknowledged the change
	TRIPOD_UNSAID, // as the rack is configured
};

#define TRIPOD_REQUEST_MAX 16 // bytes of what a tripod_request() carries

// When a byte of state may change, which decides what is replicated (docs/nf-guide.md).
enum tripod_field_class {
	TRIPOD_WRITE_ONCE, // fixed in on_init; equal on every node for ever. Replicated.
	TRIPOD_DURABLE, // may change; a change is replicated before or soon after the packet leaves
	TRIPOD_SOFT, // never replicated: zero after a takeover, to be learned again
};

// How tripodctl shows a field.
enum tripod_field_format {
	TRIPOD_FIELD_UINT, // 1, 2, 4 or 8 bytes, host byte order
	TRIPOD_FIELD_PORT, // 2 bytes, network byte order
	TRIPOD_FIELD_ADDR, // struct tripod_addr
};

struct tripod_field {
	const char *name; // NULL ends a table
	uint16_t offset, size; // bytes, in the NF's state
	enum tripod_field_class class;
	enum tripod_field_format format;
};
// clang-format off
#define TRIPOD_FIELD(type, member, cls, fmt)                                                       \
	{#member, offsetof(type, member), sizeof(((type *)0)->member), TRIPOD_##cls, TRIPOD_FIELD_##fmt}
// clang-format on

struct tripod_nf_env; // what load() may ask of the framework
struct tripod_call; // one callback on one connection

// ---- State of other keys than a connection's (docs/nf-guide.md, "Beyond one connection") ----
//
// A kind is state that connections share on all nodes: of a subscriber, an address, a service. Each key has
// one *entry* in the rack. One node writes it, k others have copies, and who is asked to change it is
// the same for all. What is divided among the connections is counted in *units*, and each worker of
// each node has some: so most connections open without asking anybody.
#define TRIPOD_KIND_STATE_MAX 16 // bytes
#define TRIPOD_KIND_DATA_MAX 16

// Of which entry is a connection, and what does whoever writes that need to know?
struct tripod_kind_claim {
	struct tripod_tuple key; // what matters; zero: does not
	uint8_t size; // bytes of data
	uint8_t data[TRIPOD_KIND_DATA_MAX]; // from the configuration, say
};

// A worker of some node asks: what becomes of the entry, and how many units does it get?
struct tripod_kind_update {
	void *state; // of the entry, state_size bytes, zero at first: all who ask are told
	const void *data; // as the claim has it. From another node: check it
	size_t size;
	uint32_t held; // connections of this key that the worker has
	uint32_t wanted; // units that it would like; fewer than before when it gives some back
	uint64_t others; // units of all other workers
	uint32_t units; // of this worker: before and, when update() returns, from now on
};

struct tripod_kind {
	uint32_t layout_version; // bump when the meaning of state or data changes
	uint16_t state_size; // TRIPOD_KIND_STATE_MAX at most
	uint32_t idle_ms; // state that is not zero is kept so long after the last connection
	bool soft; // no copies: what is not asked for again is lost with its node
	// The same at any time of a connection's life, on every node: it looks at write-once state and at
	// c->opening alone. false: this connection is of none. Called in all callbacks, and without one.
	bool (*claim)(const struct tripod_call *c, struct tripod_kind_claim *out);
	// Runs where the entry is written, once for each question. Looks at nothing but *u.
	void (*update)(struct tripod_kind_update *u);
};

// What this worker knows of a connection's entry.
struct tripod_share {
	uint32_t held; // connections here that count
	uint32_t units; // that it has been given
	bool known; // the entry has answered
	uint64_t age_ns; // since then
	uint8_t state[TRIPOD_KIND_STATE_MAX];
};

struct tripod_nf {
	uint32_t abi; // TRIPOD_NF_ABI
	uint32_t layout_version; // bump when the meaning or place of a field of the state changes
	const char *name; // the key in the configuration's chain
	const char *summary; // one line
	// Bytes of state per connection, shared by both directions. It is aligned to the largest power
	// of two, up to 8, that divides this: a struct's sizeof gives what the struct needs.
	uint16_t state_size;
	const struct tripod_field *fields; // every byte that matters; bytes in no field are soft
	const struct tripod_option *options; // configuration, checked before load()
	const char *const *counters; // NULL-terminated names, snake_case; index = position

	// Reads the configuration and returns the NF's read-only instance through *instance, allocated
	// with tripod_env_alloc(). 0, or -EINVAL after tripod_conf_error() for each mistake, so that
	// all are reported at once. Called at start and for a configuration check alike.
	int (*load)(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance);

	// A connection has been allocated; p is its first packet. Decide and write the write-once
	// fields. TRIPOD_FORWARD, or TRIPOD_DROP to refuse the connection: then no state remains.
	enum tripod_verdict (*on_init)(struct tripod_call *c, struct tripod_packet *p);

	// Every packet of the connection, the first one included. NULL: the NF only decides in on_init.
	enum tripod_verdict (*on_packet)(struct tripod_call *c, struct tripod_packet *p);

	// The connection ends, on the node that ends it only. State is still readable. May be NULL.
	void (*on_close)(struct tripod_call *c, enum tripod_reason why);

	// The timer set by tripod_timer_set() has run out. May be NULL.
	void (*on_timer)(struct tripod_call *c);

	// A tripod_request() of this NF has arrived where the connection's shared state is written:
	// tripod_state_rw() is not NULL here. There is no packet. The data is what another node sent, and
	// aligned like a byte; check it before use. May be NULL: then nothing can be requested.
	void (*on_request)(struct tripod_call *c, const void *data, size_t size);

	// What its connections share with others. May be NULL.
	const struct tripod_kind *kind;
	// The answer to a tripod_kind_take(): 0, -EDQUOT or -ETIMEDOUT. There is no packet. Not NULL where
	// kind is not.
	void (*on_kind)(struct tripod_call *c, int result);

	// Makes this NF's state of one that a build with an older layout has replicated: `old` has that
	// build's old_size bytes, with fields where they were then, soft ones zero; `state` is zeroed.
	// 0, or negative when that layout is not known. Reads and writes nothing else. NULL: no older
	// layout can be read. Called for a state of zeros, too, to learn whether it would be.
	int (*import)(uint32_t old_layout, const void *old, uint16_t old_size, void *state);
};

// Registers a built-in NF at program start. A plug-in (.so) exports the same struct under the name
// tripod_nf_module instead: TRIPOD_NF_PLUGIN(my_nf). Chains look NFs up by name, so the order of
// registration has no effect.
void tripod_nf_register(const struct tripod_nf *nf);
#define TRIPOD_NF_BUILTIN(nf)                                                                      \
	__attribute__((constructor)) static void tripod_nf_register_##nf(void)                     \
	{                                                                                          \
		tripod_nf_register(&nf);                                                           \
	}
#define TRIPOD_NF_PLUGIN(nf)                                                                       \
	__attribute__((visibility("default"))) const struct tripod_nf *const tripod_nf_module = &nf

// ---- In load() ----

// Zeroed memory that lives as long as the chain; NULL when the chain's budget is used up, which
// load() reports with -ENOMEM.
void *tripod_env_alloc(struct tripod_nf_env *env, size_t size);
// Which of the rack's configured slots this node is (0-based), and how many there are. Divide what
// must be unique in the rack (ports, identifiers) by slots, never by live nodes.
unsigned tripod_env_slot(const struct tripod_nf_env *env);
unsigned tripod_env_slots(const struct tripod_nf_env *env);
// 0 or 1, different in consecutive boots of a node: what the previous boot handed out may still be
// in use elsewhere, so take the other half. A chain that has asked makes a node wait for traffic until
// what the boot before the last has handed out is known, or over.
unsigned tripod_env_boot_half(const struct tripod_nf_env *env);
// The gateway answers ARP and neighbour solicitations for these addresses on one side, and pings.
int tripod_env_own_prefix(
	struct tripod_nf_env *env, enum tripod_direction side, const struct tripod_prefix *prefix);

// An option of this type for a table, and its value: what an NF gives to tripod_durability(). Read it
// here, so that the framework knows what connections may be promised. UNSAID when absent.
extern const char *const tripod_durabilities[];
#define TRIPOD_OPTION_DURABILITY(what)                                                             \
	{                                                                                          \
		.name = "durability", .type = TRIPOD_OPT_ENUM, .choices = tripod_durabilities,     \
		.help = "none, async or sync, of " what "; rack.durability when absent"            \
	}
enum tripod_durability tripod_env_durability(
	struct tripod_nf_env *env, const struct tripod_conf *conf);

// ---- In on_init, on_packet, on_close, on_timer, on_request, on_kind ----

struct tripod_call {
	const void *instance; // what load() returned
	const void *state; // this NF's state of this connection; write through tripod_state_rw()
	uint64_t *counters; // this worker's counters of this NF
	// Tuple of the connection's first packet as it entered the chain: what the initiator asked for.
	const struct tripod_tuple *opening;
	uint64_t now_ns; // time of this burst; monotonic, not a date
	// The packet was sent by the side that opened the connection; 1 where there is no packet.
	uint8_t from_initiator;
	uint8_t nf; // position in the chain
	uint16_t state_offset;
	void *shard; // the framework's
	void *conn; // the framework's
};

static inline uint64_t tripod_now_ns(const struct tripod_call *c)
{
	return c->now_ns;
}

static inline void tripod_count(struct tripod_call *c, unsigned counter)
{
	c->counters[counter]++;
}

// Writable state; the change is replicated. NULL when this node may not change it now (the
// initiator's direction is another node's): counted, try again on a later packet, or use
// tripod_request(). Never NULL in on_init and on_request.
void *tripod_state_rw(struct tripod_call *c);
// Writable state for soft fields only: nothing is replicated.
void *tripod_state_soft(struct tripod_call *c);

// Has this NF's on_request() run on the node that writes the connection's state. If that is this node,
// it runs within the call, and what it changes is a change like any other. Else it runs soon, exactly
// once, whichever nodes die meanwhile, unless this one does or the connection ends first (of more than four
// nodes that ask for one connection within the same tenth of a second, one may be heard twice); what it
// changes comes here as other changes do. The packet under way does not wait for it. 0, or
//	-EBUSY   one of this connection is under way (some 10 ms); try again on a later packet. Counted.
//	-ENOSPC  too many are under way on this worker. Counted.
//	-EINVAL  more than TRIPOD_REQUEST_MAX bytes, no on_request, or called from it
int tripod_request(struct tripod_call *c, const void *data, size_t size);

// Takes a unit of the connection's key, until the connection ends, on whichever node. 0: it has one. Else
//	-EAGAIN   more are asked for: on_kind() tells, some 100 us later as a rule. Hold the packet. Should it
//	          take 20 ms or more while flows move, a connection other than TCP begins anew with its next
//	          packet: then nothing is told of the one that waited.
//	-EDQUOT   there are none, as was found out within the last 100 ms
//	-ENOSPC   no room to keep the key here, or too many questions a second. Counted.
//	-EINVAL   the NF has no kind, or the connection no key
// A connection that opens without one counts all the same: then more are used than there are.
int tripod_kind_take(struct tripod_call *c);
// What is known here, at once; false: nothing is.
bool tripod_kind_look(const struct tripod_call *c, struct tripod_share *out);

// Uniform 64 bits from the worker's seeded generator.
uint64_t tripod_random(struct tripod_call *c);
// A hash of 16-byte blocks, keyed by a secret that all nodes of the rack share.
uint64_t tripod_hash(const struct tripod_call *c, const void *data, size_t size);

// Is `reversed`, the tuple of the packets that will answer, free on this worker, and would they come
// back to this worker? For NFs that choose addresses or ports (SNAT): pick until this is true. Never
// true while what a former life of this node has handed out may still be in use elsewhere, unseen.
bool tripod_tuple_available(const struct tripod_call *c, const struct tripod_tuple *reversed);
// Where packets that answer will arrive, by what is known of the switch: in on_init, of a tuple that is
// available. Answers that arrive where the connection is cost one node's work and not two.
enum tripod_affinity {
	TRIPOD_APART, // at another node
	TRIPOD_TOGETHER_NOW, // here; and if this node fails, not where the initiator's packets go
	TRIPOD_TOGETHER, // here, and then there. Also where nothing is known: looking on is no use
};
enum tripod_affinity tripod_tuple_affinity(
	const struct tripod_call *c, const struct tripod_tuple *reversed);

// What this connection is promised, in on_init alone. If several NFs say something, the strongest
// holds; if none does, what the rack is configured to.
void tripod_durability(struct tripod_call *c, enum tripod_durability level);
// The connection ends after this packet, on all nodes. Where this node does not write its state, the
// one that does is asked to end it: until then some more packets may come.
void tripod_terminate(struct tripod_call *c);
// Both directions are to be handled by one node: packets that arrive at another are relayed to it.
void tripod_pin(struct tripod_call *c);
// Runs on_timer after delay_ns; a second call moves the timer. -ENOSPC (counted) when all timers
// are in use. A takeover forgets timers: set them again when packets come.
int tripod_timer_set(struct tripod_call *c, uint64_t delay_ns);
void tripod_timer_cancel(struct tripod_call *c);
// Lets the packets go on that this NF held, in order, behind this NF.
void tripod_release(struct tripod_call *c);
// A fresh packet towards the sender of p (to_sender) or onwards: Ethernet, IP and TCP/UDP headers
// made from p's, with `size` bytes of payload at tripod_packet_payload(). Fill it in, then send it
// with tripod_emit(), which sets lengths and checksums; it passes no NF. NULL, counted, when no
// buffer is free.
struct tripod_packet *tripod_packet_new(
	struct tripod_call *c, const struct tripod_packet *p, bool to_sender, uint16_t size);
void tripod_emit(struct tripod_call *c, struct tripod_packet *p);
