// SPDX-License-Identifier: BSD-3-Clause
#include "nf/testkit/testkit.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "config/canonical.h"
#include "config/schema.h"
#include "core/chain.h"
#include "core/parse.h"
#include "core/rng.h"
#include "core/testing/frames.h"
#include "nf/testkit/spec.h"

#define OUTPUTS_MAX 64
#define TEXT_MAX 256
#define HASH_SEED 0x7419d0

struct buffer {
	struct tripod_packet p;
	uint8_t bytes[SPEC_FRAME_MAX];
};

// A packet that an NF holds: where it goes on.
struct held {
	struct buffer b;
	unsigned nf; // position in the chain of the NF that holds it
	bool from_initiator, first, released;
};

struct testkit {
	struct testkit_conf conf;
	char *yaml;
	void *memory; // of the arena, not aligned
	struct chain chain;
	struct rng rng;
	uint64_t now_ns;
	uint64_t counters[CHAIN_NFS_MAX][NF_COUNTERS_MAX];

	// The connection.
	bool connected, answerable; // answerable: the first packet has left, key[1] is known
	bool pinned, terminate;
	enum tripod_durability durability; // UNSAID, or the strongest that an NF has chosen
	struct tripod_tuple key[2];
	_Alignas(8) uint8_t state[CHAIN_STATE_MAX];
	uint64_t timer_ns[CHAIN_NFS_MAX]; // 0: not set
	unsigned n_held;
	struct held held[TRIPOD_HOLD_MAX];

	// What an NF has asked of the node that writes, and has not arrived there.
	struct {
		bool under_way;
		uint8_t nf, size;
		uint8_t data[TRIPOD_REQUEST_MAX];
	} request;

	// What connections share: the entry of the last key that was asked for.
	struct {
		bool slow, under_way; // answered by testkit_deliver() alone
		uint8_t nf;
		struct tripod_tuple key;
		uint32_t held, units; // here
		uint64_t others;
		uint8_t state[TRIPOD_KIND_STATE_MAX];
	} share;
	bool taken_unit[CHAIN_NFS_MAX]; // by the connection

	// The callback under way.
	struct tripod_tuple arrived; // of the packet sent
	bool rw, soft; // the NF asked for writable state
	bool in_init, in_request;

	// Faults.
	bool not_writable, starve;
	testkit_affinity_fn affinity;
	void *affinity_ctx;
	testkit_available_fn available;
	void *available_ctx;
	size_t n_taken, taken_room; // open addressing; kind 0xf: empty place
	struct tripod_tuple *taken;

	// Results.
	struct buffer sent;
	struct buffer fresh; // tripod_packet_new()
	bool fresh_used;
	char result[TEXT_MAX], violation[TEXT_MAX];
	unsigned n_outputs;
	char output[OUTPUTS_MAX][TEXT_MAX];
};

static void violate(struct testkit *t, const char *nf, const char *what, const char *which)
{
	if (t->violation[0] == '\0') // the first one is the cause of the others
		snprintf(t->violation, sizeof(t->violation), "violation: %s %s%s", nf, what, which);
}

// ---- Loading ----

void testkit_register(const struct tripod_nf *nf)
{
	const char *why;
	if (nf_check(nf, &why) != 0)
		spec_die("network function %s: %s", nf != NULL && nf->name != NULL ? nf->name : "?",
			why);
	tripod_nf_register(nf);
}

// Loads the chain into t; the report of the configuration's errors, "" for none, to be freed.
static char *load(struct testkit *t)
{
	size_t size = t->conf.memory != 0 ? t->conf.memory : (size_t)16 << 20;
	t->memory = calloc(1, size + 64);
	struct arena arena = {.size = size};
	arena.base = (uint8_t *)(((uintptr_t)t->memory + 63) & ~(uintptr_t)63);
	struct tripod_nf_env env = {
		.arena = &arena,
		.slot = t->conf.slot,
		.slots = t->conf.slots,
		.boot_half = t->conf.boot_half,
		.check = conf_check,
	};
	struct conf_doc *doc = conf_load_text("chain.yaml", t->yaml);
	const struct tripod_conf *root = conf_root(doc);
	int err = -1;
	if (conf_error_count(doc) == 0) {
		char *canonical = conf_canonical(root);
		err = chain_load(&t->chain, root, &env, canonical);
		free(canonical);
	}
	char *report = strdup(conf_report(doc));
	// Now, so that an NF which keeps pointers into the tree is found out.
	conf_free(doc);
	if ((err == 0) != (report[0] == '\0'))
		spec_die("load() returned %d, and the errors reported are: \"%s\"", err, report);
	return report;
}

