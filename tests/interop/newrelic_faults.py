#!/usr/bin/env python3
"""Runs the real muxbridge against a stand-in for New Relic that enforces its limits and fails as scripted, with all recorded
telemetry, in every way of sending: each span must arrive exactly once, no request may break a rule, and no failure may be
answered with more requests than one.

    newrelic_faults.py [--muxbridge target/debug/muxbridge] [--standin target/debug/examples/newrelic_standin]

The stand-in is `cargo build -p muxbridge-testkit --example newrelic_standin`. Exit codes: 0 if all is right, 1 if not, 2 if
something does not start.
"""

import argparse
import glob
import json
import os
import subprocess
import sys
from collections import Counter

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from newrelic_common import muxbridge, post  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FAULTS = ["408", "429/1", "500", "0", "503/1", "520", "413"]
MODES = {
    "otlp": ({}, "/v1/traces"),
    "otlp, zstd": ({"compression": "zstd"}, "/v1/traces"),
    "trace_api": ({"mode": "trace_api"}, "/trace/v1"),
    "zipkin": ({"mode": "trace_api", "trace_format": "zipkin"}, "/trace/v1"),
    "native": ({"mode": "native", "llm_events": True}, "/trace/v1"),
}


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def messages(data, number):
    """The values of one length-delimited field of a protobuf message."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        else:
            length, at = varint(data, at)
            if tag >> 3 == number:
                yield data[at:at + length]
            at += length


def spans_of(request):
    """Id and name of every span."""
    for resource in messages(request, 1):
        for scope in messages(resource, 2):
            for span in messages(scope, 2):
                yield next(messages(span, 2)).hex(), next(messages(span, 5)).decode()


def run(args, requests, exporter, path):
    faults = [f"{path}={fault}" for fault in FAULTS]
    standin = subprocess.Popen([args.standin, *faults], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        url = standin.stdout.readline().strip()
        quick = {"initial_interval": "50ms", "max_interval": "200ms"}
        exporter = dict(exporter, endpoint=url, retry_on_failure=quick)
        with muxbridge(args.muxbridge, exporter, ["modelmuxer"]) as bridge:
            for request in requests:
                post(bridge + "/v1/traces", request, "application/x-protobuf")
        # It has drained. Now the stand-in may report.
        report, _ = standin.communicate(timeout=30)
        return json.loads(report)
    finally:
        if standin.poll() is None:
            standin.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--muxbridge", default=os.path.join(ROOT, "target", "debug", "muxbridge"))
    parser.add_argument("--standin", default=os.path.join(ROOT, "target", "debug", "examples", "newrelic_standin"))
    parser.add_argument("--corpus", default=os.path.join(ROOT, "tests", "corpus"))
    args = parser.parse_args()
    requests = []
    for name in sorted(glob.glob(os.path.join(args.corpus, "*", "*.pb"))):
        with open(name, "rb") as file:
            requests.append(file.read())
    spans = [span for request in requests for span in spans_of(request)]
    expected = Counter(span_id for span_id, _ in spans)
    answered = sum(name == "http.request" for _, name in spans)
    found = []
    for mode, (exporter, path) in MODES.items():
        report = run(args, requests, exporter, path)
        arrived = Counter(report["span_ids"])
        lost, doubled = expected - arrived, arrived - expected
        if lost or doubled:
            found.append(f"{mode}: {sum(lost.values())} spans lost, {sum(doubled.values())} doubled")
        found += [f"{mode}: {violation}" for violation in report["violations"]]
        counted = report["durations"].get("http.server.request.duration")
        if counted != answered and mode != "native":
            found.append(f"{mode}: {counted} requests in the APM metrics, {answered} were made")
        if report["faults_left"]:
            found.append(f"{mode}: {report['faults_left']} faults were not reached")
        asked = report["requests"][path]
        others = sum(report["requests"].values()) - asked
        # Each fault costs one request, and the one that was too large becomes two.
        if asked != report["taken"] - others + len(FAULTS):
            found.append(f"{mode}: {asked} requests, {report['taken'] - others} of them taken")
        print(f"{mode}: {len(spans)} spans in {asked} requests to {path}, {counted} durations of requests")
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"New Relic, failing: {len(MODES)} ways of sending, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (TimeoutError, RuntimeError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
