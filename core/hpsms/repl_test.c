// SPDX-License-Identifier: BSD-3-Clause
// Replication among nodes that say what no honest node would, and messages at bad moments. Forged
// messages are complete: right cluster, boot, addresses and sequence number.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/shard.h"
#include "core/testing/forge.h"
#include "core/testing/settled.h"

#define VIP "198.51.100.1"
#define SERVER "10.1.0.101"
#define MAX 4096
#define BODY 42 // offset of the message in a frame

static unsigned arrived(struct rack *r, enum tripod_direction side)
{
	static struct rack_arrival a[MAX];
	return rack_arrivals(r, side, a, MAX);
}

static void tcp(struct rack *r, unsigned n, uint8_t flags, uint32_t seq, uint32_t ack, unsigned len)
{
	char client[20];
	snprintf(client, sizeof(client), "198.18.0.%u", n);
	rack_send(r, TRIPOD_INCOMING,
		&(struct frame_spec){.src = client,
			.dst = VIP,
			.sport = 1000,
			.dport = 80,
			.tcp_flags = flags,
			.seq = seq,
			.ack = ack,
			.payload_len = len});
}

static void tcp_back(
	struct rack *r, unsigned n, uint8_t flags, uint32_t seq, uint32_t ack, unsigned len)
{
	char client[20];
	snprintf(client, sizeof(client), "198.18.0.%u", n);
	rack_send(r, TRIPOD_OUTGOING,
		&(struct frame_spec){.src = SERVER,
			.dst = client,
			.sport = 8080,
			.dport = 1000,
			.tcp_flags = flags,
			.seq = seq,
			.ack = ack,
			.payload_len = len});
}

static void established(struct rack *r, unsigned n)
{
	tcp(r, n, TRIPOD_TCP_SYN, 100, 0, 0);
	rack_run_ms(r, 4);
	tcp_back(r, n, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 500, 101, 0);
	rack_run_ms(r, 4);
	tcp(r, n, TRIPOD_TCP_ACK, 101, 501, 0);
	rack_run_ms(r, 20);
}

static bool carries(struct rack *r, unsigned n)
{
	arrived(r, TRIPOD_OUTGOING);
	arrived(r, TRIPOD_INCOMING);
	tcp(r, n, TRIPOD_TCP_ACK, 101, 501, 10);
	rack_run_ms(r, 60);
	tcp_back(r, n, TRIPOD_TCP_ACK, 501, 111, 0);
	rack_run_ms(r, 60);
	return arrived(r, TRIPOD_OUTGOING) == 1 && arrived(r, TRIPOD_INCOMING) == 1;
}

static void repl__forged_record_is_kept(void **state) // or the tests below test nothing
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);

	forge(r, 0, 1, &w);
	assert_non_null(forge_find(r, 1, 1, NULL));
	assert_int_equal(rack_counter(r, 1, C_drop_control_bad), 0);
	rack_check(r);
	rack_free(r);
}

// NF state of another chain is not what its size and layout say here.
static void repl__state_of_a_foreign_chain(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);
	struct conn *c;

	forge(r, 0, 1, &w);
	assert_non_null(forge_find(r, 1, 1, &c));
	uint8_t before = c->nf[0];
	for (unsigned i = 0; i < 3; i++) {
		w = forge_record(r, 1, 0, (uint16_t)(2 + i));
		w.nf_size -= (uint16_t)(i == 0 ? 1 : i * w.nf_size / 2); // one less, half, nothing
		if (w.nf_size == 0)
			w.nf = NULL;
		forge(r, 0, 1, &w);
	}
	assert_int_equal(c->nf[0], before);
	assert_int_equal(rack_counter(r, 1, C_log_records_refused), 3);
	w = forge_record(r, 2, 0, 1);
	w.chain++;
	forge(r, 0, 1, &w);
	assert_null(forge_find(r, 1, 2, NULL));
	w = forge_record(r, 2, 0, 1);
	w.nf_size--;
	forge(r, 0, 1, &w);
	assert_null(forge_find(r, 1, 2, NULL));
	// A newer life of another chain does not cost the older one that is here.
	w = forge_record(r, 1, 0, 1);
	w.incarnation++;
	w.chain++;
	forge(r, 0, 1, &w);
	assert_non_null(forge_find(r, 1, 1, NULL));
	// This life under another chain: what is here is of the past, and nobody's copy any more.
	w = forge_record(r, 1, 0, 9);
	w.chain++;
	forge(r, 0, 1, &w);
	assert_null(forge_find(r, 1, 1, NULL));
	// But who handles a direction goes on with it.
	w = forge_record(r, 3, 0, 1);
	forge(r, 0, 1, &w);
	assert_non_null(forge_find(r, 1, 3, &c));
	c->flags |= CONN_MASTER_1;
	forge_find(r, 1, 3, NULL)->part[1] = (struct conn_version){.epoch = 9, .writer = 1};
	w = forge_record(r, 3, 0, 2);
	w.chain++;
	forge(r, 0, 1, &w);
	assert_non_null(forge_find(r, 1, 3, NULL));
	rack_check(r);
	rack_free(r);
}