static struct testkit *create(const char *yaml, const struct testkit_conf *conf)
{
	struct testkit *t = calloc(1, sizeof(*t));
	if (conf != NULL)
		t->conf = *conf;
	if (t->conf.slots == 0)
		t->conf.slots = 1;
	if (t->conf.seed == 0)
		t->conf.seed = 1;
	t->rng.state = t->conf.seed;
	t->now_ns = 1000000000;
	t->yaml = strdup(yaml);
	return t;
}

struct testkit *testkit_new(const char *yaml, const struct testkit_conf *conf)
{
	struct testkit *t = create(yaml, conf);
	char *report = load(t);
	if (report[0] != '\0')
		spec_die("the chain does not load:\n%s", report);
	free(report);
	return t;
}

void testkit_free(struct testkit *t)
{
	if (t == NULL)
		return;
	free(t->memory);
	free(t->yaml);
	free(t->taken);
	free(t);
}

char *testkit_errors(const char *yaml, const struct testkit_conf *conf)
{
	struct testkit *t = create(yaml, conf);
	char *report = load(t);
	testkit_free(t);
	return report;
}

// ---- Callbacks, watched ----

static struct tripod_call call_of(struct testkit *t, unsigned i, bool from_initiator)
{
	return (struct tripod_call){
		.instance = t->chain.nf[i].instance,
		.state = t->state + t->chain.nf[i].state_offset,
		.counters = t->counters[i],
		.now_ns = t->now_ns,
		.from_initiator = from_initiator,
		.nf = (uint8_t)i,
		.state_offset = t->chain.nf[i].state_offset,
		.shard = t,
		.conn = t,
		.opening = &t->key[0],
	};
}

static void begin_watch(struct testkit *t, uint8_t *before, bool in_init)
{
	memcpy(before, t->state, sizeof(t->state));
	t->rw = t->soft = false;
	t->in_init = in_init;
}

// The field that byte `at` of an NF's state belongs to; NULL: none, soft.
static const struct tripod_field *field_at(const struct tripod_nf *nf, unsigned at)
{
	for (const struct tripod_field *f = nf->fields; f != NULL && f->name != NULL; f++)
		if (at >= f->offset && at < (unsigned)f->offset + f->size)
			return f;
	return NULL;
}

static void end_watch(struct testkit *t, unsigned i, const uint8_t *before)
{
	const struct tripod_nf *nf = t->chain.nf[i].nf;
	unsigned base = t->chain.nf[i].state_offset;
	for (unsigned at = 0; at < sizeof(t->state); at++) {
		if (t->state[at] == before[at])
			continue;
		if (at < base || at >= base + nf->state_size) {
			violate(t, nf->name, "wrote outside its state", "");
			return;
		}
		const struct tripod_field *f = field_at(nf, at - base);
		bool soft = f == NULL || f->class == TRIPOD_SOFT;
		const char *name = f == NULL ? "a byte without a field" : f->name;
		if (!t->rw && !(soft && t->soft))
			violate(t, nf->name,
				soft ? "changed state without tripod_state_soft(): "
				     : "changed replicated state without tripod_state_rw(): ",
				name);
		else if (f != NULL && f->class == TRIPOD_WRITE_ONCE && !t->in_init)
			violate(t, nf->name, "changed a write-once field after on_init: ", name);
	}
}

static void end_connection(struct testkit *t, enum tripod_reason why)
{
	uint8_t before[CHAIN_STATE_MAX];
	for (unsigned i = 0; i < t->chain.n; i++) {
		const struct tripod_nf *nf = t->chain.nf[i].nf;
		if (nf->on_close == NULL)
			continue;
		struct tripod_call c = call_of(t, i, true);
		begin_watch(t, before, false);
		nf->on_close(&c, why);
		end_watch(t, i, before);
	}
	for (unsigned i = 0; i < t->chain.n; i++)
		t->share.held -= t->taken_unit[i] && t->share.held > 0;
	memset(t->taken_unit, 0, sizeof(t->taken_unit));
	t->connected = false;
}

