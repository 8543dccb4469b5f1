#!/usr/bin/env python3
"""Serves recorded pages of ModelMuxer's metrics one after another to muxbridge, which scrapes them, and checks what reaches
New Relic: over OTLP that no request breaks a rule of the stand-in, and at the Metric API that the counts add up to what the
pages counted.

    newrelic_metrics.py [--muxbridge target/debug/muxbridge] [--standin target/debug/examples/newrelic_standin]

Exit codes: 0 if all is right, 1 if not, 2 if something does not start.
"""

import argparse
import collections
import glob
import http.server
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from newrelic_common import Recorder, muxbridge, wait_until  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# A family of the page and what it is called afterwards; nothing of these is left out.
COUNTERS = {
    "modelmuxer_tokens_total": "modelmuxer.tokens",
    "modelmuxer_provider_requests_total": "modelmuxer.provider.requests",
    "modelmuxer_router_requests_total": "modelmuxer.router.decisions",
}


class Pages(http.server.ThreadingHTTPServer):
    """Each request gets the next page; the last one again and again."""

    daemon_threads = True

    def __init__(self, pages):
        super().__init__(("127.0.0.1", 0), Page)
        self.pages, self.served = pages, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Page(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        page = self.server.pages[min(self.server.served, len(self.server.pages) - 1)]
        self.server.served += 1
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


def since_first_seen(pages, family):
    """What the counters of a family grew by, series by series, after the page on which each was first.

    The process is older than the bridge, so the first value of a series is a baseline, also of one that appears later: its
    start time is that of the process, which says nothing about the time since the last page.
    """
    first, last = {}, {}
    for page in pages:
        for line in page.decode().splitlines():
            if line.startswith(family + "{"):
                series, value = line.rsplit(" ", 1)
                first.setdefault(series, float(value))
                last[series] = float(value)
    return sum(last.values()) - sum(first.values())


def scrape(args, pages, exporter):
    server = Pages(pages)
    prometheus = {"targets": [f"http://127.0.0.1:{server.server_port}/metrics/prometheus"], "interval": "1s"}
    with muxbridge(args.muxbridge, exporter, ["modelmuxer"], {"prometheus": prometheus}):
        wait_until(lambda: server.served > len(pages) + 1, 60, "all pages")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--muxbridge", default=os.path.join(ROOT, "target", "debug", "muxbridge"))
    parser.add_argument("--standin", default=os.path.join(ROOT, "target", "debug", "examples", "newrelic_standin"))
    parser.add_argument("--corpus", default=os.path.join(ROOT, "tests", "corpus"))
    args = parser.parse_args()
    pages = []
    for name in sorted(glob.glob(os.path.join(args.corpus, "run1", "prom_a_*_text.txt"))):
        with open(name, "rb") as file:
            pages.append(file.read())
    found = []

    recorder = Recorder()
    scrape(args, pages, {"mode": "native", "endpoint": recorder.url})
    counted = collections.Counter()
    for _, body in recorder.got.get("/metric/v1", []):
        for metric in (metric for block in body for metric in block["metrics"]):
            if metric.get("type") == "count":
                counted[metric["name"]] += metric["value"]
    for family, name in COUNTERS.items():
        expected = since_first_seen(pages, family)
        if not expected or abs(counted[name] - expected) > 1e-6:
            found.append(f"{name} adds up to {counted[name]} instead of {expected}")

    standin = subprocess.Popen([args.standin], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        scrape(args, pages, {"endpoint": standin.stdout.readline().strip()})
        report = json.loads(standin.communicate(timeout=30)[0])
    finally:
        if standin.poll() is None:
            standin.kill()
    found += report["violations"]
    requests = report["requests"].get("/v1/metrics", 0)
    if requests < len(pages) // 2:
        found.append(f"{requests} requests to /v1/metrics")
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"New Relic, metrics: {len(pages)} pages, {requests} requests over OTLP, "
          f"{sum(map(len, recorder.got.values()))} to the Metric API, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (TimeoutError, RuntimeError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
