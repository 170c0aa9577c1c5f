// SPDX-License-Identifier: BSD-3-Clause
// Requests on the control socket: one line each, a verb and key=value words.
//
//	status | nodes | chain | keys | reload-keys | version | drain | undrain | stop
//	reload [check=1]
//	counters [worker=N] [nf=NAME]
//	connections [limit=N] [where=KEY=VALUE,...]
//
// Pure functions; any thread. The text comes from whoever can open the socket: nothing is assumed.
#pragma once

#include "core/node.h"

#define REQUEST_LINE_MAX 1024 // bytes of a line, with its newline

enum request_verb {
	REQUEST_STATUS,
	REQUEST_NODES,
	REQUEST_CONNECTIONS,
	REQUEST_COUNTERS,
	REQUEST_CHAIN,
	REQUEST_RELOAD,
	REQUEST_KEYS,
	REQUEST_RELOAD_KEYS,
	REQUEST_VERSION,
	REQUEST_DRAIN,
	REQUEST_UNDRAIN,
	REQUEST_STOP,
	REQUEST_VERBS,
};

enum request_role { REQUEST_ROLE_ANY, REQUEST_ROLE_MASTER, REQUEST_ROLE_BACKUP };

// What a connection must be like; a field that is not set fits every one. Addresses and ports are
// those of the initiator's packets.
struct request_filter {
	bool has_proto, has_src, has_dst, has_sport, has_dport, has_direction;
	uint8_t proto;
	uint8_t direction; // enum tripod_direction of the initiator
	uint16_t sport, dport; // host byte order
	enum request_role role;
	char state[20]; // as request_state_name() says, "" any
	struct tripod_prefix src, dst;
};

struct request {
	enum request_verb verb;
	int worker; // -1: all
	uint64_t limit; // 0: none
	char nf[32]; // "": all
	bool check; // only say what would be done
	struct request_filter where;
};

// line: without newline. 0, or -EINVAL with a message in err.
int request_parse(const char *line, struct request *r, char *err, size_t size);

bool request_matches(const struct request_filter *f, const struct conn_view *v);
// "established"... of TCP; "open" or "unanswered" of others; "closed" of a tombstone.
const char *request_state_name(const struct conn_view *v);
// Does this node handle a direction of it?
bool request_is_master(const struct conn_view *v);
