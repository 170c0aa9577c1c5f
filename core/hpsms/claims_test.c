// SPDX-License-Identifier: BSD-3-Clause
// Whose word on a connection counts, and who looks after its copies: records that come at bad moments.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/hpsms/repl.h"
#include "core/testing/flows.h"
#include "core/testing/forge.h"

static struct rack *rack_of(struct rack_conf c)
{
	c.nodes = c.nodes ? c.nodes : 3;
	c.workers = 1;
	c.backups = c.backups ? c.backups : 1;
	c.seed = c.seed ? c.seed : 7;
	struct rack *r = rack_new(&c);
	rack_run_ms(r, 300);
	return r;
}

// A record comes back to the node that wrote it in a former life. Its copy is what all have until it
// changes something; then that stands above whatever its former life has said.
static void claims__of_a_former_life(void **state)
{
	struct rack *r = rack_of((struct rack_conf){0});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct wire_record w = forge_record(r, 1, 0, 3);
	struct conn *c;

	for (unsigned p = 0; p < PARTS; p++)
		w.version[p].version = 5;
	forge(r, 1, 0, &w);
	const struct conn_repl *l = forge_find(r, 0, 1, &c);
	const struct conn_version *shared = &l->part[PART_SHARED], *dir = l->part;
	assert_int_equal(shared->epoch, 3);
	assert_int_equal(shared->version, 5);
	// Something newer of that life is taken: nothing has been written here.
	w.version[PART_SHARED].version = 6;
	forge(r, 1, 0, &w);
	assert_int_equal(shared->epoch, 3);
	assert_int_equal(shared->version, 6);
	// The first change, of the shared part and of the direction that is handled here.
	c->flags |= CONN_MASTER_1;
	uint32_t i = store_find_hash(&s->store, store_hash(&s->store, &w.key));
	repl_changed(s, i, 7);
	assert_int_equal(shared->epoch, 4);
	assert_int_equal(shared->version, 1);
	assert_int_equal(dir[0].version, 5); // not this life's to write
	assert_int_equal(dir[1].version, 6);
	repl_changed(s, i, 1u << PART_SHARED);
	assert_int_equal(shared->epoch, 4);
	assert_int_equal(shared->version, 2);
	uint8_t mine = c->nf[0], foreign[WIRE_NF_MAX] = {1};
	w.nf = foreign;
	w.version[PART_SHARED] = (struct conn_version){.epoch = 9, .version = 1};
	forge(r, 1, 0, &w);
	assert_int_equal(shared->epoch, 10);
	assert_int_equal(c->nf[0], mine);
	rack_run_ms(r, 20);
	assert_int_equal(forge_find(r, 1, 1, NULL)->part[PART_SHARED].epoch, 10);
	assert_int_equal(forge_find(r, 1, 1, NULL)->part[PART_SHARED].version, shared->version);
	rack_free(r);
}

// What a node wrote in its former life it learns piece by piece, and tells those who have less of it.
static void claims__of_a_former_life_is_told(void **state)
{
	for (unsigned part = 0; part < PARTS; part++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 4, .backups = 2});
		struct wire_record w = forge_record(r, 1, 0, 1);

		w.holders = 7;
		forge(r, 3, 1, &w); // which tells node 0 of it
		rack_run_ms(r, 50);
		assert_int_equal(forge_find(r, 0, 1, NULL)->part[part].version, 0);
		w.version[part].version = 2;
		forge(r, 2, 0, &w);
		rack_run_ms(r, 50);
		assert_int_equal(forge_find(r, 0, 1, NULL)->part[part].version, 2);
		assert_int_equal(forge_find(r, 1, 1, NULL)->part[part].version, 2);
		rack_free(r);
	}
}

// Who writes a part must know of all copies, or some would miss what it writes. Whoever has given one
// says so when a record comes that does not list it.
static void claims__unlisted_holder(void **state)
{
	for (unsigned how = 0; how < 3; how++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 4});
		struct shard *s = node_shard(rack_node(r, 1), 0);
		struct wire_record w = forge_record(r, 1, 0, 1);
		struct conn *c;

		w.version[1].writer = 1;
		forge(r, 0, 1, &w);
		struct conn_repl *l = forge_find(r, 1, 1, &c);
		conn_hold(s, l, 1ull << 3);
		if (how != 1) // else a backup, who knows of it from hearsay
			c->flags |= CONN_MASTER_1;
		if (how == 2) // one more would not be kept up to date
			w.holders = 0x3fff3;
		w.version[PART_SHARED].version++;
		forge(r, 0, 1, &w);
		rack_run_ms(r, 20);
		const struct conn_repl *told = forge_find(r, 0, 1, NULL);
		if (how == 0) {
			assert_non_null(told);
			assert_true(told->holders & 1u << 3);
		} else {
			assert_null(told);
		}
		rack_free(r);
	}
}

