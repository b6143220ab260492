"""A comparison as Markdown: environment first, then the metrics that count."""

from __future__ import annotations

from reports import formatting
from reports.comparison_section import ComparisonReport, ComparisonSection
from reports.comparison_text import effect, remark
from reports.gfm import bullets, table, text
from reports.printable import printable

_MOST_ROWS = 50


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
        for row in headlines[:_MOST_ROWS]
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
