// SPDX-License-Identifier: BSD-3-Clause
// The NF API on the real core: two test NFs whose callbacks each test chooses.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/settled.h"

#define SERVER "10.1.0.101"
#define MAX 4096

struct test_state {
	uint32_t durable, soft;
};

// What the NFs do now; reset before each test.
static struct {
	enum tripod_verdict (*init)(struct tripod_call *c, struct tripod_packet *p);
	enum tripod_verdict (*packet)(struct tripod_call *c, struct tripod_packet *p);
	enum tripod_verdict (*packet2)(struct tripod_call *c, struct tripod_packet *p);
	void (*timer)(struct tripod_call *c);
	unsigned closed, timers;
	enum tripod_reason reason;
	int result;
} now;

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	return now.init ? now.init(c, p) : TRIPOD_FORWARD;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	return now.packet ? now.packet(c, p) : TRIPOD_FORWARD;
}

static enum tripod_verdict on_packet2(struct tripod_call *c, struct tripod_packet *p)
{
	return now.packet2 ? now.packet2(c, p) : TRIPOD_FORWARD;
}

static void on_close(struct tripod_call *c, enum tripod_reason why)
{
	now.closed++;
	now.reason = why;
}

static void on_timer(struct tripod_call *c)
{
	now.timers++;
	if (now.timer)
		now.timer(c);
}

static const struct tripod_field fields[] = {
	TRIPOD_FIELD(struct test_state, durable, DURABLE, UINT),
	TRIPOD_FIELD(struct test_state, soft, SOFT, UINT),
	{0},
};
static const char *const no_counters[] = {NULL};
static const struct tripod_nf NF = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "test",
	.summary = "test",
	.state_size = sizeof(struct test_state),
	.fields = fields,
	.counters = no_counters,
	.on_init = on_init,
	.on_packet = on_packet,
	.on_close = on_close,
	.on_timer = on_timer,
};
static const struct tripod_nf NF2 = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "test2",
	.summary = "test",
	.state_size = 8,
	.counters = no_counters,
	.on_packet = on_packet2,
	.on_timer = on_timer,
};

static struct rack *rack_of(struct rack_conf c)
{
	memset(&now, 0, sizeof(now));
	c.nodes = c.nodes ? c.nodes : 1;
	c.seed = c.seed ? c.seed : 5;
	c.nf = &NF;
	return settled_rack(c);
}

static void udp(struct rack *r, unsigned n, unsigned payload)
{
	char client[20];
	snprintf(client, sizeof(client), "198.18.%u.%u", n >> 8, n & 255);
	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.proto = IPPROTO_UDP,
			.src = client,
			.dst = SERVER,
			.sport = 1000,
			.dport = 53,
			.payload_len = payload});
}

static void udp_back(struct rack *r, unsigned n, unsigned payload)
{
	char client[20];
	snprintf(client, sizeof(client), "198.18.%u.%u", n >> 8, n & 255);
	rack_send(r, TRIPOD_OUTGOING,
		&(struct frame_spec){.proto = IPPROTO_UDP,
			.src = SERVER,
			.dst = client,
			.sport = 53,
			.dport = 1000,
			.payload_len = payload});
}

static void tcp(struct rack *r, uint8_t flags, uint32_t seq, uint32_t ack, unsigned payload)
{
	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = "198.18.0.1",
			.dst = SERVER,
			.sport = 1000,
			.dport = 80,
			.tcp_flags = flags,
			.seq = seq,
			.ack = ack,
			.payload_len = payload});
}

static void tcp_back(struct rack *r, uint8_t flags, uint32_t seq, uint32_t ack, unsigned payload)
{
	rack_send(r, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = SERVER,
			.dst = "198.18.0.1",
			.sport = 80,
			.dport = 1000,
			.tcp_flags = flags,
			.seq = seq,
			.ack = ack,
			.payload_len = payload});
}

static struct rack_arrival in[MAX];
static unsigned arrived(struct rack *r, enum tripod_direction side)
{
	return rack_arrivals(r, side, in, MAX);
}

static const struct store *store(struct rack *r, unsigned node)
{
	return &node_shard(rack_node(r, node), 0)->store;
}

