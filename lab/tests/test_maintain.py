# SPDX-License-Identifier: BSD-3-Clause
"""Maintenance: what is asked of the nodes, in which order."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tripod_lab import LabError, lab, maintain, nodes, rackfile, topology
from tripod_lab.topology import Lab


class Fake:
    """A node's process that answers as told."""

    def __init__(self, i: int, log: list, phases: list[str]) -> None:
        self.node = topology.Node(i)
        self.log, self.phases, self.pid = log, phases, 100 + i

    def frozen(self) -> bool:
        return self.phases[0] == "frozen"

    def ctl(self, verb: str) -> dict | None:
        self.log.append((self.node.id, verb))
        if self.phases[0] == "late":
            self.phases.pop(0)
            return None
        if self.phases[0] == "frozen" or self.pid is None:
            return None
        phase, _, owed = (self.phases.pop(0) if len(self.phases) > 1 else self.phases[0]).partition(" ")
        return {"phase": phase, "phase_ms": 4000, "owed": int(owed or 0), "owed_entries": 5,
                "owed_nodes": [1, 3], "traffic_nodes": [], "mastered": 1, "connections": 2,
                "workload_age_ms": 3}

    def start(self) -> None:
        self.log.append((self.node.id, "start"))
        self.pid = 200 + self.node.id


class Draining(unittest.TestCase):
    def test_waits_for_the_last_phase(self):
        log: list = []
        node = Fake(2, log, ["ready", "draining", "moving", "drained"])
        self.assertEqual(maintain.drain(node, 5)["phase"], "drained")
        self.assertEqual(log, [(2, "drain")] * 4)
        self.assertEqual(maintain.drain(Fake(3, log, ["ready"]), None)["phase"], "ready")

    def test_an_answer_may_be_late(self):
        log: list = []
        self.assertEqual(maintain.drain(Fake(2, log, ["late", "late", "drained"]), 5)["phase"], "drained")
        self.assertEqual(log, [(2, "drain")] * 4)

    def test_the_dead_and_the_frozen_do_not_answer(self):
        for phases, pid in ((["frozen"], 1), (["ready"], None)):
            fake = Fake(2, [], phases)
            fake.pid = pid
            with self.assertRaisesRegex(LabError, "node2 is dead or frozen"):
                maintain.drain(fake, 5)

    def wait(self, fake: Fake, wait_s: float) -> float:
        """Of a clock that goes on while it sleeps: how late it is in the end."""
        now = 0.0

        def sleep(s: float) -> None:
            nonlocal now
            now += s

        with mock.patch.object(maintain.time, "monotonic", lambda: now), \
                mock.patch.object(maintain.time, "sleep", sleep):
            maintain.drain(fake, wait_s)
        return now

    def test_gives_up_and_says_where_it_stands(self):
        for phases in (["draining 31"], ["draining 31", "ready", "draining 40", "draining 31"]):
            with self.assertRaises(LabError) as caught:
                self.wait(Fake(1, [], phases), 10)
            self.assertIn("no further for 10 s: draining for 4.0 s, 31 copies under way (to nodes: 1, 3), "
                          "5 shared entries, last packet 3 ms ago, nodes that take traffic: none",
                          str(caught.exception))

    def test_waits_as_long_as_it_gets_further(self):
        """Nine seconds for each copy."""
        phases = [f"draining {left}" for left in range(20, 0, -1) for _ in range(180)]
        self.assertGreater(self.wait(Fake(1, [], ["ready", *phases, "moving", "drained"]), 10), 170)


