"""Render a report as Markdown, for a job summary or a comment: the decision or the result, its
caveats, then the numbers.

The module also renders comparisons, and escapes free-form strings, tables and lists for the
Markdown dialects of GitHub and GitLab.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reports import formatting, plan_sentences
from reports.decision import (
    build_plan_decision,
    build_run_decision,
    leads_with_plan,
    list_warnings,
    select_tiles_beside_decision,
    summarize_caveats,
)
from reports.formatting import display_state, sanitize
from reports.local_model import LocalSection
from reports.local_text import (
    build_headline_variant_lines,
    build_remaining_variant_lines,
    build_test_table,
    build_variant_table,
)
from reports.model import (
    CheckRow,
    HeadlineTile,
    PlanReport,
    PlanSection,
    Quantity,
    Report,
    ReportHeader,
    ShapePlanSection,
)
from reports.plan_text import build_decision_lines, build_offer_lines
from reports.plan_text import build_detail_lines as plan_lines
from reports.sections.comparison import CHANGES, DIFFERENCES, ComparisonReport, ComparisonSection
from reports.sections.section import Cell, Groups, Noted, RowT, Section, State, Table, build_headers, format_cell
from reports.sections.shape_plan import SHAPE_PLAN

_SPACES = re.compile(r"\s+")
_SPECIAL_CHARACTERS = re.compile(r"[\\`*_\[\]|~$<>&]")
_LINKS = re.compile(r"(?i)(?<=:)//|(?<=www)\.|@")
_BLOCK_START = re.compile(r"^[#+\-=]")
_NUMBERED_ITEM = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def escape_text(raw: str) -> str:
    """Escape a string for a single line of Markdown. The line displays `raw` literally, without
    markup, links or block markers."""
    line = _SPECIAL_CHARACTERS.sub(r"\\\g<0>", _SPACES.sub(" ", raw).strip())
    line = _LINKS.sub(r"\\\g<0>", line)
    return _NUMBERED_ITEM.sub(r"\1\\\2", _BLOCK_START.sub(r"\\\g<0>", line))


def build_bullet_list(lines: Sequence[str]) -> list[str]:
    """Build a Markdown list of the non-empty lines, which must already be escaped as Markdown."""
    return [f"- {line}" for line in lines if line]


def build_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Build a Markdown table from cells that are already Markdown. Columns without a header are
    omitted. Return no lines if there are no rows."""
    column_indices = [index for index, name in enumerate(columns) if name]
    table_rows = [columns, ["---"] * len(columns), *rows] if rows else []
    return [f"| {' | '.join(table_row[index] for index in column_indices)} |" for table_row in table_rows]


_MAX_COMPARISON_ROWS = 50


def render_comparison_page(report: ComparisonReport) -> str:
    """Render a comparison as a separate Markdown document with a trailing newline."""
    report = sanitize(report)
    baseline, candidate = (
        escape_text(", ".join(run_names)) for run_names in (report.comparison.baseline, report.comparison.candidate)
    )
    title = f"# {baseline} vs. {candidate}"
    footer = f"Created by {escape_text(report.tool)}: {escape_text(report.command)}"
    return "\n".join([title, "", *build_comparison_lines(report.comparison), footer, ""])


def build_comparison_lines(section: ComparisonSection) -> list[str]:
    headline_rows = [row for row in section.rows if row.is_headline]
    hidden_count = len(headline_rows) - _MAX_COMPARISON_ROWS
    blocks = [
        [escape_text(section.headline)],
        [f"**{escape_text(section.banner)}**"] if section.banner else [],
        build_rows_table(DIFFERENCES, section.differences),
        build_rows_table(CHANGES, headline_rows[:_MAX_COMPARISON_ROWS]),
        [f"… and {hidden_count} more in the result"] if hidden_count > 0 else [],
        build_bullet_list([*map(escape_text, section.notes)]),
    ]
    return [line for block in blocks if block for line in (*block, "")]


def build_rows_table(section: Section[RowT], rows: Sequence[RowT]) -> list[str]:
    """Build the table of some rows of a section; empty without rows."""
    table = Table(rows=rows)
    return _build_section_table(table, section.list_groups(table, "markdown"), "", _format_cell) if rows else []


MAX_BYTES = 900 * 1024
"""Maximum size of a job summary, in bytes. GitHub discards a summary above 1,024 KiB as a whole."""
_MAX_ROWS = 200
_MAX_WIDTH = 10_000
_TRUNCATED_NOTE = (
    "\n_This summary is truncated to the size limit of a job summary. See report.html for the full report._\n"
)


