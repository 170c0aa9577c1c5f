// SPDX-License-Identifier: BSD-3-Clause
// Versions of the chain as the daemon handles them, on a node that is stepped by hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/shard.h"
#include "daemon/reload.h"

#define SECOND 1000000000ull

static const char head[] =
	"rack:\n"
	"  name: lab\n"
	"%s"
	"  nodes:\n"
	"    - {id: 1, mac: '02:00:00:00:00:01', outside: 203.0.113.11, inside: 10.1.0.11,\n"
	"       fabric: 10.255.0.1}\n"
	"    - {id: 2, mac: '02:00:00:00:00:02', outside: 203.0.113.12, inside: 10.1.0.12,\n"
	"       fabric: 10.255.0.2}\n"
	"network:\n"
	"  outside: {vlan: 10, relay_vlan: 11, gateway: 203.0.113.1/24,\n"
	"            gateway_mac: '02:00:5e:00:01:01'}\n"
	"  inside: {vlan: 20, relay_vlan: 21, gateway: 10.1.0.1/24,\n"
	"           gateway_mac: '02:00:5e:00:01:02'}\n"
	"  fabric: {vlan: 30}\n"
	"limits: {connections: 1000, embryonic: 100%s}\n"
	"chain:\n%s";

#define FIREWALL "  - firewall: {default: allow}\n"
#define FIREWALL_2 "  - firewall: {default: deny}\n"
#define SNAT                                                                                       \
	"  - snat: {pools: [{name: p, addresses: 192.0.2.0/30}],\n"                                \
	"           rules: [{src: 10.0.0.0/8, pool: p}]}\n"
#define LB                                                                                         \
	"  - lb: {services: [{vip: 203.0.113.80, port: 80, proto: tcp,\n"                          \
	"         backends: [{address: 10.1.0.101, port: 8080}]}]}\n"

struct fixture {
	struct rack rack;
	struct chains chains;
	struct reload reload;
	struct step step;
	struct node *node;
	void *memory;
	char path[64];
	uint64_t now_ns;
};

static int load_wide(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	return 0;
}

static enum tripod_verdict init_wide(struct tripod_call *c, struct tripod_packet *p)
{
	return TRIPOD_FORWARD;
}

// With more state than the standard record has room for.
static const char *const no_counters[] = {NULL};
static const struct tripod_field no_fields[] = {{0}};
static const struct tripod_nf wide = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 1,
	.name = "wide",
	.summary = "test",
	.state_size = 100,
	.fields = no_fields,
	.counters = no_counters,
	.load = load_wide,
	.on_init = init_wide,
};
TRIPOD_NF_BUILTIN(wide)

// A newer build of an NF, which reads the state of the older one.
static int import_mark(uint32_t layout, const void *old, uint16_t size, void *state)
{
	if (layout != 1 || size != 8)
		return -1;
	memcpy(state, old, 8);
	return 0;
}

static const struct tripod_nf mark = {
	.abi = TRIPOD_NF_ABI,
	.layout_version = 2,
	.name = "mark",
	.summary = "test",
	.state_size = 16,
	.fields = no_fields,
	.counters = no_counters,
	.load = load_wide,
	.on_init = init_wide,
	.import = import_mark,
};
TRIPOD_NF_BUILTIN(mark)

static char said[4096];

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	size_t n = strlen(said);
	va_list ap;

	va_start(ap, format);
	vsnprintf(said + n, sizeof(said) - n, format, ap);
	va_end(ap);
	strncat(said, "\n", sizeof(said) - strlen(said) - 1);
}

static void write_file(struct fixture *x, const char *rack, const char *limits, const char *chain)
{
	FILE *f = fopen(x->path, "w");

	assert_non_null(f);
	fprintf(f, head, rack, limits, chain);
	fclose(f);
}

static void run_ms(struct fixture *x, unsigned ms)
{
	for (unsigned i = 0; i < ms; i++) {
		x->now_ns += 1000000;
		x->step.now_ns = x->now_ns;
		shard_step(node_shard(x->node, 0), &x->step);
		if (i % 20 == 19)
			chains_tick(&x->chains, x->now_ns);
	}
}