// A node gives a copy in place of the writer, which it does not hear. Whoever gets it hears the writer, and
// tells it; not if the giver is one who tells it itself.
static void claims__writer_is_told_of_a_copy(void **state)
{
	for (unsigned how = 0; how < 4; how++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 4});
		struct wire_record w = forge_record(r, 1, 2, 1);

		w.holders = how == 1 ? 3 : 7; // though the giver has forgotten it
		if (how == 2)
			w.version[1].writer = 1;
		if (how == 3)
			w.flags |= WIRE_RECORD_ANSWER;
		forge(r, 1, 0, &w);
		rack_run_ms(r, 20);
		const struct conn_repl *told = forge_find(r, 2, 1, NULL);
		if (how < 2) {
			assert_non_null(told);
			assert_true(told->holders & 1u << 0);
		} else {
			assert_null(told);
		}
		rack_free(r);
	}
}

// Another node takes a direction over with a copy that it was given elsewhere, just when this one writes
// its own: it is sent what it lacks, as nobody else knows that it lacks it.
static void claims__new_holder_is_behind(void **state)
{
	for (unsigned part = 1; part < PARTS; part++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 3});
		struct wire_record w = forge_record(r, 1, 0, 1);
		struct conn *c;

		w.version[part].writer = 1;
		w.version[part].version = 5;
		forge(r, 0, 1, &w);
		forge_find(r, 1, 1, &c);
		c->flags |= part == 1 ? CONN_MASTER_1 : CONN_MASTER_0;
		w.version[part].version = 4;
		w.version[part == 1 ? 0 : 1] = (struct conn_version){.epoch = 2, .writer = 2};
		w.holders = 7;
		forge(r, 2, 1, &w);
		rack_run_ms(r, 20);
		const struct conn_repl *told = forge_find(r, 2, 1, NULL);
		assert_non_null(told);
		const struct conn_version *is = &forge_find(r, 1, 1, NULL)->part[part];
		assert_true(is->epoch > 1 || is->version >= 5);
		assert_int_equal(told->part[part].epoch, is->epoch);
		assert_int_equal(told->part[part].version, is->version);
		rack_free(r);
	}
}

// The former master of a direction had not told yet that it was being closed, and tells who has taken over.
// From that one the other holders hear of it, who else keep the connection for much longer.
static void claims__what_the_former_master_had_not_told(void **state)
{
	for (unsigned masters = 0; masters < 4; masters++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 3, .backups = 2});
		struct wire_record w = forge_record(r, 1, 0, 2);
		struct conn *at_0, *at_2;

		w.holders = 7;
		for (unsigned d = 0; d < 2; d++)
			w.dir[d].tcp_flags = TCP_DIR_SYN | TCP_DIR_ACK;
		forge(r, 1, 0, &w);
		forge(r, 1, 2, &w);
		const struct conn_repl *l = forge_find(r, 0, 1, &at_0);
		at_0->flags |= masters;
		w.version[0].epoch = w.version[1].epoch = 1; // as node 1 was
		w.version[0].writer = w.version[1].writer = 1;
		w.dir[1].tcp_flags |= TCP_DIR_FIN | TCP_DIR_FIN_ACKED;
		forge(r, 1, 0, &w);
		rack_run_ms(r, 20);
		forge_find(r, 2, 1, &at_2);
		assert_true(at_0->dir[1].tcp.flags & TCP_DIR_FIN);
		assert_int_equal(at_2->dir[1].tcp.flags & TCP_DIR_DURABLE,
			masters & CONN_MASTER_1 ? w.dir[1].tcp_flags : w.dir[0].tcp_flags);
		assert_int_equal(l->part[1].version, masters & CONN_MASTER_1 ? 1 : 0);
		assert_int_equal(l->part[0].version, 0);
		forge(r, 1, 0, &w); // once is enough
		assert_int_equal(l->part[1].version, masters & CONN_MASTER_1 ? 1 : 0);
		rack_free(r);
	}
}

