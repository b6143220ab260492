"""Render a comparison as plain text: environment differences, headline metrics, then other
changes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from reports import formatting
from reports.comparison_section import ChangeRow, ComparisonSection, DifferenceRow
from reports.formatting import sanitize
from reports.model import Quantity
from reports.shortening import shorten

_MAX_ROWS = 20
_MAX_OTHER_ROWS = 8
_MAX_CELL_CHARS = 48


def render_comparison(section: ComparisonSection, width: int = 100) -> str:
    """Render a comparison as plain text without a trailing newline. Tables have their natural
    width; all other lines are wrapped at `width` characters."""
    section = sanitize(section)
    blocks = [
        textwrap.wrap(section.headline, width),
        _build_run_lines(section, width),
        textwrap.wrap(section.banner or "", width),
        _build_difference_table(section.differences),
        *_build_tables(section),
        [line for note in section.notes for line in textwrap.wrap(note, width, subsequent_indent="  ")],
    ]
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    return text.replace(formatting.THIN_SPACE, " ")


def build_comparison_summary_lines(section: ComparisonSection) -> list[str]:
    """Return the lines about a comparison for the summary of a run: the outcome, and the headline
    metrics that changed."""
    changed_rows = [row for row in section.rows if row.is_headline and row.verdict in ("worse", "better")]
    return [
        section.headline,
        *([section.banner] if section.banner else []),
        *(
            f"{row.verdict} {row.metric} in {row.stage}: {format_effect(row.ratio)}"
            for row in changed_rows[:_MAX_OTHER_ROWS]
        ),
    ]


def format_effect(ratio: Quantity) -> str:
    """Format a ratio as a relative change with its confidence interval, such as "+12.3 % (+9.8 % to
    +14.1 %)"; n/a without a value."""
    if ratio.value is None:
        return formatting.NOT_AVAILABLE
    text = format_change(ratio.value)
    return text if ratio.ci95 is None else f"{text} ({format_change(ratio.ci95[0])} to {format_change(ratio.ci95[1])})"


def format_remark(row: ChangeRow) -> str:
    """Describe the noise of a metric, the number of further repeats needed, or the minimum
    detectable change."""
    if row.is_headline and not row.may_fail:
        return f"noise {formatting.format_percent(row.noise or 0.0)}, informational"
    if row.verdict == "inconclusive" and row.more_repeats is not None:
        return f"about {formatting.format_count(row.more_repeats)} more runs per side are needed"
    return "" if row.detectable is None else f"minimum detectable change {formatting.format_percent(row.detectable)}"


def format_change(ratio: float) -> str:
    """Format a ratio as a relative change in percent, with its sign."""
    change_percent = 100 * (ratio - 1)
    decimals = 1 if abs(change_percent) < 100 else 0
    return f"{round(change_percent, decimals) + 0.0:+,.{decimals}f}{formatting.THIN_SPACE}%"


def _build_run_lines(section: ComparisonSection, width: int) -> list[str]:
    return [
        line
        for name, runs in (("baseline", section.baseline), ("candidate", section.candidate))
        for line in textwrap.wrap(f"{name:9}  {', '.join(runs)}", width, subsequent_indent=" " * 11)
    ]


def _build_difference_table(rows: Sequence[DifferenceRow]) -> list[str]:
    if not rows:
        return ["Environment: no differences"]
    cells = [
        (
            row.name,
            shorten(row.baseline, _MAX_CELL_CHARS),
            shorten(row.candidate, _MAX_CELL_CHARS),
            "not comparable" if row.forbids else "informational",
        )
        for row in rows
    ]
    return _format_table([("environment", "baseline", "candidate", "effect"), *cells])


def _build_tables(section: ComparisonSection) -> list[list[str]]:
    headline_rows = [row for row in section.rows if row.is_headline]
    changed_rows = [row for row in section.rows if not row.is_headline and row.verdict in ("better", "worse")]
    same_count = len(section.rows) - len(headline_rows) - len(changed_rows)
    tables = [
        _build_change_table(headline_rows, _MAX_ROWS),
        _build_change_table(changed_rows, _MAX_OTHER_ROWS, "informational"),
    ]
    return [
        *tables,
        [f"{formatting.format_count(same_count)} other metrics without a significant change"] if same_count else [],
    ]


def _build_change_table(rows: Sequence[ChangeRow], max_rows: int, title: str = "metric") -> list[str]:
    if not rows:
        return []
    verdict_order = {"worse": 0, "better": 1, "inconclusive": 2, "same": 3}
    sorted_rows = sorted(rows, key=lambda row: verdict_order[row.verdict])
    cells = [
        (title, "stage", "baseline", "candidate", "change", "p-value", "verdict", ""),
        *map(_format_cells, sorted_rows[:max_rows]),
    ]
    return [
        *_format_table(cells),
        *([f"… and {len(rows) - max_rows} more in the JSON report"] if len(rows) > max_rows else []),
    ]


def _format_cells(row: ChangeRow) -> tuple[str, ...]:
    p_value_text = "" if row.p_value is None else formatting.format_p_value(row.p_value)
    value_texts = (
        formatting.format_value_unit(row.baseline),
        formatting.format_value_unit(row.candidate),
        format_effect(row.ratio),
    )
    return (row.metric, row.stage, *value_texts, p_value_text, row.verdict, format_remark(row))


def _format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip() for row in rows
    ]
