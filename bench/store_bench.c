// SPDX-License-Identifier: BSD-3-Clause
// What a lookup in the connection store costs, in TSC cycles: tuples drawn at random among all that
// are known, in bursts, as a worker looks them up. Beside it what the memory of this machine does,
// measured on the same memory in the same run: figures are to be compared within one run only.
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench/clock.h"
#include "core/rng.h"
#include "core/store.h"

#define BURST 32
#define KEYS 8192 // looked up between two readings of the clock: they fit the second-level cache
#define ROUNDS_MAX 101
#define HUGE_PAGE (2u << 20)
#define STATE_SIZE 48 // bytes of NF state: records of three lines

struct bench {
	struct store s;
	struct rng rng;
	uint32_t records;
	void *map;
	size_t map_size;
	struct tripod_tuple key[KEYS];
	uint64_t sum; // of what was read, so that reading is not optimised away
};

static struct tripod_tuple tuple_of(uint32_t record, unsigned dir)
{
	struct tripod_tuple t = {
		.src = tripod_addr_v4(record * 2654435761u),
		.dst = tripod_addr_v4(0x0a0a0a0a),
		.sport = (uint16_t)record,
		.dport = 443,
		.proto = 6,
	};
	return dir ? tripod_tuple_reverse(&t) : t;
}