// Who has a copy and names a former writer of the shared part has missed the change: it is told.
static void repl__former_writer_is_corrected(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 1, 3);

	forge(r, 1, 0, &w);
	rack_run_ms(r, 20);
	uint64_t sent = rack_counter(r, 0, C_log_records_tx);
	forge(r, 1, 0, &w); // the same once more
	rack_run_ms(r, 20);
	assert_int_equal(rack_counter(r, 0, C_log_records_tx), sent);
	w.version[PART_SHARED].epoch = 2;
	forge(r, 1, 0, &w);
	rack_run_ms(r, 20);
	assert_int_equal(rack_counter(r, 0, C_log_records_tx), sent + 1);
	assert_int_equal(forge_find(r, 0, 1, NULL)->part[PART_SHARED].epoch, 3);
	rack_free(r);
}

static void repl__impossible_records(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);

	w.key.proto = w.reversed.proto = 0; // the mark of a tuple that is not known yet
	forge(r, 0, 1, &w);
	w = forge_record(r, 1, 0, 1);
	w.key.proto = w.reversed.proto = 132;
	forge(r, 0, 1, &w);
	w = forge_record(r, 1, 0, 1);
	w.incarnation = UINT64_MAX;
	forge(r, 0, 1, &w);
	assert_int_equal(rack_counter(r, 1, C_drop_control_bad), 3);
	assert_int_equal(node_shard(rack_node(r, 1), 0)->store.used, 0);
	rack_check(r);
	rack_free(r);
}

// The same sequence number again is the same message, whatever it says.
static void repl__a_number_counts_once(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);

	forge(r, 0, 1, &w);
	w = forge_record(r, 2, 0, 1);
	struct wire_header h = forge_header(r, 0, 1, WIRE_LOG);
	uint8_t message[WIRE_MESSAGE_MAX];
	int size = forge_put(message, &w);
	h.seq = node_shard(rack_node(r, 1), 0)->peer[0].channel[0].rx_ack;
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	forge_send(r, 0, 1, message, h.length);
	rack_run_ms(r, 1);
	assert_null(forge_find(r, 1, 2, NULL));
	rack_free(r);
}

// Messages of another rack, from another address, or to a former boot.
static void repl__messages_of_others(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);
	uint8_t message[WIRE_MESSAGE_MAX];
	int size = forge_put(message, &w);

	for (unsigned i = 0; i < 4; i++) {
		struct wire_header h = forge_header(r, 0, 1, WIRE_LOG);
		unsigned as = 0;
		h.seq = node_shard(rack_node(r, 1), 0)->peer[0].channel[0].rx_ack + 1;
		h.cluster += i == 0;
		as = i == 1 ? 2 : as;
		h.to_boot += i == 2;
		h.boot += i == 3;
		rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
		forge_send(r, as, 1, message, h.length);
		rack_run_ms(r, 1);
		assert_null(forge_find(r, 1, 1, NULL));
		assert_int_equal(rack_counter(r, 1, C_drop_control_bad), i == 0 ? 1 : 2);
		assert_int_equal(rack_counter(r, 1, C_drop_control_stale), i < 2 ? 0 : i - 1);
	}
	rack_free(r);
}

