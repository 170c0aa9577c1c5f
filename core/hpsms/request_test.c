// SPDX-License-Identifier: BSD-3-Clause
// Requests on the real core, the two directions of each connection on two nodes.
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/rack.h"

#define SERVER "10.1.0.101"
#define CONNS 64
#define SECOND 7 // payload of the packet that asks twice
#define END 8 // ... that ends the connection
#define ASK_AND_END 9
#define ODD 11 // ... that asks for what cannot be
#define VALUE 100 // ... of this and more: its length is added to the sum

// ---- An NF that counts at the one who writes what both directions ask for ----

struct state {
	uint32_t sum; // of requests from another node
	uint32_t own; // of those that ran at once: changes of the writer's, like any other
	uint32_t soft;
};

// What NFs saw on all nodes, by connection (the initiator's port).
static struct {
	uint32_t accepted; // sum of what was accepted and did not run at once
	uint64_t at; // nodes that accepted some
	unsigned busy, full, odd;
} seen[CONNS];
static unsigned runs, here; // on_request() calls; those within the call that asked
static bool at_once; // within tripod_request()
static unsigned closed;
static uint32_t closed_sum;

static unsigned conn_of(const struct tripod_call *c)
{
	return ntohs(c->opening->sport) - 2000u;
}

static int request(struct tripod_call *c, uint32_t value)
{
	unsigned n = conn_of(c), before = runs;
	at_once = true;
	int error = tripod_request(c, &value, sizeof(value));
	at_once = false;

	seen[n].busy += error == -EBUSY;
	seen[n].full += error == -ENOSPC;
	here += runs > before;
	if (error == 0 && runs == before) {
		seen[n].accepted += value;
		seen[n].at |= 1ull << ((const struct shard *)c->shard)->conf->id;
	}
	return error;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	uint8_t large[TRIPOD_REQUEST_MAX + 1] = {0};

	((struct state *)tripod_state_soft(c))->soft++;
	if (p->payload_len >= VALUE) {
		request(c, p->payload_len);
	} else if (p->payload_len == SECOND) {
		assert_int_equal(request(c, 1), 0);
		assert_int_equal(request(c, 1), -EBUSY);
	} else if (p->payload_len == END) {
		tripod_terminate(c);
	} else if (p->payload_len == ASK_AND_END) {
		assert_int_equal(request(c, 1000), 0);
		tripod_terminate(c);
	} else if (p->payload_len == ODD) {
		seen[conn_of(c)].odd += tripod_request(c, large, sizeof(large)) == -EINVAL;
		request(c, ODD);
	}
	return TRIPOD_FORWARD;
}

static void on_request(struct tripod_call *c, const void *data, size_t size)
{
	uint32_t value;
	struct state *w = tripod_state_rw(c);

	assert_non_null(w);
	assert_true(c->from_initiator);
	assert_int_equal(size, sizeof(value));
	memcpy(&value, data, sizeof(value));
	*(at_once ? &w->own : &w->sum) += value;
	runs++;
	if (value == ODD)
		assert_int_equal(tripod_request(c, &value, sizeof(value)), -EINVAL);
}

static void on_close(struct tripod_call *c, enum tripod_reason why)
{
	closed++;
	closed_sum = ((const struct state *)c->state)->sum;
}

static const struct tripod_field fields[] = {
	TRIPOD_FIELD(struct state, sum, DURABLE, UINT),
	TRIPOD_FIELD(struct state, own, DURABLE, UINT),
	TRIPOD_FIELD(struct state, soft, SOFT, UINT),
	{0},
};
static const char *const no_counters[] = {NULL};
static const struct tripod_nf NF = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "sum",
	.summary = "test",
	.state_size = sizeof(struct state),
	.fields = fields,
	.counters = no_counters,
	.on_packet = on_packet,
	.on_close = on_close,
	.on_request = on_request,
};

// ---- Packets ----

static struct frame_spec packet(unsigned n, bool back, unsigned payload)
{
	struct frame_spec f = {.proto = IPPROTO_UDP,
		.src = "198.18.0.1",
		.dst = SERVER,
		.sport = (uint16_t)(2000 + n),
		.dport = 53,
		.payload_len = payload};

	return back ? (struct frame_spec){.proto = IPPROTO_UDP,
			      .src = SERVER,
			      .dst = "198.18.0.1",
			      .sport = 53,
			      .dport = (uint16_t)(2000 + n),
			      .payload_len = payload}
		    : f;
}

