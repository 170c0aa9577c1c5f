// SPDX-License-Identifier: BSD-3-Clause
// The hosts of a simulated rack: clients outside, servers inside, as small TCP, UDP and echo stacks
// that open connections, send and check data, retransmit, close. One value, virtual time, one seed.
// They know nothing of nodes: they see frames on their side's VLAN and the gateway's MAC.
//
// Every byte is a function of (connection, direction, offset), so whatever arrives is compared with
// what was sent, in order or not. The two ends of a connection find each other by what the gateway
// does not change: the initial sequence number of the SYN, the connection's id in datagrams.
//
// A deviation of what the hosts see from what the gateway owes them is an event: see hosts_what.
// send() and event() are called from inside hosts_rx(), hosts_tick() and hosts_finish(), and must not
// call back.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tripod/tuple.h>

struct hosts;
struct sizes; // sizes.h
struct replay; // replay.h

enum hosts_kind { // who opens, and through what
	HOSTS_TCP_IN, // client outside -> VIP (load balancer) -> server inside
	HOSTS_TCP_OUT, // inside -> source NAT -> server outside
	HOSTS_TCP_STRAIGHT, // outside -> server's own address: firewall alone
	HOSTS_UDP_IN, // as HOSTS_TCP_IN
	HOSTS_UDP_OUT,
	HOSTS_ECHO_OUT, // ICMP echo
	HOSTS_KINDS,
};
const char *hosts_kind_name(enum hosts_kind kind);

// ---- The plan of addresses ----
// On-link prefixes leave room for the gateway (.1) and the nodes (up to .99). Everything else of a
// side lies behind its router; hosts answer for all of it, so it may as well be configured on-link.

#define HOSTS_OUTSIDE_LINK_V4 "203.0.113.0/24"
#define HOSTS_OUTSIDE_ROUTER_V4 "203.0.113.254"
#define HOSTS_OUTSIDE_LINK_V6 "2001:db8:1::/64"
#define HOSTS_OUTSIDE_ROUTER_V6 "2001:db8:1::fe"
#define HOSTS_CLIENTS_V4 "198.18.0.0/16" // hosts outside
#define HOSTS_CLIENTS_V6 "2001:db8:c::/64"
#define HOSTS_INSIDE_LINK_V4 "10.1.0.0/24"
#define HOSTS_INSIDE_ROUTER_V4 "10.1.0.254"
#define HOSTS_INSIDE_LINK_V6 "fd00:1::/64"
#define HOSTS_INSIDE_ROUTER_V6 "fd00:1::fe"
#define HOSTS_SERVERS_V4 "10.2.0.0/16" // hosts inside
#define HOSTS_SERVERS_V6 "fd00:2::/64"
#define HOSTS_ADDRESSES_MAX 65000 // clients, servers
#define HOSTS_VIPS_MAX 64 // 203.0.113.128.., 2001:db8:1::8000..

// Number i of its kind, from 0.
struct tripod_addr hosts_client_addr(unsigned i, bool v6);
struct tripod_addr hosts_server_addr(unsigned i, bool v6);
struct tripod_addr hosts_vip_addr(unsigned i, bool v6);

// Ports: of a VIP (TCP and UDP); of its backends, so that connections of one client to two VIPs never
// meet at one server; of servers reached straight; of servers outside. Any port is answered.
#define HOSTS_VIP_PORT 80
#define HOSTS_BACKEND_PORT(vip) (8000 + (vip))
#define HOSTS_STRAIGHT_PORT 8443
#define HOSTS_REMOTE_PORT 443

// Every host of a side is reached through one MAC.
extern const uint8_t HOSTS_MAC[2][6]; // by side: enum tripod_direction of what comes from there

struct hosts_event;