// What is buried stays buried, and who has not heard of it is told.
static void repl__nothing_is_reborn(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);
	struct wire_record bury = {.op = WIRE_BURY,
		.key = w.key,
		.incarnation = w.incarnation,
		.reason = TRIPOD_TCP_CLOSED};
	struct conn *c;

	forge(r, 0, 1, &w);
	forge(r, 2, 1, &bury);
	assert_non_null(forge_find(r, 1, 1, &c));
	assert_int_equal(c->state, CONN_TOMBSTONE);
	w.version[PART_SHARED].epoch = w.version[0].epoch = 9;
	forge(r, 0, 1, &w);
	assert_int_equal(c->state, CONN_TOMBSTONE);
	assert_int_equal(rack_counter(r, 1, C_log_records_stale), 1);
	rack_run_ms(r, 10);
	assert_int_equal(rack_counter(r, 0, C_log_records_rx), 1);
	rack_check(r);
	rack_free(r);
}

// The master tells of activity now and then only: a copy waits twice as long as the master does.
static void repl__copies_outlive_silence(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.udp_ms = 2000});
	struct wire_record w = forge_record(r, 1, 0, 1);
	struct tripod_tuple key;

	w.key.proto = w.reversed.proto = IPPROTO_UDP;
	key = w.key;
	forge(r, 0, 1, &w);
	assert_int_equal(rack_copies(r, &key), 1);
	rack_run_ms(r, 3500);
	assert_int_equal(rack_copies(r, &key), 1);
	rack_run_ms(r, 1000);
	assert_int_equal(rack_copies(r, &key), 0);
	rack_free(r);
}

// Every node gets its share, and who comes or goes moves its own share only.
static void place__spread_and_stable(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	const struct shard *s = node_shard(rack_node(r, 0), 0);
	unsigned share[4] = {0};

	for (unsigned i = 0; i < 250; i++) {
		struct tripod_tuple key = forge_key(i);
		uint64_t of_four = place_rendezvous(s, &key, 0xf, 1);
		uint64_t of_three = place_rendezvous(s, &key, 0x7, 1);
		uint64_t two = place_rendezvous(s, &key, 0xf, 2);
		assert_int_equal(__builtin_popcountll(of_four), 1);
		assert_int_equal(__builtin_popcountll(two), 2);
		assert_true(two & of_four);
		assert_true(of_four == 8 || of_four == of_three);
		assert_true(place_rendezvous(s, &key, 0x5, 3) == 0x5);
		share[__builtin_ctzll(of_four)]++;
	}
	for (unsigned n = 0; n < 4; n++)
		assert_in_range(share[n], 30, 100);
	rack_free(r);
}

// Writers and holders that do not exist, epochs that jump, ages beyond all time: the connection goes
// on wherever its packets arrive.
static void repl__absurd_claims(void **state)
{
	static const struct {
		uint8_t writer;
		uint16_t epoch;
		uint32_t age_ms;
	} claims[] = {
		{63, 100, 0},
		{63, 0x7fff, UINT32_MAX},
		{5, 0xfffe, 1u << 31},
		{1, 0xffff, 5},
		{0, 0x8000, 0},
	};
	struct rack *r = settled_rack((struct rack_conf){.backups = 2});

	established(r, 1);
	assert_true(carries(r, 1));
	for (unsigned i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		for (unsigned to = 0; to < 3; to++) {
			struct conn *c;
			if (forge_find(r, to, 1, &c) == NULL)
				continue;
			struct wire_record w =
				forge_record(r, 1, claims[i].writer, claims[i].epoch);
			w.incarnation = c->incarnation;
			w.holders = UINT64_MAX;
			w.reversed = c->dir[1].key;
			w.nf = c->nf;
			w.dir[0].age_ms = w.dir[1].age_ms = claims[i].age_ms;
			uint8_t packed[WIRE_NF_MAX];
			chain_pack(node_shard(rack_node(r, to), 0)->chain[0], c->nf, packed);
			w.nf = packed;
			forge(r, (to + 1) % 3, to, &w);
		}
		rack_run_ms(r, 150);
		assert_true(carries(r, 1));
		rack_check(r);
	}
	rack_free(r);
}