static void client(struct rack *r, unsigned n, unsigned payload)
{
	struct frame_spec f = packet(n, false, payload);
	rack_send(r, TRIPOD_INCOMING, &f);
}

static void server(struct rack *r, unsigned n, unsigned payload)
{
	struct frame_spec f = packet(n, true, payload);
	rack_send(r, TRIPOD_OUTGOING, &f);
}

static unsigned writer_of(struct rack *r, unsigned n)
{
	struct frame_spec f = packet(n, false, 1);
	return rack_hash(r, &f, TRIPOD_INCOMING);
}

static unsigned other_of(struct rack *r, unsigned n)
{
	struct frame_spec f = packet(n, true, 1);
	return rack_hash(r, &f, TRIPOD_OUTGOING);
}

static struct tripod_tuple key_of(unsigned n)
{
	struct tripod_tuple key = {
		.sport = htons((uint16_t)(2000 + n)), .dport = htons(53), .proto = IPPROTO_UDP};
	tripod_addr_parse(&key.src, "198.18.0.1");
	tripod_addr_parse(&key.dst, SERVER);
	return key;
}

// The first connection whose directions are two nodes'.
static unsigned split(struct rack *r)
{
	unsigned n = 0;

	while (writer_of(r, n) == other_of(r, n))
		n++;
	return n;
}

static struct rack *rack_of(struct rack_conf c)
{
	memset(seen, 0, sizeof(seen));
	runs = here = closed = closed_sum = 0;
	c.nodes = c.nodes ? c.nodes : 4;
	c.workers = c.workers ? c.workers : 1;
	c.backups = c.backups ? c.backups : 2;
	c.seed = c.seed ? c.seed : 3;
	c.nf = c.nf ? c.nf : &NF;
	c.split = true;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

static void opened(struct rack *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		client(r, i, 1);
	rack_run_ms(r, 60);
	for (unsigned i = 0; i < n; i++)
		server(r, i, 1);
	rack_run_ms(r, 60);
}

static uint32_t sum_at(struct rack *r, unsigned node, unsigned n)
{
	struct tripod_tuple key = key_of(n);
	struct conn_view v;
	uint32_t sum;

	if (!rack_conn(r, node, &key, &v))
		return UINT32_MAX;
	memcpy(&sum, v.nf_state, sizeof(sum));
	return sum;
}

// Requests under way on all workers.
static unsigned under_way(struct rack *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RACK_NODES; i++) {
		for (unsigned w = 0; rack_node(r, i) != NULL && w < rack_node(r, i)->conf.workers;
			w++)
			n += node_shard(rack_node(r, i), w)->requests.used;
	}
	return n;
}

// All live copies of connection n have this sum, and there are at least two.
static void assert_sum(struct rack *r, unsigned n, uint32_t want)
{
	struct tripod_tuple key = key_of(n);
	unsigned copies = 0;
	struct conn_view v;

	for (unsigned i = 0; i < RACK_NODES; i++) {
		if (rack_node(r, i) == NULL || !rack_conn(r, i, &key, &v))
			continue;
		copies++;
		uint32_t sum = sum_at(r, i, n);
		if (sum != want)
			print_message("connection %u on node %u: %u, not %u\n", n, i, sum, want);
		assert_int_equal(sum, want);
	}
	assert_true(copies >= 2);
}

static void done(struct rack *r)
{
	assert_int_equal(under_way(r), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_control_bad), 0);
	rack_check(r);
	assert_int_equal(rack_buffers_lost(r), 0);
	rack_free(r);
}

// ---- One thing at a time ----

static void request__from_the_other_direction(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	unsigned n = split(r), other = other_of(r, n);

	opened(r, n + 1);
	server(r, n, VALUE);
	rack_run_ms(r, 5);
	assert_sum(r, n, VALUE);
	assert_int_equal(here, 0);
	assert_int_equal(rack_counter(r, (int)writer_of(r, n), C_requests_applied), 1);
	assert_int_equal(rack_counter(r, (int)other, C_requests_tx), 1);
	assert_int_equal(under_way(r), 1); // all copies have it, but who asked does not know yet
	server(r, n, VALUE + 1);
	rack_run_ms(r, 3);
	assert_int_equal(seen[n].busy, 1);
	assert_int_equal(rack_counter(r, (int)other, C_request_busy), 1);
	rack_run_ms(r, 10);
	assert_int_equal(under_way(r), 0);
	server(r, n, VALUE + 2);
	rack_run_ms(r, 5);
	assert_sum(r, n, 2 * VALUE + 2);
	// Soft state of the node that asked is its own: no change that came has touched it.
	struct tripod_tuple key = key_of(n);
	struct conn_view v;
	assert_true(rack_conn(r, other, &key, &v));
	assert_int_equal(((const struct state *)v.nf_state)->soft, 4);
	rack_run_ms(r, 300);
	assert_int_equal(rack_counter(r, -1, C_requests_applied), 2);
	assert_int_equal(rack_counter(r, -1, C_requests_tx), 4);
	done(r);
}

