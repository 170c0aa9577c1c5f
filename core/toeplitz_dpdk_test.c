// SPDX-License-Identifier: BSD-3-Clause
// The hash of the core against DPDK's, which the NICs' is compared with. Only this program of the
// core's tests knows DPDK; it starts no EAL.
#include "core/toeplitz.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <rte_thash.h>

#include "core/testing/tuples.h"

// rte_softrss() takes 32-bit words in host order.
static uint32_t softrss(const struct tripod_tuple *t)
{
	uint32_t words[9], n = 0;
	size_t size = tripod_addr_is_v4(&t->src) ? 4 : 16;
	const struct tripod_addr *ends[2] = {&t->src, &t->dst};
	for (int e = 0; e < 2; e++) {
		for (size_t i = 16 - size; i < 16; i += 4) {
			uint32_t word;
			memcpy(&word, ends[e]->b + i, sizeof(word));
			words[n++] = ntohl(word);
		}
	}
	words[n++] = (uint32_t)ntohs(t->sport) << 16 | ntohs(t->dport);
	return rte_softrss(words, n, TOEPLITZ_KEY);
}

static void test_same_as_dpdk(void **state)
{
	struct rng r = {.state = 0x6470646b};
	print_message("seed %#llx\n", (unsigned long long)r.state);
	for (int i = 0; i < 100000; i++) {
		struct tripod_tuple t = tuples_random(&r);
		assert_int_equal(toeplitz_tuple(&t), softrss(&t));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_dpdk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