// Write-once state that differs within one life: one of the two copies is wrong, nobody can tell which,
// and the connection ends, counted. The node and its other connections go on.
static void repl__broken_invariant_ends_its_connection(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.backups = 2});
	uint8_t packed[WIRE_NF_MAX];
	struct conn *c;

	established(r, 1);
	established(r, 2);
	assert_non_null(forge_find(r, 0, 1, &c));
	struct wire_record w = forge_record(r, 1, 1, 50);
	w.incarnation = c->incarnation;
	w.reversed = c->dir[1].key;
	chain_pack(node_shard(rack_node(r, 0), 0)->chain[0], c->nf, packed);
	packed[0] ^= 0xff;
	w.nf = packed;
	forge(r, 1, 0, &w);
	rack_run_ms(r, 150);
	assert_true(rack_counter(r, -1, C_drop_invariant) > 0);
	assert_int_equal(rack_copies(r, &w.key), 0);
	assert_true(carries(r, 2));
	rack_check(r);
	rack_free(r);
}

struct log {
	unsigned lacks, frames, nones;
	unsigned none_to; // worker
	unsigned from; // frames of this node's logs are kept, and lost
	bool hold;
	uint8_t bytes[64][1600];
	size_t len[64];
};

static bool tap(void *ctx, unsigned from, const struct frame *f)
{
	struct log *log = ctx;
	const uint8_t *bytes = f->data;
	if (f->vlan != 30 || f->len < BODY + 12)
		return false;
	uint8_t type = rack_message(f);

	log->lacks += type == WIRE_LACK;
	if (type == WIRE_REFUSED) {
		log->nones++;
		log->none_to = bytes[BODY + 11];
	}
	if (!log->hold || type != WIRE_LOG || from != log->from || log->frames == 64)
		return false;
	memcpy(log->bytes[log->frames], bytes, f->len);
	log->len[log->frames++] = f->len;
	return true;
}

// Logs travel without what both ends know: what does not fit together is not taken for something else.
static void repl__short_logs(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	static struct log log;

	log = (struct log){.from = 0, .hold = true};
	rack_tap(r, tap, &log);
	for (unsigned n = 1; n < 12; n++)
		established(r, n);
	assert_true(log.frames > 3);
	rack_tap(r, NULL, NULL);
	for (unsigned i = 0; i < 4; i++) {
		uint8_t *frame = log.bytes[i];
		unsigned to = frame[5] - 1u, stale = i < 2;
		uint64_t before[2] = {rack_counter(r, (int)to, C_drop_control_stale),
			rack_counter(r, (int)to, C_drop_control_forged)};
		assert_true(wire_is_short(frame + BODY, log.len[i] - BODY));
		assert_true(log.len[i] < BODY + WIRE_HEADER_SIZE + 80);
		frame[BODY + (i == 0 ? 5 : i == 1 ? 6 : i == 2 ? 8 : 11)] ^= 1; // boots; numbers
		frames_fix(frame, log.len[i]);
		rack_inject(r, to, 30, frame, log.len[i]);
		rack_run_ms(r, 1);
		assert_int_equal(rack_counter(r, (int)to, C_drop_control_stale), before[0] + stale);
		assert_int_equal(
			rack_counter(r, (int)to, C_drop_control_forged), before[1] + !stale);
	}
	rack_free(r);
}

// An update of a life of which nothing is known here: its sender is told.
static void repl__update_of_an_unknown_life(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);
	static struct log log;

	forge(r, 0, 1, &w);
	log = (struct log){0};
	rack_tap(r, tap, &log);
	w.op = WIRE_UPDATE;
	w.parts = 1;
	w.version[0].version++;
	forge(r, 0, 1, &w); // of what is known
	assert_int_equal(log.lacks, 0);
	assert_int_equal(forge_find(r, 1, 1, NULL)->part[0].version, 1);
	w.incarnation++;
	forge(r, 0, 1, &w);
	assert_int_equal(log.lacks, 1);
	w.key = forge_key(2); // no life at all
	forge(r, 0, 1, &w);
	assert_int_equal(log.lacks, 2);
	assert_int_equal(forge_find(r, 1, 1, NULL)->part[0].version, 1);
	rack_free(r);
}