def render_markdown(report: Report, max_bytes: int = MAX_BYTES) -> str:
    """Render as many complete sections of a report as fit in `max_bytes`; empty if even the verdict
    does not fit."""
    report = sanitize(report)
    leading_plan = report.plan if leads_with_plan(report) else None
    sections = [
        [
            *_build_header(report, leading_plan),
            *_build_caveats(list_warnings(report), report.notes),
            *_summarize_checks(report.checks),
        ],
        _build_section("Numbers", _build_tile_table(select_tiles_beside_decision(report))),
        *_build_sections(report, is_result=True),
        _build_section("Comparison", build_comparison_lines(report.comparison) if report.comparison else []),
        *_build_sections(report, is_result=False),
        *(_build_local_sections(report.local) if report.local else []),
        _build_section("Plan", _build_plan(report.plan, is_decided=leading_plan is not None)),
        _build_section("Larger model, from its shape", _build_shape_plan(report.shape_plan)),
        _build_run_line(report.header),
    ]
    return _fit_sections(["\n".join(lines) + "\n" for lines in sections if lines], max_bytes)


def render_plan_markdown(report: PlanReport) -> str:
    report = sanitize(report)
    plan = report.plan
    titled_lines = [("Plan", build_offer_lines(plan)), *plan_lines(plan)]
    model = plan.planned_model
    sections = [
        [] if model is None else [escape_text(plan_sentences.describe_planned_model(model))],
        [*_build_decision(plan, "## "), *_build_caveats(list(plan.checks), ())],
        *(_build_section(title, build_bullet_list([*map(escape_text, lines)])) for title, lines in titled_lines),
    ]
    return _fit_sections(["\n".join(lines) + "\n" for lines in sections if lines], MAX_BYTES)


def _fit_sections(sections: Sequence[str], max_bytes: int) -> str:
    text, remaining_bytes = "", max_bytes - len(_TRUNCATED_NOTE.encode())
    for section in sections:
        separated_section = f"\n{section}" if text else section
        if len(separated_section.encode()) > remaining_bytes:
            return text + _TRUNCATED_NOTE if text else ""
        text, remaining_bytes = text + separated_section, remaining_bytes - len(separated_section.encode())
    return text


def _build_section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"### {title}", "", *lines] if lines else []


def _build_header(report: Report, leading_plan: PlanSection | None) -> list[str]:
    header, verdict, decision = report.header, report.verdict, build_run_decision(report)
    location = f"{header.target}, on {header.hardware}" if header.hardware else header.target
    location = location if header.user_title is None else f"{header.title}: {location}"
    headline = f"{verdict.stamp} {decision.headline}" if verdict.stamp else decision.headline
    evidence = "" if leading_plan else decision.evidence
    result_text = " ".join((decision.sentence, *decision.details)).strip()
    details = [line for line in (result_text, evidence) if line]
    return [
        f"## {verdict.outcome}: {escape_text(header.name)}",
        "",
        *(_build_decision(leading_plan, "### ") if leading_plan else []),
        f"**{escape_text(headline)}**",
        "",
        *build_bullet_list([*map(escape_text, (*details, *verdict.reasons))]),
        *([""] if details or verdict.reasons else []),
        f"{escape_text(location)}; measurement **{verdict.validity}**",
        "",
    ]


def _build_decision(plan: PlanSection, heading_prefix: str) -> list[str]:
    uncertainty_lines = (
        [] if plan.capacity_knowledge is None else [plan.capacity_knowledge.headline, plan.capacity_knowledge.next_step]
    )
    headline, *lines = build_plan_decision(plan).lines
    return [
        f"{heading_prefix}{escape_text(headline)}",
        "",
        *build_bullet_list([*map(escape_text, (*uncertainty_lines, *lines))]),
        "",
    ]


def _build_plan(plan: PlanSection | None, *, is_decided: bool) -> list[str]:
    if plan is None:
        return []
    decision_lines = [] if is_decided else build_decision_lines(plan)
    return build_bullet_list(
        [*map(escape_text, (*decision_lines, *build_offer_lines(plan, is_decided=is_decided), *plan.notes))]
    )


def _build_shape_plan(section: ShapePlanSection | None) -> list[str]:
    if section is None:
        return []
    return [
        escape_text(section.statement),
        "",
        escape_text(plan_sentences.describe_shape_traffic(section)),
        "",
        *(build_rows_table(SHAPE_PLAN, section.rows) or [escape_text(plan_sentences.NO_SHAPE_OFFER)]),
        "",
        *build_bullet_list([*map(escape_text, section.notes)]),
    ]


def _build_caveats(warnings: Sequence[CheckRow], notes: Sequence[str]) -> list[str]:
    """Build a collapsed section of caveats, whose summary line states their number and names."""
    summary = _SPACES.sub(" ", summarize_caveats(list(warnings), len(notes)))
    if not summary:
        return []
    items = [*map(_format_check, warnings[:_MAX_ROWS]), *map(escape_text, notes)]
    return [
        "<details>",
        f"<summary>{html.escape(summary)}</summary>",
        "",
        *build_bullet_list(items),
        "",
        "</details>",
        "",
    ]


def _summarize_checks(checks: Sequence[CheckRow]) -> list[str]:
    failed_count = sum(check.verdict != "VALID" for check in checks)
    if not checks:
        return ["No validity checks were run."]
    if not failed_count:
        return [f"{formatting.format_count_noun(len(checks), 'check')} passed."]
    return [f"{len(checks) - failed_count} of {len(checks)} checks passed."]


