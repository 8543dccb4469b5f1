#!/usr/bin/env python3
"""Compares the DogStatsD lines of this exporter with those of Datadog's own client for the same calls.

    datadog_lines.py [vectors.rs]

Needs the package `datadog` of the Python Package Index. The lines that the exporter writes are the expectations of
exporters/statsd/tests/vectors.rs, which its tests hold it to; this makes sure that they are also what Datadog's client
writes. Where ours differs on purpose (values that are no numbers, names that break a line), nothing is compared.
Exit code 1 if a line of the client is not among the expectations.
"""

import pathlib
import re
import socket
import sys

from datadog.dogstatsd.base import DogStatsd


def client(port, tags=()):
    return DogStatsd(
        host="127.0.0.1",
        port=port,
        disable_telemetry=True,
        disable_buffering=True,
        disable_aggregation=True,
        origin_detection_enabled=False,
        constant_tags=list(tags),
    )


def main():
    default = pathlib.Path(__file__).parents[2] / "exporters/statsd/tests/vectors.rs"
    text = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else default).read_text()
    # The literals of the Rust file, unescaped.
    literals = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    ours = {re.sub(r"\\(.)", r"\1", one) for one in literals}
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(2)
    port = server.getsockname()[1]
    plain, tagged = client(port), client(port, ["env:test", "service:mm"])
    calls = [
        lambda: tagged.increment("modelmuxer.requests", 3, tags=["model:gpt-4o", "note:a,b|c#d e"]),
        lambda: plain.increment("modelmuxer.cost.usd", 0.00123),
        lambda: tagged.count_with_timestamp("cnt", 15, 1656581400),
        lambda: plain.event(
            "Deploy\nX", "line1\nline2|é", alert_type="warning", aggregation_key="k", source_type_name="src",
            date_happened=1700000000, priority="low", hostname="h1", tags=["a:b"],
        ),
        lambda: plain.service_check(
            "mm.up", 2, tags=["x:y"], timestamp=1700000000, hostname="h1", message="bad\nm:x"
        ),
    ]
    missing = 0
    for call in calls:
        call()
        line = server.recv(65535).decode().rstrip("\n")
        known = line in ours
        missing += not known
        print("same" if known else "DIFFERENT", line)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
