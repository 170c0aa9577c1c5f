// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/toeplitz.h"
#include "daemon/eal.h"
#include "daemon/port.h"

static void reta__leads_where_the_core_expects(void **state)
{
	for (unsigned entries = 64; entries <= 512; entries *= 2) {
		for (unsigned workers = 1; workers <= WORKERS_MAX; workers++) {
			struct rte_eth_rss_reta_entry64 reta[8] = {0};

			port_reta_fill(reta, entries, workers);
			for (uint32_t hash = 0; hash < 2048; hash++) {
				uint32_t i = hash & (entries - 1);
				unsigned worker = reta[i / 64].reta[i % 64];

				assert_true(worker < workers);
				// A smaller table cannot say it all: the core hands over.
				if (entries >= PORT_RETA_ENTRIES)
					assert_int_equal(worker, toeplitz_worker(hash, workers));
			}
			for (unsigned i = 0; i < 8; i++)
				assert_int_equal(reta[i].mask, i < entries / 64 ? UINT64_MAX : 0);
		}
	}
}

static void memory_mb__grows_with_what_is_held(void **state)
{
	struct port_conf a = {.port = "x", .workers = 1, .mtu = 1500, .held = 1024}, b = a;

	b.workers = 4;
	assert_true(port_memory_mb(&b) > port_memory_mb(&a) + 40);
	b = a;
	b.held = 100000;
	assert_true(port_memory_mb(&b) > port_memory_mb(&a) + 200);
	b = a;
	b.mtu = 9000;
	assert_true(port_memory_mb(&b) > 4 * (port_memory_mb(&a) - 40));
	b.mtu = 65535;
	assert_true(port_memory_mb(&b) > port_memory_mb(&a));
}

static struct port_conf conf = {.port = "net_null0,no-rx=1", .workers = 1, .mtu = 1500, .held = 64};
static struct port port;

static void open__null_port_by_its_name(void **state)
{
	char err[256] = "";

	assert_int_equal(port_open(&port, &conf, err, sizeof(err)), 0);
	assert_string_equal(port.driver, "net_null");
	assert_int_equal(port.n_rxq, 1);
	assert_int_equal(port.n_txq, 1);
	assert_false(port.tx_shared);
	// The driver verifies nothing, so its word on checksums and hashes counts for nothing.
	assert_false(port.rx_checksum);
	assert_false(port.rss_hash);
	assert_true(rte_pktmbuf_data_room_size(port.data_pool) >= 1500 + 18 + RTE_PKTMBUF_HEADROOM);
	port_close(&port);
	assert_null(port.data_pool);
	port_close(&port); // again: nothing
	// The device is gone: what is left to say is which port was meant.
	assert_int_equal(port_open(&port, &conf, err, sizeof(err)), -ENODEV);
	assert_non_null(strstr(err, "net_null0"));
	port_close(&port);
}

static int start_eal(void **state)
{
	struct eal_conf ec = {
		.port = conf.port,
		.workers = 1,
		.mtu = 1500,
		.hugepages = EAL_HUGEPAGES_NEVER,
		.memory_mb = port_memory_mb(&conf),
	};
	char err[1024];

	if (eal_start(&ec, err, sizeof(err)) == 0)
		return 0;
	print_error("%s\n", err);
	return -1;
}

static int stop_eal(void **state)
{
	eal_stop();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reta__leads_where_the_core_expects),
		cmocka_unit_test(memory_mb__grows_with_what_is_held),
		cmocka_unit_test(open__null_port_by_its_name),
	};

	return cmocka_run_group_tests(tests, start_eal, stop_eal);
}