static void request__runs_at_once_where_it_may(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});

	opened(r, 1);
	client(r, 0, VALUE);
	client(r, 0, VALUE + 1);
	client(r, 0, ODD);
	rack_run_ms(r, 5);
	assert_int_equal(here, 3);
	assert_int_equal(seen[0].odd, 1);
	assert_sum(r, 0, 0);
	struct tripod_tuple key = key_of(0);
	struct conn_view v;
	assert_true(rack_conn(r, (writer_of(r, 0) + 1) % 2, &key, &v));
	assert_int_equal(((const struct state *)v.nf_state)->own, 2 * VALUE + 1 + ODD);
	assert_int_equal(rack_counter(r, -1, C_requests_tx), 0);
	done(r);
}

static void request__one_at_a_time(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	unsigned n = split(r);

	opened(r, n + 1);
	server(r, n, SECOND);
	rack_run_ms(r, 30);
	assert_sum(r, n, 1);
	server(r, n, ODD);
	rack_run_ms(r, 30);
	assert_int_equal(seen[n].odd, 1);
	assert_sum(r, n, 1 + ODD);
	done(r);
}

static void request__limit(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.requests = 4});
	unsigned full = 0;

	opened(r, CONNS);
	for (unsigned n = 0; n < CONNS; n++)
		server(r, n, VALUE);
	rack_run_ms(r, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_true(node_shard(rack_node(r, i), 0)->requests.used <= 4);
	rack_run_ms(r, 60);
	for (unsigned n = 0; n < CONNS; n++) {
		full += seen[n].full;
		assert_sum(r, n, seen[n].accepted);
	}
	assert_true(full > 10);
	assert_int_equal(rack_counter(r, -1, C_request_full), full);
	for (unsigned n = 0; n < CONNS; n++) { // there is room again
		server(r, n, VALUE);
		rack_run_ms(r, 15);
		bool alone = writer_of(r, n) == other_of(r, n);
		assert_int_equal(seen[n].accepted, alone ? 0 : seen[n].full ? VALUE : 2 * VALUE);
	}
	rack_run_ms(r, 60);
	done(r);
}

// Soft state is of the time that a node handles a connection: both directions go, and come back.
static void soft__begins_anew(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct tripod_tuple key = key_of(0);
	unsigned node = writer_of(r, 0);
	struct conn_view v;

	opened(r, 1);
	for (unsigned i = 0; i < 5; i++)
		client(r, 0, 1);
	rack_run_ms(r, 5);
	rack_port(r, node, false);
	client(r, 0, 1);
	server(r, 0, 1);
	rack_run_ms(r, 150);
	rack_port(r, node, true);
	client(r, 0, 1);
	client(r, 0, 1);
	rack_run_ms(r, 5);
	assert_true(rack_conn(r, node, &key, &v));
	assert_int_equal(v.master[0], node);
	assert_int_equal(((const struct state *)v.nf_state)->soft, 2);
	done(r);
}

// ---- What peers may say ----

