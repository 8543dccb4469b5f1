"""New Relic's OTLP endpoint and Trace API as their documentation describes them, with every limit an error.

The real ones answer first and check later, so that what breaks a limit is lost without a word.
"""

import gzip
import json
import re
import uuid

from otlp_items import REQUESTS, parse, walk
from receivers import Http

KEY = "eu01xx0123456789012345678901234567890NRAL"
REQUEST_BYTES = 1_000_000
KEY_CHARACTERS, VALUE_CHARACTERS, TRACE_VALUE_CHARACTERS = 255, 4095, 4096
ON_RESOURCE, ON_SCOPE, ON_RECORD, ON_POINT, ON_STORED_METRIC, ARRAY = 64, 8, 128, 64, 100, 64
BODY_CHARACTERS = 32_768
METRIC_KEY = re.compile(r"[A-Za-z0-9_.:]+")
# Names that New Relic uses itself.
RESERVED = set(
    "interval.ms timestamp value common min max count sum metrics newrelic.source metricName endTimestamp accountId appId "
    "eventType entity.guid entity.name entity.type".split()
)
NEVER = {"newrelic.entity.type", "entityGuid", "trace_role", ""}


class Limits:
    """Collects what is over a limit."""

    def __init__(self, found):
        self.found = found

    def attributes(self, where, attributes, most, metric=False):
        if len(attributes) > most:
            self.found(f"{where}: {len(attributes)} attributes")
        keys = [a.key for a in attributes]
        if len(set(keys)) != len(keys):
            self.found(f"{where}: an attribute twice")
        for attribute in attributes:
            self.key(where, attribute.key, metric)
            self.value(f"{where}.{attribute.key[:40]}", attribute.value)

    def key(self, where, key, metric):
        if len(key) > KEY_CHARACTERS:
            self.found(f"{where}: a key of {len(key)} characters")
        if key in NEVER or key.startswith("entity."):
            self.found(f"{where}: the key {key!r}")
        if metric and (key in RESERVED or not METRIC_KEY.fullmatch(key)):
            self.found(f"{where}: the key {key!r} on a metric")

    def value(self, where, value):
        kind = value.WhichOneof("value")
        if kind == "string_value":
            self.text(where, value.string_value)
        elif kind == "array_value":
            entries = [e.WhichOneof("value") for e in value.array_value.values]
            if len(entries) > ARRAY or len(set(entries)) > 1 or not set(entries) <= {
                "string_value",
                "bool_value",
                "int_value",
                "double_value",
            }:
                self.found(f"{where}: an array of {len(entries)} of {set(entries)}")
            for entry in value.array_value.values:
                self.text(where, entry.string_value)
        elif kind not in ("bool_value", "int_value", "double_value"):
            self.found(f"{where}: a value of kind {kind}")

    def text(self, where, text, most=VALUE_CHARACTERS):
        if len(text) > most:
            self.found(f"{where}: {len(text)} characters")

    def span(self, span):
        for text in (span.name, span.status.message):
            self.text("span", text)
        if len(span.trace_id) != 16 or len(span.span_id) != 8 or not any(span.trace_id) or not any(span.span_id):
            self.found("a span without its ids")
        self.attributes("span", span.attributes, ON_RECORD)
        for event in span.events:
            self.attributes("event", event.attributes, ON_RECORD)

    def log(self, record):
        self.attributes("log", record.attributes, ON_RECORD)
        self.text("log body", record.body.string_value, BODY_CHARACTERS)

    def point(self, metric, point, around):
        data = metric.WhichOneof("data")
        body = getattr(metric, data)
        if not 0 < len(metric.name) < 255 or metric.name in RESERVED:
            self.found(f"the metric name {metric.name[:60]!r}")
        if data == "summary":
            self.found(f"{metric.name}: a summary")
        if hasattr(body, "aggregation_temporality"):
            cumulative_gauge = data == "sum" and not body.is_monotonic
            # 1 is delta, 2 is cumulative.
            if body.aggregation_temporality != (2 if cumulative_gauge else 1):
                self.found(f"{metric.name}: {data} with temporality {body.aggregation_temporality}")
            if not 0 < point.start_time_unix_nano < point.time_unix_nano:
                self.found(f"{metric.name}: starts at {point.start_time_unix_nano}, ends at {point.time_unix_nano}")
        self.attributes(metric.name, point.attributes, ON_POINT, metric=True)
        if len(point.attributes) + around > ON_STORED_METRIC:
            self.found(f"{metric.name}: {len(point.attributes) + around} attributes with scope and resource")
        if metric.name in {a.key for a in point.attributes}:
            self.found(f"{metric.name}: an attribute with the name of the metric")

    def request(self, signal, request):
        for resource, scope, item, metric in walk(signal, request):
            self.attributes("resource", resource.resource.attributes, ON_RESOURCE, metric is not None)
            self.attributes("scope", scope.scope.attributes, ON_SCOPE, metric is not None)
            if signal == "traces":
                self.span(item)
            elif signal == "logs":
                self.log(item)
            else:
                self.point(metric, item, len(resource.resource.attributes) + len(scope.scope.attributes))


