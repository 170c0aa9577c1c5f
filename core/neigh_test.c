// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <tripod/packet.h>

#include "core/neigh.h"
#include "core/parse.h"
#include "core/rng.h"

#define SECOND 1000000000ull
#define ROOM 256

static const uint8_t OWN_MAC[6] = {2, 0, 0, 0, 0, 1}, HOST_MAC[6] = {2, 0, 0, 0, 9, 9},
		     OTHER_MAC[6] = {2, 0, 0, 0, 9, 8}, GATEWAY_MAC[6] = {2, 0, 0x5e, 0, 1, 1};

static struct neigh_self self;
static struct neigh_table table;
static struct step step;
static uint8_t buffers[STEP_SPARE][ROOM];
static uint8_t memory[2 * NEIGH_SLOTS * sizeof(struct neigh)] __attribute__((aligned(64)));

static struct tripod_addr v4(uint32_t host)
{
	return tripod_addr_v4(__builtin_bswap32(host));
}

static struct tripod_addr v6(uint32_t n)
{
	struct tripod_addr a = {{0x20, 0x01, 0x0d, 0xb8}};
	uint32_t be = __builtin_bswap32(n);
	memcpy(a.b + 12, &be, 4);
	return a;
}

static int setup(void **state)
{
	memset(memory, 0, sizeof(memory));
	memset(&step, 0, sizeof(step));
	struct arena a = {.base = memory, .size = sizeof(memory)};
	memcpy(self.mac, OWN_MAC, 6);
	for (unsigned i = 0; i < NEIGH_NETS; i++) {
		self.net[i].vlan = (uint16_t)(10 * (i + 1));
		self.net[i].v4 = v4(0x0a000001 + (i << 16));
		self.net[i].v6 = v6(1 + (i << 16));
	}
	neigh_init(&table, &a, &self);
	step.now_ns = 1000 * SECOND;
	return 0;
}

static void refill(void)
{
	step.n_tx = step.n_done = 0;
	step.n_spare = STEP_SPARE;
	for (unsigned i = 0; i < STEP_SPARE; i++)
		step.spare[i] = (struct frame){.buf = buffers[i], .data = buffers[i], .room = ROOM};
}

static struct tripod_packet as_packet(const struct frame *f)
{
	return (struct tripod_packet){
		.data = f->data, .len = f->len, .room = f->room, .vlan = f->vlan, .l3 = 14};
}

// A whole scan, which takes some milliseconds when the table is large.
static void tick(uint64_t *timed_out)
{
	do {
		if (step.now_ns < table.next_scan_ns)
			step.now_ns = table.next_scan_ns;
		assert_true(neigh_tick(&table, &step, timed_out) > step.now_ns);
	} while (table.scan != 0);
}

// ---- The table ----

static void get__asks_and_learns(void **state)
{
	struct tripod_addr a = v4(0x0a000009);
	refill();
	uint16_t slot = neigh_get(&table, &step, NEIGH_INSIDE, &a);
	assert_int_not_equal(slot, 0);
	struct neigh *n = neigh_at(&table, slot);
	assert_int_equal(n->state, NEIGH_INCOMPLETE);
	assert_int_equal(step.n_tx, 1);
	assert_int_equal(step.n_spare, STEP_SPARE - 1);
	assert_ptr_equal(step.tx[0].buf, buffers[STEP_SPARE - 1]);
	assert_int_equal(step.tx[0].vlan, 20);
	assert_int_equal(step.tx[0].class, FRAME_CONTROL);
	assert_int_equal(neigh_get(&table, &step, NEIGH_INSIDE, &a), slot);
	assert_int_equal(step.n_tx, 1); // asked once
	assert_int_not_equal(neigh_get(&table, &step, NEIGH_OUTSIDE, &a), slot); // another net

	uint8_t data[3][64] = {{0}};
	for (unsigned i = 0; i < 3; i++) {
		struct frame f = {.buf = data[i],
			.data = data[i],
			.len = 64,
			.room = 64,
			.vlan = 20,
			.class = i == 2 ? FRAME_CONTROL : FRAME_DATA};
		assert_true(neigh_wait(n, &f));
	}
	step.n_tx = 0;
	uint16_t generation = n->generation;
	assert_int_equal(neigh_learn(&table, &step, NEIGH_INSIDE, &a, HOST_MAC), slot);
	assert_int_equal(n->state, NEIGH_REACHABLE);
	assert_int_not_equal(n->generation, generation);
	assert_int_equal(step.n_tx, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_ptr_equal(step.tx[i].buf, data[i]);
		assert_memory_equal(data[i], HOST_MAC, 6);
		assert_int_equal(step.tx[i].class, i == 2 ? FRAME_CONTROL : FRAME_DATA);
	}
	generation = n->generation;
	neigh_learn(&table, &step, NEIGH_INSIDE, &a, HOST_MAC);
	assert_int_equal(n->generation, generation); // nothing new
	neigh_learn(&table, &step, NEIGH_INSIDE, &a, OTHER_MAC);
	assert_int_not_equal(n->generation, generation);
	assert_int_equal(step.n_tx, 3);
}

