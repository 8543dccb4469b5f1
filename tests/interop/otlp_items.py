"""Items of OTLP requests in a form that can be compared, and a reader of OTLP/JSON that is not ours."""

import base64
import json

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

REQUESTS = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
}
RESPONSES = {
    "traces": trace_service_pb2.ExportTraceServiceResponse,
    "metrics": metrics_service_pb2.ExportMetricsServiceResponse,
    "logs": logs_service_pb2.ExportLogsServiceResponse,
}
FIELDS = {"traces": "resource_spans", "metrics": "resource_metrics", "logs": "resource_logs"}
# What OTLP/JSON writes as hex, where the JSON mapping of protobuf has base64.
HEX = {"traceId", "spanId", "parentSpanId"}


def parse(signal, body):
    return REQUESTS[signal].FromString(body)


def parse_json(signal, text):
    """OTLP/JSON by the JSON mapping of protobuf; unknown names are errors."""

    def base64_ids(value):
        if isinstance(value, list):
            return [base64_ids(v) for v in value]
        if not isinstance(value, dict):
            return value
        # Attributes are lists of key and value, so that no name of a user can be one of these keys.
        return {
            k: base64.b64encode(bytes.fromhex(v)).decode() if k in HEX else base64_ids(v) for k, v in value.items()
        }

    return json_format.ParseDict(base64_ids(json.loads(text)), REQUESTS[signal]())


def resources(signal, request):
    return getattr(request, FIELDS[signal])


def walk(signal, request):
    """(resource, scope, item, metric or None) for each span, data point or log record."""
    for resource in resources(signal, request):
        if signal == "traces":
            for scope in resource.scope_spans:
                for span in scope.spans:
                    yield resource, scope, span, None
        elif signal == "logs":
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    yield resource, scope, record, None
        else:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = metric.WhichOneof("data")
                    for point in getattr(metric, data).data_points if data else ():
                        yield resource, scope, point, metric


def contents(signal, request):
    """One value for each item, equal only if everything that OTLP says about the item is equal."""
    for resource, scope, item, metric in walk(signal, request):
        around = ()
        if metric is not None:
            data = metric.WhichOneof("data")
            body = getattr(metric, data)
            settings = tuple(
                getattr(body, name) for name in ("aggregation_temporality", "is_monotonic") if hasattr(body, name)
            )
            around = (metric.name, metric.unit, metric.description, data, settings)
            around += tuple(m.SerializeToString(deterministic=True) for m in metric.metadata)
        yield (
            resource.resource.SerializeToString(deterministic=True),
            resource.schema_url,
            scope.scope.SerializeToString(deterministic=True),
            scope.schema_url,
            *around,
            item.SerializeToString(deterministic=True),
        )
