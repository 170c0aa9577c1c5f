// SPDX-License-Identifier: BSD-3-Clause
// Single-producer single-consumer rings: the only thing that two workers share.
//
// Thread: one thread calls ring_push(), one calls ring_peek()/ring_pop(). Fixed-size slots, copied in
// and out; nothing is lost silently: a full ring makes push return false, and the producer counts.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/arena.h"

struct ring {
	_Alignas(64) _Atomic uint32_t head; // producer: rw, consumer: ro
	uint32_t tail_seen; // producer: rw
	_Alignas(64) _Atomic uint32_t tail; // consumer: rw, producer: ro
	uint32_t head_seen; // consumer: rw
	_Alignas(64) uint32_t mask; // fixed
	uint32_t slot_size; // bytes, fixed
	uint8_t *slots; // fixed
};

// slots: a power of two.
static inline void ring_init(struct ring *r, struct arena *a, uint32_t slots, uint32_t slot_size)
{
	uint8_t *mem = arena_take(a, (size_t)slots * slot_size);
	if (mem == NULL)
		return;
	r->mask = slots - 1;
	r->slot_size = slot_size;
	r->slots = mem;
}

static inline bool ring_push(struct ring *r, const void *slot)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	if (head - r->tail_seen > r->mask) {
		r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
		if (head - r->tail_seen > r->mask)
			return false;
	}
	memcpy(r->slots + (size_t)(head & r->mask) * r->slot_size, slot, r->slot_size);
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
	return true;
}

// The oldest slot, valid until ring_pop(); NULL when empty.
static inline void *ring_peek(struct ring *r)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	if (tail == r->head_seen) {
		r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
		if (tail == r->head_seen)
			return NULL;
	}
	return r->slots + (size_t)(tail & r->mask) * r->slot_size;
}

static inline void ring_pop(struct ring *r)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
}
