// SPDX-License-Identifier: BSD-3-Clause
// Several versions of the chain at one time: a connection keeps the one under which it began, on
// whichever node it is, and a version goes when nobody has any use for it.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/flows.h"

#define OLD "10.1.0.101" // the rack's first chain sends connections there
#define NEW "10.1.0.102"

// A chain like the rack's, with another backend.
static struct chain chain_to(const char *server, const char *text)
{
	struct chain chain = {0};

	assert_int_equal(chain_add(&chain, &RACK_NF_REWRITE, (void *)(uintptr_t)server), 0);
	chain_seal(&chain, text);
	return chain;
}

static struct rack *rack_of(struct rack_conf c)
{
	if (c.nodes == 0)
		c.nodes = 4;
	if (c.workers == 0)
		c.workers = 1;
	if (c.backups == 0)
		c.backups = 1;
	if (c.seed == 0)
		c.seed = 7;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

static void reconfigure_all(struct rack *r, unsigned nodes, const struct chain *chain)
{
	for (unsigned i = 0; i < nodes; i++)
		rack_reconfigure(r, i, chain);
	rack_run_ms(r, 50);
}

static unsigned with_copies(struct rack *r, const struct flow *f, unsigned n, unsigned copies)
{
	unsigned hits = 0;

	for (unsigned i = 0; i < n; i++)
		hits += rack_copies(r, &f[i].key) >= copies;
	return hits;
}

// How many of the flows run under a chain at each node that has them.
static unsigned under(struct rack *r, unsigned nodes, const struct flow *f, unsigned n, uint64_t id)
{
	unsigned hits = 0;

	for (unsigned k = 0; k < n; k++) {
		bool all = true;
		for (unsigned i = 0; i < nodes; i++) {
			struct conn_view v;
			all &= !rack_conn(r, i, &f[k].key, &v) || v.chain == id;
		}
		hits += all;
	}
	return hits;
}

static bool held(struct rack *r, unsigned node, uint64_t id, struct chain_status *out)
{
	struct chain_status all[CHAINS_MAX];
	unsigned n = node_chains(rack_node(r, node), all);

	for (unsigned i = 0; i < n; i++) {
		if (all[i].chain->id == id) {
			if (out != NULL)
				*out = all[i];
			return true;
		}
	}
	return false;
}

// ---- What the product promises ----

// Through a change of the configuration and the death of nodes, old connections go on to their old
// backend and new ones to the new.
static void keep_chain(struct rack_conf conf)
{
	enum { N = 80 };
	static struct flow old[N], new[N];
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of(conf);
	unsigned nodes = conf.nodes ? conf.nodes : 4;

	assert_int_equal(flows_open(r, old, 0, N, OLD), N);
	reconfigure_all(r, nodes, &next);
	assert_int_equal(flows_open(r, new, N, N, NEW), N);
	for (unsigned victim = 0; victim < 2; victim++) {
		assert_int_equal(flows_exchange(r, old, N), N);
		assert_int_equal(flows_exchange(r, new, N), N);
		assert_int_equal(under(r, nodes, old, N, rack_chain(r)->id), N);
		assert_int_equal(under(r, nodes, new, N, next.id), N);
		assert_int_equal(with_copies(r, old, N, 2), N);
		assert_int_equal(with_copies(r, new, N, 2), N);
		rack_check(r);
		rack_kill(r, victim);
		rack_run_ms(r, 400);
	}
	assert_int_equal(flows_exchange(r, old, N), N);
	assert_int_equal(flows_exchange(r, new, N), N);
	assert_true(rack_counter(r, -1, C_takeovers) > 0);
	assert_int_equal(rack_counter(r, -1, C_drop_invariant), 0);
	rack_free(r);
}

static void chains__connections_keep_theirs(void **state)
{
	keep_chain((struct rack_conf){0});
}

static void chains__connections_keep_theirs_workers_loss(void **state)
{
	keep_chain((struct rack_conf){.workers = 3, .loss_percent = 5, .seed = 8});
}

static void chains__connections_keep_theirs_split(void **state)
{
	keep_chain((struct rack_conf){.workers = 2, .split = true, .seed = 9});
}

// A node that moves flows away and back serves each connection under its own chain by pull.
static void chains__pull_brings_the_chain_along(void **state)
{
	enum { N = 60 };
	static struct flow old[N], new[N];
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 6});

	assert_int_equal(flows_open(r, old, 0, N, OLD), N);
	reconfigure_all(r, 6, &next);
	assert_int_equal(flows_open(r, new, N, N, NEW), N);
	uint64_t pulls = rack_counter(r, -1, C_pulls_answered);
	for (unsigned round = 0; round < 2; round++) {
		rack_port(r, round, false);
		assert_int_equal(flows_exchange(r, old, N), N);
		assert_int_equal(flows_exchange(r, new, N), N);
		rack_port(r, round, true);
		rack_run_ms(r, 200);
	}
	assert_true(rack_counter(r, -1, C_pulls_answered) > pulls);
	assert_int_equal(under(r, 6, old, N, rack_chain(r)->id), N);
	assert_int_equal(under(r, 6, new, N, next.id), N);
	rack_free(r);
}

