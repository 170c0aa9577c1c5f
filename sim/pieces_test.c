// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/hosts_packet.h"
#include "sim/pieces.h"
#include "sim/world.h"

#define MOST 200

static uint16_t datagram(uint8_t *frame, bool v6, uint16_t payload)
{
	static const uint8_t mac[6] = {2};
	struct tripod_tuple t = {.proto = IPPROTO_UDP, .sport = htons(4000), .dport = htons(443)};
	t.src = hosts_client_addr(1, v6);
	t.dst = hosts_server_addr(2, v6);
	struct hosts_out o = {.tuple = &t, .src_mac = mac, .dst_mac = mac, .payload_len = payload};
	hosts_bytes_fill(hosts_packet_begin(frame, &o), payload, 77, 0, 0);
	return hosts_packet_finish(frame);
}

// Whatever order they come in, one of them twice: the same packet comes out, once the last is there.
static void pieces__join(void **state)
{
	for (unsigned order = 0; order < 12; order++) {
		struct pieces *s = pieces_new();
		uint8_t frame[HOSTS_FRAME_SIZE], piece[HOSTS_FRAME_SIZE];
		bool v6 = order & 1;
		uint16_t len = datagram(frame, v6, 1000), got = 0;
		unsigned n = pieces_of(frame, len, MOST);
		const uint8_t *whole = NULL;
		struct hosts_packet p;

		assert_int_equal(n, 6);
		for (unsigned k = 0; k < n; k++) {
			unsigned at =
				(k * (order & 2 ? 5 : 1) + order) % n; // 5 and 6 have no divisor
			assert_null(whole);
			got = pieces_cut(piece, frame, len, MOST, 9, at);
			assert_true(got < len);
			whole = pieces_join(s, piece, &got);
			if (k > 0)
				continue;
			assert_null(pieces_join(s, piece, &got));
			uint16_t other = pieces_cut(piece, frame, len, MOST, 10, 0);
			assert_null(pieces_join(s, piece, &other));
		}
		assert_non_null(whole);
		assert_int_equal(got, len);
		hosts_packet_read(&p, TRIPOD_OUTGOING, whole, got);
		assert_int_equal(p.kind, HOSTS_PACKET_UDP);
		assert_true(hosts_bytes_right(p.payload, p.payload_len, 77, 0, 0));
		uint16_t same = len;
		assert_ptr_equal(pieces_join(s, frame, &same), frame);
		pieces_free(s);
	}
}

// Where nothing goes wrong, every datagram arrives, whichever node each of its fragments has come to.
static void pieces__all_arrive(void **state)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct overrides fixed = OVERRIDES_NONE;
		struct options o;
		struct hosts_totals t;
		uint64_t all[COUNTERS];

		fixed.nodes = 2 + (int)seed;
		fixed.workers = 1 + (int)seed % 3;
		fixed.faults = 0;
		fixed.prediction = PREDICTION_COMPUTED;
		if (seed % 2 == 0)
			fixed.fields = ECMP_OUTSIDE_ENDPOINT;
		fixed.duration_ns = 4 * SEC;
		options_draw(&o, seed, &fixed);
		options_plain(&o);
		o.connections = 8192;
		o.nat_ports = 2048; // enough for all
		o.cut_bytes = MOST;
		o.cut_blind = seed % 2 == 0;
		o.workload_loss = o.fabric_loss = 0;
		o.chain = 0;
		for (unsigned kind = 0; kind < HOSTS_KINDS; kind++)
			o.hosts.weight[kind] = kind == HOSTS_UDP_IN || kind == HOSTS_UDP_OUT;
		struct world *w = world_new(&o, NULL);
		world_run(w);
		hosts_totals(w->hosts, &t);
		world_counters(w, all);
		assert_int_equal(w->check.n_violations, 0);
		assert_true(all[C_fragments_later] > 1000);
		assert_int_equal(all[C_drop_fragment] + all[C_drop_wait_full], 0);
		assert_true(t.datagrams_lost <= t.late); // of flows that have just ended
		// Both directions go by the outside endpoint, and the first fragments are relayed to where that leads.
		if (seed % 2 == 0)
			assert_int_equal(all[C_takeovers], 0);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces__join),
		cmocka_unit_test(pieces__all_arrive),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
