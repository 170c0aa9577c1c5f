// SPDX-License-Identifier: BSD-3-Clause
// The table. Its messages are in neigh_message.c.
#include "core/neigh.h"

#define SECOND_NS 1000000000ull
#define RETRY_NS SECOND_NS
#define TRIES 3
#define REFRESH_NS (30 * SECOND_NS)
#define STALE_NS (60 * SECOND_NS)
#define UNUSED_NS (600 * SECOND_NS)
#define SCAN_NS (SECOND_NS / 10) // between two scans of the table
#define SCAN_MORE_NS (SECOND_NS / 1000) // while a scan is under way
#define SCAN_SLOTS 64 // a call
#define EVICT_SLOTS 8 // looked at for one that may go
#define HASH_MASK (2 * NEIGH_SLOTS - 1)
_Static_assert((HASH_MASK & (HASH_MASK + 1)) == 0, "masked, not divided");

void neigh_init(struct neigh_table *t, struct arena *a, const struct neigh_self *self)
{
	struct neigh *slots = arena_take(a, NEIGH_SLOTS * sizeof(*slots));
	if (slots == NULL)
		return;
	*t = (struct neigh_table){.self = self, .slots = slots, .top = 1};
}

// ---- Hash: linear probing, never more than half full ----

static unsigned home(const struct neigh_table *t, uint8_t net, const struct tripod_addr *addr)
{
	uint64_t w[2], h = t->seed ^ (net + 1) * 0x9e3779b97f4a7c15ull;
	memcpy(w, addr->b, sizeof(w));
	for (unsigned i = 0; i < 2; i++) {
		h = (h ^ w[i]) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	return (unsigned)((h * 0xc4ceb9fe1a85ec53ull) >> 40) & HASH_MASK;
}

// The place of the address, or the empty place where it belongs.
static unsigned place(const struct neigh_table *t, uint8_t net, const struct tripod_addr *addr)
{
	unsigned i = home(t, net, addr);
	for (; t->hash[i] != 0; i = (i + 1) & HASH_MASK) {
		const struct neigh *n = &t->slots[t->hash[i]];
		if (n->net == net && tripod_addr_equal(&n->addr, addr))
			break;
	}
	return i;
}

// Empties place i and moves up whatever would not be found across the gap.
static void unhash(struct neigh_table *t, unsigned i)
{
	for (unsigned j = (i + 1) & HASH_MASK; t->hash[j] != 0; j = (j + 1) & HASH_MASK) {
		const struct neigh *n = &t->slots[t->hash[j]];
		unsigned from_home = (j - home(t, n->net, &n->addr)) & HASH_MASK;
		if (from_home < ((j - i) & HASH_MASK))
			continue;
		t->hash[i] = t->hash[j];
		i = j;
	}
	t->hash[i] = 0;
}

// ---- Slots ----

static void release(struct neigh_table *t, uint16_t slot)
{
	struct neigh *n = &t->slots[slot];
	if (n->state == NEIGH_INCOMPLETE)
		t->incomplete--;
	unhash(t, place(t, n->net, &n->addr));
	n->state = NEIGH_FREE;
	n->generation++; // who remembers the slot must ask again
	n->next = t->free;
	t->free = slot;
	t->used--;
}

static uint16_t evict(struct neigh_table *t)
{
	uint16_t oldest = 0;
	for (unsigned i = 0; i < EVICT_SLOTS; i++) {
		t->hand = t->hand + 1 < NEIGH_SLOTS ? t->hand + 1 : 1;
		const struct neigh *n = &t->slots[t->hand];
		if (n->state == NEIGH_STALE && n->n_waiting == 0 &&
			(oldest == 0 || n->used_ns < t->slots[oldest].used_ns))
			oldest = t->hand;
	}
	if (oldest != 0)
		release(t, oldest);
	return oldest;
}

static uint16_t take(struct neigh_table *t)
{
	if (t->incomplete >= NEIGH_SLOTS / 2)
		return 0;
	if (t->free == 0 && t->top < NEIGH_SLOTS)
		return t->top++;
	if (t->free == 0 && evict(t) == 0)
		return 0;
	uint16_t slot = t->free;
	t->free = t->slots[slot].next;
	return slot;
}

// ---- Requests and what waits for them ----

static void ask(struct neigh_table *t, struct step *step, struct neigh *n)
{
	if (step->n_spare <= STEP_SPARE_CONTROL || step->n_tx == STEP_TX)
		return; // the next tick tries again
	struct frame *f = &step->spare[step->n_spare - 1];
	neigh_request(f, t->self, n->net, &n->addr);
	if (f->len == 0)
		return;
	step->tx[step->n_tx++] = *f;
	step->n_spare--;
	n->asked_ns = step->now_ns;
	n->tries++;
}

static void flush(struct step *step, struct neigh *n)
{
	unsigned sent = 0;
	for (; sent < n->n_waiting && step->n_tx < STEP_TX; sent++) {
		struct frame *f = &step->tx[step->n_tx++];
		*f = n->waiting[sent];
		memcpy(f->data, n->mac, 6);
	}
	n->n_waiting = (uint8_t)(n->n_waiting - sent);
	memmove(n->waiting, n->waiting + sent, n->n_waiting * sizeof(n->waiting[0]));
}

uint16_t neigh_get(struct neigh_table *t, struct step *step, enum neigh_net net,
	const struct tripod_addr *addr)
{
	unsigned i = place(t, net, addr);
	if (t->hash[i] != 0) {
		t->slots[t->hash[i]].used_ns = step->now_ns;
		return t->hash[i];
	}
	uint16_t slot = take(t);
	if (slot == 0)
		return 0;
	struct neigh *n = &t->slots[slot];
	n->addr = *addr;
	n->net = net;
	n->state = NEIGH_INCOMPLETE;
	n->generation++;
	n->tries = 0;
	n->n_waiting = 0;
	n->asked_ns = 0;
	n->used_ns = step->now_ns;
	memset(n->mac, 0, sizeof(n->mac));
	t->incomplete++;
	t->used++;
	t->hash[place(t, net, addr)] = slot; // take() may have moved entries
	ask(t, step, n);
	return slot;
}

static bool is_host_mac(const uint8_t mac[6])
{
	static const uint8_t zero[6];
	return !(mac[0] & 1) && memcmp(mac, zero, sizeof(zero)) != 0;
}

uint16_t neigh_learn(struct neigh_table *t, struct step *step, enum neigh_net net,
	const struct tripod_addr *addr, const uint8_t mac[6])
{
	uint16_t slot = t->hash[place(t, net, addr)];
	if (slot == 0 || !is_host_mac(mac))
		return 0;
	struct neigh *n = &t->slots[slot];
	if (n->state == NEIGH_INCOMPLETE)
		t->incomplete--;
	if (memcmp(n->mac, mac, sizeof(n->mac)) != 0) {
		memcpy(n->mac, mac, sizeof(n->mac));
		n->generation++;
	}
	n->state = NEIGH_REACHABLE;
	n->tries = 0;
	n->confirmed_ns = step->now_ns;
	flush(step, n);
	return slot;
}

bool neigh_wait(struct neigh *n, const struct frame *f)
{
	if (n->n_waiting == NEIGH_WAITING)
		return false;
	n->waiting[n->n_waiting++] = *f;
	return true;
}

// ---- Time ----

// No answer: gives up the slot with what waits in it, or, when the caller cannot take all that back
// now, keeps it until the next scan.
static void give_up(struct neigh_table *t, struct step *step, uint16_t slot, uint64_t *timed_out)
{
	struct neigh *n = &t->slots[slot];
	while (n->n_waiting > 0 && step->n_done < STEP_DONE) {
		step->done[step->n_done++] = n->waiting[--n->n_waiting].buf;
		(*timed_out)++;
	}
	if (n->n_waiting == 0)
		release(t, slot);
}

static void tick_slot(struct neigh_table *t, struct step *step, uint16_t slot, uint64_t *timed_out)
{
	struct neigh *n = &t->slots[slot];
	uint64_t now_ns = step->now_ns;
	bool may_ask = n->tries == 0 || now_ns - n->asked_ns >= RETRY_NS;
	if (n->state == NEIGH_INCOMPLETE) {
		if (may_ask && n->tries < TRIES)
			ask(t, step, n);
		else if (may_ask)
			give_up(t, step, slot, timed_out);
		return;
	}
	if (n->n_waiting > 0) // found tx full
		flush(step, n);
	if (n->n_waiting == 0 && now_ns - n->used_ns >= UNUSED_NS) {
		release(t, slot);
		return;
	}
	if (now_ns - n->confirmed_ns >= STALE_NS)
		n->state = NEIGH_STALE;
	if (now_ns - n->confirmed_ns < REFRESH_NS || n->used_ns <= n->confirmed_ns)
		return;
	if (n->tries >= TRIES && now_ns - n->asked_ns >= REFRESH_NS)
		n->tries = 0; // in use, silent: asked again from time to time
	if (n->tries < TRIES && may_ask)
		ask(t, step, n);
}

uint64_t neigh_tick(struct neigh_table *t, struct step *step, uint64_t *timed_out)
{
	if (step->now_ns < t->next_scan_ns)
		return t->next_scan_ns;
	if (t->used == 0) // an entry made meanwhile has its first deadline after RETRY_NS
		return t->next_scan_ns = step->now_ns + RETRY_NS;
	unsigned slot = t->scan + 1, end = slot + SCAN_SLOTS;
	for (; slot < t->top && slot < end; slot++)
		if (t->slots[slot].state != NEIGH_FREE)
			tick_slot(t, step, (uint16_t)slot, timed_out);
	bool through = slot >= t->top;
	t->scan = through ? 0 : (uint16_t)(slot - 1);
	return t->next_scan_ns = step->now_ns + (through ? SCAN_NS : SCAN_MORE_NS);
}