static void forget(struct testkit *t)
{
	t->connected = t->answerable = t->pinned = t->terminate = false;
	t->durability = TRIPOD_UNSAID;
	memset(t->state, 0, sizeof(t->state));
	memset(t->timer_ns, 0, sizeof(t->timer_ns));
	t->n_held = 0;
	t->request.under_way = t->share.under_way = false;
	memset(t->taken_unit, 0, sizeof(t->taken_unit));
}

static void add_output(struct testkit *t, const char *what, const struct tripod_packet *p)
{
	if (t->n_outputs == OUTPUTS_MAX)
		spec_die("more than %d packets put out in one step", OUTPUTS_MAX);
	char *out = t->output[t->n_outputs++];
	size_t n = (size_t)snprintf(out, TEXT_MAX, "%s ", what);
	spec_format(p, out + n, TEXT_MAX - n);
	if (!frames_checksums_right(p->data, p->len))
		violate(t, "the chain", "put out a packet with a wrong checksum: ", out);
}

static void hold(struct testkit *t, unsigned nf, const struct tripod_packet *p, bool first,
	bool from_initiator)
{
	struct held *h = &t->held[t->n_held++];
	h->b.p = *p;
	memcpy(h->b.bytes, p->data, p->len);
	h->b.p.data = h->b.bytes;
	h->nf = nf;
	h->first = first;
	h->released = false;
	h->from_initiator = from_initiator;
}

struct outcome {
	const char *word; // "refuse", "drop", "consume", "hold"; NULL: the packet leaves
	const char *nf; // that said so
};

// One NF on one packet.
static enum tripod_verdict visit(struct testkit *t, unsigned i, struct tripod_packet *p, bool first,
	bool from_initiator, bool *refused)
{
	const struct tripod_nf *nf = t->chain.nf[i].nf;
	struct tripod_call c = call_of(t, i, from_initiator);
	uint8_t before[CHAIN_STATE_MAX];
	enum tripod_verdict v = TRIPOD_FORWARD;
	if (first) {
		begin_watch(t, before, true);
		v = nf->on_init(&c, p);
		end_watch(t, i, before);
		if (v != TRIPOD_FORWARD && v != TRIPOD_DROP)
			violate(t, nf->name, "on_init returned neither FORWARD nor DROP", "");
		*refused = v != TRIPOD_FORWARD;
	}
	if (v == TRIPOD_FORWARD && nf->on_packet != NULL) {
		begin_watch(t, before, false);
		v = nf->on_packet(&c, p);
		end_watch(t, i, before);
	}
	return v;
}

// The chain from NF number `step` of the packet's direction on: from outside in the order of the
// configuration, from inside in the reverse order.
static struct outcome run(
	struct testkit *t, struct tripod_packet *p, unsigned step, bool first, bool from_initiator)
{
	bool incoming = p->tuple.direction == TRIPOD_INCOMING;
	for (; step < t->chain.n; step++) {
		unsigned i = incoming ? step : t->chain.n - 1 - step;
		const char *name = t->chain.nf[i].nf->name;
		bool refused = false;
		switch (visit(t, i, p, first, from_initiator, &refused)) {
		case TRIPOD_FORWARD:
			continue;
		case TRIPOD_DROP:
			if (refused)
				forget(t);
			return (struct outcome){refused ? "refuse" : "drop", name};
		case TRIPOD_CONSUME:
			return (struct outcome){"consume", name};
		case TRIPOD_HOLD:
			if (t->n_held == TRIPOD_HOLD_MAX)
				return (struct outcome){"drop", "hold_full"};
			hold(t, i, p, first, from_initiator);
			return (struct outcome){"hold", name};
		}
		violate(t, name, "returned no verdict", "");
	}
	if (first) {
		t->key[1] = tripod_tuple_reverse(&p->tuple);
		t->answerable = true;
	}
	return (struct outcome){0};
}

// Lets go on what was released, in order; that may release more.
static void run_released(struct testkit *t)
{
	for (unsigned i = 0; i < t->n_held;) {
		if (!t->held[i].released) {
			i++;
			continue;
		}
		struct held h = t->held[i];
		h.b.p.data = h.b.bytes;
		memmove(&t->held[i], &t->held[i + 1], (t->n_held - i - 1) * sizeof(h));
		t->n_held--;
		for (unsigned j = i; j < t->n_held; j++)
			t->held[j].b.p.data = t->held[j].b.bytes;
		unsigned step =
			h.b.p.tuple.direction == TRIPOD_INCOMING ? h.nf : t->chain.n - 1 - h.nf;
		if (run(t, &h.b.p, step + 1, h.first, h.from_initiator).word == NULL)
			add_output(t, "release", &h.b.p);
		i = 0;
	}
}

