// SPDX-License-Identifier: BSD-3-Clause
// VLAN tags between the wire, where they stand in the frame, and the core, which has the VLAN id out
// of band and untagged bytes.
//
// A driver may take the tag out of a received frame (RTE_MBUF_F_RX_VLAN_STRIPPED) or leave it in; both
// are handled frame by frame, since net_af_packet, for one, does the former because the kernel does.
// A second tag stays in the bytes: the core drops such frames.
//
// Thread: any; the mbuf's owner.
#pragma once

#include <stdbool.h>
#include <string.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#define VLAN_PCP_CONTROL 6 // 802.1p priority "internetwork control"
#define VLAN_TAG_SIZE 4
#define VLAN_ID_MASK 0xfff

// Takes the tag of a received, unchained frame out of its bytes. Returns the VLAN id; 0: untagged,
// or only priority-tagged.
static inline uint16_t vlan_take(struct rte_mbuf *m)
{
	uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
	uint16_t tci;

	if (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED)
		return m->vlan_tci & VLAN_ID_MASK;
	if (m->data_len < RTE_ETHER_HDR_LEN + VLAN_TAG_SIZE)
		return 0;
	if (data[12] != (RTE_ETHER_TYPE_VLAN >> 8) || data[13] != (RTE_ETHER_TYPE_VLAN & 0xff))
		return 0;
	tci = (uint16_t)(data[14] << 8 | data[15]);
	memmove(data + VLAN_TAG_SIZE, data, 2 * RTE_ETHER_ADDR_LEN);
	m->data_off += VLAN_TAG_SIZE;
	m->data_len -= VLAN_TAG_SIZE;
	m->pkt_len -= VLAN_TAG_SIZE;
	return tci & VLAN_ID_MASK;
}

// Gives a frame to send its tag: by the driver (offload), or in the bytes. id 0: untagged. False:
// no room before the frame.
static inline bool vlan_put(struct rte_mbuf *m, uint16_t id, uint8_t pcp, bool offload)
{
	uint16_t tci = (uint16_t)(pcp << 13 | (id & VLAN_ID_MASK));
	uint8_t *data;

	if (id == 0)
		return true;
	// Drivers that insert in software need the room as well.
	if (m->data_off < VLAN_TAG_SIZE)
		return false;
	if (offload) {
		m->ol_flags |= RTE_MBUF_F_TX_VLAN;
		m->vlan_tci = tci;
		return true;
	}
	m->data_off -= VLAN_TAG_SIZE;
	m->data_len += VLAN_TAG_SIZE;
	m->pkt_len += VLAN_TAG_SIZE;
	data = rte_pktmbuf_mtod(m, uint8_t *);
	memmove(data, data + VLAN_TAG_SIZE, 2 * RTE_ETHER_ADDR_LEN);
	data[12] = RTE_ETHER_TYPE_VLAN >> 8;
	data[13] = RTE_ETHER_TYPE_VLAN & 0xff;
	data[14] = (uint8_t)(tci >> 8);
	data[15] = (uint8_t)tci;
	return true;
}
