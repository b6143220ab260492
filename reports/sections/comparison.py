"""Data of a comparison in a report: the environment differences and the change of each metric."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports import formatting
from reports.quantity import Quantity
from reports.sections.section import Column, Section, State

ChangeVerdict = Literal["better", "worse", "same", "inconclusive"]
ComparisonOutcome = Literal["regression", "inconclusive", "no_regression", "same_run", "not_compared"]


NOT_COMPARABLE = State("not comparable", is_strong=True)


class DifferenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Difference between two environments. `forbids` is true if the difference makes the numbers
    incomparable."""

    name: str
    baseline: str
    candidate: str
    forbids: bool


class ChangeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Change of one metric. `ratio` is candidate divided by baseline. `may_fail` is true if a
    regression can fail the run, which requires a headline metric that is not too noisy."""

    metric: str
    stage: str
    baseline: Quantity
    candidate: Quantity
    ratio: Quantity
    p_value: float | None
    verdict: ChangeVerdict
    is_headline: bool
    may_fail: bool
    noise: float | None = None
    detectable: float | None = None
    more_repeats: int | None = None


class ComparisonSection(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of a baseline with a candidate. `summary` states how many metrics have the verdict
    that led to the outcome.

    `banner` must be read before any number. It states that the comparison was forced or rejected,
    or that the comparison cannot fail a run.
    """

    outcome: ComparisonOutcome
    summary: str
    baseline: tuple[str, ...]
    candidate: tuple[str, ...]
    tolerance: float
    differences: tuple[DifferenceRow, ...]
    rows: tuple[ChangeRow, ...]
    banner: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def outcome_text(self) -> str:
        return self.outcome.replace("_", " ").upper()

    @property
    def headline(self) -> str:
        return (
            "The runs were not compared." if self.outcome == "not_compared" else f"{self.outcome_text}: {self.summary}"
        )


class ComparisonReport(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison as a separate document. `command` recreates the document."""

    tool: str
    command: str
    comparison: ComparisonSection


def format_effect(ratio: Quantity) -> str:
    """Format a ratio as a relative change with its confidence interval, such as "+12.3 % (+9.8 % to
    +14.1 %)"; n/a without a value."""
    if ratio.value is None:
        return formatting.NOT_AVAILABLE
    text = format_change(ratio.value)
    return text if ratio.ci95 is None else f"{text} ({format_change(ratio.ci95[0])} to {format_change(ratio.ci95[1])})"


def format_remark(row: ChangeRow) -> str:
    """Describe the noise of a metric, the number of further repeats needed, or the minimum
    detectable change."""
    if row.is_headline and not row.may_fail:
        return f"noise {formatting.format_percent(row.noise or 0.0)}, informational"
    if row.verdict == "inconclusive" and row.more_repeats is not None:
        return f"about {formatting.format_count(row.more_repeats)} more runs per side are needed"
    return "" if row.detectable is None else f"minimum detectable change {formatting.format_percent(row.detectable)}"


def format_change(ratio: float) -> str:
    """Format a ratio as a relative change in percent, with its sign."""
    change_percent = 100 * (ratio - 1)
    decimals = 1 if abs(change_percent) < 100 else 0
    return f"{round(change_percent, decimals) + 0.0:+,.{decimals}f}{formatting.THIN_SPACE}%"


DIFFERENCES = Section(
    name="differences",
    title="Environment differences",
    style="prose",
    columns=(
        Column[DifferenceRow]("name", "environment"),
        Column("effect", "effect", lambda row: NOT_COMPARABLE if row.forbids else "informational", is_prose=True),
        Column("baseline", "baseline", is_prose=True),
        Column("candidate", "candidate", is_prose=True),
    ),
    layouts={"all": "name | baseline candidate effect", "window": "name | effect baseline candidate"},
)
CHANGES = Section(
    name="changes",
    title="Changes",
    style="changes",
    columns=(
        Column[ChangeRow]("metric", "metric"),
        Column("stage", "stage", is_prose=True),
        Column("baseline", "baseline"),
        Column("candidate", "candidate"),
        Column("change", "change (95 % CI)", lambda row: format_effect(row.ratio)),
        Column("p", "p-value", lambda row: None if row.p_value is None else formatting.format_p_value(row.p_value)),
        Column("verdict", "verdict", lambda row: State(row.verdict, is_strong=True), is_prose=True),
        Column("remark", "note", format_remark, is_prose=True),
        Column("unit", read=lambda row: row.baseline.unit),
        Column("baseline_value", csv="baseline", read=lambda row: row.baseline.value),
        Column("candidate_value", csv="candidate", read=lambda row: row.candidate.value),
        Column("ratio_value", csv="ratio", read=lambda row: row.ratio.value),
        Column("ratio_low", read=lambda row: row.ratio.ci95 and row.ratio.ci95[0]),
        Column("ratio_high", read=lambda row: row.ratio.ci95 and row.ratio.ci95[1]),
        *(Column[ChangeRow](key) for key in ("p_value", "is_headline", "noise")),
    ),
    layouts={
        "all": "metric | stage baseline candidate change p verdict remark",
        "window": "verdict | metric stage baseline candidate change p remark",
        "csv": "metric | stage unit baseline_value candidate_value ratio_value ratio_low ratio_high "
        "p_value verdict is_headline noise",
    },
)
