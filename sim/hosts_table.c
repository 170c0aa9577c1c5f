// SPDX-License-Identifier: BSD-3-Clause
#include <stdlib.h>

#include "sim/hosts_internal.h"

// ---- Pools ----

int hosts_table_new(struct hosts *h)
{
	// As many again may wait in TIME-WAIT.
	h->conns_max = h->conf.connections_max * 2 + 64;
	h->ends_max = h->conns_max * 2 + 64;
	uint32_t heads = 1024;
	while (heads < h->ends_max)
		heads *= 2;
	h->hash_mask = heads - 1;
	h->conns = calloc(h->conns_max, sizeof(*h->conns));
	h->ends = calloc(h->ends_max, sizeof(*h->ends));
	h->by_tuple = malloc(heads * sizeof(*h->by_tuple));
	h->by_isn = malloc(heads * sizeof(*h->by_isn));
	h->heap = malloc(h->conns_max * sizeof(*h->heap));
	if (!h->conns || !h->ends || !h->by_tuple || !h->by_isn || !h->heap)
		return -1;
	memset(h->by_tuple, 0xff, heads * sizeof(*h->by_tuple));
	memset(h->by_isn, 0xff, heads * sizeof(*h->by_isn));
	for (uint32_t i = 0; i < h->conns_max; i++)
		h->conns[i].newer = i + 1 < h->conns_max ? i + 1 : HOSTS_NONE;
	for (uint32_t i = 0; i < h->ends_max; i++)
		h->ends[i].hash_next = i + 1 < h->ends_max ? i + 1 : HOSTS_NONE;
	h->ended_oldest = h->ended_newest = HOSTS_NONE;
	return 0;
}

void hosts_table_free(struct hosts *h)
{
	free(h->conns);
	free(h->ends);
	free(h->by_tuple);
	free(h->by_isn);
	free(h->heap);
}

// ---- Hashes ----

static uint32_t mix(const struct hosts *h, uint64_t v)
{
	v *= 0x9e3779b97f4a7c15ull;
	return (uint32_t)(v >> 32) & h->hash_mask;
}

static uint32_t hash_tuple(const struct hosts *h, const struct tripod_tuple *t)
{
	uint64_t w[5], v = 0;
	memcpy(w, t, sizeof(w));
	for (int i = 0; i < 5; i++)
		v = (v ^ w[i] ^ (v >> 29)) * 0xbf58476d1ce4e5b9ull;
	return mix(h, v ^ (v >> 32));
}

struct hosts_end *hosts_end_find(struct hosts *h, const struct tripod_tuple *sends)
{
	uint32_t i = h->by_tuple[hash_tuple(h, sends)];
	while (i != HOSTS_NONE && !tripod_tuple_equal(&h->ends[i].tuple, sends))
		i = h->ends[i].hash_next;
	return i == HOSTS_NONE ? NULL : &h->ends[i];
}

struct hosts_conn *hosts_conn_by_isn(struct hosts *h, uint32_t isn)
{
	uint32_t i = h->by_isn[mix(h, isn)];
	while (i != HOSTS_NONE && h->conns[i].isn != isn)
		i = h->conns[i].isn_next;
	return i == HOSTS_NONE ? NULL : &h->conns[i];
}

void hosts_conn_set_isn(struct hosts *h, struct hosts_conn *c, uint32_t isn)
{
	uint32_t *head = &h->by_isn[mix(h, isn)];
	c->isn = isn;
	c->isn_next = *head;
	*head = hosts_conn_slot(h, c);
}

static void isn_remove(struct hosts *h, struct hosts_conn *c)
{
	uint32_t slot = hosts_conn_slot(h, c), *at = &h->by_isn[mix(h, c->isn)];
	while (*at != HOSTS_NONE && *at != slot)
		at = &h->conns[*at].isn_next;
	if (*at == slot)
		*at = c->isn_next;
}

// ---- Ends ----

struct hosts_end *hosts_end_new(
	struct hosts *h, struct hosts_conn *c, unsigned at, const struct tripod_tuple *tuple)
{
	if (h->end_free == HOSTS_NONE)
		return NULL;
	uint32_t i = h->end_free, *head = &h->by_tuple[hash_tuple(h, tuple)];
	struct hosts_end *e = &h->ends[i];
	h->end_free = e->hash_next;
	*e = (struct hosts_end){
		.tuple = *tuple, .conn = hosts_conn_slot(h, c), .role = at > 0, .hash_next = *head};
	*head = i;
	c->ends[at] = i;
	return e;
}

void hosts_end_free(struct hosts *h, struct hosts_end *e)
{
	uint32_t i = (uint32_t)(e - h->ends), *at = &h->by_tuple[hash_tuple(h, &e->tuple)];
	struct hosts_conn *c = &h->conns[e->conn];
	while (*at != i)
		at = &h->ends[*at].hash_next;
	*at = e->hash_next;
	for (unsigned k = 0; k < HOSTS_ENDS; k++) {
		if (c->ends[k] == i)
			c->ends[k] = HOSTS_NONE;
	}
	e->state = END_FREE;
	e->hash_next = h->end_free;
	h->end_free = i;
}

struct hosts_end *hosts_conn_end(struct hosts *h, const struct hosts_conn *c, unsigned at)
{
	return c->ends[at] == HOSTS_NONE ? NULL : &h->ends[c->ends[at]];
}

