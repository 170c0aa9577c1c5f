// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/chains.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "config/canonical.h"
#include "config/schema.h"

#define CHAIN_MEMORY (64u << 20) // bytes for the NFs' read-only instances, used as needed
#define COMING_NS 1000000000ull // the peers have so long to fetch what is announced

int chains_init(struct chains *c, const struct rack *rack,
	void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2))))
{
	free(c->counted);
	*c = (struct chains){
		.slot = rack->slot,
		.slots = rack->slots,
		.boot_half = rack->conf.boot_half,
		.bytes_max = rack->conf.chain_bytes,
		.say = say,
		.counted = calloc(NF_REGISTRY_MAX, sizeof(*c->counted)),
	};
	return c->counted != NULL ? 0 : -ENOMEM;
}

// Why the node does not take a version.
static const char *why_not(int error)
{
	return error == -EFBIG
		       ? "its network functions need more state of a connection than a record "
			 "has room for: raise limits: nf_state_bytes (it needs a restart)"
	       : error == -ENOSPC
		       ? "eight versions of the chain have connections: wait until those of "
			 "the oldest have ended (tripodctl chain)"
		       : strerror(-error);
}

// ---- Loading ----

void chains_free(struct chain_version *v)
{
	if (v == NULL)
		return;
	if (v->memory != NULL)
		munmap(v->memory, v->memory_size);
	free(v);
}

