#!/usr/bin/env python3
"""Sends recorded telemetry of ModelMuxer through muxbridge, translation included, to a recorder of New Relic's APIs, and
checks what New Relic's pages need: kinds and names of spans, `gen_ai.*` where a model was called and nowhere else, the metrics
of the APM pages, one event for each call.

    newrelic_end_to_end.py [--muxbridge target/debug/muxbridge] [--corpus tests/corpus]

Needs nothing but Python. Exit codes: 0 if all is right, 1 if not, 2 if muxbridge does not start.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from newrelic_common import Recorder, muxbridge, post, wait_until  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def recorded(corpus):
    with open(os.path.join(corpus, "scenario", "traces.otlp.json")) as file:
        request = json.load(file)
    scopes = [scope for resource in request["resourceSpans"] for scope in resource["scopeSpans"]]
    return [span for scope in scopes for span in scope["spans"]]


def problems_of_span(source, sent):
    """What is wrong with one span, given what ModelMuxer called it."""
    has = sent["attributes"]
    found = []

    def expect(right, what):
        if not right:
            found.append(f"{source['name']} {sent['id']}: {what}")

    gen_ai = [key for key in has if key.startswith("gen_ai.")]
    name, kind = source["name"], has.get("span.kind")
    if name == "http.request":
        expect(kind == "server", f"kind {kind}")
        # A path that is no route of ModelMuxer would make a transaction of its own.
        wanted = " ".join(filter(None, [has.get("http.request.method"), has.get("http.route")]))
        expect(has["name"] == wanted, f"name {has['name']}")
        expect(not gen_ai, f"{gen_ai}")
        expect(not {"route", "method"} & set(has), "names of ModelMuxer's own")
    elif name.startswith("provider.invoke"):
        expect(kind == "client", f"kind {kind}")
        expect(has["name"].split()[0] == has.get("gen_ai.operation.name"), f"name {has['name']}")
        expect(has.get("gen_ai.provider.name") and has["gen_ai.provider.name"] == has.get("gen_ai.system"), "provider")
        expect(has.get("gen_ai.request.model"), "no model")
        expect(not [key for key in gen_ai if "usage" in key], "tokens that nobody reported")
    elif name.endswith(".request"):
        expect(kind == "client" and has["name"] == "POST", f"{kind} {has['name']}")
        expect(not gen_ai, f"{gen_ai}: counts as another call of a model")
    else:
        expect(kind == "internal", f"kind {kind}")
        expect(not gen_ai, f"{gen_ai}: counts as another call of a model")
    if has.get("otel.status_code") == "ERROR":
        expect(has.get("otel.status_description") and has.get("error.message"), "an error without a message")
    else:
        expect(not [key for key in has if key == "error.message"], "a message without an error")
    return found


def total(metrics, name):
    return sum(metric["value"]["count"] for metric in metrics if metric["name"] == name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--muxbridge", default=os.path.join(ROOT, "target", "debug", "muxbridge"))
    parser.add_argument("--corpus", default=os.path.join(ROOT, "tests", "corpus"))
    args = parser.parse_args()
    spans = recorded(args.corpus)
    server = Recorder()

    def got(path, key):
        return [item for _, body in server.got.get(path, []) for block in body for item in block[key]]

    with muxbridge(args.muxbridge, {"mode": "native", "endpoint": server.url, "llm_events": True}, ["modelmuxer"]) as url:
        with open(os.path.join(args.corpus, "scenario", "traces.otlp.pb"), "rb") as file:
            post(url + "/v1/traces", file.read(), "application/x-protobuf")
        wait_until(lambda: len(got("/trace/v1", "spans")) >= len(spans), 60, "all spans")
    # Stopped: what was derived has been sent, too.
    sent = {span["id"]: span for span in got("/trace/v1", "spans")}
    found = []
    if len(got("/trace/v1", "spans")) != len(spans):
        found.append(f"{len(got('/trace/v1', 'spans'))} spans for {len(spans)}")
    for span in spans:
        there = sent.get(span["spanId"].lower())
        found += problems_of_span(span, there) if there else [f"{span['name']}: missing"]
    for _, body in server.got["/trace/v1"]:
        if any(block["common"]["attributes"].get("aiEnabledApp") != "true" for block in body):
            found.append("no aiEnabledApp")
    metrics = got("/metric/v1", "metrics")
    requests = sum(span["name"] == "http.request" for span in spans)
    attempts = sum(
        there["attributes"]["name"] == "POST" and "server.address" in there["attributes"] for there in sent.values()
    )
    calls = sum(span["name"].startswith("provider.invoke") for span in spans)
    failed = sum(
        there["attributes"]["span.kind"] == "server" and "error.type" in there["attributes"] for there in sent.values()
    )
    counted = {
        "http.server.request.duration": (requests, total(metrics, "http.server.request.duration")),
        "http.client.request.duration": (attempts, total(metrics, "http.client.request.duration")),
        "failed requests": (failed, total(
            [m for m in metrics if "error.type" in m["attributes"]], "http.server.request.duration")),
        "LlmChatCompletionSummary": (calls, sum(
            event["eventType"] == "LlmChatCompletionSummary"
            for _, body in server.got.get("/v1/accounts/events", []) for event in body)),
    }
    for name, (expected, is_there) in counted.items():
        if expected != is_there or not expected:
            found.append(f"{name}: {is_there}, not {expected}")
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"New Relic: {len(spans)} spans, {requests} requests, {failed} of them failed, {attempts} attempts, "
          f"{calls} calls of models, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (TimeoutError, RuntimeError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