static void learn__no_entry_from_claims(void **state)
{
	static const uint8_t group[6] = {1, 0, 0, 0, 0, 1}, zero[6];
	struct tripod_addr a = v4(0x0a000009), b = v4(0x0a00000a);
	refill();
	assert_int_equal(neigh_learn(&table, &step, NEIGH_INSIDE, &a, HOST_MAC), 0);
	assert_int_equal(table.used, 0);
	uint16_t slot = neigh_get(&table, &step, NEIGH_INSIDE, &a);
	assert_int_equal(neigh_learn(&table, &step, NEIGH_INSIDE, &b, HOST_MAC), 0);
	assert_int_equal(neigh_learn(&table, &step, NEIGH_INSIDE, &a, group), 0);
	assert_int_equal(neigh_learn(&table, &step, NEIGH_INSIDE, &a, zero), 0);
	assert_int_equal(neigh_at(&table, slot)->state, NEIGH_INCOMPLETE);
}

static void wait__limit(void **state)
{
	struct tripod_addr a = v4(1);
	refill();
	struct neigh *n = neigh_at(&table, neigh_get(&table, &step, NEIGH_FABRIC, &a));
	struct frame f = {.data = buffers[0], .len = 64};
	for (unsigned i = 0; i < NEIGH_WAITING; i++)
		assert_true(neigh_wait(n, &f));
	assert_false(neigh_wait(n, &f));
}

// Frames that found the step full go out later, in order.
static void learn__tx_full(void **state)
{
	struct tripod_addr a = v4(0x0a000009);
	uint8_t data[3][64];
	uint64_t timed_out = 0;
	refill();
	struct neigh *n = neigh_at(&table, neigh_get(&table, &step, NEIGH_INSIDE, &a));
	for (unsigned i = 0; i < 3; i++)
		neigh_wait(n, &(struct frame){.buf = data[i], .data = data[i], .len = 64});
	step.n_tx = STEP_TX - 1;
	neigh_learn(&table, &step, NEIGH_INSIDE, &a, HOST_MAC);
	assert_int_equal(n->n_waiting, 2);
	refill();
	tick(&timed_out);
	assert_int_equal(step.n_tx, 2);
	assert_ptr_equal(step.tx[0].buf, data[1]);
	assert_ptr_equal(step.tx[1].buf, data[2]);
	assert_int_equal(n->n_waiting, 0);
	assert_int_equal(timed_out, 0);
}

