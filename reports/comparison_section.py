"""A comparison as a report shows it: what differs around the two first, then each metric."""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.quantity import Quantity

ChangeVerdict = Literal["better", "worse", "same", "inconclusive"]
ComparisonOutcome = Literal["regression", "inconclusive", "no_regression", "same_run", "not_compared"]


class DifferenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """`forbids`: numbers of the two may not be compared because of it."""

    name: str
    base: str
    candidate: str
    forbids: bool


class ChangeRow(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio` is candidate over base; `may_fail` is a headline that is not too noisy."""

    metric: str
    stage: str
    base: Quantity
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
    """`summary` counts the verdicts behind the outcome. `banner` is what must be read before any number: that it is
    forced, refused, or fails nothing."""

    outcome: ComparisonOutcome
    summary: str
    base: tuple[str, ...]
    candidate: tuple[str, ...]
    tolerance: float
    differences: tuple[DifferenceRow, ...]
    rows: tuple[ChangeRow, ...]
    banner: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def outcome_word(self) -> str:
        return self.outcome.replace("_", " ").upper()

    @property
    def sentence(self) -> str:
        return "Not compared." if self.outcome == "not_compared" else f"{self.outcome_word}: {self.summary}"


class ComparisonReport(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison as a document of its own; `command` makes it again."""

    tool: str
    command: str
    comparison: ComparisonSection
