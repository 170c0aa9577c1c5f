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


def moved(last, first, to=4, was=0):
    return {"event": "moved", "from": was, "to": to, "last": last, "first": first}


class Loads(unittest.TestCase):
    def judge(self, per_bin, events=(moved(4.01, 4.03),), what="add node 5", others=(0, 1, 2, 3),
              nodes=5):
        return scaling.judge(samples(8, per_bin) + list(events), what, list(others), nodes, 4, 4,
                             4 + scaling.SETTLE_S)

    def test_a_joiner_takes_its_share_at_once(self):
        change = self.judge(lambda t: [100] * 4 + [0] if t <= 4 else [80] * 5)
        self.assertAlmostEqual(change.mean, 0.8)
        self.assertAlmostEqual(change.expected, 0.8)
        self.assertEqual(change.settled_ms, 10)
        self.assertEqual(change.failures(), [])
        self.assertEqual(change.report()["loads"], [0.8] * 4)

    def test_what_the_whole_load_does_does_not_matter(self):
        change = self.judge(lambda t: [100] * 5 + [0] if t <= 4 else [200] * 6,
                            [moved(4, 4.1, to=5)], "add node 6", (0, 1, 2, 3, 4), 6)
        self.assertAlmostEqual(change.mean, 5 / 6)
        self.assertEqual(change.failures(), [])

    def test_late_is_told(self):
        """The latest counts; what moves between others, or moved before, does not."""
        change = self.judge(lambda t: [100] * 4 + [0] if t <= 4 else [80] * 5, [
            moved(4.01, 4.03), moved(4.45, 4.46), moved(4.9, 4.95, to=2), moved(3.5, 3.6)])
        self.assertEqual(change.settled_ms, 450)
        self.assertEqual(len(change.failures()), 1)

    def test_never_is_told(self):
        change = self.judge(lambda t: [80] * 5 if t > 4 else [100] * 4 + [0], [])
        self.assertTrue(any("settled" in f for f in change.failures()))

    def test_another_share_is_told(self):
        change = self.judge(lambda t: [100] * 4 + [0] if t <= 4 else [95] * 4 + [20])
        self.assertEqual(change.failures(), ["add node 5: loads are 0.950 of before, not 0.800"])

    def test_the_way_back(self):
        change = self.judge(lambda t: [80] * 5 if t <= 4 else [100] * 4 + [0], [],
                            "remove node 5", (0, 1, 2, 3), 4)
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

    def test_a_connection_is_one_both_ways_and_is_seen_to_move(self):
        there = self.frame(ports=(40000, 7001))
        back = self.frame(ports=(7001, 40000))
        there = there[:30] + b"\1\2\3\4\5\6\7\x08" + there[38:]
        back = back[:30] + b"\5\6\7\x08\1\2\3\4" + back[38:]
        self.assertEqual(sampler.connection(there), sampler.connection(back))
        s = sampler.Sampler(["node1", "node2"])
        self.assertIsNone(s.take(0, there, True, 1.0))
        self.assertIsNone(s.take(0, back, True, 1.5))
        self.assertIsNone(s.take(1, there, False, 1.6))  # what a node sends is not counted
        self.assertEqual(s.take(1, there, True, 2.0),
                         {"event": "moved", "from": 0, "to": 1, "last": 1.5, "first": 2.0})
        self.assertIsNone(s.take(1, self.frame(ports=(40001, 7001)), True, 2.1))
        self.assertEqual(s.flush(2.5), {"t": 2.5, "counts": [2, 2]})
        self.assertEqual(s.flush(2.6), {"t": 2.6, "counts": [0, 0]})

    def test_a_session_is_told_when_it_rises(self):
        s = sampler.Sampler(["node1"])

        def frame(state):
            f = self.frame(vlan=None, proto=17, ports=(49152, 3784))
            return f[:43] + bytes([state << 6]) + f[44:]

        told = [s.take(0, frame(state), True, 1.0) is not None for state in (1, 2, 3, 3, 1, 3)]
        self.assertEqual(told, [False, False, True, False, False, True])

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
