// SPDX-License-Identifier: BSD-3-Clause
#include "sim/replay.h"

#include <errno.h>
#include <netinet/in.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <tripod/tuple.h>

#define CONNS_MAX 1000000
#define JUMP_MAX (1 << 26) // bytes by which a sequence number may run ahead of what was captured
#define SILENCE_NS UINT64_C(60000000000) // after which UDP of the same tuple is another flow
#define NONE UINT32_MAX

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

// A connection while it is being read.
struct flow {
	struct tripod_tuple tuple; // of whoever opened; direction 0
	uint64_t start_ns, last_ns;
	uint64_t bytes[2];
	uint32_t next_seq[2], packets[2], turns, hash_next;
	bool seen[2], fin[2], reset, answered;
	uint8_t last; // who sent payload last, 2: nobody
};

struct replay {
	unsigned count;
	struct replay_conn *conns;
};

struct reader {
	struct flow *flows;
	uint32_t count, room;
	uint32_t *heads;
	uint32_t mask;
	bool no_memory;
};

// One packet, as far as it matters.
struct seen {
	struct tripod_tuple tuple;
	uint64_t time_ns;
	uint32_t seq;
	uint32_t payload;
	uint8_t flags;
	bool reply; // an echo reply
};

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

// ---- The file: plain or compressed ----

static ssize_t gz_read(void *cookie, char *buf, size_t size)
{
	return gzread(cookie, buf, size < INT32_MAX ? (unsigned)size : INT32_MAX);
}

static int gz_close(void *cookie)
{
	return gzclose(cookie) == Z_OK ? 0 : -1;
}

static pcap_t *open_capture(const char *path, char *err, size_t err_size)
{
	char why[PCAP_ERRBUF_SIZE] = "";
	gzFile z = gzopen(path, "rb");
	if (!z) {
		snprintf(err, err_size, "%s: %s", path, strerror(errno ? errno : ENOMEM));
		return NULL;
	}
	FILE *f = fopencookie(z, "r", (cookie_io_functions_t){.read = gz_read, .close = gz_close});
	pcap_t *p = NULL;
	if (!f) {
		gzclose(z);
		snprintf(why, sizeof(why), "no memory");
	} else {
		p = pcap_fopen_offline_with_tstamp_precision(f, PCAP_TSTAMP_PRECISION_NANO, why);
		if (!p)
			fclose(f);
	}
	if (!p)
		snprintf(err, err_size, "%s: %s", path, why);
	return p;
}

// ---- Packets ----

// The start of the IP packet, by the kind of link; NULL: there is none.
static const uint8_t *find_ip(int link, const uint8_t *at, size_t *len)
{
	size_t skip = link == DLT_EN10MB      ? 14
		      : link == DLT_LINUX_SLL ? 16
		      : link == DLT_NULL      ? 4
					      : 0;
	if (*len < skip)
		return NULL;
	if (link == DLT_EN10MB) {
		while (skip + 4 <= *len &&
			(get16(at + skip - 2) == 0x8100 || get16(at + skip - 2) == 0x88a8))
			skip += 4;
	}
	if (skip >= 2 && link != DLT_NULL && get16(at + skip - 2) != 0x0800 &&
		get16(at + skip - 2) != 0x86dd)
		return NULL;
	*len -= skip;
	return at + skip;
}

// The transport header and what follows by the lengths in the headers: len bytes of it are captured,
// *whole were sent. NULL: no IP packet, or a later fragment.
static const uint8_t *read_ip(const uint8_t *at, size_t *len, size_t *whole, struct seen *s)
{
	size_t header, total;
	if (*len < 20)
		return NULL;
	if (at[0] >> 4 == 4) {
		header = (size_t)(at[0] & 15) * 4;
		total = get16(at + 2);
		if (header < 20 || (get16(at + 6) & 0x1fff))
			return NULL;
		s->tuple.src = tripod_addr_v4(htonl(get32(at + 12)));
		s->tuple.dst = tripod_addr_v4(htonl(get32(at + 16)));
		s->tuple.proto = at[9];
	} else if (at[0] >> 4 == 6 && *len >= 40) {
		header = 40;
		total = 40u + get16(at + 4);
		memcpy(s->tuple.src.b, at + 8, 16);
		memcpy(s->tuple.dst.b, at + 24, 16);
		s->tuple.proto = at[6];
	} else {
		return NULL;
	}
	if (header > *len || total < header)
		return NULL;
	*len -= header;
	*whole = total - header;
	return at + header;
}