static const char *settle(struct testkit *t)
{
	run_released(t);
	if (t->terminate && t->connected) {
		end_connection(t, TRIPOD_TERMINATED);
		forget(t);
	}
	if (t->violation[0] != '\0')
		snprintf(t->result, sizeof(t->result), "%s", t->violation);
	return t->result;
}

static void begin_step(struct testkit *t)
{
	t->n_outputs = 0;
	t->result[0] = t->violation[0] = '\0';
}

// ---- The test's side ----

const char *testkit_send(struct testkit *t, const char *packet)
{
	begin_step(t);
	struct tripod_packet *p = &t->sent.p;
	spec_packet(p, t->sent.bytes, packet);
	t->arrived = p->tuple;
	bool first = !t->connected;
	bool from_initiator = first || tripod_tuple_equal(&p->tuple, &t->key[0]);
	if (!from_initiator && !(t->answerable && tripod_tuple_equal(&p->tuple, &t->key[1]))) {
		snprintf(t->result, sizeof(t->result), "not of this connection");
		return t->result;
	}
	if (first) {
		forget(t);
		t->connected = true;
		t->key[0] = p->tuple;
	}
	struct outcome o = run(t, p, 0, first, from_initiator);
	if (o.word != NULL)
		snprintf(t->result, sizeof(t->result), "%s %s", o.word, o.nf);
	else
		tripod_tuple_format(&p->tuple, t->result, sizeof(t->result));
	if (!frames_checksums_right(p->data, p->len))
		violate(t, "the chain", "left a wrong checksum in: ", packet);
	return settle(t);
}

const struct tripod_packet *testkit_packet(const struct testkit *t)
{
	return &t->sent.p;
}

const char *testkit_output(const struct testkit *t, unsigned i)
{
	return i < t->n_outputs ? t->output[i] : NULL;
}

bool testkit_connected(const struct testkit *t)
{
	return t->connected;
}

const struct tripod_tuple *testkit_tuple(const struct testkit *t, unsigned direction)
{
	if (!t->connected || direction > 1 || (direction == 1 && !t->answerable))
		spec_die("no connection has a tuple of direction %u now", direction);
	return &t->key[direction];
}

enum tripod_durability testkit_durability(const struct testkit *t)
{
	return t->durability;
}

bool testkit_pinned(const struct testkit *t)
{
	return t->pinned;
}

static unsigned position(const struct testkit *t, const char *nf)
{
	for (unsigned i = 0; i < t->chain.n; i++)
		if (strcmp(t->chain.nf[i].nf->name, nf) == 0)
			return i;
	spec_die("no %s in this chain", nf);
}

const void *testkit_state(const struct testkit *t, const char *nf)
{
	unsigned i = position(t, nf);
	return t->connected ? t->state + t->chain.nf[i].state_offset : NULL;
}

uint64_t testkit_counter(const struct testkit *t, const char *nf, const char *counter)
{
	unsigned i = position(t, nf);
	for (unsigned j = 0; j < t->chain.nf[i].n_counters; j++)
		if (strcmp(t->chain.nf[i].nf->counters[j], counter) == 0)
			return t->counters[i][j];
	spec_die("%s has no counter %s", nf, counter);
}

void testkit_takeover(struct testkit *t)
{
	uint8_t record[CHAIN_STATE_MAX];
	chain_pack(&t->chain, t->state, record);
	uint64_t id = t->chain.id;
	free(t->memory);
	memset(t->state, 0xa5, sizeof(t->state));
	memset(t->counters, 0, sizeof(t->counters));
	memset(t->timer_ns, 0, sizeof(t->timer_ns));
	t->n_held = 0;
	t->request.under_way = t->share.under_way = false;
	if (++t->conf.slot == t->conf.slots)
		t->conf.slot = 0;
	t->rng.state = rng_next(&t->rng);
	char *report = load(t);
	if (report[0] != '\0' || t->chain.id != id)
		spec_die("another node does not load the same chain:\n%s", report);
	free(report);
	memset(t->state, 0, sizeof(t->state));
	chain_unpack(&t->chain, record, t->state);
}

