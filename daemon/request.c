// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/store.h"

static const char *const verbs[REQUEST_VERBS] = {
	[REQUEST_STATUS] = "status",
	[REQUEST_NODES] = "nodes",
	[REQUEST_CONNECTIONS] = "connections",
	[REQUEST_COUNTERS] = "counters",
	[REQUEST_CHAIN] = "chain",
	[REQUEST_RELOAD] = "reload",
	[REQUEST_KEYS] = "keys",
	[REQUEST_RELOAD_KEYS] = "reload-keys",
	[REQUEST_VERSION] = "version",
	[REQUEST_DRAIN] = "drain",
	[REQUEST_UNDRAIN] = "undrain",
	[REQUEST_STOP] = "stop",
};

static int parse_uint(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' && *out <= max ? 0 : -EINVAL;
}

static int parse_proto(const char *text, uint8_t *proto)
{
	static const uint8_t known[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6};
	uint64_t n;

	for (size_t i = 0; i < sizeof(known); i++) {
		if (strcmp(text, tripod_proto_name(known[i])) == 0) {
			*proto = known[i];
			return 0;
		}
	}
	if (parse_uint(text, 255, &n) != 0)
		return -EINVAL;
	*proto = (uint8_t)n;
	return 0;
}

static int parse_port(const char *text, uint16_t *port)
{
	uint64_t n;

	if (parse_uint(text, 65535, &n) != 0)
		return -EINVAL;
	*port = (uint16_t)n;
	return 0;
}

static int parse_role(const char *text, enum request_role *role)
{
	if (strcmp(text, "master") == 0)
		*role = REQUEST_ROLE_MASTER;
	else if (strcmp(text, "backup") == 0)
		*role = REQUEST_ROLE_BACKUP;
	else
		return -EINVAL;
	return 0;
}

static int parse_direction(const char *text, uint8_t *direction)
{
	if (strcmp(text, "incoming") == 0)
		*direction = TRIPOD_INCOMING;
	else if (strcmp(text, "outgoing") == 0)
		*direction = TRIPOD_OUTGOING;
	else
		return -EINVAL;
	return 0;
}

static int parse_state(const char *text, char *out, size_t size)
{
	static const char *const others[] = {"open", "unanswered", "closed"};
	bool known = false;

	for (enum tcp_state s = TCP_SYN_SENT; s <= TCP_CLOSED; s++)
		known |= strcmp(text, tcp_state_name(s)) == 0;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		known |= strcmp(text, others[i]) == 0;
	if (!known || strlen(text) >= size)
		return -EINVAL;
	strcpy(out, text);
	return 0;
}

static int parse_condition(const char *key, const char *value, struct request_filter *f)
{
	if (strcmp(key, "proto") == 0) {
		f->has_proto = true;
		return parse_proto(value, &f->proto);
	}
	if (strcmp(key, "state") == 0)
		return parse_state(value, f->state, sizeof(f->state));
	if (strcmp(key, "role") == 0)
		return parse_role(value, &f->role);
	if (strcmp(key, "direction") == 0) {
		f->has_direction = true;
		return parse_direction(value, &f->direction);
	}
	if (strcmp(key, "src") == 0) {
		f->has_src = true;
		return tripod_prefix_parse(&f->src, value);
	}
	if (strcmp(key, "dst") == 0) {
		f->has_dst = true;
		return tripod_prefix_parse(&f->dst, value);
	}
	if (strcmp(key, "sport") == 0) {
		f->has_sport = true;
		return parse_port(value, &f->sport);
	}
	if (strcmp(key, "dport") == 0) {
		f->has_dport = true;
		return parse_port(value, &f->dport);
	}
	return -ENOENT;
}

// text: "proto=tcp,src=10.0.0.0/8"; changed in place.
static int parse_where(char *text, struct request_filter *f, char *err, size_t size)
{
	char *next;

	for (char *word = text; word != NULL; word = next) {
		char *value = strchr(word, '=');
		int r;

		next = strchr(word, ',');
		if (next != NULL)
			*next++ = '\0';
		if (value == NULL || (next != NULL && value > next)) {
			snprintf(err, size, "where: \"%.40s\" is not KEY=VALUE", word);
			return -EINVAL;
		}
		*value++ = '\0';
		r = parse_condition(word, value, f);
		if (r == -ENOENT) {
			snprintf(err, size,
				"where: unknown key \"%.40s\"; there are proto, state, role, "
				"direction, src, dst, sport and dport",
				word);
			return -EINVAL;
		}
		if (r != 0) {
			snprintf(err, size, "where: \"%.40s\" is no value for %.40s", value, word);
			return -EINVAL;
		}
	}
	return 0;
}

