// SPDX-License-Identifier: BSD-3-Clause
// Control messages on the fabric VLAN: their envelope, heartbeats, and who is alive.
#include <arpa/inet.h>
#include <stdlib.h>

#include "core/hpsms/repl.h"

#define ETHERNET 14
#define HEADERS (ETHERNET + 20 + 8) // Ethernet, IPv4, UDP

// ---- Sending ----

bool control_begin(struct shard *s, struct frame *f)
{
	if (!shard_spare(s, f)) {
		count(s, C_drop_no_buffer);
		return false;
	}
	if (f->room < HEADERS + WIRE_MESSAGE_MAX) {
		shard_unspare(s, f);
		count(s, C_drop_no_buffer);
		return false;
	}
	return true;
}

uint8_t *control_body(const struct frame *f)
{
	return f->data + HEADERS;
}

void control_header(const struct shard *s, struct wire_header *h, enum wire_type type,
	unsigned node, unsigned worker)
{
	*h = (struct wire_header){
		.type = (uint8_t)type,
		.from_node = s->conf->id,
		.from_worker = s->worker,
		.to_node = (uint8_t)node,
		.to_worker = (uint8_t)worker,
		.cluster = s->conf->cluster,
		.boot = s->conf->boot,
		.to_boot = node == WIRE_ANY ? 0 : (uint32_t)s->peer[node].boot,
	};
}

