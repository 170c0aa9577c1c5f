// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/member.h"

#include "core/node.h"

void members_init(struct members *m, uint8_t self, uint64_t configured, uint64_t heartbeat_ns,
	uint64_t dead_after_ns, uint64_t now_ns)
{
	*m = (struct members){
		.self = self,
		.live = 1ull << self,
		.configured = configured | 1ull << self,
		.heartbeat_ns = heartbeat_ns,
		.dead_after_ns = dead_after_ns,
		.next_hello_ns = now_ns,
		.changed_ns = now_ns,
		.last_tick_ns = now_ns,
	};
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		m->m[i].configured = m->configured >> i & 1;
	m->m[self].live = true;
}

static void die(struct members *m, uint8_t id, uint64_t now_ns)
{
	m->m[id].live = false;
	m->m[id].deaths++;
	m->live &= ~(1ull << id);
	m->died |= 1ull << id;
	m->changed_ns = now_ns;
}

bool members_hello(
	struct members *m, uint8_t from, uint64_t boot, const struct wire_hello *h, uint64_t now_ns)
{
	if (from >= MEMBERS_MAX || from == m->self || !m->m[from].configured)
		return false;
	struct member *p = &m->m[from];
	bool known = p->boot != 0, reborn = known && p->boot != boot;
	if (reborn && boot == p->boot_before)
		return false;
	if (reborn) {
		p->boot_before = p->boot;
		p->left = false;
		if (p->live) // died without being missed
			p->deaths++;
	}
	p->boot = boot;
	if (p->left)
		return false;
	p->heard_ns = now_ns;
	p->workers = h->workers;
	p->n_chains = h->n_chains;
	p->chains_used = h->chains_used;
	memcpy(p->chain, h->chain, sizeof(p->chain));
	p->sees = h->live;
	m->port_changes += p->live && !reborn && p->port_changes != h->port_changes;
	p->port_changes = h->port_changes;
	p->ready = h->flags & WIRE_HELLO_READY;
	p->draining = h->flags & WIRE_HELLO_DRAINING;
	p->asking = h->flags & WIRE_HELLO_ASKING;
	if (h->flags & WIRE_HELLO_LEAVING) {
		p->left = true;
		p->ready = false;
		if (p->live)
			die(m, from, now_ns);
		return false;
	}
	if (p->live && !reborn)
		return false;
	p->live = true;
	m->live |= 1ull << from;
	m->died &= ~(1ull << from); // told as a rebirth instead
	m->changed_ns = now_ns;
	return true;
}

// While this process stood still, nothing was seen.
static void watch(struct members *m, uint64_t gap_ns)
{
	for (uint64_t left = m->configured & ~(1ull << m->self); left != 0; left &= left - 1) {
		struct member *p = &m->m[__builtin_ctzll(left)];
		if (p->boot == 0 || p->left)
			continue;
		p->watched_ns += gap_ns;
		p->dead_ns += p->live ? 0 : gap_ns;
	}
}

uint32_t members_failure_ppm(
	const struct members *m, unsigned id, uint32_t prior_ppm, uint32_t prior_h)
{
	const struct member *p = &m->m[id];
	uint64_t prior_ms = prior_h * 3600000ull;

	if (prior_h == 0)
		return prior_ppm;
	uint64_t dead_ms = p->dead_ns / 1000000, watched_ms = p->watched_ns / 1000000;
	uint64_t ppm = (dead_ms * 1000000 + prior_ms * prior_ppm) / (watched_ms + prior_ms);
	return ppm < FAILURE_PPM_MAX ? (uint32_t)ppm : FAILURE_PPM_MAX;
}

uint64_t members_tick(struct members *m, uint64_t now_ns, bool *was_away)
{
	uint64_t gap_ns = now_ns - m->last_tick_ns;
	*was_away = gap_ns >= m->dead_after_ns;
	m->last_tick_ns = now_ns;
	for (uint64_t left = m->live & ~(1ull << m->self); left != 0; left &= left - 1) {
		uint8_t id = (uint8_t)__builtin_ctzll(left);
		if (*was_away)
			m->m[id].heard_ns = now_ns;
		else if (now_ns - m->m[id].heard_ns >= m->dead_after_ns)
			die(m, id, now_ns);
	}
	if (*was_away)
		return 0;
	watch(m, gap_ns);
	uint64_t died = m->died;
	m->died = 0;
	return died;
}

bool members_hello_due(struct members *m, uint64_t now_ns)
{
	if (now_ns < m->next_hello_ns)
		return false;
	m->next_hello_ns += m->heartbeat_ns;
	if (m->next_hello_ns <= now_ns) // fell behind: no burst to catch up
		m->next_hello_ns = now_ns + m->heartbeat_ns;
	return true;
}