// An established UDP connection n, next hops resolved.
static void opened(struct rack *r, unsigned n)
{
	udp(r, n, 1);
	rack_run_ms(r, 5);
	udp_back(r, n, 1);
	rack_run_ms(r, 5);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 1);
	assert_int_equal(arrived(r, TRIPOD_INCOMING), 1);
}

static enum tripod_verdict do_drop(struct tripod_call *c, struct tripod_packet *p)
{
	return TRIPOD_DROP;
}

static enum tripod_verdict do_consume(struct tripod_call *c, struct tripod_packet *p)
{
	return TRIPOD_CONSUME;
}

static enum tripod_verdict do_hold(struct tripod_call *c, struct tripod_packet *p)
{
	return TRIPOD_HOLD;
}

static enum tripod_verdict hold_and_set(struct tripod_call *c, struct tripod_packet *p)
{
	now.result = tripod_timer_set(c, 10 * MS);
	return TRIPOD_HOLD;
}

static void release(struct tripod_call *c)
{
	tripod_release(c);
}

static void terminate(struct tripod_call *c)
{
	tripod_terminate(c);
}

static void run__refused_and_dropped(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	now.init = do_drop;
	udp(r, 1, 10);
	rack_run_ms(r, 5);
	assert_int_equal(rack_counter(r, 0, C_drop_refused), 1);
	now.init = NULL;
	now.packet = do_drop;
	udp(r, 1, 10);
	rack_run_ms(r, 5);
	assert_int_equal(rack_counter(r, 0, C_drop_nf), 1);
	now.packet = do_consume;
	udp(r, 1, 10);
	rack_run_ms(r, 5);
	assert_int_equal(rack_counter(r, 0, C_drop_nf), 1);
	assert_int_equal(store(r, 0)->used, 0);
	assert_int_equal(rack_counter(r, 0, C_connections_opened), 0);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 0);
	rack_check(r);
	rack_free(r);
}

static char order[8];

static enum tripod_verdict first(struct tripod_call *c, struct tripod_packet *p)
{
	strcat(order, "1");
	return TRIPOD_FORWARD;
}

static enum tripod_verdict second(struct tripod_call *c, struct tripod_packet *p)
{
	strcat(order, "2");
	return TRIPOD_FORWARD;
}

// From outside in the order of the configuration, from inside in the reverse order, whoever began.
static void run__order(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nf2 = &NF2});

	now.packet = first;
	now.packet2 = second;
	order[0] = '\0';
	udp(r, 1, 1);
	rack_run_ms(r, 5);
	assert_string_equal(order, "12");
	udp_back(r, 1, 1);
	rack_run_ms(r, 5);
	assert_string_equal(order, "1221");
	order[0] = '\0';
	udp_back(r, 2, 1);
	rack_run_ms(r, 5);
	assert_string_equal(order, "21");
	rack_free(r);
}

static void run__first_packet_held_and_released(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	now.packet = hold_and_set;
	now.timer = release;
	udp(r, 1, 10);
	rack_run_ms(r, 5);
	rack_check(r);
	assert_int_equal(rack_counter(r, 0, C_connections_opened), 0);
	udp(r, 1, 11); // cannot overtake it
	rack_run_ms(r, 1);
	assert_int_equal(rack_counter(r, 0, C_drop_hold_full), 1);
	now.packet = NULL;
	rack_run_ms(r, 20);
	assert_int_equal(now.timers, 1);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 1);
	assert_int_equal(in[0].payload_len, 10);
	assert_int_equal(rack_counter(r, 0, C_connections_opened), 1);
	udp_back(r, 1, 12);
	rack_run_ms(r, 5);
	assert_int_equal(arrived(r, TRIPOD_INCOMING), 1);
	rack_check(r);
	rack_free(r);
}

// The NF behind the one that let the packet go drops it: nothing is left of the connection.
static void run__released_packet_dropped_further_on(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nf2 = &NF2});

	now.packet = hold_and_set;
	now.timer = release;
	now.packet2 = do_drop;
	udp(r, 1, 10);
	rack_run_ms(r, 5);
	assert_int_equal(store(r, 0)->used, 1);
	rack_run_ms(r, 20);
	assert_int_equal(rack_counter(r, 0, C_drop_nf), 1);
	assert_int_equal(store(r, 0)->used, 0);
	rack_check(r);
	rack_free(r);
}

