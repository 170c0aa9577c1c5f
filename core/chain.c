// SPDX-License-Identifier: BSD-3-Clause
#include "core/chain.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

static unsigned count_counters(const struct tripod_nf *nf)
{
	unsigned n = 0;
	while (nf->counters != NULL && nf->counters[n] != NULL)
		n++;
	return n;
}

// Adds bytes to a list of runs; joined with the last one when they follow it without a gap.
static bool add_run(struct chain_run *runs, uint16_t *n, uint16_t offset, uint16_t size)
{
	if (*n > 0 && runs[*n - 1].offset + runs[*n - 1].size == offset) {
		runs[*n - 1].size += size;
		return true;
	}
	if (*n == CHAIN_RUNS_MAX)
		return false;
	runs[(*n)++] = (struct chain_run){.offset = offset, .size = size};
	return true;
}

// A struct's size is a multiple of its alignment, so the size tells how little will do.
static uint16_t chain_align(const struct tripod_nf *nf)
{
	unsigned lowest = nf->state_size & -(unsigned)nf->state_size;
	return (uint16_t)(lowest == 0 || lowest > 8 ? 8 : lowest);
}

int chain_add(struct chain *chain, const struct tripod_nf *nf, void *instance)
{
	if (chain->n == CHAIN_NFS_MAX)
		return -E2BIG;
	uint16_t align = chain_align(nf);
	uint16_t base = (uint16_t)((chain->state_size + align - 1) & ~(align - 1));
	uint32_t end = base + (uint32_t)nf->state_size;
	if (end > CHAIN_STATE_MAX)
		return -ENOSPC;
	for (const struct tripod_field *f = nf->fields; f != NULL && f->name != NULL; f++) {
		if (f->class == TRIPOD_SOFT)
			continue;
		uint16_t offset = (uint16_t)(base + f->offset);
		if (!add_run(chain->run, &chain->n_runs, offset, f->size))
			return -ENOSPC;
		if (f->class == TRIPOD_WRITE_ONCE &&
			!add_run(chain->once, &chain->n_once, offset, f->size))
			return -ENOSPC;
		chain->wire_size += f->size;
	}
	chain->nf[chain->n++] = (struct chain_nf){
		.nf = nf,
		.instance = instance,
		.state_offset = base,
		.n_counters = (uint8_t)count_counters(nf),
	};
	chain->state_size = (uint16_t)end;
	return 0;
}

// Everything that is hashed has its length in front or a fixed one, little-endian, so that no two
// chains give the same bytes, on any machine.
static void hash_number(XXH3_state_t *h, uint32_t v)
{
	uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
	XXH3_64bits_update(h, b, sizeof(b));
}

static void hash_text(XXH3_state_t *h, const char *text)
{
	size_t n = strlen(text);
	hash_number(h, (uint32_t)n);
	XXH3_64bits_update(h, text, n);
}

static void hash_nf(XXH3_state_t *h, const struct tripod_nf *nf)
{
	hash_text(h, nf->name);
	hash_number(h, nf->layout_version);
	hash_number(h, nf->state_size);
	// The format is left out: how a field is shown does not change what it means.
	for (const struct tripod_field *f = nf->fields; f != NULL && f->name != NULL; f++) {
		hash_text(h, f->name);
		hash_number(h, f->offset);
		hash_number(h, f->size);
		hash_number(h, (uint32_t)f->class);
	}
	hash_number(h, UINT32_MAX); // no field's name is this long: ends the table
}

void chain_seal(struct chain *chain, const char *canonical)
{
	XXH3_state_t h;
	XXH3_INITSTATE(&h);
	XXH3_64bits_reset(&h);
	hash_text(&h, canonical);
	hash_number(&h, chain->n);
	for (unsigned i = 0; i < chain->n; i++)
		hash_nf(&h, chain->nf[i].nf);
	chain->id = XXH3_64bits_digest(&h);
	if (chain->id == 0)
		chain->id = 1; // 0 says "no chain" in messages
}

void chain_pack(const struct chain *chain, const uint8_t *nf, uint8_t *out)
{
	for (unsigned i = 0; i < chain->n_runs; i++) {
		memcpy(out, nf + chain->run[i].offset, chain->run[i].size);
		out += chain->run[i].size;
	}
}

void chain_unpack(const struct chain *chain, const uint8_t *in, uint8_t *nf)
{
	memset(nf, 0, chain->state_size);
	for (unsigned i = 0; i < chain->n_runs; i++) {
		memcpy(nf + chain->run[i].offset, in, chain->run[i].size);
		in += chain->run[i].size;
	}
}

bool chain_write_once_differs(const struct chain *chain, const uint8_t *a, const uint8_t *b)
{
	for (unsigned i = 0; i < chain->n_once; i++)
		if (memcmp(a + chain->once[i].offset, b + chain->once[i].offset,
			    chain->once[i].size) != 0)
			return true;
	return false;
}
