// SPDX-License-Identifier: BSD-3-Clause
#include "nf/testkit/spec.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/testing/frames.h"

static const struct {
	const char *name;
	uint8_t flag;
} FLAGS[] = {
	{"syn", TRIPOD_TCP_SYN},
	{"fin", TRIPOD_TCP_FIN},
	{"rst", TRIPOD_TCP_RST},
	{"psh", TRIPOD_TCP_PSH},
	{"ack", TRIPOD_TCP_ACK},
};
#define N_FLAGS (sizeof(FLAGS) / sizeof(FLAGS[0]))

void spec_die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("testkit: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}

// "198.51.100.7:4242", "[2001:db8::1]:80", "10.1.0.5"
static void parse_end(char *text, const char *all, struct tripod_addr *addr, uint16_t *port)
{
	char *address = text, *colon = strrchr(text, ':');
	*port = 0;
	if (text[0] == '[') {
		char *close = strchr(text, ']');
		if (close == NULL)
			spec_die("'%s' lacks a ] in \"%s\"", text, all);
		address++;
		colon = close[1] == ':' ? close + 1 : NULL;
		*close = '\0';
	}
	if (colon != NULL) {
		*colon = '\0';
		char *end;
		unsigned long v = strtoul(colon + 1, &end, 10);
		if (colon[1] == '\0' || *end != '\0' || v > 65535)
			spec_die("'%s' is no port in \"%s\"", colon + 1, all);
		*port = (uint16_t)v;
	}
	if (tripod_addr_parse(addr, address) != 0)
		spec_die("'%s' is no address in \"%s\"", address, all);
}

static void parse_word(struct frame_spec *s, const char *word, const char *all)
{
	unsigned long value = 0;
	const char *equals = strchr(word, '=');
	if (equals != NULL) {
		char *end;
		value = strtoul(equals + 1, &end, 10);
		if (equals[1] == '\0' || *end != '\0' || value > UINT32_MAX)
			spec_die("'%s' is no number in \"%s\"", equals + 1, all);
		size_t n = (size_t)(equals - word);
		if (n == 3 && memcmp(word, "seq", n) == 0)
			s->seq = (uint32_t)value;
		else if (n == 3 && memcmp(word, "ack", n) == 0)
			s->ack = (uint32_t)value;
		else if (n == 3 && memcmp(word, "len", n) == 0)
			s->payload_len = value;
		else
			spec_die("'%s' means nothing in \"%s\"", word, all);
		return;
	}
	if (strcmp(word, "reply") == 0) {
		s->echo_reply = true;
		return;
	}
	for (size_t i = 0; i < N_FLAGS; i++)
		if (strcmp(word, FLAGS[i].name) == 0) {
			s->tcp_flags |= FLAGS[i].flag;
			return;
		}
	spec_die("'%s' means nothing in \"%s\"", word, all);
}

void spec_packet(struct tripod_packet *p, uint8_t *buf, const char *text)
{
	char copy[256];
	if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
		spec_die("too long: \"%s\"", text);
	char *save, *word[5];
	for (unsigned i = 0; i < 5; i++) {
		word[i] = strtok_r(i == 0 ? copy : NULL, " ", &save);
		if (word[i] == NULL)
			spec_die("a packet is \"in|out PROTO SRC > DST ...\", not \"%s\"", text);
	}
	enum tripod_direction direction =
		strcmp(word[0], "in") == 0 ? TRIPOD_INCOMING : TRIPOD_OUTGOING;
	if (direction == TRIPOD_OUTGOING && strcmp(word[0], "out") != 0)
		spec_die("'%s' is neither in nor out in \"%s\"", word[0], text);
	struct tripod_tuple t = {.direction = direction & 1};
	if (strcmp(word[1], "tcp") == 0)
		t.proto = IPPROTO_TCP;
	else if (strcmp(word[1], "udp") == 0)
		t.proto = IPPROTO_UDP;
	else if (strcmp(word[1], "icmp") == 0)
		t.proto = IPPROTO_ICMP;
	else
		spec_die("'%s' is neither tcp, udp nor icmp in \"%s\"", word[1], text);
	uint16_t sport, dport;
	parse_end(word[2], text, &t.src, &sport);
	parse_end(word[4], text, &t.dst, &dport);
	if (strcmp(word[3], ">") != 0)
		spec_die("a > is missing in \"%s\"", text);
	t.sport = htons(sport);
	t.dport = t.proto == IPPROTO_ICMP ? t.sport : htons(dport);
	struct frame_spec s = {.tuple = &t};
	for (char *w = strtok_r(NULL, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
		parse_word(&s, w, text);
	if (t.proto == IPPROTO_TCP && s.tcp_flags == 0)
		s.tcp_flags = TRIPOD_TCP_ACK;
	size_t len = frames_build(buf, SPEC_FRAME_MAX, &s);
	int kind = frames_parse(p, buf, len, SPEC_FRAME_MAX, direction);
	if (kind != PARSE_FLOW)
		spec_die("the gateway would not take \"%s\" for a connection's (%s)", text,
			kind >= 0 ? counter_texts[kind].name : "other traffic");
}

static uint32_t get32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

void spec_format(const struct tripod_packet *p, char *buf, size_t size)
{
	char tuple[TRIPOD_TUPLE_STRLEN];
	size_t n = (size_t)snprintf(
		buf, size, "%s", tripod_tuple_format(&p->tuple, tuple, sizeof(tuple)));
	if (p->tuple.proto == IPPROTO_TCP) {
		const uint8_t *tcp = p->data + p->l4;
		for (size_t i = 0; i < N_FLAGS && n < size; i++)
			if ((tcp[13] & FLAGS[i].flag) != 0)
				n += (size_t)snprintf(buf + n, size - n, " %s", FLAGS[i].name);
		if (n < size)
			n += (size_t)snprintf(buf + n, size - n, " seq=%u ack=%u", get32(tcp + 4),
				get32(tcp + 8));
	}
	if (n < size)
		snprintf(buf + n, size - n, " len=%u", p->payload_len);
}
