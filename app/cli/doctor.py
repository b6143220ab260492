"""Report what this machine can do, and what would make a measurement on it unreliable."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.records.machine import MachineFacts, MachineNow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the environment and the checks as JSON")


def execute(arguments: argparse.Namespace) -> int:
    import msgspec

    from app.cli.tables import environment_lines, table
    from app.telemetry.machine_now import read_machine_now
    from app.wiring.machine import look_at_machine

    now, facts = read_machine_now(), look_at_machine()
    if arguments.json:
        document = {"environment": facts.environment, "checks": facts.checks, "refused": facts.refused, "now": now}
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
        return 0
    for line in (*environment_lines(facts.environment), *_refused_provider_lines(facts), *_gpu_lines(now)):
        print(line)
    print()
    rows = [(check.verdict, check.name, check.value, check.unit, check.hint) for check in facts.checks]
    print(table(("verdict", "check", "value", "unit", "what to do"), rows))
    return 0


def _refused_provider_lines(facts: MachineFacts) -> list[str]:
    return [f"            not {provider.provider}: {provider.reason}" for provider in facts.refused]


def _gpu_lines(now: MachineNow) -> list[str]:
    from app.cli.tables import shown

    return [
        f"{gpu.source:<12}{shown(gpu.temperature_c)} °C, {shown(gpu.utilisation_percent)} % busy, "
        f"{shown(gpu.memory_gib)} GiB used, {shown(gpu.power_w)} W, {shown(gpu.clock_mhz)} MHz"
        + (f", held back by {', '.join(gpu.throttled_by)}" if gpu.throttled_by else "")
        for gpu in now.gpus
    ]