static void tick__gives_up_after_three(void **state)
{
	struct tripod_addr a = v6(77);
	uint64_t timed_out = 0;
	unsigned asked = 0;
	refill();
	uint16_t slot = neigh_get(&table, &step, NEIGH_OUTSIDE, &a);
	struct neigh *n = neigh_at(&table, slot);
	uint16_t generation = n->generation;
	for (uintptr_t i = 1; i <= 2; i++)
		neigh_wait(n, &(struct frame){.buf = (void *)i, .data = buffers[0], .len = 64});
	uint64_t start = step.now_ns;
	asked += step.n_tx;
	while (n->state == NEIGH_INCOMPLETE && step.now_ns < start + 60 * SECOND) {
		refill();
		step.n_done = STEP_DONE - 1; // room for one at a time
		step.now_ns += SECOND / 10;
		tick(&timed_out);
		asked += step.n_tx;
	}
	assert_int_equal(asked, 3);
	assert_int_equal(timed_out, 2);
	assert_int_equal(n->state, NEIGH_FREE);
	assert_int_not_equal(n->generation, generation);
	assert_true(step.now_ns >= start + 3 * SECOND && step.now_ns < start + 6 * SECOND);
	assert_int_equal(table.used, 0);
	assert_int_equal(table.incomplete, 0);
	refill();
	assert_int_not_equal(neigh_get(&table, &step, NEIGH_OUTSIDE, &a), 0);
	assert_int_equal(step.n_tx, 1); // asks anew
}

static void tick__no_spare_tries_again(void **state)
{
	struct tripod_addr a = v4(5);
	uint64_t timed_out = 0;
	step.n_spare = step.n_tx = 0;
	assert_int_not_equal(neigh_get(&table, &step, NEIGH_INSIDE, &a), 0);
	assert_int_equal(step.n_tx, 0);
	refill();
	step.n_tx = STEP_TX;
	tick(&timed_out);
	assert_int_equal(step.n_spare, STEP_SPARE);
	refill();
	tick(&timed_out);
	assert_int_equal(step.n_tx, 1);
}

static void tick__refresh_stale_free(void **state)
{
	struct tripod_addr a = v4(5);
	uint64_t timed_out = 0, start = step.now_ns;
	unsigned asked = 0;
	refill();
	uint16_t slot = neigh_get(&table, &step, NEIGH_INSIDE, &a);
	struct neigh *n = neigh_at(&table, slot);
	neigh_learn(&table, &step, NEIGH_INSIDE, &a, HOST_MAC);
	for (unsigned s = 0; s < 29; s++) { // in use, fresh: not asked
		refill();
		step.now_ns += SECOND;
		n->used_ns = step.now_ns;
		tick(&timed_out);
		asked += step.n_tx;
	}
	assert_int_equal(asked, 0);
	refill();
	step.now_ns = start + 31 * SECOND;
	tick(&timed_out);
	assert_int_equal(step.n_tx, 1);
	assert_int_equal(n->state, NEIGH_REACHABLE);
	neigh_learn(&table, &step, NEIGH_INSIDE, &a, HOST_MAC);
	for (unsigned s = 0, old_tx = 0; s < 80; s++) { // now it is silent, and in use
		refill();
		step.now_ns += SECOND;
		n->used_ns = step.now_ns;
		tick(&timed_out);
		asked += step.n_tx;
		assert_true(step.n_tx <= 1 && old_tx + step.n_tx <= 2);
		old_tx = step.n_tx;
		assert_int_equal(neigh_get(&table, &step, NEIGH_INSIDE, &a), slot);
	}
	assert_int_equal(asked, 6); // three from second 30 on, three from second 62 on
	assert_int_equal(n->state, NEIGH_STALE);
	assert_memory_equal(n->mac, HOST_MAC, 6);
	refill();
	step.now_ns = n->used_ns + 599 * SECOND;
	tick(&timed_out);
	assert_int_not_equal(n->state, NEIGH_FREE);
	step.now_ns = n->used_ns + 601 * SECOND;
	tick(&timed_out);
	assert_int_equal(n->state, NEIGH_FREE);
	assert_int_equal(timed_out, 0);
}

