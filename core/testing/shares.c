// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/shares.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct state {
	uint32_t soft; // result of the take
};
struct label {
	uint64_t label; // the first that was proposed
};

unsigned shares_told[4];
bool shares_open;

static bool claim(const struct tripod_call *c, struct tripod_kind_claim *out)
{
	uint64_t proposed = ntohs(c->opening->sport);

	out->key.src = c->opening->src;
	memcpy(out->data, &proposed, sizeof(proposed));
	out->size = sizeof(proposed);
	return true;
}

static void update(struct tripod_kind_update *u)
{
	uint64_t left = u->others < SHARES_MAX ? SHARES_MAX - u->others : 0;
	struct label *l = u->state;

	assert_int_equal(u->size, sizeof(l->label));
	if (l->label == 0)
		memcpy(&l->label, u->data, sizeof(l->label));
	u->units = u->wanted < left ? u->wanted : (uint32_t)left;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
	int result = tripod_kind_take(c);

	((struct state *)tripod_state_soft(c))->soft = (uint32_t)-result;
	shares_told[3] += result == 0;
	return result == 0 || result == -EAGAIN || (shares_open && result != -EDQUOT)
		       ? TRIPOD_FORWARD
		       : TRIPOD_DROP;
}

static enum tripod_verdict on_packet(struct tripod_call *c, struct tripod_packet *p)
{
	struct state *s = tripod_state_soft(c);

	if (s->soft == EAGAIN)
		return TRIPOD_HOLD;
	if (p->payload_len == SHARES_END)
		tripod_terminate(c);
	return TRIPOD_FORWARD;
}

static void on_kind(struct tripod_call *c, int result)
{
	shares_told[result == 0 ? 0 : result == -EDQUOT ? 1 : 2]++;
	((struct state *)tripod_state_soft(c))->soft = 0;
	if (result == 0 || (shares_open && result == -ETIMEDOUT))
		tripod_release(c);
	else
		tripod_terminate(c);
}

static const struct tripod_field fields[] = {
	TRIPOD_FIELD(struct state, soft, SOFT, UINT),
	{0},
};
static const char *const no_counters[] = {NULL};
static const struct tripod_kind KIND = {
	.layout_version = 1,
	.state_size = sizeof(struct label),
	.idle_ms = 60000,
	.claim = claim,
	.update = update,
};
static const struct tripod_kind SOFT_KIND = {
	.layout_version = 1,
	.state_size = sizeof(struct label),
	.soft = true,
	.claim = claim,
	.update = update,
};
#define NF_OF(kind_)                                                                               \
	{                                                                                          \
		.abi = TRIPOD_NF_ABI, .layout_version = 1, .name = "shares", .summary = "test",    \
		.state_size = sizeof(struct state), .fields = fields, .counters = no_counters,     \
		.on_init = on_init, .on_packet = on_packet, .kind = &kind_, .on_kind = on_kind,    \
	}
const struct tripod_nf shares_nf = NF_OF(KIND), shares_soft = NF_OF(SOFT_KIND);

// ---- Packets ----

struct frame_spec shares_packet(unsigned source, unsigned n, bool back, unsigned payload)
{
	static char client[32]; // the caller sends it before the next
	struct frame_spec f = {.proto = IPPROTO_UDP, .payload_len = payload};

	snprintf(client, sizeof(client), "198.18.%u.%u", source >> 8, source & 255);
	f.src = back ? SHARES_SERVER : client;
	f.dst = back ? client : SHARES_SERVER;
	f.sport = (uint16_t)(back ? 53 : 2000 + n);
	f.dport = (uint16_t)(back ? 2000 + n : 53);
	return f;
}

void shares_client(struct rack *r, unsigned source, unsigned n, unsigned payload)
{
	struct frame_spec f = shares_packet(source, n, false, payload);
	rack_send(r, TRIPOD_INCOMING, &f);
}

static void shares_server(struct rack *r, unsigned source, unsigned n, unsigned payload)
{
	struct frame_spec f = shares_packet(source, n, true, payload);
	rack_send(r, TRIPOD_OUTGOING, &f);
}

struct shares_through shares_arrived(struct rack *r, unsigned source)
{
	static struct rack_arrival a[4096];
	unsigned n = rack_arrivals(r, TRIPOD_OUTGOING, a, 4096);
	struct shares_through t = {0};