static void run__held_in_order_up_to_a_limit(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	opened(r, 1);
	now.packet = hold_and_set;
	now.timer = release;
	for (unsigned i = 0; i < TRIPOD_HOLD_MAX + 3; i++)
		udp(r, 1, 100 + i);
	rack_run_ms(r, 5);
	rack_check(r);
	assert_int_equal(rack_counter(r, 0, C_drop_hold_full), 3);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 0);
	rack_run_ms(r, 20);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), TRIPOD_HOLD_MAX);
	for (unsigned i = 0; i < TRIPOD_HOLD_MAX; i++)
		assert_int_equal(in[i].payload_len, 100 + i);
	rack_check(r);
	rack_free(r);
}

static enum tripod_verdict release_now(struct tripod_call *c, struct tripod_packet *p)
{
	tripod_release(c);
	return TRIPOD_CONSUME;
}

// An NF lets go what it holds itself, not what another one does.
static void run__release_is_of_one_nf(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nf2 = &NF2});

	opened(r, 1);
	now.packet2 = do_hold;
	udp(r, 1, 20);
	rack_run_ms(r, 2);
	now.packet2 = NULL;
	now.packet = do_hold;
	udp(r, 1, 10);
	rack_run_ms(r, 2);
	now.packet = release_now;
	udp(r, 1, 30);
	rack_run_ms(r, 2);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 1);
	assert_int_equal(in[0].payload_len, 10);
	rack_check(r);
	now.packet = NULL;
	now.packet2 = release_now;
	udp(r, 1, 31);
	rack_run_ms(r, 2);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 1);
	assert_int_equal(in[0].payload_len, 20);
	rack_check(r);
	rack_free(r);
}

static enum tripod_verdict release_and_end(struct tripod_call *c, struct tripod_packet *p)
{
	tripod_release(c);
	tripod_terminate(c);
	return TRIPOD_CONSUME;
}

static enum tripod_verdict end_by_one(struct tripod_call *c, struct tripod_packet *p)
{
	return p->payload_len == 1 ? release_and_end(c, p) : TRIPOD_FORWARD;
}

// Released in the step in which its connection ends and its record becomes another's.
static void run__released_packet_of_an_ended_connection(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.connections = 1});

	opened(r, 1);
	now.packet = do_hold;
	udp(r, 1, 77);
	rack_run_ms(r, 2);
	now.packet = end_by_one;
	udp(r, 1, 1);
	udp(r, 1, 88); // opens the tuple anew, in the same record
	rack_run_ms(r, 2);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 1);
	assert_int_equal(in[0].payload_len, 88);
	assert_int_equal(rack_counter(r, 0, C_drop_unknown), 1);
	rack_check(r);
	rack_free(r);
}

// More packets held than one step can give back, of connections that all end in one tick.
static void run__many_held_packets_end_at_once(void **state)
{
	enum { N = 60 };
	struct rack *r = rack_of((struct rack_conf){.waiting = 1024});

	for (unsigned i = 0; i < N; i++)
		opened(r, i);
	now.packet = hold_and_set;
	now.timer = terminate;
	for (unsigned k = 0; k < TRIPOD_HOLD_MAX; k++) {
		for (unsigned i = 0; i < N; i++)
			udp(r, i, 10);
		rack_run_ms(r, 1);
	}
	rack_check(r);
	rack_run_ms(r, 50);
	assert_int_equal(rack_counter(r, 0, C_drop_nf), N * TRIPOD_HOLD_MAX);
	assert_int_equal(rack_counter(r, 0, C_connections_closed_terminated), N);
	assert_int_equal(now.closed, N);
	assert_int_equal(now.reason, TRIPOD_TERMINATED);
	rack_check(r);
	assert_int_equal(rack_buffers_lost(r), 0);
	rack_free(r);
}

static enum tripod_verdict emit_both(struct tripod_call *c, struct tripod_packet *p)
{
	struct tripod_packet *q = tripod_packet_new(c, p, true, 5);
	if (q != NULL) {
		memcpy(q->data + q->payload, "hello", 5);
		tripod_emit(c, q);
		tripod_emit(c, q); // nothing more to send
	}
	q = tripod_packet_new(c, p, false, 6);
	if (q != NULL)
		tripod_emit(c, q);
	return TRIPOD_CONSUME;
}

