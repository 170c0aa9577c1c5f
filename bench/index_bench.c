// SPDX-License-Identifier: BSD-3-Clause
// What it costs a node to follow the index sets of all others: messages of changes as they come from
// the members of a large rack, authenticated, decoded and merged into the table, which holds what such
// a rack has at one time.
#include "bench/index_bench.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/cli.h"
#include "bench/clock.h"
#include "bench/machine.h"
#include "core/hpsms/auth.h"
#include "core/shard.h"

#define BATCH 64 // messages between two readings of the clock
#define REPETITIONS_MAX 1001
#define TCP_REST_S                                                                                 \
	15.0 // closed and buried: a connection is announced for so long after its last packet
#define HEADERS 46 // Ethernet with a VLAN tag, IPv4, UDP
#define MESSAGES (BATCH + 8 * (INDEX_BATCH / 256)) // the last life may fill some batches

// Connections a second and their duration, of the EMIX profile of a gateway's traffic, those alone that
// are announced: TCP, and UDP that goes on, of more than a second. Of all 4084 a second, 3661 end
// before, half of them questions by DNS.
static const double EMIX_ALL = 4083.86;
static const struct {
	double per_s, duration_s;
} EMIX[] = {
	{253.81, 1.575}, // exchange
	{79.3178, 6.859}, // oracle
	{43.6248, 6.232}, // citrix
	{29.347, 24.56}, // SIP and video
	{11.8976, 36.562}, // video
	{4.758, 61.3}, // RTP
};
#define CLASSES (sizeof(EMIX) / sizeof(EMIX[0]))

struct options {
	unsigned members, copies, repetitions;
	uint32_t rate; // connections a second, of each member
	uint32_t flush_ms;
	uint64_t seed;
	uint64_t population; // keys in the table; 0: as follows from the rest
	int cpu;
	bool json, small_pages;
	const char *output;
};

struct life { // a connection that is announced: its two keys, by master and copies
	uint32_t fp[2];
	uint8_t holder[4];
};

struct message {
	struct wire_header h;
	uint16_t size; // body
	uint8_t bytes[WIRE_MESSAGE_MAX];
};

struct bench {
	struct options o;
	struct rng rng;
	struct node node;
	struct shard shard;
	struct node_conf conf;
	struct step step;
	struct machine_memory memory;
	struct index *index;
	struct life *life; // ring: the oldest ends when one begins
	uint64_t n_lives, at;
	struct index_batch *filling[NODES_MAX];
	uint32_t seq[NODES_MAX], full; // so many changes of a member are told at a time
	struct message *message; // MESSAGES
	unsigned n_messages;
	uint8_t session[AUTH_KEY_SIZE];
	double share, mean_s; // of connections, announced; and for how long
	double cycles_per_ns;
};

// ---- The traffic ----

// Share of connections that are announced, and for how long; from the profile.
static void profile(struct bench *b)
{
	double per_s = 0, seconds = 0;

	for (unsigned i = 0; i < CLASSES; i++) {
		per_s += EMIX[i].per_s;
		seconds += EMIX[i].per_s * (EMIX[i].duration_s - 1 + TCP_REST_S);
	}
	b->share = per_s / EMIX_ALL;
	b->mean_s = seconds / per_s;
}

static double announced_per_s(const struct bench *b)
{
	return (double)b->o.members * b->o.rate * b->share;
}

// Each key is put in and taken out by each node that holds the connection.
static double changes_per_s(const struct bench *b)
{
	return announced_per_s(b) * 2 * 2 * (1 + b->o.copies);
}

