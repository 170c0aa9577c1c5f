// SPDX-License-Identifier: BSD-3-Clause
// Kinds on the real core: what connections of one source share, whichever nodes handle them.
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/testing/forge.h"
#include "core/testing/shares.h"

// ---- Units ----

static void kind__as_many_as_there_are(void **state)
{
	for (unsigned workers = 1; workers <= 3; workers++) {
		struct rack *r = shares_rack((struct rack_conf){.workers = workers});
		struct shares_through first = shares_opened(r, 1, 0, 4),
				      t = shares_opened(r, 1, 4, 20);
		assert_int_equal(first.n, 4);
		assert_int_equal(t.n, SHARES_MAX - 4);
		assert_true(__builtin_popcountll(first.nodes) > 1);
		// The first of each worker have waited, and the others know.
		assert_int_equal(
			shares_told[1] + rack_counter(r, -1, C_drop_refused), 24 - SHARES_MAX);
		assert_int_equal(rack_counter(r, -1, C_kind_refused), shares_told[1]);
		assert_true(shares_told[1] > 1);
		assert_int_equal(shares_opened(r, 2, 0, 2).n, 2); // another source
		rack_run_ms(r, 100);
		shares_assert_entry(r, 1, 3, SHARES_MAX);
		shares_assert_entry(r, 2, 3, 2);
		// A second one of each is refused at once, and nobody is asked.
		uint64_t asked = rack_counter(r, -1, C_kind_asks_tx);
		assert_int_equal(shares_opened(r, 1, 100, 24).n, 0);
		assert_in_range(rack_counter(r, -1, C_kind_asks_tx) - asked, 1, 30);
		shares_done(r);
	}
}

// Not only nobody: nothing leaves the node for the second one of a burst that is refused.
static void kind__refusal_is_remembered(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 1});

	assert_int_equal(shares_opened(r, 1, 0, SHARES_MAX + 1).n, SHARES_MAX);
	rack_run_ms(r, 200);
	shares_client(r, 1, 50, 1);
	rack_run_ms(r, 1);
	uint64_t applied = rack_counter(r, 0, C_kind_applied);
	for (unsigned k = 0; k < 20; k++) {
		shares_client(r, 1, 51 + k, 1);
		rack_run_ms(r, 2);
	}
	assert_int_equal(rack_counter(r, 0, C_kind_applied), applied);
	assert_int_equal(rack_counter(r, 0, C_drop_refused), 20);
	rack_run_ms(r, 120);
	shares_client(r, 1, 80, 1);
	rack_run_ms(r, 1);
	assert_int_equal(rack_counter(r, 0, C_kind_applied), applied + 1);
	assert_int_equal(shares_arrived(r, 1).n, 0);
	shares_done(r);
}

static void kind__comes_back(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.workers = 2});
	struct shares_through t = shares_opened(r, 1, 0, 12);

	assert_int_equal(t.n, SHARES_MAX);
	unsigned ended = 0;
	for (unsigned k = 0; k < 12 && ended < 3; k++) {
		if (t.of[k]) {
			shares_client(r, 1, k, SHARES_END);
			ended++;
		}
	}
	rack_run_ms(r, 300);
	shares_arrived(r, 1);
	shares_assert_entry(r, 1, 3, SHARES_MAX - 3);
	assert_int_equal(shares_opened(r, 1, 30, 12).n, 3);
	shares_assert_entry(r, 1, 3, SHARES_MAX);
	shares_done(r);
}

