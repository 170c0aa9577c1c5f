// SPDX-License-Identifier: BSD-3-Clause
#include "core/testing/datagrams.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/shard.h"

static const uint8_t GATEWAY[2][6] = {{2, 0, 0x5e, 0, 1, 1}, {2, 0, 0x5e, 0, 1, 2}};

// ---- The chain: a load balancer with a server for each port, and a source NAT ----

struct server {
	struct tripod_addr addr;
	uint16_t port;
	uint8_t pad[6];
};

static struct tripod_addr address(const char *text)
{
	struct tripod_addr a;

	if (tripod_addr_parse(&a, text) != 0)
		abort();
	return a;
}

bool datagrams_refused;

static enum tripod_verdict server_init(struct tripod_call *c, struct tripod_packet *p)
{
	struct server *w = tripod_state_rw(c);

	w->port = p->tuple.sport;
	if (tripod_packet_direction(p) == TRIPOD_OUTGOING)
		w->addr = address(p->v6 ? "2001:db8:a::99" : "203.0.113.99");
	else if (p->tuple.dport == htons(53))
		w->addr = address(p->v6 ? "2001:db8:b::101" : "10.1.0.101");
	else
		w->addr = address(p->v6 ? "2001:db8:b::102" : "10.1.0.102");
	return datagrams_refused ? TRIPOD_DROP : TRIPOD_FORWARD;
}

static enum tripod_verdict server_packet(struct tripod_call *c, struct tripod_packet *p)
{
	const struct server *w = c->state;
	const struct tripod_tuple *key = &((struct conn *)c->conn)->dir[0].key;
	bool lb = key->direction == TRIPOD_INCOMING, first = c->from_initiator;

	if (p->tuple.dport == htons(55)) { // answers by itself
		struct tripod_packet *q = tripod_packet_new(c, p, true, 10);
		if (q != NULL)
			tripod_emit(c, q);
		return TRIPOD_CONSUME;
	}
	if (lb && first)
		tripod_packet_set_dst(p, &w->addr, p->tuple.dport);
	else if (lb)
		tripod_packet_set_src(p, &key->dst, key->dport);
	else if (first)
		tripod_packet_set_src(p, &w->addr, htons(ntohs(w->port) ^ 0x4000));
	else
		tripod_packet_set_dst(p, &key->src, key->sport);
	return TRIPOD_FORWARD;
}

static const struct tripod_field fields[] = {
	TRIPOD_FIELD(struct server, addr, WRITE_ONCE, ADDR),
	TRIPOD_FIELD(struct server, port, WRITE_ONCE, PORT),
	{0},
};
static const char *const no_counters[] = {NULL};
static const struct tripod_nf NF_SERVER = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "server",
	.summary = "test: a server for each port, and a source NAT",
	.state_size = sizeof(struct server),
	.fields = fields,
	.counters = no_counters,
	.on_init = server_init,
	.on_packet = server_packet,
};

// ---- A rack whose output is put together ----

static bool is_fragment(const struct frame *f, uint32_t *id)
{
	const uint8_t *ip = f->data + FRAMES_L3;

	if (f->data[12] == 0x86) {
		memcpy(id, ip + 44, 4);
		return ip[6] == IPPROTO_FRAGMENT;
	}
	*id = (uint32_t)(ip[4] << 8 | ip[5]);
	return f->data[12] == 0x08 && f->data[13] == 0 && ((ip[6] & 0x3f) | ip[7]) != 0;
}

static void join(struct world *w, const struct frame *f, uint32_t id)
{
	unsigned k = 0;

	while (k < w->n_join && w->id[k] != id)
		k++;
	if (k == w->n_join) {
		k = w->n_join++ % JOINS;
		w->n_join = w->n_join > JOINS ? JOINS : w->n_join;
		memset(&w->join[k], 0, sizeof(w->join[k]));
		w->id[k] = id;
	}
	if (!frames_join(&w->join[k], f->data, f->len))
		return;
	w->whole++;
	memcpy(w->out, w->join[k].bytes, w->join[k].len);
	w->out_len = w->join[k].len;
	assert_true(frames_checksums_right(w->out, w->out_len));
}

static bool tap(void *ctx, unsigned from, const struct frame *f)
{
	struct world *w = ctx;
	struct tripod_packet p;
	uint32_t id;

	if (f->vlan == 30) {
		bool tells = f->data[14 + 28] == 'T' && f->data[14 + 28 + 1] == 'P' &&
			     f->data[14 + 28 + 3] == WIRE_FRAGMENT;
		w->told += tells;
		return tells && w->lose_tells;
	}
	if (f->vlan != 10 && f->vlan != 20)
		return false;
	int kind = frames_parse(
		&p, f->data, f->len, f->len, f->vlan == 10 ? TRIPOD_INCOMING : TRIPOD_OUTGOING);
	w->errors += kind == PARSE_ICMP_ERROR;
	if (kind != PARSE_FLOW && kind != PARSE_FRAGMENT)
		return false;
	assert_int_equal(p.ttl, p.tuple.sport == htons(55) ? 64 : 63);
	w->frames[f->vlan == 20]++;
	if (is_fragment(f, &id)) {
		join(w, f, id);
	} else {
		memcpy(w->out, f->data, f->len);
		w->out_len = f->len;
	}
	return false;
}

struct world *datagrams_begin(struct rack_conf c)
{
	struct world *w = calloc(1, sizeof(*w));

	datagrams_refused = false;
	c.nf = &NF_SERVER;
	c.backups = 1;
	c.workers = c.workers ? c.workers : 1;
	c.seed = c.seed ? c.seed : 11;
	w->r = rack_new(&c);
	rack_run_ms(w->r, 300);
	rack_tap(w->r, tap, w);
	return w;
}

