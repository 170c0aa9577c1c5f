// SPDX-License-Identifier: BSD-3-Clause
#include "sim/replay.h"

#include <netinet/in.h>
#include <pcap/pcap.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "core/testing/frames.h"
#include "core/testing/pcap.h"
#include "sim/hosts_wire.h"

#define SECOND UINT64_C(1000000000)
#define A "10.0.0.1"
#define B "192.0.2.9"

static char err[512];

// ---- Captures, written packet by packet ----

struct capture {
	char path[64];
	pcap_t *dead;
	pcap_dumper_t *out;
	uint32_t ms;
};

static void begin(struct capture *c, int link)
{
	strcpy(c->path, "/tmp/replay_test.XXXXXX");
	int fd = mkstemp(c->path);
	assert_true(fd >= 0);
	c->dead = pcap_open_dead(link, 65535);
	c->out = pcap_dump_fopen(c->dead, fdopen(fd, "wb"));
	assert_non_null(c->out);
	c->ms = 0;
}

static void add(struct capture *c, const uint8_t *at, size_t len, size_t cut)
{
	struct pcap_pkthdr h = {
		.ts = {.tv_sec = 1000 + c->ms / 1000, .tv_usec = c->ms % 1000 * 1000},
		.caplen = (uint32_t)(cut && cut < len ? cut : len),
		.len = (uint32_t)len};
	pcap_dump((uint8_t *)c->out, &h, at);
	c->ms += 10;
}

static void end(struct capture *c)
{
	pcap_dump_close(c->out);
	pcap_close(c->dead);
}

static void packet(struct capture *c, const struct frame_spec *s)
{
	uint8_t frame[2048];
	add(c, frame, frames_build(frame, sizeof(frame), s), 0);
}

static void tcp(
	struct capture *c, bool back, uint16_t port, uint8_t flags, uint32_t seq, size_t len)
{
	packet(c, &(struct frame_spec){.src = back ? B : A,
			  .dst = back ? A : B,
			  .sport = back ? 80 : port,
			  .dport = back ? port : 80,
			  .tcp_flags = flags,
			  .seq = seq,
			  .payload_len = len});
}

static struct replay *load(struct capture *c)
{
	end(c);
	struct replay *r = replay_load(c->path, err, sizeof(err));
	unlink(c->path);
	return r;
}

static void is(const struct replay_conn *c, uint8_t proto, uint64_t start_ms, uint64_t out,
	uint64_t in, uint32_t turns)
{
	assert_int_equal(c->proto, proto);
	assert_int_equal(c->start_ns / 1000000, start_ms);
	assert_int_equal(c->bytes[0], out);
	assert_int_equal(c->bytes[1], in);
	assert_int_equal(c->turns, turns);
}

static void load__counts_bytes_once(void **state)
{
	struct capture c;
	begin(&c, DLT_EN10MB);
	tcp(&c, false, 5000, TRIPOD_TCP_SYN, 0xfffffff0, 0);
	tcp(&c, true, 5000, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 7, 0);
	tcp(&c, false, 5000, TRIPOD_TCP_ACK, 0xfffffff1, 100); // wraps
	tcp(&c, false, 5000, TRIPOD_TCP_ACK, 0xfffffff1, 100); // again
	tcp(&c, true, 5000, TRIPOD_TCP_ACK, 8, 1000);
	tcp(&c, true, 5000, TRIPOD_TCP_ACK, 508, 1000); // half of it again
	tcp(&c, false, 5000, TRIPOD_TCP_ACK, 0x55, 20);
	tcp(&c, true, 5000, TRIPOD_TCP_ACK, 1508, 1);
	struct replay *r = load(&c);
	assert_non_null(r);
	assert_int_equal(replay_count(r), 1);
	is(replay_get(r, 0), IPPROTO_TCP, 0, 120, 1501, 2);
	assert_false(replay_get(r, 0)->v6);
	replay_free(r);
}

// The same ports again, after FINs or a reset, are another connection; a repeated SYN is not.
static void load__tells_reuse_from_repetition(void **state)
{
	struct capture c;
	begin(&c, DLT_EN10MB);
	tcp(&c, false, 5000, TRIPOD_TCP_SYN, 1, 0);
	tcp(&c, false, 5000, TRIPOD_TCP_SYN, 1, 0);
	tcp(&c, true, 5000, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 1, 0);
	tcp(&c, false, 5000, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 2, 10);
	tcp(&c, true, 5000, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 2, 0);
	tcp(&c, false, 5000, TRIPOD_TCP_SYN, 900, 0); // 50 ms
	tcp(&c, true, 5000, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 5, 0);
	tcp(&c, false, 5000, TRIPOD_TCP_RST, 901, 0);
	tcp(&c, false, 5000, TRIPOD_TCP_SYN, 1800, 0); // 80 ms
	tcp(&c, true, 5000, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 5, 0);
	tcp(&c, true, 5000, TRIPOD_TCP_ACK, 6, 33);
	tcp(&c, false, 5001, TRIPOD_TCP_SYN, 1, 0); // never answered: not counted
	struct replay *r = load(&c);
	assert_int_equal(replay_count(r), 3);
	is(replay_get(r, 0), IPPROTO_TCP, 0, 10, 0, 1);
	is(replay_get(r, 1), IPPROTO_TCP, 50, 0, 0, 0);
	is(replay_get(r, 2), IPPROTO_TCP, 80, 0, 33, 0);
	replay_free(r);
}

