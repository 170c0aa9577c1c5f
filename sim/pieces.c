// SPDX-License-Identifier: BSD-3-Clause
#include "sim/pieces.h"

#include <netinet/in.h>
#include <stdlib.h>

#include "core/testing/frames.h"
#include "sim/hosts_packet.h"

#define JOINS 64

struct pieces {
	unsigned next; // place for the next datagram, in turn
	struct join {
		uint8_t key[37]; // addresses, protocol and identification
		struct frames_join join;
	} joins[JOINS];
};

struct pieces *pieces_new(void)
{
	struct pieces *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	return s;
}

void pieces_free(struct pieces *s)
{
	free(s);
}

// Bytes in front of what is cut; 0: this is not cut.
static unsigned header_of(const uint8_t *frame, uint16_t len)
{
	const uint8_t *l3 = frame + FRAMES_L3;
	uint16_t type = hosts_get16(frame + 12);

	if (type == 0x0800 && len > FRAMES_L3 + 20 &&
		(l3[9] == IPPROTO_UDP || (l3[9] == IPPROTO_ICMP && (l3[20] & ~8) == 0)))
		return FRAMES_L3 + 20;
	if (type == 0x86dd && len > FRAMES_L3 + 40 &&
		(l3[6] == IPPROTO_UDP || (l3[6] == IPPROTO_ICMPV6 && (l3[40] & 0xfe) == 128)))
		return FRAMES_L3 + 40;
	return 0;
}

unsigned pieces_of(const uint8_t *frame, uint16_t len, unsigned most)
{
	unsigned header = header_of(frame, len);

	return header == 0 ? 1 : (len - header + most - 1) / most;
}

uint16_t pieces_cut(
	uint8_t *out, const uint8_t *frame, uint16_t len, unsigned most, uint32_t id, unsigned k)
{
	unsigned offset = k * most, left = len - header_of(frame, len) - offset;

	return (uint16_t)frames_fragment(
		out, HOSTS_FRAME_SIZE, frame, len, id, offset, left < most ? left : most);
}

static bool is_fragment(const uint8_t *frame, uint16_t len, uint8_t key[37])
{
	const uint8_t *l3 = frame + FRAMES_L3;
	uint16_t type = hosts_get16(frame + 12);

	memset(key, 0, 37);
	if (type == 0x0800 && len > FRAMES_L3 + 20 && (hosts_get16(l3 + 6) & 0x3fff) != 0) {
		memcpy(key, l3 + 12, 8);
		key[32] = l3[9];
		memcpy(key + 33, l3 + 4, 2);
		return true;
	}
	if (type != 0x86dd || len <= FRAMES_L3 + 48 || l3[6] != IPPROTO_FRAGMENT)
		return false;
	memcpy(key, l3 + 8, 32);
	key[32] = l3[40];
	memcpy(key + 33, l3 + 44, 4);
	return true;
}

const uint8_t *pieces_join(struct pieces *s, const uint8_t *frame, uint16_t *len)
{
	uint8_t key[37];
	struct join *j = s->joins;

	if (!is_fragment(frame, *len, key))
		return frame;
	while (j < s->joins + JOINS && memcmp(j->key, key, sizeof(key)) != 0)
		j++;
	if (j == s->joins + JOINS) {
		j = &s->joins[s->next++ % JOINS]; // what was there was lost in part
		memset(j, 0, sizeof(*j));
		memcpy(j->key, key, sizeof(key));
	}
	if (!frames_join(&j->join, frame, *len))
		return NULL;
	*len = (uint16_t)j->join.len;
	return j->join.bytes;
}
