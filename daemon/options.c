// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/help.h"
#include "config/keys.h"
#include "config/rack.h"

static const char usage[] =
	"usage: tripodd --config FILE --node ID [OPTION...]\n"
	"\n"
	"One node of a Tripod rack: takes every packet of its port through the chain of network\n"
	"functions, and keeps the state of connections on other nodes as well.\n"
	"\n"
	"  --config FILE     the rack's configuration, the same file on every node\n"
	"  --node ID         which of the rack's nodes this is (default: node: id of the file)\n"
	"  --check           check the configuration; exit 0 when it is good, 1 when it is not\n"
	"  --help-config     describe every option of the configuration\n"
	"  --generate-key[=ID]  print a line for the key file, with a new key, and exit\n"
	"  --plugin FILE     load a network function from a shared object (may be repeated)\n"
	"\n"
	"Over the configuration of this host:\n"
	"  --port PORT       net_af_packet0,iface=eth0, any other DPDK virtual device, or the\n"
	"                    address of a PCI device bound to vfio-pci, as 0000:03:00.0\n"
	"  --workers N       threads that handle packets\n"
	"  --cpus LIST       pin worker 0, 1... to these CPUs, as 2,3 (default: do not pin)\n"
	"  --mac MAC         the node's own MAC address\n"
	"  --socket PATH     control socket, for tripodctl\n"
	"  --state-dir DIR   where the boot counter is kept\n"
	"  --key-file FILE   the cluster's keys, unless rack: authentication is none\n"
	"\n"
	"  --foreground      stay in the foreground (always so; for service files)\n"
	"  --verbose         show what DPDK has to say\n"
	"  --version, --help\n"
	"\n"
	"Try it without a NIC:\n"
	"  ip link add veth0 type veth peer name veth1; ip link set veth0 up; ip link set veth1 "
	"up\n"
	"  tripodd --config rack.yaml --node 1 --port net_af_packet0,iface=veth0\n"
	"  tripodctl --node 1 status\n"
	"\n"
	"SIGTERM and SIGINT end it in order: its peers and the switch are told first. SIGHUP makes "
	"it\n"
	"read the configuration and the key file again (tripodctl reload, tripodctl keys "
	"reload).\n";

static int parse_cpus(const char *text, struct options *o)
{
	char *end;

	for (o->n_cpus = 0; o->n_cpus < WORKERS_MAX; text = end + 1) {
		long cpu = strtol(text, &end, 10);

		if (end == text || cpu < 0 || cpu >= 1024)
			return -EINVAL;
		o->cpu[o->n_cpus++] = (int)cpu;
		if (*end == '\0')
			return 0;
		if (*end != ',')
			return -EINVAL;
	}
	return -EINVAL;
}

static int parse_mac(const char *text, uint8_t mac[6])
{
	int end = -1;

	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		    &mac[3], &mac[4], &mac[5], &end) != 6 ||
		text[end] != '\0' || (mac[0] & 1))
		return -EINVAL;
	return 0;
}

static int parse_number(const char *text, unsigned min, unsigned max, unsigned *out)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || v < min || v > max)
		return -EINVAL;
	*out = (unsigned)v;
	return 0;
}

enum {
	OPT_CONFIG = 256,
	OPT_NODE,
	OPT_PORT,
	OPT_WORKERS,
	OPT_CPUS,
	OPT_MAC,
	OPT_SOCKET,
	OPT_STATE_DIR,
	OPT_KEY_FILE,
	OPT_PLUGIN,
	OPT_CHECK,
	OPT_HELP_CONFIG,
	OPT_GENERATE_KEY,
	OPT_FOREGROUND,
	OPT_VERBOSE,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, OPT_CONFIG},
	{"node", required_argument, NULL, OPT_NODE},
	{"port", required_argument, NULL, OPT_PORT},
	{"workers", required_argument, NULL, OPT_WORKERS},
	{"cpus", required_argument, NULL, OPT_CPUS},
	{"mac", required_argument, NULL, OPT_MAC},
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"state-dir", required_argument, NULL, OPT_STATE_DIR},
	{"key-file", required_argument, NULL, OPT_KEY_FILE},
	{"plugin", required_argument, NULL, OPT_PLUGIN},
	{"check", no_argument, NULL, OPT_CHECK},
	{"help-config", no_argument, NULL, OPT_HELP_CONFIG},
	{"generate-key", optional_argument, NULL, OPT_GENERATE_KEY},
	{"foreground", no_argument, NULL, OPT_FOREGROUND},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

// What an option with a value means. 0 or -EINVAL.
static int take_value(int opt, const char *value, struct options *o)
{
	unsigned n;

	switch (opt) {
	case OPT_CONFIG:
		o->config = value;
		return 0;
	case OPT_NODE:
		if (parse_number(value, 0, NODES_MAX - 1, &n) != 0)
			return -EINVAL;
		o->node = (int)n;
		return 0;
	case OPT_PORT:
		o->port = value;
		return 0;
	case OPT_WORKERS:
		return parse_number(value, 1, WORKERS_MAX, &o->workers);
	case OPT_CPUS:
		return parse_cpus(value, o);
	case OPT_MAC:
		o->has_mac = true;
		return parse_mac(value, o->mac);
	case OPT_SOCKET:
		o->socket = value;
		return 0;
	case OPT_STATE_DIR:
		o->state_dir = value;
		return 0;
	case OPT_KEY_FILE:
		o->key_file = value;
		return 0;
	case OPT_PLUGIN:
		if (o->n_plugins == PLUGINS_MAX)
			return -EINVAL;
		o->plugin[o->n_plugins++] = value;
		return 0;
	}
	return -EINVAL;
}

static _Noreturn void bad_usage(const char *what, const char *value)
{
	fprintf(stderr, "tripodd: %s%s%s\nTry tripodd --help.\n", what, value != NULL ? " " : "",
		value != NULL ? value : "");
	exit(2);
}

static _Noreturn void generate_key(const char *id)
{
	char line[KEYS_LINE_MAX];
	unsigned n = 0;

	if (id != NULL && parse_number(id, 1, 255, &n) != 0)
		bad_usage("--generate-key takes a number from 1 to 255, not", id);
	keys_generate((uint8_t)n, line);
	fputs(line, stdout);
	auth_wipe(line, sizeof(line));
	exit(fflush(stdout) == 0 ? 0 : 1);
}

void options_parse(int argc, char **argv, struct options *o)
{
	bool has_node = false;
	int opt, index;

	o->node = RACK_NODE_SELF;
	while ((opt = getopt_long(argc, argv, "", long_options, &index)) != -1) {
		switch (opt) {
		case '?':
			bad_usage("see above.", NULL);
		case OPT_CHECK:
			o->check = true;
			break;
		case OPT_VERBOSE:
			o->verbose = true;
			break;
		case OPT_FOREGROUND:
			break;
		case OPT_HELP:
			fputs(usage, stdout);
			exit(0);
		case OPT_VERSION:
			puts("tripodd " TRIPOD_VERSION);
			exit(0);
		case OPT_GENERATE_KEY:
			generate_key(optarg);
		case OPT_HELP_CONFIG:
			conf_help(stdout, rack_options);
			exit(0);
		default:
			has_node |= opt == OPT_NODE;
			if (take_value(opt, optarg, o) != 0)
				bad_usage("bad value for", argv[optind - 1]);
		}
	}
	if (optind < argc)
		bad_usage("unexpected argument", argv[optind]);
	if (o->config == NULL)
		bad_usage("--config FILE is missing.", NULL);
	if (o->check && !has_node)
		o->node = RACK_NODE_ANY;
}
