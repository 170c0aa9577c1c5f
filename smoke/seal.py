# SPDX-License-Identifier: BSD-3-Clause
"""Sealed control messages as docs/PROTOCOL.md describes them, and nothing taken from the code under
test: ChaCha20-Poly1305 (RFC 8439) and BLAKE2b (RFC 7693). Slow, and only for tests."""
import hashlib
import struct

VERSION = 5  # of the wire format (docs/PROTOCOL.md)
HELLO, LOG, PULL, NONE, GREET = 1, 2, 3, 4, 12
ANY = 255
HEADER = struct.Struct("!2sBBHHBBBBIQQIIQ")
MASK = 0xFFFFFFFF


def _quarter(s, a, b, c, d):
    for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & MASK
        v = s[z] ^ s[x]
        s[z] = (v << turn | v >> (32 - turn)) & MASK


def chacha20_block(key, counter, nonce):
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter,
             *struct.unpack("<3I", nonce)]
    s = start[:]
    for _ in range(10):
        for i in range(4):
            _quarter(s, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            _quarter(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((a + b) & MASK for a, b in zip(start, s)))


def poly1305(key, text):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for i in range(0, len(text), 16):
        total = (total + int.from_bytes(text[i:i + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    return ((total + int.from_bytes(key[16:], "little")) % (1 << 128)).to_bytes(16, "little")


def tag(session, nonce, text):
    padded = text + bytes(-len(text) % 16) + struct.pack("<QQ", len(text), 0)
    return poly1305(chacha20_block(session, 0, nonce)[:32], padded)


def self_test():
    """The vectors of RFC 8439, 2.3.2 and 2.5.2."""
    block = chacha20_block(bytes(range(32)), 1, bytes.fromhex("000000090000004a00000000"))
    assert block.hex().startswith("10f1e7e4d13b5915500fdd1fa32071c4")
    key = bytes.fromhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
    assert poly1305(key, b"Cryptographic Forum Research Group").hex() == \
        "a8061dc1305136c6c22b8baf0c0127a9"


def read_key(path):
    """The first key of a key file: its number and its bytes."""
    with open(path, encoding="ascii") as f:
        number, key = f.readline().split()
    return int(number), bytes.fromhex(key)


class Sender:
    """A node of the rack, towards one other. peer_boot: of the other, as far as it is known."""

    def __init__(self, key_file, node, boot, cluster, peer, peer_boot):
        self.key_id, self.key = read_key(key_file)
        self.node, self.boot, self.cluster = node, boot, cluster
        self.peer, self.peer_boot = peer, peer_boot
        self.counter = 0

    def _session(self, source, source_boot, target, target_boot):
        ends = struct.pack("!QBBQQ", self.cluster, source, target, source_boot, target_boot)
        return hashlib.blake2b(b"tripod/s" + ends, key=self.key, digest_size=32).digest()

    def seal(self, kind, count, body, to_worker, seq=0):
        """A message to the peer; a HELLO goes to every node."""
        to, to_boot = (ANY, 0) if kind == HELLO else (self.peer, self.peer_boot)
        self.counter += 1
        number = self.counter.to_bytes(7, "big")
        text = HEADER.pack(b"TP", VERSION, kind, HEADER.size + 8 + len(body) + 16, count, self.node, 0, to,
                           to_worker, to_boot & MASK, self.cluster, self.boot, seq, 0, 0) + \
            bytes([self.key_id]) + number + body
        return text + tag(self._session(self.node, self.boot, to, to_boot),
                          bytes([0, 0, 0, to, to_worker]) + number, text)

    def opens(self, message):
        """Is this a message that the peer has sealed for this node?"""
        if len(message) < 72 or message[8] != self.peer or message[10] != self.node:
            return False
        session = self._session(self.peer, self.peer_boot, self.node, self.boot)
        nonce = bytes([0, 0, message[9], message[10], message[11]]) + message[49:56]
        return message[48] == self.key_id and tag(session, nonce, message[:-16]) == message[-16:]
