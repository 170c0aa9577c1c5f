# SPDX-License-Identifier: BSD-3-Clause
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import affinity  # noqa: E402
from affinity import Affinity  # noqa: E402


def good(**changes):
    return Affinity(**{**dict(connections=1000, remotes=64, affected=300, takeovers=10,
                              shares=[250, 240, 260, 250]), **changes})


class TestAffinity(unittest.TestCase):
    def test_a_good_one(self):
        self.assertEqual(good().failures(), [])
        self.assertEqual(good(nodes_apart=60, workers_apart=40).failures(), [])
        self.assertEqual(good(nodes_apart=60, workers_apart=40).report()["together"], 0.9)

    def test_apart_in_either_way_counts(self):
        for changes in (dict(nodes_apart=101), dict(workers_apart=101),
                        dict(nodes_apart=51, workers_apart=50)):
            self.assertIn("89.9%", good(**changes).failures()[0])

    def test_what_breaks_or_proves_nothing(self):
        for changes in (dict(broken=1), dict(corrupt=1), dict(not_opened=1), dict(affected=0),
                        dict(takeovers=0), dict(shares=[500, 500, 0, 0]), dict(remotes=1),
                        dict(connections=0)):
            self.assertNotEqual(good(**changes).failures(), [], changes)

    def test_a_connection_that_two_nodes_know_is_one(self):
        def view(sport, masters):
            return {"src": "10.1.0.101", "sport": sport, "dst": "198.18.0.1", "dport": 9000,
                    "masters": masters}
        self.assertEqual(affinity.apart([view(1, [1, 1]), view(2, [1, 2]), view(2, [1, 2]),
                                         view(3, [3, 4])]), 2)


if __name__ == "__main__":
    unittest.main()