// It hears of who has taken over from another holder, and tells that one all the same.
static void claims__a_third_tells_who_has_taken_over(void **state)
{
	const uint8_t open = TCP_DIR_SYN | TCP_DIR_ACK, closed = TCP_DIR_FIN | TCP_DIR_FIN_ACKED;
	struct rack *r = rack_of((struct rack_conf){.nodes = 3, .backups = 2});
	struct wire_record w = forge_record(r, 1, 0, 2);
	struct conn *at_0, *at_1;

	w.holders = 7;
	w.dir[0].tcp_flags = w.dir[1].tcp_flags = open;
	forge(r, 1, 0, &w);
	forge_find(r, 0, 1, &at_0);
	at_0->flags |= CONN_MASTER_0 | CONN_MASTER_1;
	at_0->dir[0].tcp.flags |= closed;
	at_0->dir[1].tcp.flags |= closed;
	for (unsigned p = 0; p < PARTS; p++)
		w.version[p] = (struct conn_version){.epoch = 3, .writer = 1};
	forge(r, 2, 1, &w);
	forge_find(r, 1, 1, &at_1);
	at_1->flags |= CONN_MASTER_0 | CONN_MASTER_1;
	forge(r, 2, 0, &w);
	assert_false(at_0->flags & (CONN_MASTER_0 | CONN_MASTER_1));
	rack_run_ms(r, 20);
	for (unsigned d = 0; d < 2; d++)
		assert_int_equal(at_1->dir[d].tcp.flags & TCP_DIR_DURABLE, open | closed);
	rack_free(r);
}

static uint32_t index_of(struct rack *r, unsigned node, const struct tripod_tuple *key)
{
	struct store *st = &node_shard(rack_node(r, node), 0)->store;

	return store_find_hash(st, store_hash(st, key));
}

static enum conn_state state_of(struct rack *r, unsigned node, const struct tripod_tuple *key)
{
	uint32_t i = index_of(r, node, key);

	return i == STORE_NONE ? CONN_FREE
			       : store_conn(&node_shard(rack_node(r, node), 0)->store, i)->state;
}

// ---- One tuple, two connections ----

static unsigned hashes_to(struct rack *r, unsigned n)
{
	struct flow f = flow_of(n, "10.1.0.101");

	return rack_hash(r,
		&(struct frame_spec){.src = f.client,
			.dst = FLOWS_VIP,
			.sport = f.port,
			.dport = 80,
			.tcp_flags = TRIPOD_TCP_SYN},
		TRIPOD_INCOMING);
}

// An answer comes to a node that does not know its connection, and opens one of its own. When a copy of
// the real one arrives, that is the connection.
static void answer_that_opened_something(bool buried)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	static struct rack_arrival a[8];
	const struct frame_spec answer = {.proto = IPPROTO_UDP,
		.src = "10.1.0.101",
		.dst = "198.18.0.1",
		.sport = 8080,
		.dport = 1000,
		.payload_len = 8};
	unsigned to = rack_hash(r, &answer, TRIPOD_OUTGOING);
	struct wire_record w = forge_record(r, 1, !to, 1);

	w.key.proto = w.reversed.proto = IPPROTO_UDP;
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 200);
	assert_int_equal(rack_counter(r, (int)to, C_connections_opened), 1);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 8), 1);
	assert_int_not_equal(a[0].tuple.sport, htons(80)); // from elsewhere
	w.flags = 0; // of one that nobody has answered, that is not so sure
	forge(r, !to, to, &w);
	assert_int_equal(state_of(r, to, &w.key), CONN_FREE);
	w.flags = WIRE_RECORD_ANSWERED;
	// Others have asked for it, and have a copy: they hear of its end.
	struct shard *s = node_shard(rack_node(r, to), 0);
	struct store_hit hit =
		store_find(&s->store, &w.reversed, store_hash(&s->store, &w.reversed));
	store_conn(&s->store, hit.index)->flags |= CONN_REPLICATED;
	conn_hold(s, store_repl(&s->store, hit.index), 1ull << !to);
	uint64_t told = rack_counter(r, (int)to, C_log_records_tx);
	if (buried) // another has told of it already
		conn_bury(s, hit.index, TRIPOD_TERMINATED);
	forge(r, !to, to, &w);
	assert_int_equal(state_of(r, to, &w.key), CONN_LIVE);
	assert_int_equal(rack_counter(r, (int)to, C_log_records_tx), told + !buried);
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 50);
	assert_int_equal(rack_arrivals(r, TRIPOD_INCOMING, a, 8), 1);
	assert_int_equal(rack_counter(r, (int)to, C_connections_opened), 1);
	assert_int_equal(rack_counter(r, (int)to, C_takeovers), 1);
	rack_check(r);
	rack_free(r);
}

static void claims__answer_that_opened_something(void **state)
{
	answer_that_opened_something(false);
	answer_that_opened_something(true);
}