static int bench_open(struct bench *b, uint32_t records)
{
	struct arena a = {0};
	store_init(&b->s, &a, records, 0, STATE_SIZE, 1, 0);
	b->records = records;
	b->map_size = (a.used + 2 * HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1);
	b->map =
		mmap(NULL, b->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->map == MAP_FAILED)
		return -errno;
	madvise(b->map, b->map_size, MADV_HUGEPAGE); // an attempt: without it the figures say so
	uintptr_t base = ((uintptr_t)b->map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
	a = (struct arena){.base = (uint8_t *)base, .size = a.used};
	store_init(&b->s, &a, records, 0, STATE_SIZE, 1, 0);
	for (uint32_t n = 0; n < records; n++) {
		uint32_t i = store_conn_new(&b->s);
		for (unsigned d = 0; d < 2; d++) {
			store_conn(&b->s, i)->dir[d].key = tuple_of(n, d);
			if (store_index_conn(&b->s, i, d) != 0)
				return -ENOSPC;
		}
	}
	return 0;
}

static void draw(struct bench *b, bool known)
{
	for (unsigned k = 0; k < KEYS; k++) {
		uint32_t n = rng_below(&b->rng, b->records);
		b->key[k] = tuple_of(n, (unsigned)rng_next(&b->rng) & 1);
		if (!known)
			b->key[k].proto = 17;
	}
}

// ---- What is measured: KEYS lookups a call ----

static void run_single(struct bench *b)
{
	for (unsigned k = 0; k < KEYS; k++)
		b->sum += store_find(&b->s, &b->key[k], store_hash(&b->s, &b->key[k])).index;
}

// The least that a lookup can touch: the bucket, and the line of the key that matches. Inlined
// always: gcc takes a function that only prefetches for one without effect, and drops calls to it.
__attribute__((always_inline)) static inline void prefetch_key(const struct store *s, uint64_t hash)
{
	const struct index_bucket *b = &s->buckets[store_home(s, hash)];
	unsigned match = 0;
	for (unsigned w = 0; w < BUCKET_WAYS; w++)
		match |= (unsigned)(b->signature[w] == (uint16_t)(hash >> 48)) << w;
	if (match == 0)
		return;
	struct index_entry e = store_entry(b, (unsigned)__builtin_ctz(match));
	__builtin_prefetch(&store_conn(s, e.index)->dir[e.what & 1]);
}

static void run_key(struct bench *b)
{
	uint64_t hash[BURST];
	for (unsigned k = 0; k < KEYS; k += BURST) {
		for (unsigned i = 0; i < BURST; i++) {
			hash[i] = store_hash(&b->s, &b->key[k + i]);
			store_prefetch_bucket(&b->s, hash[i]);
		}
		for (unsigned i = 0; i < BURST; i++)
			prefetch_key(&b->s, hash[i]);
		for (unsigned i = 0; i < BURST; i++)
			b->sum += store_find(&b->s, &b->key[k + i], hash[i]).index;
	}
}

// As a worker does it, which then reads all lines of the record.
static void run_record(struct bench *b)
{
	struct store_hit hit[BURST];
	uint64_t hash[BURST];
	for (unsigned k = 0; k < KEYS; k += BURST) {
		for (unsigned i = 0; i < BURST; i++) {
			hash[i] = store_hash(&b->s, &b->key[k + i]);
			store_prefetch_bucket(&b->s, hash[i]);
		}
		store_prefetch_records(&b->s, hash, hit, BURST);
		for (unsigned i = 0; i < BURST; i++) {
			struct store_hit h = store_find(&b->s, &b->key[k + i], hash[i]);
			const struct conn *c = store_conn(&b->s, h.index);
			b->sum += c->dir[0].seen + c->dir[1].seen + c->flags;
		}
	}
}

static void run_hash(struct bench *b)
{
	for (unsigned k = 0; k < KEYS; k++)
		b->sum += store_hash(&b->s, &b->key[k]);
}

// Independent loads at random lines of the records: what the memory allows.
static void run_line(struct bench *b)
{
	uint32_t lines = (uint32_t)((size_t)b->records * b->s.conn_size / 64);
	const uint8_t *at[BURST];
	for (unsigned k = 0; k < KEYS; k += BURST) {
		for (unsigned i = 0; i < BURST; i++) {
			at[i] = b->s.conns + (size_t)rng_below(&b->rng, lines) * 64;
			__builtin_prefetch(at[i]);
		}
		for (unsigned i = 0; i < BURST; i++)
			b->sum += *at[i];
	}
}

// A connection ends, another begins: two entries and a record each.
static void run_churn(struct bench *b)
{
	for (unsigned k = 0; k < KEYS; k++) {
		uint32_t i = 1 + rng_below(&b->rng, b->records);
		struct tripod_tuple key[2];
		for (unsigned d = 0; d < 2; d++) {
			key[d] = store_conn(&b->s, i)->dir[d].key;
			store_unindex_conn(&b->s, i, d);
		}
		store_conn_free(&b->s, i);
		i = store_conn_new(&b->s);
		for (unsigned d = 0; d < 2; d++) {
			store_conn(&b->s, i)->dir[d].key = key[d];
			b->sum += (uint32_t)store_index_conn(&b->s, i, d);
		}
	}
}

struct workload {
	const char *name, *help;
	void (*run)(struct bench *b);
	unsigned lines; // cache lines that each touches
	bool known;
};

static const struct workload workloads[] = {
	{"hash", "the hash alone", run_hash, 0, true},
	{"line", "random independent line, prefetched", run_line, 1, true},
	{"single", "lookup, no prefetch", run_single, 2, true},
	{"miss", "lookup of unknown keys, two-stage prefetch", run_key, 1, false},
	{"key", "lookup, two-stage prefetch of bucket and key line", run_key, 2, true},
	{"record", "lookup, prefetch of bucket and whole record, all read", run_record, 4, true},
	{"churn", "connection removed and added, both tuples", run_churn, 0, true},
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

// Median and least of the rounds, cycles per lookup.
static double measure(struct bench *b, const struct workload *w, unsigned rounds, double *least)
{
	double result[ROUNDS_MAX];
	for (unsigned r = 0; r < rounds; r++) {
		draw(b, w->known);
		uint64_t t0 = clock_cycles();
		w->run(b);
		result[r] = (double)(clock_cycles() - t0) / KEYS;
	}
	qsort(result, rounds, sizeof(result[0]), compare);
	*least = result[0];
	return result[rounds / 2];
}

static int bench_run(uint32_t records, unsigned rounds, bool json, bool first)
{
	struct bench *b = calloc(1, sizeof(*b));
	if (b == NULL || bench_open(b, records) != 0) {
		fprintf(stderr, "tripod-store-bench: no memory for %u records\n", records);
		free(b);
		return -ENOMEM;
	}
	b->rng.state = 1;
	if (!json)
		printf("\n%u records, %u index entries, %.1f MB, index load %.0f%%\n%-8s %8s %8s "
		       "%6s  %s\n",
			records, b->s.index_used, (double)b->map_size / 1e6,
			100.0 * b->s.index_used / (BUCKET_WAYS * (double)b->s.n_buckets), "what",
			"median", "least", "lines", "cycles of the TSC, each");
	for (unsigned i = 0; i < WORKLOADS; i++) {
		const struct workload *w = &workloads[i];
		double least, median = measure(b, w, rounds, &least);
		if (json)
			printf("%s\n    {\"records\": %u, \"what\": \"%s\", \"lines\": %u, "
			       "\"median\": %.1f, \"least\": %.1f}",
				first && i == 0 ? "" : ",", records, w->name, w->lines, median,
				least);
		else
			printf("%-8s %8.1f %8.1f %6u  %s\n", w->name, median, least, w->lines,
				w->help);
	}
	int r = b->sum == 0 ? -EIO : 0;
	munmap(b->map, b->map_size);
	free(b);
	return r;
}

static void usage(FILE *to)
{
	fprintf(to,
		"usage: tripod-store-bench [--json] [--records N] [--rounds N]\n"
		"  --json       machine-readable result\n"
		"  --records N  only a table of N records (otherwise 1000 and 1000000)\n"
		"  --rounds N   rounds of %u lookups, of which the median is shown (1..%u)\n"
		"  --version, --help\n",
		KEYS, ROUNDS_MAX);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"records", required_argument, NULL, 'n'},
		{"rounds", required_argument, NULL, 'r'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	uint32_t records[2] = {1000, 1000000};
	unsigned n = 2, rounds = 51;
	bool json = false;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'n':
			records[0] = (uint32_t)strtoul(optarg, NULL, 10);
			n = 1;
			break;
		case 'r':
			rounds = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'v':
			printf("tripod-store-bench %s\n", TRIPOD_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind != argc || rounds < 1 || rounds > ROUNDS_MAX || records[0] < 1 ||
		records[0] > 100000000) {
		usage(stderr);
		return 2;
	}
	double per_ns = clock_cycles_per_ns();
	if (json)
		printf("{\"cycles_per_ns\": %.3f, \"results\": [", per_ns);
	else
		printf("%.3f cycles per ns; medians of %u rounds of %u, bursts of %u\n", per_ns,
			rounds, KEYS, BURST);
	int r = 0;
	for (unsigned i = 0; i < n && r == 0; i++)
		r = bench_run(records[i], rounds, json, i == 0);
	if (json)
		printf("\n]}\n");
	return r == 0 ? 0 : 1;
}