// What has been given back is not used while the answer is on its way: by then it is another's.
static void kind__given_back_is_gone(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 5});
	struct shares_through t = shares_opened(r, 1, 0, 12);
	unsigned ends = 0, next = 20, elsewhere = 40;

	assert_int_equal(t.n, SHARES_MAX);
	int writer = shares_writer(r, 1);
	struct frame_spec f = shares_packet(1, ends, false, SHARES_END);
	while (!t.of[ends] || (int)rack_hash(r, &f, TRIPOD_INCOMING) == writer)
		f = shares_packet(1, ++ends, false, SHARES_END);
	unsigned at = rack_hash(r, &f, TRIPOD_INCOMING);
	struct shard *s = node_shard(rack_node(r, at), 0);
	struct kind_key key = shares_key(r, 1);
	const struct kind_claim *q =
		kind_claim_at(s, kind_find(&s->kinds.claims, kind_hash(s, &key), &key));
	rack_send(r, TRIPOD_INCOMING, &f);
	while (!q->asking)
		rack_step(r);
	assert_true(q->wanted + 1 == q->units);
	while (f = shares_packet(1, next, false, 1), rack_hash(r, &f, TRIPOD_INCOMING) != at)
		next++;
	rack_send(r, TRIPOD_INCOMING, &f);
	while (f = shares_packet(1, elsewhere, false, 1),
		(int)rack_hash(r, &f, TRIPOD_INCOMING) != writer)
		elsewhere++;
	rack_send(r, TRIPOD_INCOMING, &f);
	rack_run_ms(r, 300);
	assert_int_equal(shares_arrived(r, 1).n, 2); // with the last packet of the one that ended
	shares_assert_entry(r, 1, 3, SHARES_MAX);
	shares_done(r);
}

// A connection that has gone somewhere else counts there, and once.
static void kind__goes_with_its_connection(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){0});
	struct shares_through t = shares_opened(r, 1, 0, 12);
	unsigned conn = 0;

	assert_int_equal(t.n, SHARES_MAX);
	while (!t.of[conn])
		conn++;
	struct frame_spec f = shares_packet(1, conn, false, 1);
	unsigned from = rack_hash(r, &f, TRIPOD_INCOMING);
	rack_port(r, from, false);
	shares_client(r, 1, conn, 1);
	rack_run_ms(r, 50);
	assert_int_equal(shares_arrived(r, 1).n, 1);
	assert_int_equal(shares_held(r, 1), SHARES_MAX);
	rack_run_ms(r, 500);
	shares_assert_entry(r, 1, 3, SHARES_MAX);
	assert_int_equal(shares_opened(r, 1, 60, 12).n, 0);
	shares_done(r);
}

// What it has of a connection that has just gone is given back, to whoever writes by then.
static void kind__all_have_gone_when_it_asks_again(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){0});
	struct frame_spec f = shares_packet(1, 0, false, 1);

	assert_int_equal(shares_opened(r, 1, 0, 1).n, 1);
	unsigned from = rack_hash(r, &f, TRIPOD_INCOMING);
	struct shard *s = node_shard(rack_node(r, from), 0);
	struct kind_key key = shares_key(r, 1);
	uint32_t k = kind_find(&s->kinds.claims, kind_hash(s, &key), &key);
	struct kind_claim *q = kind_claim_at(s, k);
	rack_port(r, from, false);
	shares_client(r, 1, 0, 1);
	while (q->held > 0)
		rack_step(r);
	assert_true(q->lent && q->units == 0 && !q->asking);
	q->again = true;
	kind_claim_look(s, k);
	assert_true(q->asking && q->n.busy && q->n.next_ns > s->now_ns);
	rack_run_ms(r, 300);
	shares_assert_entry(r, 1, 3, 1);
	assert_int_equal(s->kinds.claims.in_use, 0);
	shares_arrived(r, 1);
	shares_done(r);
}

// ---- Failures ----

static void kind__writer_dies(void **state)
{
	for (unsigned seed = 1; seed <= 8; seed++) {
		struct rack *r = shares_rack((struct rack_conf){.seed = seed, .nodes = 5});
		struct shares_through t = shares_opened(r, 1, 0, 12);
		assert_int_equal(t.n, SHARES_MAX);
		uint64_t label;
		int writer = shares_writer(r, 1);
		assert_true(writer >= 0);
		memcpy(&label, shares_entry(r, (unsigned)writer, 1)->state, sizeof(label));
		rack_kill(r, (unsigned)writer);
		// Those that were there go on; others are refused, before and after it is found dead.
		for (unsigned k = 0; k < 12; k++)
			shares_client(r, 1, 100 + k, 1);
		rack_run_ms(r, 700);
		assert_int_equal(shares_arrived(r, 1).n, 0);
		for (unsigned k = 0; k < 12; k++) {
			if (t.of[k])
				shares_client(r, 1, k, 1);
		}
		rack_run_ms(r, 100);
		assert_int_equal(shares_arrived(r, 1).n, SHARES_MAX);
		assert_int_equal(shares_opened(r, 1, 120, 12).n, 0);
		assert_true(rack_counter(r, -1, C_kind_takeovers) > 0);
		assert_int_equal(shares_entry(r, (unsigned)shares_writer(r, 1), 1)->epoch, 2);
		rack_run_ms(
			r, 12000); // what the dead one held is forgotten, and counts where it is
		shares_assert_entry(r, 1, 3, SHARES_MAX);
		assert_int_equal(memcmp(shares_entry(r, (unsigned)shares_writer(r, 1), 1)->state,
					 &label, sizeof(label)),
			0);
		assert_int_equal(shares_opened(r, 1, 140, 12).n, 0);
		shares_done(r);
	}
}