// Each version has its own counts, wherever it stands.
static void chains__indexes_and_views_say_which(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){0});
	struct flow f[2];

	assert_int_equal(flows_open(r, &f[0], 0, 1, OLD), 1);
	reconfigure_all(r, 4, &next);
	assert_int_equal(flows_open(r, &f[1], 1, 1, NEW), 1);
	for (unsigned i = 0; i < 4; i++) {
		struct store *st = &node_shard(rack_node(r, i), 0)->store;
		for (unsigned k = 0; k < 2; k++) {
			struct store_hit h = store_find(st, &f[k].key, store_hash(st, &f[k].key));
			if (h.what != STORE_CONN)
				continue;
			const struct index_bucket *b =
				&st->buckets[store_home(st, store_hash(st, &f[k].key))];
			for (unsigned w = 0; w < BUCKET_WAYS; w++) {
				if (store_entry(b, w).index == h.index)
					assert_int_equal(store_entry(b, w).chain, k);
			}
		}
	}
	rack_free(r);
}

// ---- Coming and going ----

// The first version goes when its last connection has ended and nobody has it as current, and its
// slot serves another one.
static void chains__slot_is_freed_after_the_last_connection(void **state)
{
	enum { N = 10 };
	static struct flow old[N];
	struct chain next = chain_to(NEW, "next"), third = chain_to(OLD, "third");
	struct rack *r = rack_of((struct rack_conf){0});
	uint64_t first = rack_chain(r)->id;
	struct chain_status st;

	assert_int_equal(flows_open(r, old, 0, N, OLD), N);
	reconfigure_all(r, 4, &next);
	rack_run_ms(r, 40000);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(held(r, i, first, &st)); // some nodes have none, but others do
		assert_false(st.current);
		assert_true(st.wanted);
		assert_int_equal(st.nodes, 15);
	}
	assert_int_equal(flows_exchange(r, old, N), N);
	flows_close(r, old, N);
	rack_run_ms(r, 20000); // closed_ms, tombstone_ms
	for (unsigned i = 0; i < 4; i++)
		assert_true(held(r, i, first, &st) && st.connections == 0 && !st.wanted);
	rack_run_ms(r, 30000);
	for (unsigned i = 0; i < 4; i++) {
		assert_false(held(r, i, first, NULL));
		assert_null(node_shard(rack_node(r, i), 0)->chain[0]);
		assert_true(held(r, i, next.id, &st) && st.current);
	}
	reconfigure_all(r, 4, &third);
	assert_true(held(r, 2, third.id, &st) && st.slot == 0);
	assert_int_equal(flows_open(r, old, 100, N, OLD), N);
	assert_int_equal(under(r, 4, old, N, third.id), N);
	rack_check(r);
	rack_free(r);
}

static void chains__full(void **state)
{
	static struct chain more[CHAINS_MAX + 1];
	struct rack *r = rack_of((struct rack_conf){.nodes = 1});
	struct node *n = rack_node(r, 0);
	struct flow f[CHAINS_MAX];
	char text[8];

	for (unsigned k = 0; k <= CHAINS_MAX; k++) {
		snprintf(text, sizeof(text), "%u", k);
		more[k] = chain_to(OLD, text);
	}
	// A connection under each of the first seven.
	assert_int_equal(flows_open(r, &f[0], 0, 1, OLD), 1);
	for (unsigned k = 1; k < CHAINS_MAX; k++) {
		rack_reconfigure(r, 0, &more[k]);
		assert_int_equal(flows_open(r, &f[k], k, 1, OLD), 1);
	}
	assert_int_equal(node_chain_add(n, &more[CHAINS_MAX], false), -ENOSPC);
	rack_run_ms(r, 60000);
	assert_int_equal(node_chain_add(n, &more[CHAINS_MAX], false), -ENOSPC);
	assert_int_equal(node_chain_add(n, &more[3], false), -EEXIST);
	assert_int_equal(node_chain_current(n, more[CHAINS_MAX].id), -ENOENT);
	assert_int_equal(flows_exchange(r, f, CHAINS_MAX), CHAINS_MAX);
	// When one has ended, there is room without any waiting.
	flows_close(r, &f[4], 1);
	rack_run_ms(r, 20000);
	assert_false(held(r, 0, more[4].id, NULL));
	assert_int_equal(node_chain_add(n, &more[CHAINS_MAX], false), 4);
	rack_check(r);
	rack_free(r);
}