static void put16(uint8_t *at, uint16_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

void control_transmit(
	struct shard *s, struct frame *f, unsigned node, const uint8_t mac[6], uint16_t len)
{
	const struct neigh_self *self = &s->conf->self;
	uint32_t src = tripod_addr_get_v4(&self->net[NEIGH_FABRIC].v4), dst = INADDR_BROADCAST;
	uint8_t *ip = f->data + ETHERNET, *udp = ip + 20;

	memcpy(f->data, mac, 6);
	if (node != WIRE_ANY)
		dst = tripod_addr_get_v4(&s->conf->member[node].fabric);
	memcpy(f->data + 6, self->mac, 6);
	put16(f->data + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	ip[1] = 48 << 2; // CS6, network control
	put16(ip + 2, (uint16_t)(28 + len));
	put16(ip + 6, 0x4000);
	ip[8] = 1; // never leaves the rack
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, &src, 4);
	memcpy(ip + 16, &dst, 4);
	uint16_t sum = (uint16_t)~checksum_partial(ip, 20, 0);
	memcpy(ip + 10, &sum, 2);
	put16(udp, CONTROL_PORT);
	put16(udp + 2, CONTROL_PORT);
	put16(udp + 4, (uint16_t)(8 + len));
	put16(udp + 6, 0);

	struct tripod_packet p = {
		.data = f->data,
		.l3 = ETHERNET,
		.l4 = ETHERNET + 20,
		.payload = HEADERS,
		.payload_len = len,
		.ip_len = (uint16_t)(28 + len),
		.tuple =
			{
				.src = self->net[NEIGH_FABRIC].v4,
				.dst = tripod_addr_v4(dst),
				.proto = IPPROTO_UDP,
			},
	};
	uint16_t checksum = checksum_l4(&p);
	memcpy(udp + 6, &checksum, 2);
	f->len = (uint16_t)(HEADERS + len);
	f->vlan = s->conf->fabric_vlan;
	forward_control(s, f);
}

// Takes what the receiver knows out of a sealed message; its new length.
static uint16_t shorten(struct frame *f, const struct wire_header *h)
{
	uint8_t *body = control_body(f), head[WIRE_SHORT_MAX];
	int n = wire_put_short(head, sizeof(head), h);

	if (n < 0)
		abort(); // of a header that was sealed
	uint16_t rest = h->length - WIRE_HEADER_SIZE;
	memcpy(body, head, (size_t)n);
	memmove(body + n, body + WIRE_HEADER_SIZE, rest);
	return (uint16_t)(n + rest);
}

void control_send(struct shard *s, struct frame *f, struct wire_header *h, uint16_t size)
{
	static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const uint8_t *mac = h->to_node == WIRE_ANY ? everybody : s->peer[h->to_node].mac;

	session_seal(s, h, control_body(f), size);
	control_transmit(s, f, h->to_node, mac, h->type == WIRE_LOG ? shorten(f, h) : h->length);
}

// ---- Who is alive ----

// Not sure any more of what was not confirmed from now on: this node was stopped, or cut off. After half
// the life of a tombstone the end of a connection may be forgotten before this node has heard of it.
void control_doubt(struct shard *s, uint64_t absent_ns, bool was_away)
{
	bool forgotten = absent_ns >= s->conf->tombstone_ms * MS / 2;

	s->valid_from = s->now;
	if (forgotten)
		s->forgotten_from = s->now;
	if (forgotten && was_away)
		s->absent_from = s->now;
	s->unsettled_ns = s->now_ns + 10 * 1000 * MS;
	s->deaf_until_ns = s->now_ns + 3 * s->conf->heartbeat_ms * MS;
	kind_doubt(s);
}

static uint8_t hello_flags(const struct member *m)
{
	return (m->ready ? WIRE_HELLO_READY : 0) | (m->draining ? WIRE_HELLO_DRAINING : 0);
}

// Which of this node's slots a member holds, too.
static uint8_t held_by(const struct shard *s, const struct member *m)
{
	uint8_t slots = 0;

	for (unsigned i = 0; i < m->n_chains; i++) {
		for (unsigned k = 0; k < CHAINS_MAX; k++) {
			if (s->chain[k] != NULL && s->chain[k]->id == m->chain[i])
				slots |= (uint8_t)(1u << k);
		}
	}
	return slots;
}

static uint8_t told_of(const struct shard *s, unsigned node)
{
	uint8_t slots = 0;

	for (unsigned k = 0; k < CHAINS_MAX; k++)
		slots |= (uint8_t)((s->chain_nodes[k] >> node & 1) << k);
	return slots;
}

static void peer_message(const struct shard *s, unsigned node, struct ring_message *m)
{
	const struct member *member = &s->node->members.m[node];

	*m = (struct ring_message){
		.type = RING_PEER,
		.node = (uint8_t)node,
		.live = member->live,
		.workers = member->workers,
		.hello = hello_flags(member),
		.chains = held_by(s, member),
		.peer = {.boot = member->boot, .floor = s->peer[node].auth->floor},
	};
	memcpy(m->mac, s->peer[node].mac, 6);
}

// Tells the other workers what they do not know yet. What finds a ring full is told at the next tick.
static void tell_workers(struct shard *s)
{
	for (unsigned w = 0; w < s->conf->workers; w++) {
		struct ring_message m = {.type = RING_DOUBT, .absent_ns = s->untold_absent_ns};
		if ((s->untold_doubt & 1u << w) && shard_post(s, w, &m))
			s->untold_doubt &= ~(1u << w);
		while (s->untold[w] != 0) {
			peer_message(s, (unsigned)__builtin_ctzll(s->untold[w]), &m);
			if (!shard_post(s, w, &m))
				break;
			s->untold[w] &= s->untold[w] - 1;
		}
	}
}

static void doubt_all(struct shard *s, uint64_t absent_ns)
{
	control_doubt(s, absent_ns, true);
	s->untold_absent_ns = absent_ns;
	s->untold_doubt = ((1u << s->conf->workers) - 1) & ~(1u << s->worker);
	tell_workers(s);
}

// What waits for a node that died is forgotten: repair looks at it when the node is back. The
// channel itself goes on where it stopped, unless the node has restarted: then both ends start anew.
static void peer_lost(struct shard *s, unsigned node, bool rebooted)
{
	struct peer *peer = &s->peer[node];

	repl_peer_lost(s, node, rebooted);
	for (unsigned w = 0; w < s->conf->peer_workers; w++) {
		struct channel *c = &peer->channel[w];
		if (peer->out[w].frame.buf != NULL) {
			shard_unspare(s, &peer->out[w].frame);
			peer->out[w].frame.buf = NULL;
		}
		if (rebooted)
			channel_reset(c, (uint32_t)peer->boot);
	}
	s->busy[node] = 0;
	s->busy_nodes &= ~(1ull << node);
}

static void set_bit(uint64_t *set, uint64_t bit, bool to)
{
	*set = to ? *set | bit : *set & ~bit;
}

// Which chains a peer holds, too. true: there is a backup more for connections of one, some of which may
// lack a copy.
static bool note_chains(struct shard *s, const struct ring_message *m)
{
	uint64_t bit = 1ull << m->node;
	bool more = false;

	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		bool holds = m->chains & 1u << k;
		more |= holds && !(s->chain_nodes[k] & bit) && s->chain_used[k] > 0 && m->live;
		set_bit(&s->chain_nodes[k], bit, holds);
	}
	if (more)
		s->refusing &= ~bit; // what it refused may have been of that chain
	return more;
}

