// SPDX-License-Identifier: BSD-3-Clause
// Real captures through the tracker: of the connections whose whole handshake was captured, fewer
// than one segment in a thousand may be rejected. Skipped where there are no captures.
#include <arpa/inet.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/tcp.h"

#define CONNS 8192 // a power of two, well above what one capture has
#define PCAP_MAGIC 0xa1b2c3d4u
#define PCAP_MAGIC_NS 0xa1b23c4du
#define SNAP_MAX (256u << 10)

struct conn {
	struct tripod_tuple key; // of the initiator; proto 0: free
	struct tcp_dir dir[2];
	uint32_t segments, rejected;
	bool handshake; // was established before anything else was seen
};

struct totals {
	uint64_t connections, handshakes, segments, rejected, closed;
};

static uint16_t get16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

// Ethernet (tagged or not), IPv4 or IPv6 without extension headers, TCP. false: something else.
static bool parse(struct tripod_packet *p, uint8_t *data, uint32_t len)
{
	uint32_t at = 12;
	while (at + 4 <= len && (get16(data + at) == 0x8100 || get16(data + at) == 0x88a8))
		at += 4;
	if (at + 2 + 40 > len || len > UINT16_MAX)
		return false;
	uint16_t type = get16(data + at);
	at += 2;
	*p = (struct tripod_packet){.data = data, .len = (uint16_t)len, .l3 = (uint16_t)at};
	const uint8_t *ip = data + at;
	uint32_t ip_len;
	if (type == 0x0800 && ip[0] >> 4 == 4 && ip[9] == 6 && !(get16(ip + 6) & 0x3fff)) {
		uint32_t src, dst;
		memcpy(&src, ip + 12, 4);
		memcpy(&dst, ip + 16, 4);
		p->tuple.src = tripod_addr_v4(src);
		p->tuple.dst = tripod_addr_v4(dst);
		ip_len = get16(ip + 2);
		p->l4 = (uint16_t)(at + (ip[0] & 15) * 4);
	} else if (type == 0x86dd && ip[0] >> 4 == 6 && ip[6] == 6) {
		memcpy(&p->tuple.src, ip + 8, 16);
		memcpy(&p->tuple.dst, ip + 24, 16);
		ip_len = 40u + get16(ip + 4);
		p->l4 = (uint16_t)(at + 40);
		p->v6 = 1;
	} else {
		return false;
	}
	if (ip_len == 0)
		ip_len = len - at; // captured before the NIC cut it up
	if (p->l4 + 20u > len)
		return false;
	uint32_t header = (data[p->l4 + 12] >> 4) * 4u;
	p->payload = (uint16_t)(p->l4 + header);
	if (header < 20 || p->payload > len || ip_len < p->payload - at)
		return false;
	p->payload_len = (uint16_t)(ip_len - (p->payload - at));
	p->tcp_flags = data[p->l4 + 13];
	p->tuple.proto = 6;
	memcpy(&p->tuple.sport, data + p->l4, 2);
	memcpy(&p->tuple.dport, data + p->l4 + 2, 2);
	return true;
}

// The connection of p and the direction, or a free place (direction 0).
static struct conn *conn_find(struct conn *conns, const struct tripod_packet *p, unsigned *dir)
{
	struct tripod_tuple r = tripod_tuple_reverse(&p->tuple);
	r.direction = 0;
	unsigned h = 0;
	for (unsigned i = 0; i < 16; i++)
		h = h * 31 + (unsigned)(p->tuple.src.b[i] ^ p->tuple.dst.b[i]);
	h = h * 31 + (unsigned)(p->tuple.sport ^ p->tuple.dport);
	for (;; h++) {
		struct conn *c = &conns[h & (CONNS - 1)];
		*dir = c->key.proto && !tripod_tuple_equal(&c->key, &p->tuple);
		if (c->key.proto == 0 || *dir == 0 || tripod_tuple_equal(&c->key, &r))
			return c;
	}
}