// A slot that is about to be given up and is wanted again stays, and what it counted, too.
static void chains__closing_is_called_off(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 1, .workers = 2});
	struct node *n = rack_node(r, 0);
	uint64_t first = rack_chain(r)->id;
	struct flow f[1];
	unsigned slot;

	rack_reconfigure(r, 0, &next);
	rack_run_ms(r, 20);
	while (n->chains.phase != CHAIN_SET_CLOSING) {
		rack_run_ms(r, 1);
		assert_null(node_chain_retire(n, &slot));
	}
	assert_int_equal(n->chains.leaving, 0);
	assert_null(node_chain_retire(n, &slot)); // no worker has heard of it
	assert_int_equal(n->chains.phase, CHAIN_SET_CLOSING);
	assert_int_equal(chain_set_find(node_shard(n, 1), first), 0);
	assert_int_equal(node_chain_add(n, rack_chain(r), false), -EEXIST);
	assert_int_equal(node_chain_current(n, first), 0);
	rack_run_ms(r, 20);
	assert_int_equal(flows_open(r, f, 0, 1, OLD), 1);
	assert_int_equal(under(r, 1, f, 1, first), 1);
	assert_true(held(r, 0, next.id, NULL));
	rack_free(r);
}

// Between the two generations of a slot's end a record may still begin to use it: then it stays.
static void chains__closing_slot_is_used_once_more(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 1, .workers = 2});
	struct node *n = rack_node(r, 0);
	uint64_t first = rack_chain(r)->id;
	unsigned slot;

	rack_reconfigure(r, 0, &next);
	rack_run_ms(r, 20);
	while (n->chains.phase != CHAIN_SET_CLOSING) {
		rack_run_ms(r, 1);
		assert_null(node_chain_retire(n, &slot));
	}
	rack_stall(r, 0, 1, true);
	rack_run_ms(r, 50);
	// Worker 0 knows, and begins nothing under it; worker 1 does not know yet.
	assert_int_equal(n->chains.phase, CHAIN_SET_CLOSING);
	assert_int_equal(chain_set_find(node_shard(n, 0), first), -1);
	assert_int_equal(chain_set_find(node_shard(n, 1), first), 0);
	node_shard(n, 1)->chain_used[0]++;
	rack_stall(r, 0, 1, false);
	rack_run_ms(r, 50);
	assert_int_equal(n->chains.phase, CHAIN_SET_STAYS);
	assert_int_equal(chain_set_find(node_shard(n, 0), first), 0);
	node_shard(n, 1)->chain_used[0]--;
	rack_free(r);
}

// A worker hears which peers hold a chain before it has taken the change over that gave it the chain.
static void chains__told_before_adopted(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 2, .workers = 2});
	struct node *n = rack_node(r, 0);
	struct shard *s = node_shard(n, 1);
	struct ring_message m = {
		.type = RING_PEER,
		.node = 1,
		.live = 1,
		.workers = 2,
		.hello = s->peer[1].hello,
		.chains = 3,
		.peer = {.boot = s->peer[1].boot},
	};

	memcpy(m.mac, s->peer[1].mac, 6);
	assert_int_equal(node_chain_add(n, &next, false), 1);
	control_peer(s, &m);
	rack_run_ms(r, 1);
	assert_int_equal(s->chain_nodes[1], 2);
	rack_free(r);
}