void control_peer(struct shard *s, const struct ring_message *m)
{
	struct peer *peer = &s->peer[m->node];
	uint64_t bit = 1ull << m->node;
	bool rebooted = m->live && peer->boot != m->peer.boot;

	chain_set_step(s); // worker 0 speaks of slots as they are now
	if (m->live)
		memcpy(peer->mac, m->mac, 6);
	peer->workers = m->workers;
	if (rebooted) {
		if (peer->boot != 0)
			peer->restarted_ns = s->now_ns;
		peer->boot = m->peer.boot;
		session_reset(s, m->node, m->peer.floor);
	}
	if (rebooted || !m->live)
		peer_lost(s, m->node, rebooted);
	bool more = note_chains(s, m);
	bool changed = peer->live != (bool)m->live || rebooted;
	bool moved = peer->hello != m->hello;
	peer->live = m->live;
	peer->hello = m->hello;
	set_bit(&s->live, bit, m->live);
	set_bit(&s->ports, bit, m->live && m->hello == WIRE_HELLO_READY);
	set_bit(&s->draining, bit, m->live && (m->hello & WIRE_HELLO_DRAINING));
	if (!m->live)
		s->joining &= ~bit;
	if (more) {
		if (m->hello == 0) { // it joins, and is to have more than it was sent
			atomic_store_explicit(&s->served[m->node], 0, memory_order_release);
			s->joining |= bit;
		}
		repl_repair_start(s, m->hello == 0);
	}
	if (changed || moved || more)
		kind_members(s);
	if (rebooted)
		kind_forgot(s, m->node);
	if (!changed && !moved)
		return;
	sync_members(s, bit);
	if (s->worker == 0)
		index_peer(s, m->node, m->live, rebooted);
	s->unsettled_ns = s->now_ns + 10 * 1000 * MS;
	// It was here all the time and this node did not hear it: it may have taken over meanwhile.
	if (changed && m->live && !rebooted)
		control_doubt(s, s->now_ns - peer->lost_ns, (s->live & ~bit & ~shard_self(s)) == 0);
	if (changed && !m->live)
		peer->lost_ns = s->now_ns;
	if (rebooted) {
		s->repair_reboot |= bit;
		s->joining |= bit;
	}
	if (changed && m->live) {
		s->repair_nodes |= bit;
		ending_peer_back(s, m->node);
	}
	if (changed && !m->live)
		pull_peer_died(s, m->node);
	repl_repair_start(s, s->joining & bit);
	s->next_tick_ns = s->now_ns;
}

static void tell_peer(struct shard *s, unsigned node, const uint8_t mac[6])
{
	struct ring_message m;

	peer_message(s, node, &m);
	memcpy(m.mac, mac, 6);
	control_peer(s, &m);
	for (unsigned w = 0; w < s->conf->workers; w++) {
		if (w != s->worker)
			s->untold[w] |= 1ull << node;
	}
	tell_workers(s);
}

// What a node says of itself in a HELLO or GREET, of a boot that is believed.
static void heard(struct shard *s, const struct wire_header *h, const struct wire_hello *hello)
{
	struct members *members = &s->node->members;
	const struct member *known = &members->m[h->from_node];
	bool same_boot = known->live && known->boot == h->boot;
	bool news = members_hello(members, h->from_node, h->boot, hello, s->now_ns);
	const struct member *member = &members->m[h->from_node];
	const struct peer *peer = &s->peer[h->from_node];
	bool moved = memcmp(peer->mac, hello->mac, 6) != 0 || peer->workers != hello->workers ||
		     peer->hello != hello_flags(member) ||
		     held_by(s, member) != told_of(s, h->from_node);
	conn_lives_heard(s, hello->lives);
	if (h->type == WIRE_HELLO)
		place_heard(s, h->from_node, hello);
	if (hello->flags & WIRE_HELLO_LEAVING)
		s->next_tick_ns = s->now_ns; // members_tick() tells of its end
	// A peer that has known us for a while and no longer hears us: what we take for ours may have
	// been taken over. Heartbeats alone tell: a greeting may overtake an older one of them.
	bool heard_us = s->heard_by & (1ull << h->from_node);
	bool hears_us = h->type == WIRE_HELLO ? hello->live & (1ull << s->conf->id) : heard_us;
	if (hears_us)
		s->heard_by |= 1ull << h->from_node;
	else
		s->heard_by &= ~(1ull << h->from_node);
	if (!same_boot)
		ready_lost(s, h->from_node);
	if ((hello->flags & WIRE_HELLO_SERVED) && member->live)
		ready_served_by(s, h->from_node); // in its greeting to this life of this node alone
	if (heard_us && !hears_us && same_boot)
		doubt_all(s, s->conf->dead_after_ms * MS);
	if (news || (moved && member->live))
		tell_peer(s, h->from_node, hello->mac);
	if (member->live)
		fetch_hello(s, h->from_node, hello);
}

