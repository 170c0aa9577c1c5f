// SPDX-License-Identifier: BSD-3-Clause
// Chains of builds with older layouts of the NFs' states: their records are read, and kept as those of
// the chain that this build makes of the same configuration.
#include <errno.h>
#include <string.h>

#include "core/chain.h"

struct source {
	const uint8_t *at, *end;
};

// The bytes have been checked by chain_description_read(): they hold what they say.
static uint32_t number(struct source *s)
{
	const uint8_t *b = s->at;
	s->at += 4;
	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static const char *text(struct source *s, uint32_t len, struct arena *a)
{
	char *copy = arena_take(a, (size_t)len + 1);
	memcpy(copy, s->at, len);
	s->at += len;
	return copy; // the arena is zeroed
}

// What a layout must be for its bytes to be moved about. Fields do not overlap, so that all of them
// together are no more than the state.
static int check_layout(const struct tripod_nf *nf)
{
	if (nf->state_size > CHAIN_STATE_MAX)
		return -EINVAL;
	for (const struct tripod_field *f = nf->fields; f->name != NULL; f++) {
		if (f->size == 0 || (uint32_t)f->offset + f->size > nf->state_size ||
			(unsigned)f->class > TRIPOD_SOFT)
			return -EINVAL;
		for (const struct tripod_field *g = nf->fields; g != f; g++)
			if (f->offset < g->offset + g->size && g->offset < f->offset + f->size)
				return -EINVAL;
	}
	return 0;
}

// The layout's NF takes requests. Nothing runs here: connections are kept as those of another chain.
static void never(struct tripod_call *c, const void *data, size_t size)
{
}

// An NF that is nothing but a layout; NULL: it cannot be one, or there is no room.
static const struct tripod_nf *read_layout(const struct chain_nf_description *d, struct arena *a)
{
	size_t fields = (d->n_fields + 1) * sizeof(struct tripod_field);
	if (d->state_size > CHAIN_STATE_MAX || d->n_fields > CHAIN_STATE_MAX ||
		a->size - a->used < sizeof(struct tripod_nf) + fields + 2 * 64 + d->size +
					    64 * ((size_t)d->n_fields + 1))
		return NULL;
	struct tripod_nf *nf = arena_take(a, sizeof(*nf));
	struct tripod_field *f = arena_take(a, fields);
	struct source s = {(const uint8_t *)d->name, NULL};
	nf->name = text(&s, d->name_len, a);
	nf->layout_version = d->layout_version;
	nf->state_size = (uint16_t)d->state_size;
	nf->fields = f;
	s.at = d->fields;
	for (uint32_t i = 0; i < d->n_fields; i++) {
		uint32_t len = number(&s);
		f->name = text(&s, len, a);
		uint32_t offset = number(&s), size = number(&s), class = number(&s);
		if (offset > CHAIN_STATE_MAX || size > CHAIN_STATE_MAX)
			return NULL;
		if (strcmp(f->name, CHAIN_REQUESTS) == 0) {
			f->name = NULL;
			nf->on_request = never;
			continue;
		}
		f->offset = (uint16_t)offset;
		f->size = (uint16_t)size;
		f->class = class > TRIPOD_SOFT ? TRIPOD_SOFT + 1 : class;
		f++;
	}
	return check_layout(nf) == 0 ? nf : NULL;
}

static bool same_layout(const struct tripod_nf *a, const struct tripod_nf *b)
{
	const struct tripod_field *f = a->fields, *g = b->fields;
	if (a->layout_version != b->layout_version || a->state_size != b->state_size)
		return false;
	for (; g != NULL && g->name != NULL && f->name != NULL; f++, g++)
		if (strcmp(f->name, g->name) != 0 || f->offset != g->offset || f->size != g->size ||
			f->class != g->class)
			return false;
	return f->name == NULL && (g == NULL || g->name == NULL);
}

// Can the NF make its state of that layout? It is asked with a state of zeros.
static bool imports(const struct tripod_nf *nf, const struct tripod_nf *old)
{
	uint8_t from[CHAIN_STATE_MAX] = {0}, to[CHAIN_STATE_MAX] = {0};
	return nf->import != NULL && old->layout_version < nf->layout_version &&
	       nf->import(old->layout_version, from, old->state_size, to) == 0;
}

int chain_import(struct chain *chain, const struct chain_description *d, const struct chain *as,
	struct arena *a, unsigned *which)
{
	memset(chain, 0, sizeof(*chain));
	*which = d->n;
	if (d->n != as->n || a->size - a->used < (size_t)d->text_len + 1 + 64)
		return -EINVAL;
	struct source s = {(const uint8_t *)d->text, NULL};
	const char *canonical = text(&s, d->text_len, a);
	for (unsigned i = 0; i < d->n; i++) {
		const struct tripod_nf *old = read_layout(&d->nf[i], a), *nf = as->nf[i].nf;
		*which = i;
		if (old == NULL || strcmp(old->name, nf->name) != 0)
			return -EINVAL;
		if (!same_layout(old, nf) && !imports(nf, old))
			return -ENOTSUP;
		if (chain_add(chain, old, NULL) != 0)
			return -EINVAL;
	}
	chain_seal(chain, canonical);
	chain->as = as;
	return 0;
}

bool chain_read(const struct chain *chain, const uint8_t *in, uint8_t *nf)
{
	const struct chain *as = chain->as;
	uint8_t old[CHAIN_STATE_MAX];
	if (as == NULL) {
		chain_unpack(chain, in, nf);
		return true;
	}
	chain_unpack(chain, in, old);
	memset(nf, 0, as->state_size);
	if (chain->requests && as->requests)
		memcpy(nf + as->marks, old + chain->marks, CHAIN_MARKS_SIZE);
	for (unsigned i = 0; i < as->n; i++) {
		const struct tripod_nf *from = chain->nf[i].nf, *to = as->nf[i].nf;
		const uint8_t *state = old + chain->nf[i].state_offset;
		if (from->layout_version == to->layout_version)
			memcpy(nf + as->nf[i].state_offset, state, to->state_size);
		else if (to->import(from->layout_version, state, from->state_size,
				 nf + as->nf[i].state_offset) != 0)
			return false;
	}
	return true;
}