static void encode(struct bench *b, unsigned node, const struct index_delta *d)
{
	struct message *m = &b->message[b->n_messages++];
	static struct wire_delta w;

	w.seq = ++b->seq[node];
	w.n = d->n;
	w.n_removes = d->n_removes;
	memcpy(w.fp, d->fp, d->n * sizeof(w.fp[0]));
	int size =
		wire_put_delta(m->bytes + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, &w);
	if (size < 0)
		abort();
	m->size = (uint16_t)size;
	m->h = (struct wire_header){
		.type = WIRE_INDEX,
		.length = (uint16_t)(WIRE_HEADER_SIZE + size + WIRE_TAG_SIZE),
		.count = d->n,
		.from_node = (uint8_t)node,
		.to_node = WIRE_ANY,
		.boot = 1,
		.counter = w.seq,
	};
	if (wire_put_header(m->bytes, WIRE_HEADER_SIZE, &m->h) < 0)
		abort();
	auth_seal(b->session, m->bytes, (size_t)(WIRE_HEADER_SIZE + size));
}

static void seal(struct bench *b, unsigned node)
{
	struct index_delta d;

	index_batch_close(b->filling[node]);
	while (index_batch_take(b->filling[node], &d))
		encode(b, node, &d);
}

static void tell(struct bench *b, const struct life *l, bool removes)
{
	for (unsigned k = 0; k <= b->o.copies; k++) {
		struct index_batch *batch = b->filling[l->holder[k]];
		for (unsigned i = 0; i < 2; i++) {
			index_batch_add(batch, l->fp[i], removes);
			if (batch->n == b->full)
				seal(b, l->holder[k]);
		}
	}
}

static struct life new_life(struct bench *b)
{
	struct life l;

	for (unsigned i = 0; i < 2; i++)
		l.fp[i] = index_print(rng_next(&b->rng), i);
	for (unsigned k = 0; k <= b->o.copies; k++) {
		bool again;
		do {
			l.holder[k] = (uint8_t)(1 + rng_below(&b->rng, b->o.members));
			again = false;
			for (unsigned j = 0; j < k; j++)
				again |= l.holder[j] == l.holder[k];
		} while (again);
	}
	return l;
}

// Connections begin and end until a batch of messages is full.
static void make_batch(struct bench *b)
{
	b->n_messages = 0;
	while (b->n_messages < BATCH) {
		struct life *l = &b->life[b->at];
		b->at = b->at + 1 == b->n_lives ? 0 : b->at + 1;
		tell(b, l, true);
		*l = new_life(b);
		tell(b, l, false);
	}
}

// ---- The node ----

static int open_bench(struct bench *b, char *error, size_t size)
{
	struct arena a = {0};
	struct index measured;
	uint64_t keys;

	profile(b);
	b->rng.state = b->o.seed;
	b->n_lives = b->o.population > 0 ? b->o.population / 2
					 : (uint64_t)(announced_per_s(b) * b->mean_s);
	keys = b->n_lives * 2;
	double full = changes_per_s(b) / b->o.members * b->o.flush_ms / 1000;
	b->full = full < 1 ? 1 : full > INDEX_BATCH ? INDEX_BATCH : (uint32_t)full;
	b->conf = (struct node_conf){
		.workers = 1,
		.connections = 1024,
		.durability = DURABILITY_ASYNC,
		.heartbeat_ms = 20,
		.index_keys = (uint32_t)keys + b->o.members * b->full +
			      1024, // what ends may be told later
	};
	index_init(&measured, &a, &b->conf);
	b->memory = machine_map(a.used, !b->o.small_pages);
	b->life = calloc(b->n_lives, sizeof(*b->life));
	b->message = calloc(MESSAGES, sizeof(*b->message));
	b->index = calloc(1, sizeof(*b->index));
	if (b->memory.base == NULL || b->life == NULL || b->message == NULL || b->index == NULL) {
		snprintf(error, size, "no memory for %.1f M keys (%.1f GB)", (double)keys / 1e6,
			(double)a.used / 1e9);
		return -ENOMEM;
	}
	a = (struct arena){.base = b->memory.base, .size = a.used};
	index_init(b->index, &a, &b->conf);
	b->node.index = b->index;
	b->node.members.live = b->node.members.configured =
		b->o.members == 63 ? UINT64_MAX : (1ull << (b->o.members + 1)) - 1;
	b->shard.node = &b->node;
	b->shard.conf = &b->conf;
	b->shard.live = b->node.members.live;
	b->shard.step = &b->step;
	b->shard.now_ns = 1000 * MS;
	for (unsigned n = 1; n <= b->o.members; n++) {
		b->filling[n] = calloc(1, sizeof(*b->filling[n]));
		b->index->m[n].in_table = true;
	}
	for (uint64_t i = 0; i < b->n_lives; i++) {
		b->life[i] = new_life(b);
		for (unsigned k = 0; k < 2 * (b->o.copies + 1); k++) {
			if (!index_map_set(&b->index->map, b->life[i].fp[k & 1],
				    b->life[i].holder[k >> 1]))
				abort();
		}
	}
	return 0;
}