static void forge(struct rack *r, unsigned from, unsigned to, const struct wire_request *w)
{
	uint8_t message[WIRE_MESSAGE_MAX], frame[1600];
	uint8_t to_mac[6] = {2, 0, 0, 0, 0, (uint8_t)(to + 1)};
	uint8_t from_mac[6] = {2, 0, 0, 0, 0, (uint8_t)(from + 1)};
	char src[20], dst[20];
	struct wire_header h = {
		.type = WIRE_REQUEST,
		.from_node = (uint8_t)from,
		.to_node = (uint8_t)to,
		.count = 1,
		.cluster = 7,
		.boot = rack_node(r, from)->conf.boot,
		.to_boot = (uint32_t)rack_node(r, to)->conf.boot,
	};
	int size = wire_put_request(message + WIRE_HEADER_SIZE, 64, w);

	assert_true(size > 0);
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	snprintf(src, sizeof(src), "10.255.0.%u", from + 1);
	snprintf(dst, sizeof(dst), "10.255.0.%u", to + 1);
	size_t n = frames_build(frame, sizeof(frame),
		&(struct frame_spec){.src = src,
			.dst = dst,
			.proto = IPPROTO_UDP,
			.sport = CONTROL_PORT,
			.dport = CONTROL_PORT,
			.payload = message,
			.payload_len = h.length,
			.src_mac = from_mac,
			.dst_mac = to_mac});
	rack_inject(r, to, 30, frame, n);
	rack_run_ms(r, 4);
}

static struct wire_request request_of(struct rack *r, unsigned n, uint32_t seq, uint32_t value)
{
	struct tripod_tuple key = key_of(n);
	struct wire_request w = {
		.hash = store_hash(&node_shard(rack_node(r, 0), 0)->store, &key),
		.seq = seq,
		.size = sizeof(value),
	};
	struct conn_view v;

	assert_true(rack_conn(r, writer_of(r, n), &key, &v));
	w.incarnation = v.incarnation;
	memcpy(w.data, &value, sizeof(value));
	return w;
}

static void request__marks(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 7});
	unsigned writer = writer_of(r, 0), peer[6], n = 0;

	for (unsigned i = 0; i < 7; i++) {
		if (i != writer)
			peer[n++] = i;
	}
	opened(r, 1);
	struct wire_request w = request_of(r, 0, 5, 1);
	forge(r, peer[0], writer, &w);
	assert_int_equal(sum_at(r, writer, 0), 1);
	forge(r, peer[0], writer, &w); // repeated
	w.seq = 4; // late
	forge(r, peer[0], writer, &w);
	assert_int_equal(sum_at(r, writer, 0), 1);
	w.seq = 5; // of another's
	forge(r, peer[1], writer, &w);
	assert_int_equal(sum_at(r, writer, 0), 2);
	w.seq = UINT32_MAX; // long before
	forge(r, peer[1], writer, &w);
	assert_int_equal(sum_at(r, writer, 0), 2);
	w.seq = 6;
	forge(r, peer[0], writer, &w);
	forge(r, peer[2], writer, &w);
	forge(r, peer[3], writer, &w);
	assert_int_equal(sum_at(r, writer, 0), 5);
	for (unsigned k = 0; k < 4; k++)
		forge(r, peer[k], writer,
			&(struct wire_request){w.hash, w.incarnation, 5, 0, 4, {9}});
	assert_int_equal(sum_at(r, writer, 0), 5); // four are known, whoever came first
	forge(r, peer[4], writer, &w); // it was peer 1 that had asked least lately
	assert_int_equal(sum_at(r, writer, 0), 6);
	forge(r, peer[0], writer, &w);
	forge(r, peer[2], writer, &w);
	forge(r, peer[3], writer, &w);
	assert_int_equal(sum_at(r, writer, 0), 6);
	rack_run_ms(r, 50);
	assert_sum(r, 0, 6);
	done(r);
}

static void request__misdirected(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	unsigned n = split(r), writer = writer_of(r, n), other = other_of(r, n);

	opened(r, n + 1);
	struct wire_request w = request_of(r, n, 5, 1), wrong = w;
	wrong.incarnation++;
	forge(r, other, writer, &wrong);
	wrong = w;
	wrong.hash++;
	forge(r, other, writer, &wrong);
	assert_int_equal(rack_counter(r, (int)writer, C_request_misdirected), 2);
	// To one who has a copy and does not write: the sender is sent the record.
	uint64_t sent = rack_counter(r, (int)other, C_log_records_tx);
	forge(r, writer, other, &w);
	assert_int_equal(rack_counter(r, (int)other, C_request_misdirected), 1);
	assert_int_equal(rack_counter(r, (int)other, C_log_records_tx), sent + 1);
	assert_int_equal(runs, 0);
	wrong = w;
	wrong.nf = 1; // there is one
	forge(r, other, writer, &wrong);
	assert_int_equal(rack_counter(r, (int)writer, C_request_misdirected), 3);
	assert_int_equal(runs, 0);
	forge(r, other, writer, &w);
	assert_int_equal(runs, 1);
	rack_run_ms(r, 20);
	assert_sum(r, n, 1);
	done(r);
}

