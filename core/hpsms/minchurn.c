// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/minchurn.h"

#include <assert.h>
#include <stdbool.h>

#include "core/rng.h"

#define PASSES 8 // over the items, in one step
#define MENDS 8 // exchanges that make up for one
#define EXCHANGES 256 // of copies that lower the highest load, in one step
#define SHARE_ONE (1u << 15)
#define PRICE_BITS 31

void minchurn_target(struct minchurn_item *item, unsigned node, uint64_t bytes)
{
	unsigned least = 0;

	for (unsigned t = 0; t < item->n; t++) {
		if (item->node[t] == node) {
			item->bytes[t] += bytes;
			return;
		}
		if (item->bytes[t] < item->bytes[least])
			least = t;
	}
	if (bytes == 0)
		return;
	if (item->n < MINCHURN_TARGETS)
		least = item->n++;
	else if (item->bytes[least] >= bytes)
		return;
	item->node[least] = (uint8_t)node;
	item->bytes[least] = bytes;
}

static unsigned count_of(uint64_t set)
{
	return (unsigned)__builtin_popcountll(set);
}

static uint64_t free_of(const struct minchurn_item *item)
{
	return item->allowed & ~item->fixed;
}

// The copies that are to be added, of those that can be.
static unsigned wanted(const struct minchurn_item *item)
{
	unsigned most = count_of(free_of(item));

	return item->add < most ? item->add : most;
}

static void add_load(uint64_t load[], const struct minchurn_item *item, uint64_t held)
{
	for (unsigned t = 0; t < item->n; t++) {
		if (!(held >> item->node[t] & 1))
			load[item->node[t]] += item->bytes[t];
	}
}

// What no target decides: by the connection's own number, evenly over the nodes that are left.
static void fill(struct minchurn_item *item)
{
	struct rng r = {.state = item->any};
	uint64_t left = free_of(item) & ~item->chosen;

	for (unsigned n = count_of(item->chosen), all = wanted(item); n < all; n++) {
		uint64_t set = left;
		for (unsigned skip = rng_below(&r, count_of(left)); skip > 0; skip--)
			set &= set - 1;
		item->chosen |= set & -set;
		left &= ~(set & -set);
	}
}

// The targets of the highest scores, as many as copies are to be added; not 0.
static uint64_t best(const struct minchurn_item *item, const uint64_t score[])
{
	uint64_t left = free_of(item), chosen = 0;

	for (unsigned n = wanted(item); n > 0; n--) {
		unsigned top = item->n;
		for (unsigned t = 0; t < item->n; t++) {
			if ((left >> item->node[t] & 1) && score[t] != 0 &&
				(top == item->n || score[t] > score[top]))
				top = t;
		}
		if (top == item->n)
			break;
		chosen |= 1ull << item->node[top];
		left &= ~(1ull << item->node[top]);
	}
	return chosen;
}

// What the choices make, counted anew.
static void measure(struct minchurn *m)
{
	for (unsigned j = 0; j < MINCHURN_NODES; j++)
		m->mine[j] = 0;
	for (unsigned c = 0; c < m->n; c++)
		add_load(m->mine, &m->item[c], m->item[c].fixed | m->item[c].chosen);
}

// ---- Loads as fractions of the highest ----

struct scale {
	uint64_t max;
	unsigned down, squarings;
};

static struct scale scale_of(const struct minchurn *m, unsigned squarings)
{
	struct scale s = {.squarings = squarings, .max = 1};

	for (unsigned j = 0; j < MINCHURN_NODES; j++) {
		if (m->load[j] + m->mine[j] > s.max)
			s.max = m->load[j] + m->mine[j];
	}
	while (s.max >> s.down >= 1ull << 32)
		s.down++;
	return s;
}

// (load / the highest) to the power of 2^squarings, which is 2^PRICE_BITS at most.
static uint64_t strain(const struct scale *s, uint64_t load)
{
	uint64_t q = (load >> s->down << PRICE_BITS) / (s->max >> s->down);

	for (unsigned i = 0; i < s->squarings; i++)
		q = q * q >> PRICE_BITS;
	return q;
}

// ---- Fractions of copies: prices follow loads, choices follow prices ----

static void set_prices(struct minchurn *m, unsigned squarings)
{
	struct scale s = scale_of(m, squarings);

	// Never 0: where loads do not matter, fewer bytes are still better than more.
	for (unsigned j = 0; j < MINCHURN_NODES; j++)
		m->price[j] = (uint32_t)strain(&s, m->load[j] + m->mine[j]) + 1;
}

