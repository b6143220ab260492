"""Shorten a report: truncate its longest tables and strings, and add a note about the truncation.
Numbers such as percentiles still refer to the complete data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from reports import formatting
from reports.local_model import LocalSection
from reports.model import PlanReport, PlanSection, Report, StageRow

_T = TypeVar("_T")
_Record = TypeVar("_Record", bound=msgspec.Struct)
_CHARS_PER_ROW = 100


class _TableCutter:
    """Truncates tables to `most` rows, and records which tables were truncated."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.truncated: list[str] = []

    def first(self, name: str, rows: Sequence[_T]) -> tuple[_T, ...]:
        self._record(name, len(rows), self.most)
        return tuple(rows[: self.most])

    def spread(self, name: str, stages: Sequence[StageRow]) -> tuple[StageRow, ...]:
        """Select stages evenly over the run, which preserves the shape of the curve. The last
        stage, which may be a pooled stage, is always included."""
        if len(stages) <= self.most:
            return tuple(stages)
        self._record(name, len(stages), self.most)
        last = len(stages) - 1
        return tuple(stages[round(index * last / (self.most - 1))] for index in range(self.most))

    def note(self, where: str) -> tuple[str, ...]:
        if not self.truncated:
            return ()
        return (f"Truncated to limit the size of the page: {', '.join(self.truncated)}. {where}",)

    def _record(self, name: str, total: int, shown: int) -> None:
        if total > shown:
            self.truncated.append(f"{formatting.format_count(shown)} of {formatting.format_count(total)} {name}")


def truncate_report(report: Report, max_rows: int) -> Report:
    """Truncate the tables of a report to `max_rows` rows, and add a note about the omitted rows
    before the first number."""
    cutter, report = _TableCutter(max_rows), _clip_texts(report, max_rows)
    short = msgspec.structs.replace(
        report,
        checks=cutter.first("checks", report.checks),
        objectives=cutter.first("objectives", report.objectives),
        stages=cutter.spread("stages", report.stages),
        tokens=cutter.first("stages with tokens", report.tokens),
        errors=cutter.first("error classes", report.errors),
        artifacts=cutter.first("files of the run", report.artifacts),
        plan=None if report.plan is None else _plan(report.plan, cutter),
        local=None if report.local is None else _local(report.local, cutter),
        groups=tuple(
            msgspec.structs.replace(group, rows=cutter.first(group.title, group.rows)) for group in report.groups
        ),
        workers=cutter.first("workers", report.workers),
    )
    note = cutter.note("report.json and the tables next to it are complete.")
    return msgspec.structs.replace(short, notes=(*note, *report.notes))


def truncate_plan(report: PlanReport, most: int) -> PlanReport:
    cutter, report = _TableCutter(most), _clip_texts(report, most)
    plan = _plan(report.plan, cutter)
    plan = msgspec.structs.replace(plan, notes=(*cutter.note("The plan file is complete."), *plan.notes))
    return msgspec.structs.replace(report, plan=plan)


def _plan(plan: PlanSection, cutter: _TableCutter) -> PlanSection:
    """Truncate the offers of a plan, preserving the offers that the plan refers to."""
    named = (plan.recommendation.offer if plan.recommendation else None, plan.runner_up, plan.cheapest_rejected)
    offers, refused = (
        sorted(rows, key=lambda row: row.offer not in named) for rows in (plan.offers, plan.rejected_offers)
    )
    kept_ids = {id(row) for row in (*cutter.first("offers", offers), *cutter.first("excluded offers", refused))}
    return msgspec.structs.replace(
        plan,
        offers=tuple(row for row in plan.offers if id(row) in kept_ids),
        rejected_offers=tuple(row for row in plan.rejected_offers if id(row) in kept_ids),
    )


def _local(local: LocalSection, cutter: _TableCutter) -> LocalSection:
    """Truncate the variants, preserving the best variant and the headline variant."""
    kept = [variant for variant in local.variants if variant.name in (local.best, local.headline_variant)]
    remaining = [variant for variant in local.variants if variant.name not in (local.best, local.headline_variant)]
    variants = cutter.first("variants", [*kept, *remaining])
    return msgspec.structs.replace(
        local, variants=variants, batch_models=cutter.first("batch fits", local.batch_models)
    )


def _clip_texts(record: _Record, most: int) -> _Record:
    """Truncate all strings in a record to the length of `most` lines."""
    return msgspec.convert(_clip_value(msgspec.to_builtins(record), most * _CHARS_PER_ROW), type=type(record))


def _clip_value(value: Any, most: int) -> Any:
    if isinstance(value, str):
        rest = len(value) - most
        return (
            value
            if rest <= 0
            else f"{value[:most]}… ({formatting.format_count(rest)} more characters, see report.json)"
        )
    if isinstance(value, dict):
        return {name: _clip_value(item, most) for name, item in value.items()}
    return [_clip_value(item, most) for item in value] if isinstance(value, list | tuple) else value
