// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/sums.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/shard.h"

struct sums sums;
static bool at_once; // within tripod_request()

static unsigned conn_of(const struct tripod_call *c)
{
	return ntohs(c->opening->sport) - 2000u;
}

static int request(struct tripod_call *c, uint32_t value)
{
	const struct shard *s = c->shard;
	unsigned n = conn_of(c), before = sums.runs;
	uint32_t under_way = s->requests.used;
	at_once = true;
	int error = tripod_request(c, &value, sizeof(value));
	at_once = false;

	sums.seen[n].busy += error == -EBUSY;
	sums.seen[n].full += error == -ENOSPC;
	sums.here += sums.runs > before;
	if (sums.runs > before && s->requests.used > under_way)
		sums.seen[n].adopted += value;
	if (error == 0 && sums.runs == before) {
		sums.seen[n].accepted += value;
		sums.seen[n].at |= 1ull << s->conf->id;
	}
	return error;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	uint8_t large[TRIPOD_REQUEST_MAX + 1] = {0};

	((struct sums_state *)tripod_state_soft(c))->soft++;
	if (p->payload_len >= SUMS_VALUE) {
		request(c, p->payload_len);
	} else if (p->payload_len == SUMS_SECOND) {
		assert_int_equal(request(c, 1), 0);
		assert_int_equal(request(c, 1), -EBUSY);
	} else if (p->payload_len == SUMS_END) {
		tripod_terminate(c);
	} else if (p->payload_len == SUMS_ASK_AND_END) {
		assert_int_equal(request(c, 1000), 0);
		tripod_terminate(c);
	} else if (p->payload_len == SUMS_ODD) {
		sums.seen[conn_of(c)].odd += tripod_request(c, large, sizeof(large)) == -EINVAL;
		request(c, SUMS_ODD);
	}
	return TRIPOD_FORWARD;
}

static void on_request(struct tripod_call *c, const void *data, size_t size)
{
	uint32_t value;
	struct sums_state *w = tripod_state_rw(c);

	assert_non_null(w);
	assert_true(c->from_initiator);
	assert_int_equal(size, sizeof(value));
	memcpy(&value, data, sizeof(value));
	*(at_once ? &w->own : &w->sum) += value;
	sums.runs++;
	if (value == SUMS_ODD)
		assert_int_equal(tripod_request(c, &value, sizeof(value)), -EINVAL);
}

static void on_close(struct tripod_call *c, enum tripod_reason why)
{
	sums.closed++;
	sums.closed_sum = ((const struct sums_state *)c->state)->sum;
}

static const struct tripod_field fields[] = {
	TRIPOD_FIELD(struct sums_state, sum, DURABLE, UINT),
	TRIPOD_FIELD(struct sums_state, own, DURABLE, UINT),
	TRIPOD_FIELD(struct sums_state, soft, SOFT, UINT),
	{0},
};
static const char *const no_counters[] = {NULL};
static const struct tripod_nf NF = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "sum",
	.summary = "test",
	.state_size = sizeof(struct sums_state),
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
		.dst = SUMS_SERVER,
		.sport = (uint16_t)(2000 + n),
		.dport = 53,
		.payload_len = payload};

	return back ? (struct frame_spec){.proto = IPPROTO_UDP,
			      .src = SUMS_SERVER,
			      .dst = "198.18.0.1",
			      .sport = 53,
			      .dport = (uint16_t)(2000 + n),
			      .payload_len = payload}
		    : f;
}

void sums_client(struct rack *r, unsigned n, unsigned payload)
{
	struct frame_spec f = packet(n, false, payload);
	rack_send(r, TRIPOD_INCOMING, &f);
}

void sums_server(struct rack *r, unsigned n, unsigned payload)
{
	struct frame_spec f = packet(n, true, payload);
	rack_send(r, TRIPOD_OUTGOING, &f);
}

unsigned sums_writer(struct rack *r, unsigned n)
{
	struct frame_spec f = packet(n, false, 1);
	return rack_hash(r, &f, TRIPOD_INCOMING);
}

unsigned sums_other(struct rack *r, unsigned n)
{
	struct frame_spec f = packet(n, true, 1);
	return rack_hash(r, &f, TRIPOD_OUTGOING);
}

struct tripod_tuple sums_key(unsigned n)
{
	struct tripod_tuple key = {
		.sport = htons((uint16_t)(2000 + n)), .dport = htons(53), .proto = IPPROTO_UDP};
	tripod_addr_parse(&key.src, "198.18.0.1");
	tripod_addr_parse(&key.dst, SUMS_SERVER);
	return key;
}

// The first connection whose directions are two nodes'.
unsigned sums_split(struct rack *r)
{
	unsigned n = 0;

	while (sums_writer(r, n) == sums_other(r, n))
		n++;
	return n;
}

struct rack *sums_rack(struct rack_conf c)
{
	memset(&sums, 0, sizeof(sums));
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

void sums_open(struct rack *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sums_client(r, i, 1);
	rack_run_ms(r, 60);
	for (unsigned i = 0; i < n; i++)
		sums_server(r, i, 1);
	rack_run_ms(r, 60);
}

uint32_t sums_at(struct rack *r, unsigned node, unsigned n)
{
	struct tripod_tuple key = sums_key(n);
	struct conn_view v;
	uint32_t sum;

	if (!rack_conn(r, node, &key, &v))
		return UINT32_MAX;
	memcpy(&sum, v.nf_state, sizeof(sum));
	return sum;
}

// Requests under way on all workers.
unsigned sums_under_way(struct rack *r)
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
void sums_assert(struct rack *r, unsigned n, uint32_t want)
{
	struct tripod_tuple key = sums_key(n);
	unsigned copies = 0;
	struct conn_view v;

	for (unsigned i = 0; i < RACK_NODES; i++) {
		if (rack_node(r, i) == NULL || !rack_conn(r, i, &key, &v))
			continue;
		copies++;
		uint32_t sum = sums_at(r, i, n);
		if (sum != want)
			print_message("connection %u on node %u: %u, not %u\n", n, i, sum, want);
		assert_int_equal(sum, want);
	}
	assert_true(copies >= 2);
}

void sums_done(struct rack *r)
{
	assert_int_equal(sums_under_way(r), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_control_bad), 0);
	rack_check(r);
	assert_int_equal(rack_buffers_lost(r), 0);
	rack_free(r);
}
