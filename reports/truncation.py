"""Shorten a report: truncate its longest tables and strings, and add a note about the
truncation.

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


class _TableTruncator:
    """Truncates tables to `max_rows` rows, and records which tables were truncated."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.truncated_tables: list[str] = []

    def take_first(self, name: str, rows: Sequence[_T]) -> tuple[_T, ...]:
        self._record(name, len(rows), self.max_rows)
        return tuple(rows[: self.max_rows])

    def select_evenly(self, name: str, stages: Sequence[StageRow]) -> tuple[StageRow, ...]:
        """Select stages evenly over the run, which preserves the shape of the rate curve. The last
        stage, which may be a pooled stage, is always included."""
        if len(stages) <= self.max_rows:
            return tuple(stages)
        self._record(name, len(stages), self.max_rows)
        last_index = len(stages) - 1
        return tuple(stages[round(index * last_index / (self.max_rows - 1))] for index in range(self.max_rows))

    def build_note(self, location_note: str) -> tuple[str, ...]:
        if not self.truncated_tables:
            return ()
        table_texts = ", ".join(self.truncated_tables)
        return (f"The tables are truncated to limit the size of the page: {table_texts}. {location_note}",)

    def _record(self, name: str, total_count: int, shown_count: int) -> None:
        if total_count > shown_count:
            self.truncated_tables.append(
                f"{formatting.format_count(shown_count)} of {formatting.format_count(total_count)} {name}"
            )


def truncate_report(report: Report, max_rows: int) -> Report:
    """Truncate the tables of a report to `max_rows` rows each, and add a note about the omitted
    rows before the first number."""
    truncator, report = _TableTruncator(max_rows), _clip_texts(report, max_rows)
    truncated_report = msgspec.structs.replace(
        report,
        checks=truncator.take_first("checks", report.checks),
        stages=truncator.select_evenly("stages", report.stages),
        classes=None
        if report.classes is None
        else msgspec.structs.replace(report.classes, rows=truncator.take_first("rows of classes", report.classes.rows)),
        artifacts=truncator.take_first("files of the run", report.artifacts),
        plan=None if report.plan is None else _truncate_plan_section(report.plan, truncator),
        local=None if report.local is None else _truncate_local_section(report.local, truncator),
        groups=tuple(
            msgspec.structs.replace(group, rows=truncator.take_first(group.title, group.rows))
            for group in report.groups
        ),
    )
    row_sections = [section for section in report.sections if section.record is not None]
    truncated_report = msgspec.structs.replace(
        truncated_report,
        **{
            section.name: truncator.take_first(section.rows_name, getattr(report, section.name))
            for section in row_sections
        },
    )
    note = truncator.build_note("report.json and the tables next to it are complete.")
    return msgspec.structs.replace(truncated_report, notes=(*note, *report.notes))


def truncate_plan(report: PlanReport, max_rows: int) -> PlanReport:
    truncator, report = _TableTruncator(max_rows), _clip_texts(report, max_rows)
    plan = _truncate_plan_section(report.plan, truncator)
    plan = msgspec.structs.replace(plan, notes=(*truncator.build_note("The plan file is complete."), *plan.notes))
    return msgspec.structs.replace(report, plan=plan)


def _truncate_plan_section(plan: PlanSection, truncator: _TableTruncator) -> PlanSection:
    """Truncate the list of offers of a plan. Offers that the plan refers to are always included."""
    referenced_offers = (
        plan.recommendation.offer if plan.recommendation else None,
        plan.runner_up,
        plan.cheapest_rejected,
        *(row.offer for row in plan.accelerators),
    )
    offers, excluded_offers = (
        sorted(rows, key=lambda row: row.offer not in referenced_offers) for rows in (plan.offers, plan.rejected_offers)
    )
    remaining_row_ids = {
        id(row)
        for row in (*truncator.take_first("offers", offers), *truncator.take_first("excluded offers", excluded_offers))
    }
    return msgspec.structs.replace(
        plan,
        offers=tuple(row for row in plan.offers if id(row) in remaining_row_ids),
        rejected_offers=tuple(row for row in plan.rejected_offers if id(row) in remaining_row_ids),
    )


def _truncate_local_section(local: LocalSection, truncator: _TableTruncator) -> LocalSection:
    """Truncate the list of variants. The best variant and the headline variant are always
    included."""
    required_variants = [variant for variant in local.variants if variant.name in (local.best, local.headline_variant)]
    remaining_variants = [
        variant for variant in local.variants if variant.name not in (local.best, local.headline_variant)
    ]
    variants = truncator.take_first("variants", [*required_variants, *remaining_variants])
    return msgspec.structs.replace(
        local, variants=variants, batch_models=truncator.take_first("batch models", local.batch_models)
    )


def _clip_texts(record: _Record, max_lines: int) -> _Record:
    """Truncate all strings in a record to the length of `max_lines` lines."""
    return msgspec.convert(
        _truncate_strings(msgspec.to_builtins(record), max_lines * _CHARS_PER_ROW), type=type(record)
    )


def _truncate_strings(value: Any, max_chars: int) -> Any:
    if isinstance(value, str):
        excess_count = len(value) - max_chars
        return (
            value
            if excess_count <= 0
            else f"{value[:max_chars]}… ({formatting.format_count(excess_count)} more characters, see report.json)"
        )
    if isinstance(value, dict):
        return {name: _truncate_strings(item, max_chars) for name, item in value.items()}
    return [_truncate_strings(item, max_chars) for item in value] if isinstance(value, list | tuple) else value
