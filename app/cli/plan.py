"""Plan a fleet from a stored run: size, cost and recommendation for the traffic of its profile."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.cli.tables import Cell
    from app.records.result import Fleet

_SHOWN = 10
_HEADER = ("instances", "offer", "USD/month", "used at peak %", "latency at peak ms", "basis", "risk 0-4", "price of")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory, a run id or its beginning, or 'last'")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="override traffic, plan or target.hardware, e.g. --set traffic.peak=900/s")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def execute(arguments: argparse.Namespace) -> int:
    import msgspec

    from app.cli.tables import table
    from app.reporting import plan_section
    from app.storage.run_directory import find_run
    from app.wiring.parts import wall_now
    from app.wiring.stored_plan import plan_stored_run
    from reports.text import render_plan

    run = find_run(arguments.run)
    plan = plan_stored_run(run, arguments.overrides, wall_now().date())
    verdict = run.result.verdict if run.result else None
    if verdict is not None and verdict.status != "VALID":
        print(f"The measurement is {verdict.status}: {'; '.join(verdict.reasons)}", file=sys.stderr)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(plan), indent=2).decode())
    else:
        print(render_plan(plan_section(plan)))
        print()
        print(table(_HEADER, [_row(fleet) for fleet in plan.offers if fleet.rejected is None][:_SHOWN]))
    return 0


def _row(fleet: Fleet) -> tuple[Cell, ...]:
    used = fleet.utilisation_at_peak.value
    return (
        fleet.instances,
        fleet.offer,
        fleet.usd_per_month.value,
        None if used is None else 100 * used,
        fleet.latency_at_peak.value,
        fleet.basis,
        fleet.risk,
        fleet.price_date,
    )