// A tuple is in use at the only backup. That connection cannot be kept there, but others are, at once; and
// it is tried again once a second, until there is a place.
static void claims__refused_alone(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct flow f[8];
	unsigned n = 0;

	for (unsigned k = 0; k < 8; k++) {
		while (hashes_to(r, n) != 0)
			n++;
		f[k] = flow_of(n++, "10.1.0.101");
	}
	struct wire_record w = forge_record(r, 1, 0, 1);
	w.key = f[0].key; // the answers of the first flow, as if they had opened something themselves
	tripod_addr_parse(&w.key.dst, "10.1.0.101");
	w.key.dport = htons(8080);
	w.key = tripod_tuple_reverse(&w.key);
	w.key.direction = TRIPOD_OUTGOING;
	w.reversed = forge_key(9);
	forge(r, 0, 1, &w);
	assert_int_equal(state_of(r, 1, &w.key), CONN_LIVE);
	for (unsigned k = 0; k < 8; k++) {
		unsigned flow = ntohs(f[k].key.sport) - 10000;
		assert_int_equal(flows_open(r, &f[k], flow, 1, "10.1.0.101"), 1);
		assert_int_equal(rack_copies(r, &f[k].key), k == 0 ? 1 : 2);
	}
	uint64_t refused = rack_counter(r, 1, C_log_records_refused);
	rack_run_ms(r, 3000);
	assert_in_range(rack_counter(r, 1, C_log_records_refused) - refused, 2, 3);
	conn_free(node_shard(rack_node(r, 1), 0), index_of(r, 1, &w.key));
	rack_run_ms(r, 1200);
	assert_int_equal(rack_copies(r, &f[0].key), 2);
	rack_free(r);
}

// What one node after the other refuses for its own sake does not go round among them: it is offered to one
// other at once, and to more in the round of repair that comes then.
static void claims__refused_everywhere(void **state)
{
	for (unsigned sync = 0; sync < 2; sync++) {
		struct rack *r = rack_of((struct rack_conf){.nodes = 4, .sync = sync});
		unsigned n = 0;

		while (hashes_to(r, n) != 0)
			n++;
		struct flow f = flow_of(n, "10.1.0.101");
		assert_int_equal(flows_open(r, &f, n, 1, "10.1.0.101"), 1);
		struct shard *s = node_shard(rack_node(r, 0), 0);
		uint32_t i = index_of(r, 0, &f.key);
		const struct conn_repl *c = store_repl(&s->store, i);
		uint64_t first = c->holders & ~1ull;
		assert_int_equal(__builtin_popcountll(first), 1);
		if (sync) // packets wait for the copies
			repl_changed(s, i, 1);
		repl_no_room(s, i, (unsigned)__builtin_ctzll(first), true);
		uint64_t second = c->holders & ~1ull;
		assert_int_equal(__builtin_popcountll(second), 1);
		assert_true(second != first);
		repl_no_room(s, i, (unsigned)__builtin_ctzll(second), true);
		assert_true(c->holders == 1);
		assert_true(s->refusing == 0); // others are kept there
		rack_run_ms(r, 500);
		assert_true(c->holders == 1);
		rack_run_ms(r, 1000);
		assert_int_equal(rack_copies(r, &f.key), 2);
		rack_free(r);
	}
}

// ---- The end ----

static uint64_t deaf; // nodes that get no logs
static unsigned mute = NODES_MAX; // a node whose logs get lost

static bool lose_logs(void *ctx, unsigned from, const struct frame *f)
{
	return rack_message(f) == WIRE_LOG && (from == mute || (deaf >> (f->data[5] - 1u) & 1));
}

// Opens a flow of which node 0 is the master, and returns a node with a copy.
static unsigned open_at_0(struct rack *r, struct flow *f)
{
	for (unsigned n = 0; n < 64; n++) {
		assert_int_equal(flows_open(r, f, n, 1, "10.1.0.101"), 1);
		struct conn_view v;
		if (rack_conn(r, 0, &f->key, &v) && (v.flags & CONN_MASTER_0))
			return (unsigned)__builtin_ctzll(v.holders & ~1ull);
	}
	fail();
	return 0;
}

static struct rack *rack_of_lossy(struct rack_conf c)
{
	struct rack *r = rack_of(c);

	deaf = 0;
	mute = NODES_MAX;
	rack_tap(r, lose_logs, NULL);
	return r;
}

