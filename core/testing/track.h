// SPDX-License-Identifier: BSD-3-Clause
// One TCP connection, tracked packet by packet, for cmocka tests: include that first.
#pragma once

#include "core/tcp.h"

#define F TRIPOD_TCP_FIN
#define S TRIPOD_TCP_SYN
#define R TRIPOD_TCP_RST
#define P TRIPOD_TCP_PSH
#define A TRIPOD_TCP_ACK

enum { INI = 0, RES = 1 }; // who sends

// One connection, and the packet that is given to the tracker.
struct fixture {
	struct tcp_dir dir[2];
	uint8_t frame[128];
	const uint8_t *options;
	unsigned options_len; // multiple of 4
};

static inline struct tripod_packet packet(
	struct fixture *f, uint8_t flags, uint32_t seq, uint32_t ack, uint16_t win, uint16_t len)
{
	enum { L4 = 34 };
	uint8_t *h = f->frame + L4;
	memset(h, 0, 20);
	for (unsigned i = 0; i < 4; i++) {
		h[4 + i] = (uint8_t)(seq >> (24 - 8 * i));
		h[8 + i] = (uint8_t)(ack >> (24 - 8 * i));
	}
	h[12] = (uint8_t)((20 + f->options_len) / 4 << 4);
	h[13] = flags;
	h[14] = (uint8_t)(win >> 8);
	h[15] = (uint8_t)win;
	if (f->options_len)
		memcpy(h + 20, f->options, f->options_len);
	struct tripod_packet p = {
		.data = f->frame,
		.len = sizeof(f->frame),
		.l3 = 14,
		.l4 = L4,
		.payload = (uint16_t)(L4 + 20 + f->options_len),
		.payload_len = len,
		.tcp_flags = flags,
	};
	f->options_len = 0;
	return p;
}

static inline enum tcp_verdict send(struct fixture *f, unsigned from, uint8_t flags, uint32_t seq,
	uint32_t ack, uint16_t win, uint16_t len)
{
	struct tripod_packet p = packet(f, flags, seq, ack, win, len);
	return tcp_track(&f->dir[from], &f->dir[!from], from == INI, &p);
}

static inline enum tcp_life life(
	struct fixture *f, unsigned from, uint8_t flags, uint32_t seq, uint16_t len)
{
	struct tripod_packet p = packet(f, flags, seq, 0, 9, len);
	return tcp_life(&f->dir[from], &f->dir[!from], from == INI, &p);
}

// For the receiver to challenge, when nobody else knows better.
static inline void passes_in_doubt(struct fixture *f, unsigned from, uint32_t seq)
{
	struct tcp_dir was[2];

	memcpy(was, f->dir, sizeof(was));
	assert_int_equal(life(f, from, TRIPOD_TCP_SYN, seq, 0), TCP_LIFE_DOUBT);
	assert_int_equal(send(f, from, TRIPOD_TCP_SYN, seq, 0, 9, 0), TCP_OK);
	assert_memory_equal(f->dir, was, sizeof(was));
}

static inline enum tcp_state state_of(const struct fixture *f)
{
	return tcp_state(&f->dir[INI], &f->dir[RES]);
}

static inline void wscale(struct fixture *f, uint8_t shift)
{
	static uint8_t options[8][4]; // tests use a few values, each its own
	uint8_t *o = options[shift & 7];
	o[0] = 1;
	o[1] = 3;
	o[2] = 3;
	o[3] = shift;
	f->options = o;
	f->options_len = 4;
}

#define ISN_I 1000u
#define ISN_R 5000u
#define WIN 10000

// Initiator's next number 1001, responder's 5001, unscaled windows of WIN both ways.
static inline void establish(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	assert_int_equal(send(f, INI, S, ISN_I, 0, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(f, RES, S | A, ISN_R, ISN_I + 1, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(f, INI, A, ISN_I + 1, ISN_R + 1, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(f), TCP_ESTABLISHED);
}

// A takeover: what is not durable is gone.
static inline void forget(struct fixture *f)
{
	for (unsigned d = 0; d < 2; d++)
		f->dir[d] = (struct tcp_dir){
			.flags = f->dir[d].flags & TCP_DIR_DURABLE,
			.wscale = f->dir[d].wscale,
		};
}
