# SPDX-License-Identifier: BSD-3-Clause
"""What is read and written as text: configuration, bfd/show, status, command line."""
import contextlib
import io
import unittest

from tripod_lab import LabError, cli, ovs, rackfile, report
from tripod_lab.topology import Lab

BFD_SHOW = """\
---- node2 ----
  Forwarding: true
  Detect Multiplier: 4
  TX Interval: Approx 21ms

  Local Flags: none
  Local Session State: up
  Remote Session State: up
---- node1 ----
  Forwarding: false
  Detect Multiplier: 4

  Local Session State: down
  Remote Session State: up
---- node3 ----
  Forwarding: true
  Local Session State: init
"""


class Bfd(unittest.TestCase):
    def test_only_a_session_that_is_up_and_forwards_is_up(self):
        self.assertEqual(ovs.parse_bfd(BFD_SHOW), {"node1": False, "node2": True, "node3": False})

    def test_nothing(self):
        self.assertEqual(ovs.parse_bfd(""), {})


class RackFile(unittest.TestCase):
    def test_sections_come_apart(self):
        parts = rackfile.sections(rackfile.generate(Lab(n_nodes=3, mode="baseline")), "x")
        self.assertEqual(list(parts), ["rack", "network", "switch", "node", "chain"])
        self.assertIn("durability: none", parts["rack"])
        self.assertEqual(parts["rack"].count("- {id: "), 3)
        self.assertIn("backups: 1", parts["rack"])

    def test_a_lone_node_asks_for_no_backups(self):
        self.assertIn("backups: 0", rackfile.generate(Lab(n_nodes=1)))

    def test_override_replaces_whole_sections_and_adds(self):
        override = "# mine\nchain:\n- firewall: {default: allow}\n\ntimeouts:\n  udp_s: 1\n"
        parts = rackfile.sections(rackfile.generate(Lab(), override), "x")
        self.assertEqual(parts["chain"].strip(), "# mine\nchain:\n- firewall: {default: allow}")
        self.assertIn("udp_s: 1", parts["timeouts"])
        self.assertIn("durability: async", parts["rack"])

    def test_what_is_not_made_of_sections_is_refused_by_line(self):
        for text, line in (("- a\n", 1), ("  a: 1\n", 1), ("chain:\n  - x\nchain:\n", 3),
                           ("rack:\n  a: 1\nnonsense\n", 3)):
            with self.assertRaises(LabError) as caught:
                rackfile.sections(text, "file.yaml")
            self.assertIn(f"file.yaml:{line}:", str(caught.exception))


class Report(unittest.TestCase):
    STATUS = {
        "name": "lab", "mode": "tripod", "hash": "symmetric", "detect_ms": 100,
        "switch": {"alive": True, "groups": 6, "flows": 44},
        "hosts": [{"name": "client", "namespace": "tl-lab-client", "addresses": ["192.0.2.9"]}],
        "nodes": [
            {"id": 1, "pid": 42, "started": True, "frozen": False, "link": "up", "bfd": "up",
             "addresses": ["a"], "daemon": {"connections": 7, "phase": "ready"}},
            {"id": 2, "pid": 43, "started": True, "frozen": True, "link": "up", "bfd": "down", "addresses": ["b"],
             "daemon": None},
            {"id": 3, "pid": None, "started": True, "frozen": False, "link": "down",
             "bfd": "down", "addresses": ["c"], "daemon": None},
            {"id": 4, "pid": None, "started": False, "frozen": False, "link": "up",
             "bfd": "down", "addresses": ["d"], "daemon": None}]}

    def test_table(self):
        lines = report.text(self.STATUS).splitlines()
        rows = [line.split() for line in lines]
        self.assertIn(["1", "running", "(42)", "ready", "up", "up", "7", "a"], rows)
        self.assertIn(["2", "frozen", "(43)", "-", "up", "down", "-", "b"], rows)
        self.assertIn(["3", "dead", "-", "down", "down", "-", "c"], rows)
        self.assertIn(["4", "not", "started", "-", "up", "down", "-", "d"], rows)
        self.assertIn("6 groups, 44 flows", lines[1])


class CommandLine(unittest.TestCase):
    def parse(self, *args):
        return cli.parse(list(args))

    def test_exec_leaves_the_command_alone(self):
        command = ["ls", "--json", "-l", "--name", "y", "--", "z"]
        for own in (["--name", "x", "2"], ["2", "--name", "x"]):
            args = self.parse("exec", *own, "--", *command)
            self.assertEqual((args.who, args.name, args.rest), ("node2", "x", command))

    def test_other_verbs_take_no_command(self):
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            self.parse("kill", "2", "--", "ls")

    def test_nodes_by_number_or_name(self):
        self.assertEqual(self.parse("kill", "3").node, 3)
        self.assertEqual(self.parse("kill", "node3", "--how", "link").node, 3)
        for bad in ("0", "x", "node", "-1"):
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
                self.parse("kill", bad)

    def test_every_verb_has_help_with_examples(self):
        for verb in (v for v in cli.EXAMPLES if v):
            out = io.StringIO()
            with self.assertRaises(SystemExit) as end, contextlib.redirect_stdout(out):
                self.parse(verb, "--help")
            self.assertEqual(end.exception.code, 0)
            self.assertIn(f"tripod-lab {verb}", out.getvalue().split("examples:")[1])

    def test_every_example_is_a_command(self):
        for text in cli.EXAMPLES.values():
            for line in text.splitlines():
                command = line.strip().split("   ")[0].split(" | ")[0].replace(" ...", "")
                program, *args = command.split()
                self.assertEqual(program, "tripod-lab")
                self.parse(*args)


if __name__ == "__main__":
    unittest.main()