// A worker that stands still keeps what it may still use.
static void chains__stalled_worker_keeps_it(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 1, .workers = 2});
	struct node *n = rack_node(r, 0);

	rack_reconfigure(r, 0, &next);
	rack_run_ms(r, 29000);
	rack_stall(r, 0, 1, true);
	rack_run_ms(r, 60000);
	assert_ptr_equal(node_shard(n, 1)->chain[0], rack_chain(r));
	rack_stall(r, 0, 1, false);
	rack_run_ms(r, 2000);
	assert_null(node_chain_find(n, rack_chain(r)->id));
	assert_null(node_shard(n, 1)->chain[0]);
	rack_free(r);
}

static void chains__retired_chain_is_given_back_once(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 1});
	struct node *n = rack_node(r, 0);
	unsigned slot = 99, given = 0;

	rack_reconfigure(r, 0, &next);
	for (unsigned ms = 0; ms < 32000; ms++) {
		const struct chain *c = node_chain_retire(n, &slot);
		if (c != NULL) {
			assert_ptr_equal(c, rack_chain(r));
			assert_int_equal(slot, 0);
			// Nobody can see it any more.
			assert_null(node_shard(n, 0)->chain[0]);
			given++;
		}
		rack_run_ms(r, 1);
	}
	// The rack's own control thread calls, too: either got it.
	assert_true(given <= 1);
	assert_null(node_chain_find(n, rack_chain(r)->id));
	assert_int_equal(n->chains.phase, CHAIN_SET_STAYS);
	rack_free(r);
}

// ---- Limits ----

static void chains__states_must_fit(void **state)
{
	static struct tripod_nf wide;
	struct chain chain = {0};
	struct rack *r = rack_of((struct rack_conf){.nodes = 1});
	struct node *n = rack_node(r, 0);

	wide = (struct tripod_nf){.name = "wide", .state_size = 49};
	assert_int_equal(chain_add(&chain, &wide, NULL), 0);
	chain_seal(&chain, "wide");
	assert_int_equal(node_chain_add(n, &chain, false), -EFBIG);
	wide.state_size = 48; // three lines, as the first chain
	chain = (struct chain){0};
	assert_int_equal(chain_add(&chain, &wide, NULL), 0);
	chain_seal(&chain, "wide");
	assert_int_equal(node_chain_add(n, &chain, false), 1);
	rack_free(r);
	r = rack_of((struct rack_conf){.nodes = 1, .nf_state_bytes = 49});
	wide.state_size = 112;
	chain = (struct chain){0};
	assert_int_equal(chain_add(&chain, &wide, NULL), 0);
	assert_int_equal(node_chain_add(rack_node(r, 0), &chain, false), 1);
	rack_free(r);
}

// The gateway answers for the addresses of all the chains that it holds.
static void chains__own_prefixes_of_all(void **state)
{
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.nodes = 1});
	struct tripod_addr a;

	next.n_own = 1;
	next.own[0].side = TRIPOD_INCOMING;
	tripod_prefix_parse(&next.own[0].prefix, "192.0.2.64/28");
	tripod_addr_parse(&a, "192.0.2.70");
	const struct shard *s = node_shard(rack_node(r, 0), 0);
	assert_false(local_owns(s, TRIPOD_INCOMING, &a));
	rack_reconfigure(r, 0, &next);
	rack_run_ms(r, 1);
	assert_true(local_owns(s, TRIPOD_INCOMING, &a));
	assert_false(local_owns(s, TRIPOD_OUTGOING, &a));
	rack_reconfigure(r, 0, rack_chain(r));
	rack_run_ms(r, 1000);
	assert_true(local_owns(s, TRIPOD_INCOMING, &a));
	rack_run_ms(r, 32000);
	assert_false(local_owns(s, TRIPOD_INCOMING, &a));
	rack_free(r);
}

