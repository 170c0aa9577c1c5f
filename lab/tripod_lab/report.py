# SPDX-License-Identifier: BSD-3-Clause
"""A lab's status for people. Pure: the dictionary that --json prints in, text out."""

from __future__ import annotations


def table(rows: list[list[str]]) -> str:
    """Left-aligned columns, the first row being the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip()
                     for row in rows)


def process(node: dict) -> str:
    if node["pid"] is None:
        return "dead" if node["started"] else "not started"
    return f"{'frozen' if node['frozen'] else 'running'} ({node['pid']})"


def connections(node: dict) -> str:
    daemon = node["daemon"]
    value = daemon.get("connections") if daemon else None
    if isinstance(value, dict):
        value = value.get("total")
    return "-" if value is None else str(value)


def text(status: dict) -> str:
    switch = status["switch"]
    head = (f"lab {status['name']}: {status['mode']}, hash {status['hash']}, "
            f"a dead node is noticed within {status['detect_ms']} ms\n"
            f"switch: {'running' if switch['alive'] else 'DEAD'}, {switch['groups']} groups, "
            f"{switch['flows']} flows")
    nodes = table([["NODE", "PROCESS", "PHASE", "LINK", "BFD", "CONNECTIONS", "ADDRESSES"]] + [
        [str(n["id"]), process(n), (n["daemon"] or {}).get("phase", "-"), n["link"], n["bfd"],
         connections(n), " ".join(n["addresses"])]
        for n in status["nodes"]])
    hosts = table([["HOST", "NAMESPACE", "ADDRESSES"]] + [
        [h["name"], h["namespace"], " ".join(h["addresses"])] for h in status["hosts"]])
    return f"{head}\n\n{nodes}\n\n{hosts}"


def prediction(check: dict) -> str:
    """What `predict-check` has found."""
    rows = [["NODE KILLED", "FLOWS IT HAD", "FORETOLD RIGHT", "WRONG", "SILENT",
             "OF LIVING NODES MOVED"]]
    rows += [[str(n[k]) for k in ("node", "carried", "right", "wrong", "silent",
                                  "moved_of_living")] for n in check["nodes"]]
    lines = [table(rows), f"{check['accuracy']:.4%} of {check['flows']} flows after each failure, "
             f"hash {check['hash']}, {check['seconds']} s"]
    if check["not_asked"]:
        lines.append(f"not asked: {check['not_asked']}")
    return "\n".join(lines + [f"FAILED: {f}" for f in check["failures"]])
