"""`runs trend`: the headline metrics of one profile's runs over time."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.analysis.series import Series
    from app.cli.tables import Cell
    from app.cli.verbs import Verbs
    from app.records.result import Result


def add_verbs(verbs: Verbs) -> None:
    trend = verbs.add_parser("trend", help="the metrics of one profile's runs over time, and where they changed")
    trend.add_argument("name", nargs="?", help="of a profile (default: that of the last run)")
    trend.add_argument("--metric", help="only this one, like latency_ms.p95")
    trend.add_argument("--json", action="store_true", help="print as JSON, with each run's value")
    trend.set_defaults(act=_trend)


def _trend(arguments: argparse.Namespace) -> int:
    from app.analysis.series import comparable_runs, series_of
    from app.analysis.trend import FEWEST

    named = _runs_of(arguments.name)
    runs = comparable_runs(named)
    found = [one for one in series_of(runs) if arguments.metric in (None, _metric(one))]
    if not found:
        what, whose = arguments.metric or "any metric", arguments.name or "that profile"
        raise UsageError(f"{len(runs)} runs of {whose} tell nothing of {what}")
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return 0
    from app.cli.tables import table

    left_out = len(named) - len(runs)
    others = f"; {left_out} left out: INVALID, or of another machine or workload" if left_out else ""
    print(f"{runs[-1].name}: {len(runs)} runs, {runs[0].run_id} to {runs[-1].run_id}{others}")
    print(table(("metric", "stage", "runs", "first", "last", "unit", "changed"), [_row(one) for one in found]))
    if len(runs) < FEWEST:
        print(f"A change of level is told from {FEWEST} runs on.")
    return 0


def _runs_of(name: str | None) -> list[Result]:
    """By time. Raises UsageError where there are none."""
    from app.storage.run_directory import stored_runs

    results = []
    for run in stored_runs():
        try:
            result = run.result
        except UsageError:  # one damaged run hides no other
            continue
        if result is not None:
            results.append(result)
    results.sort(key=lambda one: one.clock.wall_start)
    wanted = name or (results[-1].name if results else None)
    found = [one for one in results if one.name == wanted]
    if not found:
        names = ", ".join(sorted({one.name for one in results}))
        raise UsageError(
            f"there is no run of {wanted}" if wanted else "there is no run yet",
            hint=f"There are runs of {names}." if names else "`sizewise quickstart` makes the first.",
        )
    return found


def _row(series: Series) -> tuple[Cell, ...]:
    changed = "; ".join(_change(series, place) for place in range(len(series.changes)))
    first, last = series.values[0], series.values[-1]
    return _metric(series), series.stage, len(series.values), first, last, series.unit, changed or "no"


def _change(series: Series, place: int) -> str:
    """As in "+12 % since 20260102-120000-scores-1f2a (worse)"."""
    change = series.changes[place]
    is_better = (change.ratio < 1) == (series.better == "lower")
    return (
        f"{100 * (change.ratio - 1):+.0f} % since {series.run_ids[change.place]} ({'better' if is_better else 'worse'})"
    )


def _metric(series: Series) -> str:
    return series.metric if series.aggregate is None else f"{series.metric}.{series.aggregate.replace('_', '.')}"
