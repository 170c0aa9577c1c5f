// SPDX-License-Identifier: BSD-3-Clause
// What the holders of a connection are told in its life, and what need not be told.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"
#include "core/testing/settled.h"

#define VIP "198.51.100.1"
#define SERVER "10.1.0.101"
#define ACK TRIPOD_TCP_ACK
#define SYN TRIPOD_TCP_SYN
#define FIN TRIPOD_TCP_FIN
#define CLOSED_MS 10000 // of the test rack; a copy waits a quarter longer
#define GRAIN_MS 300 // of the wheel, and then some

struct life {
	uint16_t port;
	uint32_t seq[2]; // of client and server
	struct tripod_tuple key;
};

// It arrives in the next step.
static void hand_in(struct rack *r, struct life *l, bool client, uint8_t flags)
{
	struct frame_spec s = {.src = client ? "198.18.0.1" : SERVER,
		.dst = client ? VIP : "198.18.0.1",
		.sport = client ? l->port : 8080,
		.dport = client ? 80 : l->port,
		.tcp_flags = flags,
		.seq = l->seq[!client],
		.ack = flags & ACK ? l->seq[client] : 0};

	rack_send(r, client ? TRIPOD_INCOMING : TRIPOD_OUTGOING, &s);
	l->seq[!client] += !!(flags & (SYN | FIN));
}

static void send_of(struct rack *r, struct life *l, bool client, uint8_t flags)
{
	hand_in(r, l, client, flags);
	rack_run_ms(r, 6); // what is told of it is acknowledged
}

static struct life open_of(struct rack *r, uint16_t port)
{
	struct life l = {.port = port, .seq = {1000, 90000}};

	l.key = (struct tripod_tuple){
		.sport = htons(port), .dport = htons(80), .proto = IPPROTO_TCP};
	tripod_addr_parse(&l.key.src, "198.18.0.1");
	tripod_addr_parse(&l.key.dst, VIP);
	send_of(r, &l, true, SYN);
	rack_run_ms(r, 10); // next hops are resolved
	send_of(r, &l, false, SYN | ACK);
	rack_run_ms(r, 10);
	send_of(r, &l, true, ACK);
	return l;
}

static uint64_t told(struct rack *r)
{
	return rack_counter(r, -1, C_log_records_tx);
}

static unsigned master_of(struct rack *r, const struct life *l)
{
	struct frame_spec s = {.src = "198.18.0.1", .dst = VIP, .sport = l->port, .dport = 80};

	return rack_hash(r, &s, TRIPOD_INCOMING);
}

static unsigned backup_of(struct rack *r, const struct life *l)
{
	struct conn_view v;

	for (unsigned i = 0; i < 3; i++)
		if (i != master_of(r, l) && rack_node(r, i) && rack_conn(r, i, &l->key, &v))
			return i;
	fail_msg("no backup");
	return 0;
}

static struct conn_view view_of(struct rack *r, unsigned node, const struct life *l)
{
	struct conn_view v;

	assert_true(rack_conn(r, node, &l->key, &v));
	return v;
}

static void close_of(struct rack *r, struct life *l)
{
	send_of(r, l, false, FIN | ACK);
	send_of(r, l, true, ACK);
	send_of(r, l, true, FIN | ACK);
	send_of(r, l, false, ACK);
}

// Directions in the updates of node 0 to 63, in order.
struct heard {
	uint8_t parts[16];
	unsigned n;
};

static bool hear(void *ctx, unsigned from, const struct frame *f)
{
	struct heard *heard = ctx;
	struct wire_header h;
	struct wire_log log = {0};
	const uint8_t *message = f->data + 42;
	size_t at = 0, size = f->len - 42u;

	int head = wire_get_short(message, size, &h);
	if (f->vlan != 30 || head < 0)
		return false;
	message += head;
	size -= (size_t)head;
	for (unsigned k = 0; k < h.count; k++) {
		struct wire_record w;
		int n = wire_get_record(message + at, size - at, &w, &log);
		assert_true(n > 0 && heard->n < 16);
		heard->parts[heard->n++] = w.parts;
		at += (size_t)n;
	}
	return false;
}