static void run__emit(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	opened(r, 1);
	now.packet = emit_both;
	udp(r, 1, 100);
	tcp(r, TRIPOD_TCP_SYN, 1, 0, 0);
	rack_run_ms(r, 5);
	assert_int_equal(arrived(r, TRIPOD_INCOMING), 2); // the rack verifies checksums
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(in[i].payload_len, 5);
		assert_int_equal(in[i].tuple.dport, htons(1000));
	}
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 2);
	assert_int_equal(in[0].payload_len, 6);
	assert_int_equal(rack_buffers_lost(r), 0);
	rack_free(r);
}

static enum tripod_verdict make_and_forget(struct tripod_call *c, struct tripod_packet *p)
{
	struct tripod_packet *q = tripod_packet_new(c, p, true, 5);
	assert_ptr_equal(tripod_packet_new(c, p, true, 5), q);
	assert_null(tripod_packet_new(c, p, true, 3000)); // larger than any buffer
	tripod_packet_new(c, p, false, 5);
	return TRIPOD_FORWARD;
}

static enum tripod_verdict answer_icmp(struct tripod_call *c, struct tripod_packet *p)
{
	assert_null(tripod_packet_new(c, p, true, 5)); // neither TCP nor UDP
	now.result++;
	return TRIPOD_FORWARD;
}

static void run__packet_made_and_not_sent(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	opened(r, 1);
	now.packet = make_and_forget;
	for (unsigned i = 0; i < 100; i++)
		udp(r, 1, 10);
	rack_run_ms(r, 10);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 100);
	assert_int_equal(rack_buffers_lost(r), 0);
	now.packet = answer_icmp;
	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.proto = IPPROTO_ICMP,
			.src = "198.18.0.1",
			.dst = SERVER,
			.sport = 7,
			.seq = 1,
			.payload_len = 8});
	rack_run_ms(r, 10);
	assert_int_equal(now.result, 1);
	rack_free(r);
}

static enum tripod_verdict emit_many(struct tripod_call *c, struct tripod_packet *p)
{
	for (unsigned i = 0; i < 20; i++) {
		struct tripod_packet *q = tripod_packet_new(c, p, i & 1, 5);
		if (q != NULL)
			tripod_emit(c, q);
	}
	return TRIPOD_DROP;
}

// An NF that answers every packet with twenty does not take the heartbeats' buffers.
static void run__emit_flood_leaves_heartbeats(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct member_status m[2];

	rack_run_ms(r, 11000); // settled: UDP opens at once
	now.packet = emit_many;
	rack_port(r, 1, false);
	for (unsigned ms = 0; ms < 200; ms++) {
		for (unsigned i = 0; i < 660; i++) // more than a node takes in a millisecond
			udp(r, i & 63, 10);
		rack_run_ms(r, 1);
	}
	assert_true(rack_counter(r, -1, C_drop_no_buffer) > 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(node_members(rack_node(r, i), m, 2), 2);
		assert_int_equal(m[0].deaths + m[1].deaths, 0);
	}
	rack_check(r);
	rack_free(r);
}

static void run__terminate_ends_all_copies(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 3});
	struct tripod_tuple key = {.sport = htons(1000), .dport = htons(53), .proto = IPPROTO_UDP};

	tripod_addr_parse(&key.src, "198.18.0.1");
	tripod_addr_parse(&key.dst, SERVER);
	opened(r, 1);
	rack_run_ms(r, 20);
	assert_int_equal(rack_copies(r, &key), 2);
	now.packet = release_and_end;
	udp_back(r, 1, 1); // whichever node has it: the initiator's is told
	rack_run_ms(r, 50);
	assert_int_equal(rack_copies(r, &key), 0);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_terminated), 1);
	assert_int_equal(now.closed, 1);
	rack_check(r);
	rack_free(r);
}

static unsigned writes, refused, soft_sum;
static uint32_t durable_seen;
static enum tripod_verdict write_state(struct tripod_call *c, struct tripod_packet *p)
{
	const struct test_state *t = c->state;
	struct test_state *w = tripod_state_rw(c), *soft = tripod_state_soft(c);

	durable_seen = t->durable;
	soft_sum = t->soft;
	soft->soft++;
	if (w == NULL) {
		refused++;
	} else {
		writes++;
		w->durable++;
	}
	return TRIPOD_FORWARD;
}

