// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "core/rng.h"
#include "core/store.h"
#include "daemon/request.h"

static int parse(const char *line, struct request *r)
{
	char err[256];

	return request_parse(line, r, err, sizeof(err));
}

static void parse__every_verb(void **state)
{
	static const char *const verbs[] = {"status", "nodes", "connections", "counters", "chain",
		"reload", "keys", "reload-keys", "version", "drain", "undrain", "stop"};
	struct request r;

	for (unsigned i = 0; i < REQUEST_VERBS; i++) {
		assert_int_equal(parse(verbs[i], &r), 0);
		assert_int_equal(r.verb, i);
		assert_int_equal(r.worker, -1);
		assert_int_equal(r.limit, 0);
	}
}

static void parse__words(void **state)
{
	struct request r;

	assert_int_equal(parse("  counters\tworker=3  nf=lb \r", &r), 0);
	assert_int_equal(r.worker, 3);
	assert_string_equal(r.nf, "lb");
	assert_int_equal(parse("reload", &r), 0);
	assert_false(r.check);
	assert_int_equal(parse("reload check=1", &r), 0);
	assert_true(r.check);
	assert_int_equal(parse("reload check=2", &r), -EINVAL);
	assert_int_equal(parse("chain check=1", &r), -EINVAL);
	assert_int_equal(parse("connections limit=100 where=proto=udp,state=open,role=backup,"
			       "src=10.0.0.0/8,dst=192.0.2.1,sport=53,dport=65535,"
			       "direction=outgoing",
				 &r),
		0);
	assert_int_equal(r.limit, 100);
	assert_int_equal(r.where.proto, IPPROTO_UDP);
	assert_string_equal(r.where.state, "open");
	assert_int_equal(r.where.role, REQUEST_ROLE_BACKUP);
	assert_int_equal(r.where.src.len, 104);
	assert_int_equal(r.where.sport, 53);
	assert_int_equal(r.where.dport, 65535);
	assert_int_equal(r.where.direction, TRIPOD_OUTGOING);
}

