// SPDX-License-Identifier: BSD-3-Clause
// Every option of the rack file, with its range and standard value.
#include "config/rack.h"

static const char *const durabilities[] = {"none", "async", NULL}; // enum durability
static const char *const unknown_tcp[] = {"drop", "reset", NULL};
static const char *const hugepages[] = {"auto", "never", "require", NULL}; // enum rack_hugepages
static const char *const idle[] = {"sleep", "spin", NULL};

static const struct tripod_option node_entry_options[] = {
	{.name = "id", .type = TRIPOD_OPT_UINT, .required = true, .max = NODES_MAX - 1,
		.help = "number of the node; give new nodes higher ones"},
	{.name = "mac", .type = TRIPOD_OPT_MAC, .required = true, .help = "the node's own MAC"},
	{.name = "outside", .type = TRIPOD_OPT_ADDR, .required = true, .list = true, .min = 1, .max = 2,
		.help = "own addresses outside, one a family"},
	{.name = "inside", .type = TRIPOD_OPT_ADDR, .required = true, .list = true, .min = 1, .max = 2,
		.help = "own addresses inside, one a family"},
	{.name = "fabric", .type = TRIPOD_OPT_ADDR, .required = true,
		.help = "own IPv4 address on the fabric VLAN, for replication"},
	{},
};

static const struct tripod_option rack_section_options[] = {
	{.name = "name", .type = TRIPOD_OPT_STRING, .required = true,
		.help = "name of the rack; messages of another rack are dropped"},
	{.name = "secret", .type = TRIPOD_OPT_STRING,
		.help = "keys the hashes that strangers must not guess; without it the name does"},
	{.name = "backups", .type = TRIPOD_OPT_UINT, .max = NODES_MAX - 1, .standard = "1",
		.help = "k: copies of each connection on other nodes"},
	{.name = "durability", .type = TRIPOD_OPT_ENUM, .choices = durabilities, .standard = "async",
		.help = "async: replicate within flush_us; none: replicate nothing"},
	{.name = "heartbeat_ms", .type = TRIPOD_OPT_UINT, .min = 1, .max = 10000, .standard = "20",
		.help = "time between heartbeats"},
	{.name = "dead_after_ms", .type = TRIPOD_OPT_UINT, .min = 2, .max = 60000, .standard = "100",
		.help = "silence after which a node counts as dead; two heartbeats at least"},
	{.name = "flush_us", .type = TRIPOD_OPT_UINT, .max = 100000, .standard = "500",
		.help = "T: a change waits at most so long for others to share its message"},
	{.name = "pull_timeout_ms", .type = TRIPOD_OPT_UINT, .min = 1, .max = 10000, .standard = "20",
		.help = "how long a packet waits for peers that may know its connection"},
	{.name = "unknown_tcp", .type = TRIPOD_OPT_ENUM, .choices = unknown_tcp, .standard = "drop",
		.help = "what answers TCP of no known connection: nothing, or RST"},
	{.name = "nodes", .type = TRIPOD_OPT_MAP, .required = true, .list = true, .min = 1,
		.max = NODES_MAX, .children = node_entry_options, .help = "every node of the rack"},
	{},
};

static const struct tripod_option route_options[] = {
	{.name = "to", .type = TRIPOD_OPT_PREFIX, .required = true, .help = "destination"},
	{.name = "via", .type = TRIPOD_OPT_ADDR, .required = true,
		.help = "next hop, in an on-link prefix of this side"},
	{},
};

static const struct tripod_option side_options[] = {
	{.name = "vlan", .type = TRIPOD_OPT_UINT, .required = true, .min = 1, .max = 4094,
		.help = "VLAN of this side's packets"},
	{.name = "relay_vlan", .type = TRIPOD_OPT_UINT, .required = true, .min = 1, .max = 4094,
		.help = "VLAN on which nodes hand each other packets of this side"},
	{.name = "mtu", .type = TRIPOD_OPT_UINT, .min = 1280, .max = 9000, .standard = "1500",
		.help = "bytes of the largest IP packet"},
	{.name = "gateway", .type = TRIPOD_OPT_STRING, .required = true, .list = true, .min = 1, .max = 2,
		.help = "virtual gateway and its on-link prefix, one a family: 203.0.113.1/24"},
	{.name = "gateway_mac", .type = TRIPOD_OPT_MAC, .required = true,
		.help = "MAC of the virtual gateway, shared by all nodes"},
	{.name = "routes", .type = TRIPOD_OPT_MAP, .list = true, .max = ROUTES_MAX - 2,
		.children = route_options, .help = "routes beside the on-link prefixes"},
	{},
};

static const struct tripod_option fabric_options[] = {
	{.name = "vlan", .type = TRIPOD_OPT_UINT, .required = true, .min = 1, .max = 4094,
		.help = "VLAN of replication and heartbeats"},
	{},
};

static const struct tripod_option bfd_options[] = {
	{.name = "enabled", .type = TRIPOD_OPT_BOOL, .standard = "true",
		.help = "tell the switch by BFD whether this node forwards"},
	{.name = "interval_ms", .type = TRIPOD_OPT_UINT, .min = 1, .max = 10000, .standard = "20",
		.help = "time between BFD packets, both ways"},
	{.name = "multiplier", .type = TRIPOD_OPT_UINT, .min = 1, .max = 255, .standard = "3",
		.help = "packets missed in a row that take the session down"},
	{.name = "peer_mac", .type = TRIPOD_OPT_MAC, .standard = "00:23:20:00:00:01",
		.help = "the switch's MAC; the standard is Open vSwitch's"},
	{.name = "local_address", .type = TRIPOD_OPT_ADDR, .standard = "169.254.1.0",
		.help = "IPv4 source of BFD packets"},
	{.name = "peer_address", .type = TRIPOD_OPT_ADDR, .standard = "169.254.1.1",
		.help = "the switch's IPv4 address in BFD packets"},
	{},
};

