// SPDX-License-Identifier: BSD-3-Clause
// Chains of network functions: loading one from its configuration, finding NFs by name.
//
// A chain is known by its content: chain_id is the hash of its configuration and of its NFs' state
// layouts, so that two nodes agree on what a record means
// without asking anybody. A connection keeps the chain under which it began.
//
// Thread: control thread builds; afterwards read-only and shared by all workers, but for counters.
#pragma once

#include <tripod/nf.h>

#include "core/arena.h"

#define CHAINS_MAX 8 // versions that a node holds at one time
#define CHAIN_BYTES_MAX (4u << 20) // of a description that is fetched
#define CHAIN_NFS_MAX 8
#define CHAIN_OWN_MAX 256 // prefixes that the gateway answers for
#define CHAIN_STATE_MAX 1024 // bytes of NF state a connection: a record fits one message
#define CHAIN_RUNS_MAX 64
#define NF_COUNTERS_MAX 32
#define NF_REGISTRY_MAX 64

struct chain_nf {
	const struct tripod_nf *nf;
	void *instance;
	uint16_t state_offset; // in conn.nf[], aligned as chain_align() says
	uint8_t n_counters;
	uint32_t kind; // id of its kind of state; 0: none
};

// Bytes that are copied together between a record and the wire.
struct chain_run {
	uint16_t offset, size; // in conn.nf[]
};

// The last request of a node that has been applied to a connection (core/hpsms/request.c).
struct chain_mark {
	uint32_t seq; // 0: none
	uint32_t who; // low bits of its boot, and its node
};
#define CHAIN_MARKS 4 // nodes whose last one is known
#define CHAIN_REQUESTS "requests taken" // in a description; no field is called so
#define CHAIN_MARKS_SIZE (CHAIN_MARKS * sizeof(struct chain_mark))

struct chain {
	uint64_t id;
	unsigned n;
	struct chain_nf nf[CHAIN_NFS_MAX];
	uint16_t state_size; // bytes of all NFs' states together, and of the marks
	uint16_t wire_size; // bytes of their replicated fields together, and of the marks
	bool requests; // an NF takes some: a record has marks
	uint16_t marks; // where they lie, in conn.nf[]; a multiple of 4
	bool kinds; // an NF has a kind: a record has a byte of
	uint16_t
		counted; // bits, by NF: the connection counts in its entry here (hpsms/kind.c). Soft
	const char *text; // canonical configuration
	// Of a build with older layouts: its records are kept as that chain's, and it runs no packet.
	const struct chain *as;
	uint32_t description_size; // bytes of chain_describe()

	// The replicated fields in the order of chain and field tables, neighbours joined; on the
	// wire they lie one behind the other.
	uint16_t n_runs;
	uint16_t n_once; // of these, the write-once fields alone
	struct chain_run run[CHAIN_RUNS_MAX];
	struct chain_run once[CHAIN_RUNS_MAX];

	uint8_t durability; // enum tripod_durability: the strongest that an NF may choose

	bool divides; // an NF has asked which half of the ports is this start's
	unsigned n_own;
	struct {
		enum tripod_direction side;
		struct tripod_prefix prefix;
	} own[CHAIN_OWN_MAX];
};

// What load() sees behind struct tripod_nf_env.
struct tripod_nf_env {
	struct chain *chain;
	struct arena *arena;
	unsigned slot, slots, boot_half;
	// Checks a tree against a table and reports what is wrong (the config library's
	// conf_check()).
	int (*check)(const struct tripod_conf *conf, const struct tripod_option *options);
};

const struct tripod_nf *nf_find(const char *name); // registered under this name, or NULL
unsigned nf_list(const struct tripod_nf **nfs, unsigned max); // sorted by name
// 0, or -EINVAL with *why set: wrong ABI, bad table, name taken.
int nf_check(const struct tripod_nf *nf, const char **why);

// Fills `chain` from conf, a list of mappings with one key each: [{firewall: {...}}, {lb: {...}}].
// Every mistake of every NF is reported; -EINVAL if there was any. env gives memory and identity.
// canonical: the text of the configuration that is hashed into the id. env->check must be set.
int chain_load(struct chain *chain, const struct tripod_conf *conf, struct tripod_nf_env *env,
	const char *canonical);

// The steps of chain_load(), for whoever has NFs and instances without a configuration: start from
// a zeroed chain, add NFs in order, seal it under its id. chain_add: 0, -E2BIG (too many NFs) or
// -ENOSPC (too much state, too many separate fields); the chain is useless then. nf must have
// passed nf_check(). canonical must live as long as the chain (chain_load() makes its own copy).
int chain_add(struct chain *chain, const struct tripod_nf *nf, void *instance);
void chain_seal(struct chain *chain, const char *canonical);

// ---- Descriptions ----
//
// All that the id says, as bytes: the canonical configuration, and the state layout of each NF. The id
// is their hash, so that whoever asks for a chain by its id can tell whether it got that one.

// Writes `size` bytes from offset on, or fewer at the end; returns how many.
uint32_t chain_describe(const struct chain *chain, uint32_t offset, uint8_t *out, uint32_t size);
uint64_t chain_description_id(const uint8_t *bytes, uint32_t size);

// What a description says; points into its bytes.
struct chain_description {
	const char *text; // not terminated
	uint32_t text_len;
	unsigned n;
	struct chain_nf_description {
		const char *name; // not terminated
		uint32_t name_len;
		uint32_t layout_version, state_size;
		const uint8_t *fields; // as in the description
		uint32_t n_fields, size; // size: bytes of them
	} nf[CHAIN_NFS_MAX];
};
// 0, or -EINVAL: the bytes come from a peer, and may be anything.
int chain_description_read(const uint8_t *bytes, uint32_t size, struct chain_description *out);

// Fills `chain` with what a description says whose NFs have older states than those of `as`, the chain
// that this node makes of the same configuration. Its memory is a's, a built arena. 0; -ENOTSUP: NF
// *which of them cannot read it; -EINVAL: the two are not of one configuration, or no room.
int chain_import(struct chain *chain, const struct chain_description *d, const struct chain *as,
	struct arena *a, unsigned *which);
// The states of a record of `chain` as they are kept here: chain_unpack(), or that translated into those
// of chain->as. false: an NF cannot make anything of it.
bool chain_read(const struct chain *chain, const uint8_t *in, uint8_t *nf);

// The replicated bytes (write-once and durable fields) of a record's NF states, packed without gaps
// in the order of chain and field tables; wire_size bytes. Unpack leaves soft bytes zero.
void chain_pack(const struct chain *chain, const uint8_t *nf, uint8_t *out);
void chain_unpack(const struct chain *chain, const uint8_t *in, uint8_t *nf);
// Copies the replicated bytes of one state into another, whose soft bytes stay.
void chain_update(const struct chain *chain, const uint8_t *from, uint8_t *nf);
void chain_forget_soft(const struct chain *chain, uint8_t *nf); // they become zero
// true when a write-once byte differs between two records' states: never, unless something is
// broken.
bool chain_write_once_differs(const struct chain *chain, const uint8_t *a, const uint8_t *b);
