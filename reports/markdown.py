"""Render a report as Markdown, for a job summary or a comment: the decision or the result, its
caveats, then the numbers.

The module also renders comparisons, and escapes free-form strings, tables and lists for the
Markdown dialects of GitHub and GitLab.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Literal

from reports import formatting, plan_sentences
from reports.comparison_section import ComparisonReport, ComparisonSection
from reports.comparison_text import format_effect, format_remark
from reports.decision import (
    build_plan_decision,
    build_run_decision,
    leads_with_plan,
    list_warnings,
    select_tiles_beside_decision,
    summarize_caveats,
)
from reports.formatting import sanitize
from reports.local_model import LocalSection
from reports.local_text import (
    build_headline_variant_lines,
    build_remaining_variant_lines,
    build_test_table,
    build_variant_table,
)
from reports.model import (
    CheckRow,
    ClassRow,
    ClassSection,
    ErrorRow,
    HeadlineTile,
    MediaRow,
    ObjectiveRow,
    PlanReport,
    PlanSection,
    Quantity,
    Report,
    ReportHeader,
    ServerRow,
    ShapePlanSection,
    StageRow,
    TokenRow,
)
from reports.plan_text import build_decision_lines, build_offer_lines
from reports.plan_text import build_detail_lines as plan_lines

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
    difference_cells = [
        [
            escape_text(row.name),
            escape_text(row.baseline),
            escape_text(row.candidate),
            "**not comparable**" if row.forbids else "informational",
        ]
        for row in section.differences
    ]
    headline_rows = [row for row in section.rows if row.is_headline]
    change_cells = [
        [
            escape_text(row.metric),
            escape_text(row.stage),
            *map(
                escape_text,
                (
                    formatting.format_value_unit(row.baseline),
                    formatting.format_value_unit(row.candidate),
                    format_effect(row.ratio),
                ),
            ),
            "n/a" if row.p_value is None else escape_text(formatting.format_p_value(row.p_value)),
            f"**{row.verdict}** {escape_text(format_remark(row))}".rstrip(),
        ]
        for row in headline_rows[:_MAX_COMPARISON_ROWS]
    ]
    hidden_count = len(headline_rows) - len(change_cells)
    blocks = [
        [escape_text(section.headline)],
        [f"**{escape_text(section.banner)}**"] if section.banner else [],
        build_table(["environment", "baseline", "candidate", "effect"], difference_cells),
        build_table(
            ["metric", "stage", "baseline", "candidate", "change (95 % CI)", "p-value", "verdict"], change_cells
        ),
        [f"… and {hidden_count} more in the result"] if hidden_count else [],
        build_bullet_list([*map(escape_text, section.notes)]),
    ]
    return [line for block in blocks if block for line in (*block, "")]


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
        _build_section("Objectives", _build_objective_table(report.objectives)),
        _build_section("Comparison", build_comparison_lines(report.comparison) if report.comparison else []),
        _build_section("Stages", _build_stage_table(report.stages, formatting.format_metric_label(report.times))),
        _build_section(formatting.CLASS_TITLE, _build_class_tables(report.classes, report.times)),
        _build_section("Tokens", _build_token_table(report.tokens)),
        _build_section("Audio and images", _build_media_table(report.media)),
        _build_section(
            "Batch", [f"- {escape_text(line)}" for row in report.batches for line in formatting.describe_batch(row)]
        ),
        _build_section("Server", _build_server_table(report.servers)),
        _build_section("Errors", _build_error_table(report.errors)),
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
    sections = [
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
    cells = [tuple(map(escape_text, plan_sentences.build_shape_cells(row))) for row in section.rows]
    return [
        escape_text(section.statement),
        "",
        escape_text(plan_sentences.describe_shape_traffic(section)),
        "",
        *(build_table(plan_sentences.SHAPE_COLUMNS, cells) or [escape_text(plan_sentences.NO_SHAPE_OFFER)]),
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


def _build_objective_table(rows: Sequence[ObjectiveRow]) -> list[str]:
    cell_rows = [
        [
            escape_text(row.display_text) + (" (default)" if row.implied else ""),
            row.kind if row.level == "fail" else f"{row.kind}, warning only",
            _format_quantity(row.observed),
            "n/a" if row.observed.n is None else formatting.format_count(row.observed.n),
            "n/a" if row.margin is None else escape_text(formatting.format_percent(row.margin)),
            escape_text(row.stage or "n/a"),
            f"**{row.outcome}**" + (f" {escape_text(row.why)}" if row.why else ""),
        ]
        for row in rows[:_MAX_ROWS]
    ]
    columns = ["objective", "kind", "observed (95 % CI)", "samples", "margin", "stage", "result"]
    return build_table(columns, cell_rows) + _build_more_note(len(rows))


def _build_stage_table(rows: Sequence[StageRow], times: str) -> list[str]:
    cell_rows = [
        [
            escape_text(formatting.format_stage_name(row.name, row.repeat)),
            escape_text(row.arrivals or row.kind),
            _format_cell(row.offered),
            "n/a" if row.throughput is None else _format_cell(row.throughput),
            *map(_format_cell, (row.p50, row.p95, row.p99)),
            formatting.format_count(row.failed),
            formatting.display_state(formatting.find_stage_state(row)),
        ]
        for row in rows[:_MAX_ROWS]
    ]
    columns = ["stage", "load", "offered", "throughput", f"p50 {escape_text(times)}", "p95", "p99", "failed", "result"]
    return build_table(columns, cell_rows) + _build_more_note(len(rows))


def _build_token_table(rows: Sequence[TokenRow]) -> list[str]:
    names = ("p50 TTFT", "p95 TTFT", "p99 TTFT", "p50 TPOT", "p95 TPOT", "p50 ITL", "p99 ITL", "tok/s")
    cell_rows = [[escape_text(row.stage), *map(_format_cell, _list_token_quantities(row))] for row in rows[:_MAX_ROWS]]
    return build_table(["stage", *names], cell_rows) + _build_more_note(len(rows))


def _build_class_tables(section: ClassSection | None, times: str) -> list[str]:
    """Return a table that compares the classes in one stage, and a table of all stages per class if
    there are several stages."""
    if section is None:
        return []
    lines = [f"In {escape_text(section.stage)}:", "", *_build_class_table("class", section, section.overview, times)]
    for name, rows in section.rows_by_class.items():
        lines += ["", f"#### {escape_text(name)}", "", *_build_class_table("stage", section, rows, times)]
    return lines


def _build_class_table(
    first_column: Literal["class", "stage"], section: ClassSection, rows: Sequence[ClassRow], times: str
) -> list[str]:
    latency_name = escape_text(formatting.format_metric_label(times))
    token_names = ("p50 TTFT", "p95 TTFT", "p99 TTFT", "p50 TPOT", "p95 TPOT", "p99 ITL") if section.has_tokens else ()
    names = (
        first_column, "share (weight)", "requests", "failed", *token_names, f"p50 {latency_name}", "p95", "p99",
        "throughput", *(("tok/s",) if section.has_tokens else ()), "goodput", "SLO",
    )  # fmt: skip
    cell_rows = []
    for row in rows[:_MAX_ROWS]:
        tokens = (row.ttft_p50, row.ttft_p95, row.ttft_p99, row.tpot_p50, row.tpot_p95, row.itl_p99)
        rates = (row.throughput, row.output_tokens_per_s) if section.has_tokens else (row.throughput,)
        latencies = (row.latency_p50, row.latency_p95, row.latency_p99)
        share_text = f"{_format_cell(row.share)} ({formatting.format_percent(row.weight_share)})"
        cell_rows.append(
            [
                escape_text(row.name if first_column == "class" else row.stage),
                share_text,
                formatting.format_count(row.requests),
                formatting.format_count(row.failed),
                *map(_format_cell, (*(tokens if section.has_tokens else ()), *latencies, *rates, row.goodput)),
                formatting.format_class_state(row),
            ]
        )
    return build_table(names, cell_rows) + _build_more_note(len(rows))


def _build_media_table(rows: Sequence[MediaRow]) -> list[str]:
    columns = formatting.list_media_columns(rows[:_MAX_ROWS])
    cell_rows = [
        [escape_text(row.stage), *(_format_cell(cells[index]) for _, cells in columns)]
        for index, row in enumerate(rows[:_MAX_ROWS])
    ]
    return build_table(
        ["stage", *(formatting.MEDIA_HEADERS[name] for name, _ in columns)], cell_rows
    ) + _build_more_note(len(rows))


def _build_server_table(rows: Sequence[ServerRow]) -> list[str]:
    names = ("queue", "prefill", "decode", "server TTFT", "client TTFT", "server ITL", "client ITL", "cached input")
    cell_rows = [
        [
            escape_text(row.stage),
            *map(
                _format_cell,
                (row.queue, row.prefill, row.decode, row.ttft, row.client_ttft, row.itl, row.client_itl, row.cached),
            ),
        ]
        for row in rows[:_MAX_ROWS]
    ]
    return build_table(["stage", *names], cell_rows) + _build_more_note(len(rows))


def _list_token_quantities(row: TokenRow) -> tuple[Quantity, ...]:
    ttft_percentiles, tpot_percentiles = (row.ttft_p50, row.ttft_p95, row.ttft_p99), (row.tpot_p50, row.tpot_p95)
    return (*ttft_percentiles, *tpot_percentiles, row.itl_p50, row.itl_p99, row.tokens_per_s)


def _build_error_table(rows: Sequence[ErrorRow]) -> list[str]:
    cell_rows = [
        [
            escape_text(row.error),
            formatting.format_count(row.count),
            _format_cell(row.share),
            escape_text(row.sample or "n/a"),
        ]
        for row in rows[:_MAX_ROWS]
    ]
    return build_table(["error", "count", "share of requests", "first example"], cell_rows) + _build_more_note(
        len(rows)
    )


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