struct hosts_conf {
	uint64_t seed;
	const uint8_t (*gateway_mac)[6]; // [2], by enum tripod_direction
	uint16_t mtu; // both sides; 1280 or more
	unsigned clients, servers, vips; // addresses in use; vips may be 0 without weight of *_IN
	uint32_t weight[HOSTS_KINDS]; // mix
	uint32_t v6_percent; // share of connections over IPv6
	uint32_t opens_per_s; // over all kinds; hosts_pause() stops opening
	uint32_t connections_max; // open at one time
	const struct sizes *sizes; // bytes per connection (sizes.h), NULL: built-in mix
	uint32_t bytes_max; // of one direction of one connection; 0: 1 MB. Larger draws are cut
	const struct replay *replay; // opens these in place of drawn ones (opens_per_s is ignored)
	// Shares of connections with rounds of request and reply, with long silences, with an abort,
	// with a server that refuses.
	uint32_t request_reply_percent, idle_percent, abort_percent, refuse_percent;
	uint32_t think_max_ms; // longest silence between any two rounds
	uint32_t idle_max_ms; // longest of the long silences
	uint32_t keepalive_ms; // probes in silence, as often; 0: none
	uint32_t reuse_percent; // of openings that take a closed tuple, at once
	// RFC 9293's retransmission with this least time-out; a connection without progress for
	// give_up_ns is broken.
	uint64_t rto_min_ns, give_up_ns;
	bool dirty; // links spoil bytes: a wrong checksum is counted, and is no event
	// Sends a frame into the switch; side: the VLAN it appears on. bytes are copied by the callee.
	void (*send)(void *ctx, enum tripod_direction side, const uint8_t *bytes, uint16_t len);
	// A connection has ended, or was established: for the checkers. May be NULL.
	void (*event)(void *ctx, const struct hosts_event *e);
	void *ctx;
};

enum hosts_what {
	HOSTS_ESTABLISHED, // the initiator was answered
	HOSTS_DONE, // closed as planned, all bytes right
	HOSTS_BROKEN, // reset, stalled, or given up after it was established
	HOSTS_REFUSED, // never established
	// wrong bytes or a wrong translation: always a violation. With id 0 the frame could be put
	// down to no connection; a connection that is named ends with it
	HOSTS_CORRUPT,
};
const char *hosts_what_name(enum hosts_what what);

struct hosts_event {
	enum hosts_what what;
	enum hosts_kind kind;
	bool planned; // refused, because the server was to refuse
	bool reused; // the opening tuple was that of a connection that had just closed
	uint64_t id; // of the connection, never used twice, never 0
	struct tripod_tuple opening; // as the initiator sends it (direction of its side)
	// as the responder sees it, same direction: zero until it was heard there
	struct tripod_tuple peer;
	uint64_t opened_ns, established_ns, last_progress_ns;
	uint64_t longest_stall_ns; // without progress, since it was established
	uint64_t bytes; // arrived in order, both ways
	const char *why; // static text
};

// A change that breaks the conditions above, or no memory: NULL.
struct hosts *hosts_new(const struct hosts_conf *conf, uint64_t now_ns);
void hosts_free(struct hosts *h); // accepts NULL
// A frame from the switch, untagged, on the VLAN of this side's hosts.
void hosts_rx(struct hosts *h, enum tripod_direction side, const uint8_t *bytes, uint16_t len,
	uint64_t now_ns);
// Does what is due; returns when next, UINT64_MAX: never.
uint64_t hosts_tick(struct hosts *h, uint64_t now_ns);
// When hosts_tick() has something to do: earlier than it said, after hosts_rx().
uint64_t hosts_due_ns(const struct hosts *h);
void hosts_pause(struct hosts *h, bool paused); // open no more connections (open ones go on)
// Opens no more, and closes what is open, as soon as its data are through.
void hosts_finish(struct hosts *h, uint64_t now_ns);

struct hosts_totals {
	uint64_t opened[HOSTS_KINDS], established, done, broken, refused, corrupt;
	uint64_t open; // now
	uint64_t bytes; // arrived in order, of what has ended
	uint64_t packets; // sent and received
	uint64_t retransmissions, fast_retransmissions;
	uint64_t skipped; // openings without a free place or tuple
	uint64_t reused; // openings of a tuple just closed
	uint64_t resets_sent, resets_received;
	uint64_t datagrams_lost; // requests without an answer
	uint64_t icmp_errors, arp_answers;
	uint64_t bad_checksums; // when dirty
	uint64_t late; // datagrams of connections that have ended
	uint64_t probes, keepalives; // of closed windows; in silence
	uint64_t ooo_dropped; // segments that found the list of gaps full
};
void hosts_totals(const struct hosts *h, struct hosts_totals *out);