void control_chains(struct shard *s)
{
	const struct members *members = &s->node->members;

	ready_chains(s);

	for (uint64_t left = s->live & ~(1ull << s->conf->id); left != 0; left &= left - 1) {
		unsigned node = (unsigned)__builtin_ctzll(left);
		if (held_by(s, &members->m[node]) != told_of(s, node))
			tell_peer(s, node, s->peer[node].mac);
	}
}

// The slots that live members name as current or in use: they stay here as well.
static void note_wanted(struct shard *s)
{
	const struct members *members = &s->node->members;
	uint8_t wanted = 0;

	for (uint64_t left = s->live & ~(1ull << s->conf->id); left != 0; left &= left - 1) {
		struct member m = members->m[__builtin_ctzll(left)];
		for (unsigned i = 0; i < m.n_chains; i++) {
			if (!(m.chains_used & 1u << i))
				m.chain[i] = 0;
		}
		wanted |= held_by(s, &m);
	}
	atomic_store_explicit(&s->node->chains.wanted, wanted, memory_order_relaxed);
}

static void hello_chains(const struct shard *s, struct wire_hello *hello)
{
	uint8_t in_use = chain_set_in_use(s);

	hello->chain[hello->n_chains++] = s->chain[s->chain_current]->id;
	hello->chains_used = 1;
	for (unsigned k = 0; k < CHAINS_MAX; k++) {
		if (s->chain[k] == NULL || k == s->chain_current || (s->chains_closing & 1u << k))
			continue;
		if (in_use & 1u << k)
			hello->chains_used |= (uint8_t)(1u << hello->n_chains);
		hello->chain[hello->n_chains++] = s->chain[k]->id;
	}
}

// What is said must be possible here, and the frame come from where its sender says that it is.
static bool plausible(
	const struct shard *s, const struct tripod_packet *p, const struct wire_hello *hello)
{
	return hello->workers <= s->conf->peer_workers && memcmp(p->data + 6, hello->mac, 6) == 0;
}

static void hello_rx(struct shard *s, const struct tripod_packet *p, const struct wire_header *h,
	const uint8_t *body, uint16_t len)
{
	struct wire_hello hello;

	if (wire_get_hello(body, len, &hello) != len || !plausible(s, p, &hello)) {
		count(s, C_drop_control_bad);
		return;
	}
	if (s->peer[h->from_node].boot == h->boot)
		heard(s, h, &hello);
	else if (!(hello.flags & WIRE_HELLO_LEAVING))
		session_greet(s, h->from_node, h->boot, 0, hello.mac);
}

// A boot that has echoed this node's challenge is alive now: only then is it believed. The challenge
// is used up, so nothing that was said before to this node can bring another boot back.
static void greet_rx(struct shard *s, const struct tripod_packet *p, const struct wire_header *h,
	const uint8_t *body, uint16_t len)
{
	struct peer *peer = &s->peer[h->from_node];
	struct wire_greet greet;

	if (wire_get_greet(body, len, &greet) != len || !plausible(s, p, &greet.hello)) {
		count(s, C_drop_control_bad);
		return;
	}
	if (peer->boot == h->boot) {
		heard(s, h, &greet.hello);
	} else if (greet.echo == peer->auth->challenge &&
		   !(greet.hello.flags & WIRE_HELLO_LEAVING)) {
		peer->auth->challenge++;
		peer->auth->floor = greet.floor;
		heard(s, h, &greet.hello);
		if (peer->boot == h->boot)
			session_open(s, h, body - WIRE_HEADER_SIZE); // takes its counter
	}
	if ((greet.hello.flags & WIRE_HELLO_WANTED) || peer->boot != h->boot)
		session_greet(s, h->from_node, h->boot, greet.challenge, greet.hello.mac);
}

