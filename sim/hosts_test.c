// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/testing/frames.h"
#include "sim/hosts_internal.h"
#include "sim/hosts_wire.h"

#define SECOND UINT64_C(1000000000)

static struct wire_conf everything(uint64_t seed)
{
	return (struct wire_conf){.seed = seed,
		.hosts = {.opens_per_s = 1000,
			.request_reply_percent = 40,
			.idle_percent = 10,
			.abort_percent = 10,
			.refuse_percent = 5,
			.think_max_ms = 50,
			.idle_max_ms = 1500,
			.keepalive_ms = 400,
			.reuse_percent = 20,
			.v6_percent = 30}};
}

static struct hosts_totals run(struct wire *w, uint64_t ns)
{
	struct hosts_totals t;
	wire_run(w, w->now_ns + ns);
	wire_finish(w, 100 * SECOND);
	hosts_totals(w->hosts, &t);
	return t;
}

// All that was opened was established, or refused on purpose, and is done; nothing else happened.
static void all_well(struct wire *w, const struct hosts_totals *t)
{
	const struct wire_event *refused = wire_fault(w, HOSTS_REFUSED);
	if (t->open || t->broken || t->corrupt || refused || t->done != t->established) {
		fprintf(stderr, "seed %lu: ", w->conf.seed);
		wire_print(w);
		fail();
	}
}

static void run__clean_wire(void **state)
{
	struct wire_conf f = everything(1);
	struct wire *w = wire_new(&f);
	struct hosts_totals t = run(w, 4 * SECOND);
	all_well(w, &t);
	for (unsigned k = 0; k < HOSTS_KINDS; k++)
		assert_true(t.opened[k] > 300);
	assert_true(t.done > 3000);
	assert_true(t.refused > 50); // on purpose
	assert_true(t.reused > 300);
	assert_true(t.probes > 0 && t.keepalives > 0);
	assert_int_equal(t.fast_retransmissions, 0);
	assert_int_equal(t.datagrams_lost, 0);
	wire_free(w);
}

// The wire loses, repeats and reorders, more and more; everything gets through all the same.
static void run__bad_wires(void **state)
{
	uint64_t rexmit = 0, fast = 0, lost = 0;
	for (unsigned seed = 1; seed <= 12; seed++) {
		struct wire_conf f = everything(seed);
		f.loss_per_mille = seed * 10;
		f.dup_per_mille = seed * 7;
		f.jitter_ns = seed * seed * 20000;
		f.hosts.opens_per_s = 500;
		struct wire *w = wire_new(&f);
		struct hosts_totals t = run(w, 2 * SECOND);
		all_well(w, &t);
		rexmit += t.retransmissions;
		fast += t.fast_retransmissions;
		lost += t.datagrams_lost;
		wire_free(w);
	}
	assert_true(rexmit > 1000 && fast > 100 && lost > 100);
}

static void run__one_seed_is_one_history(void **state)
{
	uint64_t digest[3];
	for (unsigned i = 0; i < 3; i++) {
		struct wire_conf f = everything(i < 2 ? 5 : 6);
		f.loss_per_mille = 20;
		struct wire *w = wire_new(&f);
		run(w, SECOND);
		digest[i] = w->digest;
		wire_free(w);
	}
	assert_true(digest[0] == digest[1]);
	assert_true(digest[0] != digest[2]);
}

// ---- What plans are made of ----

// The features that a run has shown, told from frames alone. One slot per pair of ends.
#define PAIRS 65536
struct shown {
	struct wire *w;
	uint64_t wscale, no_wscale, zero_window, fin_with_data, half_closed, crossing_fins, resets;
	uint64_t wrapped, bare_acks, data, v6, small_mss;
	uint64_t silence_ns; // longest between two frames of an established connection
	struct pair {
		uint32_t isn;
		uint64_t last_ns;
		bool used, fin[2], fin_acked[2], over;
		uint32_t fin_end[2];
	} * pair;
};