// ---- Connections ----

uint32_t hosts_conn_slot(const struct hosts *h, const struct hosts_conn *c)
{
	return (uint32_t)(c - h->conns);
}

struct hosts_conn *hosts_conn_new(struct hosts *h)
{
	// Whoever waits in TIME-WAIT for the longest makes room.
	if (h->conn_free == HOSTS_NONE && h->ended_oldest != HOSTS_NONE)
		hosts_conn_free(h, &h->conns[h->ended_oldest]);
	if (h->conn_free == HOSTS_NONE)
		return NULL;
	uint32_t slot = h->conn_free;
	struct hosts_conn *c = &h->conns[slot];
	h->conn_free = c->newer;
	*c = (struct hosts_conn){.id = ++h->serial << HOSTS_ID_SLOT_BITS | slot,
		.phase = PHASE_OPENING,
		.heap_at = HOSTS_NONE,
		.newer = HOSTS_NONE,
		.older = HOSTS_NONE};
	memset(c->ends, 0xff, sizeof(c->ends));
	h->open++;
	return c;
}

static void unlinger(struct hosts *h, struct hosts_conn *c)
{
	if (c->older != HOSTS_NONE)
		h->conns[c->older].newer = c->newer;
	else
		h->ended_oldest = c->newer;
	if (c->newer != HOSTS_NONE)
		h->conns[c->newer].older = c->older;
	else
		h->ended_newest = c->older;
	h->lingering--;
}

void hosts_conn_linger(struct hosts *h, struct hosts_conn *c)
{
	c->phase = PHASE_ENDED;
	c->older = h->ended_newest;
	c->newer = HOSTS_NONE;
	if (c->older != HOSTS_NONE)
		h->conns[c->older].newer = hosts_conn_slot(h, c);
	else
		h->ended_oldest = hosts_conn_slot(h, c);
	h->ended_newest = hosts_conn_slot(h, c);
	h->open--;
	h->lingering++;
}

void hosts_conn_free(struct hosts *h, struct hosts_conn *c)
{
	for (unsigned i = 0; i < HOSTS_ENDS; i++) {
		if (c->ends[i] != HOSTS_NONE)
			hosts_end_free(h, &h->ends[c->ends[i]]);
	}
	if (c->phase == PHASE_ENDED)
		unlinger(h, c);
	else
		h->open--;
	isn_remove(h, c);
	hosts_due_never(h, c);
	c->phase = PHASE_FREE;
	c->newer = h->conn_free;
	h->conn_free = hosts_conn_slot(h, c);
}

struct hosts_conn *hosts_conn_by_id(struct hosts *h, uint64_t id)
{
	uint32_t slot = id & ((1u << HOSTS_ID_SLOT_BITS) - 1);
	if (slot >= h->conns_max || h->conns[slot].id != id || h->conns[slot].phase == PHASE_FREE)
		return NULL;
	return &h->conns[slot];
}

// ---- Timers: a heap of connections by due_ns ----
// A time that moves later stays where it is: the tick finds nothing to do, and puts it right.

static bool earlier(const struct hosts *h, uint32_t a, uint32_t b)
{
	const struct hosts_conn *x = &h->conns[a], *y = &h->conns[b];
	return x->due_ns != y->due_ns ? x->due_ns < y->due_ns : a < b;
}

static void put(struct hosts *h, uint32_t at, uint32_t slot)
{
	h->heap[at] = slot;
	h->conns[slot].heap_at = at;
}

static void up(struct hosts *h, uint32_t at, uint32_t slot)
{
	for (; at > 0 && earlier(h, slot, h->heap[(at - 1) / 2]); at = (at - 1) / 2)
		put(h, at, h->heap[(at - 1) / 2]);
	put(h, at, slot);
}

static void down(struct hosts *h, uint32_t at, uint32_t slot)
{
	for (;;) {
		uint32_t child = at * 2 + 1;
		if (child >= h->heap_len)
			break;
		if (child + 1 < h->heap_len && earlier(h, h->heap[child + 1], h->heap[child]))
			child++;
		if (!earlier(h, h->heap[child], slot))
			break;
		put(h, at, h->heap[child]);
		at = child;
	}
	put(h, at, slot);
}

void hosts_due(struct hosts *h, struct hosts_conn *c, uint64_t at_ns)
{
	if (c->heap_at == HOSTS_NONE) {
		c->due_ns = at_ns;
		up(h, h->heap_len++, hosts_conn_slot(h, c));
	} else if (at_ns < c->due_ns) {
		c->due_ns = at_ns;
		up(h, c->heap_at, hosts_conn_slot(h, c));
	}
}

void hosts_due_never(struct hosts *h, struct hosts_conn *c)
{
	if (c->heap_at == HOSTS_NONE)
		return;
	uint32_t at = c->heap_at, last = h->heap[--h->heap_len];
	c->heap_at = HOSTS_NONE;
	if (at == h->heap_len)
		return;
	if (at > 0 && earlier(h, last, h->heap[(at - 1) / 2]))
		up(h, at, last);
	else
		down(h, at, last);
}

struct hosts_conn *hosts_due_first(struct hosts *h)
{
	return h->heap_len > 0 ? &h->conns[h->heap[0]] : NULL;
}
