"""Data of a comparison in a report: the environment differences and the change of each metric."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.quantity import Quantity

ChangeVerdict = Literal["better", "worse", "same", "inconclusive"]
ComparisonOutcome = Literal["regression", "inconclusive", "no_regression", "same_run", "not_compared"]


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
