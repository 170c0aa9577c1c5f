# SPDX-License-Identifier: BSD-3-Clause
import random
import struct
import unittest

from tripod_lab import ovs, predict, report
from tripod_lab.topology import INSIDE, OUTSIDE


class Frames(unittest.TestCase):
    def flows(self, n=200, **kwargs):
        rng = random.Random(5)
        return [predict.make_flow(i, rng, **kwargs) for i in range(n)]

    def test_what_was_sent_is_known_again(self):
        for f in self.flows():
            for vlan in (None, 1026):
                frame = f.frame(7, vlan)
                self.assertEqual(predict.parse(frame, 0), (7, f.number, vlan or 0))
                self.assertEqual(frame[:6], predict.mac(
                    (OUTSIDE if f.from_outside else INSIDE).gateway_mac))
            # As the kernel gives it when it has taken the tag out.
            bare = f.frame(7, None)
            self.assertEqual(predict.parse(bare, 0x6000 | 1027), (7, f.number, 1027))

    def test_strangers_are_not(self):
        for data in (b"", bytes(60), self.flows(1)[0].frame(1, None)[:-9]):
            self.assertIsNone(predict.parse(data, 0))

    def test_a_switch_takes_them_and_a_node_does_not(self):
        for f in self.flows():
            head = f.ip[:20]
            self.assertEqual(head[0], 0x45)
            self.assertEqual(struct.unpack("!H", head[2:4])[0], len(f.frame(1, None)) - 14)
            self.assertNotEqual(predict.checksum(head), 0)

    def test_they_differ_and_are_of_all_kinds(self):
        flows = self.flows()
        self.assertEqual(len({f.ip for f in flows}), 200)
        self.assertEqual({(f.from_outside, f.ip[9]) for f in flows},
                         {(True, 6), (True, 17), (False, 6), (False, 17)})
        self.assertEqual({f.ip[9] for f in self.flows(tcp_only=True)}, {6})


class Judgement(unittest.TestCase):
    def outcome(self, before, foretold, after):
        flows = [predict.Flow(i, True, b"") for i in range(4)]
        outcome = predict.Outcome(2, 1)
        outcome.judge(*(dict(enumerate(x)) for x in (before, foretold, after)), flows)
        return outcome

    def check(self, *outcomes, arrival=4):
        return predict.Check(4, "5-tuple", arrival, 0.0, list(outcomes))

    def test_all_as_foretold(self):
        o = self.outcome([1, 2, 3, 1], [1, 3, 3, 1], [1, 3, 3, 1])
        self.assertEqual((o.right, o.wrong, o.silent, o.moved), (4, 0, 0, 0))
        self.assertEqual(self.check(o).failures(), [])
        self.assertEqual(self.check(o).accuracy, 1.0)

    def test_a_wrong_prophecy(self):
        o = self.outcome([1, 2, 3, 1], [1, 1, 3, 1], [1, 3, 3, 1])
        self.assertEqual((o.right, o.wrong, o.moved), (3, 1, 0))
        self.assertEqual(o.examples, [[1, 2, 1, 3]])
        self.assertEqual(len(self.check(o).failures()), 1)

    def test_a_flow_of_the_living_that_moved(self):
        o = self.outcome([1, 2, 3, 1], [3, 3, 3, 1], [3, 3, 3, 1])
        self.assertEqual((o.right, o.moved), (4, 1))
        self.assertIn("moved when node 2 died", self.check(o).failures()[0])

    def test_silence_counts_against_it(self):
        flows = [predict.Flow(i, True, b"") for i in range(4)]
        o = predict.Outcome(2, 1)
        o.judge({i: 1 for i in range(4)}, {0: 1, 1: 1}, {0: 1, 2: 1, 3: 1}, flows)
        self.assertEqual((o.right, o.silent), (1, 3))
        self.assertEqual(self.check(o).accuracy, 0.25)

    def test_nothing_asked_proves_nothing(self):
        self.assertTrue(self.check().failures())
        o = self.outcome([1, 1, 3, 1], [1, 1, 3, 1], [1, 1, 3, 1])
        o.carried = 0
        self.assertIn("nothing is proven", self.check(o).failures()[0])
        o.carried = 1
        self.assertIn("group of all", self.check(o, arrival=3).failures()[0])

    def test_text(self):
        o = self.outcome([1, 2, 3, 1], [1, 1, 3, 1], [1, 3, 3, 1])
        text = report.prediction(self.check(o).report())
        self.assertIn("75.0000% of 4 flows", text)
        self.assertIn("FAILED: ", text)
        self.assertNotIn("not asked", text)

    def test_what_is_left_out_is_said(self):
        o = self.outcome([1, 2, 3, 1], [1, 3, 3, 1], [1, 3, 3, 1])
        told = predict.Check(4, "symmetric", 4, 0.0, [o]).report()
        self.assertIn("UDP", told["not_asked"])
        self.assertIn("not asked: UDP", report.prediction(told))


class Flaps(unittest.TestCase):
    def test_of_ports_that_have_a_session(self):
        self.assertEqual(ovs.parse_flaps(
            'node3,"{diagnostic=""No Diagnostic"", flap_count=""12"", forwarding=""true""}"\n'
            "server2,{}\n"), {"node3": 12})


if __name__ == "__main__":
    unittest.main()