static void load__takes_udp_echo_and_ipv6(void **state)
{
	struct capture c;
	begin(&c, DLT_EN10MB);
	for (int i = 0; i < 3; i++) {
		packet(&c, &(struct frame_spec){.src = "fd00::1",
				   .dst = "fd00::2",
				   .proto = IPPROTO_UDP,
				   .sport = 53,
				   .dport = 54,
				   .payload_len = 100});
		packet(&c, &(struct frame_spec){.src = "fd00::2",
				   .dst = "fd00::1",
				   .proto = IPPROTO_UDP,
				   .sport = 54,
				   .dport = 53,
				   .payload_len = 200});
	}
	packet(&c,
		&(struct frame_spec){
			.src = A, .dst = B, .proto = IPPROTO_ICMP, .sport = 9, .payload_len = 56});
	packet(&c, &(struct frame_spec){.src = B,
			   .dst = A,
			   .proto = IPPROTO_ICMP,
			   .sport = 9,
			   .echo_reply = true,
			   .payload_len = 56});
	struct replay *r = load(&c);
	assert_int_equal(replay_count(r), 2);
	is(replay_get(r, 0), IPPROTO_UDP, 0, 300, 600, 3);
	assert_true(replay_get(r, 0)->v6);
	assert_int_equal(replay_get(r, 0)->packets[0], 3);
	is(replay_get(r, 1), IPPROTO_ICMP, 60, 56, 56, 1);
	replay_free(r);
}

// Only headers were stored: the lengths in them count.
static void load__believes_headers_of_cut_packets(void **state)
{
	uint8_t frame[2048];
	struct capture c;
	begin(&c, DLT_EN10MB);
	for (int back = 0; back < 2; back++) {
		size_t len = frames_build(frame, sizeof(frame),
			&(struct frame_spec){.src = back ? B : A,
				.dst = back ? A : B,
				.sport = 1,
				.dport = 1,
				.tcp_flags = TRIPOD_TCP_ACK,
				.payload_len = 1000});
		add(&c, frame, len, 54);
	}
	struct replay *r = load(&c);
	assert_int_equal(replay_count(r), 1);
	is(replay_get(r, 0), IPPROTO_TCP, 0, 1000, 1000, 1);
	replay_free(r);
}

static void load__takes_compressed(void **state)
{
	char bytes[4096], path[80];
	struct capture c;
	begin(&c, DLT_EN10MB);
	tcp(&c, false, 1, TRIPOD_TCP_SYN, 1, 0);
	tcp(&c, true, 1, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 1, 0);
	end(&c);
	snprintf(path, sizeof(path), "%s.gz", c.path);
	FILE *in = fopen(c.path, "rb");
	size_t n = fread(bytes, 1, sizeof(bytes), in);
	fclose(in);
	gzFile out = gzopen(path, "wb");
	gzwrite(out, bytes, (unsigned)n);
	gzclose(out);
	struct replay *r = replay_load(path, err, sizeof(err));
	unlink(path);
	unlink(c.path);
	assert_non_null(r);
	assert_int_equal(replay_count(r), 1);
	replay_free(r);
}

static void load__refuses_and_names_the_file(void **state)
{
	struct capture c;
	assert_null(replay_load("/nonexistent.pcap", err, sizeof(err)));
	assert_string_equal(err, "/nonexistent.pcap: No such file or directory");

	begin(&c, DLT_EN10MB);
	assert_null(load(&c)); // empty
	assert_int_equal(strncmp(err, c.path, strlen(c.path)), 0);
	assert_non_null(strstr(err, ": no connection with packets of both ends"));

	begin(&c, DLT_IEEE802_11);
	assert_null(load(&c));
	assert_non_null(strstr(err, ": a kind of link that is not supported"));

	begin(&c, DLT_EN10MB);
	tcp(&c, false, 1, TRIPOD_TCP_SYN, 1, 0);
	tcp(&c, true, 1, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 1, 0);
	end(&c);
	assert_int_equal(truncate(c.path, 24 + 16 + 54 + 20), 0);
	assert_null(replay_load(c.path, err, sizeof(err)));
	assert_int_equal(strncmp(err, c.path, strlen(c.path)), 0);
	assert_non_null(strstr(err, "truncated"));

	FILE *f = fopen(c.path, "wb");
	fputs("this is no capture at all, but text", f);
	fclose(f);
	assert_null(replay_load(c.path, err, sizeof(err)));
	assert_int_equal(strncmp(err, c.path, strlen(c.path)), 0);
	unlink(c.path);
}