static void close_bench(struct bench *b)
{
	for (unsigned n = 1; n <= b->o.members; n++)
		free(b->filling[n]);
	machine_unmap(&b->memory);
	free(b->life);
	free(b->message);
	free(b->index);
}

static void receive(struct bench *b)
{
	for (unsigned i = 0; i < b->n_messages; i++) {
		struct message *m = &b->message[i];
		size_t len = (size_t)(WIRE_HEADER_SIZE + m->size);
		if (!auth_opens(b->session, m->bytes, len))
			abort();
		index_rx(&b->shard, &m->h, m->bytes + WIRE_HEADER_SIZE, m->size);
	}
}

// ---- Figures ----

struct figures {
	double median, least, most; // cycles a change
	double changes_per_s, core; // share of one
	double bytes_per_change, bytes_per_s, bytes_per_life; // on the wire, received
	uint64_t keys;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

// Every connection that lives is in the table, at its holders; nothing else is. But when one ends whose
// fingerprint another has at the same node, which a node would see, it is gone for both.
static bool table_is_right(struct bench *b)
{
	const struct index_map *map = &b->index->map;
	uint64_t looked = 0, wrong = 0;

	for (unsigned n = 1; n <= b->o.members; n++) {
		b->n_messages = 0;
		seal(b, n);
		receive(b);
		if (b->index->m[n].newest != b->index->m[n].applied || b->index->m[n].overflowed)
			return false;
	}
	for (uint64_t i = 0; i < b->n_lives; i += 97) {
		for (unsigned k = 0; k < 2 * (b->o.copies + 1); k++, looked++)
			wrong += !(index_map_find(map, b->life[i].fp[k & 1]) >>
					   b->life[i].holder[k >> 1] &
				   1);
	}
	return wrong <= looked / 10000 && map->used <= 2 * b->n_lives;
}

static int run(struct bench *b, struct figures *f)
{
	static double per_change[REPETITIONS_MAX];
	uint64_t all_changes = 0, bytes = 0;

	for (unsigned r = 0; r < b->o.repetitions;) {
		make_batch(b);
		unsigned changes = 0;
		for (unsigned i = 0; i < b->n_messages; i++) {
			changes += b->message[i].h.count;
			bytes += b->message[i].h.length + HEADERS;
		}
		all_changes += changes;
		long preempted = machine_preempted();
		uint64_t t0 = clock_cycles();
		receive(b);
		uint64_t took = clock_cycles() - t0;
		if (machine_preempted() == preempted)
			per_change[r++] = (double)took / changes;
	}
	if (!table_is_right(b))
		return -EIO;
	qsort(per_change, b->o.repetitions, sizeof(per_change[0]), compare);
	f->median = per_change[b->o.repetitions / 2];
	f->least = per_change[0];
	f->most = per_change[b->o.repetitions - 1];
	f->changes_per_s = changes_per_s(b);
	f->core = f->median * f->changes_per_s / (b->cycles_per_ns * 1e9);
	f->bytes_per_change = (double)bytes / (double)all_changes;
	f->bytes_per_s = f->changes_per_s * f->bytes_per_change;
	f->bytes_per_life = f->bytes_per_s / ((double)b->o.members * b->o.rate);
	f->keys = b->index->map.used;
	return 0;
}

static json_t *json_all(const struct bench *b, const struct figures *f, const char *cpu)
{
	return json_pack(
		"{s:s, s:s, s:f, s:i, s:I, s:i, s:i, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:f, "
		"s:f, s:f, s:f, s:I, s:s, s:f}",
		"version", TRIPOD_VERSION, "cpu", cpu, "tsc_ghz", b->cycles_per_ns, "members",
		(int)b->o.members, "connections_per_s", (json_int_t)b->o.rate, "copies",
		(int)b->o.copies, "flush_ms", (int)b->o.flush_ms, "announced_share", b->share,
		"announced_s", b->mean_s, "keys", (json_int_t)f->keys, "changes_per_s",
		f->changes_per_s, "cycles_per_change", f->median, "cycles_per_change_min", f->least,
		"cycles_per_change_max", f->most, "core_share", f->core, "rx_bytes_per_s",
		f->bytes_per_s, "bytes_per_change", f->bytes_per_change, "bytes_per_connection",
		f->bytes_per_life, "bytes_per_announced", f->bytes_per_life / b->share,
		"table_bytes", (json_int_t)b->memory.size, "pages",
		machine_pages_name(b->memory.pages), "large_page_share", b->memory.large_share);
}

static void tell_figures(const struct bench *b, const struct figures *f, const char *cpu)
{
	printf("%s, TSC %.2f GHz; medians of %u batches\n", cpu, b->cycles_per_ns,
		b->o.repetitions);
	printf("%u members, each opens %u connections/s and keeps %u copies of each elsewhere\n",
		b->o.members, b->o.rate, b->o.copies);
	printf("  %-22s %8.1f %% of connections (EMIX), for %.1f s\n", "announced", 100 * b->share,
		b->mean_s);
	printf("  %-22s %8.2f M keys in %.0f MB (pages: %s, %.0f%% on large ones)\n", "table",
		(double)f->keys / 1e6, (double)b->memory.size / 1e6,
		machine_pages_name(b->memory.pages), 100 * b->memory.large_share);
	printf("  %-22s %8.2f M/s, %.1f MB/s, told together for %u ms\n", "changes",
		f->changes_per_s / 1e6, f->bytes_per_s / 1e6, b->o.flush_ms);
	printf("  %-22s %8.2f bytes, %.1f a connection that is announced, %.2f any\n", "a change",
		f->bytes_per_change, f->bytes_per_life / b->share, f->bytes_per_life);
	printf("  %-22s %8.1f cycles (%.1f to %.1f), authentication and decoding included\n",
		"a change", f->median, f->least, f->most);
	printf("  %-22s %8.1f %%\n", "of one core", 100 * f->core);
}

// ---- Options ----

static void usage(FILE *to)
{
	fprintf(to,
		"usage: tripod-bench index [options]\n"
		"\n"
		"Measures what it costs a node to follow the index sets of all other nodes: the\n"
		"messages of changes are authenticated, decoded, and merged into a table that "
		"holds\n"
		"what such a rack has at one time. Which connections are announced, and for how\n"
		"long, follows from the EMIX profile: 10.4%% of them are TCP, or UDP that goes "
		"on,\n"
		"of more than a second; each is announced by its master and its copies, with two\n"
		"keys, until 15 s after its last packet.\n"
		"\n"
		"Options:\n"
		"  --members N       other nodes, 2 to 63 (47)\n"
		"  --rate N          connections that each opens a second (100000)\n"
		"  --copies N        copies of each beside its master's, 0 to 3 (1)\n"
		"  --flush-ms T      changes wait so long for others to share a message (50)\n"
		"  --keys N          in the table (as many as follow from the above)\n"
		"  --repetitions N   batches of %u messages, of which the median is told (501)\n"
		"  --small-pages     4 KiB pages, even if there are larger ones\n"
		"  --cpu N           run on this CPU only\n"
		"  --seed N          of the traffic (1)\n"
		"  --quick           little of everything: does it work?\n"
		"  --json            machine-readable result\n"
		"  --output FILE     that, into FILE, beside the readable one\n"
		"  --help\n",
		BATCH);
}

static void take(void *to, const char *name, char *value)
{
	struct options *o = to;
	char option[32];

	snprintf(option, sizeof(option), "--%s", name);
	if (strcmp(name, "members") == 0)
		o->members = (unsigned)cli_number(option, value, 2, 63);
	else if (strcmp(name, "rate") == 0)
		o->rate = (uint32_t)cli_number(option, value, 1, 10000000);
	else if (strcmp(name, "copies") == 0)
		o->copies = (unsigned)cli_number(option, value, 0, 3);
	else if (strcmp(name, "flush-ms") == 0)
		o->flush_ms = (uint32_t)cli_number(option, value, 0, 1000);
	else if (strcmp(name, "keys") == 0)
		o->population = cli_number(option, value, 2000, 200000000);
	else if (strcmp(name, "repetitions") == 0)
		o->repetitions = (unsigned)cli_number(option, value, 1, REPETITIONS_MAX);
	else if (strcmp(name, "cpu") == 0)
		o->cpu = (int)cli_number(option, value, 0, 1023);
	else if (strcmp(name, "seed") == 0)
		o->seed = cli_number(option, value, 0, UINT64_MAX);
	else if (strcmp(name, "output") == 0)
		o->output = value;
	else if (strcmp(name, "small-pages") == 0)
		o->small_pages = true;
	else if (strcmp(name, "json") == 0)
		o->json = true;
	else { // quick
		o->repetitions = 11;
		o->population = 100000;
	}
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{"members", required_argument, NULL, 'o'},
		{"rate", required_argument, NULL, 'o'},
		{"copies", required_argument, NULL, 'o'},
		{"flush-ms", required_argument, NULL, 'o'},
		{"keys", required_argument, NULL, 'o'},
		{"repetitions", required_argument, NULL, 'o'},
		{"small-pages", no_argument, NULL, 'o'},
		{"cpu", required_argument, NULL, 'o'},
		{"seed", required_argument, NULL, 'o'},
		{"quick", no_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'o'},
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};

