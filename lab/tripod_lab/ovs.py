# SPDX-License-Identifier: BSD-3-Clause
"""An Open vSwitch of the lab's own: database, daemon, bridge, rules, and what it knows of ports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Sequence

from . import LabError, buffers, netns, nodes, priority, topology
from .run import run, wait_for
from .topology import Lab, Node

BRIDGE = "tor"
RECEIVE_BUFFER = 8 << 20  # bytes, of each port
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
OPENFLOW = ["-O", "OpenFlow15"]


class Switch:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.ns = lab.namespace("switch")
        self.dir = lab.run_dir / "switch"
        self.db = self.dir / "db.sock"

    @property
    def env(self) -> dict[str, str]:
        """What makes ovs-vsctl, ovs-ofctl and ovs-appctl speak to this switch."""
        return {name: str(self.dir) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR",
                                                 "OVS_SYSCONFDIR")}

    def _tool(self, args: list[str], stdin: str | None = None) -> str:
        return run(args, stdin=stdin, env=self.env)

    def _daemon(self, program: str, args: list[str]) -> None:
        self._tool(priority.before_others(netns.exec_args(self.ns, [
            program, *args, f"--pidfile={self.dir}/{program}.pid",
            f"--log-file={self.dir}/{program}.log",
            "-vsyslog:off", "-vconsole:off", "-vfile:info", "--no-chdir", "--detach"])))
        priority.session_before_others(int((self.dir / f"{program}.pid").read_text()))

    def start(self) -> None:
        self.dir.mkdir(parents=True, exist_ok=True)
        conf = self.dir / "conf.db"
        self._tool(["ovsdb-tool", "create", str(conf), str(SCHEMA)])
        self._daemon("ovsdb-server", [str(conf), f"--remote=punix:{self.db}"])
        # One thread each for misses and for ageing: the switch shares two cores with the nodes.
        self.vsctl("--no-wait", "init", "--", "set", "open_vswitch", ".",
                   "other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1")
        self._daemon("ovs-vswitchd", [f"unix:{self.db}"])

    def vsctl(self, *args: str) -> str:
        return self._tool(["ovs-vsctl", "--timeout=20", f"--db=unix:{self.db}", *args])

    def ofctl(self, *args: str, stdin: str | None = None) -> str:
        return self._tool(["ovs-ofctl", *OPENFLOW, *args], stdin=stdin)

    def appctl(self, *args: str) -> str:
        return self._tool(["ovs-appctl", "--timeout=10", *args])

    def bridge_target(self) -> str:
        return f"unix:{self.dir}/{BRIDGE}.mgmt"

    def configure(self) -> None:
        """Bridge and ports, in one transaction."""
        lab = self.lab
        args = ["add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev",
                "fail_mode=secure", "protocols=OpenFlow13,OpenFlow15",
                "mcast_snooping_enable=false", "stp_enable=false"]
        bfd = ["bfd:enable=true", f"bfd:min_rx={lab.bfd_interval_ms}",
               f"bfd:min_tx={lab.bfd_interval_ms}", f"bfd:mult={lab.bfd_multiplier}"]
        for node in lab.nodes:
            args += ["--", "add-port", BRIDGE, node.name, "--", "set", "interface", node.name,
                     f"ofport_request={node.port}", *bfd]
        for host in topology.HOSTS:
            args += ["--", "add-port", BRIDGE, host.name, "--", "set", "interface", host.name,
                     f"ofport_request={host.port}"]
        self.vsctl(*args)
        self._check_ports()
        self._enlarge_buffers()

    def _enlarge_buffers(self) -> None:
        pid = int((self.dir / "ovs-vswitchd.pid").read_text())
        ports = len(self.lab.nodes) + len(topology.HOSTS)
        n = buffers.enlarge(pid, RECEIVE_BUFFER)
        if n < ports:
            raise LabError(f"the switch has {n} packet sockets for {ports} ports")

    def _check_ports(self) -> None:
        want = {p.name: p.port for p in (*self.lab.nodes, *topology.HOSTS)}

        def numbers() -> dict[str, int] | None:
            have = {}
            for line in self.vsctl("--bare", "--format=csv", "--no-headings",
                                   "--columns=name,ofport", "list", "interface").splitlines():
                name, _, number = line.partition(",")
                if name in want and number.strip().lstrip("-").isdigit():
                    have[name] = int(number)
            return have if have == want else None

        wait_for("the switch's ports", 10, numbers,
                 why=lambda: self.vsctl("--columns=name,ofport,error", "list", "interface"))

    def apply(self, members: Sequence[Node]) -> str:
        """Gives the switch the rules for these nodes. What it has already does not change."""
        return self._rules("apply", members)

    def verify(self, members: Sequence[Node]) -> str:
        return self._rules("verify", members)

    def _rules(self, verb: str, members: Sequence[Node]) -> str:
        return self._tool([str(nodes.program("switch", "tripod-switch")), verb,
                           "--config", str(self.lab.run_dir / "rack.yaml"), "--bridge", BRIDGE,
                           "--nodes", ",".join(str(n.id) for n in members)]).strip()

    def running(self) -> bool:
        try:
            pid = int((self.dir / "ovs-vswitchd.pid").read_text())
        except (OSError, ValueError):
            return False
        return netns.inside(pid, self.ns)

    def bfd(self) -> dict[str, bool]:
        """Whether each node's session is up and its port forwards, by port name."""
        return parse_bfd(self.appctl("bfd/show"))

    def flaps(self) -> dict[str, int]:
        """How often each session has gone up or down, by port name."""
        return parse_flaps(self.vsctl("--bare", "--format=csv", "--no-headings",
                                      "--columns=name,bfd_status", "list", "interface"))

    def counts(self) -> dict[str, int]:
        target = self.bridge_target()
        return {"groups": self.ofctl("dump-groups", target).count("group_id="),
                "flows": sum(1 for line in self.ofctl("dump-flows", "--no-stats", target)
                             .splitlines() if "actions=" in line)}


def parse_bfd(text: str) -> dict[str, bool]:
    """From the output of bfd/show: forwarding, and both ends say up."""
    out: dict[str, bool] = {}
    for part in re.split(r"^---- (?=\S+ ----$)", text, flags=re.M)[1:]:
        name = part.split(" ", 1)[0]
        values = dict(re.findall(r"^\s*([A-Za-z ]+?): (.*)$", part, flags=re.M))
        out[name] = (values.get("Forwarding") == "true"
                     and values.get("Local Session State") == "up")
    return out


def parse_flaps(text: str) -> dict[str, int]:
    """From name and bfd_status of each interface."""
    out = {}
    for line in text.splitlines():
        found = re.search(r'flap_count="*(\d+)', line)
        if found:
            out[line.partition(",")[0]] = int(found[1])
    return out
