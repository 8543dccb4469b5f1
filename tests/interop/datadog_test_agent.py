#!/usr/bin/env python3
"""Starts Datadog's test Agent with its checks on, runs a command against it, and fails if a check failed.

    datadog_test_agent.py [--agent ddapm-test-agent] [--expect-spans N] -- COMMAND...

The command finds the URL of the Agent in MUXBRIDGE_DD_TEST_AGENT and DD_TRACE_AGENT_URL, and the path of its unix
socket in MUXBRIDGE_DD_TEST_AGENT_SOCKET. For example:

    datadog_test_agent.py -- cargo test -p muxbridge-exporter-datadog --test it agent

The Agent is the package `ddapm-test-agent` of the Python Package Index; --agent or DDAPM_TEST_AGENT says where it is.
Ports are chosen by the system. Exit codes: that of the command, 1 for a failed check, 2 if the Agent does not start.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

# Without a list the Agent checks nothing but types.
CHECKS = "trace_count_header,meta_tracer_version_header,trace_content_length,meta_events_is_valid_json"


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


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def wait_until_up(agent, url, deadline):
    while time.monotonic() < deadline:
        if agent.poll() is not None:
            return False
        try:
            get(url + "/info")
            return True
        except OSError:
            time.sleep(0.1)
    return False


def failed_checks(url):
    """What the Agent found wrong so far; an empty text if nothing."""
    try:
        get(url + "/test/trace_check/failures")
    except urllib.error.HTTPError as error:
        return error.read().decode(errors="replace") or str(error)
    return ""


def spans_of(url):
    """Every span that the Agent took, as it reads it."""
    return [span for trace in json.loads(get(url + "/test/session/traces")) for span in trace]


def check(url, expected_spans):
    failures, spans = failed_checks(url), spans_of(url)
    print(f"test Agent: {len(spans)} spans")
    if failures:
        print(f"test Agent: failed checks:\n{failures}", file=sys.stderr)
        return 1
    if expected_spans is not None and len(spans) != expected_spans:
        print(f"test Agent: {expected_spans} spans were expected", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def running(program):
    """The URL of an Agent that runs until the block ends, and the path of its unix socket; None if it does not start."""
    port, otlp_http, otlp_grpc = free_ports(3)
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as directory:
        log_path = os.path.join(directory, "agent.log")
        apm_socket = os.path.join(directory, "apm.socket")
        env = dict(
            os.environ,
            ENABLED_CHECKS=CHECKS,
            DD_POOL_TRACE_CHECK_FAILURES="true",
            DISABLE_LLMOBS_DATA_FORWARDING="true",
            SNAPSHOT_CI="0",
            SNAPSHOT_DIR=directory,
            DD_APM_RECEIVER_SOCKET=apm_socket,
        )
        ports = ["--port", str(port), "--otlp-http-port", str(otlp_http), "--otlp-grpc-port", str(otlp_grpc)]
        with open(log_path, "wb") as log:
            agent = subprocess.Popen([program, *ports], env=env, stdout=log, stderr=log)
        try:
            if wait_until_up(agent, url, time.monotonic() + 30):
                yield url, apm_socket
            else:
                with open(log_path, errors="replace") as log:
                    print(log.read()[-2000:], file=sys.stderr)
                yield None
        finally:
            agent.terminate()
            try:
                agent.wait(timeout=10)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default=os.environ.get("DDAPM_TEST_AGENT", "ddapm-test-agent"))
    parser.add_argument("--expect-spans", type=int)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    with running(args.agent) as agent:
        if agent is None:
            return 2
        url, apm_socket = agent
        env = dict(
            os.environ,
            MUXBRIDGE_DD_TEST_AGENT=url,
            MUXBRIDGE_DD_TEST_AGENT_SOCKET=apm_socket,
            DD_TRACE_AGENT_URL=url,
        )
        status = subprocess.run(args.command, env=env, check=False).returncode
        return status or check(url, args.expect_spans)


if __name__ == "__main__":
    sys.exit(main())
