"""Convert a comparison to report data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from app import __version__
from app.analysis.comparisons.comparison import (
    NO_HEADLINE_METRIC,
    TOLERANCE,
    can_fail_run,
    find_inconclusive_changes,
    find_regressions,
    has_no_headline_metric,
)
from app.records.comparison import Comparison, MetricChange
from app.records.metrics import format_metric
from app.reporting.quantities import build_quantity
from reports import formatting
from reports.sections import comparison as model


def build_comparison_report(comparison: Comparison, command: str) -> model.ComparisonReport:
    """Build the report of a comparison as a separate document. `command` is the command line that
    reproduces the comparison."""
    return model.ComparisonReport(
        tool=f"sizewise {__version__}", command=command, comparison=build_comparison_section(comparison)
    )


def build_comparison_command(
    baseline: str, candidates: Sequence[str], tolerance: float, *, is_forced: bool, options: Sequence[str] = ()
) -> str:
    """Return the command line that reproduces a comparison."""
    arguments = ["sizewise", "compare", baseline, *candidates, *options]
    if tolerance != TOLERANCE:
        arguments += ["--tolerance", f"{100 * tolerance:g}%"]
    return shlex.join([*arguments, *(["--force"] if is_forced else [])])


def format_pairs_name(baseline: str, candidate: str) -> str:
    """Return the name of an A/B comparison of two profiles."""
    return f"pairs of {baseline}" if baseline == candidate else f"{baseline} vs. {candidate}"


def build_comparison_section(comparison: Comparison) -> model.ComparisonSection:
    outcome = _find_outcome(comparison)
    return model.ComparisonSection(
        outcome=outcome,
        summary=_format_summary(comparison, outcome),
        baseline=comparison.baseline,
        candidate=comparison.candidate,
        tolerance=comparison.tolerance,
        differences=tuple(
            model.DifferenceRow(
                name=difference.name,
                baseline=difference.baseline,
                candidate=difference.candidate,
                forbids=difference.forbids,
            )
            for difference in comparison.differences
        ),
        rows=tuple(map(_build_row, comparison.changes)),
        banner=_format_banner(comparison),
        notes=comparison.notes,
    )


def _build_row(change: MetricChange) -> model.ChangeRow:
    return model.ChangeRow(
        metric=format_metric(change.metric, change.aggregate),
        stage=change.stage,
        baseline=build_quantity(change.baseline, change.unit),
        candidate=build_quantity(change.candidate, change.unit),
        ratio=build_quantity(change.ratio, ""),
        p_value=change.p_value,
        verdict=change.verdict,
        is_headline=change.is_headline,
        may_fail=can_fail_run(change),
        noise=change.noise,
        detectable=change.detectable,
        more_repeats=change.more_repeats,
    )


def _find_outcome(comparison: Comparison) -> model.ComparisonOutcome:
    """Return the overall outcome of a comparison, based on the changes of all headline metrics."""
    if not comparison.changes:
        return "not_compared"
    if comparison.is_same_run:
        return "same_run"
    if find_regressions(comparison):
        return "regression"
    is_inconclusive = has_no_headline_metric(comparison) or bool(find_inconclusive_changes(comparison))
    return "inconclusive" if is_inconclusive else "no_regression"


def _format_summary(comparison: Comparison, outcome: model.ComparisonOutcome) -> str:
    if outcome == "not_compared":
        return ""
    if outcome == "same_run":
        return "there is no difference."
    headline_changes = [change for change in comparison.changes if change.is_headline]
    counts = {
        verdict: sum(change.verdict == verdict for change in headline_changes)
        for verdict in ("worse", "better", "same", "inconclusive")
    }
    tolerance_text = formatting.format_percent(comparison.tolerance)
    if not headline_changes:
        return f"{NO_HEADLINE_METRIC} (tolerance {tolerance_text})."
    counts_text = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    metrics_text = formatting.format_count_noun(len(headline_changes), "headline metric")
    metrics_text += " was" if len(headline_changes) == 1 else " were"
    return f"{metrics_text} compared: {counts_text} (tolerance {tolerance_text})."


def _format_banner(comparison: Comparison) -> str | None:
    forbidding_names = ", ".join(difference.name for difference in comparison.differences if difference.forbids)
    if comparison.is_forced:
        return f"FORCED: the runs are compared although they are not comparable ({forbidding_names})."
    if forbidding_names:
        return f"NOT COMPARABLE: the runs differ in {forbidding_names}."
    is_advisory = comparison.is_advisory and not comparison.is_same_run
    return "ADVISORY: this comparison cannot fail a run. See the notes for the reason." if is_advisory else None
