// SPDX-License-Identifier: BSD-3-Clause
// A rack under everything at once: garbage, broken frames on every VLAN, control messages repeated,
// corrupted or forged, floods beyond every limit, nodes killed and frozen. Nothing crashes, no buffer
// is lost, the tables agree, and (unless a peer that has the key lies) established connections go on.
// And a million forged messages, of which none leaves a trace.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"
#include "core/shard.h"
#include "core/testing/rack.h"
#include "core/testing/rack_ecmp.h"

#define VIP "198.51.100.1"
#define SERVER "10.1.0.101"
#define FLOWS 12
#define MAX 4096
#define KEPT 64 // of the newest fabric frames
#define ROOM 1600

struct flow {
	char client[20];
	uint32_t seq, ack;
};

struct kept {
	uint16_t vlan;
	uint8_t bytes[ROOM];
	size_t len;
};

struct test {
	struct rack *r;
	struct rng rng;
	unsigned nodes;
	bool liar; // control messages are changed and sealed again: a peer lies
	bool listening;
	unsigned n_kept;
	struct kept kept[KEPT];
	struct flow flow[FLOWS];
	unsigned down; // node that is killed or frozen; nodes: none
	bool killed;
	unsigned until_ms;
};

// ---- The connections that must go on ----

static void from_client(struct test *t, struct flow *f, uint8_t flags, unsigned payload)
{
	rack_send(t->r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = f->client,
			.dst = VIP,
			.sport = 1000,
			.dport = 80,
			.tcp_flags = flags,
			.seq = f->seq,
			.ack = flags & TRIPOD_TCP_ACK ? f->ack : 0,
			.payload_len = payload});
}

static void from_server(struct test *t, struct flow *f, uint8_t flags, unsigned payload)
{
	rack_send(t->r, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = SERVER,
			.dst = f->client,
			.sport = 8080,
			.dport = 1000,
			.tcp_flags = flags,
			.seq = f->ack,
			.ack = f->seq,
			.payload_len = payload});
}

// Has a packet of f with this payload reached the side?
static bool got(struct test *t, enum tripod_direction side, const struct flow *f, unsigned payload)
{
	static struct rack_arrival a[MAX];
	unsigned n = rack_arrivals(t->r, side, a, MAX);
	struct tripod_addr client;

	tripod_addr_parse(&client, f->client);
	for (unsigned i = 0; i < n; i++) {
		const struct tripod_addr *end =
			side == TRIPOD_OUTGOING ? &a[i].tuple.src : &a[i].tuple.dst;
		if (a[i].payload_len == payload && tripod_addr_equal(end, &client))
			return true;
	}
	return false;
}

static void establish(struct test *t)
{
	for (unsigned i = 0; i < FLOWS; i++) {
		struct flow *f = &t->flow[i];
		*f = (struct flow){.seq = 1000 + i, .ack = 90000 + i};
		snprintf(f->client, sizeof(f->client), "198.18.0.%u", i);
		from_client(t, f, TRIPOD_TCP_SYN, 0);
		f->seq++;
		rack_run_ms(t->r, 5);
		from_server(t, f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		f->ack++;
		rack_run_ms(t->r, 60);
		from_client(t, f, TRIPOD_TCP_ACK, 0);
		rack_run_ms(t->r, 5);
	}
}

// A host repeats what is not answered; so does this.
static bool carries(struct test *t, struct flow *f)
{
	bool there = false, back = false;

	for (unsigned try = 0; try < 6 && !there; try++) {
		from_client(t, f, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 333);
		rack_run_ms(t->r, 120);
		there = got(t, TRIPOD_OUTGOING, f, 333);
	}
	f->seq += 333;
	for (unsigned try = 0; try < 6 && !back; try++) {
		from_server(t, f, TRIPOD_TCP_ACK | TRIPOD_TCP_PSH, 222);
		rack_run_ms(t->r, 120);
		back = got(t, TRIPOD_INCOMING, f, 222);
	}
	f->ack += 222;
	return there && back;
}

// ---- Hostility ----

static unsigned below(struct test *t, unsigned bound)
{
	return rng_below(&t->rng, bound);
}

static void change(struct test *t, uint8_t *bytes, size_t from, size_t len)
{
	for (unsigned n = 1 + below(t, 4); n > 0 && from < len; n--)
		bytes[from + below(t, (unsigned)(len - from))] = (uint8_t)rng_next(&t->rng);
}

static bool keep(void *ctx, unsigned from, const struct frame *f)
{
	struct test *t = ctx;

	if (f->vlan != 30 && f->vlan < RACK_PREDICTION_VLAN)
		return false;
	unsigned at = t->n_kept < KEPT ? t->n_kept++ : below(t, KEPT);

	memcpy(t->kept[at].bytes, f->data, f->len);
	t->kept[at].len = f->len;
	t->kept[at].vlan = f->vlan;
	return false;
}

static uint16_t any_vlan(struct test *t)
{
	static const uint16_t vlan[] = {0, 10, 10, 11, 20, 20, 21, 30, 30, 99};

	if (below(t, 10) == 0)
		return (uint16_t)(RACK_PREDICTION_VLAN + below(t, PREDICT_VLANS + 2));
	return vlan[below(t, sizeof(vlan) / sizeof(vlan[0]))];
}

static void inject(struct test *t, uint16_t vlan, const uint8_t *bytes, size_t len)
{
	rack_inject(t->r, below(t, t->nodes), vlan, bytes, len);
}

static void garbage(struct test *t)
{
	uint8_t b[ROOM];
	size_t len = below(t, ROOM);
	static const uint8_t types[][2] = {{8, 0}, {8, 6}, {0x86, 0xdd}, {0x81, 0}, {0x88, 0xa8}};

	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)rng_next(&t->rng);
	if (len > 40 && below(t, 2)) { // far enough in to meet more than the first check
		memcpy(b, (uint8_t[]){2, 0, 0x5e, 0, 1, (uint8_t)(1 + below(t, 2))}, 6);
		memcpy(b + 12, types[below(t, 5)], 2);
		b[14] = below(t, 2) ? 0x45 : 0x60;
	}
	inject(t, any_vlan(t), b, len);
}

