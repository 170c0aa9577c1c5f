// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/vlan.h"

#define HEADROOM 128

// An mbuf without a pool: the shim only moves bytes.
struct fixture {
	struct rte_mbuf m;
	uint8_t buf[HEADROOM + 256];
};

static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
static const uint8_t rest[] = {0x08, 0x00, 0x45, 1, 2, 3, 4, 5, 6, 7};

// A frame with these tags (TPID and TCI each), ended by 0.
static void make(struct fixture *f, const uint16_t *tags)
{
	uint8_t *p = f->buf + HEADROOM;

	memset(f, 0, sizeof(*f));
	f->m.buf_addr = f->buf;
	f->m.buf_len = sizeof(f->buf);
	f->m.data_off = HEADROOM;
	f->m.nb_segs = 1;
	memcpy(p, macs, sizeof(macs));
	p += sizeof(macs);
	for (; *tags != 0; tags++) {
		*p++ = (uint8_t)(*tags >> 8);
		*p++ = (uint8_t)*tags;
	}
	memcpy(p, rest, sizeof(rest));
	p += sizeof(rest);
	f->m.data_len = (uint16_t)(p - (f->buf + HEADROOM));
	f->m.pkt_len = f->m.data_len;
}

static void assert_frame(const struct fixture *f, const uint16_t *tags)
{
	struct fixture expected;

	make(&expected, tags);
	assert_int_equal(f->m.data_len, expected.m.data_len);
	assert_int_equal(f->m.pkt_len, expected.m.data_len);
	assert_memory_equal(rte_pktmbuf_mtod(&f->m, uint8_t *),
		rte_pktmbuf_mtod(&expected.m, uint8_t *), expected.m.data_len);
}

static const uint16_t untagged[] = {0};

static void take__untagged_is_left_alone(void **state)
{
	struct fixture f;

	make(&f, untagged);
	assert_int_equal(vlan_take(&f.m), 0);
	assert_frame(&f, untagged);
}

static void take__tag_in_the_bytes(void **state)
{
	static const uint16_t tagged[] = {0x8100, 0xc00a, 0};
	struct fixture f;

	make(&f, tagged);
	assert_int_equal(vlan_take(&f.m), 10);
	assert_frame(&f, untagged);
}

static void take__tag_out_of_band(void **state)
{
	struct fixture f;

	make(&f, untagged);
	f.m.ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
	f.m.vlan_tci = 0xc014;
	assert_int_equal(vlan_take(&f.m), 20);
	assert_frame(&f, untagged);
}

// The driver saw a tag but left it where it was (RTE_MBUF_F_RX_VLAN alone).
static void take__tag_seen_but_not_stripped(void **state)
{
	static const uint16_t tagged[] = {0x8100, 30, 0};
	struct fixture f;

	make(&f, tagged);
	f.m.ol_flags = RTE_MBUF_F_RX_VLAN;
	f.m.vlan_tci = 30;
	assert_int_equal(vlan_take(&f.m), 30);
	assert_frame(&f, untagged);
}

static void take__second_tag_stays(void **state)
{
	static const uint16_t two[] = {0x8100, 10, 0x8100, 20, 0};
	static const uint16_t one[] = {0x8100, 20, 0};
	struct fixture f;

	make(&f, two);
	assert_int_equal(vlan_take(&f.m), 10);
	assert_frame(&f, one);
	// Likewise when the driver has taken the outer one.
	make(&f, one);
	f.m.ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
	f.m.vlan_tci = 10;
	assert_int_equal(vlan_take(&f.m), 10);
	assert_frame(&f, one);
}

static void take__frame_that_ends_in_its_tag(void **state)
{
	static const uint16_t tagged[] = {0x8100, 10, 0};
	struct fixture f;

	for (uint16_t len = 0; len < 18; len++) {
		make(&f, tagged);
		f.m.data_len = len;
		f.m.pkt_len = len;
		assert_int_equal(vlan_take(&f.m), 0);
		assert_int_equal(f.m.data_len, len);
		assert_int_equal(f.m.data_off, HEADROOM);
	}
}

static void put__in_the_bytes(void **state)
{
	static const uint16_t control[] = {0x8100, 0xc01e, 0};
	static const uint16_t data[] = {0x8100, 0x000a, 0};
	struct fixture f;

	make(&f, untagged);
	assert_true(vlan_put(&f.m, 30, VLAN_PCP_CONTROL, false));
	assert_frame(&f, control);
	make(&f, untagged);
	assert_true(vlan_put(&f.m, 10, 0, false));
	assert_frame(&f, data);
	assert_int_equal(f.m.ol_flags, 0);
}

static void put__by_the_driver(void **state)
{
	struct fixture f;

	make(&f, untagged);
	assert_true(vlan_put(&f.m, 30, VLAN_PCP_CONTROL, true));
	assert_frame(&f, untagged);
	assert_int_equal(f.m.ol_flags, RTE_MBUF_F_TX_VLAN);
	assert_int_equal(f.m.vlan_tci, 0xc01e);
}

static void put__untagged_stays_untagged(void **state)
{
	struct fixture f;

	make(&f, untagged);
	assert_true(vlan_put(&f.m, 0, VLAN_PCP_CONTROL, true));
	assert_true(vlan_put(&f.m, 0, VLAN_PCP_CONTROL, false));
	assert_frame(&f, untagged);
	assert_int_equal(f.m.ol_flags, 0);
}

static void put__no_room(void **state)
{
	struct fixture f;

	make(&f, untagged);
	f.m.data_off = VLAN_TAG_SIZE - 1;
	assert_false(vlan_put(&f.m, 10, 0, false));
	assert_false(vlan_put(&f.m, 10, 0, true));
	f.m.data_off = VLAN_TAG_SIZE;
	assert_true(vlan_put(&f.m, 10, 0, false));
	assert_int_equal(f.m.data_off, 0);
}

static void take_put__are_inverse_for_every_id(void **state)
{
	struct fixture f;

	for (uint16_t id = 1; id < 4096; id++) {
		make(&f, untagged);
		assert_true(vlan_put(&f.m, id, 5, false));
		assert_int_equal(vlan_take(&f.m), id);
		assert_frame(&f, untagged);
		assert_int_equal(f.m.data_off, HEADROOM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(take__untagged_is_left_alone),
		cmocka_unit_test(take__tag_in_the_bytes),
		cmocka_unit_test(take__tag_out_of_band),
		cmocka_unit_test(take__tag_seen_but_not_stripped),
		cmocka_unit_test(take__second_tag_stays),
		cmocka_unit_test(take__frame_that_ends_in_its_tag),
		cmocka_unit_test(put__in_the_bytes),
		cmocka_unit_test(put__by_the_driver),
		cmocka_unit_test(put__untagged_stays_untagged),
		cmocka_unit_test(put__no_room),
		cmocka_unit_test(take_put__are_inverse_for_every_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