// A member that lives, and does not hear of the end, keeps its copy. Whoever has ended the connection does
// not forget before that one has heard, or has had time enough.
static void claims__end_is_told(void **state)
{
	struct rack *r = rack_of_lossy((struct rack_conf){.nodes = 2});
	struct flow f[2];

	for (unsigned n = 0; n < 2; n++) {
		assert_int_equal(open_at_0(r, &f[n]), 1);
		deaf = 1u << 1;
		conn_close(node_shard(rack_node(r, 0), 0), index_of(r, 0, &f[n].key),
			TRIPOD_TERMINATED);
		rack_run_ms(r, n == 0 ? 12000 : 38000);
		assert_int_equal(state_of(r, 0, &f[n].key), CONN_TOMBSTONE);
		assert_int_equal(state_of(r, 1, &f[n].key), CONN_LIVE);
		if (n == 1)
			rack_run_ms(r, 4000); // patience has an end
		deaf = 0;
		rack_run_ms(r, 1500);
		assert_int_equal(state_of(r, 0, &f[n].key), CONN_FREE);
		assert_int_equal(rack_counter(r, 0, C_tombstones_untold), n);
		assert_int_equal(state_of(r, 1, &f[n].key), n == 0 ? CONN_TOMBSTONE : CONN_LIVE);
	}
	rack_check(r);
	rack_free(r);
}

// What acknowledges the record as it was before it ended here does not acknowledge the end.
static void claims__late_acknowledgement_of_the_living(void **state)
{
	struct rack *r = rack_of_lossy((struct rack_conf){.backups = 2});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct flow f;

	open_at_0(r, &f);
	uint32_t i = index_of(r, 0, &f.key);
	const struct conn_repl *l = store_repl(&s->store, i);
	assert_int_equal(holders_with(l, HOLDER_ACKED), 7);
	struct wire_record w = {.op = WIRE_BURY,
		.key = f.key,
		.hash = store_hash(&s->store, &f.key),
		.incarnation = store_conn(&s->store, i)->incarnation};
	uint64_t sent = rack_counter(r, 0, C_log_messages_tx);
	repl_changed(s, i, 1);
	while (rack_counter(r, 0, C_log_messages_tx) < sent + 2)
		rack_step(r);
	deaf = 1u << 2;
	forge(r, 1, 0, &w);
	assert_int_equal(store_conn(&s->store, i)->state, CONN_TOMBSTONE);
	rack_run_ms(r, 1); // now they acknowledge what was sent before
	assert_false(holder_is(l, HOLDER_ACKED, 2));
	// It was the writer, and sees to it that the others hear.
	assert_int_equal(state_of(r, 2, &f.key), CONN_LIVE);
	deaf = 0;
	rack_run_ms(r, 2000);
	assert_int_equal(state_of(r, 2, &f.key), CONN_TOMBSTONE);
	rack_free(r);
}

// The master stands still, its connection goes on elsewhere, and it hears nothing of that. It does not end
// for its own silence what it is in doubt about, and it tells nobody how it was.
static void claims__silence_of_who_was_away(void **state)
{
	struct rack *r = rack_of_lossy((struct rack_conf){.nodes = 2, .udp_ms = 2000});
	const struct frame_spec ask = {.proto = IPPROTO_UDP,
		.src = "198.18.0.1",
		.dst = FLOWS_VIP,
		.sport = 1000,
		.dport = 80,
		.payload_len = 8};
	const struct frame_spec answer = {.proto = IPPROTO_UDP,
		.src = "10.1.0.101",
		.dst = "198.18.0.1",
		.sport = 8080,
		.dport = 1000,
		.payload_len = 8};
	unsigned m = rack_hash(r, &ask, TRIPOD_INCOMING);

	rack_send(r, TRIPOD_INCOMING, &ask);
	rack_run_ms(r, 30);
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 30);
	struct tripod_tuple key = forge_key(1);
	key.proto = IPPROTO_UDP;
	assert_int_equal(rack_copies(r, &key), 2);
	rack_run_ms(r, 300);
	rack_send(r, TRIPOD_INCOMING, &ask); // of this it would tell in a while
	rack_run_ms(r, 2);
	rack_freeze(r, m);
	deaf = 1ull << m;
	for (unsigned n = 0; n < 12; n++) {
		rack_run_ms(r, 200);
		rack_send(r, TRIPOD_INCOMING, &ask);
	}
	rack_port(r, m, false); // its flows stay where they are
	uint64_t heard = rack_counter(r, !m, C_log_records_rx);
	rack_thaw(r, m);
	rack_run_ms(r, 60);
	assert_int_equal(rack_counter(r, !m, C_log_records_rx), heard);
	assert_int_equal(state_of(r, !m, &key), CONN_LIVE);
	deaf = 0;
	for (unsigned n = 0; n < 12; n++) {
		rack_run_ms(r, 200);
		rack_send(r, TRIPOD_INCOMING, &ask);
	}
	rack_run_ms(r, 60);
	assert_int_equal(state_of(r, !m, &key), CONN_LIVE);
	assert_int_equal(state_of(r, m, &key), CONN_LIVE);
	assert_int_equal(rack_counter(r, -1, C_connections_closed_timeout), 0);
	rack_free(r);
}

