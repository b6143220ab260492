from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.analysis.breakdown import break_down_request
from app.gui.results.page import ResultsPage
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.latency import BreakdownTab, LatencyTab, TokensTab
from app.records.result import Estimate, PrefixReuse, SessionSummary, SteadyState
from app.records.server_counters import LatencyComparison, ServerCounters
from app.reporting.report import build_report
from app.storage.run_directory import StoredRun
from reports.model import MessageRow
from reports.quantity import Quantity
from reports.sections.servers import SERVERS
from tests.app.gui.results.conftest import OpenRun
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.stored_runs import stored_run


@pytest.fixture(scope="session")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    clock = FakeClock()
    return stored_run(
        tmp_path_factory.mktemp("streamed") / "run", load=ScriptedLoad(clock, service_s=0.003, tokens=8), clock=clock
    )


def _with_all_parts(displayed: DisplayedRun) -> DisplayedRun:
    """Return the run with latency parts of the server and with live sessions."""
    result = displayed.result
    *others, last = result.stages
    mean, *percentiles = last.breakdown
    parts_ms = dict.fromkeys(mean.parts_ms, 1.0) | {"queue": 5.0, "stalls": None}
    server = ServerCounters(requests=7, cached_input_tokens=30, looked_up_input_tokens=40, preemptions=2)
    last = msgspec.structs.replace(
        last,
        breakdown=(msgspec.structs.replace(mean, parts_ms=parts_ms, evidence="stage", unknown_ms=-0.5), *percentiles),
        server=server,
        server_latencies=(LatencyComparison("ttft", 12.0, 7, 15.0, 7),),
        steady_state=SteadyState(last.window, 4.0, last.metrics),
        live_sessions=SessionSummary({"completed": 3, "cut_off": 1}, 4, 50.0, 90.0),
    )
    result = msgspec.structs.replace(result, stages=(*others, last), prefix_reuse=PrefixReuse(0.6, 0.55, 16))
    run = displayed.opened_run
    report = build_report(result, run.table.slice(0, 0), run.data.telemetry, "", "", "{}")
    value, missing = Quantity(3.0, "ms"), Quantity(None, "ms", reason="not measured")
    messages = MessageRow(
        stage="high", first_p50=value, first_p95=value, first_p99=value, gap_p50=value, gap_p95=value, gap_p99=missing,
        per_response=Quantity(4.0, "messages"), per_s=Quantity(170.0, "messages/s"),
    )  # fmt: skip
    report = msgspec.structs.replace(report, messages=(messages,))
    return msgspec.structs.replace(displayed, result=result, report=report, own_report=report)


def test_breakdown_tab_stacks_latency_parts_beside_the_counters_of_the_server(
    page: ResultsPage, open_run: OpenRun, streamed: StoredRun
) -> None:
    displayed = _with_all_parts(open_run(streamed.directory))
    page.content().show_run(displayed)
    (tab,) = page.findChildren(BreakdownTab)
    page.content().tabs.setCurrentWidget(tab)
    assert [tab.stage_box.itemText(index) for index in range(tab.stage_box.count())] == ["low", "middle", "high"]
    tab.stage_box.setCurrentText("high")
    assert tab.sentence_label.text().startswith("In high, ")
    assert "server queue" in tab.sentence_label.text()
    assert tab.note_label.text().startswith("The server's parts are means from its counters")
    assert tab.chart.groups() == ("mean", "p50", "p95", "p99")
    mean_bars = [(bar.series, bar.value, bar.text) for bar in tab.chart.bars if bar.group == "mean"]
    assert mean_bars[1] == ("server queue", 5.0, "5.00\u202fms")
    assert mean_bars[-1] == ("unknown", 0.0, "-0.500\u202fms"), "parts that overlap have no bar, and are in the table"
    assert "stalls" not in tab.chart.series_names()
    assert tab.model.frame["server queue"].iloc[0].value == 5.0
    assert tab.model.frame["latency"].iloc[0].value == displayed.result.stages[-1].breakdown[0].latency_ms
    tab.stage_box.setCurrentText("low")
    assert tab.sentence_label.text().startswith("In low, ")

    (servers,), (steady,), (sessions,), (messages,), (reuse,) = (
        tab.sections.boxes[name].tables for name in ("servers", "steady", "sessions", "messages", "prefix_reuse")
    )
    assert servers.table.accessibleName() == SERVERS.caption
    assert [*servers.model.frame.columns] == ["stage", "requests", "ttft", "client_ttft", "cached", "preemptions"]
    assert servers.model.frame.iloc[0]["cached"].value == 0.75
    assert [*steady.model.frame["stage"]] == ["low", "high"]
    assert steady.model.frame["range"].iloc[1].endswith(" to 20.0\u202fs")
    assert sessions.model.frame.iloc[0].to_dict() | {"build_mean": 0, "build_max": 0} == {
        "stage": "high", "completed": 3, "failed": 0, "context limit": 0, "unusable response": 0, "cut off": 1,
        "built_requests": 4, "build_mean": 0, "build_max": 0,
    }  # fmt: skip
    assert [*messages.model.frame.columns] == [
        "stage", "per_s", "per_response", "first_p50", "first_p95", "first_p99", "gap_p50", "gap_p95",
    ]  # fmt: skip
    assert messages.isVisibleTo(tab)
    assert [quantity.value for quantity in reuse.model.frame["quantity"]] == [0.6, 0.55]


