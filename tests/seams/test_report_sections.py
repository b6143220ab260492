"""A section of a report is its module and a field of the report; all outputs are derived from them."""

from __future__ import annotations

import csv
import io
import os
from typing import Any, ClassVar

import msgspec
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.charts.figures import create_chart
from app.gui.results.section_tables import SectionTables
from app.reporting.metric_sections import fill_metric_sections
from app.reporting.report import build_report
from reports.charts.figures import build_chart
from reports.html import build_figures, render_html
from reports.markdown import render_markdown
from reports.model import Quantity, Report
from reports.openmetrics import render_openmetrics
from reports.sections.figure import FigureAxis, FigureLine, LineFigure
from reports.sections.section import Column, Section, list_aggregates
from reports.tables import build_tables
from reports.text import render_text
from reports.truncation import truncate_report
from tests.fakes.language_model_runs import language_model_run
from tests.fakes.results import COMMAND, SPEC, Run, full_run
from tests.fakes.traffic import clients_run, streaming_run
from tests.fakes.window import theme_of

pytestmark = pytest.mark.usefixtures("pages_without_charts")


class ToyRow(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    wait_p50: Quantity
    wait_p95: Quantity
    toys_per_s: Quantity


def build_toy_figure(report: Any) -> LineFigure | None:
    lines = tuple(FigureLine(row.stage, row.stage, (1, 2), (row.wait_p50.value or 0, 3)) for row in report.toys)
    x, y = FigureAxis("Time", "s"), FigureAxis("Wait", "ms")
    figure = LineFigure(title="Wait over time", x=x, y=y, lines=lines, columns=("toy",), rows=(("ball",),))
    return figure if lines else None


_LAYOUT = "stage | wait_p50 wait_p95 | toys_per_s"
TOYS = Section(
    name="toys",
    record=ToyRow,
    rows_name="stages with toys",
    needs_metrics=frozenset(("ttft_ms",)),
    title="Toys",
    caption="Toys by stage",
    columns=(
        Column("stage", "stage"),
        *list_aggregates("wait", "wait", "ttft_ms", ("p50", "p95"), help_text="Wait for a toy"),
        Column("toys_per_s", "toy throughput", metric="output_tokens_per_s", csv="toys_per_s"),
    ),
    figure_key="toy-wait",
    build_figure=build_toy_figure,
    layouts={"all": _LAYOUT, "csv": _LAYOUT, "openmetrics": _LAYOUT},
)


class ToyReport(Report, frozen=True, kw_only=True):
    sections: ClassVar[tuple[Section[Any], ...]] = (*Report.sections, TOYS)

    toys: tuple[ToyRow, ...] = ()


def _build_report(run: Run) -> Report:
    return build_report(run.result, run.rows, run.telemetry, SPEC, COMMAND, "{}")


@pytest.fixture(scope="module")
def report() -> ToyReport:
    run = streaming_run()
    plain = _build_report(run)
    fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
    filled = fill_metric_sections(ToyReport(**fields), run.result.stages)
    assert isinstance(filled, ToyReport)
    return filled


def test_new_section_is_filled_from_the_metrics_of_its_columns(report: ToyReport) -> None:
    (row,), (tokens,) = report.toys, report.tokens
    assert (row.stage, row.wait_p50, row.wait_p95) == ("chat", tokens.ttft_p50, tokens.ttft_p95)
    assert row.toys_per_s.value == tokens.tokens_per_s.value


def test_new_section_is_a_table_of_text_markdown_and_html(report: ToyReport) -> None:
    lines = render_text(report).partition("\nToys ")[2].splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["stage", "p50", "wait", "p95", "toy", "throughput"],
        ["chat", "164", "ms", "252", "ms", "221", "tok/s"],
    ]
    table = render_markdown(report).partition("### Toys\n\n")[2].splitlines()
    assert table[0] == "| stage | p50 wait | p95 | toy throughput |"
    assert table[2] == "| chat | 164 ms | 252 ms | 221 tok/s |"
    page = render_html(report).partition("<caption>Toys by stage</caption>")[2].partition("</table>")[0]
    for text in ("p50 wait", "toy throughput", "chat", "164\u202fms", "221\u202ftok/s"):
        assert f">{text}<" in page


def test_new_section_is_in_csv_openmetrics_and_json(report: ToyReport) -> None:
    (row,) = report.toys
    (cells,) = csv.DictReader(io.StringIO(build_tables(report)["toys"]))
    assert (cells["stage"], float(cells["wait_p50_ms"])) == ("chat", row.wait_p50.value)
    assert row.wait_p95.ci95 is not None
    assert float(cells["wait_p95_ms_low"]) == row.wait_p95.ci95[0]
    labels = 'stage="chat",kind="steady",repeat="1",percentile="p95"'
    assert f"sizewise_stage_wait_milliseconds{{{labels}}} {row.wait_p95.value!r}\n" in render_openmetrics(report)
    assert msgspec.json.decode(msgspec.json.encode(report), type=ToyReport) == report


def test_new_section_is_a_figure_of_the_page(report: ToyReport) -> None:
    (chart,) = (build_chart(TOYS.figure_key, figure) for figure in [build_toy_figure(report)] if figure)
    (points,) = (data for data in chart.spec["datasets"].values() if len(data) == 2)
    assert [(point["series"], point["y"]) for point in points] == [
        ("chat", report.toys[0].wait_p50.value),
        ("chat", 3.0),
    ]
    assert (chart.key, chart.title, chart.rows) == ("toy-wait", "Wait over time", (("ball",),))
    assert chart.key in build_figures(report)


def test_new_section_is_a_figure_and_a_table_of_the_window(qtbot: QtBot, qapp: QApplication, report: ToyReport) -> None:
    tables = SectionTables("throughput", theme_of(qapp))
    qtbot.addWidget(tables)
    tables.show_report(report)
    box = tables.boxes["toys"]
    (table,) = box.tables
    assert table.table.accessibleName() == "Toys by stage"
    headers = [table.model.headerData(index, Qt.Orientation.Horizontal) for index in range(4)]
    assert headers == ["Stage", "p50 wait", "p95 wait", "Toy throughput"]
    assert [table.model.index(0, index).data() for index in (0, 1)] == ["chat", "164\u202fms"]
    assert box.chart is not None
    assert box.chart.frame()["chat (ms)"].tolist() == [report.toys[0].wait_p50.value, 3.0]


def test_window_can_draw_each_figure_of_the_page(qtbot: QtBot, qapp: QApplication) -> None:
    drawn_keys = set()
    for run in (full_run(gpu=True), clients_run(), streaming_run(), language_model_run()):
        for key, figure in build_figures(_build_report(run)).items():
            if figure is not None:
                chart = create_chart(figure, theme_of(qapp))
                qtbot.addWidget(chart)
                assert chart.title == figure.title
                assert not chart.frame().empty, key
                drawn_keys.add(key)
    assert drawn_keys >= {
        "heat",
        "breakdown",
        "rates",
        "ecdf",
        "clients-time",
        "busy",
        "test-decode",
        "decode-by-depth",
    }


def test_rows_of_a_new_section_are_limited_on_a_page(report: ToyReport) -> None:
    many = msgspec.structs.replace(report, toys=report.toys * 7)
    short = truncate_report(many, 5)
    assert isinstance(short, ToyReport)
    assert len(short.toys) == 5
    assert "5 of 7 stages with toys" in short.notes[0]


def test_layout_of_unknown_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="wiat"):
        Section(name="toys", title="Toys", columns=TOYS.columns, layouts={"all": "stage | wiat"})