// A copy that was lost is made anew by the next change.
static void repl__update_of_a_lost_copy(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.workers = 2});
	unsigned lost = 0;

	for (unsigned n = 0; n < 8; n++)
		established(r, n);
	for (unsigned n = 0; n < 3; n++) {
		for (unsigned w = 0; w < 2; w++) {
			struct shard *s = node_shard(rack_node(r, n), w);
			s->now_ns = rack_now_ns(r);
			for (uint32_t i = 1; i <= s->store.capacity; i++) {
				const struct conn *c = store_conn(&s->store, i);
				if (c->state != CONN_LIVE || conn_masters(c, 0))
					continue;
				lost += conn_free(s, i);
			}
		}
	}
	assert_int_equal(lost, 8);
	// The acknowledgement of the update's message crosses the word that there was nothing to update.
	for (unsigned n = 0; n < 3; n++)
		rack_node(r, n)->conf.flush_us = 1500;
	for (unsigned n = 0; n < 8; n++)
		tcp(r, n, TRIPOD_TCP_FIN | TRIPOD_TCP_ACK, 101, 501, 0);
	rack_run_ms(r, 10);
	for (unsigned n = 0; n < 8; n++) {
		struct tripod_tuple key = forge_key(n);
		assert_int_equal(rack_copies(r, &key), 2);
	}
	rack_check(r);
	rack_free(r);
}

// Who refuses a record says so to the worker that sent it, which need not have the same number: a
// peer may have other workers.
static void repl__refusal_goes_to_who_sent(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.peer_workers = 2});
	struct wire_record w = forge_record(r, 1, 0, 1);
	static struct log log;

	log = (struct log){0};
	rack_tap(r, tap, &log);
	w.chain++;
	forge_from(r, 0, 1, 1, &w);
	assert_int_equal(log.nones, 1);
	assert_int_equal(log.none_to, 1);
	rack_free(r);
}

// With full tables: whoever refused a copy does not count as its holder.
static void repl__refused_copies_do_not_count(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.workers = 2, .connections = 64});
	unsigned kept[2] = {0}, held;

	for (unsigned i = 0; i < 250; i++) {
		established(r, i);
		held = 0;
	}
	rack_run_ms(r, 100);
	assert_true(rack_counter(r, -1, C_log_records_refused) > 0);
	for (unsigned node = 0; node < 3; node++) {
		for (unsigned w = 0; w < 2; w++) {
			struct store *st = &node_shard(rack_node(r, node), w)->store;
			for (uint32_t i = 1; i <= st->capacity; i++) {
				const struct conn *c = store_conn(st, i);
				struct conn_view v;
				if (c->state != CONN_LIVE || !conn_masters(c, 0))
					continue;
				uint64_t holders = store_repl(st, i)->holders & ~(1ull << node);
				for (held = 0; held < 3; held++) {
					if (holders >> held & 1)
						kept[rack_conn(r, held, &c->dir[0].key, &v)]++;
				}
			}
		}
	}
	assert_int_equal(kept[false], 0);
	assert_true(kept[true] > 0);
	rack_check(r);
	rack_free(r);
}

// "I have no copy" from before there was one, come again: the copy is sent again, not given up.
static void late_refusal(enum wire_type type)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	struct tripod_tuple key = forge_key(1);
	uint8_t message[256];

	established(r, 1);
	rack_run_ms(r, 50);
	assert_int_equal(rack_copies(r, &key), 2);
	unsigned node = rack_hash(r,
		&(struct frame_spec){.src = "198.18.0.1", .dst = VIP, .sport = 1000, .dport = 80},
		TRIPOD_INCOMING);
	struct wire_header h = forge_header(r, !node, node, type);
	int size = wire_put_tuple(message + WIRE_HEADER_SIZE, 128, &key);
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	forge_send(r, !node, node, message, h.length);
	rack_run_ms(r, 20);
	struct conn_repl *cr = forge_find(r, node, 1, NULL);
	assert_true(cr->holders == 3);
	assert_true(holders_with(cr, HOLDER_ACKED) == 3);
	// On its way, it crosses a NONE, and is not given up; a refusal is the end of it.
	holders_mark_only(cr, HOLDER_ACKED, 1ull << node);
	holders_mark_only(cr, HOLDER_KNOWN, 1ull << node);
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	forge_send(r, !node, node, message, h.length);
	rack_run_ms(r, 1);
	assert_true(cr->holders == (type == WIRE_NONE ? 3u : 1u << node));
	rack_free(r);
}

static void repl__late_refusal_costs_no_copy(void **state)
{
	late_refusal(WIRE_NONE);
	late_refusal(WIRE_REFUSED);
}

