#!/usr/bin/env python3
"""Sends recorded telemetry of ModelMuxer through muxbridge in the Zipkin format to a real Zipkin server, reads it back,
and compares the trees.

    newrelic_zipkin.py --jar zipkin-server-exec.jar [--muxbridge target/debug/muxbridge] [--corpus tests/corpus]

The jar is `io.zipkin:zipkin-server:exec` of Maven Central; `--jar` or ZIPKIN_JAR says where it is. Exit codes: 0 if every
span came back in its place, 1 if not, 2 if something does not start, 77 if there is no jar or no Java.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from newrelic_common import free_ports, get_json, muxbridge, post, process, wait_until  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def recorded(corpus):
    """The spans of the scenario as they were recorded: by trace, then by id."""
    with open(os.path.join(corpus, "scenario", "traces.otlp.json")) as file:
        request = json.load(file)
    traces = {}
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                traces.setdefault(span["traceId"].lower(), {})[span["spanId"].lower()] = span
    return traces


def problems_of(trace_id, spans, got):
    """What is wrong with one trace that Zipkin gave back."""
    found = []
    by_id = {span["id"]: span for span in got}
    if set(by_id) != set(spans) or len(got) != len(spans):
        found.append(f"{trace_id}: {len(spans)} spans were sent, {len(got)} came back")
    for span_id, span in spans.items():
        back = by_id.get(span_id)
        if back is None:
            continue
        place = f"{trace_id}/{span_id}"
        if back["traceId"] != trace_id:
            found.append(f"{place}: trace {back['traceId']}")
        parent = span.get("parentSpanId", "").lower() or None
        if back.get("parentId") != parent:
            found.append(f"{place}: parent {back.get('parentId')}, not {parent}")
        if back.get("timestamp") != int(span["startTimeUnixNano"]) // 1000:
            found.append(f"{place}: timestamp {back.get('timestamp')}")
        duration = (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) // 1000
        # The translation makes the request of a stream last as long as the stream, never shorter.
        if not back.get("duration", 0) >= max(duration, 1):
            found.append(f"{place}: duration {back.get('duration')}, recorded {duration}")
        if not back.get("localEndpoint", {}).get("serviceName"):
            found.append(f"{place}: no service")
        name = back.get("tags", {}).get("modelmuxer.span.name")
        if name != span["name"]:
            found.append(f"{place}: recorded as {span['name']}, came back as {name}")
        kind = {"http.request": "SERVER"}.get(span["name"])
        if span["name"].startswith("provider.invoke") or (kind is None and span["name"].endswith(".request")):
            kind = "CLIENT"
        if back.get("kind") != kind:
            found.append(f"{place}: kind {back.get('kind')}, not {kind}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jar", default=os.environ.get("ZIPKIN_JAR"))
    parser.add_argument("--muxbridge", default=os.path.join(ROOT, "target", "debug", "muxbridge"))
    parser.add_argument("--corpus", default=os.path.join(ROOT, "tests", "corpus"))
    args = parser.parse_args()
    java = shutil.which("java")
    if not args.jar or not os.path.exists(args.jar) or not java:
        print("skipped: no Zipkin jar (--jar) or no Java", file=sys.stderr)
        return 77
    port = free_ports(1)[0]
    zipkin = f"http://127.0.0.1:{port}"
    env = dict(os.environ, QUERY_PORT=str(port), STORAGE_TYPE="mem", SELF_TRACING_ENABLED="false")
    traces = recorded(args.corpus)
    total = sum(len(spans) for spans in traces.values())
    with tempfile.TemporaryDirectory() as directory:
        command = [java, "-Xmx256m", "-jar", args.jar]
        with process(command, os.path.join(directory, "zipkin.log"), env):
            wait_until(lambda: get_json(zipkin + "/health")["status"] == "UP", 90, "Zipkin")
            exporter = {
                "mode": "trace_api",
                "trace_format": "zipkin",
                "traces_endpoint": zipkin + "/api/v2/spans",
                "apm_metrics": "never",
            }
            with muxbridge(args.muxbridge, exporter, ["modelmuxer"]) as bridge:
                with open(os.path.join(args.corpus, "scenario", "traces.otlp.pb"), "rb") as file:
                    post(bridge + "/v1/traces", file.read(), "application/x-protobuf")

                def read_back():
                    many = ",".join(traces)
                    got = get_json(f"{zipkin}/api/v2/traceMany?traceIds={many}")
                    return got if sum(len(trace) for trace in got) >= total else None

                try:
                    got = wait_until(read_back, 60, "all spans in Zipkin")
                except TimeoutError:
                    got = get_json(f"{zipkin}/api/v2/traceMany?traceIds={','.join(traces)}")
    back = {trace[0]["traceId"]: trace for trace in got if trace}
    found = []
    for trace_id, spans in traces.items():
        found += problems_of(trace_id, spans, back.get(trace_id, []))
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"Zipkin: {total} spans in {len(traces)} traces sent, {sum(map(len, back.values()))} read back, "
          f"{len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (TimeoutError, RuntimeError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
