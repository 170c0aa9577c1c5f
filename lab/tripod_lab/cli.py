# SPDX-License-Identifier: BSD-3-Clause
"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

from . import LabError, __version__, interrupt, lab, maintain, netns, nodes, predict, report, \
    run, topology
from .ovs import Switch
from .topology import HASHES, MODELS, MODES, Lab

EXAMPLES = {
    None: """\
  tripod-lab up --nodes 4               a rack of four nodes
  tripod-lab exec client -- ping 198.51.100.1
  tripod-lab kill 2                     SIGKILL node 2 ...
  tripod-lab status                     ... and see who is left
  tripod-lab restore 2
  tripod-lab down""",
    "up": """\
  tripod-lab up --nodes 4
  tripod-lab up --nodes 4 --mode baseline --name base     a second rack beside the first
  tripod-lab up --config chain.yaml --hash symmetric""",
    "down": """\
  tripod-lab down
  tripod-lab down --name base
  tripod-lab down --all""",
    "status": """\
  tripod-lab status
  tripod-lab status --json | jq '.nodes[] | {id, bfd}'""",
    "list": """\
  tripod-lab list""",
    "exec": """\
  tripod-lab exec client -- curl http://198.51.100.1/
  tripod-lab exec server1 -- iperf3 -s -p 8000
  tripod-lab exec node2 -- ip -s link
  tripod-lab exec switch -- ovs-ofctl -O OpenFlow15 dump-groups tor
  tripod-lab exec client                                  a shell there""",
    "kill": """\
  tripod-lab kill 2                     SIGKILL: the process is gone at once
  tripod-lab kill 2 --how freeze        SIGSTOP: it is there, and silent
  tripod-lab kill 2 --how link          its cable is pulled""",
    "restore": """\
  tripod-lab restore 2                  whatever was done to it""",
    "drain": """\
  tripod-lab drain 2 --wait             its connections go on elsewhere ...
  tripod-lab stop 2                     ... and it may end""",
    "undrain": """\
  tripod-lab undrain 2""",
    "stop": """\
  tripod-lab stop 2                     it drains first; restore starts it again""",
    "add": """\
  tripod-lab up --nodes 5 --start 4
  tripod-lab add                        node 5 joins""",
    "remove": """\
  tripod-lab drain 5 --wait
  tripod-lab remove 5                   the switch forgets it; add brings it back""",
    "rolling-restart": """\
  tripod-lab rolling-restart            every node once, and nothing breaks
  tripod-lab rolling-restart --json | jq -c""",
    "predict-check": """\
  tripod-lab predict-check              each node dies once: did its flows go as foretold?
  tripod-lab predict-check --flows 20000 --json | jq .accuracy""",
    "logs": """\
  tripod-lab logs 2
  tripod-lab logs switch -f""",
    "capture": """\
  tripod-lab capture 2                  as text, until Ctrl-C
  tripod-lab capture client client.pcap
  tripod-lab capture 2 - -- udp port 3784""",
}


def say(text: str) -> None:
    print(f"tripod-lab: {text}", file=sys.stderr, flush=True)


def parse_who(text: str) -> str:
    """A role; a bare number is a node."""
    role = f"node{text}" if re.fullmatch(r"[0-9]+", text) else text
    if not topology.ROLE.fullmatch(role):
        raise argparse.ArgumentTypeError(f"{text!r} is none of client, server1, server2, nodeI, "
                                         "switch")
    return role


def parse_node(text: str) -> int:
    m = re.fullmatch(r"(?:node)?([1-9][0-9]?)", text)
    if not m:
        raise argparse.ArgumentTypeError(f"{text!r} is not a node's number")
    return int(m[1])


def role_namespace(the: Lab, role: str) -> str:
    if role not in the.roles:
        raise LabError(f"lab {the.name} has no {role}: it has {', '.join(the.roles)}")
    return the.namespace(role)


# ---- Verbs ----

def do_up(args: argparse.Namespace) -> int:
    the = Lab(name=args.name, n_nodes=args.nodes, mode=args.mode, hash=args.hash, model=args.model,
              workers=args.workers, detect_ms=args.detect_ms, backups=args.backups,
              durability=args.durability, start=args.start)

    interrupt.listen()
    lab.up(the, Path(args.config) if args.config else None, say, args.wait)
    say(f"lab {the.name} is up; tripod-lab down{_name_option(the.name)} ends it")
    return 0


