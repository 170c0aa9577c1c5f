// SPDX-License-Identifier: BSD-3-Clause
// What a faulty gateway would do to connections, and that the hosts notice it, and call it by its
// name: wrong bytes, changed mappings, resets, silence.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/testing/frames.h"
#include "sim/hosts_packet.h"
#include "sim/hosts_wire.h"

#define SECOND UINT64_C(1000000000)
#define MS UINT64_C(1000000)

// A frame in the hook, and what is known of it.
struct view {
	struct wire *w;
	struct hosts_packet p;
	uint8_t *frame, *l4;
	uint16_t *len;
	enum tripod_direction side;
	uint64_t victim; // of the connection whose frame is changed
};

// Changes the frame, and says whether it goes on.
typedef bool (*fault_fn)(struct view *v);

struct fault {
	struct wire *w;
	fault_fn fn;
	uint64_t from_ns; // not before
	uint64_t hits, limit; // frames changed; at most so many, 0: all
	struct tripod_tuple victim; // the one that fn() chose, either direction
	bool chosen;
};

static bool hook(void *ctx, enum tripod_direction side, uint8_t *frame, uint16_t *len)
{
	struct fault *f = ctx;
	if (!f->w || f->w->now_ns < f->from_ns || (f->limit && f->hits >= f->limit))
		return true;
	struct view v = {.w = f->w, .frame = frame, .len = len, .side = side};
	hosts_packet_read(&v.p, side, frame, *len);
	v.l4 = frame + FRAMES_L3 + (tripod_addr_is_v4(&v.p.tuple.src) ? 20 : 40);
	uint8_t before[HOSTS_FRAME_SIZE];
	memcpy(before, frame, *len);
	bool goes_on = f->fn(&v);
	f->hits += !goes_on || memcmp(before, frame, *len) != 0;
	return goes_on;
}

static struct wire *start(
	struct fault *f, fault_fn fn, uint64_t seed, const struct hosts_conf *hosts)
{
	struct wire_conf c = {.seed = seed, .hook = hook, .ctx = f, .hosts = *hosts};
	f->fn = fn;
	f->w = wire_new(&c);
	return f->w;
}

static struct hosts_totals end(struct wire *w, uint64_t ns)
{
	struct hosts_totals t;
	wire_run(w, w->now_ns + ns);
	wire_finish(w, 100 * SECOND);
	hosts_totals(w->hosts, &t);
	assert_int_equal(t.open, 0);
	return t;
}

static const struct hosts_conf LONG_TCP = {
	// connections that last about a second
	.weight = {1, 1, 1},
	.opens_per_s = 300,
	.request_reply_percent = 100,
	.think_max_ms = 200,
	.v6_percent = 30,
	.give_up_ns = 3 * SECOND,
};
static const struct hosts_conf LONG_UDP = {
	.weight = {0, 0, 0, 1, 1, 1},
	.opens_per_s = 300,
	.think_max_ms = 100,
	.v6_percent = 30,
	.give_up_ns = 3 * SECOND,
};

// ---- Wrong bytes ----

static bool flip_and_fix(struct view *v)
{
	uint8_t *payload = v->frame + (v->p.payload - v->frame);
	if (v->p.payload_len == 0)
		return true;
	// Behind the id of a datagram, else it is somebody else's, or nobody's.
	unsigned at = v->p.kind == HOSTS_PACKET_TCP ? 0 : 8;
	if (v->p.payload_len <= at)
		return true;
	payload[at + rng_below(&v->w->rng, v->p.payload_len - at)] ^= 0x10;
	frames_fix(v->frame, *v->len);
	return true;
}

static void corrupt__a_byte_with_a_right_checksum(void **state)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		const struct hosts_conf *conf = seed % 2 ? &LONG_TCP : &LONG_UDP;
		struct fault f = {.limit = 1, .from_ns = 2 * SECOND};
		struct wire *w = start(&f, flip_and_fix, seed, conf);
		struct hosts_totals t = end(w, 2 * SECOND);
		assert_int_equal(f.hits, 1);
		assert_int_equal(t.corrupt, 1);
		assert_int_equal(t.broken, 0);
		wire_free(w);
	}
}

static bool flip(struct view *v)
{
	unsigned from = FRAMES_L3 + (tripod_addr_is_v4(&v->p.tuple.src) ? 0 : 8);
	v->frame[from + rng_below(&v->w->rng, *v->len - from)] ^= 0x10;
	return true;
}

