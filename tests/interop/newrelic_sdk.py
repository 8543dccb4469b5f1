#!/usr/bin/env python3
"""Sends the same spans, metrics, logs and events once with New Relic's own telemetry SDK and once through muxbridge
(`mode: native`), and compares what arrives as parsed JSON.

    newrelic_sdk.py [--muxbridge target/debug/muxbridge]

Needs the package `newrelic-telemetry-sdk` of the Python Package Index. Exit codes: 0 if nothing but the differences that
are listed below was found, 1 if something else was, 2 if muxbridge does not start, 77 without the package.
"""

import argparse
import os
import sys
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from newrelic_common import LICENSE_KEY, Recorder, attributes, muxbridge, post, wait_until  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
T0 = 1_700_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
COMMON = {"service.name": "modelmuxer"}
SPANS = [
    # id, parent, name, kind, start, duration in ms, attributes
    ("b7ad6b7169203331", None, "POST /v1/chat/completions", 2, T0, 812, {"http.route": "/v1/chat/completions"}),
    ("a2fb4a1d1a96d312", "b7ad6b7169203331", "chat gpt-4o-mini", 3, T0 + 5, 800,
     {"gen_ai.request.model": "gpt-4o-mini", "server.port": 443, "gen_ai.request.stream": True, "share": 0.25}),
]
KINDS = {1: "internal", 2: "server", 3: "client"}

# What muxbridge sends and the SDK's user would have had to add, or the SDK does otherwise; each with its reason.
JUSTIFIED = {
    "span": {
        "span.kind": "the SDK has no kinds; New Relic's pages need them, and OTLP stores this name",
    },
    "span common": {
        "instrumentation.provider": "makes the entity that spans over OTLP make",
    },
    "metric": {
        "type": "the SDK leaves out the type of a gauge, which is the default",
        "attributes": "the SDK leaves out an empty object",
        "unit": "OTLP has it, the SDK has no place for it",
    },
    "log": {},
    "event": {},
}
HEADERS = {
    "user-agent": "names the program; the SDK's name is New Relic's own",
    "data-format": "documented for the Trace API; the SDK relies on the default, which is the same",
    "data-format-version": "see data-format",
    "accept-encoding": "answers are a few bytes",
    "connection": "HTTP/1.1 keeps connections without being asked",
    "accept": "nothing but JSON is answered",
    "host": "another port",
    "content-length": "another length",
}


def otlp():
    resource = {"attributes": attributes(COMMON)}
    nanos = lambda ms: str(ms * 1_000_000)  # noqa: E731
    spans = []
    for span_id, parent, name, kind, start, duration, tags in SPANS:
        span = {"traceId": TRACE, "spanId": span_id, "name": name, "kind": kind, "attributes": attributes(tags),
                "startTimeUnixNano": nanos(start), "endTimeUnixNano": nanos(start + duration)}
        if parent:
            span["parentSpanId"] = parent
        spans.append(span)
    window = {"startTimeUnixNano": nanos(T0), "timeUnixNano": nanos(T0 + 10_000)}
    metrics = [
        {"name": "modelmuxer.tokens", "unit": "{token}", "sum": {
            "aggregationTemporality": 1, "isMonotonic": True,
            "dataPoints": [dict(window, asInt="1234", attributes=attributes({"type": "input"}))]}},
        {"name": "modelmuxer.connections", "gauge": {
            "dataPoints": [{"timeUnixNano": nanos(T0 + 10_000), "asDouble": 3.5}]}},
        {"name": "modelmuxer.latency", "exponentialHistogram": {
            "aggregationTemporality": 1,
            "dataPoints": [dict(window, count="2", sum=1.5, min=0.5, max=1.0, scale=0, zeroCount="0",
                                positive={"offset": -2, "bucketCounts": ["1", "1"]})]}},
    ]
    log = {"timeUnixNano": nanos(T0), "severityText": "WARNING", "body": {"stringValue": "budget exceeded"},
           "traceId": TRACE, "spanId": SPANS[0][0], "attributes": attributes({"logger.name": "app.router"})}
    event = {"timeUnixNano": nanos(T0), "attributes": attributes(
        {"newrelic.event.type": "LlmFeedbackMessage", "rating": 5, "category": "good"})}
    return (
        {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]},
        {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]},
        {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [log, event]}]}]},
    )