// Four records: it is there, established, closing, closed. Its end needs no word.
static void life__four_records(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	static struct heard heard;
	heard.n = 0;
	rack_tap(r, hear, &heard);
	struct life l = open_of(r, 1000);
	unsigned master = master_of(r, &l), backup = backup_of(r, &l);

	assert_int_equal(told(r), 2);
	assert_int_equal(view_of(r, backup, &l).tcp, TCP_ESTABLISHED);
	send_of(r, &l, false, FIN | ACK);
	assert_int_equal(told(r), 3);
	assert_int_equal(view_of(r, backup, &l).tcp, TCP_CLOSING);
	send_of(r, &l, true, ACK);
	send_of(r, &l, true, FIN | ACK);
	assert_int_equal(told(r), 3);
	send_of(r, &l, false, ACK);
	assert_int_equal(told(r), 4);
	assert_int_equal(view_of(r, backup, &l).tcp, TCP_CLOSED);
	rack_run_ms(r, 5);
	assert_true(view_of(r, master, &l).acked & 1ull << backup);
	rack_run_ms(r, CLOSED_MS + GRAIN_MS);
	assert_int_equal(view_of(r, master, &l).state, CONN_TOMBSTONE);
	assert_int_equal(view_of(r, backup, &l).state, CONN_LIVE);
	rack_run_ms(r, CLOSED_MS / 4 + GRAIN_MS);
	assert_int_equal(view_of(r, backup, &l).state, CONN_TOMBSTONE);
	rack_run_ms(r, 6000);
	assert_int_equal(node_shard(rack_node(r, master), 0)->store.used, 0);
	assert_int_equal(node_shard(rack_node(r, backup), 0)->store.used, 0);
	assert_int_equal(told(r), 4);
	// All, then what has changed: the client's acknowledgement, the server's FIN, both at the end.
	assert_int_equal(heard.n, 4);
	assert_memory_equal(heard.parts, ((const uint8_t[]){7, 1, 2, 3}), 4);
	rack_check(r);
	rack_free(r);
}

// How long until n more records are sent than had been.
static unsigned us_until_told(struct rack *r, uint64_t before, unsigned n)
{
	unsigned us = 0;

	for (; told(r) < before + n && us < 10000; us += 50)
		rack_step(r);
	assert_int_equal(told(r), before + n);
	return us;
}

// That a connection comes to its end waits five times as long for other records, and goes along when there is one
// that does not. Of two masters, one waits for what the other sees.
static void life__what_can_wait_waits(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	struct life l = open_of(r, 1000), next = {.port = 1001, .seq = {1000, 90000}};

	while (master_of(r, &next) != master_of(r, &l))
		next.port++;
	send_of(r, &next, true, SYN);
	rack_run_ms(r, 10);
	uint64_t before = told(r);
	hand_in(r, &next, false, SYN | ACK);
	assert_in_range(us_until_told(r, before, 1), 400, 700);
	rack_run_ms(r, 10);
	hand_in(r, &next, true, ACK);
	assert_in_range(us_until_told(r, before, 2), 400, 700);
	rack_run_ms(r, 10);
	hand_in(r, &next, false, FIN | ACK);
	assert_in_range(us_until_told(r, before, 3), 2400, 2700);
	rack_run_ms(r, 10);
	hand_in(r, &l, false, FIN | ACK);
	rack_run_ms(r, 1);
	assert_int_equal(told(r), before + 3);
	while (++next.port < 2000 && master_of(r, &next) != master_of(r, &l))
		;
	next.seq[0] = 1000;
	hand_in(r, &next, true, SYN);
	rack_step(r);
	hand_in(r, &next, false, SYN | ACK);
	uint64_t sent = rack_counter(r, -1, C_log_messages_tx);
	assert_in_range(us_until_told(r, before, 5), 400, 700);
	assert_int_equal(rack_counter(r, -1, C_log_messages_tx), sent + 1);
	rack_check(r);
	rack_free(r);

	r = settled_rack((struct rack_conf){.nodes = 2, .split = true});
	do {
		l = open_of(r, l.port + 1);
	} while (view_of(r, 0, &l).master[0] == view_of(r, 0, &l).master[1]);
	rack_run_ms(r, 10);
	before = told(r);
	hand_in(r, &l, false, FIN | ACK);
	assert_in_range(us_until_told(r, before, 1), 400, 700);
	rack_free(r);
}