static bool mute(void *ctx, unsigned from, const struct frame *f)
{
	return f->vlan == 30 && from == 0;
}

// Who is no longer heard, and hears so from the others, may have been replaced by now.
static void control__unheard_node_is_in_doubt(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	struct shard *s = node_shard(rack_node(r, 0), 0);

	assert_true(s->now - s->valid_from > AGE_MAX / 2);
	rack_tap(r, mute, NULL);
	rack_run_ms(r, 200);
	assert_true(s->now - s->valid_from < 200);
	s = node_shard(rack_node(r, 1), 0); // nobody said that of node 1
	assert_true(s->now - s->valid_from > AGE_MAX / 2);
	rack_free(r);
}

static uint64_t queued(struct rack *r)
{
	struct member_status m[RACK_NODES];
	uint64_t sum = 0;
	for (unsigned i = 0; i < RACK_NODES; i++) {
		for (unsigned n = rack_node(r, i) ? node_members(rack_node(r, i), m, RACK_NODES)
						  : 0;
			n > 0;)
			sum += m[--n].queued;
	}
	return sum;
}

// What was handed over while it stood in a queue leaves the queue.
static void repl__handed_over_while_queued(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct conn *c;

	established(r, 1);
	unsigned node = rack_hash(r,
		&(struct frame_spec){.src = "198.18.0.1", .dst = VIP, .sport = 1000, .dport = 80},
		TRIPOD_INCOMING);
	struct shard *s = node_shard(rack_node(r, node), 0);
	struct conn_repl *cr = forge_find(r, node, 1, &c);
	unsigned other = (unsigned)__builtin_ctzll(cr->holders & ~(1ull << node));
	assert_true(holder_is(cr, HOLDER_KNOWN, other));
	c->flags &= (uint8_t) ~(CONN_MASTER_0 | CONN_MASTER_1);
	holders_mark_only(cr, HOLDER_ACKED, 1ull << node);
	uint32_t i = (uint32_t)(cr - s->store.repls);
	s->now_ns = rack_now_ns(r);
	repl_queue(s, i, other);
	assert_int_equal(queued(r), 1);
	rack_run_ms(r, 20);
	assert_int_equal(queued(r), 0);
	rack_free(r);
}

// A copy that learns of the first answer has nothing to tell the others who know.
static void repl__backup_of_an_answered_connection_is_quiet(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_record w = forge_record(r, 1, 0, 1);

	w.flags = 0;
	w.holders = 7;
	forge(r, 0, 1, &w);
	assert_int_equal(node_shard(rack_node(r, 1), 0)->store.embryonic, 1);
	w.flags = WIRE_RECORD_ANSWERED;
	w.version[0].version++;
	forge(r, 0, 1, &w);
	assert_int_equal(node_shard(rack_node(r, 1), 0)->store.embryonic, 0);
	rack_run_ms(r, 20);
	assert_int_equal(queued(r), 0);
	rack_check(r);
	rack_free(r);
}

// An acknowledgement that comes when the tuple has begun another life is none of that life.
static void repl__late_acknowledgement(void **state)
{
	enum { N = 16 };
	struct rack *r = settled_rack((struct rack_conf){.nodes = 2});
	static struct log log, none;
	unsigned tried = 0;

	for (unsigned n = 0; n < 2 * N; n++) {
		struct frame_spec spec = {.dst = VIP, .sport = 1000, .dport = 80};
		char client[20];
		struct conn *c = NULL;
		snprintf(client, sizeof(client), "198.18.0.%u", n);
		spec.src = client;
		if (rack_hash(r, &spec, TRIPOD_INCOMING) != 0)
			continue;
		log = (struct log){.from = 1, .hold = true};
		rack_tap(r, tap, &log);
		node_shard(rack_node(r, 0), 0)->peer[1].channel[0].rto_ns = 1000 * MS;
		tcp(r, n, TRIPOD_TCP_SYN, 100, 0, 0);
		rack_run_ms(r, 3);
		tcp_back(r, n, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 500, 101, 0);
		rack_run_ms(r, 6);
		assert_non_null(forge_find(r, 0, n, &c));
		uint64_t first = c->incarnation;
		tcp(r, n, TRIPOD_TCP_RST | TRIPOD_TCP_ACK, 101, 501, 0);
		rack_run_ms(r, 1);
		tcp(r, n, TRIPOD_TCP_SYN, 9000, 0, 0); // the same tuple, anew
		rack_run_ms(r, 1);
		assert_true(log.frames > 0);
		none = (struct log){.from = 0, .hold = true};
		rack_tap(r, tap, &none); // nothing of the new life reaches node 1
		struct conn_repl *cr = forge_find(r, 0, n, &c);
		assert_non_null(cr);
		assert_true(c->incarnation > first);
		tcp_back(r, n, TRIPOD_TCP_SYN | TRIPOD_TCP_ACK, 7000, 9001, 0);
		rack_run_ms(r, 1); // answered: on its way to node 1
		assert_true(none.frames > 0);
		for (unsigned k = 0; k < log.frames; k++)
			rack_inject(r, 0, 30, log.bytes[k], log.len[k]);
		rack_run_ms(r, 1);
		assert_true(cr->holders & 2);
		assert_false(holder_is(cr, HOLDER_KNOWN, 1));
		assert_false(holder_is(cr, HOLDER_ACKED, 1));
		tried++;
		rack_tap(r, NULL, NULL);
		rack_run_ms(r, 30);
	}
	assert_true(tried >= N / 2);
	rack_check(r);
	rack_free(r);
}