static void start(struct fixture *x, const char *limits, const char *chain)
{
	struct chain_version *first;
	char why[512];

	*x = (struct fixture){.now_ns = SECOND};
	said[0] = '\0';
	snprintf(x->path, sizeof(x->path), "/tmp/tripod-chains-test-%d.yaml", (int)getpid());
	write_file(x, "", limits, chain);
	assert_int_equal(rack_load(x->path, 1, &x->rack), 0);
	assert_int_equal(chains_init(&x->chains, &x->rack, say), 0);
	first = chains_load(&x->chains, x->rack.chain, x->rack.chain_text, why, sizeof(why));
	assert_non_null(first);
	x->rack.conf.chain = &first->chain;
	x->rack.conf.boot = 77;
	size_t size = node_size(&x->rack.conf);
	x->memory = aligned_alloc(64, size);
	memset(x->memory, 0, size);
	x->node = node_init(x->memory, size, &x->rack.conf, x->now_ns);
	x->chains.node = x->node;
	x->reload = (struct reload){x->path, 1, &x->rack, &x->chains};
}

static void end(struct fixture *x)
{
	chains_end(&x->chains);
	rack_free(&x->rack);
	free(x->memory);
	unlink(x->path);
}

// What a reload answers: "error: ..." or "STATE ID".
static const char *reload(struct fixture *x, bool check)
{
	static char text[2048];
	json_t *answer = reload_chain(&x->reload, check);
	const char *error = json_string_value(json_object_get(answer, "error"));

	if (error != NULL)
		snprintf(text, sizeof(text), "error: %s", error);
	else
		snprintf(text, sizeof(text), "%s",
			json_string_value(json_object_get(answer, "state")));
	json_decref(answer);
	return text;
}

static uint64_t current(struct fixture *x)
{
	return chains_current(&x->chains)->chain.id;
}

static void reload__changes_the_chain(void **state)
{
	struct fixture x;

	start(&x, "", FIREWALL);
	uint64_t first = current(&x);
	assert_string_equal(reload(&x, false), "unchanged");
	write_file(&x, "", "", FIREWALL_2);
	assert_string_equal(reload(&x, true), "good");
	run_ms(&x, 100);
	assert_true(current(&x) == first);
	assert_string_equal(reload(&x, false), "announced");
	assert_string_equal(reload(&x, false), "unchanged"); // on its way already
	run_ms(&x, 100);
	uint64_t second = current(&x);
	assert_true(second != first);
	assert_non_null(strstr(said, "is current: new connections get it\n"));
	assert_string_equal(reload(&x, false), "unchanged");
	// And back to what is still there.
	write_file(&x, "", "", FIREWALL "# the same\n");
	assert_string_equal(reload(&x, false), "announced");
	run_ms(&x, 100);
	assert_true(current(&x) == first);
	// What nobody uses goes, and is loaded anew when it is wanted again.
	run_ms(&x, 31000);
	assert_null(node_chain_find(x.node, second));
	assert_non_null(strstr(said, "is gone"));
	write_file(&x, "", "", FIREWALL_2);
	assert_string_equal(reload(&x, false), "announced");
	run_ms(&x, 100);
	assert_true(current(&x) == second);
	end(&x);
}

static void reload__refuses(void **state)
{
	struct fixture x;

	start(&x, "", FIREWALL);
	uint64_t first = current(&x);
	write_file(&x, "  backups: 0\n  heartbeat_ms: 10\n", ", pulls: 7", FIREWALL_2);
	assert_string_equal(reload(&x, false),
		"error: nothing was changed: only the chain can be reloaded, and these need a "
		"restart: rack.backups, rack.heartbeat_ms, limits.pulls");
	write_file(&x, "", "", "  - firewall: {default: maybe}\n");
	assert_non_null(strstr(reload(&x, false), "maybe"));
	write_file(&x, "", "", "  - nonsense: {}\n");
	assert_non_null(strstr(reload(&x, true), "nonsense"));
	// Mistakes that only load() finds.
	write_file(&x, "", "",
		"  - snat: {pools: [{name: p, addresses: 192.0.2.0/30, ports: 80-81}]}\n");
	assert_non_null(strstr(reload(&x, false), "widen `ports`"));
	unlink(x.path);
	assert_non_null(strstr(reload(&x, false), "error: "));
	run_ms(&x, 100);
	assert_true(current(&x) == first);
	assert_string_equal(said, "");
	end(&x);
}

