"""Reads our pages with the parsers of Prometheus' own Python client and compares what they find.

    python3 -m venv target/interop/prometheus
    target/interop/prometheus/bin/pip install prometheus_client==0.26.0
    target/interop/prometheus/bin/python tests/interop/prometheus_parsers.py target/debug/muxbridge

1. Starts the program, sends OTLP/JSON metrics, and reads the page of the exporter and the one of the admin port in both
   formats. Every family, type, unit, label, value, start time and exemplar must be as written down here.
2. With `--pages DIRECTORY` also reads pages of random metrics, which this command saves there:
   PROMETHEUS_PAGES=DIRECTORY cargo test -p muxbridge-exporter-prometheus random
   Each must be accepted whole: files `*.open` by the OpenMetrics parser, files `*.text` by the other.

Exit code 0 only if everything agrees.
"""

import argparse
import json
import math
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

T0 = 1_767_225_600_000_000_000
OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def attributes(**tags):
    return [{"key": k.replace("__", "."), "value": {"stringValue": v}} for k, v in tags.items()]


def point(start, end, **more):
    return {"startTimeUnixNano": str(T0 + start * 10**9), "timeUnixNano": str(T0 + end * 10**9), **more}


def request(metrics):
    resource = attributes(service__namespace="router", service__name="modelmuxer", service__instance__id="pod-1", env="x")
    scopes = [{"scope": {"name": "meter", "version": "1"}, "metrics": metrics}]
    return {"resourceMetrics": [{"resource": {"attributes": resource}, "scopeMetrics": scopes}]}


HOSTILE = 'quote " backslash \\ newline \n brace }, = # é'


