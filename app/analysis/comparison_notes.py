"""What a reader of a comparison must know of how far it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.analysis.comparable import Comparable
from app.analysis.digits import digits
from app.analysis.environment_differences import is_other_cpu
from app.analysis.repeats import FEWEST
from app.records.comparison import Comparison, MetricChange
from app.records.metrics import format_metric

NOISY = 0.10
"""From this coefficient of variation between repeats on, a metric fails nothing."""
_MOST_TOLD = 3


def notes_of(comparison: Comparison, found: Sequence[Comparable]) -> tuple[str, ...]:
    return tuple(_notes(comparison, found))


def is_noisy(change: MetricChange) -> bool:
    return change.noise is not None and change.noise > NOISY


def in_words(change: MetricChange) -> str:
    """As in "latency_ms.p95 in steady"."""
    return f"{format_metric(change.metric, change.aggregate)} in {change.stage}"


def regression_in_words(change: MetricChange) -> str:
    """As in "latency_ms.p95 in steady got worse: 48.2 ms against 40.1 ms, 1.2 times (1.15 to 1.26)"."""
    before, now = (digits(one.value or 0.0) for one in (change.base, change.candidate))
    unit = "" if change.unit == "share" else f" {change.unit}"
    ratio = change.ratio
    times = "" if not ratio.value else f", {digits(ratio.value, 3)} times"
    between = "" if ratio.ci95 is None else f" ({digits(ratio.ci95[0], 3)} to {digits(ratio.ci95[1], 3)})"
    return f"{in_words(change)} got worse: {now}{unit} against {before}{unit}{times}{between}"


def _notes(comparison: Comparison, found: Sequence[Comparable]) -> Iterator[str]:
    if comparison.is_same_run:
        yield "Base and candidate are the same run, so there is no difference to find."
        return
    if comparison.is_forced:
        forbidding = ", ".join(one.name for one in comparison.differences if one.forbids)
        yield f"Forced: {forbidding} differ, so that a change may be theirs and not the candidate's."
    if is_other_cpu(comparison.differences):
        yield "The machines differ, or are not known, so that no change fails anything: compare on one machine."
    if found:
        yield from _repeats_note(comparison, found)
    noisy = [one for one in comparison.changes if one.is_headline and is_noisy(one)]
    for one in noisy[:_MOST_TOLD]:
        least = "" if one.detectable is None else f": only changes above {digits(100 * one.detectable, 2)} % show there"
        yield (
            f"{in_words(one)} varies by {digits(100 * (one.noise or 0.0), 2)} % from repeat to repeat{least}, and it "
            "fails nothing."
        )
    if len(noisy) > _MOST_TOLD:
        yield f"So do {len(noisy) - _MOST_TOLD} more."


def _repeats_note(comparison: Comparison, found: Sequence[Comparable]) -> Iterator[str]:
    runs = min(len(comparison.base), len(comparison.candidate))
    fewest = min(one.repeats.fewer for one in found if one.is_headline) if any(map(_is_headline, found)) else runs
    if runs == 1:
        what = "intervals are those of the runs themselves" if fewest == 1 else "repeats are those inside a run"
        yield f"One run of a kind: {what}, and what differs from run to run is not in them."
    if 1 < fewest < FEWEST:
        yield (
            f"With {fewest} repeats no test by ranks can tell at 1 %, so that the ratio's interval decides: "
            f"{FEWEST} of each are the fewest, and the two-stage rule begins with 7."
        )


def _is_headline(one: Comparable) -> bool:
    return one.is_headline