// A node stands still for longer than tombstones last. The copies that were on their way to it are of what
// may have been forgotten since: they are not taken, and sent again as what they have become.
static void claims__copies_that_lay_there(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct flow f[2];
	unsigned first = 0;

	while (hashes_to(r, first) != 0 || hashes_to(r, first + 1) != 0)
		first++;
	rack_freeze(r, 1);
	assert_int_equal(flows_open(r, f, first, 2, "10.1.0.101"), 2); // and the PUTs lie there
	rack_run_ms(r, 500);
	conn_close(node_shard(rack_node(r, 0), 0), index_of(r, 0, &f[0].key), TRIPOD_TERMINATED);
	rack_run_ms(r, 6000);
	assert_int_equal(state_of(r, 0, &f[0].key), CONN_FREE);
	rack_thaw(r, 1);
	rack_run_ms(r, 500);
	assert_int_equal(state_of(r, 1, &f[0].key), CONN_FREE);
	assert_int_equal(state_of(r, 1, &f[1].key), CONN_LIVE);
	rack_free(r);
}

// ---- Answers ----

static uint8_t heads[64]; // of the first records of the LOGs that node 0 sends to node 2
static unsigned n_heads;

static bool note_heads(void *ctx, unsigned from, const struct frame *f)
{
	const uint8_t *message = f->data + 14 + 20 + 8;
	uint16_t len = (uint16_t)(f->len - (14 + 20 + 8));
	struct wire_header h;

	if (f->vlan != 30 || from != 0 || !wire_is_short(message, len))
		return false;
	int at = wire_get_short(message, len, &h);
	if (at > 0 && h.to_node == 2 && h.count > 0 && n_heads < 64)
		heads[n_heads++] = message[at];
	return false;
}

static uint8_t answer_of_0(struct rack *r, const struct tripod_tuple *key)
{
	struct wire_header h = forge_header(r, 2, 0, WIRE_PULL);
	uint8_t message[WIRE_MESSAGE_MAX];
	int size = wire_put_tuple(message + WIRE_HEADER_SIZE, WIRE_TUPLE_MAX, key);

	n_heads = 0;
	h.to_worker = WIRE_ANY;
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	forge_send(r, 2, 0, message, h.length);
	rack_run_ms(r, 1);
	assert_int_equal(n_heads, 1);
	return heads[0];
}

// A master that was away does not say that nobody can know better, before it has made sure.
static void claims__answer_of_who_was_away(void **state)
{
	enum { ANSWER = 0x10, FINAL = 0x20 };
	struct rack *r = rack_of((struct rack_conf){0});
	struct flow f;

	rack_tap(r, note_heads, NULL);
	open_at_0(r, &f);
	assert_int_equal(answer_of_0(r, &f.key) & (ANSWER | FINAL), ANSWER | FINAL);
	rack_freeze(r, 0);
	rack_run_ms(r, 300);
	rack_thaw(r, 0);
	rack_run_ms(r, 1);
	assert_int_equal(answer_of_0(r, &f.key) & (ANSWER | FINAL), ANSWER);
	rack_run_ms(r, 300);
	assert_int_equal(flows_exchange(r, &f, 1), 1); // asks, and knows
	assert_int_equal(answer_of_0(r, &f.key) & (ANSWER | FINAL), ANSWER | FINAL);
	// Nor of what is about to end: its ports may have been opened anew.
	flow_from_client(r, &f, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 0);
	rack_run_ms(r, 20);
	assert_int_equal(answer_of_0(r, &f.key) & (ANSWER | FINAL), ANSWER);
	rack_free(r);
}

// It makes sure before it uses what it remembers, and the other one has the tombstone of it: that is an
// answer, and the packet stays here.
static void claims__what_has_ended_elsewhere(void **state)
{
	struct rack *r = rack_of_lossy((struct rack_conf){.nodes = 2});
	static struct rack_arrival a[8];
	struct flow f;

	open_at_0(r, &f);
	deaf = 1;
	rack_port(r, 0, false);
	assert_int_equal(flows_exchange(r, &f, 1), 1); // node 1 has taken it over
	conn_close(node_shard(rack_node(r, 1), 0), index_of(r, 1, &f.key), TRIPOD_TERMINATED);
	rack_run_ms(r, 100);
	rack_port(r, 0, true);
	rack_port(r, 1, false);
	assert_int_equal(state_of(r, 0, &f.key), CONN_LIVE);
	control_doubt(node_shard(rack_node(r, 0), 0), 0, true);
	rack_run_ms(r, 5);
	deaf = 0;
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
	rack_run_ms(r, 3);
	assert_int_equal(state_of(r, 0, &f.key), CONN_TOMBSTONE);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 0);
	assert_int_equal(rack_counter(r, 0, C_pulls_answered), 1);
	rack_free(r);
}