static bool lose_logs(void *ctx, unsigned from, const struct frame *f)
{
	return from == *(unsigned *)ctx && rack_message(f) == WIRE_LOG;
}

// A holder that has not acknowledged the close is told of the end.
static void life__who_has_not_heard_of_the_close_is_told(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct life l = open_of(r, 1000);
	unsigned master = master_of(r, &l), backup = backup_of(r, &l);

	send_of(r, &l, false, FIN | ACK);
	send_of(r, &l, true, ACK);
	send_of(r, &l, true, FIN | ACK);
	rack_tap(r, lose_logs, &master);
	send_of(r, &l, false, ACK);
	rack_run_ms(r, CLOSED_MS + GRAIN_MS);
	assert_int_equal(view_of(r, master, &l).state, CONN_TOMBSTONE);
	assert_int_equal(view_of(r, backup, &l).state, CONN_LIVE);
	assert_int_equal(view_of(r, backup, &l).tcp, TCP_CLOSING);
	rack_tap(r, NULL, NULL);
	rack_run_ms(r, 1000); // the longest time until a log is sent again
	assert_int_equal(view_of(r, backup, &l).state, CONN_TOMBSTONE);
	rack_free(r);
}

// The node dies amid the close: the next packets go on, and a half that was not told is closed by
// silence.
static void life__death_amid_the_close(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.seed = 6});
	struct life l = open_of(r, 1000);
	unsigned master = master_of(r, &l);
	static struct rack_arrival a[64];

	send_of(r, &l, false, FIN | ACK);
	send_of(r, &l, true, ACK); // not told
	rack_kill(r, master);
	rack_run_ms(r, 300);
	rack_arrivals(r, TRIPOD_INCOMING, a, 64);
	rack_arrivals(r, TRIPOD_OUTGOING, a, 64);
	send_of(r, &l, true, FIN | ACK);
	rack_run_ms(r, 60);
	send_of(r, &l, false, ACK);
	rack_run_ms(r, 60);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 64), 1);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 64), 1);
	unsigned now = master_of(r, &l);
	assert_true(now != master);
	assert_int_equal(view_of(r, now, &l).tcp, TCP_CLOSED);
	rack_free(r);
}

// The switch moves a connection amid its close while the old master lives: what that had not told yet
// goes to the new one, which else would wait for a FIN that has passed.
static void life__moved_amid_the_close(void **state)
{
	unsigned to_backup = 0;

	for (unsigned n = 0; n < 8; n++) {
		struct rack *r = settled_rack((struct rack_conf){.seed = 7 + n});
		struct life l = open_of(r, 1000);
		unsigned master = master_of(r, &l), backup = backup_of(r, &l);

		send_of(r, &l, false, FIN | ACK);
		send_of(r, &l, true, ACK);
		send_of(r, &l, true, FIN | ACK); // this and the last are not told
		assert_int_equal(view_of(r, backup, &l).tcp, TCP_CLOSING);
		rack_port(r, master, false);
		send_of(r, &l, false, ACK);
		rack_run_ms(r, 60);
		unsigned now = master_of(r, &l);
		assert_true(now != master);
		to_backup += now == backup; // the other node would ask, and be told all
		send_of(r, &l, false, ACK); // the last, once more
		rack_run_ms(r, 60);
		assert_int_equal(view_of(r, now, &l).tcp, TCP_CLOSED);
		rack_free(r);
	}
	assert_true(to_backup >= 2);
}

