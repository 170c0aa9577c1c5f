// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/port.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_log.h>
#include <rte_mbuf.h>

#include "core/toeplitz.h"

#define RING_SIZE 1024 // descriptors of a queue, where the driver has no other wish
#define CACHE_SIZE 256 // buffers that a worker keeps of each stock
#define CONTROL_BUFFERS 4096 // per worker: spare ones, and control frames on their way
#define SLACK_MB 40 // for the EAL itself and drivers' rings
#define KEY_SIZE_MAX 64

static int fail(char *err, size_t size, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int fail(char *err, size_t size, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(err, size, format, ap);
	va_end(ap);
	return -code;
}

static uint16_t buffer_size(const struct port_conf *conf)
{
	unsigned frame = conf->mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN + 2 * 4;

	// 2048 is also what net_af_packet's ring frames need; jumbo frames' are the next power of two.
	if (frame <= 1920)
		return RTE_MBUF_DEFAULT_BUF_SIZE;
	frame = rte_align32pow2(frame + 128);
	return (uint16_t)RTE_MIN(frame + RTE_PKTMBUF_HEADROOM, (unsigned)UINT16_MAX & ~63u);
}

// What stands in the port's rings, in a step, in the workers' caches and in the core. Between
// workers, frames stand in rings of the core as well.
static unsigned data_buffers(const struct port_conf *conf)
{
	return conf->workers *
	       (2 * RING_SIZE + STEP_TX + STEP_BURST + 2 * CACHE_SIZE + 2048 + conf->held);
}

unsigned port_memory_mb(const struct port_conf *conf)
{
	// Without hugepages, no buffer crosses a 4 KiB page that could hold it.
	uint64_t one = RTE_ALIGN_CEIL(buffer_size(conf) + sizeof(struct rte_mbuf) + 64 + 64, 4096u);
	uint64_t all = (data_buffers(conf) + (uint64_t)conf->workers * CONTROL_BUFFERS) * one;

	return (unsigned)(all >> 20) + SLACK_MB;
}

void port_reta_fill(struct rte_eth_rss_reta_entry64 *reta, unsigned entries, unsigned workers)
{
	for (unsigned i = 0; i < entries; i++) {
		struct rte_eth_rss_reta_entry64 *e = &reta[i / RTE_ETH_RETA_GROUP_SIZE];

		e->mask |= 1ull << (i % RTE_ETH_RETA_GROUP_SIZE);
		e->reta[i % RTE_ETH_RETA_GROUP_SIZE] = (uint16_t)toeplitz_worker(i, workers);
	}
}

// Programs the redirection table; false: the driver spreads as it likes, and the core hands over.
static bool program_reta(const struct port *p, const struct rte_eth_dev_info *info)
{
	struct rte_eth_rss_reta_entry64 reta[RTE_ETH_RSS_RETA_SIZE_512 / RTE_ETH_RETA_GROUP_SIZE] =
		{0};

	if (info->reta_size == 0 || info->reta_size > RTE_ETH_RSS_RETA_SIZE_512)
		return false;
	port_reta_fill(reta, info->reta_size, p->n_rxq);
	return rte_eth_dev_rss_reta_update(p->id, reta, info->reta_size) == 0;
}

#define RSS_PORTS                                                                                  \
	(RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP |                             \
		RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP)

// Do all receive queues get frames, whatever the driver is told about RSS?
static bool queues_are_sources(const struct rte_eth_dev_info *info)
{
	return strcmp(info->driver_name, "net_af_packet") == 0 || // a fanout socket each
	       strcmp(info->driver_name, "net_ring") == 0 || // a ring each
	       strcmp(info->driver_name, "net_tap") == 0 ||
	       strcmp(info->driver_name, "net_pcap") == 0; // a file each
}

static void choose_queues(struct port *p, const struct rte_eth_dev_info *info, bool rss)
{
	unsigned most = info->max_rx_queues;

	p->n_txq = (uint16_t)RTE_MIN(p->workers, (unsigned)info->max_tx_queues);
	if (strcmp(info->driver_name, "net_af_packet") == 0)
		p->n_rxq = (uint16_t)RTE_MIN(most, (unsigned)WORKERS_MAX);
	else if (rss || queues_are_sources(info))
		p->n_rxq = (uint16_t)RTE_MIN(p->workers, most);
	else
		p->n_rxq = 1;
	// net_tap has pairs only.
	if (strcmp(info->driver_name, "net_tap") == 0)
		p->n_rxq = p->n_txq = RTE_MIN(p->n_rxq, p->n_txq);
	p->tx_shared = p->n_txq < p->workers;
}

static int make_pools(struct port *p, const struct port_conf *conf, char *err, size_t err_size)
{
	uint16_t room = buffer_size(conf);
	int socket = rte_eth_dev_socket_id(p->id);

	p->data_pool =
		rte_pktmbuf_pool_create("data", data_buffers(conf), CACHE_SIZE, 0, room, socket);
	p->control_pool = rte_pktmbuf_pool_create(
		"control", conf->workers * CONTROL_BUFFERS, CACHE_SIZE, 0, room, socket);
	if (p->data_pool != NULL && p->control_pool != NULL)
		return 0;
	return fail(err, err_size, rte_errno != 0 ? rte_errno : ENOMEM,
		"no memory for packet buffers (%u MiB): %s. Lower workers or limits",
		port_memory_mb(conf), rte_strerror(rte_errno));
}

static int set_up_queues(struct port *p, const struct rte_eth_dev_info *info,
	const struct rte_eth_conf *conf, char *err, size_t err_size)
{
	struct rte_eth_txconf txconf = info->default_txconf;
	struct rte_eth_rxconf rxconf = info->default_rxconf;
	uint16_t rx_size = RING_SIZE, tx_size = RING_SIZE;
	int socket = rte_eth_dev_socket_id(p->id);
	int r = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx_size, &tx_size);

	txconf.offloads = conf->txmode.offloads;
	rxconf.offloads = conf->rxmode.offloads;
	for (uint16_t q = 0; q < p->n_rxq && r == 0; q++)
		r = rte_eth_rx_queue_setup(
			p->id, q, rx_size, (unsigned)socket, &rxconf, p->data_pool);
	for (uint16_t q = 0; q < p->n_txq && r == 0; q++) {
		rte_spinlock_init(&p->txq[q].lock);
		r = rte_eth_tx_queue_setup(p->id, q, tx_size, (unsigned)socket, &txconf);
	}
	if (r != 0)
		return fail(err, err_size, -r, "the port's queues (%u RX, %u TX) do not open: %s",
			p->n_rxq, p->n_txq, strerror(-r));
	return 0;
}

