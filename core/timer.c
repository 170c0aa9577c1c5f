// SPDX-License-Identifier: BSD-3-Clause
#include "core/timer.h"

static uint32_t hash_of(uint32_t conn)
{
	return (conn * 0x9e3779b1u) >> 22;
}

void timers_init(struct timers *ts, struct arena *a, uint32_t capacity, tick_t now)
{
	struct timer *t = arena_take(a, ((size_t)capacity + 1) * sizeof(*t));
	uint32_t *slot = arena_take(a, TIMER_SLOTS * sizeof(*slot));
	uint32_t *hash = arena_take(a, TIMER_HASH * sizeof(*hash));
	if (t == NULL)
		return;
	ts->t = t;
	ts->slot = slot;
	ts->hash = hash;
	ts->capacity = capacity;
	ts->now = now;
	for (uint32_t i = capacity; i > 0; i--) {
		t[i].next = ts->free;
		ts->free = i;
	}
}

static void link_slot(struct timers *ts, uint32_t i)
{
	// A timer whose time has passed comes up with the slot that is looked at next.
	tick_t at = (int32_t)(ts->t[i].at - ts->now) <= 0 ? ts->now + 1 : ts->t[i].at;
	uint32_t *head = &ts->slot[at & (TIMER_SLOTS - 1)];
	ts->t[i].at = at;
	ts->t[i].prev = 0;
	ts->t[i].next = *head;
	if (*head != 0)
		ts->t[*head].prev = i;
	*head = i;
}

static void unlink_slot(struct timers *ts, uint32_t i)
{
	struct timer *t = &ts->t[i];
	if (t->prev != 0)
		ts->t[t->prev].next = t->next;
	else
		ts->slot[t->at & (TIMER_SLOTS - 1)] = t->next;
	if (t->next != 0)
		ts->t[t->next].prev = t->prev;
}

static void release(struct timers *ts, uint32_t i)
{
	uint32_t *link = &ts->hash[hash_of(ts->t[i].conn)];
	while (*link != i)
		link = &ts->t[*link].chain;
	*link = ts->t[i].chain;
	unlink_slot(ts, i);
	ts->t[i].next = ts->free;
	ts->free = i;
	ts->used--;
}

static uint32_t find(const struct timers *ts, uint32_t conn, unsigned nf)
{
	uint32_t i = ts->hash[hash_of(conn)];
	while (i != 0 && (ts->t[i].conn != conn || ts->t[i].nf != nf))
		i = ts->t[i].chain;
	return i;
}

bool timers_set(struct timers *ts, uint32_t conn, uint64_t incarnation, unsigned nf, tick_t at)
{
	uint32_t i = find(ts, conn, nf);
	if (i != 0) {
		unlink_slot(ts, i);
	} else {
		i = ts->free;
		if (i == 0)
			return false;
		ts->free = ts->t[i].next;
		ts->used++;
		ts->t[i].conn = conn;
		ts->t[i].nf = nf;
		ts->t[i].chain = ts->hash[hash_of(conn)];
		ts->hash[hash_of(conn)] = i;
	}
	ts->t[i].incarnation = incarnation;
	ts->t[i].at = at;
	link_slot(ts, i);
	return true;
}

void timers_cancel(struct timers *ts, uint32_t conn, unsigned nf)
{
	uint32_t i = find(ts, conn, nf);
	if (i != 0)
		release(ts, i);
}

void timers_raised(struct timers *ts, uint32_t conn, unsigned nf, uint64_t incarnation)
{
	ts->t[find(ts, conn, nf)].incarnation = incarnation; // of none, of place 0
}

bool timers_due(struct timers *ts, tick_t now, struct timer *out)
{
	// After a long sleep every slot is looked at once, not once per tick slept.
	if (now - ts->now > TIMER_SLOTS && (int32_t)(now - ts->now) > 0)
		ts->now = now - TIMER_SLOTS;
	while ((int32_t)(now - ts->now) > 0) {
		uint32_t i = ts->slot[(ts->now + 1) & (TIMER_SLOTS - 1)];
		while (i != 0 && (int32_t)(ts->t[i].at - now) > 0)
			i = ts->t[i].next;
		if (i != 0) {
			*out = ts->t[i];
			release(ts, i);
			return true;
		}
		ts->now++;
	}
	return false;
}
