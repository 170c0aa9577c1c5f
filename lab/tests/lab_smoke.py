# SPDX-License-Identifier: BSD-3-Clause
"""The lab itself, end to end: a real switch, real namespaces, a stand-in for the gateway process.
Takes root and Open vSwitch; says so and skips (exit 77) without them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True

from tripod_lab import LabError, lab, netns, ovs, priority, run  # noqa: E402

TOOL = str(HERE.parent / "tripod-lab")
ENV = {**os.environ, "TRIPOD_BUILD": str(HERE / "standin")}
NAME = f"t{os.getpid()}"

ECHO = """
import socket, sys, threading
def serve(c):
    while (data := c.recv(4096)):
        c.sendall(data)
s = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
# Says what it hears on standard input to the server, and back.
TALK = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
print(s.getsockname()[1], flush=True)
for line in sys.stdin.buffer:
    s.sendall(line)
    sys.stdout.buffer.write(s.makefile("rb").readline())
    sys.stdout.flush()
"""


def tool(*args: str, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
    done = subprocess.run([TOOL, *args], env=ENV, capture_output=True, text=True, timeout=120,
                          **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{args}: {done.stderr}")
    return done


def left_over(name: str) -> list[str]:
    """Everything on this machine that bears the lab's name."""
    found = list(netns.labs().get(name, []))
    found += [str(p) for p in (Path("/run/tripod-lab") / name,) if p.exists()]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if f"/run/tripod-lab/{name}/".encode() in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


