"""Measure the max rate that the load generator of this machine can send on time, and store it for
later runs."""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import TYPE_CHECKING

from app.cli.options import format_worker_count, parse_worker_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.records.calibration import Calibration, CalibrationStep, LoadKind, MeasuredCapacity

_UNITS = {"plain": "req/s", "streaming": "chunks/s"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=parse_worker_count, nargs="+", metavar="N",
                        help="numbers of worker processes to calibrate (default: 1, 2, 4 … up to one per "
                        "core)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the calibration as JSON")


def execute(arguments: argparse.Namespace) -> int:
    import msgspec

    from app.cli.signals import handle_stop_signals
    from app.errors import ExitCode
    from app.wiring.calibrating import calibrate_machine, list_worker_counts

    counts = sorted(set(arguments.workers)) if arguments.workers else list_worker_counts()
    with handle_stop_signals() as interruption:
        calibration = calibrate_machine(counts, interruption, _show_step)
    if interruption.code is not None:
        return interruption.code
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(calibration), indent=2).decode())
    else:
        print("\n".join(format_calibration(calibration)))
    is_known = all(ceiling.per_s is not None for ceiling in calibration.capacities)
    return ExitCode.OK if is_known else ExitCode.INVALID


def format_calibration(calibration: Calibration) -> Iterator[str]:
    """Yield the lines of a calibration: the table of generator capacities, and notes about them."""
    from app.analysis.generator_checks import MAX_UTILIZATION
    from app.cli.tables import format_table

    ceilings = sorted(calibration.capacities, key=lambda ceiling: (ceiling.kind, ceiling.workers))
    rows = [
        (ceiling.kind, ceiling.workers, _capacity_text(ceiling),
         None if ceiling.per_s is None else MAX_UTILIZATION * ceiling.per_s, _UNITS[ceiling.kind],
         _limiting_step_field(ceiling, "lag_p99_ms"), _limiting_step_field(ceiling, "worker_cpu_cores"))
        for ceiling in ceilings
    ]  # fmt: skip
    yield format_table(
        ("load", "workers", "capacity", "usable rate", "unit", "p99 send delay ms", "cores per worker"), rows
    )
    yield ""
    stored_note = "; stored and used for 24 hours" if calibration.without_disturbed().capacities else ""
    yield f"pacing: {calibration.pacing}, event loop: {calibration.event_loop}{stored_note}"
    yield from _notes(ceilings)


def _notes(capacities: list[MeasuredCapacity]) -> Iterator[str]:
    for smaller, larger in pairwise(capacities):
        is_disturbed = larger.disturbed_by_cores is not None
        if smaller.kind == larger.kind and not is_disturbed and (larger.per_s or 0.0) < (smaller.per_s or 0.0):
            yield (
                f"note: {larger.workers} workers have a lower capacity than {smaller.workers} here ({larger.kind}), "
                "because the "
                "no-op server uses the same cores, as an endpoint on this machine would"
            )
    if any(ceiling.is_lower_bound for ceiling in capacities):
        yield (
            "note: ≥ marks a lower bound: the limit was the no-op server, the highest tested rate or other load on "
            "this "
            "machine, not the workers"
        )
    yield from _disturbances(capacities)
    if any(ceiling.per_s is None and ceiling.disturbed_by_cores is None for ceiling in capacities):
        yield "note: n/a means that the lowest rate was already too high. Stop other work on this machine."


def _disturbances(capacities: list[MeasuredCapacity]) -> Iterator[str]:
    for ceiling in capacities:
        if ceiling.disturbed_by_cores is not None:
            yield (
                f"note: {ceiling.kind}, {format_worker_count(ceiling.workers)}: other processes used "
                f"{ceiling.disturbed_by_cores:.1f} cores. The result was not stored. Stop them and calibrate again."
            )


def _capacity_text(capacity: MeasuredCapacity) -> str | None:
    if capacity.per_s is None:
        return None
    return f"{'≥ ' if capacity.is_lower_bound else ''}{capacity.per_s:,.0f}"


def _limiting_step_field(capacity: MeasuredCapacity, field: str) -> float | None:
    """Return a field of the calibration step that determined the capacity; `None` if no step
    passed."""
    steps: list[CalibrationStep] = [
        step for step in capacity.steps if step.passed and step.achieved_per_s == capacity.per_s
    ]
    value: float | None = getattr(steps[0], field) if steps else None
    return value


def _show_step(kind: LoadKind, workers: int, step: CalibrationStep) -> None:
    import sys

    sent_by = format_worker_count(workers)
    outcome = "kept up" if step.passed else "did not keep up"
    late = f"{100 * step.late_share:.3g} % late"
    if step.is_disturbed and not step.passed:
        late += f", other processes used {step.other_cores:.1f} cores"
    print(f"{kind}, {sent_by}: {outcome} at {step.offered_per_s:,.0f} {_UNITS[kind]} ({late})", file=sys.stderr)