// It makes sure, and is told of a newer life that it cannot take, being of a chain that is not here. What waits
// does not go on as of the older one: it is asked for again.
static void claims__answer_that_could_not_be_taken(void **state)
{
	struct rack *r = rack_of_lossy((struct rack_conf){.nodes = 2});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	static struct rack_arrival a[8];
	uint8_t nf[CHAIN_STATE_MAX];
	struct flow f;

	open_at_0(r, &f);
	const struct conn *c = store_conn(&s->store, index_of(r, 0, &f.key));
	struct wire_record w = forge_record(r, 1, 1, 1);
	chain_pack(conn_chain(s, c), c->nf, nf);
	w.nf = nf;
	w.key = f.key;
	w.reversed = c->dir[1].key;
	w.incarnation = c->incarnation + 1;
	w.flags |= WIRE_RECORD_ANSWER | WIRE_RECORD_FINAL;
	rack_run_ms(r, 5);
	deaf = 1u << 0;
	control_doubt(s, 0, false);
	rack_arrivals(r, TRIPOD_OUTGOING, a, 8);
	rack_port(r, 1, false);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 10);
	rack_run_ms(r, 2);
	w.chain++;
	forge(r, 1, 0, &w);
	assert_int_equal(c->incarnation, w.incarnation - 1);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 0);
	assert_int_equal(rack_counter(r, 0, C_pulls_answered), 0);
	w.chain--;
	forge(r, 1, 0, &w);
	assert_int_equal(rack_arrivals(r, TRIPOD_OUTGOING, a, 8), 1);
	assert_int_equal(rack_counter(r, 0, C_pulls_answered), 1);
	assert_true(c->incarnation >= w.incarnation);
	rack_free(r);
}

// A node whose messages were lost for a while asks, and is answered at once, though the window to it is full
// of what it never got.
static void claims__answer_through_a_full_window(void **state)
{
	enum { ANSWER = 0x10 };
	struct rack *r = rack_of_lossy((struct rack_conf){.backups = 2});
	struct shard *s = node_shard(rack_node(r, 0), 0);
	struct channel *c = &s->peer[2].channel[0];
	struct flow f;

	open_at_0(r, &f);
	deaf = 1u << 2;
	for (unsigned ms = 0; ms < 3000 || !channel_full(c); ms++) {
		assert_true(ms < 10000);
		repl_changed(s, index_of(r, 0, &f.key), 1);
		rack_run_ms(r, 1);
	}
	deaf = 0;
	rack_tap(r, note_heads, NULL);
	struct wire_header h = forge_header(r, 2, 0, WIRE_PULL);
	uint8_t message[WIRE_MESSAGE_MAX];
	int size = wire_put_tuple(message + WIRE_HEADER_SIZE, WIRE_TUPLE_MAX, &f.key);
	h.to_worker = WIRE_ANY;
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	n_heads = 0;
	forge_send(r, 2, 0, message, h.length);
	rack_run_ms(r, 1);
	bool answered = false;
	for (unsigned n = 0; n < n_heads; n++)
		answered |= (heads[n] & 3) == 1 && (heads[n] & ANSWER);
	assert_true(answered);
	rack_free(r);
}

// A member lives and has told that it has a connection, but does not answer in time: packets of it are lost,
// and open nothing of their own.
static void claims__no_answer_is_none(void **state)
{
	struct rack *r = rack_of_lossy((struct rack_conf){.nodes = 3});
	const struct frame_spec ask = {.proto = IPPROTO_UDP,
		.src = "198.18.0.1",
		.dst = FLOWS_VIP,
		.sport = 1000,
		.dport = 80,
		.payload_len = 8};
	const struct frame_spec answer = {.proto = IPPROTO_UDP,
		.src = "10.1.0.101",
		.dst = "198.18.0.1",
		.sport = 8080,
		.dport = 1000,
		.payload_len = 8};
	struct tripod_tuple key = forge_key(1);
	unsigned other = 0;

	key.proto = IPPROTO_UDP;
	rack_send(r, TRIPOD_INCOMING, &ask);
	rack_run_ms(r, 100);
	rack_send(r, TRIPOD_OUTGOING, &answer);
	rack_run_ms(r, 3000); // announced
	assert_int_equal(rack_copies(r, &key), 2);
	while (state_of(r, other, &key) == CONN_LIVE)
		other++;
	deaf = 1ull << other;
	for (unsigned k = 0; k < 3; k++)
		rack_port(r, k, k == other);
	for (unsigned n = 0; n < 3; n++) {
		rack_send(r, TRIPOD_INCOMING, &ask);
		rack_run_ms(r, 80);
		assert_int_equal(rack_counter(r, (int)other, C_drop_wait_timeout), n + 1);
	}
	assert_int_equal(rack_counter(r, -1, C_connections_opened), 1);
	deaf = 0;
	rack_send(r, TRIPOD_INCOMING, &ask);
	rack_run_ms(r, 40);
	assert_int_equal(rack_counter(r, (int)other, C_takeovers), 1);
	rack_free(r);
}

