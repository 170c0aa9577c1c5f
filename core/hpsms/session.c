// SPDX-License-Identifier: BSD-3-Clause
// Sessions with peers: which key seals a message, which counter makes it unique, and which boot of a
// peer is believed.
//
// A session key belongs to one boot of a sender, and to one boot of a receiver unless the message
// goes to every node. So a recording of a former life opens nowhere. What remains is a recording of
// a boot that has died, shown to a node that has been up since: no boot is believed before it has
// echoed a challenge that this node gave to it alone (GREET, docs/PROTOCOL.md).
#include "core/shard.h"

#define GREET_COST_NS (2 * MS) // of one greeting to a peer, in the long run
#define GREET_BURST 8 // greetings at once

static unsigned others(const struct node_conf *conf)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NODES_MAX; i++)
		n += conf->member[i].present && i != conf->id;
	return n;
}

// All of a worker's keys stand together, so that few pages have to be kept from disk.
void session_init(struct shard *s, struct arena *a)
{
	const struct node_conf *conf = s->conf;
	size_t own = (sizeof(struct auth_shard) + 63) & ~(size_t)63;
	size_t size = own + others(conf) * sizeof(struct auth_peer);
	uint8_t *at = arena_take(a, size);

	if (at == NULL)
		return;
	s->auth = (struct auth_shard *)at;
	s->node->secret[1 + s->worker].at = at;
	s->node->secret[1 + s->worker].size = size;
	struct auth_peer *p = (struct auth_peer *)(at + own);
	for (unsigned i = 0; i < NODES_MAX; i++) {
		if (conf->member[i].present && i != conf->id)
			s->peer[i].auth = p++;
	}
}

void session_peer_init(struct shard *s, unsigned node, struct arena *a)
{
	struct auth_stream *stream =
		arena_take(a, s->conf->peer_workers * sizeof(struct auth_stream));

	if (stream == NULL)
		return;
	s->peer[node].auth->stream = stream;
	s->peer[node].auth->challenge = 1;
}

// ---- Keys ----

static const uint8_t *key_of(const struct shard *s, struct auth_session *session, unsigned slot,
	const struct auth_ends *ends)
{
	if (!session->derived) {
		auth_derive(session->key, s->auth->keys.key[slot].key, ends);
		session->derived = true;
	}
	return session->key;
}

static struct auth_ends ends_to(const struct shard *s, unsigned node, uint64_t boot)
{
	return (struct auth_ends){
		.cluster = s->conf->cluster,
		.from = s->conf->id,
		.to = (uint8_t)node,
		.from_boot = s->conf->boot,
		.to_boot = node == WIRE_ANY ? 0 : boot,
	};
}

static struct auth_ends ends_from(const struct shard *s, const struct wire_header *h)
{
	bool all = h->to_node == WIRE_ANY;

	return (struct auth_ends){
		.cluster = s->conf->cluster,
		.from = h->from_node,
		.to = h->to_node,
		.from_boot = h->boot,
		.to_boot = all ? 0 : s->conf->boot,
	};
}

// What was derived from keys that may be gone now, or for a boot that is.
static void forget(struct auth_peer *p)
{
	auth_wipe(&p->tx, sizeof(p->tx));
	auth_wipe(p->rx_one, sizeof(p->rx_one));
	auth_wipe(p->rx_all, sizeof(p->rx_all));
}

void session_keys(struct shard *s)
{
	struct auth_shard *own = s->auth;
	struct auth_handover *from = s->node->keys;
	uint32_t generation = atomic_load_explicit(&from->generation, memory_order_acquire);
	struct auth_use before[AUTH_KEYS_MAX];

	if (generation == own->generation)
		return;
	memcpy(before, own->use, sizeof(before));
	memset(own->use, 0, sizeof(own->use));
	for (unsigned i = 0; i < AUTH_KEYS_MAX; i++) {
		int was = auth_keys_find(&own->keys, from->slot[generation & 1].key[i].id);
		if (was >= 0)
			own->use[i] = before[was];
		own->use[i].id = from->slot[generation & 1].key[i].id;
	}
	own->keys = from->slot[generation & 1];
	own->generation = generation;
	auth_wipe(&own->tx_all, sizeof(own->tx_all));
	for (unsigned n = 0; n < NODES_MAX; n++) {
		if (s->peer[n].auth != NULL)
			forget(s->peer[n].auth);
	}
	atomic_store_explicit(&s->keys_taken, generation, memory_order_release);
}

void session_reset(struct shard *s, unsigned node, uint64_t floor)
{
	struct auth_peer *p = s->peer[node].auth;

	forget(p);
	p->floor = floor;
	for (unsigned w = 0; w < s->conf->peer_workers; w++) {
		auth_window_reset(&p->stream[w].one, 0);
		auth_window_reset(&p->stream[w].any, 0);
		auth_window_reset(&p->stream[w].all, floor);
	}
}

// ---- Sending ----

static uint64_t next_counter(struct shard *s, const struct wire_header *h)
{
	if (h->to_node != WIRE_ANY) {
		struct auth_peer *p = s->peer[h->to_node].auth;
		return h->to_worker == WIRE_ANY ? ++p->sent_any : ++p->stream[h->to_worker].sent;
	}
	uint64_t last = atomic_load_explicit(&s->sent_all, memory_order_relaxed);
	uint64_t floor = atomic_load_explicit(&s->node->floor, memory_order_relaxed);
	last = (last > floor ? last : floor) + 1;
	atomic_store_explicit(&s->sent_all, last, memory_order_relaxed);
	return last;
}