void control_hello(const struct shard *s, struct wire_hello *hello)
{
	*hello = (struct wire_hello){
		.workers = s->conf->workers,
		.flags = ready_hello(s),
		.live = s->node->members.live,
		.lives = conn_lives(s),
		.port_changes = (uint8_t)s->node->bfd.changes,
	};
	memcpy(hello->mac, s->conf->self.mac, 6);
	hello_chains(s, hello);
}

static void hello_send(struct shard *s)
{
	struct wire_hello hello;
	struct wire_header h;
	struct frame f;

	if (!control_begin(s, &f))
		return;
	control_hello(s, &hello);
	place_tell(s, &hello);
	control_header(s, &h, WIRE_HELLO, WIRE_ANY, 0);
	h.count = 1;
	int size = wire_put_hello(
		control_body(&f) + WIRE_HEADER_SIZE, WIRE_BODY_MAX - WIRE_HEADER_SIZE, &hello);
	control_send(s, &f, &h, (uint16_t)(WIRE_HEADER_SIZE + size));
}

// Who asks is told when it has all copies that it should have from here.
static void tell_joining(struct shard *s)
{
	const struct members *members = &s->node->members;

	for (uint64_t left = members->live & ~shard_self(s); left != 0; left &= left - 1) {
		unsigned node = (unsigned)__builtin_ctzll(left);
		if (members->m[node].asking && ready_has_served(s, node))
			session_greet(s, node, s->peer[node].boot, 0, s->peer[node].mac);
	}
}

// The switch may notice a dead node before its silence is long enough to count here.
static void suspect(struct shard *s)
{
	const struct members *members = &s->node->members;
	uint64_t missed = members->heartbeat_ns * 5 / 2;

	uint64_t suspects = 0;

	for (uint64_t left = members->live & ~(1ull << s->conf->id); left != 0; left &= left - 1) {
		unsigned node = (unsigned)__builtin_ctzll(left);
		if (s->now_ns - members->m[node].heard_ns > missed)
			suspects |= 1ull << node;
	}
	atomic_store_explicit(&s->node->suspects, suspects, memory_order_relaxed);
	uint64_t until = s->now_ns + 1000 * MS;
	if (suspects != 0 &&
		until > atomic_load_explicit(&s->node->suspect_ns, memory_order_relaxed))
		atomic_store_explicit(&s->node->suspect_ns, until, memory_order_relaxed);
}

// How often members fail, for placement: it counts when ports change next.
static void tell_failures(struct shard *s)
{
	for (unsigned i = 0; i < NODES_MAX && s->conf->failure_prior_h > 0; i++) {
		uint32_t ppm = members_failure_ppm(&s->node->members, i,
			s->conf->member[i].failure_ppm, s->conf->failure_prior_h);
		atomic_store_explicit(&s->node->failure_ppm[i], ppm, memory_order_relaxed);
	}
}

uint64_t control_tick(struct shard *s)
{
	struct members *members = &s->node->members;
	bool was_away = false;
	uint64_t gap_ns = s->now_ns - members->last_tick_ns;
	uint64_t dead = members_tick(members, s->now_ns, &was_away);

	if (was_away)
		doubt_all(s, gap_ns);
	tell_workers(s);
	suspect(s);
	note_wanted(s);
	for (; dead != 0; dead &= dead - 1) {
		unsigned node = (unsigned)__builtin_ctzll(dead);
		s->heard_by &= ~(1ull << node);
		ready_lost(s, node);
		tell_peer(s, node, s->peer[node].mac);
	}
	ready_tick(s);
	atomic_store_explicit(&s->node->port_changes,
		members->port_changes + (uint32_t)s->node->bfd.changes, memory_order_relaxed);
	if (members_hello_due(members, s->now_ns)) {
		hello_send(s);
		tell_joining(s);
		tell_failures(s);
	}
	uint64_t fetch_ns = fetch_tick(s);
	return fetch_ns < members->next_hello_ns ? fetch_ns : members->next_hello_ns;
}

// ---- Receiving ----

