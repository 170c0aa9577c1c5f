// SPDX-License-Identifier: BSD-3-Clause
// Drives the parser's fuzz target with mutations of valid frames, and with the traces' odd packets.
#include "core/parse_fuzz.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/testing/frames.h"
#include "core/testing/pcap.h"
#include "core/testing/tuples.h"

#define MUTATIONS 120000
#define ROOM 2048
#define KINDS 8 // parse_kind counts down to -8

struct tally {
	unsigned kinds[KINDS];
	unsigned counters[COUNTERS];
	unsigned frames, files;
};

static void count(struct tally *t, const uint8_t *frame, size_t len)
{
	int r = parse_fuzz_result(frame, len);
	t->frames++;
	if (r < 0)
		t->kinds[-r - 1]++;
	else
		t->counters[r]++;
}

// A valid frame of any kind that there is.
static size_t any_frame(struct rng *r, uint8_t *buf)
{
	struct tripod_tuple t = tuples_random(r);
	struct frame_spec s = {.tuple = &t,
		.tcp_flags = (uint8_t)rng_below(r, 64),
		.payload_len = rng_below(r, 80),
		.echo_reply = rng_below(r, 2),
		.pad = rng_below(r, 2),
		.vlan_tag = rng_below(r, 50) == 0 ? 10 : 0};
	bool v6 = !tripod_addr_is_v4(&t.src);
	size_t len, cut;
	char text[TRIPOD_ADDR_STRLEN];
	switch (rng_below(r, 9)) {
	case 0:
		return frames_arp(buf, ROOM, 1, FRAMES_SRC_MAC, "203.0.113.2", NULL, "203.0.113.1");
	case 1:
		return frames_nd(buf, ROOM, (uint8_t)(135 + rng_below(r, 2)), FRAMES_SRC_MAC,
			"fe80::1", "ff02::1:ff00:1", "2001:db8::1");
	case 2:
	case 3: // an error about it
		s.vlan_tag = 0;
		len = frames_build(buf, ROOM, &s);
		uint8_t quoted[256];
		memcpy(quoted, buf + FRAMES_L3, len - FRAMES_L3);
		tripod_addr_format(&t.src, text, sizeof(text));
		cut = rng_below(r, 4) ? len - FRAMES_L3 : rng_below(r, (uint32_t)len - FRAMES_L3);
		return frames_icmp_error(buf, ROOM,
			&(struct frame_spec){.src = v6 ? "2001:db8::9" : "192.0.2.9", .dst = text},
			(uint8_t)(v6 ? 1 + rng_below(r, 4) : 3 + 8 * rng_below(r, 2)), 0, 1400,
			quoted, cut);
	case 5: { // one that is cut, or has a fragment header
		uint8_t whole[ROOM];
		s.vlan_tag = 0;
		s.pad = false;
		s.payload_len += 8;
		len = frames_build(whole, ROOM, &s) - FRAMES_L3 - (v6 ? 40 : 20);
		size_t from = rng_below(r, (uint32_t)len / 8) * 8;
		size_t to = from + rng_below(r, (uint32_t)(len - from) / 8 + 1) * 8;
		return frames_fragment(buf, ROOM, whole, len + FRAMES_L3 + (v6 ? 40 : 20),
			(uint32_t)rng_next(r), from, (rng_below(r, 3) ? to : len) - from);
	}
	case 4: // control and BFD
		t.proto = IPPROTO_UDP;
		t.dport = htons(rng_below(r, 2) ? 7117 : 3784);
		return frames_build(buf, ROOM, &s);
	default:
		return frames_build(buf, ROOM, &s);
	}
}

static size_t mutate(struct rng *r, uint8_t *buf, size_t len)
{
	static const uint8_t ODD[] = {0, 1, 0x7f, 0x80, 0xff, 0x44, 0x45, 0x46, 0x60, 58, 6, 17};
	for (unsigned n = rng_below(r, 4); n > 0; n--) {
		// Headers are where it matters.
		size_t at = rng_below(r, rng_below(r, 2) && len > 64 ? 64 : (uint32_t)len);
		switch (rng_below(r, 5)) {
		case 0:
			buf[at] ^= (uint8_t)(1 << rng_below(r, 8));
			break;
		case 1:
			buf[at] = (uint8_t)rng_next(r);
			break;
		case 2:
			buf[at] = ODD[rng_below(r, sizeof(ODD))];
			break;
		case 3:
			len = at + 1;
			break;
		default: // longer
			for (unsigned more = rng_below(r, 40); more > 0 && len < ROOM; more--)
				buf[len++] = (uint8_t)rng_next(r);
		}
	}
	// Checksums made right let the change through to what lies behind them.
	if (rng_below(r, 4) != 0)
		frames_fix(buf, len);
	return len;
}

