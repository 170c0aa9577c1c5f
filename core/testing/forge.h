// SPDX-License-Identifier: BSD-3-Clause
// Messages between the nodes of a rack that no honest node would send, for tests. They are complete:
// right cluster, boot, addresses, tag and sequence number. Of racks of one worker a node.
#pragma once

#include "core/shard.h"
#include "core/testing/rack.h"

// Connection n is from 198.18.0.n:1000 to the VIP, port 80, and its server 10.1.0.101:8080.
struct tripod_tuple forge_key(unsigned n);
// A whole record of it that claims all parts.
struct wire_record forge_record(struct rack *r, unsigned n, unsigned writer, uint16_t epoch);
// What a node has of it; NULL: nothing. c: the rest of it, or NULL.
struct conn_repl *forge_find(struct rack *r, unsigned node, unsigned n, struct conn **c);

// The record of any key on a node, and its state; STORE_NONE, CONN_FREE: it has none.
uint32_t forge_index(struct rack *r, unsigned node, const struct tripod_tuple *key);
enum conn_state forge_state(struct rack *r, unsigned node, const struct tripod_tuple *key);

// One record as the next message of the channel from a node (from a worker of it) to another.
void forge(struct rack *r, unsigned from, unsigned to, const struct wire_record *w);
void forge_from(
	struct rack *r, unsigned from, unsigned worker, unsigned to, const struct wire_record *w);

// The same in pieces.
struct wire_header forge_header(struct rack *r, unsigned from, unsigned to, enum wire_type type);
int forge_put(uint8_t *message, const struct wire_record *w); // behind the header; its bytes
void forge_send(struct rack *r, unsigned from, unsigned to, const void *message, size_t len);