static bool read_l4(const uint8_t *l4, size_t len, size_t whole, struct seen *s)
{
	uint8_t proto = s->tuple.proto;
	size_t header = 8;
	if (len < 8 || whole < 8)
		return false;
	s->tuple.sport = htons(get16(l4));
	s->tuple.dport = htons(get16(l4 + 2));
	if (proto == IPPROTO_TCP) {
		header = len < 20 ? 0 : (size_t)(l4[12] >> 4) * 4;
		if (header < 20 || header > whole)
			return false;
		s->seq = get32(l4 + 4);
		s->flags = l4[13];
	} else if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		uint8_t request = proto == IPPROTO_ICMP ? 8 : 128;
		s->reply = l4[0] == (proto == IPPROTO_ICMP ? 0 : 129);
		if (l4[0] != request && !s->reply)
			return false;
		s->tuple.proto = IPPROTO_ICMP;
		s->tuple.sport = s->tuple.dport = htons(get16(l4 + 4));
	} else if (proto != IPPROTO_UDP) {
		return false;
	}
	s->payload = (uint32_t)(whole - header);
	return true;
}

// ---- Connections ----

static uint32_t hash(const struct reader *r, const struct tripod_tuple *t)
{
	// The same for both directions.
	uint64_t v = (uint64_t)t->proto + t->sport + t->dport;
	for (int i = 0; i < 16; i += 4)
		v = (v + get32(t->src.b + i) + get32(t->dst.b + i)) * 0x9e3779b97f4a7c15ull;
	return (uint32_t)(v >> 32) & r->mask;
}

static bool same(const struct tripod_tuple *a, const struct tripod_tuple *b, unsigned *from)
{
	struct tripod_tuple back = tripod_tuple_reverse(b);
	back.direction = 0;
	*from = !tripod_tuple_equal(a, b);
	return *from == 0 || tripod_tuple_equal(a, &back);
}

static bool begins_anew(const struct flow *f, const struct seen *s)
{
	if (s->tuple.proto != IPPROTO_TCP)
		return s->time_ns > f->last_ns + SILENCE_NS;
	bool over = f->reset || (f->fin[0] && f->fin[1]);
	return over && (s->flags & (SYN | ACK)) == SYN;
}

static struct flow *flow_new(struct reader *r, const struct seen *s)
{
	if (r->count == r->room) {
		uint32_t room = r->room * 2;
		struct flow *more =
			room <= CONNS_MAX * 2 ? realloc(r->flows, room * sizeof(*more)) : NULL;
		if (!more) {
			r->no_memory = true;
			return NULL;
		}
		r->flows = more;
		r->room = room;
	}
	uint32_t *head = &r->heads[hash(r, &s->tuple)];
	struct flow *f = &r->flows[r->count];
	*f = (struct flow){.tuple = s->tuple,
		.start_ns = s->time_ns,
		.last_ns = s->time_ns,
		.hash_next = *head,
		.last = 2};
	*head = r->count++;
	// What opens with an answer was opened by the other end.
	bool answer =
		s->tuple.proto == IPPROTO_TCP ? (s->flags & (SYN | ACK)) == (SYN | ACK) : s->reply;
	if (answer) {
		f->tuple = tripod_tuple_reverse(&s->tuple);
		f->tuple.direction = 0;
	}
	return f;
}

static struct flow *flow_of(struct reader *r, const struct seen *s, unsigned *from)
{
	uint32_t i = r->heads[hash(r, &s->tuple)];
	while (i != NONE && !same(&r->flows[i].tuple, &s->tuple, from))
		i = r->flows[i].hash_next;
	if (i != NONE && !begins_anew(&r->flows[i], s))
		return &r->flows[i];
	struct flow *f = flow_new(r, s);
	if (f)
		same(&f->tuple, &s->tuple, from);
	return f;
}

// Payload that was not counted before.
static uint32_t fresh(struct flow *f, const struct seen *s, unsigned from)
{
	if (s->tuple.proto != IPPROTO_TCP)
		return s->payload;
	uint32_t seq = s->seq + ((s->flags & SYN) != 0), end = seq + s->payload;
	if (!f->seen[from] || (s->flags & SYN)) {
		f->seen[from] = true;
		f->next_seq[from] = end;
		return s->payload;
	}
	int32_t more = (int32_t)(end - f->next_seq[from]);
	if (more <= 0 || more > JUMP_MAX)
		return 0;
	f->next_seq[from] = end;
	return (uint32_t)more < s->payload ? (uint32_t)more : s->payload;
}

