// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "core/chain.h"

// The chains of a node. Slots are filled, chosen and emptied by the control thread; each change is a
// generation, which every worker adopts at the start of a step.
struct chain_set {
	_Atomic(const struct chain *) chain[CHAINS_MAX]; // control: w, workers: ro
	_Atomic uint8_t current, closing; // control: w, workers: ro
	_Atomic uint8_t announced; // bit k: slot k is to be current soon; control: w, worker 0: ro
	_Atomic uint32_t generation; // control: w, workers: ro; written last
	_Atomic uint8_t wanted; // bit k: a live member names it; worker 0: wo, control: ro

	// Control thread: a slot on its way out, and since when each has had no use.
	enum { CHAIN_SET_STAYS, CHAIN_SET_CLOSING, CHAIN_SET_EMPTIED } phase;
	uint8_t leaving;
	const struct chain *left;
	uint64_t idle_ns[CHAINS_MAX];
};