void datagrams_end(struct world *w)
{
	assert_int_equal(rack_counter(w->r, -1, C_drop_invariant), 0);
	assert_int_equal(rack_buffers_lost(w->r), 0);
	rack_check(w->r);
	rack_free(w->r);
	free(w);
}

// ---- Datagrams ----

struct datagram datagram_of(
	const struct frame_spec *s, enum tripod_direction from, uint32_t id, size_t payload)
{
	struct datagram d = {.s = *s, .from = from, .id = id};

	d.s.dst_mac = GATEWAY[from];
	d.s.payload_len = payload;
	d.len = frames_build(d.bytes, sizeof(d.bytes), &d.s);
	d.header = FRAMES_L3 + (d.bytes[12] == 0x86 ? 40 : 20);
	d.n = (unsigned)((d.len - d.header + FRAGMENT_BYTES - 1) / FRAGMENT_BYTES);
	return d;
}

void datagram_send(struct world *w, const struct datagram *d, unsigned k, unsigned node)
{
	size_t offset = k * FRAGMENT_BYTES, left = d->len - d->header - offset;
	uint8_t buf[1600];
	size_t len = frames_fragment(buf, sizeof(buf), d->bytes, d->len, d->id, offset,
		left < FRAGMENT_BYTES ? left : FRAGMENT_BYTES);

	rack_inject(w->r, node, d->from == TRIPOD_INCOMING ? 10 : 20, buf, len);
}

// It has come out whole, from src to dst, with the same payload.
void datagram_assert_out(
	const struct world *w, const struct datagram *d, const char *src, const char *dst)
{
	static uint8_t copy[sizeof(w->out)];
	struct tripod_packet p;
	struct parse_limits limits = {.mtu = UINT16_MAX};
	struct tripod_addr a = address(src), b = address(dst);

	assert_int_equal(w->out_len, d->len);
	memcpy(copy, w->out, w->out_len);
	frames_packet(&p, copy, w->out_len, w->out_len, 10);
	assert_int_equal(parse_frame(&p, &limits, d->from, 0), PARSE_FLOW);
	assert_memory_equal(&p.tuple.src, &a, sizeof(a));
	assert_memory_equal(&p.tuple.dst, &b, sizeof(b));
	size_t l4 = d->header + 8;
	assert_memory_equal(w->out + l4, d->bytes + l4, d->len - l4);
}

// All fragments in an order, each at a node that `spread` says: one for all, or one after the other.
void datagram_send_all(struct world *w, const struct datagram *d, enum order order, unsigned node,
	unsigned spread, unsigned nodes)
{
	for (unsigned n = 0; n < d->n; n++) {
		unsigned k = order == IN_ORDER   ? n
			     : order == REVERSED ? d->n - 1 - n
			     : n == 0            ? d->n - 1
						 : n - 1;
		datagram_send(w, d, k, (node + spread * n) % nodes);
	}
	rack_run_ms(w->r, 20);
}

const struct way WAYS[N_WAYS] = {
	{{.src = "198.51.100.7",
		 .dst = "203.0.113.50",
		 .sport = 4000,
		 .dport = 53,
		 .proto = IPPROTO_UDP},
		TRIPOD_INCOMING, "198.51.100.7", "10.1.0.101"},
	{{.src = "2001:db8:f::7",
		 .dst = "2001:db8:a::50",
		 .sport = 4000,
		 .dport = 54,
		 .proto = IPPROTO_UDP},
		TRIPOD_INCOMING, "2001:db8:f::7", "2001:db8:b::102"},
	{{.src = "10.1.0.9",
		 .dst = "198.51.100.7",
		 .sport = 4000,
		 .dport = 53,
		 .proto = IPPROTO_UDP},
		TRIPOD_OUTGOING, "203.0.113.99", "198.51.100.7"},
	{{.src = "2001:db8:b::9",
		 .dst = "2001:db8:f::7",
		 .sport = 4000,
		 .dport = 53,
		 .proto = IPPROTO_UDP},
		TRIPOD_OUTGOING, "2001:db8:a::99", "2001:db8:f::7"},
	{{.src = "10.1.0.9", .dst = "198.51.100.8", .sport = 77, .proto = IPPROTO_ICMP},
		TRIPOD_OUTGOING, "203.0.113.99", "198.51.100.8"},
	{{.src = "2001:db8:b::9", .dst = "2001:db8:f::8", .sport = 77, .proto = IPPROTO_ICMP},
		TRIPOD_OUTGOING, "2001:db8:a::99", "2001:db8:f::8"},
	{{.src = "10.1.0.9",
		 .dst = "198.51.100.7",
		 .sport = 4001,
		 .dport = 53,
		 .proto = IPPROTO_UDP,
		 .no_udp_checksum = true},
		TRIPOD_OUTGOING, "203.0.113.99", "198.51.100.7"},
};
_Static_assert(sizeof(WAYS) / sizeof(WAYS[0]) == N_WAYS, "as the header says");

// The answer to what has left last.
struct datagram datagram_answer_to(
	const struct world *w, const struct datagram *d, uint32_t id, size_t payload)
{
	static uint8_t copy[sizeof(w->out)];
	static struct tripod_tuple back;
	struct parse_limits limits = {.mtu = UINT16_MAX};
	struct tripod_packet p;
	struct frame_spec s = {.echo_reply = true, .tuple = &back};

	memcpy(copy, w->out, w->out_len);
	frames_packet(&p, copy, w->out_len, w->out_len, 10);
	assert_int_equal(parse_frame(&p, &limits, d->from, 0), PARSE_FLOW);
	back = tripod_tuple_reverse(&p.tuple);
	return datagram_of(&s, (enum tripod_direction) !d->from, id, payload);
}