const char *testkit_close(struct testkit *t, enum tripod_reason why)
{
	begin_step(t);
	if (!t->connected)
		spec_die("there is no connection to close");
	end_connection(t, why);
	const char *result = settle(t);
	forget(t);
	return result;
}

const char *testkit_advance(struct testkit *t, uint64_t ms)
{
	begin_step(t);
	uint64_t end_ns = t->now_ns + ms * 1000000;
	uint8_t before[CHAIN_STATE_MAX];
	for (;;) {
		unsigned next = t->chain.n;
		for (unsigned i = 0; i < t->chain.n; i++)
			if (t->timer_ns[i] != 0 && t->timer_ns[i] <= end_ns &&
				(next == t->chain.n || t->timer_ns[i] < t->timer_ns[next]))
				next = i;
		if (next == t->chain.n)
			break;
		if (t->timer_ns[next] > t->now_ns)
			t->now_ns = t->timer_ns[next];
		t->timer_ns[next] = 0;
		struct tripod_call c = call_of(t, next, true);
		begin_watch(t, before, false);
		t->chain.nf[next].nf->on_timer(&c);
		end_watch(t, next, before);
		settle(t);
	}
	t->now_ns = end_ns;
	return settle(t);
}

// on_request() of NF number i, where it may write.
static void run_request(struct testkit *t, struct tripod_call *c, const void *data, size_t size)
{
	uint8_t copy[TRIPOD_REQUEST_MAX]; // it may have crossed the wire

	memcpy(copy, data, size);
	t->in_request = true;
	t->chain.nf[c->nf].nf->on_request(c, copy, size);
	t->in_request = false;
}

static int take_unit(struct testkit *t, const struct tripod_call *c);

static void run_kind(struct testkit *t)
{
	uint8_t before[CHAIN_STATE_MAX];
	struct tripod_call c = call_of(t, t->share.nf, true);
	int result = t->starve ? -ETIMEDOUT : take_unit(t, &c);

	t->share.under_way = false;
	begin_watch(t, before, false);
	t->chain.nf[c.nf].nf->on_kind(&c, result);
	end_watch(t, c.nf, before);
}

const char *testkit_deliver(struct testkit *t)
{
	uint8_t before[CHAIN_STATE_MAX];

	begin_step(t);
	if (t->share.under_way) {
		run_kind(t);
		return settle(t);
	}
	if (!t->request.under_way)
		return "nothing";
	t->request.under_way = false;
	struct tripod_call c = call_of(t, t->request.nf, true);
	begin_watch(t, before, false);
	run_request(t, &c, t->request.data, t->request.size);
	end_watch(t, t->request.nf, before);
	return settle(t);
}

// ---- Faults ----

void testkit_writable(struct testkit *t, bool writable)
{
	t->not_writable = !writable;
}

void testkit_starve(struct testkit *t, bool starve)
{
	t->starve = starve;
}

void testkit_on_affinity(struct testkit *t, testkit_affinity_fn fn, void *ctx)
{
	t->affinity = fn;
	t->affinity_ctx = ctx;
}

void testkit_on_available(struct testkit *t, testkit_available_fn fn, void *ctx)
{
	t->available = fn;
	t->available_ctx = ctx;
}

void testkit_others(struct testkit *t, uint64_t units)
{
	t->share.others = units;
}

void testkit_slow(struct testkit *t, bool slow)
{
	t->share.slow = slow;
}

// Where a tuple stands in the set, or the empty place where it would.
static struct tripod_tuple *taken_place(const struct testkit *t, const struct tripod_tuple *tuple)
{
	size_t at = XXH3_64bits(tuple, sizeof(*tuple)) & (t->taken_room - 1);
	while (t->taken[at].kind != 0xf && !tripod_tuple_equal(&t->taken[at], tuple))
		at = (at + 1) & (t->taken_room - 1);
	return &t->taken[at];
}

void testkit_take(struct testkit *t, const struct tripod_tuple *reversed)
{
	if (2 * (t->n_taken + 1) > t->taken_room) {
		struct tripod_tuple *old = t->taken;
		size_t old_room = t->taken_room;
		t->taken_room = old_room == 0 ? 64 : 2 * old_room;
		t->taken = calloc(t->taken_room, sizeof(*t->taken));
		for (size_t i = 0; i < t->taken_room; i++)
			t->taken[i].kind = 0xf;
		for (size_t i = 0; i < old_room; i++)
			if (old[i].kind != 0xf)
				*taken_place(t, &old[i]) = old[i];
		free(old);
	}
	struct tripod_tuple *place = taken_place(t, reversed);
	if (place->kind == 0xf)
		t->n_taken++;
	*place = *reversed;
}

