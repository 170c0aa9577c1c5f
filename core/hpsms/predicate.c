// SPDX-License-Identifier: BSD-3-Clause
// Predicate and Confirm: a question travels in the place of a connection's packet, so that the switch
// treats it as it would treat that packet, and the node where it arrives says so.
//
// Nobody knows who will get the question, so it is sealed for every node. That it is taken only once at
// each node, that its answer goes to nobody but its sender, over the fabric and sealed, and that a node
// answers each peer at a bounded rate, leaves nothing to gain from recording it or from forging one.
#include <netinet/in.h>

#include "core/shard.h"

#define ETHERNET 14
#define SERVE_PER_S 100000 // questions of one peer answered by one worker
#define SERVE_BURST_NS (20 * MS)
#define DSCP_UNMARKED (PREDICT_UNMARKED << 2) // with ECN beneath
#define FRAME_MAX (ETHERNET + 40 + 20 + WIRE_HEADER_SIZE + WIRE_PREDICATE_SIZE + WIRE_TAG_SIZE)

static void put16(uint8_t *at, uint16_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

// ---- Asking ----

static unsigned l4_size(const struct tripod_tuple *key)
{
	return key->proto == IPPROTO_TCP ? 20 : 8;
}

// Headers as a packet of this tuple has them, up to the payload; lengths and checksums come last.
static void put_headers(
	const struct shard *s, struct tripod_packet *p, const struct tripod_tuple *key)
{
	uint8_t *ip = p->data + ETHERNET, *l4;

	p->v6 = !tripod_addr_is_v4(&key->src);
	p->tuple = *key;
	p->ttl = 2; // for nobody behind the switch, which may be a router
	p->l3 = ETHERNET;
	p->l4 = p->v6 ? ETHERNET + 40 : ETHERNET + 20;
	p->payload = (uint16_t)(p->l4 + l4_size(key));
	memset(p->data, 0, p->payload);
	memcpy(p->data, s->conf->side[key->direction].gateway_mac, 6);
	memcpy(p->data + 6, s->conf->self.mac, 6);
	put16(p->data + 12, p->v6 ? 0x86dd : 0x0800);
	if (p->v6) {
		ip[0] = 0x60 | DSCP_UNMARKED >> 4;
		ip[1] = (DSCP_UNMARKED << 4) & 0xff;
		ip[6] = key->proto;
		memcpy(ip + 8, key->src.b, 16);
		memcpy(ip + 24, key->dst.b, 16);
	} else {
		ip[0] = 0x45;
		ip[1] = DSCP_UNMARKED;
		ip[9] = key->proto;
		memcpy(ip + 12, key->src.b + 12, 4);
		memcpy(ip + 16, key->dst.b + 12, 4);
	}
	l4 = p->data + p->l4;
	if (key->proto == IPPROTO_TCP || key->proto == IPPROTO_UDP) {
		memcpy(l4, &key->sport, 2);
		memcpy(l4 + 2, &key->dport, 2);
	} else {
		l4[0] = p->v6 ? 128 : 8;
		memcpy(l4 + 4, &key->sport, 2);
	}
	if (key->proto == IPPROTO_TCP)
		l4[12] = 5 << 4; // and no flags: it opens and ends nothing, wherever it strays
}

static void finish(struct tripod_packet *p)
{
	packet_finish(p);
	if (p->tuple.proto == IPPROTO_TCP || p->tuple.proto == IPPROTO_UDP)
		return;
	uint16_t checksum = checksum_l4(p);
	memcpy(p->data + p->l4 + 2, &checksum, 2);
}

bool predicate_send(struct shard *s, const struct tripod_tuple *key, const struct wire_predicate *q)
{
	struct wire_header h;
	struct frame f;

	if (!shard_has_room(s) || !shard_spare_data(s, &f))
		return false;
	if (f.room < FRAME_MAX) {
		shard_unspare(s, &f);
		return false;
	}
	struct tripod_packet p = {.data = f.data, .room = f.room};
	put_headers(s, &p, key);
	uint8_t *message = p.data + p.payload;
	control_header(s, &h, WIRE_PREDICATE, WIRE_ANY, WIRE_ANY);
	h.count = 1;
	wire_put_predicate(message + WIRE_HEADER_SIZE, WIRE_PREDICATE_SIZE, q);
	session_seal(s, &h, message, WIRE_HEADER_SIZE + WIRE_PREDICATE_SIZE);
	p.payload_len = h.length;
	finish(&p);
	f.len = p.len;
	f.vlan = (uint16_t)(s->conf->predict_vlan + 2 * q->group + key->direction);
	f.class = FRAME_DATA; // the first to be lost when there is too much
	count(s, C_predicates_tx);
	count(s, C_control_tx_packets);
	s->counters[C_control_tx_bytes] += f.len;
	s->step->tx[s->step->n_tx++] = f;
	return true;
}

// ---- Answering ----

static void confirm_send(struct shard *s)
{
	struct wire_header h;

	control_header(s, &h, WIRE_CONFIRM, s->predict.confirm.node, s->predict.confirm.worker);
	h.count = s->predict.confirm.count;
	control_send(s, &s->predict.confirm.frame, &h, s->predict.confirm.used);
	s->predict.confirm.frame.buf = NULL;
}

void predicate_flush(struct shard *s)
{
	if (s->predict.confirm.frame.buf != NULL)
		confirm_send(s);
}

static void confirm(
	struct shard *s, unsigned node, unsigned worker, const struct wire_confirm *item)
{
	struct predict *p = &s->predict;
	bool other = p->confirm.node != node || p->confirm.worker != worker ||
		     p->confirm.used + WIRE_CONFIRM_SIZE > WIRE_BODY_MAX;

	if (p->confirm.frame.buf != NULL && other)
		confirm_send(s);
	if (p->confirm.frame.buf == NULL) {
		if (s->step->n_spare <= STEP_SPARE_CONTROL ||
			!control_begin(s, &p->confirm.frame)) {
			p->confirm.frame.buf = NULL;
			count(s, C_predicates_refused);
			return;
		}
		p->confirm.node = (uint8_t)node;
		p->confirm.worker = (uint8_t)worker;
		p->confirm.used = WIRE_HEADER_SIZE;
		p->confirm.count = 0;
	}
	int size = wire_put_confirm(control_body(&p->confirm.frame) + p->confirm.used,
		WIRE_BODY_MAX - p->confirm.used, item);
	p->confirm.used += (uint16_t)size;
	p->confirm.count++;
}

// May this peer be answered once more?
static bool spend(struct shard *s, unsigned node)
{
	uint64_t *tokens_ns = &s->predict.serve_tokens_ns[node];

	if (s->now_ns - *tokens_ns > SERVE_BURST_NS)
		*tokens_ns = s->now_ns - SERVE_BURST_NS;
	if (s->now_ns - *tokens_ns < 1000000000ull / SERVE_PER_S)
		return false;
	*tokens_ns += 1000000000ull / SERVE_PER_S;
	return true;
}

// Which of a group's places was picked; PREDICT_UNMARKED where the switch writes none.
static uint8_t place_on(const struct tripod_packet *p)
{
	const uint8_t *ip = p->data + p->l3;
	unsigned class = p->v6 ? (ip[0] & 0xfu) << 4 | ip[1] >> 4 : ip[1];

	return (uint8_t)(class >> 2);
}

static bool believed(struct shard *s, const struct tripod_packet *p, const struct wire_header *h)
{
	const struct peer *peer = &s->peer[h->from_node];
	bool self = h->from_node == s->conf->id;

	if (self ? h->boot != s->conf->boot : peer->boot != h->boot || !peer->live) {
		count(s, C_drop_control_stale);
		return false;
	}
	const uint8_t *message = tripod_packet_payload(p);
	return self ? session_own(s, h, message) : session_open(s, h, message);
}

// A question that a node of the rack has asked, and this node has not seen before.
static void asked(struct shard *s, const struct tripod_packet *p, const struct wire_header *h)
{
	unsigned group = (unsigned)(p->vlan - s->conf->predict_vlan) / 2;
	struct wire_predicate q;
	int size = wire_get_predicate(tripod_packet_payload(p) + WIRE_HEADER_SIZE,
		(size_t)h->length - WIRE_HEADER_SIZE - WIRE_TAG_SIZE, &q);

	// What stands in it is sealed, the tuple and the VLAN that it came with are not. Nor is the place, of
	// which nobody but the switch could know: a wrong one makes a copy go elsewhere.
	if (size != h->length - WIRE_HEADER_SIZE - WIRE_TAG_SIZE || q.group != group ||
		q.hash != store_hash(&s->store, &p->tuple)) {
		count(s, C_drop_control_bad);
		return;
	}
	struct wire_confirm c = {
		.nonce = q.nonce, .epoch = q.epoch, .group = q.group, .place = place_on(p)};
	if (h->from_node == s->conf->id) {
		predict_confirmed(s, s->conf->id, &c);
		return;
	}
	count(s, C_predicates_rx);
	if (spend(s, h->from_node))
		confirm(s, h->from_node, h->from_worker, &c);
	else
		count(s, C_predicates_refused);
}

static bool valid(const struct shard *s, const struct wire_header *h)
{
	unsigned workers = h->from_node == s->conf->id ? s->conf->workers : s->conf->peer_workers;

	return h->type == WIRE_PREDICATE && h->cluster == s->conf->cluster &&
	       h->from_node < NODES_MAX && s->conf->member[h->from_node].present &&
	       h->from_worker < workers;
}

void predicate_rx(struct shard *s, struct tripod_packet *p)
{
	unsigned side = (unsigned)(p->vlan - s->conf->predict_vlan) & 1;
	struct parse_limits limits = {.mtu = s->conf->side[side].mtu};
	struct wire_header h;

	if (!(p->flags & TRIPOD_PKT_HANDED)) {
		count(s, C_control_rx_packets);
		s->counters[C_control_rx_bytes] += p->len;
	}
	if (parse_frame(p, &limits, (enum tripod_direction)side, 0) != PARSE_FLOW ||
		wire_get_header(tripod_packet_payload(p), p->payload_len, &h) < 0 ||
		!valid(s, &h)) {
		shard_drop(s, p, C_drop_control_bad);
		return;
	}
	// As of every message to all: one worker watches what has been seen. Its own, who asked.
	unsigned worker =
		h.from_node == s->conf->id ? h.from_worker : h.from_worker % s->conf->workers;
	if (control_pass_on(s, p, worker))
		return;
	if (believed(s, p, &h))
		asked(s, p, &h);
	shard_done(s, p->buf);
}

void predicate_confirm_rx(
	struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	for (unsigned n = 0; n < h->count; n++) {
		struct wire_confirm c;
		int size = wire_get_confirm(body, len, &c);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		body += size;
		len -= (uint16_t)size;
		count(s, C_confirms_rx);
		predict_confirmed(s, h->from_node, &c);
	}
}