// With the directions on two nodes, each hears all flags of the other, and the end is told.
static void life__parted_directions_close(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.split = true, .seed = 9});
	unsigned parted = 0;

	for (uint16_t port = 1000; port < 1016; port++) {
		struct life l = open_of(r, port);
		struct conn_view v = view_of(r, master_of(r, &l), &l);
		parted += v.master[0] != v.master[1];
		close_of(r, &l);
		for (unsigned i = 0; i < 3; i++)
			if (rack_conn(r, i, &l.key, &v))
				assert_int_equal(v.tcp, TCP_CLOSED);
	}
	assert_true(parted > 3);
	rack_run_ms(r, CLOSED_MS * 5 / 4 + 6000 + 2 * GRAIN_MS);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(node_shard(rack_node(r, i), 0)->store.used, 0);
	rack_check(r);
	rack_free(r);
}

// Who watches one direction knows where the FIN of the other ends: an acknowledgement of what came before
// it is none of the FIN, and closes nothing.
static void life__parted_directions_late_acknowledgement(void **state)
{
	unsigned parted = 0;

	for (uint16_t port = 1000; port < 1024; port++) {
		struct rack *r = settled_rack((struct rack_conf){.split = true, .seed = port});
		struct life l = open_of(r, port);
		struct conn_view v = view_of(r, master_of(r, &l), &l);
		bool moves = port & 1;
		if (v.master[0] == v.master[1]) {
			rack_free(r);
			continue;
		}
		send_of(r, &l, false, FIN | ACK);
		if (moves) { // to who has heard of the FIN from others alone
			rack_port(r, v.master[0], false);
			rack_run_ms(r, 5);
		}
		l.seq[1]--; // the client has not got it
		send_of(r, &l, true, FIN | ACK);
		send_of(r, &l, true, ACK);
		l.seq[1]++;
		send_of(r, &l, false, ACK);
		rack_run_ms(r, 10);
		for (unsigned i = 0; i < 3; i++)
			if (rack_conn(r, i, &l.key, &v))
				assert_int_equal(v.tcp, TCP_CLOSING);
		send_of(r, &l, true, ACK);
		rack_run_ms(r, 10);
		assert_int_equal(view_of(r, master_of(r, &l), &l).tcp, TCP_CLOSED);
		rack_free(r);
		parted++;
	}
	assert_true(parted >= 6);
}

static bool lose_between(void *ctx, unsigned from, const struct frame *f)
{
	const unsigned *pair = ctx;
	return from == pair[0] && f->vlan == 30 && f->data[5] == pair[1] + 1;
}

// What another node has to tell a backup may be lost: who handles one direction only, and knows of the
// end, does not take for granted that all do.
static void life__parted_directions_end_is_told(void **state)
{
	unsigned parted = 0;

	for (unsigned n = 0; n < 8; n++) {
		struct rack *r = settled_rack((struct rack_conf){
			.split = true, .seed = 20 + n, .nodes = 4, .backups = 3});
		struct life l = open_of(r, 1000);
		struct conn_view v = view_of(r, master_of(r, &l), &l);
		unsigned third = 0;
		if (v.master[0] == v.master[1]) {
			rack_free(r);
			continue;
		}
		while (third == v.master[0] || third == v.master[1])
			third++;
		send_of(r, &l, false, FIN | ACK);
		send_of(r, &l, true, ACK);
		send_of(r, &l, true, FIN | ACK);
		unsigned pair[2] = {v.master[1], third};
		rack_tap(r, lose_between, pair);
		send_of(r, &l, false, ACK);
		rack_run_ms(r, 20);
		assert_int_equal(view_of(r, v.master[0], &l).tcp, TCP_CLOSED);
		assert_int_equal(view_of(r, third, &l).tcp, TCP_CLOSING);
		rack_run_ms(r, CLOSED_MS + GRAIN_MS);
		assert_int_equal(view_of(r, third, &l).state, CONN_TOMBSTONE);
		rack_free(r);
		parted++;
	}
	assert_true(parted >= 3);
}

