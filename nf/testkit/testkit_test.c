// SPDX-License-Identifier: BSD-3-Clause
// The kit finds what an NF must not do, and does what the framework promises.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "nf/testkit/testkit.h"

// ---- An NF that does what the test tells it to ----

struct state {
	uint32_t once, durable, soft;
};
static const struct tripod_field FIELDS[] = {
	TRIPOD_FIELD(struct state, once, WRITE_ONCE, UINT),
	TRIPOD_FIELD(struct state, durable, DURABLE, UINT),
	TRIPOD_FIELD(struct state, soft, SOFT, UINT),
	{0},
};
static const char *const COUNTERS[] = {"packets", "closed", "timers", "opened", NULL};

struct script {
	enum tripod_verdict init, verdict;
	void (*on_init)(struct tripod_call *c, struct tripod_packet *p);
	void (*on_packet)(struct tripod_call *c, struct tripod_packet *p);
	void (*on_request)(struct tripod_call *c);
	unsigned requests;
	size_t size;
	uint8_t data[TRIPOD_REQUEST_MAX];
	int error; // of the last tripod_request()
};
static struct script script;

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	return 0;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	tripod_count(c, 3);
	if (script.on_init != NULL)
		script.on_init(c, p);
	return script.init;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	tripod_count(c, 0);
	if (script.on_packet != NULL)
		script.on_packet(c, p);
	return script.verdict;
}

static void on_close(struct tripod_call *c, enum tripod_reason why)
{
	tripod_count(c, 1);
}

static void on_timer(struct tripod_call *c)
{
	tripod_count(c, 2);
	tripod_release(c);
}

static void on_request(struct tripod_call *c, const void *data, size_t size)
{
	script.requests++;
	script.size = size;
	memcpy(script.data, data, size);
	if (script.on_request != NULL)
		script.on_request(c);
}

static const struct tripod_nf first = {.abi = TRIPOD_NF_ABI,
	.name = "first",
	.summary = "a test's",
	.state_size = sizeof(struct state),
	.fields = FIELDS,
	.counters = COUNTERS,
	.load = load,
	.on_init = on_init,
	.on_packet = on_packet,
	.on_close = on_close,
	.on_timer = on_timer,
	.on_request = on_request};

// The second in the chain leaves a trace of the order: the port grows by one.
static enum tripod_verdict second_packet(struct tripod_call *c, struct tripod_packet *p)
{
	tripod_count(c, 0);
	if (c->from_initiator)
		tripod_packet_set_dst(p, &p->tuple.dst, htons(ntohs(p->tuple.dport) + 1));
	else
		tripod_packet_set_src(p, &p->tuple.src, htons(ntohs(p->tuple.sport) - 1));
	return TRIPOD_FORWARD;
}

static enum tripod_verdict second_init(struct tripod_call *c, struct tripod_packet *p)
{
	return TRIPOD_FORWARD;
}

static const struct tripod_nf second = {.abi = TRIPOD_NF_ABI,
	.name = "second",
	.summary = "a test's",
	.counters = COUNTERS,
	.load = load,
	.on_init = second_init,
	.on_packet = second_packet};

#define SYN "in tcp 198.51.100.7:4242 > 203.0.113.80:80 syn seq=7"
#define DATA "in tcp 198.51.100.7:4242 > 203.0.113.80:80 len=10"
#define ANSWER "out tcp 203.0.113.80:81 > 198.51.100.7:4242 syn ack"
#define FORWARDED "tcp 198.51.100.7:4242 > 203.0.113.80:81"
#define ANSWERED "tcp 203.0.113.80:80 > 198.51.100.7:4242"

static struct testkit *start(void)
{
	script = (struct script){0};
	return testkit_new("- first: {}\n- second: {}\n", NULL);
}

static const struct state *state(struct testkit *t)
{
	return testkit_state(t, "first");
}

// ---- Scripts ----

static void write_all(struct tripod_call *c, struct tripod_packet *p)
{
	struct state *s = tripod_state_rw(c);
	s->once = 1;
	s->durable = 2;
	s->soft = 3;
}

static void write_once(struct tripod_call *c, struct tripod_packet *p)
{
	struct state *s = tripod_state_rw(c);
	s->once++;
}

static void write_durable_softly(struct tripod_call *c, struct tripod_packet *p)
{
	struct state *s = tripod_state_soft(c);
	s->durable++;
}

static void write_soft_silently(struct tripod_call *c, struct tripod_packet *p)
{
	((struct state *)(uintptr_t)c->state)->soft++;
}

static void write_soft(struct tripod_call *c, struct tripod_packet *p)
{
	struct state *s = tripod_state_soft(c);
	s->soft++;
}

static void write_beyond(struct tripod_call *c, struct tripod_packet *p)
{
	((uint8_t *)tripod_state_rw(c))[sizeof(struct state)] = 1;
}

