"""Render a report as Markdown, for a job summary or a comment: the decision or the result, its
caveats, then the numbers.

The module also renders comparisons, and escapes free-form strings, tables and lists for the
Markdown dialects of GitHub and GitLab.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from reports import formatting
from reports.comparison_section import ComparisonReport, ComparisonSection
from reports.comparison_text import format_effect, format_remark
from reports.decision import (
    decide_plan,
    decide_run,
    leads_with_plan,
    list_warnings,
    summarize_caveats,
    tiles_beside_decision,
)
from reports.formatting import sanitize
from reports.local_model import LocalSection
from reports.local_text import headline_variant_lines, remaining_variant_lines, variant_table
from reports.model import (
    CheckRow,
    ErrorRow,
    HeadlineTile,
    ObjectiveRow,
    PlanReport,
    PlanSection,
    Quantity,
    Report,
    ReportHeader,
    StageRow,
    TokenRow,
)
from reports.plan_text import decision_lines, offer_lines
from reports.plan_text import detail_lines as plan_lines

_SPACES = re.compile(r"\s+")
_ACTIVE = re.compile(r"[\\`*_\[\]|~$<>&]")
_LINKS = re.compile(r"(?i)(?<=:)//|(?<=www)\.|@")
_BEGINS_A_BLOCK = re.compile(r"^[#+\-=]")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def escape_text(raw: str) -> str:
    """Escape a string for a single line of Markdown that displays `raw` literally, without markup,
    links or block markers."""
    line = _ACTIVE.sub(r"\\\g<0>", _SPACES.sub(" ", raw).strip())
    line = _LINKS.sub(r"\\\g<0>", line)
    return _NUMBERED.sub(r"\1\\\2", _BEGINS_A_BLOCK.sub(r"\\\g<0>", line))


def bullet_list(lines: Sequence[str]) -> list[str]:
    """Build a Markdown list of the non-empty lines, which must already be Markdown."""
    return [f"- {line}" for line in lines if line]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Build a Markdown table; the cells must already be Markdown. Columns without a header are
    omitted. Returns no lines if there are no rows."""
    columns_kept = [index for index, name in enumerate(columns) if name]
    lines = [columns, ["---"] * len(columns), *rows] if rows else []
    return [f"| {' | '.join(line[index] for index in columns_kept)} |" for line in lines]


_MAX_COMPARISON_ROWS = 50


def comparison_page(report: ComparisonReport) -> str:
    """Render a comparison as a separate Markdown document with a trailing newline."""
    report = sanitize(report)
    title = (
        f"# {escape_text(', '.join(report.comparison.base))} vs. {escape_text(', '.join(report.comparison.candidate))}"
    )
    made_by = f"Created by {escape_text(report.tool)}: {escape_text(report.command)}"
    return "\n".join([title, "", *comparison_markdown(report.comparison), made_by, ""])


def comparison_markdown(section: ComparisonSection) -> list[str]:
    differences = [
        [
            escape_text(row.name),
            escape_text(row.base),
            escape_text(row.candidate),
            "**not comparable**" if row.forbids else "informational",
        ]
        for row in section.differences
    ]
    headlines = [row for row in section.rows if row.is_headline]
    changes = [
        [
            escape_text(row.metric),
            escape_text(row.stage),
            *map(
                escape_text,
                (
                    formatting.format_value_unit(row.base),
                    formatting.format_value_unit(row.candidate),
                    format_effect(row.ratio),
                ),
            ),
            "n/a" if row.p_value is None else escape_text(formatting.format_p_value(row.p_value)),
            f"**{row.verdict}** {escape_text(format_remark(row))}".rstrip(),
        ]
        for row in headlines[:_MAX_COMPARISON_ROWS]
    ]
    hidden_count = len(headlines) - len(changes)
    parts = [
        [escape_text(section.headline)],
        [f"**{escape_text(section.banner)}**"] if section.banner else [],
        table(["environment", "base", "candidate", "effect"], differences),
        table(["metric", "stage", "base", "candidate", "change (95 % CI)", "p", "verdict"], changes),
        [f"… and {hidden_count} more in the result."] if hidden_count else [],
        bullet_list([*map(escape_text, section.notes)]),
    ]
    return [line for part in parts if part for line in (*part, "")]


MAX_BYTES = 900 * 1024
"""Maximum size of a job summary, in bytes. GitHub rejects a summary above 1,024 KiB completely."""
_MAX_ROWS = 200
_MAX_WIDTH = 10_000
_TRUNCATED_NOTE = "\n_Truncated to the size limit of a job summary. See report.html for the full report._\n"