static void reload__state_must_fit(void **state)
{
	struct fixture x;

	start(&x, "", FIREWALL);
	write_file(&x, "", "", FIREWALL LB SNAT);
	assert_string_equal(reload(&x, false), "announced"); // into what is left of the line
	run_ms(&x, 100);
	write_file(&x, "", "", FIREWALL "  - wide: {}\n");
	assert_non_null(strstr(reload(&x, false), "raise limits: nf_state_bytes"));
	end(&x);
	start(&x, ", nf_state_bytes: 120", FIREWALL);
	write_file(&x, "", ", nf_state_bytes: 120", FIREWALL "  - wide: {}\n");
	assert_string_equal(reload(&x, false), "announced");
	end(&x);
}

static void reload__eight_versions_at_most(void **state)
{
	struct fixture x;

	start(&x, "", FIREWALL);
	for (unsigned k = 1; k <= CHAINS_MAX; k++) {
		char chain[200];
		// As if there were a connection under each.
		node_shard(x.node, 0)->chain_used[x.node->chains.current]++;
		snprintf(chain, sizeof(chain),
			"  - firewall: {default: allow, rules: [{action: deny, proto: tcp, dport: "
			"%u}]}\n",
			k);
		write_file(&x, "", "", chain);
		const char *answer = reload(&x, false);
		if (k < CHAINS_MAX)
			assert_string_equal(answer, "announced");
		else
			assert_non_null(strstr(answer, "eight versions"));
		run_ms(&x, 100);
	}
	memset(node_shard(x.node, 0)->chain_used, 0, sizeof(node_shard(x.node, 0)->chain_used));
	end(&x);
}

// ---- From peers ----

static void description__is_loaded_as_it_was(void **state)
{
	struct fixture x;
	char why[512] = "";
	static uint8_t bytes[65536];

	start(&x, "", FIREWALL LB SNAT);
	const struct chain_version *v = chains_current(&x.chains);
	uint32_t n = chain_describe(&v->chain, 0, bytes, sizeof(bytes));
	struct chain_version *again =
		chains_load_description(&x.chains, v->chain.id, bytes, n, why, sizeof(why));
	assert_string_equal(why, "");
	assert_non_null(again);
	assert_int_equal(again->chain.n, 3);
	assert_memory_equal(again->config_id, v->config_id, sizeof(v->config_id));
	assert_int_equal(again->chain.n_own, v->chain.n_own);
	chains_free(again);
	assert_null(
		chains_load_description(&x.chains, v->chain.id + 1, bytes, n, why, sizeof(why)));
	assert_non_null(strstr(why, "builds differ"));
	end(&x);
}

static void describe(uint8_t *out, uint32_t *n, const char *text, const char *nf, uint32_t layout)
{
	struct tripod_nf it = {.name = nf, .layout_version = layout, .state_size = 8};
	struct chain chain = {0};

	assert_int_equal(chain_add(&chain, &it, NULL), 0);
	chain_seal(&chain, text);
	*n = chain_describe(&chain, 0, out, 4096);
}

static void description__is_not_believed(void **state)
{
	static const struct {
		const char *text, *nf;
		uint32_t layout;
		const char *why;
	} bad[] = {
		{"[{\"firewall\":{}}]", "waterwall", 1, "no network function waterwall"},
		{"[{\"firewall\":{}}]", "firewall", 99, "state of layout 99"},
		{"[{\"firewall\":{}}", "firewall", 1, "a peer's chain:1"},
		{"[{\"firewall\":{\"default\":\"maybe\"}}]", "firewall", 1, "maybe"},
		{"", "firewall", 1, ""},
		{"7", "firewall", 1, ""},
		{"{\"a\":1}", "firewall", 1, ""},
		{"[{\"firewall\":{}},{\"snat\":{}}]", "firewall", 1, "builds differ"},
		{"[&a {\"firewall\":{}}]", "firewall", 1, "a peer's chain:1"},
		{"\xff", "firewall", 1, "UTF-8"},
	};
	struct fixture x;
	uint8_t bytes[4096];
	char why[512];
	uint32_t n;

	start(&x, "", FIREWALL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = '\0';
		describe(bytes, &n, bad[i].text, bad[i].nf, bad[i].layout);
		assert_null(chains_load_description(
			&x.chains, chain_description_id(bytes, n), bytes, n, why, sizeof(why)));
		assert_true(why[0] != '\0');
		assert_non_null(strstr(why, bad[i].why));
	}
	assert_null(chains_load_description(&x.chains, 1, bytes, n - 1, why, sizeof(why)));
	assert_non_null(strstr(why, "cannot be read"));
	end(&x);
}