def _format_check(check: CheckRow) -> str:
    value_text = escape_text(formatting.format_check_value(check))
    limit_text = "" if check.limit is None else f", limit {escape_text(formatting.format_check_limit(check))}"
    hint_text = f" {escape_text(check.hint)}" if check.hint else ""
    return f"**{check.verdict}** {escape_text(check.name)}: {value_text}{limit_text}.{hint_text}"


def _format_quantity(quantity: Quantity) -> str:
    """Format a value with its confidence interval; an INVALID value is struck through."""
    if quantity.value is None:
        text = formatting.format_value_unit(quantity)
        return escape_text(f"{text} ({quantity.reason})" if quantity.reason else text)
    quantity_text = escape_text(formatting.format_quantity(quantity))
    return f"~~{quantity_text}~~ INVALID" if quantity.validity == "INVALID" else quantity_text


def _format_cell(quantity: Quantity) -> str:
    return (
        _format_quantity(quantity)
        if quantity.validity == "INVALID"
        else escape_text(formatting.format_value_unit(quantity))
    )


def _build_tile_table(tiles: Sequence[HeadlineTile]) -> list[str]:
    rows = [
        [
            escape_text(tile.label),
            _format_quantity(tile.quantity),
            escape_text(formatting.format_limit(tile.limit)) if tile.limit else "",
            tile.quantity.basis if tile.quantity.value is not None else "",
            escape_text(tile.note or ""),
        ]
        for tile in tiles
    ]
    return build_table(["metric", "value (95 % CI)", "SLO", "basis", "note"], rows)


def _build_sections(report: Report, *, is_result: bool) -> Iterator[list[str]]:
    latency_label = formatting.format_metric_label(report.times)
    for section in (section for section in report.sections if (section.part == "result") == is_result):
        lines: list[str] = []
        format_quantity = _format_quantity if "markdown" in section.intervals else _format_cell
        for table, groups in section.build_tables(report, "markdown"):
            title = escape_text(table.title)
            title_lines = [f"#### {title}" if lines else title, ""] if title else []
            lines += [
                *([""] if lines else []),
                *title_lines,
                *_build_section_table(table, groups, latency_label, format_quantity),
            ]
        yield _build_section(section.markdown_title or section.title, lines)


def _build_section_table(
    table: Table[Any], groups: Groups, latency_label: str, format_quantity: Callable[[Quantity], str]
) -> list[str]:
    if not groups:
        return build_bullet_list([*map(escape_text, table.lines)])
    headers = [escape_text(header) for group in groups for header in build_headers(group, latency_label)]
    cell_rows = [
        [_format_section_cell(column.read_cell(row), format_quantity) for group in groups for column in group]
        for row in table.rows[:_MAX_ROWS]
    ]
    return build_table(headers, cell_rows) + _build_more_note(len(table.rows))


def _format_section_cell(cell: Cell, format_quantity: Callable[[Quantity], str]) -> str:
    state = cell.value if isinstance(cell, Noted) else cell
    text = format_cell(cell, format_quantity, escape_text)
    if not isinstance(state, State) or not state.is_strong:
        return text
    state_text = display_state(state.id)
    return f"**{state_text}**{text.removeprefix(state_text)}"


def _build_more_note(count: int) -> list[str]:
    return ["", f"… and {count - _MAX_ROWS} more in the report"] if count > _MAX_ROWS else []


def _build_local_sections(local: LocalSection) -> list[list[str]]:
    header, *rows = build_variant_table(local, _MAX_WIDTH) or [[]]
    lines = [
        escape_text(local.common if local.is_language_model else f"{local.common}; times in ms"),
        "",
        *build_table([*map(escape_text, header)], [[*map(escape_text, row)] for row in rows]),
        "",
        *build_bullet_list([*map(escape_text, build_remaining_variant_lines(local))]),
    ]
    titled_sections = [
        _build_section(title, build_bullet_list([*map(escape_text, lines)]))
        for title, lines in build_headline_variant_lines(local)
    ]
    return [*_build_test_sections(local), _build_section("Variants", lines), *titled_sections]


def _build_test_sections(local: LocalSection) -> list[list[str]]:
    header, *rows = build_test_table(local, _MAX_WIDTH) or [[]]
    if not rows:
        return []
    lines = [
        "Rates with 95 % intervals; times in ms",
        "",
        *build_table([*map(escape_text, header)], [[*map(escape_text, row)] for row in rows]),
    ]
    return [_build_section("Tests", lines)]


def _build_run_line(header: ReportHeader) -> list[str]:
    items = (
        f"Run {header.run_id}",
        header.started,
        formatting.format_duration(header.duration_s),
        header.tool,
        f"profile {header.profile_hash[:19]}",
    )
    return [f"<sub>{' · '.join(map(escape_text, items))}</sub>"]
