// SPDX-License-Identifier: BSD-3-Clause
// PullReplica, the other end: what this node has is sent, and what it has not is said.
#include "core/shard.h"

static void none_send(struct shard *s)
{
	struct wire_header h;

	control_header(s, &h, (enum wire_type)s->none.type, s->none.node, s->none.worker);
	h.count = s->none.count;
	h.ack = s->none.seq;
	h.ack_bits = s->none.alone;
	control_send(s, &s->none.frame, &h, s->none.used);
	s->none.frame.buf = NULL;
}

void pull_none_flush(struct shard *s)
{
	if (s->none.frame.buf != NULL)
		none_send(s);
}

void pull_say(struct shard *s, enum wire_type what, const struct tripod_tuple *key, unsigned node,
	unsigned worker, uint32_t seq, bool alone)
{
	bool other = s->none.type != what || s->none.node != node || s->none.worker != worker ||
		     s->none.seq != seq || s->none.alone != alone;

	if (s->none.frame.buf != NULL && other)
		none_send(s);
	for (unsigned try = 0; try < 2; try++) {
		if (s->none.frame.buf == NULL) {
			if (!control_begin(s, &s->none.frame)) {
				s->none.frame.buf = NULL;
				return;
			}
			s->none.type = (uint8_t)what;
			s->none.node = (uint8_t)node;
			s->none.worker = (uint8_t)worker;
			s->none.seq = seq;
			s->none.alone = alone;
			s->none.used = WIRE_HEADER_SIZE;
			s->none.count = 0;
		}
		int size = wire_put_tuple(control_body(&s->none.frame) + s->none.used,
			WIRE_BODY_MAX - s->none.used, key);
		if (size > 0) {
			s->none.used += (uint16_t)size;
			s->none.count++;
			return;
		}
		none_send(s);
	}
}

// Who has a copy, of which this node writes the shared part, and no place among the holders is to forget it.
static void dismiss(struct shard *s, uint32_t i, unsigned node)
{
	const struct conn_repl *r = store_repl(&s->store, i);

	if (r->part[PART_SHARED].writer != s->conf->id || (r->holders & 1ull << node))
		return;
	repl_flush(s); // behind the answer, which would make a copy again
	trim_dismiss(s, i, 1ull << node);
}

void pull_serve(
	struct shard *s, const struct tripod_tuple *key, bool has, unsigned node, unsigned worker)
{
	if (!pull_spend(s, &s->peer[node].serve_tokens_ns, false)) {
		count(s, C_pulls_refused); // the asker repeats
		return;
	}
	struct store_hit hit = store_find(&s->store, key, store_hash(&s->store, key));
	const struct conn *c = store_conn(&s->store, hit.index);

	if (hit.what == STORE_ALIAS) {
		struct ring_message m = {
			.type = RING_SERVE,
			.node = (uint8_t)node,
			.worker = (uint8_t)worker,
			.has = has,
			.key = *key,
		};
		if (shard_post(s, s->store.aliases[hit.index].owner, &m))
			return;
		count(s, C_drop_ring_full); // the asker repeats
	} else if (hit.what == STORE_CONN && c->state == CONN_LIVE && c->dir[1].key.proto != 0) {
		// What may have ended is not brought back to life by who asks. Who has it and makes
		// sure of it is told at once: else two would wait for each other.
		if (!has && conn_forgettable(s, c) && pull_validate(s, hit.index))
			return; // the asker repeats
		count(s, C_pulls_served);
		repl_answer(s, hit.index, node, hit.dir);
		if (has)
			dismiss(s, hit.index, node);
	} else if (hit.what != STORE_CONN || !repl_answer_end(s, hit.index, node)) {
		pull_say(s, WIRE_NONE, key, node, worker, 0, false);
	}
}