static void write_durable_if_may(struct tripod_call *c, struct tripod_packet *p)
{
	struct state *s = tripod_state_rw(c);
	if (s != NULL)
		s->durable++;
}

static void break_checksum(struct tripod_call *c, struct tripod_packet *p)
{
	p->data[p->payload - 1] ^= 1;
}

static void terminate_and_pin(struct tripod_call *c, struct tripod_packet *p)
{
	tripod_pin(c);
	tripod_terminate(c);
}

static void set_timer(struct tripod_call *c, struct tripod_packet *p)
{
	assert_int_equal(tripod_timer_set(c, 5000000), 0);
}

static void reply_hello(struct tripod_call *c, struct tripod_packet *p)
{
	struct tripod_packet *r = tripod_packet_new(c, p, true, 5);
	if (r == NULL)
		return;
	memcpy(r->data + r->payload, "hello", 5);
	tripod_emit(c, r);
}

// ---- Tests ----

static void testkit_send__order_and_tuples(void **unused)
{
	struct testkit *t = start();
	assert_false(testkit_connected(t));
	assert_string_equal(testkit_send(t, SYN), FORWARDED);
	assert_true(testkit_connected(t));
	assert_string_equal(testkit_send(t, ANSWER), ANSWERED);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_string_equal(testkit_send(t, "in tcp 198.51.100.8:4242 > 203.0.113.80:80"),
		"not of this connection");
	assert_int_equal(testkit_counter(t, "first", "opened"), 1);
	assert_int_equal(testkit_counter(t, "first", "packets"), 3);
	assert_int_equal(testkit_tuple(t, 0)->dport, htons(80));
	assert_int_equal(testkit_tuple(t, 1)->sport, htons(81));
	assert_int_equal(testkit_tuple(t, 1)->direction, TRIPOD_OUTGOING);
	assert_string_equal(testkit_close(t, TRIPOD_TIMEOUT), "");
	assert_int_equal(testkit_counter(t, "first", "closed"), 1);
	assert_false(testkit_connected(t));
	// Another one may open; from inside the order is the reverse.
	assert_string_equal(testkit_send(t, "out udp [fd00::1]:5 > [2001:db8::1]:53 len=20"),
		"udp [fd00::1]:5 > [2001:db8::1]:54");
	assert_string_equal(testkit_send(t, "in udp [2001:db8::1]:54 > [fd00::1]:5 len=20"),
		"udp [2001:db8::1]:53 > [fd00::1]:5");
	testkit_free(t);
}

static void testkit_send__verdicts(void **unused)
{
	struct testkit *t = start();
	script.init = TRIPOD_DROP;
	assert_string_equal(testkit_send(t, SYN), "refuse first");
	assert_false(testkit_connected(t));
	assert_int_equal(testkit_counter(t, "first", "packets"), 0);
	assert_int_equal(testkit_counter(t, "second", "packets"), 0);
	script.init = TRIPOD_FORWARD;
	script.verdict = TRIPOD_DROP;
	assert_string_equal(testkit_send(t, SYN), "drop first");
	assert_true(testkit_connected(t));
	assert_int_equal(testkit_counter(t, "second", "packets"), 0);
	script.verdict = TRIPOD_CONSUME;
	assert_string_equal(testkit_send(t, SYN), "consume first");
	testkit_free(t);
	t = start();
	script.init = TRIPOD_HOLD;
	assert_string_equal(
		testkit_send(t, SYN), "violation: first on_init returned neither FORWARD nor DROP");
	testkit_free(t);
}

static void testkit_send__violations(void **unused)
{
	static const struct {
		void (*on_packet)(struct tripod_call *c, struct tripod_packet *p);
		const char *text;
	} CASES[] = {
		{write_once, "violation: first changed a write-once field after on_init: once"},
		{write_durable_softly, "violation: first changed replicated state without "
				       "tripod_state_rw(): durable"},
		{write_soft_silently,
			"violation: first changed state without tripod_state_soft(): soft"},
		{write_beyond, "violation: first wrote outside its state"},
		{break_checksum, "violation: the chain left a wrong checksum in: " SYN},
		{write_soft, FORWARDED},
		{write_durable_if_may, FORWARDED},
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct testkit *t = start();
		script.on_packet = CASES[i].on_packet;
		assert_string_equal(testkit_send(t, SYN), CASES[i].text);
		testkit_free(t);
	}
	struct testkit *t = start();
	script.on_init = write_all;
	assert_string_equal(testkit_send(t, SYN), FORWARDED);
	testkit_free(t);
}

