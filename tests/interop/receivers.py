"""What stands at the other ends: OTLP over gRPC and HTTP, a DogStatsD port, and a server of Prometheus pages.

Built on grpcio, protobuf and the standard library. Each keeps what it took; `problems` is what it found wrong.
"""

import gzip
import re
import socket
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc

from otlp_items import REQUESTS, RESPONSES, contents, parse, parse_json, walk

SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}


class Taken:
    """Requests by signal. Ids and contents are computed when somebody asks."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests = {"traces": [], "metrics": [], "logs": []}
        self.problems = []
        self.answers = []

    def add(self, signal, request):
        with self.lock:
            self.requests[signal].append(request)

    def answered(self, status):
        with self.lock:
            self.answers.append(status)

    def found(self, problem):
        with self.lock:
            self.problems.append(problem)

    def items(self, signal):
        with self.lock:
            requests = list(self.requests[signal])
        return [item for request in requests for item in walk(signal, request)]

    def count(self, signal):
        return len(self.items(signal))

    def span_ids(self):
        return [(span.trace_id.hex(), span.span_id.hex()) for _, _, span, _ in self.items("traces")]

    def contents(self, signal):
        with self.lock:
            requests = list(self.requests[signal])
        return sorted(item for request in requests for item in contents(signal, request))


class OtlpGrpc(Taken):
    """OTLP over gRPC. The first call of all is answered UNAVAILABLE: a sender tries again."""

    def __init__(self):
        super().__init__()
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        for signal, service in SERVICES.items():
            handler = grpc.unary_unary_rpc_method_handler(
                lambda request, context, signal=signal: self.call(signal, request, context),
                request_deserializer=REQUESTS[signal].FromString,
                response_serializer=RESPONSES[signal].SerializeToString,
            )
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def call(self, signal, request, context):
        with self.lock:
            first = not self.answers
            self.answers.append(14 if first else 0)
        if first:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        self.add(signal, request)
        return RESPONSES[signal]()

    def stop(self):
        self.server.stop(None).wait()


class Http(Taken):
    """A server with a thread for each connection; `post` of a subclass answers (status, headers, body)."""

    def __init__(self):
        super().__init__()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {k.lower(): v for k, v in self.headers.items()}
                try:
                    status, more, body = outer.post(self.path, headers, raw)
                except Exception as error:  # Whatever goes wrong here is what the run must report.
                    outer.found(f"{self.path}: {type(error).__name__}: {error}")
                    status, more, body = 400, {}, b""
                outer.answered(status)
                self.answer(status, more, body)

            def do_GET(self):
                self.answer(*outer.get(self.path))

            def answer(self, status, more, body):
                self.send_response(status)
                for key, value in more.items():
                    self.send_header(key, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def get(self, _path):
        return 404, {}, b""

    def post(self, _path, _headers, _raw):
        return 404, {}, b""

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class OtlpHttp(Http):
    """OTLP over HTTP, protobuf and JSON. The second request is answered 503 with a delay."""

    arrived = 0

    def post(self, path, headers, raw):
        signal = path.removeprefix("/v1/")
        if signal not in REQUESTS:
            self.found(f"unknown path {path}")
            return 404, {}, b""
        with self.lock:
            self.arrived += 1
            second = self.arrived == 2
        if second:
            return 503, {"retry-after": "1"}, b""
        encoding = headers.get("content-encoding", "identity")
        body = gzip.decompress(raw) if encoding == "gzip" else raw
        kind = headers.get("content-type")
        if kind == "application/json":
            request = parse_json(signal, body)
        elif kind == "application/x-protobuf":
            request = parse(signal, body)
        else:
            raise ValueError(f"content-type {kind}")
        self.add(signal, request)
        return 200, {"content-type": kind}, b"{}" if kind == "application/json" else b""


class Pages(Http):
    """Serves recorded Prometheus pages, one after another; the last one again and again."""

    def __init__(self, pages):
        super().__init__()
        self.pages = pages
        self.served = 0

    def get(self, path):
        if path != "/metrics/prometheus":
            return 404, {}, b""
        with self.lock:
            page = self.pages[min(self.served, len(self.pages) - 1)]
            self.served += 1
        return 200, {"content-type": "text/plain; version=0.0.4; charset=utf-8"}, page


# The number on Linux; the module `socket` has no name for it.
SO_RCVBUFFORCE = 33
# What the Agent's own parser lets through unchanged, from the datagram format and the naming rules of its documentation.
NUMBER = r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
LINE = re.compile(
    rf"(?P<name>[A-Za-z][A-Za-z0-9_.]{{0,199}}):(?P<values>{NUMBER}(?::{NUMBER})*)\|(?P<type>c|g|h|d|ms)(?P<fields>(?:\|[^|]+)*)"
)
TAG = re.compile(r"[^\W\d_][\w\-:./]*|host:")


class DogStatsd(Taken):
    """A UDP port that takes only what is DogStatsD by its documentation."""

    def __init__(self):
        super().__init__()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            # Beyond what the system allows to all: a burst must not be lost here and blamed on the sender.
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.2)
        self.port = self.socket.getsockname()[1]
        self.packets = []
        self.going = True
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        while self.going:
            try:
                packet = self.socket.recv(65536)
            except TimeoutError:
                continue
            with self.lock:
                self.packets.append(packet)

    def stop(self):
        self.going = False
        self.thread.join()
        self.socket.close()

    def lost(self):
        """How many packets the system threw away because nobody read them in time."""
        rows = (line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:])
        return sum(int(row[-1]) for row in rows if row[1].endswith(f":{self.port:04X}"))

    def lines(self):
        """(name, values, type, rate, tags) of every message; whatever is not one is a problem."""
        with self.lock:
            packets = list(self.packets)
            self.problems = []
        parsed = []
        for packet in packets:
            if len(packet) > 1432:
                self.found(f"a packet of {len(packet)} bytes")
            for line in packet.decode("utf-8").removesuffix("\n").split("\n"):
                try:
                    parsed.append(parse_line(line))
                except ValueError as error:
                    self.found(f"{error}: {line!r}")
        return parsed


def parse_line(line):
    match = LINE.fullmatch(line)
    if not match:
        raise ValueError("no message")
    rate, tags, seen = 1.0, [], set()
    for field in match["fields"].split("|")[1:]:
        if field[0] in seen:
            raise ValueError(f"two fields {field[0]}")
        seen.add(field[0])
        if field[0] == "@":
            rate = float(field[1:])
            if not 0 < rate <= 1:
                raise ValueError("rate")
        elif field[0] == "#":
            tags = field[1:].split(",")
            for tag in tags:
                if not TAG.fullmatch(tag) or len(tag) > 200 or (tag.endswith(":") and tag != "host:"):
                    raise ValueError(f"tag {tag!r}")
        elif field[0] != "T" or not field[1:].isdigit() or match["type"] not in "cg":
            raise ValueError(f"field {field!r}")
    return match["name"], [float(v) for v in match["values"].split(":")], match["type"], rate, tags