// The ports of a connection that has closed are opened anew, and the flow moves to a node that has a copy of
// the life before and none of this one yet.
static void claims__packets_of_the_next_life(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct conn_view old, new, v;
	struct flow f;

	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	flows_close(r, &f, 1);
	assert_int_equal(rack_copies(r, &f.key), 2);
	struct frame_spec s = {.src = f.client, .dst = FLOWS_VIP, .sport = f.port, .dport = 80};
	unsigned before = rack_hash(r, &s, TRIPOD_INCOMING), after = !before;
	assert_true(rack_conn(r, after, &f.key, &old));
	assert_int_equal(old.tcp, TCP_CLOSED);
	f.seq += 1u << 24;
	f.ack += 1u << 24;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_step(r);
	flow_from_server(r, &f, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 0);
	rack_step(r);
	assert_true(rack_conn(r, before, &f.key, &new));
	assert_true(new.incarnation > old.incarnation);
	assert_int_equal(new.tcp, TCP_SYN_RECEIVED);
	assert_true(rack_conn(r, after, &f.key, &v));
	assert_int_equal(v.incarnation, old.incarnation);
	rack_port(r, before, false);
	flow_from_client(r, &f, TRIPOD_TCP_ACK, 100);
	rack_run_ms(r, 20);
	assert_true(rack_conn(r, after, &f.key, &v));
	assert_int_equal(v.incarnation, new.incarnation);
	assert_int_equal(v.tcp, TCP_ESTABLISHED);
	assert_int_equal(v.master[0], after);
	assert_int_equal(rack_counter(r, -1, C_epoch_conflicts), 0);
	rack_check(r);
	rack_free(r);
}

// A SYN at a node that has a copy of a connection that lives: its end may have passed elsewhere a moment ago.
static void claims__a_syn_asks_for_the_end(void **state)
{
	struct rack *r = rack_of((struct rack_conf){.nodes = 2});
	struct conn_view v;
	struct flow f;

	assert_int_equal(flows_open(r, &f, 0, 1, "10.1.0.101"), 1);
	struct frame_spec s = {.src = f.client, .dst = FLOWS_VIP, .sport = f.port, .dport = 80};
	unsigned before = rack_hash(r, &s, TRIPOD_INCOMING), after = !before;
	rack_port(r, before, false);
	f.seq += 1u << 24;
	flow_from_client(r, &f, TRIPOD_TCP_SYN, 0);
	rack_run_ms(r, 20);
	assert_int_equal(rack_counter(r, after, C_pulls_sent), 1);
	assert_true(rack_conn(r, after, &f.key, &v));
	assert_int_equal(v.master[0], after);
	assert_int_equal(v.tcp, TCP_ESTABLISHED);
	rack_check(r);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claims__of_a_former_life),
		cmocka_unit_test(claims__of_a_former_life_is_told),
		cmocka_unit_test(claims__unlisted_holder),
		cmocka_unit_test(claims__writer_is_told_of_a_copy),
		cmocka_unit_test(claims__new_holder_is_behind),
		cmocka_unit_test(claims__what_the_former_master_had_not_told),
		cmocka_unit_test(claims__a_third_tells_who_has_taken_over),
		cmocka_unit_test(claims__answer_that_opened_something),
		cmocka_unit_test(claims__refused_alone),
		cmocka_unit_test(claims__refused_everywhere),
		cmocka_unit_test(claims__end_is_told),
		cmocka_unit_test(claims__late_acknowledgement_of_the_living),
		cmocka_unit_test(claims__silence_of_who_was_away),
		cmocka_unit_test(claims__copies_that_lay_there),
		cmocka_unit_test(claims__answer_of_who_was_away),
		cmocka_unit_test(claims__answer_that_could_not_be_taken),
		cmocka_unit_test(claims__answer_through_a_full_window),
		cmocka_unit_test(claims__no_answer_is_none),
		cmocka_unit_test(claims__what_has_ended_elsewhere),
		cmocka_unit_test(claims__packets_of_the_next_life),
		cmocka_unit_test(claims__a_syn_asks_for_the_end),
	};
	return cmocka_run_group_tests_name("claims", tests, NULL, NULL);
}
