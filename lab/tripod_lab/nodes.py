# SPDX-License-Identifier: BSD-3-Clause
"""The gateway processes: starting one, hurting it, and finding out how it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from . import LabError, netns, priority
from .run import run, wait_for
from .topology import Lab, Node

KILL_WAYS = ("kill", "freeze", "link")


def build_dir() -> Path:
    """Where the programs of this source tree were built."""
    if "TRIPOD_BUILD" in os.environ:
        return Path(os.environ["TRIPOD_BUILD"]).absolute()
    return Path(__file__).resolve().parents[2] / "build"


def program(folder: str, name: str) -> Path:
    """A program of the build, or beside the installed tripod-lab."""
    built = build_dir() / folder / name
    if built.exists():
        return built
    if "TRIPOD_BUILD" not in os.environ:
        for directory in ("bin", "sbin"):
            installed = Path(__file__).resolve().parents[3] / directory / name
            if installed.exists():
                return installed
    raise LabError(f"{built} is not there: build first (ninja -C build), or name the build "
                   "directory in TRIPOD_BUILD")


class NodeProcess:
    def __init__(self, lab: Lab, node: Node) -> None:
        self.node = node
        self.ns = lab.namespace(node.name)
        self.dir = lab.run_dir / node.name
        self.config = lab.run_dir / "rack.yaml"
        self.key_file = lab.run_dir / "keys"
        self.workers = lab.workers
        self.log = self.dir / "tripodd.log"
        self.pid_file = self.dir / "tripodd.pid"
        self.control_socket = self.dir / "control.sock"

    def start(self) -> None:
        """Starts tripodd; it outlives this program."""
        tripodd = program("daemon", "tripodd")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                priority.before_others(netns.exec_args(self.ns, [
                    str(tripodd), "--config", str(self.config), "--node", str(self.node.id),
                    "--port", f"net_af_packet{self.node.id},iface=eth0",
                    "--workers", str(self.workers), "--socket", str(self.control_socket),
                    "--state-dir", str(self.dir), "--key-file", str(self.key_file)])),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self.dir)
        self.pid_file.write_text(f"{process.pid}\n")
        priority.session_before_others(process.pid)
        # Until it has entered its namespace it cannot be told from a stranger with a reused number.
        wait_for(f"{self.node.name} in its namespace", 10,
                 lambda: process.poll() is not None or netns.inside(process.pid, self.ns), 0.005)

    @property
    def pid(self) -> int | None:
        """None when the process is gone. Checked against the namespace: numbers are reused."""
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if netns.inside(pid, self.ns) else None

    def frozen(self) -> bool:
        pid = self.pid
        if pid is None:
            return False
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] in "Tt"

    def link_up(self) -> bool:
        links = json.loads(run(["ip", "-n", self.ns, "-json", "link", "show", "dev", "eth0"]))
        return "UP" in links[0]["flags"]

    def hurt(self, how: str) -> None:
        if how == "link":
            netns.batch(self.ns, ["link set eth0 down"])
            return
        pid = self.pid
        if pid is None:
            raise LabError(f"{self.node.name} is dead already")
        os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        if how == "kill":
            wait_for(f"the end of process {pid}", 5, lambda: self.pid is None, 0.005)

    def restore(self) -> list[str]:
        """Undoes whatever was done to the node; says what that was."""
        done = []
        if not self.link_up():
            netns.batch(self.ns, ["link set eth0 up"])
            done.append("link set up")
        pid = self.pid
        if pid is None:
            self.start()
            done.append("process started")
        elif self.frozen():
            os.kill(pid, signal.SIGCONT)
            done.append("process goes on")
        return done

    def ctl(self, *args: str) -> dict | None:
        """What the node answers to a tripodctl command; None when it does not answer."""
        if self.pid is None or self.frozen() or not self.control_socket.exists():
            return None
        try:
            out = run([str(program("ctl", "tripodctl")), "--socket", str(self.control_socket),
                       "--json", *args], timeout_s=2)
            answer = json.loads(out)
        except (LabError, ValueError):
            return None
        return answer if isinstance(answer, dict) else None

    def last_words(self, lines: int = 8) -> str:
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