void testkit_park(struct testkit *t)
{
	testkit_take(t, testkit_tuple(t, 0));
	testkit_take(t, testkit_tuple(t, 1));
	forget(t);
}

// ---- What NFs call (include/tripod/nf.h) ----

static struct testkit *kit(const struct tripod_call *c)
{
	return c->shard;
}

void *tripod_state_rw(struct tripod_call *c)
{
	struct testkit *t = kit(c);
	if (t->not_writable && !t->in_init && !t->in_request)
		return NULL;
	t->rw = true;
	return t->state + c->state_offset;
}

int tripod_request(struct tripod_call *c, const void *data, size_t size)
{
	struct testkit *t = kit(c);
	const struct tripod_nf *nf = t->chain.nf[c->nf].nf;

	if (nf->on_request == NULL || size > TRIPOD_REQUEST_MAX || t->in_request) {
		violate(t, nf->name, "made a request ",
			t->in_request            ? "from on_request"
			: nf->on_request == NULL ? "and has no on_request"
						 : "of more bytes than it may have");
		return -EINVAL;
	}
	if (t->request.under_way)
		return -EBUSY;
	if (!t->not_writable || t->in_init) {
		uint8_t from_initiator = c->from_initiator;
		c->from_initiator = 1;
		run_request(t, c, data, size);
		c->from_initiator = from_initiator;
		return 0;
	}
	if (t->starve)
		return -ENOSPC;
	t->request.under_way = true;
	t->request.nf = c->nf;
	t->request.size = (uint8_t)size;
	memcpy(t->request.data, data, size);
	return 0;
}

static bool claim(struct testkit *t, const struct tripod_call *c, struct tripod_kind_claim *out)
{
	const struct tripod_nf *nf = t->chain.nf[c->nf].nf;

	*out = (struct tripod_kind_claim){0};
	if (nf->kind == NULL)
		violate(t, nf->name, "asked for a unit and has no kind", "");
	if (nf->kind == NULL || !nf->kind->claim(c, out))
		return false;
	if (out->size > TRIPOD_KIND_DATA_MAX) {
		violate(t, nf->name, "has a claim of more bytes than it may have", "");
		return false;
	}
	if (!tripod_tuple_equal(&out->key, &t->share.key)) {
		t->share.key = out->key;
		t->share.held = t->share.units = 0;
		memset(t->share.state, 0, sizeof(t->share.state));
	}
	return true;
}

// As the one who writes the entry would answer.
static int take_unit(struct testkit *t, const struct tripod_call *c)
{
	const struct tripod_kind *kind = t->chain.nf[c->nf].nf->kind;
	struct tripod_kind_claim from;

	if (!claim(t, c, &from))
		return -EINVAL;
	if (t->taken_unit[c->nf])
		return 0;
	struct tripod_kind_update u = {
		.state = t->share.state,
		.data = from.data,
		.size = from.size,
		.held = t->share.held,
		.wanted = t->share.held + 1,
		.others = t->share.others,
		.units = t->share.units,
	};
	kind->update(&u);
	t->share.units = u.units > u.held ? u.units : u.held;
	if (t->share.units == t->share.held)
		return -EDQUOT;
	t->share.held++;
	t->taken_unit[c->nf] = true;
	return 0;
}

int tripod_kind_take(struct tripod_call *c)
{
	struct testkit *t = kit(c);
	struct tripod_kind_claim from;

	if (!t->share.slow || t->taken_unit[c->nf])
		return t->starve ? -ENOSPC : take_unit(t, c);
	if (!claim(t, c, &from))
		return -EINVAL;
	t->share.under_way = true;
	t->share.nf = c->nf;
	return -EAGAIN;
}

bool tripod_kind_look(const struct tripod_call *c, struct tripod_share *out)
{
	const struct testkit *t = kit(c);

	*out = (struct tripod_share){
		.held = t->share.held, .units = t->share.units, .known = t->share.units > 0};
	memcpy(out->state, t->share.state, sizeof(out->state));
	return out->known;
}

void *tripod_state_soft(struct tripod_call *c)
{
	kit(c)->soft = true;
	return kit(c)->state + c->state_offset;
}

