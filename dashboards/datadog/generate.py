#!/usr/bin/env python3
"""Writes dashboard.json and monitors.json for Datadog from the table of metrics that the translation uses.

    generate.py [--check]

Every query is written here with the metric that it asks for; a metric that the table does not make, or one of the
bridge's own counters that does not exist, is an error. With --check nothing is written, and the exit code is 1 if the
files are not what would be written. A test of the `datadog` exporter reads the files against the same table.
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]


def names(path, pattern):
    return set(re.findall(pattern, (ROOT / path).read_text()))


KNOWN = (
    names("src/translate/metrics/table.rs", r'\bname: "([a-z_.]+)"')
    | names("crates/core/src/counters.rs", r'&str = "(muxbridge_[a-z_]+)"')
    # What the receiver says of each scrape itself.
    | names("src/prometheus.rs", r'otlp::gauge\(w, "([a-z_]+)"')
)

PROVIDER, MODEL, ERROR = "gen_ai.provider.name", "gen_ai.request.model", "error.type"
SCOPE = "$env,$service,$provider,$model"


def metric(name):
    if name not in KNOWN:
        sys.exit(f"{name} is not made by the translation")
    return name


def count(name, by=(), scope=SCOPE):
    tail = f" by {{{','.join(by)}}}" if by else ""
    return f"sum:{metric(name)}{{{scope}}}{tail}.as_count()"


def over(how, name, by=(), scope=SCOPE):
    tail = f" by {{{','.join(by)}}}" if by else ""
    return f"{how}:{metric(name)}{{{scope}}}{tail}"


def request(queries, formulas, kind):
    return {
        "response_format": "timeseries" if kind != "toplist" else "scalar",
        "queries": [
            {"data_source": "metrics", "name": f"q{i}", "query": query}
            | ({"aggregator": "sum"} if kind == "toplist" else {})
            for i, query in enumerate(queries)
        ],
        "formulas": [{"formula": formula} for formula in formulas],
    } | ({"display_type": kind} if kind != "toplist" else {})


def graph(title, queries, kind="line", formulas=None):
    formulas = formulas or [f"q{i}" for i in range(len(queries))]
    return {
        "definition": {
            "type": "toplist" if kind == "toplist" else "timeseries",
            "title": title,
            "requests": [request(queries, formulas, kind)],
        }
    }


def group(title, widgets):
    return {"definition": {"type": "group", "layout_type": "ordered", "title": title, "widgets": widgets}}


CALLS = "modelmuxer.provider.requests"
FAILED = SCOPE + ",!modelmuxer.outcome:success"
OWN = "$bridge"

DASHBOARD = {
    "title": "ModelMuxer (Muxbridge)",
    "description": "Requests, errors, latency, tokens, routing and policy of ModelMuxer, and the health of the bridge. "
    "Percentiles need 'advanced query functions' (percentiles) switched on for the distribution metrics.",
    "layout_type": "ordered",
    "reflow_type": "auto",
    "template_variables": [
        {"name": "env", "prefix": "env", "available_values": [], "defaults": ["*"]},
        {"name": "service", "prefix": "service", "available_values": [], "defaults": ["*"]},
        {"name": "provider", "prefix": PROVIDER, "available_values": [], "defaults": ["*"]},
        {"name": "model", "prefix": MODEL, "available_values": [], "defaults": ["*"]},
        {"name": "bridge", "prefix": "service.instance.id", "available_values": [], "defaults": ["*"]},
    ],
    "widgets": [
        group(
            "Requests",
            [
                graph(
                    "HTTP requests by status",
                    [count("modelmuxer.http.requests", ["http.response.status_code"], "$env,$service")],
                    "bars",
                ),
                graph("Calls by provider and model", [count(CALLS, [PROVIDER, MODEL])], "bars"),
                graph("Failed calls by error", [count(CALLS, [PROVIDER, ERROR], FAILED)], "bars"),
                graph(
                    "Share of calls that failed, %",
                    [count(CALLS, scope=FAILED), count(CALLS)],
                    formulas=["100 * q0 / q1"],
                ),
            ],
        ),
        group(
            "Latency, seconds",
            [
                graph(
                    "Calls to providers: p50, p95, p99",
                    [over(p, "gen_ai.client.operation.duration") for p in ("p50", "p95", "p99")],
                ),
                graph(
                    "p95 by provider and model", [over("p95", "gen_ai.client.operation.duration", [PROVIDER, MODEL])]
                ),
                graph(
                    "HTTP requests: p50, p95",
                    [over(p, "http.server.request.duration", scope="$env,$service") for p in ("p50", "p95")],
                ),
                graph(
                    "Routing decision: p95",
                    [over("p95", "modelmuxer.router.decision.duration", scope="$env,$service")],
                ),
            ],
        ),
        group(
            "Tokens and cost",
            [
                graph("Tokens by type", [count("modelmuxer.tokens", ["gen_ai.token.type"])], "bars"),
                graph("Tokens by model", [count("modelmuxer.tokens", [PROVIDER, MODEL])], "toplist"),
                graph(
                    "Estimated cost of chosen models, USD (an estimate before the call)",
                    [count("modelmuxer.cost.estimated", [PROVIDER, MODEL])],
                    "bars",
                ),
            ],
        ),
        group(
            "Routing and policy",
            [
                graph("Decisions", [count("modelmuxer.router.decisions", scope="$env,$service")], "bars"),
                graph("Rejections", [count("modelmuxer.router.rejections", [ERROR], "$env,$service")], "bars"),
                graph(
                    "Intents",
                    [count("modelmuxer.router.intents", ["modelmuxer.route.intent.label"], "$env,$service")],
                    "bars",
                ),
                graph(
                    "Cheaper model than asked for, budget rejections",
                    [
                        count("modelmuxer.router.downroutes", scope="$env,$service"),
                        count("modelmuxer.budget.rejections", scope="$env,$service"),
                    ],
                    "bars",
                ),
                graph(
                    "Policy: violations, redactions",
                    [
                        count("modelmuxer.policy.violations", scope="$env,$service"),
                        count("modelmuxer.policy.redactions", scope="$env,$service"),
                    ],
                    "bars",
                ),
            ],
        ),
        group(
            "The bridge",
            [
                graph("ModelMuxer can be scraped", [over("min", "up", scope="$env,$service")]),
                graph(
                    "Items sent, dropped, refused",
                    [
                        count("muxbridge_exporter_sent_total", ["component", "signal"], OWN),
                        count("muxbridge_dropped_total", ["component", "signal", "reason"], OWN),
                        count("muxbridge_receiver_refused_total", ["component", "signal"], OWN),
                    ],
                    "bars",
                ),
                graph("Items waiting", [over("max", "muxbridge_exporter_queued", ["component", "signal"], OWN)]),
                graph(
                    "Requests that failed",
                    [count("muxbridge_exporter_requests_total", ["component"], OWN + ",outcome:failed")],
                    "bars",
                ),
            ],
        ),
    ],
}


def monitor(name, kind, query, message, critical, **options):
    return {
        "name": f"[ModelMuxer] {name}",
        "type": kind,
        "query": query,
        "message": message,
        "tags": ["source:muxbridge"],
        "options": {"thresholds": {"critical": critical}, "include_tags": True, **options},
    }


MONITORS = [
    monitor(
        "More than 10 % of the calls to a provider fail",
        "query alert",
        f"sum(last_10m):100 * sum:{metric(CALLS)}{{!modelmuxer.outcome:success}} by {{{PROVIDER}}}.as_count() / "
        f"sum:{metric(CALLS)}{{*}} by {{{PROVIDER}}}.as_count() > 10",
        "Look at the errors by type, then at the status page of {{gen_ai.provider.name.name}}.",
        10,
        evaluation_delay=60,
    ),
    monitor(
        "The 95th percentile of calls to a provider is above 30 s",
        "query alert",
        f"percentile(last_15m):p95:{metric('gen_ai.client.operation.duration')}{{*}} by {{{PROVIDER}}} > 30",
        "Percentiles must be switched on for this metric. Streaming calls count until their last byte.",
        30,
    ),
    monitor(
        "ModelMuxer cannot be scraped",
        "query alert",
        f"max(last_5m):max:{metric('up')}{{*}} by {{service}} < 1",
        "ModelMuxer is down, or its metrics page does not answer.",
        1,
        notify_no_data=True,
        no_data_timeframe=10,
    ),
    monitor(
        "Requests are rejected because of the budget",
        "query alert",
        f"sum(last_15m):sum:{metric('modelmuxer.budget.rejections')}{{*}}.as_count() > 20",
        "Raise the budget, or look for a client that asks too much.",
        20,
    ),
    monitor(
        "The bridge drops telemetry",
        "query alert",
        f"sum(last_10m):sum:{metric('muxbridge_dropped_total')}{{*}} by {{component,reason}}.as_count() > 0",
        "The reason is in the tag. unauthorized: the key. too_large, rejected: the destination's limits.",
        0,
    ),
    monitor(
        "Telemetry waits in the bridge",
        "query alert",
        f"min(last_10m):max:{metric('muxbridge_exporter_queued')}{{*}} by {{component}} > 10000",
        "A destination is slow or away. The log says which and why.",
        10000,
    ),
]


def main():
    stale = 0
    for name, content in (("dashboard.json", DASHBOARD), ("monitors.json", MONITORS)):
        text = json.dumps(content, indent=2) + "\n"
        path = HERE / name
        if "--check" in sys.argv:
            stale += not path.exists() or path.read_text() != text
        else:
            path.write_text(text)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
