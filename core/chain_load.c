// SPDX-License-Identifier: BSD-3-Clause
// From a configuration to a chain, and what load() of an NF may ask for. Apart from chain.c, so
// that only programs that read configurations need the library behind tripod_conf_*.
#include <errno.h>
#include <string.h>

#include "core/chain.h"
#include "core/defect.h"

void *tripod_env_alloc(struct tripod_nf_env *env, size_t size)
{
	struct arena *a = env->arena;
	// arena_take() aborts on an overrun: a configuration that asks for too much is no bug.
	if (a->base == NULL || a->used > a->size || size > a->size - a->used ||
		((size + 63) & ~(size_t)63) > a->size - a->used)
		return NULL;
	return arena_take(a, size);
}

unsigned tripod_env_slot(const struct tripod_nf_env *env)
{
	return DEFECT(ports) ? 0 : env->slot;
}

unsigned tripod_env_slots(const struct tripod_nf_env *env)
{
	return env->slots;
}

unsigned tripod_env_boot_half(const struct tripod_nf_env *env)
{
	env->chain->divides = true;
	return env->boot_half;
}

const char *const tripod_durabilities[] = {
	[TRIPOD_NONE] = "none", [TRIPOD_ASYNC] = "async", [TRIPOD_SYNC] = "sync", NULL};

enum tripod_durability tripod_env_durability(
	struct tripod_nf_env *env, const struct tripod_conf *conf)
{
	const char *text = tripod_conf_string(conf, "durability");
	unsigned level = 0;

	if (text == NULL)
		return TRIPOD_UNSAID;
	while (level < TRIPOD_SYNC && strcmp(text, tripod_durabilities[level]) != 0)
		level++;
	if (level > env->chain->durability)
		env->chain->durability = (uint8_t)level;
	return (enum tripod_durability)level;
}

int tripod_env_own_prefix(
	struct tripod_nf_env *env, enum tripod_direction side, const struct tripod_prefix *prefix)
{
	struct chain *chain = env->chain;
	if (prefix->len > 128 || (side != TRIPOD_INCOMING && side != TRIPOD_OUTGOING))
		return -EINVAL;
	for (unsigned i = 0; i < chain->n_own; i++)
		if (chain->own[i].side == side && chain->own[i].prefix.len == prefix->len &&
			tripod_addr_equal(&chain->own[i].prefix.addr, &prefix->addr))
			return 0;
	if (chain->n_own == CHAIN_OWN_MAX)
		return -ENOSPC;
	chain->own[chain->n_own].side = side;
	chain->own[chain->n_own].prefix = *prefix;
	chain->n_own++;
	return 0;
}

// One key for each NF known: the checker then says which key of the chain is none.
struct keys {
	unsigned n;
	const struct tripod_nf *nf[NF_REGISTRY_MAX];
	struct tripod_option option[NF_REGISTRY_MAX + 1];
};

static void keys_init(struct keys *k)
{
	memset(k, 0, sizeof(*k));
	k->n = nf_list(k->nf, NF_REGISTRY_MAX);
	for (unsigned i = 0; i < k->n; i++) {
		k->option[i].name = k->nf[i]->name;
		k->option[i].type = TRIPOD_OPT_ANY;
		k->option[i].help = k->nf[i]->summary;
	}
}

// The NF that one element of the chain names, its options checked; NULL after an error.
static const struct tripod_nf *element_nf(const struct tripod_conf *element,
	const struct keys *keys, const struct tripod_nf_env *env,
	const struct tripod_conf **options)
{
	if (env->check(element, keys->option) != 0)
		return NULL;
	const struct tripod_nf *nf = NULL;
	for (unsigned i = 0; i < keys->n; i++) {
		const struct tripod_conf *c = tripod_conf_get(element, keys->nf[i]->name);
		if (c == NULL)
			continue;
		if (nf != NULL) {
			tripod_conf_error(element,
				"%s and %s stand in one element of the chain: begin the second "
				"with "
				"a dash of its own, so that their order is plain",
				nf->name, keys->nf[i]->name);
			return NULL;
		}
		nf = keys->nf[i];
		*options = c;
	}
	if (nf == NULL) {
		tripod_conf_error(element,
			"an element of the chain names a network function: `- firewall: {...}`");
		return NULL;
	}
	static const struct tripod_option none[] = {{0}};
	return env->check(*options, nf->options != NULL ? nf->options : none) == 0 ? nf : NULL;
}

static int load_element(struct chain *chain, const struct tripod_conf *element,
	const struct keys *keys, struct tripod_nf_env *env, const struct tripod_conf **places)
{
	const struct tripod_conf *options = NULL;
	const struct tripod_nf *nf = element_nf(element, keys, env, &options);
	if (nf == NULL)
		return -EINVAL;
	for (unsigned i = 0; i < chain->n; i++)
		if (chain->nf[i].nf == nf)
			return tripod_conf_error(options,
				"%s is in the chain already, on line %u: a chain holds each "
				"network "
				"function once",
				nf->name, tripod_conf_line(places[i]));
	void *instance = NULL;
	int load_err = nf->load(env, options, &instance);
	if (load_err == -ENOMEM)
		tripod_conf_error(
			options, "%s needs more memory than the chain may have", nf->name);
	else if (load_err != 0 && load_err != -EINVAL)
		tripod_conf_error(options, "%s did not load: error %d", nf->name, -load_err);
	// Added even so, that a second mention of it further down is found too.
	places[chain->n] = options;
	int err = chain_add(chain, nf, instance);
	if (err != 0)
		return tripod_conf_error(options,
			"%s does not fit into the chain: at most %u bytes of state a connection",
			nf->name, CHAIN_STATE_MAX);
	return load_err != 0 ? -EINVAL : 0;
}

int chain_load(struct chain *chain, const struct tripod_conf *conf, struct tripod_nf_env *env,
	const char *canonical)
{
	struct keys keys;
	const struct tripod_conf *places[CHAIN_NFS_MAX] = {0};
	memset(chain, 0, sizeof(*chain));
	env->chain = chain;
	keys_init(&keys);
	unsigned n = tripod_conf_count(conf);
	if (n > CHAIN_NFS_MAX)
		return tripod_conf_error(
			conf, "%u network functions: a chain has at most %u", n, CHAIN_NFS_MAX);
	int result = 0;
	for (unsigned i = 0; i < n; i++)
		if (load_element(chain, tripod_conf_at(conf, i), &keys, env, places) != 0)
			result = -EINVAL;
	if (result != 0)
		return result;
	size_t size = strlen(canonical) + 1;
	char *text = tripod_env_alloc(env, size);
	if (text == NULL)
		return tripod_conf_error(conf, "the chain needs more memory than it may have");
	memcpy(text, canonical, size);
	chain_seal(chain, text);
	return 0;
}
