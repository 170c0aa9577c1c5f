// SPDX-License-Identifier: BSD-3-Clause
// The node's one port: queues, RSS, offloads and the two stocks of buffers.
//
// Thread: the control thread opens and closes it while no worker runs; in between its fields are
// read-only, but for port_tx(), which each worker calls for itself.
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mempool.h>
#include <rte_spinlock.h>

#include "core/node.h"

#define PORT_RETA_ENTRIES 128 // as toeplitz_worker() has it

struct port_conf {
	const char *port; // as in struct eal_conf
	unsigned workers;
	uint8_t mac[3][6]; // the node's own, and the gateways' (outside, inside)
	uint16_t mtu; // bytes of IP packet, the largest of the port's VLANs
	uint32_t held; // frames that the core may hold, per worker, while they wait
};

struct port_tx_queue {
	rte_spinlock_t lock;
} __rte_cache_aligned;

struct port {
	uint16_t id;
	uint16_t n_rxq, n_txq;
	unsigned workers;
	unsigned if_index; // of the kernel's interface behind a virtual device, 0: none
	bool rss; // the NIC spreads over the receive queues by the core's Toeplitz hash
	bool rss_hash; // the hash in a received mbuf is the core's Toeplitz hash
	bool rx_checksum; // "good" in a received mbuf means that the NIC has looked
	bool vlan_insert; // the driver inserts tags
	bool tx_shared; // several workers send through one queue
	struct rte_mempool *data_pool; // what the port receives into
	struct rte_mempool *control_pool; // reserved for frames that the core makes
	char driver[32];
	bool started;
	struct port_tx_queue txq[WORKERS_MAX];
};

// Memory in MiB that the EAL needs for such a port.
unsigned port_memory_mb(const struct port_conf *conf);

// Opens and starts the port that the EAL has found. 0, or a negative errno with a message in err.
int port_open(struct port *p, const struct port_conf *conf, char *err, size_t err_size);
// The MTU of the kernel's interface behind the port, with its name; 0: there is none.
unsigned port_kernel_mtu(const struct port *p, char name[IF_NAMESIZE]);
void port_close(struct port *p); // of a port that was opened, or not

// Fills a redirection table: entry i leads to the worker that toeplitz_worker() names for hash i.
void port_reta_fill(struct rte_eth_rss_reta_entry64 *reta, unsigned entries, unsigned workers);

// Hands frames to the worker's queue, once. Returns how many the driver took.
static inline uint16_t port_tx(struct port *p, unsigned worker, struct rte_mbuf **m, uint16_t n)
{
	uint16_t queue = (uint16_t)worker, sent;

	if (!p->tx_shared)
		return rte_eth_tx_burst(p->id, queue, m, n);
	// Drivers with too few queues only, and once per burst.
	queue = p->n_txq == 1 ? 0 : (uint16_t)(worker % p->n_txq);
	rte_spinlock_lock(&p->txq[queue].lock);
	sent = rte_eth_tx_burst(p->id, queue, m, n);
	rte_spinlock_unlock(&p->txq[queue].lock);
	return sent;
}