// An address and port that the master has given to the next connection are free on the backup, too,
// although what they were of is not forgotten there.
static void life__what_has_ended_makes_way(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	struct life l = open_of(r, 1000);
	unsigned master = master_of(r, &l), backup = !master;
	struct shard *s = node_shard(rack_node(r, backup), 0);
	struct conn_view v;

	close_of(r, &l);
	assert_int_equal(view_of(r, backup, &l).tcp, TCP_CLOSED);
	// Another connection whose answers look the same, as a source NAT makes it.
	uint32_t i = 1;
	while (store_conn(&s->store, i)->state != CONN_LIVE)
		i++;
	struct conn *c = store_conn(&s->store, i);
	uint64_t before = rack_counter(r, backup, C_log_records_refused);
	struct shard *m = node_shard(rack_node(r, master), 0);
	uint32_t k = 1;
	while (store_conn(&m->store, k)->state != CONN_LIVE)
		k++;
	m->now_ns = rack_now_ns(r);
	assert_true(conn_free(m, k));
	struct life next = {.port = 2000, .seq = {5000, 70000}, .key = l.key};
	next.key.sport = htons(2000);
	for (uint16_t port = 2000; master_of(r, &next) != master; port++) {
		next.port = port;
		next.key.sport = htons(port);
	}
	send_of(r, &next, true, SYN);
	rack_run_ms(r, 10);
	// ... made so by hand on the backup, where the old one still is.
	store_unindex_conn(&s->store, i, 1);
	c->dir[1].key.dport = htons(next.port);
	assert_int_equal(store_index_conn(&s->store, i, 1), 0);
	send_of(r, &next, false, SYN | ACK);
	rack_run_ms(r, 10);
	assert_true(rack_conn(r, backup, &next.key, &v));
	assert_false(rack_conn(r, backup, &l.key, &v));
	assert_int_equal(rack_counter(r, backup, C_log_records_refused), before);
	rack_check(r);
	rack_free(r);
}

// Of a new connection nothing comes on this node, since an NF wants none.
static enum refusing { REFUSES_NONE, REFUSES_INIT, REFUSES_PACKET } refusing;

static enum tripod_verdict gate_init(struct tripod_call *call, struct tripod_packet *p)
{
	return refusing == REFUSES_INIT ? TRIPOD_DROP : TRIPOD_FORWARD;
}

static enum tripod_verdict gate_packet(struct tripod_call *call, struct tripod_packet *p)
{
	return refusing == REFUSES_PACKET ? TRIPOD_DROP : TRIPOD_FORWARD;
}

static const char *const no_counters[] = {NULL};
static const struct tripod_nf GATE = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "gate",
	.summary = "test: lets nothing through when told so",
	.counters = no_counters,
	.on_init = gate_init,
	.on_packet = gate_packet,
};

