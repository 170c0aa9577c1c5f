#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Proves on loopback that tripod-load sees what it is there to see.

A relay between its two ends does what a bad gateway would: flips a byte, loses one, mixes up two
connections, resets, closes, stalls, falls silent. Each test goes on until what it is about has
happened, however long that takes. Usage: load_test.py TRIPOD_LOAD [NAME...]
"""
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

LOAD = sys.argv[1]
SILENT, RESET, CLOSE = "silent", "reset", "close"  # verdicts of a relay's hook
NEVER_MS = 3_600_000  # nothing is given up because this machine is slow
LIMIT_S = 200


class Process:
    """tripod-load with JSON lines on its output."""

    def __init__(self, *args):
        self.process = subprocess.Popen([LOAD, *map(str, args)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def listening(self):
        at = json.loads(self.process.stdout.readline())["at"]
        return [int(text.rsplit(":", 1)[1]) for text in at]

    def until(self, happened):
        """Reads lines up to the first of which that is so."""
        return next(line for line in map(json.loads, self.process.stdout) if happened(line))

    def say(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self, say=""):
        """(exit status, last line, all lines before it)"""
        if say:
            self.say(say)
        # Its standard input stays open: the end of that would stop it.
        lines = [json.loads(line) for line in self.process.stdout]
        assert lines[-1].get("final"), lines[-1]
        return self.process.wait(), lines[-1], lines[:-1]


class Relay:
    """Forwards TCP connections; hook(n, upward, offset, data) changes what passes."""

    def __init__(self, port, hook):
        self.target, self.hook, self.n, self.ends = port, hook, 0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            down, _ = self.listener.accept()
            try:
                up = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return  # the test is over
            n, self.n = self.n, self.n + 1
            self.ends.append((down, up))
            for args in ((n, True, down, up), (n, False, up, down)):
                threading.Thread(target=self.pump, args=args, daemon=True).start()

    def pump(self, n, upward, source, sink):
        offset = 0
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                start, offset = offset, offset + len(data)
                verdict = self.hook(n, upward, start, data)
                if verdict is SILENT:
                    continue
                if verdict is RESET:
                    for end in (source, sink):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack("ii", 1, 0))
                        # shutdown() wakes the other thread, whose reference delays the RST.
                        end.close()
                    return
                if verdict is CLOSE:
                    sink.shutdown(socket.SHUT_RDWR)
                    return
                sink.sendall(verdict)
        except OSError:  # what ends one side ends the other
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1:]


def once(upward_wanted, offset_wanted, change):
    """A hook that changes the byte at an offset of one direction of connection 0."""
    def hook(n, upward, start, data):
        at = offset_wanted - start
        if n == 0 and upward == upward_wanted and 0 <= at < len(data):
            return change(data, at)
        return data
    return hook


def ends(line):
    """One of five connections broke, the others are there and have had their answers."""
    return line["broken"] >= 1 and line["open"] + line["broken"] == 5 and line["bytes"] > 5 * 200


def through(hook, until, *options):
    """Five connections through a relay: (client's status and result, server's)."""
    with Process("server", "--listen", "127.0.0.1:0") as server:
        port = Relay(server.listening()[0], hook).port
        with Process("client", "--connect", f"127.0.0.1:{port}", "--connections", 5, "--interval-ms",
                     20, "--dead-ms", NEVER_MS, "--report-ms", 50, *options) as client:
            client.until(until)
            status, result, _ = client.end("stop\n")
        return status, result, server.end("stop\n")


def client_sees(hook, fault):
    status, result, _ = through(hook, ends)
    assert status == 1 and result["broken"] == 1 and result[fault] == 1, result
    assert result["opened"] == 5 and result["open"] == 4, result


def test_clean():
    status, result, server = through(lambda n, upward, start, data: data,
                                     lambda line: line["open"] == 5 and line["bytes"] > 20 * 200)
    assert status == 0 and result["broken"] == 0 and result["opened"] == 5, result
    assert result["bytes"] > 5 * 200 and result["owed"] == 0, result
    assert server[0] == 0 and server[1]["corrupt"] == 0, server
    assert server[1]["bytes"] == result["bytes"], (server, result)


def test_server_sees_flipped_byte():
    status, result, server = through(once(True, 16 + 700, flip), ends)
    assert status == 1 and result["broken"] == 1 and result["opened"] == 5, result
    assert server[0] == 1 and server[1]["corrupt"] == 1, server
    assert any(line.get("event") == "corrupt" and line["offset"] == 700 for line in server[2]), server


def test_server_sees_bad_hello():
    _, _, server = through(once(True, 3, flip), ends)
    assert server[0] == 1 and server[1]["bad_hello"] == 1, server


def test_client_sees_flipped_byte():
    client_sees(once(False, 700, flip), "wrong_bytes")


def test_client_sees_lost_byte():
    client_sees(once(False, 700, lambda data, at: data[:at] + data[at + 1:]), "wrong_bytes")


def test_client_sees_doubled_byte():
    client_sees(once(False, 700, lambda data, at: data[:at + 1] + data[at:]), "wrong_bytes")


def test_client_sees_other_connections_bytes():
    saved, more = bytearray(), threading.Condition()

    def hook(n, upward, start, data):
        if upward or n > 1:
            return data
        # Connection 1 gets, from some offset on, what connection 0 got there.
        with more:
            if n == 0:
                saved.extend(data)
                more.notify_all()
            elif start > 400:
                more.wait_for(lambda: len(saved) >= start + len(data))
                return bytes(saved[start:start + len(data)])
        return data
    client_sees(hook, "wrong_bytes")


def test_client_sees_reset():
    client_sees(once(True, 900, lambda data, at: RESET), "reset")


def test_client_sees_close():
    client_sees(once(False, 900, lambda data, at: CLOSE), "closed_by_peer")


def test_client_sees_silence():
    def hook(n, upward, start, data):
        return data if n != 0 or start + len(data) <= 500 else data[:max(0, 500 - start)] or SILENT

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "result.json")
        status, _, _ = through(hook, ends, "--dead-ms", 1000, "--output", path)
        with open(path, encoding="utf-8") as f:
            conns = json.load(f)["connections"]
    # On a busy machine another may wait for as long.
    silent = [conn for conn in conns if conn["fault"] == "no progress"]
    assert status == 1 and all(conn["stall_ms"] >= 1000 for conn in silent), conns
    assert any(0 < conn["bytes"] <= 500 and conn["owed"] > 0 for conn in silent), conns


def test_client_measures_stall():
    held = []

    def hook(n, upward, start, data):
        if n == 0 and not upward and start > 500 and not held:
            held.append(True)
            time.sleep(0.4)
        return data
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "result.json")
        status, result, _ = through(hook, lambda line: held, "--output", path)
        with open(path, encoding="utf-8") as f:
            full = json.load(f)
    assert status == 0 and result["broken"] == 0, result
    stalls = sorted(conn["stall_ms"] for conn in full["connections"])
    assert len(stalls) == 5 and result["stall_ms"]["max"] == stalls[-1] >= 380, (result, stalls)


def test_mark_forgets_stalls():
    gate = threading.Event()

    def hook(n, upward, start, data):
        if not upward and start > 200:
            gate.wait()
        return data
    with Process("server", "--listen", "127.0.0.1:0") as server:
        port = Relay(server.listening()[0], hook).port
        began = time.monotonic()
        with Process("client", "--connect", f"127.0.0.1:{port}", "--connections", 1,
                     "--interval-ms", 10, "--dead-ms", NEVER_MS, "--report-ms", 20) as client:
            client.until(lambda line: line["stalled"] == 1)
            # What it waited before the mark must not be in the result.
            client.say("mark\n")
            mark = client.until(lambda line: line.get("event") == "mark")["t"]
            gate.set()
            _, result, _ = client.end("stop\n")
    assert 0 < result["stall_ms"]["max"] <= (result["t"] - mark) * 1e3 + 2, (result, mark)
    assert mark - began > 0.2, (mark, began)


def test_refused_is_not_broken():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with Process("client", "--connect", f"127.0.0.1:{port}", "--connections", 3, "--duration-ms",
                     100) as client:
            status, result, _ = client.end()
    assert status == 0 and result["connect_failed"] == 3 and result["broken"] == 0, result


def test_end_of_input_stops():
    with Process("server", "--listen", "127.0.0.1:0", "--listen", "[::1]:0") as server:
        assert len(server.listening()) == 2
        server.process.stdin.close()
        assert server.end()[0] == 0


def body(size, seed):
    return subprocess.run([LOAD, "body", "--size", str(size), "--seed", str(seed)],
                          capture_output=True, check=True).stdout


def http(answers):
    """Requests to a server that gives one of the answers in turn; the client's result."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        n = 0
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += peer.recv(4096)
                assert request.startswith(b"GET /x HTTP/1.1\r\n")
                peer.sendall(answers[n % len(answers)])
            n += 1
    threading.Thread(target=serve, daemon=True).start()
    port = listener.getsockname()[1]
    with Process("http", "--connect", f"127.0.0.1:{port}", "--path", "/x", "--size", 5000, "--seed", 9,
                 "--rate", 50, "--timeout-ms", 3_600_000, "--duration-ms", 500, "--report-ms",
                 100) as client:
        return client.end()[:2]


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def test_http_clean():
    status, result = http([OK + body(5000, 9)])
    assert status == 0 and result["ok"] == result["started"] >= 20 and result["errors"] == 0, result