// Idle connections of a dead node are looked after by others, and count there.
static void kind__holder_dies(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 5, .seed = 11});
	struct shares_through t = shares_opened(r, 1, 0, 12);
	unsigned writer = (unsigned)shares_writer(r, 1), dies = 0;

	assert_int_equal(t.n, SHARES_MAX);
	while (dies == writer || !(t.nodes & 1ull << dies))
		dies++;
	rack_kill(r, dies);
	rack_run_ms(r, 1000);
	assert_int_equal(shares_held(r, 1), SHARES_MAX);
	assert_int_equal(shares_opened(r, 1, 60, 12).n, 0);
	rack_run_ms(r, 12000);
	shares_assert_entry(r, 1, 3, SHARES_MAX);
	for (unsigned k = 0; k < 12; k++) {
		if (t.of[k])
			shares_client(r, 1, k, SHARES_END);
	}
	rack_run_ms(r, 500);
	shares_arrived(r, 1);
	assert_int_equal(shares_held(r, 1), 0);
	assert_int_equal(shares_opened(r, 1, 80, 12).n, SHARES_MAX);
	shares_done(r);
}

// Two at once, with as many copies as that takes: nothing that was answered is lost.
static void kind__writer_and_first_backup_die(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 6, .seed = 5});
	struct shares_through t = shares_opened(r, 1, 0, 12);
	unsigned n = 0;

	assert_int_equal(t.n, SHARES_MAX);
	for (unsigned i = 0; i < 6 && n < 2; i++) {
		if (shares_entry(r, i, 1) != NULL) {
			rack_kill(r, i);
			n++;
		}
	}
	assert_int_equal(n, 2);
	rack_run_ms(r, 1000);
	assert_int_equal(shares_opened(r, 1, 60, 12).n, 0);
	shares_done(r);
}

static void kind__comes_back_to_who_restarts(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 4, .seed = 7});

	assert_int_equal(shares_opened(r, 1, 0, 12).n, SHARES_MAX);
	unsigned writer = (unsigned)shares_writer(r, 1);
	rack_kill(r, writer);
	rack_run_ms(r, 1000);
	rack_start(r, writer);
	while (!rack_node(r, writer)->takes_traffic)
		rack_step(r);
	assert_non_null(shares_entry(r, writer, 1)); // before anybody asks it
	assert_true(shares_units(shares_entry(r, writer, 1)) >=
		    SHARES_MAX); // what it held itself is not forgotten yet
	for (unsigned k = 0; k < 40; k++) { // when its port comes up
		for (unsigned c = 0; c < 4; c++)
			shares_client(r, 1, 60 + c, 1);
		rack_run_ms(r, 50);
		assert_int_equal(shares_arrived(r, 1).n, 0);
	}
	rack_run_ms(r, 12000);
	assert_int_equal(shares_writer(r, 1), writer); // the first in the order, as before
	shares_assert_entry(r, 1, 3, SHARES_MAX);
	shares_done(r);
}

