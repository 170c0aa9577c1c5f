// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/testing/frames.h"
#include "sim/hosts_packet.h"
#include "sim/hosts_wire.h"

#define SECOND UINT64_C(1000000000)

static struct wire_conf everything(uint64_t seed)
{
	return (struct wire_conf){.seed = seed,
		.hosts = {.opens_per_s = 1000,
			.request_reply_percent = 40,
			.idle_percent = 10,
			.abort_percent = 10,
			.refuse_percent = 5,
			.think_max_ms = 50,
			.idle_max_ms = 1500,
			.keepalive_ms = 400,
			.reuse_percent = 20,
			.v6_percent = 30}};
}

static struct hosts_totals run(struct wire *w, uint64_t ns)
{
	struct hosts_totals t;
	wire_run(w, w->now_ns + ns);
	wire_finish(w, 100 * SECOND);
	hosts_totals(w->hosts, &t);
	return t;
}

// All that was opened was established, or refused on purpose, and is done; nothing else happened.
static void all_well(struct wire *w, const struct hosts_totals *t)
{
	const struct wire_event *refused = wire_fault(w, HOSTS_REFUSED);
	if (t->open || t->broken || t->corrupt || refused || t->done != t->established) {
		fprintf(stderr, "seed %lu: ", w->conf.seed);
		wire_print(w);
		fail();
	}
}

static void run__clean_wire(void **state)
{
	struct wire_conf f = everything(1);
	struct wire *w = wire_new(&f);
	struct hosts_totals t = run(w, 4 * SECOND);
	all_well(w, &t);
	for (unsigned k = 0; k < HOSTS_KINDS; k++)
		assert_true(t.opened[k] > 300);
	assert_true(t.done > 3000);
	assert_true(t.refused > 50); // on purpose
	assert_true(t.reused > 300);
	assert_true(t.probes > 0 && t.keepalives > 0);
	assert_int_equal(t.fast_retransmissions, 0);
	assert_int_equal(t.datagrams_lost, 0);
	wire_free(w);
}

// The wire loses, repeats and reorders, more and more; everything gets through all the same.
static void run__bad_wires(void **state)
{
	uint64_t rexmit = 0, fast = 0, lost = 0;
	for (unsigned seed = 1; seed <= 12; seed++) {
		struct wire_conf f = everything(seed);
		f.loss_per_mille = seed * 10;
		f.dup_per_mille = seed * 7;
		f.jitter_ns = seed * seed * 20000;
		f.hosts.opens_per_s = 500;
		struct wire *w = wire_new(&f);
		struct hosts_totals t = run(w, 2 * SECOND);
		all_well(w, &t);
		rexmit += t.retransmissions;
		fast += t.fast_retransmissions;
		lost += t.datagrams_lost;
		wire_free(w);
	}
	assert_true(rexmit > 1000 && fast > 100 && lost > 100);
}

static void run__one_seed_is_one_history(void **state)
{
	uint64_t digest[3];
	for (unsigned i = 0; i < 3; i++) {
		struct wire_conf f = everything(i < 2 ? 5 : 6);
		f.loss_per_mille = 20;
		struct wire *w = wire_new(&f);
		run(w, SECOND);
		digest[i] = w->digest;
		wire_free(w);
	}
	assert_true(digest[0] == digest[1]);
	assert_true(digest[0] != digest[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run__clean_wire),
		cmocka_unit_test(run__bad_wires),
		cmocka_unit_test(run__one_seed_is_one_history),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