// A SYN ends what has closed, and opens nothing. The other holders hear of the end all the same, or what
// they have would be alive as long as its time-out lasts. They hear of it once.
static void life__reopening_in_vain_is_told(void **state)
{
	for (unsigned how = 0; how < 3; how++) {
		struct rack *r =
			settled_rack((struct rack_conf){.nodes = 2, .nf2 = &GATE, .embryonic = 4});
		struct life l = open_of(r, 1000);
		unsigned master = master_of(r, &l);
		struct shard *s = node_shard(rack_node(r, master), 0);
		struct frame_spec syn = {.src = "198.18.0.1",
			.dst = VIP,
			.sport = l.port,
			.dport = 80,
			.tcp_flags = SYN,
			.seq = 500000};
		struct conn_view v;

		close_of(r, &l);
		assert_int_equal(view_of(r, !master, &l).state, CONN_LIVE);
		refusing = how == 0 ? REFUSES_INIT : how == 1 ? REFUSES_PACKET : REFUSES_NONE;
		s->store.embryonic += how == 2 ? 4 : 0; // no more are taken
		rack_send(r, TRIPOD_INCOMING, &syn);
		rack_run_ms(r, 20);
		s->store.embryonic -= how == 2 ? 4 : 0;
		assert_true(!rack_conn(r, !master, &l.key, &v) || v.state == CONN_TOMBSTONE);
		uint64_t before = told(r);
		rack_send(r, TRIPOD_INCOMING, &syn);
		rack_run_ms(r, 20);
		if (how < 2)
			assert_int_equal(told(r), before);
		refusing = REFUSES_NONE;
		rack_run_ms(r, CLOSED_MS + 15000);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(node_shard(rack_node(r, i), 0)->store.used, 0);
		rack_check(r);
		rack_free(r);
	}
}

// The next life begins before anybody has been told that TCP has closed: the switch may send its packets to who
// has a copy of the last. That is told at once, long before the close would be.
static void life__reopening_is_told_at_once(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	struct life l = open_of(r, 1000);
	unsigned master = master_of(r, &l);

	for (unsigned n = 0; n < 4; n++) {
		hand_in(r, &l, n == 1 || n == 2, n % 2 == 0 ? FIN | ACK : ACK);
		rack_step(r);
		rack_step(r);
	}
	assert_int_equal(view_of(r, master, &l).tcp, TCP_CLOSED);
	assert_int_equal(view_of(r, !master, &l).tcp, TCP_ESTABLISHED);
	uint64_t incarnation = view_of(r, master, &l).incarnation;
	l.seq[0] = 500000;
	hand_in(r, &l, true, SYN);
	for (unsigned n = 0; n < 6; n++)
		rack_step(r);
	assert_true(view_of(r, master, &l).incarnation > incarnation);
	assert_int_equal(view_of(r, !master, &l).state, CONN_TOMBSTONE);
	rack_run_ms(r, 20);
	rack_check(r);
	rack_free(r);
}

static bool lose_all_logs(void *ctx, unsigned from, const struct frame *f)
{
	return rack_message(f) == WIRE_LOG;
}

// The SYN is repeated where the ports were used before, and an NF refuses it there. Another node has opened the next
// life for the first SYN: the end of what has come to nothing is not the end of that, though it began later.
static void life__refused_ends_no_other(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2, .nf2 = &GATE});
	struct life l = open_of(r, 1000);
	unsigned master = master_of(r, &l);

	close_of(r, &l);
	rack_run_ms(r, 50);
	rack_port(r, master, false);
	l.seq[0] = 500000;
	send_of(r, &l, true, SYN);
	rack_tap(r, lose_all_logs, NULL);
	send_of(r, &l, false, SYN | ACK);
	struct conn_view next = view_of(r, !master, &l);
	assert_int_equal(next.state, CONN_LIVE);
	assert_int_equal(next.tcp, TCP_SYN_RECEIVED);
	rack_run_ms(r, 300);
	rack_port(r, master, true);
	rack_port(r, !master, false);
	struct store *st = &node_shard(rack_node(r, master), 0)->store;
	uint32_t i = store_find_hash(st, store_hash(st, &l.key));
	holders_unmark(store_repl(st, i), HOLDER_ACKED, 1ull << !master); // for all that it knows
	refusing = REFUSES_INIT;
	send_of(r, &l, true, SYN);
	refusing = REFUSES_NONE;
	rack_tap(r, NULL, NULL);
	rack_run_ms(r, 1000); // the longest time until a log is sent again
	struct conn_view v = view_of(r, !master, &l);
	assert_int_equal(v.state, CONN_LIVE);
	assert_int_equal(v.tcp, TCP_SYN_RECEIVED);
	assert_true(v.incarnation >= next.incarnation);
	rack_check(r);
	rack_free(r);
}