// A node that starts anew counts from 1 again. What it asks for now is not what it asked for before.
static void request__of_the_next_life(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	unsigned n = split(r), other = other_of(r, n);

	opened(r, n + 1);
	for (unsigned i = 0; i < 3; i++) {
		server(r, n, VALUE);
		rack_run_ms(r, 20);
	}
	assert_sum(r, n, 3 * VALUE);
	rack_kill(r, other);
	rack_run_ms(r, 300);
	rack_start(r, other);
	for (unsigned ms = 0; ms < 6000 && other_of(r, n) != other; ms += 100)
		rack_run_ms(r, 100);
	assert_int_equal(other_of(r, n), other);
	server(r, n, VALUE);
	rack_run_ms(r, 100);
	assert_int_equal(node_shard(rack_node(r, other), 0)->requests.seq, 1);
	assert_sum(r, n, 4 * VALUE);
	done(r);
}

// ---- Ends ----

static void terminates(struct rack_conf conf)
{
	struct rack *r = rack_of(conf);

	opened(r, CONNS);
	for (unsigned n = 0; n < CONNS; n++)
		server(r, n, END);
	rack_run_ms(r, conf.loss_percent > 0 ? 1500 : 5);
	for (unsigned n = 0; n < CONNS; n++) {
		struct tripod_tuple key = key_of(n);
		assert_int_equal(rack_copies(r, &key), 0);
	}
	assert_int_equal(closed, CONNS);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_terminated), CONNS);
	rack_run_ms(r, 200);
	done(r);
}

static void request__terminate(void **state)
{
	terminates((struct rack_conf){0});
	terminates((struct rack_conf){.workers = 2, .seed = 4});
	terminates((struct rack_conf){.loss_percent = 20, .seed = 5});
}

static struct frame_spec tcp_packet(bool back, uint8_t flags, uint32_t seq, unsigned payload)
{
	return (struct frame_spec){.src = back ? SERVER : "198.18.0.1",
		.dst = back ? "198.18.0.1" : SERVER,
		.sport = back ? 80 : 2000,
		.dport = back ? 2000 : 80,
		.tcp_flags = flags,
		.seq = seq,
		.ack = flags & TRIPOD_TCP_ACK ? (back ? 101 : 501) : 0,
		.payload_len = payload};
}

// An NF ends a TCP connection from the other direction: at once, as everywhere, and not as if reset.
static void request__terminate_tcp(void **state)
{
	struct rack *r = NULL;
	struct frame_spec syn = tcp_packet(false, TRIPOD_TCP_SYN, 100, 0);
	struct frame_spec answer = tcp_packet(true, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 500, 0);
	struct frame_spec ack = tcp_packet(false, TRIPOD_TCP_ACK, 101, 0);
	struct frame_spec end = tcp_packet(true, TRIPOD_TCP_ACK, 501, END);

	for (unsigned seed = 3; r == NULL; seed++) { // one that splits it
		r = rack_of((struct rack_conf){.seed = seed});
		if (rack_hash(r, &syn, TRIPOD_INCOMING) != rack_hash(r, &answer, TRIPOD_OUTGOING))
			break;
		rack_free(r);
		r = NULL;
	}
	rack_send(r, TRIPOD_INCOMING, &syn);
	rack_run_ms(r, 60);
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 60);
	rack_send(r, TRIPOD_INCOMING, &ack);
	rack_run_ms(r, 20);
	struct tripod_tuple key = {.sport = htons(2000), .dport = htons(80), .proto = IPPROTO_TCP};
	tripod_addr_parse(&key.src, "198.18.0.1");
	tripod_addr_parse(&key.dst, SERVER);
	assert_true(rack_copies(r, &key) >= 2);
	rack_send(r, TRIPOD_OUTGOING, &end);
	rack_run_ms(r, 5);
	assert_int_equal(rack_copies(r, &key), 0);
	assert_int_equal(closed, 1);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_terminated), 1);
	assert_int_equal(rack_counter(r, -1, C_requests_tx), 1);
	rack_run_ms(r, 200);
	done(r);
}

// The first request on the wire is lost.
static bool lose_first(void *ctx, unsigned from, const struct frame *f)
{
	unsigned *left = ctx;

	if (*left == 0 || f->vlan != 30 || f->len < 46 || f->data[45] != WIRE_REQUEST)
		return false;
	--*left;
	return true;
}