// Durable state goes with the connection; soft state does not; only one node writes.
static void run__state_survives_a_takeover(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 4, .split = true});
	struct frame_spec spec = {.proto = IPPROTO_UDP,
		.src = "198.18.0.1",
		.dst = SERVER,
		.sport = 1000,
		.dport = 53};
	struct frame_spec back = {.proto = IPPROTO_UDP,
		.src = SERVER,
		.dst = "198.18.0.1",
		.sport = 53,
		.dport = 1000};

	writes = refused = 0;
	now.packet = write_state;
	udp(r, 1, 1);
	rack_run_ms(r, 60);
	unsigned master = rack_hash(r, &spec, TRIPOD_INCOMING);
	unsigned other = rack_hash(r, &back, TRIPOD_OUTGOING);
	udp_back(r, 1, 1);
	rack_run_ms(r, 60);
	for (unsigned i = 0; i < 10; i++) {
		udp(r, 1, 1);
		udp_back(r, 1, 1);
		rack_run_ms(r, 2);
	}
	rack_run_ms(r, 50);
	assert_int_not_equal(master, other); // else choose another seed
	assert_int_equal(writes, 11);
	assert_int_equal(refused, 11);
	assert_int_equal(rack_counter(r, -1, C_nf_write_refused), 11);
	// Nor does what the other node writes take away what is soft here.
	udp_back(r, 1, 1);
	rack_run_ms(r, 50);
	assert_int_equal(refused, 12);
	assert_int_equal(soft_sum, 11);
	rack_kill(r, master);
	rack_run_ms(r, 300);
	udp(r, 1, 1);
	rack_run_ms(r, 60);
	assert_int_equal(durable_seen, 11);
	assert_int_equal(writes, 12);
	assert_true(soft_sum < 21);
	rack_free(r);
}

static enum tripod_verdict pin(struct tripod_call *c, struct tripod_packet *p)
{
	tripod_pin(c);
	return TRIPOD_FORWARD;
}

static enum tripod_verdict pin_and_answer(struct tripod_call *c, struct tripod_packet *p)
{
	if (c->from_initiator)
		return TRIPOD_FORWARD;
	struct tripod_packet *q = tripod_packet_new(c, p, true, 9);
	if (q != NULL)
		tripod_emit(c, q);
	return TRIPOD_FORWARD;
}

// Both directions of a pinned connection are one node's; when it dies, one other's.
static void run__pinned(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 4, .split = true});
	struct frame_spec spec = {.proto = IPPROTO_UDP,
		.src = "198.18.0.1",
		.dst = SERVER,
		.sport = 1000,
		.dport = 53};
	struct frame_spec back = {.proto = IPPROTO_UDP,
		.src = SERVER,
		.dst = "198.18.0.1",
		.sport = 53,
		.dport = 1000};

	now.packet = pin;
	udp(r, 1, 1);
	rack_run_ms(r, 60);
	unsigned master = rack_hash(r, &spec, TRIPOD_INCOMING);
	assert_int_not_equal(master, rack_hash(r, &back, TRIPOD_OUTGOING));
	for (unsigned i = 0; i < 5; i++) {
		udp_back(r, 1, 1);
		rack_run_ms(r, 60);
		assert_int_equal(arrived(r, TRIPOD_INCOMING), 1);
		assert_int_equal(in[0].from_node, master);
	}
	assert_int_equal(rack_counter(r, -1, C_relay_tx), 5);
	arrived(r, TRIPOD_OUTGOING);

	// What an NF answers to a relayed packet finds its way to the host that sent it.
	now.packet = pin_and_answer;
	udp_back(r, 1, 2);
	rack_run_ms(r, 20);
	assert_int_equal(arrived(r, TRIPOD_INCOMING), 1);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 1);
	assert_int_equal(in[0].payload_len, 9);
	assert_int_equal(in[0].tuple.dport, htons(53));
	now.packet = NULL;
	rack_run_ms(r, 50);

	rack_kill(r, master);
	rack_run_ms(r, 300);
	udp(r, 1, 1);
	rack_run_ms(r, 60);
	assert_int_equal(arrived(r, TRIPOD_OUTGOING), 1);
	unsigned next = in[0].from_node;
	rack_run_ms(r, 150);
	arrived(r, TRIPOD_INCOMING);
	udp_back(r, 1, 1);
	rack_run_ms(r, 60);
	assert_int_equal(arrived(r, TRIPOD_INCOMING), 1);
	assert_int_equal(in[0].from_node, next);
	rack_check(r);
	rack_free(r);
}

