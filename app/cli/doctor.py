"""Tell what this machine can do, and what would spoil a measurement on it."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the environment and the checks as JSON")


def execute(arguments: argparse.Namespace) -> int:
    import msgspec

    from app.cli.tables import environment_lines, table
    from app.wiring.parts import inspect_machine

    environment, checks = inspect_machine()
    if arguments.json:
        document = msgspec.json.encode({"environment": environment, "checks": checks})
        print(msgspec.json.format(document, indent=2).decode())
        return 0
    for line in environment_lines(environment):
        print(line)
    print()
    rows = [(check.verdict, check.check, check.value, check.unit, check.hint) for check in checks]
    print(table(("verdict", "check", "value", "unit", "what to do"), rows))
    return 0