// Bits that bytes have above 32.
static unsigned spare_bits(const struct minchurn *m)
{
	uint64_t all = 0;
	unsigned down = 0;

	for (unsigned c = 0; c < m->n; c++)
		for (unsigned t = 0; t < m->item[c].n; t++)
			all |= m->item[c].bytes[t];
	while (all >> down >= 1ull << 32)
		down++;
	return down;
}

static void choose(struct minchurn *m)
{
	unsigned down = spare_bits(m);

	for (unsigned c = 0; c < m->n; c++) {
		struct minchurn_item *item = &m->item[c];
		uint64_t score[MINCHURN_TARGETS];
		for (unsigned t = 0; t < item->n; t++)
			score[t] = (item->bytes[t] >> down) * m->price[item->node[t]] + 1;
		item->chosen = best(item, score);
	}
}

// Moves the averages towards the choices just made: all the way at first, less and less then.
static void follow(struct minchurn *m, unsigned round)
{
	uint64_t load[MINCHURN_NODES] = {0};
	int32_t part = (int32_t)(round + 2);

	for (unsigned c = 0; c < m->n; c++) {
		const struct minchurn_item *item = &m->item[c];
		add_load(load, item, item->fixed | item->chosen);
		for (unsigned t = 0; t < item->n; t++) {
			int32_t to = item->chosen >> item->node[t] & 1 ? SHARE_ONE : 0;
			int32_t by = (to - m->share[c][t]) * 2 / part;
			m->share[c][t] = (uint16_t)(m->share[c][t] + by);
		}
	}
	for (unsigned j = 0; j < MINCHURN_NODES; j++)
		m->mine[j] += (uint64_t)((int64_t)(load[j] - m->mine[j]) * 2 / part);
}

// ---- Whole copies ----

// Fractions become whole copies: the largest at first, then those that chance prefers, the larger ones more.
// Of equal ones, those that save most.
static void take_whole(struct minchurn *m, unsigned attempt)
{
	unsigned down = spare_bits(m);

	for (unsigned c = 0; c < m->n; c++) {
		struct minchurn_item *item = &m->item[c];
		struct rng r = {.state = item->any + ((uint64_t)attempt << 32)};
		uint64_t score[MINCHURN_TARGETS];
		for (unsigned t = 0; t < item->n; t++) {
			uint64_t saved = (item->bytes[t] >> down) * m->price[item->node[t]];
			uint64_t part = (m->share[c][t] + 1ull) *
					(attempt > 0 ? 1 + rng_below(&r, 64) : 64);
			score[t] = part << 32 | saved >> 32;
		}
		item->chosen = best(item, score);
		fill(item);
	}
	measure(m);
}

static uint64_t bytes_at(const struct minchurn_item *item, unsigned node)
{
	for (unsigned t = 0; t < item->n; t++) {
		if (item->node[t] == node)
			return item->bytes[t];
	}
	return 0;
}

// Bytes that a copy of this item at `node`, where it has none, would save; 0: it cannot get one.
static uint64_t saves(const struct minchurn_item *item, unsigned node)
{
	return (free_of(item) & ~item->chosen) >> node & 1 ? bytes_at(item, node) : 0;
}

static uint64_t load_at(const struct minchurn *m, unsigned node)
{
	return m->load[node] + m->mine[node];
}

struct exchange {
	unsigned item, to, from; // its copy at `from` goes to `to`
};

static void apply(struct minchurn *m, const struct exchange *x)
{
	struct minchurn_item *item = &m->item[x->item];

	m->mine[x->to] -= bytes_at(item, x->to);
	m->mine[x->from] += bytes_at(item, x->from);
	item->chosen = (item->chosen & ~(1ull << x->from)) | 1ull << x->to;
}

// The exchange of one item's copies that lessens the strain most. false: none does.
static bool find_ease(const struct minchurn *m, unsigned c, const struct scale *s,
	const uint64_t strained[], struct exchange *x)
{
	const struct minchurn_item *item = &m->item[c];
	int64_t most = 0;

	for (unsigned t = 0; t < item->n; t++) {
		unsigned to = item->node[t];
		uint64_t saved = saves(item, to);
		if (saved == 0)
			continue;
		uint64_t won = strained[to] - strain(s, load_at(m, to) - saved);
		for (uint64_t left = item->chosen & ~m->must[c]; left != 0; left &= left - 1) {
			unsigned from = (unsigned)__builtin_ctzll(left);
			uint64_t then = load_at(m, from) + bytes_at(item, from);
			if (then > s->max)
				continue;
			int64_t by = (int64_t)(won + strained[from] - strain(s, then));
			if (by > most) {
				most = by;
				*x = (struct exchange){c, to, from};
			}
		}
	}
	return most > 0;
}

