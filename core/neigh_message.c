// SPDX-License-Identifier: BSD-3-Clause
// ARP and neighbour discovery on the wire.
#include <tripod/packet.h>

#include <errno.h>
#include <netinet/in.h>

#include "core/neigh.h"
#include "core/parse.h"

#define ETH_SIZE 14
#define ARP_SIZE 28
#define ARP_REQUEST 1
#define ARP_REPLY 2
#define IPV6_SIZE 40
#define ND_SIZE 24 // up to the options
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_ROUTER 0x80
#define ND_SOLICITED 0x40
#define ND_OVERRIDE 0x20
#define OPTION_SOURCE 1
#define OPTION_TARGET 2
#define OPTION_SIZE 8
#define ND_FRAME_SIZE (ETH_SIZE + IPV6_SIZE + ND_SIZE + OPTION_SIZE)

static const uint8_t ETHERTYPE_ARP[2] = {0x08, 0x06}, ETHERTYPE_IPV6[2] = {0x86, 0xdd};
static const uint8_t BROADCAST[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t SOLICITED_NODE[13] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff};
static const struct tripod_addr ALL_NODES = {{0xff, 0x02, [15] = 0x01}};
static const struct tripod_addr ZERO;
// Ethernet, IPv4 over it, six and four bytes an address.
static const uint8_t ARP_HEAD[6] = {0, 1, 0x08, 0x00, 6, 4};

static bool is_zero(const struct tripod_addr *a)
{
	return tripod_addr_equal(a, &ZERO);
}

static bool is_host_mac(const uint8_t mac[6])
{
	return !(mac[0] & 1) && memcmp(mac, ZERO.b, 6) != 0;
}

// ---- ARP ----

// 0.0.0.0 becomes the all-zero address: nobody.
static struct tripod_addr arp_addr(const uint8_t *b)
{
	uint32_t v4;
	memcpy(&v4, b, sizeof(v4));
	return v4 == 0 ? ZERO : tripod_addr_v4(v4);
}

static bool is_host_v4(const struct tripod_addr *a)
{
	return tripod_addr_is_v4(a) && a->b[12] < 224; // no multicast, reserved or broadcast
}

static int arp_parse(const struct tripod_packet *p, struct neigh_message *m)
{
	const uint8_t *a = p->data + p->l3;
	if (p->len < p->l3 + ARP_SIZE || memcmp(a, ARP_HEAD, sizeof(ARP_HEAD)) != 0 || a[6] != 0)
		return -EINVAL;
	if (a[7] != ARP_REQUEST && a[7] != ARP_REPLY)
		return -EINVAL;
	m->what = a[7] == ARP_REQUEST ? NEIGH_REQUEST : NEIGH_REPLY;
	memcpy(m->mac, a + 8, 6);
	m->sender = arp_addr(a + 14);
	m->target = arp_addr(a + 24);
	if (!is_host_mac(m->mac))
		return -EINVAL;
	if (!is_host_v4(&m->sender) && !(m->what == NEIGH_REQUEST && is_zero(&m->sender)))
		return -EINVAL;
	// The target of a reply to a probe is nobody.
	if (!is_host_v4(&m->target) && !(m->what == NEIGH_REPLY && is_zero(&m->target)))
		return -EINVAL;
	return 0;
}

static void arp_write(uint8_t *a, uint8_t op, const uint8_t mac[6],
	const struct tripod_addr *sender, const uint8_t to_mac[6], const struct tripod_addr *to)
{
	memcpy(a, ARP_HEAD, sizeof(ARP_HEAD));
	a[6] = 0;
	a[7] = op;
	memcpy(a + 8, mac, 6);
	memcpy(a + 14, sender->b + 12, 4);
	memcpy(a + 18, to_mac, 6);
	memcpy(a + 24, to->b + 12, 4);
}

// ---- Neighbour discovery ----