static struct chain_version *version_new(void)
{
	struct chain_version *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return NULL;
	v->memory = mmap(NULL, CHAIN_MEMORY, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	v->memory_size = CHAIN_MEMORY;
	if (v->memory != MAP_FAILED)
		return v;
	free(v);
	return NULL;
}

static uint64_t config_id(const struct tripod_conf *section)
{
	char *text = conf_canonical(section);
	uint64_t id = XXH3_64bits(text, strlen(text));

	free(text);
	return id;
}

struct chain_version *chains_load(const struct chains *c, const struct tripod_conf *conf,
	const char *text, char *why, size_t size)
{
	struct chain_version *v = version_new();
	struct arena arena = {.base = v != NULL ? v->memory : NULL, .size = CHAIN_MEMORY};
	struct tripod_nf_env env = {
		.arena = &arena,
		.slot = c->slot,
		.slots = c->slots,
		.boot_half = c->boot_half,
		.check = conf_check,
	};

	why[0] = '\0';
	if (v == NULL) {
		snprintf(why, size, "no memory for the chain");
		return NULL;
	}
	env.chain = &v->chain;
	if (chain_load(&v->chain, conf, &env, text) < 0) {
		chains_free(v);
		return NULL;
	}
	for (unsigned i = 0; i < v->chain.n; i++)
		v->config_id[i] = config_id(tripod_conf_at(conf, i));
	if (v->chain.description_size <= c->bytes_max)
		return v;
	snprintf(why, size,
		"the chain's configuration has %u bytes, more than the %u that nodes can give each "
		"other: raise limits: chain_bytes on all nodes (it needs a restart)",
		v->chain.description_size, c->bytes_max);
	chains_free(v);
	return NULL;
}

static const struct tripod_nf *nf_described(const struct chain_nf_description *d)
{
	const struct tripod_nf *all[NF_REGISTRY_MAX];
	unsigned n = nf_list(all, NF_REGISTRY_MAX);

	for (unsigned i = 0; i < n; i++) {
		if (strlen(all[i]->name) == d->name_len &&
			memcmp(all[i]->name, d->name, d->name_len) == 0)
			return all[i];
	}
	return NULL;
}

// Are the NFs here, with the state that the peer means, or can they read it? *older: the latter.
static int check_nfs(const struct chain_description *d, bool *older, char *why, size_t size)
{
	for (unsigned i = 0; i < d->n; i++) {
		const struct chain_nf_description *nf = &d->nf[i];
		const struct tripod_nf *here = nf_described(nf);
		int len = nf->name_len < 64 ? (int)nf->name_len : 64;

		if (here == NULL) {
			snprintf(why, size,
				"this node has no network function %.*s: load its plug-in", len,
				nf->name);
			return -ENOENT;
		}
		*older |= nf->layout_version < here->layout_version && here->import != NULL;
		if (here->layout_version != nf->layout_version && !*older) {
			snprintf(why, size,
				"its %s has state of layout %u, which this node's, of layout %u, "
				"does "
				"not read: run the same version everywhere",
				here->name, nf->layout_version, here->layout_version);
			return -ENOENT;
		}
	}
	return 0;
}

// The peer's chain, read as v's, which the node is given unless it has that already. Takes v.
static struct chain_version *import_version(const struct chains *c,
	const struct chain_description *d, struct chain_version *v, char *why, size_t size)
{
	const struct chain *as = node_chain_find(c->node, v->chain.id);
	struct chain_version *old = version_new();
	struct arena arena = {.base = old != NULL ? old->memory : NULL, .size = CHAIN_MEMORY};
	unsigned which;

	if (old == NULL ||
		chain_import(&old->chain, d, as != NULL ? as : &v->chain, &arena, &which) != 0) {
		snprintf(why, size, "this node's network functions cannot read its states");
		chains_free(old);
		chains_free(v);
		return NULL;
	}
	if (as != NULL) {
		chains_free(v);
		return old;
	}
	int r = node_chain_add(c->node, &v->chain, false);
	if (r >= 0)
		return old;
	snprintf(why, size, "%s", why_not(r));
	chains_free(old);
	chains_free(v);
	return NULL;
}

struct chain_version *chains_load_description(const struct chains *c, uint64_t id,
	const uint8_t *bytes, uint32_t n, char *why, size_t size)
{
	struct chain_description d;
	struct chain_version *v = NULL;
	bool older = false;

	if (chain_description_read(bytes, n, &d) != 0) {
		snprintf(why, size, "its description cannot be read");
		return NULL;
	}
	if (check_nfs(&d, &older, why, size) != 0)
		return NULL;
	struct conf_doc *doc = conf_load_bytes("a peer's chain", d.text, d.text_len);
	char *text = conf_error_count(doc) == 0 ? strndup(d.text, d.text_len) : NULL;
	if (text != NULL)
		v = chains_load(c, conf_root(doc), text, why, size);
	if (v == NULL && why[0] == '\0') {
		snprintf(why, size, "%s", conf_report(doc));
		why[strcspn(why, "\n")] = '\0'; // the first mistake says enough
	}
	if (v != NULL && v->chain.id != id && older)
		v = import_version(c, &d, v, why, size);
	if (v != NULL && v->chain.id != id) {
		snprintf(why, size, "it has the id %016" PRIx64 " here: the NFs' builds differ",
			v->chain.id);
		chains_free(v);
		v = NULL;
	}
	free(text);
	conf_free(doc);
	return v;
}

// ---- Running ----

const struct chain_version *chains_current(const struct chains *c)
{
	struct chain_status all[CHAINS_MAX];
	unsigned n = node_chains(c->node, all);

	for (unsigned i = 0; i < n; i++) {
		if (all[i].current)
			return (const struct chain_version *)all[i].chain;
	}
	return NULL; // never
}

int chains_announce(struct chains *c, struct chain_version *v, char *why, size_t size)
{
	uint64_t id = v->chain.id;
	int r = node_chain_add(c->node, &v->chain, true);

	if (r < 0 && r != -EEXIST) {
		snprintf(why, size, "%s", why_not(r));
		return r;
	}
	if (r == -EEXIST) // from a peer, or from before
		chains_free(v);
	c->coming = id;
	c->coming_ns = 0;
	return 0;
}

static void log_refusal(struct chains *c, uint64_t id, const char *why)
{
	for (unsigned i = 0; i < CHAINS_MAX; i++) {
		if (c->refused[i] == id)
			return;
	}
	c->refused[c->next_refused] = id;
	c->next_refused = (c->next_refused + 1) % CHAINS_MAX;
	c->say("peers have a chain %016" PRIx64
	       " that this node cannot take, so that it is no backup "
	       "for its connections: %s",
		id, why);
}

static void take_fetched(struct chains *c)
{
	const uint8_t *bytes;
	struct chain_version *v;
	char why[512] = "";
	uint32_t n;
	uint64_t id;
	int r;

	if (!node_chain_text(c->node, &id, &bytes, &n))
		return;
	v = chains_load_description(c, id, bytes, n, why, sizeof(why));
	r = v != NULL ? node_chain_add(c->node, &v->chain, false) : -EINVAL;
	if (r < 0 && r != -EEXIST)
		log_refusal(c, id, v != NULL ? why_not(r) : why);
	if (r < 0)
		chains_free(v);
	else
		c->say("chain %016" PRIx64 " fetched from a peer", id);
	node_chain_taken(c->node, r >= 0 || r == -EEXIST);
}

// The version that is announced becomes current when the live peers have it.
static void move_on(struct chains *c, uint64_t now_ns)
{
	struct chain_status all[CHAINS_MAX];
	struct node_status s;
	unsigned n = node_chains(c->node, all);

	if (c->coming == 0)
		return;
	if (c->coming_ns == 0)
		c->coming_ns = now_ns;
	node_status(c->node, &s);
	for (unsigned i = 0; i < n; i++) {
		uint64_t missing = s.live & ~all[i].nodes;

		if (all[i].chain->id != c->coming ||
			(missing != 0 && now_ns - c->coming_ns < COMING_NS))
			continue;
		node_chain_current(c->node, c->coming);
		c->say("chain %016" PRIx64 " is current: new connections get it%s", c->coming,
			missing != 0 ? "; some live nodes have not fetched it yet" : "");
		c->coming = 0;
	}
}

static struct chains_counted *counted(struct chains *c, const struct tripod_nf *nf)
{
	for (unsigned i = 0; i < c->n_counted; i++) {
		if (c->counted[i].nf == nf)
			return &c->counted[i];
	}
	c->counted[c->n_counted].nf = nf;
	return &c->counted[c->n_counted++]; // no more than are registered
}

static void retire(struct chains *c)
{
	unsigned slot;
	const struct chain *chain = node_chain_retire(c->node, &slot);

	if (chain == NULL)
		return;
	for (unsigned i = 0; chain->as == NULL && i < chain->n; i++) {
		struct chains_counted *sum = counted(c, chain->nf[i].nf);

		for (int w = 0; w < WORKERS_MAX; w++) {
			uint64_t v[NF_COUNTERS_MAX];
			node_nf_counters(c->node, w, slot, i, v);
			for (unsigned k = 0; k < NF_COUNTERS_MAX; k++)
				sum->v[w][k] += v[k];
		}
	}
	c->say("chain %016" PRIx64 " is gone: nobody has connections under it", chain->id);
	chains_free((struct chain_version *)chain);
}

void chains_tick(struct chains *c, uint64_t now_ns)
{
	take_fetched(c);
	move_on(c, now_ns);
	retire(c);
}

uint64_t chains_counted(const struct chains *c, const struct tripod_nf *nf, int worker, unsigned i)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < c->n_counted; k++) {
		for (int w = 0; c->counted[k].nf == nf && w < WORKERS_MAX; w++)
			sum += worker < 0 || worker == w ? c->counted[k].v[w][i] : 0;
	}
	return sum;
}

void chains_end(struct chains *c)
{
	struct chain_status all[CHAINS_MAX];
	unsigned n = c->node != NULL ? node_chains(c->node, all) : 0;

	for (unsigned i = 0; i < n; i++)
		chains_free((struct chain_version *)all[i].chain);
	c->node = NULL;
	free(c->counted);
	c->counted = NULL;
}