def test_http_sees_faults():
    good = body(5000, 9)
    for fault, answer in (("status", b"HTTP/1.1 500 No\r\n\r\n"), ("body", OK + good[:-1]),
                          ("body", OK + good + b"x"), ("body", OK + flip(good, 4000)),
                          ("body", OK + body(5000, 8)), ("status", b"x" * 9000)):
        status, result = http([OK + good, answer])
        n = result["faults"][fault]
        assert status == 1 and n == result["errors"] == result["started"] // 2, (fault, result)


def udp(hook):
    """Datagrams through a relay; hook(upward, n) says how many times number n passes."""
    with Process("udp", "--listen", "127.0.0.1:0") as listener:
        target = ("127.0.0.1", listener.listening()[0])
        down = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        down.bind(("127.0.0.1", 0))
        ways = {}

        def upward(data, client):
            if client not in ways:
                ways[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                ways[client].connect(target)
                threading.Thread(target=downward, args=(client,), daemon=True).start()
            for _ in range(hook(True, data)):
                ways[client].send(data)

        def downward(client):
            while True:
                data = ways[client].recv(2048)
                for _ in range(hook(False, data)):
                    down.sendto(data, client)

        def pump():
            while True:
                upward(*down.recvfrom(2048))
        threading.Thread(target=pump, daemon=True).start()
        # No more than what the buffers hold while this program waits for a core.
        with Process("udp", "--connect", "127.0.0.1:%d" % down.getsockname()[1], "--flows", 4, "--rate",
                     60, "--report-ms", 50) as sender:
            sender.until(lambda line: min(line["sent"], line["peer_sent"]) >= 60)
            return sender.end("stop\n")[:2]


def test_udp_clean():
    status, result = udp(lambda upward, data: 1)
    assert status == 0 and result["lost"] == 0 and result["unanswered"] == 0, result
    assert result["sent"] == result["peer_received"] >= 60, result
    assert result["received"] == result["peer_sent"] >= 60, result


def test_udp_counts_losses_each_way():
    lost = {True: 0, False: 0}

    def hook(upward, data):
        _, kind, _, sequence = struct.unpack_from("=IIQQ", data)
        if kind == 1 and sequence % 5 == (2 if upward else 3):
            lost[upward] += 1
            return 0
        return 2 if kind == 1 and sequence % 5 == 4 else 1
    status, result = udp(hook)
    assert status == 1 and result["unanswered"] == 0, result
    assert result["sent"] - result["peer_received"] == lost[True] > 5, (result, lost)
    assert result["peer_sent"] - result["received"] == lost[False] > 5, (result, lost)
    assert result["lost"] == sum(lost.values()) and result["doubled"] > 5, (result, lost)


def main():
    wanted = sys.argv[2:]
    tests = [(name[5:], run) for name, run in globals().items()
             if name.startswith("test_") and (not wanted or name[5:] in wanted)]
    failed = []

    def guard(name, run):
        try:
            run()
        except BaseException as error:  # whatever it is, the test has failed
            failed.append(name)
            print(f"[  FAILED  ] {name}: {type(error).__name__}: {error}")
    threads = {name: threading.Thread(target=guard, args=(name, run), daemon=True)
               for name, run in tests}
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + LIMIT_S
    for name, thread in threads.items():
        thread.join(max(0, end - time.monotonic()))
        if thread.is_alive():
            failed.append(name)
            print(f"[  FAILED  ] {name}: what it is about has not happened in {LIMIT_S} s")
    print(f"[  PASSED  ] {len(tests) - len(failed)} test(s).")
    if failed:
        print(f"[  FAILED  ] {len(failed)} test(s)")
    sys.stdout.flush()
    os._exit(1 if failed else 0)


main()
