"""Headline number of a run beside those of earlier comparable runs: its history and its change
against the baseline or the previous run.

Whether a change is better or worse is decided as in a comparison of the two runs. A change that is
not larger than the usual change from run to run is inconclusive, even if the intervals of both runs
are narrow: the standard deviation between runs is estimated from the median moving range, as in a
control chart of individual values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median

import msgspec

from app.analysis.comparisons.comparison import TOLERANCE, evaluate_changes
from app.analysis.comparisons.metric_pairs import MetricPair
from app.analysis.comparisons.repeats import Repeats
from app.records.comparison import ChangeVerdict
from app.records.estimate import Estimate
from app.reporting.quantities import build_quantity
from app.reporting.run_rows import RunRow
from reports.formatting import THIN_SPACE
from reports.sections.comparison import format_effect

MAX_VALUES = 20
_MIN_EARLIER_VALUES = 5
_MEDIAN_MOVING_RANGE = 0.9539
"""Median of the absolute difference of two independent values with a standard deviation of 1."""
_DIFFERENCE_FACTOR = 1.96 * math.sqrt(2)


class RunHistory(msgspec.Struct, frozen=True):
    """Headline numbers of a run and of the comparable runs before it.

    `reference` is the run that it is compared with: the baseline of its profile if that is
    comparable and earlier, or else the previous comparable run; `None` without an earlier run.
    """

    values: tuple[float, ...]
    """At most `MAX_VALUES` numbers, oldest first. The last is that of the run."""
    reference: RunRow | None = None
    is_baseline: bool = False


class RunChange(msgspec.Struct, frozen=True):
    """Change of the headline number of a run against its reference run. `ratio` is the number
    divided by that of the reference."""

    ratio: Estimate
    verdict: ChangeVerdict
    reference: RunRow
    is_baseline: bool


def build_run_histories(rows: Iterable[RunRow], baseline_directories: Mapping[str, str]) -> dict[str, RunHistory]:
    """Return the history of each run with a reliable headline number, by directory.
    `baseline_directories` maps profile names to the directories of promoted runs."""
    rows_by_key: dict[tuple[str, str, str | None, str, str], list[RunRow]] = {}
    for row in rows:
        if row.number is not None and row.comparability_key is not None and row.verdict in ("VALID", "WARN"):
            number = row.number
            key = row.comparability_key, number.metric, number.aggregate, number.unit, number.stage
            rows_by_key.setdefault(key, []).append(row)
    histories: dict[str, RunHistory] = {}
    for comparable_rows in rows_by_key.values():
        comparable_rows.sort(key=lambda row: row.started_at or "")
        histories.update(_build_group_histories(comparable_rows, baseline_directories))
    return histories


def _build_group_histories(
    rows: Sequence[RunRow], baseline_directories: Mapping[str, str]
) -> Iterable[tuple[str, RunHistory]]:
    values = [row.number.estimate.value or 0.0 for row in rows if row.number is not None]
    baseline_directory = baseline_directories.get(rows[0].name or "")
    baseline: RunRow | None = None
    for index, row in enumerate(rows):
        reference = baseline or (rows[index - 1] if index else None)
        recent_values = tuple(values[max(0, index + 1 - MAX_VALUES) : index + 1])
        yield row.directory, RunHistory(recent_values, reference, is_baseline=baseline is not None)
        if row.directory == baseline_directory:
            baseline = row


def compute_run_change(row: RunRow, history: RunHistory) -> RunChange | None:
    """Compare the headline number of a run with that of its reference run; `None` without a
    reference run, or if a number is only a lower bound."""
    number, reference = row.number, history.reference
    if number is None or reference is None or reference.number is None or number.is_bound or reference.number.is_bound:
        return None
    pair = MetricPair(
        metric=number.metric,
        aggregate=number.aggregate,
        unit=number.unit,
        better=number.better,
        stage=number.stage,
        is_headline=True,
        repeats=Repeats((reference.number.estimate,), (number.estimate,)),
    )
    (change,) = evaluate_changes([pair], TOLERANCE)
    verdict = change.verdict
    if verdict in ("better", "worse") and _is_within_noise(change.ratio.value, history.values[:-1]):
        verdict = "inconclusive"
    return RunChange(change.ratio, verdict, reference, history.is_baseline)


def _is_within_noise(ratio: float | None, earlier_values: Sequence[float]) -> bool:
    positive_values = [value for value in earlier_values if value > 0]
    if not ratio or len(positive_values) < _MIN_EARLIER_VALUES:
        return False
    ranges = [abs(later - earlier) for earlier, later in pairwise(map(math.log, positive_values))]
    return abs(math.log(ratio)) <= _DIFFERENCE_FACTOR * median(ranges) / _MEDIAN_MOVING_RANGE


_VERDICT_TEXTS: dict[ChangeVerdict, str] = {
    "better": "better", "worse": "worse", "same": "same", "inconclusive": "within noise",
}  # fmt: skip


def format_run_change(change: RunChange) -> str:
    """Format a change as text, such as "+12.3 % (+9.8 % to +14.1 %) vs. previous run: worse"."""
    effect = format_effect(build_quantity(change.ratio, "")).replace(THIN_SPACE, " ")
    name = "baseline" if change.is_baseline else "previous run"
    is_unknown = change.verdict == "inconclusive" and change.ratio.ci95 is None
    verdict_text = "inconclusive, no interval" if is_unknown else _VERDICT_TEXTS[change.verdict]
    return f"{effect} vs. {name}: {verdict_text}"
