"""`runs trend`: the headline metrics of one profile's runs over time."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.analysis.series import MetricHistory
    from app.cli.tables import Cell
    from app.cli.verbs import Verbs


def add_verbs(verbs: Verbs) -> None:
    trend = verbs.add_parser("trend", help="the metrics of one profile's runs over time, and where they changed")
    trend.add_argument("name", nargs="?", help="of a profile (default: that of the last run)")
    trend.add_argument("--metric", help="only this one, like latency_ms.p95")
    trend.add_argument("--json", action="store_true", help="print as JSON, with each run's value")
    trend.set_defaults(act=_trend)


def _trend(arguments: argparse.Namespace) -> int:
    from app.analysis.trend import FEWEST
    from app.reporting.trends import metric_name, trend_of

    trend = trend_of(arguments.name)
    runs = trend.runs
    found = [one for one in trend.series if arguments.metric in (None, metric_name(one))]
    if not found:
        what, whose = arguments.metric or "any metric", arguments.name or "that profile"
        raise UsageError(f"{len(runs)} runs of {whose} tell nothing of {what}")
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return 0
    from app.cli.tables import shown, table

    others = f"; {trend.left_out} left out: INVALID, or of another machine or workload" if trend.left_out else ""
    first, last = shown(runs[0].run_id), shown(runs[-1].run_id)  # which may have come from elsewhere
    print(f"{shown(trend.name)}: {len(runs)} runs, {first} to {last}{others}")
    print(table(("metric", "stage", "runs", "first", "last", "unit", "changed"), [_row(one) for one in found]))
    if len(runs) < FEWEST:
        print(f"A change of level is told from {FEWEST} runs on.")
    return 0


def _row(series: MetricHistory) -> tuple[Cell, ...]:
    from app.reporting.trends import change_words, metric_name

    changed = "; ".join(change_words(series, place) for place in range(len(series.changes)))
    first, last = series.values[0], series.values[-1]
    return metric_name(series), series.stage, len(series.values), first, last, series.unit, changed or "no"
