// SPDX-License-Identifier: BSD-3-Clause
#include "core/tcp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/testing/track.h"

static void tcp_state__table(void **state)
{
	enum { SY = TCP_DIR_SYN, AK = TCP_DIR_ACK, FI = TCP_DIR_FIN, FA = TCP_DIR_FIN_ACKED };
	static const struct {
		uint8_t ini, res;
		enum tcp_state want;
	} cases[] = {
		{0, 0, TCP_SYN_SENT},
		{SY, 0, TCP_SYN_SENT},
		{SY, SY, TCP_SYN_RECEIVED}, // SYNs crossed
		{SY, SY | AK, TCP_SYN_RECEIVED},
		{SY | AK, 0, TCP_SYN_RECEIVED}, // the responder is heard by another node
		{SY | AK, SY, TCP_SYN_RECEIVED},
		{SY | AK, SY | AK, TCP_ESTABLISHED},
		{SY | AK, AK, TCP_ESTABLISHED}, // its SYN was lost with a node
		{SY | AK | FI, SY | AK, TCP_CLOSING},
		{SY | AK, SY | AK | FI, TCP_CLOSING},
		{SY | AK | FI, SY | AK | FA, TCP_CLOSING},
		{SY | AK | FI, SY | AK | FI | FA, TCP_CLOSING},
		{SY | AK | FI | FA, SY | AK | FI, TCP_CLOSING},
		{SY | AK | FI | FA, SY | AK | FI | FA, TCP_CLOSED},
		{SY | TCP_DIR_RST, 0, TCP_CLOSED},
		{SY | AK, SY | AK | TCP_DIR_RST, TCP_CLOSED},
		{SY | AK | TCP_DIR_LEARNED, SY | AK | TCP_DIR_LEARNED | TCP_DIR_FIN_SEEN,
			TCP_ESTABLISHED},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tcp_dir ini = {.flags = cases[i].ini}, res = {.flags = cases[i].res};
		assert_int_equal(tcp_state(&ini, &res), cases[i].want);
	}
}