static void testkit_takeover__classes(void **unused)
{
	struct testkit *t = start();
	script.on_init = write_all;
	testkit_send(t, SYN);
	assert_int_equal(state(t)->soft, 3);
	testkit_takeover(t);
	assert_int_equal(state(t)->once, 1);
	assert_int_equal(state(t)->durable, 2);
	assert_int_equal(state(t)->soft, 0);
	assert_int_equal(testkit_counter(t, "first", "packets"), 0);
	assert_string_equal(testkit_send(t, ANSWER), ANSWERED);
	assert_int_equal(testkit_counter(t, "first", "opened"), 0);

	script.on_packet = write_durable_if_may;
	testkit_writable(t, false);
	assert_string_equal(testkit_send(t, ANSWER), ANSWERED);
	assert_int_equal(state(t)->durable, 2);
	testkit_writable(t, true);
	testkit_send(t, ANSWER);
	assert_int_equal(state(t)->durable, 3);
	testkit_free(t);
}

static void testkit_advance__timers_and_holds(void **unused)
{
	struct testkit *t = start();
	script.on_packet = set_timer;
	script.verdict = TRIPOD_HOLD;
	assert_string_equal(testkit_send(t, SYN), "hold first");
	assert_string_equal(testkit_send(t, DATA), "hold first");
	assert_string_equal(testkit_send(t, ANSWER), "not of this connection");
	assert_string_equal(testkit_advance(t, 4), "");
	assert_null(testkit_output(t, 0));
	assert_string_equal(testkit_advance(t, 2), "");
	assert_int_equal(testkit_counter(t, "first", "timers"), 1);
	assert_string_equal(testkit_output(t, 0), "release " FORWARDED " syn seq=7 ack=0 len=0");
	assert_string_equal(testkit_output(t, 1), "release " FORWARDED " ack seq=0 ack=0 len=10");
	assert_null(testkit_output(t, 2));
	script.verdict = TRIPOD_FORWARD;
	assert_string_equal(testkit_send(t, ANSWER), ANSWERED);
	// A takeover forgets timers and what was held.
	testkit_takeover(t);
	testkit_advance(t, 100);
	assert_int_equal(testkit_counter(t, "first", "timers"), 0);
	script.verdict = TRIPOD_HOLD;
	for (unsigned i = 0; i < TRIPOD_HOLD_MAX; i++)
		assert_string_equal(testkit_send(t, DATA), "hold first");
	assert_string_equal(testkit_send(t, DATA), "drop hold_full");
	testkit_free(t);
}

static void tripod_emit__to_sender(void **unused)
{
	struct testkit *t = start();
	script.on_packet = reply_hello;
	assert_string_equal(testkit_send(t, SYN), FORWARDED);
	assert_string_equal(testkit_output(t, 0),
		"emit tcp 203.0.113.80:80 > 198.51.100.7:4242 ack seq=0 ack=0 len=5");
	// Towards the sender as it sees the connection, not as an NF on the way has made it.
	testkit_send(t, ANSWER);
	assert_string_equal(testkit_output(t, 0),
		"emit tcp 198.51.100.7:4242 > 203.0.113.80:81 ack seq=0 ack=0 len=5");
	testkit_starve(t, true);
	testkit_send(t, DATA);
	assert_null(testkit_output(t, 0));
	testkit_free(t);
}

static void tripod_terminate__closes(void **unused)
{
	struct testkit *t = start();
	testkit_send(t, SYN);
	script.on_packet = terminate_and_pin;
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_false(testkit_connected(t));
	assert_int_equal(testkit_counter(t, "first", "closed"), 1);
	testkit_free(t);
}

static uint16_t seen_port;
static void see_port(struct tripod_call *c, struct tripod_packet *p)
{
	seen_port = ntohs(p->tuple.dport);
}

// From outside in the order of the configuration, from inside in the reverse order; on_init sees
// what the NFs in front have made of the packet.
static void testkit_send__reverse_order(void **unused)
{
	struct testkit *t = start();
	script.on_init = see_port;
	testkit_send(t, SYN);
	assert_int_equal(seen_port, 80);
	testkit_close(t, TRIPOD_TIMEOUT);
	testkit_send(t, "out tcp 10.1.0.5:1024 > 198.51.100.7:80 syn");
	assert_int_equal(seen_port, 81);
	testkit_free(t);
}

static bool odd_ports_only(void *ctx, const struct tripod_tuple *reversed)
{
	return ntohs(reversed->dport) % 2 == 1;
}

static bool asked[3];
static void ask(struct tripod_call *c, struct tripod_packet *p)
{
	struct tripod_tuple t = p->tuple;
	for (unsigned i = 0; i < 3; i++) {
		t.sport = htons((uint16_t)(1000 + i));
		struct tripod_tuple reversed = tripod_tuple_reverse(&t);
		asked[i] = tripod_tuple_available(c, &reversed);
	}
}