bool control_pass_on(struct shard *s, struct tripod_packet *p, unsigned worker)
{
	struct ring_message m = {.type = RING_FRAME, .frame = shard_frame(p, FRAME_DATA)};

	if (worker == s->worker)
		return false;
	m.frame.flags |= TRIPOD_PKT_HANDED;
	// The other worker has run meanwhile, and does not know for how long the message has lain here.
	if (s->old_rx)
		m.frame.flags |= TRIPOD_PKT_STALE;
	if (!shard_post(s, worker, &m)) {
		count(s, C_drop_ring_full);
		shard_done(s, p->buf);
	}
	return true;
}

static void pull_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	uint16_t at = 0;

	for (unsigned n = 0; n < h->count; n++) {
		struct tripod_tuple key;
		bool has;
		int size = wire_get_question(body + at, len - at, &key, &has);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		at += (uint16_t)size;
		unsigned worker = s->conf->workers == 1
					  ? 0
					  : toeplitz_worker(toeplitz_tuple(&key), s->conf->workers);
		if (worker == s->worker) {
			pull_serve(s, &key, has, h->from_node, h->from_worker);
			continue;
		}
		struct ring_message m = {
			.type = RING_SERVE,
			.node = h->from_node,
			.worker = h->from_worker,
			.has = has,
			.key = key,
		};
		if (!shard_post(s, worker, &m))
			count(s, C_drop_ring_full);
	}
}

static void none_rx(struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	uint64_t bit = 1ull << h->from_node;
	uint16_t at = 0;

	for (unsigned n = 0; n < h->count; n++) {
		struct tripod_tuple key;
		int size = wire_get_tuple(body + at, len - at, &key);
		if (size < 0) {
			count(s, C_drop_control_bad);
			return;
		}
		at += (uint16_t)size;
		if (h->type == WIRE_NONE && pull_none(s, &key, h->from_node))
			continue;
		struct store_hit hit = store_find(&s->store, &key, store_hash(&s->store, &key));
		if (hit.what != STORE_CONN)
			continue;
		// What it has acknowledged and has not now (the message may be old, or it has lost the
		// copy since) is sent once more. What is on its way crosses a NONE, and a refusal is
		// the end of it.
		struct conn_repl *r = store_repl(&s->store, hit.index);
		bool had = holder_is(r, HOLDER_ACKED, h->from_node);
		holders_unmark(r, HOLDER_ACKED, bit);
		holders_unmark(r, HOLDER_KNOWN, bit);
		if (had)
			repl_queue(s, hit.index, h->from_node);
		else if (h->type == WIRE_REFUSED)
			repl_no_room(s, hit.index, h->from_node, h->ack_bits & 1);
	}
	// The rest of the message that is refused is sent again at once.
	if (h->type == WIRE_REFUSED)
		repl_refused(s, h->from_node, h->from_worker, h->ack);
}

static void chain_rx(
	struct shard *s, const struct wire_header *h, const uint8_t *body, uint16_t len)
{
	struct wire_chain_ask ask;
	struct wire_chain chain;

	if (h->type == WIRE_CHAIN_ASK && wire_get_chain_ask(body, len, &ask) == len)
		fetch_serve(s, h->from_node, &ask);
	else if (h->type == WIRE_CHAIN && wire_get_chain(body, len, &chain) == len)
		fetch_rx(s, h->from_node, &chain);
	else
		count(s, C_drop_control_bad);
}

static bool valid(const struct shard *s, const struct tripod_packet *p, const struct wire_header *h)
{
	if (h->cluster != s->conf->cluster || h->from_node >= NODES_MAX ||
		h->from_node == s->conf->id || !s->conf->member[h->from_node].present)
		return false;
	if (h->from_worker >= s->conf->peer_workers)
		return false;
	return tripod_addr_equal(&p->tuple.src, &s->conf->member[h->from_node].fabric);
}

