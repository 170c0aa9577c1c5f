# SPDX-License-Identifier: BSD-3-Clause
"""The configuration that the lab's nodes run with. Pure: text in, text out.

It is made of top-level sections. `up --config FILE` replaces sections: each one that FILE has takes
the place of the generated one as a whole, the others stay. So a file with nothing but `chain:`
changes the network functions, and a complete rack.yaml changes everything. What a node has to itself
(port, workers, control socket, state, key file) is on its command line, which has the last word.
"""

from __future__ import annotations

import re

from . import LabError, topology
from .topology import INSIDE, OUTSIDE, Lab, Side

CHAIN = """\
chain:
  - firewall:
      default: deny
      rules:
        # The balanced services.
        - {action: allow, from: outside, proto: tcp, dst: 198.51.100.1, dport: [80, 443, 7000-7003]}
        # Straight to a server: this path crosses the firewall and nothing else.
        - {action: allow, from: outside, proto: tcp, dst: [10.1.0.0/24, "fd00:1::/64"], dport: 8000-8003}
        - {action: allow, from: outside, proto: [icmp, icmp6]}
        - {action: allow, from: inside}
  - lb:
      services:
SERVICES
  - snat:
      pools:
        - {name: internet, addresses: 192.0.2.0/30}
      rules:
        - {src: 10.1.0.0/24, pool: internet}
""".replace("SERVICES", "\n".join(
    f"        - {{vip: 198.51.100.1, port: {port}, proto: tcp, "
    "backends: [{address: 10.1.0.101}, {address: 10.1.0.102}]}"
    for port in (80, 443, 7000, 7001, 7002, 7003)))


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
             f"  backups: {min(lab.backups, lab.n_nodes - 1)}",
             f"  durability: {lab.durability if lab.mode == 'tripod' else 'none'}",
             "  heartbeat_ms: 20",
             "  dead_after_ms: 500",  # four nodes share two cores: late is not dead
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


def _switch(lab: Lab) -> str:
    lines = ["switch:",
             f"  model: {lab.model}",
             f"  hash: {lab.hash}",
             # The second choice of Open vSwitch cannot be predicted.
             f"  failures: {0 if lab.model == 'two-stage' else 1}",
             "  uplinks:"]
    lines += [f'    - {{port: {h.port}, side: {h.side.name}, mac: "{h.mac}"}}'
              for h in topology.HOSTS]
    return "\n".join(lines) + "\n"


NODE = """\
node:
  hugepages: never  # several nodes on one machine: none has a claim to them
"""


def generate(lab: Lab, override: str = "", source: str = "--config") -> str:
    parts = {"rack": _rack(lab), "network": _network(lab), "switch": _switch(lab),
             "node": NODE, "chain": CHAIN,
             **sections(override, source)}
    return f"# Lab {lab.name}, made by tripod-lab.\n" + "\n".join(parts.values())