class RollingRestart(unittest.TestCase):
    def roll(self, fakes: list) -> list:
        told: list = []
        order = {f.node.id: f for f in fakes}

        def stop(process: Fake) -> None:
            process.log.append((process.node.id, "stop"))
            process.pid = None

        def ready(_lab, processes, _say, _wait) -> None:
            processes[0].log.append((processes[0].node.id, "ready"))

        with mock.patch.object(nodes, "NodeProcess", lambda _lab, node: order[node.id]), \
                mock.patch.object(maintain, "stop", stop), \
                mock.patch.object(lab, "wait_ready", ready), \
                mock.patch.object(lab, "locked"), mock.patch.object(lab, "load"):
            maintain.rolling_restart(Lab(n_nodes=len(fakes)), print,
                                     lambda node, what, facts: told.append((node, what)), 5)
        return told

    def test_one_is_ready_before_the_next_drains(self):
        log: list = []
        told = self.roll([Fake(i, log, ["drained"]) for i in (1, 2, 3)])
        self.assertEqual(told, [(i, what) for i in (1, 2, 3)
                                for what in ("drained", "stopped", "ready")])
        self.assertEqual([x for x in log if x[1] != "status"],
                         [(i, what) for i in (1, 2, 3)
                          for what in ("drain", "drain", "stop", "start", "ready")])

    def test_dead_nodes_are_left_out(self):
        log: list = []
        fakes = [Fake(i, log, ["drained"]) for i in (1, 2, 3)]
        fakes[1].pid = None
        self.assertEqual({node for node, _ in self.roll(fakes)}, {1, 3})
        fakes[0].pid = fakes[1].pid = None
        with self.assertRaises(LabError):
            self.roll(fakes)


class Adding(unittest.TestCase):
    def test_the_first_that_was_never_started(self):
        with tempfile.TemporaryDirectory() as root, \
                mock.patch.object(topology, "RUN_ROOT", Path(root)):
            the = Lab(n_nodes=3, start=1)
            for node in the.nodes:
                (the.run_dir / node.name).mkdir(parents=True)
            (the.run_dir / "node1" / "tripodd.pid").write_text("1\n")
            self.assertEqual(maintain.next_to_add(the).node.id, 2)
            for i in (2, 3):
                (the.run_dir / f"node{i}" / "tripodd.pid").write_text("1\n")
            with self.assertRaises(LabError):
                maintain.next_to_add(the)

    def test_the_switch_has_a_nodes_rules_while_it_is_there(self):
        """Before its process starts, until after it has ended."""
        log: list = []
        with tempfile.TemporaryDirectory() as root, \
                mock.patch.object(topology, "RUN_ROOT", Path(root)), \
                mock.patch.object(lab, "load"), \
                mock.patch.object(maintain, "Switch", lambda _lab: mock.Mock(
                    apply=lambda members: log.append([n.id for n in members]))), \
                mock.patch.object(nodes.NodeProcess, "start",
                                  lambda p: log.append(f"start {p.node.id}")), \
                mock.patch.object(maintain, "stop", lambda p: log.append(f"stop {p.node.id}")):
            the = Lab(n_nodes=3, start=2)
            for node in the.nodes:
                (the.run_dir / node.name).mkdir(parents=True)
            for i in (1, 2):
                (the.run_dir / f"node{i}" / "tripodd.pid").write_text("1\n")
            process = maintain.add(the, print, None)
            self.assertEqual(log, [[1, 2, 3], "start 3"])
            process.pid_file.write_text("1\n")
            phase = "ready"
            with mock.patch.object(nodes.NodeProcess, "pid", 7), \
                    mock.patch.object(nodes.NodeProcess, "ctl", lambda _p, _verb: {"phase": phase}):
                with self.assertRaisesRegex(LabError, "drain 3 --wait"):
                    maintain.remove(the, process, print)
                self.assertEqual(len(log), 2)
                phase = "drained"
                maintain.remove(the, process, print)
            self.assertEqual(log[2:], ["stop 3", [1, 2]])
            self.assertEqual([n.id for n in maintain.members(the)], [1, 2])
            maintain.remove(the, nodes.NodeProcess(the, the.node(1)), print)  # dead already
            self.assertEqual(log[4:], [[2]])
            with self.assertRaisesRegex(LabError, "last one"):
                maintain.remove(the, nodes.NodeProcess(the, the.node(2)), print)
            with self.assertRaisesRegex(LabError, "not there"):
                maintain.remove(the, process, print)

    def test_what_up_may_be_asked_for(self):
        self.assertIn("backups: 2", rackfile.generate(Lab(n_nodes=5, backups=2, start=4)))
        self.assertIn("backups: 1", rackfile.generate(Lab(n_nodes=2, backups=2)))
        self.assertIn("durability: sync", rackfile.generate(Lab(durability="sync")))
        self.assertIn("durability: none",
                      rackfile.generate(Lab(mode="baseline", durability="sync")))
        for wrong in ({"start": 5}, {"durability": "none"}, {"start": -1}, {"backups": 11}):
            with self.assertRaises(LabError):
                Lab(n_nodes=4, **wrong)


if __name__ == "__main__":
    unittest.main()
