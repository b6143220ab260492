"""A report that fits: the longest tables and texts cut, and told to be. Numbers were made of all there was before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from reports import formatting
from reports.local_model import LocalSection
from reports.model import PlanReport, PlanSection, Report, StageRow

_T = TypeVar("_T")
_Record = TypeVar("_Record", bound=msgspec.Struct)
_CHARACTERS_A_ROW = 100


class _Cut:
    """Cuts to `most`, and keeps account of what was."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.told: list[str] = []

    def first(self, name: str, rows: Sequence[_T]) -> tuple[_T, ...]:
        self._tell(name, len(rows), self.most)
        return tuple(rows[: self.most])

    def spread(self, name: str, stages: Sequence[StageRow]) -> tuple[StageRow, ...]:
        """Evenly over the run, for the curve keeps its shape so; the last one stays, which may stand for several."""
        if len(stages) <= self.most:
            return tuple(stages)
        self._tell(name, len(stages), self.most)
        last = len(stages) - 1
        return tuple(stages[round(place * last / (self.most - 1))] for place in range(self.most))

    def note(self, where: str) -> tuple[str, ...]:
        if not self.told:
            return ()
        return (f"This page would be too large with all there is, so it shows {', '.join(self.told)}. {where}",)

    def _tell(self, name: str, of: int, kept: int) -> None:
        if of > kept:
            self.told.append(f"{formatting.count(kept)} of {formatting.count(of)} {name}")


def shortened(report: Report, most: int) -> Report:
    """At most so many rows to a table, and a note above the first number of what was left out."""
    cut, report = _Cut(most), _clipped(report, most)
    short = msgspec.structs.replace(
        report,
        checks=cut.first("checks", report.checks),
        objectives=cut.first("objectives", report.objectives),
        stages=cut.spread("stages", report.stages),
        tokens=cut.first("stages with tokens", report.tokens),
        errors=cut.first("classes of errors", report.errors),
        artifacts=cut.first("files of the run", report.artifacts),
        plan=None if report.plan is None else _plan(report.plan, cut),
        local=None if report.local is None else _local(report.local, cut),
        groups=tuple(msgspec.structs.replace(one, rows=cut.first(one.title, one.rows)) for one in report.groups),
        workers=cut.first("workers", report.workers),
    )
    note = cut.note("report.json has them all, and so have the tables beside it.")
    return msgspec.structs.replace(short, notes=(*note, *report.notes))


def shortened_plan(report: PlanReport, most: int) -> PlanReport:
    cut, report = _Cut(most), _clipped(report, most)
    plan = _plan(report.plan, cut)
    plan = msgspec.structs.replace(plan, notes=(*cut.note("The plan file has them all."), *plan.notes))
    return msgspec.structs.replace(report, plan=plan)


def _plan(plan: PlanSection, cut: _Cut) -> PlanSection:
    """What the plan speaks of stays."""
    named = (plan.recommendation.offer if plan.recommendation else None, plan.runner_up, plan.cheapest_refused)
    offers, refused = (sorted(rows, key=lambda row: row.offer not in named) for rows in (plan.offers, plan.refused))
    kept = {id(row) for row in (*cut.first("offers", offers), *cut.first("refused offers", refused))}
    return msgspec.structs.replace(
        plan,
        offers=tuple(row for row in plan.offers if id(row) in kept),
        refused=tuple(row for row in plan.refused if id(row) in kept),
    )


def _local(local: LocalSection, cut: _Cut) -> LocalSection:
    """The best is among those that stay."""
    shown = [one for one in local.variants if one.name in (local.best, local.shown)]
    others = [one for one in local.variants if one.name not in (local.best, local.shown)]
    variants = cut.first("variants", [*shown, *others])
    return msgspec.structs.replace(local, variants=variants, laws=cut.first("batch laws", local.laws))


def _clipped(record: _Record, most: int) -> _Record:
    """No text longer than `most` rows of text would be."""
    return msgspec.convert(_clipped_value(msgspec.to_builtins(record), most * _CHARACTERS_A_ROW), type=type(record))


def _clipped_value(value: Any, most: int) -> Any:
    if isinstance(value, str):
        rest = len(value) - most
        return value if rest <= 0 else f"{value[:most]}… ({formatting.count(rest)} more characters, see report.json)"
    if isinstance(value, dict):
        return {name: _clipped_value(one, most) for name, one in value.items()}
    return [_clipped_value(one, most) for one in value] if isinstance(value, list | tuple) else value