static enum tripod_verdict set_timer(struct tripod_call *c, struct tripod_packet *p)
{
	now.result = tripod_timer_set(c, p->payload_len * MS);
	return TRIPOD_FORWARD;
}

static enum tripod_verdict set_far(struct tripod_call *c, struct tripod_packet *p)
{
	now.result = tripod_timer_set(c, UINT64_MAX / 2);
	return TRIPOD_FORWARD;
}

static enum tripod_verdict cancel_timer(struct tripod_call *c, struct tripod_packet *p)
{
	tripod_timer_cancel(c);
	return TRIPOD_FORWARD;
}

static void run__timers(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.timers = 2});

	for (unsigned i = 0; i < 3; i++)
		opened(r, i);
	now.packet = set_timer;
	udp(r, 0, 50);
	rack_run_ms(r, 40);
	assert_int_equal(now.timers, 0);
	rack_run_ms(r, 20);
	assert_int_equal(now.timers, 1);
	udp(r, 0, 50);
	rack_run_ms(r, 40);
	udp(r, 0, 50); // moves it
	rack_run_ms(r, 40);
	assert_int_equal(now.timers, 1);
	now.packet = cancel_timer;
	udp(r, 0, 1);
	rack_run_ms(r, 100);
	assert_int_equal(now.timers, 1);
	now.packet = set_far; // for ever, and not at once
	udp(r, 0, 1);
	rack_run_ms(r, 100);
	assert_int_equal(now.timers, 1);
	assert_int_equal(now.result, 0);
	now.packet = set_timer;
	udp(r, 1, 5);
	rack_run_ms(r, 1);
	udp(r, 2, 5);
	rack_run_ms(r, 1);
	assert_int_equal(now.result, -ENOSPC);
	assert_int_equal(rack_counter(r, 0, C_timer_full), 1);
	rack_free(r);
}

// A connection that ends takes its timers with it.
static void run__timers_end_with_the_connection(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	opened(r, 1);
	now.packet = set_timer;
	udp(r, 1, 50);
	rack_run_ms(r, 5);
	now.packet = release_and_end;
	udp(r, 1, 1);
	rack_run_ms(r, 100);
	assert_int_equal(now.timers, 0);
	assert_int_equal(node_shard(rack_node(r, 0), 0)->timers.used, 0);
	rack_free(r);
}

static void run__tcp_close_tells_the_nf(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});

	tcp(r, TRIPOD_TCP_SYN, 100, 0, 0);
	rack_run_ms(r, 5);
	tcp_back(r, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 500, 101, 0);
	rack_run_ms(r, 5);
	tcp(r, TRIPOD_TCP_ACK, 101, 501, 0);
	tcp(r, TRIPOD_TCP_RST, 101, 0, 0);
	rack_run_ms(r, 12000);
	assert_int_equal(now.closed, 1);
	assert_int_equal(now.reason, TRIPOD_TCP_CLOSED);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run__refused_and_dropped),
		cmocka_unit_test(run__order),
		cmocka_unit_test(run__first_packet_held_and_released),
		cmocka_unit_test(run__released_packet_dropped_further_on),
		cmocka_unit_test(run__held_in_order_up_to_a_limit),
		cmocka_unit_test(run__release_is_of_one_nf),
		cmocka_unit_test(run__released_packet_of_an_ended_connection),
		cmocka_unit_test(run__many_held_packets_end_at_once),
		cmocka_unit_test(run__emit),
		cmocka_unit_test(run__packet_made_and_not_sent),
		cmocka_unit_test(run__emit_flood_leaves_heartbeats),
		cmocka_unit_test(run__terminate_ends_all_copies),
		cmocka_unit_test(run__state_survives_a_takeover),
		cmocka_unit_test(run__pinned),
		cmocka_unit_test(run__timers),
		cmocka_unit_test(run__timers_end_with_the_connection),
		cmocka_unit_test(run__tcp_close_tells_the_nf),
	};
	return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