uint64_t tripod_random(struct tripod_call *c)
{
	return rng_next(&kit(c)->rng);
}

uint64_t tripod_hash(const struct tripod_call *c, const void *data, size_t size)
{
	if (size == 0 || size % 16 != 0)
		violate(kit(c), kit(c)->chain.nf[c->nf].nf->name,
			"hashed data that is not whole 16-byte blocks", "");
	return XXH3_64bits_withSeed(data, size, HASH_SEED);
}

bool tripod_tuple_available(const struct tripod_call *c, const struct tripod_tuple *reversed)
{
	struct testkit *t = kit(c);
	if (reversed->direction == t->arrived.direction)
		violate(t, t->chain.nf[c->nf].nf->name,
			"asked for a tuple of its own direction: reverse it first", "");
	if (t->taken != NULL && taken_place(t, reversed)->kind != 0xf)
		return false;
	return t->available == NULL || t->available(t->available_ctx, reversed);
}

enum tripod_affinity tripod_tuple_affinity(
	const struct tripod_call *c, const struct tripod_tuple *reversed)
{
	struct testkit *t = kit(c);
	if (!t->in_init)
		violate(t, t->chain.nf[c->nf].nf->name,
			"asked where answers would arrive, outside of on_init", "");
	return t->affinity == NULL ? TRIPOD_TOGETHER : t->affinity(t->affinity_ctx, reversed);
}

void tripod_terminate(struct tripod_call *c)
{
	kit(c)->terminate = true;
}

void tripod_durability(struct tripod_call *c, enum tripod_durability level)
{
	struct testkit *t = kit(c);

	if (level < TRIPOD_UNSAID && (t->durability == TRIPOD_UNSAID || level > t->durability))
		t->durability = level;
}

void tripod_pin(struct tripod_call *c)
{
	kit(c)->pinned = true;
}

int tripod_timer_set(struct tripod_call *c, uint64_t delay_ns)
{
	struct testkit *t = kit(c);
	if (t->chain.nf[c->nf].nf->on_timer == NULL)
		violate(t, t->chain.nf[c->nf].nf->name, "set a timer and has no on_timer", "");
	else
		t->timer_ns[c->nf] = t->now_ns + (delay_ns > 0 ? delay_ns : 1);
	return 0;
}

void tripod_timer_cancel(struct tripod_call *c)
{
	kit(c)->timer_ns[c->nf] = 0;
}

void tripod_release(struct tripod_call *c)
{
	struct testkit *t = kit(c);
	for (unsigned i = 0; i < t->n_held; i++)
		t->held[i].released |= t->held[i].nf == c->nf;
}

struct tripod_packet *tripod_packet_new(
	struct tripod_call *c, const struct tripod_packet *p, bool to_sender, uint16_t size)
{
	struct testkit *t = kit(c);
	if (t->starve)
		return NULL;
	if (t->fresh_used)
		spec_die("a packet from tripod_packet_new() was not sent before the next one");
	// The sender knows the connection by the tuple that it used, not by what NFs made of it.
	struct tripod_tuple tuple = to_sender ? tripod_tuple_reverse(&t->arrived) : p->tuple;
	if (tuple.proto != IPPROTO_TCP && tuple.proto != IPPROTO_UDP)
		return NULL;
	static const uint8_t zeros[SPEC_FRAME_MAX];
	struct frame_spec spec = {
		.tuple = &tuple,
		.payload = zeros,
		.payload_len = size,
		.tcp_flags = TRIPOD_TCP_ACK,
		.zero_window = true,
	};
	size_t len = frames_build(t->fresh.bytes, sizeof(t->fresh.bytes), &spec);
	if (frames_parse(&t->fresh.p, t->fresh.bytes, len, sizeof(t->fresh.bytes),
		    (enum tripod_direction)tuple.direction) != PARSE_FLOW)
		return NULL;
	t->fresh_used = true;
	return &t->fresh.p;
}

void tripod_emit(struct tripod_call *c, struct tripod_packet *p)
{
	struct testkit *t = kit(c);
	if (p != &t->fresh.p || !t->fresh_used)
		spec_die("tripod_emit() of a packet that is not from tripod_packet_new()");
	uint16_t checksum = checksum_l4(p);
	memcpy(p->data + p->l4 + (p->tuple.proto == IPPROTO_TCP ? 16 : 6), &checksum, 2);
	t->fresh_used = false;
	add_output(t, "emit", p);
}
