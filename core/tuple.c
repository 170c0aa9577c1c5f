// SPDX-License-Identifier: BSD-3-Clause
#include <tripod/tuple.h>

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>

static uint64_t load64(const uint8_t *at)
{
	uint64_t v;
	memcpy(&v, at, sizeof(v));
	return be64toh(v);
}

// The upper `bits` bits set; 0 to 64.
static uint64_t mask64(unsigned bits)
{
	return bits == 0 ? 0 : UINT64_MAX << (64 - bits);
}

bool tripod_prefix_contains(const struct tripod_prefix *p, const struct tripod_addr *a)
{
	if (p->len > 128)
		return false;
	// "::/0" means every IPv6 address: what is written for one family must not let in the other.
	if (p->len < 96 && tripod_addr_is_v4(a))
		return false;
	unsigned high = p->len < 64 ? p->len : 64;
	uint64_t differ = (load64(p->addr.b) ^ load64(a->b)) & mask64(high);
	differ |= (load64(p->addr.b + 8) ^ load64(a->b + 8)) & mask64(p->len - high);
	return differ == 0;
}

// IPv6 text with an IPv4-mapped address is refused: the value would be taken for an IPv4 address.
int tripod_addr_parse(struct tripod_addr *a, const char *text)
{
	struct tripod_addr r;
	uint32_t v4;
	if (inet_pton(AF_INET, text, &v4) == 1) {
		*a = tripod_addr_v4(v4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, r.b) != 1 || tripod_addr_is_v4(&r))
		return -EINVAL;
	*a = r;
	return 0;
}

// Reads up to three decimal digits and nothing else; -EINVAL otherwise.
static int parse_length(const char *text)
{
	int value = 0;
	if (*text == '\0')
		return -EINVAL;
	for (int i = 0; text[i] != '\0'; i++) {
		if (i == 3 || text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

// Bits of the address beyond the length are kept: "10.1.0.1/24" names a host and its network alike.
int tripod_prefix_parse(struct tripod_prefix *p, const char *text)
{
	char copy[TRIPOD_ADDR_STRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	struct tripod_addr addr;
	if (n >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	if (tripod_addr_parse(&addr, copy) != 0)
		return -EINVAL;
	int max = tripod_addr_is_v4(&addr) ? 32 : 128;
	int len = slash ? parse_length(slash + 1) : max;
	if (len < 0 || len > max)
		return -EINVAL;
	p->addr = addr;
	p->len = (uint8_t)(128 - max + len);
	return 0;
}

static const char *addr_text(const struct tripod_addr *a, char text[static TRIPOD_ADDR_STRLEN])
{
	if (tripod_addr_is_v4(a))
		return inet_ntop(AF_INET, a->b + 12, text, TRIPOD_ADDR_STRLEN);
	return inet_ntop(AF_INET6, a->b, text, TRIPOD_ADDR_STRLEN);
}

const char *tripod_addr_format(const struct tripod_addr *a, char *buf, size_t size)
{
	char text[TRIPOD_ADDR_STRLEN];
	snprintf(buf, size, "%s", addr_text(a, text));
	return buf;
}

const char *tripod_prefix_format(const struct tripod_prefix *p, char *buf, size_t size)
{
	char text[TRIPOD_ADDR_STRLEN];
	// A prefix shorter than the mapped form's 96 bits covers more than IPv4, though it looks like it.
	int len = tripod_addr_is_v4(&p->addr) && p->len >= 96 ? p->len - 96 : p->len;
	snprintf(buf, size, "%s/%d", addr_text(&p->addr, text), len);
	return buf;
}

const char *tripod_tuple_format(const struct tripod_tuple *t, char *buf, size_t size)
{
	char src[TRIPOD_ADDR_STRLEN], dst[TRIPOD_ADDR_STRLEN];
	const char *open_src = tripod_addr_is_v4(&t->src) ? "" : "[";
	const char *close_src = tripod_addr_is_v4(&t->src) ? "" : "]";
	const char *open_dst = tripod_addr_is_v4(&t->dst) ? "" : "[";
	const char *close_dst = tripod_addr_is_v4(&t->dst) ? "" : "]";
	snprintf(buf, size, "%s %s%s%s:%u > %s%s%s:%u", tripod_proto_name(t->proto), open_src,
		addr_text(&t->src, src), close_src, ntohs(t->sport), open_dst,
		addr_text(&t->dst, dst), close_dst, ntohs(t->dport));
	return buf;
}

const char *tripod_proto_name(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_ICMPV6:
		return "icmp6";
	default:
		return "?";
	}
}