// A frame of any kind, from and to nobody that matters here.
static size_t any_frame(struct test *t, uint8_t *b)
{
	static const uint8_t protos[] = {IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, 47};
	static const uint8_t gateway[2][6] = {{2, 0, 0x5e, 0, 1, 1}, {2, 0, 0x5e, 0, 1, 2}};
	bool v6 = below(t, 3) == 0, out = below(t, 2);
	char a[40], z[40];

	snprintf(a, sizeof(a), v6 ? "2001:db8:19::%u" : "198.19.0.%u", below(t, 256));
	snprintf(z, sizeof(z), v6 ? "2001:db8:20::%u" : "10.1.0.%u", below(t, 256));
	struct frame_spec s = {
		.src = out ? z : a,
		.dst = out                  ? a
		       : below(t, 2) && !v6 ? VIP
					    : z,
		.sport = (uint16_t)rng_next(&t->rng),
		.dport = below(t, 3)   ? 80
			 : below(t, 2) ? CONTROL_PORT
				       : 3784,
		.proto = protos[below(t, sizeof(protos))],
		.tcp_flags = (uint8_t)rng_next(&t->rng),
		.seq = (uint32_t)rng_next(&t->rng),
		.payload_len = below(t, 100),
		.ttl = (uint8_t)(1 + below(t, 3)),
		.vlan_tag = below(t, 20) ? 0 : (uint16_t)below(t, 4096),
		.dst_mac = gateway[out],
	};
	switch (below(t, 8)) {
	case 0:
		return frames_arp(b, ROOM, (uint16_t)(1 + below(t, 2)), FRAMES_SRC_MAC,
			v6 ? "10.1.0.9" : s.src, gateway[out], "10.1.0.1");
	case 1:
		if (v6)
			return frames_nd(b, ROOM, (uint8_t)(135 + below(t, 2)), FRAMES_SRC_MAC,
				s.src, s.dst, s.dst);
		break;
	case 2: {
		uint8_t quoted[ROOM];
		size_t n = frames_build(quoted, sizeof(quoted), &s);
		s.vlan_tag = 0;
		return frames_icmp_error(b, ROOM, &s, (uint8_t)(1 + below(t, 12)),
			(uint8_t)below(t, 6), 1400, quoted + FRAMES_L3, n - FRAMES_L3);
	}
	default:
		break;
	}
	return frames_build(b, ROOM, &s);
}

static void broken_frame(struct test *t)
{
	uint8_t b[ROOM];
	size_t len = any_frame(t, b);

	if (below(t, 2))
		change(t, b, below(t, 2) ? 12 : 0, len);
	if (below(t, 2))
		frames_fix(b, len);
	if (below(t, 3) == 0)
		len = below(t, (unsigned)len + 1);
	inject(t, any_vlan(t), b, len);
}