	for (unsigned k = 0; k < n; k++) {
		uint32_t from = ntohl(tripod_addr_get_v4(&a[k].tuple.src)) & 0xffff;
		unsigned conn = ntohs(a[k].tuple.sport) - 2000u;
		if (from != source || conn >= SHARES_CONNS || t.of[conn])
			continue;
		t.of[conn] = true;
		t.n++;
		t.nodes |= 1ull << a[k].from_node;
		shares_server(r, source, conn, 1);
	}
	return t;
}

struct shares_through shares_opened(struct rack *r, unsigned source, unsigned first, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		shares_client(r, source, first + k, 1);
	rack_run_ms(r, 120);
	struct shares_through t = shares_arrived(r, source);
	rack_run_ms(r, 20);
	return t;
}

struct kind_key shares_key(struct rack *r, unsigned source)
{
	struct kind_key key = {.kind = rack_chain(r)->nf[0].kind};

	key.tuple.src = tripod_addr_v4(htonl(198u << 24 | 18 << 16 | source));
	key.tuple.kind = TRIPOD_KIND_SHARE;
	return key;
}

static struct shard *shares_shard(struct rack *r, unsigned node, unsigned worker)
{
	struct node *n = rack_node(r, node);
	return n == NULL || worker >= n->conf.workers ? NULL : node_shard(n, worker);
}

const struct kind_entry *shares_entry(struct rack *r, unsigned node, unsigned source)
{
	struct kind_key key = shares_key(r, source);

	for (unsigned w = 0; w < WORKERS_MAX; w++) {
		struct shard *s = shares_shard(r, node, w);
		uint32_t k = s == NULL ? 0 : kind_find(&s->kinds.entries, kind_hash(s, &key), &key);
		if (k != 0)
			return kind_entry_at(s, k);
	}
	return NULL;
}

unsigned shares_held(struct rack *r, unsigned source)
{
	struct kind_key key = shares_key(r, source);
	unsigned n = 0;

	for (unsigned i = 0; i < RACK_NODES; i++) {
		for (unsigned w = 0; w < WORKERS_MAX; w++) {
			struct shard *s = shares_shard(r, i, w);
			uint32_t k =
				s == NULL ? 0
					  : kind_find(&s->kinds.claims, kind_hash(s, &key), &key);
			n += k == 0 ? 0 : kind_claim_at(s, k)->held;
		}
	}
	return n;
}

int shares_writer(struct rack *r, unsigned source)
{
	for (unsigned i = 0; i < RACK_NODES; i++) {
		const struct kind_entry *e = shares_entry(r, i, source);
		if (e != NULL && e->writer == i)
			return (int)i;
	}
	return -1;
}

unsigned shares_units(const struct kind_entry *e)
{
	unsigned n = 0;

	for (unsigned p = 0; p < e->n_parts; p++)
		n += e->part[p].units;
	return n;
}

void shares_assert_entry(struct rack *r, unsigned source, unsigned copies, unsigned want)
{
	const struct kind_entry *first = NULL;
	unsigned n = 0;

	int writer = shares_writer(r, source);
	uint64_t have = 1ull << writer | shares_entry(r, (unsigned)writer, source)->targets;

	for (unsigned i = 0; i < RACK_NODES; i++) {
		const struct kind_entry *e = shares_entry(r, i, source);
		if (e == NULL || !(have & 1ull << i))
			continue; // it was to have a copy once
		n++;
		first = first == NULL ? e : first;
		assert_int_equal(shares_units(e), want);
		assert_int_equal(e->epoch, first->epoch);
		assert_int_equal(e->version, first->version);
		assert_int_equal(e->writer, first->writer);
		assert_memory_equal(e->state, first->state, sizeof(e->state));
	}
	assert_int_equal(n, copies);
	assert_int_equal(shares_held(r, source), want);
}

struct rack *shares_rack(struct rack_conf c)
{
	memset(shares_told, 0, sizeof(shares_told));
	shares_open = false;
	c.nodes = c.nodes ? c.nodes : 4;
	c.workers = c.workers ? c.workers : 1;
	c.backups = c.backups ? c.backups : 2;
	c.seed = c.seed ? c.seed : 3;
	c.nf = c.nf ? c.nf : &shares_nf;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

void shares_done(struct rack *r)
{
	assert_int_equal(rack_counter(r, -1, C_drop_control_bad), 0);
	assert_int_equal(rack_counter(r, -1, C_drop_control_forged), 0);
	rack_check(r);
	assert_int_equal(rack_buffers_lost(r), 0);
	rack_free(r);
}
