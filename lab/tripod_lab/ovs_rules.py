# SPDX-License-Identifier: BSD-3-Clause
"""OpenFlow groups and flows of the rack's switch. Pure: rack in, text for ovs-ofctl out.

Three tables. 0 admits: what a host sends gets the tag of its VLAN, what a node sends must carry one
of the rack's. 1 balances: what a host sends to the virtual gateway goes through two-stage ECMP.
2 forwards by destination MAC within the VLAN, and floods what is not known there.

Nothing is learned (no NORMAL action): all MACs of the rack are known, and a switch that learns
revalidates all its flows whenever one moves.

Two-stage ECMP: group PRIMARY picks a node for every packet, dead or alive; group FAILOVER + i sends
to node i while port i is live, else to a secondary group, which picks among the live ports. So a
failure moves the dead node's connections and no others.

The secondary choice must not depend on the first, else all that a dead node had lands on one
survivor. With the hash method, another hash basis does it. With dp_hash the datapath computes one
hash per packet and both stages see the same one, cut to a table of 2^k entries that the buckets fill
in turn. So there each node gets a secondary group of its own that lacks it: what is congruent modulo
N in one is spread modulo N - 1 in the other. Nodes get many buckets each, which makes the table
large enough for that, and their shares even.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

PRIMARY, SECONDARY, FAILOVER, SECONDARY_OF = 1, 2, 100, 200
ADMIT, BALANCE, FORWARD = 0, 1, 2
BUCKET_STRIDE = 1000

# Registers that the hash covers under outside-endpoint: an address (IPv4 fills a quarter), a port.
ADDRESS, ENDPOINT_PORT = "xxreg0", "reg4"

FIELDS = {
    "outside-endpoint": f"{ADDRESS},{ENDPOINT_PORT}",
    "5-tuple": "ip_src,ip_dst,ipv6_src,ipv6_dst,nw_proto,tcp_src,tcp_dst,udp_src,udp_dst",
}


@dataclass(frozen=True)
class Port:
    number: int
    mac: str


@dataclass(frozen=True)
class Network:
    """One side of the gateway as the switch sees it."""

    vlan: int
    gateway_mac: str
    hosts: tuple[Port, ...]
    outside: bool  # the remote end of a connection is on this side


@dataclass(frozen=True)
class Rack:
    nodes: tuple[Port, ...]
    networks: tuple[Network, ...]
    node_vlans: tuple[int, ...]  # VLANs among nodes alone
    hash: str


def dp_hash_rounds(n_nodes: int) -> int:
    """Buckets per node under dp_hash: at least one for each survivor of its death, as far as the 256
    go that Open vSwitch takes at most."""
    return max(1, (64 if n_nodes <= 8 else 256) // n_nodes)


def _select(group: int, basis: int, hash_: str, buckets: list[str]) -> str:
    if hash_ == "symmetric":
        method = ""  # Open vSwitch then uses dp_hash with its symmetric algorithm
    else:
        method = f",selection_method=hash,selection_method_param={basis},fields({FIELDS[hash_]})"
    return f"group_id={group},type=select{method}," + ",".join(buckets)


def _buckets(rack: Rack, ports: tuple[Port, ...], action: Callable[[Port], str]) -> list[str]:
    """A bucket per port, or several rounds of them. Ids are a port's own under every membership, as
    the hash method picks by id."""
    rounds = dp_hash_rounds(len(ports)) if rack.hash == "symmetric" else 1
    return [f"bucket=bucket_id:{r * BUCKET_STRIDE + p.number},{action(p)}"
            for r in range(rounds) for p in ports]


def _live(port: Port) -> str:
    return f"watch_port:{port.number},actions=output:{port.number}"


def groups(rack: Rack) -> list[str]:
    """Groups, each after those that it refers to."""
    nodes = rack.nodes
    out = []
    own_secondary = rack.hash == "symmetric" and len(nodes) > 1
    if not own_secondary:
        out.append(_select(SECONDARY, 2, rack.hash, _buckets(rack, nodes, _live)))
    for node in nodes:
        second = SECONDARY
        if own_secondary:
            second = SECONDARY_OF + node.number
            others = tuple(p for p in nodes if p != node)
            out.append(_select(second, 2, rack.hash, _buckets(rack, others, _live)))
        out.append(f"group_id={FAILOVER + node.number},type=ff,"
                   f"bucket=bucket_id:1,watch_port:{node.number},actions=output:{node.number},"
                   f"bucket=bucket_id:2,watch_group:{second},actions=group:{second}")
    out.append(_select(PRIMARY, 1, rack.hash, _buckets(
        rack, nodes, lambda p: f"actions=group:{FAILOVER + p.number}")))
    return out


def _tag(vlan: int) -> str:
    return f"push_vlan:0x8100,set_field:{vlan | 0x1000}->vlan_vid"


def _admit(rack: Rack) -> list[str]:
    out = []
    for net in rack.networks:
        for host in net.hosts:
            out.append(f"table={ADMIT},priority=100,in_port={host.number},vlan_tci=0x0000/0x1000,"
                       f"actions={_tag(net.vlan)},goto_table:{BALANCE}")
            out.append(f"table={ADMIT},priority=90,in_port={host.number},actions=drop")
    for vlan in [net.vlan for net in rack.networks] + list(rack.node_vlans):
        out.append(f"table={ADMIT},priority=50,dl_vlan={vlan},actions=goto_table:{FORWARD}")
    return out


def _endpoint_flows(net: Network) -> list[str]:
    """Flows that put the outside endpoint into the registers: the source of what comes from outside,
    the destination of what comes from inside. Packets without ports (ICMP, later fragments, other
    protocols) hash on the outside address alone."""
    end = "src" if net.outside else "dst"
    out = []
    for version, protos, address in (
            ("ip", ("tcp", "udp", "sctp"), f"move:NXM_OF_IP_{end.upper()}[]->NXM_NX_XXREG0[0..31]"),
            ("ipv6", ("tcp6", "udp6", "sctp6"),
             f"move:NXM_NX_IPV6_{end.upper()}[]->NXM_NX_XXREG0[]")):
        match = f"dl_vlan={net.vlan},dl_dst={net.gateway_mac}"
        out.append(f"table={BALANCE},priority=100,{match},{version},"
                   f"actions={address},group:{PRIMARY}")
        for proto in protos:
            port = f"move:OXM_OF_{proto.rstrip('6').upper()}_{end.upper()}[]->NXM_NX_REG4[0..15]"
            out.append(f"table={BALANCE},priority=110,{match},{proto},"
                       f"actions={address},{port},group:{PRIMARY}")
    return out


def _balance(rack: Rack) -> list[str]:
    out = []
    for net in rack.networks:
        if rack.hash == "outside-endpoint":
            out += _endpoint_flows(net)
        # ARP requests to the gateway's MAC too (a kernel confirms a neighbour that way).
        out.append(f"table={BALANCE},priority=50,dl_vlan={net.vlan},dl_dst={net.gateway_mac},"
                   f"actions=group:{PRIMARY}")
    out.append(f"table={BALANCE},priority=0,actions=goto_table:{FORWARD}")
    return out


def _forward(rack: Rack) -> list[str]:
    out = []
    to_nodes = ",".join(f"output:{p.number}" for p in rack.nodes)
    for net in rack.networks:
        # A node has no business with the gateway, which it is: this would be a loop.
        out.append(f"table={FORWARD},priority=100,dl_dst={net.gateway_mac},actions=drop")
        for host in net.hosts:
            out.append(f"table={FORWARD},priority=50,dl_vlan={net.vlan},dl_dst={host.mac},"
                       f"actions=pop_vlan,output:{host.number}")
        to_hosts = ",".join(f"output:{h.number}" for h in net.hosts)
        out.append(f"table={FORWARD},priority=10,dl_vlan={net.vlan},"
                   f"actions={to_nodes},pop_vlan,{to_hosts}")
    for node in rack.nodes:
        out.append(f"table={FORWARD},priority=50,dl_dst={node.mac},actions=output:{node.number}")
    for vlan in rack.node_vlans:
        out.append(f"table={FORWARD},priority=10,dl_vlan={vlan},actions={to_nodes}")
    return out


def flows(rack: Rack) -> list[str]:
    return _admit(rack) + _balance(rack) + _forward(rack)