// Exchanges copies while that lessens the sum of all strains. Of two placements with the same highest
// load it prefers the one that leaves room for the connections of others; the higher the power, the
// more does the highest load alone count.
static void ease(struct minchurn *m, unsigned squarings)
{
	struct scale s = scale_of(m, squarings);
	uint64_t strained[MINCHURN_NODES];
	bool any = true;

	for (unsigned j = 0; j < MINCHURN_NODES; j++)
		strained[j] = strain(&s, load_at(m, j));
	for (unsigned pass = 0; pass < PASSES && any; pass++) {
		any = false;
		for (unsigned c = 0; c < m->n; c++) {
			struct exchange x;
			if (!find_ease(m, c, &s, strained, &x))
				continue;
			apply(m, &x);
			strained[x.to] = strain(&s, load_at(m, x.to));
			strained[x.from] = strain(&s, load_at(m, x.from));
			any = true;
		}
	}
}

// The exchange that lowers the load at `node` most for what it adds elsewhere, and makes no load as high as
// limit. skip: not of this item.
static bool find_exchange(const struct minchurn *m, unsigned node, uint64_t limit, unsigned skip,
	struct exchange *found)
{
	int64_t most = INT64_MIN;

	for (unsigned c = 0; c < m->n; c++) {
		const struct minchurn_item *item = &m->item[c];
		uint64_t saved = c == skip ? 0 : saves(item, node);
		for (uint64_t left = saved != 0 ? item->chosen & ~m->must[c] : 0; left != 0;
			left &= left - 1) {
			unsigned from = (unsigned)__builtin_ctzll(left);
			uint64_t costs = bytes_at(item, from);
			if (load_at(m, from) + costs >= limit || (int64_t)(saved - costs) <= most)
				continue;
			most = (int64_t)(saved - costs);
			*found = (struct exchange){c, node, from};
		}
	}
	return most != INT64_MIN;
}

static void undo(struct minchurn *m, const struct exchange *x)
{
	apply(m, &(struct exchange){x->item, x->from, x->to});
}

// One exchange lowers the highest load and may make another too high; up to MENDS more lower that
// again. Nothing is as high as the highest load was then; else all is as before.
static bool exchange_and_mend(struct minchurn *m, const struct exchange *first)
{
	uint64_t limit = load_at(m, first->to);
	struct exchange mend[MENDS];
	unsigned n = 0;

	apply(m, first);
	if (load_at(m, first->to) >= limit) {
		undo(m, first);
		return false;
	}
	while (load_at(m, first->from) >= limit) {
		if (n == MENDS || !find_exchange(m, first->from, limit, first->item, &mend[n])) {
			while (n > 0)
				undo(m, &mend[--n]);
			undo(m, first);
			return false;
		}
		apply(m, &mend[n++]);
	}
	return true;
}

static bool lower(struct minchurn *m, unsigned top)
{
	struct exchange x;

	if (find_exchange(m, top, load_at(m, top), MINCHURN_BATCH, &x)) {
		apply(m, &x);
		return true;
	}
	for (unsigned c = 0; c < m->n; c++) {
		uint64_t left = saves(&m->item[c], top) != 0 ? m->item[c].chosen & ~m->must[c] : 0;
		for (; left != 0; left &= left - 1) {
			x = (struct exchange){c, top, (unsigned)__builtin_ctzll(left)};
			if (exchange_and_mend(m, &x))
				return true;
		}
	}
	return false;
}

static void lower_top(struct minchurn *m)
{
	for (unsigned n = 0; n < EXCHANGES; n++) {
		unsigned top = 0;
		for (unsigned j = 1; j < MINCHURN_NODES; j++)
			top = load_at(m, j) > load_at(m, top) ? j : top;
		if (!lower(m, top))
			break;
	}
}

// ---- The steps ----

// All see the same highest load here, when they have heard each other: so all keep the same attempt.
static void keep_best(struct minchurn *m)
{
	uint64_t top = 0;

	for (unsigned j = 0; j < MINCHURN_NODES; j++) {
		uint64_t load = m->load[j] + minchurn_unpack(minchurn_pack(m->mine[j]));
		top = load > top ? load : top;
	}
	if (top >= m->best_top)
		return;
	m->best_top = top;
	for (unsigned c = 0; c < m->n; c++)
		m->best[c] = m->item[c].chosen;
}

