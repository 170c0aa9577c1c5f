# SPDX-License-Identifier: BSD-3-Clause
"""An Open vSwitch of the lab's own: database, daemon, bridge, rules, and what it knows of ports."""

from __future__ import annotations

import re
from pathlib import Path

from . import LabError, buffers, netns, ovs_rules, topology
from .run import run, wait_for
from .topology import Lab

BRIDGE = "tor"
RECEIVE_BUFFER = 8 << 20  # bytes, of each port
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
OPENFLOW = ["-O", "OpenFlow15"]


def rack(lab: Lab) -> ovs_rules.Rack:
    """The lab as the switch sees it."""
    return ovs_rules.Rack(
        nodes=tuple(ovs_rules.Port(n.port, n.mac) for n in lab.nodes),
        networks=tuple(
            ovs_rules.Network(side.vlan, side.gateway_mac,
                              tuple(ovs_rules.Port(h.port, h.mac) for h in topology.HOSTS
                                    if h.side is side),
                              outside=side is topology.OUTSIDE)
            for side in (topology.OUTSIDE, topology.INSIDE)),
        node_vlans=(topology.VLAN_RELAY_OUTSIDE, topology.VLAN_RELAY_INSIDE,
                    topology.VLAN_FABRIC),
        hash=lab.hash)


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
        self._tool(netns.exec_args(self.ns, [
            program, *args, f"--pidfile={self.dir}/{program}.pid",
            f"--log-file={self.dir}/{program}.log",
            "-vsyslog:off", "-vconsole:off", "-vfile:info", "--no-chdir", "--detach"]))

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
        """Bridge and ports in one transaction, then the rules."""
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
        self.install(rack(lab))

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

    def install(self, rules: ovs_rules.Rack) -> None:
        target = self.bridge_target()
        self.ofctl("add-groups", target, "-", stdin="\n".join(ovs_rules.groups(rules)) + "\n")
        self.ofctl("--bundle", "replace-flows", target, "-",
                   stdin="\n".join(ovs_rules.flows(rules)) + "\n")

    def running(self) -> bool:
        try:
            pid = int((self.dir / "ovs-vswitchd.pid").read_text())
        except (OSError, ValueError):
            return False
        return netns.inside(pid, self.ns)

    def bfd(self) -> dict[str, bool]:
        """Whether each node's session is up and its port forwards, by port name."""
        return parse_bfd(self.appctl("bfd/show"))

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