def _name_option(name: str) -> str:
    return "" if name == "lab" else f" --name {name}"


def do_down(args: argparse.Namespace) -> int:
    for name in lab.names() if args.all else [args.name]:
        say(f"lab {name} is down" if lab.down(name, say) else f"there was no lab {name}")
    return 0


def do_status(args: argparse.Namespace) -> int:
    status = lab.status(lab.load(args.name))
    print(json.dumps(status, indent=2) if args.json else report.text(status))
    return 0


def do_list(args: argparse.Namespace) -> int:
    found = []
    for name in lab.names():
        try:
            the = lab.load(name)
        except LabError:
            found.append({"name": name, "whole": False, "mode": None, "nodes": None})
        else:
            found.append({"name": name, "whole": True, "mode": the.mode, "nodes": the.n_nodes})
    if args.json:
        print(json.dumps(found, indent=2))
    elif found:
        print(report.table([["NAME", "MODE", "NODES"]] + [
            [f["name"], f["mode"] or "half there: take it down", str(f["nodes"] or "-")]
            for f in found]))
    return 0


def _become(ns: str, command: list[str], env: dict[str, str] | None = None) -> int:
    args = netns.exec_args(ns, command)
    os.execvpe(args[0], args, {**os.environ, **(env or {})})


def do_exec(args: argparse.Namespace) -> int:
    the = lab.load(args.name)
    ns = role_namespace(the, args.who)
    env = Switch(the).env if args.who == "switch" else {}
    env["TRIPOD_LAB"] = the.name
    return _become(ns, args.rest or [os.environ.get("SHELL", "/bin/sh")], env)


def _process(args: argparse.Namespace) -> tuple[Lab, nodes.NodeProcess]:
    the = lab.load(args.name)
    return the, nodes.NodeProcess(the, the.node(args.node))


def do_kill(args: argparse.Namespace) -> int:
    _, process = _process(args)
    process.hurt(args.how)
    return 0


def do_restore(args: argparse.Namespace) -> int:
    the, process = _process(args)
    done = lab.restore(the, process, say)
    say(f"{process.node.name}: {', '.join(done) if done else 'nothing to restore'}")
    if not args.no_wait:
        lab.wait_ready(the, [process], say, args.wait)
    return 0


def do_drain(args: argparse.Namespace) -> int:
    _, process = _process(args)
    answer = maintain.drain(process, args.wait)
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        say(f"{process.node.name}: {answer['phase']}")
    return 0


def do_undrain(args: argparse.Namespace) -> int:
    _, process = _process(args)
    maintain.undrain(process)
    return 0


def do_stop(args: argparse.Namespace) -> int:
    _, process = _process(args)
    maintain.stop(process)
    return 0


def do_add(args: argparse.Namespace) -> int:
    the = lab.load(args.name)
    process = maintain.add(the, say, None if args.no_wait else args.wait)
    say(f"{process.node.name} is there")
    return 0


def do_remove(args: argparse.Namespace) -> int:
    the, process = _process(args)
    maintain.remove(the, process, say)
    say(f"{process.node.name} is gone")
    return 0


def do_rolling_restart(args: argparse.Namespace) -> int:
    def tell(node: int, what: str, facts: dict) -> None:
        if args.json:
            print(json.dumps({"node": node, "step": what, **facts}), flush=True)
        else:
            more = ", ".join(f"{v} {k}" for k, v in facts.items() if k != "after_ms")
            say(f"node{node}: {what} after {facts['after_ms'] / 1000:.1f} s"
                + (f" ({more})" if more else ""))

    maintain.rolling_restart(lab.load(args.name), say, tell, args.wait)
    return 0


def do_predict_check(args: argparse.Namespace) -> int:
    the = lab.load(args.name)
    result = predict.check(the, maintain.members(the), args.flows, args.seed, say)
    if args.json:
        print(json.dumps(result.report(), indent=2))
    else:
        print(report.prediction(result.report()))
    return 1 if result.failures() else 0