static void get__full(void **state)
{
	uint64_t timed_out = 0;
	unsigned i;
	struct tripod_addr a;
	for (i = 1;; i++) { // a scan of addresses that nobody has
		refill();
		a = v6(i);
		if (neigh_get(&table, &step, NEIGH_INSIDE, &a) == 0)
			break;
	}
	assert_int_equal(i, NEIGH_SLOTS / 2 + 1);
	for (i = 1; i < NEIGH_SLOTS; i++) { // answered: they no longer count
		refill();
		a = v6(i);
		uint16_t slot = neigh_get(&table, &step, NEIGH_INSIDE, &a);
		assert_int_not_equal(slot, 0);
		assert_int_equal(neigh_learn(&table, &step, NEIGH_INSIDE, &a, HOST_MAC), slot);
	}
	refill();
	a = v6(NEIGH_SLOTS);
	assert_int_equal(neigh_get(&table, &step, NEIGH_INSIDE, &a), 0);
	assert_int_equal(table.used, NEIGH_SLOTS - 1);
	step.now_ns += 100 * SECOND; // stale ones make room
	tick(&timed_out);
	refill();
	assert_int_not_equal(neigh_get(&table, &step, NEIGH_INSIDE, &a), 0);
	assert_int_equal(table.used, NEIGH_SLOTS - 1);
}

// Against a list of what should be there.
static void prop__table(void **state)
{
	enum { ADDRS = 300 };
	struct rng r = {4861};
	printf("seed 4861\n");
	table.seed = rng_next(&r);
	uint16_t slot_of[ADDRS] = {0};
	uint64_t made[ADDRS] = {0}, timed_out = 0;
	for (unsigned i = 0; i < 60000; i++) {
		unsigned k = rng_below(&r, ADDRS);
		struct tripod_addr a = k & 1 ? v4(k) : v6(k);
		enum neigh_net net = k % 3;
		refill();
		if (rng_below(&r, 4) == 0) {
			uint16_t slot = neigh_learn(&table, &step, net, &a, HOST_MAC);
			assert_int_equal(slot, slot_of[k]);
		} else {
			uint16_t slot = neigh_get(&table, &step, net, &a);
			assert_int_not_equal(slot, 0);
			assert_true(slot_of[k] == 0 || slot_of[k] == slot);
			assert_true(tripod_addr_equal(&neigh_at(&table, slot)->addr, &a));
			made[k] = slot_of[k] == 0 ? step.now_ns : made[k];
			slot_of[k] = slot;
		}
		step.now_ns += rng_below(&r, 1000) == 0 ? 300 * SECOND : SECOND / 1000;
		neigh_tick(&table, &step, &timed_out);
		unsigned n = 0;
		for (unsigned j = 0; j < ADDRS; j++) {
			if (slot_of[j] != 0 && neigh_at(&table, slot_of[j])->state == NEIGH_FREE) {
				assert_true(step.now_ns - made[j] >= 3 * SECOND);
				slot_of[j] = 0;
			}
			n += slot_of[j] != 0;
		}
		assert_int_equal(table.used, n);
	}
}

// ---- Messages ----

static void request__arp(void **state)
{
	struct tripod_addr a = v4(0x0a010009);
	refill();
	struct frame *f = &step.spare[0];
	memset(f->data, 0xee, ROOM);
	neigh_request(f, &self, NEIGH_INSIDE, &a);
	static const uint8_t want[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6,
		0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 10, 1, 0,
		9};
	assert_int_equal(f->len, 42);
	assert_memory_equal(f->data, want, 42);
	f->room = 60;
	neigh_request(f, &self, NEIGH_INSIDE, &a);
	assert_int_equal(f->len, 0);
}

static void answer__arp(void **state)
{
	struct tripod_addr a = v4(0x0a010001);
	refill();
	struct frame *f = &step.spare[0];
	neigh_request(f, &self, NEIGH_INSIDE, &a);
	f->len = 60; // padded
	struct tripod_packet p = as_packet(f);
	struct neigh_message m;
	assert_int_equal(neigh_parse(&p, &m), 0);
	assert_int_equal(m.what, NEIGH_REQUEST);
	assert_true(tripod_addr_equal(&m.sender, &self.net[NEIGH_INSIDE].v4));
	assert_true(tripod_addr_equal(&m.target, &a));
	assert_memory_equal(m.mac, OWN_MAC, 6);
	assert_true(neigh_answer(&p, &m, GATEWAY_MAC));
	assert_int_equal(p.len, 42);
	static const uint8_t want[42] = {2, 0, 0, 0, 0, 1, 2, 0, 0x5e, 0, 1, 1, 8, 6, 0, 1, 8, 0, 6,
		4, 0, 2, 2, 0, 0x5e, 0, 1, 1, 10, 1, 0, 1, 2, 0, 0, 0, 0, 1, 10, 1, 0, 1};
	assert_memory_equal(p.data, want, 42);
	assert_int_equal(neigh_parse(&p, &m), 0);
	assert_int_equal(m.what, NEIGH_REPLY);
	assert_true(tripod_addr_equal(&m.sender, &a)); // who is where
	assert_memory_equal(m.mac, GATEWAY_MAC, 6);
}

