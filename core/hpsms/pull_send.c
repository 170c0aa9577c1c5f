// SPDX-License-Identifier: BSD-3-Clause
// The questions of pull.c, as messages: those of one step share them, and what goes to all nodes leaves once.
#include "core/shard.h"

#define SEND_BATCH 64 // questions that share messages

struct batch {
	uint32_t pull[SEND_BATCH];
	uint64_t to[SEND_BATCH]; // nodes; 0: all
	unsigned n;
};

static void send_questions(
	struct shard *s, struct frame *f, unsigned node, uint16_t used, uint16_t n)
{
	struct wire_header h;

	control_header(s, &h, WIRE_PULL, node, WIRE_ANY);
	h.count = n;
	control_send(s, f, &h, used);
}

// The tuples of a batch that go to one node (WIRE_ANY: to all). false: no frame for it.
static bool send_to(struct shard *s, const struct batch *b, unsigned node)
{
	const uint16_t room = WIRE_BODY_MAX;
	struct frame f;
	uint16_t used = 0, n = 0;

	for (unsigned k = 0; k < b->n; k++) {
		const struct pull *p = &s->pulls[b->pull[k]];
		if (node == WIRE_ANY ? b->to[k] != 0 : !(b->to[k] & 1ull << node))
			continue;
		if (n > 0 && used + WIRE_TUPLE_MAX > room) {
			send_questions(s, &f, node, used, n);
			n = 0;
		}
		if (n == 0) {
			if (!control_begin(s, &f))
				return false;
			used = WIRE_HEADER_SIZE;
		}
		int size =
			wire_put_question(control_body(&f) + used, room - used, &p->key, p->checks);
		used += (uint16_t)size;
		n++;
	}
	if (n > 0)
		send_questions(s, &f, node, used, n);
	return true;
}

static uint64_t fill_batch(struct shard *s, struct batch *b)
{
	uint64_t all = s->live & ~(1ull << s->conf->id), nodes = 0;
	uint32_t i = s->ask_first;

	b->n = 0;
	for (; i != 0 && b->n < SEND_BATCH; i = s->pulls[i].next_ask) {
		const struct pull *p = &s->pulls[i];
		if (p->state != PULL_ASKING)
			continue;
		// One to all is cheaper than many to some.
		bool broadcast = p->awaited == all && (all & (all - 1)) != 0;
		b->pull[b->n] = i;
		b->to[b->n++] = broadcast ? 0 : p->awaited;
		nodes |= broadcast ? 0 : p->awaited;
	}
	return nodes;
}

void pull_send(struct shard *s)
{
	struct batch b;
	uint64_t nodes = fill_batch(s, &b);
	bool all = false;

	for (unsigned k = 0; k < b.n; k++)
		all |= b.to[k] == 0;
	// Who has had the question when the frames run out gets it again in the next step.
	if (all && !send_to(s, &b, WIRE_ANY))
		return;
	for (uint64_t left = nodes; left != 0; left &= left - 1) {
		unsigned node = (unsigned)__builtin_ctzll(left);
		if (!send_to(s, &b, node))
			return;
	}
	for (unsigned k = 0; k < b.n; k++)
		count(s, b.to[k] == 0 ? C_pulls_broadcast : C_pulls_targeted);
	// Those that stand in the list and no longer ask go with them.
	for (unsigned left = b.n; s->ask_first != 0;) {
		struct pull *p = &s->pulls[s->ask_first];
		if (p->state == PULL_ASKING && left-- == 0)
			break;
		p->ask = false;
		s->ask_first = p->next_ask;
	}
}