static const struct tripod_option network_options[] = {
	{.name = "outside", .type = TRIPOD_OPT_MAP, .required = true, .children = side_options,
		.help = "the side of the Internet"},
	{.name = "inside", .type = TRIPOD_OPT_MAP, .required = true, .children = side_options,
		.help = "the side of the data centre"},
	{.name = "fabric", .type = TRIPOD_OPT_MAP, .required = true, .children = fabric_options,
		.help = "between the nodes"},
	{.name = "bfd", .type = TRIPOD_OPT_MAP, .children = bfd_options,
		.help = "liveness towards the switch (RFC 5880, 5881)"},
	{},
};

static const struct tripod_option host_options[] = {
	{.name = "id", .type = TRIPOD_OPT_UINT, .max = NODES_MAX - 1,
		.help = "which of rack.nodes this host is, unless the command line says so"},
	{.name = "port", .type = TRIPOD_OPT_STRING,
		.help = "PCI address, or arguments of a DPDK vdev: net_af_packet0,iface=eth0"},
	{.name = "workers", .type = TRIPOD_OPT_UINT, .min = 1, .max = WORKERS_MAX, .standard = "1",
		.help = "packet threads, a core each"},
	{.name = "eal", .type = TRIPOD_OPT_STRING, .list = true, .max = RACK_EAL_MAX,
		.help = "further arguments for DPDK's EAL"},
	{.name = "hugepages", .type = TRIPOD_OPT_ENUM, .choices = hugepages, .standard = "auto",
		.help = "auto: when the host has free ones"},
	{.name = "idle", .type = TRIPOD_OPT_ENUM, .choices = idle, .standard = "sleep",
		.help = "what a worker without packets does"},
	{.name = "idle_max_us", .type = TRIPOD_OPT_UINT, .min = 1, .max = 100000, .standard = "1000",
		.help = "longest sleep of an idle worker"},
	{.name = "state_dir", .type = TRIPOD_OPT_STRING, .standard = "/var/lib/tripod",
		.help = "folder of the boot counter"},
	{.name = "control_socket", .type = TRIPOD_OPT_STRING,
		.help = "socket of tripodctl; without it /run/tripod/tripodd-<id>.sock"},
	{},
};

static const struct tripod_option limits_options[] = {
	{.name = "connections", .type = TRIPOD_OPT_UINT, .min = 64, .max = 1 << 26, .standard = "262144",
		.help = "connection records"},
	{.name = "embryonic", .type = TRIPOD_OPT_UINT, .min = 1, .max = 1 << 26, .standard = "65536",
		.help = "of them, unanswered; at most connections"},
	{.name = "waiting", .type = TRIPOD_OPT_UINT, .min = 1, .max = 1 << 20, .standard = "1024",
		.help = "packets that wait for a peer's answer or are held by an NF"},
	{.name = "pulls", .type = TRIPOD_OPT_UINT, .min = 1, .max = 1 << 20, .standard = "1024",
		.help = "tuples asked of the peers at one time"},
	{.name = "relay_per_s", .type = TRIPOD_OPT_UINT, .max = 100000000, .standard = "100000",
		.help = "packets relayed to their master per second"},
	{.name = "repair_per_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = 10000000, .standard = "20000",
		.help = "connections given a new copy per second after a node is lost"},
	{},
};

#define SECONDS_MAX (7 * 24 * 3600)
static const struct tripod_option timeouts_options[] = {
	{.name = "tcp_established_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = SECONDS_MAX,
		.standard = "7440", .help = "established TCP (RFC 5382: 2 h 4 min or more)"},
	{.name = "tcp_embryonic_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = SECONDS_MAX,
		.standard = "10", .help = "TCP in its handshake"},
	{.name = "tcp_closing_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = SECONDS_MAX,
		.standard = "240", .help = "TCP after the first FIN"},
	{.name = "tcp_closed_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = SECONDS_MAX,
		.standard = "10", .help = "TCP after both FINs or a RST"},
	{.name = "udp_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = SECONDS_MAX, .standard = "300",
		.help = "UDP with packets both ways"},
	{.name = "udp_embryonic_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = SECONDS_MAX,
		.standard = "30", .help = "UDP without an answer"},
	{.name = "icmp_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = SECONDS_MAX, .standard = "30",
		.help = "ICMP echo"},
	{.name = "tombstone_s", .type = TRIPOD_OPT_UINT, .min = 1, .max = SECONDS_MAX, .standard = "5",
		.help = "memory of an ended connection, so that late copies do not revive it"},
	{},
};

const struct tripod_option rack_options[] = {
	{.name = "rack", .type = TRIPOD_OPT_MAP, .required = true, .children = rack_section_options,
		.help = "who belongs together, and what they promise"},
	{.name = "network", .type = TRIPOD_OPT_MAP, .required = true, .children = network_options,
		.help = "VLANs, gateways and routes, the same for all nodes"},
	{.name = "node", .type = TRIPOD_OPT_MAP, .children = host_options,
		.help = "this host; the command line overrides"},
	{.name = "limits", .type = TRIPOD_OPT_MAP, .children = limits_options, .help = "per worker"},
	{.name = "timeouts", .type = TRIPOD_OPT_MAP, .children = timeouts_options,
		.help = "silence after which a connection ends"},
	{.name = "chain", .type = TRIPOD_OPT_ANY, .required = true, .list = true,
		.max = CHAIN_NFS_MAX,
		.help = "network functions, in the order of packets from outside: - firewall: {...}"},
	{},
};