	*o = (struct options){.members = 47,
		.copies = 1,
		.flush_ms = 50,
		.repetitions = 501,
		.rate = 100000,
		.seed = 1,
		.cpu = -1};
	cli_options(argc, argv, table, take, o, usage);
}

static int tell_json(const struct options *o, json_t *all)
{
	const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(6);
	int rc = 0;

	if (o->output != NULL && json_dump_file(all, o->output, flags) != 0) {
		fprintf(stderr, "tripod-bench: %s cannot be written\n", o->output);
		rc = -EIO;
	}
	if (o->json) {
		json_dumpf(all, stdout, flags);
		putchar('\n');
	}
	json_decref(all);
	return rc;
}

int index_bench(int argc, char **argv)
{
	static struct bench b;
	struct figures f = {0};
	char cpu[128], error[128] = "the table is not what the messages say";
	int rc;

	parse(argc, argv, &b.o);
	if (b.o.copies >= b.o.members) {
		fprintf(stderr, "tripod-bench: more copies than members\n");
		return 2;
	}
	if (b.o.cpu >= 0 && !machine_pin((unsigned)b.o.cpu)) {
		fprintf(stderr, "tripod-bench: this process may not run on CPU %d\n", b.o.cpu);
		return 2;
	}
	machine_cpu(cpu, sizeof(cpu));
	b.cycles_per_ns = clock_cycles_per_ns();
	rc = open_bench(&b, error, sizeof(error));
	if (rc == 0)
		rc = run(&b, &f);
	if (rc != 0) {
		fprintf(stderr, "tripod-bench: %s\n", error);
		return 1;
	}
	if (!b.o.json)
		tell_figures(&b, &f, cpu);
	rc = tell_json(&b.o, json_all(&b, &f, cpu));
	close_bench(&b);
	return rc == 0 ? 0 : 1;
}