def do_logs(args: argparse.Namespace) -> int:
    the = lab.load(args.name)
    role_namespace(the, args.who)
    if args.who == "switch":
        path = the.run_dir / "switch" / "ovs-vswitchd.log"
    elif args.who.startswith("node"):
        path = nodes.NodeProcess(the, the.node(int(args.who[4:]))).log
    else:
        raise LabError(f"{args.who} keeps no log: only nodes and the switch do")
    command = ["tail", "-n", "+1"] + (["-F"] if args.follow else []) + [str(path)]
    os.execvp(command[0], command)


def do_capture(args: argparse.Namespace) -> int:
    the = lab.load(args.name)
    ns = role_namespace(the, args.who)
    if args.who == "switch":
        raise LabError("capture at a host or node: what the switch has on that port is the same")
    if args.file in (None, "-"):
        output = ["-e", "-l"]
    else:
        output = ["-U", "-w", str(Path(args.file).absolute())]
    # -Z root: the file is written where the user said, whoever may write there.
    return _become(ns, ["tcpdump", "-Z", "root", "-n", "-i", "eth0", *output, *args.rest])


# ---- Grammar ----

def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tripod-lab", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A rack on one machine: gateway nodes behind a real switch, in network "
                    "namespaces.",
        epilog=f"examples:\n{EXAMPLES[None]}\n\nMore in tripod-lab(1) and tripod-lab VERB --help.")
    parser.add_argument("--version", action="version", version=f"tripod-lab {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, summary: str, function, lab_name: bool = True, rest: str = "",
             rest_help: str = "") -> argparse.ArgumentParser:
        epilog = f"examples:\n{EXAMPLES[name]}"
        if rest:
            epilog = f"after --:\n  {rest:<12} {rest_help}\n\n{epilog}"
        p = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".",
                             formatter_class=argparse.RawDescriptionHelpFormatter, epilog=epilog)
        p.set_defaults(function=function, takes_rest=bool(rest))
        if rest:
            p.usage = f"%(prog)s [options] I{' [FILE]' if name == 'capture' else ''} [-- {rest}]"
        if lab_name:
            p.add_argument("--name", default="lab", metavar="LAB",
                           help="which lab (default: lab)")
        return p

    p = verb("up", "bring a rack up, and wait until it forwards", do_up)
    p.add_argument("--nodes", type=int, default=4, metavar="N",
                   help=f"gateway nodes, 1 to {topology.MAX_NODES} (default: 4)")
    p.add_argument("--mode", choices=MODES, default="tripod",
                   help="tripod: state is replicated; baseline: it is not (default: tripod)")
    p.add_argument("--hash", choices=HASHES, default=HASHES[0],
                   help=f"what the switch picks a node by (default: {HASHES[0]})")
    p.add_argument("--model", choices=MODELS, default=MODELS[0],
                   help=f"how the switch picks one when another dies (default: {MODELS[0]})")
    p.add_argument("--config", metavar="FILE",
                   help="sections of rack.yaml, such as chain:, instead of the generated ones")
    p.add_argument("--workers", type=int, default=1, metavar="W",
                   help="worker threads of each node (default: 1)")
    p.add_argument("--detect-ms", type=int, default=100, metavar="MS",
                   help="the switch notices a dead node within so many ms (default: 100)")
    p.add_argument("--backups", type=int, default=1, metavar="K",
                   help="copies of each connection on other nodes (default: 1)")
    p.add_argument("--durability", choices=topology.DURABILITIES, default="async",
                   help="in mode tripod: does a packet wait for the copies? (default: async)")
    p.add_argument("--start", type=int, default=0, metavar="M",
                   help="start so many of the nodes; add starts the others (default: all)")
    p.add_argument("--wait", type=float, default=lab.READY_S, metavar="S",
                   help=f"give up after so many seconds (default: {lab.READY_S:g})")

    p = verb("down", "end a rack and remove every trace of it", do_down)
    p.add_argument("--all", action="store_true", help="every lab on this machine")

    p = verb("status", "who is there and how they are", do_status)
    p.add_argument("--json", action="store_true", help="for programs; keys are only ever added")

    p = verb("list", "the labs on this machine", do_list, lab_name=False)
    p.add_argument("--json", action="store_true", help="for programs")

    p = verb("exec", "run a program on a host, a node or the switch", do_exec,
             rest="CMD ...", rest_help="the program; its exit status becomes ours (default: a "
                                       "shell)")
    p.add_argument("who", type=parse_who, metavar="I", help="client, server1, server2, nodeI (or I), switch")

    p = verb("kill", "make a node fail", do_kill)
    p.add_argument("node", type=parse_node, metavar="I", help="the node's number")
    p.add_argument("--how", choices=nodes.KILL_WAYS, default="kill",
                   help="SIGKILL, SIGSTOP, or pull its cable (default: kill)")

    p = verb("restore", "bring a failed node back, and wait until it forwards", do_restore)
    p.add_argument("node", type=parse_node, metavar="I", help="the node's number")
    p.add_argument("--no-wait", action="store_true", help="return at once")
    p.add_argument("--wait", type=float, default=lab.READY_S, metavar="S",
                   help=f"give up after so many seconds (default: {lab.READY_S:g})")

    p = verb("drain", "have a node give all connections to the others", do_drain)
    p.add_argument("node", type=parse_node, metavar="I", help="the node's number")
    p.add_argument("--wait", type=float, nargs="?", const=maintain.DRAIN_S, metavar="S",
                   help="until nothing arrives there any more; give up when it has got no further "
                        f"for so many seconds ({maintain.DRAIN_S:g})")
    p.add_argument("--json", action="store_true", help="for programs")

    p = verb("undrain", "have a node take traffic again", do_undrain)
    p.add_argument("node", type=parse_node, metavar="I", help="the node's number")

    p = verb("stop", "end a node's process in order", do_stop)
    p.add_argument("node", type=parse_node, metavar="I", help="the node's number")

    p = verb("add", "start the next node that up has left out, and wait until it forwards", do_add)
    p.add_argument("--no-wait", action="store_true", help="return at once")
    p.add_argument("--wait", type=float, default=lab.READY_S, metavar="S",
                   help=f"give up after so many seconds (default: {lab.READY_S:g})")

    p = verb("remove", "end a drained node, and have the switch forget it", do_remove)
    p.add_argument("node", type=parse_node, metavar="I", help="the node's number")

    p = verb("rolling-restart", "restart every node, one after the other, breaking nothing",
             do_rolling_restart)
    p.add_argument("--wait", type=float, default=maintain.DRAIN_S, metavar="S",
                   help="give up when a drain has got no further for so many seconds, or a node is "
                        f"not ready by then (default: {maintain.DRAIN_S:g})")
    p.add_argument("--json", action="store_true", help="for programs: a line for each step")

    p = verb("predict-check", "kill each node once, and see whether the switch foretold where its "
             "flows go", do_predict_check)
    p.add_argument("--flows", type=int, default=5000, metavar="N", help="how many (default: 5000)")
    p.add_argument("--seed", type=int, default=1, metavar="S", help="of their tuples (default: 1)")
    p.add_argument("--json", action="store_true", help="for programs")

    p = verb("logs", "what a node or the switch has logged", do_logs)
    p.add_argument("who", type=parse_who, metavar="I", help="the node's number, or switch")
    p.add_argument("-f", "--follow", action="store_true", help="go on as the log grows")

    p = verb("capture", "show or save the packets on the port of a node or host", do_capture,
             rest="FILTER ...", rest_help="what to capture, as tcpdump takes it")
    p.add_argument("who", type=parse_who, metavar="I", help="the node's number, or a host")
    p.add_argument("file", nargs="?", help="pcap file; none or -: text")
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """What follows "--" is somebody else's command line, whatever is in it."""
    own, dashes, rest = argv, [], []
    if "--" in argv:
        i = argv.index("--")
        own, dashes, rest = argv[:i], argv[i:i + 1], argv[i + 1:]
    parser = build_parser()
    args = parser.parse_args(own)
    if dashes and not args.takes_rest:
        parser.error(f"{args.verb} takes no --")
    args.rest = rest
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    run.search_sbin()
    try:
        return args.function(args)
    except LabError as e:
        say(str(e))
        return 1
    except PermissionError as e:
        say(f"{e}: this takes root, try sudo")
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    except interrupt.Interrupted as e:
        return 128 + e.signum