// Two nodes of four can run the new chain: their connections are copied to
// each other, never to the others, and the others' go where they always did.
static void chains__who_lacks_one_is_no_backup(void **state)
{
	enum { N = 60 };
	static struct flow f[N];
	struct chain next = chain_to(NEW, "next");
	struct rack *r = rack_of((struct rack_conf){.seed = 11});
	struct conn_view v;
	unsigned new = 0, old = 0;

	rack_know(r, &next);
	rack_unable(r, 2, &next, true);
	rack_unable(r, 3, &next, true);
	rack_reconfigure(r, 0, &next);
	rack_reconfigure(r, 1, &next);
	rack_run_ms(r, 50);
	for (unsigned i = 0; i < N; i++) {
		f[i] = flow_of(i, OLD);
		flow_from_client(r, &f[i], TRIPOD_TCP_SYN, 0);
		rack_run_ms(r, 2);
		for (unsigned k = 0; k < 2; k++)
			if (rack_conn(r, k, &f[i].key, &v))
				f[i].server = NEW;
		flow_from_server(r, &f[i], TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
		rack_run_ms(r, 2);
	}
	rack_run_ms(r, 200);
	for (unsigned i = 0; i < N; i++) {
		bool is_new = strcmp(f[i].server, NEW) == 0;
		assert_int_equal(rack_copies(r, &f[i].key), 2);
		new += is_new;
		for (unsigned k = 2; is_new && k < 4; k++)
			assert_false(rack_conn(r, k, &f[i].key, &v));
		for (unsigned k = 0; !is_new && k < 2; k++)
			old += rack_conn(r, k, &f[i].key, &v);
	}
	assert_true(new > 10 && old > 10);
	assert_int_equal(rack_counter(r, -1, C_log_records_refused), 0);
	rack_free(r);
}

// ---- Counters ----

static const char *const COUNTED[] = {"packets", NULL};
static enum tripod_verdict count_packet(struct tripod_call *c, struct tripod_packet *p)
{
	tripod_count(c, 0);
	return TRIPOD_FORWARD;
}

static void chains__counters_by_version(void **state)
{
	static const struct tripod_nf counting = {
		.name = "counting", .counters = COUNTED, .on_packet = count_packet};
	struct chain next = {0}, third = {0};
	struct rack *r = rack_of((struct rack_conf){.nodes = 1, .nf2 = &counting});
	struct node *n = rack_node(r, 0);
	uint64_t before[NF_COUNTERS_MAX], v[NF_COUNTERS_MAX];
	struct flow f[2];

	for (unsigned k = 0; k < 2; k++) { // at another place than in the first
		struct chain *c = k == 0 ? &next : &third;
		assert_int_equal(chain_add(c, &counting, NULL), 0);
		assert_int_equal(chain_add(c, &RACK_NF_REWRITE, NULL), 0);
		chain_seal(c, k == 0 ? "next" : "third");
	}
	assert_int_equal(flows_open(r, &f[0], 0, 1, OLD), 1);
	node_nf_counters(n, -1, 0, 1, before);
	assert_true(before[0] > 0);
	rack_reconfigure(r, 0, &next);
	assert_int_equal(flows_open(r, &f[1], 1, 1, OLD), 1);
	node_nf_counters(n, -1, 1, 0, v);
	assert_int_equal(v[0], before[0]);
	assert_int_equal(flows_exchange(r, &f[0], 1), 1);
	node_nf_counters(n, -1, 0, 1, v);
	assert_int_equal(v[0], before[0] + 2);
	node_nf_counters(n, -1, 1, 0, v);
	assert_int_equal(v[0], before[0]);
	// After the slot was emptied they can be read; its next chain begins at zero.
	flows_close(r, &f[0], 1);
	rack_run_ms(r, 60000);
	assert_null(node_chain_find(n, rack_chain(r)->id));
	node_nf_counters(n, -1, 0, 1, v);
	assert_true(v[0] > before[0] + 2);
	assert_int_equal(node_chain_add(n, &third, false), 0);
	rack_run_ms(r, 1);
	node_nf_counters(n, -1, 0, 1, v);
	assert_int_equal(v[0], 0);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains__connections_keep_theirs),
		cmocka_unit_test(chains__connections_keep_theirs_workers_loss),
		cmocka_unit_test(chains__connections_keep_theirs_split),
		cmocka_unit_test(chains__pull_brings_the_chain_along),
		cmocka_unit_test(chains__indexes_and_views_say_which),
		cmocka_unit_test(chains__slot_is_freed_after_the_last_connection),
		cmocka_unit_test(chains__full),
		cmocka_unit_test(chains__closing_is_called_off),
		cmocka_unit_test(chains__closing_slot_is_used_once_more),
		cmocka_unit_test(chains__told_before_adopted),
		cmocka_unit_test(chains__stalled_worker_keeps_it),
		cmocka_unit_test(chains__retired_chain_is_given_back_once),
		cmocka_unit_test(chains__states_must_fit),
		cmocka_unit_test(chains__own_prefixes_of_all),
		cmocka_unit_test(chains__who_lacks_one_is_no_backup),
		cmocka_unit_test(chains__counters_by_version),
	};
	return cmocka_run_group_tests_name("chain_set", tests, NULL, NULL);
}
