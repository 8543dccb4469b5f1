"""Telemetry from the OpenTelemetry Python SDK, over gRPC, and recorded OTLP requests, with what was sent of it."""

import logging
from pathlib import Path

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
REQUESTS = 40


class Ids(SpanProcessor):
    """Remembers every span that ended."""

    def __init__(self):
        self.ids = []

    def on_end(self, span):
        self.ids.append((f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"))


class Feed:
    """Sends everything; afterwards it knows what was sent."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.ids = Ids()
        self.logs = 0
        self.counted = {}
        self.observed = {}

    def run(self):
        self.recorded()
        self.modelmuxer()
        self.foreign()
        self.metrics()
        self.log_records()

    def recorded(self):
        files = [CORPUS / "scenario/traces.otlp.pb", *sorted(CORPUS.glob("run1/trace-*.pb"))]
        with grpc.insecure_channel(self.endpoint) as channel:
            stub = trace_service_pb2_grpc.TraceServiceStub(channel)
            for file in files:
                request = trace_service_pb2.ExportTraceServiceRequest.FromString(file.read_bytes())
                answer = stub.Export(request, timeout=30)
                if answer.partial_success.rejected_spans:
                    raise AssertionError(f"{file.name}: {answer.partial_success}")
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        self.ids.ids += [(s.trace_id.hex(), s.span_id.hex()) for s in scope.spans]

    def tracer_provider(self, service):
        limits = SpanLimits(max_span_attributes=500, max_event_attributes=500)
        provider = TracerProvider(resource=Resource.create({"service.name": service}), span_limits=limits)
        provider.add_span_processor(self.ids)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=self.endpoint, insecure=True)))
        return provider

    def modelmuxer(self):
        """Traces in the shape of ModelMuxer's: every fourth fails after two attempts."""
        provider = self.tracer_provider("modelmuxer")
        tracer = provider.get_tracer("modelmuxer")
        for number in range(REQUESTS):
            with tracer.start_as_current_span(
                "http.request", attributes={"route": "/v1/chat/completions", "method": "POST"}
            ):
                with tracer.start_as_current_span("policy.enforce", attributes={"blocked": False, "num_redactions": 0}):
                    pass
                decision = {"route": "chat", "task_type": "simple", "route.tokens_in": 50, "route.estimate.usd": 0.0459}
                with tracer.start_as_current_span("router.decide", attributes=decision):
                    pass
                with tracer.start_as_current_span(
                    "provider.invoke", attributes={"provider": "openai", "model": "gpt-4o-mini"}
                ):
                    failed = number % 4 == 0
                    for attempt in (1, 2) if failed else (1,):
                        with tracer.start_as_current_span("openai.request", attributes={"attempt": attempt}) as span:
                            if failed:
                                span.record_exception(TimeoutError("ReadTimeout: "))
                                span.set_status(Status(StatusCode.ERROR, "ReadTimeout: "))
        provider.shutdown()

    def foreign(self):
        """Spans of another program, with what breaks the limits of some destination."""
        provider = self.tracer_provider("checkout")
        tracer = provider.get_tracer("interop.foreign", "1.2.3")
        links = [Link(trace.SpanContext(7, 9, is_remote=True), {"why": "retry"})]
        for number in range(REQUESTS):
            with tracer.start_as_current_span(f"work {number}", kind=SpanKind.SERVER, links=links) as span:
                span.set_attributes(
                    {
                        "long": "\u00e9" * 5_000,
                        "k" * 300: "a long key",
                        "seventy": [str(i) for i in range(70)],
                        "numbers": [1, 2, 3],
                        "flag": True,
                        "large": 2**62 + 1,
                        "share": 0.1,
                        "entity.name": "is reserved",
                        "text, with | marks\nand \u4e16\u754c": "value, | and \n",
                        "http.request.method": "GET",
                        "url.path": "/cart",
                    }
                )
                if number == 0:
                    span.set_attributes({f"many.{i:03}": i for i in range(200)})
                span.add_event("step", {"n": number, "text": "x" * 6_000})
                with tracer.start_as_current_span("inner", kind=SpanKind.CLIENT):
                    pass
        provider.shutdown()

    def metrics(self):
        """Three exports of cumulative values, from which those who need deltas must get the same totals."""
        exporter = OTLPMetricExporter(endpoint=self.endpoint, insecure=True)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
        views = [View(instrument_name="interop.exponential", aggregation=ExponentialBucketHistogramAggregation())]
        resource = Resource.create({"service.name": "checkout", "service.version": "1.0", "deployment.environment": "test"})
        provider = MeterProvider(metric_readers=[reader], resource=resource, views=views)
        meter = provider.get_meter("interop.meter")
        requests = meter.create_counter("interop.requests", unit="{request}", description="Requests.")
        money = meter.create_counter("interop.cost", unit="USD")
        active = meter.create_up_down_counter("interop.active")
        histograms = [meter.create_histogram("interop.duration", unit="s"), meter.create_histogram("interop.exponential")]
        for turn in range(1, 4):
            for number in range(60):
                tags = {"model": f"m{number % 7}", "note": "a,b|c#d \u00e9", "timestamp": "reserved"}
                self.count("interop.requests", requests, 1 + number % 3, tags)
                self.count("interop.cost", money, 0.25 * turn, tags)
                active.add(1 if number % 2 else -1, {"pool": "a"})
                for histogram in histograms:
                    histogram.record(0.001 * 3 ** (number % 9) * turn, tags)
                    self.observed[histogram.name] = self.observed.get(histogram.name, 0) + 1
            if not provider.force_flush():
                raise AssertionError("the SDK could not export metrics")
        provider.shutdown()

    def count(self, name, counter, amount, tags):
        counter.add(amount, tags)
        self.counted[name] = self.counted.get(name, 0) + amount

    def log_records(self):
        provider = LoggerProvider(resource=Resource.create({"service.name": "checkout"}))
        provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=self.endpoint, insecure=True)))
        logger = logging.Logger("interop")
        logger.addHandler(LoggingHandler(level=logging.DEBUG, logger_provider=provider))
        for number in range(REQUESTS):
            logger.warning("order %s failed", number, extra={"order": number, "long": "y" * 5_000})
        logger.error("a long body %s", "z" * 40_000)
        self.logs = REQUESTS + 1
        if not provider.force_flush():
            raise AssertionError("the SDK could not export logs")
        provider.shutdown()