def first():
    exemplar = {"asDouble": 0.7, "timeUnixNano": str(T0), "traceId": "ab" * 16, "spanId": "cd" * 8}
    tokens = point(0, 10, asInt="5", attributes=attributes(gen_ai__request__model="gpt", text=HOSTILE))
    latency = point(
        0, 10, count="4", sum=17.25, bucketCounts=["1", "2", "0", "1"], explicitBounds=[0.1, 2.5, 1e6], exemplars=[exemplar]
    )
    sizes = point(0, 10, count="6", sum=9.5, scale=0, zeroCount="1", positive={"offset": 0, "bucketCounts": ["2", "3"]})
    rpc = point(0, 10, count="4", sum=2.5, quantileValues=[{"quantile": 0.5, "value": 0.1}, {"quantile": 1, "value": 3}])
    return request([
        {"name": "llm.tokens", "unit": "{token}", "description": 'Tokens "used"\nby \\ model',
         "sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [tokens]}},
        {"name": "llm.latency", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": [latency]}},
        {"name": "llm.size", "unit": "By", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [sizes]}},
        {"name": "load", "unit": "1", "gauge": {"dataPoints": [point(0, 10, asDouble=0.1), point(0, 10, asDouble="NaN", attributes=attributes(cpu="1"))]}},
        {"name": "rpc", "summary": {"dataPoints": [rpc]}},
    ])  # fmt: skip


def second():
    tokens = point(10, 20, asInt="7", attributes=attributes(gen_ai__request__model="gpt", text=HOSTILE))
    return request([
        {"name": "llm.tokens", "unit": "{token}", "sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [tokens]}},
        {"name": "llm.latency", "gauge": {"dataPoints": [point(0, 20, asInt="1")]}},
        {"name": "llm.latency", "unit": "s", "gauge": {"dataPoints": [point(0, 20, asInt="1")]}},
    ])  # fmt: skip


SAME = {"job": "router/modelmuxer", "instance": "pod-1", "otel_scope_name": "meter", "otel_scope_version": "1"}
TOKENS = {"gen_ai_request_model": "gpt", "text": HOSTILE}


def expected(is_open):
    """(sample name, labels, value) of everything that came in, and (family, type, unit, help)."""
    samples = [("target_info", {"env": "x"}, 1), ("llm_tokens_total", TOKENS, 12), ("llm_latency", {}, 1)]
    samples += [("llm_latency_seconds_bucket", {"le": le}, n) for le, n in [("0.1", 1), ("2.5", 3), ("1e+06", 3), ("+Inf", 4)]]
    samples += [("llm_latency_seconds_sum", {}, 17.25), ("llm_latency_seconds_count", {}, 4)]
    buckets = [("0.0", 1), ("1.0", 1), ("2.0", 3), ("4.0", 6), ("+Inf", 6)]
    samples += [("llm_size_bytes_bucket", {"le": le}, n) for le, n in buckets]
    samples += [("llm_size_bytes_sum", {}, 9.5), ("llm_size_bytes_count", {}, 6)]
    samples += [("load_ratio", {}, 0.1), ("load_ratio", {"cpu": "1"}, math.nan)]
    samples += [("rpc", {"quantile": "0.5"}, 0.1), ("rpc", {"quantile": "1.0"}, 3), ("rpc_sum", {}, 2.5), ("rpc_count", {}, 4)]
    help_text = 'Tokens "used"\nby \\ model'
    families = {
        ("llm_tokens", "counter", "", help_text),
        ("llm_latency", "gauge", "", ""),
        ("llm_latency_seconds", "histogram", "seconds" if is_open else "", ""),
        ("llm_size_bytes", "histogram", "bytes" if is_open else "", ""),
        ("load_ratio", "gauge", "ratio" if is_open else "", ""),
        ("rpc", "summary", "", ""),
        ("target", "info", "", "Target metadata") if is_open else ("target_info", "gauge", "", "Target metadata"),
    }
    if is_open:
        created = [("llm_tokens_created", TOKENS), ("llm_latency_seconds_created", {}), ("llm_size_bytes_created", {}), ("rpc_created", {})]
        samples += [(name, labels, T0 / 1e9) for name, labels in created]
    scopeless = {k: v for k, v in SAME.items() if not k.startswith("otel_scope")}
    full = [(n, {**labels, **(scopeless if n == "target_info" else SAME)}, v) for n, labels, v in samples]
    return sorted(key(*s) for s in full), families


def key(name, labels, value):
    return name, sorted(labels.items()), "NaN" if math.isnan(value) else float(value)


def read(url, is_open):
    head = {"Accept": OPEN if is_open else "text/plain"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=head), timeout=10) as answer:
        wanted = "application/openmetrics-text" if is_open else "text/plain"
        assert answer.headers["Content-Type"].startswith(wanted), answer.headers["Content-Type"]
        return list((openmetrics if is_open else text)(answer.read().decode()))


def compare(families, is_open, what):
    own = [f for f in families if f.name.startswith("muxbridge_")]
    theirs = [f for f in families if not f.name.startswith("muxbridge_")]
    samples = sorted(key(s.name, s.labels, s.value) for f in theirs for s in f.samples)
    wanted, heads = expected(is_open)
    assert samples == wanted, f"{what}: {samples}\nis not\n{wanted}"
    found = {(f.name, f.type, f.unit, f.documentation) for f in theirs}
    assert found == heads, f"{what}: {found ^ heads}"
    names = [f.name for f in families]
    assert len(names) == len(set(names)), f"{what}: a family is there twice"
    exemplars = [(s.name, s.labels["le"], s.exemplar) for f in theirs for s in f.samples if s.exemplar]
    if is_open:
        [(name, le, exemplar)] = exemplars
        assert (name, le, exemplar.value) == ("llm_latency_seconds_bucket", "2.5", 0.7), exemplars
        assert exemplar.labels == {"trace_id": "ab" * 16, "span_id": "cd" * 8} and float(exemplar.timestamp) == T0 / 1e9
    return own


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def program(binary):
    otlp, page, admin = free_ports(3)
    config = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{otlp}"}}}},
        "exporters": {"prometheus": {"endpoint": f"127.0.0.1:{page}"}},
        "service": {
            "admin": {"endpoint": f"127.0.0.1:{admin}"},
            "pipelines": {"metrics": {"receivers": ["otlp"], "exporters": ["prometheus"]}},
        },
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(config, file)
        file.flush()
        bridge = subprocess.Popen([binary, "run", "--config", file.name], stderr=subprocess.DEVNULL)
        try:
            for metrics in (first(), second()):
                send(otlp, metrics)
            deadline = time.monotonic() + 30
            for port, what in ((admin, "admin"), (page, "exporter")):
                while True:
                    try:
                        pages = {is_open: read(f"http://127.0.0.1:{port}/metrics", is_open) for is_open in (False, True)}
                        own = {is_open: compare(families, is_open, what) for is_open, families in pages.items()}
                        break
                    except (AssertionError, OSError):
                        if time.monotonic() > deadline:
                            raise
                        time.sleep(0.1)
                assert bool(own[False]) == bool(own[True]) == (what == "admin"), f"{what}: {own}"
                print(f"{what}: {sum(len(f.samples) for f in pages[True])} samples in OpenMetrics agree, text too")
        finally:
            bridge.terminate()
            assert bridge.wait(30) == 0


def send(port, metrics):
    url = f"http://127.0.0.1:{port}/v1/metrics"
    body = json.dumps(metrics).encode()
    deadline = time.monotonic() + 30
    while True:
        try:
            head = {"Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(url, body, head), timeout=10) as answer:
                assert answer.status == 200
                return
        except ConnectionError:
            raise
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


# The OpenMetrics parser of the client (0.26.0) does not know escapes inside the labels of an exemplar, which the standard
# has there as everywhere else: it takes a \" for the end. Such exemplars are cut off before it reads the page.
ESCAPED_EXEMPLAR = re.compile(r' # \{(?:[^"{}]*"(?:[^"\\]|\\.)*")*\} [^ ]+( [^ ]+)?$')


def readable(page):
    lines = []
    for line in page.split("\n"):
        found = ESCAPED_EXEMPLAR.search(line) if not line.startswith("#") else None
        lines.append(line[: found.start()] if found and "\\" in found.group() else line)
    return "\n".join(lines)


def random_pages(directory):
    count = samples = 0
    for file in sorted(directory.iterdir()):
        page = file.read_bytes().decode()
        is_open = file.suffix == ".open"
        try:
            families = list(openmetrics(readable(page)) if is_open else text(page))
        except Exception as error:
            raise SystemExit(f"{file}: {error!r}\n{page}") from error
        lines = sum(1 for line in page.split("\n") if line and not line.startswith("#"))
        found = sum(len(f.samples) for f in families)
        assert found == lines, f"{file}: {found} samples of {lines} lines"
        count, samples = count + 1, samples + found
    assert count >= 1000, f"{directory}: only {count} pages"
    print(f"{count} random pages with {samples} samples are accepted")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--pages", type=Path)
    arguments = parser.parse_args()
    program(arguments.program)
    if arguments.pages:
        random_pages(arguments.pages)


if __name__ == "__main__":
    sys.exit(main())
