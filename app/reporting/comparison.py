"""A comparison as report data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from app import __version__
from app.analysis.comparisons.comparison import TOLERANCE, may_fail, regressions, undecided
from app.records.comparison import Comparison, MetricChange
from app.records.metrics import format_metric
from app.reporting.quantities import quantity
from reports import comparison_section as model
from reports import formatting


def comparison_report(comparison: Comparison, command: str) -> model.ComparisonReport:
    """As a document of its own, which `command` makes again."""
    return model.ComparisonReport(
        tool=f"sizewise {__version__}", command=command, comparison=comparison_section(comparison)
    )


def comparison_command(
    base: str, candidates: Sequence[str], tolerance: float, *, is_forced: bool, options: Sequence[str] = ()
) -> str:
    """The line that compares so in a terminal."""
    words = ["sizewise", "compare", base, *candidates, *options]
    if tolerance != TOLERANCE:
        words += ["--tolerance", f"{100 * tolerance:g}%"]
    return shlex.join([*words, *(["--force"] if is_forced else [])])


def name_of_pairs(base: str, candidate: str) -> str:
    """Of a comparison that measures profiles of these names."""
    return f"pairs of {base}" if base == candidate else f"{base} against {candidate}"


def comparison_section(comparison: Comparison) -> model.ComparisonSection:
    outcome = _outcome(comparison)
    return model.ComparisonSection(
        outcome=outcome,
        summary=_summary(comparison, outcome),
        base=comparison.base,
        candidate=comparison.candidate,
        tolerance=comparison.tolerance,
        differences=tuple(
            model.DifferenceRow(name=one.name, base=one.base, candidate=one.candidate, forbids=one.forbids)
            for one in comparison.differences
        ),
        rows=tuple(map(_row, comparison.changes)),
        banner=_banner(comparison),
        notes=comparison.notes,
    )


def _row(change: MetricChange) -> model.ChangeRow:
    return model.ChangeRow(
        metric=format_metric(change.metric, change.aggregate),
        stage=change.stage,
        base=quantity(change.base, change.unit),
        candidate=quantity(change.candidate, change.unit),
        ratio=quantity(change.ratio, ""),
        p_value=change.p_value,
        verdict=change.verdict,
        is_headline=change.is_headline,
        may_fail=may_fail(change),
        noise=change.noise,
        detectable=change.detectable,
        more_repeats=change.more_repeats,
    )


def _outcome(comparison: Comparison) -> model.ComparisonOutcome:
    """The verdict over all headlines."""
    if not comparison.changes:
        return "not_compared"
    if comparison.is_same_run:
        return "same_run"
    if regressions(comparison):
        return "regression"
    return "inconclusive" if undecided(comparison) else "no_regression"


def _summary(comparison: Comparison, outcome: model.ComparisonOutcome) -> str:
    if outcome == "not_compared":
        return ""
    if outcome == "same_run":
        return "no difference."
    headlines = [one for one in comparison.changes if one.is_headline]
    counts = {
        word: sum(one.verdict == word for one in headlines) for word in ("worse", "better", "same", "inconclusive")
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    tolerance = formatting.percent(comparison.tolerance)
    return f"of {len(headlines)} metrics that count, {told or 'none'} (tolerance {tolerance})."


def _banner(comparison: Comparison) -> str | None:
    forbidding = ", ".join(one.name for one in comparison.differences if one.forbids)
    if comparison.is_forced:
        return f"FORCED: these are not comparable ({forbidding}), and were compared all the same."
    if forbidding:
        return f"NOT COMPARABLE: {forbidding}."
    is_advisory = comparison.is_advisory and not comparison.is_same_run
    return "ADVISORY: this comparison fails nothing; why stands below." if is_advisory else None
