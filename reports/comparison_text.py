"""A comparison as plain text: what differs around the two, then the metrics that count, then what else changed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from reports import formatting
from reports.comparison_section import ChangeRow, ComparisonSection, DifferenceRow
from reports.formatting import printable
from reports.model import Quantity

_MOST_ROWS = 20
_MOST_OTHERS = 8
_MOST_LETTERS = 48


def render_comparison(section: ComparisonSection, width: int = 100) -> str:
    """Without a line break at the end. Tables are as wide as they are; all else keeps to the width."""
    section = printable(section)
    blocks = [
        textwrap.wrap(section.sentence, width),
        _repeats(section, width),
        textwrap.wrap(section.banner or "", width),
        _differences(section.differences),
        *_tables(section),
        [line for note in section.notes for line in textwrap.wrap(note, width, subsequent_indent="  ")],
    ]
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    return text.replace(formatting.THIN, " ")


def comparison_lines(section: ComparisonSection) -> list[str]:
    """For the summary of a run: what decides, in few lines."""
    telling = [row for row in section.rows if row.is_headline and row.verdict in ("worse", "better")]
    return [
        section.sentence,
        *([section.banner] if section.banner else []),
        *(f"{row.verdict} {row.metric} in {row.stage}: {effect(row.ratio)}" for row in telling[:_MOST_OTHERS]),
    ]


def effect(ratio: Quantity) -> str:
    """A ratio as the change it is: "+12.3 % (+9.8 % to +14.1 %)"; n/a without one."""
    if ratio.value is None:
        return formatting.NOT_AVAILABLE
    text = change(ratio.value)
    return text if ratio.ci95 is None else f"{text} ({change(ratio.ci95[0])} to {change(ratio.ci95[1])})"


def remark(row: ChangeRow) -> str:
    """What would decide it, or what it could have seen."""
    if row.is_headline and not row.may_fail:
        return f"varies by {formatting.percent(row.noise or 0.0)}, fails nothing"
    if row.verdict == "inconclusive" and row.more_repeats is not None:
        return f"{formatting.count(row.more_repeats)} more of each may tell"
    return "" if row.detectable is None else f"{formatting.percent(row.detectable)} would show"


def change(ratio: float) -> str:
    """A ratio as a signed percentage."""
    percent = 100 * (ratio - 1)
    decimals = 1 if abs(percent) < 100 else 0
    return f"{round(percent, decimals) + 0.0:+,.{decimals}f}{formatting.THIN}%"


def _repeats(section: ComparisonSection, width: int) -> list[str]:
    return [
        line
        for name, runs in (("base", section.base), ("candidate", section.candidate))
        for line in textwrap.wrap(f"{name:9}  {', '.join(runs)}", width, subsequent_indent=" " * 11)
    ]


def _differences(rows: Sequence[DifferenceRow]) -> list[str]:
    if not rows:
        return ["Environment: no difference was found"]
    cells = [
        (row.name, _cut(row.base), _cut(row.candidate), "not comparable" if row.forbids else "told") for row in rows
    ]
    return _table([("environment", "base", "candidate", ""), *cells])


def _tables(section: ComparisonSection) -> list[list[str]]:
    headlines = [row for row in section.rows if row.is_headline]
    changed = [row for row in section.rows if not row.is_headline and row.verdict in ("better", "worse")]
    alike = len(section.rows) - len(headlines) - len(changed)
    tables = [_changes(headlines, _MOST_ROWS), _changes(changed, _MOST_OTHERS, "told, fails nothing")]
    return [*tables, [f"{formatting.count(alike)} other metrics are the same, or not told apart"] if alike else []]


def _changes(rows: Sequence[ChangeRow], most: int, title: str = "metric") -> list[str]:
    if not rows:
        return []
    order = {"worse": 0, "better": 1, "inconclusive": 2, "same": 3}
    told = sorted(rows, key=lambda row: order[row.verdict])
    cells = [(title, "stage", "base", "candidate", "change", "p", "verdict", ""), *map(_cells, told[:most])]
    return [*_table(cells), *([f"… and {len(rows) - most} more in the JSON"] if len(rows) > most else [])]


def _cells(row: ChangeRow) -> tuple[str, ...]:
    p_value = "" if row.p_value is None else formatting.p_value(row.p_value)
    numbers = formatting.value_unit(row.base), formatting.value_unit(row.candidate), effect(row.ratio)
    return (row.metric, row.stage, *numbers, p_value, row.verdict, remark(row))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True) if size).rstrip() for row in rows
    ]