// A peer that says it is at a group address would have every relayed packet flooded.
static void repl__hello_from_a_group_address(void **state)
{
	struct rack *r = settled_rack((struct rack_conf){0});
	struct wire_header h = forge_header(r, 1, 0, WIRE_HELLO);
	struct wire_hello hello = {
		.workers = 1, .flags = WIRE_HELLO_READY, .n_chains = 1, .live = 7, .chain = {1}};
	uint8_t message[128], frame[256];
	static const uint8_t group[6] = {3, 0, 0, 0, 0, 2};

	h.to_node = WIRE_ANY;
	h.to_boot = 0;
	int size = wire_put_hello(message + WIRE_HEADER_SIZE, 64, &hello);
	memcpy(message + WIRE_HEADER_SIZE + 2, group, 6);
	rack_seal(r, &h, message, (size_t)(WIRE_HEADER_SIZE + size));
	size_t n = frames_build(frame, sizeof(frame),
		&(struct frame_spec){.src = "10.255.0.2",
			.dst = "255.255.255.255",
			.proto = IPPROTO_UDP,
			.sport = CONTROL_PORT,
			.dport = CONTROL_PORT,
			.payload = message,
			.payload_len = h.length,
			.src_mac = group});
	rack_inject(r, 0, 30, frame, n);
	rack_run_ms(r, 1);
	assert_int_equal(rack_counter(r, 0, C_drop_control_bad), 1);
	assert_int_equal(node_shard(rack_node(r, 0), 0)->peer[1].mac[0], 2);
	rack_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(repl__forged_record_is_kept),
		cmocka_unit_test(repl__state_of_a_foreign_chain),
		cmocka_unit_test(repl__former_writer_is_corrected),
		cmocka_unit_test(repl__impossible_records),
		cmocka_unit_test(repl__a_number_counts_once),
		cmocka_unit_test(repl__messages_of_others),
		cmocka_unit_test(repl__short_logs),
		cmocka_unit_test(repl__nothing_is_reborn),
		cmocka_unit_test(repl__copies_outlive_silence),
		cmocka_unit_test(place__spread_and_stable),
		cmocka_unit_test(repl__absurd_claims),
		cmocka_unit_test(repl__broken_invariant_ends_its_connection),
		cmocka_unit_test(repl__update_of_an_unknown_life),
		cmocka_unit_test(repl__update_of_a_lost_copy),
		cmocka_unit_test(repl__refusal_goes_to_who_sent),
		cmocka_unit_test(repl__refused_copies_do_not_count),
		cmocka_unit_test(repl__late_refusal_costs_no_copy),
		cmocka_unit_test(control__unheard_node_is_in_doubt),
		cmocka_unit_test(repl__handed_over_while_queued),
		cmocka_unit_test(repl__backup_of_an_answered_connection_is_quiet),
		cmocka_unit_test(repl__late_acknowledgement),
		cmocka_unit_test(repl__hello_from_a_group_address),
	};
	return cmocka_run_group_tests_name("repl", tests, NULL, NULL);
}