// What was accepted before is applied before the end.
static void request__asks_and_terminates(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.loss_percent = 20, .seed = 9});
	unsigned n = split(r), lose = 1;
	struct tripod_tuple key = key_of(n);

	opened(r, n + 1);
	rack_tap(r, lose_first, &lose);
	server(r, n, ASK_AND_END);
	rack_run_ms(r, 1500);
	assert_int_equal(rack_copies(r, &key), 0);
	assert_int_equal(closed, 1);
	assert_int_equal(closed_sum, 1000);
	assert_int_equal(lose, 0);
	rack_run_ms(r, 200);
	done(r);
}

// The writer dies with the request: the next one ends the connection.
static void request__terminate_survives_the_writer(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	unsigned n = split(r);
	struct tripod_tuple key = key_of(n);

	opened(r, n + 1);
	rack_kill(r, writer_of(r, n));
	server(r, n, END);
	rack_run_ms(r, 50);
	assert_true(rack_copies(r, &key) >= 1);
	rack_run_ms(r, 600);
	assert_int_equal(rack_copies(r, &key), 0);
	assert_int_equal(closed, 1);
	done(r);
}

// A connection that ends, or that is forgotten here, takes its request along.
static void request__ends_with_its_connection(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	unsigned n = split(r), writer = writer_of(r, n), other = other_of(r, n);

	opened(r, n + 1);
	rack_freeze(r, writer);
	server(r, n, VALUE);
	rack_run_ms(r, 5);
	assert_int_equal(under_way(r), 1);
	rack_run_ms(r, 71); // asked at 0, 10, 30 and 70 ms
	assert_int_equal(rack_counter(r, (int)other, C_requests_tx), 4);
	// The one who asked is told that the connection has ended.
	struct shard *s = node_shard(rack_node(r, other), 0);
	struct tripod_tuple key = key_of(n);
	struct store_hit hit = store_find(&s->store, &key, store_hash(&s->store, &key));
	conn_bury(s, hit.index, TRIPOD_TERMINATED);
	rack_run_ms(r, 90);
	assert_int_equal(s->requests.used, 0);
	assert_int_equal(rack_counter(r, (int)other, C_requests_ended), 1);
	assert_int_equal(rack_counter(r, (int)other, C_requests_tx), 4);
	rack_free(r);
}

// ---- Exactly once ----

static void request__with_loss(void **state)
{
	for (unsigned seed = 20; seed < 23; seed++) {
		struct rack *r = rack_of((struct rack_conf){
			.seed = seed, .loss_percent = 15, .workers = 1 + seed % 2});
		uint64_t total = 0;
		opened(r, CONNS);
		for (unsigned round = 0; round < 40; round++) {
			for (unsigned n = 0; n < CONNS; n++)
				server(r, n, VALUE + round);
			rack_run_ms(r, 7);
			rack_check(r);
		}
		rack_run_ms(r, 2000);
		for (unsigned n = 0; n < CONNS; n++) {
			assert_sum(r, n, seen[n].accepted);
			total += seen[n].accepted;
		}
		assert_true(runs - here > 300);
		// Nobody has died: nothing was applied twice, not even where it did not last.
		assert_int_equal(rack_counter(r, -1, C_requests_applied), runs - here);
		assert_true(rack_counter(r, -1, C_requests_tx) > 2 * (runs - here));
		assert_true(total > 0);
		done(r);
	}
}

// A shared part that changes all the time is never acknowledged as a whole. Requests go on.
static void request__of_a_restless_connection(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	unsigned n = split(r);

	opened(r, n + 1);
	for (unsigned step = 0; step < 14000; step++) { // of 50 us
		if (step % 4 == 0)
			client(r, n, VALUE);
		if (step % 200 == 0)
			server(r, n, VALUE + 1);
		rack_step(r);
	}
	assert_int_equal(rack_counter(r, (int)writer_of(r, n), C_requests_applied), 2);
	rack_run_ms(r, 700);
	assert_sum(r, n, seen[n].accepted);
	done(r);
}

// What a node that has died had accepted may be lost with it; all else is there once.
static unsigned check_sums(struct rack *r, uint64_t dead)
{
	unsigned exact = 0;

	for (unsigned n = 0; n < CONNS; n++) {
		if (seen[n].at & dead)
			continue;
		assert_sum(r, n, seen[n].accepted);
		exact += seen[n].accepted > 0;
	}
	return exact;
}

