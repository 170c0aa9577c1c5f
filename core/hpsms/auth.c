// SPDX-License-Identifier: BSD-3-Clause
#include "core/hpsms/auth.h"

#include <string.h>

#include <sodium.h>

#include "core/hpsms/wire.h"
#include "core/hpsms/wire_bytes.h"

#define WORDS (AUTH_WINDOW / 64 + 1)

_Static_assert((WORDS & (WORDS - 1)) == 0, "counters wrap around the window");
_Static_assert(WIRE_TAG_SIZE == crypto_aead_chacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(AUTH_KEY_SIZE == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "key");

void auth_derive(
	uint8_t out[AUTH_KEY_SIZE], const uint8_t key[AUTH_KEY_SIZE], const struct auth_ends *ends)
{
	static const uint8_t label[8] = "tripod/s";
	uint8_t info[8 + 8 + 2 + 8 + 8];
	uint8_t *b = info;

	memcpy(b, label, sizeof(label));
	b = wire_put64(b + sizeof(label), ends->cluster);
	*b++ = ends->from;
	*b++ = ends->to;
	wire_put64(wire_put64(b, ends->from_boot), ends->to_boot);
	crypto_generichash(out, AUTH_KEY_SIZE, info, sizeof(info), key, AUTH_KEY_SIZE);
}

void auth_keys_open(struct auth_keys *keys, uint64_t cluster)
{
	static const uint8_t label[8] = "tripod/o";
	uint8_t info[16];

	*keys = (struct auth_keys){.n = 1, .key[0].id = AUTH_ID_OPEN};
	memcpy(info, label, sizeof(label));
	wire_put64(info + 8, cluster);
	crypto_generichash(keys->key[0].key, AUTH_KEY_SIZE, info, sizeof(info), NULL, 0);
}

void auth_wipe(void *at, size_t size)
{
	sodium_memzero(at, size);
}

int auth_keys_find(const struct auth_keys *keys, uint8_t id)
{
	for (unsigned i = 0; i < keys->n; i++) {
		if (keys->key[i].id == id)
			return (int)i;
	}
	return -1;
}

// ---- Tags: ChaCha20-Poly1305 (RFC 8439) of nothing, with the message as associated data ----

// Sending and receiving worker, and the counter. All of them stand in the header.
static void nonce_of(
	const uint8_t *message, uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
	memset(nonce, 0, 2);
	nonce[2] = message[WIRE_AT_FROM_WORKER];
	nonce[3] = message[WIRE_AT_TO_NODE];
	nonce[4] = message[WIRE_AT_TO_WORKER];
	memcpy(nonce + 5, message + WIRE_AT_COUNTER, 7);
}

void auth_seal(const uint8_t session[AUTH_KEY_SIZE], uint8_t *message, size_t len)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], none;

	nonce_of(message, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt_detached(
		&none, message + len, NULL, NULL, 0, message, len, NULL, nonce, session);
}

bool auth_opens(const uint8_t session[AUTH_KEY_SIZE], const uint8_t *message, size_t len)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], none = 0;

	nonce_of(message, nonce);
	return crypto_aead_chacha20poly1305_ietf_decrypt_detached(
		       NULL, NULL, &none, 0, message + len, message, len, nonce, session) == 0;
}

// ---- Windows ----

void auth_window_reset(struct auth_window *w, uint64_t floor)
{
	memset(w->bits, 0xff, sizeof(w->bits));
	w->bits[floor / 64 % WORDS] = (2ull << floor % 64) - 1; // 2 << 63 is 0: all
	w->top = floor;
}

bool auth_window_take(struct auth_window *w, uint64_t counter)
{
	if (counter <= w->top && w->top - counter >= AUTH_WINDOW)
		return false;
	uint64_t from = w->top / 64, to = counter / 64;
	if (counter > w->top) {
		for (unsigned n = 0; from < to && n < WORDS; n++)
			w->bits[++from % WORDS] = 0;
		w->top = counter;
	}
	uint64_t *word = &w->bits[to % WORDS], bit = 1ull << counter % 64;
	if (*word & bit)
		return false;
	*word |= bit;
	return true;
}
