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

// The marks of requests, which the shared part has if an NF of the chain takes any.
static int add_marks(struct chain *chain)
{
	uint16_t base = (uint16_t)((chain->state_size + 3) & ~3);

	if (base + CHAIN_MARKS_SIZE > CHAIN_STATE_MAX ||
		!add_run(chain->run, &chain->n_runs, base, CHAIN_MARKS_SIZE))
		return -ENOSPC;
	chain->requests = true;
	chain->marks = base;
	chain->wire_size += CHAIN_MARKS_SIZE;
	chain->state_size = (uint16_t)(base + CHAIN_MARKS_SIZE);
	return 0;
}

// Two builds share the entries of a kind where they mean the same by them.
static uint32_t kind_id(const struct tripod_nf *nf)
{
	const struct tripod_kind *kind = nf->kind;

	if (kind == NULL)
		return 0;
	uint64_t seed = (uint64_t)kind->layout_version << 32 | kind->state_size << 1 | kind->soft;
	uint32_t id = (uint32_t)XXH3_64bits_withSeed(nf->name, strlen(nf->name), seed);
	return id == 0 ? 1 : id;
}

// A byte behind the states, which is never sent.
static int add_counted(struct chain *chain)
{
	if (chain->state_size == CHAIN_STATE_MAX)
		return -ENOSPC;
	chain->kinds = true;
	chain->counted = chain->state_size++;
	return 0;
}
_Static_assert(CHAIN_NFS_MAX <= 8, "a bit for each NF in a byte");

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
		.kind = kind_id(nf),
	};
	chain->state_size = (uint16_t)end;
	int error = nf->kind == NULL || chain->kinds ? 0 : add_counted(chain);
	return error != 0 || nf->on_request == NULL || chain->requests ? error : add_marks(chain);
}

// ---- Descriptions ----

// Where a description goes: into a hash, or the part of it from skip on into a buffer.
struct sink {
	XXH3_state_t *hash;
	uint8_t *out;
	uint32_t skip, room, written;
	uint32_t size; // of all that was put
};

static void put(struct sink *k, const void *bytes, uint32_t n)
{
	k->size += n;
	if (k->hash != NULL) {
		XXH3_64bits_update(k->hash, bytes, n);
		return;
	}
	uint32_t skip = k->skip < n ? k->skip : n;
	k->skip -= skip;
	n -= skip;
	if (n > k->room - k->written)
		n = k->room - k->written;
	memcpy(k->out + k->written, (const uint8_t *)bytes + skip, n);
	k->written += n;
}

// Everything has its length in front or a fixed one, little-endian, so that no two chains give the same
// bytes, on any machine.
static void put_number(struct sink *k, uint32_t v)
{
	uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
	put(k, b, sizeof(b));
}

static void put_text(struct sink *k, const char *text)
{
	uint32_t n = (uint32_t)strlen(text);
	put_number(k, n);
	put(k, text, n);
}

static void put_nf(struct sink *k, const struct tripod_nf *nf)
{
	put_text(k, nf->name);
	put_number(k, nf->layout_version);
	put_number(k, nf->state_size);
	// The format is left out: how a field is shown does not change what it means.
	for (const struct tripod_field *f = nf->fields; f != NULL && f->name != NULL; f++) {
		put_text(k, f->name);
		put_number(k, f->offset);
		put_number(k, f->size);
		put_number(k, (uint32_t)f->class);
	}
	if (nf->on_request != NULL) {
		put_text(k, CHAIN_REQUESTS);
		put_number(k, 0);
		put_number(k, 0);
		put_number(k, 0);
	}
	put_number(k, UINT32_MAX); // no field's name is this long: ends the table
}

static void put_chain(struct sink *k, const struct chain *chain)
{
	put_text(k, chain->text);
	put_number(k, chain->n);
	for (unsigned i = 0; i < chain->n; i++)
		put_nf(k, chain->nf[i].nf);
}

static uint64_t id_of_hash(uint64_t hash)
{
	return hash == 0 ? 1 : hash; // 0 says "no chain" in messages
}

void chain_seal(struct chain *chain, const char *canonical)
{
	XXH3_state_t h;
	struct sink k = {.hash = &h};
	XXH3_INITSTATE(&h);
	XXH3_64bits_reset(&h);
	chain->text = canonical;
	put_chain(&k, chain);
	chain->description_size = k.size;
	chain->id = id_of_hash(XXH3_64bits_digest(&h));
}

uint32_t chain_describe(const struct chain *chain, uint32_t offset, uint8_t *out, uint32_t size)
{
	struct sink k = {.out = out, .skip = offset, .room = size};
	put_chain(&k, chain);
	return k.written;
}

uint64_t chain_description_id(const uint8_t *bytes, uint32_t size)
{
	return id_of_hash(XXH3_64bits(bytes, size));
}

// What is left of the bytes.
struct source {
	const uint8_t *at;
	uint32_t left;
	bool bad;
};

static uint32_t get_number(struct source *s)
{
	if (s->left < 4) {
		s->bad = true;
		return 0;
	}
	const uint8_t *b = s->at;
	s->at += 4;
	s->left -= 4;
	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static const char *get_text(struct source *s, uint32_t n)
{
	const char *text = (const char *)s->at;
	if (n > s->left || memchr(s->at, 0, n) != NULL) {
		s->bad = true;
		return NULL;
	}
	s->at += n;
	s->left -= n;
	return text;
}

int chain_description_read(const uint8_t *bytes, uint32_t size, struct chain_description *out)
{
	struct source s = {.at = bytes, .left = size};
	*out = (struct chain_description){.text_len = get_number(&s)};
	out->text = get_text(&s, out->text_len);
	out->n = get_number(&s);
	if (out->n > CHAIN_NFS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < out->n && !s.bad; i++) {
		struct chain_nf_description *nf = &out->nf[i];
		nf->name_len = get_number(&s);
		nf->name = get_text(&s, nf->name_len);
		nf->layout_version = get_number(&s);
		nf->state_size = get_number(&s);
		uint32_t len;
		nf->fields = s.at;
		while (!s.bad && (len = get_number(&s)) != UINT32_MAX) {
			get_text(&s, len);
			for (unsigned k = 0; k < 3; k++) // offset, size, class
				get_number(&s);
			nf->n_fields++;
			nf->size = (uint32_t)(s.at - nf->fields);
		}
	}
	return s.bad || s.left != 0 ? -EINVAL : 0;
}

// ---- Records ----

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

void chain_update(const struct chain *chain, const uint8_t *from, uint8_t *nf)
{
	for (unsigned i = 0; i < chain->n_runs; i++)
		memcpy(nf + chain->run[i].offset, from + chain->run[i].offset, chain->run[i].size);
}

void chain_forget_soft(const struct chain *chain, uint8_t *nf)
{
	uint8_t wire[CHAIN_STATE_MAX], counted = chain->kinds ? nf[chain->counted] : 0;

	chain_pack(chain, nf, wire);
	chain_unpack(chain, wire, nf);
	if (chain->kinds)
		nf[chain->counted] = counted; // as it was: of this node, not of the direction
}

bool chain_write_once_differs(const struct chain *chain, const uint8_t *a, const uint8_t *b)
{
	for (unsigned i = 0; i < chain->n_once; i++)
		if (memcmp(a + chain->once[i].offset, b + chain->once[i].offset,
			    chain->once[i].size) != 0)
			return true;
	return false;
}