static void corrupt__a_wrong_checksum(void **state)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		struct fault f = {.limit = 5, .from_ns = 2 * SECOND};
		struct wire *w = start(&f, flip, seed, seed % 2 ? &LONG_TCP : &LONG_UDP);
		struct hosts_totals t = end(w, 2 * SECOND);
		assert_int_equal(t.corrupt, 5);
		assert_int_equal(t.broken, 0); // it was only lost
		assert_true(wire_fault(w, HOSTS_CORRUPT)->id == 0);
		wire_free(w);
	}
}

static bool flip_sometimes(struct view *v)
{
	return rng_below(&v->w->rng, 50) ? true : flip(v);
}

static void corrupt__not_when_links_are_dirty(void **state)
{
	struct hosts_conf conf = LONG_TCP;
	conf.dirty = true;
	struct fault f = {0};
	struct wire *w = start(&f, flip_sometimes, 3, &conf);
	struct hosts_totals t = end(w, 4 * SECOND);
	assert_true(f.hits > 100);
	assert_int_equal(t.bad_checksums, f.hits);
	assert_int_equal(t.corrupt + t.broken, 0);
	wire_free(w);
}

// The payload of one connection's segment in the frame of another: right by every checksum.
static bool cross(struct view *v)
{
	static uint8_t kept[HOSTS_FRAME_SIZE];
	static uint16_t n;
	if (v->p.kind != HOSTS_PACKET_TCP || v->p.payload_len < 100)
		return true;
	uint8_t *payload = v->frame + (v->p.payload - v->frame);
	if (n == v->p.payload_len && memcmp(kept, payload, n) != 0) {
		memcpy(payload, kept, n);
		frames_fix(v->frame, *v->len);
		return true;
	}
	n = v->p.payload_len;
	memcpy(kept, payload, n);
	return true;
}

static void corrupt__bytes_of_another_connection(void **state)
{
	struct fault f = {.limit = 3, .from_ns = 2 * SECOND};
	struct wire *w = start(&f, cross, 1, &LONG_TCP);
	struct hosts_totals t = end(w, 3 * SECOND);
	assert_int_equal(f.hits, 3);
	assert_in_range(t.corrupt, 1, 3);
	assert_string_equal(wire_fault(w, HOSTS_CORRUPT)->why, "wrong bytes");
	wire_free(w);
}

// A FIN on a segment that is not the last.
static bool close_early(struct view *v)
{
	if (v->p.kind != HOSTS_PACKET_TCP || v->p.payload_len == 0 || (v->p.flags & HOSTS_FIN))
		return true;
	v->l4[13] |= HOSTS_FIN;
	frames_fix(v->frame, *v->len);
	return true;
}

static void corrupt__closed_early(void **state)
{
	struct hosts_conf conf = LONG_TCP;
	conf.think_max_ms = 0;
	for (unsigned seed = 1; seed <= 8; seed++) {
		struct fault f = {.limit = 1, .from_ns = 2 * SECOND};
		struct wire *w = start(&f, close_early, seed, &conf);
		struct hosts_totals t = end(w, 2 * SECOND);
		// At the very last segment it is early by nothing.
		assert_in_range(t.corrupt, 0, 1);
		assert_int_equal(t.broken, 0);
		if (t.corrupt)
			assert_string_equal(
				wire_fault(w, HOSTS_CORRUPT)->why, "closed before the last byte");
		wire_free(w);
	}
}

// One byte more than was sent.
static bool lengthen(struct view *v)
{
	if (v->p.kind != HOSTS_PACKET_TCP || v->p.payload_len == 0 || *v->len > 1400)
		return true;
	uint8_t *l3 = v->frame + FRAMES_L3;
	unsigned at = l3[0] >> 4 == 6 ? 4 : 2;
	v->frame[(*v->len)++] = 0;
	hosts_set16(l3 + at, (uint16_t)(hosts_get16(l3 + at) + 1));
	frames_fix(v->frame, *v->len);
	return true;
}

static void corrupt__more_than_was_sent(void **state)
{
	struct fault f = {.limit = 1, .from_ns = 2 * SECOND};
	struct wire *w = start(&f, lengthen, 1, &LONG_TCP);
	struct hosts_totals t = end(w, 2 * SECOND);
	assert_int_equal(t.corrupt, 1);
	assert_string_equal(wire_fault(w, HOSTS_CORRUPT)->why, "bytes that were not sent");
	wire_free(w);
}

