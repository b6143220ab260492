"""The report as Markdown, for a job's summary or a comment: verdict first, then what to doubt, then the numbers.

Markdown as GitHub and GitLab read it: free text that stays text, tables and lists.

A comparison as Markdown: environment first, then the metrics that count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from reports import formatting
from reports.comparison_section import ComparisonReport, ComparisonSection
from reports.comparison_text import effect, remark
from reports.formatting import printable
from reports.local_model import LocalSection
from reports.local_text import best_lines, more_lines, variant_lines
from reports.model import (
    CheckRow,
    ErrorRow,
    HeadlineTile,
    ObjectiveRow,
    PlanReport,
    Quantity,
    Report,
    ReportHeader,
    ReportVerdict,
    StageRow,
    TokenRow,
)
from reports.plan_text import more_lines as plan_lines
from reports.plan_text import summary_lines

_SPACES = re.compile(r"\s+")
_ACTIVE = re.compile(r"[\\`*_\[\]|~$<>&]")
_LINKS = re.compile(r"(?i)(?<=:)//|(?<=www)\.|@")
_BEGINS_A_BLOCK = re.compile(r"^[#+\-=]")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def text(raw: str) -> str:
    """One line that reads as `raw`: nothing in it is markup, an address to click, or the beginning of a block."""
    line = _ACTIVE.sub(r"\\\g<0>", _SPACES.sub(" ", raw).strip())
    line = _LINKS.sub(r"\\\g<0>", line)
    return _NUMBERED.sub(r"\1\\\2", _BEGINS_A_BLOCK.sub(r"\\\g<0>", line))


def bullets(lines: Sequence[str]) -> list[str]:
    """Of lines that are Markdown already."""
    return [f"- {line}" for line in lines if line]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Of cells that are Markdown already. Columns without a head are left out; without rows there is no table."""
    kept = [place for place, name in enumerate(columns) if name]
    lines = [columns, ["---"] * len(columns), *rows] if rows else []
    return [f"| {' | '.join(line[place] for place in kept)} |" for line in lines]


_MAX_COMPARISON_ROWS = 50


def comparison_page(report: ComparisonReport) -> str:
    """A document of its own, with a line break at the end."""
    report = printable(report)
    title = f"# {text(', '.join(report.comparison.base))} against {text(', '.join(report.comparison.candidate))}"
    made = f"Made by {text(report.tool)}: {text(report.command)}"
    return "\n".join([title, "", *comparison_markdown(report.comparison), made, ""])


def comparison_markdown(section: ComparisonSection) -> list[str]:
    differences = [
        [text(row.name), text(row.base), text(row.candidate), "**not comparable**" if row.forbids else "told"]
        for row in section.differences
    ]
    headlines = [row for row in section.rows if row.is_headline]
    changes = [
        [
            text(row.metric),
            text(row.stage),
            *map(text, (formatting.value_unit(row.base), formatting.value_unit(row.candidate), effect(row.ratio))),
            "n/a" if row.p_value is None else text(formatting.p_value(row.p_value)),
            f"**{row.verdict}** {text(remark(row))}".rstrip(),
        ]
        for row in headlines[:_MAX_COMPARISON_ROWS]
    ]
    left = len(headlines) - len(changes)
    parts = [
        [text(section.sentence)],
        [f"**{text(section.banner)}**"] if section.banner else [],
        table(["environment", "base", "candidate", "so"], differences),
        table(["metric", "stage", "base", "candidate", "change (95 %)", "p", "verdict"], changes),
        [f"… and {left} more in the result."] if left else [],
        bullets([*map(text, section.notes)]),
    ]
    return [line for part in parts if part for line in (*part, "")]


MAX_BYTES = 900 * 1024
"""A job summary over 1,024 KiB is dropped whole."""
_MOST_ROWS = 200
_WIDE = 10_000
_CUT = "\n_What would make this longer than a job's summary may be is left out; it is in report.html._\n"


def render_markdown(report: Report, most_bytes: int = MAX_BYTES) -> str:
    """Whole sections, as many as `most_bytes` have room for; empty where they have none for the verdict."""
    report = printable(report)
    sections = [
        [*_head(report.header, report.verdict), *_checks(report.checks)],
        _section("Numbers", _tiles(report.tiles)),
        _section("Objectives", _objectives(report.objectives)),
        _section("Comparison", comparison_markdown(report.comparison) if report.comparison else []),
        _section("Stages", _stages(report.stages, formatting.metric(report.times))),
        _section("Tokens", _tokens(report.tokens)),
        _section("Errors", _errors(report.errors)),
        *(_local(report.local) if report.local else []),
        _section("Plan", bullets([*map(text, summary_lines(report.plan))]) if report.plan else []),
        _section("Notes", bullets([*map(text, report.notes)])),
        _run(report.header),
    ]
    return _fitted(["\n".join(lines) + "\n" for lines in sections if lines], most_bytes)


def render_plan_markdown(report: PlanReport) -> str:
    report = printable(report)
    titled = [("Plan", summary_lines(report.plan)), *plan_lines(report.plan)]
    sections = [_section(title, bullets([*map(text, lines)])) for title, lines in titled]
    return _fitted(["\n".join(lines) + "\n" for lines in sections if lines], MAX_BYTES)


def _fitted(sections: Sequence[str], most_bytes: int) -> str:
    shown, room = "", most_bytes - len(_CUT.encode())
    for section in sections:
        part = f"\n{section}" if shown else section
        if len(part.encode()) > room:
            return shown + _CUT if shown else ""
        shown, room = shown + part, room - len(part.encode())
    return shown


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"### {title}", "", *lines] if lines else []