// What wakes up has no say before it has heard.
static void kind__writer_freezes(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 4, .seed = 9});
	struct shares_through t = shares_opened(r, 1, 0, 3);

	assert_int_equal(t.n, 3);
	unsigned writer = (unsigned)shares_writer(r, 1);
	rack_freeze(r, writer);
	rack_run_ms(r, 500);
	for (unsigned k = 0; k < 3; k++) // all go where the switch sends them now
		shares_client(r, 1, k, 1);
	rack_run_ms(r, 100);
	assert_int_equal(shares_arrived(r, 1).n, 3);
	rack_run_ms(r,
		11000); // what it held is forgotten: there is room for two more, which it does not know
	assert_int_equal(shares_opened(r, 1, 40, 12).n, 2);
	rack_thaw(r, writer);
	for (unsigned k = 0; k < 20; k++) {
		shares_client(r, 1, 80 + k, 1);
		rack_run_ms(r, 20);
		assert_int_equal(shares_arrived(r, 1).n, 0);
	}
	rack_run_ms(r, 12000);
	shares_assert_entry(r, 1, 3, SHARES_MAX);
	shares_done(r);
}

static void kind__soft_is_made_again(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nf = &shares_soft, .nodes = 4});

	assert_int_equal(shares_opened(r, 1, 0, 12).n, SHARES_MAX);
	assert_int_equal(rack_counter(r, -1, C_kind_copies_tx), 0);
	unsigned writer = (unsigned)shares_writer(r, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_true((shares_entry(r, i, 1) != NULL) == (i == writer));
	rack_kill(r, writer);
	rack_run_ms(r, 3000);
	assert_true(shares_writer(r, 1) >= 0);
	assert_int_equal(
		shares_units(shares_entry(r, (unsigned)shares_writer(r, 1), 1)), shares_held(r, 1));
	assert_int_equal(shares_held(r, 1), SHARES_MAX);
	assert_int_equal(shares_opened(r, 1, 60, 12).n, 0);
	shares_done(r);
}

// What nobody has now stays what it was, for as long as the kind says.
static void kind__state_outlives_its_connections(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){0});
	uint64_t label;

	assert_int_equal(shares_opened(r, 1, 7, 1).n, 1);
	shares_client(r, 1, 7, SHARES_END);
	rack_run_ms(r, 20000);
	shares_arrived(r, 1);
	shares_assert_entry(r, 1, 3, 0);
	memcpy(&label, shares_entry(r, (unsigned)shares_writer(r, 1), 1)->state, sizeof(label));
	assert_int_equal(label, 2007);
	assert_int_equal(shares_opened(r, 1, 9, 1).n, 1);
	shares_client(r, 1, 9, SHARES_END);
	rack_run_ms(r, 100);
	memcpy(&label, shares_entry(r, (unsigned)shares_writer(r, 1), 1)->state, sizeof(label));
	assert_int_equal(label, 2007);
	rack_run_ms(r, 100000);
	for (unsigned i = 0; i < 4; i++)
		assert_null(shares_entry(r, i, 1));
	shares_done(r);
}

// ---- Messages that meet an entry ----

static struct wire_kind copy_of(const struct kind_entry *e)
{
	struct wire_kind w;

	memset(&w, 0, sizeof(w));
	w.op = WIRE_KIND_COPY;
	w.key = e->n.key;
	w.epoch = e->epoch;
	w.version = e->version;
	w.writer = e->writer;
	w.size = KIND_STATE_MAX;
	memcpy(w.bytes, e->state, sizeof(w.bytes));
	memcpy(w.part, e->part, e->n_parts * sizeof(w.part[0]));
	w.n_parts = e->n_parts;
	return w;
}

static const struct kind_part *part_at(const struct kind_entry *e, unsigned node)
{
	for (unsigned p = 0; p < e->n_parts; p++) {
		if (e->part[p].node == node)
			return &e->part[p];
	}
	return NULL;
}