// As the sender would have sealed it, if that is alive and the header still one that can be sent.
static void seal_again(struct test *t, struct kept *k)
{
	struct wire_header h;
	uint8_t *message = k->bytes + 42;

	if (k->len < 42 || k->vlan != 30)
		return;
	size_t len = k->len - 42;
	if (wire_is_short(message, len)) {
		int head = wire_get_short(message, len, &h);
		if (head < 0 || 42u + h.length > sizeof(k->bytes))
			return;
		memmove(message + WIRE_HEADER_SIZE, message + head, len - (size_t)head);
		k->len = 42u + h.length;
		h.cluster = 7; // of the test rack
	} else if (wire_get_header(message, len, &h) < 0) {
		return;
	}
	struct node *from = h.from_node < t->nodes ? rack_node(t->r, h.from_node) : NULL;
	struct node *to = h.to_node < t->nodes ? rack_node(t->r, h.to_node) : NULL;
	if (from == NULL || h.from_node == h.to_node || (to == NULL && h.to_node != WIRE_ANY) ||
		(h.to_worker != WIRE_ANY && h.to_worker >= from->conf.peer_workers))
		return;
	h.boot = from->conf.boot;
	h.to_boot = to != NULL ? (uint32_t)to->conf.boot : 0;
	rack_seal(t->r, &h, k->bytes + 42, h.length - WIRE_TAG_SIZE);
}

static void control_message(struct test *t)
{
	if (t->n_kept == 0)
		return;
	struct kept k = t->kept[below(t, t->n_kept)];

	if (below(t, 3)) {
		change(t, k.bytes, t->liar ? 42 : 14, k.len);
		if (t->liar) {
			seal_again(t, &k);
			frames_fix(k.bytes, k.len);
		}
		if (below(t, 8) == 0)
			k.len = below(t, (unsigned)k.len);
	}
	// A question on another group's VLAN, now and then, or where no question belongs.
	inject(t, below(t, 8) ? k.vlan : any_vlan(t), k.bytes, k.len);
}

static void flood(struct test *t)
{
	static const uint8_t flags[] = {TRIPOD_TCP_SYN, TRIPOD_TCP_SYN, TRIPOD_TCP_ACK,
		TRIPOD_TCP_RST, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK};

	for (unsigned n = 16 + below(t, 64); n > 0; n--) {
		bool out = below(t, 2);
		char a[20], z[20];
		snprintf(a, sizeof(a), "198.19.%u.%u", below(t, 256), below(t, 256));
		snprintf(z, sizeof(z), "10.1.%u.%u", 1 + below(t, 3), below(t, 256));
		rack_send(t->r, out ? TRIPOD_OUTGOING : TRIPOD_INCOMING,
			&(struct frame_spec){.src = out ? z : a,
				.dst = out           ? a
				       : below(t, 2) ? VIP
						     : z,
				.proto = below(t, 2)   ? IPPROTO_TCP
					 : below(t, 4) ? IPPROTO_UDP
						       : IPPROTO_ICMP,
				.sport = (uint16_t)(1024 + below(t, 60000)),
				.dport = 80,
				.tcp_flags = flags[below(t, sizeof(flags))],
				.seq = (uint32_t)rng_next(&t->rng),
				.ttl = (uint8_t)(1 + below(t, 3)),
				.payload_len = below(t, 1400)});
	}
}

// One node at a time is killed or stands still, and is back for a while before the next.
static void failures(struct test *t, unsigned at_ms)
{
	if (at_ms < t->until_ms)
		return;
	if (t->down < t->nodes) {
		if (t->killed)
			rack_start(t->r, t->down);
		else
			rack_thaw(t->r, t->down);
		t->down = t->nodes;
		t->until_ms = at_ms + 900;
		return;
	}
	t->down = below(t, t->nodes);
	t->killed = below(t, 2);
	if (t->killed)
		rack_kill(t->r, t->down);
	else
		rack_freeze(t->r, t->down);
	t->until_ms = at_ms + 250 + below(t, 300);
}

static void all_up(struct test *t)
{
	if (t->down < t->nodes)
		t->until_ms = 0, failures(t, 0);
}

static uint64_t no_of_seed(void)
{
	const char *text = getenv("TRIPOD_SEED");
	return text ? strtoull(text, NULL, 0) : 1;
}