static void testkit_take__available(void **unused)
{
	struct testkit *t = start();
	script.on_init = ask;
	testkit_send(t, SYN);
	assert_true(asked[0] && asked[1] && asked[2]);
	struct tripod_tuple taken = tripod_tuple_reverse(testkit_tuple(t, 0));
	testkit_park(t);
	assert_false(testkit_connected(t));
	taken.dport = htons(1001);
	for (unsigned i = 0; i < 200; i++) { // the set grows
		struct tripod_tuple other = taken;
		other.sport = (uint16_t)i;
		testkit_take(t, &other);
	}
	testkit_take(t, &taken);
	testkit_send(t, SYN);
	assert_true(asked[0] && !asked[1] && asked[2]);
	testkit_park(t);
	testkit_on_available(t, odd_ports_only, NULL);
	testkit_send(t, SYN);
	assert_true(!asked[0] && !asked[1] && !asked[2]);
	testkit_free(t);
}

static void ask_for(struct tripod_call *c, struct tripod_packet *p)
{
	script.error = tripod_request(c, "abc", 3);
}

static void write_durable(struct tripod_call *c)
{
	struct state *w = tripod_state_rw(c);
	if (w != NULL)
		w->durable = 77;
}

static void ask_again(struct tripod_call *c)
{
	script.error = tripod_request(c, "abc", 3);
}

static void ask_too_much(struct tripod_call *c, struct tripod_packet *p)
{
	script.error = tripod_request(c, "12345678901234567", 17);
}

static void end_it(struct tripod_call *c)
{
	tripod_terminate(c);
}

static void testkit_deliver__requests(void **unused)
{
	struct testkit *t = start();
	script.on_packet = ask_for;
	script.on_request = write_durable;
	assert_string_equal(testkit_send(t, SYN), FORWARDED); // runs at once
	assert_int_equal(script.error, 0);
	assert_int_equal(script.requests, 1);
	assert_int_equal(script.size, 3);
	assert_memory_equal(script.data, "abc", 3);
	assert_string_equal(testkit_deliver(t), "nothing");

	testkit_writable(t, false);
	script.requests = 0;
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_int_equal(script.error, 0);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_int_equal(script.error, -EBUSY);
	assert_int_equal(script.requests, 0);
	assert_string_equal(testkit_deliver(t), "");
	assert_int_equal(script.requests, 1);
	assert_int_equal(((const struct state *)testkit_state(t, "first"))->durable, 77);
	assert_string_equal(testkit_deliver(t), "nothing");

	testkit_send(t, DATA);
	testkit_takeover(t); // the node that asked is gone
	assert_string_equal(testkit_deliver(t), "nothing");
	testkit_starve(t, true);
	testkit_send(t, DATA);
	assert_int_equal(script.error, -ENOSPC);
	testkit_starve(t, false);
	script.on_request = end_it;
	testkit_send(t, DATA);
	assert_string_equal(testkit_deliver(t), "");
	assert_false(testkit_connected(t));
	testkit_free(t);
}

static void testkit_deliver__violations(void **unused)
{
	struct testkit *t = start();
	script.on_packet = ask_too_much;
	assert_non_null(strstr(testkit_send(t, SYN), "violation: first made a request of more"));
	assert_int_equal(script.error, -EINVAL);
	script.on_packet = ask_for;
	script.on_request = ask_again;
	assert_non_null(strstr(testkit_send(t, DATA), "violation: first made a request from"));
	assert_int_equal(script.error, 0); // of the outer one
	testkit_writable(t, false);
	assert_string_equal(testkit_send(t, DATA), FORWARDED);
	assert_non_null(strstr(testkit_deliver(t), "violation: first made a request from"));
	assert_int_equal(script.error, -EINVAL);
	testkit_free(t);
}

static void testkit_errors__report(void **unused)
{
	char *report = testkit_errors("- first: {}\n- third: {}\n", NULL);
	assert_non_null(strstr(report, "chain.yaml:2:"));
	assert_non_null(strstr(report, "third"));
	free(report);
	report = testkit_errors("- first: {}\n- second:\n", NULL);
	assert_string_equal(report, "");
	free(report);
}

int main(void)
{
	testkit_register(&second);
	testkit_register(&first);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(testkit_send__order_and_tuples),
		cmocka_unit_test(testkit_send__reverse_order),
		cmocka_unit_test(testkit_send__verdicts),
		cmocka_unit_test(testkit_send__violations),
		cmocka_unit_test(testkit_takeover__classes),
		cmocka_unit_test(testkit_advance__timers_and_holds),
		cmocka_unit_test(tripod_emit__to_sender),
		cmocka_unit_test(tripod_terminate__closes),
		cmocka_unit_test(testkit_take__available),
		cmocka_unit_test(testkit_deliver__requests),
		cmocka_unit_test(testkit_deliver__violations),
		cmocka_unit_test(testkit_errors__report),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
