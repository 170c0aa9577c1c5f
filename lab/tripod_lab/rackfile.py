# SPDX-License-Identifier: BSD-3-Clause
"""The configuration that the lab's nodes run with. Pure: text in, text out.

It is made of top-level sections. `up --config FILE` replaces sections: each one that FILE has takes
the place of the generated one as a whole, the others stay. So a file with nothing but `chain:`
changes the network functions, and one with everything changes everything, but for `node:`, which
names what each node has to itself (port, control socket, state).
"""

from __future__ import annotations

import re

from . import LabError, topology
from .topology import INSIDE, OUTSIDE, Lab, Node, Side

CHAIN = """\
chain:
  - firewall:
      default: deny
      rules:
        # The balanced services.
        - {allow: incoming, proto: tcp, to: 198.51.100.1, ports: "80"}
        - {allow: incoming, proto: tcp, to: 198.51.100.1, ports: "443"}
        - {allow: incoming, proto: tcp, to: 198.51.100.1, ports: "7000-7003"}
        # Straight to a server: this path crosses the firewall and nothing else.
        - {allow: incoming, proto: tcp, to: 10.1.0.0/24, ports: "8000-8003"}
        - {allow: incoming, proto: icmp}
        - {allow: outgoing}
  - lb:
      services:
        - {vip: 198.51.100.1, port: 80, proto: tcp, backends: [10.1.0.101, 10.1.0.102]}
        - {vip: 198.51.100.1, port: 7000, proto: tcp, backends: [10.1.0.101, 10.1.0.102]}
  - snat:
      from: 10.1.0.0/24
      pool: 192.0.2.1-192.0.2.4
"""


def sections(text: str, source: str) -> dict[str, str]:
    """A file's top-level sections by name, comments before a section kept with it."""
    out: dict[str, str] = {}
    name, pending = None, ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            line += "\n"
        start = re.match(r"([A-Za-z_][A-Za-z0-9_]*):(\s|$)", line)
        if start:
            name = start[1]
            if name in out:
                raise LabError(f"{source}:{number}: second section {name}")
            out[name] = pending + line
            pending = ""
        elif line.strip() == "" or line[0] == "#":
            pending += line
        elif line in ("---\n", "...\n"):
            continue
        elif name is None or line[0] not in " \t-":
            raise LabError(f"{source}:{number}: expected a section such as \"chain:\"")
        else:
            out[name] += pending + line
            pending = ""
    return out


def _rack(lab: Lab) -> str:
    lines = ["rack:",
             f"  name: {lab.name}",
             "  backups: 1",
             f"  durability: {'async' if lab.mode == 'tripod' else 'none'}",
             "  heartbeat_ms: 20",
             "  dead_after_ms: 100",
             "  nodes:"]
    for node in lab.nodes:
        outside, inside = (", ".join((v4, f'"{v6}"')) for v4, v6 in
                           (node.on(OUTSIDE), node.on(INSIDE)))
        lines.append(f'    - {{id: {node.id}, mac: "{node.mac}", outside: [{outside}], '
                     f"inside: [{inside}], fabric: {node.fabric}}}")
    return "\n".join(lines) + "\n"


def _side(side: Side) -> list[str]:
    return [f"  {side.name}:",
            f"    vlan: {side.vlan}",
            f"    relay_vlan: {side.relay_vlan}",
            f"    mtu: {topology.HOST_MTU}",
            f'    gateway: [{side.gateway4}/{side.len4}, "{side.gateway6}/{side.len6}"]',
            f'    gateway_mac: "{side.gateway_mac}"']


def _network(lab: Lab) -> str:
    client = topology.HOSTS[0]
    lines = ["network:", *_side(OUTSIDE),
             "    routes:",
             f"      - {{to: 0.0.0.0/0, via: {client.addresses4[1]}}}",
             f'      - {{to: "::/0", via: "{client.addresses6[1]}"}}',
             *_side(INSIDE),
             f"  fabric: {{vlan: {topology.VLAN_FABRIC}}}",
             # Open vSwitch sends its BFD to this MAC, and takes it from any.
             f"  bfd: {{enabled: true, interval_ms: {lab.bfd_interval_ms}, "
             f'multiplier: {lab.bfd_multiplier}, peer_mac: "00:23:20:00:00:01"}}']
    return "\n".join(lines) + "\n"


def _node(lab: Lab, node: Node) -> str:
    directory = lab.run_dir / node.name
    return "\n".join(["node:",
                      f"  id: {node.id}",
                      f'  port: "net_af_packet{node.id},iface=eth0"',
                      f"  workers: {lab.workers}",
                      f"  state_dir: {directory}",
                      f"  control_socket: {directory}/control.sock"]) + "\n"


def generate(lab: Lab, node: Node, override: str = "", source: str = "--config") -> str:
    parts = {"rack": _rack(lab), "network": _network(lab), "chain": CHAIN}
    given = sections(override, source)
    given.pop("node", None)
    parts.update(given)
    parts["node"] = _node(lab, node)
    return (f"# Node {node.id} of lab {lab.name}, made by tripod-lab.\n"
            + "\n".join(parts.values()))
