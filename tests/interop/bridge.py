"""The run itself: starts both ends and the bridge, feeds it, and waits until every count agrees. Started by `run`."""

import argparse
import collections
import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml

import datadog_test_agent
from feed import CORPUS, Feed
from newrelic import KEY, NewRelic
from receivers import DogStatsd, OtlpGrpc, OtlpHttp, Pages

WORK = Path(__file__).resolve().parent.parent.parent / "target" / "interop" / "run"
SETTLE_SECONDS = 90
SIGNALS = ("traces", "metrics", "logs")
# Exporters by signal. The Datadog exporter and StatsD do not take everything.
PIPELINES = {
    "traces": ["otlp", "otlphttp", "otlphttp/json", "datadog", "newrelic", "newrelic/trace", "newrelic/zipkin"],
    "metrics": ["otlp", "otlphttp", "otlphttp/json", "datadog", "statsd", "newrelic"],
    "logs": ["otlp", "otlphttp", "otlphttp/json", "newrelic"],
}
# What may be dropped, and why it is right. Everything else that is dropped fails the run.
ALLOWED_DROPS = set()
# On the recorded pages, and nothing that the translation touches.
FOREIGN_COUNTER = "python_gc_objects_collected_total"
SAMPLE = re.compile(r"(\w+)\{(.*)\} (\d+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def scrape(program):
    """Whether the program has the receiver `prometheus`: the one place that switches the recorded pages on."""
    listed = json.loads(subprocess.run([program, "components", "--json"], check=True, capture_output=True).stdout)
    return any(c["kind"] == "receivers" and c["name"] == "prometheus" for c in listed)


class Ends:
    """Everything that receives, and the server of pages."""

    def __init__(self, stack, agent_url):
        self.grpc, self.http, self.json, self.newrelic = OtlpGrpc(), OtlpHttp(), OtlpHttp(), NewRelic()
        self.newrelic_trace, self.newrelic_zipkin = NewRelic(), NewRelic()
        self.statsd, self.agent_statsd = DogStatsd(), DogStatsd()
        self.pages = Pages([p.read_bytes() for p in sorted(CORPUS.glob("run1/prom_a_*_text.txt"))])
        self.agent_url = agent_url
        for end in self.all():
            stack.callback(end.stop)

    def all(self):
        return [
            self.grpc, self.http, self.json, self.newrelic, self.newrelic_trace, self.newrelic_zipkin, self.statsd,
            self.agent_statsd, self.pages,
        ]  # fmt: skip

    def agent_spans(self):
        return datadog_test_agent.spans_of(self.agent_url)

    def counts(self):
        """(exporter, signal) -> items there, where items can be counted one by one."""
        found = {}
        for name, end in (("otlp", self.grpc), ("otlphttp", self.http), ("otlphttp/json", self.json)):
            found.update({(name, s): end.count(s) for s in SIGNALS})
        found.update({("newrelic", s): self.newrelic.count(s) for s in SIGNALS})
        found["newrelic/trace", "traces"] = len(self.newrelic_trace.api_spans)
        found["newrelic/zipkin", "traces"] = len(self.newrelic_zipkin.api_spans)
        found["datadog", "traces"] = len(self.agent_spans())
        return found

    def span_ids(self):
        """(exporter) -> the ids of all spans there."""
        ids = {"otlp": self.grpc, "otlphttp": self.http, "otlphttp/json": self.json, "newrelic": self.newrelic}
        ids = {name: end.span_ids() for name, end in ids.items()}
        ids["newrelic/trace"] = self.newrelic_trace.api_spans
        ids["newrelic/zipkin"] = self.newrelic_zipkin.api_spans
        ids["datadog"] = [(s["meta"]["otel.trace_id"], f"{s['span_id']:016x}") for s in self.agent_spans()]
        return ids


def configuration(ends, ports, with_scrape):
    quick = {"retry_on_failure": {"initial_interval": "200ms"}, "sending_queue": {"batch": {"flush_timeout": "100ms"}}}
    newrelic = {"license_key": KEY, **quick}
    receivers = {
        "otlp": {
            "protocols": {
                "grpc": {"endpoint": f"127.0.0.1:{ports['grpc']}"},
                "http": {"endpoint": f"127.0.0.1:{ports['http']}"},
            }
        }
    }
    metrics_from = ["otlp"]
    if with_scrape:
        receivers["prometheus"] = {"targets": [f"{ends.pages.url}/metrics/prometheus"], "interval": "1s"}
        metrics_from.append("prometheus")
    pipelines = {
        s: {"receivers": metrics_from if s == "metrics" else ["otlp"], "processors": ["modelmuxer"], "exporters": names}
        for s, names in PIPELINES.items()
    }
    return {
        "receivers": receivers,
        "processors": {"modelmuxer": {"quiet": "200ms", "idle": "1s", "max_hold": "4s"}},
        "exporters": {
            "otlp": {"endpoint": f"127.0.0.1:{ends.grpc.port}", "tls": {"insecure": True}, **quick},
            "otlphttp": {"endpoint": ends.http.url, **quick},
            "otlphttp/json": {"endpoint": ends.json.url, "encoding": "json", **quick},
            "datadog": {
                "trace_agent_url": ends.agent_url,
                "dogstatsd_url": f"udp://127.0.0.1:{ends.agent_statsd.port}",
                "env": "interop",
                **quick,
            },
            "statsd": {"endpoint": f"udp://127.0.0.1:{ends.statsd.port}", **quick},
            "newrelic": {"endpoint": ends.newrelic.url, **newrelic},
            "newrelic/trace": {"endpoint": ends.newrelic_trace.url, "mode": "trace_api", **newrelic},
            "newrelic/zipkin": {
                "endpoint": ends.newrelic_zipkin.url, "mode": "trace_api", "trace_format": "zipkin", **newrelic
            },
        },
        "service": {
            "admin": {"endpoint": f"127.0.0.1:{ports['admin']}"},
            "workers": 2,
            "telemetry": {"logs": {"format": "json"}},
            "pipelines": pipelines,
        },
    }  # fmt: skip


class Bridge:
    """The program that is tested."""

    def __init__(self, program, file, admin):
        self.admin = f"http://127.0.0.1:{admin}"
        self.log = (WORK / "bridge.log").open("wb")
        self.process = subprocess.Popen([program, "run", "--config", file], stdout=self.log, stderr=self.log)

    def get(self, path):
        with urllib.request.urlopen(self.admin + path, timeout=5) as answer:
            return answer.read().decode()

    def until_up(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.get("/health")
                return
            time.sleep(0.05)
        raise AssertionError("the bridge did not start; see target/interop/run/bridge.log")

    def samples(self):
        """[(name, labels, value)] of /metrics."""
        lines = (SAMPLE.fullmatch(line) for line in self.get("/metrics").splitlines())
        return [(m[1], dict(LABEL.findall(m[2])), int(m[3])) for m in lines if m]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Counts:
    """One reading of the bridge's own counters."""

    def __init__(self, samples):
        self.samples = samples

    def sum(self, name, **labels):
        return sum(v for n, l, v in self.samples if n == name and labels.items() <= l.items())

    def lane(self, exporter, sig):
        of = {"component": exporter, "signal": sig}
        return {
            "enqueued": self.sum("muxbridge_exporter_enqueued_total", **of),
            "sent": self.sum("muxbridge_exporter_sent_total", **of),
            "dropped": self.sum("muxbridge_dropped_total", **of),
            "omitted": self.sum("muxbridge_omitted_total", **of),
            "queued": self.sum("muxbridge_exporter_queued", **of),
        }

    def dropped(self):
        return [(l, v) for n, l, v in self.samples if n == "muxbridge_dropped_total" and v > 0]

    def expected(self, sig, with_scrape):
        """How many items each destination should have been given of what the receivers took."""
        taken = self.sum("muxbridge_receiver_accepted_total", signal=sig)
        if sig == "metrics" and with_scrape:
            # ModelMuxer's own metrics are the only ones that the translation makes anew and leaves out.
            processor = {"component": "modelmuxer", "signal": sig}
            taken += self.sum("muxbridge_derived_total", **processor)
            taken -= self.sum("muxbridge_omitted_total", **processor)
        return taken


def disagreements(bridge, ends, feed, with_scrape):
    """(everything that does not agree, the rows of the table)."""
    before = ends.counts()
    counts = Counts(bridge.samples())
    there = ends.counts()
    wrong, rows = [], []
    if before != there:
        wrong.append("items are still arriving")
    taken = {s: counts.sum("muxbridge_receiver_accepted_total", component="otlp", signal=s) for s in SIGNALS}
    for sig, sent in (("traces", len(feed.ids.ids)), ("logs", feed.logs)):
        if taken[sig] != sent:
            wrong.append(f"{sig}: {sent} were sent, {taken[sig]} were taken")
    for name in ("muxbridge_receiver_refused_total", "muxbridge_receiver_bad_requests_total"):
        if counts.sum(name):
            wrong.append(f"{name} is {counts.sum(name)}")
    for sig, exporters in PIPELINES.items():
        for exporter in exporters:
            lane = counts.lane(exporter, sig)
            received = there.get((exporter, sig))
            rows.append((exporter, sig, *lane.values(), "-" if received is None else received))
            if lane["enqueued"] != lane["sent"] + lane["dropped"] + lane["omitted"] + lane["queued"]:
                wrong.append(f"{exporter} {sig}: {lane} does not add up")
            if lane["enqueued"] != counts.expected(sig, with_scrape) or lane["queued"]:
                wrong.append(f"{exporter} {sig}: {counts.expected(sig, with_scrape)} are expected: {lane}")
            # What New Relic's exporter makes of spans is in no lane: it is counted when it has arrived.
            made = sum(
                counts.sum("muxbridge_derived_total", component=exporter, signal=sig, rule=rule)
                for rule in ("newrelic.apm_metrics", "newrelic.llm_events")
            )
            if received is not None and received != lane["sent"] + made:
                wrong.append(f"{exporter} {sig}: {lane['sent']} were sent and {made} derived, {received} arrived")
    wrong += [f"dropped: {l} {v}" for l, v in counts.dropped() if l.get("reason") not in ALLOWED_DROPS]
    for exporter, end in (("statsd", ends.statsd), ("datadog", ends.agent_statsd)):
        signal_less = [
            v for n, l, v in counts.samples
            if n == "muxbridge_exporter_requests_total" and l.get("component") == exporter and l.get("outcome") == "sent"
            and l.get("signal", "metrics") == "metrics"
        ]  # fmt: skip
        if sum(signal_less) != len(end.packets):
            lost = f"{end.lost()} were lost on this machine (net.core.rmem_max is too small for them)"
            wrong.append(f"{exporter}: {sum(signal_less)} packets were sent, {len(end.packets)} arrived, {lost}")
    # One more than there are, so that the last page is not only served but also through.
    if with_scrape and (ends.pages.served <= len(ends.pages.pages) or not counts.sum("muxbridge_scrape_up")):
        wrong.append(f"{ends.pages.served} pages were scraped")
    return wrong, rows


def contents(ends, feed, with_scrape):
    """What must hold for what arrived, whenever the counts agree."""
    wrong = []
    sent = collections.Counter(feed.ids.ids)
    for exporter, ids in ends.span_ids().items():
        got = collections.Counter(ids)
        if got != sent:
            wrong.append(f"{exporter}: {len(sent - got)} spans are missing, {len(got - sent)} are new or doubled")
    for sig in SIGNALS:
        binary, text = ends.http.contents(sig), ends.json.contents(sig)
        if binary != text:
            differ = sum(a != b for a, b in zip(binary, text, strict=False))
            wrong.append(f"{sig}: {differ} items differ between protobuf and JSON, of {len(binary)} and {len(text)}")
        if ends.grpc.contents(sig) != binary:
            wrong.append(f"{sig}: gRPC and HTTP received different items")
    for name, end in (("statsd", ends.statsd), ("datadog", ends.agent_statsd)):
        wrong += [f"{name}: {p}" for p in totals_of_lines(end.lines(), feed)]
    wrong += [f"new relic: {p}" for p in totals_of_points(ends.newrelic, feed)]
    if with_scrape:
        wrong += [f"scraped: {p}" for p in last_page(ends)]
    for end in ends.all():
        wrong += [f"{type(end).__name__}: {p}" for p in sorted(set(end.problems))]
    if failed := datadog_test_agent.failed_checks(ends.agent_url):
        wrong.append(f"failed checks of the test Agent:\n{failed}")
    retried = (("413", 413 in ends.newrelic.answers), ("429", 429 in ends.newrelic.answers))
    retried += (("503", 503 in ends.http.answers), ("UNAVAILABLE", 14 in ends.grpc.answers))
    wrong += [f"nobody was answered {status}, so the run proves less than it says" for status, seen in retried if not seen]
    return wrong


def totals_of_lines(lines, feed):
    """The deltas of counters add up to what was counted, the samples of histograms to what was observed."""
    for name, total in feed.counted.items():
        got = sum(sum(values) / rate for n, values, kind, rate, _ in lines if n == name and kind == "c")
        if abs(got - total) > 1e-6:
            yield f"{name} adds up to {got} instead of {total}"
    for name, total in feed.observed.items():
        got = sum(len(values) / rate for n, values, kind, rate, _ in lines if n == name and kind == "d")
        if round(got) != total or abs(got - total) > 1e-3:
            yield f"{name} has {got} samples instead of {total}"


def totals_of_points(newrelic, feed):
    got = collections.Counter()
    for _, _, point, metric in newrelic.items("metrics"):
        data = metric.WhichOneof("data")
        if data == "sum":
            got[metric.name] += point.as_double or point.as_int
        elif data in ("histogram", "exponential_histogram"):
            got[metric.name] += point.count
    for name, total in {**feed.counted, **feed.observed}.items():
        if abs(got[name] - total) > 1e-6:
            yield f"{name} adds up to {got[name]} instead of {total}"


def last_page(ends):
    """The newest value of a counter that is not ModelMuxer's own is the one on the page that was served last."""
    lines = ends.pages.pages[-1].decode().splitlines()
    page = {l.split(" ")[0]: float(l.split(" ")[1]) for l in lines if l.startswith(FOREIGN_COUNTER + "{")}
    newest = {}
    for _, _, point, metric in ends.grpc.items("metrics"):
        if metric.name == FOREIGN_COUNTER:
            labels = ",".join(f'{a.key}="{a.value.string_value}"' for a in point.attributes)
            held = newest.get(labels)
            if held is None or held.time_unix_nano < point.time_unix_nano:
                newest[labels] = point
    arrived = {f"{FOREIGN_COUNTER}{{{labels}}}": p.as_double or float(p.as_int) for labels, p in newest.items()}
    if not page or arrived != page:
        yield f"the last page has {page}, arrived is {arrived}"


def table(rows, feed, ends, with_scrape):
    print(f"sent: {len(feed.ids.ids)} spans, {feed.logs} log records; pages scraped: "
          + (str(ends.pages.served) if with_scrape else "none, the program has no receiver prometheus yet"))  # fmt: skip
    print(f"largest request to New Relic: {max(e.largest for e in (ends.newrelic, ends.newrelic_trace, ends.newrelic_zipkin))} bytes")
    head = ("exporter", "signal", "enqueued", "sent", "dropped", "omitted", "queued", "arrived")
    for row in (head, *rows):
        print(f"{row[0]:<16}{row[1]:<9}" + "".join(f"{value!s:>10}" for value in row[2:]))


def run(program, keep):
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    with_scrape = scrape(program)
    with contextlib.ExitStack() as stack:
        agent = stack.enter_context(datadog_test_agent.running(Path(sys.executable).parent / "ddapm-test-agent"))
        if agent is None:
            return ["the test Agent did not start"]
        agent_url, _ = agent
        ends = Ends(stack, agent_url)
        ports = dict(zip(("grpc", "http", "admin"), datadog_test_agent.free_ports(3), strict=True))
        file = WORK / "bridge.yaml"
        file.write_text(yaml.safe_dump(configuration(ends, ports, with_scrape), sort_keys=False))
        bridge = Bridge(program, file, ports["admin"])
        stack.callback(bridge.end)
        bridge.until_up()
        feed = Feed(f"127.0.0.1:{ports['grpc']}")
        feed.run()
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            wrong, rows = disagreements(bridge, ends, feed, with_scrape)
            if not wrong or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        table(rows, feed, ends, with_scrape)
        wrong += contents(ends, feed, with_scrape)
        code = bridge.terminate()
        if code != 0:
            wrong.append(f"the bridge ended with exit code {code}")
        if after := [l for l in (WORK / "bridge.log").read_text().splitlines() if "panicked" in l]:
            wrong += after
    if not wrong and not keep:
        shutil.rmtree(WORK)
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    wrong = run(args.program, args.keep)
    for problem in wrong:
        print(f"interop: {problem}", file=sys.stderr)
    print("interop: everything agrees" if not wrong else f"interop: {len(wrong)} disagreements; logs in target/interop/run")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
