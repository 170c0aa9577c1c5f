// SPDX-License-Identifier: BSD-3-Clause
#include "sim/ecmp.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/rng.h"

enum { FLOWS = 4000, PORTS = 6 };
#define ALL 0x3full

static struct tripod_tuple flow(struct rng *r, enum tripod_direction direction, uint8_t proto)
{
	struct tripod_tuple t = {
		.src = tripod_addr_v4((uint32_t)rng_next(r)),
		.dst = tripod_addr_v4((uint32_t)rng_next(r)),
		.sport = (uint16_t)rng_next(r),
		.dport = (uint16_t)rng_next(r),
		.proto = proto,
		.direction = direction,
	};
	return t;
}

static struct ecmp ecmp_of(unsigned model, unsigned fields)
{
	return (struct ecmp){.model = model, .fields = fields, .seed = 77, .ports = ALL};
}

// No port gets twice its share, none half of it.
static void ecmp__spreads(void **state)
{
	for (unsigned model = 0; model < ECMP_MODELS; model++) {
		for (unsigned fields = 0; fields < ECMP_FIELDS; fields++) {
			struct ecmp e = ecmp_of(model, fields);
			struct rng r = {.state = 1};
			unsigned got[64] = {0};
			for (unsigned n = 0; n < FLOWS; n++) {
				struct tripod_tuple t = flow(&r, n & 1, IPPROTO_TCP);
				got[ecmp_next(&e, &t, 0x2b)]++;
			}
			for (unsigned p = 0; p < PORTS; p++) {
				assert_true((0x2b >> p & 1) || got[p] == 0);
				assert_true(!(0x2b >> p & 1) || got[p] > FLOWS / 8);
				assert_true(got[p] < FLOWS / 2);
			}
		}
	}
}

static unsigned moved(unsigned model, uint64_t from, uint64_t to, uint64_t except)
{
	struct ecmp e = ecmp_of(model, ECMP_5_TUPLE);
	struct rng r = {.state = 2};
	unsigned n = 0;

	for (unsigned i = 0; i < FLOWS; i++) {
		struct tripod_tuple t = flow(&r, TRIPOD_INCOMING, IPPROTO_UDP);
		int was = ecmp_next(&e, &t, from), is = ecmp_next(&e, &t, to);
		n += was != is && !(except >> was & 1) && !(except >> is & 1);
	}
	return n;
}

// A port that fails: its flows move. Which others do is what the models differ in.
static void ecmp__moves(void **state)
{
	assert_int_equal(moved(ECMP_RESILIENT, ALL, ALL & ~4, 4), 0);
	assert_int_equal(moved(ECMP_RESILIENT, ALL & ~4, ALL & ~12, 8), 0);
	assert_int_equal(moved(ECMP_TWO_STAGE, ALL, ALL & ~4, 4), 0);
	assert_true(moved(ECMP_TWO_STAGE, ALL & ~4, ALL & ~12, 8) > 0); // those of the first one
	assert_true(moved(ECMP_MODULO, ALL, ALL & ~4, 4) > FLOWS / 3);
}

// What one dead port leaves is spread over all others.
static void ecmp__second_stage_is_another_hash(void **state)
{
	struct ecmp e = ecmp_of(ECMP_TWO_STAGE, ECMP_5_TUPLE);
	struct rng r = {.state = 3};
	unsigned got[PORTS] = {0};

	for (unsigned i = 0; i < FLOWS; i++) {
		struct tripod_tuple t = flow(&r, TRIPOD_INCOMING, IPPROTO_UDP);
		if (ecmp_next(&e, &t, ALL) == 2)
			got[ecmp_next(&e, &t, ALL & ~4)]++;
	}
	for (unsigned p = 0; p < PORTS; p++)
		assert_true(p == 2 ? got[p] == 0 : got[p] > FLOWS / PORTS / 10);
}

static unsigned together(unsigned fields, bool nat, uint8_t proto)
{
	struct ecmp e = ecmp_of(ECMP_RESILIENT, fields);
	struct rng r = {.state = 4};
	unsigned n = 0;

	for (unsigned i = 0; i < FLOWS; i++) {
		struct tripod_tuple t = flow(&r, i & 1, proto), out = t;
		if (nat && t.direction == TRIPOD_INCOMING)
			out.dst = tripod_addr_v4(htonl(0x0a000001)); // a backend
		else if (nat)
			out.src = tripod_addr_v4(htonl(0xcb007101));
		struct tripod_tuple back = tripod_tuple_reverse(&out);
		n += ecmp_next(&e, &t, ALL) == ecmp_next(&e, &back, ALL);
	}
	return n;
}

static void ecmp__directions(void **state)
{
	assert_int_equal(together(ECMP_OUTSIDE_ENDPOINT, true, IPPROTO_TCP), FLOWS);
	assert_int_equal(together(ECMP_OUTSIDE_ENDPOINT, true, IPPROTO_ICMP), FLOWS);
	assert_int_equal(together(ECMP_SYMMETRIC, false, IPPROTO_UDP), FLOWS);
	assert_true(together(ECMP_SYMMETRIC, true, IPPROTO_TCP) < FLOWS / 2);
	assert_true(together(ECMP_5_TUPLE, false, IPPROTO_TCP) < FLOWS / 2);
}

static void ecmp__icmp_has_no_ports(void **state)
{
	for (unsigned fields = 0; fields < ECMP_FIELDS; fields++) {
		struct ecmp e = ecmp_of(ECMP_MODULO, fields);
		struct rng r = {.state = 5};
		struct tripod_tuple t = flow(&r, TRIPOD_INCOMING, IPPROTO_ICMP), other = t;
		other.sport = other.dport = (uint16_t)~t.sport;
		assert_int_equal(ecmp_hash(&e, &t), ecmp_hash(&e, &other));
	}
}

static void ecmp__nobody(void **state)
{
	for (unsigned model = 0; model < ECMP_MODELS; model++) {
		struct ecmp e = ecmp_of(model, ECMP_5_TUPLE);
		assert_int_equal(ecmp_pick(&e, 12345, 0), -1);
		assert_int_equal(ecmp_pick(&e, 12345, ~ALL), -1); // not configured
		assert_int_equal(ecmp_pick(&e, 12345, 0x10), 4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ecmp__spreads),
		cmocka_unit_test(ecmp__moves),
		cmocka_unit_test(ecmp__second_stage_is_another_hash),
		cmocka_unit_test(ecmp__directions),
		cmocka_unit_test(ecmp__icmp_has_no_ports),
		cmocka_unit_test(ecmp__nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
