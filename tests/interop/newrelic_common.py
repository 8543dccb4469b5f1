"""What the interop scripts about New Relic share: a running muxbridge, a recording server, OTLP/JSON."""

import contextlib
import gzip
import http.server
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

LICENSE_KEY = "0123456789abcdef0123456789abcdefFFFFNRAL"


def free_ports(count):
    """Ports that nobody uses now; all are held until all are known, so that they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def wait_until(check, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            found = check()
            if found:
                return found
        time.sleep(0.1)
    raise TimeoutError(f"{what}: not within {seconds} seconds")


def post(url, body, content_type="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": content_type}, method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.status, answer.read()


def get_json(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.loads(answer.read())


@contextlib.contextmanager
def process(command, log_path, env=None):
    """A child process that is gone afterwards, with its output in a file."""
    with open(log_path, "wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=env)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def muxbridge(binary, exporter, processors=(), receivers=None):
    """A muxbridge with one exporter of kind `newrelic`; yields the URL for OTLP/HTTP. More receivers are for metrics.

    It is stopped when the block ends, and drains what it holds before.
    """
    port, grpc, admin = free_ports(3)
    more = receivers or {}
    pipeline = {"receivers": ["otlp"], "processors": list(processors), "exporters": ["newrelic"]}
    config = {
        "receivers": {
            "otlp": {
                "protocols": {
                    "http": {"endpoint": f"127.0.0.1:{port}"},
                    "grpc": {"endpoint": f"127.0.0.1:{grpc}"},
                }
            },
            **more,
        },
        "processors": {name: {} for name in processors},
        "exporters": {"newrelic": dict(exporter, license_key=LICENSE_KEY)},
        "service": {
            "pipelines": {
                "traces": pipeline,
                "metrics": dict(pipeline, receivers=["otlp", *more]),
                "logs": pipeline,
            }
        },
    }
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "muxbridge.yaml")
        with open(path, "w") as file:
            # YAML is a superset of JSON.
            json.dump(config, file)
        log = os.path.join(directory, "muxbridge.log")
        env = dict(os.environ, METRICS_PORT=str(admin))
        with process([binary, "run", "--config", path], log, env) as child:
            try:

                def listening():
                    if child.poll() is not None:
                        raise RuntimeError("muxbridge has ended")
                    with socket.create_connection(("127.0.0.1", port), timeout=1):
                        return True

                wait_until(listening, 20, "muxbridge")
                yield f"http://127.0.0.1:{port}"
            except Exception:
                with open(log, errors="replace") as file:
                    print(file.read()[-3000:], file=sys.stderr)
                raise


class Recorder(http.server.ThreadingHTTPServer):
    """Answers as New Relic's APIs do and keeps what it got, by path: headers and parsed JSON."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RecorderHandler)
        self.got = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class RecorderHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {key.lower(): value for key, value in self.headers.items()}
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.got.setdefault(self.path, []).append((headers, json.loads(body)))
        event = self.path == "/v1/accounts/events"
        answer = b'{"success":true,"uuid":"1"}' if event else b'{"requestId":"1"}'
        self.send_response(200 if event else 202)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def attributes(values):
    """OTLP/JSON attributes of a dictionary of scalars."""

    def value(v):
        if isinstance(v, bool):
            return {"boolValue": v}
        if isinstance(v, int):
            return {"intValue": str(v)}
        if isinstance(v, float):
            return {"doubleValue": v}
        return {"stringValue": v}

    return [{"key": key, "value": value(v)} for key, v in values.items()]