// ---- Mappings ----

// From some time on, what goes inside has another source port.
static bool other_port(struct view *v)
{
	if (v->side != TRIPOD_OUTGOING || v->p.kind == HOSTS_PACKET_ECHO_REPLY)
		return true;
	if (v->p.kind == HOSTS_PACKET_TCP || v->p.kind == HOSTS_PACKET_UDP) {
		v->l4[1] ^= 0x40;
		frames_fix(v->frame, *v->len);
	}
	return true;
}

// The same for what goes outside.
static bool other_port_outside(struct view *v)
{
	if (v->side != TRIPOD_INCOMING || v->p.kind == HOSTS_PACKET_ECHO_REPLY)
		return true;
	unsigned at = v->p.kind == HOSTS_PACKET_ECHO_REQUEST ? 5 : 1; // the identifier
	v->l4[at] ^= 0x40;
	frames_fix(v->frame, *v->len);
	return true;
}

static void mapping__changes(void **state)
{
	static const fault_fn FAULTS[2] = {other_port, other_port_outside};
	for (unsigned i = 0; i < 8; i++) {
		const struct hosts_conf *conf = i & 1 ? &LONG_TCP : &LONG_UDP;
		struct fault f = {.from_ns = 3 * SECOND};
		struct wire *w = start(&f, FAULTS[i / 2 % 2], i + 1, conf);
		wire_run(w, 3 * SECOND);
		struct hosts_totals before, t;
		hosts_totals(w->hosts, &before);
		assert_true(before.open > 20);
		assert_int_equal(before.broken + before.corrupt, 0);
		hosts_pause(w->hosts, true);
		wire_run(w, 40 * SECOND);
		hosts_totals(w->hosts, &t);
		assert_int_equal(t.open, 0);
		// All that were in the middle, in either way of noticing.
		assert_true(t.broken + t.corrupt > before.open * 6 / 10);
		wire_free(w);
	}
}

static void mapping__names_udp(void **state)
{
	struct hosts_conf conf = LONG_UDP;
	memset(conf.weight, 0, sizeof(conf.weight));
	conf.weight[HOSTS_UDP_OUT] = conf.weight[HOSTS_ECHO_OUT] = 1;
	struct fault f = {.from_ns = 3 * SECOND};
	struct wire *w = start(&f, other_port_outside, 1, &conf);
	wire_run(w, 3 * SECOND);
	hosts_pause(w->hosts, true);
	wire_run(w, 40 * SECOND);
	const struct wire_event *e = wire_fault(w, HOSTS_BROKEN);
	assert_non_null(e);
	assert_true(e->established);
	assert_string_equal(e->why, "mapping changed: a request came from elsewhere");
	wire_free(w);
}

// A SYN that is sent again finds another way, under a low port, whose answer is lost; the answer to the first
// takes longer than that. Nothing else that the client sends arrives.
static bool other_way(struct view *v)
{
	if (v->side == TRIPOD_OUTGOING)
		return !(v->p.flags & HOSTS_SYN) || v->l4[2] != 0;
	if (!(v->p.flags & HOSTS_SYN))
		return false;
	static bool sent[65536]; // by number
	bool first = !sent[v->p.seq & 0xffff];
	sent[v->p.seq & 0xffff] = true;
	if (!first) {
		v->l4[0] = 0;
		frames_fix(v->frame, *v->len);
	}
	return true;
}

// A connection is known by the way by which its answer has come, not by the last that was tried.
static void mapping__of_two(void **state)
{
	struct hosts_conf conf = LONG_TCP;
	memset(conf.weight, 0, sizeof(conf.weight));
	conf.weight[HOSTS_TCP_OUT] = 1;
	conf.rto_min_ns = 300 * MS; // the first is three times that
	struct fault f = {.fn = other_way};
	struct wire_conf c = {
		.seed = 1, .delay_ns = 1200 * MS, .hook = hook, .ctx = &f, .hosts = conf};
	f.w = wire_new(&c);
	wire_run(f.w, 1500 * MS);
	hosts_pause(f.w->hosts, true);
	wire_run(f.w, 30 * SECOND);
	unsigned n = 0;
	for (unsigned k = 0; k < f.w->n_events; k++) {
		const struct wire_event *e = &f.w->events[k];
		if (!e->established)
			continue;
		n++;
		assert_int_equal(e->peer.sport, e->opening.sport);
	}
	assert_true(n > 50);
	wire_free(f.w);
}