static struct pair *pair_of(struct shown *s, const struct tripod_tuple *t)
{
	// The ports of both ends, whatever the translation in between: of the client's side here.
	uint32_t a = ntohl(tripod_addr_get_v4(&t->src)), b = ntohl(tripod_addr_get_v4(&t->dst));
	uint32_t key = (a ^ b) * 31u + (uint32_t)(ntohs(t->sport) ^ ntohs(t->dport)) * 7u;
	return &s->pair[key % PAIRS];
}

static void watch_close(struct shown *s, struct pair *c, const struct hosts_packet *p, bool up)
{
	bool fin = p->flags & HOSTS_FIN;
	if (c->fin[!up] && (p->flags & HOSTS_ACK) && p->ack == c->fin_end[!up])
		c->fin_acked[!up] = true;
	if (fin && !c->fin[up]) {
		s->fin_with_data += p->payload_len > 0;
		s->crossing_fins += c->fin[!up] && !c->fin_acked[!up];
		c->fin[up] = true;
		c->fin_end[up] = p->seq + p->payload_len + 1;
	}
	// Data against a direction that is closed.
	if (p->payload_len > 0 && c->fin_acked[!up] && !c->fin[up])
		s->half_closed++;
	c->over |= (p->flags & HOSTS_RST) || (c->fin[0] && c->fin[1]);
}

static bool watch(void *ctx, enum tripod_direction side, uint8_t *frame, uint16_t *len)
{
	struct shown *s = ctx;
	struct hosts_packet p;
	hosts_packet_read(&p, side, frame, *len);
	if (p.kind != HOSTS_PACKET_TCP || !s->w)
		return true;
	bool syn = p.flags & HOSTS_SYN, up = side == TRIPOD_OUTGOING;
	struct pair *c = pair_of(s, &p.tuple);
	if (syn && !(p.flags & HOSTS_ACK))
		*c = (struct pair){.isn = p.seq, .used = true, .last_ns = s->w->now_ns};
	s->v6 += !tripod_addr_is_v4(&p.tuple.src);
	s->wscale += syn && p.wscale >= 0;
	s->no_wscale += syn && p.wscale < 0;
	s->small_mss += syn && p.mss < 1400;
	s->zero_window += p.window == 0 && !(p.flags & HOSTS_RST);
	s->resets += (p.flags & HOSTS_RST) != 0;
	s->data += p.payload_len > 0;
	s->bare_acks += p.flags == HOSTS_ACK && p.payload_len == 0;
	s->wrapped += c->isn > 0xffff0000 && !syn && up && p.payload_len > 0 && p.seq < 0x10000;
	watch_close(s, c, &p, up);
	if (c->used && !c->over && s->w->now_ns - c->last_ns > s->silence_ns)
		s->silence_ns = s->w->now_ns - c->last_ns;
	c->last_ns = s->w->now_ns;
	return true;
}

static struct hosts_totals shown_by(struct shown *s, struct wire_conf f, uint64_t ns)
{
	*s = (struct shown){.pair = calloc(PAIRS, sizeof(*s->pair))};
	f.hook = watch;
	f.ctx = s;
	s->w = wire_new(&f);
	struct hosts_totals t = run(s->w, ns);
	all_well(s->w, &t);
	wire_free(s->w);
	free(s->pair);
	return t;
}

static void plans__have_all_that_tcp_has(void **state)
{
	struct shown s;
	struct wire_conf f = everything(9);
	memcpy(f.hosts.weight, (uint32_t[HOSTS_KINDS]){1, 0, 1}, sizeof(f.hosts.weight));
	struct hosts_totals t = shown_by(&s, f, 4 * SECOND);
	assert_true(s.wscale > 1000 && s.no_wscale > 300);
	assert_true(s.zero_window > 10 && t.probes > 0);
	assert_true(s.fin_with_data > 100);
	assert_true(s.half_closed > 100);
	assert_true(s.crossing_fins > 100);
	assert_true(s.resets > 100);
	assert_true(s.wrapped > 100);
	assert_true(s.v6 > 1000);
	assert_true(s.small_mss > 100);
	assert_true(s.bare_acks < s.data); // half of them delay
}

