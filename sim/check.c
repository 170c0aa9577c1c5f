// SPDX-License-Identifier: BSD-3-Clause
#include "sim/check.h"

#include <stdarg.h>
#include <stdlib.h>
#include <xxhash.h>

#include "core/testing/tables.h"
#include "sim/world.h"

#define TRACE_LINES 60

uint64_t check_hash(const void *data, size_t size, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, size, seed);
}

// (epoch, version, writer), the first two modulo their size.
bool check_newer(const struct conn_version *a, const struct conn_version *b)
{
	int16_t epoch = (int16_t)(a->epoch - b->epoch);
	int32_t version = (int32_t)(a->version - b->version);

	if (epoch != 0)
		return epoch > 0;
	if (version != 0)
		return version > 0;
	return a->writer > b->writer;
}

void check_init(struct world *w)
{
	struct checker *c = &w->check;

	c->conn_room = c->live_room = 4096;
	c->conn = calloc(c->conn_room, sizeof(*c->conn));
	c->live = calloc(c->live_room, sizeof(*c->live));
	if (c->conn == NULL || c->live == NULL)
		abort();
}

void check_free(struct world *w)
{
	struct checker *c = &w->check;

	for (unsigned v = 0; v < c->n_violations && v < VIOLATIONS_MAX; v++)
		free(c->violation[v].trace);
	for (unsigned i = 0; i < SIM_NODES_MAX; i++)
		free(c->snap[i]);
	free(c->conn);
	free(c->live);
	free(c->kinds.source);
}

void check_violation(struct world *w, const char *checker, const struct tripod_tuple *tuples,
	unsigned n_tuples, const char *format, ...)
{
	struct checker *c = &w->check;
	unsigned n = c->n_violations++;
	va_list ap;

	if (n >= VIOLATIONS_MAX)
		return;
	struct violation *v = &c->violation[n];
	v->at_ns = w->now_ns;
	snprintf(v->checker, sizeof(v->checker), "%s", checker);
	va_start(ap, format);
	vsnprintf(v->what, sizeof(v->what), format, ap);
	va_end(ap);
	trace_note(&w->trace, w->now_ns, 255, "VIOLATION %.12s: %.80s", checker, v->what);
	size_t size;
	FILE *f = open_memstream(&v->trace, &size);
	if (f == NULL)
		abort();
	trace_print(&w->trace, tuples, n_tuples, TRACE_LINES, f);
	fclose(f);
}

// ---- Connections by key ----

static void grow(struct checker *c)
{
	struct check_conn *old = c->conn;
	uint32_t room = c->conn_room;

	c->conn_room *= 2;
	c->conn = calloc(c->conn_room, sizeof(*c->conn));
	if (c->conn == NULL)
		abort();
	for (uint32_t i = 0; i < room; i++) {
		if (old[i].key.proto == 0)
			continue;
		uint32_t at = (uint32_t)old[i].hash & (c->conn_room - 1);
		while (c->conn[at].key.proto != 0)
			at = (at + 1) & (c->conn_room - 1);
		c->conn[at] = old[i];
	}
	free(old);
}

struct check_conn *check_conn_of(struct world *w, const struct tripod_tuple *key)
{
	struct checker *c = &w->check;
	uint64_t hash = check_hash(key, sizeof(*key), 0);

	if (2 * c->conn_n > c->conn_room)
		grow(c);
	uint32_t at = (uint32_t)hash & (c->conn_room - 1);
	while (c->conn[at].key.proto != 0) {
		if (tripod_tuple_equal(&c->conn[at].key, key))
			return &c->conn[at];
		at = (at + 1) & (c->conn_room - 1);
	}
	c->conn_n++;
	c->conn[at] = (struct check_conn){
		.key = *key, .hash = hash, .dir = {{.last = 255}, {.last = 255}}};
	return &c->conn[at];
}

struct check_conn *check_conn_by_hash(struct world *w, uint64_t hash)
{
	struct checker *c = &w->check;
	uint32_t at = (uint32_t)hash & (c->conn_room - 1);

	while (c->conn[at].key.proto != 0 && c->conn[at].hash != hash)
		at = (at + 1) & (c->conn_room - 1);
	return c->conn[at].key.proto != 0 ? &c->conn[at] : NULL;
}

// ---- Nodes ----

void check_node_started(struct world *w, unsigned i)
{
	size_t records = (size_t)w->o.workers * (w->o.connections + 1);

	free(w->check.snap[i]);
	w->check.snap[i] = calloc(records, sizeof(struct snap));
	if (w->check.snap[i] == NULL)
		abort();
}

void check_node_gone(struct world *w, unsigned i)
{
	free(w->check.snap[i]);
	w->check.snap[i] = NULL;
}

// ---- Tables ----

void check_tables(struct world *w)
{
	char why[160];

	for (unsigned i = 0; i < w->o.nodes; i++) {
		for (unsigned k = 0; w->node[i].node != NULL && k < w->o.workers; k++) {
			if (!tables_check(node_shard(w->node[i].node, k), why, sizeof(why)))
				check_violation(
					w, "tables", NULL, 0, "node %u worker %u: %s", i, k, why);
		}
	}
	long lost = node_run_buffers_lost(w);
	if (lost != 0)
		check_violation(w, "leak", NULL, 0, "%ld buffers lost", lost);
}

static bool empty(struct world *w, unsigned i, unsigned k, bool report)
{
	const struct shard *s = node_shard(w->node[i].node, k);
	struct {
		const char *what;
		uint32_t n;
	} left[] = {
		{"records", s->store.used},
		{"aliases", s->store.aliases_used},
		{"index entries", s->store.index_used},
		{"unanswered", s->store.embryonic},
		{"waiting packets", s->waiting_used},
		{"packets that wait for acknowledgements", s->sync.used},
		{"pulls", s->pulls_asking},
		{"timers", s->timers.used},
		{"claims", s->kinds.claims.in_use},
		{"entries", s->kinds.entries.in_use},
	};

	for (unsigned n = 0; n < sizeof(left) / sizeof(left[0]); n++) {
		if (left[n].n == 0)
			continue;
		struct tripod_tuple key[2] = {};
		char text[TRIPOD_TUPLE_STRLEN] = "";
		for (uint32_t r = 1; report && r <= s->store.capacity; r++) {
			const struct conn *c = store_conn(&s->store, r);
			if (c->state == CONN_FREE)
				continue;
			key[0] = c->dir[0].key;
			key[1] = c->dir[1].key;
			tripod_tuple_format(&key[0], text, sizeof(text));
			break;
		}
		if (report)
			check_violation(w, "leak", key, 2, "node %u worker %u: %u %s left %s", i, k,
				left[n].n, left[n].what, text);
		return false;
	}
	return true;
}

bool check_empty(struct world *w, bool report)
{
	bool all = true;

	for (unsigned i = 0; i < w->o.nodes; i++) {
		for (unsigned k = 0; w->node[i].node != NULL && k < w->o.workers; k++)
			all &= empty(w, i, k, report);
	}
	return all;
}
