// SPDX-License-Identifier: BSD-3-Clause
#include "sim/trace.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>

#include "sim/flood.h"

#define DROP_SOON_NS 1000000u // a packet is dropped that long after it arrived, at most

void trace_init(struct trace *t, FILE *live)
{
	*t = (struct trace){.hash = 1, .live = live};
	t->entry = malloc(TRACE_ENTRIES * sizeof(*t->entry));
	if (t->entry == NULL)
		abort();
}

void trace_free(struct trace *t)
{
	free(t->entry);
	t->entry = NULL;
}

static void print_entry(const struct trace_entry *e, FILE *to)
{
	static const char *const words[] = {
		[TRACE_RX] = "<-", [TRACE_TX] = "->", [TRACE_RELAY] = "=>", [TRACE_LOST] = "lost"};
	char tuple[TRIPOD_TUPLE_STRLEN], node[8] = "";

	if (e->node != 255)
		snprintf(node, sizeof(node), "%u", e->node);
	fprintf(to, "%12.6f  %-3s ", (double)e->at_ns / 1e9, node);
	if (e->what == TRACE_NOTE || e->what == TRACE_DROP) {
		fprintf(to, "%s%s\n", e->what == TRACE_DROP ? "x    " : "", e->note);
		return;
	}
	const struct peek *p = &e->packet;
	fprintf(to, "%-4s %s %s", words[e->what],
		p->tuple.direction == TRIPOD_INCOMING ? "out" : "in ",
		tripod_tuple_format(&p->tuple, tuple, sizeof(tuple)));
	if (p->tuple.proto == IPPROTO_TCP)
		fprintf(to, " %s%s%s%s seq %u", p->tcp_flags & 2 ? "S" : "",
			p->tcp_flags & 1 ? "F" : "", p->tcp_flags & 4 ? "R" : "",
			p->tcp_flags & 16 ? "." : "", p->seq);
	fprintf(to, " len %u%s\n", p->payload_len, e->relayed ? " (relayed)" : "");
}

static struct trace_entry *entry(struct trace *t, uint64_t now_ns, unsigned node)
{
	struct trace_entry *e = &t->entry[t->n++ % TRACE_ENTRIES];

	e->at_ns = now_ns;
	e->node = (uint8_t)node;
	return e;
}

void trace_packet(struct trace *t, uint64_t now_ns, enum trace_what what, unsigned node,
	bool relayed, const struct peek *packet)
{
	if (flood_owns(&packet->tuple))
		return; // else it would be told of nothing else
	struct trace_entry *e = entry(t, now_ns, node);

	e->what = (uint8_t)what;
	e->relayed = relayed;
	e->packet = *packet;
	if (t->live != NULL)
		print_entry(e, t->live);
}

void trace_note(struct trace *t, uint64_t now_ns, unsigned node, const char *format, ...)
{
	struct trace_entry *e = entry(t, now_ns, node);
	va_list ap;

	e->what = TRACE_NOTE;
	va_start(ap, format);
	vsnprintf(e->note, sizeof(e->note), format, ap);
	va_end(ap);
	if (t->live != NULL)
		print_entry(e, t->live);
}

void trace_drop(struct trace *t, uint64_t now_ns, unsigned node, const char *why)
{
	struct trace_entry *e = entry(t, now_ns, node);

	e->what = TRACE_DROP;
	snprintf(e->note, sizeof(e->note), "%s", why);
	if (t->live != NULL)
		print_entry(e, t->live);
}

static bool about(const struct trace_entry *e, const struct tripod_tuple *tuples, unsigned n)
{
	if (e->what == TRACE_NOTE || e->what == TRACE_DROP)
		return e->what == TRACE_NOTE;
	for (unsigned i = 0; i < n; i++) {
		struct tripod_tuple back = tripod_tuple_reverse(&tuples[i]), other = tuples[i];
		other.direction = !other.direction;
		struct tripod_tuple other_back = tripod_tuple_reverse(&other);
		if (tripod_tuple_equal(&e->packet.tuple, &tuples[i]) ||
			tripod_tuple_equal(&e->packet.tuple, &back) ||
			tripod_tuple_equal(&e->packet.tuple, &other) ||
			tripod_tuple_equal(&e->packet.tuple, &other_back))
			return true;
	}
	return false;
}

void trace_print(const struct trace *t, const struct tripod_tuple *tuples, unsigned n_tuples,
	unsigned max, FILE *to)
{
	uint64_t first = t->n, oldest = t->n > TRACE_ENTRIES ? t->n - TRACE_ENTRIES : 0;

	for (unsigned found = 0; first > oldest && found < max; first--)
		found += about(&t->entry[(first - 1) % TRACE_ENTRIES], tuples, n_tuples);
	uint64_t arrived_ns[256] = {}; // at each node, a packet that is shown
	for (; first < t->n; first++) {
		const struct trace_entry *e = &t->entry[first % TRACE_ENTRIES];
		bool soon = e->what == TRACE_DROP && e->at_ns - arrived_ns[e->node] < DROP_SOON_NS;
		if (!soon && !about(e, tuples, n_tuples))
			continue;
		if (e->what == TRACE_RX)
			arrived_ns[e->node] = e->at_ns;
		print_entry(e, to);
	}
}
