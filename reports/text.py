"""Render the terminal summary as plain text: the decision or the result, its caveats, then the
numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from reports import formatting, plan_sentences
from reports.comparison_text import build_comparison_summary_lines
from reports.decision import (
    build_run_decision,
    leads_with_plan,
    list_warnings,
    select_tiles_beside_decision,
    summarize_caveats,
)
from reports.definitions import build_definition_blocks
from reports.formatting import sanitize
from reports.local_model import LocalSection
from reports.local_text import (
    build_headline_variant_lines,
    build_remaining_variant_lines,
    build_test_table,
    build_variant_table,
)
from reports.marks import compute_display_width, dim_undersampled, drop_marks, mark_status, pad_text
from reports.model import (
    CheckRow,
    HeadlineTile,
    PlanReport,
    PlanSection,
    Quantity,
    Report,
    SelfTestRow,
    ShapePlanSection,
)
from reports.plan_text import build_decision_lines, build_offer_lines
from reports.plan_text import build_detail_lines as plan_lines
from reports.sections.section import (
    Column,
    Groups,
    Section,
    Table,
    build_headers,
    build_more_note,
    format_cell,
    format_dimmed,
)
from reports.sections.shape_plan import SHAPE_PLAN
from reports.text_table import format_text_table

_MARGIN = 11
_PLAN_MARGIN = 13
_MIN_COLUMN_WIDTH = 14


def render_text(report: Report, width: int = 100, *, with_marks: bool = False) -> str:
    """Render a terminal summary of at most one or two screens, without a trailing newline.
    `with_marks` leaves the marks of `reports.marks` in the text, so that a terminal can show
    colors.
    """
    report = sanitize(report)
    header, verdict = report.header, report.verdict
    location = f"{header.target}, on {header.hardware}" if header.hardware else header.target
    location = location if header.user_title is None else f"{header.title}: {location}"
    latency_label = formatting.format_metric_label(report.times)
    leading_plan = report.plan if leads_with_plan(report) else None
    blocks = [
        [
            f"{mark_status(verdict.outcome)}  {header.name} (measurement {mark_status(verdict.validity)})",
            *_wrap_line(location, width, 0),
        ],
        _build_block("Decision", build_decision_lines(leading_plan) if leading_plan else [], width),
        _build_block("Result", _build_result_lines(report), width),
        _build_block("Self-test", _build_selftest_lines(report.selftest), width),
        _build_block("Numbers", _build_tile_lines(select_tiles_beside_decision(report), width - _MARGIN), width),
        *_build_section_blocks(report, latency_label, width, is_result=True),
        _build_block("Checks", _build_check_lines(report.checks), width),
        _build_block("Notes", report.notes, width),
        _build_block(
            "Comparison", build_comparison_summary_lines(report.comparison) if report.comparison else [], width
        ),
        *_build_section_blocks(report, latency_label, width, is_result=False),
        *_build_local_blocks(report.local, width),
        _build_block("Plan", _build_plan_lines(report.plan, is_decided=leading_plan is not None), width),
        _build_block("From shape", _build_shape_plan_lines(report.shape_plan, width), width),
    ]
    if report.definitions is not None:
        blocks += build_definition_blocks(report.definitions, width)
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    text = text.replace(formatting.THIN_SPACE, " ")  # some terminal fonts have no thin space
    return text if with_marks else drop_marks(text)


def render_plan(plan: PlanSection, width: int = 100) -> str:
    """Render a plan without a run, with all details of the recommended fleet."""
    plan = sanitize(plan)
    caveats = summarize_caveats(list(plan.checks))
    model = plan.planned_model
    titled_lines = (
        ("Model", [] if model is None else [plan_sentences.describe_planned_model(model)]),
        ("Decision", [*build_decision_lines(plan), *([caveats] if caveats else [])]),
        ("Plan", build_offer_lines(plan)),
        *plan_lines(plan),
        ("Caveats", [*map(formatting.format_check, plan.checks)]),
    )
    blocks = [_build_block(title, lines, width, _PLAN_MARGIN) for title, lines in titled_lines]
    return "\n\n".join("\n".join(block) for block in blocks if block).replace(formatting.THIN_SPACE, " ")


def render_plan_report(report: PlanReport) -> str:
    return render_plan(report.plan)


def _build_shape_plan_lines(section: ShapePlanSection | None, width: int) -> list[str]:
    if section is None:
        return []
    introduction = [section.statement, plan_sentences.describe_shape_traffic(section)]
    if not section.rows:
        return [*introduction, plan_sentences.NO_SHAPE_OFFER, *section.notes]
    table = Table(rows=section.rows)
    table_lines = _build_table_lines(SHAPE_PLAN, table, SHAPE_PLAN.list_groups(table, "text"), "", width)
    return [*introduction, *table_lines, *section.notes]


def _build_block(title: str, lines: Sequence[str], width: int, margin: int = _MARGIN) -> list[str]:
    """Indent lines by a margin. The margin of the first line contains the title."""
    wrapped_lines = [wrapped_line for line in lines for wrapped_line in _wrap_line(line, width, margin)]
    return [title.ljust(margin) + wrapped_lines[0].lstrip(), *wrapped_lines[1:]] if wrapped_lines else []


def _wrap_line(line: str, width: int, margin: int) -> list[str]:
    indent = " " * margin
    if line and "\n" not in line and "\t" not in line and margin + compute_display_width(line) <= width:
        return [indent + line]  # textwrap would count the marks of a line
    return textwrap.wrap(
        line,
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  " * bool(margin),
        break_on_hyphens=False,
    )


def _format_quantity(quantity: Quantity) -> str:
    return dim_undersampled(quantity, formatting.format_quantity(quantity))


def _build_result_lines(report: Report) -> list[str]:
    """Return the lines about the result of a run: headline, evidence, reasons for the outcome, and
    caveats."""
    verdict, decision = report.verdict, build_run_decision(report)
    headline = f"{verdict.stamp} {decision.headline}" if verdict.stamp else decision.headline
    evidence = "" if leads_with_plan(report) else decision.evidence
    lines = (
        headline,
        " ".join((decision.sentence, *decision.details)).strip(),
        evidence,
        *_list_reasons(report),
        *_list_caveats(report),
    )
    return [line for line in lines if line]


def _list_reasons(report: Report) -> Iterator[str]:
    yield from (f"- {reason}" for reason in report.verdict.reasons)


def _list_caveats(report: Report) -> list[str]:
    """Return the number and names of the caveats, followed by the INVALID checks in full. All other
    caveats are shown below the numbers."""
    warnings = list_warnings(report)
    invalid_texts = [_format_check(check) for check in warnings if check.verdict == "INVALID"]
    return [line for line in (summarize_caveats(warnings, len(report.notes)), *invalid_texts) if line]


def _build_plan_lines(plan: PlanSection | None, *, is_decided: bool) -> list[str]:
    if plan is None:
        return []
    decision_lines = [] if is_decided else build_decision_lines(plan)
    offer_lines = build_offer_lines(plan, is_decided=is_decided)
    return [*decision_lines, *offer_lines, *map(_format_check, plan.checks), *plan.notes]


def _build_check_lines(checks: Sequence[CheckRow]) -> list[str]:
    warnings = [check for check in checks if check.verdict != "VALID"]
    if not checks:
        return ["none"]
    if not warnings:
        return [f"{formatting.format_count_noun(len(checks), 'check')} passed"]
    return [*map(_format_check, warnings), f"{len(checks) - len(warnings)} of {len(checks)} checks passed"]


def _format_check(check: CheckRow) -> str:
    return formatting.format_check(check, mark_status)


def _build_selftest_lines(selftest: SelfTestRow | None) -> list[str]:
    """Return the outcome of the self-test; empty if no self-test was run. Only the HTML report
    states that none was run."""
    if selftest is None:
        return []
    outcome = "passed" if selftest.passed else f"{mark_status('FAILED')}: {', '.join(selftest.failed)}"
    return [f"{selftest.id}, {selftest.at[:10]}, {outcome}"]


def _build_tile_lines(tiles: Sequence[HeadlineTile], width: int) -> list[str]:
    """Format the headline tiles as text columns (label, value, limit, basis). The lines must not be
    wrapped again, because that would break the columns."""
    rows = [
        (tile.label, _format_quantity(tile.quantity), _format_tile_limit(tile), f"{_format_basis(tile)}{note}")
        for tile, note in zip(tiles, _list_distinct_notes(tiles), strict=True)
    ]
    widths = [max((compute_display_width(row[column]) for row in rows), default=0) for column in range(3)]
    return [line for row in rows for line in _format_columns(row, widths, width)]


def _format_columns(row: tuple[str, str, str, str], widths: list[int], width: int) -> list[str]:
    """Join the cells of a row as text columns. If the line is too long, the last cell is wrapped
    within its column."""
    leading_cells = "".join(
        f"{pad_text(cell, column_width)}  " for cell, column_width in zip(row, widths, strict=False) if column_width
    )
    leading_width = compute_display_width(leading_cells)
    first_line, *further_lines = textwrap.wrap(row[3], max(width - leading_width, _MIN_COLUMN_WIDTH)) or [""]
    return [leading_cells + first_line, *(" " * leading_width + wrapped_line for wrapped_line in further_lines)]


def _format_tile_limit(tile: HeadlineTile) -> str:
    return f"SLO {formatting.format_limit(tile.limit)}" if tile.limit else ""


def _format_basis(tile: HeadlineTile) -> str:
    if tile.quantity.value is None:
        return tile.quantity.reason or ""
    return mark_status("INVALID") if tile.quantity.validity == "INVALID" else tile.quantity.basis


def _list_distinct_notes(tiles: Sequence[HeadlineTile]) -> Iterator[str]:
    """Yield the note of each tile. A note that several tiles share is yielded only for the first of
    them."""
    yielded_notes: set[str | None] = set()
    for tile in tiles:
        is_cost = tile.quantity.unit.startswith("USD")  # the plan states the traffic that a cost refers to
        is_new = tile.quantity.value is not None and tile.note not in yielded_notes and not is_cost
        yield f", {tile.note}" if is_new and tile.note else ""
        yielded_notes |= {tile.note} if is_new else set()


def _build_section_blocks(report: Report, latency_label: str, width: int, *, is_result: bool) -> Iterator[list[str]]:
    for section in report.sections:
        if (section.part == "result") != is_result:
            continue
        for table, groups in section.build_tables(report, "text"):
            lines = _build_table_lines(section, table, groups, latency_label, width)
            yield _build_block(table.block_title or section.title, lines, width)


def _build_table_lines(
    section: Section[Any], table: Table[Any], groups: Groups, latency_label: str, width: int
) -> list[str]:
    """Return the table of a section, split into as many as needed for the width, followed by its
    legend; only the lines of the table if there are no columns with values."""
    if len(groups) < 2:
        return [*table.lines]
    rows = table.rows[: section.max_text_rows]
    (first_column,), *columns = (_build_text_columns(section, group, rows, latency_label) for group in groups)
    tables = _pack_columns(first_column, columns, width - _MARGIN)
    has_few_samples = any(_FEW_SAMPLES in cell for table in tables for column in table for cell in column[1:])
    legends = (table.legend or section.legend, f"{_FEW_SAMPLES} too few samples" if has_few_samples else "")
    legend = "; ".join(filter(None, legends))
    return [
        *_format_tables(tables),
        *build_more_note(len(table.rows), section.max_text_rows),
        *([legend] if legend else []),
        *table.lines,
    ]


def _build_text_columns(
    section: Section[Any], columns: Sequence[Column[Any]], rows: Sequence[Any], latency_label: str
) -> list[_TextColumn]:
    headers = build_headers(columns, latency_label, has_units=section.has_units)
    format_quantity = format_dimmed if section.has_units else _format_aggregate
    return [
        [header, *(format_cell(column.read_cell(row), format_quantity) for row in rows)]
        for header, column in zip(headers, columns, strict=True)
    ]


_FEW_SAMPLES = "*"


def _format_aggregate(quantity: Quantity) -> str:
    """Format a value without unit, except for shares. If it is based on too few samples, it is dimmed
    and followed by an asterisk, since the number of samples would widen the table."""
    if quantity.is_undersampled:
        text = formatting.format_value(msgspec.structs.replace(quantity, n=None))
        return dim_undersampled(quantity, f"{text}{_FEW_SAMPLES}")
    return formatting.format_value_unit(quantity) if quantity.unit == "share" else formatting.format_value(quantity)


_TextColumn = list[str]


def _pack_columns(
    first_column: _TextColumn, groups: Sequence[list[_TextColumn]], width: int
) -> list[list[_TextColumn]]:
    """Distribute groups of columns over as few tables as possible, in order. Each table begins with
    the first column, and is at most `width` wide unless a single group is wider."""
    tables: list[list[_TextColumn]] = []
    for group in groups:
        if tables and _compute_table_width([*tables[-1], *group]) <= width:
            tables[-1] += group
        else:
            tables.append([first_column, *group])
    return tables


def _format_tables(tables: Sequence[list[_TextColumn]]) -> list[str]:
    return [line for table in tables for line in format_text_table([*zip(*table, strict=True)])]


def _compute_table_width(columns: Sequence[_TextColumn]) -> int:
    return sum(max(map(compute_display_width, column)) + 2 for column in columns) - 2


def _build_local_blocks(local: LocalSection | None, width: int) -> list[list[str]]:
    if local is None:
        return []
    table_lines = format_text_table(build_variant_table(local, width - _MARGIN, mark_status))
    variant_lines = [
        f"{local.common}; times in ms" if table_lines and not local.is_language_model else local.common,
        *table_lines,
        *build_remaining_variant_lines(local),
    ]
    test_lines = format_text_table(build_test_table(local, width - _MARGIN, mark_status))
    if test_lines:
        test_lines = ["rates with 95 % intervals; times in ms", *test_lines]
    return [
        _build_block(title, lines, width)
        for title, lines in (("Tests", test_lines), ("Variants", variant_lines), *build_headline_variant_lines(local))
    ]
