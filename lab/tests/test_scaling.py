# SPDX-License-Identifier: BSD-3-Clause
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import sampler  # noqa: E402
import scaling  # noqa: E402


def samples(until, per_bin, start=0.0):
    """Bins of 10 ms up to a time; per_bin: time to counts."""
    out, n = [], round((until - start) / 0.01)
    for i in range(n):
        t = start + (i + 1) * 0.01
        out.append({"t": round(t, 3), "counts": per_bin(t)})
    return out


class Loads(unittest.TestCase):
    def test_a_joiner_takes_its_share_at_once(self):
        s = samples(8, lambda t: [100] * 4 + [0] if t <= 4 else [80] * 5)
        change = scaling.judge(s, "add node 5", [0, 1, 2, 3], 5, 4, 4, 4 + scaling.SETTLE_S)
        self.assertAlmostEqual(change.mean, 0.8)
        self.assertAlmostEqual(change.expected, 0.8)
        self.assertEqual(change.settled_ms, 0)
        self.assertEqual(change.failures(), [])
        self.assertEqual(change.report()["loads"], [0.8] * 4)

    def test_what_the_whole_load_does_does_not_matter(self):
        s = samples(8, lambda t: [100] * 5 + [0] if t <= 4 else [200] * 6)
        change = scaling.judge(s, "add node 6", [0, 1, 2, 3, 4], 6, 4, 4, 4.1)
        self.assertAlmostEqual(change.mean, 5 / 6)
        self.assertEqual(change.failures(), [])

    def test_late_is_told(self):
        s = samples(8, lambda t: [100] * 4 + [0] if t <= 4.5 else [80] * 5)
        change = scaling.judge(s, "add node 5", [0, 1, 2, 3], 5, 4, 4, 4.6)
        self.assertGreater(change.settled_ms, 350)
        self.assertEqual(len(change.failures()), 1)

    def test_never_is_told(self):
        s = samples(8, lambda t: [100] * 4 + [0] if int(t * 5) % 2 else [80] * 5)
        change = scaling.judge(s, "add node 5", [0, 1, 2, 3], 5, 4, 4, 4.1)
        self.assertTrue(any("settled" in f for f in change.failures()))

    def test_another_share_is_told(self):
        s = samples(8, lambda t: [100] * 4 + [0] if t <= 4 else [95] * 4 + [20])
        change = scaling.judge(s, "add node 5", [0, 1, 2, 3], 5, 4, 4, 4.1)
        self.assertIn("loads are 0.950 of before, not 0.800", change.failures()[0])

    def test_the_way_back(self):
        s = samples(8, lambda t: [80] * 5 if t <= 4 else [100] * 4 + [0])
        change = scaling.judge(s, "remove node 5", [0, 1, 2, 3], 4, 4, 4, 4.1)
        self.assertAlmostEqual(change.mean, 1.25)
        self.assertAlmostEqual(change.expected, 1.25)
        self.assertEqual(change.failures(), [])

    def test_no_load_proves_nothing(self):
        for s in ([], samples(8, lambda t: [0, 0])):
            self.assertTrue(scaling.judge(s, "add node 5", [0], 5, 4, 4, 4.1).failures())


class Sampling(unittest.TestCase):
    def frame(self, vlan=10, proto=6, ports=(40000, 7001)):
        ip = struct.pack("!BBHHHBBH8s", 0x45, 0, 60, 0, 0, 64, proto, 0, bytes(8))
        tag = struct.pack("!HH", 0x8100, vlan) if vlan else b""
        return bytes(12) + tag + b"\x08\0" + ip + struct.pack("!HH", *ports) + bytes(20)

    def test_the_loads_own_segments_are_counted(self):
        for ports in ((40000, 7001), (8003, 1), (9000, 2), (5, 9063)):
            self.assertTrue(sampler.is_load(self.frame(ports=ports)), ports)
        self.assertTrue(sampler.is_load(self.frame(vlan=20 | 0x2000)))
        for other in (self.frame(vlan=30), self.frame(vlan=None), self.frame(proto=17),
                      self.frame(ports=(40000, 80)), b"", bytes(60), self.frame()[:40]):
            self.assertFalse(sampler.is_load(other))

    def test_sessions(self):
        for state in range(4):
            frame = self.frame(vlan=None, proto=17, ports=(49152, 3784))
            frame = frame[:43] + bytes([state << 6 | 5]) + frame[44:]
            self.assertEqual(sampler.bfd_state(frame), state)
        for other in (self.frame(proto=17, ports=(1, 3784)), b"",
                      self.frame(vlan=None, ports=(1, 3784)),
                      self.frame(vlan=None, proto=17, ports=(3784, 1))):
            self.assertIsNone(sampler.bfd_state(other))


if __name__ == "__main__":
    unittest.main()