// Who counts as dead is told when it is back, as it is of any other end.
static void life__reopening_in_vain_is_told_later(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2, .nf2 = &GATE});
	struct life l = open_of(r, 1000);
	unsigned master = master_of(r, &l);
	struct conn_view v;

	rack_freeze(r, !master);
	rack_run_ms(r, 400);
	assert_int_equal(node_shard(rack_node(r, master), 0)->live, 1u << master);
	close_of(r, &l);
	refusing = REFUSES_INIT;
	l.seq[0] = 500000;
	send_of(r, &l, true, SYN);
	refusing = REFUSES_NONE;
	rack_thaw(r, !master);
	rack_run_ms(r, 400);
	assert_true(!rack_conn(r, !master, &l.key, &v) || v.state == CONN_TOMBSTONE);
	rack_check(r);
	rack_free(r);
}

// Nor does the flood that puts out the unanswered put out one whose end others would have to be told of.
static void life__reopened_is_not_put_out(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2, .embryonic = 4});
	struct life l = open_of(r, 1000), other = {.port = 2000};
	unsigned master = master_of(r, &l), sent = 0;

	close_of(r, &l);
	l.seq[0] = 500000;
	send_of(r, &l, true, SYN);
	for (; sent < 12; other.port++) {
		if (master_of(r, &other) != master)
			continue;
		send_of(r, &other, true, SYN);
		sent++;
	}
	assert_int_equal(rack_counter(r, (int)master, C_connections_evicted), 9);
	assert_int_equal(view_of(r, master, &l).state, CONN_LIVE);
	assert_int_equal(view_of(r, master, &l).tcp, TCP_SYN_SENT);
	rack_free(r);
}

// Ends what was opened first to last, on the node that has it.
static void end_all(struct rack *r, const struct flow *f, unsigned n)
{
	struct shard *s = node_shard(rack_node(r, 0), 0);

	for (unsigned i = 0; i < n; i++) {
		struct store_hit hit =
			store_find(&s->store, &f[i].key, store_hash(&s->store, &f[i].key));
		assert_int_equal(hit.what, STORE_CONN);
		conn_close(s, hit.index, TRIPOD_TERMINATED);
	}
	rack_run_ms(r, 300); // more than a slot of the wheel
}

// A table that is full of what has ended takes the next all the same: who ended first is forgotten. Not while a
// holder has not heard of the end, be it alive or dead, nor at once.
static void life__the_dead_make_room(void **state)
{
	enum { ROOM = 16, HALF = ROOM / 2, TOLD = 0, UNTOLD, DEAD, LIVING, HOWS };

	for (unsigned how = 0; how < HOWS; how++) {
		struct rack *r = settled_rack(
			(struct rack_conf){.nodes = 2, .connections = ROOM, .embryonic = 2 * ROOM});
		static struct flow f[ROOM], next[HALF];
		unsigned master = 0;
		struct conn_view v;

		rack_port(r, 1, false);
		rack_run_ms(r, 50);
		if (how == LIVING) { // in the places of others
			assert_int_equal(flows_open(r, f, ROOM, ROOM, SERVER), ROOM);
			end_all(r, f, ROOM);
			rack_run_ms(r, 6000);
		}
		assert_int_equal(flows_open(r, f, 0, ROOM, SERVER), ROOM);
		rack_run_ms(r, how == LIVING ? 1100 : 50);
		if (how == UNTOLD || how == DEAD)
			rack_tap(r, lose_logs, &master);
		if (how != LIVING) {
			end_all(r, f, HALF);
			end_all(r, f + HALF, HALF);
		}
		if (how == DEAD)
			rack_kill(r, 1);
		rack_run_ms(r, 300);
		bool room = how == TOLD;
		unsigned opened = flows_open(r, next, ROOM, HALF, SERVER);
		assert_int_equal(opened, room ? HALF : 0);
		assert_int_equal(rack_counter(r, 0, C_ended_evicted), room ? HALF : 0);
		assert_int_equal(rack_counter(r, 0, C_drop_table_full), room ? 0 : HALF);
		for (unsigned i = 0; room && i < ROOM; i++)
			assert_int_equal(rack_conn(r, 0, &f[i].key, &v), i >= HALF);
		rack_run_ms(r, 20); // and so do copies
		for (unsigned i = 0; room && i < HALF; i++)
			assert_int_equal(rack_copies(r, &next[i].key), 2);
		rack_check(r);
		rack_free(r);
	}
}