static void kind__old_questions(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 3});

	shares_opened(r, 1, 0, 12);
	unsigned writer = (unsigned)shares_writer(r, 1);
	struct shard *s = node_shard(rack_node(r, writer), 0);
	const struct kind_entry *e = shares_entry(r, writer, 1);
	struct kind_from from = {e->part[0].node, e->part[0].worker, e->part[0].boot};
	struct wire_kind w;
	uint32_t units_before = e->part[0].units, seq = e->part[0].seq, version = e->version;

	memset(&w, 0, sizeof(w));
	w.op = WIRE_KIND_ASK;
	w.key = e->n.key;
	w.size = 8;
	w.seq = seq - 1;
	kind_entry_ask(s, &w, &from);
	assert_false(e->part[0].owed);
	w.seq = seq; // comes once more: is answered, and changes nothing
	kind_entry_ask(s, &w, &from);
	assert_int_equal(e->part[0].units, units_before);
	assert_int_equal(e->version, version);
	assert_true(e->part[0].owed);
	w.seq = seq + 1;
	kind_entry_ask(s, &w, &from);
	assert_int_equal(e->part[0].units, 0);
	assert_int_equal(e->version, version + 1);
	from.boot++; // another life, which counts from one again
	w.seq = 1;
	w.held = w.units = 1;
	kind_entry_ask(s, &w, &from);
	assert_int_equal(e->part[0].units, 1);
	assert_int_equal(e->part[0].seq, 1);
	shares_done(r);
}

// Two have written: the higher claim goes on, and has what the other one has answered.
static void kind__two_writers(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 3});

	shares_opened(r, 1, 0, 12);
	rack_run_ms(r, 100);
	unsigned writer = (unsigned)shares_writer(r, 1), other = (writer + 1) % 3;
	struct shard *s = node_shard(rack_node(r, writer), 0);
	struct kind_entry *e = kind_entry_at(
		s, kind_find_hash(&s->kinds.entries, shares_entry(r, writer, 1)->n.hash));
	struct wire_kind w = copy_of(e);
	struct kind_from from = {(uint8_t)other, 0, 0};
	uint64_t sent = rack_counter(r, (int)writer, C_kind_copies_tx);

	// One epoch below, but of one worker it knows more.
	e->epoch++;
	w.version += 100;
	w.writer = (uint8_t)other;
	w.part[0].seq++;
	w.part[0].units = 9;
	w.part[1].seq--;
	w.part[1].units = 8;
	uint32_t second = e->part[1].units, version = e->version;
	kind_entry_copy(s, &w, &from);
	assert_int_equal(e->writer, writer);
	assert_int_equal(part_at(e, w.part[0].node)->units, 9);
	assert_int_equal(part_at(e, w.part[1].node)->units, second);
	assert_int_equal(e->version, version + 1);
	assert_int_equal(e->acked, 0);
	// Above: it is the writer, and lacks one that this node has answered.
	w = copy_of(e);
	w.epoch++;
	w.writer = (uint8_t)other;
	w.bytes[0] ^= 1;
	struct kind_part lacks = w.part[0];
	w.part[0] = w.part[--w.n_parts];
	kind_entry_copy(s, &w, &from);
	assert_int_equal(e->writer, other);
	assert_int_equal(e->state[0], w.bytes[0]);
	assert_int_equal(part_at(e, lacks.node)->units, 9);
	assert_int_equal(rack_counter(r, (int)writer, C_kind_copies_tx), sent + 1);
	// Who has only a copy has what the writer has.
	w.version++;
	kind_entry_copy(s, &w, &from);
	assert_null(part_at(e, lacks.node));
	w.version -= 2; // an older one comes late
	w.part[0].units = 77;
	w.part[0].seq += 5;
	kind_entry_copy(s, &w, &from);
	assert_int_not_equal(part_at(e, w.part[0].node)->units, 77);
	rack_run_ms(r, 20);
	rack_run_ms(r, 14000);
	rack_check(r);
	rack_free(r);
}

static struct kind_entry *entry_at(struct rack *r, unsigned node)
{
	const struct kinds *q = &node_shard(rack_node(r, node), 0)->kinds;

	return kind_at(&q->entries, kind_find_hash(&q->entries, shares_entry(r, node, 1)->n.hash));
}