// The sum over n bytes at icmp and the pseudo header of the IPv6 header at ip: all ones when the
// checksum in the message is right; the complement of the right checksum when the field is 0.
static uint16_t icmp6_sum(const uint8_t *ip, const uint8_t *icmp, size_t n)
{
	const uint8_t tail[8] = {0, 0, (uint8_t)(n >> 8), (uint8_t)n, 0, 0, 0, IPPROTO_ICMPV6};
	uint16_t sum = checksum_partial(ip + 8, 32, 0);
	return checksum_partial(icmp, n, checksum_partial(tail, sizeof(tail), sum));
}

// Finds the link-layer address among the options. 0, or -EINVAL when they do not add up; *mac stays
// NULL when there is none.
static int nd_options(const uint8_t *o, size_t len, uint8_t type, const uint8_t **mac)
{
	while (len > 0) {
		if (len < 2 || o[1] == 0 || len < (size_t)o[1] * 8)
			return -EINVAL;
		if (o[0] == type) {
			if (o[1] != 1)
				return -EINVAL;
			*mac = o + 2;
		}
		len -= (size_t)o[1] * 8;
		o += (size_t)o[1] * 8;
	}
	return 0;
}

static bool is_host_v6(const struct tripod_addr *a)
{
	return a->b[0] != 0xff && !is_zero(a) && !tripod_addr_is_v4(a);
}

// RFC 4861, 7.1.1 and 7.1.2.
static int nd_parse(const struct tripod_packet *p, struct neigh_message *m)
{
	const uint8_t *ip = p->data + p->l3, *icmp = ip + IPV6_SIZE, *mac = NULL;
	if (p->len < p->l3 + IPV6_SIZE + ND_SIZE)
		return -EINVAL;
	size_t n = (size_t)(ip[4] << 8 | ip[5]);
	if (n < ND_SIZE || n > (size_t)(p->len - p->l3 - IPV6_SIZE))
		return -EINVAL;
	if (ip[0] >> 4 != 6 || ip[6] != IPPROTO_ICMPV6 || ip[7] != 255 || icmp[1] != 0)
		return -EINVAL;
	if (icmp[0] != ND_SOLICITATION && icmp[0] != ND_ADVERTISEMENT)
		return -EINVAL;
	bool request = icmp[0] == ND_SOLICITATION;
	if (icmp6_sum(ip, icmp, n) != 0xffff)
		return -EINVAL;
	if (nd_options(icmp + ND_SIZE, n - ND_SIZE, request ? OPTION_SOURCE : OPTION_TARGET, &mac))
		return -EINVAL;
	struct tripod_addr src, dst, target;
	memcpy(src.b, ip + 8, 16);
	memcpy(dst.b, ip + 24, 16);
	memcpy(target.b, icmp + 8, 16);
	if (!is_host_v6(&target) || (mac != NULL && !is_host_mac(mac)))
		return -EINVAL;
	if (!is_host_v6(&src) && !(request && is_zero(&src)))
		return -EINVAL;
	if (request && is_zero(&src) &&
		(mac != NULL || memcmp(dst.b, SOLICITED_NODE, sizeof(SOLICITED_NODE)) != 0))
		return -EINVAL;
	// An advertisement without the address says nothing here: solicitations are multicast.
	if (!request && (mac == NULL || (dst.b[0] == 0xff && (icmp[4] & ND_SOLICITED))))
		return -EINVAL;
	m->what = request ? NEIGH_REQUEST : NEIGH_REPLY;
	m->sender = request ? src : target;
	m->target = request ? target : dst;
	memcpy(m->mac, mac != NULL ? mac : ZERO.b, 6);
	return 0;
}

// Everything behind the Ethernet header: ND_FRAME_SIZE - ETH_SIZE bytes. type 0: no option.
static uint16_t nd_write(uint8_t *ip, const struct tripod_addr *src, const struct tripod_addr *dst,
	uint8_t what, uint8_t flags, const struct tripod_addr *target, uint8_t option,
	const uint8_t mac[6])
{
	uint8_t *icmp = ip + IPV6_SIZE;
	uint8_t n = ND_SIZE + (option ? OPTION_SIZE : 0);
	memset(ip, 0, IPV6_SIZE + n);
	ip[0] = 0x60;
	ip[5] = n;
	ip[6] = IPPROTO_ICMPV6;
	ip[7] = 255;
	memcpy(ip + 8, src->b, 16);
	memcpy(ip + 24, dst->b, 16);
	icmp[0] = what;
	icmp[4] = flags;
	memcpy(icmp + 8, target->b, 16);
	if (option) {
		icmp[ND_SIZE] = option;
		icmp[ND_SIZE + 1] = 1;
		memcpy(icmp + ND_SIZE + 2, mac, 6);
	}
	uint16_t sum = (uint16_t)~icmp6_sum(ip, icmp, n);
	memcpy(icmp + 2, &sum, sizeof(sum));
	return (uint16_t)(IPV6_SIZE + n);
}

