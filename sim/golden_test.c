// SPDX-License-Identifier: BSD-3-Clause
// The key sequences of the protocol as text: what every node has of one connection, whenever that
// changes, through a takeover with a copy, one by pull, an end, a master that was frozen, and a node
// that comes back. Compared with sim/golden/NAME.txt; TRIPOD_GOLDEN_UPDATE=1 writes those anew, for
// whoever has changed the protocol and has read the difference.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/world.h"

enum what { TAKEOVER, PULL, CLOSE, THAW, REJOIN };

static struct world *begin(enum what what)
{
	struct overrides fixed = OVERRIDES_NONE;
	struct options o;

	fixed.nodes = what == PULL ? 4 : 3;
	fixed.k = 1;
	fixed.workers = 1;
	fixed.durability = DURABILITY_ASYNC;
	fixed.model = ECMP_RESILIENT;
	fixed.fields = ECMP_OUTSIDE_ENDPOINT;
	fixed.faults = 0;
	options_draw(&o, what == PULL ? 3 : 1, &fixed); // with 3 a node without a copy takes over
	o.limit = 0;
	// Without, copies are not where the switch sends the packets.
	o.prediction = what != PULL ? PREDICTION_COMPUTED : PREDICTION_NONE;
	o.tiny = o.unknown_reset = false;
	o.hosts.opens_per_s = 2;
	o.hosts.connections_max = 1;
	for (unsigned kind = 0; kind < HOSTS_KINDS; kind++)
		o.hosts.weight[kind] = kind == HOSTS_TCP_IN;
	o.hosts.v6_percent = o.hosts.reuse_percent = o.hosts.abort_percent = 0;
	o.hosts.refuse_percent = 0;
	o.hosts.request_reply_percent = 100;
	o.hosts.idle_percent = what == CLOSE ? 0 : 100; // still there when the fault comes
	o.hosts.idle_max_ms = 3000;
	o.hosts.keepalive_ms = 150;
	o.hosts.bytes_max = 20000;
	o.request_every = 0;
	struct world *w = world_new(&o, NULL);
	world_until(w, w->now_ns + 3 * SEC);
	assert_int_equal(w->up, o.ecmp.ports);
	w->check.watch = ":";
	world_hosts_start(w);
	while (w->check.watched.proto == 0)
		world_until(w, w->now_ns + MS / 10);
	hosts_pause(w->hosts, true);
	return w;
}

static unsigned master(struct world *w)
{
	const struct tripod_tuple *key = &w->check.watched;

	for (unsigned i = 0; i < w->o.nodes; i++) {
		const struct store *s = &node_shard(w->node[i].node, 0)->store;
		struct store_hit hit = store_find(s, key, store_hash(s, key));
		if (hit.what == STORE_CONN && conn_masters(store_conn(s, hit.index), 0))
			return i;
	}
	fail_msg("nobody is master");
	return 0;
}

// Notes since the first one of the connection, without their times.
static char *notes(const struct world *w, uint64_t first)
{
	const struct trace *t = &w->trace;
	size_t size;
	char *text;
	FILE *f = open_memstream(&text, &size);

	for (uint64_t n = first; n < t->n; n++) {
		const struct trace_entry *e = &t->entry[n % TRACE_ENTRIES];
		if (e->what != TRACE_NOTE)
			continue;
		// "live life 1a2b3 flags": which number a life has drawn means nothing.
		const char *life = strstr(e->note, " life "), *rest = life;
		if (life != NULL)
			rest = strchr(life + 6, ' ');
		fprintf(f, "%-3u %.*s%s\n", e->node,
			(int)(life != NULL ? life - e->note : (long)strlen(e->note)), e->note,
			rest != NULL ? rest : "");
	}
	fclose(f);
	return text;
}

static void compare(const char *name, const char *text)
{
	char path[512], *want;
	size_t size = 0;

	snprintf(path, sizeof(path), "%s/sim/golden/%s.txt", TRIPOD_SOURCE_ROOT, name);
	if (getenv("TRIPOD_GOLDEN_UPDATE") != NULL) {
		FILE *out = fopen(path, "w");
		assert_non_null(out);
		fputs(text, out);
		fclose(out);
	}
	FILE *in = fopen(path, "r");
	assert_non_null(in);
	want = calloc(1, 1 << 20);
	size = fread(want, 1, (1 << 20) - 1, in);
	fclose(in);
	assert_true(size > 0);
	assert_string_equal(text, want);
	free(want);
}

static void sequence(enum what what, const char *name)
{
	struct world *w = begin(what);
	uint64_t first = w->trace.n;
	unsigned m = master(w);

	world_until(w, w->now_ns + 3 * MS); // a copy is there
	if (what == TAKEOVER || what == PULL || what == REJOIN)
		faults_make(w, FAULT_KILL, m, what == REJOIN ? 300 : 0);
	else if (what == THAW)
		faults_make(w, FAULT_FREEZE, m, 600);
	world_until(w, w->now_ns + (what == CLOSE ? 7 * SEC : 1500 * MS));
	char *text = notes(w, first);
	compare(name, text);
	assert_int_equal(w->check.n_violations, 0);
	uint64_t all[COUNTERS];
	world_counters(w, all);
	assert_true((all[C_takeovers] > 0) == (what != CLOSE));
	assert_true(what != PULL || all[C_pulls_answered] > 0);
	free(text);
	world_free(w);
}

static void golden__takeover_with_copy(void **state)
{
	sequence(TAKEOVER, "takeover");
}

static void golden__takeover_by_pull(void **state)
{
	sequence(PULL, "pull");
}

static void golden__close(void **state)
{
	sequence(CLOSE, "close");
}

static void golden__frozen_master_thaws(void **state)
{
	sequence(THAW, "thaw");
}

static void golden__rejoin(void **state)
{
	sequence(REJOIN, "rejoin");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden__takeover_with_copy),
		cmocka_unit_test(golden__takeover_by_pull),
		cmocka_unit_test(golden__close),
		cmocka_unit_test(golden__frozen_master_thaws),
		cmocka_unit_test(golden__rejoin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