// A chain of older builds is read as this node's of the same configuration.
static void description__of_an_older_build(void **state)
{
	struct fixture x;
	uint8_t bytes[4096];
	char why[512] = "";
	uint32_t n;

	start(&x, "", FIREWALL);
	for (unsigned round = 0; round < 2; round++) {
		describe(bytes, &n, "[{\"mark\":{}}]", "mark", 1);
		uint64_t id = chain_description_id(bytes, n);
		struct chain_version *v =
			chains_load_description(&x.chains, id, bytes, n, why, sizeof(why));
		assert_non_null(v);
		assert_true(v->chain.id == id);
		assert_non_null(v->chain.as);
		assert_ptr_equal(node_chain_find(x.node, v->chain.as->id), v->chain.as);
		assert_int_equal(v->chain.as->state_size, 16);
		chains_free(v);
	}
	// Newer than this node's, or older than it reads.
	describe(bytes, &n, "[{\"mark\":{}}]", "mark", 3);
	assert_null(chains_load_description(
		&x.chains, chain_description_id(bytes, n), bytes, n, why, sizeof(why)));
	assert_non_null(strstr(why, "layout 3"));
	describe(bytes, &n, "[{\"mark\":{}}]", "mark", 0);
	assert_null(chains_load_description(
		&x.chains, chain_description_id(bytes, n), bytes, n, why, sizeof(why)));
	assert_non_null(strstr(why, "cannot read"));
	end(&x);
}

// The node says what it has fetched; what cannot be taken is told to the log once.
static void fetched__is_taken_or_told_once(void **state)
{
	struct fixture x;
	struct chain_version *other;
	char why[512];

	start(&x, "", FIREWALL);
	struct fetch *f = &x.node->fetch;
	write_file(&x, "", "", FIREWALL_2);
	struct rack next;
	assert_int_equal(rack_load(x.path, 1, &next), 0);
	other = chains_load(&x.chains, next.chain, next.chain_text, why, sizeof(why));
	f->id = other->chain.id;
	f->size = chain_describe(&other->chain, 0, f->bytes, f->room);
	f->state = FETCH_HERE;
	run_ms(&x, 100);
	assert_non_null(node_chain_find(x.node, other->chain.id));
	assert_non_null(strstr(said, "fetched from a peer"));
	assert_int_equal(f->state, FETCH_IDLE);
	chains_free(other);
	rack_free(&next);
	said[0] = '\0';
	for (unsigned round = 0; round < 3; round++) {
		describe(f->bytes, &f->size, "[{\"firewall\":{}}]", "waterwall", 1);
		f->id = chain_description_id(f->bytes, f->size);
		f->state = FETCH_HERE;
		run_ms(&x, 100);
		assert_int_equal(f->state, FETCH_IDLE);
	}
	assert_non_null(strstr(said, "waterwall"));
	assert_null(strstr(strstr(said, "waterwall") + 1, "waterwall"));
	assert_int_equal(node_shard(x.node, 0)->counters[C_chains_refused], 3);
	end(&x);
}

// A version that goes takes no counts with it.
static void counted__outlives_the_version(void **state)
{
	struct fixture x;

	start(&x, "", FIREWALL);
	const struct tripod_nf *nf = chains_current(&x.chains)->chain.nf[0].nf;
	node_shard(x.node, 0)->nf_counters[0][0][2] = 7;
	write_file(&x, "", "", FIREWALL_2);
	reload(&x, false);
	run_ms(&x, 100);
	assert_int_equal(chains_counted(&x.chains, nf, -1, 2), 0);
	run_ms(&x, 31000);
	assert_int_equal(chains_counted(&x.chains, nf, -1, 2), 7);
	assert_int_equal(chains_counted(&x.chains, nf, 0, 2), 7);
	assert_int_equal(chains_counted(&x.chains, nf, 1, 2), 0);
	assert_int_equal(chains_counted(&x.chains, nf, -1, 1), 0);
	end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reload__changes_the_chain),
		cmocka_unit_test(reload__refuses),
		cmocka_unit_test(reload__state_must_fit),
		cmocka_unit_test(reload__eight_versions_at_most),
		cmocka_unit_test(description__is_loaded_as_it_was),
		cmocka_unit_test(description__is_not_believed),
		cmocka_unit_test(description__of_an_older_build),
		cmocka_unit_test(fetched__is_taken_or_told_once),
		cmocka_unit_test(counted__outlives_the_version),
	};
	return cmocka_run_group_tests_name("chains", tests, NULL, NULL);
}