static void plans__keep_silent_connections_alive(void **state)
{
	struct shown s;
	struct wire_conf f = {.seed = 1,
		.hosts = {.weight = {0, 0, 1},
			.opens_per_s = 20,
			.idle_percent = 100,
			.idle_max_ms = 9000,
			.keepalive_ms = 700}};
	struct hosts_totals t = shown_by(&s, f, 20 * SECOND);
	assert_true(t.keepalives > 500);
	assert_in_range(s.silence_ns, 600000000, 720000000);
	f.hosts.keepalive_ms = 0;
	t = shown_by(&s, f, 20 * SECOND);
	assert_int_equal(t.keepalives, 0);
	assert_in_range(s.silence_ns, 8 * SECOND, 9 * SECOND + 100000000);
}

static void plans__are_of_the_sizes_asked_for(void **state)
{
	struct wire_conf f = {
		.seed = 1, .hosts = {.weight = {0, 0, 1}, .opens_per_s = 500, .bytes_max = 5000}};
	struct wire *w = wire_new(&f);
	struct hosts_totals t = run(w, 2 * SECOND);
	all_well(w, &t);
	unsigned full = 0;
	for (unsigned i = 0; i < w->n_events; i++) {
		assert_true(w->events[i].bytes <= 10000);
		full += w->events[i].bytes >= 5000;
	}
	assert_true(full > w->n_events / 5);
	wire_free(w);
}

// ---- Retransmission ----

struct loser {
	unsigned data, lost, at; // segments with data so far; lost ones; which one is lost first
};

// Loses two segments of the first transfers, the rest gets through.
static bool lose_two(void *ctx, enum tripod_direction side, uint8_t *frame, uint16_t *len)
{
	struct loser *l = ctx;
	struct hosts_packet p;
	hosts_packet_read(&p, side, frame, *len);
	if (p.kind != HOSTS_PACKET_TCP || p.payload_len < 1000)
		return true;
	l->data++;
	if (l->data != l->at && l->data != l->at + 3)
		return true;
	l->lost++;
	return false;
}

// What came out of order is kept: two lost segments are two that are sent again.
static void loss__costs_what_was_lost(void **state)
{
	uint64_t sum = 0;
	for (unsigned at = 30; at < 60; at++) {
		struct loser l = {.at = at};
		struct wire_conf f = {.seed = at,
			.hook = lose_two,
			.ctx = &l,
			.delay_ns = 1000000,
			.hosts = {.weight = {0, 0, 1}, .opens_per_s = 20, .connections_max = 1}};
		struct wire *w = wire_new(&f);
		struct hosts_totals t = run(w, 4 * SECOND);
		all_well(w, &t);
		assert_int_equal(l.lost, 2);
		assert_in_range(t.retransmissions, 2, 8); // more: the probes of closed windows
		sum += t.retransmissions;
		wire_free(w);
	}
	assert_true(sum < 30 * 3);
}

// Loses what tells that a closed window is open again, each time once.
static bool lose_opening(void *ctx, enum tripod_direction side, uint8_t *frame, uint16_t *len)
{
	unsigned *lost = ctx;
	static bool closed[65536];
	struct hosts_packet p;
	hosts_packet_read(&p, side, frame, *len);
	if (p.kind != HOSTS_PACKET_TCP || (p.flags & (HOSTS_SYN | HOSTS_RST)))
		return true;
	bool *was = &closed[ntohs(p.tuple.sport) ^ ntohs(p.tuple.dport) ^ side];
	bool opens = *was && p.window > 0;
	*was = p.window == 0;
	*lost += opens;
	return !opens;
}

static void loss__of_a_window_is_probed_for(void **state)
{
	unsigned lost = 0;
	struct wire_conf f = {.seed = 2,
		.hook = lose_opening,
		.ctx = &lost,
		.hosts = {.weight = {0, 0, 1}, .opens_per_s = 500, .give_up_ns = 2 * SECOND}};
	struct wire *w = wire_new(&f);
	struct hosts_totals t = run(w, 8 * SECOND);
	all_well(w, &t);
	assert_true(lost > 10 && t.probes >= lost);
	wire_free(w);
}