static void parse__what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *line, *named;
	} cases[] = {
		{"", "empty"},
		{"   ", "empty"},
		{"stat", "stat"},
		{"status x=1", "takes no"},
		{"status x", "KEY=VALUE"},
		{"counters worker=16", "worker"},
		{"counters worker=-1", "worker"},
		{"counters worker=", "worker"},
		{"counters nf=", "nf"},
		{"counters nf=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "nf"},
		{"counters limit=1", "takes no"},
		{"connections limit=1x", "limit"},
		{"connections limit=99999999999999999999999", "limit"},
		{"connections where=", "KEY=VALUE"},
		{"connections where=,", "KEY=VALUE"},
		{"connections where=proto,src=10.0.0.1", "\"proto\""},
		{"connections where=proto=sctp6", "sctp6"},
		{"connections where=proto=256", "256"},
		{"connections where=state=strange", "strange"},
		{"connections where=role=owner", "owner"},
		{"connections where=src=10.0.0.0/33", "10.0.0.0/33"},
		{"connections where=dst=x", "\"x\""},
		{"connections where=sport=65536", "65536"},
		{"connections where=direction=up", "up"},
		{"connections where=colour=red", "unknown key \"colour\""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct request r;
		char err[256] = "";

		assert_int_equal(request_parse(cases[i].line, &r, err, sizeof(err)), -EINVAL);
		if (strstr(err, cases[i].named) == NULL)
			fail_msg("\"%s\": %s", cases[i].line, err);
	}
}

static void parse__length_is_bounded(void **state)
{
	char line[2 * REQUEST_LINE_MAX];
	struct request r;

	for (size_t len = REQUEST_LINE_MAX - 2; len < sizeof(line); len += 97) {
		memset(line, 'a', len);
		line[len] = '\0';
		assert_int_equal(parse(line, &r), -EINVAL);
	}
}

// Pieces of good requests in any order, and any bytes between them: never a crash, and what is
// accepted is within its ranges.
static void parse__survives_garbage(void **state)
{
	static const char *const pieces[] = {"status", "connections", "counters", " ",
		"where=", "proto=", "tcp", ",", "=", "src=", "10.0.0.0/8", "limit=", "99",
		"worker=", "1", "nf=", "lb", "::", "/", "role=", "master", "state=", "established",
		"\t", "\r"};
	struct rng rng = {.state = 0x7210d};

	print_message("seed %#lx\n", rng.state);
	for (int i = 0; i < 200000; i++) {
		char line[512] = "", err[64] = "";
		size_t len = 0;
		struct request r;

		for (unsigned n = rng_below(&rng, 12); n > 0; n--) {
			if (rng_below(&rng, 8) == 0)
				line[len++] = (char)(1 + rng_below(&rng, 255));
			else
				len += (size_t)sprintf(line + len, "%s",
					pieces[rng_below(
						&rng, sizeof(pieces) / sizeof(pieces[0]))]);
		}
		line[len] = '\0';
		if (request_parse(line, &r, err, sizeof(err)) == 0) {
			assert_true(r.verb < REQUEST_VERBS);
			assert_true(r.worker >= -1 && r.worker < WORKERS_MAX);
			assert_true(r.where.src.len <= 128);
			assert_string_equal(err, "");
		} else {
			assert_true(err[0] != '\0' && strlen(err) < sizeof(err));
		}
	}
}

static struct conn_view view(void)
{
	struct conn_view v = {.state = CONN_LIVE, .flags = CONN_MASTER_0, .tcp = TCP_ESTABLISHED};

	assert_int_equal(tripod_addr_parse(&v.key[0].src, "198.51.100.7"), 0);
	assert_int_equal(tripod_addr_parse(&v.key[0].dst, "203.0.113.1"), 0);
	v.key[0].sport = htons(4242);
	v.key[0].dport = htons(80);
	v.key[0].proto = IPPROTO_TCP;
	v.key[0].direction = TRIPOD_INCOMING;
	return v;
}

static bool fits(const char *where, const struct conn_view *v)
{
	char line[256];
	struct request r;

	snprintf(line, sizeof(line), "connections where=%s", where);
	assert_int_equal(parse(line, &r), 0);
	return request_matches(&r.where, v);
}

static void matches__each_condition_alone(void **state)
{
	static const struct {
		const char *yes, *no;
	} cases[] = {
		{"proto=tcp", "proto=udp"},
		{"proto=6", "proto=17"},
		{"state=established", "state=syn-sent"},
		{"role=master", "role=backup"},
		{"src=198.51.100.0/24", "src=198.51.101.0/24"},
		{"dst=203.0.113.1", "dst=203.0.113.2"},
		{"sport=4242", "sport=80"},
		{"dport=80", "dport=4242"},
		{"direction=incoming", "direction=outgoing"},
	};
	struct conn_view v = view();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char both[128];

		assert_true(fits(cases[i].yes, &v));
		assert_false(fits(cases[i].no, &v));
		snprintf(both, sizeof(both), "%s,%s", cases[i].yes, cases[i].no);
		if (strncmp(cases[i].yes, cases[i].no, 4) != 0)
			assert_false(fits(both, &v));
	}
	assert_true(fits("proto=tcp,state=established,role=master,dport=80", &v));
	assert_false(fits("proto=tcp,state=established,role=backup,dport=80", &v));
}

static void state_name__by_protocol(void **state)
{
	struct conn_view v = view();

	assert_string_equal(request_state_name(&v), "established");
	v.key[0].proto = IPPROTO_UDP;
	assert_string_equal(request_state_name(&v), "unanswered");
	v.flags |= CONN_ANSWERED;
	assert_string_equal(request_state_name(&v), "open");
	v.state = CONN_TOMBSTONE;
	assert_string_equal(request_state_name(&v), "closed");
	v.flags = CONN_MASTER_1;
	assert_true(request_is_master(&v));
	v.flags = CONN_ANSWERED;
	assert_false(request_is_master(&v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse__every_verb),
		cmocka_unit_test(parse__words),
		cmocka_unit_test(parse__what_is_wrong_is_named),
		cmocka_unit_test(parse__length_is_bounded),
		cmocka_unit_test(parse__survives_garbage),
		cmocka_unit_test(matches__each_condition_alone),
		cmocka_unit_test(state_name__by_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