// The client's port is nothing that a load balancer may change.
static void mapping__of_the_client(void **state)
{
	struct hosts_conf conf = LONG_TCP;
	memset(conf.weight, 0, sizeof(conf.weight));
	conf.weight[HOSTS_TCP_IN] = 1;
	struct fault f = {.limit = 50};
	struct wire *w = start(&f, other_port, 1, &conf);
	struct hosts_totals t = end(w, SECOND);
	assert_true(t.corrupt > 0);
	assert_string_equal(
		wire_fault(w, HOSTS_CORRUPT)->why, "the client's address or port was changed");
	wire_free(w);
}

// Answers to an address that nobody has.
static bool astray(struct view *v)
{
	if (v->side != TRIPOD_INCOMING || !tripod_addr_is_v4(&v->p.tuple.src))
		return true;
	v->frame[FRAMES_L3 + 16] = 9;
	frames_fix(v->frame, *v->len);
	return true;
}

static bool other_mac(struct view *v)
{
	v->frame[5] ^= 1;
	return true;
}

static void corrupt__astray(void **state)
{
	static const fault_fn FAULTS[2] = {astray, other_mac};
	static const char *const WHY[2] = {"to an address that no host has", "to another MAC"};
	for (unsigned i = 0; i < 2; i++) {
		struct fault f = {.limit = 1, .from_ns = 2 * SECOND};
		struct wire *w = start(&f, FAULTS[i], 1, &LONG_TCP);
		struct hosts_totals t = end(w, 2 * SECOND);
		assert_int_equal(t.corrupt, 1);
		assert_string_equal(wire_fault(w, HOSTS_CORRUPT)->why, WHY[i]);
		wire_free(w);
	}
}

// ---- Resets ----

// Makes the segment a reset whose number is off by `off` from the one that is expected.
static void make_reset(struct view *v, uint32_t off)
{
	v->l4[13] = HOSTS_RST | HOSTS_ACK;
	hosts_set32(v->l4 + 4, v->p.seq + off);
	uint8_t *l3 = v->frame + FRAMES_L3;
	uint16_t header = (uint16_t)((v->l4[12] >> 4) * 4);
	bool v6 = l3[0] >> 4 == 6;
	*v->len = (uint16_t)(v->l4 - v->frame + header);
	hosts_set16(l3 + (v6 ? 4 : 2), (uint16_t)(header + (v6 ? 0 : 20)));
	frames_fix(v->frame, *v->len);
}

static bool reset_exact(struct view *v)
{
	if (v->p.kind == HOSTS_PACKET_TCP && !(v->p.flags & (HOSTS_SYN | HOSTS_FIN | HOSTS_RST)) &&
		v->p.payload_len > 0)
		make_reset(v, 0);
	return true;
}

static bool reset_near(struct view *v)
{
	if (v->p.kind == HOSTS_PACKET_TCP && !(v->p.flags & (HOSTS_SYN | HOSTS_FIN | HOSTS_RST)) &&
		v->p.payload_len > 0)
		make_reset(v, 1000);
	return true;
}

static void reset__breaks(void **state)
{
	for (unsigned seed = 1; seed <= 10; seed++) {
		struct fault f = {.limit = 1, .from_ns = 2 * SECOND};
		struct wire *w = start(&f, reset_exact, seed, &LONG_TCP);
		struct hosts_totals t = end(w, 2 * SECOND);
		assert_int_equal(t.broken, 1);
		assert_int_equal(t.corrupt, 0);
		assert_int_equal(memcmp(wire_fault(w, HOSTS_BROKEN)->why, "reset", 5), 0);
		wire_free(w);
	}
}

// RFC 5961: one that only falls into the window is asked about, and the connection lives.
static void reset__that_is_not_exact(void **state)
{
	for (unsigned seed = 1; seed <= 10; seed++) {
		struct fault f = {.limit = 1, .from_ns = 2 * SECOND};
		struct wire *w = start(&f, reset_near, seed, &LONG_TCP);
		struct hosts_totals t = end(w, 2 * SECOND);
		assert_int_equal(f.hits, 1);
		assert_int_equal(t.broken + t.corrupt, 0);
		wire_free(w);
	}
}