static void parse__arp_refused(void **state)
{
	struct tripod_addr a = v4(0x0a010009);
	struct neigh_message m;
	refill();
	struct frame *f = &step.spare[0];
	neigh_request(f, &self, NEIGH_INSIDE, &a);
	struct tripod_packet p = as_packet(f);
	static const struct {
		unsigned at;
		uint8_t value;
	} wrong[] = {{13, 0}, {15, 2}, {16, 9}, {17, 1}, {18, 5}, {19, 5}, {20, 1}, {21, 0},
		{21, 3}, {22, 3}, {28, 224}, {28, 255}, {38, 239}};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint8_t was = f->data[wrong[i].at];
		f->data[wrong[i].at] = wrong[i].value;
		assert_int_equal(neigh_parse(&p, &m), -EINVAL);
		f->data[wrong[i].at] = was;
	}
	assert_int_equal(neigh_parse(&p, &m), 0);
	p.len = 41;
	assert_int_equal(neigh_parse(&p, &m), -EINVAL);
	p.len = 42;
	memset(f->data + 28, 0, 4); // a probe (RFC 5227)
	assert_int_equal(neigh_parse(&p, &m), 0);
	static const struct tripod_addr zero;
	assert_true(tripod_addr_equal(&m.sender, &zero));
	f->data[21] = 2; // a reply from nobody
	assert_int_equal(neigh_parse(&p, &m), -EINVAL);
	memset(f->data + 22, 0, 6);
	f->data[21] = 1;
	assert_int_equal(neigh_parse(&p, &m), -EINVAL);
}

// The checksum by its definition, apart from the code under test.
static uint16_t icmp6_checksum(const uint8_t *ip, size_t n)
{
	uint32_t sum = 58 + (uint32_t)n;
	for (size_t i = 8; i < 40 + n; i += 2)
		sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum; // 0: right
}

static void fix_checksum(uint8_t *ip)
{
	size_t n = (size_t)(ip[4] << 8 | ip[5]);
	ip[42] = ip[43] = 0;
	uint16_t sum = icmp6_checksum(ip, n);
	ip[42] = (uint8_t)(sum >> 8);
	ip[43] = (uint8_t)sum;
}

static void request__nd(void **state)
{
	struct tripod_addr a = v6(0x12345678);
	refill();
	struct frame *f = &step.spare[0];
	memset(f->data, 0xee, ROOM);
	neigh_request(f, &self, NEIGH_OUTSIDE, &a);
	assert_int_equal(f->len, 86);
	assert_int_equal(f->vlan, 10);
	assert_int_equal(f->class, FRAME_CONTROL);
	static const uint8_t eth[14] = {
		0x33, 0x33, 0xff, 0x34, 0x56, 0x78, 2, 0, 0, 0, 0, 1, 0x86, 0xdd};
	static const uint8_t ip[8] = {0x60, 0, 0, 0, 0, 32, 58, 255};
	static const uint8_t group[16] = {
		0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x34, 0x56, 0x78};
	static const uint8_t option[8] = {1, 1, 2, 0, 0, 0, 0, 1};
	assert_memory_equal(f->data, eth, 14);
	assert_memory_equal(f->data + 14, ip, 8);
	assert_memory_equal(f->data + 22, self.net[NEIGH_OUTSIDE].v6.b, 16);
	assert_memory_equal(f->data + 38, group, 16);
	assert_int_equal(f->data[54], 135);
	assert_int_equal(f->data[55], 0);
	assert_memory_equal(f->data + 62, a.b, 16);
	assert_memory_equal(f->data + 78, option, 8);
	assert_int_equal(icmp6_checksum(f->data + 14, 32), 0);
}