static int parse_word(struct request *r, char *word, char *err, size_t size)
{
	char *value = strchr(word, '=');
	uint64_t n;

	if (value == NULL) {
		snprintf(err, size, "\"%.40s\" is not KEY=VALUE", word);
		return -EINVAL;
	}
	*value++ = '\0';
	if (r->verb == REQUEST_COUNTERS && strcmp(word, "worker") == 0) {
		if (parse_uint(value, WORKERS_MAX - 1, &n) == 0) {
			r->worker = (int)n;
			return 0;
		}
	} else if (r->verb == REQUEST_COUNTERS && strcmp(word, "nf") == 0) {
		if (value[0] != '\0' && strlen(value) < sizeof(r->nf)) {
			strcpy(r->nf, value);
			return 0;
		}
	} else if (r->verb == REQUEST_RELOAD && strcmp(word, "check") == 0) {
		if (parse_uint(value, 1, &n) == 0) {
			r->check = n == 1;
			return 0;
		}
	} else if (r->verb == REQUEST_CONNECTIONS && strcmp(word, "limit") == 0) {
		if (parse_uint(value, UINT64_MAX, &r->limit) == 0)
			return 0;
	} else if (r->verb == REQUEST_CONNECTIONS && strcmp(word, "where") == 0) {
		return parse_where(value, &r->where, err, size);
	} else {
		snprintf(err, size, "%s takes no \"%.40s\"", verbs[r->verb], word);
		return -EINVAL;
	}
	snprintf(err, size, "\"%.40s\" is no value for %s", value, word);
	return -EINVAL;
}

int request_parse(const char *line, struct request *r, char *err, size_t size)
{
	char text[REQUEST_LINE_MAX], *word, *save = NULL;
	size_t len = strlen(line);

	memset(r, 0, sizeof(*r));
	r->worker = -1;
	if (len >= sizeof(text)) {
		snprintf(err, size, "request longer than %d bytes", REQUEST_LINE_MAX);
		return -EINVAL;
	}
	memcpy(text, line, len + 1);
	word = strtok_r(text, " \t\r", &save);
	if (word == NULL) {
		snprintf(err, size, "empty request");
		return -EINVAL;
	}
	while (r->verb < REQUEST_VERBS && strcmp(word, verbs[r->verb]) != 0)
		r->verb++;
	if (r->verb == REQUEST_VERBS) {
		snprintf(err, size, "unknown request \"%.40s\"", word);
		return -EINVAL;
	}
	while ((word = strtok_r(NULL, " \t\r", &save)) != NULL)
		if (parse_word(r, word, err, size) != 0)
			return -EINVAL;
	return 0;
}

const char *request_state_name(const struct conn_view *v)
{
	if (v->state == CONN_TOMBSTONE)
		return "closed";
	if (v->key[0].proto == IPPROTO_TCP)
		return tcp_state_name(v->tcp);
	return v->flags & CONN_ANSWERED ? "open" : "unanswered";
}

bool request_is_master(const struct conn_view *v)
{
	return (v->flags & (CONN_MASTER_0 | CONN_MASTER_1)) != 0;
}

bool request_matches(const struct request_filter *f, const struct conn_view *v)
{
	const struct tripod_tuple *k = &v->key[0];

	if (f->has_proto && k->proto != f->proto)
		return false;
	if (f->has_direction && k->direction != f->direction)
		return false;
	if (f->has_sport && ntohs(k->sport) != f->sport)
		return false;
	if (f->has_dport && ntohs(k->dport) != f->dport)
		return false;
	if (f->has_src && !tripod_prefix_contains(&f->src, &k->src))
		return false;
	if (f->has_dst && !tripod_prefix_contains(&f->dst, &k->dst))
		return false;
	if (f->role != REQUEST_ROLE_ANY && request_is_master(v) != (f->role == REQUEST_ROLE_MASTER))
		return false;
	return f->state[0] == '\0' || strcmp(f->state, request_state_name(v)) == 0;
}