static void hostile(unsigned workers, bool liar, unsigned loss, unsigned ms)
{
	static struct test t;
	uint64_t seed = no_of_seed() * 1000 + workers * 10 + liar;

	printf("seed %llu\n", (unsigned long long)seed);
	t = (struct test){.nodes = 3, .liar = liar, .down = 3, .until_ms = 300};
	t.rng.state = seed;
	t.r = rack_new(&(struct rack_conf){.nodes = 3,
		.workers = workers,
		.backups = 1,
		.seed = seed,
		.loss_percent = loss,
		.probed = true,
		.connections = 256,
		.embryonic = 96,
		.waiting = 16,
		.pulls = 16,
		.timers = 4,
		.reset = true,
		.dirty = true});
	rack_run_ms(t.r, 300);
	establish(&t);
	for (unsigned i = 0; i < FLOWS; i++)
		assert_true(carries(&t, &t.flow[i]));
	rack_tap(t.r, keep, &t);
	for (unsigned at = 0; at < ms; at++) {
		for (unsigned n = below(&t, 6); n > 0; n--)
			garbage(&t);
		for (unsigned n = below(&t, 12); n > 0; n--)
			broken_frame(&t);
		for (unsigned n = below(&t, 6); n > 0; n--)
			control_message(&t);
		if (below(&t, 4) == 0)
			flood(&t);
		if (at % 50 == 0) { // what hosts send meanwhile
			struct flow *f = &t.flow[below(&t, FLOWS)];
			from_client(&t, f, TRIPOD_TCP_ACK, 10);
			from_server(&t, f, TRIPOD_TCP_ACK, 10);
		}
		failures(&t, at);
		rack_run_ms(t.r, 1);
		if (at % 100 == 99) {
			rack_check(t.r);
			assert_int_equal(rack_buffers_lost(t.r), 0);
		}
	}
	all_up(&t);
	rack_tap(t.r, NULL, NULL);
	rack_run_ms(t.r, 1500);
	rack_check(t.r);
	assert_int_equal(rack_buffers_lost(t.r), 0);
	for (unsigned i = 0; i < FLOWS && !liar; i++) {
		if (!carries(&t, &t.flow[i]))
			fail_msg("connection of %s is broken", t.flow[i].client);
	}
	assert_true(rack_counter(t.r, -1, C_drop_truncated) > 0);
	assert_true(rack_counter(t.r, -1, C_drop_control_bad) > 0 || !liar);
	rack_free(t.r);
}

static void hostile__one_worker(void **state)
{
	hostile(1, false, 0, 4000);
}

static void hostile__two_workers_loss(void **state)
{
	hostile(2, false, 5, 4000);
}

static void hostile__three_workers(void **state)
{
	hostile(3, false, 0, 4000);
}

static void hostile__liar_one_worker(void **state)
{
	hostile(1, true, 5, 3000);
}

static void hostile__liar_three_workers(void **state)
{
	hostile(3, true, 0, 3000);
}

// ---- A million forged messages ----

// One frame that must not count, made of a recorded one. Checksums are right nearly always.
static size_t forge(struct test *t, const struct kept *k, uint8_t *b)
{
	static const uint8_t guess[AUTH_KEY_SIZE] = "a key that somebody has guessed";
	size_t len = k->len, n;

	memcpy(b, k->bytes, len);
	switch (below(t, 8)) {
	case 0: // as it was
		return len;
	case 1: // one bit, anywhere in the message
		b[42 + below(t, (unsigned)len - 42)] ^= (uint8_t)(1 << below(t, 8));
		break;
	case 2: // some bytes of the items or the tag
		change(t, b, 42 + WIRE_HEADER_SIZE, len);
		break;
	case 3: // a later number, or another key
		change(t, b, 42 + 48, 42 + WIRE_HEADER_SIZE);
		break;
	case 4: // from another node, boot or worker
		change(t, b, 42 + 8, 42 + 32);
		break;
	case 5: // sealed with another key, under a number that has not been seen
		b[42 + WIRE_AT_COUNTER + 3]++;
		auth_seal(guess, b + 42, len - 42 - WIRE_TAG_SIZE);
		break;
	case 6: // shorter or longer
		n = 42 + below(t, 1440);
		for (; len < n; len++)
			b[len] = (uint8_t)rng_next(&t->rng);
		len = n;
		b[16] = (uint8_t)((len - 14) >> 8);
		b[17] = (uint8_t)(len - 14);
		b[38] = (uint8_t)((len - 34) >> 8);
		b[39] = (uint8_t)(len - 34);
		if (below(t, 2) && len > 42 + 6) { // and it says so
			b[42 + 4] = (uint8_t)((len - 42) >> 8);
			b[42 + 5] = (uint8_t)(len - 42);
		}
		break;
	default: // another's items below this header and tag
		n = 42 + WIRE_HEADER_SIZE;
		for (size_t i = n; i + WIRE_TAG_SIZE < len; i++)
			b[i] = t->kept[below(t, t->n_kept)].bytes[i];
		break;
	}
	if (below(t, 16))
		frames_fix(b, len);
	return len;
}