def send_with_sdk(server):
    import urllib3
    from newrelic_telemetry_sdk import (
        CountMetric, Event, EventClient, GaugeMetric, Log, LogClient, MetricClient, Span, SpanClient, SummaryMetric)

    def client(kind):
        class Plain(kind):
            # The SDK insists on TLS.
            POOL_CLS = urllib3.HTTPConnectionPool

            def _parse_proxy_settings(self, _=None):
                return None, None

        return Plain(LICENSE_KEY, host="127.0.0.1", port=server.server_port)

    common = {"attributes": dict(COMMON)}
    spans = [Span(name, tags=tags, guid=span_id, trace_id=TRACE, parent_id=parent, start_time_ms=start,
                  duration_ms=duration) for span_id, parent, name, _, start, duration, tags in SPANS]
    client(SpanClient).send_batch(spans, common=common).raise_for_status()
    end = T0 + 10_000
    client(MetricClient).send_batch([
        CountMetric("modelmuxer.tokens", 1234, 10_000, tags={"type": "input"}, end_time_ms=end),
        GaugeMetric("modelmuxer.connections", 3.5, end_time_ms=end),
        SummaryMetric("modelmuxer.latency", count=2, sum=1.5, min=0.5, max=1.0, interval_ms=10_000, end_time_ms=end),
    ], common=common).raise_for_status()
    client(LogClient).send_batch([Log("budget exceeded", timestamp=T0, **{
        "trace.id": TRACE, "span.id": SPANS[0][0], "log.level": "WARNING", "logger.name": "app.router"})],
        common=common).raise_for_status()
    tags = dict(COMMON, rating=5, category="good")
    client(EventClient).send_batch([Event("LlmFeedbackMessage", tags=tags, timestamp_ms=T0)]).raise_for_status()


def compare(place, ours, theirs, justified, found):
    """Compares two JSON values; keys of ours alone are right only if they are justified."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(set(ours) | set(theirs)):
            if key in ours and key in theirs:
                compare(f"{place}.{key}", ours[key], theirs[key], justified, found)
            elif key in theirs:
                found.append(f"{place}.{key}: the SDK sends {theirs[key]!r}, muxbridge nothing")
            elif key == "attributes" and key in justified:
                compare(f"{place}.{key}", ours[key], {}, justified, found)
            elif key not in justified:
                found.append(f"{place}.{key}: muxbridge sends {ours[key]!r}, the SDK nothing")
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            found.append(f"{place}: {len(ours)} entries, the SDK has {len(theirs)}")
        for index, (a, b) in enumerate(zip(ours, theirs)):
            compare(f"{place}[{index}]", a, b, justified, found)
    elif ours != theirs or isinstance(ours, bool) != isinstance(theirs, bool):
        found.append(f"{place}: {ours!r}, the SDK sends {theirs!r}")


def compare_headers(path, ours, theirs, found):
    for key in sorted((set(ours) | set(theirs)) - set(HEADERS)):
        if key == "x-request-id":
            for who, headers in (("muxbridge", ours), ("the SDK", theirs)):
                if uuid.UUID(headers[key]).version != 4:
                    found.append(f"{path}: {who}: x-request-id is no UUIDv4")
        elif ours.get(key) != theirs.get(key):
            found.append(f"{path}: header {key}: {ours.get(key)!r}, the SDK sends {theirs.get(key)!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--muxbridge", default=os.path.join(ROOT, "target", "debug", "muxbridge"))
    args = parser.parse_args()
    try:
        import newrelic_telemetry_sdk  # noqa: F401
    except ImportError:
        print("skipped: no newrelic-telemetry-sdk", file=sys.stderr)
        return 77
    theirs, ours = Recorder(), Recorder()
    send_with_sdk(theirs)
    exporter = {"mode": "native", "endpoint": ours.url, "ai_monitoring": False, "apm_metrics": "never"}
    with muxbridge(args.muxbridge, exporter) as bridge:
        for signal, request in zip(("traces", "metrics", "logs"), otlp()):
            post(f"{bridge}/v1/{signal}", request)
        wait_until(lambda: set(theirs.got) <= set(ours.got), 30, "all four requests")
    found = []
    for path, kind, items in (
        ("/trace/v1", "span", "spans"),
        ("/metric/v1", "metric", "metrics"),
        ("/log/v1", "log", "logs"),
        ("/v1/accounts/events", "event", None),
    ):
        (our_headers, our_body), (their_headers, their_body) = ours.got[path][0], theirs.got[path][0]
        compare_headers(path, our_headers, their_headers, found)
        if items is None:
            # The SDK sends events in a block, which the Event API does not document; the items are what counts.
            their_body = their_body[0]["events"] if "events" in their_body[0] else their_body
            compare(path, our_body, their_body, JUSTIFIED[kind], found)
            continue
        compare(f"{path} common", our_body[0]["common"], their_body[0]["common"],
                JUSTIFIED.get(f"{kind} common", {}), found)
        compare(path, our_body[0][items], their_body[0][items], JUSTIFIED[kind], found)
    for span, (_, _, _, kind, _, _, _) in zip(ours.got["/trace/v1"][0][1][0]["spans"], SPANS):
        if span["attributes"]["span.kind"] != KINDS[kind]:
            found.append(f"span.kind {span['attributes']['span.kind']}")
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"telemetry SDK: 4 APIs compared, {len(found)} differences that are not justified")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (TimeoutError, RuntimeError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