static void answer__nd(void **state)
{
	struct tripod_addr a = v6(0x12345678);
	struct neigh_message m;
	refill();
	struct frame *f = &step.spare[0];
	neigh_request(f, &self, NEIGH_OUTSIDE, &a);
	struct tripod_packet p = as_packet(f);
	assert_int_equal(neigh_parse(&p, &m), 0);
	assert_int_equal(m.what, NEIGH_REQUEST);
	assert_true(tripod_addr_equal(&m.target, &a));
	assert_true(tripod_addr_equal(&m.sender, &self.net[NEIGH_OUTSIDE].v6));
	assert_memory_equal(m.mac, OWN_MAC, 6);
	p.room = 85;
	assert_false(neigh_answer(&p, &m, GATEWAY_MAC));
	p.room = 86;
	assert_true(neigh_answer(&p, &m, GATEWAY_MAC));
	assert_int_equal(p.len, 86);
	static const uint8_t option[8] = {2, 1, 2, 0, 0x5e, 0, 1, 1};
	assert_memory_equal(p.data, OWN_MAC, 6);
	assert_memory_equal(p.data + 6, GATEWAY_MAC, 6);
	assert_int_equal(p.data[21], 255);
	assert_memory_equal(p.data + 22, a.b, 16);
	assert_memory_equal(p.data + 38, self.net[NEIGH_OUTSIDE].v6.b, 16);
	assert_int_equal(p.data[54], 136);
	assert_int_equal(p.data[58], 0xe0);
	assert_memory_equal(p.data + 62, a.b, 16);
	assert_memory_equal(p.data + 78, option, 8);
	assert_int_equal(icmp6_checksum(p.data + 14, 32), 0);
	assert_int_equal(neigh_parse(&p, &m), 0);
	assert_int_equal(m.what, NEIGH_REPLY);
	assert_true(tripod_addr_equal(&m.sender, &a));
	assert_memory_equal(m.mac, GATEWAY_MAC, 6);
}

// Duplicate address detection: from nobody, without the option; answered to all nodes.
static void answer__nd_probe(void **state)
{
	static const uint8_t all[6] = {0x33, 0x33, 0, 0, 0, 1}, all_ip[2] = {0xff, 0x02};
	struct tripod_addr a = v6(7);
	struct neigh_message m;
	struct neigh_self nobody = self;
	memset(&nobody.net[0].v6, 0, 16);
	refill();
	struct frame *f = &step.spare[0];
	neigh_request(f, &nobody, NEIGH_OUTSIDE, &a);
	assert_int_equal(f->len, 78);
	struct tripod_packet p = as_packet(f);
	assert_int_equal(neigh_parse(&p, &m), 0);
	assert_true(neigh_answer(&p, &m, GATEWAY_MAC));
	assert_memory_equal(p.data, all, 6);
	assert_memory_equal(p.data + 38, all_ip, 2);
	assert_int_equal(p.data[58], 0xa0); // not solicited
	assert_int_equal(icmp6_checksum(p.data + 14, 32), 0);
	assert_int_equal(neigh_parse(&p, &m), 0);
	p.data[58] = 0xe0;
	fix_checksum(p.data + 14);
	assert_int_equal(neigh_parse(&p, &m), -EINVAL);
}

// A solicitation that does not say where the answer goes: to where it came from.
static void answer__nd_without_option(void **state)
{
	static const uint8_t zero[6];
	struct tripod_addr a = v6(7);
	struct neigh_message m;
	refill();
	struct frame *f = &step.spare[0];
	neigh_request(f, &self, NEIGH_OUTSIDE, &a);
	f->data[19] = 24;
	f->len = 78;
	fix_checksum(f->data + 14);
	struct tripod_packet p = as_packet(f);
	assert_int_equal(neigh_parse(&p, &m), 0);
	assert_memory_equal(m.mac, zero, 6);
	assert_true(neigh_answer(&p, &m, GATEWAY_MAC));
	assert_memory_equal(p.data, OWN_MAC, 6);
}