// What would by itself keep the highest load from getting lower by 1/128 is not left uncovered any more,
// as far as the copies go. Others make up for what that costs.
static void insist(struct minchurn *m)
{
	uint64_t limit = m->best_top - m->best_top / 128;

	for (unsigned c = 0; c < m->n; c++) {
		struct minchurn_item *item = &m->item[c];
		uint64_t score[MINCHURN_TARGETS];
		for (unsigned t = 0; t < item->n; t++)
			score[t] = item->bytes[t] > limit ? item->bytes[t] : 0;
		m->must[c] = best(item, score);
		uint64_t more = m->must[c] & ~item->chosen;
		for (; more != 0; more &= more - 1) {
			struct exchange x = {.item = c, .to = (unsigned)__builtin_ctzll(more)};
			uint64_t least = UINT64_MAX;
			for (uint64_t left = item->chosen & ~m->must[c]; left != 0;
				left &= left - 1) {
				unsigned from = (unsigned)__builtin_ctzll(left);
				if (bytes_at(item, from) < least) {
					least = bytes_at(item, from);
					x.from = from;
				}
			}
			apply(m, &x);
		}
	}
}

static void take_best(struct minchurn *m)
{
	for (unsigned c = 0; c < m->n; c++)
		m->item[c].chosen = m->best[c];
	measure(m);
}

void minchurn_begin(struct minchurn *m)
{
	m->best_top = UINT64_MAX;
	for (unsigned j = 0; j < MINCHURN_NODES; j++)
		m->mine[j] = 0;
	for (unsigned c = 0; c < m->n; c++) {
		m->must[c] = 0;
		for (unsigned t = 0; t < m->item[c].n; t++)
			m->share[c][t] = 0;
	}
}

// What is done when fractions have been found. Numbers below are squarings: all nodes ease with low powers
// before the highest loads count for more.
enum { TOP = 0, WHOLE = 8, INSIST, KEEP, END };
static const uint8_t first[] = {WHOLE, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, TOP, 5, TOP, KEEP};
static const uint8_t next[] = {WHOLE, INSIST, 3, 4, 5, TOP, TOP, KEEP};

static unsigned what_in_step(unsigned n, unsigned *attempt)
{
	static_assert(MINCHURN_STEPS ==
		      MINCHURN_ROUNDS + sizeof(first) + (MINCHURN_ATTEMPTS - 1) * sizeof(next) + 1);

	*attempt = 0;
	if (n < sizeof(first))
		return first[n];
	n -= sizeof(first);
	*attempt = 1 + n / sizeof(next);
	return *attempt < MINCHURN_ATTEMPTS ? next[n % sizeof(next)] : END;
}

void minchurn_step(struct minchurn *m, unsigned step)
{
	unsigned attempt, what;

	if (step < MINCHURN_ROUNDS) {
		set_prices(m, 1 + step * 4 / MINCHURN_ROUNDS);
		choose(m);
		follow(m, step);
		return;
	}
	what = what_in_step(step - MINCHURN_ROUNDS, &attempt);
	if (what == WHOLE)
		take_whole(m, attempt);
	else if (what == INSIST)
		insist(m);
	else if (what == KEEP)
		keep_best(m);
	else if (what == END)
		take_best(m);
	else if (what == TOP)
		lower_top(m);
	else
		ease(m, what);
}

void minchurn_solve(struct minchurn *m)
{
	minchurn_begin(m);
	for (unsigned step = 0; step < MINCHURN_STEPS; step++)
		minchurn_step(m, step);
}

void minchurn_random(struct minchurn *m)
{
	for (unsigned c = 0; c < m->n; c++) {
		struct minchurn_item *item = &m->item[c];
		item->chosen = 0;
		fill(item);
	}
	measure(m);
}

void minchurn_first(struct minchurn *m, const struct minchurn_list *list)
{
	for (unsigned c = 0; c < m->n; c++) {
		struct minchurn_item *item = &m->item[c];
		item->chosen = 0;
		for (unsigned i = 0; i < list[c].n && count_of(item->chosen) < wanted(item); i++)
			item->chosen |= 1ull << list[c].node[i] & free_of(item);
		fill(item);
	}
	measure(m);
}

uint16_t minchurn_pack(uint64_t load)
{
	unsigned shift = 0;

	if (load > MINCHURN_LOAD_MAX)
		load = MINCHURN_LOAD_MAX;
	while (load >> shift >= 1024)
		shift++;
	uint64_t mantissa = (load + (1ull << shift) - 1) >> shift;
	if (mantissa == 1024) {
		mantissa = 512;
		shift++;
	}
	return (uint16_t)(shift << 10 | mantissa);
}

uint64_t minchurn_unpack(uint16_t packed)
{
	uint64_t load = (uint64_t)(packed & 1023) << (packed >> 10);

	return load < MINCHURN_LOAD_MAX ? load : MINCHURN_LOAD_MAX;
}
