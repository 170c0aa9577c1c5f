// SPDX-License-Identifier: BSD-3-Clause
#include "core/bfd.h"

#include <errno.h>

#include "core/parse.h"

#define US_NS 1000ull
#define SLOW_US 1000000 // RFC 5880, 6.8.3: while the session is not up
#define PORT 3784
#define SOURCE_PORT 49152 // RFC 5881, 4: to 65535
#define VERSION 1
#define PACKET_SIZE 24 // without authentication, which this session does not use

#define FLAG_POLL 0x20
#define FLAG_FINAL 0x10
#define FLAG_AUTH 0x04
#define FLAG_DEMAND 0x02
#define FLAG_MULTIPOINT 0x01

#define ETH_SIZE 14
#define IPV4_SIZE 20
#define UDP_SIZE 8
#define FRAME_SIZE (ETH_SIZE + IPV4_SIZE + UDP_SIZE + PACKET_SIZE)

enum { // RFC 5880, 4.1
	DIAG_NONE = 0,
	DIAG_EXPIRED = 1,
	DIAG_NEIGHBOUR_DOWN = 3,
	DIAG_ADMIN_DOWN = 7,
};

static void put16(uint8_t *b, uint16_t v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static void put32(uint8_t *b, uint32_t v)
{
	put16(b, (uint16_t)(v >> 16));
	put16(b + 2, (uint16_t)v);
}

static uint16_t get16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static uint32_t get32(const uint8_t *b)
{
	return (uint32_t)get16(b) << 16 | get16(b + 2);
}

void bfd_init(struct bfd *b, const struct bfd_conf *conf, struct rng *rng)
{
	*b = (struct bfd){
		.conf = *conf,
		.state = BFD_ADMIN_DOWN,
		.remote_state = BFD_DOWN,
		.diag = DIAG_ADMIN_DOWN,
		.local_discriminator = (uint32_t)rng_next(rng) | 1, // never 0
		.remote_rx_us = 1,
		.tx_us = conf->tx_us > SLOW_US ? conf->tx_us : SLOW_US,
	};
}

static void set_state(struct bfd *b, enum bfd_state state, uint8_t diag, uint64_t now_ns)
{
	if (b->state == state)
		return;
	b->state = state;
	b->diag = diag;
	b->changes++;
	uint32_t tx_us = state != BFD_UP && b->conf.tx_us < SLOW_US ? SLOW_US : b->conf.tx_us;
	if (tx_us != b->tx_us) {
		b->tx_us = tx_us;
		b->polling = true;
	}
	b->next_tx_ns = now_ns; // the peer is told at once (6.8.7, last paragraph)
}

void bfd_admin(struct bfd *b, bool up, uint64_t now_ns)
{
	if (b->admin_up == up)
		return;
	b->admin_up = up;
	set_state(b, up ? BFD_DOWN : BFD_ADMIN_DOWN, up ? DIAG_NONE : DIAG_ADMIN_DOWN, now_ns);
}

// ---- Receiving ----

// The encapsulation (RFC 5881, 4 and 5): the BFD packet and its length, or NULL.
static const uint8_t *decapsulate(const struct bfd *b, const struct tripod_packet *p, size_t *len)
{
	const uint8_t *ip = p->data + p->l3;
	if (p->l3 < ETH_SIZE || p->l3 + IPV4_SIZE + UDP_SIZE > p->len || ip[0] >> 4 != 4)
		return NULL;
	size_t header = (size_t)(ip[0] & 15) * 4, total = get16(ip + 2);
	if (header < IPV4_SIZE || total > (size_t)(p->len - p->l3) || total < header + UDP_SIZE)
		return NULL;
	const uint8_t *udp = ip + header;
	size_t udp_len = get16(udp + 4);
	if (ip[9] != 17 || get16(udp + 2) != PORT || udp_len < UDP_SIZE || udp_len > total - header)
		return NULL;
	// Only a neighbour can send with the largest TTL.
	if (ip[8] != 255)
		return NULL;
	if (memcmp(ip + 12, &b->conf.dst_v4, 4) != 0 || memcmp(ip + 16, &b->conf.src_v4, 4) != 0)
		return NULL;
	*len = udp_len - UDP_SIZE;
	return udp + UDP_SIZE;
}

// The checks of 6.8.6, in its order.
static bool valid(const struct bfd *b, const uint8_t *c, size_t len)
{
	if (len < PACKET_SIZE || c[0] >> 5 != VERSION)
		return false;
	if (c[3] < PACKET_SIZE || c[3] > len || c[2] == 0)
		return false;
	if ((c[1] & (FLAG_MULTIPOINT | FLAG_AUTH)) || get32(c + 4) == 0)
		return false;
	if ((c[1] & FLAG_POLL) && (c[1] & FLAG_FINAL)) // 6.5: never both
		return false;
	uint32_t yours = get32(c + 8);
	if (yours != 0)
		return yours == b->local_discriminator;
	return c[1] >> 6 == BFD_DOWN || c[1] >> 6 == BFD_ADMIN_DOWN;
}

// The state machine of 6.2 and 6.8.6: NEXT[own state][received state].
static const uint8_t NEXT[4][4] = {
	[BFD_ADMIN_DOWN] = {BFD_ADMIN_DOWN, BFD_ADMIN_DOWN, BFD_ADMIN_DOWN, BFD_ADMIN_DOWN},
	[BFD_DOWN] = {BFD_DOWN, BFD_INIT, BFD_UP, BFD_DOWN},
	[BFD_INIT] = {BFD_DOWN, BFD_INIT, BFD_UP, BFD_UP},
	[BFD_UP] = {BFD_DOWN, BFD_DOWN, BFD_UP, BFD_UP},
};

// Periodic packets stop when the peer wants none, or none while both know that the session is up.
static bool silent(const struct bfd *b)
{
	return b->remote_rx_us == 0 ||
	       (b->remote_demand && b->state == BFD_UP && b->remote_state == BFD_UP && !b->polling);
}

static uint64_t tx_interval_ns(const struct bfd *b)
{
	return US_NS * (b->tx_us > b->remote_rx_us ? b->tx_us : b->remote_rx_us);
}

int bfd_rx(struct bfd *b, const struct tripod_packet *p, uint64_t now_ns)
{
	size_t len;
	const uint8_t *c = decapsulate(b, p, &len);
	if (c == NULL || !valid(b, c, len))
		return -EINVAL;
	b->remote_multiplier = c[2];
	b->remote_discriminator = get32(c + 4);
	b->remote_state = c[1] >> 6;
	b->remote_demand = c[1] & FLAG_DEMAND;
	b->remote_tx_us = get32(c + 12);
	uint32_t before_us = b->remote_rx_us;
	b->remote_rx_us = get32(c + 16);
	if (c[1] & FLAG_FINAL)
		b->polling = false;
	uint64_t detect_us = b->remote_tx_us > b->conf.rx_us ? b->remote_tx_us : b->conf.rx_us;
	b->detect_ns = now_ns + US_NS * detect_us * b->remote_multiplier;
	uint64_t changes = b->changes;
	uint8_t next = NEXT[b->state][b->remote_state];
	bool fell = next == BFD_DOWN && b->state != BFD_DOWN;
	set_state(b, next, fell ? DIAG_NEIGHBOUR_DOWN : b->diag, now_ns);
	if (b->state == BFD_UP)
		b->diag = DIAG_NONE;
	if (b->changes != changes) {
		// Due at once already; silence, if any, begins behind that packet.
	} else if (silent(b)) {
		b->next_tx_ns = UINT64_MAX;
	} else if (b->next_tx_ns == UINT64_MAX || b->remote_rx_us < before_us) {
		// The peer takes more again: no waiting for a time that was set for less.
		uint64_t due_ns = b->sent_ns + tx_interval_ns(b);
		if (due_ns < b->next_tx_ns)
			b->next_tx_ns = due_ns > now_ns ? due_ns : now_ns;
	}
	if ((c[1] & FLAG_POLL) && b->state != BFD_ADMIN_DOWN) {
		b->poll = true;
		b->next_tx_ns = now_ns;
	}
	return 0;
}

// ---- Sending ----

static void write_frame(const struct bfd *b, uint8_t flags, struct frame *f)
{
	uint8_t *eth = f->data, *ip = eth + ETH_SIZE, *udp = ip + IPV4_SIZE, *c = udp + UDP_SIZE;
	memset(eth, 0, FRAME_SIZE);
	memcpy(eth, b->conf.peer_mac, 6);
	memcpy(eth + 6, b->conf.mac, 6);
	put16(eth + 12, 0x0800);
	ip[0] = 0x45;
	ip[1] = 0xc0; // network control
	put16(ip + 2, FRAME_SIZE - ETH_SIZE);
	ip[8] = 255;
	ip[9] = 17;
	memcpy(ip + 12, &b->conf.src_v4, 4);
	memcpy(ip + 16, &b->conf.dst_v4, 4);
	uint16_t sum = (uint16_t)~checksum_partial(ip, IPV4_SIZE, 0);
	memcpy(ip + 10, &sum, 2);

	// One port for the whole session, which the discriminator is as good as.
	put16(udp, (uint16_t)(SOURCE_PORT | (b->local_discriminator & 0x3fff)));
	put16(udp + 2, PORT);
	put16(udp + 4, UDP_SIZE + PACKET_SIZE);
	c[0] = (uint8_t)(VERSION << 5 | b->diag);
	c[1] = (uint8_t)(b->state << 6 | flags);
	c[2] = b->conf.multiplier;
	c[3] = PACKET_SIZE;
	put32(c + 4, b->local_discriminator);
	put32(c + 8, b->remote_discriminator);
	put32(c + 12, b->tx_us);
	put32(c + 16, b->conf.rx_us);

	const uint8_t pseudo[4] = {0, 17, 0, UDP_SIZE + PACKET_SIZE};
	sum = checksum_partial(pseudo, sizeof(pseudo), checksum_partial(ip + 12, 8, 0));
	sum = (uint16_t)~checksum_partial(udp, UDP_SIZE + PACKET_SIZE, sum);
	if (sum == 0) // means "none" in UDP
		sum = 0xffff;
	memcpy(udp + 6, &sum, 2);
	f->len = FRAME_SIZE;
	f->vlan = 0;
	f->class = FRAME_CONTROL;
	f->flags = 0;
}

static void detect(struct bfd *b, uint64_t now_ns)
{
	if (b->detect_ns == 0 || now_ns < b->detect_ns)
		return;
	b->detect_ns = 0;
	b->remote_discriminator = 0; // 6.8.1
	b->remote_state = BFD_DOWN;
	b->remote_demand = false;
	b->remote_rx_us = b->remote_rx_us ? b->remote_rx_us : 1;
	if (b->state == BFD_INIT || b->state == BFD_UP)
		set_state(b, BFD_DOWN, DIAG_EXPIRED, now_ns);
	if (b->next_tx_ns == UINT64_MAX)
		b->next_tx_ns = now_ns;
}

bool bfd_tick(struct bfd *b, struct rng *rng, uint64_t now_ns, struct frame *f)
{
	detect(b, now_ns);
	if (now_ns < b->next_tx_ns || f == NULL || f->room < FRAME_SIZE)
		return false;
	write_frame(b, b->poll ? FLAG_FINAL : b->polling ? FLAG_POLL : 0, f);
	b->poll = false;
	b->sent_ns = now_ns;
	if (silent(b)) {
		b->next_tx_ns = UINT64_MAX;
		return true;
	}
	// 6.8.7: up to a quarter less, so that sessions do not fall in step; never all of the time
	// that a peer waits when it waits for one packet only.
	uint64_t interval_ns = tx_interval_ns(b), quarter_ns = interval_ns / 4, least_ns = 0;
	if (b->conf.multiplier == 1) {
		least_ns = interval_ns / 10;
		quarter_ns -= least_ns;
	}
	uint64_t cut_ns = least_ns + ((quarter_ns >> 8) * (rng_next(rng) >> 56));
	b->next_tx_ns = now_ns + interval_ns - cut_ns;
	return true;
}

const char *bfd_state_name(enum bfd_state s)
{
	switch (s) {
	case BFD_ADMIN_DOWN:
		return "admin-down";
	case BFD_DOWN:
		return "down";
	case BFD_INIT:
		return "init";
	case BFD_UP:
		return "up";
	}
	return "?";
}