// Any bytes behind a valid header: an answer, never a crash.
static void load__survives_rubbish(void **state)
{
	struct rng rng = {11};
	uint8_t frame[2048];
	struct capture c;
	begin(&c, DLT_EN10MB);
	for (int i = 0; i < 20000; i++) {
		size_t len = frames_build(frame, sizeof(frame),
			&(struct frame_spec){.src = rng_below(&rng, 2) ? A : B,
				.dst = rng_below(&rng, 2) ? A : B,
				.proto = rng_below(&rng, 2) ? IPPROTO_TCP : IPPROTO_UDP,
				.sport = (uint16_t)rng_below(&rng, 5),
				.dport = (uint16_t)rng_below(&rng, 5),
				.seq = (uint32_t)rng_next(&rng),
				.tcp_flags = (uint8_t)rng_below(&rng, 64),
				.payload_len = rng_below(&rng, 200)});
		for (unsigned k = rng_below(&rng, 4); k > 0; k--)
			frame[12 + rng_below(&rng, 45)] = (uint8_t)rng_next(&rng);
		add(&c, frame, len, 1 + rng_below(&rng, (uint32_t)len));
	}
	struct replay *r = load(&c);
	assert_non_null(r);
	for (unsigned i = 0; i < replay_count(r); i++)
		assert_true(replay_get(r, i)->bytes[0] < 40000000);
	replay_free(r);
}

// ---- Driven through the hosts ----

static void drive__moves_the_same_bytes(void **state)
{
	struct capture c;
	begin(&c, DLT_EN10MB);
	uint64_t bytes = 0;
	for (uint16_t port = 1; port <= 200; port++) {
		size_t out = port % 7 * 100, in = port % 11 * 90;
		tcp(&c, false, port, TRIPOD_TCP_SYN, 1, 0);
		tcp(&c, true, port, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 1, 0);
		for (uint32_t k = 0; k < port % 5 + 1u; k++) {
			tcp(&c, false, port, TRIPOD_TCP_ACK, 2 + k * (uint32_t)out, out);
			tcp(&c, true, port, TRIPOD_TCP_ACK, 2 + k * (uint32_t)in, in);
			bytes += out + in;
		}
	}
	struct replay *r = load(&c);
	assert_int_equal(replay_count(r), 200);
	struct wire *w = wire_new(&(struct wire_conf){.seed = 1, .hosts = {.replay = r}});
	wire_run(w, w->now_ns + 20 * SECOND);
	struct hosts_totals t;
	hosts_totals(w->hosts, &t);
	assert_int_equal(
		t.opened[HOSTS_TCP_IN] + t.opened[HOSTS_TCP_OUT] + t.opened[HOSTS_TCP_STRAIGHT],
		200);
	assert_int_equal(t.done, 200);
	assert_int_equal(t.open, 0);
	assert_int_equal(t.bytes, bytes);
	assert_true(t.opened[HOSTS_TCP_IN] > 30 && t.opened[HOSTS_TCP_OUT] > 30);
	wire_free(w);
	replay_free(r);
}

static void drive__a_real_capture(void **state)
{
	char path[4096];
	const char *traces = pcap_traces();
	if (!traces)
		skip();
	snprintf(path, sizeof(path), "%s/replay/gw-mix-open.pcap.gz", traces);
	struct replay *r = replay_load(path, err, sizeof(err));
	if (!r)
		fail_msg("%s", err);
	assert_true(replay_count(r) > 3000);
	struct wire *w = wire_new(&(struct wire_conf){
		.seed = 1, .loss_per_mille = 5, .hosts = {.replay = r, .bytes_max = 100000}});
	wire_run(w, w->now_ns + 200 * SECOND);
	struct hosts_totals t;
	hosts_totals(w->hosts, &t);
	uint64_t opened = 0;
	for (unsigned k = 0; k < HOSTS_KINDS; k++)
		opened += t.opened[k];
	assert_int_equal(opened, replay_count(r));
	if (t.done != opened)
		wire_print(w);
	assert_int_equal(t.done, opened);
	wire_free(w);
	replay_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(load__counts_bytes_once),
		cmocka_unit_test(load__tells_reuse_from_repetition),
		cmocka_unit_test(load__takes_udp_echo_and_ipv6),
		cmocka_unit_test(load__believes_headers_of_cut_packets),
		cmocka_unit_test(load__takes_compressed),
		cmocka_unit_test(load__refuses_and_names_the_file),
		cmocka_unit_test(load__survives_rubbish),
		cmocka_unit_test(drive__moves_the_same_bytes),
		cmocka_unit_test(drive__a_real_capture),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
