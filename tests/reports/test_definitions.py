from __future__ import annotations

import msgspec

from reports.definitions import render_definitions
from reports.html import render_html
from reports.model import DefiningTool, Definition, DefinitionRow, Definitions, DefinitionTable, Quantity, Report
from reports.text import render_text

SECTION = Definitions(
    tools=(DefiningTool(name="Sizewise", source="docs", notes=("a note",)),
           DefiningTool(name="vLLM", source="serve.py", notes=("its notes " * 20,))),
    tables=(
        DefinitionTable(
            stage="chat <b>",
            requests=(1200, 1199),
            rows=(
                DefinitionRow(metric="TTFT", aggregate="p50", quantities=(Quantity(123.4, "ms"), Quantity(0.5, "ms"))),
                DefinitionRow(metric="TTFT", aggregate="p90", quantities=(Quantity(200.0, "ms"), None)),
                DefinitionRow(
                    metric="TPOT",
                    aggregate="p50",
                    quantities=(Quantity(None, "ms", reason="needs 9"), Quantity(8.0, "ms")),
                ),
            ),
        ),
    ),
    explanations=(Definition(metric="TTFT", tool="Sizewise", explanation="from when it was due"),
         Definition(metric="TTFT", tool="vLLM", explanation="from the send, and " + "so on " * 20),
         Definition(metric="TPOT", tool="vLLM", explanation="otherwise")),
    remark="Mind this.",
)  # fmt: skip


def test_definitions_table_has_column_per_tool_and_reasons_below() -> None:
    text = render_definitions(SECTION, width=60)
    assert text.splitlines()[:11] == [
        "Metrics by other tools' definitions",
        "Mind this.",
        "",
        "chat <b>, times in ms  Sizewise   vLLM",
        "included requests         1,200  1,199",
        "p50 TTFT                    123  0.500",
        "p90 TTFT                    200      –",
        "p50 TPOT                    n/a   8.00",
        "– not reported by the tool",
        "n/a for Sizewise: p50 TPOT: needs 9",
        "",
    ]
    assert "TTFT\n  Sizewise  from when it was due\n  vLLM      from the send, and so on" in text
    assert all(len(line) <= 60 for line in text.splitlines())
    assert "vLLM, based on serve.py\n  - its notes" in text


def test_invalid_measurement_is_reported_above_definitions_table() -> None:
    (table,) = SECTION.tables
    invalid_row = DefinitionRow(
        metric="TTFT", aggregate="p50", quantities=(Quantity(1.0, "ms", validity="INVALID"), None)
    )
    section = msgspec.structs.replace(SECTION, tables=(msgspec.structs.replace(table, rows=(invalid_row,)),))
    assert render_definitions(section).splitlines()[3].startswith("This measurement is INVALID")


def test_definitions_tables_of_many_stages_are_truncated() -> None:
    text = render_definitions(msgspec.structs.replace(SECTION, tables=SECTION.tables * 11))
    assert text.count("chat <b>, times in ms") == 8
    assert "… and 3 more stages in the report" in text


def test_definitions_section_is_rendered_only_if_report_has_definitions(empty_report: Report) -> None:
    assert "definitions" not in render_html(empty_report)
    report = msgspec.structs.replace(empty_report, definitions=SECTION)
    page = render_html(report)
    assert "<h2>Metrics by other tools' definitions</h2>" in page
    assert "chat &lt;b&gt;" in page
    assert "chat <b>" not in page
    assert '<abbr title="needs 9">n/a</abbr>' in page
    assert render_text(report).endswith(render_definitions(SECTION))