static bool refuse(struct view *v)
{
	if (v->p.kind != HOSTS_PACKET_TCP || (v->p.flags & 0x3f) != (HOSTS_SYN | HOSTS_ACK))
		return true;
	make_reset(v, 0);
	return true;
}

static void reset__of_a_syn(void **state)
{
	struct fault f = {.limit = 5};
	struct wire *w = start(&f, refuse, 1, &LONG_TCP);
	struct hosts_totals t = end(w, SECOND);
	assert_int_equal(t.refused, 5);
	assert_int_equal(t.broken + t.corrupt, 0);
	assert_false(wire_fault(w, HOSTS_REFUSED)->planned);
	wire_free(w);
}

// ---- Silence ----

static bool lost(struct view *v)
{
	return false;
}

static bool lost_incoming(struct view *v)
{
	return v->side == TRIPOD_INCOMING;
}

static void silence__breaks_what_is_open(void **state)
{
	static const fault_fn FAULTS[2] = {lost, lost_incoming};
	for (unsigned i = 0; i < 4; i++) {
		const struct hosts_conf *conf = i & 1 ? &LONG_TCP : &LONG_UDP;
		struct fault f = {.from_ns = 3 * SECOND};
		struct wire *w = start(&f, FAULTS[i / 2], i + 1, conf);
		wire_run(w, 3 * SECOND);
		struct hosts_totals before, t;
		hosts_totals(w->hosts, &before);
		hosts_pause(w->hosts, true);
		// Not before give_up_ns is over (counted from their last progress, just before the
		// silence), and all of them soon after: they were silent on purpose at first.
		wire_run(w, 5900 * MS);
		hosts_totals(w->hosts, &t);
		assert_int_equal(t.broken, 0);
		wire_run(w, 7 * SECOND);
		hosts_totals(w->hosts, &t);
		assert_int_equal(t.open, 0);
		assert_true(t.broken >= before.open * 9 / 10);
		assert_int_equal(t.corrupt, 0);
		wire_free(w);
	}
}

static bool one_second(struct view *v)
{
	return v->w->now_ns >= 3 * SECOND;
}

// A gap that is shorter than give_up_ns breaks nothing, and is reported.
static void silence__of_a_while(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct fault f = {.from_ns = 2 * SECOND};
		struct wire *w = start(&f, one_second, i + 1, i & 1 ? &LONG_TCP : &LONG_UDP);
		struct hosts_totals t = end(w, 4 * SECOND);
		uint64_t longest = 0;
		assert_int_equal(t.broken + t.corrupt + t.refused, 0);
		for (unsigned k = 0; k < w->n_events; k++) {
			if (w->events[k].stall_ns > longest)
				longest = w->events[k].stall_ns;
		}
		assert_in_range(longest, 900 * MS, 2000 * MS);
		wire_free(w);
	}
}

// The id of the opening that is lost for good is told as refused: it was never established.
static void silence__from_the_start(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct fault f = {0};
		struct wire *w = start(&f, lost, i + 1, i & 1 ? &LONG_TCP : &LONG_UDP);
		struct hosts_totals t = end(w, SECOND);
		assert_true(t.refused > 100);
		assert_int_equal(t.established + t.broken, 0);
		assert_string_equal(wire_fault(w, HOSTS_REFUSED)->why, "never answered");
		wire_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(corrupt__a_byte_with_a_right_checksum),
		cmocka_unit_test(corrupt__a_wrong_checksum),
		cmocka_unit_test(corrupt__not_when_links_are_dirty),
		cmocka_unit_test(corrupt__bytes_of_another_connection),
		cmocka_unit_test(corrupt__closed_early),
		cmocka_unit_test(corrupt__more_than_was_sent),
		cmocka_unit_test(corrupt__astray),
		cmocka_unit_test(mapping__changes),
		cmocka_unit_test(mapping__names_udp),
		cmocka_unit_test(mapping__of_two),
		cmocka_unit_test(mapping__of_the_client),
		cmocka_unit_test(reset__breaks),
		cmocka_unit_test(reset__that_is_not_exact),
		cmocka_unit_test(reset__of_a_syn),
		cmocka_unit_test(silence__breaks_what_is_open),
		cmocka_unit_test(silence__of_a_while),
		cmocka_unit_test(silence__from_the_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