static void account(struct reader *r, const struct seen *s)
{
	unsigned from;
	struct flow *f = flow_of(r, s, &from);
	if (!f)
		return;
	uint32_t bytes = fresh(f, s, from);
	f->last_ns = s->time_ns;
	f->answered |= from == 1;
	f->reset |= (s->flags & RST) && s->tuple.proto == IPPROTO_TCP;
	f->fin[from] |= (s->flags & FIN) && s->tuple.proto == IPPROTO_TCP;
	if (bytes == 0)
		return;
	f->bytes[from] += bytes;
	f->packets[from]++;
	f->turns += from == 0 && f->last != 0;
	f->last = (uint8_t)from;
}

// ---- The whole ----

static int by_start(const void *a, const void *b)
{
	const struct replay_conn *x = a, *y = b;
	return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

static struct replay *collect(const struct reader *r)
{
	struct replay *out = calloc(1, sizeof(*out));
	if (!out || !(out->conns = calloc(r->count + 1, sizeof(*out->conns)))) {
		free(out);
		return NULL;
	}
	uint64_t first = UINT64_MAX;
	for (uint32_t i = 0; i < r->count; i++) {
		const struct flow *f = &r->flows[i];
		if (!f->answered)
			continue; // a scan, or one direction of a capture
		if (f->start_ns < first)
			first = f->start_ns;
		out->conns[out->count++] = (struct replay_conn){.start_ns = f->start_ns,
			.bytes = {f->bytes[0], f->bytes[1]},
			.packets = {f->packets[0], f->packets[1]},
			.turns = f->turns,
			.proto = f->tuple.proto,
			.v6 = !tripod_addr_is_v4(&f->tuple.src)};
	}
	for (unsigned i = 0; i < out->count; i++)
		out->conns[i].start_ns -= first;
	qsort(out->conns, out->count, sizeof(*out->conns), by_start);
	return out;
}

static const char *read_packets(struct reader *r, pcap_t *p)
{
	struct pcap_pkthdr *head;
	const uint8_t *bytes;
	int link = pcap_datalink(p), rc;
	if (link != DLT_EN10MB && link != DLT_RAW && link != DLT_LINUX_SLL && link != DLT_NULL)
		return "a kind of link that is not supported";
	while ((rc = pcap_next_ex(p, &head, &bytes)) == 1 && !r->no_memory) {
		size_t len = head->caplen, whole;
		struct seen s = {.time_ns = (uint64_t)head->ts.tv_sec * 1000000000ull +
					    (uint64_t)head->ts.tv_usec};
		const uint8_t *at = find_ip(link, bytes, &len);
		at = at ? read_ip(at, &len, &whole, &s) : NULL;
		if (at && read_l4(at, len, whole, &s))
			account(r, &s);
	}
	if (r->no_memory)
		return "more connections than fit";
	return rc == PCAP_ERROR_BREAK ? NULL : pcap_geterr(p);
}

struct replay *replay_load(const char *path, char *err, size_t err_size)
{
	pcap_t *p = open_capture(path, err, err_size);
	if (!p)
		return NULL;
	struct replay *out = NULL;
	struct reader r = {.mask = (1u << 16) - 1, .room = 1024};
	const char *why = "no memory";
	r.heads = malloc((r.mask + 1) * sizeof(*r.heads));
	r.flows = malloc(r.room * sizeof(*r.flows));
	if (r.heads && r.flows) {
		memset(r.heads, 0xff, (r.mask + 1) * sizeof(*r.heads));
		why = read_packets(&r, p);
	}
	if (!why) {
		out = collect(&r);
		if (!out)
			why = "no memory";
		else if (out->count == 0)
			why = "no connection with packets of both ends";
	}
	if (why) {
		snprintf(err, err_size, "%s: %s", path, why);
		replay_free(out);
		out = NULL;
	}
	free(r.flows);
	free(r.heads);
	pcap_close(p);
	return out;
}

void replay_free(struct replay *r)
{
	if (r)
		free(r->conns);
	free(r);
}

unsigned replay_count(const struct replay *r)
{
	return r->count;
}

const struct replay_conn *replay_get(const struct replay *r, unsigned i)
{
	return &r->conns[i];
}