class Rack(unittest.TestCase):
    """One lab that the tests of a class share."""

    up_args: tuple[str, ...] = ()
    name = NAME

    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(tool, "down", "--name", cls.name)
        tool("up", "--name", cls.name, "--wait", "30", *cls.up_args)
        cls.server = cls.spawn("server1", ECHO, "8000")
        cls.server.stdout.readline()

    @classmethod
    def spawn(cls, who: str, code: str, *args: str) -> subprocess.Popen:
        process = subprocess.Popen([TOOL, "exec", "--name", cls.name, who, "--", sys.executable,
                                    "-c", code, *args], text=True, env=ENV, bufsize=1,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        cls.addClassCleanup(cls.end, process)
        return process

    @staticmethod
    def end(process: subprocess.Popen) -> None:
        process.kill()
        process.communicate()

    def status(self) -> dict:
        return json.loads(tool("status", "--json", "--name", self.name).stdout)

    def node(self, i: int) -> dict:
        return self.status()["nodes"][i - 1]

    def until(self, what: str, poll) -> None:
        run.wait_for(what, 20, poll)

    def talk(self, to: str) -> subprocess.Popen:
        talker = self.spawn("client", TALK, to, "8000")
        talker.local_port = int(talker.stdout.readline())
        self.say(talker, "hello")
        return talker

    def say(self, talker: subprocess.Popen, text: str) -> None:
        talker.stdin.write(f"{text}\n")
        self.assertEqual(talker.stdout.readline(), f"{text}\n")

    def sent_to(self) -> dict[int, int]:
        """Bytes that the switch has sent to each node so far."""
        text = tool("exec", "--name", self.name, "switch", "--", "ovs-ofctl", "-O", "OpenFlow15",
                    "dump-ports", "tor").stdout
        counts = re.findall(r"port +\"?(?:node)?(\d+)\"?: rx.*?tx pkts=\d+, bytes=(\d+)", text, flags=re.S)
        return {int(i): int(n) for i, n in counts if int(i) < 100}


class TwoLabs(Rack):
    up_args = ("--nodes", "3")

    def test_status_holds_what_is_promised(self):
        status = self.status()
        self.assertEqual((status["name"], status["mode"], status["hash"]),
                         (self.name, "tripod", "outside-endpoint"))
        self.assertEqual([n["id"] for n in status["nodes"]], [1, 2, 3])
        for node in status["nodes"]:
            self.assertTrue(node["alive"])
            self.assertTrue(netns.inside(node["pid"], node["namespace"]))
            self.assertTrue(Path(node["control_socket"]).is_socket())
        self.until("all sessions to be up",
                   lambda: all(n["bfd"] == "up" for n in self.status()["nodes"]))
        self.assertEqual(status["switch"]["groups"], 5)
        self.assertGreater(status["switch"]["flows"], 20)
        self.assertIn("running", tool("status", "--name", self.name).stdout)

    def test_connections_survive_every_way_of_failing(self):
        talkers = [self.talk(to) for to in ("10.1.0.101", "fd00:1::101") for _ in range(4)]
        for how in ("kill", "freeze", "link"):
            for i in (1, 2, 3):
                tool("kill", str(i), "--how", how, "--name", self.name)
                self.until("the switch to notice", lambda: self.node(i)["bfd"] == "down")
                for n, talker in enumerate(talkers):
                    self.say(talker, f"{how} {i} {n}")
                self.assertEqual(self.node(i)["alive"], how == "link")
                tool("restore", str(i), "--name", self.name)
                self.until("it to be up", lambda: self.node(i)["bfd"] == "up")
                for n, talker in enumerate(talkers):
                    self.say(talker, f"after {how} {i} {n}")

    def test_nodes_and_switch_go_before_others(self):
        probe = subprocess.Popen(priority.before_others(["cat"]), stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 start_new_session=True)
        self.addCleanup(self.end, probe)
        probe.stdin.write(b"x\n")
        probe.stdin.flush()
        probe.stdout.readline()  # cat it is by now
        groups = priority.session_before_others(probe.pid)
        nice = os.getpriority(os.PRIO_PROCESS, probe.pid)  # 0 where nobody may have more
        switch = Path("/run/tripod-lab") / self.name / "switch"
        pids = [n["pid"] for n in self.status()["nodes"]]
        pids += [int((switch / f"{p}.pid").read_text()) for p in ("ovsdb-server", "ovs-vswitchd")]
        self.assertEqual(len(pids), 5)
        for pid in pids:
            for thread in os.listdir(f"/proc/{pid}/task"):
                self.assertEqual(os.getpriority(os.PRIO_PROCESS, int(thread)), nice)
            if groups:
                group = Path(f"/proc/{pid}/autogroup").read_text()
                self.assertTrue(group.endswith(f" nice {priority.NICE}\n"), group)

    def test_a_dead_node_cannot_be_killed_again(self):
        tool("kill", "3", "--name", self.name)
        again = tool("kill", "3", "--name", self.name, check=False)
        self.assertEqual(again.returncode, 1)
        self.assertIn("dead already", again.stderr)
        tool("restore", "3", "--name", self.name)

    def test_both_directions_share_a_node(self):
        talker = self.talk("10.1.0.101")
        switch = ovs.Switch(lab.load(self.name))
        for _ in range(5):
            flaps, before = switch.flaps(), self.sent_to()
            for i in range(200):
                self.say(talker, f"line {i} " + 1000 * "x")
            after = self.sent_to()
            if switch.flaps() == flaps:  # else it may have had to move
                break
        data = sorted(after[i] - before[i] for i in after)
        # 200 lines there and back; a little BFD and ARP everywhere, as much as it took time.
        self.assertGreater(data[-1], 400 * 1000)
        self.assertLess(data[-2], 100 * 1000)

    def test_the_switch_foretells_where_flows_go(self):
        done = json.loads(tool("predict-check", "--flows", "600", "--name", self.name, "--json").stdout)
        self.assertGreaterEqual(done["accuracy"], 0.999)
        self.assertEqual([n["node"] for n in done["nodes"]], [1, 2, 3])
        self.assertEqual({n["moved_of_living"] for n in done["nodes"]}, {0})
        self.assertEqual(sum(n["carried"] for n in done["nodes"]), 600)

    def test_nodes_come_and_go(self):
        alone = tool("remove", "1", "--name", self.name, check=False)
        self.assertIn("drain 1 --wait", alone.stderr)
        tool("kill", "3", "--name", self.name)
        tool("remove", "3", "--name", self.name)
        self.assertEqual(self.status()["switch"]["groups"], 4)
        self.talk("10.1.0.101")
        tool("add", "--name", self.name)
        self.assertEqual(self.status()["switch"]["groups"], 5)
        self.until("it to be up", lambda: self.node(3)["bfd"] == "up")

    def test_exec_passes_status_and_streams(self):
        self.assertEqual(tool("exec", "--name", self.name, "server2", "--", "sh", "-c", "exit 7",
                              check=False).returncode, 7)
        self.assertEqual(tool("exec", "--name", self.name, "client", "--", "cat",
                              input="through\n").stdout, "through\n")
        shown = tool("exec", "--name", self.name, "server2", "--", "ip", "-o", "addr").stdout
        self.assertIn("10.1.0.102/24", shown)
        nobody = tool("exec", "--name", self.name, "node9", "--", "true", check=False)
        self.assertIn("has no node9", nobody.stderr)

    def test_logs_and_capture(self):
        self.assertIn("tor", tool("logs", "switch", "--name", self.name).stdout)
        file = Path("/run/tripod-lab") / self.name / "x.pcap"
        process = subprocess.Popen([TOOL, "capture", "1", str(file), "--name", self.name, "--",
                                    "-c", "3", "udp", "port", "3784"], env=ENV,
                                   stderr=subprocess.DEVNULL)
        self.assertEqual(process.wait(20), 0)
        self.assertEqual(file.read_bytes()[:4], b"\xd4\xc3\xb2\xa1")
        self.assertGreater(file.stat().st_size, 24 + 3 * 66)

    def test_a_second_lab_beside_it(self):
        other = f"{self.name}b"
        self.addCleanup(tool, "down", "--name", other)
        tool("up", "--name", other, "--nodes", "1", "--mode", "baseline", "--hash", "symmetric")
        listed = json.loads(tool("list", "--json").stdout)
        self.assertIn({"name": other, "whole": True, "mode": "baseline", "nodes": 1}, listed)
        self.assertIn({"name": self.name, "whole": True, "mode": "tripod", "nodes": 3}, listed)
        taken = tool("up", "--name", self.name, check=False)
        self.assertEqual(taken.returncode, 1)
        self.assertIn("is up already", taken.stderr)
        # Taking one down leaves the other alone.
        tool("down", "--name", other)
        self.assertEqual(left_over(other), [])
        self.talk("10.1.0.101")


class Symmetric(Rack):
    up_args = ("--nodes", "4", "--hash", "symmetric")
    name = f"{NAME}s"

    def test_traffic_crosses_and_survives(self):
        talkers = [self.talk("10.1.0.101") for _ in range(8)]
        tool("kill", "1", "--name", self.name)
        self.until("the switch to notice", lambda: self.node(1)["bfd"] == "down")
        for talker in talkers:
            self.say(talker, "still here")

    def test_open_vswitch_takes_the_many_buckets_as_dp_hash(self):
        groups = tool("exec", "--name", self.name, "switch", "--", "ovs-ofctl", "-O", "OpenFlow15",
                      "dump-groups", "tor").stdout
        self.assertEqual(groups.count("type=select"), 6)
        for _ in range(4):
            self.talk("10.1.0.101")
        flows = tool("exec", "--name", self.name, "switch", "--", "ovs-appctl",
                     "dpctl/dump-flows").stdout
        self.assertIn("hash(sym_l4(0))", flows)


class FiveTuple(Rack):
    up_args = ("--nodes", "2", "--hash", "5-tuple")
    name = f"{NAME}f"

    def test_traffic_crosses_in_both_families(self):
        for to in ("10.1.0.101", "fd00:1::101"):
            for _ in range(4):
                self.talk(to)


class CleaningUp(unittest.TestCase):
    name = f"{NAME}c"

    def setUp(self):
        self.addCleanup(tool, "down", "--name", self.name)
        self.links = links()

    def interrupted(self, at: str, signum: int) -> int:
        """Ends `up` when it says `at`."""
        process = subprocess.Popen([TOOL, "up", "--name", self.name], env=ENV, text=True,
                                   stderr=subprocess.PIPE)
        for line in process.stderr:
            if at in line:
                process.send_signal(signum)
                break
        process.stderr.read()
        process.stderr.close()
        return process.wait(60)

    def test_signals_during_up_leave_nothing(self):
        for at, signum in (("network:", signal.SIGINT), ("switch: Open", signal.SIGTERM),
                           ("nodes:", signal.SIGINT), ("ready", signal.SIGHUP)):
            status = self.interrupted(at, signum)
            if at == "ready" and status == 0:  # it came after the last step
                tool("status", "--name", self.name)
                tool("down", "--name", self.name)
            else:
                self.assertEqual(status, 128 + signum, at)
            self.assertEqual(left_over(self.name), [], at)

    def test_down_after_a_crash_leaves_nothing(self):
        for at in ("network:", "switch: Open", "nodes:"):
            self.assertEqual(self.interrupted(at, signal.SIGKILL), -signal.SIGKILL)
            self.assertNotEqual(left_over(self.name), [])
            half = tool("status", "--name", self.name, check=False)
            self.assertIn("down --name", half.stderr)
            tool("down", "--name", self.name)
            self.assertEqual(left_over(self.name), [], at)

    def test_down_during_up_leaves_nothing(self):
        for at in ("network:", "switch: Open", "nodes:"):
            process = subprocess.Popen([TOOL, "up", "--name", self.name], env=ENV, text=True,
                                       stderr=subprocess.PIPE)
            for line in process.stderr:
                if at in line:
                    break
            waited = tool("down", "--name", self.name)
            process.stderr.read()
            process.stderr.close()
            self.assertEqual(process.wait(60), 0)
            self.assertIn("waiting for it", waited.stderr)
            self.assertEqual(left_over(self.name), [], at)

    def test_down_needs_no_state_file_and_may_be_repeated(self):
        tool("up", "--name", self.name, "--nodes", "2")
        tool("kill", "2", "--how", "freeze", "--name", self.name)
        (Path("/run/tripod-lab") / self.name / "lab.json").unlink()
        stray = subprocess.Popen([*netns.exec_args(f"tl-{self.name}-client", ["sleep", "1000"])])
        tool("down", "--name", self.name)
        self.assertNotEqual(stray.wait(10), 0)
        self.assertEqual(left_over(self.name), [])
        self.assertIn("there was no lab", tool("down", "--name", self.name).stderr)
        self.assertEqual(links(), self.links)

    def test_a_node_that_does_not_start_is_explained(self):
        bad = Path(self.enterContext(_temporary_directory()))
        for folder, program, text in (("daemon", "tripodd", "echo no port, no play >&2; exit 1"),
                                      ("ctl", "tripodctl", "exit 1")):
            (bad / folder).mkdir()
            (bad / folder / program).write_text(f"#!/bin/sh\n{text}\n")
            (bad / folder / program).chmod(0o755)
        (bad / "switch").mkdir()
        (bad / "switch" / "tripod-switch").symlink_to(HERE / "standin" / "switch" / "tripod-switch")
        done = subprocess.run([TOOL, "up", "--name", self.name], text=True, capture_output=True,
                              env={**ENV, "TRIPOD_BUILD": str(bad)}, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no port, no play", done.stderr)
        self.assertEqual(left_over(self.name), [])

    def test_strangers_are_left_alone(self):
        for ns in (f"tl-{self.name}", f"x-{self.name}-client", f"tl-{self.name}-client-2"):
            subprocess.run(["ip", "netns", "add", ns], check=True)
            self.addCleanup(subprocess.run, ["ip", "netns", "del", ns])
        tool("down", "--name", self.name)
        for ns in (f"tl-{self.name}", f"x-{self.name}-client", f"tl-{self.name}-client-2"):
            self.assertTrue(netns.exists(ns))


def _temporary_directory():
    import tempfile
    return tempfile.TemporaryDirectory(prefix="tripod-lab-test-")


if __name__ == "__main__":
    try:
        run.check_machine()
    except LabError as e:
        print(f"skipped: {e}")
        sys.exit(77)
    unittest.main(verbosity=2)