def render_markdown(report: Report, max_bytes: int = MAX_BYTES) -> str:
    """Render as many complete sections as fit in `max_bytes`. The result is empty if even the
    verdict does not fit."""
    report = sanitize(report)
    planned = report.plan if leads_with_plan(report) else None
    sections = [
        [*_head(report, planned), *_caveats(list_warnings(report), report.notes), *_checks(report.checks)],
        _section("Numbers", _tiles(tiles_beside_decision(report))),
        _section("Objectives", _objectives(report.objectives)),
        _section("Comparison", comparison_markdown(report.comparison) if report.comparison else []),
        _section("Stages", _stages(report.stages, formatting.metric_name(report.times))),
        _section("Tokens", _tokens(report.tokens)),
        _section("Errors", _errors(report.errors)),
        *(_local(report.local) if report.local else []),
        _section("Plan", _plan(report.plan, is_decided=planned is not None)),
        _run(report.header),
    ]
    return _fit_sections(["\n".join(lines) + "\n" for lines in sections if lines], max_bytes)


def render_plan_markdown(report: PlanReport) -> str:
    report = sanitize(report)
    plan = report.plan
    titled = [("Plan", offer_lines(plan)), *plan_lines(plan)]
    sections = [
        [*_decision(plan, "## "), *_caveats(list(plan.checks), ())],
        *(_section(title, bullet_list([*map(escape_text, lines)])) for title, lines in titled),
    ]
    return _fit_sections(["\n".join(lines) + "\n" for lines in sections if lines], MAX_BYTES)


def _fit_sections(sections: Sequence[str], most_bytes: int) -> str:
    shown, room = "", most_bytes - len(_TRUNCATED_NOTE.encode())
    for section in sections:
        part = f"\n{section}" if shown else section
        if len(part.encode()) > room:
            return shown + _TRUNCATED_NOTE if shown else ""
        shown, room = shown + part, room - len(part.encode())
    return shown


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"### {title}", "", *lines] if lines else []


def _head(report: Report, planned: PlanSection | None) -> list[str]:
    header, verdict, result = report.header, report.verdict, decide_run(report)
    location = f"{header.target}, on {header.hardware}" if header.hardware else header.target
    location = location if header.user_title is None else f"{header.title}: {location}"
    headline = f"{verdict.stamp} {result.headline}" if verdict.stamp else result.headline
    evidence = "" if planned else result.evidence
    measured = f"{result.sentence} {verdict.detail}".strip()
    details = [line for line in (measured, evidence) if line]
    return [
        f"## {verdict.outcome}: {escape_text(header.name)}",
        "",
        *(_decision(planned, "### ") if planned else []),
        f"**{escape_text(headline)}**",
        "",
        *bullet_list([*map(escape_text, (*details, *verdict.reasons))]),
        *([""] if details or verdict.reasons else []),
        f"{escape_text(location)}. Measurement **{verdict.validity}**.",
        "",
    ]


def _decision(plan: PlanSection, mark: str) -> list[str]:
    first = (
        [] if plan.capacity_knowledge is None else [plan.capacity_knowledge.headline, plan.capacity_knowledge.next_step]
    )
    headline, *lines = decide_plan(plan).lines
    return [
        f"{mark}{escape_text(headline)}",
        "",
        *bullet_list([*map(escape_text, (*first, *lines))]),
        "",
    ]


def _plan(plan: PlanSection | None, *, is_decided: bool) -> list[str]:
    if plan is None:
        return []
    decision = [] if is_decided else decision_lines(plan)
    return bullet_list([*map(escape_text, (*decision, *offer_lines(plan, is_decided=is_decided), *plan.notes))])


def _caveats(warnings: Sequence[CheckRow], notes: Sequence[str]) -> list[str]:
    """Return the caveats as a collapsed section whose summary states their number and names."""
    summary = _SPACES.sub(" ", summarize_caveats(list(warnings), len(notes)))
    if not summary:
        return []
    listed = [*map(_check, warnings[:_MAX_ROWS]), *map(escape_text, notes)]
    return ["<details>", f"<summary>{html.escape(summary)}</summary>", "", *bullet_list(listed), "", "</details>", ""]


def _checks(checks: Sequence[CheckRow]) -> list[str]:
    failed_count = sum(check.verdict != "VALID" for check in checks)
    if not checks:
        return ["No validity checks."]
    if not failed_count:
        return [f"{formatting.format_count_noun(len(checks), 'check')} passed."]
    return [f"{len(checks) - failed_count} of {len(checks)} checks passed."]


def _check(check: CheckRow) -> str:
    limit = "" if check.limit is None else f", limit {escape_text(formatting.check_limit(check))}"
    hint = f" {escape_text(check.hint)}" if check.hint else ""
    return f"**{check.verdict}** {escape_text(check.name)}: {escape_text(formatting.check_value(check))}{limit}.{hint}"