static void test_mutations(void **state)
{
	struct rng r = {.state = 0x66757a7a};
	struct tally t = {0};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	for (int i = 0; i < MUTATIONS; i++) {
		uint8_t buf[ROOM];
		size_t len = any_frame(&r, buf);
		len = mutate(&r, buf, len);
		LLVMFuzzerTestOneInput(buf, len);
		count(&t, buf, len);
	}
	// The generator reaches what it is there for.
	static const enum counter SEEN[] = {C_drop_truncated, C_drop_vlan_stacked, C_drop_ethertype,
		C_drop_ip_version, C_drop_ip_header, C_drop_ip_address, C_drop_ip_options,
		C_drop_fragment, C_drop_fragment_tcp, C_drop_protocol, C_drop_l4_header,
		C_drop_l4_checksum, C_drop_icmp_type};
	for (size_t i = 0; i < sizeof(SEEN) / sizeof(SEEN[0]); i++) {
		if (t.counters[SEEN[i]] == 0)
			fail_msg("never seen: %s", counter_texts[SEEN[i]].name);
	}
	assert_in_range(t.kinds[-PARSE_FLOW - 1], MUTATIONS / 10, MUTATIONS);
	assert_in_range(t.kinds[-PARSE_ICMP_ERROR - 1], MUTATIONS / 50, MUTATIONS);
	assert_in_range(t.kinds[-PARSE_ND - 1], MUTATIONS / 100, MUTATIONS);
	assert_in_range(t.kinds[-PARSE_ARP - 1], MUTATIONS / 100, MUTATIONS);
	assert_in_range(t.kinds[-PARSE_FRAGMENT - 1], MUTATIONS / 100, MUTATIONS);
}

static void read_file(const char *path, void *arg)
{
	struct tally *t = arg;
	struct pcap_reader *r = pcap_reader_open(path);
	struct pcap_record record;
	assert_non_null(r);
	unsigned n = 0;
	while (pcap_reader_next(r, &record)) {
		n++;
		if (pcap_reader_linktype(r) != 1 || record.len > ROOM * 4)
			continue;
		LLVMFuzzerTestOneInput(record.data, record.len);
		count(t, record.data, record.len);
	}
	assert_int_not_equal(n, 0);
	t->files++;
	pcap_reader_close(r);
}

static void test_traces(void **state)
{
	struct tally t = {0};
	if (!pcap_traces()) {
		print_message("skipped: no traces\n");
		return;
	}
	unsigned files = pcap_traces_each("torture", read_file, &t);
	assert_int_equal(files, t.files);
	print_message("%u frames of %u files\n", t.frames, t.files);
	for (int i = 0; i < KINDS; i++)
		print_message("%7u kind %d\n", t.kinds[i], -i - 1);
	for (int i = 0; i < COUNTERS; i++) {
		if (t.counters[i] > 0)
			print_message("%7u %s\n", t.counters[i], counter_texts[i].name);
	}
	assert_in_range(t.frames, 1000, UINT32_MAX);
	assert_int_not_equal(t.kinds[-PARSE_FLOW - 1], 0);
	assert_int_not_equal(t.kinds[-PARSE_FRAGMENT - 1], 0);
	assert_int_not_equal(t.counters[C_drop_vlan_stacked], 0);
}

// A file of two records in the byte order of neither kind of machine in particular.
static void test_pcap_reader(void **state)
{
	static const uint8_t LITTLE[] = {0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 4, 0, 1, 0, 0, 0, /* record */ 9, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 60, 0, 0,
		0, 0xab, 0xcd, /* cut */ 9, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1};
	static const uint8_t BIG_NANO[] = {0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 4, 0, 0, 0, 0, 0, 101, /* record */ 0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0,
		0, 60, 0xab, 0xcd};
	static const struct {
		const uint8_t *bytes;
		size_t size;
		uint32_t linktype;
		uint64_t time_ns;
	} CASES[] = {{LITTLE, sizeof(LITTLE), 1, 9000007000},
		{BIG_NANO, sizeof(BIG_NANO), 101, 9000000007}};
	for (size_t i = 0; i < 2; i++) {
		char path[] = "/tmp/tripod-pcap-XXXXXX";
		int fd = mkstemp(path);
		assert_true(fd >= 0);
		FILE *file = fdopen(fd, "wb");
		assert_int_equal(fwrite(CASES[i].bytes, CASES[i].size, 1, file), 1);
		fclose(file);
		struct pcap_reader *r = pcap_reader_open(path);
		struct pcap_record record;
		remove(path);
		assert_non_null(r);
		assert_int_equal(pcap_reader_linktype(r), CASES[i].linktype);
		assert_true(pcap_reader_next(r, &record));
		assert_int_equal(record.len, 2);
		assert_int_equal(record.wire_len, 60);
		assert_int_equal(record.data[1], 0xcd);
		assert_int_equal(record.time_ns, CASES[i].time_ns);
		assert_false(pcap_reader_next(r, &record));
		pcap_reader_close(r);
	}
	assert_null(pcap_reader_open("/dev/null"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_traces),
		cmocka_unit_test(test_pcap_reader),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