// A round trip above the first time-out costs something at first, and not again and again.
static void loss__is_not_assumed_on_long_ways(void **state)
{
	struct wire_conf f = {.seed = 1,
		.delay_ns = 45000000,
		.hosts = {.weight = {0, 0, 1},
			.opens_per_s = 100,
			.request_reply_percent = 100,
			.bytes_max = 100000}};
	struct wire *w = wire_new(&f);
	struct hosts_totals t = run(w, 5 * SECOND);
	all_well(w, &t);
	assert_true(t.done > 450);
	assert_true(t.retransmissions < 5 * t.done);
	wire_free(w);
}

// ---- Limits, pauses, the end ----

static void limit__of_open_connections(void **state)
{
	struct wire_conf f = everything(1);
	f.hosts.connections_max = 40;
	struct wire *w = wire_new(&f);
	struct hosts_totals t;
	for (unsigned i = 0; i < 300; i++) {
		wire_run(w, w->now_ns + 10000000);
		hosts_totals(w->hosts, &t);
		assert_true(t.open <= 40);
	}
	assert_int_equal(t.open, 40);
	assert_true(t.skipped > 100);
	t = run(w, 0);
	all_well(w, &t);
	wire_free(w);
}

static uint64_t opened(const struct wire *w)
{
	struct hosts_totals t;
	uint64_t sum = 0;
	hosts_totals(w->hosts, &t);
	for (unsigned k = 0; k < HOSTS_KINDS; k++)
		sum += t.opened[k];
	return sum;
}

static void pause__opens_no_more(void **state)
{
	struct wire_conf f = everything(1);
	struct wire *w = wire_new(&f);
	wire_run(w, 2 * SECOND);
	uint64_t before = opened(w);
	assert_in_range(before, 900, 1100);
	hosts_pause(w->hosts, true);
	wire_run(w, 5 * SECOND);
	assert_int_equal(opened(w), before);
	hosts_pause(w->hosts, false);
	wire_run(w, 6 * SECOND);
	assert_in_range(
		opened(w), before + 900, before + 1100); // what was left out is not made up for
	struct hosts_totals t = run(w, 0);
	all_well(w, &t);
	wire_free(w);
}

// Silences of minutes are cut short, and so are requests that were to come.
static void finish__does_not_wait_for_plans(void **state)
{
	struct wire_conf f = everything(1);
	f.hosts.idle_percent = 100;
	f.hosts.idle_max_ms = 1000000;
	f.hosts.think_max_ms = 100000;
	struct wire *w = wire_new(&f);
	wire_run(w, 3 * SECOND);
	wire_finish(w, 3 * SECOND);
	struct hosts_totals t;
	hosts_totals(w->hosts, &t);
	all_well(w, &t);
	assert_true(t.done > 800);
	wire_free(w);
}

// Everything goes back to where it came from.
static void finish__leaks_nothing(void **state)
{
	struct wire_conf f = everything(4);
	f.loss_per_mille = 30;
	f.hosts.connections_max = 300;
	struct wire *w = wire_new(&f);
	run(w, 2 * SECOND);
	const struct hosts *h = w->hosts;
	assert_true(h->lingering > 10);
	wire_run(w, w->now_ns + 60 * SECOND); // TIME-WAIT
	uint32_t conns = 0, ends = 0, heads = 0;
	for (uint32_t i = h->conn_free; i != HOSTS_NONE; i = h->conns[i].newer)
		conns++;
	for (uint32_t i = h->end_free; i != HOSTS_NONE; i = h->ends[i].hash_next)
		ends++;
	for (uint32_t i = 0; i <= h->hash_mask; i++)
		heads += (h->by_tuple[i] != HOSTS_NONE) + (h->by_isn[i] != HOSTS_NONE);
	assert_int_equal(conns, h->conns_max);
	assert_int_equal(ends, h->ends_max);
	assert_int_equal(heads, 0);
	assert_int_equal(h->heap_len + h->open + h->lingering, 0);
	assert_true(hosts_due_ns(h) == UINT64_MAX);
	wire_free(w);
}

// ---- Single frames ----

static const uint8_t GATEWAY[2][6] = {{2, 0, 0x5e, 0, 1, 1}, {2, 0, 0x5e, 0, 1, 2}};

