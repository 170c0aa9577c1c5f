// SPDX-License-Identifier: BSD-3-Clause
// What goes into a step of the core and what comes out of it.
//
// The core does no I/O: it is given received frames and a stock of empty ones, and returns frames to
// send and frames to give back. Who owns a buffer is always plain: what stands in rx or spare is the
// core's once the step begins; what stands in tx or done is the caller's when it returns.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum frame_class {
	FRAME_DATA = 0,
	FRAME_CONTROL = 1, // BFD, ARP, ND, replication: sent before data, PCP 6
};

struct frame {
	void *buf; // the driver's handle
	uint8_t *data; // first byte of the Ethernet header; no VLAN tag in the bytes
	uint16_t len; // bytes from data on
	uint16_t room; // bytes that the buffer can hold from data on
	uint16_t vlan; // VLAN id, 0: untagged
	uint8_t class; // enum frame_class, of frames to send
	uint8_t flags; // enum tripod_packet_flag, of received frames
	uint32_t hash; // RSS hash, with TRIPOD_PKT_RSS
};

enum {
	STEP_BURST = 32, // frames received in one step
	STEP_SPARE = 64, // empty frames that the caller keeps in stock for the core
	// of them, kept for heartbeats, BFD and replication, whatever comes in
	STEP_SPARE_CONTROL = 24,
	STEP_TX = 512,
	STEP_DONE = 256,
};

struct step {
	// In.
	uint64_t now_ns; // monotonic
	unsigned n_rx;
	struct frame rx[STEP_BURST];
	// In and out: the core takes from the end.
	unsigned n_spare;
	struct frame spare[STEP_SPARE];
	// Out.
	unsigned n_tx;
	struct frame tx[STEP_TX];
	unsigned n_done;
	void *done[STEP_DONE]; // buffers to free
	uint64_t wake_ns; // call again by then, packets or not
	bool more; // there is work left: call again at once
};