// What may have changed in a node that has taken nothing: that it ran, and what it dropped.
static void assert_untouched(const uint8_t *before, const struct node *n, const uint64_t *counters)
{
	struct shard *now = node_shard((struct node *)n, 0);
	size_t at = (size_t)((const uint8_t *)now - (const uint8_t *)n);
	static struct shard was;

	memcpy(&was, before + at, sizeof(was));
	for (unsigned c = 0; c < COUNTERS; c++) {
		bool may = strncmp(counter_texts[c].name, "drop_", 5) == 0 ||
			   strncmp(counter_texts[c].name, "rx_", 3) == 0 ||
			   strncmp(counter_texts[c].name, "control_rx_", 11) == 0;
		if (!may && now->counters[c] != counters[c])
			fail_msg("%s has changed", counter_texts[c].name);
	}
	memcpy(was.counters, now->counters, sizeof(was.counters));
	was.step = now->step;
	atomic_store(&was.progress, atomic_load(&now->progress));
	assert_memory_equal(&was, now, sizeof(was));
	assert_memory_equal(before, n, at);
	at += sizeof(was);
	assert_memory_equal(before + at, (const uint8_t *)n + at, n->size - at);
}

static void forged_burst(struct test *t, struct node *n, struct step *step, bool as_they_were)
{
	static uint8_t room[STEP_BURST][2048];

	step->n_rx = 0;
	for (unsigned i = 0; i < STEP_BURST; i++) {
		const struct kept *k = &t->kept[below(t, t->n_kept)];
		size_t len = k->len;
		if (as_they_were)
			memcpy(room[i], k->bytes, len);
		else
			len = forge(t, k, room[i]);
		step->rx[step->n_rx++] = (struct frame){.buf = room[i],
			.data = room[i],
			.len = (uint16_t)len,
			.room = 2048,
			.vlan = 30};
	}
	shard_step(node_shard(n, 0), step);
	assert_int_equal(step->n_tx, 0);
	assert_int_equal(step->n_done, STEP_BURST);
}

static bool keep_for_0(void *ctx, unsigned from, const struct frame *f)
{
	if (from == 0 || f->vlan != 30 || (!(f->data[0] & 1) && f->data[5] != 1) ||
		f->len < 42 + WIRE_HEADER_SIZE)
		return false;
	return keep(ctx, from, f);
}

// Every message that the node has ever seen, changed, repeated, cut, or sealed with another key, a
// million times: nothing is sent, and not a byte of the node changes but its counters of drops.
static void hostile__a_million_forgeries(void **state)
{
	static struct test t;
	static struct step step;
	uint64_t counters[COUNTERS], seed = no_of_seed();

	printf("seed %llu\n", (unsigned long long)seed);
	t = (struct test){.nodes = 3, .rng = {.state = seed}};
	t.r = rack_new(&(struct rack_conf){.nodes = 3, .workers = 1, .backups = 1, .seed = seed});
	rack_tap(t.r, keep_for_0, &t);
	rack_run_ms(t.r, 600);
	establish(&t);
	rack_run_ms(t.r, 60);
	rack_tap(t.r, NULL, NULL);
	struct node *n = rack_node(t.r, 0);
	struct shard *s = node_shard(n, 0);
	step.now_ns = s->now_ns; // time stands still: nothing else is due
	for (unsigned i = 0; i < 100; i++) // whatever a key is derived for is derived then
		forged_burst(&t, n, &step, i % 2);
	uint8_t *before = malloc(n->size);
	memcpy(before, n, n->size);
	node_counters(n, -1, counters);
	for (unsigned i = 0; i < 1000000 / STEP_BURST; i++)
		forged_burst(&t, n, &step, false);
	assert_untouched(before, n, counters);
	for (enum counter c = C_drop_control_bad; c <= C_drop_control_stale; c++) {
		printf("%s %llu\n", counter_texts[c].name,
			(unsigned long long)(s->counters[c] - counters[c]));
		assert_true(s->counters[c] - counters[c] > 1000);
	}
	free(before);
	for (unsigned i = 0; i < FLOWS; i++)
		assert_true(carries(&t, &t.flow[i]));
	rack_check(t.r);
	rack_free(t.r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile__one_worker),
		cmocka_unit_test(hostile__two_workers_loss),
		cmocka_unit_test(hostile__three_workers),
		cmocka_unit_test(hostile__liar_one_worker),
		cmocka_unit_test(hostile__liar_three_workers),
		cmocka_unit_test(hostile__a_million_forgeries),
	};
	return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