// What the one who follows had answered goes to the one who writes, under its claim.
static void kind__writer_is_told_what_it_lacks(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 3});

	shares_opened(r, 1, 0, 12);
	rack_run_ms(r, 100);
	unsigned writer = (unsigned)shares_writer(r, 1), other = (writer + 1) % 3;
	struct kind_entry *e = entry_at(r, writer), *copy = entry_at(r, other);
	copy->epoch = (uint16_t)(e->epoch - 1); // it has written, before it heard of the other
	copy->writer = (uint8_t)other;
	copy->part[0].seq += 1;
	copy->part[0].units += 1;
	uint8_t node = copy->part[0].node;
	uint32_t seq = copy->part[0].seq, units = copy->part[0].units;
	struct wire_kind w = copy_of(e);
	struct kind_from from = {(uint8_t)writer, 0, 0};
	kind_entry_copy(node_shard(rack_node(r, other), 0), &w, &from);
	rack_run_ms(r, 20);
	assert_int_equal(copy->writer, writer);
	assert_int_equal(part_at(e, node)->seq, seq);
	assert_int_equal(part_at(e, node)->units, units);
	assert_int_equal(part_at(copy, node)->units, units);
	assert_int_equal(e->version, copy->version);
	rack_run_ms(r, 14000);
	shares_done(r);
}

// Who have only copies tell each other nothing that both know, or it would go round for ever.
static void kind__copies_do_not_go_round(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 3});

	shares_opened(r, 1, 0, 12);
	rack_run_ms(r, 100);
	unsigned writer = (unsigned)shares_writer(r, 1);
	unsigned a = (writer + 1) % 3, b = (writer + 2) % 3;
	struct shard *s = node_shard(rack_node(r, a), 0);
	struct kind_entry *e = entry_at(r, a);
	struct kind_from from = {(uint8_t)b, 0, 0};
	struct wire_kind w = copy_of(e);
	uint64_t sent = rack_counter(r, (int)a, C_kind_copies_tx);

	rack_kill(r, writer);
	kind_entry_copy(s, &w, &from);
	assert_int_equal(rack_counter(r, (int)a, C_kind_copies_tx), sent);
	// Of what is older, it is told; what it takes for its own, and has not heard of this, is not acknowledged.
	struct kind_entry *old = entry_at(r, b);
	old->epoch--;
	old->writer = (uint8_t)b;
	old->targets = 1ull << a;
	old->acked = 0;
	w.epoch--;
	w.writer = (uint8_t)b;
	kind_entry_copy(s, &w, &from);
	assert_int_equal(e->writer, writer);
	assert_int_equal(rack_counter(r, (int)a, C_kind_copies_tx), sent + 1);
	rack_run_ms(r, 5);
	assert_int_equal(old->acked, 0);
	assert_int_equal(old->writer, writer);
	assert_int_equal(old->epoch, e->epoch);
	assert_int_equal(rack_counter(r, (int)a, C_kind_copies_tx), sent + 1);
	rack_run_ms(r, 14000);
	shares_done(r);
}

// ---- Limits ----

// More sources than there is room for: what is there stays, and the others cost a bounded number of messages.
static void kind__flood(void **state)
{
	struct rack *r = shares_rack((struct rack_conf){.nodes = 4, .kinds = 64, .embryonic = 512});

	shares_open = true;
	struct shares_through t = shares_opened(r, 1, 0, 3);
	assert_int_equal(t.n, 3);
	uint64_t asked = rack_counter(r, -1, C_kind_asks_tx);
	for (unsigned k = 0; k < 10000; k++) {
		shares_client(r, 256 + k, 0, 1);
		if (k % 50 == 0)
			rack_run_ms(r, 1);
	}
	rack_run_ms(r, 100);
	assert_true(rack_counter(r, -1, C_kind_full) > 5000);
	// Each of the places is asked for a few times at most.
	assert_in_range(rack_counter(r, -1, C_kind_asks_tx) - asked, 64, 4 * 64 * 16);
	shares_arrived(r, 1);
	for (unsigned k = 0; k < 3; k++)
		shares_client(r, 1, k, 1);
	rack_run_ms(r, 20);
	assert_int_equal(shares_arrived(r, 1).n, 3);
	assert_int_equal(shares_held(r, 1), 3);
	rack_run_ms(r, 45000); // all of it has ended
	for (unsigned i = 0; i < 4; i++)
		assert_true(node_shard(rack_node(r, i), 0)->kinds.claims.in_use <= 1);
	shares_done(r);
}

