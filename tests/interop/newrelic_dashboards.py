#!/usr/bin/env python3
"""Checks the dashboard and the alert conditions against the types of New Relic's NerdGraph: unknown and missing fields,
words of enumerations, types of scalars. And what `muxbridge newrelic` posts: the mutations, their arguments and what they ask
back.

    newrelic_dashboards.py [--directory dashboards/newrelic] [--muxbridge target/debug/muxbridge]

Needs the package `newrelic-sb-sdk` of the Python Package Index, which is generated from NerdGraph's schema. Exit codes: 0 if
both fit, 1 if not, 77 without the package.
"""

import argparse
import http.server
import json
import os
import re
import subprocess
import sys
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCALARS = {
    "Int": int, "Float": (int, float), "String": str, "Boolean": bool, "ID": str, "Nrql": str, "Seconds": int,
    "EntityGuid": str,
}


def is_input(of_type):
    from sgqlc.types import Input

    return isinstance(of_type, type) and issubclass(of_type, Input)


def mistakes(name, value, path, types, enums, found):
    """What keeps `value` from being a `name`, written as in GraphQL: `[Int!]!`."""
    required = name.endswith("!")
    name = name.rstrip("!")
    if value is None:
        if required:
            found.append(f"{path}: is required")
    elif name.startswith("["):
        entries = value if isinstance(value, list) else [value]
        for index, entry in enumerate(entries):
            mistakes(name[1:-1], entry, f"{path}[{index}]", types, enums, found)
    elif is_input(getattr(types, name, None)):
        fields = {field.graphql_name: str(field.type) for field in getattr(types, name)}
        for key in value:
            if key not in fields:
                found.append(f"{path}.{key}: {name} has no such field")
        for key, of_type in fields.items():
            mistakes(of_type, value.get(key), f"{path}.{key}", types, enums, found)
    elif hasattr(getattr(enums, name, None), "__choices__") and value not in getattr(enums, name).__choices__:
        found.append(f"{path}: {value!r} is not in {name}")
    elif name in SCALARS and not isinstance(value, SCALARS[name]):
        found.append(f"{path}: {value!r} is not of type {name}")


class NerdGraph(http.server.BaseHTTPRequestHandler):
    """Answers as if all were well and keeps what it got."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.got.append(body)
        name = re.search(r"\{ (\w+)\(", body["query"])[1]
        entity = {"id": "7", "name": "n"}
        answer = json.dumps({"data": {name: dict(entity, entityResult={"guid": "g", "name": "n"})}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def posted(program):
    """The requests of both subcommands."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NerdGraph)
    server.got = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {"NEW_RELIC_USER_KEY": "NRAK-TEST"}
    for what in ("dashboard", "alerts"):
        options = ["--account", "1234567", "--post", "--endpoint", f"http://127.0.0.1:{server.server_port}/graphql"]
        subprocess.run([program, "newrelic", what, *options], check=True, timeout=30, env=env, stdout=subprocess.DEVNULL)
    server.shutdown()
    return server.got


def mistakes_of_request(request, objects, check):
    """What NerdGraph would say to `mutation ($x: Type!, ..) { field(name: $x, ..) { selection } }`."""
    form = r"mutation \((.*?)\) \{ (\w+)\((.*?)\) \{ (.*) \} \}"
    declared, field, arguments, selection = re.fullmatch(form, request["query"]).groups()
    types = dict(re.findall(r"\$(\w+): ([\w!]+)", declared))
    fields = {f.graphql_name: f for f in objects.RootMutationType}
    if field not in fields:
        return [f"there is no mutation {field}"]
    found = []
    known = {a.graphql_name: str(a.type) for a in fields[field].args.values()}
    given = dict(re.findall(r"(\w+): \$(\w+)", arguments))
    for name, variable in given.items():
        if known.get(name) != types[variable]:
            found.append(f"{field}: {name} is {known.get(name)}, not {types[variable]}")
        found += check(types[variable], request["variables"][variable], f"{field}.{name}")
    found += [f"{field}: {name} is missing" for name, of in known.items() if of.endswith("!") and name not in given]

    def select(of_type, words):
        while words and words[0] != "}":
            word = words.pop(0)
            inner = {f.graphql_name: f.type for f in of_type}
            if word not in inner:
                found.append(f"{field}: {of_type} has no {word}")
            if words and words[0] == "{":
                words.pop(0)
                select(getattr(objects, str(inner[word]).strip("[]!")), words)
        if words:
            words.pop(0)

    select(getattr(objects, str(fields[field].type).strip("[]!")), re.findall(r"\w+|[{}]", selection))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", default=os.path.join(ROOT, "dashboards", "newrelic"))
    parser.add_argument("--muxbridge", default=os.path.join(ROOT, "target", "debug", "muxbridge"))
    args = parser.parse_args()
    try:
        from newrelic_sb_sdk.graphql import enums, input_objects, nerdgraph, objects  # noqa: F401
    except ImportError:
        print("skipped: no newrelic-sb-sdk", file=sys.stderr)
        return 77

    def check(of_type, value, path):
        found = []
        mistakes(of_type, value, path, input_objects, enums, found)
        return found

    with open(os.path.join(args.directory, "dashboard.json")) as file:
        dashboard = json.load(file)
    with open(os.path.join(args.directory, "alerts.json")) as file:
        alerts = json.load(file)
    found = check("DashboardInput!", dashboard, "dashboard")
    found += check("AlertsPolicyInput!", alerts["policy"], "policy")
    for condition in alerts["conditions"]:
        found += check("AlertsNrqlConditionStaticInput!", condition, condition["name"])
    # The check itself must find what is wrong.
    broken = dict(alerts["conditions"][0], bogus=1, enabled="yes", nrql=None)
    if len(check("AlertsNrqlConditionStaticInput!", broken, "broken")) != 3:
        found.append("the check does not find three mistakes that were made on purpose")
    requests = posted(args.muxbridge)
    for request in requests:
        found += mistakes_of_request(request, objects, check)
    if len(requests) != len(alerts["conditions"]) + 2:
        found.append(f"{len(requests)} requests were posted")
    wrong = dict(requests[0], query=requests[0]["query"].replace("guid", "gid").replace("description", "text"))
    if len(mistakes_of_request(wrong, objects, check)) != 2:
        found.append("the check does not find two wrong fields")
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"NerdGraph: a dashboard and {len(alerts['conditions'])} conditions checked, {len(requests)} requests, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
