// SPDX-License-Identifier: BSD-3-Clause
// Scalars: from text to values, and the getters of tripod/conf.h.
#include <errno.h>

#include "config/tree.h"

int conf_parse_bool(const char *text, bool *b)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i]) == 0) {
			*b = i & 1;
			return 0;
		}
	}
	return -EINVAL;
}

// Reads digits up to the first other character, which *end gets.
static int conf_parse_digits(const char *text, uint64_t *u, const char **end)
{
	uint64_t value = 0;
	const char *s = text;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			return -EINVAL;
	if (s == text || (text[0] == '0' && s > text + 1)) // 010 may mean 8 or 10: neither
		return -EINVAL;
	*u = value;
	*end = s;
	return 0;
}

int conf_parse_uint(const char *text, uint64_t *u)
{
	const char *end;
	if (conf_parse_digits(text, u, &end) < 0 || *end != '\0')
		return -EINVAL;
	return 0;
}

int conf_parse_ports(const char *text, uint16_t *first, uint16_t *last)
{
	uint64_t a, b;
	const char *end;
	if (conf_parse_digits(text, &a, &end) < 0)
		return -EINVAL;
	b = a;
	if (*end == '-' && conf_parse_digits(end + 1, &b, &end) < 0)
		return -EINVAL;
	if (*end != '\0' || a == 0 || b > 65535 || a > b)
		return -EINVAL;
	*first = (uint16_t)a;
	*last = (uint16_t)b;
	return 0;
}

static int conf_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int conf_parse_mac(const char *text, uint8_t mac[6])
{
	uint8_t m[6];
	if (strlen(text) != 17)
		return -EINVAL;
	for (unsigned i = 0; i < 6; i++) {
		int high = conf_hex(text[3 * i]), low = conf_hex(text[3 * i + 1]);
		if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
			return -EINVAL;
		m[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(mac, m, sizeof(m));
	return 0;
}

int conf_parse_interface(const char *text, struct tripod_addr *a, struct tripod_prefix *p)
{
	char address[TRIPOD_ADDR_STRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash == NULL ? strlen(text) : (size_t)(slash - text);
	if (n >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, n);
	address[n] = '\0';
	if (tripod_addr_parse(a, address) < 0)
		return -EINVAL;
	unsigned bits = strchr(address, ':') == NULL ? 32 : 128;
	uint64_t len = bits;
	if (slash != NULL && conf_parse_uint(slash + 1, &len) < 0)
		return -EINVAL;
	if (len > bits)
		return -ERANGE;
	p->addr = *a;
	p->len = (uint8_t)(128 - bits + len);
	for (unsigned i = p->len; i < 128; i++)
		p->addr.b[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	return 0;
}

// ---- Getters ----

const char *tripod_conf_text(const struct tripod_conf *c)
{
	return c != NULL && c->kind == CONF_SCALAR ? c->text : NULL;
}

const char *tripod_conf_string(const struct tripod_conf *c, const char *key)
{
	return tripod_conf_text(tripod_conf_get(c, key));
}

bool tripod_conf_bool(const struct tripod_conf *c, const char *key)
{
	const char *text = tripod_conf_string(c, key);
	bool b = false;
	return text != NULL && conf_parse_bool(text, &b) == 0 && b;
}

uint64_t tripod_conf_uint(const struct tripod_conf *c, const char *key)
{
	const char *text = tripod_conf_string(c, key);
	uint64_t u = 0;
	return text != NULL && conf_parse_uint(text, &u) == 0 ? u : 0;
}

int tripod_conf_addr(const struct tripod_conf *c, struct tripod_addr *a)
{
	const char *text = tripod_conf_text(c);
	return text == NULL || tripod_addr_parse(a, text) < 0 ? -EINVAL : 0;
}

int tripod_conf_prefix(const struct tripod_conf *c, struct tripod_prefix *p)
{
	const char *text = tripod_conf_text(c);
	struct tripod_addr a;
	if (text == NULL || conf_parse_interface(text, &a, p) < 0)
		return -EINVAL;
	// Bits behind the length: a slip of the pen, and the schema says so.
	return tripod_addr_equal(&a, &p->addr) ? 0 : -EINVAL;
}

int tripod_conf_ports(const struct tripod_conf *c, uint16_t *first, uint16_t *last)
{
	const char *text = tripod_conf_text(c);
	return text == NULL ? -EINVAL : conf_parse_ports(text, first, last);
}

int tripod_conf_mac(const struct tripod_conf *c, uint8_t mac[6])
{
	const char *text = tripod_conf_text(c);
	return text == NULL ? -EINVAL : conf_parse_mac(text, mac);
}