static void conn_end(const struct conn *c, struct totals *t)
{
	t->connections++;
	if (!c->handshake)
		return;
	t->handshakes++;
	t->segments += c->segments;
	t->rejected += c->rejected;
	t->closed += tcp_state(&c->dir[0], &c->dir[1]) == TCP_CLOSED;
}

static void conn_packet(struct conn *conns, const struct tripod_packet *p, struct totals *t)
{
	unsigned d;
	struct conn *c = conn_find(conns, p, &d);
	bool opens = (p->tcp_flags & (TRIPOD_TCP_SYN | TRIPOD_TCP_ACK)) == TRIPOD_TCP_SYN;
	if (c->key.proto == 0) {
		if (!opens)
			return;
		*c = (struct conn){.key = p->tuple};
	}
	enum tcp_verdict v = tcp_track(&c->dir[d], &c->dir[!d], d == 0, p);
	if (v == TCP_REOPEN) {
		conn_end(c, t);
		*c = (struct conn){.key = p->tuple};
		d = 0;
		v = tcp_track(&c->dir[0], &c->dir[1], true, p);
	}
	c->segments++;
	c->rejected += v == TCP_OUT_OF_WINDOW || v == TCP_AFTER_CLOSE;
	if (tcp_state(&c->dir[0], &c->dir[1]) == TCP_ESTABLISHED &&
		(c->dir[0].flags & c->dir[1].flags & TCP_DIR_SYN))
		c->handshake = true;
}

// false: not a classic capture of Ethernet frames.
static bool run_file(const char *path, struct totals *t)
{
	FILE *f = fopen(path, "rb");
	uint32_t header[6], record[4];
	if (f == NULL || fread(header, sizeof(header), 1, f) != 1 ||
		(header[0] != PCAP_MAGIC && header[0] != PCAP_MAGIC_NS) || header[5] != 1) {
		if (f != NULL)
			fclose(f);
		return false;
	}
	struct conn *conns = calloc(CONNS, sizeof(*conns));
	uint8_t *data = malloc(SNAP_MAX);
	assert_true(conns != NULL && data != NULL);
	while (fread(record, sizeof(record), 1, f) == 1 && record[2] <= SNAP_MAX &&
		(record[2] == 0 || fread(data, record[2], 1, f) == 1)) {
		struct tripod_packet p;
		if (parse(&p, data, record[2]))
			conn_packet(conns, &p, t);
	}
	for (unsigned i = 0; i < CONNS; i++)
		if (conns[i].key.proto)
			conn_end(&conns[i], t);
	free(data);
	free(conns);
	fclose(f);
	return true;
}

static void tcp_trace__few_rejected(void **state)
{
	const char *traces = getenv("TRIPOD_TRACES");
	char pattern[1024];
	snprintf(
		pattern, sizeof(pattern), "%s/replay/*.pcap", traces ? traces : "../shared/traces");
	glob_t g = {0};
	if (glob(pattern, 0, NULL, &g) != 0) {
		print_message("skipped: no traces\n");
		globfree(&g);
		skip();
		return;
	}
	struct totals sum = {0};
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct totals t = {0};
		if (!run_file(g.gl_pathv[i], &t))
			continue;
		const char *name = strrchr(g.gl_pathv[i], '/');
		print_message(
			"%-45s %5llu connections, %4llu handshakes, %4llu closed, %6llu segments, "
			"%llu rejected\n",
			name ? name + 1 : g.gl_pathv[i], (unsigned long long)t.connections,
			(unsigned long long)t.handshakes, (unsigned long long)t.closed,
			(unsigned long long)t.segments, (unsigned long long)t.rejected);
		sum.handshakes += t.handshakes;
		sum.closed += t.closed;
		sum.segments += t.segments;
		sum.rejected += t.rejected;
	}
	globfree(&g);
	assert_true(sum.handshakes > 0 && sum.closed > 0);
	assert_true(sum.rejected * 1000 < sum.segments);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_trace__few_rejected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