static void tcp_timeout_ms__and_names(void **state)
{
	struct tcp_timeouts t = {1, 2, 3, 4};
	static const struct {
		enum tcp_state s;
		uint32_t ms;
		const char *name;
	} cases[] = {
		{TCP_SYN_SENT, 1, "syn-sent"},
		{TCP_SYN_RECEIVED, 1, "syn-received"},
		{TCP_ESTABLISHED, 2, "established"},
		{TCP_CLOSING, 3, "closing"},
		{TCP_CLOSED, 4, "closed"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(tcp_timeout_ms(&t, cases[i].s), cases[i].ms);
		assert_string_equal(tcp_state_name(cases[i].s), cases[i].name);
	}
	assert_string_equal(tcp_state_name((enum tcp_state)99), "?");
}

static void tcp_flags_bogus__table(void **state)
{
	static const uint8_t good[] = {S, S | A, S | P, A, A | P, A | 0x20, F | A, F | A | P, R,
		R | A, R | A | P, S | 0xc0, S | A | 0x40, A | 0x80};
	static const uint8_t bad[] = {0, P, 0x20, P | 0x20, F, F | P | 0x20, S | F, S | R,
		S | F | A, S | R | A, F | R, F | R | A, 0x3f, 0xc0};
	for (size_t i = 0; i < sizeof(good); i++)
		assert_false(tcp_flags_bogus(good[i]));
	struct fixture f;
	establish(&f);
	for (size_t i = 0; i < sizeof(bad); i++) {
		assert_true(tcp_flags_bogus(bad[i]));
		struct fixture was = f;
		assert_int_equal(send(&f, INI, bad[i], 1001, 5001, WIN, 0), TCP_OUT_OF_WINDOW);
		assert_memory_equal(f.dir, was.dir, sizeof(f.dir));
	}
}

static void tcp_track__handshake_data_and_close(void **state)
{
	struct fixture f;
	establish(&f);
	assert_int_equal(send(&f, INI, A | P, 1001, 5001, WIN, 100), TCP_OK);
	assert_int_equal(send(&f, RES, A, 5001, 1101, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, RES, A | P, 5001, 1101, WIN, 500), TCP_OK);
	assert_int_equal(send(&f, INI, A, 1101, 5501, WIN, 0), TCP_OK);
	// Half-close: the responder goes on sending.
	assert_int_equal(send(&f, INI, F | A, 1101, 5501, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSING);
	assert_int_equal(send(&f, RES, A | P, 5501, 1101, WIN, 50), TCP_OK); // not yet of the FIN
	assert_false(f.dir[RES].flags & TCP_DIR_FIN_ACKED);
	assert_int_equal(send(&f, RES, A, 5551, 1102, WIN, 0), TCP_OK_CHANGED);
	assert_true(f.dir[RES].flags & TCP_DIR_FIN_ACKED);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(send(&f, RES, A, 5551 + i * 900, 1102, WIN, 900), TCP_OK);
		assert_int_equal(send(&f, INI, A, 1102, 5551 + (i + 1) * 900, WIN, 0), TCP_OK);
	}
	assert_int_equal(send(&f, RES, F | A, 14551, 1102, WIN, 10), TCP_OK_CHANGED);
	assert_int_equal(send(&f, INI, A, 1102, 14561, WIN, 0), TCP_OK); // the data, not the FIN
	assert_int_equal(state_of(&f), TCP_CLOSING);
	assert_int_equal(send(&f, INI, A, 1102, 14562, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);

	// The last ACK is lost: FIN and data again, and the ACK again. No new data.
	assert_int_equal(send(&f, RES, F | A, 14551, 1102, WIN, 10), TCP_OK);
	assert_int_equal(send(&f, RES, F | A, 14561, 1102, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, A, 1102, 14562, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, F | A, 1101, 14562, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, A | P, 1102, 14562, WIN, 1), TCP_AFTER_CLOSE);
	assert_int_equal(send(&f, RES, A | P, 14562, 1102, WIN, 1), TCP_AFTER_CLOSE);
	// Of the same ports, opened anew on another node.
	struct fixture was = f;
	assert_int_equal(send(&f, INI, A, 90001, 70001, WIN, 0), TCP_AFTER_CLOSE);
	assert_int_equal(send(&f, RES, A, 70001, 90001, WIN, 0), TCP_AFTER_CLOSE);
	assert_memory_equal(f.dir, was.dir, sizeof(f.dir));
	assert_int_equal(send(&f, RES, R, 14562, 0, 0, 0), TCP_OK);
	assert_int_equal(send(&f, INI, S, 99000, 0, WIN, 0), TCP_REOPEN);
	assert_int_equal(send(&f, RES, S, 99000, 0, WIN, 0), TCP_REOPEN);
	assert_int_equal(state_of(&f), TCP_CLOSED);
}

static void tcp_track__simultaneous_close(void **state)
{
	struct fixture f;
	establish(&f);
	assert_int_equal(send(&f, INI, F | A, 1001, 5001, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(&f, RES, F | A, 5001, 1001, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(&f, INI, A, 1002, 5002, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSING);
	assert_int_equal(send(&f, RES, A, 5002, 1002, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
}

static void tcp_track__syn_again(void **state)
{
	struct fixture f = {0};
	assert_int_equal(send(&f, INI, S, 1000, 0, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(&f, INI, S, 1000, 0, WIN, 0), TCP_OK);
	assert_int_equal(state_of(&f), TCP_SYN_SENT);
	assert_int_equal(life(&f, INI, S, 1000, 0), TCP_LIFE_THIS);
	assert_int_equal(life(&f, INI, S | F, 777000, 0), TCP_LIFE_THIS); // no stack sends that
	assert_int_equal(life(&f, INI, S, 777000, 0), TCP_LIFE_DOUBT);
	// The initiator gives up and tries again with another number.
	assert_int_equal(send(&f, INI, S, 777000, 0, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, RES, S | A, 5000, 1001, WIN, 0), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, S | A, 5000, 777001, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_SYN_RECEIVED);
	assert_int_equal(send(&f, RES, S | A, 5000, 777001, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, S, 777000, 0, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, A, 777001, 5001, WIN, 0), TCP_OK_CHANGED);

	// In an established connection a SYN is for the receiver to challenge.
	struct fixture was = f;
	passes_in_doubt(&f, INI, 123456);
	assert_int_equal(send(&f, RES, S | A, 5000, 777001, WIN, 0), TCP_OK);
	passes_in_doubt(&f, RES, 31);
	assert_memory_equal(f.dir, was.dir, sizeof(f.dir));
	// ... and the reset by which a restarted initiator answers that challenge counts.
	assert_int_equal(send(&f, RES, A, 5001, 777001, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, R, 777001, 0, 0, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
}

// A server with SYN cookies has no memory: a repeated SYN may be answered with another number.
static void tcp_track__syn_cookies(void **state)
{
	struct fixture f = {0};
	send(&f, INI, S, 1000, 0, WIN, 0);
	assert_int_equal(send(&f, RES, S | A, 5000, 1001, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(&f, RES, S | A, 90005000, 1001, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, A | P, 1001, 90005001, WIN, 10), TCP_OK_CHANGED);
	assert_int_equal(send(&f, RES, A | P, 90005001, 1011, WIN, 10), TCP_OK);
	assert_int_equal(send(&f, INI, A, 1011, 90005011, WIN, 0), TCP_OK);
	assert_int_equal(state_of(&f), TCP_ESTABLISHED);
	// Learned again from then on.
	assert_int_equal(send(&f, RES, A, 5001 + 800000000, 1011, WIN, 10), TCP_OUT_OF_WINDOW);
}

static void tcp_track__simultaneous_open(void **state)
{
	struct fixture f = {0};
	assert_int_equal(send(&f, INI, S, 1000, 0, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(&f, RES, S, 5000, 0, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_SYN_RECEIVED);
	assert_int_equal(send(&f, INI, S | A, 1000, 5001, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_SYN_RECEIVED);
	assert_int_equal(send(&f, RES, S | A, 5000, 1001, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_ESTABLISHED);
	assert_int_equal(send(&f, INI, A | P, 1001, 5001, WIN, 500), TCP_OK);
	assert_int_equal(send(&f, RES, A | P, 5001, 1501, WIN, 500), TCP_OK);
	assert_int_equal(send(&f, RES, A | P, 905001, 1501, WIN, 500), TCP_OUT_OF_WINDOW);
}

static void tcp_track__fast_open(void **state)
{
	struct fixture f = {0};
	assert_int_equal(send(&f, INI, S, 1000, 0, WIN, 300), TCP_OK_CHANGED);
	struct fixture alone = f;
	assert_int_equal(send(&f, RES, S | A, 5000, 1301, WIN, 0), TCP_OK_CHANGED); // all of it
	assert_int_equal(send(&f, RES, A | P, 5001, 1301, WIN, 900), TCP_OK); // before the ACK
	assert_int_equal(send(&f, INI, A, 1301, 5901, WIN, 0), TCP_OK_CHANGED);
	f = alone;
	assert_int_equal(send(&f, RES, S | A, 5000, 1200, WIN, 0), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, S | A, 5000, 1001, WIN, 0), TCP_OK_CHANGED); // the SYN alone
	assert_int_equal(send(&f, INI, A, 1001, 5001, WIN, 300), TCP_OK_CHANGED);
}

static void tcp_track__reset_in_handshake(void **state)
{
	struct fixture f = {0}, sent;
	send(&f, INI, S, 1000, 0, WIN, 0);
	sent = f;
	// Refused: the reset must acknowledge the SYN, whatever its own number.
	assert_int_equal(send(&f, RES, R, 0, 0, 0, 0), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, R | A, 0, 1000, 0, 0), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, R | A, 0, 1002, 0, 0), TCP_OUT_OF_WINDOW);
	assert_int_equal(state_of(&f), TCP_SYN_SENT);
	assert_int_equal(send(&f, RES, R | A, 0, 1001, 0, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
	assert_int_equal(send(&f, INI, S, 4000, 0, WIN, 0), TCP_REOPEN);

	// The responder remembers an older connection: an ACK instead of a SYN+ACK, and the reset
	// that answers it. Both pass, and the SYN's repetition opens.
	f = sent;
	assert_int_equal(send(&f, RES, A, 3333333, 4444444, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, R, 4444444, 0, 0, 0), TCP_OK);
	assert_memory_equal(f.dir, sent.dir, sizeof(f.dir));
	assert_int_equal(send(&f, RES, S | A, 5000, 1001, WIN, 0), TCP_OK_CHANGED);
	// Where the SYN has not passed, but its number is known.
	struct fixture told = sent;
	told.dir[INI].flags &= (uint8_t)~TCP_DIR_LEARNED;
	assert_true(told.dir[INI].isn);
	struct fixture heard = told;
	assert_int_equal(send(&heard, RES, A, 3333333, 4444444, WIN, 0), TCP_OK);
	assert_memory_equal(heard.dir, told.dir, sizeof(heard.dir));
	assert_int_equal(send(&heard, RES, A, 5001, 1001, WIN, 0), TCP_OK_CHANGED);

	// Answered, but the initiator wants it no more; or the responder, by number or by ACK.
	struct fixture answered = f;
	assert_int_equal(send(&f, INI, R, 1001, 0, 0, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
	f = answered;
	assert_int_equal(send(&f, RES, R, 5001, 0, 0, 0), TCP_OK_CHANGED);
	f = answered;
	assert_int_equal(send(&f, RES, R | A, 0, 1001, 0, 0), TCP_OK_CHANGED);
	f = answered;
	assert_int_equal(send(&f, RES, R | A, 900000, 1002, 0, 0), TCP_OUT_OF_WINDOW);
	assert_int_equal(state_of(&f), TCP_SYN_RECEIVED);
}

static void tcp_track__reset(void **state)
{
	struct fixture f, was;
	establish(&f);
	send(&f, INI, A, 1001, 5001, WIN, 2000);
	send(&f, RES, A, 5001, 2001, WIN, 0); // acknowledges half of what comes
	send(&f, INI, A, 2001, 5001, WIN, 1000);
	send(&f, INI, A, 3001, 5001, WIN, 1000);
	send(&f, RES, A, 5001, 1001, WIN + 1000, 0); // an older one, late, with the same right edge
	was = f;
	// In the window, but not what the receiver expects: challenged, not believed.
	static const uint32_t near[] = {2002, 3001, 4000, 4002, 9000};
	for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++)
		assert_int_equal(send(&f, INI, R, near[i], 0, 0, 0), TCP_OK);
	// Blind.
	static const uint32_t far[] = {0, 2001 + 0x80000000u, 4001 + 100000, 2001 - 100000, 5001};
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]) - 1; i++)
		assert_int_equal(send(&f, INI, R, far[i], 0, 0, 0),
			i == 0 ? TCP_OK : TCP_OUT_OF_WINDOW); // 0 is just below the window here
	assert_int_equal(send(&f, RES, R | A, 5002, 4001, 0, 0), TCP_OK);
	assert_int_equal(send(&f, RES, R | A, 500000, 4001, 0, 0), TCP_OUT_OF_WINDOW);
	assert_memory_equal(f.dir, was.dir, sizeof(f.dir));
	assert_int_equal(state_of(&f), TCP_ESTABLISHED);

	// The next number, or (the rest was lost behind us) what has been acknowledged.
	assert_int_equal(send(&f, INI, R | A, 4001, 5001, 0, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
	f = was;
	assert_int_equal(send(&f, INI, R, 2001, 0, 0, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
	f = was;
	assert_int_equal(send(&f, RES, R, 5001, 0, 0, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
	assert_int_equal(send(&f, INI, A, 4001, 5001, WIN, 1), TCP_AFTER_CLOSE);
	assert_int_equal(send(&f, INI, A, 3001, 5001, WIN, 1000), TCP_OK); // draws another reset
	assert_int_equal(send(&f, RES, R, 5001, 0, 0, 0), TCP_OK);
}

static void tcp_track__out_of_window(void **state)
{
	struct fixture f;
	establish(&f);
	static const struct {
		uint32_t seq, ack;
		uint16_t len;
		enum tcp_verdict want;
	} cases[] = {
		{1001, 5001, 0, TCP_OK},
		{1000, 5001, 1, TCP_OK}, // keep-alive, with a byte and without
		{1000, 5001, 0, TCP_OK},
		{1001 + WIN, 5001, 0, TCP_OK}, // right edge
		{1001 + WIN, 5001, 2, TCP_OUT_OF_WINDOW}, // one byte is a probe, two are not
		{1001 + 2 * WIN, 5001, 0, TCP_OUT_OF_WINDOW},
		{1001 - 70000, 5001, 100, TCP_OUT_OF_WINDOW},
		{1001 + 0x80000000u, 5001, 0, TCP_OUT_OF_WINDOW},
		{1001, 5001 + 2 * WIN, 0, TCP_OUT_OF_WINDOW}, // acknowledges what was never sent
		{1001, 5001 - 100000, 0, TCP_OUT_OF_WINDOW},
		{1001, 5001 + 0x80000000u, 0, TCP_OUT_OF_WINDOW},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture was = f;
		assert_int_equal(send(&f, INI, A, cases[i].seq, cases[i].ack, WIN, cases[i].len),
			cases[i].want);
		if (cases[i].want != TCP_OK)
			assert_memory_equal(f.dir, was.dir, sizeof(f.dir));
		f = was;
	}
	// A FIN outside closes nothing.
	assert_int_equal(send(&f, INI, F | A, 5000000, 5001, WIN, 0), TCP_OUT_OF_WINDOW);
	// Nor does one inside that ends before what was sent.
	send(&f, INI, A, 1001, 5001, WIN, 1000);
	assert_int_equal(send(&f, INI, F | A, 1500, 5001, WIN, 0), TCP_OK);
	assert_int_equal(state_of(&f), TCP_ESTABLISHED);
}

static void tcp_track__zero_window(void **state)
{
	struct fixture f;
	establish(&f);
	send(&f, INI, A, 1001, 5001, WIN, WIN);
	assert_int_equal(send(&f, RES, A, 5001, 1001 + WIN, 0, 0), TCP_OK); // closed
	for (unsigned i = 0; i < 3; i++) { // probes: a byte beyond, or one before
		assert_int_equal(send(&f, INI, A, 1001 + WIN, 5001, WIN, 1), TCP_OK);
		assert_int_equal(send(&f, RES, A, 5001, 1001 + WIN, 0, 0), TCP_OK);
		assert_int_equal(send(&f, INI, A, 1000 + WIN, 5001, WIN, 0), TCP_OK);
	}
	assert_int_equal(send(&f, INI, A, 1001 + WIN, 5001, WIN, 1000), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, A, 5001, 1001 + WIN, 4000, 0), TCP_OK); // opens
	assert_int_equal(send(&f, INI, A, 1001 + WIN, 5001, WIN, 1000), TCP_OK);
	assert_int_equal(send(&f, INI, F | A, 2001 + WIN, 5001, WIN, 3000), TCP_OK_CHANGED);
}

static void tcp_track__window_scaling(void **state)
{
	struct fixture f = {0};
	wscale(&f, 7);
	send(&f, INI, S, 1000, 0, 65535, 0);
	assert_int_equal(f.dir[INI].wscale, 7);
	struct fixture syn = f;
	wscale(&f, 2);
	assert_int_equal(send(&f, RES, S | A, 5000, 1001, 100, 0), TCP_OK_CHANGED); // 100: unscaled
	assert_int_equal(f.dir[RES].max_win, 100);
	send(&f, INI, A, 1001, 5001, 1000, 0); // 128000
	assert_int_equal(send(&f, INI, A, 1001, 5001, 1000, 200), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, INI, A, 1001, 5001, 1000, 100), TCP_OK);
	assert_int_equal(send(&f, RES, A, 5001, 1101, 1000, 0), TCP_OK); // 4000
	assert_int_equal(send(&f, INI, A, 1101, 5001, 1000, 4000), TCP_OK);
	assert_int_equal(send(&f, INI, A, 5101, 5001, 1000, 3), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, A, 5001 + 128000 - 1400, 5101, 1000, 1400), TCP_OK);
	assert_int_equal(send(&f, RES, A, 5001 + 128000, 5101, 1000, 2), TCP_OUT_OF_WINDOW);

	// Offered by one side only: nobody scales.
	f = syn;
	send(&f, RES, S | A, 5000, 1001, 100, 0);
	send(&f, INI, A, 1001, 5001, 1000, 0);
	assert_int_equal(send(&f, RES, A, 5001, 1001, 1000, 1000), TCP_OK);
	assert_int_equal(send(&f, RES, A, 5001 + 65535, 1001, 1000, 2), TCP_OUT_OF_WINDOW);
	// A shift above 14 means 14; one from a peer's record is no better trusted.
	f = (struct fixture){0};
	wscale(&f, 255);
	send(&f, INI, S, 1000, 0, 100, 0);
	assert_int_equal(f.dir[INI].wscale, 14);
	wscale(&f, 0);
	send(&f, RES, S | A, 5000, 1001, 100, 0);
	assert_true(f.dir[RES].flags & TCP_DIR_WSCALE);
	f.dir[INI].wscale = 15;
	assert_int_equal(send(&f, INI, A, 1001, 5001, 2, 0), TCP_OK_CHANGED);
	assert_int_equal(f.dir[INI].max_win, 2 << 14);
}

// Two nodes have opened a connection, and the initiator has taken the other's SYN+ACK.
static void tcp_life__of_the_other_opening(void **state)
{
	const uint32_t isn = ISN_R + 1, other = isn + 0x40000000;
	struct fixture f = {0};
	uint32_t number;

	send(&f, INI, S, ISN_I, 0, WIN, 0);
	struct tripod_packet p = packet(&f, A, ISN_I + 1, other, WIN, 0);
	assert_int_equal(tcp_life(&f.dir[INI], &f.dir[RES], true, &p), TCP_LIFE_THIS);
	assert_false(tcp_of_next(&f.dir[INI], &f.dir[RES], &p)); // nothing is known of an answer
	send(&f, RES, S | A, ISN_R, ISN_I + 1, WIN, 0);
	assert_true(f.dir[RES].isn);
	static const struct {
		uint8_t flags;
		uint32_t ack;
		enum tcp_life life;
	} cases[] = {{A, isn, TCP_LIFE_THIS}, {A | F, isn + 1000, TCP_LIFE_THIS},
		{A, other, TCP_LIFE_OTHER}, {A | F, other, TCP_LIFE_OTHER},
		{A | R, other, TCP_LIFE_THIS}, {A, isn - 0x20000, TCP_LIFE_OTHER},
		{A, isn + 0x80000, TCP_LIFE_OTHER}};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		p = packet(&f, cases[i].flags, ISN_I + 1, cases[i].ack, WIN, 0);
		bool is_other = cases[i].life == TCP_LIFE_OTHER;
		assert_int_equal(tcp_life(&f.dir[INI], &f.dir[RES], true, &p), cases[i].life);
		assert_int_equal(tcp_of_next(&f.dir[INI], &f.dir[RES], &p), is_other);
		assert_int_equal(tcp_acknowledges(&p, &number), !(cases[i].flags & R));
		assert_true((cases[i].flags & R) || number == cases[i].ack);
	}
	// What acknowledges it, or shows that it was acknowledged, settles it.
	for (unsigned who = 0; who < 2; who++) {
		struct fixture g = f;
		if (who == INI)
			send(&g, INI, A, ISN_I + 1, isn, WIN, 0);
		else
			send(&g, RES, A, isn, ISN_I + 1, WIN, 10);
		assert_false(g.dir[RES].isn);
	}
	// Of two SYN+ACKs, either may be taken.
	send(&f, RES, S | A, ISN_R + 0x100000, ISN_I + 1, WIN, 0);
	assert_false(f.dir[RES].isn);
}

// The responder resets what acknowledges another's SYN+ACK, with the number that the initiator waits for.
static void tcp_track__reset_of_the_other_opening(void **state)
{
	const uint32_t isn = ISN_R + 1, other = isn + 0x40000000;

	for (unsigned heard = 0; heard < 2; heard++) {
		struct fixture f = {0};
		send(&f, INI, S, ISN_I, 0, WIN, 0);
		f.dir[INI].flags &= (uint8_t)~TCP_DIR_LEARNED; // its packets go elsewhere
		send(&f, RES, S | A, ISN_R, ISN_I + 1, WIN, 0);
		if (heard)
			send(&f, RES, A, isn, ISN_I + 1, WIN, 10);
		assert_int_equal(
			send(&f, RES, R, other, 0, 0, 0), heard ? TCP_OK : TCP_OUT_OF_WINDOW);
		assert_int_equal(state_of(&f), TCP_SYN_RECEIVED);
		assert_int_equal(send(&f, RES, R, isn, 0, 0, 0), TCP_OK_CHANGED);
		assert_int_equal(state_of(&f), TCP_CLOSED);
	}
}

static void tcp_track__option_parsing(void **state)
{
	static const struct {
		uint8_t bytes[12];
		unsigned len;
		int shift; // -1: none
	} cases[] = {
		{{2, 4, 5, 180, 1, 3, 3, 9}, 8, 9},
		{{4, 2, 8, 10, 0, 0, 0, 3, 3, 5, 0, 0}, 12, -1}, // inside a timestamp
		{{0, 3, 3, 5}, 4, -1}, // behind the end
		{{1, 1, 3, 3}, 4, -1}, // cut off
		{{1, 1, 1, 3}, 4, -1},
		{{3, 4, 5, 5}, 4, -1}, // wrong length
		{{2, 0, 3, 3, 5, 0, 0, 0}, 8, -1}, // length 0: must not loop
		{{2, 1, 3, 3, 5, 0, 0, 0}, 8, -1},
		{{2, 255, 3, 3, 5, 0, 0, 0}, 8, -1},
		{{3, 3, 0, 0}, 4, 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f = {.options = cases[i].bytes, .options_len = cases[i].len};
		assert_int_equal(send(&f, INI, S, 1, 0, WIN, 0), TCP_OK_CHANGED);
		bool scaled = f.dir[INI].flags & TCP_DIR_WSCALE;
		assert_int_equal(scaled, cases[i].shift >= 0);
		if (scaled)
			assert_int_equal(f.dir[INI].wscale, cases[i].shift);
	}
	// Offsets that hold no header (no parser of ours makes them).
	struct fixture f = {0};
	struct tripod_packet p = {.data = f.frame, .len = 50, .l4 = 34, .tcp_flags = S};
	static const uint16_t payloads[] = {0, 34, 53, 51 + 34};
	for (size_t i = 0; i < 4; i++) {
		p.payload = payloads[i];
		assert_int_equal(tcp_track(&f.dir[0], &f.dir[1], true, &p), TCP_OUT_OF_WINDOW);
	}
}

static void tcp_track__wrap_around(void **state)
{
	struct fixture f = {0};
	uint32_t i = UINT32_MAX - 1500, r = UINT32_MAX;
	send(&f, INI, S, i, 0, WIN, 0);
	send(&f, RES, S | A, r, i + 1, WIN, 0);
	assert_int_equal(send(&f, INI, A, i + 1, r + 1, WIN, 0), TCP_OK_CHANGED);
	for (uint32_t n = 0; n < 10; n++) {
		assert_int_equal(send(&f, INI, A, i + 1 + n * 700, r + 1, WIN, 700), TCP_OK);
		assert_int_equal(send(&f, INI, A, i + 1 + n * 700, r + 1, WIN, 700), TCP_OK);
		assert_int_equal(send(&f, RES, A, r + 1, i + 1 + (n + 1) * 700, WIN, 0), TCP_OK);
		assert_int_equal(send(&f, INI, R, i + 1 + n * 700, 0, 0, 0), TCP_OK);
		assert_int_equal(send(&f, INI, A, i + 1 + n * 700 - 90000, r + 1, WIN, 9),
			TCP_OUT_OF_WINDOW);
	}
	assert_int_equal(send(&f, INI, F | A, i + 7001, r + 1, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(&f, RES, F | A, r + 1, i + 7002, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(&f, INI, A, i + 7002, r + 2, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
}

static void tcp_track__takeover(void **state)
{
	struct fixture f;
	establish(&f);
	forget(&f);
	assert_int_equal(state_of(&f), TCP_ESTABLISHED);
	// Anything is accepted from each side once, then checked again.
	assert_int_equal(send(&f, RES, A, 800005001, 700001001, WIN, 1000), TCP_OK);
	assert_int_equal(send(&f, RES, A, 800006001, 700001001, WIN, 1000), TCP_OK);
	assert_int_equal(send(&f, INI, A, 700001001, 800007001, WIN, 100), TCP_OK);
	assert_int_equal(send(&f, INI, A, 900001101, 800007001, WIN, 100), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, A, 900006001, 700001101, WIN, 100), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, A, 800007001, 700001101, WIN, 100), TCP_OK);
	assert_int_equal(send(&f, INI, R, 700001100, 0, 0, 0), TCP_OK);
	assert_int_equal(state_of(&f), TCP_ESTABLISHED);
	// More had been sent than was seen here: the other side's ACK tells.
	assert_int_equal(send(&f, RES, A, 800007101, 700003001, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, R, 700003001, 0, 0, 0), TCP_OK_CHANGED);

	// A window that is closed now was open once: what was sent then may have to be repeated.
	f = (struct fixture){0};
	wscale(&f, 7);
	send(&f, INI, S, 1000, 0, WIN, 0);
	wscale(&f, 7);
	send(&f, RES, S | A, 5000, 1001, WIN, 0);
	send(&f, INI, A, 1001, 5001, WIN, 0);
	forget(&f);
	assert_int_equal(send(&f, RES, A, 5001, 901001, 0, 0), TCP_OK);
	assert_int_equal(send(&f, INI, A, 901001, 5001, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, A, 1001, 5001, WIN, 1000), TCP_OK);
	// A reset as the first packet of its side.
	establish(&f);
	forget(&f);
	assert_int_equal(send(&f, RES, R, 12345678, 0, 0, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
	// ... or just after a keep-alive, which tells one number less than has been sent.
	establish(&f);
	forget(&f);
	assert_int_equal(send(&f, INI, A, 1000, 5001, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, R, 1001 + 100000, 0, 0, 0), TCP_OK);
	assert_int_equal(send(&f, INI, R, 1001, 0, 0, 0), TCP_OK_CHANGED);
	// ... and new data, whose FIN nobody has seen here.
	establish(&f);
	send(&f, INI, F | A, 1001, 5001, WIN, 0);
	send(&f, RES, F | A, 5001, 1002, WIN, 0);
	forget(&f);
	assert_int_equal(send(&f, INI, A, 1002, 5002, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&f), TCP_CLOSED);
	assert_int_equal(send(&f, RES, A, 4001, 1002, WIN, 1000), TCP_OK);
}

// Two nodes, each with one direction's packets and the other's durable flags.
static void tcp_track__split_directions(void **state)
{
	struct fixture ini = {0}, res = {0};
#define TELL_RES() (res.dir[INI].flags = ini.dir[INI].flags & TCP_DIR_DURABLE)
#define TELL_INI() (ini.dir[RES].flags = res.dir[RES].flags & TCP_DIR_DURABLE)
	assert_int_equal(send(&ini, INI, S, 1000, 0, WIN, 0), TCP_OK_CHANGED);
	TELL_RES();
	assert_int_equal(send(&res, RES, S | A, 5000, 1001, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(state_of(&res), TCP_SYN_RECEIVED);
	assert_int_equal(send(&ini, INI, A, 1001, 5001, WIN, 0), TCP_OK_CHANGED);
	TELL_RES();
	TELL_INI();
	assert_int_equal(state_of(&ini), TCP_ESTABLISHED);
	assert_int_equal(state_of(&res), TCP_ESTABLISHED);
	for (uint32_t n = 0; n < 1000; n++)
		assert_int_equal(send(&res, RES, A, 5001 + n * 1000, 1001, WIN, 1000), TCP_OK);
	for (uint32_t n = 0; n < 100; n++)
		assert_int_equal(send(&ini, INI, A, 1001, 5001 + n * 10000, WIN, 0), TCP_OK);
	assert_int_equal(send(&res, RES, R, 99, 0, 0, 0), TCP_OK); // far from what it has sent
	assert_int_equal(state_of(&res), TCP_ESTABLISHED);

	// FINs: an ACK counts once the other's flag has come.
	assert_int_equal(send(&res, RES, F | A, 1005001, 1001, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(&ini, INI, A, 1001, 1005001, WIN, 0), TCP_OK);
	TELL_INI();
	assert_int_equal(state_of(&ini), TCP_CLOSING);
	assert_int_equal(send(&ini, INI, F | A, 1001, 1005002, WIN, 0), TCP_OK_CHANGED);
	assert_true(ini.dir[INI].flags & TCP_DIR_FIN_ACKED);
	TELL_RES();
	assert_int_equal(state_of(&res), TCP_CLOSING);
	assert_int_equal(send(&res, RES, A, 1005002, 1002, WIN, 0), TCP_OK_CHANGED);
	TELL_INI();
	assert_int_equal(state_of(&ini), TCP_CLOSED);
	assert_int_equal(state_of(&res), TCP_CLOSED);
	assert_int_equal(send(&res, RES, A, 1005002, 1002, WIN, 1), TCP_AFTER_CLOSE);
	assert_int_equal(send(&ini, INI, F | A, 1001, 1005002, WIN, 0), TCP_OK);
#undef TELL_RES
#undef TELL_INI
}

// Each of two nodes sees one direction, and hears of the other's FIN without having seen it
// acknowledged: the connection closes for ever, unless a new one begins.
static void tcp_track__new_connection_while_closing(void **state)
{
	struct fixture f, half;

	establish(&f);
	forget(&f);
	half = f;
	assert_int_equal(send(&f, INI, F | A, 1001, 5001, WIN, 0), TCP_OK_CHANGED);
	// Half closed: for the receiver.
	passes_in_doubt(&f, INI, 99000);
	f.dir[RES].flags |= TCP_DIR_FIN;
	assert_int_equal(state_of(&f), TCP_CLOSING);
	passes_in_doubt(&f, INI, ISN_I); // late
	assert_int_equal(life(&f, INI, S, 99000, 0), TCP_LIFE_THIS); // it opens the next
	assert_int_equal(life(&f, INI, A, 1002, 0), TCP_LIFE_THIS);
	assert_int_equal(life(&f, INI, A, 1003, 0), TCP_LIFE_NEXT);
	assert_int_equal(send(&f, INI, S, 99000, 0, WIN, 0), TCP_REOPEN);

	f = half;
	assert_int_equal(send(&f, RES, F | A, 5001, 1001, WIN, 0), TCP_OK_CHANGED);
	f.dir[INI].flags |= TCP_DIR_FIN;
	assert_int_equal(send(&f, RES, S | A, 77000, 99001, WIN, 0), TCP_AFTER_CLOSE);

	// Who sees both directions sees what is acknowledged, and nobody cuts the end short.
	establish(&f);
	assert_int_equal(send(&f, INI, F | A, 1001, 5001, WIN, 0), TCP_OK_CHANGED);
	assert_int_equal(send(&f, RES, F | A, 5001, 1001, WIN, 0), TCP_OK_CHANGED);
	passes_in_doubt(&f, INI, 99000);
}

// Of a direction whose answers are seen elsewhere: what is far from all that was seen may be the next connection's.
static void tcp_track__far(void **state)
{
	static const struct {
		uint8_t flags;
		uint32_t seq, ack;
		bool far;
	} cases[] = {
		{A, 1001, 5001, false},
		{A, 1000, 5001, false}, // keep-alive
		{A, 1001 + 65535, 5001, false}, // some were lost
		{A, 1001 + 65536, 5001, true},
		{A, 1001 - (1 << 20), 5001, true},
		{R, 1001 + 65536, 5001, false},
		{A, 1001, 5001 + 65535, false},
		{A, 1001, 5001 + 0x70000000u, true},
	};
	struct fixture f;

	establish(&f);
	f.dir[RES].flags &= (uint8_t)~TCP_DIR_LEARNED;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture g = f;
		enum tcp_verdict v =
			send(&g, INI, cases[i].flags, cases[i].seq, cases[i].ack, WIN, 100);
		assert_int_equal(v == TCP_FAR, cases[i].far);
		if (v == TCP_FAR)
			assert_memory_equal(g.dir, f.dir, sizeof(f.dir));
	}
	assert_int_equal(
		send(&f, RES, A, 999999, 1001, WIN, 100), TCP_OK); // nothing was seen of it
	establish(&f);
	assert_int_equal(send(&f, INI, A, 1001 + 65536, 5001, WIN, 100), TCP_OUT_OF_WINDOW);
}

// With one direction known nothing can be checked, so a forged number must not stay.
static void tcp_track__forged_number_is_forgotten(void **state)
{
	struct fixture f;
	establish(&f);
	f.dir[RES] = (struct tcp_dir){.flags = f.dir[RES].flags & TCP_DIR_DURABLE};
	const uint32_t forged = 1001 + 0x60000000u;
	assert_int_equal(send(&f, INI, A, 1001, 5001, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, INI, A, 1001, 5001 + 0x80000000u, WIN, 10), TCP_FAR);
	assert_int_equal(send(&f, INI, A, forged, 5001, WIN, 10), TCP_FAR);
	tcp_forget(&f.dir[INI]); // nobody knows another life
	assert_int_equal(send(&f, INI, A, forged, 5001, WIN, 10), TCP_OK);
	assert_int_equal(send(&f, INI, A, 1001, 5001, WIN, 10), TCP_FAR);
	tcp_forget(&f.dir[INI]);
	assert_int_equal(send(&f, INI, A, 1001, 5001, WIN, 10), TCP_OK);
	// The other direction comes here too: both are checked, by the true numbers.
	assert_int_equal(send(&f, RES, A, 5001, 1011, WIN, 10), TCP_OK);
	assert_int_equal(send(&f, INI, A, 1011, 5011, WIN, 10), TCP_OK);
	assert_int_equal(send(&f, INI, A, 1011 + 0x60000000u, 5011, WIN, 1), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, A, 5011, 1021, WIN, 10), TCP_OK);
}

// A direction that was away comes back: its right edge has moved on with the other side's ACKs.
static void tcp_track__direction_returns(void **state)
{
	struct fixture f;
	establish(&f);
	f.dir[RES] = (struct tcp_dir){.flags = f.dir[RES].flags & TCP_DIR_DURABLE};
	for (uint32_t n = 0; n <= 300; n++)
		assert_int_equal(send(&f, INI, A, 1001, 5001 + n * 5000, WIN, 0), TCP_OK);
	assert_int_equal(send(&f, RES, A, 1505001, 1001, WIN, 1000), TCP_OK);
	assert_int_equal(send(&f, RES, A, 1506001, 1001, WIN, 1000), TCP_OK);
	assert_int_equal(send(&f, RES, A, 1505001 + 500000, 1001, WIN, 1), TCP_OUT_OF_WINDOW);
	assert_int_equal(send(&f, RES, R, 1505001, 0, 0, 0), TCP_OK_CHANGED); // as acknowledged
}

// Another node has seen the responder's FIN, and told where it ends. What this one sees of that direction
// afterwards (a takeover) is no reason to forget it, unless it comes behind it.
static void tcp_track__fin_seen_elsewhere(void **state)
{
	struct fixture f;

	for (unsigned behind = 0; behind < 2; behind++) {
		establish(&f);
		forget(&f);
		f.dir[RES].flags |= TCP_DIR_FIN | TCP_DIR_FIN_SEEN;
		f.dir[RES].end = ISN_R + 101; // behind 99 bytes and the FIN
		send(&f, INI, A, ISN_I + 1, ISN_R + 1, WIN, 0);
		send(&f, INI, F | A, ISN_I + 1, ISN_R + 50, WIN, 0);
		assert_false(f.dir[INI].flags & TCP_DIR_FIN_ACKED);
		send(&f, RES, A, ISN_R + 1, ISN_I + 2, WIN, behind ? 200 : 99); // once more
		assert_true(f.dir[RES].flags & TCP_DIR_FIN_ACKED);
		assert_int_equal(
			f.dir[RES].flags & TCP_DIR_FIN_SEEN, behind ? 0 : TCP_DIR_FIN_SEEN);
		send(&f, INI, A, ISN_I + 2, ISN_R + 100, WIN, 0);
		assert_int_equal(state_of(&f), behind ? TCP_CLOSED : TCP_CLOSING);
		send(&f, INI, A, ISN_I + 2, ISN_R + 101, WIN, 0);
		assert_int_equal(state_of(&f), TCP_CLOSED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_state__table),
		cmocka_unit_test(tcp_timeout_ms__and_names),
		cmocka_unit_test(tcp_flags_bogus__table),
		cmocka_unit_test(tcp_track__handshake_data_and_close),
		cmocka_unit_test(tcp_track__simultaneous_close),
		cmocka_unit_test(tcp_track__syn_again),
		cmocka_unit_test(tcp_track__syn_cookies),
		cmocka_unit_test(tcp_track__simultaneous_open),
		cmocka_unit_test(tcp_track__fast_open),
		cmocka_unit_test(tcp_track__reset_in_handshake),
		cmocka_unit_test(tcp_track__reset),
		cmocka_unit_test(tcp_track__out_of_window),
		cmocka_unit_test(tcp_track__zero_window),
		cmocka_unit_test(tcp_track__window_scaling),
		cmocka_unit_test(tcp_life__of_the_other_opening),
		cmocka_unit_test(tcp_track__reset_of_the_other_opening),
		cmocka_unit_test(tcp_track__option_parsing),
		cmocka_unit_test(tcp_track__wrap_around),
		cmocka_unit_test(tcp_track__takeover),
		cmocka_unit_test(tcp_track__split_directions),
		cmocka_unit_test(tcp_track__fin_seen_elsewhere),
		cmocka_unit_test(tcp_track__direction_returns),
		cmocka_unit_test(tcp_track__new_connection_while_closing),
		cmocka_unit_test(tcp_track__far),
		cmocka_unit_test(tcp_track__forged_number_is_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