static void parse__nd_refused(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
	} wrong[] = {{14, 0x40}, {18, 1}, {19, 23}, {19, 31}, {19, 33}, {20, 17}, {21, 254},
		{22, 0xff}, {54, 133}, {54, 137}, {55, 1}, {62, 0xff}, {79, 0}, {79, 2}, {80, 1}};
	struct tripod_addr a = v6(7);
	struct neigh_message m;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		refill();
		struct frame *f = &step.spare[0];
		memset(f->data, 0, ROOM);
		neigh_request(f, &self, NEIGH_OUTSIDE, &a);
		f->data[wrong[i].at] = wrong[i].value;
		if (wrong[i].at != 18)
			fix_checksum(f->data + 14);
		struct tripod_packet p = as_packet(f);
		assert_int_equal(neigh_parse(&p, &m), -EINVAL);
	}
	refill();
	struct frame *f = &step.spare[0];
	neigh_request(f, &self, NEIGH_OUTSIDE, &a);
	f->data[57] ^= 1; // checksum
	struct tripod_packet p = as_packet(f);
	assert_int_equal(neigh_parse(&p, &m), -EINVAL);
	f->data[57] ^= 1;
	memset(f->data + 22, 0, 16); // from nobody, with the option
	fix_checksum(f->data + 14);
	assert_int_equal(neigh_parse(&p, &m), -EINVAL);
	p.l3 = 13;
	assert_int_equal(neigh_parse(&p, &m), -EINVAL);
	p.l3 = 200;
	assert_int_equal(neigh_parse(&p, &m), -EINVAL);
}

// Any bytes of any length: no access outside (the buffer is as long as the frame to the byte), and
// what is accepted can be answered.
static void prop__parse(void **state)
{
	struct rng r = {826};
	printf("seed 826\n");
	unsigned good = 0;
	for (unsigned i = 0; i < 60000; i++) {
		struct tripod_addr a = i & 1 ? v4(0x0a000000 + i) : v6(i);
		refill();
		struct frame *f = &step.spare[0];
		neigh_request(f, &self, NEIGH_OUTSIDE, &a);
		for (unsigned k = rng_below(&r, 4); k > 0; k--)
			f->data[12 + rng_below(&r, f->len - 12u)] = (uint8_t)rng_next(&r);
		if (!(i & 1) && rng_below(&r, 2) && f->data[18] == 0 && f->data[19] < 100)
			fix_checksum(f->data + 14);
		uint16_t len = (uint16_t)(14 + rng_below(&r, 6) ? f->len : rng_below(&r, f->len));
		uint8_t *b = malloc(len);
		memcpy(b, f->data, len);
		struct tripod_packet p = {.data = b, .len = len, .room = len, .l3 = 14};
		struct neigh_message m;
		if (neigh_parse(&p, &m) == 0) {
			good++;
			if (m.what == NEIGH_REQUEST && neigh_answer(&p, &m, GATEWAY_MAC)) {
				assert_true(p.len <= p.room);
				assert_int_equal(neigh_parse(&p, &m), 0);
			}
		}
		free(b);
	}
	assert_true(good > 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(get__asks_and_learns, setup),
		cmocka_unit_test_setup(learn__no_entry_from_claims, setup),
		cmocka_unit_test_setup(wait__limit, setup),
		cmocka_unit_test_setup(learn__tx_full, setup),
		cmocka_unit_test_setup(tick__gives_up_after_three, setup),
		cmocka_unit_test_setup(tick__no_spare_tries_again, setup),
		cmocka_unit_test_setup(tick__refresh_stale_free, setup),
		cmocka_unit_test_setup(get__full, setup),
		cmocka_unit_test_setup(prop__table, setup),
		cmocka_unit_test_setup(request__arp, setup),
		cmocka_unit_test_setup(answer__arp, setup),
		cmocka_unit_test_setup(parse__arp_refused, setup),
		cmocka_unit_test_setup(request__nd, setup),
		cmocka_unit_test_setup(answer__nd, setup),
		cmocka_unit_test_setup(answer__nd_probe, setup),
		cmocka_unit_test_setup(answer__nd_without_option, setup),
		cmocka_unit_test_setup(parse__nd_refused, setup),
		cmocka_unit_test_setup(prop__parse, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