// A message whose sender is proven and that has not come before.
static void accepted(struct shard *s, struct tripod_packet *p, const struct wire_header *h,
	const uint8_t *body, uint16_t len)
{
	struct peer *peer = &s->peer[h->from_node];

	if (h->type == WIRE_HELLO)
		hello_rx(s, p, h, body, len);
	else if (h->type == WIRE_GREET)
		greet_rx(s, p, h, body, len);
	else if (!peer->live)
		count(s, C_drop_control_stale); // it will be sent again
	else if (memcmp(p->data + 6, peer->mac, 6) != 0)
		count(s, C_drop_control_bad);
	else if (h->type == WIRE_LOG)
		repl_rx(s, peer, h, body, len);
	else if (h->type == WIRE_PULL)
		pull_rx(s, h, body, len);
	else if (h->type == WIRE_NONE || h->type == WIRE_REFUSED)
		none_rx(s, h, body, len);
	else if (h->type == WIRE_LACK)
		repl_lack_rx(s, h->from_node, h, body, len);
	else if (h->type == WIRE_REQUEST)
		request_rx(s, h, body, len);
	else if (h->type == WIRE_APPLIED)
		request_applied_rx(s, h, body, len);
	else if (h->type == WIRE_FORGET || h->type == WIRE_FORGOT)
		trim_rx(s, h, body, len);
	else if (h->type == WIRE_KIND)
		kind_rx(s, h, body, len);
	else if (h->type == WIRE_FRAGMENT)
		fragment_rx(s, h, body, len);
	else if (h->type == WIRE_CONFIRM)
		predicate_confirm_rx(s, h, body, len);
	else if (h->type == WIRE_INDEX)
		index_rx(s, h, body, len);
	else if (h->type == WIRE_SNAPSHOT)
		index_copy_rx(s, h, body, len);
	else if (h->type == WIRE_ASK)
		index_ask_rx(s, h, body, len);
	else if (h->type == WIRE_CHAIN_ASK || h->type == WIRE_CHAIN)
		chain_rx(s, h, body, len);
}

// Of a boot that is not believed, nothing counts but what may make it so.
static bool may_introduce(const struct shard *s, const struct wire_header *h)
{
	return (h->type == WIRE_HELLO || h->type == WIRE_GREET) &&
	       h->boot != s->node->members.m[h->from_node].boot_before;
}

// Completes the header h of a short message, which then stands in `whole` as it was sealed. false: it is
// of another life of its sender, or for one of this node.
static bool lengthen(const struct shard *s, struct wire_header *h, const uint8_t *rest,
	uint8_t whole[WIRE_MESSAGE_MAX])
{
	uint64_t boot = s->peer[h->from_node].boot;

	if ((uint8_t)h->boot != (uint8_t)boot || (uint8_t)h->to_boot != (uint8_t)s->conf->boot)
		return false;
	h->boot = boot;
	h->to_boot = (uint32_t)s->conf->boot;
	if (wire_put_header(whole, WIRE_HEADER_SIZE, h) < 0)
		return false; // no boot has been heard yet
	memcpy(whole + WIRE_HEADER_SIZE, rest, h->length - WIRE_HEADER_SIZE);
	return true;
}

void control_rx(struct shard *s, struct tripod_packet *p)
{
	const uint8_t *message = tripod_packet_payload(p);
	uint8_t whole[WIRE_MESSAGE_MAX];
	struct wire_header h;
	bool is_short = wire_is_short(message, p->payload_len);
	int head = is_short ? wire_get_short(message, p->payload_len, &h)
			    : wire_get_header(message, p->payload_len, &h);

	if (is_short)
		h.cluster = s->conf->cluster; // the tag tells
	if (head < 0 || !valid(s, p, &h)) {
		shard_drop(s, p, C_drop_control_bad);
		return;
	}
	if (h.to_node != WIRE_ANY && h.to_node != s->conf->id) {
		shard_done(s, p->buf);
		return;
	}
	// A stream is watched by one worker, or a message would be new to each of them once.
	unsigned worker = h.to_worker == WIRE_ANY ? h.from_worker % s->conf->workers : h.to_worker;
	if (worker >= s->conf->workers) {
		shard_drop(s, p, C_drop_control_bad);
		return;
	}
	if (control_pass_on(s, p, worker))
		return;
	if (is_short && !lengthen(s, &h, message + head, whole)) {
		shard_drop(s, p, C_drop_control_stale);
		return;
	}
	if (is_short) {
		message = whole;
		head = WIRE_HEADER_SIZE;
	}
	bool believed = s->peer[h.from_node].boot == h.boot, old_rx = s->old_rx;
	s->old_rx |= (p->flags & TRIPOD_PKT_STALE) != 0;
	if ((h.to_node != WIRE_ANY && h.to_boot != (uint32_t)s->conf->boot) ||
		(!believed && !may_introduce(s, &h)))
		count(s, C_drop_control_stale);
	else if (believed ? session_open(s, &h, message) : session_proven(s, &h, message))
		accepted(s, p, &h, message + head, (uint16_t)(h.length - head - WIRE_TAG_SIZE));
	s->old_rx = old_rx;
	shard_done(s, p->buf);
}