class NewRelic(Http):
    """Takes OTLP, and the Trace API in the formats newrelic 1 and zipkin 2.

    The first request of traces with more than one item is answered 413, and one other request 429 with a delay.
    """

    def __init__(self):
        super().__init__()
        self.limits = Limits(self.found)
        self.largest = 0
        self.request_ids = []
        self.api_spans = []
        self.refused_large = self.refused_often = False

    def post(self, path, headers, raw):
        if headers.get("api-key") != KEY:
            self.found(f"{path}: api-key is {'wrong' if 'api-key' in headers else 'missing'}")
            return 403, {}, b""
        if "?" in path:
            self.found("a query in the URL, which is written into logs")
        with self.lock:
            self.largest = max(self.largest, len(raw))
        if len(raw) >= REQUEST_BYTES:
            self.found(f"{path}: a request of {len(raw)} bytes")
            return 413, {}, b""
        body = gzip.decompress(raw) if headers.get("content-encoding") == "gzip" else raw
        if path == "/trace/v1":
            return self.trace_api(headers, body)
        signal = path.removeprefix("/v1/")
        if signal not in REQUESTS or headers.get("content-type") != "application/x-protobuf":
            self.found(f"{path}: no such endpoint, or {headers.get('content-type')}")
            return 404, {}, b""
        request = parse(signal, body)
        items = sum(1 for _ in walk(signal, request))
        with self.lock:
            if signal == "traces" and items > 1 and not self.refused_large:
                self.refused_large = True
                return 413, {}, b""
            if signal == "metrics" and not self.refused_often:
                self.refused_often = True
                return 429, {"retry-after": "1"}, b""
        self.limits.request(signal, request)
        self.add(signal, request)
        # Neither a body nor a content type: that is what New Relic answers.
        return 200, {}, b""

    def trace_api(self, headers, body):
        for name, value in (("content-type", "application/json"), ("content-encoding", "gzip")):
            if headers.get(name) != value:
                self.found(f"trace api: {name} is {headers.get(name)}")
        request_id = headers.get("x-request-id", "")
        if uuid.UUID(request_id).version != 4 or request_id in self.request_ids:
            self.found(f"trace api: x-request-id {request_id!r}")
        form = headers.get("data-format"), headers.get("data-format-version")
        payload = json.loads(body)
        if form == ("newrelic", "1"):
            spans = [self.native(span, part["common"]["attributes"]) for part in payload for span in part["spans"]]
        elif form == ("zipkin", "2"):
            spans = [self.zipkin(span) for span in payload]
        else:
            self.found(f"trace api: data format {form}")
            return 400, {}, b""
        with self.lock:
            self.request_ids.append(request_id)
            self.api_spans.extend(spans)
        return 202, {}, json.dumps({"requestId": request_id}).encode()

    def native(self, span, common):
        if set(span) - {"id", "trace.id", "timestamp", "attributes"}:
            self.found(f"trace api: unknown fields {set(span)}")
        self.plain("trace api", {**common, **span["attributes"]}, (str, bool, int, float))
        if not isinstance(span["timestamp"], int) or not isinstance(span["attributes"]["duration.ms"], (int, float)):
            self.found(f"trace api: times of {span['id']}")
        return self.ids(span["trace.id"], span["id"])

    def zipkin(self, span):
        if span.get("kind", "CLIENT") not in ("CLIENT", "SERVER", "PRODUCER", "CONSUMER"):
            self.found(f"zipkin: kind {span['kind']}")
        if span["name"] != span["name"].lower() or not span["localEndpoint"]["serviceName"]:
            self.found(f"zipkin: name {span['name']!r} or no service")
        if not isinstance(span["timestamp"], int) or not isinstance(span["duration"], int) or span["duration"] < 1:
            self.found(f"zipkin: times of {span['id']}")
        self.plain("zipkin", span.get("tags", {}), (str,))
        return self.ids(span["traceId"], span["id"])

    def plain(self, where, attributes, kinds):
        for key, value in attributes.items():
            self.limits.key(where, key, False)
            if not isinstance(value, kinds):
                self.found(f"{where}: {key} is {value!r:.40}")
            elif isinstance(value, str):
                self.limits.text(f"{where}.{key}", value, TRACE_VALUE_CHARACTERS)

    def ids(self, trace, span):
        if not re.fullmatch("[0-9a-f]{32}", trace) or not re.fullmatch("[0-9a-f]{16}", span):
            self.found(f"ids {trace} {span}")
        return trace, span