static void multicast_mac(uint8_t mac[6], const struct tripod_addr *group)
{
	mac[0] = mac[1] = 0x33;
	memcpy(mac + 2, group->b + 12, 4);
}

// ---- Public ----

int neigh_parse(const struct tripod_packet *p, struct neigh_message *m)
{
	if (p->l3 < ETH_SIZE || p->l3 > p->len)
		return -EINVAL;
	const uint8_t *type = p->data + p->l3 - 2;
	if (memcmp(type, ETHERTYPE_ARP, 2) == 0)
		return arp_parse(p, m);
	if (memcmp(type, ETHERTYPE_IPV6, 2) == 0)
		return nd_parse(p, m);
	return -EINVAL;
}

bool neigh_answer(struct tripod_packet *p, const struct neigh_message *m, const uint8_t mac[6])
{
	uint8_t *eth = p->data, *l3 = p->data + p->l3;
	if (tripod_addr_is_v4(&m->target)) {
		if (p->room < p->l3 + ARP_SIZE)
			return false;
		arp_write(l3, ARP_REPLY, mac, &m->target, m->mac, &m->sender);
		memcpy(eth, m->mac, 6);
		p->len = p->l3 + ARP_SIZE; // without the request's padding
	} else {
		if (p->room < p->l3 + IPV6_SIZE + ND_SIZE + OPTION_SIZE)
			return false;
		// Who probes whether an address is free has none yet: all are told.
		bool probe = is_zero(&m->sender);
		if (probe)
			multicast_mac(eth, &ALL_NODES);
		else
			memcpy(eth, is_host_mac(m->mac) ? m->mac : eth + 6, 6);
		uint8_t flags = ND_ROUTER | ND_OVERRIDE | (probe ? 0 : ND_SOLICITED);
		p->len = p->l3 + nd_write(l3, &m->target, probe ? &ALL_NODES : &m->sender,
					 ND_ADVERTISEMENT, flags, &m->target, OPTION_TARGET, mac);
	}
	memcpy(eth + 6, mac, 6);
	return true;
}

void neigh_request(struct frame *f, const struct neigh_self *self, enum neigh_net net,
	const struct tripod_addr *target)
{
	uint8_t *eth = f->data;
	f->len = 0;
	if (f->room < ND_FRAME_SIZE)
		return;
	f->vlan = self->net[net].vlan;
	f->class = FRAME_CONTROL;
	f->flags = 0;
	memcpy(eth + 6, self->mac, 6);
	if (tripod_addr_is_v4(target)) {
		memcpy(eth, BROADCAST, 6);
		memcpy(eth + 12, ETHERTYPE_ARP, 2);
		arp_write(
			eth + ETH_SIZE, ARP_REQUEST, self->mac, &self->net[net].v4, ZERO.b, target);
		f->len = ETH_SIZE + ARP_SIZE;
		return;
	}
	struct tripod_addr group;
	memcpy(group.b, SOLICITED_NODE, sizeof(SOLICITED_NODE));
	memcpy(group.b + 13, target->b + 13, 3);
	multicast_mac(eth, &group);
	memcpy(eth + 12, ETHERTYPE_IPV6, 2);
	// Without an own address the answer comes to all nodes (7.2.2 forbids the option then).
	const struct tripod_addr *own = &self->net[net].v6;
	f->len = ETH_SIZE + nd_write(eth + ETH_SIZE, own, &group, ND_SOLICITATION, 0, target,
				    is_zero(own) ? 0 : OPTION_SOURCE, self->mac);
}
