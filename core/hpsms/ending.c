// SPDX-License-Identifier: BSD-3-Clause
// Ends of lives whose record is another's by now: a port has been opened anew before all that had a copy of
// the former life have acknowledged its end. What is queued for them is a reference to a place here, as it is
// to a record of what lives; it is queued again until it has been acknowledged, or the node has restarted.
#include "core/hpsms/repl.h"

static struct ending *ending_at(struct shard *s, uint32_t ref)
{
	return &s->endings.at[ref % ENDINGS];
}

// The end that a message to a node was about, unless it has been acknowledged, or its place is another's; NULL: none.
static struct ending *ending_of(struct shard *s, uint32_t ref, uint32_t stamp, unsigned node)
{
	struct ending *e = ending_at(s, ref);

	return e->open && e->node == node && (uint32_t)e->incarnation == stamp ? e : NULL;
}

// Sent as soon as a message can be.
void ending_queue(struct shard *s, uint32_t ref)
{
	const struct ending *e = ending_at(s, ref);

	if (!channel_queue(&s->peer[e->node].channel[e->worker], ref, s->now_ns)) {
		count(s, C_log_queue_full);
		return;
	}
	s->peer[e->node].out[e->worker].urgent = true;
	repl_busy(s, e->node, e->worker);
}

const struct ending *ending_due(struct shard *s, uint32_t ref, unsigned node)
{
	const struct ending *e = ending_at(s, ref);

	return e->open && e->node == node ? e : NULL;
}

void ending_acked(struct shard *s, uint32_t ref, uint32_t stamp, unsigned node)
{
	struct ending *e = ending_of(s, ref, stamp, node);

	if (e != NULL)
		e->open = false;
}

void ending_lost(struct shard *s, uint32_t ref, uint32_t stamp, unsigned node)
{
	if (ending_of(s, ref, stamp, node) != NULL)
		ending_queue(s, ref);
}

void ending_now(struct shard *s, uint32_t i)
{
	const struct conn *c = store_conn(&s->store, i);
	const struct conn_repl *r = store_repl(&s->store, i);
	uint64_t to = r->holders & s->live & ~holders_with(r, HOLDER_ACKED) & ~repl_self(s);

	for (; to != 0; to &= to - 1) {
		unsigned node = (unsigned)__builtin_ctzll(to);
		uint32_t at = s->endings.next++ % ENDINGS;
		struct ending *e = ending_at(s, at);
		if (e->open && s->peer[e->node].live)
			count(s, C_tombstones_untold);
		*e = (struct ending){
			.hash = store_hash(&s->store, &c->dir[0].key),
			.incarnation = c->incarnation,
			.node = (uint8_t)node,
			.worker = (uint8_t)repl_worker(s, node, &c->dir[0].key),
			.reason = c->reason,
			.open = true,
		};
		ending_queue(s, REF_ENDING | at);
	}
}

void ending_forget(struct shard *s, unsigned node)
{
	for (uint32_t at = 0; at < ENDINGS; at++) {
		if (s->endings.at[at].node == node)
			s->endings.at[at].open = false; // it has no copies any more
	}
}

void ending_peer_back(struct shard *s, unsigned node)
{
	for (uint32_t at = 0; at < ENDINGS; at++) {
		if (s->endings.at[at].open && s->endings.at[at].node == node)
			ending_queue(s, REF_ENDING | at);
	}
}
