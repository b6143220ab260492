"""Measure the max rate that the load generator of this machine can send on time, and store it.

Later runs use the stored capacity for 24 hours."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from app.cli.commands import Command, CommandOption
from app.cli.options import OutputOptions, format_worker_count, output_options, parse_output, parse_worker_counts
from app.cli.streams import print_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.cli.tables import TableFormat
    from app.records.calibration import Calibration, CalibrationStep, LoadKind, MeasuredCapacity
    from reports.sections.section import Column

_UNITS = {"plain": "req/s", "streaming": "chunks/s"}


def _calibrate(workers: tuple[int, ...] | None, requested_output: OutputOptions) -> int:
    from app.cli.signals import handle_stop_signals
    from app.cli.tables import print_json
    from app.errors import ExitCode
    from app.wiring.calibrating import calibrate_machine, list_worker_counts

    output = parse_output(requested_output)
    worker_counts = sorted(set(workers)) if workers else list_worker_counts()
    with handle_stop_signals() as interruption:
        calibration = calibrate_machine(worker_counts, interruption, _show_step)
    if interruption.code is not None:
        return interruption.code
    if output == "json":
        print_json(calibration)
    else:
        print_whole("\n".join(format_calibration(calibration, output)))
    has_all_capacities = all(capacity.per_s is not None for capacity in calibration.capacities)
    return ExitCode.OK if has_all_capacities else ExitCode.INVALID


def format_calibration(calibration: Calibration, table_format: TableFormat = "table") -> Iterator[str]:
    """Yield the lines of a calibration: the table of generator capacities, and for readers notes
    about them."""
    from app.cli.tables import format_table

    capacities = sorted(calibration.capacities, key=lambda capacity: (capacity.kind, capacity.workers))
    yield format_table(_build_columns(), capacities, table_format)
    if table_format != "table":
        return
    yield ""
    stored_note = "; the results are stored and used for 24 hours" if calibration.drop_disturbed().capacities else ""
    yield f"pacing: {calibration.pacing}, event loop: {calibration.event_loop}{stored_note}"
    yield from _format_notes(capacities)


def _build_columns() -> tuple[Column[MeasuredCapacity], ...]:
    from app.analysis.generator_checks import MAX_UTILIZATION
    from reports.sections.section import Column

    return (
        Column("load", "load", lambda capacity: capacity.kind),
        Column("workers", "workers"),
        Column("", "capacity", _format_capacity),
        Column("capacity_per_s", "", lambda capacity: capacity.per_s),
        Column("is_lower_bound"),
        Column(
            "usable_per_s",
            "usable rate",
            lambda capacity: None if capacity.per_s is None else MAX_UTILIZATION * capacity.per_s,
        ),
        Column("unit", "unit", lambda capacity: _UNITS[capacity.kind]),
        Column("lag_p99_ms", "p99 send delay ms", lambda capacity: _get_limiting_step_field(capacity, "lag_p99_ms")),
        Column(
            "worker_cpu_cores",
            "cores per worker",
            lambda capacity: _get_limiting_step_field(capacity, "worker_cpu_cores"),
        ),
        Column("disturbed_by_cores"),
    )


def _format_notes(capacities: list[MeasuredCapacity]) -> Iterator[str]:
    for capacity, next_capacity in pairwise(capacities):
        is_disturbed = next_capacity.disturbed_by_cores is not None
        if (
            capacity.kind == next_capacity.kind
            and not is_disturbed
            and (next_capacity.per_s or 0.0) < (capacity.per_s or 0.0)
        ):
            yield (
                f"note: {next_capacity.workers} workers have a lower capacity than {capacity.workers} here "
                f"({next_capacity.kind}), "
                "because the no-op server uses the same cores, as an endpoint on this machine would"
            )
    if any(capacity.is_lower_bound for capacity in capacities):
        yield (
            "note: ≥ marks a lower bound: the limit was the no-op server, the highest tested rate or other load on "
            "this machine, not the workers"
        )
    yield from _format_disturbances(capacities)
    if any(capacity.per_s is None and capacity.disturbed_by_cores is None for capacity in capacities):
        yield "note: n/a means that the lowest rate was already too high. Stop other work on this machine."


def _format_disturbances(capacities: list[MeasuredCapacity]) -> Iterator[str]:
    for capacity in capacities:
        if capacity.disturbed_by_cores is not None:
            yield (
                f"note: {capacity.kind}, {format_worker_count(capacity.workers)}: other processes used "
                f"{capacity.disturbed_by_cores:.1f} cores. Runs use the result only while this "
                "machine is busy. Stop these processes and calibrate again."
            )


def _format_capacity(capacity: MeasuredCapacity) -> str | None:
    if capacity.per_s is None:
        return None
    return f"{'≥ ' if capacity.is_lower_bound else ''}{capacity.per_s:,.0f}"


def _get_limiting_step_field(capacity: MeasuredCapacity, field: str) -> float | None:
    """Return the value of one field of the calibration step that determined the capacity; `None` if
    no step passed."""
    steps: list[CalibrationStep] = [
        step for step in capacity.steps if step.passed and step.achieved_per_s == capacity.per_s
    ]
    value: float | None = getattr(steps[0], field) if steps else None
    return value


def _show_step(kind: LoadKind, worker_count: int, step: CalibrationStep) -> None:
    import sys

    workers_text = format_worker_count(worker_count)
    outcome_text = "passed" if step.passed else "failed"
    details_text = f"{100 * step.late_share:.3g} % sent late"
    if step.is_disturbed and not step.passed:
        details_text += f", other processes used {step.other_cores:.1f} cores"
    print(
        f"{kind}, {workers_text}: {outcome_text} at {step.offered_per_s:,.0f} {_UNITS[kind]} ({details_text})",
        file=sys.stderr,
    )


COMMAND = Command(
    "calibrate",
    _calibrate,
    [
        CommandOption(
            ["--workers"],
            type=parse_worker_counts,
            metavar="N,…",
            help="numbers of worker processes to calibrate, such as 1,2,4 (default: 1, 2, 4 … up to one per core)",
        ),
        *output_options("print the calibration as JSON"),
    ],
    documentation=__doc__,
    examples=("sizewise calibrate", "sizewise calibrate --workers 1,2"),
)