// Requests from one direction while the node that writes is killed after so many steps.
static unsigned killed_after(struct rack_conf conf, unsigned steps, bool talk)
{
	conf.nodes = 5;
	struct rack *r = rack_of(conf);
	unsigned victim = writer_of(r, split(r));

	opened(r, CONNS);
	for (unsigned step = 0; step < 400; step++) {
		for (unsigned n = step % 8; n < CONNS; n += 8)
			server(r, n, VALUE + step % 50);
		if (step == 60 + steps)
			rack_kill(r, victim);
		rack_step(r);
	}
	for (unsigned ms = 0; ms < 600; ms += 5) { // the switch and the others come to know
		for (unsigned n = 0; n < CONNS; n++) {
			server(r, n, VALUE);
			if (talk)
				client(r, n, 1);
		}
		rack_run_ms(r, 5);
	}
	rack_run_ms(r, 1500);
	unsigned exact = check_sums(r, 1ull << victim);
	assert_int_equal(rack_counter(r, -1, C_requests_ended), 0);
	assert_true(runs > here);
	done(r);
	return exact;
}

static void request__writer_killed_at_any_moment(void **state)
{
	unsigned exact = 0;

	for (unsigned steps = 0; steps < 240; steps += 12)
		exact += killed_after((struct rack_conf){.seed = 30 + steps % 5}, steps, steps & 4);
	assert_true(exact > 300);
}

static void request__writer_killed_with_loss(void **state)
{
	for (unsigned steps = 0; steps < 240; steps += 17)
		killed_after((struct rack_conf){.seed = 50 + steps % 7, .loss_percent = 15}, steps,
			steps & 1);
}

// The switch moves directions again and again: who asks changes, and who is asked.
static void moved(struct rack_conf conf)
{
	conf.nodes = 5;
	struct rack *r = rack_of(conf);
	struct rng rng = {conf.seed};

	opened(r, CONNS);
	for (unsigned round = 0; round < 60; round++) {
		unsigned node = rng_below(&rng, 5);
		rack_port(r, node, false);
		for (unsigned k = 0; k < 6; k++) {
			for (unsigned n = 0; n < CONNS; n++) {
				if (rng_below(&rng, 3) == 0)
					client(r, n, rng_below(&rng, 2) ? 1 : VALUE);
				server(r, n, VALUE + 1);
			}
			rack_run_ms(r, 1 + rng_below(&rng, 30));
		}
		rack_port(r, node, true);
		rack_run_ms(r, rng_below(&rng, 20));
	}
	rack_run_ms(r, 2000);
	unsigned applied = (unsigned)rack_counter(r, -1, C_requests_applied);
	assert_true(applied > 500);
	unsigned wrong = 0;
	for (unsigned n = 0; n < CONNS; n++) {
		uint32_t sum = sum_at(r, writer_of(r, n), n);
		wrong += sum != seen[n].accepted;
		if (sum != seen[n].accepted)
			print_message("seed %u connection %u: %u, not %u\n", (unsigned)conf.seed, n,
				sum, seen[n].accepted);
	}
	assert_int_equal(wrong, 0);
	done(r);
}

static void request__roles_move(void **state)
{
	moved((struct rack_conf){.seed = 70});
	moved((struct rack_conf){.seed = 71, .workers = 2});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request__from_the_other_direction),
		cmocka_unit_test(request__runs_at_once_where_it_may),
		cmocka_unit_test(request__one_at_a_time),
		cmocka_unit_test(request__limit),
		cmocka_unit_test(soft__begins_anew),
		cmocka_unit_test(request__marks),
		cmocka_unit_test(request__misdirected),
		cmocka_unit_test(request__of_the_next_life),
		cmocka_unit_test(request__terminate),
		cmocka_unit_test(request__terminate_tcp),
		cmocka_unit_test(request__asks_and_terminates),
		cmocka_unit_test(request__terminate_survives_the_writer),
		cmocka_unit_test(request__ends_with_its_connection),
		cmocka_unit_test(request__with_loss),
		cmocka_unit_test(request__of_a_restless_connection),
		cmocka_unit_test(request__writer_killed_at_any_moment),
		cmocka_unit_test(request__writer_killed_with_loss),
		cmocka_unit_test(request__roles_move),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
