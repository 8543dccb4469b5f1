#!/usr/bin/env python3
"""Sends lines of the etsy dialect to etsy's own server and checks what it made of them.

    datadog_etsy.py DIRECTORY

DIRECTORY is where `npm install statsd@0.9.0` was run. The lines are expectations of exporters/statsd/tests/vectors.rs
and histograms.rs; one that is not there any more is an error. Exit code 1 if the server read another value.
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2] / "exporters/statsd/tests"
LINES = ["mm.neg:0|g\nmm.neg:-5|g\n", "lat:12.25|ms", "mm.neg:0|g|#a:b\nmm.neg:-5|g|#a:b"]


def literals():
    text = "".join((ROOT / name).read_text() for name in ("vectors.rs", "histograms.rs", "lines.rs"))
    found = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    return {one.replace("\\n", "\n") for one in found}


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(port, command):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(command.encode() + b"\n")
        text = b""
        while b"END" not in text:
            text += connection.recv(65536)
    body = text.decode().split("END")[0]
    # The server prints an object of JavaScript.
    body = re.sub(r"([{,]\s*)([A-Za-z_]\w*):", r'\1"\2":', body).replace("'", '"')
    return json.loads(body)


def main():
    gone = [line for line in LINES if line not in literals()]
    if gone:
        print("the encoder's tests do not expect these any more:", gone)
        return 1
    server = pathlib.Path(sys.argv[1]) / "node_modules/statsd/stats.js"
    port, admin = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    with tempfile.NamedTemporaryFile("w", suffix=".js") as config:
        # Nothing is flushed while the test looks.
        config.write(
            json.dumps({"port": port, "address": "127.0.0.1", "mgmt_port": admin, "mgmt_address": "127.0.0.1",
                        "backends": [], "flushInterval": 600000})
        )
        config.flush()
        node = subprocess.Popen(["node", str(server), config.name], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    ask(admin, "gauges")
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        print("the server does not start")
                        return 2
                    time.sleep(0.1)
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for line in LINES:
                out.sendto(line.encode(), ("127.0.0.1", port))
            while len(ask(admin, "timers")) < 1 and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.2)
            gauges, timers, counters = ask(admin, "gauges"), ask(admin, "timers"), ask(admin, "counters")
        finally:
            node.terminate()
            node.wait(timeout=10)
    print("gauges", gauges, "timers", timers, "counters", counters)
    right = gauges.get("mm.neg") == -5 and gauges.get("mm.neg;a=b") == -5 and timers.get("lat") == [12.25]
    # Nothing became a counter, and no line was bad.
    right = right and counters.get("statsd.bad_lines_seen") == 0 and not [c for c in counters if "lat" in c]
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
