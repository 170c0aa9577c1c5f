// SPDX-License-Identifier: BSD-3-Clause
// What a node answers itself: ARP, echo, and BFD towards the switch.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/rack.h"

static const uint8_t HOST[6] = {2, 0, 0, 0, 0x77, 7};

struct seen {
	unsigned arp; // replies
	uint16_t vlan; // of the last one
	uint8_t mac[6]; // ... that it tells of
	uint8_t echo_to[6]; // MAC that the last echo reply went to
	unsigned bfd;
	uint8_t bfd_state; // of the last packet
};

static bool look(void *ctx, unsigned from, const struct frame *f)
{
	struct seen *seen = ctx;
	const uint8_t *b = f->data;

	if (b[12] == 8 && b[13] == 6 && b[21] == 2) {
		seen->arp++;
		seen->vlan = f->vlan;
		memcpy(seen->mac, b + 22, 6);
	}
	if (f->vlan == 10 && b[12] == 8 && b[23] == IPPROTO_ICMP)
		memcpy(seen->echo_to, b, 6);
	if (f->vlan == 0 && b[12] == 8 && b[23] == IPPROTO_UDP && b[36] == 3784 >> 8) {
		seen->bfd++;
		seen->bfd_state = b[43] >> 6;
	}
	return false;
}

static struct rack *rack_of(struct rack_conf c, struct seen *seen)
{
	c.nodes = 1;
	c.workers = c.workers ? c.workers : 1;
	c.seed = 8;
	*seen = (struct seen){0};
	struct rack *r = rack_new(&c);
	rack_tap(r, look, seen);
	return r;
}

// 0: no answer, else the last byte of the MAC that the answer tells.
static unsigned who_has(struct rack *r, struct seen *seen, uint16_t vlan, const char *target)
{
	uint8_t b[64];
	size_t len = frames_arp(b, sizeof(b), 1, HOST, "203.0.113.99", HOST, target);

	*seen = (struct seen){0};
	rack_inject(r, 0, vlan, b, len);
	rack_run_ms(r, 1);
	if (seen->arp == 0)
		return 0;
	assert_int_equal(seen->arp, 1);
	assert_int_equal(seen->vlan, vlan);
	return seen->mac[2] == 0x5e ? 0x100u + seen->mac[5] : seen->mac[5];
}

static void local__arp(void **state)
{
	struct seen seen;
	struct rack *r = rack_of((struct rack_conf){0}, &seen);

	rack_run_ms(r, 10);
	assert_int_equal(who_has(r, &seen, 10, "203.0.113.1"), 0x101); // the gateways' MACs
	assert_int_equal(who_has(r, &seen, 20, "10.1.0.1"), 0x102);
	assert_int_equal(who_has(r, &seen, 10, "203.0.113.11"), 1); // the node's own
	assert_int_equal(who_has(r, &seen, 20, "10.1.0.11"), 1);
	assert_int_equal(who_has(r, &seen, 30, "10.255.0.1"), 1);
	assert_int_equal(who_has(r, &seen, 10, "10.1.0.1"), 0); // another side's
	assert_int_equal(who_has(r, &seen, 30, "203.0.113.1"), 0);
	assert_int_equal(who_has(r, &seen, 10, "203.0.113.77"), 0);
	assert_int_equal(who_has(r, &seen, 0, "10.255.0.1"), 0); // untagged is the switch's
	assert_int_equal(rack_buffers_lost(r), 0);
	rack_free(r);
}

static void local__echo(void **state)
{
	static struct rack_arrival a[16];
	struct seen seen;
	struct rack *r = rack_of((struct rack_conf){.workers = 2}, &seen);
	struct frame_spec ping = {.proto = IPPROTO_ICMP,
		.src = "203.0.113.99",
		.sport = 7,
		.seq = 1,
		.payload_len = 32};

	ping.dst = "203.0.113.1";
	rack_send(r, TRIPOD_INCOMING, &ping);
	rack_run_ms(r, 5);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 16), 1);
	assert_memory_equal(seen.echo_to, ((uint8_t[]){2, 0, 0, 0, 0xaa, 1}), 6);
	ping.dst = "203.0.113.11";
	rack_send(r, TRIPOD_INCOMING, &ping);
	rack_run_ms(r, 5);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 16), 1);
	ping.echo_reply = true; // nothing asked for it
	rack_send(r, TRIPOD_INCOMING, &ping);
	rack_run_ms(r, 5);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 16), 0);
	assert_int_equal(rack_counter(r, 0, C_connections_opened), 0);
	rack_free(r);
}

// The switch is told to send packets here once the peers had time to be heard, and no longer than all
// workers run.
static void local__bfd(void **state)
{
	struct seen seen;
	struct rack *r = rack_of((struct rack_conf){.workers = 2, .bfd = true}, &seen);

	rack_run_ms(r, 190);
	assert_int_equal(seen.bfd_state, BFD_ADMIN_DOWN);
	rack_run_ms(r, 1500);
	assert_true(seen.bfd > 0);
	assert_int_equal(seen.bfd_state, BFD_DOWN);
	rack_stall(r, 0, 1, true);
	rack_run_ms(r, 80);
	assert_int_equal(seen.bfd_state, BFD_DOWN);
	rack_run_ms(r, 1500);
	assert_int_equal(seen.bfd_state, BFD_ADMIN_DOWN);
	rack_stall(r, 0, 1, false);
	rack_run_ms(r, 1500);
	assert_int_equal(seen.bfd_state, BFD_DOWN);
	node_set_ready(rack_node(r, 0), false);
	rack_run_ms(r, 1500);
	assert_int_equal(seen.bfd_state, BFD_ADMIN_DOWN);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(local__arp),
		cmocka_unit_test(local__echo),
		cmocka_unit_test(local__bfd),
	};
	return cmocka_run_group_tests_name("local", tests, NULL, NULL);
}
