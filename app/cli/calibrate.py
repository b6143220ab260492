"""Find the most this machine's load generator can send on time, and keep it for later runs."""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import TYPE_CHECKING

from app.cli.options import so_many_workers, worker_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.records.calibration import Calibration, CalibrationStep, Ceiling, LoadKind

_UNITS = {"plain": "requests/s", "streaming": "chunks/s"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=worker_count, nargs="+", metavar="N",
                        help="of so many worker processes (default 1, 2, 4… up to one for each core)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the calibration as JSON")


def execute(arguments: argparse.Namespace) -> int:
    import msgspec

    from app.cli.signals import stoppable
    from app.errors import ExitCode
    from app.wiring.calibrating import calibrate_machine, worker_counts

    counts = sorted(set(arguments.workers)) if arguments.workers else worker_counts()
    with stoppable() as interruption:
        calibration = calibrate_machine(counts, interruption, _show_rung)
    if interruption.code is not None:
        return interruption.code
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(calibration), indent=2).decode())
    else:
        print("\n".join(lines(calibration)))
    is_known = all(ceiling.per_s is not None for ceiling in calibration.ceilings)
    return ExitCode.OK if is_known else ExitCode.INVALID


def lines(calibration: Calibration) -> Iterator[str]:
    """The table of ceilings, and what is to be known of them."""
    from app.analysis.generator_checks import CEILING_SHARE
    from app.cli.tables import table

    ceilings = sorted(calibration.ceilings, key=lambda one: (one.kind, one.workers))
    rows = [
        (one.kind, one.workers, _at_least(one), None if one.per_s is None else CEILING_SHARE * one.per_s,
         _UNITS[one.kind], _best(one, "lag_p99_ms"), _best(one, "worker_cpu_cores"))
        for one in ceilings
    ]  # fmt: skip
    yield table(("load", "workers", "ceiling", "can vouch for", "unit", "lag p99 ms", "cores of a worker"), rows)
    yield ""
    kept = "; kept for runs of the next 24 hours" if calibration.lasting().ceilings else ""
    yield f"pacing by {calibration.pacing}, {calibration.event_loop}{kept}"
    yield from _notes(ceilings)


def _notes(ceilings: list[Ceiling]) -> Iterator[str]:
    for fewer, more in pairwise(ceilings):
        is_told_below = more.disturbed_by_cores is not None
        if fewer.kind == more.kind and not is_told_below and (more.per_s or 0.0) < (fewer.per_s or 0.0):
            yield (
                f"note: {more.workers} workers keep up with less than {fewer.workers} here ({more.kind}): the null "
                "server shares the cores with them, as an endpoint on this machine would"
            )
    if any(one.is_at_least for one in ceilings):
        yield (
            "note: ≥ means that the null server, the highest rate tried or other work on this machine was the limit, "
            "and not the workers"
        )
    yield from _disturbances(ceilings)
    if any(one.per_s is None and one.disturbed_by_cores is None for one in ceilings):
        yield "note: n/a means that not even the lowest rate was kept up with: stop other work on this machine"


def _disturbances(ceilings: list[Ceiling]) -> Iterator[str]:
    for one in ceilings:
        if one.disturbed_by_cores is not None:
            yield (
                f"note: {one.kind}, {so_many_workers(one.workers)}: other processes used {one.disturbed_by_cores:.1f} "
                "cores: not kept; end them and calibrate again"
            )


def _at_least(ceiling: Ceiling) -> str | None:
    if ceiling.per_s is None:
        return None
    return f"{'≥ ' if ceiling.is_at_least else ''}{ceiling.per_s:,.0f}"


def _best(ceiling: Ceiling, field: str) -> float | None:
    """Of the rung that the ceiling is."""
    held: list[CalibrationStep] = [rung for rung in ceiling.rungs if rung.held and rung.achieved_per_s == ceiling.per_s]
    value: float | None = getattr(held[0], field) if held else None
    return value


def _show_rung(kind: LoadKind, workers: int, rung: CalibrationStep) -> None:
    import sys

    sent_by = so_many_workers(workers)
    outcome = "kept up" if rung.held else "did not keep up"
    late = f"{100 * rung.late_share:.3g} % late"
    if rung.is_disturbed and not rung.held:
        late += f", other processes used {rung.other_cores:.1f} cores"
    print(f"{kind}, {sent_by}: {outcome} with {rung.offered_per_s:,.0f} {_UNITS[kind]} ({late})", file=sys.stderr)
