// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/eal.h"

static bool has(const struct eal_args *a, const char *arg)
{
	for (int i = 0; i < a->argc; i++)
		if (strcmp(a->argv[i], arg) == 0)
			return true;
	return false;
}

// The argument behind arg.
static const char *value(const struct eal_args *a, const char *arg)
{
	for (int i = 0; i + 1 < a->argc; i++)
		if (strcmp(a->argv[i], arg) == 0)
			return a->argv[i + 1];
	return "";
}

static struct eal_conf base(void)
{
	return (struct eal_conf){
		.port = "net_null0", .node = 7, .workers = 1, .mtu = 1500, .memory_mb = 64};
}

static void port_is_pci__knows_addresses(void **state)
{
	assert_true(eal_port_is_pci("0000:03:00.0"));
	assert_true(eal_port_is_pci("03:00.1"));
	assert_true(eal_port_is_pci("0000:3b:00.1,representor=0"));
	assert_false(eal_port_is_pci("net_null0"));
	assert_false(eal_port_is_pci("net_af_packet0,iface=03:00.0"));
	assert_false(eal_port_is_pci("0000:03:00.0x"));
	assert_false(eal_port_is_pci(""));
}

static void port_args__af_packet_gets_what_the_configuration_implies(void **state)
{
	static const struct {
		const char *port;
		unsigned workers;
		uint16_t mtu;
		const char *expected;
	} cases[] = {
		{"net_null0", 4, 9000, "net_null0"},
		{"net_af_packet0,iface=e", 1, 1500, "net_af_packet0,iface=e"},
		{"net_af_packet0,iface=e", 2, 1500, "net_af_packet0,iface=e,qpairs=2"},
		{"net_af_packet0,iface=e,qpairs=3", 2, 1500, "net_af_packet0,iface=e,qpairs=3"},
		{"net_af_packet0,iface=qpairs", 2, 1500, "net_af_packet0,iface=qpairs,qpairs=2"},
		{"eth_af_packet0,iface=e", 1, 9000,
			"eth_af_packet0,iface=e,framesz=16384,blocksz=16384,framecnt=512"},
		{"net_af_packet0,iface=e", 1, 3000,
			"net_af_packet0,iface=e,framesz=4096,blocksz=4096,framecnt=512"},
		{"net_af_packet0,iface=e,framesz=2048", 1, 9000,
			"net_af_packet0,iface=e,framesz=2048"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct eal_conf conf = base();
		char out[256];

		conf.port = cases[i].port;
		conf.workers = cases[i].workers;
		conf.mtu = cases[i].mtu;
		assert_int_equal(eal_port_args(&conf, out, sizeof(out)), 0);
		assert_string_equal(out, cases[i].expected);
	}
}

static void port_args__too_long_is_an_error_for_every_size(void **state)
{
	struct eal_conf conf = base();
	char out[128];
	size_t len;

	conf.port = "net_af_packet0,iface=e";
	conf.workers = 2;
	conf.mtu = 9000;
	assert_int_equal(eal_port_args(&conf, out, sizeof(out)), 0);
	len = strlen(out);
	for (size_t size = 1; size <= len; size++)
		assert_int_equal(eal_port_args(&conf, out, size), -E2BIG);
	assert_int_equal(eal_port_args(&conf, out, len + 1), 0);
}

static void args_build__virtual_device_without_hugepages(void **state)
{
	struct eal_conf conf = base();
	struct eal_args a;
	char err[256];

	assert_int_equal(eal_args_build(&a, &conf, 0, err, sizeof(err)), 0);
	assert_true(has(&a, "--no-huge"));
	assert_true(has(&a, "--no-shconf"));
	assert_false(has(&a, "--in-memory"));
	assert_true(has(&a, "--no-telemetry"));
	assert_true(has(&a, "--no-pci"));
	assert_string_equal(value(&a, "-m"), "64");
	assert_string_equal(value(&a, "--vdev"), "net_null0");
	assert_string_equal(value(&a, "--file-prefix"), "tripod-7");
	assert_null(a.argv[a.argc]);
	// One EAL thread, on every CPU that this process has: nothing is pinned.
	assert_int_equal(strncmp(value(&a, "--lcores"), "0@(", 3), 0);
}

static void args_build__hugepages_when_enough_are_free(void **state)
{
	struct eal_conf conf = base();
	struct eal_args a;
	char err[256];

	assert_int_equal(eal_args_build(&a, &conf, 64, err, sizeof(err)), 0);
	assert_false(has(&a, "--no-huge"));
	assert_true(has(&a, "--in-memory"));
	assert_int_equal(eal_args_build(&a, &conf, 63, err, sizeof(err)), 0);
	assert_true(has(&a, "--no-huge"));
	conf.hugepages = EAL_HUGEPAGES_NEVER;
	assert_int_equal(eal_args_build(&a, &conf, 1000, err, sizeof(err)), 0);
	assert_true(has(&a, "--no-huge"));
	conf.hugepages = EAL_HUGEPAGES_ALWAYS;
	assert_int_equal(eal_args_build(&a, &conf, 1000, err, sizeof(err)), 0);
	assert_false(has(&a, "--no-huge"));
}

static void args_build__says_what_to_do_without_hugepages(void **state)
{
	struct eal_conf conf = base();
	struct eal_args a;
	char err[256];

	conf.hugepages = EAL_HUGEPAGES_ALWAYS;
	assert_int_equal(eal_args_build(&a, &conf, 10, err, sizeof(err)), -ENOMEM);
	assert_non_null(strstr(err, "10 MiB are free, 64 MiB are needed"));
	assert_non_null(strstr(err, "hugepages: never"));
}

static void args_build__pci_device(void **state)
{
	struct eal_conf conf = base();
	struct eal_args a;
	char err[256];

	conf.port = "0000:03:00.0";
	assert_int_equal(eal_args_build(&a, &conf, 0, err, sizeof(err)), 0);
	assert_string_equal(value(&a, "--allow"), "0000:03:00.0");
	assert_false(has(&a, "--no-pci"));
	assert_false(has(&a, "--vdev"));
}

static void args_build__operators_own_arguments_come_last(void **state)
{
	static const char *const extra[] = {"--telemetry", "--iova-mode=va"};
	static const char *many[EAL_ARGS_MAX];
	struct eal_conf conf = base();
	struct eal_args a;
	char err[256];

	conf.extra = extra;
	conf.n_extra = 2;
	assert_int_equal(eal_args_build(&a, &conf, 0, err, sizeof(err)), 0);
	assert_false(has(&a, "--no-telemetry"));
	assert_string_equal(a.argv[a.argc - 1], "--iova-mode=va");
	for (size_t i = 0; i < EAL_ARGS_MAX; i++)
		many[i] = "--x";
	conf.extra = many;
	conf.n_extra = EAL_ARGS_MAX;
	assert_int_equal(eal_args_build(&a, &conf, 0, err, sizeof(err)), -E2BIG);
}

static void args_build__needs_a_port(void **state)
{
	struct eal_conf conf = base();
	struct eal_args a;
	char err[256];

	conf.port = NULL;
	assert_int_equal(eal_args_build(&a, &conf, 0, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "--port"));
}

static void start__missing_interface_is_named(void **state)
{
	struct eal_conf conf = base();
	char err[256];

	conf.port = "net_af_packet0,iface=tripod-none";
	assert_int_equal(eal_start(&conf, err, sizeof(err)), -ENODEV);
	assert_non_null(strstr(err, "no interface tripod-none"));
	conf.port = "net_af_packet0";
	assert_int_equal(eal_start(&conf, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "iface="));
}

static void write_text(const char *dir, const char *sub, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, sub);
	mkdir(path, 0755);
	strcat(path, "/free_hugepages");
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void hugepages_free_mb__sums_all_sizes(void **state)
{
	char dir[] = "/tmp/tripod-eal-XXXXXX", command[64];

	assert_non_null(mkdtemp(dir));
	assert_int_equal(eal_hugepages_free_mb(dir), 0);
	write_text(dir, "hugepages-2048kB", "5\n");
	write_text(dir, "hugepages-1048576kB", "2\n");
	write_text(dir, "other", "9\n");
	assert_int_equal(eal_hugepages_free_mb(dir), 10 + 2048);
	write_text(dir, "hugepages-2048kB", "nonsense\n");
	assert_int_equal(eal_hugepages_free_mb(dir), 2048);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(eal_hugepages_free_mb(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port_is_pci__knows_addresses),
		cmocka_unit_test(port_args__af_packet_gets_what_the_configuration_implies),
		cmocka_unit_test(port_args__too_long_is_an_error_for_every_size),
		cmocka_unit_test(args_build__virtual_device_without_hugepages),
		cmocka_unit_test(args_build__hugepages_when_enough_are_free),
		cmocka_unit_test(args_build__says_what_to_do_without_hugepages),
		cmocka_unit_test(args_build__pci_device),
		cmocka_unit_test(args_build__operators_own_arguments_come_last),
		cmocka_unit_test(args_build__needs_a_port),
		cmocka_unit_test(start__missing_interface_is_named),
		cmocka_unit_test(hugepages_free_mb__sums_all_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
