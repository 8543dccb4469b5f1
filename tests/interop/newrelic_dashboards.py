#!/usr/bin/env python3
"""Checks the dashboard and the alert conditions against the types of New Relic's NerdGraph: unknown and missing fields,
words of enumerations, types of scalars.

    newrelic_dashboards.py [--directory dashboards/newrelic]

Needs the package `newrelic-sb-sdk` of the Python Package Index, which is generated from NerdGraph's schema. Exit codes: 0 if
both fit, 1 if not, 77 without the package.
"""

import argparse
import json
import os
import sys

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", default=os.path.join(ROOT, "dashboards", "newrelic"))
    args = parser.parse_args()
    try:
        from newrelic_sb_sdk.graphql import enums, input_objects, nerdgraph  # noqa: F401
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
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"NerdGraph: a dashboard and {len(alerts['conditions'])} conditions checked, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
