// SPDX-License-Identifier: BSD-3-Clause
// Synchronous durability on the real core: what it promises, at every step of a connection's life.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/lives.h"

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 4;
	c.workers = c.workers ? c.workers : 1;
	c.backups = c.backups ? c.backups : 2;
	c.seed = c.seed ? c.seed : 11;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

static void run_ms(struct lives *l, struct rack *r, unsigned ms)
{
	for (uint64_t end = rack_now_ns(r) + ms * MS; rack_now_ns(r) < end;)
		lives_step(l);
}

// ---- Every pair of nodes, at every step ----

#define STEPS 96 // of the rack, longer than a life without failures
#define ROLES 3 // master and backups

// Connections of which node 0 is master and nodes 1 and 2 are backups.
static void same_roles(struct rack *r, struct lives *l, unsigned n)
{
	const struct shard *s = node_shard(rack_node(r, 0), 0);

	for (unsigned i = 0, tries = 0; i < n; tries++) {
		char address[20];
		struct tripod_tuple key = {.proto = 6, .direction = TRIPOD_OUTGOING};
		snprintf(address, sizeof(address), "198.18.%u.%u", tries / 250, tries % 250 + 1);
		lives_to(l, i, address, 80);
		struct frame_spec first = lives_first(l, i);
		tripod_addr_parse(&key.src, first.src);
		tripod_addr_parse(&key.dst, first.dst);
		key.sport = htons(first.sport);
		key.dport = htons(first.dport);
		if (rack_hash(r, &first, TRIPOD_OUTGOING) == 0 &&
			place_rendezvous(s, &key, s->live & ~1ull, 2) == 6)
			i++;
	}
}

// Connections at every step of their life when nodes a and b die. Returns how many do not go on.
static unsigned broken_by(struct rack_conf conf, unsigned a, unsigned b, bool roles)
{
	conf.nodes = 6;
	struct rack *r = rack_of(conf);
	struct lives *l = lives_new(r, STEPS, 30);

	if (roles) {
		same_roles(r, l, STEPS);
	} else {
		for (unsigned i = 0; i < STEPS; i++)
			lives_to(l, i, "198.18.7.7", (uint16_t)(2000 + i));
	}
	for (unsigned i = 0; i < STEPS; i++) {
		lives_open(l, i);
		lives_step(l);
	}
	rack_kill(r, a);
	rack_kill(r, b);
	for (unsigned ms = 0; ms < 2000 && lives_count(l, LIFE_CLOSED) < STEPS; ms += 20)
		run_ms(l, r, 20);
	unsigned broken = STEPS - lives_count(l, LIFE_CLOSED);
	rack_check(r);
	lives_free(l);
	rack_free(r);
	return broken;
}

static void every_pair(struct rack_conf conf, bool roles)
{
	conf.sync = true;
	for (unsigned a = 0; a < 6; a++) {
		for (unsigned b = a + 1; b < 6; b++) {
			unsigned broken = broken_by(conf, a, b, roles);
			if (broken > 0)
				print_message("nodes %u and %u: %u broken\n", a, b, broken);
			assert_int_equal(broken, 0);
		}
	}
}

static void sync__every_pair_at_every_step(void **state)
{
	every_pair((struct rack_conf){.seed = 60}, true);
}

static void sync__every_pair_with_loss(void **state)
{
	for (unsigned seed = 61; seed < 64; seed++)
		every_pair((struct rack_conf){.seed = seed, .loss_percent = 10}, true);
}

static void sync__every_pair_of_any_roles(void **state)
{
	for (unsigned seed = 70; seed < 74; seed++)
		every_pair((struct rack_conf){.seed = seed}, false);
}

static void sync__every_pair_with_split_directions(void **state)
{
	for (unsigned seed = 80; seed < 84; seed++)
		every_pair((struct rack_conf){.seed = seed, .split = true}, false);
}

static void sync__every_pair_with_workers(void **state)
{
	every_pair((struct rack_conf){.seed = 90, .workers = 2}, false);
	every_pair((struct rack_conf){.seed = 91, .workers = 3, .split = true, .loss_percent = 5},
		false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sync__every_pair_at_every_step),
		cmocka_unit_test(sync__every_pair_with_loss),
		cmocka_unit_test(sync__every_pair_of_any_roles),
		cmocka_unit_test(sync__every_pair_with_split_directions),
		cmocka_unit_test(sync__every_pair_with_workers),
	};
	return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