static void seal(struct shard *s, struct wire_header *h, uint8_t *message, uint16_t size,
	const uint8_t key[AUTH_KEY_SIZE])
{
	h->length = size + WIRE_TAG_SIZE;
	h->key = s->auth->keys.key[0].id;
	h->counter = next_counter(s, h);
	if (wire_put_header(message, WIRE_HEADER_SIZE, h) < 0)
		abort(); // a header that this node has made itself
	auth_seal(key, message, size);
	s->auth->use[0].tx++;
}

void session_seal(struct shard *s, struct wire_header *h, uint8_t *message, uint16_t size)
{
	bool all = h->to_node == WIRE_ANY;
	struct auth_session *session = all ? &s->auth->tx_all : &s->peer[h->to_node].auth->tx;
	struct auth_ends ends = ends_to(s, h->to_node, all ? 0 : s->peer[h->to_node].boot);

	seal(s, h, message, size, key_of(s, session, 0, &ends));
}

// ---- Receiving ----

static bool opens(struct shard *s, const struct wire_header *h, const uint8_t *message,
	struct auth_session *session, unsigned slot)
{
	struct auth_ends ends = ends_from(s, h);

	if (auth_opens(key_of(s, session, slot, &ends), message, h->length - WIRE_TAG_SIZE))
		return true;
	count(s, C_drop_control_forged);
	return false;
}

bool session_open(struct shard *s, const struct wire_header *h, const uint8_t *message)
{
	struct auth_peer *p = s->peer[h->from_node].auth;
	struct auth_stream *stream = &p->stream[h->from_worker];
	int slot = auth_keys_find(&s->auth->keys, h->key);
	bool all = h->to_node == WIRE_ANY;

	if (slot < 0) {
		count(s, C_drop_control_key);
		return false;
	}
	if (!opens(s, h, message, all ? &p->rx_all[slot] : &p->rx_one[slot], (unsigned)slot))
		return false;
	struct auth_window *window = all                        ? &stream->all
				     : h->to_worker == WIRE_ANY ? &stream->any
								: &stream->one;
	if (!auth_window_take(window, h->counter)) {
		count(s, C_drop_control_replayed);
		return false;
	}
	s->auth->use[slot].rx++;
	return true;
}

bool session_own(struct shard *s, const struct wire_header *h, const uint8_t *message)
{
	struct auth_ends ends = ends_to(s, WIRE_ANY, 0);

	if (h->key != s->auth->keys.key[0].id) {
		count(s, C_drop_control_key);
		return false;
	}
	if (auth_opens(key_of(s, &s->auth->tx_all, 0, &ends), message, h->length - WIRE_TAG_SIZE))
		return true;
	count(s, C_drop_control_forged);
	return false;
}

bool session_proven(struct shard *s, const struct wire_header *h, const uint8_t *message)
{
	struct auth_session session = {0};
	int slot = auth_keys_find(&s->auth->keys, h->key);

	if (slot < 0) {
		count(s, C_drop_control_key);
		return false;
	}
	bool proven = opens(s, h, message, &session, (unsigned)slot);
	auth_wipe(&session, sizeof(session));
	return proven;
}

// ---- Greeting ----

static bool spend(uint64_t *tokens_ns, uint64_t now_ns)
{
	if (now_ns - *tokens_ns > GREET_BURST * GREET_COST_NS)
		*tokens_ns = now_ns - GREET_BURST * GREET_COST_NS;
	if (now_ns - *tokens_ns < GREET_COST_NS)
		return false;
	*tokens_ns += GREET_COST_NS;
	return true;
}

// Whatever a worker of this node has sent to every node before now has a counter at or below this.
static uint64_t raise_floor(struct shard *s)
{
	uint64_t floor = atomic_load_explicit(&s->node->floor, memory_order_relaxed);

	for (unsigned w = 0; w < s->conf->workers; w++) {
		uint64_t sent =
			atomic_load_explicit(&s->node->shard[w]->sent_all, memory_order_relaxed);
		floor = sent > floor ? sent : floor;
	}
	atomic_store_explicit(&s->node->floor, floor, memory_order_relaxed);
	return floor;
}

void session_greet(
	struct shard *s, unsigned node, uint64_t boot, uint64_t echo, const uint8_t mac[6])
{
	struct peer *peer = &s->peer[node];
	struct auth_ends ends = ends_to(s, node, boot);
	struct auth_session session = {0};
	struct wire_greet greet = {.echo = echo, .challenge = peer->auth->challenge};
	struct wire_header h;
	struct frame f;

	control_hello(s, &greet.hello);
	if (greet.hello.flags & WIRE_HELLO_LEAVING)
		return; // not worth anybody's while
	if (!spend(&peer->auth->greet_tokens_ns, s->now_ns) || !control_begin(s, &f))
		return; // its next heartbeat brings it up again
	if (peer->boot != boot)
		greet.hello.flags |= WIRE_HELLO_WANTED;
	else if (ready_has_served(s, node))
		greet.hello.flags |= WIRE_HELLO_SERVED;
	greet.floor = raise_floor(s);
	control_header(s, &h, WIRE_GREET, node, 0);
	h.to_boot = (uint32_t)boot;
	h.count = 1;
	uint8_t *body = control_body(&f);
	int size = WIRE_HEADER_SIZE + wire_put_greet(body + WIRE_HEADER_SIZE,
					      WIRE_BODY_MAX - WIRE_HEADER_SIZE, &greet);
	seal(s, &h, body, (uint16_t)size, key_of(s, &session, 0, &ends));
	auth_wipe(&session, sizeof(session));
	control_transmit(s, &f, node, mac, h.length);
	count(s, C_greetings);
}