struct lone {
	struct hosts *h;
	unsigned sent, events;
	uint8_t frame[HOSTS_FRAME_SIZE];
	uint16_t len;
	enum tripod_direction side;
	struct hosts_packet p; // what was sent last
	const char *why;
};

static void lone_send(void *ctx, enum tripod_direction side, const uint8_t *bytes, uint16_t len)
{
	struct lone *l = ctx;
	l->sent++;
	l->side = side;
	l->len = len;
	memcpy(l->frame, bytes, len);
	hosts_packet_read(&l->p, (enum tripod_direction) !side, l->frame, len);
}

static void lone_event(void *ctx, const struct hosts_event *e)
{
	struct lone *l = ctx;
	l->events++;
	l->why = e->why;
}

static void lone_new(struct lone *l)
{
	*l = (struct lone){0};
	l->h = hosts_new(&(struct hosts_conf){.seed = 1,
				 .gateway_mac = GATEWAY,
				 .mtu = 1500,
				 .clients = 10,
				 .servers = 10,
				 .vips = 1,
				 .weight = {1},
				 .connections_max = 10,
				 .rto_min_ns = 1000000,
				 .give_up_ns = SECOND,
				 .send = lone_send,
				 .event = lone_event,
				 .ctx = l},
		0);
	assert_non_null(l->h);
}

static void lone_rx(struct lone *l, enum tripod_direction side, const struct frame_spec *s)
{
	uint8_t frame[2048];
	struct frame_spec to = *s;
	to.dst_mac = HOSTS_MAC[side];
	size_t len = frames_build(frame, sizeof(frame), &to);
	hosts_rx(l->h, side, frame, (uint16_t)len, 1000);
}

static void frames__for_nobody_are_reset(void **state)
{
	struct lone l;
	struct frame_spec s = {.src = "198.18.1.1",
		.dst = "10.2.1.1",
		.sport = 1000,
		.dport = 8000,
		.seq = 500,
		.ack = 900,
		.payload_len = 10};
	lone_new(&l);
	s.tcp_flags = TRIPOD_TCP_ACK;
	lone_rx(&l, TRIPOD_OUTGOING, &s);
	assert_int_equal(l.sent, 1);
	assert_int_equal(l.side, TRIPOD_OUTGOING);
	assert_int_equal(l.p.flags, HOSTS_RST);
	assert_int_equal(l.p.seq, 900);
	assert_int_equal(ntohs(l.p.tuple.dport), 1000);
	assert_memory_equal(l.frame, GATEWAY[TRIPOD_OUTGOING], 6);

	s.tcp_flags = TRIPOD_TCP_SYN; // of an initiator that does not exist
	lone_rx(&l, TRIPOD_OUTGOING, &s);
	assert_int_equal(l.sent, 2);
	assert_int_equal(l.p.flags, HOSTS_RST | HOSTS_ACK);
	assert_int_equal(l.p.seq, 0);
	assert_int_equal(l.p.ack, 511);

	s.tcp_flags = TRIPOD_TCP_RST | TRIPOD_TCP_ACK;
	lone_rx(&l, TRIPOD_OUTGOING, &s);
	assert_int_equal(l.sent, 2);
	assert_int_equal(l.events, 0);
	hosts_free(l.h);
}