def test_breakdown_tab_hides_missing_sections_and_itself_if_empty(
    page: ResultsPage, open_run: OpenRun, stages: Path
) -> None:
    displayed = open_run(stages)
    content = page.content()
    (tab,) = page.findChildren(BreakdownTab)
    assert displayed.report.breakdown is None
    assert displayed.report.steady
    content.tabs.setCurrentWidget(tab)
    assert [name for name, box in tab.sections.boxes.items() if box.isVisibleTo(tab)] == ["steady"]
    assert tab.sections.boxes["steady"].tables[0].isVisibleTo(tab)
    assert not tab.chart.isVisibleTo(tab)
    report = msgspec.structs.replace(displayed.report, steady=())
    content.show_run(msgspec.structs.replace(displayed, own_report=report, report=report))
    assert not content.tabs.isTabVisible(content.tabs.indexOf(tab))


def test_selected_request_is_drawn_as_a_waterfall_of_its_parts(
    page: ResultsPage, open_run: OpenRun, streamed: StoredRun, qtbot: QtBot
) -> None:
    displayed = open_run(streamed.directory)
    requests = page.content().requests_tab
    page.content().tabs.setCurrentWidget(requests)
    qtbot.waitUntil(lambda: requests.model.rowCount() > 0)
    assert not requests.waterfall.chart.is_plot_shown
    requests.stage_box.setCurrentText("middle")
    requests.table.selectRow(2)
    frame = requests.model.visible_frame()
    number = int(frame["number"].iloc[2])
    expected = break_down_request(displayed.opened_run.data.rows[1], number)
    assert expected.latency_ms == frame["latency_ms"].iloc[2]
    description = requests.waterfall.description_label.text()
    assert description.startswith(f"Request {number:,} of middle: ")
    assert description.endswith("Not reported by the server: server queue, prefill.")
    spans = {bar.group: span for bar, span in requests.waterfall.chart.list_spans()}
    assert spans["decode"].width() == expected.parts_ms["decode"]
    assert spans["unknown"].left() == pytest.approx(spans["tail"].right())
    assert spans["unknown"].right() == pytest.approx(expected.latency_ms)
    assert not requests.waterfall.chart.legend.entries, "the axis names the parts"
    requests.stage_box.setCurrentText("low")
    assert not requests.waterfall.chart.is_plot_shown, "the request is no longer selected"


def test_lines_of_latency_charts_have_short_labels(page: ResultsPage, open_run: OpenRun, streamed: StoredRun) -> None:
    """The room at the end of a line is too small for "latency (from scheduled start)"."""
    page.content().show_run(open_run(streamed.directory))
    (tab,) = page.findChildren(LatencyTab)
    page.content().tabs.setCurrentWidget(tab)
    for chart in (tab.spectrum_chart, tab.cdf_chart):
        assert [series.label for series in chart.series()][:2] == ["latency", "service time"]


def test_audio_table_is_shown_if_stages_have_audio_metrics(
    page: ResultsPage, open_run: OpenRun, streamed: StoredRun
) -> None:
    displayed = open_run(streamed.directory)
    page.content().show_run(displayed)
    (tab,) = page.findChildren(LatencyTab)
    page.content().tabs.setCurrentWidget(tab)
    assert not tab.sections.boxes["media"].isVisibleTo(tab)
    audio = {"ttfa_ms": {"p50": Estimate(55.0, n=9)}, "audio_s_per_s": {"value": Estimate(8.5, n=9)}}
    stages = [msgspec.structs.replace(stage, metrics=stage.metrics | audio) for stage in displayed.result.stages]
    result = msgspec.structs.replace(displayed.result, stages=tuple(stages))
    run = displayed.opened_run
    report = build_report(result, run.table.slice(0, 0), run.data.telemetry, "", "", "{}")
    tab.show_run(msgspec.structs.replace(displayed, result=result, report=report, own_report=report))
    (media,) = tab.sections.boxes["media"].tables
    assert list(media.model.frame) == ["stage", "ttfa_p50", "audio_per_s", "throughput"]
    assert [cell.value for cell in media.model.frame["audio_per_s"]] == [8.5] * 3


def test_token_table_is_empty_for_a_time_range_without_tokens(
    page: ResultsPage, open_run: OpenRun, streamed: StoredRun
) -> None:
    displayed = open_run(streamed.directory)
    (tab,) = page.findChildren(TokensTab)
    page.content().tabs.setCurrentWidget(tab)
    assert tab.model.rowCount() == 3
    assert tab.model.headerData(11, Qt.Orientation.Horizontal) == "Output throughput"
    tab.show_run(msgspec.structs.replace(displayed, report=msgspec.structs.replace(displayed.report, tokens=())))
    assert tab.model.rowCount() == 0