// The largest MTU up to the configured one that the driver lets itself be told. net_af_packet says
// 1500 whatever its interface does, and cares no further.
static uint32_t driver_mtu(const struct rte_eth_dev_info *info, uint16_t mtu)
{
	uint32_t overhead = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
	uint32_t most = info->max_mtu;

	if (info->max_mtu != UINT16_MAX && info->max_rx_pktlen > info->max_mtu)
		overhead = info->max_rx_pktlen - info->max_mtu;
	if (info->max_rx_pktlen > overhead && info->max_rx_pktlen - overhead < most)
		most = info->max_rx_pktlen - overhead;
	most = RTE_MIN(most, (uint32_t)mtu);
	return RTE_MAX(most, (uint32_t)info->min_mtu);
}

static int configure(struct port *p, const struct port_conf *conf,
	const struct rte_eth_dev_info *info, char *err, size_t err_size)
{
	uint64_t rx_wanted = RTE_ETH_RX_OFFLOAD_VLAN_STRIP | RTE_ETH_RX_OFFLOAD_IPV4_CKSUM |
			     RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM |
			     RTE_ETH_RX_OFFLOAD_RSS_HASH;
	uint64_t rss_hf = info->flow_type_rss_offloads &
			  (RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV4 |
				  RTE_ETH_RSS_FRAG_IPV6 | RSS_PORTS);
	struct rte_eth_conf ec = {0};
	uint8_t key[KEY_SIZE_MAX];
	bool rss;
	int r;

	// The key's period is 16 bits: a longer one is more of the same.
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = TOEPLITZ_KEY[i % sizeof(TOEPLITZ_KEY)];
	rss = conf->workers > 1 && rss_hf != 0 && info->hash_key_size <= sizeof(key);
	choose_queues(p, info, rss);
	if (rss && p->n_rxq > 1) {
		ec.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		ec.rx_adv_conf.rss_conf.rss_key = key;
		ec.rx_adv_conf.rss_conf.rss_key_len =
			info->hash_key_size != 0 ? info->hash_key_size : sizeof(TOEPLITZ_KEY);
		ec.rx_adv_conf.rss_conf.rss_hf = rss_hf;
	} else {
		rx_wanted &= ~RTE_ETH_RX_OFFLOAD_RSS_HASH;
	}
	ec.rxmode.offloads = info->rx_offload_capa & rx_wanted;
	ec.rxmode.mtu = driver_mtu(info, conf->mtu);
	ec.txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
	r = rte_eth_dev_configure(p->id, p->n_rxq, p->n_txq, &ec);
	if (r != 0)
		return fail(err, err_size, -r,
			"driver %s refuses %u RX and %u TX queues with MTU %u: %s. Try workers: 1",
			p->driver, p->n_rxq, p->n_txq, ec.rxmode.mtu, strerror(-r));
	p->rss = ec.rxmode.mq_mode == RTE_ETH_MQ_RX_RSS;
	// The hash stands for the core's only when it covers ports wherever the core's does.
	p->rss_hash = (ec.rxmode.offloads & RTE_ETH_RX_OFFLOAD_RSS_HASH) &&
		      (rss_hf & RSS_PORTS) == RSS_PORTS;
	p->rx_checksum = (ec.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_CKSUM) != 0;
	p->vlan_insert = (ec.txmode.offloads & RTE_ETH_TX_OFFLOAD_VLAN_INSERT) != 0;
	return set_up_queues(p, info, &ec, err, err_size);
}