static void frames__of_the_gateway(void **state)
{
	struct lone l;
	uint8_t frame[256], quoted[128];
	lone_new(&l);
	struct frame_spec inner = {.src = "10.2.1.1", .dst = "198.18.1.1", .sport = 1, .dport = 2};
	size_t len = frames_build(quoted, sizeof(quoted), &inner);
	struct frame_spec outer = {
		.src = "10.1.0.1", .dst = "10.2.1.1", .dst_mac = HOSTS_MAC[TRIPOD_OUTGOING]};
	len = frames_icmp_error(
		frame, sizeof(frame), &outer, 3, 13, 0, quoted + FRAMES_L3, len - FRAMES_L3);
	hosts_rx(l.h, TRIPOD_OUTGOING, frame, (uint16_t)len, 1000);
	struct hosts_totals t;
	hosts_totals(l.h, &t);
	assert_int_equal(t.icmp_errors, 1);

	static const uint8_t NODE[6] = {2, 0, 0, 0, 0, 1};
	len = frames_arp(frame, sizeof(frame), 1, NODE, "203.0.113.11", NULL, "203.0.113.254");
	hosts_rx(l.h, TRIPOD_INCOMING, frame, (uint16_t)len, 1000);
	assert_int_equal(l.sent, 1);
	assert_memory_equal(l.frame, NODE, 6);
	assert_memory_equal(l.frame + 22, HOSTS_MAC[TRIPOD_INCOMING], 6);
	// An address of nobody, and of the other side.
	len = frames_arp(frame, sizeof(frame), 1, NODE, "203.0.113.11", NULL, "203.0.113.200");
	hosts_rx(l.h, TRIPOD_INCOMING, frame, (uint16_t)len, 1000);
	len = frames_arp(frame, sizeof(frame), 1, NODE, "203.0.113.11", NULL, "10.1.0.254");
	hosts_rx(l.h, TRIPOD_INCOMING, frame, (uint16_t)len, 1000);
	len = frames_nd(
		frame, sizeof(frame), 135, NODE, "fd00:1::11", "ff02::1:ff00:fe", "fd00:1::fe");
	hosts_rx(l.h, TRIPOD_OUTGOING, frame, (uint16_t)len, 1000);
	assert_int_equal(l.sent, 2);
	assert_int_equal(l.events, 0);
	hosts_free(l.h);
}

static void frames__that_no_host_sent(void **state)
{
	struct lone l;
	lone_new(&l);
	lone_rx(&l, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = "198.18.1.1",
			.dst = "10.2.1.1",
			.proto = IPPROTO_UDP,
			.sport = 1,
			.dport = 2,
			.payload_len = 100});
	assert_int_equal(l.events, 1);
	assert_string_equal(l.why, "wrong bytes in a datagram");
	hosts_free(l.h);
}

static void new__refuses_nonsense(void **state)
{
	struct hosts_conf good = {.seed = 1,
		.gateway_mac = GATEWAY,
		.mtu = 1500,
		.clients = 10,
		.servers = 10,
		.vips = 1,
		.weight = {1},
		.connections_max = 10,
		.rto_min_ns = 1,
		.give_up_ns = 1,
		.send = lone_send};
	struct hosts *h = hosts_new(&good, 0);
	assert_non_null(h);
	hosts_free(h);
	for (unsigned i = 0; i < 8; i++) {
		struct hosts_conf bad = good;
		if (i == 0)
			bad.mtu = 1279;
		else if (i == 1)
			bad.clients = 0;
		else if (i == 2)
			bad.servers = HOSTS_ADDRESSES_MAX + 1;
		else if (i == 3)
			bad.vips = 0;
		else if (i == 4)
			bad.weight[0] = 0;
		else if (i == 5)
			bad.connections_max = 0;
		else if (i == 6)
			bad.rto_min_ns = 0;
		else
			bad.send = NULL;
		assert_null(hosts_new(&bad, 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run__clean_wire),
		cmocka_unit_test(run__bad_wires),
		cmocka_unit_test(run__one_seed_is_one_history),
		cmocka_unit_test(plans__have_all_that_tcp_has),
		cmocka_unit_test(plans__keep_silent_connections_alive),
		cmocka_unit_test(plans__are_of_the_sizes_asked_for),
		cmocka_unit_test(loss__costs_what_was_lost),
		cmocka_unit_test(loss__of_a_window_is_probed_for),
		cmocka_unit_test(loss__is_not_assumed_on_long_ways),
		cmocka_unit_test(limit__of_open_connections),
		cmocka_unit_test(pause__opens_no_more),
		cmocka_unit_test(finish__does_not_wait_for_plans),
		cmocka_unit_test(finish__leaks_nothing),
		cmocka_unit_test(frames__for_nobody_are_reset),
		cmocka_unit_test(frames__of_the_gateway),
		cmocka_unit_test(frames__that_no_host_sent),
		cmocka_unit_test(new__refuses_nonsense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
