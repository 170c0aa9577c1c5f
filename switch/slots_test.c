// SPDX-License-Identifier: BSD-3-Clause
#include "switch/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/node.h"

// Slots of each node when those of `dead` go to the next one alive.
static void shares(unsigned n, const uint8_t *slot, uint64_t dead, unsigned out[NODES_MAX])
{
	unsigned slots = slots_count(n);
	memset(out, 0, NODES_MAX * sizeof(out[0]));
	for (unsigned s = 0; s < slots; s++) {
		unsigned at = s;
		while ((dead >> slot[at] & 1) != 0)
			at = (at + 1) % slots;
		out[slot[at]]++;
	}
}

static void shares_are_even(void **state)
{
	uint8_t slot[SLOTS_MAX];
	unsigned count[NODES_MAX];
	for (unsigned n = 1; n <= NODES_MAX; n++) {
		slots_fill(n, slot);
		shares(n, slot, 0, count);
		for (unsigned i = 0; i < n; i++)
			assert_in_range(count[i], slots_count(n) / n, slots_count(n) / n + 1);
	}
}

// What a dead node had is not piled up on one survivor.
static void a_death_is_shared(void **state)
{
	uint8_t slot[SLOTS_MAX];
	unsigned before[NODES_MAX], after[NODES_MAX];
	for (unsigned n = 2; n <= NODES_MAX; n++) {
		slots_fill(n, slot);
		shares(n, slot, 0, before);
		for (unsigned dead = 0; dead < n; dead++) {
			unsigned fair = (before[dead] + n - 2) / (n - 1), most = 0;
			shares(n, slot, 1ull << dead, after);
			for (unsigned i = 0; i < n; i++)
				if (i != dead && after[i] - before[i] > most)
					most = after[i] - before[i];
			if (most > fair + 1)
				fail_msg("%u nodes: %u dies, one gets %u of its %u slots", n, dead,
					most, before[dead]);
		}
	}
}

static void a_joiner_takes_its_share_alone(void **state)
{
	uint8_t slot[SLOTS_MAX], more[SLOTS_MAX];
	for (unsigned n = 1; n < NODES_MAX; n++) {
		if (slots_count(n) != slots_count(n + 1))
			continue;
		slots_fill(n, slot);
		slots_fill(n + 1, more);
		for (unsigned s = 0; s < slots_count(n); s++)
			assert_true(more[s] == slot[s] || more[s] == n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_are_even),
		cmocka_unit_test(a_death_is_shared),
		cmocka_unit_test(a_joiner_takes_its_share_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