def _quantity(quantity: Quantity) -> str:
    """Format a value with its interval; an INVALID value is struck through."""
    if quantity.value is None:
        text = formatting.format_value_unit(quantity)
        return escape_text(f"{text} ({quantity.reason})" if quantity.reason else text)
    shown = escape_text(formatting.format_quantity(quantity))
    return f"~~{shown}~~ INVALID" if quantity.validity == "INVALID" else shown


def _cell(quantity: Quantity) -> str:
    return (
        _quantity(quantity) if quantity.validity == "INVALID" else escape_text(formatting.format_value_unit(quantity))
    )


def _tiles(tiles: Sequence[HeadlineTile]) -> list[str]:
    rows = [
        [
            escape_text(tile.label),
            _quantity(tile.quantity),
            escape_text(formatting.format_limit(tile.limit)) if tile.limit else "",
            tile.quantity.basis if tile.quantity.value is not None else "",
            escape_text(tile.note or ""),
        ]
        for tile in tiles
    ]
    return table(["metric", "value (95 % CI)", "SLO", "basis", "note"], rows)


def _objectives(rows: Sequence[ObjectiveRow]) -> list[str]:
    cells = [
        [
            escape_text(row.display_text) + (" (default)" if row.implied else ""),
            row.kind if row.level == "fail" else f"{row.kind}, warning only",
            _quantity(row.observed),
            "n/a" if row.observed.n is None else formatting.format_count(row.observed.n),
            "n/a" if row.margin is None else escape_text(formatting.format_percent(row.margin)),
            escape_text(row.stage or "n/a"),
            f"**{row.outcome}**" + (f" {escape_text(row.why)}" if row.why else ""),
        ]
        for row in rows[:_MAX_ROWS]
    ]
    columns = ["objective", "kind", "observed (95 % CI)", "samples", "margin", "stage", "result"]
    return table(columns, cells) + _more_note(len(rows))


def _stages(rows: Sequence[StageRow], times: str) -> list[str]:
    cells = [
        [
            escape_text(f"{row.name} #{row.repeat}" if row.repeat > 1 else row.name),
            escape_text(row.arrivals or row.kind),
            _cell(row.offered),
            "n/a" if row.responses is None else _cell(row.responses),
            *map(_cell, (row.p50, row.p95, row.p99)),
            formatting.format_count(row.failed),
            formatting.display_state(formatting.stage_state(row)),
        ]
        for row in rows[:_MAX_ROWS]
    ]
    columns = ["stage", "load", "offered", "throughput", f"p50 {escape_text(times)}", "p95", "p99", "failed", "result"]
    return table(columns, cells) + _more_note(len(rows))


def _tokens(rows: Sequence[TokenRow]) -> list[str]:
    names = ("TTFT p50", "TTFT p95", "TTFT p99", "TPOT p50", "TPOT p95", "ITL p50", "ITL p99", "tok/s")
    cells = [[escape_text(row.stage), *map(_cell, _token_quantities(row))] for row in rows[:_MAX_ROWS]]
    return table(["stage", *names], cells) + _more_note(len(rows))


def _token_quantities(row: TokenRow) -> tuple[Quantity, ...]:
    ttft, per_token = (row.ttft_p50, row.ttft_p95, row.ttft_p99), (row.tpot_p50, row.tpot_p95)
    return (*ttft, *per_token, row.itl_p50, row.itl_p99, row.tokens_per_s)


def _errors(rows: Sequence[ErrorRow]) -> list[str]:
    cells = [
        [escape_text(row.error), formatting.format_count(row.count), _cell(row.share), escape_text(row.sample or "n/a")]
        for row in rows[:_MAX_ROWS]
    ]
    return table(["error", "count", "share of requests", "first example"], cells) + _more_note(len(rows))


def _more_note(count: int) -> list[str]:
    return ["", f"… and {count - _MAX_ROWS} more in the report"] if count > _MAX_ROWS else []


def _local(local: LocalSection) -> list[list[str]]:
    head, *rows = variant_table(local, _MAX_WIDTH) or [[]]
    lines = [
        escape_text(f"{local.common}; times in ms"),
        "",
        *table([*map(escape_text, head)], [[*map(escape_text, row)] for row in rows]),
        "",
        *bullet_list([*map(escape_text, remaining_variant_lines(local))]),
    ]
    titled = [
        _section(title, bullet_list([*map(escape_text, lines)])) for title, lines in headline_variant_lines(local)
    ]
    return [_section("Variants", lines), *titled]


def _run(header: ReportHeader) -> list[str]:
    items = (
        f"Run {header.run_id}",
        header.started,
        formatting.format_duration(header.duration_s),
        header.tool,
        f"profile {header.profile_hash[:19]}",
    )
    return [f"<sub>{' · '.join(map(escape_text, items))}</sub>"]
