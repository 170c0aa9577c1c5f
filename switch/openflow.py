# SPDX-License-Identifier: BSD-3-Clause
"""As much of an OpenFlow switch as the rack's rules use: takes what tripod-switch wrote, walks a
packet through it, and says where it comes out."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

Packet = dict  # field name to value, "vlans": tags, the outermost first


def mix(*values: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=8).digest(), "big")


def split(text: str, separator: str = ",") -> list[str]:
    """At separators outside brackets."""
    return re.split(separator + r"(?![^(\[]*[)\]])", text)


def matches(term: str, p: Packet) -> bool:
    key, _, value = term.partition("=")
    if key == "in_port":
        return p["in_port"] == int(value)
    if key == "dl_vlan":
        return p["vlans"][:1] == [int(value)]
    if key == "vlan_tci":
        want, mask = (int(v, 16) for v in value.split("/"))
        return ((0x1000 | p["vlans"][0]) if p["vlans"] else 0) & mask == want
    if key == "dl_dst":
        if value == "01:00:00:00:00:00/01:00:00:00:00:00":
            return int(p["dl_dst"][:2], 16) & 1 == 1
        return p["dl_dst"] == value
    if key == "reg5":
        return p.get("reg5", 0) == int(value, 16)
    if key in ("ip", "ipv6"):
        return p["l3"] == key and len(p["vlans"]) < 2
    if key in ("tcp", "udp", "tcp6", "udp6"):
        return len(p["vlans"]) < 2 and p["l3"] == ("ipv6" if key.endswith("6") else "ip") and p["l4"] == key.rstrip("6")
    raise AssertionError(f"unknown match {term}")


@dataclass
class Group:
    type: str
    basis: int
    fields: list[str] | None
    buckets: list[dict[str, str]] = field(default_factory=list)


class Switch:
    def __init__(self, flows: list[str], groups: list[str], live: set[int],
                 modulo: bool = False) -> None:
        self.modulo = modulo  # how select groups pick
        self.live = live
        self.tables: dict[int, list[tuple[int, list[str], list[str]]]] = {}
        for text in flows:
            head, actions = text.split(",actions=", 1)
            table, priority, *match = head.split(",")
            self.tables.setdefault(int(table.removeprefix("table=")), []).append(
                (int(priority.removeprefix("priority=")), match, split(actions)))
        self.groups: dict[int, Group] = {}
        for text in groups:
            head, *buckets = text.split(",bucket=")
            props = dict(t.partition("=")[::2] for t in split(head))
            fields_ = re.search(r"fields\((.*)\)", head)
            g = Group(props["type"], int(props.get("selection_method_param", 0)),
                      fields_[1].split(",") if fields_ else None)
            for b in buckets:
                rest, actions = b.split(",actions=")
                g.buckets.append({"actions": actions,
                                  **dict(t.split(":", 1) for t in rest.split(","))})
            assert int(props["group_id"]) not in self.groups, "group defined twice"
            self.groups[int(props["group_id"])] = g

    def alive(self, bucket: dict[str, str]) -> bool:
        if "watch_port" in bucket:
            return int(bucket["watch_port"]) in self.live
        if "watch_group" in bucket:
            return any(self.alive(b) for b in self.groups[int(bucket["watch_group"])].buckets)
        return True

    @staticmethod
    def _key(g: Group, p: Packet) -> list:
        """What is hashed."""
        if g.fields is None:
            return sorted([(p.get("src"), p.get("sport")), (p.get("dst"), p.get("dport"))], key=repr)
        values = {"ip_src": "src", "ip_dst": "dst", "ipv6_src": "src", "ipv6_dst": "dst",
                  "nw_proto": "l4", "tcp_src": "sport", "tcp_dst": "dport",
                  "udp_src": "sport", "udp_dst": "dport"}
        return [p.get(values.get(f, f)) for f in g.fields]

    def _bucket(self, g: Group, p: Packet) -> dict[str, str] | None:
        if g.type == "ff":
            return next((b for b in g.buckets if self.alive(b)), None)
        if self.modulo:
            live = [b for b in g.buckets if self.alive(b)]
            return live[mix(g.basis, self._key(g, p)) % len(live)] if live else None
        if g.fields is None:  # dp_hash: a table that the buckets fill in turn, then on to a live one
            size = 16
            while size < len(g.buckets):
                size *= 2
            start = mix(self._key(g, p)) % size
            for i in range(size):
                b = g.buckets[(start + i) % size % len(g.buckets)]
                if self.alive(b):
                    return b
            return None
        live = [b for b in g.buckets if self.alive(b)]
        return max(live, default=None,
                   key=lambda b: mix(g.basis, b["bucket_id"], self._key(g, p)))

    def _act(self, actions: list[str], p: Packet, out: list[tuple]) -> None:
        for action in actions:
            verb, _, argument = action.partition(":")
            if verb == "output":
                if int(argument) != p["in_port"]:
                    out.append((int(argument), tuple(p["vlans"]) or (None,), p.get("ip_dscp")))
            elif verb == "push_vlan":
                p["vlans"] = [0, *p["vlans"]]
            elif action == "set_field:0->in_port":
                p["in_port"] = 0
            elif verb == "set_field":
                value, name = argument.split("->")
                if name == "vlan_vid":
                    assert p["vlans"]
                    p["vlans"] = [int(value) & 0xfff, *p["vlans"][1:]]
                else:
                    assert name in ("reg5", "ip_dscp")
                    p[name] = int(value, 0)
            elif verb == "pop_vlan":
                assert p["vlans"]
                p["vlans"] = p["vlans"][1:]
            elif verb == "move":
                source, target = argument.split("->")
                if "REG6" in target:
                    assert source == "NXM_OF_UDP_DST[]" and p["l4"] == "udp"
                    continue  # of no consequence
                if "REG5" in target:
                    assert source == "NXM_OF_VLAN_TCI[0]"
                    p["reg5"] = p["vlans"][0] & 1
                    continue
                end = "src" if "SRC" in source else "dst"
                if "XXREG0" in target:
                    assert ("IPV6" in source) == (p["l3"] == "ipv6")
                    p["xxreg0"] = p[end]
                else:
                    assert p["l4"].upper() in source and "REG4" in target
                    p["reg4"] = p["sport" if end == "src" else "dport"]
            elif verb == "group":
                bucket = self._bucket(self.groups[int(argument)], p)
                if bucket:
                    self._act(split(bucket["actions"]), dict(p), out)
            elif verb == "goto_table":
                self._table(int(argument), p, out)
            elif verb.startswith("resubmit("):
                self._table(int(verb[len("resubmit(,"):-1]), p, out)
            else:
                assert verb == "drop", action

    def _table(self, number: int, p: Packet, out: list[tuple]) -> None:
        hits = [(priority, actions) for priority, match, actions in self.tables.get(number, [])
                if all(matches(t, p) for t in match)]
        if hits:
            best = max(h[0] for h in hits)
            chosen = [a for priority, a in hits if priority == best]
            assert len(chosen) == 1, f"ambiguous rules in table {number} for {p}"
            self._act(chosen[0], p, out)

    def send(self, vlan: int | None = None, **packet) -> list[tuple]:
        """Ports that it comes out of, each with the tags it has there (None: none)."""
        return [(port, *tags) for port, tags, _ in self.marked(vlan, **packet)]

    def marked(self, vlan: int | None = None, **packet) -> list[tuple]:
        """Ports, tags, and the DSCP that the switch has written."""
        p = {"vlans": [] if vlan is None else [vlan], "l3": "arp", "l4": None, **packet}
        out: list[tuple] = []
        self._table(0, p, out)
        return out