// So does what TCP has closed, on its master and on who has a copy, but for a second in which its last packets may
// be repeated.
static void life__the_closed_make_room(void **state)
{
	enum { ROOM = 16 };

	for (unsigned how = 0; how < 3; how++) {
		struct rack *r = settled_rack((struct rack_conf){.nodes = 2, .connections = ROOM});
		static struct flow f[ROOM], next;
		unsigned master = 0;

		rack_port(r, 1, false);
		rack_run_ms(r, 50);
		assert_int_equal(flows_open(r, f, 0, ROOM, SERVER), ROOM);
		rack_run_ms(r, 50);
		if (how == 2)
			rack_tap(r, lose_logs, &master); // the other does not hear of it
		for (unsigned i = 0; i < ROOM; i++)
			flow_from_client(r, &f[i], TRIPOD_TCP_RST | ACK, 0);
		rack_run_ms(r, how == 0 ? 900 : 1100);
		unsigned opened = flows_open(r, &next, ROOM, 1, SERVER);
		assert_int_equal(opened, how == 1);
		rack_run_ms(r, 20);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(rack_counter(r, (int)i, C_ended_evicted), how == 1);
		assert_int_equal(rack_counter(r, 0, C_connections_closed_tcp), how == 1);
		assert_int_equal(rack_copies(r, &next.key), how == 1 ? 2 : 0);
		rack_check(r);
		rack_free(r);
	}
}

// What ended a moment ago stays: packets of it may still be under way.
static void life__the_dead_stay_a_moment(void **state)
{
	enum { ROOM = 16 };
	struct rack *r = settled_rack((struct rack_conf){.nodes = 1, .connections = ROOM});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	static struct flow f[ROOM], next;

	assert_int_equal(flows_open(r, f, 0, ROOM, SERVER), ROOM);
	for (uint32_t i = 1; i <= ROOM; i++)
		conn_close(s, i, TRIPOD_TERMINATED);
	assert_int_equal(flows_open(r, &next, ROOM, 1, SERVER), 0);
	assert_int_equal(rack_counter(r, 0, C_drop_table_full), 1);
	rack_run_ms(r, 2 * STRAGGLER_MS);
	assert_int_equal(flows_open(r, &next, ROOM, 1, SERVER), 1);
	assert_int_equal(rack_counter(r, 0, C_ended_evicted), 1);
	rack_check(r);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(life__four_records),
		cmocka_unit_test(life__what_can_wait_waits),
		cmocka_unit_test(life__who_has_not_heard_of_the_close_is_told),
		cmocka_unit_test(life__death_amid_the_close),
		cmocka_unit_test(life__moved_amid_the_close),
		cmocka_unit_test(life__parted_directions_close),
		cmocka_unit_test(life__parted_directions_late_acknowledgement),
		cmocka_unit_test(life__parted_directions_end_is_told),
		cmocka_unit_test(life__what_has_ended_makes_way),
		cmocka_unit_test(life__reopening_in_vain_is_told),
		cmocka_unit_test(life__reopening_is_told_at_once),
		cmocka_unit_test(life__refused_ends_no_other),
		cmocka_unit_test(life__reopening_in_vain_is_told_later),
		cmocka_unit_test(life__reopened_is_not_put_out),
		cmocka_unit_test(life__the_dead_make_room),
		cmocka_unit_test(life__the_closed_make_room),
		cmocka_unit_test(life__the_dead_stay_a_moment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
