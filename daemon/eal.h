// SPDX-License-Identifier: BSD-3-Clause
// Starting DPDK's environment (EAL): its arguments from what the operator configured, and its
// failures in words that say what to do.
//
// Thread: the control thread, before the workers start. A process starts the EAL once.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum eal_hugepages {
	EAL_HUGEPAGES_AUTO, // use them when enough are free
	EAL_HUGEPAGES_ALWAYS, // or do not start
	EAL_HUGEPAGES_NEVER,
};

struct eal_conf {
	const char *port; // "net_af_packet0,iface=eth0" or a PCI address "0000:03:00.0"
	unsigned node; // makes names unique on a host with several nodes
	unsigned workers;
	uint16_t mtu; // bytes of IP packet, the largest of the port's VLANs
	enum eal_hugepages hugepages;
	unsigned memory_mb; // for packet buffers and rings
	unsigned n_extra;
	const char *const *extra; // the operator's own arguments for the EAL, after ours
	bool verbose; // let DPDK speak
};

#define EAL_ARGS_MAX 64
struct eal_args {
	int argc;
	char *argv[EAL_ARGS_MAX + 1]; // NULL-terminated, into text
	size_t used;
	char text[4096];
};

bool eal_port_is_pci(const char *port);

// The device arguments with what the configuration implies added: net_af_packet gets a queue pair
// per worker and frames as large as the MTU, unless the operator has said otherwise. 0 or -E2BIG.
int eal_port_args(const struct eal_conf *conf, char *out, size_t size);

// Free hugepage memory in MiB. dir: "/sys/kernel/mm/hugepages"; other values are for tests.
uint64_t eal_hugepages_free_mb(const char *dir);

// 0, or a negative errno with a message in err. free_mb: from eal_hugepages_free_mb().
int eal_args_build(struct eal_args *args, const struct eal_conf *conf, uint64_t free_mb, char *err,
	size_t err_size);

// Starts the EAL. 0, or a negative errno with a message in err.
int eal_start(const struct eal_conf *conf, char *err, size_t err_size);
// Why the port may be missing although the EAL has started (it does not count a device that fails as
// a failure): what to do, and the EAL's last words while it started. "" when it has said nothing.
void eal_excuse(const struct eal_conf *conf, char *out, size_t size);
void eal_stop(void);