def _head(header: ReportHeader, verdict: ReportVerdict) -> list[str]:
    where = f"{header.target}, on {header.hardware}" if header.hardware else header.target
    where = where if header.called is None else f"{header.title}: {where}"
    return [
        f"## {verdict.outcome}: {text(header.name)}",
        "",
        text(verdict.sentence),
        "",
        *bullets([*map(text, verdict.reasons)]),
        *([""] if verdict.reasons else []),
        f"{text(where)}. Measurement **{verdict.trust}**.",
        "",
    ]


def _checks(checks: Sequence[CheckRow]) -> list[str]:
    doubtful = [check for check in checks if check.verdict != "VALID"]
    if not checks:
        return ["No validity check was made."]
    if not doubtful:
        return [f"{len(checks)} checks, all valid."]
    told = [_check(check) for check in doubtful[:_MOST_ROWS]]
    return [*bullets(told), "", f"{len(checks) - len(doubtful)} of {len(checks)} checks are valid."]


def _check(check: CheckRow) -> str:
    limit = "" if check.limit is None else f", limit {text(formatting.check_limit(check))}"
    hint = f" {text(check.hint)}" if check.hint else ""
    return f"**{check.verdict}** {text(check.name)}: {text(formatting.check_value(check))}{limit}.{hint}"


def _quantity(one: Quantity) -> str:
    """With its interval; struck through where it is not to be relied on."""
    if one.value is None:
        return text(f"{formatting.NOT_AVAILABLE} ({one.reason})" if one.reason else formatting.NOT_AVAILABLE)
    shown = text(formatting.quantity(one))
    return f"~~{shown}~~ INVALID" if one.trust == "INVALID" else shown


def _cell(one: Quantity) -> str:
    return _quantity(one) if one.trust == "INVALID" else text(formatting.value_unit(one))


def _tiles(tiles: Sequence[HeadlineTile]) -> list[str]:
    rows = [
        [
            text(tile.label),
            _quantity(tile.quantity),
            text(formatting.limit(tile.limit)) if tile.limit else "",
            tile.quantity.basis if tile.quantity.value is not None else "",
            text(tile.note or ""),
        ]
        for tile in tiles
    ]
    return table(["number", "value (95 % interval)", "SLO", "basis", "of"], rows)


def _objectives(rows: Sequence[ObjectiveRow]) -> list[str]:
    cells = [
        [
            text(row.text) + (" (implied)" if row.implied else ""),
            row.kind if row.level == "fail" else f"{row.kind}, warns only",
            _quantity(row.observed),
            "n/a" if row.observed.n is None else formatting.count(row.observed.n),
            "n/a" if row.margin is None else text(formatting.percent(row.margin)),
            text(row.stage or "n/a"),
            f"**{row.judgement}**" + (f" {text(row.why)}" if row.why else ""),
        ]
        for row in rows[:_MOST_ROWS]
    ]
    columns = ["objective", "kind", "observed (95 % interval)", "samples", "margin", "judged in", "result"]
    return table(columns, cells) + _left_out(len(rows))


def _stages(rows: Sequence[StageRow], times: str) -> list[str]:
    cells = [
        [
            text(f"{row.name} #{row.repeat}" if row.repeat > 1 else row.name),
            text(row.arrivals or row.kind),
            _cell(row.offered),
            "n/a" if row.answered is None else _cell(row.answered),
            *map(_cell, (row.p50, row.p95, row.p99)),
            formatting.count(row.failed),
            formatting.stage_state(row),
        ]
        for row in rows[:_MOST_ROWS]
    ]
    columns = ["stage", "arrivals", "offered", "answered", f"{text(times)} p50", "p95", "p99", "failed", "SLO"]
    return table(columns, cells) + _left_out(len(rows))


def _tokens(rows: Sequence[TokenRow]) -> list[str]:
    names = ("TTFT p50", "TTFT p95", "TTFT p99", "TPOT p50", "TPOT p95", "ITL p50", "ITL p99", "tokens/s")
    cells = [[text(row.stage), *map(_cell, _token_quantities(row))] for row in rows[:_MOST_ROWS]]
    return table(["stage", *names], cells) + _left_out(len(rows))


def _token_quantities(row: TokenRow) -> tuple[Quantity, ...]:
    first, each = (row.ttft_p50, row.ttft_p95, row.ttft_p99), (row.tpot_p50, row.tpot_p95)
    return (*first, *each, row.itl_p50, row.itl_p99, row.tokens_per_s)


def _errors(rows: Sequence[ErrorRow]) -> list[str]:
    cells = [
        [text(row.error), formatting.count(row.count), _cell(row.share), text(row.sample or "n/a")]
        for row in rows[:_MOST_ROWS]
    ]
    return table(["error", "count", "of all arrivals", "the first"], cells) + _left_out(len(rows))


def _left_out(count: int) -> list[str]:
    return ["", f"… and {count - _MOST_ROWS} more in the report"] if count > _MOST_ROWS else []


def _local(local: LocalSection) -> list[list[str]]:
    head, *rows = variant_lines(local, _WIDE) or [[]]
    shown = [
        text(f"{local.common}; times in ms"),
        "",
        *table([*map(text, head)], [[*map(text, row)] for row in rows]),
        "",
        *bullets([*map(text, more_lines(local))]),
    ]
    titled = [_section(title, bullets([*map(text, lines)])) for title, lines in best_lines(local)]
    return [_section("Variants", shown), *titled]


def _run(header: ReportHeader) -> list[str]:
    facts = (
        f"Run {header.run_id}",
        header.started,
        formatting.seconds(header.duration_s),
        header.tool,
        f"profile {header.profile_hash[:19]}",
    )
    return [f"<sub>{' · '.join(map(text, facts))}</sub>"]