// Frames to the gateways' MACs, to the node's and to multicast groups (ND) must all come in. The
// core looks at the addresses again.
static void open_ears(const struct port *p, const struct port_conf *conf)
{
	if (rte_eth_promiscuous_enable(p->id) == 0)
		return;
	for (unsigned i = 0; i < RTE_DIM(conf->mac); i++) {
		struct rte_ether_addr mac;

		memcpy(mac.addr_bytes, conf->mac[i], sizeof(mac.addr_bytes));
		if (!rte_is_zero_ether_addr(&mac))
			rte_eth_dev_mac_addr_add(p->id, &mac, 0);
	}
	rte_eth_allmulticast_enable(p->id);
}

int port_open(struct port *p, const struct port_conf *conf, char *err, size_t err_size)
{
	struct rte_eth_dev_info info;
	char name[64];
	int r;

	memset(p, 0, sizeof(*p));
	p->workers = conf->workers;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(conf->port, ","), conf->port);
	if (rte_eth_dev_get_port_by_name(name, &p->id) != 0)
		p->id = (uint16_t)rte_eth_find_next_owned_by(0, RTE_ETH_DEV_NO_OWNER);
	if (!rte_eth_dev_is_valid_port(p->id))
		return fail(err, err_size, ENODEV, "DPDK could not make a port of %s", name);
	r = rte_eth_dev_info_get(p->id, &info);
	if (r != 0)
		return fail(err, err_size, -r, "port %s tells nothing: %s", name, strerror(-r));
	snprintf(p->driver, sizeof(p->driver), "%s", info.driver_name);
	p->if_index = info.if_index;
	r = make_pools(p, conf, err, err_size);
	if (r == 0)
		r = configure(p, conf, &info, err, err_size);
	if (r != 0)
		goto err_close;
	r = rte_eth_dev_start(p->id);
	if (r != 0) {
		fail(err, err_size, -r, "port %s does not start: %s", name, strerror(-r));
		goto err_close;
	}
	p->started = true;
	if (p->rss)
		program_reta(p, &info);
	open_ears(p, conf);
	return 0;

err_close:
	port_close(p);
	return r;
}

unsigned port_kernel_mtu(const struct port *p, char name[IF_NAMESIZE])
{
	struct ifreq ifr = {0};
	int fd, r;

	if (p->if_index == 0 || if_indextoname(p->if_index, ifr.ifr_name) == NULL)
		return 0;
	memcpy(name, ifr.ifr_name, IF_NAMESIZE);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	r = ioctl(fd, SIOCGIFMTU, &ifr);
	close(fd);
	return r == 0 ? (unsigned)ifr.ifr_mtu : 0;
}

void port_close(struct port *p)
{
	if (p->started)
		rte_eth_dev_stop(p->id);
	p->started = false;
	if (p->driver[0] != '\0')
		rte_eth_dev_close(p->id);
	p->driver[0] = '\0';
	rte_mempool_free(p->data_pool);
	rte_mempool_free(p->control_pool);
	p->data_pool = p->control_pool = NULL;
}