static void kind__questions_a_second(void **state)
{
	struct rack *r =
		shares_rack((struct rack_conf){.nodes = 1, .kinds = 4096, .waiting = 2048});

	for (unsigned k = 0; k < 2000; k++)
		shares_client(r, 256 + k, 0, 1);
	rack_run_ms(r, 60); // a pull of UDP, and all at once
	uint64_t limited = rack_counter(r, 0, C_kind_limited);
	assert_true(limited > 0);
	assert_true(rack_counter(r, 0, C_kind_applied) + limited >= 2000);
	// 500 at once, and 50 a millisecond.
	assert_in_range(rack_counter(r, 0, C_kind_applied), 500, 500 + 60 * 50);
	shares_done(r);
}

// ---- Anything ----

struct losses {
	struct rng rng;
	unsigned percent;
};

static bool lose_some(void *ctx, unsigned from, const struct frame *f)
{
	struct losses *l = ctx;
	return f->vlan == 30 && rng_below(&l->rng, 100) < l->percent;
}

static void kind__any_history(void **state)
{
	for (unsigned seed = 1; seed <= 12; seed++) {
		struct rng rng = {.state = seed * 7919};
		struct rack *r = shares_rack(
			(struct rack_conf){.nodes = 5, .seed = seed, .workers = 1 + seed % 2});
		struct losses losses = {{.state = seed}, seed % 3 * 10};
		uint64_t dead = 0;
		rack_tap(r, lose_some, &losses);
		for (unsigned k = 0; k < 150; k++) {
			unsigned source = 1 + rng_below(&rng, 2), conn = rng_below(&rng, 60);
			unsigned node = rng_below(&rng, 5);
			shares_client(r, source, conn, rng_below(&rng, 4) == 0 ? SHARES_END : 1);
			rack_run_ms(r, 5 + rng_below(&rng, 20));
			shares_arrived(r, rng_below(&rng, 2) + 1);
			if (rng_below(&rng, 20) != 0)
				continue;
			if (dead >> node & 1) {
				rack_start(r, node);
				dead &= ~(1ull << node);
			} else if (dead == 0) {
				rack_kill(r, node);
				dead |= 1ull << node;
			}
		}
		for (unsigned i = 0; i < 5; i++) {
			if (dead >> i & 1)
				rack_start(r, i);
		}
		losses.percent = 0; // or members would be taken for dead for ever
		rack_run_ms(r, 14000);
		for (unsigned source = 1; source <= 2; source++) {
			unsigned n = shares_held(r, source);
			if (n > SHARES_MAX)
				print_message("seed %u: source %u holds %u\n", seed, source, n);
			assert_true(n <= SHARES_MAX);
			int writer = shares_writer(r, source);
			assert_int_equal(writer < 0 ? 0
						    : shares_units(shares_entry(
							      r, (unsigned)writer, source)),
				n);
			if (writer >= 0)
				shares_assert_entry(r, source, 3, n);
		}
		shares_done(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kind__as_many_as_there_are),
		cmocka_unit_test(kind__refusal_is_remembered),
		cmocka_unit_test(kind__comes_back),
		cmocka_unit_test(kind__given_back_is_gone),
		cmocka_unit_test(kind__goes_with_its_connection),
		cmocka_unit_test(kind__all_have_gone_when_it_asks_again),
		cmocka_unit_test(kind__writer_dies),
		cmocka_unit_test(kind__holder_dies),
		cmocka_unit_test(kind__writer_and_first_backup_die),
		cmocka_unit_test(kind__comes_back_to_who_restarts),
		cmocka_unit_test(kind__writer_freezes),
		cmocka_unit_test(kind__soft_is_made_again),
		cmocka_unit_test(kind__state_outlives_its_connections),
		cmocka_unit_test(kind__old_questions),
		cmocka_unit_test(kind__two_writers),
		cmocka_unit_test(kind__writer_is_told_what_it_lacks),
		cmocka_unit_test(kind__copies_do_not_go_round),
		cmocka_unit_test(kind__flood),
		cmocka_unit_test(kind__questions_a_second),
		cmocka_unit_test(kind__any_history),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
